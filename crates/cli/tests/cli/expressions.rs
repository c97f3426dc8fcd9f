//! `attune expr`: as a filter, for other programs, and on a terminal.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::User;

const EVENT: &str = r#"{"event": {"payload": {"host": "web-01", "n": 5, "labels": ["a", "b"]}}}"#;

/// The outcomes of cases that one run of the command is asked.
fn answers(lines: &str) -> Vec<Value> {
    let outcome = User::new().runs_with(&["expr", "--ndjson"], lines).exits(0);
    assert_eq!(outcome.stderr, "");
    outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn cases(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn asked(cases: &[Value]) -> Vec<Value> {
    let lines: String = cases.iter().map(|case| format!("{case}\n")).collect();
    let answers = answers(&lines);
    assert_eq!(answers.len(), cases.len());
    answers
}

/// Cases of `search` whose suite looks up another field than their path names; see `tests/it/vectors.rs` of the crate
/// `expr`, which explains them.
const LOOKS_UP_ANOTHER_FIELD: &str = "item.waterLevel";

#[test]
fn test_recorded_operator_cases_give_their_outcome() {
    let mut other_look_up = 0;
    let cases: Vec<Value> = cases(include_str!("../../../expr/tests/vectors/criteria_operators.ndjson"))
        .into_iter()
        .map(|mut case| {
            if case["op"] == "search" && case["pattern"].to_string().contains(LOOKS_UP_ANOTHER_FIELD) {
                other_look_up += 1;
                let read = case["pattern"].to_string().replace(LOOKS_UP_ANOTHER_FIELD, "item.to_value");
                case["pattern"] = serde_json::from_str(&read).unwrap();
            }
            case["lang"] = json!("criteria");
            case
        })
        .collect();
    assert_eq!((cases.len(), other_look_up), (72, 7));
    for (case, answer) in cases.iter().zip(asked(&cases)) {
        assert_eq!(answer, json!({"out": case["out"]}), "{case}");
    }
}

#[test]
fn test_recorded_filter_cases_give_their_text() {
    let cases: Vec<Value> = cases(include_str!("../../../expr/tests/vectors/jinja_filters.ndjson"))
        .into_iter()
        .map(|case| {
            let mut asked =
                json!({"lang": "jinja", "expr": case["tpl"], "data": case["ctx"], "text": true, "out": null});
            asked["out"] = case.get("out").cloned().unwrap_or_default();
            asked
        })
        .collect();
    assert_eq!(cases.len(), 35);
    for (case, answer) in cases.iter().zip(asked(&cases)) {
        match &case["out"] {
            Value::Null => {
                assert!(answer["err"].is_string() && answer["msg"].is_string(), "{case}: {answer}");
            }
            out => assert_eq!(answer, json!({"out": out}), "{case}"),
        }
    }
}

#[test]
fn test_each_line_is_answered_whatever_is_wrong_with_it() {
    let check = |line: &str, expect: Value| {
        let answers = answers(&format!("{line}\n{{\"lang\": \"jinja\", \"expr\": \"1 + 1\"}}"));
        assert_eq!(answers, [expect, json!({"out": 2})]);
    };
    let malformed = |message: &str| json!({"err": "malformed", "msg": message});
    check("", malformed("not JSON: EOF while parsing a value at line 1 column 0"));
    check("{", malformed("not JSON: EOF while parsing an object at line 1 column 1"));
    check("[]", malformed("expected an object, got array"));
    check("{}", malformed("the case has no `lang`"));
    check(r#"{"lang": "jnja"}"#, malformed("unknown lang `jnja`; did you mean `jinja`?"));
    check(r#"{"lang": "perl"}"#, malformed("unknown lang `perl`; expected criteria, jinja, yaql"));
    check(r#"{"lang": "jinja", "expr": 1}"#, malformed("`expr` must be text, got integer"));
    check(
        r#"{"lang": "jinja", "expr": "1", "text": "yes"}"#,
        malformed("`text` must be true or false, got string"),
    );
    check(
        r#"{"lang": "criteria", "op": "eq", "value": 1, "pattern": 1, "condition": "all"}"#,
        malformed("`condition` has no effect on `equals`"),
    );
    check(
        r#"{"lang": "criteria", "op": "equls"}"#,
        json!({"err": "syntax", "msg": "unknown operator `equls`; did you mean `equals`?"}),
    );
    check(
        r#"{"lang": "criteria", "op": "gt", "value": "a", "pattern": 1}"#,
        json!({"err": "failed", "msg": "`greater_than` cannot order string and integer; nothing is converted"}),
    );
    check(
        r#"{"lang": "jinja", "expr": "{{ event.nn }}", "data": {"event": {"n": 1}}}"#,
        json!({"err": "undefined", "msg": "`event.nn` is undefined; `event` has no `nn`; did you mean `n`?"}),
    );
    check(
        r#"{"lang": "jinja", "expr": "{% for i in range(9999) %}{% for j in range(9999) %}x{% endfor %}{% endfor %}"}"#,
        json!({"err": "limit", "msg": "it does too much work or writes too much text for one template"}),
    );
    check(
        r#"{"lang": "yaql", "expr": "$.a", "data": {}}"#,
        json!({"err": "not available", "msg": "YAQL is not available in this version"}),
    );
    check(
        r#"{"lang": "jinja", "expr": "{{ ctx().a }}", "ctx": {"a": 1}, "workflow": true}"#,
        json!({"err": "not available", "msg": "Jinja in a workflow is not available in this version"}),
    );
    let mut child = User::new().command(&["expr", "--ndjson"]).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"\xff\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.stdout.starts_with(br#"{"err":"malformed""#));
}

#[test]
fn test_results_keep_their_type_unless_text_is_asked_for() {
    let answer = |case: Value| asked(&[case]).remove(0)["out"].clone();
    let data = json!({"list": [1, true, null]});
    assert_eq!(answer(json!({"lang": "jinja", "expr": "{{ list }}", "data": data})), data["list"]);
    assert_eq!(answer(json!({"lang": "jinja", "expr": "list", "data": data})), data["list"]);
    assert_eq!(
        answer(json!({"lang": "jinja", "expr": "{{ list }}", "data": data, "text": true})),
        "[1, True, None]"
    );
    assert_eq!(answer(json!({"lang": "jinja", "expr": "plain", "text": true})), "plain");
    assert_eq!(answer(json!({"lang": "jinja", "expr": "data[1]", "data": [1, 2]})), 2);
}

#[test]
fn test_lines_are_answered_one_by_one_and_a_closed_pipe_ends_it() {
    let mut child = User::new().command(&["expr", "--ndjson"]).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    for n in 0..3 {
        writeln!(stdin, "{}", json!({"lang": "jinja", "expr": "n * 2", "data": {"n": n}})).unwrap();
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, format!("{{\"out\":{}}}\n", n * 2));
    }
    drop(stdout);
    // Its input stays open: it ends because nobody reads. One line is not enough to show it, because a process that another
    // test is starting at this moment holds a copy of the pipe until it has become its own program.
    while child.try_wait().unwrap().is_none() {
        if writeln!(stdin, "{{}}").is_err() {
            break;
        }
    }
    let status = child.wait().unwrap();
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!((status.code(), stderr.as_str()), (Some(0), ""));
}

#[test]
fn test_a_filter_reads_a_file_or_standard_input() {
    let user = User::new();
    std::fs::write(user.home().join("event.json"), EVENT).unwrap();
    let file = |arguments: &[&str]| {
        user.runs(&[&["expr", "--data", "event.json"], arguments].concat()).exits(0).stdout
    };
    assert_eq!(file(&["event.payload.n"]), "5\n");
    assert_eq!(file(&["event.payload.host"]), "\"web-01\"\n");
    assert_eq!(file(&["event.payload.host", "--text"]), "web-01\n");
    assert_eq!(file(&["event.payload.labels", "--text"]), "['a', 'b']\n");
    assert_eq!(file(&["{{ event.payload.host }}:{{ event.payload.n }}"]), "\"web-01:5\"\n");
    assert_eq!(file(&["event.payload.labels", "-o", "yaml"]), "- a\n- b\n");
    assert_eq!(user.runs_with(&["expr", "event.payload.n + 1"], EVENT).exits(0).stdout, "6\n");
    assert_eq!(user.runs_with(&["expr", "data | length", "--data", "-"], "[1, 2]").exits(0).stdout, "2\n");
    assert_eq!(user.runs(&["expr", "1 + 1"]).exits(0).stdout, "2\n");
}

#[test]
fn test_a_condition_tells_by_its_exit_code() {
    let judged = |condition: &str| User::new().runs_with(&["expr", "-l", "condition", condition], EVENT);
    judged("{field: event.payload.n, operator: gt, value: 3}").exits(0).prints("verdict:  true\n");
    judged("{field: event.payload.n, operator: gt, value: 5}").exits(2).prints("verdict:  false\n");
    judged("{field: event.payload.m, operator: gt, value: 5}").exits(2).prints("has no `m`");
    judged("{field: event.payload.host, operator: gt, value: 5}").exits(1).prints("verdict:  error\n");
    judged("{not: {field: event.payload.n, operator: gt, value: 5}}").exits(0).prints("(under `not`)");
    judged("{{ event.payload.n == 5 }}").exits(0);
    judged("{field: payload.n, operator: gtt}")
        .exits(1)
        .says("error: /field: there is no `payload`; a rule sees event, rule, trigger; /operator: unknown operator `gtt`\n");
    judged("{field: [").exits(1).says("neither YAML nor JSON");
    let outcome = User::new()
        .runs_with(
            &["expr", "-l", "condition", "{field: event.payload.n, operator: exists}", "-o", "json"],
            EVENT,
        )
        .exits(0);
    assert_eq!(outcome.json()["tests"][0]["actual"], 5);
    User::new()
        .runs_with(
            &[
                "expr",
                "-l",
                "condition",
                "{field: event.at, operator: younger_than, value: 1h}",
                "--now",
                "2026-01-01T12:00:00Z",
            ],
            r#"{"event": {"at": "2026-01-01T11:30:00Z"}}"#,
        )
        .exits(0);
}

#[test]
fn test_what_is_wrong_is_told() {
    let user = User::new();
    let fails = |arguments: &[&str], stdin: &str, says: &str| {
        let outcome = user.runs_with(&[&["expr"], arguments].concat(), stdin).exits(1).says(says);
        assert_eq!(outcome.stdout, "");
    };
    fails(&["event.payload.hots"], EVENT, "hint: `event.payload` has no `hots`; did you mean `host`?");
    fails(&["event.payload.host | uper"], EVENT, "hint: did you mean `upper`?");
    fails(&["event.payload.host }} {{ event"], EVENT, "error: ");
    fails(&["event.payload.host }} {{ event", "--text"], EVENT, "error: ");
    fails(&["a"], "{\n  a: 1}", "<stdin>:2:3: the data is not JSON: key must be a string");
    fails(&["a", "--data", "-"], "", "<stdin>:1:0: the data is not JSON");
    fails(&["a", "--data", "nope.json"], "", "cannot read the data from nope.json");
    fails(&["$.a", "--lang", "yaql"], "{}", "YAQL is not available");
    fails(&["--data", "nope.json"], "", "there is no expression");
    fails(&["a", "--url", "http://x"], "{}", "--url has no effect");
    fails(&["a", "-o", "name"], "{}", "has no name");
    fails(&["a", "-o", "json", "--text"], "{}", "--output has no effect with --text");
    fails(&["a", "-l", "condition", "--text"], "{}", "--text has no effect on a condition");
    fails(&["--ndjson", "-o", "json"], "", "--output has no effect with --ndjson");
    fails(&["--ndjson", "a"], "", "cannot be used with");
    fails(&["a", "--now", "yesterday"], "{}", "expected a moment such as");
}

#[test]
fn test_a_terminal_asks_for_one_expression_after_another() {
    let user = User::new();
    std::fs::write(user.home().join("event.json"), EVENT).unwrap();
    let terminal = nix::pty::openpty(None, None).unwrap();
    let mut child = {
        let mut command = user.command(&["expr", "--data", "event.json"]);
        command.stdin(Stdio::from(terminal.slave.try_clone().unwrap())).stdout(Stdio::from(terminal.slave));
        command.spawn().unwrap()
    };
    let mut terminal = File::from(terminal.master);
    terminal
        .write_all(
            b"event.payload.n + 1\n\n:names\nevent.payload.nn\n:lagn\n:lang condition\n\
              {field: event.payload.n, operator: gt, value: 3}\n:lang perl\n:help\n:quit\n",
        )
        .unwrap();
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    // Reading from a terminal that nobody has open any more ends with an error.
    let mut shown = Vec::new();
    drop(terminal.read_to_end(&mut shown));
    let shown = String::from_utf8(shown).unwrap();
    for expect in ["\n6\r\n", "\nevent\r\n", "verdict:  true\r\n"] {
        assert!(shown.contains(expect), "no {expect:?} in {shown:?}");
    }
    for expect in [
        "jinja> ",
        "error: `event.payload.nn` is undefined\nhint: `event.payload` has no `nn`; did you mean `n`?\n",
        "error: there is no `:lagn`\nhint: did you mean `:lang`?\n",
        "condition> ",
        "error: expected `:lang jinja`",
        "the names that the data has",
    ] {
        assert!(stderr.contains(expect), "no {expect:?} in {stderr:?}");
    }
}
