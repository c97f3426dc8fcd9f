//! What tests of several repositories do on their way.

use std::time::Duration;

use attune_common::error::Result;
use attune_common::models::action::WorkerLoss;
use attune_common::models::enforcement::{Decision, DecisionOutcome};
use attune_common::models::event::Event;
use attune_common::models::execution::{Completion, Execution, ExecutionFilter, ExecutionStatus};
use attune_common::models::placement::{NewPlacement, Placement};
use attune_common::models::rule::{Rule, RuleMode};
use attune_common::models::worker::Worker;
use attune_common::repositories::{
    ChangeRepository, ExecutionRepository, PlacementRepository, RuleSetRepository, WorkerRepository,
};
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};

use super::{ActionFixture, ExecutionFixture, WorkerFixture};

/// The decision of the rule about the event to execute its action.
pub(crate) fn decision(event: &Event, rule: &Rule) -> Decision {
    let action = rule.action.expect("the rule's action exists");
    Decision {
        event: event.id,
        rule: rule.id,
        rule_ref: rule.r#ref.clone(),
        trigger_ref: event.trigger_ref.clone(),
        config: json!({"rule_version": rule.version, "action": rule.action_ref}).into(),
        parameters: json!({"text": "disk full"}),
        keyed: None,
        condition: rule.condition,
        conditions: rule.conditions.clone().into(),
        mode: RuleMode::Active,
        retry: rule.retry.clone().map(Into::into),
        outcome: DecisionOutcome::Execute { action, action_ref: rule.action_ref.clone() },
        trace_id: Some("trace-1".to_owned()),
    }
}

/// The end of an attempt, without output.
pub(crate) fn completion(execution: i64, attempt: i32, status: ExecutionStatus) -> Completion {
    Completion {
        execution,
        attempt,
        status,
        exit_code: None,
        signal: None,
        result: None,
        error: None,
        stdout_bytes: 0,
        stderr_bytes: 0,
    }
}

/// The execution of the enforcement's decision, if there is one.
pub(crate) async fn executions_of(connection: &mut PgConnection, enforcement: i64) -> Result<Vec<Execution>> {
    let filter = ExecutionFilter { enforcement: Some(enforcement), limit: 10, ..ExecutionFilter::default() };
    ExecutionRepository::search(connection, &filter).await
}

/// An execution of the action that a new worker runs.
pub(crate) async fn running(
    connection: &mut PgConnection,
    on_worker_loss: WorkerLoss,
) -> (Execution, Worker) {
    let action = ActionFixture::new_unique().with_worker_loss(on_worker_loss).create(&mut *connection).await;
    let execution = ExecutionFixture::new(&action.expect("an action")).create(&mut *connection).await;
    let execution = execution.expect("an execution");
    let worker = WorkerFixture::new_unique().create(&mut *connection).await.expect("a worker");
    let claimed = ExecutionRepository::claim(&mut *connection, worker.id, &worker.instance, 10).await;
    assert_eq!(claimed.expect("work can be claimed").len(), 1);
    let execution = ExecutionRepository::get_by_id(connection, execution.id).await;
    (execution.expect("the execution is there"), worker)
}

/// Lets the lease of a worker run out, as if its process had been killed.
pub(crate) async fn expire_lease(connection: &mut PgConnection, worker: &Worker) {
    let renewed = WorkerRepository::renew(connection, worker.id, &worker.instance, Duration::ZERO).await;
    assert!(renewed.expect("the lease can be renewed"));
}

/// The placement of what needs these labels and tolerates these taints.
pub(crate) async fn placement(
    connection: &mut PgConnection,
    selector: &[(&str, &str)],
    tolerations: &[&str],
) -> Placement {
    let new = NewPlacement {
        selector: selector.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
        tolerations: tolerations.iter().map(|&taint| taint.to_owned()).collect(),
    };
    PlacementRepository::put(connection, &new).await.expect("a placement can be made")
}

/// Forbids a worker to take more work, as an operator does.
pub(crate) async fn cordon(connection: &mut PgConnection, worker: i64) {
    let worker = WorkerRepository::cordon(connection, worker).await.expect("the worker can be cordoned");
    assert!(worker.cordoned);
}

/// Returns once so many statements of this database wait for a lock that another one holds.
pub(crate) async fn until_blocked(pool: &PgPool, statements: i64) {
    let patience = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let blocked: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity
             where datname = current_database() and cardinality(pg_blocking_pids(pid)) > 0",
        )
        .fetch_one(pool)
        .await
        .expect("pg_stat_activity can be read");
        if blocked == statements {
            return;
        }
        assert!(tokio::time::Instant::now() < patience, "{blocked} statements are blocked, not {statements}");
    }
}

/// Waits for what must not have to wait for another transaction, as long as that may take on a busy machine.
pub(crate) async fn at_once<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("it waits for another transaction")
}

/// The version of the rule set, as an executor reads it.
pub(crate) async fn rule_set(connection: &mut PgConnection) -> i64 {
    RuleSetRepository::version(connection).await.expect("the rule set has a version")
}

/// How to try again, with a delay of so many seconds that does not grow.
pub(crate) fn retry(count: i64, delay: f64, on: &[&str]) -> Value {
    json!({"count": count, "delay": delay, "factor": 1.0, "max_delay": 3600.0, "jitter": 0.0, "on": on})
}

/// Lets the time come for everything that waits for it, and the executor notice that.
pub(crate) async fn let_time_pass(connection: &mut PgConnection) {
    sqlx::query("update attune.execution set not_before = clock_timestamp() where not_before is not null")
        .execute(&mut *connection)
        .await
        .expect("times can be changed");
    ExecutionRepository::release_due(connection, 1000).await.expect("what is due can be released");
}

/// The statuses that the change feed tells of an execution, the first one first.
pub(crate) async fn told(connection: &mut PgConnection, execution: i64) -> Vec<String> {
    let changes = ChangeRepository::of_entity(connection, "execution", execution).await;
    changes.expect("the history can be read").into_iter().map(|change| change.activity).collect()
}
