//! The program `with-postgres`, and the databases that tests get.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};

use attune_testkit::{TestDatabase, transaction};
use sqlx::Connection;
use tempfile::TempDir;

/// Runs the program with a temporary directory of its own: others that run at the same time clean up as well.
struct Bench {
    directory: TempDir,
}

impl Bench {
    fn new() -> Self {
        let directory = attune_testkit::scratch_directory("attune-test-bench-").unwrap();
        Self { directory }
    }

    fn run(&self, command: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_with-postgres"))
            .args(command)
            .env("TMPDIR", self.directory.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn is_empty(&self) -> bool {
        std::fs::read_dir(self.directory.path()).unwrap().next().is_none()
    }
}

#[test]
fn test_with_postgres_passes_the_exit_code_on_and_leaves_nothing() {
    let bench = Bench::new();
    let output = bench.run(&["--", "sh", "-c", "echo $ATTUNE_TEST_DATABASE_URL; exit 7"]);
    assert_eq!(output.status.code(), Some(7));
    let url = String::from_utf8(output.stdout).unwrap();
    assert!(url.contains(bench.directory.path().to_str().unwrap()), "{url}");
    assert!(bench.is_empty());
}

#[test]
fn test_with_postgres_cleans_up_when_it_is_told_to_end() {
    let bench = Bench::new();
    // The command tells the one who runs it.
    let output = bench.run(&["sh", "-c", "kill -TERM $PPID; exec sleep 600"]);
    assert_eq!(output.status.code(), Some(128 + 15));
    assert!(bench.is_empty());
}

#[test]
fn test_with_postgres_cleans_up_after_itself_and_after_one_that_was_killed() {
    let bench = Bench::new();
    let output = bench.run(&["sh", "-c", "kill -KILL $PPID"]);
    assert_eq!(output.status.signal(), Some(9));
    assert!(!bench.is_empty());

    let output = bench.run(&["/no/such/program"]);

    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("cannot run /no/such/program"), "{message}");
    assert!(bench.is_empty());
}

async fn events(connection: &mut sqlx::PgConnection) -> i64 {
    sqlx::query_scalar("select count(*) from attune.event").fetch_one(connection).await.unwrap()
}

const INSERT: &str = "insert into attune.event (batch, trigger_ref) values (0, 'test.testkit')";

#[tokio::test]
async fn test_transactions_see_nothing_of_each_other_and_leave_nothing() {
    let mut one = transaction().await;
    let mut other = transaction().await;
    sqlx::query(INSERT).execute(&mut *one).await.unwrap();
    assert_eq!(events(&mut one).await, 1);
    assert_eq!(events(&mut other).await, 0);
    drop(one);
    let mut next = transaction().await;
    assert_eq!(events(&mut next).await, 0);
}

#[tokio::test]
async fn test_transaction_goes_on_after_an_error_within_a_savepoint() {
    let mut tx = transaction().await;
    sqlx::query(INSERT).execute(&mut *tx).await.unwrap();
    let mut savepoint = tx.begin().await.unwrap();
    sqlx::query("select 1/0").execute(&mut *savepoint).await.unwrap_err();
    savepoint.rollback().await.unwrap();
    assert_eq!(events(&mut tx).await, 1);
}

#[tokio::test]
async fn test_databases_are_separate_and_migrated() {
    let (one, other) = tokio::join!(TestDatabase::create(), TestDatabase::create());
    sqlx::query(INSERT).execute(one.pool()).await.unwrap();
    assert_eq!(events(&mut one.pool().acquire().await.unwrap()).await, 1);
    assert_eq!(events(&mut other.pool().acquire().await.unwrap()).await, 0);
    // For another process, the URL leads to the same data.
    let mut connection = sqlx::PgConnection::connect(one.url()).await.unwrap();
    assert_eq!(events(&mut connection).await, 1);
}

#[tokio::test]
async fn test_database_is_dropped_with_its_value() {
    let keeper = TestDatabase::create().await;
    let database = TestDatabase::create().await;
    let name: String =
        sqlx::query_scalar("select current_database()").fetch_one(database.pool()).await.unwrap();
    drop(database);
    let gone = async {
        while sqlx::query_scalar::<_, bool>("select exists (select from pg_database where datname = $1)")
            .bind(&name)
            .fetch_one(keeper.pool())
            .await
            .unwrap()
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), gone).await.expect("the database stays");
}
