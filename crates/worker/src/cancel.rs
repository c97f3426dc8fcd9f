//! What runs here, and how it is ended before its time.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use attune_common::bus::Topic;
use attune_common::pass::{self, Found};
use attune_common::repositories::ExecutionRepository;
use tokio_util::sync::CancellationToken;

use crate::Shared;

/// The executions that this process answers for: from their claim until their end is stored. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Running {
    tokens: Arc<Mutex<HashMap<i64, CancellationToken>>>,
    /// Set when everything is to end without a report: the ends belong to rescue then.
    given_up: CancellationToken,
}

impl Running {
    fn tokens(&self) -> MutexGuard<'_, HashMap<i64, CancellationToken>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an execution; the token is cancelled when it is to end.
    pub(crate) fn begin(&self, execution: i64) -> CancellationToken {
        let token = self.given_up.child_token();
        self.tokens().insert(execution, token.clone());
        token
    }

    /// Notes an execution that is over before anybody could end it.
    pub(crate) fn note(&self, execution: i64) {
        self.tokens().insert(execution, self.given_up.clone());
    }

    /// Those whose ids are greater.
    pub(crate) fn ids_after(&self, id: i64) -> HashSet<i64> {
        self.tokens().keys().copied().filter(|known| *known > id).collect()
    }

    /// Forgets executions whose ends are stored.
    pub(crate) fn end_all(&self, executions: &[i64]) {
        let mut tokens = self.tokens();
        for execution in executions {
            tokens.remove(execution);
        }
    }

    /// Forgets an execution that is not this worker's any more.
    pub(crate) fn end(&self, execution: i64) {
        self.tokens().remove(&execution);
    }

    /// Ends an execution; one that is not (or no longer) here is passed over.
    fn cancel(&self, execution: i64) {
        if let Some(token) = self.tokens().get(&execution) {
            token.cancel();
        }
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
            if !shared.running.tokens().is_empty() {
                for execution in ExecutionRepository::list_canceling(&shared.pool, shared.id).await? {
                    shared.running.cancel(execution);
                }
            }
            Ok(Found::Nothing)
        }
    })
    .await;
}
