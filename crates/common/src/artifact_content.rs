//! The content of an artifact on its way into the database.
//!
//! It is gathered first, in memory while it is small and in an unnamed file when it is not, and measured on the way; then it
//! is written, in one transaction that nobody slows down. A transaction that waited for a slow sender would hold up the
//! readers of the change feed. A process that dies leaves nothing behind: the file has no name, the transaction no effect.

mod table;

use std::io::{Read, Seek, SeekFrom, Write};

use sha2::{Digest, Sha256};
use sqlx::PgPool;

use crate::error::StoreError;
use crate::models::artifact::{
    ArtifactOwner, ArtifactScope, ArtifactType, ArtifactVersion, NewArtifact, NewArtifactContent, Retention,
};
use crate::models::owner::OwnerType;
use crate::repositories::{ARTIFACT_CHUNK, ActionRepository, ArtifactRepository};

pub use table::FormError;

/// The largest file that is taken.
pub const MAX_FILE: u64 = 64 << 20;

/// The largest table or link, which is read as a whole.
pub const MAX_STRUCTURED: u64 = 8 << 20;

/// The longest name of an artifact of an action.
pub const LONGEST_NAME: usize = 100;

/// How long versions are kept of what no action declares, unless it is said.
pub const DEFAULT_KEEP_DAYS: i32 = 30;

/// What is kept in memory.
const IN_MEMORY: usize = 512 << 10;

/// Content that is being gathered.
#[derive(Debug)]
pub struct Gathering {
    content: tempfile::SpooledTempFile,
    hash: Sha256,
    size: u64,
    limit: u64,
}

/// Content that is complete.
#[derive(Debug)]
pub struct Content {
    content: tempfile::SpooledTempFile,
    /// In bytes.
    pub size: u64,
    pub sha256: [u8; 32],
}

/// Why content could not be gathered or stored.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    #[error("an artifact may have {limit} bytes at most")]
    TooLarge { limit: u64 },
    #[error("the content cannot be kept until it is stored")]
    Io(#[from] std::io::Error),
    #[error("the content is not what the artifact holds: {0}")]
    Form(#[from] FormError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An artifact of an action, as a run leaves it.
#[derive(Debug, Clone, PartialEq)]
pub struct OfAction {
    pub artifact: NewArtifact,
    /// The action says what it is and how long it is kept.
    pub is_declared: bool,
    pub scope: ArtifactScope,
}

/// What a run leaves under a name.
#[derive(Debug, Clone, Copy)]
pub struct Left<'a> {
    pub action_ref: &'a str,
    pub execution: i64,
    pub name: &'a str,
    /// Whose it is, where the run says so and the action does not.
    pub scope: Option<ArtifactScope>,
}

impl Left<'_> {
    /// What runs of one action leave has the name right after that of the action; what one execution leaves for itself has the
    /// execution between them.
    fn artifact_ref(&self, scope: ArtifactScope) -> String {
        let Self { action_ref, execution, name, .. } = self;
        match scope {
            ArtifactScope::Action => format!("{action_ref}.{name}"),
            ArtifactScope::Execution => format!("{action_ref}.{EXECUTION}{execution}.{name}"),
        }
    }
}

/// What a run of the action leaves under a name: as the action declares it, or as it is already.
pub async fn of_action(pool: &PgPool, left: Left<'_>) -> Result<OfAction, StoreError> {
    let action = ActionRepository::find_by_ref(pool, left.action_ref).await?;
    let declared =
        action.and_then(|action| action.artifacts.into_iter().find(|declared| declared.name == left.name));
    let scope = declared.as_ref().map(|declared| declared.scope).or(left.scope).unwrap_or_default();
    let owner = ArtifactOwner::of(OwnerType::Action, left.action_ref);
    let artifact = NewArtifact { owner, ..NewArtifact::of(left.artifact_ref(scope)) };
    Ok(match declared {
        Some(declared) => {
            // Nobody would ever remove what each execution leaves for itself.
            let days = match scope {
                ArtifactScope::Action => declared.keep_days,
                ArtifactScope::Execution => declared.keep_days.or(Some(DEFAULT_KEEP_DAYS)),
            };
            let retention = Retention { versions: declared.keep_versions, days };
            let (artifact_type, description) = (declared.artifact_type, declared.description);
            OfAction {
                artifact: NewArtifact { artifact_type, description, retention, ..artifact },
                is_declared: true,
                scope,
            }
        }
        None => OfAction { artifact: undeclared(pool, artifact).await?, is_declared: false, scope },
    })
}

