//! Marks: what stands in rendered parameters in the place of the value of a key, until whoever runs the action puts the
//! value there.
//!
//! A mark holds a nonce that is drawn for one rendering, so that text from anywhere else - an event, above all - can not be
//! one. Marks are text, and may only be put into text: a mark that was changed on the way, or that did not get into the
//! result although it was asked for, is a fault ([`KeyMarks::lost`]).

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};

/// What is shown in the place of a secret.
pub const MASK: &str = "********";

/// The marks of one rendering. Clones share what was asked for.
#[derive(Clone)]
pub struct KeyMarks {
    nonce: Arc<str>,
    asked: Arc<Mutex<BTreeSet<String>>>,
}

impl KeyMarks {
    /// The marks with this nonce, which nobody can guess; letters, digits, `_` and `-`.
    pub fn new(nonce: &str) -> Self {
        Self { nonce: nonce.into(), asked: Arc::default() }
    }

    /// The nonce.
    pub fn nonce(&self) -> &str {
        &self.nonce
    }

    /// The mark of a key. Its brackets make it differ from itself where text is escaped.
    pub fn mark(&self, key_ref: &str) -> String {
        format!("<key:{}:{key_ref}>", self.nonce)
    }

    /// A text with something in the place of each mark.
    pub fn replace_in_text(&self, text: &str, with: &mut impl FnMut(&str) -> String) -> String {
        let start = format!("<key:{}:", self.nonce);
        let mut replaced = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(&start) {
            let key_ref = &rest[at + start.len()..];
            let Some(end) = key_ref.find('>') else { break };
            replaced.push_str(&rest[..at]);
            replaced.push_str(&with(&key_ref[..end]));
            rest = &key_ref[end + 1..];
        }
        replaced.push_str(rest);
        replaced
    }

    /// A value with something in the place of each mark, in texts and in the names of members.
    pub fn replace(&self, value: Value, with: &mut impl FnMut(&str) -> String) -> Value {
        match value {
            Value::String(text) => Value::String(self.replace_in_text(&text, with)),
            Value::Array(elements) => {
                elements.into_iter().map(|element| self.replace(element, with)).collect()
            }
            Value::Object(members) => {
                let replaced = members
                    .into_iter()
                    .map(|(name, member)| (self.replace_in_text(&name, with), self.replace(member, with)));
                Value::Object(replaced.collect::<Map<_, _>>())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value,
        }
    }

    /// The value as it may be shown: with [`MASK`] in the place of each mark.
    pub fn masked(&self, value: Value) -> Value {
        self.replace(value, &mut |_| MASK.to_owned())
    }

    /// The text as it may be shown.
    pub fn masked_text(&self, text: &str) -> String {
        self.replace_in_text(text, &mut |_| MASK.to_owned())
    }

    /// The keys whose marks stand in a value.
    pub fn keys_in(&self, value: &Value) -> BTreeSet<String> {
        let mut keys = BTreeSet::new();
        self.replace(value.clone(), &mut |key_ref| {
            keys.insert(key_ref.to_owned());
            String::new()
        });
        keys
    }

    /// A key that was asked for when the value was rendered and whose mark did not get there, or a mark that was changed.
    pub fn lost(&self, rendered: &Value) -> Option<String> {
        let there = self.keys_in(rendered);
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(missing) = asked.difference(&there).next() {
            return Some(missing.clone());
        }
        // What is left of the nonce belongs to a mark that is none any more.
        let rest = self.replace(rendered.clone(), &mut |_| String::new()).to_string().to_ascii_lowercase();
        let changed = rest.contains(&self.nonce.to_ascii_lowercase());
        changed.then(|| asked.first().cloned().unwrap_or_default())
    }

    /// `key(..)` for the engine.
    pub(crate) fn function(&self) -> minijinja::Value {
        let marks = self.clone();
        minijinja::Value::from_function(move |key_ref: String| {
            let mark = marks.mark(&key_ref);
            marks.asked.lock().unwrap_or_else(PoisonError::into_inner).insert(key_ref);
            mark
        })
    }
}

impl fmt::Debug for KeyMarks {
    /// Without the nonce: whoever knows it can write marks.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyMarks").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn test_only_marks_with_the_nonce_are_replaced() {
        let marks = KeyMarks::new("n0nce");
        let other = KeyMarks::new("other");
        let text = format!(
            "a {} b {} c {} <key:n0nce:open",
            marks.mark("ops.a"),
            other.mark("ops.a"),
            marks.mark("ops.b")
        );
        let shown = marks.replace_in_text(&text, &mut |key_ref| format!("[{key_ref}]"));
        assert_eq!(shown, "a [ops.a] b <key:other:ops.a> c [ops.b] <key:n0nce:open");
    }

    #[test]
    fn test_values_are_replaced_wherever_there_is_text() {
        let marks = KeyMarks::new("n0nce");
        let mark = marks.mark("ops.a");
        let value = json!({"list": [mark, 1, null], mark.clone(): {"deep": format!("Bearer {mark}")}});
        assert_eq!(
            marks.masked(value.clone()),
            json!({"list": [MASK, 1, null], MASK: {"deep": "Bearer ********"}})
        );
        assert_eq!(marks.keys_in(&value), BTreeSet::from(["ops.a".to_owned()]));
    }

    #[test]
    fn test_debug_does_not_show_the_nonce() {
        assert!(!format!("{:?}", KeyMarks::new("n0nce")).contains("n0nce"));
    }
}
