//! What is asked about a run that asks something of Attune itself. Writes nothing.

use sqlx::PgExecutor;

use crate::error::Result;
use crate::models::acting_run::{ActingRun, Lineage, RunSecrets};

/// Functions about runs that act.
#[derive(Debug)]
pub struct ActingRunRepository;

impl ActingRunRepository {
    /// The attempt with what its action declares, while it runs; None when it has ended, or another one runs.
    pub async fn find(
        executor: impl PgExecutor<'_>,
        execution: i64,
        attempt: i32,
    ) -> Result<Option<ActingRun>> {
        let row = sqlx::query_as(
            "select execution.id as execution, execution.attempt, execution.action_ref, execution.trace_id,
                    -- An action that was removed while it runs declares nothing any more.
                    coalesce(action.permissions, '[]') as permissions,
                    execution.keyed is not null
                        or coalesce(jsonb_path_exists(action.param_schema, '$.**.secret ? (@ == true)'), false)
                        or coalesce(action.keys <> '[]', false)
                        as has_secrets
             from attune.execution
             left join attune.action on action.id = execution.action
             where execution.id = $1 and execution.attempt = $2 and execution.status in ('running', 'canceling')",
        )
        .bind(execution)
        .bind(attempt)
        .fetch_optional(executor)
        .await?;
        Ok(row)
    }

    /// What an execution was given, secrets as they are given or named.
    pub async fn secrets(executor: impl PgExecutor<'_>, execution: i64) -> Result<Option<RunSecrets>> {
        let row = sqlx::query_as(
            "select execution.config, execution.keyed, action.param_schema,
                    coalesce(action.keys, '[]') as keys
             from attune.execution
             left join attune.action on action.id = execution.action
             where execution.id = $1",
        )
        .bind(execution)
        .fetch_optional(executor)
        .await?;
        Ok(row)
    }

    /// How far what an execution causes is from what came from outside.
    pub async fn lineage(executor: impl PgExecutor<'_>, execution: i64) -> Result<Lineage> {
        let row = sqlx::query_as(
            "with recursive origin (parent, enforcement, step) as (
                 select parent, enforcement, 0
                 from attune.execution
                 where id = $1
                 union all
                 select execution.parent, execution.enforcement, origin.step + 1
                 from origin
                 join attune.execution on execution.id = origin.parent
                 -- Nothing is begun so deep; a circle would be.
                 where origin.enforcement is null and origin.step < 100
             )
             select coalesce(max(event.depth), 0::smallint) as depth, coalesce(max(origin.step), 0) as parents
             from origin
             left join attune.enforcement on enforcement.id = origin.enforcement
             left join attune.event on event.id = enforcement.event",
        )
        .bind(execution)
        .fetch_one(executor)
        .await?;
        Ok(row)
    }
}
