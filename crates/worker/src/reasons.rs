//! Why a process ended badly, as far as its end and its standard error give that away.
//!
//! A reason shows nothing of the output, which may hold secrets: it only says what is found there.

use std::path::Path;

use attune_pack::isolation::Limits;

use crate::container;
use crate::process::{Ending, Exit, Finished};
use crate::sandbox::{FILE_SIZE, OPEN_FILES};

const SIGKILL: i32 = 9;
const SIGXCPU: i32 = 24;
const SIGXFSZ: i32 = 25;
/// What an exit code has above a signal that it stands for.
const SIGNALS: i32 = 128;

/// The reason with its remedy, for the error of the execution; None where nothing is known. `pack` is the directory of the
/// pack's files.
pub fn of(limits: &Limits, pack: &Path, finished: &Finished) -> Option<String> {
    if finished.ending != Ending::Exited || finished.exit == Exit::Code(0) {
        return None;
    }
    let stderr = finished.stderr.to_text();
    by_signal(limits, finished.exit).or_else(|| by_words(limits, pack, &stderr, "processes of its account"))
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
        .or_else(|| by_words(limits, Path::new(container::PACK), &stderr, "processes in its container"))
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

fn by_words(limits: &Limits, pack: &Path, stderr: &str, processes: &str) -> Option<String> {
    const MEMORY: &[&str] = &["MemoryError", "annot allocate memory", "ut of memory", "bad_alloc", "ENOMEM"];
    const PROCESSES: &[&str] =
        &["esource temporarily unavailable", "annot fork", "can't start new thread", "EAGAIN"];
    const OPEN: &[&str] = &["oo many open files", "EMFILE"];
    const LARGE: &[&str] = &["File too large", "EFBIG"];

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
            has_syntax_error(&pack.to_string_lossy(), stderr)
                .then(|| format!("standard error tells of a syntax error: {remedy}"))
        })
}

/// Whether an interpreter says that it cannot read a file of the pack. What a program says of its input (a query, a filter, a
/// document) is no fault of the pack's.
fn has_syntax_error(pack: &str, stderr: &str) -> bool {
    // Python and Node name the file in a line before: `  File "/p/actions/a.py", line 3`, `/p/actions/a.js:3`.
    const NAMES: &[&str] = &["SyntaxError", "IndentationError", "TabError"];

    let mut file = "";
    for line in stderr.lines() {
        let line = line.trim();
        let is_place = line.starts_with("File \"")
            || line.rsplit_once(':').is_some_and(|(_, number)| number.parse::<u32>().is_ok());
        if is_place {
            file = line;
        } else if NAMES.iter().any(|name| line.starts_with(name)) && file.contains(pack) {
            return true;
        }
        // Shells, Ruby and Perl name it in the line itself: `/p/actions/a.sh: 3: Syntax error: ..`.
        if line.contains("yntax error") && line.contains(pack) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_only_files_of_the_pack_have_syntax_errors() {
        for (stderr, expected) in [
            (
                "  File \"/p/actions/a.py\", line 3\n    def f(:\n          ^\nSyntaxError: invalid syntax\n",
                true,
            ),
            (
                "Traceback (most recent call last):\n  File \"/p/actions/a.py\", line 1, in <module>\n    import b\n  \
                 File \"/p/actions/b.py\", line 2\n    x\nIndentationError: unexpected indent\n",
                true,
            ),
            (
                "Traceback (most recent call last):\n  File \"/p/actions/a.py\", line 1, in <module>\n    eval(x)\n  \
                 File \"<string>\", line 1\n    a b\nSyntaxError: invalid syntax\n",
                false,
            ),
            (
                "/p/actions/a.js:3\nfunction (\n         ^\n\nSyntaxError: Function statements need a name\n",
                true,
            ),
            (
                "<anonymous_script>:1\n{\n\nSyntaxError: Expected property name\n    at JSON.parse (<anonymous>)\n    \
                 at Object.<anonymous> (/p/actions/a.js:1:6)\n",
                false,
            ),
            ("/p/actions/a.sh: 3: Syntax error: \"fi\" unexpected\n", true),
            ("/p/actions/a.sh: line 3: syntax error near unexpected token `fi'\n", true),
            ("ERROR:  syntax error at or near \"selct\"\nLINE 1: selct 1\n", false),
            (
                "jq: error: syntax error, unexpected end of file (Unix shell quoting issues?) at <top-level>\n",
                false,
            ),
        ] {
            assert_eq!(has_syntax_error("/p/", stderr), expected, "{stderr}");
        }
    }
}
