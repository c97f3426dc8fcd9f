//! The file of an index.

use std::collections::BTreeMap;

use attune_expr::form;
use attune_expr::form::{Described, Form};
use semver::VersionReq;
use serde_json::{Value, json};

use crate::finding::Finding;
use crate::form::{FileForm, Member, Readable};
use crate::reader::{FileReport, Item, MappingReader, shortened};
use crate::reference;
use crate::value::{Dependencies, PackRef, Range, SemanticVersion, Text};

use super::{GIT, Index, IndexFault, IndexedPack, IndexedVersion};

form! {
    /// An index of packs: which there are, in which versions, and where each is to be had.
    pub(crate) struct IndexForm<'f> of MappingReader<'f> {
        /// The packs by their refs.
        required packs: Packs,
    }
}

form! {
    /// A pack.
    struct PackForm<'f> of MappingReader<'f> {
        /// What it is for.
        optional description: Text,
        /// Words to find it by.
        optional tags: Vec<Text>,
        /// Where to read more.
        optional homepage: Text,
        /// Its versions, in any order.
        required versions: Vec<IndexedVersion>,
    }
}

form! {
    /// A version, and where it is to be had: an archive or a commit.
    struct VersionForm<'f> of MappingReader<'f> {
        /// The semantic version.
        required version: SemanticVersion,
        /// Path or URL of an archive, relative to the index where it is not absolute; or the URL of a git repository with
        /// `git+` before it.
        required source: Text,
        /// SHA-256 of the archive; only for archives.
        optional sha256: Sum,
        /// The whole commit; only for git.
        optional commit: Commit,
        /// Where in the repository the pack is; only for git.
        optional subdirectory: Text,
        /// The packs that it needs, each with a range of versions.
        optional dependencies: Dependencies,
    }
}

impl Index {
    /// Reads an index from YAML or JSON, and gives every fault.
    pub fn parse(text: &str) -> Result<Self, Vec<IndexFault>> {
        let report = FileReport::new("");
        let packs = crate::read::parse(&report, text.as_bytes())
            .and_then(|tree| IndexForm::of(&Item::root(&report, &tree)).map(|form| form.packs.read()));
        let mut findings = report.into_findings();
        match packs.flatten() {
            Some(packs) if findings.is_empty() => Ok(Self { packs }),
            _ => {
                findings.sort();
                findings.dedup();
                Err(findings.iter().map(IndexFault::of).collect())
            }
        }
    }
}

impl IndexFault {
    fn of(finding: &Finding) -> Self {
        let rest = match (&finding.suggestion, &finding.expected) {
            (Some(suggestion), _) => format!("; did you mean `{suggestion}`?"),
            (None, Some(expected)) => format!("; expected {expected}"),
            (None, None) => String::new(),
        };
        Self { place: format!("line {}", finding.line), message: format!("{}{rest}", finding.message) }
    }
}

/// Packs by their refs.
#[derive(Debug)]
pub(crate) struct Packs;

impl Described for Packs {
    fn schema() -> Value {
        json!({
            "type": "object",
            "propertyNames": PackRef::schema(),
            "additionalProperties": IndexedPack::schema(),
        })
    }
}

impl Readable for Packs {
    type Value = BTreeMap<String, IndexedPack>;

    fn read(item: &Item<'_>) -> Option<Self::Value> {
        let mut packs = BTreeMap::new();
        for (name, key, value) in item.members()? {
            if !reference::is_pack(name) {
                let finding = key.finding(format!("`{}` is not the ref of a pack", shortened(name)));
                key.add(finding.expected(reference::PACK_FORM));
            }
            packs.extend(IndexedPack::read(&value).map(|pack| (name.to_owned(), pack)));
        }
        Some(packs)
    }
}

impl Described for IndexedPack {
    fn schema() -> Value {
        PackForm::shape().schema()
    }
}

impl Readable for IndexedPack {
    type Value = Self;

