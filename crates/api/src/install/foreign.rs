//! Rules of others that use what packs bring. A new version of a pack may describe its actions and triggers in another way: what
//! fitted them before has to fit them afterwards, or a rule that nobody has touched would fail with every event.

use std::collections::HashMap;

use attune_common::error::StoreError;
use attune_common::models::action::Action;
use attune_common::models::rule::Rule;
use attune_common::models::trigger::Trigger;
use attune_common::repositories::{ActionRepository, PackRepository, RuleRepository, TriggerRepository};
use attune_pack::Finding;
use attune_rules::{RuleDefinition, TriggerSchemas};
use sqlx::PgConnection;

use super::Candidate;
use super::position::finding_in_manifest;
use crate::check;
use crate::rule_checks::stored_definition;

/// How many rules are told.
const MOST_TOLD: usize = 50;

/// The actions and triggers of packs before they become other versions.
#[derive(Debug, Default)]
pub(super) struct Before {
    actions: HashMap<String, Action>,
    triggers: HashMap<String, Trigger>,
}

/// Something before and now.
type Versions<T> = HashMap<String, (T, T)>;

impl Before {
    pub(super) async fn read(
        connection: &mut PgConnection,
        candidates: &[Candidate],
    ) -> Result<Self, StoreError> {
        let mut before = Self::default();
        for candidate in candidates {
            let pack_ref = &candidate.definition.manifest.r#ref;
            let Some(pack) = PackRepository::find_by_ref(&mut *connection, pack_ref).await? else { continue };
            let actions = ActionRepository::list_of_pack(&mut *connection, pack.id).await?;
            before.actions.extend(actions.into_iter().map(|action| (action.r#ref.clone(), action)));
            let triggers = TriggerRepository::list_of_pack(&mut *connection, pack.id).await?;
            before.triggers.extend(triggers.into_iter().map(|trigger| (trigger.r#ref.clone(), trigger)));
        }
        Ok(before)
    }

    /// The rules that fitted before and do not fit what is stored now. Those that are disabled are looked at when they are
    /// enabled; those of the pack itself were checked with it.
    pub(super) async fn broken(
        self,
        connection: &mut PgConnection,
        candidates: &[Candidate],
    ) -> Result<Vec<Finding>, StoreError> {
        let (actions, triggers) = self.changed(&mut *connection).await?;
        if actions.is_empty() && triggers.is_empty() {
            return Ok(Vec::new());
        }
        let action_refs: Vec<String> = actions.keys().cloned().collect();
        let trigger_refs: Vec<String> = triggers.keys().cloned().collect();
        let rules = RuleRepository::list_using(&mut *connection, &trigger_refs, &action_refs).await?;
        let mut findings = Vec::new();
        let mut more = 0;
        for rule in rules {
            // One that cannot be read did not fire before either.
            let Ok(definition) = stored_definition(&rule) else { continue };
            let foreign = |owner: Option<i64>| owner != rule.pack;
            let action = actions.get(&rule.action_ref).filter(|(_, now)| foreign(now.pack));
            let trigger = triggers.get(&rule.trigger_ref).filter(|(_, now)| foreign(now.pack));
            let of_action = action.into_iter().flat_map(|(before, now)| {
                let faults = faults_of_action(&definition, before, now);
                faults.into_iter().map(|fault| ("action", now.r#ref.as_str(), now.pack_ref.as_deref(), fault))
            });
            let of_trigger = trigger.into_iter().flat_map(|(before, now)| {
                let faults = faults_of_trigger(&definition, before, now);
                faults
                    .into_iter()
                    .map(|fault| ("trigger", now.r#ref.as_str(), now.pack_ref.as_deref(), fault))
            });
            let faults: Vec<_> = of_action.chain(of_trigger).collect();
            if !faults.is_empty() && findings.len() >= MOST_TOLD {
                more += 1;
                continue;
            }
            for (kind, used, pack_ref, fault) in faults {
                let owner = candidates
                    .iter()
                    .find(|candidate| Some(candidate.definition.manifest.r#ref.as_str()) == pack_ref);
                findings.extend(owner.map(|owner| finding(owner, &rule, (kind, used), &fault)));
            }
        }
        if let Some(last) = findings.last_mut().filter(|_| more > 0) {
            last.message.push_str(&format!("; {more} more rules do not fit either"));
        }
        Ok(findings)
    }

    /// What is described in another way now. What is gone was told before.
    async fn changed(
        self,
        connection: &mut PgConnection,
    ) -> Result<(Versions<Action>, Versions<Trigger>), StoreError> {
        let Self { actions: mut old_actions, triggers: mut old_triggers } = self;
        let refs: Vec<String> = old_actions.keys().cloned().collect();
        let actions = ActionRepository::list_by_refs(&mut *connection, &refs).await?.into_iter();
        let actions = actions.filter_map(|now| Some((old_actions.remove(&now.r#ref)?, now)));
        let actions = actions.filter(|(before, now)| before.param_schema != now.param_schema);
        let refs: Vec<String> = old_triggers.keys().cloned().collect();
        let triggers = TriggerRepository::list_by_refs(&mut *connection, &refs).await?.into_iter();
        let triggers = triggers.filter_map(|now| Some((old_triggers.remove(&now.r#ref)?, now)));
        let triggers = triggers.filter(|(before, now)| {
            before.param_schema != now.param_schema || before.out_schema != now.out_schema
        });
        Ok((
            actions.map(|versions| (versions.1.r#ref.clone(), versions)).collect(),
            triggers.map(|versions| (versions.1.r#ref.clone(), versions)).collect(),
        ))
    }
}

/// What is wrong with a rule, where it says so.
#[derive(Debug, PartialEq, Eq)]
struct RuleFault {
    pointer: String,
    message: String,
}

fn faults_of_action(rule: &RuleDefinition, before: &Action, now: &Action) -> Vec<RuleFault> {
    let of = |action: &Action| -> Vec<RuleFault> {
        let faults = check::action_parameters(&action.param_schema, &rule.action_params);
        faults.into_iter().map(|fault| RuleFault { pointer: fault.pointer, message: fault.message }).collect()
    };
    new(&of(before), of(now))
}

fn faults_of_trigger(rule: &RuleDefinition, before: &Trigger, now: &Trigger) -> Vec<RuleFault> {
    let of = |trigger: &Trigger| -> Vec<RuleFault> {
        let parameters = check::trigger_parameters(&trigger.param_schema, &rule.trigger_params);
        let schemas =
            TriggerSchemas { payload: Some(&trigger.out_schema), config: Some(&trigger.param_schema) };
        let fields = attune_rules::check(rule, schemas);
        let parameters = parameters.into_iter().map(|fault| RuleFault {
            pointer: format!("/trigger_params{}", fault.pointer),
            message: fault.message,
        });
        let fields =
            fields.into_iter().map(|fault| RuleFault { pointer: fault.pointer, message: fault.message });
        parameters.chain(fields).collect()
    };
    new(&of(before), of(now))
}

/// What was no fault before. Messages name what would have fitted, which is another thing now.
fn new(before: &[RuleFault], now: Vec<RuleFault>) -> Vec<RuleFault> {
    now.into_iter().filter(|fault| !before.iter().any(|old| old.pointer == fault.pointer)).collect()
}

fn finding(owner: &Candidate, rule: &Rule, (kind, used): (&str, &str), fault: &RuleFault) -> Finding {
    let message =
        format!("the rule `{}` would no longer fit the {kind} `{used}`: {}", rule.r#ref, fault.message);
    let found = finding_in_manifest(&owner.files, "/version", message);
    let found = Finding { file: format!("{}{}", owner.prefix, found.file), ..found };
    found.expected(match &rule.pack_ref {
        Some(pack) => format!(
            "a version of the pack `{pack}` that fits, installed together with this one, or `attune rule disable {}` first",
            rule.r#ref
        ),
        None => format!(
            "`attune rule disable {}` first; change the rule then, and enable it again",
            rule.r#ref
        ),
    })
}
