//! What a window made of an event, as data and in words.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

/// What a window made of an event. `Display` says it in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum WindowOutcome {
    /// The window fires at once.
    Fired {
        /// The event that the decision is about: the latest of those that contributed.
        event: i64,
        /// All events that contributed.
        events: Vec<i64>,
    },
    /// It is held back by `throttle` or `dedup`, and for good.
    Held {
        /// The event that fired before.
        by: i64,
        /// From when on an event fires again.
        until: DateTime<Utc>,
    },
    /// It came so much later than later events that it counts for nothing.
    Late {
        /// The time of the latest of those.
        newest: DateTime<Utc>,
    },
    /// It counts, and more are needed.
    Counted {
        /// How many lie within the span, with this one.
        count: usize,
        /// How many are needed.
        at_least: usize,
    },
    /// It meets a condition of the window, and others are not met yet.
    Progress {
        /// The positions of the conditions that are met within the span.
        met: Vec<usize>,
        /// How many conditions there are.
        of: usize,
    },
    /// The window will fire at `due`, unless an event makes a difference before.
    Waiting {
        /// How many events have contributed so far.
        events: u64,
        /// When it will fire.
        due: DateTime<Utc>,
    },
    /// It is what was expected, and came in time.
    Answered {
        /// The event after which it was expected.
        event: i64,
    },
    /// It is what is expected after another event, of which there was none.
    NotAwaited,
}

impl WindowOutcome {
    /// Whether the event led to a firing at once.
    pub fn is_fired(&self) -> bool {
        matches!(self, Self::Fired { .. })
    }
}

impl fmt::Display for WindowOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fired { event, events } if events.as_slice() == [*event] => f.write_str("fired"),
            Self::Fired { events, .. } => {
                let shown: Vec<_> = events.iter().map(i64::to_string).collect();
                write!(f, "fired, with the events {}", shown.join(", "))
            }
            Self::Held { by, until } => {
                write!(f, "held: event {by} fired, and the window is quiet until {}", Time(until))
            }
            Self::Late { newest } => {
                write!(f, "too late to count: an event of {} was taken before", Time(newest))
            }
            Self::Counted { count, at_least } => write!(f, "counted: {count} of {at_least}"),
            Self::Progress { met, of } => write!(f, "met: {} of {of} conditions", met.len()),
            Self::Waiting { events: 1, due } => write!(f, "waiting: fires at {}", Time(due)),
            Self::Waiting { events, due } => {
                write!(f, "waiting with {events} events: fires at {}", Time(due))
            }
            Self::Answered { event } => write!(f, "in time: what was expected after event {event}"),
            Self::NotAwaited => f.write_str("nothing waits for it"),
        }
    }
}

struct Time<'a>(&'a DateTime<Utc>);

impl fmt::Display for Time<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }
}
