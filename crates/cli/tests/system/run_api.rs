//! What running actions ask of Attune and leave: real processes with the tokens that their worker gave them.

use std::time::{Duration, Instant};

use attune_client::OutputEvent;
use attune_client::types::{ExecutionDetail, ExecutionRequest};
use futures::StreamExt;
use serde_json::json;

use crate::support::{PATIENCE, System, attune, directory};

/// An action of this pack that runs a script with its parameters in the environment.
fn pack<'a>(yaml: &'a str, script: &'a str) -> [(&'a str, &'a str); 4] {
    [
        ("pack.yaml", "ref: ops\nversion: 1.0.0\nlabel: Operations\n"),
        ("triggers/alert.yaml", "ref: ops.alert\n"),
        ("actions/work.yaml", yaml),
        ("actions/work.sh", script),
    ]
}

const WORK: &str = "ref: ops.work\nruntime: core.shell\nentrypoint: work.sh\nparameter_delivery: env\n\
                    parameters: {attune: {type: string}, file: {type: string}}\n";

/// Everything that was kept of one stream.
pub(crate) async fn written(system: &System, id: i64, stream: &str) -> String {
    let pieces = system.client.output(id).await.unwrap();
    pieces.into_iter().filter(|piece| piece.stream == stream).map(|piece| piece.text).collect()
}

pub(crate) async fn content(system: &System, artifact: &str) -> Vec<u8> {
    let mut pieces = std::pin::pin!(system.client.download_artifact(artifact, None).await.unwrap());
    let mut content = Vec::new();
    while let Some(piece) = pieces.next().await {
        content.extend_from_slice(&piece.unwrap());
    }
    content
}

#[tokio::test]
async fn test_an_action_uses_its_token_while_it_runs() {
    let system = System::start().await;
    let yaml = format!("{WORK}permissions:\n  - {{resource: event, actions: [create]}}\n");
    // The token is told to nobody, whole or in two pieces; the file is the test's own way to see it.
    let script = "#!/bin/sh\nset -e\nprintf %s \"$ATTUNE_API_TOKEN\" > \"$ATTUNE_ACTION_FILE\"\n\
        echo \"token $ATTUNE_API_TOKEN\"\n\
        half=$(printf %.30s \"$ATTUNE_API_TOKEN\")\nprintf %s \"$half\" >&2; sleep 0.3; printf '%s\\n' \"${ATTUNE_API_TOKEN#\"$half\"}\" >&2\n\
        \"$ATTUNE_ACTION_ATTUNE\" execution progress 40 --message halfway\n\
        \"$ATTUNE_ACTION_ATTUNE\" event create --trigger ops.alert -o name\n\
        ! \"$ATTUNE_ACTION_ATTUNE\" key list\n";
    system.install(&pack(&yaml, script)).await;
    let place = directory();
    let file = place.path().join("token");
    let parameters = json!({"attune": env!("CARGO_BIN_EXE_attune"), "file": file});
    let detail = system.run("ops.work", parameters).await;
    let id = detail.execution.id;
    assert_eq!(detail.execution.status, "completed", "{detail:?}");
    let token = std::fs::read_to_string(&file).unwrap();
    assert!(token.starts_with(&format!("attune_run_{id}.1.")), "{token}");
    let event = system.client.events(&[]).await.unwrap().items.remove(0);
    assert_eq!((event.caused_by, event.trace_id), (Some(id), detail.execution.trace_id.clone()));
    assert_eq!(written(&system, id, "stdout").await, format!("token ********\n{}\n", event.id));
    let stderr = written(&system, id, "stderr").await;
    assert!(stderr.starts_with("********\n"), "{stderr}");
    assert!(stderr.contains("runs of ops.work may not do this"), "{stderr}");
    let progress = detail.progress.unwrap();
    assert_eq!((progress.percent, progress.message.as_deref()), (Some(40.0), Some("halfway")));
    // It opens nothing any more, and is nowhere.
    let error = system.client.with_token(token.clone()).whoami().await.unwrap_err();
    assert_eq!(error.status(), Some(401));
    let kept: i64 = sqlx::query_scalar(
        "select (select count(*) from attune.execution_output where position($1::bytea in content) > 0)
              + (select count(*) from attune.execution where strpos(execution::text, $2) > 0)",
    )
    .bind(token.as_bytes())
    .bind(&token)
    .fetch_one(system.database.pool())
    .await
    .unwrap();
    assert_eq!(kept, 0);
}

