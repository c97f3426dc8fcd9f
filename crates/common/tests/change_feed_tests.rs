//! The change feed, `attune.change`, and the signals: every status change once, in order, and nothing behind a reader.
//!
//! The feed holds back what is younger than the oldest open transaction of the server, also of other databases. What has
//! to come is therefore waited for, and what must not come is seen by something later that does.

mod helpers;

use std::time::Duration;

use attune_common::bus::{Bus, Topic};
use attune_common::models::action::ActionUpdate;
use attune_common::models::action::WorkerLoss;
use attune_common::models::execution::{ExecutionStatus, ExecutionUpdate, NewExecution};
use attune_common::models::runtime::RuntimeUpdate;
use attune_common::models::sensor::SensorUpdate;
use attune_common::models::trigger::{TriggerUpdate, Webhook};
use attune_common::repositories::{
    ActionRepository, Change, ChangeCursor, ChangeRepository, EnforcementRepository, EventRepository,
    ExecutionRepository, InternalEventRepository, KeyRepository, PackRepository, RuleRepository,
    RuleSetRepository, RuntimeRepository, SensorRepository, TriggerRepository,
};
use attune_testkit::TestDatabase;
use helpers::key::*;
use helpers::steps::*;
use helpers::*;
use serde_json::json;
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio_util::sync::CancellationToken;

const START: ChangeCursor = ChangeCursor { xid: 0, id: 0 };
const PATIENCE: Duration = Duration::from_secs(30);

/// The changes after the cursor up to the first one of this execution, once that one is given.
async fn changes_until(pool: &PgPool, cursor: ChangeCursor, last: i64) -> Vec<Change> {
    let patience = tokio::time::Instant::now() + PATIENCE;
    loop {
        let mut changes = ChangeRepository::after(pool, cursor, 1000).await.expect("the feed can be read");
        if let Some(place) = changes.iter().position(|change| change.entity == last) {
            changes.truncate(place + 1);
            return changes;
        }
        assert!(tokio::time::Instant::now() < patience, "execution {last} is not in the feed: {changes:?}");
    }
}

fn told(changes: &[Change]) -> Vec<(i64, &str)> {
    changes.iter().map(|change| (change.entity, change.activity.as_str())).collect()
}

async fn scheduled(pool: &PgPool) -> i64 {
    let mut connection = pool.acquire().await.expect("a connection");
    ExecutionFixture::new_unique().create(&mut connection).await.expect("an execution").id
}

#[test]
fn test_table_name_has_the_schema() {
    assert_eq!(ChangeRepository::table_name(), "attune.change");
}

#[tokio::test]
async fn test_after_of_an_empty_feed() {
    let database = TestDatabase::create().await;
    assert_eq!(ChangeRepository::after(database.pool(), START, 10).await.unwrap(), []);
}

#[tokio::test]
async fn test_after_tells_what_changed() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let execution = ExecutionFixture::new_unique().create(&mut connection).await.unwrap();
    let changes = changes_until(database.pool(), START, execution.id).await;
    let expected = Change {
        xid: changes[0].xid,
        id: changes[0].id,
        entity_type: "execution".to_owned(),
        entity: execution.id,
        r#ref: execution.action_ref,
        activity: "scheduled".to_owned(),
        created: changes[0].created,
    };
    assert_eq!(changes, [expected]);
}

#[tokio::test]
async fn test_after_gives_every_step_once_in_order() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let (lost, worker) = running(&mut connection, WorkerLoss::Retry).await;
    expire_lease(&mut connection, &worker).await;
    ExecutionRepository::rescue(&mut *connection, 10).await.unwrap();
    let worker = WorkerFixture::new_unique().create(&mut connection).await.unwrap();
    ExecutionRepository::claim(&mut connection, worker.id, "first", 10).await.unwrap();
    ExecutionRepository::cancel(&mut connection, lost.id).await.unwrap();
    let end = [completion(lost.id, 2, ExecutionStatus::Cancelled)];
    ExecutionRepository::complete(&mut *connection, worker.id, &end).await.unwrap();
    let last = scheduled(database.pool()).await;
    let changes = changes_until(database.pool(), START, last).await;
    let expected = ["scheduled", "running", "scheduled", "running", "canceling", "cancelled"];
    let mut expected: Vec<_> = expected.into_iter().map(|activity| (lost.id, activity)).collect();
    expected.push((last, "scheduled"));
    assert_eq!(told(&changes), expected);
}

