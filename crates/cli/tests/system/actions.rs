//! Actions that misbehave: each ends in an execution that says what was wrong.

use std::time::{Duration, Instant};

use attune_client::types::{ExecutionDetail, ExecutionRequest};
use serde_json::json;

use crate::support::System;

const PACK: [(&str, &str); 9] = [
    ("pack.yaml", "ref: bad\nversion: 1.0.0\nlabel: Misbehaviour\n"),
    ("actions/exit.yaml", "ref: bad.exit\nruntime: core.shell\nentrypoint: exit.sh\n"),
    ("actions/exit.sh", "#!/bin/sh\necho half a result\necho what went wrong >&2\nexit 3\n"),
    (
        "actions/stubborn.yaml",
        "ref: bad.stubborn\nruntime: core.shell\nentrypoint: stubborn.sh\ntimeout: 1s\n",
    ),
    // Ignores SIGTERM, and so does the child that it waits for.
    ("actions/stubborn.sh", "#!/bin/sh\ntrap '' TERM\necho $$\nsleep 600 &\necho $!\nwait\nwait\n"),
    (
        "actions/not_json.yaml",
        "ref: bad.not_json\nruntime: core.shell\nentrypoint: not_json.sh\noutput_format: json\n",
    ),
    ("actions/not_json.sh", "#!/bin/sh\necho '{\"a\": '\n"),
    (
        "actions/no_interpreter.yaml",
        "ref: bad.no_interpreter\nruntime: core.executable\nentrypoint: no_interpreter\n",
    ),
    ("actions/no_interpreter", "#!/no/such/interpreter\n"),
];

fn error(detail: &ExecutionDetail) -> &str {
    detail.execution.error.as_deref().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_misbehaving_actions_end_with_their_reason() {
    let system = System::start().await;
    system.install(&PACK).await;

    let detail = system.run("bad.exit", json!({})).await;
    assert_eq!((detail.execution.status.as_str(), detail.execution.exit_code), ("failed", Some(3)));
    assert_eq!((detail.stdout.as_str(), detail.stderr.as_str()), ("half a result\n", "what went wrong\n"));
    assert!(error(&detail).contains("code 3"), "{detail:?}");

    let detail = system.run("core.shell", json!({"command": "printf 'caf\\351\\n'; kill -9 $$"})).await;
    assert_eq!((detail.execution.status.as_str(), detail.execution.signal), ("failed", Some(9)));
    assert_eq!(detail.stdout, "caf\u{fffd}\n", "invalid UTF-8 is shown as text");
    let raw: Vec<u8> = sqlx::query_scalar("select content from attune.execution_output where execution = $1")
        .bind(detail.execution.id)
        .fetch_one(system.database.pool())
        .await
        .unwrap();
    assert_eq!(raw, b"caf\xe9\n", "and kept as bytes");

    let detail = system.run("bad.not_json", json!({})).await;
    assert_eq!((detail.execution.status.as_str(), detail.execution.exit_code), ("failed", Some(0)));
    assert!(error(&detail).contains("json"), "{detail:?}");

    let detail = system.run("bad.no_interpreter", json!({})).await;
    assert_eq!(detail.execution.status, "failed");
    assert!(error(&detail).contains("/no/such/interpreter"), "{detail:?}");

    let began = Instant::now();
    let detail = system.run("bad.stubborn", json!({})).await;
    assert_eq!(detail.execution.status, "timeout");
    assert!(error(&detail).contains("timeout"), "{detail:?}");
    assert!(began.elapsed() < Duration::from_secs(60));
    let pids: Vec<&str> = detail.stdout.split_whitespace().collect();
    assert_eq!(pids.len(), 2, "{detail:?}");
    for pid in pids {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(state.is_empty() || state.contains(") Z "), "{pid} lives: {state}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_a_hundred_megabytes_of_output_are_counted_and_bounded() {
    let system = System::start().await;
    let detail =
        system.run("core.shell", json!({"command": "head -c 100000000 /dev/zero | tr '\\0' x"})).await;
    assert_eq!(detail.execution.status, "completed", "{:?}", detail.execution.error);
    assert_eq!(detail.execution.stdout_bytes, Some(100_000_000));
    let kept = system.count("select sum(octet_length(content))::bigint from attune.execution_output").await;
    assert!((1 << 20..2 << 20).contains(&kept), "{kept} bytes were kept");
    let pieces = system.client.output(detail.execution.id).await.unwrap();
    assert!(pieces.iter().any(|piece| piece.text.contains("bytes omitted")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_a_file_that_vanished_from_disk_is_brought_back_or_named() {
    let system = System::start().await;
    system.install(&PACK).await;
    system.run("bad.exit", json!({})).await;
    // Gone from the database: the pack says that it has it, and nobody can find it.
    sqlx::query("delete from attune.pack_file where path = 'actions/not_json.sh'")
        .execute(system.database.pool())
        .await
        .unwrap();
    sqlx::query("update attune.pack set checksum = repeat('0', 64) where ref = 'bad'")
        .execute(system.database.pool())
        .await
        .unwrap();
    let detail = system.run("bad.not_json", json!({})).await;
    assert_eq!(detail.execution.status, "failed");
    assert!(error(&detail).contains("actions/not_json.sh"), "{detail:?}");
    assert!(error(&detail).contains("does not exist"), "{detail:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_cancel_ends_the_process() {
    let system = System::start().await;
    let request = ExecutionRequest::of("core.shell", json!({"command": "echo $$; exec sleep 600"}));
    let started = system.client.create_execution(&request).await.unwrap();
    system.wait_for_count("select count(*) from attune.execution_output", 1).await;
    let canceling = system.client.cancel_execution(started.id).await.unwrap();
    assert!(["canceling", "cancelled"].contains(&canceling.status.as_str()), "{canceling:?}");
    let detail = system.client.wait_for_execution(started.id, 30).await.unwrap();
    assert_eq!(detail.execution.status, "cancelled");
    let pid = detail.stdout.trim();
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "{pid} lives: {state}");
}