#[tokio::test]
async fn test_what_an_action_leaves_in_its_directory_is_kept() {
    let system = System::start().await;
    let yaml = format!("{WORK}artifacts:\n  - {{name: disks.json, type: table, keep_versions: 2}}\n");
    let script = "#!/bin/sh\nset -e\ncd \"$ATTUNE_ARTIFACTS\"\nmkdir -p logs\n\
        printf '[{\"host\": \"a\"}]' > disks.json\nprintf 'token %s.' \"$ATTUNE_API_TOKEN\" > logs/Run.TXT\n\
        ln -s /etc/passwd passwd\nhead -c 70000000 /dev/zero > large.bin\nexit 3\n";
    system.install(&pack(&yaml, script)).await;
    let detail = system.run("ops.work", json!({})).await;
    assert_eq!(
        (detail.execution.status.as_str(), detail.execution.exit_code),
        ("failed", Some(3)),
        "{detail:?}"
    );
    let left = system.client.execution_artifacts(detail.execution.id).await.unwrap().items;
    let left: Vec<_> =
        left.iter().map(|one| (one.artifact_ref.as_str(), one.content_type.as_str())).collect();
    let expected =
        [("ops.work.disks.json", "application/json"), ("ops.work.logs-run.txt", "text/plain; charset=utf-8")];
    assert_eq!(left, expected);
    assert_eq!(content(&system, "ops.work.logs-run.txt").await, b"token ********.");
    assert_eq!(
        content(&system, "ops.work.disks.json").await,
        br#"{"columns":[{"name":"host"}],"rows":[["a"]]}"#
    );
    let notes = written(&system, detail.execution.id, "stderr").await;
    let expected = "[attune: artifact passwd is not kept: it is no plain file]\n\
                    [attune: artifact large.bin is not kept: an artifact may have 67108864 bytes at most]\n";
    assert_eq!(notes, expected);
    // Every run adds a version; retention is the action's.
    system.run("ops.work", json!({})).await;
    let artifact = system.client.artifact("ops.work.disks.json").await.unwrap();
    assert_eq!((artifact.artifact.keep_versions, artifact.versions.len()), (Some(2), 2));
    // As a user gets it.
    let place = directory();
    let to = place.path().join("disks.json");
    let output = attune()
        .args(["artifact", "download", "ops.work.disks.json", "--version", "1", "--to"])
        .arg(&to)
        .args(["--url", system.client.base().as_str()])
        .env("ATTUNE_TOKEN", system.token().await)
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::read(&to).unwrap(), content(&system, "ops.work.disks.json").await);
}

#[tokio::test]
async fn test_an_action_uploads_by_the_command() {
    let system = System::start().await;
    let script = "#!/bin/sh\nset -e\necho report > report.txt\n\
        \"$ATTUNE_ACTION_ATTUNE\" artifact upload report.txt --keep-versions 3 -o name\n\
        echo piped | \"$ATTUNE_ACTION_ATTUNE\" artifact upload - --name piped -o name\n";
    system.install(&pack(WORK, script)).await;
    let detail = system.run("ops.work", json!({"attune": env!("CARGO_BIN_EXE_attune")})).await;
    assert_eq!(detail.execution.status, "completed", "{detail:?}");
    assert_eq!(detail.stdout, "ops.work.report.txt\nops.work.piped\n");
    assert_eq!(content(&system, "ops.work.report.txt").await, b"report\n");
    assert_eq!(content(&system, "ops.work.piped").await, b"piped\n");
}

