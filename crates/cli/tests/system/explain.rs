//! Explanations of what a running system decided: each agrees with what was recorded, and the page that shows one shows what
//! is printed.

use std::path::{Path, PathBuf};

use attune_common::auth::{new_token, token_hash};
use attune_common::repositories::{IdentityRepository, TokenRepository};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::{System, attune};

const SECRET: &str = "a secret that only GitHub and we know";

/// Set by `scripts/write-docs`.
const WRITE_VARIABLE: &str = "ATTUNE_WRITE_DOCS";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What `attune` prints for an administrator.
async fn prints(system: &System, arguments: &[&str]) -> String {
    let admin = IdentityRepository::find_by_login(system.database.pool(), "admin").await.unwrap().unwrap();
    let token = new_token();
    TokenRepository::create(system.database.pool(), admin.id, "test", &token_hash(&token), None)
        .await
        .unwrap();
    let output = attune()
        .args(arguments)
        .env("ATTUNE_URL", system.client.base().as_str())
        .env("ATTUNE_TOKEN", token)
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The block of the page that begins with this line of its fence.
fn block<'p>(page: &'p str, fence: &str) -> (usize, &'p str) {
    let start = page.find(&format!("```{fence}\n")).unwrap() + fence.len() + 4;
    let end = start + page[start..].find("```\n").unwrap();
    (start, &page[start..end])
}

