//! Policies, work queues and the space of the database.

use serde_json::{Value, json};

use crate::support::{MOMENT, Reply, Server, User, execution_detail};

fn policy() -> Value {
    json!({
        "ref": "ops.one_host", "pack": "ops", "action": "ops.deploy", "enabled": true, "concurrency": 1,
        "parameters": ["host"], "rate_count": 30, "rate_seconds": 3600.0, "method": "enqueue", "running": 3,
        "waiting": 41, "created": MOMENT, "updated": MOMENT,
    })
}

fn queue() -> Value {
    json!({
        "ref": "ops.hosts", "pack": "ops", "label": null, "description": null, "enabled": true,
        "action": "ops.patch", "item_schema": {}, "batch_size": 1, "concurrency": 5, "max_attempts": 3,
        "retry_seconds": 30.0, "items": {"ready": 7, "leased": 5, "done": 100, "dead": 1}, "created": MOMENT,
        "updated": MOMENT,
    })
}

#[test]
fn test_policies_are_listed_with_what_runs_and_waits() {
    let server = Server::with(vec![("GET /api/v1/policies", Reply::page(&json!([policy()])))]);
    let listed = User::of(&server).runs(&["policy", "list"]).exits(0);
    let lines: Vec<Vec<&str>> = listed
        .stdout
        .lines()
        .map(|line| line.split("   ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
        .collect();
    assert_eq!(lines[0], ["REF", "ENABLED", "LIMITS", "TO", "MORE", "RUNNING", "WAITING"]);
    let to = "1 at once by host, 30 starts in 3600 s";
    assert_eq!(lines[1], ["ops.one_host", "yes", "ops.deploy", to, "enqueue", "3", "41"]);
}

#[test]
fn test_an_execution_shows_what_it_waits_for() {
    let mut detail = execution_detail(7, "requested", None);
    detail["waiting"] = json!("for policy ops.one_host, position 12");
    let server = Server::with(vec![("GET /api/v1/executions/7", Reply::json(&detail))]);
    let shown = User::of(&server).runs(&["execution", "show", "7"]).exits(0).stdout;
    assert!(shown.contains("for policy ops.one_host, position 12\n"), "{shown}");
}

#[test]
fn test_items_are_pushed_singly_or_as_a_list() {
    let server =
        Server::with(vec![("POST /api/v1/queues/ops.hosts/items", Reply::json(&json!({"ids": [1, 2]})))]);
    let user = User::of(&server);
    let pushed =
        user.runs(&["queue", "push", "ops.hosts", r#"[{"host": "a"}, {"host": "b"}]"#, "--priority", "-3"]);
    pushed.exits(0).says("2 items in ops.hosts");
    let sent = server.sent("POST /api/v1/queues/ops.hosts/items");
    assert_eq!(sent, json!({"items": [{"host": "a"}, {"host": "b"}], "priority": -3}));
    user.runs(&["queue", "push", "ops.hosts", "[]"]).exits(1).says("there is no item in the list");
    user.runs(&["queue", "push", "ops.hosts", "{"]).exits(1).says("the items is not JSON");
}

#[test]
fn test_dead_items_are_brought_back_by_id_or_all() {
    let reply = json!({"items": [{"dead": 4, "id": 9}]});
    let server = Server::with(vec![("POST /api/v1/queues/ops.hosts/retry", Reply::json(&reply))]);
    let user = User::of(&server);
    user.runs(&["queue", "retry", "ops.hosts", "4"]).exits(0).says("1 dead item of ops.hosts came back");
    assert_eq!(server.sent("POST /api/v1/queues/ops.hosts/retry"), json!({"items": [4]}));
    user.runs(&["queue", "retry", "ops.hosts"]).exits(1);
}

#[test]
fn test_queues_and_the_database_are_shown() {
    let size = json!({
        "total_bytes": 10_485_760,
        "tables": [{"table": "execution", "rows": 1200, "total_bytes": 4_194_304, "index_bytes": 1_048_576}],
        "kinds": [{"kind": "event", "oldest": MOMENT}, {"kind": "audit", "oldest": null}],
    });
    let server = Server::with(vec![
        ("GET /api/v1/queues", Reply::page(&json!([queue()]))),
        ("GET /api/v1/database/size", Reply::json(&size)),
    ]);
    let user = User::of(&server);
    let listed = user.runs(&["queue", "list"]).exits(0).stdout;
    assert!(
        listed.contains("ops.hosts   yes       ops.patch   1       7       5        100    1\n"),
        "{listed}"
    );
    let shown = user.runs(&["db", "size"]).exits(0).stdout;
    assert!(
        shown.contains("10.0 MiB") && shown.contains("execution") && shown.contains("4.0 MiB"),
        "{shown}"
    );
}
