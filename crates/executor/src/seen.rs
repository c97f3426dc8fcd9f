//! An event as rules see it.

use attune_common::models::Timestamp;
use attune_common::models::event::WaitingEvent;
use attune_expr::scope::Scope;
use serde_json::{Map, Value, json};

/// An event with the names that conditions and templates use.
#[derive(Debug)]
pub(crate) struct SeenEvent {
    pub(crate) id: i64,
    pub(crate) trigger_ref: String,
    pub(crate) trace_id: Option<String>,
    pub(crate) created: Timestamp,
    event: Value,
    trigger: Value,
}

impl SeenEvent {
    pub(crate) fn new(event: WaitingEvent) -> Self {
        let WaitingEvent { id, trigger_ref, config, payload, headers, source_ref, trace_id, created } = event;
        // Built by hand so that the payload is moved, not copied.
        let mut trigger = Map::new();
        trigger.insert("ref".to_owned(), trigger_ref.clone().into());
        trigger.insert("config".to_owned(), config);
        let mut fields = Map::new();
        fields.insert("id".to_owned(), id.into());
        fields.insert("trigger".to_owned(), trigger_ref.clone().into());
        fields.insert("payload".to_owned(), payload);
        fields.insert("headers".to_owned(), headers.unwrap_or(Value::Null));
        fields.insert("source".to_owned(), source_ref.into());
        fields.insert("trace_id".to_owned(), trace_id.clone().into());
        fields.insert("created".to_owned(), json!(created.to_rfc3339()));
        let (event, trigger) = (Value::Object(fields), Value::Object(trigger));
        Self { id, trigger_ref, trace_id, created, event, trigger }
    }

    /// What all rules see alike.
    pub(crate) fn scope(&self) -> Scope<'_> {
        Scope::new().with("event", &self.event).with("trigger", &self.trigger)
    }

    /// What `trigger_params` are compared with.
    pub(crate) fn config(&self) -> &Value {
        &self.trigger["config"]
    }
}
