//! What those who run workers do with them: changes, cordon and uncordon.

use attune_common::models::action::WorkerLoss;
use attune_common::models::execution::ExecutionStatus;
use attune_common::models::worker::{Worker, WorkerType, WorkerUpdate};
use attune_common::repositories::{ExecutionRepository, WorkerRepository};
use attune_testkit::transaction;
use serde_json::json;

use crate::helpers::checks::*;
use crate::helpers::steps::*;
use crate::helpers::*;

#[tokio::test]
async fn test_update_everything() {
    let mut tx = transaction().await;
    let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    let update = WorkerUpdate {
        worker_type: Some(WorkerType::Container),
        host: Some("node-2".to_owned()),
        slots: Some(16),
        labels: Some(json!({"zone": "a"})),
        capabilities: Some(json!({"runtimes": ["core.python"]})),
        taints: Some(vec!["gpu".to_owned()]),
        cordoned: Some(true),
        unchanged_since: Some(worker.updated),
    };
    let updated = WorkerRepository::update(&mut tx, worker.id, &update).await.unwrap();
    assert!(updated.updated > worker.updated);
    let expected = Worker {
        worker_type: WorkerType::Container,
        host: Some("node-2".to_owned()),
        slots: 16,
        labels: json!({"zone": "a"}),
        capabilities: json!({"runtimes": ["core.python"]}),
        taints: vec!["gpu".to_owned()],
        cordoned: true,
        updated: updated.updated,
        ..worker
    };
    assert_eq!(updated, expected);
}

#[tokio::test]
async fn test_update_labels_keeps_the_others() {
    let mut tx = transaction().await;
    let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    let update = WorkerUpdate { labels: Some(json!({"zone": "b"})), ..WorkerUpdate::default() };
    let updated = WorkerRepository::update(&mut tx, worker.id, &update).await.unwrap();
    let expected = Worker { labels: json!({"zone": "b"}), updated: updated.updated, ..worker };
    assert_eq!(updated, expected);
}

#[tokio::test]
async fn test_labels_are_what_the_latest_process_said() {
    let mut tx = transaction().await;
    let mut fixture = WorkerFixture::new_unique();
    fixture.new.labels = json!({"zone": "b"});
    fixture.new.taints = vec!["gpu".to_owned()];
    let worker = fixture.clone().create(&mut tx).await.unwrap();
    cordon(&mut tx, worker.id).await;
    fixture.new.labels = json!({"zone": "c"});
    fixture.new.capabilities = json!({"os": "linux"});
    fixture.new.taints.clear();
    let again = fixture.with_instance("second").with_take_over().create(&mut tx).await.unwrap();
    assert_eq!((again.labels, again.capabilities), (json!({"zone": "c"}), json!({"os": "linux"})));
    // What an operator decided stays.
    assert_eq!((again.taints, again.cordoned), (Vec::new(), true));
}

#[tokio::test]
async fn test_update_no_change() {
    let mut tx = transaction().await;
    let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    let same = WorkerUpdate {
        slots: Some(worker.slots),
        labels: Some(worker.labels.clone()),
        cordoned: Some(worker.cordoned),
        ..WorkerUpdate::default()
    };
    for update in [WorkerUpdate::default(), same] {
        assert_eq!(WorkerRepository::update(&mut tx, worker.id, &update).await.unwrap(), worker);
    }
}

#[tokio::test]
async fn test_update_stale() {
    let mut tx = transaction().await;
    let seen = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    let slots = |slots: i32| WorkerUpdate {
        slots: Some(slots),
        unchanged_since: Some(seen.updated),
        ..WorkerUpdate::default()
    };
    let first = WorkerRepository::update(&mut tx, seen.id, &slots(1)).await.unwrap();
    assert_conflict(WorkerRepository::update(&mut tx, seen.id, &slots(2)).await, "worker", &seen.id);
    assert_eq!(WorkerRepository::get_by_id(&mut *tx, seen.id).await.unwrap(), first);
}

#[tokio::test]
async fn test_update_not_found() {
    let mut tx = transaction().await;
    let update = WorkerUpdate { slots: Some(1), ..WorkerUpdate::default() };
    assert_not_found(WorkerRepository::update(&mut tx, NO_SUCH_ID, &update).await, "worker", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_update_without_slots() {
    let mut tx = transaction().await;
    let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    let update = WorkerUpdate { slots: Some(0), ..WorkerUpdate::default() };
    let updated = WorkerRepository::update(&mut tx, worker.id, &update).await;
    assert_refused_value(updated, "worker", "slots", "0");
}

#[tokio::test]
async fn test_cordon_and_uncordon() {
    let mut tx = transaction().await;
    let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    let execution = ExecutionFixture::new_unique().create(&mut tx).await.unwrap();
    let cordoned = WorkerRepository::cordon(&mut tx, worker.id).await.unwrap();
    assert_eq!(cordoned, Worker { cordoned: true, updated: cordoned.updated, ..worker.clone() });
    // Doing so twice is doing so once.
    assert_eq!(WorkerRepository::cordon(&mut tx, worker.id).await.unwrap(), cordoned);
    assert_eq!(ExecutionRepository::claim(&mut tx, worker.id, "first", 1).await.unwrap(), []);
    let uncordoned = WorkerRepository::uncordon(&mut tx, worker.id).await.unwrap();
    assert_eq!(uncordoned, Worker { updated: uncordoned.updated, ..worker });
    let claimed = ExecutionRepository::claim(&mut tx, uncordoned.id, "first", 1).await.unwrap();
    assert_eq!(claimed.iter().map(|claimed| claimed.id).collect::<Vec<_>>(), [execution.id]);
}

#[tokio::test]
async fn test_cordon_keeps_what_it_runs() {
    let mut tx = transaction().await;
    let (execution, worker) = running(&mut tx, WorkerLoss::Abandon).await;
    WorkerRepository::cordon(&mut tx, worker.id).await.unwrap();
    assert!(WorkerRepository::renew(&mut *tx, worker.id, "first", LONG_LEASE).await.unwrap());
    let end = [completion(execution.id, 1, ExecutionStatus::Completed)];
    assert_eq!(ExecutionRepository::complete(&mut *tx, worker.id, &end).await.unwrap(), [execution.id]);
}

#[tokio::test]
async fn test_cordon_not_found() {
    let mut tx = transaction().await;
    assert_not_found(WorkerRepository::cordon(&mut tx, NO_SUCH_ID).await, "worker", &NO_SUCH_ID);
    assert_not_found(WorkerRepository::uncordon(&mut tx, NO_SUCH_ID).await, "worker", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_report_preparing_is_no_change_and_ends_with_the_process() {
    let mut tx = transaction().await;
    let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    let preparing =
        json!([{"pack": "ops", "what": "python", "since": null, "step": null, "executions": [7]}]);
    WorkerRepository::report_preparing(&mut *tx, worker.id, "another", &preparing).await.unwrap();
    assert_eq!(WorkerRepository::list_preparing(&mut *tx, &[worker.id]).await.unwrap(), []);
    WorkerRepository::report_preparing(&mut *tx, worker.id, &worker.instance, &preparing).await.unwrap();
    let listed = WorkerRepository::list_preparing(&mut *tx, &[worker.id]).await.unwrap();
    assert_eq!(listed, [(worker.id, worker.name.clone(), preparing.clone())]);
    let after = WorkerRepository::get_by_id(&mut *tx, worker.id).await.unwrap();
    assert_eq!(after, Worker { preparing, ..worker });
}
