//! What those who run sensors ask for: which can run, whose turn it is, what may be reported.

use attune_common::crypto::SecretKey;
use attune_common::models::acting_sensor::ActingSensor;
use attune_common::models::key::KeyOwner;
use attune_common::models::pack::{Pack, PackUpdate};
use attune_common::models::sensor::{NewSensor, ReportableTrigger, RunnableSensor, SensorUpdate};
use attune_common::repositories::{KeyRepository, PackRepository, SensorRepository};
use attune_common::vault::{KeyValue, Vault};
use attune_testkit::{TestDatabase, transaction};
use serde_json::json;
use sqlx::PgConnection;

use crate::helpers::*;
use crate::{full, minimal};

async fn installed_pack(connection: &mut PgConnection) -> Pack {
    PackFixture::new_unique().with_checksum(&"0".repeat(64)).create(connection).await.expect("a pack")
}

#[tokio::test]
async fn test_update_enabled_takes_effect_on_what_runs() {
    let mut tx = transaction().await;
    let pack = installed_pack(&mut tx).await;
    let runtime = RuntimeFixture::new(&pack, "sh").create(&mut tx).await.unwrap();
    let sensor = SensorFixture::new(&pack, "a").with_runtime(&runtime).create(&mut tx).await.unwrap();
    for (enabled, expected) in [(false, vec![]), (true, vec![sensor.id])] {
        let update = SensorUpdate { enabled: Some(enabled), ..SensorUpdate::default() };
        SensorRepository::update(&mut tx, sensor.id, &update).await.unwrap();
        let runnable = SensorRepository::list_runnable(&mut *tx).await.unwrap();
        assert_eq!(runnable.iter().map(|sensor| sensor.id).collect::<Vec<_>>(), expected);
    }
}

#[tokio::test]
async fn test_relink_leaves_what_is_linked() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let runtime = RuntimeFixture::new(&pack, "sh").create(&mut tx).await.unwrap();
    let sensor = SensorFixture::new(&pack, "a").with_runtime(&runtime).create(&mut tx).await.unwrap();
    assert_eq!(SensorRepository::relink(&mut *tx).await.unwrap(), 0);
    assert_eq!(SensorRepository::get_by_id(&mut *tx, sensor.id).await.unwrap(), sensor);
}

