//! The pass of internal events: what the platform itself does becomes events of the `core` triggers, so that rules can
//! react to it.
//!
//! It follows the change feed. The events of a batch and the place up to which the feed was read are one transaction, so
//! each change becomes an event exactly once, and the statements that make changes know nothing of it. While no rule
//! listens, the place is only moved on from time to time.
//!
//! An event knows how many internal events led to it, one through the execution of the other. Beyond [`MAX_DEPTH`] none is
//! made: a rule that reacts to its own execution does not run for ever.

use std::time::{Duration, Instant};

use attune_common::bus::{Bus, Topic};
use attune_common::error::Result;
use attune_common::models::audit::NewAuditEvent;
use attune_common::models::event::NewEvent;
pub use attune_common::models::internal_event::MAX_DEPTH;
use attune_common::models::internal_event::{
    EndedExecution, FailedEnforcement, ListenedTrigger, LostWorker, PutQuestion,
};
use attune_common::pass::Found;
use attune_common::repositories::{
    AuditRepository, Change, ChangeRepository, EventRepository, InternalEventRepository,
};
use attune_expr::schema::without_secrets;
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};

/// How often it looks without a signal.
pub const INTERVAL: Duration = Duration::from_millis(500);

pub const EXECUTION_COMPLETED: &str = "core.execution_completed";
pub const EXECUTION_FAILED: &str = "core.execution_failed";
pub const WORKER_LOST: &str = "core.worker_lost";
pub const RULE_ERROR: &str = "core.rule_error";
pub const INQUIRY_CREATED: &str = "core.inquiry_created";
pub const INQUIRY_RESPONDED: &str = "core.inquiry_responded";

/// The triggers of internal events.
pub const TRIGGERS: [&str; 6] =
    [EXECUTION_COMPLETED, EXECUTION_FAILED, WORKER_LOST, RULE_ERROR, INQUIRY_CREATED, INQUIRY_RESPONDED];

/// Changes that are read at once.
const BATCH: i64 = 500;

/// How long the feed may run ahead while nobody listens.
const REST: Duration = Duration::from_secs(5);

/// How much of an error an event carries, in characters.
const LONGEST_ERROR: usize = 2000;

/// The pass with what it remembers, which only saves it work.
#[derive(Debug)]
pub struct Emitter {
    pool: PgPool,
    bus: Bus,
    /// Until then nobody is believed to listen.
    rest: Instant,
}

impl Emitter {
    /// An emitter that has read nothing yet.
    pub fn new(pool: PgPool, bus: Bus) -> Self {
        Self { pool, bus, rest: Instant::now() }
    }

    /// Turns a batch of changes into events.
    pub async fn pass(&mut self) -> Result<Found> {
        if Instant::now() < self.rest {
            return Ok(Found::Nothing);
        }
        let mut transaction = attune_common::db::begin(&self.pool).await?;
        let Some(cursor) = InternalEventRepository::take_cursor(&mut transaction).await? else {
            // Another executor reads the feed.
            return Ok(Found::Nothing);
        };
        // Before it is asked who listens: a rule that is made later misses nothing that happens after it.
        let end = ChangeRepository::end(&mut *transaction).await?;
        let listened = InternalEventRepository::listened(&mut *transaction, &TRIGGERS).await?;
        if listened.is_empty() {
            if end > cursor {
                InternalEventRepository::move_cursor(&mut transaction, end).await?;
            }
            transaction.commit().await?;
            self.rest = Instant::now() + REST;
            return Ok(Found::Nothing);
        }
        let changes = ChangeRepository::after(&mut *transaction, cursor, BATCH).await?;
        let Some(last) = changes.last() else {
            transaction.rollback().await?;
            return Ok(Found::Nothing);
        };
        let events = events(&mut transaction, &changes, &listened).await?;
        let made = EventRepository::append(&mut transaction, &events).await?.len();
        InternalEventRepository::move_cursor(&mut transaction, last.cursor()).await?;
        transaction.commit().await?;
        if made > 0 {
            metrics::counter!("attune_internal_events_total").increment(made as u64);
            self.bus.wake(Topic::Event);
        }
        Ok(if changes.len() as i64 == BATCH { Found::More } else { Found::Nothing })
    }
}

