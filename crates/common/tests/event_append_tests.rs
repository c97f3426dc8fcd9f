//! Events as they arrive, in batches, and as they wait to be matched.

mod helpers;

use std::collections::BTreeSet;

use attune_common::error::StoreError;
use attune_common::models::event::{Appended, EventFilter, NewEvent};
use attune_common::repositories::{EventRepository, TriggerRepository};
use attune_testkit::{TestDatabase, transaction};
use chrono::{DateTime, Utc};
use helpers::checks::*;
use helpers::steps::*;
use helpers::*;
use serde_json::json;

fn new(trigger_ref: &str) -> NewEvent {
    NewEvent { trigger_ref: trigger_ref.to_owned(), ..NewEvent::default() }
}

fn delivery(trigger_ref: &str, dedup_key: &str, n: i64) -> NewEvent {
    NewEvent { dedup_key: Some(dedup_key.to_owned()), payload: Some(json!({"n": n})), ..new(trigger_ref) }
}

fn fresh(id: i64) -> Appended {
    Appended { id, duplicate: false }
}

fn known(id: i64) -> Appended {
    Appended { id, duplicate: true }
}

#[test]
fn test_table_name_has_the_schema() {
    assert_eq!(EventRepository::table_name(), "attune.event");
}

#[tokio::test]
async fn test_append_nothing() {
    let mut tx = transaction().await;
    assert_eq!(EventRepository::append(&mut tx, &[]).await.unwrap(), []);
    assert_eq!(EventRepository::count_waiting(&mut *tx).await.unwrap(), 0);
}

