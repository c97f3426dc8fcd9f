//! `config/*.yaml`: values of the configuration for an environment, such as `config/production.yaml`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::PackFiles;
use crate::config::Configuration;
use crate::definition::Manifest;
use crate::finding::Finding;
use crate::reader::{FileReport, Item};

use super::{is_yaml, parse};

const DIRECTORY: &str = "config/";

/// Values by the name of their environment.
pub(super) type Environments = BTreeMap<String, Map<String, Value>>;

/// Reads the files and checks them against the schema of the manifest, where that can be read.
pub(super) fn read(
    files: &PackFiles,
    manifest: Option<&Manifest>,
    findings: &mut Vec<Finding>,
) -> Environments {
    let mut environments = Environments::new();
    let of_config = files.range(DIRECTORY.to_owned()..).take_while(|(path, _)| path.starts_with(DIRECTORY));
    for (path, file) in of_config.filter(|(path, _)| is_yaml(path)) {
        let report = FileReport::new(path);
        let tree = parse(&report, &file.content);
        if let Some(item) = tree.as_ref().map(|tree| Item::root(&report, tree))
            && let Some(values) = item.object()
            && let Some(manifest) = manifest
        {
            check(&item, &values, manifest);
            let name = path[DIRECTORY.len()..].rsplit_once('.').map_or("", |(name, _)| name);
            environments.insert(name.to_owned(), values);
        }
        findings.extend(report.into_findings());
    }
    environments
}

fn check(item: &Item<'_>, values: &Map<String, Value>, manifest: &Manifest) {
    // What is wrong with the schema is told where that stands.
    let Ok(configuration) = Configuration::of(&manifest.config_schema) else { return };
    let Some(configuration) = configuration else {
        let finding = item.finding("the pack has no `config_schema`, so that these values mean nothing");
        return item.add(finding.expected("a `config_schema` in pack.yaml that has them"));
    };
    for fault in configuration.faults(values) {
        item.report(&fault.pointer, &fault.message, None);
    }
    for name in values.keys().filter(|name| configuration.is_secret(name)) {
        let place = item.descend(&format!("/{name}"), true);
        let finding = place.finding(format!("`{name}` is a secret, and this file is no place for one"));
        place.add(finding.expected("the value set on the server: `attune pack config set`"));
    }
}
