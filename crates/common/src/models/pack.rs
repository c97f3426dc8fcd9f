//! A pack: a bundle of definitions and the files they need.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Timestamp;

/// An installed pack.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Pack {
    pub id: i64,
    pub r#ref: String,
    pub label: String,
    pub description: Option<String>,
    pub version: String,
    pub author: Option<String>,
    pub email: Option<String>,
    pub conf_schema: Value,
    /// What was set on the server.
    pub config: Value,
    /// What its file for the environment of the server says.
    pub environment_config: Value,
    pub meta: Value,
    pub tags: Vec<String>,
    /// Interpreters that it needs, each with a constraint on its version, as `python >=3.11`.
    pub runtime_deps: Vec<String>,
    /// Ranges of versions by the ref of the pack.
    #[sqlx(json)]
    pub dependencies: BTreeMap<String, String>,
    /// The keys that it needs.
    #[sqlx(json)]
    pub declared_keys: Vec<DeclaredKey>,
    pub is_standard: bool,
    pub source: Option<String>,
    pub checksum: Option<String>,
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// What makes a pack.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct NewPack {
    pub r#ref: String,
    pub label: String,
    pub description: Option<String>,
    pub version: String,
    pub author: Option<String>,
    pub email: Option<String>,
    pub meta: Option<Value>,
    pub tags: Vec<String>,
    /// Interpreters that it needs, each with a constraint on its version, as `python >=3.11`.
    pub runtime_deps: Vec<String>,
    /// Ranges of versions by the ref of the pack.
    pub dependencies: BTreeMap<String, String>,
    /// The keys that it needs.
    pub declared_keys: Vec<DeclaredKey>,
    /// JSON schema of its settings.
    pub conf_schema: Option<Value>,
    /// What its file for the environment of the server says.
    pub environment_config: Option<Value>,
    pub is_standard: bool,
    pub source: Option<String>,
    pub checksum: Option<String>,
}

/// A key that a pack needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeclaredKey {
    pub r#ref: String,
    pub label: Option<String>,
    pub description: Option<String>,
    /// Whether the pack is no good without it.
    pub required: bool,
    /// Whether its value is never shown.
    pub secret: bool,
    /// The value that an installation gives it where it has none; never of a secret.
    pub default: Option<String>,
    /// No file of the pack declares it, only actions name it: that says nothing of whether it is a secret.
    #[serde(default)]
    pub only_named: bool,
}

/// The configuration of a pack that has settings.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct PackConfiguration {
    pub r#ref: String,
    pub conf_schema: Value,
    pub environment_config: Value,
    pub config: Value,
}

/// Changes to a pack.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct PackUpdate {
    pub label: Option<String>,
    pub description: Option<String>,
    pub version: Option<String>,
    pub author: Option<String>,
    pub email: Option<String>,
    pub conf_schema: Option<Value>,
    pub config: Option<Value>,
    pub meta: Option<Value>,
    pub tags: Option<Vec<String>>,
    /// The `updated` that the caller saw: a row that was changed since is left alone, and the result is a Conflict.
    #[serde(skip)]
    pub unchanged_since: Option<Timestamp>,
}

/// A file of a pack.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct PackFile {
    /// Relative to the pack, with `/`.
    pub path: String,
    pub content: Vec<u8>,
    pub executable: bool,
}

/// Something that uses a definition of another pack.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Dependent {
    /// `rule`, `action` or `sensor`.
    pub entity: String,
    pub r#ref: String,
    /// The pack that it is of; None for a rule of its own.
    pub pack_ref: Option<String>,
    /// `trigger`, `action` or `runtime`.
    pub target_entity: String,
    pub target: String,
}
