//! The events that lead to one firing, when they may be many.

use serde::{Deserialize, Serialize};

use super::{Firing, Seen};

/// Events of one firing that are kept one by one; of more, the first and the latest are.
pub const EVENTS_LIMIT: usize = 1_000;

/// At least one event, in the order of time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Contributors {
    count: u64,
    events: Vec<Seen>,
}

impl Contributors {
    pub(super) fn of(event: Seen) -> Self {
        Self { count: 1, events: vec![event] }
    }

    pub(super) fn first(&self) -> Seen {
        self.events[0]
    }

    pub(super) fn last(&self) -> Seen {
        self.events[self.events.len() - 1]
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// How many are kept one by one.
    pub(super) fn kept(&self) -> usize {
        self.events.len()
    }

    pub(super) fn add(&mut self, event: Seen) {
        let place = self.events.partition_point(|seen| *seen < event);
        self.events.insert(place, event);
        self.count += 1;
        self.shorten();
    }

    pub(super) fn join(&mut self, other: Self) {
        self.events.extend(other.events);
        self.events.sort_unstable();
        self.count += other.count;
        self.shorten();
    }

    pub(super) fn into_firing(self) -> Firing {
        Firing {
            event: self.last(),
            first: self.first().at,
            count: self.count,
            events: self.events.iter().map(|seen| seen.event).collect(),
        }
    }

    fn shorten(&mut self) {
        let excess = self.events.len().saturating_sub(EVENTS_LIMIT);
        self.events.drain(1..=excess);
    }
}
