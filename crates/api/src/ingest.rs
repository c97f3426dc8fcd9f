//! The way in for events: whoever wants to append waits for the commit, and all who wait at the same time share one.
//!
//! A batch is what has gathered while the last one was committed, so a lone event goes through at once and a flood is
//! written in large statements.

use attune_common::bus::{Bus, Topic};
use attune_common::db;
use attune_common::error::{Result, StoreError};
use attune_common::models::event::{Appended, NewEvent};
use attune_common::repositories::EventRepository;
use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot};

/// Of those that record events: few are fast, and who brings many events at once does not wait behind lone ones.
const CONNECTIONS: u32 = 4;
/// Events that wait at most; further callers wait to be let in, and so do their senders.
const QUEUE: usize = 4096;
/// Events in one statement at most.
const BATCH: usize = 500;
/// What one statement carries at most, so that a batch of large bodies does not fill the memory.
const BATCH_BYTES: usize = 16 << 20;

/// Where events are handed in; clones share the queue.
#[derive(Debug, Clone)]
pub(crate) struct Ingest {
    queue: mpsc::Sender<Waiting>,
    pool: PgPool,
    bus: Bus,
}

#[derive(Debug)]
struct Waiting {
    event: NewEvent,
    /// About how large it is as text.
    bytes: usize,
    done: oneshot::Sender<Result<Appended>>,
}

impl Ingest {
    /// Records an event; when this returns Ok, the event is durable. `bytes` is the size of its body.
    pub(crate) async fn append(&self, event: NewEvent, bytes: usize) -> Result<Appended> {
        let (done, outcome) = oneshot::channel();
        let waiting = Waiting { event, bytes, done };
        let stopped = || StoreError::Unavailable(sqlx::Error::PoolClosed);
        self.queue.send(waiting).await.map_err(|_| stopped())?;
        outcome.await.map_err(|_| stopped())?
    }

    /// Records events that came together: all of them or none. When this returns Ok, they are durable.
    pub(crate) async fn append_together(&self, events: &[NewEvent]) -> Result<Vec<Appended>> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let appended = append(&self.pool, events).await?;
        count(&appended);
        self.bus.wake(Topic::Event);
        Ok(appended)
    }
}

/// The queue and the work that empties it; the work ends when the last [`Ingest`] is dropped and all is written.
pub(crate) fn start(pool: &PgPool, bus: Bus) -> (Ingest, impl Future<Output = ()> + use<>) {
    let (queue, receiver) = mpsc::channel(QUEUE);
    let pool = db::bulk(pool, CONNECTIONS);
    let ingest = Ingest { queue, pool: pool.clone(), bus: bus.clone() };
    (ingest, run(receiver, pool, bus))
}

async fn run(mut receiver: mpsc::Receiver<Waiting>, pool: PgPool, bus: Bus) {
    let mut gathered: Vec<Waiting> = Vec::with_capacity(BATCH);
    loop {
        if gathered.is_empty() && receiver.recv_many(&mut gathered, BATCH).await == 0 {
            return;
        }
        let mut bytes = 0;
        let fitting = gathered.iter().take_while(|w| {
            bytes += w.bytes;
            bytes <= BATCH_BYTES
        });
        let count = fitting.count().max(1);
        let batch: Vec<Waiting> = gathered.drain(..count).collect();
        write(batch, &pool).await;
        bus.wake(Topic::Event);
    }
}

/// Writes one batch and tells each caller.
async fn write(batch: Vec<Waiting>, pool: &PgPool) {
    let (events, callers): (Vec<NewEvent>, Vec<oneshot::Sender<Result<Appended>>>) =
        batch.into_iter().map(|waiting| (waiting.event, waiting.done)).unzip();
    metrics::histogram!("attune_event_batch_size").record(events.len() as f64);
    match append(pool, &events).await {
        Ok(appended) => {
            count(&appended);
            for (caller, appended) in callers.into_iter().zip(appended) {
                // A caller that went away has its event all the same.
                drop(caller.send(Ok(appended)));
            }
        }
        // One event that cannot be stored must not take the others with it: find out which it is.
        Err(StoreError::Unstorable(_)) if events.len() > 1 => {
            for (caller, event) in callers.into_iter().zip(events) {
                let outcome = append(pool, std::slice::from_ref(&event)).await;
                let outcome = outcome.and_then(|appended| {
                    appended.first().copied().ok_or(StoreError::Database(sqlx::Error::RowNotFound))
                });
                drop(caller.send(outcome));
            }
        }
        Err(error) => {
            let mut callers = callers.into_iter();
            // Each caller is told the same; only one of them gets the original with its source.
            let last = callers.next_back();
            for caller in callers {
                drop(caller.send(Err(share(&error))));
            }
            if let Some(caller) = last {
                drop(caller.send(Err(error)));
            }
        }
    }
}

fn count(appended: &[Appended]) {
    let new = appended.iter().filter(|one| !one.duplicate).count();
    metrics::counter!("attune_events_accepted_total").increment(new as u64);
}

async fn append(pool: &PgPool, events: &[NewEvent]) -> Result<Vec<Appended>> {
    let mut connection = pool.acquire().await?;
    EventRepository::append(&mut connection, events).await
}

/// The same error for another caller.
fn share(error: &StoreError) -> StoreError {
    match error {
        StoreError::Unavailable(source) => {
            StoreError::Unavailable(sqlx::Error::Io(std::io::Error::other(source.to_string())))
        }
        StoreError::Unstorable(message) => StoreError::Unstorable(message.clone()),
        other => StoreError::Database(sqlx::Error::Protocol(other.to_string())),
    }
}