/// The next piece of output.
async fn next(
    stream: &mut (impl futures::Stream<Item = Result<OutputEvent, attune_client::ClientError>> + Unpin),
) -> Option<OutputEvent> {
    tokio::time::timeout(PATIENCE, stream.next()).await.expect("nothing came").map(Result::unwrap)
}

#[tokio::test]
async fn test_output_is_seen_while_the_action_goes_on() {
    let system = System::start().await;
    // Goes on only when the test has seen what it wrote before; ends in the middle of a character.
    let script = "#!/bin/sh\nfor step in 1 2 3; do\n  echo \"step $step\"\n  printf '\\303\\050\\n' >&2\n\
        while [ ! -e \"$ATTUNE_ACTION_FILE.$step\" ]; do sleep 0.05; done\ndone\nprintf 'end \\342\\202'\nexit 7\n";
    system.install(&pack(WORK, script)).await;
    let place = directory();
    let file = place.path().join("seen");
    let request = ExecutionRequest::of("ops.work", json!({"file": file}));
    let id = system.client.create_execution(&request).await.unwrap().id;
    let mut stream = Box::pin(system.client.follow_output(id).await.unwrap());
    let (mut stdout, mut stderr, mut status) = (String::new(), String::new(), None);
    let began = Instant::now();
    let mut step = 1;
    while let Some(event) = next(&mut stream).await {
        match event {
            OutputEvent::Piece(piece) if piece.stream == "stdout" => {
                assert!(piece.at.is_some() || piece.text == "\u{fffd}", "{piece:?}");
                stdout.push_str(&piece.text);
            }
            OutputEvent::Piece(piece) => stderr.push_str(&piece.text),
            OutputEvent::Progress(progress) => panic!("{progress:?}"),
            OutputEvent::End { status: ended } => status = Some(ended),
        }
        if step <= 3 && stdout.contains(&format!("step {step}\n")) && stderr.lines().count() == step {
            std::fs::write(format!("{}.{step}", file.display()), "").unwrap();
            step += 1;
        }
        assert!(began.elapsed() < PATIENCE);
    }
    assert_eq!(stdout, "step 1\nstep 2\nstep 3\nend \u{fffd}");
    assert_eq!(stderr, "\u{fffd}(\n".repeat(3));
    assert_eq!(status.as_deref(), Some("failed"));
    // The command that follows says how it ended.
    let logs = async |arguments: &[&str]| {
        let mut command = attune();
        command.args(["execution", "logs", &id.to_string()]).args(arguments);
        command.args(["--url", system.client.base().as_str()]).env("ATTUNE_TOKEN", system.token().await);
        command.output().await.unwrap()
    };
    let followed = logs(&["--follow"]).await;
    assert_eq!(followed.status.code(), Some(3));
    assert_eq!(String::from_utf8(followed.stdout).unwrap(), stdout);
    let told = String::from_utf8(followed.stderr).unwrap();
    assert!(told.contains("failed") && told.contains("exit code 7"), "{told}");
    let timed = logs(&["--timestamps", "--attempt", "1"]).await;
    assert_eq!(timed.status.code(), Some(0));
    let timed = String::from_utf8(timed.stdout).unwrap();
    let first = timed.lines().next().unwrap();
    let (at, line) = first.split_once(' ').unwrap();
    assert!(chrono::DateTime::parse_from_rfc3339(at).is_ok() && line == "step 1", "{first}");
    assert!(logs(&["--attempt", "2"]).await.stdout.is_empty());
}

