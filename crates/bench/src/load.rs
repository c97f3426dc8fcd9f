//! The loads: webhooks that match nothing, webhooks that end in a no-op, events in batches, and webhooks one by one for
//! latency.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use attune_client::Client;
use attune_client::types::{EventDetail, EventRequest, ExecutionDetail};
use chrono::{DateTime, Utc};
use futures::StreamExt;

use crate::definitions::RULES;
use crate::http::{Endpoint, Request};
use crate::progress::{Count, Progress};
use crate::report::{Latency, Throughput};
use crate::target::Session;

/// Events in a request of the batch load.
const EVENTS_IN_A_REQUEST: usize = 500;

/// Events of batches that are under way at most: the server is to work at its own pace, not to pile up.
const UNDER_WAY: u64 = 20_000;

/// The body of every webhook: about what an alert looks like.
pub(crate) const BODY: &str = r#"{"severity": "critical", "labels": {"instance": "db-1:9100", "job": "node"}, "summary": "Disk almost full", "value": 0.97}"#;

/// Sends as fast as the answers come, over so many connections, and notes each answer's time in milliseconds.
async fn flood(
    endpoint: &Endpoint,
    path: &str,
    connections: usize,
    duration: Duration,
) -> anyhow::Result<Vec<f64>> {
    let request = Request::post(endpoint, path, BODY);
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(endpoint.connect().await?);
    }
    let until = Instant::now() + duration;
    let senders: Vec<_> = open
        .into_iter()
        .map(|mut connection| {
            let request = request.clone();
            tokio::spawn(async move {
                let mut times = Vec::new();
                while Instant::now() < until {
                    let began = Instant::now();
                    connection.send(&request).await?;
                    times.push(began.elapsed().as_secs_f64() * 1000.0);
                }
                anyhow::Ok(times)
            })
        })
        .collect();
    let mut all = Vec::new();
    for sender in senders {
        all.extend(sender.await??);
    }
    Ok(all)
}

/// How many events a second are accepted (and durable) when no rule listens.
pub(crate) async fn accept(
    session: &Session,
    path: &str,
    connections: usize,
    duration: Duration,
) -> anyhow::Result<Throughput> {
    let began = Instant::now();
    let times = flood(&session.endpoint, path, connections, duration).await?;
    let answers = Latency::of(times);
    Ok(Throughput::new(answers.count, began.elapsed(), Some(answers)))
}

/// How many events a second go all the way to a finished execution, the backlog at the end included.
pub(crate) async fn carry(
    session: &Session,
    path: &str,
    connections: usize,
    duration: Duration,
) -> anyhow::Result<Throughput> {
    let progress = Progress::begin(&session.client, Count::Finished).await?;
    let times = flood(&session.endpoint, path, connections, duration).await?;
    let answers = Latency::of(times);
    progress.add_sent(answers.count);
    let elapsed = progress.drained(patience(duration)).await?;
    Ok(Throughput::new(answers.count, elapsed, Some(answers)))
}

/// A load in batches, and how it went over time.
#[derive(Debug)]
pub(crate) struct Batches {
    pub(crate) throughput: Throughput,
    /// Finished executions a second in each fifth of the time in which was sent.
    pub(crate) fifths: Vec<f64>,
}

/// How many events a second go all the way when they come in batches, and one of a thousand rules matches each; the
/// backlog at the end included.
pub(crate) async fn batches(
    session: &Session,
    senders: usize,
    duration: Duration,
) -> anyhow::Result<Batches> {
    let requests = numbered_batches(&session.endpoint)?;
    carry_batches(session, &requests, senders, duration).await
}

/// Carries at least so many events of batches, at whatever pace.
pub(crate) async fn some(session: &Session, events: usize) -> anyhow::Result<()> {
    let progress = Progress::begin(&session.client, Count::Finished).await?;
    let numbers = (0..events).map(|number| numbered(number % RULES));
    send_all(session, &numbers.collect::<anyhow::Result<Vec<_>>>()?).await?;
    progress.add_sent(events as u64);
    progress.drained(Duration::from_secs(120)).await?;
    Ok(())
}

