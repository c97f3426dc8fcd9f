//! One rule of a back-test: from verdicts to decisions, through its window if it has one.
//!
//! Windows want events in the order of their times, which is that of their ids but for what was recorded at the same
//! moment. So an event waits until the time is past up to which an earlier one might come.

use std::collections::{BTreeMap, HashMap};

use attune_expr::projection::Projection;
use attune_expr::scope::Scope;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::reader::{Kept, Reader, touched, touches_config};
use super::{ConditionCounts, ConfigMask, Counts, Recorded, Subject, Unreadable};
use crate::verdict::Verdict;
use crate::window::{CompiledWindow, LATENESS, Meets, Replay, Replayed, Seen, WindowKind, WindowOutcome};

/// Events that wait for earlier ones at most; of more, the earliest goes on.
const WAITING: usize = 10_000;

#[derive(Debug)]
pub(super) struct Trial<'o> {
    pub(super) counts: Counts,
    subject: &'o Subject,
    /// What the parameters touch of the payload.
    parameters: Projection,
    /// Whether they see the config.
    shows_config: bool,
    windowed: Option<Windowed<'o>>,
}

/// A decision of the rule: its parameters, or why it fails.
#[derive(Debug)]
pub(super) struct Decision {
    pub(super) event: i64,
    pub(super) created: DateTime<Utc>,
    /// When it is made: the time of the event, or that of a timer.
    pub(super) at: DateTime<Utc>,
    pub(super) outcome: Result<Value, String>,
    /// What the parameters that may be shown are rendered from, where they may be others.
    pub(super) masked: Option<Box<Masked>>,
}

/// What parameters are rendered from.
#[derive(Debug)]
pub(super) struct Masked {
    event: Kept,
    window: Option<Value>,
}

#[derive(Debug)]
struct Windowed<'o> {
    window: &'o CompiledWindow,
    replay: Replay<'o>,
    waiting: BTreeMap<Seen, Hit>,
    newest: DateTime<Utc>,
    /// Events that may still be decided about.
    kept: BTreeMap<Seen, Kept>,
    /// With `debounce`, the latest event of each key.
    latest: HashMap<String, Seen>,
}

/// An event that reaches the window.
#[derive(Debug)]
struct Hit {
    key: String,
    meets: Meets,
    event: Kept,
}

impl<'o> Trial<'o> {
    pub(super) fn new(subject: &'o Subject) -> Self {
        let fields = Projection::of(&subject.rule.parameter_fields());
        let windowed = subject.rule.window().map(|window| Windowed {
            window,
            replay: Replay::new(window.kind()),
            waiting: BTreeMap::new(),
            newest: DateTime::<Utc>::MIN_UTC,
            kept: BTreeMap::new(),
            latest: HashMap::new(),
        });
        Self {
            counts: Counts::default(),
            subject,
            parameters: touched(&fields, "payload").cloned().unwrap_or_default(),
            shows_config: touches_config(&fields),
            windowed,
        }
    }

    /// How long after an event it may still be decided about.
    pub(super) fn settling(&self) -> TimeDelta {
        let timer = |windowed: &Windowed<'_>| windowed.timer().unwrap_or_default() + LATENESS * 2;
        self.windowed.as_ref().map(timer).unwrap_or_default()
    }

    /// The verdict of the conditions; `None` when the rule does not listen to the event.
    pub(super) fn verdict(&self, event: &Reader, now: DateTime<Utc>) -> Option<Verdict> {
        let rule = &self.subject.rule;
        let listens = rule.listens_to(event.config());
        listens.then(|| rule.verdict(&event.scope().with("rule", &self.subject.view), now))
    }

    /// The verdict with every condition counted.
    pub(super) fn tally(
        &self,
        event: &Reader,
        now: DateTime<Utc>,
        conditions: &mut [ConditionCounts],
    ) -> Option<Verdict> {
        let rule = &self.subject.rule;
        let count = |number: usize, verdict| conditions[number].count(verdict);
        let listens = rule.listens_to(event.config());
        listens.then(|| rule.tally(&event.scope().with("rule", &self.subject.view), now, count))
    }

