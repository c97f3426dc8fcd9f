//! Running actions, waiting for them, and following what they write.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::{Reply, Server, User, action, execution, execution_detail};

const CREATE: &str = "POST /api/v1/executions";

/// A server with `core.echo`, whose execution 42 ends like this.
fn server(status: &'static str, exit_code: Option<i32>) -> Server {
    let parameters = json!({
        "type": "object",
        "properties": {
            "text": {"type": "string"}, "count": {"type": "integer"}, "hosts": {"type": "array"},
            "password": {"type": "string", "secret": true},
        },
        "additionalProperties": false,
    });
    Server::start(move |request| match request.line.as_str() {
        "GET /api/v1/actions/core.echo" => Reply::json(&action("core.echo", &parameters)),
        CREATE => Reply::json(&execution(42, "scheduled", None)),
        line if line.starts_with("GET /api/v1/executions/42?wait=") => {
            Reply::json(&execution_detail(42, status, exit_code))
        }
        "GET /api/v1/executions/42" => Reply::json(&execution_detail(42, status, exit_code)),
        "GET /api/v1/executions/42/output?follow=true" => Reply::of(
            200,
            "text/event-stream",
            stream(&[(0, "stdout", "out\n"), (1, "stderr", "err\n")]) + &end(status),
        ),
        line => Reply::problem(404, "not-found", line),
    })
}

fn piece(seq: usize, name: &str, text: &str) -> Value {
    json!({"attempt": 1, "seq": seq, "stream": name, "text": text})
}

fn stream(pieces: &[(usize, &str, &str)]) -> String {
    let event = |(seq, name, text): &(usize, &str, &str)| {
        format!("id: {seq}\nevent: output\ndata: {}\n\n", piece(*seq, name, text))
    };
    pieces.iter().map(event).collect()
}

fn end(status: &str) -> String {
    format!("event: end\ndata: {status}\n\n")
}

#[test]
fn test_parameters_take_their_types_from_the_action() {
    let server = server("completed", Some(0));
    let user = User::of(&server);
    let arguments = ["run", "core.echo", "text=5", "count=5", r#"hosts=["a"]"#, "-o", "name"];
    assert_eq!(user.runs(&arguments).exits(0).stdout, "42\n");
    assert_eq!(
        server.sent(CREATE),
        json!({"action": "core.echo", "parameters": {"text": "5", "count": 5, "hosts": ["a"]}})
    );
}

#[test]
fn test_parameters_come_as_json_too() {
    let server = server("completed", Some(0));
    let arguments = ["run", "core.echo", "--json", "-", "count=2"];
    User::of(&server)
        .runs_with(&arguments, r#"{"password": "x", "count": 1}"#)
        .exits(0)
        .says("execution 42 of core.echo is scheduled");
    assert_eq!(server.sent(CREATE)["parameters"], json!({"password": "x", "count": 2}));
}

#[test]
fn test_wrong_parameters_start_nothing() {
    let server = server("completed", Some(0));
    let user = User::of(&server);
    user.runs(&["run", "core.echo", "cout=1"])
        .exits(1)
        .says("the action has no parameter `cout`\nhint: did you mean `count`?");
    user.runs(&["run", "core.echo", "count=many"]).exits(1).says("parameter `count` takes an integer");
    user.runs(&["run", "core.echo", "count"]).exits(1).says("parameters are given as name=value");
    assert!(server.lines().iter().all(|line| line != CREATE), "{:?}", server.lines());
    user.runs(&["run", "core.echo", "password=x"]).exits(0).says("others on this machine can see `password`");
}

#[test]
fn test_waiting_ends_as_the_execution_does() {
    let check = |status: &'static str, exit_code: Option<i32>, code: i32, says: &str| {
        let server = server(status, exit_code);
        let outcome =
            User::of(&server).runs(&["run", "core.echo", "--wait", "-o", "json"]).exits(code).says(says);
        assert_eq!(outcome.json()["status"], json!(status));
    };
    check("completed", Some(0), 0, "execution 42 of core.echo is scheduled");
    check("failed", Some(3), 3, "execution 42 failed after 1.5s, exit code 3");
    check("timeout", None, 3, "execution 42 timeout after 1.5s");
    check("cancelled", None, 3, "cancelled");
    check("abandoned", None, 3, "abandoned");
}

#[test]
fn test_waiting_has_its_own_end() {
    let server = server("running", None);
    let user = User::of(&server);
    user.runs(&["run", "core.echo", "--wait", "--timeout", "200ms"])
        .exits(6)
        .says("execution 42 has not ended in time; it goes on\nhint: `attune execution wait 42`");
    user.runs(&["execution", "wait", "42", "--timeout", "0"]).exits(6);
}

#[test]
fn test_waiting_survives_a_restart_of_the_server() {
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::json(&execution_detail(42, "running", None)),
        1 => Reply::of(502, "text/html", "restarting"),
        _ => Reply::json(&execution_detail(42, "completed", Some(0))),
    });
    User::of(&server).runs(&["execution", "wait", "42"]).exits(0).says("execution 42 completed after 1.5s");
    assert_eq!(server.lines().len(), 3);
}

