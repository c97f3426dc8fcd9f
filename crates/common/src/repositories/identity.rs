//! Identities. Writes `attune.identity`.

use sqlx::{PgConnection, PgExecutor};

use super::{by_id, updates};
use crate::error::{Result, StoreError};
use crate::models::identity::{Identity, IdentityUpdate, NewIdentity};

/// Functions about `attune.identity`.
#[derive(Debug)]
pub struct IdentityRepository;

by_id!(IdentityRepository, Identity, "identity", "attune.identity", order "login");
updates!(IdentityRepository, Identity, "identity");

impl IdentityRepository {
    /// Makes an identity.
    pub async fn create(executor: impl PgExecutor<'_>, new: &NewIdentity) -> Result<Identity> {
        let row = sqlx::query_as(
            "insert into attune.identity (login, display_name, password_hash, attributes)
             values ($1, $2, $3, coalesce($4, '{}'))
             returning *",
        )
        .bind(&new.login)
        .bind(&new.display_name)
        .bind(&new.password_hash)
        .bind(&new.attributes)
        .fetch_one(executor)
        .await
        .map_err(|error| StoreError::about(error, new))?;
        Ok(row)
    }

    /// The identity with this login, if there is one.
    pub async fn find_by_login(executor: impl PgExecutor<'_>, login: &str) -> Result<Option<Identity>> {
        let row = sqlx::query_as("select * from attune.identity where login = $1")
            .bind(login)
            .fetch_optional(executor)
            .await?;
        Ok(row)
    }

    /// The identity with this login; NotFound without one.
    pub async fn get_by_login(executor: impl PgExecutor<'_>, login: &str) -> Result<Identity> {
        Self::find_by_login(executor, login).await?.ok_or_else(|| StoreError::not_found("identity", login))
    }

    /// Whether there is any identity yet.
    pub async fn any_exists(executor: impl PgExecutor<'_>) -> Result<bool> {
        let any =
            sqlx::query_scalar("select exists (select from attune.identity)").fetch_one(executor).await?;
        Ok(any)
    }

    /// Changes an identity; None leaves a column as it is.
    pub async fn update(connection: &mut PgConnection, id: i64, update: &IdentityUpdate) -> Result<Identity> {
        let changed = sqlx::query_as(
            "update attune.identity
             set display_name = coalesce($2, display_name), password_hash = coalesce($3, password_hash),
                 attributes = coalesce($4, attributes), enabled = coalesce($5, enabled)
             where id = $1 and ($6::timestamptz is null or updated = $6)
             returning *",
        )
        .bind(id)
        .bind(&update.display_name)
        .bind(&update.password_hash)
        .bind(&update.attributes)
        .bind(update.enabled)
        .bind(update.unchanged_since)
        .fetch_optional(&mut *connection)
        .await
        .map_err(|error| StoreError::about(error, update))?;
        Self::changed_or_refused(connection, id, changed).await
    }
}