    /// Takes the event with its verdict: what is decided about it, or about earlier ones.
    pub(super) fn take(
        &mut self,
        verdict: Option<Verdict>,
        event: &mut Reader,
        recorded: &Recorded<'_>,
    ) -> Result<Vec<Decision>, Unreadable> {
        let now = recorded.created;
        let mut decisions = Vec::new();
        match verdict {
            None => self.counts.unheard += 1,
            Some(Verdict::False) => self.counts.r#false += 1,
            Some(Verdict::Missing) => self.counts.missing += 1,
            // The reasons of a failure are about values as they are in full.
            Some(Verdict::Error) => {
                event.read_payload(recorded, None)?;
                let scope = event.scope().with("rule", &self.subject.view);
                let reason = self.subject.rule.reason_of_error(&scope, now);
                decisions.push(self.failed(recorded, reason));
            }
            Some(Verdict::True) => decisions.extend(self.met(event, recorded)?),
        }
        if let Some(windowed) = &mut self.windowed {
            windowed.newest = windowed.newest.max(now);
            let settled = windowed.newest - LATENESS;
            self.let_through(settled, &mut decisions);
        }
        Ok(decisions)
    }

    /// What is decided up to the end.
    pub(super) fn finish(&mut self, until: DateTime<Utc>) -> Vec<Decision> {
        let mut decisions = Vec::new();
        if let Some(windowed) = &mut self.windowed {
            windowed.newest = windowed.newest.max(until);
            self.let_through(until, &mut decisions);
        }
        decisions
    }

    /// The conditions hold.
    fn met(&mut self, event: &mut Reader, recorded: &Recorded<'_>) -> Result<Option<Decision>, Unreadable> {
        let Some(windowed) = &mut self.windowed else {
            event.read_payload(recorded, Some(&self.parameters))?;
            let outcome = render(self.subject, &event.scope());
            let masked = self.shows_config.then(|| Box::new(Masked { event: event.keep(), window: None }));
            let (event, created) = (recorded.id, recorded.created);
            return Ok(Some(self.counted(Decision { event, created, at: created, outcome, masked })));
        };
        let scope = event.scope().with("rule", &self.subject.view);
        let key = windowed.window.key(&scope);
        let meets = windowed.window.meets(&scope, recorded.created);
        match (key, meets) {
            (Err(reason), _) => Ok(Some(self.failed(recorded, reason))),
            (Ok(_), Err(tests)) => {
                let reasons: Vec<String> = tests
                    .iter()
                    .map(|test| {
                        format!("{} ({} {}): {}", test.pointer, test.field, test.operator, test.reason)
                    })
                    .collect();
                let reason = format!("a condition cannot be judged: {}", reasons.join("; "));
                Ok(Some(self.failed(recorded, reason)))
            }
            (Ok(key), Ok(meets)) => {
                event.read_payload(recorded, Some(&self.parameters))?;
                let hit = Hit { key, meets, event: event.keep() };
                windowed.waiting.insert(Seen::new(recorded.id, recorded.created), hit);
                Ok(None)
            }
        }
    }

    /// Gives the window everything up to this time.
    fn let_through(&mut self, until: DateTime<Utc>, decisions: &mut Vec<Decision>) {
        // Taken out so that what it decides can be counted meanwhile.
        let Some(mut windowed) = self.windowed.take() else { return };
        while let Some(seen) = windowed.next(until) {
            let Some(Hit { key, meets, event }) = windowed.waiting.remove(&seen) else { break };
            windowed.kept.insert(seen, event);
            let (fired, outcome) = windowed.replay.event(&key, seen, meets);
            for fired in fired {
                decisions.push(self.fired(&mut windowed, fired));
            }
            if !outcome.as_ref().is_some_and(WindowOutcome::is_fired) {
                self.counts.held += 1;
            }
            windowed.forget(seen, key, outcome.as_ref());
        }
        for fired in windowed.replay.advance(until) {
            decisions.push(self.fired(&mut windowed, fired));
        }
        self.windowed = Some(windowed);
    }

