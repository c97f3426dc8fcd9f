//! Runs one process and tells how it ended and what it said.
//!
//! Invariants:
//! - The process - a child of ours, or forked by a warm runner ([`crate::warm`]) - leads a process group of its own, and every signal goes to the whole group. The leader is reaped last,
//!   so the number of the group cannot have been given to somebody else when it is signalled.
//! - [`run`] returns when the leader has ended, at the latest two [`LINGER`]s and one [`FLUSH`] later, whatever its
//!   descendants, the reader of the live output or the child's own handling of signals do. Only a process that the
//!   kernel itself cannot end is waited for longer: it still runs, and saying otherwise would be untrue.
//! - Dropping the future kills the group.
//! - Memory is bounded whatever the child writes. Output is bytes; it becomes text at the edge only.
//!
//! A process that moved to a group of its own (`setsid`) is out of reach, as is one that was sent to the background with
//! its output redirected and whose leader ended well: both were meant to stay.

mod capture;
mod pump;
mod started;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    future::Future,
    io,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    pin::{Pin, pin},
    process::ExitStatus,
    time::{Duration, Instant},
};

use attune_common::models::execution::OutputStream;
use attune_common::process::{Confinement, Program, StartError};
use nix::sys::signal::Signal;
use tokio::{
    select,
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

pub use capture::{CaptureLimits, Captured};
pub use pump::{Chunk, OutputSink};

pub(crate) use started::Streams;

use pump::{Pace, Stream};
use started::{LeaderExit, Started};

use crate::warm::WarmRunners;
use attune_expr::masking::Masker;

/// How long the output may stay open once the leader has ended, before the rest of its group is killed; and then how
/// long until the pipes are given up.
pub const LINGER: Duration = Duration::from_millis(500);

/// How long the reader of the live output may take for what is left when everything has ended.
pub const FLUSH: Duration = Duration::from_secs(5);

/// What to start and how.
#[derive(Clone)]
pub struct Launch {
    /// A path, relative to `cwd` unless absolute; a name without `/` is searched in the `PATH` of `env`.
    pub program: PathBuf,
    /// Without the program itself.
    pub args: Vec<OsString>,
    /// All that the child finds in its environment.
    pub env: BTreeMap<OsString, OsString>,
    pub cwd: PathBuf,
    /// Written while the output is read; a child that does not read it is no fault.
    pub stdin: Vec<u8>,
    /// After this long the group gets SIGTERM.
    pub timeout: Duration,
    /// This long after SIGTERM the group gets SIGKILL.
    pub grace: Duration,
    /// What is kept of standard output and, separately, of standard error.
    pub limits: CaptureLimits,
    /// Hides secrets in the output; what is kept and counted is what is left then.
    pub masker: Masker,
    /// Interpreters that may be waiting for this program; without one it is started the ordinary way.
    pub warm: Option<WarmRunners>,
    /// What the process gives up.
    pub confinement: Confinement,
}

impl Launch {
    /// A launch without arguments, environment or input that may take a minute, and ten seconds to obey SIGTERM.
    pub fn of(program: impl Into<PathBuf>, cwd: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: BTreeMap::new(),
            cwd: cwd.into(),
            stdin: Vec::new(),
            timeout: Duration::from_secs(60),
            grace: Duration::from_secs(10),
            limits: CaptureLimits::default(),
            masker: Masker::nothing(),
            warm: None,
            confinement: Confinement::default(),
        }
    }
}

impl fmt::Debug for Launch {
    /// Leaves out values of the environment and standard input, where secrets travel.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Launch")
            .field("program", &self.program)
            .field("args", &self.args)
            .field("env", &self.env.keys().collect::<Vec<_>>())
            .field("cwd", &self.cwd)
            .field("stdin_bytes", &self.stdin.len())
            .field("timeout", &self.timeout)
            .field("grace", &self.grace)
            .field("limits", &self.limits)
            .field("confinement", &self.confinement)
            .finish()
    }
}

/// How the leader of the group ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(signal)) => Self::Signal(signal),
            (None, None) => unreachable!("a process that was waited for has exited or was killed"),
        }
    }
}

/// Why it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// By itself, or by a signal that was not ours.
    Exited,
    /// It was ended because its time was over.
    TimedOut,
    /// It was ended because somebody wanted that.
    Cancelled,
    /// It was killed with the interpreter that had forked it.
    RunnerLost,
}

/// A process that has ended.
#[derive(Debug, Clone)]
pub struct Finished {
    pub exit: Exit,
    pub ending: Ending,
    pub stdout: Captured,
    pub stderr: Captured,
    pub duration: Duration,
    /// Processes outlived the leader and held its output open; they were killed, and what they wrote may be cut.
    pub left_processes: bool,
    /// Output that the sink did not take in time, both streams together.
    pub undelivered_bytes: u64,
}

