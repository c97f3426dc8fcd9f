//! The example pack `postgres_backup` with dumps of a real PostgreSQL, restored into it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use attune_client::types::PackConfigChange;
use attune_testkit::TestDatabase;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::alertmanager::{install_example, install_example_with};
use crate::support::{PATIENCE, System, directory};

/// The newest of PostgreSQL's programs of this name: those that are on the path may be older than the server.
fn program(name: &str) -> PathBuf {
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = installed
        .filter_map(|entry| {
            let major = entry.file_name().to_str()?.parse().ok()?;
            let path = entry.path().join("bin").join(name);
            path.exists().then_some((major, path))
        })
        .collect();
    found.sort();
    found.pop().map_or_else(|| PathBuf::from(name), |(_, path)| path)
}

/// The address of a database as PostgreSQL's own programs take it.
fn server_of(database: &TestDatabase) -> String {
    let mut url = url::Url::parse(database.url()).unwrap();
    let kept: Vec<(String, String)> =
        url.query_pairs().into_owned().filter(|(name, _)| name != "statement-cache-capacity").collect();
    url.query_pairs_mut().clear().extend_pairs(kept);
    url.into()
}

async fn run(program: &Path, args: &[&str]) {
    let output = Command::new(program).args(args).output().await.unwrap();
    assert!(output.status.success(), "{}: {}", program.display(), String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_dumps_are_restored_and_looked_into() {
    let original = TestDatabase::create().await;
    sqlx::raw_sql("create table orders (id int); insert into orders select generate_series(1, 50)")
        .execute(original.pool())
        .await
        .unwrap();
    let server = server_of(&original);
    let dumps = directory();
    let path = |name: &str| dumps.path().join(name).to_str().unwrap().to_owned();
    let pg_dump = program("pg_dump");
    for (name, format) in [("custom.dump", "custom"), ("tar.tar", "tar"), ("plain.sql", "plain")] {
        let args = ["--format", format, "--table", "public.orders", "--file", &path(name), &server];
        run(&pg_dump, &args).await;
    }
    let whole = std::fs::read(path("custom.dump")).unwrap();
    std::fs::write(path("cut.dump"), &whole[..whole.len() - 40]).unwrap();
    std::fs::write(path("empty.dump"), "").unwrap();

    let system = System::start().await;
    install_example(&system, "postgres_backup").await;
    let verify = async |name: &str, at_least: u32| {
        system
            .run(
                "postgres_backup.verify",
                json!({
                    "path": path(name), "server": server,
                    "checks": [{"name": "orders", "query": "select count(*) from orders", "at_least": at_least}],
                }),
            )
            .await
    };
    for name in ["custom.dump", "tar.tar", "plain.sql"] {
        let verified = verify(name, 50).await;
        assert_eq!(verified.execution.status, "completed", "{name}: {verified:?}");
        let result = verified.execution.result.unwrap();
        assert_eq!((&result["restorable"], &result["tables"]), (&json!(true), &json!(1)), "{name}");
        assert_eq!(result["checks"][0]["value"], 50.0);
    }
    let fewer = verify("custom.dump", 51).await;
    assert_eq!(fewer.execution.status, "failed");
    assert!(fewer.stderr.contains("orders is 50, expected 51 at least"), "{fewer:?}");
    for name in ["cut.dump", "empty.dump"] {
        let broken = verify(name, 50).await;
        assert_eq!(broken.execution.status, "failed", "{name}");
        let result = broken.execution.result.unwrap_or(Value::Null);
        assert_eq!(result["restorable"], false, "{name}: {}", broken.stderr);
    }
    let left: i64 =
        sqlx::query_scalar("select count(*) from pg_database where datname like 'attune_verify_%'")
            .fetch_one(original.pool())
            .await
            .unwrap();
    assert_eq!(left, 0, "no database is left behind");

    let old = Command::new("touch").args(["-d", "3 days ago", &path("custom.dump")]).status().await.unwrap();
    assert!(old.success());
    let stale = verify("custom.dump", 50).await;
    assert!(stale.stderr.contains("hours old, expected at most 26"), "{stale:?}");
    // The rule on failed executions has told of each.
    system.wait_until_idle().await;
    system
        .wait_for_count(
            "select count(*) from attune.execution where action_ref = 'postgres_backup.tell' and status = 'completed'
                and config ->> 'text' like '%could not restore a dump%'",
            4,
        )
        .await;
}

/// The sensor of the pack, without the pack.
struct Sensor {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Sensor {
    /// Watches the directory, many times a second; a dump is finished after ten minutes.
    async fn start(directory: &Path) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let settings = json!({"directory": directory, "pattern": "*.dump", "settled": 600, "limit_hours": 2, "every": 0.02});
        let mut process = Command::new("python3")
            .arg(root.join("packs/examples/postgres_backup/sensors/dumps.py"))
            .env("PYTHONPATH", root.join("sdk/python"))
            .env("ATTUNE_PACK_CONFIG", settings.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        process.stdin.as_mut().unwrap().write_all(b"{}\n").await.unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines }
    }

    /// What it tells next: the trigger's name, the payload, the key.
    async fn next(&mut self) -> (String, Value, Option<String>) {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await.expect("it tells nothing");
        let told: Value = serde_json::from_str(&line.unwrap().expect("it has ended")).unwrap();
        let key = told["dedup_key"].as_str().map(str::to_owned);
        (told["trigger"].as_str().unwrap().to_owned(), told["payload"].clone(), key)
    }

    async fn next_written(&mut self) -> (Value, String) {
        let (trigger, payload, key) = self.next().await;
        assert_eq!(trigger, "postgres_backup.written", "{payload}");
        (payload, key.expect("a key that makes it one event"))
    }

    async fn next_overdue(&mut self) -> Value {
        let (trigger, payload, key) = self.next().await;
        assert_eq!((trigger.as_str(), key), ("postgres_backup.overdue", None), "{payload}");
        payload
    }

    async fn end(mut self) {
        drop(self.process.stdin.take());
        let status = tokio::time::timeout(PATIENCE, self.process.wait()).await.expect("it does not end");
        assert!(status.unwrap().success());
        assert_eq!(self.lines.next_line().await.unwrap(), None, "nothing was told beyond");
    }
}

/// A dump that was last written so many minutes ago.
fn dump(path: &Path, minutes: u64, content: &str) {
    // Made elsewhere, so that it is never seen with another age.
    let made = path.with_extension("part");
    std::fs::write(&made, content).unwrap();
    let file = std::fs::File::options().write(true).open(&made).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(60 * minutes)).unwrap();
    std::fs::rename(&made, path).unwrap();
}

#[tokio::test]
async fn test_the_sensor_tells_of_finished_dumps_and_of_the_lack_of_a_fresh_one() {
    let dumps = tempfile::tempdir().unwrap();
    let path = |name: &str| dumps.path().join(name);
    let mut sensor = Sensor::start(dumps.path()).await;
    let none = json!({"directory": dumps.path(), "newest": null, "age_hours": null, "limit_hours": 2});
    assert_eq!(sensor.next_overdue().await, none);

    dump(&path("a.dump"), 60, "a");
    assert_eq!(sensor.next_written().await.0, json!({"path": path("a.dump"), "bytes": 1}));
    // What was just written may still grow: it is passed over, though it is the newest. Other names are no dumps.
    dump(&path("growing.dump"), 0, "half");
    dump(&path("b.txt"), 20, "b");
    dump(&path("c.dump"), 30, "cc");
    assert_eq!(sensor.next_written().await.0, json!({"path": path("c.dump"), "bytes": 2}));
    dump(&path("growing.dump"), 15, "whole");
    let (grown, key) = sensor.next_written().await;
    assert_eq!(grown, json!({"path": path("growing.dump"), "bytes": 5}));
    sensor.end().await;

    // One that starts again tells of the newest again, as the same event, and of nothing else.
    let mut sensor = Sensor::start(dumps.path()).await;
    assert_eq!(sensor.next_written().await, (grown.clone(), key));

    for name in ["a.dump", "c.dump"] {
        std::fs::remove_file(path(name)).unwrap();
    }
    dump(&path("growing.dump"), 6 * 60, "whole");
    let (_, older) = sensor.next_written().await;
    let overdue = sensor.next_overdue().await;
    assert_eq!((&overdue["newest"], &overdue["age_hours"]), (&grown["path"], &json!(6.0)));
    // It is told once, and again when there was a fresh one in between.
    dump(&path("d.dump"), 11, "d");
    assert_eq!(sensor.next_written().await.0["path"], json!(path("d.dump")));
    std::fs::remove_file(path("d.dump")).unwrap();
    assert_eq!(sensor.next_written().await, (grown, older), "known already");
    assert_eq!(sensor.next_overdue().await["age_hours"], 6.0);
    sensor.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_a_new_dump_is_found_restored_and_told_of_by_the_installed_pack() {
    let original = TestDatabase::create().await;
    sqlx::raw_sql("create table orders (id int); insert into orders select generate_series(1, 50)")
        .execute(original.pool())
        .await
        .unwrap();
    let server = server_of(&original);
    let dumps = directory();
    let system = System::start().await;
    let settings = json!({
        "directory": dumps.path(), "settled": 0, "every": 0.1, "server": server,
        "checks": [{"name": "orders", "query": "select count(*) from orders", "at_least": 50}],
    });
    install_example_with(&system, "postgres_backup", &settings).await;
    let told = "select count(*) from attune.execution where action_ref = 'postgres_backup.tell' and status = 'completed'
                    and config ->> 'text' like 'no dump in %; the newest is not there'";
    system.wait_for_count(told, 1).await;

    let part = dumps.path().join("orders.part");
    let args =
        ["--format", "custom", "--table", "public.orders", "--file", part.to_str().unwrap(), server.as_str()];
    run(&program("pg_dump"), &args).await;
    std::fs::rename(&part, dumps.path().join("orders.dump")).unwrap();
    let verified = "select count(*) from attune.execution where action_ref = 'postgres_backup.verify' and finished is not null";
    system.wait_for_count(verified, 1).await;
    let (status, result): (String, Value) = sqlx::query_as(
        "select status::text, result from attune.execution where action_ref = 'postgres_backup.verify'",
    )
    .fetch_one(system.database.pool())
    .await
    .unwrap();
    assert_eq!((status.as_str(), &result["restorable"]), ("completed", &json!(true)), "{result}");
    assert_eq!((&result["checks"][0]["value"], &result["tables"]), (&json!(50.0), &json!(1)), "{result}");

    // Another limit starts the sensor anew: it tells of the dump again, which makes no second event, and then that it is too old.
    let change = PackConfigChange {
        set: [("limit_hours".to_owned(), json!(0.000_001))].into_iter().collect(),
        unset: Vec::new(),
    };
    system.client.change_pack_config("postgres_backup", &change).await.unwrap();
    let overdue = "select count(*) from attune.execution where action_ref = 'postgres_backup.tell' and status = 'completed'
                       and config ->> 'text' like '%; the newest is %/orders.dump'";
    system.wait_for_count(overdue, 1).await;
    system.wait_until_idle().await;
    let written = "select count(*) from attune.event where trigger_ref = 'postgres_backup.written'";
    assert_eq!((system.count(written).await, system.count(verified).await), (1, 1));
}
