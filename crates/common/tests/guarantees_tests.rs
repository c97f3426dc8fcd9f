//! `docs/guarantees.md` names the tests that show its promises: they exist.

use std::collections::BTreeSet;
use std::path::Path;

/// The names of all functions that the sources of the workspace define as tests.
fn tests_below(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).expect("the sources can be listed") {
        let path = entry.expect("an entry can be read").path();
        if path.is_dir() {
            tests_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            tests_in(&std::fs::read_to_string(&path).expect("a source can be read"), found);
        }
    }
}

fn tests_in(source: &str, found: &mut BTreeSet<String>) {
    let mut is_test = false;
    for line in source.lines().map(str::trim_start) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some((_, rest)) = line.split_once("fn ")
            && is_test
        {
            found.extend(rest.split('(').next().map(str::to_owned));
            is_test = false;
        }
    }
}

#[test]
fn test_every_promise_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut known = BTreeSet::new();
    tests_below(&root.join("crates"), &mut known);
    let page = std::fs::read_to_string(root.join("docs/guarantees.md")).expect("the page can be read");
    let rows: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with('|') && !line.starts_with("| promise") && !line.starts_with("|-"))
        .collect();
    assert!(rows.len() >= 15, "the page has only {} promises", rows.len());
    let mut faults = Vec::new();
    for row in rows {
        let shown_by = row.trim_end_matches('|').rsplit('|').next().unwrap_or_default();
        let named: Vec<&str> = shown_by.split('`').skip(1).step_by(2).collect();
        if named.is_empty() {
            faults.push(format!("no test is named: {row}"));
        }
        faults.extend(
            named
                .iter()
                .filter(|name| !known.contains(**name))
                .map(|name| format!("there is no test {name}: {row}")),
        );
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}
