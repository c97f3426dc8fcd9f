//! The audit repository: `attune.audit_event`, which only grows.

mod helpers;

use attune_common::error::StoreError;
use attune_common::models::audit::{AuditEvent, AuditFilter, NewAuditEvent};
use attune_common::repositories::{AuditRepository, IdentityRepository};
use attune_testkit::{TestDatabase, transaction};
use chrono::{DateTime, TimeDelta, Utc};
use helpers::checks::*;
use helpers::*;
use serde_json::json;
use sqlx::{Executor, PgConnection};

fn entry(activity: &str, entity_type: &str, entity_ref: &str) -> NewAuditEvent {
    NewAuditEvent {
        identity: None,
        login: None,
        activity: activity.to_owned(),
        entity_type: entity_type.to_owned(),
        entity_ref: entity_ref.to_owned(),
        detail: json!({}),
    }
}

fn any() -> AuditFilter {
    AuditFilter { limit: 10, ..AuditFilter::default() }
}

/// Appends entries of the same kind about things `1`, `2` and so on.
async fn append(connection: &mut PgConnection, count: usize) -> Vec<AuditEvent> {
    let new: Vec<_> = (1..=count).map(|number| entry("update", "rule", &number.to_string())).collect();
    AuditRepository::append(connection, &new).await.expect("entries can be appended")
}

/// Appends an entry that was made at this time.
async fn at(connection: &mut PgConnection, time: DateTime<Utc>) -> AuditEvent {
    sqlx::query_as(
        "insert into attune.audit_event (activity, entity_type, entity_ref, created)
         values ('update', 'rule', 'ops.x', $1)
         returning *",
    )
    .bind(time)
    .fetch_one(connection)
    .await
    .expect("an entry can be made")
}

/// The statement is refused, as one that changes what only grows.
async fn check_refused(connection: &mut PgConnection, statement: &'static str) {
    let error = connection.execute(statement).await.expect_err(statement);
    let database = error.as_database_error().expect("the database refuses it");
    assert_eq!(database.code().as_deref(), Some("23001"), "{error}");
    assert!(database.message().contains("append-only"), "{error}");
}

#[test]
fn test_table_name_has_the_schema() {
    assert_eq!(AuditRepository::table_name(), "attune.audit_event");
}

#[tokio::test]
async fn test_create_minimal() {
    let mut tx = transaction().await;
    let event = AuditRepository::create(&mut *tx, &entry("start", "server", "one")).await.unwrap();
    let expected = AuditEvent {
        id: event.id,
        identity: None,
        login: None,
        activity: "start".to_owned(),
        entity_type: "server".to_owned(),
        entity_ref: "one".to_owned(),
        detail: json!({}),
        created: event.created,
    };
    assert_eq!(event, expected);
    assert_eq!(AuditRepository::get_by_id(&mut *tx, event.id).await.unwrap(), event);
}

#[tokio::test]
async fn test_create_with_everything() {
    let mut tx = transaction().await;
    let identity = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    let new = NewAuditEvent {
        identity: Some(identity.id),
        login: Some(identity.login.clone()),
        detail: json!({"enabled": [true, false]}),
        ..entry("update", "rule", "ops.page")
    };
    let event = AuditRepository::create(&mut *tx, &new).await.unwrap();
    assert_eq!((event.identity, event.login), (Some(identity.id), Some(identity.login)));
    assert_eq!(event.detail, new.detail);
}

#[tokio::test]
async fn test_create_invalid_values() {
    for (new, constraint) in [
        (entry("", "rule", "ops.x"), "audit_event_activity_not_empty"),
        (entry("update", "", "ops.x"), "audit_event_entity_type_not_empty"),
    ] {
        let mut tx = transaction().await;
        assert_invalid_value(AuditRepository::create(&mut *tx, &new).await, "audit_event", constraint);
    }
}

#[tokio::test]
async fn test_append_nothing() {
    let mut tx = transaction().await;
    assert_eq!(AuditRepository::append(&mut *tx, &[]).await.unwrap(), []);
    assert_eq!(AuditRepository::list(&mut *tx).await.unwrap(), []);
}

