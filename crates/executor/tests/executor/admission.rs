//! Policies admit what they have room for, in turn and exactly.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use attune_common::bus::Bus;
use attune_common::db::{self, PoolOptions};
use attune_common::models::action::Action;
use attune_common::models::admission::{AskedAction, LanePart};
use attune_common::models::execution::{ExecutionStatus, ExecutionUpdate};
use attune_common::models::pack::NewPack;
use attune_common::models::pause::{NewPause, PauseScope};
use attune_common::models::policy::{NewPolicy, PolicyMethod, PolicyUpdate};
use attune_common::repositories::{
    AdmissionRepository, ExecutionRepository, PackRepository, PauseRepository, PolicyRepository,
    WorkerRepository,
};
use attune_executor::rescue::Rescuer;
use attune_executor::{Executor, Retention};
use attune_testkit::TestDatabase;
use serde_json::json;
use sqlx::PgPool;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::helpers::*;

#[tokio::test]
async fn test_an_action_without_a_policy_is_scheduled_at_once() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let (limited, free) = (action(pool, "test.limited").await, action(pool, "test.free").await);
    policy(pool, of_action(&limited)).await;
    let free = request_many(pool, &free, 2).await;
    let limited = request_many(pool, &limited, 2).await;
    assert_eq!(with_status(pool, ExecutionStatus::Scheduled).await, free);
    assert_eq!(with_status(pool, ExecutionStatus::Requested).await, limited);
    let rows: i64 =
        sqlx::query_scalar("select count(*) from attune.admission").fetch_one(pool).await.unwrap();
    assert_eq!(rows, 2, "only what is under a policy has a row there");
}

#[tokio::test]
async fn test_a_slot_goes_from_one_to_the_next_by_priority_and_age() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let action = action(pool, "test.limited").await;
    policy(pool, of_action(&action)).await;
    let worker = worker(pool, "one").await;
    let ids = request_many(pool, &action, 4).await;
    let urgent = ExecutionUpdate { priority: Some(5), ..ExecutionUpdate::default() };
    ExecutionRepository::update(&mut pool.acquire().await.unwrap(), ids[3], &urgent).await.unwrap();
    for expected in [ids[3], ids[0], ids[1], ids[2]] {
        admit(pool).await;
        assert_eq!(with_status(pool, ExecutionStatus::Scheduled).await, [expected]);
        let claimed = claim(pool, &worker, 10).await;
        admit(pool).await;
        assert_eq!(
            with_status(pool, ExecutionStatus::Scheduled).await,
            NO_IDS,
            "a running one keeps its slot"
        );
        complete(pool, &worker, &claimed, ExecutionStatus::Failed).await;
    }
    admit(pool).await;
    assert!(!AdmissionRepository::is_needed(pool).await.unwrap(), "nothing is left behind");
}

#[tokio::test]
async fn test_what_waits_is_told_for_what_and_where() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let action = action(pool, "test.limited").await;
    let policy = policy(pool, of_action(&action)).await;
    let ids = request_many(pool, &action, 4).await;
    let mut connection = pool.acquire().await.unwrap();
    let waiting = AdmissionRepository::waiting(&mut connection, ids[0]).await.unwrap().unwrap();
    assert_eq!((waiting.policies, waiting.position), (Vec::new(), None), "not sorted yet");
    admit(pool).await;
    assert_eq!(AdmissionRepository::waiting(&mut connection, ids[0]).await.unwrap(), None);
    let waiting = AdmissionRepository::waiting(&mut connection, ids[3]).await.unwrap().unwrap();
    assert_eq!(waiting.position, Some(3));
    assert_eq!(waiting.policies[0].policy_ref, policy.r#ref);
    assert!(!waiting.policies[0].has_room);
    let loads = AdmissionRepository::loads(pool).await.unwrap();
    assert_eq!(loads.iter().map(|load| (load.running, load.waiting)).collect::<Vec<_>>(), [(1, 3)]);
}

