//! `keys/*.yaml`: the keys that a pack needs, without the values of secrets; and the refs by which other files name keys.

use attune_expr::form;
use attune_expr::form::{Described, Form};
use attune_expr::suggest::nearest;
use serde_json::{Value, json};

use crate::config::MAX_KEY_VALUE;
use crate::definition::{KeyDefinition, UsedKeyDefinition};
use crate::finding::{Finding, Located};
use crate::form::{FileForm, Member, Readable};
use crate::reader::{Item, MappingReader};
use crate::reference;
use crate::value::{Flag, KeyRef, Text};

use super::Place;
use super::common::ComponentForm;

/// Names below this one are those of the settings of the pack.
const OF_SETTINGS: &str = "config.";

form! {
    /// A key that the pack needs. Its value is set on the server.
    pub(crate) struct KeyForm<'f> of MappingReader<'f> {
        with component: ComponentForm<'f>,
        /// Whether the pack is no good without it; yes unless said.
        optional required: Flag<true>,
        /// Whether its value is never shown; yes unless said.
        optional secret: Flag<true>,
        /// The value where none is set, of a key with `secret: false`.
        optional default: KeyValue,
    }
}

/// The value of a key that is no secret.
struct KeyValue;

impl Described for KeyValue {
    fn schema() -> Value {
        Text::schema()
    }
}

impl Readable for KeyValue {
    type Value = String;

    fn read(item: &Item<'_>) -> Option<String> {
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
}

form! {
    /// A key: its ref alone, or with whether it is needed.
    struct UsedKeyForm<'f> of MappingReader<'f> {
        /// The ref of the key.
        required r#ref: KeyRef,
        /// Whether nothing runs without it; yes unless said.
        optional required: Flag<true>,
    }
}

impl Described for UsedKeyDefinition {
    fn schema() -> Value {
        let mut schema = UsedKeyForm::shape().object();
        schema.insert("type".to_owned(), json!(["string", "object"]));
        // Says nothing of what is no text, as the members say nothing of what is no object.
        schema.insert("pattern".to_owned(), json!(reference::COMPONENT_PATTERN));
        Value::Object(schema)
    }
}

pub(super) fn read(item: &Item<'_>, place: &Place<'_>) -> Option<KeyDefinition> {
    let form = KeyForm::of(item)?;
    let component = form.component.read(place.pack_ref);
    let required = form.required.is_on();
    let secret = form.secret.is_on();
    let given = form.component.named.given();
    if let Some(given) = &given {
        let name = given.value.split_once('.').map_or("", |(_, name)| name);
        if let Some(setting) = name.strip_prefix(OF_SETTINGS) {
            let finding = given.finding(format!("`{}` is the name of a secret setting", given.value));
            let finding = finding.expected(format!(
                "another name, or `{setting}` with `secret: true` in the `config_schema` of pack.yaml"
            ));
            item.add(Finding { pointer: "/ref".to_owned(), ..finding });
        }
    }
    let mut default = None;
    if secret && holds_value(item) {
        let key_ref = given.as_ref().map_or("the key", |given| given.value.as_str());
        let finding = item.finding("a file is no place for the value of a key that is a secret");
        item.add(finding.expected(format!(
            "the value set on the server (`attune key set {key_ref}`); what is no secret has `secret: false` and a `default`, or is a \
             setting of the pack `{}`, in the `config_schema` of pack.yaml",
            place.pack_ref.unwrap_or_default()
        )));
    } else {
        default = form.default.read();
        if form.default.is_given() {
            form.required.without_effect("with a `default`, which is the value where none is set");
        }
    }
    Some(KeyDefinition {
        r#ref: component.r#ref?,
        label: component.label,
        description: component.description,
        required,
        secret,
        default,
    })
}

/// Whether somebody has written the secret itself.
fn holds_value(item: &Item<'_>) -> bool {
    item.has("value") || item.has("default")
}

/// The ref of a key, of `known` ones the nearest suggested. What else stands there may be the secret itself, so it is not
/// repeated.
fn key_ref<'k>(item: &Item<'_>, known: impl IntoIterator<Item = &'k str>) -> Option<Located<String>> {
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

impl Member<'_, KeyRef> {
    /// The ref; `known` are those that may have been meant.
    pub(super) fn known<'k>(&self, known: impl IntoIterator<Item = &'k str>) -> Option<Located<String>> {
        key_ref(self.item()?, known)
    }
}

/// `keys` of an action, all of them or none: the keys whose values its runs get.
pub(super) fn used_keys<'k>(
    member: &Member<'_, Vec<UsedKeyDefinition>>,
    known: impl Iterator<Item = &'k str>,
) -> Vec<UsedKeyDefinition> {
    let items = member.items().unwrap_or_default();
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
            let form = UsedKeyForm::of(item)?;
            let given = form.r#ref.known(known.iter().copied());
            let required = form.required.is_on();
            if holds_value(item) {
                let finding = item.finding("a file is no place for the value of a key, which is a secret");
                item.add(finding.expected("the value set on the server, with `attune key set`"));
            }
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