/// What nobody declares stays what it is; what is new is a file that is kept for a month.
pub async fn undeclared(pool: &PgPool, artifact: NewArtifact) -> Result<NewArtifact, StoreError> {
    let known = ArtifactRepository::find_by_ref(pool, &artifact.r#ref).await?;
    let days = known.is_none().then_some(DEFAULT_KEEP_DAYS);
    Ok(NewArtifact {
        artifact_type: known.map_or(ArtifactType::File, |known| known.artifact_type),
        retention: Retention { versions: None, days },
        ..artifact
    })
}

/// Begins, before the id of an execution, the names of what it leaves for itself.
const EXECUTION: &str = "execution-";

/// Whether a name can be that of an artifact of an action.
pub fn is_name(name: &str) -> bool {
    let fits = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '_' | '.' | '-');
    (1..=LONGEST_NAME).contains(&name.len()) && name.chars().all(fits) && !is_of_execution(name)
}

/// Whether a name looks like one of what an execution has for itself, as `execution-17.report.html`: no run may leave that for
/// another one.
fn is_of_execution(name: &str) -> bool {
    let id = name.strip_prefix(EXECUTION).and_then(|rest| rest.split_once('.')).map(|(id, _)| id);
    id.is_some_and(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Where content is stored to.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    pub artifact: i64,
    pub execution: Option<i64>,
    pub content_type: &'a str,
}

impl Gathering {
    /// Nothing yet, and at most so many bytes.
    pub fn new(limit: u64) -> Self {
        Self { content: tempfile::spooled_tempfile(IN_MEMORY), hash: Sha256::new(), size: 0, limit }
    }

    /// Takes a piece; the disk may have to wait for it.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), ContentError> {
        self.size += piece.len() as u64;
        if self.size > self.limit {
            return Err(ContentError::TooLarge { limit: self.limit });
        }
        self.hash.update(piece);
        self.content.write_all(piece)?;
        Ok(())
    }

    /// There is no more.
    pub fn finish(self) -> Content {
        Content { content: self.content, size: self.size, sha256: self.hash.finalize().into() }
    }
}

impl Content {
    /// The content as an artifact of this type holds it: tables and links in their one form.
    pub fn of_type(mut self, artifact_type: ArtifactType) -> Result<Self, ContentError> {
        let form = match artifact_type {
            ArtifactType::File => return Ok(self),
            _ if self.size > MAX_STRUCTURED => return Err(ContentError::TooLarge { limit: MAX_STRUCTURED }),
            ArtifactType::Table => table::normalised(&self.read_all()?)?,
            ArtifactType::Link => table::link(&self.read_all()?)?,
        };
        let mut gathering = Gathering::new(u64::MAX);
        gathering.push(&form)?;
        Ok(gathering.finish())
    }

    fn read_all(&mut self) -> Result<Vec<u8>, ContentError> {
        self.content.seek(SeekFrom::Start(0))?;
        let mut bytes = Vec::with_capacity(usize::try_from(self.size).unwrap_or_default());
        self.content.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Stores it as the next version of the artifact: all of it, or nothing. NotFound without the artifact.
    pub async fn store(mut self, pool: &PgPool, target: Target<'_>) -> Result<ArtifactVersion, ContentError> {
        self.content.seek(SeekFrom::Start(0))?;
        let new = NewArtifactContent {
            artifact: target.artifact,
            execution: target.execution,
            content_type: target.content_type,
            size: i64::try_from(self.size).unwrap_or(i64::MAX),
            sha256: &self.sha256,
        };
        let mut transaction = crate::db::begin(pool).await?;
        let version = ArtifactRepository::begin_version(&mut transaction, &new).await?;
        let length = u64::try_from(ARTIFACT_CHUNK).unwrap_or_default();
        let mut piece = Vec::with_capacity(usize::try_from(length.min(self.size)).unwrap_or_default());
        for seq in 0.. {
            piece.clear();
            // Short reads from the memory of the system, which was just written.
            (&mut self.content).take(length).read_to_end(&mut piece)?;
            if piece.is_empty() {
                break;
            }
            ArtifactRepository::add_chunk(&mut transaction, version.id, seq, &piece).await?;
        }
        transaction.commit().await.map_err(StoreError::from)?;
        Ok(version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_no_name_takes_the_place_of_what_an_execution_has_for_itself() {
        let left = Left { action_ref: "ops.a", execution: 17, name: "r.html", scope: None };
        let own = left.artifact_ref(ArtifactScope::Execution);
        assert_eq!(own, "ops.a.execution-17.r.html");
        assert!(!is_name(own.strip_prefix("ops.a.").unwrap()));
        for name in ["r.html", "execution-17", "execution-.html", "execution-a7.html", "executions.csv"] {
            assert!(is_name(name), "{name}");
        }
    }
}