/// How many events a second go all the way whose action is a process.
pub(crate) async fn processes(
    session: &Session,
    senders: usize,
    duration: Duration,
) -> anyhow::Result<Throughput> {
    let events: Vec<EventRequest> = (0..20).map(|_| event("bench.shell", serde_json::json!({}))).collect();
    let request = batch(&session.endpoint, &events)?;
    Ok(carry_batches(session, &[request], senders, duration).await?.throughput)
}

/// The requests must hold the same number of events each.
async fn carry_batches(
    session: &Session,
    requests: &[Request],
    senders: usize,
    duration: Duration,
) -> anyhow::Result<Batches> {
    let mut open = Vec::new();
    for _ in 0..senders {
        open.push(session.endpoint.connect().await?);
    }
    let progress = Arc::new(Progress::begin(&session.client, Count::Finished).await?);
    let until = Instant::now() + duration;
    let senders: Vec<_> = open
        .into_iter()
        .enumerate()
        .map(|(sender, mut connection)| {
            let (progress, requests) = (progress.clone(), requests.to_owned());
            tokio::spawn(async move {
                for request in requests.iter().cycle().skip(sender % requests.len()) {
                    if Instant::now() >= until {
                        break;
                    }
                    connection.send(request).await?;
                    progress.add_sent(request.events());
                    progress
                        .wait_for_room(request.events() * UNDER_WAY / EVENTS_IN_A_REQUEST as u64, until)
                        .await?;
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for sender in senders {
        sender.await??;
    }
    let elapsed = progress.drained(patience(duration)).await?;
    Ok(Batches {
        throughput: Throughput::new(progress.sent(), elapsed, None),
        fifths: progress.rates(5, duration).await,
    })
}

/// Sends these events, 1,000 at a time, and does not wait for what becomes of them.
pub(crate) async fn send_all(session: &Session, events: &[EventRequest]) -> anyhow::Result<()> {
    let mut connection = session.endpoint.connect().await?;
    for some in events.chunks(1000) {
        connection.send(&batch(&session.endpoint, some)?).await?;
    }
    Ok(())
}

/// Requests with events for all rules, to be sent in turn.
fn numbered_batches(endpoint: &Endpoint) -> anyhow::Result<Vec<Request>> {
    (0..RULES)
        .step_by(EVENTS_IN_A_REQUEST)
        .map(|first| {
            let events: Vec<EventRequest> =
                (first..first + EVENTS_IN_A_REQUEST).map(numbered).collect::<anyhow::Result<_>>()?;
            batch(endpoint, &events)
        })
        .collect()
}

/// Sends at least so many events, one of a thousand rules matching each, and waits until all are decided. Gives back how many.
pub(crate) async fn decide(session: &Session, events: u64) -> anyhow::Result<u64> {
    let requests = numbered_batches(&session.endpoint)?;
    let mut connection = session.endpoint.connect().await?;
    let progress = Progress::begin(&session.client, Count::Decided).await?;
    let mut requests = requests.iter().cycle();
    while progress.sent() < events
        && let Some(request) = requests.next()
    {
        connection.send(request).await?;
        progress.add_sent(request.events());
    }
    progress.drained(Duration::from_secs(30 + events / 1000)).await?;
    Ok(progress.sent())
}

fn batch(endpoint: &Endpoint, events: &[EventRequest]) -> anyhow::Result<Request> {
    let body = serde_json::to_string(events)?;
    Ok(Request::post(endpoint, "api/v1/events/batch", &body).of_events(events.len() as u64))
}

/// An event for the rule with this number.
fn numbered(number: usize) -> anyhow::Result<EventRequest> {
    let mut payload: serde_json::Value = serde_json::from_str(BODY)?;
    payload["number"] = number.into();
    Ok(event("bench.batch", payload))
}

/// An event of a trigger of the benchmark's pack.
pub(crate) fn event(trigger: &str, payload: serde_json::Value) -> EventRequest {
    EventRequest { trigger: trigger.to_owned(), payload, dedup_key: None, config: None }
}

/// How long a backlog may take that gathered in this time.
fn patience(duration: Duration) -> Duration {
    duration * 10 + Duration::from_secs(30)
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