#[tokio::test]
async fn test_after_tells_nothing_where_nothing_changed() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let first = scheduled(database.pool()).await;
    ExecutionRepository::cancel(&mut connection, first).await.unwrap();
    let worker = WorkerFixture::new_unique().create(&mut connection).await.unwrap();
    ExecutionRepository::cancel(&mut connection, first).await.unwrap();
    ExecutionRepository::claim(&mut connection, worker.id, "first", 10).await.unwrap();
    ExecutionRepository::rescue(&mut *connection, 10).await.unwrap();
    let end = [completion(first, 1, ExecutionStatus::Completed)];
    ExecutionRepository::complete(&mut *connection, worker.id, &end).await.unwrap();
    let last = scheduled(database.pool()).await;
    let changes = changes_until(database.pool(), START, last).await;
    assert_eq!(told(&changes), [(first, "scheduled"), (first, "cancelled"), (last, "scheduled")]);
}

#[tokio::test]
async fn test_after_tells_of_executions_that_follow_from_decisions() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let action = ActionFixture::new_unique().create(&mut connection).await.unwrap();
    let rule = RuleFixture::new_unique().with_action(&action).create(&mut connection).await.unwrap();
    let mut decisions = Vec::new();
    for _ in 0..2 {
        let event = EventFixture::new_unique().create(&mut connection).await.unwrap();
        decisions.push(decision(&event, &rule));
    }
    EnforcementRepository::record_decisions(&mut connection, &decisions).await.unwrap();
    EnforcementRepository::record_decisions(&mut connection, &decisions).await.unwrap();
    let mut executions = ExecutionRepository::list(&mut *connection).await.unwrap();
    executions.sort_by_key(|execution| execution.id);
    let last = scheduled(database.pool()).await;
    let changes = changes_until(database.pool(), START, last).await;
    let mut expected: Vec<_> = executions.iter().map(|e| (e.id, e.action_ref.as_str())).collect();
    assert_eq!(expected.len(), 2);
    let found: Vec<_> = changes.iter().map(|change| (change.entity, change.r#ref.as_str())).collect();
    expected.push((last, &changes[2].r#ref));
    assert_eq!(found, expected);
}

#[tokio::test]
async fn test_after_pages_with_the_cursor() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    // Several changes of one transaction, then one of another.
    let batch = vec![NewExecution::of(None, "test.a", json!({})); 4];
    let mut ids = ExecutionRepository::create_many(&mut connection, &batch).await.unwrap();
    ids.push(scheduled(database.pool()).await);
    changes_until(database.pool(), START, ids[4]).await;
    let (mut cursor, mut pages) = (START, Vec::new());
    loop {
        let page = ChangeRepository::after(database.pool(), cursor, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        cursor = last.cursor();
        pages.push(page.iter().map(|change| change.entity).collect::<Vec<_>>());
    }
    assert_eq!(pages, [ids[..2].to_vec(), ids[2..4].to_vec(), ids[4..].to_vec()]);
}

#[tokio::test]
async fn test_after_pages_within_what_one_statement_changed() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let action = ActionFixture::new_unique().create(&mut connection).await.unwrap();
    let rule = RuleFixture::new_unique().with_action(&action).create(&mut connection).await.unwrap();
    let mut decisions = Vec::new();
    // More than a block of ids has.
    for _ in 0..300 {
        let event = EventFixture::new_unique().create(&mut connection).await.unwrap();
        decisions.push(decision(&event, &rule));
    }
    EnforcementRepository::record_decisions(&mut connection, &decisions).await.unwrap();
    let mut executions: Vec<i64> =
        ExecutionRepository::list(&mut *connection).await.unwrap().iter().map(|e| e.id).collect();
    executions.sort_unstable();
    let rows: i64 =
        sqlx::query_scalar("select count(*) from attune.change").fetch_one(database.pool()).await.unwrap();
    assert!((2..=3).contains(&rows), "{rows} rows hold the changes of 300 executions");

    let last = scheduled(database.pool()).await;
    changes_until(database.pool(), START, last).await;
    let (mut cursor, mut told) = (START, Vec::new());
    loop {
        let page = ChangeRepository::after(database.pool(), cursor, 7).await.unwrap();
        let Some(latest) = page.last() else { break };
        assert!(page.is_sorted_by_key(Change::cursor), "{page:?}");
        assert!(latest.cursor() > cursor);
        cursor = latest.cursor();
        told.extend(page.iter().map(|change| change.entity));
    }
    assert_eq!(told, [executions.clone(), vec![last]].concat());
    for execution in [executions[0], executions[150], executions[299]] {
        let history = ChangeRepository::of_entity(database.pool(), "execution", execution).await.unwrap();
        let history: Vec<_> =
            history.iter().map(|change| (change.entity, change.activity.as_str())).collect();
        assert_eq!(history, [(execution, "scheduled")]);
        let places = ChangeRepository::after(database.pool(), START, 1000).await.unwrap();
        let place = places.iter().find(|change| change.entity == execution).unwrap();
        let of_entity = ChangeRepository::of_entity(database.pool(), "execution", execution).await.unwrap();
        assert_eq!(of_entity, std::slice::from_ref(place), "the same change has the same number");
    }
}

#[tokio::test]
async fn test_what_a_reader_has_read_in_part_is_kept() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let action = ActionFixture::new_unique().create(&mut connection).await.unwrap();
    let rule = RuleFixture::new_unique().with_action(&action).create(&mut connection).await.unwrap();
    let mut decisions = Vec::new();
    for _ in 0..3 {
        let event = EventFixture::new_unique().create(&mut connection).await.unwrap();
        decisions.push(decision(&event, &rule));
    }
    EnforcementRepository::record_decisions(&mut connection, &decisions).await.unwrap();
    let last = scheduled(database.pool()).await;
    let changes = changes_until(database.pool(), START, last).await;
    assert_eq!(changes.len(), 4);
    let later = changes[3].created + chrono::TimeDelta::days(1);
    for (read, kept) in [(None, 2), (Some(0), 2), (Some(1), 2), (Some(2), 1), (Some(3), 0)] {
        let cursor = read.map_or(START, |read: usize| changes[read].cursor());
        InternalEventRepository::move_cursor(&mut connection, cursor).await.unwrap();
        ChangeRepository::expire(database.pool(), later, 100).await.unwrap();
        let rows: i64 = sqlx::query_scalar("select count(*) from attune.change")
            .fetch_one(database.pool())
            .await
            .unwrap();
        assert_eq!(rows, kept, "{read:?}");
        let unread = ChangeRepository::after(database.pool(), cursor, 100).await.unwrap();
        assert_eq!(unread, changes[read.map_or(0, |read| read + 1)..]);
    }
}

#[tokio::test]
async fn test_after_gives_nothing_behind_a_cursor() {
    let database = TestDatabase::create().await;
    let mut older = attune_common::db::begin(database.pool()).await.unwrap();
    let late = ExecutionFixture::new_unique().create(&mut older).await.unwrap();
    let early = scheduled(database.pool()).await;
    // The younger transaction is committed, but a reader that went on after it would miss the older one.
    assert_eq!(ChangeRepository::after(database.pool(), START, 10).await.unwrap(), []);
    older.commit().await.unwrap();
    let changes = changes_until(database.pool(), START, early).await;
    assert_eq!(told(&changes), [(late.id, "scheduled"), (early, "scheduled")]);
    assert!(changes[0].xid < changes[1].xid);
}

#[tokio::test]
async fn test_after_orders_by_transaction_and_not_by_id() {
    let database = TestDatabase::create().await;
    let mut older = attune_common::db::begin(database.pool()).await.unwrap();
    // The older transaction is the older one by any write, though it tells of a change only at its end.
    IdentityFixture::new_unique().create(&mut older).await.unwrap();
    let early = scheduled(database.pool()).await;
    assert_eq!(ChangeRepository::after(database.pool(), START, 10).await.unwrap(), []);
    let late = ExecutionFixture::new_unique().create(&mut older).await.unwrap();
    older.commit().await.unwrap();
    let changes = changes_until(database.pool(), START, early).await;
    assert_eq!(told(&changes), [(late.id, "scheduled"), (early, "scheduled")]);
    assert!(changes[0].id > changes[1].id, "{changes:?}");
}

#[tokio::test]
async fn test_after_never_tells_what_was_rolled_back() {
    let database = TestDatabase::create().await;
    let mut undone = attune_common::db::begin(database.pool()).await.unwrap();
    ExecutionFixture::new_unique().create(&mut undone).await.unwrap();
    undone.rollback().await.unwrap();
    let last = scheduled(database.pool()).await;
    assert_eq!(told(&changes_until(database.pool(), START, last).await), [(last, "scheduled")]);
}

#[tokio::test]
async fn test_after_waits_for_no_reader() {
    let database = TestDatabase::create().await;
    let mut report = attune_common::db::begin(database.pool()).await.unwrap();
    // A long report has a snapshot and writes nothing: it holds nobody up.
    EventRepository::list(&mut *report).await.unwrap();
    let execution = scheduled(database.pool()).await;
    let changes = changes_until(database.pool(), START, execution).await;
    assert_eq!(told(&changes), [(execution, "scheduled")]);
}

#[tokio::test]
async fn test_end_skips_what_was() {
    let database = TestDatabase::create().await;
    let before = scheduled(database.pool()).await;
    changes_until(database.pool(), START, before).await;
    let end = ChangeRepository::end(database.pool()).await.unwrap();
    assert_eq!(ChangeRepository::after(database.pool(), end, 10).await.unwrap(), []);
    let after = scheduled(database.pool()).await;
    assert_eq!(told(&changes_until(database.pool(), end, after).await), [(after, "scheduled")]);
}

#[tokio::test]
async fn test_end_keeps_what_is_not_committed_yet() {
    let database = TestDatabase::create().await;
    let mut open = attune_common::db::begin(database.pool()).await.unwrap();
    let execution = ExecutionFixture::new_unique().create(&mut open).await.unwrap();
    let end = ChangeRepository::end(database.pool()).await.unwrap();
    open.commit().await.unwrap();
    let changes = changes_until(database.pool(), end, execution.id).await;
    assert_eq!(told(&changes), [(execution.id, "scheduled")]);
}

/// Hears the signals of a database.
struct Signals {
    listener: PgListener,
    pool: PgPool,
}

impl Signals {
    const MARK: &'static str = "test_mark";

    async fn of(pool: &PgPool) -> Self {
        let mut listener = PgListener::connect_with(pool).await.expect("a connection that listens");
        let channels = Topic::ALL.map(Topic::channel).into_iter().chain([Self::MARK]);
        listener.listen_all(channels).await.expect("it can listen");
        Self { listener, pool: pool.clone() }
    }

    /// The signals since the last call, each once and sorted.
    async fn heard(&mut self) -> Vec<String> {
        sqlx::query("select pg_notify($1, '')")
            .bind(Self::MARK)
            .execute(&self.pool)
            .await
            .expect("the mark can be sent");
        let mut heard = Vec::new();
        loop {
            let notification = self.listener.recv().await.expect("the connection lives");
            assert_eq!(notification.payload(), "", "a signal carries no data");
            match notification.channel() {
                Self::MARK => break,
                channel => heard.push(channel.to_owned()),
            }
        }
        heard.sort();
        heard
    }
}

/// Their commits would wait for each other; whoever runs them wakes the bus afterwards.
#[tokio::test]
async fn test_statements_that_run_all_the_time_signal_nothing() {
    let database = TestDatabase::create().await;
    let mut signals = Signals::of(database.pool()).await;
    let mut connection = database.pool().acquire().await.unwrap();
    let action = ActionFixture::new_unique().create(&mut connection).await.unwrap();
    let rule = RuleFixture::new_unique().with_action(&action).create(&mut connection).await.unwrap();
    let worker = WorkerFixture::new_unique().create(&mut connection).await.unwrap();
    signals.heard().await;

    let event = EventFixture::new_unique().create(&mut connection).await.unwrap();
    let decisions = [decision(&event, &rule)];
    assert_eq!(EnforcementRepository::record_decisions(&mut connection, &decisions).await.unwrap(), 1);
    let claimed = ExecutionRepository::claim(&mut connection, worker.id, "first", 10).await.unwrap();
    let end = [completion(claimed[0].id, 1, ExecutionStatus::Completed)];
    ExecutionRepository::complete(&mut *connection, worker.id, &end).await.unwrap();
    assert_eq!(signals.heard().await, [] as [&str; 0]);
}

#[tokio::test]
async fn test_signals_of_a_batch_are_one() {
    let database = TestDatabase::create().await;
    let mut signals = Signals::of(database.pool()).await;
    let mut connection = database.pool().acquire().await.unwrap();
    let batch = vec![NewExecution::of(None, "test.a", json!({})); 5];
    ExecutionRepository::create_many(&mut connection, &batch).await.unwrap();
    assert_eq!(signals.heard().await, ["attune_change", "attune_execution"]);
}

#[tokio::test]
async fn test_signals_of_a_run() {
    let database = TestDatabase::create().await;
    let mut signals = Signals::of(database.pool()).await;
    let mut connection = database.pool().acquire().await.unwrap();
    let execution = ExecutionFixture::new_unique().create(&mut connection).await.unwrap();
    let worker = WorkerFixture::new_unique().create(&mut connection).await.unwrap();
    signals.heard().await;

    ExecutionRepository::claim(&mut connection, worker.id, "first", 10).await.unwrap();
    ExecutionRepository::cancel(&mut connection, execution.id).await.unwrap();
    assert_eq!(signals.heard().await, ["attune_cancel", "attune_change"]);

    let (_, lost) = running(&mut connection, WorkerLoss::Retry).await;
    expire_lease(&mut connection, &lost).await;
    signals.heard().await;
    ExecutionRepository::rescue(&mut *connection, 10).await.unwrap();
    assert_eq!(signals.heard().await, ["attune_change", "attune_execution"]);
    ExecutionRepository::rescue(&mut *connection, 10).await.unwrap();
    assert_eq!(signals.heard().await, [] as [&str; 0]);
}

#[tokio::test]
async fn test_signals_of_definitions() {
    let database = TestDatabase::create().await;
    let mut signals = Signals::of(database.pool()).await;
    let mut connection = database.pool().acquire().await.unwrap();
    let rule = RuleFixture::new_unique().create(&mut connection).await.unwrap();
    assert_eq!(signals.heard().await, ["attune_definition"]);
    RuleRepository::delete(&mut connection, rule.id).await.unwrap();
    assert_eq!(signals.heard().await, ["attune_definition"]);
    RuleRepository::delete(&mut connection, rule.id).await.unwrap();
    assert_eq!(signals.heard().await, [] as [&str; 0]);
    RuleSetRepository::raise_version(&mut *connection).await.unwrap();
    assert_eq!(signals.heard().await, ["attune_definition"]);
    let mut transaction = attune_common::db::begin(database.pool()).await.unwrap();
    let key = KeyFixture::new_unique().create(&mut transaction).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(signals.heard().await, ["attune_definition"]);
    KeyRepository::delete_by_ref(&mut *connection, &key.key_ref).await.unwrap();
    assert_eq!(signals.heard().await, ["attune_definition"]);
}

#[tokio::test]
async fn test_signals_of_what_rules_are_judged_with() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let pack = PackFixture::new_unique().create(&mut connection).await.unwrap();
    let mut signals = Signals::of(database.pool()).await;
    let trigger = TriggerFixture::new_unique().create(&mut connection).await.unwrap();
    let action = ActionFixture::new_unique().create(&mut connection).await.unwrap();
    // Nobody holds anything of these yet.
    assert_eq!(signals.heard().await, [] as [&str; 0]);
    let hook = TriggerFixture::new_unique().with_webhook(Webhook::default());
    let hook = hook.create(&mut connection).await.unwrap();
    assert_eq!(signals.heard().await, ["attune_definition"]);

    let off = TriggerUpdate { enabled: Some(false), ..TriggerUpdate::default() };
    TriggerRepository::update(&mut connection, trigger.id, &off).await.unwrap();
    assert_eq!(signals.heard().await, ["attune_definition"]);
    TriggerRepository::update(&mut connection, trigger.id, &off).await.unwrap();
    assert_eq!(signals.heard().await, [] as [&str; 0]);
    TriggerRepository::renew_webhook_key(&mut *connection, hook.id).await.unwrap();
    assert_eq!(signals.heard().await, ["attune_definition"]);
    TriggerRepository::remove_webhook(&mut *connection, hook.id).await.unwrap();
    assert_eq!(signals.heard().await, ["attune_definition"]);
    TriggerRepository::delete(&mut *connection, trigger.id).await.unwrap();
    assert_eq!(signals.heard().await, ["attune_definition"]);

    let off = ActionUpdate { enabled: Some(false), ..ActionUpdate::default() };
    ActionRepository::update(&mut connection, action.id, &off).await.unwrap();
    assert_eq!(signals.heard().await, ["attune_definition"]);
    ActionRepository::delete(&mut *connection, action.id).await.unwrap();
    assert_eq!(signals.heard().await, ["attune_definition"]);
    PackRepository::delete(&mut *connection, pack.id).await.unwrap();
    assert_eq!(signals.heard().await, ["attune_definition"]);
    PackRepository::delete(&mut *connection, pack.id).await.unwrap();
    assert_eq!(signals.heard().await, [] as [&str; 0]);
}

