//! An event: something that happened, of one trigger.

use serde::Serialize;
use serde_json::Value;

use super::Timestamp;

/// A recorded event. Executors never change it; how far it was matched stands in [`EventMatch`].
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Event {
    pub id: i64,
    pub trigger: Option<i64>,
    /// Kept after the trigger is gone.
    pub trigger_ref: String,
    /// The trigger's configuration at that moment.
    pub config: Value,
    pub payload: Value,
    /// Lower-cased names of the request's headers; None where no request brought it.
    pub headers: Option<Value>,
    pub source: Option<i64>,
    pub source_ref: Option<String>,
    /// The sender's name for this delivery.
    pub dedup_key: Option<String>,
    pub replay_of: Option<i64>,
    pub trace_id: Option<String>,
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// What makes an event.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct NewEvent {
    pub trigger: Option<i64>,
    pub trigger_ref: String,
    pub config: Option<Value>,
    pub payload: Option<Value>,
    pub headers: Option<Value>,
    pub source: Option<i64>,
    pub source_ref: Option<String>,
    pub dedup_key: Option<String>,
    pub replay_of: Option<i64>,
    pub trace_id: Option<String>,
}

/// Changes to an event.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct EventUpdate {
    pub config: Option<Value>,
    pub payload: Option<Value>,
    /// The `updated` that the caller saw: a row that was changed since is left alone, and the result is a Conflict.
    #[serde(skip)]
    pub unchanged_since: Option<Timestamp>,
}

/// The outcome of appending one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    pub id: i64,
    /// The delivery was recorded before; `id` is the event that it made then.
    pub duplicate: bool,
}

/// An event that waits to be judged, with what the rules look at.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct WaitingEvent {
    pub id: i64,
    pub trigger_ref: String,
    pub config: Value,
    pub payload: Value,
    pub headers: Option<Value>,
    pub source_ref: Option<String>,
    pub trace_id: Option<String>,
    pub created: Timestamp,
}

/// How far an event was judged.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct EventMatch {
    pub event: i64,
    /// The time that the rules judged it with.
    pub matched: Option<Timestamp>,
    /// The version of the rules that judged it.
    pub rule_set_version: Option<i64>,
}

/// Which events to list.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    pub trigger_ref: Option<String>,
    /// Only events with a smaller id: the cursor.
    pub before: Option<i64>,
    pub limit: i64,
}
