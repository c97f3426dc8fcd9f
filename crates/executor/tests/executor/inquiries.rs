//! Questions end with what asked, however it ended, and with their time.

use std::time::Duration;

use attune_common::bus::{Bus, Topic};
use attune_common::models::execution::{Claimed, ExecutionStatus};
use attune_common::models::inquiry::{Asker, InquiryStatus, NewInquiry};
use attune_common::pass::Found;
use attune_common::repositories::{ExecutionRepository, InquiryRepository, WorkerRepository};
use attune_executor::inquiries;
use attune_executor::rescue::Rescuer;
use attune_testkit::TestDatabase;
use sqlx::PgPool;

use crate::helpers::*;

async fn ask(pool: &PgPool, claimed: &Claimed, timeout: Option<Duration>) -> i64 {
    let asker = Asker { attempt: claimed.attempt, dedup_key: None };
    let new = NewInquiry { timeout, ..NewInquiry::of(claimed.id, "Go?") };
    InquiryRepository::ask(pool, &asker, &new).await.unwrap().unwrap().0.id
}

async fn status(pool: &PgPool, inquiry: i64) -> InquiryStatus {
    InquiryRepository::get_by_id(pool, inquiry).await.unwrap().status
}

#[tokio::test]
async fn test_the_pass_ends_what_is_over_and_says_so() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let action = action(pool, "test.action").await;
    let worker = worker(pool, "one").await;
    request_many(pool, &action, 4).await;
    let claimed = claim(pool, &worker, 4).await;
    let late = ask(pool, &claimed[0], Some(Duration::ZERO)).await;
    let in_time = ask(pool, &claimed[0], Some(Duration::from_secs(3600))).await;
    let failed = ask(pool, &claimed[1], None).await;
    let timed_out = ask(pool, &claimed[2], None).await;
    complete(pool, &worker, &claimed[1..2], ExecutionStatus::Failed).await;
    complete(pool, &worker, &claimed[2..3], ExecutionStatus::Timeout).await;
    let cancelled = ask(pool, &claimed[3], None).await;
    // As if the process had died before it cancelled the questions.
    ExecutionRepository::cancel(&mut pool.acquire().await.unwrap(), claimed[3].id).await.unwrap();
    let bus = Bus::new();
    let mut changes = bus.subscribe(Topic::Change);
    assert_eq!(inquiries::pass(pool.clone(), bus.clone()).await.unwrap(), Found::Nothing);
    tokio::time::timeout(PATIENCE, changes.woken()).await.unwrap();
    assert_eq!(status(pool, late).await, InquiryStatus::Timeout);
    assert_eq!(status(pool, in_time).await, InquiryStatus::Pending);
    for inquiry in [failed, timed_out, cancelled] {
        assert_eq!(status(pool, inquiry).await, InquiryStatus::Cancelled);
    }
    inquiries::pass(pool.clone(), bus).await.unwrap();
    let told: i64 = sqlx::query_scalar(
        "select count(*) from attune.change where entity_type = 'inquiry' and activity <> 'pending'",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!(told, 4, "nothing ends twice");
}

#[tokio::test]
async fn test_a_rescue_leaves_no_question_open() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let action = action(pool, "test.action").await;
    let worker = worker(pool, "one").await;
    request_many(pool, &action, 1).await;
    let claimed = claim(pool, &worker, 1).await;
    let asked = ask(pool, &claimed[0], None).await;
    assert!(WorkerRepository::renew(pool, worker.id, &worker.instance, Duration::ZERO).await.unwrap());
    Rescuer::new(pool.clone(), Bus::new()).pass().await.unwrap();
    assert_eq!(status_of(pool, claimed[0].id).await, ExecutionStatus::Abandoned);
    inquiries::pass(pool.clone(), Bus::new()).await.unwrap();
    assert_eq!(status(pool, asked).await, InquiryStatus::Cancelled);
}
