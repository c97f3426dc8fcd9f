//! The environments of packs: what their code needs besides their own files, installed once and shared by all that
//! runs of them.
//!
//! A pack says what it needs in the files that its language has for that: `requirements.txt` or `pyproject.toml` for
//! Python, `package.json` with its lock for Node. The environment is keyed by the content of these and by the interpreter, so
//! that a change of either makes another one, beside the one that runs may still use.
//!
//! Invariants: an environment appears under its key only when complete, by a rename; of one key there is one build at a time
//! on a machine, whatever the number of workers that share the directory (a file lock); nobody removes what somebody uses; who
//! waits for a build can be cancelled, and a build that nobody waits for any more goes on, as the next will want it.

mod build;
mod interpreter;
mod progress;
mod requirements;
mod store;

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use attune_common::process::InheritedEnvironment;
use attune_pack::VersionConstraint;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use interpreter::{Interpreter, InterpreterError};
pub use progress::{Preparing, WaitGuard};
pub use requirements::RequirementsError;
pub use store::OpenEnvironment;

use build::Builder;
use requirements::Requirements;
use store::Store;

/// What a build may take unless the operator says otherwise.
pub const DEFAULT_BUILD_LIMIT: Duration = Duration::from_secs(15 * 60);

/// A language whose packs can have environments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Language {
    Python,
    Node,
}

impl Language {
    pub const ALL: [Self; 2] = [Self::Python, Self::Node];

    /// The name in pack files and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Node => "node",
        }
    }

    /// The language of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|language| language.as_str() == name)
    }

    fn title(self) -> &'static str {
        match self {
            Self::Python => "Python",
            Self::Node => "Node.js",
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.title())
    }
}

/// What an execution or a sensor needs to be run.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub language: Language,
    pub pack_ref: &'a str,
    /// The directory with the pack's files.
    pub files: &'a Path,
    /// The checksum of these files.
    pub checksum: &'a str,
    /// The interpreter as the runtime names it, such as `python3`; that of the language where it names none.
    pub program: &'a str,
    /// What its version has to fulfil, with who says so.
    pub constraints: &'a [Constraint],
}

/// A demand on the version of the interpreter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    /// As `the runtime core.python`.
    pub origin: String,
    pub versions: VersionConstraint,
}

/// What is stored about the version of the interpreter.
#[derive(Debug, Clone, Copy)]
pub struct Demands<'a> {
    pub runtime_ref: &'a str,
    /// What the runtime says.
    pub version: Option<&'a str>,
    pub pack_ref: &'a str,
    /// What the pack says, as `python >=3.11`.
    pub runtime_deps: &'a [String],
}

impl Demands<'_> {
    /// Those on an interpreter of this language.
    pub fn of(&self, language: Language) -> Vec<Constraint> {
        let runtime = self.version.and_then(|text| {
            let origin = format!("the runtime {}", self.runtime_ref);
            Some(Constraint { origin, versions: text.parse().ok()? })
        });
        let pack = self.runtime_deps.iter().filter_map(|needed| {
            let (name, text) = needed.split_once(' ')?;
            let origin = format!("pack.yaml of {}", self.pack_ref);
            (name == language.as_str()).then_some(Constraint { origin, versions: text.parse().ok()? })
        });
        runtime.into_iter().chain(pack).collect()
    }
}

/// What runs a pack's code.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The interpreter: that of the pack's environment, or the machine's where the pack needs nothing.
    pub program: PathBuf,
    /// To add to the variables of the process.
    pub variables: BTreeMap<OsString, OsString>,
    /// A directory for the front of the search path.
    pub path: Option<PathBuf>,
    /// The directory to run the pack's files from: that which they are in, or another with the same files, beside the modules.
    pub files: PathBuf,
    /// While this exists nobody removes the environment. None where the pack needs nothing.
    pub environment: Option<Arc<OpenEnvironment>>,
}

