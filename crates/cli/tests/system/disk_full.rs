//! The example pack `disk_full` on a file system of eight megabytes.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};

use crate::support::own_mounts;

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
    // Looks twice a second at a disk that fills, empties and fills again. Writes to standard input end it.
    let script = "
        mkfifo \"$disk/end\" \"$disk/said\"
        python3 \"$pack/sensors/filesystems.py\" <\"$disk/end\" >\"$disk/said\" &
        exec 3>\"$disk/end\" 4<\"$disk/said\"
        echo '{\"mounts\": [\"'\"$disk\"'\", \"/no/such\"], \"limit\": 0.7, \"again_below\": 0.5, \"every\": 0.05}' >&3
        head -c 7000000 /dev/zero >\"$disk/big\"
        read -r first <&4; echo \"$first\"
        rm \"$disk/big\"; python3 -c 'import time; time.sleep(1)'
        head -c 6500000 /dev/zero >\"$disk/big\"
        read -r second <&4; echo \"$second\"
        exec 3>&-
        wait
        cat <&4
    ";
    let output = on_small_disk(script).await;
    let (stdout, stderr) = text(&output);
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(stderr.contains("/no/such cannot be looked at"), "{stderr}");
    let events: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 2, "each passing is told once: {stdout}");
    for event in &events {
        assert_eq!(event["trigger"], "disk_full.filling");
        assert!(event["payload"]["used"].as_f64().unwrap() >= 0.7, "{event}");
        assert_eq!(event["payload"]["size_bytes"], 8 << 20);
    }
}
