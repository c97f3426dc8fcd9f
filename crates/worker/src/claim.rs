//! Taking work: as much as there are free slots, in one statement.

use std::sync::Arc;
use std::time::Duration;

use attune_common::bus::Topic;
use attune_common::error::Result;
use attune_common::models::execution::Claimed;
use attune_common::repositories::ExecutionRepository;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{Shared, attempt};

/// How often it looks without a signal.
const POLL: Duration = Duration::from_secs(1);
/// Executions that one statement claims at most.
const BATCH: usize = 100;

/// Executions that were claimed for this worker without its hearing of it. Their attempts have not begun; they begin now.
async fn unknown(shared: &Shared, limit: usize) -> Result<Vec<Claimed>> {
    // Read before what is held: an execution whose end is stored between the two is held no longer, and was known.
    let known = shared.running.ids();
    let mut held = ExecutionRepository::list_held(&shared.pool, shared.id).await?;
    held.retain(|execution| !known.contains(&execution.id));
    held.truncate(limit);
    Ok(held)
}

/// Claims and starts executions until `shutdown`.
pub(crate) async fn run(shared: &Arc<Shared>, attempts: &TaskTracker, shutdown: &CancellationToken) {
    let mut signal = shared.bus.subscribe(Topic::Execution);
    let mut pause = Duration::from_millis(100);
    // The answer to a claim was lost: it may have been made, for executions that nobody here knows of.
    let mut in_doubt = false;
    while !shutdown.is_cancelled() {
        let first = tokio::select! {
            permit = shared.slots.clone().acquire_owned() => permit,
            () = shutdown.cancelled() => return,
        };
        let Ok(first) = first else { return };
        let mut permits = vec![first];
        while permits.len() < BATCH
            && let Ok(permit) = shared.slots.clone().try_acquire_owned()
        {
            permits.push(permit);
        }
        let wanted = permits.len();
        let claimed = if in_doubt {
            unknown(shared, wanted).await
        } else {
            ExecutionRepository::claim(&shared.pool, shared.id, &shared.instance, wanted as i64).await
        };
        let wait = match claimed {
            Ok(claimed) => {
                pause = Duration::from_millis(100);
                let all = claimed.len() == wanted || in_doubt;
                // As many as there are slots were asked for: fewer are all that there were.
                in_doubt = in_doubt && claimed.len() == wanted;
                metrics::counter!("attune_executions_claimed_total").increment(claimed.len() as u64);
                if !claimed.is_empty() {
                    shared.bus.wake(Topic::Change);
                }
                for (execution, permit) in claimed.into_iter().zip(permits.drain(..)) {
                    let cancel = shared.running.begin(execution.id);
                    attempts.spawn(attempt::run(shared.clone(), execution, cancel, permit));
                }
                if all {
                    continue;
                }
                POLL
            }
            Err(error) => {
                tracing::error!(%error, "executions cannot be claimed");
                in_doubt = true;
                pause = (pause * 2).min(Duration::from_secs(5));
                pause
            }
        };
        drop(permits);
        tokio::select! {
            () = signal.woken() => {}
            () = tokio::time::sleep(wait) => {}
            () = shutdown.cancelled() => return,
        }
    }
}
