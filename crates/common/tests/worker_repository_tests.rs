//! The worker repository: `attune.worker`, and the leases that tell the living from the dead.

mod helpers;

mod worker {
    mod operation;
}

use std::time::Duration;

use attune_common::models::action::WorkerLoss;
use attune_common::models::execution::ExecutionStatus;
use attune_common::models::worker::{Worker, WorkerRegistration, WorkerStatus, WorkerType, WorkerUpdate};
use attune_common::repositories::{ExecutionRepository, LIST_LIMIT, WorkerRepository};
use attune_testkit::{TestDatabase, transaction};
use chrono::{TimeDelta, Utc};
use helpers::checks::*;
use helpers::steps::*;
use helpers::*;
use serde_json::json;

#[test]
fn test_table_name_has_the_schema() {
    assert_eq!(WorkerRepository::table_name(), "attune.worker");
}

#[tokio::test]
async fn test_register_a_new_worker() {
    let mut tx = transaction().await;
    let new = WorkerRegistration {
        name: unique_worker_name(),
        instance: "first".to_owned(),
        host: Some("node-1".to_owned()),
        slots: 8,
        labels: json!({"zone": "a"}),
        capabilities: json!({"os": "linux"}),
        taints: vec!["gpu".to_owned()],
        lease: Duration::from_secs(60),
        take_over: false,
    };
    let worker = WorkerRepository::register(&mut tx, &new).await.unwrap();
    let expected = Worker {
        id: worker.id,
        name: new.name,
        worker_type: WorkerType::Local,
        status: WorkerStatus::Active,
        host: Some("node-1".to_owned()),
        instance: "first".to_owned(),
        slots: 8,
        labels: json!({"zone": "a"}),
        capabilities: json!({"os": "linux"}),
        taints: vec!["gpu".to_owned()],
        cordoned: false,
        preparing: json!([]),
        heartbeat: worker.heartbeat,
        lease_expires: worker.lease_expires,
        lost: None,
        created: worker.created,
        updated: worker.updated,
    };
    assert_eq!(worker, expected);
    let lease = worker.lease_expires.unwrap() - worker.heartbeat.unwrap();
    assert!((TimeDelta::seconds(60)..TimeDelta::seconds(61)).contains(&lease), "{lease}");
}

#[tokio::test]
async fn test_register_without_name() {
    let mut tx = transaction().await;
    assert_invalid_value(WorkerFixture::new("").create(&mut tx).await, "worker", "worker_name_not_empty");
}

#[tokio::test]
async fn test_register_without_slots() {
    let mut tx = transaction().await;
    let mut fixture = WorkerFixture::new_unique();
    fixture.new.slots = 0;
    assert_invalid_value(fixture.create(&mut tx).await, "worker", "worker_slots_positive");
}

#[tokio::test]
async fn test_register_a_name_that_another_process_holds() {
    let mut tx = transaction().await;
    let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    let second = WorkerFixture::new(&worker.name).with_instance("second").create(&mut tx).await;
    assert_conflict(second, "worker", &worker.name);
    assert_eq!(WorkerRepository::list(&mut *tx).await.unwrap(), [worker]);
}

#[tokio::test]
async fn test_register_again_by_the_same_process() {
    let mut tx = transaction().await;
    let before = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    // A doubtful commit may be repeated.
    let after = WorkerFixture::new(&before.name).create(&mut tx).await.unwrap();
    assert!(after.lease_expires > before.lease_expires);
    let expected = Worker { heartbeat: after.heartbeat, lease_expires: after.lease_expires, ..before };
    assert_eq!(after, expected);
}

#[tokio::test]
async fn test_register_after_the_lease() {
    let mut tx = transaction().await;
    let before = WorkerFixture::new_unique().with_lease(Duration::ZERO).create(&mut tx).await.unwrap();
    let after = WorkerFixture::new(&before.name).with_instance("second").create(&mut tx).await.unwrap();
    assert_eq!((after.id, after.created, &*after.instance), (before.id, before.created, "second"));
    assert!(after.lease_expires.unwrap() > Utc::now());
}

#[tokio::test]
async fn test_register_after_the_release() {
    let mut tx = transaction().await;
    let before = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    WorkerRepository::release(&mut *tx, before.id, "first").await.unwrap();
    let after = WorkerFixture::new(&before.name).with_instance("second").create(&mut tx).await.unwrap();
    assert_eq!((after.id, after.status), (before.id, WorkerStatus::Active));
}

