//! Executions: starting, waiting, cancelling.

use std::time::{Duration, Instant};

use attune_client::types::ExecutionRequest;
use attune_common::bus::Topic;
use attune_common::models::execution::{Completion, ExecutionStatus};
use attune_common::models::worker::WorkerRegistration;
use attune_common::repositories::{ExecutionRepository, WorkerRepository};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::app::{TestApp, pointers, problem};
use crate::demo;

fn page(parameters: Value) -> ExecutionRequest {
    ExecutionRequest::of("demo.page", parameters)
}

/// Starts `demo.page`; gives back its id.
pub(crate) async fn start_page(app: &TestApp) -> i64 {
    app.admin.create_execution(&page(json!({"text": "disk"}))).await.unwrap().id
}

/// A worker that does what the tests tell it.
pub(crate) struct FakeWorker {
    pool: PgPool,
    id: i64,
}

impl FakeWorker {
    pub(crate) async fn register(pool: &PgPool) -> Self {
        let registration = WorkerRegistration {
            name: "fake".into(),
            instance: "one".into(),
            host: None,
            slots: 1,
            labels: json!({}),
            capabilities: json!({}),
            taints: Vec::new(),
            lease: Duration::from_secs(600),
            take_over: false,
        };
        let mut connection = pool.acquire().await.unwrap();
        let worker = WorkerRepository::register(&mut connection, &registration).await.unwrap();
        Self { pool: pool.clone(), id: worker.id }
    }

    /// Claims the next execution; gives back id and attempt.
    pub(crate) async fn claim(&self) -> (i64, i32) {
        self.try_claim().await.expect("one waits")
    }

    /// Claims the next execution if there is one for it.
    pub(crate) async fn try_claim(&self) -> Option<(i64, i32)> {
        let mut connection = self.pool.acquire().await.unwrap();
        let claimed = ExecutionRepository::claim(&mut connection, self.id, "one", 1).await.unwrap();
        claimed.first().map(|execution| (execution.id, execution.attempt))
    }

    pub(crate) async fn complete(&self, execution: i64, attempt: i32) {
        let completion = Completion {
            execution,
            attempt,
            status: ExecutionStatus::Completed,
            exit_code: Some(0),
            signal: None,
            result: Some(json!("done")),
            error: None,
            stdout_bytes: 5,
            stderr_bytes: 0,
        };
        let done = ExecutionRepository::complete(&self.pool, self.id, &[completion]).await.unwrap();
        assert_eq!(done, [execution]);
    }
}

#[tokio::test]
async fn test_create_fills_defaults_and_masks_secrets() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let created =
        app.admin.create_execution(&page(json!({"text": "disk", "token": "hunter2"}))).await.unwrap();
    assert_eq!(created.status, "scheduled");
    assert_eq!(created.parameters, json!({"text": "disk", "retries": 3, "token": "********"}));
    let stored: Value = sqlx::query_scalar("select config from attune.execution where id = $1")
        .bind(created.id)
        .fetch_one(app.pool())
        .await
        .unwrap();
    assert_eq!(stored, json!({"text": "disk", "retries": 3, "token": "hunter2"}));
    let shown = app.admin.execution(created.id).await.unwrap();
    assert_eq!(shown.started_by.as_deref(), Some("admin"));
    assert!(shown.chain.is_none() && shown.attempts.is_empty());
    let listed = serde_json::to_string(&app.admin.executions(&[]).await.unwrap()).unwrap();
    assert!(!listed.contains("hunter2"));
    app.stop().await;
}

#[tokio::test]
async fn test_parameters_that_do_not_fit_start_nothing() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let refused = problem(app.admin.create_execution(&page(json!({"retries": -1, "tokn": "x"}))).await);
    assert_eq!(refused.status, 422);
    assert_eq!(pointers(&refused), ["/parameters/retries", "/parameters/text", "/parameters/tokn"]);
    assert!(refused.errors[2].detail.contains("did you mean `token`"), "{:?}", refused.errors[2]);
    let list = problem(app.admin.create_execution(&page(json!(["disk"]))).await);
    assert_eq!((list.status, pointers(&list)), (422, vec!["/parameters"]));
    let unknown = ExecutionRequest::of("demo.pag", Value::Null);
    let unknown = problem(app.admin.create_execution(&unknown).await);
    assert_eq!((unknown.status, pointers(&unknown)), (422, vec!["/action"]));
    assert!(unknown.detail.contains("did you mean \"demo.page\"?"), "{}", unknown.detail);
    let nul = problem(app.admin.create_execution(&page(json!({"text": "\u{0}"}))).await);
    assert_eq!(nul.status, 400);
    sqlx::query("update attune.action set enabled = false").execute(app.pool()).await.unwrap();
    assert_eq!(problem(app.admin.create_execution(&page(json!({"text": "x"}))).await).status, 409);
    assert_eq!(app.count("execution").await, 0);
    app.stop().await;
}

