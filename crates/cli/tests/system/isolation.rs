//! What keeps the processes of actions apart from the machine and from one another.

use std::path::Path;

use attune_client::types::{ExecutionDetail, ExecutionRequest};
use serde_json::json;

use crate::support::{PATIENCE, System, directory};

const PACK: [(&str, &str); 9] = [
    ("pack.yaml", "ref: apart\nversion: 1.0.0\n"),
    (
        "actions/sandbox.yaml",
        "ref: apart.sandbox\nruntime: core.python\nentrypoint: sandbox.py\nsandbox: {filesystem: private, network: none}\noutput_format: json\n",
    ),
    (
        "actions/sandbox.py",
        "import json, os, socket, tempfile
def attempt(what):
    try:
        what()
        return True
    except OSError:
        return False
print(json.dumps({
    'own': attempt(lambda: open('file', 'w').write('x')),
    'temporary': attempt(lambda: tempfile.mkstemp()),
    'pack': os.path.exists(os.path.join(os.environ['ATTUNE_PACK_DIR'], 'pack.yaml'))
        and attempt(lambda: open(os.path.join(os.environ['ATTUNE_PACK_DIR'], 'pack.yaml')).read()),
    'others': attempt(lambda: os.listdir(os.path.dirname(os.getcwd()))),
    'network': attempt(lambda: socket.create_connection(('127.0.0.1', 9), 1)),
}))
",
    ),
    (
        "actions/limited.yaml",
        "ref: apart.limited\nruntime: core.python\nentrypoint: limited.py\nlimits: {memory: 512MiB, cpu_time: 30s}\n",
    ),
    ("actions/limited.py", "x = bytearray(1 << 30)\n"),
    (
        "actions/full.yaml",
        "ref: apart.full\nruntime: core.shell\nentrypoint: full.sh\nlimits: {file_size: 1MiB}\n",
    ),
    ("actions/full.sh", "exec head -c 5000000 /dev/zero > big\n"),
    (
        "actions/image.yaml",
        "ref: apart.image\nruntime: core.shell\nentrypoint: image.sh\nimage: example.org/tools:1\nparameter_delivery: env\nparameters: {word: {type: string}}\n",
    ),
    ("actions/image.sh", "echo \"in $ATTUNE_TEST_IMAGE: $ATTUNE_ACTION_WORD\"; ls \"$ATTUNE_PACK_DIR\"\n"),
];

fn error(detail: &ExecutionDetail) -> &str {
    detail.execution.error.as_deref().unwrap_or_default()
}

fn is_running(pid: &str) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !(state.is_empty() || state.contains(") Z "))
}

