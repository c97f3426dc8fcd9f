//! The values of keys in use: they are sealed under a data key, data keys under the master key. This is the only place that
//! decrypts. Values that are no secrets are stored in the same way, so that one rotation, one backup and one master key are for
//! all; a value is sealed as a secret or as none, which nobody can change without opening it.
//!
//! A vault goes on working while [another process rotates](rotation): a value comes with the data key that opens it, and a
//! value that is sealed under a data key that was replaced meanwhile is refused by the database and sealed anew.

pub mod rotation;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use sqlx::postgres::PgPool;

use crate::crypto::{CryptoError, SecretKey};
use crate::error::StoreError;
use crate::models::key::{DataKey, Key, KeyOwner, KeyWithValue, NewKey, ResealedKey, SealedKey};
use crate::repositories::{DATA_KEY, DataKeyRepository, KeyRepository};
use crate::run_token::RunTokenKey;
use crate::sensor_token::SensorTokenKey;

/// What a data key is bound to.
const DATA_KEY_PLACE: &str = "data key";

/// Opens and seals the secrets of one database. Clones share the data keys.
#[derive(Debug, Clone)]
pub struct Vault {
    master: SecretKey,
    opened: Arc<RwLock<OpenedDataKeys>>,
}

/// The data keys that were needed so far.
#[derive(Debug)]
struct OpenedDataKeys {
    in_force: i64,
    by_id: HashMap<i64, Arc<SecretKey>>,
}

/// A value for a key.
#[derive(Clone, Copy)]
pub struct KeyValue<'a> {
    pub key_ref: &'a str,
    /// Whom a new key belongs to.
    pub owner: KeyOwner,
    pub value: &'a str,
    /// Whether it is never shown.
    pub secret: bool,
}

impl<'a> KeyValue<'a> {
    /// A secret of the system.
    pub const fn secret(key_ref: &'a str, value: &'a str) -> Self {
        Self { key_ref, owner: KeyOwner::System, value, secret: true }
    }

    /// A value of the system that may be shown.
    pub const fn plain(key_ref: &'a str, value: &'a str) -> Self {
        Self { secret: false, ..Self::secret(key_ref, value) }
    }

    /// The same of another owner.
    pub const fn of(self, owner: KeyOwner) -> Self {
        Self { owner, ..self }
    }
}

impl fmt::Debug for KeyValue<'_> {
    /// Without the value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyValue").field("key_ref", &self.key_ref).finish_non_exhaustive()
    }
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

impl From<sqlx::Error> for VaultError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Vault {
    /// Opens the vault with the master key; the first one to do so makes the data key.
    pub async fn open(pool: &PgPool, master: &SecretKey) -> Result<Self, VaultError> {
        let draft = master.seal(SecretKey::generate().as_bytes(), DATA_KEY_PLACE)?;
        let mut transaction = crate::db::begin(pool).await?;
        let stored =
            DataKeyRepository::first_or_create(&mut transaction, &draft, &master.fingerprint()).await?;
        transaction.commit().await?;
        let opened = OpenedDataKeys {
            in_force: stored.id,
            by_id: HashMap::from([(stored.id, Arc::new(unwrap(master, &stored)?))]),
        };
        Ok(Self { master: master.clone(), opened: Arc::new(RwLock::new(opened)) })
    }

    /// The key of the tokens of runs.
    pub fn run_token_key(&self) -> RunTokenKey {
        RunTokenKey::of(&self.master)
    }

    /// The key of the tokens of sensors.
    pub fn sensor_token_key(&self) -> SensorTokenKey {
        SensorTokenKey::of(&self.master)
    }

    /// Gives the secret with this ref a value. A new secret belongs to the system; an existing key keeps its owner.
    pub async fn set(&self, pool: &PgPool, key_ref: &str, value: &str) -> Result<Key, VaultError> {
        self.put(pool, KeyValue::secret(key_ref, value)).await
    }

    /// Gives a key a value. A new key belongs to the owner that is named there; an existing one keeps its own. It is as secret
    /// as the value is.
    pub async fn put(&self, pool: &PgPool, value: KeyValue<'_>) -> Result<Key, VaultError> {
        loop {
            let (data_key, new) = self.seal(value)?;
            match KeyRepository::put(pool, &new).await {
                Err(error) if is_replaced(&error) => self.follow_rotation(pool, data_key, error).await?,
                written => return Ok(written?),
            }
        }
    }