#[tokio::test]
async fn test_an_action_without_its_runtime_starts_nothing() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    sqlx::query("delete from attune.runtime").execute(app.pool()).await.unwrap();
    let refused = problem(app.admin.create_execution(&page(json!({"text": "x"}))).await);
    assert_eq!(refused.status, 409);
    assert!(refused.detail.contains("demo.shell"), "{}", refused.detail);
    app.stop().await;
}

#[tokio::test]
async fn test_wait_answers_at_the_end_of_the_execution() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let id = start_page(&app).await;
    let began = Instant::now();
    let unfinished = app.admin.wait_for_execution(id, 1).await.unwrap();
    assert_eq!(unfinished.execution.status, "scheduled");
    assert!(began.elapsed() >= Duration::from_secs(1));
    let worker = FakeWorker::register(app.pool()).await;
    let (claimed, attempt) = worker.claim().await;
    assert_eq!(claimed, id);
    let waiting = {
        let client = app.admin.clone();
        tokio::spawn(async move { client.wait_for_execution(id, 60).await })
    };
    worker.complete(id, attempt).await;
    app.bus.wake(Topic::Change);
    let finished = tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap().unwrap().unwrap();
    assert!(finished.execution.is_finished());
    assert_eq!(finished.execution.result, Some(json!("done")));
    assert_eq!(finished.execution.worker.as_deref(), Some("fake"));
    assert_eq!(finished.attempts.len(), 1);
    assert_eq!(problem(app.admin.wait_for_execution(id, 61).await).status, 400);
    assert_eq!(problem(app.admin.wait_for_execution(id + 1, 60).await).status, 404);
    app.stop().await;
}

#[tokio::test]
async fn test_cancel() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let waiting = start_page(&app).await;
    assert_eq!(app.admin.cancel_execution(waiting).await.unwrap().status, "cancelled");
    assert_eq!(app.admin.cancel_execution(waiting).await.unwrap().status, "cancelled");
    let running = start_page(&app).await;
    let worker = FakeWorker::register(app.pool()).await;
    let (_, attempt) = worker.claim().await;
    assert_eq!(app.admin.cancel_execution(running).await.unwrap().status, "canceling");
    worker.complete(running, attempt).await;
    let ended = problem(app.admin.cancel_execution(running).await);
    assert_eq!(ended.status, 409);
    assert!(ended.detail.contains("completed"), "{}", ended.detail);
    assert_eq!(problem(app.admin.cancel_execution(9_000_000_000).await).status, 404);
    app.stop().await;
}

#[tokio::test]
async fn test_list_filters() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let first = start_page(&app).await;
    let second = start_page(&app).await;
    app.admin.cancel_execution(first).await.unwrap();
    let list = async |name: &'static str, value: &str| -> Vec<i64> {
        let page = app.admin.executions(&[(name, value.to_owned())]).await.unwrap();
        page.items.into_iter().map(|execution| execution.id).collect()
    };
    assert_eq!(list("status", "scheduled").await, [second]);
    assert_eq!(list("status", "cancelled").await, [first]);
    assert_eq!(list("action", "demo.page").await, [second, first]);
    assert!(list("action", "demo.other").await.is_empty());
    app.stop().await;
}

#[tokio::test]
async fn test_workers_show_whether_they_live() {
    let app = TestApp::start().await;
    FakeWorker::register(app.pool()).await;
    let workers = app.admin.workers().await.unwrap().items;
    assert_eq!(
        (workers[0].name.as_str(), workers[0].alive, workers[0].status.as_str()),
        ("fake", true, "active")
    );
    sqlx::query("update attune.worker set lease_expires = clock_timestamp() - interval '1 second'")
        .execute(app.pool())
        .await
        .unwrap();
    assert!(!app.admin.workers().await.unwrap().items[0].alive);
    app.stop().await;
}
