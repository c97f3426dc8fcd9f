//! Commands that show what there is.

use std::io::Read;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::{MOMENT, Reply, Server, User, action, event, execution, execution_detail, rule};

#[test]
fn test_a_list_comes_in_every_format() {
    let rules = json!([rule("ops.one", "core.webhook"), rule("ops.other", "ops.alert")]);
    let server = Server::with(vec![("GET /api/v1/rules", Reply::page(&rules))]);
    let user = User::of(&server);
    let table = user.runs(&["rule", "list"]).exits(0);
    assert_eq!(
        table.stdout,
        "REF         ENABLED   MODE     TRIGGER        ACTION      VERSION\n\
         ops.one     yes       active   core.webhook   core.echo   3\n\
         ops.other   yes       active   ops.alert      core.echo   3\n"
    );
    assert_eq!(table.stderr, "");
    assert_eq!(user.runs(&["rule", "list", "-o", "json"]).exits(0).json(), rules);
    let yaml = user.runs(&["rule", "list", "-o", "yaml"]).exits(0).stdout;
    assert_eq!(serde_saphyr::from_str::<Value>(&yaml).unwrap(), rules);
    assert_eq!(user.runs(&["rule", "list", "-o", "name"]).exits(0).stdout, "ops.one\nops.other\n");
    let filtered = user.runs(&["rule", "list", "-o", "name", "--trigger", "ops.alert"]).exits(0);
    assert_eq!(filtered.stdout, "ops.other\n");
    assert_eq!(user.runs(&["rule", "list", "-o", "name", "--limit", "1"]).exits(0).stdout, "ops.one\n");
}

#[test]
fn test_an_empty_list_is_no_rows_and_no_error() {
    let server = Server::with(vec![("GET /api/v1/keys", Reply::page(&json!([])))]);
    let outcome = User::of(&server).runs(&["key", "list"]).exits(0).says("no keys");
    assert_eq!(outcome.stdout, "");
    assert_eq!(User::of(&server).runs(&["key", "list", "-o", "json"]).exits(0).json(), json!([]));
}

#[test]
fn test_pages_are_followed_with_the_filters() {
    let server = Server::start(|request| {
        let page = |id: i64, next: Option<&str>| {
            Reply::json(&json!({"items": [execution(id, "failed", Some(3))], "next_cursor": next}))
        };
        match request.line.as_str() {
            "GET /api/v1/executions?action=core.echo&status=failed&limit=2" => page(9, Some("9")),
            "GET /api/v1/executions?action=core.echo&status=failed&limit=1&cursor=9" => page(8, Some("8")),
            other => Reply::problem(400, "bad-request", other),
        }
    });
    let list = ["execution", "list", "--action", "core.echo", "--status", "failed", "--limit", "2"];
    let outcome = User::of(&server).runs(&list).exits(0).says("the newest 2; --limit shows more");
    let lines: Vec<_> = outcome.stdout.lines().collect();
    assert!(lines[0].starts_with("ID   ACTION      STATUS   EXIT   TIME"), "{lines:?}");
    assert!(lines[1].starts_with("9    core.echo   failed   3      1.5s"), "{lines:?}");
    assert_eq!(lines.len(), 3);
}

#[test]
fn test_a_trigger_shows_the_whole_address_of_its_webhook() {
    let trigger = json!({
        "ref": "ops.alert", "pack": "ops", "label": null, "description": null, "enabled": true,
        "parameters": {}, "out_schema": {}, "webhook": {"path": "/api/v1/webhooks/k3y", "signature": "github", "secret": "ops.hook"},
        "created": MOMENT, "updated": MOMENT,
    });
    let server = Server::with(vec![("GET /prefix/api/v1/triggers/ops.alert", Reply::json(&trigger))]);
    let url = format!("{}/prefix/", server.url);
    let user = User::new().having("ATTUNE_URL", &url);
    let address = format!("{url}api/v1/webhooks/k3y");
    user.runs(&["trigger", "show", "ops.alert"])
        .exits(0)
        .prints(&format!("webhook:    {address}\n"))
        .prints("github, with the key ops.hook");
    let shown = user.runs(&["trigger", "show", "ops.alert", "-o", "json"]).exits(0).json();
    assert_eq!(shown["webhook"]["url"], json!(address));
}

#[test]
fn test_a_ref_that_does_not_exist_is_answered_with_the_nearest() {
    let server =
        Server::with(vec![("GET /api/v1/actions", Reply::page(&json!([action("core.echo", &json!({}))])))]);
    User::of(&server)
        .runs(&["action", "show", "core.ecoh"])
        .exits(5)
        .says("error: nothing at GET /api/v1/actions/core.ecoh")
        .says("hint: did you mean `core.echo`?");
}

