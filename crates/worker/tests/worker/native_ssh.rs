//! `core.ssh` against OpenSSH's server on loopback.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use attune_worker::native::http::Access;
use attune_worker::native::{Context, NativeOutcome};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use crate::helpers::PATIENCE;

/// A server that lets whoever has its key into the account that runs the test.
struct Server {
    port: u16,
    private_key: String,
    host_key: String,
    user: String,
    _process: Child,
    _directory: TempDir,
}

impl Server {
    async fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("attune-sshd-").tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["host_key", "user_key"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(path(name))
                .status();
            assert!(made.await.unwrap().success());
        }
        fs::copy(path("user_key.pub"), path("authorized_keys")).unwrap();
        fs::set_permissions(path("authorized_keys"), PermissionsExt::from_mode(0o600)).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nPermitRootLogin yes\n",
            path("host_key").display(),
            path("authorized_keys").display(),
        );
        fs::write(path("config"), config).unwrap();
        if nix::unistd::geteuid().is_root() {
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let process = Command::new(sshd())
            .args(["-D", "-e", "-f"])
            .arg(path("config"))
            .stdin(Stdio::null())
            .stderr(fs::File::create(path("log")).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            let log = fs::read_to_string(path("log")).unwrap();
            assert!(Instant::now() < until, "sshd does not listen: {log}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name;
        Self {
            port,
            private_key: fs::read_to_string(path("user_key")).unwrap(),
            host_key: fs::read_to_string(path("host_key.pub")).unwrap(),
            user,
            _process: process,
            _directory: directory,
        }
    }

    /// Lines that make the server known.
    fn known_hosts(&self) -> String {
        let (port, key) = (self.port, self.host_key.trim());
        format!("[127.0.0.1]:{port} {key}\n[localhost]:{port} {key}\n")
    }

    fn parameters(&self, parameters: &Value) -> Value {
        let mut all = json!({
            "hosts": ["127.0.0.1"], "port": self.port, "user": self.user, "private_key": self.private_key,
            "known_hosts": self.known_hosts(),
        });
        all.as_object_mut().unwrap().extend(parameters.as_object().unwrap().clone());
        all
    }
}

/// Where distributions have it, which is not on the path of ordinary accounts.
fn sshd() -> PathBuf {
    let candidates = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/opt/homebrew/sbin/sshd"];
    let found = candidates.iter().map(Path::new).find(|path| path.exists());
    found.expect("OpenSSH's server is missing: run ./scripts/test, which installs it").to_owned()
}

async fn run(parameters: Value) -> Result<Value, (String, Option<Value>)> {
    let http = Access::default();
    match attune_worker::native::run("ssh", Context::new(&parameters, &http), &CancellationToken::new()).await
    {
        NativeOutcome::Succeeded(result) => Ok(result),
        NativeOutcome::Failed(failure) => Err((failure.to_string(), failure.result)),
        NativeOutcome::Cancelled => panic!("nobody cancelled it"),
    }
}

/// Private files of runs that are under way.
fn private_files() -> usize {
    let entries = fs::read_dir(std::env::temp_dir()).unwrap().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("attune-ssh-")).count()
}

#[tokio::test]
async fn test_commands_run_on_hosts() {
    let server = Server::start().await;
    let command = "read -r line; echo \"got $line\"; echo warned >&2";
    let parameters = json!({"hosts": ["127.0.0.1", "localhost"], "command": command, "stdin": "input\n"});
    let result = run(server.parameters(&parameters)).await.unwrap();
    for host in ["127.0.0.1", "localhost"] {
        let host = &result["hosts"][host];
        assert_eq!(
            (&host["exit_code"], &host["stdout"], &host["stderr"], &host["error"]),
            (&json!(0), &json!("got input\n"), &json!("warned\n"), &Value::Null)
        );
    }
    assert_eq!(result["failed"], 0);

    let (error, result) = run(server.parameters(&json!({"command": "echo half; exit 3"}))).await.unwrap_err();
    assert_eq!(error, "it failed on 1 of 1 hosts: 127.0.0.1: exit code 3");
    let result = result.unwrap();
    assert_eq!(
        (&result["hosts"]["127.0.0.1"]["exit_code"], &result["hosts"]["127.0.0.1"]["stdout"]),
        (&json!(3), &json!("half\n"))
    );

    let began = Instant::now();
    let parameters = server.parameters(&json!({"command": "sleep 600", "timeout": 0.3}));
    assert!(run(parameters).await.unwrap_err().0.contains("did not end within 0.3 s"));
    assert!(began.elapsed() < PATIENCE);
    // Other tests have theirs for as long as they run.
    let until = Instant::now() + PATIENCE;
    while private_files() > 0 {
        assert!(Instant::now() < until, "a private key is left behind");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn test_only_hosts_that_are_known_are_believed() {
    let server = Server::start().await;
    let other = Server::start().await;
    let impostor = other.known_hosts().replace(&other.port.to_string(), &server.port.to_string());
    let (error, _) =
        run(server.parameters(&json!({"command": "id", "known_hosts": impostor}))).await.unwrap_err();
    assert!(error.contains("Host key verification failed"), "{error}");
    let mut unknown = server.parameters(&json!({"command": "id"}));
    unknown.as_object_mut().unwrap().remove("known_hosts");
    let (error, _) = run(unknown.clone()).await.unwrap_err();
    assert!(error.contains("Host key verification failed"), "{error}");
    unknown["host_keys"] = json!("any");
    run(unknown).await.unwrap();

    let (error, _) = run(server.parameters(&json!({"command": "id", "private_key": other.private_key})))
        .await
        .unwrap_err();
    assert!(error.contains("Permission denied"), "{error}");
}

#[tokio::test]
async fn test_nothing_is_taken_for_an_option() {
    for (parameters, expected) in [
        (json!({"hosts": ["-oProxyCommand=touch /tmp/x"]}), "neither a name nor an address"),
        (json!({"hosts": ["a b"]}), "neither a name nor an address"),
        (json!({"hosts": []}), "is empty"),
        (json!({"user": "-x"}), "no name of an account"),
        (json!({"host_keys": "any", "known_hosts": "x"}), "has no effect with `host_keys: any`"),
        (json!({"host_keys": "accept_new", "known_hosts": "x"}), "nobody keeps"),
        (json!({"timeout": 0}), "not a number of seconds"),
    ] {
        let mut all = json!({"hosts": ["localhost"], "command": "id"});
        all.as_object_mut().unwrap().extend(parameters.as_object().unwrap().clone());
        let (error, _) = run(all).await.unwrap_err();
        assert!(error.contains(expected), "{parameters}: {error}");
    }
}