#[tokio::test]
async fn test_append_keeps_the_order_of_the_batch() {
    let mut tx = transaction().await;
    let batch: Vec<_> =
        (0..50).map(|n| NewEvent { payload: Some(json!({"n": n})), ..new("test.burst") }).collect();
    let appended = EventRepository::append(&mut tx, &batch).await.unwrap();
    assert!(appended.windows(2).all(|pair| pair[0].id < pair[1].id), "{appended:?}");
    let mut stored = EventRepository::list(&mut *tx).await.unwrap();
    stored.reverse();
    let found: Vec<_> = stored.iter().map(|event| (fresh(event.id), event.payload.clone())).collect();
    let expected: Vec<_> = appended.into_iter().zip((0..50).map(|n| json!({"n": n}))).collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn test_append_stores_every_column() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let sensor = SensorFixture::new(&pack, "watcher").create(&mut tx).await.unwrap();
    let trigger = TriggerFixture::new_unique().create(&mut tx).await.unwrap();
    let original = EventFixture::new_unique().create(&mut tx).await.unwrap();
    let new = NewEvent {
        trigger: Some(trigger.id),
        trigger_ref: trigger.r#ref,
        config: Some(json!({"path": "p"})),
        payload: Some(json!({"n": 1})),
        headers: Some(json!({"x-github-event": "push"})),
        source: Some(sensor.id),
        source_ref: Some(sensor.r#ref),
        dedup_key: Some("delivery-1".to_owned()),
        replay_of: Some(original.id),
        trace_id: Some("trace-1".to_owned()),
        depth: 2,
    };
    let stored = EventRepository::create(&mut tx, new.clone()).await.unwrap();
    let stored = NewEvent {
        trigger: stored.trigger,
        trigger_ref: stored.trigger_ref,
        config: Some(stored.config),
        payload: Some(stored.payload),
        headers: stored.headers,
        source: stored.source,
        source_ref: stored.source_ref,
        dedup_key: stored.dedup_key,
        replay_of: stored.replay_of,
        trace_id: stored.trace_id,
        depth: stored.depth,
    };
    assert_eq!(stored, new);
}

#[tokio::test]
async fn test_append_duplicate_of_an_earlier_event() {
    let mut tx = transaction().await;
    // Deliveries to other triggers under the same key, before and after.
    let before = EventRepository::create(&mut tx, delivery(&unique_event_ref(), "d", 0)).await.unwrap();
    let trigger_ref = unique_event_ref();
    let first = EventRepository::create(&mut tx, delivery(&trigger_ref, "d", 1)).await.unwrap();
    let after = EventRepository::create(&mut tx, delivery(&unique_event_ref(), "d", 0)).await.unwrap();
    let again = EventRepository::append(&mut tx, &[delivery(&trigger_ref, "d", 2)]).await.unwrap();
    assert_eq!(again, [known(first.id)]);
    // The first delivery stands, and waits only once.
    assert_eq!(EventRepository::list(&mut *tx).await.unwrap(), [after, first, before]);
    assert_eq!(EventRepository::count_waiting(&mut *tx).await.unwrap(), 3);
}

#[tokio::test]
async fn test_append_duplicate_within_the_batch() {
    let mut tx = transaction().await;
    let trigger_ref = unique_event_ref();
    let batch = [
        delivery(&trigger_ref, "a", 1),
        delivery(&trigger_ref, "b", 2),
        delivery(&trigger_ref, "a", 3),
        new(&trigger_ref),
    ];
    let appended = EventRepository::append(&mut tx, &batch).await.unwrap();
    let a = appended[0].id;
    assert_eq!(appended, [fresh(a), fresh(appended[1].id), known(a), fresh(appended[3].id)]);
    assert_eq!(EventRepository::get_by_id(&mut *tx, a).await.unwrap().payload, json!({"n": 1}));
    assert_eq!(EventRepository::list(&mut *tx).await.unwrap().len(), 3);
}

#[tokio::test]
async fn test_append_same_key_of_another_trigger_is_another_event() {
    let mut tx = transaction().await;
    let batch = [delivery(&unique_event_ref(), "d", 1), delivery(&unique_event_ref(), "d", 2)];
    let appended = EventRepository::append(&mut tx, &batch).await.unwrap();
    assert_eq!(appended, [fresh(appended[0].id), fresh(appended[1].id)]);
    assert_ne!(appended[0].id, appended[1].id);
}

#[tokio::test]
async fn test_append_without_key_is_never_a_duplicate() {
    let mut tx = transaction().await;
    let trigger_ref = unique_event_ref();
    let appended = EventRepository::append(&mut tx, &[new(&trigger_ref), new(&trigger_ref)]).await.unwrap();
    let distinct: BTreeSet<_> = appended.iter().map(|event| event.id).collect();
    assert_eq!(distinct.len(), 2);
    assert!(appended.iter().all(|event| !event.duplicate));
}

#[tokio::test]
async fn test_append_duplicate_of_an_event_that_commits_meanwhile() {
    let database = TestDatabase::create().await;
    let trigger_ref = unique_event_ref();
    let mut first = attune_common::db::begin(database.pool()).await.unwrap();
    let appended = EventRepository::append(&mut first, &[delivery(&trigger_ref, "d", 1)]).await.unwrap();
    let mut second = attune_common::db::begin(database.pool()).await.unwrap();
    let batch = [delivery(&trigger_ref, "d", 2)];
    // The second delivery waits for the fate of the first one, which its own snapshot does not show.
    let (again, committed) = tokio::join!(EventRepository::append(&mut second, &batch), async {
        until_blocked(database.pool(), 1).await;
        first.commit().await
    });
    committed.unwrap();
    assert_eq!(again.unwrap(), [known(appended[0].id)]);
}

#[tokio::test]
async fn test_append_u0000_is_unstorable() {
    let mut tx = transaction().await;
    let payload = json!({"text": "a\u{0}b"});
    let created = EventFixture::new_unique().with_payload(payload).create(&mut tx).await;
    assert!(matches!(created, Err(StoreError::Unstorable(_))), "{created:?}");
}

#[tokio::test]
async fn test_append_u0000_in_the_dedup_key_is_unstorable() {
    let mut tx = transaction().await;
    let appended = EventRepository::append(&mut tx, &[delivery("test.x", "a\u{0}", 1)]).await;
    assert!(matches!(appended, Err(StoreError::Unstorable(_))), "{appended:?}");
}

#[tokio::test]
async fn test_append_is_all_or_nothing() {
    let mut tx = transaction().await;
    let batch = [new(&unique_event_ref()), NewEvent { trigger: Some(NO_SUCH_ID), ..new("test.x") }];
    let mut inner = sqlx::Connection::begin(&mut *tx).await.unwrap();
    assert_invalid_reference(EventRepository::append(&mut inner, &batch).await, "event", "trigger");
    inner.rollback().await.unwrap();
    assert_eq!(EventRepository::list(&mut *tx).await.unwrap(), []);
}

#[tokio::test]
async fn test_append_empty_trigger_ref() {
    let mut tx = transaction().await;
    let created = EventFixture::new(None, "").create(&mut tx).await;
    assert_invalid_value(created, "event", "event_trigger_ref_not_empty");
}

#[tokio::test]
async fn test_append_invalid_source() {
    let mut tx = transaction().await;
    let created = EventFixture::new_unique().with_source(NO_SUCH_ID, "test.gone").create(&mut tx).await;
    assert_invalid_reference(created, "event", "source");
}

#[tokio::test]
async fn test_append_invalid_replay_of() {
    let mut tx = transaction().await;
    let replay = NewEvent { replay_of: Some(NO_SUCH_ID), ..new("test.x") };
    assert_invalid_reference(EventRepository::create(&mut tx, replay).await, "event", "replay_of");
}

#[tokio::test]
async fn test_take_waiting_oldest_first_up_to_the_limit() {
    let mut tx = transaction().await;
    let batch = [new("test.a"), new("test.b"), new("test.c")];
    let together = EventRepository::append(&mut tx, &batch).await.unwrap();
    let alone = EventRepository::append(&mut tx, &batch[..1]).await.unwrap();
    let last = EventRepository::append(&mut tx, &batch[1..]).await.unwrap();
    for (limit, events, more) in
        [(1, 3, true), (3, 3, true), (4, 4, true), (5, 4, true), (6, 6, false), (500, 6, false)]
    {
        let taken = EventRepository::take_waiting(&mut tx, limit).await.unwrap();
        let all = [together.as_slice(), &alone, &last].concat();
        let ids: Vec<_> = all.iter().map(|appended| appended.id).collect();
        assert_eq!(taken.events.iter().map(|event| event.id).collect::<Vec<_>>(), ids[..events], "{limit}");
        let batches = [together[0].id, alone[0].id, last[0].id];
        let whole = [3, 4, 6].iter().filter(|count| **count <= events).count();
        assert_eq!((taken.ids.as_slice(), taken.more), (&batches[..whole], more), "{limit}");
    }
}

#[tokio::test]
async fn test_take_waiting_tells_of_more_than_it_looked_at() {
    let mut tx = transaction().await;
    for _ in 0..3 {
        EventRepository::append(&mut tx, &[new("test.a")]).await.unwrap();
    }
    let mut found = Vec::new();
    for limit in [2, 3, 4] {
        let taken = EventRepository::take_waiting(&mut tx, limit).await.unwrap();
        found.push((taken.events.len(), taken.more));
    }
    assert_eq!(found, [(2, true), (3, true), (3, false)]);
}

#[tokio::test]
async fn test_batches_that_are_recorded_at_the_same_time_keep_their_own_events() {
    let mut tx = transaction().await;
    // As two statements make them that draw their ids in turns.
    sqlx::query(
        "with event as (
             insert into attune.event (id, batch, trigger_ref)
             overriding system value
             values (101, 101, 'test.a'), (102, 102, 'test.b'), (103, 101, 'test.a'), (104, 102, 'test.b')
         )
         insert into attune.event_batch (first_event, last_event, events) values (101, 103, 2), (102, 104, 2)",
    )
    .execute(&mut *tx)
    .await
    .unwrap();
    let first = EventRepository::take_waiting(&mut tx, 1).await.unwrap();
    assert_eq!(first.events.iter().map(|event| event.id).collect::<Vec<_>>(), [101, 103]);
    EventRepository::mark_matched(&mut *tx, &first.ids, 1, Utc::now()).await.unwrap();
    for (event, is_matched) in [(101, true), (102, false), (103, true), (104, false)] {
        let matching = EventRepository::matching(&mut *tx, event).await.unwrap().unwrap();
        assert_eq!((matching.event, matching.matched.is_some()), (event, is_matched));
    }
    let second = EventRepository::take_waiting(&mut tx, 10).await.unwrap();
    assert_eq!((second.events.len(), second.ids, second.more), (2, vec![102], false));
}