#[tokio::test]
async fn test_a_waiting_execution_that_is_cancelled_holds_nothing() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let action = action(pool, "test.limited").await;
    policy(pool, of_action(&action)).await;
    let ids = request_many(pool, &action, 3).await;
    admit(pool).await;
    let place = async || {
        let waiting = AdmissionRepository::waiting(&mut pool.acquire().await.unwrap(), ids[2]).await.unwrap();
        let load = AdmissionRepository::loads(pool).await.unwrap().remove(0);
        (waiting.and_then(|waiting| waiting.position), load.waiting)
    };
    assert_eq!(place().await, (Some(2), 2));
    // One that waits, and one that was admitted and not yet claimed.
    cancel(pool, ids[1]).await;
    assert_eq!(place().await, (Some(1), 1), "it counts no more, though nothing was admitted since");
    cancel(pool, ids[0]).await;
    admit(pool).await;
    assert_eq!(with_status(pool, ExecutionStatus::Scheduled).await, [ids[2]]);
}

async fn cancel(pool: &PgPool, id: i64) {
    let status = ExecutionRepository::cancel(&mut pool.acquire().await.unwrap(), id).await.unwrap();
    assert_eq!(status, Some(ExecutionStatus::Cancelled));
}

#[tokio::test]
async fn test_a_cancellation_does_not_wait_for_an_admission_that_is_under_way() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let action = action(pool, "test.limited").await;
    policy(pool, of_action(&action)).await;
    let ids = request_many(pool, &action, 2).await;
    let mut under_way = db::begin(pool).await.unwrap();
    assert!(AdmissionRepository::take_turn(&mut under_way).await.unwrap());
    assert_eq!(AdmissionRepository::sort(&mut under_way, 10).await.unwrap().placed, 2);
    // It would later wait for what the cancellation holds: they would wait for each other.
    tokio::time::timeout(PATIENCE, cancel(pool, ids[0])).await.unwrap();
    under_way.commit().await.unwrap();
    admit(pool).await;
    assert_eq!(with_status(pool, ExecutionStatus::Scheduled).await, [ids[1]]);
}

