//! One run of the server process: starting it, or finding one that runs already; telling when it has ended; ending it.
//!
//! The server is started directly and not through `pg_ctl`: its exit is then noticed at once and without asking. It has its
//! own process group, so that Ctrl-C in a terminal reaches it only through us, after those who need it have stopped. It
//! outlives a killed Attune; the next one finds it by `postmaster.pid` and takes it over.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::sync::watch;

use super::cluster::{Cluster, PORT};
use super::{DATABASE, ManagedPostgresError, io_error, log};

/// Recovery after a crash may have much to replay; meanwhile the server is alive but not ready.
const READY_TIMEOUT: Duration = Duration::from_secs(300);
const READY_POLL: Duration = Duration::from_millis(2);
const CONNECT_POLL: Duration = Duration::from_millis(100);
const ADOPTED_POLL: Duration = Duration::from_millis(250);

/// How a server is asked to end, and how long it gets before it is asked less kindly. A fast shutdown ends sessions and
/// writes a checkpoint; an immediate one leaves recovery to the next start.
const STOP_STEPS: [(Signal, Duration); 3] = [
    (Signal::SIGINT, Duration::from_secs(60)),
    (Signal::SIGQUIT, Duration::from_secs(10)),
    (Signal::SIGKILL, Duration::from_secs(5)),
];

/// A server process that was started or adopted.
#[derive(Debug, Clone)]
pub(super) struct Postmaster {
    pub(super) pid: Pid,
    /// How it ended, once it has.
    exited: watch::Receiver<Option<String>>,
    /// Where its output begins in the log.
    log_offset: u64,
}