#[tokio::test]
async fn test_a_batch_of_known_deliveries_alone_does_not_wait() {
    let mut tx = transaction().await;
    let trigger_ref = unique_event_ref();
    let first = EventRepository::append(&mut tx, &[delivery(&trigger_ref, "d", 1)]).await.unwrap();
    EventRepository::mark_matched(&mut *tx, &[first[0].id], 1, Utc::now()).await.unwrap();
    EventRepository::append(&mut tx, &[delivery(&trigger_ref, "d", 2)]).await.unwrap();
    assert_eq!(EventRepository::take_waiting(&mut tx, 10).await.unwrap().ids, [0; 0]);
    // One that is new waits, although the delivery before it drew the key of the batch.
    let mixed = [delivery(&trigger_ref, "d", 3), delivery(&trigger_ref, "e", 4)];
    let appended = EventRepository::append(&mut tx, &mixed).await.unwrap();
    let taken = EventRepository::take_waiting(&mut tx, 10).await.unwrap();
    assert_eq!(taken.events.iter().map(|event| event.id).collect::<Vec<_>>(), [appended[1].id]);
    EventRepository::mark_matched(&mut *tx, &taken.ids, 1, Utc::now()).await.unwrap();
    assert!(EventRepository::matching(&mut *tx, appended[1].id).await.unwrap().unwrap().matched.is_some());
}

