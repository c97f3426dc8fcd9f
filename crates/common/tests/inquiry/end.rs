//! Ends without an answer, and the chart of an inquiry's life.

use std::time::Duration;

use attune_common::bus::Topic;
use attune_common::models::execution::ExecutionStatus;
use attune_common::models::inquiry::{Inquiry, InquiryStatus, InquiryUpdate};
use attune_common::repositories::{ExecutionRepository, InquiryRepository};
use attune_testkit::{TestDatabase, transaction};
use serde_json::json;
use sqlx::Connection;
use sqlx::postgres::PgListener;

use crate::HOUR;
use crate::helpers::inquiry::*;
use crate::helpers::steps::*;
use crate::helpers::*;

fn ids(inquiries: &[Inquiry]) -> Vec<i64> {
    inquiries.iter().map(|inquiry| inquiry.id).collect()
}

#[tokio::test]
async fn test_cancel_with_an_execution() {
    let mut tx = transaction().await;
    let execution = execution(&mut tx).await;
    let answered = InquiryFixture::new(&execution).create(&mut tx).await.unwrap();
    let given = answer(&identity(&mut tx).await, json!(1));
    let answered = InquiryRepository::respond(&mut *tx, answered.id, &given).await.unwrap();
    let first = InquiryFixture::new(&execution).create(&mut tx).await.unwrap();
    let second = InquiryFixture::new(&execution).create(&mut tx).await.unwrap();
    let other = inquiry_in(&mut tx, InquiryStatus::Pending).await;
    ExecutionRepository::cancel(&mut tx, execution.id).await.unwrap();
    let cancelled = InquiryRepository::cancel_with(&mut *tx, execution.id).await.unwrap();
    let expected = [first, second].map(|inquiry| {
        let updated = cancelled.iter().find(|row| row.id == inquiry.id).unwrap().updated;
        Inquiry { status: InquiryStatus::Cancelled, updated, ..inquiry }
    });
    assert_eq!(cancelled, expected);
    let [first, second] = expected;
    assert_eq!(InquiryRepository::list(&mut *tx).await.unwrap(), [other, second, first, answered]);
}

#[tokio::test]
async fn test_cancel_with_an_execution_again() {
    let mut tx = transaction().await;
    for status in [InquiryStatus::Responded, InquiryStatus::Timeout, InquiryStatus::Cancelled] {
        let inquiry = inquiry_in(&mut tx, status).await;
        ExecutionRepository::cancel(&mut tx, inquiry.execution).await.unwrap();
        assert_eq!(InquiryRepository::cancel_with(&mut *tx, inquiry.execution).await.unwrap(), []);
        assert_eq!(InquiryRepository::get_by_id(&mut *tx, inquiry.id).await.unwrap(), inquiry);
    }
}

#[tokio::test]
async fn test_cancel_of_ended_executions() {
    let mut tx = transaction().await;
    let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    for &status in ExecutionStatus::ALL.iter().filter(|status| status.is_terminal()) {
        let (ended, held) = (execution(&mut tx).await, execution(&mut tx).await);
        ExecutionRepository::claim(&mut tx, worker.id, &worker.instance, 2).await.unwrap();
        let orphan = InquiryFixture::new(&ended).create(&mut tx).await.unwrap();
        let kept = InquiryFixture::new(&held).create(&mut tx).await.unwrap();
        assert_eq!(InquiryRepository::cancel_of_ended(&mut *tx, 10).await.unwrap(), []);
        let end = [completion(ended.id, 1, status)];
        ExecutionRepository::complete(&mut *tx, worker.id, &end).await.unwrap();
        let cancelled = InquiryRepository::cancel_of_ended(&mut *tx, 10).await.unwrap();
        assert_eq!(ids(&cancelled), [orphan.id], "{status}");
        assert_eq!(cancelled[0].status, InquiryStatus::Cancelled);
        assert_eq!(InquiryRepository::get_by_id(&mut *tx, kept.id).await.unwrap(), kept);
    }
}

#[tokio::test]
async fn test_cancel_of_ended_executions_up_to_the_limit() {
    let mut tx = transaction().await;
    let execution = execution(&mut tx).await;
    ExecutionRepository::cancel(&mut tx, execution.id).await.unwrap();
    let mut orphans = Vec::new();
    for _ in 0..3 {
        orphans.push(InquiryFixture::new(&execution).create(&mut tx).await.unwrap().id);
    }
    assert_eq!(ids(&InquiryRepository::cancel_of_ended(&mut *tx, 2).await.unwrap()), orphans[..2]);
    assert_eq!(ids(&InquiryRepository::cancel_of_ended(&mut *tx, 2).await.unwrap()), orphans[2..]);
    assert_eq!(InquiryRepository::cancel_of_ended(&mut *tx, 2).await.unwrap(), []);
}