#[tokio::test]
async fn test_append_keeps_the_order() {
    let mut tx = transaction().await;
    let events = append(&mut tx, 20).await;
    let refs: Vec<_> = events.iter().map(|event| event.entity_ref.clone()).collect();
    let expected: Vec<_> = (1..=20).map(|number| number.to_string()).collect();
    assert_eq!(refs, expected);
    assert!(events.is_sorted_by_key(|event| event.id));
}

#[tokio::test]
async fn test_append_all_or_none() {
    let database = TestDatabase::create().await;
    let new = [entry("update", "rule", "ops.x"), entry("", "rule", "ops.y")];
    let appended = AuditRepository::append(database.pool(), &new).await;
    assert_invalid_value(appended, "audit_event", "audit_event_activity_not_empty");
    assert_eq!(AuditRepository::list(database.pool()).await.unwrap(), []);
}

#[tokio::test]
async fn test_entries_outlive_their_identity() {
    let mut tx = transaction().await;
    let identity = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    let new = NewAuditEvent { identity: Some(identity.id), ..entry("login", "identity", &identity.login) };
    let event = AuditRepository::create(&mut *tx, &new).await.unwrap();
    assert!(IdentityRepository::delete(&mut *tx, identity.id).await.unwrap());
    assert_eq!(AuditRepository::get_by_id(&mut *tx, event.id).await.unwrap(), event);
}

