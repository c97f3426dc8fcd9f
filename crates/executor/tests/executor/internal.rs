//! What the platform itself does becomes events that rules react to: once, and not without end.

use std::time::Duration;

use attune_common::bus::Bus;
use attune_common::models::audit::AuditFilter;
use attune_common::models::event::{Event, EventFilter, NewEvent};
use attune_common::models::execution::ExecutionStatus;
use attune_common::models::identity::NewIdentity;
use attune_common::models::inquiry::{Asker, InquiryResponse, NewInquiry};
use attune_common::models::rule::NewRule;
use attune_common::models::trigger::NewTrigger;
use attune_common::models::worker::WorkerRegistration;
use attune_common::pass::Found;
use attune_common::repositories::{
    AuditRepository, ChangeRepository, EventRepository, ExecutionRepository, IdentityRepository,
    InquiryRepository, InternalEventRepository, RuleRepository, TriggerRepository, WorkerRepository,
};
use attune_executor::internal::{
    EXECUTION_COMPLETED, EXECUTION_FAILED, Emitter, INQUIRY_CREATED, INQUIRY_RESPONDED, MAX_DEPTH,
    RULE_ERROR, TRIGGERS, WORKER_LOST,
};
use attune_executor::matching::Matcher;
use attune_executor::rescue::Rescuer;
use attune_testkit::TestDatabase;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::helpers::*;

async fn trigger(pool: &PgPool, trigger_ref: &str) {
    let new = NewTrigger {
        r#ref: trigger_ref.to_owned(),
        label: None,
        description: None,
        enabled: true,
        param_schema: json!({}),
        out_schema: json!({}),
        webhook: None,
    };
    TriggerRepository::create(pool, None, &new).await.unwrap();
}

/// A database with the triggers of internal events, as the core pack brings them.
async fn database() -> TestDatabase {
    let database = TestDatabase::create().await;
    for internal in TRIGGERS {
        trigger(database.pool(), internal).await;
    }
    database
}

async fn rule(pool: &PgPool, name: &str, trigger_ref: &str, action_ref: &str, parameters: Value) {
    let new =
        NewRule { action_params: parameters, ..NewRule::of(format!("test.{name}"), trigger_ref, action_ref) };
    RuleRepository::create(&mut pool.acquire().await.unwrap(), None, &new).await.unwrap();
}

async fn emit(pool: &PgPool) {
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        let mut emitter = Emitter::new(pool.clone(), Bus::new());
        while emitter.pass().await.unwrap() == Found::More {}
        // Transactions of other tests, in other databases of the server, hold the feed up as well.
        let mut transaction = attune_common::db::begin(pool).await.unwrap();
        let cursor = InternalEventRepository::take_cursor(&mut transaction).await.unwrap().unwrap();
        let is_held_up = ChangeRepository::is_withholding(&mut *transaction, cursor).await.unwrap();
        if !is_held_up && ChangeRepository::after(&mut *transaction, cursor, 1).await.unwrap().is_empty() {
            transaction.rollback().await.unwrap();
            return;
        }
        transaction.rollback().await.unwrap();
        assert!(tokio::time::Instant::now() < until, "the feed is held up");
    }
}

async fn judge(pool: &PgPool) {
    let mut matcher = Matcher::new(pool.clone(), Bus::new());
    while matcher.pass().await.unwrap() == Found::More {}
}

/// The events of a trigger, the oldest first.
async fn events(pool: &PgPool, trigger_ref: &str) -> Vec<Event> {
    let filter = EventFilter { trigger_ref: Some(trigger_ref.to_owned()), before: None, limit: 1000 };
    let mut events = EventRepository::search(pool, &filter).await.unwrap();
    events.reverse();
    events
}

