//! The timers pass: lets windows fire whose time has come, and forgets what they no longer need.
//!
//! A state is taken by one executor at a time; its firing, the decision, the execution and the new state are one
//! transaction. A window is given only a time up to which every event has been matched: an executor that has fallen behind
//! fires late, but never differently.

use std::collections::HashMap;
use std::time::Duration;

use attune_common::bus::Topic;
use attune_common::error::{Result, StoreError};
use attune_common::models::Timestamp;
use attune_common::models::enforcement::Recorded;
use attune_common::models::window::{WindowKey, WindowState};
use attune_common::pass::Found;
use attune_common::repositories::{EnforcementRepository, RuleSetRepository, WindowRepository};
use attune_rules::window::{Input, step};
use sqlx::{Connection, PgConnection, Postgres, Transaction};

use crate::faults::{Caution, caught, guarded, is_lasting, reason_of};
use crate::matching::{Matcher, make_storable, say_what_is_refused, wake};
use crate::snapshot::RuleSnapshot;
use crate::windows::{Changes, Fired, conclude, read, record_without_event};

/// How often it looks.
pub const INTERVAL: Duration = Duration::from_millis(500);

/// States that one transaction takes at most.
const BATCH: i64 = 200;

/// What a pass knows of those before it.
#[derive(Debug, Default)]
pub(crate) struct Timing {
    /// What follows from passes that failed for a reason that is not known here.
    caution: Caution<WindowKey>,
    /// The first state that the pass has taken, over which it fails from now on.
    taken: Option<WindowKey>,
    /// Whether a decision of the last pass could not be stored: every one is looked at then.
    is_unstorable: bool,
}

/// How closely decisions are looked at before they are recorded.
#[derive(Debug, Clone, Copy)]
struct Care {
    is_unstorable: bool,
    is_careful: bool,
}

/// What has been recorded.
#[derive(Debug, Default)]
struct Done {
    decisions: usize,
    recorded: Recorded,
}

/// Fires one batch. What fails again and again is fired by itself, and a state that fails even so is forgotten at last: a failed
/// decision of its rule says so.
pub async fn pass(matcher: &mut Matcher) -> Result<Found> {
    matcher.timing.taken = None;
    let outcome = guarded(attempt(matcher)).await;
    if let (Err(error), Some(first)) = (&outcome, matcher.timing.taken.take()) {
        matcher.timing.caution.failed(error, first, BATCH);
    }
    matcher.note_outdated(&outcome);
    outcome
}

async fn attempt(matcher: &mut Matcher) -> Result<Found> {
    if !WindowRepository::is_due(&matcher.pool).await? {
        matcher.timing.caution.rested();
        return Ok(Found::Nothing);
    }
    let mut transaction = matcher.begin(&matcher.pool).await?;
    // Before the states: a matching pass may wait for one of them while it holds the rules.
    let version = RuleSetRepository::version(&mut *transaction).await?;
    let rules = matcher.rules.in_force(version, &mut transaction).await?;
    let horizon = WindowRepository::horizon(&mut *transaction).await?;
    let caution = &matcher.timing.caution;
    let batch = if caution.is_careful() { 1 } else { BATCH };
    let due = WindowRepository::take_due(&mut transaction, horizon, batch).await?;
    if due.is_empty() {
        return Ok(Found::Nothing);
    }
    if RuleSetRepository::version(&mut *transaction).await? > rules.version() {
        return Ok(Found::More);
    }
    let full = due.len() as i64 == batch;
    let keys: Vec<WindowKey> =
        due.iter().map(|state| WindowKey { rule: state.rule, key: state.key.clone() }).collect();
    matcher.timing.taken = keys.first().cloned();
    let is_careful = caution.is_careful();
    let care = Care { is_unstorable: matcher.timing.is_unstorable || is_careful, is_careful };
    let done = match caution.is_giving_up() {
        false => fire(&mut transaction, &rules, due, horizon, care).await,
        true => fire_or_forget(&mut transaction, &rules, due, horizon, care).await,
    };
    drop(rules);
    let done = match done {
        Ok(done) => done,
        Err(StoreError::InvalidReference { constraint, .. }) => {
            tracing::info!(constraint, "rules changed while windows fired; firing again");
            transaction.rollback().await?;
            matcher.rules.outdate().await;
            return Ok(Found::More);
        }
        Err(error @ StoreError::Unstorable(_)) if !care.is_unstorable => {
            tracing::warn!(%error, "a decision cannot be stored as it is; firing again");
            transaction.rollback().await?;
            matcher.timing.is_unstorable = true;
            return Ok(Found::More);
        }
        Err(error) => return Err(error),
    };
    transaction.commit().await?;
    matcher.timing.is_unstorable = false;
    matcher.timing.caution.passed();
    if matcher.timing.caution.failing().is_some_and(|failing| keys.contains(failing)) {
        matcher.timing.caution.settled();
    }
    metrics::counter!("attune_enforcements_total").increment(done.decisions as u64);
    wake(&matcher.bus, done.recorded);
    if done.decisions > 0 {
        matcher.bus.wake(Topic::Change);
    }
    Ok(if full { Found::More } else { Found::Nothing })
}

