//! One life of a sensor's process, from its start to its end.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;

use attune_common::environment::{API_TOKEN, API_URL};
use attune_common::error::StoreError;
use attune_common::models::sensor::RunnableSensor;
use attune_common::pack_cache::{OpenPack, PackCacheError};
use attune_common::pack_store::PackStoreError;
use attune_common::process::{self, PACK_DIR, ProcessGroup, Program, StartError};
use attune_common::python_sdk::PYTHONPATH;
use attune_runtime::environments::{Demands, EnvironmentError, Language, Prepared, Wanted};
use attune_runtime::masking::Masker;
use attune_runtime::pack_config::{self, PACK_CONFIG, PackConfig, PackConfigError};
use nix::sys::signal::Signal;
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio_util::sync::CancellationToken;

use crate::Shared;
use crate::failures;
use crate::keeper::Stop;
use crate::lines::Lines;
use crate::recorder::Recorder;
use crate::report::LONGEST_LINE;
use crate::tokens::ApiAccess;

const SENSOR_REF: &str = "ATTUNE_SENSOR_REF";
/// The longest piece of standard error in one line of the log.
const LONGEST_REMARK: usize = 8 * 1024;
/// How many of the last lines of standard error are told at its end.
const LAST_WORDS: usize = 20;

/// A life that is over.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// The end of what it wrote to standard error.
    pub(crate) last_words: Vec<String>,
}

