//! The rescue pass: executions whose worker vanished are queued again or ended, as their action says.
//!
//! When the database was away, no worker could renew its lease, and all of them seem to have vanished. An executor that
//! was cut off itself therefore waits before it rescues again, so that the workers that live can say so first.

use std::time::Duration;

use attune_common::bus::{Bus, Topic};
use attune_common::error::Result;
use attune_common::moment::Moment;
use attune_common::pass::Found;
use attune_common::repositories::{ExecutionRepository, WorkerRepository};
use sqlx::PgPool;

/// How often it looks: well within a lease, so that a vanished worker is noticed within two of them.
pub const INTERVAL: Duration = Duration::from_secs(2);
/// A pause between two looks that is longer means that this process was cut off from the database, or stood still.
const CUT_OFF: Duration = Duration::from_secs(6);
/// How long the workers have then to renew their leases, which they try every third of ten seconds.
const RESPITE: Duration = Duration::from_secs(5);
const BATCH: i64 = 500;

/// The rescue pass with what it remembers.
#[derive(Debug)]
pub struct Rescuer {
    pool: PgPool,
    bus: Bus,
    looks: Looks,
}

/// When it could look, and when it may.
#[derive(Debug, Default)]
struct Looks {
    last: Option<Moment>,
    not_before: Option<Moment>,
}

impl Looks {
    /// Whether a process that reaches the database now may rescue.
    fn may_rescue(&mut self, now: Moment) -> bool {
        if self.last.is_some_and(|last| now.since(last) > CUT_OFF) {
            self.not_before = Some(now + RESPITE);
        }
        self.last = Some(now);
        self.not_before.is_none_or(|not_before| now >= not_before)
    }
}

impl Rescuer {
    /// One that has not looked yet.
    pub fn new(pool: PgPool, bus: Bus) -> Self {
        Self { pool, bus, looks: Looks::default() }
    }

    /// Rescues one batch.
    pub async fn pass(&mut self) -> Result<Found> {
        attune_common::db::ping(&self.pool).await?;
        if !self.looks.may_rescue(Moment::now()) {
            return Ok(Found::Nothing);
        }
        for worker in WorkerRepository::note_lost(&self.pool).await? {
            tracing::warn!(worker, "a worker is lost: it did not renew its lease");
            metrics::counter!("attune_workers_lost_total").increment(1);
            self.bus.wake(Topic::Change);
        }
        let rescued = ExecutionRepository::rescue(&self.pool, BATCH).await?;
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
        self.bus.wake(Topic::Execution);
        self.bus.wake(Topic::Change);
        Ok(if rescued.len() as i64 == BATCH { Found::More } else { Found::Nothing })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_workers_get_time_to_renew_when_the_database_was_away() {
        let start = Moment::now();
        let mut looks = Looks::default();
        // Whoever has just started rescues what it finds.
        assert!(looks.may_rescue(start));
        assert!(looks.may_rescue(start + INTERVAL));
        let back = start + Duration::from_secs(60);
        assert!(!looks.may_rescue(back));
        assert!(!looks.may_rescue(back + INTERVAL));
        assert!(looks.may_rescue(back + RESPITE));
        assert!(looks.may_rescue(back + RESPITE + INTERVAL));
    }
}
