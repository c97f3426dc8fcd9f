//! Which interpreters this machine has, and which of them a pack can use.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Mutex as AsyncMutex;
use tokio_util::sync::CancellationToken;

use super::{Constraint, Language, lock};
use crate::tool::{self, End, Tool};

/// A program that did not answer is not asked again for so long.
const UNANSWERED: Duration = Duration::from_secs(30);
/// What an interpreter may take to tell its version.
const PATIENCE: Duration = Duration::from_secs(20);

/// An interpreter of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// The program itself, not a launcher of it.
    pub path: PathBuf,
    pub version: [u64; 3],
    /// When the program was written: another one may have taken its place.
    modified: Option<SystemTime>,
}

impl Interpreter {
    /// Whether the program is still the one that told its version.
    pub fn is_unchanged(&self) -> bool {
        let modified = std::fs::metadata(&self.path).and_then(|metadata| metadata.modified()).ok();
        modified.is_some() && modified == self.modified
    }

    /// The version with its dots.
    pub fn version_text(&self) -> String {
        dotted(self.version)
    }
}

fn dotted(version: [u64; 3]) -> String {
    version.map(|number| number.to_string()).join(".")
}

/// Why there is no interpreter for a pack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InterpreterError {
    #[error(
        "pack {pack_ref} needs {language}, and there is no program {program} on this worker (looked in {looked_in}): \
         install it there, or send the action to a worker that has it with `worker_selector`"
    )]
    Missing { language: Language, pack_ref: String, program: String, looked_in: String },
    #[error(
        "pack {pack_ref} needs {language} {demands}, and this worker has only {found}: install such a version there, or \
         send the action to a worker that has it with `worker_selector`"
    )]
    WrongVersion { language: Language, pack_ref: String, demands: String, found: String },
}

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Search<'a> {
    pub(super) language: Language,
    pub(super) program: &'a str,
    pub(super) pack_ref: &'a str,
    pub(super) constraints: &'a [Constraint],
}

/// The interpreters that were found so far.
pub(super) struct Interpreters {
    variables: BTreeMap<OsString, OsString>,
    asked: Mutex<HashMap<PathBuf, Answer>>,
    /// Asking costs processes: one search at a time.
    turn: AsyncMutex<()>,
}

#[derive(Debug, Clone)]
enum Answer {
    Found(Interpreter),
    None { until: Instant },
}

impl fmt::Debug for Interpreters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interpreters").field("asked", &self.asked).finish_non_exhaustive()
    }
}

impl Interpreters {
    pub(super) fn new(variables: &BTreeMap<OsString, OsString>) -> Self {
        Self { variables: variables.clone(), asked: Mutex::default(), turn: AsyncMutex::default() }
    }

    /// The program that the runtime names, if its version will do; else the newest that will, unless the runtime names a
    /// certain one.
    pub(super) async fn find(&self, search: &Search<'_>) -> Result<Interpreter, InterpreterError> {
        let _turn = self.turn.lock().await;
        let allowed = |interpreter: &Interpreter| {
            search.constraints.iter().all(|constraint| constraint.versions.allows(interpreter.version))
        };
        let mut found: Vec<Interpreter> = Vec::new();
        for candidate in self.candidates(search.program) {
            let Some(interpreter) = self.ask(search.language, &candidate).await else { continue };
            if allowed(&interpreter) {
                return Ok(interpreter);
            }
            found.push(interpreter);
        }
        if names_any(search.language, search.program) {
            for candidate in self.others(search.language) {
                if let Some(interpreter) = self.ask(search.language, &candidate).await {
                    found.push(interpreter);
                }
            }
        }
        found.sort_by(|a, b| (b.version, &a.path).cmp(&(a.version, &b.path)));
        found.dedup();
        match found.iter().find(|interpreter| allowed(interpreter)) {
            Some(interpreter) => Ok(interpreter.clone()),
            None => Err(self.nothing(search, &found)),
        }
    }

    fn nothing(&self, search: &Search<'_>, found: &[Interpreter]) -> InterpreterError {
        let (language, pack_ref) = (search.language, search.pack_ref.to_owned());
        if found.is_empty() {
            let looked_in = match search.program.contains('/') {
                true => "that place only".to_owned(),
                false => self.path().to_string_lossy().into_owned(),
            };
            return InterpreterError::Missing {
                language,
                pack_ref,
                program: search.program.to_owned(),
                looked_in,
            };
        }
        let demands: Vec<String> = search
            .constraints
            .iter()
            .map(|constraint| format!("{} ({})", constraint.versions, constraint.origin))
            .collect();
        let found: Vec<String> = found
            .iter()
            .map(|interpreter| format!("{} ({})", interpreter.version_text(), interpreter.path.display()))
            .collect();
        InterpreterError::WrongVersion {
            language,
            pack_ref,
            demands: demands.join(" and "),
            found: found.join(", "),
        }
    }

