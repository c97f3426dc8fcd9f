//! Executions that are born with a worker, because it had offered room for them.

use attune_common::models::action::{Action, WorkerLoss};
use attune_common::models::enforcement::{Decision, Recorded};
use attune_common::models::execution::{Completion, Execution, ExecutionStatus};
use attune_common::models::pause::{NewPause, PauseScope};
use attune_common::models::worker::{Offer, Worker};
use attune_common::repositories::{
    EnforcementRepository, ExecutionRepository, PauseRepository, WorkerRepository,
};
use attune_testkit::{TestDatabase, transaction};
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::helpers::steps::*;
use crate::helpers::*;

/// A native action, which may be given away.
async fn native_action(connection: &mut PgConnection) -> Action {
    let pack = PackFixture::new_unique().create(&mut *connection).await.expect("it is there");
    let runtime = RuntimeFixture::new(&pack, "native")
        .with_native()
        .create(&mut *connection)
        .await
        .expect("it is there");
    ActionFixture::new_unique().with_runtime(&runtime).create(connection).await.expect("it is there")
}

/// A worker that offers room for so many.
async fn offering(connection: &mut PgConnection, room: i64) -> (Worker, Offer) {
    let worker = WorkerFixture::new_unique().create(&mut *connection).await.expect("it is there");
    let offer = WorkerRepository::open_offer(connection, worker.id, &worker.instance, room)
        .await
        .expect("it is there");
    (worker, offer)
}

/// So many decisions to run the action.
async fn decisions(connection: &mut PgConnection, action: &Action, count: usize) -> Vec<Decision> {
    let rule =
        RuleFixture::new_unique().with_action(action).create(&mut *connection).await.expect("it is there");
    let mut decisions = Vec::new();
    for _ in 0..count {
        let event = EventFixture::new_unique().create(&mut *connection).await.expect("it is there");
        decisions.push(decision(&event, &rule));
    }
    decisions
}

/// Records so many decisions to run the action.
async fn record(connection: &mut PgConnection, action: &Action, count: usize) -> Recorded {
    let decisions = decisions(&mut *connection, action, count).await;
    EnforcementRepository::record(connection, &decisions).await.expect("it is there")
}

/// Every execution, the oldest first.
async fn all(connection: &mut PgConnection) -> Vec<Execution> {
    let mut rows = ExecutionRepository::list(connection).await.expect("it is there");
    rows.reverse();
    rows
}

async fn workers(connection: &mut PgConnection) -> Vec<Option<i64>> {
    all(connection).await.into_iter().map(|execution| execution.worker).collect()
}

fn well(execution: i64, attempt: i32) -> Completion {
    Completion { result: Some(Value::Null), ..completion(execution, attempt, ExecutionStatus::Completed) }
}

#[tokio::test]
async fn test_assigned_executions_are_born_running() {
    let mut tx = transaction().await;
    let action = native_action(&mut tx).await;
    let (worker, _) = offering(&mut tx, 2).await;
    assert_eq!(record(&mut tx, &action, 3).await, Recorded { executions: 3, assigned: 2, is_crowded: true });
    let found = all(&mut tx).await;
    assert_eq!(
        found.iter().map(|one| (one.status, one.attempt, one.worker)).collect::<Vec<_>>(),
        [
            (ExecutionStatus::Running, 1, Some(worker.id)),
            (ExecutionStatus::Running, 1, Some(worker.id)),
            (ExecutionStatus::Scheduled, 0, None)
        ]
    );
    assert_eq!(found[0].worker_name, Some(worker.name));
    assert!(found[0].started >= Some(found[0].created) && found[2].started.is_none());
    assert_eq!(told(&mut tx, found[0].id).await, ["running"]);
    // Nothing is left of the room, and what waits goes first.
    assert_eq!(record(&mut tx, &action, 1).await.assigned, 0);
}

