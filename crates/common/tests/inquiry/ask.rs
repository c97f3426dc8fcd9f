//! Questions of attempts: asked once, and over with the attempt.

use attune_common::models::action::WorkerLoss;
use attune_common::models::execution::{Execution, ExecutionStatus};
use attune_common::models::inquiry::{
    Asked, Asker, Inquiry, InquiryFilter, InquiryNames, InquiryStatus, NewInquiry,
};
use attune_common::repositories::{ExecutionRepository, InquiryRepository, IsNew, RespondError};
use attune_testkit::{TestDatabase, transaction};
use serde_json::json;
use sqlx::PgConnection;

use crate::helpers::checks::*;
use crate::helpers::inquiry::*;
use crate::helpers::steps::*;
use crate::helpers::*;
use crate::{HOUR, filter};

fn asker(execution: &Execution, dedup_key: Option<&str>) -> Asker {
    Asker { attempt: execution.attempt, dedup_key: dedup_key.map(str::to_owned) }
}

async fn ask(
    connection: &mut PgConnection,
    execution: &Execution,
    dedup_key: Option<&str>,
) -> Option<(Inquiry, IsNew)> {
    let new = NewInquiry { timeout: Some(HOUR), ..NewInquiry::of(execution.id, "Go?") };
    InquiryRepository::ask(connection, &asker(execution, dedup_key), &new).await.expect("it can be asked")
}

async fn status_of(connection: &mut PgConnection, inquiry: i64) -> InquiryStatus {
    InquiryRepository::get_by_id(connection, inquiry).await.expect("the inquiry is there").status
}

/// An execution that another one began, which a worker runs.
async fn running_child(connection: &mut PgConnection, parent: &Execution) -> Execution {
    let mut fixture = ExecutionFixture::new_unique();
    fixture.new.parent = Some(parent.id);
    let child = fixture.create(&mut *connection).await.expect("an execution");
    let worker = WorkerFixture::new_unique().create(&mut *connection).await.expect("a worker");
    ExecutionRepository::claim(&mut *connection, worker.id, &worker.instance, 10)
        .await
        .expect("it is claimed");
    ExecutionRepository::get_by_id(connection, child.id).await.expect("the child is there")
}

#[tokio::test]
async fn test_ask() {
    let mut tx = transaction().await;
    let (execution, _) = running(&mut tx, WorkerLoss::Abandon).await;
    let (inquiry, is_new) = ask(&mut tx, &execution, Some("deploy")).await.unwrap();
    assert_eq!((inquiry.execution, inquiry.attempt), (execution.id, Some(1)));
    assert_eq!((inquiry.dedup_key.as_deref(), inquiry.status), (Some("deploy"), InquiryStatus::Pending));
    assert!(inquiry.timeout_at.unwrap() > inquiry.created);
    assert_eq!(is_new, IsNew(true));
}

#[tokio::test]
async fn test_ask_again_under_the_same_key_is_the_same_question() {
    let mut tx = transaction().await;
    let (execution, _) = running(&mut tx, WorkerLoss::Abandon).await;
    let (first, _) = ask(&mut tx, &execution, Some("deploy")).await.unwrap();
    assert_eq!(ask(&mut tx, &execution, Some("deploy")).await, Some((first.clone(), IsNew(false))));
    let given = answer(&identity(&mut tx).await, json!(1));
    let answered = InquiryRepository::respond(&mut *tx, first.id, &given).await.unwrap();
    assert_eq!(ask(&mut tx, &execution, Some("deploy")).await, Some((answered, IsNew(false))));
    for key in [Some("other"), None, None] {
        let (inquiry, is_new) = ask(&mut tx, &execution, key).await.unwrap();
        assert_eq!((inquiry.id > first.id, is_new), (true, IsNew(true)), "{key:?}");
    }
    let told: i64 = sqlx::query_scalar(
        "select count(*) from attune.change where entity_type = 'inquiry' and activity = 'pending'",
    )
    .fetch_one(&mut *tx)
    .await
    .unwrap();
    assert_eq!(told, 4);
}

#[tokio::test]
async fn test_ask_of_an_attempt_that_does_not_run() {
    let mut tx = transaction().await;
    let (execution, worker) = running(&mut tx, WorkerLoss::Abandon).await;
    let other = Execution { attempt: 2, ..execution.clone() };
    assert_eq!(ask(&mut tx, &other, None).await, None);
    let gone = Execution { id: NO_SUCH_ID, ..execution.clone() };
    assert_eq!(ask(&mut tx, &gone, None).await, None);
    ExecutionRepository::cancel(&mut tx, execution.id).await.unwrap();
    assert_eq!(ask(&mut tx, &execution, None).await, None, "it is being cancelled");
    let end = [completion(execution.id, 1, ExecutionStatus::Cancelled)];
    ExecutionRepository::complete(&mut *tx, worker.id, &end).await.unwrap();
    assert_eq!(ask(&mut tx, &execution, None).await, None);
    assert_eq!(InquiryRepository::list(&mut *tx).await.unwrap(), []);
}

