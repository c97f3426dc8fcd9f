//! What is old goes, and nothing else.

use attune_common::bus::Bus;
use attune_common::db;
use attune_common::models::audit::NewAuditEvent;
use attune_common::models::enforcement::NewEnforcement;
use attune_common::models::event::NewEvent;
use attune_common::models::execution::{ExecutionStatus, NewExecution, OutputChunk, OutputStream};
use attune_common::pass::Found;
use attune_common::repositories::{
    AuditRepository, EnforcementRepository, EventRepository, ExecutionOutputRepository, ExecutionRepository,
    SizeRepository,
};
use attune_executor::internal::Emitter;
use attune_executor::{Retention, matching, retention};
use attune_testkit::TestDatabase;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::helpers::*;

/// So many days from now, when what is made now is so old.
fn after(days: i64) -> DateTime<Utc> {
    Utc::now() + TimeDelta::days(days)
}

async fn expire(pool: &PgPool, retention: &Retention, now: DateTime<Utc>) {
    while retention::remove(pool.clone(), retention.clone(), now).await.unwrap() == Found::More {}
}

async fn count(pool: &PgPool, table: &'static str) -> i64 {
    let query = format!("select count(*) from attune.{table}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_one(pool).await.unwrap()
}

/// An event with an enforcement and an execution of it.
async fn story(pool: &PgPool) -> [i64; 3] {
    let mut connection = pool.acquire().await.unwrap();
    let event = NewEvent { trigger_ref: "test.trigger".to_owned(), ..NewEvent::default() };
    let event = EventRepository::append(&mut connection, &[event]).await.unwrap()[0].id;
    let enforcement = NewEnforcement {
        rule_ref: "test.rule".to_owned(),
        trigger_ref: "test.trigger".to_owned(),
        event: Some(event),
        ..NewEnforcement::default()
    };
    let enforcement = EnforcementRepository::create(&mut *connection, enforcement).await.unwrap().id;
    let execution =
        NewExecution { enforcement: Some(enforcement), ..NewExecution::of(None, "test.action", json!({})) };
    let execution = ExecutionRepository::create(&mut connection, execution).await.unwrap().id;
    [event, enforcement, execution]
}

#[tokio::test]
async fn test_everything_has_a_bound_and_what_has_not_ended_stays_with_its_story() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let worker = worker(pool, "one").await;
    let ended = story(pool).await;
    let claimed = claim(pool, &worker, 10).await;
    ExecutionOutputRepository::append(
        pool,
        &[OutputChunk {
            execution: ended[2],
            attempt: 1,
            seq: 0,
            stream: OutputStream::Stdout,
            content: b"hello".to_vec(),
        }],
    )
    .await
    .unwrap();
    complete(pool, &worker, &claimed, ExecutionStatus::Completed).await;
    let waiting = story(pool).await;
    let running = story(pool).await;
    let mut matcher = matching::Matcher::new(pool.clone(), Bus::new());
    matcher.pass().await.unwrap();
    // One that nobody has judged yet.
    let unmatched = NewEvent { trigger_ref: "test.trigger".to_owned(), ..NewEvent::default() };
    let unmatched =
        EventRepository::append(&mut pool.acquire().await.unwrap(), &[unmatched]).await.unwrap()[0].id;
    assert_eq!(claim(pool, &worker, 1).await.len(), 1);

    let entry = NewAuditEvent {
        identity: None,
        login: None,
        activity: "test".to_owned(),
        entity_type: "test".to_owned(),
        entity_ref: "test".to_owned(),
        detail: json!({}),
    };
    AuditRepository::append(pool, &[entry]).await.unwrap();

    let retention = Retention::default();
    expire(pool, &retention, after(6)).await;
    let changes = count(pool, "change").await;
    assert!(changes > 0);
    expire(pool, &retention, after(29)).await;
    assert_eq!(count(pool, "change").await, changes, "a reader has not read them yet");
    let until = tokio::time::Instant::now() + PATIENCE;
    // Transactions of other tests, in other databases of the server, hold the feed up.
    while count(pool, "change").await > 0 {
        Emitter::new(pool.clone(), Bus::new()).pass().await.unwrap();
        expire(pool, &retention, after(29)).await;
        assert!(tokio::time::Instant::now() < until, "the feed is kept for a week");
    }
    assert_eq!((count(pool, "event").await, count(pool, "execution").await), (4, 3));
    assert_eq!(count(pool, "execution_output").await, 1);

    expire(pool, &retention, after(31)).await;
    let ids = async |table: &'static str| {
        let query = format!("select id from attune.{table} order by id");
        sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(query)).fetch_all(pool).await.unwrap()
    };
    assert_eq!(ids("execution").await, [waiting[2], running[2]]);
    assert_eq!(ids("enforcement").await, [waiting[1], running[1]]);
    assert_eq!(ids("event").await, [waiting[0], running[0], unmatched]);
    assert_eq!(count(pool, "execution_output").await, 0);
    assert_eq!(count(pool, "audit_event").await, 1);
    expire(pool, &retention, after(366)).await;
    assert_eq!(count(pool, "audit_event").await, 0);
    let oldest = SizeRepository::oldest(pool).await.unwrap();
    let kept: Vec<_> =
        oldest.iter().filter(|row| row.oldest.is_some()).map(|row| row.kind.as_str()).collect();
    assert_eq!(kept, ["event", "enforcement", "execution"]);
    let tables = SizeRepository::tables(pool).await.unwrap();
    assert!(tables.iter().any(|table| table.name == "execution" && table.total_bytes >= table.index_bytes));
}

