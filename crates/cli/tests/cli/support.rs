//! The binary in an environment of its own, and a small HTTP server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;

/// What the binary was asked for over HTTP.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Method and path with query, as `GET /api/v1/rules`.
    pub(crate) line: String,
    /// The bearer token.
    pub(crate) token: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    status: u16,
    content_type: &'static str,
    body: Vec<u8>,
    /// Bytes that the answer promises and then does not send.
    missing: usize,
}

impl Reply {
    pub(crate) fn json(value: &Value) -> Self {
        Self::of(200, "application/json", value.to_string())
    }

    pub(crate) fn page(items: &Value) -> Self {
        Self::json(&json!({"items": items}))
    }

    pub(crate) fn problem(status: u16, kind: &str, detail: &str) -> Self {
        Self::problem_with(status, kind, detail, &json!([]))
    }

    pub(crate) fn problem_with(status: u16, kind: &str, detail: &str, errors: &Value) -> Self {
        let problem = json!({
            "type": format!("/problems/{kind}"), "title": kind, "status": status, "detail": detail, "errors": errors,
        });
        Self::of(status, "application/problem+json", problem.to_string())
    }

    pub(crate) fn empty() -> Self {
        Self::of(204, "application/json", "")
    }

    pub(crate) fn of(status: u16, content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, content_type, body: body.into(), missing: 0 }
    }

    /// The same, but the connection breaks before its end.
    pub(crate) fn cut_off(self) -> Self {
        Self { missing: 1, ..self }
    }
}

/// A server on a port of its own.
pub(crate) struct Server {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Answers each request with what `answer` says.
    pub(crate) fn start(answer: impl Fn(&Request) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                if let Some(request) = read_request(&stream) {
                    log.lock().unwrap().push(request.clone());
                    // The binary may have gone by the time that the answer is written.
                    drop(write_reply(&mut stream, &answer(&request)));
                }
            }
        });
        Self { url, requests }
    }

    /// Answers by method and path, and anything else with 404.
    pub(crate) fn with(answers: Vec<(&'static str, Reply)>) -> Self {
        Self::start(move |request| {
            let found =
                answers.iter().find(|(line, _)| *line == request.line).map(|(_, reply)| reply.clone());
            found.unwrap_or_else(|| Reply::problem(404, "not-found", &format!("nothing at {}", request.line)))
        })
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The methods and paths that were asked for, in order.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.line).collect()
    }

    /// The body of the only request of this method and path.
    pub(crate) fn sent(&self, line: &str) -> Value {
        let sent: Vec<_> = self.requests().into_iter().filter(|request| request.line == line).collect();
        assert_eq!(sent.len(), 1, "{line} among {:?}", self.lines());
        sent[0].json()
    }
}

fn read_request(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let line = first.strip_suffix(" HTTP/1.1\r\n")?.to_owned();
    let mut length = 0;
    let mut token = None;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "authorization" => token = value.strip_prefix("Bearer ").map(str::to_owned),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { line, token, body })
}

fn write_reply(stream: &mut TcpStream, reply: &Reply) -> std::io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 {} x\r\ncontent-type: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        reply.status,
        reply.content_type,
        reply.body.len() + reply.missing
    )?;
    stream.write_all(&reply.body)?;
    stream.flush()
}

/// What a run of the binary left.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// Checks the exit code, and shows everything where it is another.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// Checks that standard error says this.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "no {text:?} in {self:#?}");
        self
    }

    /// Checks that standard output has this.
    #[track_caller]
    pub(crate) fn prints(self, text: &str) -> Self {
        assert!(self.stdout.contains(text), "no {text:?} in {self:#?}");
        self
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap()
    }
}

/// A user with a home directory and nothing else.
pub(crate) struct User {
    home: TempDir,
    variables: Vec<(&'static str, String)>,
}

impl User {
    pub(crate) fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap(), variables: Vec::new() }
    }

    /// A user who is signed in to the server by a token in the environment.
    pub(crate) fn of(server: &Server) -> Self {
        Self::new().having("ATTUNE_URL", &server.url).having("ATTUNE_TOKEN", "attune_test")
    }

    pub(crate) fn having(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn profiles(&self) -> PathBuf {
        self.home().join(".config/attune/profiles.toml")
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_attune"));
        command.args(arguments).env_clear().env("HOME", self.home()).current_dir(self.home());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs `attune` with these arguments.
    pub(crate) fn runs(&self, arguments: &[&str]) -> Outcome {
        self.runs_with(arguments, "")
    }

    /// Runs `attune` with these arguments and this on standard input.
    pub(crate) fn runs_with(&self, arguments: &[&str], stdin: &str) -> Outcome {
        let mut child = self.command(arguments).spawn().unwrap();
        // Not every command reads its input.
        drop(child.stdin.take().unwrap().write_all(stdin.as_bytes()));
        let output = child.wait_with_output().unwrap();
        Outcome {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A moment, as the API writes it.
pub(crate) const MOMENT: &str = "2020-01-02T03:04:05Z";

pub(crate) fn action(action_ref: &str, parameters: &Value) -> Value {
    json!({
        "ref": action_ref, "pack": "core", "label": null, "description": "Says it again", "enabled": true,
        "runtime": "core.native", "entrypoint": "echo", "parameters": parameters, "parameter_delivery": "stdin",
        "parameter_format": "json", "output_format": "json", "timeout_seconds": 60.0, "on_worker_loss": "abandon",
        "retry": {}, "worker_selector": {}, "tolerations": [],
        "created": MOMENT, "updated": MOMENT,
    })
}

pub(crate) fn rule(rule_ref: &str, trigger: &str) -> Value {
    json!({
        "ref": rule_ref, "pack": "ops", "label": null, "description": null, "enabled": true, "mode": "active", "trigger": trigger,
        "trigger_params": {}, "condition": "all", "conditions": [], "action": "core.echo",
        "action_params": {"text": "yes"}, "version": 3, "created": MOMENT, "updated": MOMENT,
    })
}

pub(crate) fn event(id: i64) -> Value {
    json!({
        "id": id, "trigger": "core.webhook", "source": null, "payload": {"disk": "\u{1b}[31mfull"}, "headers": null,
        "config": {}, "dedup_key": null, "trace_id": null, "created": MOMENT,
    })
}

/// An execution that has ended, unless it is in another state.
pub(crate) fn execution(id: i64, status: &str, exit_code: Option<i32>) -> Value {
    let ended = matches!(status, "completed" | "failed" | "timeout" | "cancelled" | "abandoned");
    json!({
        "id": id, "action": "core.echo", "status": status, "attempt": 1, "parameters": {"text": "hi"},
        "result": {"answer": 42}, "error": null, "exit_code": exit_code, "signal": null, "stdout_bytes": 3,
        "stderr_bytes": 0, "enforcement": null, "worker": "w1", "trace_id": null, "created": MOMENT,
        "started": MOMENT, "finished": ended.then_some("2020-01-02T03:04:06.500Z"),
    })
}

pub(crate) fn execution_detail(id: i64, status: &str, exit_code: Option<i32>) -> Value {
    let mut detail = execution(id, status, exit_code);
    detail["chain"] = Value::Null;
    detail["started_by"] = json!("ada");
    detail["attempts"] = json!([]);
    detail["stdout"] = json!("hi\n");
    detail["stderr"] = json!("");
    detail
}
