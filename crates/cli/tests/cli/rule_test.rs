//! `attune rule test`: verdicts, their exit codes, and what is wrong with the files.

use serde_json::{Value, json};

use crate::support::{Outcome, User};

const RULE: &str = r#"ref: ops.page_disk
label: Page
trigger: ops.alert
trigger_params: {path: alertmanager}
conditions:
  - {field: event.payload.severity, operator: equals, value: critical}
  - not: {field: event.payload.used, operator: less_than, value: "{{ event.payload.limit }}"}
action: ops.page
action_params:
  text: "{{ event.payload.host }} by {{ rule.ref }}"
  used: "{{ event.payload.used }}"
"#;

/// A user with the rule in `rule.yaml` and an event on which it fires in `event.json`.
fn user() -> User {
    let user = User::new();
    write(&user, "rule.yaml", RULE);
    write(&user, "event.json", &event(&json!({})).to_string());
    user
}

fn write(user: &User, name: &str, content: &str) {
    std::fs::write(user.home().join(name), content).unwrap();
}

/// The event with other members in its payload; null takes one out.
fn event(changes: &Value) -> Value {
    let mut payload = json!({"severity": "critical", "used": 95, "limit": 90, "host": "web-01"});
    for (name, value) in changes.as_object().unwrap() {
        payload[name] = value.clone();
        if value.is_null() {
            payload.as_object_mut().unwrap().remove(name);
        }
    }
    json!({"payload": payload, "trigger_ref": "ops.alert", "config": {"path": "alertmanager"}})
}

fn tested(user: &User, event: &Value, arguments: &[&str]) -> Outcome {
    let all = [&["rule", "test", "-f", "rule.yaml", "--event", "-"], arguments].concat();
    user.runs_with(&all, &event.to_string())
}

#[test]
fn test_a_rule_that_would_fire_shows_all_it_decided_by() {
    let user = user();
    let outcome = user.runs(&["rule", "test", "-f", "rule.yaml", "--event", "event.json"]).exits(0);
    assert_eq!(outcome.stderr, "");
    assert_eq!(
        outcome.stdout,
        "event:    event.json\n\
         rule:     ops.page_disk\n\
         action:   ops.page\n\
         verdict:  true - it would fire\n\
         conditions:\n\
         \x20 CONDITION           FIELD                    OPERATOR    EXPECTED     ACTUAL       VERDICT   WHY\n\
         \x20 /conditions/0       event.payload.severity   equals      \"critical\"   \"critical\"   true      holds\n\
         \x20 /conditions/1/not   event.payload.used       less_than   90           95           false     does not hold (under `not`)\n\
         trigger:\n\
         \x20 CONDITION              FIELD                 OPERATOR   EXPECTED         ACTUAL           VERDICT   WHY\n\
         \x20 /trigger               trigger.ref           equals     \"ops.alert\"      \"ops.alert\"      true      holds\n\
         \x20 /trigger_params/path   trigger.config.path   equals     \"alertmanager\"   \"alertmanager\"   true      holds\n\
         action_params:\n\
         \x20 {\n\
         \x20   \"text\": \"web-01 by ops.page_disk\",\n\
         \x20   \"used\": 95\n\
         \x20 }\n"
    );
    let shown = user
        .runs(&["rule", "test", "-f", "rule.yaml", "--event", "event.json", "-o", "json"])
        .exits(0)
        .json();
    assert_eq!((&shown["fires"], &shown["verdict"]), (&json!(true), &json!("true")));
    assert_eq!(shown["action_params"], json!({"text": "web-01 by ops.page_disk", "used": 95}));
    assert_eq!(
        shown["conditions"][1],
        json!({"pointer": "/conditions/1/not", "field": "event.payload.used", "operator": "less_than", "expected": 90,
               "actual": 95, "verdict": "false", "reason": "does not hold"})
    );
    user.runs(&["rule", "test", "-f", "rule.yaml", "--event", "event.json", "-o", "yaml"])
        .exits(0)
        .prints("verdict: \"true\"\n");
}

