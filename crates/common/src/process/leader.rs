//! The child itself: its start, its end, its exit status.

#[cfg(target_os = "linux")]
pub(super) use linux::{Leader, start};
#[cfg(not(target_os = "linux"))]
pub(super) use portable::{Leader, start};

use std::io;

use super::confinement::Step;

/// Why a child did not become its program.
#[derive(Debug)]
pub(super) struct NotStarted {
    pub(super) step: Step,
    pub(super) source: io::Error,
}

impl From<io::Error> for NotStarted {
    fn from(source: io::Error) -> Self {
        Self { step: Step::Program, source }
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::{CString, OsStr};
    use std::fs::File;
    use std::io;
    use std::os::fd::OwnedFd;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    use std::path::Path;
    use std::process::ExitStatus;

    use tokio::io::unix::AsyncFd;
    use tokio::net::unix::pipe;

    use super::super::group::Pipes;
    use super::super::spawn::{self, Plan};
    use super::super::start::Program;
    use super::NotStarted;

    /// A child of this process.
    #[derive(Debug)]
    pub(in super::super) struct Leader {
        pid: i32,
        /// Readable once it has ended.
        handle: AsyncFd<OwnedFd>,
    }

    /// Starts the program, found already at `path`, as leader of a group of its own.
    pub(in super::super) async fn start(
        program: &Program<'_>,
        path: &Path,
    ) -> Result<(Leader, Pipes), NotStarted> {
        let (stdin, for_child) = match program.with_stdin {
            true => {
                let (reader, writer) = io::pipe()?;
                (Some(pipe::Sender::from_owned_fd(writer.into())?), OwnedFd::from(reader))
            }
            false => (None, OwnedFd::from(File::open("/dev/null")?)),
        };
        let (stdout, to_stdout) = output()?;
        let (stderr, to_stderr) = output()?;
        let text = |text: &OsStr| CString::new(text.as_bytes()).map_err(io::Error::from);
        let env = program.env.iter().map(|(name, value)| {
            let mut pair = name.clone();
            pair.push("=");
            pair.push(value);
            CString::new(pair.into_vec()).map_err(io::Error::from)
        });
        let args = std::iter::once(path.as_os_str()).chain(program.args.iter().map(|arg| arg.as_os_str()));
        let plan = Plan {
            program: text(path.as_os_str())?,
            args: args.map(text).collect::<Result<_, _>>()?,
            env: env.collect::<Result<_, _>>()?,
            cwd: text(program.cwd.as_os_str())?,
            streams: [away(for_child)?, away(to_stdout)?, away(to_stderr)?],
            confinement: program.confinement.clone(),
        };
        let started = spawn::start(plan)
            .await
            .map_err(|failed| NotStarted { step: failed.step, source: failed.source })?;
        let pid = started.pid;
        // Dropped by an error, it would run on with nobody to end it.
        let handle = spawn::watch(started.handle).inspect_err(|_| {
            let group = nix::unistd::Pid::from_raw(pid);
            let _killed = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
            let _status = spawn::wait(pid);
        })?;
        Ok((Leader { pid, handle }, Pipes { stdin, stdout, stderr }))
    }

    fn output() -> io::Result<(pipe::Receiver, OwnedFd)> {
        let (reader, writer) = io::pipe()?;
        Ok((pipe::Receiver::from_owned_fd(reader.into())?, writer.into()))
    }

    /// The same file under a number that is none of the standard streams', which the child replaces one after the other.
    fn away(file: OwnedFd) -> io::Result<OwnedFd> {
        use std::os::fd::AsRawFd;

        // A copy never gets one of these.
        if file.as_raw_fd() > 2 { Ok(file) } else { file.try_clone() }
    }

    impl Leader {
        pub(in super::super) fn id(&self) -> i32 {
            self.pid
        }

        /// Completes when it has ended, without reaping it.
        pub(in super::super) async fn ended(&mut self) {
            if let Err(error) = self.handle.readable().await {
                // The runtime is shutting down and drops us soon.
                tracing::debug!(%error, "cannot wait for the end of a process");
                std::future::pending::<()>().await;
            }
        }

        pub(in super::super) async fn reap(mut self) -> io::Result<ExitStatus> {
            self.ended().await;
            spawn::wait(self.pid)
        }

        /// Reaps it when it has ended, whoever waits: it was killed.
        pub(in super::super) fn abandon(self) {
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(self.reap());
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod portable {
    use std::io;
    use std::path::Path;
    use std::process::{ExitStatus, Stdio};

    use tokio::net::unix::pipe;
    use tokio::process::{Child, Command};

    use super::super::confinement::Step;
    use super::super::group::Pipes;
    use super::super::start::Program;
    use super::NotStarted;

    /// A child of this process.
    #[derive(Debug)]
    pub(in super::super) struct Leader {
        pid: i32,
        child: Child,
    }

    /// Starts the program, found already at `path`, as leader of a group of its own.
    pub(in super::super) async fn start(
        program: &Program<'_>,
        path: &Path,
    ) -> Result<(Leader, Pipes), NotStarted> {
        if !program.confinement.is_plain() {
            let source =
                io::Error::new(io::ErrorKind::Unsupported, "only Linux has limits and sandboxes here");
            return Err(NotStarted { step: Step::Limits, source });
        }
        let mut child = Command::new(path)
            .args(program.args)
            .env_clear()
            .envs(program.env)
            .current_dir(program.cwd)
            .stdin(if program.with_stdin { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        let (Some(pid), Some(stdout), Some(stderr)) = (id, child.stdout.take(), child.stderr.take()) else {
            return Err(io::Error::other("the child was started without an id or without pipes").into());
        };
        let stdin = match child.stdin.take() {
            Some(stdin) => Some(pipe::Sender::from_owned_fd(stdin.into_owned_fd()?)?),
            None => None,
        };
        let pipes = Pipes {
            stdin,
            stdout: pipe::Receiver::from_owned_fd(stdout.into_owned_fd()?)?,
            stderr: pipe::Receiver::from_owned_fd(stderr.into_owned_fd()?)?,
        };
        Ok((Leader { pid, child }, pipes))
    }

    impl Leader {
        pub(in super::super) fn id(&self) -> i32 {
            self.pid
        }

        /// Completes when it has ended. It is reaped then; the number of its group is ours only as long as that has members.
        pub(in super::super) async fn ended(&mut self) {
            if let Err(error) = self.child.wait().await {
                tracing::warn!(%error, "cannot wait for the end of a process");
            }
        }

        pub(in super::super) async fn reap(mut self) -> io::Result<ExitStatus> {
            self.child.wait().await
        }

        /// The runtime reaps it when it has ended.
        pub(in super::super) fn abandon(self) {}
    }
}
