//! A database that goes away costs no event.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::helpers::{Gate, Log, Role, STAY, World};

#[tokio::test]
async fn test_what_was_reported_while_the_database_is_away_is_stored_once_it_is_back() {
    let world = World::create().await;
    let log = Log::keep();
    let gate = Gate::make(&world, "gate");
    let script = format!(
        "[ -e started ] && {{ : ; {STAY} }}
         : >started
         echo '{{\"trigger\": \"ops.seen\", \"payload\": {{\"n\": 1}}}}'
         read -r go <{}
         echo '{{\"trigger\": \"ops.seen\", \"payload\": {{\"n\": 2}}}}'
         {STAY}",
        gate.path().display()
    );
    world.sensor("watch", &script).await;
    let role = Role::start(&world);
    world.wait_for_events(1).await;

    let database: String =
        sqlx::query_scalar("select current_database()").fetch_one(world.pool()).await.unwrap();
    let options = (*world.pool().connect_options()).clone().database("postgres");
    let mut admin = PgConnection::connect_with(&options).await.unwrap();
    let allow = async |admin: &mut PgConnection, allowed: bool| {
        let statement = format!("alter database \"{database}\" allow_connections {allowed}");
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(admin).await.unwrap();
    };
    allow(&mut admin, false).await;
    sqlx::query("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1")
        .bind(&database)
        .execute(&mut admin)
        .await
        .unwrap();
    gate.open().await;
    log.wait_for(&["WARN", "sensor=\"ops.watch\"", "events of a sensor wait to be stored"]).await;
    allow(&mut admin, true).await;
    let payloads = world.wait_for_payloads(2).await;
    assert_eq!(payloads, [json!({"n": 1}), json!({"n": 2})]);
    role.stop().await;
    assert_eq!(world.events().await.len(), 2);
}

/// A way to the server that breaks once between a commit and the answer to it.
struct BreakingLine {
    directory: TempDir,
    armed: Arc<AtomicBool>,
}

impl BreakingLine {
    fn to(server: &PgConnectOptions) -> Self {
        let name = format!(".s.PGSQL.{}", server.get_port());
        let place =
            server.get_socket().cloned().unwrap_or_else(|| PathBuf::from(server.get_host())).join(&name);
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join(&name)).unwrap();
        let armed = Arc::new(AtomicBool::new(false));
        let arm = armed.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = UnixStream::connect(&place).await.unwrap();
                tokio::spawn(Self::carry(client, server, arm.clone()));
            }
        });
        Self { directory, armed }
    }

    async fn carry(client: UnixStream, server: UnixStream, armed: Arc<AtomicBool>) {
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let breaks = AtomicBool::new(false);
        let there = async {
            let mut buffer = vec![0; 65536];
            while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
                let commits = buffer[..length].windows(7).any(|bytes| bytes == b"COMMIT\0");
                if commits && armed.swap(false, Ordering::Relaxed) {
                    breaks.store(true, Ordering::Relaxed);
                }
                if to_server.write_all(&buffer[..length]).await.is_err() {
                    break;
                }
            }
        };
        let back = async {
            let mut buffer = vec![0; 65536];
            while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
                if breaks.load(Ordering::Relaxed) || to_client.write_all(&buffer[..length]).await.is_err() {
                    break;
                }
            }
        };
        tokio::select! {
            () = there => {}
            () = back => {}
        }
    }
}

#[tokio::test]
async fn test_an_event_is_stored_once_when_the_connection_breaks_in_the_commit() {
    let world = World::create().await;
    let log = Log::keep();
    let gate = Gate::make(&world, "gate");
    let script = format!(
        "read -r go <{}\necho '{{\"trigger\": \"ops.seen\", \"payload\": {{\"n\": 1}}}}'\nread -r go <{0}\n\
         echo '{{\"trigger\": \"ops.seen\", \"payload\": {{\"n\": 2}}}}'\n{STAY}",
        gate.path().display()
    );
    world.sensor("watch", &script).await;
    let options = (*world.pool().connect_options()).clone();
    let line = BreakingLine::to(&options);
    let pool = PgPoolOptions::new().connect_with(options.socket(line.directory.path())).await.unwrap();
    let role = Role::start_with(pool.clone());
    line.armed.store(true, Ordering::Relaxed);
    gate.open().await;
    log.wait_for(&["WARN", "sensor=\"ops.watch\"", "events of a sensor wait to be stored"]).await;
    assert!(!line.armed.load(Ordering::Relaxed), "the commit was cut off");
    gate.open().await;
    assert_eq!(world.wait_for_payloads(2).await, [json!({"n": 1}), json!({"n": 2})]);
    role.stop().await;
    pool.close().await;
}
