//! Reading only the parts of a JSON document that paths touch.
//!
//! A [`Projection`] is made from the paths that somebody will follow. What it reads is smaller than the document and gives
//! the same answer to every one of them: members and elements that no path can reach are left out, everything that one
//! can see - the kind of a value on the way, the number of elements of an array, all keys below `[*]` - stays.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::path::{FieldPath, Segment};

/// How deep a projection goes; deeper parts are read whole. JSON itself is not read deeper than this.
const DEPTH_LIMIT: usize = 128;

/// Which parts of a value are touched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Projection {
    /// All of it.
    whole: bool,
    members: Vec<(String, Projection)>,
    /// Every member of an object alike; covers `members`.
    every: Option<Box<Projection>>,
    /// Every element of an array alike: positions may be counted from the end.
    elements: Option<Box<Projection>>,
}

static WHOLE: Projection = Projection { whole: true, members: Vec::new(), every: None, elements: None };

impl Projection {
    /// What these paths touch; the names of their roots are members of the outermost value.
    pub fn of<'p>(paths: impl IntoIterator<Item = &'p FieldPath>) -> Self {
        let mut projection = Self::default();
        for path in paths {
            projection.member_mut(path.root()).add(path.segments(), DEPTH_LIMIT);
        }
        projection
    }

    /// All of a value.
    pub fn whole() -> Self {
        WHOLE.clone()
    }

    /// Whether everything is touched.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// What is touched of a member; `None` when nothing is.
    pub fn member(&self, name: &str) -> Option<&Self> {
        if self.whole {
            return Some(&WHOLE);
        }
        let own = || self.members.iter().find(|(known, _)| known == name).map(|(_, member)| member);
        self.every.as_deref().or_else(own)
    }

    /// Also what the other touches.
    pub fn merge(&mut self, other: &Self) {
        self.whole |= other.whole;
        if let Some(every) = &other.every {
            self.every_mut().merge(every);
        }
        for (name, member) in &other.members {
            self.member_mut(name).merge(member);
            if let Some(every) = &mut self.every {
                every.merge(member);
            }
        }
        if let Some(elements) = &other.elements {
            self.elements.get_or_insert_default().merge(elements);
        }
    }

    /// Reads what is touched from a JSON text.
    pub fn read(&self, json: &[u8]) -> serde_json::Result<Value> {
        if self.whole {
            return serde_json::from_slice(json);
        }
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let value = self.deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(value)
    }

    fn add(&mut self, segments: &[Segment], depth: usize) {
        let Some((first, rest)) = segments.split_first().filter(|_| depth > 0) else {
            self.whole = true;
            return;
        };
        match first {
            Segment::Key(key) => {
                self.member_mut(key).add(rest, depth - 1);
                if let Some(every) = &mut self.every {
                    every.add(rest, depth - 1);
                }
                // On an array a key of digits is a position.
                if key.parse::<usize>().is_ok() {
                    self.elements.get_or_insert_default().add(rest, depth - 1);
                }
            }
            Segment::Index(_) => self.elements.get_or_insert_default().add(rest, depth - 1),
            Segment::Any => {
                self.every_mut().add(rest, depth - 1);
                self.elements.get_or_insert_default().add(rest, depth - 1);
            }
        }
    }

    fn member_mut(&mut self, name: &str) -> &mut Self {
        let place = match self.members.iter().position(|(known, _)| known == name) {
            Some(place) => place,
            None => {
                self.members.push((name.to_owned(), Self::default()));
                self.members.len() - 1
            }
        };
        &mut self.members[place].1
    }

    fn every_mut(&mut self) -> &mut Self {
        let members = &self.members;
        self.every.get_or_insert_with(|| {
            let mut every = Self::default();
            members.iter().for_each(|(_, member)| every.merge(member));
            Box::new(every)
        })
    }
}

impl<'de> DeserializeSeed<'de> for &Projection {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.whole {
            serde::Deserialize::deserialize(deserializer)
        } else {
            deserializer.deserialize_any(self)
        }
    }
}

