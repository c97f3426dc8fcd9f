//! From shadow to action: a rule is watched while it does nothing, switched on, and an event is replayed for it.

use std::process::Output;

use attune_client::types::{EventDetail, EventRequest};
use serde_json::{Value, json};

use crate::support::{System, attune};

const PACK: [(&str, &str); 3] = [
    ("pack.yaml", "ref: ops\nversion: 1.0.0\nlabel: Operations\n"),
    ("triggers/alert.yaml", "ref: ops.alert\n"),
    (
        "rules/page.yaml",
        "ref: ops.page\ntrigger: ops.alert\nmode: shadow\nconditions:\n  - {field: event.payload.severity, operator: equals, value: critical}\naction: core.echo\naction_params: {message: \"{{ event.payload.text }}\"}\n",
    ),
];

async fn record(system: &System, payload: Value) -> i64 {
    let request = EventRequest { trigger: "ops.alert".to_owned(), payload, dedup_key: None, config: None };
    system.client.create_event(&request).await.unwrap().event
}

async fn settled(system: &System, event: i64) -> EventDetail {
    system.wait_until_idle().await;
    system.client.event(event).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_a_rule_in_shadow_records_what_it_would_do_and_acts_once_it_is_active() {
    let system = System::start().await;
    system.install(&PACK).await;
    assert_eq!(system.client.rule("ops.page").await.unwrap().mode, "shadow");
    let event = record(&system, json!({"severity": "critical", "text": "disk"})).await;
    let detail = settled(&system, event).await;
    let [decision] = detail.enforcements.as_slice() else { panic!("{detail:?}") };
    assert_eq!((decision.enforcement.status.as_str(), decision.executions.len()), ("disabled", 0));
    assert_eq!(decision.enforcement.payload, json!({"message": "disk"}));
    assert_eq!(decision.enforcement.config["action"], "core.echo");
    // What fails in shadow is told, and is not acted on either.
    let broken = record(&system, json!({"severity": "critical"})).await;
    let detail = settled(&system, broken).await;
    let enforcement = &detail.enforcements[0].enforcement;
    assert_eq!(enforcement.status, "disabled");
    assert!(enforcement.error.as_deref().is_some_and(|error| error.contains("text")), "{enforcement:?}");
    assert_eq!(system.count("select count(*) from attune.execution").await, 0);

    let change = attune_client::types::RuleChange { mode: Some("active".to_owned()), ..Default::default() };
    system.client.change_rule("ops.page", &change).await.unwrap();
    let request = attune_client::types::ReplayRequest {
        run: "again".to_owned(),
        events: Some(vec![attune_client::types::ReplayItem { event, payload: None }]),
        ..Default::default()
    };
    let replayed = system.client.replay_events(&request).await.unwrap().replayed[0].event;
    let detail = settled(&system, replayed).await;
    assert_eq!(detail.event.replay_of, Some(event));
    let [decision] = detail.enforcements.as_slice() else { panic!("{detail:?}") };
    assert_eq!(decision.enforcement.status, "processed");
    let run = system.client.execution(decision.executions[0].id).await.unwrap();
    assert_eq!((run.execution.status.as_str(), run.execution.result), ("completed", Some(json!("disk"))));
    // The decision about the first event stands as it was.
    let detail = system.client.event(event).await.unwrap();
    assert_eq!(detail.enforcements[0].enforcement.status, "disabled");
}

/// What the executor decided and what a back-test finds is the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_a_back_test_finds_what_the_executor_decided() {
    let system = System::start().await;
    system.install(&PACK).await;
    let since = chrono::Utc::now() - chrono::TimeDelta::minutes(1);
    for payload in [
        json!({"severity": "critical", "text": "a"}),
        json!({"severity": "info", "text": "b"}),
        json!({"severity": "critical"}),
        json!({"text": "c"}),
        json!({"severity": "critical", "text": "d"}),
    ] {
        record(&system, payload).await;
    }
    system.wait_until_idle().await;
    let request = attune_client::types::BacktestRequest {
        rule_ref: Some("ops.page".to_owned()),
        ..attune_client::types::BacktestRequest::since(since)
    };
    let report = system.client.backtest(&request, |_| {}).await.unwrap();
    let decided = system.client.enforcements(&[("rule", "ops.page".to_owned())]).await.unwrap().items;
    let told = |failed: bool| {
        let decided = decided.iter().rev().filter(|one| one.error.is_some() == failed);
        decided.map(|one| (one.event.unwrap(), one.payload.clone(), one.error.clone())).collect::<Vec<_>>()
    };
    let found: Vec<_> = report
        .fired_examples
        .iter()
        .map(|example| (example.event, example.parameters.clone().unwrap(), None))
        .collect();
    assert_eq!(found, told(false));
    let failed: Vec<_> = report
        .failed_examples
        .iter()
        .map(|example| (example.event, json!({}), example.error.clone()))
        .collect();
    assert_eq!(failed, told(true));
    let counts = report.counts;
    assert_eq!((counts.fired, counts.failed, counts.r#false, counts.missing), (2, 1, 1, 1));
}

/// The commands, from end to end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_the_commands_tell_the_story() {
    let system = System::start().await;
    system.install(&PACK).await;
    let event = record(&system, json!({"severity": "critical", "text": "disk"})).await;
    let other = record(&system, json!({"severity": "info", "text": "disk"})).await;
    system.wait_until_idle().await;
    let (url, token) = (system.client.base().to_string(), system.token().await);
    let run = async |arguments: &[&str]| -> Output {
        let mut command = attune();
        command.args(arguments).env("ATTUNE_URL", &url).env("ATTUNE_TOKEN", &token);
        command.output().await.unwrap()
    };
    let stdout = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let shown = stdout(&run(&["event", "show", &event.to_string()]).await);
    assert!(shown.contains("1 rule fired, 1 in shadow"), "{shown}");
    assert!(shown.contains("not started: the rule is in shadow mode"), "{shown}");
    let listed = stdout(&run(&["rule", "list"]).await);
    assert!(listed.contains("shadow"), "{listed}");
    let enforcement = stdout(&run(&["enforcement", "list", "--status", "disabled", "-o", "name"]).await);
    let shown = stdout(&run(&["enforcement", "show", enforcement.trim()]).await);
    assert!(
        shown.contains("disabled: recorded in shadow mode") && shown.contains("\"message\": \"disk\""),
        "{shown}"
    );

    let path = system.data().join("draft.yaml");
    std::fs::write(&path, PACK[2].1.replace("value: critical", "value: info")).unwrap();
    let file = path.to_str().unwrap();
    let output = run(&["rule", "backtest", "-f", file, "--since", "1h"]).await;
    let shown = stdout(&output);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(shown.contains("compared with version 1"), "{shown}");
    let row = |what: &str| shown.lines().find(|line| line.contains(what)).unwrap_or_default().to_owned();
    assert!(row("only this one fires").ends_with(&other.to_string()), "{shown}");
    assert!(row("only version 1 fires").ends_with(&event.to_string()), "{shown}");
    assert!(shown.contains("# 1 (in force: ") || shown.contains("# 1\n"), "{shown}");
    let same = run(&["rule", "backtest", "ops.page", "--since", "1h", "-o", "json"]).await;
    assert_eq!(same.status.code(), Some(0), "{same:?}");
    assert_eq!(serde_json::from_slice::<Value>(&same.stdout).unwrap()["fired"], 1);

    let span = ["event", "replay", "--trigger", "ops.alert", "--since", "1h"];
    let dry = stdout(&run(&[&span[..], &["--dry-run"]].concat()).await);
    assert!(dry.contains("events to replay:  2"), "{dry}");
    let edit = "select(.severity == \"info\") | .severity = \"critical\" | .text += \" again\"";
    let edited = [&span[..], &["--edit", edit, "--run", "story", "-o", "json"]].concat();
    let first: Value = serde_json::from_slice(&run(&edited).await.stdout).unwrap();
    assert_eq!(
        (&first["replayed"], &first["duplicates"], &first["left_out"]),
        (&json!(1), &json!(0), &json!(1))
    );
    // Broken off and begun again, it records nothing twice.
    let second: Value = serde_json::from_slice(&run(&edited).await.stdout).unwrap();
    assert_eq!((&second["replayed"], &second["duplicates"]), (&json!(0), &json!(1)));
    system.wait_until_idle().await;
    let newest = stdout(&run(&["event", "list", "--limit", "1", "-o", "name"]).await);
    let shown = stdout(&run(&["event", "show", newest.trim()]).await);
    assert!(shown.contains(&format!("replay of:  event {other}")), "{shown}");
    assert!(shown.contains("disk again") && shown.contains("1 rule fired"), "{shown}");
    let active = run(&["rule", "mode", "ops.page", "active"]).await;
    assert!(String::from_utf8_lossy(&active.stderr).contains("acts on events from now on"), "{active:?}");
    let single = run(&["event", "replay", &event.to_string(), "-o", "name"]).await;
    let single: i64 = stdout(&single).trim().parse().unwrap();
    let detail = settled(&system, single).await;
    assert_eq!((detail.event.replay_of, detail.enforcements[0].executions.len()), (Some(event), 1));
}
