//! A sensor: a process that watches something and reports events.

use serde::Serialize;
use serde_json::Value;

use super::Timestamp;
use super::identity::Grant;

/// A sensor.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Sensor {
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
    /// The triggers it may report.
    pub trigger_refs: Vec<String>,
    pub param_schema: Value,
    pub config: Value,
    /// What its process may ask of the API.
    #[sqlx(json)]
    pub permissions: Vec<Grant>,
    /// Why it does not run, or what it waits for; None as far as nothing is known to be in its way.
    pub obstacle: Option<String>,
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// What makes a sensor.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewSensor {
    pub r#ref: String,
    pub label: Option<String>,
    pub description: Option<String>,
    pub enabled: bool,
    pub runtime_ref: String,
    pub entrypoint: String,
    pub trigger_refs: Vec<String>,
    pub config: Value,
    pub permissions: Vec<Grant>,
}

/// Changes to a sensor.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct SensorUpdate {
    pub label: Option<String>,
    pub description: Option<String>,
    pub enabled: Option<bool>,
    /// Also gives the sensor the runtime of this ref; none where that does not exist (yet).
    pub runtime_ref: Option<String>,
    pub entrypoint: Option<String>,
    pub trigger_refs: Option<Vec<String>>,
    pub param_schema: Option<Value>,
    pub config: Option<Value>,
    /// The `updated` that the caller saw: a row that was changed since is left alone, and the result is a Conflict.
    #[serde(skip)]
    pub unchanged_since: Option<Timestamp>,
}

/// An enabled sensor with all it needs to run.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct RunnableSensor {
    pub id: i64,
    pub r#ref: String,
    pub entrypoint: String,
    pub trigger_refs: Vec<String>,
    pub config: Value,
    pub interpreter: Vec<String>,
    pub runtime_ref: String,
    /// The language whose packs get an environment with what they need.
    pub environment: Option<String>,
    /// What the runtime says of the version of its interpreter.
    pub version: Option<String>,
    /// What the pack says of versions, as `python >=3.11`.
    pub runtime_deps: Vec<String>,
    /// Whether it declares anything that it may ask of the API.
    pub has_permissions: bool,
    /// Differs whenever the settings of the pack do, its secrets included; None for a pack without settings.
    pub settings: Option<Value>,
    pub pack: i64,
    pub pack_ref: String,
    pub pack_checksum: String,
}

/// A trigger as far as a report of it is concerned.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct ReportableTrigger {
    pub id: i64,
    pub r#ref: String,
    pub enabled: bool,
}
