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
mod table;
mod trie;

use std::sync::Arc;

use attune_expr::scope::Scope;
use chrono::{DateTime, Utc};
use serde_json::Value;

use self::guard::GuardTable;
use self::paths::PathTree;
use self::plan::{Registration, plan};
use self::postings::Postings;
use self::trie::HashTrie;
use crate::compiled::CompiledRule;
use crate::verdict::Verdict;

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
    slots: HashTrie<Arc<Slot>>,
    /// The slots of the refs with a fingerprint.
    by_ref: HashTrie<Postings>,
    paths: PathTree,
    /// Rules that no field of an event leads to.
    unplaced: GuardTable,
    free: Arc<Vec<u32>>,
}

#[derive(Debug)]
struct Slot {
    rule: Arc<CompiledRule>,
    registrations: Vec<Registration>,
}

impl RuleIndex {
    /// How many rules it holds.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether it holds no rule.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The rule with a ref.
    pub fn get(&self, rule_ref: &str) -> Option<&Arc<CompiledRule>> {
        self.find(rule_ref).map(|(_, slot)| &slot.rule)
    }

    /// Adds a rule, in place of the one with the same ref, which is returned.
    pub fn insert(&mut self, rule: Arc<CompiledRule>) -> Option<Arc<CompiledRule>> {
        let replaced = self.remove(rule.rule_ref());
        let number = match Arc::make_mut(&mut self.free).pop() {
            Some(number) => number,
            // Memory ends long before the numbers do.
            None => u32::try_from(self.slots.len()).unwrap_or(u32::MAX),
        };
        let registrations = plan(&rule, &self.paths, &self.unplaced);
        for registration in &registrations {
            match registration {
                Registration::Field(place, trigger) => {
                    self.paths.change(place, |table| table.insert(trigger, number));
                }
                Registration::Failure(place, kinds, guard) => {
                    self.paths.change(place, |table| table.insert_failure(*kinds, guard.as_ref(), number));
                }
                Registration::Unplaced(guard) => self.unplaced.insert(guard.as_ref(), number),
            }
        }
        self.by_ref.entry(fingerprint::of(rule.rule_ref()), Postings::default).insert(number);
        let slot = Arc::new(Slot { rule, registrations });
        self.slots.entry(u64::from(number), || slot);
        replaced
    }

    /// Takes out the rule with a ref.
    pub fn remove(&mut self, rule_ref: &str) -> Option<Arc<CompiledRule>> {
        let (number, slot) = self.find(rule_ref).map(|(number, slot)| (number, slot.clone()))?;
        for registration in &slot.registrations {
            match registration {
                Registration::Field(place, trigger) => {
                    self.paths.change(place, |table| table.remove(trigger, number));
                }
                Registration::Failure(place, kinds, guard) => {
                    self.paths.change(place, |table| table.remove_failure(*kinds, guard.as_ref(), number));
                }
                Registration::Unplaced(guard) => self.unplaced.remove(guard.as_ref(), number),
            }
        }
        let key = fingerprint::of(rule_ref);
        let numbers = self.by_ref.entry(key, Postings::default);
        numbers.remove(number);
        if numbers.is_empty() {
            self.by_ref.remove(key);
        }
        self.slots.remove(u64::from(number));
        Arc::make_mut(&mut self.free).push(number);
        Some(slot.rule.clone())
    }

    /// The rules that may fire or fail on an event, in the order of their refs.
    ///
    /// `scope` holds what all rules see alike, `event` and `trigger`; `config` is what `trigger_params` are compared with.
    pub fn candidates(&self, scope: &Scope<'_>, config: &Value) -> Vec<&Arc<CompiledRule>> {
        let mut numbers = Vec::new();
        self.unplaced.propose(scope, &mut numbers);
        self.paths.propose(scope, config, &mut numbers);
        numbers.sort_unstable();
        numbers.dedup();
        let slots = numbers.into_iter().filter_map(|number| self.slots.get(u64::from(number)));
        let mut rules: Vec<_> = slots.map(|slot| &slot.rule).collect();
        rules.sort_unstable_by(|left, right| left.rule_ref().cmp(right.rule_ref()));
        rules
    }

    /// The rules that fire on an event, in the order of their refs. For rules that do not look at themselves: `scope` is
    /// the same for all of them.
    pub fn matching(&self, scope: &Scope<'_>, config: &Value, now: DateTime<Utc>) -> Vec<&Arc<CompiledRule>> {
        let mut rules = self.candidates(scope, config);
        rules.retain(|rule| rule.listens_to(config) && rule.verdict(scope, now) == Verdict::True);
        rules
    }

    fn find(&self, rule_ref: &str) -> Option<(u32, &Arc<Slot>)> {
        let numbers = self.by_ref.get(fingerprint::of(rule_ref))?.as_slice();
        let slots = numbers.iter().filter_map(|number| Some((*number, self.slots.get(u64::from(*number))?)));
        slots.into_iter().find(|(_, slot)| slot.rule.rule_ref() == rule_ref)
    }
}
