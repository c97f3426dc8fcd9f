//! A PostgreSQL server of our own, for a machine where nobody has set one up: `attune up` without `DATABASE_URL`.
//!
//! The programs come from the system's package (never from a download); the cluster lives in `<data directory>/postgres`
//! and is reached through a unix socket only. [`ManagedPostgres::start`] makes whatever is missing and returns when the
//! database accepts connections.
//!
//! Invariants:
//! - one Attune at a time manages a data directory ([`lock`]); the kernel gives the lock back when that process dies;
//! - a cluster is complete or absent ([`cluster`]);
//! - any process may be killed at any moment: the next start adopts a server that still runs and recovers one that
//!   does not ([`postmaster`]);
//! - nothing is ever done to a cluster that was made by another version or belongs to another account.
//!
//! This module is the one place outside the repositories that speaks to PostgreSQL: it connects to see whether the server
//! is ready, and creates the database `attune`.

mod account;
mod cluster;
mod installation;
mod lock;
mod log;
mod postmaster;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

pub use installation::MINIMUM_MAJOR;

use cluster::Cluster;
use lock::DataDirLock;
use postmaster::Postmaster;

/// The database that Attune's schema lives in.
const DATABASE: &str = "attune";
const LOG_CHECK_INTERVAL: Duration = Duration::from_secs(60);
/// How long a server may be kept from starting by what is left of the one before it.
const PREDECESSOR_PATIENCE: Duration = Duration::from_secs(15);
const FIRST_RESTART_DELAY: Duration = Duration::from_millis(100);
const LAST_RESTART_DELAY: Duration = Duration::from_secs(30);

/// What is to be run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Holds the cluster, its log, its socket and the lock; made if it is missing.
    pub data_dir: PathBuf,
    /// Whether a commit survives a crash of the machine. False only for data that may be lost: tests.
    pub durable: bool,
}

impl Settings {
    /// A durable server in this data directory.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self { data_dir: data_dir.into(), durable: true }
    }
}

/// Where data goes when nobody says where: `/var/lib/attune` for root, else `$XDG_DATA_HOME/attune`, by default
/// `~/.local/share/attune`. None for an ordinary user without a home directory.
pub fn default_data_dir() -> Option<PathBuf> {
    if nix::unistd::geteuid().is_root() {
        return Some(PathBuf::from("/var/lib/attune"));
    }
    user_data_dir(std::env::var_os("XDG_DATA_HOME").map(PathBuf::from), std::env::home_dir())
}

/// The URL of the database that another process manages in this data directory, while it takes connections.
pub fn running_url(data_dir: &Path) -> Option<String> {
    cluster::running_url(data_dir, DATABASE)
}

/// A relative `XDG_DATA_HOME` does not count, as the XDG Base Directory Specification says.
fn user_data_dir(xdg_data_home: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    let base = xdg_data_home.filter(|dir| dir.is_absolute()).or_else(|| Some(home?.join(".local/share")))?;
    Some(base.join("attune"))
}

/// A running server that belongs to this process until [`stop`](Self::stop). Dropped without that, it runs on and the
/// next start takes it over.
#[derive(Debug)]
pub struct ManagedPostgres {
    cluster: Cluster,
    state: Mutex<State>,
    _lock: DataDirLock,
}

#[derive(Debug)]
enum State {
    /// Only during the first start.
    New,
    /// The latest server; it may have ended.
    Started(Postmaster),
    /// Stopped on purpose; nothing is started from here on.
    Stopped,
}

impl ManagedPostgres {
    /// Makes the cluster and the database `attune` where they are missing, starts or adopts the server, and returns when
    /// it accepts connections.
    pub async fn start(settings: &Settings) -> Result<Self, ManagedPostgresError> {
        let began = Instant::now();
        let data_dir = cluster::prepare_data_dir(&settings.data_dir)?;
        let lock = DataDirLock::take(&data_dir)?;
        let cluster = Cluster::open(settings, &data_dir).await?;
        let managed = Self { cluster, state: Mutex::new(State::New), _lock: lock };
        let adopted = managed.launch().await?;
        tracing::info!(
            pid = managed.pid(),
            version = managed.cluster.installation.major,
            directory = %managed.cluster.directory.display(),
            adopted,
            elapsed = ?began.elapsed(),
            "PostgreSQL is ready"
        );
        Ok(managed)
    }

