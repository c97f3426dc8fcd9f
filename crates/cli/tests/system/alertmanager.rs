//! The example pack `alertmanager` with Prometheus' Alertmanager, which sends it alerts and gets silences from it.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::support::{PATIENCE, System, attune, directory};

/// As Debian calls it, and as others do.
const PROGRAMS: [&str; 2] = ["prometheus-alertmanager", "alertmanager"];

struct Alertmanager {
    url: String,
    http: reqwest::Client,
    _process: Child,
    _directory: tempfile::TempDir,
}

impl Alertmanager {
    /// One that sends everything to this webhook at once.
    async fn start(webhook: &str) -> Self {
        let directory = directory();
        let config = directory.path().join("alertmanager.yml");
        let text = format!(
            "route: {{receiver: attune, group_by: [alertname], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}\n\
             receivers:\n  - name: attune\n    webhook_configs: [{{url: '{webhook}', send_resolved: true}}]\n"
        );
        std::fs::write(&config, text).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("http://127.0.0.1:{port}");
        let process = PROGRAMS
            .iter()
            .find_map(|program| {
                let started = Command::new(program)
                    .arg(format!("--config.file={}", config.display()))
                    .arg(format!("--storage.path={}", directory.path().join("data").display()))
                    .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                    .arg(format!("--web.external-url={url}"))
                    .arg("--cluster.listen-address=")
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .kill_on_drop(true)
                    .spawn();
                started.ok()
            })
            .expect("Alertmanager is missing: run ./scripts/test, which installs it");
        let alertmanager =
            Self { url, http: reqwest::Client::new(), _process: process, _directory: directory };
        let until = Instant::now() + PATIENCE;
        while alertmanager.get("/api/v2/status").await.is_none() {
            assert!(Instant::now() < until, "Alertmanager does not answer");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        alertmanager
    }

    async fn get(&self, path: &str) -> Option<Value> {
        let answer = self.http.get(format!("{}{path}", self.url)).send().await.ok()?;
        answer.json().await.ok()
    }

    async fn post_alerts(&self, alerts: &Value) {
        let answer = self.http.post(format!("{}/api/v2/alerts", self.url)).json(alerts).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }
}

fn files(pack: &Path) -> Vec<(String, String)> {
    fn collect(directory: &Path, root: &Path, files: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(directory).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                collect(&path, root, files);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                files.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut files = Vec::new();
    collect(pack, pack, &mut files);
    files
}

/// Installs one of the example packs; gives back the path of its webhook, if it has one.
pub(crate) async fn install_example(system: &System, name: &str) -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packs/examples").join(name);
    let files = files(&root);
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let installed = system.install(&files).await;
    installed.webhooks.first().map(|webhook| webhook.path.clone())
}

/// Installs one of the example packs with these settings, as its README says.
pub(crate) async fn install_example_with(system: &System, name: &str, settings: &Value) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packs/examples").join(name);
    let file = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
    std::fs::write(file.path(), settings.to_string()).unwrap();
    let mut command = attune();
    command.args(["pack", "install"]).arg(root).arg("--config").arg(file.path());
    command.env("ATTUNE_URL", system.client.base().as_str()).env("ATTUNE_TOKEN", system.token().await);
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_alerts_arrive_and_silences_are_made() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let system = System::start().await;
    let path = install_example(&system, "alertmanager").await.unwrap();
    let base = system.client.base().to_string();
    let alertmanager = Alertmanager::start(&format!("{}{path}", base.trim_end_matches('/'))).await;

    let alert = |severity: &str, name: &str, ends: Option<&str>| {
        let labels = json!({"alertname": name, "severity": severity, "instance": "db1"});
        let mut alert = json!({"labels": labels, "annotations": {"summary": "/var is full"}});
        if let Some(ends) = ends {
            alert["startsAt"] = json!("2026-01-01T00:00:00Z");
            alert["endsAt"] = json!(ends);
        }
        json!([alert])
    };
    alertmanager.post_alerts(&alert("critical", "DiskFull", None)).await;
    alertmanager.post_alerts(&alert("warning", "Slow", None)).await;
    system
        .wait_for_count(
            "select count(*) from attune.event where trigger_ref = 'alertmanager.notification'",
            2,
        )
        .await;
    system.wait_until_idle().await;
    let told = "select count(*) from attune.execution where result #>> '{}' like 'FIRING DiskFull (1): /var is full http%'";
    assert_eq!(system.count(told).await, 1, "the critical one is told, the warning is not");

    alertmanager.post_alerts(&alert("critical", "DiskFull", Some("2026-01-01T00:01:00Z"))).await;
    let told = "select count(*) from attune.execution where result #>> '{}' like 'RESOLVED DiskFull http%'";
    system.wait_for_count(told, 1).await;

    let parameters = json!({
        "url": alertmanager.url, "labels": {"alertname": "Slow"}, "hours": 1, "comment": "being looked at",
    });
    let made = system.run("alertmanager.silence", parameters.clone()).await.execution;
    assert_eq!(made.status, "completed", "{made:?}");
    let silences = alertmanager.get("/api/v2/silences").await.unwrap();
    let silence = &silences.as_array().unwrap()[0];
    assert_eq!(silence["id"], made.result.unwrap()["silence"]);
    assert_eq!(
        (&silence["comment"], &silence["status"]["state"]),
        (&json!("being looked at"), &json!("active"))
    );
    let alerts = alertmanager.get("/api/v2/alerts?silenced=true&active=false").await.unwrap();
    assert_eq!(alerts[0]["labels"]["alertname"], "Slow", "{alerts}");

    let mut refused = parameters;
    refused["labels"] = json!({"not a label": "x"});
    let refused = system.run("alertmanager.silence", refused).await;
    assert_eq!(refused.execution.status, "failed");
    assert!(refused.stderr.contains("Alertmanager refuses the silence with 400"), "{refused:?}");
}
