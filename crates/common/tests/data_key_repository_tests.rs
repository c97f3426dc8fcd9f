//! The repository of the data keys: `attune.data_key`.

mod helpers;

use attune_common::models::key::{DataKey, KeyOwner, NewKey};
use attune_common::repositories::{DataKeyRepository, KeyRepository};
use attune_testkit::{TestDatabase, transaction};
use helpers::key::*;
use helpers::steps::*;

#[test]
fn test_table_name_has_the_schema() {
    assert_eq!(DataKeyRepository::table_name(), "attune.data_key");
}

#[tokio::test]
async fn test_data_key_in_force() {
    let mut tx = transaction().await;
    assert_eq!(DataKeyRepository::find_in_force(&mut *tx).await.unwrap(), None);
    assert_eq!(DataKeyRepository::list(&mut *tx).await.unwrap(), []);
    let first = DataKeyRepository::first_or_create(&mut tx, b"one", "master").await.unwrap();
    assert_eq!((&*first.wrapped, &*first.master_fingerprint), (&b"one"[..], "master"));
    let same = DataKeyRepository::first_or_create(&mut tx, b"two", "other").await.unwrap();
    assert_eq!(same, first);
    let second = DataKeyRepository::create(&mut tx, b"three", "master").await.unwrap().unwrap();
    assert_eq!(second, DataKey { id: second.id, wrapped: b"three".to_vec(), ..first.clone() });
    assert_eq!(DataKeyRepository::find_in_force(&mut *tx).await.unwrap(), Some(second.clone()));
    assert_eq!(DataKeyRepository::first_or_create(&mut tx, b"four", "master").await.unwrap(), second);
    assert_eq!(DataKeyRepository::list(&mut *tx).await.unwrap(), [second, first]);
}

#[tokio::test]
async fn test_data_key_of_another_master_key_is_refused() {
    let mut tx = transaction().await;
    let first = data_key(&mut tx).await.unwrap();
    assert_eq!(DataKeyRepository::create(&mut tx, b"two", "other").await.unwrap(), None);
    assert_eq!(DataKeyRepository::list(&mut *tx).await.unwrap(), [first]);
}

#[tokio::test]
async fn test_data_keys_are_rewrapped() {
    let mut tx = transaction().await;
    let (first, second, third) =
        (data_key(&mut tx).await.unwrap(), next_data_key(&mut tx).await, next_data_key(&mut tx).await);
    let rewrapped = |key: DataKey| DataKey {
        wrapped: format!("rewrapped {}", key.id).into_bytes(),
        master_fingerprint: "other".to_owned(),
        ..key
    };
    let (first, third) = (rewrapped(first), rewrapped(third));
    let changed = DataKeyRepository::rewrap(&mut *tx, &[first.clone(), third.clone()]).await.unwrap();
    assert_eq!(changed, 2);
    assert_eq!(DataKeyRepository::list(&mut *tx).await.unwrap(), [third, second, first]);
}

#[tokio::test]
async fn test_unused_data_keys_are_removed() {
    let mut tx = transaction().await;
    let key = KeyFixture::new_unique().create(&mut tx).await.unwrap();
    let used = data_key(&mut tx).await.unwrap();
    let _unused = next_data_key(&mut tx).await;
    let in_force = next_data_key(&mut tx).await;
    assert_eq!(DataKeyRepository::remove_unused(&mut tx).await.unwrap(), 1);
    assert_eq!(DataKeyRepository::list(&mut *tx).await.unwrap(), [in_force.clone(), used]);
    KeyRepository::delete(&mut *tx, key.id).await.unwrap();
    assert_eq!(DataKeyRepository::remove_unused(&mut tx).await.unwrap(), 1);
    assert_eq!(DataKeyRepository::remove_unused(&mut tx).await.unwrap(), 0, "the one in force stays");
    assert_eq!(DataKeyRepository::list(&mut *tx).await.unwrap(), [in_force]);
}

#[tokio::test]
async fn test_a_data_key_that_is_just_being_written_under_stays() {
    let database = TestDatabase::create().await;
    let mut writer = attune_common::db::begin(database.pool()).await.unwrap();
    let mut connection = attune_common::db::begin(database.pool()).await.unwrap();
    let first = data_key(&mut connection).await.unwrap();
    connection.commit().await.unwrap();
    let new = NewKey {
        key_ref: unique_key_ref(),
        owner: KeyOwner::System,
        data_key: first.id,
        secret: true,
        value: b"sealed".to_vec(),
    };
    KeyRepository::create(&mut *writer, &new).await.unwrap();
    let mut rotation = attune_common::db::begin(database.pool()).await.unwrap();
    let next = next_data_key(&mut rotation).await;
    assert_eq!(at_once(DataKeyRepository::remove_unused(&mut rotation)).await.unwrap(), 0);
    rotation.commit().await.unwrap();
    writer.commit().await.unwrap();
    assert_eq!(DataKeyRepository::list(database.pool()).await.unwrap(), [next, first]);
}
