//! How a file is read by a form: a struct that has its keys, declared by [`attune_expr::form!`]. What a form says of its
//! keys is what the file's JSON Schema says; what the kind of a value reads is what its schema describes.

use std::fmt;
use std::marker::PhantomData;

use attune_expr::form::{Described, Form, Need, Source};
use serde_json::{Value, json};

use crate::finding::Located;
use crate::reader::{Item, MappingReader, shortened};
use crate::yaml::Entry;

/// A kind of value that can be read by itself, without what surrounds the file.
pub(crate) trait Readable: Described {
    /// What reading it gives.
    type Value;

    /// Reads it. What is wrong is reported, and nothing is given.
    fn read(item: &Item<'_>) -> Option<Self::Value>;
}

/// A form of a file, or of a mapping in one.
pub(crate) trait FileForm<'f>: Form<MappingReader<'f>> {
    /// Reads a mapping by this form, and reports every key that it does not have and every one that is missing.
    fn of(item: &Item<'f>) -> Option<Self> {
        Some(Self::of_with_fit(item)?.0)
    }

    /// The same, with whether there was nothing to report.
    fn of_with_fit(item: &Item<'f>) -> Option<(Self, bool)> {
        let mapping = item.mapping()?;
        let form = Self::take(&mapping);
        Some((form, mapping.close()))
    }

    /// The keys that it has.
    fn names() -> Vec<&'static str> {
        Self::shape().keys.iter().map(|key| key.name).collect()
    }
}

impl<'f, F: Form<MappingReader<'f>>> FileForm<'f> for F {}

/// A key of a mapping in a file, there or not.
pub(crate) struct Member<'f, K> {
    name: &'static str,
    whole: Item<'f>,
    /// The key as it stands there.
    entry: Option<&'f Entry>,
    /// Its value, unless that is empty.
    item: Option<Item<'f>>,
    kind: PhantomData<fn() -> K>,
}

impl<'f> Source for MappingReader<'f> {
    type Member<K> = Member<'f, K>;

    fn member<K>(&self, name: &'static str, need: Need) -> Member<'f, K> {
        let (entry, item) = self.take(name, need);
        Member { name, whole: self.item().clone(), entry, item, kind: PhantomData }
    }
}

impl<K> fmt::Debug for Member<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("name", &self.name).field("item", &self.item).finish()
    }
}

impl<'f, K> Member<'f, K> {
    /// Its name.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Its text with its place.
    pub(crate) fn located(&self) -> Option<Located<String>> {
        let item = self.item.as_ref()?;
        Some(item.located(item.text()?.to_owned()))
    }

    /// Its value, for what cannot be read without what surrounds it.
    pub(crate) fn item(&self) -> Option<&Item<'f>> {
        self.item.as_ref()
    }

    /// Whether the key stands there.
    pub(crate) fn is_given(&self) -> bool {
        self.entry.is_some()
    }

    /// Reports the key if it is there, because it would change nothing.
    pub(crate) fn without_effect(&self, why: &str) {
        if let Some(entry) = self.entry {
            let item = self.whole.at_key(entry);
            item.add(
                item.finding(format!("`{}` has no effect {why}", item.name())).expected("the key left out"),
            );
        }
    }

    /// Reports the key if it is not there, and not only misspelt.
    pub(crate) fn must_be_there(&self, others: &[&'static str]) {
        if self.entry.is_none() && !self.whole.is_misspelt(self.name, others) {
            self.whole.miss(self.name);
        }
    }
}

impl<K: Readable> Member<'_, K> {
    /// Its value, if it is there and can be read.
    pub(crate) fn read(&self) -> Option<K::Value> {
        K::read(self.item.as_ref()?)
    }
}

/// Those that can be read.
impl<K: Readable> Readable for Vec<K> {
    type Value = Vec<K::Value>;

    fn read(item: &Item<'_>) -> Option<Self::Value> {
        Some(item.list()?.iter().filter_map(K::read).collect())
    }
}

