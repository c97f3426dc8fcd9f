//! What a worker that died has left running on this machine, and on its disk.
//!
//! Its children die with it (`PR_SET_PDEATHSIG`), but not theirs. Each process carries the mark of its run in its environment,
//! [`RUN`], and was started in a directory that belongs to the instance of the worker. An instance that lives holds a lock on
//! its file; what belongs to one whose lock is free is ended by whichever worker starts next in the same directory.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// The variable that marks a process: `<instance>/<execution>`.
pub const RUN: &str = "ATTUNE_RUN";

/// Rounds of looking for processes: one that is found may just be starting another.
const ROUNDS: usize = 20;

/// The mark of an execution's processes.
pub fn mark(instance: &str, execution: i64) -> String {
    format!("{instance}/{execution}")
}

/// The directory of a living instance, with its lock.
#[derive(Debug)]
pub struct Instance {
    name: String,
    /// Where its runs get their directories.
    runs: PathBuf,
    lock: PathBuf,
    _held: File,
}

impl Instance {
    /// Makes the directory of a new instance, under a name that no other has.
    pub fn begin(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let name = attune_common::auth::random_secret("");
        // Fit for the name of a container, too.
        let name: String = name.chars().filter(char::is_ascii_alphanumeric).take(16).collect();
        let (runs, lock) = (root.join(&name), lock_of(root, &name));
        // It gets its name when it is locked: whoever finds it free takes its owner for dead.
        let unnamed = root.join(format!(".{name}"));
        let held = OpenOptions::new().create_new(true).write(true).open(&unnamed)?;
        held.lock()?;
        fs::rename(&unnamed, &lock)?;
        fs::create_dir(&runs)?;
        Ok(Self { name, runs, lock, _held: held })
    }

    /// What marks its processes.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn runs(&self) -> &Path {
        &self.runs
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // What is left in it is for the next start, as after a crash.
        if fs::remove_dir(&self.runs).is_ok() {
            let _removed = fs::remove_file(&self.lock);
        }
    }
}

fn lock_of(root: &Path, instance: &str) -> PathBuf {
    root.join(format!("{instance}.lock"))
}

/// Ends what dead instances have left running below `root` and removes their directories. Gives back the instances. Blocks.
pub fn end_left(root: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(root) else { return Vec::new() };
    let mut dead = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(instance) = name.strip_suffix(".lock") else { continue };
        let Ok(lock) = File::open(entry.path()) else { continue };
        if lock.try_lock().is_err() {
            continue;
        }
        let runs = root.join(instance);
        let ended = processes::end(instance, &runs);
        if ended > 0 {
            tracing::warn!(
                instance,
                processes = ended,
                "ended processes that a worker which died had left running"
            );
        }
        if let Err(error) = fs::remove_dir_all(&runs)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(directory = %runs.display(), %error, "cannot remove the directory of a worker that died");
            continue;
        }
        let _removed = fs::remove_file(entry.path());
        dead.push(instance.to_owned());
    }
    dead
}

#[cfg(target_os = "linux")]
mod processes {
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::{Pid, getpid};

    use super::{ROUNDS, RUN};

    /// Kills all processes of the instance; gives back how many there were.
    #[expect(clippy::disallowed_methods, reason = "whoever calls this expects it to block")]
    pub(super) fn end(instance: &str, runs: &Path) -> usize {
        let mut ended = 0;
        for _ in 0..ROUNDS {
            let found = find(instance, runs);
            if found.is_empty() {
                break;
            }
            for process in &found {
                // Between the look and the signal its number may have gone to another process, if it ended just then.
                if process.is_same() {
                    ended += usize::from(kill(process.pid, Signal::SIGKILL).is_ok());
                }
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        ended
    }

    /// A process and the time of its start, which together mean one process for ever.
    #[derive(Debug)]
    struct Process {
        pid: Pid,
        started: String,
    }

    impl Process {
        fn is_same(&self) -> bool {
            started(self.pid).is_some_and(|started| started == self.started)
        }
    }

    fn find(instance: &str, runs: &Path) -> Vec<Process> {
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        numbers
            .map(Pid::from_raw)
            .filter(|pid| *pid != getpid())
            .filter_map(|pid| {
                let started = started(pid)?;
                (is_marked(pid, instance) || is_within(pid, runs)).then_some(Process { pid, started })
            })
            .collect()
    }

    fn is_marked(pid: Pid, instance: &str) -> bool {
        let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else { return false };
        let mark = format!("{RUN}={instance}/");
        environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(mark.as_bytes()))
    }

    /// Whether it works in a directory of the instance, be that removed or not.
    fn is_within(pid: Pid, runs: &Path) -> bool {
        let Ok(cwd) = fs::read_link(format!("/proc/{pid}/cwd")) else { return false };
        cwd.as_os_str()
            .as_bytes()
            .strip_prefix(runs.as_os_str().as_bytes())
            .is_some_and(|rest| rest.starts_with(b"/"))
    }

    /// When it started, in ticks since the machine did; None if it has ended.
    fn started(pid: Pid) -> Option<String> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may hold anything.
        let (_, rest) = stat.rsplit_once(") ")?;
        let mut fields = rest.split(' ');
        if matches!(fields.next(), Some("Z" | "X")) {
            return None;
        }
        // The 22nd of all: the state is the third.
        fields.nth(18).map(str::to_owned)
    }
}

#[cfg(not(target_os = "linux"))]
mod processes {
    use std::path::Path;

    /// There is no list of processes with their environments here.
    pub(super) fn end(_instance: &str, _runs: &Path) -> usize {
        0
    }
}
