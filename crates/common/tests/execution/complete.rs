//! Completion: an attempt ends once, and only by the worker that holds it.

use attune_common::error::StoreError;
use attune_common::models::action::WorkerLoss;
use attune_common::models::execution::{Attempt, Completion, Execution, ExecutionStatus};
use attune_common::repositories::{ActionRepository, ExecutionRepository, WorkerRepository};
use attune_testkit::{TestDatabase, transaction};
use serde_json::json;

use crate::helpers::checks::*;
use crate::helpers::steps::*;
use crate::helpers::*;

#[tokio::test]
async fn test_complete_nothing() {
    let mut tx = transaction().await;
    let (execution, worker) = running(&mut tx, WorkerLoss::Abandon).await;
    assert_eq!(ExecutionRepository::complete(&mut *tx, worker.id, &[]).await.unwrap(), NO_IDS);
    assert_eq!(ExecutionRepository::list(&mut *tx).await.unwrap(), [execution]);
}

#[tokio::test]
async fn test_complete_records_the_end() {
    let mut tx = transaction().await;
    let (execution, worker) = running(&mut tx, WorkerLoss::Abandon).await;
    let end = Completion {
        exit_code: Some(0),
        result: Some(json!({"paged": ["anna"]})),
        stdout_bytes: 12,
        stderr_bytes: 3,
        ..completion(execution.id, 1, ExecutionStatus::Completed)
    };
    let ended = ExecutionRepository::complete(&mut *tx, worker.id, &[end]).await.unwrap();
    assert_eq!(ended, [execution.id]);
    let found = ExecutionRepository::get_by_id(&mut *tx, execution.id).await.unwrap();
    assert!(found.finished >= found.started && found.updated > execution.updated);
    let expected = Execution {
        status: ExecutionStatus::Completed,
        result: Some(json!({"paged": ["anna"]})),
        exit_code: Some(0),
        stdout_bytes: Some(12),
        stderr_bytes: Some(3),
        worker_name: Some(worker.name),
        finished: found.finished,
        updated: found.updated,
        ..execution
    };
    assert_eq!(found, expected);
}

#[tokio::test]
async fn test_complete_records_the_attempt() {
    let mut tx = transaction().await;
    let (execution, worker) = running(&mut tx, WorkerLoss::Abandon).await;
    assert_eq!(ExecutionRepository::attempts(&mut *tx, execution.id).await.unwrap(), []);
    let end = Completion {
        signal: Some(9),
        error: Some("killed".to_owned()),
        ..completion(execution.id, 1, ExecutionStatus::Failed)
    };
    ExecutionRepository::complete(&mut *tx, worker.id, &[end]).await.unwrap();
    let attempts = ExecutionRepository::attempts(&mut *tx, execution.id).await.unwrap();
    let expected = Attempt {
        execution: execution.id,
        attempt: 1,
        status: ExecutionStatus::Failed,
        worker_name: Some(worker.name),
        exit_code: None,
        signal: Some(9),
        result: None,
        error: Some("killed".to_owned()),
        stdout_bytes: 0,
        stderr_bytes: 0,
        started: execution.started,
        finished: attempts[0].finished,
    };
    assert_eq!(attempts, [expected]);
}

#[tokio::test]
async fn test_complete_a_batch_gives_back_what_ended() {
    let mut tx = transaction().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(ExecutionFixture::new_unique().create(&mut tx).await.unwrap().id);
    }
    let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    ExecutionRepository::claim(&mut tx, worker.id, "first", 10).await.unwrap();
    let batch = [
        completion(ids[2], 1, ExecutionStatus::Timeout),
        completion(ids[1], 7, ExecutionStatus::Completed),
        completion(NO_SUCH_ID, 1, ExecutionStatus::Completed),
        completion(ids[0], 1, ExecutionStatus::Failed),
    ];
    let ended = ExecutionRepository::complete(&mut *tx, worker.id, &batch).await.unwrap();
    assert_eq!(ended, [ids[0], ids[2]]);
    let mut found = ExecutionRepository::list(&mut *tx).await.unwrap();
    found.sort_by_key(|execution| execution.id);
    let found: Vec<_> = found.into_iter().map(|execution| execution.status).collect();
    assert_eq!(found, [ExecutionStatus::Failed, ExecutionStatus::Running, ExecutionStatus::Timeout]);
}

