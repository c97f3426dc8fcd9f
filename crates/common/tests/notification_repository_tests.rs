//! The notification repository: `attune.notification`. The steps of a delivery have a file each.

mod helpers;

mod notification {
    mod end;
    mod take;
}

use std::time::Duration;

use attune_common::models::Timestamp;
use attune_common::models::notification::{
    NewNotification, Notification, NotificationFilter, NotificationState, NotificationUpdate,
};
use attune_common::repositories::NotificationRepository;
use attune_testkit::transaction;
use chrono::TimeDelta;
use helpers::checks::*;
use helpers::notification::*;
use helpers::*;
use serde_json::json;
use sqlx::{Connection, PgConnection};

fn ids(notifications: &[Notification]) -> Vec<i64> {
    notifications.iter().map(|notification| notification.id).collect()
}

fn filter() -> NotificationFilter {
    NotificationFilter { limit: 10, ..NotificationFilter::default() }
}

/// A time that no test reaches.
fn in_an_hour() -> Timestamp {
    chrono::Utc::now() + TimeDelta::hours(1)
}

/// A time that has passed, by so many minutes.
fn ago(minutes: i64) -> Timestamp {
    chrono::DateTime::from_timestamp(1_700_000_000 - minutes * 60, 0).expect("a time")
}

/// Everything that is due, with a lease that holds.
async fn take(connection: &mut PgConnection) -> Vec<Notification> {
    NotificationRepository::take_due(connection, 10, LONG_LEASE).await.expect("it can be taken")
}

/// Everything that is due, with a lease that has run out by the next statement.
async fn take_and_die(connection: &mut PgConnection) -> Vec<Notification> {
    NotificationRepository::take_due(connection, 10, Duration::ZERO).await.expect("it can be taken")
}

async fn get(connection: &mut PgConnection, id: i64) -> Notification {
    NotificationRepository::get_by_id(connection, id).await.expect("it is there")
}

#[test]
fn test_table_name_has_the_schema() {
    assert_eq!(NotificationRepository::table_name(), "attune.notification");
}

#[tokio::test]
async fn test_create_minimal() {
    let mut tx = transaction().await;
    let new = NewNotification {
        channel: unique_channel(),
        entity_type: "execution".to_owned(),
        entity: "17".to_owned(),
        activity: "failed".to_owned(),
        ..NewNotification::default()
    };
    let made = NotificationRepository::create(&mut *tx, &new).await.unwrap();
    let expected = Notification {
        id: made.id,
        channel: new.channel,
        entity_type: new.entity_type,
        entity: new.entity,
        activity: new.activity,
        state: NotificationState::Created,
        content: None,
        attempts: 0,
        not_before: made.not_before,
        error: None,
        delivered_at: None,
        created: made.created,
        updated: made.updated,
    };
    assert_eq!(made, expected);
    // By the clock of the database: at once.
    assert!((made.created - made.not_before).abs() < TimeDelta::seconds(1), "{made:?}");
}

#[tokio::test]
async fn test_create_with_everything() {
    let mut tx = transaction().await;
    let content = json!({"text": "disk full", "to": ["ops"]});
    let fixture = NotificationFixture::new("mail")
        .with_entity("inquiry", "ops.approve")
        .with_content(content.clone())
        .with_not_before(ago(5));
    let made = fixture.create(&mut tx).await.unwrap();
    assert_eq!((&*made.channel, &*made.entity_type, &*made.entity), ("mail", "inquiry", "ops.approve"));
    assert_eq!((made.content.as_ref(), made.not_before), (Some(&content), ago(5)));
    assert_eq!(get(&mut tx, made.id).await, made);
}

#[tokio::test]
async fn test_create_without_channel() {
    let mut tx = transaction().await;
    let created = NotificationFixture::new("").create(&mut tx).await;
    assert_refused_value(created, "notification", "channel", "");
}

#[tokio::test]
async fn test_append_nothing() {
    let mut tx = transaction().await;
    assert_eq!(NotificationRepository::append(&mut *tx, &[]).await.unwrap(), []);
    assert_eq!(NotificationRepository::list(&mut *tx).await.unwrap(), []);
}

