//! What runs here, and how it is ended before its time.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use attune_common::bus::Topic;
use attune_common::pass::{self, Found};
use attune_common::repositories::ExecutionRepository;
use tokio_util::sync::CancellationToken;

use crate::Shared;

/// An execution, and the number of its attempt. Two attempts of one execution may run here for a moment: the former one was
/// taken from this worker while it was cut off, and the next one given to it.
pub(crate) type AttemptId = (i64, i32);

/// The attempts that this process answers for: from their claim until their end is stored. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Running {
    /// None: it is over, and only its end is not stored yet.
    tokens: Arc<Mutex<BTreeMap<AttemptId, Option<CancellationToken>>>>,
    /// Set when everything is to end without a report: the ends belong to rescue then.
    given_up: CancellationToken,
}

impl Running {
    fn tokens(&self) -> MutexGuard<'_, BTreeMap<AttemptId, Option<CancellationToken>>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an attempt; the token is cancelled when it is to end.
    pub(crate) fn begin(&self, attempt: AttemptId) -> CancellationToken {
        let token = self.given_up.child_token();
        self.tokens().insert(attempt, Some(token.clone()));
        token
    }

    /// Notes an attempt that is over before anybody could end it.
    pub(crate) fn note(&self, attempt: AttemptId) {
        self.tokens().insert(attempt, None);
    }

    /// Those of executions whose ids are greater.
    pub(crate) fn after(&self, execution: i64) -> HashSet<AttemptId> {
        self.tokens().range((execution, i32::MAX)..).map(|(attempt, _)| *attempt).collect()
    }

    /// The first of the executions that could be ended; None: there is none.
    fn oldest(&self) -> Option<i64> {
        self.tokens().iter().find(|(_, token)| token.is_some()).map(|(attempt, _)| attempt.0)
    }

    /// Forgets attempts whose ends are stored.
    pub(crate) fn end_all(&self, attempts: &[AttemptId]) {
        let mut tokens = self.tokens();
        for attempt in attempts {
            tokens.remove(attempt);
        }
    }

    /// Forgets an attempt that is not this worker's any more.
    pub(crate) fn end(&self, attempt: AttemptId) {
        self.tokens().remove(&attempt);
    }

    /// Ends the attempts of an execution; one that has none (or none any more) here is passed over.
    fn cancel(&self, execution: i64) {
        for token in self.tokens().range((execution, i32::MIN)..=(execution, i32::MAX)) {
            if let (_, Some(token)) = token {
                token.cancel();
            }
        }
    }

    /// Ends those of the attempts that are not among these, and gives them back.
    pub(crate) fn cancel_others(
        &self,
        attempts: &HashSet<AttemptId>,
        own: &HashSet<AttemptId>,
    ) -> Vec<AttemptId> {
        let tokens = self.tokens();
        let running = |attempt: &AttemptId| tokens.get(attempt)?.as_ref().map(|token| (*attempt, token));
        let others: Vec<_> = attempts.difference(own).filter_map(running).collect();
        others
            .into_iter()
            .map(|(attempt, token)| {
                token.cancel();
                attempt
            })
            .collect()
    }

    /// Ends everything, and what starts afterwards too.
    pub(crate) fn give_up(&self) {
        self.given_up.cancel();
    }

    /// Whether ends are no longer this worker's to report.
    pub(crate) fn is_given_up(&self) -> bool {
        self.given_up.is_cancelled()
    }
}

/// Ends what is to be cancelled, until `stop`.
pub(crate) async fn watch(shared: Arc<Shared>, stop: CancellationToken) {
    let signal = shared.bus.subscribe(Topic::Cancel);
    pass::run("cancellation", signal, Duration::from_secs(2), stop, || {
        let shared = shared.clone();
        async move {
            if let Some(oldest) = shared.running.oldest() {
                for execution in ExecutionRepository::list_canceling(&shared.pool, shared.id, oldest).await? {
                    shared.running.cancel(execution);
                }
            }
            Ok(Found::Nothing)
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_attempts_of_one_execution_are_told_apart() {
        let running = Running::default();
        let (first, second) = (running.begin((7, 1)), running.begin((7, 2)));
        running.end_all(&[(7, 1)]);
        assert_eq!(running.after(6), HashSet::from([(7, 2)]));
        assert_eq!(running.after(7), HashSet::new());
        running.cancel(7);
        assert!(second.is_cancelled() && !first.is_cancelled());
    }

    #[test]
    fn test_the_oldest_is_the_first_that_could_be_ended() {
        let running = Running::default();
        running.note((5, 1));
        assert_eq!(running.oldest(), None);
        for attempt in [(8, 1), (7, 2)] {
            running.begin(attempt);
        }
        assert_eq!(running.oldest(), Some(7));
        running.end((7, 2));
        assert_eq!(running.oldest(), Some(8));
    }

    #[test]
    fn test_a_cancellation_reaches_all_attempts_of_its_execution_and_no_other() {
        let running = Running::default();
        let tokens = [(6, 1), (7, 1), (7, 2), (8, 1)].map(|attempt| running.begin(attempt));
        running.cancel(7);
        assert_eq!(tokens.map(|token| token.is_cancelled()), [false, true, true, false]);
    }

    #[test]
    fn test_to_cancel_what_is_over_ends_nothing_else() {
        let running = Running::default();
        let other = running.begin((8, 1));
        running.note((7, 1));
        running.cancel(7);
        assert!(!running.is_given_up() && !other.is_cancelled());
    }

    #[test]
    fn test_what_is_not_this_workers_any_more_is_ended() {
        let running = Running::default();
        let (former, own) = (running.begin((7, 1)), running.begin((8, 1)));
        running.note((9, 1));
        let known = running.after(0);
        // Begun after it was asked what this worker holds.
        let young = running.begin((7, 2));
        assert_eq!(running.cancel_others(&known, &HashSet::from([(8, 1)])), [(7, 1)]);
        assert_eq!([former, own, young].map(|token| token.is_cancelled()), [true, false, false]);
    }
}
