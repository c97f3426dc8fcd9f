//! Windows of rules through the matching pass and the timers pass, on a real database.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use attune_common::bus::{Bus, Topic};
use attune_common::models::Timestamp;
use attune_common::models::action::NewAction;
use attune_common::models::enforcement::Enforcement;
use attune_common::models::event::NewEvent;
use attune_common::models::execution::{Execution, ExecutionFilter};
use attune_common::models::rule::{NewRule, Rule, RuleUpdate};
use attune_common::models::trigger::NewTrigger;
use attune_common::pass::Found;
use attune_common::repositories::{
    ActionRepository, EnforcementRepository, EventRepository, ExecutionRepository, RuleRepository,
    TriggerRepository, WindowRepository,
};
use attune_executor::matching::Matcher;
use attune_executor::timers;
use attune_testkit::TestDatabase;
use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use sqlx::PgPool;

mod faults;

const TRIGGER: &str = "test.alert";

/// A database with a trigger and an action.
struct World {
    database: TestDatabase,
    /// An hour ago, to the second: what timers wait for is over.
    start: Timestamp,
}

impl World {
    async fn new() -> Self {
        let database = TestDatabase::create().await;
        let trigger = NewTrigger {
            r#ref: TRIGGER.to_owned(),
            label: None,
            description: None,
            enabled: true,
            param_schema: json!({}),
            out_schema: json!({}),
            webhook: None,
        };
        TriggerRepository::create(database.pool(), None, &trigger).await.unwrap();
        let action = NewAction::of("test.page", "test.shell", "run.sh");
        ActionRepository::create(database.pool(), None, &action).await.unwrap();
        let start = chrono::DateTime::from_timestamp(Utc::now().timestamp() - 3_600, 0).unwrap();
        Self { database, start }
    }

    fn pool(&self) -> &PgPool {
        self.database.pool()
    }

    fn matcher(&self) -> Matcher {
        Matcher::new(self.pool().clone(), Bus::new())
    }

    async fn rule(&self, window: Value) -> Rule {
        self.rule_with("test.rule", window, json!({"text": "{{ window.count }} on {{ window.key }}"})).await
    }

    async fn rule_with(&self, rule_ref: &str, window: Value, action_params: Value) -> Rule {
        let new =
            NewRule { window: Some(window), action_params, ..NewRule::of(rule_ref, TRIGGER, "test.page") };
        let mut connection = self.pool().acquire().await.unwrap();
        RuleRepository::create(&mut connection, None, &new).await.unwrap()
    }

    /// Records events with their payloads, each so many seconds after the start.
    async fn events(&self, payloads: &[(i64, Value)]) -> Vec<i64> {
        let events: Vec<NewEvent> = payloads
            .iter()
            .map(|(_, payload)| NewEvent {
                trigger_ref: TRIGGER.to_owned(),
                payload: Some(payload.clone()),
                ..NewEvent::default()
            })
            .collect();
        let mut transaction = attune_common::db::begin(self.pool()).await.unwrap();
        let appended = EventRepository::append(&mut transaction, &events).await.unwrap();
        let ids: Vec<i64> = appended.iter().map(|appended| appended.id).collect();
        for (id, (seconds, _)) in ids.iter().zip(payloads) {
            sqlx::query("update attune.event set created = $2 where id = $1")
                .bind(id)
                .bind(self.start + TimeDelta::seconds(*seconds))
                .execute(&mut *transaction)
                .await
                .unwrap();
        }
        transaction.commit().await.unwrap();
        ids
    }

    /// Events of one host.
    async fn hosts(&self, seconds: &[i64]) -> Vec<i64> {
        let payloads: Vec<_> = seconds.iter().map(|seconds| (*seconds, json!({"host": "web-01"}))).collect();
        self.events(&payloads).await
    }

    /// Enforcements with the events that contributed, in the order in which they were made.
    async fn enforcements(&self) -> Vec<(Enforcement, Vec<i64>)> {
        let mut rows = EnforcementRepository::list(self.pool()).await.unwrap();
        rows.sort_by_key(|row| row.id);
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        let links = EnforcementRepository::contributing_events(self.pool(), &ids).await.unwrap();
        let of = |id: i64| links.iter().filter(|(row, _)| *row == id).map(|(_, event)| *event).collect();
        rows.into_iter()
            .map(|row| {
                let events = of(row.id);
                (row, events)
            })
            .collect()
    }

