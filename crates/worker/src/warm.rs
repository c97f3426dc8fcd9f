//! Warm runners: Python interpreters that have started already and fork a process for every run.
//!
//! A run of a Python script spends most of its time starting the interpreter. [`WarmRunners`] keeps one interpreter for each
//! way of starting one (program, options, and the variables that shape an interpreter); its code is
//! `assets/warm_runner.py`. What it forks is a process like any other: its own session and group, environment, working
//! directory and pipes. [`crate::process`] accompanies it as it does a child of this process.
//!
//! Invariants:
//! - Whether a script has begun is known: the forked process says so itself, in the moment before. What has not begun is
//!   started the ordinary way; what has begun never is.
//! - A runner holds no secret: what a run is given is read by the forked process only.
//! - Nothing outlives its runner, and no runner its worker: the runner ends everything when its socket ends; when it is
//!   killed, the kernel ends what it forked, and this process the rest of their groups.

mod call;
#[cfg(target_os = "linux")]
mod link;
#[cfg(target_os = "linux")]
mod pool;
#[cfg(target_os = "linux")]
mod runner;

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

#[cfg(target_os = "linux")]
pub use pool::WarmRunners;
#[cfg(target_os = "linux")]
pub(crate) use runner::{WarmExit, WarmProcess};

const RUNNER: &str = include_str!("../assets/warm_runner.py");

/// How warm runners are kept.
#[derive(Debug, Clone)]
pub struct WarmSettings {
    /// The runner's own script, as [`write_runner`] leaves it.
    pub runner: PathBuf,
    /// How many interpreters wait at the same time at most.
    pub most: usize,
    /// After this many runs an interpreter is replaced by a fresh one.
    pub runs: u32,
    /// One that was not needed for so long ends.
    pub idle: Duration,
    /// The value of [`RUN`](crate::orphans::RUN) by which an interpreter is known that a dead worker has left.
    pub mark: Option<String>,
}

/// How many interpreters wait unless the operator says otherwise.
pub const DEFAULT_MOST: usize = 8;

impl WarmSettings {
    /// The default settings.
    pub fn new(runner: impl Into<PathBuf>) -> Self {
        Self {
            runner: runner.into(),
            most: DEFAULT_MOST,
            runs: 1000,
            idle: Duration::from_secs(300),
            mark: None,
        }
    }
}

/// Writes the runner's script into the directory, under a name that changes with its content, and gives back its path.
pub fn write_runner(directory: &Path) -> io::Result<PathBuf> {
    attune_common::python_sdk::write_once(directory, "warm_runner", "py", RUNNER.as_bytes())
}

/// No runners: what they need is part of Linux only.
#[cfg(not(target_os = "linux"))]
#[derive(Debug, Clone)]
pub struct WarmRunners {}

#[cfg(not(target_os = "linux"))]
impl WarmRunners {
    /// Nothing; every script is started the ordinary way.
    pub fn new(_settings: WarmSettings) -> Self {
        Self {}
    }
}
