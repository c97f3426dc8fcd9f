//! The configuration of a pack. Secrets go in here and never come out: each is a key that belongs to the pack.

use std::collections::BTreeSet;

use attune_client::types::{PackConfigChange, PackConfigView, ProblemItem, SettingView};
use attune_common::models::identity::Subject;
use attune_common::models::key::KeyOwner;
use attune_common::models::pack::{Pack, PackUpdate};
use attune_common::repositories::{KeyRepository, PackRepository};
use attune_common::vault::KeyValue;
use attune_pack::config::{Configuration, Layers, ValueSource, secret_ref};
use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value};

use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{At, SecretBody};
use crate::responses::{Changing, OfOne};
use crate::rule_settings;
use crate::state::AppState;
use crate::views::MASK;
use crate::webhook::check_storable;

/// The longest secret, in bytes, as of a key.
const MAX_SECRET: usize = 64 << 10;

/// The settings of a pack, each with its value and where that comes from. Secrets are named and not shown.
#[utoipa::path(
    get,
    path = "/api/v1/packs/{ref}/config",
    tag = "packs",
    operation_id = "show_pack_config",
    params(("ref" = String, Path)),
    responses((status = OK, body = PackConfigView), OfOne)
)]
pub(crate) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    At(pack_ref): At<String>,
) -> Result<Json<PackConfigView>, ApiError> {
    caller.require_for("pack", "read", &Subject::of(&pack_ref))?;
    let pack = PackRepository::get_by_ref(&state.pool, &pack_ref).await?;
    Ok(Json(view(&state, &pack).await?))
}

/// Changes settings of a pack: sets what is given, and takes back what was set. All that is wrong with it is reported at once.
#[utoipa::path(
    patch,
    path = "/api/v1/packs/{ref}/config",
    tag = "packs",
    operation_id = "change_pack_config",
    params(("ref" = String, Path)),
    request_body = PackConfigChange,
    responses((status = OK, body = PackConfigView), Changing)
)]
pub(crate) async fn change(
    State(state): State<AppState>,
    caller: Caller,
    At(pack_ref): At<String>,
    body: Result<SecretBody<PackConfigChange>, ApiError>,
) -> Result<Json<PackConfigView>, ApiError> {
    caller.require_for("pack", "configure", &Subject::of(&pack_ref))?;
    let SecretBody(PackConfigChange { set, unset }) = body?;
    check_storable(&Value::Object(set.clone()))?;
    let pack = PackRepository::get_by_ref(&state.pool, &pack_ref).await?;
    let configuration = configuration(&pack)?.ok_or_else(|| {
        ApiError::conflict(format!("pack {pack_ref} has no settings: its pack.yaml has no config_schema"))
    })?;
    let faults = faults(&configuration, &pack, &set, &unset);
    if !faults.is_empty() {
        return Err(ApiError::invalid("the settings are not valid; nothing was changed", faults));
    }
    let (secrets, plain): (Vec<_>, Vec<_>) =
        set.into_iter().partition(|(name, _)| configuration.is_secret(name));
    // A secret is set by a statement of its own, which is done again when the data key is replaced meanwhile. Each of them
    // takes effect by itself: whoever is cut off here sets them again.
    for (name, value) in secrets {
        let value = value.as_str().unwrap_or_default();
        let key_ref = secret_ref(&pack_ref, &name);
        let value = KeyValue::secret(&key_ref, value).of(KeyOwner::Pack(pack.id));
        state.vault.put(&state.pool, value).await?;
    }
    let mut transaction = attune_common::db::begin(&state.pool).await?;
    // Not between the checks of an installation and its end.
    PackRepository::take_turn(&mut transaction).await?;
    let pack = PackRepository::get_by_ref(&mut *transaction, &pack_ref).await?;
    let mut config = match pack.config {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    config.extend(plain);
    for name in &unset {
        config.remove(name);
        let key_ref = secret_ref(&pack_ref, name);
        let key = KeyRepository::find_by_ref(&mut *transaction, &key_ref).await?;
        if configuration.is_secret(name) && key.is_some_and(|key| key.owner == KeyOwner::Pack(pack.id)) {
            KeyRepository::delete_by_ref(&mut *transaction, &key_ref).await?;
        }
    }
    let update = PackUpdate { config: Some(Value::Object(config)), ..PackUpdate::default() };
    let pack = PackRepository::update(&mut transaction, pack.id, &update).await?;
    rule_settings::refresh(&mut transaction, &pack).await?;
    transaction.commit().await?;
    // A webhook may be signed with a key that was set here.
    state.definitions_changed().await;
    Ok(Json(view(&state, &pack).await?))
}

fn configuration(pack: &Pack) -> Result<Option<Configuration>, ApiError> {
    Configuration::of(&pack.conf_schema).map_err(|problem| {
        ApiError::internal(format!("the config_schema of {} is broken: {problem}", pack.r#ref))
    })
}

fn faults(
    configuration: &Configuration,
    pack: &Pack,
    set: &Map<String, Value>,
    unset: &[String],
) -> Vec<ProblemItem> {
    let fault = |at: &str, name: &str, detail: String| ProblemItem {
        detail,
        pointer: Some(attune_expr::pointer::child(at, name)),
        ..ProblemItem::default()
    };
    let mut faults: Vec<ProblemItem> = configuration
        .faults(set)
        .into_iter()
        .map(|violation| ProblemItem {
            detail: violation.message,
            pointer: Some(format!("/set{}", violation.pointer)),
            ..ProblemItem::default()
        })
        .collect();
    for (name, value) in set.iter().filter(|(name, _)| configuration.is_secret(name)) {
        let wrong = value.as_str().and_then(fault_of_secret);
        faults.extend(wrong.map(|wrong| fault("/set", name, format!("`{name}` {wrong}"))));
    }
    for name in unset {
        if set.contains_key(name) {
            faults.push(fault("/unset", name, format!("`{name}` cannot be set and unset at once")));
        } else if !configuration.has(name) && pack.config.get(name).is_none() {
            faults.push(fault("/unset", name, format!("there is no setting `{name}`")));
        }
    }
    faults
}

/// What is wrong with the value of a secret, without the value.
pub(crate) fn fault_of_secret(text: &str) -> Option<&'static str> {
    if text == MASK {
        Some("is the mask that hides a secret, not its value")
    } else if text.is_empty() {
        Some("is empty, which would be no secret at all; to remove it, unset it")
    } else if text.len() > MAX_SECRET {
        Some("is longer than a secret may be")
    } else {
        None
    }
}

async fn view(state: &AppState, pack: &Pack) -> Result<PackConfigView, ApiError> {
    let Some(configuration) = configuration(pack)? else { return Ok(PackConfigView::default()) };
    let mut secrets = BTreeSet::new();
    for name in configuration.secret_names() {
        if KeyRepository::find_by_ref(&state.pool, &secret_ref(&pack.r#ref, name)).await?.is_some() {
            secrets.insert(name.clone());
        }
    }
    let layers = Layers { environment: &pack.environment_config, set: &pack.config };
    let settings = configuration.settings(layers, &secrets);
    let missing =
        settings.iter().filter(|setting| setting.is_required && setting.source == ValueSource::None);
    Ok(PackConfigView {
        missing: missing.map(|setting| setting.name.clone()).collect(),
        schema: pack.conf_schema.clone(),
        settings: settings
            .into_iter()
            .map(|setting| SettingView {
                name: setting.name,
                description: setting.description,
                required: setting.is_required,
                secret: setting.is_secret,
                value: setting.value,
                source: setting.source.as_str().to_owned(),
            })
            .collect(),
    })
}
