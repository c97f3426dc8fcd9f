//! Packs: what is sent, what is refused, and how findings are told.

use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use flate2::read::GzDecoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{MOMENT, Reply, Server, User};

fn write(directory: &Path, path: &str, content: &str) {
    let path = directory.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

/// A pack in `ops` of the user's home.
fn pack(user: &User) {
    write(user.home(), "ops/pack.yaml", "ref: ops\nversion: 1.0.0\n");
    write(user.home(), "ops/runtimes/shell.yaml", "ref: ops.shell\ninterpreter: [/bin/sh]\n");
    write(user.home(), "ops/actions/page.yaml", "ref: ops.page\nruntime: ops.shell\nentrypoint: page.sh\n");
    write(user.home(), "ops/actions/page.sh", "#!/bin/sh\necho paged\n");
    let script = user.home().join("ops/actions/page.sh");
    std::fs::set_permissions(script, std::fs::Permissions::from_mode(0o755)).unwrap();
    write(user.home(), "ops/.git/HEAD", "ref: x");
}

fn installed(outcome: &str) -> Value {
    json!({
        "ref": "ops", "label": "Ops", "description": null, "version": "1.0.0", "author": null, "tags": [],
        "is_standard": false, "source": "/x/ops", "checksum": "00ff", "created": MOMENT, "updated": MOMENT,
        "runtimes": ["ops.shell"], "actions": ["ops.page", "ops.log"], "triggers": ["ops.alert"], "sensors": [],
        "rules": [], "permission_sets": [], "policies": [], "queues": [], "outcome": outcome,
        "webhooks": [{"trigger": "ops.alert", "path": "/api/v1/webhooks/k3y"}],
    })
}

#[test]
fn test_a_pack_is_sent_as_an_archive_and_its_webhooks_are_told() {
    let server = Server::start(|_| Reply::json(&installed("installed")));
    let user = User::of(&server);
    pack(&user);
    let outcome = user
        .runs(&["pack", "install", "ops"])
        .exits(0)
        .says("left out: .git\n")
        .says("pack ops 1.0.0 is installed: 1 runtime, 2 actions, 1 trigger\n");
    assert_eq!(
        outcome.stdout,
        format!("TRIGGER     WEBHOOK\nops.alert   {}/api/v1/webhooks/k3y\n", server.url)
    );
    let request = &server.requests()[0];
    let source = std::fs::canonicalize(user.home().join("ops")).unwrap();
    let encoded: String = url::form_urlencoded::byte_serialize(source.to_str().unwrap().as_bytes()).collect();
    assert_eq!(request.line, format!("POST /api/v1/packs?source={encoded}"));
    let mut archive = tar::Archive::new(GzDecoder::new(request.body.as_slice()));
    let entries: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|entry| {
            let mut entry = entry.unwrap();
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            let path = entry.path().unwrap().display().to_string();
            (path, entry.header().mode().unwrap(), content.lines().count())
        })
        .collect();
    let entry = |path: &str, mode: u32, lines: usize| (path.to_owned(), mode, lines);
    assert_eq!(
        entries,
        [
            entry("actions/page.sh", 0o755, 2),
            entry("actions/page.yaml", 0o644, 3),
            entry("pack.yaml", 0o644, 2),
            entry("runtimes/shell.yaml", 0o644, 2),
        ]
    );
    let shown = user.runs(&["pack", "install", "ops", "-o", "json"]).exits(0).json();
    assert_eq!(shown["webhooks"][0]["url"], json!(format!("{}/api/v1/webhooks/k3y", server.url)));
    assert_eq!(server.requests()[0].body, server.requests()[1].body, "the same pack is the same archive");
}

