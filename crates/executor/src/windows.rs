//! The windows of rules in the matching pass: the states of all keys that a batch of events concerns are taken at once, in
//! one order, changed in memory and written back by the transaction that records the decisions.

use std::collections::{BTreeMap, HashMap, HashSet};

use attune_common::error::Result;
use attune_common::models::enforcement::{Decision, EnforcementStatus, NewEnforcement};
use attune_common::models::window as stored;
use attune_common::models::window::{ContributingEvents, WindowKey};
use attune_common::repositories::{EnforcementRepository, EventRepository, WindowRepository};
use attune_rules::window::{Firing, Input, Meets, Seen, WindowState, step};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::matching::fire;
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
        for (key, (rule, mut given)) in given {
            let (Some(window), Some(before)) = (&rule.window, states.remove(&key)) else { continue };
            given.sort_unstable_by_key(|given| given.seen);
            let mut state = read(&before, window);
            for Given { seen, meets, .. } in given {
                let taken = step(&window.kind, state, Input::Event(seen, meets));
                state = taken.state;
                let firings = taken.firings.into_iter();
                fired.extend(firings.map(|firing| Fired { rule, key: key.key.clone(), firing }));
                outcomes.extend(taken.outcome.filter(|outcome| !outcome.is_fired()).map(|outcome| {
                    stored::WindowOutcome {
                        event: seen.event,
                        rule: key.rule,
                        key: key.key.clone(),
                        outcome: as_json(&outcome),
                    }
                }));
            }
            changes.add(before, window, &state);
        }
        changes.write(&mut *connection).await?;
        WindowRepository::record_outcomes(&mut *connection, &outcomes).await?;
        conclude(connection, fired, events).await.map(Some)
    }
}

impl Changes {
    pub(crate) fn add(&mut self, before: stored::WindowState, window: &SnapshotWindow, after: &WindowState) {
        let Some(wake) = after.wake(&window.kind) else {
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
            record_without_event(&mut *connection, rule, subject).await?;
            continue;
        };
        let view = match &rule.readiness {
            Readiness::Ready { compiled, .. } => compiled.window().map(|window| window.view(&key, &firing)),
            Readiness::Broken(_) => None,
        };
        let view = view.unwrap_or_default();
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

/// What a window waited with was removed meanwhile: there is nothing to render, and that is not passed over in silence.
async fn record_without_event(connection: &mut PgConnection, rule: &SnapshotRule, event: i64) -> Result<()> {
    let error = format!("the window fires for event {event}, which was removed");
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
        error: Some(error),
    };
    EnforcementRepository::create(connection, failed).await?;
    Ok(())
}

/// Plain data always has a form in JSON.
fn as_json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}
