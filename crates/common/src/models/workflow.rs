//! Workflows: their definitions, and the state and tasks of their runs.

use serde::Serialize;
use serde_json::Value;

use super::Timestamp;

/// A workflow as its author wrote it.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct WorkflowDefinition {
    pub id: i64,
    pub r#ref: String,
    pub pack: Option<i64>,
    pub pack_ref: Option<String>,
    /// The action that it is run as.
    pub action: Option<i64>,
    pub version: String,
    pub definition: Value,
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// What makes a workflow definition.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewWorkflowDefinition {
    pub r#ref: String,
    pub action: Option<i64>,
    pub version: String,
    pub definition: Value,
}

/// Changes to a workflow definition. Runs that have begun keep the definition that they began with.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct WorkflowDefinitionUpdate {
    pub action: Option<i64>,
    pub version: Option<String>,
    pub definition: Option<Value>,
    /// The `updated` that the caller saw: a row that was changed since is left alone, and the result is a Conflict.
    #[serde(skip)]
    pub unchanged_since: Option<Timestamp>,
}

/// How far the run of a workflow came.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct WorkflowState {
    pub execution: i64,
    /// The definition as it was when the run began.
    pub definition: Value,
    pub state: Value,
    /// How many steps there were.
    pub revision: i64,
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// What begins the run of a workflow.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NewWorkflowState {
    pub execution: i64,
    pub definition: Value,
    pub state: Value,
}

/// A step of a run: from the revision that it was decided by to the next one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorkflowStep {
    pub execution: i64,
    /// The revision of the state that the step was decided by.
    pub revision: i64,
    /// The state after the step.
    pub state: Value,
    /// The tasks that the step begins or changes, none of them twice.
    pub tasks: Vec<WorkflowTaskChange>,
}

/// A task as a step leaves it. The row is the one with this `seq` and item of the run; it is made if there is none.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorkflowTaskChange {
    /// The place of the task in the run.
    pub seq: i32,
    /// The place of the item in the list, for a task that is run for each of a list.
    pub item: Option<i32>,
    /// The name of the task, which like its route stays what it was when the row was made.
    pub task: String,
    pub route: i32,
    /// The run of the task; None leaves the one that it has.
    pub child: Option<i64>,
    /// None leaves the one that it has.
    pub result: Option<Value>,
}

/// A task of a run.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct WorkflowTask {
    pub id: i64,
    pub execution: i64,
    /// Counts the tasks of the run as they were begun.
    pub seq: i32,
    pub task: String,
    pub route: i32,
    pub item: Option<i32>,
    pub child: Option<i64>,
    pub result: Option<Value>,
    pub created: Timestamp,
    pub updated: Timestamp,
}
