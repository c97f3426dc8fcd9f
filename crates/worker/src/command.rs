//! What is started for an attempt: the interpreter in the environment of the pack, the entrypoint itself, or a container with
//! either; and what the process gives up.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use attune_common::models::execution::Claimed;
use attune_common::pack_cache::OpenPack;
use attune_common::process::Confinement;
use attune_pack::isolation::{FilesystemAccess, Isolation};
use attune_runtime::environments::{Demands, EnvironmentError, Language, OpenEnvironment, Prepared, Wanted};
use nix::unistd::{Gid, Uid};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::Shared;
use crate::container::{self, Container, ContainerError, Engine};
use crate::environment::{API_TOKEN, API_URL, ARTIFACTS, PACK_DIR, PARAMETERS_FILE, PYTHONPATH};
use crate::process::Finished;
use crate::reasons;
use crate::sandbox::{Places, SandboxError};

/// What is known of an attempt's command before its directory is made.
#[derive(Debug)]
pub(crate) struct Command {
    program: PathBuf,
    args: Vec<OsString>,
    /// To add to the variables of the process.
    variables: BTreeMap<OsString, OsString>,
    /// For the front of the search path.
    path: Option<PathBuf>,
    /// The directory that its pack's files are run from.
    pack: PathBuf,
    /// What a sandbox has to let it read.
    reads: Vec<PathBuf>,
    isolation: Isolation,
    contained: Option<Contained>,
    /// Held until the process has ended: an environment in use is not removed.
    _environment: Option<Arc<OpenEnvironment>>,
}

/// How a command runs in a container.
#[derive(Debug)]
struct Contained {
    engine: Engine,
    image: String,
    /// Whom its processes are; None: whom the image says.
    account: Option<String>,
    /// The SDK, where the action is for Python.
    python: Option<PathBuf>,
}

/// What is started. Without `Debug`: secrets travel in the environment.
pub(crate) struct Start {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: BTreeMap<OsString, OsString>,
    pub(crate) confinement: Confinement,
}

/// Why there is no command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error(
        "the settings of {action} that keep its process apart are not understood by this worker: upgrade the worker"
    )]
    Isolation { action: String, source: serde_json::Error },
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    #[error(transparent)]
    Container(#[from] ContainerError),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error("cancelled while it waited for a slot of the worker")]
    Cancelled,
}

impl CommandError {
    /// Whether somebody cancelled the execution while it waited.
    pub(crate) fn is_cancelled(&self) -> bool {
        matches!(
            self,
            Self::Environment(EnvironmentError::Cancelled)
                | Self::Container(ContainerError::Cancelled)
                | Self::Cancelled
        )
    }
}

/// The slot of an attempt, which it gives back while it waits for what others build.
pub(crate) type Slot = Option<OwnedSemaphorePermit>;

/// What an attempt is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) execution: &'a Claimed,
    pub(crate) files: &'a OpenPack,
}

/// What its process is given. Without `Debug`: secrets travel in the environment.
pub(crate) struct Given<'a> {
    pub(crate) directory: &'a Path,
    /// Where it leaves artifacts.
    pub(crate) artifacts: &'a Path,
    pub(crate) env: BTreeMap<OsString, OsString>,
    pub(crate) with_stdin: bool,
}

