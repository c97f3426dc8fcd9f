//! Actions with `image`, in real containers.

mod engine;

use std::time::Instant;

use attune_client::types::{ExecutionDetail, ExecutionRequest};
use serde_json::{Value, json};

use crate::run_api::{content, written};
use crate::support::{PATIENCE, System};
use engine::{Engine, IMAGE, OWN_ACCOUNT};

/// One action of the pack: what its file says besides its name, its entrypoint and the image, and the script.
struct Action {
    name: &'static str,
    says: String,
    script: &'static str,
}

fn shell(name: &'static str, says: &str, script: &'static str) -> Action {
    Action { name, says: format!("runtime: core.shell\n{says}"), script }
}

async fn install(system: &System, actions: &[Action]) {
    let mut files = vec![("pack.yaml".to_owned(), "ref: box\nversion: 1.0.0\n".to_owned())];
    for Action { name, says, script } in actions {
        let image = if says.contains("image:") { String::new() } else { format!("image: {IMAGE}\n") };
        let text = format!("ref: box.{name}\nentrypoint: {name}.x\n{image}{says}");
        files.push((format!("actions/{name}.yaml"), text));
        files.push((format!("actions/{name}.x"), (*script).to_owned()));
    }
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    system.install(&files).await;
}

fn error(detail: &ExecutionDetail) -> &str {
    detail.execution.error.as_deref().unwrap_or_default()
}

/// Runs it and expects this end with these words in its error.
async fn expect(system: &System, action: &str, status: &str, words: &[&str]) -> ExecutionDetail {
    let detail = system.run(&format!("box.{action}"), json!({})).await;
    assert_eq!(detail.execution.status, status, "{detail:?}");
    for word in words {
        assert!(error(&detail).contains(word), "{word}: {detail:?}");
    }
    detail
}

