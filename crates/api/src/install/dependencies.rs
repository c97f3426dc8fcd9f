//! The packs that packs need: whether they are there, in versions that will do, now and after what is about to happen.

use std::collections::BTreeMap;

use attune_common::error::StoreError;
use attune_common::models::pack::Pack;
use attune_common::repositories::PackRepository;
use attune_pack::{Fault, Finding};
use semver::{Version, VersionReq};
use sqlx::PgConnection;

use super::Candidate;
use super::position::finding_in;

const MANIFEST: &str = "pack.yaml";

/// What candidates need and nobody has, and what others need that the candidates would no longer be.
pub(super) async fn check(
    connection: &mut PgConnection,
    candidates: &[Candidate],
) -> Result<Vec<Finding>, StoreError> {
    let installed = PackRepository::list(&mut *connection).await?;
    let mut versions: BTreeMap<&str, Version> = BTreeMap::new();
    for pack in &installed {
        // What is stored was a version when it was installed, and the schema says so.
        if let Ok(version) = Version::parse(&pack.version) {
            versions.insert(&pack.r#ref, version);
        }
    }
    for candidate in candidates {
        let manifest = &candidate.definition.manifest;
        versions.insert(&manifest.r#ref, manifest.version.clone());
    }
    let mut findings = Vec::new();
    for candidate in candidates {
        findings.extend(candidate.named(missing(candidate, &versions)));
        findings.extend(candidate.named(unfit(candidate, candidates, &installed)));
    }
    Ok(findings)
}

fn missing(candidate: &Candidate, versions: &BTreeMap<&str, Version>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, range) in &candidate.definition.manifest.dependencies {
        let message = match versions.get(name.as_str()) {
            None => format!("the pack needs `{name}` {}, which is not installed", range.value),
            Some(version) if !range.value.matches(version) => {
                format!("the pack needs `{name}` {}, and {version} is installed", range.value)
            }
            Some(_) => continue,
        };
        let finding = range.finding(message);
        let finding = Finding { pointer: format!("/dependencies/{name}"), ..finding };
        findings.push(finding.expected(format!(
            "such a version of `{name}` to be installed first, or together with this pack"
        )));
    }
    findings
}

/// Installed packs, others than the candidates, that need an earlier or a later version.
fn unfit(candidate: &Candidate, candidates: &[Candidate], installed: &[Pack]) -> Vec<Finding> {
    let manifest = &candidate.definition.manifest;
    let is_replaced =
        |pack: &Pack| candidates.iter().any(|other| other.definition.manifest.r#ref == pack.r#ref);
    let mut findings = Vec::new();
    for pack in installed.iter().filter(|pack| !is_replaced(pack)) {
        let Some(range) = pack.dependencies.get(&manifest.r#ref) else { continue };
        if VersionReq::parse(range).is_ok_and(|range| range.matches(&manifest.version)) {
            continue;
        }
        let message = format!(
            "the installed pack `{}` {} needs `{}` {range}, which {} is not",
            pack.r#ref, pack.version, manifest.r#ref, manifest.version
        );
        let fault = Fault { pointer: "/version".to_owned(), message, suggestion: None };
        let finding = finding_in(&candidate.files, MANIFEST, fault);
        findings.push(finding.expected(format!("a version that will do, or another `{}` first", pack.r#ref)));
    }
    findings
}
