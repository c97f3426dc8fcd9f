//! The answer of the database to a claim gets lost: the claim was made, and nobody knows of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use attune_common::bus::Bus;
use attune_common::db::{self, PoolOptions};
use attune_common::models::action::NewAction;
use attune_common::models::execution::{ExecutionStatus, NewExecution};
use attune_common::models::pack::NewPack;
use attune_common::models::runtime::NewRuntime;
use attune_common::repositories::{
    ActionRepository, ExecutionRepository, PackRepository, RuntimeRepository, WorkerRepository,
};
use attune_testkit::TestDatabase;
use attune_worker::Settings;
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

/// What tells the answer that is to be lost from all others.
const MARK: &str = "the-answer-with-this-is-lost";

/// Hands everything on between the worker and the database, until an answer with the mark comes: that one is dropped with
/// its connection. PostgreSQL answers when the statement is committed.
fn losing_proxy(listener: UnixListener, server: PathBuf, lost: Arc<AtomicBool>) {
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = UnixStream::connect(&server).await.unwrap();
            let lost = lost.clone();
            tokio::spawn(async move {
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let upstream =
                    tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
                let mut answer = vec![0; 256 * 1024];
                while let Ok(read @ 1..) = from_server.read(&mut answer).await {
                    let marked = answer[..read].windows(MARK.len()).any(|part| part == MARK.as_bytes());
                    if marked && !lost.swap(true, Ordering::SeqCst) {
                        break;
                    }
                    if to_client.write_all(&answer[..read]).await.is_err() {
                        break;
                    }
                }
                upstream.abort();
            });
        }
    });
}

#[tokio::test]
async fn what_was_claimed_without_the_workers_hearing_of_it_is_run_once() {
    // The claim gives back parameters.
    run_once(json!({"message": MARK}), json!({})).await;
}

#[tokio::test]
async fn what_was_claimed_without_the_workers_hearing_how_to_run_it_is_run_once() {
    // How it is run is asked when it is claimed; the schema of its result is part of that.
    run_once(json!({"message": "hello"}), json!({"type": "string", "description": MARK})).await;
}

/// Runs an action with these parameters and this schema of its result by a worker that loses the first answer with the mark.
async fn run_once(parameters: Value, out_schema: Value) {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let mut connection = pool.acquire().await.unwrap();
    let pack =
        NewPack { r#ref: "lost".into(), label: "Lost".into(), version: "1.0.0".into(), ..NewPack::default() };
    let pack = PackRepository::create(&mut *connection, &pack).await.unwrap();
    let runtime = NewRuntime { r#ref: "lost.native".into(), native: true, ..NewRuntime::default() };
    RuntimeRepository::put(&mut *connection, pack.id, &runtime).await.unwrap();
    let action = NewAction { out_schema, ..NewAction::of("lost.echo", "lost.native", "echo") };
    let action = ActionRepository::create(&mut *connection, Some(pack.id), &action).await.unwrap();

    let directory = tempfile::tempdir().unwrap();
    let server: PgConnectOptions = db::connect_options(database.url(), "attune-test").unwrap();
    let socket = format!(".s.PGSQL.{}", server.get_port());
    let listener = UnixListener::bind(directory.path().join(&socket)).unwrap();
    let lost = Arc::new(AtomicBool::new(false));
    losing_proxy(listener, server.get_socket().unwrap().join(&socket), lost.clone());
    let through = server.clone().socket(directory.path());
    let limits = PoolOptions::default();
    let through =
        PgPoolOptions::new().max_connections(limits.max_connections).connect_with(through).await.unwrap();

    // A lease that does not run out here: nobody rescues the execution.
    let settings = Settings { lease: Duration::from_secs(3600), ..Settings::new("lossy", directory.path()) };
    let shutdown = CancellationToken::new();
    let worker = tokio::spawn(attune_worker::run(through, Bus::new(), settings, shutdown.clone()));
    let execution = NewExecution::of(Some(action.id), "lost.echo", parameters.clone());
    let execution = NewExecution { status: ExecutionStatus::Scheduled, ..execution };
    let execution = ExecutionRepository::create(&mut connection, execution).await.unwrap();

    let mut tick = tokio::time::interval(Duration::from_millis(10));
    let patience = tokio::time::Instant::now() + Duration::from_secs(60);
    let ended = loop {
        tick.tick().await;
        let now = ExecutionRepository::get_by_id(&mut *connection, execution.id).await.unwrap();
        if now.status.is_terminal() {
            break now;
        }
        assert!(tokio::time::Instant::now() < patience, "the execution is still {}", now.status);
    };
    assert!(lost.load(Ordering::SeqCst), "no answer was lost");
    assert_eq!((ended.status, ended.attempt), (ExecutionStatus::Completed, 1));
    assert_eq!(ended.result.as_ref(), parameters.get("message"));
    let attempts = ExecutionRepository::attempts(&mut *connection, execution.id).await.unwrap();
    assert_eq!(
        attempts.iter().map(|attempt| attempt.status).collect::<Vec<_>>(),
        [ExecutionStatus::Completed]
    );

    shutdown.cancel();
    worker.await.unwrap().unwrap();
    let worker = WorkerRepository::find_by_name(&mut *connection, "lossy").await.unwrap().unwrap();
    assert_eq!(worker.lease_expires, None, "it left in good order");
}