#[test]
fn test_every_finding_of_the_server_is_told_with_its_line() {
    let errors = json!([
        {"detail": "unknown key `entrypont`", "file": "actions/page.yaml", "line": 3, "column": 1,
         "expected": "one of ref, entrypoint", "suggestion": "entrypoint"},
        {"detail": "no such action", "file": "rules/r.yaml", "line": 9, "column": 4},
    ]);
    let server =
        Server::start(move |_| Reply::problem_with(422, "invalid", "the pack has 2 findings", &errors));
    let user = User::of(&server);
    pack(&user);
    write(user.home(), "ops/actions/page.yaml", "ref: ops.page\nruntime: ops.shell\nentrypont: page.sh\n");
    let outcome = user.runs(&["pack", "install", "ops"]).exits(1);
    assert_eq!(outcome.stdout, "");
    assert_eq!(
        outcome.stderr,
        "left out: .git\n\
         error: unknown key `entrypont`\n  --> ops/actions/page.yaml:3:1\n   |\n 3 | entrypont: page.sh\n   | ^\n   \
         = expected: one of ref, entrypoint\n   = help: did you mean `entrypoint`?\n\n\
         error: no such action\n  --> ops/rules/r.yaml:9:4\n\n\
         error: the pack has 2 findings\n"
    );
}

#[test]
fn test_links_are_refused_before_anything_is_sent() {
    let server = Server::with(vec![]);
    let user = User::of(&server);
    pack(&user);
    symlink("/etc/passwd", user.home().join("ops/actions/users")).unwrap();
    user.runs(&["pack", "install", "ops"]).exits(1).says(
        "error: a pack holds regular files only, but actions/users is a symbolic link to /etc/passwd\nhint: ",
    );
    user.runs(&["pack", "install", "."]).exits(1).says("is no pack: it has no pack.yaml");
    assert_eq!(server.lines(), [""; 0]);
}

#[test]
fn test_a_pack_is_checked_without_a_server() {
    let user = User::new().having("ATTUNE_URL", "http://127.0.0.1:1");
    pack(&user);
    user.runs(&["pack", "lint", "ops"]).exits(0).says("pack ops 1.0.0 has no findings");
    write(user.home(), "ops/actions/page.yaml", "ref: ops.page\nruntime: ops.shell\nentrypont: page.sh\n");
    let outcome = user
        .runs(&["pack", "lint", "ops"])
        .exits(1)
        .prints("  --> ops/actions/page.yaml:3:1\n")
        .prints(" 3 | entrypont: page.sh\n   | ^^^^^^^^^\n")
        .prints("= help: did you mean `entrypoint`?\n");
    let findings = user.runs(&["pack", "lint", "ops", "-o", "json"]).exits(1).json();
    let count = findings.as_array().unwrap().len();
    assert_eq!(outcome.stdout.matches("error: ").count(), count);
    assert!(findings[0]["file"] == "actions/page.yaml" && findings[0]["line"].is_u64(), "{findings}");
    let misspelt =
        findings.as_array().unwrap().iter().find(|finding| finding["pointer"] == "/entrypont").unwrap();
    assert_eq!(misspelt["end"], json!({"line": 3, "column": 10}));
}

#[test]
fn test_packs_are_listed_shown_and_removed() {
    let server = Server::with(vec![
        ("GET /api/v1/packs", Reply::page(&json!([installed("x")]))),
        ("GET /api/v1/packs/ops", Reply::json(&installed("x"))),
        ("DELETE /api/v1/packs/ops", Reply::json(&json!({"removed": ["ops"]}))),
    ]);
    let user = User::of(&server);
    user.runs(&["pack", "list"]).exits(0).prints("ops   1.0.0     no");
    user.runs(&["pack", "show", "ops"]).exits(0).prints("actions:\n  ops.page\n  ops.log\n");
    user.runs(&["pack", "remove", "ops"]).exits(0).says("pack ops is removed");
    user.runs(&["pack", "remove", "opps"]).exits(5).says("did you mean `ops`?");
}

