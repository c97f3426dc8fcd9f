//! Steps: the state and the tasks change together, from the revision that the step was decided by, or not at all.

use attune_common::models::workflow::{WorkflowState, WorkflowTask, WorkflowTaskChange};
use attune_common::repositories::{ExecutionRepository, WorkflowStateRepository, WorkflowTaskRepository};
use attune_testkit::{TestDatabase, transaction};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::helpers::checks::*;
use crate::helpers::steps::*;
use crate::helpers::workflow::*;
use crate::helpers::*;

async fn tasks_of(connection: &mut PgConnection, state: &WorkflowState) -> Vec<WorkflowTask> {
    let tasks = WorkflowTaskRepository::list_by_execution(connection, state.execution).await;
    tasks.expect("tasks can be listed")
}

fn item(seq: i32, name: &str, item: i32) -> WorkflowTaskChange {
    WorkflowTaskChange { item: Some(item), ..task(seq, name) }
}

/// An execution as the run of a task.
async fn child(connection: &mut PgConnection) -> i64 {
    ExecutionFixture::new_unique().create(connection).await.expect("an execution").id
}

#[tokio::test]
async fn test_advance_the_state() {
    let mut tx = transaction().await;
    let (state, other) = (begun(&mut tx).await, begun(&mut tx).await);
    let advanced = WorkflowStateRepository::advance(&mut tx, &step(&state, vec![])).await.unwrap();
    assert!(advanced.updated > state.updated, "{advanced:?}");
    let expected =
        WorkflowState { state: json!({"steps": 1}), revision: 1, updated: advanced.updated, ..state };
    assert_eq!(advanced, expected);
    assert_eq!(WorkflowStateRepository::list(&mut *tx).await.unwrap(), [other, advanced]);
}

#[tokio::test]
async fn test_advance_step_after_step() {
    let mut tx = transaction().await;
    let mut state = begun(&mut tx).await;
    for revision in 1..=3 {
        state = WorkflowStateRepository::advance(&mut tx, &step(&state, vec![])).await.unwrap();
        assert_eq!((state.revision, &state.state), (revision, &json!({"steps": revision})));
    }
}

#[tokio::test]
async fn test_advance_makes_tasks() {
    let mut tx = transaction().await;
    let state = begun(&mut tx).await;
    let run = child(&mut tx).await;
    let tasks = vec![
        WorkflowTaskChange {
            seq: 3,
            item: Some(1),
            task: "page".to_owned(),
            route: 2,
            child: Some(run),
            result: Some(json!({"n": 1})),
        },
        task(4, "wait"),
    ];
    WorkflowStateRepository::advance(&mut tx, &step(&state, tasks)).await.unwrap();
    let found = tasks_of(&mut tx, &state).await;
    let page = WorkflowTask {
        id: found[0].id,
        execution: state.execution,
        seq: 3,
        task: "page".to_owned(),
        route: 2,
        item: Some(1),
        child: Some(run),
        result: Some(json!({"n": 1})),
        created: found[0].created,
        updated: found[0].updated,
    };
    let wait = WorkflowTask {
        id: found[1].id,
        seq: 4,
        task: "wait".to_owned(),
        route: 0,
        item: None,
        child: None,
        result: None,
        created: found[1].created,
        updated: found[1].updated,
        ..page
    };
    assert_eq!(found, [page, wait]);
}

#[tokio::test]
async fn test_advance_changes_tasks() {
    let mut tx = transaction().await;
    let state = begun(&mut tx).await;
    let (first, second) = (child(&mut tx).await, child(&mut tx).await);
    let begin = vec![WorkflowTaskChange { child: Some(first), ..task(0, "page") }, task(1, "wait")];
    let state = WorkflowStateRepository::advance(&mut tx, &step(&state, begin)).await.unwrap();
    let before = tasks_of(&mut tx, &state).await;
    let end = vec![WorkflowTaskChange { result: Some(json!("done")), ..task(0, "page") }];
    let state = WorkflowStateRepository::advance(&mut tx, &step(&state, end)).await.unwrap();
    let after = tasks_of(&mut tx, &state).await;
    let page = WorkflowTask { result: Some(json!("done")), updated: after[0].updated, ..before[0].clone() };
    assert_eq!(after, [page.clone(), before[1].clone()]);
    // Another run of the task takes the place of the first; the result stays until there is another.
    let again = vec![WorkflowTaskChange { child: Some(second), ..task(0, "page") }];
    let state = WorkflowStateRepository::advance(&mut tx, &step(&state, again)).await.unwrap();
    let last = tasks_of(&mut tx, &state).await;
    let page = WorkflowTask { child: Some(second), updated: last[0].updated, ..page };
    assert_eq!(last, [page, before[1].clone()]);
}

