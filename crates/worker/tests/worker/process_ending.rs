//! However a process ends, or does not want to: the worker tells the truth about it and nothing is left running.

use std::{fs, time::Duration};

use attune_worker::process::{Ending, Exit, FLUSH, LINGER, LaunchError, OutputSink, run};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio_util::sync::CancellationToken;

use crate::helpers::{Lifeline, PATIENCE, anywhere, directory, finish, finish_shell, is_running, shell};

/// Starts a process in the background that notes its pid in the lifeline and waits to be killed.
const GRANDCHILD: &str = "sh -c 'echo $$ >&3; exec sleep 300' 3>life &";

#[tokio::test]
async fn an_exit_code_is_reported() {
    for code in [0, 1, 7, 255] {
        let finished = finish_shell(&format!("exit {code}")).await;
        assert_eq!((finished.exit, finished.ending), (Exit::Code(code), Ending::Exited));
        assert!(!finished.left_processes);
    }
}

#[tokio::test]
async fn a_signal_that_was_not_ours_is_reported_as_an_exit() {
    let finished = finish_shell("kill -KILL $$").await;
    assert_eq!((finished.exit, finished.ending), (Exit::Signal(9), Ending::Exited));
    // A signal without a name of its own.
    let finished = finish_shell("kill -40 $$").await;
    assert_eq!((finished.exit, finished.ending), (Exit::Signal(40), Ending::Exited));
}

#[tokio::test]
async fn a_timeout_ends_the_whole_group() {
    let directory = directory();
    let life = Lifeline::tie(directory.path());
    let mut launch =
        shell(&format!("{GRANDCHILD} {GRANDCHILD} echo $$ > life; echo begun; wait"), directory.path());
    launch.timeout = Duration::from_secs(1);
    let finished = finish(launch).await;
    assert_eq!((finished.exit, finished.ending), (Exit::Signal(15), Ending::TimedOut));
    assert_eq!(finished.stdout.to_text(), "begun\n");
    assert!(finished.duration >= Duration::from_secs(1));
    assert_eq!(life.cut().await.len(), 3);
}

#[tokio::test]
async fn a_process_may_clean_up_and_speak_when_its_time_is_over() {
    let mut launch = shell("trap 'echo bye; exit 3' TERM; echo hi; sleep 300 & wait", anywhere());
    launch.timeout = Duration::from_secs(1);
    let finished = finish(launch).await;
    assert_eq!((finished.exit, finished.ending), (Exit::Code(3), Ending::TimedOut));
    assert_eq!(finished.stdout.to_text(), "hi\nbye\n");
}

#[tokio::test]
async fn a_process_that_ignores_the_request_to_end_is_killed() {
    let directory = directory();
    let life = Lifeline::tie(directory.path());
    // Ignoring is inherited, so the grandchild ignores SIGTERM too.
    let mut launch = shell(&format!("trap '' TERM; {GRANDCHILD} wait"), directory.path());
    launch.timeout = Duration::from_secs(1);
    launch.grace = Duration::from_millis(200);
    let finished = finish(launch).await;
    assert_eq!((finished.exit, finished.ending), (Exit::Signal(9), Ending::TimedOut));
    assert!(finished.duration >= Duration::from_millis(1200));
    life.cut().await;
}

#[tokio::test]
async fn a_process_that_never_stops_writing_is_ended_too() {
    for (script, signal) in [("yes & yes >&2", 15), ("trap '' TERM; yes & yes >&2", 9)] {
        let mut launch = shell(script, anywhere());
        launch.timeout = Duration::from_millis(500);
        launch.grace = Duration::from_millis(200);
        let finished = finish(launch).await;
        assert_eq!((finished.exit, finished.ending), (Exit::Signal(signal), Ending::TimedOut));
        assert!(finished.stdout.total_bytes > 0 && finished.stderr.total_bytes > 0);
        assert!(!finished.left_processes);
    }
}

#[tokio::test]
async fn a_descendant_that_ignores_the_request_is_killed_though_its_leader_obeyed() {
    let directory = directory();
    let life = Lifeline::tie(directory.path());
    // Its output is redirected, so that nothing but the kill itself can end it.
    let script = "sh -c 'trap \"\" TERM; echo $$ >&3; exec sleep 300' 3>life >/dev/null 2>&1 & wait";
    let mut launch = shell(script, directory.path());
    launch.timeout = Duration::from_secs(1);
    let finished = finish(launch).await;
    assert_eq!((finished.exit, finished.ending), (Exit::Signal(15), Ending::TimedOut));
    life.cut().await;
}

