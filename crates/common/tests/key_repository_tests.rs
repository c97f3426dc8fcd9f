//! The key repository, `attune.key` and `attune.data_key`, and the vault that seals what is stored there.

mod helpers;

use attune_common::crypto::{CryptoError, SecretKey};
use attune_common::error::StoreError;
use attune_common::models::key::{Key, NewKey};
use attune_common::repositories::KeyRepository;
use attune_common::vault::{Vault, VaultError};
use attune_testkit::{TestDatabase, transaction};
use helpers::checks::*;
use helpers::*;
use sqlx::PgPool;

/// Writes bytes into the database behind the vault's back.
async fn overwrite_value(pool: &PgPool, key_ref: &str, value: &[u8]) {
    let done = sqlx::query("update attune.key set value = $2 where ref = $1")
        .bind(key_ref)
        .bind(value)
        .execute(pool)
        .await
        .expect("the value can be overwritten");
    assert_eq!(done.rows_affected(), 1);
}

async fn sealed_value(pool: &PgPool, key_ref: &str) -> Vec<u8> {
    KeyRepository::find_sealed(pool, key_ref).await.expect("keys can be read").expect("the key exists").value
}

#[test]
fn test_table_name_has_the_schema() {
    assert_eq!(KeyRepository::table_name(), "attune.key");
}

#[tokio::test]
async fn test_put_makes_a_key() {
    let mut tx = transaction().await;
    let key_ref = unique_key_ref();
    let key = KeyFixture::new(&key_ref).with_value(b"bytes").create(&mut tx).await.unwrap();
    let name = key_ref.strip_prefix("test.").unwrap().to_owned();
    assert_eq!(key, Key { id: key.id, key_ref, name, created: key.created, updated: key.updated });
    let sealed = KeyRepository::find_sealed(&mut *tx, &key.key_ref).await.unwrap().unwrap();
    assert_eq!((sealed.key_ref, sealed.value), (key.key_ref, b"bytes".to_vec()));
}

#[tokio::test]
async fn test_put_name_is_all_after_the_pack() {
    let mut tx = transaction().await;
    let key = KeyFixture::new("test.api.token").create(&mut tx).await.unwrap();
    assert_eq!(key.name, "api.token");
}

#[tokio::test]
async fn test_put_replaces_the_value() {
    let mut tx = transaction().await;
    let fixture = KeyFixture::new_unique();
    let before = fixture.clone().with_value(b"old").create(&mut tx).await.unwrap();
    let after = fixture.with_value(b"new").create(&mut tx).await.unwrap();
    assert!(after.updated > before.updated);
    assert_eq!(after, Key { updated: after.updated, ..before });
    let sealed = KeyRepository::find_sealed(&mut *tx, &after.key_ref).await.unwrap().unwrap();
    assert_eq!(sealed.value, b"new");
}

#[tokio::test]
async fn test_put_invalid_refs() {
    for key_ref in ["", "token", "ops.", ".token", "Ops.token"] {
        let mut tx = transaction().await;
        let put = KeyFixture::new(key_ref).create(&mut tx).await;
        assert_invalid_value(put, "key", "key_ref_format");
    }
}

#[tokio::test]
async fn test_put_invalid_data_key() {
    let mut tx = transaction().await;
    let new = NewKey { key_ref: unique_key_ref(), data_key: NO_SUCH_ID, value: Vec::new() };
    assert_invalid_reference(KeyRepository::put(&mut *tx, &new).await, "key", "data_key");
}

#[tokio::test]
async fn test_list_empty() {
    let mut tx = transaction().await;
    assert_eq!(KeyRepository::list(&mut *tx).await.unwrap(), []);
}

#[tokio::test]
async fn test_list_by_ref() {
    let mut tx = transaction().await;
    let prefix = unique_key_ref();
    let second = KeyFixture::new(&format!("{prefix}.b")).create(&mut tx).await.unwrap();
    let first = KeyFixture::new(&format!("{prefix}.a")).create(&mut tx).await.unwrap();
    assert_eq!(KeyRepository::list(&mut *tx).await.unwrap(), [first, second]);
}

