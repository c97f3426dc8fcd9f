//! `attune event explain`.

use serde_json::{Value, json};

use crate::support::{MOMENT, Reply, Server, User, rule};

fn test(pointer: &str, field: &str, actual: &Value, verdict: &str, reason: &str) -> Value {
    json!({
        "pointer": pointer, "field": field, "operator": "equals", "expected": "critical", "actual": actual,
        "verdict": verdict, "reason": reason,
    })
}

fn explained(rule: &str, outcome: &str, reason: &str, conditions: &Value) -> Value {
    json!({
        "rule": rule, "version": 3, "mode": "active", "action": "core.echo", "outcome": outcome, "reason": reason,
        "verdict": "false", "trigger": [test("/trigger", "trigger.ref", &json!("x"), "true", "holds")],
        "conditions": conditions, "action_params": null, "action_params_error": null, "enforcement": null,
    })
}

fn explanation(rules: &Value, next_cursor: Value) -> Value {
    let mut explanation = json!({
        "event": 5, "trigger": "core.webhook", "matched": MOMENT, "rule_set_version": 9,
        "reason": "1 of 3 rules fired, 1 failed", "rules": rules,
    });
    if !next_cursor.is_null() {
        explanation["next_cursor"] = next_cursor;
    }
    explanation
}

fn story() -> Value {
    let mut fired = explained("ops.fires", "fired", "it fired", &json!([]));
    fired["enforcement"] = json!({
        "id": 7, "status": "processed", "error": null,
        "executions": [{"id": 42, "action": "core.echo", "status": "completed"}],
    });
    let mut failed = explained("ops.fails", "failed", "the parameters cannot be rendered", &json!([]));
    failed["mode"] = json!("shadow");
    failed["action_params_error"] = json!({
        "pointer": "/action_params/text", "template": "{{ event.payload.sumary }}", "message": "no such field",
        "suggestion": "summary",
    });
    failed["enforcement"] =
        json!({"id": 8, "status": "processed", "error": "the parameters ..", "executions": []});
    let conditions = json!([
        test("/conditions/0", "event.payload.severity", &json!("low"), "false", "does not hold"),
        test(
            "/conditions/1/not",
            "event.payload.kind",
            &Value::Null,
            "missing",
            "`event.payload` has no `kind`"
        ),
    ]);
    explanation(
        &json!([
            fired,
            failed,
            explained("ops.quiet", "not_fired", "the conditions do not hold", &conditions)
        ]),
        Value::Null,
    )
}

const PATH: &str = "GET /api/v1/events/5/explanation?limit=100";

#[test]
fn test_each_rule_is_told_with_its_conditions() {
    let server = Server::with(vec![(PATH, Reply::json(&story()))]);
    let outcome = User::of(&server).runs(&["event", "explain", "5"]).exits(0);
    let (head, rules) = outcome.stdout.split_once("\n\n").unwrap();
    assert!(head.contains("matched:  2020-01-02T03:04:05Z ("), "{head}");
    assert!(head.ends_with("outcome:  1 of 3 rules fired, 1 failed"), "{head}");
    assert_eq!(
        rules,
        "ops.fires: fired\n\
         \x20 version 3, runs core.echo\n\
         \x20 enforcement 7: execution 42 is completed\n\
         \x20 no conditions: the rule fires on every event that it listens to\n\
         \n\
         ops.fails: failed - the parameters cannot be rendered\n\
         \x20 version 3, in shadow mode, runs core.echo\n\
         \x20 enforcement 8: no execution\n\
         \x20 /action_params/text: {{ event.payload.sumary }}: no such field; did you mean `summary`?\n\
         \x20 no conditions: the rule fires on every event that it listens to\n\
         \n\
         ops.quiet: not fired - the conditions do not hold\n\
         \x20 version 3, runs core.echo\n\
         \x20 CONDITION           FIELD                    OPERATOR   EXPECTED     ACTUAL   VERDICT   WHY\n\
         \x20 /conditions/0       event.payload.severity   equals     \"critical\"   \"low\"    false     does not hold\n\
         \x20 /conditions/1/not   event.payload.kind       equals     \"critical\"   -        missing   \
         `event.payload` has no `kind` (under `not`)\n"
    );
}

