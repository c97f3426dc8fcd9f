//! A rotation may die wherever it waits for the database: every value can be read then, and the rotation is run again.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

#[path = "helpers/interruption.rs"]
mod interruption;

use attune_common::crypto::SecretKey;
use attune_common::repositories::DataKeyRepository;
use attune_common::vault::rotation::change_master_key;
use attune_common::vault::{Vault, VaultError};
use attune_testkit::TestDatabase;
use interruption::until;
use sqlx::PgPool;

const KEYS: [&str; 3] = ["ops.one", "ops.two", "ops.three"];

/// Each key's value is its ref.
async fn check(vault: &Vault, pool: &PgPool) {
    for key_ref in KEYS {
        assert_eq!(vault.reveal(pool, key_ref).await.unwrap().as_deref(), Some(key_ref));
    }
}

async fn safe() -> (TestDatabase, Vault, SecretKey) {
    let database = TestDatabase::create().await;
    let master = SecretKey::generate();
    let vault = Vault::open(database.pool(), &master).await.unwrap();
    for key_ref in KEYS {
        vault.set(database.pool(), key_ref, key_ref).await.unwrap();
    }
    (database, vault, master)
}

#[tokio::test]
async fn test_rotation_of_the_data_key_dies_anywhere() {
    let (database, serving, master) = safe().await;
    let pool = database.pool();
    let mut waits = 0;
    loop {
        let rotating = Vault::open(pool, &master).await.unwrap();
        if let Some(rotated) = until(waits, rotating.rotate(pool)).await {
            // What all those that died have left is cleared away.
            let rotated = rotated.unwrap();
            assert_eq!(rotated.damaged, [] as [&str; 0]);
            let data_keys = DataKeyRepository::list(pool).await.unwrap();
            assert_eq!(data_keys.iter().map(|key| key.id).collect::<Vec<_>>(), [rotated.data_key]);
            break;
        }
        check(&serving, pool).await;
        check(&Vault::open(pool, &master).await.unwrap(), pool).await;
        // Others write on as well.
        let key = serving.set(pool, KEYS[waits % 3], KEYS[waits % 3]).await.unwrap();
        let in_force = DataKeyRepository::find_in_force(pool).await.unwrap().unwrap();
        assert_eq!(key.data_key, in_force.id);
        waits += 1;
    }
    check(&serving, pool).await;
    // How often depends on how soon the database answers: an answer that is there already is not waited for.
    assert!(waits > 0, "it was never interrupted");
}

#[tokio::test]
async fn test_change_of_the_master_key_dies_anywhere() {
    let (database, serving, old) = safe().await;
    let pool = database.pool();
    serving.renew_data_key(pool).await.unwrap();
    serving.renew_data_key(pool).await.unwrap();
    let new = SecretKey::generate();
    let mut waits = 0;
    loop {
        let changed = until(waits, change_master_key(pool, &old, &new)).await;
        check(&serving, pool).await;
        // Exactly one of the two master keys opens everything.
        let opened = [Vault::open(pool, &old).await, Vault::open(pool, &new).await];
        match opened {
            [Ok(vault), Err(VaultError::WrongMasterKey { .. })]
            | [Err(VaultError::WrongMasterKey { .. }), Ok(vault)] => check(&vault, pool).await,
            other => panic!("{other:?}"),
        }
        if let Some(changed) = changed {
            changed.unwrap();
            break;
        }
        waits += 1;
    }
    assert_eq!(change_master_key(pool, &old, &new).await.unwrap(), 0);
    // How often depends on how soon the database answers: an answer that is there already is not waited for.
    assert!(waits > 0, "it was never interrupted");
}
