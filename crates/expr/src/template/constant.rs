//! A root whose value is known before anything is rendered, such as the settings of a pack.
//!
//! What reads nothing else is rendered once and becomes part of the value: a template that the root alone decides costs
//! nothing afterwards, and where all of a value was decided it is static.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Node, Part, Renderer, Text, ValueTemplate, collect_paths, engine, has_slices};
use crate::path::{FieldPath, Segment, Selection};
use crate::scope::Scope;

/// A root that templates need not take from the scope.
#[derive(Clone)]
pub(super) struct Constant {
    pub(super) name: &'static str,
    pub(super) value: Arc<Value>,
}

/// Which members of a root templates read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MembersRead {
    /// Only these; none where the root is not read at all.
    Named(BTreeSet<String>),
    /// That depends on what is rendered.
    Any,
}

impl ValueTemplate {
    /// The template where the root of this name has this value, whatever the scope says.
    #[must_use]
    pub fn with_constant(self, name: &'static str, value: &Arc<Value>) -> Self {
        let scope = Scope::new().with(name, value);
        let mut renderer = Renderer { scope: &scope, constant: None, context: None };
        let is_read = reads(&self.root, name);
        let root = if is_read { decided(self.root, name, &mut renderer) } else { self.root };
        let is_left = is_read && reads(&root, name);
        let constant = || Box::new(Constant { name, value: value.clone() });
        Self { root, constant: is_left.then(constant) }
    }

    /// Which members of the root of this name the templates read.
    pub fn members_read(&self, name: &str) -> MembersRead {
        let mut paths = Vec::new();
        collect_paths(&self.root, &mut paths);
        let mut named = BTreeSet::new();
        for path in paths.iter().map(|used| &used.path).filter(|path| path.root() == name) {
            match path.segments().first() {
                Some(Segment::Key(member)) => drop(named.insert(member.clone())),
                _ => return MembersRead::Any,
            }
        }
        if may_slice_by(&self.root, name) { MembersRead::Any } else { MembersRead::Named(named) }
    }
}

/// Whether the node may read the root, be it in a slice, where the engine does not look for names.
fn reads(node: &Node, name: &str) -> bool {
    match node {
        Node::Static(_) => false,
        // What its text does not name costs no look into its names.
        Node::Native(native) => {
            native.source.contains(name) && (native.roots().contains(name) || may_slice_by(node, name))
        }
        // The engine renders the whole text where one of its paths finds nothing.
        Node::Text(text) => text.source.contains(name),
        Node::List(nodes) => nodes.iter().any(|node| reads(node, name)),
        Node::Object(members) => members.iter().any(|(_, node)| reads(node, name)),
    }
}

fn may_slice_by(node: &Node, name: &str) -> bool {
    match node {
        Node::Static(_) => false,
        Node::Native(native) => has_slices(node) && native.source.contains(name),
        Node::Text(text) => has_slices(node) && text.source.contains(name),
        Node::List(nodes) => nodes.iter().any(|node| may_slice_by(node, name)),
        Node::Object(members) => members.iter().any(|(_, node)| may_slice_by(node, name)),
    }
}

/// The node with what the root alone decides put in its place. What cannot be rendered stays, to fail when it is asked for.
fn decided(node: Node, name: &str, renderer: &mut Renderer<'_, '_>) -> Node {
    let is_decided = match &node {
        Node::Native(native) => is_only(native.roots(), name) && !has_slices(&node),
        Node::Text(text) => is_only(text.roots(), name) && !has_slices(&node),
        Node::Static(_) | Node::List(_) | Node::Object(_) => false,
    };
    if is_decided && let Ok(value) = renderer.node(&node) {
        return Node::Static(value);
    }
    match node {
        Node::Static(_) | Node::Native(_) => node,
        Node::Text(text) => Node::Text(Box::new(with_literals(*text, name, renderer.scope))),
        Node::List(nodes) => {
            let nodes: Vec<Node> =
                nodes.into_vec().into_iter().map(|node| decided(node, name, renderer)).collect();
            match nodes.iter().map(as_static).collect::<Option<Vec<Value>>>() {
                Some(values) => Node::Static(Value::Array(values)),
                None => Node::List(nodes.into()),
            }
        }
        Node::Object(members) => {
            let members: Vec<(String, Node)> = members
                .into_vec()
                .into_iter()
                .map(|(key, node)| (key, decided(node, name, renderer)))
                .collect();
            let values = members.iter().map(|(key, node)| Some((key.clone(), as_static(node)?)));
            match values.collect::<Option<Map<String, Value>>>() {
                Some(values) => Node::Static(Value::Object(values)),
                None => Node::Object(members.into()),
            }
        }
    }
}