#[tokio::test]
async fn test_room_that_gets_free_is_assigned_again() {
    let mut tx = transaction().await;
    let action = native_action(&mut tx).await;
    let (worker, offer) = offering(&mut tx, 1).await;
    record(&mut tx, &action, 1).await;
    let id = all(&mut tx).await[0].id;
    let raised = Offer { offered: offer.offered + 1, ..offer };
    let ends = [well(id, 1)];
    let ended = ExecutionRepository::complete_well(&mut *tx, worker.id, &ends, &raised).await.unwrap();
    assert_eq!(ended, [id]);
    let found = ExecutionRepository::get_by_id(&mut *tx, id).await.unwrap();
    assert_eq!((found.status, found.result), (ExecutionStatus::Completed, Some(Value::Null)));
    assert!(found.finished.is_some() && found.updated > found.created);
    assert_eq!(told(&mut tx, id).await, ["running", "completed"]);
    let attempts = ExecutionRepository::attempts(&mut *tx, id).await.unwrap();
    assert_eq!(
        attempts.iter().map(|a| (a.attempt, a.status, a.worker_name.clone())).collect::<Vec<_>>(),
        [(1, ExecutionStatus::Completed, Some(worker.name.clone()))]
    );
    // Once more, as after a commit whose answer was lost: nothing is told twice, and nothing offered twice.
    let again = ExecutionRepository::complete_well(&mut *tx, worker.id, &ends, &raised).await.unwrap();
    assert_eq!(again, [] as [i64; 0]);
    assert_eq!(told(&mut tx, id).await, ["running", "completed"]);
    assert_eq!(record(&mut tx, &action, 2).await, Recorded { executions: 2, assigned: 1, is_crowded: true });
}

#[tokio::test]
async fn test_an_end_that_meets_a_cancellation_goes_the_long_way() {
    let mut tx = transaction().await;
    let action = native_action(&mut tx).await;
    let (worker, offer) = offering(&mut tx, 1).await;
    record(&mut tx, &action, 1).await;
    let id = all(&mut tx).await[0].id;
    assert_eq!(ExecutionRepository::cancel(&mut tx, id).await.unwrap(), Some(ExecutionStatus::Canceling));
    let ends = [well(id, 1)];
    let ended = ExecutionRepository::complete_well(&mut *tx, worker.id, &ends, &offer).await.unwrap();
    assert_eq!(ended, [] as [i64; 0]);
    assert_eq!(ExecutionRepository::complete(&mut *tx, worker.id, &ends).await.unwrap(), [id]);
    assert_eq!(told(&mut tx, id).await, ["running", "canceling", "completed"]);
}

#[tokio::test]
async fn test_a_cancelled_one_is_read_as_such() {
    let mut tx = transaction().await;
    let action = native_action(&mut tx).await;
    let (worker, _) = offering(&mut tx, 2).await;
    record(&mut tx, &action, 2).await;
    let id = all(&mut tx).await[0].id;
    ExecutionRepository::cancel(&mut tx, id).await.unwrap();
    let read = ExecutionRepository::list_assigned(&mut tx, worker.id, "first", 0).await.unwrap();
    assert_eq!(read.iter().map(|one| one.canceling).collect::<Vec<_>>(), [true, false]);
}

#[tokio::test]
async fn test_what_was_assigned_is_read_once() {
    let mut tx = transaction().await;
    let action = native_action(&mut tx).await;
    let (worker, _) = offering(&mut tx, 10).await;
    record(&mut tx, &action, 2).await;
    let ids: Vec<i64> = all(&mut tx).await.iter().map(|one| one.id).collect();
    let read = ExecutionRepository::list_assigned(&mut tx, worker.id, "first", 0).await.unwrap();
    assert_eq!(read.iter().map(|one| one.id).collect::<Vec<_>>(), ids);
    assert_eq!(
        (read[0].attempt, read[0].is_native, &read[0].config),
        (1, true, &json!({"text": "disk full"}))
    );
    let next = ExecutionRepository::list_assigned(&mut tx, worker.id, "first", ids[1]).await.unwrap();
    assert_eq!(next, []);
    // A process that was replaced is told nothing.
    let other = ExecutionRepository::list_assigned(&mut tx, worker.id, "second", 0).await.unwrap();
    assert_eq!(other, []);
}

