//! A worker: a process that runs actions.

use serde::Serialize;
use serde_json::Value;

use super::{Timestamp, named_enum};

named_enum! {
    /// Where a worker runs its actions.
    WorkerType as "attune.worker_type" {
        Local = "local",
        Remote = "remote",
        Container = "container",
    }
}

named_enum! {
    /// What a worker does now. The chart is in `docs/states.md`.
    WorkerStatus as "attune.worker_status" {
        /// Takes work.
        Active = "active",
        /// Has stopped, or never began.
        Inactive = "inactive",
        /// Works on all it can hold.
        Busy = "busy",
        /// Cannot work.
        Error = "error",
    }
}

impl WorkerStatus {
    /// Whether a worker may go from this status to the other. One that is inactive begins to work by its registration
    /// alone, which makes it active.
    pub const fn can_become(self, next: Self) -> bool {
        match self {
            Self::Active => matches!(next, Self::Inactive | Self::Busy | Self::Error),
            Self::Busy => matches!(next, Self::Active | Self::Inactive | Self::Error),
            Self::Error => matches!(next, Self::Active | Self::Inactive | Self::Busy),
            Self::Inactive => matches!(next, Self::Active),
        }
    }
}

/// A worker.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Worker {
    pub id: i64,
    pub name: String,
    pub worker_type: WorkerType,
    pub status: WorkerStatus,
    pub host: Option<String>,
    /// Drawn anew at each start.
    pub instance: String,
    pub slots: i32,
    pub labels: Value,
    pub capabilities: Value,
    /// What keeps work away that does not tolerate it.
    pub taints: Vec<String>,
    pub cordoned: bool,
    pub heartbeat: Option<Timestamp>,
    pub lease_expires: Option<Timestamp>,
    /// Since when it is known to be lost.
    pub lost: Option<Timestamp>,
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// What a process announces of itself when it begins to work.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorkerRegistration {
    pub name: String,
    pub instance: String,
    pub host: Option<String>,
    pub slots: i32,
    /// What its operator says of it.
    pub labels: Value,
    /// What it found out about its machine.
    pub capabilities: Value,
    pub taints: Vec<String>,
    /// For how long it is believed to be alive without a renewal.
    pub lease: std::time::Duration,
    /// The caller knows that no other process of this name is alive (it holds a lock that such a process would hold):
    /// what the name was running is rescued at once instead of after the lease.
    pub take_over: bool,
}

/// The room for native executions that a process has ever offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    pub instance: String,
    pub offered: i64,
}

/// Changes to a worker by those who run it. Heartbeats are no changes: they leave `updated` alone.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct WorkerUpdate {
    pub worker_type: Option<WorkerType>,
    pub host: Option<String>,
    pub slots: Option<i32>,
    pub labels: Option<Value>,
    pub capabilities: Option<Value>,
    pub taints: Option<Vec<String>>,
    /// A cordoned worker gets no more work; what it runs goes on.
    pub cordoned: Option<bool>,
    /// The `updated` that the caller saw: a row that was changed since is left alone, and the result is a Conflict.
    #[serde(skip)]
    pub unchanged_since: Option<Timestamp>,
}
