//! An action: something that can be done.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::artifact::DeclaredArtifact;
use super::identity::Grant;
use super::{Timestamp, named_enum};

named_enum! {
    /// How the parameters reach the process.
    ParameterDelivery as "attune.parameter_delivery" {
        Stdin = "stdin",
        Env = "env",
        File = "file",
    }
}

named_enum! {
    /// How the parameters are written, for `stdin` and `file`.
    ParameterFormat as "attune.parameter_format" {
        Json = "json",
        Yaml = "yaml",
        Dotenv = "dotenv",
    }
}

named_enum! {
    /// How standard output becomes the result.
    OutputFormat as "attune.output_format" {
        Text = "text",
        Json = "json",
        Yaml = "yaml",
        Jsonl = "jsonl",
    }
}

named_enum! {
    /// What becomes of a run whose worker vanished.
    WorkerLoss as "attune.worker_loss" {
        /// It ends as `abandoned`: how far it came is not known.
        Abandon = "abandon",
        /// Another worker begins a new attempt: running it twice is safe.
        Retry = "retry",
    }
}

/// An action.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Action {
    pub id: i64,
    pub r#ref: String,
    pub pack: Option<i64>,
    pub pack_ref: Option<String>,
    pub label: Option<String>,
    pub description: Option<String>,
    pub enabled: bool,
    pub runtime: Option<i64>,
    pub runtime_ref: String,
    pub entrypoint: String,
    /// JSON Schema of the parameters.
    pub param_schema: Value,
    /// JSON Schema of the result.
    pub out_schema: Value,
    pub parameter_delivery: ParameterDelivery,
    pub parameter_format: ParameterFormat,
    pub output_format: OutputFormat,
    pub timeout_seconds: f64,
    pub retry: Value,
    pub on_worker_loss: WorkerLoss,
    /// How its process is kept apart: `image`, `limits`, `sandbox`.
    pub isolation: Value,
    /// Where it runs.
    pub placement: i64,
    /// What its runs may ask of the API besides what is about themselves.
    #[sqlx(json)]
    pub permissions: Vec<Grant>,
    /// What its runs leave under which name.
    #[sqlx(json)]
    pub artifacts: Vec<DeclaredArtifact>,
    /// The keys whose values its runs get.
    #[sqlx(json)]
    pub keys: Vec<UsedKey>,
    pub is_workflow: bool,
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// A key whose value the runs of an action get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedKey {
    #[serde(rename = "ref")]
    pub key_ref: String,
    /// Whether nothing runs without it.
    pub required: bool,
}

/// What makes an action.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewAction {
    pub r#ref: String,
    pub label: Option<String>,
    pub description: Option<String>,
    pub enabled: bool,
    pub runtime_ref: String,
    pub entrypoint: String,
    pub param_schema: Value,
    /// JSON Schema of the result; an empty object where nothing is said about it.
    pub out_schema: Value,
    pub parameter_delivery: ParameterDelivery,
    pub parameter_format: ParameterFormat,
    pub output_format: OutputFormat,
    pub timeout_seconds: f64,
    pub on_worker_loss: WorkerLoss,
    /// When and how it is tried again: an empty object for never, or all of `count`, `delay`, `factor`, `max_delay`,
    /// `jitter` and `on`.
    pub retry: Value,
    /// How its process is kept apart: `image`, `limits`, `sandbox`; an empty object for the defaults.
    pub isolation: Value,
    /// Where it runs.
    pub placement: i64,
    /// What its runs may ask of the API besides what is about themselves.
    pub permissions: Vec<Grant>,
    /// What its runs leave under which name.
    pub artifacts: Vec<DeclaredArtifact>,
    /// The keys whose values its runs get.
    pub keys: Vec<UsedKey>,
}

impl NewAction {
    /// An action with every setting at its default.
    pub fn of(
        action_ref: impl Into<String>,
        runtime_ref: impl Into<String>,
        entrypoint: impl Into<String>,
    ) -> Self {
        Self {
            r#ref: action_ref.into(),
            label: None,
            description: None,
            enabled: true,
            runtime_ref: runtime_ref.into(),
            entrypoint: entrypoint.into(),
            param_schema: Value::Object(serde_json::Map::new()),
            out_schema: Value::Object(serde_json::Map::new()),
            parameter_delivery: ParameterDelivery::Stdin,
            parameter_format: ParameterFormat::Json,
            output_format: OutputFormat::Text,
            timeout_seconds: 60.0,
            on_worker_loss: WorkerLoss::Abandon,
            retry: Value::Object(serde_json::Map::new()),
            isolation: Value::Object(serde_json::Map::new()),
            placement: super::placement::ANYWHERE,
            permissions: Vec::new(),
            artifacts: Vec::new(),
            keys: Vec::new(),
        }
    }
}

/// Changes to an action.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct ActionUpdate {
    pub label: Option<String>,
    pub description: Option<String>,
    pub enabled: Option<bool>,
    /// Also gives the action the runtime of this ref; none where that does not exist (yet).
    pub runtime_ref: Option<String>,
    pub entrypoint: Option<String>,
    pub param_schema: Option<Value>,
    pub out_schema: Option<Value>,
    pub timeout_seconds: Option<f64>,
    pub retry: Option<Value>,
    pub on_worker_loss: Option<WorkerLoss>,
    /// The `updated` that the caller saw: a row that was changed since is left alone, and the result is a Conflict.
    #[serde(skip)]
    pub unchanged_since: Option<Timestamp>,
}
