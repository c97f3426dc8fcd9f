//! Keys. Writes `attune.key`. Plain text never comes here: a value is sealed under a data key
//! ([`DataKeyRepository`](super::DataKeyRepository)) by the [vault](crate::vault).
//!
//! Rows are read without their values; only `find_with_value`, `find_sealed`, `list_sealed`, `list_plain` and `list_outdated` give
//! those, sealed. No statement makes a secret one that is shown: whether a value is a secret is only written together with it.

use std::collections::BTreeMap;

use sqlx::postgres::PgArguments;
use sqlx::{Arguments, PgConnection, PgExecutor};

use super::{LIST_LIMIT, updates};
use crate::error::{Result, StoreError};
use crate::models::key::{Key, KeyFilter, KeyOwner, KeyUpdate, KeyWithValue, NewKey, ResealedKey, SealedKey};

/// What a refused write names when its data key is not in force.
pub(crate) const DATA_KEY: &str = "data_key";

/// A statement that reads keys without their values.
macro_rules! keys {
    ($condition:literal) => {
        concat!(
            "select id, ref, name, owner_type, owner_identity, owner_pack, owner_action, owner_sensor, data_key,
                    secret, version, created, updated
             from attune.key ",
            $condition
        )
    };
}

/// A statement that reads keys with their sealed values and the data keys that open them.
macro_rules! sealed_keys {
    ($condition:literal) => {
        concat!(
            "select key.id, key.ref, key.owner_type, key.owner_identity, key.owner_pack, key.owner_action,
                    key.owner_sensor, key.version, key.secret, key.value, key.data_key, data_key.wrapped,
                    data_key.master_fingerprint
             from attune.key
             join attune.data_key on data_key.id = key.data_key ",
            $condition
        )
    };
}

/// Functions about `attune.key`.
#[derive(Debug)]
pub struct KeyRepository;

updates!(KeyRepository, Key, "key");

