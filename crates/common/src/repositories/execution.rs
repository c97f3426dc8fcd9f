//! Executions and their attempts. Writes `attune.execution` and `attune.execution_attempt`
//! (executions that follow from decisions are inserted by [`EnforcementRepository`](super::EnforcementRepository)).

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};

use crate::error::{Result, StoreError};
use crate::models::execution::{
    Attempt, Claimed, ClaimedAction, Completion, Execution, ExecutionFilter, ExecutionStatus,
    ExecutionUpdate, NewExecution, Rescued, Room,
};
use crate::models::keyed::KeyedParameters;
use crate::models::placement::Unschedulable;
use crate::models::worker::Offer;

/// Functions about `attune.execution`.
#[derive(Debug)]
pub struct ExecutionRepository;

/// A new execution, or what one of them refers to that does not exist; then none was made.
type Made = (i64, Option<String>, Option<i64>);

fn ids(made: Vec<Made>) -> Result<Vec<i64>> {
    // What a foreign key would say.
    if let Some((_, Some(field), target)) = made.first() {
        return Err(StoreError::InvalidReference {
            entity: "execution".to_owned(),
            field: field.clone(),
            constraint: format!("execution_{field}_fkey"),
            value: target.map(|id| id.to_string()),
        });
    }
    Ok(made.into_iter().map(|(id, ..)| id).collect())
}

/// An execution that was claimed or assigned, without how it is run.
#[derive(Debug, sqlx::FromRow)]
struct ClaimedRow {
    id: i64,
    attempt: i32,
    action: Option<i64>,
    action_ref: String,
    trace_id: Option<String>,
    config: Value,
    #[sqlx(json(nullable))]
    keyed: Option<KeyedParameters>,
    canceling: bool,
    is_native: bool,
}

impl ClaimedRow {
    fn run_by(self, known: &HashMap<i64, Arc<ClaimedAction>>) -> Claimed {
        let Self { id, attempt, action, action_ref, trace_id, config, keyed, canceling, is_native } = self;
        let how = action.and_then(|action| known.get(&action).cloned()).unwrap_or_default();
        Claimed { id, attempt, action_ref, trace_id, config, keyed, canceling, is_native, how }
    }
}

/// How executions of an action are run.
#[derive(Debug, sqlx::FromRow)]
struct ActionRow {
    action: i64,
    #[sqlx(flatten)]
    how: ClaimedAction,
}

impl ExecutionRepository {
    /// How often an execution may lose its worker until `on_worker_loss: retry` is over for it: it may be what they die of.
    pub const MOST_WORKER_LOSSES: i64 = 5;

