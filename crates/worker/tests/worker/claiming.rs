//! What waits is claimed batch by batch, the most urgent first, until nothing does.

use std::time::Duration;

use attune_common::bus::Bus;
use attune_common::db;
use attune_common::models::action::NewAction;
use attune_common::models::execution::{Execution, ExecutionStatus, NewExecution};
use attune_common::models::pack::NewPack;
use attune_common::models::runtime::NewRuntime;
use attune_common::repositories::{ActionRepository, ExecutionRepository, PackRepository, RuntimeRepository};
use attune_testkit::TestDatabase;
use attune_worker::Settings;
use serde_json::json;
use sqlx::PgPool;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A worker, and what it works in.
struct Running {
    worker: JoinHandle<Result<(), attune_worker::WorkerError>>,
    shutdown: CancellationToken,
    _directory: TempDir,
}

/// Makes executions of a native no-op with these priorities, and lets a worker with so many slots for native actions run them.
async fn begin(pool: &PgPool, priorities: &[i16], native_slots: u32) -> Running {
    let mut connection = pool.acquire().await.unwrap();
    let pack =
        NewPack { r#ref: "all".into(), label: "All".into(), version: "1.0.0".into(), ..NewPack::default() };
    let pack = PackRepository::create(&mut *connection, &pack).await.unwrap();
    let runtime = NewRuntime { r#ref: "all.native".into(), native: true, ..NewRuntime::default() };
    RuntimeRepository::put(&mut *connection, pack.id, &runtime).await.unwrap();
    let action = NewAction::of("all.noop", "all.native", "noop");
    let action = ActionRepository::create(&mut *connection, Some(pack.id), &action).await.unwrap();
    let new: Vec<NewExecution> = priorities
        .iter()
        .map(|priority| NewExecution {
            priority: *priority,
            status: ExecutionStatus::Scheduled,
            ..NewExecution::of(Some(action.id), "all.noop", json!({}))
        })
        .collect();
    ExecutionRepository::create_many(&mut connection, &new).await.unwrap();

    let directory = tempfile::tempdir().unwrap();
    let settings = Settings { native_slots, ..Settings::new("all", directory.path()) };
    let shutdown = CancellationToken::new();
    let worker = tokio::spawn(attune_worker::run(pool.clone(), Bus::new(), settings, shutdown.clone()));
    Running { worker, shutdown, _directory: directory }
}

impl Running {
    /// Waits until all have ended, and gives them back in the order of their making.
    async fn finish(self, pool: &PgPool) -> Vec<Execution> {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        let patience = Instant::now() + Duration::from_secs(60);
        loop {
            tick.tick().await;
            let unfinished = ExecutionRepository::count_unfinished(pool).await.unwrap();
            if unfinished.is_empty() {
                break;
            }
            assert!(Instant::now() < patience, "{unfinished:?}");
        }
        self.shutdown.cancel();
        self.worker.await.unwrap().unwrap();
        sqlx::query_as("select * from attune.execution order by id").fetch_all(pool).await.unwrap()
    }
}

async fn run_all(pool: &PgPool, priorities: &[i16], native_slots: u32) -> Vec<Execution> {
    begin(pool, priorities, native_slots).await.finish(pool).await
}

#[tokio::test]
async fn little_is_claimed_while_ends_cannot_be_stored() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    // Ends wait for a lock that is held here.
    sqlx::raw_sql(
        "create function attune.wait_for_the_test() returns trigger language plpgsql as $$
         begin
             perform pg_advisory_xact_lock_shared(1);
             return new;
         end $$;
         create trigger ends_wait before update on attune.execution
             for each row when (new.status = 'completed') execute function attune.wait_for_the_test()",
    )
    .execute(pool)
    .await
    .unwrap();
    let mut holder = db::begin(pool).await.unwrap();
    sqlx::query("select pg_advisory_xact_lock(1)").execute(&mut *holder).await.unwrap();
    let running = begin(pool, &[0; 9_000], Settings::new("", "").native_slots).await;

    // It looks for work at least once a second: what has not been claimed after two is not claimed.
    let (mut claimed, mut since) = (0, Instant::now());
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    while claimed == 0 || since.elapsed() < Duration::from_secs(2) {
        tick.tick().await;
        let now: i64 = sqlx::query_scalar("select count(*) from attune.execution where status = 'running'")
            .fetch_one(pool)
            .await
            .unwrap();
        if now != claimed {
            (claimed, since) = (now, Instant::now());
        }
        assert!(claimed <= 5_000, "{claimed} are claimed");
    }
    assert!(claimed > 1_000, "{claimed} are claimed");
    holder.rollback().await.unwrap();
    let ended = running.finish(pool).await;
    assert!(ended.iter().all(|one| (one.status, one.attempt) == (ExecutionStatus::Completed, 1)));
}

#[tokio::test]
async fn what_waits_is_claimed_once_each_however_much_it_is() {
    let database = TestDatabase::create().await;
    // More than one statement claims.
    let ended = run_all(database.pool(), &[0; 4_500], Settings::new("", "").native_slots).await;
    assert_eq!(ended.len(), 4_500);
    let well = |one: &&Execution| (one.status, one.attempt) == (ExecutionStatus::Completed, 1);
    let other: Vec<_> = ended.iter().filter(|one| !well(one)).collect();
    assert!(other.is_empty(), "{other:?}");
    let attempts: i64 = sqlx::query_scalar("select count(*) from attune.execution_attempt")
        .fetch_one(database.pool())
        .await
        .unwrap();
    assert_eq!(attempts, 0);
}

#[tokio::test]
async fn the_most_urgent_goes_first_batch_by_batch() {
    let database = TestDatabase::create().await;
    // As many of each as are claimed at once.
    let priorities = [0, 5, -5, 5, 0, 5, -5, 0, -5];
    let ended = run_all(database.pool(), &priorities, 3).await;
    let started = |priority| {
        let of_these = ended.iter().filter(move |one| one.priority == priority);
        of_these.map(|one| one.started.unwrap()).collect::<Vec<_>>()
    };
    for (first, then) in [(5, 0), (0, -5)] {
        let (first, then) = (started(first), started(then));
        assert_eq!((first.len(), then.len()), (3, 3));
        assert!(first.iter().max() < then.iter().min(), "{first:?} {then:?}");
    }
}
