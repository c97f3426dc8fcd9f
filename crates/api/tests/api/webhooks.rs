//! Webhooks, as senders meet them.

use attune_client::types::{KeyRequest, Problem};
use attune_common::repositories::EventRepository;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Method;
use serde_json::json;
use sha2::Sha256;

use crate::app::{MAX_WEBHOOK, TestApp, problem, problem_of};
use crate::demo;

const SECRET: &str = "It's a Secret to Everybody";
const BODY: &str = r#"{"ref": "refs/heads/main"}"#;

fn signature(secret: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

/// Sends to the signed webhook; the problem when it is refused.
async fn push(app: &TestApp, path: &str, headers: &[(&str, &str)], body: &str) -> Result<i64, Problem> {
    match app.anonymous().webhook(path, headers, body.to_owned()).await {
        Ok(accepted) => Ok(accepted.event),
        Err(error) => Err(problem::<()>(Err(error))),
    }
}

#[tokio::test]
async fn test_a_signed_delivery_becomes_an_event_once() {
    let app = TestApp::start().await;
    let installed = demo::install(&app).await;
    let path = demo::webhook(&installed, "demo.push");
    app.admin.set_key("demo.push_secret", SECRET).await.unwrap();
    let signed = signature(SECRET, BODY);
    let headers = [
        ("x-hub-signature-256", signed.as_str()),
        ("x-github-delivery", "72d3162e"),
        ("x-github-event", "push"),
        ("authorization", "Bearer attune_stray"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ];
    let first = app.anonymous().webhook(path, &headers, BODY).await.unwrap();
    assert!(!first.duplicate);
    let again = app.anonymous().webhook(path, &headers, BODY).await.unwrap();
    assert_eq!((again.event, again.duplicate), (first.event, true));
    assert_eq!(app.count("event").await, 1);
    let event = EventRepository::get_by_id(app.pool(), first.event).await.unwrap();
    assert_eq!(event.payload, json!({"ref": "refs/heads/main"}));
    assert_eq!(event.trigger_ref, "demo.push");
    assert_eq!(event.trace_id.as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
    let headers = event.headers.unwrap();
    assert_eq!(headers["x-github-event"], "push");
    assert!(headers.get("authorization").is_none() && headers.get("x-hub-signature-256").is_none());
    app.stop().await;
}

#[tokio::test]
async fn test_the_status_tells_a_duplicate() {
    let app = TestApp::start().await;
    let installed = demo::install(&app).await;
    let path = demo::webhook(&installed, "demo.open");
    let send = || app.request(Method::POST, path).header("x-delivery", "1").body("{}").send();
    assert_eq!(send().await.unwrap().status(), 202);
    assert_eq!(send().await.unwrap().status(), 200);
    app.stop().await;
}

#[tokio::test]
async fn test_what_is_not_genuine_is_refused_and_nothing_is_stored() {
    let app = TestApp::start().await;
    let installed = demo::install(&app).await;
    let path = demo::webhook(&installed, "demo.push");
    let signed = signature(SECRET, BODY);
    let status = async |headers: &[(&str, &str)], body: &str| {
        push(&app, path, headers, body).await.unwrap_err().status
    };
    assert_eq!(status(&[("x-hub-signature-256", &signed)], BODY).await, 503, "the secret is not set");
    app.admin.set_key("demo.push_secret", SECRET).await.unwrap();
    assert_eq!(status(&[], BODY).await, 401, "no signature");
    assert_eq!(
        status(&[("x-hub-signature-256", &signature("other", BODY))], BODY).await,
        401,
        "other secret"
    );
    assert_eq!(status(&[("x-hub-signature-256", &signed)], "{}").await, 401, "other body");
    assert_eq!(status(&[("x-hub-signature-256", "sha256=zz")], BODY).await, 401, "no digits");
    let sha1 = [("x-hub-signature", signed.as_str())];
    assert_eq!(status(&sha1, BODY).await, 401, "the older header");
    let unknown = push(&app, "/api/v1/webhooks/0123456789abcdef", &[], BODY).await.unwrap_err();
    assert_eq!(unknown.status, 404);
    assert_eq!(app.count("event").await, 0);
    let request = |value: Option<&str>, secret| KeyRequest { value: value.map(str::to_owned), secret };
    app.admin.put_key("demo.push_secret", &request(Some(SECRET), Some(false))).await.unwrap();
    assert_eq!(status(&[("x-hub-signature-256", &signed)], BODY).await, 503, "anybody may know it");
    app.admin.put_key("demo.push_secret", &request(None, Some(true))).await.unwrap();
    assert_eq!(status(&[("x-hub-signature-256", &signed)], "{}").await, 401, "it is a secret again");
    app.admin.delete_key("demo.push_secret").await.unwrap();
    assert_eq!(status(&[("x-hub-signature-256", &signed)], BODY).await, 503, "the secret is gone");
    assert_eq!(app.count("event").await, 0);
    app.stop().await;
}

#[tokio::test]
async fn test_what_cannot_be_stored_is_refused_with_the_reason() {
    let app = TestApp::start().await;
    let installed = demo::install(&app).await;
    let path = demo::webhook(&installed, "demo.open");
    let refused = async |body: &str| push(&app, path, &[], body).await.unwrap_err();
    let invalid = refused("{not json").await;
    assert_eq!(invalid.status, 400);
    assert!(invalid.detail.contains("line 1 column 2"), "{}", invalid.detail);
    assert_eq!(refused("").await.status, 400);
    assert_eq!(refused("\u{feff}{}").await.status, 400);
    let nul = refused(r#"{"a": [{"b": "x\u0000y"}]}"#).await;
    assert_eq!(nul.status, 400);
    assert!(nul.detail.contains("/a/0/b") && nul.detail.contains("U+0000"), "{}", nul.detail);
    let large = format!("\"{}\"", "x".repeat(MAX_WEBHOOK));
    let large = refused(&large).await;
    assert_eq!(large.status, 413);
    assert!(large.detail.contains(&MAX_WEBHOOK.to_string()), "{}", large.detail);
    assert_eq!(app.count("event").await, 0);
    let fitting = format!("\"{}\"", "x".repeat(MAX_WEBHOOK - 2));
    push(&app, path, &[], &fitting).await.unwrap();
    app.stop().await;
}

/// Bodies and archives may be larger than other requests.
#[tokio::test]
async fn test_the_limits_of_every_day() {
    let app = TestApp::start_with(attune_api::Settings::default()).await;
    let padding = "0".repeat(3 << 20);
    let mut files = demo::files();
    files.insert("data".to_owned(), padding.clone());
    let installed = app.admin.install_pack(demo::archive(&files), "test").await.unwrap();
    let path = demo::webhook(&installed, "demo.open");
    push(&app, path, &[], &format!("\"{padding}\"")).await.unwrap();
    let event = json!({"trigger": "demo.alert", "payload": padding});
    let event = app.as_admin(Method::POST, "/api/v1/events").json(&event).send().await.unwrap();
    problem_of(event, 413).await;
    assert_eq!(app.count("event").await, 1);
    app.stop().await;
}

#[tokio::test]
async fn test_without_a_database_the_sender_is_told_to_try_again() {
    let app = TestApp::start().await;
    let installed = demo::install(&app).await;
    let path = demo::webhook(&installed, "demo.open");
    app.refuse_connections().await;
    app.server_pool.close().await;
    let response = app.request(Method::POST, path).body("{}").send().await.unwrap();
    assert_eq!(response.headers()["retry-after"], "1");
    let problem = problem_of(response, 503).await;
    assert!(problem.detail.contains("nothing was stored"), "{}", problem.detail);
    assert_eq!(app.count("event").await, 0);
    app.stop().await;
}

/// Connections that the database ends: what was acknowledged is stored, and after the failures it goes on.
#[tokio::test]
async fn test_lost_connections_lose_no_acknowledged_event() {
    let app = TestApp::start().await;
    let installed = demo::install(&app).await;
    let path = demo::webhook(&installed, "demo.open");
    let (mut stored, mut refused) = (0, 0);
    for round in 0..5 {
        sqlx::query(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database() and application_name = 'attune' and pid <> pg_backend_pid()",
        )
        .execute(app.pool())
        .await
        .unwrap();
        let mut accepted = false;
        for _ in 0..50 {
            match push(&app, path, &[], "{}").await {
                Ok(_) => {
                    stored += 1;
                    accepted = true;
                    break;
                }
                Err(problem) => {
                    assert_eq!(problem.status, 503, "{problem:?}");
                    refused += 1;
                }
            }
        }
        assert!(accepted, "round {round}: it did not come back");
    }
    assert!(refused > 0, "no connection was in use when it was lost");
    assert_eq!(app.count("event").await, stored);
    app.stop().await;
}

#[tokio::test]
async fn test_a_flood_is_stored_completely() {
    let app = TestApp::start().await;
    let installed = demo::install(&app).await;
    let path = demo::webhook(&installed, "demo.open").to_owned();
    let client = app.anonymous();
    let sends = (0..300).map(|number| {
        let (client, path) = (client.clone(), path.clone());
        async move { client.webhook(&path, &[], format!("{{\"n\": {number}}}")).await.unwrap().event }
    });
    let mut ids = futures::future::join_all(sends).await;
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 300);
    assert_eq!(app.count("event").await, 300);
    let numbers: i64 = sqlx::query_scalar("select count(distinct payload->'n') from attune.event")
        .fetch_one(app.pool())
        .await
        .unwrap();
    assert_eq!(numbers, 300);
    app.stop().await;
}
