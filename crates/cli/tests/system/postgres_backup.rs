//! The example pack `postgres_backup` with dumps of a real PostgreSQL, restored into it.

use std::path::{Path, PathBuf};

use attune_testkit::TestDatabase;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::alertmanager::install_example;
use crate::support::{System, directory};

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
