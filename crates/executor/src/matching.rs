//! The matching pass: takes waiting events, judges them by the rules in memory, and records decisions, executions and
//! the mark "matched" in one transaction.

use attune_common::bus::{Bus, Topic};
use attune_common::error::{Result, StoreError};
use attune_common::models::enforcement::{Decision, DecisionOutcome};
use attune_common::models::event::WaitingEvent;
use attune_common::pass::Found;
use attune_common::repositories::{EnforcementRepository, EventRepository, RuleSetRepository};
use attune_expr::scope::Scope;
use attune_rules::{CompiledRule, Evaluation, Verdict};
use chrono::{DateTime, SubsecRound, Utc};
use serde_json::{Map, Value, json};
use sqlx::PgPool;

use crate::snapshot::{Readiness, RuleSnapshot, SnapshotRule};

/// Events that one transaction judges at most: a failure undoes little, and a flood still fills large statements.
const BATCH: i64 = 500;

/// The matching pass with the rules that it holds in memory.
#[derive(Debug)]
pub struct Matcher {
    pool: PgPool,
    bus: Bus,
    snapshot: RuleSnapshot,
    /// Smaller than [`BATCH`] while an event is sought whose decisions cannot be stored.
    batch: i64,
}

impl Matcher {
    /// A matcher that has read no rules yet.
    pub fn new(pool: PgPool, bus: Bus) -> Self {
        Self { pool, bus, snapshot: RuleSnapshot::default(), batch: BATCH }
    }

    /// Judges up to one batch of waiting events.
    pub async fn pass(&mut self) -> Result<Found> {
        let mut transaction = attune_common::db::begin(&self.pool).await?;
        let events = EventRepository::take_waiting(&mut transaction, self.batch).await?;
        if events.is_empty() {
            return Ok(Found::Nothing);
        }
        // Read after the events: whatever rule change was committed before an event was accepted is seen here.
        let version = RuleSetRepository::version(&mut *transaction).await?;
        if version != self.snapshot.version() {
            self.snapshot.reload(&mut transaction).await?;
        }
        let full = events.len() as i64 == self.batch;
        let ids: Vec<i64> = events.iter().map(|event| event.id).collect();
        let oldest = events.iter().map(|event| event.created).min();
        // As exact as what is stored: an explanation judges with this time again.
        let now = Utc::now().trunc_subsecs(6);
        let mut decisions: Vec<Decision> =
            events.into_iter().flat_map(|event| decide(&self.snapshot, event, now)).collect();
        if self.batch == 1 {
            decisions.iter_mut().for_each(make_storable);
        }
        let recorded = match EnforcementRepository::record_decisions(&mut transaction, &decisions).await {
            Ok(recorded) => recorded,
            Err(StoreError::InvalidReference { constraint, .. }) => {
                // A rule or action was removed after the rules were read: read them again.
                tracing::info!(constraint, "rules changed while events were matched; matching again");
                self.snapshot.outdate();
                return Ok(Found::More);
            }
            Err(error @ StoreError::Unstorable(_)) if self.batch > 1 => {
                // One decision holds what cannot be stored. Alone, it is made storable; the others go unharmed.
                tracing::warn!(%error, "a decision cannot be stored as it is; matching one event at a time");
                self.batch = 1;
                return Ok(Found::More);
            }
            Err(error) => return Err(error),
        };
        EventRepository::mark_matched(&mut *transaction, &ids, self.snapshot.version(), now).await?;
        transaction.commit().await?;
        self.batch = BATCH;
        metrics::counter!("attune_events_matched_total").increment(ids.len() as u64);
        metrics::counter!("attune_enforcements_total").increment(decisions.len() as u64);
        if let Some(oldest) = oldest {
            let lag = (Utc::now() - oldest).to_std().unwrap_or_default();
            metrics::histogram!("attune_matching_lag_seconds").record(lag.as_secs_f64());
        }
        if recorded > 0 {
            self.bus.wake(Topic::Execution);
            self.bus.wake(Topic::Change);
        }
        Ok(if full { Found::More } else { Found::Nothing })
    }
}