#[test]
fn test_the_exit_code_tells_false_and_missing_from_an_error() {
    let user = user();
    let check = |event: &Value, code: i32, verdict: &str, reason: &str| {
        let shown = tested(&user, event, &["-o", "json"]).exits(code).json();
        assert_eq!((&shown["verdict"], &shown["reason"]), (&json!(verdict), &json!(reason)), "{shown:#}");
        assert_eq!(shown["fires"], json!(code == 0));
        shown
    };
    check(&event(&json!({})), 0, "true", "it would fire");
    check(&event(&json!({"severity": "low"})), 2, "false", "the conditions do not hold");
    check(&event(&json!({"severity": null})), 2, "missing", "a field that decides does not exist");
    let shown = check(&event(&json!({"used": "x"})), 1, "error", "a condition that decides cannot be judged");
    assert_eq!(
        shown["conditions"][1]["reason"],
        "`less_than` cannot order string and integer; nothing is converted"
    );
    let shown = check(&event(&json!({"host": null})), 1, "error", "the action parameters cannot be rendered");
    assert_eq!(
        shown["action_params_error"],
        json!({"pointer": "/action_params/text", "template": "{{ event.payload.host }} by {{ rule.ref }}",
               "message": "`event.payload.host` is undefined", "suggestion": null})
    );
    tested(&user, &event(&json!({"host": null})), &[])
        .exits(1)
        .prints("action_params cannot be rendered:\n  /action_params/text: {{ event.payload.host }} by");
}

#[test]
fn test_an_event_that_the_rule_does_not_listen_to_is_told() {
    let user = user();
    let check = |name: &str, value: Value, test: usize, verdict: &str, reason: &str| {
        let mut event = event(&json!({}));
        event[name] = value;
        let shown = tested(&user, &event, &["-o", "json"]).exits(2).json();
        assert_eq!(shown["reason"], "the rule does not listen to such an event");
        assert_eq!(
            (&shown["trigger"][test]["verdict"], &shown["trigger"][test]["reason"]),
            (&json!(verdict), &json!(reason))
        );
    };
    check("trigger_ref", json!("ops.other"), 0, "false", "the event is of another trigger");
    check("config", json!({"path": "grafana"}), 1, "false", "`path` differs");
    check("config", Value::Null, 1, "missing", "the event's config has no `path`");
}

#[test]
fn test_a_payload_alone_is_taken_as_one_that_the_rule_listens_to() {
    let user = user();
    let payload = event(&json!({}))["payload"].clone();
    let shown = tested(&user, &payload, &["--payload", "-o", "json"]).exits(0).json();
    assert_eq!((&shown["event"], &shown["trigger"]), (&json!("<stdin>"), &json!([])));
    tested(&user, &payload, &[]).exits(1).says("the event has no `payload`").says("hint: with --payload");
    tested(&user, &json!([1]), &[]).exits(1).says("expected an event, an object with `payload`; got array");
}

#[test]
fn test_an_event_as_the_command_line_shows_it_is_read() {
    let user = user();
    let mut shown = crate::support::event(17);
    shown["trigger"] = json!("ops.alert");
    shown["payload"] = event(&json!({}))["payload"].clone();
    shown["config"] = json!({"path": "alertmanager"});
    shown["matched"] = Value::Null;
    shown["enforcements"] = json!([]);
    let rule =
        RULE.replace("{{ event.payload.host }}", "{{ event.id }} {{ event.created }} {{ event.source }}");
    write(&user, "rule.yaml", &rule);
    let outcome = tested(&user, &shown, &["-o", "json"]).exits(0);
    assert_eq!(outcome.stderr, "");
    assert_eq!(outcome.json()["action_params"]["text"], "17 2020-01-02T03:04:05Z None by ops.page_disk");

    shown["weather"] = json!("fair");
    tested(&user, &shown, &[]).exits(0).says("note: <stdin>: left out, as no event has it: `weather`\n");
    shown["trigger_ref"] = json!("ops.other");
    tested(&user, &shown, &[]).exits(1).says("`trigger` and `trigger_ref` differ");
    tested(&user, &json!({"payload": {}, "confg": {}}), &[]).exits(1).says("did you mean `config`?");
    tested(&user, &json!({"payload": {}, "config": []}), &[])
        .exits(1)
        .says("`config` must be an object, got array");
    tested(&user, &json!({"payload": {}, "trigger": 1}), &[])
        .exits(1)
        .says("`trigger` must be text, got integer");
}

