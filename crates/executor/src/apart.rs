//! Events of a batch that failed again and again, one by one: those that can be handled are, and the others are given up.

use attune_common::error::Result;
use attune_common::models::enforcement::{Decision, DecisionOutcome, Recorded};
use attune_common::models::event::WaitingEvent;
use attune_common::repositories::EnforcementRepository;
use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection, Postgres, Transaction};

use crate::faults::{caught, guarded, is_lasting, reason_of};
use crate::matching::{decide, fail, failure, make_storable, say_what_is_refused};
use crate::seen::SeenEvent;
use crate::snapshot::{RuleSnapshot, TriggerRules};
use crate::windows::{Effects, WindowsOfBatch};

/// Judges and records each event by itself. One that fails has no effect but failed decisions: of each rule that would have had
/// something to say, so that whoever asks finds the event and the reason, and can replay it. None when the state of a window
/// cannot be had now: the transaction is to be given up.
pub(crate) async fn record(
    transaction: &mut Transaction<'static, Postgres>,
    rules: &RuleSnapshot,
    events: Vec<WaitingEvent>,
    now: DateTime<Utc>,
) -> Result<Option<Recorded>> {
    let mut all = Effects::default();
    for event in events {
        let mut trial = transaction.begin().await?;
        match guarded(handle(&mut trial, rules, event.clone(), now)).await {
            Ok(Some(effects)) => {
                trial.commit().await?;
                all.decisions.extend(effects.decisions);
                all.links.extend(effects.links);
            }
            Ok(None) => return Ok(None),
            Err(error) if is_lasting(&error) => {
                trial.rollback().await?;
                let mut decisions = give_up(rules, &event, now, &reason_of(&error));
                say_what_is_refused(transaction, &mut decisions).await?;
                all.decisions.extend(decisions);
            }
            Err(error) => return Err(error),
        }
    }
    // At last and at once: from its first execution on, workers that have one cannot renew their leases until the commit.
    let recorded = EnforcementRepository::record(&mut *transaction, &all.decisions).await?;
    EnforcementRepository::link_events(&mut **transaction, &all.links).await?;
    Ok(Some(recorded))
}

/// What becomes of one event. Windows have been given it; that its decisions can be recorded has only been tried.
async fn handle(
    connection: &mut PgConnection,
    rules: &RuleSnapshot,
    event: WaitingEvent,
    now: DateTime<Utc>,
) -> Result<Option<Effects>> {
    let mut windows = WindowsOfBatch::default();
    let mut decisions = decide(rules, event, now, &mut windows);
    let Some(Effects { decisions: of_windows, links }) = windows.take_effect(&mut *connection).await? else {
        return Ok(None);
    };
    decisions.extend(of_windows);
    decisions.iter_mut().for_each(make_storable);
    say_what_is_refused(&mut *connection, &mut decisions).await?;
    let mut trial = connection.begin().await?;
    EnforcementRepository::record(&mut trial, &decisions).await?;
    EnforcementRepository::link_events(&mut *trial, &links).await?;
    trial.rollback().await?;
    Ok(Some(Effects { decisions, links }))
}

fn give_up(rules: &RuleSnapshot, event: &WaitingEvent, now: DateTime<Utc>, reason: &str) -> Vec<Decision> {
    tracing::error!(event = event.id, trigger = event.trigger_ref, reason, "an event is given up");
    metrics::counter!("attune_events_given_up_total").increment(1);
    let error = format!("the event could not be handled, and was given up: {reason}");
    let decided = caught(|| {
        let mut windows = WindowsOfBatch::default();
        let mut decisions = decide(rules, event.clone(), now, &mut windows);
        for decision in &mut decisions {
            if let DecisionOutcome::Execute { .. } = decision.outcome {
                fail(decision, error.clone());
            }
        }
        decisions.extend(windows.given_up(&error));
        decisions
    });
    // Where it cannot even be found out which rules it concerns, all rules of its trigger have not judged it.
    let of_all = |_| {
        caught(|| {
            let rules = rules.rules_of(&event.trigger_ref).map(TriggerRules::all).unwrap_or_default();
            let event = SeenEvent::new(event.clone());
            rules.into_iter().map(|rule| failure(rule, &event, error.clone())).collect()
        })
    };
    decided.or_else(of_all).unwrap_or_default()
}
