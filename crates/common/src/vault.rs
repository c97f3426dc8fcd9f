//! Secrets in use: values are sealed under a data key, the data key under the master key. This is the only place that
//! decrypts.

use std::sync::Arc;

use sqlx::postgres::PgPool;

use crate::crypto::{CryptoError, SecretKey};
use crate::error::StoreError;
use crate::models::key::{Key, NewKey, SealedKey};
use crate::repositories::KeyRepository;

/// Opens and seals the secrets of one database. Clones share the data key.
#[derive(Debug, Clone)]
pub struct Vault {
    data_key_id: i64,
    data_key: Arc<SecretKey>,
}

/// Why the vault cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    #[error(
        "the master key is not the one that this database's secrets are encrypted with (fingerprint {given}, expected \
         {expected}): give the right one in ATTUNE_MASTER_KEY or in the file master.key of the data directory"
    )]
    WrongMasterKey { given: String, expected: String },
    #[error("key {key_ref} is not text")]
    NotText { key_ref: String },
}

impl Vault {
    /// Opens the vault with the master key; the first one to do so makes the data key.
    pub async fn open(pool: &PgPool, master: &SecretKey) -> Result<Self, VaultError> {
        const PLACE: &str = "data key";
        let draft = SecretKey::generate();
        let wrapped = master.seal(draft.as_bytes(), PLACE)?;
        let mut transaction = pool.begin().await.map_err(StoreError::from)?;
        let stored =
            KeyRepository::data_key_or_create(&mut transaction, &wrapped, &master.fingerprint()).await?;
        transaction.commit().await.map_err(StoreError::from)?;
        if stored.master_fingerprint != master.fingerprint() {
            return Err(VaultError::WrongMasterKey {
                given: master.fingerprint(),
                expected: stored.master_fingerprint,
            });
        }
        let bytes = master.open(&stored.wrapped, PLACE)?;
        let data_key = SecretKey::from_bytes(&bytes).ok_or(CryptoError::Tampered)?;
        Ok(Self { data_key_id: stored.id, data_key: Arc::new(data_key) })
    }

    /// Stores a secret under its ref, replacing an older value.
    pub async fn set(&self, pool: &PgPool, key_ref: &str, value: &str) -> Result<Key, VaultError> {
        let sealed = self.data_key.seal(value.as_bytes(), &place(key_ref))?;
        let new = NewKey { key_ref: key_ref.to_owned(), data_key: self.data_key_id, value: sealed };
        Ok(KeyRepository::put(pool, &new).await?)
    }

    /// The plain text of a secret; None when there is no such key.
    pub async fn reveal(&self, pool: &PgPool, key_ref: &str) -> Result<Option<String>, VaultError> {
        match KeyRepository::find_sealed(pool, key_ref).await? {
            Some(sealed) => self.open_sealed(&sealed).map(Some),
            None => Ok(None),
        }
    }

    fn open_sealed(&self, sealed: &SealedKey) -> Result<String, VaultError> {
        let plain = self.data_key.open(&sealed.value, &place(&sealed.key_ref))?;
        String::from_utf8(plain).map_err(|_| VaultError::NotText { key_ref: sealed.key_ref.clone() })
    }
}

/// What a value is bound to.
fn place(key_ref: &str) -> String {
    format!("key:{key_ref}")
}
