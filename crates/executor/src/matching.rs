//! The matching pass: takes batches of waiting events, judges them by the rules in memory, and records decisions, executions and
//! the mark "matched" in one transaction.

use std::sync::Arc;

use attune_common::bus::{Bus, Topic};
use attune_common::db;
use attune_common::error::{Result, StoreError};
use attune_common::models::enforcement::{Decision, DecisionOutcome, Recorded};
use attune_common::models::event::{WaitingBatches, WaitingEvent};
use attune_common::pass::Found;
use attune_common::repositories::{EnforcementRepository, EventRepository};
use attune_expr::scope::Scope;
use attune_rules::window::Seen;
use attune_rules::{TestResult, Verdict};
use chrono::{DateTime, SubsecRound, Utc};
use serde_json::{Map, Value};
use sqlx::{Connection, PgConnection, PgPool, Postgres, Transaction};

use crate::apart;
use crate::backpressure::Backpressure;
use crate::faults::{Caution, caught, guarded};
use crate::keys::{self, Rendered};
use crate::rules::SharedRules;
use crate::seen::SeenEvent;
use crate::snapshot::{Readiness, RuleSnapshot, SnapshotRule};
use crate::timers::Timing;
use crate::turns::{Alone, Turn, Turns};
use crate::windows::{Effects, Given, WindowsOfBatch};

/// Events that one transaction judges at most, unless they came together: a failure undoes little, and a flood still fills
/// large statements.
const BATCH: i64 = 500;

/// Of those that record decisions: one for each of the two passes that take turns.
const CONNECTIONS: u32 = 2;

/// The matching pass with the rules that it holds in memory.
#[derive(Debug)]
pub struct Matcher {
    pub(crate) pool: PgPool,
    /// For what the pass writes.
    bulk: PgPool,
    pub(crate) bus: Bus,
    pub(crate) rules: Arc<SharedRules>,
    turns: Arc<Turns>,
    backpressure: Arc<Backpressure>,
    /// Who helps when more waits than one pass takes.
    helper: Option<Bus>,
    /// Whether a decision of the last pass could not be stored: every one is looked at then.
    is_unstorable: bool,
    /// Whether a decision of the last pass was on record already: such ones are passed over then.
    is_repeated: bool,
    /// What follows from passes that failed for a reason that is not known here; it counts by batch of events.
    caution: Caution<i64>,
    /// The first batch that the pass has taken, over which it fails from now on.
    taken: Option<i64>,
    /// Whether a connection may remember a statement that the database no longer takes.
    is_outdated: bool,
    /// What the timers pass knows of those before it.
    pub(crate) timing: Timing,
}

impl Matcher {
    /// A matcher that has read no rules yet.
    pub fn new(pool: PgPool, bus: Bus) -> Self {
        Self {
            bulk: db::bulk(&pool, CONNECTIONS),
            pool,
            bus,
            rules: Arc::default(),
            turns: Arc::default(),
            backpressure: Arc::default(),
            helper: None,
            is_unstorable: false,
            is_repeated: false,
            caution: Caution::default(),
            taken: None,
            is_outdated: false,
            timing: Timing::default(),
        }
    }

    /// Another one with the same rules in memory. While one records decisions, the other can judge the next events; what was
    /// taken first is recorded first, so that windows see events in their order.
    #[must_use]
    pub fn beside(&self) -> Self {
        Self {
            rules: self.rules.clone(),
            turns: self.turns.clone(),
            backpressure: self.backpressure.clone(),
            bulk: self.bulk.clone(),
            ..Self::new(self.pool.clone(), self.bus.clone())
        }
    }

    /// Wakes [`Topic::Event`] of this bus as soon as a pass sees that it leaves events behind.
    #[must_use]
    pub fn helped_by(self, helper: Bus) -> Self {
        Self { helper: Some(helper), ..self }
    }

    /// Judges up to one batch of waiting events. What fails again and again is judged by itself, and an event that fails even so
    /// is given up at last: it gets a failed decision of each rule that would have had something to say.
    pub async fn pass(&mut self) -> Result<Found> {
        self.taken = None;
        let outcome = guarded(self.attempt()).await;
        match (&outcome, self.taken) {
            (Ok(_), taken) => self.note_progress(taken).await,
            (Err(error), Some(first)) => self.caution.failed(error, first, BATCH),
            (Err(_), None) => {}
        }
        self.note_outdated(&outcome);
        outcome
    }

