//! What the rules ask of one field.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use attune_expr::path::FieldPath;
use attune_expr::scope::Scope;
use serde_json::Value;

use super::Proposed;
use super::guard::{Guard, GuardTable, Kinds};
use super::postings::Postings;
use super::probe::{Probe, Subject, number};
use super::trie::HashTrie;
use crate::compiled::CompiledRule;

/// Costs are fractions of this, so that they stay whole numbers.
pub(super) const COST_UNIT: u64 = 1 << 20;

/// How a value of a field makes the index propose a rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Trigger {
    /// A look-up gives this fingerprint.
    Keyed(Probe, u64),
    /// The number is at least this.
    AtLeast(Bound),
    /// The number is at most this.
    AtMost(Bound),
    /// The value is of one of these kinds.
    Kind(Kinds),
}

/// A number with the total order that a sorted map needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound(pub(super) f64);

/// The rules entered through one field.
#[derive(Debug, Clone, Default)]
pub(super) struct FieldTable {
    /// The path of the field, when it has one value.
    path: Option<Arc<FieldPath>>,
    /// The look-ups in use with how many entries need them: an event pays for these only.
    probes: Vec<(Probe, usize)>,
    keyed: HashTrie<Postings>,
    at_least: BTreeMap<Bound, Postings>,
    at_most: BTreeMap<Bound, Postings>,
    kinds: BTreeMap<Kinds, Postings>,
    /// Rules with a condition that fails on these kinds, by what must be undecided for the failure to count.
    failures: BTreeMap<Kinds, GuardTable>,
}

impl FieldTable {
    pub(super) fn is_empty(&self) -> bool {
        self.probes.is_empty()
            && self.at_least.is_empty()
            && self.at_most.is_empty()
            && self.kinds.is_empty()
            && self.failures.is_empty()
    }

    /// What one more rule behind this trigger is expected to cost for an event that reaches it.
    pub(super) fn cost(&self, trigger: &Trigger) -> u64 {
        let sharing = |postings: Option<&Postings>| postings.map_or(0, Postings::len);
        let (weight, sharing) = match trigger {
            Trigger::Keyed(probe, key) => (weight(*probe), sharing(self.keyed.get(*key))),
            Trigger::AtLeast(bound) => (64, sharing(self.at_least.get(bound)) + self.at_least.len()),
            Trigger::AtMost(bound) => (64, sharing(self.at_most.get(bound)) + self.at_most.len()),
            Trigger::Kind(kinds) => (256, sharing(self.kinds.get(kinds))),
        };
        weight * (sharing as u64 + 1) * COST_UNIT
    }

    /// Says which field this is.
    pub(super) fn name(&mut self, path: Option<&Arc<FieldPath>>) {
        if self.path.is_none() {
            self.path = path.cloned();
        }
    }

    pub(super) fn insert(&mut self, trigger: &Trigger, rule: &Arc<CompiledRule>) {
        match trigger {
            Trigger::Keyed(probe, key) => {
                match self.probes.iter_mut().find(|(known, _)| known == probe) {
                    Some((_, uses)) => *uses += 1,
                    None => self.probes.push((*probe, 1)),
                }
                self.keyed.entry(*key, Postings::default).insert(rule);
            }
            Trigger::AtLeast(bound) => self.at_least.entry(*bound).or_default().insert(rule),
            Trigger::AtMost(bound) => self.at_most.entry(*bound).or_default().insert(rule),
            Trigger::Kind(kinds) => self.kinds.entry(*kinds).or_default().insert(rule),
        }
    }

    /// Takes back what [`FieldTable::insert`] did.
    pub(super) fn remove(&mut self, trigger: &Trigger, rule: &Arc<CompiledRule>) {
        match trigger {
            Trigger::Keyed(probe, key) => {
                if let Some((_, uses)) = self.probes.iter_mut().find(|(known, _)| known == probe) {
                    *uses = uses.saturating_sub(1);
                }
                self.probes.retain(|(_, uses)| *uses > 0);
                let postings = self.keyed.entry(*key, Postings::default);
                postings.remove(rule);
                if postings.is_empty() {
                    self.keyed.remove(*key);
                }
            }
            Trigger::AtLeast(bound) => take(&mut self.at_least, bound, rule),
            Trigger::AtMost(bound) => take(&mut self.at_most, bound, rule),
            Trigger::Kind(kinds) => take(&mut self.kinds, kinds, rule),
        }
    }

    pub(super) fn insert_failure(&mut self, kinds: Kinds, guard: Option<&Guard>, rule: &Arc<CompiledRule>) {
        self.failures.entry(kinds).or_default().insert(guard, rule);
    }

    /// Takes back what [`FieldTable::insert_failure`] did.
    pub(super) fn remove_failure(&mut self, kinds: Kinds, guard: Option<&Guard>, rule: &Arc<CompiledRule>) {
        if let Some(guards) = self.failures.get_mut(&kinds) {
            guards.remove(guard, rule);
            if guards.is_empty() {
                self.failures.remove(&kinds);
            }
        }
    }

    /// Adds the rules that a value of this field proposes.
    pub(super) fn propose<'i, 'v>(
        &'i self,
        value: &'v Value,
        scope: &Scope<'v>,
        proposed: &mut Proposed<'i, 'v>,
    ) {
        let before = proposed.rules.len();
        self.collect(value, scope, &mut proposed.rules);
        if let Some(path) = &self.path
            && proposed.rules.len() > before
        {
            // These rules are going to ask for the field.
            proposed.selections.remember(path, value);
        }
    }

    fn collect<'i>(&'i self, value: &Value, scope: &Scope<'_>, proposed: &mut Vec<&'i Arc<CompiledRule>>) {
        let subject = Subject::new(value);
        // A text has the same gram many times; its rules are wanted once.
        let mut met = BTreeSet::new();
        for (probe, _) in &self.probes {
            probe.fingerprints(&subject, &mut |key| {
                if let Some(postings) = self.keyed.get(key)
                    && met.insert(key)
                {
                    proposed.extend(postings.as_slice());
                }
            });
        }
        if let Some(number) = number(subject.value()).map(Bound) {
            let rules = self.at_least.range(..=number).chain(self.at_most.range(number..));
            rules.for_each(|(_, postings)| proposed.extend(postings.as_slice()));
        }
        for (_, postings) in self.kinds.iter().filter(|(kinds, _)| kinds.has(value)) {
            proposed.extend(postings.as_slice());
        }
        for (_, guards) in self.failures.iter().filter(|(kinds, _)| kinds.has(value)) {
            guards.propose(scope, proposed);
        }
    }
}

fn take<K: Ord>(map: &mut BTreeMap<K, Postings>, key: &K, rule: &Arc<CompiledRule>) {
    if let Some(postings) = map.get_mut(key) {
        postings.remove(rule);
        if postings.is_empty() {
            map.remove(key);
        }
    }
}

fn weight(probe: Probe) -> u64 {
    match probe {
        Probe::Scalar | Probe::Container | Probe::Lower => 1,
        // Short ones fit many texts.
        Probe::Affix { length, .. } => 2 + 64 / (u64::from(length) + 1),
        Probe::Element | Probe::LowerElement | Probe::Member => 2,
        Probe::Gram { .. } => 8,
        Probe::Span { .. } => 8,
    }
}

impl PartialEq for Bound {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Bound {}

impl PartialOrd for Bound {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Bound {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}
