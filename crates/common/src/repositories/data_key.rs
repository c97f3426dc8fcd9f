//! Data keys, which values are sealed under. Writes `attune.data_key`. What comes here is sealed under the master key.
//!
//! The newest data key is in force. Writers of the table exclude each other by its lock, so that every data key is always
//! sealed under the same master key.

use sqlx::{PgConnection, PgExecutor};

use crate::error::Result;
use crate::models::key::DataKey;

/// Functions about `attune.data_key`.
#[derive(Debug)]
pub struct DataKeyRepository;

impl DataKeyRepository {
    /// The table, with its schema.
    pub const fn table_name() -> &'static str {
        "attune.data_key"
    }

    /// The data key in force, if there is one.
    pub async fn find_in_force(executor: impl PgExecutor<'_>) -> Result<Option<DataKey>> {
        let row = sqlx::query_as(
            "select id as data_key, wrapped, master_fingerprint from attune.data_key order by id desc limit 1",
        )
        .fetch_optional(executor)
        .await?;
        Ok(row)
    }

    /// Every data key, the newest first.
    pub async fn list(executor: impl PgExecutor<'_>) -> Result<Vec<DataKey>> {
        let rows = sqlx::query_as(
            "select id as data_key, wrapped, master_fingerprint from attune.data_key order by id desc",
        )
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// The data key in force; the draft becomes it when there is none. Two processes that start at once agree.
    /// Belongs into a transaction.
    pub async fn first_or_create(
        connection: &mut PgConnection,
        draft: &[u8],
        master_fingerprint: &str,
    ) -> Result<DataKey> {
        Self::lock(&mut *connection).await?;
        let row = sqlx::query_as(
            "with created as (
                 insert into attune.data_key (wrapped, master_fingerprint)
                 select $1, $2 where not exists (select from attune.data_key)
                 returning id, wrapped, master_fingerprint
             )
             select id as data_key, wrapped, master_fingerprint from created
             union all
             select id, wrapped, master_fingerprint from attune.data_key
             order by data_key desc
             limit 1",
        )
        .bind(draft)
        .bind(master_fingerprint)
        .fetch_one(connection)
        .await?;
        Ok(row)
    }

    /// Puts a new data key in force. None, and nothing is done, when others are sealed under another master key.
    /// Belongs into a transaction.
    pub async fn create(
        connection: &mut PgConnection,
        wrapped: &[u8],
        master_fingerprint: &str,
    ) -> Result<Option<DataKey>> {
        Self::lock(&mut *connection).await?;
        let row = sqlx::query_as(
            "insert into attune.data_key (wrapped, master_fingerprint)
             select $1, $2
             where not exists (select from attune.data_key where master_fingerprint <> $2)
             returning id as data_key, wrapped, master_fingerprint",
        )
        .bind(wrapped)
        .bind(master_fingerprint)
        .fetch_optional(connection)
        .await?;
        Ok(row)
    }

    /// Keeps other writers of the table away until the transaction ends. Readers, and keys that refer to it, are not kept.
    pub async fn lock(executor: impl PgExecutor<'_>) -> Result<()> {
        sqlx::query("lock table attune.data_key in share row exclusive mode").execute(executor).await?;
        Ok(())
    }

    /// Stores data keys as they are sealed under another master key; gives back how many. Belongs into the transaction
    /// that holds the [`lock`](Self::lock) and read them.
    pub async fn rewrap(executor: impl PgExecutor<'_>, rewrapped: &[DataKey]) -> Result<u64> {
        let done = sqlx::query(
            "update attune.data_key
             set wrapped = rewrapped.wrapped, master_fingerprint = rewrapped.master_fingerprint
             from unnest($1::bigint[], $2::bytea[], $3::text[]) as rewrapped (id, wrapped, master_fingerprint)
             where data_key.id = rewrapped.id",
        )
        .bind(rewrapped.iter().map(|k| k.id).collect::<Vec<_>>())
        .bind(rewrapped.iter().map(|k| k.wrapped.as_slice()).collect::<Vec<_>>())
        .bind(rewrapped.iter().map(|k| k.master_fingerprint.as_str()).collect::<Vec<_>>())
        .execute(executor)
        .await?;
        Ok(done.rows_affected())
    }

    /// Removes the data keys that are not in force and that no key is sealed under; gives back how many. One that a
    /// key is just being written under stays. Belongs into a transaction.
    pub async fn remove_unused(connection: &mut PgConnection) -> Result<u64> {
        // Two statements: while the rows are locked no key can begin to refer to them, and the second one sees every
        // key that did before.
        let old: Vec<i64> = sqlx::query_scalar(
            "select id
             from attune.data_key
             where id < (select max(id) from attune.data_key)
             order by id
             for update skip locked",
        )
        .fetch_all(&mut *connection)
        .await?;
        let done = sqlx::query(
            "delete from attune.data_key
             where id = any($1) and not exists (select from attune.key where key.data_key = data_key.id)",
        )
        .bind(old)
        .execute(connection)
        .await?;
        Ok(done.rows_affected())
    }
}
