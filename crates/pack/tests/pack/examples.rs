//! The packs that come with Attune are without findings and do what they say.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use attune_expr::scope::Scope;
use attune_pack::{PackDefinition, PackFile, PackFiles, read};
use attune_rules::{CompiledRule, Verdict};
use chrono::DateTime;
use serde_json::{Value, json};

/// Reads a pack of the repository from disk.
pub(crate) fn pack(path: &str) -> PackDefinition {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packs").join(path);
    let mut files = PackFiles::new();
    collect(&root, &root, &mut files);
    assert!(files.contains_key("pack.yaml"), "no pack in {}", root.display());
    read(&files).unwrap_or_else(|findings| {
        panic!("{}", findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })
}

fn collect(root: &Path, directory: &Path, files: &mut PackFiles) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
            continue;
        }
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        let executable = fs::metadata(&path).unwrap().permissions().mode() & 0o100 != 0;
        files.insert(name, PackFile { content: fs::read(&path).unwrap(), executable });
    }
}

/// The refs of the rules that fire, each with the parameters it gives to its action.
fn fired(pack: &PackDefinition, event: &Value) -> Vec<(String, Value)> {
    let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    let scope = Scope::new().with("event", event);
    let mut fired = Vec::new();
    for rule in &pack.rules {
        let compiled = CompiledRule::compile(&rule.definition).unwrap();
        let verdict = compiled.verdict(&scope, now);
        assert_ne!(verdict, Verdict::Error, "{} on {event}", rule.definition.rule_ref);
        if verdict == Verdict::True {
            fired.push((rule.definition.rule_ref.clone(), compiled.render_parameters(&scope).unwrap()));
        }
    }
    fired
}

fn github(name: &str, payload: &Value) -> Value {
    json!({"payload": payload, "headers": {"x-github-event": name, "content-type": "application/json"}})
}

#[test]
fn test_core() {
    let core = pack("core");
    let refs = |refs: Vec<&String>| refs.into_iter().map(String::as_str).collect::<Vec<_>>().join(" ");
    assert_eq!(
        refs(core.runtimes.iter().map(|runtime| &runtime.r#ref).collect()),
        "core.executable core.native core.node core.python core.shell"
    );
    assert_eq!(
        refs(core.actions.iter().map(|action| &action.r#ref).collect()),
        "core.echo core.emit core.fail core.http core.key_get core.key_set core.mail core.noop core.shell core.sleep core.ssh"
    );
    assert_eq!(
        refs(core.permission_sets.iter().map(|set| &set.r#ref).collect()),
        "core.admin core.operator core.viewer core.webhook_sender"
    );
}

#[test]
fn test_demo_greets_whoever_gives_a_name() {
    let demo = pack("examples/demo");
    let hello = |payload| fired(&demo, &json!({"payload": payload, "headers": {}}));
    assert_eq!(
        hello(json!({"name": "Ada", "mood": "curious"})),
        [("demo.greet".to_owned(), json!({"name": "Ada", "mood": "curious"}))]
    );
    assert_eq!(
        hello(json!({"name": "Ada"})),
        [("demo.greet".to_owned(), json!({"name": "Ada", "mood": "unspoken"}))]
    );
    assert_eq!(hello(json!({"mood": "curious"})), []);
    assert_eq!(hello(json!({"name": ""})), []);
}

#[test]
fn test_github_rules_fire_on_their_events_only() {
    let github_pack = pack("examples/github");
    let repository = json!({"full_name": "o/r", "default_branch": "main", "stargazers_count": 7});
    let sender = json!({"login": "ada", "html_url": "https://example.org/ada"});
    let check = |name: &str, payload: Value, rule: &str, parameters: Value| {
        assert_eq!(fired(&github_pack, &github(name, &payload)), [(rule.to_owned(), parameters)]);
        assert_eq!(fired(&github_pack, &github("ping", &payload)), []);
    };
    check(
        "issues",
        json!({"action": "opened", "repository": repository, "sender": sender, "issue": {
            "number": 5, "title": "It breaks", "html_url": "https://example.org/5", "user": {"login": "ada"},
        }}),
        "github.issue_opened",
        json!({"text": "o/r#5 by ada: It breaks", "url": "https://example.org/5"}),
    );
    check(
        "pull_request",
        json!({"action": "closed", "repository": repository, "pull_request": {
            "merged": true, "title": "Fix", "html_url": "https://example.org/6", "base": {"ref": "main"},
            "merged_by": {"login": "ada"},
        }}),
        "github.pull_request_merged",
        json!({"text": "merged into main by ada: Fix", "url": "https://example.org/6"}),
    );
    check(
        "push",
        json!({"ref": "refs/heads/main", "deleted": false, "repository": repository, "pusher": {"name": "ada"},
            "commits": [{"message": "one"}, {"message": "two"}], "compare": "https://example.org/7"}),
        "github.push_to_default_branch",
        json!({"repository": "o/r", "branch": "main", "pusher": "ada", "commits": 2, "messages": ["one", "two"],
            "compare": "https://example.org/7"}),
    );
    check(
        "star",
        json!({"action": "created", "repository": repository, "sender": sender}),
        "github.star_given",
        json!({"text": "ada gave star number 7 to o/r", "url": "https://example.org/ada"}),
    );
    let run = |branch: &str, conclusion: Value| {
        json!({"action": "completed", "workflow_run": {"name": "CI", "run_number": 9, "head_branch": branch,
            "conclusion": conclusion, "html_url": "https://example.org/9"}})
    };
    check(
        "workflow_run",
        run("release/1.2", json!("failure")),
        "github.workflow_failed",
        json!({"text": "CI #9 on release/1.2: failure", "url": "https://example.org/9"}),
    );
    assert_eq!(fired(&github_pack, &github("workflow_run", &run("topic", json!("failure")))), []);
    assert_eq!(fired(&github_pack, &github("workflow_run", &run("main", json!("success")))), []);
    assert_eq!(fired(&github_pack, &github("workflow_run", &run("main", Value::Null))), []);
}
