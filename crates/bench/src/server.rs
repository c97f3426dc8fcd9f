//! A server of the benchmark's own: `attune up` in a temporary directory.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::machine;

/// How a server is started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options<'a> {
    /// None: the one beside this program.
    pub(crate) binary: Option<&'a Path>,
    /// Executions that its worker runs at once.
    pub(crate) slots: u32,
}

impl<'a> Options<'a> {
    /// As it comes.
    pub(crate) fn of(binary: Option<&'a Path>) -> Self {
        Self { binary, slots: SLOTS }
    }
}

/// What a worker has unless it is told otherwise.
pub(crate) const SLOTS: u32 = 64;

/// A running server and how to sign in.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) password: String,
    /// From the start of the process to its greeting, the making of the database cluster included.
    pub(crate) ready: Duration,
    process: Child,
    pid: u32,
    directory: TempDir,
}

impl Server {
    /// Starts the server and waits for its greeting.
    pub(crate) async fn start(options: &Options<'_>) -> anyhow::Result<Self> {
        let binary = match options.binary {
            Some(given) => given.to_owned(),
            None => beside_this_program()?,
        };
        let directory = tempfile::Builder::new().prefix("attune-bench-").tempdir()?;
        // PostgreSQL may have to run under another account, which must be able to come by.
        std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let began = Instant::now();
        let mut process = Command::new(&binary)
            .args(["up", "--listen", "127.0.0.1:0", "--slots", &options.slots.to_string(), "--data-dir"])
            .arg(directory.path().join("data"))
            .env_remove("DATABASE_URL")
            .env("ATTUNE_LOG", "warn")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let pid = process.id().context("the server ended at once")?;
        let stdout = process.stdout.take().context("the server has no standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        let (mut url, mut password, mut ready) = (None, None, None);
        while let Some(line) = lines.next_line().await? {
            if let Some(address) = line.strip_prefix("Attune is up at ") {
                url = Some(address.trim().to_owned());
                ready = Some(began.elapsed());
            }
            if let Some(word) = line.trim().strip_prefix("password ") {
                password = Some(word.trim().to_owned());
            }
            if line.contains("Ctrl-C") {
                break;
            }
        }
        // Whatever it says from now on must find a reader.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self {
            url: url.context("the server did not say where it is")?,
            password: password.context("the server did not say the first password")?,
            ready: ready.unwrap_or_default(),
            process,
            pid,
            directory,
        })
    }

    /// The database that the server manages.
    pub(crate) fn database_url(&self) -> anyhow::Result<String> {
        let data = self.directory.path().join("data");
        attune_common::managed_postgres::running_url(&data).context("the server's database is not running")
    }

    /// Resident memory of the server process (PostgreSQL is not counted), in KiB.
    pub(crate) fn resident_kib(&self) -> Option<u64> {
        self.status("VmRSS:")
    }

    /// The highest that its resident memory ever was, by the kernel's own account, in KiB.
    pub(crate) fn highest_resident_kib(&self) -> Option<u64> {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    }

    /// Seconds of processor time that it has used so far, without PostgreSQL and the processes of actions.
    pub(crate) fn processor_seconds(&self) -> f64 {
        machine::processor_seconds(self.pid)
    }

    /// Stops the server as Ctrl-C does and waits for its end.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let killed = Command::new("kill").args(["-INT", &self.pid.to_string()]).status().await?;
        anyhow::ensure!(killed.success(), "the server could not be signalled");
        let status = self.process.wait().await?;
        anyhow::ensure!(status.success(), "the server ended with {status}");
        Ok(())
    }
}

pub(crate) fn beside_this_program() -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe()?;
    let binary = this.with_file_name("attune");
    anyhow::ensure!(
        binary.is_file(),
        "{} does not exist: build it, or name it with --binary",
        binary.display()
    );
    Ok(binary)
}
