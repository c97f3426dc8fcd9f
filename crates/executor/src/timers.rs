//! The timers pass: lets windows fire whose time has come, and forgets what they no longer need.
//!
//! A state is taken by one executor at a time; its firing, the decision, the execution and the new state are one
//! transaction. A window is given only a time up to which every event has been matched: an executor that has fallen behind
//! fires late, but never differently.

use std::collections::HashMap;
use std::time::Duration;

use attune_common::bus::Topic;
use attune_common::error::{Result, StoreError};
use attune_common::pass::Found;
use attune_common::repositories::{EnforcementRepository, RuleSetRepository, WindowRepository};
use attune_rules::window::{Input, step};

use crate::faults::caught;
use crate::matching::{Matcher, make_storable, say_what_is_refused, wake};
use crate::windows::{Changes, Fired, conclude, read, record_without_event};

/// How often it looks.
pub const INTERVAL: Duration = Duration::from_millis(500);

/// States that one transaction takes at most.
pub(crate) const BATCH: i64 = 200;

/// Fires one batch.
pub async fn pass(matcher: &mut Matcher) -> Result<Found> {
    if !WindowRepository::is_due(&matcher.pool).await? {
        return Ok(Found::Nothing);
    }
    let mut transaction = attune_common::db::begin(&matcher.pool).await?;
    // Before the states: a matching pass may wait for one of them while it holds the rules.
    let version = RuleSetRepository::version(&mut *transaction).await?;
    let rules = matcher.rules.in_force(version, &mut transaction).await?;
    let horizon = WindowRepository::horizon(&mut *transaction).await?;
    let due = WindowRepository::take_due(&mut transaction, horizon, matcher.timers_batch).await?;
    if due.is_empty() {
        return Ok(Found::Nothing);
    }
    if RuleSetRepository::version(&mut *transaction).await? > rules.version() {
        return Ok(Found::More);
    }
    let full = due.len() as i64 == matcher.timers_batch;
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
                let error = format!("what the window has of the key {:?} is forgotten: {fault}", state.key);
                tracing::error!(rule = rule.rule.r#ref, key = state.key, state = %state.state, error);
                failed.push((rule, error));
                changes.forget(state);
            }
        }
    }
    changes.write(&mut transaction).await?;
    for (rule, error) in failed {
        record_without_event(&mut transaction, rule, error).await?;
    }
    let mut effects = conclude(&mut transaction, fired, HashMap::new()).await?;
    drop(rules);
    if matcher.timers_batch == 1 {
        effects.decisions.iter_mut().for_each(make_storable);
    }
    if matcher.caution.is_careful() {
        say_what_is_refused(&mut transaction, &mut effects.decisions).await?;
    }
    let recorded = match EnforcementRepository::record(&mut transaction, &effects.decisions).await {
        Ok(recorded) => recorded,
        Err(StoreError::InvalidReference { constraint, .. }) => {
            tracing::info!(constraint, "rules changed while windows fired; firing again");
            matcher.rules.outdate().await;
            return Ok(Found::More);
        }
        Err(error @ StoreError::Unstorable(_)) if matcher.timers_batch > 1 => {
            tracing::warn!(%error, "a decision cannot be stored as it is; firing one window at a time");
            matcher.timers_batch = 1;
            return Ok(Found::More);
        }
        Err(error) => {
            matcher.caution.failed(&error, BATCH);
            return Err(error);
        }
    };
    EnforcementRepository::link_events(&mut *transaction, &effects.links).await?;
    transaction.commit().await?;
    matcher.timers_batch = BATCH;
    matcher.caution.passed();
    metrics::counter!("attune_enforcements_total").increment(effects.decisions.len() as u64);
    wake(&matcher.bus, recorded);
    if !effects.decisions.is_empty() {
        matcher.bus.wake(Topic::Change);
    }
    Ok(if full { Found::More } else { Found::Nothing })
}
