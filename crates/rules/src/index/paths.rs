//! The fields that rules are entered through, as one tree that is walked beside the event.
//!
//! Each field is reached once, however many rules ask for it. Where many fields stand beside each other, the smaller of
//! the two sides (the members of the event's object, the fields asked for) is gone through, so that a hundred thousand
//! fields cost no more than the event is large.

use std::sync::Arc;

use attune_expr::path::{FieldPath, Segment, step};
use attune_expr::scope::Scope;
use serde_json::Value;

use super::Proposed;
use super::fingerprint::of;
use super::table::FieldTable;
use super::trie::HashTrie;

/// The root of `trigger_params`. No path can be written that starts with it.
pub(super) const CONFIG: &str = "trigger_params()";

/// All fields, by their roots.
#[derive(Debug, Clone, Default)]
pub(super) struct PathTree {
    roots: Vec<(String, Arc<PathNode>)>,
}

#[derive(Debug, Clone)]
struct PathNode {
    segment: Segment,
    table: Option<Arc<FieldTable>>,
    /// Steps by a key that is no position in an array. Two keys of an object share a fingerprint only if somebody found a
    /// collision of 64 bits.
    keys: HashTrie<Arc<PathNode>>,
    /// Steps by a position or by a key of digits, which means a position where it meets an array.
    positions: Vec<Arc<PathNode>>,
    any: Option<Arc<PathNode>>,
}

/// A place in the tree: a root and the steps from there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// A field that a condition names.
    Field(Arc<FieldPath>),
    /// An entry of the event's config.
    Config(Arc<[Segment]>),
}

impl Place {
    fn root(&self) -> &str {
        match self {
            Self::Field(path) => path.root(),
            Self::Config(_) => CONFIG,
        }
    }

    /// The path of a field with one value.
    pub(super) fn single(&self) -> Option<&Arc<FieldPath>> {
        match self {
            Self::Field(path) if !path.has_any() => Some(path),
            Self::Field(_) | Self::Config(_) => None,
        }
    }

    fn segments(&self) -> &[Segment] {
        match self {
            Self::Field(path) => path.segments(),
            Self::Config(segments) => segments,
        }
    }
}

impl PathTree {
    pub(super) fn table(&self, place: &Place) -> Option<&FieldTable> {
        let mut node = &self.roots.iter().find(|(name, _)| name == place.root())?.1;
        for segment in place.segments() {
            node = node.child(segment)?;
        }
        node.table.as_deref()
    }

    /// Changes the table of a field; a field without rules leaves the tree.
    pub(super) fn change(&mut self, place: &Place, change: impl FnOnce(&mut FieldTable)) {
        let position = self.roots.iter().position(|(name, _)| name == place.root());
        let position = position.unwrap_or_else(|| {
            let root = Arc::new(PathNode::new(Segment::Key(place.root().to_owned())));
            self.roots.push((place.root().to_owned(), root));
            self.roots.len() - 1
        });
        let root = &mut self.roots[position].1;
        Arc::make_mut(root).change(place.segments(), change);
        if root.is_empty() {
            self.roots.remove(position);
        }
    }

    /// Adds the rules that an event proposes.
    pub(super) fn propose<'i, 'v>(
        &'i self,
        scope: &Scope<'v>,
        config: &'v Value,
        proposed: &mut Proposed<'i, 'v>,
    ) {
        for (name, node) in &self.roots {
            let value = if name == CONFIG { Some(config) } else { scope.get(name) };
            if let Some(value) = value {
                node.propose(value, scope, proposed);
            }
        }
    }
}

impl PathNode {
    fn new(segment: Segment) -> Self {
        Self { segment, table: None, keys: HashTrie::default(), positions: Vec::new(), any: None }
    }

    fn is_empty(&self) -> bool {
        self.table.is_none() && self.keys.is_empty() && self.positions.is_empty() && self.any.is_none()
    }

    fn child(&self, segment: &Segment) -> Option<&Arc<Self>> {
        match segment {
            Segment::Any => self.any.as_ref(),
            Segment::Key(key) if !is_position(key) => self.keys.get(of(key.as_str())),
            Segment::Key(_) | Segment::Index(_) => {
                self.positions.iter().find(|child| child.segment == *segment)
            }
        }
    }

    fn change(&mut self, segments: &[Segment], change: impl FnOnce(&mut FieldTable)) {
        let Some((segment, rest)) = segments.split_first() else {
            let table = Arc::make_mut(self.table.get_or_insert_default());
            change(table);
            if table.is_empty() {
                self.table = None;
            }
            return;
        };
        let new = || Arc::new(Self::new(segment.clone()));
        match segment {
            Segment::Any => {
                let child = self.any.get_or_insert_with(new);
                Arc::make_mut(child).change(rest, change);
                if child.is_empty() {
                    self.any = None;
                }
            }
            Segment::Key(key) if !is_position(key) => {
                let key = of(key.as_str());
                let child = self.keys.entry(key, new);
                Arc::make_mut(child).change(rest, change);
                if child.is_empty() {
                    self.keys.remove(key);
                }
            }
            Segment::Key(_) | Segment::Index(_) => {
                let known = self.positions.iter().position(|child| child.segment == *segment);
                let position = known.unwrap_or_else(|| {
                    self.positions.push(new());
                    self.positions.len() - 1
                });
                let child = &mut self.positions[position];
                Arc::make_mut(child).change(rest, change);
                if child.is_empty() {
                    self.positions.swap_remove(position);
                }
            }
        }
    }

    fn propose<'i, 'v>(&'i self, value: &'v Value, scope: &Scope<'v>, proposed: &mut Proposed<'i, 'v>) {
        if let Some(table) = &self.table {
            table.propose(value, scope, proposed);
        }
        for child in &self.positions {
            if let Some(next) = step(value, &child.segment) {
                child.propose(next, scope, proposed);
            }
        }
        match value {
            Value::Object(members) => {
                if self.keys.len() <= members.len() {
                    self.keys.for_each(&mut |child| {
                        if let Some(next) = step(value, &child.segment) {
                            child.propose(next, scope, proposed);
                        }
                    });
                } else {
                    for (key, next) in members {
                        if let Some(child) = self.keys.get(of(key.as_str())) {
                            child.propose(next, scope, proposed);
                        }
                    }
                }
                if let Some(any) = &self.any {
                    members.values().for_each(|next| any.propose(next, scope, proposed));
                }
            }
            Value::Array(elements) => {
                if let Some(any) = &self.any {
                    elements.iter().for_each(|next| any.propose(next, scope, proposed));
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

fn is_position(key: &str) -> bool {
    key.parse::<usize>().is_ok()
}
