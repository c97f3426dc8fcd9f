//! Tests that this machine cannot run.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

/// Notes that a test has proved nothing here, and why: in a file that `scripts/testing-status` counts, since the output of a test
/// that passes is shown to nobody.
///
/// # Panics
///
/// When the note cannot be written: a skip that nobody sees is worse than a failure.
pub fn skipped(test: &str, reason: &str) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    let line = format!("{test}: {}\n", reason.lines().next().unwrap_or_default());
    let noted = std::fs::create_dir_all(&directory).and_then(|()| {
        let file = OpenOptions::new().create(true).append(true).open(directory.join("test-skipped.txt"));
        file?.write_all(line.as_bytes())
    });
    if let Err(error) = noted {
        panic!("{test} was skipped ({reason}), which cannot be noted: {error}");
    }
}
