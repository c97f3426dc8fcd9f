//! How many no-op jobs awa finishes a second, and how soon a lone job starts.
//!
//! Jobs are added by COPY, its fastest way, before the clock starts; that time is told apart. The worker has the settings of
//! awa's own throughput benchmark (claims of 512, no deadlines), but runs two thousand jobs at once instead of a hundred and looks
//! every 20 ms instead of 50: what it finishes is else limited by the pauses between its looks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use awa::{Client, InsertOpts, JobArgs, JobResult, QueueConfig};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

const QUEUE: &str = "noop";
const BATCH: u64 = 1000;
const WORKERS: u32 = 2000;
const POLL_MS: u64 = 20;
const LATENCIES: u64 = 200;

#[derive(Debug, Serialize, Deserialize, JobArgs)]
struct Noop {
    number: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let url = std::env::args().nth(1).unwrap_or_default();
    let jobs: u64 = std::env::var("ATTUNE_PEER_JOBS").map_or(Ok(80_000), |number| number.parse())?;
    let pool = sqlx::postgres::PgPoolOptions::new().max_connections(20).connect(&url).await?;
    awa::migrations::run(&pool).await?;
    let started = Arc::new(AtomicU64::new(0));
    let (starts, mut start) = mpsc::unbounded_channel();
    let counter = started.clone();
    let client = Client::builder(pool.clone())
        .queue(
            QUEUE,
            QueueConfig {
                max_workers: WORKERS,
                poll_interval: Duration::from_millis(POLL_MS),
                deadline_duration: Duration::ZERO,
                ..QueueConfig::default()
            },
        )
        .register::<Noop, _, _>(move |_, _| {
            let number = counter.fetch_add(1, Ordering::Relaxed) + 1;
            if number >= jobs {
                let _ = starts.send(Instant::now());
            }
            async { Ok(JobResult::Completed) }
        })
        .build()?;

    let options = || InsertOpts { queue: QUEUE.to_owned(), ..InsertOpts::default() };
    let began = Instant::now();
    for at in (0..jobs).step_by(BATCH as usize) {
        let some = (at..(at + BATCH).min(jobs))
            .map(|number| awa::model::insert::params_with(&Noop { number }, options()))
            .collect::<Result<Vec<_>, _>>()?;
        awa::insert_many_copy_from_pool(&pool, &some).await?;
    }
    let adding = began.elapsed().as_secs_f64();

    let began = Instant::now();
    client.start().await?;
    start.recv().await;
    ended(&pool, jobs).await?;
    let seconds = began.elapsed().as_secs_f64();

    let mut latencies = Vec::new();
    for number in 0..LATENCIES {
        let sent = Instant::now();
        awa::insert_with(&pool, &Noop { number }, options()).await?;
        if let Some(at) = start.recv().await {
            latencies.push(at.duration_since(sent).as_secs_f64() * 1000.0);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    client.shutdown(Duration::from_secs(5)).await;
    latencies.sort_by(f64::total_cmp);
    let at = |share: f64| latencies[(latencies.len() as f64 * share).ceil() as usize - 1];
    let figures = serde_json::json!({
        "name": "awa",
        "version": "0.6.9",
        "jobs": jobs,
        "seconds": seconds,
        "jobs_per_second": jobs as f64 / seconds,
        "adding_seconds": adding,
        "p50_ms": at(0.5),
        "p99_ms": at(0.99),
    });
    println!("{figures}");
    Ok(())
}

/// Waits until so many jobs are recorded as completed.
async fn ended(pool: &sqlx::PgPool, jobs: u64) -> anyhow::Result<()> {
    let statement = "select count(*) from awa.jobs where queue = $1 and state = 'completed'";
    loop {
        let ended: i64 = sqlx::query_scalar(statement).bind(QUEUE).fetch_one(pool).await?;
        if ended as u64 >= jobs {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
