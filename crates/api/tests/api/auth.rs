//! Signing in and out.

use attune_client::types::LoginRequest;
use chrono::{Duration, Utc};
use reqwest::Method;
use serde_json::json;

use crate::app::{TestApp, identity_with_password, problem, problem_of};

fn credentials(login: &str, password: &str) -> LoginRequest {
    LoginRequest { login: login.to_owned(), password: password.to_owned(), token_name: None }
}

#[tokio::test]
async fn test_login_gives_a_token_that_logout_withdraws() {
    let app = TestApp::start().await;
    identity_with_password(app.pool(), "ann", "correct horse").await;
    let answer = app.anonymous().login(&credentials("ann", "correct horse")).await.unwrap();
    assert_eq!(answer.login, "ann");
    let lifetime = answer.expires - Utc::now();
    assert!(lifetime > Duration::days(29) && lifetime <= Duration::days(30), "{lifetime}");
    let ann = app.anonymous().with_token(answer.token);
    assert_eq!(ann.whoami().await.unwrap().login, "ann");
    ann.logout().await.unwrap();
    assert_eq!(problem(ann.whoami().await).status, 401);
    app.stop().await;
}

#[tokio::test]
async fn test_login_is_refused_the_same_way_whatever_is_wrong() {
    let app = TestApp::start().await;
    let disabled = identity_with_password(app.pool(), "gone", "correct horse").await;
    identity_with_password(app.pool(), "ann", "correct horse").await;
    sqlx::query("update attune.identity set enabled = false where id = $1")
        .bind(disabled)
        .execute(app.pool())
        .await
        .unwrap();
    let tokens = app.count("token").await;
    let mut problems = Vec::new();
    for (login, password) in
        [("ann", "wrong"), ("nobody", "correct horse"), ("gone", "correct horse"), ("admin", "")]
    {
        problems.push(problem(app.anonymous().login(&credentials(login, password)).await));
    }
    problems.dedup();
    let [problem] = problems.as_slice() else { panic!("the answers differ: {problems:?}") };
    assert_eq!((problem.status, problem.kind.as_str()), (401, "/problems/bad-credentials"));
    assert_eq!(app.count("token").await, tokens);
    app.stop().await;
}

#[tokio::test]
async fn test_an_expired_token_opens_nothing_and_goes_with_the_next_login() {
    let app = TestApp::start().await;
    identity_with_password(app.pool(), "ann", "correct horse").await;
    let answer = app.anonymous().login(&credentials("ann", "correct horse")).await.unwrap();
    sqlx::query("update attune.token set expires = clock_timestamp() where expires is not null")
        .execute(app.pool())
        .await
        .unwrap();
    let tokens = app.count("token").await;
    let refused = problem(app.anonymous().with_token(answer.token).whoami().await);
    assert_eq!(refused.status, 401);
    app.anonymous().login(&credentials("ann", "correct horse")).await.unwrap();
    assert_eq!(app.count("token").await, tokens);
    app.stop().await;
}

#[tokio::test]
async fn test_a_malformed_login_does_not_repeat_the_password() {
    let app = TestApp::start().await;
    let body = json!({"login": "ann", "password": {"hunter2": 1}});
    let response = app.request(Method::POST, "/api/v1/auth/login").json(&body).send().await.unwrap();
    let problem = problem_of(response, 422).await;
    assert!(!problem.detail.contains("hunter2"), "{}", problem.detail);
    app.stop().await;
}

#[tokio::test]
async fn test_401_tells_how_to_sign_in() {
    let app = TestApp::start().await;
    let response = app.request(Method::GET, "/api/v1/whoami").send().await.unwrap();
    assert_eq!(response.headers()["www-authenticate"], "Bearer");
    let problem = problem_of(response, 401).await;
    assert!(problem.detail.contains("attune login"), "{}", problem.detail);
    app.stop().await;
}
