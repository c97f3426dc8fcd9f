//! Work queues. Writes `attune.work_queue`; their items are [`WorkItemRepository`](super::WorkItemRepository)'s.

use sqlx::{PgConnection, PgExecutor};

use super::{by_id, by_ref, owned_by_pack, updates};
use crate::error::{Result, StoreError};
use crate::models::work_queue::{NewWorkQueue, TakenQueue, WorkQueue, WorkQueueUpdate};

/// Functions about `attune.work_queue`.
#[derive(Debug)]
pub struct WorkQueueRepository;

by_id!(WorkQueueRepository, WorkQueue, "work queue", "attune.work_queue", order "ref");
updates!(WorkQueueRepository, WorkQueue, "work queue");
by_ref!(WorkQueueRepository, WorkQueue, "work queue", "attune.work_queue");
owned_by_pack!(WorkQueueRepository, WorkQueue, "attune.work_queue");

impl WorkQueueRepository {
    /// Makes a queue, of a pack or on its own. Its action is found by its ref, or left open until it exists.
    pub async fn create(
        executor: impl PgExecutor<'_>,
        pack: Option<i64>,
        new: &NewWorkQueue,
    ) -> Result<WorkQueue> {
        let row = sqlx::query_as(
            "insert into attune.work_queue (
                 ref, pack, pack_ref, label, description, enabled, action, action_ref, item_schema, batch_size,
                 max_attempts, concurrency, retry_seconds
             )
             values (
                 $1, $2, (select ref from attune.pack where id = $2), $3, $4, $5,
                 (select id from attune.action where ref = $6), $6, $7, $8, $9, $10, $11
             )
             returning *",
        )
        .bind(&new.r#ref)
        .bind(pack)
        .bind(&new.label)
        .bind(&new.description)
        .bind(new.enabled)
        .bind(&new.action_ref)
        .bind(&new.item_schema)
        .bind(new.batch_size)
        .bind(new.max_attempts)
        .bind(new.concurrency)
        .bind(new.retry_seconds)
        .fetch_one(executor)
        .await
        .map_err(|error| StoreError::about(error, new))?;
        Ok(row)
    }

    /// Makes a queue of a pack or brings it to this definition; its id and its items stay.
    pub async fn put(executor: impl PgExecutor<'_>, pack: i64, new: &NewWorkQueue) -> Result<WorkQueue> {
        let row = sqlx::query_as(
            "insert into attune.work_queue (
                 ref, pack, pack_ref, label, description, enabled, action, action_ref, item_schema, batch_size,
                 max_attempts, concurrency, retry_seconds
             )
             values (
                 $1, $2, (select ref from attune.pack where id = $2), $3, $4, $5,
                 (select id from attune.action where ref = $6), $6, $7, $8, $9, $10, $11
             )
             on conflict on constraint work_queue_ref_key do update
             set pack = excluded.pack, pack_ref = excluded.pack_ref, label = excluded.label,
                 description = excluded.description, enabled = excluded.enabled, action = excluded.action,
                 action_ref = excluded.action_ref, item_schema = excluded.item_schema,
                 batch_size = excluded.batch_size, max_attempts = excluded.max_attempts,
                 concurrency = excluded.concurrency, retry_seconds = excluded.retry_seconds
             returning *",
        )
        .bind(&new.r#ref)
        .bind(pack)
        .bind(&new.label)
        .bind(&new.description)
        .bind(new.enabled)
        .bind(&new.action_ref)
        .bind(&new.item_schema)
        .bind(new.batch_size)
        .bind(new.max_attempts)
        .bind(new.concurrency)
        .bind(new.retry_seconds)
        .fetch_one(executor)
        .await
        .map_err(|error| StoreError::about(error, new))?;
        Ok(row)
    }

    /// Changes a queue; None leaves a column as it is.
    pub async fn update(
        connection: &mut PgConnection,
        id: i64,
        update: &WorkQueueUpdate,
    ) -> Result<WorkQueue> {
        let changed = sqlx::query_as(
            "update attune.work_queue
             set label = coalesce($2, label), description = coalesce($3, description),
                 enabled = coalesce($4, enabled), batch_size = coalesce($5, batch_size),
                 max_attempts = coalesce($6, max_attempts), concurrency = coalesce($7, concurrency),
                 retry_seconds = coalesce($8, retry_seconds)
             where id = $1 and ($9::timestamptz is null or updated = $9)
             returning *",
        )
        .bind(id)
        .bind(&update.label)
        .bind(&update.description)
        .bind(update.enabled)
        .bind(update.batch_size)
        .bind(update.max_attempts)
        .bind(update.concurrency)
        .bind(update.retry_seconds)
        .bind(update.unchanged_since)
        .fetch_optional(&mut *connection)
        .await
        .map_err(|error| StoreError::about(error, update))?;
        Self::changed_or_refused(connection, id, changed).await
    }

    /// The queues that have an item to hand out, and an action to hand it to; by ref.
    pub async fn list_dispatchable(executor: impl PgExecutor<'_>) -> Result<Vec<i64>> {
        let ids = sqlx::query_scalar(
            "select work_queue.id
             from attune.work_queue
             join attune.action on action.id = work_queue.action
             where work_queue.enabled and action.enabled and action.runtime is not null
               and exists (
                   select
                   from attune.work_item
                   where work_item.queue = work_queue.id and work_item.status = 'ready'
                     and work_item.not_before <= statement_timestamp()
               )
             order by work_queue.ref",
        )
        .fetch_all(executor)
        .await?;
        Ok(ids)
    }

    /// Takes a queue for the rest of the transaction, to hand out its items; None while another executor has it. Items
    /// may be added all the while.
    pub async fn take(transaction: &mut PgConnection, id: i64) -> Result<Option<TakenQueue>> {
        let row = sqlx::query_as(
            "select work_queue.id, action.id as action, action.ref as action_ref, action.param_schema,
                    work_queue.batch_size, work_queue.concurrency, work_queue.retry_seconds
             from attune.work_queue
             join attune.action on action.id = work_queue.action
             where work_queue.id = $1 and work_queue.enabled and action.enabled and action.runtime is not null
             for no key update of work_queue skip locked",
        )
        .bind(id)
        .fetch_optional(transaction)
        .await?;
        Ok(row)
    }

    /// Gives queues whose action was missing the action of that ref, where it exists now; gives back how many.
    pub async fn relink(executor: impl PgExecutor<'_>) -> Result<u64> {
        let done = sqlx::query(
            "update attune.work_queue
             set action = action.id
             from attune.action
             where work_queue.action is null and action.ref = work_queue.action_ref",
        )
        .execute(executor)
        .await?;
        Ok(done.rows_affected())
    }
}