    fn fired(&mut self, windowed: &mut Windowed<'_>, fired: Replayed) -> Decision {
        let Replayed { key, at, firing } = fired;
        let window = windowed.window.view(&key, &firing);
        let seen = firing.event;
        windowed.latest.remove(&key);
        let (outcome, masked) = match windowed.kept.remove(&seen) {
            Some(event) => {
                let outcome = render(self.subject, &event.scope().with("window", &window));
                (outcome, Some(Box::new(Masked { event, window: Some(window) })))
            }
            // More events than can wait were recorded within a moment.
            None => (Err("the event that the window decides about was not kept".to_owned()), None),
        };
        self.counted(Decision { event: seen.event, created: seen.at, at, outcome, masked })
    }

    fn failed(&mut self, recorded: &Recorded<'_>, reason: String) -> Decision {
        let (event, created) = (recorded.id, recorded.created);
        self.counted(Decision { event, created, at: created, outcome: Err(reason), masked: None })
    }

    fn counted(&mut self, decision: Decision) -> Decision {
        match &decision.outcome {
            Ok(_) => self.counts.fired += 1,
            Err(_) => self.counts.failed += 1,
        }
        decision
    }
}

impl Masked {
    /// The parameters as they may be shown.
    pub(super) fn render(self, mask: &ConfigMask, trial: &Trial<'_>) -> Value {
        let Self { event, window } = self;
        let event = event.masked(mask);
        let scope = event.scope();
        let scope = match &window {
            Some(window) => scope.with("window", window),
            None => scope,
        };
        // Only what a secret is masked with can fail where the secret did not.
        render(trial.subject, &scope).unwrap_or_default()
    }
}

impl Windowed<'_> {
    /// How long after an event a timer may decide about it; none where only events decide.
    fn timer(&self) -> Option<TimeDelta> {
        match self.window.kind() {
            WindowKind::Debounce(span) | WindowKind::Absent { within: span, .. } => Some(span.length()),
            WindowKind::Throttle(_)
            | WindowKind::Dedup(_)
            | WindowKind::Count { .. }
            | WindowKind::AllOf { .. }
            | WindowKind::Sequence { .. } => None,
        }
    }

    /// The next event that need not wait any longer.
    fn next(&self, until: DateTime<Utc>) -> Option<Seen> {
        let (seen, _) = self.waiting.first_key_value()?;
        (seen.at <= until || self.waiting.len() > WAITING).then_some(*seen)
    }

    /// Drops what will not be decided about any more, after this event.
    fn forget(&mut self, seen: Seen, key: String, outcome: Option<&WindowOutcome>) {
        let Some(timer) = self.timer() else {
            self.kept.clear();
            return;
        };
        match outcome {
            Some(WindowOutcome::Waiting { events, .. }) => {
                if matches!(self.window.kind(), WindowKind::Debounce(_)) {
                    let before = self.latest.insert(key, seen).filter(|_| *events > 1);
                    before.and_then(|before| self.kept.remove(&before));
                }
            }
            _ => {
                self.kept.remove(&seen);
            }
        }
        let over = seen.at - timer - LATENESS;
        while let Some(entry) = self.kept.first_entry().filter(|entry| entry.key().at < over) {
            entry.remove();
        }
    }
}

/// The parameters of the action as it would get them, or why the rule fails.
fn render(subject: &Subject, scope: &Scope<'_>) -> Result<Value, String> {
    let scope = scope.clone().with("rule", &subject.view);
    let rendered = subject
        .rule
        .render_parameters(&scope)
        .map_err(|error| format!("the parameters cannot be rendered: {error}"))?;
    let Some(schema) = &subject.schema else { return Ok(rendered) };
    schema.check(rendered).map_err(|violations| {
        let reasons: Vec<_> = violations.iter().map(ToString::to_string).collect();
        format!("the parameters do not fit {}: {}", subject.rule.action_ref(), reasons.join("; "))
    })
}
