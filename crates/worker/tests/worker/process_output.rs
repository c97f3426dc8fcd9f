//! Whatever a process writes or does not read: bytes stay bytes, memory stays bounded, nothing blocks for ever.

use std::{fs, io::Write, time::Duration};

use attune_common::models::execution::OutputStream;
use attune_expr::masking::Masker;
use attune_worker::process::{CaptureLimits, Chunk, Ending, Exit, Launch, OutputSink, run};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::helpers::{Lifeline, anywhere, directory, finish, finish_shell, shell};

const MIB: usize = 1024 * 1024;

#[tokio::test]
async fn both_streams_are_kept_apart() {
    let finished = finish_shell("echo out; echo err >&2; echo out again").await;
    assert_eq!(finished.stdout.to_text(), "out\nout again\n");
    assert_eq!(finished.stderr.to_text(), "err\n");
    assert_eq!((finished.stdout.total_bytes, finished.stderr.total_bytes), (14, 4));
}

#[tokio::test]
async fn invalid_utf8_survives_as_bytes() {
    let (sink, live) = OutputSink::channel(8);
    let launch = shell(r"printf 'a\377\000\303(b'", anywhere());
    let finished = run(launch, CancellationToken::new(), sink).await.unwrap();
    assert_eq!(finished.stdout.complete().unwrap(), b"a\xff\0\xc3(b");
    assert_eq!(finished.stdout.to_text(), "a\u{fffd}\0\u{fffd}(b");
    assert_eq!(join(&collect(live).await, OutputStream::Stdout), b"a\xff\0\xc3(b");
}

#[tokio::test]
async fn a_hundred_megabytes_do_not_grow_memory() {
    let before = memory("VmRSS:");
    let finished = finish_shell("printf begin; head -c 100000000 /dev/zero; printf end").await;
    let grown = memory("VmHWM:").saturating_sub(before);
    assert_eq!(finished.stdout.total_bytes, 100_000_008);
    assert_eq!((finished.stdout.head.len(), finished.stdout.tail.len()), (MIB, 256 * 1024));
    assert_eq!(finished.stdout.omitted_bytes(), 100_000_008 - (MIB + 256 * 1024) as u64);
    assert!(finished.stdout.head.starts_with(b"begin\0") && finished.stdout.tail.ends_with(b"\0end"));
    assert_eq!(finished.stdout.complete(), None);
    // Other tests run beside this one; keeping everything would take the 100 MB.
    assert!(grown < 64 * MIB, "memory has grown by {grown} bytes");
}

#[tokio::test]
async fn the_limits_of_what_is_kept_can_be_set() {
    let mut launch = shell("printf 0123456789; printf abc >&2", anywhere());
    launch.limits = CaptureLimits { head: 3, tail: 2 };
    let finished = finish(launch).await;
    assert_eq!(finished.stdout.to_text(), "012\n[... 5 bytes left out ...]\n89");
    assert_eq!(finished.stderr.to_text(), "abc");
}

#[tokio::test]
async fn standard_input_is_written_while_output_is_read() {
    let mut launch = shell("cat", anywhere());
    launch.stdin = b"0123456789abcdef".repeat(10 * MIB / 16);
    let expected_end = launch.stdin[launch.stdin.len() - 256 * 1024..].to_vec();
    let finished = finish(launch).await;
    assert_eq!((finished.exit, finished.stdout.total_bytes), (Exit::Code(0), 10 * MIB as u64));
    assert_eq!(finished.stdout.tail, expected_end);
}

#[tokio::test]
async fn a_process_that_never_reads_its_input_holds_nothing_up() {
    // One that ends, one that writes more than a pipe holds, one that closes its input, one that is killed.
    for (script, expected) in [
        ("exit 5", (Exit::Code(5), Ending::Exited)),
        ("head -c 1000000 /dev/zero; exit 6", (Exit::Code(6), Ending::Exited)),
        ("exec <&-; head -c 1000000 /dev/zero; exit 7", (Exit::Code(7), Ending::Exited)),
        ("exec sleep 300", (Exit::Signal(15), Ending::TimedOut)),
    ] {
        let mut launch = shell(script, anywhere());
        launch.stdin = vec![b'x'; 10 * MIB];
        if expected.1 == Ending::TimedOut {
            launch.timeout = Duration::from_millis(300);
        }
        let finished = finish(launch).await;
        assert_eq!((finished.exit, finished.ending), expected, "{script}");
    }
}

