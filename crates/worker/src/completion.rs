//! Reporting ends, in batches: what has gathered while the last batch was committed.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use attune_common::bus::{Bus, Topic};
use attune_common::error::StoreError;
use attune_common::models::execution::{Completion, ExecutionStatus};
use attune_common::models::worker::Offer;
use attune_common::repositories::{ExecutionRepository, WorkerRepository};
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio::sync::mpsc::{self, error::TrySendError};

use crate::cancel::{AttemptId, Running};
use crate::offer::Offers;

/// Ends that wait to be stored at most; further ones keep their slots until there is room.
const QUEUE: usize = 8192;
const BATCH: usize = 2000;
/// Ends that may wait to be stored while more is claimed: enough that the next batch is there when one is stored. What has ended
/// and is not stored is lost with this process.
const BEHIND: usize = 1000;
/// How soon ends are stored again that could not be, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Where ends are handed in.
#[derive(Debug, Clone)]
pub(crate) struct Completions {
    queue: mpsc::Sender<Completion>,
    /// Told when some were taken out of the queue.
    taken: Arc<Notify>,
    stuck: Arc<AtomicBool>,
}

impl Completions {
    /// Hands in an end; it is stored as soon as the database takes it.
    pub(crate) async fn report(&self, completion: Completion) {
        // The receiver outlives all senders but at the end of the process.
        if self.queue.send(completion).await.is_err() {
            tracing::error!("an execution ended after the worker; it will be rescued");
        }
    }

    /// Hands in an end if there is room for it, else gives it back.
    pub(crate) fn try_report(&self, completion: Completion) -> Result<(), Completion> {
        self.queue.try_send(completion).map_err(TrySendError::into_inner)
    }

    /// Whether ends cannot be stored at the moment. More work would only be more to lose.
    pub(crate) fn are_stuck(&self) -> bool {
        self.stuck.load(Ordering::Relaxed)
    }

    /// Whether so many ends wait to be stored that nothing more is to be claimed that may end at once.
    pub(crate) fn are_behind(&self) -> bool {
        self.queue.max_capacity() - self.queue.capacity() > BEHIND
    }

    /// Returns when few wait.
    pub(crate) async fn caught_up(&self) {
        loop {
            // Made before the look: it is told of what is taken meanwhile.
            let taken = self.taken.notified();
            if !self.are_behind() {
                return;
            }
            taken.await;
        }
    }
}

/// The queue, and the work that empties it until all senders are gone.
pub(crate) fn start(
    pool: PgPool,
    bus: Bus,
    worker: i64,
    running: Running,
    offers: Arc<Offers>,
) -> (Completions, impl Future<Output = ()>) {
    let stuck = Arc::new(AtomicBool::new(false));
    let (completions, queue) = queue(stuck.clone());
    (completions, run(queue, Store { pool, worker, stuck, offers }, bus, running))
}

fn queue(stuck: Arc<AtomicBool>) -> (Completions, Queue) {
    let (queue, receiver) = mpsc::channel(QUEUE);
    let taken = Arc::new(Notify::new());
    (Completions { queue, taken: taken.clone(), stuck }, Queue { receiver, taken })
}

/// Where ends come out.
#[derive(Debug)]
struct Queue {
    receiver: mpsc::Receiver<Completion>,
    taken: Arc<Notify>,
}

impl Queue {
    /// Waits for ends, and takes as many as are there, up to a batch; false when there will be none any more.
    async fn take(&mut self, batch: &mut Vec<Completion>) -> bool {
        let count = self.receiver.recv_many(batch, BATCH).await;
        self.taken.notify_waiters();
        count > 0
    }
}

async fn run(mut queue: Queue, store: Store, bus: Bus, running: Running) {
    let mut batch = Vec::with_capacity(BATCH);
    while queue.take(&mut batch).await {
        // In one order, so that two writers that meet do not wait for each other.
        batch.sort_unstable_by_key(|completion| completion.execution);
        let ends: Vec<AttemptId> = batch.iter().map(|end| (end.execution, end.attempt)).collect();
        let offer = store.offers.ending(&ends);
        let (well, mut others): (Vec<_>, Vec<_>) = batch.drain(..).partition(Completion::is_well);
        match well.is_empty() {
            true => store.raise(&offer).await,
            false => others.extend(store.well(well, &offer).await),
        }
        if !others.is_empty() {
            store.all(&others).await;
        }
        running.end_all(&ends);
        store.offers.end(&ends);
        bus.wake(Topic::Change);
    }
}

/// Where ends are stored.
#[derive(Debug)]
struct Store {
    pool: PgPool,
    worker: i64,
    stuck: Arc<AtomicBool>,
    offers: Arc<Offers>,
}