/// A search path that begins with this directory.
fn path_with(directory: &Path) -> std::ffi::OsString {
    let mut path = std::ffi::OsString::from(directory);
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_sandboxes_and_limits_hold() {
    let system = System::start().await;
    system.install(&PACK).await;
    let detail = system.run("apart.sandbox", json!({})).await;
    assert_eq!(detail.execution.status, "completed", "{:?} {}", detail.execution.error, detail.stderr);
    let expected = json!({"own": true, "temporary": true, "pack": true, "others": false, "network": false});
    assert_eq!(detail.execution.result, Some(expected));

    let detail = system.run("apart.limited", json!({})).await;
    assert_eq!(detail.execution.status, "failed");
    assert!(error(&detail).contains("536870912 bytes of memory (`limits.memory`)"), "{detail:?}");
    let detail = system.run("apart.full", json!({})).await;
    assert_eq!((detail.execution.status.as_str(), detail.execution.signal), ("failed", Some(25)));
    assert!(error(&detail).contains("1048576 bytes (`limits.file_size`)"), "{detail:?}");

    // Nothing of a run is left.
    let left = walk(&system.data().join("worker/runs")).into_iter().filter(|path| !path.ends_with(".lock"));
    assert_eq!(left.collect::<Vec<_>>(), [] as [String; 0]);
}

/// The files below a directory.
fn walk(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(directory) else { return found };
    for entry in entries {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(walk(&entry.path())),
            false => found.push(entry.path().display().to_string()),
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_what_a_killed_worker_left_running_is_ended_by_the_next() {
    let mut system = System::start().await;
    // The process itself, a child that it does not wait for, and one with a group and an environment of its own.
    let command = "echo $$; sleep 600 & echo $!; setsid env -i sleep 600 & echo $!; exec sleep 600";
    let request = ExecutionRequest::of("core.shell", json!({"command": command}));
    let started = system.client.create_execution(&request).await.unwrap();
    let until = std::time::Instant::now() + PATIENCE;
    let pids = loop {
        let pieces = system.client.output(started.id).await.unwrap();
        let text: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
        let pids: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        if pids.len() == 3 {
            break pids;
        }
        assert!(std::time::Instant::now() < until, "{text}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert!(pids.iter().all(|pid| is_running(pid)), "{pids:?}");
    system.kill().await;
    // The child of the worker dies with it.
    while is_running(&pids[0]) {
        assert!(std::time::Instant::now() < until, "{} lives", pids[0]);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    system.restart().await;
    system.wait_for_count("select count(*) from attune.worker where status = 'active'", 1).await;
    while pids.iter().any(|pid| is_running(pid)) {
        assert!(std::time::Instant::now() < until, "{pids:?} live");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// Runs the command of a container on this machine, with the directories put where they are here.
const ENGINE: &str = r#"#!/bin/sh
case "$1" in
    version) echo 5.0; exit ;;
    image) exit 0 ;;
    run) ;;
    *) exit 0 ;;
esac
printf '%s\n' "$*" >> "$(dirname "$0")/told"
shift
while test $# -gt 0; do
    case $1 in
        --rm|--interactive|--read-only|--http-proxy=false) shift ;;
        --volume)
            case $2 in
                *:/attune/pack:ro,z) pack=${2%%:*} ;;
                *:/attune/run:rw,z) run=${2%%:*} ;;
            esac
            shift 2 ;;
        --entrypoint) program=$2; shift 2 ;;
        --*) shift 2 ;;
        *) break ;;
    esac
done
image=$1; shift
file=$pack/${1#/attune/pack/}
cd "$run" && ATTUNE_TEST_IMAGE=$image ATTUNE_PACK_DIR=$pack exec "$program" "$file"
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_an_action_with_an_image_runs_in_a_container() {
    let directory = directory();
    let engine = directory.path().join("podman");
    std::fs::write(&engine, ENGINE).unwrap();
    std::fs::set_permissions(&engine, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let system = System::start_with(&[("PATH", path_with(directory.path()))]).await;
    system.install(&PACK).await;
    let detail = system.run("apart.image", json!({"word": "s3cret"})).await;
    assert_eq!(detail.execution.status, "completed", "{:?} {}", detail.execution.error, detail.stderr);
    assert_eq!(detail.stdout, "in example.org/tools:1: s3cret\nactions\npack.yaml\n");
    let told = std::fs::read_to_string(directory.path().join("told")).unwrap();
    assert!(told.contains("--env ATTUNE_ACTION_WORD ") && !told.contains("s3cret"), "{told}");
    let workers = system
        .count("select count(*) from attune.worker where capabilities ->> 'container' = 'podman'")
        .await;
    assert_eq!(workers, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_an_action_with_an_image_says_that_there_is_no_engine() {
    // What the server itself needs, and no container engine.
    let directory = directory();
    for program in ["sh", "env", "sleep"] {
        std::os::unix::fs::symlink(format!("/bin/{program}"), directory.path().join(program)).unwrap();
    }
    let system = System::start_with(&[("PATH", directory.path().into())]).await;
    system.install(&PACK).await;
    let detail = system.run("apart.image", json!({})).await;
    assert_eq!(detail.execution.status, "failed");
    for expected in ["example.org/tools:1", "neither podman nor docker", "worker_selector"] {
        assert!(error(&detail).contains(expected), "{detail:?}");
    }
}
