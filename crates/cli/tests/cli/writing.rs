//! Commands that change something.

use serde_json::{Value, json};

use crate::support::{MOMENT, Reply, Server, User, rule};

#[test]
fn test_a_rule_is_enabled_and_disabled() {
    let mut disabled = rule("ops.page", "core.webhook");
    disabled["enabled"] = json!(false);
    let server = Server::with(vec![("PATCH /api/v1/rules/ops.page", Reply::json(&disabled))]);
    let user = User::of(&server);
    let outcome = user.runs(&["rule", "disable", "ops.page"]).exits(0).says("rule ops.page is disabled");
    assert_eq!(outcome.stdout, "");
    assert_eq!(server.sent("PATCH /api/v1/rules/ops.page"), json!({"enabled": false}));
    let shown = user.runs(&["rule", "enable", "ops.page", "-o", "json"]).exits(0).json();
    assert_eq!(shown["ref"], json!("ops.page"));
    assert_eq!(server.requests()[1].json(), json!({"enabled": true}));
}

#[test]
fn test_a_payload_comes_from_the_argument_a_file_or_standard_input() {
    let check = |payload: &[&str], stdin: &str, expect: serde_json::Value| {
        let server = Server::with(vec![(
            "POST /api/v1/events",
            Reply::of(202, "application/json", json!({"event": 17, "duplicate": false}).to_string()),
        )]);
        let user = User::of(&server);
        std::fs::write(user.home().join("payload.json"), r#"{"from": "file"}"#).unwrap();
        let mut arguments = vec!["event", "create", "--trigger", "ops.alert", "-o", "name"];
        arguments.extend(payload);
        assert_eq!(user.runs_with(&arguments, stdin).exits(0).stdout, "17\n");
        let sent = server.sent("POST /api/v1/events");
        assert_eq!((&sent["trigger"], &sent["payload"]), (&json!("ops.alert"), &expect));
    };
    check(&["--payload", r#"{"a": 1}"#], "", json!({"a": 1}));
    check(&["--payload", "@payload.json"], "", json!({"from": "file"}));
    check(&["--payload", "-"], "[1, 2]", json!([1, 2]));
    check(&[], "ignored", json!({}));
}

#[test]
fn test_a_bad_payload_is_refused_before_anything_is_sent() {
    let server = Server::with(vec![]);
    User::of(&server)
        .runs(&["event", "create", "--trigger", "ops.alert", "--payload", "{oops"])
        .exits(1)
        .says("error: --payload is not JSON: key must be a string at line 1 column 2 of the argument\nhint: give JSON");
    assert_eq!(server.lines(), [""; 0]);
}

#[test]
fn test_whether_a_key_may_be_empty_is_for_the_server_to_say() {
    let key = json!({
        "ref": "ops.level", "secret": false, "owner": "system", "version": 2, "created": MOMENT, "updated": MOMENT, "value": "",
    });
    let server = Server::with(vec![("PUT /api/v1/keys/ops.level", Reply::json(&key))]);
    User::of(&server).runs_with(&["key", "set", "ops.level"], "\n").exits(0).says("key ops.level is set");
    assert_eq!(server.sent("PUT /api/v1/keys/ops.level"), json!({"value": ""}));
}

#[test]
fn test_a_key_is_set_from_standard_input_and_never_shown() {
    let key = json!({
        "ref": "ops.token", "secret": true, "owner": "system", "version": 1, "created": MOMENT, "updated": MOMENT,
    });
    let server = Server::with(vec![
        ("PUT /api/v1/keys/ops.token", Reply::json(&key)),
        ("DELETE /api/v1/keys/ops.token", Reply::empty()),
    ]);
    let user = User::of(&server);
    let outcome =
        user.runs_with(&["key", "set", "ops.token"], "s3cret\nline\n").exits(0).says("key ops.token is set");
    assert_eq!(server.sent("PUT /api/v1/keys/ops.token"), json!({"value": "s3cret\nline"}));
    assert!(!format!("{outcome:?}").contains("s3cret"));
    user.runs(&["key", "delete", "ops.token"]).exits(0).says("key ops.token is deleted");
    assert_eq!(server.lines().len(), 2);
}

#[test]
fn test_a_plain_key_is_set_shown_and_hidden() {
    let key = |secret: bool, value: Option<&str>| {
        let mut key = json!({
            "ref": "ops.level", "secret": secret, "owner": "system", "version": 3, "created": MOMENT, "updated": MOMENT,
        });
        if let Some(value) = value {
            key["value"] = json!(value);
        }
        key
    };
    let put = "PUT /api/v1/keys/ops.level";
    let server = Server::with(vec![(put, Reply::json(&key(false, Some("80"))))]);
    let user = User::of(&server);
    let last = || server.requests().last().unwrap().json();
    let sentence = "key ops.level is set; whoever may read it sees its value";
    user.runs(&["key", "set", "ops.level", "--plain=80"]).exits(0).says(sentence);
    assert_eq!(last(), json!({"value": "80", "secret": false}));
    user.runs(&["key", "set", "--plain=", "ops.level"]).exits(0).says(sentence);
    assert_eq!(last(), json!({"value": "", "secret": false}));
    user.runs_with(&["key", "set", "--plain", "ops.level"], "90\n").exits(0).says(sentence);
    assert_eq!(last(), json!({"value": "90", "secret": false}));
    user.runs_with(&["key", "set", "--secret", "ops.level"], "s3cret\n").exits(0);
    assert_eq!(last(), json!({"value": "s3cret", "secret": true}));
    user.runs(&["key", "set", "--secret", "--plain=80", "ops.level"]).exits(1).says("cannot be used with");

    let server = Server::with(vec![(put, Reply::json(&key(true, None)))]);
    User::of(&server).runs(&["key", "hide", "ops.level"]).exits(0).says("key ops.level is a secret");
    assert_eq!(server.sent(put), json!({"secret": true}));

    let get = "GET /api/v1/keys/ops.level";
    let server = Server::with(vec![(get, Reply::json(&key(false, Some("80"))))]);
    let user = User::of(&server);
    let shown = user.runs(&["key", "show", "ops.level"]).exits(0);
    assert!(shown.stdout.contains("secret:   no\n") && shown.stdout.contains("value:    80\n"), "{shown:?}");
    assert_eq!(user.runs(&["key", "get", "ops.level", "-o", "json"]).exits(0).json()["value"], json!("80"));
    let server = Server::with(vec![(get, Reply::json(&key(true, None)))]);
    let shown = User::of(&server).runs(&["key", "show", "ops.level"]).exits(0);
    assert!(
        shown.stdout.contains("secret:   yes\n") && shown.stdout.contains("value:    ********\n"),
        "{shown:?}"
    );

    let listed = json!([key(false, Some(&"x y\n".repeat(20))), key(true, None), key(false, None)]);
    let server = Server::with(vec![("GET /api/v1/keys", Reply::page(&listed))]);
    let shown = User::of(&server).runs(&["key", "list"]).exits(0);
    let values: Vec<&str> = shown.stdout.lines().map(|line| line[12..].split("  ").next().unwrap()).collect();
    assert_eq!(values, ["VALUE", &*format!("{}...", "x y ".repeat(10)), "********", "..."]);
}

#[test]
fn test_a_rule_changes_its_mode() {
    let mut shadow = rule("ops.page", "core.webhook");
    shadow["mode"] = json!("shadow");
    shadow["enabled"] = json!(false);
    let server = Server::with(vec![("PATCH /api/v1/rules/ops.page", Reply::json(&shadow))]);
    let user = User::of(&server);
    user.runs(&["rule", "mode", "ops.page", "shadow"])
        .exits(0)
        .says("rule ops.page only records what it would do from now on; it is disabled");
    assert_eq!(server.sent("PATCH /api/v1/rules/ops.page"), json!({"mode": "shadow"}));
    user.runs(&["rule", "mode", "ops.page", "shade"]).exits(1);
}

/// A batch of a replay.
fn batch(pairs: &[(i64, i64, bool)], next: Option<&str>) -> serde_json::Value {
    let replayed: Vec<_> = pairs
        .iter()
        .map(|(of, event, duplicate)| json!({"replay_of": of, "event": event, "duplicate": duplicate}))
        .collect();
    json!({"run": "r", "replayed": replayed, "next_cursor": next})
}

#[test]
fn test_a_replay_goes_on_until_nothing_is_left_and_can_be_taken_up_again() {
    let server = Server::start(|request| {
        let cursor = request.json().get("cursor").cloned();
        Reply::json(&match cursor {
            None => batch(&[(1, 11, false), (2, 12, true)], Some("3-9")),
            Some(_) => batch(&[(3, 13, false)], None),
        })
    });
    let user = User::of(&server);
    let times = ["--since", "2026-11-24T08:00:00Z", "--until", "2026-11-24T09:00:00Z"];
    let outcome =
        user.runs(&[&["event", "replay", "--trigger", "ops.alert", "--limit", "10"], &times[..]].concat());
    let outcome = outcome.exits(0).says("2 events replayed, 1 had been before");
    let first = server.requests()[0].json();
    let run = first["run"].as_str().unwrap().to_owned();
    // What the user is told to type when the run is broken off says everything again.
    outcome.says(&format!(
        "  attune event replay --trigger ops.alert --since 2026-11-24T08:00:00Z --until 2026-11-24T09:00:00Z --run {run} --limit 10"
    ));
    let second = server.requests()[1].json();
    assert_eq!(
        (&first["limit"], &second["limit"], &second["cursor"]),
        (&json!(10), &json!(8), &json!("3-9"))
    );
    assert_eq!(second["run"], json!(run));
}

#[test]
fn test_what_makes_no_replay_is_refused_before_anything_is_sent() {
    let server = Server::with(vec![]);
    let user = User::of(&server);
    user.runs(&["event", "replay"]).exits(1);
    user.runs(&["event", "replay", "1", "--since", "1h"]).exits(1);
    user.runs(&["event", "replay", "--trigger", "ops.alert"]).exits(1);
    user.runs(&["event", "replay", "1", "--edit", ".a |"])
        .exits(1)
        .says("error: --edit is no jq program: expected");
    user.runs(&["event", "replay", "--trigger", "a.b", "--since", "yesterday"]).exits(1).says("is no time");
    user.runs(&["rule", "backtest", "--since", "1h"]).exits(1);
    user.runs(&["rule", "backtest", "a.b"]).exits(1);
    assert_eq!(server.lines(), [""; 0]);
}

fn pause(action: Option<&str>, pack: Option<&str>) -> serde_json::Value {
    json!({"id": 4, "action": action, "pack": pack, "reason": "too loud", "by": "admin", "created": MOMENT})
}

#[test]
fn test_something_is_paused_and_resumed() {
    let server = Server::with(vec![
        ("POST /api/v1/pauses", Reply::json(&pause(Some("ops.page"), None))),
        ("GET /api/v1/pauses", Reply::json(&json!({"items": [pause(Some("ops.page"), None)]}))),
        ("DELETE /api/v1/pauses/4", Reply::empty()),
    ]);
    let user = User::of(&server);
    user.runs(&["pause", "--action", "ops.page", "--reason", "too loud"])
        .exits(0)
        .says("ops.page is paused; what runs goes on");
    let sent = server.sent("POST /api/v1/pauses");
    assert_eq!(sent, json!({"action": "ops.page", "all": false, "reason": "too loud"}));
    let listed = user.runs(&["pause"]).exits(0).stdout;
    assert!(listed.lines().nth(1).is_some_and(|line| line.starts_with("ops.page   admin")), "{listed}");
    user.runs(&["resume", "--pack", "ops"]).exits(5).says("pack ops is not paused");
    user.runs(&["resume", "--action", "ops.page"]).exits(0).says("ops.page is resumed");
    assert_eq!(server.lines().last().map(String::as_str), Some("DELETE /api/v1/pauses/4"));
}

#[test]
fn test_a_pause_without_a_scope_has_no_reason_and_none_is_resumed() {
    let server = Server::with(vec![]);
    let user = User::of(&server);
    user.runs(&["pause", "--reason", "x"]).exits(1).says("--action");
    user.runs(&["pause", "--all", "--pack", "ops"]).exits(1).says("cannot be used with");
    user.runs(&["resume"]).exits(1).says("it is not said what to resume");
    assert_eq!(server.lines(), [""; 0]);
}

#[test]
fn test_an_edit_that_fails_names_the_event_and_records_nothing_of_its_batch() {
    let server = Server::start(|_| {
        let event = crate::support::event(5);
        Reply::json(&json!({"run": "r", "replayed": [], "would_replay": [event], "count": 1}))
    });
    User::of(&server)
        .runs(&["event", "replay", "5", "--edit", ".disk - 1"])
        .exits(1)
        .says("--edit fails on the payload of event 5: ");
    assert_eq!(server.requests().len(), 1);
    assert_eq!(server.requests()[0].json()["dry_run"], json!(true));
}

#[test]
fn test_a_back_test_that_breaks_off_is_an_error() {
    let stream = "event: progress\ndata: {\"events\": 1, \"percent\": 50.0}\n\n";
    let server =
        Server::with(vec![("POST /api/v1/rules/backtest", Reply::of(200, "text/event-stream", stream))]);
    User::of(&server)
        .runs(&["rule", "backtest", "ops.page", "--since", "1h"])
        .exits(1)
        .says("ended before its end");
    let problem = json!({"type": "/problems/unavailable", "title": "x", "status": 503, "detail": "the server is stopping"});
    let stream = format!("event: problem\ndata: {problem}\n\n");
    let server =
        Server::with(vec![("POST /api/v1/rules/backtest", Reply::of(200, "text/event-stream", stream))]);
    User::of(&server)
        .runs(&["rule", "backtest", "ops.page", "--since", "1h"])
        .exits(1)
        .says("the server is stopping");
}

fn worker(name: &str, cordoned: bool, running: i64) -> Value {
    json!({
        "id": 1, "name": name, "host": "node-1", "status": "active", "slots": 4, "running": running,
        "cordoned": cordoned, "labels": {"zone": "a"}, "capabilities": {"os": "linux"}, "taints": ["gpu"],
        "alive": true, "heartbeat": MOMENT,
    })
}

#[test]
fn test_a_worker_is_drained() {
    let busy = Server::with(vec![
        ("POST /api/v1/workers/node-1/cordon", Reply::json(&worker("node-1", true, 2))),
        ("GET /api/v1/workers", Reply::json(&json!({"items": [worker("node-1", true, 2)]}))),
    ]);
    let user = User::of(&busy);
    user.runs(&["worker", "drain", "node-1"])
        .exits(0)
        .says("worker node-1 is cordoned: it gets no more work, and runs 2 executions yet");
    user.runs(&["worker", "drain", "node-1", "--wait", "--timeout", "100ms"])
        .exits(6)
        .says("worker node-1 still runs something; it stays cordoned");
    user.runs(&["worker", "drain", "node-1", "--timeout", "1s"]).exits(1).says("--wait");
    user.runs(&["worker", "list"]).exits(0).prints("RUNNING");
    let ending = Server::with(vec![
        ("POST /api/v1/workers/node-1/cordon", Reply::json(&worker("node-1", true, 1))),
        ("GET /api/v1/workers", Reply::json(&json!({"items": [worker("node-1", true, 0)]}))),
    ]);
    User::of(&ending)
        .runs(&["worker", "drain", "node-1", "--wait"])
        .exits(0)
        .says("worker node-1 is cordoned; it runs 1 execution")
        .says("worker node-1 is drained: it runs nothing, and gets no more work");
}

#[test]
fn test_a_worker_is_cordoned_and_uncordoned() {
    let worker = |cordoned: bool| worker("node-1", cordoned, 3);
    let server = Server::with(vec![
        ("POST /api/v1/workers/node-1/cordon", Reply::json(&worker(true))),
        ("POST /api/v1/workers/node-1/uncordon", Reply::json(&worker(false))),
        (
            "POST /api/v1/workers/node-2/cordon",
            Reply::problem(404, "not-found", "worker node-2 does not exist"),
        ),
        ("GET /api/v1/workers", Reply::json(&json!({"items": [worker(true)]}))),
    ]);
    let user = User::of(&server);
    user.runs(&["worker", "cordon", "node-1"])
        .exits(0)
        .says("worker node-1 is cordoned: it gets no more work");
    user.runs(&["worker", "uncordon", "node-1"]).exits(0).says("worker node-1 gets work again");
    user.runs(&["worker", "cordon", "node-2"]).exits(5).says("did you mean `node-1`?");
    user.runs(&["worker", "list"]).exits(0).prints("zone=a, taint gpu");
}

#[test]
fn test_the_history_of_an_execution_is_listed() {
    let entry = |status: &str| json!({"status": status, "at": MOMENT});
    let history = json!({"items": [entry("scheduled"), entry("running"), entry("failed")]});
    let server = Server::with(vec![("GET /api/v1/executions/7/history", Reply::json(&history))]);
    let user = User::of(&server);
    let names = user.runs(&["execution", "history", "7", "-o", "name"]).exits(0).stdout;
    assert_eq!(names, "scheduled\nrunning\nfailed\n");
}
