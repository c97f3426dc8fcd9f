//! Why a process ended badly, as far as its end and its standard error give that away.
//!
//! A reason shows nothing of the output, which may hold secrets: it only says what is found there.

use attune_pack::isolation::Limits;

use crate::process::{Ending, Exit, Finished};
use crate::sandbox::{FILE_SIZE, OPEN_FILES};

const SIGKILL: i32 = 9;
const SIGXCPU: i32 = 24;
const SIGXFSZ: i32 = 25;
/// What an exit code has above a signal that it stands for.
const SIGNALS: i32 = 128;

/// The reason with its remedy, for the error of the execution; None where nothing is known.
pub fn of(limits: &Limits, finished: &Finished) -> Option<String> {
    if finished.ending != Ending::Exited || finished.exit == Exit::Code(0) {
        return None;
    }
    let stderr = finished.stderr.to_text();
    by_signal(limits, finished.exit).or_else(|| by_words(limits, &stderr, "processes of its account"))
}

/// The same of a run in a container, whose client ends with the signal as its exit code.
pub fn of_container(limits: &Limits, finished: &Finished) -> Option<String> {
    if finished.ending != Ending::Exited || finished.exit == Exit::Code(0) {
        return None;
    }
    let exit = match finished.exit {
        Exit::Code(code) if code > SIGNALS => Exit::Signal(code - SIGNALS),
        exit => exit,
    };
    let stderr = finished.stderr.to_text();
    by_signal(limits, exit)
        .or_else(|| by_kill(limits, exit))
        .or_else(|| by_words(limits, &stderr, "processes in its container"))
}

/// What kills without a word: a process that fills the memory of its container; and one that heeds no signal, as the first
/// of a container, beyond its processor time.
fn by_kill(limits: &Limits, exit: Exit) -> Option<String> {
    if exit != Exit::Signal(SIGKILL) {
        return None;
    }
    let memory = limits.memory.map(|limit| format!("{limit} bytes of memory (`limits.memory`)"));
    let time = limits.cpu_time.map(|limit| format!("{limit} s of processor time (`limits.cpu_time`)"));
    let limits = [memory, time].into_iter().flatten().collect::<Vec<_>>().join(" or ");
    (!limits.is_empty()).then(|| {
        format!("it was killed, as happens to a process in a container that used up its limit of {limits}")
    })
}

/// Whether a text says that a disk is full, or the share of it that an account may use.
pub fn tells_of_full_disk(text: &str) -> bool {
    const FULL: &[&str] = &["No space left on device", "ENOSPC", "Disk quota exceeded"];
    FULL.iter().any(|word| text.contains(word))
}

fn by_signal(limits: &Limits, exit: Exit) -> Option<String> {
    match exit {
        Exit::Signal(SIGXCPU) => {
            let limit = limits.cpu_time?;
            Some(format!("it used up its limit of {limit} s of processor time (`limits.cpu_time`)"))
        }
        Exit::Signal(SIGXFSZ) => {
            let limit = limits.file_size.unwrap_or(FILE_SIZE);
            Some(format!("it wrote a file beyond its limit of {limit} bytes (`limits.file_size`)"))
        }
        Exit::Signal(_) | Exit::Code(_) => None,
    }
}

fn by_words(limits: &Limits, stderr: &str, processes: &str) -> Option<String> {
    const MEMORY: &[&str] = &["MemoryError", "annot allocate memory", "ut of memory", "bad_alloc", "ENOMEM"];
    const PROCESSES: &[&str] =
        &["esource temporarily unavailable", "annot fork", "can't start new thread", "EAGAIN"];
    const OPEN: &[&str] = &["oo many open files", "EMFILE"];
    const LARGE: &[&str] = &["File too large", "EFBIG"];
    const SYNTAX: &[&str] = &["SyntaxError", "IndentationError", "yntax error"];

    let said = |words: &[&str]| words.iter().any(|word| stderr.contains(word));
    let limit = |words: &[&str], limit: Option<u64>, of: &str, key: &str| {
        let limit = limit.filter(|_| said(words))?;
        Some(format!("standard error says that it reached its limit of {limit} {of} (`limits.{key}`)"))
    };
    let open_files = limits.open_files.unwrap_or(OPEN_FILES);
    let file_size = limits.file_size.unwrap_or(FILE_SIZE);
    limit(MEMORY, limits.memory, "bytes of memory", "memory")
        .or_else(|| limit(PROCESSES, limits.processes, processes, "processes"))
        .or_else(|| limit(OPEN, Some(open_files), "open files", "open_files"))
        .or_else(|| limit(LARGE, Some(file_size), "bytes for a file", "file_size"))
        .or_else(|| {
            tells_of_full_disk(stderr)
                .then(|| "standard error tells of a full disk: free space on the worker".to_owned())
        })
        .or_else(|| {
            let remedy = "correct what standard error names, and install the pack again";
            said(SYNTAX).then(|| format!("standard error tells of a syntax error: {remedy}"))
        })
}