    /// The events of each enforcement.
    async fn fired(&self) -> Vec<Vec<i64>> {
        self.enforcements().await.into_iter().map(|(_, events)| events).collect()
    }

    async fn executions(&self) -> Vec<Execution> {
        let filter = ExecutionFilter { limit: 10_000, ..ExecutionFilter::default() };
        ExecutionRepository::search(self.pool(), &filter).await.unwrap()
    }

    async fn states(&self, rule: &Rule) -> Vec<(String, Value)> {
        let states = WindowRepository::list_by_rule(self.pool(), rule.id).await.unwrap();
        states.into_iter().map(|state| (state.key, state.state)).collect()
    }

    async fn outcomes(&self, event: i64) -> Vec<Value> {
        let outcomes = WindowRepository::outcomes_of_event(self.pool(), event).await.unwrap();
        outcomes.into_iter().map(|of| of.outcome.outcome).collect()
    }
}

async fn match_all(matcher: &mut Matcher) {
    while matcher.pass().await.unwrap() == Found::More {}
}

async fn fire_all(matcher: &mut Matcher) {
    while timers::pass(matcher).await.unwrap() == Found::More {}
}

/// Drives a future until it has asked to be polled again so many times, and drops it then, as a process that dies does.
async fn interrupted<F: Future>(future: F, after: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = after;
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

fn test(value: i64) -> Value {
    json!({"field": "event.payload.n", "operator": "equals", "value": value})
}

#[tokio::test]
async fn test_throttle_fires_first_and_says_what_it_held() {
    let world = World::new().await;
    let rule = world.rule(json!({"throttle": "15m", "key": "{{ event.payload.host }}"})).await;
    let events = world.hosts(&[0, 60, 900]).await;
    let other = world.events(&[(61, json!({"host": "web-02"}))]).await;
    match_all(&mut world.matcher()).await;
    assert_eq!(world.fired().await, [vec![events[0]], vec![events[2]], other.clone()]);
    let until = (world.start + TimeDelta::seconds(900)).to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    assert_eq!(
        world.outcomes(events[1]).await,
        [json!({"outcome": "held", "by": events[0], "until": until})]
    );
    assert_eq!(world.outcomes(events[0]).await, [] as [Value; 0]);
    let params: Vec<_> =
        world.enforcements().await.into_iter().map(|(row, _)| row.payload["text"].clone()).collect();
    assert_eq!(params, ["1 on web-01", "1 on web-01", "1 on web-02"]);
    assert_eq!(world.executions().await.len(), 3);
    let keys: Vec<_> = world.states(&rule).await.into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["web-01", "web-02"]);
    // The quiet time of both is long over: nothing fires, and they are forgotten.
    fire_all(&mut world.matcher()).await;
    assert_eq!((world.states(&rule).await.len(), world.fired().await.len()), (0, 3));
}

#[tokio::test]
async fn test_what_a_window_remembers_outlives_its_executor() {
    let world = World::new().await;
    let rule = world.rule(json!({"count": {"at_least": 3, "within": "10m"}})).await;
    let mut events = Vec::new();
    for seconds in [0, 60, 120, 180] {
        events.extend(world.hosts(&[seconds]).await);
        match_all(&mut world.matcher()).await;
    }
    let made = world.enforcements().await;
    assert_eq!(made.len(), 1);
    assert_eq!((made[0].0.event, &made[0].1), (Some(events[2]), &events[..3].to_vec()));
    assert_eq!(made[0].0.payload, json!({"text": "3 on None"}));
    assert_eq!(world.outcomes(events[1]).await, [json!({"outcome": "counted", "count": 2, "at_least": 3})]);
    assert_eq!(world.states(&rule).await.len(), 1);
    // An event that contributed leads to the decision and to its execution.
    let of_first = EnforcementRepository::list_by_event(world.pool(), events[0]).await.unwrap();
    assert_eq!(of_first, [made[0].0.clone()]);
    let filter = ExecutionFilter { event: Some(events[0]), limit: 10, ..ExecutionFilter::default() };
    assert_eq!(ExecutionRepository::search(world.pool(), &filter).await.unwrap().len(), 1);
}