#[tokio::test]
async fn test_advance_tells_a_result_of_null_from_none() {
    let mut tx = transaction().await;
    let state = begun(&mut tx).await;
    let tasks = vec![WorkflowTaskChange { result: Some(Value::Null), ..task(0, "page") }, task(1, "wait")];
    let state = WorkflowStateRepository::advance(&mut tx, &step(&state, tasks)).await.unwrap();
    let results: Vec<_> = tasks_of(&mut tx, &state).await.into_iter().map(|task| task.result).collect();
    assert_eq!(results, [Some(Value::Null), None]);
}

#[tokio::test]
async fn test_advance_a_task_of_a_loop_twice() {
    let mut tx = transaction().await;
    let state = begun(&mut tx).await;
    let state = WorkflowStateRepository::advance(&mut tx, &step(&state, vec![task(0, "poll")])).await;
    let state = state.unwrap();
    WorkflowStateRepository::advance(&mut tx, &step(&state, vec![task(1, "poll")])).await.unwrap();
    let found = tasks_of(&mut tx, &state).await;
    assert_eq!(
        found.iter().map(|task| (task.seq, &*task.task)).collect::<Vec<_>>(),
        [(0, "poll"), (1, "poll")]
    );
}

#[tokio::test]
async fn test_advance_of_another_revision() {
    let mut tx = transaction().await;
    let state = begun(&mut tx).await;
    let current =
        WorkflowStateRepository::advance(&mut tx, &step(&state, vec![task(0, "page")])).await.unwrap();
    let tasks = tasks_of(&mut tx, &state).await;
    let changes = vec![WorkflowTaskChange { result: Some(json!(1)), ..task(0, "page") }, task(1, "late")];
    for revision in [0, 2, -1] {
        let late = WorkflowState { revision, ..state.clone() };
        let refused = WorkflowStateRepository::advance(&mut tx, &step(&late, changes.clone())).await;
        assert_conflict(refused, "workflow state", &state.execution);
        assert_eq!(WorkflowStateRepository::get(&mut *tx, state.execution).await.unwrap(), current);
        assert_eq!(tasks_of(&mut tx, &state).await, tasks);
    }
}

#[tokio::test]
async fn test_advance_not_found() {
    let mut tx = transaction().await;
    let state = begun(&mut tx).await;
    assert!(WorkflowStateRepository::delete(&mut *tx, state.execution).await.unwrap());
    let advanced = WorkflowStateRepository::advance(&mut tx, &step(&state, vec![task(0, "page")])).await;
    assert_not_found(advanced, "workflow state", &state.execution);
    assert_eq!(WorkflowTaskRepository::list(&mut *tx).await.unwrap(), []);
}

#[tokio::test]
async fn test_advance_with_a_refused_task_changes_nothing() {
    let mut tx = transaction().await;
    let state = begun(&mut tx).await;
    let mut nested = tx.begin().await.unwrap();
    let changes = vec![task(0, "page"), task(-1, "page")];
    let refused = WorkflowStateRepository::advance(&mut nested, &step(&state, changes)).await;
    assert_invalid_value(refused, "workflow_task", "workflow_task_seq_not_negative");
    nested.rollback().await.unwrap();
    let mut nested = tx.begin().await.unwrap();
    let refused =
        WorkflowStateRepository::advance(&mut nested, &step(&state, vec![item(0, "page", -1)])).await;
    assert_invalid_value(refused, "workflow_task", "workflow_task_item_not_negative");
    nested.rollback().await.unwrap();
    assert_eq!(WorkflowStateRepository::get(&mut *tx, state.execution).await.unwrap(), state);
    assert_eq!(tasks_of(&mut tx, &state).await, []);
}

#[tokio::test]
async fn test_advance_with_the_run_of_another_task() {
    let mut tx = transaction().await;
    let state = begun(&mut tx).await;
    let run = child(&mut tx).await;
    let changes = [0, 1].map(|seq| WorkflowTaskChange { child: Some(run), ..task(seq, "page") });
    let refused = WorkflowStateRepository::advance(&mut tx, &step(&state, changes.into())).await;
    assert_already_exists(refused, "workflow_task", "child", &run.to_string());
}

#[tokio::test]
async fn test_advance_with_a_run_that_does_not_exist() {
    let mut tx = transaction().await;
    let state = begun(&mut tx).await;
    let changes = vec![WorkflowTaskChange { child: Some(NO_SUCH_ID), ..task(0, "page") }];
    let refused = WorkflowStateRepository::advance(&mut tx, &step(&state, changes)).await;
    assert_invalid_reference(refused, "workflow_task", "child");
}

