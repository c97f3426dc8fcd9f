//! What windows remember: who holds a state, and when its time has come.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod helpers;

use attune_common::models::event::Event;
use attune_common::models::rule::Rule;
use attune_common::models::window::{ContributingEvents, WindowKey, WindowOutcome, WindowState};
use attune_common::repositories::{EnforcementRepository, EventRepository, WindowRepository};
use attune_testkit::{TestDatabase, transaction};
use chrono::{TimeDelta, Utc};
use helpers::steps::decision;
use helpers::*;
use serde_json::json;
use sqlx::PgConnection;

async fn rule(connection: &mut PgConnection) -> Rule {
    let action = ActionFixture::new_unique().create(&mut *connection).await.unwrap();
    RuleFixture::new_unique().with_action(&action).create(connection).await.unwrap()
}

async fn event(connection: &mut PgConnection) -> Event {
    EventFixture::new_unique().create(connection).await.unwrap()
}

fn state(rule: &Rule, key: &str, wake: chrono::DateTime<Utc>) -> WindowState {
    WindowState {
        rule: rule.id,
        key: key.to_owned(),
        definition: "abc".to_owned(),
        state: json!({"throttle": {"fired": [1, 2]}}),
        // To what PostgreSQL keeps.
        wake: chrono::DateTime::from_timestamp_micros(wake.timestamp_micros()).unwrap(),
    }
}

async fn make(connection: &mut PgConnection, states: &[WindowState]) {
    let keys: Vec<_> =
        states.iter().map(|state| WindowKey { rule: state.rule, key: state.key.clone() }).collect();
    WindowRepository::lock(&mut *connection, &keys).await.unwrap().unwrap();
    WindowRepository::store(connection, states).await.unwrap();
}

#[tokio::test]
async fn test_lock_makes_what_is_not_there_and_keeps_what_is() {
    let mut tx = transaction().await;
    let rule = rule(&mut tx).await;
    let known = state(&rule, "b", Utc::now());
    make(&mut tx, std::slice::from_ref(&known)).await;
    let keys = ["b", "a"].map(|key| WindowKey { rule: rule.id, key: key.to_owned() });
    let locked = WindowRepository::lock(&mut tx, &keys).await.unwrap().unwrap();
    assert_eq!((locked.len(), &locked[1]), (2, &known));
    assert_eq!((locked[0].key.as_str(), &locked[0].state), ("a", &json!("empty")));
    WindowRepository::remove(&mut *tx, &keys[1..]).await.unwrap();
    assert_eq!(WindowRepository::list_by_rule(&mut *tx, rule.id).await.unwrap(), [known]);
}

#[tokio::test]
async fn test_lock_of_a_rule_that_is_gone_gives_nothing() {
    let mut tx = transaction().await;
    let rule = rule(&mut tx).await;
    let keys = [rule.id, i64::MAX].map(|rule| WindowKey { rule, key: String::new() });
    assert_eq!(WindowRepository::lock(&mut tx, &keys).await.unwrap(), None);
    assert_eq!(WindowRepository::list_by_rule(&mut *tx, rule.id).await.unwrap(), []);
}

#[tokio::test]
async fn test_take_due_passes_over_what_another_holds() {
    let database = TestDatabase::create().await;
    let mut first = attune_common::db::begin(database.pool()).await.unwrap();
    let rule = rule(&mut first).await;
    let now = Utc::now();
    let states = [
        state(&rule, "later", now + TimeDelta::hours(1)),
        state(&rule, "now", now - TimeDelta::seconds(5)),
        state(&rule, "overdue", now - TimeDelta::hours(1)),
    ];
    assert!(!WindowRepository::is_due(&mut *first).await.unwrap());
    make(&mut first, &states).await;
    first.commit().await.unwrap();
    assert!(WindowRepository::is_due(database.pool()).await.unwrap());
    let mut first = attune_common::db::begin(database.pool()).await.unwrap();
    let taken = WindowRepository::take_due(&mut first, now, 1).await.unwrap();
    assert_eq!(taken, states[2..]);
    let mut second = attune_common::db::begin(database.pool()).await.unwrap();
    assert_eq!(WindowRepository::take_due(&mut second, now, 10).await.unwrap(), states[1..2]);
    let mut third = attune_common::db::begin(database.pool()).await.unwrap();
    assert_eq!(WindowRepository::take_due(&mut third, now, 10).await.unwrap(), []);
    first.rollback().await.unwrap();
    assert_eq!(WindowRepository::take_due(&mut third, now, 10).await.unwrap(), states[2..]);
}

#[tokio::test]
async fn test_horizon_stays_before_the_oldest_event_that_waits() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let idle = WindowRepository::horizon(&mut *connection).await.unwrap();
    assert!(idle < Utc::now() && idle > Utc::now() - TimeDelta::minutes(1));
    let (first, second) = (event(&mut connection).await, event(&mut connection).await);
    let horizon = WindowRepository::horizon(&mut *connection).await.unwrap();
    assert!(horizon < first.created);
    EventRepository::mark_matched(&mut *connection, &[first.id], 1, Utc::now()).await.unwrap();
    let horizon = WindowRepository::horizon(&mut *connection).await.unwrap();
    assert!(horizon < second.created && horizon > first.created - TimeDelta::milliseconds(300));
}

#[tokio::test]
async fn test_outcomes_are_recorded_once_and_read_with_the_rule() {
    let mut tx = transaction().await;
    let (rule, event) = (rule(&mut tx).await, event(&mut tx).await);
    let outcome = |name: &str| WindowOutcome {
        event: event.id,
        rule: rule.id,
        key: "web-01".to_owned(),
        outcome: json!({"outcome": name}),
    };
    WindowRepository::record_outcomes(&mut *tx, &[outcome("held")]).await.unwrap();
    WindowRepository::record_outcomes(&mut *tx, &[outcome("late")]).await.unwrap();
    let read = WindowRepository::outcomes_of_event(&mut *tx, event.id).await.unwrap();
    assert_eq!((read.len(), &read[0].rule_ref, &read[0].outcome), (1, &rule.r#ref, &outcome("held")));
}

#[tokio::test]
async fn test_link_events_and_find_the_decision_by_each() {
    let mut tx = transaction().await;
    let rule = rule(&mut tx).await;
    let (first, last, other) = (event(&mut tx).await, event(&mut tx).await, event(&mut tx).await);
    EnforcementRepository::record_decisions(&mut tx, &[decision(&last, &rule), decision(&other, &rule)])
        .await
        .unwrap();
    let gone = i64::MAX;
    let contributing = vec![first.id, last.id, gone];
    let link = ContributingEvents { rule: rule.id, event: last.id, contributing };
    EnforcementRepository::link_events(&mut *tx, &[link]).await.unwrap();
    let found = EnforcementRepository::list_by_event(&mut *tx, first.id).await.unwrap();
    assert_eq!(found.iter().map(|row| row.event).collect::<Vec<_>>(), [Some(last.id)]);
    assert_eq!(EnforcementRepository::list_by_event(&mut *tx, last.id).await.unwrap(), found);
    let alone = EnforcementRepository::list_by_event(&mut *tx, other.id).await.unwrap();
    let ids = [found[0].id, alone[0].id];
    let mut expected = vec![(ids[0], first.id), (ids[0], last.id), (ids[1], other.id)];
    expected.sort_unstable();
    assert_eq!(EnforcementRepository::contributing_events(&mut *tx, &ids).await.unwrap(), expected);
}
