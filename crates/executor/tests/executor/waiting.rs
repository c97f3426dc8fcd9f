//! What waits for its time, for the end of a pause, or for a worker that can take it.

use std::collections::BTreeMap;
use std::time::Duration;

use attune_common::bus::{Bus, Topic};
use attune_common::models::audit::AuditFilter;
use attune_common::models::event::NewEvent;
use attune_common::models::execution::NewExecution;
use attune_common::models::internal_event::MAX_DEPTH;
use attune_common::models::pause::{NewPause, PauseScope};
use attune_common::models::placement::NewPlacement;
use attune_common::models::trigger::NewTrigger;
use attune_common::models::worker::{Worker, WorkerRegistration};
use attune_common::pass::Found;
use attune_common::repositories::{
    AuditRepository, EventRepository, ExecutionRepository, PauseRepository, PlacementRepository,
    TriggerRepository, WorkerRepository,
};
use attune_executor::waiting;
use attune_testkit::TestDatabase;
use serde_json::{Value, json};
use sqlx::PgPool;

async fn execution(pool: &PgPool, action_ref: &str, placement: Option<i64>) -> i64 {
    let new = NewExecution { placement, ..NewExecution::of(None, action_ref, json!({})) };
    ExecutionRepository::create(&mut pool.acquire().await.unwrap(), new).await.unwrap().id
}

async fn worker(pool: &PgPool, name: &str, labels: Value) -> Worker {
    let new = WorkerRegistration {
        name: name.to_owned(),
        instance: "first".to_owned(),
        host: None,
        slots: 4,
        labels,
        capabilities: json!({}),
        taints: Vec::new(),
        lease: Duration::from_secs(3600),
        take_over: false,
    };
    WorkerRepository::register(&mut pool.acquire().await.unwrap(), &new).await.unwrap()
}

async fn claim(pool: &PgPool, worker: &Worker) -> Vec<i64> {
    let mut connection = pool.acquire().await.unwrap();
    let claimed = ExecutionRepository::claim(&mut connection, worker.id, "first", 10).await.unwrap();
    claimed.into_iter().map(|execution| execution.id).collect()
}

#[tokio::test]
async fn test_an_execution_that_no_live_worker_can_take_is_told_of_once() {
    let database = TestDatabase::create().await;
    let (pool, bus) = (database.pool(), Bus::new());
    let trigger = NewTrigger {
        r#ref: waiting::UNSCHEDULABLE.to_owned(),
        label: None,
        description: None,
        enabled: true,
        param_schema: json!({}),
        out_schema: json!({}),
        webhook: None,
    };
    let trigger = TriggerRepository::create(pool, None, &trigger).await.unwrap();
    let windows = NewPlacement {
        selector: BTreeMap::from([("os".to_owned(), "windows".to_owned())]),
        tolerations: Vec::new(),
    };
    let windows = PlacementRepository::put(&mut pool.acquire().await.unwrap(), &windows).await.unwrap();
    let stuck = execution(pool, "ops.page", Some(windows.id)).await;
    execution(pool, "ops.page", None).await;
    worker(pool, "linux", json!({"os": "linux"})).await;

    // Not before it has been so for a while.
    let long = Duration::from_secs(3600);
    assert_eq!(waiting::placements(pool.clone(), bus.clone(), long).await.unwrap(), Found::Nothing);
    assert_eq!(EventRepository::list(pool).await.unwrap(), []);
    for _ in 0..2 {
        waiting::placements(pool.clone(), bus.clone(), Duration::ZERO).await.unwrap();
    }
    let events = EventRepository::list(pool).await.unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].trigger, events[0].trigger_ref.as_str()), (Some(trigger.id), "core.unschedulable"));
    assert_eq!(events[0].config, json!({"action": "ops.page", "pack": "ops"}));
    let told = &events[0].payload;
    assert_eq!(
        (&told["execution"], &told["action"], &told["worker_selector"]),
        (&json!(stuck), &json!("ops.page"), &json!({"os": "windows"}))
    );
    // It waits to be matched, and the execution still to be taken.
    assert_eq!(EventRepository::count_waiting(pool).await.unwrap(), 1);
    assert_eq!(claim(pool, &worker(pool, "windows", json!({"os": "windows"})).await).await.len(), 2);
}

