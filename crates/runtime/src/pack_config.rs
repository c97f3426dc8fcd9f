//! The configuration of a pack, as the processes of its actions and sensors get it: one JSON object, with defaults and secrets.

use std::collections::BTreeMap;
use std::fmt;

use attune_common::error::StoreError;
use attune_common::repositories::PackRepository;
use attune_pack::config::{Configuration, Layers, secret_ref};
use serde_json::Value;
use sqlx::PgPool;

use crate::keys::{KeyError, KeyReader};

/// Holds the configuration, as JSON.
pub const PACK_CONFIG: &str = "ATTUNE_PACK_CONFIG";

/// A configuration in use.
pub struct PackConfig {
    pub json: String,
    /// The values of its secrets, to be hidden in what the process says.
    pub secrets: Vec<String>,
}

impl fmt::Debug for PackConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PackConfig").finish_non_exhaustive()
    }
}

/// Why a process does not get the configuration of its pack.
#[derive(Debug, thiserror::Error)]
pub enum PackConfigError {
    #[error(
        "the configuration of the pack {pack_ref} is not complete: {what}; see `attune pack config get {pack_ref}`"
    )]
    Incomplete { pack_ref: String, what: String },
    #[error("the configuration of the pack cannot be read")]
    Store(#[from] StoreError),
    #[error("the configuration of the pack has a secret that cannot be read")]
    Secret(#[from] KeyError),
}

/// The configuration of a pack; None for one without settings.
pub async fn read(pool: &PgPool, keys: &KeyReader, pack: i64) -> Result<Option<PackConfig>, PackConfigError> {
    let Some(stored) = PackRepository::configuration(pool, pack).await? else { return Ok(None) };
    let incomplete = |what: String| PackConfigError::Incomplete { pack_ref: stored.r#ref.clone(), what };
    let configuration =
        Configuration::of(&stored.conf_schema).map_err(|problem| incomplete(problem.to_string()))?;
    let Some(configuration) = configuration else { return Ok(None) };
    let mut values = BTreeMap::new();
    for name in configuration.secret_names() {
        if let Some(value) = keys.of_pack(pool, &secret_ref(&stored.r#ref, name)).await? {
            values.insert(name.clone(), value);
        }
    }
    let secrets = values.values().cloned().collect();
    let layers = Layers { environment: &stored.environment_config, set: &stored.config };
    let whole: Value = configuration.effective(layers, values).map_err(|violations| {
        let told: Vec<String> = violations.into_iter().map(|violation| violation.message).collect();
        incomplete(told.join(", "))
    })?;
    Ok(Some(PackConfig { json: whole.to_string(), secrets }))
}
