//! Who may follow the feed: whoever may read executions.

use attune_common::auth;
use attune_common::repositories::TokenRepository;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use sqlx::PgPool;

use crate::problem::Refusal;

/// The hash of a bearer token.
pub(crate) struct Token(Vec<u8>);

impl Token {
    /// The token that a request came with.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .map(|token| Self(auth::token_hash(token.trim())))
            .ok_or(Refusal::Unauthenticated(
                "send a token as `Authorization: Bearer ...`; `attune login` gets one",
            ))
    }

    /// Refuses a token that is not valid, or whose owner may not follow the feed.
    pub(crate) async fn check(&self, pool: &PgPool) -> Result<(), Refusal> {
        let mut connection = pool.acquire().await?;
        match TokenRepository::principal(&mut connection, &self.0).await? {
            Some(principal) if principal.may("execution", "read") => Ok(()),
            Some(_) => Err(Refusal::Forbidden),
            None => Err(Refusal::Unauthenticated(
                "the token is not known or has expired; `attune login` gets one",
            )),
        }
    }
}
