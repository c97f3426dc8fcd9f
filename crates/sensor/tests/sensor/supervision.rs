//! What runs is what should run.

use attune_common::models::sensor::NewSensor;
use attune_common::repositories::SensorRepository;
use serde_json::json;

use crate::helpers::{Log, REPORT_PID, Role, STAY, World, is_running, wait_until_gone};

#[tokio::test]
async fn test_a_process_that_ends_is_started_again_and_its_last_words_are_logged() {
    let world = World::create().await;
    let log = Log::keep();
    let before = world.scratch.path().join("before");
    let script = format!(
        "{REPORT_PID}[ -e {0} ] || {{ : >{0}; echo 'cannot go on' >&2; exit 3; }}\n{STAY}",
        before.display()
    );
    world.sensor("watch", &script).await;
    let role = Role::start(&world);
    let pids = world.wait_for_pids(2).await;
    assert!(pids[0] != pids[1] && !is_running(pids[0]) && is_running(pids[1]), "{pids:?}");
    let words = "last_words=\"cannot go on\"";
    log.wait_for(&["ERROR", "sensor=\"ops.watch\"", "status=exit status: 3", "retry_in_s=1", words]).await;
    role.stop().await;
    assert!(!is_running(pids[1]));
}

#[tokio::test]
async fn test_a_disabled_sensor_is_stopped_with_everything_that_it_started() {
    let world = World::create().await;
    let script = format!(
        "sleep 1000 &\necho '{{\"trigger\": \"ops.seen\", \"payload\": {{\"pid\": '$!'}}}}'\n{REPORT_PID}{STAY}"
    );
    world.sensor("watch", &script).await;
    let role = Role::start(&world);
    let pids = world.wait_for_pids(2).await;
    world.define(&NewSensor { enabled: false, ..world.definition("watch") }).await;
    role.wake();
    wait_until_gone(pids[0]).await;
    wait_until_gone(pids[1]).await;
    world.define(&world.definition("watch")).await;
    role.wake();
    let again = world.wait_for_pids(4).await;
    assert!(is_running(again[2]) && is_running(again[3]));
    role.stop().await;
    assert!(!is_running(again[2]) && !is_running(again[3]));
}

#[tokio::test]
async fn test_the_end_of_standard_input_is_enough_to_stop_and_the_last_report_counts() {
    let world = World::create().await;
    let script = format!(
        "trap '' TERM\n{REPORT_PID}cat >/dev/null\necho '{{\"trigger\": \"ops.seen\", \"payload\": {{\"text\": \"bye\"}}}}'\n"
    );
    let sensor = world.sensor("watch", &script).await;
    let role = Role::start(&world);
    world.wait_for_events(1).await;
    // Not only disabled, but gone: its event names it all the same.
    SensorRepository::delete(world.pool(), sensor.id).await.unwrap();
    role.wake();
    let events = world.wait_for_events(2).await;
    assert_eq!(events[1].payload, json!({"text": "bye"}));
    assert_eq!((events[1].source, events[1].source_ref.as_deref()), (None, Some("ops.watch")));
    role.stop().await;
}

#[tokio::test]
async fn test_a_process_that_will_not_stop_is_killed() {
    let world = World::create().await;
    world.sensor("watch", &format!("trap '' TERM\n{REPORT_PID}while :; do sleep 1000; done\n")).await;
    let role = Role::start(&world);
    let pids = world.wait_for_pids(1).await;
    role.stop().await;
    assert!(!is_running(pids[0]));
}

#[tokio::test]
async fn test_a_changed_sensor_and_a_changed_pack_are_started_anew() {
    let world = World::create().await;
    let script = |name: &str| {
        format!(
            "read -r config\necho '{{\"trigger\": \"ops.seen\", \"payload\": {{\"script\": \"{name}\", \"given\": '$config'}}}}'\n{STAY}"
        )
    };
    world.sensor("watch", &script("first")).await;
    let role = Role::start(&world);
    assert_eq!(world.wait_for_payloads(1).await[0], json!({"script": "first", "given": {}}));
    world.define(&NewSensor { config: json!({"every": 5}), ..world.definition("watch") }).await;
    role.wake();
    assert_eq!(world.wait_for_payloads(2).await[1], json!({"script": "first", "given": {"every": 5}}));
    world.script("watch", &script("second")).await;
    role.wake();
    assert_eq!(world.wait_for_payloads(3).await[2], json!({"script": "second", "given": {"every": 5}}));
    // A pass that finds nothing changed starts nothing; the sensor after it shows that it took place.
    role.wake();
    let other = "echo '{\"trigger\": \"ops.seen\", \"payload\": {\"script\": \"other\"}}'\n";
    world
        .define(&NewSensor { entrypoint: "watch.sh".into(), enabled: false, ..world.definition("watch") })
        .await;
    world.sensor("other", &format!("{other}{STAY}")).await;
    role.wake();
    let scripts: Vec<_> = world.wait_for_payloads(4).await.into_iter().map(|p| p["script"].clone()).collect();
    assert_eq!(scripts, ["first", "first", "second", "other"]);
    role.stop().await;
}

#[tokio::test]
async fn test_a_sensor_that_cannot_be_started_says_why_and_holds_no_other_up() {
    let world = World::create().await;
    let log = Log::keep();
    world.define(&world.definition("absent")).await;
    world.sensor("watch", &format!("{REPORT_PID}{STAY}")).await;
    let role = Role::start(&world);
    let pids = world.wait_for_pids(1).await;
    let reason = "the file sensors/absent.sh of pack ops does not exist";
    log.wait_for(&["ERROR", "sensor=\"ops.absent\"", "cannot be started", reason, "retry_in_s=1"]).await;
    // What was missing arrives with the next version of the pack.
    world.script("absent", &format!("{REPORT_PID}{STAY}")).await;
    role.wake();
    world.wait_for_events(3).await;
    wait_until_gone(pids[0]).await;
    role.stop().await;
}

#[tokio::test]
async fn test_a_sensor_has_a_directory_of_its_own_that_outlives_it() {
    let world = World::create().await;
    let script =
        "echo x >>lives\necho '{\"trigger\": \"ops.seen\", \"payload\": {\"lives\": '$(wc -l <lives)'}}'\n";
    world.sensor("watch", script).await;
    let role = Role::start(&world);
    assert_eq!(world.wait_for_payloads(2).await, [json!({"lives": 1}), json!({"lives": 2})]);
    assert!(role.cache.path().join("directories/ops.watch/lives").is_file());
    role.stop().await;
}