/// Lets windows fire, and records what follows.
async fn fire(
    connection: &mut PgConnection,
    rules: &RuleSnapshot,
    due: Vec<WindowState>,
    horizon: Timestamp,
    care: Care,
) -> Result<Done> {
    let mut changes = Changes::default();
    let mut fired = Vec::new();
    let mut failed = Vec::new();
    for state in due {
        let rule = rules.with_window(state.rule);
        // What a rule waits for ends when it is disabled, or gets another window.
        let known = rule.and_then(|rule| rule.window.as_ref().map(|window| (rule, window)));
        let Some((rule, window)) = known.filter(|(_, window)| window.fingerprint == state.definition) else {
            changes.forget(state);
            continue;
        };
        let taken = caught(|| {
            let taken = step(&window.kind, read(&state, window), Input::Time(horizon));
            let wake = taken.state.wake(&window.kind);
            (taken, wake)
        });
        match taken {
            Ok((taken, wake)) => {
                let firings = taken.firings.into_iter();
                fired.extend(firings.map(|firing| Fired { rule, key: state.key.clone(), firing }));
                changes.add(state, window, &taken.state, wake);
            }
            // It would be due for ever, and hold up others.
            Err(fault) => {
                failed.push((rule, say_that_it_is_forgotten(&state, &fault)));
                changes.forget(state);
            }
        }
    }
    changes.write(&mut *connection).await?;
    for (rule, error) in failed {
        record_without_event(&mut *connection, rule, error).await?;
    }
    let mut effects = conclude(&mut *connection, fired, HashMap::new()).await?;
    if care.is_unstorable {
        effects.decisions.iter_mut().for_each(make_storable);
    }
    if care.is_careful {
        say_what_is_refused(&mut *connection, &mut effects.decisions).await?;
    }
    let recorded = EnforcementRepository::record(&mut *connection, &effects.decisions).await?;
    EnforcementRepository::link_events(connection, &effects.links).await?;
    Ok(Done { decisions: effects.decisions.len(), recorded })
}

/// Forgets what has failed too often, if it fails once more.
async fn fire_or_forget(
    transaction: &mut Transaction<'static, Postgres>,
    rules: &RuleSnapshot,
    due: Vec<WindowState>,
    horizon: Timestamp,
    care: Care,
) -> Result<Done> {
    let mut trial = transaction.begin().await?;
    match guarded(fire(&mut trial, rules, due.clone(), horizon, care)).await {
        Ok(done) => {
            trial.commit().await?;
            Ok(done)
        }
        Err(error) if is_lasting(&error) => {
            trial.rollback().await?;
            forget(transaction, rules, due, &reason_of(&error)).await
        }
        Err(error) => Err(error),
    }
}

async fn forget(
    connection: &mut PgConnection,
    rules: &RuleSnapshot,
    due: Vec<WindowState>,
    reason: &str,
) -> Result<Done> {
    let mut done = Done::default();
    let mut changes = Changes::default();
    for state in due {
        let error = say_that_it_is_forgotten(&state, reason);
        if let Some(rule) = rules.with_window(state.rule) {
            let mut trial = connection.begin().await?;
            match record_without_event(&mut trial, rule, error).await {
                Ok(()) => {
                    trial.commit().await?;
                    done.decisions += 1;
                }
                // Only the log has said so.
                Err(error) if is_lasting(&error) => {
                    trial.rollback().await?;
                    tracing::error!(
                        rule = rule.rule.r#ref,
                        reason = reason_of(&error),
                        "this cannot be recorded"
                    );
                }
                Err(error) => return Err(error),
            }
        }
        changes.forget(state);
    }
    changes.write(connection).await?;
    Ok(done)
}

fn say_that_it_is_forgotten(state: &WindowState, reason: &str) -> String {
    let error = format!("what the window has of the key {:?} is forgotten: {reason}", state.key);
    tracing::error!(rule = state.rule, key = state.key, state = %state.state, error);
    error
}
