//! Forms: what a mapping may hold, declared once as a Rust struct. Its reader and its JSON Schema both come from there.
//!
//! [`form!`](crate::form!) declares a struct with a field for every key: whether it must be there, what editors show of it
//! (the comment) and of what kind its value is. Reading a mapping fills the struct in, and [`Form::shape`] gives the schema.
//! So a key cannot be read without standing in the schema. A kind of value is a type that is [`Described`]; whoever reads
//! values does so by the same type. See ADR 20.

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;

use serde_json::{Map, Value, json};

use crate::suggest::nearest;

/// A kind of value: what JSON Schema says of it.
pub trait Described {
    /// The schema of a value of this kind.
    fn schema() -> Value;
}

/// A mapping that is read key by key.
pub trait Source {
    /// The value of a key, which is of kind `K`, or its absence.
    type Member<K>;

    /// Takes the value of a key. Keys that nobody asks for are unknown.
    fn member<K>(&self, name: &'static str, need: Need) -> Self::Member<K>;
}

/// Whether a key has to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// It has to.
    Required,
    /// It may be left out.
    Optional,
}

/// A struct that [`form!`](crate::form!) declared.
pub trait Form<S: Source>: Sized {
    /// Takes every key of the form from a mapping.
    fn take(source: &S) -> Self;

    /// The keys of the form.
    fn shape() -> Shape;
}

/// A mapping: what it is and the keys that it has.
#[derive(Debug, Clone)]
pub struct Shape {
    /// What it is, for editors.
    pub about: String,
    /// In the order in which the form has them.
    pub keys: Vec<Key>,
}

/// A key of a mapping.
#[derive(Debug, Clone)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// Whether it has to be there.
    pub need: Need,
    /// The schema of its value, with what editors show of the key.
    pub schema: Value,
}

impl Shape {
    /// One without keys.
    pub fn new(about: &str) -> Self {
        Self { about: about.trim().to_owned(), keys: Vec::new() }
    }

    /// Adds a key.
    pub fn add(&mut self, name: &'static str, need: Need, schema: Value, about: &str) {
        self.keys.push(Key { name, need, schema: described(schema, about.trim()) });
    }

    /// Adds the keys of a form that is part of this one.
    pub fn extend(&mut self, other: Self) {
        self.keys.extend(other.keys);
    }

    /// The schema of a mapping with these keys and no others.
    pub fn object(&self) -> Map<String, Value> {
        let properties: Map<String, Value> =
            self.keys.iter().map(|key| (key.name.to_owned(), key.schema.clone())).collect();
        let required: Vec<&str> =
            self.keys.iter().filter(|key| key.need == Need::Required).map(|key| key.name).collect();
        let mut schema = Map::new();
        schema.insert("description".to_owned(), json!(self.about));
        schema.insert("type".to_owned(), json!("object"));
        schema.insert("properties".to_owned(), Value::Object(properties));
        if !required.is_empty() {
            schema.insert("required".to_owned(), json!(required));
        }
        schema.insert("additionalProperties".to_owned(), json!(false));
        schema
    }

    /// The same as a value.
    pub fn schema(&self) -> Value {
        Value::Object(self.object())
    }
}

/// A schema with what people are told of it.
pub fn described(schema: Value, about: &str) -> Value {
    match schema {
        Value::Object(mut members) => {
            members.insert("description".to_owned(), json!(about));
            Value::Object(members)
        }
        other => other,
    }
}

/// The schema of a value that is one of a few names.
pub fn one_of(names: impl IntoIterator<Item = &'static str>) -> Value {
    json!({"enum": names.into_iter().collect::<Vec<_>>()})
}

