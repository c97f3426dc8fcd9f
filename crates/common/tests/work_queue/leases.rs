//! Items are handed out under leases; what comes from an attempt that has lost its item changes nothing.

use std::time::Duration;

use attune_common::models::work_queue::{
    EndedAttempt, ItemLease, NewWorkItem, WorkItem, WorkItemStatus, WorkQueueUpdate,
};
use attune_common::repositories::{ExecutionRepository, WorkItemRepository, WorkQueueRepository};
use attune_testkit::{TestDatabase, transaction};
use chrono::{TimeDelta, Utc};
use serde_json::json;
use sqlx::PgConnection;

use crate::helpers::checks::*;
use crate::helpers::steps::*;
use crate::helpers::work_queue::*;
use crate::helpers::*;

fn ids(items: &[WorkItem]) -> Vec<i64> {
    items.iter().map(|item| item.id).collect()
}

async fn get(connection: &mut PgConnection, id: i64) -> WorkItem {
    WorkItemRepository::get_by_id(connection, id).await.expect("the item is there")
}

/// An item that somebody holds whom another one has replaced: the old and the new handing out.
async fn taken_over(connection: &mut PgConnection) -> (ItemLease, WorkItem) {
    let queue = queue_of_ten(&mut *connection).await;
    push(&mut *connection, &queue, 1).await;
    let late = lease_briefly(&mut *connection, &queue).await[0].lease();
    WorkItemRepository::expire_leases(&mut *connection, 10).await.expect("leases can expire");
    let current = lease(connection, &queue).await.remove(0);
    assert_eq!((late.item, late.attempt + 1), (current.id, current.attempts));
    (late, current)
}

#[tokio::test]
async fn test_lease() {
    let mut tx = transaction().await;
    let queue = queue_of_ten(&mut tx).await;
    let before = push(&mut tx, &queue, 1).await[0];
    let before = get(&mut tx, before).await;
    let leased = lease(&mut tx, &queue).await.remove(0);
    assert!(leased.lease_expires.unwrap() > Utc::now() + LONG_LEASE / 2);
    let expected = WorkItem {
        status: WorkItemStatus::Leased,
        attempts: 1,
        lease_expires: leased.lease_expires,
        updated: leased.updated,
        ..before
    };
    assert_eq!(leased, expected);
    assert_eq!(get(&mut tx, leased.id).await, leased);
    assert_eq!(leased.lease(), ItemLease { item: leased.id, attempt: 1 });
}

#[tokio::test]
async fn test_lease_up_to_the_size_of_a_batch() {
    let mut tx = transaction().await;
    let queue = WorkQueueFixture::new_unique().with_batch_size(2).create(&mut tx).await.unwrap();
    let pushed = push(&mut tx, &queue, 5).await;
    assert_eq!(ids(&lease(&mut tx, &queue).await), pushed[..2]);
    assert_eq!(ids(&lease(&mut tx, &queue).await), pushed[2..4]);
    assert_eq!(ids(&lease(&mut tx, &queue).await), pushed[4..]);
    assert_eq!(lease(&mut tx, &queue).await, []);
}

#[tokio::test]
async fn test_lease_by_priority_and_then_by_age() {
    let mut tx = transaction().await;
    let queue = queue_of_ten(&mut tx).await;
    let new: Vec<_> = [0, 5, -5, 5, 0]
        .into_iter()
        .map(|priority| NewWorkItem { priority, ..NewWorkItem::of(json!(1)) })
        .collect();
    let pushed = WorkItemRepository::push(&mut *tx, queue.id, &new).await.unwrap();
    let expected: Vec<_> = [1, 3, 0, 4, 2].into_iter().map(|place: usize| pushed[place]).collect();
    assert_eq!(ids(&lease(&mut tx, &queue).await), expected);
}

#[tokio::test]
async fn test_lease_nothing_before_its_time() {
    let mut tx = transaction().await;
    let queue = queue_of_ten(&mut tx).await;
    let at = |time| NewWorkItem { priority: 9, not_before: Some(time), ..NewWorkItem::of(json!(1)) };
    let new = [at(Utc::now() + TimeDelta::hours(1)), at(Utc::now() - TimeDelta::hours(1))];
    let pushed = WorkItemRepository::push(&mut *tx, queue.id, &new).await.unwrap();
    assert_eq!(ids(&lease(&mut tx, &queue).await), pushed[1..]);
}