/// Prepares the command, and waits for the environment or the image where they are not there yet.
pub(crate) async fn prepare(
    subject: Subject<'_>,
    entrypoint: PathBuf,
    cancel: &CancellationToken,
    slot: &mut Slot,
) -> Result<Command, CommandError> {
    let Subject { shared, execution, files } = subject;
    let how = &execution.how;
    let isolation: Isolation = match &how.isolation {
        Some(isolation) => serde_json::from_value(isolation.clone())
            .map_err(|source| CommandError::Isolation { action: execution.action_ref.clone(), source })?,
        None => Isolation::default(),
    };
    let interpreter = how.interpreter.as_deref().unwrap_or_default();
    if let Some(image) = isolation.image.clone() {
        let engine = Engine::find(shared.builds.variables())
            .ok_or(ContainerError::NoEngine { image: image.clone() })?;
        engine.check(&isolation.limits, &shared.images).await?;
        let waiting = Waiting { what: "image", cancel, slot };
        wait(subject, waiting, engine.fetch(&shared.images, &image, cancel)).await?;
        // Everything is within the image, but for the files of the pack.
        let within =
            Path::new(container::PACK).join(entrypoint.strip_prefix(files.path()).unwrap_or(&entrypoint));
        let args = interpreter.iter().map(OsString::from).chain([within.into_os_string()]).collect();
        let language = how.environment.as_deref().and_then(Language::named);
        let contained = Contained {
            account: engine.account((Uid::effective(), Gid::effective()), &shared.images).await,
            python: shared.python_sdk.clone().filter(|_| language == Some(Language::Python)),
            engine,
            image,
        };
        return Ok(Command {
            program: contained.engine.program().to_owned(),
            args,
            variables: BTreeMap::new(),
            path: None,
            pack: files.path().to_owned(),
            reads: Vec::new(),
            isolation,
            contained: Some(contained),
            _environment: None,
        });
    }
    let mut reads = vec![files.path().to_owned()];
    reads.extend(shared.python_sdk.clone());
    let Some((program, rest)) = interpreter.split_first() else {
        return Ok(Command {
            program: entrypoint,
            args: Vec::new(),
            variables: BTreeMap::new(),
            path: None,
            pack: files.path().to_owned(),
            reads,
            isolation,
            contained: None,
            _environment: None,
        });
    };
    let language = how.environment.as_deref().and_then(Language::named);
    let prepared = match language {
        Some(language) => environment(subject, (language, program), cancel, slot).await?,
        None => Prepared {
            program: PathBuf::from(program),
            variables: BTreeMap::new(),
            path: None,
            files: files.path().to_owned(),
            environment: None,
        },
    };
    let entrypoint = match entrypoint.strip_prefix(files.path()) {
        Ok(within) => prepared.files.join(within),
        Err(_) => entrypoint,
    };
    let args = rest.iter().map(OsString::from).chain([entrypoint.into_os_string()]).collect();
    if prepared.program.is_absolute() {
        // Wherever it was installed: `bin/python3` with the libraries beside its directory.
        let real = std::fs::canonicalize(&prepared.program).unwrap_or_else(|_| prepared.program.clone());
        let home = |path: &Path| path.parent().and_then(Path::parent).map(Path::to_owned);
        let homes = [home(&prepared.program), home(&real)];
        reads.extend(homes.into_iter().flatten().filter(|home| home.parent().is_some()));
    }
    reads.extend(prepared.environment.as_ref().map(|environment| environment.path().to_owned()));
    Ok(Command {
        program: prepared.program,
        args,
        variables: prepared.variables,
        path: prepared.path,
        pack: prepared.files,
        reads,
        isolation,
        contained: None,
        _environment: prepared.environment,
    })
}

async fn environment(
    subject: Subject<'_>,
    (language, program): (Language, &str),
    cancel: &CancellationToken,
    slot: &mut Slot,
) -> Result<Prepared, CommandError> {
    let Subject { shared, execution, files } = subject;
    let how = &execution.how;
    let constraints = Demands {
        runtime_ref: how.runtime_ref.as_deref().unwrap_or_default(),
        version: how.version.as_deref(),
        pack_ref: how.pack_ref.as_deref().unwrap_or_default(),
        runtime_deps: how.runtime_deps.as_deref().unwrap_or_default(),
    }
    .of(language);
    let wanted = Wanted {
        language,
        pack_ref: execution.how.pack_ref.as_deref().unwrap_or_default(),
        files: files.path(),
        checksum: files.checksum(),
        program,
        constraints: &constraints,
    };
    match shared.environments.ready(&wanted).await? {
        Some(prepared) => Ok(prepared),
        None => {
            let prepare = shared.environments.prepare(&wanted, cancel);
            wait(subject, Waiting { what: language.as_str(), cancel, slot }, prepare).await
        }
    }
}

/// What an attempt waits for, and what it has meanwhile.
struct Waiting<'a> {
    what: &'static str,
    cancel: &'a CancellationToken,
    slot: &'a mut Slot,
}

/// Waits for what is built or fetched for a pack: seen by all, and without the slot, so that others run meanwhile. Of those who
/// wait beyond what this worker lets wait, each keeps its slot.
async fn wait<T, E: Into<CommandError>>(
    Subject { shared, execution, .. }: Subject<'_>,
    Waiting { what, cancel, slot }: Waiting<'_>,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, CommandError> {
    let pack_ref = execution.how.pack_ref.as_deref().unwrap_or_default();
    let _seen = shared.environments.preparing().wait(pack_ref, what, execution.id);
    let Ok(_place) = shared.waiting.try_acquire() else { return work.await.map_err(Into::into) };
    let had = slot.take().is_some();
    // Who has nothing to run needs none.
    let done = work.await.map_err(Into::into)?;
    if had {
        *slot = regained(&shared.slots, cancel).await?;
    }
    Ok(done)
}