#[tokio::test]
async fn test_a_batch_whose_events_were_removed_is_taken_all_the_same() {
    let mut tx = transaction().await;
    let appended = EventRepository::append(&mut tx, &[new("test.a"), new("test.b")]).await.unwrap();
    EventRepository::delete(&mut *tx, appended[0].id).await.unwrap();
    let taken = EventRepository::take_waiting(&mut tx, 10).await.unwrap();
    assert_eq!(taken.events.iter().map(|event| event.id).collect::<Vec<_>>(), [appended[1].id]);
    EventRepository::delete(&mut *tx, appended[1].id).await.unwrap();
    let taken = EventRepository::take_waiting(&mut tx, 10).await.unwrap();
    assert_eq!((taken.ids.as_slice(), taken.events.len()), ([appended[0].id].as_slice(), 0));
    EventRepository::mark_matched(&mut *tx, &taken.ids, 1, Utc::now()).await.unwrap();
    assert_eq!(EventRepository::take_waiting(&mut tx, 10).await.unwrap().ids, [0; 0]);
}

#[tokio::test]
async fn test_take_waiting_gives_what_rules_look_at() {
    let mut tx = transaction().await;
    let event = NewEvent {
        config: Some(json!({"path": "p"})),
        payload: Some(json!({"n": 1})),
        headers: Some(json!({"x-a": "b"})),
        source_ref: Some("test.watcher".to_owned()),
        trace_id: Some("trace-1".to_owned()),
        ..new("test.a")
    };
    let event = EventRepository::create(&mut tx, event).await.unwrap();
    let taken = EventRepository::take_waiting(&mut tx, 10).await.unwrap();
    let expected = attune_common::models::event::WaitingEvent {
        id: event.id,
        trigger_ref: event.trigger_ref,
        config: event.config,
        payload: event.payload,
        headers: event.headers,
        source_ref: event.source_ref,
        trace_id: event.trace_id,
        created: event.created,
    };
    assert_eq!(taken.events, [expected]);
}

#[tokio::test]
async fn test_take_waiting_passes_over_what_another_executor_holds() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let first = EventRepository::append(&mut connection, &[new("test.a")]).await.unwrap()[0];
    let second = EventRepository::append(&mut connection, &[new("test.b")]).await.unwrap()[0];
    let mut one = attune_common::db::begin(database.pool()).await.unwrap();
    let mut other = attune_common::db::begin(database.pool()).await.unwrap();
    let taken = EventRepository::take_waiting(&mut one, 1).await.unwrap();
    let other_taken = at_once(EventRepository::take_waiting(&mut other, 10)).await.unwrap();
    assert_eq!((taken.events[0].id, taken.events.len()), (first.id, 1));
    assert_eq!((other_taken.events[0].id, other_taken.events.len()), (second.id, 1));
    // Whoever gives up leaves the event waiting.
    one.rollback().await.unwrap();
    let again = EventRepository::take_waiting(&mut other, 10).await.unwrap();
    assert_eq!(again.events.len(), 2);
}

#[tokio::test]
async fn test_take_waiting_takes_many_behind_a_large_one_that_another_executor_holds() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    EventRepository::append(&mut connection, &vec![new("test.a"); 50]).await.unwrap();
    for _ in 0..40 {
        EventRepository::append(&mut connection, &[new("test.b")]).await.unwrap();
    }
    let mut one = attune_common::db::begin(database.pool()).await.unwrap();
    assert_eq!(EventRepository::take_waiting(&mut one, 50).await.unwrap().events.len(), 50);
    let mut other = attune_common::db::begin(database.pool()).await.unwrap();
    let taken = at_once(EventRepository::take_waiting(&mut other, 50)).await.unwrap();
    assert!(taken.events.len() >= 10 && taken.more, "{} at a time", taken.events.len());
}

/// A time that PostgreSQL holds as it is.
fn waiting_time() -> DateTime<Utc> {
    DateTime::from_timestamp_micros(1_790_000_000_123_456).expect("a time of this century")
}

