//! Keys: secrets go in here and never come out.

use attune_client::types::{KeyRequest, KeyView, Page, ProblemItem};
use attune_common::models::identity::Subject;
use attune_common::repositories::KeyRepository;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{At, SecretBody};
use crate::paging::whole;
use crate::refs::is_component_ref;
use crate::responses::{Guarded, OfOne, WithBody};
use crate::state::AppState;
use crate::views::key_view;

/// The longest value, in bytes: room for any certificate chain.
const MAX_VALUE: usize = 64 << 10;

/// All keys, by ref; never their values.
#[utoipa::path(
    get,
    path = "/api/v1/keys",
    tag = "keys",
    operation_id = "list_keys",
    responses((status = OK, body = Page<KeyView>), Guarded)
)]
pub(crate) async fn list(
    State(state): State<AppState>,
    caller: Caller,
) -> Result<Json<Page<KeyView>>, ApiError> {
    let scope = caller.require_some("key", "read")?;
    let mut keys = KeyRepository::list(&state.pool).await?;
    keys.retain(|key| scope.holds(&Subject::of(&key.key_ref)));
    Ok(Json(whole(keys.into_iter().map(key_view).collect())))
}

/// Sets a key to a value, which replaces an older one. A new key needs `create` on `key`, an existing one `update`.
#[utoipa::path(
    put,
    path = "/api/v1/keys/{ref}",
    tag = "keys",
    operation_id = "set_key",
    params(("ref" = String, Path, description = "`pack.name`")),
    request_body = KeyRequest,
    responses((status = OK, body = KeyView), WithBody)
)]
pub(crate) async fn put(
    State(state): State<AppState>,
    caller: Caller,
    At(key_ref): At<String>,
    body: Result<SecretBody<KeyRequest>, ApiError>,
) -> Result<Json<KeyView>, ApiError> {
    let known = KeyRepository::find_by_ref(&state.pool, &key_ref).await?.is_some();
    caller.require_for("key", if known { "update" } else { "create" }, &Subject::of(&key_ref))?;
    let SecretBody(KeyRequest { value }) = body?;
    if !is_component_ref(&key_ref) {
        let detail = format!("{key_ref:?} cannot name a key; expected `pack.name` in lower case");
        return Err(ApiError::invalid(detail, Vec::new()));
    }
    let fault = if value.is_empty() {
        Some("the value is empty, which would be no secret at all; to remove the key, delete it".to_owned())
    } else if value.len() > MAX_VALUE {
        Some(format!("the value has {} bytes; it may have up to {MAX_VALUE}", value.len()))
    } else {
        None
    };
    if let Some(detail) = fault {
        let item = ProblemItem {
            detail: detail.clone(),
            pointer: Some("/value".to_owned()),
            ..ProblemItem::default()
        };
        return Err(ApiError::invalid(detail, vec![item]));
    }
    let key = state.vault.set(&state.pool, &key_ref, &value).await?;
    // The next webhook that is signed with it may come at once.
    state.definitions_changed().await;
    Ok(Json(key_view(key)))
}

/// Removes a key. Webhooks that are signed with it are refused from then on.
#[utoipa::path(
    delete,
    path = "/api/v1/keys/{ref}",
    tag = "keys",
    operation_id = "delete_key",
    params(("ref" = String, Path, description = "`pack.name`")),
    responses((status = NO_CONTENT, description = "The key is gone"), OfOne)
)]
pub(crate) async fn delete(
    State(state): State<AppState>,
    caller: Caller,
    At(key_ref): At<String>,
) -> Result<StatusCode, ApiError> {
    caller.require_for("key", "delete", &Subject::of(&key_ref))?;
    KeyRepository::delete_by_ref(&state.pool, &key_ref).await?;
    state.definitions_changed().await;
    Ok(StatusCode::NO_CONTENT)
}
