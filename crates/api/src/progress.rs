//! What runs say of how far they have come, on its way into the database.
//!
//! Only the latest counts: what an execution says is put in the place of what it said before, here and in the database, and
//! written at most every [`REST`], for all executions in one statement. A run that says it a thousand times a second costs
//! four statements a second. What a server that is killed had not yet written is lost; the run says more soon.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use attune_common::bus::{Bus, Topic};
use attune_common::models::progress::NewProgress;
use attune_common::repositories::ProgressRepository;
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The time between two writes.
const REST: Duration = Duration::from_millis(250);

/// Where runs say how far they are; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct ProgressBoard {
    latest: Arc<Mutex<HashMap<i64, NewProgress>>>,
    news: Arc<Notify>,
}

impl ProgressBoard {
    /// Takes the latest of an execution.
    pub(crate) fn put(&self, progress: NewProgress) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old = latest.get(&progress.execution).is_some_and(|known| known.attempt > progress.attempt);
        if !is_old {
            latest.insert(progress.execution, progress);
        }
        drop(latest);
        self.news.notify_one();
    }

    fn take(&self) -> Vec<NewProgress> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.drain().map(|(_, progress)| progress).collect()
    }

    /// Writes until `shutdown`, and then what is left.
    pub(crate) async fn write(self, pool: PgPool, bus: Bus, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            tokio::select! {
                () = self.news.notified() => {}
                () = shutdown.cancelled() => {}
            }
            let progress = self.take();
            if progress.is_empty() {
                continue;
            }
            match ProgressRepository::put(&pool, &progress).await {
                Ok(()) => bus.wake(Topic::Change),
                Err(error) => {
                    tracing::warn!(%error, executions = progress.len(), "the progress of runs cannot be stored and is dropped");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(REST) => {}
                () = shutdown.cancelled() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_the_latest_of_the_latest_attempt_counts() {
        let board = ProgressBoard::default();
        let said = |attempt, percent| NewProgress {
            execution: 7,
            attempt,
            percent: Some(percent),
            ..NewProgress::default()
        };
        board.put(said(1, 10.0));
        board.put(said(2, 1.0));
        board.put(said(1, 20.0));
        board.put(said(2, 2.0));
        assert_eq!(board.take(), [said(2, 2.0)]);
        assert_eq!(board.take(), []);
    }
}
