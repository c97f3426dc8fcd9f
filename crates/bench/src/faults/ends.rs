//! Why processes ended that nobody had killed: by what they said last.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

/// Ends that are no fault, by a part of what the process says. A database that is away is none of them: it is waited for.
const EXPECTED: [&str; 1] = [
    // A killed worker comes back before the lease of its former process has run out, which an outage may have put off.
    "is alive already: give this one another name",
];

/// Ends without a kill, by the reason that the process gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ends(BTreeMap<String, u64>);

impl Ends {
    /// Counts one.
    pub(super) fn count(&mut self, reason: String) {
        *self.0.entry(reason).or_default() += 1;
    }

    /// Those of another process too.
    pub(super) fn add(&mut self, others: Self) {
        for (reason, number) in others.0 {
            *self.0.entry(reason).or_default() += number;
        }
    }

    /// The reasons that are no fault, with their numbers.
    pub fn expected(&self) -> impl Iterator<Item = (&str, u64)> {
        self.of(true)
    }

    /// The reasons that are.
    pub fn unexpected(&self) -> impl Iterator<Item = (&str, u64)> {
        self.of(false)
    }

    fn of(&self, wanted: bool) -> impl Iterator<Item = (&str, u64)> {
        let is_expected = |reason: &str| EXPECTED.iter().any(|words| reason.contains(words));
        self.0
            .iter()
            .map(|(reason, number)| (reason.as_str(), *number))
            .filter(move |(reason, _)| is_expected(reason) == wanted)
    }
}

/// The log of a process, which the next one of its name goes on with.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    /// What former processes wrote.
    former: u64,
}

impl Log {
    pub(super) fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), former: 0 }
    }

    /// A process begins that has said nothing yet.
    pub(super) fn begin(&mut self) {
        self.former = std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
    }

    /// Why the process ended, in its own words.
    pub(super) fn reason(&self, status: ExitStatus) -> String {
        let said = self.said().unwrap_or_default();
        match last_words(&said) {
            Some(words) => format!("{status}: {words}"),
            None => format!("{status}, without a word"),
        }
    }

    fn said(&self) -> std::io::Result<String> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.former))?;
        let mut said = Vec::new();
        file.read_to_end(&mut said)?;
        Ok(String::from_utf8_lossy(&said).into_owned())
    }
}

/// The error that a command ends with, with its causes; else a panic; else the last line.
fn last_words(said: &str) -> Option<String> {
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    if let Some(error) = lines.iter().rposition(|line| line.starts_with("error: ")) {
        let causes = lines[error + 1..].iter().map_while(|line| line.strip_prefix("  caused by: "));
        let words = lines[error].strip_prefix("error: ").into_iter().chain(causes);
        return Some(words.collect::<Vec<_>>().join(": "));
    }
    let panic = lines.iter().rfind(|line| line.contains("panicked at"));
    panic.or(lines.last()).map(|line| (*line).to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn test_the_last_words_are_the_error_and_its_causes() {
        let said = "2026-01-01 WARN a pass failed\nerror: cannot connect\n  caused by: refused\n  caused by: os error 111\n";
        assert_eq!(last_words(said).as_deref(), Some("cannot connect: refused: os error 111"));
        let panic = "thread 'main' panicked at src/x.rs:1\nno such thing\n";
        assert_eq!(last_words(panic).as_deref(), Some("thread 'main' panicked at src/x.rs:1"));
        assert_eq!(last_words("one\ntwo\n\n").as_deref(), Some("two"));
        assert_eq!(last_words(" \n"), None);
    }

    #[test]
    fn test_only_what_the_process_itself_said_counts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("worker.log");
        std::fs::write(&path, "error: of the one before\n").unwrap();
        let mut log = Log::of(&path);
        log.begin();
        let status = ExitStatus::from_raw(1 << 8);
        assert_eq!(log.reason(status), "exit status: 1, without a word");
        std::fs::write(&path, "error: of the one before\nerror: its own\n").unwrap();
        assert_eq!(log.reason(status), "exit status: 1: its own");
    }

    #[test]
    fn test_expected_ends_are_told_from_others() {
        let mut ends = Ends::default();
        for reason in [
            "exit status: 1: a worker called worker-1 is alive already: give this one another name with --worker-name",
            "exit status: 1: cannot connect to the database",
            "exit status: 1: cannot connect to the database",
        ] {
            ends.count(reason.to_owned());
        }
        assert_eq!(ends.expected().map(|(_, number)| number).sum::<u64>(), 1);
        assert_eq!(
            ends.unexpected().collect::<Vec<_>>(),
            [("exit status: 1: cannot connect to the database", 2)]
        );
    }
}
