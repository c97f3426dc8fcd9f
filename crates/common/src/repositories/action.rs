//! Actions. Writes `attune.action`.
//!
//! Executors hold what rules need of their actions: a change raises the version of the rule set in its own statement. A
//! new action is of no rule yet; what links rules to it raises the version.

use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor};

use super::{by_id, by_ref, owned_by_pack, updates};
use crate::error::{Result, StoreError};
use crate::models::action::{Action, ActionUpdate, NewAction};

/// Functions about `attune.action`.
#[derive(Debug)]
pub struct ActionRepository;

by_id!(judged ActionRepository, Action, "action", "attune.action", order "ref");
updates!(ActionRepository, Action, "action");
by_ref!(ActionRepository, Action, "action", "attune.action");
owned_by_pack!(judged ActionRepository, Action, "attune.action");

impl ActionRepository {
    /// Makes an action, of a pack or on its own.
    pub async fn create(executor: impl PgExecutor<'_>, pack: Option<i64>, new: &NewAction) -> Result<Action> {
        let row = sqlx::query_as(
            "insert into attune.action (
                 ref, pack, pack_ref, label, description, enabled, runtime, runtime_ref, entrypoint, param_schema,
                 parameter_delivery, parameter_format, output_format, timeout_seconds, on_worker_loss, retry, placement,
                 out_schema, isolation, permissions, artifacts, keys
             )
             values (
                 $1, $2, (select ref from attune.pack where id = $2), $3, $4, $5,
                 (select id from attune.runtime where ref = $6), $6, $7, $8, $9, $10, $11, $12, $13, $14, $15,
                 $16, $17, $18, $19, $20
             )
             returning *",
        )
        .bind(&new.r#ref)
        .bind(pack)
        .bind(&new.label)
        .bind(&new.description)
        .bind(new.enabled)
        .bind(&new.runtime_ref)
        .bind(&new.entrypoint)
        .bind(&new.param_schema)
        .bind(new.parameter_delivery)
        .bind(new.parameter_format)
        .bind(new.output_format)
        .bind(new.timeout_seconds)
        .bind(new.on_worker_loss)
        .bind(&new.retry)
        .bind(new.placement)
        .bind(&new.out_schema)
        .bind(&new.isolation)
        .bind(Json(&new.permissions))
        .bind(Json(&new.artifacts))
        .bind(Json(&new.keys))
        .fetch_one(executor)
        .await
        .map_err(|error| StoreError::about(error, new))?;
        Ok(row)
    }

    /// Makes an action of a pack or brings it to this definition; its id stays. Whoever puts a pack's actions raises the
    /// version of the rule set, once for all of them.
    pub async fn put(executor: impl PgExecutor<'_>, pack: i64, new: &NewAction) -> Result<Action> {
        let row = sqlx::query_as(
            "insert into attune.action (
                 ref, pack, pack_ref, label, description, enabled, runtime, runtime_ref, entrypoint, param_schema,
                 parameter_delivery, parameter_format, output_format, timeout_seconds, on_worker_loss, retry, placement,
                 out_schema, isolation, permissions, artifacts, keys
             )
             values (
                 $1, $2, (select ref from attune.pack where id = $2), $3, $4, $5,
                 (select id from attune.runtime where ref = $6), $6, $7, $8, $9, $10, $11, $12, $13, $14, $15,
                 $16, $17, $18, $19, $20
             )
             on conflict (ref) do update
             set pack = excluded.pack, pack_ref = excluded.pack_ref, label = excluded.label,
                 description = excluded.description, enabled = excluded.enabled, runtime = excluded.runtime,
                 runtime_ref = excluded.runtime_ref, entrypoint = excluded.entrypoint,
                 param_schema = excluded.param_schema, parameter_delivery = excluded.parameter_delivery,
                 parameter_format = excluded.parameter_format, output_format = excluded.output_format,
                 timeout_seconds = excluded.timeout_seconds, on_worker_loss = excluded.on_worker_loss,
                 retry = excluded.retry, placement = excluded.placement, out_schema = excluded.out_schema,
                 isolation = excluded.isolation, permissions = excluded.permissions,
                 artifacts = excluded.artifacts, keys = excluded.keys
             returning *",
        )
        .bind(&new.r#ref)
        .bind(pack)
        .bind(&new.label)
        .bind(&new.description)
        .bind(new.enabled)
        .bind(&new.runtime_ref)
        .bind(&new.entrypoint)
        .bind(&new.param_schema)
        .bind(new.parameter_delivery)
        .bind(new.parameter_format)
        .bind(new.output_format)
        .bind(new.timeout_seconds)
        .bind(new.on_worker_loss)
        .bind(&new.retry)
        .bind(new.placement)
        .bind(&new.out_schema)
        .bind(&new.isolation)
        .bind(Json(&new.permissions))
        .bind(Json(&new.artifacts))
        .bind(Json(&new.keys))
        .fetch_one(executor)
        .await
        .map_err(|error| StoreError::about(error, new))?;
        Ok(row)
    }

    /// Changes an action; None leaves a column as it is.
    pub async fn update(connection: &mut PgConnection, id: i64, update: &ActionUpdate) -> Result<Action> {
        let changed = sqlx::query_as(include_str!("action/update.sql"))
            .bind(id)
            .bind(&update.label)
            .bind(&update.description)
            .bind(update.enabled)
            .bind(&update.runtime_ref)
            .bind(&update.entrypoint)
            .bind(&update.param_schema)
            .bind(&update.out_schema)
            .bind(update.timeout_seconds)
            .bind(&update.retry)
            .bind(update.on_worker_loss)
            .bind(update.unchanged_since)
            .fetch_optional(&mut *connection)
            .await
            .map_err(|error| StoreError::about(error, update))?;
        Self::changed_or_refused(connection, id, changed).await
    }

    /// The actions of a pack and whether they are enabled, by ref. Nobody else changes them before the transaction ends.
    pub async fn take_switches(connection: &mut PgConnection, pack: i64) -> Result<Vec<(String, bool)>> {
        let rows = sqlx::query_as(
            "select ref, enabled from attune.action where pack = $1 order by ref for no key update",
        )
        .bind(pack)
        .fetch_all(connection)
        .await?;
        Ok(rows)
    }

    /// The actions that run in the runtime, by ref.
    pub async fn list_by_runtime(executor: impl PgExecutor<'_>, runtime: i64) -> Result<Vec<Action>> {
        let rows = sqlx::query_as("select * from attune.action where runtime = $1 order by ref limit 1000")
            .bind(runtime)
            .fetch_all(executor)
            .await?;
        Ok(rows)
    }

    /// Gives actions whose runtime was missing the runtime of that ref, where it exists now; gives back how many.
    pub async fn relink(executor: impl PgExecutor<'_>) -> Result<u64> {
        let done = sqlx::query(
            "update attune.action
             set runtime = runtime.id
             from attune.runtime
             where action.runtime is null and runtime.ref = action.runtime_ref",
        )
        .execute(executor)
        .await?;
        Ok(done.rows_affected())
    }
}