#[tokio::test]
async fn standard_input_ends() {
    let mut launch = shell("wc -c", anywhere());
    assert_eq!(finish(launch.clone()).await.stdout.to_text().trim(), "0");
    launch.stdin = b"four".to_vec();
    assert_eq!(finish(launch).await.stdout.to_text().trim(), "4");
}

#[tokio::test]
async fn a_process_may_read_on_after_it_closed_its_output() {
    let directory = directory();
    let mut launch = shell("exec >&- 2>&-; cat > copy", directory.path());
    launch.stdin = vec![b'x'; MIB];
    assert_eq!(finish(launch).await.exit, Exit::Code(0));
    assert_eq!(fs::metadata(directory.path().join("copy")).unwrap().len(), MIB as u64);
}

#[tokio::test]
async fn output_is_handed_on_while_the_process_runs() {
    let directory = directory();
    let (sink, mut live) = OutputSink::channel(8);
    // Each step waits for us to have seen the one before it.
    let script = "exec 3<step; echo one; read line <&3; echo $line >&2; read line <&3; echo three";
    let step = directory.path().join("step");
    nix::unistd::mkfifo(&step, nix::sys::stat::Mode::S_IRWXU).unwrap();
    // Open for both as long as the script runs: it never finds the end of it.
    let mut step = std::fs::File::options().read(true).write(true).open(step).unwrap();
    let running = tokio::spawn(run(shell(script, directory.path()), CancellationToken::new(), sink));
    let expected = [
        (OutputStream::Stdout, 0, "one\n", Some("two\n")),
        (OutputStream::Stderr, 0, "two\n", Some("\n")),
        (OutputStream::Stdout, 4, "three\n", None),
    ];
    for (sequence, (stream, offset, content, answer)) in (0..).zip(expected) {
        let chunk = live.recv().await.unwrap();
        assert_eq!(chunk, Chunk { stream, sequence, offset, content: content.into() });
        if let Some(answer) = answer {
            step.write_all(answer.as_bytes()).unwrap();
        }
    }
    assert_eq!(live.recv().await, None);
    assert_eq!(running.await.unwrap().unwrap().undelivered_bytes, 0);
}

#[tokio::test]
async fn secrets_are_hidden_before_anything_is_kept_or_handed_on() {
    let (sink, live) = OutputSink::channel(100);
    // Longer than a pipe holds, so that the secret falls across the borders of what is read.
    let script =
        "i=0; while [ $i -lt 20000 ]; do echo hunter2; i=$((i + 1)); done; printf hunter2 >&2; printf hunt";
    let launch = Launch { masker: Masker::of(["hunter2"]), ..shell(script, anywhere()) };
    let (finished, chunks) = tokio::join!(run(launch, CancellationToken::new(), sink), collect(live));
    let finished = finished.unwrap();
    let expected = "********\n".repeat(20_000) + "hunt";
    assert!(finished.stdout.complete().unwrap() == expected.as_bytes());
    assert_eq!(finished.stdout.total_bytes, expected.len() as u64);
    assert_eq!(finished.stderr.complete().unwrap(), b"********");
    assert!(join(&chunks, OutputStream::Stdout) == expected.as_bytes());
    assert_eq!(join(&chunks, OutputStream::Stderr), b"********");
}

