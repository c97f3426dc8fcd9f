//! The views of the API: what travels as JSON. Ids are numbers, times RFC 3339 in UTC, refs `pack` or `pack.name`.
//! No view holds a secret.

mod artifacts;
mod backtest;
mod definitions;
mod explanation;
mod history;
mod inquiries;
mod limits;
mod pack_config;
mod problem;
mod progress;
mod replay;

pub use artifacts::*;
pub use backtest::*;
pub use definitions::*;
pub use explanation::*;
pub use history::*;
pub use inquiries::*;
pub use limits::*;
pub use pack_config::*;
pub use problem::*;
pub use progress::*;
pub use replay::*;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One page of a list, the newest first for what grows, by ref for definitions.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Give it as `cursor` for the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Sign-in with login and password.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct LoginRequest {
    pub login: String,
    pub password: String,
    /// What the token is called in lists; default: `login`.
    #[serde(default)]
    pub token_name: Option<String>,
}

impl std::fmt::Debug for LoginRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoginRequest").field("login", &self.login).finish_non_exhaustive()
    }
}

/// A token, shown this once.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct LoginResponse {
    pub token: String,
    pub login: String,
    pub expires: chrono::DateTime<chrono::Utc>,
}

impl std::fmt::Debug for LoginResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoginResponse").field("login", &self.login).finish_non_exhaustive()
    }
}

/// Who the token belongs to.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Whoami {
    /// The login of an identity, or what a run is called.
    pub login: String,
    /// What is granted; a run may besides do what is about itself.
    pub grants: Vec<GrantView>,
    /// The execution, where the token is that of a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<i64>,
}

/// A permission; `*` stands for any.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GrantView {
    pub resource: String,
    pub actions: Vec<String>,
    /// What it is limited to.
    #[serde(default, skip_serializing_if = "ConstraintsView::is_empty")]
    pub constraints: ConstraintsView,
}

/// What a permission is limited to; all that is given has to be met.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConstraintsView {
    /// Refs, in which `*` stands for any characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refs: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packs: Vec<String>,
    /// `self`: only what the caller has begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

impl ConstraintsView {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What becomes of a key.
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyRequest {
    /// The new value. Without one the value stays, and `secret: true` makes it a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Whether the value is never shown. Unless said, a key stays what it is, and a new one is a secret. `false` needs a value:
    /// what was stored as a secret is never shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<bool>,
}

impl std::fmt::Debug for KeyRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyRequest(..)")
    }
}

/// A key; the value of a secret is never in it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct KeyView {
    #[serde(rename = "ref")]
    pub key_ref: String,
    /// Whether the value is never shown.
    pub secret: bool,
    /// The value of a key that is no secret; in a list only where it has up to 256 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// `system`, `identity`, `pack`, `action` or `sensor`.
    pub owner: String,
    /// Counts the values that were set, from 1.
    pub version: i32,
    pub created: chrono::DateTime<chrono::Utc>,
    pub updated: chrono::DateTime<chrono::Utc>,
}