#[tokio::test]
async fn test_several_firings_of_one_batch_are_decisions_of_their_own() {
    let world = World::new().await;
    let rule = world.rule(json!({"count": {"at_least": 2, "within": "10m"}})).await;
    let events = world.hosts(&[0, 1, 2, 3]).await;
    match_all(&mut world.matcher()).await;
    assert_eq!(world.fired().await, [events[..2].to_vec(), events[2..].to_vec()]);
    assert!(world.states(&rule).await.is_empty());
}

#[tokio::test]
async fn test_debounce_fires_by_the_timers_pass_with_the_last_event() {
    let world = World::new().await;
    let params =
        json!({"n": "{{ event.payload.n }}", "count": "{{ window.count }}", "key": "{{ window.key }}"});
    let window = json!({"debounce": "5m", "key": "{{ event.payload.host }}"});
    let rule = world.rule_with("test.rule", window, params).await;
    let events = world
        .events(&[
            (0, json!({"host": "a", "n": 1})),
            (100, json!({"host": "a", "n": 2})),
            (50, json!({"host": "b", "n": 3})),
        ])
        .await;
    let mut matcher = world.matcher();
    match_all(&mut matcher).await;
    assert!(world.fired().await.is_empty());
    assert_eq!(world.states(&rule).await.len(), 2);
    fire_all(&mut world.matcher()).await;
    let made = world.enforcements().await;
    let shown: Vec<_> =
        made.iter().map(|(row, events)| (row.event, events.clone(), row.payload.clone())).collect();
    assert_eq!(
        shown,
        [
            (Some(events[1]), vec![events[0], events[1]], json!({"n": 2, "count": 2, "key": "a"})),
            (Some(events[2]), vec![events[2]], json!({"n": 3, "count": 1, "key": "b"})),
        ]
    );
    assert_eq!((world.executions().await.len(), world.states(&rule).await.len()), (2, 0));
    fire_all(&mut matcher).await;
    assert_eq!(world.fired().await.len(), 2);
}

#[tokio::test]
async fn test_timers_wait_for_events_that_are_not_matched_yet() {
    let world = World::new().await;
    world.rule(json!({"debounce": "5m"})).await;
    let mut matcher = world.matcher();
    let first = world.hosts(&[0]).await;
    match_all(&mut matcher).await;
    // It came in time and waits to be matched: the burst is not over.
    let second = world.hosts(&[250]).await;
    fire_all(&mut matcher).await;
    assert!(world.fired().await.is_empty());
    match_all(&mut matcher).await;
    fire_all(&mut matcher).await;
    assert_eq!(world.fired().await, [[first, second].concat()]);
}

#[tokio::test]
async fn test_absent_fires_unless_the_expected_follows() {
    let world = World::new().await;
    let window = json!({
        "absent": {"after": test(1), "expected": test(2), "within": "10m"},
        "key": "{{ event.payload.host }}",
    });
    let rule = world.rule(window).await;
    let payload = |host: &str, n: i64| json!({"host": host, "n": n});
    // What was expected of `a` is matched before what it follows.
    let early = world.events(&[(20, payload("a", 2))]).await;
    let mut matcher = world.matcher();
    match_all(&mut matcher).await;
    assert_eq!(world.outcomes(early[0]).await, [json!({"outcome": "not_awaited"})]);
    let events = world.events(&[(0, payload("a", 1)), (0, payload("b", 1)), (5, payload("c", 3))]).await;
    match_all(&mut matcher).await;
    fire_all(&mut matcher).await;
    assert_eq!(world.fired().await, [vec![events[1]]]);
    assert!(world.states(&rule).await.is_empty());
    assert_eq!(world.outcomes(events[2]).await, [] as [Value; 0]);
}

