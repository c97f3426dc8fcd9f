//! Policies and work queues, and the space that everything takes.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A policy: what holds executions back.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PolicyView {
    #[serde(rename = "ref")]
    pub policy_ref: String,
    pub pack: Option<String>,
    /// The action that is limited; absent: all actions of the pack together.
    pub action: Option<String>,
    pub enabled: bool,
    /// At most so many at once.
    pub concurrency: Option<i32>,
    /// The parameters whose values the concurrency is counted by.
    pub parameters: Vec<String>,
    /// At most so many starts in `rate_seconds`.
    pub rate_count: Option<i32>,
    pub rate_seconds: Option<f64>,
    /// What becomes of what is more: `enqueue` or `cancel`.
    pub method: String,
    /// Executions under it that were admitted and have not ended.
    pub running: i64,
    /// Executions under it that wait.
    pub waiting: i64,
    pub created: DateTime<Utc>,
    pub updated: DateTime<Utc>,
}

/// What an execution waits for.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WaitingView {
    /// The policies that it is under, those without room first.
    pub policies: Vec<WaitingPolicyView>,
    /// Its place among those that wait alike (same action, same values of what its policies count by), from 1; absent for
    /// the moment in which it is not known yet.
    pub position: Option<i64>,
}

/// A policy that an execution waits for.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WaitingPolicyView {
    pub policy: String,
    pub has_room: bool,
}

/// A work queue.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct QueueView {
    #[serde(rename = "ref")]
    pub queue_ref: String,
    pub pack: Option<String>,
    pub label: Option<String>,
    pub description: Option<String>,
    /// Items are handed out; while false, they only come in.
    pub enabled: bool,
    /// The action that works on the items.
    pub action: String,
    /// JSON Schema of an item.
    pub item_schema: Value,
    /// How many items an execution gets.
    pub batch_size: i32,
    /// How many executions work on the queue at once.
    pub concurrency: i32,
    /// How often an item is handed out at most.
    pub max_attempts: i32,
    /// How long an item waits after its first failure, in seconds; twice as long after each further one.
    pub retry_seconds: f64,
    pub items: QueueCounts,
    pub created: DateTime<Utc>,
    pub updated: DateTime<Utc>,
}

/// How many items of a queue stand where.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
pub struct QueueCounts {
    pub ready: i64,
    pub leased: i64,
    pub done: i64,
    pub dead: i64,
}

/// An item of a work queue.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct QueueItemView {
    pub id: i64,
    /// `ready`, `leased`, `done`, or `dead` when it failed as often as its queue allows.
    pub status: String,
    pub priority: i16,
    pub item: Value,
    /// How often it was handed out.
    pub attempts: i32,
    /// The execution that it was given to last.
    pub execution: Option<i64>,
    /// Why the latest attempt that failed did so.
    pub error: Option<String>,
    /// Not handed out before.
    pub not_before: DateTime<Utc>,
    pub created: DateTime<Utc>,
    pub updated: DateTime<Utc>,
}

/// Items for a queue.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QueuePush {
    /// 1 to 1000 items; all of them enter the queue, or none.
    pub items: Vec<Value>,
    /// Higher goes first.
    #[serde(default)]
    pub priority: i16,
    /// Not to be handed out before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<DateTime<Utc>>,
}

/// The items that entered a queue.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct QueuePushed {
    /// Their ids, in the order of the request.
    pub ids: Vec<i64>,
}

/// Which dead items are to be tried again.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QueueRetry {
    /// The ids of dead items; absent: all that are dead, up to 1000 of the oldest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<i64>>,
}

/// Dead items that came back as new ones.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct QueueRetried {
    /// Dead items that are gone, and the items that took their places.
    pub items: Vec<QueueRetriedItem>,
}

/// A dead item and the one in its place.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct QueueRetriedItem {
    pub dead: i64,
    pub id: i64,
}

/// Where the space of the database is.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DatabaseSize {
    /// Of the whole database.
    pub total_bytes: i64,
    /// The largest first.
    pub tables: Vec<TableSize>,
    /// How old the oldest row is of what retention removes.
    pub kinds: Vec<KindAge>,
}

/// The space of a table.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TableSize {
    pub table: String,
    /// PostgreSQL's estimate.
    pub rows: i64,
    /// With indexes and values that are stored apart.
    pub total_bytes: i64,
    pub index_bytes: i64,
}

/// How old the oldest row of a kind is.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct KindAge {
    /// `event`, `enforcement`, `execution`, `change`, `audit`, `work_item`, `notification`.
    pub kind: String,
    pub oldest: Option<DateTime<Utc>>,
}
