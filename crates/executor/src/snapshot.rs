//! The rules in memory: every live rule compiled, by trigger, at one version of the rule set.

use std::collections::HashMap;

use attune_common::error::Result;
use attune_common::models::enforcement::ConditionMode as StoredMode;
use attune_common::models::rule::LiveRule;
use attune_common::repositories::RuleRepository;
use attune_expr::schema::ParameterSchema;
use attune_rules::{CompiledRule, Condition, ConditionMode, RuleDefinition, RuleProblem};
use serde_json::{Value, json};
use sqlx::PgConnection;

/// The rules that can fire, at one version. Never changed, only replaced.
#[derive(Debug, Default)]
pub struct RuleSnapshot {
    version: i64,
    by_trigger: HashMap<String, Vec<SnapshotRule>>,
}

/// One rule, ready to be judged.
#[derive(Debug)]
pub(crate) struct SnapshotRule {
    pub(crate) rule: LiveRule,
    /// The rule as its templates see it.
    pub(crate) view: Value,
    pub(crate) readiness: Readiness,
}

/// Whether a rule can be judged at all.
#[derive(Debug)]
pub(crate) enum Readiness {
    Ready {
        compiled: Box<CompiledRule>,
        action: i64,
        parameters: Box<ParameterSchema>,
    },
    /// It cannot: each event that it listens to is answered with an enforcement that says why.
    Broken(String),
}

impl RuleSnapshot {
    /// Reads and compiles all live rules.
    pub async fn load(connection: &mut PgConnection) -> Result<Self> {
        let (version, rules) = RuleRepository::live(connection).await?;
        let mut by_trigger: HashMap<String, Vec<SnapshotRule>> = HashMap::new();
        for rule in rules {
            by_trigger.entry(rule.trigger_ref.clone()).or_default().push(SnapshotRule::new(rule));
        }
        Ok(Self { version, by_trigger })
    }

    /// The version of the rule set that this is; 0 for the empty snapshot before the first load.
    pub fn version(&self) -> i64 {
        self.version
    }

    /// The rules of a trigger, in the order of their ids.
    pub(crate) fn rules_of(&self, trigger_ref: &str) -> &[SnapshotRule] {
        self.by_trigger.get(trigger_ref).map(Vec::as_slice).unwrap_or_default()
    }
}

impl SnapshotRule {
    fn new(rule: LiveRule) -> Self {
        let readiness = prepare(&rule).unwrap_or_else(Readiness::Broken);
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
        Self { rule, view, readiness }
    }
}

fn prepare(rule: &LiveRule) -> Result<Readiness, String> {
    let action = rule.action.ok_or_else(|| format!("the action {} does not exist", rule.action_ref))?;
    if rule.action_enabled == Some(false) {
        return Err(format!("the action {} is disabled", rule.action_ref));
    }
    let problems =
        |problems: Vec<RuleProblem>| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let definition = RuleDefinition {
        rule_ref: rule.r#ref.clone(),
        trigger_ref: rule.trigger_ref.clone(),
        trigger_params: rule.trigger_params.clone(),
        condition: match rule.condition {
            StoredMode::All => ConditionMode::All,
            StoredMode::Any => ConditionMode::Any,
        },
        conditions: Condition::parse_list(&rule.conditions).map_err(problems)?,
        action_ref: rule.action_ref.clone(),
        action_params: rule.action_params.clone(),
    };
    let compiled = CompiledRule::compile(&definition).map_err(problems)?;
    let schema = rule.action_param_schema.clone().unwrap_or_default();
    let parameters = ParameterSchema::compile(&schema)
        .map_err(|problem| format!("the parameter schema of {} is not valid: {problem}", rule.action_ref))?;
    Ok(Readiness::Ready { compiled: Box::new(compiled), action, parameters: Box::new(parameters) })
}