#[tokio::test]
async fn test_find_and_get_not_found() {
    let mut tx = transaction().await;
    assert_eq!(AuditRepository::find_by_id(&mut *tx, NO_SUCH_ID).await.unwrap(), None);
    assert_not_found(AuditRepository::get_by_id(&mut *tx, NO_SUCH_ID).await, "audit event", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_list_the_newest_first() {
    let mut tx = transaction().await;
    let mut events = append(&mut tx, 3).await;
    events.reverse();
    assert_eq!(AuditRepository::list(&mut *tx).await.unwrap(), events);
}

#[tokio::test]
async fn test_search_by_every_filter() {
    let mut tx = transaction().await;
    let identity = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    let new = [
        NewAuditEvent { identity: Some(identity.id), ..entry("update", "rule", "ops.x") },
        entry("delete", "rule", "ops.x"),
        entry("update", "key", "ops.x"),
        entry("update", "rule", "ops.y"),
    ];
    let events = AuditRepository::append(&mut *tx, &new).await.unwrap();
    let some = |text: &str| Some(text.to_owned());
    for (filter, expect) in [
        (any(), &[3, 2, 1, 0][..]),
        (AuditFilter { identity: Some(identity.id), ..any() }, &[0]),
        (AuditFilter { activity: some("delete"), ..any() }, &[1]),
        (AuditFilter { entity_type: some("key"), ..any() }, &[2]),
        (AuditFilter { entity_type: some("rule"), entity_ref: some("ops.x"), ..any() }, &[1, 0]),
        (AuditFilter { entity_ref: some("ops.y"), ..any() }, &[3]),
        (AuditFilter { activity: some("update"), entity_type: some("rule"), ..any() }, &[3, 0]),
        (AuditFilter { identity: Some(identity.id), activity: some("delete"), ..any() }, &[]),
    ] {
        let expected: Vec<_> = expect.iter().map(|&place: &usize| events[place].clone()).collect();
        assert_eq!(AuditRepository::search(&mut *tx, &filter).await.unwrap(), expected, "{filter:?}");
    }
}

#[tokio::test]
async fn test_search_by_time() {
    let mut tx = transaction().await;
    let noon = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    let hour = TimeDelta::hours(1);
    let (first, second, third) =
        (at(&mut tx, noon - hour).await, at(&mut tx, noon).await, at(&mut tx, noon + hour).await);
    for (from, until, expect) in [
        (Some(noon), None, vec![third.clone(), second.clone()]),
        (None, Some(noon), vec![first.clone()]),
        (Some(noon), Some(noon + hour), vec![second.clone()]),
        (Some(noon), Some(noon), vec![]),
    ] {
        let filter = AuditFilter { from, until, ..any() };
        assert_eq!(AuditRepository::search(&mut *tx, &filter).await.unwrap(), expect, "{filter:?}");
    }
}

#[tokio::test]
async fn test_search_pages() {
    let mut tx = transaction().await;
    let mut events = append(&mut tx, 5).await;
    events.reverse();
    let mut filter = AuditFilter { limit: 2, ..any() };
    let mut read = Vec::new();
    loop {
        let page = AuditRepository::search(&mut *tx, &filter).await.unwrap();
        assert!(page.len() <= 2);
        let Some(last) = page.last() else { break };
        filter.before = Some(last.id);
        read.extend(page);
    }
    assert_eq!(read, events);
}

#[tokio::test]
async fn test_changes_are_refused() {
    for statement in [
        "update attune.audit_event set activity = 'other'",
        "update attune.audit_event set identity = null",
        "delete from attune.audit_event",
        "delete from attune.audit_event where id = -1",
        "truncate attune.audit_event",
    ] {
        let mut tx = transaction().await;
        append(&mut tx, 1).await;
        check_refused(&mut tx, statement).await;
    }
}

#[tokio::test]
async fn test_changes_are_refused_as_a_fault_of_the_program() {
    let mut tx = transaction().await;
    let refused = tx.execute("delete from attune.audit_event").await.map_err(StoreError::from);
    assert!(matches!(refused, Err(StoreError::Database(_))), "{refused:?}");
}

#[tokio::test]
async fn test_expire_what_is_older() {
    let mut tx = transaction().await;
    let now = Utc::now();
    let old = at(&mut tx, now - TimeDelta::days(100)).await;
    let bound = now - TimeDelta::days(90);
    let exact = at(&mut tx, DateTime::from_timestamp(bound.timestamp(), 0).unwrap()).await;
    let young = at(&mut tx, now - TimeDelta::days(80)).await;
    let removed = AuditRepository::expire(&mut *tx, exact.created, 100).await.unwrap();
    assert_eq!(removed, 1);
    assert_eq!(AuditRepository::list(&mut *tx).await.unwrap(), [young, exact], "{old:?} is gone");
    assert_eq!(AuditRepository::expire(&mut *tx, bound - TimeDelta::days(1), 100).await.unwrap(), 0);
}

#[tokio::test]
async fn test_expire_the_oldest_first_in_portions() {
    let mut tx = transaction().await;
    let now = Utc::now();
    let younger = at(&mut tx, now - TimeDelta::days(10)).await;
    at(&mut tx, now - TimeDelta::days(30)).await;
    at(&mut tx, now - TimeDelta::days(20)).await;
    assert_eq!(AuditRepository::expire(&mut *tx, now, 2).await.unwrap(), 2);
    assert_eq!(AuditRepository::list(&mut *tx).await.unwrap(), [younger]);
    assert_eq!(AuditRepository::expire(&mut *tx, now, 2).await.unwrap(), 1);
    assert_eq!(AuditRepository::expire(&mut *tx, now, 2).await.unwrap(), 0);
}

#[tokio::test]
async fn test_changes_are_refused_after_an_expiry_in_the_same_transaction() {
    let mut tx = transaction().await;
    append(&mut tx, 1).await;
    let old = Utc::now() - TimeDelta::days(1);
    assert_eq!(AuditRepository::expire(&mut *tx, old, 10).await.unwrap(), 0);
    check_refused(&mut tx, "delete from attune.audit_event").await;
}

#[tokio::test]
async fn test_expiry_opens_nothing_but_removal() {
    let mut tx = transaction().await;
    append(&mut tx, 1).await;
    tx.execute("set local attune.audit_retention = 'on'").await.unwrap();
    check_refused(&mut tx, "update attune.audit_event set activity = 'other'").await;
}
