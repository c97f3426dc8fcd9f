//! What a JSON schema says about one field: whether there can be such a field, and what can stand there.
//!
//! The walk follows a path through `properties`, `patternProperties`, `additionalProperties`, `items`, `prefixItems`,
//! `allOf`, `anyOf`, `oneOf` and references within the schema. It only says no where the schema does: what it leaves
//! open, and what is not followed (`if`, `not`, `unevaluatedProperties`, references elsewhere), is possible.

use std::fmt;

use serde_json::{Map, Value};

use crate::path::Segment;
use crate::value::equal;

/// So many ways of `anyOf` and `oneOf` are kept apart; a schema with more of them counts as open there.
const ALTERNATIVE_LIMIT: usize = 256;

/// How deep combinations and references are followed into one another; deeper is a circle.
const DEPTH_LIMIT: usize = 32;

/// What can stand at a path.
#[derive(Debug, Clone, PartialEq)]
pub struct Possible {
    /// The types that a value there can have.
    pub types: Types,
    /// Every value that can stand there, where the schema lists them.
    pub values: Option<Vec<Value>>,
}

/// A path that leads nowhere in any value that the schema allows.
#[derive(Debug, Clone, PartialEq)]
pub struct Unreachable {
    /// How many steps of the path can be followed.
    pub followed: usize,
    pub cause: Cause,
}

/// Why a step cannot be followed.
#[derive(Debug, Clone, PartialEq)]
pub enum Cause {
    /// The object there has no such member; these are the names that the schema knows.
    NoMember { known: Vec<String> },
    /// The array there has no such element.
    NoElement,
    /// What stands there has nothing inside, or something of another kind.
    WrongType { types: Types },
}

/// A set of JSON types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Types(u8);

impl Types {
    pub const NONE: Self = Self(0);
    pub const NULL: Self = Self(1);
    pub const BOOLEAN: Self = Self(2);
    pub const INTEGER: Self = Self(4);
    /// Numbers that are not integers.
    pub const FRACTION: Self = Self(8);
    pub const NUMBER: Self = Self(4 | 8);
    pub const STRING: Self = Self(16);
    pub const ARRAY: Self = Self(32);
    pub const OBJECT: Self = Self(64);
    pub const ALL: Self = Self(127);

    /// The types of either set.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The types that both sets have.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the sets have a type in common.
    pub const fn meets(self, other: Self) -> bool {
        !self.and(other).is_empty()
    }

    /// The type of a value; a float without a fraction is an integer, as in JSON Schema.
    pub fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::NULL,
            Value::Bool(_) => Self::BOOLEAN,
            Value::Number(number) if number.is_f64() && number.as_f64().is_some_and(|n| n.fract() != 0.0) => {
                Self::FRACTION
            }
            Value::Number(_) => Self::INTEGER,
            Value::String(_) => Self::STRING,
            Value::Array(_) => Self::ARRAY,
            Value::Object(_) => Self::OBJECT,
        }
    }

    fn named(name: &str) -> Self {
        match name {
            "null" => Self::NULL,
            "boolean" => Self::BOOLEAN,
            "integer" => Self::INTEGER,
            "number" => Self::NUMBER,
            "string" => Self::STRING,
            "array" => Self::ARRAY,
            "object" => Self::OBJECT,
            // No schema that compiles has another one.
            _ => Self::ALL,
        }
    }
}

impl fmt::Display for Types {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Self::NULL, "null"),
            (Self::BOOLEAN, "boolean"),
            (Self::INTEGER, "integer"),
            (Self::FRACTION, "number"),
            (Self::STRING, "string"),
            (Self::ARRAY, "array"),
            (Self::OBJECT, "object"),
        ];
        let both = self.and(Self::NUMBER) == Self::NUMBER;
        let shown: Vec<_> = names
            .into_iter()
            .filter(|(kind, _)| self.meets(*kind) && !(both && *kind == Self::INTEGER))
            .map(|(_, name)| name)
            .collect();
        f.write_str(&shown.join(" or "))
    }
}

impl Possible {
    /// Whether `equals` with this value can ever hold: numbers are equal by value, and `true` and `false` are 1 and 0.
    pub fn can_equal(&self, value: &Value) -> bool {
        if let Some(values) = &self.values {
            return values.iter().any(|possible| equal(possible, value));
        }
        let truth = equal(value, &Value::Bool(true)) || equal(value, &Value::Bool(false));
        let kind = Types::of(value);
        let kind = if truth { kind.or(Types::BOOLEAN).or(Types::INTEGER) } else { kind };
        self.types.meets(kind)
    }
}