/// The output with the moment and the age of the page.
fn dated(output: &str, like: &str) -> String {
    let line = |text: &str| text.lines().find(|line| line.starts_with("matched:")).map(str::to_owned);
    match (line(output), line(like)) {
        (Some(now), Some(then)) => output.replace(&now, &then),
        _ => output.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_the_page_shows_what_event_explain_prints() {
    let path = root().join("docs/rules.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let system = System::start().await;
    let directory = root().join("packs/examples/github");
    let mut files = Vec::new();
    for kind in ["", "actions", "rules", "triggers"] {
        for entry in std::fs::read_dir(directory.join(kind)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                let name = entry.file_name().into_string().unwrap();
                let path = if kind.is_empty() { name } else { format!("{kind}/{name}") };
                files.push((path, std::fs::read_to_string(entry.path()).unwrap()));
            }
        }
    }
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let webhook = system.install(&files).await.webhooks[0].path.clone();
    system.client.set_key("github.webhook_secret", SECRET).await.unwrap();
    let (_, body) = block(&page, "json workflow_run.json");
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
    let headers = [
        ("content-type", "application/json"),
        ("x-github-event", "workflow_run"),
        ("x-github-delivery", "1"),
        ("x-hub-signature-256", signature.as_str()),
    ];
    system.client.webhook(&webhook, &headers, body.to_owned()).await.unwrap();
    system.wait_until_idle().await;

    let (at, shown) = block(&page, "console server");
    let command = shown.lines().next().unwrap();
    let arguments: Vec<&str> = command.strip_prefix("$ attune ").unwrap().split(' ').collect();
    let printed = format!("{command}\n{}", dated(&prints(&system, &arguments).await, shown));
    if std::env::var_os(WRITE_VARIABLE).is_some() {
        let written = format!("{}{printed}{}", &page[..at], &page[at + shown.len()..]);
        std::fs::write(&path, written).unwrap();
        return;
    }
    assert_eq!(printed, shown, "docs/rules.md is not what the command says; run ./scripts/write-docs");
}

const PACK: [(&str, &str); 13] = [
    ("pack.yaml", "ref: why\nversion: 1.0.0\n"),
    ("triggers/alert.yaml", "ref: why.alert\nparameters: {team: {type: string}}\n"),
    ("actions/off.yaml", "ref: why.off\nenabled: false\nruntime: core.shell\nentrypoint: off.sh\n"),
    ("actions/off.sh", "#!/bin/sh\n"),
    (
        "rules/high.yaml",
        "ref: why.high\ntrigger: why.alert\nconditions:\n  - {field: event.payload.n, operator: greater_than, value: 5}\naction: core.noop\n",
    ),
    (
        "rules/any.yaml",
        "ref: why.any\ntrigger: why.alert\ncondition: any\nconditions:\n  - {field: event.payload.n, operator: equals, value: 3}\n  - not: {field: event.payload.host, operator: starts_with, value: web}\naction: core.noop\n",
    ),
    (
        "rules/frame.yaml",
        "ref: why.frame\ntrigger: why.alert\nconditions:\n  - \"{{ event.id > 0 and event.trigger == trigger.ref and rule.version == 1 and rule.pack == 'why' }}\"\n  - {field: event.created, operator: younger_than, value: 1h}\n  - {field: event.headers, operator: not_exists}\naction: core.noop\n",
    ),
    (
        "rules/text.yaml",
        "ref: why.text\ntrigger: why.alert\naction: core.echo\naction_params: {message: \"{{ event.payload.host }}\"}\n",
    ),
    (
        "rules/off.yaml",
        "ref: why.off\ntrigger: why.alert\nconditions:\n  - {field: event.payload.n, operator: exists}\naction: why.off\n",
    ),
    (
        "rules/team.yaml",
        "ref: why.team\ntrigger: why.alert\ntrigger_params: {team: ops}\naction: core.noop\n",
    ),
    ("rules/disabled.yaml", "ref: why.disabled\nenabled: false\ntrigger: why.alert\naction: core.noop\n"),
    (
        "rules/silent.yaml",
        "ref: why.silent\nmode: shadow\ntrigger: why.alert\nconditions:\n  - {field: event.payload.n, operator: exists}\naction: core.noop\n",
    ),
    ("rules/plain.yaml", "ref: why.plain\ntrigger: why.alert\naction: core.noop\n"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_explanations_agree_with_what_was_decided() {
    let system = System::start().await;
    system.install(&PACK).await;
    let payloads = [
        json!({"n": 9, "host": "web-01"}),
        json!({"n": 3, "host": "db-01"}),
        json!({"n": "9"}),
        json!({"host": 7}),
        json!({}),
    ];
    let mut events = Vec::new();
    for (index, payload) in payloads.into_iter().enumerate() {
        for team in ["ops", "dev"] {
            let request = json!({"trigger": "why.alert", "payload": payload, "config": {"team": team}});
            let request = serde_json::from_value(request).unwrap();
            events.push((system.client.create_event(&request).await.unwrap().event, index, team));
        }
    }
    system.wait_until_idle().await;
    // Whatever the rules are now, the events were judged by what they were.
    for name in ["high", "any", "team"] {
        let change = serde_json::from_value(json!({"enabled": false})).unwrap();
        system.client.change_rule(&format!("why.{name}"), &change).await.unwrap();
    }
    let mut met = std::collections::BTreeMap::<String, usize>::new();
    for (event, index, team) in events {
        let detail = system.client.event(event).await.unwrap();
        let explanation = system.client.explain_event(event, &[]).await.unwrap();
        assert_eq!(explanation.rules.len(), 9);
        for rule in explanation.rules {
            let place = format!("{} on payload {index} of {team}: {rule:?}", rule.rule);
            let recorded = detail.enforcements.iter().find(|found| found.enforcement.rule == rule.rule);
            *met.entry(rule.outcome.clone()).or_default() += 1;
            let link = rule.enforcement.as_ref();
            assert_eq!(link.map(|link| link.id), recorded.map(|found| found.enforcement.id), "{place}");
            let verdict = rule.verdict.as_deref().unwrap();
            let listens = rule.trigger.iter().all(|test| test.verdict == "true");
            match recorded {
                Some(found) if found.enforcement.error.is_none() => {
                    let expected =
                        if rule.rule == "why.silent" { ["fired", "shadowed"] } else { ["fired"; 2] };
                    assert!(expected.contains(&rule.outcome.as_str()), "{place}");
                    assert_eq!((verdict, listens), ("true", true), "{place}");
                    assert_eq!(
                        rule.action_params,
                        Some(Value::Object(params(&rule.rule, &detail.event.payload))),
                        "{place}"
                    );
                }
                Some(found) => {
                    assert_eq!(rule.outcome, "failed", "{place}");
                    assert_eq!(rule.reason, found.enforcement.error.clone().unwrap(), "{place}");
                    assert!(
                        verdict == "error" || rule.rule == "why.off" || rule.rule == "why.text",
                        "{place}"
                    );
                }
                None => {
                    let expected = ["not_fired", "not_listening", "disabled"];
                    assert!(expected.contains(&rule.outcome.as_str()), "{place}");
                    let not_true = verdict != "true" && verdict != "error";
                    assert!(not_true || !listens || rule.outcome == "disabled", "{place}");
                }
            }
        }
    }
    for outcome in ["fired", "failed", "not_fired", "not_listening", "disabled"] {
        assert!(met.contains_key(outcome), "{outcome} among {met:?}");
    }
}

fn params(rule: &str, payload: &Value) -> serde_json::Map<String, Value> {
    let mut params = serde_json::Map::new();
    if rule == "why.text" {
        params.insert("message".to_owned(), payload["host"].clone());
    }
    params
}
