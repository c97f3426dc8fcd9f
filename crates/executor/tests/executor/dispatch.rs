//! Items of work queues become executions, and what becomes of those becomes of the items.

use std::sync::Arc;
use std::time::Duration;

use attune_common::bus::Bus;
use attune_common::models::action::{Action, NewAction};
use attune_common::models::execution::ExecutionStatus;
use attune_common::models::pack::NewPack;
use attune_common::models::runtime::NewRuntime;
use attune_common::models::work_queue::{
    NewWorkItem, NewWorkQueue, WorkItem, WorkItemCounts, WorkItemFilter, WorkQueue,
};
use attune_common::pass::Found;
use attune_common::repositories::{
    ActionRepository, ExecutionRepository, PackRepository, RuntimeRepository, WorkItemRepository,
    WorkQueueRepository,
};
use attune_executor::dispatch::Dispatcher;
use attune_testkit::TestDatabase;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::helpers::*;

/// An action that can be run, with this parameter schema.
async fn runnable(pool: &PgPool, schema: Value) -> Action {
    let pack = NewPack {
        r#ref: "test".to_owned(),
        label: "Test".to_owned(),
        version: "1.0.0".to_owned(),
        ..NewPack::default()
    };
    let pack = PackRepository::create(pool, &pack).await.unwrap();
    let runtime = NewRuntime { r#ref: "test.shell".to_owned(), ..NewRuntime::default() };
    RuntimeRepository::put(pool, pack.id, &runtime).await.unwrap();
    let new = NewAction { param_schema: schema, ..NewAction::of("test.work", "test.shell", "run.sh") };
    ActionRepository::create(pool, Some(pack.id), &new).await.unwrap()
}

async fn queue(pool: &PgPool, change: impl FnOnce(&mut NewWorkQueue)) -> WorkQueue {
    let mut new = NewWorkQueue { retry_seconds: 0.0, ..NewWorkQueue::of("test.queue", "test.work") };
    change(&mut new);
    WorkQueueRepository::create(pool, None, &new).await.unwrap()
}

async fn push(pool: &PgPool, queue: &WorkQueue, items: &[Value]) -> Vec<i64> {
    let items: Vec<_> = items.iter().map(|item| NewWorkItem::of(item.clone())).collect();
    WorkItemRepository::push(pool, queue.id, &items).await.unwrap()
}

async fn dispatch(pool: &PgPool) {
    let mut dispatcher = Dispatcher::new(pool.clone(), Bus::new(), Arc::default());
    while dispatcher.pass().await.unwrap() == Found::More {}
}

async fn items(pool: &PgPool, queue: &WorkQueue) -> Vec<WorkItem> {
    let filter = WorkItemFilter { queue: Some(queue.id), limit: 1000, ..WorkItemFilter::default() };
    WorkItemRepository::search(pool, &filter).await.unwrap()
}

async fn counts(pool: &PgPool, queue: &WorkQueue) -> [i64; 4] {
    let WorkItemCounts { ready, leased, done, dead } =
        WorkItemRepository::count_by_status(pool, queue.id).await.unwrap();
    [ready, leased, done, dead]
}

#[tokio::test]
async fn test_an_item_is_the_parameters_of_its_execution() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    runnable(pool, json!({"properties": {"host": {"type": "string"}, "port": {"default": 22}}})).await;
    let queue = queue(pool, |_| ()).await;
    push(pool, &queue, &[json!({"host": "a"})]).await;
    dispatch(pool).await;
    let item = items(pool, &queue).await.remove(0);
    let execution = ExecutionRepository::get_by_id(pool, item.execution.unwrap()).await.unwrap();
    assert_eq!((execution.action_ref.as_str(), execution.status), ("test.work", ExecutionStatus::Scheduled));
    assert_eq!(execution.config, json!({"host": "a", "port": 22}), "defaults are filled in");
    let worker = worker(pool, "one").await;
    let claimed = claim(pool, &worker, 10).await;
    complete(pool, &worker, &claimed, ExecutionStatus::Completed).await;
    dispatch(pool).await;
    assert_eq!(counts(pool, &queue).await, [0, 0, 1, 0]);
}

#[tokio::test]
async fn test_a_batch_is_one_execution_and_so_many_run_at_once() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    runnable(pool, json!({})).await;
    let queue = queue(pool, |new| {
        new.batch_size = 3;
        new.concurrency = 2;
    })
    .await;
    let values: Vec<Value> = (0..8).map(Value::from).collect();
    push(pool, &queue, &values).await;
    let worker = worker(pool, "one").await;
    let mut seen = Vec::new();
    for expected in [vec![json!([0, 1, 2]), json!([3, 4, 5])], vec![json!([6, 7])]] {
        dispatch(pool).await;
        let claimed = claim(pool, &worker, 10).await;
        let batches: Vec<Value> = claimed.iter().map(|claimed| claimed.config["items"].clone()).collect();
        assert_eq!(batches, expected);
        seen.extend(claimed.iter().map(|claimed| claimed.id));
        dispatch(pool).await;
        assert_eq!(claim(pool, &worker, 10).await, [], "no more than two at once");
        complete(pool, &worker, &claimed, ExecutionStatus::Completed).await;
    }
    dispatch(pool).await;
    assert_eq!((counts(pool, &queue).await, seen.len()), ([0, 0, 8, 0], 3));
}

