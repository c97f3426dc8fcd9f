//! What the tests of several passes do on their way.

use std::sync::Arc;
use std::time::Duration;

use attune_common::bus::Bus;
use attune_common::models::action::{Action, NewAction, WorkerLoss};
use attune_common::models::execution::{Claimed, Completion, ExecutionStatus, NewExecution};
use attune_common::models::policy::{NewPolicy, Policy, PolicyMethod};
use attune_common::models::worker::{Worker, WorkerRegistration};
use attune_common::pass::Found;
use attune_common::repositories::{
    ActionRepository, ExecutionRepository, PolicyRepository, WorkerRepository,
};
use attune_executor::admission::Admitter;
use serde_json::{Value, json};
use sqlx::PgPool;

/// How long a test waits for what must happen, on a machine that does other things as well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn action(pool: &PgPool, action_ref: &str) -> Action {
    let new = NewAction {
        on_worker_loss: WorkerLoss::Abandon,
        ..NewAction::of(action_ref, "test.shell", "run.sh")
    };
    ActionRepository::create(pool, None, &new).await.unwrap()
}

/// A policy of an action, to be completed.
pub(crate) fn of_action(action: &Action) -> NewPolicy {
    NewPolicy {
        r#ref: format!("{}_policy", action.r#ref),
        action_ref: Some(action.r#ref.clone()),
        enabled: true,
        concurrency: Some(1),
        parameters: Vec::new(),
        rate_count: None,
        rate_seconds: None,
        method: PolicyMethod::Enqueue,
    }
}

pub(crate) async fn policy(pool: &PgPool, new: NewPolicy) -> Policy {
    PolicyRepository::create(pool, None, &new).await.unwrap()
}

/// Executions of the action with these parameters, in their order.
pub(crate) async fn request(pool: &PgPool, action: &Action, parameters: &[Value]) -> Vec<i64> {
    let new: Vec<NewExecution> = parameters
        .iter()
        .map(|parameters| NewExecution::of(Some(action.id), &action.r#ref, parameters.clone()))
        .collect();
    let mut connection = pool.acquire().await.unwrap();
    ExecutionRepository::create_many(&mut connection, &new).await.unwrap()
}

/// So many executions without parameters.
pub(crate) async fn request_many(pool: &PgPool, action: &Action, count: usize) -> Vec<i64> {
    request(pool, action, &vec![json!({}); count]).await
}

pub(crate) async fn worker(pool: &PgPool, name: &str) -> Worker {
    let registration = WorkerRegistration {
        name: name.to_owned(),
        host: None,
        instance: "first".to_owned(),
        slots: 1000,
        labels: json!({}),
        capabilities: json!({}),
        taints: Vec::new(),
        lease: Duration::from_secs(3600),
        take_over: false,
    };
    let mut transaction = attune_common::db::begin(pool).await.unwrap();
    let worker = WorkerRepository::register(&mut transaction, &registration).await.unwrap();
    transaction.commit().await.unwrap();
    worker
}

pub(crate) async fn claim(pool: &PgPool, worker: &Worker, limit: i64) -> Vec<Claimed> {
    let mut connection = pool.acquire().await.unwrap();
    ExecutionRepository::claim(&mut connection, worker.id, &worker.instance, limit).await.unwrap()
}

/// Ends what a worker runs.
pub(crate) async fn complete(pool: &PgPool, worker: &Worker, ended: &[Claimed], status: ExecutionStatus) {
    let completions: Vec<Completion> = ended
        .iter()
        .map(|claimed| Completion {
            execution: claimed.id,
            attempt: claimed.attempt,
            status,
            exit_code: None,
            signal: None,
            result: None,
            error: None,
            stdout_bytes: 0,
            stderr_bytes: 0,
        })
        .collect();
    let done = ExecutionRepository::complete(pool, worker.id, &completions).await.unwrap();
    assert_eq!(done.len(), ended.len());
}

/// Admits until nothing more can be.
pub(crate) async fn admit(pool: &PgPool) {
    let mut admitter = Admitter::new(pool.clone(), Bus::new(), Arc::default());
    while admitter.pass().await.unwrap() == Found::More {}
}

/// The executions with this status, in the order of their ids.
pub(crate) async fn with_status(pool: &PgPool, status: ExecutionStatus) -> Vec<i64> {
    sqlx::query_scalar("select id from attune.execution where status = $1 order by id")
        .bind(status)
        .fetch_all(pool)
        .await
        .unwrap()
}

pub(crate) async fn status_of(pool: &PgPool, execution: i64) -> ExecutionStatus {
    ExecutionRepository::standing(pool, execution).await.unwrap().unwrap().0
}

/// What an empty list of ids equals.
pub(crate) const NO_IDS: [i64; 0] = [];
