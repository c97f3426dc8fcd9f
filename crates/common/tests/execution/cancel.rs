//! Cancellation: at once while an execution waits, through its worker while it runs.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use attune_common::models::action::WorkerLoss;
use attune_common::models::execution::{Execution, ExecutionStatus};
use attune_common::repositories::ExecutionRepository;
use attune_testkit::{TestDatabase, transaction};
use sqlx::PgConnection;

use crate::helpers::steps::*;
use crate::helpers::*;

#[tokio::test]
async fn test_cancel_while_it_waits() {
    let mut tx = transaction().await;
    let other = ExecutionFixture::new_unique().create(&mut tx).await.unwrap();
    for status in [ExecutionStatus::Requested, ExecutionStatus::Scheduling, ExecutionStatus::Scheduled] {
        let execution = ExecutionFixture::new_unique().with_status(status).create(&mut tx).await.unwrap();
        let now = ExecutionRepository::cancel(&mut tx, execution.id).await.unwrap();
        assert_eq!(now, Some(ExecutionStatus::Cancelled), "{status}");
        let found = ExecutionRepository::get_by_id(&mut *tx, execution.id).await.unwrap();
        assert!(found.finished.is_some());
        let expected = Execution {
            status: ExecutionStatus::Cancelled,
            finished: found.finished,
            updated: found.updated,
            ..execution
        };
        assert_eq!(found, expected, "{status}");
    }
    assert_eq!(ExecutionRepository::get_by_id(&mut *tx, other.id).await.unwrap(), other);
}

#[tokio::test]
async fn test_cancel_before_a_worker_claims() {
    let mut tx = transaction().await;
    let execution = ExecutionFixture::new_unique().create(&mut tx).await.unwrap();
    ExecutionRepository::cancel(&mut tx, execution.id).await.unwrap();
    let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(ExecutionRepository::claim(&mut tx, worker.id, "first", 10).await.unwrap(), []);
}

#[tokio::test]
async fn test_cancel_while_it_runs_asks_the_worker() {
    let mut tx = transaction().await;
    let (execution, worker) = running(&mut tx, WorkerLoss::Abandon).await;
    assert_eq!(ExecutionRepository::list_canceling(&mut *tx, worker.id, 0).await.unwrap(), NO_IDS);
    let now = ExecutionRepository::cancel(&mut tx, execution.id).await.unwrap();
    assert_eq!(now, Some(ExecutionStatus::Canceling));
    assert_eq!(ExecutionRepository::list_canceling(&mut *tx, worker.id, 0).await.unwrap(), [execution.id]);
    assert_eq!(ExecutionRepository::list_canceling(&mut *tx, NO_SUCH_ID, 0).await.unwrap(), NO_IDS);
    let found = ExecutionRepository::get_by_id(&mut *tx, execution.id).await.unwrap();
    assert_eq!((found.finished, found.worker, found.attempt), (None, Some(worker.id), 1));
}

#[tokio::test]
async fn test_cancel_ends_when_the_worker_says_so() {
    let mut tx = transaction().await;
    let (execution, worker) = running(&mut tx, WorkerLoss::Abandon).await;
    ExecutionRepository::cancel(&mut tx, execution.id).await.unwrap();
    let end = [completion(execution.id, 1, ExecutionStatus::Cancelled)];
    assert_eq!(ExecutionRepository::complete(&mut *tx, worker.id, &end).await.unwrap(), [execution.id]);
    assert_eq!(ExecutionRepository::list_canceling(&mut *tx, worker.id, 0).await.unwrap(), NO_IDS);
    let found = ExecutionRepository::get_by_id(&mut *tx, execution.id).await.unwrap();
    assert_eq!(found.status, ExecutionStatus::Cancelled);
    assert!(found.finished.is_some());
}

#[tokio::test]
async fn test_cancel_that_comes_too_late_keeps_the_end() {
    let mut tx = transaction().await;
    let (execution, worker) = running(&mut tx, WorkerLoss::Abandon).await;
    ExecutionRepository::cancel(&mut tx, execution.id).await.unwrap();
    let end = [completion(execution.id, 1, ExecutionStatus::Completed)];
    assert_eq!(ExecutionRepository::complete(&mut *tx, worker.id, &end).await.unwrap(), [execution.id]);
    let found = ExecutionRepository::get_by_id(&mut *tx, execution.id).await.unwrap();
    assert_eq!(found.status, ExecutionStatus::Completed);
}

