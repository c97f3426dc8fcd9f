//! Rescue: what the lost workers were running is tried again or abandoned, as its action says.

use attune_common::models::action::WorkerLoss;
use attune_common::models::execution::{Attempt, Execution, ExecutionStatus, Rescued};
use attune_common::repositories::{
    ActionRepository, ChangeCursor, ChangeRepository, ExecutionRepository, WorkerRepository,
};
use attune_testkit::{TestDatabase, transaction};

use crate::helpers::steps::*;
use crate::helpers::*;

#[tokio::test]
async fn test_rescue_nothing_of_a_living_worker() {
    let mut tx = transaction().await;
    let (execution, _) = running(&mut tx, WorkerLoss::Retry).await;
    assert_eq!(ExecutionRepository::rescue(&mut *tx, 10).await.unwrap(), []);
    assert_eq!(ExecutionRepository::get_by_id(&mut *tx, execution.id).await.unwrap(), execution);
}

#[tokio::test]
async fn test_rescue_abandons() {
    let mut tx = transaction().await;
    let (execution, worker) = running(&mut tx, WorkerLoss::Abandon).await;
    expire_lease(&mut tx, &worker).await;
    let rescued = Rescued {
        id: execution.id,
        attempt: 1,
        action_ref: execution.action_ref.clone(),
        worker_name: Some(worker.name.clone()),
        status: ExecutionStatus::Abandoned,
    };
    assert_eq!(ExecutionRepository::rescue(&mut *tx, 10).await.unwrap(), [rescued]);
    let found = ExecutionRepository::get_by_id(&mut *tx, execution.id).await.unwrap();
    assert!(found.finished.is_some() && found.error.is_some());
    let expected = Execution {
        status: ExecutionStatus::Abandoned,
        worker: None,
        worker_name: Some(worker.name),
        error: found.error.clone(),
        stdout_bytes: Some(0),
        stderr_bytes: Some(0),
        finished: found.finished,
        updated: found.updated,
        ..execution
    };
    assert_eq!(found, expected);
}

#[tokio::test]
async fn test_rescue_retries() {
    let mut tx = transaction().await;
    let (execution, worker) = running(&mut tx, WorkerLoss::Retry).await;
    expire_lease(&mut tx, &worker).await;
    let rescued = ExecutionRepository::rescue(&mut *tx, 10).await.unwrap();
    assert_eq!(rescued[0].status, ExecutionStatus::Scheduled);
    let waiting = ExecutionRepository::get_by_id(&mut *tx, execution.id).await.unwrap();
    assert_eq!((waiting.status, waiting.worker, waiting.finished), (ExecutionStatus::Scheduled, None, None));
    let other = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    let claimed = ExecutionRepository::claim(&mut tx, other.id, "first", 10).await.unwrap();
    assert_eq!((claimed[0].id, claimed[0].attempt), (execution.id, 2));
}

#[tokio::test]
async fn test_rescue_tells_why() {
    let mut tx = transaction().await;
    let (execution, worker) = running(&mut tx, WorkerLoss::Retry).await;
    expire_lease(&mut tx, &worker).await;
    ExecutionRepository::rescue(&mut *tx, 10).await.unwrap();
    let lease = WorkerRepository::get_by_id(&mut *tx, worker.id).await.unwrap().lease_expires.unwrap();
    let attempts = ExecutionRepository::attempts(&mut *tx, execution.id).await.unwrap();
    let expected = Attempt {
        execution: execution.id,
        attempt: 1,
        status: ExecutionStatus::Abandoned,
        worker_name: Some(worker.name.clone()),
        exit_code: None,
        signal: None,
        result: None,
        error: Some(format!(
            "worker {} was lost: it did not renew its lease, which ran out at {}",
            worker.name,
            lease.format("%Y-%m-%dT%H:%M:%SZ")
        )),
        stdout_bytes: 0,
        stderr_bytes: 0,
        started: execution.started,
        finished: attempts[0].finished,
    };
    assert_eq!(attempts, [expected]);
}

#[tokio::test]
async fn test_rescue_of_a_worker_that_was_removed() {
    let mut tx = transaction().await;
    let (execution, worker) = running(&mut tx, WorkerLoss::Abandon).await;
    WorkerRepository::delete(&mut *tx, worker.id).await.unwrap();
    let rescued = ExecutionRepository::rescue(&mut *tx, 10).await.unwrap();
    assert_eq!(
        (rescued.len(), rescued[0].id, &rescued[0].worker_name),
        (1, execution.id, &Some(worker.name))
    );
    let found = ExecutionRepository::get_by_id(&mut *tx, execution.id).await.unwrap();
    assert_eq!(found.status, ExecutionStatus::Abandoned);
    assert_eq!(found.error.as_deref(), Some("its worker was removed"));
}