#[tokio::test]
async fn test_signals_of_what_sensors_run_by() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let pack = PackFixture::new_unique().create(&mut connection).await.unwrap();
    let runtime = RuntimeFixture::new(&pack, "sh").create(&mut connection).await.unwrap();
    let new = SensorFixture::new(&pack, "watch").with_runtime(&runtime).new;
    let mut signals = Signals::of(database.pool()).await;
    let sensor = SensorRepository::create(&mut *connection, Some(pack.id), &new).await.unwrap();
    assert_eq!(signals.heard().await, ["attune_definition"]);
    let off = SensorUpdate { enabled: Some(false), ..SensorUpdate::default() };
    SensorRepository::update(&mut connection, sensor.id, &off).await.unwrap();
    assert_eq!(signals.heard().await, ["attune_definition"]);
    let update = RuntimeUpdate { interpreter: Some(vec!["bash".to_owned()]), ..RuntimeUpdate::default() };
    RuntimeRepository::update(&mut connection, runtime.id, &update).await.unwrap();
    assert_eq!(signals.heard().await, ["attune_definition"]);
    RuntimeRepository::delete(&mut *connection, runtime.id).await.unwrap();
    assert_eq!(signals.heard().await, ["attune_definition"]);
    SensorRepository::delete(&mut *connection, sensor.id).await.unwrap();
    assert_eq!(signals.heard().await, ["attune_definition"]);
    SensorRepository::delete(&mut *connection, sensor.id).await.unwrap();
    assert_eq!(signals.heard().await, [] as [&str; 0]);
}

