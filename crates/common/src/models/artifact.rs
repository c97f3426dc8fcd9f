//! An artifact: something that runs make and people look at, in versions.

use serde::{Deserialize, Serialize};

use super::grant::Reach;
use super::owner::OwnerType;
use super::{Timestamp, named_enum};

named_enum! {
    /// What an artifact's versions hold.
    ArtifactType as "attune.artifact_type" {
        /// Any bytes.
        File = "file",
        /// Rows with columns, as JSON.
        Table = "table",
        /// An address, as JSON.
        Link = "link",
    }
}

/// Whom an artifact belongs to: a kind, and the ref or login; the system has neither.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct ArtifactOwner {
    pub owner_type: OwnerType,
    pub owner: Option<String>,
}

impl ArtifactOwner {
    /// Nobody in particular.
    pub const SYSTEM: Self = Self { owner_type: OwnerType::System, owner: None };

    /// An owner of this kind with this ref or login.
    pub fn of(owner_type: OwnerType, owner: impl Into<String>) -> Self {
        Self { owner_type, owner: Some(owner.into()) }
    }
}

/// How long versions are kept; None: without a bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Retention {
    /// Only versions of so many of the newest numbers.
    #[serde(rename = "retention_versions")]
    #[sqlx(rename = "retention_versions")]
    pub versions: Option<i32>,
    /// Only for so many days, the latest version included.
    #[serde(rename = "retention_days")]
    #[sqlx(rename = "retention_days")]
    pub days: Option<i32>,
}

/// Whose contents become versions of one another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArtifactScope {
    /// Those of all runs of the action.
    #[default]
    Action,
    /// Those of one execution: each has an artifact of its own.
    Execution,
}

impl ArtifactScope {
    /// The name in files and requests.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Action => "action",
            Self::Execution => "execution",
        }
    }

    fn is_action(&self) -> bool {
        *self == Self::Action
    }
}

impl std::str::FromStr for ArtifactScope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Action, Self::Execution]
            .into_iter()
            .find(|scope| scope.as_str() == text)
            .ok_or_else(|| format!("{text:?} is no scope of an artifact, expected `action` or `execution`"))
    }
}

/// What an action says about something that its runs leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeclaredArtifact {
    /// Under which name runs leave it: the last part of the artifact's ref.
    pub name: String,
    #[serde(rename = "type")]
    pub artifact_type: ArtifactType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "ArtifactScope::is_action")]
    pub scope: ArtifactScope,
    /// Only so many of the newest versions are kept; None: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_versions: Option<i32>,
    /// Versions are kept for so many days; None: for ever, or for a month where each execution has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_days: Option<i32>,
}

/// An artifact without its versions.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Artifact {
    pub id: i64,
    pub r#ref: String,
    pub label: Option<String>,
    pub description: Option<String>,
    pub artifact_type: ArtifactType,
    #[sqlx(flatten)]
    pub owner: ArtifactOwner,
    #[sqlx(flatten)]
    pub retention: Retention,
    /// The number of the version that was added last, which may be gone; 0 before the first.
    pub latest_version: i32,
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// What makes an artifact.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewArtifact {
    pub r#ref: String,
    pub label: Option<String>,
    pub description: Option<String>,
    pub artifact_type: ArtifactType,
    #[serde(flatten)]
    pub owner: ArtifactOwner,
    #[serde(flatten)]
    pub retention: Retention,
}

impl NewArtifact {
    /// A file of the system whose versions are all kept.
    pub fn of(artifact_ref: impl Into<String>) -> Self {
        Self {
            r#ref: artifact_ref.into(),
            label: None,
            description: None,
            artifact_type: ArtifactType::File,
            owner: ArtifactOwner::SYSTEM,
            retention: Retention::default(),
        }
    }
}

/// Changes to an artifact.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ArtifactUpdate {
    pub label: Option<String>,
    pub description: Option<String>,
    #[serde(flatten)]
    pub owner: Option<ArtifactOwner>,
    /// Both bounds at once: one that is None is lifted.
    #[serde(flatten)]
    pub retention: Option<Retention>,
    /// The `updated` that the caller saw: a row that was changed since is left alone, and the result is a Conflict.
    #[serde(skip)]
    pub unchanged_since: Option<Timestamp>,
}

/// Which artifacts to list.
#[derive(Debug, Clone, Default)]
pub struct ArtifactFilter {
    pub owner_type: Option<OwnerType>,
    /// Ref or login of the owner.
    pub owner: Option<String>,
    pub artifact_type: Option<ArtifactType>,
    /// Part of the ref, in any case.
    pub text: Option<String>,
    /// Only what is within reach.
    pub reach: Option<Reach>,
    /// Only artifacts with a later ref: the cursor.
    pub after: Option<String>,
    pub limit: i64,
}

/// What makes a version.
#[derive(Debug, Clone, Serialize)]
pub struct NewArtifactVersion {
    pub artifact: i64,
    pub execution: Option<i64>,
    pub content_type: String,
    #[serde(skip)]
    pub content: Vec<u8>,
}

/// What makes a version whose content is written piece by piece.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewArtifactContent<'a> {
    pub artifact: i64,
    pub execution: Option<i64>,
    pub content_type: &'a str,
    /// Of all pieces together, in bytes.
    pub size: i64,
    /// Of all pieces together.
    pub sha256: &'a [u8],
}

/// A version without its content.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct ArtifactVersion {
    pub id: i64,
    pub artifact: i64,
    /// Counts the versions of the artifact, from 1; a number is given once.
    pub version: i32,
    pub execution: Option<i64>,
    pub content_type: String,
    /// Of the content, in bytes.
    pub size: i64,
    /// Of the content.
    pub sha256: Vec<u8>,
    pub created: Timestamp,
}

/// The content of a version.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct ArtifactContent {
    pub content_type: String,
    pub content: Vec<u8>,
}