#[tokio::test]
async fn test_rescue_of_a_worker_that_released_its_lease() {
    let mut tx = transaction().await;
    let (execution, worker) = running(&mut tx, WorkerLoss::Retry).await;
    WorkerRepository::release(&mut *tx, worker.id, &worker.instance).await.unwrap();
    let rescued = ExecutionRepository::rescue(&mut *tx, 10).await.unwrap();
    assert_eq!((rescued.len(), rescued[0].id), (1, execution.id));
}

#[tokio::test]
async fn test_rescue_abandons_when_the_action_is_gone() {
    let mut tx = transaction().await;
    let (execution, worker) = running(&mut tx, WorkerLoss::Retry).await;
    ActionRepository::delete(&mut *tx, execution.action.unwrap()).await.unwrap();
    expire_lease(&mut tx, &worker).await;
    let rescued = ExecutionRepository::rescue(&mut *tx, 10).await.unwrap();
    assert_eq!(rescued[0].status, ExecutionStatus::Abandoned);
}

#[tokio::test]
async fn test_rescue_of_a_cancellation_ends_it() {
    let mut tx = transaction().await;
    let (execution, worker) = running(&mut tx, WorkerLoss::Abandon).await;
    ExecutionRepository::cancel(&mut tx, execution.id).await.unwrap();
    expire_lease(&mut tx, &worker).await;
    let rescued = ExecutionRepository::rescue(&mut *tx, 10).await.unwrap();
    assert_eq!(rescued[0].status, ExecutionStatus::Cancelled);
    let attempts = ExecutionRepository::attempts(&mut *tx, execution.id).await.unwrap();
    assert_eq!(attempts[0].status, ExecutionStatus::Cancelled);
}

#[tokio::test]
async fn test_rescue_up_to_the_limit_oldest_first() {
    let mut tx = transaction().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(ExecutionFixture::new_unique().create(&mut tx).await.unwrap().id);
    }
    let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    ExecutionRepository::claim(&mut tx, worker.id, "first", 10).await.unwrap();
    expire_lease(&mut tx, &worker).await;
    let mut batches = Vec::new();
    for _ in 0..3 {
        let rescued = ExecutionRepository::rescue(&mut *tx, 2).await.unwrap();
        batches.push(rescued.into_iter().map(|rescued| rescued.id).collect::<Vec<_>>());
    }
    assert_eq!(batches, [ids[..2].to_vec(), ids[2..].to_vec(), vec![]]);
}

#[tokio::test]
async fn test_rescue_again_changes_nothing() {
    let mut tx = transaction().await;
    let (execution, worker) = running(&mut tx, WorkerLoss::Abandon).await;
    expire_lease(&mut tx, &worker).await;
    ExecutionRepository::rescue(&mut *tx, 10).await.unwrap();
    let found = ExecutionRepository::get_by_id(&mut *tx, execution.id).await.unwrap();
    assert_eq!(ExecutionRepository::rescue(&mut *tx, 10).await.unwrap(), []);
    assert_eq!(ExecutionRepository::get_by_id(&mut *tx, execution.id).await.unwrap(), found);
}

#[tokio::test]
async fn test_rescue_of_every_attempt_is_recorded() {
    let mut tx = transaction().await;
    let (execution, worker) = running(&mut tx, WorkerLoss::Retry).await;
    expire_lease(&mut tx, &worker).await;
    ExecutionRepository::rescue(&mut *tx, 10).await.unwrap();
    let other = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    ExecutionRepository::claim(&mut tx, other.id, "first", 10).await.unwrap();
    expire_lease(&mut tx, &other).await;
    ExecutionRepository::rescue(&mut *tx, 10).await.unwrap();
    let attempts = ExecutionRepository::attempts(&mut *tx, execution.id).await.unwrap();
    let attempts: Vec<_> =
        attempts.into_iter().map(|attempt| (attempt.attempt, attempt.worker_name)).collect();
    assert_eq!(attempts, [(1, Some(worker.name)), (2, Some(other.name))]);
}