/// A slot again, when one is free. Others may keep theirs for hours: who was cancelled does not wait for that.
async fn regained(slots: &Arc<Semaphore>, cancel: &CancellationToken) -> Result<Slot, CommandError> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(CommandError::Cancelled),
        // Closed only when the worker is gone.
        slot = slots.clone().acquire_owned() => Ok(slot.ok()),
    }
}

impl Command {
    /// What is started.
    pub(crate) fn start(&self, subject: Subject<'_>, given: Given<'_>) -> Result<Start, CommandError> {
        let Subject { shared, execution, files } = subject;
        let Given { directory, artifacts, mut env, with_stdin } = given;
        env.extend(self.variables.clone());
        let sandbox = self.isolation.sandbox.as_ref();
        if let Some(Contained { engine, image, account, python }) = &self.contained {
            if account.is_none() {
                container::open_to_all([directory, artifacts])?;
            }
            // Whoever starts after this worker died looks for its containers.
            shared.own.note_containers().map_err(|source| ContainerError::Note { source })?;
            let network = shared.settings.container_network.as_deref();
            let variables = in_container(env, directory, network, python.is_some());
            let (args, env) = engine.command(&Container {
                image,
                name: &self.container_name(shared, execution),
                instance: shared.own.name(),
                pack: files.path(),
                directory,
                artifacts,
                python: python.as_deref(),
                limits: &self.isolation.limits,
                sandbox,
                network,
                account: account.as_deref(),
                with_stdin,
                command: &self.args,
                variables: &variables,
            })?;
            let program = self.program.clone();
            return Ok(Start { program, args, env, confinement: Engine::confinement() });
        }
        if let Some(front) = &self.path {
            let path = env.get(OsStr::new("PATH")).cloned().unwrap_or_default();
            let all = std::iter::once(front.clone()).chain(std::env::split_paths(&path));
            if let Ok(path) = std::env::join_paths(all) {
                env.insert("PATH".into(), path);
            }
        }
        if sandbox.is_some_and(|sandbox| sandbox.filesystem != FilesystemAccess::Open) {
            // The directory for temporary files of all is closed to it.
            env.insert("TMPDIR".into(), directory.into());
            env.insert("HOME".into(), directory.into());
        }
        let places = Places { own: directory, read: &self.reads };
        let mut sandbox = sandbox.cloned();
        if let Some(sandbox) = &mut sandbox {
            sandbox.write.push(artifacts.to_string_lossy().into_owned());
        }
        let confinement = shared.abilities.confinement(&self.isolation.limits, sandbox.as_ref(), places)?;
        Ok(Start { program: self.program.clone(), args: self.args.clone(), env, confinement })
    }

    /// Ends what the end of the process did not end. Gives back why it ended badly, as far as that shows.
    pub(crate) async fn conclude(
        &self,
        shared: &Shared,
        execution: &Claimed,
        finished: &Finished,
    ) -> Option<String> {
        let limits = &self.isolation.limits;
        let Some(Contained { engine, image, .. }) = &self.contained else {
            return reasons::of(limits, &self.pack, finished);
        };
        if Engine::may_be_left(finished) {
            // The end of its client does not end a container.
            engine.remove(&self.container_name(shared, execution)).await;
        }
        let program = self.args.first().map(Path::new).unwrap_or_else(|| Path::new(""));
        engine.failure(image, program, finished).or_else(|| reasons::of_container(limits, finished))
    }

    /// Whether an interpreter that waits may fork its process.
    pub(crate) fn may_be_warm(&self) -> bool {
        self.contained.is_none() && self.isolation.warm != Some(false)
    }

    /// The directory that the pack's files are run from.
    pub(crate) fn pack(&self) -> &Path {
        &self.pack
    }

    fn container_name(&self, shared: &Shared, execution: &Claimed) -> String {
        format!("attune-{}-{}-{}", shared.own.name(), execution.id, execution.attempt)
    }
}

