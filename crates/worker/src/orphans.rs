//! What a worker that died has left running on this machine, and on its disk.
//!
//! Its children die with it (`PR_SET_PDEATHSIG`), but not theirs. Each process carries the mark of its run in its environment,
//! [`RUN`], and was started in a directory that belongs to the instance of the worker. An instance that lives holds a lock on
//! its file; what belongs to one whose lock is free is ended by whichever worker starts next in the same directory. The file
//! goes last: whoever dies while it tidies up leaves the rest to the next.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

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
    held: File,
    /// Whether the file says that containers run for it.
    noted: Mutex<bool>,
}

/// What the file of an instance says that started containers.
const CONTAINERS: &str = "containers\n";

/// An instance that died. Nobody else tidies up after it meanwhile.
#[derive(Debug)]
pub struct Dead {
    name: String,
    runs: PathBuf,
    lock: PathBuf,
    _held: File,
    /// Whether containers may be left of it.
    pub had_containers: bool,
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
        // Nobody else of the machine is to find what runs leave there: with containers that is open to any account, and may
        // be a program of root that gives its rights to whoever starts it.
        fs::DirBuilder::new().mode(0o700).create(&runs)?;
        Ok(Self { name, runs, lock, held, noted: Mutex::default() })
    }

    /// Notes that containers run for it, for whoever finds it dead.
    pub fn note_containers(&self) -> io::Result<()> {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if !*noted {
            (&self.held).write_all(CONTAINERS.as_bytes())?;
            *noted = true;
        }
        Ok(())
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

impl Dead {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Ends the processes that it has left running, when its containers have ended: the engine has processes for those, too,
    /// and misses them. Blocks.
    pub fn end_processes(&self) {
        let ended = processes::end(&self.name, &self.runs);
        if ended > 0 {
            tracing::warn!(
                instance = self.name,
                processes = ended,
                "ended processes that a worker which died had left running"
            );
        }
    }

    /// Removes what it left on the disk, when nothing of it runs any more. Blocks.
    pub fn forget(self) {
        if let Err(error) = fs::remove_dir_all(&self.runs)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(
                directory = %self.runs.display(),
                %error,
                "cannot remove the directory of a worker that died"
            );
            return;
        }
        let _removed = fs::remove_file(&self.lock);
    }
}

/// The dead instances below `root`. Blocks.
pub fn dead(root: &Path) -> Vec<Dead> {
    let Ok(entries) = fs::read_dir(root) else { return Vec::new() };
    let mut dead = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(instance) = name.strip_suffix(".lock") else { continue };
        let Ok(mut held) = File::open(entry.path()) else { continue };
        // Another may just have tidied up, and removed the file before its lock was free.
        if held.try_lock().is_err() || !entry.path().exists() {
            continue;
        }
        let mut noted = String::new();
        // What cannot be read may say so.
        let had_containers = held.read_to_string(&mut noted).map_or(true, |_| noted == CONTAINERS);
        dead.push(Dead {
            name: instance.to_owned(),
            runs: root.join(instance),
            lock: entry.path(),
            _held: held,
            had_containers,
        });
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