/// The name of a field as a key, without what Rust puts before its own words.
pub fn key_name(field: &'static str) -> &'static str {
    field.strip_prefix("r#").unwrap_or(field)
}

/// Declares a form: a struct, how it is taken from a mapping, and its [`Shape`].
///
/// ```text
/// form! {
///     /// So many starts in a period.
///     struct RateForm<'f> of MappingReader<'f> {
///         /// How many.
///         required count: Whole<1, 1000>,
///         with others: OtherForm<'f>,
///     }
/// }
/// ```
///
/// A key is `required` or `optional`; `with` takes in the keys of another form.
#[macro_export]
macro_rules! form {
    (
        $(#[doc = $about:literal])+
        $vis:vis struct $name:ident<$life:lifetime> of $source:ty {
            $($(#[doc = $doc:literal])* $need:ident $key:ident: $kind:ty,)+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug)]
        $vis struct $name<$life> {
            $($(#[doc = $doc])* $vis $key: $crate::form!(@field $need $source, $kind),)+
        }

        impl<$life> $crate::form::Form<$source> for $name<$life> {
            fn take(source: &$source) -> Self {
                Self { $($key: $crate::form!(@take $need source, $key, $source, $kind),)+ }
            }

            fn shape() -> $crate::form::Shape {
                let mut shape = $crate::form::Shape::new(concat!($($about),+));
                $($crate::form!(@shape $need shape, $key, $source, $kind, concat!($($doc),*));)+
                shape
            }
        }
    };
    (@field with $source:ty, $kind:ty) => { $kind };
    (@field $need:ident $source:ty, $kind:ty) => { <$source as $crate::form::Source>::Member<$kind> };
    (@take with $from:ident, $key:ident, $source:ty, $kind:ty) => {
        <$kind as $crate::form::Form<$source>>::take($from)
    };
    (@take $need:ident $from:ident, $key:ident, $source:ty, $kind:ty) => {
        <$source as $crate::form::Source>::member::<$kind>(
            $from,
            $crate::form::key_name(stringify!($key)),
            $crate::form!(@need $need),
        )
    };
    (@shape with $shape:ident, $key:ident, $source:ty, $kind:ty, $doc:expr) => {
        $shape.extend(<$kind as $crate::form::Form<$source>>::shape())
    };
    (@shape $need:ident $shape:ident, $key:ident, $source:ty, $kind:ty, $doc:expr) => {
        $shape.add(
            $crate::form::key_name(stringify!($key)),
            $crate::form!(@need $need),
            <$kind as $crate::form::Described>::schema(),
            $doc,
        )
    };
    (@need required) => { $crate::form::Need::Required };
    (@need optional) => { $crate::form::Need::Optional };
}

/// A mapping of JSON that is read by a form.
#[derive(Debug)]
pub struct JsonMapping<'v> {
    members: &'v Map<String, Value>,
    known: RefCell<Vec<&'static str>>,
    required: RefCell<Vec<&'static str>>,
}

/// The value of a key in JSON.
pub struct JsonMember<'v, K> {
    /// The key.
    pub name: &'static str,
    /// None where the key is not there.
    pub value: Option<&'v Value>,
    kind: PhantomData<fn() -> K>,
}

/// A key that a form does not have.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownKey<'v> {
    /// It.
    pub name: &'v str,
    /// The key that was probably meant: one that is not there.
    pub suggestion: Option<&'static str>,
}

impl<'v> JsonMapping<'v> {
    /// Reads a form, and gives what it was read from.
    pub fn read<F: Form<Self>>(members: &'v Map<String, Value>) -> (F, Self) {
        let mapping = Self { members, known: RefCell::default(), required: RefCell::default() };
        (F::take(&mapping), mapping)
    }

    /// The keys of the forms that were read.
    pub fn known(&self) -> Vec<&'static str> {
        self.known.borrow().clone()
    }

    /// The keys that no form has asked for.
    pub fn unknown(&self) -> Vec<UnknownKey<'v>> {
        let known = self.known.borrow();
        let free = || known.iter().copied().filter(|key| !self.members.contains_key(*key));
        let unknown = self.members.keys().filter(|key| !known.contains(&key.as_str()));
        unknown.map(|name| UnknownKey { name, suggestion: nearest(name, free()) }).collect()
    }

    /// The keys that have to be there and are not, without those that are only misspelt.
    pub fn missing(&self) -> Vec<&'static str> {
        let is_misspelt = |key: &str| self.members.keys().any(|given| nearest(given, [key]).is_some());
        let required = self.required.borrow();
        required.iter().copied().filter(|key| !self.members.contains_key(*key) && !is_misspelt(key)).collect()
    }
}

impl<'v> Source for JsonMapping<'v> {
    type Member<K> = JsonMember<'v, K>;

    fn member<K>(&self, name: &'static str, need: Need) -> JsonMember<'v, K> {
        self.known.borrow_mut().push(name);
        if need == Need::Required {
            self.required.borrow_mut().push(name);
        }
        JsonMember { name, value: self.members.get(name), kind: PhantomData }
    }
}

impl<K> fmt::Debug for JsonMember<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonMember").field("name", &self.name).field("value", &self.value).finish()
    }
}

