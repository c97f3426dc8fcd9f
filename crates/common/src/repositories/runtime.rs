//! Runtimes. Writes `attune.runtime`.
//!
//! Those who run sensors hold how each is started: changes are signalled to them.

use sqlx::{PgConnection, PgExecutor};

use super::{by_id, by_ref, owned_by_pack, updates};
use crate::error::{Result, StoreError};
use crate::models::runtime::{NewRuntime, Runtime, RuntimeUpdate};

/// Functions about `attune.runtime`.
#[derive(Debug)]
pub struct RuntimeRepository;

by_id!(signalled RuntimeRepository, Runtime, "runtime", "attune.runtime", order "ref");
updates!(RuntimeRepository, Runtime, "runtime");
by_ref!(RuntimeRepository, Runtime, "runtime", "attune.runtime");
owned_by_pack!(RuntimeRepository, Runtime, "attune.runtime");

impl RuntimeRepository {
    /// Makes a runtime, of a pack or on its own.
    pub async fn create(
        executor: impl PgExecutor<'_>,
        pack: Option<i64>,
        new: &NewRuntime,
    ) -> Result<Runtime> {
        // No signal: nothing runs in it before something refers to it.
        let row = sqlx::query_as(
            "insert into attune.runtime (
                 ref, pack, pack_ref, label, description, interpreter, native, environment, version
             )
             values ($1, $2, (select ref from attune.pack where id = $2), $3, $4, $5, $6, $7, $8)
             returning *",
        )
        .bind(&new.r#ref)
        .bind(pack)
        .bind(&new.label)
        .bind(&new.description)
        .bind(&new.interpreter)
        .bind(new.native)
        .bind(&new.environment)
        .bind(&new.version)
        .fetch_one(executor)
        .await
        .map_err(|error| StoreError::about(error, new))?;
        Ok(row)
    }

    /// Makes a runtime of a pack or brings it to this definition; its id stays.
    pub async fn put(executor: impl PgExecutor<'_>, pack: i64, new: &NewRuntime) -> Result<Runtime> {
        let row = sqlx::query_as(
            "insert into attune.runtime (
                 ref, pack, pack_ref, label, description, interpreter, native, environment, version
             )
             values ($1, $2, (select ref from attune.pack where id = $2), $3, $4, $5, $6, $7, $8)
             on conflict on constraint runtime_ref_key do update
             set pack = excluded.pack, pack_ref = excluded.pack_ref, label = excluded.label,
                 description = excluded.description, interpreter = excluded.interpreter, native = excluded.native,
                 environment = excluded.environment, version = excluded.version
             returning *",
        )
        .bind(&new.r#ref)
        .bind(pack)
        .bind(&new.label)
        .bind(&new.description)
        .bind(&new.interpreter)
        .bind(new.native)
        .bind(&new.environment)
        .bind(&new.version)
        .fetch_one(executor)
        .await
        .map_err(|error| StoreError::about(error, new))?;
        Ok(row)
    }

    /// Changes a runtime; None leaves a column as it is.
    pub async fn update(connection: &mut PgConnection, id: i64, update: &RuntimeUpdate) -> Result<Runtime> {
        let changed = sqlx::query_as(
            "with changed as (
                 update attune.runtime
                 set label = coalesce($2, label), description = coalesce($3, description),
                     interpreter = coalesce($4, interpreter), native = coalesce($5, native)
                 where id = $1 and ($6::timestamptz is null or updated = $6)
                 returning *
             )
             select * from changed where pg_notify('attune_definition', '') is not null",
        )
        .bind(id)
        .bind(&update.label)
        .bind(&update.description)
        .bind(&update.interpreter)
        .bind(update.native)
        .bind(update.unchanged_since)
        .fetch_optional(&mut *connection)
        .await
        .map_err(|error| StoreError::about(error, update))?;
        Self::changed_or_refused(connection, id, changed).await
    }
}
