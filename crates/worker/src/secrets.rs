//! Gives the values of keys to an attempt, just before its action gets them: those that its parameters name, in their places,
//! and those that its action names.
//!
//! Nothing else decrypts them for an execution, and what comes back of secrets never leaves the attempt: not as a whole, since
//! neither `Debug` nor errors show it, and not in what the action says, since that goes through the [`Masker`]. So does what the
//! schema of the action calls secret, wherever it came from. The value of a key that is no secret is hidden nowhere.
//!
//! In its parameters an execution may be given the secrets of the system, of the pack of the rule that named them, of the pack of
//! its action, and of the action itself. What the action names is the same for whoever runs it: the pack of a rule adds nothing.
//! What is no secret may be given to all.

use std::collections::BTreeMap;
use std::fmt;

use attune_common::crypto::SecretKey;
use attune_common::error::StoreError;
use attune_common::models::action::UsedKey;
use attune_common::models::execution::Claimed;
use attune_common::models::key::{KeyOwner, SealedKey};
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

/// What the action gets.
pub(crate) struct Resolved {
    pub(crate) parameters: Value,
    /// One JSON object with the values of the keys that the action names, by their refs, null for one that is not set; None
    /// where it names none.
    pub(crate) keys: Option<String>,
    /// Hides the values of secrets, and what is secret besides, in what the action says.
    pub(crate) masker: Masker,
    /// Hides the values of secret keys alone, not what the schema of the action calls secret.
    pub(crate) of_keys: Masker,
}

impl fmt::Debug for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolved").finish_non_exhaustive()
    }
}

/// The value of a key.
struct Revealed {
    value: String,
    /// Whether it is hidden in what the action says.
    secret: bool,
}

/// The values among these that are hidden in what the action says.
fn hidden<'r>(revealed: impl Iterator<Item = &'r Revealed>) -> impl Iterator<Item = String> {
    revealed.filter(|revealed| revealed.secret).map(|revealed| revealed.value.clone())
}

/// Who names a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Naming {
    /// The parameters, as a rule wrote them.
    Parameters { key_ref: String },
    /// The definition of the action.
    Action { action_ref: String, key_ref: String },
}

impl Naming {
    fn key_ref(&self) -> &str {
        match self {
            Self::Parameters { key_ref } | Self::Action { key_ref, .. } => key_ref,
        }
    }

    /// Which keys may be named there.
    fn allowed(&self) -> &'static str {
        match self {
            Self::Parameters { .. } => {
                "a rule may name keys of the system (as `attune key set` makes them), of its own pack, of the pack of its \
                 action, and of the action"
            }
            Self::Action { .. } => {
                "an action may name keys of the system (as `attune key set` makes them), of its own pack, and its own"
            }
        }
    }
}

impl fmt::Display for Naming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parameters { key_ref } => write!(f, "the parameters name the key `{key_ref}`"),
            Self::Action { action_ref, key_ref } => {
                write!(f, "the action {action_ref} names the key `{key_ref}`")
            }
        }
    }
}

/// Why the value of a key is not given.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    #[error("{named}, which does not exist: set it with `attune key set {}`", named.key_ref())]
    Missing { named: Naming },
    #[error("{named}, which belongs to {owner}: {}", named.allowed())]
    NotAllowed { named: Naming, owner: &'static str },
    #[error(
        "{named}, and this worker has no master key to read it with: give it the server's, in ATTUNE_MASTER_KEY or as the \
         file master.key in its data directory"
    )]
    NoMasterKey { named: Naming },
    #[error("{named}, which cannot be read")]
    Unreadable { named: Naming, source: VaultError },
    #[error("{named}, which cannot be looked up")]
    Store { named: Naming, source: StoreError },
}

impl Secrets {
    pub(crate) fn of(master: Option<SecretKey>) -> Self {
        Self { keys: KeyReader::of(master) }
    }

    /// The parameters of an execution with the values of the keys that they name, and those that its action names. What its
    /// action declares as secret is hidden as these are.
    pub(crate) async fn resolve(&self, pool: &PgPool, execution: &Claimed) -> Result<Resolved, SecretError> {
        let mut texts: Vec<String> = Vec::new();
        let keys = match execution.how.keys.as_deref() {
            // What runs in the worker itself names none, and what has lost its runtime does not run.
            Some(used) if execution.how.native == Some(false) => {
                let values = self.values(pool, execution, used).await?;
                texts.extend(hidden(values.values().flatten()));
                let values: BTreeMap<String, Option<String>> =
                    values.into_iter().map(|(key_ref, value)| (key_ref, value.map(|of| of.value))).collect();
                // Texts and nulls always become JSON.
                Some(serde_json::to_string(&values).unwrap_or_default())
            }
            _ => None,
        };
        let parameters = match &execution.keyed {
            Some(keyed) => {
                let marks = KeyMarks::new(&keyed.nonce);
                let mut values = BTreeMap::new();
                for key_ref in marks.keys_in(&keyed.parameters) {
                    let value = self.value(pool, execution, keyed, &key_ref).await?;
                    values.insert(key_ref, value);
                }
                texts.extend(hidden(values.values()));
                let mut value_of = |key_ref: &str| {
                    values.get(key_ref).map(|of: &Revealed| of.value.clone()).unwrap_or_default()
                };
                marks.replace(keyed.parameters.clone(), &mut value_of)
            }
            None => execution.config.clone(),
        };
        let of_keys = Masker::of(texts.iter().map(String::as_str));
        let masker = match &execution.how.secret_schema {
            Some(schema) => of_keys.and(secret_texts(&parameters, schema).iter().map(String::as_str)),
            None => of_keys.clone(),
        };
        Ok(Resolved { parameters, keys, masker, of_keys })
    }