#[test]
fn test_an_event_tells_what_came_of_it() {
    let enforcement = |id: i64, rule: &str, error: Value, executions: Value| {
        json!({
            "id": id, "rule": rule, "trigger": "core.webhook", "event": 5, "status": "processed", "payload": {},
            "config": {}, "condition": "all", "conditions": [], "error": error, "created": MOMENT, "updated": MOMENT,
            "executions": executions,
        })
    };
    let mut detail = event(5);
    detail["matched"] = json!(MOMENT);
    detail["enforcements"] = json!([
        enforcement(
            7,
            "ops.page",
            Value::Null,
            json!([{"id": 42, "action": "core.echo", "status": "completed"}])
        ),
        enforcement(8, "ops.log", json!("no such parameter"), json!([])),
    ]);
    detail["windows"] = json!([{
        "rule": "ops.many", "key": "web-01", "text": "counted: 1 of 3",
        "outcome": {"outcome": "counted", "count": 1, "at_least": 3},
    }]);
    let mut contributed = enforcement(9, "ops.many", Value::Null, json!([]));
    contributed["events"] = json!((1..=12).collect::<Vec<_>>());
    let server = Server::with(vec![
        ("GET /api/v1/events/5", Reply::json(&detail)),
        ("GET /api/v1/enforcements/9", Reply::json(&contributed)),
    ]);
    User::of(&server)
        .runs(&["enforcement", "show", "9"])
        .exits(0)
        .prints("events:     1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 2 more\n");
    let outcome = User::of(&server)
        .runs(&["event", "show", "5"])
        .exits(0)
        .prints("outcome:  2 rules fired")
        .prints("  ops.many   web-01   counted: 1 of 3")
        .prints("  7             ops.page   processed   42          core.echo   completed")
        .prints("  8             ops.log    processed   -           -           no such parameter")
        .prints("\"disk\": \"\\u001b[31mfull\"");
    assert!(!outcome.stdout.contains('\u{1b}'), "a payload must not drive the terminal");
}

#[test]
fn test_an_execution_tells_where_it_came_from() {
    let mut detail = execution_detail(42, "failed", Some(3));
    detail["chain"] = json!({"enforcement": 7, "rule": "ops.page", "trigger": "core.webhook", "event": 5});
    detail["stdout_bytes"] = json!(100_000);
    detail["attempts"] = json!([{
        "attempt": 1, "status": "failed", "worker": "w1", "exit_code": 3, "signal": null, "error": null,
        "started": MOMENT, "finished": MOMENT,
    }]);
    let server = Server::with(vec![("GET /api/v1/executions/42", Reply::json(&detail))]);
    let user = User::of(&server);
    user.runs(&["execution", "show", "42"])
        .exits(0)
        .prints("event 5 (core.webhook) -> rule ops.page -> enforcement 7 -> execution 42\n")
        .prints("exit code:  3\n")
        .prints("time:       1.5s\n")
        .prints("result:\n  {\n    \"answer\": 42\n  }\n")
        .prints("stdout (its beginning; all 100000 bytes: `attune execution logs 42`):\n  hi\n");
    user.runs(&["execution", "show", "42", "--exit-status"]).exits(3);
    assert_eq!(user.runs(&["execution", "show", "42", "-o", "json"]).exits(0).json(), detail);
}

#[test]
fn test_an_execution_that_has_not_ended_is_pending() {
    let running = Reply::json(&execution_detail(42, "running", None));
    let server = Server::with(vec![("GET /api/v1/executions/42", running)]);
    User::of(&server)
        .runs(&["execution", "show", "42", "--exit-status", "-o", "name"])
        .exits(8)
        .prints("42\n");
}

#[test]
fn test_a_reader_that_goes_away_is_no_error() {
    // More than a pipe holds, so that the binary is still writing when its reader leaves.
    let rules: Vec<_> = (0..5_000).map(|n| rule(&format!("ops.rule_{n}"), "core.webhook")).collect();
    let server = Server::with(vec![("GET /api/v1/rules", Reply::page(&json!(rules)))]);
    for format in ["table", "json", "yaml", "name"] {
        let user = User::of(&server);
        let mut child = user.command(&["rule", "list", "-o", format]).stdin(Stdio::null()).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut [0]).unwrap();
        drop(stdout);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    }
}