#[tokio::test]
async fn test_mark_matched_ends_the_waiting() {
    let mut tx = transaction().await;
    let mut appended = EventRepository::append(&mut tx, &[new("test.a")]).await.unwrap();
    appended.extend(EventRepository::append(&mut tx, &[new("test.b")]).await.unwrap());
    let waiting = EventRepository::matching(&mut *tx, appended[0].id).await.unwrap().unwrap();
    assert_eq!((waiting.event, waiting.matched, waiting.rule_set_version), (appended[0].id, None, None));
    let then = waiting_time();
    EventRepository::mark_matched(&mut *tx, &[appended[0].id], 7, then).await.unwrap();
    let matched = EventRepository::matching(&mut *tx, appended[0].id).await.unwrap().unwrap();
    assert_eq!(matched.matched, Some(then), "to the microsecond: it is judged with again");
    assert_eq!(matched.rule_set_version, Some(7));
    assert_eq!(EventRepository::count_waiting(&mut *tx).await.unwrap(), 1);
    let taken = EventRepository::take_waiting(&mut tx, 10).await.unwrap();
    assert_eq!(taken.events.iter().map(|event| event.id).collect::<Vec<_>>(), [appended[1].id]);
}

#[tokio::test]
async fn test_mark_matched_keeps_the_first_judgement() {
    let mut tx = transaction().await;
    let event = EventFixture::new_unique().create(&mut tx).await.unwrap();
    EventRepository::mark_matched(&mut *tx, &[event.id], 1, waiting_time()).await.unwrap();
    let first = EventRepository::matching(&mut *tx, event.id).await.unwrap();
    EventRepository::mark_matched(&mut *tx, &[event.id], 2, Utc::now()).await.unwrap();
    assert_eq!(EventRepository::matching(&mut *tx, event.id).await.unwrap(), first);
}

#[tokio::test]
async fn test_matching_of_no_event() {
    let mut tx = transaction().await;
    assert_eq!(EventRepository::matching(&mut *tx, NO_SUCH_ID).await.unwrap(), None);
}

#[tokio::test]
async fn test_delete_ends_the_waiting() {
    let mut tx = transaction().await;
    let event = EventFixture::new_unique().create(&mut tx).await.unwrap();
    EventRepository::delete(&mut *tx, event.id).await.unwrap();
    assert_eq!(EventRepository::count_waiting(&mut *tx).await.unwrap(), 0);
    assert_eq!(EventRepository::matching(&mut *tx, event.id).await.unwrap(), None);
}

#[tokio::test]
async fn test_delete_of_the_trigger_keeps_the_event_waiting() {
    let mut tx = transaction().await;
    let trigger = TriggerFixture::new_unique().create(&mut tx).await.unwrap();
    let event = EventFixture::new(Some(trigger.id), &trigger.r#ref).create(&mut tx).await.unwrap();
    TriggerRepository::delete(&mut *tx, trigger.id).await.unwrap();
    let taken = EventRepository::take_waiting(&mut tx, 10).await.unwrap();
    assert_eq!(taken.events.iter().map(|event| event.id).collect::<Vec<_>>(), [event.id]);
}

#[tokio::test]
async fn test_search_pages_by_descending_id() {
    let mut tx = transaction().await;
    let appended = EventRepository::append(&mut tx, &vec![new("test.a"); 5]).await.unwrap();
    let page = |before| EventFilter { before, limit: 2, ..EventFilter::default() };
    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let events = EventRepository::search(&mut *tx, &page(before)).await.unwrap();
        assert!(events.len() <= 2);
        let Some(last) = events.last() else { break };
        before = Some(last.id);
        seen.extend(events.iter().map(|event| event.id));
    }
    assert_eq!(seen, appended.iter().rev().map(|event| event.id).collect::<Vec<_>>());
}

#[tokio::test]
async fn test_search_by_trigger_ref() {
    let mut tx = transaction().await;
    let appended =
        EventRepository::append(&mut tx, &[new("test.a"), new("test.b"), new("test.a")]).await.unwrap();
    let filter = EventFilter { trigger_ref: Some("test.a".to_owned()), before: None, limit: 10 };
    let found = EventRepository::search(&mut *tx, &filter).await.unwrap();
    let found: Vec<_> = found.iter().map(|event| event.id).collect();
    assert_eq!(found, [appended[2].id, appended[0].id]);
}
