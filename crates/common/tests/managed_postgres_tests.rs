//! The managed PostgreSQL through everything that may happen to it. Needs the PostgreSQL programs, but no server.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Weak};
use std::time::Duration;

use attune_common::managed_postgres::{ManagedPostgres, ManagedPostgresError, Settings};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

fn data_dir() -> TempDir {
    attune_testkit::scratch_directory("attune-test-").unwrap()
}

fn settings(dir: &Path) -> Settings {
    Settings { durable: false, ..Settings::new(dir) }
}

/// A data directory with a cluster that was used and stopped.
struct UsedDataDir {
    dir: TempDir,
    _template: Arc<TempDir>,
}

impl UsedDataDir {
    fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// Copies a cluster, because making one takes most of a second. The original lives while any test uses a copy.
async fn used_data_dir() -> UsedDataDir {
    static TEMPLATE: Mutex<Weak<TempDir>> = Mutex::const_new(Weak::new());
    let mut current = TEMPLATE.lock().await;
    let template = match current.upgrade() {
        Some(template) => template,
        None => {
            let dir = data_dir();
            let postgres = ManagedPostgres::start(&settings(dir.path())).await.unwrap();
            execute(&postgres, "create table note (text text); insert into note values ('kept')").await;
            postgres.stop().await.unwrap();
            Arc::new(dir)
        }
    };
    *current = Arc::downgrade(&template);
    drop(current);
    let dir = data_dir();
    let done =
        Command::new("cp").arg("-a").arg(template.path().join("postgres")).arg(dir.path()).status().unwrap();
    assert!(done.success());
    UsedDataDir { dir, _template: template }
}

async fn connect(postgres: &ManagedPostgres) -> Result<PgConnection, sqlx::Error> {
    PgConnection::connect(&postgres.url()).await
}

async fn execute(postgres: &ManagedPostgres, sql: &'static str) {
    sqlx::raw_sql(sql).execute(&mut connect(postgres).await.unwrap()).await.unwrap();
}

async fn notes(postgres: &ManagedPostgres) -> Vec<String> {
    let mut connection = connect(postgres).await.unwrap();
    sqlx::query_scalar("select text from note order by text").fetch_all(&mut connection).await.unwrap()
}

fn postmaster(postgres: &ManagedPostgres) -> Pid {
    Pid::from_raw(postgres.pid().unwrap())
}

fn is_gone(pid: Pid) -> bool {
    kill(pid, None) == Err(Errno::ESRCH)
}

/// Waits for something that happens in another process.
async fn eventually(what: &str, mut happened: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !happened().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting)
        .await
        .unwrap_or_else(|_| panic!("{what} did not happen"));
}

