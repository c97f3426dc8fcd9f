//! The server itself: health, routes that are not there, the document.

use reqwest::Method;
use serde_json::Value;

use crate::app::{TestApp, json, problem_of};

#[tokio::test]
async fn test_health_and_readiness() {
    let app = TestApp::start().await;
    for path in ["/healthz", "/readyz", "/metrics"] {
        let response = app.request(Method::GET, path).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
    }
    app.server_pool.close().await;
    let healthy = app.request(Method::GET, "/healthz").send().await.unwrap();
    assert_eq!(healthy.status(), 200);
    let response = app.request(Method::GET, "/readyz").send().await.unwrap();
    assert_eq!(response.headers()["retry-after"], "1");
    problem_of(response, 503).await;
    app.stop().await;
}

#[tokio::test]
async fn test_what_is_not_there_is_a_problem_document() {
    let app = TestApp::start().await;
    let problem = problem_of(app.request(Method::GET, "/api/v1/nothing").send().await.unwrap(), 404).await;
    assert!(problem.detail.contains("/api/v1/nothing"), "{}", problem.detail);
    let problem = problem_of(app.request(Method::DELETE, "/api/v1/packs").send().await.unwrap(), 405).await;
    assert!(problem.detail.contains("DELETE"), "{}", problem.detail);
    for (path, status) in [
        ("/api/v1/executions/abc", 400),
        ("/api/v1/executions/9000000000", 404),
        ("/api/v1/executions?limit=0", 400),
        ("/api/v1/executions?status=done", 400),
        ("/api/v1/executions?colour=red", 400),
        ("/api/v1/events?cursor=x", 400),
        ("/api/v1/events/9000000000", 404),
        ("/api/v1/enforcements/9000000000", 404),
        ("/api/v1/actions/no.such", 404),
        ("/api/v1/actions/a%00b", 400),
        ("/api/v1/packs/nosuch", 404),
    ] {
        let problem = problem_of(app.as_admin(Method::GET, path).send().await.unwrap(), status).await;
        assert!(!problem.detail.is_empty(), "{path}");
    }
    app.stop().await;
}

#[tokio::test]
async fn test_the_document_that_is_served_is_the_one_of_the_code() {
    let app = TestApp::start().await;
    let served = json(app.request(Method::GET, "/api/openapi.json").send().await.unwrap()).await;
    assert_eq!(served, serde_json::to_value(attune_api::openapi_document()).unwrap());
    assert_eq!(served["openapi"], "3.1.0");
    assert_eq!(served["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    app.stop().await;
}

/// Every reference in the document leads somewhere, and every tag is explained.
#[test]
fn test_the_document_is_whole() {
    let document = serde_json::to_value(attune_api::openapi_document()).unwrap();
    let mut references = Vec::new();
    collect_references(&document, &mut references);
    assert!(references.len() > 50, "only {} references", references.len());
    for reference in references {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference} leads nowhere");
    }
    let tags: Vec<&Value> = document["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
    let mut ids = Vec::new();
    for operation in
        document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values())
    {
        assert!(tags.contains(&&operation["tags"][0]), "{operation}");
        ids.push(operation["operationId"].as_str().unwrap());
    }
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "two operations have the same id: {ids:?}");
}

fn collect_references(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(reference) if name == "$ref" => references.push(reference.clone()),
                    other => collect_references(other, references),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_references(item, references)),
        _ => {}
    }
}

#[tokio::test]
async fn test_a_stopping_server_ends_what_waits() {
    let app = TestApp::start().await;
    crate::demo::install(&app).await;
    let id = crate::executions::start_page(&app).await;
    let waiting = {
        let client = app.admin.clone();
        tokio::spawn(async move { client.wait_for_execution(id, 60).await })
    };
    let follower = app.as_admin(Method::GET, &format!("/api/v1/executions/{id}/output?follow=true"));
    let followed = follower.send().await.unwrap();
    assert_eq!(followed.status(), 200);
    let stopped = tokio::time::timeout(std::time::Duration::from_secs(10), app.stop()).await;
    assert!(stopped.is_ok(), "the server waited for its clients");
    // Either its last answer, or nothing any more when it came too late to be let in.
    if let Ok(execution) = waiting.await.unwrap() {
        assert_eq!(execution.execution.status, "scheduled");
    }
    followed.bytes().await.unwrap();
}