#[tokio::test]
async fn a_slow_reader_gets_everything_in_order() {
    let (sink, mut live) = OutputSink::channel(1);
    let launch = shell("seq 1 200000; seq 1 1000 >&2", anywhere());
    let running = tokio::spawn(run(launch, CancellationToken::new(), sink));
    let mut chunks = Vec::new();
    while let Some(chunk) = live.recv().await {
        assert!(chunk.content.len() <= 64 * 1024);
        chunks.push(chunk);
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
    let finished = running.await.unwrap().unwrap();
    assert!(chunks.iter().map(|chunk| chunk.sequence).eq(0..i32::try_from(chunks.len()).unwrap()));
    assert_eq!(finished.undelivered_bytes, 0);
    let stdout = join(&chunks, OutputStream::Stdout);
    assert_eq!(stdout.len() as u64, finished.stdout.total_bytes);
    assert!(stdout.starts_with(b"1\n2\n3\n") && stdout.ends_with(b"199999\n200000\n"));
    assert_eq!(join(&chunks, OutputStream::Stderr), finished.stderr.complete().unwrap());
}

#[tokio::test]
async fn a_reader_that_stands_still_makes_the_process_wait_but_not_live_longer() {
    let directory = directory();
    let life = Lifeline::tie(directory.path());
    let (sink, live) = OutputSink::channel(1);
    let mut launch =
        shell("echo $$ >life; exec 3>life; while :; do echo $$ $$ $$ $$; done", directory.path());
    launch.timeout = Duration::from_secs(1);
    let running = tokio::spawn(run(launch, CancellationToken::new(), sink));
    life.cut().await;
    // The process is gone while the reader still has not moved; now it gives up.
    drop(live);
    let finished = running.await.unwrap().unwrap();
    assert_eq!((finished.exit, finished.ending), (Exit::Signal(15), Ending::TimedOut));
    // What it wrote was bounded by the channel, what is read ahead and the pipe itself, not by its speed.
    assert!(finished.undelivered_bytes > 0);
    assert!(finished.stdout.total_bytes < 600 * 1024, "{}", finished.stdout.total_bytes);
}

#[tokio::test]
async fn a_process_that_is_ended_may_finish_speaking_though_the_reader_stands_still() {
    let directory = directory();
    let life = Lifeline::tie(directory.path());
    let (sink, mut live) = OutputSink::channel(1);
    let script = "trap 'head -c 5000000 /dev/zero; exit 3' TERM; echo $$ >life; exec 3>life; head -c 1000000 /dev/zero";
    let mut launch = shell(script, directory.path());
    launch.timeout = Duration::from_secs(1);
    let running = tokio::spawn(run(launch, CancellationToken::new(), sink));
    life.cut().await;
    // Only now does the reader move, and it is given what was kept for it.
    let mut delivered = 0;
    while let Some(chunk) = live.recv().await {
        delivered += chunk.content.len() as u64;
    }
    let finished = running.await.unwrap().unwrap();
    assert_eq!((finished.exit, finished.ending), (Exit::Code(3), Ending::TimedOut));
    // The first `head` was ended with its group, the second wrote all it had.
    assert!((5_000_001..6_000_000).contains(&finished.stdout.total_bytes), "{}", finished.stdout.total_bytes);
    // A shell may remark on the first.
    let written = finished.stdout.total_bytes + finished.stderr.total_bytes;
    assert_eq!(delivered + finished.undelivered_bytes, written);
    // What is read at once, up to a pipe full, and would exceed what is kept, is lost as a whole.
    assert!(((MIB - 64 * 1024) as u64..2 * MIB as u64).contains(&delivered), "{delivered}");
}

#[tokio::test]
async fn a_reader_that_leaves_holds_nothing_up() {
    let (sink, live) = OutputSink::channel(1);
    drop(live);
    let finished = run(shell("seq 1 1000000", anywhere()), CancellationToken::new(), sink).await.unwrap();
    assert_eq!((finished.exit, finished.stdout.total_bytes), (Exit::Code(0), 6_888_896));
}

async fn collect(mut live: mpsc::Receiver<Chunk>) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    while let Some(chunk) = live.recv().await {
        chunks.push(chunk);
    }
    chunks
}

/// The bytes of one stream, whose chunks must follow each other without a gap.
fn join(chunks: &[Chunk], stream: OutputStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in chunks.iter().filter(|chunk| chunk.stream == stream) {
        assert_eq!(chunk.offset, bytes.len() as u64);
        bytes.extend_from_slice(&chunk.content);
    }
    bytes
}

/// A figure of this process in bytes.
fn memory(name: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}
