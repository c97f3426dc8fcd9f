//! Keys: their values go in and never come out.

use reqwest::Method;
use serde_json::json;

use crate::app::{TestApp, grant, problem, problem_of};

const SECRET: &str = "hunter2-hunter2";

#[tokio::test]
async fn test_values_are_never_returned() {
    let app = TestApp::start().await;
    let answers = [
        app.as_admin(Method::PUT, "/api/v1/keys/demo.token")
            .json(&json!({"value": SECRET}))
            .send()
            .await
            .unwrap(),
        app.as_admin(Method::PUT, "/api/v1/keys/demo.token")
            .json(&json!({"value": SECRET}))
            .send()
            .await
            .unwrap(),
        app.as_admin(Method::GET, "/api/v1/keys").send().await.unwrap(),
        app.as_admin(Method::PUT, "/api/v1/keys/demo.token")
            .json(&json!({"valu": SECRET}))
            .send()
            .await
            .unwrap(),
        app.as_admin(Method::PUT, "/api/v1/keys/demo.token")
            .json(&json!({"value": [SECRET]}))
            .send()
            .await
            .unwrap(),
        app.as_admin(Method::PUT, "/api/v1/keys/demo.token").json(&json!(SECRET)).send().await.unwrap(),
        app.as_admin(Method::PUT, "/api/v1/keys/demo.token")
            .header("content-type", "application/json")
            .body(format!("{{\"value\": \"{SECRET}"))
            .send()
            .await
            .unwrap(),
    ];
    let mut statuses = Vec::new();
    for answer in answers {
        statuses.push(answer.status().as_u16());
        let text = answer.text().await.unwrap();
        assert!(!text.contains("hunter2"), "{text}");
    }
    assert_eq!(statuses, [200, 200, 200, 422, 422, 422, 400]);
    let stored: Vec<u8> =
        sqlx::query_scalar("select value from attune.key").fetch_one(app.pool()).await.unwrap();
    assert!(!stored.windows(7).any(|window| window == b"hunter2"));
    app.stop().await;
}

#[tokio::test]
async fn test_set_replace_and_delete() {
    let app = TestApp::start().await;
    let set = app.admin.set_key("demo.token", "one").await.unwrap();
    let replaced = app.admin.set_key("demo.token", "two").await.unwrap();
    assert_eq!((replaced.key_ref.as_str(), replaced.created), ("demo.token", set.created));
    let listed = app.admin.keys().await.unwrap().items;
    assert_eq!(listed.iter().map(|key| key.key_ref.as_str()).collect::<Vec<_>>(), ["demo.token"]);
    app.admin.delete_key("demo.token").await.unwrap();
    assert_eq!(problem(app.admin.delete_key("demo.token").await).status, 404);
    assert!(app.admin.keys().await.unwrap().items.is_empty());
    app.stop().await;
}

#[tokio::test]
async fn test_bad_names_and_values_are_refused() {
    let app = TestApp::start().await;
    assert_eq!(problem(app.admin.set_key("Token", "x").await).status, 422);
    assert_eq!(problem(app.admin.set_key("demo.token", "").await).status, 422);
    assert_eq!(problem(app.admin.set_key("demo.token", &"x".repeat(65_537)).await).status, 422);
    let form = app.as_admin(Method::PUT, "/api/v1/keys/demo.token").body("value=x").send().await.unwrap();
    problem_of(form, 415).await;
    assert_eq!(app.count("key").await, 0);
    app.stop().await;
}

#[tokio::test]
async fn test_an_existing_key_needs_update() {
    let app = TestApp::start().await;
    let creator = app.client_with("creator", vec![grant("key", &["create"])]).await;
    let updater = app.client_with("updater", vec![grant("key", &["update"])]).await;
    assert_eq!(problem(updater.set_key("demo.token", "x").await).status, 403);
    creator.set_key("demo.token", "x").await.unwrap();
    assert_eq!(problem(creator.set_key("demo.token", "y").await).status, 403);
    updater.set_key("demo.token", "y").await.unwrap();
    app.stop().await;
}
