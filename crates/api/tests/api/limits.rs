//! Policies, work queues, and the space of the database.

use attune_client::types::{ExecutionRequest, QueuePush, QueueRetry};
use attune_common::models::work_queue::{ItemFailure, WorkItem};
use attune_common::repositories::{AdmissionRepository, WorkItemRepository, WorkQueueRepository};
use serde_json::{Value, json};
use std::time::Duration;

use crate::app::{TestApp, pointers, problem};
use crate::demo::{self, archive, files_with};

const POLICY: (&str, &str) = (
    "policies/one.yaml",
    "ref: demo.one_page\naction: demo.page\nconcurrency: 1\nparameters: [text]\nrate: {count: 9, period: 1m}\n",
);
const QUEUE: (&str, &str) = (
    "queues/pages.yaml",
    "ref: demo.pages\naction: demo.page\nitem:\n  text: {type: string, required: true}\n  pin: {type: string, secret: true}\nmax_attempts: 1\n",
);

async fn install(app: &TestApp) {
    let installed = app.admin.install_pack(archive(&files_with(&[POLICY, QUEUE])), "test").await.unwrap();
    assert_eq!(
        (installed.pack.policies, installed.pack.queues),
        (vec!["demo.one_page".to_owned()], vec!["demo.pages".to_owned()])
    );
}

async fn start(app: &TestApp, text: &str) -> i64 {
    let request = ExecutionRequest::of("demo.page", json!({ "text": text }));
    let execution = app.admin.create_execution(&request).await.unwrap();
    assert_eq!(execution.status, "requested");
    execution.id
}

#[tokio::test]
async fn test_an_execution_says_what_it_waits_for() {
    let app = TestApp::start().await;
    install(&app).await;
    let (_, second) = (start(&app, "disk").await, start(&app, "disk").await);
    let waiting = app.admin.execution(second).await.unwrap().admission.unwrap();
    assert!(waiting.policies.is_empty() && waiting.position.is_none(), "not sorted yet: {waiting:?}");
    let mut connection = app.pool().acquire().await.unwrap();
    AdmissionRepository::sort(&mut connection, 10).await.unwrap();
    let waiting = app.admin.execution(second).await.unwrap().admission.unwrap();
    assert_eq!(waiting.position, Some(2));
    assert_eq!((waiting.policies[0].policy.as_str(), waiting.policies[0].has_room), ("demo.one_page", true));
    let sentence = app.admin.execution(second).await.unwrap().execution.waiting;
    assert_eq!(sentence.as_deref(), Some("for policy demo.one_page, position 2"));
    let policy = app.admin.policy("demo.one_page").await.unwrap();
    assert_eq!((policy.action.as_deref(), policy.concurrency), (Some("demo.page"), Some(1)));
    assert_eq!((policy.rate_count, policy.rate_seconds), (Some(9), Some(60.0)));
    assert_eq!((policy.method.as_str(), policy.running, policy.waiting), ("enqueue", 0, 2));
    let listed = app.admin.policies().await.unwrap().items;
    assert_eq!(listed.iter().map(|policy| policy.policy_ref.as_str()).collect::<Vec<_>>(), ["demo.one_page"]);
    assert_eq!(problem(app.admin.policy("demo.other").await).status, 404);
    app.stop().await;
}

#[tokio::test]
async fn test_a_pack_without_its_policy_takes_it_away() {
    let app = TestApp::start().await;
    install(&app).await;
    demo::install(&app).await;
    assert_eq!((app.count("policy").await, app.count("work_queue").await), (0, 0));
    app.stop().await;
}

#[tokio::test]
async fn test_a_policy_of_an_action_that_is_nowhere_is_refused() {
    let app = TestApp::start().await;
    let files =
        files_with(&[("policies/one.yaml", "ref: demo.one_page\naction: other.page\nconcurrency: 1\n")]);
    let refused = problem(app.admin.install_pack(archive(&files), "test").await);
    assert_eq!(refused.status, 422);
    assert_eq!(pointers(&refused), ["/action"]);
    assert_eq!(app.count("policy").await, 0);
    app.stop().await;
}

fn push(items: Value) -> QueuePush {
    let Value::Array(items) = items else { panic!("a list of items") };
    QueuePush { items, priority: 0, not_before: None }
}

