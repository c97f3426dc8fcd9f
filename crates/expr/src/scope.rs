//! The names an expression can see.
//!
//! A scope borrows its values, so that making one per rule costs a few pointers however large the event is. It is the
//! only way data reaches templates, paths and conditions: nothing is looked up anywhere else. Where the values of keys
//! may be put, it carries the [`KeyMarks`] that stand in their place.

use std::fmt;
use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value};

use crate::key_marks::KeyMarks;
use crate::template::KEY_FUNCTION;

/// Named JSON roots (`event`, `rule`, `trigger`, ...), borrowed from whoever evaluates.
///
/// The template engine needs its own copy of a root, made when the first template asks for it. A clone shares that copy:
/// put the event into one scope and clone it for every rule, and a large event is copied once, not once per rule.
#[derive(Clone, Default)]
pub struct Scope<'a> {
    roots: Vec<Root<'a>>,
    marks: Option<KeyMarks>,
}

#[derive(Clone)]
struct Root<'a> {
    name: &'a str,
    value: &'a Value,
    engine: Arc<OnceLock<minijinja::Value>>,
}

impl<'a> Scope<'a> {
    /// A scope without any names.
    pub fn new() -> Self {
        Self::default()
    }

    /// A scope whose roots are the members of an object.
    pub fn of_members(members: &'a Map<String, Value>) -> Self {
        // Their names differ, so none is looked for among the others: an object may have very many.
        let root = |(name, value): (&'a String, &'a Value)| Root { name, value, engine: Arc::default() };
        Self { roots: members.iter().map(root).collect(), marks: None }
    }

    /// Adds a root; a name given twice means the later value.
    #[must_use]
    pub fn with(mut self, name: &'a str, value: &'a Value) -> Self {
        let root = Root { name, value, engine: Arc::default() };
        match self.roots.iter_mut().find(|known| known.name == name) {
            Some(known) => *known = root,
            None => self.roots.push(root),
        }
        self
    }

    /// Adds the function `key`, which gives the mark of a key.
    #[must_use]
    pub fn with_key_marks(self, marks: &KeyMarks) -> Self {
        Self { marks: Some(marks.clone()), ..self }
    }

    /// The value of a root, when the scope has it.
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.roots.iter().find(|root| root.name == name).map(|root| root.value)
    }

    /// The names of the roots in the order they were added.
    pub fn names(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.roots.iter().map(|root| root.name)
    }

    /// The roots in the form of the template engine.
    pub(crate) fn engine_roots(&self) -> impl Iterator<Item = (&'a str, minijinja::Value)> + '_ {
        let key = self.marks.as_ref().map(|marks| (KEY_FUNCTION, marks.function()));
        let roots = self.roots.iter().map(|root| {
            let value =
                root.engine.get_or_init(|| minijinja::Value::from(minijinja::value::Serde(root.value)));
            (root.name, value.clone())
        });
        roots.chain(key)
    }
}

impl fmt::Debug for Scope<'_> {
    /// Names only: the values are whole events.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Scope").field(&self.names().collect::<Vec<_>>()).finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn test_with_replaces_a_name_given_twice() {
        let (first, second) = (json!(1), json!(2));
        let scope = Scope::new().with("event", &first).with("rule", &first);
        let replaced = scope.clone().with("event", &second);
        assert_eq!((scope.get("event"), replaced.get("event")), (Some(&first), Some(&second)));
        assert_eq!(replaced.names().collect::<Vec<_>>(), ["event", "rule"]);
        assert_eq!(replaced.get("nope"), None);
        let engine: Vec<_> = replaced.engine_roots().map(|(_, value)| value.to_string()).collect();
        assert_eq!(engine, ["2", "1"]);
    }

    #[test]
    fn test_members_become_roots() {
        let data = json!({"a": 1, "b": [2]});
        let scope = Scope::of_members(data.as_object().unwrap());
        assert_eq!(scope.names().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((scope.get("b"), scope.get("c")), (Some(&json!([2])), None));
    }

    #[test]
    fn test_clones_share_the_engines_copy() {
        let event = json!({"a": 1});
        let scope = Scope::new().with("event", &event);
        let clone = scope.clone().with("rule", &event);
        assert_eq!(clone.engine_roots().count(), 2);
        assert!(scope.roots[0].engine.get().is_some(), "the copy made for the clone is not seen");
    }

    #[test]
    fn test_debug_shows_names_only() {
        let event = json!({"password": "hunter2"});
        assert_eq!(format!("{:?}", Scope::new().with("event", &event)), r#"Scope(["event"])"#);
    }
}
