//! Actions in containers: by podman or docker, as their command lines have it in common.
//!
//! The client of the engine runs as the process of the action would: with its streams, its time, its end. Values of variables
//! go to it in its own environment and by their names on its command line, where every user of the machine may read.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use attune_common::process::Confinement;
use attune_pack::isolation::{FilesystemAccess, Limits, NetworkAccess, Sandbox};
use nix::unistd::{AccessFlags, access};
use tokio_util::sync::CancellationToken;

use crate::process::{self, Ending, Exit, Finished, Launch, OutputSink};

/// Where the pack's files are in the container,
pub const PACK: &str = "/attune/pack";
/// and the directory of the run.
pub const DIRECTORY: &str = "/attune/run";
/// Where it leaves artifacts.
pub const ARTIFACTS: &str = "/attune/artifacts";
/// Names the instance of the worker on its containers.
const LABEL: &str = "attune.instance";
/// The exit code of a client whose engine did not run the container.
const ENGINE_FAILED: i32 = 125;
/// What fetching an image may take.
const FETCH: Duration = Duration::from_secs(15 * 60);
/// What other commands of the engine may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// What it may take to say whether it works, for which a starting worker waits.
const ANSWER: Duration = Duration::from_secs(5);
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

/// One container.
#[derive(Clone, Copy)]
pub struct Container<'a> {
    pub image: &'a str,
    pub name: &'a str,
    pub instance: &'a str,
    /// The directories of the machine.
    pub pack: &'a Path,
    pub directory: &'a Path,
    pub artifacts: &'a Path,
    pub limits: &'a Limits,
    pub sandbox: Option<&'a Sandbox>,
    pub with_stdin: bool,
    /// What it runs.
    pub command: &'a [OsString],
    /// What it finds in its environment, besides what its image has there.
    pub variables: &'a BTreeMap<OsString, OsString>,
}

impl fmt::Debug for Engine {
    /// Leaves out the variables, in which credentials may be.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("program", &self.program).finish_non_exhaustive()
    }
}

impl fmt::Debug for Container<'_> {
    /// Leaves out the values of variables, where secrets travel.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Container")
            .field("image", &self.image)
            .field("name", &self.name)
            .field("command", &self.command)
            .field("variables", &self.variables.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// Images that were seen, and one lock for each, so that each is fetched once.
#[derive(Debug, Default)]
pub struct Images {
    seen: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Option<Instant>>>>>,
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
            let own = std::env::vars_os().filter(|(name, _)| {
                let name = name.to_string_lossy();
                name.starts_with("DOCKER_") || name.starts_with("CONTAINER_") || name == "XDG_RUNTIME_DIR"
            });
            variables.extend(own);
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

    /// The command line of a container, without the program, and the variables of the client.
    pub fn command(
        &self,
        container: &Container<'_>,
    ) -> Result<(Vec<OsString>, BTreeMap<OsString, OsString>), ContainerError> {
        let mut args: Vec<OsString> = ["run", "--rm", "--name", container.name].map(OsString::from).to_vec();
        let mut add = |words: &[&str]| args.extend(words.iter().map(OsString::from));
        add(&["--label", &format!("{LABEL}={}", container.instance)]);
        add(&["--security-opt", "no-new-privileges", "--workdir", DIRECTORY]);
        if container.with_stdin {
            add(&["--interactive"]);
        }
        let limits = container.limits;
        if let Some(bytes) = limits.memory {
            add(&["--memory", &bytes.to_string()]);
        }
        if let Some(count) = limits.processes {
            add(&["--pids-limit", &count.to_string()]);
        }
        for (name, limit) in
            [("cpu", limits.cpu_time), ("nofile", limits.open_files), ("fsize", limits.file_size)]
        {
            if let Some(limit) = limit {
                add(&["--ulimit", &format!("{name}={limit}:{limit}")]);
            }
        }
        let mut volumes = vec![
            (container.pack.to_owned(), PACK.to_owned(), "ro"),
            (container.directory.to_owned(), DIRECTORY.to_owned(), "rw"),
            (container.artifacts.to_owned(), ARTIFACTS.to_owned(), "rw"),
        ];
        if let Some(sandbox) = container.sandbox {
            if sandbox.network == NetworkAccess::None {
                add(&["--network", "none"]);
            }
            if sandbox.filesystem != FilesystemAccess::Open {
                add(&["--read-only", "--tmpfs", "/tmp"]);
            }
            let paths = |paths: &[String], mode| {
                paths.iter().map(|path| (PathBuf::from(path), path.clone(), mode)).collect::<Vec<_>>()
            };
            volumes.extend(paths(&sandbox.read, "ro"));
            volumes.extend(paths(&sandbox.write, "rw"));
        }
        for (source, target, mode) in volumes {
            if source.as_os_str().as_encoded_bytes().contains(&b':') {
                return Err(ContainerError::Colon { path: source });
            }
            let mut volume = source.into_os_string();
            volume.push(format!(":{target}:{mode}"));
            args.extend(["--volume".into(), volume]);
        }
        let mut env = self.variables.clone();
        for (name, value) in container.variables {
            args.extend(["--env".into(), name.clone()]);
            env.insert(name.clone(), value.clone());
        }
        if let Some((program, rest)) = container.command.split_first() {
            args.extend(["--entrypoint".into(), program.clone(), container.image.into()]);
            args.extend(rest.iter().cloned());
        }
        Ok((args, env))
    }

    pub fn program(&self) -> &Path {
        &self.program
    }

    /// What its client gives up: it may need helpers with more rights, to map accounts say.
    pub fn confinement() -> Confinement {
        Confinement { may_gain_privileges: true, ..Confinement::default() }
    }

    /// Ends a container whose client was ended.
    pub async fn remove(&self, name: &str) {
        if let Err(problem) = self.ask(&["rm", "--force", name], PATIENCE).await {
            tracing::warn!(container = name, problem, "cannot remove a container");
        }
    }

    /// Ends the containers of an instance that died.
    pub async fn remove_all_of(&self, instance: &str) {
        let filter = format!("label={LABEL}={instance}");
        let listed = self.ask(&["ps", "--all", "--quiet", "--filter", &filter], PATIENCE).await;
        let Ok(ids) = listed.inspect_err(|problem| {
            tracing::debug!(problem, "cannot ask for the containers of a worker that died");
        }) else {
            return;
        };
        for id in ids.split_whitespace() {
            tracing::warn!(
                container = id,
                instance,
                "ends a container that a worker which died had left running"
            );
            self.remove(id).await;
        }
    }

    /// What the end of the client says of the engine rather than of the action.
    pub fn failure(&self, finished: &Finished) -> Option<String> {
        (finished.exit == Exit::Code(ENGINE_FAILED))
            .then(|| format!("{} did not run the container: {}", self.name, tail(finished)))
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

/// The end of what the engine said.
fn tail(finished: &Finished) -> String {
    let text = finished.stderr.to_text();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    match lines.is_empty() {
        true => format!("it ended with {:?} and no word", finished.exit),
        false => lines[lines.len().saturating_sub(5)..].join("; "),
    }
}