impl Postmaster {
    pub(super) fn spawn(cluster: &Cluster) -> Result<Self, ManagedPostgresError> {
        let log_file = log::open(&cluster.log).map_err(io_error("open", &cluster.log))?;
        let log_offset = log::length(&cluster.log);
        let second = log_file.try_clone().map_err(io_error("open", &cluster.log))?;
        let mut command = cluster.command("postgres");
        command.arg("-D").arg(&cluster.directory);
        for (name, value) in server_settings(cluster) {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command.stdout(log_file).stderr(second).process_group(0);
        let program = cluster.installation.program("postgres");
        let mut child = command.spawn().map_err(io_error("run", &program))?;
        // The id is there until the child has been waited for.
        let pid = Pid::from_raw(child.id().and_then(|id| i32::try_from(id).ok()).unwrap_or_default());
        let (sender, exited) = watch::channel(None);
        tokio::spawn(async move {
            let how = match child.wait().await {
                Ok(status) => status.to_string(),
                Err(error) => format!("it could not be waited for: {error}"),
            };
            sender.send_replace(Some(how));
        });
        Ok(Self { pid, exited, log_offset })
    }

    /// The server of this cluster that runs already, left by an Attune that was killed. Removes the traces of one that
    /// does not run any more where they would keep a new one from starting.
    pub(super) fn running(cluster: &Cluster) -> Result<Option<Self>, ManagedPostgresError> {
        let pid_file = cluster.directory.join("postmaster.pid");
        let pid =
            std::fs::read_to_string(&pid_file).ok().and_then(|text| text.lines().next()?.trim().parse().ok());
        if let Some(pid) = pid.map(Pid::from_raw)
            && is_postmaster(pid, &cluster.directory)
        {
            return Ok(Some(Self::adopt(cluster, pid)));
        }
        // A server that answers but is not to be seen runs in another container on the same data.
        if UnixStream::connect(cluster.socket()).is_ok() {
            return Err(ManagedPostgresError::RunsElsewhere { directory: cluster.directory.clone() });
        }
        // PostgreSQL takes any live process with the recorded id for its predecessor, and process ids are used again after
        // a reboot. That there is none is known by now.
        let socket_lock = cluster.socket_dir.join(format!(".s.PGSQL.{PORT}.lock"));
        for stale in [pid_file, socket_lock] {
            match std::fs::remove_file(&stale) {
                Ok(()) => {
                    tracing::info!(file = %stale.display(), "removed the lock file of a server that is gone");
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(io_error("remove", &stale)(error)),
            }
        }
        Ok(None)
    }

    fn adopt(cluster: &Cluster, pid: Pid) -> Self {
        let (sender, exited) = watch::channel(None);
        let directory = cluster.directory.clone();
        tokio::spawn(async move {
            while !sender.is_closed() && is_postmaster(pid, &directory) {
                tokio::time::sleep(ADOPTED_POLL).await;
            }
            sender.send_replace(Some(
                "it had been started by an earlier process, so how is not known".to_owned(),
            ));
        });
        Self { pid, exited, log_offset: log::length(&cluster.log) }
    }

    /// Waits until the server accepts connections to the database, which is created if it is missing.
    pub(super) async fn ready(&self, cluster: &Cluster) -> Result<(), ManagedPostgresError> {
        tokio::select! {
            how = self.exited() => Err(ManagedPostgresError::Exited {
                how,
                log: cluster.log.clone(),
                output: log::tail(&cluster.log, self.log_offset),
            }),
            ready = accepts_connections(self.pid, cluster) => ready,
        }
    }

    /// Waits for its end and says how it ended.
    pub(super) async fn exited(&self) -> String {
        let mut exited = self.exited.clone();
        match exited.wait_for(Option::is_some).await {
            Ok(how) => how.clone().unwrap_or_default(),
            Err(_) => "nobody watched it".to_owned(),
        }
    }

    /// The last lines of its output.
    pub(super) fn output(&self, cluster: &Cluster) -> String {
        log::tail(&cluster.log, self.log_offset)
    }

    /// Ends it, and returns when it has ended.
    pub(super) async fn stop(&self) -> Result<(), ManagedPostgresError> {
        for (signal, patience) in STOP_STEPS {
            if self.exited.borrow().is_some() {
                return Ok(());
            }
            match kill(self.pid, signal) {
                // Gone already; its watcher is about to say so.
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => tracing::error!(pid = %self.pid, %signal, %error, "cannot signal PostgreSQL"),
            }
            if tokio::time::timeout(patience, self.exited()).await.is_ok() {
                return Ok(());
            }
            tracing::warn!(pid = %self.pid, %signal, ?patience, "PostgreSQL did not stop in time");
        }
        Err(ManagedPostgresError::DoesNotStop { pid: self.pid.as_raw() })
    }
}

/// What the operator cannot change: the rest of Attune relies on it.
fn server_settings(cluster: &Cluster) -> Vec<(&'static str, String)> {
    let socket_dir = cluster.socket_dir.display().to_string().replace('"', "\"\"");
    let mut settings = vec![
        ("listen_addresses", String::new()),
        ("port", PORT.to_string()),
        ("unix_socket_directories", format!("\"{socket_dir}\"")),
        ("unix_socket_permissions", "0700".to_owned()),
        ("logging_collector", "off".to_owned()),
        ("log_destination", "stderr".to_owned()),
    ];
    if !cluster.durable {
        // For data that a crash of the machine may take: tests.
        let unsafe_but_fast = [
            ("fsync", "off"),
            ("synchronous_commit", "off"),
            ("full_page_writes", "off"),
            ("wal_level", "minimal"),
            ("max_wal_senders", "0"),
            ("autovacuum", "off"),
        ];
        settings.extend(unsafe_but_fast.map(|(name, value)| (name, value.to_owned())));
    }
    settings
}

async fn accepts_connections(pid: Pid, cluster: &Cluster) -> Result<(), ManagedPostgresError> {
    let options: PgConnectOptions = cluster.url(DATABASE).parse()?;
    let deadline = Instant::now() + READY_TIMEOUT;
    says_ready(pid, cluster, deadline).await;
    loop {
        match options.connect().await {
            Ok(connection) => {
                // It was only a knock; nobody waits for the answer to the farewell.
                let _ = connection.close().await;
                return Ok(());
            }
            Err(error) if is_code(&error, "3D000") => return create_database(cluster).await,
            Err(error) if !is_passing(&error) || Instant::now() > deadline => return Err(error.into()),
            Err(_) => tokio::time::sleep(CONNECT_POLL).await,
        }
    }
}

/// Waits until the server says that it is ready: in line 8 of its lock file, where `pg_ctl` looks too. Asking by
/// connecting would write a line to the log each time while it recovers from a crash.
async fn says_ready(pid: Pid, cluster: &Cluster, deadline: Instant) {
    let pid_file = cluster.directory.join("postmaster.pid");
    let pid = pid.to_string();
    let began = Instant::now();
    let mut said = false;
    while Instant::now() < deadline {
        let text = std::fs::read_to_string(&pid_file).unwrap_or_default();
        let mut lines = text.lines().map(str::trim);
        if lines.next() == Some(pid.as_str()) && lines.nth(6) == Some("ready") {
            return;
        }
        if !said && began.elapsed() > Duration::from_secs(3) {
            said = true;
            tracing::info!("PostgreSQL is not ready yet, it may be recovering from a crash");
        }
        tokio::time::sleep(READY_POLL).await;
    }
}

async fn create_database(cluster: &Cluster) -> Result<(), ManagedPostgresError> {
    let mut connection = PgConnection::connect(&cluster.url("postgres")).await?;
    sqlx::raw_sql("create database attune template template0").execute(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

/// Whether waiting may help: there is no socket yet, or the server is starting, recovering, stopping or full.
fn is_passing(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(_)) || is_code(error, "57P03") || is_code(error, "53300")
}

fn is_code(error: &sqlx::Error, code: &str) -> bool {
    error.as_database_error().and_then(|e| e.code()).is_some_and(|c| c == code)
}

/// Whether the process is alive and is the server of this cluster, told by its command line: the id alone may belong to
/// somebody else by now. The dead that nobody has waited for have no command line.
fn is_postmaster(pid: Pid, cluster: &Path) -> bool {
    let cluster = cluster.as_os_str().as_encoded_bytes();
    let proc = Path::new("/proc").join(pid.to_string()).join("cmdline");
    if Path::new("/proc/self/cmdline").exists() {
        let Ok(command_line) = std::fs::read(proc) else { return false };
        let arguments: Vec<&[u8]> = command_line.split(|&byte| byte == 0).collect();
        return arguments.windows(2).any(|pair| pair == [b"-D".as_slice(), cluster]);
    }
    let ps: Option<Child> = Command::new("ps")
        .args(["-ww", "-o", "command=", "-p", &pid.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok();
    let Some(output) = ps.and_then(|ps| ps.wait_with_output().ok()) else { return false };
    let needle = [b"-D ".as_slice(), cluster].concat();
    output.stdout.windows(needle.len()).any(|window| window == needle)
}
