//! `keys/*.yaml`: the keys that a pack needs, without the values of secrets; and the refs by which other files name keys.

use attune_expr::suggest::nearest;
use serde_json::Value;

use crate::config::MAX_KEY_VALUE;
use crate::definition::{KeyDefinition, UsedKeyDefinition};
use crate::finding::Located;
use crate::reader::{Item, MappingReader};
use crate::reference;

use super::common::Component;

/// Names below this one are those of the settings of the pack.
const OF_SETTINGS: &str = "config.";

pub(super) fn read(
    mapping: MappingReader<'_>,
    component: Component,
    pack_ref: Option<&str>,
) -> Option<KeyDefinition> {
    let item = mapping.item().clone();
    let required = mapping.bool_or("required", true);
    let secret = mapping.bool_or("secret", true);
    if let Some(given) = &component.given_ref {
        let name = given.value.split_once('.').map_or("", |(_, name)| name);
        if let Some(setting) = name.strip_prefix(OF_SETTINGS) {
            let place = item.descend("/ref", false);
            let finding = place.finding(format!("`{}` is the name of a secret setting", given.value));
            place.add(finding.expected(format!(
                "another name, or `{setting}` with `secret: true` in the `config_schema` of pack.yaml"
            )));
        }
    }
    let key_ref = component.given_ref.as_ref().map_or("the key", |given| given.value.as_str());
    let mut default = None;
    if secret && (mapping.has("value") || mapping.has("default")) {
        let finding = item.finding("a file is no place for the value of a key that is a secret");
        item.add(finding.expected(format!(
            "the value set on the server (`attune key set {key_ref}`); what is no secret has `secret: false` and a `default`, or is a \
             setting of the pack `{}`, in the `config_schema` of pack.yaml",
            pack_ref.unwrap_or_default()
        )));
    } else {
        let given = mapping.optional("default");
        default = given.as_ref().and_then(default_value);
        if given.is_some() {
            mapping.without_effect("required", "with a `default`, which is the value where none is set");
        }
    }
    mapping.close();
    Some(KeyDefinition {
        r#ref: component.r#ref?,
        label: component.label,
        description: component.description,
        required,
        secret,
        default,
    })
}

fn default_value(item: &Item<'_>) -> Option<String> {
    let text = item.text()?;
    if text.len() > MAX_KEY_VALUE {
        let finding = item.finding(format!("`{}` has {} bytes", item.name(), text.len()));
        item.add(finding.expected(format!("up to {MAX_KEY_VALUE}")));
        return None;
    }
    if text.contains('\0') {
        item.add(item.finding(format!("`{}` contains U+0000", item.name())).expected("text without it"));
        return None;
    }
    Some(text.to_owned())
}

/// The ref of a key, of `known` ones the nearest suggested. What else stands there may be the secret itself, so it is not
/// repeated.
pub(super) fn key_ref<'k>(
    item: &Item<'_>,
    known: impl IntoIterator<Item = &'k str>,
) -> Option<Located<String>> {
    let given = item.text()?;
    if reference::split(given).is_some() {
        return Some(item.located(given.to_owned()));
    }
    let tidy = reference::tidy(given);
    let known: Vec<&str> = known.into_iter().collect();
    let name = |known: &&&str| reference::split(known).is_some_and(|(_, name)| name == tidy);
    let meant = known.iter().find(name).copied().or_else(|| nearest(given, known.iter().copied()));
    let finding = item.finding(format!("`{}` is not the ref of a key", item.name()));
    let finding = finding.expected("`pack.name` of the key that holds the secret, never the secret itself");
    item.add(finding.suggestion(meant));
    None
}

/// `keys` of an action, all of them or none: the keys whose values its runs get.
pub(super) fn used_keys<'k>(
    mapping: &MappingReader<'_>,
    known: impl Iterator<Item = &'k str>,
) -> Vec<UsedKeyDefinition> {
    let items = mapping.optional("keys").and_then(|item| item.list()).unwrap_or_default();
    let known: Vec<&str> = known.collect();
    let mut keys: Vec<UsedKeyDefinition> = Vec::with_capacity(items.len());
    for item in &items {
        let Some(key) = used_key(item, &known) else { continue };
        if keys.iter().any(|other| other.r#ref.value == key.r#ref.value) {
            let place = item.descend("/ref", false);
            let finding = place.finding(format!("the key `{}` is named twice", key.r#ref.value));
            place.add(finding.expected("every key once"));
        }
        keys.push(key);
    }
    // Others go by the position of a key in the list.
    if keys.len() == items.len() { keys } else { Vec::new() }
}

fn used_key(item: &Item<'_>, known: &[&str]) -> Option<UsedKeyDefinition> {
    match item.json() {
        Value::String(_) => {
            let r#ref = key_ref(item, known.iter().copied())?;
            Some(UsedKeyDefinition { r#ref, required: true })
        }
        Value::Object(_) => {
            let mapping = item.mapping()?;
            let given = mapping.required("ref").and_then(|item| key_ref(&item, known.iter().copied()));
            let required = mapping.bool_or("required", true);
            if mapping.has("value") || mapping.has("default") {
                let finding = item.finding("a file is no place for the value of a key, which is a secret");
                item.add(finding.expected("the value set on the server, with `attune key set`"));
            }
            mapping.close();
            Some(UsedKeyDefinition { r#ref: given?, required })
        }
        // Not repeated either: a number may be a secret as well.
        _ => {
            let finding = item.finding(format!("`{}` is not the ref of a key", item.name()));
            item.add(finding.expected("`pack.name`, or `{ref: pack.name, required: false}`"));
            None
        }
    }
}
