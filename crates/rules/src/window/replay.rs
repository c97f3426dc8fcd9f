//! A window over events that are given in the order of time, with simulated timers: what a back-test and a trial of a rule
//! use in place of stored states and the executor's timers.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};

use super::{Firing, Input, Meets, Seen, WindowKind, WindowOutcome, WindowState, step};

/// The states of all keys of one window in memory.
///
/// ```
/// use attune_rules::window::{Meets, Replay, Seen, Window};
/// use serde_json::json;
///
/// let window = Window::parse(&json!({"debounce": "5m"})).expect("a good window");
/// let at = |seconds| chrono::DateTime::from_timestamp(seconds, 0).expect("a time");
/// let mut replay = Replay::new(&window.kind);
/// replay.event("web-01", Seen::new(1, at(0)), Meets::default());
/// replay.event("web-01", Seen::new(2, at(60)), Meets::default());
/// let fired = replay.advance(at(3_600));
/// assert_eq!(fired[0].firing.events, [1, 2]);
/// assert_eq!(fired[0].at, at(360));
/// ```
#[derive(Debug, Clone)]
pub struct Replay<'w> {
    window: &'w WindowKind,
    states: BTreeMap<String, WindowState>,
    wakes: BTreeSet<(DateTime<Utc>, String)>,
}

/// A firing in a replay.
#[derive(Debug, Clone, PartialEq)]
pub struct Replayed {
    /// The key that fired.
    pub key: String,
    /// When it fires: the time of an event, or that of a timer.
    pub at: DateTime<Utc>,
    /// What fires.
    pub firing: Firing,
}

impl<'w> Replay<'w> {
    /// Without any events yet.
    pub fn new(window: &'w WindowKind) -> Self {
        Self { window, states: BTreeMap::new(), wakes: BTreeSet::new() }
    }

    /// Gives the next event of a key: what fires before it and with it, and what became of it. Events come in the order
    /// of their times, over all keys.
    pub fn event(&mut self, key: &str, event: Seen, meets: Meets) -> (Vec<Replayed>, Option<WindowOutcome>) {
        // An event of the very time of a timer still belongs to it.
        let mut fired = self.advance(event.at - TimeDelta::microseconds(1));
        let outcome = self.step(key, Input::Event(event, meets), event.at, &mut fired);
        (fired, outcome)
    }

    /// Lets time pass: everything that fires by a timer up to `until`, in the order of time.
    pub fn advance(&mut self, until: DateTime<Utc>) -> Vec<Replayed> {
        let mut fired = Vec::new();
        while let Some((wake, key)) = self.wakes.first().filter(|(wake, _)| *wake <= until).cloned() {
            self.step(&key, Input::Time(wake), wake, &mut fired);
        }
        fired
    }

    /// When something fires, or a key is forgotten, if no event comes.
    pub fn next_wake(&self) -> Option<DateTime<Utc>> {
        self.wakes.first().map(|(wake, _)| *wake)
    }

    /// How many keys are remembered.
    pub fn keys(&self) -> usize {
        self.states.len()
    }

    fn step(
        &mut self,
        key: &str,
        input: Input,
        at: DateTime<Utc>,
        fired: &mut Vec<Replayed>,
    ) -> Option<WindowOutcome> {
        let before = self.states.remove(key).unwrap_or_default();
        if let Some(wake) = before.wake(self.window) {
            self.wakes.remove(&(wake, key.to_owned()));
        }
        let after = step(self.window, before, input);
        fired.extend(after.firings.into_iter().map(|firing| Replayed { key: key.to_owned(), at, firing }));
        if let Some(wake) = after.state.wake(self.window) {
            self.wakes.insert((wake, key.to_owned()));
            self.states.insert(key.to_owned(), after.state);
        }
        after.outcome
    }
}
