//! What sensors report becomes events: all of it, once, in order, and what is no event costs nothing else.

use attune_common::models::sensor::NewSensor;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::json;

use crate::helpers::{Gate, Log, Role, STAY, World, until};

#[tokio::test]
async fn test_a_report_is_recorded_with_its_source_and_the_sensor_knows_what_it_needs() {
    let world = World::create().await;
    let script = r#"
read -r config
cd "$ATTUNE_PACK_DIR" && file=$(ls sensors)
printf '{"trigger": "ops.seen", "payload": {"given": %s, "ref": "%s", "file": "%s", "path": "%s", "url": "%s"},
' "$config" "$ATTUNE_SENSOR_REF" "$file" "${PATH:+set}" "${DATABASE_URL:-unset}" | tr -d '\n'
echo '"config": {"room": 1}, "dedup_key": "first"}'
"#;
    world.script("watch", &format!("{script}{STAY}")).await;
    let config = json!({"text": "a\nb", "deep": {"list": [1, null]}});
    let sensor = world.define(&NewSensor { config: config.clone(), ..world.definition("watch") }).await;
    let role = Role::start(&world);
    let events = world.wait_for_events(1).await;
    let event = &events[0];
    let trigger = world.trigger("ops.seen", true).await;
    assert_eq!((event.trigger, event.source), (Some(trigger), Some(sensor.id)));
    assert_eq!(event.source_ref.as_deref(), Some("ops.watch"));
    assert_eq!((&event.config, event.dedup_key.as_deref()), (&json!({"room": 1}), Some("first")));
    let expected =
        json!({"given": config, "ref": "ops.watch", "file": "watch.sh", "path": "set", "url": "unset"});
    assert_eq!(event.payload, expected);
    assert_eq!(event.trace_id.as_ref().map(String::len), Some(32));
    role.stop().await;
    assert_eq!(world.events().await.len(), 1);
}

#[tokio::test]
async fn test_bad_lines_are_logged_and_counted_and_lose_nothing_else() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let world = World::create().await;
    let log = Log::keep();
    world.trigger("ops.disabled", false).await;
    let script = r#"
echo '{"trigger": "ops.seen", "payload": {"n": 1}}'
echo 'no JSON'
echo '{"trigger": "ops.seen", "payload": {}, "unknown": 1}'
echo '{"trigger": "ops.other", "payload": {}}'
echo '{"trigger": "ops.missing", "payload": {}}'
echo '{"trigger": "ops.disabled", "payload": {}}'
echo '{"trigger": "ops.seen", "payload": {"text": "a\u0000b"}}'
echo
printf '{"trigger": "ops.seen", "payload": {"text": "'; head -c 1048576 /dev/zero | tr '\0' x; echo '"}}'
printf '{"trigger": "ops.seen", "payload": {"text": "'; head -c 1000000 /dev/zero | tr '\0' x; echo '"}}'
echo '{"trigger": "ops.seen", "payload": {"n": 2}}'
"#;
    // dash expands escapes in echo; the JSON escape must arrive as it is.
    let script = script.replace(r"\u0000", r"\\u0000");
    world.script("watch", &format!("{script}{STAY}")).await;
    let mut definition = world.definition("watch");
    definition.trigger_refs.extend(["ops.missing".to_owned(), "ops.disabled".to_owned()]);
    let recording = metrics::set_default_local_recorder(&recorder);
    world.define(&definition).await;
    let role = Role::start(&world);
    let payloads = world.wait_for_payloads(3).await;
    role.stop().await;
    assert_eq!((&payloads[0], &payloads[2]), (&json!({"n": 1}), &json!({"n": 2})));
    assert_eq!(payloads[1]["text"].as_str().map(str::len), Some(1_000_000));
    assert_eq!(world.events().await.len(), 3);
    for (line, reason) in [
        (2, "it is not JSON"),
        (3, "it has the key `unknown`"),
        (4, "does not declare the trigger `ops.other`"),
        (5, "the trigger `ops.missing` does not exist"),
        (6, "the trigger `ops.disabled` is disabled"),
        (7, "the text at /payload/text contains U+0000"),
        (9, "it is longer than 1048576 bytes"),
    ] {
        log.wait_for(&["WARN", "sensor=\"ops.watch\"", &format!("line={line} "), reason]).await;
    }
    let text = metrics.render();
    assert!(text.contains("attune_sensor_bad_lines_total{sensor=\"ops.watch\"} 7"), "{text}");
    assert!(text.contains("attune_sensor_events_total{sensor=\"ops.watch\"} 3"), "{text}");
    drop(recording);
}