#[tokio::test]
async fn test_cancel_twice() {
    let mut tx = transaction().await;
    let (execution, _) = running(&mut tx, WorkerLoss::Abandon).await;
    ExecutionRepository::cancel(&mut tx, execution.id).await.unwrap();
    let first = ExecutionRepository::get_by_id(&mut *tx, execution.id).await.unwrap();
    let now = ExecutionRepository::cancel(&mut tx, execution.id).await.unwrap();
    assert_eq!(now, Some(ExecutionStatus::Canceling));
    assert_eq!(ExecutionRepository::get_by_id(&mut *tx, execution.id).await.unwrap(), first);
}

#[tokio::test]
async fn test_cancel_not_found() {
    let mut tx = transaction().await;
    assert_eq!(ExecutionRepository::cancel(&mut tx, NO_SUCH_ID).await.unwrap(), None);
}

#[tokio::test]
async fn test_cancel_wins_over_a_retry() {
    let mut tx = transaction().await;
    let (execution, worker) = running(&mut tx, WorkerLoss::Retry).await;
    ExecutionRepository::cancel(&mut tx, execution.id).await.unwrap();
    expire_lease(&mut tx, &worker).await;
    ExecutionRepository::rescue(&mut *tx, 10).await.unwrap();
    let found = ExecutionRepository::get_by_id(&mut *tx, execution.id).await.unwrap();
    assert_eq!(found.status, ExecutionStatus::Cancelled);
    let other = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(ExecutionRepository::claim(&mut tx, other.id, "first", 10).await.unwrap(), []);
}

#[tokio::test]
async fn test_cancel_between_two_attempts() {
    let mut tx = transaction().await;
    let (execution, worker) = running(&mut tx, WorkerLoss::Retry).await;
    expire_lease(&mut tx, &worker).await;
    ExecutionRepository::rescue(&mut *tx, 10).await.unwrap();
    let now = ExecutionRepository::cancel(&mut tx, execution.id).await.unwrap();
    assert_eq!(now, Some(ExecutionStatus::Cancelled));
    let other = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(ExecutionRepository::claim(&mut tx, other.id, "first", 10).await.unwrap(), []);
}

#[tokio::test]
async fn test_cancel_that_meets_a_claim_reaches_the_worker() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let execution = ExecutionFixture::new_unique().create(&mut connection).await.unwrap();
    let worker = WorkerFixture::new_unique().create(&mut connection).await.unwrap();
    let mut open = attune_common::db::begin(database.pool()).await.unwrap();
    ExecutionRepository::claim(&mut open, worker.id, "first", 10).await.unwrap();
    let (now, committed) = tokio::join!(ExecutionRepository::cancel(&mut connection, execution.id), async {
        until_blocked(database.pool(), 1).await;
        open.commit().await
    });
    committed.unwrap();
    assert_eq!(now.unwrap(), Some(ExecutionStatus::Canceling));
    let canceling = ExecutionRepository::list_canceling(database.pool(), worker.id, 0).await.unwrap();
    assert_eq!(canceling, [execution.id]);
}

/// A tree: the first is the parent of the second, and so on.
async fn chain(connection: &mut PgConnection, length: usize) -> Vec<i64> {
    let mut ids: Vec<i64> = Vec::new();
    for _ in 0..length {
        let mut fixture = ExecutionFixture::new_unique();
        if let Some(parent) = ids.last() {
            fixture = fixture.with_parent(*parent);
        }
        ids.push(fixture.create(&mut *connection).await.unwrap().id);
    }
    ids
}

async fn statuses(connection: &mut PgConnection, ids: &[i64]) -> Vec<ExecutionStatus> {
    let mut statuses = Vec::new();
    for id in ids {
        statuses.push(ExecutionRepository::standing(&mut *connection, *id).await.unwrap().unwrap().0);
    }
    statuses
}

