//! What a sensor is given: the environment and the settings of its pack.

use std::process::Command;

use attune_common::crypto::SecretKey;
use attune_common::models::identity::{Constraints, Grant};
use attune_common::models::key::KeyOwner;
use attune_common::models::pack::PackUpdate;
use attune_common::models::runtime::NewRuntime;
use attune_common::models::sensor::NewSensor;
use attune_common::repositories::{PackRepository, RuntimeRepository, SensorRepository};
use attune_common::sensor_token::{SensorToken, SensorTokenKey};
use attune_common::vault::{KeyValue, Vault};
use attune_expr::key_marks::MASK;
use serde_json::{Value, json};

use crate::helpers::{Log, Role, STAY, World};

/// Makes a wheel with one module, as the format has it.
const MAKE_WHEEL: &str = r#"
import sys, zipfile
target, version = sys.argv[1], sys.argv[2]
info = f"demo-{version}.dist-info"
with zipfile.ZipFile(target, "w") as wheel:
    wheel.writestr("demo.py", f"VERSION = {version!r}\n")
    wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: demo\nVersion: {version}\n")
    wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(f"{info}/RECORD", "")
"#;

/// A sensor that says which version of the package it finds.
const TELL_VERSION: &str = r#"
import json, os, sys
import demo
found = {"version": demo.VERSION, "own": os.environ["VIRTUAL_ENV"] == sys.prefix}
print(json.dumps({"trigger": "ops.seen", "payload": found}))
sys.stdin.read()
"#;

fn wheel(world: &World, version: &str) -> Vec<u8> {
    let path = world.scratch.path().join(format!("demo-{version}-py3-none-any.whl"));
    let made = Command::new("python3").args(["-c", MAKE_WHEEL]).arg(&path).arg(version).status().unwrap();
    assert!(made.success());
    std::fs::read(path).unwrap()
}

async fn require(world: &World, version: &str, wheel: &[u8]) {
    let name = format!("demo-{version}-py3-none-any.whl");
    world.file(&name, wheel).await;
    world.file("requirements.txt", format!("./{name}\n").as_bytes()).await;
}

#[tokio::test]
async fn test_a_sensor_runs_in_the_environment_of_its_pack_and_says_while_there_is_none() {
    let world = World::create().await;
    let log = Log::keep();
    let python = NewRuntime {
        r#ref: "ops.python".into(),
        interpreter: vec!["python3".into(), "-u".into()],
        environment: Some("python".into()),
        ..NewRuntime::default()
    };
    RuntimeRepository::put(world.pool(), world.pack, &python).await.unwrap();
    world.file("sensors/watch.py", TELL_VERSION.as_bytes()).await;
    require(&world, "1.0", b"no wheel at all").await;
    let definition = NewSensor {
        runtime_ref: "ops.python".into(),
        entrypoint: "watch.py".into(),
        ..world.definition("watch")
    };
    world.define(&definition).await;

    let role = Role::start(&world);
    log.wait_for(&["ops.watch", "waits: the python environment is being built for pack ops"]).await;
    let cause = "the Python environment of pack ops cannot be built from requirements.txt";
    world.wait_for_obstacle("watch", &[cause, "correct requirements.txt in the pack", "demo-1.0"]).await;
    log.wait_for(&["ERROR", "a sensor cannot be started", cause]).await;

    require(&world, "1.0", &wheel(&world, "1.0")).await;
    role.wake();
    let found = |version: &str| json!({"version": version, "own": true});
    assert_eq!(world.wait_for_payloads(1).await[0], found("1.0"));
    world.wait_for_no_obstacle("watch").await;

    require(&world, "2.0", &wheel(&world, "2.0")).await;
    role.wake();
    assert_eq!(world.wait_for_payloads(2).await[1], found("2.0"));
    role.stop().await;
}

