//! Runtimes with the environments of packs, and what becomes of an execution whose environment or output is not right.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use attune_client::types::{ExecutionDetail, ExecutionRequest};
use chrono::{TimeDelta, Utc};
use serde_json::json;

use crate::support::{PATIENCE, System};

/// Makes what a pack needs out of files in it, without a network: pip runs the build of this source, which needs none.
const MODULE: &str = "VERSION = 'first'\n";

fn error(detail: &ExecutionDetail) -> &str {
    detail.execution.error.as_deref().unwrap_or_default()
}

fn variables() -> Vec<(&'static str, std::ffi::OsString)> {
    vec![("PIP_RETRIES", "0".into()), ("PIP_NO_INDEX", "1".into()), ("NPM_CONFIG_OFFLINE", "true".into())]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_a_node_pack_runs_with_its_modules_and_an_environment_that_vanished_comes_back() {
    let system = System::start_with(&variables()).await;
    system
        .install(&[
            ("pack.yaml", "ref: web\nversion: 1.0.0\nnode: \">=14\"\n"),
            ("package.json", r#"{"name": "web", "dependencies": {"demo": "file:./vendor/demo"}}"#),
            ("vendor/demo/package.json", r#"{"name": "demo", "version": "1.2.3", "main": "index.js"}"#),
            ("vendor/demo/index.js", "module.exports = require('./package.json').version"),
            ("actions/show.yaml", "ref: web.show\nruntime: core.node\nentrypoint: show.mjs\noutput_format: json\n"),
            (
                "actions/show.mjs",
                "import demo from 'demo'
                 let text = ''
                 for await (const chunk of process.stdin) text += chunk
                 console.log(JSON.stringify({demo, given: JSON.parse(text), pack: process.env.ATTUNE_PACK_REF}))",
            ),
        ])
        .await;
    let expected = json!({"demo": "1.2.3", "given": {}, "pack": "web"});
    let detail = system.run("web.show", json!({})).await;
    assert_eq!(detail.execution.status, "completed", "{:?}", detail.execution.error);
    assert_eq!(detail.execution.result, Some(expected.clone()));
    std::fs::remove_dir_all(system.data().join("worker/environments")).unwrap();
    let detail = system.run("web.show", json!({})).await;
    assert_eq!(detail.execution.result, Some(expected), "{:?}", detail.execution.error);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_what_is_wrong_with_a_python_pack_is_told() {
    let system = System::start_with(&variables()).await;
    system
        .install(&[
            ("pack.yaml", "ref: py\nversion: 1.0.0\n"),
            ("actions/syntax.yaml", "ref: py.syntax\nruntime: core.python\nentrypoint: syntax.py\n"),
            ("actions/syntax.py", "def broken(:\n"),
            ("runtimes/none.yaml", "ref: py.none\ninterpreter: [python3.99]\nenvironment: python\n"),
            ("actions/none.yaml", "ref: py.none\nruntime: py.none\nentrypoint: syntax.py\n"),
            (
                "runtimes/new.yaml",
                "ref: py.new\ninterpreter: [python3]\nenvironment: python\nversion: \">=3.99\"\n",
            ),
            ("actions/new.yaml", "ref: py.new\nruntime: py.new\nentrypoint: syntax.py\n"),
            (
                "actions/schema.yaml",
                "ref: py.schema\nruntime: core.python\nentrypoint: schema.py\noutput_format: json\nout_schema:\n  type: object\n  required: [count]\n  properties: {count: {type: integer}}\n",
            ),
            ("actions/schema.py", "print('{\"count\": \"s3cret\"}')\n"),
        ])
        .await;
    let detail = system.run("py.syntax", json!({})).await;
    assert_eq!((detail.execution.status.as_str(), detail.execution.exit_code), ("failed", Some(1)));
    assert!(detail.stderr.contains("SyntaxError") && detail.stderr.contains("line 1"), "{detail:?}");
    assert!(error(&detail).contains("standard error tells of a syntax error: correct"), "{detail:?}");

    let detail = system.run("py.none", json!({})).await;
    assert!(error(&detail).contains("there is no program python3.99 on this worker"), "{detail:?}");
    let detail = system.run("py.new", json!({})).await;
    for expected in ["needs Python >=3.99 (the runtime py.new)", "only 3.", "install such a version"] {
        assert!(error(&detail).contains(expected), "{detail:?}");
    }

    let detail = system.run("py.schema", json!({})).await;
    assert_eq!((detail.execution.status.as_str(), detail.execution.exit_code), ("failed", Some(0)));
    assert!(error(&detail).contains("`out_schema`: /count: expected integer, got string"), "{detail:?}");
    assert!(!error(&detail).contains("s3cret"));

    system
        .install(&[
            ("pack.yaml", "ref: unmet\nversion: 1.0.0\n"),
            ("requirements.txt", "--index-url https://user:s3cret@127.0.0.1:1/\nno-such-package-here==1.0\n"),
            ("actions/a.yaml", "ref: unmet.a\nruntime: core.python\nentrypoint: a.py\n"),
            ("actions/a.py", MODULE),
            ("actions/other.yaml", "ref: unmet.other\nruntime: core.shell\nentrypoint: a.sh\n"),
            ("actions/a.sh", "echo fine\n"),
        ])
        .await;
    let detail = system.run("unmet.a", json!({})).await;
    for expected in
        ["environment of pack unmet cannot be built from requirements.txt", "no-such-package-here", "correct"]
    {
        assert!(error(&detail).contains(expected), "{detail:?}");
    }
    assert!(!error(&detail).contains("s3cret"));
    assert_eq!(system.run("unmet.other", json!({})).await.execution.status, "completed");
}

/// Builds of environments wait for this file.
struct Gate {
    directory: tempfile::TempDir,
}

impl Gate {
    fn file(&self) -> PathBuf {
        self.directory.path().join("gate")
    }

    fn open(&self) {
        std::fs::write(self.file(), "").unwrap();
    }
}

/// A system whose builds wait until the gate is opened.
async fn gated_builds() -> (Gate, System) {
    let gate = Gate { directory: crate::support::directory() };
    let script = format!(
        "#!/bin/sh\ncase $1 in venv) echo preparing things; while ! test -e '{}'; do sleep 0.05; done; exec \"$4\" -m venv \"$5\" ;; esac\n",
        gate.file().display()
    );
    let uv = gate.directory.path().join("uv");
    std::fs::write(&uv, script).unwrap();
    std::fs::set_permissions(&uv, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut path = std::ffi::OsString::from(gate.directory.path());
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    (gate, System::start_with(&[("PATH", path)]).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_the_time_of_a_build_is_no_part_of_what_a_run_and_its_token_have() {
    let (gate, system) = gated_builds().await;
    system
        .install(&[
            ("pack.yaml", "ref: late\nversion: 1.0.0\n"),
            ("pyproject.toml", "[project]\nname = \"late\"\nrequires-python = \">=3.6\"\n"),
            ("actions/a.yaml", "ref: late.a\nruntime: core.python\nentrypoint: a.py\ntimeout: 60s\n"),
            // The token says until when it is valid, in seconds since 1970.
            ("actions/a.py", "import os\nprint(os.environ['ATTUNE_API_TOKEN'].split('.')[2])\n"),
        ])
        .await;
    let id = system.client.create_execution(&ExecutionRequest::of("late.a", json!({}))).await.unwrap().id;
    // The build takes some seconds, as far as anybody can tell.
    let until = Instant::now() + PATIENCE;
    let claimed = loop {
        let execution = system.client.execution(id).await.unwrap().execution;
        if let Some(claimed) =
            execution.started.filter(|claimed| Utc::now() - *claimed > TimeDelta::seconds(3))
        {
            break claimed;
        }
        assert!(Instant::now() < until, "{execution:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let opened = Utc::now();
    gate.open();
    let detail = system.client.wait_for_execution(id, 60).await.unwrap();
    assert_eq!(detail.execution.status, "completed", "{detail:?}");
    let began = detail.execution.started.unwrap();
    assert!(
        began >= opened && began > claimed,
        "it began at {began}, after the build from {claimed} to {opened}"
    );
    // Its timeout, and five minutes more.
    let expires: i64 = detail.stdout.trim().parse().expect(&detail.stdout);
    assert!(expires >= opened.timestamp() + 60 + 300, "{expires} is too soon after {opened}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_an_execution_says_that_it_waits_for_its_environment_and_holds_up_nobody() {
    let (gate, system) = gated_builds().await;
    system
        .install(&[
            ("pack.yaml", "ref: slow\nversion: 1.0.0\n"),
            ("pyproject.toml", "[project]\nname = \"slow\"\nrequires-python = \">=3.6\"\n"),
            ("actions/a.yaml", "ref: slow.a\nruntime: core.python\nentrypoint: a.py\ntimeout: 5s\n"),
            ("actions/a.py", "import sys\nprint(sys.prefix != sys.base_prefix)\n"),
        ])
        .await;
    // More than the worker has slots for: they wait without them.
    let mut waiting = Vec::new();
    for _ in 0..70 {
        let request = ExecutionRequest::of("slow.a", json!({}));
        waiting.push(system.client.create_execution(&request).await.unwrap().id);
    }
    let last = *waiting.last().unwrap();
    let until = Instant::now() + PATIENCE;
    let said = loop {
        let detail = system.client.execution(last).await.unwrap();
        if let Some(said) = detail.execution.waiting.filter(|said| said.contains("preparing things")) {
            break said;
        }
        assert!(Instant::now() < until, "{:?}", detail.execution.status);
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(
        said.starts_with("the python environment is being built for pack slow on test since 20"),
        "{said}"
    );
    let detail = system.run("core.shell", json!({"command": "echo meanwhile"})).await;
    assert_eq!(detail.stdout, "meanwhile\n");
    gate.open();
    for id in waiting {
        let detail = system.client.wait_for_execution(id, 60).await.unwrap();
        assert_eq!((detail.execution.status.as_str(), detail.stdout.as_str()), ("completed", "True\n"));
    }
    assert_eq!(system.count("select count(*) from attune.worker where preparing <> '[]'").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_parameters_that_do_not_fit_run_nothing() {
    let system = System::start().await;
    let request = ExecutionRequest::of("core.shell", json!({"command": 7, "more": true}));
    // The faults of single parameters are in its details.
    let refused = format!("{:?}", system.client.create_execution(&request).await.unwrap_err());
    assert!(refused.contains("command") && refused.contains("more"), "{refused}");
    assert_eq!(system.count("select count(*) from attune.execution").await, 0);
}
