//! The repositories of work queues, `attune.work_queue`, and of their items, `attune.work_item`.

mod helpers;

#[path = "work_queue/items.rs"]
mod items;
#[path = "work_queue/leases.rs"]
mod leases;

use attune_common::models::work_queue::{NewWorkQueue, WorkItemCounts, WorkQueue, WorkQueueUpdate};
use attune_common::repositories::{
    ActionRepository, PackRepository, WorkItemRepository, WorkQueueRepository,
};
use attune_testkit::transaction;
use helpers::checks::*;
use helpers::work_queue::*;
use helpers::*;
use serde_json::json;

fn full(queue_ref: &str, action_ref: &str) -> NewWorkQueue {
    NewWorkQueue {
        r#ref: queue_ref.to_owned(),
        label: Some("Mail".to_owned()),
        description: Some("Letters to be sent".to_owned()),
        enabled: false,
        action_ref: action_ref.to_owned(),
        item_schema: json!({"type": "object", "required": ["to"]}),
        batch_size: 20,
        concurrency: 4,
        max_attempts: 3,
        retry_seconds: 0.5,
    }
}

fn expected(row: &WorkQueue, new: NewWorkQueue) -> WorkQueue {
    WorkQueue {
        id: row.id,
        r#ref: new.r#ref,
        pack: None,
        pack_ref: None,
        label: new.label,
        description: new.description,
        enabled: new.enabled,
        action: None,
        action_ref: new.action_ref,
        item_schema: new.item_schema,
        batch_size: new.batch_size,
        concurrency: new.concurrency,
        max_attempts: new.max_attempts,
        retry_seconds: new.retry_seconds,
        created: row.created,
        updated: row.updated,
    }
}

#[test]
fn test_table_names_have_the_schema() {
    assert_eq!(WorkQueueRepository::table_name(), "attune.work_queue");
    assert_eq!(WorkItemRepository::table_name(), "attune.work_item");
}

#[tokio::test]
async fn test_create_minimal() {
    let mut tx = transaction().await;
    let new = NewWorkQueue::of(unique_work_queue_ref(), unique_action_ref());
    let queue = WorkQueueRepository::create(&mut *tx, None, &new).await.unwrap();
    assert_eq!(queue, expected(&queue, new));
}