#[tokio::test]
async fn test_nothing_is_made_while_nobody_listens() {
    let database = database().await;
    let pool = database.pool();
    let action = action(pool, "test.action").await;
    let worker = worker(pool, "one").await;
    let run = async || {
        let ids = request_many(pool, &action, 1).await;
        let claimed = claim(pool, &worker, 10).await;
        complete(pool, &worker, &claimed, ExecutionStatus::Completed).await;
        ids[0]
    };
    run().await;
    emit(pool).await;
    assert_eq!(events(pool, EXECUTION_COMPLETED).await, []);
    rule(pool, "ended", EXECUTION_COMPLETED, "test.action", json!({})).await;
    let second = run().await;
    emit(pool).await;
    emit(pool).await;
    let told: Vec<Value> = events(pool, EXECUTION_COMPLETED)
        .await
        .iter()
        .map(|event| event.payload["execution"].clone())
        .collect();
    assert_eq!(told, [json!(second)], "what ended before is the past, and nothing is told twice");
}

#[tokio::test]
async fn test_ends_are_told_with_what_led_to_them() {
    let database = database().await;
    let pool = database.pool();
    trigger(pool, "test.alert").await;
    let _ = action(pool, "test.page").await;
    let _ = action(pool, "test.react").await;
    rule(pool, "page", "test.alert", "test.page", json!({})).await;
    rule(pool, "react", EXECUTION_FAILED, "test.react", json!({})).await;
    emit(pool).await;
    let event = NewEvent {
        trigger_ref: "test.alert".to_owned(),
        trace_id: Some("trace-1".to_owned()),
        ..NewEvent::default()
    };
    let event = EventRepository::append(&mut pool.acquire().await.unwrap(), &[event]).await.unwrap()[0].id;
    judge(pool).await;
    let worker = worker(pool, "one").await;
    let claimed = claim(pool, &worker, 10).await;
    complete(pool, &worker, &claimed, ExecutionStatus::Timeout).await;
    emit(pool).await;
    let told = events(pool, EXECUTION_FAILED).await.remove(0);
    assert_eq!(told.config, json!({"action": "test.page", "pack": "test", "status": "timeout"}));
    let payload = &told.payload;
    assert_eq!(payload["execution"], json!(claimed[0].id));
    assert_eq!((&payload["rule"], &payload["event"]), (&json!("test.page"), &json!(event)));
    assert_eq!((told.depth, told.trace_id.as_deref()), (1, Some("trace-1")));
    judge(pool).await;
    let reaction = claim(pool, &worker, 10).await;
    assert_eq!(reaction.iter().map(|run| run.action_ref.as_str()).collect::<Vec<_>>(), ["test.react"]);
}

#[tokio::test]
async fn test_a_rule_that_reacts_to_itself_is_stopped_and_that_is_told() {
    let database = database().await;
    let pool = database.pool();
    let action = action(pool, "test.action").await;
    let worker = worker(pool, "one").await;
    rule(pool, "again", EXECUTION_COMPLETED, "test.action", json!({})).await;
    request_many(pool, &action, 1).await;
    let mut runs = 0;
    loop {
        let claimed = claim(pool, &worker, 10).await;
        if claimed.is_empty() {
            break;
        }
        runs += claimed.len();
        assert!(runs < 100, "it feeds itself");
        complete(pool, &worker, &claimed, ExecutionStatus::Completed).await;
        emit(pool).await;
        judge(pool).await;
    }
    assert_eq!(runs, 1 + usize::try_from(MAX_DEPTH).unwrap());
    let depths: Vec<i16> = events(pool, EXECUTION_COMPLETED).await.iter().map(|event| event.depth).collect();
    assert_eq!(depths, (1..=MAX_DEPTH).collect::<Vec<_>>());
    let filter = AuditFilter { limit: 10, ..AuditFilter::default() };
    let entries = AuditRepository::search(pool, &filter).await.unwrap();
    assert_eq!(
        entries.iter().map(|entry| entry.activity.as_str()).collect::<Vec<_>>(),
        ["internal_event.cut"]
    );
    assert_eq!(entries[0].detail, json!({"trigger": EXECUTION_COMPLETED, "depth": 11, "max_depth": 10}));
}

