//! The loads: webhooks that match nothing, webhooks that end in a no-op, and webhooks one by one for latency.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use attune_bench::archive::archive;
use attune_client::Client;
use attune_client::types::{EventDetail, EventRequest, ExecutionDetail};
use chrono::{DateTime, Utc};
use futures::StreamExt;

use crate::report::{Latency, Throughput};

/// Paths of the webhooks that the benchmark sends to.
#[derive(Debug)]
pub(crate) struct Hooks {
    /// No rule listens.
    pub(crate) unmatched: String,
    /// A rule runs a native no-op.
    pub(crate) noop: String,
    /// A rule runs `/bin/true`.
    pub(crate) shell: String,
}

/// Rules on the trigger of the batches, of which each event matches one.
const RULES: usize = 1000;

/// Events in a request of the batch load.
const EVENTS_IN_A_REQUEST: usize = 500;

const FILES: [(&str, &str); 8] = [
    ("pack.yaml", "ref: bench\nversion: 1.0.0\nlabel: Benchmark\n"),
    ("triggers/unmatched.yaml", "ref: bench.unmatched\nwebhook: {}\n"),
    ("triggers/noop.yaml", "ref: bench.noop\nwebhook: {}\n"),
    ("triggers/batch.yaml", "ref: bench.batch\n"),
    ("triggers/recorded.yaml", "ref: bench.recorded\n"),
    ("triggers/shell.yaml", "ref: bench.shell\nwebhook: {}\n"),
    (
        "rules/noop.yaml",
        "ref: bench.noop\ntrigger: bench.noop\nconditions:\n  - {field: event.payload.severity, operator: equals, value: critical}\naction: core.noop\n",
    ),
    (
        "rules/shell.yaml",
        "ref: bench.shell\ntrigger: bench.shell\naction: core.shell\naction_params: {command: \"true\"}\n",
    ),
];

/// The body of every webhook: about what an alert looks like.
pub(crate) const BODY: &str = r#"{"severity": "critical", "labels": {"instance": "db-1:9100", "job": "node"}, "summary": "Disk almost full", "value": 0.97}"#;

/// Installs the pack that the loads need.
pub(crate) async fn install(client: &Client) -> anyhow::Result<Hooks> {
    let rules: Vec<(String, String)> = (0..RULES)
        .map(|number| {
            let rule = format!(
                "ref: bench.batch_{number}\ntrigger: bench.batch\nconditions:\n  - {{field: event.payload.severity, operator: equals, value: critical}}\n  - {{field: event.payload.number, operator: equals, value: {number}}}\naction: core.noop\n"
            );
            (format!("rules/batch_{number}.yaml"), rule)
        })
        .collect();
    let rules = rules.iter().map(|(path, content)| (path.as_str(), content.as_str()));
    let archive = archive(&FILES.into_iter().chain(rules).collect::<Vec<_>>())?;
    let installed =
        client.install_pack(archive, "attune-bench").await.context("the pack cannot be installed")?;
    let path = |trigger: &str| {
        let hook = installed.webhooks.iter().find(|hook| hook.trigger == trigger);
        hook.map(|hook| hook.path.clone()).with_context(|| format!("{trigger} has no webhook"))
    };
    Ok(Hooks { unmatched: path("bench.unmatched")?, noop: path("bench.noop")?, shell: path("bench.shell")? })
}

/// Sends as fast as the answers come, over so many connections, and notes each answer's time in milliseconds.
async fn flood(
    client: &Client,
    path: &str,
    connections: usize,
    duration: Duration,
) -> anyhow::Result<Vec<f64>> {
    let until = Instant::now() + duration;
    let senders = (0..connections).map(|_| {
        let (client, path) = (client.clone(), path.to_owned());
        tokio::spawn(async move {
            let mut times = Vec::new();
            while Instant::now() < until {
                let began = Instant::now();
                client.webhook(&path, &[("content-type", "application/json")], BODY).await?;
                times.push(began.elapsed().as_secs_f64() * 1000.0);
            }
            anyhow::Ok(times)
        })
    });
    let mut all = Vec::new();
    for sender in senders.collect::<Vec<_>>() {
        all.extend(sender.await??);
    }
    Ok(all)
}

/// How many events a second are accepted (and durable) when no rule listens.
pub(crate) async fn accept(
    client: &Client,
    path: &str,
    connections: usize,
    duration: Duration,
) -> anyhow::Result<Throughput> {
    let began = Instant::now();
    let times = flood(client, path, connections, duration).await?;
    let answers = Latency::of(times);
    Ok(Throughput::new(answers.count, began.elapsed(), Some(answers)))
}

/// How many events a second go all the way to a finished execution, the backlog at the end included.
pub(crate) async fn carry(
    client: &Client,
    path: &str,
    connections: usize,
    duration: Duration,
) -> anyhow::Result<Throughput> {
    let before = finished(client).await?;
    let began = Instant::now();
    let times = flood(client, path, connections, duration).await?;
    let answers = Latency::of(times);
    drained(client, before, answers.count, duration * 10).await?;
    Ok(Throughput::new(answers.count, began.elapsed(), Some(answers)))
}