    /// What has failed is a matter of caution until it is no longer there: what is locked, by the rollback of the pass that failed
    /// or by another one, is.
    async fn note_progress(&mut self, taken: Option<i64>) {
        if let Some(&failing) = self.caution.failing() {
            // Whoever cannot tell goes on as carefully.
            if EventRepository::is_batch_waiting(&self.pool, failing).await.unwrap_or(true) {
                return;
            }
            self.caution.settled();
        } else if taken.is_none() {
            self.caution.rested();
        }
    }

    /// Begins a transaction whose connection remembers no statement from before a pass failed over one.
    pub(crate) async fn begin(&self, pool: &PgPool) -> Result<Transaction<'static, Postgres>> {
        let mut transaction = db::begin(pool).await?;
        if self.is_outdated {
            transaction.clear_cached_statements().await?;
        }
        Ok(transaction)
    }

    pub(crate) fn note_outdated(&mut self, outcome: &Result<Found>) {
        self.is_outdated = outcome.as_ref().is_err_and(StoreError::is_of_a_remembered_statement);
    }

    async fn attempt(&mut self) -> Result<Found> {
        // One event: of the batches that wait, the first one.
        let limit = if self.caution.is_careful() { 1 } else { BATCH };
        self.backpressure.wait_for_room(&self.pool, BATCH).await?;
        let mut transaction = self.begin(&self.bulk).await?;
        let taking = self.turns.taking().await;
        let WaitingBatches { ids: batches, events, more, is_holding_more, rule_set_version } =
            EventRepository::take_waiting(&mut transaction, limit).await?;
        let Some(&first) = batches.first() else { return Ok(Found::Nothing) };
        let mut turn = taking.turn(Alone(is_holding_more));
        if let Some(helper) = self.helper.as_ref().filter(|_| more) {
            helper.wake(Topic::Event);
        }
        let rules = self.rules.in_force(rule_set_version, &mut transaction).await?;
        self.taken = Some(first);
        let version = rules.version();
        let matched = events.len();
        let oldest = events.iter().map(|event| event.created).min();
        // As exact as what is stored: an explanation judges with this time again.
        let now = Utc::now().trunc_subsecs(6);
        let mut windows = WindowsOfBatch::default();
        if self.caution.is_giving_up() {
            turn.come().await;
            let recorded = apart::record(&mut transaction, &rules, events, now).await;
            drop(rules);
            let recorded = match recorded {
                Ok(Some(recorded)) => recorded,
                Ok(None) => {
                    self.begin_anew(transaction, Some(turn)).await?;
                    return Ok(Found::Nothing);
                }
                Err(StoreError::InvalidReference { constraint, .. }) => {
                    say_that_rules_changed(&constraint);
                    self.begin_anew(transaction, Some(turn)).await?;
                    return Ok(Found::More);
                }
                Err(error) => return Err(error),
            };
            EventRepository::mark_matched(&mut *transaction, &batches, version, now).await?;
            transaction.commit().await?;
            drop(turn);
            self.caution.passed();
            metrics::counter!("attune_events_matched_total").increment(matched as u64);
            self.backpressure.note(recorded);
            wake(&self.bus, recorded);
            self.bus.wake(Topic::Change);
            return Ok(if more { Found::More } else { Found::Nothing });
        }
        let mut decisions: Vec<Decision> =
            events.into_iter().flat_map(|event| decide(&rules, event, now, &mut windows)).collect();
        // Only windows care for the order of what is recorded. What was taken and left can be taken when this is over.
        let turn = if windows.is_empty() && !is_holding_more {
            turn.pass_on();
            None
        } else {
            turn.come().await;
            Some(turn)
        };
        let effects = windows.take_effect(&mut transaction).await?;
        drop(rules);
        let Some(Effects { decisions: of_windows, links }) = effects else {
            // A rule with a window is being removed, or a state was forgotten at this moment.
            self.begin_anew(transaction, turn).await?;
            return Ok(Found::Nothing);
        };
        decisions.extend(of_windows);
        if self.is_unstorable {
            decisions.iter_mut().for_each(make_storable);
        }
        if self.caution.is_careful() {
            say_what_is_refused(&mut transaction, &mut decisions).await?;
        }
        let recorded = match self.is_repeated {
            false => EnforcementRepository::record_new(&mut transaction, &decisions).await,
            true => EnforcementRepository::record(&mut transaction, &decisions).await,
        };
        let recorded = match recorded {
            Ok(recorded) => recorded,
            Err(StoreError::InvalidReference { constraint, .. }) => {
                say_that_rules_changed(&constraint);
                self.begin_anew(transaction, turn).await?;
                return Ok(Found::More);
            }
            Err(error @ StoreError::Unstorable(_)) if !self.is_unstorable => {
                // One decision holds what cannot be stored. It is found and made storable; the others go unharmed.
                tracing::warn!(%error, "a decision cannot be stored as it is; matching again");
                transaction.rollback().await?;
                self.is_unstorable = true;
                return Ok(Found::More);
            }
            Err(StoreError::AlreadyExists { constraint, .. }) if !self.is_repeated => {
                tracing::info!(constraint, "a decision is on record already; matching again without it");
                transaction.rollback().await?;
                self.is_repeated = true;
                return Ok(Found::More);
            }
            Err(error) => return Err(error),
        };
        EnforcementRepository::link_events(&mut *transaction, &links).await?;
        EventRepository::mark_matched(&mut *transaction, &batches, version, now).await?;
        transaction.commit().await?;
        drop(turn);
        self.is_unstorable = false;
        self.is_repeated = false;
        self.caution.passed();
        metrics::counter!("attune_events_matched_total").increment(matched as u64);
        metrics::counter!("attune_enforcements_total").increment(decisions.len() as u64);
        if let Some(oldest) = oldest {
            let lag = (Utc::now() - oldest).to_std().unwrap_or_default();
            metrics::histogram!("attune_matching_lag_seconds").record(lag.as_secs_f64());
        }
        self.backpressure.note(recorded);
        wake(&self.bus, recorded);
        if !decisions.is_empty() {
            self.bus.wake(Topic::Change);
        }
        Ok(if more { Found::More } else { Found::Nothing })
    }

    /// Gives up what was taken, and makes the next pass read the rules again. Another one may hold the rules while it waits for
    /// this turn, or for what the transaction has locked: both end first.
    async fn begin_anew(
        &self,
        transaction: Transaction<'static, Postgres>,
        turn: Option<Turn<'_>>,
    ) -> Result<()> {
        transaction.rollback().await?;
        drop(turn);
        self.rules.outdate().await;
        Ok(())
    }
}