fn is_only(roots: impl IntoIterator<Item = String>, name: &str) -> bool {
    let mut roots = roots.into_iter().filter(|root| !engine::is_global(root)).peekable();
    roots.peek().is_some() && roots.all(|root| root == name)
}

fn as_static(node: &Node) -> Option<Value> {
    match node {
        Node::Static(value) => Some(value.clone()),
        Node::Native(_) | Node::Text(_) | Node::List(_) | Node::Object(_) => None,
    }
}

/// The text with what its paths find in the root.
fn with_literals(text: Text, name: &str, scope: &Scope<'_>) -> Text {
    let Text { pointer, source, parts } = text;
    let found = |path: &FieldPath| match path.select(scope) {
        Selection::One(Value::String(found)) => Some(found.clone()),
        Selection::One(value) => Some(engine::to_engine(value).to_string()),
        Selection::None | Selection::Many(_) => None,
    };
    let part = |part| match part {
        Part::Path(path) if path.root() == name => found(&path).map_or(Part::Path(path), Part::Literal),
        Part::Path(_) | Part::Literal(_) => part,
    };
    let parts = parts.map(|parts| parts.into_vec().into_iter().map(part).collect());
    Text { pointer, source, parts }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with(value: &Value, settings: Value) -> ValueTemplate {
        ValueTemplate::compile(value).unwrap().with_constant("config", &Arc::new(settings))
    }

    #[test]
    fn test_what_the_root_alone_decides_is_static() {
        let value = json!({"a": "{{ config.n }}", "b": ["x{{ config.s }}y", "{{ config.n + 1 }}"], "c": 1});
        let template = with(&value, json!({"n": 3, "s": "{{ event.payload }}"}));
        // A value is a value, whatever its text looks like.
        let expected = json!({"a": 3, "b": ["x{{ event.payload }}y", 4], "c": 1});
        assert_eq!(template.as_static(), Some(&expected));
        assert!(template.roots().is_empty());
    }

    #[test]
    fn test_what_reads_more_is_rendered_with_both() {
        let value = json!({
            "text": "{{ config.url }}/{{ event.id }}",
            "expression": "{{ event.id * config.n }}",
            "slice": "{{ event.name[:config.n] }}",
            "missing": "{{ config.url }}{{ event.none | default('-') }}",
        });
        let template = with(&value, json!({"url": "https://e", "n": 2}));
        let event = json!({"id": 7, "name": "abc"});
        let scope = Scope::new().with("event", &event);
        let expected =
            json!({"text": "https://e/7", "expression": 14, "slice": "ab", "missing": "https://e-"});
        assert_eq!(template.render(&scope).unwrap(), expected);
        let roots: BTreeSet<String> = template.roots().into_iter().map(|used| used.root).collect();
        assert_eq!(roots, BTreeSet::from(["event".to_owned()]), "the scope need not have it");
        assert!(
            template
                .fields()
                .iter()
                .chain(template.paths().iter().map(|used| &used.path))
                .all(|path| path.root() == "event")
        );
    }

    #[test]
    fn test_the_value_counts_whatever_the_scope_says() {
        let other = json!({"n": 9});
        let scope = Scope::new().with("config", &other).with("event", &other);
        let template = with(&json!(["{{ config.n }}", "{{ config.n + event.n }}"]), json!({"n": 1}));
        assert_eq!(template.render(&scope).unwrap(), json!([1, 10]));
    }

    #[test]
    fn test_what_is_not_there_fails_when_it_is_asked_for() {
        let event = json!({"n": 1});
        let scope = Scope::new().with("event", &event);
        for text in ["{{ config.url }}", "{{ config.url }}/{{ event.n }}", "{{ config.url ~ event.n }}"] {
            let error = with(&json!(text), json!({"n": 1})).render(&scope).unwrap_err();
            assert_eq!(error.kind, crate::template::TemplateErrorKind::Undefined);
            assert!(error.message.contains("config") && error.message.contains("url"), "{}", error.message);
        }
        let template = with(&json!("{{ config.url | default('none') }}"), json!({}));
        assert_eq!(template.as_static(), Some(&json!("none")));
    }

    #[test]
    fn test_members_that_are_read() {
        let read = |text: &str| ValueTemplate::compile(&json!({"a": text})).unwrap().members_read("config");
        let named =
            |names: &[&str]| MembersRead::Named(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(read("{{ event.config.a }}"), named(&[]));
        assert_eq!(read("{{ config.a }} {{ config['b'].c }}"), named(&["a", "b"]));
        assert_eq!(read("{{ config.a + config.b.c | length }}"), named(&["a", "b"]));
        for text in
            ["{{ config }}", "{{ config[event.n] }}", "{{ config | tojson }}", "{{ event.n[:config.n] }}"]
        {
            assert_eq!(read(text), MembersRead::Any, "{text}");
        }
    }
}