#[tokio::test]
async fn test_patterns_fire_once_all_is_there() {
    let world = World::new().await;
    let within = |kind: &str| json!({kind: {"conditions": [test(1), test(2)], "within": "10m"}});
    let params = json!({"last": "{{ event.payload.n }}"});
    let any = world.rule_with("test.any_order", within("all_of"), params.clone()).await;
    let ordered = world.rule_with("test.in_order", within("sequence"), params).await;
    let events = world.events(&[(0, json!({"n": 2})), (1, json!({"n": 1})), (2, json!({"n": 9}))]).await;
    let mut matcher = world.matcher();
    match_all(&mut matcher).await;
    let made = world.enforcements().await;
    assert_eq!((made.len(), made[0].0.rule, &made[0].1), (1, Some(any.id), &events[..2].to_vec()));
    let more = world.events(&[(3, json!({"n": 2}))]).await;
    match_all(&mut matcher).await;
    let made = world.enforcements().await;
    assert_eq!(
        (made.len(), made[1].0.rule, made[1].1.clone()),
        (2, Some(ordered.id), vec![events[1], more[0]])
    );
    // A step that comes late completes the sequence; the decision is about the last of its events.
    let second = world.events(&[(61, json!({"n": 2}))]).await;
    match_all(&mut matcher).await;
    let first = world.events(&[(60, json!({"n": 1}))]).await;
    match_all(&mut matcher).await;
    let of_order: Vec<_> =
        world.enforcements().await.into_iter().filter(|(row, _)| row.rule == Some(ordered.id)).collect();
    assert_eq!(of_order.len(), 2);
    assert_eq!((of_order[1].0.event, of_order[1].0.payload.clone()), (Some(second[0]), json!({"last": 2})));
    assert_eq!(of_order[1].1, [second[0], first[0]]);
}

#[tokio::test]
async fn test_dedup_fires_once_a_period() {
    let world = World::new().await;
    world.rule(json!({"dedup": "1d", "key": "{{ event.payload.id }}"})).await;
    // Days apart, since an hour ago may have been yesterday.
    let day = 86_400;
    let given = [(0, 7), (-day, 7), (-day, 8), (0, 7)];
    let payloads: Vec<_> = given.iter().map(|(seconds, id)| (*seconds, json!({"id": id}))).collect();
    let events = world.events(&payloads).await;
    match_all(&mut world.matcher()).await;
    let mut fired = world.fired().await;
    fired.sort();
    assert_eq!(fired, [vec![events[0]], vec![events[1]], vec![events[2]]]);
}

#[tokio::test]
async fn test_a_key_that_cannot_be_had_is_told_by_an_enforcement() {
    let world = World::new().await;
    let rule = world.rule(json!({"throttle": "15m", "key": "{{ event.payload.host }}"})).await;
    let events = world.events(&[(0, json!({})), (1, json!({"host": null})), (2, json!({"host": 7}))]).await;
    match_all(&mut world.matcher()).await;
    let made = world.enforcements().await;
    let errors: Vec<_> = made.iter().map(|(row, _)| row.error.clone().unwrap_or_default()).collect();
    assert_eq!(
        made.iter().map(|(row, _)| row.event.unwrap()).collect::<Vec<_>>(),
        [events[0], events[1], events[2]]
    );
    assert!(
        errors[0].contains("the key of the window cannot be rendered")
            && errors[0].contains("event.payload.host")
    );
    assert!(errors[1].contains("the key of the window is null"));
    assert_eq!(errors[2], "");
    assert_eq!((world.executions().await.len(), world.states(&rule).await[0].0.as_str()), (1, "7"));
}

#[tokio::test]
async fn test_a_condition_of_the_window_that_fails_is_told_by_an_enforcement() {
    let world = World::new().await;
    let greater = json!({"field": "event.payload.n", "operator": "gt", "value": 5});
    let window = json!({"all_of": {"conditions": [test(1), greater], "within": "10m"}});
    let rule = world.rule_with("test.rule", window, json!({})).await;
    world.events(&[(0, json!({"n": 1})), (1, json!({"n": "x"}))]).await;
    match_all(&mut world.matcher()).await;
    let made = world.enforcements().await;
    let error = made[0].0.error.clone().unwrap();
    assert_eq!(made.len(), 1);
    assert!(error.contains("/window/all_of/conditions/1 (event.payload.n greater_than)"), "{error}");
    assert_eq!(world.states(&rule).await.len(), 1);
}

