//! The sensor repository: `attune.sensor`.

mod helpers;

mod sensor {
    mod running;
}

use attune_common::models::pack::Pack;
use attune_common::models::sensor::{NewSensor, Sensor, SensorUpdate};
use attune_common::repositories::{
    EventRepository, LIST_LIMIT, PackRepository, RuntimeRepository, SensorRepository,
};
use attune_testkit::{TestDatabase, transaction};
use helpers::checks::*;
use helpers::refs::unique_sensor_ref;
use helpers::steps::until_blocked;
use helpers::*;
use serde_json::json;
use sqlx::PgConnection;

/// A sensor on its own, of a runtime that has no row.
async fn any_sensor(connection: &mut PgConnection) -> Sensor {
    SensorRepository::create(connection, None, &minimal(&unique_sensor_ref())).await.expect("a sensor")
}

fn minimal(sensor_ref: &str) -> NewSensor {
    NewSensor {
        r#ref: sensor_ref.to_owned(),
        label: None,
        description: None,
        enabled: true,
        runtime_ref: "test.shell".to_owned(),
        entrypoint: "watch.sh".to_owned(),
        trigger_refs: Vec::new(),
        config: json!({}),
        permissions: Vec::new(),
    }
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
        permissions: vec![grant("event", &["create"])],
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
        permissions: new.permissions,
        obstacle: None,
        created: row.created,
        updated: row.updated,
    }
}

#[test]
fn test_table_name_has_the_schema() {
    assert_eq!(SensorRepository::table_name(), "attune.sensor");
}

#[tokio::test]
async fn test_create_minimal() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let new = minimal(&unique_sensor_ref());
    let sensor = SensorRepository::create(&mut *tx, None, &new).await.unwrap();
    assert_eq!(sensor, Sensor { pack: None, pack_ref: None, ..expected(&sensor, pack, new) });
}

#[tokio::test]
async fn test_create_with_everything() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let runtime = RuntimeFixture::new(&pack, "python").create(&mut tx).await.unwrap();
    let new = full(&pack, &runtime.r#ref);
    let sensor = SensorRepository::create(&mut *tx, Some(pack.id), &new).await.unwrap();
    assert_eq!(sensor, Sensor { runtime: Some(runtime.id), ..expected(&sensor, pack, new) });
}