/// The events that the changes are, of the triggers that are listened to.
async fn events(
    connection: &mut PgConnection,
    changes: &[Change],
    listened: &[ListenedTrigger],
) -> Result<Vec<NewEvent>> {
    let listened = |trigger: &str| listened.iter().find(|listened| listened.r#ref == trigger);
    let told = |trigger: &str, entity_type: &str, activities: &[&str]| -> Vec<&Change> {
        if listened(trigger).is_none() {
            return Vec::new();
        }
        let meant = |change: &&Change| {
            change.entity_type == entity_type && activities.contains(&change.activity.as_str())
        };
        changes.iter().filter(meant).collect()
    };
    let of = |trigger: &str, entity_type: &str, activities: &[&str]| -> Vec<i64> {
        told(trigger, entity_type, activities).into_iter().map(|change| change.entity).collect()
    };
    let mut ended = of(EXECUTION_COMPLETED, "execution", &["completed"]);
    ended.extend(of(EXECUTION_FAILED, "execution", &["failed", "timeout", "abandoned"]));
    let lost: Vec<_> = told(WORKER_LOST, "worker", &["lost"])
        .into_iter()
        .map(|change| (change.entity, change.created))
        .collect();
    let failed = of(RULE_ERROR, "enforcement", &["failed"]);
    let asked = of(INQUIRY_CREATED, "inquiry", &["pending"]);
    let answered = of(INQUIRY_RESPONDED, "inquiry", &["responded"]);

    let mut drafts = Vec::new();
    for execution in InternalEventRepository::ended_executions(&mut *connection, &ended).await? {
        drafts.push(of_execution(execution));
    }
    for worker in InternalEventRepository::lost_workers(&mut *connection, &lost).await? {
        drafts.push(of_worker(worker));
    }
    for enforcement in InternalEventRepository::failed_enforcements(&mut *connection, &failed).await? {
        drafts.push(of_enforcement(enforcement));
    }
    for question in InternalEventRepository::questions(&mut *connection, &asked).await? {
        drafts.push(of_question(question));
    }
    for question in InternalEventRepository::questions(&mut *connection, &answered).await? {
        drafts.push(of_answer(question));
    }
    let (kept, cut): (Vec<Draft>, Vec<Draft>) =
        drafts.into_iter().partition(|draft| draft.depth <= MAX_DEPTH);
    let cut: Vec<Cut> = cut.into_iter().map(Cut::of).collect();
    report(&mut *connection, &cut).await?;
    let events = kept.into_iter().filter_map(|draft| {
        let trigger = listened(draft.trigger)?;
        Some(NewEvent {
            trigger: Some(trigger.id),
            trigger_ref: trigger.r#ref.clone(),
            config: Some(draft.config),
            payload: Some(draft.payload),
            trace_id: draft.trace_id,
            depth: draft.depth,
            ..NewEvent::default()
        })
    });
    Ok(events.collect())
}

/// An event to be made, or to be cut.
#[derive(Debug)]
struct Draft {
    trigger: &'static str,
    config: Value,
    payload: Value,
    trace_id: Option<String>,
    depth: i16,
    entity_type: &'static str,
    entity_ref: String,
}

/// An internal event that is not made, since too many others led to it.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) trigger: &'static str,
    pub(crate) entity_type: &'static str,
    pub(crate) entity_ref: String,
    pub(crate) depth: i16,
}

impl Cut {
    fn of(draft: Draft) -> Self {
        let Draft { trigger, entity_type, entity_ref, depth, .. } = draft;
        Self { trigger, entity_type, entity_ref, depth }
    }
}

/// Says that chains of internal events were cut: in the log, in the metrics and in the audit log.
pub(crate) async fn report(connection: &mut PgConnection, cut: &[Cut]) -> Result<()> {
    if cut.is_empty() {
        return Ok(());
    }
    for draft in cut {
        tracing::warn!(
            trigger = draft.trigger,
            entity = draft.entity_type,
            entity_ref = draft.entity_ref,
            depth = draft.depth,
            "rules react to what they cause themselves; this one makes no event any more"
        );
    }
    metrics::counter!("attune_internal_events_cut_total").increment(cut.len() as u64);
    let entries: Vec<NewAuditEvent> = cut
        .iter()
        .map(|draft| NewAuditEvent {
            identity: None,
            login: None,
            activity: "internal_event.cut".to_owned(),
            entity_type: draft.entity_type.to_owned(),
            entity_ref: draft.entity_ref.clone(),
            detail: json!({ "trigger": draft.trigger, "depth": draft.depth, "max_depth": MAX_DEPTH }),
        })
        .collect();
    AuditRepository::append(connection, &entries).await?;
    Ok(())
}

