//! The example pack `disk_full` on a file system of eight megabytes.

use std::path::{Path, PathBuf};
use std::process::Output;

use attune_client::types::RuleChange;
use serde_json::{Value, json};

use crate::alertmanager::install_example_with;
use crate::support::{System, own_mounts};

fn pack() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packs/examples/disk_full")
}

/// Runs the script where nobody else sees its mounts; `$disk` is a new file system of 8 MB.
async fn on_small_disk(script: &str) -> Output {
    let mount = tempfile::tempdir().unwrap();
    let script = format!("set -eu; mount -t tmpfs -o size=8m tmpfs \"$disk\"; {script}");
    own_mounts()
        .args(["sh", "-c", &script])
        .env("disk", mount.path())
        .env("pack", pack())
        .env("PYTHONPATH", Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk/python"))
        .output()
        .await
        .unwrap()
}

fn text(output: &Output) -> (String, String) {
    (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// Old logs of three megabytes each, a new one, one that no pattern means, and a link to something outside.
const FILL: &str = "
    mkdir \"$disk/log\" \"$disk/log/deep\"
    head -c 3000000 /dev/zero >\"$disk/log/a.log.1\"
    head -c 3000000 /dev/zero >\"$disk/log/deep/b.log.2\"
    head -c 1000000 /dev/zero >\"$disk/log/new.log.1\"
    echo keep >\"$disk/log/keep.txt\"
    ln -s /etc/hostname \"$disk/log/link.tmp\"
    touch -d '10 days ago' \"$disk/log/a.log.1\" \"$disk/log/keep.txt\"
    touch -d '9 days ago' \"$disk/log/deep/b.log.2\"
    touch -h -d '10 days ago' \"$disk/log/link.tmp\"
";

#[tokio::test]
async fn test_old_files_are_shown_first_and_then_removed() {
    let parameters = |more: &str| {
        format!(
            "{{\"directories\": [\"'\"$disk\"'/log\"], \"patterns\": [\"*.log.*\", \"*.tmp\"], \"older_than_hours\": 168, \"most_files\": 100{more}}}"
        )
    };
    let run = |more: &str| format!("echo '{}' | python3 \"$pack/actions/clean.py\"", parameters(more));
    let script = format!(
        "{FILL}
        {}
        ls -R \"$disk/log\" | wc -l
        {}
        find \"$disk/log\" -type f -o -type l | sort | sed \"s|$disk||\"
        {}",
        run(", \"dry_run\": true, \"free_bytes\": 0"),
        run(", \"dry_run\": false, \"free_bytes\": 1000000"),
        run(", \"dry_run\": false, \"free_bytes\": 0"),
    );
    let output = on_small_disk(&script).await;
    let (stdout, stderr) = text(&output);
    assert!(output.status.success(), "{stdout}{stderr}");
    let lines: Vec<&str> = stdout.lines().collect();
    let names = |result: &Value| -> Vec<String> {
        let files = result["files"].as_array().unwrap().iter();
        files.map(|file| file["path"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()).collect()
    };
    let dry: Value = serde_json::from_str(lines[0]).unwrap();
    assert_eq!((&dry["dry_run"], &dry["found"], &dry["removed"]), (&json!(true), &json!(2), &json!(0)));
    assert_eq!(names(&dry), ["a.log.1", "b.log.2"], "the oldest first; no link, nothing new, nothing else");
    assert!(dry["would_free_bytes"].as_i64().unwrap() >= 6_000_000, "{dry}");
    assert_eq!(dry["free_bytes_before"], dry["free_bytes_after"]);

    let first: Value = serde_json::from_str(lines[2]).unwrap();
    assert_eq!(names(&first), ["a.log.1"], "enough was freed by the oldest");
    let freed = |result: &Value| {
        let bytes = |name: &str| result[name].as_object().unwrap().values().next().unwrap().as_i64().unwrap();
        bytes("free_bytes_after") - bytes("free_bytes_before")
    };
    assert!(freed(&first) >= 3_000_000, "{first}");
    assert_eq!(lines[3..7], ["/log/deep/b.log.2", "/log/keep.txt", "/log/link.tmp", "/log/new.log.1"]);
    let last: Value = serde_json::from_str(lines[7]).unwrap();
    assert_eq!((names(&last), &last["removed"]), (vec!["b.log.2".to_owned()], &json!(1)));
}

#[tokio::test]
async fn test_the_sensor_tells_once_when_a_limit_is_passed() {
    // Looks many times a second at a disk that fills, fills further, empties and fills again. The end of its input ends it.
    let script = "
        mkfifo \"$disk/end\" \"$disk/said\"
        settings='{\"mounts\": [\"'\"$disk\"'\", \"/no/such\"], \"limit\": 0.6, \"clean_at\": 0.8, \"again_below\": 0.5, \"every\": 0.05}'
        ATTUNE_PACK_CONFIG=\"$settings\" python3 \"$pack/sensors/filesystems.py\" <\"$disk/end\" >\"$disk/said\" &
        exec 3>\"$disk/end\" 4<\"$disk/said\"
        echo '{}' >&3
        head -c 5500000 /dev/zero >\"$disk/big\"
        read -r line <&4; echo \"$line\"
        head -c 2000000 /dev/zero >\"$disk/more\"
        read -r line <&4; echo \"$line\"
        rm \"$disk/big\"; python3 -c 'import time; time.sleep(1)'
        head -c 4000000 /dev/zero >\"$disk/big\"
        read -r line <&4; echo \"$line\"
        exec 3>&-
        wait
        cat <&4
    ";
    let output = on_small_disk(script).await;
    let (stdout, stderr) = text(&output);
    assert!(output.status.success(), "{stdout}{stderr}");
    assert_eq!(stderr.matches("/no/such cannot be looked at").count(), 1, "{stderr}");
    let events: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 3, "each passing is told once: {stdout}");
    for (event, (at_least, below)) in events.iter().zip([(0.6, 0.8), (0.8, 1.0), (0.6, 0.8)]) {
        assert_eq!(event["trigger"], "disk_full.filling");
        let used = event["payload"]["used"].as_f64().unwrap();
        assert!(at_least <= used && used < below, "{event}");
        assert_eq!(event["payload"]["size_bytes"], 8 << 20);
    }
}

#[tokio::test]
async fn test_limits_that_contradict_each_other_are_told() {
    let output = on_small_disk(
        "echo '{}' | ATTUNE_PACK_CONFIG='{\"mounts\": [\"/\"], \"limit\": 0.6, \"clean_at\": 0.8, \"again_below\": 0.7, \"every\": 1}' \
         python3 \"$pack/sensors/filesystems.py\"",
    )
    .await;
    let (stdout, stderr) = text(&output);
    assert_eq!((output.status.code(), stdout.as_str()), (Some(1), ""), "{stderr}");
    assert!(stderr.contains("again_below is 0.7, expected 0.6 at most"), "{stderr}");
}

/// A file system of 8 MB in the data directory, which only the server and its processes see, with old logs of 3 MB.
const DISK: &str =
    "mkdir -p \"$data/disk\"; mount -t tmpfs -o size=8m tmpfs \"$data/disk\"; mkdir \"$data/disk/log\"
    head -c 2000000 /dev/zero >\"$data/disk/log/a.log.1\"
    head -c 1000000 /dev/zero >\"$data/disk/log/b.log.1\"
    touch -d '3 days ago' \"$data/disk/log/a.log.1\"
    touch -d '2 days ago' \"$data/disk/log/b.log.1\"";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_a_disk_that_fills_is_looked_at_and_then_cleaned_by_the_installed_pack() {
    let system = System::start_on(DISK).await;
    let disk = system.data().join("disk").to_str().unwrap().to_owned();
    let settings = json!({
        "mounts": [disk], "limit": 0.3, "clean_at": 0.7, "again_below": 0.2, "every": 0.1,
        "directories": [format!("{disk}/log")], "patterns": ["*.log.*"], "older_than_hours": 24,
    });
    install_example_with(&system, "disk_full", &settings).await;
    let ended =
        "select count(*) from attune.execution where action_ref = 'disk_full.clean' and status = 'completed'";
    system.wait_for_count(ended, 1).await;
    let enable = RuleChange { enabled: Some(true), ..RuleChange::default() };
    system.client.change_rule("disk_full.clean", &enable).await.unwrap();
    let shell = async |command: &str| {
        let command = json!({ "command": format!("cd '{disk}/log' && {command}") });
        let ended = system.run("core.shell", command).await;
        assert_eq!(ended.execution.status, "completed", "{ended:?}");
        ended.execution.result.unwrap_or_default()
    };
    shell("head -c 3500000 /dev/zero >new.log.1").await;
    system.wait_for_count(ended, 2).await;
    system.wait_until_idle().await;

    let results: Vec<Value> = sqlx::query_scalar(
        "select result from attune.execution where action_ref = 'disk_full.clean' order by id",
    )
    .fetch_all(system.database.pool())
    .await
    .unwrap();
    let said =
        |result: &Value| (result["dry_run"].clone(), result["found"].clone(), result["removed"].clone());
    assert_eq!(said(&results[0]), (json!(true), json!(2), json!(0)), "{results:?}");
    assert_eq!(results[0]["files"][0]["path"], json!(format!("{disk}/log/a.log.1")));
    assert_eq!(said(&results[1]), (json!(false), json!(2), json!(2)), "{results:?}");
    assert_eq!(shell("ls").await.as_str().map(str::trim), Some("new.log.1"));
    let events = "select count(*) from attune.event where trigger_ref = 'disk_full.filling'";
    assert_eq!(system.count(events).await, 2, "each limit is told once");
}
