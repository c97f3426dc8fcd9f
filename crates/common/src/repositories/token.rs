//! Tokens. Writes `attune.token`; only hashes of tokens come here.

use sqlx::{PgConnection, PgExecutor};

use super::PermissionRepository;
use crate::error::Result;
use crate::models::Timestamp;
use crate::models::identity::Principal;

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
    ) -> Result<()> {
        sqlx::query("insert into attune.token (identity, name, hash, expires) values ($1, $2, $3, $4)")
            .bind(identity)
            .bind(name)
            .bind(hash)
            .bind(expires)
            .execute(executor)
            .await?;
        Ok(())
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
                Ok(Some(Principal { identity, login, grants }))
            }
            None => Ok(None),
        }
    }

    /// Removes the tokens of an identity that have expired.
    pub async fn delete_expired(executor: impl PgExecutor<'_>, identity: i64) -> Result<()> {
        sqlx::query("delete from attune.token where identity = $1 and expires <= clock_timestamp()")
            .bind(identity)
            .execute(executor)
            .await?;
        Ok(())
    }

    /// Withdraws a token; false when it was not known.
    pub async fn delete_by_hash(executor: impl PgExecutor<'_>, hash: &[u8]) -> Result<bool> {
        let done =
            sqlx::query("delete from attune.token where hash = $1").bind(hash).execute(executor).await?;
        Ok(done.rows_affected() > 0)
    }
}
