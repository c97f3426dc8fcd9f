//! The passes over what waits: for the time of its next attempt, for the end of a pause, for a worker that can take it.

use std::time::Duration;

use attune_common::bus::{Bus, Topic};
use attune_common::error::Result;
use attune_common::models::event::NewEvent;
use attune_common::models::placement::Unschedulable;
use attune_common::pass::Found;
use attune_common::repositories::{
    EventRepository, ExecutionRepository, PauseRepository, PlacementRepository, TriggerRepository,
};
use serde_json::json;
use sqlx::PgPool;

use crate::internal::{self, Cut, MAX_DEPTH};

/// How late an attempt may begin that waited for its time.
pub const DUE_INTERVAL: Duration = Duration::from_millis(500);
/// How long something paused may lie in the way of claims, which pass over it meanwhile.
pub const PAUSE_INTERVAL: Duration = Duration::from_secs(1);
/// How often it is looked for work that no live worker can take.
pub const PLACEMENT_INTERVAL: Duration = Duration::from_secs(5);
/// How long there must have been no such worker: one that starts again is no news.
pub const UNSERVED_FOR: Duration = Duration::from_secs(30);
/// The trigger of the events about it, which the core pack brings.
pub const UNSCHEDULABLE: &str = "core.unschedulable";

const BATCH: i64 = 1000;
const EVENTS: i64 = 200;

/// Lets executions be claimed whose time has come.
pub async fn due(pool: PgPool, bus: Bus) -> Result<Found> {
    let released = ExecutionRepository::release_due(&pool, BATCH).await?;
    if released > 0 {
        bus.wake(Topic::Execution);
    }
    Ok(found(released == BATCH))
}

/// Puts aside what is paused, and brings back what is so no longer.
pub async fn pauses(pool: PgPool, bus: Bus) -> Result<Found> {
    let back = ExecutionRepository::bring_back(&pool, BATCH).await?;
    if back > 0 {
        bus.wake(Topic::Execution);
    }
    let aside = match PauseRepository::list(&pool).await?.is_empty() {
        true => 0,
        false => ExecutionRepository::set_aside(&pool, BATCH).await?,
    };
    Ok(found(back == BATCH || aside > 0))
}

/// Tells by an event of each execution that no live worker has been able to take for so long, once in its life, unless too many
/// internal events led to it. The mark and the event are one transaction.
pub async fn placements(pool: PgPool, bus: Bus, unserved_for: Duration) -> Result<Found> {
    PlacementRepository::observe(&pool).await?;
    let mut transaction = attune_common::db::begin(&pool).await?;
    let stuck = ExecutionRepository::mark_unschedulable(&mut *transaction, unserved_for, EVENTS).await?;
    if stuck.is_empty() {
        return Ok(Found::Nothing);
    }
    let trigger = TriggerRepository::find_by_ref(&mut *transaction, UNSCHEDULABLE).await?;
    let trigger = trigger.map(|trigger| trigger.id);
    let (told, cut): (Vec<_>, Vec<_>) = stuck.iter().partition(|execution| execution.depth < MAX_DEPTH);
    let events: Vec<_> = told.into_iter().map(|execution| event(execution, trigger)).collect();
    let cut: Vec<_> = cut
        .into_iter()
        .map(|execution| Cut {
            trigger: UNSCHEDULABLE,
            entity_type: "execution",
            entity_ref: execution.id.to_string(),
            depth: execution.depth.saturating_add(1),
        })
        .collect();
    internal::report(&mut transaction, &cut).await?;
    EventRepository::append(&mut transaction, &events).await?;
    transaction.commit().await?;
    for execution in &stuck {
        tracing::warn!(
            execution = execution.id,
            action = execution.action_ref,
            selector = ?execution.selector,
            "no live worker can take an execution"
        );
    }
    metrics::counter!("attune_executions_unschedulable_total").increment(stuck.len() as u64);
    bus.wake(Topic::Event);
    Ok(found(stuck.len() as i64 == EVENTS))
}

fn event(execution: &Unschedulable, trigger: Option<i64>) -> NewEvent {
    let pack = execution.action_ref.split('.').next().unwrap_or_default();
    NewEvent {
        trigger,
        trigger_ref: UNSCHEDULABLE.to_owned(),
        config: Some(json!({ "action": execution.action_ref, "pack": pack })),
        payload: Some(json!({
            "execution": execution.id,
            "action": execution.action_ref,
            "worker_selector": execution.selector,
            "tolerations": execution.tolerations,
            "waiting_since": execution.created,
        })),
        dedup_key: Some(execution.id.to_string()),
        trace_id: execution.trace_id.clone(),
        depth: execution.depth.saturating_add(1),
        ..NewEvent::default()
    }
}

fn found(more: bool) -> Found {
    if more { Found::More } else { Found::Nothing }
}
