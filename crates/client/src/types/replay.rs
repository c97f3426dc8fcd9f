//! Recorded events once more.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::EventView;

/// Which recorded events to record again: either `events`, or those of a trigger within a span of time, a batch of them.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayRequest {
    /// The name of this replay, up to 64 of `a-z A-Z 0-9 - _`. An event is recorded once under a name, however often it is
    /// asked for.
    pub run: String,
    /// Single events, up to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<ReplayItem>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    /// From this time on ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
    /// ... and before this one; default: now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
    /// `next_cursor` of the batch before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Events of this batch at most, 1 to 1000; default: 500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// Records nothing: gives the events that would be recorded again.
    #[serde(default)]
    pub dry_run: bool,
}

/// An event to record again.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayItem {
    pub event: i64,
    /// What stands in place of its payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
}

/// A batch of a replay.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ReplayView {
    pub run: String,
    /// What was recorded, in the order of the events that were replayed.
    pub replayed: Vec<ReplayedView>,
    /// With `dry_run`: the events of this batch as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub would_replay: Option<Vec<EventView>>,
    /// With `dry_run`, in the first batch: how many events there are in all batches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<i64>,
    /// Give it as `cursor` for the next batch; absent with the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// An event that was recorded again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplayedView {
    pub replay_of: i64,
    /// The new event.
    pub event: i64,
    /// It was recorded before, under the same name of the replay.
    pub duplicate: bool,
}