#[tokio::test]
async fn test_a_rule_that_cannot_act_is_told() {
    let database = database().await;
    let pool = database.pool();
    trigger(pool, "test.alert").await;
    let _ = action(pool, "test.action").await;
    rule(pool, "broken", "test.alert", "test.action", json!({"text": "{{ event.payload.missing }}"})).await;
    rule(pool, "react", RULE_ERROR, "test.action", json!({})).await;
    emit(pool).await;
    let event = NewEvent { trigger_ref: "test.alert".to_owned(), ..NewEvent::default() };
    let event = EventRepository::append(&mut pool.acquire().await.unwrap(), &[event]).await.unwrap()[0].id;
    judge(pool).await;
    emit(pool).await;
    let told = events(pool, RULE_ERROR).await.remove(0);
    assert_eq!((&told.payload["rule"], &told.payload["event"]), (&json!("test.broken"), &json!(event)));
    assert_eq!(told.config, json!({"rule": "test.broken"}));
    let error = told.payload["error"].as_str().unwrap();
    assert!(error.contains("the parameters cannot be rendered"), "{error}");
}

#[tokio::test]
async fn test_a_lost_worker_is_told_once_and_again_when_it_is_lost_again() {
    let database = database().await;
    let pool = database.pool();
    let _ = action(pool, "test.action").await;
    rule(pool, "react", WORKER_LOST, "test.action", json!({})).await;
    emit(pool).await;
    let worker = worker(pool, "one").await;
    let lose = async || {
        assert!(WorkerRepository::renew(pool, worker.id, &worker.instance, Duration::ZERO).await.unwrap());
        for _ in 0..2 {
            Rescuer::new(pool.clone(), Bus::new()).pass().await.unwrap();
        }
        emit(pool).await;
    };
    lose().await;
    let told = events(pool, WORKER_LOST).await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].payload["worker"], json!("one"));
    lose().await;
    assert_eq!(events(pool, WORKER_LOST).await.len(), 2);
    // One that says that it stops is not lost.
    WorkerRepository::release(pool, worker.id, &worker.instance).await.unwrap();
    Rescuer::new(pool.clone(), Bus::new()).pass().await.unwrap();
    emit(pool).await;
    assert_eq!(events(pool, WORKER_LOST).await.len(), 2);
}

#[tokio::test]
async fn test_a_worker_that_was_killed_is_told_of_though_it_is_back_at_once() {
    let database = database().await;
    let pool = database.pool();
    let _ = action(pool, "test.action").await;
    rule(pool, "react", WORKER_LOST, "test.action", json!({})).await;
    emit(pool).await;
    worker(pool, "one").await;
    let start_again = async |instance: &str| {
        let registration = WorkerRegistration {
            name: "one".to_owned(),
            host: None,
            instance: instance.to_owned(),
            slots: 1,
            labels: json!({}),
            capabilities: json!({}),
            taints: Vec::new(),
            lease: Duration::from_secs(3600),
            take_over: true,
        };
        let mut transaction = attune_common::db::begin(pool).await.unwrap();
        let worker = WorkerRepository::register(&mut transaction, &registration).await.unwrap();
        transaction.commit().await.unwrap();
        Rescuer::new(pool.clone(), Bus::new()).pass().await.unwrap();
        emit(pool).await;
        worker
    };
    start_again("second").await;
    let told = events(pool, WORKER_LOST).await;
    assert_eq!(told.len(), 1);
    let expired: DateTime<Utc> = told[0].payload["lease_expired"].as_str().unwrap().parse().unwrap();
    assert!(expired <= Utc::now(), "{expired} is when its present lease runs out");
    // The same process again, after a commit that was in doubt; and one that had stopped.
    let worker = start_again("second").await;
    WorkerRepository::release(pool, worker.id, "second").await.unwrap();
    start_again("third").await;
    assert_eq!(events(pool, WORKER_LOST).await.len(), 1);
}

