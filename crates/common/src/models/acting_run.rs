//! A run that asks something of Attune itself, with the token of its attempt.

use std::fmt;

use serde_json::Value;

use super::action::UsedKey;
use super::identity::{Grant, Principal};
use super::keyed::KeyedParameters;

/// The attempt that a token belongs to, as it stands now.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct ActingRun {
    pub execution: i64,
    pub attempt: i32,
    pub action_ref: String,
    pub trace_id: Option<String>,
    /// What the action declares.
    #[sqlx(json)]
    pub permissions: Vec<Grant>,
    /// Whether there is something among what it was given that it must not say.
    pub has_secrets: bool,
}

/// What a run was given, for whoever hides what is secret in it.
#[derive(Clone, PartialEq, sqlx::FromRow)]
pub struct RunSecrets {
    pub config: Value,
    /// What the parameters are made of when they name keys.
    #[sqlx(json(nullable))]
    pub keyed: Option<KeyedParameters>,
    /// The schema of the parameters; None when the action was removed.
    pub param_schema: Option<Value>,
    /// The keys whose values the action gets.
    #[sqlx(json)]
    pub keys: Vec<UsedKey>,
}

impl fmt::Debug for RunSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunSecrets").finish_non_exhaustive()
    }
}

impl ActingRun {
    /// How logs, the audit log and views name it.
    pub fn name(&self) -> String {
        format!("execution {} of {}", self.execution, self.action_ref)
    }

    /// What stands as the source of events that it makes.
    pub fn source_ref(&self) -> String {
        source_ref_of(self.execution)
    }

    /// Whoever asks, with what its action declares.
    pub fn principal(&self) -> Principal {
        Principal {
            identity: None,
            execution: Some(self.execution),
            login: self.name(),
            grants: self.permissions.clone(),
        }
    }
}

/// Begins the source of an event that a run made; its execution follows. No sensor's ref has a colon.
const SOURCE: &str = "execution:";

/// What stands as the source of events that an execution makes.
pub fn source_ref_of(execution: i64) -> String {
    format!("{SOURCE}{execution}")
}

/// The execution that made an event with this source, if one did.
pub fn execution_of_source(source_ref: &str) -> Option<i64> {
    source_ref.strip_prefix(SOURCE)?.parse().ok()
}

/// How far what an execution causes is from what came from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct Lineage {
    /// Of the event that led to the execution; 0 without one.
    pub depth: i16,
    /// How many executions stand above it up to that event.
    pub parents: i32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_the_source_of_an_event_tells_its_execution() {
        assert_eq!(execution_of_source(&source_ref_of(42)), Some(42));
        for other in ["ops.disk", "execution:", "execution:x", "42"] {
            assert_eq!(execution_of_source(other), None, "{other}");
        }
    }
}