/// Why there is no environment.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EnvironmentError {
    #[error(transparent)]
    Interpreter(#[from] InterpreterError),
    #[error(transparent)]
    Requirements(#[from] RequirementsError),
    #[error("the {language} environment of pack {pack_ref} cannot be built from {source_file}: {problem}")]
    Build { language: Language, pack_ref: String, source_file: String, problem: String },
    #[error("could not {doing} {path}: {problem}", path = path.display())]
    Io { doing: &'static str, path: PathBuf, problem: String },
    #[error("cancelled while the environment of its pack was prepared")]
    Cancelled,
    #[error("the environment of pack {pack_ref} was removed from {path} as often as it was built: find out who does that", path = path.display())]
    Vanished { pack_ref: String, path: PathBuf },
}

/// The environments of one worker, or of one sensor role.
#[derive(Debug, Clone)]
pub struct Environments {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    builder: Builder,
    interpreters: interpreter::Interpreters,
    /// What packs need, by the checksum of their files.
    plans: Mutex<HashMap<PlanKey, Arc<Plan>>>,
    open: Mutex<HashMap<PathBuf, Weak<OpenEnvironment>>>,
    builds: Mutex<HashMap<PathBuf, watch::Receiver<Outcome>>>,
    preparing: Preparing,
    /// Ends what is being built.
    stop: CancellationToken,
}

/// What is found by programs that install what packs need, and by container engines.
#[derive(Clone)]
pub struct BuildEnvironment {
    variables: BTreeMap<OsString, OsString>,
}

impl BuildEnvironment {
    /// What every child inherits, and how this process reaches packages.
    pub fn of(inherited: &InheritedEnvironment) -> Self {
        const PREFIXES: [&str; 4] = ["PIP_", "UV_", "NPM_CONFIG_", "npm_config_"];
        const PROXIES: [&str; 8] = [
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "ALL_PROXY",
            "NO_PROXY",
            "http_proxy",
            "https_proxy",
            "all_proxy",
            "no_proxy",
        ];
        let mut variables = inherited.variables();
        let wanted = |name: &str| {
            PROXIES.contains(&name)
                || matches!(name, "NODE_EXTRA_CA_CERTS" | "REQUESTS_CA_BUNDLE" | "XDG_CACHE_HOME")
                || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        };
        variables.extend(std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(wanted)));
        Self { variables }
    }

    pub fn variables(&self) -> &BTreeMap<OsString, OsString> {
        &self.variables
    }
}

impl fmt::Debug for BuildEnvironment {
    /// Names only: an index of packages is often named with its credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}

/// None while it goes on.
type Outcome = Option<Result<(), EnvironmentError>>;

/// How environments are made.
#[derive(Clone)]
pub struct EnvironmentSettings {
    /// Where they live; any number of workers of one machine may share it.
    pub directory: PathBuf,
    /// What one build may take.
    pub limit: Duration,
    /// The variables of the programs that build: PATH, and what they are to find in it.
    pub variables: BTreeMap<OsString, OsString>,
}

impl fmt::Debug for EnvironmentSettings {
    /// Leaves out the values of variables, in which credentials may be.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnvironmentSettings")
            .field("directory", &self.directory)
            .field("limit", &self.limit)
            .field("variables", &self.variables.keys().collect::<Vec<_>>())
            .finish()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct PlanKey {
    language: Language,
    pack_ref: String,
    checksum: String,
    program: String,
    constraints: String,
}

/// What a pack needs with one interpreter.
#[derive(Debug, Clone)]
struct Plan {
    interpreter: Interpreter,
    /// None where it needs nothing.
    requirements: Option<Requirements>,
    /// Names the environment.
    key: String,
}

impl Environments {
    pub fn new(settings: EnvironmentSettings) -> Self {
        let interpreters = interpreter::Interpreters::new(&settings.variables);
        let builder = Builder::new(&settings);
        let inner = Inner {
            store: Store::new(settings.directory),
            builder,
            interpreters,
            plans: Mutex::default(),
            open: Mutex::default(),
            builds: Mutex::default(),
            preparing: Preparing::default(),
            stop: CancellationToken::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// What is waited for.
    pub fn preparing(&self) -> &Preparing {
        &self.inner.preparing
    }

    /// Ends what is being built; it is begun anew when it is wanted again.
    pub fn stop(&self) {
        self.inner.stop.cancel();
    }

    /// What runs the code of this pack, if that needs no waiting.
    pub async fn ready(&self, wanted: &Wanted<'_>) -> Result<Option<Prepared>, EnvironmentError> {
        let plan = self.plan(wanted).await?;
        self.prepared(wanted, &plan)
    }

    /// What runs the code of this pack; built if it is not there.
    pub async fn prepare(
        &self,
        wanted: &Wanted<'_>,
        cancel: &CancellationToken,
    ) -> Result<Prepared, EnvironmentError> {
        /// Somebody removes what is built: enough is enough.
        const ROUNDS: usize = 3;

        let plan = self.plan(wanted).await?;
        for _ in 0..ROUNDS {
            if let Some(prepared) = self.prepared(wanted, &plan)? {
                return Ok(prepared);
            }
            let mut build = self.build(wanted, &plan)?;
            let built = tokio::select! {
                outcome = build.wait_for(Option::is_some) => outcome.ok().and_then(|outcome| outcome.clone()),
                () = cancel.cancelled() => return Err(EnvironmentError::Cancelled),
            };
            match built {
                Some(Ok(())) => {}
                Some(Err(error)) => return Err(error),
                None => return Err(EnvironmentError::Cancelled),
            }
        }
        let path = self.inner.store.path(wanted.pack_ref, &plan.key);
        Err(EnvironmentError::Vanished { pack_ref: wanted.pack_ref.to_owned(), path })
    }

    /// Removes what was not used for long and what packs have left behind. Blocks on the disk.
    pub fn remove_unused(&self) {
        self.inner.store.remove_unused(None);
    }

    async fn plan(&self, wanted: &Wanted<'_>) -> Result<Arc<Plan>, EnvironmentError> {
        let constraints: Vec<&str> =
            wanted.constraints.iter().map(|constraint| constraint.versions.as_str()).collect();
        let key = PlanKey {
            language: wanted.language,
            pack_ref: wanted.pack_ref.to_owned(),
            checksum: wanted.checksum.to_owned(),
            program: wanted.program.to_owned(),
            constraints: constraints.join(" and "),
        };
        let known = lock(&self.inner.plans).get(&key).cloned();
        if let Some(plan) = known
            && plan.interpreter.is_unchanged()
        {
            return Ok(plan);
        }
        let requirements = Requirements::read(wanted)?;
        let mut constraints = wanted.constraints.to_vec();
        constraints.extend(requirements.as_ref().and_then(|requirements| requirements.constraint.clone()));
        let search = interpreter::Search {
            language: wanted.language,
            program: wanted.program,
            pack_ref: wanted.pack_ref,
            constraints: &constraints,
        };
        let interpreter = self.inner.interpreters.find(&search).await?;
        let name = match &requirements {
            Some(requirements) => requirements.key(&interpreter),
            None => String::new(),
        };
        let plan = Arc::new(Plan { interpreter, requirements, key: name });
        let mut plans = lock(&self.inner.plans);
        // Plans of versions of packs that are gone: reading one again costs little.
        if plans.len() > 1000 {
            plans.clear();
        }
        plans.insert(key, plan.clone());
        Ok(plan)
    }

    /// None if the environment is not there.
    fn prepared(&self, wanted: &Wanted<'_>, plan: &Plan) -> Result<Option<Prepared>, EnvironmentError> {
        if plan.requirements.is_none() {
            return Ok(Some(Prepared {
                program: plan.interpreter.path.clone(),
                variables: BTreeMap::new(),
                path: None,
                files: wanted.files.to_owned(),
                environment: None,
            }));
        }
        let Some(environment) = self.open(wanted.pack_ref, &plan.key) else { return Ok(None) };
        let directory = environment.path().to_owned();
        let prepared = match wanted.language {
            Language::Python => Prepared {
                program: directory.join("bin/python"),
                variables: BTreeMap::from([("VIRTUAL_ENV".into(), directory.clone().into_os_string())]),
                path: Some(directory.join("bin")),
                files: wanted.files.to_owned(),
                environment: Some(environment),
            },
            Language::Node => {
                let files = store::place_files(wanted.files, wanted.checksum, &directory)?;
                Prepared {
                    program: plan.interpreter.path.clone(),
                    variables: BTreeMap::new(),
                    path: Some(directory.join("node_modules/.bin")),
                    files,
                    environment: Some(environment),
                }
            }
        };
        Ok(Some(prepared))
    }

    /// Takes an environment into use; all that runs shares one handle.
    fn open(&self, pack_ref: &str, key: &str) -> Option<Arc<OpenEnvironment>> {
        let path = self.inner.store.path(pack_ref, key);
        let mut open = lock(&self.inner.open);
        if let Some(environment) = open.get(&path).and_then(Weak::upgrade)
            && environment.is_whole()
        {
            return Some(environment);
        }
        let environment = Arc::new(self.inner.store.open(pack_ref, key)?);
        open.retain(|_, other| other.strong_count() > 0);
        open.insert(path, Arc::downgrade(&environment));
        Some(environment)
    }

    /// Joins the build of this environment, or begins it.
    fn build(
        &self,
        wanted: &Wanted<'_>,
        plan: &Arc<Plan>,
    ) -> Result<watch::Receiver<Outcome>, EnvironmentError> {
        let path = self.inner.store.path(wanted.pack_ref, &plan.key);
        let mut builds = lock(&self.inner.builds);
        if let Some(build) = builds.get(&path) {
            return Ok(build.clone());
        }
        let (tell, outcome) = watch::channel(None);
        builds.insert(path.clone(), outcome.clone());
        drop(builds);
        let job = build::Job {
            language: wanted.language,
            pack_ref: wanted.pack_ref.to_owned(),
            files: wanted.files.to_owned(),
            plan: plan.clone(),
        };
        let inner = self.inner.clone();
        tokio::spawn(async move {
            let result = inner.builder.build(&inner.store, &job, &inner.preparing, &inner.stop).await;
            if let Err(error) = &result {
                tracing::warn!(pack = job.pack_ref, language = %job.language, %error, "an environment cannot be built");
            }
            // Whoever comes later begins anew; those who wait get this outcome.
            lock(&inner.builds).remove(&path);
            tell.send_replace(Some(result));
        });
        Ok(outcome)
    }
}

/// The environment's maps stay usable if a thread died while it held one.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
