//! How far a run has come, as it says itself.

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// The latest of what a run said.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Progress {
    pub execution: i64,
    pub attempt: i32,
    /// 0 to 100.
    pub percent: Option<f64>,
    pub message: Option<String>,
    #[sqlx(json(nullable))]
    pub steps: Option<Vec<Step>>,
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// What a run says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NewProgress {
    pub execution: i64,
    pub attempt: i32,
    /// 0 to 100.
    pub percent: Option<f64>,
    pub message: Option<String>,
    pub steps: Option<Vec<Step>>,
}

/// A part of what a run does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub name: String,
    /// `pending`, `running`, `done`, `failed` or `skipped`.
    pub status: String,
}
