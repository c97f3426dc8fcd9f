//! What processes wrote: chunks of bytes in the order of their arrival.

use attune_common::models::execution::{OutputChunk, OutputStream, OutputTrim};
use attune_common::repositories::{ExecutionOutputRepository, ExecutionRepository};
use attune_testkit::transaction;
use sqlx::PgConnection;

use crate::helpers::*;

fn chunk(execution: i64, attempt: i32, seq: i32, stream: OutputStream, content: &[u8]) -> OutputChunk {
    OutputChunk { execution, attempt, seq, stream, content: content.to_vec() }
}

#[test]
fn test_output_table_name_has_the_schema() {
    assert_eq!(ExecutionOutputRepository::table_name(), "attune.execution_output");
}

async fn listed(
    connection: &mut PgConnection,
    execution: i64,
    attempt: i32,
    seq: i32,
    limit: i64,
) -> Vec<OutputChunk> {
    let stored = ExecutionOutputRepository::list(connection, execution, attempt, seq, limit).await;
    let stored = stored.expect("output can be read");
    assert!(stored.iter().all(|one| one.created.timestamp() > 0));
    stored.into_iter().map(|stored| stored.chunk).collect()
}

#[tokio::test]
async fn test_output_comes_back_as_it_arrived() {
    let mut tx = transaction().await;
    let id = ExecutionFixture::new_unique().create(&mut tx).await.unwrap().id;
    let chunks = [
        chunk(id, 1, 0, OutputStream::Stdout, b"line\n"),
        chunk(id, 1, 1, OutputStream::Stderr, &[0xff, 0x00, 0xfe]),
        chunk(id, 1, 2, OutputStream::Stdout, b""),
    ];
    let given = [chunks[2].clone(), chunks[0].clone(), chunks[1].clone()];
    ExecutionOutputRepository::append(&mut *tx, &given).await.unwrap();
    assert_eq!(listed(&mut tx, id, 1, 0, 10).await, chunks);
}

#[tokio::test]
async fn test_output_of_nothing() {
    let mut tx = transaction().await;
    let id = ExecutionFixture::new_unique().create(&mut tx).await.unwrap().id;
    ExecutionOutputRepository::append(&mut *tx, &[]).await.unwrap();
    assert_eq!(listed(&mut tx, id, 1, 0, 10).await, []);
}

#[tokio::test]
async fn test_output_from_a_place_up_to_the_limit() {
    let mut tx = transaction().await;
    let id = ExecutionFixture::new_unique().create(&mut tx).await.unwrap().id;
    let chunks: Vec<_> =
        (0..5).map(|seq| chunk(id, 1, seq, OutputStream::Stdout, &[b'0' + seq as u8])).collect();
    ExecutionOutputRepository::append(&mut *tx, &chunks).await.unwrap();
    assert_eq!(listed(&mut tx, id, 1, 2, 2).await, chunks[2..4]);
    assert_eq!(listed(&mut tx, id, 1, 5, 2).await, []);
}

#[tokio::test]
async fn test_output_of_attempts_is_apart() {
    let mut tx = transaction().await;
    let id = ExecutionFixture::new_unique().create(&mut tx).await.unwrap().id;
    let other = ExecutionFixture::new_unique().create(&mut tx).await.unwrap().id;
    let chunks = [
        chunk(id, 1, 0, OutputStream::Stdout, b"first"),
        chunk(id, 2, 0, OutputStream::Stdout, b"second"),
        chunk(other, 1, 0, OutputStream::Stdout, b"other"),
    ];
    ExecutionOutputRepository::append(&mut *tx, &chunks).await.unwrap();
    assert_eq!(listed(&mut tx, id, 2, 0, 10).await, chunks[1..2]);
    assert_eq!(listed(&mut tx, other, 1, 0, 10).await, chunks[2..]);
}

#[tokio::test]
async fn test_output_again_keeps_the_first() {
    let mut tx = transaction().await;
    let id = ExecutionFixture::new_unique().create(&mut tx).await.unwrap().id;
    let first = [chunk(id, 1, 0, OutputStream::Stdout, b"first")];
    ExecutionOutputRepository::append(&mut *tx, &first).await.unwrap();
    let again =
        [chunk(id, 1, 0, OutputStream::Stdout, b"again"), chunk(id, 1, 1, OutputStream::Stdout, b"next")];
    ExecutionOutputRepository::append(&mut *tx, &again).await.unwrap();
    let found = listed(&mut tx, id, 1, 0, 10).await;
    assert_eq!(found, [first[0].clone(), again[1].clone()]);
}

#[tokio::test]
async fn test_output_of_a_deleted_execution_is_dropped() {
    let mut tx = transaction().await;
    let id = ExecutionFixture::new_unique().create(&mut tx).await.unwrap().id;
    let chunks = [
        chunk(NO_SUCH_ID, 1, 0, OutputStream::Stdout, b"late"),
        chunk(id, 1, 0, OutputStream::Stdout, b"kept"),
    ];
    ExecutionOutputRepository::append(&mut *tx, &chunks).await.unwrap();
    assert_eq!(listed(&mut tx, id, 1, 0, 10).await, chunks[1..]);
    assert_eq!(listed(&mut tx, NO_SUCH_ID, 1, 0, 10).await, []);
    ExecutionRepository::delete(&mut *tx, id).await.unwrap();
    assert_eq!(listed(&mut tx, id, 1, 0, 10).await, []);
}

#[tokio::test]
async fn test_old_output_goes_and_is_told() {
    let mut tx = transaction().await;
    let id = ExecutionFixture::new_unique().create(&mut tx).await.unwrap().id;
    let (out, err) = (OutputStream::Stdout, OutputStream::Stderr);
    let mut chunks: Vec<_> = ["head", "marker", "one", "two", "three"]
        .iter()
        .zip(0..)
        .map(|(text, seq)| chunk(id, 1, seq, out, text.as_bytes()))
        .collect();
    chunks.extend([chunk(id, 1, 5, err, b"other"), chunk(id, 2, 2, out, b"next attempt")]);
    ExecutionOutputRepository::append(&mut *tx, &chunks).await.unwrap();
    let trim = |removed: &[i32], cut, content: &str| OutputTrim {
        execution: id,
        attempt: 1,
        removed: removed.to_vec(),
        cut,
        marker: 1,
        content: content.as_bytes().to_vec(),
    };
    // A doubtful commit may be repeated.
    for _ in 0..2 {
        let trim = trim(&[2, 3], Some((4, 2)), "gone: 9");
        ExecutionOutputRepository::trim(&mut *tx, &trim).await.unwrap();
        let left = [
            chunk(id, 1, 0, out, b"head"),
            chunk(id, 1, 1, out, b"gone: 9"),
            chunk(id, 1, 4, out, b"ee"),
            chunk(id, 1, 5, err, b"other"),
        ];
        assert_eq!(listed(&mut tx, id, 1, 0, 10).await, left);
    }
    ExecutionOutputRepository::trim(&mut *tx, &trim(&[4], None, "gone: 11")).await.unwrap();
    let left =
        [chunk(id, 1, 0, out, b"head"), chunk(id, 1, 1, out, b"gone: 11"), chunk(id, 1, 5, err, b"other")];
    assert_eq!(listed(&mut tx, id, 1, 0, 10).await, left);
    assert_eq!(listed(&mut tx, id, 2, 0, 10).await, chunks[6..]);
}
