//! Taking work: what was assigned to this worker, and of what waits as much as there is room for, in one statement each.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use attune_common::bus::Topic;
use attune_common::error::{Result, StoreError};
use attune_common::models::execution::{Claimed, Room};
use attune_common::repositories::ExecutionRepository;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cancel::AttemptId;
use crate::{Shared, attempt};

/// How often it looks without a signal.
const POLL: Duration = Duration::from_secs(1);
/// How often it looks whether ends can be stored again: nothing is taken while they cannot.
const STUCK: Duration = Duration::from_millis(50);
/// How often an offer that nothing was made of is opened anew.
const REOPEN: Duration = Duration::from_secs(30);
/// Executions of each sort that one statement claims at most: what it costs itself, and its commit, is shared by many.
const BATCH: usize = 2000;
/// The pauses after failures.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What the loop knows of its last looks.
struct Taking<'a> {
    shared: &'a Arc<Shared>,
    attempts: &'a TaskTracker,
    /// The last id that was read of what is assigned; 0: all of what this worker holds is to be read.
    read: i64,
    /// When the offer was opened.
    opened: Option<Instant>,
}

/// Room for executions of one sort that are claimed.
struct Permits {
    permits: Vec<OwnedSemaphorePermit>,
}

impl Permits {
    const NONE: Self = Self { permits: Vec::new() };

    fn of(slots: &Arc<Semaphore>) -> Self {
        let mut permits = Vec::new();
        while permits.len() < BATCH
            && let Ok(permit) = slots.clone().try_acquire_owned()
        {
            permits.push(permit);
        }
        Self { permits }
    }

    fn len(&self) -> usize {
        self.permits.len()
    }
}

/// Whether more may wait of a sort that there was no room for.
#[derive(Debug, Clone, Copy)]
struct More {
    processes: bool,
    native: bool,
}

/// Takes and starts executions until `shutdown`.
pub(crate) async fn run(shared: &Arc<Shared>, attempts: &TaskTracker, shutdown: &CancellationToken) {
    let mut waiting = shared.bus.subscribe(Topic::Execution);
    let mut assigned = shared.bus.subscribe(Topic::Assigned);
    let mut taking = Taking { shared, attempts, read: 0, opened: None };
    let mut pause = FIRST_PAUSE;
    // What woke it: then only that is looked at.
    let (mut look_waiting, mut look_assigned) = (true, true);
    let mut more = More { processes: false, native: false };
    while !shutdown.is_cancelled() {
        if shared.completions.are_stuck() {
            tokio::select! {
                () = tokio::time::sleep(STUCK) => continue,
                () = shutdown.cancelled() => return,
            }
        }
        let looked = async {
            if look_assigned {
                taking.take_assigned().await?;
            }
            if look_waiting {
                more = taking.claim().await?;
            }
            Ok(())
        };
        let looked: Result<()> = looked.await;
        let wait = match looked {
            Ok(()) => {
                pause = FIRST_PAUSE;
                POLL
            }
            Err(error) => {
                tracing::error!(%error, "executions cannot be taken");
                pause = (pause * 2).min(LONGEST_PAUSE);
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = shutdown.cancelled() => return,
                }
                (look_waiting, look_assigned) = (true, true);
                continue;
            }
        };
        (look_waiting, look_assigned) = (false, false);
        tokio::select! {
            // What was assigned is the rule.
            biased;
            () = shutdown.cancelled() => return,
            () = assigned.woken() => look_assigned = true,
            () = waiting.woken() => look_waiting = true,
            () = free(&shared.slots), if more.processes => look_waiting = true,
            () = free_for_native(shared), if more.native => look_waiting = true,
            () = tokio::time::sleep(wait) => (look_waiting, look_assigned) = (true, true),
        }
    }
}

/// Returns when there is room.
async fn free(slots: &Semaphore) {
    // Never closed; and given back at once.
    let _permit = slots.acquire().await;
}

/// The same for native actions: what has ended and is not stored takes up room as well.
async fn free_for_native(shared: &Shared) {
    shared.completions.caught_up().await;
    free(&shared.native_slots).await;
}

