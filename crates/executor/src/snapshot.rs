//! The rules in memory: every live rule compiled, by trigger, at one version of the rule set.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use attune_common::error::Result;
use attune_common::models::enforcement::ConditionMode as StoredMode;
use attune_common::models::rule::{LiveChanges, LiveRule};
use attune_common::models::window::fingerprint;
use attune_common::repositories::RuleRepository;
use attune_expr::cache::Pool;
use attune_expr::schema::ParameterSchema;
use attune_expr::scope::Scope;
use attune_rules::window::WindowKind;
use attune_rules::{
    CompiledRule, Condition, ConditionMode, RuleDefinition, RuleIndex, RuleProblem, Settings, Window,
};
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::faults::caught;

/// The parameters of an action are checked alike for all rules that run it.
static SCHEMAS: Pool<ParameterSchema> = Pool::new();

/// The rules that can fire, at one version. A later version compiles only the rules that differ.
#[derive(Debug, Default)]
pub struct RuleSnapshot {
    version: i64,
    /// Counts the readings, to tell which rules the last of them did not find.
    reading: u64,
    by_trigger: HashMap<String, TriggerRules>,
    /// The rules with a window, by id.
    with_window: HashMap<i64, Arc<SnapshotRule>>,
}

/// The rules of one trigger.
#[derive(Debug, Default)]
pub(crate) struct TriggerRules {
    rules: HashMap<String, Known>,
    index: RuleIndex,
    /// By id. They are no matter of conditions: every event of the trigger meets them.
    broken: BTreeMap<i64, Arc<SnapshotRule>>,
}

#[derive(Debug)]
struct Known {
    rule: Arc<SnapshotRule>,
    reading: u64,
}

/// One rule, ready to be judged.
#[derive(Debug)]
pub(crate) struct SnapshotRule {
    pub(crate) rule: LiveRule,
    /// The rule as its templates see it.
    pub(crate) view: Value,
    /// What its decisions tell of it.
    pub(crate) decided_by: Arc<Value>,
    pub(crate) conditions: Arc<Value>,
    pub(crate) retry: Option<Arc<Value>>,
    pub(crate) readiness: Readiness,
    pub(crate) window: Option<SnapshotWindow>,
}

/// The window of a rule, whether or not the rule can be judged: what it waits for goes on.
#[derive(Debug)]
pub(crate) struct SnapshotWindow {
    pub(crate) kind: WindowKind,
    pub(crate) fingerprint: String,
}

/// Whether a rule can be judged at all.
#[derive(Debug)]
pub(crate) enum Readiness {
    Ready {
        compiled: Arc<CompiledRule>,
        action: i64,
        parameters: Arc<ParameterSchema>,
    },
    /// It cannot: each event that it listens to is answered with an enforcement that says why.
    Broken(String),
}

impl RuleSnapshot {
    /// Takes over what changed since the last reading. Where that can be told rule by rule, only those rules are read.
    pub async fn reload(&mut self, connection: &mut PgConnection) -> Result<()> {
        let changes = match self.version {
            0 => None,
            version => RuleRepository::live_since(connection, version).await?,
        };
        match changes {
            Some(changes) => self.apply(changes),
            None => {
                let (version, rules) = RuleRepository::live(connection).await?;
                self.update(version, rules);
            }
        }
        Ok(())
    }

    /// The version of the rule set that this is; 0 before the first reading.
    pub fn version(&self) -> i64 {
        self.version
    }

    /// Makes the next pass read the rules again, whatever their version. What stays the same is not compiled again.
    pub fn outdate(&mut self) {
        self.version = 0;
    }

    /// The rules of a trigger, when it has any.
    pub(crate) fn rules_of(&self, trigger_ref: &str) -> Option<&TriggerRules> {
        self.by_trigger.get(trigger_ref)
    }

    /// The rule of this id, when it can fire and has a window.
    pub(crate) fn with_window(&self, rule: i64) -> Option<&SnapshotRule> {
        self.with_window.get(&rule).map(|rule| &**rule)
    }

    fn update(&mut self, version: i64, rules: Vec<LiveRule>) {
        self.reading += 1;
        self.with_window.clear();
        self.take(rules);
        for trigger in self.by_trigger.values_mut() {
            trigger.drop_unread(self.reading);
        }
        self.by_trigger.retain(|_, trigger| !trigger.rules.is_empty());
        self.version = version;
    }

