//! The tests that packs bring: what is understood, and what is told of the rest.

use std::time::Duration;

use attune_pack::{CaseSubject, HttpBody};
use serde_json::json;

use crate::{accepted, check};

const TRIGGER: (&str, &str) = ("triggers/alert.yaml", "ref: ops.alert\n");
const RULE: (&str, &str) = ("rules/page.yaml", "ref: ops.page\ntrigger: ops.alert\naction: core.noop\n");
const WINDOW: (&str, &str) =
    ("rules/calm.yaml", "ref: ops.calm\ntrigger: ops.alert\nwindow: {throttle: 15m}\naction: core.noop\n");

#[test]
fn test_a_case_is_read_with_what_its_file_shares() {
    let pack = accepted(&[
        TRIGGER,
        WINDOW,
        RULE,
        (
            "tests/page.yaml",
            "keys: {ops.a: '1', ops.b: '2'}
http:
  - {url: https://example.com/, json: {ok: true}}
cases:
  - name: it pages
    rule: ops.page
    keys: {ops.b: '3'}
    http: [{method: POST, url: https://example.com/, status: 503, text: busy, times: 2}]
    events:
      - {payload: {a: 1}, headers: {X-Kind: alert}}
      - {payload: {a: 2}, at: 5m}
      - {payload: {a: 3}}
    expect: {fires: 3, parameters: [{}, {}, {}], execution: {status: failed, error: busy}}
  - name: once
    rule: ops.calm
    events: [{payload: {}}]
    until: 1h
    expect: {fires: true}
",
        ),
    ]);
    let [file] = pack.tests.as_slice() else { panic!("{:?}", pack.tests) };
    let [first, second] = file.cases.as_slice() else { panic!("{file:?}") };
    assert_eq!((first.name.value.as_str(), first.name.line), ("it pages", 5));
    let keys: Vec<_> = first.keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(keys, ["ops.a=1", "ops.b=3"]);
    let answers: Vec<_> = first.http.iter().map(|answer| (answer.status, &answer.body)).collect();
    assert_eq!(answers, [(503, &HttpBody::Text("busy".into())), (200, &HttpBody::Json(json!({"ok": true})))]);
    assert_eq!(first.http[1].headers["content-type"], "application/json");
    let CaseSubject::Rule(rule) = &first.subject else { panic!("{first:?}") };
    let minutes: Vec<_> = rule.events.iter().map(|event| event.at.as_secs() / 60).collect();
    assert_eq!((rule.fires, minutes.as_slice()), (3, [0, 5, 5].as_slice()));
    assert_eq!(rule.events[0].headers["x-kind"], "alert");
    let CaseSubject::Rule(rule) = &second.subject else { panic!("{second:?}") };
    assert_eq!((rule.fires, rule.until), (1, Some(Duration::from_secs(3600))));
}

#[test]
fn test_slips_are_told_with_their_place() {
    let case = |text: &str, expected: &[&str]| {
        let file = format!("cases:\n  - name: a\n{text}");
        check(&[TRIGGER, RULE, WINDOW, ("tests/t.yaml", &file)], expected);
    };
    case(
        "    rule: ops.pgae\n    events: [{payload: {}}]\n    expect: {fires: true}\n",
        &["tests/t.yaml:3:11: the pack has no rule `ops.pgae`; did you mean `ops.page`?"],
    );
    case(
        "    rule: ops.page\n    events: [{payload: {}}]\n    expect: {fires: twice}\n",
        &[
            "tests/t.yaml:5:21: `cases[0].expect.fires` does not say how often; expected true, false or a whole number",
        ],
    );
    case(
        "    rule: ops.page\n    events: [{payload: {}}]\n    expect: {fires: false, parameters: {}}\n    until: 1h\n",
        &[
            "tests/t.yaml:5:28: `cases[0].expect.parameters` has no effect where the rule does not fire; expected the key left out",
            "tests/t.yaml:6:5: `cases[0].until` has no effect on a rule without a window; expected the key left out",
        ],
    );
    case(
        "    rule: ops.calm\n    events: [{payload: {}, at: 5m}, {payload: {}, at: 1m}]\n    expect: {fires: true, execution: {}}\n",
        &[
            "tests/t.yaml:4:55: `at` is before the event above; expected events in the order of time",
            "tests/t.yaml:5:27: `cases[0].expect.execution` has no effect on a rule with a window, whose time is that of the test; expected the key left out",
        ],
    );
    case(
        "    rule: ops.page\n    keys: {ops.a: x}\n    events: [{payload: {}}]\n    expect: {fires: 2, parameters: {}}\n",
        &[
            "tests/t.yaml:4:5: `cases[0].keys` has no effect without `expect.execution`: nothing is run; expected the key left out",
            "tests/t.yaml:6:36: `cases[0].expect.parameters` are 1 and `fires` says otherwise; expected as many as the rule fires",
        ],
    );
    case(
        "    events: [{payload: {}}]\n    expect: {}\n",
        &["tests/t.yaml:2:5: it is not clear what the case is about; expected either `rule` or `action`"],
    );
}

#[test]
fn test_mail_and_other_hosts_are_read() {
    let pack = accepted(&[
        TRIGGER,
        RULE,
        (
            "tests/page.yaml",
            "ssh: [{command: uptime, stdout: up}]
cases:
  - name: it pages
    rule: ops.page
    events: [{payload: {}}]
    ssh: [{host: db1, command: uptime, exit_code: 3, stderr: no, times: 1}]
    expect:
      fires: true
      execution:
        mail: [{to: [ada@example.com], subject: Full, attachments: [{name: a.csv, text: x}]}]
        commands: [{host: db1, command: uptime, user: ops}]
",
        ),
    ]);
    let case = &pack.tests[0].cases[0];
    let answers: Vec<_> =
        case.ssh.iter().map(|answer| (answer.host.as_deref(), answer.exit_code, answer.times)).collect();
    assert_eq!(answers, [(Some("db1"), 3, Some(1)), (None, 0, None)]);
    let CaseSubject::Rule(rule) = &case.subject else { panic!("{case:?}") };
    let expect = rule.execution.as_ref().unwrap();
    let mail = serde_json::to_value(&expect.mail).unwrap();
    let message = json!({"to": ["ada@example.com"], "subject": "Full", "attachments": [{"name": "a.csv", "text": "x"}]});
    assert_eq!(mail, json!([message]));
    let command = &expect.commands.as_ref().unwrap()[0];
    assert_eq!((command.user.as_deref(), command.stdin.as_deref()), (Some("ops"), None));
}

#[test]
fn test_slips_in_mail_and_commands_are_told() {
    check(
        &[
            TRIGGER,
            RULE,
            (
                "tests/page.yaml",
                "cases:
  - name: it pages
    rule: ops.page
    events: [{payload: {}}]
    ssh: [{comand: uptime}, {command: uptime, exit_code: 256}]
    expect: {fires: true, execution: {mail: [{to: ada@example.com, subjet: x}], commands: [{host: db1}]}}
  - name: nothing is run
    rule: ops.page
    events: [{payload: {}}]
    ssh: [{command: uptime}]
    expect: {fires: true}
",
            ),
        ],
        &[
            "tests/page.yaml:5:12: unknown key `comand`; did you mean `command`?",
            "tests/page.yaml:5:58: `cases[0].ssh[1].exit_code` is 256; expected a whole number from 0 to 255",
            "tests/page.yaml:6:51: `cases[0].expect.execution.mail[0].to` is the text \"ada@example.com\"; did you mean \
             `[\"ada@example.com\"]`?",
            "tests/page.yaml:6:68: unknown key `subjet`; did you mean `subject`?",
            "tests/page.yaml:6:92: the key `command` is missing in `cases[0].expect.execution.commands[0]`",
            "tests/page.yaml:10:5: `cases[1].ssh` has no effect without `expect.execution`: nothing is run; expected the key \
             left out",
        ],
    );
}