#[tokio::test]
async fn test_parameters_that_cannot_be_rendered_are_told_when_the_window_fires() {
    let world = World::new().await;
    world.rule_with("test.rule", json!({"debounce": "1m"}), json!({"a": "{{ event.payload.nope }}"})).await;
    let events = world.hosts(&[0, 1]).await;
    let mut matcher = world.matcher();
    match_all(&mut matcher).await;
    fire_all(&mut matcher).await;
    let made = world.enforcements().await;
    assert_eq!((made.len(), &made[0].1), (1, &events));
    assert!(made[0].0.error.as_ref().unwrap().contains("the parameters cannot be rendered"));
    assert!(world.executions().await.is_empty());
}

#[tokio::test]
async fn test_another_window_begins_anew_and_other_changes_do_not() {
    let world = World::new().await;
    let rule = world.rule(json!({"count": {"at_least": 2, "within": "10m"}})).await;
    let change = async |update: RuleUpdate| {
        let mut connection = world.pool().acquire().await.unwrap();
        RuleRepository::update(&mut connection, rule.id, &update).await.unwrap();
    };
    let mut matcher = world.matcher();
    let first = world.hosts(&[0]).await;
    match_all(&mut matcher).await;
    change(RuleUpdate { label: Some("New".to_owned()), ..RuleUpdate::default() }).await;
    let second = world.hosts(&[1]).await;
    match_all(&mut matcher).await;
    assert_eq!(world.fired().await, [[first, second].concat()]);
    world.hosts(&[2]).await;
    match_all(&mut matcher).await;
    let other = json!({"count": {"at_least": 2, "within": "11m"}});
    change(RuleUpdate { window: Some(other), ..RuleUpdate::default() }).await;
    let third = world.hosts(&[3]).await;
    match_all(&mut matcher).await;
    assert_eq!(world.fired().await.len(), 1);
    let fourth = world.hosts(&[4]).await;
    match_all(&mut matcher).await;
    assert_eq!(world.fired().await[1], [third, fourth].concat());
    // Without a window each event counts for itself.
    world.hosts(&[5]).await;
    match_all(&mut matcher).await;
    change(RuleUpdate { window: Some(Value::Null), action_params: Some(json!({})), ..RuleUpdate::default() })
        .await;
    let alone = world.hosts(&[6]).await;
    match_all(&mut matcher).await;
    assert_eq!(world.fired().await[2], alone);
    fire_all(&mut matcher).await;
    assert!(world.states(&rule).await.is_empty());
}

#[tokio::test]
async fn test_a_disabled_or_changed_rule_does_not_fire_by_a_timer() {
    let world = World::new().await;
    let rule = world.rule(json!({"debounce": "1m"})).await;
    let mut matcher = world.matcher();
    for update in [
        RuleUpdate { enabled: Some(false), ..RuleUpdate::default() },
        RuleUpdate { enabled: Some(true), window: Some(json!({"debounce": "2m"})), ..RuleUpdate::default() },
    ] {
        world.hosts(&[0]).await;
        match_all(&mut matcher).await;
        let mut connection = world.pool().acquire().await.unwrap();
        RuleRepository::update(&mut connection, rule.id, &update).await.unwrap();
        fire_all(&mut matcher).await;
        assert!(world.states(&rule).await.is_empty());
        let on = RuleUpdate { enabled: Some(true), ..RuleUpdate::default() };
        RuleRepository::update(&mut connection, rule.id, &on).await.unwrap();
    }
    assert!(world.fired().await.is_empty());
}

#[tokio::test]
async fn test_a_removed_rule_takes_its_states_with_it() {
    let world = World::new().await;
    let rule = world.rule(json!({"debounce": "1m"})).await;
    let mut matcher = world.matcher();
    world.hosts(&[0]).await;
    match_all(&mut matcher).await;
    // While its removal is not committed, neither pass waits for it.
    let mut removal = attune_common::db::begin(world.pool()).await.unwrap();
    sqlx::query("select id from attune.rule where id = $1 for update")
        .bind(rule.id)
        .execute(&mut *removal)
        .await
        .unwrap();
    world.hosts(&[1]).await;
    assert_eq!(matcher.pass().await.unwrap(), Found::Nothing);
    fire_all(&mut matcher).await;
    assert!(world.fired().await.is_empty());
    assert_eq!(EventRepository::count_waiting(world.pool()).await.unwrap(), 1);
    RuleRepository::delete(&mut removal, rule.id).await.unwrap();
    removal.commit().await.unwrap();
    match_all(&mut matcher).await;
    fire_all(&mut matcher).await;
    assert_eq!(EventRepository::count_waiting(world.pool()).await.unwrap(), 0);
    assert!(world.fired().await.is_empty() && world.states(&rule).await.is_empty());
}