#[tokio::test]
async fn test_a_flood_of_output_is_bounded_and_its_middle_is_counted() {
    let system = System::start().await;
    // 100 MB, with the token across the border of every block that the process writes.
    let script = "#!/bin/sh\nprintf 'begin '; head -c 100000000 /dev/zero | tr '\\0' 'x'; printf '%s' \"$ATTUNE_API_TOKEN\"\n";
    system.install(&pack(WORK, script)).await;
    let ExecutionDetail { execution, .. } = system.run("ops.work", json!({})).await;
    assert_eq!(execution.status, "completed", "{execution:?}");
    assert_eq!(execution.stdout_bytes, Some(100_000_014));
    let text = written(&system, execution.id, "stdout").await;
    assert!(text.starts_with("begin xxx") && text.ends_with("x********"));
    let omitted = 100_000_014 - (1024 + 256) * 1024;
    let note = format!("\n[... {omitted} bytes omitted ...]\n");
    assert!(text.contains(&note));
    assert_eq!(text.len(), (1024 + 256) * 1024 + note.len());
    let stored = system.count("select sum(octet_length(content))::bigint from attune.execution_output").await;
    assert_eq!(stored, i64::try_from(text.len()).unwrap());
}

#[tokio::test]
async fn test_what_comes_after_the_first_megabyte_is_seen_while_it_runs() {
    let system = System::start().await;
    let script = "#!/bin/sh\nhead -c 1500000 /dev/zero | tr '\\0' 'x'; echo; echo latest line\n\
                  while [ ! -e \"$ATTUNE_ACTION_FILE\" ]; do sleep 0.05; done\necho over\n";
    system.install(&pack(WORK, script)).await;
    let place = directory();
    let file = place.path().join("go");
    let request = ExecutionRequest::of("ops.work", json!({"file": file}));
    let id = system.client.create_execution(&request).await.unwrap().id;
    let until = Instant::now() + PATIENCE;
    while !written(&system, id, "stdout").await.ends_with("\nlatest line\n") {
        assert!(Instant::now() < until, "it is not there");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(system.client.execution(id).await.unwrap().execution.status, "running");
    std::fs::write(&file, "").unwrap();
    system.client.wait_for_execution(id, 60).await.unwrap();
    let text = written(&system, id, "stdout").await;
    assert!(text.ends_with("\nlatest line\nover\n"));
    let omitted = 1_500_000 + 1 + 12 + 5 - (1024 + 256) * 1024;
    let note = format!("\n[... {omitted} bytes omitted ...]\n");
    assert!(text.contains(&note), "{}", &text[1_000_000..].trim_matches('x'));
    assert_eq!(text.len(), (1024 + 256) * 1024 + note.len());
}

#[tokio::test]
async fn test_a_reader_that_stands_still_holds_nobody_up() {
    let system = System::start().await;
    let script = "#!/bin/sh\nwhile [ ! -e \"$ATTUNE_ACTION_FILE\" ]; do sleep 0.05; done\nhead -c 2000000 /dev/zero | tr '\\0' 'x'\n";
    system.install(&pack(WORK, script)).await;
    let place = directory();
    let file = place.path().join("go");
    let request = ExecutionRequest::of("ops.work", json!({"file": file}));
    let id = system.client.create_execution(&request).await.unwrap().id;
    // They ask, and read nothing.
    let mut standing = Vec::new();
    for _ in 0..20 {
        standing.push(Box::pin(system.client.follow_output(id).await.unwrap()));
    }
    std::fs::write(&file, "").unwrap();
    let detail =
        tokio::time::timeout(Duration::from_secs(60), system.client.wait_for_execution(id, 60)).await;
    assert_eq!(detail.unwrap().unwrap().execution.status, "completed");
    // And get all that was kept when they go on.
    for mut stream in standing {
        let mut length = 0;
        while let Some(event) = next(&mut stream).await {
            if let OutputEvent::Piece(piece) = event {
                length += piece.text.len();
            }
        }
        assert!(length > (1024 + 256) * 1024, "{length}");
    }
}
