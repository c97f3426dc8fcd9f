//! What executions write, as a list and as a stream.

use std::time::Duration;

use attune_client::{FollowOptions, OutputEvent};
use attune_common::bus::Topic;
use attune_common::models::execution::{OutputChunk, OutputStream};
use attune_common::repositories::ExecutionOutputRepository;
use futures::StreamExt;
use reqwest::Method;

use crate::app::{TestApp, problem, problem_of};
use crate::demo;
use crate::executions::{FakeWorker, start_page};

async fn write(app: &TestApp, execution: i64, attempt: i32, seq: i32, stream: OutputStream, content: &[u8]) {
    let chunk = OutputChunk { execution, attempt, seq, stream, content: content.to_vec() };
    ExecutionOutputRepository::append(app.pool(), &[chunk]).await.unwrap();
    app.bus.wake(Topic::Change);
}

#[tokio::test]
async fn test_the_list_has_all_pieces_in_order() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let id = start_page(&app).await;
    assert!(app.admin.output(id).await.unwrap().is_empty());
    FakeWorker::register(app.pool()).await.claim().await;
    let euro = "€".as_bytes();
    write(&app, id, 1, 0, OutputStream::Stdout, &[b"a", &euro[..1]].concat()).await;
    write(&app, id, 1, 1, OutputStream::Stderr, b"warning\n").await;
    write(&app, id, 1, 2, OutputStream::Stdout, &euro[1..]).await;
    for seq in 3..150 {
        write(&app, id, 1, seq, OutputStream::Stdout, b".").await;
    }
    write(&app, id, 1, 150, OutputStream::Stdout, b"\xff\n").await;
    let pieces = app.admin.output(id).await.unwrap();
    let seqs: Vec<i32> = pieces.iter().map(|piece| piece.seq).collect();
    assert_eq!(seqs, (0..=150).collect::<Vec<_>>());
    let of = |stream: &str| -> String {
        pieces.iter().filter(|piece| piece.stream == stream).map(|piece| piece.text.as_str()).collect()
    };
    assert_eq!(of("stderr"), "warning\n");
    assert_eq!(of("stdout"), format!("a€{}\u{fffd}\n", ".".repeat(147)));
    let shown = app.admin.execution(id).await.unwrap();
    assert_eq!((shown.stdout, shown.stderr), (of("stdout"), "warning\n".to_owned()));
    assert_eq!(problem(app.admin.output(id + 1).await).status, 404);
    app.stop().await;
}

#[tokio::test]
async fn test_the_detail_shows_the_beginning_of_much_output() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let id = start_page(&app).await;
    FakeWorker::register(app.pool()).await.claim().await;
    for seq in 0..3 {
        write(&app, id, 1, seq, OutputStream::Stdout, "€".repeat(10_000).as_bytes()).await;
    }
    write(&app, id, 1, 3, OutputStream::Stderr, b"late").await;
    let shown = app.admin.execution(id).await.unwrap();
    assert_eq!(shown.stdout, "€".repeat((64 << 10) / 3));
    assert_eq!(shown.stderr, "late");
    app.stop().await;
}

/// The next event within a time that only a hanging server exceeds.
async fn next(
    stream: &mut (impl futures::Stream<Item = Result<OutputEvent, attune_client::ClientError>> + Unpin),
) -> String {
    let event = tokio::time::timeout(Duration::from_secs(20), stream.next()).await.expect("no event came");
    match event {
        Some(Ok(OutputEvent::Piece(piece))) => format!("{}-{} {}", piece.attempt, piece.seq, piece.text),
        Some(Ok(OutputEvent::Progress(progress))) => panic!("{progress:?}"),
        Some(Ok(OutputEvent::End { status })) => format!("end {status}"),
        Some(Err(error)) => panic!("{error}"),
        None => "nothing".to_owned(),
    }
}

