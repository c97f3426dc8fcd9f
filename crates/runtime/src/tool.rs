//! Runs a tool to its end: what builds an environment, or an interpreter that is asked for its version.
//!
//! What it starts and leaves behind is killed with it: a tool has nothing to leave.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use attune_common::process::{self, Confinement, ProcessGroup, Program, StartError};
use nix::sys::signal::Signal;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

/// What a tool that is to end gets to clean up.
const GRACE: Duration = Duration::from_secs(5);
/// How long its output may stay open when all of its group has ended.
const LINGER: Duration = Duration::from_millis(500);
/// How much of the end of each stream is kept.
const KEPT: usize = 64 * 1024;
/// How much is read of what comes after the end: whatever left the group may write for ever.
const LEFTOVER: usize = 1024 * 1024;

/// What to run.
pub(crate) struct Tool<'a> {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    /// All that it finds in its environment.
    pub(crate) env: BTreeMap<OsString, OsString>,
    pub(crate) cwd: &'a Path,
    /// After this long it is ended.
    pub(crate) limit: Duration,
}

impl fmt::Debug for Tool<'_> {
    /// Leaves out the variables, in which credentials may be.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tool")
            .field("program", &self.program)
            .field("args", &self.args)
            .finish_non_exhaustive()
    }
}

/// A tool that has ended.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) end: End,
    /// The end of what it wrote.
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Code(i32),
    Signal(i32),
    TimedOut,
    Stopped,
}

/// Why it could not be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ToolError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("the exit status of a process could not be read")]
    Wait(#[source] io::Error),
}

/// Who is told what the tool writes, as it comes.
pub(crate) type Listener<'a> = &'a (dyn Fn(&[u8]) + Send + Sync);

/// Runs it to its end, at the latest to when it is to `stop`.
pub(crate) async fn run(
    tool: Tool<'_>,
    stop: &CancellationToken,
    listener: Listener<'_>,
) -> Result<Done, ToolError> {
    let program = Program {
        program: &tool.program,
        args: &tool.args,
        env: &tool.env,
        cwd: tool.cwd,
        with_stdin: false,
        confinement: &Confinement::default(),
    };
    let (mut group, pipes) = process::start(&program).await?;
    let over = CancellationToken::new();
    let (ended, stdout, stderr) = tokio::join!(
        async {
            let ended = accompany(&mut group, tool.limit, stop).await;
            over.cancel();
            ended
        },
        read(pipes.stdout, &over, listener),
        read(pipes.stderr, &over, listener),
    );
    let status = group.reap().await.map_err(ToolError::Wait)?;
    let end = match (ended, status.code(), status.signal()) {
        (Some(end), _, _) => end,
        (None, Some(code), _) => End::Code(code),
        (None, None, signal) => End::Signal(signal.unwrap_or_default()),
    };
    Ok(Done { end, stdout, stderr })
}

/// Waits for the end, or brings it about; None if it came by itself.
async fn accompany(group: &mut ProcessGroup, limit: Duration, stop: &CancellationToken) -> Option<End> {
    let ended = tokio::select! {
        biased;
        () = group.leader_ended() => None,
        () = stop.cancelled() => Some(End::Stopped),
        () = sleep(limit) => Some(End::TimedOut),
    };
    if ended.is_some() {
        group.signal(Signal::SIGTERM);
        // A stopped process would not notice.
        group.signal(Signal::SIGCONT);
        // In time or not, the next step is the same.
        let _ = timeout(GRACE, group.leader_ended()).await;
    }
    group.signal(Signal::SIGKILL);
    group.leader_ended().await;
    ended
}

/// Reads to the end, and gives back the end of it.
async fn read(mut pipe: impl AsyncRead + Unpin, over: &CancellationToken, listener: Listener<'_>) -> String {
    let mut kept: Vec<u8> = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    let mut leftover = LEFTOVER;
    let mut end = None;
    while leftover > 0 {
        let read = tokio::select! {
            biased;
            // Held open by what left the group: nobody waits for that, whatever it goes on saying.
            () = over.cancelled() => {
                let end = *end.get_or_insert_with(|| Instant::now() + LINGER);
                timeout_at(end, pipe.read(&mut buffer)).await.unwrap_or(Ok(0))
            }
            read = pipe.read(&mut buffer) => read,
        };
        // A pipe that cannot be read any more has said what it has.
        let Some(piece) = read.ok().and_then(|length| buffer.get(..length)).filter(|piece| !piece.is_empty())
        else {
            break;
        };
        listener(piece);
        if over.is_cancelled() {
            leftover = leftover.saturating_sub(piece.len());
        }
        kept.extend_from_slice(piece);
        if kept.len() > 2 * KEPT {
            kept.drain(..kept.len() - KEPT);
        }
    }
    kept.drain(..kept.len().saturating_sub(KEPT));
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Instant;

    use super::*;

    fn shell(script: &str, limit: Duration) -> Tool<'static> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        Tool {
            program: "sh".into(),
            args: vec!["-c".into(), script.into()],
            env: BTreeMap::from([("PATH".into(), path)]),
            cwd: Path::new("/"),
            limit,
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn test_a_tool_is_heard_and_the_end_of_what_it_wrote_is_kept() {
        let heard = Mutex::new(0);
        let listener = |piece: &[u8]| *heard.lock().unwrap() += piece.len();
        let script = "head -c 300000 /dev/zero | tr '\\0' x; echo end; echo wrong >&2; exit 3";
        let done = run(shell(script, LONG), &CancellationToken::new(), &listener).await.unwrap();
        assert_eq!((done.end, done.stderr.as_str()), (End::Code(3), "wrong\n"));
        assert!(done.stdout.len() == KEPT && done.stdout.ends_with("xend\n"), "{}", done.stdout.len());
        assert_eq!(*heard.lock().unwrap(), 300_000 + 4 + 6);
    }

    #[tokio::test]
    async fn test_what_takes_too_long_or_is_to_stop_ends_with_all_that_it_started() {
        let began = Instant::now();
        let stop = CancellationToken::new();
        let limit = Duration::from_millis(50);
        let done = run(shell("sleep 1000 & sleep 1000", limit), &stop, &|_| {}).await.unwrap();
        assert_eq!(done.end, End::TimedOut);
        let listener = |_: &[u8]| stop.cancel();
        let done = run(shell("echo ready; sleep 1000", LONG), &stop, &listener).await.unwrap();
        assert_eq!((done.end, done.stdout.as_str()), (End::Stopped, "ready\n"));
        assert!(began.elapsed() < LONG);
    }

    #[tokio::test]
    async fn test_what_it_leaves_behind_holds_nothing_up() {
        let began = Instant::now();
        // It leaves the group, and writes more than anybody reads.
        let script = "echo done; setsid head -c 100000000 /dev/zero & exit 0";
        let done = run(shell(script, LONG), &CancellationToken::new(), &|_| {}).await.unwrap();
        assert_eq!(done.end, End::Code(0));
        assert!(began.elapsed() < LONG);
    }

    #[tokio::test]
    async fn test_what_it_leaves_behind_may_go_on_talking() {
        let began = Instant::now();
        // Little, but always before anybody would give up.
        let script = "setsid sh -c 'for n in $(seq 600); do echo .; sleep 0.1; done' & exit 0";
        let done = run(shell(script, LONG), &CancellationToken::new(), &|_| {}).await.unwrap();
        assert_eq!(done.end, End::Code(0));
        assert!(began.elapsed() < LONG / 2);
    }
}
