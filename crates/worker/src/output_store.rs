//! Storing what actions write, while they write it: pieces of all runs in common batches.

use std::time::Duration;

use attune_common::bus::{Bus, Topic};
use attune_common::error::StoreError;
use attune_common::models::execution::{OutputChunk, OutputTrim};
use attune_common::repositories::ExecutionOutputRepository;
use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot};

/// Pieces (of up to 64 KiB) that wait at most; beyond that the processes' pipes fill up.
const QUEUE: usize = 128;
const BATCH: usize = 128;

/// Where pieces are handed in.
#[derive(Debug, Clone)]
pub(crate) struct OutputStore {
    queue: mpsc::Sender<Item>,
}

#[derive(Debug)]
pub(crate) enum Item {
    Chunk(OutputChunk),
    /// Comes after all chunks that it is about.
    Trim(OutputTrim),
    /// Answered when all that came before is stored.
    Barrier(oneshot::Sender<()>),
}

impl OutputStore {
    /// Hands in a piece.
    pub(crate) async fn append(&self, chunk: OutputChunk) {
        if self.queue.send(Item::Chunk(chunk)).await.is_err() {
            tracing::error!("output came after the end of the worker");
        }
    }

    /// Has pieces go that were handed in before.
    pub(crate) async fn trim(&self, trim: OutputTrim) {
        if self.queue.send(Item::Trim(trim)).await.is_err() {
            tracing::error!("output came after the end of the worker");
        }
    }

    /// One whose pieces a test takes.
    #[cfg(test)]
    pub(crate) fn in_memory() -> (Self, mpsc::Receiver<Item>) {
        let (queue, receiver) = mpsc::channel(10_000);
        (Self { queue }, receiver)
    }

    /// Waits until all that was handed in before is stored, so that an end is never seen before its output.
    pub(crate) async fn flush(&self) {
        let (stored, wait) = oneshot::channel();
        if self.queue.send(Item::Barrier(stored)).await.is_ok() {
            // The writer answers every barrier; without it there is nothing to wait for.
            let _: Result<(), _> = wait.await;
        }
    }
}

/// The queue, and the work that empties it until all senders are gone.
pub(crate) fn start(pool: PgPool, bus: Bus) -> (OutputStore, impl Future<Output = ()>) {
    let (queue, receiver) = mpsc::channel(QUEUE);
    (OutputStore { queue }, run(receiver, pool, bus))
}

async fn run(mut receiver: mpsc::Receiver<Item>, pool: PgPool, bus: Bus) {
    let mut items = Vec::with_capacity(BATCH);
    while receiver.recv_many(&mut items, BATCH).await > 0 {
        let mut chunks = Vec::new();
        let mut trims = Vec::new();
        let mut barriers = Vec::new();
        for item in items.drain(..) {
            match item {
                Item::Chunk(chunk) => chunks.push(chunk),
                Item::Trim(trim) => trims.push(trim),
                Item::Barrier(stored) => barriers.push(stored),
            }
        }
        if !chunks.is_empty() {
            store(&pool, &chunks).await;
            bus.wake(Topic::Change);
        }
        for trim in trims {
            remove(&pool, &trim).await;
        }
        for stored in barriers {
            // Whoever waited may be gone.
            let _: Result<(), ()> = stored.send(());
        }
    }
}

/// Stores a batch; tries until the database takes it. Pieces that are stored already are left as they are.
async fn store(pool: &PgPool, chunks: &[OutputChunk]) {
    let stored = until_available(|| ExecutionOutputRepository::append(pool, chunks)).await;
    if let Err(error) = stored {
        tracing::error!(%error, pieces = chunks.len(), "output cannot be stored and is dropped");
    }
}

/// Has pieces go. Done twice, it is as done once.
async fn remove(pool: &PgPool, trim: &OutputTrim) {
    if let Err(error) = until_available(|| ExecutionOutputRepository::trim(pool, trim)).await {
        tracing::error!(%error, execution = trim.execution, "old output cannot be removed and stays");
    }
}

/// Tries again as long as it is the database that is away.
async fn until_available<F: Future<Output = Result<(), StoreError>>>(
    work: impl Fn() -> F,
) -> Result<(), StoreError> {
    let mut pause = Duration::from_millis(100);
    loop {
        match work().await {
            Err(error) if error.is_unavailable() => {
                tracing::warn!(%error, "output cannot be stored; trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
            done => return done,
        }
    }
}
