//! The settings of a pack in files: what `--config FILE` gives, and what rules see of it without a server.

use std::path::Path;

use anyhow::Context;
use attune_pack::Manifest;
use attune_pack::config::{Configuration, Layers};
use attune_rules::{RuleDefinition, Settings};
use serde_json::{Map, Value};

use crate::failure::Fault;

/// Reads a file with values by the names of settings, in YAML or JSON.
pub(crate) fn read(file: &Path) -> anyhow::Result<Map<String, Value>> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {shown}"))?;
    // What stands in the file may be a secret, so that the fault shows its place alone.
    let value: Value = serde_saphyr::from_str(&text).map_err(|error: serde_saphyr::Error| {
        let place = error.location().map(|at| format!(" at line {}, column {}", at.line(), at.column()));
        Fault::new(format!("{shown} is no YAML{}", place.unwrap_or_default()))
    })?;
    match value {
        Value::Object(values) => Ok(values),
        Value::Null => Ok(Map::new()),
        _ => Err(Fault::new(format!("{shown} holds no settings"))
            .hint("expected `name: value`, one a line")
            .into()),
    }
}

/// Refuses values that the pack does not have as settings, or not like that.
pub(crate) fn check(manifest: &Manifest, values: &Map<String, Value>, file: &Path) -> anyhow::Result<()> {
    let configuration = Configuration::of(&manifest.config_schema).ok().flatten();
    let shown = file.display();
    let Some(configuration) = configuration else {
        let told = format!("{shown} has no effect: the pack {} has no settings", manifest.r#ref);
        return Err(Fault::new(told).into());
    };
    let faults: Vec<String> = configuration.faults(values).iter().map(ToString::to_string).collect();
    if faults.is_empty() {
        return Ok(());
    }
    Err(Fault::new(format!("{shown} does not fit the settings of {}: {}", manifest.r#ref, faults.join("; ")))
        .into())
}

/// What rules of the pack see where these values are set; secrets are not among it.
pub(crate) fn of_pack(manifest: &Manifest, set: &Map<String, Value>) -> Settings {
    let (set, environment) = (Value::Object(set.clone()), Value::Object(Map::new()));
    let layers = Layers { environment: &environment, set: &set };
    let configuration = Configuration::of(&manifest.config_schema).ok().flatten();
    configuration.map_or_else(Settings::none, |configuration| Settings::of(configuration.plain(layers)))
}

/// Settings were given to a rule that uses none.
pub(crate) fn without_effect(path: &Path) -> Fault {
    Fault::new(format!("{} has no effect: the rule uses no setting of its pack", path.display()))
}

/// Whether a rule uses any setting at all.
pub(crate) fn are_used_by(rule: &RuleDefinition) -> bool {
    let conditions = serde_json::to_value(&rule.conditions).unwrap_or_default();
    let window = rule.window.as_ref().map(attune_rules::Window::to_value).unwrap_or_default();
    attune_rules::settings::used(&[&conditions, &window, &rule.action_params], &Map::new()).is_some()
}
