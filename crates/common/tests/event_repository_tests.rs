//! The event repository: one test per promise about `attune.event`. What arrives in batches and how events wait to be
//! matched is in `event_append_tests.rs`.

mod helpers;

use attune_common::models::event::{Event, EventUpdate};
use attune_common::repositories::{EnforcementRepository, EventRepository, TriggerRepository};
use attune_testkit::transaction;
use helpers::checks::*;
use helpers::*;
use serde_json::{Value, json};

#[tokio::test]
async fn test_create_minimal() {
    let mut tx = transaction().await;
    let trigger = TriggerFixture::new_unique().create(&mut tx).await.unwrap();
    let event = EventFixture::new(Some(trigger.id), &trigger.r#ref).create(&mut tx).await.unwrap();
    let expected = Event {
        id: event.id,
        trigger: Some(trigger.id),
        trigger_ref: trigger.r#ref,
        config: json!({}),
        payload: json!({}),
        headers: None,
        source: None,
        source_ref: None,
        dedup_key: None,
        replay_of: None,
        depth: 0,
        trace_id: None,
        created: event.created,
        updated: event.updated,
    };
    assert!(event.id > 0);
    assert_eq!(event, expected);
}

#[tokio::test]
async fn test_create_with_payload_of_a_webhook() {
    let mut tx = transaction().await;
    let payload = json!({
        "status": "firing",
        "alerts": [{"labels": {"severity": "critical", "größe": "10%"}, "value": 0.25, "ends": null}],
        "truncated": false,
        "count": 9_007_199_254_740_993_i64
    });
    let event = EventFixture::new_unique().with_payload(payload.clone()).create(&mut tx).await.unwrap();
    assert_eq!(event.payload, payload);
}

#[tokio::test]
async fn test_create_with_config_snapshot() {
    let mut tx = transaction().await;
    let config = json!({"path": "alertmanager", "interval": 30});
    let event = EventFixture::new_unique().with_config(config.clone()).create(&mut tx).await.unwrap();
    assert_eq!((event.config, event.payload), (config, json!({})));
}

#[tokio::test]
async fn test_create_without_trigger_id() {
    let mut tx = transaction().await;
    let trigger_ref = unique_event_ref();
    let event = EventFixture::new(None, &trigger_ref).create(&mut tx).await.unwrap();
    assert_eq!((event.trigger, event.trigger_ref), (None, trigger_ref));
}

#[tokio::test]
async fn test_create_with_source() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let sensor = SensorFixture::new(&pack, "watcher").create(&mut tx).await.unwrap();
    let event =
        EventFixture::new_unique().with_source(sensor.id, &sensor.r#ref).create(&mut tx).await.unwrap();
    assert_eq!((event.source, event.source_ref), (Some(sensor.id), Some(sensor.r#ref)));
}

#[tokio::test]
async fn test_create_invalid_trigger_id() {
    let mut tx = transaction().await;
    let created = EventFixture::new(Some(NO_SUCH_ID), &unique_event_ref()).create(&mut tx).await;
    assert_invalid_reference(created, "event", "trigger");
}

#[tokio::test]
async fn test_find_by_id_exists() {
    let mut tx = transaction().await;
    let event = EventFixture::new_unique().with_payload(json!({"n": 1})).create(&mut tx).await.unwrap();
    EventFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(EventRepository::find_by_id(&mut *tx, event.id).await.unwrap(), Some(event));
}

#[tokio::test]
async fn test_find_by_id_not_found() {
    let mut tx = transaction().await;
    assert_eq!(EventRepository::find_by_id(&mut *tx, NO_SUCH_ID).await.unwrap(), None);
}

#[tokio::test]
async fn test_get_by_id_exists() {
    let mut tx = transaction().await;
    let event = EventFixture::new_unique().with_config(json!({"n": 1})).create(&mut tx).await.unwrap();
    EventFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(EventRepository::get_by_id(&mut *tx, event.id).await.unwrap(), event);
}

#[tokio::test]
async fn test_get_by_id_not_found() {
    let mut tx = transaction().await;
    assert_not_found(EventRepository::get_by_id(&mut *tx, NO_SUCH_ID).await, "event", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_list_empty() {
    let mut tx = transaction().await;
    assert_eq!(EventRepository::list(&mut *tx).await.unwrap(), []);
}

#[tokio::test]
async fn test_list_newest_first() {
    let mut tx = transaction().await;
    let first = EventFixture::new_unique().create(&mut tx).await.unwrap();
    let second = EventFixture::new_unique().create(&mut tx).await.unwrap();
    let third = EventFixture::new_unique().create(&mut tx).await.unwrap();
    assert!(first.created < second.created && second.created < third.created);
    assert_eq!(EventRepository::list(&mut *tx).await.unwrap(), [third, second, first]);
}

#[tokio::test]
async fn test_list_respects_the_limit() {
    let mut tx = transaction().await;
    let ids: Vec<i64> = sqlx::query_scalar(
        "insert into attune.event (batch, trigger_ref)
         select 0, $1 from generate_series(1, 1001)
         returning id",
    )
    .bind(unique_event_ref())
    .fetch_all(&mut *tx)
    .await
    .unwrap();
    let listed = EventRepository::list(&mut *tx).await.unwrap();
    // The very first one is beyond the limit.
    let newest_first: Vec<_> = ids[1..].iter().rev().copied().collect();
    assert_eq!(listed.iter().map(|event| event.id).collect::<Vec<_>>(), newest_first);
    assert_eq!(newest_first.len(), 1000);
}

#[tokio::test]
async fn test_update_config() {
    let mut tx = transaction().await;
    let event = EventFixture::new_unique().with_payload(json!({"kept": 1})).create(&mut tx).await.unwrap();
    let update = EventUpdate { config: Some(json!({"path": "new"})), ..EventUpdate::default() };
    let updated = EventRepository::update(&mut tx, event.id, &update).await.unwrap();
    assert_eq!(updated, Event { config: json!({"path": "new"}), updated: updated.updated, ..event });
}

#[tokio::test]
async fn test_update_payload() {
    let mut tx = transaction().await;
    let event = EventFixture::new_unique().with_config(json!({"kept": 1})).create(&mut tx).await.unwrap();
    let update = EventUpdate { payload: Some(json!([1, "two"])), ..EventUpdate::default() };
    let updated = EventRepository::update(&mut tx, event.id, &update).await.unwrap();
    assert_eq!(updated, Event { payload: json!([1, "two"]), updated: updated.updated, ..event });
}

#[tokio::test]
async fn test_update_config_and_payload() {
    let mut tx = transaction().await;
    let other = EventFixture::new_unique().create(&mut tx).await.unwrap();
    let event = EventFixture::new_unique().create(&mut tx).await.unwrap();
    let update =
        EventUpdate { config: Some(json!({"a": 1})), payload: Some(Value::Null), unchanged_since: None };
    let updated = EventRepository::update(&mut tx, event.id, &update).await.unwrap();
    assert_eq!((&updated.config, &updated.payload), (&json!({"a": 1}), &Value::Null));
    // Nothing but the one event.
    assert_eq!(EventRepository::list(&mut *tx).await.unwrap(), [updated, other]);
}

#[tokio::test]
async fn test_update_no_change() {
    let mut tx = transaction().await;
    let event = EventFixture::new_unique().with_payload(json!({"n": 1})).create(&mut tx).await.unwrap();
    let updated = EventRepository::update(&mut tx, event.id, &EventUpdate::default()).await.unwrap();
    assert_eq!(updated, event);
}

#[tokio::test]
async fn test_update_not_found() {
    let mut tx = transaction().await;
    let update = EventUpdate { config: Some(json!({})), ..EventUpdate::default() };
    assert_not_found(EventRepository::update(&mut tx, NO_SUCH_ID, &update).await, "event", &NO_SUCH_ID);
    let nothing = EventUpdate::default();
    assert_not_found(EventRepository::update(&mut tx, NO_SUCH_ID, &nothing).await, "event", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_delete() {
    let mut tx = transaction().await;
    let kept = EventFixture::new_unique().create(&mut tx).await.unwrap();
    let event = EventFixture::new_unique().create(&mut tx).await.unwrap();
    assert!(EventRepository::delete(&mut *tx, event.id).await.unwrap());
    assert_eq!(EventRepository::list(&mut *tx).await.unwrap(), [kept]);
}

#[tokio::test]
async fn test_delete_not_found() {
    let mut tx = transaction().await;
    assert!(!EventRepository::delete(&mut *tx, NO_SUCH_ID).await.unwrap());
}

#[tokio::test]
async fn test_delete_keeps_its_enforcements() {
    let mut tx = transaction().await;
    let event = EventFixture::new_unique().create(&mut tx).await.unwrap();
    let enforcement = EnforcementFixture::new_unique().with_event(event.id).create(&mut tx).await.unwrap();
    assert_eq!(enforcement.event, Some(event.id));
    EventRepository::delete(&mut *tx, event.id).await.unwrap();
    let kept = EnforcementRepository::get_by_id(&mut *tx, enforcement.id).await.unwrap();
    assert_eq!((kept.event, kept.trigger_ref), (None, enforcement.trigger_ref));
}

#[tokio::test]
async fn test_list_by_trigger() {
    let mut tx = transaction().await;
    let trigger = TriggerFixture::new_unique().create(&mut tx).await.unwrap();
    let trigger_ref = trigger.r#ref.clone();
    let event = |trigger| EventFixture::new(trigger, &trigger_ref);
    let first = event(Some(trigger.id)).create(&mut tx).await.unwrap();
    let second = event(Some(trigger.id)).create(&mut tx).await.unwrap();
    // Of a former trigger of this name.
    event(None).create(&mut tx).await.unwrap();
    assert_eq!(EventRepository::list_by_trigger(&mut *tx, trigger.id).await.unwrap(), [second, first]);
}

#[tokio::test]
async fn test_create_of_a_trigger_by_another_name() {
    let mut tx = transaction().await;
    let trigger = TriggerFixture::new_unique().create(&mut tx).await.unwrap();
    let created = EventFixture::new(Some(trigger.id), "test.another_name").create(&mut tx).await;
    assert_invalid_reference_to(created, "event", "trigger", trigger.id);
}

#[tokio::test]
async fn test_list_by_trigger_ref() {
    let mut tx = transaction().await;
    let trigger_ref = unique_event_ref();
    let first = EventFixture::new(None, &trigger_ref).create(&mut tx).await.unwrap();
    EventFixture::new_unique().create(&mut tx).await.unwrap();
    let second = EventFixture::new(None, &trigger_ref).create(&mut tx).await.unwrap();
    assert_eq!(EventRepository::list_by_trigger_ref(&mut *tx, &trigger_ref).await.unwrap(), [second, first]);
}

#[tokio::test]
async fn test_list_by_trigger_ref_after_the_trigger_was_deleted() {
    let mut tx = transaction().await;
    let trigger = TriggerFixture::new_unique().create(&mut tx).await.unwrap();
    let event = EventFixture::new(Some(trigger.id), &trigger.r#ref).create(&mut tx).await.unwrap();
    TriggerRepository::delete(&mut *tx, trigger.id).await.unwrap();
    let found = EventRepository::list_by_trigger_ref(&mut *tx, &trigger.r#ref).await.unwrap();
    // Losing its trigger is a change of the row like any other.
    assert_eq!(found, [Event { trigger: None, updated: found[0].updated, ..event }]);
}

#[tokio::test]
async fn test_timestamps_are_set_by_the_database() {
    let mut tx = transaction().await;
    let before: chrono::DateTime<chrono::Utc> =
        sqlx::query_scalar("select clock_timestamp()").fetch_one(&mut *tx).await.unwrap();
    let event = EventFixture::new_unique().create(&mut tx).await.unwrap();
    assert!(before < event.created && event.created <= event.updated, "{before} {event:?}");
    let update = EventUpdate { payload: Some(json!({"n": 1})), ..EventUpdate::default() };
    let updated = EventRepository::update(&mut tx, event.id, &update).await.unwrap();
    assert_eq!(updated.created, event.created);
    assert!(updated.updated > event.updated, "{updated:?}");
}
