//! Pauses. Writes `attune.pause`.
//!
//! A claim asks this table, so a pause holds from its commit on, for whatever waits then or later; one that is under way is
//! waited for. That the executions are
//! also put aside ([`ExecutionRepository::set_aside`](super::ExecutionRepository::set_aside)) only keeps claims cheap.

use sqlx::PgExecutor;

use super::by_id;
use crate::error::{Result, StoreError};
use crate::models::pause::{NewPause, Pause, PauseScope};

/// Functions about `attune.pause`.
#[derive(Debug)]
pub struct PauseRepository;

by_id!(read PauseRepository, Pause, "pause", "attune.pause", order "created, id");

impl PauseRepository {
    /// Pauses something; AlreadyExists when that scope is paused.
    pub async fn create(executor: impl PgExecutor<'_>, new: &NewPause) -> Result<Pause> {
        let (action_ref, pack_ref) = new.scope.columns();
        let row = sqlx::query_as(
            // What is being given to workers, or claimed by them, is waited for; nothing is that does not know of the pause.
            "with held as (
                 -- In the order in which they are held by whoever assigns.
                 select worker from attune.worker_assigned order by worker for update
             ),
             told as (
                 update attune.worker_assigned set pauses = pauses + 1
                 from held where worker_assigned.worker = held.worker
             ),
             claiming as (
                 select id from attune.worker order by id for update
             ),
             noted as (
                 update attune.worker set pauses = pauses + 1 from claiming where worker.id = claiming.id
             )
             insert into attune.pause (action_ref, pack_ref, reason, identity, login)
             values ($1, $2, $3, $4, coalesce((select login from attune.identity where id = $4), $5))
             returning *",
        )
        .bind(action_ref)
        .bind(pack_ref)
        .bind(&new.reason)
        .bind(new.identity)
        .bind(&new.login)
        .fetch_one(executor)
        .await
        .map_err(|error| StoreError::about(error, new))?;
        Ok(row)
    }

    /// The pause of exactly this scope, if it is paused.
    pub async fn find_by_scope(executor: impl PgExecutor<'_>, scope: &PauseScope) -> Result<Option<Pause>> {
        let (action_ref, pack_ref) = scope.columns();
        let row = sqlx::query_as(
            "select * from attune.pause
             where action_ref is not distinct from $1 and pack_ref is not distinct from $2",
        )
        .bind(action_ref)
        .bind(pack_ref)
        .fetch_optional(executor)
        .await?;
        Ok(row)
    }

    /// Ends a pause; what it alone held back is released by the executor, which is signalled. False when there was none.
    pub async fn delete(executor: impl PgExecutor<'_>, id: i64) -> Result<bool> {
        let removed: Option<i64> = sqlx::query_scalar(
            "with removed as (
                 delete from attune.pause where id = $1 returning id
             )
             select id
             from removed
             where pg_notify('attune_definition', '') is not null and pg_notify('attune_execution', '') is not null",
        )
        .bind(id)
        .fetch_optional(executor)
        .await?;
        Ok(removed.is_some())
    }
}
