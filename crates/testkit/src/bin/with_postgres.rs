//! Runs a command with a PostgreSQL of its own: `with-postgres cargo test`.
//!
//! The server lives in a temporary directory and promises nothing about a crash of the machine, which makes it fast. The
//! command finds its URL in `ATTUNE_TEST_DATABASE_URL`. Its exit code is passed on; the server is stopped and its
//! directory deleted however the command ends, also on Ctrl-C. What a killed `with-postgres` leaves, the next one removes.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use attune_common::managed_postgres::{ManagedPostgres, ManagedPostgresError, Settings};
use attune_testkit::{SERVER_URL_VARIABLE, scratch_base, scratch_directory};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};

const PREFIX: &str = "attune-test-postgres-";
/// How long the command may take to end after it was told to.
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "--") {
        arguments.remove(0);
    }
    let Some((program, arguments)) = arguments.split_first() else {
        eprintln!("usage: with-postgres [--] COMMAND [ARGUMENT]...");
        return ExitCode::from(2);
    };
    let mut command = Command::new(program);
    command.args(arguments);
    match run(command).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("with-postgres: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<u8> {
    // From the first moment on: a signal must not end this process before it has cleaned up.
    let mut signals = Signals::listen()?;
    sweep(&scratch_base()).await;
    let directory = scratch_directory(PREFIX).context("cannot create a directory for the server")?;
    let postgres = ManagedPostgres::start(&settings(directory.path())).await?;

    let outcome = with_server(&postgres, command, &mut signals).await;

    postgres.stop().await?;
    directory.close().context("cannot delete the directory of the server")?;
    outcome
}

/// Runs the command, and gives its exit code.
async fn with_server(
    postgres: &ManagedPostgres,
    mut command: Command,
    signals: &mut Signals,
) -> anyhow::Result<u8> {
    let url = postgres.url();
    attune_testkit::prepare(&url).await.context("cannot prepare the databases")?;
    let program = command.as_std().get_program().to_owned();
    let mut child = command
        .env(SERVER_URL_VARIABLE, url)
        .spawn()
        .with_context(|| format!("cannot run {}", program.display()))?;
    tokio::select! {
        status = child.wait() => {
            let status = status?;
            let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
            Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
        }
        signal = signals.next() => {
            end(&mut child, signal).await?;
            Ok(u8::try_from(128 + signal as i32)?)
        }
    }
}

/// Passes the signal on and waits for the end.
async fn end(child: &mut Child, signal: Signal) -> anyhow::Result<()> {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        // It may be gone already: Ctrl-C in a terminal reaches everybody.
        let _ = kill(Pid::from_raw(pid), signal);
    }
    if tokio::time::timeout(PATIENCE, child.wait()).await.is_err() {
        child.kill().await?;
    }
    Ok(())
}

struct Signals {
    interrupt: SignalStream,
    terminate: SignalStream,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::SIGINT,
            _ = self.terminate.recv() => Signal::SIGTERM,
        }
    }
}

fn settings(directory: &Path) -> Settings {
    Settings { durable: false, ..Settings::new(directory) }
}

/// Removes what earlier runs left that were killed.
async fn sweep(base: &Path) {
    let entries = std::fs::read_dir(base).into_iter().flatten().filter_map(Result::ok);
    for directory in entries.map(|entry| entry.path()) {
        let is_named = directory.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
        let is_ours = is_named
            && std::fs::symlink_metadata(&directory)
                .is_ok_and(|metadata| metadata.uid() == geteuid().as_raw());
        // One without this file is only just being made.
        if !is_ours || !directory.join("postgres/postmaster.pid").exists() {
            continue;
        }
        // Taking a server over is the way to stop one that still runs, and refused while its own process lives.
        let stopped = match ManagedPostgres::start(&settings(&directory)).await {
            Ok(left) => left.stop().await,
            Err(ManagedPostgresError::Locked { .. } | ManagedPostgresError::RunsElsewhere { .. }) => continue,
            // It does not run, and never will.
            Err(_) => Ok(()),
        };
        let removed = stopped
            .map_err(anyhow::Error::from)
            .and_then(|()| std::fs::remove_dir_all(&directory).map_err(anyhow::Error::from));
        if let Err(error) = removed {
            eprintln!("with-postgres: cannot remove {}: {error}", directory.display());
        }
    }
}