#[tokio::test]
async fn test_rescue_passes_over_what_is_just_being_completed() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let (execution, worker) = running(&mut connection, WorkerLoss::Abandon).await;
    expire_lease(&mut connection, &worker).await;
    let mut open = attune_common::db::begin(database.pool()).await.unwrap();
    let end = [completion(execution.id, 1, ExecutionStatus::Completed)];
    ExecutionRepository::complete(&mut *open, worker.id, &end).await.unwrap();
    assert_eq!(at_once(ExecutionRepository::rescue(database.pool(), 10)).await.unwrap(), []);
    open.commit().await.unwrap();
    let found = ExecutionRepository::get_by_id(database.pool(), execution.id).await.unwrap();
    assert_eq!(found.status, ExecutionStatus::Completed);
}

#[tokio::test]
async fn test_rescue_ends_what_has_lost_too_many_workers() {
    let mut tx = transaction().await;
    let (execution, worker) = running(&mut tx, WorkerLoss::Retry).await;
    expire_lease(&mut tx, &worker).await;
    let mut statuses = Vec::new();
    for _ in 0..ExecutionRepository::MOST_WORKER_LOSSES {
        statuses.push(ExecutionRepository::rescue(&mut *tx, 10).await.unwrap()[0].status);
        let next = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
        ExecutionRepository::claim(&mut tx, next.id, "first", 10).await.unwrap();
        expire_lease(&mut tx, &next).await;
    }
    let last = statuses.pop();
    assert_eq!(last, Some(ExecutionStatus::Abandoned));
    assert!(statuses.iter().all(|status| *status == ExecutionStatus::Scheduled), "{statuses:?}");
    let found = ExecutionRepository::get_by_id(&mut *tx, execution.id).await.unwrap();
    assert!(found.error.as_ref().unwrap().ends_with("after 5 losses it is not run again"), "{found:?}");
}

#[tokio::test]
async fn test_rescue_leaves_what_is_cancelled_meanwhile_lest_the_feed_be_out_of_order() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let mut connection = pool.acquire().await.unwrap();
    let (execution, worker) = running(&mut connection, WorkerLoss::Abandon).await;
    expire_lease(&mut connection, &worker).await;
    // A clock that waits for a lock: a rescue looks at it when it has its snapshot and has not locked anything yet.
    sqlx::raw_sql(
        "create schema held;
         create function held.clock_timestamp() returns timestamptz language plpgsql as $$
         begin
             perform pg_advisory_xact_lock_shared(7);
             return pg_catalog.clock_timestamp();
         end $$",
    )
    .execute(&mut *connection)
    .await
    .unwrap();
    let mut holder = attune_common::db::begin(pool).await.unwrap();
    sqlx::query("select pg_advisory_xact_lock(7)").execute(&mut *holder).await.unwrap();
    // It has written something before, as a worker that registers has: the feed tells its changes before those of whatever
    // begins now.
    let mut rescuer = attune_common::db::begin(pool).await.unwrap();
    sqlx::raw_sql("select pg_current_xact_id(); set local search_path = held, pg_catalog, public")
        .execute(&mut *rescuer)
        .await
        .unwrap();
    let (rescued, now) = tokio::join!(ExecutionRepository::rescue(&mut *rescuer, 10), async {
        until_blocked(pool, 1).await;
        let mut canceller = attune_common::db::begin(pool).await.unwrap();
        let now = ExecutionRepository::cancel(&mut canceller, execution.id).await.unwrap();
        canceller.commit().await.unwrap();
        holder.rollback().await.unwrap();
        now
    });
    assert_eq!((rescued.unwrap(), now), (vec![], Some(ExecutionStatus::Canceling)));
    rescuer.commit().await.unwrap();
    let rescued = ExecutionRepository::rescue(pool, 10).await.unwrap();
    assert_eq!(rescued[0].status, ExecutionStatus::Cancelled);

    let until = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    let told = loop {
        let changes = ChangeRepository::after(pool, ChangeCursor { xid: 0, id: 0 }, 1000).await.unwrap();
        let told: Vec<_> = changes
            .into_iter()
            .filter(|change| change.entity_type == "execution" && change.entity == execution.id)
            .map(|change| change.activity)
            .collect();
        if told.iter().any(|activity| activity == "cancelled") {
            break told;
        }
        assert!(tokio::time::Instant::now() < until, "the end is not in the feed: {told:?}");
    };
    assert_eq!(told, ["scheduled", "running", "canceling", "cancelled"]);
}
