//! The process group of one child: signals to all of it, notice of the leader's end, and a kill if it is dropped.

use std::io;
use std::process::ExitStatus;

use nix::errno::Errno;
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use tokio::net::unix::pipe;

use super::leader::Leader;

/// A running group. Its leader stays unreaped, and with it the group's number taken, until [`ProcessGroup::reap`].
#[derive(Debug)]
pub struct ProcessGroup {
    /// None once it is reaped.
    leader: Option<Leader>,
    id: Pid,
}

/// Our ends of the child's standard streams.
#[derive(Debug)]
pub struct Pipes {
    /// None when there is nothing to write.
    pub stdin: Option<pipe::Sender>,
    pub stdout: pipe::Receiver,
    pub stderr: pipe::Receiver,
}

impl ProcessGroup {
    pub(super) fn of(leader: Leader) -> Self {
        Self { id: Pid::from_raw(leader.id()), leader: Some(leader) }
    }

    /// The number of the group, which is that of its leader.
    pub fn id(&self) -> i32 {
        self.id.as_raw()
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
        if let Some(leader) = &mut self.leader {
            leader.ended().await;
        }
    }

    /// Takes the leader's exit status and lets go of the group.
    pub async fn reap(mut self) -> io::Result<ExitStatus> {
        match self.leader.take() {
            Some(leader) => leader.reap().await,
            None => Err(io::Error::other("the process was reaped before")),
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if let Some(leader) = self.leader.take() {
            self.signal(Signal::SIGKILL);
            leader.abandon();
        }
    }
}
