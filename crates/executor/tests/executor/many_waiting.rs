//! What waits costs nothing: other work goes on as if it were not there.

use std::time::{Duration, Instant};

use attune_common::bus::Bus;
use attune_common::models::action::Action;
use attune_common::models::execution::ExecutionStatus;
use attune_common::models::policy::NewPolicy;
use attune_common::models::worker::Worker;
use attune_executor::{Executor, Retention};
use attune_testkit::TestDatabase;
use serde_json::json;
use sqlx::PgPool;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::helpers::*;

/// What one measures here, the other must not disturb.
static MEASURING: Mutex<()> = Mutex::const_new(());

const WAITING: usize = 100_000;
const HOSTS: usize = 100;

/// Cycles of other work (made, claimed, ended; a hundred at a time) in a second.
async fn other_work(pool: &PgPool, worker: &Worker, action: &Action) -> f64 {
    const BATCH: usize = 100;
    let began = Instant::now();
    let mut cycles = 0;
    while began.elapsed() < Duration::from_secs(2) {
        request_many(pool, action, BATCH).await;
        let claimed = claim(pool, worker, 1000).await;
        assert_eq!(claimed.len(), BATCH);
        complete(pool, worker, &claimed, ExecutionStatus::Completed).await;
        cycles += BATCH;
    }
    cycles as f64 / began.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread")]
async fn test_a_hundred_thousand_waiting_executions_cost_other_work_nothing() {
    let _measuring = MEASURING.lock().await;
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let (limited, free) = (action(pool, "test.limited").await, action(pool, "test.free").await);
    policy(pool, NewPolicy { parameters: vec!["host".to_owned()], ..of_action(&limited) }).await;
    let worker = worker(pool, "one").await;
    let shutdown = CancellationToken::new();
    let bus = Bus::new();
    let listening = tokio::spawn(bus.clone().connect(pool.clone(), shutdown.clone()));
    let executor = Executor { pool: pool.clone(), bus, retention: Retention::default() };
    let executing = tokio::spawn(attune_executor::run(executor, shutdown.clone()));
    other_work(pool, &worker, &free).await;
    let without = other_work(pool, &worker, &free).await;

    let began = Instant::now();
    for _ in 0..WAITING / 5000 {
        let hosts: Vec<_> = (0..5000).map(|n| json!({ "host": n % HOSTS })).collect();
        request(pool, &limited, &hosts).await;
    }
    let requested = began.elapsed();
    let began = Instant::now();
    while with_status(pool, ExecutionStatus::Scheduled).await.len() < HOSTS {
        assert!(began.elapsed() < PATIENCE, "one for each host is to be admitted");
    }
    let sorted = began.elapsed();
    // They run, and go on running while the others wait.
    assert_eq!(claim(pool, &worker, 1000).await.len(), HOSTS);
    sqlx::query("vacuum analyze").execute(pool).await.unwrap();

    let began = Instant::now();
    admit(pool).await;
    let pass = began.elapsed();
    let with = other_work(pool, &worker, &free).await;
    shutdown.cancel();
    for task in [listening, executing] {
        task.await.unwrap();
    }
    println!(
        "other work: {without:.0} /s without, {with:.0} /s with {WAITING} executions waiting in {HOSTS} lanes; \
         requested in {requested:.1?}, admitted from {sorted:.1?} later, a first pass that admits nothing takes {pass:.1?}"
    );
    assert!(with > without / 2.0, "{with:.0} /s with executions that wait, {without:.0} /s without");
}

/// How long a pass takes on average that gives slots on to others, while so many wait, each in a lane of its own.
async fn pass_with_lanes(pool: &PgPool, limited: &Action, worker: &Worker, lanes: usize) -> Duration {
    const PASSES: u32 = 20;
    for first in (0..lanes).step_by(5000) {
        let hosts: Vec<_> = (first..lanes.min(first + 5000)).map(|n| json!({ "host": n })).collect();
        request(pool, limited, &hosts).await;
        admit(pool).await;
    }
    sqlx::query("vacuum analyze").execute(pool).await.unwrap();
    let mut spent = Duration::ZERO;
    for _ in 0..PASSES {
        let claimed = claim(pool, worker, 1000).await;
        assert_eq!(claimed.len(), TOGETHER as usize);
        complete(pool, worker, &claimed, ExecutionStatus::Completed).await;
        let began = Instant::now();
        admit(pool).await;
        spent += began.elapsed();
    }
    spent / PASSES
}

/// So many run at once, whatever their hosts are.
const TOGETHER: i32 = 10;

#[tokio::test(flavor = "multi_thread")]
async fn test_a_hundred_thousand_lanes_cost_a_pass_nothing() {
    let _measuring = MEASURING.lock().await;
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let worker = worker(pool, "one").await;
    let mut took = Vec::new();
    for (name, lanes) in [("test.few", 1000), ("test.many", WAITING)] {
        let limited = action(pool, name).await;
        policy(pool, NewPolicy { parameters: vec!["host".to_owned()], ..of_action(&limited) }).await;
        let together = NewPolicy {
            r#ref: format!("{name}_together"),
            concurrency: Some(TOGETHER),
            ..of_action(&limited)
        };
        policy(pool, together).await;
        took.push(pass_with_lanes(pool, &limited, &worker, lanes).await);
        // The others wait for nothing any more.
        sqlx::query("truncate attune.admission, attune.admission_lane").execute(pool).await.unwrap();
        sqlx::query("delete from attune.execution where finished is null").execute(pool).await.unwrap();
    }
    let [few, many] = took[..] else { panic!("{took:?}") };
    println!("a pass that gives {TOGETHER} slots on: {few:.1?} with 1,000 lanes, {many:.1?} with {WAITING}");
    assert!(many < few * 5 + Duration::from_millis(50), "{many:?} with many lanes, {few:?} with few");
}
