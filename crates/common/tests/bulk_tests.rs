//! Connections that leave foreign keys to their statements: references hold there as on any other connection.

mod helpers;

use attune_common::db;
use attune_common::error::{Result, StoreError};
use attune_common::models::enforcement::{Decision, DecisionOutcome};
use attune_common::models::event::NewEvent;
use attune_common::models::window::{ContributingEvents, WindowOutcome};
use attune_common::repositories::{
    EnforcementRepository, EventRepository, RuleRepository, TriggerRepository, WindowRepository,
};
use attune_testkit::TestDatabase;
use helpers::checks::*;
use helpers::steps::*;
use helpers::*;
use serde_json::json;
use sqlx::{AssertSqlSafe, PgPool};

/// What the statements of these connections write, and how.
const WRITTEN: &[(&str, &str)] = &[
    ("admission", "insert"),
    ("change", "insert"),
    ("enforcement", "insert"),
    ("enforcement_event", "insert"),
    ("event", "insert"),
    ("event_batch", "insert"),
    ("event_batch", "update"),
    ("execution", "insert"),
    ("window_outcome", "insert"),
    ("window_state", "delete"),
    ("window_state", "insert"),
    ("window_state", "update"),
    ("worker_assigned", "update"),
];

/// Both sorts of connection to one database.
struct Both {
    database: TestDatabase,
    bulk: PgPool,
}

impl Both {
    async fn create() -> Self {
        let database = TestDatabase::create().await;
        let bulk = db::bulk(database.pool(), 2);
        assert_eq!(leaves_keys(database.pool()).await, Ok(false));
        assert_eq!(leaves_keys(&bulk).await, Ok(true));
        Self { database, bulk }
    }

    fn pools(&self) -> [&PgPool; 2] {
        [self.database.pool(), &self.bulk]
    }

    async fn count(&self, table: &str) -> i64 {
        let query = AssertSqlSafe(format!("select count(*) from attune.{table}"));
        sqlx::query_scalar(query).fetch_one(self.database.pool()).await.expect("a count")
    }

    /// Whether this has to wait for a transaction that is open.
    async fn waits(&self, statement: &str) -> bool {
        let mut connection = self.database.pool().acquire().await.expect("a connection");
        sqlx::raw_sql("set lock_timeout = '100ms'").execute(&mut *connection).await.expect("a setting");
        let ran = sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *connection).await;
        sqlx::raw_sql("reset lock_timeout").execute(&mut *connection).await.expect("a setting");
        match ran {
            Ok(_) => false,
            Err(error) => {
                let code =
                    error.as_database_error().and_then(|error| error.code().map(|code| code.into_owned()));
                assert_eq!(code.as_deref(), Some("55P03"), "{error}");
                true
            }
        }
    }
}

async fn leaves_keys(pool: &PgPool) -> std::result::Result<bool, String> {
    sqlx::query_scalar("select attune.leaves_keys_to_statements()")
        .fetch_one(pool)
        .await
        .map_err(|error| error.to_string())
}

fn new(trigger_ref: &str) -> NewEvent {
    NewEvent { trigger_ref: trigger_ref.to_owned(), ..NewEvent::default() }
}

async fn append(pool: &PgPool, event: NewEvent) -> Result<i64> {
    let mut connection = pool.acquire().await.expect("it works");
    // Beside one that refers to nothing, so that what is null is not taken for missing.
    let appended = EventRepository::append(&mut connection, &[new("test.alone"), event]).await?;
    Ok(appended[1].id)
}

#[tokio::test]
async fn test_events_that_refer_to_nothing_that_exists_are_refused_on_both() {
    let both = Both::create().await;
    let missing = Some(NO_SUCH_ID);
    for pool in both.pools() {
        let trigger = TriggerFixture::new_unique().create(&mut pool.acquire().await.unwrap()).await.unwrap();
        for key in [None, Some("delivery".to_owned())] {
            let event = NewEvent { dedup_key: key, ..new("test.missing") };
            // The trigger is there, by another name.
            let refused = append(pool, NewEvent { trigger: Some(trigger.id), ..event.clone() }).await;
            assert_invalid_reference_to(refused, "event", "trigger", trigger.id);
            let refused = append(pool, NewEvent { trigger: missing, ..event.clone() }).await;
            assert_invalid_reference(refused, "event", "trigger");
            let refused = append(pool, NewEvent { source: missing, ..event.clone() }).await;
            assert_invalid_reference(refused, "event", "source");
            let refused = append(pool, NewEvent { replay_of: missing, ..event }).await;
            assert_invalid_reference(refused, "event", "replay_of");
        }
    }
    assert_eq!((both.count("event").await, both.count("event_batch").await), (0, 0));
}

