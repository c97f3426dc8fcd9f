//! A worker without its database, and a worker that is to stop: what runs goes on, and its results arrive.

use std::path::{Path, PathBuf};
use std::time::Duration;

use attune_common::bus::Bus;
use attune_common::db;
use attune_common::models::action::NewAction;
use attune_common::models::execution::{Execution, ExecutionStatus, NewExecution};
use attune_common::models::pack::{NewPack, PackFile};
use attune_common::models::runtime::NewRuntime;
use attune_common::repositories::{
    ActionRepository, ArtifactRepository, ExecutionRepository, PackRepository, RuntimeRepository,
    WorkerRepository,
};
use attune_testkit::TestDatabase;
use attune_worker::Settings;
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(60);

/// A native action of this handler.
async fn action(pool: &PgPool, handler: &str) -> i64 {
    let mut connection = pool.acquire().await.unwrap();
    let pack = NewPack {
        r#ref: "lease".into(),
        label: "Lease".into(),
        version: "1.0.0".into(),
        ..NewPack::default()
    };
    let pack = PackRepository::put(&mut *connection, &pack).await.unwrap();
    let runtime = NewRuntime { r#ref: "lease.native".into(), native: true, ..NewRuntime::default() };
    RuntimeRepository::put(&mut *connection, pack.id, &runtime).await.unwrap();
    let action = NewAction::of(format!("lease.{handler}"), "lease.native", handler);
    ActionRepository::put(&mut *connection, pack.id, &action).await.unwrap().id
}

async fn start(pool: &PgPool, action: i64, parameters: Value) -> i64 {
    let new = NewExecution::of(Some(action), "lease.action", parameters);
    ExecutionRepository::create(&mut pool.acquire().await.unwrap(), new).await.unwrap().id
}

/// Waits until it is so with the execution.
async fn until(pool: &PgPool, id: i64, is_so: impl Fn(&Execution) -> bool) -> Execution {
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    let patience = tokio::time::Instant::now() + PATIENCE;
    loop {
        tick.tick().await;
        let now = ExecutionRepository::get_by_id(pool, id).await.unwrap();
        if is_so(&now) {
            return now;
        }
        assert!(tokio::time::Instant::now() < patience, "the execution is still {}", now.status);
    }
}

/// Hands everything on between the worker and the database while it is let; otherwise there is no database.
fn gate(listener: UnixListener, server: PathBuf, open: watch::Receiver<bool>) {
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            if !*open.borrow() {
                continue;
            }
            let (server, mut open) = (server.clone(), open.clone());
            tokio::spawn(async move {
                let mut server = UnixStream::connect(&server).await.unwrap();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                    _ = open.wait_for(|open| !open) => {}
                }
            });
        }
    });
}

/// A pool for a worker whose way to the database can be shut.
async fn gated(database: &TestDatabase, directory: &Path) -> (PgPool, watch::Sender<bool>) {
    let server: PgConnectOptions = db::connect_options(database.url(), "attune-test").unwrap();
    let socket = format!(".s.PGSQL.{}", server.get_port());
    let listener = UnixListener::bind(directory.join(&socket)).unwrap();
    let (open, is_open) = watch::channel(true);
    gate(listener, server.get_socket().unwrap().join(&socket), is_open);
    let through = PgPoolOptions::new()
        .acquire_timeout(Duration::from_secs(1))
        .connect_with(server.clone().socket(directory))
        .await
        .unwrap();
    (through, open)
}