#[tokio::test]
async fn test_expire_only_what_is_overdue() {
    let mut tx = transaction().await;
    let execution = execution(&mut tx).await;
    let fixture = || InquiryFixture::new(&execution);
    let for_ever = fixture().create(&mut tx).await.unwrap();
    let overdue = fixture().with_timeout(Duration::ZERO).create(&mut tx).await.unwrap();
    let in_time = fixture().with_timeout(HOUR).create(&mut tx).await.unwrap();
    let expired = InquiryRepository::expire(&mut *tx, 10).await.unwrap();
    let expected = Inquiry { status: InquiryStatus::Timeout, updated: expired[0].updated, ..overdue };
    assert_eq!(expired, std::slice::from_ref(&expected));
    assert_eq!(InquiryRepository::list(&mut *tx).await.unwrap(), [in_time, expected, for_ever]);
}

#[tokio::test]
async fn test_expire_keeps_what_has_ended() {
    let mut tx = transaction().await;
    let (execution, somebody) = (execution(&mut tx).await, identity(&mut tx).await);
    let inquiry = InquiryFixture::new(&execution).with_timeout(HOUR).create(&mut tx).await.unwrap();
    InquiryRepository::respond(&mut *tx, inquiry.id, &answer(&somebody, json!(1))).await.unwrap();
    sqlx::query("update attune.inquiry set timeout_at = created").execute(&mut *tx).await.unwrap();
    inquiry_in(&mut tx, InquiryStatus::Timeout).await;
    assert_eq!(InquiryRepository::expire(&mut *tx, 10).await.unwrap(), []);
}

#[tokio::test]
async fn test_expire_up_to_the_limit() {
    let mut tx = transaction().await;
    let execution = execution(&mut tx).await;
    let mut overdue = Vec::new();
    for _ in 0..3 {
        let fixture = InquiryFixture::new(&execution).with_timeout(Duration::ZERO);
        overdue.push(fixture.create(&mut tx).await.unwrap().id);
    }
    assert_eq!(ids(&InquiryRepository::expire(&mut *tx, 2).await.unwrap()), overdue[..2]);
    assert_eq!(ids(&InquiryRepository::expire(&mut *tx, 2).await.unwrap()), overdue[2..]);
    assert_eq!(InquiryRepository::expire(&mut *tx, 2).await.unwrap(), []);
}

#[tokio::test]
async fn test_expire_passes_over_what_is_being_changed() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let execution = execution(&mut connection).await;
    let fixture = || InquiryFixture::new(&execution).with_timeout(Duration::ZERO);
    let held = fixture().create(&mut connection).await.unwrap();
    let free = fixture().create(&mut connection).await.unwrap();
    let mut other = attune_common::db::begin(database.pool()).await.unwrap();
    let more_time = InquiryUpdate { timeout: Some(HOUR), ..InquiryUpdate::default() };
    InquiryRepository::update(&mut other, held.id, &more_time).await.unwrap();
    let expired = at_once(InquiryRepository::expire(&mut *connection, 10)).await.unwrap();
    assert_eq!(ids(&expired), [free.id]);
    other.commit().await.unwrap();
    assert_eq!(InquiryRepository::expire(&mut *connection, 10).await.unwrap(), []);
}

#[tokio::test]
async fn test_status_only_as_can_become_allows() {
    let mut tx = transaction().await;
    for &from in InquiryStatus::ALL {
        for &to in InquiryStatus::ALL {
            let mut step = tx.begin().await.unwrap();
            let inquiry = inquiry_in(&mut step, from).await;
            // Every step that leads to the status, whatever it says about it.
            match to {
                InquiryStatus::Pending => {
                    let update = InquiryUpdate { timeout: Some(HOUR), ..InquiryUpdate::default() };
                    InquiryRepository::update(&mut step, inquiry.id, &update).await.ok();
                }
                InquiryStatus::Responded => {
                    let given = answer(&identity(&mut step).await, json!(2));
                    InquiryRepository::respond(&mut *step, inquiry.id, &given).await.ok();
                }
                InquiryStatus::Timeout => {
                    let overdue = "update attune.inquiry set timeout_at = created";
                    sqlx::query(overdue).execute(&mut *step).await.unwrap();
                    InquiryRepository::expire(&mut *step, 10).await.unwrap();
                }
                InquiryStatus::Cancelled => {
                    InquiryRepository::cancel(&mut step, inquiry.id).await.ok();
                }
            }
            let status = InquiryRepository::get_by_id(&mut *step, inquiry.id).await.unwrap().status;
            assert_eq!(status, if from.can_become(to) { to } else { from }, "{from} -> {to}");
            step.rollback().await.unwrap();
        }
    }
}

