//! `key_get` and `key_set`: keys by their refs.
//!
//! A result is stored in plain text and shown, so `key_get` never gives a value: it says what is known of the key. A value
//! reaches an action by `key('..')` in its parameters, which is a mark until the action runs, or because the action names the key
//! in its definition.

use attune_common::models::key::Key;
use attune_common::repositories::KeyRepository;
use attune_common::vault::VaultError;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Context, Failure, NativeError, origin};
use crate::secrets::owner_of;

/// Without those that look like one another.
const ALPHABET: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789";

/// Why a key is not read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("the key `{key_ref}` does not exist: set it with `attune key set {key_ref}`")]
    Missing { key_ref: String },
    #[error(
        "the key `{key_ref}` belongs to {owner}: an action may use keys of the system, of the pack of its rule, of its own \
         pack, and its own"
    )]
    NotAllowed { key_ref: String, owner: &'static str },
    #[error("the key `{key_ref}` exists already, and `overwrite` is false")]
    Exists { key_ref: String },
    #[error("either `value` or `generate` is needed, and not both")]
    NoValue,
    #[error("the key `{key_ref}` cannot be stored")]
    Vault { key_ref: String, source: Box<VaultError> },
    #[error(
        "this worker has no master key to encrypt the key `{key_ref}` with: give it the server's, in ATTUNE_MASTER_KEY or as the file master.key in its data directory"
    )]
    NoMasterKey { key_ref: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Get {
    key: String,
    #[serde(default = "yes")]
    must_exist: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Set {
    key: String,
    value: Option<String>,
    /// Length of a value to draw.
    generate: Option<usize>,
    #[serde(default = "yes")]
    overwrite: bool,
}

const fn yes() -> bool {
    true
}

pub(super) async fn get(context: &Context<'_>) -> Result<Value, Failure> {
    let Get { key: key_ref, must_exist } = context.read()?;
    let found = existing(context, &key_ref).await?;
    match found {
        Some(key) => Ok(json!({
            "key": key.key_ref,
            "exists": true,
            "owner": key.owner.owner_type().as_str(),
            "version": key.version,
            "created": key.created.to_rfc3339(),
            "updated": key.updated.to_rfc3339(),
        })),
        None if must_exist => Err(KeyError::Missing { key_ref }.into()),
        None => Ok(json!({"key": key_ref, "exists": false})),
    }
}

pub(super) async fn set(context: &Context<'_>) -> Result<Value, Failure> {
    let Set { key: key_ref, value, generate, overwrite } = context.read()?;
    let value = match (value, generate) {
        (Some(value), None) => value,
        (None, Some(length)) => drawn(length),
        _ => return Err(KeyError::NoValue.into()),
    };
    let platform = context.platform()?;
    let before = existing(context, &key_ref).await?;
    if before.is_some() && !overwrite {
        return Err(KeyError::Exists { key_ref }.into());
    }
    let vault = platform.secrets.keys.vault(platform.pool).await;
    let vault = match vault {
        Ok(Some(vault)) => vault,
        Ok(None) => return Err(KeyError::NoMasterKey { key_ref }.into()),
        Err(source) => return Err(KeyError::Vault { key_ref, source: Box::new(source) }.into()),
    };
    let written = match overwrite {
        true => vault.set(platform.pool, &key_ref, &value).await,
        false => {
            let owner = attune_common::models::key::KeyOwner::System;
            vault.create(platform.pool, &key_ref, owner, &value).await
        }
    };
    match written {
        Ok(key) => Ok(json!({"key": key.key_ref, "version": key.version, "created": before.is_none()})),
        Err(source) => Err(KeyError::Vault { key_ref, source: Box::new(source) }.into()),
    }
}

/// The key, if there is one that the action may use.
async fn existing(context: &Context<'_>, key_ref: &str) -> Result<Option<Key>, NativeError> {
    let platform = context.platform()?;
    let Some(key) = KeyRepository::find_by_ref(platform.pool, key_ref).await? else { return Ok(None) };
    let pack = origin::of(platform).await?.pack;
    if crate::secrets::may_use(platform.pool, platform.execution, pack.as_deref(), key.owner).await? {
        return Ok(Some(key));
    }
    Err(KeyError::NotAllowed { key_ref: key_ref.to_owned(), owner: owner_of(key.owner) }.into())
}

/// Random letters and digits.
fn drawn(length: usize) -> String {
    let draw = |_| char::from(ALPHABET[rand::random_range(..ALPHABET.len())]);
    (0..length).map(draw).collect()
}