/// Waits until the lease of the only worker has been over for so many seconds.
async fn until_past_the_lease(pool: &PgPool, seconds: f64) {
    let past = async {
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        loop {
            tick.tick().await;
            let past: bool = sqlx::query_scalar(
                "select lease_expires < clock_timestamp() - make_interval(secs => $1) from attune.worker",
            )
            .bind(seconds)
            .fetch_one(pool)
            .await
            .unwrap();
            if past {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, past).await.expect("the lease does not run out");
}

#[tokio::test]
async fn an_attempt_that_was_taken_from_its_worker_is_ended_and_the_next_one_is_its_own() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let sleep = action(pool, "sleep").await;
    sqlx::query("update attune.action set on_worker_loss = 'retry'").execute(pool).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (through, open) = gated(&database, directory.path()).await;
    // One slot: the next attempt gets it when the former one has ended.
    let settings = Settings {
        lease: Duration::from_millis(500),
        native_slots: 1,
        ..Settings::new("cut-off", directory.path())
    };
    let shutdown = CancellationToken::new();
    let worker = tokio::spawn(attune_worker::run(through, Bus::new(), settings, shutdown.clone()));
    let id = start(pool, sleep, json!({"seconds": 3600})).await;
    until(pool, id, |now| now.status == ExecutionStatus::Running).await;
    open.send_replace(false);
    until_past_the_lease(pool, 0.0).await;
    let rescued = ExecutionRepository::rescue(pool, 10).await.unwrap();
    assert_eq!(rescued.iter().map(|one| one.status).collect::<Vec<_>>(), [ExecutionStatus::Scheduled]);
    open.send_replace(true);
    until(pool, id, |now| (now.status, now.attempt) == (ExecutionStatus::Running, 2)).await;
    // The end of the first attempt is reported and counts for nothing; a cancellation reaches the second one.
    let mut connection = pool.acquire().await.unwrap();
    ExecutionRepository::cancel(&mut connection, id).await.unwrap();
    let ended = until(pool, id, |now| now.status.is_terminal()).await;
    assert_eq!((ended.status, ended.attempt), (ExecutionStatus::Cancelled, 2));
    shutdown.cancel();
    worker.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_worker_without_its_database_goes_on_and_delivers_when_that_returns() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let sleep = action(pool, "sleep").await;
    let directory = tempfile::tempdir().unwrap();
    let (through, open) = gated(&database, directory.path()).await;

    // The lease runs out while the database is away, and nobody rescues the execution: it is still the worker's.
    let settings =
        Settings { lease: Duration::from_millis(500), ..Settings::new("cut-off", directory.path()) };
    let shutdown = CancellationToken::new();
    let worker = tokio::spawn(attune_worker::run(through, Bus::new(), settings, shutdown.clone()));
    let id = start(pool, sleep, json!({"seconds": 1})).await;
    let running = until(pool, id, |now| now.status == ExecutionStatus::Running).await;
    open.send_replace(false);
    // Longer than the action takes.
    until_past_the_lease(pool, 1.0).await;
    let now = ExecutionRepository::get_by_id(pool, id).await.unwrap();
    assert_eq!((now.status, now.started), (ExecutionStatus::Running, running.started));
    open.send_replace(true);
    let ended = until(pool, id, |now| now.status.is_terminal()).await;
    assert_eq!((ended.status, ended.attempt), (ExecutionStatus::Completed, 1));
    shutdown.cancel();
    worker.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stopping_worker_ends_what_runs_and_takes_nothing_new() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let sleep = action(pool, "sleep").await;
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings { slots: 4, ..Settings::new("stopping", directory.path()) };
    let shutdown = CancellationToken::new();
    let bus = Bus::new();
    let worker = tokio::spawn(attune_worker::run(pool.clone(), bus.clone(), settings, shutdown.clone()));
    let first = start(pool, sleep, json!({"seconds": 1})).await;
    until(pool, first, |now| now.status == ExecutionStatus::Running).await;
    shutdown.cancel();
    let second = start(pool, sleep, json!({"seconds": 0})).await;
    worker.await.unwrap().unwrap();
    let first = ExecutionRepository::get_by_id(pool, first).await.unwrap();
    assert_eq!((first.status, first.attempt), (ExecutionStatus::Completed, 1));
    let second = ExecutionRepository::get_by_id(pool, second).await.unwrap();
    assert_eq!((second.status, second.attempt), (ExecutionStatus::Scheduled, 0));
    let row = WorkerRepository::find_by_name(pool, "stopping").await.unwrap().unwrap();
    assert_eq!(row.lease_expires, None, "it left in good order");
}

/// Waits until somebody waits for a lock of the table.
async fn until_waited_for(pool: &PgPool, table: &str) {
    let waited = async {
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        loop {
            tick.tick().await;
            let waits: bool = sqlx::query_scalar(
                "select exists (select from pg_locks where not granted and relation = $1::regclass)",
            )
            .bind(table)
            .fetch_one(pool)
            .await
            .unwrap();
            if waits {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, waited).await.expect("nobody asks for the table");
}

#[tokio::test]
async fn what_a_process_needs_and_leaves_waits_for_a_database_that_is_away() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let mut connection = pool.acquire().await.unwrap();
    let pack = NewPack {
        r#ref: "lease".into(),
        label: "Lease".into(),
        version: "1.0.0".into(),
        checksum: Some("ab".repeat(32)),
        ..NewPack::default()
    };
    let pack = PackRepository::put(&mut *connection, &pack).await.unwrap();
    let runtime = NewRuntime {
        r#ref: "lease.shell".into(),
        interpreter: vec!["/bin/sh".to_owned()],
        ..NewRuntime::default()
    };
    RuntimeRepository::put(&mut *connection, pack.id, &runtime).await.unwrap();
    let file = PackFile {
        path: "actions/leave.sh".to_owned(),
        content: b"echo left > \"$ATTUNE_ARTIFACTS/note.txt\"".to_vec(),
        executable: false,
    };
    PackRepository::replace_files(&mut connection, pack.id, &[file]).await.unwrap();
    let action = NewAction::of("lease.leave", "lease.shell", "leave.sh");
    let action = ActionRepository::put(&mut *connection, pack.id, &action).await.unwrap().id;
    drop(connection);
    // Nobody reads the files of the pack, or stores an artifact, before the database has been away.
    let (mut files, mut artifacts) = (db::begin(pool).await.unwrap(), db::begin(pool).await.unwrap());
    sqlx::query("lock attune.pack_file in access exclusive mode").execute(&mut *files).await.unwrap();
    sqlx::query("lock attune.artifact in access exclusive mode").execute(&mut *artifacts).await.unwrap();

    let directory = tempfile::tempdir().unwrap();
    let (through, open) = gated(&database, directory.path()).await;
    let shutdown = CancellationToken::new();
    let settings = Settings::new("cut-off", directory.path());
    let worker = tokio::spawn(attune_worker::run(through, Bus::new(), settings, shutdown.clone()));
    let id = start(pool, action, json!({})).await;
    for (table, lock) in [("attune.pack_file", files), ("attune.artifact", artifacts)] {
        until_waited_for(pool, table).await;
        open.send_replace(false);
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        // Until each connection is cut, one by one.
        while open.receiver_count() > 1 {
            tick.tick().await;
        }
        lock.rollback().await.unwrap();
        open.send_replace(true);
    }
    let ended = until(pool, id, |now| now.status.is_terminal()).await;
    assert_eq!((ended.status, ended.attempt, ended.error), (ExecutionStatus::Completed, 1, None));
    let left = ArtifactRepository::list(pool).await.unwrap();
    assert_eq!(left.iter().map(|artifact| artifact.latest_version).collect::<Vec<_>>(), [1]);
    shutdown.cancel();
    worker.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_worker_says_what_selectors_ask_for() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let directory = tempfile::tempdir().unwrap();
    let mut settings = Settings::new("labelled", directory.path());
    settings.labels.insert("zone".to_owned(), "a".to_owned());
    settings.taints.push("gpu".to_owned());
    let shutdown = CancellationToken::new();
    let worker = tokio::spawn(attune_worker::run(pool.clone(), Bus::new(), settings, shutdown.clone()));
    let patience = tokio::time::Instant::now() + PATIENCE;
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    let row = loop {
        tick.tick().await;
        if let Some(row) = WorkerRepository::find_by_name(pool, "labelled").await.unwrap() {
            break row;
        }
        assert!(tokio::time::Instant::now() < patience, "the worker does not register");
    };
    assert_eq!((row.labels, row.taints), (json!({"zone": "a"}), vec!["gpu".to_owned()]));
    assert_eq!(row.capabilities["os"], json!(std::env::consts::OS));
    assert_eq!(row.capabilities["arch"], json!(std::env::consts::ARCH));
    shutdown.cancel();
    worker.await.unwrap().unwrap();
}
