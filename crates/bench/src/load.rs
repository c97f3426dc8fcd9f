//! The loads: webhooks that match nothing, webhooks that end in a no-op, and webhooks one by one for latency.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use attune_bench::archive::archive;
use attune_client::Client;
use attune_client::types::{EventDetail, ExecutionDetail};
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

const FILES: [(&str, &str); 6] = [
    ("pack.yaml", "ref: bench\nversion: 1.0.0\nlabel: Benchmark\n"),
    ("triggers/unmatched.yaml", "ref: bench.unmatched\nwebhook: {}\n"),
    ("triggers/noop.yaml", "ref: bench.noop\nwebhook: {}\n"),
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
const BODY: &str = r#"{"severity": "critical", "labels": {"instance": "db-1:9100", "job": "node"}, "summary": "Disk almost full", "value": 0.97}"#;

/// Installs the pack that the loads need.
pub(crate) async fn install(client: &Client) -> anyhow::Result<Hooks> {
    let archive = archive(&FILES)?;
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
    let wanted = before + answers.count;
    let patience = Instant::now() + duration * 10;
    loop {
        let now = finished(client).await?;
        if now >= wanted {
            anyhow::ensure!(
                now == wanted,
                "{} executions finished for {} events",
                now - before,
                answers.count
            );
            break;
        }
        anyhow::ensure!(
            Instant::now() < patience,
            "{} of {} events were not finished",
            wanted - now,
            answers.count
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(Throughput::new(answers.count, began.elapsed(), Some(answers)))
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