fn of_execution(execution: EndedExecution) -> Draft {
    let trigger =
        if execution.status.as_str() == "completed" { EXECUTION_COMPLETED } else { EXECUTION_FAILED };
    let pack = execution.action_ref.split('.').next().unwrap_or_default().to_owned();
    Draft {
        trigger,
        config: json!({ "action": execution.action_ref, "pack": pack, "status": execution.status.as_str() }),
        payload: json!({
            "execution": execution.id,
            "action": execution.action_ref,
            "status": execution.status.as_str(),
            "attempt": execution.attempt,
            "error": execution.error.map(shortened),
            "exit_code": execution.exit_code,
            "parent": execution.parent,
            "enforcement": execution.enforcement,
            "rule": execution.rule_ref,
            "event": execution.event,
            "created": execution.created.to_rfc3339(),
            "started": execution.started.map(|at| at.to_rfc3339()),
            "finished": execution.finished.map(|at| at.to_rfc3339()),
        }),
        trace_id: execution.trace_id,
        depth: execution.depth.saturating_add(1),
        entity_type: "execution",
        entity_ref: execution.id.to_string(),
    }
}

fn of_worker(worker: LostWorker) -> Draft {
    Draft {
        trigger: WORKER_LOST,
        config: json!({ "worker": worker.name }),
        payload: json!({
            "worker": worker.name,
            "host": worker.host,
            "lease_expired": worker.lease_expires.map(|at| at.to_rfc3339()),
        }),
        trace_id: None,
        depth: 1,
        entity_type: "worker",
        entity_ref: worker.name,
    }
}

fn of_enforcement(enforcement: FailedEnforcement) -> Draft {
    Draft {
        trigger: RULE_ERROR,
        config: json!({ "rule": enforcement.rule_ref }),
        payload: json!({
            "enforcement": enforcement.id,
            "rule": enforcement.rule_ref,
            "trigger": enforcement.trigger_ref,
            "event": enforcement.event,
            "error": shortened(enforcement.error),
        }),
        trace_id: enforcement.trace_id,
        depth: enforcement.depth.saturating_add(1),
        entity_type: "enforcement",
        entity_ref: enforcement.id.to_string(),
    }
}

fn of_question(question: PutQuestion) -> Draft {
    let config = config_of(&question);
    Draft {
        trigger: INQUIRY_CREATED,
        config,
        payload: json!({
            "inquiry": question.id,
            "execution": question.execution,
            "action": question.action_ref,
            "prompt": question.prompt,
            "assigned_to": question.assigned_to,
            "assigned_role": question.assigned_role,
            "timeout_at": question.timeout_at.map(|at| at.to_rfc3339()),
            "created": question.created.to_rfc3339(),
        }),
        trace_id: question.trace_id,
        depth: question.depth.saturating_add(1),
        entity_type: "inquiry",
        entity_ref: question.id.to_string(),
    }
}

fn of_answer(question: PutQuestion) -> Draft {
    let config = config_of(&question);
    let response = question.response.map(|response| without_secrets(response, &question.response_schema));
    Draft {
        trigger: INQUIRY_RESPONDED,
        config,
        payload: json!({
            "inquiry": question.id,
            "execution": question.execution,
            "action": question.action_ref,
            "prompt": question.prompt,
            "response": response,
            "responded_by": question.responded_by,
            "responded_at": question.responded_at.map(|at| at.to_rfc3339()),
            "created": question.created.to_rfc3339(),
        }),
        trace_id: question.trace_id,
        depth: question.depth.saturating_add(1),
        entity_type: "inquiry",
        entity_ref: question.id.to_string(),
    }
}

fn config_of(question: &PutQuestion) -> Value {
    let pack = question.action_ref.split('.').next().unwrap_or_default();
    json!({
        "action": question.action_ref,
        "pack": pack,
        "assigned_to": question.assigned_to,
        "assigned_role": question.assigned_role,
    })
}

fn shortened(text: String) -> String {
    match text.char_indices().nth(LONGEST_ERROR) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
