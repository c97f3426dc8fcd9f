//! Signing in and out.

use std::time::Duration;

use attune_client::types::{LoginRequest, LoginResponse, Whoami};
use attune_common::auth::{new_token, token_hash, verify_password};
use attune_common::repositories::{IdentityRepository, TokenRepository};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::Utc;
use tokio::sync::Semaphore;

use crate::auth::{Caller, Credential};
use crate::error::ApiError;
use crate::extract::SecretBody;
use crate::responses::SignedIn;
use crate::state::AppState;
use crate::views::grant_view;

/// How long a token from a login is valid.
const TOKEN_LIFETIME: chrono::Duration = chrono::Duration::days(30);

/// Verifying a password takes 19 MiB and tens of milliseconds on purpose; a flood of logins must not take all memory.
static VERIFICATIONS: Semaphore = Semaphore::const_new(4);

/// How long a login waits for its turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// Signs in with login and password; the answer holds a new token, valid for 30 days.
#[utoipa::path(
    post,
    path = "/api/v1/auth/login",
    tag = "auth",
    security(()),
    request_body = LoginRequest,
    responses(
        (status = OK, body = LoginResponse),
        (status = UNPROCESSABLE_ENTITY, body = attune_client::types::Problem,
            content_type = "application/problem+json", description = "A member is missing or of the wrong type"),
        SignedIn,
    )
)]
pub(crate) async fn login(
    State(state): State<AppState>,
    SecretBody(request): SecretBody<LoginRequest>,
) -> Result<Json<LoginResponse>, ApiError> {
    let LoginRequest { login, password, token_name } = request;
    let identity = IdentityRepository::find_by_login(&state.pool, &login).await?;
    let identity = identity.filter(|identity| identity.enabled);
    let hash = identity.as_ref().and_then(|identity| identity.password_hash.clone());
    let turn = tokio::time::timeout(PATIENCE, VERIFICATIONS.acquire())
        .await
        .map_err(|_| {
            ApiError::unavailable("too many logins at once; try again", "logins wait for their turn")
        })?
        .map_err(ApiError::internal)?;
    // Without an identity the same work is done: the time of the answer does not tell whether the login exists.
    let verified = tokio::task::spawn_blocking(move || verify_password(&password, hash.as_deref()))
        .await
        .map_err(ApiError::internal)?;
    drop(turn);
    let Some(identity) = identity.filter(|_| verified) else {
        return Err(ApiError::bad_credentials("login or password is wrong"));
    };
    let token = new_token();
    let expires = Utc::now() + TOKEN_LIFETIME;
    let name = token_name.as_deref().unwrap_or("login");
    TokenRepository::delete_expired(&state.pool, identity.id).await?;
    TokenRepository::create(&state.pool, identity.id, name, &token_hash(&token), Some(expires)).await?;
    Ok(Json(LoginResponse { token, login: identity.login, expires }))
}

/// Withdraws the token that the request came with.
#[utoipa::path(
    post,
    path = "/api/v1/auth/logout",
    tag = "auth",
    responses(
        (status = NO_CONTENT, description = "The token opens nothing any more"),
        (status = CONFLICT, body = attune_client::types::Problem, content_type = "application/problem+json",
            description = "It is the token of a run"),
        SignedIn,
    )
)]
pub(crate) async fn logout(State(state): State<AppState>, caller: Caller) -> Result<StatusCode, ApiError> {
    match &caller.credential {
        // A token that is gone already is as good as withdrawn.
        Credential::Token(hash) => {
            TokenRepository::delete_by_hash(&state.pool, hash).await?;
        }
        Credential::Run(_) => {
            return Err(ApiError::conflict(
                "the token of a run cannot be withdrawn; it ends with its attempt",
            ));
        }
        Credential::Sensor(_) => {
            return Err(ApiError::conflict(
                "the token of a sensor cannot be withdrawn; it ends with its process",
            ));
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Who the token belongs to, and what it may do.
#[utoipa::path(get, path = "/api/v1/whoami", tag = "auth", responses((status = OK, body = Whoami), SignedIn))]
pub(crate) async fn whoami(caller: Caller) -> Json<Whoami> {
    let execution = caller.run().map(|run| run.execution);
    let grants = caller.principal.grants.into_iter().map(grant_view).collect();
    Json(Whoami { login: caller.principal.login, grants, execution })
}
