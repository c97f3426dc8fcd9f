//! `attune up`: from an empty directory to a running action, stopped, started again, and killed.

use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use attune_client::Client;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Child;

use crate::support::{PATIENCE, attune, directory, password_in, sign_in};

/// A running `attune up` and what it said.
pub(crate) struct Up {
    pub(crate) process: Child,
    pub(crate) url: String,
    pub(crate) said: String,
}

impl Up {
    /// Starts and waits for the greeting.
    pub(crate) async fn start(data: &Path) -> Self {
        let mut process = attune()
            .args(["up", "--demo", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data)
            .env("ATTUNE_LOG", "error")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut said = String::new();
        while !said.contains("Ctrl-C") {
            let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap();
            said.push_str(&line.unwrap_or_else(|| panic!("ended after saying: {said}")));
            said.push('\n');
        }
        // Whatever it says later must find a reader.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let url = said.lines().find_map(|line| line.strip_prefix("Attune is up at ")).unwrap().to_owned();
        Self { process, url, said }
    }

    pub(crate) async fn interrupt(mut self) {
        kill(Pid::from_raw(self.process.id().unwrap() as i32), Signal::SIGINT).unwrap();
        let status = tokio::time::timeout(PATIENCE, self.process.wait()).await.unwrap().unwrap();
        assert!(status.success(), "{status}");
    }

    /// The demo's webhook and body, out of the command that the greeting offers.
    pub(crate) fn demo(&self) -> (String, String) {
        let command = self.said.lines().find(|line| line.trim().starts_with("curl ")).unwrap();
        let path = command.split_whitespace().find(|word| word.contains("/api/v1/webhooks/")).unwrap();
        let body = command.split(" -d ").nth(1).unwrap().trim().trim_matches('\'');
        (path.strip_prefix(&self.url).unwrap().to_owned(), body.to_owned())
    }

    /// Fires the demo rule and waits for its execution to end; gives back the execution's id.
    async fn fire(&self, client: &Client) -> i64 {
        let (path, body) = self.demo();
        let event = client.webhook(&path, &[("content-type", "application/json")], body).await.unwrap().event;
        let until = Instant::now() + PATIENCE;
        loop {
            let detail = client.event(event).await.unwrap();
            if let Some(link) = detail.enforcements.iter().flat_map(|e| &e.executions).next() {
                let execution = client.wait_for_execution(link.id, 30).await.unwrap();
                assert_eq!(execution.execution.status, "completed", "{execution:?}");
                return link.id;
            }
            assert!(Instant::now() < until, "the demo rule did not fire: {detail:?}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

/// The pid of the managed PostgreSQL, while it runs.
pub(crate) fn postmaster(data: &Path) -> Option<Pid> {
    let text = std::fs::read_to_string(data.join("postgres/postmaster.pid")).ok()?;
    let pid = Pid::from_raw(text.lines().next()?.trim().parse().ok()?);
    kill(pid, None).is_ok().then_some(pid)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_up_serves_stops_cleanly_and_recovers_from_sigkill() {
    let directory = directory();
    let data = directory.path().join("data");

    let first = Up::start(&data).await;
    let password = password_in(&first.said).expect("the first start says the password");
    let client = sign_in(&first.url, &password).await;
    let execution = first.fire(&client).await;
    let detail = client.execution(execution).await.unwrap();
    assert_eq!(detail.chain.unwrap().rule, "demo.greet");

    // A second one on the same directory is told so, and harms nothing.
    let second = attune()
        .args(["up", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(&data)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .await
        .unwrap();
    assert!(!second.status.success());
    let told = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(told.contains("already") || told.contains("another"), "{told}");

    first.interrupt().await;
    assert_eq!(postmaster(&data), None, "PostgreSQL is stopped too");

    let mut again = Up::start(&data).await;
    assert_eq!(password_in(&again.said), None, "a password is shown once");
    let client = sign_in(&again.url, &password).await;
    assert_eq!(client.execution(execution).await.unwrap().execution.status, "completed");
    let other = again.fire(&client).await;
    assert!(other > execution);

    // Killed in the middle of a run: PostgreSQL goes on alone, the next start takes it over and ends the run.
    let request =
        attune_client::types::ExecutionRequest::of("core.shell", serde_json::json!({"command": "sleep 20"}));
    let long = client.create_execution(&request).await.unwrap().id;
    let until = Instant::now() + PATIENCE;
    while client.execution(long).await.unwrap().execution.status != "running" {
        assert!(Instant::now() < until);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    again.process.kill().await.unwrap();
    let recovered = Up::start(&data).await;
    let client = sign_in(&recovered.url, &password).await;
    let detail = client.wait_for_execution(long, 30).await.unwrap();
    assert_eq!(detail.execution.status, "abandoned", "{detail:?}");
    assert!(detail.execution.error.unwrap().contains("was lost"));
    recovered.fire(&client).await;
    recovered.interrupt().await;
    assert_eq!(postmaster(&data), None);
}

#[tokio::test]
async fn test_up_says_what_is_wrong_with_its_settings() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = directory();
    let mut process = attune()
        .args(["up", "--listen", &address, "--data-dir"])
        .arg(directory.path().join("data"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = String::new();
    process.stderr.take().unwrap().read_to_string(&mut told).await.unwrap();
    assert!(!process.wait().await.unwrap().success());
    assert!(told.contains(&address) && told.contains("--listen"), "{told}");
    assert!(!directory.path().join("data/postgres").exists(), "nothing was started");

    let output = attune().args(["serve", "--role", "executor"]).output().await.unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains("DATABASE_URL"), "{told}");

    let output = attune()
        .args(["serve", "--role", "executor", "--slots", "3", "--database-url", "postgres://nowhere/x"])
        .output()
        .await
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains("no effect"), "{told}");
}
