//! One life of a sensor's process, from its start to its end.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;

use attune_common::models::sensor::RunnableSensor;
use attune_common::pack_cache::PackCacheError;
use attune_common::pack_store::PackStoreError;
use attune_common::process::{self, PACK_DIR, ProcessGroup, Program, StartError};
use attune_common::python_sdk::PYTHONPATH;
use nix::sys::signal::Signal;
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio_util::sync::CancellationToken;

use crate::Shared;
use crate::keeper::Stop;
use crate::lines::Lines;
use crate::recorder::Recorder;
use crate::report::LONGEST_LINE;

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
    Start(#[from] StartError),
    #[error("the exit status of the process could not be read")]
    Wait(#[source] std::io::Error),
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
    let (group, pipes) = start(shared, sensor, &entrypoint, files.path(), &directory).await?;
    tracing::info!(sensor = sensor.r#ref, "sensor started");

    let over = CancellationToken::new();
    let closing = CancellationToken::new();
    let reports = Lines::new(pipes.stdout, LONGEST_LINE, over.clone());
    let remarks = Lines::new(pipes.stderr, LONGEST_REMARK, over.clone());
    let (status, (), (), last_words) = tokio::join!(
        async {
            let status = accompany(group, &sensor.r#ref, stop, &closing).await;
            over.cancel();
            status
        },
        feed(pipes.stdin, sensor, &closing, &over),
        Recorder::new(shared.clone(), sensor).run(reports),
        log(&sensor.r#ref, remarks),
    );
    Ok(Ended { status: status.map_err(LifeError::Wait)?, last_words: last_words.into() })
}

async fn start(
    shared: &Shared,
    sensor: &RunnableSensor,
    entrypoint: &Path,
    pack_dir: &Path,
    directory: &Path,
) -> Result<(ProcessGroup, process::Pipes), StartError> {
    let mut env = shared.environment.variables();
    env.insert(SENSOR_REF.into(), sensor.r#ref.clone().into());
    env.insert(PACK_DIR.into(), pack_dir.into());
    if let Some(sdk) = &shared.python_sdk {
        env.insert(PYTHONPATH.into(), sdk.into());
    }
    let (program, args) = match sensor.interpreter.split_first() {
        Some((program, rest)) => {
            let rest = rest.iter().map(OsString::from);
            (Path::new(program), rest.chain([entrypoint.into()]).collect())
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
async fn log(sensor: &str, mut remarks: Lines<impl AsyncRead + Unpin>) -> VecDeque<String> {
    let mut last = VecDeque::new();
    while let Some(lines) = remarks.next().await {
        for line in lines {
            let mut text = String::from_utf8_lossy(&line.content).into_owned();
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