#[tokio::test]
async fn test_append_in_the_order_given() {
    let mut tx = transaction().await;
    let new: Vec<_> = ["b", "c", "a"]
        .map(|entity| NotificationFixture::new_unique().with_entity("rule", entity).new)
        .into();
    let made = NotificationRepository::append(&mut *tx, &new).await.unwrap();
    assert_eq!(made.iter().map(|n| &*n.entity).collect::<Vec<_>>(), ["b", "c", "a"]);
    assert!(made.windows(2).all(|pair| pair[0].id < pair[1].id), "{made:?}");
    let stored = NotificationRepository::list(&mut *tx).await.unwrap();
    assert_eq!(stored, made.into_iter().rev().collect::<Vec<_>>());
}

#[tokio::test]
async fn test_append_keeps_what_belongs_together() {
    let mut tx = transaction().await;
    let plain = NotificationFixture::new_unique().new;
    let full = NotificationFixture::new_unique().with_content(json!([1])).with_not_before(ago(1)).new;
    let made = NotificationRepository::append(&mut *tx, &[plain.clone(), full.clone()]).await.unwrap();
    let found: Vec<_> = made.iter().map(|n| (&*n.channel, n.content.clone())).collect();
    assert_eq!(found, [(&*plain.channel, None), (&*full.channel, Some(json!([1])))]);
    assert_eq!(made[1].not_before, ago(1));
    assert!(made[0].not_before > ago(0), "{made:?}");
}

#[tokio::test]
async fn test_append_all_or_none() {
    let mut tx = transaction().await;
    let new = [NotificationFixture::new_unique().new, NotificationFixture::new("").new];
    let mut step = tx.begin().await.unwrap();
    let appended = NotificationRepository::append(&mut *step, &new).await;
    assert_invalid_value(appended, "notification", "notification_channel_not_empty");
    step.rollback().await.unwrap();
    assert_eq!(NotificationRepository::list(&mut *tx).await.unwrap(), []);
}

#[tokio::test]
async fn test_find_by_id_exists() {
    let mut tx = transaction().await;
    let made = NotificationFixture::new_unique().create(&mut tx).await.unwrap();
    NotificationFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(NotificationRepository::find_by_id(&mut *tx, made.id).await.unwrap(), Some(made));
}

#[tokio::test]
async fn test_find_by_id_not_found() {
    let mut tx = transaction().await;
    assert_eq!(NotificationRepository::find_by_id(&mut *tx, NO_SUCH_ID).await.unwrap(), None);
}

