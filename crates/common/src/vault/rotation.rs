//! Rotation of the keys that secrets are sealed under, while other processes go on reading and writing secrets.
//!
//! A process may die at any statement of a rotation: every value can be read at every moment, and the rotation is simply
//! run again.

use sqlx::postgres::PgPool;

use super::{DATA_KEY_PLACE, Place, Vault, VaultError, unwrap, wrong_master_key};
use crate::crypto::{CryptoError, SecretKey};
use crate::models::key::{DataKey, ResealedKey};
use crate::repositories::{DataKeyRepository, KeyRepository};

/// How many values are sealed anew in one statement: a few megabytes at most.
const BATCH: i64 = 100;

/// What became of a rotation of the data key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// The data key that is in force.
    pub data_key: i64,
    /// How many values were sealed anew.
    pub resealed: u64,
    /// How many older data keys were removed.
    pub removed: u64,
    /// The refs of values that cannot be opened, by id. They are left as they are, with their data keys.
    pub damaged: Vec<String>,
}

impl Vault {
    /// Puts a new data key in force, seals every value anew under it, and removes the older data keys. After a rotation
    /// that was interrupted, the next one finishes its work.
    pub async fn rotate(&self, pool: &PgPool) -> Result<Rotated, VaultError> {
        self.renew_data_key(pool).await?;
        self.reseal(pool).await
    }

    /// Puts a new data key in force; gives back its id. What is sealed from then on, by any process, is sealed under it.
    pub async fn renew_data_key(&self, pool: &PgPool) -> Result<i64, VaultError> {
        let wrapped = self.master.seal(SecretKey::generate().as_bytes(), DATA_KEY_PLACE)?;
        let mut transaction = crate::db::begin(pool).await?;
        let made = DataKeyRepository::create(&mut transaction, &wrapped, &self.master.fingerprint()).await?;
        transaction.commit().await?;
        let Some(made) = made else {
            let other = DataKeyRepository::list(pool).await?;
            let other = other.iter().find(|stored| stored.master_fingerprint != self.master.fingerprint());
            return Err(
                other.map_or(CryptoError::Encrypt.into(), |other| wrong_master_key(&self.master, other))
            );
        };
        self.put_in_force(&made)?;
        tracing::info!(data_key = made.id, "a new data key is in force");
        Ok(made.id)
    }

    /// Seals anew, in batches, every value that is sealed under an older data key than the one that this vault knows to be
    /// in force, and removes the data keys that are no longer used.
    pub async fn reseal(&self, pool: &PgPool) -> Result<Rotated, VaultError> {
        let data_key = self.in_force();
        let mut rotated = Rotated { data_key, resealed: 0, removed: 0, damaged: Vec::new() };
        // Round by round, since a writer that began before the new data key may have ended behind a round.
        loop {
            let round = self.reseal_round(pool, data_key).await?;
            rotated.resealed += round.resealed;
            rotated.damaged = round.damaged;
            if round.is_last {
                break;
            }
        }
        let mut transaction = crate::db::begin(pool).await?;
        rotated.removed = DataKeyRepository::remove_unused(&mut transaction).await?;
        transaction.commit().await?;
        tracing::info!(
            data_key,
            resealed = rotated.resealed,
            removed = rotated.removed,
            damaged = rotated.damaged.len(),
            "secrets are sealed under the data key in force"
        );
        Ok(rotated)
    }

    async fn reseal_round(&self, pool: &PgPool, data_key: i64) -> Result<Round, VaultError> {
        let mut round = Round { resealed: 0, damaged: Vec::new(), is_last: true };
        let mut after = 0;
        loop {
            let outdated = KeyRepository::list_outdated(pool, data_key, after, BATCH).await?;
            let Some(last) = outdated.last() else { return Ok(round) };
            after = last.id;
            let mut resealed = Vec::with_capacity(outdated.len());
            for sealed in outdated {
                let plain = match self.open_sealed(&sealed) {
                    Ok(plain) => plain,
                    Err(VaultError::Crypto(CryptoError::Tampered)) => {
                        tracing::error!(
                            key = sealed.key_ref,
                            "a secret cannot be opened and is left as it is"
                        );
                        round.damaged.push(sealed.key_ref);
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                let value = self.seal_under(data_key, &plain, Place::of(&sealed))?;
                resealed.push(ResealedKey { id: sealed.id, version: sealed.version, value });
            }
            round.is_last &= resealed.is_empty();
            round.resealed += KeyRepository::reseal(pool, data_key, &resealed).await?;
        }
    }
}

/// One walk over the outdated values.
#[derive(Debug)]
struct Round {
    resealed: u64,
    damaged: Vec<String>,
    /// Nothing was left to be sealed anew.
    is_last: bool,
}

/// Wraps every data key under another master key, in one transaction; gives back how many, which is 0 when all are
/// wrapped under it already. Values stay as they are, and processes that hold the data keys go on working with them; a
/// process that starts needs the new master key.
pub async fn change_master_key(pool: &PgPool, from: &SecretKey, to: &SecretKey) -> Result<u64, VaultError> {
    let mut transaction = crate::db::begin(pool).await?;
    DataKeyRepository::lock(&mut *transaction).await?;
    let stored = DataKeyRepository::list(&mut *transaction).await?;
    let master_fingerprint = to.fingerprint();
    let mut rewrapped = Vec::with_capacity(stored.len());
    for data_key in stored.iter().filter(|stored| stored.master_fingerprint != master_fingerprint) {
        let opened = unwrap(from, data_key)?;
        let wrapped = to.seal(opened.as_bytes(), DATA_KEY_PLACE)?;
        rewrapped.push(DataKey { id: data_key.id, wrapped, master_fingerprint: master_fingerprint.clone() });
    }
    let changed = DataKeyRepository::rewrap(&mut *transaction, &rewrapped).await?;
    transaction.commit().await?;
    tracing::info!(
        data_keys = changed,
        master_key = master_fingerprint,
        "data keys are wrapped under the master key"
    );
    Ok(changed)
}