    fn apply(&mut self, changes: LiveChanges) {
        let now: HashMap<&str, &str> =
            changes.rules.iter().map(|rule| (rule.r#ref.as_str(), rule.trigger_ref.as_str())).collect();
        for (trigger_ref, trigger) in &mut self.by_trigger {
            for rule_ref in &changes.changed {
                // Its id is another one if it was removed and made again.
                if let Some(known) = trigger.rules.get(rule_ref) {
                    self.with_window.remove(&known.rule.rule.id);
                }
                if now.get(rule_ref.as_str()) != Some(&trigger_ref.as_str()) {
                    trigger.forget(rule_ref);
                }
            }
        }
        self.take(changes.rules);
        self.by_trigger.retain(|_, trigger| !trigger.rules.is_empty());
        self.version = changes.version;
    }

    fn take(&mut self, rules: Vec<LiveRule>) {
        for rule in rules {
            let rule = match self.by_trigger.get_mut(&rule.trigger_ref) {
                Some(trigger) => trigger.take(rule, self.reading),
                None => {
                    let mut trigger = TriggerRules::default();
                    let trigger_ref = rule.trigger_ref.clone();
                    let rule = trigger.take(rule, self.reading);
                    self.by_trigger.insert(trigger_ref, trigger);
                    rule
                }
            };
            if rule.window.is_some() {
                self.with_window.insert(rule.rule.id, rule);
            }
        }
    }
}

impl TriggerRules {
    /// The rules that may fire or fail on an event, in the order of their ids.
    pub(crate) fn concerned(&self, scope: &Scope<'_>, config: &Value) -> Vec<&SnapshotRule> {
        let proposed = caught(|| self.index.candidates(scope, config));
        let mut rules: Vec<_> = match proposed {
            Ok(proposed) => {
                let known = proposed.into_iter().filter_map(|rule| self.rules.get(rule.rule_ref()));
                let broken = self.broken.values().map(|rule| &**rule);
                known.map(|known| &*known.rule).chain(broken).collect()
            }
            Err(_) => self.all(),
        };
        rules.sort_unstable_by_key(|rule| rule.rule.id);
        rules
    }

    /// What the index only spares one: each rule says itself whether an event concerns it.
    pub(crate) fn all(&self) -> Vec<&SnapshotRule> {
        self.rules.values().map(|known| &*known.rule).collect()
    }

    fn take(&mut self, rule: LiveRule, reading: u64) -> Arc<SnapshotRule> {
        if let Some(known) = self.rules.get_mut(&rule.r#ref)
            && known.rule.rule == rule
        {
            known.reading = reading;
            return known.rule.clone();
        }
        let rule_ref = rule.r#ref.clone();
        self.forget(&rule_ref);
        let mut rule = SnapshotRule::new(rule);
        let entered = match &rule.readiness {
            Readiness::Ready { compiled, .. } => {
                let compiled = compiled.clone();
                caught(|| drop(self.index.insert(compiled)))
            }
            Readiness::Broken(_) => Ok(()),
        };
        let is_index_whole = entered.is_ok();
        if let Err(fault) = entered {
            rule.readiness = Readiness::Broken(fault);
        }
        let rule = Arc::new(rule);
        if let Readiness::Broken(_) = rule.readiness {
            self.broken.insert(rule.rule.id, rule.clone());
        }
        self.rules.insert(rule_ref, Known { rule: rule.clone(), reading });
        if !is_index_whole {
            self.rebuild(|index, rule| drop(index.insert(rule)));
        }
        rule
    }

    /// Makes the index anew, after a fault that may have left it half changed. A rule that cannot be entered is broken.
    fn rebuild(&mut self, enter: impl Fn(&mut RuleIndex, Arc<CompiledRule>)) {
        loop {
            let mut index = RuleIndex::default();
            let fault = self.rules.iter().find_map(|(rule_ref, known)| {
                let Readiness::Ready { compiled, .. } = &known.rule.readiness else { return None };
                let entered = caught(|| enter(&mut index, compiled.clone()));
                entered.err().map(|fault| (rule_ref.clone(), fault))
            });
            let Some((rule_ref, fault)) = fault else {
                self.index = index;
                return;
            };
            if let Some(known) = self.rules.get_mut(&rule_ref) {
                let rule = SnapshotRule::new(known.rule.rule.clone());
                known.rule = Arc::new(SnapshotRule { readiness: Readiness::Broken(fault), ..rule });
                self.broken.insert(known.rule.rule.id, known.rule.clone());
            }
        }
    }

    fn drop_unread(&mut self, reading: u64) {
        let unread = self.rules.iter().filter(|(_, known)| known.reading != reading);
        let unread: Vec<String> = unread.map(|(rule_ref, _)| rule_ref.clone()).collect();
        unread.iter().for_each(|rule_ref| self.forget(rule_ref));
    }

    fn forget(&mut self, rule_ref: &str) {
        if let Some(known) = self.rules.remove(rule_ref) {
            self.broken.remove(&known.rule.rule.id);
            if caught(|| drop(self.index.remove(rule_ref))).is_err() {
                self.rebuild(|index, rule| drop(index.insert(rule)));
            }
        }
    }
}

impl SnapshotRule {
    fn new(rule: LiveRule) -> Self {
        let readiness = caught(|| prepare(&rule)).and_then(|prepared| prepared);
        let readiness = readiness.unwrap_or_else(Readiness::Broken);
        if let Readiness::Broken(reason) = &readiness {
            tracing::warn!(rule = rule.r#ref, reason, "a rule cannot be used");
        }
        let view = json!({
            "id": rule.id,
            "ref": rule.r#ref,
            "label": rule.label,
            "pack": rule.pack_ref,
            "version": rule.version,
        });
        let window = caught(|| {
            let window = rule.window.as_ref().and_then(|window| Window::parse(window).ok());
            window.map(|window| SnapshotWindow {
                fingerprint: fingerprint(&window.to_value()),
                kind: window.kind,
            })
        });
        let window = window.unwrap_or_default();
        let decided_by = Arc::new(json!({ "rule_version": rule.version, "action": rule.action_ref }));
        let conditions = Arc::new(rule.conditions.clone());
        let retry = rule.retry.clone().map(Arc::new);
        Self { rule, view, decided_by, conditions, retry, readiness, window }
    }
}

fn prepare(rule: &LiveRule) -> Result<Readiness, String> {
    let action = rule.action.ok_or_else(|| format!("the action {} does not exist", rule.action_ref))?;
    if rule.action_enabled == Some(false) {
        return Err(format!("the action {} is disabled", rule.action_ref));
    }
    let problems =
        |problems: Vec<RuleProblem>| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let definition =
        RuleDefinition {
            rule_ref: rule.r#ref.clone(),
            trigger_ref: rule.trigger_ref.clone(),
            trigger_params: rule.trigger_params.clone(),
            condition: match rule.condition {
                StoredMode::All => ConditionMode::All,
                StoredMode::Any => ConditionMode::Any,
            },
            conditions: Condition::parse_list(&rule.conditions).map_err(problems)?,
            window: rule.window.as_ref().map(Window::parse).transpose().map_err(|found| {
                problems(found.into_iter().map(|problem| problem.under("/window")).collect())
            })?,
            action_ref: rule.action_ref.clone(),
            action_params: rule.action_params.clone(),
        };
    let settings = Settings::kept(rule.config.as_ref());
    let compiled = CompiledRule::compile_with(&definition, &settings).map_err(problems)?;
    let schema = rule.action_param_schema.clone().unwrap_or_default();
    let parameters = SCHEMAS
        .share(&schema.to_string(), || ParameterSchema::compile(&schema))
        .map_err(|problem| format!("the parameter schema of {} is not valid: {problem}", rule.action_ref))?;
    Ok(Readiness::Ready { compiled: Arc::new(compiled), action, parameters })
}

#[cfg(test)]
mod tests {
    use attune_common::models::rule::RuleMode;

    use super::*;

    fn live(id: i64, trigger: &str, value: &Value) -> LiveRule {
        LiveRule {
            id,
            r#ref: format!("ops.r{id}"),
            label: None,
            pack_ref: None,
            version: 1,
            mode: RuleMode::Active,
            trigger_ref: trigger.to_owned(),
            trigger_params: json!({}),
            condition: StoredMode::All,
            conditions: json!([{"field": "event.payload.n", "operator": "equals", "value": value}]),
            action: Some(1),
            action_ref: "core.noop".to_owned(),
            action_params: json!({}),
            window: None,
            config: None,
            retry: None,
            action_enabled: Some(true),
            action_param_schema: Some(json!({})),
        }
    }

    fn concerned(snapshot: &RuleSnapshot, trigger: &str, number: i64) -> Vec<i64> {
        let event = json!({"payload": {"n": number}});
        let scope = Scope::new().with("event", &event);
        let rules = snapshot.rules_of(trigger).map(|rules| rules.concerned(&scope, &json!({})));
        rules.into_iter().flatten().map(|rule| rule.rule.id).collect()
    }

    fn compiled(snapshot: &RuleSnapshot, trigger: &str, rule_ref: &str) -> Arc<SnapshotRule> {
        snapshot.by_trigger[trigger].rules[rule_ref].rule.clone()
    }

    #[test]
    fn test_update_compiles_only_what_differs() {
        let mut snapshot = RuleSnapshot::default();
        let rules = |second: i64| vec![live(1, "core.a", &json!(1)), live(2, "core.a", &json!(second))];
        snapshot.update(7, rules(1));
        let (first, second) =
            (compiled(&snapshot, "core.a", "ops.r1"), compiled(&snapshot, "core.a", "ops.r2"));
        snapshot.update(8, rules(5));
        assert!(Arc::ptr_eq(&first, &compiled(&snapshot, "core.a", "ops.r1")));
        assert!(!Arc::ptr_eq(&second, &compiled(&snapshot, "core.a", "ops.r2")));
        assert_eq!(
            (concerned(&snapshot, "core.a", 1), concerned(&snapshot, "core.a", 5)),
            (vec![1], vec![2])
        );
        assert_eq!(snapshot.version(), 8);
    }

    #[test]
    fn test_settings_are_part_of_the_rule() {
        let set = |n: i64| LiveRule {
            config: Some(json!({"n": n})),
            ..live(1, "core.a", &json!("{{ config.n }}"))
        };
        let mut snapshot = RuleSnapshot::default();
        snapshot.update(1, vec![set(1)]);
        assert_eq!((concerned(&snapshot, "core.a", 1), concerned(&snapshot, "core.a", 5)), (vec![1], vec![]));
        snapshot.apply(LiveChanges { version: 2, changed: vec!["ops.r1".to_owned()], rules: vec![set(5)] });
        assert_eq!((concerned(&snapshot, "core.a", 1), concerned(&snapshot, "core.a", 5)), (vec![], vec![1]));
    }

    #[test]
    fn test_update_forgets_what_is_gone_or_listens_elsewhere() {
        let mut snapshot = RuleSnapshot::default();
        snapshot.update(1, vec![live(1, "core.a", &json!(1)), live(2, "core.a", &json!(1))]);
        snapshot.update(2, vec![live(2, "core.b", &json!(1))]);
        assert!(snapshot.rules_of("core.a").is_none());
        assert_eq!(concerned(&snapshot, "core.b", 1), [2]);
    }

    #[test]
    fn test_broken_rules_meet_every_event_until_they_are_mended() {
        let mut snapshot = RuleSnapshot::default();
        let broken = LiveRule { action: None, ..live(3, "core.a", &json!(1)) };
        snapshot.update(1, vec![live(1, "core.a", &json!(9)), broken, live(4, "core.a", &json!(9))]);
        assert_eq!(concerned(&snapshot, "core.a", 0), [3]);
        assert_eq!(concerned(&snapshot, "core.a", 9), [1, 3, 4]);
        snapshot.update(2, vec![live(3, "core.a", &json!(1))]);
        assert!(concerned(&snapshot, "core.a", 0).is_empty());
    }

    #[test]
    fn test_a_rule_that_the_index_cannot_take_is_broken_and_harms_no_other() {
        let mut snapshot = RuleSnapshot::default();
        snapshot.update(1, (1..=3).map(|id| live(id, "core.a", &json!(id))).collect());
        let trigger = snapshot.by_trigger.get_mut("core.a").unwrap();
        trigger.rebuild(|index, rule| {
            assert_ne!(rule.rule_ref(), "ops.r2", "no such rule");
            index.insert(rule);
        });
        assert_eq!(concerned(&snapshot, "core.a", 1), [1, 2], "whoever asks why it does nothing is told");
        assert_eq!(concerned(&snapshot, "core.a", 3), [2, 3]);
        let broken = compiled(&snapshot, "core.a", "ops.r2");
        let Readiness::Broken(reason) = &broken.readiness else { panic!("{broken:?}") };
        assert!(reason.starts_with("a fault of Attune") && reason.contains("no such rule"), "{reason}");
        snapshot.update(2, vec![live(1, "core.a", &json!(1)), live(2, "core.a", &json!(7))]);
        assert_eq!(concerned(&snapshot, "core.a", 7), [2], "a change of it is another chance");
        assert!(concerned(&snapshot, "core.a", 3).is_empty());
    }

    #[test]
    fn test_without_the_index_every_rule_is_asked() {
        let mut snapshot = RuleSnapshot::default();
        let broken = LiveRule { action: None, ..live(3, "core.a", &json!(1)) };
        snapshot.update(1, vec![live(1, "core.a", &json!(1)), live(2, "core.a", &json!(2)), broken]);
        let mut all: Vec<i64> = snapshot.by_trigger["core.a"].all().iter().map(|rule| rule.rule.id).collect();
        all.sort_unstable();
        assert_eq!(all, [1, 2, 3]);
    }

    #[test]
    fn test_changes_touch_only_the_rules_that_they_name() {
        let mut snapshot = RuleSnapshot::default();
        let rules = [1, 2, 3, 4].map(|id| live(id, "core.a", &json!(id)));
        snapshot.update(1, rules.to_vec());
        let kept = compiled(&snapshot, "core.a", "ops.r1");
        let changed = [2, 3, 4, 5].map(|id| format!("ops.r{id}")).to_vec();
        let rules =
            vec![live(2, "core.a", &json!(7)), live(3, "core.b", &json!(3)), live(5, "core.b", &json!(5))];
        snapshot.apply(LiveChanges { version: 3, changed, rules });
        assert!(Arc::ptr_eq(&kept, &compiled(&snapshot, "core.a", "ops.r1")));
        let found =
            |trigger: &str| (1..8).map(|number| concerned(&snapshot, trigger, number)).collect::<Vec<_>>();
        assert_eq!(found("core.a").concat(), [1, 2], "one is as it was, one changed, one moved, one is gone");
        assert_eq!(found("core.b").concat(), [3, 5]);
        assert_eq!(snapshot.version(), 3);
        snapshot.apply(LiveChanges {
            version: 4,
            changed: vec!["ops.r3".into(), "ops.r5".into()],
            rules: Vec::new(),
        });
        assert!(snapshot.rules_of("core.b").is_none());
    }

    #[test]
    fn test_rules_with_a_window_are_known_by_id_through_every_change() {
        let windowed = |id: i64, trigger: &str, span: &str| LiveRule {
            window: Some(json!({"throttle": span})),
            ..live(id, trigger, &json!(1))
        };
        let mut snapshot = RuleSnapshot::default();
        let span = |snapshot: &RuleSnapshot, id: i64| {
            let rule = snapshot.with_window(id)?;
            Some((rule.rule.trigger_ref.clone(), rule.rule.window.clone()?["throttle"].clone()))
        };
        let of = |trigger: &str, span: &str| Some((trigger.to_owned(), json!(span)));
        let rules = [1, 2, 3, 4, 5].map(|id| windowed(id, "core.a", "1m"));
        snapshot.update(1, [rules.to_vec(), vec![live(6, "core.a", &json!(1))]].concat());
        let changed = [2, 3, 4, 5, 6].map(|id| format!("ops.r{id}")).to_vec();
        let made_again = LiveRule { id: 25, ..windowed(5, "core.a", "5m") };
        let rules = vec![
            windowed(2, "core.a", "2m"),
            windowed(3, "core.b", "3m"),
            live(4, "core.a", &json!(1)),
            made_again,
            windowed(6, "core.a", "6m"),
        ];
        snapshot.apply(LiveChanges { version: 7, changed, rules });
        let found = [1, 2, 3, 4, 5, 25, 6].map(|id| span(&snapshot, id));
        let expected = [
            of("core.a", "1m"),
            of("core.a", "2m"),
            of("core.b", "3m"),
            None,
            None,
            of("core.a", "5m"),
            of("core.a", "6m"),
        ];
        assert_eq!(found, expected, "as it was, changed, moved, without one, old id, new id, got one");
        let changed = vec!["ops.r1".to_owned()];
        snapshot.apply(LiveChanges { version: 8, changed, rules: Vec::new() });
        assert_eq!(span(&snapshot, 1), None);
        snapshot.update(9, vec![windowed(2, "core.a", "2m"), live(3, "core.b", &json!(1))]);
        assert_eq!([2, 3, 25, 6].map(|id| span(&snapshot, id)), [of("core.a", "2m"), None, None, None]);
    }
}
