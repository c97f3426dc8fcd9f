//! `pack.yaml`.

use semver::Version;

use crate::definition::{Manifest, RuntimeLanguage};
use crate::reader::{Item, MappingReader, shortened};
use crate::reference;

use super::runtime::constraint;

/// Reads the manifest. The ref is given apart, because the other files need it even when something else is wrong.
pub(super) fn read(mapping: MappingReader<'_>) -> (Option<String>, Option<Manifest>) {
    let pack_ref = mapping.required("ref").and_then(|item| pack_ref(&item));
    let version = mapping.required("version").and_then(|item| version(&item));
    let label = mapping.optional_text("label");
    let description = mapping.optional_text("description");
    let author = mapping.optional_text("author");
    let email = mapping.optional_text("email");
    let tags = mapping.optional("tags").and_then(|item| item.texts()).unwrap_or_default();
    let interpreters = RuntimeLanguage::ALL
        .iter()
        .filter_map(|language| {
            let constraint = mapping.optional(language.as_str()).and_then(|item| constraint(&item))?;
            Some((*language, constraint))
        })
        .collect();
    let meta = mapping.object_or_empty("meta");
    mapping.close();
    let manifest = pack_ref.clone().zip(version).map(|(r#ref, version)| Manifest {
        r#ref,
        version,
        label,
        description,
        author,
        email,
        tags,
        interpreters,
        meta,
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