#[tokio::test]
async fn test_following_gives_pieces_as_they_come_over_attempts_to_the_end() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let id = start_page(&app).await;
    let mut stream = Box::pin(app.admin.follow_output(id).await.unwrap());
    let worker = FakeWorker::register(app.pool()).await;
    worker.claim().await;
    write(&app, id, 1, 0, OutputStream::Stdout, b"first").await;
    assert_eq!(next(&mut stream).await, "1-0 first");
    // The worker is taken for lost, and the next attempt begins.
    sqlx::query("update attune.execution set status = 'scheduled', worker = null where id = $1")
        .bind(id)
        .execute(app.pool())
        .await
        .unwrap();
    let (_, attempt) = worker.claim().await;
    assert_eq!(attempt, 2);
    write(&app, id, 2, 0, OutputStream::Stderr, b"second").await;
    assert_eq!(next(&mut stream).await, "2-0 second");
    write(&app, id, 2, 1, OutputStream::Stdout, b"last").await;
    worker.complete(id, 2).await;
    app.bus.wake(Topic::Change);
    assert_eq!(next(&mut stream).await, "2-1 last");
    assert_eq!(next(&mut stream).await, "end completed");
    assert_eq!(next(&mut stream).await, "nothing");
    app.stop().await;
}

#[tokio::test]
async fn test_following_goes_on_after_the_last_event_seen() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let id = start_page(&app).await;
    let worker = FakeWorker::register(app.pool()).await;
    worker.claim().await;
    for (seq, text) in [(0, "one"), (1, "two"), (2, "three")] {
        write(&app, id, 1, seq, OutputStream::Stdout, text.as_bytes()).await;
    }
    worker.complete(id, 1).await;
    let path = format!("/api/v1/executions/{id}/output?follow=true");
    let get = |seen: &str| app.as_admin(Method::GET, &path).header("last-event-id", seen).send();
    let response = get("1-1").await.unwrap();
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/event-stream"));
    let text = response.text().await.unwrap();
    assert!(text.contains("id: 1-2") && text.contains("three") && text.contains("event: end"), "{text}");
    assert!(!text.contains("two"), "{text}");
    problem_of(get("nonsense").await.unwrap(), 400).await;
    app.stop().await;
}

#[tokio::test]
async fn test_what_never_ran_ends_without_output() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let id = start_page(&app).await;
    let mut stream = Box::pin(app.admin.follow_output(id).await.unwrap());
    app.admin.cancel_execution(id).await.unwrap();
    assert_eq!(next(&mut stream).await, "end cancelled");
    app.stop().await;
}

#[tokio::test]
async fn test_one_attempt_is_read_and_followed_alone() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let id = start_page(&app).await;
    let worker = FakeWorker::register(app.pool()).await;
    worker.claim().await;
    write(&app, id, 1, 0, OutputStream::Stdout, b"one").await;
    write(&app, id, 1, 1, OutputStream::Stderr, "€".as_bytes().split_at(1).0).await;
    let first = FollowOptions { attempt: Some(1), after: None };
    let mut stream = Box::pin(app.admin.follow_output_after(id, first).await.unwrap());
    assert_eq!(next(&mut stream).await, "1-0 one");
    sqlx::query("update attune.execution set status = 'scheduled', worker = null where id = $1")
        .bind(id)
        .execute(app.pool())
        .await
        .unwrap();
    worker.claim().await;
    write(&app, id, 2, 0, OutputStream::Stdout, b"two").await;
    // What never became a character has a place of its own, and the attempt is over though the execution is not.
    assert_eq!(next(&mut stream).await, "1-2 \u{fffd}");
    assert_eq!(next(&mut stream).await, "end abandoned");
    let texts = async |attempt: i32| -> Vec<String> {
        let pieces = app.admin.output_of_attempt(id, attempt).await.unwrap();
        assert!(
            pieces
                .iter()
                .all(|piece| piece.attempt == attempt && (piece.at.is_some() || piece.text == "\u{fffd}"))
        );
        pieces.into_iter().map(|piece| piece.text).collect()
    };
    assert_eq!(texts(1).await, ["one", "\u{fffd}"]);
    assert_eq!(texts(2).await, ["two"]);
    assert!(texts(3).await.is_empty());
    // Whoever comes back has seen the last place.
    let after = FollowOptions { attempt: Some(1), after: Some((1, 2)) };
    let mut stream = Box::pin(app.admin.follow_output_after(id, after).await.unwrap());
    assert_eq!(next(&mut stream).await, "end abandoned");
    let path = format!("/api/v1/executions/{id}/output?attempt=0");
    problem_of(app.as_admin(Method::GET, &path).send().await.unwrap(), 400).await;
    app.stop().await;
}