#[test]
fn test_several_events_have_a_verdict_each_and_the_worst_counts() {
    let user = user();
    write(&user, "low.json", &event(&json!({"severity": "low"})).to_string());
    write(&user, "odd.json", &event(&json!({"used": "x"})).to_string());
    let all = ["rule", "test", "-f", "rule.yaml", "--event", "event.json", "low.json"];
    let verdicts = |shown: &Value| {
        shown.as_array().unwrap().iter().map(|trial| trial["verdict"].clone()).collect::<Vec<_>>()
    };
    let shown = user.runs(&[&all[..], &["-o", "json"]].concat()).exits(2).json();
    assert_eq!(verdicts(&shown), ["true", "false"]);
    let with_error = [&all[..], &["--event", "odd.json"]].concat();
    let shown = user.runs(&[&with_error[..], &["-o", "json"]].concat()).exits(1).json();
    assert_eq!(verdicts(&shown), ["true", "false", "error"]);
    assert_eq!(user.runs(&[&all[..], &["-o", "name"]].concat()).exits(2).stdout, "event.json\n");
    user.runs(&all).exits(2).prints("\n\nevent:    low.json\n");
}

#[test]
fn test_time_is_a_value() {
    let user = user();
    let rule = "ref: ops.r\ntrigger: ops.alert\nconditions:\n  - {field: event.payload.at, operator: younger_than, value: 1h}\n\
                action: core.noop\naction_params: {at: \"{{ event.created }}\"}\n";
    write(&user, "rule.yaml", rule);
    let event = json!({"payload": {"at": "2026-01-01T11:30:00Z"}});
    let shown = tested(&user, &event, &["--now", "2026-01-01T13:00:00+01:00", "-o", "json"]).exits(0).json();
    assert_eq!(shown["action_params"]["at"], "2026-01-01T12:00:00+00:00");
    tested(&user, &event, &["--now", "2026-01-01T12:30:01Z"]).exits(2);
    tested(&user, &event, &[]).exits(2);
    tested(&user, &event, &["--now", "noon"]).exits(1).says("expected a moment such as");
}

#[test]
fn test_every_fault_of_the_rule_is_told_with_its_line() {
    let user = user();
    write(&user, "rule.yaml", &RULE.replace("equals", "equls").replace("action:", "actoin:"));
    let outcome = user.runs(&["rule", "test", "-f", "rule.yaml", "--event", "event.json"]).exits(1);
    assert_eq!(outcome.stdout, "");
    assert!(
        outcome.stderr.starts_with(
            "error: unknown operator `equls`\n  --> rule.yaml:6:47\n   |\n \
             6 |   - {field: event.payload.severity, operator: equls, value: critical}\n   |  \
             \x20                                            ^^^^^\n   = help: did you mean `equals`?\n"
        ),
        "{}",
        outcome.stderr
    );
    outcome
        .says("error: unknown key `actoin`\n  --> rule.yaml:8:1\n")
        .says("= expected: one of `ref`, `label`")
        .says("error: 2 findings in rule.yaml\n");
    let stdin = ["rule", "test", "-f", "-", "--event", "event.json"];
    user.runs_with(&stdin, "ref: ops.r\n").exits(1).says("--> <stdin>:1:1");
    user.runs_with(&stdin, RULE).exits(0);
}