#[tokio::test]
async fn test_an_interpreter_that_the_pack_cannot_use_is_told() {
    let world = World::create().await;
    let python = NewRuntime {
        r#ref: "ops.python".into(),
        interpreter: vec!["python3".into()],
        environment: Some("python".into()),
        version: Some(">=99".into()),
        ..NewRuntime::default()
    };
    RuntimeRepository::put(world.pool(), world.pack, &python).await.unwrap();
    world.file("sensors/watch.py", b"").await;
    let entrypoint = "watch.py".to_owned();
    let definition = NewSensor { runtime_ref: "ops.python".into(), entrypoint, ..world.definition("watch") };
    world.define(&definition).await;
    let role = Role::start(&world);
    world
        .wait_for_obstacle("watch", &["pack ops needs Python >=99 (the runtime ops.python)", "install"])
        .await;
    // What is not to run has nothing in its way.
    world.define(&NewSensor { enabled: false, ..definition }).await;
    role.wake();
    world.wait_for_no_obstacle("watch").await;
    role.stop().await;
}

async fn configure(world: &World, config: Value) {
    let update = PackUpdate { config: Some(config), ..PackUpdate::default() };
    let mut connection = world.pool().acquire().await.unwrap();
    PackRepository::update(&mut connection, world.pack, &update).await.unwrap();
}

