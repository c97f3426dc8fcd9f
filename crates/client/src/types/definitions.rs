//! Packs and what they define.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::GrantView;

/// An installed pack.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PackView {
    #[serde(rename = "ref")]
    pub pack_ref: String,
    pub label: String,
    pub description: Option<String>,
    pub version: String,
    pub author: Option<String>,
    pub tags: Vec<String>,
    /// The packs that it needs, each with a range of versions.
    #[serde(default)]
    pub dependencies: BTreeMap<String, String>,
    /// Shipped with Attune itself.
    pub is_standard: bool,
    pub source: Option<String>,
    /// SHA-256 over its files, in hex.
    pub checksum: Option<String>,
    pub created: DateTime<Utc>,
    pub updated: DateTime<Utc>,
}

/// A pack with the refs of all that it defines.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PackDetail {
    #[serde(flatten)]
    pub pack: PackView,
    pub runtimes: Vec<String>,
    pub actions: Vec<String>,
    pub triggers: Vec<String>,
    pub sensors: Vec<String>,
    /// Why sensors do not run, or what they wait for, by ref.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sensor_obstacles: BTreeMap<String, String>,
    pub rules: Vec<String>,
    pub permission_sets: Vec<String>,
    pub policies: Vec<String>,
    pub queues: Vec<String>,
    /// The keys that it declares.
    #[serde(default)]
    pub keys: Vec<DeclaredKeyView>,
}

/// A key that a pack needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeclaredKeyView {
    #[serde(rename = "ref")]
    pub key_ref: String,
    pub label: Option<String>,
    pub description: Option<String>,
    /// Whether the pack is no good without it.
    pub required: bool,
    /// Whether its value is never shown.
    pub secret: bool,
    /// The value that an installation gives it where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// Whether it has a value.
    pub set: bool,
    /// Whether the pack declares it a secret, and the value that it has is stored as none: whoever may read the key sees it.
    #[serde(default)]
    pub exposed: bool,
}

/// What an installation did.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PackInstalled {
    #[serde(flatten)]
    pub pack: PackDetail,
    /// `installed`, `upgraded`, `downgraded`, `restored` when the files are the same and what was changed on the server is
    /// as in them again, `configured` when only settings that came with it are other, or `unchanged`.
    pub outcome: String,
    /// Addresses that the pack's webhooks listen on.
    pub webhooks: Vec<WebhookAddress>,
    /// What was changed of its rules on the server, or enabled or disabled of its actions and sensors, and stays so.
    #[serde(default)]
    pub kept: Vec<KeptEdit>,
    /// The packs that were installed with it because it needs them.
    #[serde(default)]
    pub with: Vec<PackOutcome>,
}

/// What became of a pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PackOutcome {
    #[serde(rename = "ref")]
    pub pack_ref: String,
    pub version: String,
    /// As the outcome of an installation.
    pub outcome: String,
}

/// Something that was changed on the server and stays so when its pack is installed. Secrets are masked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct KeptEdit {
    /// `rule`, `action` or `sensor`.
    pub kind: String,
    #[serde(rename = "ref")]
    pub component: String,
    pub member: String,
    /// As it is on the server.
    pub here: Value,
    /// As the pack's file says.
    pub pack: Value,
}

/// A member of a rule that was changed on the server, and by the pack in another way. Secrets are masked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EditConflict {
    pub rule: String,
    /// The file of the rule.
    pub file: String,
    /// Absent: the pack no longer has the rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// As the installed file says, where that can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// As it is on the server.
    pub here: Value,
    /// As the new file says.
    pub pack: Value,
}

/// What installing packs would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PackPlans {
    /// In the order in which they would be installed; the last is the one that was asked for.
    pub packs: Vec<PackPlan>,
}