/// How many events a second go all the way when they come in batches, and one of a thousand rules matches each; the
/// backlog at the end included.
pub(crate) async fn batches(
    client: &Client,
    senders: usize,
    duration: Duration,
) -> anyhow::Result<Throughput> {
    let before = finished(client).await?;
    let began = Instant::now();
    let until = began + duration;
    let payload: serde_json::Value = serde_json::from_str(BODY)?;
    let sent = Arc::new(AtomicU64::new(0));
    // One reads how far the server is, for all.
    let done = Arc::new(AtomicU64::new(before));
    let watch = {
        let (client, done) = (client.clone(), done.clone());
        tokio::spawn(async move {
            while Instant::now() < until {
                done.store(finished(&client).await?, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            anyhow::Ok(())
        })
    };
    let senders = (0..senders).map(|sender| {
        let (client, sent, done, payload) = (client.clone(), sent.clone(), done.clone(), payload.clone());
        tokio::spawn(async move {
            let mut number = sender * RULES / 7;
            while Instant::now() < until {
                let events: Vec<EventRequest> = (0..EVENTS_IN_A_REQUEST)
                    .map(|_| {
                        number = (number + 1) % RULES;
                        let mut payload = payload.clone();
                        payload["number"] = number.into();
                        EventRequest {
                            trigger: "bench.batch".to_owned(),
                            payload,
                            dedup_key: None,
                            config: None,
                        }
                    })
                    .collect();
                let accepted = client.create_events(&events).await?.len() as u64;
                let sent = sent.fetch_add(accepted, Ordering::Relaxed) + accepted;
                // The server is to work at its own pace, not to pile up.
                while sent > done.load(Ordering::Relaxed) - before + 20_000 && Instant::now() < until {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            anyhow::Ok(())
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        sender.await??;
    }
    watch.await??;
    let count = sent.load(Ordering::Relaxed);
    drained(client, before, count, duration * 10).await?;
    Ok(Throughput::new(count, began.elapsed(), None))
}

/// Waits until so many executions have finished since `before`.
async fn drained(client: &Client, before: u64, count: u64, patience: Duration) -> anyhow::Result<()> {
    let patience = Instant::now() + patience;
    loop {
        let now = finished(client).await? - before;
        anyhow::ensure!(now <= count, "{now} executions finished for {count} events");
        if now == count {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < patience, "{} of {count} events were not finished", count - now);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// How many executions the server has finished since its start, by its metrics.
async fn finished(client: &Client) -> anyhow::Result<u64> {
    let text = client.metrics().await?;
    let line = text.lines().find_map(|line| line.strip_prefix("attune_executions_finished_total "));
    Ok(line.map_or(Ok(0), |value| value.trim().parse())?)
}

/// From the sending of a webhook to the start of its action, at a steady rate.
pub(crate) async fn latency(
    client: &Client,
    path: &str,
    rate: u64,
    duration: Duration,
) -> anyhow::Result<Latency> {
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rate as f64));
    let count = rate * duration.as_secs();
    let failed = Arc::new(AtomicU64::new(0));
    let mut sent = Vec::new();
    for _ in 0..count {
        ticks.tick().await;
        let (client, path, failed) = (client.clone(), path.to_owned(), failed.clone());
        sent.push(tokio::spawn(async move {
            let at = Utc::now();
            match client.webhook(&path, &[("content-type", "application/json")], BODY).await {
                Ok(accepted) => Some((at, accepted.event)),
                Err(_) => {
                    failed.fetch_add(1, Ordering::Relaxed);
                    None
                }
            }
        }));
    }
    let mut events = Vec::new();
    for task in sent {
        events.extend(task.await?);
    }
    anyhow::ensure!(failed.load(Ordering::Relaxed) == 0, "webhooks were refused");
    let times: Vec<anyhow::Result<f64>> = futures::stream::iter(events)
        .map(|(at, event)| async move {
            let started = started(client, event).await?;
            anyhow::Ok((started - at).num_microseconds().unwrap_or(i64::MAX) as f64 / 1000.0)
        })
        .buffer_unordered(8)
        .collect()
        .await;
    Ok(Latency::of(times.into_iter().collect::<anyhow::Result<_>>()?))
}

/// When the one execution of the event was started.
async fn started(client: &Client, event: i64) -> anyhow::Result<DateTime<Utc>> {
    let patience = Instant::now() + Duration::from_secs(30);
    loop {
        let EventDetail { enforcements, .. } = client.event(event).await?;
        let executions: BTreeSet<i64> =
            enforcements.iter().flat_map(|e| e.executions.iter().map(|x| x.id)).collect();
        if let Some(id) = executions.first() {
            anyhow::ensure!(executions.len() == 1, "event {event} has {} executions", executions.len());
            let ExecutionDetail { execution, .. } = client.wait_for_execution(*id, 30).await?;
            return execution.started.with_context(|| format!("execution {id} was never started"));
        }
        anyhow::ensure!(Instant::now() < patience, "event {event} led to nothing");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
