//! `pack.yaml`.

use std::collections::BTreeMap;

use attune_expr::form;
use attune_expr::schema::{ParameterSchema, to_json_schema};
use semver::{Version, VersionReq};
use serde_json::{Map, Value, json};

use crate::definition::{Manifest, RuntimeLanguage};
use crate::finding::Located;
use crate::form::{FileForm, Member, Readable};
use crate::reader::{Item, MappingReader, shortened};
use crate::reference;
use crate::value::{AnyObject, Dependencies, PackRef, Parameters, Range, SemanticVersion, Text};
use crate::version::VersionConstraint;

form! {
    /// The manifest: what makes a directory a pack.
    pub(crate) struct ManifestForm<'f> of MappingReader<'f> {
        /// The name of the pack, before the dot in the refs of all it defines.
        required r#ref: PackRef,
        /// The semantic version: three numbers, as `1.2.0`.
        required version: SemanticVersion,
        /// The name for people.
        optional label: Text,
        /// What the pack is for.
        optional description: Text,
        /// Who made it.
        optional author: Text,
        /// Where its author can be reached.
        optional email: Text,
        /// Words to find it by.
        optional tags: Vec<Text>,
        /// The versions of Python that its actions and sensors can use.
        optional python: VersionConstraint,
        /// The versions of Node that its actions and sensors can use.
        optional node: VersionConstraint,
        /// Anything else that is to be kept with it.
        optional meta: AnyObject,
        /// The packs that it needs, each with a range of versions.
        optional dependencies: Dependencies,
        /// Its settings by name, as the parameters of an action.
        optional config_schema: Parameters,
    }
}

/// Reads the manifest. The ref is given apart, because the other files need it even when something else is wrong.
pub(super) fn read(item: &Item<'_>) -> (Option<String>, Option<Manifest>) {
    let Some(form) = ManifestForm::of(item) else { return (None, None) };
    let pack_ref = form.r#ref.item().and_then(pack_ref);
    let version = form.version.read();
    let interpreters = RuntimeLanguage::ALL.iter().filter_map(|language| {
        let constraint = match language {
            RuntimeLanguage::Python => &form.python,
            RuntimeLanguage::Node => &form.node,
        };
        Some((*language, constraint.read()?))
    });
    let own = Manifest {
        r#ref: pack_ref.clone().unwrap_or_default(),
        version: version.clone().unwrap_or(Version::new(0, 0, 0)),
        label: form.label.read(),
        description: form.description.read(),
        author: form.author.read(),
        email: form.email.read(),
        tags: form.tags.read().unwrap_or_default(),
        interpreters: interpreters.collect(),
        meta: form.meta.read().unwrap_or_default(),
        dependencies: dependencies(&form.dependencies, pack_ref.as_deref()),
        config_schema: config_schema(&form.config_schema),
    };
    let is_known = pack_ref.is_some() && version.is_some();
    (pack_ref, is_known.then_some(own))
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
fn config_schema(member: &Member<'_, Parameters>) -> Value {
    let (Some(item), Some(schema)) = (member.item(), member.read()) else { return Value::Null };
    let settings = item.object().unwrap_or_default();
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
    schema
}

fn holds_secret(setting: &Value) -> bool {
    let schema = to_json_schema(&Map::from_iter([("setting".to_owned(), setting.clone())]));
    ParameterSchema::compile(&schema).is_ok_and(|schema| !schema.secret_names().is_empty())
}

/// The packs that this one needs, each with the range of versions that will do.
fn dependencies(
    member: &Member<'_, Dependencies>,
    own: Option<&str>,
) -> BTreeMap<String, Located<VersionReq>> {
    let mut dependencies = BTreeMap::new();
    for (name, key, value) in member.item().and_then(Item::members).unwrap_or_default() {
        if !reference::is_pack(name) {
            let finding = key.finding(format!("`{}` cannot name a pack", shortened(name)));
            key.add(finding.expected(reference::PACK_FORM));
        } else if own == Some(name) {
            key.add(key.finding("the pack depends on itself").expected("the names of other packs"));
        } else if let Some(range) = Range::read(&value) {
            dependencies.insert(name.to_owned(), range);
        }
    }
    dependencies
}

/// People write `version: 1.0`, which YAML makes a number.
impl Readable for SemanticVersion {
    type Value = Version;

    fn read(item: &Item<'_>) -> Option<Version> {
        let given = match item.number_or_text() {
            Some(Ok(number)) => number.to_string(),
            Some(Err(_)) | None => item.text()?.to_owned(),
        };
        if let Ok(version) = Version::parse(&given) {
            return Some(version);
        }
        let finding =
            item.finding(format!("`{}` `{}` is not a semantic version", item.name(), shortened(&given)));
        item.add(finding.expected("three numbers such as `1.2.0`").suggestion(complete(&given)));
        None
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form::alike::check;

    #[test]
    fn test_patterns_say_what_is_read() {
        check::<SemanticVersion>("0?[0-9][.]0?[0-9][.]0?[0-9](-[a-z][.][1-9])?([+][a0])?");
    }
}
