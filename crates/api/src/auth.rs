//! Who asks: bearer tokens to principals.

use attune_common::auth::token_hash;
use attune_common::models::identity::Principal;
use attune_common::repositories::TokenRepository;
use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use sqlx::PgPool;

use crate::error::ApiError;
use crate::state::AppState;

/// The one who sent the request, signed in.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) principal: Principal,
    /// The hash of the token that the request came with.
    pub(crate) token_hash: Vec<u8>,
}

impl Caller {
    /// Refuses with 403 unless the action on the resource is granted.
    pub(crate) fn require(&self, resource: &str, action: &str) -> Result<(), ApiError> {
        if self.principal.may(resource, action) { Ok(()) } else { Err(ApiError::forbidden(resource, action)) }
    }
}

impl FromRequestParts<AppState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Self::Rejection> {
        let (principal, token_hash) = authenticate(&state.pool, parts).await?;
        Ok(Self { principal, token_hash })
    }
}

/// The principal of a request's bearer token, and the token's hash; 401 without a valid one.
pub async fn authenticate(pool: &PgPool, parts: &Parts) -> Result<(Principal, Vec<u8>), ApiError> {
    let token = parts
        .headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .ok_or_else(|| {
            ApiError::unauthenticated("send a token as `Authorization: Bearer ...`; `attune login` gets one")
        })?;
    let hash = token_hash(token.trim());
    let mut connection = pool.acquire().await?;
    let principal = TokenRepository::principal(&mut connection, &hash).await?.ok_or_else(|| {
        ApiError::unauthenticated("the token is not known or has expired; `attune login` gets one")
    })?;
    Ok((principal, hash))
}