/// A rule or action was removed after the rules were read: they are to be read again.
fn say_that_rules_changed(constraint: &str) {
    tracing::info!(constraint, "rules changed while events were matched; matching again");
}

/// Wakes whoever is to go on with new executions.
pub(crate) fn wake(bus: &Bus, recorded: Recorded) {
    if recorded.assigned > 0 {
        bus.wake(Topic::Assigned);
    }
    if recorded.executions > recorded.assigned {
        bus.wake(Topic::Execution);
    }
}

/// The decisions of all rules about one event. The index finds the rules that it can concern; [`judge`] decides. What
/// reaches the window of a rule is left to `windows`.
pub(crate) fn decide<'s>(
    snapshot: &'s RuleSnapshot,
    event: WaitingEvent,
    now: DateTime<Utc>,
    windows: &mut WindowsOfBatch<'s>,
) -> Vec<Decision> {
    let Some(rules) = snapshot.rules_of(&event.trigger_ref) else { return Vec::new() };
    let event = SeenEvent::new(event);
    let mut reached = Vec::new();
    let mut decisions = Vec::new();
    let scope = event.scope();
    for rule in rules.concerned(&scope, event.config()) {
        // A fault in what one rule makes of one event is no reason to judge nothing for all.
        let judged = caught(|| judge(rule, &event, &scope.clone().with("rule", &rule.view), now));
        match judged.unwrap_or_else(|fault| Judgement::Decided(Box::new(failure(rule, &event, fault)))) {
            Judgement::Nothing => {}
            Judgement::Decided(decision) => decisions.push(*decision),
            Judgement::Reached(given) => reached.push((rule, given)),
        }
    }
    drop(scope);
    windows.add(event, reached);
    decisions
}

/// What a rule makes of an event.
enum Judgement {
    Nothing,
    Decided(Box<Decision>),
    Reached(Given),
}

