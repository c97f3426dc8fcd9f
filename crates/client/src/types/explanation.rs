//! Why rules fired on an event, or did not.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::ExecutionLink;

/// What the rules of its trigger made of an event, each as it was when the event was matched.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EventExplanation {
    pub event: i64,
    pub trigger: String,
    /// The execution whose run made the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caused_by: Option<i64>,
    /// When the rules judged it, which is the time that they are judged with here; absent while it waits.
    pub matched: Option<DateTime<Utc>>,
    /// The version of the rule set that judged it.
    pub rule_set_version: Option<i64>,
    /// What there is to say of the event as a whole, in a sentence.
    pub reason: String,
    /// By ref.
    pub rules: Vec<RuleExplanation>,
    /// Give it as `cursor` for the next rules; absent with the last ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// What a rule made of an event.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RuleExplanation {
    pub rule: String,
    /// The version of the rule that judged the event; absent where there was none.
    pub version: Option<i32>,
    /// `active` or `shadow`.
    pub mode: Option<String>,
    pub action: Option<String>,
    /// `fired failed shadowed held not_fired not_listening other_trigger disabled absent unrecorded`.
    pub outcome: String,
    /// Why, in a sentence.
    pub reason: String,
    /// `true false missing error`: the conditions taken together.
    pub verdict: Option<String>,
    /// Whether the rule listens to the event, test by test.
    pub trigger: Vec<ConditionResult>,
    /// Every condition, also those that could not change the verdict.
    pub conditions: Vec<ConditionResult>,
    /// What the rule's window made of it, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowResult>,
    /// The parameters for the action; secret ones are masked.
    pub action_params: Option<Value>,
    pub action_params_error: Option<ParameterError>,
    /// The decision that was recorded, with what came of it.
    pub enforcement: Option<EnforcementLink>,
}

/// One condition with what it expected and what it found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ConditionResult {
    /// JSON pointer of the condition in the rule.
    pub pointer: String,
    /// The path, or the expression.
    pub field: String,
    pub operator: String,
    /// Absent where there is none, or it could not be rendered.
    pub expected: Option<Value>,
    /// For a path with `[*]` the array of values; absent when the field does not exist.
    pub actual: Option<Value>,
    /// `true false missing error`: of this condition alone, before any `not` around it.
    pub verdict: String,
    pub reason: String,
}

/// What a window made of an event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WindowResult {
    /// Whether it let the rule fire.
    pub passed: bool,
    pub reason: String,
    pub state: Value,
}

/// Why parameters could not be rendered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ParameterError {
    /// JSON pointer, which begins with `/action_params`.
    pub pointer: String,
    pub template: String,
    pub message: String,
    pub suggestion: Option<String>,
}

/// A recorded decision.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EnforcementLink {
    pub id: i64,
    /// `created`, `processed` or `disabled`.
    pub status: String,
    /// Why no execution came of it, where that was a failure.
    pub error: Option<String>,
    pub executions: Vec<ExecutionLink>,
}
