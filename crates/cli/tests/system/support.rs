//! A running Attune: `attune migrate`, then `attune serve` with every role, against a database of its own.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use attune_client::Client;
use attune_client::types::{ExecutionView, LoginRequest, PackInstalled};
use attune_testkit::TestDatabase;
use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The binary under test, without anything of the caller's environment that it would read.
pub(crate) fn attune() -> Command {
    cleaned(Command::new(env!("CARGO_BIN_EXE_attune")))
}

/// The same where nobody else sees its mounts, after this script.
fn attune_after(script: &str) -> Command {
    let mut command = own_mounts();
    command.args([
        "sh",
        "-c",
        &format!("set -eu; {script}; exec \"$0\" \"$@\""),
        env!("CARGO_BIN_EXE_attune"),
    ]);
    cleaned(command)
}

/// What follows runs with mounts of its own. An ordinary account is root in a namespace of its own.
pub(crate) fn own_mounts() -> Command {
    let mut command = Command::new("unshare");
    command.arg(if nix::unistd::geteuid().is_root() { "-m" } else { "-rm" });
    command
}

/// Why no file system can be mounted here; None where one can.
pub(crate) async fn cannot_mount() -> Option<String> {
    let mount = tempfile::tempdir().unwrap();
    let tried = own_mounts().args(["mount", "-t", "tmpfs", "tmpfs"]).arg(mount.path()).output().await;
    match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => Some(error.to_string()),
    }
}

/// Mounts a file system of 16 MB as the directory of the worker.
pub(crate) const SMALL_DISK: &str =
    "mkdir -p \"$data/worker\"; mount -t tmpfs -o size=16m tmpfs \"$data/worker\"";

fn cleaned(mut command: Command) -> Command {
    for variable in attune_common::environment::VARIABLES {
        command.env_remove(variable.name);
    }
    command.kill_on_drop(true);
    command
}

/// A directory that PostgreSQL's account can pass through as well.
pub(crate) fn directory() -> TempDir {
    let directory = tempfile::Builder::new().prefix("attune-system-").tempdir().unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(directory.path(), mode).unwrap();
    directory
}

/// A serving process and a signed-in client.
pub(crate) struct System {
    pub(crate) client: Client,
    pub(crate) database: TestDatabase,
    process: Child,
    address: String,
    password: String,
    data: TempDir,
    variables: Vec<(&'static str, OsString)>,
    /// What is done before it, where nobody else sees its mounts.
    prelude: Option<&'static str>,
}

impl System {
    /// Every role, against a new database.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with these variables in the environment of the process.
    pub(crate) async fn start_with(variables: &[(&'static str, OsString)]) -> Self {
        Self::start_as(variables, None).await
    }

    /// The same with mounts of its own, which this script makes; `$data` is the data directory.
    pub(crate) async fn start_on(prelude: &'static str) -> Self {
        Self::start_as(&[], Some(prelude)).await
    }

    async fn start_as(variables: &[(&'static str, OsString)], prelude: Option<&'static str>) -> Self {
        let database = TestDatabase::create().await;
        let password = migrate(database.url()).await;
        let data = directory();
        let (process, url) = serve(database.url(), data.path(), "127.0.0.1:0", (variables, prelude)).await;
        let client = sign_in(&url, &password).await;
        let address = url.trim_start_matches("http://").to_owned();
        Self { client, database, process, address, password, data, variables: variables.to_vec(), prelude }
    }

    /// The data directory, which holds the master key.
    pub(crate) fn data(&self) -> &Path {
        self.data.path()
    }

    /// A token of the first administrator, for commands.
    pub(crate) async fn token(&self) -> String {
        let login = "admin".to_owned();
        let request = LoginRequest { login, password: self.password.clone(), token_name: None };
        self.client.login(&request).await.unwrap().token
    }

    /// Kills the process as a power failure would, and waits until it is gone.
    pub(crate) async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }

    /// Starts the process again at the same address.
    pub(crate) async fn restart(&mut self) {
        let how = (self.variables.as_slice(), self.prelude);
        let (process, _) = serve(self.database.url(), self.data.path(), &self.address, how).await;
        self.process = process;
    }

    /// Installs a pack given as path and content.
    pub(crate) async fn install(&self, files: &[(&str, &str)]) -> PackInstalled {
        self.client.install_pack(archive(files), "test").await.unwrap()
    }

    /// Runs an action by hand and waits for its end.
    pub(crate) async fn run(
        &self,
        action: &str,
        parameters: serde_json::Value,
    ) -> attune_client::types::ExecutionDetail {
        let request = attune_client::types::ExecutionRequest::of(action, parameters);
        let started: ExecutionView = self.client.create_execution(&request).await.unwrap();
        let until = Instant::now() + PATIENCE;
        loop {
            let detail = self.client.wait_for_execution(started.id, 30).await.unwrap();
            if detail.execution.is_finished() {
                return detail;
            }
            assert!(Instant::now() < until, "execution {} does not end: {detail:?}", started.id);
        }
    }

    /// A number out of the database.
    pub(crate) async fn count(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(self.database.pool()).await.unwrap()
    }

    /// Waits until the query gives this number.
    pub(crate) async fn wait_for_count(&self, query: &'static str, wanted: i64) {
        let until = Instant::now() + PATIENCE;
        loop {
            let count = self.count(query).await;
            if count == wanted {
                return;
            }
            assert!(Instant::now() < until, "{query} gives {count}, expected {wanted}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until no event waits and no execution is under way.
    pub(crate) async fn wait_until_idle(&self) {
        self.wait_for_count(
            "select (select count(*) from attune.event_batch where matched is null)
                  + (select count(*) from attune.execution where finished is null)",
            0,
        )
        .await;
    }
}

/// Brings the schema up and gives back the first administrator's password.
pub(crate) async fn migrate(url: &str) -> String {
    let output = attune().arg("migrate").args(["--database-url", url]).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    password_in(&String::from_utf8(output.stdout).unwrap()).expect("the first administrator's password")
}

/// The password out of what a first start says.
pub(crate) fn password_in(text: &str) -> Option<String> {
    text.lines().find_map(|line| Some(line.trim().strip_prefix("password ")?.trim().to_owned()))
}

async fn serve(
    url: &str,
    data: &Path,
    listen: &str,
    (variables, prelude): (&[(&'static str, OsString)], Option<&str>),
) -> (Child, String) {
    let mut process = prelude
        .map_or_else(attune, attune_after)
        .args(["serve", "--role", "api,executor,worker,sensor,notifier", "--listen", listen])
        .args(["--worker-name", "test", "--database-url", url, "--data-dir"])
        .arg(data)
        .env("ATTUNE_LOG", "error")
        .env("data", data)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap();
    let line = line.expect("the server says where it listens");
    let url = line.strip_prefix("Attune listens at ").expect(&line).to_owned();
    (process, url)
}

/// A client signed in as the first administrator.
pub(crate) async fn sign_in(url: &str, password: &str) -> Client {
    let client = Client::new(url, None).unwrap();
    let request = LoginRequest { login: "admin".to_owned(), password: password.to_owned(), token_name: None };
    let token = client.login(&request).await.unwrap().token;
    client.with_token(token)
}

/// A pack as it is sent to the server; what begins like a script is executable.
pub(crate) fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(if content.starts_with("#!") { 0o755 } else { 0o644 });
        header.set_cksum();
        archive.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap()
}
