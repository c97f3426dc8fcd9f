//! The configuration of packs.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// The settings of a pack.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PackConfigView {
    /// By name; none for a pack without settings.
    pub settings: Vec<SettingView>,
    /// Required settings without a value: the pack's actions do not run without them.
    pub missing: Vec<String>,
    /// JSON Schema of the whole.
    pub schema: Value,
}

/// A setting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SettingView {
    pub name: String,
    pub description: Option<String>,
    pub required: bool,
    pub secret: bool,
    /// Null for a secret, and where there is none.
    pub value: Option<Value>,
    /// `set` on the server, `environment`: by the pack's file for it, `default`, or `none`.
    pub source: String,
}

/// Changes of settings.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PackConfigChange {
    /// Values by name; those of secrets are texts.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub set: Map<String, Value>,
    /// Names of settings that are no longer set on the server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unset: Vec<String>,
}

impl std::fmt::Debug for PackConfigChange {
    // Secrets stay out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let set: Vec<&String> = self.set.keys().collect();
        f.debug_struct("PackConfigChange")
            .field("set", &set)
            .field("unset", &self.unset)
            .finish_non_exhaustive()
    }
}
