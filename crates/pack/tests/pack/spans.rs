//! Where findings begin and end.

use attune_pack::{End, Finding, read};

use crate::{MANIFEST, files};

/// The text that each finding in an action is about; a bar stands for an end that is not known.
#[track_caller]
fn check_marked(text: &str, expected: &[&str]) {
    let findings = read(&files(&[MANIFEST, ("actions/a.yaml", text)])).unwrap_err();
    let marked: Vec<String> = findings.iter().map(|finding| marked(text, finding)).collect();
    assert_eq!(marked, expected, "{findings:#?}");
}

fn marked(text: &str, finding: &Finding) -> String {
    let at = |line: u32, column: u32| {
        let before: usize = text.split_inclusive('\n').take(line as usize - 1).map(str::len).sum();
        let rest = &text[before..];
        before + rest.char_indices().nth(column as usize - 1).map_or(rest.len(), |(at, _)| at)
    };
    let begin = at(finding.line, finding.column);
    match finding.end {
        Some(End { line, column }) => text[begin..at(line, column)].to_owned(),
        None => "|".to_owned(),
    }
}

const HEAD: &str = "ref: ops.a\nruntime: core.native\nentrypoint: echo\n";

#[test]
fn test_keys_and_plain_values_are_marked_as_a_whole() {
    check_marked(&format!("{HEAD}paramaters: {{}}\n"), &["paramaters"]);
    check_marked(&format!("{HEAD}timeout:   5 minutes   # too long\n"), &["5 minutes"]);
    check_marked(&format!("{HEAD}enabled: yes\r\nlabel: 5\r\n"), &["yes", "5"]);
    check_marked(
        &format!("{HEAD}parameters: {{a: {{description: ä ö, type: integr}}, b: {{typ: string}}}}\n"),
        &["integr", "typ"],
    );
    // At the end of a text without a last line break.
    check_marked(&format!("{HEAD}label: 5"), &["5"]);
}

#[test]
fn test_quoted_texts_are_marked_with_their_quotes() {
    check_marked(&format!("{HEAD}enabled: \"yes, ü\" # no\n"), &["\"yes, ü\""]);
    check_marked(&format!("{HEAD}enabled: 'yes'\n"), &["'yes'"]);
    check_marked(&format!("{HEAD}'labl': x\n"), &["'labl'"]);
    check_marked(&format!("{HEAD}enabled: \"yes\n  sir\"\n"), &["\"yes\n  sir\""]);
}

#[test]
fn test_blocks_of_text_end_with_their_last_line() {
    check_marked(&format!("{HEAD}enabled: |\n  yes\n  sir\nlabel: x\n"), &["yes\n  sir"]);
    check_marked(&format!("{HEAD}enabled: |\n  yes\n  sir"), &["yes\n  sir"]);
    check_marked(&format!("{HEAD}enabled: yes\n  sir\n\nlabel: x\n"), &["yes\n  sir"]);
}

#[test]
fn test_what_has_parts_has_no_end() {
    check_marked(&format!("{HEAD}label: [a, b]\n"), &["|"]);
    check_marked(&format!("{HEAD}label:\n  a: b\n"), &["|"]);
    check_marked("", &["|"]);
}

#[test]
fn test_aliases_lead_to_what_they_repeat() {
    check_marked(&format!("{HEAD}meta: &long yes, sir\nenabled: *long\n"), &["meta", "yes, sir"]);
}

#[test]
fn test_a_key_without_a_value_is_marked() {
    check_marked(&format!("{HEAD}label:\n"), &["label"]);
    check_marked(&format!("{HEAD}label: ~\n"), &["label"]);
}

#[test]
fn test_keys_that_stand_twice_are_marked() {
    check_marked(&format!("{HEAD}entrypoint: sleep\n"), &["entrypoint"]);
}
