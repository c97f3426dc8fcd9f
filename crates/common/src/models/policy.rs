//! A policy: what holds executions back before they are scheduled.

use serde::Serialize;

use super::{Timestamp, named_enum};

named_enum! {
    /// What becomes of an execution that a policy does not admit.
    PolicyMethod as "attune.policy_method" {
        /// It waits until the policy admits it.
        Enqueue = "enqueue",
        /// It is cancelled.
        Cancel = "cancel",
    }
}

/// A limit on the executions of one action, or of all actions of a pack together with each other.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Policy {
    pub id: i64,
    pub r#ref: String,
    pub pack: Option<i64>,
    pub pack_ref: Option<String>,
    /// The action that is limited, which may be one of another pack; None is every action of the policy's own pack.
    pub action_ref: Option<String>,
    pub enabled: bool,
    /// At most so many at once, counted for each combination of the values of these parameters.
    pub concurrency: Option<i32>,
    pub parameters: Vec<String>,
    /// At most so many starts in so many seconds.
    pub rate_count: Option<i32>,
    pub rate_seconds: Option<f64>,
    pub method: PolicyMethod,
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// What makes a policy: a limit on concurrency, on the rate, or on both.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewPolicy {
    pub r#ref: String,
    pub action_ref: Option<String>,
    pub enabled: bool,
    pub concurrency: Option<i32>,
    pub parameters: Vec<String>,
    pub rate_count: Option<i32>,
    pub rate_seconds: Option<f64>,
    pub method: PolicyMethod,
}

/// Changes to a policy.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct PolicyUpdate {
    pub enabled: Option<bool>,
    pub concurrency: Option<i32>,
    pub parameters: Option<Vec<String>>,
    pub rate_count: Option<i32>,
    pub rate_seconds: Option<f64>,
    pub method: Option<PolicyMethod>,
    /// The `updated` that the caller saw: a row that was changed since is left alone, and the result is a Conflict.
    #[serde(skip)]
    pub unchanged_since: Option<Timestamp>,
}

/// A policy and an action that it applies to.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct AppliedPolicy {
    pub limited_action: i64,
    #[sqlx(flatten)]
    pub policy: Policy,
}