fn judge(rule: &SnapshotRule, event: &SeenEvent, scope: &Scope<'_>, now: DateTime<Utc>) -> Judgement {
    let failed = |error: String| Judgement::Decided(Box::new(failure(rule, event, error)));
    let compiled = match &rule.readiness {
        Readiness::Ready { compiled, .. } => compiled,
        Readiness::Broken(reason) => return failed(reason.clone()),
    };
    if !compiled.listens_to(event.config()) {
        return Judgement::Nothing;
    }
    match compiled.verdict(scope, now) {
        Verdict::True => {}
        Verdict::False | Verdict::Missing => return Judgement::Nothing,
        // Not "does not match": whoever asks why nothing ran must find the reason.
        Verdict::Error => {
            return failed(reason_of_errors(&compiled.evaluate(scope, now).tests));
        }
    }
    let Some(window) = compiled.window() else {
        return Judgement::Decided(Box::new(fire(rule, event, scope)));
    };
    let meets = match window.meets(scope, now) {
        Ok(meets) => meets,
        Err(failing) => return failed(reason_of_errors(&failing)),
    };
    match window.key(scope) {
        Ok(key) => Judgement::Reached(Given { key, seen: Seen::new(event.id, event.created), meets }),
        Err(error) => failed(error),
    }
}

/// The decision of a rule that fires for an event: to run the action, or why that cannot be.
pub(crate) fn fire(rule: &SnapshotRule, event: &SeenEvent, scope: &Scope<'_>) -> Decision {
    let (compiled, action, schema) = match &rule.readiness {
        Readiness::Ready { compiled, action, parameters } => (compiled, *action, parameters),
        Readiness::Broken(reason) => return failure(rule, event, reason.clone()),
    };
    match caught(|| keys::render(rule, compiled, schema, scope)).unwrap_or_else(Err) {
        Ok(Rendered { parameters, keyed }) => {
            let outcome = DecisionOutcome::Execute { action, action_ref: rule.rule.action_ref.clone() };
            Decision { keyed, ..decision(rule, event, outcome, parameters) }
        }
        Err(error) => failure(rule, event, error),
    }
}

/// The decision that a rule has failed about an event.
pub(crate) fn failure(rule: &SnapshotRule, event: &SeenEvent, error: String) -> Decision {
    decision(rule, event, DecisionOutcome::Fail { error }, Value::Object(Map::new()))
}

fn decision(rule: &SnapshotRule, event: &SeenEvent, outcome: DecisionOutcome, parameters: Value) -> Decision {
    Decision {
        event: event.id,
        rule: rule.rule.id,
        rule_ref: rule.rule.r#ref.clone(),
        trigger_ref: event.trigger_ref.clone(),
        config: rule.decided_by.clone(),
        parameters,
        keyed: None,
        condition: rule.rule.condition,
        conditions: rule.conditions.clone(),
        outcome,
        mode: rule.rule.mode,
        retry: rule.retry.clone(),
        trace_id: event.trace_id.clone(),
    }
}

fn reason_of_errors(tests: &[TestResult]) -> String {
    let reasons: Vec<String> = tests
        .iter()
        .filter(|test| test.verdict == Verdict::Error)
        .map(|test| format!("{} ({} {}): {}", test.pointer, test.field, test.operator, test.reason))
        .collect();
    format!("a condition cannot be judged: {}", reasons.join("; "))
}

/// Finds the decisions that the database refuses, and turns each into one that says so; the others go unharmed.
pub(crate) async fn say_what_is_refused(
    connection: &mut PgConnection,
    decisions: &mut [Decision],
) -> Result<()> {
    for decision in decisions {
        let mut trial = connection.begin().await?;
        let tried = EnforcementRepository::record(&mut trial, std::slice::from_ref(decision)).await;
        trial.rollback().await?;
        match tried {
            Err(error) if error.is_refusal() => {
                let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
                let reason =
                    format!("the decision cannot be recorded: {error}{}", source.unwrap_or_default());
                tracing::error!(
                    rule = decision.rule_ref,
                    event = decision.event,
                    reason,
                    "a decision is refused"
                );
                fail(decision, reason.replace('\0', "\u{fffd}"));
            }
            Err(error @ (StoreError::Unavailable(_) | StoreError::Database(_))) => return Err(error),
            // What else is wrong is dealt with where all are recorded.
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

/// Turns a decision into one that has failed.
pub(crate) fn fail(decision: &mut Decision, error: String) {
    decision.parameters = Value::Object(Map::new());
    decision.keyed = None;
    decision.outcome = DecisionOutcome::Fail { error };
}

/// Turns a decision with what PostgreSQL cannot hold into one that says so.
pub(crate) fn make_storable(decision: &mut Decision) {
    if decision.parameters.to_string().contains("\\u0000") {
        fail(decision, "the rendered parameters contain U+0000, which cannot be stored".to_owned());
    }
    if let DecisionOutcome::Fail { error } = &mut decision.outcome {
        *error = error.replace('\0', "\u{fffd}");
    }
}
