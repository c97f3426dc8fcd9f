//! Builds workflow definitions, and runs of them.

use attune_common::error::Result;
use attune_common::models::action::Action;
use attune_common::models::pack::Pack;
use attune_common::models::workflow::{
    NewWorkflowDefinition, NewWorkflowState, WorkflowDefinition, WorkflowState, WorkflowStep,
    WorkflowTaskChange,
};
use attune_common::repositories::{WorkflowDefinitionRepository, WorkflowStateRepository};
use serde_json::json;
use sqlx::PgConnection;

use super::{ExecutionFixture, unique_suffix};

/// A ref for a workflow definition.
pub(crate) fn unique_workflow_ref() -> String {
    format!("test.workflow_{}", unique_suffix())
}

/// Builds a workflow definition.
#[derive(Debug, Clone)]
pub(crate) struct WorkflowDefinitionFixture {
    pub(crate) pack: Option<i64>,
    pub(crate) new: NewWorkflowDefinition,
}

impl WorkflowDefinitionFixture {
    pub(crate) fn new(workflow_ref: &str) -> Self {
        Self {
            pack: None,
            new: NewWorkflowDefinition {
                r#ref: workflow_ref.to_owned(),
                action: None,
                version: "1.0".to_owned(),
                definition: json!({"tasks": {"page": {"action": "ops.page"}}}),
            },
        }
    }

    /// A definition on its own.
    pub(crate) fn new_unique() -> Self {
        Self::new(&unique_workflow_ref())
    }

    /// Puts the definition into a pack.
    pub(crate) fn with_pack(mut self, pack: &Pack, name: &str) -> Self {
        self.pack = Some(pack.id);
        self.new.r#ref = format!("{}.{name}", pack.r#ref);
        self
    }

    pub(crate) fn with_action(mut self, action: &Action) -> Self {
        self.new.action = Some(action.id);
        self
    }

    pub(crate) async fn create(self, connection: &mut PgConnection) -> Result<WorkflowDefinition> {
        WorkflowDefinitionRepository::create(connection, self.pack, &self.new).await
    }
}

/// The run of a workflow that has just begun, of a new execution.
pub(crate) async fn begun(connection: &mut PgConnection) -> WorkflowState {
    let execution = ExecutionFixture::new_unique().create(&mut *connection).await.expect("an execution");
    let new = NewWorkflowState {
        execution: execution.id,
        definition: json!({"tasks": {}}),
        state: json!({"staged": ["page"]}),
    };
    WorkflowStateRepository::create(connection, &new).await.expect("a state")
}

/// A step from this state.
pub(crate) fn step(from: &WorkflowState, tasks: Vec<WorkflowTaskChange>) -> WorkflowStep {
    WorkflowStep {
        execution: from.execution,
        revision: from.revision,
        state: json!({"steps": from.revision + 1}),
        tasks,
    }
}

/// The begin of a task, without a run yet.
pub(crate) fn task(seq: i32, name: &str) -> WorkflowTaskChange {
    WorkflowTaskChange { seq, item: None, task: name.to_owned(), route: 0, child: None, result: None }
}
