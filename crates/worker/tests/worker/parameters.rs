//! Parameters arrive as they were given, whatever is in them, and where nobody else can read them.

use std::{fs, os::unix::fs::PermissionsExt};

use attune_common::models::action::{ParameterDelivery, ParameterFormat};
use attune_worker::{
    parameters::{Delivered, ParameterError, deliver},
    process::Finished,
};
use serde_json::{Value, json};

use crate::helpers::{anywhere, directory, finish, shell};

/// Strings that something between here and a script might change.
const NASTY: &[&str] = &[
    "",
    " ",
    "plain",
    "it's",
    "'",
    "''",
    "'\\''",
    "\"",
    "\\",
    "\\n",
    "a\nb",
    "\n",
    "a\r\nb",
    "tab\there",
    "$HOME",
    "${HOME}",
    "$(echo no)",
    "`echo no`",
    "!!",
    "#no",
    "a #no",
    "~",
    "*",
    "a;b",
    "a&b",
    "a|b",
    "--",
    "-n",
    "null",
    "true",
    "yes",
    "No",
    "on",
    "y",
    "0777",
    "0o17",
    "1e3",
    "12:30:45",
    "2026-01-01",
    "1_000",
    ".5",
    ".inf",
    "{{ x }}",
    "{a: b}",
    "[x]",
    "- x",
    "a: b",
    "? x",
    "%x",
    "@x",
    "|",
    ">",
    "&a",
    "*a",
    "!!int 1",
    "<<",
    "=",
    "---",
    "...",
    "über",
    "日本",
    "🦀",
    "\u{85}",
    "\u{2028}",
    "\u{feff}",
    "\u{1b}[0m",
    "\u{7f}",
    " lead",
    "trail ",
    "x\n\n",
    "\n x",
];

async fn give(parameters: Value, delivery: ParameterDelivery, format: ParameterFormat) -> Delivered {
    deliver(&parameters, delivery, format, anywhere()).await.unwrap()
}

async fn refuse(parameters: Value, delivery: ParameterDelivery, format: ParameterFormat) -> ParameterError {
    deliver(&parameters, delivery, format, anywhere()).await.unwrap_err()
}

async fn text(parameters: Value, format: ParameterFormat) -> String {
    String::from_utf8(give(parameters, ParameterDelivery::Stdin, format).await.stdin).unwrap()
}

/// Runs the script with what was delivered.
async fn run(script: &str, delivered: Delivered) -> Finished {
    let mut launch = shell(script, anywhere());
    launch.env.extend(delivered.env);
    launch.stdin = delivered.stdin;
    finish(launch).await
}

#[tokio::test]
async fn json_arrives_on_standard_input() {
    let parameters = json!({"host": "db1", "ports": [1, 2], "deep": {"a": null}});
    let delivered = give(parameters.clone(), ParameterDelivery::Stdin, ParameterFormat::Json).await;
    assert!(delivered.env.is_empty());
    assert!(delivered.stdin.ends_with(b"}\n"));
    let finished = run("cat", delivered).await;
    assert_eq!(serde_json::from_slice::<Value>(&finished.stdout.head).unwrap(), parameters);
}

#[tokio::test]
async fn yaml_keeps_every_value_and_its_type() {
    for string in NASTY {
        let parameters = json!({"v": string, *string: [string, {"k": string}], "n": {*string: string}});
        let yaml = text(parameters.clone(), ParameterFormat::Yaml).await;
        assert_eq!(serde_saphyr::from_str::<Value>(&yaml).unwrap(), parameters, "{yaml}");
    }
    let parameters = json!({"a": 1, "b": -2.5, "c": true, "d": null, "e": [], "f": {}, "g": u64::MAX, "h": i64::MIN, "i": 1e20});
    let yaml = text(parameters.clone(), ParameterFormat::Yaml).await;
    assert_eq!(serde_saphyr::from_str::<Value>(&yaml).unwrap(), parameters, "{yaml}");
}

#[tokio::test]
async fn a_shell_may_source_dotenv_whatever_is_in_it() {
    for string in NASTY {
        let delivered = give(json!({"v": string}), ParameterDelivery::Stdin, ParameterFormat::Dotenv).await;
        let script = r#"f=$(mktemp); cat >$f; v=unset; . $f; rm $f; printf %s "$v""#;
        let finished = run(script, delivered).await;
        assert_eq!(finished.stdout.complete().unwrap(), string.as_bytes(), "{string:?}");
        assert_eq!(finished.stderr.to_text(), "");
    }
}