/// A list of values of one kind, with one at least.
#[derive(Debug)]
pub(crate) struct NonEmpty<K>(PhantomData<fn() -> K>);

impl<K: Described> Described for NonEmpty<K> {
    fn schema() -> Value {
        json!({"type": "array", "items": K::schema(), "minItems": 1})
    }
}

/// A list of different values of one kind, with one at least.
#[derive(Debug)]
pub(crate) struct Distinct<K>(PhantomData<fn() -> K>);

impl<K: Described> Described for Distinct<K> {
    fn schema() -> Value {
        json!({"type": "array", "items": K::schema(), "minItems": 1, "uniqueItems": true})
    }
}

impl<'f, K> Member<'f, Vec<K>> {
    /// The elements.
    pub(crate) fn items(&self) -> Option<Vec<Item<'f>>> {
        self.item.as_ref()?.list()
    }
}

impl<'f, K> Member<'f, NonEmpty<K>> {
    /// The elements. `expected` says what they would be.
    pub(crate) fn items(&self, expected: &str) -> Option<Vec<Item<'f>>> {
        self.item.as_ref()?.some(expected)
    }
}

impl<'f, K> Member<'f, Distinct<K>> {
    /// The elements, each with what `read` makes of it. `one` is what is to stand there once.
    pub(crate) fn distinct<T: PartialEq + fmt::Display>(
        &self,
        expected: &str,
        one: &str,
        read: impl Fn(&Item<'f>) -> Option<Located<T>>,
    ) -> Option<Vec<Located<T>>> {
        let mut found: Vec<Located<T>> = Vec::new();
        for item in self.item.as_ref()?.some(expected)? {
            let Some(next) = read(&item) else { continue };
            if found.iter().any(|known| known.value == next.value) {
                let finding =
                    item.finding(format!("`{}` is listed twice", shortened(&next.value.to_string())));
                item.add(finding.expected(format!("every {one} once")));
            }
            found.push(next);
        }
        Some(found)
    }
}

/// Compares what the schema of a kind accepts with what its reader does, for texts that are nearly right.
#[cfg(test)]
pub(crate) mod alike {
    use proptest::strategy::{Strategy, ValueTree};
    use proptest::test_runner::TestRunner;
    use serde_json::Value;

    use super::Readable;
    use crate::reader::{FileReport, Item};

    /// Whether a value is read without a finding.
    pub(crate) fn is_read<K: Readable>(value: &Value) -> bool {
        let report = FileReport::new("a.yaml");
        // JSON is YAML.
        let (tree, fault) = crate::yaml::parse(value.to_string().as_bytes());
        assert!(fault.is_none(), "{value}");
        let read = tree.and_then(|tree| K::read(&Item::root(&report, &tree))).is_some();
        let is_clean = report.into_findings().is_empty();
        assert_eq!(read, is_clean, "{value}: what is not given is told, and the other way round");
        read
    }

    /// Texts of this regular expression are read where the schema accepts them, and nowhere else.
    #[track_caller]
    pub(crate) fn check<K: Readable>(texts: &str) {
        check_by(&K::schema(), texts, |text| is_read::<K>(&Value::from(text)));
    }

    #[track_caller]
    pub(crate) fn check_by(schema: &Value, texts: &str, is_read: impl Fn(&str) -> bool) {
        let validator = jsonschema::draft202012::new(schema).unwrap();
        let strategy = proptest::string::string_regex(texts).unwrap();
        let mut seen = [false; 2];
        let mut runner = TestRunner::deterministic();
        for _ in 0..2000 {
            let text = strategy.new_tree(&mut runner).unwrap().current();
            let accepted = validator.is_valid(&Value::from(text.as_str()));
            assert_eq!(is_read(&text), accepted, "{text:?}: read, and accepted by {schema}");
            seen[usize::from(accepted)] = true;
        }
        assert_eq!(seen, [true; 2], "{schema}: texts of both sorts were tried");
    }
}