#[tokio::test]
async fn test_lease_from_its_own_queue_only() {
    let mut tx = transaction().await;
    let (one, other) = (queue_of_ten(&mut tx).await, queue_of_ten(&mut tx).await);
    let pushed = push(&mut tx, &one, 1).await;
    assert_eq!(lease(&mut tx, &other).await, []);
    assert_eq!(ids(&lease(&mut tx, &one).await), pushed);
}

#[tokio::test]
async fn test_lease_from_no_queue() {
    let mut tx = transaction().await;
    let queue = queue_of_ten(&mut tx).await;
    push(&mut tx, &queue, 1).await;
    assert_eq!(WorkItemRepository::lease(&mut *tx, NO_SUCH_ID, LONG_LEASE).await.unwrap(), []);
}

#[tokio::test]
async fn test_lease_by_two_at_once_gives_different_items() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let queue = WorkQueueFixture::new_unique().with_batch_size(2).create(&mut connection).await.unwrap();
    let pushed = push(&mut connection, &queue, 3).await;
    let mut first = attune_common::db::begin(database.pool()).await.unwrap();
    let one = lease(&mut first, &queue).await;
    let two = at_once(lease(&mut connection, &queue)).await;
    assert_eq!((ids(&one), ids(&two)), (pushed[..2].to_vec(), pushed[2..].to_vec()));
    // The process of the first one dies before its commit: its items were never handed out.
    first.rollback().await.unwrap();
    let again = lease(&mut connection, &queue).await;
    assert_eq!((ids(&again), again[0].attempts), (pushed[..2].to_vec(), 1));
}

#[tokio::test]
async fn test_assign() {
    let mut tx = transaction().await;
    let queue = queue_of_ten(&mut tx).await;
    push(&mut tx, &queue, 2).await;
    let leased = lease(&mut tx, &queue).await;
    let execution = ExecutionFixture::new_unique().create(&mut tx).await.unwrap();
    let assigned = WorkItemRepository::assign(&mut *tx, &leases_of(&leased), execution.id).await.unwrap();
    assert_eq!(assigned, ids(&leased));
    for item in &leased {
        assert_eq!(get(&mut tx, item.id).await.execution, Some(execution.id));
    }
    // The items outlive it, and the next attempt starts without one.
    assert!(ExecutionRepository::delete(&mut *tx, execution.id).await.unwrap());
    assert_eq!(get(&mut tx, leased[0].id).await.execution, None);
}

#[tokio::test]
async fn test_assign_invalid_execution() {
    let mut tx = transaction().await;
    let queue = queue_of_ten(&mut tx).await;
    push(&mut tx, &queue, 1).await;
    let leased = lease(&mut tx, &queue).await;
    let assigned = WorkItemRepository::assign(&mut *tx, &leases_of(&leased), NO_SUCH_ID).await;
    assert_invalid_reference(assigned, "work_item", "execution");
}

#[tokio::test]
async fn test_next_attempt_begins_without_an_execution() {
    let mut tx = transaction().await;
    let queue = queue_of_ten(&mut tx).await;
    push(&mut tx, &queue, 1).await;
    let leased = lease(&mut tx, &queue).await;
    let execution = ExecutionFixture::new_unique().create(&mut tx).await.unwrap();
    WorkItemRepository::assign(&mut *tx, &leases_of(&leased), execution.id).await.unwrap();
    WorkItemRepository::fail(&mut *tx, &[failure(&leased[0], "broken")]).await.unwrap();
    assert_eq!(get(&mut tx, leased[0].id).await.execution, Some(execution.id), "what has failed");
    let again = lease(&mut tx, &queue).await;
    assert_eq!((again[0].attempts, again[0].execution), (2, None));
}

