//! Launches of shell scripts, and a way to wait for the death of processes.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use attune_worker::process::{Finished, Launch, OutputSink, run};
use nix::{sys::stat::Mode, unistd::mkfifo};
use tempfile::TempDir;
use tokio::{io::AsyncReadExt, net::unix::pipe, time::timeout};
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes unless it hangs; shorter than the children that wait to be killed live.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn path() -> OsString {
    std::env::var_os("PATH").expect("tests have a PATH")
}

pub(crate) fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// A working directory for processes that need none.
pub(crate) fn anywhere() -> &'static Path {
    Path::new("/")
}

/// `sh -c script` with PATH as its environment.
pub(crate) fn shell(script: &str, cwd: &Path) -> Launch {
    Launch {
        args: vec!["-c".into(), script.into()],
        env: BTreeMap::from([("PATH".into(), path())]),
        timeout: PATIENCE,
        ..Launch::of("sh", cwd)
    }
}

/// Runs the launch without live output and without cancelling it.
pub(crate) async fn finish(launch: Launch) -> Finished {
    timeout(PATIENCE, run(launch, CancellationToken::new(), OutputSink::discard()))
        .await
        .expect("run returns")
        .expect("the process starts")
}

pub(crate) async fn finish_shell(script: &str) -> Finished {
    finish(shell(script, anywhere())).await
}

/// A FIFO that shows when the last process holding it open is gone. Processes write their pid into it first.
pub(crate) struct Lifeline {
    receiver: pipe::Receiver,
}

impl Lifeline {
    /// Creates the FIFO `life` in the directory.
    pub(crate) fn tie(directory: &Path) -> Self {
        let path = directory.join("life");
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        Self { receiver: pipe::OpenOptions::new().open_receiver(path).unwrap() }
    }

    /// Waits until no process holds the FIFO, and returns the pids that were written, which are all gone.
    pub(crate) async fn cut(mut self) -> Vec<i32> {
        let mut text = String::new();
        timeout(PATIENCE, self.receiver.read_to_string(&mut text)).await.expect("processes end").unwrap();
        let pids: Vec<i32> = text.lines().map(|line| line.parse().expect("a pid")).collect();
        assert!(!pids.is_empty(), "no process has written its pid");
        for pid in &pids {
            wait_until_gone(*pid).await;
        }
        pids
    }
}

/// A process closes its files an instant before it is gone; whether it was reaped is its parent's affair.
pub(crate) async fn wait_until_gone(pid: i32) {
    let deadline = Instant::now() + PATIENCE;
    while is_running(pid) {
        assert!(Instant::now() < deadline, "process {pid} still runs");
        tokio::task::yield_now().await;
    }
}

pub(crate) fn is_running(pid: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    !matches!(state, Some('Z' | 'X'))
}

/// An executable file with this content.
pub(crate) fn program(directory: &Path, name: &str, content: impl AsRef<[u8]>, mode: u32) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;

    let path = directory.join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}
