//! What a process wrote becomes a result, or an error that says where it could not.

use attune_common::models::action::OutputFormat;
use attune_expr::masking::Masker;
use attune_worker::{
    output::{OutputError, parse},
    process::{CaptureLimits, Captured},
};
use serde_json::{Value, json};

use crate::helpers::{anywhere, finish, shell};

fn check(format: OutputFormat, output: &str, expected: Value) {
    assert_eq!(parse(format, &Captured::whole(output)), Ok(expected), "{output:?}");
}

fn check_error(format: OutputFormat, output: impl Into<Vec<u8>>, expected: &str) {
    let output = output.into();
    let message = parse(format, &Captured::whole(output.clone())).unwrap_err().to_string();
    assert!(message.starts_with(expected), "{}: {message:?}", String::from_utf8_lossy(&output));
}

#[test]
fn text_loses_one_newline() {
    check(OutputFormat::Text, "", json!(""));
    check(OutputFormat::Text, "a\nb\n", json!("a\nb"));
    check(OutputFormat::Text, "a\n\n", json!("a\n"));
    check(OutputFormat::Text, "{\"a\": 1}", json!("{\"a\": 1}"));
    assert_eq!(parse(OutputFormat::Text, &Captured::whole(*b"a\xff")), Ok(json!("a\u{fffd}")));
}

#[test]
fn json_is_one_document() {
    check(OutputFormat::Json, " {\"a\": [1, 2.5, \"x\", null]}\n", json!({"a": [1, 2.5, "x", null]}));
    check(OutputFormat::Json, "null", json!(null));
    check_error(OutputFormat::Json, " \n", "standard output is empty, expected a JSON document");
    check_error(
        OutputFormat::Json,
        "Done.\n",
        "standard output is not json at line 1, column 1: expected value",
    );
    check_error(
        OutputFormat::Json,
        "{\n  \"a\": 1,\n}",
        "standard output is not json at line 3, column 1: trailing comma",
    );
    check_error(
        OutputFormat::Json,
        "1\n2",
        "standard output is not json at line 2, column 1: trailing characters",
    );
    check_error(
        OutputFormat::Json,
        b"{\"a\": \"\xff\"}",
        "standard output is not UTF-8 at byte 7, expected json",
    );
    check_error(
        OutputFormat::Json,
        "1e999",
        "standard output is not json at line 1, column 5: number out of range",
    );
    check_error(
        OutputFormat::Json,
        "[".repeat(10_000),
        "standard output is not json at line 1, column 128: recursion limit",
    );
}

#[test]
fn jsonl_is_a_document_a_line() {
    check(OutputFormat::Jsonl, "", json!([]));
    check(OutputFormat::Jsonl, "{\"a\": 1}\n\n 2\r\n\"x\"", json!([{"a": 1}, 2, "x"]));
    check_error(
        OutputFormat::Jsonl,
        "1\n\n{\"a\":}\n",
        "standard output is not jsonl at line 3, column 6: expected value",
    );
    check_error(
        OutputFormat::Jsonl,
        "1 2",
        "standard output is not jsonl at line 1, column 3: trailing characters",
    );
}

#[test]
fn yaml_is_one_document() {
    check(OutputFormat::Yaml, "", json!(null));
    check(
        OutputFormat::Yaml,
        "---\na: [1, x]\nb: {c: 2.5}\n1: null\n",
        json!({"a": [1, "x"], "b": {"c": 2.5}, "1": null}),
    );
    check(OutputFormat::Yaml, "a: &x [1, 2]\nb: *x\n", json!({"a": [1, 2], "b": [1, 2]}));
    check_error(
        OutputFormat::Yaml,
        "a: 1\nb: [1, 2\n",
        "standard output is not yaml at line 2, column 4: unclosed bracket",
    );
    check_error(
        OutputFormat::Yaml,
        "a: 1\na: 2\n",
        "standard output is not yaml at line 2, column 1: a key occurs twice in one mapping",
    );
    check_error(
        OutputFormat::Yaml,
        "--- 1\n--- 2\n",
        "standard output is not yaml at line 2, column 5: expected one document",
    );
    check_error(
        OutputFormat::Yaml,
        "a: .nan\n",
        "standard output is not yaml at line 1, column 4: a result cannot hold infinity",
    );
    check_error(OutputFormat::Yaml, b"a: \xff", "standard output is not UTF-8 at byte 3, expected yaml");
}

#[test]
fn yaml_may_be_long_but_not_explode() {
    // More than a parser of configuration files would accept.
    let rows = 260_000;
    let long = parse(OutputFormat::Yaml, &Captured::whole("- 1\n".repeat(rows))).unwrap();
    assert_eq!(long.as_array().unwrap().len(), rows);

    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let alias = format!("*a{}", level - 1);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 9].join(", ")));
    }
    let message = parse(OutputFormat::Yaml, &Captured::whole(bomb)).unwrap_err().to_string();
    assert!(message.contains("aliases stand for too much"), "{message}");
}

#[test]
fn errors_do_not_show_the_output() {
    let inputs = [
        "password: s3cret\nb: [s3cret\n",
        "a: 's3cret",
        "{\"password\": s3cret}",
        "- *s3cret_",
        "a: !!int s3cret",
        "? [s3cret]\n: s3cret\n",
        "a: s3cret\n\tb: s3cret",
        "s3cret: 1\ns3cret: 2",
        "a: !!float s3cret",
        "\"s3cret\\q\"",
        "%YAML s3cret\n---\n",
    ];
    for (format, input) in [OutputFormat::Json, OutputFormat::Yaml, OutputFormat::Jsonl]
        .into_iter()
        .flat_map(|format| inputs.map(|input| (format, input)))
    {
        if let Err(error) = parse(format, &Captured::whole(input)) {
            assert!(!error.to_string().contains("s3cret"), "{input:?}: {error}");
        }
    }
}

