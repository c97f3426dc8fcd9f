//! Keys: secrets go in here and never come out. What is no secret can be read by whoever may read the key.

use std::collections::BTreeMap;

use attune_client::types::{KeyRequest, KeyView, Page, ProblemItem};
use attune_common::crypto::SEAL_BYTES;
use attune_common::error::StoreError;
use attune_common::models::identity::Subject;
use attune_common::models::key::{Key, KeyWithValue};
use attune_common::repositories::{KeyRepository, PackRepository};
use attune_common::vault::KeyValue;
use attune_pack::config::{MAX_KEY_VALUE, is_secret_ref};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{At, SecretBody};
use crate::paging::whole;
use crate::refs::is_component_ref;
use crate::responses::{Guarded, OfOne, WithBody};
use crate::run_masking::{has_secret, masker_of_caller};
use crate::state::AppState;
use crate::views::key_view;

/// The longest value that a list shows, in bytes.
const MAX_LISTED: usize = 256;

/// All keys, by ref, with the short values of those that are no secrets.
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
    let mut values = BTreeMap::new();
    if keys.iter().any(|key| !key.secret) {
        let longest = i32::try_from(MAX_LISTED + SEAL_BYTES).unwrap_or(i32::MAX);
        let sealed = KeyRepository::list_plain(&state.pool, longest).await?;
        values.extend(sealed.into_iter().map(|sealed| ((sealed.id, sealed.version), sealed)));
    }
    let mut views = Vec::with_capacity(keys.len());
    for key in keys {
        // Of what was set between the two statements no value is shown, as of one that is long.
        let value = match values.get(&(key.id, key.version)) {
            // One that cannot be read is no reason to show none of the others.
            Some(sealed) => state.vault.shown(sealed).unwrap_or_else(|error| {
                tracing::error!(key = key.key_ref, %error, "the value of a key cannot be read");
                None
            }),
            None => None,
        };
        views.push(key_view(key, value));
    }
    Ok(Json(whole(views)))
}

/// A key, with its value where that is no secret.
#[utoipa::path(
    get,
    path = "/api/v1/keys/{ref}",
    tag = "keys",
    operation_id = "get_key",
    params(("ref" = String, Path, description = "`pack.name`")),
    responses((status = OK, body = KeyView), OfOne)
)]
pub(crate) async fn get(
    State(state): State<AppState>,
    caller: Caller,
    At(key_ref): At<String>,
) -> Result<Json<KeyView>, ApiError> {
    caller.require_for("key", "read", &Subject::of(&key_ref))?;
    let found = KeyRepository::find_with_value(&state.pool, &key_ref).await?;
    let KeyWithValue { key, sealed } = found.ok_or_else(|| StoreError::not_found("key", &key_ref))?;
    let value = state.vault.shown(&sealed)?;
    Ok(Json(key_view(key, value)))
}