#[tokio::test]
async fn test_signals_of_an_admission() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let requested = ExecutionFixture::new_unique().with_status(ExecutionStatus::Requested);
    let id = requested.create(&mut connection).await.unwrap().id;
    let mut signals = Signals::of(database.pool()).await;
    let mut heard_after = async |update: ExecutionUpdate| {
        ExecutionRepository::update(&mut connection, id, &update).await.unwrap();
        signals.heard().await
    };
    let to = |status| ExecutionUpdate { status: Some(status), ..ExecutionUpdate::default() };
    assert_eq!(heard_after(to(ExecutionStatus::Scheduling)).await, ["attune_change"]);
    let expected = ["attune_change", "attune_execution"];
    assert_eq!(heard_after(to(ExecutionStatus::Scheduled)).await, expected);
    assert_eq!(heard_after(to(ExecutionStatus::Scheduled)).await, [] as [&str; 0]);
    let priority = ExecutionUpdate { priority: Some(1), ..ExecutionUpdate::default() };
    assert_eq!(heard_after(priority).await, [] as [&str; 0]);
    let last = scheduled(database.pool()).await;
    let changes = changes_until(database.pool(), START, last).await;
    let expected = [(id, "requested"), (id, "scheduling"), (id, "scheduled"), (last, "scheduled")];
    assert_eq!(told(&changes), expected);
}

