//! Windows: rules that look at more than one event.
//!
//! A window stands between the conditions of a rule and its decision. [`Window`] is what an author wrote,
//! [`CompiledWindow`] what reads the key of an event and the conditions that the window itself has, and [`step`] the
//! arithmetic: `(definition, state, input) -> (state, firings)`, the same for the executor and for a back-test. There is a
//! state for each key; it is plain data.
//!
//! *Time* is the time at which an event was recorded; nothing here reads a clock. What fires after a time without an
//! event (`debounce`, `absent`) says by [`WindowState::wake`] when it wants to be given [`Input::Time`], and whoever
//! gives it promises that every event up to that time was given before. A state that is of no more use asks to be woken
//! as well, and is then [`WindowState::Empty`].
//!
//! *Order.* Events of one key may be given out of the order of their times. What the order changes, up to [`LATENESS`]:
//!
//! | window | |
//! |---|---|
//! | `throttle` | which event fires; two firings are never less than the span apart |
//! | `dedup` | which event of a period fires; each period fires once |
//! | `count` | events that lie within the span of each other fire as often in any order |
//! | `all_of`, `sequence` | whether they fire does not change; after a firing everything begins anew |
//! | `debounce`, `absent` | nothing |
//!
//! Later than that, an event is taken as if it had come in its order as far as the state still knows, and never in silence:
//! [`WindowOutcome`] says what became of it.
//!
//! *Size.* A state holds at most [`EVENTS_LIMIT`] events of a burst, four times the events that a count needs, or
//! [`RECENT_LIMIT`] events whose order still matters.

mod absent;
mod compiled;
mod contributors;
mod count;
mod debounce;
mod definition;
mod outcome;
mod pattern;
mod quiet;
mod replay;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

pub use compiled::CompiledWindow;
pub use contributors::EVENTS_LIMIT;
pub use definition::{Span, Window, WindowKind};
pub use outcome::WindowOutcome;
pub use replay::{Replay, Replayed};

use absent::Absence;
use count::Counting;
use debounce::Bursts;
use pattern::Pattern;
use quiet::{Periods, Quiet};

/// How much later than a later event of its key an event may be given without a difference.
pub const LATENESS: TimeDelta = TimeDelta::minutes(1);

/// Events of one key whose order is kept open at most; of more, the oldest are taken to be in order.
pub const RECENT_LIMIT: usize = 256;

/// An event as a window sees it. Events of the same time are ordered by their ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "(i64, i64)", into = "(i64, i64)")]
pub struct Seen {
    /// When it was recorded, to the microsecond.
    pub at: DateTime<Utc>,
    /// Its id.
    pub event: i64,
}

/// Which of the window's own conditions an event meets, by their positions; for `absent`, 0 is `after` and 1 `expected`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Meets(u32);

/// What a window is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// An event that meets the conditions of the rule, and of the window at least one if it has any.
    Event(Seen, Meets),
    /// It is this time, and every event up to it was given.
    Time(DateTime<Utc>),
}

/// The outcome of a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The state afterwards.
    pub state: WindowState,
    /// What fires, in the order of time.
    pub firings: Vec<Firing>,
    /// What became of the event; None for [`Input::Time`].
    pub outcome: Option<WindowOutcome>,
}

/// A window that fires: one decision of the rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firing {
    /// The event that the decision is about: the latest of those that contributed.
    pub event: Seen,
    /// The time of the first event that contributed.
    pub first: DateTime<Utc>,
    /// How many events contributed.
    pub count: u64,
    /// Their ids in the order of time; of more than [`EVENTS_LIMIT`], the first and the latest.
    pub events: Vec<i64>,
}

/// What a window remembers of one key.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowState {
    /// Nothing; such a state need not be kept.
    #[default]
    Empty,
    /// Of `throttle`.
    Throttle(Quiet),
    /// Of `dedup`.
    Dedup(Periods),
    /// Of `debounce`.
    Debounce(Bursts),
    /// Of `count`.
    Count(Counting),
    /// Of `all_of` and `sequence`.
    Pattern(Pattern),
    /// Of `absent`.
    Absent(Absence),
}