#[tokio::test]
async fn test_reportable_triggers_are_those_that_exist() {
    let mut tx = transaction().await;
    let on = TriggerFixture::new_unique().create(&mut tx).await.unwrap();
    let off = TriggerFixture::new_unique().with_enabled(false).create(&mut tx).await.unwrap();
    TriggerFixture::new_unique().create(&mut tx).await.unwrap();
    let names = [off.r#ref.clone(), "test.none".to_owned(), on.r#ref.clone()];
    let mut expected = [on, off].map(|trigger| ReportableTrigger {
        id: trigger.id,
        r#ref: trigger.r#ref,
        enabled: trigger.enabled,
    });
    expected.sort_by(|a, b| a.r#ref.cmp(&b.r#ref));
    assert_eq!(SensorRepository::reportable_triggers(&mut *tx, &names).await.unwrap(), expected);
}

#[tokio::test]
async fn test_lock_belongs_to_one_connection() {
    let database = TestDatabase::create().await;
    let mut first = database.pool().acquire().await.unwrap();
    let mut second = database.pool().acquire().await.unwrap();
    assert!(SensorRepository::try_lock(&mut *first, 1).await.unwrap());
    assert!(!SensorRepository::try_lock(&mut *second, 1).await.unwrap());
    assert!(SensorRepository::try_lock(&mut *second, 2).await.unwrap());
    assert!(SensorRepository::unlock(&mut *first, 1).await.unwrap());
    assert!(!SensorRepository::unlock(&mut *first, 1).await.unwrap());
    assert!(SensorRepository::try_lock(&mut *second, 1).await.unwrap());
}

#[tokio::test]
async fn test_lock_ends_with_its_connection() {
    let database = TestDatabase::create().await;
    let mut first = database.pool().acquire().await.unwrap();
    assert!(SensorRepository::try_lock(&mut *first, 1).await.unwrap());
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut *first).await.unwrap();
    // The lock goes with the process that held it; with a timeout, the call returns once that has ended.
    let ended: bool = sqlx::query_scalar("select pg_terminate_backend($1, 30000)")
        .bind(pid)
        .fetch_one(database.pool())
        .await
        .unwrap();
    assert!(ended);
    assert!(SensorRepository::try_lock(database.pool(), 1).await.unwrap());
}

#[tokio::test]
async fn test_list_runnable_gives_all_it_needs() {
    let mut tx = transaction().await;
    let pack = installed_pack(&mut tx).await;
    let runtime = RuntimeFixture::new(&pack, "sh").with_interpreter(&["sh"]).create(&mut tx).await.unwrap();
    let new = NewSensor { enabled: true, ..full(&pack, &runtime.r#ref) };
    let sensor = SensorRepository::put(&mut *tx, pack.id, &new).await.unwrap();
    let expected = RunnableSensor {
        id: sensor.id,
        r#ref: sensor.r#ref,
        entrypoint: sensor.entrypoint,
        trigger_refs: sensor.trigger_refs,
        config: sensor.config,
        interpreter: vec!["sh".to_owned()],
        runtime_ref: runtime.r#ref,
        environment: runtime.environment,
        version: runtime.version,
        runtime_deps: pack.runtime_deps,
        has_permissions: true,
        settings: None,
        pack: pack.id,
        pack_ref: pack.r#ref,
        pack_checksum: "0".repeat(64),
    };
    assert_eq!(SensorRepository::list_runnable(&mut *tx).await.unwrap(), [expected]);
}

#[tokio::test]
async fn test_list_runnable_only_what_can_run() {
    let mut tx = transaction().await;
    let pack = installed_pack(&mut tx).await;
    let runtime = RuntimeFixture::new(&pack, "sh").create(&mut tx).await.unwrap();
    let native = RuntimeFixture::new(&pack, "native").with_native().create(&mut tx).await.unwrap();
    let without_files = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let runnable = SensorFixture::new(&pack, "a").with_runtime(&runtime).create(&mut tx).await.unwrap();
    for cannot in [
        SensorFixture::new(&pack, "disabled").with_runtime(&runtime).with_enabled(false),
        SensorFixture::new(&pack, "native").with_runtime(&native),
        SensorFixture::new(&pack, "without-runtime"),
        SensorFixture::new(&without_files, "without-files").with_runtime(&runtime),
    ] {
        cannot.create(&mut tx).await.unwrap();
    }
    let found = SensorRepository::list_runnable(&mut *tx).await.unwrap();
    assert_eq!(found.into_iter().map(|sensor| sensor.r#ref).collect::<Vec<_>>(), [runnable.r#ref]);
}

#[tokio::test]
async fn test_settings_differ_when_any_of_them_does() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let vault = Vault::open(pool, &SecretKey::generate()).await.unwrap();
    let mut connection = pool.acquire().await.unwrap();
    let pack = installed_pack(&mut connection).await;
    let runtime = RuntimeFixture::new(&pack, "sh").create(&mut connection).await.unwrap();
    SensorFixture::new(&pack, "a").with_runtime(&runtime).create(&mut connection).await.unwrap();
    let settings = async || SensorRepository::list_runnable(pool).await.unwrap().remove(0).settings;
    assert_eq!(settings().await, None, "a pack without settings");
    let mut seen = Vec::new();
    let mut differs = async |what: &str| {
        let now = settings().await;
        assert!(now.is_some() && !seen.contains(&now), "{what}: {now:?}");
        assert_eq!(settings().await, now);
        seen.push(now);
    };
    let schema = json!({"type": "object", "properties": {"token": {"type": "string", "secret": true}}});
    let mut update = async |update: PackUpdate| {
        PackRepository::update(&mut connection, pack.id, &update).await.unwrap();
    };
    update(PackUpdate { conf_schema: Some(schema), ..PackUpdate::default() }).await;
    differs("it has settings").await;
    update(PackUpdate { config: Some(json!({"port": 1})), ..PackUpdate::default() }).await;
    differs("one was set").await;
    let token = format!("{}.config.token", pack.r#ref);
    for value in ["one", "two"] {
        vault.put(pool, KeyValue::secret(&token, value).of(KeyOwner::Pack(pack.id))).await.unwrap();
        differs(value).await;
    }
    KeyRepository::delete_by_ref(pool, &token).await.unwrap();
    vault.put(pool, KeyValue::secret(&token, "three").of(KeyOwner::Pack(pack.id))).await.unwrap();
    differs("the key was made anew").await;
    let before = settings().await;
    let other = format!("{}.other", pack.r#ref);
    vault.put(pool, KeyValue::secret(&other, "x").of(KeyOwner::Pack(pack.id))).await.unwrap();
    assert_eq!(settings().await, before, "another key of the pack is no setting");
}

#[tokio::test]
async fn test_what_keeps_a_sensor_from_running_is_noted_and_taken_back() {
    let mut tx = transaction().await;
    let pack = installed_pack(&mut tx).await;
    let sensor = SensorFixture::new(&pack, "a").create(&mut tx).await.unwrap();
    for obstacle in [Some("no way"), None] {
        SensorRepository::set_obstacle(&mut *tx, sensor.id, obstacle).await.unwrap();
        let stored = SensorRepository::get_by_id(&mut *tx, sensor.id).await.unwrap();
        assert_eq!(stored.obstacle.as_deref(), obstacle);
    }
}

#[tokio::test]
async fn test_a_sensor_acts_while_its_process_lives_and_somebody_runs_it() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let mut connection = pool.acquire().await.unwrap();
    let new = NewSensor { permissions: vec![grant("event", &["create"])], ..minimal("test.acting") };
    let sensor = SensorRepository::create(&mut *connection, None, &new).await.unwrap();
    let acts = async |life: i64| SensorRepository::find_acting(pool, sensor.id, life).await.unwrap();
    let life = SensorRepository::begin_life(pool, sensor.id).await.unwrap().unwrap();
    assert_eq!(acts(life).await, None, "nobody runs it");
    assert!(SensorRepository::try_lock(&mut *connection, sensor.id).await.unwrap());
    let expected = ActingSensor {
        sensor: sensor.id,
        sensor_ref: "test.acting".to_owned(),
        permissions: new.permissions,
    };
    assert_eq!(acts(life).await, Some(expected));
    assert_eq!(acts(life - 1).await, None);
    // A process that begins changes nothing of the sensor.
    assert_eq!(SensorRepository::get_by_id(pool, sensor.id).await.unwrap(), sensor);
    let next = SensorRepository::begin_life(pool, sensor.id).await.unwrap().unwrap();
    assert_eq!(acts(life).await, None, "another process");
    SensorRepository::end_life(pool, sensor.id, life).await.unwrap();
    assert!(acts(next).await.is_some(), "the end of the former one comes late");
    SensorRepository::end_life(pool, sensor.id, next).await.unwrap();
    assert_eq!(acts(next).await, None);
    assert_eq!(SensorRepository::begin_life(pool, NO_SUCH_ID).await.unwrap(), None);
}
