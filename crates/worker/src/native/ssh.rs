//! `ssh`: runs a command on other hosts, by the `ssh` program of the worker's host.
//!
//! Nothing is asked and nothing is guessed: no password, no configuration of the worker's account but its known hosts, and a
//! host whose key is not known is refused unless the caller says otherwise. A private key is in a file of a private directory
//! while the command runs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::recorded::Recorded;
use super::{Context, Failure, seconds};
use crate::output::make_storable;
use crate::process::{self, CaptureLimits, Ending, Exit, Finished, Launch, LaunchError, OutputSink};

/// What `ssh` itself exits with when it cannot run the command.
const SSH_FAILED: i32 = 255;

/// What is kept of each stream of each host.
const KEPT: CaptureLimits = CaptureLimits { head: 64 << 10, tail: 64 << 10 };

/// Why the command is not run, or not everywhere.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    #[error("parameter `{name}` {problem}")]
    Parameter { name: &'static str, problem: String },
    #[error("the private files for ssh cannot be written")]
    Files(#[from] std::io::Error),
    #[error(
        "a test reaches no host, and no answer is recorded for `{command}` on {host}: give one under `ssh`, as `{{host: {host}, \
         command: .., stdout: ..}}`"
    )]
    NotRecorded { host: String, command: String },
    #[error("it failed on {} of {total} hosts: {}", failed.len(), failed.join("; "))]
    Failed { failed: Vec<String>, total: usize },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    hosts: Vec<String>,
    command: String,
    user: Option<String>,
    port: Option<u16>,
    private_key: Option<String>,
    known_hosts: Option<String>,
    #[serde(default)]
    host_keys: HostKeys,
    stdin: Option<String>,
    #[serde(default = "minute")]
    timeout: f64,
    #[serde(default = "ten_seconds")]
    connect_timeout: u32,
    #[serde(default = "ten")]
    concurrency: usize,
}

/// What is believed of hosts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum HostKeys {
    /// Only the keys that are known.
    #[default]
    Known,
    /// The key of a host that was never seen, which is then remembered.
    AcceptNew,
    /// Any key.
    Any,
}

pub(super) async fn run(context: &Context<'_>) -> Result<Value, Failure> {
    let parameters: Parameters = context.read()?;
    parameters.check()?;
    if let Some(recorded) = context.http.recordings() {
        let told =
            parameters.hosts.iter().map(|host| Ok((host.clone(), answer(recorded, host, &parameters)?)));
        return outcome(told.collect::<Result<_, SshError>>()?);
    }
    let files = Files::write(&parameters).map_err(SshError::from)?;
    let masker = context.platform.map(|platform| platform.masker.clone()).unwrap_or_default();
    let launches: Vec<(String, Launch)> = parameters
        .hosts
        .iter()
        .map(|host| {
            let launch = Launch { masker: masker.clone(), ..parameters.launch(host, &files) };
            (host.clone(), launch)
        })
        .collect();
    let ran: Vec<_> = futures::stream::iter(launches)
        .map(|(host, launch)| async move {
            let ran = process::run(launch, CancellationToken::new(), OutputSink::discard()).await;
            (host, ran)
        })
        .buffered(parameters.concurrency.clamp(1, 1000))
        .collect()
        .await;
    outcome(ran.into_iter().map(|(host, finished)| (host, told(&finished, parameters.timeout))).collect())
}

/// What the result says of a host, and why the command failed there, if it did.
type Told = (Value, Option<String>);

fn outcome(ran: Vec<(String, Told)>) -> Result<Value, Failure> {
    let mut hosts = Map::new();
    let mut failed = Vec::new();
    for (host, (told, error)) in ran {
        hosts.insert(host.clone(), told);
        failed.extend(error.map(|error| format!("{host}: {error}")));
    }
    let total = hosts.len();
    let mut result = json!({"hosts": hosts, "failed": failed.len()});
    make_storable(&mut result);
    match failed.is_empty() {
        true => Ok(result),
        false => {
            Err(Failure { error: Box::new(SshError::Failed { failed, total }.into()), result: Some(result) })
        }
    }
}