/// Ends the offer, and begins what was assigned until then.
pub(crate) async fn finish(shared: &Arc<Shared>, attempts: &TaskTracker) {
    // From the beginning: what of it is known is left alone.
    let mut taking = Taking { shared, attempts, read: 0, opened: Some(Instant::now()) };
    let finished = async {
        shared.offers.close().await?;
        taking.take_closed().await
    };
    if let Err(error) = finished.await {
        tracing::warn!(%error, "the room that this worker offers cannot be taken back; what is assigned to it now will be rescued");
    }
}

impl Taking<'_> {
    /// Begins what was assigned since the last look.
    async fn take_assigned(&mut self) -> Result<()> {
        let shared = self.shared;
        // Where some of the room may be lost without a sign, it is found where all of it should be free.
        let is_old = shared.offers.is_idle() && self.opened.is_none_or(|opened| opened.elapsed() > REOPEN);
        // Read before what is assigned: a claimed execution whose end is stored between the two was known. What was assigned is
        // younger than what was read, or all of it is known.
        let mut known = shared.running.after(self.read);
        if self.read == 0 {
            shared.offers.add_known(&mut known);
        }
        let assigned = if shared.offers.is_doubtful() || is_old {
            let assigned = shared.offers.open(self.read).await?;
            self.opened = Some(Instant::now());
            assigned
        } else {
            let mut connection = shared.pool.acquire().await.map_err(StoreError::from)?;
            ExecutionRepository::list_assigned(&mut connection, shared.id, &shared.instance, self.read)
                .await?
        };
        self.begin(assigned, &known);
        Ok(())
    }

    /// The same when the offer is closed.
    async fn take_closed(&mut self) -> Result<()> {
        let shared = self.shared;
        let mut known = shared.running.after(0);
        shared.offers.add_known(&mut known);
        let mut connection = shared.pool.acquire().await.map_err(StoreError::from)?;
        let assigned =
            ExecutionRepository::list_assigned(&mut connection, shared.id, &shared.instance, 0).await?;
        self.begin(assigned, &known);
        Ok(())
    }

    fn begin(&mut self, mut assigned: Vec<Claimed>, known: &HashSet<AttemptId>) {
        let Some(last) = assigned.last().map(|last| last.id) else { return };
        self.read = self.read.max(last);
        assigned.retain(|one| !known.contains(&(one.id, one.attempt)));
        self.shared.offers.begin(&assigned);
        metrics::counter!("attune_executions_assigned_total").increment(assigned.len() as u64);
        let begun = assigned.into_iter().map(|execution| (execution, None));
        attempt::begin(self.shared, self.attempts, begun);
    }

    /// Claims and begins one batch of what waits, as much as there is room for. What there may be more of is claimed after a look
    /// at what was assigned meanwhile, and at whether this worker is to end.
    async fn claim(&mut self) -> Result<More> {
        let shared = self.shared;
        let mut processes = Permits::of(&shared.slots);
        let mut native = match shared.completions.are_behind() {
            true => Permits::NONE,
            false => Permits::of(&shared.native_slots),
        };
        let asked = (processes.len(), native.len());
        if asked == (0, 0) {
            return Ok(More { processes: true, native: true });
        }
        let room = Room { processes: asked.0 as i64, native: asked.1 as i64 };
        let mut connection = shared.pool.acquire().await.map_err(StoreError::from)?;
        let claimed = ExecutionRepository::claim(&mut connection, shared.id, &shared.instance, room)
            .await
            .inspect_err(|_| {
                // It may have been made, for executions that nobody here knows of.
                self.read = 0;
                shared.offers.doubt();
            })?;
        metrics::counter!("attune_executions_claimed_total").increment(claimed.len() as u64);
        if !claimed.is_empty() {
            shared.bus.wake(Topic::Change);
        }
        let begun = claimed.into_iter().map(|execution| {
            let permit = if execution.is_native { native.permits.pop() } else { processes.permits.pop() };
            (execution, permit)
        });
        attempt::begin(shared, self.attempts, begun);
        // As many as there is room for were asked for: fewer are all that there were.
        Ok(More { processes: processes.len() == 0, native: native.len() == 0 })
    }
}