#[tokio::test]
async fn a_stopped_process_is_ended_too() {
    let mut launch = shell("trap 'exit 4' TERM; kill -STOP $$; sleep 300 & wait", anywhere());
    launch.timeout = Duration::from_secs(1);
    let finished = finish(launch).await;
    assert_eq!((finished.exit, finished.ending), (Exit::Code(4), Ending::TimedOut));
}

#[tokio::test]
async fn cancelling_ends_the_whole_group() {
    let directory = directory();
    let life = Lifeline::tie(directory.path());
    let (sink, mut live) = OutputSink::channel(8);
    let cancel = CancellationToken::new();
    let launch = shell(&format!("{GRANDCHILD} echo $$ > life; echo ready; wait"), directory.path());
    // On a task of its own, as the worker runs it.
    let running = tokio::spawn(run(launch, cancel.clone(), sink));
    assert_eq!(live.recv().await.unwrap().content, "ready\n");
    cancel.cancel();
    let finished = running.await.unwrap().unwrap();
    assert_eq!((finished.exit, finished.ending), (Exit::Signal(15), Ending::Cancelled));
    assert!(finished.duration < PATIENCE);
    life.cut().await;
}

#[tokio::test]
async fn what_was_cancelled_before_is_not_started() {
    let directory = directory();
    let cancel = CancellationToken::new();
    cancel.cancel();
    let result = run(shell("touch started", directory.path()), cancel, OutputSink::discard()).await;
    assert!(matches!(result, Err(LaunchError::Cancelled)));
    assert!(!fs::exists(directory.path().join("started")).unwrap());
}

#[tokio::test]
async fn dropping_the_run_kills_the_whole_group() {
    let directory = directory();
    let life = Lifeline::tie(directory.path());
    let (sink, mut live) = OutputSink::channel(8);
    let script = format!("trap '' TERM; {GRANDCHILD} echo $$ > life; echo ready; wait");
    let running = tokio::spawn(run(shell(&script, directory.path()), CancellationToken::new(), sink));
    live.recv().await.expect("it is ready");
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    life.cut().await;
}

#[tokio::test]
async fn a_background_process_that_holds_the_output_is_killed_soon_after_its_leader() {
    let directory = directory();
    let life = Lifeline::tie(directory.path());
    let finished = finish(shell(&format!("{GRANDCHILD} echo done"), directory.path())).await;
    assert_eq!((finished.exit, finished.ending), (Exit::Code(0), Ending::Exited));
    assert_eq!(finished.stdout.to_text(), "done\n");
    assert!(finished.left_processes);
    assert!(finished.duration >= LINGER);
    life.cut().await;
}

#[tokio::test]
async fn a_process_that_left_the_group_is_not_waited_for() {
    let directory = directory();
    // It holds the input open as well, which it does not read.
    let script = "exec 4<&0; mkfifo begun; setsid sh -c 'echo $$ >begun; exec sleep 300' & cat begun";
    let mut launch = shell(script, directory.path());
    launch.stdin = vec![b'x'; 1024 * 1024];
    let finished = finish(launch).await;
    assert_eq!((finished.exit, finished.ending), (Exit::Code(0), Ending::Exited));
    assert!(finished.left_processes);
    // Once to see whether it closes the output, once after the kill that does not reach it.
    assert!(finished.duration >= 2 * LINGER && finished.duration < FLUSH, "{:?}", finished.duration);
    kill_survivor(&finished.stdout.to_text());
}

#[tokio::test]
async fn a_background_process_with_redirected_output_may_stay() {
    let finished = finish_shell("sleep 300 >/dev/null 2>&1 & echo $!").await;
    assert_eq!((finished.exit, finished.left_processes), (Exit::Code(0), false));
    kill_survivor(&finished.stdout.to_text());
}

#[tokio::test]
async fn many_processes_at_once_are_told_apart() {
    let cwd = directory();
    let runs: Vec<_> = (0..50)
        .map(|code| {
            let launch = shell(&format!("echo {code}; exit {code}"), cwd.path());
            tokio::spawn(run(launch, CancellationToken::new(), OutputSink::discard()))
        })
        .collect();
    for (code, running) in runs.into_iter().enumerate() {
        let finished = running.await.unwrap().unwrap();
        assert_eq!(finished.exit, Exit::Code(i32::try_from(code).unwrap()));
        assert_eq!(finished.stdout.to_text(), format!("{code}\n"));
    }
}

fn kill_survivor(pid: &str) {
    let pid: i32 = pid.trim().parse().unwrap();
    assert!(is_running(pid));
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}