impl KeyRepository {
    /// The table, with its schema.
    pub const fn table_name() -> &'static str {
        "attune.key"
    }

    /// Makes a key; AlreadyExists for a ref that is taken. A value that is sealed under a data key that is no longer
    /// in force is refused as a Conflict of `data_key`.
    pub async fn create(executor: impl PgExecutor<'_>, new: &NewKey) -> Result<Key> {
        Self::write(executor, include_str!("key/create.sql"), new).await
    }

    /// Makes a key, or gives the one with this ref another value, which is as secret as it is said to be; that one's name
    /// and owner stay. A value that is sealed under a data key that is no longer in force is refused as a Conflict of `data_key`.
    pub async fn put(executor: impl PgExecutor<'_>, new: &NewKey) -> Result<Key> {
        Self::write(executor, include_str!("key/put.sql"), new).await
    }

    /// The same, but only while the key, if there is one, is as secret as this value is; None where it is not, and where the
    /// value is sealed under a data key that is no longer in force.
    pub async fn put_alike(executor: impl PgExecutor<'_>, new: &NewKey) -> Result<Option<Key>> {
        let statement = include_str!("key/put_alike.sql");
        let written = sqlx::query_as_with(statement, arguments(new)?).fetch_optional(executor).await;
        written.map_err(|error| StoreError::about(error, new))
    }

    /// Makes a key unless there is one with this ref, which stays as it is; false where there is. A value that is sealed under a
    /// data key that is no longer in force is refused as a Conflict of `data_key`, whether there is one or not.
    pub async fn create_missing(executor: impl PgExecutor<'_>, new: &NewKey) -> Result<bool> {
        let statement = include_str!("key/create_missing.sql");
        let done = sqlx::query_as_with(statement, arguments(new)?).fetch_one(executor).await;
        let (is_created, is_replaced): (bool, bool) = done.map_err(|error| StoreError::about(error, new))?;
        if is_replaced { Err(replaced(new)) } else { Ok(is_created) }
    }

    async fn write(executor: impl PgExecutor<'_>, statement: &'static str, new: &NewKey) -> Result<Key> {
        let written = sqlx::query_as_with(statement, arguments(new)?).fetch_optional(executor).await;
        let written = written.map_err(|error| StoreError::about(error, new))?;
        written.ok_or_else(|| replaced(new))
    }

    /// Makes a key a secret that was none, with its value sealed anew as one under this data key. None when there is no such
    /// key any more, when another value was set meanwhile, or when the data key is no longer in force.
    pub async fn hide(
        executor: impl PgExecutor<'_>,
        data_key: i64,
        resealed: &ResealedKey,
    ) -> Result<Option<Key>> {
        let hidden = sqlx::query_as(include_str!("key/hide.sql"))
            .bind(resealed.id)
            .bind(resealed.version)
            .bind(data_key)
            .bind(&resealed.value)
            .fetch_optional(executor)
            .await?;
        Ok(hidden)
    }

    /// Those of the refs that are the refs of keys, each with whether that is a secret.
    pub async fn known_refs(executor: impl PgExecutor<'_>, refs: &[&str]) -> Result<BTreeMap<String, bool>> {
        let known: Vec<(String, bool)> =
            sqlx::query_as("select ref, secret from attune.key where ref = any($1)")
                .bind(refs)
                .fetch_all(executor)
                .await?;
        Ok(known.into_iter().collect())
    }

    /// The key with this id, without its value, if there is one.
    pub async fn find_by_id(executor: impl PgExecutor<'_>, id: i64) -> Result<Option<Key>> {
        let row = sqlx::query_as(keys!("where id = $1")).bind(id).fetch_optional(executor).await?;
        Ok(row)
    }

    /// The key with this id, without its value; NotFound without one.
    pub async fn get_by_id(executor: impl PgExecutor<'_>, id: i64) -> Result<Key> {
        Self::find_by_id(executor, id).await?.ok_or_else(|| StoreError::not_found("key", id))
    }

    /// The key with this ref, without its value, if there is one.
    pub async fn find_by_ref(executor: impl PgExecutor<'_>, key_ref: &str) -> Result<Option<Key>> {
        let row = sqlx::query_as(keys!("where ref = $1")).bind(key_ref).fetch_optional(executor).await?;
        Ok(row)
    }

    /// The key with this ref, without its value; NotFound without one.
    pub async fn get_by_ref(executor: impl PgExecutor<'_>, key_ref: &str) -> Result<Key> {
        Self::find_by_ref(executor, key_ref).await?.ok_or_else(|| StoreError::not_found("key", key_ref))
    }

    /// At most [`LIST_LIMIT`] keys without their values, by ref.
    pub async fn list(executor: impl PgExecutor<'_>) -> Result<Vec<Key>> {
        Self::search(executor, &KeyFilter { limit: LIST_LIMIT, ..KeyFilter::default() }).await
    }

    /// The keys of an owner without their values, by ref.
    pub async fn list_by_owner(executor: impl PgExecutor<'_>, owner: KeyOwner) -> Result<Vec<Key>> {
        // A statement for each kind, so that each has the index of its kind.
        let statement = match owner {
            KeyOwner::System => {
                keys!("where owner_type = 'system' and $1::bigint is null order by ref limit 1000")
            }
            KeyOwner::Identity(_) => keys!("where owner_identity = $1 order by ref limit 1000"),
            KeyOwner::Pack(_) => keys!("where owner_pack = $1 order by ref limit 1000"),
            KeyOwner::Action(_) => keys!("where owner_action = $1 order by ref limit 1000"),
            KeyOwner::Sensor(_) => keys!("where owner_sensor = $1 order by ref limit 1000"),
        };
        let rows = sqlx::query_as(statement).bind(owner.id()).fetch_all(executor).await?;
        Ok(rows)
    }

    /// A page of keys without their values, by ref.
    pub async fn search(executor: impl PgExecutor<'_>, filter: &KeyFilter) -> Result<Vec<Key>> {
        let rows = sqlx::query_as(keys!(
            "where ($1::attune.owner_type is null or owner_type = $1)
               and ($2::text is null or strpos(ref, lower($2)) > 0)
               and ($3::text is null or ref > $3)
             order by ref
             limit $4"
        ))
        .bind(filter.owner_type)
        .bind(&filter.text)
        .bind(&filter.after)
        .bind(filter.limit)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// A key with its sealed value, both from one moment, if there is such a key.
    pub async fn find_with_value(
        executor: impl PgExecutor<'_>,
        key_ref: &str,
    ) -> Result<Option<KeyWithValue>> {
        let row = sqlx::query_as(
            "select key.*, data_key.wrapped, data_key.master_fingerprint
             from attune.key
             join attune.data_key on data_key.id = key.data_key
             where key.ref = $1",
        )
        .bind(key_ref)
        .fetch_optional(executor)
        .await?;
        Ok(row)
    }

    /// The sealed value of a key with the data key that opens it, if there is such a key: both from one moment, so that
    /// neither is missing while values are sealed anew.
    pub async fn find_sealed(executor: impl PgExecutor<'_>, key_ref: &str) -> Result<Option<SealedKey>> {
        Ok(Self::list_sealed(executor, &[key_ref]).await?.pop())
    }

    /// The same of all keys with these refs that there are, in one statement.
    pub async fn list_sealed(executor: impl PgExecutor<'_>, refs: &[&str]) -> Result<Vec<SealedKey>> {
        let rows =
            sqlx::query_as(sealed_keys!("where key.ref = any($1)")).bind(refs).fetch_all(executor).await?;
        Ok(rows)
    }

    /// At most [`LIST_LIMIT`] keys that are no secrets, by ref, with those of their values that have up to so many bytes as they
    /// are sealed.
    pub async fn list_plain(executor: impl PgExecutor<'_>, longest: i32) -> Result<Vec<SealedKey>> {
        let rows = sqlx::query_as(sealed_keys!(
            "where not key.secret and octet_length(key.value) <= $1 order by key.ref limit 1000"
        ))
        .bind(longest)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// Up to `limit` values that are sealed under an older data key than this one, by id after `after`.
    pub async fn list_outdated(
        executor: impl PgExecutor<'_>,
        data_key: i64,
        after: i64,
        limit: i64,
    ) -> Result<Vec<SealedKey>> {
        let rows =
            sqlx::query_as(sealed_keys!("where key.data_key < $1 and key.id > $2 order by key.id limit $3"))
                .bind(data_key)
                .bind(after)
                .bind(limit)
                .fetch_all(executor)
                .await?;
        Ok(rows)
    }

    /// Stores values that were sealed anew under this data key; gives back how many. A key that was set meanwhile, or
    /// that a newer data key has, is passed over: the older value never replaces a newer one.
    pub async fn reseal(
        executor: impl PgExecutor<'_>,
        data_key: i64,
        resealed: &[ResealedKey],
    ) -> Result<u64> {
        let done = sqlx::query(
            "with resealed as (
                 select * from unnest($2::bigint[], $3::integer[], $4::bytea[]) as resealed (id, version, value)
             ),
             -- In the order of ids, lest two that reseal at once wait for each other.
             outdated as (
                 select key.id, resealed.value
                 from attune.key
                 join resealed on resealed.id = key.id and resealed.version = key.version
                 where key.data_key < $1
                 order by key.id
                 for update of key
             )
             update attune.key
             set data_key = $1, value = outdated.value
             from outdated
             where key.id = outdated.id",
        )
        .bind(data_key)
        .bind(resealed.iter().map(|k| k.id).collect::<Vec<_>>())
        .bind(resealed.iter().map(|k| k.version).collect::<Vec<_>>())
        .bind(resealed.iter().map(|k| k.value.as_slice()).collect::<Vec<_>>())
        .execute(executor)
        .await?;
        Ok(done.rows_affected())
    }

    /// Changes a key; None leaves a column as it is.
    pub async fn update(connection: &mut PgConnection, id: i64, update: &KeyUpdate) -> Result<Key> {
        let owner_id = update.owner.and_then(KeyOwner::id);
        let changed = sqlx::query_as(include_str!("key/update.sql"))
            .bind(id)
            .bind(&update.name)
            .bind(update.owner.map(KeyOwner::owner_type))
            .bind(owner_id)
            .bind(update.unchanged_since)
            .fetch_optional(&mut *connection)
            .await
            .map_err(|error| StoreError::about(error, update))?;
        Self::changed_or_refused(connection, id, changed).await
    }

    /// Removes a key; false when there was none.
    pub async fn delete(executor: impl PgExecutor<'_>, id: i64) -> Result<bool> {
        let deleted: Option<i64> = sqlx::query_scalar(
            "with deleted as (
                 delete from attune.key where id = $1 returning id
             )
             select id from deleted where pg_notify('attune_definition', '') is not null",
        )
        .bind(id)
        .fetch_optional(executor)
        .await?;
        Ok(deleted.is_some())
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
}

/// What a statement that makes a key is given.
fn arguments(new: &NewKey) -> Result<PgArguments> {
    let owner = |of: KeyOwner| (of == new.owner).then(|| of.id()).flatten();
    let id = new.owner.id().unwrap_or_default();
    let mut arguments = PgArguments::default();
    arguments.add(&new.key_ref).map_err(sqlx::Error::Encode)?;
    arguments.add(new.owner.owner_type()).map_err(sqlx::Error::Encode)?;
    for of in [KeyOwner::Identity(id), KeyOwner::Pack(id), KeyOwner::Action(id), KeyOwner::Sensor(id)] {
        arguments.add(owner(of)).map_err(sqlx::Error::Encode)?;
    }
    arguments.add(new.data_key).map_err(sqlx::Error::Encode)?;
    arguments.add(new.secret).map_err(sqlx::Error::Encode)?;
    arguments.add(&new.value).map_err(sqlx::Error::Encode)?;
    Ok(arguments)
}

fn replaced(new: &NewKey) -> StoreError {
    StoreError::Conflict { entity: DATA_KEY, key: new.data_key.to_string() }
}
