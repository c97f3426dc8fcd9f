//! How far a run has come, as it says itself.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a run says; it takes the place of what it said before.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProgressRequest {
    /// 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
    /// What it does now, up to 1000 characters. Values of keys and secret parameters are masked in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The parts of what it does, up to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<ProgressStep>>,
}

/// A part of what a run does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProgressStep {
    pub name: String,
    /// `pending`, `running`, `done`, `failed` or `skipped`.
    pub status: String,
}

/// The latest of what a run said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProgressView {
    pub attempt: i32,
    pub percent: Option<f64>,
    pub message: Option<String>,
    #[serde(default)]
    pub steps: Vec<ProgressStep>,
    pub updated: DateTime<Utc>,
}
