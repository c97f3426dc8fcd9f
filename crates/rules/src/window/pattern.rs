//! `all_of` and `sequence`: several conditions within a span. After a firing everything begins anew.
//!
//! What the events of long ago come to is kept as progress: for `all_of` the latest event of each condition, for `sequence`
//! the chain that began latest for each number of steps. A newer one is always at least as good, so that no more is
//! needed. Events whose order is still open are kept beside it and looked at in their order.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::{Firing, Input, LATENESS, Meets, RECENT_LIMIT, Seen, Step, WindowOutcome, WindowState};

/// What `all_of` and `sequence` remember.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Pattern {
    /// For each condition what was found for it: one event, or for a sequence the chain that ends there.
    settled: Vec<Vec<Seen>>,
    recent: Vec<(Seen, Meets)>,
}

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    conditions: usize,
    within: TimeDelta,
    is_ordered: bool,
}

pub(super) fn step(state: WindowState, shape: Shape, input: Input) -> Step {
    let mut pattern = match state {
        // Conditions may have come or gone.
        WindowState::Pattern(pattern) if pattern.settled.len() == shape.conditions => pattern,
        _ => Pattern { settled: vec![Vec::new(); shape.conditions], recent: Vec::new() },
    };
    let (event, meets) = match input {
        Input::Event(event, meets) => (event, meets),
        Input::Time(time) => {
            let kept = pattern.wake(shape.within).is_some_and(|wake| time < wake);
            let state = if kept { WindowState::Pattern(pattern) } else { WindowState::Empty };
            return Step { state, firings: Vec::new(), outcome: None };
        }
    };
    let place = pattern.recent.partition_point(|(seen, _)| *seen < event);
    pattern.recent.insert(place, (event, meets));
    let mut found = pattern.settled.clone();
    for (seen, meets) in &pattern.recent {
        if let Some(events) = shape.apply(&mut found, *seen, *meets)
            && let Some(firing) = Firing::of(&events)
        {
            return Step::fired(WindowState::Empty, firing);
        }
    }
    let met = shape.progress(&found);
    pattern.settle(shape);
    let outcome = WindowOutcome::Progress { met, of: shape.conditions };
    Step { state: WindowState::Pattern(pattern), firings: Vec::new(), outcome: Some(outcome) }
}

impl Pattern {
    pub(super) fn wake(&self, within: TimeDelta) -> Option<DateTime<Utc>> {
        let settled = self.settled.iter().filter_map(|events| events.last());
        let recent = self.recent.last().map(|(seen, _)| seen);
        settled.chain(recent).max().map(|newest| newest.at + within + LATENESS)
    }

    /// Makes progress of the events whose order is no longer open, and forgets what is of no more use.
    fn settle(&mut self, shape: Shape) {
        let Some(newest) = self.recent.last().map(|(seen, _)| seen.at) else { return };
        let in_order = self.recent.partition_point(|(seen, _)| seen.at < newest - LATENESS);
        let over = self.recent.len().saturating_sub(RECENT_LIMIT);
        for (seen, meets) in self.recent.drain(..in_order.max(over)) {
            // What would complete the pattern has done so already.
            shape.apply(&mut self.settled, seen, meets);
        }
        for events in &mut self.settled {
            if events.first().is_some_and(|first| first.at < newest - shape.within - LATENESS) {
                events.clear();
            }
        }
    }
}

impl Shape {
    pub(super) fn any_order(conditions: usize, within: TimeDelta) -> Self {
        Self { conditions, within, is_ordered: false }
    }

    pub(super) fn in_order(conditions: usize, within: TimeDelta) -> Self {
        Self { conditions, within, is_ordered: true }
    }

    /// Takes an event into account; the events of a pattern that is complete now, in the order of time.
    fn apply(self, found: &mut [Vec<Seen>], event: Seen, meets: Meets) -> Option<Vec<Seen>> {
        if self.is_ordered {
            self.extend_chains(found, event, meets)
        } else {
            self.collect(found, event, meets)
        }
    }

    fn collect(self, found: &mut [Vec<Seen>], event: Seen, meets: Meets) -> Option<Vec<Seen>> {
        for (position, latest) in found.iter_mut().enumerate() {
            if meets.has(position) && latest.first().is_none_or(|known| *known < event) {
                *latest = vec![event];
            }
        }
        if found.iter().any(Vec::is_empty) {
            return None;
        }
        let mut events: Vec<Seen> = found.iter().flatten().copied().collect();
        events.sort_unstable();
        // One event may meet several conditions.
        events.dedup();
        let is_near =
            events.first().zip(events.last()).is_some_and(|(first, last)| last.at - first.at <= self.within);
        is_near.then_some(events)
    }

    fn extend_chains(self, found: &mut [Vec<Seen>], event: Seen, meets: Meets) -> Option<Vec<Seen>> {
        // From the last step to the first, so that one event takes one step.
        for position in (0..self.conditions).rev().filter(|position| meets.has(*position)) {
            let mut chain = match position.checked_sub(1) {
                None => Vec::new(),
                Some(before) => found[before].clone(),
            };
            if chain.len() != position {
                continue;
            }
            let continues = chain.last().is_none_or(|last| *last < event)
                && chain.first().is_none_or(|first| event.at - first.at <= self.within);
            if !continues {
                continue;
            }
            chain.push(event);
            if chain.len() == self.conditions {
                return Some(chain);
            }
            let known = &mut found[position];
            if known.first().is_none_or(|began| *began <= chain[0]) {
                *known = chain;
            }
        }
        None
    }

    /// The conditions that count as met, by position: those whose events are near enough to the newest.
    fn progress(self, found: &[Vec<Seen>]) -> Vec<usize> {
        let Some(newest) = found.iter().filter_map(|events| events.last()).max() else { return Vec::new() };
        let is_near =
            |events: &Vec<Seen>| events.first().is_some_and(|first| newest.at - first.at <= self.within);
        if self.is_ordered {
            let longest = found.iter().rposition(is_near).map_or(0, |position| position + 1);
            return (0..longest).collect();
        }
        (0..self.conditions).filter(|position| is_near(&found[*position])).collect()
    }
}
