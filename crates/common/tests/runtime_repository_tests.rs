//! The runtime repository: `attune.runtime`.

mod helpers;

use attune_common::models::runtime::{NewRuntime, Runtime};
use attune_common::repositories::{PackRepository, RuntimeRepository};
use attune_testkit::transaction;
use helpers::checks::*;
use helpers::*;

#[test]
fn test_table_name_has_the_schema() {
    assert_eq!(RuntimeRepository::table_name(), "attune.runtime");
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
