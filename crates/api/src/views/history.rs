//! Views of what happened.

use attune_client::types::{
    AttemptView, ChainView, EnforcementView, EventView, ExecutionView, KeyView, PauseView, WindowOutcomeView,
    WorkerView,
};
use attune_common::models::acting_run::execution_of_source;
use attune_common::models::enforcement::Enforcement;
use attune_common::models::event::Event;
use attune_common::models::execution::{Attempt, Execution};
use attune_common::models::key::Key;
use attune_common::models::pause::Pause;
use attune_common::models::window::WindowOutcomeOfRule;
use attune_common::models::worker::Worker;
use serde_json::Value;

use super::{Masks, Waits};

/// An event. `triggers` are the masks of the triggers.
pub(crate) fn event_view(event: Event, triggers: &Masks) -> EventView {
    EventView {
        id: event.id,
        config: triggers.get(&event.trigger_ref).parameters(event.config),
        trigger: event.trigger_ref,
        caused_by: event.source_ref.as_deref().and_then(execution_of_source),
        source: event.source_ref,
        payload: event.payload,
        headers: event.headers,
        dedup_key: event.dedup_key,
        replay_of: event.replay_of,
        trace_id: event.trace_id,
        created: event.created,
    }
}

/// The action that an enforcement decided for; empty where it says none.
pub(crate) fn action_of(enforcement: &Enforcement) -> &str {
    enforcement.config.get("action").and_then(Value::as_str).unwrap_or_default()
}

/// An enforcement. `actions` are the masks of the actions that enforcements decided for.
pub(crate) fn enforcement_view(enforcement: Enforcement, actions: &Masks) -> EnforcementView {
    let payload = actions.get(action_of(&enforcement)).parameters(enforcement.payload);
    EnforcementView {
        id: enforcement.id,
        rule: enforcement.rule_ref,
        trigger: enforcement.trigger_ref,
        event: enforcement.event,
        status: enforcement.status.as_str().to_owned(),
        payload,
        config: enforcement.config,
        condition: enforcement.condition.as_str().to_owned(),
        conditions: enforcement.conditions,
        error: enforcement.error,
        created: enforcement.created,
        updated: enforcement.updated,
    }
}

/// An execution. `actions` are the masks of the actions, `waits` knows what waiting ones wait for.
pub(crate) fn execution_view(execution: Execution, actions: &Masks, waits: &Waits) -> ExecutionView {
    ExecutionView {
        id: execution.id,
        waiting: waits.of(&execution),
        parameters: actions.get(&execution.action_ref).parameters(execution.config),
        action: execution.action_ref,
        status: execution.status.as_str().to_owned(),
        attempt: execution.attempt,
        result: execution.result,
        error: execution.error,
        exit_code: execution.exit_code,
        signal: execution.signal,
        stdout_bytes: execution.stdout_bytes,
        stderr_bytes: execution.stderr_bytes,
        enforcement: execution.enforcement,
        parent: execution.parent,
        worker: execution.worker_name,
        trace_id: execution.trace_id,
        created: execution.created,
        started: execution.started,
        finished: execution.finished,
    }
}

/// Where an execution came from.
pub(crate) fn chain_view(enforcement: Enforcement) -> ChainView {
    ChainView {
        enforcement: enforcement.id,
        rule: enforcement.rule_ref,
        trigger: enforcement.trigger_ref,
        event: enforcement.event,
    }
}

pub(crate) fn attempt_view(attempt: Attempt) -> AttemptView {
    AttemptView {
        attempt: attempt.attempt,
        status: attempt.status.as_str().to_owned(),
        worker: attempt.worker_name,
        exit_code: attempt.exit_code,
        signal: attempt.signal,
        error: attempt.error,
        started: attempt.started,
        finished: attempt.finished,
    }
}

/// A worker, with how many executions it has. `alive` are the workers whose lease holds.
pub(crate) fn worker_view(worker: Worker, alive: &[i64], running: i64) -> WorkerView {
    WorkerView {
        alive: alive.contains(&worker.id),
        running,
        id: worker.id,
        name: worker.name,
        host: worker.host,
        status: worker.status.as_str().to_owned(),
        slots: worker.slots,
        cordoned: worker.cordoned,
        labels: worker.labels,
        capabilities: worker.capabilities,
        taints: worker.taints,
        heartbeat: worker.heartbeat,
    }
}

/// A pause.
pub(crate) fn pause_view(pause: Pause) -> PauseView {
    PauseView {
        id: pause.id,
        action: pause.action_ref,
        pack: pause.pack_ref,
        reason: pause.reason,
        by: pause.login,
        created: pause.created,
    }
}

/// A key with what may be shown of its value.
pub(crate) fn key_view(key: Key, value: Option<String>) -> KeyView {
    KeyView {
        key_ref: key.key_ref,
        secret: key.secret,
        value: value.filter(|_| !key.secret),
        owner: key.owner.owner_type().as_str().to_owned(),
        version: key.version,
        created: key.created,
        updated: key.updated,
    }
}

/// What a window made of an event, in words too.
pub(crate) fn window_outcome_view(of: WindowOutcomeOfRule) -> WindowOutcomeView {
    let WindowOutcomeOfRule { rule_ref, outcome } = of;
    // What another version of the program has written may have no words here.
    let read = serde_json::from_value::<attune_rules::window::WindowOutcome>(outcome.outcome.clone());
    WindowOutcomeView {
        rule: rule_ref,
        key: outcome.key,
        text: read.map_or_else(|_| "not known to this version".to_owned(), |outcome| outcome.to_string()),
        outcome: outcome.outcome,
    }
}
