//! The worker's promise to be alive, renewed for all that it runs in one statement.

use std::sync::Arc;
use std::time::Duration;

use attune_common::models::execution::Claimed;
use attune_common::moment::Moment;
use attune_common::repositories::{ExecutionRepository, WorkerRepository};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::Shared;

/// Until when the lease holds by the clock of this machine: never later than the database has it.
#[derive(Debug)]
pub(crate) struct LeaseClock {
    until: watch::Sender<Moment>,
}

/// The attempt is not this worker's any more.
#[derive(Debug, thiserror::Error)]
#[error("the execution was taken from this worker before its attempt began")]
pub(crate) struct Lost;

impl LeaseClock {
    /// A lease that was asked for at this moment.
    pub(crate) fn new(asked: Moment, lease: Duration) -> Self {
        Self { until: watch::Sender::new(asked + lease) }
    }

    fn extend(&self, asked: Moment, lease: Duration) {
        self.until.send_replace(asked + lease);
    }

    fn holds_at(&self, moment: Moment) -> bool {
        moment < *self.until.borrow()
    }

    /// Whether it holds at this moment.
    pub(crate) fn holds(&self) -> bool {
        self.holds_at(Moment::now())
    }

    /// Returns when the lease holds (again).
    async fn held(&self) {
        let mut until = self.until.subscribe();
        // The sender is this clock's own, so there is no error.
        let _holds = until.wait_for(|until| Moment::now() < *until).await;
    }
}

/// To be asked right before an attempt begins: whether it is still this worker's to begin. A process that stood still for
/// longer than its lease hears only afterwards of what it claimed, and by then it may have been given to another.
pub(crate) async fn confirm(
    shared: &Shared,
    execution: &Claimed,
    cancel: &CancellationToken,
) -> Result<(), Lost> {
    if shared.lease.holds() {
        return Ok(());
    }
    tracing::warn!(execution = execution.id, "the lease had run out before an attempt began");
    loop {
        tokio::select! {
            () = shared.lease.held() => {}
            () = cancel.cancelled() => {}
        }
        match ExecutionRepository::list_held(&shared.pool, shared.id).await {
            Ok(held) => {
                let own = held.iter().any(|one| one.id == execution.id && one.attempt == execution.attempt);
                return if own && !shared.running.is_given_up() { Ok(()) } else { Err(Lost) };
            }
            Err(_) if shared.running.is_given_up() => return Err(Lost),
            Err(error) => {
                tracing::warn!(%error, execution = execution.id, "cannot ask whether an attempt may begin; trying again");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }
}

/// Ends what was taken from this worker while its lease had run out: it may be running elsewhere, or here once more. False when
/// the database could not be asked.
async fn end_what_was_taken(shared: &Shared) -> bool {
    // Read first: what is begun from here on is this worker's.
    let running = shared.running.after(0);
    if running.is_empty() {
        return true;
    }
    let held = match ExecutionRepository::list_held(&shared.pool, shared.id).await {
        Ok(held) => held,
        Err(error) => {
            tracing::warn!(%error, "cannot ask what was taken from this worker; trying again");
            return false;
        }
    };
    let held = held.iter().map(|one| (one.id, one.attempt)).collect();
    for (execution, attempt) in shared.running.cancel_others(&running, &held) {
        tracing::warn!(execution, attempt, "this attempt was taken from this worker; ending it");
    }
    true
}

/// Renews the lease until `stop`.
pub(crate) async fn renew(shared: Arc<Shared>, stop: CancellationToken) {
    let lease = shared.settings.lease;
    // How often it is still asked whether what runs here is still this worker's.
    let mut doubts = 0;
    loop {
        tokio::select! {
            () = tokio::time::sleep(lease / 3) => {}
            () = stop.cancelled() => return,
        }
        let asked = Moment::now();
        match WorkerRepository::renew(&shared.pool, shared.id, &shared.instance, lease).await {
            Ok(true) => {
                if !shared.lease.holds() {
                    // What was assigned may have been rescued before this worker heard of it.
                    shared.offers.doubt();
                    // Twice: a rescue that saw the lease run out may commit after it was renewed.
                    doubts = 2;
                }
                shared.lease.extend(asked, lease);
                if doubts > 0 && end_what_was_taken(&shared).await {
                    doubts -= 1;
                }
            }
            Ok(false) => {
                // Whoever took the name over also rescued what runs here: going on would do it twice.
                tracing::error!(
                    worker = shared.settings.name,
                    "another process took this worker's name over; ending what runs here"
                );
                shared.running.give_up();
            }
            Err(error) => tracing::warn!(%error, "the lease cannot be renewed; trying again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(10);

    #[test]
    fn test_a_lease_holds_from_when_it_was_asked_for() {
        let start = Moment::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let clock = LeaseClock::new(start, LEASE);
        assert_eq!((clock.holds_at(after(9)), clock.holds_at(after(10))), (true, false));
        clock.extend(after(9), LEASE);
        assert_eq!((clock.holds_at(after(18)), clock.holds_at(after(19))), (true, false));
    }

    #[tokio::test]
    async fn test_who_waits_for_the_lease_goes_on_when_it_is_renewed() {
        let clock = Arc::new(LeaseClock::new(Moment::now(), Duration::ZERO));
        let waiting = tokio::spawn({
            let clock = clock.clone();
            async move { clock.held().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        clock.extend(Moment::now(), LEASE);
        waiting.await.unwrap();
    }
}
