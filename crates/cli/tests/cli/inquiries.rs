//! What runs ask people.

use serde_json::{Value, json};

use crate::support::{MOMENT, Reply, Server, User};

fn inquiry(status: &str) -> Value {
    json!({
        "id": 7, "execution": 42, "action": "ops.deploy", "prompt": "Deploy web?\nIt is Friday.", "status": status,
        "response_schema": {
            "type": "object", "additionalProperties": false, "required": ["approved"],
            "properties": {
                "approved": {"type": "boolean"}, "pin": {"type": "string", "secret": true}, "count": {"type": "integer"},
            },
        },
        "assigned_to": "ada", "assigned_role": "ops.approvers", "allow_self_approval": false, "timeout_at": null,
        "response": null, "responded_by": null, "responded_at": null, "created": MOMENT, "updated": MOMENT,
    })
}

fn answered() -> Value {
    let mut answered = inquiry("responded");
    answered["response"] = json!({"approved": true});
    answered["responded_by"] = json!("ada");
    answered["responded_at"] = json!(MOMENT);
    answered
}

const RESPOND: &str = "POST /api/v1/inquiries/7/respond";

fn server(status: &str) -> Server {
    Server::with(vec![
        ("GET /api/v1/inquiries?limit=50", Reply::page(&json!([inquiry(status)]))),
        (
            "GET /api/v1/inquiries?status=pending&assigned_to_me=true&execution=42&limit=50",
            Reply::page(&json!([])),
        ),
        ("GET /api/v1/inquiries/7", Reply::json(&inquiry(status))),
        (RESPOND, Reply::json(&answered())),
        ("POST /api/v1/inquiries/7/cancel", Reply::json(&inquiry("cancelled"))),
    ])
}

#[test]
fn test_inquiries_are_listed_and_shown() {
    let server = server("pending");
    let user = User::of(&server);
    let listed = user.runs(&["inquiry", "list"]).exits(0).stdout;
    let lines: Vec<Vec<&str>> = listed
        .lines()
        .map(|line| line.split("   ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
        .collect();
    assert_eq!(lines[0], ["ID", "STATUS", "EXECUTION", "ACTION", "ASKED", "AGE", "PROMPT"]);
    assert_eq!(lines[1][..5], ["7", "pending", "42", "ops.deploy", "ada, ops.approvers"]);
    assert_eq!(lines[1][6], "Deploy web? It is Friday.");
    assert_eq!(user.runs(&["inquiry", "list", "-o", "name"]).exits(0).stdout, "7\n");
    let filters = ["inquiry", "list", "--status", "pending", "--mine", "--execution", "42"];
    user.runs(&filters).exits(0).says("no inquiries");
    let shown = user.runs(&["inquiry", "show", "7"]).exits(0).stdout;
    for part in ["Deploy web?", "It is Friday.", "ada, ops.approvers", "\"approved\""] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let shown = user.runs(&["inquiry", "show", "7", "-o", "json"]).exits(0).stdout;
    assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), inquiry("pending"));
    user.runs(&["inquiry", "cancel", "7"]).exits(0).says("inquiry 7 of execution 42 is cancelled");
}

const ASK: &str = "POST /api/v1/inquiries";
const WAIT: &str = "GET /api/v1/inquiries/7?wait=30";

#[test]
fn test_an_action_asks_and_gets_the_answer_alone() {
    let server =
        Server::with(vec![(ASK, Reply::json(&inquiry("pending"))), (WAIT, Reply::json(&answered()))]);
    let user = User::of(&server);
    let arguments = [
        "inquiry",
        "ask",
        "Deploy?",
        "--schema",
        r#"{"approved": {"type": "boolean"}}"#,
        "--assigned-to",
        "ada",
        "--assigned-role",
        "ops.approvers",
        "--no-self-approval",
        "--timeout",
        "2h",
    ];
    let outcome = user.runs(&arguments).exits(0).says("inquiry 7 waits for an answer");
    assert_eq!(outcome.json(), json!({"approved": true}));
    let sent = json!({
        "prompt": "Deploy?", "response_schema": {"approved": {"type": "boolean"}}, "assigned_to": "ada",
        "assigned_role": "ops.approvers", "allow_self_approval": false, "timeout_seconds": 7200.0,
    });
    assert_eq!(server.sent(ASK), sent);
    assert_eq!(user.runs(&["inquiry", "ask", "Go?", "-o", "json"]).exits(0).json(), answered());
    assert_eq!(server.requests().last().unwrap().line, WAIT);
}

#[test]
fn test_an_action_learns_why_there_is_no_answer() {
    for (status, code, message) in
        [("timeout", 6, "inquiry 7 was not answered in time"), ("cancelled", 1, "inquiry 7 was cancelled")]
    {
        let server = Server::with(vec![
            (ASK, Reply::json(&inquiry("pending"))),
            (WAIT, Reply::json(&inquiry(status))),
        ]);
        User::of(&server).runs(&["inquiry", "ask", "Go?"]).exits(code).says(message);
    }
}

#[test]
fn test_an_answer_is_given_by_fields_or_as_a_whole() {
    let server = server("pending");
    let user = User::of(&server);
    user.runs(&["inquiry", "respond", "7", "--field", "approved=true", "-f", "count=2"])
        .exits(0)
        .says("inquiry 7 is answered; execution 42 goes on");
    assert_eq!(server.sent(RESPOND), json!({"response": {"approved": true, "count": 2}}));
    user.runs(&["inquiry", "respond", "7", "--answer", r#"{"approved": false}"#]).exits(0);
    let given = user.runs(&["inquiry", "respond", "7", "--field", "pin=1234"]).exits(0);
    given.says("others on this machine can see `pin` on the command line; use --answer @file");
    let json = user.runs(&["inquiry", "respond", "7", "--answer", "true", "-o", "json"]).exits(0).stdout;
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), answered());
}

#[test]
fn test_a_wrong_answer_is_not_sent() {
    let server = server("pending");
    let user = User::of(&server);
    for (arguments, message) in [
        (&["--field", "approvd=true"][..], "did you mean `approved`?"),
        (&["--field", "approved=perhaps"], "field `approved` takes a boolean"),
        (&["--field", "approved"], "fields are given as name=value"),
        (&["--answer", "{"], "--answer is not JSON"),
        // Nobody is there to be asked.
        (&[], "no answer is given"),
    ] {
        let arguments = [&["inquiry", "respond", "7"][..], arguments].concat();
        user.runs(&arguments).exits(1).says(message);
    }
    user.runs(&["inquiry", "respond", "7", "--answer", "1", "--field", "a=1"]).exits(1);
    assert!(server.requests().iter().all(|request| request.line != RESPOND));
}

#[test]
fn test_for_what_is_over_the_server_says_so() {
    let detail = "inquiry 7 was answered before by ada; the first answer counts";
    let server = Server::with(vec![
        ("GET /api/v1/inquiries/7", Reply::json(&answered())),
        (RESPOND, Reply::problem(409, "conflict", detail)),
    ]);
    User::of(&server).runs(&["inquiry", "respond", "7"]).exits(1).says(detail);
}
