//! Starts a process, and where that fails finds out why in words that say what to do.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fmt, fs, io,
    io::Read,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    errno::Errno,
    unistd::{AccessFlags, access},
};

use super::confinement::{Confinement, Step};
use super::group::{Pipes, ProcessGroup};
use super::leader::{self, NotStarted};

/// How often a program that is still open for writing is tried again. Another thread that forked while the file was
/// being written holds it open until its own exec, which is a matter of milliseconds.
const BUSY_ATTEMPTS: u32 = 8;

/// What to start.
#[derive(Clone, Copy)]
pub struct Program<'a> {
    /// A path, relative to `cwd` unless absolute; a name without `/` is searched in the `PATH` of `env`.
    pub program: &'a Path,
    /// Without the program itself.
    pub args: &'a [OsString],
    /// All that the child finds in its environment.
    pub env: &'a BTreeMap<OsString, OsString>,
    pub cwd: &'a Path,
    /// Whether its standard input is a pipe; otherwise it is empty.
    pub with_stdin: bool,
    /// What it gives up.
    pub confinement: &'a Confinement,
}

impl fmt::Debug for Program<'_> {
    /// Leaves out the values of the environment, where secrets travel.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program")
            .field("program", &self.program)
            .field("args", &self.args)
            .field("env", &self.env.keys().collect::<Vec<_>>())
            .field("cwd", &self.cwd)
            .field("with_stdin", &self.with_stdin)
            .field("confinement", &self.confinement)
            .finish()
    }
}

/// Why a program could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the program {} does not exist", .program.display())]
    NotFound { program: PathBuf },
    #[error(
        "the program {} is in none of the directories of PATH ({path}): install it on this machine, or have the runtime \
         name it by its full path",
        .program.display()
    )]
    NotInPath { program: PathBuf, path: String },
    #[error("{} is a directory, expected a program", .program.display())]
    IsDirectory { program: PathBuf },
    #[error(
        "{0} is not executable for Attune's account: run `chmod +x {0}`, or give the runtime an interpreter",
        .program.display()
    )]
    NotExecutable { program: PathBuf },
    #[error(
        "{} wants the interpreter `{interpreter}`, which does not exist: install it on this machine or correct the first line",
        .program.display()
    )]
    MissingInterpreter { program: PathBuf, interpreter: String },
    #[error("the first line of {} ends in a carriage return: save the file with Unix line ends", .program.display())]
    CarriageReturn { program: PathBuf },
    #[error(
        "{} is neither a script with a `#!` line nor a program for this machine: add a first line such as `#!/bin/sh`, or \
         give the runtime an interpreter",
        .program.display()
    )]
    NotAProgram { program: PathBuf },
    #[error("the working directory {} is not an existing directory", .cwd.display())]
    WorkingDirectory { cwd: PathBuf },
    #[error(
        "arguments and environment take {bytes} bytes, the longest of them {longest}, more than the system allows: \
         have parameters delivered by stdin or file"
    )]
    TooLarge { bytes: usize, longest: usize },
    #[error(
        "the environment variable `{name}` cannot be passed on: a name needs a character and no `=`, and neither name nor value may contain U+0000"
    )]
    Environment { name: String },
    #[error("argument {index} contains U+0000, which no argument may")]
    Argument { index: usize },
    #[error("{} could not be started: its process could not {step}", .program.display())]
    Prepare { program: PathBuf, step: &'static str, source: io::Error },
    #[error("{} could not be started", .program.display())]
    Start { program: PathBuf, source: io::Error },
}

