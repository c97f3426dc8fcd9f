//! `artifacts` of an action: what its runs leave under which name.

use crate::definition::{ArtifactDefinition, ArtifactScope, ArtifactType};
use crate::reader::{Item, MappingReader, shortened};

/// The longest name, which is a part of the artifact's ref.
const LONGEST: usize = 100;
/// More are a mistake.
const MOST: u64 = 100_000;

/// `artifacts`.
pub(super) fn artifacts(mapping: &MappingReader<'_>) -> Vec<ArtifactDefinition> {
    let items = mapping.optional("artifacts").and_then(|item| item.list()).unwrap_or_default();
    let mut found: Vec<ArtifactDefinition> = Vec::with_capacity(items.len());
    for item in &items {
        let Some(artifact) = artifact(item) else { continue };
        if found.iter().any(|other| other.name == artifact.name) {
            let name = item.descend("/name", false);
            name.add(name.finding(format!("the artifact `{}` is declared twice", artifact.name)));
            continue;
        }
        found.push(artifact);
    }
    found
}

fn artifact(item: &Item<'_>) -> Option<ArtifactDefinition> {
    let mapping = item.mapping()?;
    let name = mapping.required("name").and_then(|item| name(&item));
    let artifact_type =
        mapping.optional("type").and_then(|item| item.choice(ArtifactType::ALL, ArtifactType::as_str));
    let description = mapping.optional_text("description");
    let scope =
        mapping.optional("scope").and_then(|item| item.choice(ArtifactScope::ALL, ArtifactScope::as_str));
    let keep_versions = mapping.optional("keep_versions").and_then(|item| count(&item));
    let keep_days = mapping.optional("keep_days").and_then(|item| count(&item));
    mapping.close();
    Some(ArtifactDefinition {
        name: name?,
        artifact_type: artifact_type.unwrap_or(ArtifactType::File),
        description,
        scope: scope.unwrap_or(ArtifactScope::Action),
        keep_versions,
        keep_days,
    })
}

fn name(item: &Item<'_>) -> Option<String> {
    let given = item.text()?;
    let fits = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '_' | '.' | '-');
    if given.len() <= LONGEST && given.chars().all(fits) {
        return Some(given.to_owned());
    }
    let finding = item.finding(format!("`{}` cannot name an artifact", shortened(given)));
    item.add(
        finding.expected("up to 100 lower-case letters, digits, `_`, `.` and `-`, such as `report.html`"),
    );
    None
}

fn count(item: &Item<'_>) -> Option<u32> {
    let number = item.number_or_text().and_then(|given| given.ok()).and_then(serde_json::Number::as_u64);
    let count = number.filter(|count| (1..=MOST).contains(count)).and_then(|count| u32::try_from(count).ok());
    if count.is_none() {
        let finding = item.finding(format!("`{}` is {}", item.name(), shortened(&item.json().to_string())));
        item.add(finding.expected("a whole number from 1 to 100000"));
    }
    count
}
