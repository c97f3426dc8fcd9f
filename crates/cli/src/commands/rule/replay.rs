//! The window of a rule over the events of a test.

use attune_expr::scope::Scope;
use attune_rules::CompiledWindow;
use attune_rules::window::{Replay, Replayed, Seen, WindowOutcome};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde_json::Value;

use super::event_file::RecordedEvent;

/// What the window made of one event. Events are called by their numbers in the order in which they were given, from 1.
#[derive(Debug, Default, Serialize)]
pub(super) struct WindowTrial {
    /// None for a window without keys.
    pub(super) key: Option<String>,
    /// None where the event could not be given to the window.
    #[serde(flatten)]
    pub(super) outcome: Option<WindowOutcome>,
    /// When the window fires with this event as the subject of the decision.
    pub(super) fires_at: Option<DateTime<Utc>>,
    /// The events that contribute to that.
    pub(super) with: Option<Vec<String>>,
    /// Why it could not be given to the window.
    pub(super) error: Option<String>,
    /// `window` to the parameters.
    #[serde(skip)]
    pub(super) view: Option<Value>,
}

/// Gives the events to the window in the order of their times; of the same time, in the order in which they stand. After
/// the last one as much time passes as the window needs.
pub(super) fn replay<'e>(
    window: &CompiledWindow,
    rule: &Value,
    names: &[String],
    events: impl Iterator<Item = Option<&'e RecordedEvent>>,
    now: DateTime<Utc>,
) -> Vec<Option<WindowTrial>> {
    let mut trials = Vec::new();
    let mut given = Vec::new();
    for (number, event) in (1..).zip(events) {
        trials.push(event.map(|event| {
            let scope = Scope::new()
                .with("event", &event.seen.event)
                .with("trigger", &event.seen.trigger)
                .with("rule", rule);
            let created =
                event.seen.event["created"].as_str().and_then(|text| text.parse().ok()).unwrap_or(now);
            match (window.key(&scope), window.meets(&scope, now)) {
                (Ok(key), Ok(meets)) => {
                    given.push((Seen::new(number, created), key.clone(), meets));
                    let key = window.definition().key.is_some().then_some(key);
                    WindowTrial { key, ..WindowTrial::default() }
                }
                (Err(error), _) => WindowTrial { error: Some(error), ..WindowTrial::default() },
                (_, Err(tests)) => {
                    let reasons: Vec<_> =
                        tests.iter().map(|test| format!("{}: {}", test.pointer, test.reason)).collect();
                    WindowTrial { error: Some(reasons.join("; ")), ..WindowTrial::default() }
                }
            }
        }));
    }
    given.sort_by_key(|(seen, ..)| *seen);
    let mut replay = Replay::new(window.kind());
    let mut fired = Vec::new();
    for (seen, key, meets) in given {
        let (firings, outcome) = replay.event(&key, seen, meets);
        fired.extend(firings);
        if let Some(trial) = trial_of(&mut trials, seen.event) {
            trial.outcome = outcome;
        }
    }
    while let Some(wake) = replay.next_wake() {
        fired.extend(replay.advance(wake + TimeDelta::microseconds(1)));
    }
    for Replayed { key, at, firing } in fired {
        let name = |event: &i64| {
            let name = usize::try_from(*event - 1).ok().and_then(|place| names.get(place));
            name.map_or_else(|| event.to_string(), Clone::clone)
        };
        if let Some(trial) = trial_of(&mut trials, firing.event.event) {
            trial.fires_at = Some(at);
            trial.with = Some(firing.events.iter().map(name).collect());
            trial.view = Some(window.view(&key, &firing));
        }
    }
    trials
}

impl WindowTrial {
    /// In words.
    pub(super) fn told(&self) -> String {
        match (&self.outcome, &self.error) {
            (_, Some(error)) => error.clone(),
            (Some(outcome), None) => outcome.to_string(),
            (None, None) => "-".to_owned(),
        }
    }
}

fn trial_of(trials: &mut [Option<WindowTrial>], event: i64) -> Option<&mut WindowTrial> {
    let place = usize::try_from(event - 1).ok()?;
    trials.get_mut(place)?.as_mut()
}
