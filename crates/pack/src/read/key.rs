//! `keys/*.yaml`: the keys that a pack needs, without their values.

use crate::definition::KeyDefinition;
use crate::reader::MappingReader;

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
    if mapping.has("value") || mapping.has("default") {
        let key_ref = component.given_ref.as_ref().map_or("the key", |given| given.value.as_str());
        let finding = item.finding("a file is no place for the value of a key, which is a secret");
        item.add(finding.expected(format!(
            "the value set on the server (`attune key set {key_ref}`); what is no secret is a setting of the pack \
             `{}`, in the `config_schema` of pack.yaml",
            pack_ref.unwrap_or_default()
        )));
    }
    mapping.close();
    Some(KeyDefinition {
        r#ref: component.r#ref?,
        label: component.label,
        description: component.description,
        required,
    })
}