#[tokio::test]
async fn test_events_with_all_references_are_recorded_on_both() {
    let both = Both::create().await;
    let mut connection = both.database.pool().acquire().await.unwrap();
    let trigger = TriggerFixture::new_unique().create(&mut connection).await.unwrap();
    let pack = PackFixture::new_unique().create(&mut connection).await.unwrap();
    let sensor = SensorFixture::new(&pack, "watcher").create(&mut connection).await.unwrap();
    let first = append(&both.bulk, new("test.first")).await.unwrap();
    for pool in both.pools() {
        let event = NewEvent {
            trigger: Some(trigger.id),
            source: Some(sensor.id),
            replay_of: Some(first),
            ..new(&trigger.r#ref)
        };
        let id = append(pool, event).await.unwrap();
        let event = EventRepository::get_by_id(pool, id).await.unwrap();
        assert_eq!(
            (event.trigger, event.source, event.replay_of),
            (Some(trigger.id), Some(sensor.id), Some(first))
        );
    }
}

#[tokio::test]
async fn test_what_events_refer_to_is_not_removed_before_they_are_recorded() {
    let both = Both::create().await;
    for pool in both.pools() {
        let trigger = TriggerFixture::new_unique().create(&mut pool.acquire().await.unwrap()).await.unwrap();
        let mut open = db::begin(pool).await.unwrap();
        let event = NewEvent { trigger: Some(trigger.id), ..new(&trigger.r#ref) };
        let appended = EventRepository::append(&mut open, &[event]).await.unwrap();
        assert!(both.waits(&format!("delete from attune.trigger where id = {}", trigger.id)).await);
        open.commit().await.unwrap();
        TriggerRepository::delete(both.database.pool(), trigger.id).await.unwrap();
        let event = EventRepository::get_by_id(both.database.pool(), appended[0].id).await.unwrap();
        assert_eq!((event.trigger, event.trigger_ref), (None, trigger.r#ref));
    }
}

#[tokio::test]
async fn test_a_trigger_that_is_being_removed_is_waited_for_and_is_missing_then() {
    let both = Both::create().await;
    for pool in both.pools() {
        let trigger = TriggerFixture::new_unique().create(&mut pool.acquire().await.unwrap()).await.unwrap();
        let mut removal = db::begin(both.database.pool()).await.unwrap();
        TriggerRepository::delete(&mut *removal, trigger.id).await.unwrap();
        let event = NewEvent { trigger: Some(trigger.id), ..new(&trigger.r#ref) };
        let appending = tokio::spawn({
            let pool = pool.clone();
            async move { append(&pool, event).await }
        });
        until_blocked(both.database.pool(), 1).await;
        removal.commit().await.unwrap();
        match appending.await.unwrap() {
            Err(StoreError::InvalidReference { constraint, value, .. }) => {
                assert_eq!((&*constraint, value), ("event_trigger_fkey", Some(trigger.id.to_string())));
            }
            other => panic!("expected InvalidReference, got {other:?}"),
        }
    }
}

/// A rule with an action, and a decision about a new event.
async fn a_decision(pool: &PgPool) -> Decision {
    let mut connection = pool.acquire().await.expect("it works");
    let action = ActionFixture::new_unique().create(&mut connection).await.expect("it works");
    let rule =
        RuleFixture::new_unique().with_action(&action).create(&mut connection).await.expect("it works");
    let event = EventFixture::new_unique().create(&mut connection).await.expect("it works");
    decision(&event, &rule)
}

async fn record(pool: &PgPool, decisions: &[Decision]) -> Result<i64> {
    let mut transaction = db::begin(pool).await.expect("it works");
    let recorded = EnforcementRepository::record_new(&mut transaction, decisions).await?;
    transaction.commit().await.expect("it works");
    Ok(recorded.executions)
}

#[tokio::test]
async fn test_decisions_that_refer_to_nothing_that_exists_are_refused_on_both() {
    let both = Both::create().await;
    let good = a_decision(both.database.pool()).await;
    let with = |change: fn(&mut Decision)| {
        let mut bad = good.clone();
        change(&mut bad);
        [good.clone(), bad]
    };
    let failing = || DecisionOutcome::Fail { error: "no host".to_owned() };
    for pool in both.pools() {
        let refused = record(pool, &with(|decision| decision.rule = NO_SUCH_ID)).await;
        assert_invalid_reference(refused, "enforcement", "rule");
        let renamed =
            Decision { rule_ref: "test.another".to_owned(), ..a_decision(both.database.pool()).await };
        let refused = record(pool, &[good.clone(), renamed.clone()]).await;
        assert_invalid_reference_to(refused, "enforcement", "rule", renamed.rule);
        let refused = record(pool, &with(|decision| decision.event = NO_SUCH_ID)).await;
        assert_invalid_reference(refused, "enforcement", "event");
        let mut failed = with(|decision| decision.event = NO_SUCH_ID);
        failed[1].outcome = failing();
        assert_invalid_reference(record(pool, &failed).await, "enforcement", "event");
        let mut other = [a_decision(both.database.pool()).await];
        other[0].outcome =
            DecisionOutcome::Execute { action: NO_SUCH_ID, action_ref: "test.none".to_owned() };
        assert_invalid_reference(record(pool, &other).await, "execution", "action");
    }
    assert_eq!((both.count("enforcement").await, both.count("execution").await), (0, 0));
}

#[tokio::test]
async fn test_what_decisions_refer_to_is_not_removed_before_they_are_recorded() {
    let both = Both::create().await;
    for pool in both.pools() {
        let decision = a_decision(pool).await;
        let mut open = db::begin(pool).await.unwrap();
        EnforcementRepository::record_new(&mut open, std::slice::from_ref(&decision)).await.unwrap();
        let (rule, event) = (decision.rule, decision.event);
        assert!(both.waits(&format!("delete from attune.rule where id = {rule}")).await);
        assert!(both.waits(&format!("delete from attune.event where id = {event}")).await);
        // Whoever changes them otherwise does not wait.
        assert!(!both.waits(&format!("update attune.rule set label = 'another' where id = {rule}")).await);
        open.commit().await.unwrap();
        let made = EnforcementRepository::list_by_event(both.database.pool(), event).await.unwrap();
        let mut connection = both.database.pool().acquire().await.unwrap();
        RuleRepository::delete(&mut connection, rule).await.unwrap();
        EventRepository::delete(both.database.pool(), event).await.unwrap();
        let kept = EnforcementRepository::get_by_id(both.database.pool(), made[0].id).await.unwrap();
        assert_eq!((kept.rule, kept.event, kept.rule_ref), (None, None, decision.rule_ref));
    }
}

#[tokio::test]
async fn test_what_windows_say_of_events_that_are_gone_is_left_out_on_both() {
    let both = Both::create().await;
    for pool in both.pools() {
        let decision = a_decision(pool).await;
        let other = append(pool, new("test.other")).await.unwrap();
        record(pool, std::slice::from_ref(&decision)).await.unwrap();
        let outcome = |event| WindowOutcome {
            event,
            rule: decision.rule,
            key: String::new(),
            outcome: json!({"held": "back"}),
        };
        let links = ContributingEvents {
            rule: decision.rule,
            event: decision.event,
            contributing: vec![other, NO_SUCH_ID],
        };
        let mut open = db::begin(pool).await.unwrap();
        WindowRepository::record_outcomes(&mut *open, &[outcome(other), outcome(NO_SUCH_ID)]).await.unwrap();
        EnforcementRepository::link_events(&mut *open, &[links]).await.unwrap();
        assert!(both.waits(&format!("delete from attune.event where id = {other}")).await);
        open.commit().await.unwrap();
        assert_eq!(WindowRepository::outcomes_of_event(pool, other).await.unwrap().len(), 1);
        EventRepository::delete(both.database.pool(), other).await.unwrap();
    }
    assert_eq!((both.count("window_outcome").await, both.count("enforcement_event").await), (0, 0));
}

#[tokio::test]
async fn test_a_role_that_may_not_leave_keys_to_statements_has_them_checked() {
    let database = TestDatabase::create().await;
    // Roles are the server's: one for this test.
    let role = format!("attune_plain_{}", std::process::id());
    let statement = format!(
        "create role {role} login; grant usage on schema attune to {role};
         grant select, insert, update, delete on all tables in schema attune to {role};
         grant usage on all sequences in schema attune to {role};"
    );
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(database.pool()).await.unwrap();
    let options = db::connect_options(database.url(), "attune-test").unwrap().username(&role);
    let plain = sqlx::postgres::PgPoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
    let bulk = db::bulk(&plain, 1);
    assert_eq!(leaves_keys(&bulk).await, Ok(false));
    let refused = append(&bulk, NewEvent { trigger: Some(NO_SUCH_ID), ..new("test.missing") }).await;
    assert_invalid_reference(refused, "event", "trigger");
    append(&bulk, new("test.plain")).await.unwrap();
    plain.close().await;
    bulk.close().await;
    let statement = format!("drop owned by {role}; drop role {role};");
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(database.pool()).await.unwrap();
}

#[tokio::test]
async fn test_no_trigger_is_about_what_these_connections_write() {
    let database = TestDatabase::create().await;
    let triggers: Vec<(String, String)> = sqlx::query_as(
        "select event_object_table::text, lower(event_manipulation)
         from information_schema.triggers
         where trigger_schema = 'attune'",
    )
    .fetch_all(database.pool())
    .await
    .unwrap();
    assert!(triggers.iter().any(|(table, event)| (&**table, &**event) == ("event", "update")));
    let about: Vec<_> =
        triggers.iter().filter(|(table, event)| WRITTEN.contains(&(&**table, &**event))).collect();
    assert_eq!(about, Vec::<&(String, String)>::new());
}
