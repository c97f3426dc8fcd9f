//! Actions in containers: by podman or docker, as their command lines have it in common.
//!
//! The client of the engine runs as the process of the action would: with its streams, its time, its end. Values of variables
//! go to it in its own environment and by their names on its command line, where every user of the machine may read.
//!
//! What a run leaves in its directories has to be the worker's to read and to remove. A worker that is root can do both
//! whoever left it; the processes have the account of the image then, and find directories that are open to it, within one
//! that nobody else of the machine can enter. For any other worker they have its own account.

mod failure;
mod run;

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use attune_common::process::Confinement;
use attune_pack::isolation::Limits;
use nix::unistd::{AccessFlags, Gid, Uid, access};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::process::{self, Ending, Exit, Finished, Launch, OutputSink};

pub(crate) use run::{ARTIFACTS, HOST_NETWORK};
pub use run::{Container, DIRECTORY, PACK, PYTHON};

/// Names the instance of the worker on its containers.
const LABEL: &str = "attune.instance";
/// What fetching an image may take.
const FETCH: Duration = Duration::from_secs(15 * 60);
/// What other commands of the engine may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// What it may take to say whether it works, for which a starting worker waits.
const ANSWER: Duration = Duration::from_secs(5);
/// How often an engine is asked to remove a container.
const REMOVALS: usize = 3;
/// An image that was there is believed to be there for so long.
const BELIEVED: Duration = Duration::from_secs(60);

/// Why an action cannot run in its container.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    #[error(
        "the action runs in the image {image}, and this worker has neither podman nor docker: install one of them there, or \
         send the action to a worker that has it with `worker_selector: {{container: podman}}`"
    )]
    NoEngine { image: String },
    #[error("the image {image} cannot be fetched by {engine}: {problem}")]
    Fetch { image: String, engine: &'static str, problem: String },
    #[error("the directory {path} has a colon in its name, which containers cannot be given", path = path.display())]
    Colon { path: PathBuf },
    #[error(
        "`limits.{limit}` cannot be kept: `{engine} info` says that it has no control of that on this machine. Where it does not \
         run as root it needs control groups of version 2, with the controller `{controller}` delegated to the worker's account"
    )]
    Limit { engine: &'static str, limit: &'static str, controller: &'static str },
    #[error("it cannot be noted on the worker's disk that containers run, so none is started")]
    Note { source: io::Error },
    #[error("the directories of the run cannot be opened to the account of the image")]
    Open { source: io::Error },
    #[error("cancelled while the image was fetched")]
    Cancelled,
}

/// A container engine of this machine.
#[derive(Clone)]
pub struct Engine {
    name: &'static str,
    program: PathBuf,
    variables: BTreeMap<OsString, OsString>,
}

impl fmt::Debug for Engine {
    /// Leaves out the variables, in which credentials may be.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("program", &self.program).finish_non_exhaustive()
    }
}

/// What is known of the engine: images that were seen, with one lock for each, so that each is fetched once.
#[derive(Debug, Default)]
pub struct Images {
    seen: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Option<Instant>>>>>,
    facts: OnceCell<Facts>,
}

/// What the engine says of itself.
#[derive(Debug, Clone, Copy)]
struct Facts {
    /// It runs with the account of the worker.
    rootless: bool,
    /// It has control of the memory and of the number of processes of containers.
    memory: bool,
    processes: bool,
}

