//! The database is not there when a process starts: that waits and says so, and serves as soon as it can. A database that
//! will not have it is another matter.

use std::net::TcpListener;
use std::process::Stdio;

use attune_client::types::ExecutionRequest;
use attune_common::managed_postgres::{ManagedPostgres, Settings};
use attune_testkit::TestDatabase;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader, Lines};
use tokio::process::{Child, Command};

use crate::support::{PATIENCE, attune, directory, migrate, sign_in};

/// Reads until a line has these words.
async fn line_with<R: AsyncRead + Unpin>(lines: &mut Lines<BufReader<R>>, words: &str) -> String {
    let reading = async {
        let mut said = String::new();
        loop {
            let line = lines.next_line().await.unwrap();
            let line = line.unwrap_or_else(|| panic!("ended without {words:?} after: {said}"));
            if line.contains(words) {
                return line;
            }
            said.push_str(&line);
            said.push('\n');
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap_or_else(|_| panic!("nobody says {words:?}"))
}

fn serve(roles: &str, url: &str) -> Command {
    let mut command = attune();
    command.args(["serve", "--role", roles, "--database-url", url]).env("ATTUNE_LOG", "info");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn terminate(mut process: Child) {
    kill(Pid::from_raw(process.id().unwrap() as i32), Signal::SIGTERM).unwrap();
    let status = tokio::time::timeout(PATIENCE, process.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_a_process_that_starts_before_its_database_waits_and_then_serves() {
    let directory = directory();
    let settings = Settings { durable: false, ..Settings::new(directory.path().join("database")) };
    let postgres = ManagedPostgres::start(&settings).await.unwrap();
    let url = postgres.url();
    let password = migrate(&url).await;
    postgres.stop().await.unwrap();
    drop(postgres);

    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut process = serve("api,executor,worker", &url)
        .args(["--worker-name", "late", "--listen", &address.to_string(), "--data-dir"])
        .arg(directory.path().join("data"))
        .spawn()
        .unwrap();
    let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
    let mut said = BufReader::new(process.stdout.take().unwrap()).lines();
    let waiting = line_with(&mut log, "the database is away; waiting for it").await;
    assert!(waiting.contains("No such file or directory"), "it says what it met: {waiting}");

    let base = format!("http://{address}");
    drop(rustls::crypto::ring::default_provider().install_default());
    let http = reqwest::Client::new();
    let healthy = http.get(format!("{base}/healthz")).send().await.unwrap();
    assert_eq!(healthy.status(), 200);
    let ready = http.get(format!("{base}/readyz")).send().await.unwrap();
    assert_eq!(ready.status(), 503);
    let hook = http.post(format!("{base}/api/v1/webhooks/anything")).body("{}").send().await.unwrap();
    assert_eq!((hook.status().as_u16(), hook.headers()["retry-after"].to_str().unwrap()), (503, "1"));
    let problem: serde_json::Value = hook.json().await.unwrap();
    assert_eq!(problem["type"], "/problems/unavailable", "{problem}");

    let postgres = ManagedPostgres::start(&settings).await.unwrap();
    assert_eq!(line_with(&mut said, "Attune listens at").await, format!("Attune listens at {base}"));
    line_with(&mut log, "the database is there").await;
    // Whatever it says later must find a reader.
    tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
    let ready = http.get(format!("{base}/readyz")).send().await.unwrap();
    assert_eq!(ready.status(), 200);
    let client = sign_in(&base, &password).await;
    let started = client.create_execution(&ExecutionRequest::of("core.noop", json!({}))).await.unwrap();
    let ended = client.wait_for_execution(started.id, 60).await.unwrap();
    assert_eq!(ended.execution.status, "completed", "{ended:?}");
    terminate(process).await;
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn test_a_process_that_waits_for_its_database_can_be_stopped() {
    let directory = directory();
    let url = format!("postgres://attune@localhost/attune?host={}", directory.path().display());
    let mut process = serve("executor", &url).spawn().unwrap();
    let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
    line_with(&mut log, "the database is away; waiting for it").await;
    tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
    terminate(process).await;
}

#[tokio::test]
async fn test_a_database_that_does_not_exist_ends_the_start_at_once() {
    let database = TestDatabase::create().await;
    let mut url = url::Url::parse(database.url()).unwrap();
    url.set_path("/nowhere");
    let ended = serve("executor", url.as_str()).output();
    let output = tokio::time::timeout(PATIENCE, ended).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot connect to the database"), "{said}");
    assert!(said.contains("\"nowhere\" does not exist"), "{said}");
    assert!(!said.contains("waiting for it"), "{said}");
}
