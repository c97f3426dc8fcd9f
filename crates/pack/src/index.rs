//! An index of packs: which there are, in which versions, and where each is to be had with what checksum. And what of it
//! has to be installed for somebody who asks for a pack.

mod file;

use std::collections::{BTreeMap, BTreeSet};

use semver::{Version, VersionReq};
use serde::Serialize;

pub(crate) use file::IndexForm;

/// The largest index that is read.
pub const MOST_BYTES: usize = 32 << 20;
/// What stands before the URL of a git repository.
const GIT: &str = "git+";
/// Choosing goes round until nothing changes any more; a choice that does not settle is given up.
const MOST_ROUNDS: usize = 64;

/// An index, as its file has it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Index {
    /// The packs by ref.
    pub packs: BTreeMap<String, IndexedPack>,
}

/// A pack in an index.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct IndexedPack {
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Words to find it by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Where to read more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub homepage: Option<String>,
    /// In any order.
    pub versions: Vec<IndexedVersion>,
}

/// A version of a pack.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct IndexedVersion {
    /// The version.
    pub version: Version,
    /// Path or URL of an archive, relative to the index where it is not absolute; or the URL of a git repository, with
    /// `git+` before it.
    pub source: String,
    /// SHA-256 of the archive, in hexadecimal digits; always and only for archives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The commit; always and only for git.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Where in the repository the pack is; only for git.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subdirectory: Option<String>,
    /// The packs that it needs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub dependencies: BTreeMap<String, VersionReq>,
}

/// Why an index cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct IndexFault {
    /// The pack and version that it is about, or the place in the file.
    pub place: String,
    /// What is wrong.
    pub message: String,
}

impl Index {
    /// The packs in whose ref, description or tags each of the words is found.
    pub fn search<'a>(&'a self, words: &'a [String]) -> impl Iterator<Item = (&'a str, &'a IndexedPack)> {
        self.packs
            .iter()
            .filter(|(name, pack)| pack.matches(name, words))
            .map(|(name, pack)| (name.as_str(), pack))
    }
}

impl IndexedPack {
    /// The latest version that is not a preview, else the latest of all.
    pub fn latest(&self) -> Option<&IndexedVersion> {
        let latest = |previews: bool| {
            let candidates = self.versions.iter().filter(|v| previews || v.version.pre.is_empty());
            candidates.max_by(|a, b| a.version.cmp(&b.version))
        };
        latest(false).or_else(|| latest(true))
    }

    fn matches(&self, name: &str, words: &[String]) -> bool {
        let texts = std::iter::once(name).chain(self.description.as_deref());
        let texts: Vec<String> =
            texts.chain(self.tags.iter().map(String::as_str)).map(str::to_lowercase).collect();
        words.iter().all(|word| texts.iter().any(|text| text.contains(&word.to_lowercase())))
    }
}

impl IndexedVersion {
    /// Whether it is in a git repository.
    pub fn is_git(&self) -> bool {
        self.source.starts_with(GIT)
    }
}

/// The version of an installed pack, and what it needs.
pub type InstalledPack = (Version, BTreeMap<String, VersionReq>);

/// What is there already: installed packs by ref.
pub type Installed = BTreeMap<String, InstalledPack>;

/// A pack that has to be installed.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// Its ref.
    pub name: String,
    /// Which of the indexes has it.
    pub index: usize,
    /// The version that was chosen.
    pub version: IndexedVersion,
}

/// Why nothing can be chosen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    /// No index has the pack.
    #[error("no index has the pack `{name}`, which {wanted_by}")]
    Unknown {
        /// The pack.
        name: String,
        /// `you asked for`, or `x 1.0.0 needs`.
        wanted_by: String,
    },
    /// No version will do for all.
    #[error("no version of `{name}` will do: {}", .wishes.join("; "))]
    NoVersion {
        /// The pack.
        name: String,
        /// What each wants.
        wishes: Vec<String>,
    },
    /// The wishes of the packs go round in a circle.
    #[error("the packs cannot agree on versions of {}", .names.join(", "))]
    Unsettled {
        /// The packs that keep changing.
        names: Vec<String>,
    },
}