/// A cancellation that is under way is waited for; then nothing is asked.
#[tokio::test]
async fn test_ask_meets_a_cancellation() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let (execution, _) = running(&mut pool.acquire().await.unwrap(), WorkerLoss::Abandon).await;
    let mut cancelling = attune_common::db::begin(pool).await.unwrap();
    ExecutionRepository::cancel(&mut cancelling, execution.id).await.unwrap();
    let asking = tokio::spawn({
        let (pool, execution) = (pool.clone(), execution.clone());
        async move { ask(&mut pool.acquire().await.unwrap(), &execution, None).await }
    });
    until_blocked(pool, 1).await;
    cancelling.commit().await.unwrap();
    assert_eq!(asking.await.unwrap(), None);
}

#[tokio::test]
async fn test_cancel() {
    let mut tx = transaction().await;
    let inquiry = inquiry_in(&mut tx, InquiryStatus::Pending).await;
    let cancelled = InquiryRepository::cancel(&mut tx, inquiry.id).await.unwrap();
    let expected = Inquiry { status: InquiryStatus::Cancelled, updated: cancelled.updated, ..inquiry };
    assert_eq!(cancelled, expected);
    assert_eq!(InquiryRepository::cancel(&mut tx, cancelled.id).await.unwrap(), expected);
    for status in [InquiryStatus::Responded, InquiryStatus::Timeout] {
        let ended = inquiry_in(&mut tx, status).await;
        assert_conflict(InquiryRepository::cancel(&mut tx, ended.id).await, "inquiry", &ended.id);
    }
    assert_not_found(InquiryRepository::cancel(&mut tx, NO_SUCH_ID).await, "inquiry", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_cancel_with_an_execution_and_what_it_began() {
    let mut tx = transaction().await;
    let (parent, _) = running(&mut tx, WorkerLoss::Abandon).await;
    let child = running_child(&mut tx, &parent).await;
    let (other, _) = running(&mut tx, WorkerLoss::Abandon).await;
    let mut asked = Vec::new();
    for execution in [&parent, &child, &other] {
        asked.push(ask(&mut tx, execution, None).await.unwrap().0.id);
    }
    assert_eq!(InquiryRepository::cancel_with(&mut *tx, parent.id).await.unwrap(), [], "it runs");
    ExecutionRepository::cancel(&mut tx, parent.id).await.unwrap();
    let cancelled = InquiryRepository::cancel_with(&mut *tx, parent.id).await.unwrap();
    assert_eq!(cancelled.iter().map(|inquiry| inquiry.id).collect::<Vec<_>>(), asked[..2]);
    assert_eq!(status_of(&mut tx, asked[2]).await, InquiryStatus::Pending);
    let told: Vec<i64> = sqlx::query_scalar(
        "select entities[1] from attune.change where entity_type = 'inquiry' and activity = 'cancelled' order by id",
    )
    .fetch_all(&mut *tx)
    .await
    .unwrap();
    assert_eq!(told, asked[..2]);
}

/// What an attempt asked is over when it is: when another one follows, when it is rescued, and while it is cancelled.
#[tokio::test]
async fn test_the_end_of_an_attempt_ends_its_questions() {
    let mut tx = transaction().await;
    let cancelled = async |tx: &mut PgConnection| -> Vec<i64> {
        let cancelled = InquiryRepository::cancel_of_ended(tx, 10).await.unwrap();
        cancelled.iter().map(|inquiry| inquiry.id).collect()
    };
    // Lost with its worker, and queued for another attempt.
    let (execution, worker) = running(&mut tx, WorkerLoss::Retry).await;
    let (asked, _) = ask(&mut tx, &execution, Some("deploy")).await.unwrap();
    assert_eq!(cancelled(&mut tx).await, [0; 0]);
    expire_lease(&mut tx, &worker).await;
    ExecutionRepository::rescue(&mut *tx, 10).await.unwrap();
    assert_eq!(cancelled(&mut tx).await, [asked.id]);
    // The next attempt asks anew.
    let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    ExecutionRepository::claim(&mut tx, worker.id, &worker.instance, 10).await.unwrap();
    let execution = ExecutionRepository::get_by_id(&mut *tx, execution.id).await.unwrap();
    let (again, is_new) = ask(&mut tx, &execution, Some("deploy")).await.unwrap();
    assert_eq!((again.attempt, is_new), (Some(2), IsNew(true)));
    assert_eq!(cancelled(&mut tx).await, [0; 0]);
    // Cancelled without a word about its questions.
    ExecutionRepository::cancel(&mut tx, execution.id).await.unwrap();
    assert_eq!(cancelled(&mut tx).await, [again.id]);
    // Lost with its worker, and given up.
    let (execution, worker) = running(&mut tx, WorkerLoss::Abandon).await;
    let (asked, _) = ask(&mut tx, &execution, None).await.unwrap();
    expire_lease(&mut tx, &worker).await;
    ExecutionRepository::rescue(&mut *tx, 10).await.unwrap();
    assert_eq!(cancelled(&mut tx).await, [asked.id]);
}

#[tokio::test]
async fn test_whoever_began_what_began_it_is_no_other() {
    let mut tx = transaction().await;
    let (owner, other) = (identity(&mut tx).await, identity(&mut tx).await);
    let parent = execution_of(&mut tx, &owner).await;
    let child = running_child(&mut tx, &parent).await;
    let fixture = InquiryFixture::new(&child).without_self_approval().with_assigned_role("ops.approver");
    let inquiry = fixture.create(&mut tx).await.unwrap();
    let roles = ["ops.approver".to_owned()];
    let waiting = InquiryRepository::list_waiting_for(&mut *tx, owner.id, &roles).await.unwrap();
    assert_eq!(waiting, []);
    let refused = InquiryRepository::respond(&mut *tx, inquiry.id, &answer(&owner, json!(1))).await;
    assert!(matches!(refused, Err(RespondError::SelfApproval { .. })), "{refused:?}");
    let waiting = InquiryRepository::list_waiting_for(&mut *tx, other.id, &roles).await.unwrap();
    assert_eq!(waiting, std::slice::from_ref(&inquiry));
    InquiryRepository::respond(&mut *tx, inquiry.id, &answer(&other, json!(1))).await.unwrap();
}

#[tokio::test]
async fn test_search_of_what_an_identity_is_asked() {
    let mut tx = transaction().await;
    let (execution, asked) = (execution(&mut tx).await, identity(&mut tx).await);
    let fixture = || InquiryFixture::new(&execution);
    let by_name = fixture().with_assigned_to(&asked).create(&mut tx).await.unwrap();
    let by_role = fixture().with_assigned_role("ops.approver").create(&mut tx).await.unwrap();
    fixture().with_assigned_role("ops.other").create(&mut tx).await.unwrap();
    fixture().create(&mut tx).await.unwrap();
    let of = |roles: &[&str]| InquiryFilter {
        asked: Some(Asked {
            identity: asked.id,
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        }),
        ..filter()
    };
    let found = InquiryRepository::search(&mut *tx, &of(&["ops.approver"])).await.unwrap();
    assert_eq!(found, [by_role, by_name.clone()]);
    assert_eq!(InquiryRepository::search(&mut *tx, &of(&[])).await.unwrap(), [by_name]);
}

#[tokio::test]
async fn test_names_and_ends() {
    let mut tx = transaction().await;
    let (execution, asked) = (execution(&mut tx).await, identity(&mut tx).await);
    let waiting = InquiryFixture::new(&execution).with_assigned_to(&asked).create(&mut tx).await.unwrap();
    let answered = InquiryFixture::new(&execution).create(&mut tx).await.unwrap();
    InquiryRepository::respond(&mut *tx, answered.id, &answer(&asked, json!(1))).await.unwrap();
    let names =
        |inquiry: &Inquiry, assigned_to: Option<&String>, responded_by: Option<&String>| InquiryNames {
            id: inquiry.id,
            action_ref: execution.action_ref.clone(),
            assigned_to: assigned_to.cloned(),
            responded_by: responded_by.cloned(),
        };
    let ids = [waiting.id, answered.id, NO_SUCH_ID];
    let expected = [names(&waiting, Some(&asked.login), None), names(&answered, None, Some(&asked.login))];
    assert_eq!(InquiryRepository::names(&mut *tx, &ids).await.unwrap(), expected);
    let mut ended = InquiryRepository::ended_of(&mut *tx, &ids).await.unwrap();
    ended.sort_unstable();
    let mut expected = [answered.id, NO_SUCH_ID];
    expected.sort_unstable();
    assert_eq!(ended, expected);
}
