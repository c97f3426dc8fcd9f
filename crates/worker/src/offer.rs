//! The room for native actions that this worker offers, so that executors give it executions without its asking.
//!
//! What is offered counts up as assigned executions end. Some of it can be lost - an execution that was rescued while this
//! process stood still was assigned and never ends here - so the offer is opened anew where that may have happened.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use attune_common::error::Result;
use attune_common::models::execution::Claimed;
use attune_common::models::worker::Offer;
use attune_common::repositories::{ExecutionRepository, WorkerRepository};
use sqlx::PgPool;

use crate::cancel::AttemptId;

/// Assigned executions that have not ended, at most.
const ROOM: i64 = 2000;

/// What was offered, and what was assigned.
#[derive(Debug)]
pub(crate) struct Offers {
    pool: PgPool,
    worker: i64,
    instance: String,
    counted: Mutex<Counted>,
    doubtful: AtomicBool,
}

#[derive(Debug, Default)]
struct Counted {
    /// What was ever offered, as the database has it or is about to have it.
    offered: i64,
    /// Assigned attempts whose ends are not stored yet.
    open: HashSet<AttemptId>,
}

impl Offers {
    /// No offer yet.
    pub(crate) fn new(pool: PgPool, worker: i64, instance: &str) -> Self {
        Self {
            pool,
            worker,
            instance: instance.to_owned(),
            counted: Mutex::default(),
            doubtful: AtomicBool::new(true),
        }
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the offer is to be opened: for the first time, or anew.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.doubtful.load(Ordering::Relaxed)
    }

    /// Says that some of the room may be lost.
    pub(crate) fn doubt(&self) {
        self.doubtful.store(true, Ordering::Relaxed);
    }

    /// Whether nothing is under way of what was assigned.
    pub(crate) fn is_idle(&self) -> bool {
        self.counted().open.is_empty()
    }

    /// Adds what was assigned and has not ended.
    pub(crate) fn add_known(&self, known: &mut HashSet<AttemptId>) {
        known.extend(&self.counted().open);
    }

    /// Notes what was assigned, before any of it begins.
    pub(crate) fn begin(&self, executions: &[Claimed]) {
        self.counted().open.extend(executions.iter().map(|one| (one.id, one.attempt)));
    }

    /// What is offered when these attempts have ended, of which not all need have been assigned.
    pub(crate) fn ending(&self, attempts: &[AttemptId]) -> Offer {
        let mut counted = self.counted();
        let free = attempts.iter().filter(|attempt| counted.open.contains(attempt)).count();
        counted.offered += i64::try_from(free).unwrap_or(0);
        Offer { instance: self.instance.clone(), offered: counted.offered }
    }

    /// Forgets attempts whose ends are stored, or belong to another.
    pub(crate) fn end(&self, attempts: &[AttemptId]) {
        let mut counted = self.counted();
        for attempt in attempts {
            counted.open.remove(attempt);
        }
    }

    /// Opens the offer, or corrects it; gives back what was assigned after this id, which is to begin.
    pub(crate) async fn open(&self, after: i64) -> Result<Vec<Claimed>> {
        let mut transaction = attune_common::db::begin(&self.pool).await?;
        WorkerRepository::hold_offer(&mut transaction, self.worker).await?;
        let mut known = HashSet::new();
        self.add_known(&mut known);
        let assigned =
            ExecutionRepository::list_assigned(&mut transaction, self.worker, &self.instance, after).await?;
        known.extend(assigned.iter().map(|one| (one.id, one.attempt)));
        let room = (ROOM - i64::try_from(known.len()).unwrap_or(ROOM)).max(0);
        let offer = WorkerRepository::open_offer(&mut transaction, self.worker, &self.instance, room).await?;
        transaction.commit().await?;
        // Room that became free meanwhile stays unused until the next time.
        self.counted().offered = offer.offered;
        self.doubtful.store(false, Ordering::Relaxed);
        Ok(assigned)
    }

    /// Ends the offer; what was assigned up to then can be read.
    pub(crate) async fn close(&self) -> Result<()> {
        let mut transaction = attune_common::db::begin(&self.pool).await?;
        WorkerRepository::close_offer(&mut transaction, self.worker, &self.instance).await?;
        transaction.commit().await?;
        Ok(())
    }
}
