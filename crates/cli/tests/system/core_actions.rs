//! What the core pack's native actions do with the platform around them.

use attune_client::types::EventRequest;
use attune_common::models::key::{KeyOwner, KeyUpdate};
use attune_common::repositories::{KeyRepository, PackRepository};
use serde_json::{Value, json};

use crate::support::{System, attune};

const PACK: [(&str, &str); 5] = [
    ("pack.yaml", "ref: ops\nversion: 1.0.0\nlabel: Operations\n"),
    (
        "triggers/tick.yaml",
        "ref: ops.tick\nparameters: {zone: {type: string, default: a}}\nout_schema:\n  type: object\n  required: [n]\n  properties: {n: {type: integer}}\n",
    ),
    (
        "rules/again.yaml",
        "ref: ops.again\ntrigger: ops.tick\nconditions:\n  - {field: event.payload.n, operator: less_than, value: 100}\naction: core.emit\naction_params: {trigger: ops.tick, payload: {n: \"{{ event.payload.n + 1 }}\"}}\n",
    ),
    ("triggers/wish.yaml", "ref: ops.wish\n"),
    (
        "rules/rotate.yaml",
        "ref: ops.rotate\ntrigger: ops.wish\naction: core.key_set\naction_params: {key: \"{{ event.payload.key }}\", generate: 24}\n",
    ),
];

async fn event(system: &System, trigger: &str, payload: Value) -> i64 {
    let request = EventRequest { trigger: trigger.to_owned(), payload, dedup_key: None, config: None };
    system.client.create_event(&request).await.unwrap().event
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_events_are_emitted_once_and_not_for_ever() {
    let system = System::start().await;
    system.install(&PACK).await;

    event(&system, "ops.tick", json!({"n": 1})).await;
    system.wait_until_idle().await;
    let depths: Vec<(i16, i64)> = sqlx::query_as(
        "select depth, (payload ->> 'n')::bigint from attune.event where trigger_ref = 'ops.tick' order by id",
    )
    .fetch_all(system.database.pool())
    .await
    .unwrap();
    assert_eq!(depths, (0..=10).map(|depth| (depth, i64::from(depth) + 1)).collect::<Vec<_>>());
    let error: String = sqlx::query_scalar(
        "select error from attune.execution where action_ref = 'core.emit' and status = 'failed'",
    )
    .fetch_one(system.database.pool())
    .await
    .unwrap();
    assert!(error.starts_with("10 events have led to one another"), "{error}");

    let emit = async |parameters| system.run("core.emit", parameters).await.execution;
    let first = emit(json!({"trigger": "ops.tick", "payload": {"n": 100}, "dedup_key": "k"})).await;
    let again = emit(json!({"trigger": "ops.tick", "payload": {"n": 100}, "dedup_key": "k"})).await;
    let (first, again) = (first.result.unwrap(), again.result.unwrap());
    assert_eq!((&first["event"], &first["duplicate"]), (&again["event"], &json!(false)));
    assert_eq!(again["duplicate"], true);
    for (parameters, expected) in [
        (json!({"trigger": "ops.tock"}), "the trigger ops.tock does not exist"),
        (
            json!({"trigger": "ops.tick"}),
            "the payload does not fit the trigger ops.tick: /n: required `n` is missing",
        ),
        (
            json!({"trigger": "ops.tick", "payload": {"n": 1}, "config": {"zoen": "b"}}),
            "the config does not fit the trigger ops.tick",
        ),
    ] {
        let failed = emit(parameters).await;
        assert!(failed.error.as_deref().unwrap_or_default().starts_with(expected), "{failed:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_keys_are_set_and_looked_up_without_showing_their_values() {
    let system = System::start().await;
    system.install(&PACK).await;
    let pool = system.database.pool();
    let run = async |action: &str, parameters| system.run(action, parameters).await.execution;

    let none = run("core.key_get", json!({"key": "ops.token", "must_exist": false})).await;
    assert_eq!(none.result, Some(json!({"key": "ops.token", "exists": false, "value": null})));
    let missing = run("core.key_get", json!({"key": "ops.token"})).await;
    assert!(missing.error.unwrap().starts_with("the key `ops.token` does not exist"));

    let made = run("core.key_set", json!({"key": "ops.token", "value": "hunter2"})).await;
    assert_eq!(made.result, Some(json!({"key": "ops.token", "version": 1, "created": true, "secret": true})));
    assert_eq!(made.parameters["value"], "********");
    let found = run("core.key_get", json!({"key": "ops.token"})).await.result.unwrap();
    assert_eq!(
        (&found["exists"], &found["owner"], &found["version"], &found["secret"], found.get("value")),
        (&json!(true), &json!("system"), &json!(1), &json!(true), None)
    );
    assert!(!found.to_string().contains("hunter2"));
    let kept = run("core.key_set", json!({"key": "ops.token", "value": "x", "overwrite": false})).await;
    assert!(kept.error.unwrap().contains("exists already"));
    let both = run("core.key_set", json!({"key": "ops.token", "value": "x", "generate": 16})).await;
    assert!(both.error.unwrap().contains("not both"));

    // A rule may set the keys of its pack, and none of others.
    for (key_ref, pack) in [("ops.own", "ops"), ("core.foreign", "core")] {
        run("core.key_set", json!({"key": key_ref, "value": "before"})).await;
        let owner = PackRepository::get_by_ref(pool, pack).await.unwrap().id;
        let key = KeyRepository::get_by_ref(pool, key_ref).await.unwrap();
        let update = KeyUpdate { owner: Some(KeyOwner::Pack(owner)), ..KeyUpdate::default() };
        KeyRepository::update(&mut pool.acquire().await.unwrap(), key.id, &update).await.unwrap();
        event(&system, "ops.wish", json!({"key": key_ref})).await;
    }
    system.wait_until_idle().await;
    // The action is of the core pack, whose keys it may use; a key of the rule's pack as well.
    let versions: Vec<(String, i32)> =
        sqlx::query_as("select ref, version from attune.key order by ref").fetch_all(pool).await.unwrap();
    let expected = [("core.foreign", 2), ("ops.own", 2), ("ops.token", 1)];
    assert_eq!(versions, expected.map(|(key_ref, version)| (key_ref.to_owned(), version)));
    let by_hand = run("core.key_set", json!({"key": "ops.own", "value": "x"})).await;
    assert!(by_hand.error.unwrap().contains("belongs to another pack"), "no rule of that pack began it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_a_setting_that_is_no_network_is_named() {
    let output = attune()
        .args(["serve", "--role", "worker", "--database-url", "postgres://nobody@127.0.0.1:1/none"])
        .env(attune_common::environment::HTTP_ALLOW, "10.0.0.0/8,intranet")
        .output()
        .await
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("ATTUNE_HTTP_ALLOW"), "{error}");
    assert!(error.contains("`intranet` is neither a network nor an address"), "{error}");
}
