//! Back-tests: how many recorded events a second are judged by a rule with ten conditions.
//!
//! The events are made through the public API: a few thousand different ones, which are then replayed until there are
//! enough.

use std::time::{Duration, Instant};

use anyhow::Context;
use attune_client::Client;
use attune_client::types::{BacktestReport, BacktestRequest, EventRequest, ReplayRequest, RuleRequest};
use chrono::{DateTime, Utc};
use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use crate::definitions;
use crate::target::Target;

/// Different events; the others are replays of them.
const ORIGINALS: u64 = 5_000;
const BATCH: i64 = 1_000;
const RUNS: usize = 5;

/// How many events, and of which server.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: Target,
    /// Recorded events to try rules on
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Figures {
    events: u64,
    conditions: usize,
    payload_bytes: usize,
    fired: u64,
    /// Of the draft alone: events judged a second, run by run.
    alone: Vec<f64>,
    /// The same while it is compared with another version.
    compared: Vec<f64>,
}

/// Measures, and prints the figures as JSON.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let (session, server) = arguments.target.connect().await?;
    let outcome = async {
        definitions::install(&session.client).await?;
        measure(&session.client, arguments.events).await
    };
    let outcome = outcome.await;
    if let Some(server) = server {
        server.stop().await?;
    }
    let figures = outcome?;
    println!("{}", serde_json::to_string_pretty(&figures)?);
    arguments.target.keep(&figures)
}

/// Records so many events and tries rules on them.
async fn measure(client: &Client, count: u64) -> anyhow::Result<Figures> {
    let since = Utc::now();
    let trigger = "bench.recorded";
    eprintln!("recording {ORIGINALS} events");
    let requests: Vec<EventRequest> = (0..ORIGINALS)
        .map(|number| EventRequest {
            trigger: trigger.to_owned(),
            payload: payload(number),
            dedup_key: None,
            config: None,
        })
        .collect();
    for some in requests.chunks(BATCH as usize) {
        client.create_events(some).await?;
    }
    let recorded = Utc::now();
    let mut events = ORIGINALS;
    let mut last = 0;
    while events < count {
        eprint!("\rreplaying them: {events} of {count}");
        last = replay(client, trigger, (since, recorded), &format!("bench-{events}")).await?;
        events += ORIGINALS;
    }
    eprintln!("\rreplayed them: {events} of {count}  ");
    wait_until_matched(client, last).await?;
    let alone = runs(client, draft("bench.draft", "critical"), since, events).await?;
    client.create_rule(&RuleRequest { enabled: false, ..draft("bench.stored", "warning") }).await?;
    let compared = runs(client, draft("bench.stored", "critical"), since, events).await?;
    let rate = |report: &BacktestReport| report.events as f64 / report.seconds;
    let first = alone.first().context("nothing was measured")?;
    Ok(Figures {
        events,
        conditions: first.conditions.len(),
        payload_bytes: payload(0).to_string().len(),
        fired: first.counts.fired,
        alone: alone.iter().map(rate).collect(),
        compared: compared.iter().map(rate).collect(),
    })
}

async fn replay(
    client: &Client,
    trigger: &str,
    (since, until): (DateTime<Utc>, DateTime<Utc>),
    run: &str,
) -> anyhow::Result<i64> {
    let mut request = ReplayRequest {
        run: run.to_owned(),
        trigger: Some(trigger.to_owned()),
        since: Some(since),
        until: Some(until),
        limit: Some(BATCH),
        ..ReplayRequest::default()
    };
    let mut last = 0;
    loop {
        let batch = client.replay_events(&request).await?;
        last = batch.replayed.last().map_or(last, |replayed| replayed.event);
        match batch.next_cursor {
            Some(cursor) => request.cursor = Some(cursor),
            None => return Ok(last),
        }
    }
}

/// Judging must not share the machine with the matching of what was just recorded.
async fn wait_until_matched(client: &Client, event: i64) -> anyhow::Result<()> {
    let patience = Instant::now() + Duration::from_secs(600);
    while event > 0 && client.event(event).await?.matched.is_none() {
        anyhow::ensure!(Instant::now() < patience, "event {event} was not matched");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

async fn runs(
    client: &Client,
    draft: RuleRequest,
    since: DateTime<Utc>,
    events: u64,
) -> anyhow::Result<Vec<BacktestReport>> {
    let request = BacktestRequest { rule: Some(draft), ..BacktestRequest::since(since) };
    let mut reports = Vec::new();
    for _ in 0..RUNS {
        let report = client.backtest(&request, |_| {}).await?;
        anyhow::ensure!(report.events == events, "{} of {events} events were judged", report.events);
        anyhow::ensure!(report.counts.fired > 0, "the rule never fires");
        reports.push(report);
    }
    Ok(reports)
}

/// An alert as a monitoring system sends it.
fn payload(number: u64) -> Value {
    let pick = |choices: &[&str], step: u64| choices[(number / step) as usize % choices.len()].to_owned();
    json!({
        "status": pick(&["firing", "firing", "resolved"], 1),
        "receiver": "attune",
        "labels": {
            "alertname": pick(&["DiskFull", "HighLoad", "TargetDown"], 2),
            "severity": pick(&["critical", "warning", "info"], 3),
            "env": pick(&["production", "staging"], 5),
            "region": pick(&["eu-west-1", "us-east-1", "ap-south-1"], 7),
            "job": "node",
            "instance": format!("10.1.{}.{}:9100", number / 250 % 250, number % 250),
        },
        "annotations": {
            "summary": format!("Disk almost full on host {number}"),
            "description": "The file system will be full within four hours at the present rate.",
            "runbook": "https://runbooks.example/disk",
        },
        "value": (number % 1_000) as f64 / 1_000.0,
        "limit": 0.5,
        "tags": ["storage", pick(&["database", "cache", "web"], 11)],
    })
}

/// A rule with ten conditions, of which about one event in a few hundred meets all.
fn draft(rule_ref: &str, severity: &str) -> RuleRequest {
    RuleRequest {
        rule_ref: rule_ref.to_owned(),
        label: None,
        description: None,
        enabled: true,
        mode: "shadow".to_owned(),
        trigger: "bench.recorded".to_owned(),
        trigger_params: json!({}),
        condition: "all".to_owned(),
        window: None,
        retry: None,
        conditions: json!([
            {"field": "event.payload.status", "operator": "equals", "value": "firing"},
            {"field": "event.payload.labels.severity", "operator": "equals", "value": severity},
            {"field": "event.payload.labels.env", "operator": "equals", "value": "production"},
            {"field": "event.payload.labels.region", "operator": "in", "value": ["eu-west-1", "us-east-1"]},
            {"field": "event.payload.labels.alertname", "operator": "regex", "value": "^(Disk|High)"},
            {"field": "event.payload.annotations.summary", "operator": "icontains", "value": "disk"},
            {"field": "event.payload.value", "operator": "greater_than", "value": 0.8},
            {"field": "event.payload.tags[*]", "operator": "equals", "value": "database"},
            {"not": {"field": "event.payload.labels.silenced", "operator": "exists"}},
            {"field": "event.payload.labels.instance", "operator": "starts_with", "value": "10.1."},
        ]),
        action: "core.echo".to_owned(),
        action_params: json!({"message": "{{ event.payload.annotations.summary }} at {{ event.payload.labels.instance }}"}),
    }
}