#[tokio::test]
async fn test_complete() {
    let mut tx = transaction().await;
    let queue = queue_of_ten(&mut tx).await;
    push(&mut tx, &queue, 3).await;
    let leased = lease(&mut tx, &queue).await;
    let completed = WorkItemRepository::complete(&mut *tx, &leases_of(&leased)[..2]).await.unwrap();
    assert_eq!(completed, ids(&leased)[..2]);
    let done = get(&mut tx, leased[0].id).await;
    assert_eq!((done.status, done.lease_expires, done.attempts), (WorkItemStatus::Done, None, 1));
    assert_eq!(get(&mut tx, leased[2].id).await, leased[2]);
    assert_eq!(WorkItemRepository::complete(&mut *tx, &[]).await.unwrap(), NO_IDS);
}

#[tokio::test]
async fn test_complete_clears_the_error_of_an_earlier_attempt() {
    let mut tx = transaction().await;
    let queue = queue_of_ten(&mut tx).await;
    push(&mut tx, &queue, 1).await;
    let first = lease(&mut tx, &queue).await;
    WorkItemRepository::fail(&mut *tx, &[failure(&first[0], "broken")]).await.unwrap();
    let second = lease(&mut tx, &queue).await;
    assert_eq!(second[0].error.as_deref(), Some("broken"));
    WorkItemRepository::complete(&mut *tx, &leases_of(&second)).await.unwrap();
    assert_eq!(get(&mut tx, second[0].id).await.error, None);
}

#[tokio::test]
async fn test_complete_with_a_lease_that_has_run_out_unnoticed() {
    let mut tx = transaction().await;
    let queue = queue_of_ten(&mut tx).await;
    push(&mut tx, &queue, 1).await;
    let leased = lease_briefly(&mut tx, &queue).await;
    let completed = WorkItemRepository::complete(&mut *tx, &leases_of(&leased)).await.unwrap();
    assert_eq!(completed, ids(&leased));
    assert_eq!(WorkItemRepository::expire_leases(&mut *tx, 10).await.unwrap(), []);
}

#[tokio::test]
async fn test_a_late_attempt_changes_nothing() {
    let mut tx = transaction().await;
    let (late, current) = taken_over(&mut tx).await;
    let late_failure = attune_common::models::work_queue::ItemFailure {
        lease: late,
        error: "late".to_owned(),
        delay: Duration::ZERO,
    };
    let execution = ExecutionFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(WorkItemRepository::complete(&mut *tx, &[late]).await.unwrap(), NO_IDS);
    assert_eq!(WorkItemRepository::fail(&mut *tx, &[late_failure]).await.unwrap(), []);
    assert_eq!(WorkItemRepository::extend(&mut *tx, &[late], Duration::ZERO).await.unwrap(), NO_IDS);
    assert_eq!(WorkItemRepository::assign(&mut *tx, &[late], execution.id).await.unwrap(), NO_IDS);
    assert_eq!(get(&mut tx, current.id).await, current);
}

#[tokio::test]
async fn test_an_ended_item_never_changes() {
    for end in [WorkItemStatus::Done, WorkItemStatus::Dead] {
        let mut tx = transaction().await;
        let queue = WorkQueueFixture::new_unique().with_max_attempts(1).create(&mut tx).await.unwrap();
        push(&mut tx, &queue, 1).await;
        let leased = lease(&mut tx, &queue).await;
        if end == WorkItemStatus::Done {
            WorkItemRepository::complete(&mut *tx, &leases_of(&leased)).await.unwrap();
        } else {
            WorkItemRepository::fail(&mut *tx, &[failure(&leased[0], "broken")]).await.unwrap();
        }
        let ended = get(&mut tx, leased[0].id).await;
        assert_eq!(ended.status, end);
        let leases = leases_of(&leased);
        assert_eq!(WorkItemRepository::complete(&mut *tx, &leases).await.unwrap(), NO_IDS);
        assert_eq!(WorkItemRepository::fail(&mut *tx, &[failure(&leased[0], "x")]).await.unwrap(), []);
        assert_eq!(WorkItemRepository::extend(&mut *tx, &leases, LONG_LEASE).await.unwrap(), NO_IDS);
        assert_eq!(lease(&mut tx, &queue).await, []);
        assert_eq!(get(&mut tx, ended.id).await, ended);
    }
}