/// What would become of a pack.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PackPlan {
    #[serde(rename = "ref")]
    pub pack_ref: String,
    /// The version that is installed now.
    pub from: Option<String>,
    pub to: String,
    /// As the outcome of an installation.
    pub outcome: String,
    pub changes: Vec<PlannedChange>,
    /// Files that would be others; also those whose contents are told in `changes`.
    pub files: Vec<PlannedFile>,
    /// An installation is refused unless it is told what becomes of these.
    pub conflicts: Vec<EditConflict>,
    /// What was changed of rules on the server, or enabled or disabled of actions and sensors, and would stay so.
    pub kept: Vec<KeptEdit>,
    /// Keys that it declares and that have no value yet.
    #[serde(default)]
    pub missing_keys: Vec<DeclaredKeyView>,
    /// Keys that it declares as secrets, and whose values are stored as none.
    #[serde(default)]
    pub exposed_keys: Vec<DeclaredKeyView>,
}

/// Something that a pack defines and that would be other than now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlannedChange {
    /// `pack`, `runtime`, `action`, `trigger`, `sensor`, `rule`, `permission set`, `policy`, `queue` or `key`.
    pub kind: String,
    #[serde(rename = "ref")]
    pub component: String,
    /// `added`, `changed` or `removed`.
    pub change: String,
    /// What of it would be other, for what is changed. Secrets are masked.
    pub members: Vec<MemberChange>,
    /// The settings of the pack that a rule would use, with their values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Value>,
}

/// A file of a pack that would be another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlannedFile {
    pub path: String,
    /// `added`, `changed` or `removed`.
    pub change: String,
}

/// The packs that are gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PacksRemoved {
    pub removed: Vec<String>,
}

/// Where a trigger takes its webhook.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WebhookAddress {
    pub trigger: String,
    /// `/api/v1/webhooks/{key}`.
    pub path: String,
}

/// An action.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ActionView {
    #[serde(rename = "ref")]
    pub action_ref: String,
    pub pack: Option<String>,
    pub label: Option<String>,
    pub description: Option<String>,
    pub enabled: bool,
    pub runtime: String,
    pub entrypoint: String,
    /// JSON Schema of the parameters.
    pub parameters: Value,
    /// JSON Schema of the result; `{}` where nothing is said about it.
    #[serde(default)]
    pub out_schema: Value,
    pub parameter_delivery: String,
    pub parameter_format: String,
    pub output_format: String,
    pub timeout_seconds: f64,
    pub on_worker_loss: String,
    /// When and how a run is tried again, with delays in seconds; empty: never.
    pub retry: Value,
    /// How its process is kept apart: `image`, `limits`, `sandbox`; empty: by the defaults.
    #[serde(default)]
    pub isolation: Value,
    /// Labels or capabilities that the worker has to have.
    pub worker_selector: BTreeMap<String, String>,
    /// Taints of the worker that do no harm.
    pub tolerations: Vec<String>,
    /// What its runs may ask of the API besides what is about themselves.
    #[serde(default)]
    pub permissions: Vec<GrantView>,
    /// What its runs leave under which name.
    #[serde(default)]
    pub artifacts: Vec<DeclaredArtifactView>,
    /// The keys whose values its runs get, by their refs; never the values.
    #[serde(default)]
    pub keys: Vec<UsedKeyView>,
    pub created: DateTime<Utc>,
    pub updated: DateTime<Utc>,
}

/// A key whose value the runs of an action get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UsedKeyView {
    #[serde(rename = "ref")]
    pub key_ref: String,
    /// Whether nothing runs without it.
    pub required: bool,
}

/// What an action says about something that its runs leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeclaredArtifactView {
    pub name: String,
    /// `file`, `table` or `link`.
    #[serde(rename = "type")]
    pub artifact_type: String,
    pub description: Option<String>,
    /// `action`, or `execution` where each has its own.
    #[serde(default)]
    pub scope: String,
    pub keep_versions: Option<i32>,
    pub keep_days: Option<i32>,
}

/// A trigger.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TriggerView {
    #[serde(rename = "ref")]
    pub trigger_ref: String,
    pub pack: Option<String>,
    pub label: Option<String>,
    pub description: Option<String>,
    pub enabled: bool,
    /// JSON Schema of what a rule may give as `trigger_params`.
    pub parameters: Value,
    /// JSON Schema of the payload of its events; `{}` where nothing is said about it.
    pub out_schema: Value,
    pub webhook: Option<WebhookView>,
    pub created: DateTime<Utc>,
    pub updated: DateTime<Utc>,
}

