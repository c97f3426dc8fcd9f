//! `count`: fires when so many events lie within a span of each other. Counting then begins anew: an event counts for one
//! firing.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::{Firing, Input, LATENESS, Seen, Step, WindowOutcome, WindowState};

/// What `count` remembers: events in the order of time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Counting {
    events: Vec<Seen>,
}

pub(super) fn step(mut counting: Counting, at_least: usize, within: TimeDelta, input: Input) -> Step {
    let event = match input {
        Input::Event(event, _) => event,
        Input::Time(time) => {
            let kept = counting.wake(within).is_some_and(|wake| time < wake);
            let state = if kept { WindowState::Count(counting) } else { WindowState::Empty };
            return Step { state, firings: Vec::new(), outcome: None };
        }
    };
    let oldest_of_use = |newest: &Seen| newest.at - within - LATENESS;
    if let Some(newest) = counting.events.last().filter(|newest| event.at < oldest_of_use(newest)) {
        let outcome = WindowOutcome::Late { newest: newest.at };
        return Step { state: WindowState::Count(counting), firings: Vec::new(), outcome: Some(outcome) };
    }
    let place = counting.events.partition_point(|seen| *seen < event);
    counting.events.insert(place, event);
    if let Some(firing) = run_with(&counting.events, place, at_least, within).and_then(Firing::of) {
        return Step::fired(WindowState::Empty, firing);
    }
    let count = most_with(&counting.events, place, within);
    if let Some(oldest) = counting.events.last().map(oldest_of_use) {
        counting.events.retain(|seen| seen.at >= oldest);
    }
    // In order, fewer than `at_least` are ever within the span: the others are kept for events that are late.
    let excess = counting.events.len().saturating_sub(at_least * 4);
    counting.events.drain(..excess);
    let outcome = WindowOutcome::Counted { count, at_least };
    Step { state: WindowState::Count(counting), firings: Vec::new(), outcome: Some(outcome) }
}

impl Counting {
    pub(super) fn wake(&self, within: TimeDelta) -> Option<DateTime<Utc>> {
        self.events.last().map(|newest| newest.at + within + LATENESS)
    }
}

/// The earliest events, one after another, that are enough and near enough, with the one at `place`.
fn run_with(events: &[Seen], place: usize, at_least: usize, within: TimeDelta) -> Option<&[Seen]> {
    let first = (place + 1).saturating_sub(at_least);
    events[first..].windows(at_least).take(place + 1 - first).find(|run| spread(run) <= within)
}

/// How many events at most lie within the span, with the one at `place`.
fn most_with(events: &[Seen], place: usize, within: TimeDelta) -> usize {
    let begins = (0..=place).filter(|begin| events[place].at - events[*begin].at <= within);
    let counts =
        begins.map(|begin| events[begin..].partition_point(|seen| seen.at - events[begin].at <= within));
    counts.max().unwrap_or(1)
}

fn spread(run: &[Seen]) -> TimeDelta {
    match (run.first(), run.last()) {
        (Some(first), Some(last)) => last.at - first.at,
        _ => TimeDelta::zero(),
    }
}
