//! Items come in, are listed, and go when they have ended.

use attune_common::error::StoreError;
use attune_common::models::work_queue::{
    NewWorkItem, WorkItem, WorkItemFilter, WorkItemStatus, WorkQueueUpdate,
};
use attune_common::repositories::{WorkItemRepository, WorkQueueRepository};
use attune_testkit::{TestDatabase, transaction};
use chrono::{TimeDelta, Utc};
use serde_json::json;

use crate::helpers::checks::*;
use crate::helpers::work_queue::*;
use crate::helpers::*;

#[tokio::test]
async fn test_push() {
    let mut tx = transaction().await;
    let queue = queue_of_ten(&mut tx).await;
    let later = chrono::DateTime::from_timestamp(4_000_000_000, 0).unwrap();
    let new = NewWorkItem { item: json!({"to": "ada"}), priority: -3, not_before: Some(later) };
    let ids = WorkItemRepository::push(&mut *tx, queue.id, &[new]).await.unwrap();
    let item = WorkItemRepository::get_by_id(&mut *tx, ids[0]).await.unwrap();
    let expected = WorkItem {
        id: ids[0],
        queue: queue.id,
        status: WorkItemStatus::Ready,
        priority: -3,
        item: json!({"to": "ada"}),
        attempts: 0,
        execution: None,
        lease_expires: None,
        not_before: later,
        error: None,
        created: item.created,
        updated: item.updated,
    };
    assert_eq!(item, expected);
}

#[tokio::test]
async fn test_push_several_in_order() {
    let mut tx = transaction().await;
    let queue = queue_of_ten(&mut tx).await;
    let ids = push(&mut tx, &queue, 20).await;
    assert!(ids.is_sorted());
    for (number, id) in ids.into_iter().enumerate() {
        assert_eq!(WorkItemRepository::get_by_id(&mut *tx, id).await.unwrap().item, json!(number));
    }
}

#[tokio::test]
async fn test_push_nothing() {
    let mut tx = transaction().await;
    let queue = queue_of_ten(&mut tx).await;
    assert_eq!(WorkItemRepository::push(&mut *tx, queue.id, &[]).await.unwrap(), NO_IDS);
}

#[tokio::test]
async fn test_push_invalid_queue() {
    let mut tx = transaction().await;
    let pushed = WorkItemRepository::push(&mut *tx, NO_SUCH_ID, &[NewWorkItem::of(json!(1))]).await;
    assert_invalid_reference(pushed, "work_item", "queue");
}

#[tokio::test]
async fn test_push_all_or_none() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let queue = queue_of_ten(&mut connection).await;
    let new = [NewWorkItem::of(json!("fine")), NewWorkItem::of(json!("a\u{0}b"))];
    let pushed = WorkItemRepository::push(database.pool(), queue.id, &new).await;
    assert!(matches!(pushed, Err(StoreError::Unstorable(_))), "{pushed:?}");
    assert_eq!(WorkItemRepository::list(database.pool()).await.unwrap(), []);
}

#[tokio::test]
async fn test_push_into_a_queue_that_is_not_enabled() {
    let mut tx = transaction().await;
    let queue = queue_of_ten(&mut tx).await;
    let update = WorkQueueUpdate { enabled: Some(false), ..WorkQueueUpdate::default() };
    WorkQueueRepository::update(&mut tx, queue.id, &update).await.unwrap();
    assert_eq!(push(&mut tx, &queue, 2).await.len(), 2);
    assert_eq!(lease(&mut tx, &queue).await, []);
    let update = WorkQueueUpdate { enabled: Some(true), ..WorkQueueUpdate::default() };
    WorkQueueRepository::update(&mut tx, queue.id, &update).await.unwrap();
    assert_eq!(lease(&mut tx, &queue).await.len(), 2);
}

#[tokio::test]
async fn test_item_not_found() {
    let mut tx = transaction().await;
    assert_eq!(WorkItemRepository::find_by_id(&mut *tx, NO_SUCH_ID).await.unwrap(), None);
    assert_not_found(WorkItemRepository::get_by_id(&mut *tx, NO_SUCH_ID).await, "work item", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_search_items() {
    let mut tx = transaction().await;
    let (one, other) = (queue_of_ten(&mut tx).await, queue_of_ten(&mut tx).await);
    let ids = push(&mut tx, &one, 3).await;
    let leased = push(&mut tx, &other, 1).await;
    lease(&mut tx, &other).await;
    let any = WorkItemFilter { limit: 10, ..WorkItemFilter::default() };
    for (filter, expect) in [
        (any.clone(), vec![leased[0], ids[2], ids[1], ids[0]]),
        (WorkItemFilter { queue: Some(one.id), ..any.clone() }, vec![ids[2], ids[1], ids[0]]),
        (WorkItemFilter { status: Some(WorkItemStatus::Leased), ..any.clone() }, leased.clone()),
        (WorkItemFilter { queue: Some(one.id), limit: 2, ..any.clone() }, vec![ids[2], ids[1]]),
        (WorkItemFilter { queue: Some(one.id), before: Some(ids[1]), ..any.clone() }, vec![ids[0]]),
    ] {
        let found = WorkItemRepository::search(&mut *tx, &filter).await.unwrap();
        let found: Vec<_> = found.iter().map(|item| item.id).collect();
        assert_eq!(found, expect, "{filter:?}");
    }
}

#[tokio::test]
async fn test_delete_item() {
    let mut tx = transaction().await;
    let queue = queue_of_ten(&mut tx).await;
    let ids = push(&mut tx, &queue, 2).await;
    assert!(WorkItemRepository::delete(&mut *tx, ids[0]).await.unwrap());
    assert!(!WorkItemRepository::delete(&mut *tx, ids[0]).await.unwrap());
    let left = WorkItemRepository::list(&mut *tx).await.unwrap();
    assert_eq!(left.iter().map(|item| item.id).collect::<Vec<_>>(), ids[1..]);
}

#[tokio::test]
async fn test_expire_ended_items() {
    let mut tx = transaction().await;
    let queue = WorkQueueFixture::new_unique()
        .with_batch_size(10)
        .with_max_attempts(1)
        .create(&mut tx)
        .await
        .unwrap();
    let ids = push(&mut tx, &queue, 4).await;
    let leased = lease(&mut tx, &queue).await;
    WorkItemRepository::complete(&mut *tx, &leases_of(&leased)[..2]).await.unwrap();
    WorkItemRepository::fail(&mut *tx, &[failure(&leased[2], "broken")]).await.unwrap();
    let (past, future) = (Utc::now() - TimeDelta::hours(1), Utc::now() + TimeDelta::hours(1));
    assert_eq!(WorkItemRepository::expire_ended(&mut *tx, past, 10).await.unwrap(), 0);
    assert_eq!(WorkItemRepository::expire_ended(&mut *tx, future, 2).await.unwrap(), 2);
    assert_eq!(WorkItemRepository::expire_ended(&mut *tx, future, 2).await.unwrap(), 1);
    let left = WorkItemRepository::list(&mut *tx).await.unwrap();
    assert_eq!(left.iter().map(|item| item.id).collect::<Vec<_>>(), ids[3..], "the leased one stays");
}

#[test]
fn test_terminal_statuses_never_change() {
    for &from in WorkItemStatus::ALL {
        let next: Vec<_> = WorkItemStatus::ALL.iter().filter(|&&next| from.can_become(next)).collect();
        assert_eq!(next.is_empty(), from.is_terminal(), "{from}");
        assert!(!from.can_become(from), "{from}");
    }
}
