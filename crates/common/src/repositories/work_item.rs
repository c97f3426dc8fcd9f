//! The items of work queues. Writes `attune.work_item`.
//!
//! An item is handed out under a lease, and each handing out is another attempt. What is said about an item later is heard
//! only from the attempt that holds it: one that comes late changes nothing. Statements about several items lock them in
//! the order of ids, or pass over what is locked, so that none of them wait for each other.

use std::time::Duration;

use serde_json::Value;
use sqlx::PgExecutor;

use super::by_id;
use crate::error::Result;
use crate::models::Timestamp;
use crate::models::work_queue::{
    EndedAttempt, EndedItem, ItemFailure, ItemLease, NewWorkItem, WorkItem, WorkItemCounts, WorkItemFilter,
};

/// Functions about `attune.work_item`.
#[derive(Debug)]
pub struct WorkItemRepository;

by_id!(WorkItemRepository, WorkItem, "work item", "attune.work_item", order "id desc");

impl WorkItemRepository {
    /// Adds items to a queue, all or none; gives back their ids in the order of the input.
    pub async fn push(executor: impl PgExecutor<'_>, queue: i64, new: &[NewWorkItem]) -> Result<Vec<i64>> {
        let ids = sqlx::query_scalar(
            "with pushed as (
                 insert into attune.work_item (queue, item, priority, not_before)
                 select $1, item, priority, coalesce(not_before, statement_timestamp())
                 from unnest($2::jsonb[], $3::smallint[], $4::timestamptz[])
                     with ordinality as new (item, priority, not_before, place)
                 order by place
                 returning id
             ),
             signal as materialized (
                 select pg_notify('attune_work', '') is null as sent
             )
             select pushed.id from pushed cross join signal where signal.sent is not null order by pushed.id",
        )
        .bind(queue)
        .bind(new.iter().map(|item| item.item.clone()).collect::<Vec<Value>>())
        .bind(new.iter().map(|item| item.priority).collect::<Vec<_>>())
        .bind(new.iter().map(|item| item.not_before).collect::<Vec<_>>())
        .fetch_all(executor)
        .await?;
        Ok(ids)
    }

    /// Hands out up to a batch of the queue's items, of the highest priority and among those the oldest first, and
    /// begins an attempt of each. Nothing of a queue that is not enabled, and nothing before its time. Two that lease at
    /// once get different items.
    pub async fn lease(executor: impl PgExecutor<'_>, queue: i64, lease: Duration) -> Result<Vec<WorkItem>> {
        Self::lease_batches(executor, queue, lease, 1).await
    }

    /// Hands out as many items as so many batches hold, as [`WorkItemRepository::lease`] does.
    pub async fn lease_batches(
        executor: impl PgExecutor<'_>,
        queue: i64,
        lease: Duration,
        batches: i64,
    ) -> Result<Vec<WorkItem>> {
        let rows = sqlx::query_as(include_str!("work_item/lease.sql"))
            .bind(queue)
            .bind(lease.as_secs_f64())
            .bind(batches)
            .fetch_all(executor)
            .await?;
        Ok(rows)
    }

    /// Notes the execution that leased items were given to; gives back the items that are still held.
    pub async fn assign(
        executor: impl PgExecutor<'_>,
        leases: &[ItemLease],
        execution: i64,
    ) -> Result<Vec<i64>> {
        let ids = sqlx::query_scalar(
            "with held as (
                 select work_item.id
                 from attune.work_item
                 join unnest($1::bigint[], $2::integer[]) as lease (item, attempt)
                     on work_item.id = lease.item and work_item.attempts = lease.attempt
                 where work_item.status = 'leased'
                 order by work_item.id
                 for update of work_item
             ),
             assigned as (
                 update attune.work_item set execution = $3 from held where work_item.id = held.id
                 returning work_item.id
             )
             select id from assigned order by id",
        )
        .bind(items(leases))
        .bind(attempts(leases))
        .bind(execution)
        .fetch_all(executor)
        .await?;
        Ok(ids)
    }

    /// Notes the execution of each of these items, which the transaction has just leased.
    pub async fn assign_each(executor: impl PgExecutor<'_>, assigned: &[(ItemLease, i64)]) -> Result<()> {
        sqlx::query(
            "update attune.work_item
             set execution = given.execution
             from unnest($1::bigint[], $2::integer[], $3::bigint[]) as given (item, attempt, execution)
             where work_item.id = given.item and work_item.attempts = given.attempt and work_item.status = 'leased'",
        )
        .bind(assigned.iter().map(|(lease, _)| lease.item).collect::<Vec<_>>())
        .bind(assigned.iter().map(|(lease, _)| lease.attempt).collect::<Vec<_>>())
        .bind(assigned.iter().map(|(_, execution)| *execution).collect::<Vec<_>>())
        .execute(executor)
        .await?;
        Ok(())
    }

    /// How many executions work on the queue.
    pub async fn count_executions(executor: impl PgExecutor<'_>, queue: i64) -> Result<i64> {
        let count = sqlx::query_scalar(
            "select count(distinct execution) from attune.work_item where queue = $1 and status = 'leased'",
        )
        .bind(queue)
        .fetch_one(executor)
        .await?;
        Ok(count)
    }

    /// Whether any item waits or is being worked on.
    pub async fn is_needed(executor: impl PgExecutor<'_>) -> Result<bool> {
        let any = sqlx::query_scalar(
            "select exists (select from attune.work_item where status = 'ready')
                 or exists (select from attune.work_item where status = 'leased')",
        )
        .fetch_one(executor)
        .await?;
        Ok(any)
    }

    /// Up to `limit` leased items whose execution has ended, with how it ended.
    pub async fn list_ended(executor: impl PgExecutor<'_>, limit: i64) -> Result<Vec<EndedItem>> {
        let rows = sqlx::query_as(
            "select work_item.id as item, work_item.attempts as attempt, execution.id as execution, execution.status,
                    execution.error, work_queue.retry_seconds
             from attune.work_item
             join attune.work_queue on work_queue.id = work_item.queue
             join attune.execution on execution.id = work_item.execution
             where work_item.status = 'leased' and execution.finished is not null
             order by work_item.id
             limit $1",
        )
        .bind(limit)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// Prolongs the leases of all items whose execution has not ended; gives back how many were.
    pub async fn extend_running(executor: impl PgExecutor<'_>, lease: Duration) -> Result<u64> {
        let done = sqlx::query(
            "with running as (
                 select work_item.id
                 from attune.work_item
                 join attune.execution on execution.id = work_item.execution
                 where work_item.status = 'leased' and execution.finished is null
                   -- Not before half of the lease is over: most end before that.
                   and work_item.lease_expires < clock_timestamp() + make_interval(secs => $1 / 2)
                 for update of work_item skip locked
             )
             update attune.work_item
             set lease_expires = clock_timestamp() + make_interval(secs => $1)
             from running
             where work_item.id = running.id",
        )
        .bind(lease.as_secs_f64())
        .execute(executor)
        .await?;
        Ok(done.rows_affected())
    }

    /// Brings up to `limit` dead items of the queue back, all or those with these ids: each is replaced by a new item.
    /// Gives back the ids of both, the oldest first.
    pub async fn revive(
        executor: impl PgExecutor<'_>,
        queue: i64,
        ids: Option<&[i64]>,
        limit: i64,
    ) -> Result<Vec<(i64, i64)>> {
        let rows = sqlx::query_as(include_str!("work_item/revive.sql"))
            .bind(queue)
            .bind(ids)
            .bind(limit)
            .fetch_all(executor)
            .await?;
        Ok(rows)
    }

    /// Prolongs leases, from now on; gives back the items that are still held.
    pub async fn extend(
        executor: impl PgExecutor<'_>,
        leases: &[ItemLease],
        lease: Duration,
    ) -> Result<Vec<i64>> {
        let ids = sqlx::query_scalar(
            "with held as (
                 select work_item.id
                 from attune.work_item
                 join unnest($1::bigint[], $2::integer[]) as lease (item, attempt)
                     on work_item.id = lease.item and work_item.attempts = lease.attempt
                 where work_item.status = 'leased'
                 order by work_item.id
                 for update of work_item
             ),
             extended as (
                 update attune.work_item
                 set lease_expires = clock_timestamp() + make_interval(secs => $3)
                 from held
                 where work_item.id = held.id
                 returning work_item.id
             )
             select id from extended order by id",
        )
        .bind(items(leases))
        .bind(attempts(leases))
        .bind(lease.as_secs_f64())
        .fetch_all(executor)
        .await?;
        Ok(ids)
    }

    /// Ends items well; gives back those that were still held. A lease that has run out holds until somebody notices.
    pub async fn complete(executor: impl PgExecutor<'_>, leases: &[ItemLease]) -> Result<Vec<i64>> {
        let ids = sqlx::query_scalar(
            "with held as (
                 select work_item.id
                 from attune.work_item
                 join unnest($1::bigint[], $2::integer[]) as lease (item, attempt)
                     on work_item.id = lease.item and work_item.attempts = lease.attempt
                 where work_item.status = 'leased'
                 order by work_item.id
                 for update of work_item
             ),
             completed as (
                 update attune.work_item
                 set status = 'done', lease_expires = null, error = null
                 from held
                 where work_item.id = held.id
                 returning work_item.id
             )
             select id from completed order by id",
        )
        .bind(items(leases))
        .bind(attempts(leases))
        .fetch_all(executor)
        .await?;
        Ok(ids)
    }

    /// Ends attempts without success: the items go back to wait for their delay, or are dead when their queue allows no
    /// further attempt. Gives back, by id, what became of those that were still held.
    pub async fn fail(executor: impl PgExecutor<'_>, failures: &[ItemFailure]) -> Result<Vec<EndedAttempt>> {
        let leases: Vec<ItemLease> = failures.iter().map(|failure| failure.lease).collect();
        let rows = sqlx::query_as(include_str!("work_item/fail.sql"))
            .bind(items(&leases))
            .bind(attempts(&leases))
            .bind(failures.iter().map(|failure| failure.error.as_str()).collect::<Vec<_>>())
            .bind(failures.iter().map(|failure| failure.delay.as_secs_f64()).collect::<Vec<_>>())
            .fetch_all(executor)
            .await?;
        Ok(rows)
    }

    /// Takes up to `limit` items back from whoever let their leases run out: they are ready again, or dead when their
    /// queue allows no further attempt. Items of an execution that is there are left to its end, whenever that is read. Gives back, by id, what became of them.
    pub async fn expire_leases(executor: impl PgExecutor<'_>, limit: i64) -> Result<Vec<EndedAttempt>> {
        let rows = sqlx::query_as(include_str!("work_item/expire_leases.sql"))
            .bind(limit)
            .fetch_all(executor)
            .await?;
        Ok(rows)
    }

    /// How many items of the queue stand where.
    pub async fn count_by_status(executor: impl PgExecutor<'_>, queue: i64) -> Result<WorkItemCounts> {
        let counts = sqlx::query_as(
            "select count(*) filter (where status = 'ready') as ready,
                    count(*) filter (where status = 'leased') as leased,
                    count(*) filter (where status = 'done') as done,
                    count(*) filter (where status = 'dead') as dead
             from attune.work_item
             where queue = $1",
        )
        .bind(queue)
        .fetch_one(executor)
        .await?;
        Ok(counts)
    }

    /// A page of items, by descending id.
    pub async fn search(executor: impl PgExecutor<'_>, filter: &WorkItemFilter) -> Result<Vec<WorkItem>> {
        let rows = sqlx::query_as(
            "select * from attune.work_item
             where ($1::bigint is null or queue = $1)
               and ($2::attune.work_item_status is null or status = $2)
               and ($3::bigint is null or id < $3)
             order by id desc
             limit $4",
        )
        .bind(filter.queue)
        .bind(filter.status)
        .bind(filter.before)
        .bind(filter.limit)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// Removes up to `limit` items that ended before this time; gives back how many.
    pub async fn expire_ended(
        executor: impl PgExecutor<'_>,
        ended_before: Timestamp,
        limit: i64,
    ) -> Result<u64> {
        let done = sqlx::query(
            "with expired as (
                 select id from attune.work_item
                 where status in ('done', 'dead') and updated < $1
                 order by updated
                 limit $2
                 for update skip locked
             )
             delete from attune.work_item using expired where work_item.id = expired.id",
        )
        .bind(ended_before)
        .bind(limit)
        .execute(executor)
        .await?;
        Ok(done.rows_affected())
    }
}

fn items(leases: &[ItemLease]) -> Vec<i64> {
    leases.iter().map(|lease| lease.item).collect()
}

fn attempts(leases: &[ItemLease]) -> Vec<i32> {
    leases.iter().map(|lease| lease.attempt).collect()
}
