//! Changes of an execution that waits: its admission and its place in the queue.

use attune_common::models::action::WorkerLoss;
use attune_common::models::execution::{Execution, ExecutionStatus, ExecutionUpdate};
use attune_common::repositories::ExecutionRepository;
use attune_testkit::{TestDatabase, transaction};

use super::transitions::in_status;
use crate::helpers::checks::*;
use crate::helpers::steps::*;
use crate::helpers::*;

fn to(status: ExecutionStatus) -> ExecutionUpdate {
    ExecutionUpdate { status: Some(status), ..ExecutionUpdate::default() }
}

fn priority(priority: i16) -> ExecutionUpdate {
    ExecutionUpdate { priority: Some(priority), ..ExecutionUpdate::default() }
}

#[tokio::test]
async fn test_update_admits() {
    let mut tx = transaction().await;
    let requested = ExecutionFixture::new_unique().with_status(ExecutionStatus::Requested);
    let requested = requested.create(&mut tx).await.unwrap();
    let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(ExecutionRepository::claim(&mut tx, worker.id, "first", 1).await.unwrap(), []);
    let update = ExecutionUpdate {
        status: Some(ExecutionStatus::Scheduled),
        priority: Some(7),
        unchanged_since: Some(requested.updated),
    };
    let updated = ExecutionRepository::update(&mut tx, requested.id, &update).await.unwrap();
    assert!(updated.updated > requested.updated);
    let expected =
        Execution { status: ExecutionStatus::Scheduled, priority: 7, updated: updated.updated, ..requested };
    assert_eq!(updated, expected);
    let claimed = ExecutionRepository::claim(&mut tx, worker.id, "first", 1).await.unwrap();
    assert_eq!(claimed.iter().map(|claimed| claimed.id).collect::<Vec<_>>(), [updated.id]);
}

#[tokio::test]
async fn test_update_of_the_status_is_the_chart_of_what_waits() {
    let mut tx = transaction().await;
    for &from in ExecutionStatus::ALL {
        for &next in ExecutionStatus::ALL {
            let (execution, _) = in_status(&mut tx, from, WorkerLoss::Retry).await;
            let waits = [ExecutionStatus::Requested, ExecutionStatus::Scheduling, ExecutionStatus::Scheduled];
            // The ends of what waits, and all that happens to what runs, are the other steps'; so is taking back an
            // admission.
            let taken_back = (from, next) == (ExecutionStatus::Scheduled, ExecutionStatus::Requested);
            let allowed = waits.contains(&from)
                && waits.contains(&next)
                && (from == next || from.can_become(next))
                && !taken_back;
            let updated = ExecutionRepository::update(&mut tx, execution.id, &to(next)).await;
            match updated {
                Ok(updated) => {
                    assert!(allowed, "{from} -> {next}");
                    assert_eq!(updated.status, next);
                }
                refused => {
                    assert!(!allowed, "{from} -> {next}");
                    assert_conflict(refused, "execution", &execution.id);
                    let kept = ExecutionRepository::get_by_id(&mut *tx, execution.id).await.unwrap();
                    assert_eq!(kept.status, from);
                }
            }
            ExecutionRepository::delete(&mut *tx, execution.id).await.unwrap();
        }
    }
}

#[tokio::test]
async fn test_update_priority_moves_it_in_the_queue() {
    let mut tx = transaction().await;
    let first = ExecutionFixture::new_unique().create(&mut tx).await.unwrap();
    let second = ExecutionFixture::new_unique().create(&mut tx).await.unwrap();
    let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    ExecutionRepository::update(&mut tx, second.id, &priority(1)).await.unwrap();
    let claimed = ExecutionRepository::claim(&mut tx, worker.id, "first", 2).await.unwrap();
    assert_eq!(claimed.iter().map(|claimed| claimed.id).collect::<Vec<_>>(), [second.id, first.id]);
}

#[tokio::test]
async fn test_update_priority_of_what_waits_no_more() {
    let mut tx = transaction().await;
    for status in [ExecutionStatus::Running, ExecutionStatus::Canceling, ExecutionStatus::Failed] {
        let (execution, _) = in_status(&mut tx, status, WorkerLoss::Retry).await;
        let updated = ExecutionRepository::update(&mut tx, execution.id, &priority(9)).await;
        assert_conflict(updated, "execution", &execution.id);
        let kept = ExecutionRepository::get_by_id(&mut *tx, execution.id).await.unwrap();
        assert_eq!(kept.priority, 0);
    }
}

#[tokio::test]
async fn test_update_no_change() {
    let mut tx = transaction().await;
    for status in [ExecutionStatus::Scheduled, ExecutionStatus::Running, ExecutionStatus::Completed] {
        let (execution, _) = in_status(&mut tx, status, WorkerLoss::Retry).await;
        let before = ExecutionRepository::get_by_id(&mut *tx, execution.id).await.unwrap();
        let updated = ExecutionRepository::update(&mut tx, execution.id, &ExecutionUpdate::default()).await;
        assert_eq!(updated.unwrap(), before);
        ExecutionRepository::delete(&mut *tx, execution.id).await.unwrap();
    }
    let waiting = ExecutionFixture::new_unique().create(&mut tx).await.unwrap();
    let same = ExecutionUpdate { priority: Some(waiting.priority), ..to(waiting.status) };
    assert_eq!(ExecutionRepository::update(&mut tx, waiting.id, &same).await.unwrap(), waiting);
}

#[tokio::test]
async fn test_update_stale() {
    let mut tx = transaction().await;
    let seen = ExecutionFixture::new_unique().create(&mut tx).await.unwrap();
    let update = |new| ExecutionUpdate { unchanged_since: Some(seen.updated), ..priority(new) };
    let first = ExecutionRepository::update(&mut tx, seen.id, &update(1)).await.unwrap();
    let second = ExecutionRepository::update(&mut tx, seen.id, &update(2)).await;
    assert_conflict(second, "execution", &seen.id);
    assert_eq!(ExecutionRepository::get_by_id(&mut *tx, seen.id).await.unwrap(), first);
}

#[tokio::test]
async fn test_update_not_found() {
    let mut tx = transaction().await;
    let updated = ExecutionRepository::update(&mut tx, NO_SUCH_ID, &priority(1)).await;
    assert_not_found(updated, "execution", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_update_that_meets_a_cancellation_never_wakes_it() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let requested = ExecutionFixture::new_unique().with_status(ExecutionStatus::Requested);
    let requested = requested.create(&mut connection).await.unwrap();
    let mut open = attune_common::db::begin(database.pool()).await.unwrap();
    ExecutionRepository::cancel(&mut open, requested.id).await.unwrap();
    let admit = to(ExecutionStatus::Scheduled);
    let (admitted, committed) =
        tokio::join!(ExecutionRepository::update(&mut connection, requested.id, &admit), async {
            until_blocked(database.pool(), 1).await;
            open.commit().await
        });
    committed.unwrap();
    assert_conflict(admitted, "execution", &requested.id);
    let standing = ExecutionRepository::standing(database.pool(), requested.id).await.unwrap();
    assert_eq!(standing, Some((ExecutionStatus::Cancelled, 0)));
}
