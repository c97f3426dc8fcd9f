//! The chart of an execution's life: what the statements do is what `can_become` says.

use std::collections::BTreeSet;

use attune_common::models::action::WorkerLoss;
use attune_common::models::execution::{Execution, ExecutionStatus};
use attune_common::models::worker::Worker;
use attune_common::repositories::ExecutionRepository;
use attune_testkit::transaction;
use sqlx::{Connection, PgConnection};

use crate::helpers::steps::*;
use crate::helpers::*;

/// A step that some process may take at any time.
#[derive(Debug, Clone, Copy)]
enum Step {
    Claim,
    Complete(ExecutionStatus),
    Cancel,
    LoseWorker(WorkerLoss),
}

fn steps() -> Vec<Step> {
    let ends = ExecutionStatus::ALL.iter().copied().filter(|status| status.is_terminal());
    let mut steps: Vec<_> = ends.map(Step::Complete).collect();
    steps.extend([Step::Claim, Step::Cancel]);
    steps.extend(WorkerLoss::ALL.iter().copied().map(Step::LoseWorker));
    steps
}

/// An execution in this status, with the worker that holds it or could claim it.
pub(super) async fn in_status(
    connection: &mut PgConnection,
    status: ExecutionStatus,
    on_worker_loss: WorkerLoss,
) -> (Execution, Worker) {
    match status {
        ExecutionStatus::Requested | ExecutionStatus::Scheduling | ExecutionStatus::Scheduled => {
            let execution = ExecutionFixture::new_unique().with_status(status).create(&mut *connection).await;
            let worker = WorkerFixture::new_unique().create(connection).await;
            (execution.expect("an execution"), worker.expect("a worker"))
        }
        ExecutionStatus::Running => running(connection, on_worker_loss).await,
        ExecutionStatus::Canceling => {
            let (execution, worker) = running(&mut *connection, on_worker_loss).await;
            let now = ExecutionRepository::cancel(&mut *connection, execution.id).await;
            assert_eq!(now.expect("it can be cancelled"), Some(status));
            (execution, worker)
        }
        ExecutionStatus::Completed
        | ExecutionStatus::Failed
        | ExecutionStatus::Cancelled
        | ExecutionStatus::Timeout
        | ExecutionStatus::Abandoned => {
            let (execution, worker) = running(&mut *connection, on_worker_loss).await;
            let end = [completion(execution.id, execution.attempt, status)];
            let ended = ExecutionRepository::complete(&mut *connection, worker.id, &end).await;
            assert_eq!(ended.expect("it can be completed"), [execution.id]);
            (execution, worker)
        }
    }
}

/// Everything that one step can make of an execution in this status.
async fn reached(connection: &mut PgConnection, from: ExecutionStatus) -> BTreeSet<ExecutionStatus> {
    let mut reached = BTreeSet::new();
    for step in steps() {
        let on_worker_loss = match step {
            Step::LoseWorker(on_worker_loss) => on_worker_loss,
            Step::Claim | Step::Complete(_) | Step::Cancel => WorkerLoss::Abandon,
        };
        let mut inner = connection.begin().await.expect("a savepoint");
        let (execution, worker) = in_status(&mut inner, from, on_worker_loss).await;
        let before = ExecutionRepository::get_by_id(&mut *inner, execution.id).await.expect("it exists");
        assert_eq!(before.status, from);
        take(&mut inner, step, &before, &worker).await;
        let after = ExecutionRepository::get_by_id(&mut *inner, execution.id).await.expect("it exists");
        if after.status == from {
            assert_eq!(after, before, "{step:?} in {from}");
        } else {
            assert!(from.can_become(after.status), "{step:?} made {} of {from}", after.status);
            reached.insert(after.status);
        }
        inner.rollback().await.expect("the savepoint is there");
    }
    reached
}

async fn take(connection: &mut PgConnection, step: Step, execution: &Execution, worker: &Worker) {
    match step {
        Step::Claim => {
            ExecutionRepository::claim(connection, worker.id, &worker.instance, 10).await.expect("claim");
        }
        Step::Complete(status) => {
            let end = [completion(execution.id, execution.attempt, status)];
            ExecutionRepository::complete(connection, worker.id, &end).await.expect("complete");
        }
        Step::Cancel => {
            ExecutionRepository::cancel(connection, execution.id).await.expect("cancel");
        }
        Step::LoseWorker(_) => {
            expire_lease(&mut *connection, worker).await;
            ExecutionRepository::rescue(connection, 10).await.expect("rescue");
        }
    }
}

fn allowed(from: ExecutionStatus) -> BTreeSet<ExecutionStatus> {
    ExecutionStatus::ALL.iter().copied().filter(|&to| from.can_become(to)).collect()
}

#[tokio::test]
async fn test_transitions_before_admission_only_end() {
    let mut tx = transaction().await;
    for from in [ExecutionStatus::Requested, ExecutionStatus::Scheduling] {
        // What leads further is admission, which is no step of a worker.
        assert_eq!(reached(&mut tx, from).await, BTreeSet::from([ExecutionStatus::Cancelled]), "{from}");
    }
}

#[tokio::test]
async fn test_transitions_of_scheduled_are_the_chart() {
    let mut tx = transaction().await;
    let from = ExecutionStatus::Scheduled;
    let mut expected = allowed(from);
    // Admission takes back what is paused, which is no step of a worker.
    assert!(expected.remove(&ExecutionStatus::Requested));
    assert_eq!(reached(&mut tx, from).await, expected);
}

#[tokio::test]
async fn test_transitions_of_running_are_the_chart() {
    let mut tx = transaction().await;
    let from = ExecutionStatus::Running;
    assert_eq!(reached(&mut tx, from).await, allowed(from));
}

#[tokio::test]
async fn test_transitions_of_canceling_are_the_chart() {
    let mut tx = transaction().await;
    let from = ExecutionStatus::Canceling;
    assert_eq!(reached(&mut tx, from).await, allowed(from));
}

#[tokio::test]
async fn test_transitions_of_what_ended_are_none() {
    let mut tx = transaction().await;
    for &from in ExecutionStatus::ALL.iter().filter(|status| status.is_terminal()) {
        assert_eq!(allowed(from), BTreeSet::new(), "{from}");
        assert_eq!(reached(&mut tx, from).await, BTreeSet::new(), "{from}");
    }
}

#[test]
fn test_transitions_lead_to_an_end_from_everywhere() {
    for &from in ExecutionStatus::ALL.iter().filter(|status| !status.is_terminal()) {
        assert!(allowed(from).iter().any(|to| to.is_terminal()), "{from}");
        assert!(!from.can_become(from), "{from}");
    }
}
