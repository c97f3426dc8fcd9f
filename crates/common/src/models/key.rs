//! A key: a value by name, secret unless it is said not to be. Models never hold plain text.

use serde::Serialize;
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::Timestamp;
use super::owner::OwnerType;

/// Whom a key belongs to, by id. What an owner has goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum KeyOwner {
    System,
    Identity(i64),
    Pack(i64),
    Action(i64),
    Sensor(i64),
}

impl KeyOwner {
    /// The kind of owner.
    pub const fn owner_type(self) -> OwnerType {
        match self {
            Self::System => OwnerType::System,
            Self::Identity(_) => OwnerType::Identity,
            Self::Pack(_) => OwnerType::Pack,
            Self::Action(_) => OwnerType::Action,
            Self::Sensor(_) => OwnerType::Sensor,
        }
    }

    /// The owner's id; the system has none.
    pub const fn id(self) -> Option<i64> {
        match self {
            Self::System => None,
            Self::Identity(id) | Self::Pack(id) | Self::Action(id) | Self::Sensor(id) => Some(id),
        }
    }
}

impl sqlx::FromRow<'_, PgRow> for KeyOwner {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(match row.try_get("owner_type")? {
            OwnerType::System => Self::System,
            OwnerType::Identity => Self::Identity(row.try_get("owner_identity")?),
            OwnerType::Pack => Self::Pack(row.try_get("owner_pack")?),
            OwnerType::Action => Self::Action(row.try_get("owner_action")?),
            OwnerType::Sensor => Self::Sensor(row.try_get("owner_sensor")?),
        })
    }
}

/// A key without its value.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Key {
    pub id: i64,
    #[sqlx(rename = "ref")]
    pub key_ref: String,
    pub name: String,
    #[sqlx(flatten)]
    pub owner: KeyOwner,
    /// The data key that the value is sealed under.
    pub data_key: i64,
    /// Whether the value is never shown.
    pub secret: bool,
    /// Counts the values that were set, from 1.
    pub version: i32,
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// What makes a key: its value sealed under a data key, for this ref.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewKey {
    #[serde(rename = "ref")]
    pub key_ref: String,
    pub owner: KeyOwner,
    pub data_key: i64,
    /// Whether the value is never shown; it is sealed as what is said here.
    pub secret: bool,
    #[serde(skip)]
    pub value: Vec<u8>,
}

/// Changes to a key. Its ref never changes, because the value is sealed for it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct KeyUpdate {
    pub name: Option<String>,
    pub owner: Option<KeyOwner>,
    /// The `updated` that the caller saw: a row that was changed since is left alone, and the result is a Conflict.
    #[serde(skip)]
    pub unchanged_since: Option<Timestamp>,
}

/// Which keys to list.
#[derive(Debug, Clone, Default)]
pub struct KeyFilter {
    pub owner_type: Option<OwnerType>,
    /// Part of the ref, in any case.
    pub text: Option<String>,
    /// Only keys with a later ref: the cursor.
    pub after: Option<String>,
    pub limit: i64,
}

/// A key with its sealed value and what that is sealed under.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct SealedKey {
    pub id: i64,
    #[sqlx(rename = "ref")]
    pub key_ref: String,
    #[sqlx(flatten)]
    pub owner: KeyOwner,
    pub version: i32,
    /// Whether the value is never shown.
    pub secret: bool,
    pub value: Vec<u8>,
    #[sqlx(flatten)]
    pub data_key: DataKey,
}

/// A key and its sealed value, from one moment.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct KeyWithValue {
    #[sqlx(flatten)]
    pub key: Key,
    #[sqlx(flatten)]
    pub sealed: SealedKey,
}

/// A data key, sealed under the master key.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct DataKey {
    #[sqlx(rename = "data_key")]
    pub id: i64,
    pub wrapped: Vec<u8>,
    pub master_fingerprint: String,
}

/// A value sealed anew under another data key.
#[derive(Debug, Clone)]
pub struct ResealedKey {
    pub id: i64,
    /// The version of the key whose value this is.
    pub version: i32,
    pub value: Vec<u8>,
}
