//! A process that was started, whoever started it: a child of this process, or one that a warm runner forked.

use std::io;

use attune_common::process::{Pipes, ProcessGroup, Program, StartError};
use nix::sys::signal::Signal;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Exit;
use crate::warm::WarmRunners;
#[cfg(target_os = "linux")]
use crate::warm::{WarmExit, WarmProcess};

/// Our ends of a process's standard streams.
pub(crate) struct Streams {
    /// None when there is nothing to write.
    pub(super) stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    pub(super) stdout: Box<dyn AsyncRead + Send + Unpin>,
    pub(super) stderr: Box<dyn AsyncRead + Send + Unpin>,
}

impl Streams {
    pub(crate) fn of(
        stdin: Option<impl AsyncWrite + Send + Unpin + 'static>,
        stdout: impl AsyncRead + Send + Unpin + 'static,
        stderr: impl AsyncRead + Send + Unpin + 'static,
    ) -> Self {
        let stdin = stdin.map(|stdin| Box::new(stdin) as Box<dyn AsyncWrite + Send + Unpin>);
        Self { stdin, stdout: Box::new(stdout), stderr: Box::new(stderr) }
    }
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streams").field("stdin", &self.stdin.is_some()).finish_non_exhaustive()
    }
}

/// A process group that runs.
#[derive(Debug)]
pub(super) enum Started {
    Child(ProcessGroup),
    #[cfg(target_os = "linux")]
    Warm(WarmProcess),
}

/// How its leader ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeaderExit {
    Exit(Exit),
    RunnerLost,
}

impl Started {
    /// Starts the program: by a warm runner if one waits for it, else as a child.
    pub(super) async fn start(
        program: &Program<'_>,
        warm: Option<&WarmRunners>,
    ) -> Result<(Self, Streams), StartError> {
        #[cfg(target_os = "linux")]
        if let Some(warm) = warm
            && let Some((process, streams)) = warm.start(program).await
        {
            return Ok((Self::Warm(process), streams));
        }
        #[cfg(not(target_os = "linux"))]
        let _ = warm;
        let (group, Pipes { stdin, stdout, stderr }) = attune_common::process::start(program).await?;
        Ok((Self::Child(group), Streams::of(stdin, stdout, stderr)))
    }

    /// Sends the signal to every process of the group.
    pub(super) fn signal(&self, signal: Signal) {
        match self {
            Self::Child(group) => group.signal(signal),
            #[cfg(target_os = "linux")]
            Self::Warm(process) => process.signal(signal),
        }
    }

    /// Completes when the leader has ended, without reaping it. May be called again.
    pub(super) async fn leader_ended(&mut self) {
        match self {
            Self::Child(group) => group.leader_ended().await,
            #[cfg(target_os = "linux")]
            Self::Warm(process) => process.leader_ended().await,
        }
    }

    /// Takes how the leader ended, and lets go of the group.
    pub(super) async fn reap(self) -> io::Result<LeaderExit> {
        match self {
            Self::Child(group) => Ok(LeaderExit::Exit(group.reap().await?.into())),
            #[cfg(target_os = "linux")]
            Self::Warm(process) => Ok(match process.reap().await {
                WarmExit::Exit(exit) => LeaderExit::Exit(exit),
                WarmExit::RunnerLost => LeaderExit::RunnerLost,
            }),
        }
    }
}