#[tokio::test]
async fn test_find_sealed_not_found() {
    let mut tx = transaction().await;
    assert!(KeyRepository::find_sealed(&mut *tx, "test.none").await.unwrap().is_none());
}

#[tokio::test]
async fn test_delete_by_ref() {
    let mut tx = transaction().await;
    let kept = KeyFixture::new_unique().create(&mut tx).await.unwrap();
    let key = KeyFixture::new_unique().create(&mut tx).await.unwrap();
    KeyRepository::delete_by_ref(&mut *tx, &key.key_ref).await.unwrap();
    assert_eq!(KeyRepository::list(&mut *tx).await.unwrap(), [kept]);
}

#[tokio::test]
async fn test_delete_by_ref_not_found() {
    let mut tx = transaction().await;
    assert_not_found(KeyRepository::delete_by_ref(&mut *tx, "test.none").await, "key", "test.none");
}

#[tokio::test]
async fn test_data_key_is_made_once() {
    let mut tx = transaction().await;
    let first = KeyRepository::data_key_or_create(&mut tx, b"one", "master").await.unwrap();
    assert_eq!((&*first.wrapped, &*first.master_fingerprint), (&b"one"[..], "master"));
    let second = KeyRepository::data_key_or_create(&mut tx, b"two", "other").await.unwrap();
    assert_eq!(
        (second.id, second.wrapped, second.master_fingerprint),
        (first.id, first.wrapped, first.master_fingerprint)
    );
}

#[tokio::test]
async fn test_vault_reveals_what_was_set() {
    let database = TestDatabase::create().await;
    let vault = Vault::open(database.pool(), &SecretKey::generate()).await.unwrap();
    for (key_ref, value) in
        [("ops.token", "hunter2"), ("ops.empty", ""), ("ops.text", "zweite Zeile\n\u{0}ß")]
    {
        let key = vault.set(database.pool(), key_ref, value).await.unwrap();
        assert_eq!(key.key_ref, key_ref);
        assert_eq!(vault.reveal(database.pool(), key_ref).await.unwrap().as_deref(), Some(value));
    }
    assert_eq!(vault.reveal(database.pool(), "ops.none").await.unwrap(), None);
}

#[tokio::test]
async fn test_vault_stores_no_plain_text() {
    let database = TestDatabase::create().await;
    let master = SecretKey::generate();
    let vault = Vault::open(database.pool(), &master).await.unwrap();
    vault.set(database.pool(), "ops.token", "hunter2-hunter2").await.unwrap();
    let stored = sealed_value(database.pool(), "ops.token").await;
    assert!(!stored.windows(7).any(|bytes| bytes == b"hunter2"));
    let wrapped: Vec<u8> =
        sqlx::query_scalar("select wrapped from attune.data_key").fetch_one(database.pool()).await.unwrap();
    let data_key = master.open(&wrapped, "data key").unwrap();
    assert!(!wrapped.windows(data_key.len()).any(|bytes| bytes == data_key));
    assert!(!format!("{vault:?}").contains("hunter2"));
}

#[tokio::test]
async fn test_vault_set_replaces_the_value() {
    let database = TestDatabase::create().await;
    let vault = Vault::open(database.pool(), &SecretKey::generate()).await.unwrap();
    let before = vault.set(database.pool(), "ops.token", "old").await.unwrap();
    let after = vault.set(database.pool(), "ops.token", "new").await.unwrap();
    assert_eq!(after.id, before.id);
    assert_eq!(vault.reveal(database.pool(), "ops.token").await.unwrap().as_deref(), Some("new"));
}

#[tokio::test]
async fn test_vault_opened_again_reveals_older_values() {
    let database = TestDatabase::create().await;
    let master = SecretKey::generate();
    let first = Vault::open(database.pool(), &master).await.unwrap();
    first.set(database.pool(), "ops.token", "hunter2").await.unwrap();
    let second = Vault::open(database.pool(), &master).await.unwrap();
    assert_eq!(second.reveal(database.pool(), "ops.token").await.unwrap().as_deref(), Some("hunter2"));
}