    fn read(item: &Item<'_>) -> Option<Self> {
        let form = PackForm::of(item)?;
        let description = form.description.read();
        let tags = form.tags.read().unwrap_or_default();
        let homepage = form.homepage.read();
        let mut versions: Vec<IndexedVersion> = Vec::new();
        for item in form.versions.items()? {
            let Some(version) = IndexedVersion::read(&item) else { continue };
            if versions.iter().any(|known| known.version == version.version) {
                let message = format!("the version {} is listed twice", version.version);
                item.add(item.finding(message).expected("every version once"));
            }
            versions.push(version);
        }
        Some(Self { description, tags, homepage, versions })
    }
}

impl Described for IndexedVersion {
    fn schema() -> Value {
        let mut schema = VersionForm::shape().object();
        let without =
            |keys: &[&str]| -> Vec<Value> { keys.iter().map(|key| json!({"required": [key]})).collect() };
        schema.insert("if".to_owned(), json!({"properties": {"source": {"pattern": r"^git\+"}}}));
        schema.insert("then".to_owned(), json!({"required": ["commit"], "not": {"required": ["sha256"]}}));
        schema.insert(
            "else".to_owned(),
            json!({"required": ["sha256"], "not": {"anyOf": without(&["commit", "subdirectory"])}}),
        );
        Value::Object(schema)
    }
}

impl Readable for IndexedVersion {
    type Value = Self;

    fn read(item: &Item<'_>) -> Option<Self> {
        let form = VersionForm::of(item)?;
        let version = form.version.read();
        let source = form.source.read();
        let (sha256, commit) = (form.sha256.read(), form.commit.read());
        let subdirectory = form.subdirectory.read();
        if let Some(source) = &source {
            if source.starts_with(GIT) {
                if !form.commit.is_given() {
                    let finding = item.finding("the key `commit` is missing");
                    item.add(
                        finding
                            .expected("a whole commit: without it a repository may hold anything tomorrow"),
                    );
                }
                form.sha256.without_effect("for git, where `commit` says what it is");
            } else {
                if !form.sha256.is_given() {
                    let finding = item.finding("the key `sha256` is missing");
                    item.add(finding.expected("that of the archive"));
                }
                let why = "without `git+` before the source, which says that it is in git";
                form.commit.without_effect(why);
                form.subdirectory.without_effect(why);
            }
        }
        let dependencies = dependencies(&form.dependencies);
        Some(Self { version: version?, source: source?, sha256, commit, subdirectory, dependencies })
    }
}

fn dependencies(member: &Member<'_, Dependencies>) -> BTreeMap<String, VersionReq> {
    let mut dependencies = BTreeMap::new();
    for (name, key, value) in member.item().and_then(Item::members).unwrap_or_default() {
        if !reference::is_pack(name) {
            let finding = key.finding(format!("`{}` cannot name a pack", shortened(name)));
            key.add(finding.expected(reference::PACK_FORM));
        }
        dependencies.extend(Range::read(&value).map(|range| (name.to_owned(), range.value)));
    }
    dependencies
}

/// The checksum of an archive.
#[derive(Debug)]
struct Sum;

impl Described for Sum {
    fn schema() -> Value {
        json!({"type": "string", "pattern": "^[0-9a-f]{64}$"})
    }
}

impl Readable for Sum {
    type Value = String;

    fn read(item: &Item<'_>) -> Option<String> {
        digits(item, &[64], "64 lower-case hexadecimal digits")
    }
}

/// A commit.
#[derive(Debug)]
struct Commit;

impl Described for Commit {
    fn schema() -> Value {
        json!({"type": "string", "pattern": "^([0-9a-f]{40}|[0-9a-f]{64})$"})
    }
}

impl Readable for Commit {
    type Value = String;

    fn read(item: &Item<'_>) -> Option<String> {
        digits(item, &[40, 64], "a whole commit in lower-case hexadecimal digits")
    }
}

fn digits(item: &Item<'_>, lengths: &[usize], expected: &str) -> Option<String> {
    let text = item.text()?;
    let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if lengths.contains(&text.len()) && text.bytes().all(is_digit) {
        return Some(text.to_owned());
    }
    let finding = item.finding(format!("`{}` is `{}`", item.name(), shortened(text)));
    item.add(finding.expected(expected));
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form::alike::check;

    #[test]
    fn test_patterns_say_what_is_read() {
        check::<Sum>("[0a]{63,65}A?");
        check::<Commit>("([0a]{39,41}|[0a]{63,65})g?");
    }
}
