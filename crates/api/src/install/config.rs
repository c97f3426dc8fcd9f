//! Whether what was set on the server still fits the settings of another version of a pack.

use std::collections::BTreeSet;

use attune_common::error::StoreError;
use attune_common::models::pack::Pack;
use attune_common::repositories::KeyRepository;
use attune_pack::config::{Configuration, secret_ref};
use attune_pack::{Fault, Finding};
use sqlx::PgConnection;

use super::Candidate;
use super::position::finding_in;

const MANIFEST: &str = "pack.yaml";

/// Values that the new version does not have, or not like that. Nothing that somebody set is lost by an installation.
pub(super) async fn check(
    connection: &mut PgConnection,
    candidate: &Candidate,
    existing: &Pack,
) -> Result<Vec<Finding>, StoreError> {
    let pack = &existing.r#ref;
    // What cannot be compiled was told when the files were read, or is the fault of an older version.
    let new = Configuration::of(&candidate.definition.manifest.config_schema).ok().flatten();
    let old = Configuration::of(&existing.conf_schema).ok().flatten();
    let finding = |name: &str, message: String| {
        let fault = Fault { pointer: format!("/config_schema/{name}"), message, suggestion: None };
        let finding = finding_in(&candidate.files, MANIFEST, fault);
        finding.expected(format!("`attune pack config unset {pack} {name}` first, or a setting that it fits"))
    };
    let mut findings = Vec::new();
    // What is given with the pack takes the place of what was set.
    let set = candidate.settings.over(&existing.config);
    for name in set.keys() {
        match &new {
            Some(new) if new.is_secret(name) => {
                let message = format!(
                    "`{name}` is set on the server and not kept as a secret, which it is in this version"
                );
                findings.push(finding(name, message));
            }
            Some(new) if new.has(name) => {}
            _ => findings.push(finding(
                name,
                format!("`{name}` is set on the server, and this version has no such setting"),
            )),
        }
    }
    for fault in new.as_ref().map(|new| new.faults(&set)).unwrap_or_default() {
        let name = fault.pointer.split('/').nth(1).unwrap_or_default();
        // What is not there any more was told above.
        if new.as_ref().is_some_and(|new| new.has(name) && !new.is_secret(name)) {
            findings.push(finding(
                name,
                format!("what `{name}` is set to on the server does not fit: {}", fault.message),
            ));
        }
    }
    for name in old.iter().flat_map(Configuration::secret_names) {
        if new.as_ref().is_some_and(|new| new.is_secret(name)) {
            continue;
        }
        if KeyRepository::find_by_ref(&mut *connection, &secret_ref(pack, name)).await?.is_some() {
            findings.push(finding(
                name,
                format!("`{name}` is set on the server, and is no secret in this version"),
            ));
        }
    }
    let distinct: BTreeSet<Finding> = findings.into_iter().collect();
    Ok(distinct.into_iter().collect())
}