#[tokio::test]
async fn test_a_removed_event_is_told_when_the_window_fires() {
    let world = World::new().await;
    world.rule(json!({"debounce": "1m"})).await;
    let events = world.hosts(&[0]).await;
    let mut matcher = world.matcher();
    match_all(&mut matcher).await;
    EventRepository::delete(world.pool(), events[0]).await.unwrap();
    fire_all(&mut matcher).await;
    let made = world.enforcements().await;
    let expected = format!("the window fires for event {}, which was removed", events[0]);
    assert_eq!((made.len(), made[0].0.error.clone(), made[0].0.event), (1, Some(expected), None));
}

/// Rules without windows leave no trace in the tables of windows.
#[tokio::test]
async fn test_rules_without_windows_write_nothing_more() {
    let world = World::new().await;
    let new = NewRule::of("test.plain", TRIGGER, "test.page");
    let mut connection = world.pool().acquire().await.unwrap();
    let rule = RuleRepository::create(&mut connection, None, &new).await.unwrap();
    let events = world.hosts(&[0, 1]).await;
    match_all(&mut world.matcher()).await;
    assert_eq!(world.fired().await, [vec![events[0]], vec![events[1]]]);
    let written: i64 = sqlx::query_scalar(
        "select (select count(*) from attune.enforcement_event) + (select count(*) from attune.window_state)
                + (select count(*) from attune.window_outcome)",
    )
    .fetch_one(world.pool())
    .await
    .unwrap();
    assert_eq!((written, world.states(&rule).await.len()), (0, 0));
}

/// One records while the other judges, and still each firing is of events that came one after the other.
#[tokio::test]
async fn test_two_passes_of_one_executor_give_windows_their_events_in_order() {
    const TOGETHER: i64 = 300;
    let world = World::new().await;
    world.rule(json!({"count": {"at_least": 7, "within": "1h"}})).await;
    let mut events = Vec::new();
    for chunk in 0..8 {
        // Two of them are more than one pass takes.
        let payloads: Vec<_> = (0..TOGETHER).map(|n| (chunk * TOGETHER + n, json!({}))).collect();
        events.extend(world.events(&payloads).await);
    }
    let helper = Bus::new();
    let mut woken = helper.subscribe(Topic::Event);
    let first = world.matcher().helped_by(helper);
    let second = first.beside();
    let passes = [first, second].map(|mut matcher| {
        let pool = world.pool().clone();
        tokio::spawn(async move {
            while EventRepository::count_waiting(&pool).await.unwrap() > 0 {
                matcher.pass().await.unwrap();
            }
        })
    });
    for pass in passes {
        pass.await.unwrap();
    }
    tokio::time::timeout(Duration::ZERO, woken.woken()).await.expect("the helper was not called");
    let mut expected: Vec<Vec<i64>> = events.chunks(7).map(<[i64]>::to_vec).collect();
    expected.pop();
    assert_eq!(world.fired().await, expected);
}

