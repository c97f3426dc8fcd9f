//! The windows of rules in the matching pass: the states of all keys that a batch of events concerns are taken at once, in
//! one order, changed in memory and written back by the transaction that records the decisions.

use std::collections::{BTreeMap, HashMap, HashSet};

use attune_common::error::Result;
use attune_common::models::Timestamp;
use attune_common::models::enforcement::{Decision, EnforcementStatus, NewEnforcement};
use attune_common::models::window as stored;
use attune_common::models::window::{ContributingEvents, WindowKey};
use attune_common::repositories::{EnforcementRepository, EventRepository, WindowRepository};
use attune_rules::window::{Firing, Input, Meets, Seen, WindowOutcome, WindowState, step};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::faults::caught;
use crate::matching::{failure, fire};
use crate::seen::SeenEvent;
use crate::snapshot::{Readiness, SnapshotRule, SnapshotWindow};

/// An event that reached a window.
#[derive(Debug)]
pub(crate) struct Given {
    /// The key as it was rendered.
    pub(crate) key: String,
    pub(crate) seen: Seen,
    pub(crate) meets: Meets,
}

/// What a batch of events gives to the windows of rules.
#[derive(Debug, Default)]
pub(crate) struct WindowsOfBatch<'s> {
    given: BTreeMap<WindowKey, (&'s SnapshotRule, Vec<Given>)>,
    /// The events that reached a window.
    events: HashMap<i64, SeenEvent>,
}

/// A window that fires.
#[derive(Debug)]
pub(crate) struct Fired<'s> {
    pub(crate) rule: &'s SnapshotRule,
    pub(crate) key: String,
    pub(crate) firing: Firing,
}

/// What follows, to be recorded in the same transaction.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) decisions: Vec<Decision>,
    /// To be recorded after the decisions.
    pub(crate) links: Vec<ContributingEvents>,
}

/// What the events of a batch make of one state.
#[derive(Debug, Default)]
struct Stepped {
    /// The state afterwards and when it wants to be woken; None to leave it as it was.
    state: Option<(WindowState, Option<Timestamp>)>,
    firings: Vec<Firing>,
    outcomes: Vec<(i64, WindowOutcome)>,
    /// The events that could not be given, with the reasons.
    faults: Vec<(i64, String)>,
}

/// States that were changed in memory.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    kept: Vec<stored::WindowState>,
    forgotten: Vec<WindowKey>,
}

impl<'s> WindowsOfBatch<'s> {
    pub(crate) fn add(&mut self, event: SeenEvent, reached: Vec<(&'s SnapshotRule, Given)>) {
        if reached.is_empty() {
            return;
        }
        for (rule, given) in reached {
            let key = WindowKey::new(rule.rule.id, &given.key);
            self.given.entry(key).or_insert_with(|| (rule, Vec::new())).1.push(given);
        }
        self.events.insert(event.id, event);
    }

    /// Whether no event reached a window.
    pub(crate) fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    /// Gives the events to their windows. None when a state cannot be had now: the transaction is to be given up.
    pub(crate) async fn take_effect(self, connection: &mut PgConnection) -> Result<Option<Effects>> {
        let Self { given, events } = self;
        if given.is_empty() {
            return Ok(Some(Effects::default()));
        }
        let keys: Vec<WindowKey> = given.keys().cloned().collect();
        let Some(states) = WindowRepository::lock(&mut *connection, &keys).await? else { return Ok(None) };
        let mut states: HashMap<WindowKey, stored::WindowState> = states
            .into_iter()
            .map(|state| (WindowKey { rule: state.rule, key: state.key.clone() }, state))
            .collect();
        let mut changes = Changes::default();
        let mut fired = Vec::new();
        let mut outcomes = Vec::new();
        let mut failed = Vec::new();
        for (key, (rule, mut given)) in given {
            let (Some(window), Some(before)) = (&rule.window, states.remove(&key)) else { continue };
            given.sort_unstable_by_key(|given| given.seen);
            let stepped = caught(|| Stepped::at_once(&before, window, &given));
            let stepped = stepped.unwrap_or_else(|_| Stepped::one_by_one(&before, window, &given));
            let firings = stepped.firings.into_iter();
            fired.extend(firings.map(|firing| Fired { rule, key: key.key.clone(), firing }));
            outcomes.extend(stepped.outcomes.into_iter().map(|(event, outcome)| stored::WindowOutcome {
                event,
                rule: key.rule,
                key: key.key.clone(),
                outcome: as_json(&outcome),
            }));
            for (event, fault) in stepped.faults {
                failed.extend(events.get(&event).map(|event| failure(rule, event, fault)));
            }
            if let Some((state, wake)) = stepped.state {
                changes.add(before, window, &state, wake);
            }
        }
        changes.write(&mut *connection).await?;
        WindowRepository::record_outcomes(&mut *connection, &outcomes).await?;
        let mut effects = conclude(connection, fired, events).await?;
        effects.decisions.extend(failed);
        Ok(Some(effects))
    }

    /// Instead of any effect: the failed decisions of the rules whose windows events have reached.
    pub(crate) fn given_up(self, error: &str) -> Vec<Decision> {
        let Self { given, events } = self;
        let reached =
            given.into_values().flat_map(|(rule, given)| given.into_iter().map(move |given| (rule, given)));
        let failures = reached.filter_map(|(rule, given)| {
            Some(failure(rule, events.get(&given.seen.event)?, error.to_owned()))
        });
        failures.collect()
    }
}

impl Stepped {
    /// Gives the events, which are in the order of time.
    fn at_once(before: &stored::WindowState, window: &SnapshotWindow, given: &[Given]) -> Self {
        let mut stepped = Self::default();
        let mut state = read(before, window);
        for given in given {
            state = stepped.give(window, state, given);
        }
        let wake = state.wake(&window.kind);
        Self { state: Some((state, wake)), ..stepped }
    }

