//! What internal events are made from, and how far the change feed was read for them. Writes `attune.feed_cursor`. The events
//! themselves are written by [`EventRepository`](super::EventRepository).

use sqlx::{PgConnection, PgExecutor};

use super::ChangeCursor;
use crate::error::Result;
use crate::models::Timestamp;
use crate::models::internal_event::{
    EndedExecution, ExecutionOrigin, FailedEnforcement, ListenedTrigger, LostWorker, PutQuestion,
};

/// Functions about internal events.
#[derive(Debug)]
pub struct InternalEventRepository;

impl InternalEventRepository {
    /// The table, with its schema.
    pub const fn table_name() -> &'static str {
        "attune.feed_cursor"
    }

    /// Takes the place up to which the feed was read, for the rest of the transaction; None when another reader has it.
    pub async fn take_cursor(transaction: &mut PgConnection) -> Result<Option<ChangeCursor>> {
        let row: Option<(i64, i64)> = sqlx::query_as(
            "select xid::text::bigint, seq
             from attune.feed_cursor
             where name = 'internal_event'
             for update skip locked",
        )
        .fetch_optional(transaction)
        .await?;
        Ok(row.map(|(xid, id)| ChangeCursor { xid, id }))
    }

    /// Notes how far the feed was read.
    pub async fn move_cursor(transaction: &mut PgConnection, cursor: ChangeCursor) -> Result<()> {
        sqlx::query(
            "update attune.feed_cursor set xid = $1::text::xid8, seq = $2 where name = 'internal_event'",
        )
        .bind(cursor.xid.to_string())
        .bind(cursor.id)
        .execute(transaction)
        .await?;
        Ok(())
    }

    /// Those of the triggers that an enabled rule listens to.
    pub async fn listened(executor: impl PgExecutor<'_>, triggers: &[&str]) -> Result<Vec<ListenedTrigger>> {
        let rows = sqlx::query_as(
            "select id, ref
             from attune.trigger
             where ref = any($1) and enabled
               and exists (select from attune.rule where rule.trigger = trigger.id and rule.enabled)",
        )
        .bind(triggers)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// What there is to tell of executions that have ended, by id.
    pub async fn ended_executions(
        executor: impl PgExecutor<'_>,
        executions: &[i64],
    ) -> Result<Vec<EndedExecution>> {
        if executions.is_empty() {
            return Ok(Vec::new());
        }
        let rows = sqlx::query_as(include_str!("internal_event/ended_executions.sql"))
            .bind(executions)
            .fetch_all(executor)
            .await?;
        Ok(rows)
    }

    /// What an execution inherits from the rule that began it, or that began the one it belongs to.
    pub async fn origin(executor: impl PgExecutor<'_>, execution: i64) -> Result<ExecutionOrigin> {
        let row: Option<ExecutionOrigin> = sqlx::query_as(include_str!("internal_event/origin.sql"))
            .bind(execution)
            .fetch_optional(executor)
            .await?;
        Ok(row.unwrap_or_default())
    }

    /// What there is to tell of workers, each with when it was noticed that it is lost.
    pub async fn lost_workers(
        executor: impl PgExecutor<'_>,
        workers: &[(i64, Timestamp)],
    ) -> Result<Vec<LostWorker>> {
        if workers.is_empty() {
            return Ok(Vec::new());
        }
        let rows = sqlx::query_as(
            "select worker.id, worker.name, worker.host,
                    -- It may have a lease again.
                    least(worker.lease_expires, loss.noticed) as lease_expires
             from unnest($1::bigint[], $2::timestamptz[]) as loss (worker, noticed)
             join attune.worker on worker.id = loss.worker
             order by worker.id, loss.noticed",
        )
        .bind(workers.iter().map(|(worker, _)| *worker).collect::<Vec<_>>())
        .bind(workers.iter().map(|(_, noticed)| *noticed).collect::<Vec<_>>())
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// What there is to tell of enforcements that failed, by id.
    pub async fn failed_enforcements(
        executor: impl PgExecutor<'_>,
        enforcements: &[i64],
    ) -> Result<Vec<FailedEnforcement>> {
        if enforcements.is_empty() {
            return Ok(Vec::new());
        }
        let rows = sqlx::query_as(
            "select enforcement.id, enforcement.rule_ref, enforcement.trigger_ref, enforcement.event,
                    enforcement.error, event.trace_id, coalesce(event.depth, 0::smallint) as depth
             from attune.enforcement
             left join attune.event on event.id = enforcement.event
             where enforcement.id = any($1) and enforcement.error is not null
             order by enforcement.id",
        )
        .bind(enforcements)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// What there is to tell of inquiries, by id.
    pub async fn questions(executor: impl PgExecutor<'_>, inquiries: &[i64]) -> Result<Vec<PutQuestion>> {
        if inquiries.is_empty() {
            return Ok(Vec::new());
        }
        let rows = sqlx::query_as(include_str!("internal_event/questions.sql"))
            .bind(inquiries)
            .fetch_all(executor)
            .await?;
        Ok(rows)
    }
}
