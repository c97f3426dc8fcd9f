//! Admission: executions under policies wait in lanes until every policy of theirs has room.

use serde::Deserialize;

use super::Timestamp;
use super::execution::ExecutionStatus;
use super::policy::PolicyMethod;

/// Executions that wait alike: of one action, with the same values of whatever its policies count by.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct WaitingLane {
    pub id: i64,
    #[sqlx(json)]
    pub parts: Vec<LanePart>,
    /// When it was last admitted from; None: never.
    pub turn: Option<Timestamp>,
    /// The priority of what is first in it, or a higher one where that has gone.
    pub priority: i16,
}

/// An action of which executions wait for policies, or were admitted by them.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct WaitingAction {
    pub action_ref: String,
    /// Its policies, with the parameters that they count by; None where it has none any more.
    pub shape: Option<String>,
    /// The same by their ids.
    pub policies: Vec<i64>,
    /// Those of them that count all alike.
    pub whole: Vec<i64>,
    /// Executions are in lanes that were made when it had other policies.
    pub outdated: bool,
    /// It is paused: nothing of it is admitted, and nothing of it refused.
    pub paused: bool,
}

/// Of which action lanes are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedAction {
    pub action_ref: String,
    /// What its policies have no room for is refused: those lanes are wanted too.
    pub refuses: bool,
}

/// What a lane is under: a policy, and a digest of the values that the policy counts by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
pub struct LanePart {
    pub policy: i64,
    pub key: String,
}

/// What is taken of a policy with one combination of values.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct PolicyUse {
    pub policy: i64,
    pub key: String,
    /// Executions that were admitted and have not ended.
    pub running: i64,
    /// Starts within the period of the policy's rate.
    pub recent: i64,
}

/// The limits of a policy.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct PolicyLimits {
    pub id: i64,
    pub r#ref: String,
    pub concurrency: Option<i32>,
    pub rate_count: Option<i32>,
    pub rate_seconds: Option<f64>,
    pub method: PolicyMethod,
}

/// An execution at or near the head of its lane.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct LaneHead {
    pub lane: i64,
    pub execution: i64,
    pub priority: i16,
    /// Not `requested` where it was cancelled, or scheduled by hand, while it waited.
    pub status: ExecutionStatus,
}

/// What sorting into lanes found.
#[derive(Debug, Clone, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Sorted {
    /// Executions that are in a lane now.
    pub placed: i64,
    /// Executions that no policy holds back any more.
    pub freed: i64,
}

/// An execution to be admitted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Admittance {
    pub execution: i64,
    pub lane: i64,
    /// For how long a rate counts the start; None where none does.
    pub counted_for: Option<f64>,
}

/// An execution that a policy does not let wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub execution: i64,
    pub reason: String,
}

/// Where an execution stands that waits for policies.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// The refs of the policies that it is under; those without room first.
    pub policies: Vec<WaitingFor>,
    /// Its place in its lane, from 1; None while it is not sorted yet.
    pub position: Option<i64>,
}

/// A policy that an execution waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingFor {
    pub policy_ref: String,
    /// Whether it has room now.
    pub has_room: bool,
}

/// How much a policy is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct PolicyLoad {
    pub policy: i64,
    /// Executions that were admitted and have not ended.
    pub running: i64,
    /// Executions that wait.
    pub waiting: i64,
}
