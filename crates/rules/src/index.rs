//! The matching index: which rules an event can concern, at a cost that follows the event and not the number of rules.
//!
//! The index proposes, [`CompiledRule::listens_to`] and [`CompiledRule::verdict`] decide. It may propose a rule in vain,
//! and never leaves one out whose verdict on the event is [`Verdict::True`] or [`Verdict::Error`], so that what fires and
//! what fails is the same with it and without it.
//!
//! A rule is entered through its rarest necessary condition at the time it is inserted ([`plan`]). Entries stand by the
//! field they ask for ([`paths`]), where each way of looking at its value is one look-up ([`table`], [`probe`]).
//!
//! A [`RuleIndex`] is a persistent value: a clone costs a few pointers and shares everything that neither has changed.

mod fingerprint;
mod guard;
mod paths;
mod plan;
mod postings;
mod probe;
mod question;
mod statistics;
mod table;
mod trie;

use std::sync::Arc;

use attune_expr::scope::Scope;
use chrono::{DateTime, Utc};
use serde_json::Value;

use self::guard::GuardTable;
use self::paths::PathTree;
use self::plan::{Registration, plan};
use self::statistics::Statistics;
use self::trie::HashTrie;
use crate::compiled::CompiledRule;
use crate::selections::Selections;
use crate::verdict::Verdict;

/// Up to this many rules are entered anew whenever their number has doubled: the first ones came when nothing was known of
/// the others, and an entry that seemed as good as any would cost something for ever.
const REENTERED_LIMIT: usize = 1_024;

/// The rules of one trigger, found by what an event holds.
///
/// ```
/// use std::sync::Arc;
///
/// use attune_expr::scope::Scope;
/// use attune_rules::{CompiledRule, RuleDefinition, RuleIndex};
/// use serde_json::json;
///
/// let definition: RuleDefinition = serde_json::from_value(json!({
///     "rule_ref": "ops.page",
///     "trigger_ref": "core.webhook",
///     "action_ref": "ops.page",
///     "conditions": [{"field": "event.payload.severity", "operator": "equals", "value": "critical"}],
/// }))?;
/// let mut index = RuleIndex::default();
/// index.insert(Arc::new(CompiledRule::compile(&definition).expect("a good rule")));
///
/// let event = json!({"payload": {"severity": "critical"}});
/// let scope = Scope::new().with("event", &event);
/// assert_eq!(index.candidates(&scope, &json!({}))[0].rule_ref(), "ops.page");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct RuleIndex {
    length: usize,
    /// The rules by the fingerprints of their refs.
    slots: HashTrie<Vec<Slot>>,
    paths: PathTree,
    /// Rules that no field of an event leads to.
    unplaced: GuardTable,
    statistics: Statistics,
}

/// What the index makes of an event.
#[derive(Debug, Default)]
struct Proposed<'i, 'v> {
    rules: Vec<&'i Arc<CompiledRule>>,
    /// What the fields hold that were met on the way.
    selections: Selections<'i, 'v>,
}

/// A rule with where it stands.
#[derive(Debug, Clone)]
struct Slot {
    rule: Arc<CompiledRule>,
    registrations: Arc<[Registration]>,
}

impl RuleIndex {
    /// How many rules it holds.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether it holds no rule.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The rule with a ref.
    pub fn get(&self, rule_ref: &str) -> Option<&Arc<CompiledRule>> {
        let slots = self.slots.get(fingerprint::of(rule_ref))?;
        slots.iter().map(|slot| &slot.rule).find(|rule| rule.rule_ref() == rule_ref)
    }

    /// Adds a rule, in place of the one with the same ref, which is returned.
    pub fn insert(&mut self, rule: Arc<CompiledRule>) -> Option<Arc<CompiledRule>> {
        let replaced = self.enter(rule);
        if replaced.is_none() && self.len() <= REENTERED_LIMIT && self.len().is_power_of_two() {
            let mut rules = Vec::with_capacity(self.len());
            self.slots
                .for_each(&mut |slots: &Vec<Slot>| rules.extend(slots.iter().map(|slot| slot.rule.clone())));
            rules.into_iter().for_each(|rule| drop(self.enter(rule)));
        }
        replaced
    }

