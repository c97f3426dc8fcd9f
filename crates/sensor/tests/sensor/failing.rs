//! Sensors that fail are told of by events, once.

use attune_common::models::event::Event;
use attune_common::models::rule::NewRule;
use attune_common::repositories::{EventRepository, RuleRepository};
use serde_json::json;

use crate::helpers::*;

/// A rule that listens; what it does is of no matter here.
async fn listen(world: &World) {
    let rule = NewRule::of("ops.page".to_owned(), "core.sensor_failed", "core.noop");
    RuleRepository::create(&mut world.pool().acquire().await.unwrap(), None, &rule).await.unwrap();
}

async fn told(world: &World) -> Vec<Event> {
    let mut events = EventRepository::list_by_trigger_ref(world.pool(), "core.sensor_failed").await.unwrap();
    events.sort_by_key(|event| event.id);
    events
}

async fn wait_for_told(world: &World, count: usize) -> Vec<Event> {
    until(&format!("{count} events about failures"), async || {
        let events = told(world).await;
        (events.len() >= count).then_some(events)
    })
    .await
}

#[tokio::test]
async fn test_a_sensor_that_keeps_ending_is_told_of_once_and_only_to_who_listens() {
    let world = World::create().await;
    world.trigger("core.sensor_failed", true).await;
    world.sensor("watch", &format!("{REPORT_PID}echo \"no route from $$\" >&2; exit 3\n")).await;
    let role = Role::start(&world);
    // The third life begins once the end of the second was told.
    world.wait_for_pids(3).await;
    assert_eq!(told(&world).await, [], "no rule listens");

    listen(&world).await;
    let event = wait_for_told(&world, 1).await.remove(0);
    assert_eq!(event.config, json!({"sensor": "ops.watch", "pack": "ops", "kind": "process"}));
    for (name, value) in [("sensor", "ops.watch"), ("pack", "ops"), ("kind", "process")] {
        assert_eq!(event.payload[name], value);
    }
    let error = event.payload["error"].as_str().unwrap();
    assert!(
        error.starts_with("its process ends by itself (exit status: 3). It wrote:\nno route from "),
        "{error}"
    );

    let lives = world.events().await.len();
    world.wait_for_pids(lives + 2).await;
    assert_eq!(told(&world).await.len(), 1, "its last words differ, but it is the same failure");

    // Another version of it fails anew.
    world.script("watch", "echo 'no such host' >&2; exit 4\n").await;
    role.wake();
    let events = wait_for_told(&world, 2).await;
    assert!(events[1].payload["error"].as_str().unwrap().contains("no such host"), "{events:?}");
    role.stop().await;
}

#[tokio::test]
async fn test_what_keeps_a_sensor_from_starting_is_told_of_with_its_kind() {
    let world = World::create().await;
    world.trigger("core.sensor_failed", true).await;
    listen(&world).await;
    let schema = json!({"type": "object", "required": ["host"], "properties": {"host": {"type": "string"}}});
    *world.conf_schema.lock().unwrap() = Some(schema);
    world.sensor("watch", STAY).await;
    let role = Role::start(&world);
    let event = wait_for_told(&world, 1).await.remove(0);
    assert_eq!(event.payload["kind"], "settings");
    assert!(event.payload["error"].as_str().unwrap().contains("`host` is missing"), "{event:?}");
    role.stop().await;
}