/// Follows a path into the values that a schema describes.
pub fn reach(schema: &Value, path: &[Segment]) -> Result<Possible, Unreachable> {
    let walk = Walk { document: schema };
    let mut alternatives = walk.expand(schema, 0);
    for (followed, segment) in path.iter().enumerate() {
        let next: Vec<Alternative<'_>> = alternatives
            .iter()
            .flat_map(|alternative| walk.step(alternative, segment).unwrap_or_default())
            .collect();
        if next.is_empty() {
            return Err(Unreachable { followed, cause: cause(&alternatives, segment) });
        }
        alternatives = if next.len() > ALTERNATIVE_LIMIT { open() } else { next };
    }
    let types = alternatives.iter().fold(Types::NONE, |types, alternative| types.or(types_of(alternative)));
    let values: Option<Vec<Vec<Value>>> =
        alternatives.iter().map(|alternative| values_of(alternative)).collect();
    Ok(Possible { types, values: values.map(|values| values.concat()) })
}

/// Schemas that hold together; none: anything goes.
type Alternative<'s> = Vec<&'s Map<String, Value>>;

/// The one alternative that says nothing.
fn open<'s>() -> Vec<Alternative<'s>> {
    vec![Vec::new()]
}

struct Walk<'s> {
    /// What references begin at.
    document: &'s Value,
}

impl<'s> Walk<'s> {
    /// The ways in which a value can fit a schema, without those that contradict themselves.
    fn expand(&self, schema: &'s Value, depth: usize) -> Vec<Alternative<'s>> {
        if depth > DEPTH_LIMIT {
            return open();
        }
        let members = match schema {
            Value::Bool(false) => return Vec::new(),
            Value::Object(members) => members,
            _ => return open(),
        };
        let mut alternatives = vec![vec![members]];
        let target =
            members.get("$ref").and_then(Value::as_str).and_then(|reference| self.resolve(reference));
        if let Some(target) = target {
            alternatives = both(&alternatives, &self.expand(target, depth + 1));
        }
        for every in list(members, "allOf") {
            alternatives = both(&alternatives, &self.expand(every, depth + 1));
        }
        for keyword in ["anyOf", "oneOf"] {
            if members.get(keyword).is_some_and(Value::is_array) {
                let either: Vec<_> =
                    list(members, keyword).iter().flat_map(|schema| self.expand(schema, depth + 1)).collect();
                alternatives = both(&alternatives, &either);
            }
        }
        alternatives.retain(|alternative| !types_of(alternative).is_empty());
        alternatives
    }

    /// The schema that a reference within the document leads to.
    fn resolve(&self, reference: &str) -> Option<&'s Value> {
        self.document.pointer(reference.strip_prefix('#')?)
    }

    /// What can stand one step further; None where nothing can.
    fn step(&self, alternative: &Alternative<'s>, segment: &Segment) -> Option<Vec<Alternative<'s>>> {
        if alternative.is_empty() {
            return Some(open());
        }
        let types = types_of(alternative);
        let mut found = Vec::new();
        if types.meets(Types::OBJECT) {
            match segment {
                Segment::Key(key) => found.extend(self.every(alternative, |schema| member(schema, key))),
                Segment::Any => found.extend(self.every(alternative, any_member)),
                Segment::Index(_) => {}
            }
        }
        if types.meets(Types::ARRAY) {
            match segment {
                // A key of digits is a position.
                Segment::Key(key) => {
                    if let Ok(position) = key.parse::<usize>() {
                        found.extend(self.every(alternative, |schema| element(schema, Some(position))));
                    }
                }
                Segment::Index(index) => {
                    let position = usize::try_from(*index).ok();
                    found.extend(self.every(alternative, |schema| element(schema, position)));
                }
                Segment::Any => found.extend(self.every(alternative, |schema| element(schema, None))),
            }
        }
        (!found.is_empty()).then_some(found)
    }

    /// What fits all of the schemas, each of which says by `inner` what it allows.
    fn every(
        &self,
        alternative: &Alternative<'s>,
        inner: impl Fn(&'s Map<String, Value>) -> Inner<'s>,
    ) -> Vec<Alternative<'s>> {
        let mut found = open();
        for schema in alternative {
            let allowed = match inner(schema) {
                Inner::Open => continue,
                Inner::All(schemas) => schemas
                    .into_iter()
                    .fold(open(), |allowed, schema| both(&allowed, &self.expand(schema, 0))),
                Inner::Any(schemas) => {
                    schemas.into_iter().flat_map(|schema| self.expand(schema, 0)).collect()
                }
            };
            found = both(&found, &allowed);
        }
        found.retain(|alternative| !types_of(alternative).is_empty());
        found
    }
}

/// What one schema says about what stands inside.
enum Inner<'s> {
    Open,
    /// It must fit all of these; with `false` among them it cannot be there.
    All(Vec<&'s Value>),
    /// It must fit one of these.
    Any(Vec<&'s Value>),
}

static NEVER: Value = Value::Bool(false);

fn member<'s>(schema: &'s Map<String, Value>, key: &str) -> Inner<'s> {
    let mut schemas = Vec::new();
    let mut is_named = false;
    if let Some(property) = schema.get("properties").and_then(|all| all.get(key)) {
        is_named = true;
        schemas.push(property);
    }
    for (pattern, property) in object(schema, "patternProperties") {
        match fancy_regex::Regex::new(pattern).map(|pattern| pattern.is_match(key)) {
            Ok(Ok(true)) => {
                is_named = true;
                schemas.push(property);
            }
            Ok(Ok(false)) => {}
            // What cannot be told is possible.
            Ok(Err(_)) | Err(_) => is_named = true,
        }
    }
    if !is_named && let Some(others) = schema.get("additionalProperties") {
        schemas.push(others);
    }
    if schemas.is_empty() { Inner::Open } else { Inner::All(schemas) }
}