#[tokio::test]
async fn test_vault_opened_by_two_processes_at_once() {
    let database = TestDatabase::create().await;
    let master = SecretKey::generate();
    let (one, other) =
        tokio::join!(Vault::open(database.pool(), &master), Vault::open(database.pool(), &master));
    one.unwrap().set(database.pool(), "ops.token", "hunter2").await.unwrap();
    let revealed = other.unwrap().reveal(database.pool(), "ops.token").await.unwrap();
    assert_eq!(revealed.as_deref(), Some("hunter2"));
}

#[tokio::test]
async fn test_vault_refuses_a_wrong_master_key() {
    let database = TestDatabase::create().await;
    let (right, wrong) = (SecretKey::generate(), SecretKey::generate());
    Vault::open(database.pool(), &right).await.unwrap();
    let error = Vault::open(database.pool(), &wrong).await.unwrap_err();
    match &error {
        VaultError::WrongMasterKey { given, expected } => {
            assert_eq!((given, expected), (&wrong.fingerprint(), &right.fingerprint()));
        }
        other => panic!("{other:?}"),
    }
    assert!(error.to_string().contains("ATTUNE_MASTER_KEY"), "{error}");
    // The refused one has changed nothing.
    Vault::open(database.pool(), &right).await.unwrap();
}

#[tokio::test]
async fn test_vault_notices_a_changed_data_key() {
    let database = TestDatabase::create().await;
    let master = SecretKey::generate();
    Vault::open(database.pool(), &master).await.unwrap();
    sqlx::query("update attune.data_key set wrapped = set_byte(wrapped, 20, get_byte(wrapped, 20) # 1)")
        .execute(database.pool())
        .await
        .unwrap();
    let opened = Vault::open(database.pool(), &master).await;
    assert!(matches!(opened, Err(VaultError::Crypto(CryptoError::Tampered))), "{opened:?}");
}

#[tokio::test]
async fn test_vault_notices_a_changed_value() {
    let database = TestDatabase::create().await;
    let vault = Vault::open(database.pool(), &SecretKey::generate()).await.unwrap();
    vault.set(database.pool(), "ops.token", "hunter2").await.unwrap();
    let mut value = sealed_value(database.pool(), "ops.token").await;
    let last = value.len() - 1;
    value[last] ^= 1;
    overwrite_value(database.pool(), "ops.token", &value).await;
    let revealed = vault.reveal(database.pool(), "ops.token").await;
    assert!(matches!(revealed, Err(VaultError::Crypto(CryptoError::Tampered))), "{revealed:?}");
}

#[tokio::test]
async fn test_vault_notices_an_exchanged_value() {
    let database = TestDatabase::create().await;
    let vault = Vault::open(database.pool(), &SecretKey::generate()).await.unwrap();
    vault.set(database.pool(), "ops.mine", "mine").await.unwrap();
    vault.set(database.pool(), "ops.admin", "admin").await.unwrap();
    let foreign = sealed_value(database.pool(), "ops.admin").await;
    overwrite_value(database.pool(), "ops.mine", &foreign).await;
    let revealed = vault.reveal(database.pool(), "ops.mine").await;
    assert!(matches!(revealed, Err(VaultError::Crypto(CryptoError::Tampered))), "{revealed:?}");
}

#[tokio::test]
async fn test_vault_refuses_an_invalid_ref() {
    let database = TestDatabase::create().await;
    let vault = Vault::open(database.pool(), &SecretKey::generate()).await.unwrap();
    let set = vault.set(database.pool(), "Token", "hunter2").await;
    match &set {
        Err(VaultError::Store(StoreError::InvalidValue { constraint, .. })) => {
            assert_eq!(constraint, "key_ref_format");
        }
        other => panic!("{other:?}"),
    }
    assert!(!format!("{set:?}").contains("hunter2"), "{set:?}");
    assert_eq!(KeyRepository::list(database.pool()).await.unwrap(), []);
}
