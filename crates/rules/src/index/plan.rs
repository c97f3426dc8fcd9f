//! Where a rule is entered.
//!
//! A rule must be proposed for every event on which its verdict is `True` or `Error`.
//!
//! *True.* Every conjunct of the rule is then true, so that any one of them can be the entry: the one that is shared by
//! the fewest rules. A conjunct that is a disjunction is entered by all of its branches, or not at all.
//!
//! *Error.* Some condition fails, and no conjunct is false, so that the entry is true or undecided; and it is undecided
//! only if one of the conditions in it is missing or fails. So the rule is also filed under each condition that may fail,
//! guarded by each condition of the entry. As long as fields have the kind that their conditions expect, an event meets
//! none of these.

use std::cell::RefCell;
use std::sync::Arc;

use attune_expr::path::Segment;

use super::guard::{Guard, GuardTable, Kinds};
use super::paths::{PathTree, Place};
use super::question::{Question, equals, may_fail_on, when_false, when_true};
use super::statistics::Statistics;
use super::table::{FieldTable, Trigger};
use crate::compiled::CompiledRule;
use crate::definition::ConditionMode;
use crate::node::{Expected, Node, Test};

/// More pairs of a failing condition and a guard than this, and the guards are left out: a superset costs little, a list
/// that grows with the square of a rule's conditions does.
const GUARDED_FAILURES_LIMIT: usize = 64;

/// Compares an entry through an absent field with [`super::table::FieldTable::cost`].
const ABSENT_WEIGHT: u64 = 256 * super::table::COST_UNIT;

/// One place in the index at which a rule stands.
#[derive(Debug, Clone)]
pub(super) enum Registration {
    /// A value of a field proposes the rule.
    Field(Place, Trigger),
    /// A value of a kind that a condition fails on proposes it while the guard holds.
    Failure(Place, Kinds, Option<Guard>),
    /// Every event proposes it while the guard holds.
    Unplaced(Option<Guard>),
}

/// Where the rule is best entered, given the rules that are there already.
pub(super) fn plan(
    rule: &CompiledRule,
    paths: &PathTree,
    unplaced: &GuardTable,
    statistics: &mut Statistics,
) -> Vec<Registration> {
    let planner = Planner { paths, unplaced, statistics: RefCell::new(statistics) };
    let conjuncts = conjuncts(rule);
    let in_config = rule.trigger_params.iter().map(|(name, expected)| {
        let place = Place::Config(Arc::from([Segment::Key(name.clone())]));
        // An event that is not listened to has no outcome, not even a failure: nothing is to be guarded.
        (planner.entry(vec![(place, equals(expected))]), None)
    });
    let in_conditions = conjuncts
        .iter()
        .filter_map(|conjunct| planner.conjunct(conjunct).map(|entry| (entry, Some(conjunct))));
    // Of equals the last: people write from the general to the particular.
    let entries = in_config.chain(in_conditions);
    match entries.reduce(|best, next| if next.0.cost <= best.0.cost { next } else { best }) {
        Some((entry, Some(conjunct))) => {
            let mut registrations = entry.registrations;
            registrations.extend(failures(rule, conjunct));
            registrations
        }
        Some((entry, None)) => entry.registrations,
        None => vec![Registration::Unplaced(None)],
    }
}

/// A part of a rule and the outcome that the rule's truth demands of it.
#[derive(Clone, Copy)]
enum Conjunct<'r> {
    Node(&'r Node, bool),
    AnyOf(&'r [Node]),
}

fn conjuncts(rule: &CompiledRule) -> Vec<Conjunct<'_>> {
    fn split<'r>(node: &'r Node, wanted: bool, found: &mut Vec<Conjunct<'r>>) {
        match (node, wanted) {
            (Node::All(nodes), true) | (Node::Any(nodes), false) => {
                nodes.iter().for_each(|node| split(node, wanted, found));
            }
            (Node::Not(node), _) => split(node, !wanted, found),
            (Node::Test { .. } | Node::Expression(_) | Node::All(_) | Node::Any(_), _) => {
                found.push(Conjunct::Node(node, wanted));
            }
        }
    }
    let mut found = Vec::new();
    match rule.mode {
        ConditionMode::Any if rule.conditions.len() > 1 => found.push(Conjunct::AnyOf(&rule.conditions)),
        ConditionMode::Any | ConditionMode::All => {
            rule.conditions.iter().for_each(|node| split(node, true, &mut found));
        }
    }
    // An event that meets none of the window's own conditions does not concern the rule.
    match rule.window_conditions() {
        [] => {}
        nodes => found.push(Conjunct::AnyOf(nodes)),
    }
    found
}

/// A way to enter a rule.
struct Entry {
    cost: u64,
    registrations: Vec<Registration>,
}

struct Planner<'i> {
    paths: &'i PathTree,
    unplaced: &'i GuardTable,
    statistics: RefCell<&'i mut Statistics>,
}

