//! Tokens. Writes `attune.token`; only hashes of tokens come here.

use sqlx::{PgConnection, PgExecutor};

use super::PermissionRepository;
use crate::error::{Result, StoreError};
use crate::models::Timestamp;
use crate::models::identity::{Principal, Token};

/// Functions about `attune.token`.
#[derive(Debug)]
pub struct TokenRepository;

impl TokenRepository {
    /// The table, with its schema.
    pub const fn table_name() -> &'static str {
        "attune.token"
    }

    /// Keeps the hash of a token that was handed out.
    pub async fn create(
        executor: impl PgExecutor<'_>,
        identity: i64,
        name: &str,
        hash: &[u8],
        expires: Option<Timestamp>,
    ) -> Result<Token> {
        let row = sqlx::query_as(
            "insert into attune.token (identity, name, hash, expires)
             values ($1, $2, $3, $4)
             returning id, identity, name, expires, created",
        )
        .bind(identity)
        .bind(name)
        .bind(hash)
        .bind(expires)
        .fetch_one(executor)
        .await?;
        Ok(row)
    }

    /// The token with this id, if there is one.
    pub async fn find_by_id(executor: impl PgExecutor<'_>, id: i64) -> Result<Option<Token>> {
        let row =
            sqlx::query_as("select id, identity, name, expires, created from attune.token where id = $1")
                .bind(id)
                .fetch_optional(executor)
                .await?;
        Ok(row)
    }

    /// The token with this id; NotFound without one.
    pub async fn get_by_id(executor: impl PgExecutor<'_>, id: i64) -> Result<Token> {
        Self::find_by_id(executor, id).await?.ok_or_else(|| StoreError::not_found("token", id))
    }

    /// The tokens of an identity, expired ones too, the newest first.
    pub async fn list_of_identity(executor: impl PgExecutor<'_>, identity: i64) -> Result<Vec<Token>> {
        let rows = sqlx::query_as(
            "select id, identity, name, expires, created
             from attune.token
             where identity = $1
             order by id desc
             limit 1000",
        )
        .bind(identity)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// Withdraws a token of an identity; false when the identity has no such token.
    pub async fn revoke(executor: impl PgExecutor<'_>, identity: i64, id: i64) -> Result<bool> {
        let done = sqlx::query("delete from attune.token where id = $1 and identity = $2")
            .bind(id)
            .bind(identity)
            .execute(executor)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Withdraws every token of an identity; gives back how many.
    pub async fn revoke_all(executor: impl PgExecutor<'_>, identity: i64) -> Result<u64> {
        let done = sqlx::query("delete from attune.token where identity = $1")
            .bind(identity)
            .execute(executor)
            .await?;
        Ok(done.rows_affected())
    }

    /// Whoever the token belongs to; None for an unknown or expired token and a disabled identity.
    pub async fn principal(connection: &mut PgConnection, hash: &[u8]) -> Result<Option<Principal>> {
        let found: Option<(i64, String)> = sqlx::query_as(
            "select identity.id, identity.login
             from attune.token
             join attune.identity on identity.id = token.identity
             where token.hash = $1
               and identity.enabled
               and (token.expires is null or token.expires > clock_timestamp())",
        )
        .bind(hash)
        .fetch_optional(&mut *connection)
        .await?;
        match found {
            Some((identity, login)) => {
                let grants = PermissionRepository::grants_of(connection, identity).await?;
                Ok(Some(Principal { identity: Some(identity), execution: None, login, grants }))
            }
            None => Ok(None),
        }
    }

    /// Removes the tokens of an identity that have expired; gives back how many.
    pub async fn delete_expired(executor: impl PgExecutor<'_>, identity: i64) -> Result<u64> {
        let done =
            sqlx::query("delete from attune.token where identity = $1 and expires <= clock_timestamp()")
                .bind(identity)
                .execute(executor)
                .await?;
        Ok(done.rows_affected())
    }

    /// Withdraws a token; false when it was not known.
    pub async fn delete_by_hash(executor: impl PgExecutor<'_>, hash: &[u8]) -> Result<bool> {
        let done =
            sqlx::query("delete from attune.token where hash = $1").bind(hash).execute(executor).await?;
        Ok(done.rows_affected() > 0)
    }
}