    /// The same for a key that stays as secret as it is, or is made so: None where there is one that is not as this value is,
    /// since somebody changed that, who is not undone.
    pub async fn put_alike(&self, pool: &PgPool, value: KeyValue<'_>) -> Result<Option<Key>, VaultError> {
        loop {
            let (data_key, new) = self.seal(value)?;
            match KeyRepository::put_alike(pool, &new).await {
                Ok(Some(key)) => return Ok(Some(key)),
                Err(error) if is_replaced(&error) => self.follow_rotation(pool, data_key, error).await?,
                Err(error) => return Err(error.into()),
                Ok(None) => match DataKeyRepository::find_in_force(pool).await? {
                    Some(stored) if stored.id > data_key => self.put_in_force(&stored)?,
                    _ => return Ok(None),
                },
            }
        }
    }

    /// Makes a key; AlreadyExists for a ref that is taken.
    pub async fn create(&self, pool: &PgPool, value: KeyValue<'_>) -> Result<Key, VaultError> {
        loop {
            let (data_key, new) = self.seal(value)?;
            match KeyRepository::create(pool, &new).await {
                Err(error) if is_replaced(&error) => self.follow_rotation(pool, data_key, error).await?,
                written => return Ok(written?),
            }
        }
    }

    /// Makes the key with this ref a secret with the value that it has; None without such a key. The other way there is none:
    /// what is stored as a secret is never shown.
    pub async fn hide(&self, pool: &PgPool, key_ref: &str) -> Result<Option<Key>, VaultError> {
        // Each turn follows what somebody else did to the key, or to the data keys, since the one before.
        loop {
            let Some(KeyWithValue { key, sealed }) = KeyRepository::find_with_value(pool, key_ref).await?
            else {
                return Ok(None);
            };
            if key.secret {
                return Ok(Some(key));
            }
            if sealed.data_key.id > self.in_force() {
                self.put_in_force(&sealed.data_key)?;
            }
            let data_key = self.in_force();
            let plain = self.open_sealed(&sealed)?;
            let value = self.seal_under(data_key, &plain, Place { key_ref, secret: true })?;
            let resealed = ResealedKey { id: key.id, version: key.version, value };
            match KeyRepository::hide(pool, data_key, &resealed).await {
                Ok(Some(hidden)) => return Ok(Some(hidden)),
                // The data key may be gone already.
                Err(error) if !is_replaced(&error) => return Err(error.into()),
                Ok(None) | Err(_) => {
                    if let Some(stored) = DataKeyRepository::find_in_force(pool).await? {
                        self.put_in_force(&stored)?;
                    }
                }
            }
        }
    }

    /// A value that is sealed for its key, for a transaction that writes it with other things. Where that is refused,
    /// [`Vault::follows`] says whether to seal it anew.
    pub fn sealed(&self, value: KeyValue<'_>) -> Result<NewKey, VaultError> {
        self.seal(value).map(|(_, new)| new)
    }

    /// Whether a transaction was refused only because its secrets are sealed under a data key that was replaced; the one
    /// that is in force is known from then on.
    pub async fn follows(&self, pool: &PgPool, refusal: &StoreError) -> Result<bool, VaultError> {
        if !is_replaced(refusal) {
            return Ok(false);
        }
        let replaced = self.in_force();
        match DataKeyRepository::find_in_force(pool).await? {
            Some(stored) if stored.id > replaced => self.put_in_force(&stored).map(|()| true),
            _ => Ok(false),
        }
    }

    /// The plain text of a value, secret or not; None when there is no such key.
    pub async fn reveal(&self, pool: &PgPool, key_ref: &str) -> Result<Option<String>, VaultError> {
        let Some(sealed) = KeyRepository::find_sealed(pool, key_ref).await? else { return Ok(None) };
        self.reveal_sealed(&sealed).map(Some)
    }

    /// The plain text of a value that was read already, as those that are read together are.
    pub fn reveal_sealed(&self, sealed: &SealedKey) -> Result<String, VaultError> {
        let plain = self.open_sealed(sealed)?;
        String::from_utf8(plain).map_err(|_| VaultError::NotText { key_ref: sealed.key_ref.clone() })
    }

