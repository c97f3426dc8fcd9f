//! What survives when the server is killed in the middle of its work.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::support::System;

const PACK: [(&str, &str); 6] = [
    ("pack.yaml", "ref: crash\nversion: 1.0.0\nlabel: Crash\n"),
    ("triggers/in.yaml", "ref: crash.in\nwebhook: {delivery_id_header: x-delivery}\n"),
    ("rules/native.yaml", "ref: crash.native\ntrigger: crash.in\naction: core.noop\n"),
    (
        "rules/process.yaml",
        "ref: crash.process
trigger: crash.in
conditions:
  - {field: event.payload.process, operator: equals, value: true}
action: crash.effect
",
    ),
    // May be run again: what it does twice does no harm.
    (
        "actions/effect.yaml",
        "ref: crash.effect\nruntime: core.shell\nentrypoint: effect.sh\non_worker_loss: retry\n",
    ),
    ("actions/effect.sh", "#!/bin/sh\nsleep 0.05\necho done\n"),
];

/// Kills of the server under the stream.
const KILLS: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_sigkill_under_a_stream_of_webhooks_loses_nothing_and_doubles_nothing() {
    let mut system = System::start().await;
    let path = system.install(&PACK).await.webhooks[0].path.clone();
    let stop = Arc::new(AtomicBool::new(false));
    let next = Arc::new(AtomicU64::new(0));
    let acknowledged = Arc::new(AtomicU64::new(0));
    let senders: Vec<_> = (0..4)
        .map(|_| {
            let (client, path) = (system.client.clone(), path.clone());
            let (stop, next, acknowledged) = (stop.clone(), next.clone(), acknowledged.clone());
            tokio::spawn(async move {
                let mut accepted = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let body = format!("{{\"number\": {number}, \"process\": {}}}", number % 10 == 0);
                    let delivery = number.to_string();
                    match client.webhook(&path, &[("x-delivery", &delivery)], body).await {
                        Ok(answer) => {
                            accepted.push(answer.event);
                            acknowledged.fetch_add(1, Ordering::Relaxed);
                        }
                        // The server is gone: what was not acknowledged may or may not exist.
                        Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                    }
                }
                accepted
            })
        })
        .collect();
    for _ in 0..KILLS {
        let wanted = acknowledged.load(Ordering::Relaxed) + 150;
        while acknowledged.load(Ordering::Relaxed) < wanted {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        system.kill().await;
        system.restart().await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut accepted = BTreeSet::new();
    for sender in senders {
        for event in sender.await.unwrap() {
            assert!(accepted.insert(event), "event {event} was the answer to two deliveries");
        }
    }
    assert!(accepted.len() >= KILLS * 150);
    system.wait_until_idle().await;

    let stored: Vec<i64> =
        sqlx::query_scalar("select id from attune.event").fetch_all(system.database.pool()).await.unwrap();
    let stored: BTreeSet<i64> = stored.into_iter().collect();
    assert!(accepted.is_subset(&stored), "acknowledged but lost: {:?}", accepted.difference(&stored));
    // Each event was judged once: one enforcement for each rule that matches, and one execution for each of those.
    let unjudged = "select count(*) from attune.event where not exists (
        select from attune.event_batch where first_event = event.batch and matched is not null)";
    assert_eq!(system.count(unjudged).await, 0);
    let wrong_enforcements = "select count(*) from (
        select event.id
        from attune.event left join attune.enforcement on enforcement.event = event.id
        group by event.id, event.payload
        having count(enforcement.id) <> 1 + (event.payload -> 'process')::boolean::int) wrong";
    assert_eq!(system.count(wrong_enforcements).await, 0);
    let wrong_executions = "select count(*) from (
        select enforcement.id
        from attune.enforcement left join attune.execution on execution.enforcement = enforcement.id
        group by enforcement.id having count(execution.id) <> 1) wrong";
    assert_eq!(system.count(wrong_executions).await, 0);
    // Everything ended; what was safe to run again was, and what was not says that its worker was lost.
    let unfinished = "select count(*) from attune.execution where finished is null";
    assert_eq!(system.count(unfinished).await, 0);
    let bad_effects = "select count(*) from attune.execution
        where action_ref = 'crash.effect' and status <> 'completed'";
    assert_eq!(system.count(bad_effects).await, 0);
    let unexplained = "select count(*) from attune.execution
        where status = 'abandoned' and error not like 'worker test was lost%'";
    assert_eq!(system.count(unexplained).await, 0);
    let neither = "select count(*) from attune.execution where status not in ('completed', 'abandoned')";
    assert_eq!(system.count(neither).await, 0);
}
