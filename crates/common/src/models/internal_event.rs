//! What internal events are made of: facts about what the platform itself did.

use serde_json::Value;

use super::Timestamp;
use super::execution::ExecutionStatus;

/// A trigger that a rule listens to.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct ListenedTrigger {
    pub id: i64,
    pub r#ref: String,
}

/// An execution that has ended.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct EndedExecution {
    pub id: i64,
    pub action_ref: String,
    pub status: ExecutionStatus,
    pub attempt: i32,
    pub error: Option<String>,
    pub exit_code: Option<i32>,
    pub parent: Option<i64>,
    /// The enforcement that it, or the first of those that it was begun by, came from.
    pub enforcement: Option<i64>,
    pub rule_ref: Option<String>,
    pub event: Option<i64>,
    pub trace_id: Option<String>,
    /// How many internal events led to it.
    pub depth: i16,
    pub created: Timestamp,
    pub started: Option<Timestamp>,
    pub finished: Option<Timestamp>,
}

/// A worker that did not renew its lease.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct LostWorker {
    pub id: i64,
    pub name: String,
    pub host: Option<String>,
    /// When its lease ran out; where it has one again, when its loss was noticed.
    pub lease_expires: Option<Timestamp>,
}

/// A decision that could not be acted on.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct FailedEnforcement {
    pub id: i64,
    pub rule_ref: String,
    pub trigger_ref: String,
    pub event: Option<i64>,
    pub error: String,
    pub trace_id: Option<String>,
    /// How many internal events led to it.
    pub depth: i16,
}

/// A question that a run put to people.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct PutQuestion {
    pub id: i64,
    pub execution: i64,
    pub action_ref: String,
    pub prompt: String,
    pub response_schema: Value,
    /// The login of who is asked.
    pub assigned_to: Option<String>,
    pub assigned_role: Option<String>,
    pub timeout_at: Option<Timestamp>,
    pub response: Option<Value>,
    /// The login of who answered.
    pub responded_by: Option<String>,
    pub responded_at: Option<Timestamp>,
    pub created: Timestamp,
    pub trace_id: Option<String>,
    /// How many internal events led to the execution.
    pub depth: i16,
}

/// How many events and executions may lead to one another, whoever makes the next one - the platform, `core.emit`, or a run by its
/// token: what rules and runs cause themselves does not go on for ever.
pub const MAX_DEPTH: i16 = 10;

/// What an execution inherits; the default is that of one that no rule began.
#[derive(Debug, Clone, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct ExecutionOrigin {
    pub rule_ref: Option<String>,
    pub depth: i16,
}
