//! Keys and the data keys they are sealed under. Writes `attune.key` and `attune.data_key`. Plain text never comes here.

use sqlx::{PgConnection, PgExecutor};

use crate::error::{Result, StoreError};
use crate::models::key::{DataKey, Key, NewKey, SealedKey};

/// Functions about `attune.key`.
#[derive(Debug)]
pub struct KeyRepository;

impl KeyRepository {
    /// The table, with its schema.
    pub const fn table_name() -> &'static str {
        "attune.key"
    }

    /// Makes a key of the system or replaces its value.
    pub async fn put(executor: impl PgExecutor<'_>, new: &NewKey) -> Result<Key> {
        let row = sqlx::query_as(
            "with put as (
                 insert into attune.key (ref, name, data_key, value)
                 values ($1, substr($1, strpos($1, '.') + 1), $2, $3)
                 on conflict on constraint key_ref_key do update
                 set data_key = excluded.data_key, value = excluded.value
                 returning id, ref, name, created, updated
             )
             select put.* from put where pg_notify('attune_definition', '') is not null",
        )
        .bind(&new.key_ref)
        .bind(new.data_key)
        .bind(&new.value)
        .fetch_one(executor)
        .await
        .map_err(|error| StoreError::about(error, new))?;
        Ok(row)
    }

    /// Every key without its value, by ref.
    pub async fn list(executor: impl PgExecutor<'_>) -> Result<Vec<Key>> {
        let rows =
            sqlx::query_as("select id, ref, name, created, updated from attune.key order by ref limit 1000")
                .fetch_all(executor)
                .await?;
        Ok(rows)
    }

    /// The key with this ref, without its value, if there is one.
    pub async fn find_by_ref(executor: impl PgExecutor<'_>, key_ref: &str) -> Result<Option<Key>> {
        let row = sqlx::query_as("select id, ref, name, created, updated from attune.key where ref = $1")
            .bind(key_ref)
            .fetch_optional(executor)
            .await?;
        Ok(row)
    }

    /// The sealed value of a key, if there is such a key.
    pub async fn find_sealed(executor: impl PgExecutor<'_>, key_ref: &str) -> Result<Option<SealedKey>> {
        let row = sqlx::query_as("select ref, value from attune.key where ref = $1")
            .bind(key_ref)
            .fetch_optional(executor)
            .await?;
        Ok(row)
    }

    /// Removes a key; NotFound without one.
    pub async fn delete_by_ref(executor: impl PgExecutor<'_>, key_ref: &str) -> Result<()> {
        let deleted: Option<i64> = sqlx::query_scalar(
            "with deleted as (
                 delete from attune.key where ref = $1 returning id
             )
             select id from deleted where pg_notify('attune_definition', '') is not null",
        )
        .bind(key_ref)
        .fetch_optional(executor)
        .await?;
        deleted.map(|_| ()).ok_or_else(|| StoreError::not_found("key", key_ref))
    }

    /// The data key in force; the draft becomes it when there is none. Two processes that start at once agree.
    /// Belongs into a transaction.
    pub async fn data_key_or_create(
        connection: &mut PgConnection,
        draft: &[u8],
        master_fingerprint: &str,
    ) -> Result<DataKey> {
        sqlx::query("lock table attune.data_key in share row exclusive mode")
            .execute(&mut *connection)
            .await?;
        let row = sqlx::query_as(
            "with created as (
                 insert into attune.data_key (wrapped, master_fingerprint)
                 select $1, $2 where not exists (select from attune.data_key)
                 returning id, wrapped, master_fingerprint
             )
             select * from created
             union all
             select id, wrapped, master_fingerprint from attune.data_key
             order by id desc
             limit 1",
        )
        .bind(draft)
        .bind(master_fingerprint)
        .fetch_one(connection)
        .await?;
        Ok(row)
    }
}
