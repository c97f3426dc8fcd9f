//! How streams begin, stay and end.

use attune_common::auth::token_hash;
use attune_common::repositories::TokenRepository;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::helpers::{World, in_time};

#[tokio::test]
async fn test_an_idle_stream_has_a_heartbeat() {
    let world = World::create().await;
    let mut subscriber = world.subscribe("").await;
    assert_eq!(in_time("the beginning", subscriber.block()).await.unwrap(), "retry: 1000\n: the change feed");
    world.change(1).await;
    assert_eq!(subscriber.entities(1).await, [1]);
    tokio::time::pause();
    let before = tokio::time::Instant::now();
    assert_eq!(subscriber.block().await.as_deref(), Some(": heartbeat"));
    let waited = before.elapsed().as_secs();
    assert!((14..=15).contains(&waited), "{waited}");
}

#[tokio::test]
async fn test_a_stream_ends_when_the_token_is_withdrawn() {
    let world = World::create().await;
    let mut subscriber = world.subscribe("").await;
    world.change(1).await;
    assert_eq!(subscriber.entities(1).await, [1]);
    assert!(TokenRepository::delete_by_hash(world.pool(), &token_hash(&world.token)).await.unwrap());
    tokio::time::pause();
    while let Some(block) = subscriber.block().await {
        assert_eq!(block, ": heartbeat");
    }
}

#[tokio::test]
async fn test_streams_end_with_the_shutdown() {
    let world = World::create().await;
    let mut subscriber = world.subscribe("").await;
    world.change(1).await;
    assert_eq!(subscriber.entities(1).await, [1]);
    world.shutdown.cancel();
    assert!(subscriber.next().await.is_none());
    world.ended().await;
}

/// An HTTP/1.1 request, as far as the text `end` of its answer.
async fn get(address: std::net::SocketAddr, path: &str, headers: &str, end: &str) -> (String, TcpStream) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: attune\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    in_time("an answer", async {
        while !String::from_utf8_lossy(&answer).contains(end) {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "{}", String::from_utf8_lossy(&answer));
        }
    })
    .await;
    (String::from_utf8(answer).unwrap(), stream)
}

#[tokio::test]
async fn test_a_notifier_that_serves_alone_tells_that_it_is_well_and_ends_with_the_shutdown() {
    let world = World::create().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = attune_notifier::serve(world.notifier.clone(), listener, world.shutdown.clone());
    let server = tokio::spawn(server);

    let (answer, _) = get(address, "/healthz", "", "\r\n\r\nok").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let (answer, _) = get(address, "/elsewhere", "", "}").await;
    assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("/problems/not-found"), "{answer}");
    let bearer = format!("Authorization: Bearer {}\r\n", world.token);
    let (answer, mut stream) = get(address, "/api/v1/stream", &bearer, "the change feed").await;
    assert!(answer.contains("text/event-stream"), "{answer}");
    world.change(1).await;

    let mut rest = Vec::new();
    in_time("the change", async {
        while !String::from_utf8_lossy(&rest).contains("\"entity\":1") {
            assert!(stream.read_buf(&mut rest).await.unwrap() > 0);
        }
    })
    .await;
    world.shutdown.cancel();
    in_time("the end of the server", server).await.unwrap().unwrap();
    in_time("the end of the stream", stream.read_to_end(&mut rest)).await.unwrap();
    assert!(String::from_utf8_lossy(&rest).ends_with("\r\n0\r\n\r\n"), "the stream ends as it should");
}
