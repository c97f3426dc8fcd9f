//! Runs of workflows. Writes `attune.workflow_state` and `attune.workflow_task`, both by the same statement: a step is
//! recorded with all that it began, or not at all.

use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};

use super::by_id;
use crate::error::{Result, StoreError};
use crate::models::workflow::{NewWorkflowState, WorkflowState, WorkflowStep, WorkflowTask};

/// Functions about `attune.workflow_state`.
#[derive(Debug)]
pub struct WorkflowStateRepository;

impl WorkflowStateRepository {
    /// The table, with its schema.
    pub const fn table_name() -> &'static str {
        "attune.workflow_state"
    }

    /// Begins the run of a workflow; AlreadyExists when the execution has begun before.
    pub async fn create(executor: impl PgExecutor<'_>, new: &NewWorkflowState) -> Result<WorkflowState> {
        let row = sqlx::query_as(
            "insert into attune.workflow_state (execution, definition, state) values ($1, $2, $3) returning *",
        )
        .bind(new.execution)
        .bind(&new.definition)
        .bind(&new.state)
        .fetch_one(executor)
        .await
        .map_err(|error| StoreError::about(error, new))?;
        Ok(row)
    }

    /// The state of this execution, if it is the run of a workflow that has begun.
    pub async fn find(executor: impl PgExecutor<'_>, execution: i64) -> Result<Option<WorkflowState>> {
        let row = sqlx::query_as("select * from attune.workflow_state where execution = $1")
            .bind(execution)
            .fetch_optional(executor)
            .await?;
        Ok(row)
    }

    /// The state of this execution; NotFound without one.
    pub async fn get(executor: impl PgExecutor<'_>, execution: i64) -> Result<WorkflowState> {
        Self::find(executor, execution)
            .await?
            .ok_or_else(|| StoreError::not_found("workflow state", execution))
    }

    /// At most [`LIST_LIMIT`](super::LIST_LIMIT) states, the newest execution first.
    pub async fn list(executor: impl PgExecutor<'_>) -> Result<Vec<WorkflowState>> {
        let rows = sqlx::query_as("select * from attune.workflow_state order by execution desc limit 1000")
            .fetch_all(executor)
            .await?;
        Ok(rows)
    }

    /// Takes a step. A step that was decided by another revision than the run has is a Conflict and changes nothing.
    pub async fn advance(connection: &mut PgConnection, step: &WorkflowStep) -> Result<WorkflowState> {
        let tasks = &step.tasks;
        let advanced = sqlx::query_as(include_str!("workflow_state/advance.sql"))
            .bind(step.execution)
            .bind(step.revision)
            .bind(&step.state)
            .bind(tasks.iter().map(|t| t.seq).collect::<Vec<_>>())
            .bind(tasks.iter().map(|t| t.item).collect::<Vec<_>>())
            .bind(tasks.iter().map(|t| t.task.as_str()).collect::<Vec<_>>())
            .bind(tasks.iter().map(|t| t.route).collect::<Vec<_>>())
            .bind(tasks.iter().map(|t| t.child).collect::<Vec<_>>())
            .bind(tasks.iter().map(|t| t.result.clone()).collect::<Vec<Option<Value>>>())
            .fetch_optional(&mut *connection)
            .await
            .map_err(|error| StoreError::about(error, step))?;
        if let Some(state) = advanced {
            return Ok(state);
        }
        Self::get(connection, step.execution).await?;
        Err(StoreError::Conflict { entity: "workflow state", key: step.execution.to_string() })
    }

    /// Removes the state and the tasks of an execution; false when it had no state.
    pub async fn delete(executor: impl PgExecutor<'_>, execution: i64) -> Result<bool> {
        let done = sqlx::query(
            "with task as (
                 delete from attune.workflow_task where execution = $1
             )
             delete from attune.workflow_state where execution = $1",
        )
        .bind(execution)
        .execute(executor)
        .await?;
        Ok(done.rows_affected() > 0)
    }
}

/// Functions about `attune.workflow_task`, which [`WorkflowStateRepository::advance`] writes.
#[derive(Debug)]
pub struct WorkflowTaskRepository;

by_id!(read WorkflowTaskRepository, WorkflowTask, "workflow task", "attune.workflow_task", order "id desc");

impl WorkflowTaskRepository {
    /// The tasks of a run in the order in which they were begun, the items of a list in theirs.
    pub async fn list_by_execution(
        executor: impl PgExecutor<'_>,
        execution: i64,
    ) -> Result<Vec<WorkflowTask>> {
        let rows = sqlx::query_as(
            "select * from attune.workflow_task where execution = $1 order by seq, item nulls first",
        )
        .bind(execution)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// The task that this execution is the run of, if it is one.
    pub async fn find_by_child(executor: impl PgExecutor<'_>, child: i64) -> Result<Option<WorkflowTask>> {
        let row = sqlx::query_as("select * from attune.workflow_task where child = $1")
            .bind(child)
            .fetch_optional(executor)
            .await?;
        Ok(row)
    }
}