#[tokio::test]
async fn test_register_keeps_the_cordon() {
    let mut tx = transaction().await;
    let before = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    cordon(&mut tx, before.id).await;
    let after = WorkerFixture::new(&before.name)
        .with_instance("second")
        .with_take_over()
        .create(&mut tx)
        .await
        .unwrap();
    assert!(after.cordoned);
}

#[tokio::test]
async fn test_register_rescues_what_the_former_process_was_running() {
    let mut tx = transaction().await;
    for (on_worker_loss, expected) in
        [(WorkerLoss::Retry, ExecutionStatus::Scheduled), (WorkerLoss::Abandon, ExecutionStatus::Abandoned)]
    {
        let (execution, worker) = running(&mut tx, on_worker_loss).await;
        expire_lease(&mut tx, &worker).await;
        WorkerFixture::new(&worker.name).with_instance("second").create(&mut tx).await.unwrap();
        let found = ExecutionRepository::get_by_id(&mut *tx, execution.id).await.unwrap();
        assert_eq!((found.status, found.worker), (expected, None));
        ExecutionRepository::cancel(&mut tx, execution.id).await.unwrap();
    }
}

#[tokio::test]
async fn test_take_over_before_the_lease_ran_out() {
    let mut tx = transaction().await;
    let (execution, worker) = running(&mut tx, WorkerLoss::Retry).await;
    let (kept, other) = running(&mut tx, WorkerLoss::Retry).await;
    let successor = WorkerFixture::new(&worker.name)
        .with_instance("second")
        .with_take_over()
        .create(&mut tx)
        .await
        .unwrap();
    assert_eq!(successor.id, worker.id);
    let rescued = ExecutionRepository::get_by_id(&mut *tx, execution.id).await.unwrap();
    assert_eq!((rescued.status, rescued.worker), (ExecutionStatus::Scheduled, None));
    // What others run is none of its business.
    let untouched = ExecutionRepository::get_by_id(&mut *tx, kept.id).await.unwrap();
    assert_eq!((untouched.status, untouched.worker), (ExecutionStatus::Running, Some(other.id)));
}

#[tokio::test]
async fn test_take_over_refuses_the_ends_of_the_former_process() {
    let mut tx = transaction().await;
    let (execution, worker) = running(&mut tx, WorkerLoss::Retry).await;
    WorkerFixture::new(&worker.name).with_instance("second").with_take_over().create(&mut tx).await.unwrap();
    let claimed = ExecutionRepository::claim(&mut tx, worker.id, "second", 10).await.unwrap();
    assert_eq!((claimed[0].id, claimed[0].attempt), (execution.id, 2));
    let late = [completion(execution.id, 1, ExecutionStatus::Completed)];
    assert_eq!(ExecutionRepository::complete(&mut *tx, worker.id, &late).await.unwrap(), NO_IDS);
}

#[tokio::test]
async fn test_take_over_that_meets_an_end_that_is_not_committed() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let (execution, worker) = running(&mut connection, WorkerLoss::Abandon).await;
    let mut open = attune_common::db::begin(database.pool()).await.unwrap();
    let end = [completion(execution.id, 1, ExecutionStatus::Completed)];
    ExecutionRepository::complete(&mut *open, worker.id, &end).await.unwrap();
    let successor = WorkerFixture::new(&worker.name).with_instance("second").with_take_over();
    let (registered, rolled_back) = tokio::join!(
        async {
            let mut transaction = attune_common::db::begin(database.pool()).await.unwrap();
            successor.create(&mut transaction).await.unwrap();
            transaction.commit().await
        },
        async {
            until_blocked(database.pool(), 1).await;
            open.rollback().await
        }
    );
    rolled_back.unwrap();
    registered.unwrap();
    // Nothing of the former process stays with the name.
    let found = ExecutionRepository::get_by_id(database.pool(), execution.id).await.unwrap();
    assert_eq!((found.status, found.worker), (ExecutionStatus::Abandoned, None));
}

