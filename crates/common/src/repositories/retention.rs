//! What is old goes: the statements of the retention pass, each a method of the repository whose table it empties.
//!
//! Each removes a limited number of rows, the oldest first and found by an index, passes over what another process has
//! locked, and leaves alone what has not ended and what something that has not ended still tells its story by.

use sqlx::PgExecutor;

use super::{ChangeRepository, EnforcementRepository, EventRepository, ExecutionRepository, first_id_since};
use crate::error::Result;
use crate::models::Timestamp;

impl ExecutionRepository {
    /// Removes up to `limit` executions that ended before this time, with their parameters, attempts and output; gives
    /// back how many. Those stay whose parent or child has not ended, or that hold an item of a work queue.
    pub async fn expire(executor: impl PgExecutor<'_>, ended_before: Timestamp, limit: i64) -> Result<u64> {
        let done = sqlx::query(concat!(
            "with recursive ",
            first_id_since!("young", "attune.execution", "$1"),
            ",
             expired as (
                 select execution.id
                 from attune.execution
                 where execution.id < (select max(low) from young)
                   and execution.created < $1 and execution.finished < $1
                   and not exists (
                       select from attune.execution parent
                       where parent.id = execution.parent and parent.finished is null
                   )
                   and not exists (
                       select from attune.execution child
                       where child.parent = execution.id and child.finished is null
                   )
                   and not exists (
                       select from attune.work_item
                       where work_item.execution = execution.id and work_item.status = 'leased'
                   )
                 order by execution.id
                 limit $2
                 for update of execution skip locked
             )
             delete from attune.execution using expired where execution.id = expired.id"
        ))
        .bind(ended_before)
        .bind(limit)
        .execute(executor)
        .await?;
        Ok(done.rows_affected())
    }
}

impl EnforcementRepository {
    /// Removes up to `limit` enforcements from before this time; gives back how many. Those stay whose execution has not
    /// ended.
    pub async fn expire(executor: impl PgExecutor<'_>, before: Timestamp, limit: i64) -> Result<u64> {
        let done = sqlx::query(concat!(
            "with recursive ",
            first_id_since!("young", "attune.enforcement", "$1"),
            ",
             expired as (
                 select enforcement.id
                 from attune.enforcement
                 where enforcement.id < (select max(low) from young) and enforcement.created < $1
                   -- Asked one by one: a join would read all executions. The planner takes half of them to pass such a question, and
                   -- so expects to have enough soon, in the order of the key.
                   and coalesce(
                       (
                           select false
                           from attune.execution
                           where execution.enforcement = enforcement.id and execution.finished is null
                           limit 1
                       ),
                       true
                   )
                 order by enforcement.id
                 limit $2
                 for update of enforcement skip locked
             )
             delete from attune.enforcement using expired where enforcement.id = expired.id"
        ))
        .bind(before)
        .bind(limit)
        .execute(executor)
        .await?;
        Ok(done.rows_affected())
    }
}

impl EventRepository {
    /// Removes up to `limit` events from before this time; gives back how many. Those stay that are not matched yet, and
    /// those of which an execution has not ended.
    pub async fn expire(executor: impl PgExecutor<'_>, before: Timestamp, limit: i64) -> Result<u64> {
        let done = sqlx::query(concat!(
            "with recursive ",
            first_id_since!("young", "attune.event", "$1"),
            ",
             expired as (
                 select event.id
                 from attune.event
                 where event.id < (select max(low) from young) and event.created < $1
                   -- Asked one by one: a join would read all batches, enforcements and executions.
                   and coalesce(
                       (
                           select false
                           from attune.event_batch
                           where event_batch.first_event = event.batch and event_batch.matched is null
                           limit 1
                       ),
                       true
                   )
                   and coalesce(
                       (
                           select false
                           from attune.enforcement
                           join attune.execution on execution.enforcement = enforcement.id
                           where enforcement.event = event.id and execution.finished is null
                           limit 1
                       ),
                       true
                   )
                 order by event.id
                 limit $2
                 for update of event skip locked
             )
             delete from attune.event using expired where event.id = expired.id"
        ))
        .bind(before)
        .bind(limit)
        .execute(executor)
        .await?;
        Ok(done.rows_affected())
    }

    /// Removes up to `limit` batches from before this time of which no event is left; gives back how many.
    pub async fn expire_batches(executor: impl PgExecutor<'_>, before: Timestamp, limit: i64) -> Result<u64> {
        let done = sqlx::query(
            concat!("with recursive ", first_id_since!("young", "attune.event", "$1"), ",
             expired as (
                 select event_batch.first_event
                 from attune.event_batch
                 where event_batch.matched is not null
                   -- What came after the first event that is kept is not looked at.
                   and event_batch.first_event < coalesce((select max(low) from young), 9223372036854775807)
                   -- Asked one by one: a join would read both tables.
                   and (
                       select event.id
                       from attune.event
                       where event.id between event_batch.first_event and event_batch.last_event
                         and event.batch = event_batch.first_event
                       order by event.id
                       limit 1
                   ) is null
                 order by event_batch.first_event
                 limit $2
                 for update of event_batch skip locked
             )
             delete from attune.event_batch using expired where event_batch.first_event = expired.first_event"),
        )
        .bind(before)
        .bind(limit)
        .execute(executor)
        .await?;
        Ok(done.rows_affected())
    }
}

impl ChangeRepository {
    /// Removes up to `limit` of the oldest rows of changes, as far as they are from before this time; gives back how many. Those
    /// stay that a reader with a cursor in the database has not read.
    pub async fn expire(executor: impl PgExecutor<'_>, before: Timestamp, limit: i64) -> Result<u64> {
        let done = sqlx::query(
            "with oldest as (
                 select change.xid, change.id, change.created
                 from attune.change
                 -- The cursor that is furthest behind, as two values: a condition that the index can stop at.
                 where (change.xid, change.id) <= (
                     (select cursor.xid from attune.feed_cursor cursor order by cursor.xid, cursor.seq limit 1),
                     (select cursor.seq >> 8 from attune.feed_cursor cursor order by cursor.xid, cursor.seq limit 1)
                 )
                 -- Of the row at the cursor all must be read.
                 and (change.xid, change.id * 256 + cardinality(change.entities) - 1) <= (
                     (select cursor.xid from attune.feed_cursor cursor order by cursor.xid, cursor.seq limit 1),
                     (select cursor.seq from attune.feed_cursor cursor order by cursor.xid, cursor.seq limit 1)
                 )
                 order by change.xid, change.id
                 limit $2
                 for update of change skip locked
             )
             delete from attune.change
             using oldest
             where change.xid = oldest.xid and change.id = oldest.id and oldest.created < $1",
        )
        .bind(before)
        .bind(limit)
        .execute(executor)
        .await?;
        Ok(done.rows_affected())
    }
}
