//! What executions wait for: pauses, workers, their next attempt; and what those who run workers do with them.

use std::collections::BTreeMap;

use attune_client::types::{ExecutionRequest, PauseRequest};
use serde_json::json;

use crate::app::{TestApp, pointers, problem};
use crate::demo;
use crate::executions::{FakeWorker, start_page};

fn everything() -> PauseRequest {
    PauseRequest { all: true, ..PauseRequest::default() }
}

#[tokio::test]
async fn test_what_is_paused_waits_and_says_why() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let worker = FakeWorker::register(app.pool()).await;
    let request = PauseRequest {
        action: Some("demo.page".to_owned()),
        reason: Some("too loud".to_owned()),
        ..PauseRequest::default()
    };
    let pause = app.admin.create_pause(&request).await.unwrap();
    assert_eq!((pause.action.as_deref(), pause.by.as_deref()), (Some("demo.page"), Some("admin")));
    // It is accepted all the same.
    let id = start_page(&app).await;
    let waiting = app.admin.execution(id).await.unwrap().execution.waiting.unwrap();
    let since = pause.created.format("%Y-%m-%dT%H:%M:%SZ");
    assert_eq!(waiting, format!("demo.page is paused by admin since {since}: too loud"));
    let listed = app.admin.executions(&[]).await.unwrap();
    assert_eq!(listed.items[0].waiting.as_ref(), Some(&waiting));
    assert_eq!(worker.try_claim().await, None);
    let twice = problem(app.admin.create_pause(&request).await);
    assert_eq!((twice.status, twice.detail.as_str()), (409, "demo.page is paused already"));
    assert_eq!(app.admin.pauses().await.unwrap().items.len(), 1);
    app.admin.delete_pause(pause.id).await.unwrap();
    assert_eq!(problem(app.admin.delete_pause(pause.id).await).status, 404);
    assert_eq!(app.admin.execution(id).await.unwrap().execution.waiting, None);
    assert_eq!(worker.try_claim().await, Some((id, 1)));
    app.stop().await;
}

#[tokio::test]
async fn test_a_pause_has_one_scope_that_exists() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let both = PauseRequest { action: Some("demo.page".to_owned()), ..everything() };
    for request in [PauseRequest::default(), both] {
        let refused = problem(app.admin.create_pause(&request).await);
        assert_eq!(refused.status, 422, "{request:?}");
        assert!(refused.detail.contains("give one of `action`, `pack` and `all`"), "{}", refused.detail);
    }
    let action = PauseRequest { action: Some("demo.pag".to_owned()), ..PauseRequest::default() };
    let unknown = problem(app.admin.create_pause(&action).await);
    assert_eq!((unknown.status, pointers(&unknown)), (422, vec!["/action"]));
    assert!(unknown.detail.contains("did you mean \"demo.page\"?"), "{}", unknown.detail);
    let pack = PauseRequest { pack: Some("dema".to_owned()), ..PauseRequest::default() };
    let unknown = problem(app.admin.create_pause(&pack).await);
    assert_eq!((unknown.status, pointers(&unknown)), (422, vec!["/pack"]));
    assert!(app.admin.pauses().await.unwrap().items.is_empty());
    app.stop().await;
}

#[tokio::test]
async fn test_an_execution_that_no_worker_can_take_says_so() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let id = start_page(&app).await;
    let waiting = async |id: i64| app.admin.execution(id).await.unwrap().execution.waiting;
    assert_eq!(waiting(id).await.as_deref(), Some("no worker is alive"));
    let worker = FakeWorker::register(app.pool()).await;
    assert_eq!(waiting(id).await, None);
    let request = ExecutionRequest {
        worker_selector: BTreeMap::from([("os".to_owned(), "windows".to_owned())]),
        ..ExecutionRequest::of("demo.page", json!({"text": "disk"}))
    };
    let placed = app.admin.create_execution(&request).await.unwrap();
    assert_eq!(placed.waiting.as_deref(), Some("no live worker has labels os=windows"));
    app.admin.cordon("fake").await.unwrap();
    assert_eq!(waiting(id).await.as_deref(), Some("the live workers that could take it are cordoned"));
    assert_eq!(worker.try_claim().await, None);
    let worker_view = app.admin.uncordon("fake").await.unwrap();
    assert!(!worker_view.cordoned && worker_view.alive);
    assert_eq!(worker.try_claim().await, Some((id, 1)));
    assert_eq!(worker.try_claim().await, None);
    assert_eq!((worker_view.running, app.admin.workers().await.unwrap().items[0].running), (0, 1));
    assert_eq!(app.admin.cordon("fake").await.unwrap().running, 1, "it goes on with what it has");
    let unknown = problem(app.admin.cordon("nobody").await);
    assert_eq!((unknown.status, unknown.detail.as_str()), (404, "worker nobody does not exist"));
    app.stop().await;
}

#[tokio::test]
async fn test_labels_that_cannot_be_are_refused() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let request = ExecutionRequest {
        worker_selector: BTreeMap::from([("o/s".to_owned(), "win dows".to_owned())]),
        tolerations: vec!["gpu".to_owned(), String::new()],
        ..ExecutionRequest::of("demo.page", json!({"text": "disk"}))
    };
    let refused = problem(app.admin.create_execution(&request).await);
    assert_eq!((refused.status, pointers(&refused)), (422, vec!["/worker_selector/o~1s", "/tolerations/1"]));
    assert!(app.admin.executions(&[]).await.unwrap().items.is_empty());
    app.stop().await;
}

#[tokio::test]
async fn test_the_history_of_an_execution_is_its_statuses() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let worker = FakeWorker::register(app.pool()).await;
    let id = start_page(&app).await;
    let (execution, attempt) = worker.claim().await;
    worker.complete(execution, attempt).await;
    let history = app.admin.execution_history(id).await.unwrap().items;
    let statuses: Vec<&str> = history.iter().map(|entry| entry.status.as_str()).collect();
    assert_eq!(statuses, ["scheduled", "running", "completed"]);
    assert!(history.is_sorted_by_key(|entry| entry.at));
    assert_eq!(problem(app.admin.execution_history(id + 1).await).status, 404);
    app.stop().await;
}