#[test]
fn test_what_is_wrong_with_the_files_and_flags_is_told() {
    let user = user();
    write(&user, "broken.json", "{\"payload\":\n  {\"a\": }}");
    let fails = |arguments: &[&str], says: &str| {
        let outcome = user.runs(&[&["rule", "test"], arguments].concat()).exits(1).says(says);
        assert_eq!(outcome.stdout, "");
    };
    fails(
        &["-f", "rule.yaml", "--event", "event.json", "broken.json"],
        "broken.json:2:9: the event is not JSON: expected value",
    );
    fails(&["-f", "rule.yaml", "--event", "nope.json"], "cannot read the event from nope.json");
    fails(&["-f", "nope.yaml", "--event", "event.json"], "cannot read the rule from nope.yaml");
    fails(&["-f", "-", "--event", "-"], "only one of the files can be standard input");
    fails(&["-f", "rule.yaml", "--event", "event.json", "--profile", "x"], "--profile has no effect");
    fails(&["-f", "rule.yaml"], "--event");
    let disabled = RULE.replace("label: Page", "enabled: false");
    let outcome = user.runs_with(&["rule", "test", "-f", "-", "--event", "event.json"], &disabled).exits(0);
    outcome.says("note: the rule is disabled");
    user.runs(&["help", "exit-codes"])
        .exits(0)
        .prints("  2  a comparison found differences or pending changes; a tested rule");
}

const COUNTING: &str = r#"ref: ops.many
trigger: ops.alert
conditions:
  - {field: event.payload.result, operator: equals, value: failed}
window: {count: {at_least: 2, within: 10m}, key: "{{ event.payload.user }}"}
action: ops.lock
action_params: {text: "{{ window.count }} of {{ window.key }} up to {{ event.payload.n }}"}
"#;

fn failure(minute: u32, payload: &Value) -> String {
    json!({"created": format!("2026-11-26T09:{minute:02}:00Z"), "payload": payload}).to_string()
}

/// The arguments that test the rule on these files.
fn test_on<'a>(files: &[&'a str]) -> Vec<&'a str> {
    [&["rule", "test", "-f", "rule.yaml", "--event"], files].concat()
}

#[test]
fn test_a_window_is_run_over_the_events_in_the_order_of_their_times() {
    let user = User::new();
    write(&user, "rule.yaml", COUNTING);
    let failed = |user: &str, n: i64| json!({"result": "failed", "user": user, "n": n});
    write(&user, "late.json", &failure(5, &failed("ann", 1)));
    write(&user, "early.json", &failure(1, &failed("ann", 2)));
    write(&user, "other.json", &failure(2, &failed("bob", 3)));
    write(&user, "fine.json", &failure(3, &json!({"result": "ok", "user": "ann", "n": 4})));
    write(&user, "keyless.json", &failure(4, &json!({"result": "failed", "n": 5})));
    let all = ["late.json", "early.json", "other.json", "fine.json"];
    let shown = user.runs(&[test_on(&all), vec!["-o", "json"]].concat()).exits(2).json();
    let fires: Vec<_> = shown.as_array().unwrap().iter().map(|trial| trial["fires"].clone()).collect();
    assert_eq!(fires, [true, false, false, false]);
    assert_eq!(shown[0]["action_params"], json!({"text": "2 of ann up to 1"}));
    assert_eq!(shown[0]["window"]["with"], json!(["early.json", "late.json"]));
    assert_eq!(shown[0]["window"]["fires_at"], "2026-11-26T09:05:00Z");
    assert_eq!(
        (&shown[1]["window"]["outcome"], &shown[1]["window"]["count"]),
        (&json!("counted"), &json!(1))
    );
    assert_eq!((&shown[2]["window"]["key"], &shown[2]["verdict"]), (&json!("bob"), &json!("true")));
    assert_eq!((&shown[3]["window"], &shown[3]["verdict"]), (&json!(null), &json!("false")));
    let table = user.runs(&test_on(&["late.json", "early.json"])).exits(2).stdout;
    assert!(table.contains("window:   counted: 1 of 2"), "{table}");
    assert!(table.contains("with:      early.json, late.json"), "{table}");
    let keyless = user.runs(&test_on(&["keyless.json"])).exits(1).stdout;
    assert!(keyless.contains("the key of the window cannot be rendered"), "{keyless}");
    let named = user.runs(&[test_on(&all), vec!["-o", "name"]].concat()).exits(2).stdout;
    assert_eq!(named, "late.json\n");
}

