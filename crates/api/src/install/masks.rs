//! What may be shown of the parameters of rules, when the schemas that say so are about to change: what either the
//! installed or the new schema calls secret is hidden.

use std::collections::{BTreeSet, HashMap};

use attune_common::error::StoreError;
use attune_common::models::rule::NewRule;
use attune_common::repositories::{ActionRepository, TriggerRepository};
use serde_json::{Map, Value};
use sqlx::PgConnection;

use super::Candidate;
use super::edits::members;
use crate::views::Mask;

#[derive(Debug)]
pub(super) struct RuleMasks {
    actions: HashMap<String, Vec<Mask>>,
    triggers: HashMap<String, Vec<Mask>>,
}

impl RuleMasks {
    /// The masks for these rules.
    pub(super) async fn read(
        connection: &mut PgConnection,
        candidate: &Candidate,
        rules: impl Iterator<Item = &NewRule>,
    ) -> Result<Self, StoreError> {
        let (mut actions, mut triggers) = (BTreeSet::new(), BTreeSet::new());
        for rule in rules {
            actions.insert(rule.action_ref.clone());
            triggers.insert(rule.trigger_ref.clone());
        }
        let actions: Vec<String> = actions.into_iter().collect();
        let triggers: Vec<String> = triggers.into_iter().collect();
        let mut masks = Self { actions: HashMap::new(), triggers: HashMap::new() };
        for action in ActionRepository::list_by_refs(&mut *connection, &actions).await? {
            masks.actions.entry(action.r#ref).or_default().push(Mask::of(&action.param_schema));
        }
        for action in &candidate.definition.actions {
            masks.actions.entry(action.r#ref.clone()).or_default().push(Mask::of(&action.parameters));
        }
        for trigger in TriggerRepository::list_by_refs(&mut *connection, &triggers).await? {
            masks.triggers.entry(trigger.r#ref).or_default().push(Mask::of(&trigger.param_schema));
        }
        for trigger in &candidate.definition.triggers {
            masks.triggers.entry(trigger.r#ref.clone()).or_default().push(Mask::of(&trigger.parameters));
        }
        Ok(masks)
    }

    /// The members of a rule as they may be shown.
    pub(super) fn shown(&self, rule: &NewRule) -> Result<Map<String, Value>, StoreError> {
        let mut shown = members(rule)?;
        for (member, masks) in [
            ("action_params", self.actions.get(&rule.action_ref)),
            ("trigger_params", self.triggers.get(&rule.trigger_ref)),
        ] {
            if let Some(value) = shown.get_mut(member) {
                *value = masked(masks.map_or(&[Mask::Everything], Vec::as_slice), value.take());
            }
        }
        Ok(shown)
    }
}

fn masked(masks: &[Mask], value: Value) -> Value {
    masks.iter().fold(value, |value, mask| mask.rule_parameters(value))
}
