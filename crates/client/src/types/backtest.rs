//! Rules tried on recorded events.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::RuleRequest;

/// Which rule to try on which events: either a draft in `rule`, or the stored one with the name `ref`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BacktestRequest {
    /// A draft. It is compared with the stored rule of the same ref, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleRequest>,
    /// Settings that the draft is judged with, in the place of those of its pack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Map<String, Value>>,
    /// The schema that the parameters of the draft's action have to fit, in the place of the stored one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_schema: Option<Value>,
    /// Members of the draft that are to be as in the stored rule of its ref, whatever the draft says: what is secret in these is
    /// shown to nobody. `trigger`, `trigger_params`, `condition`, `conditions`, `window`, `action`, `action_params`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<String>,
    /// The ref of a stored rule.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub rule_ref: Option<String>,
    /// An old version of it, which is compared with the present one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i32>,
    /// Events from this time on ...
    pub since: DateTime<Utc>,
    /// ... and before this one; default: now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
    /// How many examples of each kind to give, 0 to 100; default: 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub examples: Option<usize>,
}

impl BacktestRequest {
    /// The events from this time on; what is to be tried on them is to be said.
    pub fn since(since: DateTime<Utc>) -> Self {
        Self {
            rule: None,
            config: None,
            action_schema: None,
            kept: Vec::new(),
            rule_ref: None,
            version: None,
            since,
            until: None,
            examples: None,
        }
    }
}

/// How far a back-test is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BacktestProgress {
    /// Events judged so far.
    pub events: u64,
    /// About how much of the way that is, in percent.
    pub percent: f64,
}

/// What a rule would have made of recorded events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BacktestReport {
    /// The ref of the rule.
    pub rule: String,
    pub trigger: String,
    /// The version that was tried; absent for a draft.
    pub version: Option<i32>,
    pub since: DateTime<Utc>,
    pub until: DateTime<Utc>,
    /// Events of the trigger within that time.
    pub events: u64,
    /// How long judging took.
    pub seconds: f64,
    #[serde(flatten)]
    pub counts: BacktestCounts,
    /// How each condition came out over the events that the rule listens to.
    pub conditions: Vec<BacktestCondition>,
    /// The width of a bar in seconds.
    pub bar_seconds: i64,
    /// Spans of time in which something happened.
    pub bars: Vec<BacktestBar>,
    /// The first events on which the rule fires.
    pub fired_examples: Vec<BacktestExample>,
    /// The first events on which it fails.
    pub failed_examples: Vec<BacktestExample>,
    /// The difference to the version in force.
    pub comparison: Option<BacktestComparison>,
    /// What is to be known about the figures.
    pub notes: Vec<String>,
}

/// Events by what a rule made of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BacktestCounts {
    /// It would have started its action; with a window, how often it fires.
    pub fired: u64,
    /// A window took the event without firing at once.
    #[serde(default)]
    pub held: u64,
    /// Its conditions do not hold.
    pub r#false: u64,
    /// A field that decides does not exist.
    pub missing: u64,
    /// A condition cannot be judged, or the parameters cannot be rendered or do not fit the action.
    pub failed: u64,
    /// It does not listen to such an event.
    pub unheard: u64,
}

/// How often one condition came out how, before any `not` around it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BacktestCondition {
    /// JSON pointer of the condition in the rule.
    pub pointer: String,
    pub field: String,
    pub operator: String,
    pub r#true: u64,
    pub r#false: u64,
    pub missing: u64,
    pub error: u64,
}

/// What happened within one span of time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BacktestBar {
    pub begins: DateTime<Utc>,
    pub fired: u64,
    pub failed: u64,
    /// How often the version in force fires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<u64>,
}

/// An event on which a rule fires or fails.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BacktestExample {
    pub event: i64,
    /// The time of the event, or that at which a window fires about it later.
    pub at: DateTime<Utc>,
    /// What its action would have got.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Value>,
    /// Why it fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The difference to the version in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BacktestComparison {
    /// The version in force.
    pub version: i32,
    /// What it makes of the same events.
    pub live: BacktestCounts,
    /// Both fire.
    pub both: BacktestDifference,
    /// Both fire, with different parameters; counted in `both` as well.
    pub changed: BacktestDifference,
    pub only_draft: BacktestDifference,
    pub only_live: BacktestDifference,
}

/// How many events, and the first of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BacktestDifference {
    pub count: u64,
    pub events: Vec<i64>,
}