#[tokio::test]
async fn dotenv_has_json_for_what_is_no_string() {
    let parameters = json!({"list": ["it's", 2], "n": 5, "none": null, "on": true, "a-b.c": "x"});
    let expected = "a_b_c='x'\nlist='[\"it'\\''s\",2]'\nn='5'\nnone='null'\non='true'\n";
    assert_eq!(text(parameters, ParameterFormat::Dotenv).await, expected);
    assert_eq!(text(json!({}), ParameterFormat::Dotenv).await, "");
}

#[tokio::test]
async fn each_parameter_can_be_a_variable() {
    let parameters = json!({"host": "db1 $x", "max-load": 2.5, "tags": ["a"], "ü": ""});
    let delivered = give(parameters, ParameterDelivery::Env, ParameterFormat::Json).await;
    assert!(delivered.stdin.is_empty());
    let names: Vec<_> = delivered.env.keys().map(|name| name.to_str().unwrap()).collect();
    assert_eq!(
        names,
        ["ATTUNE_ACTION_HOST", "ATTUNE_ACTION_MAX_LOAD", "ATTUNE_ACTION_TAGS", "ATTUNE_ACTION__"]
    );
    let script = r#"printf '%s|%s|%s' "$ATTUNE_ACTION_HOST" "$ATTUNE_ACTION_MAX_LOAD" "$ATTUNE_ACTION_TAGS""#;
    assert_eq!(run(script, delivered).await.stdout.to_text(), r#"db1 $x|2.5|["a"]"#);
    for string in NASTY {
        let delivered = give(json!({"v": string}), ParameterDelivery::Env, ParameterFormat::Json).await;
        let finished = run(r#"printf %s "$ATTUNE_ACTION_V""#, delivered).await;
        assert_eq!(finished.stdout.complete().unwrap(), string.as_bytes(), "{string:?}");
    }
}

#[tokio::test]
async fn a_file_of_parameters_is_private_and_named_in_the_environment() {
    let formats = [
        (ParameterFormat::Json, "parameters.json", "{\"a\":\"b\"}\n"),
        (ParameterFormat::Yaml, "parameters.yaml", "a: 'b'\n"),
        (ParameterFormat::Dotenv, "parameters.env", "a='b'\n"),
    ];
    for (format, name, content) in formats {
        let directory = directory();
        let delivered =
            deliver(&json!({"a": "b"}), ParameterDelivery::File, format, directory.path()).await.unwrap();
        assert!(delivered.stdin.is_empty());
        let mode = fs::metadata(directory.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(run(r#"cat "$ATTUNE_PARAMETERS_FILE""#, delivered).await.stdout.to_text(), content);
        // A file that is there may be somebody else's trap.
        let again = deliver(&json!({}), ParameterDelivery::File, format, directory.path()).await;
        assert!(matches!(again, Err(ParameterError::File { .. })));
    }
}

#[tokio::test]
async fn parameters_that_cannot_be_delivered_are_named_but_not_shown() {
    use ParameterDelivery::{Env, Stdin};
    use ParameterFormat::{Dotenv, Json};

    let cases = [
        (json!(["s3cret"]), Stdin, Json, "parameters are an array, expected an object"),
        (json!({"a": "s3cret\0"}), Env, Json, "parameter `a` contains U+0000"),
        (json!({"a": "s3cret\0"}), Stdin, Dotenv, "parameter `a` contains U+0000"),
        (
            json!({"a-b": "s3cret", "a_b": 1}),
            Env,
            Json,
            "parameters `a-b` and `a_b` would both be `ATTUNE_ACTION_A_B`",
        ),
        (json!({"a-b": "s3cret", "a_b": 1}), Stdin, Dotenv, "parameters `a-b` and `a_b` would both be `a_b`"),
        (
            json!({"ref": "s3cret"}),
            Env,
            Json,
            "parameter `ref` would be `ATTUNE_ACTION_REF`, which is not free",
        ),
        (json!({"1st": "s3cret"}), Stdin, Dotenv, "parameter `1st` would be no name for a variable"),
        (json!({"": "s3cret"}), Stdin, Dotenv, "parameter `` would be no name for a variable"),
    ];
    for (parameters, delivery, format, expected) in cases {
        let message = refuse(parameters.clone(), delivery, format).await.to_string();
        assert!(message.starts_with(expected), "{parameters}: {message}");
        assert!(!message.contains("s3cret"));
    }
    let delivered = give(json!({"token": "s3cret"}), Env, Json).await;
    assert!(!format!("{delivered:?}").contains("s3cret"));
    // U+0000 is no trouble for the formats that can escape it.
    assert_eq!(text(json!({"a": "\0"}), Json).await, "{\"a\":\"\\u0000\"}\n");
    assert_eq!(text(json!({"a": "\0"}), ParameterFormat::Yaml).await, "a: \"\\0\"\n");
}