/// The decisions of all rules about one event. The index finds the rules that it can concern; [`judge`] decides.
fn decide(snapshot: &RuleSnapshot, event: WaitingEvent, now: DateTime<Utc>) -> Vec<Decision> {
    let Some(rules) = snapshot.rules_of(&event.trigger_ref) else { return Vec::new() };
    let WaitingEvent { id, trigger_ref, config, payload, headers, source_ref, trace_id, created } = event;
    let trigger = json!({ "ref": trigger_ref, "config": config });
    // Built by hand so that the payload is moved, not copied.
    let mut fields = Map::new();
    fields.insert("id".to_owned(), id.into());
    fields.insert("trigger".to_owned(), trigger_ref.clone().into());
    fields.insert("payload".to_owned(), payload);
    fields.insert("headers".to_owned(), headers.unwrap_or(Value::Null));
    fields.insert("source".to_owned(), source_ref.into());
    fields.insert("trace_id".to_owned(), trace_id.clone().into());
    fields.insert("created".to_owned(), created.to_rfc3339().into());
    let view = Value::Object(fields);
    let about = About { id, trigger_ref: &trigger_ref, trace_id: trace_id.as_deref(), config: &config };
    let scope = Scope::new().with("event", &view).with("trigger", &trigger);
    rules
        .concerned(&scope, &config)
        .into_iter()
        .filter_map(|rule| judge(rule, &about, &scope.clone().with("rule", &rule.view), now))
        .collect()
}

/// What a decision keeps of its event.
struct About<'a> {
    id: i64,
    trigger_ref: &'a str,
    trace_id: Option<&'a str>,
    config: &'a Value,
}

/// The decision of one rule; None when it does not fire.
fn judge(rule: &SnapshotRule, event: &About<'_>, scope: &Scope<'_>, now: DateTime<Utc>) -> Option<Decision> {
    let decided = |outcome, parameters| Decision {
        event: event.id,
        rule: rule.rule.id,
        rule_ref: rule.rule.r#ref.clone(),
        trigger_ref: event.trigger_ref.to_owned(),
        config: json!({ "rule_version": rule.rule.version, "action": rule.rule.action_ref }),
        parameters,
        condition: rule.rule.condition,
        conditions: rule.rule.conditions.clone(),
        outcome,
        trace_id: event.trace_id.map(str::to_owned),
    };
    let failed = |error: String| Some(decided(DecisionOutcome::Fail { error }, Value::Object(Map::new())));
    let (compiled, action, schema) = match &rule.readiness {
        Readiness::Ready { compiled, action, parameters } => (compiled, *action, parameters),
        Readiness::Broken(reason) => return failed(reason.clone()),
    };
    if !compiled.listens_to(event.config) {
        return None;
    }
    match compiled.verdict(scope, now) {
        Verdict::True => {}
        Verdict::False | Verdict::Missing => return None,
        // Not "does not match": whoever asks why nothing ran must find the reason.
        Verdict::Error => return failed(reason_of_error(compiled, scope, now)),
    }
    let rendered = match compiled.render_parameters(scope) {
        Ok(rendered) => rendered,
        Err(error) => return failed(format!("the parameters cannot be rendered: {error}")),
    };
    match schema.check(rendered) {
        Ok(parameters) => {
            let execute = DecisionOutcome::Execute { action, action_ref: rule.rule.action_ref.clone() };
            Some(decided(execute, parameters))
        }
        Err(violations) => {
            let reasons: Vec<_> = violations.iter().map(ToString::to_string).collect();
            failed(format!("the parameters do not fit {}: {}", rule.rule.action_ref, reasons.join("; ")))
        }
    }
}

fn reason_of_error(compiled: &CompiledRule, scope: &Scope<'_>, now: DateTime<Utc>) -> String {
    let Evaluation { tests, .. } = compiled.evaluate(scope, now);
    let reasons: Vec<String> = tests
        .iter()
        .filter(|test| test.verdict == Verdict::Error)
        .map(|test| format!("{} ({} {}): {}", test.pointer, test.field, test.operator, test.reason))
        .collect();
    format!("a condition cannot be judged: {}", reasons.join("; "))
}

/// Turns a decision with what PostgreSQL cannot hold into one that says so.
fn make_storable(decision: &mut Decision) {
    if decision.parameters.to_string().contains("\\u0000") {
        decision.parameters = Value::Object(Map::new());
        decision.outcome = DecisionOutcome::Fail {
            error: "the rendered parameters contain U+0000, which cannot be stored".to_owned(),
        };
    }
    if let DecisionOutcome::Fail { error } = &mut decision.outcome {
        *error = error.replace('\0', "\u{fffd}");
    }
}