#[tokio::test]
async fn test_complete_again_changes_nothing() {
    let mut tx = transaction().await;
    let (execution, worker) = running(&mut tx, WorkerLoss::Abandon).await;
    let end = [completion(execution.id, 1, ExecutionStatus::Completed)];
    ExecutionRepository::complete(&mut *tx, worker.id, &end).await.unwrap();
    let ended = ExecutionRepository::get_by_id(&mut *tx, execution.id).await.unwrap();
    // A doubtful commit may be repeated.
    assert_eq!(ExecutionRepository::complete(&mut *tx, worker.id, &end).await.unwrap(), NO_IDS);
    assert_eq!(ExecutionRepository::get_by_id(&mut *tx, execution.id).await.unwrap(), ended);
    assert_eq!(ExecutionRepository::attempts(&mut *tx, execution.id).await.unwrap().len(), 1);
}

#[tokio::test]
async fn test_complete_by_another_worker() {
    let mut tx = transaction().await;
    let (execution, _) = running(&mut tx, WorkerLoss::Abandon).await;
    let other = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    let end = [completion(execution.id, 1, ExecutionStatus::Completed)];
    assert_eq!(ExecutionRepository::complete(&mut *tx, other.id, &end).await.unwrap(), NO_IDS);
    assert_eq!(ExecutionRepository::get_by_id(&mut *tx, execution.id).await.unwrap(), execution);
}

#[tokio::test]
async fn test_complete_an_attempt_that_was_rescued() {
    let mut tx = transaction().await;
    let (execution, worker) = running(&mut tx, WorkerLoss::Retry).await;
    expire_lease(&mut tx, &worker).await;
    ExecutionRepository::rescue(&mut *tx, 10).await.unwrap();
    // The same worker lives after all, and got the same execution again.
    WorkerRepository::renew(&mut *tx, worker.id, &worker.instance, LONG_LEASE).await.unwrap();
    let claimed = ExecutionRepository::claim(&mut tx, worker.id, &worker.instance, 10).await.unwrap();
    assert_eq!((claimed[0].id, claimed[0].attempt), (execution.id, 2));
    let first = [completion(execution.id, 1, ExecutionStatus::Completed)];
    assert_eq!(ExecutionRepository::complete(&mut *tx, worker.id, &first).await.unwrap(), NO_IDS);
    let second = [completion(execution.id, 2, ExecutionStatus::Completed)];
    assert_eq!(ExecutionRepository::complete(&mut *tx, worker.id, &second).await.unwrap(), [execution.id]);
    let attempts = ExecutionRepository::attempts(&mut *tx, execution.id).await.unwrap();
    let attempts: Vec<_> = attempts.iter().map(|attempt| (attempt.attempt, attempt.status)).collect();
    assert_eq!(attempts, [(1, ExecutionStatus::Abandoned), (2, ExecutionStatus::Completed)]);
}

#[tokio::test]
async fn test_complete_shows_the_outcome_of_the_latest_attempt() {
    let mut tx = transaction().await;
    let (execution, worker) = running(&mut tx, WorkerLoss::Retry).await;
    expire_lease(&mut tx, &worker).await;
    ExecutionRepository::rescue(&mut *tx, 10).await.unwrap();
    let other = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    ExecutionRepository::claim(&mut tx, other.id, &other.instance, 10).await.unwrap();
    // While the second attempt runs, nothing of the first one is shown as its outcome.
    let second = ExecutionRepository::get_by_id(&mut *tx, execution.id).await.unwrap();
    assert_eq!((second.error, second.worker_name), (None, Some(other.name)));
}

#[tokio::test]
async fn test_complete_with_a_status_that_is_no_end() {
    let mut tx = transaction().await;
    let (execution, worker) = running(&mut tx, WorkerLoss::Abandon).await;
    let end = [completion(execution.id, 1, ExecutionStatus::Scheduled)];
    let ended = ExecutionRepository::complete(&mut *tx, worker.id, &end).await;
    assert_invalid_value(ended, "execution", "execution_finished_is_terminal");
}

#[tokio::test]
async fn test_complete_with_code_and_signal() {
    let mut tx = transaction().await;
    let (execution, worker) = running(&mut tx, WorkerLoss::Abandon).await;
    let end = Completion {
        exit_code: Some(1),
        signal: Some(9),
        ..completion(execution.id, 1, ExecutionStatus::Failed)
    };
    let ended = ExecutionRepository::complete(&mut *tx, worker.id, &[end]).await;
    assert_invalid_value(ended, "execution", "execution_code_or_signal");
}

