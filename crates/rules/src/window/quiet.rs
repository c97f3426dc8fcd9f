//! `throttle` and `dedup`: an event fires at once, and others are held for a while.
//!
//! They differ in where the while begins. `throttle` measures it from the event that fired last, so that two firings are
//! never less than the span apart. `dedup` divides time into periods on the clock (UTC, from the beginning of 1970): a
//! key fires once in each, so that what comes once a day fires once a day, be it a minute earlier than the day before.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::{Firing, Input, LATENESS, Seen, Step, WindowOutcome, WindowState};

/// What `throttle` remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quiet {
    fired: Seen,
}

/// What `dedup` remembers: the periods in which it fired, as far back as an event may be late.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Periods {
    /// Which event fired in each, in the order of time.
    fired: Vec<Seen>,
}

pub(super) fn throttle(quiet: Option<Quiet>, span: TimeDelta, input: Input) -> Step {
    let state = |quiet: Option<Quiet>| quiet.map_or(WindowState::Empty, WindowState::Throttle);
    match (input, quiet) {
        // An event that is late is held as well, so that the state need not know every firing of the past.
        (Input::Event(event, _), Some(quiet)) if event.at < quiet.fired.at + span => {
            let outcome = WindowOutcome::Held { by: quiet.fired.event, until: quiet.fired.at + span };
            Step { state: state(Some(quiet)), firings: Vec::new(), outcome: Some(outcome) }
        }
        (Input::Event(event, _), _) => Step::fired(state(Some(Quiet { fired: event })), Firing::alone(event)),
        (Input::Time(time), quiet) => {
            let kept = quiet.filter(|quiet| time < quiet.wake(span));
            Step { state: state(kept), firings: Vec::new(), outcome: None }
        }
    }
}

pub(super) fn dedup(mut periods: Periods, period: TimeDelta, input: Input) -> Step {
    let state = |periods: Periods| {
        if periods.fired.is_empty() { WindowState::Empty } else { WindowState::Dedup(periods) }
    };
    match input {
        Input::Event(event, _) => {
            let end = end_of_period(event.at, period);
            let held = periods.fired.iter().find(|fired| end_of_period(fired.at, period) == end);
            if let Some(by) = held.map(|fired| fired.event) {
                let outcome = WindowOutcome::Held { by, until: end };
                return Step { state: state(periods), firings: Vec::new(), outcome: Some(outcome) };
            }
            if let Some(newest) = periods.fired.last().filter(|newest| end + LATENESS <= newest.at) {
                let outcome = WindowOutcome::Late { newest: newest.at };
                return Step { state: state(periods), firings: Vec::new(), outcome: Some(outcome) };
            }
            let place = periods.fired.partition_point(|fired| *fired < event);
            periods.fired.insert(place, event);
            if let Some(newest) = periods.fired.last().map(|newest| newest.at) {
                periods.fired.retain(|fired| end_of_period(fired.at, period) + LATENESS > newest);
            }
            Step::fired(state(periods), Firing::alone(event))
        }
        Input::Time(time) => {
            periods.fired.retain(|fired| end_of_period(fired.at, period) + LATENESS > time);
            Step { state: state(periods), firings: Vec::new(), outcome: None }
        }
    }
}

impl Quiet {
    pub(super) fn wake(self, span: TimeDelta) -> DateTime<Utc> {
        self.fired.at + span + LATENESS
    }
}

impl Periods {
    pub(super) fn wake(&self, period: TimeDelta) -> Option<DateTime<Utc>> {
        self.fired.last().map(|newest| end_of_period(newest.at, period) + LATENESS)
    }
}

fn end_of_period(at: DateTime<Utc>, period: TimeDelta) -> DateTime<Utc> {
    let length = period.num_microseconds().unwrap_or(i64::MAX).max(1);
    let into = at.timestamp_micros().rem_euclid(length);
    at + TimeDelta::microseconds(length - into)
}