/// The variables of a run as they are within its container: what this machine says of itself means nothing there.
fn in_container(
    env: BTreeMap<OsString, OsString>,
    directory: &Path,
    network: Option<&str>,
    with_python: bool,
) -> BTreeMap<OsString, OsString> {
    let of_the_run = |name: &OsStr| {
        let name = name.to_string_lossy();
        name.starts_with("ATTUNE_") || name == crate::environment::TRACEPARENT
    };
    let mut variables: BTreeMap<_, _> = env.into_iter().filter(|(name, _)| of_the_run(name)).collect();
    let is_far = network != Some(container::HOST_NETWORK)
        && variables.get(OsStr::new(API_URL)).is_some_and(|url| is_of_this_machine(url));
    if is_far {
        // Who would ask there would ask the container itself.
        variables.remove(OsStr::new(API_URL));
        variables.remove(OsStr::new(API_TOKEN));
    }
    variables.insert(PACK_DIR.into(), container::PACK.into());
    variables.insert(ARTIFACTS.into(), container::ARTIFACTS.into());
    if with_python {
        variables.insert(PYTHONPATH.into(), container::PYTHON.into());
    }
    if let Some(file) = variables.get_mut(OsStr::new(PARAMETERS_FILE))
        && let Ok(name) = Path::new(file).strip_prefix(directory)
    {
        *file = Path::new(container::DIRECTORY).join(name).into_os_string();
    }
    variables
}

/// Whether a URL leads to the machine that follows it.
fn is_of_this_machine(url: &OsStr) -> bool {
    let url = url.to_str().and_then(|url| url::Url::parse(url).ok());
    url.is_some_and(|url| match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_a_container_is_told_what_holds_there() {
        let env = || {
            let all = [
                ("HOME", "/root"),
                ("PYTHONPATH", "/data/worker/python"),
                ("ATTUNE_API_TOKEN", "attune_run_1"),
                ("ATTUNE_ACTION_NAME", "x"),
                ("ATTUNE_PARAMETERS_FILE", "/runs/7/parameters.json"),
                ("TRACEPARENT", "00-1-2-01"),
            ];
            all.map(|(name, value)| (name.into(), value.into())).into_iter().collect::<BTreeMap<_, _>>()
        };
        let told = |url: &str, network| {
            let mut env = env();
            env.insert(API_URL.into(), url.into());
            let variables = in_container(env, Path::new("/runs/7"), network, false);
            let text = |(name, value): (OsString, OsString)| {
                format!("{}={}", name.to_string_lossy(), value.to_string_lossy())
            };
            variables.into_iter().map(text).collect::<Vec<_>>()
        };
        let always = [
            "ATTUNE_ACTION_NAME=x",
            "ATTUNE_ARTIFACTS=/attune/artifacts",
            "ATTUNE_PACK_DIR=/attune/pack",
            "ATTUNE_PARAMETERS_FILE=/attune/run/parameters.json",
            "TRACEPARENT=00-1-2-01",
        ];
        for url in
            ["http://127.0.0.1:9470", "http://localhost:9470/", "https://[::1]:1", "http://a.localhost"]
        {
            assert_eq!(told(url, None), always, "{url}");
            assert_eq!(told(url, Some("ops")), always, "{url}");
            assert!(told(url, Some("host")).contains(&format!("ATTUNE_API_URL={url}")), "{url}");
        }
        for url in
            ["https://attune.example.com", "http://10.0.0.1:9470", "http://host.containers.internal:9470"]
        {
            let told = told(url, None);
            assert!(told.contains(&format!("ATTUNE_API_URL={url}")), "{url}");
            assert!(told.contains(&"ATTUNE_API_TOKEN=attune_run_1".to_owned()), "{url}");
        }
        let python = in_container(env(), Path::new("/runs/7"), None, true);
        assert_eq!(python.get(OsStr::new("PYTHONPATH")), Some(&"/attune/python".into()));
    }

    #[tokio::test]
    async fn test_who_is_cancelled_does_not_wait_for_a_slot() {
        let slots = Arc::new(Semaphore::new(1));
        let cancel = CancellationToken::new();
        let slot = regained(&slots, &cancel).await.unwrap();
        assert!(slot.is_some());
        let waiting = regained(&slots, &cancel);
        let cancelling = async { cancel.cancel() };
        let (outcome, ()) = tokio::join!(waiting, cancelling);
        assert!(outcome.is_err_and(|error| error.is_cancelled()));
        assert_eq!(slots.available_permits(), 0);
        drop(slot);
        assert_eq!(slots.available_permits(), 1);
    }
}