    /// The same after a fault: what cannot be given is left out, and the state is as if it had not come.
    fn one_by_one(before: &stored::WindowState, window: &SnapshotWindow, given: &[Given]) -> Self {
        let mut stepped = Self::default();
        let mut state = caught(|| read(before, window)).unwrap_or_default();
        for given in given {
            let taken = caught(|| {
                let mut alone = Self::default();
                let state = alone.give(window, state.clone(), given);
                // Without that it could not be kept.
                let _wake = state.wake(&window.kind);
                (alone, state)
            });
            match taken {
                Ok((alone, after)) => {
                    state = after;
                    stepped.firings.extend(alone.firings);
                    stepped.outcomes.extend(alone.outcomes);
                }
                Err(fault) => stepped.faults.push((given.seen.event, fault)),
            }
        }
        let wake = caught(|| state.wake(&window.kind)).ok();
        Self { state: wake.map(|wake| (state, wake)), ..stepped }
    }

    fn give(&mut self, window: &SnapshotWindow, state: WindowState, given: &Given) -> WindowState {
        let taken = step(&window.kind, state, Input::Event(given.seen, given.meets));
        self.firings.extend(taken.firings);
        let outcome = taken.outcome.filter(|outcome| !outcome.is_fired());
        self.outcomes.extend(outcome.map(|outcome| (given.seen.event, outcome)));
        taken.state
    }
}

impl Changes {
    /// `wake` is that of the state afterwards.
    pub(crate) fn add(
        &mut self,
        before: stored::WindowState,
        window: &SnapshotWindow,
        after: &WindowState,
        wake: Option<Timestamp>,
    ) {
        let Some(wake) = wake else {
            return self.forget(before);
        };
        let state = as_json(after);
        let definition = window.fingerprint.clone();
        if (&before.state, &before.definition) != (&state, &definition) {
            self.kept.push(stored::WindowState { definition, state, wake, ..before });
        }
    }

    pub(crate) fn forget(&mut self, state: stored::WindowState) {
        self.forgotten.push(WindowKey { rule: state.rule, key: state.key });
    }

    pub(crate) async fn write(self, connection: &mut PgConnection) -> Result<()> {
        WindowRepository::store(&mut *connection, &self.kept).await?;
        WindowRepository::remove(connection, &self.forgotten).await
    }
}

/// The state as arithmetic takes it; that of another definition, or one that cannot be read, is none.
pub(crate) fn read(state: &stored::WindowState, window: &SnapshotWindow) -> WindowState {
    if state.definition != window.fingerprint {
        return WindowState::Empty;
    }
    serde_json::from_value(state.state.clone()).unwrap_or_else(|error| {
        tracing::warn!(rule = state.rule, key = state.key, %error, "a state of a window cannot be read; it begins anew");
        WindowState::Empty
    })
}

/// The decisions of windows that fire. Their subjects are among `events`, or recorded.
pub(crate) async fn conclude(
    connection: &mut PgConnection,
    fired: Vec<Fired<'_>>,
    mut events: HashMap<i64, SeenEvent>,
) -> Result<Effects> {
    let subjects: HashSet<i64> = fired.iter().map(|fired| fired.firing.event.event).collect();
    let unknown: Vec<i64> = subjects.into_iter().filter(|event| !events.contains_key(event)).collect();
    if !unknown.is_empty() {
        let recorded = EventRepository::list_for_rules(&mut *connection, &unknown).await?;
        events.extend(recorded.into_iter().map(|event| (event.id, SeenEvent::new(event))));
    }
    let mut effects = Effects::default();
    for Fired { rule, key, firing } in fired {
        let subject = firing.event.event;
        let Some(event) = events.get(&subject) else {
            let error = format!("the window fires for event {subject}, which was removed");
            record_without_event(&mut *connection, rule, error).await?;
            continue;
        };
        let view = caught(|| match &rule.readiness {
            Readiness::Ready { compiled, .. } => compiled.window().map(|window| window.view(&key, &firing)),
            Readiness::Broken(_) => None,
        });
        let view = match view {
            Ok(view) => view.unwrap_or_default(),
            Err(fault) => {
                effects.decisions.push(failure(rule, event, fault));
                continue;
            }
        };
        let scope = event.scope().with("rule", &rule.view).with("window", &view);
        effects.decisions.push(fire(rule, event, &scope));
        if firing.events != [subject] {
            let contributing = firing.events;
            effects.links.push(ContributingEvents { rule: rule.rule.id, event: subject, contributing });
        }
    }
    metrics::counter!("attune_window_firings_total").increment(effects.decisions.len() as u64);
    Ok(effects)
}

/// There is nothing to render, as what a window waited with was removed meanwhile, and that is not passed over in silence.
pub(crate) async fn record_without_event(
    connection: &mut PgConnection,
    rule: &SnapshotRule,
    error: String,
) -> Result<()> {
    tracing::warn!(rule = rule.rule.r#ref, error);
    let failed = NewEnforcement {
        rule: Some(rule.rule.id),
        rule_ref: rule.rule.r#ref.clone(),
        trigger_ref: rule.rule.trigger_ref.clone(),
        config: Some(json!({ "rule_version": rule.rule.version, "action": rule.rule.action_ref })),
        event: None,
        status: Some(EnforcementStatus::Processed),
        payload: None,
        condition: rule.rule.condition,
        conditions: Some(rule.rule.conditions.clone()),
        error: Some(error.replace('\0', "\u{fffd}")),
    };
    EnforcementRepository::create(connection, failed).await?;
    Ok(())
}

/// Plain data always has a form in JSON.
fn as_json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}