#[tokio::test]
async fn test_nothing_is_assigned_to_who_may_not_have_it() {
    let mut tx = transaction().await;
    let action = native_action(&mut tx).await;
    let (cordoned, _) = offering(&mut tx, 10).await;
    cordon(&mut tx, cordoned.id).await;
    let (lost, _) = offering(&mut tx, 10).await;
    expire_lease(&mut tx, &lost).await;
    let tainted = WorkerFixture::new_unique().with_taints(&["gpu"]).create(&mut tx).await.unwrap();
    WorkerRepository::open_offer(&mut tx, tainted.id, &tainted.instance, 10).await.unwrap();
    // One that started again and has not offered anything yet.
    let former = WorkerFixture::new_unique().with_lease(std::time::Duration::ZERO);
    let name = former.new.name.clone();
    let former = former.create(&mut tx).await.unwrap();
    WorkerRepository::open_offer(&mut tx, former.id, &former.instance, 10).await.unwrap();
    WorkerFixture::new(&name).with_instance("second").create(&mut tx).await.unwrap();
    let (closed, offer) = offering(&mut tx, 10).await;
    WorkerRepository::close_offer(&mut tx, closed.id, &closed.instance).await.unwrap();
    let later = Offer { offered: offer.offered + 5, ..offer };
    WorkerRepository::raise_offer(&mut *tx, closed.id, &later).await.unwrap();
    assert_eq!(record(&mut tx, &action, 1).await, Recorded { executions: 1, assigned: 0, is_crowded: true });
}

#[tokio::test]
async fn test_a_worker_that_reads_nothing_is_given_nothing_more() {
    let mut tx = transaction().await;
    let action = native_action(&mut tx).await;
    let (worker, _) = offering(&mut tx, 100).await;
    let long_ago = "update attune.worker_assigned set since = clock_timestamp() - interval '2 seconds'";
    let read = async |tx: &mut PgConnection, after: i64| {
        let read = ExecutionRepository::list_assigned(tx, worker.id, &worker.instance, after).await.unwrap();
        read.last().unwrap().id
    };
    // It reads late, but it reads.
    assert_eq!(record(&mut tx, &action, 1).await.assigned, 1);
    let last = read(&mut tx, 0).await;
    sqlx::query(long_ago).execute(&mut *tx).await.unwrap();
    assert_eq!(record(&mut tx, &action, 1).await.assigned, 1);
    assert_eq!(record(&mut tx, &action, 1).await.assigned, 1);
    let last = read(&mut tx, last).await;
    assert_eq!(record(&mut tx, &action, 1).await.assigned, 1);
    // It does not read any more.
    sqlx::query(long_ago).execute(&mut *tx).await.unwrap();
    assert_eq!(record(&mut tx, &action, 1).await.assigned, 0);
    // It does again: what waits meanwhile is claimed.
    read(&mut tx, last).await;
    ExecutionRepository::claim(&mut tx, worker.id, &worker.instance, 10).await.unwrap();
    assert_eq!(record(&mut tx, &action, 1).await.assigned, 1);
}

#[tokio::test]
async fn test_only_native_actions_are_assigned() {
    let mut tx = transaction().await;
    let process = ActionFixture::new_unique().create(&mut tx).await.unwrap();
    offering(&mut tx, 10).await;
    assert_eq!(record(&mut tx, &process, 1).await.assigned, 0);
}