/// Why a process could not be run.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    #[error("cancelled before the process was started")]
    Cancelled,
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("the exit status of a process could not be read")]
    Wait { source: io::Error },
}

/// Starts the process and accompanies it to its end. Cancelling ends it as its timeout does: SIGTERM, then SIGKILL.
pub async fn run(
    launch: Launch,
    cancel: CancellationToken,
    sink: OutputSink,
) -> Result<Finished, LaunchError> {
    if cancel.is_cancelled() {
        return Err(LaunchError::Cancelled);
    }
    let started = Instant::now();
    let program = Program {
        program: &launch.program,
        args: &launch.args,
        env: &launch.env,
        cwd: &launch.cwd,
        with_stdin: !launch.stdin.is_empty(),
        confinement: &launch.confinement,
    };
    let (mut group, streams) = Started::start(&program, launch.warm.as_ref()).await?;
    let mut stdout = Stream::new(OutputStream::Stdout, launch.limits, &launch.masker);
    let mut stderr = Stream::new(OutputStream::Stderr, launch.limits, &launch.masker);
    let (stdout_closed, stderr_closed) = (CancellationToken::new(), CancellationToken::new());
    let all_closed = async || {
        stdout_closed.cancelled().await;
        stderr_closed.cancelled().await;
    };
    let pace = watch::Sender::new(Pace::WithSink);

    let (ending, left_processes) = {
        let io = pin!(async {
            tokio::join!(
                pump::feed(streams.stdin, &launch.stdin, pace.subscribe()),
                stdout.pump(streams.stdout, &sink, pace.subscribe(), &stdout_closed),
                stderr.pump(streams.stderr, &sink, pace.subscribe(), &stderr_closed),
            );
        });
        let mut io = Io { future: io, done: false };

        let ending = io
            .until(async {
                select! {
                    biased;
                    () = group.leader_ended() => Ending::Exited,
                    () = cancel.cancelled() => Ending::Cancelled,
                    () = sleep(launch.timeout) => Ending::TimedOut,
                }
            })
            .await;
        pace.send_replace(Pace::AheadOfSink);
        if ending != Ending::Exited {
            group.signal(Signal::SIGTERM);
            // A stopped process would not notice.
            group.signal(Signal::SIGCONT);
            let obey = async {
                group.leader_ended().await;
                all_closed().await;
            };
            // Elapsed or not, the next step is the same: the group may hold processes that kept no pipe open.
            let _ = io.until(timeout(launch.grace, obey)).await;
            group.signal(Signal::SIGKILL);
            io.until(group.leader_ended()).await;
        }
        let mut left_processes = false;
        if !io.within(LINGER, all_closed()).await {
            left_processes = true;
            group.signal(Signal::SIGKILL);
            io.within(LINGER, all_closed()).await;
        }
        // Pipes that are still open are held by processes which left the group: nobody waits for those.
        pace.send_replace(Pace::Stop);
        io.finish(FLUSH).await;
        (ending, left_processes)
    };

    let (exit, ending) = match group.reap().await.map_err(|source| LaunchError::Wait { source })? {
        LeaderExit::Exit(exit) => (exit, ending),
        LeaderExit::RunnerLost if ending == Ending::Exited => {
            (Exit::Signal(Signal::SIGKILL as i32), Ending::RunnerLost)
        }
        LeaderExit::RunnerLost => (Exit::Signal(Signal::SIGKILL as i32), ending),
    };
    Ok(Finished {
        exit,
        ending,
        undelivered_bytes: stdout.undelivered() + stderr.undelivered(),
        stdout: stdout.into_captured(),
        stderr: stderr.into_captured(),
        duration: started.elapsed(),
        left_processes,
    })
}

/// The traffic with the child, which goes on while something else is waited for.
struct Io<'a, F> {
    future: Pin<&'a mut F>,
    done: bool,
}

impl<F: Future<Output = ()>> Io<'_, F> {
    /// `event` is looked at first: a child that never stops writing cannot keep its end from being noticed.
    async fn until<T>(&mut self, event: impl Future<Output = T>) -> T {
        let mut event = pin!(event);
        loop {
            select! {
                biased;
                value = &mut event => return value,
                () = self.future.as_mut(), if !self.done => self.done = true,
            }
        }
    }

    /// Whether `event` came in time. The traffic gets its turn after the limit has passed too, so that a machine that
    /// stood still for so long does not cost what already lies in the pipes.
    async fn within(&mut self, limit: Duration, event: impl Future<Output = ()>) -> bool {
        let mut event = pin!(event);
        if self.until(timeout(limit, event.as_mut())).await.is_ok() {
            return true;
        }
        self.until(tokio::task::yield_now()).await;
        self.until(timeout(Duration::ZERO, event)).await.is_ok()
    }

    /// Waits for the traffic itself to end.
    async fn finish(&mut self, limit: Duration) {
        if !self.done {
            self.done = timeout(limit, self.future.as_mut()).await.is_ok();
        }
    }
}
