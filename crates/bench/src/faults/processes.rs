//! The processes of the system: started, kept running, killed and frozen.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::ends::{Ends, Log};

/// The attune binary with what all its processes share.
#[derive(Debug)]
pub(super) struct Binary {
    path: PathBuf,
    directory: PathBuf,
    master_key: String,
    listen: String,
}

/// One `attune serve` that is started again whenever it ends.
#[derive(Debug)]
pub(super) struct Role {
    state: Arc<State>,
    keeper: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    /// 0 while there is no process.
    pid: AtomicI32,
    /// Whether the next end was brought about from here.
    killed: AtomicBool,
    frozen: AtomicBool,
    ended_by_itself: Mutex<Ends>,
    stop: CancellationToken,
}

impl Binary {
    /// The API will listen on a port that is free now.
    pub(super) fn new(path: PathBuf, directory: &Path) -> anyhow::Result<Self> {
        let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let key: [u8; 32] = rand::random();
        let master_key = key.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { path, directory: directory.to_owned(), master_key, listen: free.to_string() })
    }

    /// Where the API answers.
    pub(super) fn address(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// Brings the schema up and gives back the first administrator's password.
    pub(super) async fn migrate(&self, url: &str) -> anyhow::Result<String> {
        let output = self.command().args(["migrate", "--database-url", url]).output().await?;
        anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8(output.stdout)?;
        let password = said.lines().find_map(|line| line.trim().strip_prefix("password "));
        Ok(password.context("the first administrator has no password")?.trim().to_owned())
    }

    /// Starts `attune serve` and keeps it running. Its log is `NAME.log` in the directory.
    pub(super) fn keep(&self, name: &str, arguments: &[&str], url: &str) -> anyhow::Result<Role> {
        let path = self.directory.join(format!("{name}.log"));
        let log = File::options().create(true).append(true).open(&path)?;
        let mut command = self.command();
        command.arg("serve").args(arguments).args(["--database-url", url, "--data-dir"]);
        command.arg(self.directory.join(name)).env("ATTUNE_LOG", "warn");
        if name == "api" {
            command.args(["--listen", &self.listen]);
        }
        command.stdout(Stdio::null()).stderr(log);
        let state = Arc::new(State::default());
        let first = state.start(&mut command)?;
        let keeper = tokio::spawn(keep(state.clone(), command, first, Log::of(&path)));
        Ok(Role { state, keeper })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        for variable in attune_common::environment::VARIABLES {
            command.env_remove(variable.name);
        }
        command
            .env(attune_common::environment::MASTER_KEY, &self.master_key)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }
}

impl Role {
    /// Kills the process as a power failure would. False when there is none: it is being started again.
    pub(super) fn kill(&self) -> anyhow::Result<bool> {
        // First, lest its end be taken for its own doing.
        self.state.killed.store(true, Ordering::SeqCst);
        let killed = self.signal(Signal::SIGKILL)?;
        if !killed {
            self.state.killed.store(false, Ordering::SeqCst);
        }
        Ok(killed)
    }

    /// Stops the process for a while, and lets it go on. False when it stands still already, or is being started again.
    pub(super) fn freeze(&self, duration: Duration) -> anyhow::Result<bool> {
        if self.state.frozen.swap(true, Ordering::SeqCst) {
            return Ok(false);
        }
        if !self.signal(Signal::SIGSTOP)? {
            self.state.frozen.store(false, Ordering::SeqCst);
            return Ok(false);
        }
        let (state, pid) = (self.state.clone(), self.state.pid.load(Ordering::SeqCst));
        tokio::spawn(async move {
            tokio::time::sleep(duration).await;
            state.frozen.store(false, Ordering::SeqCst);
            // It may have been killed meanwhile; another process has another number.
            if pid != 0 && state.pid.load(Ordering::SeqCst) == pid {
                let _gone = kill(Pid::from_raw(pid), Signal::SIGCONT);
            }
        });
        Ok(true)
    }

    /// Its ends without having been killed.
    pub(super) fn ended_by_itself(&self) -> Ends {
        self.state.ended_by_itself.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends it for good.
    pub(super) async fn stop(self) {
        self.state.stop.cancel();
        // It has no result that could be lost.
        let _ended = self.keeper.await;
    }

    /// Whether there was a process to signal.
    fn signal(&self, signal: Signal) -> anyhow::Result<bool> {
        match self.state.pid.load(Ordering::SeqCst) {
            0 => Ok(false),
            pid => match kill(Pid::from_raw(pid), signal) {
                Ok(()) => Ok(true),
                Err(Errno::ESRCH) => Ok(false),
                Err(error) => Err(error).context("a process cannot be signalled"),
            },
        }
    }
}

impl State {
    fn start(&self, command: &mut Command) -> anyhow::Result<Child> {
        let child = command.spawn().context("attune cannot be started")?;
        let pid = child.id().context("attune ended at once")?;
        self.pid.store(i32::try_from(pid)?, Ordering::SeqCst);
        Ok(child)
    }
}

async fn keep(state: Arc<State>, mut command: Command, mut child: Child, mut log: Log) {
    loop {
        let ended = tokio::select! {
            ended = child.wait() => ended,
            () = state.stop.cancelled() => {
                // Whatever is left of it is killed with the end of `child`.
                let _gone = child.kill().await;
                return;
            }
        };
        state.pid.store(0, Ordering::SeqCst);
        if !state.killed.swap(false, Ordering::SeqCst) {
            let reason = match ended {
                Ok(status) => log.reason(status),
                Err(error) => format!("its end cannot be seen: {error}"),
            };
            state.ended_by_itself.lock().unwrap_or_else(PoisonError::into_inner).count(reason);
            // An init system does not start at once what ends by itself.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        log.begin();
        loop {
            match state.start(&mut command) {
                Ok(next) => {
                    child = next;
                    break;
                }
                Err(error) => {
                    eprintln!("{error:#}; trying again");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}
