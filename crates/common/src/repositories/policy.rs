//! Policies. Writes `attune.policy`. A change is signalled: what waits is sorted anew.

use sqlx::{PgConnection, PgExecutor};

use super::{by_id, by_ref, owned_by_pack, updates};
use crate::error::{Result, StoreError};
use crate::models::policy::{AppliedPolicy, NewPolicy, Policy, PolicyUpdate};

/// Functions about `attune.policy`.
#[derive(Debug)]
pub struct PolicyRepository;

by_id!(signalled PolicyRepository, Policy, "policy", "attune.policy", order "ref");
updates!(PolicyRepository, Policy, "policy");
by_ref!(PolicyRepository, Policy, "policy", "attune.policy");
owned_by_pack!(PolicyRepository, Policy, "attune.policy");

impl PolicyRepository {
    /// Makes a policy, of a pack or on its own; one on its own needs an action.
    pub async fn create(executor: impl PgExecutor<'_>, pack: Option<i64>, new: &NewPolicy) -> Result<Policy> {
        let row = sqlx::query_as(
            "with created as (
                 insert into attune.policy (
                     ref, pack, pack_ref, action_ref, enabled, concurrency, parameters, rate_count, rate_seconds,
                     method
                 )
                 values ($1, $2, (select ref from attune.pack where id = $2), $3, $4, $5, $6, $7, $8, $9)
                 returning *
             )
             select * from created where pg_notify('attune_definition', '') is not null",
        )
        .bind(&new.r#ref)
        .bind(pack)
        .bind(&new.action_ref)
        .bind(new.enabled)
        .bind(new.concurrency)
        .bind(&new.parameters)
        .bind(new.rate_count)
        .bind(new.rate_seconds)
        .bind(new.method)
        .fetch_one(executor)
        .await
        .map_err(|error| StoreError::about(error, new))?;
        Ok(row)
    }

    /// Makes a policy of a pack or brings it to this definition; its id stays. Whoever puts a pack's definitions raises the
    /// version of the rule set, which is a signal too.
    pub async fn put(executor: impl PgExecutor<'_>, pack: i64, new: &NewPolicy) -> Result<Policy> {
        let row = sqlx::query_as(
            "insert into attune.policy (
                 ref, pack, pack_ref, action_ref, enabled, concurrency, parameters, rate_count, rate_seconds, method
             )
             values ($1, $2, (select ref from attune.pack where id = $2), $3, $4, $5, $6, $7, $8, $9)
             on conflict on constraint policy_ref_key do update
             set pack = excluded.pack, pack_ref = excluded.pack_ref, action_ref = excluded.action_ref,
                 enabled = excluded.enabled, concurrency = excluded.concurrency, parameters = excluded.parameters,
                 rate_count = excluded.rate_count, rate_seconds = excluded.rate_seconds, method = excluded.method
             returning *",
        )
        .bind(&new.r#ref)
        .bind(pack)
        .bind(&new.action_ref)
        .bind(new.enabled)
        .bind(new.concurrency)
        .bind(&new.parameters)
        .bind(new.rate_count)
        .bind(new.rate_seconds)
        .bind(new.method)
        .fetch_one(executor)
        .await
        .map_err(|error| StoreError::about(error, new))?;
        Ok(row)
    }

    /// Changes a policy; None leaves a column as it is.
    pub async fn update(connection: &mut PgConnection, id: i64, update: &PolicyUpdate) -> Result<Policy> {
        let changed = sqlx::query_as(
            "with changed as (
                 update attune.policy
                 set enabled = coalesce($2, enabled), concurrency = coalesce($3, concurrency),
                     parameters = coalesce($4, parameters), rate_count = coalesce($5, rate_count),
                     rate_seconds = coalesce($6, rate_seconds), method = coalesce($7, method)
                 where id = $1 and ($8::timestamptz is null or updated = $8)
                 returning *
             )
             select * from changed where pg_notify('attune_definition', '') is not null",
        )
        .bind(id)
        .bind(update.enabled)
        .bind(update.concurrency)
        .bind(&update.parameters)
        .bind(update.rate_count)
        .bind(update.rate_seconds)
        .bind(update.method)
        .bind(update.unchanged_since)
        .fetch_optional(&mut *connection)
        .await
        .map_err(|error| StoreError::about(error, update))?;
        Self::changed_or_refused(connection, id, changed).await
    }

    /// The enabled policies that apply to an action: its own first, then those of its pack; by ref.
    pub async fn for_action(executor: impl PgExecutor<'_>, action: i64) -> Result<Vec<Policy>> {
        let applied = Self::for_actions(executor, &[action]).await?;
        Ok(applied.into_iter().map(|applied| applied.policy).collect())
    }

    /// The enabled policies that apply to these actions, by action; of one action as
    /// [`PolicyRepository::for_action`] gives them.
    pub async fn for_actions(executor: impl PgExecutor<'_>, actions: &[i64]) -> Result<Vec<AppliedPolicy>> {
        // Two halves: each is found by an index, which one with an `or` is not.
        let rows = sqlx::query_as(
            "select action.id as limited_action, policy.*
             from attune.action
             join attune.policy on policy.action_ref = action.ref
             where action.id = any($1) and policy.enabled
             union all
             select action.id, policy.*
             from attune.action
             join attune.policy on policy.pack = action.pack and policy.action_ref is null
             where action.id = any($1) and policy.enabled
             order by limited_action, action_ref nulls last, ref",
        )
        .bind(actions)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }
}
