//! An enforcement: the decision of a rule about an event.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::keyed::KeyedParameters;
use super::rule::RuleMode;
use super::{Timestamp, named_enum};

named_enum! {
    /// What became of a decision. The chart is in `docs/states.md`.
    EnforcementStatus as "attune.enforcement_status" {
        /// Decided, not yet acted on.
        Created = "created",
        /// Acted on, or failed for the reason in `error`.
        Processed = "processed",
        /// Recorded without acting: the rule was in shadow mode.
        Disabled = "disabled",
    }
}

impl EnforcementStatus {
    /// Whether a decision may go from this status to the other.
    pub const fn can_become(self, next: Self) -> bool {
        match self {
            Self::Created => matches!(next, Self::Processed | Self::Disabled),
            Self::Processed | Self::Disabled => false,
        }
    }
}

/// How the conditions of a rule are combined. Text with a check in the schema, not an enum type.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize, sqlx::Type,
)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum ConditionMode {
    #[default]
    All,
    Any,
}

impl ConditionMode {
    /// The name as the schema and JSON spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Any => "any",
        }
    }
}

/// A recorded enforcement.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Enforcement {
    pub id: i64,
    pub rule: Option<i64>,
    pub rule_ref: String,
    pub trigger_ref: String,
    /// `{"rule_version", "action"}`: what the decision was made by.
    pub config: Value,
    pub event: Option<i64>,
    pub status: EnforcementStatus,
    /// What it hands to the action: the rendered parameters.
    pub payload: Value,
    pub condition: ConditionMode,
    pub conditions: Value,
    /// Why no execution came of it, where that was a failure.
    pub error: Option<String>,
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// What makes an enforcement.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct NewEnforcement {
    pub rule: Option<i64>,
    pub rule_ref: String,
    pub trigger_ref: String,
    pub config: Option<Value>,
    pub event: Option<i64>,
    pub status: Option<EnforcementStatus>,
    pub payload: Option<Value>,
    pub condition: ConditionMode,
    pub conditions: Option<Value>,
    pub error: Option<String>,
}

/// Changes to an enforcement.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct EnforcementUpdate {
    pub status: Option<EnforcementStatus>,
    pub payload: Option<Value>,
    /// The `updated` that the caller saw: a row that was changed since is left alone, and the result is a Conflict.
    #[serde(skip)]
    pub unchanged_since: Option<Timestamp>,
}

/// Which enforcements to list.
#[derive(Debug, Clone, Default)]
pub struct EnforcementFilter {
    pub rule_ref: Option<String>,
    /// Those about this event, and those that it contributed to.
    pub event: Option<i64>,
    pub status: Option<EnforcementStatus>,
    /// Only enforcements with a smaller id: the cursor.
    pub before: Option<i64>,
    pub limit: i64,
}

/// What became of decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recorded {
    /// The executions that were made.
    pub executions: i64,
    /// Those of them that were given to a worker at once.
    pub assigned: i64,
    /// Whether workers had no room for all executions of native actions that might have been given to one, or would not have it
    /// once more.
    pub is_crowded: bool,
}

/// A rule's decision about an event, as the matching pass records it.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    pub event: i64,
    pub rule: i64,
    pub rule_ref: String,
    pub trigger_ref: String,
    /// The same for every decision of a rule, as are its conditions.
    pub config: Arc<Value>,
    /// The rendered parameters; `{}` when they could not be rendered.
    pub parameters: Value,
    /// The parameters with marks, when they name keys; `parameters` has a mask in the place of each mark then.
    pub keyed: Option<KeyedParameters>,
    pub condition: ConditionMode,
    pub conditions: Arc<Value>,
    pub outcome: DecisionOutcome,
    /// The mode of the rule. In shadow mode the decision is recorded as `disabled`, and nothing follows from it.
    pub mode: RuleMode,
    /// How the rule has its executions tried again; null: as their action says.
    pub retry: Option<Arc<Value>>,
    pub trace_id: Option<String>,
}

/// What follows from a decision.
#[derive(Debug, Clone, PartialEq)]
pub enum DecisionOutcome {
    /// An execution of the action.
    Execute { action: i64, action_ref: String },
    /// Nothing, for this reason.
    Fail { error: String },
}