impl Store {
    /// Stores ends of the best kind with the room that they leave; gives back those that are to go the long way.
    async fn well(&self, batch: Vec<Completion>, offer: &Offer) -> Vec<Completion> {
        let mut pause = FIRST_PAUSE;
        loop {
            match ExecutionRepository::complete_well(&self.pool, self.worker, &batch, offer).await {
                Ok(stored) => {
                    self.stuck.store(false, Ordering::Relaxed);
                    metrics::counter!("attune_executions_finished_total").increment(stored.len() as u64);
                    if stored.len() == batch.len() {
                        return Vec::new();
                    }
                    let stored: HashSet<i64> = stored.into_iter().collect();
                    return batch.into_iter().filter(|end| !stored.contains(&end.execution)).collect();
                }
                // The long way finds out which one it is.
                Err(StoreError::Unstorable(_)) => return batch,
                Err(error) => {
                    self.stuck.store(true, Ordering::Relaxed);
                    tracing::error!(%error, waiting = batch.len(), "ends of executions cannot be stored; trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Offers room; where that fails, it is offered when the offer is next opened.
    async fn raise(&self, offer: &Offer) {
        if let Err(error) = WorkerRepository::raise_offer(&self.pool, self.worker, offer).await {
            tracing::warn!(%error, "free room cannot be offered yet");
            self.offers.doubt();
        }
    }

    /// Stores a batch.
    async fn all(&self, batch: &[Completion]) {
        let left_out = self.record(batch).await;
        // Some may have been cancelled at that moment, which the statement leaves to the next one.
        let ignored = if left_out.is_empty() { left_out } else { self.record(&left_out).await };
        if !ignored.is_empty() {
            tracing::warn!(
                ignored = ignored.len(),
                "ends were not recorded: those executions had been rescued or recorded before"
            );
        }
    }

    /// Stores a batch; tries until the database takes it, and gives back what it left out. Repeating a batch whose commit is in
    /// doubt changes nothing: an end is stored only for an attempt that has none.
    async fn record(&self, batch: &[Completion]) -> Vec<Completion> {
        let mut pause = FIRST_PAUSE;
        loop {
            let outcome = ExecutionRepository::complete(&self.pool, self.worker, batch).await;
            let stuck = outcome.as_ref().is_err_and(|error| !matches!(error, StoreError::Unstorable(_)));
            self.stuck.store(stuck, Ordering::Relaxed);
            match outcome {
                Ok(stored) => {
                    metrics::counter!("attune_executions_finished_total").increment(stored.len() as u64);
                    let stored: HashSet<i64> = stored.into_iter().collect();
                    return batch.iter().filter(|end| !stored.contains(&end.execution)).cloned().collect();
                }
                Err(StoreError::Unstorable(reason)) if batch.len() == 1 => {
                    // Better an end without its result than no end.
                    tracing::error!(execution = batch[0].execution, reason, "a result cannot be stored");
                    let bare = Completion {
                        status: ExecutionStatus::Failed,
                        result: None,
                        error: Some(format!("the result cannot be stored: {}", reason.replace('\0', ""))),
                        ..batch[0].clone()
                    };
                    return Box::pin(self.record(&[bare])).await;
                }
                Err(StoreError::Unstorable(_)) => {
                    let mut left_out = Vec::new();
                    for completion in batch {
                        left_out.extend(Box::pin(self.record(std::slice::from_ref(completion))).await);
                    }
                    return left_out;
                }
                Err(error) => {
                    tracing::error!(%error, waiting = batch.len(), "ends of executions cannot be stored; trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn end(execution: i64) -> Completion {
        Completion {
            execution,
            attempt: 1,
            status: ExecutionStatus::Completed,
            exit_code: None,
            signal: None,
            result: None,
            error: None,
            stdout_bytes: 0,
            stderr_bytes: 0,
        }
    }

    #[tokio::test]
    async fn test_who_claims_waits_while_many_ends_are_not_stored() {
        let (completions, mut queue) = queue(Arc::default());
        for execution in 0..BATCH + BEHIND {
            assert!(completions.try_report(end(execution as i64)).is_ok(), "there is room for {execution}");
            assert_eq!(completions.are_behind(), execution >= BEHIND);
        }
        let mut caught_up = Box::pin(completions.caught_up());
        assert!((&mut caught_up).now_or_never().is_none());
        let mut batch = Vec::new();
        assert!(queue.take(&mut batch).await);
        assert_eq!((batch.len(), completions.are_behind()), (BATCH, false));
        caught_up.await;
        assert!(completions.caught_up().now_or_never().is_some());
    }
}
