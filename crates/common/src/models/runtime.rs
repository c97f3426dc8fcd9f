//! A runtime: how an entrypoint is turned into a running process.

use serde::Serialize;

use super::Timestamp;

/// A runtime.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Runtime {
    pub id: i64,
    pub r#ref: String,
    pub pack: Option<i64>,
    pub pack_ref: Option<String>,
    pub label: Option<String>,
    pub description: Option<String>,
    /// The command that the entrypoint is given to; empty: the entrypoint is executed itself.
    pub interpreter: Vec<String>,
    /// Runs inside the worker process.
    pub native: bool,
    /// The language whose packs get an environment: `python` or `node`.
    pub environment: Option<String>,
    /// Which versions of the interpreter will do.
    pub version: Option<String>,
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// What makes a runtime.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct NewRuntime {
    pub r#ref: String,
    pub label: Option<String>,
    pub description: Option<String>,
    pub interpreter: Vec<String>,
    pub native: bool,
    /// The language whose packs get an environment: `python` or `node`; not without an interpreter.
    pub environment: Option<String>,
    /// Which versions of the interpreter will do; not without an environment.
    pub version: Option<String>,
}

/// Changes to a runtime.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct RuntimeUpdate {
    pub label: Option<String>,
    pub description: Option<String>,
    pub interpreter: Option<Vec<String>>,
    pub native: Option<bool>,
    /// The `updated` that the caller saw: a row that was changed since is left alone, and the result is a Conflict.
    #[serde(skip)]
    pub unchanged_since: Option<Timestamp>,
}