#[tokio::test]
async fn test_what_internal_events_led_to_in_a_row_is_told_of_in_the_audit_log_only() {
    let database = TestDatabase::create().await;
    let (pool, bus) = (database.pool(), Bus::new());
    let windows = NewPlacement {
        selector: BTreeMap::from([("os".to_owned(), "windows".to_owned())]),
        tolerations: Vec::new(),
    };
    let windows = PlacementRepository::put(&mut pool.acquire().await.unwrap(), &windows).await.unwrap();
    worker(pool, "linux", json!({"os": "linux"})).await;
    // As if a rule that reacts to `core.unschedulable` had begun them, each by an event as deep as that.
    let led_to = async |depth: i16| {
        let event = NewEvent {
            trigger_ref: waiting::UNSCHEDULABLE.to_owned(),
            payload: Some(json!({})),
            depth,
            ..NewEvent::default()
        };
        let event =
            EventRepository::append(&mut pool.acquire().await.unwrap(), &[event]).await.unwrap()[0].id;
        let execution = execution(pool, "ops.page", Some(windows.id)).await;
        sqlx::query(
            "with decided as (
                 insert into attune.enforcement (rule_ref, trigger_ref, event, config, payload, condition, conditions)
                 values ('ops.again', $2, $1, '{}', '{}', 'all', '[]')
                 returning id
             )
             update attune.execution set enforcement = (select id from decided) where id = $3",
        )
        .bind(event)
        .bind(waiting::UNSCHEDULABLE)
        .bind(execution)
        .execute(pool)
        .await
        .unwrap();
        execution
    };
    let last = led_to(MAX_DEPTH - 1).await;
    let cut = led_to(MAX_DEPTH).await;
    for _ in 0..2 {
        waiting::placements(pool.clone(), bus.clone(), Duration::ZERO).await.unwrap();
    }
    let events = EventRepository::list(pool).await.unwrap();
    let told: Vec<_> = events
        .iter()
        .filter_map(|event| event.payload.get("execution").map(|id| (id, event.depth)))
        .collect();
    assert_eq!(told, [(&json!(last), MAX_DEPTH)]);
    let entries =
        AuditRepository::search(pool, &AuditFilter { limit: 10, ..AuditFilter::default() }).await.unwrap();
    let entries: Vec<_> = entries
        .iter()
        .map(|entry| (entry.activity.as_str(), entry.entity_ref.as_str(), &entry.detail))
        .collect();
    let detail = json!({"trigger": waiting::UNSCHEDULABLE, "depth": MAX_DEPTH + 1, "max_depth": MAX_DEPTH});
    assert_eq!(entries, [("internal_event.cut", cut.to_string().as_str(), &detail)]);
}

#[tokio::test]
async fn test_paused_work_goes_aside_and_comes_back_with_a_signal() {
    let database = TestDatabase::create().await;
    let (pool, bus) = (database.pool(), Bus::new());
    let paused = execution(pool, "ops.page", None).await;
    let free = execution(pool, "web.page", None).await;
    let scope = PauseScope::Pack("ops".to_owned());
    let pause = NewPause { scope, reason: None, identity: None, login: None };
    let pause = PauseRepository::create(pool, &pause).await.unwrap();
    let worker = worker(pool, "one", json!({})).await;
    waiting::pauses(pool.clone(), bus.clone()).await.unwrap();
    let aside: Vec<i64> =
        sqlx::query_scalar("select id from attune.execution where paused").fetch_all(pool).await.unwrap();
    assert_eq!(aside, [paused]);
    assert_eq!(claim(pool, &worker).await, [free]);
    assert!(PauseRepository::delete(pool, pause.id).await.unwrap());
    let mut signal = bus.subscribe(Topic::Execution);
    waiting::pauses(pool.clone(), bus.clone()).await.unwrap();
    tokio::time::timeout(Duration::from_secs(30), signal.woken()).await.unwrap();
    assert_eq!(claim(pool, &worker).await, [paused]);
}

#[tokio::test]
async fn test_what_is_due_is_released_with_a_signal() {
    let database = TestDatabase::create().await;
    let (pool, bus) = (database.pool(), Bus::new());
    let id = execution(pool, "ops.page", None).await;
    let worker = worker(pool, "one", json!({})).await;
    sqlx::query("update attune.execution set not_before = clock_timestamp() + interval '1 hour'")
        .execute(pool)
        .await
        .unwrap();
    waiting::due(pool.clone(), bus.clone()).await.unwrap();
    assert_eq!(claim(pool, &worker).await, [0; 0]);
    sqlx::query("update attune.execution set not_before = clock_timestamp()").execute(pool).await.unwrap();
    let mut signal = bus.subscribe(Topic::Execution);
    waiting::due(pool.clone(), bus.clone()).await.unwrap();
    tokio::time::timeout(Duration::from_secs(30), signal.woken()).await.unwrap();
    assert_eq!(claim(pool, &worker).await, [id]);
}