#[tokio::test]
async fn test_a_delivery_that_is_reported_twice_is_one_event() {
    let world = World::create().await;
    let report = r#"
echo '{"trigger": "ops.seen", "payload": {"n": 1}, "dedup_key": "k"}'
echo '{"trigger": "ops.seen", "payload": {"n": 2}, "dedup_key": "k"}'
echo '{"trigger": "ops.seen", "payload": {"n": 3}}'
"#;
    world.sensor("watch", &format!("{report}{STAY}")).await;
    let role = Role::start(&world);
    assert_eq!(world.wait_for_payloads(2).await, [json!({"n": 1}), json!({"n": 3})]);
    role.stop().await;
}

#[tokio::test]
async fn test_a_flood_waits_in_the_sensor_and_arrives_whole_and_in_order() {
    const LINES: i64 = 20_000;
    let world = World::create().await;
    let done = world.scratch.path().join("done");
    let script = format!(
        "seq 1 {LINES} | sed 's/.*/{{\"trigger\": \"ops.seen\", \"payload\": {{\"n\": &}}}}/'\n: >{}\n{STAY}",
        done.display()
    );
    world.sensor("watch", &script).await;
    let mut blocker = attune_common::db::begin(world.pool()).await.unwrap();
    sqlx::query("lock table attune.event in exclusive mode").execute(&mut *blocker).await.unwrap();
    let role = Role::start(&world);
    until("a batch that waits", async || {
        let waits: bool = sqlx::query_scalar(
            "select exists (select from pg_locks where not granted and relation = 'attune.event'::regclass)",
        )
        .fetch_one(world.pool())
        .await
        .unwrap();
        waits.then_some(())
    })
    .await;
    // It has more to say than all pipes hold.
    assert!(!done.exists());
    blocker.commit().await.unwrap();
    let numbers: Vec<i64> = until("all events", async || {
        let numbers: Vec<i64> =
            sqlx::query_scalar("select (payload -> 'n')::bigint from attune.event order by id")
                .fetch_all(world.pool())
                .await
                .unwrap();
        (numbers.len() as i64 == LINES).then_some(numbers)
    })
    .await;
    assert!(numbers.into_iter().eq(1..=LINES));
    until("the end of the flood", async || done.exists().then_some(())).await;
    role.stop().await;
}

#[tokio::test]
async fn test_standard_error_goes_to_the_log_and_the_last_line_needs_no_end() {
    let world = World::create().await;
    let log = Log::keep();
    let gate = Gate::make(&world, "gate");
    let script = format!(
        "echo 'looks around' >&2\nread -r go <{}\nprintf '{{\"trigger\": \"ops.seen\", \"payload\": {{}}}}'\n",
        gate.path().display()
    );
    world.sensor("watch", &script).await;
    let role = Role::start(&world);
    log.wait_for(&["INFO", "looks around", "sensor=\"ops.watch\""]).await;
    gate.open().await;
    assert_eq!(world.wait_for_payloads(1).await, [json!({})]);
    role.stop().await;
}

#[tokio::test]
async fn test_a_sensor_in_python_finds_the_sdk_and_speaks_as_it_should() {
    let world = World::create().await;
    let script = "exec python3 -c '\n\
                  from attune import PollingSensor\n\
                  class Watch(PollingSensor):\n    \
                      interval = 0.01\n    \
                      count = 0\n    \
                      def poll(self):\n        \
                          self.count += 1\n        \
                          print(\"polled\")\n        \
                          self.emit(\"ops.seen\", {\"text\": self.config[\"text\"]}, dedup_key=str(min(self.count, 2)))\n    \
                      def cleanup(self):\n        \
                          self.emit(\"ops.seen\", {\"text\": \"bye from \" + self.ref})\n\
                  Watch.main()'\n";
    world.script("watch", script).await;
    world.define(&NewSensor { config: json!({"text": "hi"}), ..world.definition("watch") }).await;
    let role = Role::start(&world);
    world.wait_for_events(2).await;
    role.stop().await;
    let texts: Vec<_> = world
        .events()
        .await
        .into_iter()
        .map(|event| event.payload["text"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(texts, ["hi", "hi", "bye from ops.watch"]);
}
