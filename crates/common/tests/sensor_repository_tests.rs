//! The sensor repository: `attune.sensor`.

mod helpers;

use attune_common::models::pack::Pack;
use attune_common::models::sensor::{NewSensor, RunnableSensor, Sensor};
use attune_common::repositories::{EventRepository, RuntimeRepository, SensorRepository};
use attune_testkit::transaction;
use helpers::checks::*;
use helpers::*;
use serde_json::json;
use sqlx::PgConnection;

async fn installed_pack(connection: &mut PgConnection) -> Pack {
    PackFixture::new_unique().with_checksum(&"0".repeat(64)).create(connection).await.expect("a pack")
}

fn full(pack: &Pack, runtime_ref: &str) -> NewSensor {
    NewSensor {
        r#ref: format!("{}.watcher", pack.r#ref),
        label: Some("Watcher".to_owned()),
        description: Some("Watches the disk".to_owned()),
        enabled: false,
        runtime_ref: runtime_ref.to_owned(),
        entrypoint: "watch.py".to_owned(),
        trigger_refs: vec!["ops.disk".to_owned(), "ops.alert".to_owned()],
        config: json!({"interval": 30}),
    }
}

fn expected(row: &Sensor, pack: Pack, new: NewSensor) -> Sensor {
    Sensor {
        id: row.id,
        r#ref: new.r#ref,
        pack: Some(pack.id),
        pack_ref: Some(pack.r#ref),
        label: new.label,
        description: new.description,
        enabled: new.enabled,
        runtime: None,
        runtime_ref: new.runtime_ref,
        entrypoint: new.entrypoint,
        trigger_refs: new.trigger_refs,
        param_schema: json!({}),
        config: new.config,
        created: row.created,
        updated: row.updated,
    }
}

#[test]
fn test_table_name_has_the_schema() {
    assert_eq!(SensorRepository::table_name(), "attune.sensor");
}

#[tokio::test]
async fn test_put_makes_a_sensor() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let runtime = RuntimeFixture::new(&pack, "python").create(&mut tx).await.unwrap();
    let new = full(&pack, &runtime.r#ref);
    let sensor = SensorRepository::put(&mut *tx, pack.id, &new).await.unwrap();
    assert_eq!(sensor, Sensor { runtime: Some(runtime.id), ..expected(&sensor, pack, new) });
}

#[tokio::test]
async fn test_put_brings_a_sensor_to_the_definition() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let before = SensorRepository::put(&mut *tx, pack.id, &full(&pack, "test.python")).await.unwrap();
    let new = SensorFixture::new(&pack, "watcher").new;
    let after = SensorRepository::put(&mut *tx, pack.id, &new).await.unwrap();
    assert_eq!((after.id, after.created), (before.id, before.created));
    assert_eq!(after, expected(&after, pack, new));
}

#[tokio::test]
async fn test_put_invalid_ref() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let put = SensorFixture::new(&pack, "Watcher").create(&mut tx).await;
    assert_invalid_value(put, "sensor", "sensor_ref_format");
}

#[tokio::test]
async fn test_put_without_entrypoint() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let new = NewSensor { entrypoint: String::new(), ..full(&pack, "test.python") };
    let put = SensorRepository::put(&mut *tx, pack.id, &new).await;
    assert_invalid_value(put, "sensor", "sensor_entrypoint_not_empty");
}

#[tokio::test]
async fn test_put_invalid_pack() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let put = SensorRepository::put(&mut *tx, NO_SUCH_ID, &full(&pack, "test.python")).await;
    assert_invalid_reference(put, "sensor", "pack");
}

#[tokio::test]
async fn test_get_by_id_and_ref() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let sensor = SensorFixture::new(&pack, "a").create(&mut tx).await.unwrap();
    SensorFixture::new(&pack, "b").create(&mut tx).await.unwrap();
    assert_eq!(SensorRepository::get_by_id(&mut *tx, sensor.id).await.unwrap(), sensor);
    assert_eq!(SensorRepository::get_by_ref(&mut *tx, &sensor.r#ref).await.unwrap(), sensor);
}

#[tokio::test]
async fn test_get_by_id_not_found() {
    let mut tx = transaction().await;
    assert_not_found(SensorRepository::get_by_id(&mut *tx, NO_SUCH_ID).await, "sensor", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_get_by_ref_not_found() {
    let mut tx = transaction().await;
    assert_not_found(SensorRepository::get_by_ref(&mut *tx, "test.none").await, "sensor", "test.none");
}

#[tokio::test]
async fn test_list_empty() {
    let mut tx = transaction().await;
    assert_eq!(SensorRepository::list(&mut *tx).await.unwrap(), []);
}

#[tokio::test]
async fn test_list_by_ref() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let second = SensorFixture::new(&pack, "b").create(&mut tx).await.unwrap();
    let first = SensorFixture::new(&pack, "a").create(&mut tx).await.unwrap();
    assert_eq!(SensorRepository::list(&mut *tx).await.unwrap(), [first, second]);
}

#[tokio::test]
async fn test_remove_others_keeps_what_the_pack_contains() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let kept = SensorFixture::new(&pack, "kept").create(&mut tx).await.unwrap();
    SensorFixture::new(&pack, "old").create(&mut tx).await.unwrap();
    let refs = std::slice::from_ref(&kept.r#ref);
    assert_eq!(SensorRepository::remove_others(&mut *tx, pack.id, refs).await.unwrap(), 1);
    assert_eq!(SensorRepository::list_of_pack(&mut *tx, pack.id).await.unwrap(), [kept]);
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
async fn test_delete_keeps_its_events() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let sensor = SensorFixture::new(&pack, "watcher").create(&mut tx).await.unwrap();
    let event =
        EventFixture::new_unique().with_source(sensor.id, &sensor.r#ref).create(&mut tx).await.unwrap();
    assert!(SensorRepository::delete(&mut *tx, sensor.id).await.unwrap());
    let event = EventRepository::get_by_id(&mut *tx, event.id).await.unwrap();
    assert_eq!((event.source, event.source_ref), (None, Some(sensor.r#ref)));
}

#[tokio::test]
async fn test_delete_not_found() {
    let mut tx = transaction().await;
    assert!(!SensorRepository::delete(&mut *tx, NO_SUCH_ID).await.unwrap());
}

#[tokio::test]
async fn test_delete_of_the_runtime_keeps_its_name() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let runtime = RuntimeFixture::new(&pack, "sh").create(&mut tx).await.unwrap();
    let sensor = SensorFixture::new(&pack, "a").with_runtime(&runtime).create(&mut tx).await.unwrap();
    assert_eq!(sensor.runtime, Some(runtime.id));
    RuntimeRepository::delete(&mut *tx, runtime.id).await.unwrap();
    let sensor = SensorRepository::get_by_id(&mut *tx, sensor.id).await.unwrap();
    assert_eq!((sensor.runtime, sensor.runtime_ref), (None, runtime.r#ref));
}