#[tokio::test]
async fn test_get_by_id_not_found() {
    let mut tx = transaction().await;
    let got = NotificationRepository::get_by_id(&mut *tx, NO_SUCH_ID).await;
    assert_not_found(got, "notification", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_list_empty() {
    let mut tx = transaction().await;
    assert_eq!(NotificationRepository::list(&mut *tx).await.unwrap(), []);
}

#[tokio::test]
async fn test_list_newest_first() {
    let mut tx = transaction().await;
    let first = NotificationFixture::new_unique().with_not_before(ago(0)).create(&mut tx).await.unwrap();
    let second = NotificationFixture::new_unique().with_not_before(ago(9)).create(&mut tx).await.unwrap();
    assert_eq!(NotificationRepository::list(&mut *tx).await.unwrap(), [second, first]);
}

#[tokio::test]
async fn test_list_has_a_limit() {
    let mut tx = transaction().await;
    let many = vec![NotificationFixture::new_unique().new; 1001];
    let made = NotificationRepository::append(&mut *tx, &many).await.unwrap();
    let listed = NotificationRepository::list(&mut *tx).await.unwrap();
    let newest: Vec<_> = made.iter().rev().take(1000).map(|n| n.id).collect();
    assert_eq!(ids(&listed), newest);
}

#[tokio::test]
async fn test_update_content() {
    let mut tx = transaction().await;
    let made = NotificationFixture::new_unique().create(&mut tx).await.unwrap();
    let update = NotificationUpdate { content: Some(json!({"n": 1})), ..NotificationUpdate::default() };
    let updated = NotificationRepository::update(&mut tx, made.id, &update).await.unwrap();
    assert!(updated.updated > made.updated, "{updated:?}");
    let expected = Notification { content: Some(json!({"n": 1})), updated: updated.updated, ..made };
    assert_eq!(updated, expected);
}

#[tokio::test]
async fn test_update_puts_it_off() {
    let mut tx = transaction().await;
    let made = NotificationFixture::new_unique().with_content(json!(1)).create(&mut tx).await.unwrap();
    let later = in_an_hour();
    let update = NotificationUpdate { not_before: Some(later), ..NotificationUpdate::default() };
    let updated = NotificationRepository::update(&mut tx, made.id, &update).await.unwrap();
    assert_eq!(updated.content, made.content);
    assert_eq!(take(&mut tx).await, []);
}

#[tokio::test]
async fn test_update_only_what_waits() {
    let mut tx = transaction().await;
    for &state in NotificationState::ALL {
        let made = notification_in(&mut tx, state).await;
        for update in [
            NotificationUpdate { content: Some(json!({"n": 1})), ..NotificationUpdate::default() },
            NotificationUpdate { not_before: Some(in_an_hour()), ..NotificationUpdate::default() },
        ] {
            let updated = NotificationRepository::update(&mut tx, made.id, &update).await;
            match state {
                NotificationState::Created | NotificationState::Queued => {
                    assert_eq!(updated.unwrap().state, state);
                }
                NotificationState::Processing | NotificationState::Delivered | NotificationState::Error => {
                    assert_conflict(updated, "notification", &made.id);
                    assert_eq!(get(&mut tx, made.id).await, made);
                }
            }
        }
    }
}

#[tokio::test]
async fn test_update_no_change() {
    let mut tx = transaction().await;
    for &state in NotificationState::ALL {
        let made = notification_in(&mut tx, state).await;
        let update = NotificationUpdate::default();
        assert_eq!(NotificationRepository::update(&mut tx, made.id, &update).await.unwrap(), made);
        // Out of the way of the next one.
        assert!(NotificationRepository::delete(&mut *tx, made.id).await.unwrap());
    }
}

#[tokio::test]
async fn test_update_of_another_version() {
    let mut tx = transaction().await;
    let made = NotificationFixture::new_unique().create(&mut tx).await.unwrap();
    let update = NotificationUpdate {
        content: Some(json!(1)),
        unchanged_since: Some(made.updated),
        ..NotificationUpdate::default()
    };
    let updated = NotificationRepository::update(&mut tx, made.id, &update).await.unwrap();
    let again = NotificationUpdate { content: Some(json!(2)), ..update };
    let refused = NotificationRepository::update(&mut tx, made.id, &again).await;
    assert_conflict(refused, "notification", &made.id);
    assert_eq!(get(&mut tx, made.id).await, updated);
}

#[tokio::test]
async fn test_update_not_found() {
    let mut tx = transaction().await;
    let update = NotificationUpdate::default();
    let updated = NotificationRepository::update(&mut tx, NO_SUCH_ID, &update).await;
    assert_not_found(updated, "notification", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_remove_delivered_before_the_bound() {
    let mut tx = transaction().await;
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(notification_in(&mut tx, NotificationState::Delivered).await);
    }
    let bound = made[2].delivered_at.unwrap();
    assert_eq!(NotificationRepository::remove_delivered(&mut *tx, bound, 10).await.unwrap(), 2);
    assert_eq!(NotificationRepository::list(&mut *tx).await.unwrap(), [made.remove(2)]);
    assert_eq!(NotificationRepository::remove_delivered(&mut *tx, bound, 10).await.unwrap(), 0);
}

#[tokio::test]
async fn test_remove_delivered_the_oldest_first_up_to_the_limit() {
    let mut tx = transaction().await;
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(notification_in(&mut tx, NotificationState::Delivered).await.id);
    }
    let removed = NotificationRepository::remove_delivered(&mut *tx, in_an_hour(), 2).await.unwrap();
    assert_eq!(removed, 2);
    assert_eq!(ids(&NotificationRepository::list(&mut *tx).await.unwrap()), made[2..]);
}

#[tokio::test]
async fn test_remove_delivered_keeps_every_other_state() {
    let mut tx = transaction().await;
    for &state in NotificationState::ALL {
        let made = notification_in(&mut tx, state).await;
        let removed = NotificationRepository::remove_delivered(&mut *tx, in_an_hour(), 10).await.unwrap();
        assert_eq!(removed, u64::from(state == NotificationState::Delivered), "{state}");
        // Out of the way of the next one.
        NotificationRepository::delete(&mut *tx, made.id).await.unwrap();
    }
}

#[tokio::test]
async fn test_list_by_state() {
    let mut tx = transaction().await;
    let first = notification_in(&mut tx, NotificationState::Error).await;
    notification_in(&mut tx, NotificationState::Delivered).await;
    let second = notification_in(&mut tx, NotificationState::Error).await;
    let listed = NotificationRepository::list_by_state(&mut *tx, NotificationState::Error).await.unwrap();
    assert_eq!(listed, [second, first]);
    let listed = NotificationRepository::list_by_state(&mut *tx, NotificationState::Created).await.unwrap();
    assert_eq!(listed, []);
}

#[tokio::test]
async fn test_list_by_channel() {
    let mut tx = transaction().await;
    let channel = unique_channel();
    let first = NotificationFixture::new(&channel).create(&mut tx).await.unwrap();
    NotificationFixture::new_unique().create(&mut tx).await.unwrap();
    let second = NotificationFixture::new(&channel).create(&mut tx).await.unwrap();
    let listed = NotificationRepository::list_by_channel(&mut *tx, &channel).await.unwrap();
    assert_eq!(listed, [second, first]);
}

#[tokio::test]
async fn test_list_by_entity() {
    let mut tx = transaction().await;
    let fixture =
        |entity_type: &str, entity: &str| NotificationFixture::new_unique().with_entity(entity_type, entity);
    let first = fixture("execution", "7").create(&mut tx).await.unwrap();
    fixture("execution", "8").create(&mut tx).await.unwrap();
    fixture("inquiry", "7").create(&mut tx).await.unwrap();
    let second = fixture("execution", "7").create(&mut tx).await.unwrap();
    let listed = NotificationRepository::list_by_entity(&mut *tx, "execution", "7").await.unwrap();
    assert_eq!(listed, [second, first]);
}

#[tokio::test]
async fn test_search_by_each_filter() {
    let mut tx = transaction().await;
    let other = notification_in(&mut tx, NotificationState::Delivered).await;
    let wanted = NotificationFixture::new("mail").with_entity("inquiry", "7").create(&mut tx).await.unwrap();
    for filter in [
        NotificationFilter { channel: Some("mail".to_owned()), ..filter() },
        NotificationFilter { entity_type: Some("inquiry".to_owned()), ..filter() },
        NotificationFilter { entity: Some("7".to_owned()), ..filter() },
        NotificationFilter { state: Some(NotificationState::Created), ..filter() },
    ] {
        let found = NotificationRepository::search(&mut *tx, &filter).await.unwrap();
        assert_eq!(found, std::slice::from_ref(&wanted), "{filter:?}");
    }
    assert_eq!(NotificationRepository::search(&mut *tx, &filter()).await.unwrap(), [wanted, other]);
}

#[tokio::test]
async fn test_search_page_after_page() {
    let mut tx = transaction().await;
    let new = vec![NotificationFixture::new_unique().new; 5];
    let mut made = NotificationRepository::append(&mut *tx, &new).await.unwrap();
    made.reverse();
    let mut filter = NotificationFilter { limit: 2, ..NotificationFilter::default() };
    let mut read = Vec::new();
    loop {
        let page = NotificationRepository::search(&mut *tx, &filter).await.unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 2);
        filter.before = Some(last.id);
        read.extend(page);
    }
    assert_eq!(read, made);
}

#[tokio::test]
async fn test_delete() {
    let mut tx = transaction().await;
    let kept = NotificationFixture::new_unique().create(&mut tx).await.unwrap();
    let made = NotificationFixture::new_unique().create(&mut tx).await.unwrap();
    assert!(NotificationRepository::delete(&mut *tx, made.id).await.unwrap());
    assert_eq!(NotificationRepository::list(&mut *tx).await.unwrap(), [kept]);
}

#[tokio::test]
async fn test_delete_not_found() {
    let mut tx = transaction().await;
    assert!(!NotificationRepository::delete(&mut *tx, NO_SUCH_ID).await.unwrap());
}