impl Planner<'_> {
    fn conjunct(&self, conjunct: &Conjunct<'_>) -> Option<Entry> {
        match conjunct {
            Conjunct::Node(node, wanted) => self.node(node, *wanted),
            Conjunct::AnyOf(nodes) => self.every(nodes, true),
        }
    }

    fn node(&self, node: &Node, wanted: bool) -> Option<Entry> {
        match (node, wanted) {
            (Node::Test { test, .. }, _) => self.test(test, wanted),
            (Node::Expression(_), _) => None,
            (Node::Not(node), _) => self.node(node, !wanted),
            (Node::All(nodes), true) | (Node::Any(nodes), false) => {
                let entries = nodes.iter().filter_map(|node| self.node(node, wanted));
                entries.min_by_key(|entry| entry.cost)
            }
            (Node::Any(nodes), true) | (Node::All(nodes), false) => self.every(nodes, wanted),
        }
    }

    fn every(&self, nodes: &[Node], wanted: bool) -> Option<Entry> {
        let mut together = Entry { cost: 0, registrations: Vec::new() };
        for node in nodes {
            let entry = self.node(node, wanted)?;
            together.cost += entry.cost;
            together.registrations.extend(entry.registrations);
        }
        Some(together)
    }

    fn test(&self, test: &Test, wanted: bool) -> Option<Entry> {
        let Expected::Static { value, .. } = &test.expected else { return None };
        if is_of_the_rule(test) || (!wanted && test.path.has_any()) {
            return None;
        }
        let question = if wanted { when_true } else { when_false }(test.operator, value.as_ref());
        let place = Place::Field(test.path.clone());
        let at = |trigger| (place.clone(), trigger);
        match question {
            Question::AnyOf(triggers) => Some(self.entry(triggers.into_iter().map(at).collect())),
            Question::Text { always, alternatives } => {
                let rarest = alternatives.into_iter().min_by_key(|trigger| self.cost(&place, trigger));
                Some(self.entry(always.into_iter().chain(rarest).map(at).collect()))
            }
            Question::Absent => {
                let guard = Guard { path: test.path.clone(), kinds: Kinds::NULL };
                let cost = ABSENT_WEIGHT * (self.unplaced.count(&guard) as u64 + 1);
                Some(Entry { cost, registrations: vec![Registration::Unplaced(Some(guard))] })
            }
        }
    }

    fn entry(&self, triggers: Vec<(Place, Trigger)>) -> Entry {
        let cost = triggers.iter().map(|(place, trigger)| self.cost(place, trigger)).sum();
        let registrations =
            triggers.into_iter().map(|(place, trigger)| Registration::Field(place, trigger)).collect();
        Entry { cost, registrations }
    }

    fn cost(&self, place: &Place, trigger: &Trigger) -> u64 {
        let keys = match trigger {
            Trigger::Keyed(probe, key) => self.statistics.borrow_mut().count(place, *probe, *key),
            Trigger::AtLeast(_) | Trigger::AtMost(_) | Trigger::Kind(_) => 1,
        };
        let cost = self.paths.table(place).map(|table| table.cost(trigger));
        cost.unwrap_or_else(|| FieldTable::default().cost(trigger)) / keys
    }
}

/// A condition as far as its failure is concerned.
#[derive(Clone, PartialEq)]
enum Fallible {
    /// It is undecided when the field is missing, and fails on these kinds.
    Field(Guard),
    /// It may fail whatever the event holds: an expression, a template.
    Anyhow,
}

/// Where a rule that is entered through `entry` stands for the case that one of its conditions fails.
fn failures(rule: &CompiledRule, entry: &Conjunct<'_>) -> Vec<Registration> {
    let mut guards = Vec::new();
    match entry {
        Conjunct::Node(node, _) => collect(node, &mut guards),
        Conjunct::AnyOf(nodes) => nodes.iter().for_each(|node| collect(node, &mut guards)),
    }
    let mut failing = Vec::new();
    rule.conditions.iter().chain(rule.window_conditions()).for_each(|node| collect(node, &mut failing));
    failing.retain(|condition| !matches!(condition, Fallible::Field(field) if field.kinds.is_empty()));
    let mut guards: Vec<Option<Guard>> = guards
        .into_iter()
        .map(|guard| match guard {
            Fallible::Field(guard) => Some(guard),
            Fallible::Anyhow => None,
        })
        .collect();
    if guards.contains(&None) || guards.len() * failing.len() > GUARDED_FAILURES_LIMIT {
        guards = vec![None];
    }
    let mut registrations = Vec::new();
    for condition in &failing {
        registrations.extend(guards.iter().cloned().map(|guard| match condition {
            Fallible::Field(field) => {
                Registration::Failure(Place::Field(field.path.clone()), field.kinds, guard)
            }
            Fallible::Anyhow => Registration::Unplaced(guard),
        }));
    }
    registrations
}

fn collect(node: &Node, found: &mut Vec<Fallible>) {
    let condition = match node {
        Node::All(nodes) | Node::Any(nodes) => {
            nodes.iter().for_each(|node| collect(node, found));
            return;
        }
        Node::Not(node) => return collect(node, found),
        Node::Expression(_) => Fallible::Anyhow,
        Node::Test { test, .. } => match &test.expected {
            Expected::Static { value, matcher } if !is_of_the_rule(test) => {
                let kinds = may_fail_on(matcher, value.as_ref());
                Fallible::Field(Guard { path: test.path.clone(), kinds })
            }
            Expected::Static { .. } | Expected::Template(_) => Fallible::Anyhow,
        },
    };
    if !found.contains(&condition) {
        found.push(condition);
    }
}

/// The root `rule` differs from rule to rule, so that an event alone does not say what is there.
fn is_of_the_rule(test: &Test) -> bool {
    test.path.root() == "rule"
}