/// What has to be installed so that these wishes come true: packs that are wanted, each with the versions that will do. For
/// what a pack needs, what is installed is left alone where it will do; what is asked for itself is taken in the latest
/// version. What is needed stands before what needs it.
pub fn choose(
    indexes: &[Index],
    wanted: &BTreeMap<String, VersionReq>,
    needed_by: Option<(&str, &Version)>,
    installed: &Installed,
) -> Result<Vec<Choice>, ChoiceError> {
    let chooser = Chooser { indexes, wanted, needed_by, installed };
    let mut chosen: BTreeMap<String, Choice> = BTreeMap::new();
    for _ in 0..MOST_ROUNDS {
        let next = chooser.round(&chosen)?;
        if next == chosen {
            return Ok(ordered(&chosen));
        }
        chosen = next;
    }
    Err(ChoiceError::Unsettled { names: chosen.into_keys().collect() })
}

struct Chooser<'a> {
    indexes: &'a [Index],
    wanted: &'a BTreeMap<String, VersionReq>,
    /// The pack that needs what is wanted; None: a person asked for it.
    needed_by: Option<(&'a str, &'a Version)>,
    installed: &'a Installed,
}

impl Chooser<'_> {
    fn round(&self, chosen: &BTreeMap<String, Choice>) -> Result<BTreeMap<String, Choice>, ChoiceError> {
        let mut names: BTreeSet<&str> = self.wanted.keys().map(String::as_str).collect();
        for choice in chosen.values() {
            names.extend(choice.version.dependencies.keys().map(String::as_str));
        }
        let mut next = BTreeMap::new();
        for name in names {
            let wishes = self.wishes(name, chosen);
            let fits = |version: &Version| wishes.iter().all(|(_, range)| range.matches(version));
            let is_asked_for = self.needed_by.is_none() && self.wanted.contains_key(name);
            if !is_asked_for && self.installed.get(name).is_some_and(|(version, _)| fits(version)) {
                continue;
            }
            let candidates = self.indexes.iter().enumerate().filter_map(|(at, index)| {
                Some(index.packs.get(name)?.versions.iter().map(move |version| (at, version)))
            });
            let candidates: Vec<_> = candidates.flatten().collect();
            if candidates.is_empty() {
                let wanted_by = wishes.first().map(|(who, _)| who.clone()).unwrap_or_default();
                return Err(ChoiceError::Unknown { name: name.to_owned(), wanted_by });
            }
            // The first index counts where several have the same version.
            let fitting = candidates.into_iter().filter(|(_, version)| fits(&version.version));
            let best = fitting
                .max_by(|(a_index, a), (b_index, b)| a.version.cmp(&b.version).then(b_index.cmp(a_index)));
            let Some((index, version)) = best else {
                let wishes = wishes.into_iter().map(|(who, range)| format!("{who} {range}")).collect();
                return Err(ChoiceError::NoVersion { name: name.to_owned(), wishes });
            };
            let choice = Choice { name: name.to_owned(), index, version: version.clone() };
            next.insert(name.to_owned(), choice);
        }
        Ok(next)
    }

    /// Who wants which versions of a pack.
    fn wishes(&self, name: &str, chosen: &BTreeMap<String, Choice>) -> Vec<(String, VersionReq)> {
        let mut wishes = Vec::new();
        if let Some(range) = self.wanted.get(name) {
            let who = match self.needed_by {
                Some((pack, version)) => format!("{pack} {version} needs"),
                None => "you asked for".to_owned(),
            };
            wishes.push((who, range.clone()));
        }
        for choice in chosen.values() {
            if let Some(range) = choice.version.dependencies.get(name) {
                wishes.push((format!("{} {} needs", choice.name, choice.version.version), range.clone()));
            }
        }
        for (pack, (version, dependencies)) in self.installed {
            // What becomes another version no longer needs what it needs now.
            if chosen.contains_key(pack) || self.needed_by.is_some_and(|(name, _)| name == pack) {
                continue;
            }
            if let Some(range) = dependencies.get(name) {
                wishes.push((format!("the installed {pack} {version} needs"), range.clone()));
            }
        }
        wishes
    }
}