impl Engine {
    /// podman, else docker, in the search path of these variables.
    pub fn find(variables: &BTreeMap<OsString, OsString>) -> Option<Self> {
        let path = variables.get(OsStr::new("PATH"))?;
        ["podman", "docker"].into_iter().find_map(|name| {
            let program = std::env::split_paths(path)
                .filter(|directory| directory.is_absolute())
                .map(|directory| directory.join(name))
                .find(|candidate| candidate.is_file() && access(candidate, AccessFlags::X_OK).is_ok())?;
            let mut variables = variables.clone();
            // How its client reaches the engine.
            variables
                .extend(std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_of_a_client)));
            Some(Self { name, program, variables })
        })
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Whether it answers.
    pub async fn works(&self) -> bool {
        // Of docker only the version of the server tells that there is one.
        let format = if self.name == "docker" { "{{.Server.Version}}" } else { "{{.Client.Version}}" };
        self.ask(&["version", "--format", format], ANSWER).await.is_ok()
    }

    /// Fetches the image unless it is there.
    pub async fn fetch(
        &self,
        images: &Images,
        image: &str,
        cancel: &CancellationToken,
    ) -> Result<(), ContainerError> {
        let turn = images
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(image.to_owned())
            .or_default()
            .clone();
        let fetch = async {
            let mut seen = turn.lock().await;
            if seen.is_some_and(|seen| seen.elapsed() < BELIEVED) {
                return Ok(());
            }
            if self.ask(&["image", "inspect", "--format", "{{.Id}}", image], PATIENCE).await.is_err() {
                tracing::info!(image, engine = self.name, "fetching an image");
                self.ask(&["pull", "--quiet", image], FETCH).await.map_err(|problem| {
                    ContainerError::Fetch { image: image.to_owned(), engine: self.name, problem }
                })?;
            }
            *seen = Some(Instant::now());
            Ok(())
        };
        tokio::select! {
            fetched = fetch => fetched,
            () = cancel.cancelled() => Err(ContainerError::Cancelled),
        }
    }

    /// Whom the processes of containers have to be for a worker with this account, as `--user` has it; None: whom the image
    /// says.
    pub async fn account(&self, (user, group): (Uid, Gid), images: &Images) -> Option<String> {
        if user.is_root() {
            return None;
        }
        // Of podman there is none that serves everybody.
        let rootless = self.name == "podman" || self.facts(images).await.rootless;
        Some(match rootless {
            // The worker's account is root there.
            true => "0:0".to_owned(),
            false => format!("{user}:{group}"),
        })
    }

    /// Refuses limits that the engine would take and not keep.
    pub async fn check(&self, limits: &Limits, images: &Images) -> Result<(), ContainerError> {
        if limits.memory.is_none() && limits.processes.is_none() {
            return Ok(());
        }
        let facts = self.facts(images).await;
        let refused = |limit, controller| ContainerError::Limit { engine: self.name, limit, controller };
        match facts {
            Facts { memory: false, .. } if limits.memory.is_some() => Err(refused("memory", "memory")),
            Facts { processes: false, .. } if limits.processes.is_some() => Err(refused("processes", "pids")),
            _ => Ok(()),
        }
    }

    /// What it says of itself. An engine that does not answer will say so when it is to run something.
    async fn facts(&self, images: &Images) -> Facts {
        let format = match self.name {
            "docker" => "{{if .MemoryLimit}}memory{{end}} {{if .PidsLimit}}pids{{end}} {{.SecurityOptions}}",
            _ => "{{.Host.CgroupControllers}}",
        };
        let ask = || async {
            let text = self.ask(&["info", "--format", format], PATIENCE).await?;
            let has = |word| text.split(|c: char| !c.is_ascii_alphanumeric()).any(|found| found == word);
            Ok::<_, String>(Facts {
                rootless: has("rootless"),
                memory: has("memory"),
                processes: has("pids"),
            })
        };
        let unknown = Facts { rootless: false, memory: true, processes: true };
        images.facts.get_or_try_init(ask).await.copied().unwrap_or(unknown)
    }

    pub fn program(&self) -> &Path {
        &self.program
    }

    /// What its client gives up: it may need helpers with more rights, to map accounts say.
    pub fn confinement() -> Confinement {
        Confinement { may_gain_privileges: true, ..Confinement::default() }
    }

    /// Whether the container may be there after such an end of its client.
    pub(crate) fn may_be_left(finished: &Finished) -> bool {
        finished.ending != Ending::Exited
            || matches!(finished.exit, Exit::Signal(_))
            || failure::is_told(finished)
    }

    /// Ends a container whose client has ended.
    pub async fn remove(&self, name: &str) {
        if let Err(problem) = self.remove_all(&[name]).await {
            tracing::warn!(container = name, problem, "cannot remove a container");
        }
    }

    /// Ends the containers of an instance that died; tells whether none is left.
    pub async fn remove_all_of(&self, instance: &str) -> bool {
        let filter = format!("label={LABEL}={instance}");
        let removed = async {
            let ids = self.ask(&["ps", "--all", "--quiet", "--filter", &filter], PATIENCE).await?;
            let ids: Vec<&str> = ids.split_whitespace().collect();
            if ids.is_empty() {
                return Ok(());
            }
            tracing::warn!(
                containers = ids.len(),
                instance,
                "ends containers that a worker which died had left running"
            );
            self.remove_all(&ids).await
        };
        let removed: Result<(), String> = removed.await;
        if let Err(problem) = &removed {
            tracing::warn!(
                instance,
                problem,
                "the containers of a worker that died cannot be removed; the next start of a worker tries again"
            );
        }
        removed.is_ok()
    }

    /// Removes what there is of these. An engine that finds a container in the midst of its end may say no at first.
    async fn remove_all(&self, containers: &[&str]) -> Result<(), String> {
        let args = [&["rm", "--force"], containers].concat();
        let mut last = Ok(());
        for _ in 0..REMOVALS {
            last = match self.ask(&args, PATIENCE).await {
                Ok(_) => return Ok(()),
                Err(problem) => Err(problem),
            };
            let gone = |line: &str| line.to_lowercase().contains("no such container");
            if last.as_ref().is_err_and(|problem| problem.split("; ").all(gone)) {
                return Ok(());
            }
        }
        last
    }

    async fn ask(&self, args: &[&str], limit: Duration) -> Result<String, String> {
        let launch = Launch {
            args: args.iter().map(OsString::from).collect(),
            env: self.variables.clone(),
            timeout: limit,
            confinement: Self::confinement(),
            ..Launch::of(&self.program, "/")
        };
        match process::run(launch, CancellationToken::new(), OutputSink::discard()).await {
            Ok(finished) if finished.ending == Ending::Exited && finished.exit == Exit::Code(0) => {
                Ok(finished.stdout.to_text())
            }
            Ok(finished) if finished.ending == Ending::Exited => Err(tail(&finished)),
            Ok(_) => Err(format!("no answer within {} s", limit.as_secs())),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Lets any account use what is in these directories, which are within one that other accounts of the machine cannot enter.
pub(crate) fn open_to_all<'a>(directories: impl IntoIterator<Item = &'a Path>) -> Result<(), ContainerError> {
    let open = |path: &Path| -> io::Result<()> {
        std::fs::set_permissions(path, Permissions::from_mode(0o777))?;
        for entry in std::fs::read_dir(path)? {
            std::fs::set_permissions(entry?.path(), Permissions::from_mode(0o666))?;
        }
        Ok(())
    };
    directories.into_iter().try_for_each(open).map_err(|source| ContainerError::Open { source })
}

/// Whether a variable tells the client of an engine how it reaches the engine, or where its files are.
fn is_of_a_client(name: &str) -> bool {
    const PREFIXES: [&str; 3] = ["DOCKER_", "CONTAINER_", "CONTAINERS_"];
    const NAMES: [&str; 5] = [
        "XDG_RUNTIME_DIR",
        "XDG_CONFIG_HOME",
        "XDG_DATA_HOME",
        "REGISTRY_AUTH_FILE",
        "DBUS_SESSION_BUS_ADDRESS",
    ];
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// The end of what the engine said.
fn tail(finished: &Finished) -> String {
    let text = finished.stderr.to_text();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    match lines.is_empty() {
        true => format!("it ended with {:?} and no word", finished.exit),
        false => lines[lines.len().saturating_sub(5)..].join("; "),
    }
}