#[tokio::test]
async fn test_what_is_paused_is_not_assigned() {
    for everything in [false, true] {
        // Pauses of other tests must not wait for these, nor these for them.
        let database = TestDatabase::create().await;
        let mut tx = database.pool().acquire().await.unwrap();
        let (one, other) = (native_action(&mut tx).await, native_action(&mut tx).await);
        offering(&mut tx, 10).await;
        let scope = match everything {
            true => PauseScope::Everything,
            false => PauseScope::Action(one.r#ref.clone()),
        };
        let pause = NewPause { scope, reason: None, identity: None, login: None };
        PauseRepository::create(&mut *tx, &pause).await.unwrap();
        assert_eq!(record(&mut tx, &one, 1).await.assigned, 0);
        PauseRepository::create(
            &mut *tx,
            &NewPause {
                scope: PauseScope::Action("test.nothing".to_owned()),
                reason: None,
                identity: None,
                login: None,
            },
        )
        .await
        .unwrap();
        // What is paused waits, and is older; it does not keep the others back once it is put aside.
        ExecutionRepository::set_aside(&mut *tx, 100).await.unwrap();
        assert_eq!(record(&mut tx, &other, 1).await.assigned, i64::from(!everything));
    }
}

#[tokio::test]
async fn test_several_workers_share() {
    let mut tx = transaction().await;
    let action = native_action(&mut tx).await;
    let (small, _) = offering(&mut tx, 1).await;
    let (large, _) = offering(&mut tx, 3).await;
    assert_eq!(record(&mut tx, &action, 5).await, Recorded { executions: 5, assigned: 4, is_crowded: true });
    let large = Some(large.id);
    assert_eq!(workers(&mut tx).await, [large, large, large, Some(small.id), None]);
}

#[tokio::test]
async fn test_room_is_shared_by_placements() {
    let mut tx = transaction().await;
    let anywhere = native_action(&mut tx).await;
    let labelled = placement(&mut tx, &[("zone", "a")], &[]).await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let runtime = RuntimeFixture::new(&pack, "native").with_native().create(&mut tx).await.unwrap();
    let there = ActionFixture::new_unique().with_runtime(&runtime).with_placement(&labelled);
    let there = there.create(&mut tx).await.unwrap();
    let worker = WorkerFixture::new_unique().with_labels(json!({"zone": "a"})).create(&mut tx).await.unwrap();
    WorkerRepository::open_offer(&mut tx, worker.id, &worker.instance, 4).await.unwrap();
    let mut decisions = Vec::new();
    for action in [&anywhere, &there] {
        let rule = RuleFixture::new_unique().with_action(action).create(&mut tx).await.unwrap();
        for _ in 0..3 {
            let event = EventFixture::new_unique().create(&mut tx).await.unwrap();
            decisions.push(decision(&event, &rule));
        }
    }
    let recorded = EnforcementRepository::record(&mut tx, &decisions).await.unwrap();
    assert_eq!(recorded, Recorded { executions: 6, assigned: 4, is_crowded: true });
    let worker = Some(worker.id);
    assert_eq!(workers(&mut tx).await, [worker, worker, None, worker, worker, None]);
}

#[tokio::test]
async fn test_a_second_executor_waits_and_gives_nothing_twice() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let action = native_action(&mut connection).await;
    let (worker, _) = offering(&mut connection, 3).await;
    let given = decisions(&mut connection, &action, 4).await;
    let mut open = attune_common::db::begin(database.pool()).await.unwrap();
    assert_eq!(EnforcementRepository::record(&mut open, &given[..2]).await.unwrap().assigned, 2);
    let (second, committed) =
        tokio::join!(EnforcementRepository::record(&mut connection, &given[2..]), async {
            until_blocked(database.pool(), 1).await;
            open.commit().await
        });
    committed.unwrap();
    assert_eq!(second.unwrap(), Recorded { executions: 2, assigned: 1, is_crowded: true });
    // In the order of their ids, so that whoever reads from the last one on misses none.
    assert_eq!(workers(&mut connection).await, [Some(worker.id), Some(worker.id), Some(worker.id), None]);
}

