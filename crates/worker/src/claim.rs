//! Taking work: as much as there are free slots, in one statement.

use std::sync::Arc;
use std::time::Duration;

use attune_common::bus::Topic;
use attune_common::repositories::ExecutionRepository;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{Shared, attempt};

/// How often it looks without a signal.
const POLL: Duration = Duration::from_secs(1);
/// Executions that one statement claims at most.
const BATCH: usize = 100;

/// Claims and starts executions until `shutdown`.
pub(crate) async fn run(shared: &Arc<Shared>, attempts: &TaskTracker, shutdown: &CancellationToken) {
    let mut signal = shared.bus.subscribe(Topic::Execution);
    let mut pause = Duration::from_millis(100);
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
        let claimed =
            ExecutionRepository::claim(&shared.pool, shared.id, &shared.instance, wanted as i64).await;
        let wait = match claimed {
            Ok(claimed) => {
                pause = Duration::from_millis(100);
                let all = claimed.len() == wanted;
                metrics::counter!("attune_executions_claimed_total").increment(claimed.len() as u64);
                for (execution, permit) in claimed.into_iter().zip(permits.drain(..)) {
                    attempts.spawn(attempt::run(shared.clone(), execution, permit));
                }
                if all {
                    continue;
                }
                POLL
            }
            Err(error) => {
                tracing::error!(%error, "executions cannot be claimed");
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