#[tokio::test]
async fn test_questions_and_answers_are_told_without_what_is_secret() {
    let database = database().await;
    let pool = database.pool();
    trigger(pool, "test.alert").await;
    let _ = action(pool, "test.page").await;
    let _ = action(pool, "test.react").await;
    rule(pool, "page", "test.alert", "test.page", json!({})).await;
    rule(pool, "asked", INQUIRY_CREATED, "test.react", json!({})).await;
    rule(pool, "answered", INQUIRY_RESPONDED, "test.react", json!({})).await;
    emit(pool).await;
    let event = NewEvent {
        trigger_ref: "test.alert".to_owned(),
        trace_id: Some("trace-1".to_owned()),
        ..NewEvent::default()
    };
    EventRepository::append(&mut pool.acquire().await.unwrap(), &[event]).await.unwrap();
    judge(pool).await;
    let worker = worker(pool, "one").await;
    let run = claim(pool, &worker, 10).await.remove(0);
    let ada = NewIdentity { login: "ada".to_owned(), ..NewIdentity::default() };
    let ada = IdentityRepository::create(pool, &ada).await.unwrap();
    let new = NewInquiry {
        response_schema: Some(json!({"properties": {"pin": {"type": "string", "secret": true}}})),
        assigned_to: Some(ada.id),
        ..NewInquiry::of(run.id, "Go?")
    };
    let asker = Asker { attempt: run.attempt, dedup_key: None };
    let (inquiry, _) = InquiryRepository::ask(pool, &asker, &new).await.unwrap().unwrap();
    emit(pool).await;
    let response = InquiryResponse { response: json!({"ok": true, "pin": "1234"}), responded_by: ada.id };
    InquiryRepository::respond(pool, inquiry.id, &response).await.unwrap();
    emit(pool).await;
    let created = events(pool, INQUIRY_CREATED).await;
    let responded = events(pool, INQUIRY_RESPONDED).await;
    assert_eq!((created.len(), responded.len()), (1, 1));
    let config = json!({"action": "test.page", "pack": "test", "assigned_to": "ada", "assigned_role": null});
    for told in [&created[0], &responded[0]] {
        assert_eq!(told.config, config);
        assert_eq!((told.depth, told.trace_id.as_deref()), (1, Some("trace-1")));
        assert_eq!(told.payload["inquiry"], json!(inquiry.id));
        assert_eq!(told.payload["execution"], json!(run.id));
        assert_eq!(told.payload["prompt"], json!("Go?"));
    }
    assert_eq!(created[0].payload["assigned_to"], json!("ada"));
    assert_eq!(responded[0].payload["response"], json!({"ok": true, "pin": "********"}));
    assert_eq!(responded[0].payload["responded_by"], json!("ada"));
}

/// Two executors read the feed at once, and a transaction that commits late is not passed over.
#[tokio::test]
async fn test_two_readers_tell_each_change_once() {
    let database = database().await;
    let pool = database.pool();
    let action = action(pool, "test.action").await;
    let worker = worker(pool, "one").await;
    rule(pool, "ended", EXECUTION_FAILED, "test.action", json!({})).await;
    emit(pool).await;
    let ids = request_many(pool, &action, 20).await;
    let late = request_many(pool, &action, 1).await;
    let mut open = attune_common::db::begin(pool).await.unwrap();
    let all = claim(pool, &worker, 100).await;
    let (late_run, others) = all.iter().cloned().partition::<Vec<_>, _>(|run| late.contains(&run.id));
    let late_end = attune_common::models::execution::Completion {
        execution: late_run[0].id,
        attempt: 1,
        status: ExecutionStatus::Failed,
        exit_code: None,
        signal: None,
        result: None,
        error: None,
        stdout_bytes: 0,
        stderr_bytes: 0,
    };
    ExecutionRepository::complete(&mut *open, worker.id, &[late_end]).await.unwrap();
    complete(pool, &worker, &others, ExecutionStatus::Failed).await;
    let (mut first, mut second) =
        (Emitter::new(pool.clone(), Bus::new()), Emitter::new(pool.clone(), Bus::new()));
    let (one, two) = tokio::join!(first.pass(), second.pass());
    one.and(two).unwrap();
    open.commit().await.unwrap();
    let until = tokio::time::Instant::now() + PATIENCE;
    let mut told = Vec::new();
    while told.len() < ids.len() + 1 {
        let (one, two) = tokio::join!(first.pass(), second.pass());
        one.and(two).unwrap();
        told = events(pool, EXECUTION_FAILED).await;
        assert!(tokio::time::Instant::now() < until, "{} are told", told.len());
    }
    let mut executions: Vec<i64> =
        told.iter().map(|event| event.payload["execution"].as_i64().unwrap()).collect();
    executions.sort_unstable();
    assert_eq!(executions, [ids, late].concat());
}
