//! Backpressure: while workers have no room for more native actions, it is events that wait, not executions.
//!
//! An event waits as part of a batch, and its execution is born with a worker once there is room. An execution that waits has
//! to be claimed, which costs a second write of its row; and what is born after it waits behind it, so that a server under full
//! load that once began to claim would go on claiming, and be the slower for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use attune_common::error::Result;
use attune_common::models::enforcement::Recorded;
use attune_common::repositories::WorkerRepository;
use sqlx::PgPool;
use tokio::time::{Instant, sleep};

/// How long a pass is held back at most: most events are about other actions, or may be, and those have room.
const LONGEST: Duration = Duration::from_millis(50);

/// How often it is looked for room.
const LOOK: Duration = Duration::from_millis(5);

/// Whether workers had no room lately. Shared by the passes of a process.
#[derive(Debug, Default)]
pub(crate) struct Backpressure {
    is_crowded: AtomicBool,
}

impl Backpressure {
    /// Takes note of how decisions found the workers.
    pub(crate) fn note(&self, recorded: Recorded) {
        self.is_crowded.store(recorded.is_crowded, Ordering::Relaxed);
    }

    /// Waits until there is room for so many executions of native actions and none waits to be claimed, but not for long.
    pub(crate) async fn wait_for_room(&self, pool: &PgPool, executions: i64) -> Result<()> {
        let until = Instant::now() + LONGEST;
        while self.is_crowded.load(Ordering::Relaxed) && Instant::now() < until {
            let room = WorkerRepository::native_room(pool).await?;
            // Where no worker is there, waiting brings nothing.
            if room.is_none_or(|room| room >= executions) {
                self.is_crowded.store(false, Ordering::Relaxed);
                break;
            }
            sleep(LOOK).await;
        }
        Ok(())
    }
}