    fn path(&self) -> &OsStr {
        self.variables.get(OsStr::new("PATH")).map(OsString::as_os_str).unwrap_or_default()
    }

    fn directories(&self) -> impl Iterator<Item = PathBuf> {
        std::env::split_paths(self.path()).filter(|directory| directory.is_absolute())
    }

    /// Where the program may be that the runtime names.
    fn candidates(&self, program: &str) -> Vec<PathBuf> {
        if program.contains('/') {
            return vec![PathBuf::from(program)];
        }
        self.directories().map(|directory| directory.join(program)).filter(|path| path.is_file()).collect()
    }

    /// Other programs of the language: those with a version in their names, and where version managers keep theirs.
    fn others(&self, language: Language) -> Vec<PathBuf> {
        let is_one = |name: &str| match language {
            Language::Python => {
                let rest = name.strip_prefix("python").unwrap_or("x");
                rest.chars().all(|c| c.is_ascii_digit() || c == '.')
            }
            Language::Node => {
                matches!(name, "node" | "nodejs") || name.strip_prefix("node").is_some_and(is_number)
            }
        };
        let mut programs = Vec::new();
        for directory in self.directories() {
            programs.extend(entries(&directory).filter(|path| file_name(path).is_some_and(is_one)));
        }
        let home = self.variables.get(OsStr::new("HOME")).map(PathBuf::from);
        if let Some(home) = home {
            let (parents, program): (&[&str], _) = match language {
                Language::Python => (&[".pyenv/versions", ".local/share/uv/python"], "bin/python3"),
                Language::Node => (&[".nvm/versions/node", ".local/share/fnm/node-versions"], "bin/node"),
            };
            for parent in parents {
                for version in entries(&home.join(parent)) {
                    let inner = version.join("installation").join(program);
                    programs.push(if inner.is_file() { inner } else { version.join(program) });
                }
            }
        }
        programs.retain(|path| path.is_file());
        programs
    }

    async fn ask(&self, language: Language, candidate: &Path) -> Option<Interpreter> {
        match lock(&self.asked).get(candidate) {
            Some(Answer::Found(interpreter)) if interpreter.is_unchanged() => {
                return Some(interpreter.clone());
            }
            Some(Answer::None { until }) if *until > Instant::now() => return None,
            _ => {}
        }
        let interpreter = self.version_of(language, candidate).await;
        let answer = match &interpreter {
            Some(interpreter) => Answer::Found(interpreter.clone()),
            None => Answer::None { until: Instant::now() + UNANSWERED },
        };
        lock(&self.asked).insert(candidate.to_owned(), answer);
        interpreter
    }

    /// What the program says of itself. Launchers, such as the shims of version managers, name what they launch.
    async fn version_of(&self, language: Language, candidate: &Path) -> Option<Interpreter> {
        let args: &[&str] = match language {
            Language::Python => {
                &["-S", "-c", "import sys\nprint(sys.executable)\nprint('%d.%d.%d' % sys.version_info[:3])"]
            }
            Language::Node => &["-p", "process.execPath + '\\n' + process.versions.node"],
        };
        let asking = Tool {
            program: candidate.to_owned(),
            args: args.iter().map(Into::into).collect(),
            env: self.variables.clone(),
            cwd: Path::new("/"),
            limit: PATIENCE,
        };
        let text = match tool::run(asking, &CancellationToken::new(), &|_| {}).await {
            Ok(done) if done.end == End::Code(0) => done.stdout,
            Ok(done) => {
                tracing::debug!(candidate = %candidate.display(), end = ?done.end, "no usable interpreter");
                return None;
            }
            Err(error) => {
                tracing::debug!(candidate = %candidate.display(), %error, "no usable interpreter");
                return None;
            }
        };
        let (path, version) = text.trim_end().rsplit_once('\n')?;
        let mut numbers = version.split('.').map(|part| part.parse().ok());
        let version = [numbers.next()??, numbers.next()??, numbers.next()??];
        let path = PathBuf::from(path);
        let modified = std::fs::metadata(&path).and_then(|metadata| metadata.modified()).ok();
        path.is_absolute().then_some(Interpreter { path, version, modified })
    }
}

/// Whether the runtime names the language's interpreter as such, and no certain one.
fn names_any(language: Language, program: &str) -> bool {
    match language {
        Language::Python => matches!(program, "python3" | "python"),
        Language::Node => matches!(program, "node" | "nodejs"),
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn file_name(path: &Path) -> Option<&str> {
    path.file_name().and_then(OsStr::to_str)
}

fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    found.sort();
    found.into_iter()
}
