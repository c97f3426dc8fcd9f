//! `key_get` and `key_set`: keys by their refs.
//!
//! A result is stored in plain text and shown, so `key_get` gives the value of a key that is no secret, and never that of a
//! secret: it says what is known of it. That value reaches an action by `key('..')` in its parameters, which is a mark until the
//! action runs, or because the action names the key in its definition.
//!
//! `value` is null where there is no key, and not among the members where it is a secret: what goes on with it fails, rather than
//! with nothing in its place.

use attune_common::models::key::KeyWithValue;
use attune_common::repositories::{KeyRepository, PackRepository};
use attune_common::vault::{KeyValue, Vault, VaultError};
use attune_pack::config::is_secret_ref;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Context, Failure, NativeError, origin};
use crate::secrets::{self, owner_of};

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
    #[error(
        "a value that is drawn is known to nobody, so that the key `{key_ref}` is a secret: `generate` does not go with `secret: false`"
    )]
    DrawnPlain { key_ref: String },
    #[error("`{key_ref}` is the name of a secret setting of a pack, so that it is a secret")]
    Setting { key_ref: String },
    #[error(
        "the pack {pack} declares `{key_ref}` a secret, and it is stored as none: say what `value` is, by `secret: true` or \
         `secret: false`"
    )]
    Declared { key_ref: String, pack: String },
    #[error("the value of the key `{key_ref}` is empty, which would be no secret at all")]
    Empty { key_ref: String },
    #[error(
        "`value` holds the value of a secret key, and the key `{key_ref}` would be no secret: everybody could read it there; \
         pass `secret: true`, or make `value` of something else"
    )]
    Exposed { key_ref: String },
    #[error("the key `{key_ref}` cannot be {doing}")]
    Vault { key_ref: String, doing: &'static str, source: Box<VaultError> },
    #[error(
        "the key `{key_ref}` cannot be {doing}: this worker has no master key; give it the server's, in ATTUNE_MASTER_KEY or as \
         the file master.key in its data directory"
    )]
    NoMasterKey { key_ref: String, doing: &'static str },
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
    /// Whether the value is never shown; unless said, a key stays what it is, and a new one is a secret.
    secret: Option<bool>,
}

/// What a key is needed for.
#[derive(Debug, Clone, Copy)]
enum Use {
    Read,
    Write,
}

/// What is done with a key, as errors say it.
const READ: &str = "read";
const STORED: &str = "stored";

const fn yes() -> bool {
    true
}

pub(super) async fn get(context: &Context<'_>) -> Result<Value, Failure> {
    let Get { key: key_ref, must_exist } = context.read()?;
    let Some(KeyWithValue { key, sealed }) = existing(context, &key_ref, Use::Read).await? else {
        return match must_exist {
            true => Err(KeyError::Missing { key_ref }.into()),
            false => Ok(json!({"key": key_ref, "exists": false, "value": null})),
        };
    };
    let mut told = json!({
        "key": key.key_ref,
        "exists": true,
        "secret": key.secret,
        "owner": key.owner.owner_type().as_str(),
        "version": key.version,
        "created": key.created.to_rfc3339(),
        "updated": key.updated.to_rfc3339(),
    });
    // The master key is needed for nothing else.
    if !sealed.secret {
        let shown = vault(context, &key_ref, READ).await?.shown(&sealed);
        let value = shown.map_err(|source| failed(&key_ref, READ, source))?;
        told["value"] = json!(value);
    }
    Ok(told)
}

pub(super) async fn set(context: &Context<'_>) -> Result<Value, Failure> {
    let Set { key: key_ref, value, generate, overwrite, secret } = context.read()?;
    let drawn = generate.map(drawn);
    let value = match (value, drawn.clone()) {
        (Some(value), None) | (None, Some(value)) => value,
        _ => return Err(KeyError::NoValue.into()),
    };
    // What is drawn is a secret, whatever the key was.
    let said = secret.or(drawn.as_ref().map(|_| true));
    if said == Some(false) && drawn.is_some() {
        return Err(KeyError::DrawnPlain { key_ref }.into());
    }
    // Again where somebody made it a secret, or none, since it was read.
    loop {
        let before = existing(context, &key_ref, Use::Write).await?.map(|before| before.key);
        if before.is_some() && !overwrite {
            return Err(KeyError::Exists { key_ref }.into());
        }
        let secret = said.unwrap_or_else(|| before.as_ref().is_none_or(|before| before.secret));
        let platform = context.platform()?;
        if !secret && is_secret_ref(&key_ref) {
            return Err(KeyError::Setting { key_ref }.into());
        }
        if !secret && platform.of_keys.text(&value) != value {
            return Err(KeyError::Exposed { key_ref }.into());
        }
        if !secret && said.is_none() {
            let pack = PackRepository::declaring_secret(platform.pool, &key_ref).await?;
            if let Some(pack) = pack {
                return Err(KeyError::Declared { key_ref, pack }.into());
            }
        }
        if secret && value.is_empty() {
            return Err(KeyError::Empty { key_ref }.into());
        }
        let vault = vault(context, &key_ref, STORED).await?;
        let given = KeyValue { secret, ..KeyValue::secret(&key_ref, &value) };
        let written = match (overwrite, said) {
            (true, Some(_)) => vault.put(platform.pool, given).await.map(Some),
            (true, None) => vault.put_alike(platform.pool, given).await,
            (false, _) => vault.create(platform.pool, given).await.map(Some),
        };
        let Some(key) = written.map_err(|source| failed(&key_ref, STORED, source))? else { continue };
        return Ok(json!({
            "key": key.key_ref,
            "version": key.version,
            "created": before.is_none(),
            "secret": key.secret,
        }));
    }
}

/// The key, if there is one that the action may use.
async fn existing(
    context: &Context<'_>,
    key_ref: &str,
    r#use: Use,
) -> Result<Option<KeyWithValue>, NativeError> {
    let platform = context.platform()?;
    let Some(found) = KeyRepository::find_with_value(platform.pool, key_ref).await? else { return Ok(None) };
    let (pack, owner) = (origin::of(platform).await?.pack, found.key.owner);
    let (pool, execution, pack) = (platform.pool, platform.execution, pack.as_deref());
    let may = match r#use {
        Use::Read => secrets::may_read(pool, execution, pack, &found.sealed).await?,
        Use::Write => secrets::may_use(pool, execution, pack, owner).await?,
    };
    if may {
        return Ok(Some(found));
    }
    Err(KeyError::NotAllowed { key_ref: key_ref.to_owned(), owner: owner_of(owner) }.into())
}

async fn vault<'a>(
    context: &Context<'a>,
    key_ref: &str,
    doing: &'static str,
) -> Result<&'a Vault, NativeError> {
    let platform = context.platform()?;
    let vault = platform.secrets.keys.vault(platform.pool).await;
    let vault = vault.map_err(|source| failed(key_ref, doing, source))?;
    Ok(vault.ok_or_else(|| KeyError::NoMasterKey { key_ref: key_ref.to_owned(), doing })?)
}

fn failed(key_ref: &str, doing: &'static str, source: VaultError) -> KeyError {
    KeyError::Vault { key_ref: key_ref.to_owned(), doing, source: Box::new(source) }
}

/// Random letters and digits.
fn drawn(length: usize) -> String {
    let draw = |_| char::from(ALPHABET[rand::random_range(..ALPHABET.len())]);
    (0..length).map(draw).collect()
}