#[tokio::test]
async fn test_what_fails_is_tried_again_and_dies_with_the_reason_and_comes_back() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    runnable(pool, json!({})).await;
    let queue = queue(pool, |new| new.max_attempts = 2).await;
    push(pool, &queue, &[json!({"n": 1})]).await;
    let worker = worker(pool, "one").await;
    let fail = async || {
        dispatch(pool).await;
        let claimed = claim(pool, &worker, 10).await;
        assert_eq!(claimed.len(), 1);
        complete(pool, &worker, &claimed, ExecutionStatus::Failed).await;
        claimed[0].id
    };
    fail().await;
    let last = fail().await;
    dispatch(pool).await;
    assert_eq!(counts(pool, &queue).await, [0, 0, 0, 1]);
    let dead = items(pool, &queue).await.remove(0);
    assert_eq!(dead.error, Some(format!("execution {last} ended as failed")));
    let revived = WorkItemRepository::revive(pool, queue.id, None, 10).await.unwrap();
    assert_eq!(revived.iter().map(|(dead, _)| *dead).collect::<Vec<_>>(), [dead.id]);
    let item = items(pool, &queue).await.remove(0);
    assert_eq!((item.id, item.attempts, &item.item), (revived[0].1, 0, &dead.item));
    fail().await;
}

#[tokio::test]
async fn test_an_item_that_does_not_fit_the_action_fails_alone() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    runnable(pool, json!({"properties": {"host": {"type": "string"}}, "required": ["host"]})).await;
    let queue = queue(pool, |new| new.max_attempts = 1).await;
    push(pool, &queue, &[json!({"port": 1}), json!({"host": "a"})]).await;
    dispatch(pool).await;
    assert_eq!(counts(pool, &queue).await, [0, 1, 0, 1]);
    let dead = items(pool, &queue).await.pop().unwrap();
    let error = dead.error.unwrap();
    assert!(error.starts_with("the item does not fit the parameters of test.work: "), "{error}");
}

#[tokio::test]
async fn test_a_lease_holds_as_long_as_the_execution_has_not_ended() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    runnable(pool, json!({})).await;
    let queue = queue(pool, |_| ()).await;
    push(pool, &queue, &[json!({"n": 1}), json!({"n": 2})]).await;
    dispatch(pool).await;
    // As if no executor had looked for a long time; and one execution is gone.
    let leased = items(pool, &queue).await;
    let leases: Vec<_> = leased.iter().map(WorkItem::lease).collect();
    WorkItemRepository::extend(pool, &leases, Duration::ZERO).await.unwrap();
    assert!(ExecutionRepository::delete(pool, leased[0].execution.unwrap()).await.unwrap());
    dispatch(pool).await;
    let after = items(pool, &queue).await;
    assert_eq!((after[1].attempts, after[1].execution), (1, leased[1].execution), "the same lease");
    assert_eq!(after[0].attempts, 2, "handed out again");
    assert_ne!(after[0].execution, leased[0].execution);
}

#[tokio::test]
async fn test_two_executors_hand_an_item_out_once() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    runnable(pool, json!({})).await;
    let queue = queue(pool, |new| new.concurrency = 7).await;
    let values: Vec<Value> = (0..100).map(|n| json!({ "n": n })).collect();
    push(pool, &queue, &values).await;
    let worker = worker(pool, "one").await;
    let mut dispatchers: Vec<Dispatcher> =
        (0..2).map(|_| Dispatcher::new(pool.clone(), Bus::new(), Arc::default())).collect();
    let until = tokio::time::Instant::now() + PATIENCE;
    let mut executions = 0;
    while counts(pool, &queue).await != [0, 0, 100, 0] {
        let [first, second] = dispatchers.as_mut_slice() else { unreachable!("there are two") };
        let (one, two) = tokio::join!(first.pass(), second.pass());
        one.and(two).unwrap();
        let claimed = claim(pool, &worker, 100).await;
        assert!(claimed.len() <= 7, "{}", claimed.len());
        executions += claimed.len();
        complete(pool, &worker, &claimed, ExecutionStatus::Completed).await;
        assert!(tokio::time::Instant::now() < until);
    }
    assert_eq!(executions, 100);
}

#[tokio::test]
async fn test_what_was_done_while_no_executor_was_there_is_not_done_again() {
    // More than are settled at once.
    const ITEMS: i64 = 501;
    let database = TestDatabase::create().await;
    let pool = database.pool();
    runnable(pool, json!({})).await;
    let queue = queue(pool, |new| {
        new.batch_size = 3;
        new.concurrency = 200;
    })
    .await;
    let values: Vec<Value> = (0..ITEMS).map(Value::from).collect();
    push(pool, &queue, &values).await;
    dispatch(pool).await;
    let worker = worker(pool, "one").await;
    let claimed = claim(pool, &worker, ITEMS).await;
    complete(pool, &worker, &claimed, ExecutionStatus::Completed).await;
    // Nobody was there for longer than a lease.
    sqlx::query("update attune.work_item set lease_expires = clock_timestamp() - interval '1 minute'")
        .execute(pool)
        .await
        .unwrap();
    dispatch(pool).await;
    assert_eq!(counts(pool, &queue).await, [0, 0, ITEMS, 0]);
    assert!(items(pool, &queue).await.iter().all(|item| item.attempts == 1));
}
