//! `artifacts` of an action: what its runs leave under which name.

use attune_expr::form;
use attune_expr::form::{Described, Form};
use serde_json::{Value, json};

use crate::definition::{ArtifactDefinition, ArtifactScope, ArtifactType};
use crate::form::{FileForm, Member, Readable};
use crate::reader::{Item, MappingReader, shortened};
use crate::value::{Text, Whole};

/// The longest name, which is a part of the artifact's ref.
const LONGEST: usize = 100;
/// More are a mistake.
const MOST: u32 = 100_000;

form! {
    /// Something that runs leave under a name.
    struct ArtifactForm<'f> of MappingReader<'f> {
        /// The last part of the artifact's ref.
        required name: ArtifactName,
        /// What it holds; `file` unless said.
        optional r#type: ArtifactType,
        /// What it is.
        optional description: Text,
        /// Whose contents become versions of one another: of all runs of the action, unless each execution is to have its own.
        optional scope: ArtifactScope,
        /// How many of the newest versions are kept; all unless said.
        optional keep_versions: Whole<1, MOST>,
        /// For how many days versions are kept; unless said, for ever, or for 30 days where each execution has its own.
        optional keep_days: Whole<1, MOST>,
    }
}

impl Described for ArtifactDefinition {
    fn schema() -> Value {
        ArtifactForm::shape().schema()
    }
}

impl Readable for ArtifactDefinition {
    type Value = Self;

    fn read(item: &Item<'_>) -> Option<Self> {
        let form = ArtifactForm::of(item)?;
        let name = form.name.read();
        let artifact_type = form.r#type.read();
        let description = form.description.read();
        let scope = form.scope.read();
        let (keep_versions, keep_days) = (form.keep_versions.read(), form.keep_days.read());
        Some(Self {
            name: name?,
            artifact_type: artifact_type.unwrap_or(ArtifactType::File),
            description,
            scope: scope.unwrap_or(ArtifactScope::Action),
            keep_versions,
            keep_days,
        })
    }
}

/// `artifacts`, each name once.
pub(super) fn artifacts(member: &Member<'_, Vec<ArtifactDefinition>>) -> Vec<ArtifactDefinition> {
    let items = member.items().unwrap_or_default();
    let mut found: Vec<ArtifactDefinition> = Vec::with_capacity(items.len());
    for item in &items {
        let Some(artifact) = ArtifactDefinition::read(item) else { continue };
        if found.iter().any(|other| other.name == artifact.name) {
            let name = item.descend("/name", false);
            name.add(name.finding(format!("the artifact `{}` is declared twice", artifact.name)));
            continue;
        }
        found.push(artifact);
    }
    found
}

/// The name of an artifact.
#[derive(Debug)]
struct ArtifactName;

impl Described for ArtifactName {
    fn schema() -> Value {
        json!({"type": "string", "pattern": format!("^[a-z0-9_.-]{{1,{LONGEST}}}$")})
    }
}

impl Readable for ArtifactName {
    type Value = String;

    fn read(item: &Item<'_>) -> Option<String> {
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form::alike::check;

    #[test]
    fn test_patterns_say_what_is_read() {
        check::<ArtifactName>("[a0_.A -]{0,3}(a{97,100})?");
    }
}
