//! A worker whose data directory is on a full file system: what runs there ends with the cause and with what to do, and nothing
//! else is lost.

use attune_client::types::{ExecutionDetail, PackInstalled};
use serde_json::json;

use crate::support::{SMALL_DISK, System, cannot_mount};

const ACTIONS: [(&str, &str, &str); 6] = [
    // Fills the disk within its working directory, which is gone after it.
    ("fill", "", "cat /dev/zero >big"),
    // Fills it and leaves it so.
    ("occupy", "", "cat /dev/zero >\"$DATA/occupied\" 2>/dev/null || true"),
    ("free", "", "rm \"$DATA/occupied\""),
    ("given", "parameter_delivery: file\n", "wc -c <\"$ATTUNE_PARAMETERS_FILE\""),
    ("leave", "", "echo found >\"$ATTUNE_ARTIFACTS/small.txt\"\ncat /dev/zero >\"$ATTUNE_ARTIFACTS/big\""),
    ("say", "", "seq 1 20000"),
];

/// A version of the pack, whose files take as many bytes more.
async fn install(system: &System, version: &str, bytes: usize) -> PackInstalled {
    let data = system.data().join("worker");
    let mut files = vec![
        ("pack.yaml".to_owned(), format!("ref: ops\nversion: {version}\n")),
        ("files/ballast.txt".to_owned(), "x".repeat(bytes)),
    ];
    for (name, more, script) in ACTIONS {
        let definition = format!("ref: ops.{name}\nruntime: core.shell\nentrypoint: {name}.sh\n{more}");
        let parameters = if name == "given" { "parameters: {text: {type: string}}\n" } else { "" };
        files.push((format!("actions/{name}.yaml"), definition + parameters));
        files.push((format!("actions/{name}.sh"), format!("DATA='{}'\n{script}\n", data.display())));
    }
    let files: Vec<_> = files.iter().map(|(path, content)| (path.as_str(), content.as_str())).collect();
    system.install(&files).await
}

fn error(detail: &ExecutionDetail) -> &str {
    assert_eq!(detail.execution.status, "failed", "{detail:?}");
    detail.execution.error.as_deref().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_a_full_disk_is_told_and_everything_goes_on_when_there_is_room() {
    if let Some(reason) = cannot_mount().await {
        attune_testkit::skipped(
            "test_a_full_disk_is_told_and_everything_goes_on_when_there_is_room",
            &format!("this account may mount no file system here: {reason}"),
        );
        return;
    }
    let system = System::start_on(SMALL_DISK).await;
    install(&system, "1.0.0", 0).await;
    let run = async |name: &str, parameters| system.run(&format!("ops.{name}"), parameters).await;

    // The directory of a run is full; what was in it is gone with it, so the next one has as much room.
    for _ in 0..2 {
        let detail = run("fill", json!({})).await;
        let told = "standard error tells of a full disk: free space on the worker";
        assert!(error(&detail).ends_with(told), "{detail:?}");
    }
    // What a run left before there was no more room is kept.
    let detail = run("leave", json!({})).await;
    assert!(error(&detail).contains("full disk: free space on the worker"), "{detail:?}");
    let small = "select count(*) from attune.artifact where ref like '%small.txt'";
    assert_eq!(system.count(small).await, 1);

    assert_eq!(run("occupy", json!({})).await.execution.status, "completed");
    // Neither a run nor its output needs room.
    let detail = run("say", json!({})).await;
    assert_eq!(detail.execution.status, "completed", "{detail:?}");
    let said: String = (1..=20_000).map(|number| format!("{number}\n")).collect();
    let result = detail.execution.result.unwrap();
    assert!(result.as_str().map(str::trim_end) == Some(said.trim_end()), "output is missing");
    // What does need it says which file could not be written.
    let text = json!({"text": "x".repeat(100_000)});
    let detail = run("given", text.clone()).await;
    let told = error(&detail);
    assert!(told.contains("the file of parameters") && told.contains("No space left on device"), "{told}");
    assert!(told.ends_with("; free space on the worker"), "{told}");
    install(&system, "1.1.0", 200_000).await;
    let detail = run("say", json!({})).await;
    let told = error(&detail);
    assert!(told.contains("/worker/packs/") && told.contains("No space left on device"), "{told}");
    assert!(told.ends_with("; free space on the worker"), "{told}");
    // The files of the former version are still there.
    install(&system, "1.0.0", 0).await;
    assert_eq!(run("free", json!({})).await.execution.status, "completed");

    // It is the same worker, and it lacks nothing.
    install(&system, "1.1.0", 200_000).await;
    for name in ["say", "given"] {
        let detail = run(name, if name == "given" { text.clone() } else { json!({}) }).await;
        assert_eq!(detail.execution.status, "completed", "{detail:?}");
    }
    assert_eq!(system.count("select count(*) from attune.worker").await, 1);
    assert_eq!(
        system.count("select count(*) from attune.execution where attempt > 1 or finished is null").await,
        0
    );
}
