//! The process group of one child: signals to all of it, notice of the leader's end, and a kill if it is dropped.

use std::{io, process::ExitStatus};

use nix::{
    errno::Errno,
    sys::signal::{self, Signal},
    unistd::Pid,
};
use tokio::{
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    signal::unix::{self, SignalKind},
};

/// A running group. Its leader stays unreaped, and with it the group's number taken, until [`ProcessGroup::reap`].
#[derive(Debug)]
pub struct ProcessGroup {
    child: Child,
    id: Pid,
    child_signals: unix::Signal,
    reaped: bool,
}

/// Our ends of the child's standard streams.
#[derive(Debug)]
pub struct Pipes {
    /// None when there is nothing to write.
    pub stdin: Option<ChildStdin>,
    pub stdout: ChildStdout,
    pub stderr: ChildStderr,
}

impl ProcessGroup {
    /// Starts the command as leader of a group of its own. Output must be piped.
    pub(super) fn start(command: &mut Command) -> io::Result<(Self, Pipes)> {
        // Listening begins before the start, so that no end is missed.
        let child_signals = unix::signal(SignalKind::child())?;
        let mut child = command.process_group(0).spawn()?;
        let id = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        match (id, child.stdout.take(), child.stderr.take()) {
            (Some(id), Some(stdout), Some(stderr)) => {
                let pipes = Pipes { stdin: child.stdin.take(), stdout, stderr };
                Ok((Self { child, id, child_signals, reaped: false }, pipes))
            }
            _ => Err(io::Error::other("the child was started without an id or without pipes")),
        }
    }

    /// Sends the signal to every process of the group; that there is none left is no fault.
    pub fn signal(&self, signal: Signal) {
        match signal::killpg(self.id, signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => {
                tracing::warn!(group = self.id.as_raw(), %signal, %error, "could not signal a process group");
            }
        }
    }

    /// Completes when the leader has ended, without reaping it. May be called again.
    pub async fn leader_ended(&mut self) {
        while !self.has_ended() {
            if self.child_signals.recv().await.is_none() {
                // The runtime is shutting down and drops us soon.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Takes the leader's exit status and lets go of the group.
    pub async fn reap(mut self) -> io::Result<ExitStatus> {
        self.reaped = true;
        self.child.wait().await
    }

    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    fn has_ended(&mut self) -> bool {
        use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        // Anything but "still alive" is for `reap` to report, such as an end by a signal that has no name here.
        !matches!(waitid(Id::Pid(self.id), flags), Ok(WaitStatus::StillAlive) | Err(Errno::EINTR))
    }

    /// Without `waitid` the leader is reaped here already; the number of its group is then ours only as long as it has
    /// members.
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if !self.reaped {
            self.signal(Signal::SIGKILL);
        }
    }
}