    /// The table, with its schema.
    pub const fn table_name() -> &'static str {
        "attune.execution"
    }

    /// Makes executions; ids are in the order of the input.
    pub async fn create_many(connection: &mut PgConnection, executions: &[NewExecution]) -> Result<Vec<i64>> {
        ids(Self::insert(connection, executions).await?)
    }

    /// Makes one execution.
    pub async fn create(connection: &mut PgConnection, execution: NewExecution) -> Result<Execution> {
        let made = Self::insert(&mut *connection, std::slice::from_ref(&execution)).await;
        match ids(made.map_err(|error| StoreError::about(error, &execution))?)?.first() {
            Some(id) => Self::get_by_id(connection, *id).await,
            None => Err(StoreError::Database(sqlx::Error::RowNotFound)),
        }
    }

    async fn insert(connection: &mut PgConnection, executions: &[NewExecution]) -> sqlx::Result<Vec<Made>> {
        if executions.is_empty() {
            return Ok(Vec::new());
        }
        sqlx::query_as(include_str!("execution/create.sql"))
            .bind(executions.iter().map(|e| e.action).collect::<Vec<_>>())
            .bind(executions.iter().map(|e| e.action_ref.as_str()).collect::<Vec<_>>())
            .bind(executions.iter().map(|e| e.enforcement).collect::<Vec<_>>())
            .bind(executions.iter().map(|e| e.parent).collect::<Vec<_>>())
            .bind(executions.iter().map(|e| e.original).collect::<Vec<_>>())
            .bind(executions.iter().map(|e| e.identity).collect::<Vec<_>>())
            .bind(executions.iter().map(|e| e.status).collect::<Vec<_>>())
            .bind(executions.iter().map(|e| e.priority).collect::<Vec<_>>())
            .bind(executions.iter().map(|e| e.trace_id.as_deref()).collect::<Vec<_>>())
            .bind(executions.iter().map(|e| e.config.clone()).collect::<Vec<Value>>())
            .bind(executions.iter().map(|e| e.placement).collect::<Vec<_>>())
            .fetch_all(connection)
            .await
    }

    /// The execution with this id, if there is one.
    pub async fn find_by_id(executor: impl PgExecutor<'_>, id: i64) -> Result<Option<Execution>> {
        let row = sqlx::query_as("select * from attune.execution where id = $1")
            .bind(id)
            .fetch_optional(executor)
            .await?;
        Ok(row)
    }

    /// The execution with this id; NotFound without one.
    pub async fn get_by_id(executor: impl PgExecutor<'_>, id: i64) -> Result<Execution> {
        Self::find_by_id(executor, id).await?.ok_or_else(|| StoreError::not_found("execution", id))
    }

    /// The status of an execution and the number of its latest attempt, if there is such an execution.
    pub async fn standing(executor: impl PgExecutor<'_>, id: i64) -> Result<Option<(ExecutionStatus, i32)>> {
        let row = sqlx::query_as("select status, attempt from attune.execution where id = $1")
            .bind(id)
            .fetch_optional(executor)
            .await?;
        Ok(row)
    }

    /// At most [`LIST_LIMIT`](super::LIST_LIMIT) executions, the newest first.
    pub async fn list(executor: impl PgExecutor<'_>) -> Result<Vec<Execution>> {
        let rows = sqlx::query_as("select * from attune.execution order by id desc limit 1000")
            .fetch_all(executor)
            .await?;
        Ok(rows)
    }

    /// A page of executions, by descending id.
    pub async fn search(executor: impl PgExecutor<'_>, filter: &ExecutionFilter) -> Result<Vec<Execution>> {
        let rows = sqlx::query_as(
            "select * from attune.execution where ($1::text is null or action_ref = $1)
               and ($2::attune.execution_status is null or status = $2)
               and ($3::bigint is null or id = any(
                       array(select id from attune.execution where enforcement = $3)))
               and ($4::bigint is null or id = any(
                       array(select id from attune.execution
                             where enforcement = any(
                                 array(select id from attune.enforcement where enforcement.event = $4
                                       union
                                       select enforcement from attune.enforcement_event where event = $4)))))
               and ($5::bigint is null or id < $5)
             order by id desc
             limit $6",
        )
        // Planned anew with its parameters: a plan that must serve any filter reads the table until the page is full. What comes of
        // an enforcement or an event is found by id: before there are statistics, the planner takes it for a good part of the
        // table, and would look for it from the newest one on.
        .persistent(false)
        .bind(&filter.action_ref)
        .bind(filter.status)
        .bind(filter.enforcement)
        .bind(filter.event)
        .bind(filter.before)
        .bind(filter.limit)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// The executions that came of these enforcements, the first one first.
    pub async fn list_by_enforcements(
        executor: impl PgExecutor<'_>,
        enforcements: &[i64],
    ) -> Result<Vec<Execution>> {
        let rows = sqlx::query_as(
            // Found before they are sorted, as by `search`.
            "with found as materialized (select * from attune.execution where enforcement = any($1))
             select * from found order by id limit 1000",
        )
        .bind(enforcements)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// The executions that this one began, in the order in which it began them.
    pub async fn list_by_parent(executor: impl PgExecutor<'_>, parent: i64) -> Result<Vec<Execution>> {
        let rows = sqlx::query_as("select * from attune.execution where parent = $1 order by id limit 1000")
            .bind(parent)
            .fetch_all(executor)
            .await?;
        Ok(rows)
    }

    /// The executions that ran this one again, the first one first.
    pub async fn list_by_original(executor: impl PgExecutor<'_>, original: i64) -> Result<Vec<Execution>> {
        let rows =
            sqlx::query_as("select * from attune.execution where original = $1 order by id limit 1000")
                .bind(original)
                .fetch_all(executor)
                .await?;
        Ok(rows)
    }

    /// What an identity asked for, the newest first.
    pub async fn list_by_identity(executor: impl PgExecutor<'_>, identity: i64) -> Result<Vec<Execution>> {
        let rows =
            sqlx::query_as("select * from attune.execution where identity = $1 order by id desc limit 1000")
                .bind(identity)
                .fetch_all(executor)
                .await?;
        Ok(rows)
    }

    /// Changes an execution that waits: its admission and its place in the queue. None leaves a column as it is. NotFound
    /// without one; Conflict when it was changed since, no longer waits, or cannot go from its status to the new one.
    pub async fn update(
        connection: &mut PgConnection,
        id: i64,
        update: &ExecutionUpdate,
    ) -> Result<Execution> {
        let changed: Option<i64> = sqlx::query_scalar(include_str!("execution/update.sql"))
            .bind(id)
            .bind(update.status)
            .bind(update.priority)
            .bind(update.unchanged_since)
            .fetch_optional(&mut *connection)
            .await
            .map_err(|error| StoreError::about(error, update))?;
        let row = Self::get_by_id(connection, id).await?;
        match changed {
            Some(_) => Ok(row),
            None => Err(StoreError::Conflict { entity: "execution", key: id.to_string() }),
        }
    }

    /// Removes an execution with everything about it; false when there was none.
    pub async fn delete(executor: impl PgExecutor<'_>, id: i64) -> Result<bool> {
        let done =
            sqlx::query("delete from attune.execution where id = $1").bind(id).execute(executor).await?;
        Ok(done.rows_affected() > 0)
    }

    /// The ended attempts of an execution, the first one first. Why it never had one is told by the execution itself.
    pub async fn attempts(executor: impl PgExecutor<'_>, id: i64) -> Result<Vec<Attempt>> {
        let rows = sqlx::query_as(
            "select execution, attempt, status, worker_name, exit_code, signal, result, error, stdout_bytes, stderr_bytes,
                    started, finished
             from attune.execution_attempt
             where execution = $1
             union all
             -- The last one, if it was not the one that another was to follow when the execution was cancelled.
             select id, attempt, status, worker_name, exit_code, signal, result, error, coalesce(stdout_bytes, 0),
                    coalesce(stderr_bytes, 0), started, finished
             from attune.execution
             where id = $1 and finished is not null and attempt > 0
               and not exists (
                   select
                   from attune.execution_attempt former
                   where former.execution = execution.id and former.attempt = execution.attempt
               )
             order by attempt",
        )
        .bind(id)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// Hands waiting executions to a worker, as many as it has room for, by priority and age, with all that it needs to
    /// run them: of those that may run on it, that are not paused and whose time has come. Nothing is handed to a worker
    /// that is cordoned, replaced, or past its lease. After an error they may have been handed over all the same, as
    /// [`ExecutionRepository::list_assigned`] then tells.
    pub async fn claim(
        connection: &mut PgConnection,
        worker: i64,
        instance: &str,
        room: impl Into<Room>,
    ) -> Result<Vec<Claimed>> {
        let room = room.into();
        let rows = sqlx::query_as(include_str!("execution/claim.sql"))
            .bind(worker)
            .bind(instance)
            .bind(room.processes)
            .bind(room.native)
            .fetch_all(&mut *connection)
            .await?;
        Self::with_actions(connection, rows).await
    }

    /// What was assigned to a worker after the id that it read last, by id; and commits that it was read. Nothing for a
    /// process that was replaced. What the worker claimed may be among it.
    pub async fn list_assigned(
        connection: &mut PgConnection,
        worker: i64,
        instance: &str,
        after: i64,
    ) -> Result<Vec<Claimed>> {
        let rows = sqlx::query_as(include_str!("execution/list_assigned.sql"))
            .bind(worker)
            .bind(instance)
            .bind(after)
            .fetch_all(&mut *connection)
            .await?;
        Self::with_actions(connection, rows).await
    }

    /// Adds how they are run. An action that was removed meanwhile leaves nothing of that.
    async fn with_actions(connection: &mut PgConnection, rows: Vec<ClaimedRow>) -> Result<Vec<Claimed>> {
        let mut actions: Vec<i64> = rows.iter().filter_map(|row| row.action).collect();
        actions.sort_unstable();
        actions.dedup();
        if actions.is_empty() {
            // Nothing, or what is left of actions that were removed.
            return Ok(rows.into_iter().map(|row| row.run_by(&HashMap::new())).collect());
        }
        let found: Vec<ActionRow> =
            sqlx::query_as(include_str!("execution/actions.sql")).bind(actions).fetch_all(connection).await?;
        let known = found.into_iter().map(|row| (row.action, Arc::new(row.how))).collect();
        Ok(rows.into_iter().map(|row| row.run_by(&known)).collect())
    }

    /// Notes that an attempt of a worker begins now: what it waited for after it was claimed does not count as running.
    pub async fn note_start(
        executor: impl PgExecutor<'_>,
        worker: i64,
        (execution, attempt): (i64, i32),
    ) -> Result<()> {
        sqlx::query(
            "update attune.execution
             set started = clock_timestamp(), updated = clock_timestamp()
             where id = $1 and attempt = $2 and worker = $3 and status in ('running', 'canceling')",
        )
        .bind(execution)
        .bind(attempt)
        .bind(worker)
        .execute(executor)
        .await?;
        Ok(())
    }

    /// What is claimed by a worker and has not ended, as [`ExecutionRepository::claim`] gives it: where the answer to a
    /// claim was lost, this tells whether it was made.
    pub async fn list_held(executor: impl PgExecutor<'_>, worker: i64) -> Result<Vec<Claimed>> {
        let rows =
            sqlx::query_as(include_str!("execution/list_held.sql")).bind(worker).fetch_all(executor).await?;
        Ok(rows)
    }

    /// How many executions each of these workers has that have not ended; those with none are left out.
    pub async fn count_held(executor: impl PgExecutor<'_>, workers: &[i64]) -> Result<HashMap<i64, i64>> {
        let rows: Vec<(i64, i64)> = sqlx::query_as(
            "select worker.id, held.number
             from unnest($1::bigint[]) as worker (id)
             cross join lateral (
                 select count(*) as number
                 from attune.execution
                 where execution.worker = worker.id and execution.status in ('running', 'canceling')
             ) held
             where held.number > 0",
        )
        .bind(workers)
        .fetch_all(executor)
        .await?;
        Ok(rows.into_iter().collect())
    }

    /// Ends attempts, and with them their executions, unless these are to be tried again: then they wait for that. An end
    /// is recorded only while the execution is still with this worker in this attempt; the ids of those are given back,
    /// and what a rescue or a cancellation decided before stands. One that is being cancelled at this moment is left out, too: it
    /// is recorded when it is tried again.
    pub async fn complete(
        executor: impl PgExecutor<'_>,
        worker: i64,
        completions: &[Completion],
    ) -> Result<Vec<i64>> {
        let ids = sqlx::query_scalar(include_str!("execution/complete.sql"))
            .bind(worker)
            .bind(completions.iter().map(|c| c.execution).collect::<Vec<_>>())
            .bind(completions.iter().map(|c| c.attempt).collect::<Vec<_>>())
            .bind(completions.iter().map(|c| c.status).collect::<Vec<_>>())
            .bind(completions.iter().map(|c| c.exit_code).collect::<Vec<_>>())
            .bind(completions.iter().map(|c| c.signal).collect::<Vec<_>>())
            .bind(completions.iter().map(|c| c.result.as_ref()).collect::<Vec<Option<&Value>>>())
            .bind(completions.iter().map(|c| c.error.as_deref()).collect::<Vec<_>>())
            .bind(completions.iter().map(|c| c.stdout_bytes).collect::<Vec<_>>())
            .bind(completions.iter().map(|c| c.stderr_bytes).collect::<Vec<_>>())
            .fetch_all(executor)
            .await?;
        Ok(ids)
    }

    /// The short way of [`ExecutionRepository::complete`] for attempts that ended well ([`Completion::is_well`]), given in the
    /// order of their executions, together with the offer of the room that is free now. What was being cancelled is not
    /// among the ids that it gives back, and goes the other way.
    pub async fn complete_well(
        executor: impl PgExecutor<'_>,
        worker: i64,
        completions: &[Completion],
        offer: &Offer,
    ) -> Result<Vec<i64>> {
        let ids = sqlx::query_scalar(include_str!("execution/complete_well.sql"))
            .bind(worker)
            .bind(completions.iter().map(|c| c.execution).collect::<Vec<_>>())
            .bind(completions.iter().map(|c| c.attempt).collect::<Vec<_>>())
            .bind(completions.iter().map(|c| c.exit_code).collect::<Vec<_>>())
            .bind(completions.iter().map(|c| c.result.as_ref()).collect::<Vec<Option<&Value>>>())
            .bind(completions.iter().map(|c| c.stdout_bytes).collect::<Vec<_>>())
            .bind(completions.iter().map(|c| c.stderr_bytes).collect::<Vec<_>>())
            .bind(&offer.instance)
            .bind(offer.offered)
            .fetch_all(executor)
            .await?;
        Ok(ids)
    }

    /// Ends the attempts of workers that are gone: past their lease, replaced, or deleted. The execution waits for
    /// another attempt where its action says that is safe, or its retry rules cover this end; otherwise it ends, as
    /// `timeout` where it is past that, or `abandoned`. A cancellation wins over everything.
    pub async fn rescue(executor: impl PgExecutor<'_>, limit: i64) -> Result<Vec<Rescued>> {
        let rows = sqlx::query_as(include_str!("execution/rescue.sql"))
            .bind(limit)
            .bind(Self::MOST_WORKER_LOSSES)
            .fetch_all(executor)
            .await?;
        Ok(rows)
    }

    /// Cancels an execution with all that it began, however deep: at once what waits, be it for another attempt, and
    /// through its worker what runs. Gives back the status that it has now (a terminal one stays, and then nothing is
    /// cancelled), or None when there is no such execution. Belongs into a transaction: what is being begun meanwhile is
    /// then cancelled with it, or never begins.
    pub async fn cancel(connection: &mut PgConnection, id: i64) -> Result<Option<ExecutionStatus>> {
        let mut now = None;
        loop {
            let step: Option<(ExecutionStatus, i64)> = sqlx::query_as(include_str!("execution/cancel.sql"))
                .bind(id)
                .bind(now.is_some())
                .fetch_optional(&mut *connection)
                .await?;
            let Some((status, cancelled)) = step else { return Ok(now) };
            now = Some(status);
            if cancelled == 0 {
                return Ok(now);
            }
        }
    }

    /// What a worker is to end, of executions from this id on: it knows the oldest one that it runs, and what lies before, of ended
    /// ones that are not cleaned up yet, may be much.
    pub async fn list_canceling(executor: impl PgExecutor<'_>, worker: i64, from: i64) -> Result<Vec<i64>> {
        let ids = sqlx::query_scalar(
            "select id from attune.execution where worker = $1 and id >= $2 and status = 'canceling' order by id",
        )
        .bind(worker)
        .bind(from)
        .fetch_all(executor)
        .await?;
        Ok(ids)
    }

    /// Lets up to `limit` executions be claimed whose time to be tried again has come; gives back how many.
    pub async fn release_due(executor: impl PgExecutor<'_>, limit: i64) -> Result<i64> {
        let released = sqlx::query_scalar(include_str!("execution/release_due.sql"))
            .bind(limit)
            .fetch_one(executor)
            .await?;
        Ok(released)
    }

    /// Puts aside what is paused among the first `limit` of each queue, so that claims need not pass over it; gives back
    /// how many. Costs nothing while nothing is paused: whoever calls this asks first.
    pub async fn set_aside(executor: impl PgExecutor<'_>, limit: i64) -> Result<u64> {
        let done = sqlx::query(include_str!("execution/set_aside.sql")).bind(limit).execute(executor).await?;
        Ok(done.rows_affected())
    }

    /// Brings up to `limit` executions back into their queues that were put aside and are paused no longer; gives back
    /// how many.
    pub async fn bring_back(executor: impl PgExecutor<'_>, limit: i64) -> Result<i64> {
        let back = sqlx::query_scalar(include_str!("execution/bring_back.sql"))
            .bind(limit)
            .fetch_one(executor)
            .await?;
        Ok(back)
    }

    /// Marks up to `limit` executions whose placement no live worker has served for so long, each once in its life.
    pub async fn mark_unschedulable(
        executor: impl PgExecutor<'_>,
        unserved_for: std::time::Duration,
        limit: i64,
    ) -> Result<Vec<Unschedulable>> {
        let rows = sqlx::query_as(include_str!("execution/mark_unschedulable.sql"))
            .bind(unserved_for.as_secs_f64())
            .bind(limit)
            .fetch_all(executor)
            .await?;
        Ok(rows)
    }

    /// How many executions are in each status that is not terminal.
    pub async fn count_unfinished(executor: impl PgExecutor<'_>) -> Result<Vec<(ExecutionStatus, i64)>> {
        let rows = sqlx::query_as(
            // Two halves: each has an index of its own.
            "select status, count(*)
             from attune.execution
             where status in ('requested', 'scheduling', 'scheduled')
             group by status
             union all
             select status, count(*)
             from attune.execution
             where status in ('running', 'canceling')
             group by status
             order by 1",
        )
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }
}