/// A sensor. What it is given as `config` is not shown: it may hold anything.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SensorView {
    #[serde(rename = "ref")]
    pub sensor_ref: String,
    pub pack: Option<String>,
    pub label: Option<String>,
    pub description: Option<String>,
    pub enabled: bool,
    pub runtime: String,
    pub entrypoint: String,
    /// The triggers that it may report.
    pub triggers: Vec<String>,
    /// What its process may ask of the API.
    #[serde(default)]
    pub permissions: Vec<GrantView>,
    /// Why it does not run, or what it waits for, as far as it is enabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<String>,
    pub created: DateTime<Utc>,
    pub updated: DateTime<Utc>,
}

/// Whether an action or a sensor is to be enabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    pub enabled: bool,
}

/// How a trigger's webhook takes requests.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WebhookView {
    /// `/api/v1/webhooks/{key}`. Whoever knows it can send events: shown by the detail view to those who may read
    /// webhooks, absent in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// `github`, `hmac_sha256`, or absent where none is checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// The ref of the key that holds the shared secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// A rule.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RuleView {
    #[serde(rename = "ref")]
    pub rule_ref: String,
    pub pack: Option<String>,
    pub label: Option<String>,
    pub description: Option<String>,
    pub enabled: bool,
    /// `active`, or `shadow`: it records what it would have done and starts nothing.
    #[serde(default = "active")]
    pub mode: String,
    pub trigger: String,
    pub trigger_params: Value,
    /// `all` or `any`.
    pub condition: String,
    pub conditions: Value,
    /// What it makes of several events; absent for a rule without a window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Value>,
    pub action: String,
    pub action_params: Value,
    /// How its executions are tried again, with delays in seconds; absent: as the action says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Value>,
    /// The settings of its pack that it uses, with their values; absent: it uses none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Value>,
    /// Counts the changes of this rule, from 1.
    pub version: i32,
    pub created: DateTime<Utc>,
    pub updated: DateTime<Utc>,
}

/// A whole rule: a new one, or what an existing one is to be.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleRequest {
    #[serde(rename = "ref")]
    pub rule_ref: String,
    #[serde(default)]
    pub label: Option<String>,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default = "yes")]
    pub enabled: bool,
    /// `active` (the default) or `shadow`.
    #[serde(default = "active")]
    pub mode: String,
    pub trigger: String,
    #[serde(default = "empty_object")]
    pub trigger_params: Value,
    /// `all` (the default) or `any`.
    #[serde(default = "all")]
    pub condition: String,
    #[serde(default = "empty_list")]
    pub conditions: Value,
    /// What it makes of several events, such as `{"throttle": "15m"}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Value>,
    pub action: String,
    #[serde(default = "empty_object")]
    pub action_params: Value,
    /// How its executions are tried again, as in a pack; absent: as the action says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Value>,
}

/// Changes to a rule; what is left out stays as it is. A `label`, `description`, `window` or
/// `retry` of null is removed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleChange {
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    pub label: Option<Option<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    pub description: Option<Option<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// `active` or `shadow`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger_params: Option<Value>,
    /// `all` or `any`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[schema(value_type = Option<Value>)]
    pub window: Option<Option<Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_params: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[schema(value_type = Option<Value>)]
    pub retry: Option<Option<Value>>,
}

/// A rule as it was from one change to the next.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RuleVersionView {
    pub version: i32,
    /// The rule was removed, and this is what it was then.
    pub removed: bool,
    /// The version of the rule set from which on it counts; an event says by which one it was judged.
    pub rule_set_version: i64,
    pub created: DateTime<Utc>,
    /// What differs from the version before; empty for the first.
    pub changes: Vec<MemberChange>,
    pub rule: RuleView,
}

/// A member of a rule before and after a change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MemberChange {
    pub member: String,
    pub before: Value,
    pub after: Value,
}

/// Tells a member that is null from one that is not there.
fn given<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

fn active() -> String {
    "active".to_owned()
}

fn yes() -> bool {
    true
}

fn all() -> String {
    "all".to_owned()
}

fn empty_object() -> Value {
    Value::Object(serde_json::Map::new())
}

fn empty_list() -> Value {
    Value::Array(Vec::new())
}
