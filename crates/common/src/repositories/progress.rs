//! How far runs have come. Writes `attune.execution_progress`.

use sqlx::PgExecutor;
use sqlx::types::Json;

use crate::error::Result;
use crate::models::progress::{NewProgress, Progress};

/// Functions about `attune.execution_progress`.
#[derive(Debug)]
pub struct ProgressRepository;

impl ProgressRepository {
    /// The table, with its schema.
    pub const fn table_name() -> &'static str {
        "attune.execution_progress"
    }

    /// Puts the latest in the place of what was said before; each execution stands once. What a former attempt still says,
    /// and what is said of an execution that was deleted, is dropped.
    pub async fn put(executor: impl PgExecutor<'_>, progress: &[NewProgress]) -> Result<()> {
        sqlx::query(
            "insert into attune.execution_progress (execution, attempt, percent, message, steps)
             select latest.*
             from unnest($1::bigint[], $2::integer[], $3::double precision[], $4::text[], $5::jsonb[]) as latest
                 (execution, attempt, percent, message, steps)
             where exists (select from attune.execution where execution.id = latest.execution)
             -- In one order, so that two who write the same rows wait for each other one after the other.
             order by latest.execution
             on conflict on constraint execution_progress_pkey do update
             set attempt = excluded.attempt, percent = excluded.percent, message = excluded.message,
                 steps = excluded.steps
             where execution_progress.attempt <= excluded.attempt",
        )
        .bind(progress.iter().map(|p| p.execution).collect::<Vec<_>>())
        .bind(progress.iter().map(|p| p.attempt).collect::<Vec<_>>())
        .bind(progress.iter().map(|p| p.percent).collect::<Vec<_>>())
        .bind(progress.iter().map(|p| p.message.as_deref()).collect::<Vec<_>>())
        .bind(progress.iter().map(|p| p.steps.as_ref().map(Json)).collect::<Vec<_>>())
        .execute(executor)
        .await?;
        Ok(())
    }

    /// The latest of what an attempt said, if it said anything.
    pub async fn find(
        executor: impl PgExecutor<'_>,
        execution: i64,
        attempt: i32,
    ) -> Result<Option<Progress>> {
        let row =
            sqlx::query_as("select * from attune.execution_progress where execution = $1 and attempt = $2")
                .bind(execution)
                .bind(attempt)
                .fetch_optional(executor)
                .await?;
        Ok(row)
    }
}
