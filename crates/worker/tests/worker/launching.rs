//! A process gets what the launch says and nothing else; one that cannot be started says why and what to do.

use std::{fs, path::Path};

use attune_common::process::StartError;
use attune_worker::process::{Exit, Launch, LaunchError, OutputSink, run};
use tokio_util::sync::CancellationToken;

use crate::helpers::{directory, finish, path, program, shell};

async fn fail(launch: Launch) -> LaunchError {
    run(launch, CancellationToken::new(), OutputSink::discard()).await.expect_err("it cannot start")
}

async fn fail_with(launch: Launch, expected: &str) {
    let message = fail(launch).await.to_string();
    assert!(message.contains(expected), "{message:?} does not contain {expected:?}");
}

#[tokio::test]
async fn a_process_gets_its_environment_arguments_and_directory() {
    let directory = directory();
    fs::create_dir(directory.path().join("actions")).unwrap();
    let script = "#!/bin/sh\nprintf '%s|' \"$@\"\npwd\n/usr/bin/env\n";
    program(directory.path(), "actions/show", script, 0o755);
    let mut launch = Launch::of("actions/show", directory.path());
    launch.args = vec!["a b".into(), "$(id)".into(), "".into()];
    launch.env.insert("ONLY".into(), "this one".into());
    let text = finish(launch).await.stdout.to_text();
    let mut lines = text.lines();
    let real = directory.path().canonicalize().unwrap();
    assert_eq!(lines.next().unwrap(), format!("a b|$(id)||{}", real.display()));
    // The shell itself adds these.
    let own = |line: &&str| ["PWD=", "OLDPWD=", "SHLVL=", "_="].iter().any(|name| line.starts_with(name));
    assert_eq!(lines.filter(|line| !own(line)).collect::<Vec<_>>(), ["ONLY=this one"]);
}

#[tokio::test]
async fn a_missing_program_is_named() {
    let directory = directory();
    let expected = format!("the program {}/actions/gone.sh does not exist", directory.path().display());
    fail_with(Launch::of("actions/gone.sh", directory.path()), &expected).await;
    fail_with(Launch::of("/etc/passwd/gone", directory.path()), "/etc/passwd/gone does not exist").await;
}

#[tokio::test]
async fn a_program_that_is_not_in_the_path_is_named_with_the_path() {
    let cwd = directory();
    let mut launch = Launch::of("no-such-program", cwd.path());
    launch.env.insert("PATH".into(), "/usr/bin:/bin".into());
    fail_with(launch, "no-such-program is in none of the directories of PATH (/usr/bin:/bin)").await;
    // What lies in the working directory is not in the path.
    program(cwd.path(), "local", "#!/bin/sh\n", 0o755);
    for path in ["", ".", ":/bin"] {
        let mut launch = Launch::of("local", cwd.path());
        launch.env.insert("PATH".into(), path.into());
        assert!(matches!(fail(launch).await, LaunchError::Start(StartError::NotInPath { .. })));
    }
}

#[tokio::test]
async fn a_program_that_is_not_executable_says_how_to_make_it_so() {
    let directory = directory();
    let file = program(directory.path(), "check.sh", "#!/bin/sh\n", 0o644);
    fail_with(Launch::of(&file, directory.path()), &format!("run `chmod +x {}`", file.display())).await;
    let mut launch = Launch::of("check.sh", directory.path());
    launch.env.insert("PATH".into(), directory.path().into());
    fail_with(launch, "check.sh is not executable").await;
    fail_with(Launch::of(directory.path(), directory.path()), "is a directory, expected a program").await;
}

#[tokio::test]
async fn a_missing_interpreter_is_told_from_a_missing_program() {
    let directory = directory();
    let file = program(directory.path(), "a", "#! /opt/none/python3 -u\nprint()\n", 0o755);
    fail_with(
        Launch::of(&file, directory.path()),
        "wants the interpreter `/opt/none/python3`, which does not exist",
    )
    .await;
    let file = program(directory.path(), "b", "#!/bin/sh\r\necho\r\n", 0o755);
    fail_with(Launch::of(&file, directory.path()), "save the file with Unix line ends").await;
    let interpreter = program(directory.path(), "c", "", 0o644);
    let file = program(directory.path(), "d", format!("#!{}\n", interpreter.display()), 0o755);
    fail_with(Launch::of(&file, directory.path()), "c is not executable").await;
    let file = program(directory.path(), "e", "echo no first line\n", 0o755);
    fail_with(Launch::of(&file, directory.path()), "add a first line such as `#!/bin/sh`").await;
}

#[tokio::test]
async fn a_missing_working_directory_is_told_from_a_missing_program() {
    let directory = directory();
    fail_with(shell("true", &directory.path().join("gone")), "gone is not an existing directory").await;
    let file = program(directory.path(), "file", "", 0o644);
    fail_with(shell("true", &file), "file is not an existing directory").await;
}

#[tokio::test]
async fn an_environment_that_is_too_large_names_its_size_and_the_remedy() {
    let mut launch = shell("true", Path::new("/"));
    launch.env.insert("BIG".into(), "x".repeat(5_000_000).into());
    let message = fail(launch).await.to_string();
    assert!(message.contains("the longest of them 5000005"), "{message}");
    assert!(message.contains("by stdin or file"), "{message}");
    assert!(!message.contains("xxx"));
}

#[tokio::test]
async fn strings_that_no_process_can_be_given_are_refused_by_name() {
    for (name, value) in [("A", "x\0y"), ("A=B", ""), ("", "x"), ("A\0", "x")] {
        let mut launch = shell("true", Path::new("/"));
        launch.env.insert(name.into(), value.into());
        fail_with(launch, &format!("the environment variable `{name}` cannot be passed on")).await;
    }
    let mut launch = shell("true", Path::new("/"));
    launch.args.push("a\0b".into());
    fail_with(launch, "argument 2 contains U+0000").await;
}

#[tokio::test]
async fn a_program_that_was_written_a_moment_ago_starts() {
    let directory = directory();
    let file = program(directory.path(), "fresh", "#!/bin/sh\nexit 9\n", 0o755);
    // Whoever forks while the file is written holds it open for an instant.
    let open = fs::OpenOptions::new().append(true).open(&file).unwrap();
    let (finished, ()) = tokio::join!(finish(Launch::of(&file, directory.path())), async { drop(open) });
    assert_eq!(finished.exit, Exit::Code(9));
    let open = fs::OpenOptions::new().append(true).open(&file).unwrap();
    assert!(matches!(
        fail(Launch::of(&file, directory.path())).await,
        LaunchError::Start(StartError::Start { .. })
    ));
    drop(open);
}

#[test]
fn a_launch_does_not_show_secrets() {
    let mut launch = shell("true", Path::new("/"));
    launch.env.insert("TOKEN".into(), "s3cret".into());
    launch.stdin = b"s3cret".to_vec();
    let shown = format!("{launch:?}");
    assert!(shown.contains("TOKEN") && !shown.contains("s3cret") && !shown.contains("115, 51"), "{shown}");
    assert!(!shown.contains(&path().into_string().unwrap()));
}