#[test]
fn test_schemas_of_files_are_printed_and_written() {
    let user = User::new().having("ATTUNE_URL", "http://127.0.0.1:1");
    let schema = user.runs(&["pack", "schema", "rule"]).exits(0).json();
    assert_eq!(schema["required"], json!(["ref", "trigger", "action"]));
    user.runs(&["pack", "schema", "--all", "--directory", "schemas"]).exits(0).says("schemas are in schemas");
    let written = std::fs::read_to_string(user.home().join("schemas/rule.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), schema);
    assert!(user.home().join("schemas/permission-set.json").is_file());
    assert!(user.home().join("schemas/index.json").is_file());
    write(
        user.home(),
        "ops/pack.yaml",
        "ref: ops\nversion: 1.0.0\nconfig_schema: {url: {type: string}, token: {type: string, secret: true}}\n",
    );
    let settings = user.runs(&["pack", "schema", "config", "--pack", "ops"]).exits(0).json();
    assert_eq!(settings["properties"], json!({"url": {"type": "string"}}));
    user.runs(&["pack", "schema", "rule", "--pack", "ops"]).exits(1).says("--pack has no effect on `rule`");
    write(user.home(), "ops/pack.yaml", "ref: ops\nversion: 1.0.0\n");
    user.runs(&["pack", "schema", "config", "--pack", "ops"]).exits(1).says("ops has no settings");
    user.runs(&["pack", "schema", "rules"]).exits(1).says("possible values");
    user.runs(&["pack", "schema"]).exits(1);
}

#[test]
fn test_rules_that_use_the_core_pack_are_checked_with_its_parameters() {
    let user = User::new().having("ATTUNE_URL", "http://127.0.0.1:1");
    write(user.home(), "ops/pack.yaml", "ref: ops\nversion: 1.0.0\n");
    let rule = |action: &str, params: &str| {
        format!("ref: ops.rule\ntrigger: core.execution_failed\naction: {action}\naction_params: {params}\n")
    };
    write(user.home(), "ops/rules/rule.yaml", &rule("core.echo", "{message: x}"));
    user.runs(&["pack", "lint", "ops"]).exits(0);
    write(user.home(), "ops/rules/rule.yaml", &rule("core.echo", "{mesage: x}"));
    user.runs(&["pack", "lint", "ops"])
        .exits(1)
        .prints("  --> ops/rules/rule.yaml:4:17\n")
        .prints("did you mean `message`?");
    write(user.home(), "ops/rules/rule.yaml", &rule("core.ecko", "{message: x}"));
    user.runs(&["pack", "lint", "ops"]).exits(1).prints("the pack `core` has no action `core.ecko`");
    let log = user.runs(&["pack", "lint", "ops", "-o", "sarif"]).exits(1).json();
    let result = &log["runs"][0]["results"][0];
    assert_eq!(result["ruleId"], "attune/rule");
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "ops/rules/rule.yaml");
    assert_eq!(place["region"], json!({"startLine": 3, "startColumn": 9, "endLine": 3, "endColumn": 18}));
    user.runs(&["pack", "list", "-o", "sarif"]).exits(1).says("is for `attune pack lint` only");
}

#[test]
fn test_refs_into_packs_that_are_given_are_checked() {
    let user = User::new().having("ATTUNE_URL", "http://127.0.0.1:1");
    write(user.home(), "common/pack.yaml", "ref: common\nversion: 1.0.0\n");
    write(
        user.home(),
        "common/actions/tell.yaml",
        "ref: common.tell\nruntime: core.native\nentrypoint: echo\nparameters: {message: {type: string, required: true}}\n",
    );
    write(user.home(), "ops/pack.yaml", "ref: ops\nversion: 1.0.0\n");
    let rule = |action: &str, params: &str| {
        let text = format!(
            "ref: ops.rule\ntrigger: core.execution_failed\naction: {action}\naction_params: {params}\n"
        );
        write(user.home(), "ops/rules/rule.yaml", &text);
    };
    rule("common.tel", "{message: x}");
    user.runs(&["pack", "lint", "ops"]).exits(0);
    user.runs(&["pack", "lint", "ops", "--with", "common"])
        .exits(1)
        .prints("  --> ops/rules/rule.yaml:3:9\n")
        .prints(" 3 | action: common.tel\n   |         ^^^^^^^^^^\n")
        .prints("did you mean `common.tell`?");
    rule("common.tell", "{mesage: x}");
    user.runs(&["pack", "lint", "ops", "--with", "common"]).exits(1).prints("did you mean `message`?");
    rule("common.tell", "{message: x}");
    user.runs(&["pack", "lint", "ops", "--with", "common"]).exits(0);
    write(user.home(), "common/pack.yaml", "ref: common\nversion: 1.0.0\nautor: x\n");
    user.runs(&["pack", "lint", "ops", "--with", "common"])
        .exits(1)
        .says("the pack in common has 1 finding itself\nhint: attune pack lint common shows");
}

#[test]
fn test_a_new_pack_is_without_findings_and_overwrites_nothing() {
    let user = User::new().having("ATTUNE_URL", "http://127.0.0.1:1");
    user.runs(&["pack", "create", "my-pack"]).exits(0).says("pack my-pack is in my-pack");
    user.runs(&["pack", "lint", "my-pack"]).exits(0).says("pack my-pack 0.1.0 has no findings");
    user.runs(&["pack", "test", "my-pack", "--only", "visitor"]).exits(0);
    user.runs(&["pack", "create", "other", "my-pack"]).exits(1).says("my-pack is not empty");
    user.runs(&["pack", "create", "My-Pack"]).exits(1).says("cannot name a pack");
}

#[test]
fn test_an_archive_is_read_as_its_directory_is() {
    let server = Server::start(|_| Reply::json(&installed("installed")));
    let user = User::of(&server);
    pack(&user);
    std::fs::remove_dir_all(user.home().join("ops/.git")).unwrap();
    user.runs(&["pack", "install", "ops"]).exits(0);
    let sent = server.requests()[0].body.clone();
    std::fs::write(user.home().join("ops.tar.gz"), &sent).unwrap();
    let sum: String = Sha256::digest(&sent).iter().map(|byte| format!("{byte:02x}")).collect();
    user.runs(&["pack", "install", "ops.tar.gz", "--sha256", &sum]).exits(0);
    assert_eq!(server.requests()[1].body, sent);
    assert!(server.requests()[1].line.ends_with("ops.tar.gz"), "{}", server.requests()[1].line);
    user.runs(&["pack", "install", "ops.tar.gz", "--sha256", "00"]).exits(1).says("is not what was expected");
    user.runs(&["pack", "install", "ops", "--ref", "main"])
        .exits(1)
        .says("--ref has no effect on a directory");
    user.runs(&["pack", "lint", "ops.tar.gz"]).exits(0);
}

#[test]
fn test_a_conflict_is_told_with_what_can_be_done() {
    let errors = json!([{"detail": "`conditions` of the rule `ops.rule` was [], is [1] on the server and [2] in the pack",
        "file": "rules/r.yaml", "pointer": "/conditions", "expected": "`edits=keep` or `edits=overwrite`"}]);
    let server =
        Server::start(move |_| Reply::problem_with(409, "conflict", "nothing was installed", &errors));
    let user = User::of(&server);
    pack(&user);
    let outcome =
        user.runs(&["pack", "install", "ops"]).exits(1).says("is [1] on the server and [2] in the pack");
    let outcome = outcome.says("hint: --keep-edits keeps");
    assert!(!outcome.stderr.contains("edits=keep"), "{}", outcome.stderr);
    user.runs(&["pack", "install", "ops", "--keep-edits"]).exits(1);
    let lines = server.lines();
    assert!(lines[1].ends_with("&edits=keep"), "{lines:?}");
}

/// A user of a server that installs whatever it gets.
fn installing() -> (Server, User) {
    let server = Server::start(|_| Reply::json(&installed("installed")));
    let user = User::of(&server);
    pack(&user);
    (server, user)
}

/// What the JSON schema of SARIF 2.1.0 (by OASIS, as in the crate serde-sarif) says against a log.
fn faults_of_log(log: &Value) -> Vec<String> {
    let mut schema: Value = serde_json::from_str(include_str!("../data/sarif-schema-2.1.0.json")).unwrap();
    // As it was meant: what stands there has a bracket that closes nothing, and is no regular expression.
    for definition in ["run", "toolComponent"] {
        let language = &mut schema["definitions"][definition]["properties"]["language"];
        assert_eq!(language["default"], "en-US", "{definition}");
        language["pattern"] = json!("^[a-zA-Z]{2}(-[a-zA-Z]{2})?$");
    }
    let validator = jsonschema::draft7::options().should_validate_formats(true).build(&schema).unwrap();
    validator.iter_errors(log).map(|error| format!("{}: {error}", error.instance_path().as_str())).collect()
}

#[test]
fn test_findings_as_sarif_fit_the_schema_of_sarif() {
    let user = User::new();
    pack(&user);
    let log = user.runs(&["pack", "lint", "ops", "-o", "sarif"]).exits(0).json();
    assert_eq!(log["runs"][0]["results"], json!([]));
    assert_eq!(faults_of_log(&log), Vec::<String>::new());

    write(user.home(), "ops/pack.yaml", "ref: ops\nversion: '1'\n");
    write(
        user.home(),
        "ops/rules/page \u{e4} disk%.yaml",
        "ref: ops.rule\ntrigger: ops.alrt\naction: core.ecko\n",
    );
    write(user.home(), "ops/keys/token.yaml", "ref: ops.token\nvalue: x\n");
    write(user.home(), "ops/policies/empty.yaml", "");
    let log = user.runs(&["pack", "lint", "ops", "-o", "sarif"]).exits(1).json();
    assert!(log["runs"][0]["results"].as_array().unwrap().len() >= 5, "{log}");
    assert_eq!(faults_of_log(&log), Vec::<String>::new());

    // The schema is one that refuses.
    let mut wrong = log;
    wrong["runs"][0]["results"][0]["level"] = json!("fatal");
    wrong["runs"][0]["results"][1]["locations"][0]["physicalLocation"]["region"]["startLine"] = json!(0);
    assert_eq!(faults_of_log(&wrong).len(), 2);
}

#[test]
fn test_a_zip_archive_is_sent_as_any_other() {
    let (sent, user) = installing();
    let files = attune_pack::PackFiles::from([(
        "pack.yaml".to_owned(),
        attune_pack::PackFile { content: b"ref: ops\nversion: 1.0.0\n".to_vec(), executable: false },
    )]);
    std::fs::write(user.home().join("ops.zip"), attune_pack::archive::pack_zip(&files).unwrap()).unwrap();
    user.runs(&["pack", "install", "ops.zip"]).exits(0);
    let body = sent.requests().into_iter().find(|request| request.line.starts_with("POST")).unwrap().body;
    let unpacked = attune_pack::archive::unpack(&body, attune_pack::archive::Limits::of(1 << 20)).unwrap();
    assert_eq!(unpacked, files);
    std::fs::write(user.home().join("broken.zip"), b"PK\x03\x04nothing").unwrap();
    user.runs(&["pack", "install", "broken.zip"]).exits(1).says("cannot be unpacked");
}

#[test]
fn test_settings_of_a_file_go_with_the_pack() {
    let (sent, user) = installing();
    let manifest = "ref: ops\nversion: 1.0.0\nconfig_schema:\n  port: {type: integer}\n  token: {type: string, secret: true}\n";
    write(user.home(), "ops/pack.yaml", manifest);
    write(user.home(), "settings.yaml", "port: 8443\ntoken: hunter2\n");
    user.runs(&["pack", "install", "ops", "--config", "settings.yaml"]).exits(0);
    let request = sent.requests().into_iter().find(|request| request.line.starts_with("POST")).unwrap();
    assert!(!request.line.contains("hunter2"), "{}", request.line);
    let files =
        attune_pack::archive::unpack(&request.body, attune_pack::archive::Limits::of(1 << 20)).unwrap();
    let list: Value = serde_json::from_slice(&files["bundle.json"].content).unwrap();
    assert_eq!(list["packs"][0]["config"], json!({"port": 8443, "token": "hunter2"}));
    assert!(files.contains_key("ops/pack.yaml"));

    write(user.home(), "settings.yaml", "prt: 1\nport: many\n");
    let outcome = user.runs(&["pack", "install", "ops", "--config", "settings.yaml"]).exits(1);
    assert!(outcome.stderr.contains("does not fit the settings of ops"), "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("did you mean `port`?") && !outcome.stderr.contains("many"),
        "{}",
        outcome.stderr
    );
    write(user.home(), "settings.yaml", "port: [hunter2\n");
    let outcome = user.runs(&["pack", "install", "ops", "--config", "settings.yaml"]).exits(1);
    assert!(
        outcome.stderr.contains("is no YAML at line") && !outcome.stderr.contains("hunter2"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn test_an_export_is_a_zip_archive_where_its_name_says_so() {
    let file =
        |text: &str, executable| attune_pack::PackFile { content: text.as_bytes().to_vec(), executable };
    let files = attune_pack::PackFiles::from([
        ("pack.yaml".to_owned(), file("ref: ops\nversion: 1.0.0\n", false)),
        ("actions/page.sh".to_owned(), file("#!/bin/sh\n", true)),
    ]);
    let archive = attune_pack::archive::pack(&files).unwrap();
    let server = Server::start(move |_| Reply::of(200, "application/gzip", archive.clone()));
    let user = User::of(&server);
    for (name, magic) in [("ops.zip", b"PK".as_slice()), ("ops.tar.gz", b"\x1f\x8b")] {
        user.runs(&["pack", "export", "ops", "--archive", name]).exits(0);
        let written = std::fs::read(user.home().join(name)).unwrap();
        assert!(written.starts_with(magic), "{name}");
        let limits = attune_pack::archive::Limits::of(1 << 20);
        assert_eq!(attune_pack::archive::unpack(&written, limits).unwrap(), files);
    }
}

/// A plan by which two rules change, and what a server says to whoever asks for a rule or a back-test.
fn planned(rule: &Reply, backtest: &Reply) -> Server {
    let change = |component: &str| {
        json!({
            "kind": "rule", "ref": component, "change": "changed",
            "members": [{"member": "conditions", "before": [], "after": ["true"]}],
        })
    };
    let plan = json!({"packs": [{
        "ref": "ops", "from": "0.9.0", "to": "1.0.0", "outcome": "upgraded",
        "changes": [change("ops.first"), change("ops.second")], "files": [], "conflicts": [], "kept": [],
    }]});
    let (rule, backtest) = (rule.clone(), backtest.clone());
    Server::start(move |request| match request.line.split(['?', ' ']).nth(1) {
        Some("/api/v1/packs/plan") => Reply::json(&plan),
        Some("/api/v1/rules/backtest") => backtest.clone(),
        _ => rule.clone(),
    })
}

#[test]
fn test_a_plan_stands_where_rules_cannot_be_tried() {
    let rule = json!({
        "ref": "ops.first", "pack": "ops", "label": null, "description": null, "enabled": true,
        "trigger": "ops.alert", "trigger_params": {}, "condition": "all", "conditions": [], "action": "ops.page",
        "action_params": {}, "version": 1, "created": MOMENT, "updated": MOMENT,
    });
    let denied = Reply::problem(403, "forbidden", "you need the permission `read` on `event`");
    let check = |rule: &Reply, backtest: &Reply, note: &str| {
        let server = planned(rule, backtest);
        let user = User::of(&server);
        pack(&user);
        let plan = user.runs(&["pack", "plan", "ops"]).exits(2).stdout;
        let expected = format!(
            "pack ops 0.9.0 -> 1.0.0: would be upgraded\n  ~ rule ops.first\n      conditions: [] -> [\"true\"]\n  \
             ~ rule ops.second\n      conditions: [] -> [\"true\"]\n\
             note: rules were not tried on recorded events (ops.first, ops.second): {note}\n"
        );
        assert_eq!(plan, expected);
        let asked = server.requests().len();
        let shown = user.runs(&["pack", "plan", "ops", "--no-behaviour", "-o", "json"]).exits(2).json();
        assert_eq!((shown.get("behaviour"), shown.get("notes")), (None, None));
        assert_eq!(server.requests().len(), asked + 1, "only the plan is asked for");
    };
    check(&denied, &denied, "you need the permission `read` on `event`");
    check(&Reply::json(&rule), &denied, "you need the permission `read` on `event`");
    // Whatever one rule cannot be tried for, the others are.
    let server = planned(&Reply::json(&rule), &Reply::problem(422, "invalid", "the draft is not valid"));
    let user = User::of(&server);
    pack(&user);
    let shown = user.runs(&["pack", "plan", "ops", "-o", "json"]).exits(2).json();
    let notes: Vec<_> = shown["behaviour"].as_array().unwrap().iter().map(|rule| &rule["notes"][0]).collect();
    assert_eq!(notes, ["not tried: the draft is not valid", "not tried: the draft is not valid"]);
    user.runs(&["pack", "plan", "ops", "--no-behaviour", "--since", "1h"]).exits(1);
}