/// Starts the program with its output piped.
pub async fn start(program: &Program<'_>) -> Result<(ProcessGroup, Pipes), StartError> {
    check_strings(program)?;
    let path = resolve(program)?;
    let mut pause = Duration::from_millis(1);
    for _ in 1..BUSY_ATTEMPTS {
        match leader::start(program, &path).await {
            Err(error) if error.source.kind() == io::ErrorKind::ExecutableFileBusy => {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            result => return finish(program, path, result),
        }
    }
    let result = leader::start(program, &path).await;
    finish(program, path, result)
}

fn finish(
    program: &Program<'_>,
    path: PathBuf,
    started: Result<(leader::Leader, Pipes), NotStarted>,
) -> Result<(ProcessGroup, Pipes), StartError> {
    match started {
        Ok((leader, pipes)) => Ok((ProcessGroup::of(leader), pipes)),
        Err(NotStarted { step: Step::Program, source }) => Err(diagnose(program, path, source)),
        Err(NotStarted { step: Step::Directory, .. }) if !program.cwd.is_dir() => {
            Err(StartError::WorkingDirectory { cwd: program.cwd.to_owned() })
        }
        Err(NotStarted { step, source }) => {
            Err(StartError::Prepare { program: path, step: step.as_str(), source })
        }
    }
}

fn check_strings(program: &Program<'_>) -> Result<(), StartError> {
    let has_nul = |text: &OsStr| text.as_bytes().contains(&0);
    for (name, value) in program.env {
        if name.is_empty() || name.as_bytes().contains(&b'=') || has_nul(name) || has_nul(value) {
            return Err(StartError::Environment { name: name.to_string_lossy().into_owned() });
        }
    }
    match program.args.iter().position(|argument| has_nul(argument)) {
        Some(index) => Err(StartError::Argument { index }),
        None => Ok(()),
    }
}

/// The path of the program. Searching here, instead of leaving it to exec, tells a missing program from a missing
/// interpreter, and lets the child be started without a fork of this process's memory.
fn resolve(program: &Program<'_>) -> Result<PathBuf, StartError> {
    if program.program.as_os_str().as_bytes().contains(&b'/') {
        return Ok(program.cwd.join(program.program));
    }
    let path = program.env.get(OsStr::new("PATH")).map(OsString::as_os_str).unwrap_or_default();
    let mut not_executable = None;
    // Relative directories are left out: they would mean whatever the working directory holds.
    for directory in std::env::split_paths(path).filter(|directory| directory.is_absolute()) {
        let candidate = directory.join(program.program);
        if candidate.is_file() {
            if access(&candidate, AccessFlags::X_OK).is_ok() {
                return Ok(candidate);
            }
            not_executable.get_or_insert(candidate);
        }
    }
    Err(match not_executable {
        Some(program) => StartError::NotExecutable { program },
        None => StartError::NotInPath {
            program: program.program.to_owned(),
            path: path.to_string_lossy().into_owned(),
        },
    })
}

fn diagnose(start: &Program<'_>, program: PathBuf, source: io::Error) -> StartError {
    let errno = source.raw_os_error().map(Errno::from_raw);
    match errno {
        Some(Errno::E2BIG) => {
            let arguments = start.args.iter().map(|argument| argument.len() + 1);
            let variables = start.env.iter().map(|(name, value)| name.len() + value.len() + 2);
            let (bytes, longest) =
                arguments.chain(variables).fold((0, 0), |(sum, max), length| (sum + length, length.max(max)));
            StartError::TooLarge { bytes, longest }
        }
        Some(Errno::ENOENT | Errno::EACCES | Errno::ENOTDIR) if !start.cwd.is_dir() => {
            StartError::WorkingDirectory { cwd: start.cwd.to_owned() }
        }
        Some(Errno::ENOENT | Errno::ENOTDIR) if !program.exists() => StartError::NotFound { program },
        Some(Errno::EACCES) if program.is_dir() => StartError::IsDirectory { program },
        Some(Errno::EACCES) if access(&program, AccessFlags::X_OK).is_err() => {
            StartError::NotExecutable { program }
        }
        Some(Errno::ENOENT | Errno::EACCES | Errno::ENOTDIR) => match interpreter_of(&program) {
            Some(interpreter) if interpreter.ends_with('\r') => StartError::CarriageReturn { program },
            Some(interpreter) if !Path::new(&interpreter).exists() => {
                StartError::MissingInterpreter { program, interpreter }
            }
            Some(interpreter) if access(interpreter.as_str(), AccessFlags::X_OK).is_err() => {
                StartError::NotExecutable { program: interpreter.into() }
            }
            _ => StartError::Start { program, source },
        },
        Some(Errno::ENOEXEC) => StartError::NotAProgram { program },
        _ => StartError::Start { program, source },
    }
}

/// The interpreter that the first line of a script names.
fn interpreter_of(program: &Path) -> Option<String> {
    let mut start = Vec::new();
    // The kernel reads no more either.
    fs::File::open(program).ok()?.take(256).read_to_end(&mut start).ok()?;
    let line = start.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    Some(line.trim_matches([' ', '\t']).split([' ', '\t']).next()?.to_owned())
}
