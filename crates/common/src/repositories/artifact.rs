//! Artifacts and their versions. Writes `attune.artifact`, `attune.artifact_version` and
//! `attune.artifact_chunk`.

use sqlx::postgres::PgArguments;
use sqlx::query::QueryAs;
use sqlx::{PgConnection, PgExecutor, Postgres};

use super::{by_id, by_ref, updates};
use crate::error::{Result, StoreError};
use crate::models::Timestamp;
use crate::models::artifact::{
    Artifact, ArtifactContent, ArtifactFilter, ArtifactOwner, ArtifactUpdate, ArtifactVersion, NewArtifact,
    NewArtifactContent, NewArtifactVersion,
};

/// How long the pieces are that contents are stored in, the last one excepted.
pub const CHUNK: i32 = 512 << 10;

/// Functions about artifacts and their versions.
#[derive(Debug)]
pub struct ArtifactRepository;

by_id!(ArtifactRepository, Artifact, "artifact", "attune.artifact", order "ref");
updates!(ArtifactRepository, Artifact, "artifact");
by_ref!(ArtifactRepository, Artifact, "artifact", "attune.artifact");

/// The statement that stores an artifact, up to what is to be done where there is one; [`bound`] gives it its values.
macro_rules! insert {
    () => {
        "insert into attune.artifact (
             ref, label, description, artifact_type, owner_type, owner, retention_versions, retention_days
         )
         values ($1, $2, $3, $4, $5, $6, $7, $8)"
    };
}

impl ArtifactRepository {
    /// Makes an artifact without versions.
    pub async fn create(executor: impl PgExecutor<'_>, new: &NewArtifact) -> Result<Artifact> {
        let query = sqlx::query_as(concat!(insert!(), " returning *"));
        let row = bound(query, new).fetch_one(executor).await;
        row.map_err(|error| StoreError::about(error, new))
    }

    /// Changes an artifact; None leaves a column as it is. A shorter retention removes nothing before
    /// [`ArtifactRepository::expire_versions`].
    pub async fn update(connection: &mut PgConnection, id: i64, update: &ArtifactUpdate) -> Result<Artifact> {
        let changed = sqlx::query_as(
            "update attune.artifact
             set label = coalesce($2, label), description = coalesce($3, description),
                 owner_type = coalesce($4, owner_type), owner = case when $4 is null then owner else $5 end,
                 retention_versions = case when $6 then $7 else retention_versions end,
                 retention_days = case when $6 then $8 else retention_days end
             where id = $1 and ($9::timestamptz is null or updated = $9)
             returning *",
        )
        .bind(id)
        .bind(&update.label)
        .bind(&update.description)
        .bind(update.owner.as_ref().map(|of| of.owner_type))
        .bind(update.owner.as_ref().and_then(|of| of.owner.as_deref()))
        .bind(update.retention.is_some())
        .bind(update.retention.and_then(|retention| retention.versions))
        .bind(update.retention.and_then(|retention| retention.days))
        .bind(update.unchanged_since)
        .fetch_optional(&mut *connection)
        .await
        .map_err(|error| StoreError::about(error, update))?;
        Self::changed_or_refused(connection, id, changed).await
    }