#[tokio::test]
async fn test_advance_by_two_at_once() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let state = begun(&mut connection).await;
    let mut one = attune_common::db::begin(database.pool()).await.unwrap();
    let first = WorkflowStateRepository::advance(&mut one, &step(&state, vec![task(0, "page")])).await;
    let late = step(&state, vec![task(0, "late"), task(1, "late")]);
    let (second, committed) = tokio::join!(WorkflowStateRepository::advance(&mut connection, &late), async {
        until_blocked(database.pool(), 1).await;
        one.commit().await
    });
    committed.unwrap();
    assert_conflict(second, "workflow state", &state.execution);
    let kept = WorkflowStateRepository::get(&mut *connection, state.execution).await.unwrap();
    assert_eq!(kept, first.unwrap());
    let tasks = tasks_of(&mut connection, &state).await;
    assert_eq!(tasks.iter().map(|task| &*task.task).collect::<Vec<_>>(), ["page"]);
}

#[tokio::test]
async fn test_advance_after_a_rolled_back_step() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let state = begun(&mut connection).await;
    let mut one = attune_common::db::begin(database.pool()).await.unwrap();
    WorkflowStateRepository::advance(&mut one, &step(&state, vec![task(0, "page")])).await.unwrap();
    let other = step(&state, vec![task(0, "other")]);
    let (advanced, rolled_back) =
        tokio::join!(WorkflowStateRepository::advance(&mut connection, &other), async {
            until_blocked(database.pool(), 1).await;
            one.rollback().await
        });
    rolled_back.unwrap();
    assert_eq!(advanced.unwrap().revision, 1);
    let tasks = tasks_of(&mut connection, &state).await;
    assert_eq!(tasks.iter().map(|task| &*task.task).collect::<Vec<_>>(), ["other"]);
}

#[tokio::test]
async fn test_tasks_are_listed_in_their_order() {
    let mut tx = transaction().await;
    let (state, other) = (begun(&mut tx).await, begun(&mut tx).await);
    let late = vec![item(1, "each", 1), item(1, "each", 0), task(2, "last")];
    let state = WorkflowStateRepository::advance(&mut tx, &step(&state, late)).await.unwrap();
    let early = vec![task(1, "each"), task(0, "first")];
    WorkflowStateRepository::advance(&mut tx, &step(&state, early)).await.unwrap();
    WorkflowStateRepository::advance(&mut tx, &step(&other, vec![task(0, "first")])).await.unwrap();
    let found: Vec<_> =
        tasks_of(&mut tx, &state).await.into_iter().map(|task| (task.seq, task.item)).collect();
    assert_eq!(found, [(0, None), (1, None), (1, Some(0)), (1, Some(1)), (2, None)]);
}

#[tokio::test]
async fn test_find_task() {
    let mut tx = transaction().await;
    let state = begun(&mut tx).await;
    let tasks = vec![task(0, "page"), task(1, "wait")];
    WorkflowStateRepository::advance(&mut tx, &step(&state, tasks)).await.unwrap();
    let wait = tasks_of(&mut tx, &state).await.remove(1);
    let found = WorkflowTaskRepository::find_by_id(&mut *tx, wait.id).await.unwrap();
    assert_eq!(found, Some(wait));
    let got = WorkflowTaskRepository::get_by_id(&mut *tx, NO_SUCH_ID).await;
    assert_not_found(got, "workflow task", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_find_task_by_child() {
    let mut tx = transaction().await;
    let state = begun(&mut tx).await;
    let (run, other) = (child(&mut tx).await, child(&mut tx).await);
    let changes = vec![
        WorkflowTaskChange { child: Some(run), ..task(0, "page") },
        WorkflowTaskChange { child: Some(other), ..task(1, "page") },
    ];
    WorkflowStateRepository::advance(&mut tx, &step(&state, changes)).await.unwrap();
    let tasks = tasks_of(&mut tx, &state).await;
    let found = WorkflowTaskRepository::find_by_child(&mut *tx, other).await.unwrap();
    assert_eq!(found.as_ref(), Some(&tasks[1]));
    assert_eq!(WorkflowTaskRepository::find_by_child(&mut *tx, state.execution).await.unwrap(), None);
}

#[tokio::test]
async fn test_delete_of_the_child_keeps_its_task() {
    let mut tx = transaction().await;
    let state = begun(&mut tx).await;
    let run = child(&mut tx).await;
    let changes = vec![WorkflowTaskChange { child: Some(run), result: Some(json!(1)), ..task(0, "page") }];
    WorkflowStateRepository::advance(&mut tx, &step(&state, changes)).await.unwrap();
    let before = tasks_of(&mut tx, &state).await.remove(0);
    assert!(ExecutionRepository::delete(&mut *tx, run).await.unwrap());
    let after = tasks_of(&mut tx, &state).await;
    assert_eq!(after, [WorkflowTask { child: None, updated: after[0].updated, ..before }]);
}
