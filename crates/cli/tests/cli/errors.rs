//! What goes wrong, and how a script and a person can tell.

use std::net::TcpListener;

use serde_json::json;

use crate::support::{Reply, Server, User};

#[test]
fn test_exit_codes_tell_what_happened() {
    let check = |status: u16, kind: &str, code: i32, hint: &str| {
        let kind = kind.to_owned();
        let server = Server::start(move |_| Reply::problem(status, &kind, "the detail"));
        let outcome =
            User::of(&server).runs(&["action", "list"]).exits(code).says("error: the detail\n").says(hint);
        assert_eq!(outcome.stdout, "");
    };
    check(401, "unauthenticated", 4, "hint: run `attune login`");
    check(403, "forbidden", 4, "hint: `attune whoami`");
    check(404, "not-found", 5, "");
    check(409, "conflict", 1, "");
    check(500, "internal", 1, "");
}

#[test]
fn test_a_server_that_is_not_there_is_named() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let outcome = User::new().runs(&["rule", "list", "--url", &url]).exits(1);
    let expect = format!("error: cannot reach {url}/\n");
    assert!(outcome.stderr.starts_with(&expect), "{}", outcome.stderr);
    outcome
        .says("caused by: ")
        .says("Connection refused")
        .says(&format!("hint: is `attune up` running at {url}?"));
}

#[test]
fn test_something_that_is_no_attune_server_is_no_missing_thing() {
    let server = Server::start(|_| Reply::of(404, "text/html", "<h1>Not Found</h1>"));
    User::of(&server).runs(&["rule", "show", "ops.x"]).exits(1).says("not as an Attune server answers");
    User::new().runs(&["whoami", "--url", "localhost:9470"]).exits(1).says("is not the address of a server");
    let outcome = User::new().runs(&["whoami", "--url", "http://ada:secret@x"]).exits(1);
    assert!(!outcome.stderr.contains("secret"), "{}", outcome.stderr);
}

#[test]
fn test_wrong_usage_is_an_error_and_not_a_difference() {
    let user = User::new();
    user.runs(&["pakc", "list"]).exits(1).says("unrecognized subcommand");
    user.runs(&["rule"]).exits(1).says("Usage: attune rule");
    user.runs(&["execution", "list", "--status", "running", "--limit", "0"]).exits(1);
    user.runs(&["execution", "list", "--status", "runing"]).exits(1).says("running");
    user.runs(&["run", "core.echo", "--timeout", "5s"])
        .exits(1)
        .says("--timeout has no effect without --wait");
    user.runs(&["-o", "json", "migrate", "--database-url", "postgres://x"])
        .exits(1)
        .says("--output has no effect");
}

#[test]
fn test_every_fault_of_a_request_is_told() {
    let errors = json!([
        {"detail": "not an integer", "pointer": "/payload/count", "expected": "integer"},
        {"detail": "unknown member", "pointer": "/payload/cout", "suggestion": "count"},
    ]);
    let server = Server::with(vec![(
        "POST /api/v1/events",
        Reply::problem_with(422, "invalid", "the payload does not fit", &errors),
    )]);
    let outcome = User::of(&server).runs(&["event", "create", "--trigger", "ops.x"]).exits(1);
    assert_eq!(
        outcome.stderr,
        "error: the payload does not fit\n\
         error: not an integer\n  --> /payload/count\n   = expected: integer\n\
         error: unknown member\n  --> /payload/cout\n   = help: did you mean `count`?\n"
    );
}

#[test]
fn test_help_is_data() {
    let user = User::new();
    let outcome = user.runs(&["help", "exit-codes"]).exits(0).prints("  6  the wait ended").prints("  8  ");
    assert_eq!(outcome.stderr, "");
    user.runs(&["--help"]).exits(0).prints("Usage: attune").prints("attune help exit-codes");
    user.runs(&["help", "pack", "install"]).exits(0).prints("Usage: attune pack install");
    user.runs(&["help", "pack", "instal"]).exits(1).says("hint: did you mean `install`?");
    user.runs(&["--version"]).exits(0).prints("attune ");
    for shell in ["bash", "zsh", "fish"] {
        user.runs(&["completion", shell]).exits(0).prints("exit-status");
    }
    user.runs(&["environment"]).exits(0).prints("ATTUNE_CONFIG_DIR").prints("ATTUNE_PASSWORD");
    user.runs(&["environment", "-o", "name"]).exits(0).prints("DATABASE_URL\n");
}
