//! The workflow repositories: `attune.workflow_definition`, `attune.workflow_state` and `attune.workflow_task`.

mod helpers;

mod workflow {
    mod definition;
    mod step;
}

use attune_common::error::StoreError;
use attune_common::models::workflow::{NewWorkflowState, WorkflowState};
use attune_common::repositories::{ExecutionRepository, WorkflowStateRepository, WorkflowTaskRepository};
use attune_testkit::transaction;
use helpers::checks::*;
use helpers::workflow::*;
use helpers::*;
use serde_json::json;

#[test]
fn test_table_names_have_the_schema() {
    assert_eq!(WorkflowStateRepository::table_name(), "attune.workflow_state");
    assert_eq!(WorkflowTaskRepository::table_name(), "attune.workflow_task");
}

#[tokio::test]
async fn test_create_state() {
    let mut tx = transaction().await;
    let execution = ExecutionFixture::new_unique().create(&mut tx).await.unwrap();
    let new = NewWorkflowState {
        execution: execution.id,
        definition: json!({"tasks": {"page": {}}}),
        state: json!({"staged": ["page"]}),
    };
    let state = WorkflowStateRepository::create(&mut *tx, &new).await.unwrap();
    let expected = WorkflowState {
        execution: execution.id,
        definition: new.definition,
        state: new.state,
        revision: 0,
        created: state.created,
        updated: state.updated,
    };
    assert_eq!(state, expected);
    assert_eq!(WorkflowTaskRepository::list_by_execution(&mut *tx, execution.id).await.unwrap(), []);
}

#[tokio::test]
async fn test_create_state_twice() {
    let mut tx = transaction().await;
    let state = begun(&mut tx).await;
    let new = NewWorkflowState { execution: state.execution, definition: json!({}), state: json!({}) };
    match WorkflowStateRepository::create(&mut *tx, &new).await {
        Err(StoreError::AlreadyExists { constraint, value, .. }) => {
            assert_eq!((&*constraint, value), ("workflow_state_pkey", Some(state.execution.to_string())));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn test_create_state_of_no_execution() {
    let mut tx = transaction().await;
    let new = NewWorkflowState { execution: NO_SUCH_ID, definition: json!({}), state: json!({}) };
    let created = WorkflowStateRepository::create(&mut *tx, &new).await;
    assert_invalid_reference(created, "workflow_state", "execution");
}

#[tokio::test]
async fn test_find_state() {
    let mut tx = transaction().await;
    let state = begun(&mut tx).await;
    begun(&mut tx).await;
    let found = WorkflowStateRepository::find(&mut *tx, state.execution).await.unwrap();
    assert_eq!(found.as_ref(), Some(&state));
    assert_eq!(WorkflowStateRepository::get(&mut *tx, state.execution).await.unwrap(), state);
}

#[tokio::test]
async fn test_find_state_of_what_is_no_workflow() {
    let mut tx = transaction().await;
    let execution = ExecutionFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(WorkflowStateRepository::find(&mut *tx, execution.id).await.unwrap(), None);
    let got = WorkflowStateRepository::get(&mut *tx, execution.id).await;
    assert_not_found(got, "workflow state", &execution.id);
}

#[tokio::test]
async fn test_list_states_empty() {
    let mut tx = transaction().await;
    assert_eq!(WorkflowStateRepository::list(&mut *tx).await.unwrap(), []);
}

#[tokio::test]
async fn test_list_states_newest_first() {
    let mut tx = transaction().await;
    let (first, second) = (begun(&mut tx).await, begun(&mut tx).await);
    assert_eq!(WorkflowStateRepository::list(&mut *tx).await.unwrap(), [second, first]);
}

#[tokio::test]
async fn test_delete_state_with_its_tasks() {
    let mut tx = transaction().await;
    let (state, other) = (begun(&mut tx).await, begun(&mut tx).await);
    WorkflowStateRepository::advance(&mut tx, &step(&state, vec![task(0, "page")])).await.unwrap();
    let other = WorkflowStateRepository::advance(&mut tx, &step(&other, vec![task(0, "page")])).await;
    assert!(WorkflowStateRepository::delete(&mut *tx, state.execution).await.unwrap());
    assert!(!WorkflowStateRepository::delete(&mut *tx, state.execution).await.unwrap());
    let other = other.unwrap();
    let tasks = WorkflowTaskRepository::list(&mut *tx).await.unwrap();
    assert_eq!(tasks.iter().map(|task| task.execution).collect::<Vec<_>>(), [other.execution]);
    assert_eq!(WorkflowStateRepository::list(&mut *tx).await.unwrap(), [other]);
}

#[tokio::test]
async fn test_delete_of_the_execution_removes_state_and_tasks() {
    let mut tx = transaction().await;
    let state = begun(&mut tx).await;
    WorkflowStateRepository::advance(&mut tx, &step(&state, vec![task(0, "page")])).await.unwrap();
    assert!(ExecutionRepository::delete(&mut *tx, state.execution).await.unwrap());
    assert_eq!(WorkflowStateRepository::list(&mut *tx).await.unwrap(), []);
    assert_eq!(WorkflowTaskRepository::list(&mut *tx).await.unwrap(), []);
}