#[tokio::test]
async fn test_complete_with_an_unstorable_result() {
    let mut tx = transaction().await;
    let (execution, worker) = running(&mut tx, WorkerLoss::Abandon).await;
    let end = Completion {
        result: Some(json!("\u{0}")),
        ..completion(execution.id, 1, ExecutionStatus::Completed)
    };
    let ended = ExecutionRepository::complete(&mut *tx, worker.id, &[end]).await;
    assert!(matches!(ended, Err(StoreError::Unstorable(_))), "{ended:?}");
}

#[tokio::test]
async fn test_complete_after_the_action_was_removed() {
    let mut tx = transaction().await;
    let (execution, worker) = running(&mut tx, WorkerLoss::Abandon).await;
    ActionRepository::delete(&mut *tx, execution.action.unwrap()).await.unwrap();
    let end = [completion(execution.id, 1, ExecutionStatus::Completed)];
    assert_eq!(ExecutionRepository::complete(&mut *tx, worker.id, &end).await.unwrap(), [execution.id]);
}

#[tokio::test]
async fn test_complete_keeps_the_name_of_a_worker_that_was_removed() {
    let mut tx = transaction().await;
    let (execution, worker) = running(&mut tx, WorkerLoss::Abandon).await;
    let end = [completion(execution.id, 1, ExecutionStatus::Completed)];
    ExecutionRepository::complete(&mut *tx, worker.id, &end).await.unwrap();
    WorkerRepository::delete(&mut *tx, worker.id).await.unwrap();
    let found = ExecutionRepository::get_by_id(&mut *tx, execution.id).await.unwrap();
    // Its key stays as well, and means nothing any more: no index would find these rows.
    assert_eq!((found.worker, found.worker_name), (Some(worker.id), Some(worker.name)));
}

#[tokio::test]
async fn test_complete_that_meets_a_rescue_ends_once() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let (execution, worker) = running(&mut connection, WorkerLoss::Retry).await;
    expire_lease(&mut connection, &worker).await;
    let mut open = attune_common::db::begin(database.pool()).await.unwrap();
    assert_eq!(ExecutionRepository::rescue(&mut *open, 10).await.unwrap().len(), 1);
    let end = [completion(execution.id, 1, ExecutionStatus::Completed)];
    let (ended, committed) =
        tokio::join!(ExecutionRepository::complete(&mut *connection, worker.id, &end), async {
            until_blocked(database.pool(), 1).await;
            open.commit().await
        });
    committed.unwrap();
    // The rescue came first; the worker learns that its end was not recorded.
    assert_eq!(ended.unwrap(), NO_IDS);
    let found = ExecutionRepository::get_by_id(database.pool(), execution.id).await.unwrap();
    assert_eq!(found.status, ExecutionStatus::Scheduled);
}

#[tokio::test]
async fn test_the_feed_tells_a_cancellation_before_the_end_that_met_it() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let (first, worker) = running(&mut connection, WorkerLoss::Retry).await;
    let mut ids = vec![first.id];
    for _ in 0..2 {
        ids.push(ExecutionFixture::new_unique().create(&mut connection).await.unwrap().id);
    }
    ExecutionRepository::claim(&mut connection, worker.id, "first", 10).await.unwrap();
    let ends: Vec<_> = ids.iter().map(|id| completion(*id, 1, ExecutionStatus::Failed)).collect();
    let mut open = attune_common::db::begin(database.pool()).await.unwrap();
    sqlx::query("select from attune.execution where id = $1 for update")
        .bind(ids[1])
        .execute(&mut *open)
        .await
        .unwrap();
    // It has locked the first one, which is its place in the feed, and waits for the second one.
    let (ended, committed) =
        tokio::join!(ExecutionRepository::complete(&mut *connection, worker.id, &ends), async {
            until_blocked(database.pool(), 1).await;
            let mut other = database.pool().acquire().await.unwrap();
            ExecutionRepository::cancel(&mut other, ids[2]).await.unwrap();
            open.commit().await
        });
    committed.unwrap();
    assert_eq!(ended.unwrap(), ids[..2], "the third one is left to a statement that begins later");
    assert_eq!(ExecutionRepository::complete(&mut *connection, worker.id, &ends).await.unwrap(), ids[2..]);
    // In the order of the feed, which itself would wait for the transactions of other tests.
    let told: Vec<String> = sqlx::query_scalar(
        "select activity from attune.change where entity_type = 'execution' and $1 = any(entities) order by xid, id",
    )
    .bind(ids[2])
    .fetch_all(&mut *connection)
    .await
    .unwrap();
    assert_eq!(told, ["scheduled", "running", "canceling", "failed"]);
}
