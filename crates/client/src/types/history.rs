//! What happened: events, enforcements, executions, workers.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{ProgressView, WaitingView};

/// A new event.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EventRequest {
    pub trigger: String,
    #[serde(default)]
    pub payload: Value,
    /// A second event of the trigger with the same key is the same event.
    #[serde(default)]
    pub dedup_key: Option<String>,
    /// What rules' `trigger_params` are compared with; checked against the trigger's parameters.
    #[serde(default)]
    pub config: Option<Value>,
}

/// The answer to a recorded event, from the webhook and the API alike. The event is durable by then.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EventAccepted {
    pub event: i64,
    /// The delivery was recorded before, as this event.
    pub duplicate: bool,
}

/// An event in a list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EventView {
    pub id: i64,
    pub trigger: String,
    pub source: Option<String>,
    pub payload: Value,
    pub headers: Option<Value>,
    pub config: Value,
    pub dedup_key: Option<String>,
    /// The event that this one repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay_of: Option<i64>,
    /// The execution whose run made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caused_by: Option<i64>,
    pub trace_id: Option<String>,
    pub created: DateTime<Utc>,
}

/// An event with what came of it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EventDetail {
    #[serde(flatten)]
    pub event: EventView,
    /// When the rules judged it; absent while it waits.
    pub matched: Option<DateTime<Utc>>,
    /// Those about this event, and those that it contributed to.
    pub enforcements: Vec<EnforcementDetail>,
    /// What windows of rules made of it that did not fire at once.
    #[serde(default)]
    pub windows: Vec<WindowOutcomeView>,
}

/// What the window of a rule made of an event on which it did not fire at once.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WindowOutcomeView {
    pub rule: String,
    /// The key of the event; empty for a window without keys.
    pub key: String,
    /// `{"outcome": "held" | "late" | "counted" | "progress" | "waiting" | "answered" | "not_awaited", ..}`
    pub outcome: Value,
    /// The same in words.
    pub text: String,
}

/// An enforcement.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EnforcementView {
    pub id: i64,
    pub rule: String,
    pub trigger: String,
    pub event: Option<i64>,
    /// `created`, `processed` or `disabled`.
    pub status: String,
    /// The parameters it hands to the action.
    pub payload: Value,
    pub config: Value,
    pub condition: String,
    pub conditions: Value,
    /// Why no execution came of it, where that was a failure.
    pub error: Option<String>,
    pub created: DateTime<Utc>,
    pub updated: DateTime<Utc>,
}

/// An enforcement with its executions.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EnforcementDetail {
    #[serde(flatten)]
    pub enforcement: EnforcementView,
    /// The events that contributed to it: one, or those of its rule's window.
    #[serde(default)]
    pub events: Vec<i64>,
    pub executions: Vec<ExecutionLink>,
}

/// An execution by its name and state.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ExecutionLink {
    pub id: i64,
    pub action: String,
    pub status: String,
}

/// A run to start.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecutionRequest {
    pub action: String,
    /// An object; checked against the action's parameter schema before anything runs.
    #[serde(default)]
    pub parameters: Value,
    /// Labels or capabilities that the worker has to have, besides those that the action asks for; here they win.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub worker_selector: BTreeMap<String, String>,
    /// Taints of the worker that do no harm, besides those that the action tolerates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<String>,
}

impl ExecutionRequest {
    /// A run of the action wherever the action itself says.
    pub fn of(action: impl Into<String>, parameters: Value) -> Self {
        Self { action: action.into(), parameters, worker_selector: BTreeMap::new(), tolerations: Vec::new() }
    }
}

/// An execution.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ExecutionView {
    pub id: i64,
    pub action: String,
    /// `requested scheduling scheduled running completed failed canceling cancelled timeout abandoned`.
    pub status: String,
    pub attempt: i32,
    /// What it waits for besides a free worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
    /// Parameters that the action declares as secret are masked.
    pub parameters: Value,
    /// Standard output as the action's output format reads it.
    pub result: Option<Value>,
    pub error: Option<String>,
    pub exit_code: Option<i32>,
    /// The signal that ended the process.
    pub signal: Option<i32>,
    pub stdout_bytes: Option<i64>,
    pub stderr_bytes: Option<i64>,
    pub enforcement: Option<i64>,
    /// The execution that began it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<i64>,
    pub worker: Option<String>,
    pub trace_id: Option<String>,
    pub created: DateTime<Utc>,
    pub started: Option<DateTime<Utc>>,
    pub finished: Option<DateTime<Utc>>,
}

impl ExecutionView {
    /// Whether it has ended; such a status never changes.
    pub fn is_finished(&self) -> bool {
        self.finished.is_some()
    }
}

/// An execution with the chain that it came from.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ExecutionDetail {
    #[serde(flatten)]
    pub execution: ExecutionView,
    /// Rule, enforcement and event behind it; absent for a run started by hand.
    pub chain: Option<ChainView>,
    /// Who started it: a login, or the execution whose run asked for it.
    pub started_by: Option<String>,
    pub attempts: Vec<AttemptView>,
    /// What it waits for before it may be claimed; absent when it does not wait for policies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admission: Option<WaitingView>,
    /// How far its latest attempt said that it has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<ProgressView>,
    /// What it wrote, as text: at most the first 64 KiB of each stream here; all that was kept is at `output`.
    pub stdout: String,
    pub stderr: String,
}

/// Where an execution came from.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ChainView {
    pub enforcement: i64,
    pub rule: String,
    pub trigger: String,
    pub event: Option<i64>,
}

/// One ended attempt.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AttemptView {
    pub attempt: i32,
    pub status: String,
    pub worker: Option<String>,
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    pub error: Option<String>,
    pub started: Option<DateTime<Utc>>,
    pub finished: DateTime<Utc>,
}

/// A status that an execution took.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HistoryEntry {
    pub status: String,
    pub at: DateTime<Utc>,
}

/// What is to be paused: one of `action`, `pack` and `all`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseRequest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pack: Option<String>,
    #[serde(default)]
    pub all: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Something that does not run for now.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PauseView {
    pub id: i64,
    /// Absent with `pack` absent too: everything is paused.
    pub action: Option<String>,
    pub pack: Option<String>,
    pub reason: Option<String>,
    /// Who paused it.
    pub by: Option<String>,
    pub created: DateTime<Utc>,
}

/// What an execution wrote, in pieces.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OutputPiece {
    pub attempt: i32,
    /// Counts the pieces of an attempt, both streams together.
    pub seq: i32,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// When it was stored, a moment after it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<DateTime<Utc>>,
    /// The bytes as text; what is not UTF-8 is replaced by U+FFFD.
    pub text: String,
}

/// A worker.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WorkerView {
    pub id: i64,
    pub name: String,
    pub host: Option<String>,
    /// `active inactive busy error`.
    pub status: String,
    pub slots: i32,
    /// Executions that it has and that have not ended.
    pub running: i64,
    /// It gets no more work; what it runs goes on.
    pub cordoned: bool,
    /// What its operator says of it.
    pub labels: Value,
    /// What it found out about its machine.
    pub capabilities: Value,
    /// What keeps work away that does not tolerate it.
    pub taints: Vec<String>,
    /// Whether its lease holds now.
    pub alive: bool,
    pub heartbeat: Option<DateTime<Utc>>,
}

/// One change of the change feed, as the stream gives it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ChangeView {
    /// Give it as `Last-Event-ID` to go on after this change.
    pub cursor: String,
    pub entity_type: String,
    pub entity: i64,
    #[serde(rename = "ref")]
    pub entity_ref: String,
    pub activity: String,
    pub created: DateTime<Utc>,
}