/// The activities of an execution in the order of the change feed, which itself would wait for the transactions of other tests.
async fn told(pool: &PgPool, execution: i64) -> Vec<String> {
    sqlx::query_scalar(
        "select activity from attune.change where entity_type = 'execution' and $1 = any(entities) order by xid, id",
    )
    .bind(execution)
    .fetch_all(pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn test_the_feed_tells_a_request_before_its_admission() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let action = action(pool, "test.limited").await;
    policy(pool, NewPolicy { concurrency: Some(2), ..of_action(&action) }).await;
    let worker = worker(pool, "one").await;
    request_many(pool, &action, 1).await;
    admit(pool).await;
    let claimed = claim(pool, &worker, 10).await;
    complete(pool, &worker, &claimed, ExecutionStatus::Completed).await;
    // A pass that has a slot to free stands still on its way to what waits.
    let mut held = db::begin(pool).await.unwrap();
    sqlx::query("lock table attune.admission_lane in share mode").execute(&mut *held).await.unwrap();
    let passing = tokio::spawn({
        let pool = pool.clone();
        async move { admit(&pool).await }
    });
    let until = Instant::now() + PATIENCE;
    loop {
        let waits: bool = sqlx::query_scalar(
            "select exists (select from pg_locks where relation = 'attune.admission_lane'::regclass and not granted)",
        )
        .fetch_one(pool)
        .await
        .unwrap();
        if waits {
            break;
        }
        assert!(Instant::now() < until, "the pass asks for no lane");
        tokio::task::yield_now().await;
    }
    let id = request_many(pool, &action, 1).await[0];
    held.commit().await.unwrap();
    passing.await.unwrap();
    admit(pool).await;
    assert_eq!(told(pool, id).await, ["requested", "scheduled"]);
}

/// One at a time in all, so that lanes have to share.
async fn one_at_a_time(pool: &PgPool, action: &Action) {
    let by_host = NewPolicy { parameters: vec!["host".to_owned()], ..of_action(action) };
    policy(pool, by_host).await;
    policy(pool, NewPolicy { r#ref: "test.together".to_owned(), ..of_action(action) }).await;
}

#[tokio::test]
async fn test_ever_new_keys_do_not_starve_those_that_wait() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let action = action(pool, "test.limited").await;
    one_at_a_time(pool, &action).await;
    let worker = worker(pool, "one").await;
    let old = request(pool, &action, &vec![json!({"host": "old"}); 3]).await;
    let mut begun = Vec::new();
    for new in 0..6 {
        admit(pool).await;
        request(pool, &action, &[json!({"host": format!("new-{new}")})]).await;
        let claimed = claim(pool, &worker, 10).await;
        begun.extend(claimed.iter().map(|claimed| claimed.id));
        complete(pool, &worker, &claimed, ExecutionStatus::Completed).await;
    }
    assert_eq!(begun.len(), 6);
    assert!(old.iter().all(|id| begun.contains(id)), "{old:?} of {begun:?}");
}

#[tokio::test]
async fn test_what_is_urgent_goes_first_however_many_lanes_wait() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let action = action(pool, "test.limited").await;
    one_at_a_time(pool, &action).await;
    let hosts: Vec<_> = (0..700).map(|host| json!({ "host": host })).collect();
    let ids = request(pool, &action, &hosts).await;
    let urgent = ExecutionUpdate { priority: Some(5), ..ExecutionUpdate::default() };
    ExecutionRepository::update(&mut pool.acquire().await.unwrap(), ids[650], &urgent).await.unwrap();
    admit(pool).await;
    assert_eq!(with_status(pool, ExecutionStatus::Scheduled).await, [ids[650]]);
}

/// Lanes as a look at each of them gives them: the price of that is what the pass does not pay.
async fn lanes_one_by_one(pool: &PgPool, limit: i32) -> Vec<i64> {
    sqlx::query_scalar(
        "select lane.id
         from attune.admission_lane lane
         cross join lateral (
             select priority
             from attune.admission
             where admission.lane = lane.id and admission.admitted is null
             order by priority desc, execution
             limit 1
         ) first
         where not exists (
             select from attune.admission where admission.lane = lane.id and admission.admitted is not null
         )
         order by first.priority desc, coalesce(lane.turn, lane.created), lane.id
         limit $1",
    )
    .bind(limit)
    .fetch_all(pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn test_lanes_stand_in_their_order_whatever_becomes_of_what_waits_in_them() {
    const HOSTS: usize = 12;
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let action = action(pool, "test.limited").await;
    let by_host = NewPolicy { parameters: vec!["host".to_owned()], ..of_action(&action) };
    policy(pool, by_host).await;
    let together =
        NewPolicy { r#ref: "test.together".to_owned(), concurrency: Some(3), ..of_action(&action) };
    policy(pool, together).await;
    let worker = worker(pool, "one").await;
    let mut random = 20_261_127_u64;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    let mut connection = pool.acquire().await.unwrap();
    let asked = [AskedAction { action_ref: action.r#ref.clone(), refuses: false }];
    for _ in 0..60 {
        let waiting = with_status(pool, ExecutionStatus::Requested).await;
        match next(5) {
            0 | 1 => {
                let hosts: Vec<_> = (0..=next(6)).map(|_| json!({"host": next(HOSTS)})).collect();
                request(pool, &action, &hosts).await;
            }
            2 if !waiting.is_empty() => {
                let urgent =
                    ExecutionUpdate { priority: Some(next(4) as i16 - 1), ..ExecutionUpdate::default() };
                let id = waiting[next(waiting.len())];
                ExecutionRepository::update(&mut connection, id, &urgent).await.unwrap();
            }
            3 if !waiting.is_empty() => {
                ExecutionRepository::cancel(&mut connection, waiting[next(waiting.len())]).await.unwrap();
            }
            _ => {
                let claimed = claim(pool, &worker, 1).await;
                complete(pool, &worker, &claimed, ExecutionStatus::Completed).await;
            }
        }
        admit(pool).await;
        // What a cancellation left is put right when its lane is looked into.
        let all: Vec<i64> =
            sqlx::query_scalar("select id from attune.admission_lane").fetch_all(pool).await.unwrap();
        AdmissionRepository::refresh(&mut connection, &all).await.unwrap();
        let held: Vec<(i64, String)> = sqlx::query_as(
            "select part.policy, part.key
             from attune.admission
             join attune.admission_lane lane on lane.id = admission.lane
             cross join lateral jsonb_to_recordset(lane.parts) as part (policy bigint, key text)
             join attune.policy on policy.id = part.policy and policy.parameters <> '{}'
             where admission.admitted is not null",
        )
        .fetch_all(pool)
        .await
        .unwrap();
        let taken: Vec<LanePart> = held.into_iter().map(|(policy, key)| LanePart { policy, key }).collect();
        for limit in [2, 100] {
            let lanes = AdmissionRepository::lanes(pool, &asked, &taken, limit).await.unwrap();
            let lanes: Vec<i64> = lanes.iter().map(|lane| lane.id).collect();
            assert_eq!(lanes, lanes_one_by_one(pool, limit as i32).await);
        }
    }
    // Nothing is left behind, whatever was noted.
    let until = Instant::now() + PATIENCE;
    while !with_status(pool, ExecutionStatus::Requested).await.is_empty() {
        let claimed = claim(pool, &worker, 10).await;
        complete(pool, &worker, &claimed, ExecutionStatus::Completed).await;
        admit(pool).await;
        assert!(Instant::now() < until, "something waits for ever");
    }
}

#[tokio::test]
async fn test_lanes_that_were_left_empty_hold_up_nobody() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let action = action(pool, "test.limited").await;
    one_at_a_time(pool, &action).await;
    let worker = worker(pool, "one").await;
    let first = request(pool, &action, &[json!({"host": "first"})]).await[0];
    admit(pool).await;
    let hosts: Vec<_> = (0..700).map(|host| json!({ "host": host })).collect();
    let waiting = request(pool, &action, &hosts).await;
    let mut connection = pool.acquire().await.unwrap();
    let urgent = ExecutionUpdate { priority: Some(5), ..ExecutionUpdate::default() };
    for id in &waiting[..650] {
        ExecutionRepository::update(&mut connection, *id, &urgent).await.unwrap();
    }
    admit(pool).await;
    for id in &waiting[..650] {
        ExecutionRepository::cancel(&mut connection, *id).await.unwrap();
    }
    // Its policies change meanwhile as well.
    let change = PolicyUpdate { concurrency: Some(2), ..PolicyUpdate::default() };
    let policies: Vec<i64> =
        sqlx::query_scalar("select id from attune.policy order by id").fetch_all(pool).await.unwrap();
    PolicyRepository::update(&mut connection, policies[1], &change).await.unwrap();
    let by_two = PolicyUpdate {
        parameters: Some(vec!["host".to_owned(), "service".to_owned()]),
        ..PolicyUpdate::default()
    };
    PolicyRepository::update(&mut connection, policies[0], &by_two).await.unwrap();
    admit(pool).await;
    let mut begun = Vec::new();
    let until = Instant::now() + PATIENCE;
    while begun.len() < 51 {
        let scheduled = with_status(pool, ExecutionStatus::Scheduled).await;
        assert_eq!(scheduled.len(), 2.min(51 - begun.len()), "after {begun:?}");
        let claimed = claim(pool, &worker, 10).await;
        complete(pool, &worker, &claimed, ExecutionStatus::Completed).await;
        begun.extend(claimed.iter().map(|claimed| claimed.id));
        admit(pool).await;
        assert!(Instant::now() < until, "only {begun:?} began");
    }
    begun.sort_unstable();
    assert_eq!(begun, [&[first], &waiting[650..]].concat());
}

#[tokio::test]
async fn test_a_lost_worker_leaves_no_slot_behind() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let action = action(pool, "test.limited").await;
    policy(pool, of_action(&action)).await;
    let worker = worker(pool, "killed").await;
    let ids = request_many(pool, &action, 2).await;
    admit(pool).await;
    assert_eq!(claim(pool, &worker, 10).await.len(), 1);
    WorkerRepository::renew(pool, worker.id, &worker.instance, Duration::ZERO).await.unwrap();
    Rescuer::new(pool.clone(), Bus::new()).pass().await.unwrap();
    assert_eq!(status_of(pool, ids[0]).await, ExecutionStatus::Abandoned);
    admit(pool).await;
    assert_eq!(status_of(pool, ids[1]).await, ExecutionStatus::Scheduled);
}

#[tokio::test]
async fn test_a_paused_action_gives_its_slots_to_others() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let (first, second) = (action(pool, "test.first").await, action(pool, "test.second").await);
    let pack = NewPack {
        r#ref: "test".to_owned(),
        label: "Test".to_owned(),
        version: "1.0.0".to_owned(),
        ..NewPack::default()
    };
    let pack = PackRepository::create(pool, &pack).await.unwrap();
    sqlx::query("update attune.action set pack = $1").bind(pack.id).execute(pool).await.unwrap();
    let together = NewPolicy { r#ref: "test.together".to_owned(), action_ref: None, ..of_action(&first) };
    PolicyRepository::create(pool, Some(pack.id), &together).await.unwrap();
    let (ours, theirs) = (request_many(pool, &first, 2).await, request_many(pool, &second, 1).await);
    admit(pool).await;
    assert_eq!(with_status(pool, ExecutionStatus::Scheduled).await, [ours[0]]);
    let pause = NewPause {
        scope: PauseScope::Action(first.r#ref.clone()),
        reason: None,
        identity: None,
        login: None,
    };
    let pause = PauseRepository::create(pool, &pause).await.unwrap();
    admit(pool).await;
    assert_eq!(with_status(pool, ExecutionStatus::Scheduled).await, theirs);
    assert_eq!(with_status(pool, ExecutionStatus::Requested).await, ours);
    assert!(PauseRepository::delete(pool, pause.id).await.unwrap());
    assert_eq!(
        ExecutionRepository::cancel(&mut pool.acquire().await.unwrap(), theirs[0]).await.unwrap(),
        Some(ExecutionStatus::Cancelled)
    );
    admit(pool).await;
    assert_eq!(with_status(pool, ExecutionStatus::Scheduled).await, [ours[0]], "in the place that it had");
}

#[tokio::test]
async fn test_a_policy_that_is_changed_takes_effect_on_what_waits() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let action = action(pool, "test.limited").await;
    let policy = policy(pool, of_action(&action)).await;
    let hosts: Vec<_> = (0..12).map(|n| json!({"host": format!("host-{}", n % 3)})).collect();
    request(pool, &action, &hosts).await;
    let scheduled = async || {
        admit(pool).await;
        with_status(pool, ExecutionStatus::Scheduled).await.len()
    };
    let change = async |update: PolicyUpdate| {
        PolicyRepository::update(&mut pool.acquire().await.unwrap(), policy.id, &update).await.unwrap();
    };
    assert_eq!(scheduled().await, 1);
    change(PolicyUpdate { concurrency: Some(2), ..PolicyUpdate::default() }).await;
    assert_eq!(scheduled().await, 2);
    // Two for each host: those that were admitted before (of hosts 0 and 1) count for their hosts.
    change(PolicyUpdate { parameters: Some(vec!["host".to_owned()]), ..PolicyUpdate::default() }).await;
    assert_eq!(scheduled().await, 6);
    change(PolicyUpdate { parameters: Some(Vec::new()), ..PolicyUpdate::default() }).await;
    assert_eq!(scheduled().await, 6, "more run than it admits now: none is added, none is ended");
    change(PolicyUpdate { enabled: Some(false), ..PolicyUpdate::default() }).await;
    assert_eq!(scheduled().await, 12);
    assert!(!AdmissionRepository::is_needed(pool).await.unwrap());
}

#[tokio::test]
async fn test_what_is_more_is_cancelled_with_the_reason() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let action = action(pool, "test.limited").await;
    policy(pool, NewPolicy { method: PolicyMethod::Cancel, ..of_action(&action) }).await;
    let ids = request_many(pool, &action, 3).await;
    admit(pool).await;
    assert_eq!(with_status(pool, ExecutionStatus::Scheduled).await, [ids[0]]);
    assert_eq!(with_status(pool, ExecutionStatus::Cancelled).await, ids[1..]);
    let refused = ExecutionRepository::get_by_id(pool, ids[1]).await.unwrap();
    assert_eq!(
        refused.error.as_deref(),
        Some("policy test.limited_policy admits 1 at once, and cancels what is more")
    );
    assert_eq!(refused.attempt, 0);
    assert_eq!(ExecutionRepository::attempts(pool, ids[1]).await.unwrap(), [], "nothing was attempted");
}

#[tokio::test]
async fn test_a_rate_counts_starts_that_are_over() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let action = action(pool, "test.limited").await;
    let rate = NewPolicy {
        concurrency: None,
        rate_count: Some(2),
        rate_seconds: Some(3600.0),
        ..of_action(&action)
    };
    let policy = policy(pool, rate).await;
    let worker = worker(pool, "one").await;
    request_many(pool, &action, 5).await;
    admit(pool).await;
    let claimed = claim(pool, &worker, 10).await;
    assert_eq!(claimed.len(), 2);
    complete(pool, &worker, &claimed, ExecutionStatus::Completed).await;
    admit(pool).await;
    assert_eq!(with_status(pool, ExecutionStatus::Scheduled).await, NO_IDS);
    // The same two starts, in a period that is over by the time it is asked.
    let update = PolicyUpdate { rate_seconds: Some(0.001), ..PolicyUpdate::default() };
    PolicyRepository::update(&mut pool.acquire().await.unwrap(), policy.id, &update).await.unwrap();
    let until = Instant::now() + PATIENCE;
    while !with_status(pool, ExecutionStatus::Requested).await.is_empty() {
        admit(pool).await;
        assert!(Instant::now() < until, "a start of a millisecond ago counts for ever");
    }
}

/// Two executors with connections of their own, workers that run and end executions, and somebody who counts.
#[tokio::test]
async fn test_two_executors_never_admit_more_than_the_limit() {
    const HOSTS: i64 = 4;
    const EACH: i64 = 50;
    const LIMIT: i64 = 3;
    const TOGETHER: i64 = 7;
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let action = action(pool, "test.limited").await;
    let by_host = NewPolicy {
        concurrency: Some(i32::try_from(LIMIT).unwrap()),
        parameters: vec!["host".to_owned()],
        ..of_action(&action)
    };
    policy(pool, by_host).await;
    let together = NewPolicy {
        r#ref: "test.together".to_owned(),
        concurrency: Some(i32::try_from(TOGETHER).unwrap()),
        ..of_action(&action)
    };
    policy(pool, together).await;

    let shutdown = CancellationToken::new();
    let mut roles = Vec::new();
    for _ in 0..2 {
        let options = PoolOptions { max_connections: 6, ..PoolOptions::default() };
        let pool = db::connect(database.url(), &options).await.unwrap();
        let bus = Bus::new();
        roles.push(tokio::spawn(bus.clone().connect(pool.clone(), shutdown.clone())));
        roles.push(tokio::spawn(attune_executor::run(
            Executor { pool, bus, retention: Retention::default() },
            shutdown.clone(),
        )));
    }
    let most = Arc::new(AtomicI64::new(0));
    let done = Arc::new(AtomicBool::new(false));
    let checker = tokio::spawn(watch(pool.clone(), most.clone(), done.clone(), LIMIT, TOGETHER));

    let worker = worker(pool, "one").await;
    let until = Instant::now() + PATIENCE;
    let mut requested = 0;
    loop {
        // They come while others run.
        if requested < EACH {
            let hosts: Vec<_> = (0..HOSTS).map(|host| json!({ "host": host })).collect();
            request(pool, &action, &hosts).await;
            requested += 1;
        }
        let claimed = claim(pool, &worker, 2).await;
        complete(pool, &worker, &claimed, ExecutionStatus::Completed).await;
        let ended = with_status(pool, ExecutionStatus::Completed).await.len() as i64;
        if ended == HOSTS * EACH {
            break;
        }
        assert!(Instant::now() < until, "{ended} of {} ended", HOSTS * EACH);
    }
    done.store(true, Ordering::SeqCst);
    checker.await.unwrap();
    assert!(most.load(Ordering::SeqCst) > 1, "they did run side by side");
    shutdown.cancel();
    for role in roles {
        role.await.unwrap();
    }
}

/// Counts, in one look, what runs or may be claimed.
async fn watch(pool: PgPool, most: Arc<AtomicI64>, done: Arc<AtomicBool>, limit: i64, together: i64) {
    while !done.load(Ordering::SeqCst) {
        let counts: Vec<(i64, i64)> = sqlx::query_as(
            "select (config ->> 'host')::bigint, count(*)
             from attune.execution
             where status in ('scheduled', 'running', 'canceling')
             group by 1",
        )
        .fetch_all(&pool)
        .await
        .unwrap();
        let by_host: HashMap<i64, i64> = counts.into_iter().collect();
        let sum: i64 = by_host.values().sum();
        most.fetch_max(sum, Ordering::SeqCst);
        assert!(by_host.values().all(|count| *count <= limit), "{by_host:?}");
        assert!(sum <= together, "{by_host:?}");
    }
}
