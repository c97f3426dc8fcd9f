//! `debounce`: fires once it has been quiet for a span, with the last event.
//!
//! Events less than the span apart are one burst. Several bursts may be open, since what is late may join two of them,
//! and since time may be given later than events.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::contributors::{Contributors, EVENTS_LIMIT};
use super::{Firing, Input, LATENESS, Step, WindowOutcome, WindowState};

/// Events in all open bursts that are kept at most; the oldest burst of more fires.
const OPEN_EVENTS_LIMIT: usize = 4 * EVENTS_LIMIT;

/// What `debounce` remembers: bursts in the order of time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bursts {
    open: Vec<Contributors>,
}

pub(super) fn step(mut bursts: Bursts, span: TimeDelta, input: Input) -> Step {
    let (until, outcome) = match input {
        Input::Time(time) => (time, None),
        Input::Event(event, _) => {
            let (near, mut open): (Vec<_>, Vec<_>) = bursts
                .open
                .into_iter()
                .partition(|burst| event.at < burst.last().at + span && burst.first().at < event.at + span);
            let mut burst = Contributors::of(event);
            near.into_iter().for_each(|other| burst.join(other));
            let (events, due) = (burst.count(), burst.last().at + span);
            let place = open.partition_point(|other| other.first() < burst.first());
            open.insert(place, burst);
            bursts = Bursts { open };
            let newest = bursts.open.last().map_or(event.at, |burst| burst.last().at);
            (newest - LATENESS, Some(WindowOutcome::Waiting { events, due }))
        }
    };
    let over = excess(&bursts.open);
    let due = bursts.open.iter().take_while(|burst| burst.last().at + span <= until).count();
    let firings: Vec<Firing> = bursts.open.drain(..due.max(over)).map(Contributors::into_firing).collect();
    let state = if bursts.open.is_empty() { WindowState::Empty } else { WindowState::Debounce(bursts) };
    Step { state, firings, outcome }
}

/// How many of the oldest bursts are too much to be kept open beside the latest.
fn excess(open: &[Contributors]) -> usize {
    let mut kept = 0;
    let fitting = open.iter().rev().take_while(|burst| {
        kept += burst.kept();
        kept <= OPEN_EVENTS_LIMIT
    });
    open.len() - fitting.count()
}

impl Bursts {
    pub(super) fn wake(&self, span: TimeDelta) -> Option<DateTime<Utc>> {
        self.open.first().map(|burst| burst.last().at + span)
    }
}