    /// The URL of the database, for sqlx and libpq alike. It stays the same over restarts.
    pub fn url(&self) -> String {
        self.cluster.url(DATABASE)
    }

    /// The server's process id; None once it has been stopped.
    pub fn pid(&self) -> Option<i32> {
        self.current().map(|postmaster| postmaster.pid.as_raw())
    }

    /// Starts the server again whenever it ends without being told to, and keeps its log bounded. Returns when `shutdown`
    /// is cancelled or [`stop`](Self::stop) is called.
    pub async fn supervise(&self, shutdown: CancellationToken) {
        let watch = async {
            while let Some(postmaster) = self.current() {
                let how = postmaster.exited().await;
                if self.current().is_none() {
                    return;
                }
                tracing::error!(
                    pid = %postmaster.pid,
                    how,
                    log = %self.cluster.log.display(),
                    output = postmaster.output(&self.cluster),
                    "PostgreSQL ended unexpectedly, starting it again"
                );
                self.restart().await;
            }
        };
        tokio::select! {
            () = watch => {}
            () = self.bound_log() => {}
            () = shutdown.cancelled() => {}
        }
    }

    /// Stops the server and returns when it has ended. Sessions that are still open are cut off; what they had committed
    /// is safe.
    pub async fn stop(&self) -> Result<(), ManagedPostgresError> {
        let before = std::mem::replace(&mut *self.state(), State::Stopped);
        let State::Started(postmaster) = before else { return Ok(()) };
        postmaster.stop().await?;
        tracing::info!(pid = %postmaster.pid, "PostgreSQL has stopped");
        Ok(())
    }

    /// Adopts the server that runs already or starts one, and waits until it is ready. Says whether it was adopted.
    async fn launch(&self) -> Result<bool, ManagedPostgresError> {
        let began = Instant::now();
        loop {
            let (postmaster, adopted) = self.adopt_or_spawn()?;
            match postmaster.ready(&self.cluster).await {
                Ok(()) => return Ok(adopted),
                // It was shutting down when it was found.
                Err(ManagedPostgresError::Exited { .. }) if adopted => {}
                Err(ManagedPostgresError::Exited { output, .. })
                    if predecessor_is_in_the_way(&output) && began.elapsed() < PREDECESSOR_PATIENCE =>
                {
                    tokio::time::sleep(FIRST_RESTART_DELAY).await;
                }
                Err(error @ ManagedPostgresError::Exited { .. }) => return Err(error),
                Err(error) => {
                    // It runs but is of no use; leaving it would make the next start fail in the same way.
                    postmaster.stop().await?;
                    return Err(error);
                }
            }
        }
    }

    /// From here on a stop reaches the server, even if the caller is not polled again.
    fn adopt_or_spawn(&self) -> Result<(Postmaster, bool), ManagedPostgresError> {
        let mut state = self.state();
        if matches!(*state, State::Stopped) {
            return Err(ManagedPostgresError::Stopped);
        }
        let running = Postmaster::running(&self.cluster)?;
        let adopted = running.is_some();
        let postmaster = match running {
            Some(running) => running,
            None => Postmaster::spawn(&self.cluster)?,
        };
        *state = State::Started(postmaster.clone());
        Ok((postmaster, adopted))
    }

    async fn restart(&self) {
        let mut delay = FIRST_RESTART_DELAY;
        loop {
            match self.launch().await {
                Ok(_) => {
                    tracing::info!(pid = self.pid(), "PostgreSQL is ready again");
                    return;
                }
                Err(ManagedPostgresError::Stopped) => return,
                Err(error) => tracing::error!(%error, ?delay, "cannot start PostgreSQL, trying again"),
            }
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(LAST_RESTART_DELAY);
        }
    }

