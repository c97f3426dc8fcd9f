//! What a pack needs besides its own files, from the files that its language has for that.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use attune_pack::{ConstraintError, VersionConstraint};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Constraint, Interpreter, Language, Wanted};

/// Raised when environments are built in another way: those that are there are then built anew.
const FORMAT: &str = "1";

/// Why the needs of a pack cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequirementsError {
    #[error("the file {file} of pack {pack_ref} cannot be read: {problem}")]
    Unreadable { pack_ref: String, file: String, problem: String },
    #[error("the file {file} of pack {pack_ref} is not {expected}: {problem}")]
    Syntax { pack_ref: String, file: String, expected: &'static str, problem: String },
    #[error(
        "the file {file} of pack {pack_ref} names {named}, which the pack does not have: add the file or remove the line"
    )]
    Missing { pack_ref: String, file: String, named: String },
    #[error(
        "pyproject.toml of pack {pack_ref} says that its dependencies are dynamic: list them under `[project]`, or in a \
         requirements.txt"
    )]
    Dynamic { pack_ref: String },
}

/// What a pack needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Requirements {
    pub(super) source: Source,
    /// What the interpreter's version has to fulfil for the pack's own files.
    pub(super) constraint: Option<Constraint>,
    language: Language,
    /// SHA-256 of everything that decides what is installed.
    digest: [u8; 32],
}

/// Where it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    RequirementsTxt,
    /// The lines of `[project] dependencies`.
    Pyproject(Vec<String>),
    Package {
        locked: bool,
    },
}

impl Source {
    /// The file, for people.
    pub(super) fn file(&self) -> &'static str {
        match self {
            Self::RequirementsTxt => "requirements.txt",
            Self::Pyproject(_) => "pyproject.toml",
            Self::Package { .. } => "package.json",
        }
    }
}

impl Requirements {
    /// None where the pack needs nothing.
    pub(super) fn read(wanted: &Wanted<'_>) -> Result<Option<Self>, RequirementsError> {
        let pack = PackDirectory { pack_ref: wanted.pack_ref, path: wanted.files };
        match wanted.language {
            Language::Python => match requirements_txt(&pack, wanted.checksum)? {
                Some(requirements) => Ok(Some(requirements)),
                None => pyproject(&pack, wanted.checksum),
            },
            Language::Node => package_json(&pack, wanted.checksum),
        }
    }

    /// The name of the environment that these make with this interpreter.
    pub(super) fn key(&self, interpreter: &Interpreter) -> String {
        let mut hash = Sha256::new();
        for part in [
            FORMAT.as_bytes(),
            self.language.as_str().as_bytes(),
            interpreter.path.as_os_str().as_encoded_bytes(),
            interpreter.version_text().as_bytes(),
            &self.digest,
        ] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hex::encode(&hash.finalize()[..16])
    }
}

#[derive(Debug, Clone, Copy)]
struct PackDirectory<'a> {
    pack_ref: &'a str,
    path: &'a Path,
}

impl PackDirectory<'_> {
    /// None where the pack has no such file.
    fn text(&self, file: &str) -> Result<Option<String>, RequirementsError> {
        match std::fs::read_to_string(self.path.join(file)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(RequirementsError::Unreadable {
                pack_ref: self.pack_ref.to_owned(),
                file: file.to_owned(),
                problem: error.to_string(),
            }),
        }
    }

    fn syntax(&self, file: &str, expected: &'static str, problem: &dyn fmt::Display) -> RequirementsError {
        RequirementsError::Syntax {
            pack_ref: self.pack_ref.to_owned(),
            file: file.to_owned(),
            expected,
            problem: problem.to_string(),
        }
    }
}

/// Everything that decides what is installed. What lies in the pack itself counts with all of the pack's files.
#[derive(Debug)]
struct Inputs<'a> {
    hash: Sha256,
    checksum: &'a str,
    is_local: bool,
}

impl<'a> Inputs<'a> {
    fn new(checksum: &'a str) -> Self {
        Self { hash: Sha256::new(), checksum, is_local: false }
    }

    fn add(&mut self, name: &str, content: &str) {
        for part in [name, content] {
            self.hash.update((part.len() as u64).to_be_bytes());
            self.hash.update(part);
        }
    }

    fn digest(mut self) -> [u8; 32] {
        if self.is_local {
            self.hash.update(self.checksum);
        }
        self.hash.finalize().into()
    }
}

fn requirements_txt(
    pack: &PackDirectory<'_>,
    checksum: &str,
) -> Result<Option<Requirements>, RequirementsError> {
    const FILE: &str = "requirements.txt";
    let Some(first) = pack.text(FILE)? else { return Ok(None) };
    if lines(&first).next().is_none() {
        return Ok(None);
    }
    let mut inputs = Inputs::new(checksum);
    let mut seen = BTreeSet::from([FILE.to_owned()]);
    let mut waiting = vec![(FILE.to_owned(), first)];
    while let Some((file, text)) = waiting.pop() {
        inputs.add(&file, &text);
        for line in lines(&text) {
            let Some(named) = included(line) else {
                inputs.is_local |= is_local(line);
                continue;
            };
            // Relative to the file that names it, as pip has it.
            let path = Path::new(&file).parent().unwrap_or(Path::new("")).join(named);
            let path = path.to_string_lossy().into_owned();
            if !named.contains("://") && seen.insert(path.clone()) {
                let missing = || RequirementsError::Missing {
                    pack_ref: pack.pack_ref.to_owned(),
                    file: file.clone(),
                    named: path.clone(),
                };
                let text = pack.text(&path)?.ok_or_else(missing)?;
                waiting.push((path, text));
            }
        }
    }
    Ok(Some(Requirements {
        source: Source::RequirementsTxt,
        constraint: None,
        language: Language::Python,
        digest: inputs.digest(),
    }))
}