#[tokio::test]
async fn test_renew_moves_the_lease() {
    let mut tx = transaction().await;
    let before = WorkerFixture::new_unique().with_lease(Duration::ZERO).create(&mut tx).await.unwrap();
    let other = WorkerFixture::new_unique().with_lease(Duration::ZERO).create(&mut tx).await.unwrap();
    assert!(WorkerRepository::renew(&mut *tx, before.id, "first", LONG_LEASE).await.unwrap());
    let after = WorkerRepository::get_by_id(&mut *tx, before.id).await.unwrap();
    assert!(after.heartbeat > before.heartbeat);
    let lease = after.lease_expires.unwrap() - after.heartbeat.unwrap();
    assert!((TimeDelta::seconds(3600)..TimeDelta::seconds(3601)).contains(&lease), "{lease}");
    assert_eq!(WorkerRepository::get_by_id(&mut *tx, other.id).await.unwrap(), other);
}

#[tokio::test]
async fn test_renew_keeps_what_it_runs() {
    let mut tx = transaction().await;
    let (execution, worker) = running(&mut tx, WorkerLoss::Abandon).await;
    expire_lease(&mut tx, &worker).await;
    assert!(WorkerRepository::renew(&mut *tx, worker.id, "first", LONG_LEASE).await.unwrap());
    assert_eq!(ExecutionRepository::rescue(&mut *tx, 10).await.unwrap(), []);
    assert_eq!(ExecutionRepository::get_by_id(&mut *tx, execution.id).await.unwrap(), execution);
}

#[tokio::test]
async fn test_renew_by_a_replaced_process() {
    let mut tx = transaction().await;
    let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    let successor = WorkerFixture::new(&worker.name)
        .with_instance("second")
        .with_take_over()
        .create(&mut tx)
        .await
        .unwrap();
    assert!(!WorkerRepository::renew(&mut *tx, worker.id, "first", LONG_LEASE).await.unwrap());
    assert_eq!(WorkerRepository::get_by_id(&mut *tx, worker.id).await.unwrap(), successor);
}

#[tokio::test]
async fn test_renew_of_a_removed_worker() {
    let mut tx = transaction().await;
    let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    assert!(WorkerRepository::delete(&mut *tx, worker.id).await.unwrap());
    assert!(!WorkerRepository::renew(&mut *tx, worker.id, "first", LONG_LEASE).await.unwrap());
}

#[tokio::test]
async fn test_release_ends_the_lease() {
    let mut tx = transaction().await;
    let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    WorkerRepository::release(&mut *tx, worker.id, "first").await.unwrap();
    let released = WorkerRepository::get_by_id(&mut *tx, worker.id).await.unwrap();
    let expected =
        Worker { status: WorkerStatus::Inactive, lease_expires: None, updated: released.updated, ..worker };
    assert_eq!(released, expected);
}

#[tokio::test]
async fn test_release_by_a_replaced_process() {
    let mut tx = transaction().await;
    let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    let successor = WorkerFixture::new(&worker.name)
        .with_instance("second")
        .with_take_over()
        .create(&mut tx)
        .await
        .unwrap();
    WorkerRepository::release(&mut *tx, worker.id, "first").await.unwrap();
    assert_eq!(WorkerRepository::get_by_id(&mut *tx, worker.id).await.unwrap(), successor);
}

#[tokio::test]
async fn test_find_by_name() {
    let mut tx = transaction().await;
    let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(WorkerRepository::find_by_name(&mut *tx, "no_such_worker").await.unwrap(), None);
    assert_eq!(WorkerRepository::find_by_name(&mut *tx, &worker.name).await.unwrap(), Some(worker));
}

#[tokio::test]
async fn test_find_by_id_not_found() {
    let mut tx = transaction().await;
    assert_eq!(WorkerRepository::find_by_id(&mut *tx, NO_SUCH_ID).await.unwrap(), None);
}

