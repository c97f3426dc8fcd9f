//! An execution: one run of an action, over one or more attempts.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::action::{OutputFormat, ParameterDelivery, ParameterFormat, UsedKey};
use super::keyed::KeyedParameters;
use super::{Timestamp, named_enum};

named_enum! {
    /// Where an execution stands. The chart is in `docs/states.md`.
    ExecutionStatus as "attune.execution_status" {
        /// Waits for admission.
        Requested = "requested",
        /// Is being placed.
        Scheduling = "scheduling",
        /// May be claimed by a worker, once its time has come.
        Scheduled = "scheduled",
        /// A worker runs it.
        Running = "running",
        /// Ended well.
        Completed = "completed",
        /// Ended badly.
        Failed = "failed",
        /// Is to end; its worker ends it.
        Canceling = "canceling",
        /// Was ended before its time.
        Cancelled = "cancelled",
        /// Ran past its timeout.
        Timeout = "timeout",
        /// Its worker vanished and its action does not allow another attempt.
        Abandoned = "abandoned",
    }
}

impl ExecutionStatus {
    /// Terminal states never change.
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Completed | Self::Failed | Self::Cancelled | Self::Timeout | Self::Abandoned => true,
            Self::Requested | Self::Scheduling | Self::Scheduled | Self::Running | Self::Canceling => false,
        }
    }

    /// Whether an execution may go from this status to the other.
    pub const fn can_become(self, next: Self) -> bool {
        match self {
            Self::Requested => matches!(next, Self::Scheduling | Self::Scheduled | Self::Cancelled),
            Self::Scheduling => matches!(next, Self::Scheduled | Self::Cancelled),
            // Back to where it waits for its policies, when it is paused before it begins.
            Self::Scheduled => matches!(next, Self::Running | Self::Cancelled | Self::Requested),
            Self::Running => matches!(
                next,
                Self::Completed
                    | Self::Failed
                    | Self::Timeout
                    | Self::Canceling
                    | Self::Cancelled
                    | Self::Abandoned
                    | Self::Scheduled
            ),
            // A run that ended by itself before the cancellation reached it keeps its own end.
            Self::Canceling => {
                matches!(next, Self::Cancelled | Self::Completed | Self::Failed | Self::Timeout)
            }
            Self::Completed | Self::Failed | Self::Cancelled | Self::Timeout | Self::Abandoned => false,
        }
    }
}

named_enum! {
    /// Where a process wrote something.
    OutputStream as "attune.output_stream" {
        Stdout = "stdout",
        Stderr = "stderr",
    }
}

/// An execution with its parameters and the outcome of its latest attempt.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Execution {
    pub id: i64,
    pub action: Option<i64>,
    pub action_ref: String,
    pub enforcement: Option<i64>,
    pub parent: Option<i64>,
    pub original: Option<i64>,
    pub identity: Option<i64>,
    pub worker: Option<i64>,
    pub status: ExecutionStatus,
    pub priority: i16,
    pub placement: i64,
    /// Waits until then: for its next attempt.
    pub not_before: Option<Timestamp>,
    pub attempt: i32,
    pub trace_id: Option<String>,
    /// The parameters.
    pub config: Value,
    pub result: Option<Value>,
    pub error: Option<String>,
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    pub stdout_bytes: Option<i64>,
    pub stderr_bytes: Option<i64>,
    pub worker_name: Option<String>,
    pub started: Option<Timestamp>,
    pub finished: Option<Timestamp>,
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// What makes an execution.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewExecution {
    pub action: Option<i64>,
    pub action_ref: String,
    pub enforcement: Option<i64>,
    pub parent: Option<i64>,
    pub original: Option<i64>,
    pub identity: Option<i64>,
    /// `requested` to wait for admission, `scheduled` to be claimed at once.
    pub status: ExecutionStatus,
    pub priority: i16,
    pub trace_id: Option<String>,
    pub config: Value,
    /// The placement; None: that of its action.
    pub placement: Option<i64>,
}

impl NewExecution {
    /// An execution of the action with these parameters, to be claimed at once.
    pub fn of(action: Option<i64>, action_ref: impl Into<String>, config: Value) -> Self {
        Self {
            action,
            action_ref: action_ref.into(),
            enforcement: None,
            parent: None,
            original: None,
            identity: None,
            status: ExecutionStatus::Scheduled,
            priority: 0,
            trace_id: None,
            config,
            placement: None,
        }
    }
}

/// Changes to an execution that waits. What runs or has ended changes by the steps of its life alone.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ExecutionUpdate {
    /// `scheduling` or `scheduled`: its admission.
    pub status: Option<ExecutionStatus>,
    pub priority: Option<i16>,
    /// The `updated` that the caller saw: a row that was changed since is left alone, and the result is a Conflict.
    #[serde(skip)]
    pub unchanged_since: Option<Timestamp>,
}