#[test]
fn what_the_database_cannot_store_is_replaced() {
    check(
        OutputFormat::Json,
        r#"{"a\u0000b": ["x\u0000", {"c": "\u0000"}], "d": "e"}"#,
        json!({"a\u{fffd}b": ["x\u{fffd}", {"c": "\u{fffd}"}], "d": "e"}),
    );
    check(OutputFormat::Text, "a\0b", json!("a\u{fffd}b"));
    check(OutputFormat::Yaml, "\"a\\0\": \"\\0\"", json!({"a\u{fffd}": "\u{fffd}"}));
}

#[tokio::test]
async fn output_that_was_cut_is_text_with_a_mark_or_an_error() {
    let mut launch = shell("echo '[1, 2, 3, 4]'", anywhere());
    launch.limits = CaptureLimits { head: 4, tail: 4 };
    let stdout = finish(launch).await.stdout;
    assert_eq!(parse(OutputFormat::Text, &stdout), Ok(json!("[1, \n[... 5 bytes left out ...]\n 4]")));
    for format in [OutputFormat::Json, OutputFormat::Yaml, OutputFormat::Jsonl] {
        assert_eq!(
            parse(format, &stdout),
            Err(OutputError::TooLong { format, total_bytes: 13, kept_bytes: 8 })
        );
    }
}

#[test]
fn a_masked_number_is_a_text() {
    check(
        OutputFormat::Json,
        r#"{"pin": ********, "said": "pin: ********"}"#,
        json!({"pin": "********", "said": "pin: ********"}),
    );
    check(OutputFormat::Jsonl, "[1, ********]\n********\n", json!([[1, "********"], "********"]));
    check(
        OutputFormat::Yaml,
        "pin: ********\nsaid: it is ********\n",
        json!({"pin": "********", "said": "it is ********"}),
    );
    check_error(
        OutputFormat::Json,
        r#"{"pin": ********, "more""#,
        "standard output is not json at line 1, column 9: expected value (what is secret was masked before it was read)",
    );
}

/// What an action that was given these secrets prints, as it is read.
async fn check_masked(secrets: &[&str], format: OutputFormat, said: &str, expected: Value) {
    let mut launch = shell("cat", anywhere());
    launch.stdin = said.as_bytes().to_vec();
    launch.masker = Masker::of(secrets.iter().copied());
    assert_eq!(parse(format, &finish(launch).await.stdout), Ok(expected), "{said:?}");
}

#[tokio::test]
async fn what_is_masked_is_a_text_in_yaml_wherever_it_stands() {
    let secrets = ["hunter2", "4711\n", "-----BEGIN KEY-----\nc2VjcmV0c2VjcmV0\n-----END KEY-----\n"];
    let said = "\
token: hunter2
suffixed: hunter2-a
hunter2: key
flow: {a: hunter2, b: [4711, -4711.5, hunter2 x]}
list:
  - hunter2
  - hunter2: 'it is hunter2' # hunter2
  - \"\\\"hunter2\\\"\"
folded: hunter2
  goes on
block: |
  hunter2
  ********
pin: 4711
pem: |
  -----BEGIN KEY-----
  c2VjcmV0c2VjcmV0
  -----END KEY-----
other: mask0000
";
    let expected = json!({
        "token": "********",
        "suffixed": "********-a",
        "********": "key",
        "flow": {"a": "********", "b": ["********", "-********.5", "******** x"]},
        "list": ["********", {"********": "it is ********"}, "\"********\""],
        "folded": "******** goes on",
        "block": "********\n********\n",
        "pin": "********",
        "pem": "********\n********\n********\n",
        "other": "mask0000",
    });
    check_masked(&secrets, OutputFormat::Yaml, said, expected.clone()).await;
    check_masked(&secrets, OutputFormat::Yaml, "hunter2", json!("********")).await;
    check_masked(
        &secrets,
        OutputFormat::Json,
        &expected.to_string().replace("********", "hunter2"),
        expected,
    )
    .await;
    let lines = "{\"pin\": 4711}\n4711\n\"hunter2\"\n";
    check_masked(&secrets, OutputFormat::Jsonl, lines, json!([{"pin": "********"}, "********", "********"]))
        .await;
}

#[tokio::test]
async fn a_secret_that_is_a_document_is_not_read_out_of_another() {
    let secret = r#"{"private_key": "c2VjcmV0c2VjcmV0", "n": 1}"#;
    let mut launch = shell("cat", anywhere());
    launch.stdin = format!("given: {secret}\nas_text: '{secret}'\n").into_bytes();
    launch.masker = Masker::of([secret]);
    let stdout = finish(launch).await.stdout;
    assert_eq!(parse(OutputFormat::Yaml, &stdout), Ok(json!({"given": "********", "as_text": "********"})));
}

#[tokio::test]
async fn masked_output_that_was_cut_is_no_document() {
    let mut launch = shell("cat", anywhere());
    launch.stdin = b"a: hunter2\nb: hunter2\n".to_vec();
    launch.masker = Masker::of(["hunter2"]);
    launch.limits = CaptureLimits { head: 4, tail: 4 };
    let stdout = finish(launch).await.stdout;
    let format = OutputFormat::Yaml;
    assert_eq!(parse(format, &stdout), Err(OutputError::TooLong { format, total_bytes: 24, kept_bytes: 8 }));
    assert_eq!(parse(OutputFormat::Text, &stdout), Ok(json!("a: *\n[... 16 bytes left out ...]\n***")));
}
