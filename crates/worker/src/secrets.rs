//! Puts the values of keys into the parameters of an attempt, just before its action gets them.
//!
//! Nothing else decrypts them for an execution, and what comes back never leaves the attempt: not as a whole, since neither
//! `Debug` nor errors show it, and not in what the action says, since that goes through the [`Masker`].
//!
//! An execution may use the keys of the system, of the pack of the rule that named them, of the pack of its action, and of
//! the action itself.

use std::collections::BTreeMap;
use std::fmt;

use attune_common::crypto::SecretKey;
use attune_common::error::StoreError;
use attune_common::models::execution::Claimed;
use attune_common::models::key::{Key, KeyOwner};
use attune_common::models::keyed::KeyedParameters;
use attune_common::repositories::{ActionRepository, KeyRepository, PackRepository};
use attune_common::vault::{Vault, VaultError};
use attune_expr::key_marks::KeyMarks;
use serde_json::Value;
use sqlx::PgPool;
use tokio::sync::OnceCell;

use crate::masking::Masker;

/// Where the values of keys come from.
#[derive(Debug)]
pub(crate) struct Secrets {
    master: Option<SecretKey>,
    /// Opened when a key is needed: most workers never see one.
    vault: OnceCell<Vault>,
}

/// The parameters as the action gets them.
pub(crate) struct Resolved {
    pub(crate) parameters: Value,
    /// Hides the values in what the action says.
    pub(crate) masker: Masker,
}

impl fmt::Debug for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolved").finish_non_exhaustive()
    }
}

/// Why a key cannot be put into the parameters.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    #[error(
        "the parameters name the key `{key_ref}`, which does not exist: set it with `attune key set {key_ref}`"
    )]
    Missing { key_ref: String },
    #[error(
        "the parameters name the key `{key_ref}`, which belongs to {owner}: a rule may name keys of the system (as \
         `attune key set` makes them), of its own pack, of the pack of its action, and of the action"
    )]
    NotAllowed { key_ref: String, owner: &'static str },
    #[error(
        "the parameters name the key `{key_ref}`, and this worker has no master key to read it with: give it the server's, in \
         ATTUNE_MASTER_KEY or as the file master.key in its data directory"
    )]
    NoMasterKey { key_ref: String },
    #[error("the parameters name the key `{key_ref}`, which cannot be read")]
    Unreadable { key_ref: String, source: VaultError },
    #[error("the parameters name the key `{key_ref}`, which cannot be looked up")]
    Store { key_ref: String, source: StoreError },
}

impl Secrets {
    pub(crate) fn of(master: Option<SecretKey>) -> Self {
        Self { master, vault: OnceCell::new() }
    }

    /// The parameters of an execution with the values of the keys that they name. Its token is hidden as these are.
    pub(crate) async fn resolve(
        &self,
        pool: &PgPool,
        execution: &Claimed,
        token: Option<&str>,
    ) -> Result<Resolved, SecretError> {
        let Some(keyed) = &execution.keyed else {
            return Ok(Resolved { parameters: execution.config.clone(), masker: Masker::of(token) });
        };
        let marks = KeyMarks::new(&keyed.nonce);
        let mut values = BTreeMap::new();
        for key_ref in marks.keys_in(&keyed.parameters) {
            let value = self.value(pool, execution, keyed, &key_ref).await?;
            values.insert(key_ref, value);
        }
        let masker = Masker::of(values.values().map(String::as_str).chain(token));
        let mut value_of = |key_ref: &str| values.get(key_ref).cloned().unwrap_or_default();
        Ok(Resolved { parameters: marks.replace(keyed.parameters.clone(), &mut value_of), masker })
    }

    /// The value of a key that a pack's own configuration names; None where it is not set.
    pub(crate) async fn of_pack(&self, pool: &PgPool, key_ref: &str) -> Result<Option<String>, SecretError> {
        let store = |source| SecretError::Store { key_ref: key_ref.to_owned(), source };
        if KeyRepository::find_by_ref(pool, key_ref).await.map_err(store)?.is_none() {
            return Ok(None);
        }
        let no_master_key = || SecretError::NoMasterKey { key_ref: key_ref.to_owned() };
        let master = self.master.as_ref().ok_or_else(no_master_key)?;
        let unreadable = |source| SecretError::Unreadable { key_ref: key_ref.to_owned(), source };
        let vault = self.vault.get_or_try_init(|| Vault::open(pool, master)).await.map_err(unreadable)?;
        vault.reveal(pool, key_ref).await.map_err(unreadable)
    }

    async fn value(
        &self,
        pool: &PgPool,
        execution: &Claimed,
        keyed: &KeyedParameters,
        key_ref: &str,
    ) -> Result<String, SecretError> {
        let key_ref = || key_ref.to_owned();
        let store = |source| SecretError::Store { key_ref: key_ref(), source };
        let key = KeyRepository::find_by_ref(pool, &key_ref()).await.map_err(store)?;
        let Some(key) = key else { return Err(SecretError::Missing { key_ref: key_ref() }) };
        if !may_use(pool, execution, keyed, &key).await.map_err(store)? {
            return Err(SecretError::NotAllowed { key_ref: key_ref(), owner: owner_of(&key) });
        }
        let Some(master) = &self.master else { return Err(SecretError::NoMasterKey { key_ref: key_ref() }) };
        let unreadable = |source| SecretError::Unreadable { key_ref: key_ref(), source };
        let vault = self.vault.get_or_try_init(|| Vault::open(pool, master)).await.map_err(unreadable)?;
        let value = vault.reveal(pool, &key_ref()).await.map_err(unreadable)?;
        value.ok_or_else(|| SecretError::Missing { key_ref: key_ref() })
    }
}

async fn may_use(
    pool: &PgPool,
    execution: &Claimed,
    keyed: &KeyedParameters,
    key: &Key,
) -> Result<bool, StoreError> {
    Ok(match key.owner {
        KeyOwner::System => true,
        KeyOwner::Pack(owner) if execution.how.pack == Some(owner) => true,
        KeyOwner::Pack(owner) => match &keyed.pack {
            Some(pack) => PackRepository::find_by_ref(pool, pack).await?.is_some_and(|pack| pack.id == owner),
            None => false,
        },
        KeyOwner::Action(owner) => {
            let action = ActionRepository::find_by_ref(pool, &execution.action_ref).await?;
            action.is_some_and(|action| action.id == owner)
        }
        KeyOwner::Identity(_) | KeyOwner::Sensor(_) => false,
    })
}

fn owner_of(key: &Key) -> &'static str {
    match key.owner {
        KeyOwner::System => "the system",
        KeyOwner::Identity(_) => "an identity",
        KeyOwner::Pack(_) => "another pack",
        KeyOwner::Action(_) => "another action",
        KeyOwner::Sensor(_) => "a sensor",
    }
}