#[test]
fn test_following_prints_each_stream_where_it_belongs() {
    let server = server("failed", Some(3));
    let outcome = User::of(&server).runs(&["run", "core.echo", "--follow"]).exits(3);
    assert_eq!(outcome.stdout, "out\n");
    assert_eq!(
        outcome.stderr,
        "execution 42 of core.echo is scheduled\nerr\nexecution 42 failed after 1.5s, exit code 3\n"
    );
    User::of(&server).runs(&["run", "core.echo", "--follow", "-o", "json"]).exits(1).says("--follow prints");
}

#[test]
fn test_following_goes_on_where_a_lost_connection_ended() {
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |request| match request.line.as_str() {
        "GET /api/v1/executions/42/output?follow=true" => {
            let first = stream(&[(0, "stdout", "one\n")]);
            let all = stream(&[(0, "stdout", "one\n"), (1, "stdout", "two\n")]) + &end("completed");
            match asked.fetch_add(1, Ordering::SeqCst) {
                0 => Reply::of(200, "text/event-stream", first).cut_off(),
                1 => Reply::of(503, "text/html", "restarting"),
                _ => Reply::of(200, "text/event-stream", all),
            }
        }
        _ => Reply::json(&execution_detail(42, "completed", Some(0))),
    });
    let outcome = User::of(&server).runs(&["execution", "logs", "--follow", "42"]).exits(0);
    assert_eq!(outcome.stdout, "one\ntwo\n");
    assert_eq!(outcome.stderr, "execution 42 completed after 1.5s\n");
}

#[test]
fn test_logs_are_what_was_written() {
    let pieces =
        json!([piece(0, "stdout", "one"), piece(1, "stderr", "oops\n"), piece(2, "stdout", " two\n")]);
    let server = Server::with(vec![("GET /api/v1/executions/42/output", Reply::json(&pieces))]);
    let user = User::of(&server);
    let outcome = user.runs(&["execution", "logs", "42"]).exits(0);
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("one two\n", "oops\n"));
    assert_eq!(user.runs(&["execution", "logs", "42", "-o", "json"]).exits(0).json(), pieces);
    user.runs(&["execution", "logs", "42", "--follow", "-o", "yaml"]).exits(1);
}

#[test]
fn test_an_execution_is_cancelled() {
    let canceling = Reply::json(&execution(42, "canceling", None));
    let server = Server::with(vec![("POST /api/v1/executions/42/cancel", canceling)]);
    User::of(&server).runs(&["execution", "cancel", "42"]).exits(0).says("execution 42 is being cancelled");
    User::of(&server).runs(&["execution", "cancel", "43"]).exits(5);
}
