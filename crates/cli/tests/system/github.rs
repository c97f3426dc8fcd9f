//! Every example payload that GitHub documents for its webhooks, sent as GitHub sends them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use futures::StreamExt;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::alertmanager::install_example_with;
use crate::support::System;
use crate::upload::receive_all;

/// How many examples the pinned version of the package has.
const EXAMPLES: usize = 329;
const SECRET: &str = "a secret that only GitHub and we know";

const PACK: [(&str, &str); 9] = [
    ("pack.yaml", "ref: gh\nversion: 1.0.0\nlabel: GitHub\n"),
    (
        "triggers/event.yaml",
        "ref: gh.event\nwebhook:\n  signature: {scheme: github, secret: gh.webhook_secret}\n",
    ),
    (
        "actions/report.yaml",
        "ref: gh.report
runtime: core.shell
entrypoint: report.sh
parameter_delivery: env
output_format: json
parameters:
  repository: {type: string, required: true}
  number: {type: integer, required: true}
  title: {type: string, required: true}
  labels: {type: array}
",
    ),
    (
        "actions/report.sh",
        "#!/bin/sh
# Writes to both streams, so that both can be looked at.
echo \"issue $ATTUNE_ACTION_NUMBER\" >&2
printf '{\"repository\": \"%s\", \"number\": %s}\\n' \"$ATTUNE_ACTION_REPOSITORY\" \"$ATTUNE_ACTION_NUMBER\"
",
    ),
    // Everything.
    ("rules/all.yaml", "ref: gh.all\ntrigger: gh.event\naction: core.noop\n"),
    (
        "rules/issue_opened.yaml",
        "ref: gh.issue_opened
trigger: gh.event
conditions:
  - {field: \"event.headers['x-github-event']\", operator: equals, value: issues}
  - {field: event.payload.action, operator: equals, value: opened}
action: gh.report
action_params:
  repository: \"{{ event.payload.repository.full_name }}\"
  number: \"{{ event.payload.issue.number }}\"
  title: \"{{ event.payload.issue.title }}\"
  labels: \"{{ event.payload.issue.labels }}\"
",
    ),
    (
        "rules/push.yaml",
        "ref: gh.push
trigger: gh.event
conditions:
  - {field: \"event.headers['x-github-event']\", operator: equals, value: push}
action: core.echo
action_params: {message: \"{{ event.payload.ref }} by {{ event.payload.pusher.name }}\"}
",
    ),
    (
        "rules/closed.yaml",
        "ref: gh.closed
trigger: gh.event
conditions:
  - all:
      - {field: event.payload.action, operator: equals, value: closed}
      - not: {field: \"event.headers['x-github-event']\", operator: equals, value: issues}
action: core.noop
",
    ),
    // Another trigger's rule, which must not fire.
    ("rules/disabled.yaml", "ref: gh.disabled\nenabled: false\ntrigger: gh.event\naction: core.noop\n"),
];

/// One documented delivery.
struct Example {
    event: String,
    payload: Value,
}

fn examples() -> Vec<Example> {
    let root =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/test-data/octokit-webhooks-examples");
    let file = ["package/api.github.com/index.json", "api.github.com/index.json"]
        .into_iter()
        .map(|path| root.join(path))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("{} has no examples: ./scripts/test fetches them", root.display()));
    let documented: Vec<Value> = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    documented
        .iter()
        .flat_map(|event| {
            let name = event["name"].as_str().unwrap().to_owned();
            event["examples"]
                .as_array()
                .unwrap()
                .iter()
                .map(move |payload| Example { event: name.clone(), payload: payload.clone() })
        })
        .collect()
}

fn signature(body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_all_documented_github_payloads_fire_exactly_the_rules_that_match() {
    let examples = examples();
    assert_eq!(examples.len(), EXAMPLES);
    let system = System::start().await;
    let path = system.install(&PACK).await.webhooks[0].path.clone();
    system.client.set_key("gh.webhook_secret", SECRET).await.unwrap();

    let is = |example: &Example, event: &str| example.event == event;
    let does = |example: &Example, action: &str| example.payload["action"] == action;
    let count = |f: &dyn Fn(&Example) -> bool| examples.iter().filter(|example| f(example)).count() as i64;
    let opened = count(&|e| is(e, "issues") && does(e, "opened"));
    let pushes = count(&|e| is(e, "push"));
    let closed = count(&|e| !is(e, "issues") && does(e, "closed"));
    assert!(opened > 1 && pushes > 1 && closed > 1, "{opened} {pushes} {closed}");

    let sent: Vec<i64> = futures::stream::iter(examples.iter().enumerate())
        .map(|(index, example)| {
            let (client, path) = (system.client.clone(), path.clone());
            async move {
                let body = serde_json::to_vec(&example.payload).unwrap();
                let (signature, delivery) = (signature(&body), format!("delivery-{index}"));
                let headers = [
                    ("content-type", "application/json"),
                    ("x-github-event", example.event.as_str()),
                    ("x-github-delivery", delivery.as_str()),
                    ("x-hub-signature-256", signature.as_str()),
                ];
                let accepted = client.webhook(&path, &headers, body).await.unwrap();
                assert!(!accepted.duplicate);
                accepted.event
            }
        })
        .buffered(16)
        .collect()
        .await;
    system.wait_until_idle().await;

    let total = EXAMPLES as i64;
    assert_eq!(system.count("select count(*) from attune.event").await, total);
    assert_eq!(system.count("select count(distinct event) from attune.enforcement").await, total);
    let by_rule: Vec<(String, i64, i64)> = sqlx::query_as(
        "select enforcement.rule_ref, count(*), count(execution.id) filter (where execution.status = 'completed')
         from attune.enforcement left join attune.execution on execution.enforcement = enforcement.id
         group by enforcement.rule_ref order by enforcement.rule_ref",
    )
    .fetch_all(system.database.pool())
    .await
    .unwrap();
    let expected = [
        ("gh.all", total, total),
        ("gh.closed", closed, closed),
        ("gh.issue_opened", opened, opened),
        ("gh.push", pushes, pushes),
    ];
    assert_eq!(by_rule, expected.map(|(rule, made, ran)| (rule.to_owned(), made, ran)));
    let executions = total + closed + opened + pushes;
    assert_eq!(system.count("select count(*) from attune.execution").await, executions);

    // The rendered parameters and what the processes made of them, against the payloads.
    let event_of: BTreeMap<i64, &Example> = sent.iter().copied().zip(&examples).collect();
    let mut looked_at = 0;
    for (id, example) in &event_of {
        let issue = is(example, "issues") && does(example, "opened");
        if !issue && !is(example, "push") {
            continue;
        }
        looked_at += 1;
        let rule = if issue { "gh.issue_opened" } else { "gh.push" };
        let detail = system.client.event(*id).await.unwrap();
        assert_eq!(detail.event.payload, example.payload, "stored exactly as sent");
        assert_eq!(detail.event.headers.as_ref().unwrap()["x-github-event"], example.event.as_str());
        assert_eq!(detail.event.headers.unwrap().get("x-hub-signature-256"), None);
        assert!(detail.matched.is_some());
        let made = detail.enforcements.iter().find(|e| e.enforcement.rule == rule).unwrap();
        let execution = system.client.execution(made.executions[0].id).await.unwrap();
        assert_eq!(execution.chain.as_ref().unwrap().event, Some(*id));
        assert_eq!(execution.chain.as_ref().unwrap().rule, rule);
        let (payload, parameters) = (&example.payload, &execution.execution.parameters);
        if issue {
            assert_eq!(parameters["title"], payload["issue"]["title"]);
            assert_eq!(parameters["number"], payload["issue"]["number"], "keeps its type");
            assert_eq!(parameters["labels"], payload["issue"]["labels"], "keeps its type");
            let result = execution.execution.result.unwrap();
            assert_eq!(result["repository"], payload["repository"]["full_name"]);
            assert_eq!(result["number"], payload["issue"]["number"]);
            assert_eq!(execution.stderr, format!("issue {}\n", payload["issue"]["number"]));
            assert_eq!(execution.execution.exit_code, Some(0));
        } else {
            let text = format!(
                "{} by {}",
                payload["ref"].as_str().unwrap(),
                payload["pusher"]["name"].as_str().unwrap()
            );
            assert_eq!(execution.execution.result, Some(Value::String(text)));
        }
    }
    assert_eq!(looked_at, opened + pushes);

    // A redelivery is the same event.
    let body = serde_json::to_vec(&examples[0].payload).unwrap();
    let signature = signature(&body);
    let headers = [
        ("x-github-event", examples[0].event.as_str()),
        ("x-github-delivery", "delivery-0"),
        ("x-hub-signature-256", signature.as_str()),
    ];
    let again = system.client.webhook(&path, &headers, body.clone()).await.unwrap();
    assert_eq!((again.event, again.duplicate), (sent[0], true));
    // And one that was tampered with is none.
    let error = system.client.webhook(&path, &headers, [&body[..], b" "].concat()).await.unwrap_err();
    assert_eq!(error.status(), Some(401));
    system.wait_until_idle().await;
    assert_eq!(system.count("select count(*) from attune.event").await, total);
    assert_eq!(system.count("select count(*) from attune.execution").await, executions);
}

/// The example pack as its README says, with what GitHub sends, and with its API at an address of our own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_the_example_pack_labels_and_answers_issues_about_outages() {
    let api = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", api.local_addr().unwrap());
    let system = System::start_with(&[("ATTUNE_HTTP_ALLOW", "127.0.0.1".into())]).await;
    install_example_with(&system, "github", &json!({"api": address})).await;
    system.client.set_key("github.webhook_secret", SECRET).await.unwrap();
    system.client.set_key("github.token", "ghp_example").await.unwrap();
    let on: attune_client::types::RuleChange = serde_json::from_value(json!({"enabled": true})).unwrap();
    for rule in ["github.label_outage", "github.answer_outage"] {
        system.client.change_rule(rule, &on).await.unwrap();
    }
    let webhook = system.client.trigger("github.event").await.unwrap().webhook.unwrap().path.unwrap();
    let send = async |delivery: &str, payload: &Value, signed: bool| {
        let body = serde_json::to_vec(payload).unwrap();
        let signature = if signed { signature(&body) } else { signature(b"another body") };
        let headers = [
            ("content-type", "application/json"),
            ("x-github-event", "issues"),
            ("x-github-delivery", delivery),
            ("x-hub-signature-256", signature.as_str()),
        ];
        system.client.webhook(&webhook, &headers, body).await
    };
    let issue = json!({"number": 7, "title": "The API is down", "html_url": "https://github.com/o/r/issues/7",
        "user": {"login": "ada"}});
    let opened = json!({"action": "opened", "repository": {"full_name": "o/r"}, "issue": issue});
    assert_eq!(send("forged", &opened, false).await.unwrap_err().status(), Some(401));

    let ((head, body), sent) =
        tokio::join!(async { receive_all(api.accept().await.unwrap().0).await }, send("1", &opened, true));
    sent.unwrap();
    assert!(head.starts_with("post /repos/o/r/issues/7/labels http/1.1"), "{head}");
    assert!(head.contains("authorization: bearer ghp_example"), "{head}");
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), json!({"labels": ["incident"]}));

    let labelled = json!({"action": "labeled", "label": {"name": "incident"},
        "repository": {"full_name": "o/r"}, "issue": issue});
    let ((head, body), sent) =
        tokio::join!(async { receive_all(api.accept().await.unwrap().0).await }, send("2", &labelled, true));
    sent.unwrap();
    assert!(head.starts_with("post /repos/o/r/issues/7/comments http/1.1"), "{head}");
    assert!(body.contains("Thank you, @ada."), "{body}");
    // A delivery that comes again is the same.
    assert!(send("1", &opened, true).await.unwrap().duplicate);
    system.wait_until_idle().await;
    let fired: Vec<(String, i64)> = sqlx::query_as(
        "select rule_ref, count(*) from attune.enforcement group by rule_ref order by rule_ref",
    )
    .fetch_all(system.database.pool())
    .await
    .unwrap();
    let once = |rule: &str| (rule.to_owned(), 1);
    assert_eq!(fired, ["github.answer_outage", "github.issue_opened", "github.label_outage"].map(once));
    assert_eq!(system.count("select count(*) from attune.execution where status <> 'completed'").await, 0);
    let shown = "select count(*) from attune.execution where execution::text like '%ghp_example%'";
    assert_eq!(system.count(shown).await, 0, "the token is nowhere");
}
