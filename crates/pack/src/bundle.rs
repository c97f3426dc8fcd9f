//! Several packs in one archive, to be installed in one transaction: each in a directory of its own, and `bundle.json`
//! beside them, which lists the directories and says where each pack came from. The last one is the one that was asked
//! for; the others are there because it needs them.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{PackFile, PackFiles};

/// The file that makes an archive a bundle.
const LIST: &str = "bundle.json";
/// More than anybody needs, and few enough to be checked in one transaction.
const MOST: usize = 100;

/// One pack of a bundle.
#[derive(Clone, PartialEq, Eq)]
pub struct Bundled {
    /// The directory that it stands in.
    pub directory: String,
    /// Where it came from.
    pub source: Option<String>,
    /// Settings to be set with it; may be secrets.
    pub config: Map<String, Value>,
    /// Its files, by their paths in the pack.
    pub files: PackFiles,
}

impl fmt::Debug for Bundled {
    /// The names of settings only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundled")
            .field("directory", &self.directory)
            .field("source", &self.source)
            .field("config", &self.config.keys().collect::<Vec<_>>())
            .field("files", &self.files.keys().collect::<Vec<_>>())
            .finish()
    }
}

/// What an archive holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contents {
    /// One pack.
    Pack(PackFiles),
    /// Several, never none.
    Bundle(Vec<Bundled>),
}

/// Why files are no bundle, though they have its list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{LIST}: {0}")]
pub struct BundleError(String);

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    packs: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    directory: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    config: Value,
}

/// Puts packs together.
pub fn join(packs: Vec<Bundled>) -> PackFiles {
    let entry = |pack: &Bundled| Entry {
        directory: pack.directory.clone(),
        source: pack.source.clone(),
        config: if pack.config.is_empty() { Value::Null } else { Value::Object(pack.config.clone()) },
    };
    let list = List { packs: packs.iter().map(entry).collect() };
    // Strings always become JSON.
    let content = serde_json::to_vec(&list).unwrap_or_default();
    let mut files = PackFiles::from([(LIST.to_owned(), PackFile { content, executable: false })]);
    for pack in packs {
        let within = |path: String| format!("{}/{path}", pack.directory);
        files.extend(pack.files.into_iter().map(|(path, file)| (within(path), file)));
    }
    files
}

/// Takes the files of an archive apart; files without a list are those of one pack.
pub fn split(mut files: PackFiles) -> Result<Contents, BundleError> {
    let list = match files.get(LIST) {
        Some(list) if !files.contains_key("pack.yaml") => list.content.clone(),
        _ => return Ok(Contents::Pack(files)),
    };
    files.remove(LIST);
    let list: List = serde_json::from_slice(&list).map_err(|error| BundleError(error.to_string()))?;
    if list.packs.is_empty() || list.packs.len() > MOST {
        return Err(BundleError(format!("{} packs; expected 1 to {MOST}", list.packs.len())));
    }
    let mut packs: Vec<Bundled> = Vec::new();
    for Entry { directory, source, config } in list.packs {
        let config = match config {
            Value::Object(config) => config,
            Value::Null => Map::new(),
            // It may be a secret, and is not repeated.
            _ => return Err(BundleError(format!("the config of {directory:?} is no object"))),
        };
        if directory.is_empty() || directory.contains('/') {
            return Err(BundleError(format!("{directory:?} is no directory at the top of the archive")));
        }
        let prefix = format!("{directory}/");
        let of_pack = files.extract_if(.., |path, _| path.starts_with(&prefix));
        let of_pack: PackFiles =
            of_pack.map(|(path, file)| (path[prefix.len()..].to_owned(), file)).collect();
        if of_pack.is_empty() {
            return Err(BundleError(format!("there is nothing in {directory:?}, or it is listed twice")));
        }
        packs.push(Bundled { directory, source, config, files: of_pack });
    }
    match files.keys().next() {
        Some(path) => Err(BundleError(format!("{path:?} is in none of the directories that are listed"))),
        None => Ok(Contents::Bundle(packs)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(texts: &[(&str, &str)]) -> PackFiles {
        let file = |text: &str| PackFile { content: text.as_bytes().to_vec(), executable: false };
        texts.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect()
    }

    fn bundled(directory: &str, source: Option<&str>) -> Bundled {
        Bundled {
            directory: directory.to_owned(),
            source: source.map(str::to_owned),
            config: Map::new(),
            files: files(&[("pack.yaml", directory), ("actions/a.sh", "")]),
        }
    }

    #[test]
    fn test_what_is_joined_is_split_again() {
        let config = Map::from_iter([("port".to_owned(), 443.into())]);
        let packs = vec![
            bundled("linux", Some("https://example.org/linux.tgz")),
            Bundled { config, ..bundled("ops", None) },
        ];
        assert_eq!(split(join(packs.clone())).unwrap(), Contents::Bundle(packs));
    }

    #[test]
    fn test_one_pack_is_no_bundle() {
        let pack = files(&[("pack.yaml", ""), ("bundle.json", "of its own")]);
        assert_eq!(split(pack.clone()).unwrap(), Contents::Pack(pack));
    }

    #[test]
    fn test_a_faulty_list_is_refused() {
        let check = |list: &str, expect: &str| {
            let files = files(&[("bundle.json", list), ("a/pack.yaml", ""), ("b/pack.yaml", "")]);
            let error = split(files).unwrap_err().to_string();
            assert!(error.contains(expect), "{list}: {error}");
        };
        check("{}", "missing field `packs`");
        check(r#"{"packs": []}"#, "0 packs");
        check(r#"{"packs": [{"directory": "../a"}]}"#, "no directory at the top");
        check(r#"{"packs": [{"directory": "c"}]}"#, "nothing in \"c\"");
        check(r#"{"packs": [{"directory": "a"}, {"directory": "a"}]}"#, "listed twice");
        check(r#"{"packs": [{"directory": "a"}]}"#, "\"b/pack.yaml\" is in none");
        check(r#"{"packs": [{"directory": "a", "url": "x"}]}"#, "unknown field");
        check(r#"{"packs": [{"directory": "a", "config": "hunter2"}]}"#, "the config of \"a\" is no object");
    }
}
