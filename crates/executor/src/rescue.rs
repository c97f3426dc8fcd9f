//! The rescue pass: executions whose worker vanished are queued again or abandoned, as their action says.

use std::time::Duration;

use attune_common::bus::{Bus, Topic};
use attune_common::error::Result;
use attune_common::pass::Found;
use attune_common::repositories::{ExecutionRepository, WorkerRepository};
use sqlx::PgPool;

/// How often it looks: well within a lease, so that a vanished worker is noticed within two of them.
pub const INTERVAL: Duration = Duration::from_secs(2);
const BATCH: i64 = 500;

/// Rescues one batch.
pub async fn pass(pool: PgPool, bus: Bus) -> Result<Found> {
    for worker in WorkerRepository::note_lost(&pool).await? {
        tracing::warn!(worker, "a worker is lost: it did not renew its lease");
        metrics::counter!("attune_workers_lost_total").increment(1);
        bus.wake(Topic::Change);
    }
    let rescued = ExecutionRepository::rescue(&pool, BATCH).await?;
    if rescued.is_empty() {
        return Ok(Found::Nothing);
    }
    for execution in &rescued {
        tracing::warn!(
            execution = execution.id,
            attempt = execution.attempt,
            action = execution.action_ref,
            worker = execution.worker_name,
            now = %execution.status,
            "the worker of an execution vanished"
        );
    }
    metrics::counter!("attune_executions_rescued_total").increment(rescued.len() as u64);
    bus.wake(Topic::Execution);
    bus.wake(Topic::Change);
    Ok(if rescued.len() as i64 == BATCH { Found::More } else { Found::Nothing })
}