    /// The values of the keys that the action names, read in one statement; None for one that is not set and need not be.
    async fn values(
        &self,
        pool: &PgPool,
        execution: &Claimed,
        used: &[UsedKey],
    ) -> Result<BTreeMap<String, Option<Revealed>>, SecretError> {
        let named = |key_ref: &str| Naming::Action {
            action_ref: execution.action_ref.clone(),
            key_ref: key_ref.to_owned(),
        };
        let refs: Vec<&str> = used.iter().map(|key| key.key_ref.as_str()).collect();
        let first = refs.first().copied().unwrap_or_default();
        let sealed = KeyRepository::list_sealed(pool, &refs).await;
        let sealed = sealed.map_err(|source| SecretError::Store { named: named(first), source })?;
        let missing = used.iter().find(|key| key.required && sealed.iter().all(|s| s.key_ref != key.key_ref));
        if let Some(key) = missing {
            return Err(SecretError::Missing { named: named(&key.key_ref) });
        }
        let mut values: BTreeMap<_, Option<Revealed>> =
            used.iter().map(|key| (key.key_ref.clone(), None)).collect();
        for sealed in sealed {
            let named = || named(&sealed.key_ref);
            let may_read = may_read(pool, execution, None, &sealed).await;
            if !may_read.map_err(|source| SecretError::Store { named: named(), source })? {
                return Err(SecretError::NotAllowed { named: named(), owner: owner_of(sealed.owner) });
            }
            let unreadable = |source| SecretError::Unreadable { named: named(), source };
            let vault = self.keys.vault(pool).await.map_err(unreadable)?;
            let vault = vault.ok_or_else(|| SecretError::NoMasterKey { named: named() })?;
            let key_ref = sealed.key_ref.clone();
            let value = vault.reveal_sealed(&sealed).map_err(unreadable)?;
            values.insert(key_ref, Some(Revealed { value, secret: sealed.secret }));
        }
        Ok(values)
    }

    async fn value(
        &self,
        pool: &PgPool,
        execution: &Claimed,
        keyed: &KeyedParameters,
        key_ref: &str,
    ) -> Result<Revealed, SecretError> {
        let named = || Naming::Parameters { key_ref: key_ref.to_owned() };
        let store = |source| SecretError::Store { named: named(), source };
        let sealed = KeyRepository::find_sealed(pool, key_ref).await.map_err(store)?;
        let Some(sealed) = sealed else { return Err(SecretError::Missing { named: named() }) };
        if !may_read(pool, execution, keyed.pack.as_deref(), &sealed).await.map_err(store)? {
            return Err(SecretError::NotAllowed { named: named(), owner: owner_of(sealed.owner) });
        }
        let unreadable = |source| SecretError::Unreadable { named: named(), source };
        let vault = self.keys.vault(pool).await.map_err(unreadable)?;
        let vault = vault.ok_or_else(|| SecretError::NoMasterKey { named: named() })?;
        let value = vault.reveal_sealed(&sealed).map_err(unreadable)?;
        Ok(Revealed { value, secret: sealed.secret })
    }
}

/// Whether an execution may have the value of a key, given the pack of the rule that names it, if one does. What is no secret is
/// there for all but those of identities, which are nobody else's affair.
pub(crate) async fn may_read(
    pool: &PgPool,
    execution: &Claimed,
    rule_pack: Option<&str>,
    sealed: &SealedKey,
) -> Result<bool, StoreError> {
    let is_open = !sealed.secret && !matches!(sealed.owner, KeyOwner::Identity(_));
    Ok(is_open || may_use(pool, execution, rule_pack, sealed.owner).await?)
}

/// Whether an execution may use a key of this owner, whatever is in it, given the pack of the rule that names it, if one does.
pub(crate) async fn may_use(
    pool: &PgPool,
    execution: &Claimed,
    rule_pack: Option<&str>,
    owner: KeyOwner,
) -> Result<bool, StoreError> {
    Ok(match owner {
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

pub(crate) fn owner_of(owner: KeyOwner) -> &'static str {
    match owner {
        KeyOwner::System => "the system",
        KeyOwner::Identity(_) => "an identity",
        KeyOwner::Pack(_) => "another pack",
        KeyOwner::Action(_) => "another action",
        KeyOwner::Sensor(_) => "a sensor",
    }
}