#[tokio::test]
async fn test_bus_tells_other_processes_and_not_itself() {
    let database = TestDatabase::create().await;
    let shutdown = CancellationToken::new();
    let [here, there] = [Bus::new(), Bus::new()];
    let (mut own, mut others) = (here.subscribe(Topic::Execution), there.subscribe(Topic::Execution));
    let connected = [&here, &there]
        .map(|bus| tokio::spawn(bus.clone().connect(database.pool().clone(), shutdown.clone())));
    // Once they listen they wake everybody.
    for subscription in [&mut own, &mut others] {
        tokio::time::timeout(PATIENCE, subscription.woken()).await.unwrap();
    }
    for _ in 0..3 {
        here.wake(Topic::Execution);
        tokio::time::timeout(PATIENCE, own.woken()).await.unwrap();
        tokio::time::timeout(PATIENCE, others.woken()).await.unwrap();
    }
    // What comes after everything that was told before: by then an echo would have been heard.
    let mut marks = here.subscribe(Topic::Cancel);
    there.wake(Topic::Cancel);
    tokio::time::timeout(PATIENCE, marks.woken()).await.unwrap();
    assert!(tokio::time::timeout(Duration::ZERO, own.woken()).await.is_err(), "a process heard itself");
    shutdown.cancel();
    for connected in connected {
        tokio::time::timeout(PATIENCE, connected).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn test_bus_hears_what_another_process_signals() {
    let database = TestDatabase::create().await;
    let bus = Bus::new();
    let mut events = bus.subscribe(Topic::Event);
    let shutdown = CancellationToken::new();
    let listening = tokio::spawn(bus.connect(database.pool().clone(), shutdown.clone()));
    // Once it listens it wakes everybody, since signals may have been missed before.
    tokio::time::timeout(PATIENCE, events.woken()).await.unwrap();
    let mut connection = database.pool().acquire().await.unwrap();
    sqlx::query("notify attune_event").execute(&mut *connection).await.unwrap();
    tokio::time::timeout(PATIENCE, events.woken()).await.unwrap();
    shutdown.cancel();
    tokio::time::timeout(PATIENCE, listening).await.unwrap().unwrap();
}