#[test]
fn test_status_is_terminal_when_it_can_become_nothing() {
    for &status in InquiryStatus::ALL {
        let stays = InquiryStatus::ALL.iter().all(|&next| !status.can_become(next));
        assert_eq!(status.is_terminal(), stays, "{status}");
    }
}

#[tokio::test]
async fn test_every_status_change_stands_in_the_feed() {
    let mut tx = transaction().await;
    let mut expected = Vec::new();
    for &status in InquiryStatus::ALL {
        let inquiry = inquiry_in(&mut tx, status).await;
        let execution = ExecutionRepository::get_by_id(&mut *tx, inquiry.execution).await.unwrap();
        expected.push((inquiry.id, execution.action_ref.clone(), "pending".to_owned()));
        if status != InquiryStatus::Pending {
            expected.push((inquiry.id, execution.action_ref, status.to_string()));
        }
    }
    let orphan = InquiryFixture::new(&execution(&mut tx).await).create(&mut tx).await.unwrap();
    ExecutionRepository::cancel(&mut tx, orphan.execution).await.unwrap();
    InquiryRepository::cancel_of_ended(&mut *tx, 10).await.unwrap();
    let execution = ExecutionRepository::get_by_id(&mut *tx, orphan.execution).await.unwrap();
    expected.push((orphan.id, execution.action_ref.clone(), "pending".to_owned()));
    expected.push((orphan.id, execution.action_ref, "cancelled".to_owned()));
    let found: Vec<(i64, String, String)> = sqlx::query_as(
        "select entities[1], ref, activity from attune.change where entity_type = 'inquiry' order by id",
    )
    .fetch_all(&mut *tx)
    .await
    .unwrap();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn test_every_status_change_wakes_the_readers_of_the_feed() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let mut connection = pool.acquire().await.unwrap();
    let ended = execution(&mut connection).await;
    ExecutionRepository::cancel(&mut connection, ended.id).await.unwrap();
    let [asking, cancelled] = [execution(&mut connection).await, execution(&mut connection).await];
    let unwanted = InquiryFixture::new(&cancelled).create(&mut connection).await.unwrap();
    let given = answer(&identity(&mut connection).await, json!(1));
    let mut listener = PgListener::connect_with(pool).await.unwrap();
    listener.listen(Topic::Change.channel()).await.unwrap();

    let asked = InquiryFixture::new(&asking).create(&mut connection).await.unwrap();
    at_once(listener.recv()).await.unwrap();
    InquiryRepository::respond(&mut *connection, asked.id, &given).await.unwrap();
    at_once(listener.recv()).await.unwrap();
    InquiryRepository::cancel(&mut connection, unwanted.id).await.unwrap();
    at_once(listener.recv()).await.unwrap();
    InquiryFixture::new(&asking).with_timeout(Duration::ZERO).create(&mut connection).await.unwrap();
    at_once(listener.recv()).await.unwrap();
    InquiryRepository::expire(&mut *connection, 1).await.unwrap();
    at_once(listener.recv()).await.unwrap();
    InquiryFixture::new(&ended).create(&mut connection).await.unwrap();
    at_once(listener.recv()).await.unwrap();
    InquiryRepository::cancel_of_ended(&mut *connection, 1).await.unwrap();
    at_once(listener.recv()).await.unwrap();
    // One signal for each, and none for what changes nothing.
    InquiryRepository::cancel(&mut connection, unwanted.id).await.unwrap();
    InquiryRepository::expire(&mut *connection, 1).await.unwrap();
    InquiryRepository::cancel_of_ended(&mut *connection, 1).await.unwrap();
    InquiryRepository::respond(&mut *connection, asked.id, &given).await.unwrap_err();
    sqlx::query("select pg_notify($1, 'mark')")
        .bind(Topic::Change.channel())
        .execute(&mut *connection)
        .await
        .unwrap();
    assert_eq!(at_once(listener.recv()).await.unwrap().payload(), "mark");
}

#[tokio::test]
async fn test_refused_answers_stand_not_in_the_feed() {
    let mut tx = transaction().await;
    let inquiry = inquiry_in(&mut tx, InquiryStatus::Responded).await;
    let count = "select count(*) from attune.change where entity_type = 'inquiry'";
    let before: i64 = sqlx::query_scalar(count).fetch_one(&mut *tx).await.unwrap();
    let given = answer(&identity(&mut tx).await, json!(2));
    InquiryRepository::respond(&mut *tx, inquiry.id, &given).await.unwrap_err();
    InquiryRepository::cancel(&mut tx, inquiry.id).await.unwrap_err();
    InquiryRepository::expire(&mut *tx, 10).await.unwrap();
    let after: i64 = sqlx::query_scalar(count).fetch_one(&mut *tx).await.unwrap();
    assert_eq!((before, after), (2, 2));
}