/// A transaction that fails at its last statements has done nothing: neither the decision nor the state.
#[tokio::test]
async fn test_a_transaction_that_fails_leaves_the_window_as_it_was() {
    let world = World::new().await;
    let rule = world.rule(json!({"count": {"at_least": 2, "within": "10m"}})).await;
    let quiet = world.rule_with("test.quiet", json!({"debounce": "1m"}), json!({})).await;
    let first = world.hosts(&[0]).await;
    let mut matcher = world.matcher();
    match_all(&mut matcher).await;
    let before = (world.states(&rule).await, world.states(&quiet).await);
    sqlx::raw_sql(
        "create function attune.refuse() returns trigger language plpgsql as $$ begin raise 'refused'; end $$;
         create trigger refuse before insert on attune.execution
             for each row execute function attune.refuse();
         alter table attune.execution enable always trigger refuse;",
    )
    .execute(world.pool())
    .await
    .unwrap();
    timers::pass(&mut matcher).await.unwrap_err();
    let second = world.hosts(&[1]).await;
    matcher.pass().await.unwrap_err();
    assert_eq!((world.states(&rule).await, world.states(&quiet).await), before);
    assert!(world.fired().await.is_empty());
    sqlx::raw_sql("drop trigger refuse on attune.execution").execute(world.pool()).await.unwrap();
    match_all(&mut matcher).await;
    fire_all(&mut matcher).await;
    let all = [first, second].concat();
    assert_eq!(world.fired().await, [all.clone(), all]);
    assert_eq!(world.executions().await.len(), 2);
}

/// Executors that are dropped wherever they wait, again and again: the result is that of one that is not.
#[tokio::test]
async fn test_executors_that_die_anywhere_change_nothing() {
    let world = World::new().await;
    let rule = world.rule(json!({"count": {"at_least": 3, "within": "1h"}})).await;
    let window = json!({"debounce": "1m", "key": "{{ event.payload.n % 5 }}"});
    let quiet = world.rule_with("test.quiet", window, json!({})).await;
    let payloads: Vec<_> = (0..20).map(|n| (n, json!({"n": n}))).collect();
    world.events(&payloads).await;
    for after in 0..400 {
        if interrupted(world.matcher().pass(), after).await.is_some() {
            break;
        }
    }
    // The server may still be undoing what was dropped, and hold its locks.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while EventRepository::count_waiting(world.pool()).await.unwrap() > 0 {
        match_all(&mut world.matcher()).await;
        assert!(tokio::time::Instant::now() < deadline, "events are never matched");
    }
    for after in 0..400 {
        if interrupted(timers::pass(&mut world.matcher()), after).await.is_some() {
            break;
        }
    }
    while !world.states(&quiet).await.is_empty() {
        fire_all(&mut world.matcher()).await;
        assert!(tokio::time::Instant::now() < deadline, "timers never fire");
    }
    let made = world.enforcements().await;
    let (counted, quieted): (Vec<_>, Vec<_>) =
        made.into_iter().partition(|(row, _)| row.rule == Some(rule.id));
    assert_eq!((counted.len(), quieted.len()), (6, 5));
    assert!(counted.iter().all(|(_, events)| events.len() == 3));
    assert!(quieted.iter().all(|(_, events)| events.len() == 4));
    assert_eq!(world.executions().await.len(), 11);
}