#[tokio::test]
async fn test_items_enter_a_queue_all_or_none() {
    let app = TestApp::start().await;
    install(&app).await;
    let faulty = push(json!([{"text": "a"}, {"txet": "b"}, {"text": 3}]));
    let refused = problem(app.admin.push_items("demo.pages", &faulty).await);
    assert_eq!(refused.status, 422);
    assert!(
        pointers(&refused).iter().all(|at| at.starts_with("/items/1") || at.starts_with("/items/2")),
        "{refused:?}"
    );
    assert_eq!(problem(app.admin.push_items("demo.pages", &push(json!([]))).await).status, 400);
    assert_eq!(problem(app.admin.push_items("demo.none", &push(json!([{}]))).await).status, 404);
    assert_eq!(app.count("work_item").await, 0);
    let items = push(json!([{"text": "a"}, {"text": "b", "pin": "1234"}]));
    let pushed = app.admin.push_items("demo.pages", &items).await.unwrap();
    assert_eq!(pushed.ids.len(), 2);
    let listed = app.admin.queue_items("demo.pages", &[("limit", "1".to_owned())]).await.unwrap();
    assert_eq!(listed.items[0].item, json!({"text": "b", "pin": "********"}), "secrets are not shown");
    assert!(listed.next_cursor.is_some());
    let counts = app.admin.queue("demo.pages").await.unwrap().items;
    assert_eq!((counts.ready, counts.dead), (2, 0));
    app.stop().await;
}

#[tokio::test]
async fn test_dead_items_come_back_as_new_ones() {
    let app = TestApp::start().await;
    install(&app).await;
    app.admin.push_items("demo.pages", &push(json!([{"text": "a"}, {"text": "b"}]))).await.unwrap();
    let queue = WorkQueueRepository::get_by_ref(app.pool(), "demo.pages").await.unwrap();
    let leased = WorkItemRepository::lease(app.pool(), queue.id, Duration::from_secs(60)).await.unwrap();
    let failure =
        ItemFailure { lease: WorkItem::lease(&leased[0]), error: "no".to_owned(), delay: Duration::ZERO };
    WorkItemRepository::fail(app.pool(), &[failure]).await.unwrap();
    let dead = app.admin.queue_items("demo.pages", &[("status", "dead".to_owned())]).await.unwrap().items;
    assert_eq!((dead.len(), dead[0].error.as_deref()), (1, Some("no")));
    let alive = QueueRetry { items: Some(vec![dead[0].id + 1]) };
    assert_eq!(problem(app.admin.retry_items("demo.pages", &alive).await).status, 409);
    let retried = app.admin.retry_items("demo.pages", &QueueRetry::default()).await.unwrap().items;
    assert_eq!(retried.iter().map(|item| item.dead).collect::<Vec<_>>(), [dead[0].id]);
    let counts = app.admin.queues().await.unwrap().items[0].items;
    assert_eq!((counts.ready, counts.leased, counts.dead), (2, 0, 0));
    app.stop().await;
}

#[tokio::test]
async fn test_the_space_of_the_database_is_told() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let size = app.admin.database_size().await.unwrap();
    assert!(size.tables.iter().any(|table| table.table == "pack_file" && table.total_bytes > 0));
    let sum: i64 = size.tables.iter().map(|table| table.total_bytes).sum();
    assert!(size.total_bytes > sum, "{} and {sum}", size.total_bytes);
    let kinds: Vec<_> = size.kinds.iter().map(|kind| kind.kind.as_str()).collect();
    assert_eq!(kinds, ["event", "enforcement", "execution", "change", "audit", "work_item", "notification"]);
    app.stop().await;
}

#[tokio::test]
async fn test_a_pack_whose_action_a_queue_of_another_works_with_stays() {
    let app = TestApp::start().await;
    demo::install(&app).await;
    let other = demo::only(&[
        ("pack.yaml", "ref: other\nversion: 1.0.0\n"),
        ("queues/pages.yaml", "ref: other.pages\naction: demo.page\n"),
    ]);
    app.admin.install_pack(archive(&other), "test").await.unwrap();
    let refused = problem(app.admin.remove_pack("demo").await);
    assert_eq!(refused.status, 409);
    assert!(format!("{refused:?}").contains("queue other.pages uses action demo.page"), "{refused:?}");
    app.stop().await;
}