/// What a command on a host is answered in a test.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedRun {
    /// None: whatever the host.
    pub host: Option<String>,
    /// The whole command.
    pub command: String,
    pub exit_code: u8,
    pub stdout: String,
    pub stderr: String,
    /// How often it is given; None: always.
    pub times: Option<u32>,
}

/// A command that a test would have run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenCommand {
    pub host: String,
    pub command: String,
    pub user: Option<String>,
    pub stdin: Option<String>,
}

fn answer(recorded: &Recorded, host: &str, parameters: &Parameters) -> Result<Told, SshError> {
    let mut state = recorded.state();
    state.seen.commands.push(SeenCommand {
        host: host.to_owned(),
        command: parameters.command.clone(),
        user: parameters.user.clone(),
        stdin: parameters.stdin.clone(),
    });
    let fits = |run: &&mut RecordedRun| {
        run.command == parameters.command
            && run.times != Some(0)
            && run.host.as_deref().is_none_or(|answering| answering == host)
    };
    let Some(run) = state.answers.ssh.iter_mut().find(fits) else {
        return Err(SshError::NotRecorded { host: host.to_owned(), command: parameters.command.clone() });
    };
    run.times = run.times.map(|times| times - 1);
    let (exit_code, error) = ended(Exit::Code(run.exit_code.into()), last_line(&run.stderr));
    let told = json!({
        "exit_code": exit_code,
        "stdout": run.stdout,
        "stderr": run.stderr,
        "error": error,
        "seconds": 0.0,
    });
    Ok((told, error))
}

fn last_line(stderr: &str) -> &str {
    stderr.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("it says nothing")
}

/// The exit code of the command, where it has run, and what is wrong.
fn ended(exit: Exit, last: &str) -> (Option<i32>, Option<String>) {
    match exit {
        Exit::Code(0) => (Some(0), None),
        Exit::Code(SSH_FAILED) => (None, Some(format!("ssh: {last}"))),
        Exit::Code(code) => (Some(code), Some(format!("exit code {code}"))),
        Exit::Signal(signal) => (None, Some(format!("ssh was killed by signal {signal}"))),
    }
}

fn told(finished: &Result<Finished, LaunchError>, timeout: f64) -> Told {
    let finished = match finished {
        Ok(finished) => finished,
        Err(error) => {
            let error = crate::attempt::with_causes(error);
            return (json!({"error": error}), Some(error));
        }
    };
    let (stdout, stderr) = (finished.stdout.to_text(), finished.stderr.to_text());
    let (exit_code, error) = match (finished.ending, finished.exit) {
        (Ending::TimedOut | Ending::Cancelled, _) => {
            (None, Some(format!("it did not end within {timeout} s")))
        }
        // Whoever started it, its own end is what counts.
        (Ending::Exited | Ending::RunnerLost, exit) => ended(exit, last_line(&stderr)),
    };
    let told = json!({
        "exit_code": exit_code,
        "stdout": stdout,
        "stderr": stderr,
        "error": error,
        "seconds": finished.duration.as_secs_f64(),
    });
    (told, error)
}