/// Several executors hammer the same keys of several rules: every event counts once, and nobody waits in a circle.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn test_several_executors_count_exactly() {
    const EVENTS: i64 = 3_000;
    const KEYS: i64 = 7;
    let world = World::new().await;
    let counting =
        |at_least: i64, key: &str| json!({"count": {"at_least": at_least, "within": "1h"}, "key": key});
    let one = world.rule_with("test.one", counting(5, "{{ event.payload.n % 7 }}"), json!({})).await;
    let other =
        world.rule_with("test.other", counting(4, "{{ (event.payload.n * 3) % 7 }}"), json!({})).await;
    let single =
        world.rule_with("test.single", json!({"count": {"at_least": 11, "within": "1h"}}), json!({})).await;
    let executors = (0..4).map(|_| {
        let mut matcher = world.matcher();
        let pool = world.pool().clone();
        tokio::spawn(async move {
            loop {
                matcher.pass().await.unwrap();
                let matched: i64 =
                    sqlx::query_scalar("select coalesce(sum(events), 0)::bigint from attune.event_batch where matched is not null")
                        .fetch_one(&pool)
                        .await
                        .unwrap();
                if matched == EVENTS {
                    return;
                }
            }
        })
    });
    let executors: Vec<_> = executors.collect();
    for chunk in 0..EVENTS / 50 {
        let payloads: Vec<_> = (0..50).map(|n| (n, json!({"n": chunk * 50 + n}))).collect();
        world.events(&payloads).await;
    }
    for executor in executors {
        executor.await.unwrap();
    }
    let mut expected: BTreeMap<i64, i64> = BTreeMap::from([(single.id, EVENTS / 11)]);
    for key in 0..KEYS {
        let of_key = (0..EVENTS).filter(|n| n % KEYS == key).count() as i64;
        *expected.entry(one.id).or_default() += of_key / 5;
        let of_key = (0..EVENTS).filter(|n| n * 3 % KEYS == key).count() as i64;
        *expected.entry(other.id).or_default() += of_key / 4;
    }
    let made: Vec<(i64, i64, i64)> = sqlx::query_as(
        "select enforcement.rule, count(distinct enforcement.id), count(enforcement_event.event)
         from attune.enforcement
         join attune.enforcement_event on enforcement_event.enforcement = enforcement.id
         group by enforcement.rule
         order by enforcement.rule",
    )
    .fetch_all(world.pool())
    .await
    .unwrap();
    let counts: BTreeMap<i64, i64> =
        made.iter().map(|(rule, enforcements, _)| (*rule, *enforcements)).collect();
    assert_eq!(counts, expected);
    let of_each = BTreeMap::from([(one.id, 5), (other.id, 4), (single.id, 11)]);
    for (rule, enforcements, events) in made {
        assert_eq!(events, enforcements * of_each[&rule], "each firing has its own events");
    }
    let twice: i64 = sqlx::query_scalar(
        "select count(*)
         from (
             select enforcement.rule, enforcement_event.event
             from attune.enforcement_event
             join attune.enforcement on enforcement.id = enforcement_event.enforcement
             group by 1, 2
             having count(*) > 1
         ) as repeated",
    )
    .fetch_one(world.pool())
    .await
    .unwrap();
    assert_eq!(twice, 0, "an event contributes once to a rule");
    assert_eq!(world.states(&single).await[0].1["count"].as_array().unwrap().len() as i64, EVENTS % 11);
}

/// Several executors fire the same timers: each once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn test_several_executors_fire_each_timer_once() {
    const KEYS: i64 = 500;
    let world = World::new().await;
    let window = json!({"debounce": "1m", "key": "{{ event.payload.n }}"});
    let rule = world.rule_with("test.rule", window, json!({})).await;
    let payloads: Vec<_> = (0..2 * KEYS).map(|n| (n % 50, json!({"n": n % KEYS}))).collect();
    world.events(&payloads).await;
    match_all(&mut world.matcher()).await;
    let executors = (0..4).map(|_| {
        let (mut matcher, pool, rule) = (world.matcher(), world.pool().clone(), rule.id);
        tokio::spawn(async move {
            while !WindowRepository::list_by_rule(&pool, rule).await.unwrap().is_empty() {
                timers::pass(&mut matcher).await.unwrap();
            }
        })
    });
    for executor in executors.collect::<Vec<_>>() {
        executor.await.unwrap();
    }
    let made: Vec<(i64, i64)> = sqlx::query_as(
        "select count(distinct enforcement.id), count(enforcement_event.event)
         from attune.enforcement
         join attune.enforcement_event on enforcement_event.enforcement = enforcement.id",
    )
    .fetch_all(world.pool())
    .await
    .unwrap();
    assert_eq!(made, [(KEYS, 2 * KEYS)]);
    assert_eq!(world.executions().await.len() as i64, KEYS);
}

/// The role as it runs: an event that waits fires without anybody asking for it.
#[tokio::test]
async fn test_the_role_fires_timers_by_itself() {
    let world = World::new().await;
    world.rule(json!({"debounce": 1})).await;
    let shutdown = tokio_util::sync::CancellationToken::new();
    let executor = attune_executor::Executor {
        pool: world.pool().clone(),
        bus: Bus::new(),
        retention: attune_executor::Retention::default(),
    };
    let role = tokio::spawn(attune_executor::run(executor, shutdown.clone()));
    let events = world.hosts(&[0]).await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while world.fired().await.is_empty() {
        assert!(tokio::time::Instant::now() < deadline, "the timer never fired");
        tokio::task::yield_now().await;
    }
    assert_eq!(world.fired().await, [events]);
    shutdown.cancel();
    role.await.unwrap();
}
