//! A key: a secret by name. Models never hold plain text.

use serde::Serialize;

use super::Timestamp;

/// A key without its value.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Key {
    pub id: i64,
    #[sqlx(rename = "ref")]
    pub key_ref: String,
    pub name: String,
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// What makes a key of the system: its value sealed under a data key.
#[derive(Debug, Clone, Serialize)]
pub struct NewKey {
    pub key_ref: String,
    pub data_key: i64,
    #[serde(skip)]
    pub value: Vec<u8>,
}

/// A key with its sealed value.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct SealedKey {
    #[sqlx(rename = "ref")]
    pub key_ref: String,
    pub value: Vec<u8>,
}

/// A data key, sealed under the master key.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct DataKey {
    pub id: i64,
    pub wrapped: Vec<u8>,
    pub master_fingerprint: String,
}
