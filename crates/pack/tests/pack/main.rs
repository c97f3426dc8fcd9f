//! Reads packs, most of them faulty: what a user sees after a slip of the pen is the point of this crate.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod alike;
mod cases;
mod components;
mod config;
mod core_page;
mod examples;
mod isolation;
mod keys;
mod limits;
mod manifest;
mod packs_page;
mod rules;
mod schemas;
mod spans;
mod whole;
mod yaml;

use attune_pack::{PackDefinition, PackFile, PackFiles, read};

/// A manifest without faults, for tests of other files.
const MANIFEST: (&str, &str) = ("pack.yaml", "ref: ops\nversion: 1.0.0\n");

/// Files by path and text; what begins like a script is executable.
fn files(texts: &[(&str, &str)]) -> PackFiles {
    let file =
        |text: &str| PackFile { content: text.as_bytes().to_vec(), executable: text.starts_with("#!") };
    texts.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect()
}

/// Every finding as it is shown.
fn findings(files: &PackFiles) -> Vec<String> {
    read(files).err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

/// Reads the texts, with a manifest unless they have one, and compares all findings.
#[track_caller]
fn check(texts: &[(&str, &str)], expected: &[&str]) {
    let mut files = files(texts);
    files
        .entry(MANIFEST.0.to_owned())
        .or_insert_with(|| PackFile { content: MANIFEST.1.into(), executable: false });
    let found = findings(&files);
    assert!(found == expected, "found:\n{}\nexpected:\n{}", found.join("\n"), expected.join("\n"));
}

/// Reads texts that have no fault, with a manifest unless they have one; their schemas have nothing against them either.
#[track_caller]
fn accepted(texts: &[(&str, &str)]) -> PackDefinition {
    let mut files = files(&[MANIFEST]);
    files.extend(self::files(texts));
    match read(&files) {
        Ok(definition) => {
            schemas::check_files(&files);
            definition
        }
        Err(_) => panic!("{}", findings(&files).join("\n")),
    }
}