    async fn bound_log(&self) {
        loop {
            tokio::time::sleep(LOG_CHECK_INTERVAL).await;
            if let Err(error) = log::bound(&self.cluster.log) {
                tracing::warn!(log = %self.cluster.log.display(), %error, "cannot shorten the log of PostgreSQL");
            }
        }
    }

    fn current(&self) -> Option<Postmaster> {
        match &*self.state() {
            State::Started(postmaster) => Some(postmaster.clone()),
            State::New | State::Stopped => None,
        }
    }

    /// The state is replaced as a whole, so a poisoned lock holds a good one.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ManagedPostgresError {
    #[error(
        "PostgreSQL {MINIMUM_MAJOR} or newer was not found on this machine{found}; install it ({install}), \
         or set DATABASE_URL to a server"
    )]
    NotInstalled { found: String, install: &'static str },
    #[error(
        "the cluster in {} was made by PostgreSQL {cluster}, but only version {installed} is installed; \
         install PostgreSQL {cluster} as well, or convert the cluster with pg_upgrade",
        directory.display()
    )]
    VersionMismatch { directory: PathBuf, cluster: u32, installed: u32 },
    #[error(
        "the data directory {} is in use by another attune{holder}; stop that one, or use another data directory",
        directory.display()
    )]
    Locked { directory: PathBuf, holder: String },
    #[error(
        "a PostgreSQL server that cannot be seen from here uses {}; it probably runs in another container: stop it there",
        directory.display()
    )]
    RunsElsewhere { directory: PathBuf },
    #[error(
        "{} is not a PostgreSQL cluster (it is not empty and has no valid PG_VERSION); move it away",
        directory.display()
    )]
    NotACluster { directory: PathBuf },
    #[error(
        "PostgreSQL does not run as root, and neither of the accounts postgres and nobody exists to run it under; \
         create the account postgres, or run attune as an ordinary user"
    )]
    NoAccount,
    #[error("{} belongs to {owner} but PostgreSQL would run as {expected}; give it to {expected} or move it away", directory.display())]
    ForeignOwner { directory: PathBuf, owner: String, expected: String },
    #[error(
        "PostgreSQL runs as {account} (it does not run as root), and that account cannot get to {}; \
         allow passing through (chmod o+x {}) or use another data directory",
        directory.display(), closed.display()
    )]
    NotTraversable { directory: PathBuf, closed: PathBuf, account: String },
    #[error("the path of the data directory {} is not UTF-8; use another one", directory.display())]
    NotUtf8 { directory: PathBuf },
    #[error("initdb failed ({status}): {output}")]
    Initdb { status: String, output: String },
    #[error("PostgreSQL ended while it was starting ({how}); its log {} ends with:\n{output}", log.display())]
    Exited { how: String, log: PathBuf, output: String },
    #[error("PostgreSQL (process {pid}) does not stop; it may be waiting for its disk")]
    DoesNotStop { pid: i32 },
    #[error("PostgreSQL was stopped while it was starting")]
    Stopped,
    #[error("cannot {what} {}: {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("PostgreSQL runs but does not accept connections: {0}")]
    Connect(#[from] sqlx::Error),
}

/// Whether a server refused to start because of one before it: sessions of a killed server hold its shared memory until
/// they notice, and one that was started a moment before Attune was killed has only now written its lock file.
fn predecessor_is_in_the_way(output: &str) -> bool {
    output.contains("is still in use") || output.contains("\"postmaster.pid\" already exists")
}

/// Says what was being done, and to what, when the system refused.
fn io_error(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> ManagedPostgresError {
    let path = path.to_owned();
    move |source| ManagedPostgresError::Io { what, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_user_data_dir_follows_the_xdg_specification() {
        let check = |xdg: Option<&str>, home: Option<&str>, expected: Option<&str>| {
            assert_eq!(user_data_dir(xdg.map(Into::into), home.map(Into::into)), expected.map(Into::into));
        };
        check(Some("/data"), Some("/home/ada"), Some("/data/attune"));
        check(None, Some("/home/ada"), Some("/home/ada/.local/share/attune"));
        check(Some("relative"), Some("/home/ada"), Some("/home/ada/.local/share/attune"));
        check(Some(""), None, None);
    }
}