#[tokio::test]
async fn test_cancel_goes_down_the_whole_tree_and_not_up() {
    let mut tx = transaction().await;
    let ids = chain(&mut tx, 5).await;
    let sibling = ExecutionFixture::new_unique().with_parent(ids[0]).create(&mut tx).await.unwrap();
    let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    // The first three run; the second of them ends, its child goes on.
    ExecutionRepository::claim(&mut tx, worker.id, "first", 3).await.unwrap();
    let end = [completion(ids[1], 1, ExecutionStatus::Completed)];
    ExecutionRepository::complete(&mut *tx, worker.id, &end).await.unwrap();
    let now = ExecutionRepository::cancel(&mut tx, ids[0]).await.unwrap();
    assert_eq!(now, Some(ExecutionStatus::Canceling));
    let expected = [
        ExecutionStatus::Canceling,
        ExecutionStatus::Completed,
        ExecutionStatus::Canceling,
        ExecutionStatus::Cancelled,
        ExecutionStatus::Cancelled,
        ExecutionStatus::Cancelled,
    ];
    let all: Vec<i64> = ids.iter().copied().chain([sibling.id]).collect();
    assert_eq!(statuses(&mut tx, &all).await, expected);
    assert_eq!(told(&mut tx, ids[3]).await, ["scheduled", "cancelled"]);
    assert_eq!(ExecutionRepository::list_canceling(&mut *tx, worker.id, 0).await.unwrap(), [ids[0], ids[2]]);
    let later = ExecutionRepository::list_canceling(&mut *tx, worker.id, ids[0] + 1).await.unwrap();
    assert_eq!(later, [ids[2]]);
}

#[tokio::test]
async fn test_cancel_of_a_child_leaves_its_parent() {
    let mut tx = transaction().await;
    let ids = chain(&mut tx, 3).await;
    ExecutionRepository::cancel(&mut tx, ids[1]).await.unwrap();
    let expected = [ExecutionStatus::Scheduled, ExecutionStatus::Cancelled, ExecutionStatus::Cancelled];
    assert_eq!(statuses(&mut tx, &ids).await, expected);
}

#[tokio::test]
async fn test_cancel_of_what_has_ended_cancels_nothing() {
    let mut tx = transaction().await;
    let ids = chain(&mut tx, 2).await;
    let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    ExecutionRepository::claim(&mut tx, worker.id, "first", 1).await.unwrap();
    let end = [completion(ids[0], 1, ExecutionStatus::Completed)];
    ExecutionRepository::complete(&mut *tx, worker.id, &end).await.unwrap();
    let now = ExecutionRepository::cancel(&mut tx, ids[0]).await.unwrap();
    assert_eq!(now, Some(ExecutionStatus::Completed));
    assert_eq!(statuses(&mut tx, &ids).await, [ExecutionStatus::Completed, ExecutionStatus::Scheduled]);
}

#[tokio::test]
async fn test_a_child_of_what_is_cancelled_is_born_cancelled() {
    let mut tx = transaction().await;
    let (parent, _) = running(&mut tx, WorkerLoss::Retry).await;
    ExecutionRepository::cancel(&mut tx, parent.id).await.unwrap();
    let child = ExecutionFixture::new_unique().with_parent(parent.id).create(&mut tx).await.unwrap();
    assert_eq!((child.status, child.attempt), (ExecutionStatus::Cancelled, 0));
    assert_eq!(child.error, Some(format!("its parent, execution {}, was cancelled", parent.id)));
    assert!(child.finished.is_some());
    assert_eq!(told(&mut tx, child.id).await, ["cancelled"]);
}

#[tokio::test]
async fn test_a_child_that_is_being_made_is_cancelled_with_its_parent() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let (parent, _) = running(&mut connection, WorkerLoss::Retry).await;
    let mut open = attune_common::db::begin(database.pool()).await.unwrap();
    let child = ExecutionFixture::new_unique().with_parent(parent.id).create(&mut open).await.unwrap();
    let (now, committed) = tokio::join!(ExecutionRepository::cancel(&mut connection, parent.id), async {
        until_blocked(database.pool(), 1).await;
        open.commit().await
    });
    committed.unwrap();
    assert_eq!(now.unwrap(), Some(ExecutionStatus::Canceling));
    let statuses = statuses(&mut connection, &[parent.id, child.id]).await;
    assert_eq!(statuses, [ExecutionStatus::Canceling, ExecutionStatus::Cancelled]);
}

#[tokio::test]
async fn test_a_child_waits_for_a_cancellation_that_is_under_way() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let (parent, _) = running(&mut connection, WorkerLoss::Retry).await;
    let mut open = attune_common::db::begin(database.pool()).await.unwrap();
    ExecutionRepository::cancel(&mut open, parent.id).await.unwrap();
    let fixture = ExecutionFixture::new_unique().with_parent(parent.id);
    let (child, committed) = tokio::join!(fixture.create(&mut connection), async {
        until_blocked(database.pool(), 1).await;
        open.commit().await
    });
    committed.unwrap();
    assert_eq!(child.unwrap().status, ExecutionStatus::Cancelled);
}