/// Why there was no life.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LifeError {
    #[error(transparent)]
    Pack(#[from] PackStoreError),
    #[error(transparent)]
    File(#[from] PackCacheError),
    #[error("the working directory {} cannot be made", .path.display())]
    Directory { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    #[error(transparent)]
    Settings(#[from] PackConfigError),
    #[error("no token for the API could be made")]
    Token(#[source] StoreError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("the exit status of the process could not be read")]
    Wait(#[source] std::io::Error),
}

impl LifeError {
    /// Whether it was to stop before there was a process.
    pub(crate) fn is_stopped(&self) -> bool {
        matches!(self, Self::Environment(EnvironmentError::Cancelled))
    }
}

/// What a process is started with. Without `Debug`: secrets travel in it.
struct Given<'a> {
    entrypoint: &'a Path,
    pack_dir: &'a Path,
    directory: &'a Path,
    prepared: Option<&'a Prepared>,
    config: Option<&'a PackConfig>,
    api: Option<&'a ApiAccess>,
}

/// Starts the sensor's process, and stays until it has ended and everything that it said is stored.
pub(crate) async fn live(
    shared: &Arc<Shared>,
    sensor: &RunnableSensor,
    stop: &Stop,
) -> Result<Ended, LifeError> {
    // Held to the end: a pack in use is not removed from the disk.
    let files = shared.packs.open(sensor.pack, &sensor.pack_ref, Some(&sensor.pack_checksum)).await?;
    let entrypoint = files.file(&format!("sensors/{}", sensor.entrypoint))?;
    let directory = shared.directories.join(&sensor.r#ref);
    tokio::fs::create_dir_all(&directory)
        .await
        .map_err(|source| LifeError::Directory { path: directory.clone(), source })?;
    // Held to the end too: so is an environment.
    let prepared = prepare(shared, sensor, &files, stop).await?;
    let pack_dir = prepared.as_ref().map_or(files.path(), |prepared| &prepared.files);
    let entrypoint = match entrypoint.strip_prefix(files.path()) {
        Ok(within) => pack_dir.join(within),
        Err(_) => entrypoint,
    };
    let config = match sensor.settings {
        Some(_) => pack_config::read(&shared.pool, &shared.keys, sensor.pack).await?,
        None => None,
    };
    let api = shared.tokens.begin(&shared.pool, sensor).await.map_err(LifeError::Token)?;
    let secrets = config.iter().flat_map(|config| config.secrets.iter().map(String::as_str));
    let masker = Masker::of(secrets.chain(api.iter().map(|api| api.token.as_str())));
    let given = Given {
        entrypoint: &entrypoint,
        pack_dir,
        directory: &directory,
        prepared: prepared.as_ref(),
        config: config.as_ref(),
        api: api.as_ref(),
    };
    let started = start(shared, sensor, given).await;
    if let (Err(_), Some(api)) = (&started, &api) {
        shared.tokens.end(&shared.pool, sensor, api).await;
    }
    let (group, pipes) = started?;
    tracing::info!(sensor = sensor.r#ref, "sensor started");

    let over = CancellationToken::new();
    let closing = CancellationToken::new();
    let reports = Lines::new(pipes.stdout, LONGEST_LINE, over.clone());
    let remarks = Lines::new(pipes.stderr, LONGEST_REMARK, over.clone());
    let (status, (), (), last_words, ()) = tokio::join!(
        async {
            let status = accompany(group, &sensor.r#ref, stop, &closing).await;
            over.cancel();
            if let Some(api) = &api {
                shared.tokens.end(&shared.pool, sensor, api).await;
            }
            status
        },
        feed(pipes.stdin, sensor, &closing, &over),
        Recorder::new(shared.clone(), sensor, masker.clone()).run(reports),
        log(&sensor.r#ref, remarks, &masker),
        // Beside it: a database that is away holds no sensor up.
        failures::note(shared, sensor, None),
    );
    Ok(Ended { status: status.map_err(LifeError::Wait)?, last_words: last_words.into() })
}

/// What runs the code of the sensor's pack, waited for if it has to be built; None where the runtime asks for no environment.
async fn prepare(
    shared: &Shared,
    sensor: &RunnableSensor,
    files: &OpenPack,
    stop: &Stop,
) -> Result<Option<Prepared>, EnvironmentError> {
    let language = sensor.environment.as_deref().and_then(Language::named);
    let (Some(language), Some(program)) = (language, sensor.interpreter.first()) else { return Ok(None) };
    let demands = Demands {
        runtime_ref: &sensor.runtime_ref,
        version: sensor.version.as_deref(),
        pack_ref: &sensor.pack_ref,
        runtime_deps: &sensor.runtime_deps,
    };
    let wanted = Wanted {
        language,
        pack_ref: &sensor.pack_ref,
        files: files.path(),
        checksum: files.checksum(),
        program,
        constraints: &demands.of(language),
    };
    if let Some(prepared) = shared.environments.ready(&wanted).await? {
        return Ok(Some(prepared));
    }
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    let waits = format!(
        "waits: the {} environment is being built for pack {}{}",
        language.as_str(),
        sensor.pack_ref,
        host.map(|host| format!(" on {host}")).unwrap_or_default(),
    );
    tracing::info!(sensor = sensor.r#ref, "{waits}");
    failures::note(shared, sensor, Some(&waits)).await;
    let cancel = CancellationToken::new();
    tokio::select! {
        prepared = shared.environments.prepare(&wanted, &cancel) => prepared.map(Some),
        () = stop.requested() => Err(EnvironmentError::Cancelled),
    }
}

async fn start(
    shared: &Shared,
    sensor: &RunnableSensor,
    Given { entrypoint, pack_dir, directory, prepared, config, api }: Given<'_>,
) -> Result<(ProcessGroup, process::Pipes), StartError> {
    let mut env = shared.environment.variables();
    env.insert(SENSOR_REF.into(), sensor.r#ref.clone().into());
    env.insert(PACK_DIR.into(), pack_dir.into());
    if let Some(sdk) = &shared.python_sdk {
        env.insert(PYTHONPATH.into(), sdk.into());
    }
    if let Some(config) = config {
        env.insert(PACK_CONFIG.into(), config.json.as_str().into());
    }
    if let Some(api) = api {
        env.insert(API_URL.into(), api.url.as_str().into());
        env.insert(API_TOKEN.into(), api.token.as_str().into());
    }
    if let Some(prepared) = prepared {
        env.extend(prepared.variables.clone());
        if let Some(front) = &prepared.path {
            let path = env.get(OsStr::new("PATH")).cloned().unwrap_or_default();
            let all = std::iter::once(front.clone()).chain(std::env::split_paths(&path));
            if let Ok(path) = std::env::join_paths(all) {
                env.insert("PATH".into(), path);
            }
        }
    }
    let (program, args) = match sensor.interpreter.split_first() {
        Some((program, rest)) => {
            let program = prepared.map_or(Path::new(program), |prepared| &prepared.program);
            let rest = rest.iter().map(OsString::from);
            (program, rest.chain([entrypoint.into()]).collect())
        }
        None => (entrypoint, Vec::new()),
    };
    let confinement = process::Confinement::default();
    let program = Program {
        program,
        args: &args,
        env: &env,
        cwd: directory,
        with_stdin: true,
        confinement: &confinement,
    };
    process::start(&program).await
}

/// Waits for the end of the process, brings it about when that is wanted, and leaves nothing of its group behind.
async fn accompany(
    mut group: ProcessGroup,
    sensor: &str,
    stop: &Stop,
    closing: &CancellationToken,
) -> std::io::Result<ExitStatus> {
    tokio::select! {
        () = group.leader_ended() => {}
        () = stop.requested() => {
            closing.cancel();
            group.signal(Signal::SIGTERM);
            // A stopped process would not notice.
            group.signal(Signal::SIGCONT);
            let in_time = tokio::time::timeout(stop.grace(), group.leader_ended()).await;
            if in_time.is_err() {
                tracing::warn!(sensor, "the process of a sensor did not end in time and is killed");
            }
        }
    }
    group.signal(Signal::SIGKILL);
    group.reap().await
}

/// Gives the process its configuration, and then an open standard input until it is to stop.
async fn feed(
    stdin: Option<pipe::Sender>,
    sensor: &RunnableSensor,
    closing: &CancellationToken,
    over: &CancellationToken,
) {
    let Some(mut stdin) = stdin else { return };
    let line = format!("{}\n", sensor.config);
    let give = async {
        if let Err(error) = stdin.write_all(line.as_bytes()).await {
            tracing::debug!(sensor = sensor.r#ref, %error, "the sensor did not read its configuration");
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = give => {}
        () = closing.cancelled() => {}
        () = over.cancelled() => {}
    }
}

/// Brings standard error into the log and gives back its end.
async fn log(sensor: &str, mut remarks: Lines<impl AsyncRead + Unpin>, masker: &Masker) -> VecDeque<String> {
    let mut last = VecDeque::new();
    while let Some(lines) = remarks.next().await {
        for line in lines {
            let mut masked = masker.stream();
            let mut content = masked.push(&line.content).into_owned();
            // Where a line was cut, what may be the beginning of a secret is left out.
            if !line.cut {
                content.extend(masked.finish());
            }
            let mut text = String::from_utf8_lossy(&content).into_owned();
            if line.cut {
                text.push_str("...");
            }
            tracing::info!(sensor, "{text}");
            if last.len() == LAST_WORDS {
                last.pop_front();
            }
            last.push_back(text);
        }
    }
    last
}