/// What is needed before what needs it; where packs need one another, by name.
fn ordered(chosen: &BTreeMap<String, Choice>) -> Vec<Choice> {
    fn visit(
        name: &str,
        chosen: &BTreeMap<String, Choice>,
        seen: &mut BTreeSet<String>,
        out: &mut Vec<Choice>,
    ) {
        let Some(choice) = chosen.get(name) else { return };
        if !seen.insert(name.to_owned()) {
            return;
        }
        for needed in choice.version.dependencies.keys() {
            visit(needed, chosen, seen, out);
        }
        out.push(choice.clone());
    }
    let (mut seen, mut out) = (BTreeSet::new(), Vec::new());
    for name in chosen.keys() {
        visit(name, chosen, &mut seen, &mut out);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(text: &str) -> Index {
        Index::parse(text).unwrap()
    }

    /// A pack: its name, its version, and what it needs.
    type Line<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

    /// The packs, each with an archive of its own.
    fn packs(lines: &[Line<'_>]) -> Index {
        let mut index = Index::default();
        for (name, version, needs) in lines {
            let dependencies = needs.iter().map(|(name, range)| ((*name).to_owned(), range.parse().unwrap()));
            let version = IndexedVersion {
                version: version.parse().unwrap(),
                source: format!("{name}-{version}.tar.gz"),
                sha256: Some("0".repeat(64)),
                commit: None,
                subdirectory: None,
                dependencies: dependencies.collect(),
            };
            let empty =
                || IndexedPack { description: None, tags: Vec::new(), homepage: None, versions: Vec::new() };
            index.packs.entry((*name).to_owned()).or_insert_with(empty).versions.push(version);
        }
        index
    }

    fn installed(lines: &[Line<'_>]) -> Installed {
        let pack = |(name, version, needs): &Line<'_>| {
            let needs = needs.iter().map(|(name, range)| ((*name).to_owned(), range.parse().unwrap()));
            ((*name).to_owned(), (version.parse().unwrap(), needs.collect()))
        };
        lines.iter().map(pack).collect()
    }

    #[test]
    fn test_a_pack_that_becomes_another_version_no_longer_needs_what_it_did() {
        let index = packs(&[("linux", "1.0.0", &[]), ("linux", "2.0.0", &[])]);
        let there = installed(&[("ops", "1.0.0", &[("linux", "^1")]), ("linux", "1.0.0", &[])]);
        let wanted = BTreeMap::from([("linux".to_owned(), "^2".parse().unwrap())]);
        let next = Version::new(2, 0, 0);
        let chosen = choose(std::slice::from_ref(&index), &wanted, Some(("ops", &next)), &there).unwrap();
        assert_eq!(chosen[0].version.version, next);
        let other = choose(std::slice::from_ref(&index), &wanted, Some(("web", &next)), &there).unwrap_err();
        assert_eq!(
            other.to_string(),
            "no version of `linux` will do: web 2.0.0 needs ^2; the installed ops 1.0.0 needs ^1"
        );
    }

    /// Chooses for somebody who asks for a pack in a range of versions.
    fn asked(index: &Index, name: &str, range: &str, installed: &Installed) -> Result<Vec<String>, String> {
        let wanted = BTreeMap::from([(name.to_owned(), range.parse().unwrap())]);
        let chosen = choose(std::slice::from_ref(index), &wanted, None, installed);
        let told = |choice: Choice| format!("{} {}", choice.name, choice.version.version);
        chosen.map(|chosen| chosen.into_iter().map(told).collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn test_an_index_is_read_from_yaml_and_json() {
        let sum = "a".repeat(64);
        let yaml = format!(
            "packs:\n  linux:\n    description: Machines\n    tags: [ssh]\n    versions:\n      - version: 1.2.0\n        \
             source: linux.tar.gz\n        sha256: {sum}\n        dependencies: {{core: \">=0.1\"}}\n"
        );
        let read = index(&yaml);
        assert_eq!(index(&serde_json::to_string(&read).unwrap()), read);
        let version = &read.packs["linux"].versions[0];
        assert_eq!((version.version.to_string(), version.is_git()), ("1.2.0".to_owned(), false));
        assert_eq!(version.dependencies["core"].to_string(), ">=0.1");
    }

    #[test]
    fn test_versions_say_what_they_are() {
        let check = |version: &str, expect: &str| {
            let text = format!("packs: {{ops: {{versions: [{{version: 1.0.0, {version}}}]}}}}");
            let faults = Index::parse(&text).unwrap_err();
            assert!(faults.iter().any(|fault| fault.to_string().contains(expect)), "{version}: {faults:?}");
        };
        check("source: a.tar.gz", "the key `sha256` is missing");
        check("source: a.tar.gz, sha256: abc", "expected 64 lower-case");
        check("source: git+https://example.org/a.git", "the key `commit` is missing");
        check("source: git+https://example.org/a.git, commit: main", "expected a whole commit");
        check("source: a.tar.gz, sum: abc", "unknown key `sum`");
        let twice = format!("{{version: 1.0.0, source: a, sha256: {}}}", "0".repeat(64));
        let faults = Index::parse(&format!("packs: {{ops: {{versions: [{twice}, {twice}]}}}}")).unwrap_err();
        assert!(faults[0].to_string().starts_with("line 1: the version 1.0.0 is listed twice"), "{faults:?}");
        assert!(Index::parse("packs: {Ops: {versions: []}}").unwrap_err()[0].message.contains("not the ref"));
    }

    #[test]
    fn test_words_are_found_in_refs_descriptions_and_tags() {
        let mut index = packs(&[("linux", "1.0.0", &[]), ("ops", "1.0.0", &[])]);
        index.packs.get_mut("ops").unwrap().description = Some("Pages people".to_owned());
        index.packs.get_mut("ops").unwrap().tags = vec!["On-call".to_owned()];
        let found = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            index.search(&words).map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(found(&[]), ["linux", "ops"]);
        assert_eq!(found(&["PEOPLE", "on-call"]), ["ops"]);
        assert_eq!(found(&["people", "linux"]), [""; 0]);
    }

    #[test]
    fn test_the_latest_version_that_will_do_is_chosen_with_what_it_needs() {
        let index = packs(&[
            ("ops", "1.0.0", &[]),
            ("ops", "1.10.0", &[("linux", "^1")]),
            ("ops", "1.9.0", &[]),
            ("ops", "2.0.0-rc.1", &[]),
            ("linux", "1.0.0", &[]),
            ("linux", "1.4.0", &[("ssh", "*")]),
            ("linux", "2.0.0", &[]),
            ("ssh", "0.1.0", &[]),
        ]);
        let none = Installed::new();
        assert_eq!(asked(&index, "ops", "*", &none).unwrap(), ["ssh 0.1.0", "linux 1.4.0", "ops 1.10.0"]);
        assert_eq!(asked(&index, "ops", "=1.9.0", &none).unwrap(), ["ops 1.9.0"]);
        // What is there and will do stays.
        let there = installed(&[("linux", "1.0.0", &[])]);
        assert_eq!(asked(&index, "ops", "*", &there).unwrap(), ["ops 1.10.0"]);
        let old = installed(&[("linux", "0.9.0", &[])]);
        assert_eq!(asked(&index, "ops", "*", &old).unwrap(), ["ssh 0.1.0", "linux 1.4.0", "ops 1.10.0"]);
    }

    #[test]
    fn test_what_cannot_be_agreed_on_is_told_with_who_wants_what() {
        let index = packs(&[
            ("ops", "1.0.0", &[("linux", "^2"), ("web", "*")]),
            ("web", "1.0.0", &[("linux", "^1")]),
            ("linux", "1.0.0", &[]),
            ("linux", "2.0.0", &[]),
            ("lost", "1.0.0", &[("nowhere", "*")]),
        ]);
        let none = Installed::new();
        assert_eq!(
            asked(&index, "ops", "*", &none).unwrap_err(),
            "no version of `linux` will do: ops 1.0.0 needs ^2; web 1.0.0 needs ^1"
        );
        assert_eq!(
            asked(&index, "lost", "*", &none).unwrap_err(),
            "no index has the pack `nowhere`, which lost 1.0.0 needs"
        );
        let there = installed(&[("others", "3.0.0", &[("linux", "^1")])]);
        assert_eq!(
            asked(&index, "linux", "^2", &there).unwrap_err(),
            "no version of `linux` will do: you asked for ^2; the installed others 3.0.0 needs ^1"
        );
    }
}
