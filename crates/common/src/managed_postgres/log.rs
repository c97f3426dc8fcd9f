//! The server's log: one file that it appends to, bounded by moving its content aside now and then.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

const LIMIT: u64 = 16 * 1024 * 1024;
const TAIL_BYTES: u64 = 4096;
const TAIL_LINES: usize = 15;

/// Opens the log for a server to write to.
pub(super) fn open(path: &Path) -> std::io::Result<File> {
    bound(path)?;
    File::options().append(true).create(true).mode(0o600).open(path)
}

/// Moves the content of a log that has grown too long to `<name>.1`, in place of what was there. The server keeps its
/// descriptor and, because it appends, goes on at the new end; a line written between copy and cut is lost.
pub(super) fn bound(path: &Path) -> std::io::Result<()> {
    if length(path) < LIMIT {
        return Ok(());
    }
    std::fs::copy(path, path.with_added_extension("1"))?;
    File::options().write(true).open(path)?.set_len(0)
}

pub(super) fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map(|metadata| metadata.len()).unwrap_or(0)
}

/// The last lines, but not many, that were written after the given offset.
pub(super) fn tail(path: &Path, from: u64) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let start = from.max(file.metadata()?.len().saturating_sub(TAIL_BYTES));
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        // What was cut at the front begins with half a line.
        let lines: Vec<&str> = text.lines().skip(usize::from(start > from)).collect();
        Ok(lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n"))
    };
    read().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn test_a_long_log_is_moved_aside_and_the_writer_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("postgres.log");
        let mut writer = open(&path).unwrap();
        writer.write_all(b"old\n").unwrap();
        bound(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old\n");

        writer.set_len(LIMIT).unwrap();
        bound(&path).unwrap();
        writer.write_all(b"new\n").unwrap();

        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new\n");
        assert_eq!(length(&dir.path().join("postgres.log.1")), LIMIT);
    }

    #[test]
    fn test_tail_gives_whole_lines_after_the_offset() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("postgres.log");
        std::fs::write(&path, "before\nfirst\nsecond\n").unwrap();
        assert_eq!(tail(&path, 7), "first\nsecond");
        assert_eq!(tail(&dir.path().join("absent"), 0), "");

        let lines: String = (0..1000).map(|n| format!("line {n}\n")).collect();
        std::fs::write(&path, lines).unwrap();
        let end = tail(&path, 0);
        assert!(end.ends_with("line 999"), "{end}");
        assert!(end.lines().all(|line| line.starts_with("line ")), "{end}");
        assert_eq!(end.lines().count(), TAIL_LINES);

        // Longer lines than the tail has bytes for: what is left of the first is not shown.
        std::fs::write(&path, format!("{}\nlast\n", "x".repeat(5000))).unwrap();
        assert_eq!(tail(&path, 0), "last");
    }
}
