//! Runtimes. Writes `attune.runtime`.

use sqlx::PgExecutor;

use super::{by_id, by_ref, owned_by_pack};
use crate::error::{Result, StoreError};
use crate::models::runtime::{NewRuntime, Runtime};

/// Functions about `attune.runtime`.
#[derive(Debug)]
pub struct RuntimeRepository;

by_id!(RuntimeRepository, Runtime, "runtime", "attune.runtime", order "ref");
by_ref!(RuntimeRepository, Runtime, "runtime", "attune.runtime");
owned_by_pack!(RuntimeRepository, Runtime, "attune.runtime");

impl RuntimeRepository {
    /// Makes a runtime of a pack or brings it to this definition; its id stays.
    pub async fn put(executor: impl PgExecutor<'_>, pack: i64, new: &NewRuntime) -> Result<Runtime> {
        let row = sqlx::query_as(
            "insert into attune.runtime (ref, pack, pack_ref, label, description, interpreter, native)
             values ($1, $2, (select ref from attune.pack where id = $2), $3, $4, $5, $6)
             on conflict on constraint runtime_ref_key do update
             set pack = excluded.pack, pack_ref = excluded.pack_ref, label = excluded.label,
                 description = excluded.description, interpreter = excluded.interpreter, native = excluded.native
             returning *",
        )
        .bind(&new.r#ref)
        .bind(pack)
        .bind(&new.label)
        .bind(&new.description)
        .bind(&new.interpreter)
        .bind(new.native)
        .fetch_one(executor)
        .await
        .map_err(|error| StoreError::about(error, new))?;
        Ok(row)
    }
}