/// The lines that say something.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(|line| line.split_once(" #").map_or(line, |(line, _)| line).trim())
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The file that a line of a requirements file includes.
fn included(line: &str) -> Option<&str> {
    ["--requirement", "--constraint", "-r", "-c"].iter().find_map(|option| {
        let rest = line.strip_prefix(option)?;
        let named = rest.trim_start_matches(['=', ' ', '\t']);
        (!named.is_empty()).then_some(named)
    })
}

/// Whether a line installs something out of the pack itself.
fn is_local(line: &str) -> bool {
    let word = line.trim_start_matches("-e ").trim_start_matches("--editable ").trim();
    line.starts_with("-e")
        || line.starts_with("--editable")
        || word.starts_with(['.', '/'])
        || line.starts_with("-f")
        || line.contains("--find-links")
        || line.contains("file:")
        || (word.contains('/') && !word.contains("://"))
        || word.ends_with(".whl")
        || word.ends_with(".tar.gz")
}

fn pyproject(pack: &PackDirectory<'_>, checksum: &str) -> Result<Option<Requirements>, RequirementsError> {
    const FILE: &str = "pyproject.toml";
    let Some(text) = pack.text(FILE)? else { return Ok(None) };
    let table: toml::Table =
        text.parse().map_err(|error: toml::de::Error| pack.syntax(FILE, "TOML", &error.message()))?;
    let Some(project) = table.get("project").and_then(toml::Value::as_table) else { return Ok(None) };
    let is_dynamic = |value: &toml::Value| {
        value.as_array().is_some_and(|names| names.iter().any(|name| name.as_str() == Some("dependencies")))
    };
    if project.get("dynamic").is_some_and(is_dynamic) {
        return Err(RequirementsError::Dynamic { pack_ref: pack.pack_ref.to_owned() });
    }
    let constraint = match project.get("requires-python").map(|value| (value, value.as_str())) {
        None => None,
        Some((_, Some(text))) => Some(Constraint {
            origin: format!("pyproject.toml of pack {}", pack.pack_ref),
            versions: text.parse().map_err(|error: ConstraintError| {
                pack.syntax(FILE, "understood in `requires-python`", &error)
            })?,
        }),
        Some((value, None)) => {
            return Err(pack.syntax(
                FILE,
                "understood in `requires-python`",
                &format!("`{value}` is no text"),
            ));
        }
    };
    let mut dependencies = Vec::new();
    if let Some(listed) = project.get("dependencies") {
        let texts = listed.as_array().map(|items| items.iter().map(toml::Value::as_str).collect());
        let Some(texts) = texts.and_then(|texts: Option<Vec<_>>| texts) else {
            return Err(pack.syntax(FILE, "understood in `dependencies`", &"expected a list of texts"));
        };
        dependencies = texts.into_iter().map(str::to_owned).collect();
    }
    if dependencies.is_empty() && constraint.is_none() {
        return Ok(None);
    }
    let mut inputs = Inputs::new(checksum);
    for dependency in &dependencies {
        inputs.add(FILE, dependency);
        inputs.is_local |= dependency.contains("file:");
    }
    Ok(Some(Requirements {
        source: Source::Pyproject(dependencies),
        constraint,
        language: Language::Python,
        digest: inputs.digest(),
    }))
}

fn package_json(pack: &PackDirectory<'_>, checksum: &str) -> Result<Option<Requirements>, RequirementsError> {
    const FILE: &str = "package.json";
    let Some(text) = pack.text(FILE)? else { return Ok(None) };
    let package: Value = serde_json::from_str(&text).map_err(|error| pack.syntax(FILE, "JSON", &error))?;
    let has = |key: &str| package[key].as_object().is_some_and(|packages| !packages.is_empty());
    // A pack that brings its modules with it needs none installed; a link to them is ours.
    let modules = pack.path.join("node_modules");
    let brings_modules = modules.is_dir() && !modules.is_symlink();
    if brings_modules || !(has("dependencies") || has("optionalDependencies")) {
        return Ok(None);
    }
    let constraint = match package["engines"]["node"].as_str() {
        // npm takes more forms than we do, and takes all of them as advice.
        Some(text) => text.parse().ok().map(|versions: VersionConstraint| Constraint {
            origin: format!("package.json of pack {}", pack.pack_ref),
            versions,
        }),
        None => None,
    };
    let mut inputs = Inputs::new(checksum);
    inputs.add(FILE, &text);
    let mut is_local = text.contains("\"file:") || text.contains("\"workspaces\"");
    let mut locked = false;
    for file in ["package-lock.json", "npm-shrinkwrap.json", ".npmrc"] {
        if let Some(text) = pack.text(file)? {
            inputs.add(file, &text);
            is_local |= text.contains("\"file:");
            locked |= file != ".npmrc";
        }
    }
    inputs.is_local = is_local;
    Ok(Some(Requirements {
        source: Source::Package { locked },
        constraint,
        language: Language::Node,
        digest: inputs.digest(),
    }))
}

