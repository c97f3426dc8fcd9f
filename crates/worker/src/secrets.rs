//! Puts the values of keys into the parameters of an attempt, just before its action gets them.
//!
//! Nothing else decrypts them for an execution, and what comes back never leaves the attempt: not as a whole, since neither
//! `Debug` nor errors show it, and not in what the action says, since that goes through the [`Masker`]. So does what the schema
//! of the action calls secret, wherever it came from.
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
use attune_common::vault::VaultError;
use attune_expr::key_marks::KeyMarks;
use attune_expr::masking::Masker;
use attune_expr::schema::secret_texts;
use attune_runtime::keys::KeyReader;
use serde_json::Value;
use sqlx::PgPool;

/// Where the values of keys come from.
#[derive(Debug)]
pub(crate) struct Secrets {
    pub(crate) keys: KeyReader,
}

/// The parameters as the action gets them.
pub(crate) struct Resolved {
    pub(crate) parameters: Value,
    /// Hides the values, and what is secret besides, in what the action says.
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
        Self { keys: KeyReader::of(master) }
    }

    /// The parameters of an execution with the values of the keys that they name. What its action declares as secret is hidden
    /// as these are.
    pub(crate) async fn resolve(&self, pool: &PgPool, execution: &Claimed) -> Result<Resolved, SecretError> {
        let declared = |parameters: &Value| match &execution.how.secret_schema {
            Some(schema) => secret_texts(parameters, schema),
            None => Vec::new(),
        };
        let Some(keyed) = &execution.keyed else {
            let parameters = execution.config.clone();
            let masker = Masker::of(declared(&parameters).iter().map(String::as_str));
            return Ok(Resolved { parameters, masker });
        };
        let marks = KeyMarks::new(&keyed.nonce);
        let mut values = BTreeMap::new();
        for key_ref in marks.keys_in(&keyed.parameters) {
            let value = self.value(pool, execution, keyed, &key_ref).await?;
            values.insert(key_ref, value);
        }
        let mut value_of = |key_ref: &str| values.get(key_ref).cloned().unwrap_or_default();
        let parameters = marks.replace(keyed.parameters.clone(), &mut value_of);
        let declared = declared(&parameters);
        let masker = Masker::of(values.values().chain(&declared).map(String::as_str));
        Ok(Resolved { parameters, masker })
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
        if !may_use(pool, execution, keyed.pack.as_deref(), &key).await.map_err(store)? {
            return Err(SecretError::NotAllowed { key_ref: key_ref(), owner: owner_of(&key) });
        }
        let unreadable = |source| SecretError::Unreadable { key_ref: key_ref(), source };
        let vault = self.keys.vault(pool).await.map_err(unreadable)?;
        let vault = vault.ok_or_else(|| SecretError::NoMasterKey { key_ref: key_ref() })?;
        let value = vault.reveal(pool, &key_ref()).await.map_err(unreadable)?;
        value.ok_or_else(|| SecretError::Missing { key_ref: key_ref() })
    }
}

/// Whether an execution that a rule of this pack began, if any, may use the key.
pub(crate) async fn may_use(
    pool: &PgPool,
    execution: &Claimed,
    rule_pack: Option<&str>,
    key: &Key,
) -> Result<bool, StoreError> {
    Ok(match key.owner {
        KeyOwner::System => true,
        KeyOwner::Pack(owner) if execution.how.pack == Some(owner) => true,
        KeyOwner::Pack(owner) => match rule_pack {
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

pub(crate) fn owner_of(key: &Key) -> &'static str {
    match key.owner {
        KeyOwner::System => "the system",
        KeyOwner::Identity(_) => "an identity",
        KeyOwner::Pack(_) => "another pack",
        KeyOwner::Action(_) => "another action",
        KeyOwner::Sensor(_) => "a sensor",
    }
}
