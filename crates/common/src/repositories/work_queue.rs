//! Work queues. Writes `attune.work_queue`; their items are [`WorkItemRepository`](super::WorkItemRepository)'s.

use sqlx::{PgConnection, PgExecutor};

use super::{by_id, by_ref, owned_by_pack, updates};
use crate::error::{Result, StoreError};
use crate::models::work_queue::{NewWorkQueue, WorkQueue, WorkQueueUpdate};

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
                 max_attempts
             )
             values (
                 $1, $2, (select ref from attune.pack where id = $2), $3, $4, $5,
                 (select id from attune.action where ref = $6), $6, $7, $8, $9
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
                 max_attempts
             )
             values (
                 $1, $2, (select ref from attune.pack where id = $2), $3, $4, $5,
                 (select id from attune.action where ref = $6), $6, $7, $8, $9
             )
             on conflict on constraint work_queue_ref_key do update
             set pack = excluded.pack, pack_ref = excluded.pack_ref, label = excluded.label,
                 description = excluded.description, enabled = excluded.enabled, action = excluded.action,
                 action_ref = excluded.action_ref, item_schema = excluded.item_schema,
                 batch_size = excluded.batch_size, max_attempts = excluded.max_attempts
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
                 max_attempts = coalesce($6, max_attempts)
             where id = $1 and ($7::timestamptz is null or updated = $7)
             returning *",
        )
        .bind(id)
        .bind(&update.label)
        .bind(&update.description)
        .bind(update.enabled)
        .bind(update.batch_size)
        .bind(update.max_attempts)
        .bind(update.unchanged_since)
        .fetch_optional(&mut *connection)
        .await
        .map_err(|error| StoreError::about(error, update))?;
        Self::changed_or_refused(connection, id, changed).await
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
