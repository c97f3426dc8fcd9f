//! The runtime repository: `attune.runtime`.

mod helpers;

use attune_common::models::runtime::{NewRuntime, Runtime, RuntimeUpdate};
use attune_common::repositories::{LIST_LIMIT, PackRepository, RuntimeRepository};
use attune_testkit::transaction;
use helpers::checks::*;
use helpers::refs::unique_runtime_ref;
use helpers::*;
use sqlx::PgConnection;

async fn any_runtime(connection: &mut PgConnection) -> Runtime {
    let pack = PackFixture::new_unique().create(&mut *connection).await.expect("a pack");
    RuntimeFixture::new(&pack, "sh").with_interpreter(&["sh"]).create(connection).await.expect("a runtime")
}

#[test]
fn test_table_name_has_the_schema() {
    assert_eq!(RuntimeRepository::table_name(), "attune.runtime");
}

#[tokio::test]
async fn test_create_minimal() {
    let mut tx = transaction().await;
    let new = NewRuntime { r#ref: unique_runtime_ref(), ..NewRuntime::default() };
    let runtime = RuntimeRepository::create(&mut *tx, None, &new).await.unwrap();
    let expected = Runtime {
        id: runtime.id,
        r#ref: new.r#ref,
        pack: None,
        pack_ref: None,
        label: None,
        description: None,
        interpreter: Vec::new(),
        native: false,
        environment: None,
        version: None,
        created: runtime.created,
        updated: runtime.updated,
    };
    assert_eq!(runtime, expected);
}

#[tokio::test]
async fn test_create_with_everything() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let new = NewRuntime {
        r#ref: format!("{}.native", pack.r#ref),
        label: Some("Native".to_owned()),
        description: Some("In the worker".to_owned()),
        interpreter: Vec::new(),
        native: true,
        environment: None,
        version: None,
    };
    let runtime = RuntimeRepository::create(&mut *tx, Some(pack.id), &new).await.unwrap();
    let expected = Runtime {
        id: runtime.id,
        r#ref: new.r#ref,
        pack: Some(pack.id),
        pack_ref: Some(pack.r#ref),
        label: new.label,
        description: new.description,
        interpreter: Vec::new(),
        native: true,
        environment: None,
        version: None,
        created: runtime.created,
        updated: runtime.updated,
    };
    assert_eq!(runtime, expected);
}

#[tokio::test]
async fn test_create_ref_taken() {
    let mut tx = transaction().await;
    let runtime = any_runtime(&mut tx).await;
    let new = NewRuntime { r#ref: runtime.r#ref.clone(), ..NewRuntime::default() };
    let again = RuntimeRepository::create(&mut *tx, None, &new).await;
    assert_already_exists(again, "runtime", "ref", &runtime.r#ref);
}

#[tokio::test]
async fn test_create_refused_refs() {
    for runtime_ref in ["", "python", "core.", "Core.python", "core python.x"] {
        let mut tx = transaction().await;
        let new = NewRuntime { r#ref: runtime_ref.to_owned(), ..NewRuntime::default() };
        let created = RuntimeRepository::create(&mut *tx, None, &new).await;
        assert_refused_value(created, "runtime", "ref", runtime_ref);
    }
}

#[tokio::test]
async fn test_create_native_with_an_interpreter() {
    let mut tx = transaction().await;
    let new = NewRuntime {
        r#ref: unique_runtime_ref(),
        native: true,
        interpreter: vec!["sh".to_owned()],
        ..NewRuntime::default()
    };
    let created = RuntimeRepository::create(&mut *tx, None, &new).await;
    assert_refused_value(created, "runtime", "native", "true");
}

#[tokio::test]
async fn test_create_invalid_pack() {
    let mut tx = transaction().await;
    let new = NewRuntime { r#ref: unique_runtime_ref(), ..NewRuntime::default() };
    let created = RuntimeRepository::create(&mut *tx, Some(NO_SUCH_ID), &new).await;
    assert_invalid_reference(created, "runtime", "pack");
}

#[tokio::test]
async fn test_put_makes_a_runtime() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let new = NewRuntime {
        r#ref: format!("{}.python", pack.r#ref),
        label: Some("Python 3".to_owned()),
        description: Some("What the system has".to_owned()),
        interpreter: vec!["python3".to_owned(), "-u".to_owned(), String::new()],
        native: false,
        environment: Some("python".to_owned()),
        version: Some(">=3.11".to_owned()),
    };
    let runtime = RuntimeRepository::put(&mut *tx, pack.id, &new).await.unwrap();
    let expected = Runtime {
        id: runtime.id,
        r#ref: new.r#ref,
        pack: Some(pack.id),
        pack_ref: Some(pack.r#ref),
        label: new.label,
        description: new.description,
        interpreter: new.interpreter,
        native: false,
        environment: new.environment,
        version: new.version,
        created: runtime.created,
        updated: runtime.updated,
    };
    assert_eq!(runtime, expected);
}

#[tokio::test]
async fn test_put_brings_a_runtime_to_the_definition() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let fixture = RuntimeFixture::new(&pack, "x");
    let before = fixture.clone().with_interpreter(&["sh"]).create(&mut tx).await.unwrap();
    let after = fixture.with_native().create(&mut tx).await.unwrap();
    assert!(after.updated > before.updated);
    let expected = Runtime { interpreter: Vec::new(), native: true, updated: after.updated, ..before };
    assert_eq!(after, expected);
}

#[tokio::test]
async fn test_put_native_with_an_interpreter() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let put = RuntimeFixture::new(&pack, "x").with_native().with_interpreter(&["sh"]).create(&mut tx).await;
    assert_invalid_value(put, "runtime", "runtime_native_interpreter");
}

#[tokio::test]
async fn test_put_invalid_ref() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let put = RuntimeFixture::new(&pack, "Python").create(&mut tx).await;
    assert_invalid_value(put, "runtime", "runtime_ref_format");
}

#[tokio::test]
async fn test_put_invalid_pack() {
    let mut tx = transaction().await;
    let new = NewRuntime { r#ref: "test.python".to_owned(), ..NewRuntime::default() };
    assert_invalid_reference(RuntimeRepository::put(&mut *tx, NO_SUCH_ID, &new).await, "runtime", "pack");
}

#[tokio::test]
async fn test_get_by_id_and_ref() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let runtime = RuntimeFixture::new(&pack, "a").create(&mut tx).await.unwrap();
    RuntimeFixture::new(&pack, "b").create(&mut tx).await.unwrap();
    assert_eq!(RuntimeRepository::get_by_id(&mut *tx, runtime.id).await.unwrap(), runtime);
    assert_eq!(RuntimeRepository::get_by_ref(&mut *tx, &runtime.r#ref).await.unwrap(), runtime);
}

#[tokio::test]
async fn test_find_not_found() {
    let mut tx = transaction().await;
    any_runtime(&mut tx).await;
    assert_eq!(RuntimeRepository::find_by_id(&mut *tx, NO_SUCH_ID).await.unwrap(), None);
    assert_eq!(RuntimeRepository::find_by_ref(&mut *tx, "test.none").await.unwrap(), None);
}

#[tokio::test]
async fn test_get_by_id_not_found() {
    let mut tx = transaction().await;
    assert_not_found(RuntimeRepository::get_by_id(&mut *tx, NO_SUCH_ID).await, "runtime", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_get_by_ref_not_found() {
    let mut tx = transaction().await;
    assert_not_found(RuntimeRepository::get_by_ref(&mut *tx, "test.none").await, "runtime", "test.none");
}

#[tokio::test]
async fn test_list_empty() {
    let mut tx = transaction().await;
    assert_eq!(RuntimeRepository::list(&mut *tx).await.unwrap(), []);
}

#[tokio::test]
async fn test_list_by_ref() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let second = RuntimeFixture::new(&pack, "b").create(&mut tx).await.unwrap();
    let first = RuntimeFixture::new(&pack, "a").create(&mut tx).await.unwrap();
    assert_eq!(RuntimeRepository::list(&mut *tx).await.unwrap(), [first, second]);
}

#[tokio::test]
async fn test_list_limit() {
    let mut tx = transaction().await;
    let prefix = unique_runtime_ref();
    sqlx::query(
        "insert into attune.runtime (ref)
         select format('%s.%s', $1::text, lpad(n::text, 4, '0')) from generate_series(0, 1000) n",
    )
    .bind(&prefix)
    .execute(&mut *tx)
    .await
    .unwrap();
    let listed = RuntimeRepository::list(&mut *tx).await.unwrap();
    assert_eq!(listed.len(), usize::try_from(LIST_LIMIT).unwrap());
    assert_eq!(listed[999].r#ref, format!("{prefix}.0999"));
}

#[tokio::test]
async fn test_list_by_refs_gives_those_there_are() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let b = RuntimeFixture::new(&pack, "b").create(&mut tx).await.unwrap();
    let a = RuntimeFixture::new(&pack, "a").create(&mut tx).await.unwrap();
    RuntimeFixture::new(&pack, "c").create(&mut tx).await.unwrap();
    let refs = [b.r#ref.clone(), "test.none".to_owned(), a.r#ref.clone()];
    assert_eq!(RuntimeRepository::list_by_refs(&mut *tx, &refs).await.unwrap(), [a, b]);
}

#[tokio::test]
async fn test_refs_of_a_pack_and_of_others() {
    let mut tx = transaction().await;
    let runtime = any_runtime(&mut tx).await;
    let foreign = any_runtime(&mut tx).await;
    let mut refs = [runtime.r#ref, foreign.r#ref.clone()];
    refs.sort();
    assert_eq!(RuntimeRepository::refs(&mut *tx).await.unwrap(), refs);
    let pack = runtime.pack.unwrap();
    assert_eq!(RuntimeRepository::foreign_refs(&mut *tx, pack, &refs).await.unwrap(), [foreign.r#ref]);
}

#[tokio::test]
async fn test_update_everything() {
    let mut tx = transaction().await;
    let runtime = any_runtime(&mut tx).await;
    let kept = any_runtime(&mut tx).await;
    let update = RuntimeUpdate {
        label: Some("New".to_owned()),
        description: Some("Newer".to_owned()),
        interpreter: Some(Vec::new()),
        native: Some(true),
        unchanged_since: Some(runtime.updated),
    };
    let updated = RuntimeRepository::update(&mut tx, runtime.id, &update).await.unwrap();
    assert!(updated.updated > runtime.updated);
    let expected = Runtime {
        label: Some("New".to_owned()),
        description: Some("Newer".to_owned()),
        interpreter: Vec::new(),
        native: true,
        updated: updated.updated,
        ..runtime
    };
    assert_eq!(updated, expected);
    assert_eq!(RuntimeRepository::get_by_id(&mut *tx, kept.id).await.unwrap(), kept);
}

#[tokio::test]
async fn test_update_one_column_keeps_the_others() {
    let mut tx = transaction().await;
    let runtime = any_runtime(&mut tx).await;
    let update = RuntimeUpdate { label: Some("Shell".to_owned()), ..RuntimeUpdate::default() };
    let updated = RuntimeRepository::update(&mut tx, runtime.id, &update).await.unwrap();
    let expected = Runtime { label: Some("Shell".to_owned()), updated: updated.updated, ..runtime };
    assert_eq!(updated, expected);
}

#[tokio::test]
async fn test_update_no_change() {
    let mut tx = transaction().await;
    let runtime = any_runtime(&mut tx).await;
    let same = RuntimeUpdate { interpreter: Some(runtime.interpreter.clone()), ..RuntimeUpdate::default() };
    for update in [RuntimeUpdate::default(), same] {
        assert_eq!(RuntimeRepository::update(&mut tx, runtime.id, &update).await.unwrap(), runtime);
    }
}

#[tokio::test]
async fn test_update_stale() {
    let mut tx = transaction().await;
    let seen = any_runtime(&mut tx).await;
    let label = |label: &str| RuntimeUpdate {
        label: Some(label.to_owned()),
        unchanged_since: Some(seen.updated),
        ..RuntimeUpdate::default()
    };
    let first = RuntimeRepository::update(&mut tx, seen.id, &label("first")).await.unwrap();
    let second = RuntimeRepository::update(&mut tx, seen.id, &label("second")).await;
    assert_conflict(second, "runtime", &seen.id);
    assert_eq!(RuntimeRepository::get_by_id(&mut *tx, seen.id).await.unwrap(), first);
}

#[tokio::test]
async fn test_update_not_found() {
    let mut tx = transaction().await;
    let update = RuntimeUpdate { native: Some(true), ..RuntimeUpdate::default() };
    assert_not_found(RuntimeRepository::update(&mut tx, NO_SUCH_ID, &update).await, "runtime", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_update_native_with_an_interpreter() {
    let mut tx = transaction().await;
    let runtime = any_runtime(&mut tx).await;
    let update = RuntimeUpdate { native: Some(true), ..RuntimeUpdate::default() };
    let updated = RuntimeRepository::update(&mut tx, runtime.id, &update).await;
    assert_refused_value(updated, "runtime", "native", "true");
}

#[tokio::test]
async fn test_remove_others_keeps_what_the_pack_contains() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let kept = RuntimeFixture::new(&pack, "kept").create(&mut tx).await.unwrap();
    RuntimeFixture::new(&pack, "old").create(&mut tx).await.unwrap();
    let refs = std::slice::from_ref(&kept.r#ref);
    assert_eq!(RuntimeRepository::remove_others(&mut *tx, pack.id, refs).await.unwrap(), 1);
    assert_eq!(RuntimeRepository::list_of_pack(&mut *tx, pack.id).await.unwrap(), [kept]);
}

#[tokio::test]
async fn test_delete() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let kept = RuntimeFixture::new(&pack, "kept").create(&mut tx).await.unwrap();
    let runtime = RuntimeFixture::new(&pack, "old").create(&mut tx).await.unwrap();
    assert!(RuntimeRepository::delete(&mut *tx, runtime.id).await.unwrap());
    assert_eq!(RuntimeRepository::list(&mut *tx).await.unwrap(), [kept]);
}

#[tokio::test]
async fn test_delete_not_found() {
    let mut tx = transaction().await;
    assert!(!RuntimeRepository::delete(&mut *tx, NO_SUCH_ID).await.unwrap());
}

#[tokio::test]
async fn test_delete_of_the_pack_takes_the_runtime() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let runtime = RuntimeFixture::new(&pack, "x").create(&mut tx).await.unwrap();
    PackRepository::delete(&mut *tx, pack.id).await.unwrap();
    assert_eq!(RuntimeRepository::find_by_id(&mut *tx, runtime.id).await.unwrap(), None);
}
