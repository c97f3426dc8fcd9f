//! Artifacts.

use attune_common::error::Result;
use attune_common::models::artifact::{
    Artifact, ArtifactOwner, ArtifactVersion, NewArtifact, NewArtifactVersion, Retention,
};
use attune_common::repositories::ArtifactRepository;
use sqlx::PgConnection;

use super::unique_suffix;

/// A ref for an artifact.
pub(crate) fn unique_artifact_ref() -> String {
    format!("test.artifact_{}", unique_suffix())
}

/// Builds an artifact.
#[derive(Debug, Clone)]
pub(crate) struct ArtifactFixture {
    pub(crate) new: NewArtifact,
}

impl ArtifactFixture {
    pub(crate) fn new(artifact_ref: &str) -> Self {
        Self { new: NewArtifact::of(artifact_ref) }
    }

    pub(crate) fn new_unique() -> Self {
        Self::new(&unique_artifact_ref())
    }

    pub(crate) fn with_owner(mut self, owner: ArtifactOwner) -> Self {
        self.new.owner = owner;
        self
    }

    pub(crate) fn with_retention(mut self, versions: Option<i32>, days: Option<i32>) -> Self {
        self.new.retention = Retention { versions, days };
        self
    }

    pub(crate) async fn create(self, connection: &mut PgConnection) -> Result<Artifact> {
        ArtifactRepository::create(connection, &self.new).await
    }
}

/// A version with this text.
pub(crate) fn text_version(artifact: i64, text: &str) -> NewArtifactVersion {
    NewArtifactVersion {
        artifact,
        execution: None,
        content_type: "text/plain".to_owned(),
        content: text.as_bytes().to_vec(),
    }
}

/// Adds so many versions; the text of each is its number.
pub(crate) async fn add_versions(
    connection: &mut PgConnection,
    artifact: i64,
    count: i32,
) -> Vec<ArtifactVersion> {
    let mut versions = Vec::new();
    for number in 1..=count {
        let new = text_version(artifact, &number.to_string());
        let added = ArtifactRepository::add_version(&mut *connection, &new).await;
        versions.push(added.expect("a version can be added"));
    }
    versions
}