impl Parameters {
    /// What would be taken for options, or has no effect.
    fn check(&self) -> Result<(), SshError> {
        let wrong = |name, problem: String| SshError::Parameter { name, problem };
        let is_plain = |text: &str, others: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || others.contains(c);
            !text.is_empty() && !text.starts_with('-') && text.chars().all(plain)
        };
        if self.hosts.is_empty() {
            return Err(wrong("hosts", "is empty".to_owned()));
        }
        if let Some(host) = self.hosts.iter().find(|host| !is_plain(host, ".:_-%")) {
            return Err(wrong("hosts", format!("has `{host}`, which is neither a name nor an address")));
        }
        if let Some(user) = self.user.as_ref().filter(|user| !is_plain(user, "._-@\\$")) {
            return Err(wrong("user", format!("is `{user}`, which is no name of an account")));
        }
        if self.host_keys == HostKeys::Any && self.known_hosts.is_some() {
            return Err(wrong("known_hosts", "has no effect with `host_keys: any`".to_owned()));
        }
        if self.host_keys == HostKeys::AcceptNew && self.known_hosts.is_some() {
            let problem = "is complete, so that `host_keys: accept_new` would add to what nobody keeps";
            return Err(wrong("known_hosts", problem.to_owned()));
        }
        match seconds(self.timeout).filter(|timeout| !timeout.is_zero()) {
            Some(_) => Ok(()),
            None => {
                Err(wrong("timeout", "is not a number of seconds, more than 0 and at most a day".to_owned()))
            }
        }
    }

    fn launch(&self, host: &str, files: &Files) -> Launch {
        let mut args: Vec<OsString> = ["-F", "none", "-T", "-x", "-a"].map(Into::into).to_vec();
        let mut option = |option: String| args.extend(["-o".into(), option.into()]);
        option("BatchMode=yes".to_owned());
        option("LogLevel=ERROR".to_owned());
        option(format!("ConnectTimeout={}", self.connect_timeout));
        option("ServerAliveInterval=15".to_owned());
        option(match self.host_keys {
            HostKeys::Known => "StrictHostKeyChecking=yes".to_owned(),
            HostKeys::AcceptNew => "StrictHostKeyChecking=accept-new".to_owned(),
            HostKeys::Any => "StrictHostKeyChecking=no".to_owned(),
        });
        let quoted = |path: &Path| format!("\"{}\"", path.display());
        match (&files.known_hosts, self.host_keys) {
            (Some(path), _) => {
                option(format!("UserKnownHostsFile={}", quoted(path)));
                option("GlobalKnownHostsFile=/dev/null".to_owned());
            }
            (None, HostKeys::Any) => {
                option("UserKnownHostsFile=/dev/null".to_owned());
                option("GlobalKnownHostsFile=/dev/null".to_owned());
            }
            (None, HostKeys::Known | HostKeys::AcceptNew) => {}
        }
        if let Some(path) = &files.private_key {
            option(format!("IdentityFile={}", quoted(path)));
            option("IdentitiesOnly=yes".to_owned());
        }
        if let Some(port) = self.port {
            args.extend(["-p".into(), port.to_string().into()]);
        }
        if let Some(user) = &self.user {
            args.extend(["-l".into(), user.into()]);
        }
        args.extend(["--".into(), host.into(), (&self.command).into()]);
        let passed_on = ["PATH", "SSH_AUTH_SOCK"].into_iter().filter_map(|name| {
            let value = std::env::var_os(name)?;
            Some((OsString::from(name), value))
        });
        Launch {
            args,
            env: passed_on.collect::<BTreeMap<_, _>>(),
            stdin: self.stdin.clone().unwrap_or_default().into_bytes(),
            timeout: seconds(self.timeout).unwrap_or_default(),
            grace: Duration::from_secs(2),
            limits: KEPT,
            ..Launch::of("ssh", "/")
        }
    }
}

/// What `ssh` reads, gone with the value.
struct Files {
    private_key: Option<PathBuf>,
    known_hosts: Option<PathBuf>,
    _directory: TempDir,
}

impl Files {
    fn write(parameters: &Parameters) -> std::io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("attune-ssh-").tempdir()?;
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o700))?;
        let write = |name: &str, content: &Option<String>| -> std::io::Result<Option<PathBuf>> {
            let Some(content) = content else { return Ok(None) };
            let path = directory.path().join(name);
            let mut file =
                std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            // ssh reads no key without its last line feed.
            file.write_all(content.trim_end().as_bytes())?;
            file.write_all(b"\n")?;
            Ok(Some(path))
        };
        Ok(Self {
            private_key: write("key", &parameters.private_key)?,
            known_hosts: write("known_hosts", &parameters.known_hosts)?,
            _directory: directory,
        })
    }
}

const fn minute() -> f64 {
    60.0
}

const fn ten_seconds() -> u32 {
    10
}

const fn ten() -> usize {
    10
}