/// Takes one step. A state of another kind of window counts as none.
///
/// ```
/// use attune_rules::window::{Input, Meets, Seen, Window, WindowState, step};
/// use serde_json::json;
///
/// let window = Window::parse(&json!({"count": {"at_least": 2, "within": "10m"}})).expect("a good window");
/// let at = |seconds| chrono::DateTime::from_timestamp(seconds, 0).expect("a time");
/// let given = |event, seconds| Input::Event(Seen::new(event, at(seconds)), Meets::default());
/// let first = step(&window.kind, WindowState::Empty, given(1, 0));
/// assert!(first.firings.is_empty());
/// let second = step(&window.kind, first.state, given(2, 599));
/// assert_eq!(second.firings[0].events, [1, 2]);
/// assert_eq!(second.state, WindowState::Empty);
/// ```
pub fn step(window: &WindowKind, state: WindowState, input: Input) -> Step {
    match window {
        WindowKind::Throttle(span) => {
            let quiet = if let WindowState::Throttle(quiet) = state { Some(quiet) } else { None };
            quiet::throttle(quiet, span.length(), input)
        }
        WindowKind::Dedup(period) => {
            let periods = if let WindowState::Dedup(periods) = state { periods } else { Periods::default() };
            quiet::dedup(periods, period.length(), input)
        }
        WindowKind::Debounce(span) => {
            let bursts = if let WindowState::Debounce(bursts) = state { bursts } else { Bursts::default() };
            debounce::step(bursts, span.length(), input)
        }
        WindowKind::Count { at_least, within } => {
            let counting =
                if let WindowState::Count(counting) = state { counting } else { Counting::default() };
            count::step(counting, *at_least, within.length(), input)
        }
        WindowKind::AllOf { conditions, within } => {
            pattern::step(state, pattern::Shape::any_order(conditions.len(), within.length()), input)
        }
        WindowKind::Sequence { conditions, within } => {
            pattern::step(state, pattern::Shape::in_order(conditions.len(), within.length()), input)
        }
        WindowKind::Absent { within, .. } => {
            let absence = if let WindowState::Absent(absence) = state { absence } else { Absence::default() };
            absent::step(absence, within.length(), input)
        }
    }
}

impl WindowState {
    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    /// When it wants to be given [`Input::Time`]: to fire, or to be forgotten. None only for the empty state and for one
    /// of another kind of window.
    pub fn wake(&self, window: &WindowKind) -> Option<DateTime<Utc>> {
        match (window, self) {
            (WindowKind::Throttle(span), Self::Throttle(quiet)) => Some(quiet.wake(span.length())),
            (WindowKind::Dedup(period), Self::Dedup(periods)) => periods.wake(period.length()),
            (WindowKind::Debounce(span), Self::Debounce(bursts)) => bursts.wake(span.length()),
            (WindowKind::Count { within, .. }, Self::Count(counting)) => counting.wake(within.length()),
            (
                WindowKind::AllOf { within, .. } | WindowKind::Sequence { within, .. },
                Self::Pattern(pattern),
            ) => pattern.wake(within.length()),
            (WindowKind::Absent { within, .. }, Self::Absent(absence)) => absence.wake(within.length()),
            (_, Self::Empty) => None,
            (
                WindowKind::Throttle(_)
                | WindowKind::Dedup(_)
                | WindowKind::Debounce(_)
                | WindowKind::Count { .. }
                | WindowKind::AllOf { .. }
                | WindowKind::Sequence { .. }
                | WindowKind::Absent { .. },
                _,
            ) => None,
        }
    }
}

impl Seen {
    /// An event of this id that was recorded at this time.
    pub fn new(event: i64, at: DateTime<Utc>) -> Self {
        Self::from((event, at.timestamp_micros()))
    }
}

impl From<(i64, i64)> for Seen {
    fn from((event, microseconds): (i64, i64)) -> Self {
        let at = DateTime::from_timestamp_micros(microseconds).unwrap_or(DateTime::<Utc>::MAX_UTC);
        Self { at, event }
    }
}

impl From<Seen> for (i64, i64) {
    fn from(seen: Seen) -> Self {
        (seen.event, seen.at.timestamp_micros())
    }
}

impl Meets {
    /// The conditions at these positions.
    pub fn of(positions: impl IntoIterator<Item = usize>) -> Self {
        Self(positions.into_iter().fold(0, |meets, position| meets | (1 << position)))
    }

    /// Whether the condition at this position is met.
    pub fn has(self, position: usize) -> bool {
        self.0 & (1 << position) != 0
    }

    /// Whether none is met.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl Step {
    /// An event that fires at once.
    fn fired(state: WindowState, firing: Firing) -> Self {
        let outcome = WindowOutcome::Fired { event: firing.event.event, events: firing.events.clone() };
        Self { state, firings: vec![firing], outcome: Some(outcome) }
    }
}

impl Firing {
    fn alone(event: Seen) -> Self {
        Self { event, first: event.at, count: 1, events: vec![event.event] }
    }

    /// Of events in the order of time; None without any.
    fn of(events: &[Seen]) -> Option<Self> {
        let (first, last) = (events.first()?, events.last()?);
        Some(Self {
            event: *last,
            first: first.at,
            count: events.len() as u64,
            events: events.iter().map(|seen| seen.event).collect(),
        })
    }
}