impl<'de> Visitor<'de> for &Projection {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut elements = Vec::new();
        match &self.elements {
            Some(projection) => {
                while let Some(element) = sequence.next_element_seed(&**projection)? {
                    elements.push(element);
                }
            }
            None => while sequence.next_element::<IgnoredAny>()?.is_some() {},
        }
        Ok(Value::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        match &self.every {
            Some(projection) => {
                while let Some(key) = entries.next_key::<String>()? {
                    members.insert(key, entries.next_value_seed(&**projection)?);
                }
            }
            None => {
                while let Some(touched) = entries.next_key_seed(Names(&self.members))? {
                    match touched {
                        Some((name, projection)) => {
                            members.insert(name.clone(), entries.next_value_seed(projection)?);
                        }
                        None => drop(entries.next_value::<IgnoredAny>()?),
                    }
                }
            }
        }
        Ok(Value::Object(members))
    }
}

/// Finds the member of a key without keeping the key.
struct Names<'p>(&'p [(String, Projection)]);

impl<'de, 'p> DeserializeSeed<'de> for Names<'p> {
    type Value = Option<&'p (String, Projection)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'p> Visitor<'_> for Names<'p> {
    type Value = Option<&'p (String, Projection)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().find(|(name, _)| name == key))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(paths: &[&str], document: &Value, expect: &Value) {
        let paths: Vec<_> = paths.iter().map(|path| FieldPath::parse(path).unwrap()).collect();
        let projection = Projection::of(&paths);
        assert_eq!(projection.read(document.to_string().as_bytes()).unwrap(), *expect, "{paths:?}");
    }

    #[test]
    fn test_only_what_is_touched_is_read() {
        let document = json!({"e": {"a": {"b": 1, "c": 2}, "d": [1, {"x": 1, "y": 2}], "t": "text"}, "o": 1});
        check(&["e.a.b"], &document, &json!({"e": {"a": {"b": 1}}}));
        check(&["e.a.b", "e.a"], &document, &json!({"e": {"a": {"b": 1, "c": 2}}}));
        check(&["e.d[-1].x"], &document, &json!({"e": {"d": [1, {"x": 1}]}}));
        check(&["e.d.1.y"], &document, &json!({"e": {"d": [1, {"y": 2}]}}));
        check(&["e.d.key", "e.t.key"], &document, &json!({"e": {"d": [], "t": "text"}}));
        check(&["e[*].b"], &document, &json!({"e": {"a": {"b": 1}, "d": [], "t": "text"}}));
        check(&["e.a.c", "e[*].b"], &document, &json!({"e": {"a": {"b": 1, "c": 2}, "d": [], "t": "text"}}));
        check(&["e"], &document, &json!({"e": document["e"]}));
        check(&["no.such"], &document, &json!({}));
    }

    #[test]
    fn test_merging_touches_both() {
        let of = |path: &str| Projection::of([&FieldPath::parse(path).unwrap()]);
        let mut merged = of("e[*].a");
        merged.merge(&of("e.x.b"));
        let mut other = of("e.x.b");
        other.merge(&of("e[*].a"));
        let document = br#"{"e": {"x": {"a": 1, "b": 2, "c": 3}}}"#;
        for projection in [merged, other] {
            assert_eq!(projection.read(document).unwrap(), json!({"e": {"x": {"a": 1, "b": 2}}}));
        }
    }

    #[test]
    fn test_members_tell_what_is_touched_below() {
        let projection = Projection::of([&FieldPath::parse("event.payload.a").unwrap()]);
        let event = projection.member("event").unwrap();
        assert!(event.member("headers").is_none() && projection.member("rule").is_none());
        assert!(!event.member("payload").unwrap().is_whole());
        assert!(event.member("payload").and_then(|payload| payload.member("a")).unwrap().is_whole());
        assert!(Projection::whole().member("any").unwrap().is_whole());
    }

    #[test]
    fn test_what_is_no_json_is_refused() {
        let projection = Projection::of([&FieldPath::parse("e.a").unwrap()]);
        for bad in ["", "{", "{\"e\": }", "{} x", "{\"o\": tru}"] {
            assert!(projection.read(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