#[tokio::test]
async fn test_complete_waits_for_an_expiry_and_is_late_then() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let queue = queue_of_ten(&mut connection).await;
    push(&mut connection, &queue, 1).await;
    let leased = lease_briefly(&mut connection, &queue).await;
    let leases = leases_of(&leased);
    let mut expiry = attune_common::db::begin(database.pool()).await.unwrap();
    assert_eq!(WorkItemRepository::expire_leases(&mut *expiry, 10).await.unwrap().len(), 1);
    let (completed, ()) = tokio::join!(WorkItemRepository::complete(database.pool(), &leases), async {
        until_blocked(database.pool(), 1).await;
        expiry.commit().await.unwrap();
    });
    assert_eq!(completed.unwrap(), NO_IDS);
    assert_eq!(get(&mut connection, leased[0].id).await.status, WorkItemStatus::Ready);
}

#[tokio::test]
async fn test_fail_goes_back_after_a_delay() {
    let mut tx = transaction().await;
    let queue = queue_of_ten(&mut tx).await;
    push(&mut tx, &queue, 2).await;
    let leased = lease(&mut tx, &queue).await;
    let mut delayed = failure(&leased[0], "not reachable");
    delayed.delay = Duration::from_secs(600);
    let ended = WorkItemRepository::fail(&mut *tx, &[failure(&leased[1], "at once"), delayed]).await.unwrap();
    let expected = |item: &WorkItem| EndedAttempt {
        id: item.id,
        queue: queue.id,
        attempts: 1,
        status: WorkItemStatus::Ready,
    };
    assert_eq!(ended, [expected(&leased[0]), expected(&leased[1])]);
    let waiting = get(&mut tx, leased[0].id).await;
    assert_eq!((waiting.status, waiting.lease_expires), (WorkItemStatus::Ready, None));
    assert_eq!(waiting.error.as_deref(), Some("not reachable"));
    assert!(waiting.not_before > Utc::now() + TimeDelta::minutes(5));
    assert_eq!(ids(&lease(&mut tx, &queue).await), [leased[1].id], "the other one waits");
}

#[tokio::test]
async fn test_fail_for_the_last_time() {
    let mut tx = transaction().await;
    let queue = WorkQueueFixture::new_unique().with_max_attempts(2).create(&mut tx).await.unwrap();
    push(&mut tx, &queue, 1).await;
    let mut ends = Vec::new();
    for error in ["first", "second"] {
        let leased = lease(&mut tx, &queue).await;
        let ended = WorkItemRepository::fail(&mut *tx, &[failure(&leased[0], error)]).await.unwrap();
        ends.push((ended[0].attempts, ended[0].status));
    }
    assert_eq!(ends, [(1, WorkItemStatus::Ready), (2, WorkItemStatus::Dead)]);
    let dead = WorkItemRepository::list(&mut *tx).await.unwrap().remove(0);
    assert_eq!((dead.error.as_deref(), dead.lease_expires), (Some("second"), None));
}

#[tokio::test]
async fn test_fail_by_the_attempts_that_the_queue_allows_now() {
    let mut tx = transaction().await;
    let queue = queue_of_ten(&mut tx).await;
    push(&mut tx, &queue, 1).await;
    let leased = lease(&mut tx, &queue).await;
    let update = WorkQueueUpdate { max_attempts: Some(1), ..WorkQueueUpdate::default() };
    WorkQueueRepository::update(&mut tx, queue.id, &update).await.unwrap();
    let ended = WorkItemRepository::fail(&mut *tx, &[failure(&leased[0], "broken")]).await.unwrap();
    assert_eq!(ended[0].status, WorkItemStatus::Dead);
}

#[tokio::test]
async fn test_extend() {
    let mut tx = transaction().await;
    let queue = queue_of_ten(&mut tx).await;
    push(&mut tx, &queue, 2).await;
    let leased = lease_briefly(&mut tx, &queue).await;
    let extended = WorkItemRepository::extend(&mut *tx, &leases_of(&leased)[..1], LONG_LEASE).await.unwrap();
    assert_eq!(extended, [leased[0].id]);
    let ended = WorkItemRepository::expire_leases(&mut *tx, 10).await.unwrap();
    assert_eq!(ended.iter().map(|end| end.id).collect::<Vec<_>>(), [leased[1].id]);
    let held = get(&mut tx, leased[0].id).await;
    assert_eq!((held.status, held.attempts), (WorkItemStatus::Leased, 1));
}

