//! A rule: which events of a trigger lead to which action.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::enforcement::ConditionMode;
use super::{Timestamp, named_enum};

named_enum! {
    /// Whether a rule acts.
    RuleMode as "attune.rule_mode" {
        Active = "active",
        /// Judged and recorded, but nothing is executed.
        Shadow = "shadow",
    }
}

/// A rule. Its JSON is the row, as [`RuleVersion::definition`] keeps it.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow, Deserialize)]
pub struct Rule {
    pub id: i64,
    pub r#ref: String,
    pub pack: Option<i64>,
    pub pack_ref: Option<String>,
    pub label: Option<String>,
    pub description: Option<String>,
    pub enabled: bool,
    pub mode: RuleMode,
    pub trigger: Option<i64>,
    pub trigger_ref: String,
    pub trigger_params: Value,
    pub condition: ConditionMode,
    pub conditions: Value,
    pub action: Option<i64>,
    pub action_ref: String,
    pub action_params: Value,
    /// What it makes of several events, as it was written; None for a rule without a window.
    #[sqlx(rename = "rule_window")]
    #[serde(rename = "rule_window")]
    pub window: Option<Value>,
    /// How its executions are tried again; None: as their action says.
    pub retry: Option<Value>,
    /// The settings of its pack that it uses, with the values that they had; None: it uses none.
    pub config: Option<Value>,
    pub owner: Option<i64>,
    /// Counts the changes of this rule, from 1.
    pub version: i32,
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// A rule as far as its trigger is concerned.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct ListeningRule {
    pub r#ref: String,
    pub pack: Option<i64>,
    pub trigger_params: Value,
}

/// What makes a rule. Trigger and action are given by ref and must exist.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewRule {
    pub r#ref: String,
    pub label: Option<String>,
    pub description: Option<String>,
    pub enabled: bool,
    pub mode: RuleMode,
    pub trigger_ref: String,
    pub trigger_params: Value,
    pub condition: ConditionMode,
    pub conditions: Value,
    pub action_ref: String,
    pub action_params: Value,
    pub window: Option<Value>,
    /// How its executions are tried again; None: as their action says.
    pub retry: Option<Value>,
    /// The settings of its pack that it uses, with their values; None: it uses none. No part of what its author wrote.
    #[serde(skip)]
    pub config: Option<Value>,
}

impl NewRule {
    /// An enabled rule without conditions or parameters.
    pub fn of(
        rule_ref: impl Into<String>,
        trigger_ref: impl Into<String>,
        action_ref: impl Into<String>,
    ) -> Self {
        let empty = || Value::Object(serde_json::Map::new());
        Self {
            r#ref: rule_ref.into(),
            label: None,
            description: None,
            enabled: true,
            mode: RuleMode::Active,
            trigger_ref: trigger_ref.into(),
            trigger_params: empty(),
            condition: ConditionMode::All,
            conditions: Value::Array(Vec::new()),
            action_ref: action_ref.into(),
            action_params: empty(),
            window: None,
            retry: None,
            config: None,
        }
    }
}

/// Changes to a rule.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct RuleUpdate {
    pub label: Option<String>,
    pub description: Option<String>,
    pub enabled: Option<bool>,
    pub mode: Option<RuleMode>,
    pub trigger_params: Option<Value>,
    pub condition: Option<ConditionMode>,
    pub conditions: Option<Value>,
    pub action_params: Option<Value>,
    /// JSON null takes the window away.
    pub window: Option<Value>,
    /// The `updated` that the caller saw: a row that was changed since is left alone, and the result is a Conflict.
    #[serde(skip)]
    pub unchanged_since: Option<Timestamp>,
}

/// A rule as it was from one change to the next.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct RuleVersion {
    pub id: i64,
    /// None when the rule is gone.
    pub rule: Option<i64>,
    pub rule_ref: String,
    pub trigger_ref: String,
    pub version: i32,
    /// The version of the rule set from which on it counts.
    pub rule_set_version: i64,
    /// The rule was removed, and this is what it was then.
    pub removed: bool,
    /// The whole row of the rule.
    pub definition: Value,
    pub created: Timestamp,
}

impl RuleVersion {
    /// The rule as it was.
    pub fn rule(&self) -> Result<Rule, serde_json::Error> {
        Rule::deserialize(&self.definition)
    }
}

/// An enabled rule with what the matching pass needs of its action.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct LiveRule {
    pub id: i64,
    pub r#ref: String,
    pub label: Option<String>,
    pub pack_ref: Option<String>,
    pub version: i32,
    pub mode: RuleMode,
    pub trigger_ref: String,
    pub trigger_params: Value,
    pub condition: ConditionMode,
    pub conditions: Value,
    pub action: Option<i64>,
    pub action_ref: String,
    pub action_params: Value,
    #[sqlx(rename = "rule_window")]
    pub window: Option<Value>,
    /// The settings of its pack that it uses.
    pub config: Option<Value>,
    /// How its executions are tried again; null: as the action says.
    pub retry: Option<Value>,
    pub action_enabled: Option<bool>,
    pub action_param_schema: Option<Value>,
}

/// How the rules that can fire differ from those of an earlier version of the rule set.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveChanges {
    /// The version of the rule set that they have become.
    pub version: i64,
    /// The refs of the rules that were made, changed or removed since.
    pub changed: Vec<String>,
    /// Those of them that can fire.
    pub rules: Vec<LiveRule>,
}
