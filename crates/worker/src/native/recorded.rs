//! What was recorded for tests of packs: answers come from a list, nothing leaves this process, and what would have been sent
//! is kept.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use super::http::{RecordedAnswer, SeenRequest};
pub use super::mail::SeenMessage;
pub use super::ssh::{RecordedRun, SeenCommand};

/// What there is to answer with, and what came. Clones share both.
#[derive(Debug, Clone, Default)]
pub struct Recorded {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) answers: Answers,
    pub(super) seen: Seen,
}

/// What is answered. Of those that fit, the first that is not used up is given.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    /// To requests of `http`.
    pub http: Vec<RecordedAnswer>,
    /// To commands of `ssh`.
    pub ssh: Vec<RecordedRun>,
    /// Whether messages of `mail` are taken.
    pub takes_mail: bool,
}

/// What came so far, in its order.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub requests: Vec<SeenRequest>,
    pub commands: Vec<SeenCommand>,
    /// By the names of the parameters, without what was not given.
    pub messages: Vec<SeenMessage>,
}

impl Recorded {
    pub fn of(answers: Answers) -> Self {
        Self { state: Arc::new(Mutex::new(State { answers, seen: Seen::default() })) }
    }

    pub fn seen(&self) -> Seen {
        self.state().seen.clone()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