#[tokio::test]
async fn test_workers_are_crowded_when_there_is_no_room_for_as_many_again() {
    let mut tx = transaction().await;
    let action = native_action(&mut tx).await;
    let (worker, _) = offering(&mut tx, 6).await;
    let room = async |tx: &mut PgConnection| WorkerRepository::native_room(tx).await.unwrap();
    assert_eq!(room(&mut tx).await, Some(6));
    assert_eq!(record(&mut tx, &action, 3).await, Recorded { executions: 3, assigned: 3, is_crowded: false });
    assert_eq!(room(&mut tx).await, Some(3));
    assert_eq!(record(&mut tx, &action, 2).await, Recorded { executions: 2, assigned: 2, is_crowded: true });
    assert_eq!(record(&mut tx, &action, 2).await, Recorded { executions: 2, assigned: 1, is_crowded: true });
    assert_eq!(room(&mut tx).await, Some(0), "one waits to be claimed");
    ExecutionRepository::claim(&mut tx, worker.id, &worker.instance, 1).await.unwrap();
    assert_eq!(room(&mut tx).await, Some(0));

    // What runs as a process asks for no room, and what nobody can run holds nobody up.
    let process = ActionFixture::new_unique().create(&mut tx).await.unwrap();
    assert!(!record(&mut tx, &process, 1).await.is_crowded);
    let nowhere = placement(&mut tx, &[("zone", "nowhere")], &[]).await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let runtime = RuntimeFixture::new(&pack, "native").with_native().create(&mut tx).await.unwrap();
    let unserved = ActionFixture::new_unique().with_runtime(&runtime).with_placement(&nowhere);
    let unserved = unserved.create(&mut tx).await.unwrap();
    WorkerRepository::open_offer(&mut tx, worker.id, &worker.instance, 5).await.unwrap();
    record(&mut tx, &unserved, 1).await;
    assert_eq!(room(&mut tx).await, Some(5));

    let everything = NewPause { scope: PauseScope::Everything, reason: None, identity: None, login: None };
    let pause = PauseRepository::create(&mut *tx, &everything).await.unwrap();
    assert_eq!(room(&mut tx).await, None);
    PauseRepository::delete(&mut *tx, pause.id).await.unwrap();
    assert_eq!(room(&mut tx).await, Some(5));
    WorkerRepository::cordon(&mut tx, worker.id).await.unwrap();
    assert_eq!(room(&mut tx).await, None);
}

#[tokio::test]
async fn test_a_closed_offer_waits_for_what_is_being_assigned() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let action = native_action(&mut connection).await;
    let (worker, _) = offering(&mut connection, 1).await;
    let mut open = attune_common::db::begin(database.pool()).await.unwrap();
    record(&mut open, &action, 1).await;
    let (closed, committed) =
        tokio::join!(WorkerRepository::close_offer(&mut connection, worker.id, &worker.instance), async {
            until_blocked(database.pool(), 1).await;
            open.commit().await
        });
    closed.unwrap();
    committed.unwrap();
    let read =
        ExecutionRepository::list_assigned(&mut connection, worker.id, &worker.instance, 0).await.unwrap();
    assert_eq!(read.len(), 1);
}

#[tokio::test]
async fn test_a_pause_and_a_cordon_wait_for_what_is_being_assigned() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let mut other = database.pool().acquire().await.unwrap();
    let action = native_action(&mut connection).await;
    let (worker, _) = offering(&mut connection, 3).await;
    let mut open = attune_common::db::begin(database.pool()).await.unwrap();
    assert_eq!(record(&mut open, &action, 1).await.assigned, 1);
    let scope = PauseScope::Action(action.r#ref.clone());
    let pause = NewPause { scope, reason: None, identity: None, login: None };
    let (paused, cordoned, committed) = tokio::join!(
        PauseRepository::create(&mut *connection, &pause),
        WorkerRepository::cordon(&mut other, worker.id),
        async {
            until_blocked(database.pool(), 2).await;
            open.commit().await
        }
    );
    committed.unwrap();
    assert!(paused.is_ok() && cordoned.is_ok(), "{paused:?} {cordoned:?}");
    assert_eq!(record(&mut connection, &action, 1).await.assigned, 0);
}