#[tokio::test]
async fn test_create_with_everything() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let action = ActionFixture::new_unique().create(&mut tx).await.unwrap();
    let new = full(&format!("{}.mail", pack.r#ref), &action.r#ref);
    let queue = WorkQueueRepository::create(&mut *tx, Some(pack.id), &new).await.unwrap();
    let expected = WorkQueue {
        pack: Some(pack.id),
        pack_ref: Some(pack.r#ref),
        action: Some(action.id),
        ..expected(&queue, new)
    };
    assert_eq!(queue, expected);
}

#[tokio::test]
async fn test_create_ref_taken() {
    let mut tx = transaction().await;
    let queue = WorkQueueFixture::new_unique().create(&mut tx).await.unwrap();
    let again = WorkQueueFixture::new(&queue.r#ref).create(&mut tx).await;
    assert_already_exists(again, "work_queue", "ref", &queue.r#ref);
}

#[tokio::test]
async fn test_create_refused_values() {
    let check = async |change: fn(&mut NewWorkQueue), field, value| {
        let mut tx = transaction().await;
        let mut fixture = WorkQueueFixture::new_unique();
        change(&mut fixture.new);
        assert_refused_value(fixture.create(&mut tx).await, "work_queue", field, value);
    };
    check(|new| new.r#ref = "Mail".to_owned(), "ref", "Mail").await;
    check(|new| new.batch_size = 0, "batch_size", "0").await;
    check(|new| new.max_attempts = 0, "max_attempts", "0").await;
}

#[tokio::test]
async fn test_create_invalid_pack() {
    let mut tx = transaction().await;
    let new = WorkQueueFixture::new_unique().new;
    let created = WorkQueueRepository::create(&mut *tx, Some(NO_SUCH_ID), &new).await;
    assert_invalid_reference(created, "work_queue", "pack");
}

#[tokio::test]
async fn test_put_makes_and_then_replaces() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let queue_ref = format!("{}.mail", pack.r#ref);
    let first = NewWorkQueue::of(&queue_ref, unique_action_ref());
    let made = WorkQueueRepository::put(&mut *tx, pack.id, &first).await.unwrap();
    push(&mut tx, &made, 1).await;
    let second = full(&queue_ref, &unique_action_ref());
    let replaced = WorkQueueRepository::put(&mut *tx, pack.id, &second).await.unwrap();
    let expected = WorkQueue {
        id: made.id,
        pack: Some(pack.id),
        pack_ref: Some(pack.r#ref),
        created: made.created,
        ..expected(&replaced, second)
    };
    assert_eq!(replaced, expected);
    let counts = WorkItemRepository::count_by_status(&mut *tx, made.id).await.unwrap();
    assert_eq!(counts.ready, 1, "items stay");
}

#[tokio::test]
async fn test_put_the_same_changes_nothing() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let new = full(&format!("{}.mail", pack.r#ref), &unique_action_ref());
    let made = WorkQueueRepository::put(&mut *tx, pack.id, &new).await.unwrap();
    assert_eq!(WorkQueueRepository::put(&mut *tx, pack.id, &new).await.unwrap(), made);
}

#[tokio::test]
async fn test_get_by_id_and_ref() {
    let mut tx = transaction().await;
    let queue = WorkQueueFixture::new_unique().create(&mut tx).await.unwrap();
    WorkQueueFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(WorkQueueRepository::get_by_id(&mut *tx, queue.id).await.unwrap(), queue);
    assert_eq!(WorkQueueRepository::get_by_ref(&mut *tx, &queue.r#ref).await.unwrap(), queue);
}

#[tokio::test]
async fn test_find_and_get_not_found() {
    let mut tx = transaction().await;
    assert_eq!(WorkQueueRepository::find_by_id(&mut *tx, NO_SUCH_ID).await.unwrap(), None);
    assert_eq!(WorkQueueRepository::find_by_ref(&mut *tx, "test.none").await.unwrap(), None);
    assert_not_found(WorkQueueRepository::get_by_id(&mut *tx, NO_SUCH_ID).await, "work queue", &NO_SUCH_ID);
    assert_not_found(WorkQueueRepository::get_by_ref(&mut *tx, "test.none").await, "work queue", "test.none");
}

#[tokio::test]
async fn test_list_by_ref() {
    let mut tx = transaction().await;
    assert_eq!(WorkQueueRepository::list(&mut *tx).await.unwrap(), []);
    let prefix = unique_work_queue_ref();
    let second = WorkQueueFixture::new(&format!("{prefix}.b")).create(&mut tx).await.unwrap();
    let first = WorkQueueFixture::new(&format!("{prefix}.a")).create(&mut tx).await.unwrap();
    assert_eq!(WorkQueueRepository::list(&mut *tx).await.unwrap(), [first, second]);
}

#[tokio::test]
async fn test_list_of_pack_and_remove_others() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let kept = WorkQueueFixture::new_unique().with_pack(&pack, "b").create(&mut tx).await.unwrap();
    let gone = WorkQueueFixture::new_unique().with_pack(&pack, "a").create(&mut tx).await.unwrap();
    let foreign = WorkQueueFixture::new_unique().create(&mut tx).await.unwrap();
    let of_pack = WorkQueueRepository::list_of_pack(&mut *tx, pack.id).await.unwrap();
    assert_eq!(of_pack, [gone, kept.clone()]);
    let kept_refs = [kept.r#ref.clone()];
    assert_eq!(WorkQueueRepository::remove_others(&mut *tx, pack.id, &kept_refs).await.unwrap(), 1);
    assert_eq!(WorkQueueRepository::list_of_pack(&mut *tx, pack.id).await.unwrap(), [kept]);
    assert_eq!(WorkQueueRepository::find_by_id(&mut *tx, foreign.id).await.unwrap(), Some(foreign));
}

#[tokio::test]
async fn test_update_everything() {
    let mut tx = transaction().await;
    let before = WorkQueueFixture::new_unique().create(&mut tx).await.unwrap();
    let update = WorkQueueUpdate {
        label: Some("Label".to_owned()),
        description: Some("Description".to_owned()),
        enabled: Some(false),
        batch_size: Some(7),
        concurrency: Some(3),
        max_attempts: Some(2),
        retry_seconds: Some(1.5),
        unchanged_since: Some(before.updated),
    };
    let after = WorkQueueRepository::update(&mut tx, before.id, &update).await.unwrap();
    assert!(after.updated > before.updated);
    let expected = WorkQueue {
        label: update.label.clone(),
        description: update.description.clone(),
        enabled: false,
        batch_size: 7,
        concurrency: 3,
        max_attempts: 2,
        retry_seconds: 1.5,
        updated: after.updated,
        ..before
    };
    assert_eq!(after, expected);
    // What the caller saw is the past by now.
    assert_conflict(WorkQueueRepository::update(&mut tx, after.id, &update).await, "work queue", &after.id);
}

#[tokio::test]
async fn test_update_nothing() {
    let mut tx = transaction().await;
    let queue = WorkQueueFixture::new_unique().create(&mut tx).await.unwrap();
    let same = WorkQueueRepository::update(&mut tx, queue.id, &WorkQueueUpdate::default()).await.unwrap();
    assert_eq!(same, queue);
}

#[tokio::test]
async fn test_update_refused_value() {
    let mut tx = transaction().await;
    let queue = WorkQueueFixture::new_unique().create(&mut tx).await.unwrap();
    let update = WorkQueueUpdate { batch_size: Some(-1), ..WorkQueueUpdate::default() };
    let updated = WorkQueueRepository::update(&mut tx, queue.id, &update).await;
    assert_refused_value(updated, "work_queue", "batch_size", "-1");
}

#[tokio::test]
async fn test_update_not_found() {
    let mut tx = transaction().await;
    let updated = WorkQueueRepository::update(&mut tx, NO_SUCH_ID, &WorkQueueUpdate::default()).await;
    assert_not_found(updated, "work queue", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_relink_finds_actions_that_came_later() {
    let mut tx = transaction().await;
    let queue = WorkQueueFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(WorkQueueRepository::relink(&mut *tx).await.unwrap(), 0);
    let action = ActionFixture::new(&queue.action_ref).create(&mut tx).await.unwrap();
    assert_eq!(WorkQueueRepository::relink(&mut *tx).await.unwrap(), 1);
    let linked = WorkQueueRepository::get_by_id(&mut *tx, queue.id).await.unwrap();
    assert_eq!(linked.action, Some(action.id));
}

#[tokio::test]
async fn test_queue_outlives_its_action() {
    let mut tx = transaction().await;
    let action = ActionFixture::new_unique().create(&mut tx).await.unwrap();
    let new = full(&unique_work_queue_ref(), &action.r#ref);
    let queue = WorkQueueRepository::create(&mut *tx, None, &new).await.unwrap();
    assert!(ActionRepository::delete(&mut *tx, action.id).await.unwrap());
    let left = WorkQueueRepository::get_by_id(&mut *tx, queue.id).await.unwrap();
    assert_eq!((left.action, left.action_ref), (None, action.r#ref));
}

#[tokio::test]
async fn test_queues_go_with_their_pack_and_items_with_their_queue() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let queue = WorkQueueFixture::new_unique().with_pack(&pack, "mail").create(&mut tx).await.unwrap();
    push(&mut tx, &queue, 2).await;
    assert!(PackRepository::delete(&mut *tx, pack.id).await.unwrap());
    assert_eq!(WorkQueueRepository::find_by_id(&mut *tx, queue.id).await.unwrap(), None);
    assert_eq!(WorkItemRepository::list(&mut *tx).await.unwrap(), []);
}

#[tokio::test]
async fn test_delete() {
    let mut tx = transaction().await;
    let queue = WorkQueueFixture::new_unique().create(&mut tx).await.unwrap();
    let kept = WorkQueueFixture::new_unique().create(&mut tx).await.unwrap();
    assert!(WorkQueueRepository::delete(&mut *tx, queue.id).await.unwrap());
    assert!(!WorkQueueRepository::delete(&mut *tx, queue.id).await.unwrap());
    assert_eq!(WorkQueueRepository::list(&mut *tx).await.unwrap(), [kept]);
}

#[tokio::test]
async fn test_count_by_status() {
    let mut tx = transaction().await;
    let queue =
        WorkQueueFixture::new_unique().with_batch_size(2).with_max_attempts(1).create(&mut tx).await.unwrap();
    let other = queue_of_ten(&mut tx).await;
    push(&mut tx, &other, 3).await;
    let count = WorkItemRepository::count_by_status(&mut *tx, queue.id).await.unwrap();
    assert_eq!(count, WorkItemCounts::default());
    push(&mut tx, &queue, 7).await;
    let first = lease(&mut tx, &queue).await;
    WorkItemRepository::complete(&mut *tx, &leases_of(&first)[..1]).await.unwrap();
    WorkItemRepository::fail(&mut *tx, &[failure(&first[1], "broken")]).await.unwrap();
    lease(&mut tx, &queue).await;
    let count = WorkItemRepository::count_by_status(&mut *tx, queue.id).await.unwrap();
    assert_eq!(count, WorkItemCounts { ready: 3, leased: 2, done: 1, dead: 1 });
}
