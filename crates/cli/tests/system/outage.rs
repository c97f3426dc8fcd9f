//! The database goes away under load: senders are told to come again, and nothing that was acknowledged is lost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};

use crate::support::{PATIENCE, directory, password_in, sign_in};
use crate::up::{Up, postmaster};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_a_killed_database_costs_no_acknowledged_event() {
    let directory = directory();
    let data = directory.path().join("data");
    let up = Up::start(&data).await;
    let client = sign_in(&up.url, &password_in(&up.said).unwrap()).await;
    let (path, body) = up.demo();

    let stop = Arc::new(AtomicBool::new(false));
    let acknowledged = Arc::new(AtomicU64::new(0));
    let senders: Vec<_> = (0..4)
        .map(|_| {
            let (client, path, body) = (client.clone(), path.clone(), body.clone());
            let (stop, acknowledged) = (stop.clone(), acknowledged.clone());
            tokio::spawn(async move {
                let mut events = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    match client.webhook(&path, &[], body.clone()).await {
                        Ok(accepted) => {
                            events.push(accepted.event);
                            acknowledged.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => {
                            assert_eq!(error.status(), Some(503), "{error}");
                        }
                    }
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                events
            })
        })
        .collect();
    let reached = async |counter: &AtomicU64, more: u64| {
        let until = Instant::now() + PATIENCE;
        let wanted = counter.load(Ordering::Relaxed) + more;
        while counter.load(Ordering::Relaxed) < wanted {
            assert!(Instant::now() < until, "no answers come any more");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    for _ in 0..2 {
        reached(&acknowledged, 50).await;
        let killed = postmaster(&data).unwrap();
        kill(killed, Signal::SIGKILL).unwrap();
        // By itself, and so quickly that perhaps nobody had to be refused.
        let until = Instant::now() + PATIENCE;
        while postmaster(&data).is_none_or(|pid| pid == killed) {
            assert!(Instant::now() < until, "PostgreSQL is not started again");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        reached(&acknowledged, 50).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut accepted = BTreeSet::new();
    for sender in senders {
        accepted.extend(sender.await.unwrap());
    }

    // Each acknowledged event is there, was judged, and its execution ends.
    for event in accepted {
        let until = Instant::now() + PATIENCE;
        let mut detail = client.event(event).await.unwrap();
        while detail.matched.is_none() {
            assert!(Instant::now() < until, "event {event} is not matched: {detail:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
            detail = client.event(event).await.unwrap();
        }
        let executions: Vec<_> = detail.enforcements.iter().flat_map(|e| &e.executions).collect();
        assert_eq!(executions.len(), 1, "{detail:?}");
        let execution = client.wait_for_execution(executions[0].id, 60).await.unwrap();
        assert!(execution.execution.is_finished(), "{execution:?}");
    }
    up.interrupt().await;
}
