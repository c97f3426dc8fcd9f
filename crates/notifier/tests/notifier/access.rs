//! Who may subscribe, and how the others are told.

use attune_client::types::Problem;
use axum::body::to_bytes;
use axum::http::StatusCode;
use axum::response::Response;

use crate::helpers::{World, token};

async fn check(response: Response, status: StatusCode, kind: &str, detail: &str) {
    assert_eq!(response.status(), status);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let challenge =
        response.headers().get("www-authenticate").map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(challenge.as_deref(), (status == StatusCode::UNAUTHORIZED).then_some("Bearer"));
    let body = to_bytes(response.into_body(), 65536).await.unwrap();
    let problem: Problem = serde_json::from_slice(&body).unwrap();
    assert_eq!((problem.status, problem.kind.as_str()), (status.as_u16(), kind));
    assert!(problem.detail.contains(detail), "{:?} does not contain {detail:?}", problem.detail);
}

#[tokio::test]
async fn test_nobody_subscribes_without_a_valid_token() {
    let world = World::create().await;
    let kind = "/problems/unauthenticated";
    for headers in [vec![], vec![("authorization", "Basic YTpi")], vec![("authorization", "attune_x")]] {
        let response = world.request("", &headers).await;
        check(response, StatusCode::UNAUTHORIZED, kind, "send a token").await;
    }
    let response = world.request("", &[("authorization", "Bearer attune_unknown")]).await;
    check(response, StatusCode::UNAUTHORIZED, kind, "not known or has expired").await;
}

#[tokio::test]
async fn test_nobody_subscribes_without_the_permission() {
    let world = World::create().await;
    for (login, resource, action) in [("cook", "execution", "create"), ("clerk", "rule", "read")] {
        let token = token(world.pool(), login, resource, action).await;
        let response = world.request("", &[("authorization", &format!("Bearer {token}"))]).await;
        let detail = "grants `read` on `execution`";
        check(response, StatusCode::FORBIDDEN, "/problems/forbidden", detail).await;
    }
    let admin = token(world.pool(), "admin", "*", "*").await;
    let response = world.request("", &[("authorization", &format!("Bearer {admin}"))]).await;
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn test_what_cannot_be_read_is_refused() {
    let world = World::create().await;
    let bearer = format!("Bearer {}", world.token);
    for (query, detail) in [
        ("?after=77", "is not a cursor of the change feed"),
        ("?entity=x", "entity"),
        ("?entitytype=execution", "unknown field `entitytype`"),
    ] {
        let response = world.request(query, &[("authorization", &bearer)]).await;
        check(response, StatusCode::BAD_REQUEST, "/problems/bad-request", detail).await;
    }
    let response = world.request("", &[("authorization", &bearer), ("last-event-id", "x")]).await;
    check(response, StatusCode::BAD_REQUEST, "/problems/bad-request", "Last-Event-ID: \"x\" is not a cursor")
        .await;
}
