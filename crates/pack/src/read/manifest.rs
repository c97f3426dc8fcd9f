//! `pack.yaml`.

use std::collections::BTreeMap;

use attune_expr::schema::{ParameterSchema, check_parameters, to_json_schema};
use semver::{Version, VersionReq};
use serde_json::{Map, Value, json};

use crate::definition::Manifest;
use crate::finding::Located;
use crate::reader::{Item, MappingReader, shortened};
use crate::reference;

use super::common::foreign_problem;

/// Reads the manifest. The ref is given apart, because the other files need it even when something else is wrong.
pub(super) fn read(mapping: MappingReader<'_>) -> (Option<String>, Option<Manifest>) {
    let pack_ref = mapping.required("ref").and_then(|item| pack_ref(&item));
    let version = mapping.required("version").and_then(|item| version(&item));
    let label = mapping.optional_text("label");
    let description = mapping.optional_text("description");
    let author = mapping.optional_text("author");
    let email = mapping.optional_text("email");
    let tags = mapping.optional("tags").and_then(|item| item.texts()).unwrap_or_default();
    let meta = mapping.object_or_empty("meta");
    let dependencies = mapping
        .optional("dependencies")
        .map(|item| dependencies(&item, pack_ref.as_deref()))
        .unwrap_or_default();
    let config_schema = mapping.optional("config_schema").map_or(Value::Null, |item| config_schema(&item));
    mapping.close();
    let manifest = pack_ref.clone().zip(version).map(|(r#ref, version)| Manifest {
        r#ref,
        version,
        label,
        description,
        author,
        email,
        tags,
        meta,
        dependencies,
        config_schema,
    });
    (pack_ref, manifest)
}

fn pack_ref(item: &Item<'_>) -> Option<String> {
    let given = item.text()?;
    if reference::is_pack(given) {
        return Some(given.to_owned());
    }
    let meant = reference::tidy(given).replace('.', "_");
    let finding = item.finding(format!("`ref` `{}` is not a valid pack ref", shortened(given)));
    let meant = Some(meant).filter(|meant| reference::is_pack(meant));
    item.add(finding.expected(reference::PACK_FORM).suggestion(meant));
    None
}

/// The JSON schema of the configuration. A secret is a text by itself, because it is kept as a key.
fn config_schema(item: &Item<'_>) -> Value {
    let Some(settings) = item.object() else { return Value::Null };
    for problem in check_parameters(&settings) {
        foreign_problem(item, &problem.pointer, &problem.message, problem.suggestion);
    }
    for (name, setting) in settings.iter().filter(|(_, setting)| holds_secret(setting)) {
        let place = item.descend(&format!("/{}", name.replace('~', "~0").replace('/', "~1")), true);
        if setting.get("secret") != Some(&Value::Bool(true)) || setting.get("type") != Some(&json!("string"))
        {
            let finding = place.finding(format!("`{}` holds a secret and is no text itself", place.name()));
            place.add(finding.expected("`type: string` and `secret: true` at the setting itself"));
        } else if setting.get("default").is_some() {
            let finding = place.finding(format!("the secret `{}` has a default", place.name()));
            place.add(finding.expected("no value of it in the files of a pack"));
        } else if name.chars().any(|c| c.is_ascii_uppercase()) {
            let finding = place.finding(format!("the secret `{}` has capitals in its name", place.name()));
            place.add(finding.expected("lower case, because it is kept as a key of that name"));
        }
    }
    to_json_schema(&settings)
}

fn holds_secret(setting: &Value) -> bool {
    let schema = to_json_schema(&Map::from_iter([("setting".to_owned(), setting.clone())]));
    ParameterSchema::compile(&schema).is_ok_and(|schema| !schema.secret_names().is_empty())
}

/// The packs that this one needs, each with the range of versions that will do.
fn dependencies(item: &Item<'_>, own: Option<&str>) -> BTreeMap<String, Located<VersionReq>> {
    let names: Vec<String> = item.object().unwrap_or_default().into_iter().map(|(name, _)| name).collect();
    let mut dependencies = BTreeMap::new();
    for name in names {
        let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
        let key = item.descend(&pointer, true);
        if !reference::is_pack(&name) {
            let finding = key.finding(format!("`{}` cannot name a pack", shortened(&name)));
            key.add(finding.expected(reference::PACK_FORM));
        } else if own == Some(name.as_str()) {
            key.add(key.finding("the pack depends on itself").expected("the names of other packs"));
        } else if let Some(range) = range(&item.descend(&pointer, false)) {
            dependencies.insert(name, range);
        }
    }
    dependencies
}

/// A range of versions. A number would lose what makes `1.10` differ from `1.1`.
fn range(item: &Item<'_>) -> Option<Located<VersionReq>> {
    const FORM: &str = "a range such as `>=1.2`, `^1.2`, `>=1.2, <3` or `*`";
    if let Some(Ok(number)) = item.number_or_text() {
        let finding = item.finding(format!("`{}` is the number {number}", item.name()));
        item.add(finding.expected(FORM).suggestion(Some(format!("\"{number}\""))));
        return None;
    }
    let given = item.text()?;
    match VersionReq::parse(given) {
        Ok(range) => Some(item.located(range)),
        Err(error) => {
            let message =
                format!("`{}` is no range of versions, as `{}`: {error}", item.name(), shortened(given));
            item.add(item.finding(message).expected(FORM));
            None
        }
    }
}

/// A semantic version. People write `version: 1.0`, which YAML makes a number.
fn version(item: &Item<'_>) -> Option<Version> {
    let given = match item.number_or_text() {
        Some(Ok(number)) => number.to_string(),
        Some(Err(_)) | None => item.text()?.to_owned(),
    };
    if let Ok(version) = Version::parse(&given) {
        return Some(version);
    }
    let finding = item.finding(format!("`version` `{}` is not a semantic version", shortened(&given)));
    item.add(finding.expected("three numbers such as `1.2.0`").suggestion(complete(&given)));
    None
}

/// A version with what it lacks: `v1.2` becomes `1.2.0`.
fn complete(given: &str) -> Option<String> {
    let numbers = given.trim().trim_start_matches(['v', 'V']);
    let mut parts: Vec<u64> = numbers.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    if parts.len() > 3 {
        return None;
    }
    parts.resize(3, 0);
    Some(parts.iter().map(u64::to_string).collect::<Vec<_>>().join("."))
}