#[tokio::test]
async fn test_fresh_start_makes_a_private_cluster_and_stop_leaves_nothing_running() {
    let dir = data_dir();
    // What an initdb that was killed leaves behind.
    let incomplete = dir.path().join("postgres.incomplete-x1");
    std::fs::create_dir(&incomplete).unwrap();
    std::fs::write(incomplete.join("PG_VERSION"), "15\n").unwrap();

    let postgres = ManagedPostgres::start(&settings(dir.path())).await.unwrap();

    assert!(!incomplete.exists());
    let mut connection = connect(&postgres).await.unwrap();
    let setting = async |connection: &mut PgConnection, name: &'static str| -> String {
        sqlx::query_scalar("select current_setting($1)").bind(name).fetch_one(connection).await.unwrap()
    };
    assert_eq!(setting(&mut connection, "listen_addresses").await, "");
    assert_eq!(setting(&mut connection, "server_encoding").await, "UTF8");
    assert_eq!(setting(&mut connection, "lc_collate").await, "C");
    assert_eq!(setting(&mut connection, "max_connections").await, "200");
    assert_eq!(setting(&mut connection, "fsync").await, "off");
    for name in ["postgres", "socket"] {
        let mode = std::fs::metadata(dir.path().join(name)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o700, "{name}");
    }

    let pid = postmaster(&postgres);
    postgres.stop().await.unwrap();
    assert!(is_gone(pid));
    assert_eq!(postgres.pid(), None);
    assert!(connect(&postgres).await.is_err());
    assert!(!dir.path().join("postgres/postmaster.pid").exists());
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn test_second_start_finds_the_data_and_is_durable_by_default() {
    let dir = used_data_dir().await;
    let postgres = ManagedPostgres::start(&Settings::new(dir.path())).await.unwrap();
    assert_eq!(notes(&postgres).await, ["kept"]);
    let mut connection = connect(&postgres).await.unwrap();
    for name in ["fsync", "synchronous_commit", "full_page_writes"] {
        let value: String = sqlx::query_scalar("select current_setting($1)")
            .bind(name)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert_eq!(value, "on", "{name}");
    }
    postgres.stop().await.unwrap();
    drop(postgres);

    // A server that cannot start says what its log says.
    let configuration = dir.path().join("postgres/postgresql.conf");
    let text = std::fs::read_to_string(&configuration).unwrap();
    assert!(text.contains("Written by Attune"), "{text}");
    std::fs::write(&configuration, format!("{text}\nshared_buffers = nonsense\n")).unwrap();
    let error = ManagedPostgres::start(&settings(dir.path())).await.unwrap_err();
    assert!(matches!(error, ManagedPostgresError::Exited { .. }), "{error}");
    assert!(error.to_string().contains("shared_buffers"), "{error}");
}

