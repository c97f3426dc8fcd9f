//! `emit`: an event of a trigger, as if it had come over the API.
//!
//! The event knows that the execution led to it, so that rules that feed themselves come to an end. Without a key of its own
//! it is recorded once for its execution, whatever the number of attempts.

use attune_common::bus::Topic;
use attune_common::error::StoreError;
use attune_common::models::event::NewEvent;
use attune_common::models::internal_event::MAX_DEPTH;
use attune_common::repositories::{EventRepository, TriggerRepository};
use attune_expr::schema::{ParameterSchema, SchemaViolation};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Context, Failure, origin};
use crate::output::make_storable;

/// Why an event is not recorded.
#[derive(Debug, thiserror::Error)]
pub enum EmitError {
    #[error("the trigger {trigger} does not exist")]
    UnknownTrigger { trigger: String },
    #[error("the trigger {trigger} is disabled; it takes no events")]
    Disabled { trigger: String },
    #[error("the {part} does not fit the trigger {trigger}: {}", listed(violations))]
    Unfit { part: &'static str, trigger: String, violations: Vec<SchemaViolation> },
    #[error("the schema of the trigger {trigger} cannot be used: {problem}")]
    Schema { trigger: String, problem: String },
    #[error(
        "{MAX_DEPTH} events have led to one another through executions, and this would be one more: rules react to what they \
         cause themselves"
    )]
    TooDeep,
    #[error("the `dedup_key` has a secret in it, and events are shown: make it of something else")]
    SecretDedupKey,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    trigger: String,
    #[serde(default)]
    payload: Map<String, Value>,
    #[serde(default)]
    config: Map<String, Value>,
    dedup_key: Option<String>,
}

pub(super) async fn run(context: &Context<'_>) -> Result<Value, Failure> {
    let Parameters { trigger, payload, config, dedup_key } = context.read()?;
    let platform = context.platform()?;
    if dedup_key.as_ref().is_some_and(|key| platform.masker.text(key) != *key) {
        return Err(EmitError::SecretDedupKey.into());
    }
    let depth = origin::of(platform).await?.depth.saturating_add(1);
    if depth > MAX_DEPTH {
        metrics::counter!("attune_internal_events_cut_total").increment(1);
        return Err(EmitError::TooDeep.into());
    }
    let Some(trigger) = TriggerRepository::find_by_ref(platform.pool, &trigger).await? else {
        return Err(EmitError::UnknownTrigger { trigger }.into());
    };
    if !trigger.enabled {
        return Err(EmitError::Disabled { trigger: trigger.r#ref }.into());
    }
    let name = || trigger.r#ref.clone();
    let checked = |part, schema: &Value, value: Value| {
        let schema = ParameterSchema::compile(schema)
            .map_err(|problem| EmitError::Schema { trigger: name(), problem: problem.to_string() })?;
        schema.check(value).map_err(|violations| EmitError::Unfit { part, trigger: name(), violations })
    };
    let config = checked("config", &trigger.param_schema, Value::Object(config))?;
    let payload = Value::Object(payload);
    // Only checked: an event says what it was given to say, without defaults.
    checked("payload", &trigger.out_schema, payload.clone())?;
    // An event is kept and shown.
    let (mut config, mut payload) = (platform.masker.value(config), platform.masker.value(payload));
    make_storable(&mut config);
    make_storable(&mut payload);
    let execution = platform.execution;
    let event = NewEvent {
        trigger: Some(trigger.id),
        trigger_ref: name(),
        config: Some(config),
        payload: Some(payload),
        // An attempt that is repeated must not tell twice.
        dedup_key: Some(dedup_key.unwrap_or_else(|| format!("execution-{}", execution.id))),
        trace_id: execution.trace_id.clone(),
        depth,
        ..NewEvent::default()
    };
    let mut connection = platform.pool.acquire().await.map_err(StoreError::from)?;
    let appended = EventRepository::append(&mut connection, std::slice::from_ref(&event)).await?;
    platform.bus.wake(Topic::Event);
    let appended = appended.first().ok_or(StoreError::Database(sqlx::Error::RowNotFound))?;
    Ok(json!({"event": appended.id, "duplicate": appended.duplicate}))
}

fn listed(violations: &[SchemaViolation]) -> String {
    violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