#[tokio::test]
async fn test_expire_leases() {
    let mut tx = transaction().await;
    let (lost, held) = (queue_of_ten(&mut tx).await, queue_of_ten(&mut tx).await);
    push(&mut tx, &lost, 1).await;
    push(&mut tx, &held, 1).await;
    let leased = lease_briefly(&mut tx, &lost).await;
    let kept = lease(&mut tx, &held).await;
    let ended = WorkItemRepository::expire_leases(&mut *tx, 10).await.unwrap();
    let expected =
        EndedAttempt { id: leased[0].id, queue: lost.id, attempts: 1, status: WorkItemStatus::Ready };
    assert_eq!(ended, [expected]);
    let back = get(&mut tx, leased[0].id).await;
    assert_eq!((back.error.as_deref(), back.lease_expires), (Some("the lease ran out"), None));
    assert_eq!(get(&mut tx, kept[0].id).await, kept[0]);
    assert_eq!(lease(&mut tx, &lost).await[0].attempts, 2);
}

#[tokio::test]
async fn test_expire_leases_of_last_attempts() {
    let mut tx = transaction().await;
    let queue = WorkQueueFixture::new_unique().with_max_attempts(1).create(&mut tx).await.unwrap();
    push(&mut tx, &queue, 1).await;
    lease_briefly(&mut tx, &queue).await;
    let ended = WorkItemRepository::expire_leases(&mut *tx, 10).await.unwrap();
    assert_eq!(ended[0].status, WorkItemStatus::Dead);
    let dead = get(&mut tx, ended[0].id).await;
    assert_eq!((dead.status, dead.error.as_deref()), (WorkItemStatus::Dead, Some("the lease ran out")));
}

#[tokio::test]
async fn test_expire_leases_in_portions() {
    let mut tx = transaction().await;
    let queue = queue_of_ten(&mut tx).await;
    push(&mut tx, &queue, 3).await;
    lease_briefly(&mut tx, &queue).await;
    let mut ended = Vec::new();
    for _ in 0..3 {
        ended.push(WorkItemRepository::expire_leases(&mut *tx, 2).await.unwrap().len());
    }
    assert_eq!(ended, [2, 1, 0]);
}

#[tokio::test]
async fn test_expire_leases_passes_over_what_is_just_being_prolonged() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let queue = queue_of_ten(&mut connection).await;
    push(&mut connection, &queue, 1).await;
    let leased = lease_briefly(&mut connection, &queue).await;
    let mut extending = attune_common::db::begin(database.pool()).await.unwrap();
    WorkItemRepository::extend(&mut *extending, &leases_of(&leased), LONG_LEASE).await.unwrap();
    let ended = at_once(WorkItemRepository::expire_leases(&mut *connection, 10)).await.unwrap();
    assert_eq!(ended, []);
    extending.commit().await.unwrap();
    assert_eq!(get(&mut connection, leased[0].id).await.status, WorkItemStatus::Leased);
}

#[tokio::test]
async fn test_expire_leases_leaves_what_an_execution_answers_for() {
    let mut tx = transaction().await;
    let queue = queue_of_ten(&mut tx).await;
    push(&mut tx, &queue, 1).await;
    let leased = lease_briefly(&mut tx, &queue).await;
    let execution = ExecutionFixture::new_unique().create(&mut tx).await.unwrap();
    WorkItemRepository::assign(&mut *tx, &leases_of(&leased), execution.id).await.unwrap();
    assert_eq!(WorkItemRepository::expire_leases(&mut *tx, 10).await.unwrap(), []);
    sqlx::query("delete from attune.execution where id = $1")
        .bind(execution.id)
        .execute(&mut *tx)
        .await
        .unwrap();
    let ended = WorkItemRepository::expire_leases(&mut *tx, 10).await.unwrap();
    assert_eq!(ended.iter().map(|item| item.id).collect::<Vec<_>>(), [leased[0].id], "nobody does any more");
}