#[test]
fn test_timers_of_a_window_run_to_their_end() {
    let user = User::new();
    let rule = "ref: ops.quiet\ntrigger: ops.alert\nwindow: {debounce: 2m}\naction: ops.page\n";
    write(&user, "rule.yaml", rule);
    write(&user, "first.json", &failure(1, &json!({})));
    write(&user, "second.json", &failure(2, &json!({})));
    let files = ["rule", "test", "-f", "rule.yaml", "--event", "first.json", "second.json", "-o", "json"];
    let shown = user.runs(&files).exits(2).json();
    assert_eq!((&shown[0]["fires"], &shown[1]["fires"]), (&json!(false), &json!(true)));
    assert_eq!(shown[0]["window"]["due"], "2026-11-26T09:03:00Z");
    assert_eq!(shown[1]["window"]["fires_at"], "2026-11-26T09:04:00Z");
    assert_eq!(shown[1]["window"]["with"], json!(["first.json", "second.json"]));
}

#[test]
fn test_settings_come_from_the_pack_around_the_rule_and_from_a_file() {
    let user = User::new();
    for directory in ["ops/rules", "ops/triggers"] {
        std::fs::create_dir_all(user.home().join(directory)).unwrap();
    }
    let manifest = "ref: ops\nversion: 1.0.0\nconfig_schema:\n  limit: {type: integer, default: 90}\n  url: {type: string, default: 'https://a'}\n";
    write(&user, "ops/pack.yaml", manifest);
    write(&user, "ops/triggers/alert.yaml", "ref: ops.alert\n");
    let rule = "ref: ops.page\ntrigger: ops.alert\nconditions:\n  - {field: event.payload.used, operator: greater_than, value: '{{ config.limit }}'}\naction: core.echo\naction_params: {message: '{{ config.url }}/{{ event.payload.host }}'}\n";
    write(&user, "ops/rules/page.yaml", rule);
    write(&user, "event.json", &event(&json!({})).to_string());
    let test = |arguments: &[&str]| {
        let all = [
            &["rule", "test", "-f", "ops/rules/page.yaml", "--event", "event.json", "-o", "json"],
            arguments,
        ];
        user.runs(&all.concat())
    };
    let outcome = test(&[]).exits(0).json();
    assert_eq!(outcome["action_params"], json!({"message": "https://a/web-01"}));
    assert_eq!(outcome["conditions"][0]["expected"], 90);
    write(&user, "settings.yaml", "limit: 99\n");
    assert_eq!(test(&["--config", "settings.yaml"]).exits(2).json()["conditions"][0]["expected"], 99);
    write(&user, "settings.yaml", "limt: 99\n");
    test(&["--config", "settings.yaml"]).exits(1).says("did you mean `limit`?");
    write(&user, "ops/rules/page.yaml", &rule.replace("config.url", "config.ulr"));
    test(&[]).exits(1).says("the pack `ops` has no setting `ulr` in its config_schema");

    // A rule by itself is judged with what is given.
    write(&user, "page.yaml", rule);
    let alone = ["rule", "test", "-f", "page.yaml", "--event", "event.json", "-o", "json"];
    let outcome = user.runs(&alone).exits(2).json();
    assert_eq!(outcome["conditions"][0]["verdict"], "missing");
    write(&user, "settings.yaml", "{limit: 1, url: 'https://b'}\n");
    let outcome = user.runs(&[&alone[..], &["--config", "settings.yaml"]].concat()).exits(0).json();
    assert_eq!(outcome["action_params"], json!({"message": "https://b/web-01"}));
    write(&user, "page.yaml", "ref: ops.page\ntrigger: ops.alert\naction: core.echo\n");
    user.runs(&[&alone[..], &["--config", "settings.yaml"]].concat())
        .exits(1)
        .says("settings.yaml has no effect");
}
