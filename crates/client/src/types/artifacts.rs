//! What runs leave: artifacts and their versions.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An artifact.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ArtifactView {
    #[serde(rename = "ref")]
    pub artifact_ref: String,
    /// What it is called, as the name of a file.
    pub label: Option<String>,
    pub description: Option<String>,
    /// `file`, `table` or `link`.
    #[serde(rename = "type")]
    pub artifact_type: String,
    /// `action`, `pack`, or another kind of owner.
    pub owner_type: String,
    /// The ref of the owner.
    pub owner: Option<String>,
    /// Only so many of the newest versions are kept.
    pub keep_versions: Option<i32>,
    /// Versions are kept for so many days.
    pub keep_days: Option<i32>,
    /// The newest version that is there.
    pub latest: Option<ArtifactVersionView>,
    pub created: DateTime<Utc>,
    pub updated: DateTime<Utc>,
}

/// An artifact with its versions.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ArtifactDetail {
    #[serde(flatten)]
    pub artifact: ArtifactView,
    /// The newest first, at most 1000.
    pub versions: Vec<ArtifactVersionView>,
}

/// One content of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ArtifactVersionView {
    #[serde(rename = "ref")]
    pub artifact_ref: String,
    /// Counts from 1; a number is given once.
    pub version: i32,
    /// The execution that left it; absent when it is gone, or when none did.
    pub execution: Option<i64>,
    pub content_type: String,
    /// In bytes.
    pub size: i64,
    /// Of the content, in hexadecimal digits.
    pub sha256: String,
    pub created: DateTime<Utc>,
}
