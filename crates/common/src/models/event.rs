//! An event: something that happened, of one trigger.

use std::ops::Range;

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
    /// How many internal events led to this one; 0: it came from outside.
    pub depth: i16,
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
    /// How many internal events led to this one.
    pub depth: i16,
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

/// An event with what the rules look at: one that waits to be judged, or one that a window has waited with.
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

/// Events that wait to be judged, in whole batches: the events that one statement recorded are judged by one transaction.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WaitingBatches {
    /// The keys of the batches, also of those without events.
    pub ids: Vec<i64>,
    /// By id.
    pub events: Vec<WaitingEvent>,
    /// Whether others waited that would have been too many.
    pub more: bool,
    /// Whether others are held that are not among these: until the end of the transaction nobody else can take them.
    pub is_holding_more: bool,
    /// The version of the rule set when they were taken.
    pub rule_set_version: i64,
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

/// Ids from the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    pub first: i64,
    pub last: i64,
}

/// Recorded events of a trigger within a span of time.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedFilter {
    pub trigger_ref: String,
    /// From this time on ...
    pub since: Timestamp,
    /// ... and before this one.
    pub until: Timestamp,
    /// Where to look for them.
    pub ids: IdRange,
}

/// What is read of events besides their payload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecordedParts {
    pub config: bool,
    pub headers: bool,
    /// Source and trace id.
    pub origin: bool,
}

/// Events as the database sent them: JSON stays text, all in one piece of memory.
#[derive(Debug, Clone, Default)]
pub struct RecordedBatch {
    text: Vec<u8>,
    rows: Vec<RecordedRow>,
}

#[derive(Debug, Clone)]
struct RecordedRow {
    id: i64,
    created: Timestamp,
    payload: Range<usize>,
    /// Config, headers, source and trace id.
    parts: [Option<Range<usize>>; 4],
}

/// An event of a batch. JSON is text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RecordedEvent<'b> {
    pub id: i64,
    pub created: Timestamp,
    pub payload: &'b [u8],
    pub config: Option<&'b [u8]>,
    pub headers: Option<&'b [u8]>,
    pub source_ref: Option<&'b [u8]>,
    pub trace_id: Option<&'b [u8]>,
}

impl RecordedBatch {
    /// How many events it holds.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How much text it holds.
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    /// The events in their order.
    pub fn events(&self) -> impl Iterator<Item = RecordedEvent<'_>> {
        self.rows.iter().map(|row| {
            let [config, headers, source_ref, trace_id] =
                [0, 1, 2, 3].map(|part: usize| row.parts[part].clone().map(|range| &self.text[range]));
            let payload = &self.text[row.payload.clone()];
            RecordedEvent { id: row.id, created: row.created, payload, config, headers, source_ref, trace_id }
        })
    }

    /// Adds an event; `parts` are its config, headers, source and trace id.
    pub fn push(&mut self, id: i64, created: Timestamp, payload: &[u8], parts: [Option<&[u8]>; 4]) {
        let mut keep = |text: &[u8]| {
            let start = self.text.len();
            self.text.extend_from_slice(text);
            start..self.text.len()
        };
        let payload = keep(payload);
        let parts = parts.map(|part| part.map(&mut keep));
        self.rows.push(RecordedRow { id, created, payload, parts });
    }
}