#[tokio::test]
async fn test_a_sensor_gets_the_settings_of_its_pack_anew_when_they_change_and_secrets_are_hidden() {
    let world = World::create().await;
    let log = Log::keep();
    *world.conf_schema.lock().unwrap() = Some(json!({
        "type": "object",
        "required": ["token"],
        "properties": {"port": {"type": "integer", "default": 443}, "token": {"type": "string", "secret": true}},
    }));
    // The length tells that the secret is there; it is not masked.
    let script = format!(
        r#"printf '{{"trigger": "ops.seen", "payload": {{"length": %d, "given": %s}}}}\n' \
            "${{#ATTUNE_PACK_CONFIG}}" "$ATTUNE_PACK_CONFIG"
printf '{{"trigger": "ops.seen", "payload": {{}}, "dedup_key": "%s"}}\n' "$(printf %s "$ATTUNE_PACK_CONFIG" | tr -d '"')"
echo "started with $ATTUNE_PACK_CONFIG" >&2
{STAY}"#
    );
    world.sensor("watch", &script).await;
    let master = SecretKey::generate();
    let vault = Vault::open(world.pool(), &master).await.unwrap();
    let role = Role::start_with(&world, Some(master));
    world.wait_for_obstacle("watch", &["configuration of the pack ops is not complete", "token"]).await;

    let token = async |value: &str| {
        vault
            .put(world.pool(), KeyValue::secret("ops.config.token", value).of(KeyOwner::Pack(world.pack)))
            .await
            .unwrap();
        role.wake();
    };
    let seen = |port: i64, length: usize| json!({"length": length, "given": {"port": port, "token": attune_expr::key_marks::MASK}});
    token("hunter2hunter2").await;
    assert_eq!(
        world.wait_for_payloads(1).await[0],
        seen(443, r#"{"port":443,"token":"hunter2hunter2"}"#.len())
    );
    world.wait_for_no_obstacle("watch").await;

    configure(&world, json!({"port": 8443})).await;
    role.wake();
    assert_eq!(
        world.wait_for_payloads(2).await[1],
        seen(8443, r#"{"port":8443,"token":"hunter2hunter2"}"#.len())
    );

    token("correct horse battery").await;
    let expected = seen(8443, r#"{"port":8443,"token":"correct horse battery"}"#.len());
    assert_eq!(world.wait_for_payloads(3).await[2], expected);
    log.wait_for(&["line=2", "`dedup_key` holds a secret of the pack's settings"]).await;
    log.wait_for(&["started with", "8443", attune_expr::key_marks::MASK]).await;
    role.stop().await;
    for secret in ["hunter2", "horse"] {
        assert!(!log.text().contains(secret), "{}", log.text());
        for event in world.events().await {
            assert!(!format!("{event:?}").contains(secret), "{event:?}");
        }
    }
}

#[tokio::test]
async fn test_a_secret_that_cannot_be_opened_is_told_with_what_to_do() {
    let world = World::create().await;
    *world.conf_schema.lock().unwrap() =
        Some(json!({"type": "object", "properties": {"token": {"type": "string", "secret": true}}}));
    world.sensor("watch", STAY).await;
    let vault = Vault::open(world.pool(), &SecretKey::generate()).await.unwrap();
    vault
        .put(world.pool(), KeyValue::secret("ops.config.token", "hunter2").of(KeyOwner::Pack(world.pack)))
        .await
        .unwrap();
    let role = Role::start(&world);
    world.wait_for_obstacle("watch", &["`ops.config.token`", "no master key", "ATTUNE_MASTER_KEY"]).await;
    role.stop().await;
}

#[tokio::test]
async fn test_a_process_that_ends_by_itself_is_an_obstacle_with_its_last_words() {
    let world = World::create().await;
    world.sensor("watch", "echo 'no route to host' >&2; exit 3\n").await;
    let role = Role::start(&world);
    world.wait_for_obstacle("watch", &["ends by itself (exit status: 3)", "no route to host"]).await;
    role.stop().await;
}

#[tokio::test]
async fn test_a_sensor_that_declares_permissions_gets_a_token_while_its_process_runs() {
    let world = World::create().await;
    let log = Log::keep();
    // The length tells that the token is there; it is masked.
    let script = format!(
        r#"printf '{{"trigger": "ops.seen", "payload": {{"url": "%s", "token": "%s", "length": %d}}}}\n' \
            "$ATTUNE_API_URL" "$ATTUNE_API_TOKEN" "${{#ATTUNE_API_TOKEN}}"
echo "signs in with $ATTUNE_API_TOKEN" >&2
{STAY}"#
    );
    world.script("watch", &script).await;
    let permissions = vec![Grant {
        resource: "event".to_owned(),
        actions: vec!["create".to_owned()],
        constraints: Constraints::default(),
    }];
    let definition = NewSensor { permissions, ..world.definition("watch") };
    let sensor = world.define(&definition).await;
    let master = SecretKey::generate();
    let key = SensorTokenKey::of(&master);
    let role = Role::start_as(&world, |sensors| {
        sensors.master_key = Some(master);
        sensors.api_url = Some("http://attune.test".to_owned());
    });
    let payload = world.wait_for_payloads(1).await.remove(0);
    assert_eq!((&payload["url"], &payload["token"]), (&json!("http://attune.test"), &json!(MASK)));
    let token = SensorToken { sensor: sensor.id, life: 1 };
    assert_eq!(payload["length"], key.token(&token).len());
    log.wait_for(&["signs in with", MASK]).await;
    let acts = async |life: i64| {
        SensorRepository::find_acting(world.pool(), sensor.id, life).await.unwrap().is_some()
    };
    assert!(acts(1).await);

    // Another process gets another token, and what does not run has none.
    world.define(&NewSensor { config: json!({"every": 5}), ..definition.clone() }).await;
    role.wake();
    world.wait_for_payloads(2).await;
    assert!(!acts(1).await);
    let life: i64 = life(&world).await;
    assert!(acts(life).await, "{life}");
    role.stop().await;
    assert!(!acts(life).await);

    // Without what it takes it runs all the same.
    let role = Role::start(&world);
    assert_eq!(world.wait_for_payloads(3).await[2], json!({"url": "", "token": "", "length": 0}));
    log.wait_for(&["WARN", "ops.watch", "gets no token for the API", "ATTUNE_API_URL"]).await;
    role.stop().await;
}

async fn life(world: &World) -> i64 {
    sqlx::query_scalar("select life from attune.sensor where ref = 'ops.watch'")
        .fetch_one(world.pool())
        .await
        .unwrap()
}
