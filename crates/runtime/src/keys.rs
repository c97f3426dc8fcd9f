//! The values of keys, for whoever hands them to the code of packs.

use attune_common::crypto::SecretKey;
use attune_common::error::StoreError;
use attune_common::repositories::KeyRepository;
use attune_common::vault::{Vault, VaultError};
use sqlx::PgPool;
use tokio::sync::OnceCell;

/// Opens the vault when a key is needed: most processes never see one.
#[derive(Debug)]
pub struct KeyReader {
    master: Option<SecretKey>,
    vault: OnceCell<Vault>,
}

/// Why a key of a pack's settings cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error(
        "the setting is kept in the key `{key_ref}`, and there is no master key here to read it with: give this process the \
         server's, in ATTUNE_MASTER_KEY or as the file master.key in its data directory"
    )]
    NoMasterKey { key_ref: String },
    #[error("the key `{key_ref}` of the settings cannot be read")]
    Unreadable { key_ref: String, source: VaultError },
    #[error("the key `{key_ref}` of the settings cannot be looked up")]
    Store { key_ref: String, source: StoreError },
}

impl KeyReader {
    pub fn of(master: Option<SecretKey>) -> Self {
        Self { master, vault: OnceCell::new() }
    }

    /// The vault, opened; None without a master key.
    pub async fn vault(&self, pool: &PgPool) -> Result<Option<&Vault>, VaultError> {
        let Some(master) = &self.master else { return Ok(None) };
        self.vault.get_or_try_init(|| Vault::open(pool, master)).await.map(Some)
    }

    /// The value of a key that a pack's own settings name; None where it is not set.
    pub async fn of_pack(&self, pool: &PgPool, key_ref: &str) -> Result<Option<String>, KeyError> {
        let store = |source| KeyError::Store { key_ref: key_ref.to_owned(), source };
        if KeyRepository::find_by_ref(pool, key_ref).await.map_err(store)?.is_none() {
            return Ok(None);
        }
        let unreadable = |source| KeyError::Unreadable { key_ref: key_ref.to_owned(), source };
        let vault = self.vault(pool).await.map_err(unreadable)?;
        let vault = vault.ok_or_else(|| KeyError::NoMasterKey { key_ref: key_ref.to_owned() })?;
        vault.reveal(pool, key_ref).await.map_err(unreadable)
    }
}