#[tokio::test]
async fn test_get_by_id_not_found() {
    let mut tx = transaction().await;
    assert_not_found(WorkerRepository::get_by_id(&mut *tx, NO_SUCH_ID).await, "worker", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_list_empty() {
    let mut tx = transaction().await;
    assert_eq!(WorkerRepository::list(&mut *tx).await.unwrap(), []);
}

#[tokio::test]
async fn test_list_by_name() {
    let mut tx = transaction().await;
    let prefix = unique_worker_name();
    let second = WorkerFixture::new(&format!("{prefix}_b")).create(&mut tx).await.unwrap();
    let first = WorkerFixture::new(&format!("{prefix}_a")).create(&mut tx).await.unwrap();
    assert_eq!(WorkerRepository::list(&mut *tx).await.unwrap(), [first, second]);
}

#[tokio::test]
async fn test_delete_keeps_the_executions() {
    let mut tx = transaction().await;
    let (execution, worker) = running(&mut tx, WorkerLoss::Abandon).await;
    assert!(WorkerRepository::delete(&mut *tx, worker.id).await.unwrap());
    let found = ExecutionRepository::get_by_id(&mut *tx, execution.id).await.unwrap();
    assert_eq!((found.worker, found.status), (None, ExecutionStatus::Running));
}

#[tokio::test]
async fn test_delete_not_found() {
    let mut tx = transaction().await;
    assert!(!WorkerRepository::delete(&mut *tx, NO_SUCH_ID).await.unwrap());
}

#[tokio::test]
async fn test_register_refused_values_are_named() {
    let mut tx = transaction().await;
    let mut fixture = WorkerFixture::new_unique();
    fixture.new.slots = -1;
    assert_refused_value(fixture.create(&mut tx).await, "worker", "slots", "-1");
}

#[tokio::test]
async fn test_renew_is_no_change() {
    let mut tx = transaction().await;
    let before = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    assert!(WorkerRepository::renew(&mut *tx, before.id, "first", LONG_LEASE).await.unwrap());
    let after = WorkerRepository::get_by_id(&mut *tx, before.id).await.unwrap();
    let expected =
        Worker { heartbeat: after.heartbeat, lease_expires: after.lease_expires, ..before.clone() };
    assert_eq!(after, expected);
    // Who looked at it before the heartbeat may still change it.
    let update = WorkerUpdate {
        labels: Some(json!({"zone": "a"})),
        unchanged_since: Some(before.updated),
        ..WorkerUpdate::default()
    };
    let updated = WorkerRepository::update(&mut tx, before.id, &update).await.unwrap();
    assert_eq!(updated.labels, json!({"zone": "a"}));
}

#[tokio::test]
async fn test_renew_keeps_what_it_reported() {
    let mut tx = transaction().await;
    let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    for status in [WorkerStatus::Busy, WorkerStatus::Error, WorkerStatus::Active] {
        assert!(WorkerRepository::report_status(&mut *tx, worker.id, "first", status).await.unwrap());
        assert!(WorkerRepository::renew(&mut *tx, worker.id, "first", LONG_LEASE).await.unwrap());
        assert_eq!(WorkerRepository::get_by_id(&mut *tx, worker.id).await.unwrap().status, status);
    }
}

#[tokio::test]
async fn test_renew_after_the_release_makes_it_active() {
    let mut tx = transaction().await;
    let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    WorkerRepository::release(&mut *tx, worker.id, "first").await.unwrap();
    assert!(WorkerRepository::renew(&mut *tx, worker.id, "first", LONG_LEASE).await.unwrap());
    let renewed = WorkerRepository::get_by_id(&mut *tx, worker.id).await.unwrap();
    assert_eq!(renewed.status, WorkerStatus::Active);
}

#[tokio::test]
async fn test_report_status_is_what_can_become() {
    let mut tx = transaction().await;
    for &from in WorkerStatus::ALL {
        for &to in WorkerStatus::ALL {
            let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
            match from {
                WorkerStatus::Inactive => {
                    WorkerRepository::release(&mut *tx, worker.id, "first").await.unwrap();
                }
                WorkerStatus::Active | WorkerStatus::Busy | WorkerStatus::Error => {
                    assert!(
                        WorkerRepository::report_status(&mut *tx, worker.id, "first", from).await.unwrap()
                    );
                }
            }
            let reported = WorkerRepository::report_status(&mut *tx, worker.id, "first", to).await.unwrap();
            let now = WorkerRepository::get_by_id(&mut *tx, worker.id).await.unwrap().status;
            // Its beginning and its end are not for a report to say.
            let sayable = from != WorkerStatus::Inactive && to != WorkerStatus::Inactive;
            assert_eq!((reported, now), (sayable, if sayable { to } else { from }), "{from} -> {to}");
            assert!(!sayable || from == to || from.can_become(to), "{from} -> {to}");
        }
    }
}

#[tokio::test]
async fn test_status_that_begins_and_ends_a_worker() {
    let mut tx = transaction().await;
    for &status in WorkerStatus::ALL {
        assert!(!status.can_become(status));
        assert_eq!(WorkerStatus::Inactive.can_become(status), status == WorkerStatus::Active);
        if status == WorkerStatus::Inactive {
            continue;
        }
        let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
        WorkerRepository::report_status(&mut *tx, worker.id, "first", status).await.unwrap();
        WorkerRepository::release(&mut *tx, worker.id, "first").await.unwrap();
        assert!(status.can_become(WorkerRepository::get_by_id(&mut *tx, worker.id).await.unwrap().status));
        let again = WorkerFixture::new(&worker.name).create(&mut tx).await.unwrap();
        assert_eq!(again.status, WorkerStatus::Active);
    }
}

#[tokio::test]
async fn test_report_status_by_a_replaced_process() {
    let mut tx = transaction().await;
    let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    let successor = WorkerFixture::new(&worker.name).with_instance("second").with_take_over();
    let successor = successor.create(&mut tx).await.unwrap();
    for id in [worker.id, NO_SUCH_ID] {
        assert!(!WorkerRepository::report_status(&mut *tx, id, "first", WorkerStatus::Error).await.unwrap());
    }
    assert_eq!(WorkerRepository::get_by_id(&mut *tx, worker.id).await.unwrap(), successor);
}

#[tokio::test]
async fn test_get_by_name_not_found() {
    let mut tx = transaction().await;
    let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(WorkerRepository::get_by_name(&mut *tx, &worker.name).await.unwrap(), worker);
    let got = WorkerRepository::get_by_name(&mut *tx, "no_such_worker").await;
    assert_not_found(got, "worker", "no_such_worker");
}

#[tokio::test]
async fn test_list_limit() {
    let mut tx = transaction().await;
    let prefix = unique_worker_name();
    sqlx::query(
        "insert into attune.worker (name, instance, status, lease_expires)
         select format('%s_%s', $1::text, lpad(n::text, 4, '0')), 'x', 'busy', '2024-01-01Z'
         from generate_series(0, 1000) n",
    )
    .bind(&prefix)
    .execute(&mut *tx)
    .await
    .unwrap();
    for listed in [
        WorkerRepository::list(&mut *tx).await.unwrap(),
        WorkerRepository::list_by_status(&mut *tx, WorkerStatus::Busy).await.unwrap(),
        WorkerRepository::list_lost(&mut *tx).await.unwrap(),
    ] {
        assert_eq!(listed.len(), usize::try_from(LIST_LIMIT).unwrap());
        assert_eq!(listed[999].name, format!("{prefix}_0999"));
    }
}

#[tokio::test]
async fn test_list_by_status() {
    let mut tx = transaction().await;
    let prefix = unique_worker_name();
    let b = WorkerFixture::new(&format!("{prefix}_b")).create(&mut tx).await.unwrap();
    let a = WorkerFixture::new(&format!("{prefix}_a")).create(&mut tx).await.unwrap();
    let busy = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    WorkerRepository::report_status(&mut *tx, busy.id, "first", WorkerStatus::Busy).await.unwrap();
    assert_eq!(WorkerRepository::list_by_status(&mut *tx, WorkerStatus::Active).await.unwrap(), [a, b]);
    let found = WorkerRepository::list_by_status(&mut *tx, WorkerStatus::Busy).await.unwrap();
    assert_eq!(found.iter().map(|worker| worker.id).collect::<Vec<_>>(), [busy.id]);
    assert_eq!(WorkerRepository::list_by_status(&mut *tx, WorkerStatus::Error).await.unwrap(), []);
}

#[tokio::test]
async fn test_list_lost_is_neither_alive_nor_released() {
    let mut tx = transaction().await;
    let lost = WorkerFixture::new_unique().with_lease(Duration::ZERO).create(&mut tx).await.unwrap();
    let alive = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    let released = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    WorkerRepository::release(&mut *tx, released.id, "first").await.unwrap();
    assert_eq!(WorkerRepository::list_lost(&mut *tx).await.unwrap(), [lost]);
    assert_eq!(WorkerRepository::alive(&mut *tx).await.unwrap(), [alive.id]);
}
