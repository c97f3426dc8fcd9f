//! Commands that change something.

use serde_json::json;

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
fn test_a_key_is_set_from_standard_input_and_never_shown() {
    let key = json!({"ref": "ops.token", "created": MOMENT, "updated": MOMENT});
    let server = Server::with(vec![
        ("PUT /api/v1/keys/ops.token", Reply::json(&key)),
        ("DELETE /api/v1/keys/ops.token", Reply::empty()),
    ]);
    let user = User::of(&server);
    let outcome =
        user.runs_with(&["key", "set", "ops.token"], "s3cret\nline\n").exits(0).says("key ops.token is set");
    assert_eq!(server.sent("PUT /api/v1/keys/ops.token"), json!({"value": "s3cret\nline"}));
    assert!(!format!("{outcome:?}").contains("s3cret"));
    user.runs_with(&["key", "set", "ops.token"], "\n").exits(1).says("the value is empty");
    user.runs(&["key", "delete", "ops.token"]).exits(0).says("key ops.token is deleted");
    assert_eq!(server.lines().len(), 2);
}
