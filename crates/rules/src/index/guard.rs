//! Rules that are entered by what an event does *not* hold.
//!
//! A rule whose entry is undecided (its field is missing, or of a kind its operator cannot judge) can still fail, and a
//! failure is an outcome that must be reported. A guard asks for exactly this state of a field. `not_exists` and `equals
//! null` are entered the same way.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use attune_expr::path::{FieldPath, Selection};
use attune_expr::scope::Scope;
use serde_json::Value;

use super::fingerprint::fingerprint;
use super::postings::Postings;
use super::trie::HashTrie;
use crate::compiled::CompiledRule;

/// A set of kinds of JSON values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Kinds(u8);

impl Kinds {
    pub(super) const NONE: Self = Self(0);
    pub(super) const NULL: Self = Self(1);
    pub(super) const BOOLEAN: Self = Self(2);
    pub(super) const NUMBER: Self = Self(4);
    pub(super) const STRING: Self = Self(8);
    pub(super) const ARRAY: Self = Self(16);
    pub(super) const OBJECT: Self = Self(32);
    pub(super) const ALL: Self = Self(63);

    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn but(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) const fn has(self, value: &Value) -> bool {
        let kind = match value {
            Value::Null => Self::NULL,
            Value::Bool(_) => Self::BOOLEAN,
            Value::Number(_) => Self::NUMBER,
            Value::String(_) => Self::STRING,
            Value::Array(_) => Self::ARRAY,
            Value::Object(_) => Self::OBJECT,
        };
        self.0 & kind.0 != 0
    }
}

/// Holds when the field is missing, holds nothing, or has a value of one of the kinds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Guard {
    pub(super) path: Arc<FieldPath>,
    pub(super) kinds: Kinds,
}

impl Guard {
    fn holds(&self, scope: &Scope<'_>) -> bool {
        match self.path.select(scope) {
            Selection::None => true,
            Selection::One(value) => self.kinds.has(value),
            Selection::Many(values) => values.is_empty() || values.iter().any(|value| self.kinds.has(value)),
        }
    }
}

/// Rules by their guard; without a guard they are proposed whenever the table is asked.
#[derive(Debug, Clone, Default)]
pub(super) struct GuardTable {
    unguarded: Postings,
    // Guards are compared in full: taking one for another would lose rules.
    guarded: HashTrie<Vec<(Guard, Postings)>>,
}

impl GuardTable {
    pub(super) fn is_empty(&self) -> bool {
        self.unguarded.is_empty() && self.guarded.is_empty()
    }

    pub(super) fn count(&self, guard: &Guard) -> usize {
        let known = self.guarded.get(key(guard));
        let known = known.and_then(|entries| entries.iter().find(|(known, _)| known == guard));
        known.map_or(0, |(_, postings)| postings.len())
    }

    pub(super) fn insert(&mut self, guard: Option<&Guard>, rule: &Arc<CompiledRule>) {
        let Some(guard) = guard else { return self.unguarded.insert(rule) };
        let entries = self.guarded.entry(key(guard), Vec::new);
        match entries.iter_mut().find(|(known, _)| known == guard) {
            Some((_, postings)) => postings.insert(rule),
            None => entries.push((guard.clone(), Postings::One(rule.clone()))),
        }
    }

    pub(super) fn remove(&mut self, guard: Option<&Guard>, rule: &Arc<CompiledRule>) {
        let Some(guard) = guard else { return self.unguarded.remove(rule) };
        let key = key(guard);
        if self.guarded.get(key).is_none() {
            return;
        }
        let entries = self.guarded.entry(key, Vec::new);
        for (_, postings) in entries.iter_mut().filter(|(known, _)| known == guard) {
            postings.remove(rule);
        }
        entries.retain(|(_, postings)| !postings.is_empty());
        if entries.is_empty() {
            self.guarded.remove(key);
        }
    }

    /// Adds the rules whose guard holds.
    pub(super) fn propose<'i>(&'i self, scope: &Scope<'_>, proposed: &mut Vec<&'i Arc<CompiledRule>>) {
        proposed.extend(self.unguarded.as_slice());
        self.guarded.for_each(&mut |entries| {
            for (guard, postings) in entries {
                if guard.holds(scope) {
                    proposed.extend(postings.as_slice());
                }
            }
        });
    }
}

fn key(guard: &Guard) -> u64 {
    fingerprint(|hasher| {
        guard.hash(hasher);
        hasher.write_u8(0);
    })
}
