//! Enforcements. Writes `attune.enforcement` and `attune.enforcement_event`; the executions that follow from decisions are inserted by the same
//! statement, so that neither can exist without the other.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor};

use super::{by_id, updates};
use crate::error::{Result, StoreError};
use crate::models::enforcement::{
    Decision, DecisionOutcome, Enforcement, EnforcementFilter, EnforcementStatus, EnforcementUpdate,
    NewEnforcement, Recorded,
};
use crate::models::rule::RuleMode;
use crate::models::window::ContributingEvents;

/// What the statement that records decisions says of them.
#[derive(sqlx::FromRow)]
struct RecordedRow {
    executions: i64,
    assigned: i64,
    is_crowded: bool,
    gone_action: Option<i64>,
    gone_rule: Option<i64>,
    gone_event: Option<i64>,
}

/// One decision for each set of those that share all that comes from their rule, and for each decision the number of its set, from 1.
fn deciding(decisions: &[Decision]) -> (Vec<&Decision>, Vec<i32>) {
    let share = |a: &Decision, b: &Decision| {
        // What a rule has its decisions share is one value in memory; where it is not, as after a change of the rule, the sets
        // are two.
        let same = |a: &Arc<Value>, b: &Arc<Value>| Arc::ptr_eq(a, b);
        let outcome = match (&a.outcome, &b.outcome) {
            (DecisionOutcome::Execute { .. }, DecisionOutcome::Execute { .. }) => a.outcome == b.outcome,
            (DecisionOutcome::Fail { .. }, DecisionOutcome::Fail { .. }) => true,
            _ => false,
        };
        let retry = match (&a.retry, &b.retry) {
            (Some(a), Some(b)) => same(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        outcome
            && retry
            && same(&a.config, &b.config)
            && same(&a.conditions, &b.conditions)
            && (&a.rule_ref, &a.trigger_ref, a.condition, a.mode)
                == (&b.rule_ref, &b.trigger_ref, b.condition, b.mode)
    };
    let mut deciding: Vec<&Decision> = Vec::new();
    let mut sets: HashMap<i64, Vec<i32>> = HashMap::new();
    let numbers = decisions
        .iter()
        .map(|decision| {
            let sets = sets.entry(decision.rule).or_default();
            let known = sets.iter().copied().find(|number| {
                deciding.get(*number as usize - 1).is_some_and(|known| share(known, decision))
            });
            known.unwrap_or_else(|| {
                deciding.push(decision);
                let number = i32::try_from(deciding.len()).unwrap_or(i32::MAX);
                sets.push(number);
                number
            })
        })
        .collect();
    (deciding, numbers)
}

/// Functions about `attune.enforcement`.
#[derive(Debug)]
pub struct EnforcementRepository;

by_id!(EnforcementRepository, Enforcement, "enforcement", "attune.enforcement", newest);
updates!(EnforcementRepository, Enforcement, "enforcement");

impl EnforcementRepository {
    /// Records one enforcement, without an execution.
    pub async fn create(executor: impl PgExecutor<'_>, new: NewEnforcement) -> Result<Enforcement> {
        let row = sqlx::query_as(
            "insert into attune.enforcement (
                 rule, rule_ref, trigger_ref, config, event, status, payload, condition, conditions, error
             )
             values (
                 $1, $2, $3, coalesce($4, '{}'), $5, coalesce($6, 'created'::attune.enforcement_status),
                 coalesce($7, '{}'), $8, coalesce($9, '[]'), $10
             )
             returning *",
        )
        .bind(new.rule)
        .bind(&new.rule_ref)
        .bind(&new.trigger_ref)
        .bind(&new.config)
        .bind(new.event)
        .bind(new.status)
        .bind(&new.payload)
        .bind(new.condition)
        .bind(&new.conditions)
        .bind(&new.error)
        .fetch_one(executor)
        .await
        .map_err(|error| StoreError::about(error, &new))?;
        Ok(row)
    }

    /// Records decisions and the executions that follow from them; a rule in shadow mode leaves one that is `disabled`. A decision that was recorded before (same rule, same
    /// event) is passed over with its execution. Gives back how many executions were made.
    pub async fn record_decisions(connection: &mut PgConnection, decisions: &[Decision]) -> Result<i64> {
        Ok(Self::record(connection, decisions).await?.executions)
    }

    /// [`EnforcementRepository::record_decisions`], which tells also where the executions are.
    pub async fn record(connection: &mut PgConnection, decisions: &[Decision]) -> Result<Recorded> {
        const PASSING_OVER: &str = concat!(
            include_str!("enforcement/decided.sql"),
            "on conflict on constraint enforcement_event_rule_key do nothing\n",
            include_str!("enforcement/executed.sql"),
        );
        Self::record_by(PASSING_OVER, connection, decisions).await
    }

    /// [`EnforcementRepository::record`] of decisions that hardly any can have been recorded of before, for less: one that was is
    /// AlreadyExists, and nothing is recorded.
    pub async fn record_new(connection: &mut PgConnection, decisions: &[Decision]) -> Result<Recorded> {
        const REFUSING: &str =
            concat!(include_str!("enforcement/decided.sql"), include_str!("enforcement/executed.sql"));
        Self::record_by(REFUSING, connection, decisions).await
    }

    async fn record_by(
        statement: &'static str,
        connection: &mut PgConnection,
        decisions: &[Decision],
    ) -> Result<Recorded> {
        if decisions.is_empty() {
            return Ok(Recorded::default());
        }
        let (deciding, numbers) = deciding(decisions);
        fn error(d: &Decision) -> Option<&str> {
            match &d.outcome {
                DecisionOutcome::Execute { .. } => None,
                DecisionOutcome::Fail { error } => Some(error),
            }
        }
        let status = |d: &Decision| match d.mode {
            RuleMode::Active => EnforcementStatus::Processed,
            RuleMode::Shadow => EnforcementStatus::Disabled,
        };
        let actions: Vec<_> = deciding
            .iter()
            .map(|d| match &d.outcome {
                DecisionOutcome::Execute { action, action_ref } => {
                    (Some(*action).filter(|_| d.mode == RuleMode::Active), Some(&**action_ref))
                }
                DecisionOutcome::Fail { .. } => (None, None),
            })
            .collect();
        let recorded: RecordedRow = sqlx::query_as(statement)
            .bind(i32::try_from(decisions.len()).unwrap_or(i32::MAX))
            .bind(decisions.iter().map(|d| d.event).collect::<Vec<_>>())
            .bind(numbers)
            .bind(decisions.iter().map(|d| Json(&d.parameters)).collect::<Vec<_>>())
            .bind(decisions.iter().map(error).collect::<Vec<_>>())
            .bind(decisions.iter().map(|d| d.trace_id.as_deref()).collect::<Vec<_>>())
            .bind(decisions.iter().map(|d| d.keyed.as_ref().map(Json)).collect::<Vec<_>>())
            .bind(deciding.iter().map(|d| d.rule).collect::<Vec<_>>())
            .bind(deciding.iter().map(|d| d.rule_ref.as_str()).collect::<Vec<_>>())
            .bind(deciding.iter().map(|d| d.trigger_ref.as_str()).collect::<Vec<_>>())
            .bind(deciding.iter().map(|d| Json(&*d.config)).collect::<Vec<_>>())
            .bind(deciding.iter().map(|d| d.condition.as_str()).collect::<Vec<_>>())
            .bind(deciding.iter().map(|d| Json(&*d.conditions)).collect::<Vec<_>>())
            .bind(actions.iter().map(|action| action.0).collect::<Vec<_>>())
            .bind(actions.iter().map(|action| action.1).collect::<Vec<_>>())
            .bind(deciding.iter().map(|d| status(d).as_str()).collect::<Vec<_>>())
            .bind(deciding.iter().map(|d| d.retry.as_deref().map(Json)).collect::<Vec<_>>())
            .fetch_one(connection)
            .await?;
        // What foreign keys would say.
        let gone = |entity: &str, field: &str, id: Option<i64>| match id {
            None => Ok(()),
            Some(id) => Err(StoreError::InvalidReference {
                entity: entity.to_owned(),
                field: field.to_owned(),
                constraint: format!("{entity}_{field}_fkey"),
                value: Some(id.to_string()),
            }),
        };
        gone("execution", "action", recorded.gone_action)?;
        gone("enforcement", "rule", recorded.gone_rule)?;
        gone("enforcement", "event", recorded.gone_event)?;
        let RecordedRow { executions, assigned, is_crowded, .. } = recorded;
        Ok(Recorded { executions, assigned, is_crowded })
    }

    /// Records which events contributed to decisions that [`EnforcementRepository::record_decisions`] has recorded in this
    /// transaction.
    pub async fn link_events(executor: impl PgExecutor<'_>, links: &[ContributingEvents]) -> Result<()> {
        if links.is_empty() {
            return Ok(());
        }
        let each = || links.iter().flat_map(|link| link.contributing.iter().map(move |event| (link, *event)));
        sqlx::query(
            "insert into attune.enforcement_event (enforcement, event)
             select enforcement.id, event.id
             from unnest($1::bigint[], $2::bigint[], $3::bigint[]) as input (rule, event, contributing)
             join attune.enforcement on enforcement.rule = input.rule and enforcement.event = input.event
             -- One that is no longer there cannot be linked. What is linked stays until the commit: `db::bulk`.
             join attune.event on event.id = input.contributing
             for key share of enforcement, event
             on conflict on constraint enforcement_event_pkey do nothing",
        )
        .bind(each().map(|(link, _)| link.rule).collect::<Vec<_>>())
        .bind(each().map(|(link, _)| link.event).collect::<Vec<_>>())
        .bind(each().map(|(_, event)| event).collect::<Vec<_>>())
        .execute(executor)
        .await?;
        Ok(())
    }

    /// The events that contributed to these enforcements, as pairs (enforcement, event) in their order: those that its
    /// window linked, and the one that it is about.
    pub async fn contributing_events(
        executor: impl PgExecutor<'_>,
        enforcements: &[i64],
    ) -> Result<Vec<(i64, i64)>> {
        let rows = sqlx::query_as(
            "select id, event from attune.enforcement where id = any($1) and event is not null
             union
             select enforcement, event from attune.enforcement_event where enforcement = any($1)
             order by 1, 2",
        )
        .bind(enforcements)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// Changes an enforcement; None leaves a column as it is, and a change of nothing changes not even `updated`. A
    /// status that is not `created` is final
    /// ([`can_become`](crate::models::enforcement::EnforcementStatus::can_become)): another one is a Conflict.
    pub async fn update(
        connection: &mut PgConnection,
        id: i64,
        update: &EnforcementUpdate,
    ) -> Result<Enforcement> {
        let changed = sqlx::query_as(
            "update attune.enforcement
             set status = coalesce($2, status), payload = coalesce($3, payload)
             where id = $1 and ($4::timestamptz is null or updated = $4)
               and (status = 'created' or status = coalesce($2, status))
             returning *",
        )
        .bind(id)
        .bind(update.status)
        .bind(&update.payload)
        .bind(update.unchanged_since)
        .fetch_optional(&mut *connection)
        .await
        .map_err(|error| StoreError::about(error, update))?;
        Self::changed_or_refused(connection, id, changed).await
    }

    /// Enforcements of a rule, the newest first.
    pub async fn list_by_rule(executor: impl PgExecutor<'_>, rule: i64) -> Result<Vec<Enforcement>> {
        let rows = sqlx::query_as(
            "select *
             from (
                 select * from attune.enforcement
                 where rule = $1 and rule_ref = (select ref from attune.rule where id = $1)
                 order by id desc
                 limit 1000
             ) newest
             order by created desc, id desc",
        )
        .bind(rule)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// Enforcements in a status, the newest first.
    pub async fn list_by_status(
        executor: impl PgExecutor<'_>,
        status: EnforcementStatus,
    ) -> Result<Vec<Enforcement>> {
        let rows = sqlx::query_as(
            "select *
             from (select * from attune.enforcement where status = $1 order by id desc limit 1000) newest
             order by created desc, id desc",
        )
        // Planned anew with its status: the index that serves it leaves out those that are processed.
        .persistent(false)
        .bind(status)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// Enforcements about an event and those that it contributed to, the newest first.
    pub async fn list_by_event(executor: impl PgExecutor<'_>, event: i64) -> Result<Vec<Enforcement>> {
        let rows = sqlx::query_as(
            "select * from attune.enforcement
             where id = any(array(
                 select id from attune.enforcement where event = $1
                 union
                 select enforcement from attune.enforcement_event where event = $1
             ))
             order by created desc, id desc
             limit 1000",
        )
        .bind(event)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// What rules of these names decided about an event, the first one first.
    pub async fn list_by_event_and_rules(
        executor: impl PgExecutor<'_>,
        event: i64,
        rule_refs: &[String],
    ) -> Result<Vec<Enforcement>> {
        let rows = sqlx::query_as(
            "select * from attune.enforcement where event = $1 and rule_ref = any($2) order by id",
        )
        .bind(event)
        .bind(rule_refs)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// A page of enforcements, by descending id.
    pub async fn search(
        executor: impl PgExecutor<'_>,
        filter: &EnforcementFilter,
    ) -> Result<Vec<Enforcement>> {
        let rows = sqlx::query_as(
            "select * from attune.enforcement
             where ($1::text is null or rule_ref = $1)
               and ($2::bigint is null or id = any(
                       array(select id from attune.enforcement where event = $2
                             union
                             select enforcement from attune.enforcement_event where event = $2)))
               and ($3::attune.enforcement_status is null or status = $3)
               and ($4::bigint is null or id < $4)
             order by id desc
             limit $5",
        )
        // Planned anew with its parameters: a plan that must serve any filter reads the table until the page is full.
        .persistent(false)
        .bind(&filter.rule_ref)
        .bind(filter.event)
        .bind(filter.status)
        .bind(filter.before)
        .bind(filter.limit)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }
}
