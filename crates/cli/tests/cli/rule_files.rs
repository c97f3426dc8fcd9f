//! `attune rule create`, `update`, `delete` and `history`.

use serde_json::json;

use crate::support::{MOMENT, Reply, Server, User, rule};

const RULE: &str = "\
ref: ops.page
label: Page
mode: shadow
trigger: web.request
conditions:
  - {field: event.payload.severity, operator: equals, value: critical}
action: core.echo
action_params: {text: \"yes\"}
";

fn user(server: &Server) -> User {
    let user = User::of(server);
    std::fs::write(user.home().join("rule.yaml"), RULE).unwrap();
    user
}

#[test]
fn test_a_rule_is_made_from_its_file() {
    let server = Server::with(vec![("POST /api/v1/rules", Reply::json(&rule("ops.page", "web.request")))]);
    let user = user(&server);
    user.runs(&["rule", "create", "-f", "rule.yaml"]).exits(0).says("rule ops.page is made");
    let expected = json!({
        "ref": "ops.page", "label": "Page", "description": null, "enabled": true, "mode": "shadow",
        "trigger": "web.request", "trigger_params": {}, "condition": "all", "action": "core.echo",
        "conditions": [{"field": "event.payload.severity", "operator": "equals", "value": "critical"}],
        "action_params": {"text": "yes"},
    });
    assert_eq!(server.sent("POST /api/v1/rules"), expected);
    user.runs_with(&["rule", "create", "-f", "-", "-o", "name"], RULE).exits(0).prints("ops.page\n");
}

#[test]
fn test_what_the_server_finds_wrong_is_told_with_the_lines_of_the_file() {
    let errors = json!([
        {"detail": "by the schema of `web.request`, `event.payload` has no `severity`",
         "pointer": "/conditions/0/field", "suggestion": "event.payload.level"},
        {"detail": "there is no action \"core.echo\"", "pointer": "/action"},
    ]);
    let refused = Reply::problem_with(422, "invalid", "the rule is not valid; nothing was stored", &errors);
    let server = Server::with(vec![("POST /api/v1/rules", refused)]);
    user(&server)
        .runs(&["rule", "create", "-f", "rule.yaml"])
        .exits(1)
        .says("  --> rule.yaml:6:13\n")
        .says(" 6 |   - {field: event.payload.severity, operator: equals, value: critical}\n")
        .says("   = help: did you mean `event.payload.level`?")
        .says("  --> rule.yaml:7:9\n")
        .says("error: the rule is not valid; nothing was stored");
}

#[test]
fn test_a_file_with_faults_is_not_sent() {
    let server = Server::with(vec![]);
    let user = user(&server);
    std::fs::write(user.home().join("rule.yaml"), RULE.replace("equals", "equls")).unwrap();
    user.runs(&["rule", "update", "-f", "rule.yaml"]).exits(1).says("did you mean `equals`?");
    assert_eq!(server.lines(), [] as [&str; 0]);
}

#[test]
fn test_a_rule_becomes_what_its_file_says() {
    let mut changed = rule("ops.page", "web.request");
    changed["version"] = json!(4);
    let server = Server::with(vec![
        ("GET /api/v1/rules/ops.page", Reply::json(&rule("ops.page", "web.request"))),
        ("PUT /api/v1/rules/ops.page", Reply::json(&changed)),
    ]);
    let user = user(&server);
    user.runs(&["rule", "update", "-f", "rule.yaml"])
        .exits(0)
        .says("rule ops.page is changed; this is version 4");
    assert_eq!(server.sent("PUT /api/v1/rules/ops.page")["mode"], "shadow");
    let server =
        Server::with(vec![("GET /api/v1/rules", Reply::page(&json!([rule("ops.pages", "web.request")])))]);
    let missing = User::of(&server);
    std::fs::write(missing.home().join("rule.yaml"), RULE).unwrap();
    missing.runs(&["rule", "update", "-f", "rule.yaml"]).exits(5).says("did you mean `ops.pages`?");
}

#[test]
fn test_a_rule_in_a_pack_is_checked_against_its_pack() {
    let server = Server::with(vec![]);
    let user = user(&server);
    let write = |name: &str, text: &str| {
        let path = user.home().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("ops/pack.yaml", "ref: ops\nversion: 1.0.0\n");
    write(
        "ops/triggers/alert.yaml",
        "ref: ops.alert\nout_schema:\n  type: object\n  properties: {severity: {type: string}}\n  additionalProperties: false\n",
    );
    write("ops/triggers/broken.yaml", "ref: [\n");
    let text = RULE.replace("web.request", "ops.alert").replace("payload.severity", "payload.severty");
    write("ops/rules/page.yaml", &text);
    write("event.json", r#"{"payload": {"severity": "critical"}}"#);
    user.runs(&["rule", "test", "-f", "ops/rules/page.yaml", "--event", "event.json"])
        .exits(1)
        .says("`event.payload` has no `severty`")
        .says("  --> ops/rules/page.yaml:6:13\n")
        .says("did you mean `event.payload.severity`?")
        .says("error: 1 finding in ops/rules/page.yaml");
    // Alone, the file knows nothing of the trigger.
    write("alone.yaml", &text);
    user.runs(&["rule", "test", "-f", "alone.yaml", "--event", "event.json"]).exits(2).prints("missing");
}

#[test]
fn test_a_rule_is_removed() {
    let server = Server::with(vec![("DELETE /api/v1/rules/ops.page", Reply::empty())]);
    let user = user(&server);
    user.runs(&["rule", "delete", "ops.page"]).exits(0).says("rule ops.page is removed");
    let refused = Reply::problem(409, "conflict", "rule ops.page belongs to the pack ops");
    let server = Server::with(vec![("DELETE /api/v1/rules/ops.page", refused)]);
    User::of(&server).runs(&["rule", "rm", "ops.page"]).exits(1).says("belongs to the pack ops");
}

#[test]
fn test_history_is_a_line_for_each_version() {
    let version = |number: i32, removed: bool, changes: &serde_json::Value| {
        json!({
            "version": number, "removed": removed, "rule_set_version": 10 + number, "created": MOMENT,
            "changes": changes, "rule": rule("ops.page", "web.request"),
        })
    };
    let versions = json!([
        version(3, true, &json!([])),
        version(
            2,
            false,
            &json!([
                {"member": "enabled", "before": true, "after": false},
                {"member": "conditions", "before": [], "after": ["{{ true }}"]},
            ])
        ),
        version(1, false, &json!([])),
    ]);
    let server = Server::with(vec![
        ("GET /api/v1/rules/ops.page/versions?limit=1", Reply::page(&versions)),
        ("GET /api/v1/rules/ops.page/versions?limit=50", Reply::page(&versions)),
    ]);
    let user = User::of(&server);
    let outcome = user.runs(&["rule", "history", "ops.page"]).exits(0);
    let lines: Vec<Vec<&str>> = outcome
        .stdout
        .lines()
        .map(|line| line.split("   ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
        .collect();
    let told: Vec<(&str, &str)> = lines.iter().map(|line| (line[0], line[line.len() - 1])).collect();
    assert_eq!(
        told,
        [
            ("VERSION", "CHANGE"),
            ("3", "removed"),
            ("2", "enabled: true -> false; conditions changed"),
            ("1", "made"),
        ]
    );
    assert_eq!(user.runs(&["rule", "history", "ops.page", "-o", "json"]).exits(0).json(), versions);
    user.runs(&["rule", "history", "ops.pag"]).exits(5).says("hint:");
}