    /// What may be shown of a value that was read already: all of it, or None for a secret. A row that only says that it is no
    /// secret, with a value that was sealed as one, is Tampered.
    pub fn shown(&self, sealed: &SealedKey) -> Result<Option<String>, VaultError> {
        match sealed.secret {
            true => Ok(None),
            false => self.reveal_sealed(sealed).map(Some),
        }
    }

    fn open_sealed(&self, sealed: &SealedKey) -> Result<Vec<u8>, VaultError> {
        let data_key = self.opened(&sealed.data_key)?;
        Ok(data_key.open(&sealed.value, &Place::of(sealed).to_string())?)
    }

    fn seal(&self, value: KeyValue<'_>) -> Result<(i64, NewKey), VaultError> {
        let KeyValue { key_ref, owner, value, secret } = value;
        let id = self.in_force();
        let value = self.seal_under(id, value.as_bytes(), Place { key_ref, secret })?;
        Ok((id, NewKey { key_ref: key_ref.to_owned(), owner, data_key: id, secret, value }))
    }

    fn seal_under(&self, data_key: i64, plain: &[u8], place: Place<'_>) -> Result<Vec<u8>, VaultError> {
        let data_key = self.known(data_key).ok_or(CryptoError::Encrypt)?;
        Ok(data_key.seal(plain, &place.to_string())?)
    }

    /// Goes over to the data key that is in force instead of `replaced`. Gives back the refusal when there is no other.
    async fn follow_rotation(
        &self,
        pool: &PgPool,
        replaced: i64,
        refusal: StoreError,
    ) -> Result<(), VaultError> {
        match DataKeyRepository::find_in_force(pool).await? {
            Some(stored) if stored.id > replaced => self.put_in_force(&stored),
            _ => Err(refusal.into()),
        }
    }

    fn put_in_force(&self, stored: &DataKey) -> Result<(), VaultError> {
        self.opened(stored)?;
        let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        opened.in_force = opened.in_force.max(stored.id);
        Ok(())
    }

    /// The data key, opened; each is unwrapped once.
    fn opened(&self, stored: &DataKey) -> Result<Arc<SecretKey>, VaultError> {
        if let Some(known) = self.known(stored.id) {
            return Ok(known);
        }
        let data_key = Arc::new(unwrap(&self.master, stored)?);
        let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        opened.by_id.insert(stored.id, Arc::clone(&data_key));
        Ok(data_key)
    }

    fn in_force(&self) -> i64 {
        self.opened.read().unwrap_or_else(PoisonError::into_inner).in_force
    }

    fn known(&self, data_key: i64) -> Option<Arc<SecretKey>> {
        self.opened.read().unwrap_or_else(PoisonError::into_inner).by_id.get(&data_key).cloned()
    }
}

/// Opens a data key with the master key.
fn unwrap(master: &SecretKey, stored: &DataKey) -> Result<SecretKey, VaultError> {
    if stored.master_fingerprint != master.fingerprint() {
        return Err(wrong_master_key(master, stored));
    }
    let bytes = master.open(&stored.wrapped, DATA_KEY_PLACE)?;
    Ok(SecretKey::from_bytes(&bytes).ok_or(CryptoError::Tampered)?)
}

fn wrong_master_key(given: &SecretKey, stored: &DataKey) -> VaultError {
    VaultError::WrongMasterKey { given: given.fingerprint(), expected: stored.master_fingerprint.clone() }
}

/// Whether a value was refused because its data key is no longer in force, or is gone already.
fn is_replaced(error: &StoreError) -> bool {
    match error {
        StoreError::Conflict { entity, .. } => *entity == DATA_KEY,
        StoreError::InvalidReference { field, .. } => field == DATA_KEY,
        _ => false,
    }
}

/// What a value is bound to: its key, and whether it is a secret.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    key_ref: &'a str,
    secret: bool,
}

impl<'a> Place<'a> {
    fn of(sealed: &'a SealedKey) -> Self {
        Self { key_ref: &sealed.key_ref, secret: sealed.secret }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.secret { "key" } else { "plain key" };
        write!(f, "{kind}:{}", self.key_ref)
    }
}