/// Sets a key to a value, which replaces an older one, or makes a key that is none a secret. A new key needs `create` on `key`,
/// an existing one `update`.
///
/// `secret: false` makes it a key whose value can be read; that takes a value, since one that was stored as a secret is never
/// shown.
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
    let mut known = KeyRepository::find_by_ref(&state.pool, &key_ref).await?;
    require_put(&caller, &key_ref, known.as_ref())?;
    let SecretBody(KeyRequest { value, secret }) = body?;
    if !is_component_ref(&key_ref) {
        let detail = format!("{key_ref:?} cannot name a key; expected `pack.name` in lower case");
        return Err(ApiError::invalid(detail, Vec::new()));
    }
    if secret == Some(false) && is_secret_ref(&key_ref) {
        let detail = format!("`{key_ref}` is the name of a secret setting of a pack, so that it is a secret");
        return Err(invalid("/secret", detail));
    }
    let Some(value) = value else {
        let key = without_value(&state, &key_ref, known, secret).await?;
        return Ok(Json(key_view(key, None)));
    };
    let key = loop {
        // Stays what it is, unless that is said.
        let is_secret = secret.unwrap_or_else(|| known.as_ref().is_none_or(|key| key.secret));
        check_value(&value, is_secret)?;
        if secret.is_none() && !is_secret {
            check_declared(&state, &key_ref).await?;
        }
        if !is_secret && has_secret(&masker_of_caller(&state, &caller).await?, &value) {
            let detail = format!(
                "the value holds a secret that this run was given, and `{key_ref}` would be no secret: everybody could read it \
                 there; pass `secret: true`, or make the value of something else"
            );
            return Err(invalid("/value", detail));
        }
        let given = KeyValue { secret: is_secret, ..KeyValue::secret(&key_ref, &value) };
        let written = match secret {
            Some(_) => Some(state.vault.put(&state.pool, given).await?),
            None => state.vault.put_alike(&state.pool, given).await?,
        };
        if let Some(key) = written {
            break key;
        }
        // Somebody made it a secret, or none, since it was read: it stays so.
        known = KeyRepository::find_by_ref(&state.pool, &key_ref).await?;
        require_put(&caller, &key_ref, known.as_ref())?;
    };
    // The next webhook that is signed with it may come at once.
    state.definitions_changed().await;
    Ok(Json(key_view(key, Some(value))))
}

fn require_put(caller: &Caller, key_ref: &str, known: Option<&Key>) -> Result<(), ApiError> {
    let action = if known.is_some() { "update" } else { "create" };
    caller.require_for("key", action, &Subject::of(key_ref))
}

/// Refuses a value that nobody says is no secret, for a key that was made so and that a pack declares a secret.
async fn check_declared(state: &AppState, key_ref: &str) -> Result<(), ApiError> {
    let Some(pack) = PackRepository::declaring_secret(&state.pool, key_ref).await? else { return Ok(()) };
    let detail = format!(
        "the pack {pack} declares `{key_ref}` a secret, and it is stored as none: say what the value is, `secret: true` or \
         `secret: false` (`attune key set {key_ref} --secret`, or `--plain`)"
    );
    Err(invalid("/secret", detail))
}

fn check_value(value: &str, is_secret: bool) -> Result<(), ApiError> {
    let detail = if is_secret && value.is_empty() {
        "the value is empty, which would be no secret at all; to remove the key, delete it".to_owned()
    } else if value.len() > MAX_KEY_VALUE {
        format!("the value has {} bytes; it may have up to {MAX_KEY_VALUE}", value.len())
    } else if !is_secret && value.contains('\0') {
        "the value contains U+0000, which no result can hold: it could not be read again".to_owned()
    } else {
        return Ok(());
    };
    Err(invalid("/value", detail))
}

/// Makes the key a secret, its value as it is. Nothing else can be done without a value.
async fn without_value(
    state: &AppState,
    key_ref: &str,
    known: Option<Key>,
    secret: Option<bool>,
) -> Result<Key, ApiError> {
    let known = known.ok_or_else(|| StoreError::not_found("key", key_ref))?;
    match secret {
        Some(true) => {
            let hidden = state.vault.hide(&state.pool, key_ref).await?;
            let hidden = hidden.ok_or_else(|| StoreError::not_found("key", key_ref))?;
            // From now on webhooks may be signed with it.
            state.definitions_changed().await;
            Ok(hidden)
        }
        Some(false) if !known.secret => Ok(known),
        Some(false) => {
            let detail = format!(
                "`{key_ref}` is a secret, and what was stored as a secret is never shown: with `secret: false`, give the value \
                 that the key is to have"
            );
            Err(invalid("/value", detail))
        }
        None => Err(invalid("/value", "there is no value; expected a text".to_owned())),
    }
}

fn invalid(pointer: &str, detail: String) -> ApiError {
    let item =
        ProblemItem { detail: detail.clone(), pointer: Some(pointer.to_owned()), ..ProblemItem::default() };
    ApiError::invalid(detail, vec![item])
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