#[tokio::test]
async fn test_rescue_gives_back_what_never_began() {
    let mut tx = transaction().await;
    let action = native_action(&mut tx).await;
    assert_eq!(action.on_worker_loss, WorkerLoss::Abandon);
    let (worker, _) = offering(&mut tx, 2).await;
    record(&mut tx, &action, 1).await;
    ExecutionRepository::list_assigned(&mut tx, worker.id, &worker.instance, 0).await.unwrap();
    record(&mut tx, &action, 1).await;
    expire_lease(&mut tx, &worker).await;
    let rescued = ExecutionRepository::rescue(&mut *tx, 10).await.unwrap();
    let statuses: Vec<_> = rescued.iter().map(|one| one.status).collect();
    assert_eq!(statuses, [ExecutionStatus::Abandoned, ExecutionStatus::Scheduled]);
    let attempts = ExecutionRepository::attempts(&mut *tx, rescued[1].id).await.unwrap();
    assert_eq!((attempts.len(), attempts[0].status), (1, ExecutionStatus::Abandoned));
    assert!(attempts[0].error.as_ref().unwrap().ends_with("; it had not begun"), "{attempts:?}");
    let other = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    let claimed = ExecutionRepository::claim(&mut tx, other.id, "first", 10).await.unwrap();
    assert_eq!((claimed[0].id, claimed[0].attempt), (rescued[1].id, 2));
}

#[tokio::test]
async fn test_rescue_takes_what_was_claimed_for_begun() {
    let mut tx = transaction().await;
    let action = native_action(&mut tx).await;
    let (worker, _) = offering(&mut tx, 10).await;
    let claimed = ExecutionFixture::new(&action).create(&mut tx).await.unwrap();
    assert_eq!(ExecutionRepository::claim(&mut tx, worker.id, "first", 10).await.unwrap().len(), 1);
    expire_lease(&mut tx, &worker).await;
    let rescued = ExecutionRepository::rescue(&mut *tx, 10).await.unwrap();
    assert_eq!((rescued[0].id, rescued[0].status), (claimed.id, ExecutionStatus::Abandoned));
}

#[tokio::test]
async fn test_rescue_gives_back_what_never_began_though_its_worker_claimed_meanwhile() {
    let mut tx = transaction().await;
    let action = native_action(&mut tx).await;
    let (worker, _) = offering(&mut tx, 10).await;
    record(&mut tx, &action, 1).await;
    let claimed = ExecutionFixture::new(&action).create(&mut tx).await.unwrap();
    assert_eq!(ExecutionRepository::claim(&mut tx, worker.id, "first", 10).await.unwrap().len(), 1);
    expire_lease(&mut tx, &worker).await;
    let rescued = ExecutionRepository::rescue(&mut *tx, 10).await.unwrap();
    let statuses: Vec<_> = rescued.iter().map(|one| (one.id, one.status)).collect();
    let (assigned, begun) = (statuses[0], statuses[1]);
    assert_eq!(assigned.1, ExecutionStatus::Scheduled, "nobody had read of it");
    assert_eq!(begun, (claimed.id, ExecutionStatus::Abandoned));
}

#[tokio::test]
async fn test_a_removed_action_is_noticed() {
    let mut tx = transaction().await;
    let action = native_action(&mut tx).await;
    let rule = RuleFixture::new_unique().with_action(&action).create(&mut tx).await.unwrap();
    let event = EventFixture::new_unique().create(&mut tx).await.unwrap();
    let decision = decision(&event, &rule);
    sqlx::query("delete from attune.action where id = $1").bind(action.id).execute(&mut *tx).await.unwrap();
    let recorded = EnforcementRepository::record(&mut tx, &[decision]).await;
    assert!(
        matches!(&recorded, Err(attune_common::error::StoreError::InvalidReference { field, .. }) if field == "action"),
        "{recorded:?}"
    );
}
