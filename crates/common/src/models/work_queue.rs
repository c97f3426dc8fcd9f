//! Work queues: items wait, by priority, until they are handed out in batches under a lease.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::execution::ExecutionStatus;
use super::{Timestamp, named_enum};

named_enum! {
    /// Where an item stands.
    WorkItemStatus as "attune.work_item_status" {
        /// Waits to be handed out.
        Ready = "ready",
        /// Somebody works on it.
        Leased = "leased",
        /// Ended well.
        Done = "done",
        /// Failed as often as its queue allows.
        Dead = "dead",
    }
}

impl WorkItemStatus {
    /// Terminal states never change.
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Done | Self::Dead => true,
            Self::Ready | Self::Leased => false,
        }
    }

    /// Whether an item may go from this status to the other.
    pub const fn can_become(self, next: Self) -> bool {
        match self {
            Self::Ready => matches!(next, Self::Leased),
            Self::Leased => matches!(next, Self::Ready | Self::Done | Self::Dead),
            Self::Done | Self::Dead => false,
        }
    }
}

/// A work queue.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct WorkQueue {
    pub id: i64,
    pub r#ref: String,
    pub pack: Option<i64>,
    pub pack_ref: Option<String>,
    pub label: Option<String>,
    pub description: Option<String>,
    /// Items are handed out; while false, they only come in.
    pub enabled: bool,
    /// The action that works on batches of items.
    pub action: Option<i64>,
    pub action_ref: String,
    pub item_schema: Value,
    /// How many items are handed out at once.
    pub batch_size: i32,
    /// How many executions work on the queue at once.
    pub concurrency: i32,
    /// How often an item is handed out at most.
    pub max_attempts: i32,
    /// How long an item waits after its first failure; twice as long after each further one, up to an hour.
    pub retry_seconds: f64,
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// A queue whose items are being handed out, with its action.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct TakenQueue {
    pub id: i64,
    pub action: i64,
    pub action_ref: String,
    pub param_schema: Value,
    pub batch_size: i32,
    pub concurrency: i32,
    pub retry_seconds: f64,
}

/// What makes a work queue.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewWorkQueue {
    pub r#ref: String,
    pub label: Option<String>,
    pub description: Option<String>,
    pub enabled: bool,
    pub action_ref: String,
    pub item_schema: Value,
    pub batch_size: i32,
    pub concurrency: i32,
    pub max_attempts: i32,
    pub retry_seconds: f64,
}

impl NewWorkQueue {
    /// A queue that gives the action one item at a time, up to five times.
    pub fn of(queue_ref: impl Into<String>, action_ref: impl Into<String>) -> Self {
        Self {
            r#ref: queue_ref.into(),
            label: None,
            description: None,
            enabled: true,
            action_ref: action_ref.into(),
            item_schema: Value::Object(serde_json::Map::new()),
            batch_size: 1,
            concurrency: 10,
            max_attempts: 5,
            retry_seconds: 10.0,
        }
    }
}

/// Changes to a work queue.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct WorkQueueUpdate {
    pub label: Option<String>,
    pub description: Option<String>,
    pub enabled: Option<bool>,
    pub batch_size: Option<i32>,
    pub concurrency: Option<i32>,
    pub max_attempts: Option<i32>,
    pub retry_seconds: Option<f64>,
    /// The `updated` that the caller saw: a row that was changed since is left alone, and the result is a Conflict.
    #[serde(skip)]
    pub unchanged_since: Option<Timestamp>,
}

/// An item of a queue.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct WorkItem {
    pub id: i64,
    pub queue: i64,
    pub status: WorkItemStatus,
    pub priority: i16,
    pub item: Value,
    /// How often it was handed out.
    pub attempts: i32,
    /// The execution that the latest attempt was given to.
    pub execution: Option<i64>,
    pub lease_expires: Option<Timestamp>,
    /// Not to be handed out before.
    pub not_before: Timestamp,
    /// Why the latest attempt that failed did so.
    pub error: Option<String>,
    pub created: Timestamp,
    pub updated: Timestamp,
}

impl WorkItem {
    /// What whoever holds the item speaks by.
    pub const fn lease(&self) -> ItemLease {
        ItemLease { item: self.id, attempt: self.attempts }
    }
}

/// What makes an item.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewWorkItem {
    pub item: Value,
    /// Higher goes first.
    pub priority: i16,
    /// Not to be handed out before; None: at once.
    pub not_before: Option<Timestamp>,
}

impl NewWorkItem {
    /// An item of ordinary priority, to be handed out at once.
    pub const fn of(item: Value) -> Self {
        Self { item, priority: 0, not_before: None }
    }
}

/// One handing out of an item. Whoever holds an older one has lost the item to somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct ItemLease {
    pub item: i64,
    pub attempt: i32,
}

/// The failure of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemFailure {
    pub lease: ItemLease,
    pub error: String,
    /// How long the item waits before it is handed out again.
    pub delay: Duration,
}

/// What became of an item whose attempt ended without success.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct EndedAttempt {
    pub id: i64,
    pub queue: i64,
    pub attempts: i32,
    /// `ready`, or `dead` when that was the last attempt.
    pub status: WorkItemStatus,
}

/// A leased item whose execution has ended.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct EndedItem {
    #[sqlx(flatten)]
    pub lease: ItemLease,
    pub execution: i64,
    pub status: ExecutionStatus,
    pub error: Option<String>,
    /// The queue's: how long an item waits after its first failure.
    pub retry_seconds: f64,
}

/// Which items to list.
#[derive(Debug, Clone, Default)]
pub struct WorkItemFilter {
    pub queue: Option<i64>,
    pub status: Option<WorkItemStatus>,
    /// Only items with a smaller id: the cursor.
    pub before: Option<i64>,
    pub limit: i64,
}

/// How many items of a queue stand where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct WorkItemCounts {
    pub ready: i64,
    pub leased: i64,
    pub done: i64,
    pub dead: i64,
}