impl<K> JsonMember<'_, K> {
    /// Whether the key is there.
    pub fn is_given(&self) -> bool {
        self.value.is_some()
    }
}

/// Any text.
#[derive(Debug)]
pub struct AnyText;

impl Described for AnyText {
    fn schema() -> Value {
        json!({"type": "string"})
    }
}

/// Any value, null among them.
#[derive(Debug)]
pub struct AnyValue;

impl Described for AnyValue {
    fn schema() -> Value {
        json!({})
    }
}

impl Described for bool {
    fn schema() -> Value {
        json!({"type": "boolean"})
    }
}

/// A list of values of one kind.
impl<K: Described> Described for Vec<K> {
    fn schema() -> Value {
        json!({"type": "array", "items": K::schema()})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    form! {
        /// What is
        /// tested.
        struct Outer<'v> of JsonMapping<'v> {
            /// Its name.
            required r#type: AnyText,
            with inner: Inner<'v>,
        }
    }

    form! {
        /// A part.
        struct Inner<'v> of JsonMapping<'v> {
            /// How
            /// often.
            optional often: bool,
        }
    }

    fn object(value: &Value) -> &Map<String, Value> {
        value.as_object().unwrap()
    }

    #[test]
    fn test_the_schema_has_what_is_read() {
        let expected = json!({
            "description": "What is tested.",
            "type": "object",
            "properties": {
                "type": {"type": "string", "description": "Its name."},
                "often": {"type": "boolean", "description": "How often."},
            },
            "required": ["type"],
            "additionalProperties": false,
        });
        assert_eq!(<Outer<'_> as Form<JsonMapping<'_>>>::shape().schema(), expected);
        let value = json!({"type": "a", "often": true});
        let (form, mapping) = JsonMapping::read::<Outer<'_>>(object(&value));
        assert_eq!((form.r#type.value, form.inner.often.value), (Some(&json!("a")), Some(&json!(true))));
        assert_eq!((mapping.unknown(), mapping.missing()), (vec![], vec![]));
        assert_eq!(mapping.known(), ["type", "often"]);
    }

    #[test]
    fn test_what_is_misspelt_is_not_called_missing() {
        let value = json!({"typ": "a", "zzzzzz": 1});
        let (form, mapping) = JsonMapping::read::<Outer<'_>>(object(&value));
        assert!(!form.r#type.is_given() && !form.inner.often.is_given());
        let unknown = |name, suggestion| UnknownKey { name, suggestion };
        assert_eq!(mapping.unknown(), [unknown("typ", Some("type")), unknown("zzzzzz", None)]);
        assert_eq!(mapping.missing(), [""; 0]);
        let value = json!({});
        assert_eq!(JsonMapping::read::<Outer<'_>>(object(&value)).1.missing(), ["type"]);
    }
}