#[tokio::test]
async fn test_what_is_kept_for_ever_is_kept() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let worker = worker(pool, "one").await;
    story(pool).await;
    let claimed = claim(pool, &worker, 10).await;
    complete(pool, &worker, &claimed, ExecutionStatus::Failed).await;
    matching::Matcher::new(pool.clone(), Bus::new()).pass().await.unwrap();
    let forever = Retention { events: None, executions: None, ..Retention::default() };
    expire(pool, &forever, after(3650)).await;
    let counts =
        [count(pool, "event").await, count(pool, "enforcement").await, count(pool, "execution").await];
    assert_eq!(counts, [1, 0, 1], "the enforcement is past its bound, whatever tells of it");
}

/// Two executors remove thousands of rows together, while a reader holds some of them.
#[tokio::test]
async fn test_two_executors_share_the_work_and_wait_for_nobody() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let mut connection = pool.acquire().await.unwrap();
    let event = NewEvent { trigger_ref: "test.trigger".to_owned(), ..NewEvent::default() };
    let ids = EventRepository::append(&mut connection, &vec![event; 3000]).await.unwrap();
    let ids: Vec<i64> = ids.iter().map(|appended| appended.id).collect();
    EventRepository::mark_matched(&mut *connection, &ids[..1], 1, Utc::now()).await.unwrap();
    let mut reader = attune_common::db::begin(pool).await.unwrap();
    sqlx::query("select from attune.event where id = $1 for update")
        .bind(ids[7])
        .execute(&mut *reader)
        .await
        .unwrap();
    let retention = Retention::default();
    let (first, second) = (expire(pool, &retention, after(31)), expire(pool, &retention, after(31)));
    let both = async { tokio::join!(first, second) };
    tokio::time::timeout(PATIENCE, both).await.expect("it waits for a lock");
    assert_eq!(count(pool, "event").await, 1, "what somebody has locked is passed over");
    reader.rollback().await.unwrap();
    assert_eq!(count(pool, "event_batch").await, 1, "and so is the batch that it is of");
    expire(pool, &retention, after(31)).await;
    assert_eq!([count(pool, "event").await, count(pool, "event_batch").await], [0, 0]);
}

#[tokio::test]
async fn test_what_is_old_is_old_by_the_clock_of_the_database() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let entry = NewAuditEvent {
        identity: None,
        login: None,
        activity: "test.done".to_owned(),
        entity_type: "test".to_owned(),
        entity_ref: "1".to_owned(),
        detail: json!({}),
    };
    AuditRepository::append(pool, &[entry]).await.unwrap();
    retention::pass(pool.clone(), Retention::default()).await.unwrap();
    assert_eq!(count(pool, "audit_event").await, 1, "it is kept for a year");
    // For these connections, the database is two years on.
    sqlx::raw_sql(
        "create schema later;
         create function later.clock_timestamp() returns timestamptz language sql volatile
             as $$ select pg_catalog.clock_timestamp() + interval '730 days' $$",
    )
    .execute(pool)
    .await
    .unwrap();
    let options = db::connect_options(database.url(), "attune-test").unwrap();
    let later = options.options([("search_path", "later,pg_catalog")]);
    let later = PgPoolOptions::new().connect_with(later).await.unwrap();
    retention::pass(later.clone(), Retention::default()).await.unwrap();
    assert_eq!(count(pool, "audit_event").await, 0, "whatever this machine takes the time for");
    later.close().await;
}
