//! `absent`: fires when what was expected after an event did not come within a span.
//!
//! The first event that is followed by nothing begins a wait; more of its kind join it and do not make it longer. The
//! expected event ends it. An event that is both ends the wait and begins another.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::contributors::Contributors;
use super::{Firing, Input, LATENESS, Meets, RECENT_LIMIT, Seen, Step, WindowOutcome, WindowState};

const AFTER: usize = 0;
const EXPECTED: usize = 1;

/// What `absent` remembers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Absence {
    /// The wait under way after all events whose order is settled.
    wait: Option<Contributors>,
    /// Events whose order is still open. What was expected may be given before what it follows.
    recent: Vec<(Seen, Meets)>,
}

/// What an event does to a wait.
enum Effect {
    /// It is awaited by nobody.
    Nothing,
    /// It ended the wait that this event began.
    Ended(Seen),
    /// It began a wait or joined one.
    Waits,
}

pub(super) fn step(mut absence: Absence, within: TimeDelta, input: Input) -> Step {
    let mut firings = Vec::new();
    let outcome = match input {
        Input::Event(event, meets) => {
            let place = absence.recent.partition_point(|(seen, _)| *seen < event);
            absence.recent.insert(place, (event, meets));
            let outcome = absence.outcome_of(place, within);
            let newest = absence.recent.last().map_or(event.at, |(seen, _)| seen.at);
            let settled = absence.recent.partition_point(|(seen, _)| seen.at < newest - LATENESS);
            let over = absence.recent.len().saturating_sub(RECENT_LIMIT);
            absence.settle(settled.max(over), within, &mut firings);
            // An event of exactly that time may still come, and be the expected one.
            absence.expire(newest - LATENESS - TimeDelta::microseconds(1), within, &mut firings);
            Some(outcome)
        }
        Input::Time(time) => {
            let settled = absence.recent.partition_point(|(seen, _)| seen.at <= time);
            // What was expected is remembered for as long as what it follows may be late.
            let kept: Vec<_> = absence.recent[..settled]
                .iter()
                .filter(|(seen, meets)| meets.has(EXPECTED) && time < seen.at + LATENESS)
                .copied()
                .collect();
            absence.settle(settled, within, &mut firings);
            absence.expire(time, within, &mut firings);
            if absence.wait.is_none() && absence.recent.is_empty() {
                absence.recent = kept.into_iter().map(|(seen, _)| (seen, Meets::of([EXPECTED]))).collect();
            }
            None
        }
    };
    let is_empty = absence.wait.is_none() && absence.recent.is_empty();
    let state = if is_empty { WindowState::Empty } else { WindowState::Absent(absence) };
    Step { state, firings, outcome }
}

impl Absence {
    pub(super) fn wake(&self, within: TimeDelta) -> Option<DateTime<Utc>> {
        let mut wait = self.wait.clone();
        for (seen, meets) in &self.recent {
            if let Some(expired) = take_expired(&mut wait, seen.at, within) {
                return Some(expired.first().at + within);
            }
            apply(&mut wait, *seen, *meets);
        }
        match wait {
            Some(wait) => Some(wait.first().at + within),
            None => self.recent.last().map(|(newest, _)| newest.at + LATENESS),
        }
    }

    /// Takes the first events into the wait.
    fn settle(&mut self, count: usize, within: TimeDelta, firings: &mut Vec<Firing>) {
        for (seen, meets) in self.recent.drain(..count) {
            firings.extend(take_expired(&mut self.wait, seen.at, within).map(Contributors::into_firing));
            apply(&mut self.wait, seen, meets);
        }
    }

    /// Ends a wait for which every event up to `time` came too late.
    fn expire(&mut self, time: DateTime<Utc>, within: TimeDelta, firings: &mut Vec<Firing>) {
        if self.wait.as_ref().is_some_and(|wait| wait.first().at + within <= time) {
            firings.extend(self.wait.take().map(Contributors::into_firing));
        }
    }

    /// What the event at this place of the recent ones does in their order.
    fn outcome_of(&self, place: usize, within: TimeDelta) -> WindowOutcome {
        let mut wait = self.wait.clone();
        let mut effect = Effect::Nothing;
        for (seen, meets) in &self.recent[..=place] {
            take_expired(&mut wait, seen.at, within);
            effect = apply(&mut wait, *seen, *meets);
        }
        match (effect, wait) {
            (Effect::Waits, Some(wait)) => {
                WindowOutcome::Waiting { events: wait.count(), due: wait.first().at + within }
            }
            (Effect::Ended(began), _) => WindowOutcome::Answered { event: began.event },
            (Effect::Nothing | Effect::Waits, _) => WindowOutcome::NotAwaited,
        }
    }
}

/// The wait that nothing up to this event ended. What comes exactly at the end of the span is in time.
fn take_expired(
    wait: &mut Option<Contributors>,
    at: DateTime<Utc>,
    within: TimeDelta,
) -> Option<Contributors> {
    if wait.as_ref().is_some_and(|wait| wait.first().at + within < at) { wait.take() } else { None }
}

fn apply(wait: &mut Option<Contributors>, event: Seen, meets: Meets) -> Effect {
    let mut effect = Effect::Nothing;
    if meets.has(EXPECTED)
        && let Some(ended) = wait.take_if(|wait| wait.first() < event)
    {
        effect = Effect::Ended(ended.first());
    }
    if meets.has(AFTER) {
        match wait {
            Some(wait) => wait.add(event),
            None => *wait = Some(Contributors::of(event)),
        }
        effect = Effect::Waits;
    }
    effect
}