#[tokio::test]
async fn test_create_ref_taken() {
    let mut tx = transaction().await;
    let sensor = any_sensor(&mut tx).await;
    let again = SensorRepository::create(&mut *tx, None, &minimal(&sensor.r#ref)).await;
    assert_already_exists(again, "sensor", "ref", &sensor.r#ref);
}

#[tokio::test]
async fn test_create_refused_refs() {
    for sensor_ref in ["", "watcher", "ops.", ".watcher", "Ops.watcher", "ops watcher.x"] {
        let mut tx = transaction().await;
        let created = SensorRepository::create(&mut *tx, None, &minimal(sensor_ref)).await;
        assert_refused_value(created, "sensor", "ref", sensor_ref);
    }
}

#[tokio::test]
async fn test_create_without_entrypoint() {
    let mut tx = transaction().await;
    let new = NewSensor { entrypoint: String::new(), ..minimal(&unique_sensor_ref()) };
    let created = SensorRepository::create(&mut *tx, None, &new).await;
    assert_refused_value(created, "sensor", "entrypoint", "");
}

#[tokio::test]
async fn test_create_invalid_pack() {
    let mut tx = transaction().await;
    let created = SensorRepository::create(&mut *tx, Some(NO_SUCH_ID), &minimal(&unique_sensor_ref())).await;
    assert_invalid_reference(created, "sensor", "pack");
}

#[tokio::test]
async fn test_create_never_changes_another() {
    let mut tx = transaction().await;
    let sensor = any_sensor(&mut tx).await;
    any_sensor(&mut tx).await;
    assert_eq!(SensorRepository::get_by_id(&mut *tx, sensor.id).await.unwrap(), sensor);
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
async fn test_find_by_id_not_found() {
    let mut tx = transaction().await;
    any_sensor(&mut tx).await;
    assert_eq!(SensorRepository::find_by_id(&mut *tx, NO_SUCH_ID).await.unwrap(), None);
}

#[tokio::test]
async fn test_find_by_ref_not_found() {
    let mut tx = transaction().await;
    any_sensor(&mut tx).await;
    assert_eq!(SensorRepository::find_by_ref(&mut *tx, "test.none").await.unwrap(), None);
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
async fn test_list_limit() {
    let mut tx = transaction().await;
    let prefix = unique_sensor_ref();
    sqlx::query(
        "insert into attune.sensor (ref, runtime_ref, entrypoint, trigger_refs)
         select format('%s.%s', $1::text, lpad(n::text, 4, '0')), 'test.shell', 'x', array['ops.disk']
         from generate_series(0, 1000) n",
    )
    .bind(&prefix)
    .execute(&mut *tx)
    .await
    .unwrap();
    let last = format!("{prefix}.0999");
    for listed in [
        SensorRepository::list(&mut *tx).await.unwrap(),
        SensorRepository::list_enabled(&mut *tx).await.unwrap(),
        SensorRepository::list_by_trigger_ref(&mut *tx, "ops.disk").await.unwrap(),
    ] {
        assert_eq!(listed.len(), usize::try_from(LIST_LIMIT).unwrap());
        assert_eq!(listed[999].r#ref, last);
    }
}

#[tokio::test]
async fn test_list_enabled_by_ref() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let b = SensorFixture::new(&pack, "b").create(&mut tx).await.unwrap();
    SensorFixture::new(&pack, "off").with_enabled(false).create(&mut tx).await.unwrap();
    let a = SensorFixture::new(&pack, "a").create(&mut tx).await.unwrap();
    assert_eq!(SensorRepository::list_enabled(&mut *tx).await.unwrap(), [a, b]);
}

#[tokio::test]
async fn test_list_by_trigger_ref() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let mut watching = async |name: &str, triggers: &[&str]| {
        let mut fixture = SensorFixture::new(&pack, name);
        fixture.new.trigger_refs = triggers.iter().map(|&trigger| trigger.to_owned()).collect();
        fixture.create(&mut tx).await.unwrap()
    };
    let b = watching("b", &["ops.alert", "ops.disk"]).await;
    let a = watching("a", &["ops.disk"]).await;
    watching("c", &["ops.disk_full"]).await;
    watching("d", &[]).await;
    assert_eq!(SensorRepository::list_by_trigger_ref(&mut *tx, "ops.disk").await.unwrap(), [a, b]);
    assert_eq!(SensorRepository::list_by_trigger_ref(&mut *tx, "ops").await.unwrap(), []);
}

#[tokio::test]
async fn test_list_by_runtime() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let runtime = RuntimeFixture::new(&pack, "sh").create(&mut tx).await.unwrap();
    let other = RuntimeFixture::new(&pack, "python").create(&mut tx).await.unwrap();
    let b = SensorFixture::new(&pack, "b").with_runtime(&runtime).create(&mut tx).await.unwrap();
    let a = SensorFixture::new(&pack, "a").with_runtime(&runtime).create(&mut tx).await.unwrap();
    SensorFixture::new(&pack, "c").with_runtime(&other).create(&mut tx).await.unwrap();
    SensorFixture::new(&pack, "d").create(&mut tx).await.unwrap();
    assert_eq!(SensorRepository::list_by_runtime(&mut *tx, runtime.id).await.unwrap(), [a, b]);
    assert_eq!(SensorRepository::list_by_runtime(&mut *tx, NO_SUCH_ID).await.unwrap(), []);
}

#[tokio::test]
async fn test_list_by_refs_gives_those_there_are() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let b = SensorFixture::new(&pack, "b").create(&mut tx).await.unwrap();
    let a = SensorFixture::new(&pack, "a").create(&mut tx).await.unwrap();
    SensorFixture::new(&pack, "c").create(&mut tx).await.unwrap();
    let refs = [b.r#ref.clone(), "test.none".to_owned(), a.r#ref.clone()];
    assert_eq!(SensorRepository::list_by_refs(&mut *tx, &refs).await.unwrap(), [a, b]);
}

#[tokio::test]
async fn test_foreign_refs_are_those_of_others_and_of_nobody() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let own = SensorFixture::new(&pack, "own").create(&mut tx).await.unwrap();
    let nobodys = any_sensor(&mut tx).await;
    let refs = [own.r#ref, nobodys.r#ref.clone(), "test.none".to_owned()];
    assert_eq!(SensorRepository::foreign_refs(&mut *tx, pack.id, &refs).await.unwrap(), [nobodys.r#ref]);
}

#[tokio::test]
async fn test_update_everything() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let runtime = RuntimeFixture::new(&pack, "python").create(&mut tx).await.unwrap();
    let sensor = any_sensor(&mut tx).await;
    let update = SensorUpdate {
        label: Some("New".to_owned()),
        description: Some("Newer".to_owned()),
        enabled: Some(false),
        runtime_ref: Some(runtime.r#ref.clone()),
        entrypoint: Some("new.py".to_owned()),
        trigger_refs: Some(vec!["ops.new".to_owned()]),
        param_schema: Some(json!({"type": "object"})),
        config: Some(json!({"interval": 5})),
        unchanged_since: Some(sensor.updated),
    };
    let updated = SensorRepository::update(&mut tx, sensor.id, &update).await.unwrap();
    assert!(updated.updated > sensor.updated);
    let expected = Sensor {
        label: Some("New".to_owned()),
        description: Some("Newer".to_owned()),
        enabled: false,
        runtime: Some(runtime.id),
        runtime_ref: runtime.r#ref,
        entrypoint: "new.py".to_owned(),
        trigger_refs: vec!["ops.new".to_owned()],
        param_schema: json!({"type": "object"}),
        config: json!({"interval": 5}),
        updated: updated.updated,
        ..sensor
    };
    assert_eq!(updated, expected);
}

#[tokio::test]
async fn test_update_config_keeps_the_others() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let runtime = RuntimeFixture::new(&pack, "python").create(&mut tx).await.unwrap();
    let sensor =
        SensorRepository::create(&mut *tx, Some(pack.id), &full(&pack, &runtime.r#ref)).await.unwrap();
    let update = SensorUpdate { config: Some(json!({"interval": 1})), ..SensorUpdate::default() };
    let updated = SensorRepository::update(&mut tx, sensor.id, &update).await.unwrap();
    let expected = Sensor { config: json!({"interval": 1}), updated: updated.updated, ..sensor };
    assert_eq!(updated, expected);
}

#[tokio::test]
async fn test_update_to_a_runtime_that_does_not_exist_yet() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let runtime = RuntimeFixture::new(&pack, "sh").create(&mut tx).await.unwrap();
    let sensor = SensorFixture::new(&pack, "a").with_runtime(&runtime).create(&mut tx).await.unwrap();
    let later = RuntimeFixture::new(&pack, "later");
    let update = SensorUpdate { runtime_ref: Some(later.new.r#ref.clone()), ..SensorUpdate::default() };
    let updated = SensorRepository::update(&mut tx, sensor.id, &update).await.unwrap();
    assert_eq!((updated.runtime, &updated.runtime_ref), (None, &later.new.r#ref));
    let later = later.create(&mut tx).await.unwrap();
    assert_eq!(SensorRepository::relink(&mut *tx).await.unwrap(), 1);
    let linked = SensorRepository::get_by_id(&mut *tx, sensor.id).await.unwrap();
    assert_eq!(linked.runtime, Some(later.id));
}

#[tokio::test]
async fn test_update_no_change() {
    let mut tx = transaction().await;
    let sensor = any_sensor(&mut tx).await;
    let same = SensorUpdate {
        enabled: Some(sensor.enabled),
        runtime_ref: Some(sensor.runtime_ref.clone()),
        config: Some(sensor.config.clone()),
        ..SensorUpdate::default()
    };
    for update in [SensorUpdate::default(), same] {
        assert_eq!(SensorRepository::update(&mut tx, sensor.id, &update).await.unwrap(), sensor);
    }
}

#[tokio::test]
async fn test_update_stale() {
    let mut tx = transaction().await;
    let seen = any_sensor(&mut tx).await;
    let interval = |seconds: i32| SensorUpdate {
        config: Some(json!({"interval": seconds})),
        unchanged_since: Some(seen.updated),
        ..SensorUpdate::default()
    };
    let first = SensorRepository::update(&mut tx, seen.id, &interval(1)).await.unwrap();
    assert_conflict(SensorRepository::update(&mut tx, seen.id, &interval(2)).await, "sensor", &seen.id);
    assert_eq!(SensorRepository::get_by_id(&mut *tx, seen.id).await.unwrap(), first);
}

#[tokio::test]
async fn test_update_by_two_who_saw_the_same() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let seen = any_sensor(&mut connection).await;
    let enable =
        SensorUpdate { enabled: Some(false), unchanged_since: Some(seen.updated), ..SensorUpdate::default() };
    let mut open = attune_common::db::begin(database.pool()).await.unwrap();
    SensorRepository::update(&mut open, seen.id, &enable).await.unwrap();
    let (second, committed) =
        tokio::join!(SensorRepository::update(&mut connection, seen.id, &enable), async {
            until_blocked(database.pool(), 1).await;
            open.commit().await
        });
    committed.unwrap();
    assert_conflict(second, "sensor", &seen.id);
}

#[tokio::test]
async fn test_update_not_found() {
    let mut tx = transaction().await;
    let update = SensorUpdate { enabled: Some(false), ..SensorUpdate::default() };
    assert_not_found(SensorRepository::update(&mut tx, NO_SUCH_ID, &update).await, "sensor", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_update_without_entrypoint() {
    let mut tx = transaction().await;
    let sensor = any_sensor(&mut tx).await;
    let update = SensorUpdate { entrypoint: Some(String::new()), ..SensorUpdate::default() };
    let updated = SensorRepository::update(&mut tx, sensor.id, &update).await;
    assert_refused_value(updated, "sensor", "entrypoint", "");
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

#[tokio::test]
async fn test_delete_removes_one() {
    let mut tx = transaction().await;
    let kept = any_sensor(&mut tx).await;
    let sensor = any_sensor(&mut tx).await;
    assert!(SensorRepository::delete(&mut *tx, sensor.id).await.unwrap());
    assert_eq!(SensorRepository::list(&mut *tx).await.unwrap(), [kept]);
}

#[tokio::test]
async fn test_delete_of_the_pack_takes_the_sensor() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    SensorFixture::new(&pack, "a").create(&mut tx).await.unwrap();
    let own = any_sensor(&mut tx).await;
    PackRepository::delete(&mut *tx, pack.id).await.unwrap();
    assert_eq!(SensorRepository::list(&mut *tx).await.unwrap(), [own]);
}