    fn enter(&mut self, rule: Arc<CompiledRule>) -> Option<Arc<CompiledRule>> {
        let replaced = self.remove(rule.rule_ref());
        let registrations = plan(&rule, &self.paths, &self.unplaced, &mut self.statistics);
        for registration in &registrations {
            match registration {
                Registration::Field(place, trigger) => {
                    self.paths.change(place, |table| {
                        table.name(place.single());
                        table.insert(trigger, &rule);
                    });
                }
                Registration::Failure(place, kinds, guard) => {
                    self.paths.change(place, |table| table.insert_failure(*kinds, guard.as_ref(), &rule));
                }
                Registration::Unplaced(guard) => self.unplaced.insert(guard.as_ref(), &rule),
            }
        }
        self.length += 1;
        let slots = self.slots.entry(fingerprint::of(rule.rule_ref()), Vec::new);
        slots.push(Slot { rule, registrations: registrations.into() });
        slots.shrink_to_fit();
        replaced
    }

    /// Takes out the rule with a ref.
    pub fn remove(&mut self, rule_ref: &str) -> Option<Arc<CompiledRule>> {
        let key = fingerprint::of(rule_ref);
        let is_it = |slot: &Slot| slot.rule.rule_ref() == rule_ref;
        let position = self.slots.get(key)?.iter().position(is_it)?;
        let slots = self.slots.entry(key, Vec::new);
        let Slot { rule, registrations } = slots.swap_remove(position);
        if slots.is_empty() {
            self.slots.remove(key);
        }
        for registration in &*registrations {
            match registration {
                Registration::Field(place, trigger) => {
                    self.paths.change(place, |table| table.remove(trigger, &rule));
                }
                Registration::Failure(place, kinds, guard) => {
                    self.paths.change(place, |table| table.remove_failure(*kinds, guard.as_ref(), &rule));
                }
                Registration::Unplaced(guard) => self.unplaced.remove(guard.as_ref(), &rule),
            }
        }
        self.length -= 1;
        if self.is_empty() {
            self.statistics = Statistics::default();
        }
        Some(rule)
    }

    /// The rules that may fire or fail on an event, in the order of their refs.
    ///
    /// `scope` holds what all rules see alike, `event` and `trigger`; `config` is what `trigger_params` are compared with.
    pub fn candidates(&self, scope: &Scope<'_>, config: &Value) -> Vec<&Arc<CompiledRule>> {
        let Proposed { mut rules, .. } = self.propose(scope, config);
        rules.sort_unstable_by(|left, right| left.rule_ref().cmp(right.rule_ref()));
        rules
    }

    /// The rules that fire on an event, in the order of their refs. For rules that do not look at themselves: `scope` is
    /// the same for all of them.
    pub fn matching(&self, scope: &Scope<'_>, config: &Value, now: DateTime<Utc>) -> Vec<&Arc<CompiledRule>> {
        let Proposed { mut rules, mut selections } = self.propose(scope, config);
        rules.retain(|rule| {
            rule.listens_to(config) && rule.verdict_with(scope, now, &mut selections) == Verdict::True
        });
        rules.sort_unstable_by(|left, right| left.rule_ref().cmp(right.rule_ref()));
        rules
    }

    /// Without looking at the rules, which are far more than the caches hold.
    fn propose<'i, 'v>(&'i self, scope: &Scope<'v>, config: &'v Value) -> Proposed<'i, 'v> {
        let mut proposed = Proposed::default();
        self.unplaced.propose(scope, &mut proposed.rules);
        self.paths.propose(scope, config, &mut proposed);
        proposed.rules.sort_unstable_by_key(|rule| Arc::as_ptr(rule));
        proposed.rules.dedup_by_key(|rule| Arc::as_ptr(rule));
        proposed
    }
}
