//! Settings that are given together with a pack: they are checked by its own schema, and take effect in the transaction that
//! installs it. So do the defaults of the keys that it declares, where they have no value.

use attune_common::error::StoreError;
use attune_common::models::key::{KeyOwner, NewKey};
use attune_common::models::pack::{Pack, PackUpdate};
use attune_common::repositories::{KeyRepository, PackRepository};
use attune_common::vault::{KeyValue, Vault, VaultError};
use attune_pack::Finding;
use attune_pack::config::{Configuration, secret_ref};
use serde_json::{Map, Value};
use sqlx::PgConnection;

use super::Candidate;
use super::position::finding_in_manifest;
use crate::handlers::pack_config::fault_of_secret;

/// Values for settings, with secrets sealed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GivenSettings {
    plain: Map<String, Value>,
    secrets: Vec<NewKey>,
    /// Values for keys that have none.
    defaults: Vec<NewKey>,
}

impl GivenSettings {
    /// Whether none is given. Defaults are there without being given.
    pub fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.secrets.is_empty()
    }

    /// What is set once these are, secrets excepted.
    pub(super) fn over(&self, set: &Value) -> Map<String, Value> {
        let mut merged = set.as_object().cloned().unwrap_or_default();
        merged.extend(self.plain.clone());
        merged
    }
}

/// What is wrong with values for the settings of a pack. No message repeats a value.
pub(crate) fn faults(candidate: &Candidate, given: &Map<String, Value>) -> Vec<Finding> {
    let finding = |pointer: String, message: String| {
        let finding = finding_in_manifest(&candidate.files, &pointer, message);
        candidate.named(vec![finding.expected("settings that the pack has, with values that fit")])
    };
    let schema = &candidate.definition.manifest.config_schema;
    let configuration = Configuration::of(schema).ok().flatten();
    let Some(configuration) = configuration.filter(|_| !given.is_empty()) else {
        let message = "settings are given, and the pack has none".to_owned();
        return if given.is_empty() { Vec::new() } else { finding(String::new(), message) };
    };
    let mut findings = Vec::new();
    for fault in configuration.faults(given) {
        let pointer = format!("/config_schema{}", fault.pointer);
        findings.extend(finding(pointer, format!("the given settings: {}", fault.message)));
    }
    for (name, value) in given.iter().filter(|(name, _)| configuration.is_secret(name)) {
        let wrong = value.as_str().and_then(fault_of_secret);
        findings.extend(wrong.into_iter().flat_map(|wrong| {
            finding(format!("/config_schema/{name}"), format!("the given settings: `{name}` {wrong}"))
        }));
    }
    findings
}

impl Candidate {
    /// Gives the pack values for its settings, which have no faults, and the defaults of its keys, as they are stored. Where a
    /// vault says that it [follows](Vault::follows) an installation that was refused, this is done again.
    pub fn seal(&mut self, vault: &Vault, given: &Map<String, Value>) -> Result<(), VaultError> {
        self.settings = sealed(vault, self, given)?;
        Ok(())
    }
}

fn sealed(
    vault: &Vault,
    candidate: &Candidate,
    given: &Map<String, Value>,
) -> Result<GivenSettings, VaultError> {
    let manifest = &candidate.definition.manifest;
    let configuration = Configuration::of(&manifest.config_schema).ok().flatten();
    let mut settings = GivenSettings::default();
    for (name, value) in given {
        match value.as_str().filter(|_| configuration.as_ref().is_some_and(|known| known.is_secret(name))) {
            // Whose it is shows when the pack is stored.
            Some(secret) => {
                let key_ref = secret_ref(&manifest.r#ref, name);
                settings.secrets.push(vault.sealed(KeyValue::secret(&key_ref, secret))?);
            }
            None => drop(settings.plain.insert(name.clone(), value.clone())),
        }
    }
    for key in &candidate.definition.keys {
        let Some(default) = &key.default else { continue };
        settings.defaults.push(vault.sealed(KeyValue::plain(&key.r#ref, default))?);
    }
    Ok(settings)
}

/// Sets what is given of the stored pack.
pub(super) async fn apply(
    connection: &mut PgConnection,
    pack: Pack,
    given: &GivenSettings,
) -> Result<Pack, StoreError> {
    for secret in &given.secrets {
        let secret = NewKey { owner: KeyOwner::Pack(pack.id), ..secret.clone() };
        KeyRepository::put(&mut *connection, &secret).await?;
    }
    for default in &given.defaults {
        let default = NewKey { owner: KeyOwner::Pack(pack.id), ..default.clone() };
        KeyRepository::create_missing(&mut *connection, &default).await?;
    }
    if given.plain.is_empty() {
        return Ok(pack);
    }
    let config = Value::Object(given.over(&pack.config));
    let update = PackUpdate { config: Some(config), ..PackUpdate::default() };
    PackRepository::update(connection, pack.id, &update).await
}
