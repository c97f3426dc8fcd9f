//! A notification: something to be told outside, over a channel.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::{Timestamp, named_enum};

named_enum! {
    /// Where a notification stands. The chart is in `docs/states.md`.
    NotificationState as "attune.notification_state" {
        /// Waits for its first attempt.
        Created = "created",
        /// Waits for another attempt: the latest one failed.
        Queued = "queued",
        /// A deliverer has it, for as long as its lease holds.
        Processing = "processing",
        /// Has arrived.
        Delivered = "delivered",
        /// Was given up.
        Error = "error",
    }
}

impl NotificationState {
    /// Terminal states never change.
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Delivered | Self::Error => true,
            Self::Created | Self::Queued | Self::Processing => false,
        }
    }

    /// Whether a notification may go from this state to the other. One that is processed may be taken again once the
    /// lease of its deliverer has run out; that is another attempt in the same state.
    pub const fn can_become(self, next: Self) -> bool {
        match self {
            Self::Created | Self::Queued => matches!(next, Self::Processing),
            Self::Processing => matches!(next, Self::Queued | Self::Delivered | Self::Error),
            Self::Delivered | Self::Error => false,
        }
    }
}

/// A notification and how far its delivery came.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Notification {
    pub id: i64,
    /// What it is delivered by.
    pub channel: String,
    /// What it is about.
    pub entity_type: String,
    pub entity: String,
    /// What became of that.
    pub activity: String,
    pub state: NotificationState,
    pub content: Option<Value>,
    /// The number of the latest attempt; 0 before the first one.
    pub attempts: i32,
    /// Not to be taken before; the end of the lease while it is processed.
    pub not_before: Timestamp,
    /// Why the latest attempt failed.
    pub error: Option<String>,
    pub delivered_at: Option<Timestamp>,
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// What makes a notification.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct NewNotification {
    pub channel: String,
    pub entity_type: String,
    pub entity: String,
    pub activity: String,
    pub content: Option<Value>,
    /// None is at once.
    pub not_before: Option<Timestamp>,
}

/// Changes to a notification that waits.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct NotificationUpdate {
    pub content: Option<Value>,
    pub not_before: Option<Timestamp>,
    /// The `updated` that the caller saw: a row that was changed since is left alone, and the result is a Conflict.
    #[serde(skip)]
    pub unchanged_since: Option<Timestamp>,
}

/// An attempt at a delivery, as its deliverer was given it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    pub notification: i64,
    pub attempt: i32,
}

/// The end of an attempt that failed.
#[derive(Debug, Clone, PartialEq)]
pub struct DeliveryFailure {
    pub delivery: Delivery,
    pub error: String,
    /// How long until the next attempt; None gives the notification up.
    pub retry_after: Option<Duration>,
}

/// Which notifications to list.
#[derive(Debug, Clone, Default)]
pub struct NotificationFilter {
    pub channel: Option<String>,
    pub entity_type: Option<String>,
    pub entity: Option<String>,
    pub state: Option<NotificationState>,
    /// Only notifications with a smaller id: the cursor.
    pub before: Option<i64>,
    pub limit: i64,
}