fn any_member(schema: &Map<String, Value>) -> Inner<'_> {
    let Some(others) = schema.get("additionalProperties") else { return Inner::Open };
    let named = object(schema, "properties").chain(object(schema, "patternProperties"));
    Inner::Any(named.map(|(_, property)| property).chain([others]).collect())
}

/// An element at a position from the beginning, or any one.
fn element(schema: &Map<String, Value>, position: Option<usize>) -> Inner<'_> {
    let first = list(schema, "prefixItems");
    // Before there was `prefixItems`, a list of schemas stood under `items`; it is not followed.
    let others = schema.get("items").filter(|items| !items.is_array());
    if schema.get("items").is_some_and(Value::is_array) {
        return Inner::Open;
    }
    match position {
        Some(position) if position < first.len() => Inner::All(vec![&first[position]]),
        Some(_) => others.map_or(Inner::Open, |others| Inner::All(vec![others])),
        None => match others {
            Some(others) => Inner::Any(first.iter().chain([others]).collect()),
            None => Inner::Open,
        },
    }
}

/// Every way of one with every way of the other.
fn both<'s>(left: &[Alternative<'s>], right: &[Alternative<'s>]) -> Vec<Alternative<'s>> {
    if left.len().saturating_mul(right.len()) > ALTERNATIVE_LIMIT {
        return open();
    }
    left.iter().flat_map(|left| right.iter().map(move |right| [left.as_slice(), right].concat())).collect()
}

fn types_of(alternative: &Alternative<'_>) -> Types {
    alternative.iter().fold(Types::ALL, |types, schema| {
        let named = match schema.get("type") {
            Some(Value::String(name)) => Types::named(name),
            Some(Value::Array(names)) => names
                .iter()
                .filter_map(Value::as_str)
                .fold(Types::NONE, |types, name| types.or(Types::named(name))),
            _ => Types::ALL,
        };
        // OpenAPI's way to say it.
        let named =
            if schema.get("nullable") == Some(&Value::Bool(true)) { named.or(Types::NULL) } else { named };
        let listed = listed(schema)
            .map(|values| values.iter().fold(Types::NONE, |types, value| types.or(Types::of(value))));
        types.and(named).and(listed.unwrap_or(Types::ALL))
    })
}

/// The values that fit all of the schemas, where one of them lists its values.
fn values_of(alternative: &Alternative<'_>) -> Option<Vec<Value>> {
    let types = types_of(alternative);
    let mut lists = alternative.iter().filter_map(|schema| listed(schema));
    let mut values: Vec<Value> = lists.next()?.to_vec();
    for other in lists {
        values.retain(|value| other.iter().any(|listed| equal(listed, value)));
    }
    values.retain(|value| types.meets(Types::of(value)));
    Some(values)
}

/// The values that a schema lists.
fn listed(schema: &Map<String, Value>) -> Option<&[Value]> {
    match (schema.get("const"), schema.get("enum")) {
        (Some(value), _) => Some(std::slice::from_ref(value)),
        (None, Some(Value::Array(values))) => Some(values),
        _ => None,
    }
}

fn cause(alternatives: &[Alternative<'_>], segment: &Segment) -> Cause {
    let types = alternatives.iter().fold(Types::NONE, |types, alternative| types.or(types_of(alternative)));
    match segment {
        Segment::Key(_) if types.meets(Types::OBJECT) => {
            let mut known: Vec<String> = alternatives
                .iter()
                .flatten()
                .flat_map(|schema| object(schema, "properties"))
                .filter(|(_, property)| **property != NEVER)
                .map(|(name, _)| name.clone())
                .collect();
            known.sort();
            known.dedup();
            Cause::NoMember { known }
        }
        Segment::Index(_) | Segment::Any if types.meets(Types::ARRAY) => Cause::NoElement,
        Segment::Any if types.meets(Types::OBJECT) => Cause::NoMember { known: Vec::new() },
        Segment::Key(_) | Segment::Index(_) | Segment::Any => Cause::WrongType { types },
    }
}

fn list<'s>(schema: &'s Map<String, Value>, keyword: &str) -> &'s [Value] {
    schema.get(keyword).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn object<'s>(
    schema: &'s Map<String, Value>,
    keyword: &str,
) -> impl Iterator<Item = (&'s String, &'s Value)> {
    schema.get(keyword).and_then(Value::as_object).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::path::FieldPath;

    fn at(schema: &Value, path: &str) -> Result<Possible, Unreachable> {
        reach(schema, FieldPath::parse(&format!("x{path}")).unwrap().segments())
    }

    #[track_caller]
    fn types(schema: &Value, path: &str, expected: &str) {
        assert_eq!(at(schema, path).unwrap().types.to_string(), expected, "{path}");
    }

    #[track_caller]
    fn unreachable(schema: &Value, path: &str, followed: usize, cause: Cause) {
        assert_eq!(at(schema, path), Err(Unreachable { followed, cause }), "{path}");
    }

    fn known(names: &[&str]) -> Cause {
        Cause::NoMember { known: names.iter().map(|name| (*name).to_owned()).collect() }
    }

    const ANYTHING: &str = "null or boolean or number or string or array or object";

    #[test]
    fn test_what_the_schema_leaves_open_is_possible() {
        for schema in [json!({}), json!(true), json!({"type": "object"}), json!({"properties": {"b": false}})]
        {
            types(&schema, ".a.b[0][*].c", ANYTHING);
        }
        let schema = json!({"properties": {"a": {"type": "integer"}}});
        types(&schema, ".a", "integer");
        types(&schema, ".b", ANYTHING);
    }

    #[test]
    fn test_closed_objects_have_only_the_members_they_name() {
        let schema = json!({
            "type": "object",
            "properties": {"severity": {"type": "string"}, "labels": {"additionalProperties": {"type": "string"}}},
            "patternProperties": {"^x_": {"type": "number"}},
            "additionalProperties": false,
        });
        unreachable(&schema, ".severty", 0, known(&["labels", "severity"]));
        types(&schema, ".x_load", "number");
        types(&schema, ".labels.anything", "string");
        unreachable(&schema, ".severity.text", 1, Cause::WrongType { types: Types::STRING });
        unreachable(&schema, ".severity[0]", 1, Cause::WrongType { types: Types::STRING });
        types(&schema, "[*]", ANYTHING);
        let only = json!({"properties": {"a": false, "b": true}});
        unreachable(&only, ".a", 0, known(&["b"]));
    }

    #[test]
    fn test_arrays_are_followed_by_position_and_by_any() {
        let schema =
            json!({"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "integer"}});
        types(&schema, "[0]", "string");
        types(&schema, "[1]", "integer");
        types(&schema, ".1", "integer");
        types(&schema, "[-1]", "integer or string");
        types(&schema, "[*]", "integer or string");
        unreachable(&schema, ".name", 0, Cause::WrongType { types: Types::ARRAY });
        let pair = json!({"type": "array", "prefixItems": [{}, {}], "items": false});
        unreachable(&pair, "[2]", 0, Cause::NoElement);
        let former = json!({"type": "array", "items": [{"type": "string"}]});
        types(&former, "[0]", ANYTHING);
        let objects = json!({"type": "array", "items": {"type": "object", "properties": {"n": {"type": "null"}}, "additionalProperties": false}});
        types(&objects, "[*].n", "null");
        unreachable(&objects, "[*].m", 1, known(&["n"]));
    }

    #[test]
    fn test_every_value_of_a_closed_object_is_one_of_its_members() {
        let schema = json!({
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "boolean"}},
            "additionalProperties": false,
        });
        types(&schema, "[*]", "boolean or integer");
    }

    #[test]
    fn test_combinations_are_followed() {
        let closed = |name: &str, kind: &str| json!({"type": "object", "properties": {name: {"type": kind}}, "additionalProperties": false});
        let either = json!({"oneOf": [closed("a", "string"), closed("b", "integer"), {"type": "null"}]});
        types(&either, ".a", "string");
        types(&either, ".b", "integer");
        unreachable(&either, ".c", 0, known(&["a", "b"]));
        let narrowed = json!({"allOf": [
            {"properties": {"a": {"type": ["string", "integer"]}}},
            {"properties": {"a": {"type": ["integer", "null"]}}},
        ]});
        types(&narrowed, ".a", "integer");
        // No value fits both, so neither member can be there.
        let contradiction = json!({"allOf": [closed("a", "string"), closed("b", "string")]});
        unreachable(&contradiction, ".a", 0, known(&["a", "b"]));
        let nullable = json!({"properties": {"a": {"type": "string", "nullable": true}}});
        types(&nullable, ".a", "null or string");
    }

    #[test]
    fn test_references_within_the_schema_are_followed_and_circles_end() {
        let schema = json!({
            "$ref": "#/$defs/node",
            "$defs": {"node": {
                "type": "object",
                "properties": {"value": {"type": "integer"}, "next": {"$ref": "#/$defs/node"}},
                "additionalProperties": false,
            }},
        });
        types(&schema, ".next.next.value", "integer");
        unreachable(&schema, ".next.next.valeu", 2, known(&["next", "value"]));
        types(&json!({"$ref": "https://example.test/schema"}), ".a", ANYTHING);
        types(&json!({"$ref": "#"}), ".a", ANYTHING);
        types(&json!({"anyOf": [{"$ref": "#"}, {"type": "string"}]}), "", ANYTHING);
    }

    #[test]
    fn test_listed_values_are_all_there_can_be() {
        let schema = json!({"properties": {
            "level": {"enum": ["low", "high", 3]},
            "kind": {"const": "alert"},
            "both": {"allOf": [{"enum": ["a", "b", 1]}, {"enum": ["b", "c", 1]}, {"type": "string"}]},
            "either": {"anyOf": [{"const": 1}, {"enum": [2, 3]}]},
            "open": {"anyOf": [{"const": 1}, {"type": "integer"}]},
        }});
        let values = |path: &str| at(&schema, path).unwrap().values;
        assert_eq!(values(".level"), Some(vec![json!("low"), json!("high"), json!(3)]));
        types(&schema, ".level", "integer or string");
        assert_eq!(values(".kind"), Some(vec![json!("alert")]));
        assert_eq!(values(".both"), Some(vec![json!("b")]));
        assert_eq!(values(".either"), Some(vec![json!(1), json!(2), json!(3)]));
        assert_eq!(values(".open"), None);
        assert_eq!(values(".other"), None);
    }

    #[test]
    fn test_can_equal_compares_as_conditions_do() {
        let can = |schema: Value, value: Value| at(&schema, "").unwrap().can_equal(&value);
        assert!(can(json!({"type": "integer"}), json!(2.0)));
        assert!(!can(json!({"type": "integer"}), json!(2.5)));
        assert!(!can(json!({"type": "integer"}), json!("2")));
        // `true` is the number 1.
        assert!(can(json!({"type": "boolean"}), json!(1)));
        assert!(can(json!({"type": "integer"}), json!(true)));
        assert!(!can(json!({"type": "boolean"}), json!(2)));
        assert!(!can(json!({"type": "string"}), json!(null)));
        assert!(can(json!({"type": ["string", "null"]}), json!(null)));
        assert!(!can(json!({"enum": ["a"]}), json!("b")));
        assert!(can(json!({"enum": [1.0]}), json!(1)));
    }

    #[test]
    fn test_a_schema_of_very_many_ways_counts_as_open() {
        let many: Vec<Value> = (0..30).map(|n| json!({"properties": {format!("p{n}"): {}}})).collect();
        let schema = json!({"allOf": [{"anyOf": many}, {"anyOf": many}, {"anyOf": many}], "type": "object"});
        types(&schema, ".anything", ANYTHING);
    }
}