/// Which executions to list.
#[derive(Debug, Clone, Default)]
pub struct ExecutionFilter {
    pub action_ref: Option<String>,
    pub status: Option<ExecutionStatus>,
    pub enforcement: Option<i64>,
    /// Executions whose enforcement is of this event.
    pub event: Option<i64>,
    /// Only executions with a smaller id: the cursor.
    pub before: Option<i64>,
    pub limit: i64,
}

/// A claimed execution with everything that a worker needs to run it.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Claimed {
    pub id: i64,
    pub attempt: i32,
    pub action_ref: String,
    pub trace_id: Option<String>,
    pub config: Value,
    /// What the parameters are made of when they name keys.
    #[sqlx(json(nullable))]
    pub keyed: Option<KeyedParameters>,
    /// It is to end, before it began.
    pub canceling: bool,
    /// Whether it takes up room of native actions, as its action said when it was made.
    pub is_native: bool,
    /// None when the action or its runtime was removed in the meantime.
    #[sqlx(flatten, try_from = "ClaimedAction")]
    pub how: Arc<ClaimedAction>,
}

/// How a claimed execution is to be run. All None when the action was removed.
#[derive(Debug, Clone, PartialEq, Default, sqlx::FromRow)]
pub struct ClaimedAction {
    pub entrypoint: Option<String>,
    pub native: Option<bool>,
    pub interpreter: Option<Vec<String>>,
    pub runtime_ref: Option<String>,
    pub parameter_delivery: Option<ParameterDelivery>,
    pub parameter_format: Option<ParameterFormat>,
    pub output_format: Option<OutputFormat>,
    pub timeout_seconds: Option<f64>,
    pub out_schema: Option<Value>,
    pub isolation: Option<Value>,
    /// The language of the runtime's environments.
    pub environment: Option<String>,
    /// Which versions of the interpreter will do for the runtime,
    pub version: Option<String>,
    /// and for the pack: a language and a constraint each.
    pub runtime_deps: Option<Vec<String>>,
    pub pack: Option<i64>,
    pub pack_ref: Option<String>,
    pub pack_checksum: Option<String>,
    /// Whether the pack has settings, which its processes get.
    pub has_settings: Option<bool>,
    /// The schema of the parameters, where it calls something secret.
    pub secret_schema: Option<Value>,
    /// The keys whose values the action gets; None where it names none.
    #[sqlx(json(nullable))]
    pub keys: Option<Vec<UsedKey>>,
}

/// How many executions a worker asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Of actions that need a process.
    pub processes: i64,
    /// Of native ones.
    pub native: i64,
}

impl From<i64> for Room {
    /// So many of each sort.
    fn from(limit: i64) -> Self {
        Self { processes: limit, native: limit }
    }
}

/// The end of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    pub execution: i64,
    pub attempt: i32,
    /// A terminal status.
    pub status: ExecutionStatus,
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    pub result: Option<Value>,
    pub error: Option<String>,
    pub stdout_bytes: i64,
    pub stderr_bytes: i64,
}

impl Completion {
    /// Whether it ended as it should: nothing is to be decided about it.
    pub fn is_well(&self) -> bool {
        self.status == ExecutionStatus::Completed && self.signal.is_none() && self.error.is_none()
    }
}

/// One ended attempt.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Attempt {
    pub execution: i64,
    pub attempt: i32,
    pub status: ExecutionStatus,
    pub worker_name: Option<String>,
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    pub result: Option<Value>,
    pub error: Option<String>,
    pub stdout_bytes: i64,
    pub stderr_bytes: i64,
    pub started: Option<Timestamp>,
    pub finished: Timestamp,
}

/// A piece of what a process wrote.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct OutputChunk {
    pub execution: i64,
    pub attempt: i32,
    /// Counts the chunks of both streams of an attempt together, from 0.
    pub seq: i32,
    pub stream: OutputStream,
    pub content: Vec<u8>,
}

/// What is to go of the stored pieces of a stream, whose end is kept and moves along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputTrim {
    pub execution: i64,
    pub attempt: i32,
    /// Pieces to be removed.
    pub removed: Vec<i32>,
    /// A piece of which only so many last bytes stay.
    pub cut: Option<(i32, usize)>,
    /// The piece that says how much is missing, ...
    pub marker: i32,
    /// ... and what it says.
    pub content: Vec<u8>,
}

/// A stored piece of what a process wrote.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredChunk {
    #[sqlx(flatten)]
    pub chunk: OutputChunk,
    pub created: Timestamp,
}

/// An execution whose worker vanished, and what became of it.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Rescued {
    pub id: i64,
    pub attempt: i32,
    pub action_ref: String,
    pub worker_name: Option<String>,
    pub status: ExecutionStatus,
}