/// The files of a pack, with their paths within it: what a build may need.
pub(super) fn files_of(pack: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(pack.join(&directory))? {
            let entry = entry?;
            let path = directory.join(entry.file_name());
            let kind = entry.file_type()?;
            if kind.is_dir() {
                waiting.push(path);
            } else if kind.is_file() {
                found.push(path);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(language: Language, files: &[(&str, &str)]) -> Result<Option<Requirements>, RequirementsError> {
        let pack = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = pack.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        Requirements::read(&Wanted {
            language,
            pack_ref: "ops",
            files: pack.path(),
            checksum: files.first().map_or("", |(_, content)| content),
            program: "python3",
            constraints: &[],
        })
    }

    fn digest(language: Language, files: &[(&str, &str)]) -> [u8; 32] {
        read(language, files).unwrap().expect("it needs something").digest
    }

    fn problem(language: Language, files: &[(&str, &str)]) -> String {
        read(language, files).unwrap_err().to_string()
    }

    #[test]
    fn test_only_what_decides_the_environment_counts() {
        let python =
            |readme, text| digest(Language::Python, &[("README", readme), ("requirements.txt", text)]);
        assert_eq!(python("a", "six==1.16"), python("b", "six==1.16"));
        assert_ne!(python("a", "six==1.16"), python("a", "six==1.17"));
        // What lies in the pack itself may change without its line.
        for line in ["./lib", "-e .", "lib/x.whl", "demo @ file:lib", "--find-links lib", "-f lib", "-flib"] {
            assert_ne!(python("a", line), python("b", line), "{line}");
        }
        let nested = |text| {
            let files = [("README", ""), ("requirements.txt", "-r more/base.txt"), ("more/base.txt", text)];
            digest(Language::Python, &files)
        };
        assert_eq!(nested("six"), nested("six"));
        assert_ne!(nested("six"), nested("attrs"));
    }

    #[test]
    fn test_a_pack_may_need_nothing() {
        for files in [
            &[][..],
            &[("requirements.txt", "\n# nothing yet\n")],
            &[("pyproject.toml", "[tool.black]\nline-length = 100\n")],
            &[("pyproject.toml", "[project]\nname = \"x\"\ndependencies = []\n")],
        ] {
            assert_eq!(read(Language::Python, files), Ok(None), "{files:?}");
        }
        for files in [
            &[("package.json", r#"{"type": "module"}"#)][..],
            &[("package.json", r#"{"dependencies": {"a": "1"}}"#), ("node_modules/a/package.json", "{}")],
        ] {
            assert_eq!(read(Language::Node, files), Ok(None), "{files:?}");
        }
    }

    #[test]
    fn test_files_say_which_interpreter_they_need() {
        let text = "[project]\nrequires-python = \">=3.11\"\ndependencies = [\"six\", \"attrs>=20\"]\n";
        let found = read(Language::Python, &[("pyproject.toml", text)]).unwrap().unwrap();
        assert_eq!(found.source, Source::Pyproject(vec!["six".into(), "attrs>=20".into()]));
        let constraint = found.constraint.unwrap();
        assert_eq!(
            (constraint.origin.as_str(), constraint.versions.as_str()),
            ("pyproject.toml of pack ops", ">=3.11")
        );
        let text = r#"{"dependencies": {"a": "1"}, "engines": {"node": ">=18"}}"#;
        let found = read(Language::Node, &[("package.json", text)]).unwrap().unwrap();
        assert_eq!(found.source, Source::Package { locked: false });
        assert!(found.constraint.unwrap().versions.allows([20, 0, 0]));
    }

    #[test]
    fn test_files_that_are_not_understood_say_why() {
        let check = |language, file: &str, text: &str, expected: &str| {
            let problem = problem(language, &[(file, text)]);
            assert!(problem.contains(expected), "{problem:?} does not contain {expected:?}");
        };
        check(Language::Python, "requirements.txt", "-r gone.txt", "names gone.txt, which the pack does not");
        check(Language::Python, "pyproject.toml", "[project", "pyproject.toml of pack ops is not TOML");
        check(
            Language::Python,
            "pyproject.toml",
            "[project]\ndynamic = [\"dependencies\"]\n",
            "list them under `[project]`",
        );
        check(
            Language::Python,
            "pyproject.toml",
            "[project]\nrequires-python = \"new\"\n",
            "`new` is no comparison",
        );
        check(Language::Python, "pyproject.toml", "[project]\ndependencies = \"a\"\n", "a list of texts");
        check(Language::Node, "package.json", "{", "package.json of pack ops is not JSON");
    }
}
