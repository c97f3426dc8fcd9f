//! What stands behind what a caller makes: nothing, or the run or the sensor that asks for it.

use attune_common::models::event::NewEvent;
use attune_common::models::internal_event::MAX_DEPTH;
use attune_common::repositories::ActingRunRepository;
use axum::http::HeaderMap;

use crate::auth::Caller;
use crate::error::ApiError;
use crate::state::AppState;
use crate::webhook::{given_trace_id, new_trace_id};

/// Where a new event or execution comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cause {
    pub(crate) trace_id: String,
    /// The execution that asks for it.
    pub(crate) execution: Option<i64>,
    /// How many events led to it.
    pub(crate) depth: i16,
    /// The sensor that asks for it.
    sensor: Option<i64>,
    source_ref: Option<String>,
}

impl Cause {
    /// What stands behind a request: a run hands on its trace and how deep it is; refused when it is too deep.
    pub(crate) async fn of(state: &AppState, caller: &Caller, headers: &HeaderMap) -> Result<Self, ApiError> {
        let given = given_trace_id(headers);
        let Some(run) = caller.run() else {
            let trace_id = given.unwrap_or_else(new_trace_id);
            // What a sensor records so comes from outside, as what it reports does.
            let sensor = caller.sensor();
            return Ok(Self {
                trace_id,
                execution: None,
                depth: 0,
                sensor: sensor.map(|sensor| sensor.sensor),
                source_ref: sensor.map(|sensor| sensor.sensor_ref.clone()),
            });
        };
        let lineage = ActingRunRepository::lineage(&state.pool, run.execution).await?;
        let depth = lineage.depth.saturating_add(1);
        // What is deeper goes in a circle.
        if i32::from(depth) + lineage.parents > i32::from(MAX_DEPTH) {
            tracing::warn!(
                execution = run.execution,
                action = run.action_ref,
                "runs cause one another in a circle"
            );
            metrics::counter!("attune_run_requests_cut_total").increment(1);
            return Err(ApiError::conflict(format!(
                "{} is the last of {MAX_DEPTH} events and executions that caused one another; it may cause no more, \
                 because that goes in a circle",
                run.name()
            )));
        }
        Ok(Self {
            trace_id: given.or_else(|| run.trace_id.clone()).unwrap_or_else(new_trace_id),
            execution: Some(run.execution),
            depth,
            sensor: None,
            source_ref: Some(run.source_ref()),
        })
    }

    /// The event with what stands behind it.
    pub(crate) fn mark(&self, event: NewEvent) -> NewEvent {
        NewEvent {
            trace_id: Some(self.trace_id.clone()),
            source: self.sensor,
            source_ref: self.source_ref.clone(),
            depth: self.depth,
            ..event
        }
    }
}