    /// The artifacts of an owner, by ref.
    pub async fn list_by_owner(
        executor: impl PgExecutor<'_>,
        owner: &ArtifactOwner,
    ) -> Result<Vec<Artifact>> {
        let rows = sqlx::query_as(
            "select * from attune.artifact
             where owner_type = $1 and (owner = $2 or owner is null and $2 is null)
             order by ref
             limit 1000",
        )
        .bind(owner.owner_type)
        .bind(&owner.owner)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// A page of artifacts, by ref.
    pub async fn search(executor: impl PgExecutor<'_>, filter: &ArtifactFilter) -> Result<Vec<Artifact>> {
        let rows = sqlx::query_as(
            "select * from attune.artifact
             where ($1::attune.owner_type is null or owner_type = $1)
               and ($2::attune.artifact_type is null or artifact_type = $2)
               and ($3::text is null or strpos(ref, lower($3)) > 0)
               and ($4::text is null or ref > $4)
               and ($6::text is null or owner = $6)
               and ($7::text[] is null or ref like any($7))
             order by ref
             limit $5",
        )
        .bind(filter.owner_type)
        .bind(filter.artifact_type)
        .bind(&filter.text)
        .bind(&filter.after)
        .bind(filter.limit)
        .bind(&filter.owner)
        .bind(filter.reach.as_ref().map(|reach| &reach.refs))
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// Makes the artifact unless it is there; one that is there takes over what is given of label, description and
    /// retention. Conflict when it belongs to somebody else or holds something else.
    pub async fn put(executor: impl PgExecutor<'_>, new: &NewArtifact) -> Result<Artifact> {
        let query = sqlx::query_as(concat!(
            insert!(),
            " on conflict on constraint artifact_ref_key do update
             set label = coalesce(excluded.label, artifact.label),
                 description = coalesce(excluded.description, artifact.description),
                 retention_versions = coalesce(excluded.retention_versions, artifact.retention_versions),
                 retention_days = coalesce(excluded.retention_days, artifact.retention_days)
             where artifact.owner_type = excluded.owner_type
               and artifact.owner is not distinct from excluded.owner
               and artifact.artifact_type = excluded.artifact_type
             returning *",
        ));
        let row = bound(query, new).fetch_optional(executor).await;
        let row: Option<Artifact> = row.map_err(|error| StoreError::about(error, new))?;
        row.ok_or_else(|| StoreError::Conflict { entity: "artifact", key: new.r#ref.clone() })
    }

    /// Adds a version with its content under the next number. NotFound without the artifact.
    pub async fn add_version(
        executor: impl PgExecutor<'_>,
        new: &NewArtifactVersion,
    ) -> Result<ArtifactVersion> {
        let added: Option<ArtifactVersion> = sqlx::query_as(include_str!("artifact/add_version.sql"))
            .bind(new.artifact)
            .bind(new.execution)
            .bind(&new.content_type)
            .bind(&new.content)
            .bind(CHUNK)
            .fetch_optional(executor)
            .await
            .map_err(|error| StoreError::about(error, new))?;
        added.ok_or_else(|| StoreError::not_found("artifact", new.artifact))
    }

    /// Begins a version under the next number, which the artifact counts: two that add at once get two numbers, and the
    /// number of a version that is gone is never given again. NotFound without the artifact. Its pieces, all of them
    /// [`CHUNK`] bytes long but the last one, are written by [`Self::add_chunk`] in the same transaction.
    pub async fn begin_version(
        connection: &mut PgConnection,
        new: &NewArtifactContent<'_>,
    ) -> Result<ArtifactVersion> {
        let added: Option<ArtifactVersion> = sqlx::query_as(include_str!("artifact/begin_version.sql"))
            .bind(new.artifact)
            .bind(new.execution)
            .bind(new.content_type)
            .bind(new.size)
            .bind(new.sha256)
            .fetch_optional(connection)
            .await
            .map_err(|error| StoreError::about(error, new))?;
        added.ok_or_else(|| StoreError::not_found("artifact", new.artifact))
    }

    /// Adds a piece to a version that was begun in this transaction.
    pub async fn add_chunk(
        connection: &mut PgConnection,
        version: i64,
        seq: i32,
        content: &[u8],
    ) -> Result<()> {
        sqlx::query("insert into attune.artifact_chunk (artifact_version, seq, content) values ($1, $2, $3)")
            .bind(version)
            .bind(seq)
            .bind(content)
            .execute(connection)
            .await?;
        Ok(())
    }

    /// A piece of the content of a version; None when the version is gone, or has no such piece.
    pub async fn find_chunk(
        executor: impl PgExecutor<'_>,
        version: i64,
        seq: i32,
    ) -> Result<Option<Vec<u8>>> {
        let row = sqlx::query_scalar(
            "select content from attune.artifact_chunk where artifact_version = $1 and seq = $2",
        )
        .bind(version)
        .bind(seq)
        .fetch_optional(executor)
        .await?;
        Ok(row)
    }

    /// The version with this number, without its content.
    pub async fn find_version(
        executor: impl PgExecutor<'_>,
        artifact: i64,
        version: i32,
    ) -> Result<Option<ArtifactVersion>> {
        let row = sqlx::query_as(
            "select id, artifact, version, execution, content_type, size, sha256, created
             from attune.artifact_version
             where artifact = $1 and version = $2",
        )
        .bind(artifact)
        .bind(version)
        .fetch_optional(executor)
        .await?;
        Ok(row)
    }

    /// The artifacts with these ids, by ref.
    pub async fn list_by_ids(executor: impl PgExecutor<'_>, ids: &[i64]) -> Result<Vec<Artifact>> {
        let rows = sqlx::query_as("select * from attune.artifact where id = any($1) order by ref")
            .bind(ids)
            .fetch_all(executor)
            .await?;
        Ok(rows)
    }

    /// The newest version of each of these artifacts that has one.
    pub async fn list_latest_versions(
        executor: impl PgExecutor<'_>,
        artifacts: &[i64],
    ) -> Result<Vec<ArtifactVersion>> {
        let rows = sqlx::query_as(
            "select version.id, version.artifact, version.version, version.execution, version.content_type,
                    version.size, version.sha256, version.created
             from unnest($1::bigint[]) as wanted (artifact)
             cross join lateral (
                 select * from attune.artifact_version
                 where artifact_version.artifact = wanted.artifact
                 order by artifact_version.version desc
                 limit 1
             ) version",
        )
        .bind(artifacts)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// Removes up to `limit` artifacts of actions that have lost all of their versions by retention, and which
    /// have not changed since this time; gives back how many.
    pub async fn expire_empty(executor: impl PgExecutor<'_>, before: Timestamp, limit: i64) -> Result<u64> {
        let done = sqlx::query(
            "with expired as (
                 select artifact.id
                 from attune.artifact
                 where artifact.is_empty and artifact.owner_type = 'action' and artifact.updated < $1
                   -- One may have been made while the last one went.
                   and not exists (
                       select from attune.artifact_version version where version.artifact = artifact.id
                   )
                 order by artifact.updated, artifact.id
                 limit $2
                 for update of artifact skip locked
             )
             delete from attune.artifact using expired where artifact.id = expired.id",
        )
        .bind(before)
        .bind(limit)
        .execute(executor)
        .await?;
        Ok(done.rows_affected())
    }

    /// The versions of an artifact without their content, the newest first.
    pub async fn list_versions(executor: impl PgExecutor<'_>, artifact: i64) -> Result<Vec<ArtifactVersion>> {
        let rows = sqlx::query_as(
            "select id, artifact, version, execution, content_type, size, sha256, created
             from attune.artifact_version
             where artifact = $1
             order by version desc
             limit 1000",
        )
        .bind(artifact)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// What an execution left behind, without content, in the order that it was added.
    pub async fn list_versions_by_execution(
        executor: impl PgExecutor<'_>,
        execution: i64,
    ) -> Result<Vec<ArtifactVersion>> {
        let rows = sqlx::query_as(
            "select id, artifact, version, execution, content_type, size, sha256, created
             from attune.artifact_version
             where execution = $1
             order by id
             limit 1000",
        )
        .bind(execution)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// The newest version that is there, without its content.
    pub async fn find_latest_version(
        executor: impl PgExecutor<'_>,
        artifact: i64,
    ) -> Result<Option<ArtifactVersion>> {
        let row = sqlx::query_as(
            "select id, artifact, version, execution, content_type, size, sha256, created
             from attune.artifact_version
             where artifact = $1
             order by version desc
             limit 1",
        )
        .bind(artifact)
        .fetch_optional(executor)
        .await?;
        Ok(row)
    }

    /// The content of a version, if there is such a version.
    pub async fn find_content(
        executor: impl PgExecutor<'_>,
        artifact: i64,
        version: i32,
    ) -> Result<Option<ArtifactContent>> {
        let row = sqlx::query_as(
            "select content_type,
                    coalesce(
                        (
                            select string_agg(chunk.content, '' order by chunk.seq)
                            from attune.artifact_chunk chunk
                            where chunk.artifact_version = artifact_version.id
                        ),
                        ''
                    ) as content
             from attune.artifact_version
             where artifact = $1 and version = $2",
        )
        .bind(artifact)
        .bind(version)
        .fetch_optional(executor)
        .await?;
        Ok(row)
    }

    /// The content of a version; NotFound without such a version.
    pub async fn get_content(
        executor: impl PgExecutor<'_>,
        artifact: i64,
        version: i32,
    ) -> Result<ArtifactContent> {
        Self::find_content(executor, artifact, version)
            .await?
            .ok_or_else(|| StoreError::not_found("artifact version", format!("{artifact}/{version}")))
    }

    /// Removes a version; false when there was none.
    pub async fn delete_version(executor: impl PgExecutor<'_>, artifact: i64, version: i32) -> Result<bool> {
        let done = sqlx::query("delete from attune.artifact_version where artifact = $1 and version = $2")
            .bind(artifact)
            .bind(version)
            .execute(executor)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Removes up to `limit` versions that the retention of their artifacts no longer covers; gives back how many. What
    /// another process is just removing is passed over.
    pub async fn expire_versions(executor: impl PgExecutor<'_>, limit: i64) -> Result<u64> {
        let done = sqlx::query(
            "with expired as (
                 select id
                 from attune.artifact_version
                 -- One value for the whole statement, which can be looked up in the index.
                 where expires <= statement_timestamp()
                 order by expires, id
                 limit $1
                 for update skip locked
             )
             delete from attune.artifact_version using expired where artifact_version.id = expired.id",
        )
        .bind(limit)
        .execute(executor)
        .await?;
        Ok(done.rows_affected())
    }
}

/// Gives a statement that begins with `insert!` its values.
fn bound<'q>(
    query: QueryAs<'q, Postgres, Artifact, PgArguments>,
    new: &'q NewArtifact,
) -> QueryAs<'q, Postgres, Artifact, PgArguments> {
    query
        .bind(&new.r#ref)
        .bind(&new.label)
        .bind(&new.description)
        .bind(new.artifact_type)
        .bind(new.owner.owner_type)
        .bind(&new.owner.owner)
        .bind(new.retention.versions)
        .bind(new.retention.days)
}