/// Starts it and waits until it has written this.
async fn start(system: &System, action: &str, parameters: Value, wanted: &str) -> i64 {
    let request = ExecutionRequest::of(format!("box.{action}"), parameters);
    let id = system.client.create_execution(&request).await.unwrap().id;
    let until = Instant::now() + PATIENCE;
    while !written(system, id, "stdout").await.contains(wanted) {
        assert!(Instant::now() < until, "execution {id} does not say {wanted}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_an_action_in_a_container_finds_what_any_action_finds() {
    let Some(engine) = Engine::start().await else { return };
    let system = System::start_with(&engine.variables()).await;
    let mounts = ["/usr", "/lib", "/lib64"].into_iter().filter(|path| std::path::Path::new(path).exists());
    let mounts = mounts.collect::<Vec<_>>().join(", ");
    let actions = [
        shell(
            "stdin",
            "output_format: json\nparameters: {word: {type: string}, token: {type: string, secret: true}}\n",
            "set -e\ngiven=$(cat)\nprintf x > file\n\
             if (printf x > \"$ATTUNE_PACK_DIR/x\") 2>/dev/null; then pack=open; else pack=closed; fi\n\
             printf 'with %s' \"$given\" > \"$ATTUNE_ARTIFACTS/note.txt\"\n\
             wget -q -O /tmp/me --header \"Authorization: Bearer $ATTUNE_API_TOKEN\" \
                 \"$ATTUNE_API_URL/api/v1/executions/$ATTUNE_EXECUTION_ID\"\n\
             echo \"told $given and $ATTUNE_API_TOKEN\" >&2\n\
             printf '{\"given\": %s, \"directory\": \"%s\", \"pack\": \"%s\", \"me\": \"%s\", \"home\": \"%s\"}\\n' \
                 \"$given\" \"$(pwd) $(ls)\" \"$pack $(ls \"$ATTUNE_PACK_DIR\" | tr '\\n' ' ')\" \
                 \"$(grep -o '\"box.stdin\"' /tmp/me | head -n 1 | tr -d '\"')\" \"$(ls /home /root 2>/dev/null)\"\n",
        ),
        shell(
            "env",
            "parameter_delivery: env\nparameters: {word: {type: string}}\n",
            "printf '%s %s %s' \"$ATTUNE_ACTION_WORD\" \"$ATTUNE_ATTEMPT\" \"$ATTUNE_ACTION_REF\"\n\
             env | grep -ic proxy >&2\n",
        ),
        shell(
            "file",
            &format!(
                "image: {OWN_ACCOUNT}\nparameter_delivery: file\noutput_format: json\nparameters: {{word: {{type: string}}}}\n"
            ),
            "set -e\numask 077\nmkdir \"$ATTUNE_ARTIFACTS/deep\" own\nid -u > \"$ATTUNE_ARTIFACTS/deep/account\"\n\
             echo x > own/file\ncat \"$ATTUNE_PARAMETERS_FILE\"\n",
        ),
        shell("exit", "", "echo sorry >&2\nexit 7\n"),
        Action {
            name: "python",
            says: format!(
                "runtime: core.python\noutput_format: json\nparameters: {{word: {{type: string}}}}\n\
                 sandbox: {{filesystem: private, read: [{mounts}]}}\n"
            ),
            script: "import attune\n\n@attune.action\ndef work(word):\n    return {'sdk': attune.__file__, 'word': word}\n\nif __name__ == '__main__':\n    work.run()\n",
        },
        Action { name: "no_python", says: "runtime: core.python\n".to_owned(), script: "print(1)\n" },
        Action {
            name: "no_perl",
            says: "runtime: core.executable\n".to_owned(),
            script: "#!/usr/bin/perl\n",
        },
        shell("no_image", "image: localhost:1/attune-test-missing:1\n", "true\n"),
    ];
    install(&system, &actions).await;

    let (word, token) = ("a \"word\"", "hunter2-of-spades");
    let detail = system.run("box.stdin", json!({"word": word, "token": token})).await;
    let id = detail.execution.id;
    assert_eq!(detail.execution.status, "completed", "{:?} {}", detail.execution.error, detail.stderr);
    let expected = json!({
        "given": {"word": word, "token": "********"}, "directory": "/attune/run file", "pack": "closed actions pack.yaml ",
        "me": "box.stdin", "home": "",
    });
    assert_eq!(detail.execution.result, Some(expected));
    let note = String::from_utf8(content(&system, "box.stdin.note.txt").await).unwrap();
    for said in [&note, &written(&system, id, "stderr").await] {
        assert!(
            said.contains("********") && !said.contains(token) && !said.contains("attune_run_"),
            "{said}"
        );
    }

    let detail = system.run("box.env", json!({"word": word})).await;
    assert_eq!((detail.stdout.as_str(), detail.stderr.as_str()), ("a \"word\" 1 box.env", "0\n"));

    // Whoever the image says that it is has the use of its directories, and leaves nothing that stays.
    let detail = system.run("box.file", json!({"word": word})).await;
    assert_eq!(detail.execution.status, "completed", "{:?} {}", detail.execution.error, detail.stderr);
    assert_eq!(detail.execution.result, Some(json!({"word": word})));
    let account = content(&system, "box.file.deep-account").await;
    let expected: &[u8] = if nix::unistd::geteuid().is_root() { b"1234\n" } else { b"0\n" };
    assert_eq!(account, expected);

    let detail = expect(&system, "exit", "failed", &["the process exited with code 7"]).await;
    assert_eq!((detail.execution.exit_code, detail.stderr.as_str()), (Some(7), "sorry\n"));
    assert!(!error(&detail).contains(engine.name()), "{detail:?}");

    let detail = system.run("box.python", json!({"word": word})).await;
    assert_eq!(detail.execution.status, "completed", "{:?} {}", detail.execution.error, detail.stderr);
    let expected = json!({"sdk": "/attune/python/attune/__init__.py", "word": word});
    assert_eq!(detail.execution.result, Some(expected));

    expect(&system, "no_python", "failed", &["has no python3 to run the action with", IMAGE]).await;
    expect(&system, "no_perl", "failed", &["has nothing to run actions/no_perl.x with", "first line"]).await;
    let began = Instant::now();
    let words = ["the image localhost:1/attune-test-missing:1 cannot be fetched", engine.name(), "refused"];
    expect(&system, "no_image", "failed", &words).await;
    assert!(began.elapsed() < PATIENCE, "it is no matter of minutes");

    assert_eq!(engine.containers(), [] as [String; 0]);
    let runs = std::fs::read_dir(system.data().join("worker/runs")).unwrap().flatten();
    for instance in runs.filter(|entry| entry.path().is_dir()) {
        assert_eq!(std::fs::read_dir(instance.path()).unwrap().count(), 0, "{}", instance.path().display());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_limits_and_sandboxes_of_containers_hold() {
    let Some(engine) = Engine::start().await else { return };
    let system = System::start_with(&engine.variables()).await;
    let actions = [
        shell("memory", "limits: {memory: 16MiB}\n", "x=0123456789abcdef\nwhile :; do x=$x$x; done\n"),
        shell(
            "processes",
            "limits: {processes: 5}\n",
            "for i in 1 2 3 4 5 6 7 8; do sleep 60 & done\nkill $(jobs -p)\nexit 1\n",
        ),
        shell("time", "limits: {cpu_time: 1s}\n", "while :; do :; done\n"),
        shell(
            "size",
            "limits: {file_size: 1KiB}\n",
            "head -c 5000 /dev/zero > big\necho kept $?\nwc -c < big\nexit 1\n",
        ),
        shell("files", "limits: {open_files: 99}\n", "ulimit -n\n"),
        shell("usual", "", "ulimit -n\nulimit -f\n"),
        shell(
            "closed",
            "output_format: json\nsandbox: {filesystem: private, network: none}\n",
            "can() { if (\"$@\") >/dev/null 2>&1; then echo true; else echo false; fi; }\n\
             links=$(ip -o link | grep -v ' lo: ' | wc -l)\n\
             printf '{\"links\": %s, \"root\": %s, \"temporary\": %s, \"own\": %s, \"left\": %s, \"api\": %s}\\n' \"$links\" \
                 \"$(can touch /etc/x)\" \"$(can touch /tmp/x)\" \"$(can touch x)\" \"$(can touch \"$ATTUNE_ARTIFACTS/x\")\" \
                 \"$(can wget -q -O - \"$ATTUNE_API_URL\")\"\n",
        ),
    ];
    install(&system, &actions).await;
    for (action, limit) in [
        ("memory", "16777216 bytes of memory (`limits.memory`)"),
        ("processes", "5 processes in its container (`limits.processes`)"),
    ] {
        let detail = expect(&system, action, "failed", &[&format!("`limits.{action}`")]).await;
        // An engine without root may have no control of either.
        let refused = !nix::unistd::geteuid().is_root() && error(&detail).contains("cannot be kept");
        assert!(refused || error(&detail).contains(limit), "{detail:?}");
    }
    expect(&system, "time", "failed", &["1 s of processor time (`limits.cpu_time`)"]).await;
    let detail = system.run("box.size", json!({})).await;
    assert!(detail.stdout.ends_with("1024\n"), "{detail:?}");
    let detail = system.run("box.files", json!({})).await;
    assert_eq!(detail.stdout, "99\n", "{detail:?}");
    let detail = system.run("box.usual", json!({})).await;
    // In blocks of 512 bytes.
    assert_eq!(detail.stdout, "4096\n33554432\n", "{detail:?}");
    let detail = system.run("box.closed", json!({})).await;
    let expected =
        json!({"links": 0, "root": false, "temporary": true, "own": true, "left": true, "api": false});
    assert_eq!(detail.execution.result, Some(expected), "{detail:?}");
    assert_eq!(engine.containers(), [] as [String; 0]);
}

/// The numbers and the arguments of all processes of the machine.
fn command_lines() -> Vec<(i32, String)> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let line = |process: std::fs::DirEntry| {
        let number = process.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(process.path().join("cmdline")).ok()?;
        Some((number, String::from_utf8_lossy(&line).replace('\0', " ")))
    };
    processes.filter_map(line).collect()
}

/// The client of the engine that runs the container of this execution.
fn client_of(id: i64, processes: &[(i32, String)]) -> &(i32, String) {
    let is_client = |line: &str| {
        line.contains(&format!("-{id}-1 --label attune.instance=")) && line.contains(" run --rm ")
    };
    processes.iter().find(|(_, line)| is_client(line)).expect("the client of the engine runs")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_no_container_outlives_its_execution() {
    let Some(engine) = Engine::start().await else { return };
    let mut system = System::start_with(&engine.variables()).await;
    let actions = [
        // The first process of a container heeds no signal that it does not handle.
        shell("deaf", "timeout: 1s\n", "echo ready\nsleep 600\n"),
        shell(
            "polite",
            "parameter_delivery: env\nparameters: {token: {type: string, secret: true}}\n",
            "trap 'echo told to end; exit 3' TERM\necho ready\nwhile :; do sleep 0.1; done\n",
        ),
        shell("left", "", "echo ready\nsleep 600\n"),
    ];
    install(&system, &actions).await;
    expect(&system, "deaf", "timeout", &["ran past its timeout of 1 s"]).await;
    assert_eq!(engine.containers(), [] as [String; 0]);

    let id = start(&system, "polite", json!({"token": "hunter2-of-spades"}), "ready").await;
    let processes = command_lines();
    let (_, client) = client_of(id, &processes);
    assert!(
        client.contains("--env ATTUNE_ACTION_TOKEN ") && client.contains("--env ATTUNE_API_TOKEN "),
        "{client}"
    );
    for (_, line) in &processes {
        assert!(!line.contains("hunter2-of-spades") && !line.contains("attune_run_"), "{line}");
    }
    assert_eq!(engine.containers().len(), 1);
    system.client.cancel_execution(id).await.unwrap();
    let detail = system.client.wait_for_execution(id, 60).await.unwrap();
    assert_eq!(detail.execution.status, "cancelled", "{detail:?}");
    assert!(detail.stdout.contains("told to end"), "{detail:?}");
    assert_eq!(engine.containers(), [] as [String; 0]);

    let id = start(&system, "left", json!({}), "ready").await;
    let client = nix::unistd::Pid::from_raw(client_of(id, &command_lines()).0);
    nix::sys::signal::kill(client, nix::sys::signal::Signal::SIGKILL).unwrap();
    let detail = system.client.wait_for_execution(id, 60).await.unwrap();
    assert!(error(&detail).contains("killed by signal 9"), "{detail:?}");
    assert_eq!(engine.containers(), [] as [String; 0], "the end of its client does not end a container");

    start(&system, "left", json!({}), "ready").await;
    assert_eq!(engine.containers().len(), 1);
    system.kill().await;
    assert_eq!(engine.containers().len(), 1, "nobody is left to end it");
    system.restart().await;
    let until = Instant::now() + PATIENCE;
    while !engine.containers().is_empty() {
        assert!(Instant::now() < until, "{:?}", engine.containers());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