#[test]
fn test_scripts_get_it_whole() {
    let server = Server::with(vec![(PATH, Reply::json(&story()))]);
    let user = User::of(&server);
    assert_eq!(user.runs(&["event", "explain", "5", "-o", "json"]).exits(0).json(), story());
    user.runs(&["event", "explain", "5", "-o", "yaml"]).exits(0).prints("outcome: not_fired\n");
    assert_eq!(user.runs(&["event", "explain", "5", "-o", "name"]).exits(0).stdout, "ops.fires\n");
}

#[test]
fn test_why_a_rule_does_not_listen_is_told_before_its_conditions() {
    let mut rule =
        explained("ops.other", "not_listening", "its trigger_params are for other events", &json!([]));
    rule["trigger"] =
        json!([test("/trigger_params/team", "trigger.config.team", &json!("dev"), "false", "does not hold")]);
    let path = "GET /api/v1/events/5/explanation?limit=100&rule=ops.other";
    let server = Server::with(vec![(path, Reply::json(&explanation(&json!([rule]), Value::Null)))]);
    User::of(&server)
        .runs(&["event", "explain", "5", "--rule", "ops.other"])
        .exits(0)
        .prints("ops.other: not listening - its trigger_params are for other events\n")
        .prints("  /trigger_params/team   trigger.config.team   equals");
}

#[test]
fn test_what_is_not_matched_and_what_is_absent_have_no_table() {
    let mut waiting = explanation(&json!([]), Value::Null);
    waiting["matched"] = Value::Null;
    waiting["reason"] = json!("the event waits to be matched: no rule has judged it yet");
    let server = Server::with(vec![(PATH, Reply::json(&waiting))]);
    let outcome = User::of(&server).runs(&["event", "explain", "5"]).exits(0);
    assert_eq!(
        outcome.stdout,
        "event:    5\ntrigger:  core.webhook\nmatched:  not yet\noutcome:  the event waits to be matched: no rule has \
         judged it yet\n"
    );
    let absent = json!({
        "rule": "ops.new", "version": null, "mode": null, "action": null, "outcome": "absent", "verdict": null,
        "reason": "the rule was made later", "trigger": [], "conditions": [], "action_params": null,
        "action_params_error": null, "enforcement": null,
    });
    let server = Server::with(vec![(PATH, Reply::json(&explanation(&json!([absent]), Value::Null)))]);
    let outcome = User::of(&server).runs(&["event", "explain", "5"]).exits(0);
    assert!(outcome.stdout.ends_with("\n\nops.new: absent - the rule was made later\n"), "{outcome:#?}");
}

#[test]
fn test_pages_are_followed_up_to_the_limit() {
    let rule = |name: &str| explained(name, "fired", "it fired", &json!([]));
    let first = explanation(&json!([rule("ops.a"), rule("ops.b")]), json!("ops.b"));
    let second = explanation(&json!([rule("ops.c")]), json!("ops.c"));
    let server = Server::with(vec![
        ("GET /api/v1/events/5/explanation?limit=3", Reply::json(&first)),
        ("GET /api/v1/events/5/explanation?limit=1&cursor=ops.b", Reply::json(&second)),
    ]);
    let outcome = User::of(&server)
        .runs(&["event", "explain", "5", "--limit", "3"])
        .exits(0)
        .prints("outcome:  3 of the first 3 rules fired\n")
        .says("the first 3 rules; --limit shows more");
    assert!(outcome.stdout.contains("ops.c: fired"), "{outcome:#?}");
}

#[test]
fn test_errors_of_the_server_are_told() {
    let server =
        Server::with(vec![("GET /api/v1/rules", Reply::page(&json!([rule("ops.page", "core.webhook")])))]);
    User::of(&server).runs(&["event", "explain", "5"]).exits(5).says("error: nothing at GET");
    User::of(&server)
        .runs(&["event", "explain", "5", "--rule", "a.b", "--limit", "3"])
        .exits(1)
        .says("cannot be used with");
}
