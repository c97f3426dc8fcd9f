//! Passes that fail again and again: what is given up at last, and what is not.

use std::time::Duration;

use attune_common::bus::Bus;
use attune_common::models::action::NewAction;
use attune_common::models::enforcement::Enforcement;
use attune_common::models::event::NewEvent;
use attune_common::models::pack::NewPack;
use attune_common::models::rule::NewRule;
use attune_common::models::runtime::NewRuntime;
use attune_common::pass::Found;
use attune_common::repositories::{
    ActionRepository, EnforcementRepository, EventRepository, ExecutionRepository, PackRepository,
    RuleRepository, RuntimeRepository, WorkerRepository,
};
use attune_executor::matching::Matcher;
use attune_testkit::TestDatabase;
use serde_json::json;
use sqlx::{AssertSqlSafe, PgPool};
use tokio::time::Instant;

use crate::helpers::*;
use crate::matching::create_trigger;

/// After so many failures, what fails is given up by the next pass.
const GIVING_UP: usize = 8;

/// A database with a rule that has a window for each host. The state of the host `odd` cannot be written, with this SQLSTATE.
async fn world(code: &str) -> TestDatabase {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    create_trigger(pool).await;
    let native = NewRuntime { r#ref: "test.native".to_owned(), native: true, ..NewRuntime::default() };
    let mut connection = pool.acquire().await.unwrap();
    let pack = NewPack {
        r#ref: "test".to_owned(),
        label: "Test".to_owned(),
        version: "1.0.0".to_owned(),
        ..NewPack::default()
    };
    let pack = PackRepository::create(&mut *connection, &pack).await.unwrap();
    RuntimeRepository::put(&mut *connection, pack.id, &native).await.unwrap();
    let action = NewAction::of("test.a", "test.native", "test.a");
    ActionRepository::create(pool, None, &action).await.unwrap();
    let new = NewRule {
        window: Some(json!({"throttle": "15m", "key": "{{ event.payload.host }}"})),
        ..NewRule::of("test.r".to_owned(), "test.seen", "test.a")
    };
    RuleRepository::create(&mut connection, None, &new).await.unwrap();
    let refusing = format!(
        "create function attune.refuse() returns trigger language plpgsql as $$
         begin raise exception 'this is too much' using errcode = '{code}'; end $$;
         create trigger refused before update on attune.window_state
             for each row when (new.key = 'odd') execute function attune.refuse();
         alter table attune.window_state enable always trigger refused;"
    );
    sqlx::raw_sql(AssertSqlSafe(refusing)).execute(&mut *connection).await.unwrap();
    drop(connection);
    database
}

/// Records one batch with an event of each host.
async fn see(pool: &PgPool, hosts: &[&str]) -> Vec<i64> {
    let seen = |host: &&str| NewEvent {
        trigger_ref: "test.seen".to_owned(),
        payload: Some(json!({ "host": host })),
        ..NewEvent::default()
    };
    let events: Vec<NewEvent> = hosts.iter().map(seen).collect();
    let mut connection = pool.acquire().await.unwrap();
    let appended = EventRepository::append(&mut connection, &events).await.unwrap();
    appended.into_iter().map(|appended| appended.id).collect()
}

async fn decided(pool: &PgPool, event: i64) -> Option<Enforcement> {
    EnforcementRepository::list_by_event(pool, event).await.unwrap().pop()
}

/// Runs passes until one fails. One may find nothing while the one before is still being rolled back.
async fn fail_once(matcher: &mut Matcher) {
    let until = Instant::now() + PATIENCE;
    loop {
        match matcher.pass().await {
            Err(error) => {
                assert!(!error.is_unavailable(), "{error}");
                return;
            }
            Ok(_) => tokio::task::yield_now().await,
        }
        assert!(Instant::now() < until, "no pass fails");
    }
}

/// Runs passes that do not fail until no event waits.
async fn finish(pool: &PgPool, matcher: &mut Matcher) {
    let until = Instant::now() + PATIENCE;
    while EventRepository::count_waiting(pool).await.unwrap() > 0 {
        if matcher.pass().await.unwrap() == Found::Nothing {
            tokio::task::yield_now().await;
        }
        assert!(Instant::now() < until, "nothing is judged any more");
    }
}

#[tokio::test]
async fn test_what_the_schema_is_the_reason_of_gives_no_event_up() {
    // A column that is not there, as in the middle of a migration, or for a program of another version; and a remembered
    // statement whose result is another one now.
    for code in ["42703", "0A000"] {
        let database = world(code).await;
        let pool = database.pool();
        let odd = see(pool, &["odd"]).await;
        let mut matcher = Matcher::new(pool.clone(), Bus::new());
        for _ in 0..3 * GIVING_UP {
            fail_once(&mut matcher).await;
        }
        assert_eq!(EventRepository::count_waiting(pool).await.unwrap(), 1, "it waits as long as that lasts");
        sqlx::raw_sql("drop trigger refused on attune.window_state").execute(pool).await.unwrap();
        finish(pool, &mut matcher).await;
        assert_eq!(decided(pool, odd[0]).await.unwrap().error, None);
    }
}

#[tokio::test]
async fn test_failures_count_until_what_failed_is_handled() {
    let database = world("P0001").await;
    let pool = database.pool();
    let odd = see(pool, &["odd"]).await;
    let mut matcher = Matcher::new(pool.clone(), Bus::new());
    let mut others = Vec::new();
    for failures in 1..=GIVING_UP {
        fail_once(&mut matcher).await;
        assert!(decided(pool, odd[0]).await.is_none(), "after {failures} failures");
        // What failed cannot be had for a while: there is nothing to do, and then something else, which goes well.
        let mut held = attune_common::db::begin(pool).await.unwrap();
        sqlx::query("select from attune.event_batch where first_event = $1 for update")
            .bind(odd[0])
            .execute(&mut *held)
            .await
            .unwrap();
        assert_eq!(matcher.pass().await.unwrap(), Found::Nothing);
        let other = see(pool, &[&format!("web-{failures}")]).await[0];
        matcher.pass().await.unwrap();
        assert_eq!(decided(pool, other).await.unwrap().error, None);
        others.push(other);
        held.rollback().await.unwrap();
    }
    finish(pool, &mut matcher).await;
    let error = decided(pool, odd[0]).await.unwrap().error.unwrap();
    assert!(error.starts_with("the event could not be handled, and was given up: "), "{error}");
    assert!(error.contains("this is too much"), "{error}");
    assert_eq!(ExecutionRepository::list(pool).await.unwrap().len(), others.len());
}

/// Workers keep their leases while events are given up one by one, however long that takes.
#[tokio::test]
async fn test_giving_up_holds_no_worker_while_it_goes_through_the_events() {
    const SIGNAL: i64 = 4711;
    let database = world("P0001").await;
    let pool = database.pool();
    let worker = worker(pool, "w").await;
    let mut connection = pool.acquire().await.unwrap();
    WorkerRepository::open_offer(&mut connection, worker.id, &worker.instance, 10).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!(
        "create function attune.linger() returns trigger language plpgsql as $$
         begin perform pg_advisory_xact_lock_shared({SIGNAL}); return new; end $$;
         create trigger slow before update on attune.window_state
             for each row when (new.key = 'slow') execute function attune.linger();
         alter table attune.window_state enable always trigger slow;"
    )))
    .execute(&mut *connection)
    .await
    .unwrap();
    let events = see(pool, &["web-1", "slow", "odd"]).await;
    let mut matcher = Matcher::new(pool.clone(), Bus::new());
    for _ in 0..GIVING_UP {
        fail_once(&mut matcher).await;
    }
    sqlx::query("select pg_advisory_lock($1)").bind(SIGNAL).execute(&mut *connection).await.unwrap();
    let passes = {
        let pool = pool.clone();
        tokio::spawn(async move { finish(&pool, &mut matcher).await })
    };
    // The first event is through, and the second one is under way.
    let until = Instant::now() + PATIENCE;
    let lingers = "select exists (select from pg_locks where locktype = 'advisory' and not granted
                                  and database = (select oid from pg_database where datname = current_database()))";
    while !sqlx::query_scalar::<_, bool>(lingers).fetch_one(pool).await.unwrap() {
        assert!(Instant::now() < until, "nobody waits");
        tokio::task::yield_now().await;
    }
    let mut renewal = attune_common::db::begin(pool).await.unwrap();
    sqlx::raw_sql("set local lock_timeout = '1s'").execute(&mut *renewal).await.unwrap();
    let lease = Duration::from_secs(10);
    let renewed = WorkerRepository::renew(&mut *renewal, worker.id, &worker.instance, lease).await;
    assert!(renewed.expect("nobody holds the worker"));
    renewal.commit().await.unwrap();
    sqlx::query("select pg_advisory_unlock($1)").bind(SIGNAL).execute(&mut *connection).await.unwrap();
    // In that same pass: none has failed.
    passes.await.unwrap();

    let errors = [
        decided(pool, events[0]).await.unwrap().error,
        decided(pool, events[1]).await.unwrap().error,
        decided(pool, events[2]).await.unwrap().error,
    ];
    assert!(matches!(&errors, [None, None, Some(error)] if error.contains("given up")), "{errors:?}");
    let executions = ExecutionRepository::list(pool).await.unwrap();
    let workers: Vec<_> = executions.iter().map(|execution| execution.worker).collect();
    assert_eq!(workers, [Some(worker.id), Some(worker.id)], "they are given away at last");
}