#[tokio::test]
async fn test_killed_server_is_started_again() {
    let dir = used_data_dir().await;
    let postgres = Arc::new(ManagedPostgres::start(&settings(dir.path())).await.unwrap());
    let shutdown = CancellationToken::new();
    let supervisor = tokio::spawn({
        let (postgres, shutdown) = (postgres.clone(), shutdown.clone());
        async move { postgres.supervise(shutdown).await }
    });
    // A session that is open when the server is killed, as there always are some.
    let mut session = connect(&postgres).await.unwrap();
    let url = postgres.url();
    let first = postmaster(&postgres);

    kill(first, Signal::SIGKILL).unwrap();

    eventually("a restart", async || {
        postgres.pid() != Some(first.as_raw()) && connect(&postgres).await.is_ok()
    })
    .await;
    assert!(session.ping().await.is_err());
    assert_eq!(postgres.url(), url);
    assert_eq!(notes(&postgres).await, ["kept"]);
    shutdown.cancel();
    supervisor.await.unwrap();
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn test_server_left_running_is_adopted_and_supervised() {
    let dir = used_data_dir().await;
    let first = ManagedPostgres::start(&settings(dir.path())).await.unwrap();
    execute(&first, "insert into note values ('written before')").await;
    let pid = postmaster(&first);

    // While the first lives, it is the only one.
    let error = ManagedPostgres::start(&settings(dir.path())).await.unwrap_err();
    assert!(matches!(error, ManagedPostgresError::Locked { .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains(&format!("(process {})", std::process::id())), "{message}");

    // As when Attune is killed: the lock is gone, the server is not.
    drop(first);
    let second = Arc::new(ManagedPostgres::start(&settings(dir.path())).await.unwrap());
    assert_eq!(postmaster(&second), pid);
    assert_eq!(notes(&second).await, ["kept", "written before"]);

    let supervisor = tokio::spawn({
        let second = second.clone();
        async move { second.supervise(CancellationToken::new()).await }
    });
    kill(pid, Signal::SIGKILL).unwrap();
    eventually("a restart", async || second.pid() != Some(pid.as_raw()) && connect(&second).await.is_ok())
        .await;
    let pid = postmaster(&second);
    second.stop().await.unwrap();
    assert!(is_gone(pid));
    supervisor.await.unwrap();
    assert_eq!(second.pid(), None);
}

#[tokio::test]
async fn test_start_after_everything_was_killed_recovers() {
    let dir = used_data_dir().await;
    let first = ManagedPostgres::start(&settings(dir.path())).await.unwrap();
    execute(&first, "set synchronous_commit = on; insert into note values ('committed')").await;
    let pid = postmaster(&first);
    kill(pid, Signal::SIGKILL).unwrap();
    drop(first);
    eventually("the end of the server", async || is_gone(pid)).await;
    let pid_file = dir.path().join("postgres/postmaster.pid");
    assert!(pid_file.exists());

    // The id is another process's by now, of the account that PostgreSQL runs under.
    let mut stranger = Command::new("sleep");
    let owner = std::fs::metadata(dir.path().join("postgres")).unwrap();
    if nix::unistd::geteuid().is_root() {
        use std::os::unix::process::CommandExt;
        stranger.uid(owner.uid()).gid(owner.gid());
    }
    let mut stranger = stranger.arg("600").stdout(Stdio::null()).spawn().unwrap();
    let text = std::fs::read_to_string(&pid_file).unwrap();
    let rest = text.split_once('\n').unwrap().1;
    std::fs::write(&pid_file, format!("{}\n{rest}", stranger.id())).unwrap();

    let second = ManagedPostgres::start(&settings(dir.path())).await.unwrap();

    assert_eq!(notes(&second).await, ["committed", "kept"]);
    assert!(stranger.try_wait().unwrap().is_none(), "the stranger must be left alone");
    second.stop().await.unwrap();
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

/// A directory where a cluster is expected, with one file.
fn occupied(name: &str, content: &str) -> (TempDir, PathBuf) {
    let dir = data_dir();
    let cluster = dir.path().join("postgres");
    std::fs::create_dir(&cluster).unwrap();
    let file = cluster.join(name);
    std::fs::write(&file, content).unwrap();
    if nix::unistd::geteuid().is_root() {
        let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
        std::os::unix::fs::chown(&cluster, Some(nobody.uid.as_raw()), None).unwrap();
    }
    (dir, file)
}

#[tokio::test]
async fn test_cluster_of_a_version_that_is_not_installed_is_refused() {
    let (dir, version) = occupied("PG_VERSION", "9\n");
    let error = ManagedPostgres::start(&settings(dir.path())).await.unwrap_err();
    assert!(matches!(error, ManagedPostgresError::VersionMismatch { cluster: 9, .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&version).unwrap(), "9\n");
}

#[tokio::test]
async fn test_directory_that_is_not_a_cluster_is_left_alone() {
    let (dir, file) = occupied("notes.txt", "mine");
    let error = ManagedPostgres::start(&settings(dir.path())).await.unwrap_err();
    assert!(matches!(error, ManagedPostgresError::NotACluster { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
}

#[tokio::test]
async fn test_data_directory_with_a_long_and_odd_name_works() {
    let dir = used_data_dir().await;
    let odd = dir.path().join(format!("a \"b\", c%+é/{}", "long".repeat(25)));
    std::fs::create_dir_all(&odd).unwrap();
    for opened in [odd.as_path(), odd.parent().unwrap()] {
        std::fs::set_permissions(opened, Permissions::from_mode(0o711)).unwrap();
    }
    let short = dir.path().join("a \"b\", c%+é");
    for data_dir in [odd.as_path(), short.as_path()] {
        // The cluster moves along: it holds no path of its own.
        let from = if data_dir == odd { dir.path().join("postgres") } else { odd.join("postgres") };
        std::fs::rename(from, data_dir.join("postgres")).unwrap();
        let postgres = ManagedPostgres::start(&settings(data_dir)).await.unwrap();
        assert_eq!(notes(&postgres).await, ["kept"]);
        postgres.stop().await.unwrap();
        let url = postgres.url();
        assert_eq!(url.contains("/socket&"), data_dir == short, "{url}");
        if data_dir == odd {
            let socket_dir = url.split(['=', '&']).nth(1).unwrap();
            std::fs::remove_dir(socket_dir).unwrap();
        }
    }
}
