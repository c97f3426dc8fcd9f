//! Answers: who may give one, until when, and which one counts.

use std::time::Duration;

use attune_common::models::inquiry::{Inquiry, InquiryStatus};
use attune_common::repositories::{InquiryRepository, RespondError};
use attune_testkit::{TestDatabase, transaction};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::HOUR;
use crate::helpers::checks::*;
use crate::helpers::inquiry::*;
use crate::helpers::steps::*;
use crate::helpers::*;

#[tokio::test]
async fn test_respond() {
    let mut tx = transaction().await;
    let other = inquiry_in(&mut tx, InquiryStatus::Pending).await;
    let inquiry =
        InquiryFixture::new(&execution(&mut tx).await).with_timeout(HOUR).create(&mut tx).await.unwrap();
    let somebody = identity(&mut tx).await;
    let given = answer(&somebody, json!({"approved": false}));
    let responded = InquiryRepository::respond(&mut *tx, inquiry.id, &given).await.unwrap();
    let expected = Inquiry {
        status: InquiryStatus::Responded,
        response: Some(json!({"approved": false})),
        responded_by: Some(somebody.id),
        responded_at: responded.responded_at,
        updated: responded.updated,
        ..inquiry.clone()
    };
    assert_eq!(responded, expected);
    assert!(responded.responded_at.unwrap() > inquiry.created, "{responded:?}");
    assert_eq!(InquiryRepository::list(&mut *tx).await.unwrap(), [responded, other]);
}

#[tokio::test]
async fn test_respond_with_null() {
    let mut tx = transaction().await;
    let (inquiry, somebody) = (inquiry_in(&mut tx, InquiryStatus::Pending).await, identity(&mut tx).await);
    let given = answer(&somebody, Value::Null);
    let responded = InquiryRepository::respond(&mut *tx, inquiry.id, &given).await.unwrap();
    assert_eq!(responded.response, Some(Value::Null));
}

#[tokio::test]
async fn test_respond_not_found() {
    let mut tx = transaction().await;
    let given = answer(&identity(&mut tx).await, json!(1));
    let responded = InquiryRepository::respond(&mut *tx, NO_SUCH_ID, &given).await;
    assert_not_found(stored(responded), "inquiry", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_respond_by_nobody() {
    let mut tx = transaction().await;
    let inquiry = inquiry_in(&mut tx, InquiryStatus::Pending).await;
    let mut given = answer(&identity(&mut tx).await, json!(1));
    given.responded_by = NO_SUCH_ID;
    let responded = InquiryRepository::respond(&mut *tx, inquiry.id, &given).await;
    assert_invalid_reference(stored(responded), "inquiry", "responded_by");
}

#[tokio::test]
async fn test_respond_twice() {
    let mut tx = transaction().await;
    let inquiry = inquiry_in(&mut tx, InquiryStatus::Responded).await;
    let given = answer(&identity(&mut tx).await, json!({"approved": false}));
    let again = InquiryRepository::respond(&mut *tx, inquiry.id, &given).await;
    assert_conflict(stored(again), "inquiry", &inquiry.id);
    assert_eq!(InquiryRepository::get_by_id(&mut *tx, inquiry.id).await.unwrap(), inquiry);
}

#[tokio::test]
async fn test_respond_when_cancelled() {
    let mut tx = transaction().await;
    let inquiry = inquiry_in(&mut tx, InquiryStatus::Cancelled).await;
    let given = answer(&identity(&mut tx).await, json!(1));
    let responded = InquiryRepository::respond(&mut *tx, inquiry.id, &given).await;
    assert_conflict(stored(responded), "inquiry", &inquiry.id);
    assert_eq!(InquiryRepository::get_by_id(&mut *tx, inquiry.id).await.unwrap(), inquiry);
}

#[tokio::test]
async fn test_respond_too_late() {
    let mut tx = transaction().await;
    let somebody = identity(&mut tx).await;
    // The same before and after the pass that marks it.
    let marked = inquiry_in(&mut tx, InquiryStatus::Timeout).await;
    let unmarked = InquiryFixture::new(&execution(&mut tx).await).with_timeout(Duration::ZERO);
    let unmarked = unmarked.create(&mut tx).await.unwrap();
    for late in [marked, unmarked] {
        let responded = InquiryRepository::respond(&mut *tx, late.id, &answer(&somebody, json!(1))).await;
        let error = responded.unwrap_err();
        assert!(matches!(error, RespondError::TimedOut { inquiry } if inquiry == late.id), "{error:?}");
        assert_eq!(error.to_string(), format!("inquiry {} was not answered in time", late.id));
        assert_eq!(InquiryRepository::get_by_id(&mut *tx, late.id).await.unwrap(), late);
    }
}

#[tokio::test]
async fn test_respond_to_oneself() {
    let mut tx = transaction().await;
    let (owner, other) = (identity(&mut tx).await, identity(&mut tx).await);
    let execution = execution_of(&mut tx, &owner).await;
    let fixture = InquiryFixture::new(&execution).with_assigned_to(&owner).without_self_approval();
    let inquiry = fixture.create(&mut tx).await.unwrap();
    let error =
        InquiryRepository::respond(&mut *tx, inquiry.id, &answer(&owner, json!(1))).await.unwrap_err();
    assert!(matches!(error, RespondError::SelfApproval { inquiry: id } if id == inquiry.id), "{error:?}");
    let sentence = format!(
        "inquiry {} must be answered by somebody else than whoever its execution belongs to",
        inquiry.id
    );
    assert_eq!(error.to_string(), sentence);
    assert_eq!(InquiryRepository::get_by_id(&mut *tx, inquiry.id).await.unwrap(), inquiry);
    let responded = InquiryRepository::respond(&mut *tx, inquiry.id, &answer(&other, json!(1))).await;
    assert_eq!(responded.unwrap().responded_by, Some(other.id));
}

#[tokio::test]
async fn test_respond_to_oneself_where_that_is_allowed() {
    let mut tx = transaction().await;
    let owner = identity(&mut tx).await;
    let execution = execution_of(&mut tx, &owner).await;
    let inquiry = InquiryFixture::new(&execution).create(&mut tx).await.unwrap();
    let responded = InquiryRepository::respond(&mut *tx, inquiry.id, &answer(&owner, json!(1))).await;
    assert_eq!(responded.unwrap().responded_by, Some(owner.id));
}

#[tokio::test]
async fn test_respond_to_an_execution_of_nobody() {
    let mut tx = transaction().await;
    let somebody = identity(&mut tx).await;
    let fixture = InquiryFixture::new(&execution(&mut tx).await).without_self_approval();
    let inquiry = fixture.create(&mut tx).await.unwrap();
    let responded = InquiryRepository::respond(&mut *tx, inquiry.id, &answer(&somebody, json!(1))).await;
    assert_eq!(responded.unwrap().status, InquiryStatus::Responded);
}

/// Answers in a second transaction while what the first one did to the inquiry is not committed yet.
async fn respond_during(
    pool: &PgPool,
    inquiry: &Inquiry,
    first: sqlx::Transaction<'_, sqlx::Postgres>,
) -> Result<Inquiry, RespondError> {
    let late = identity(&mut pool.acquire().await.expect("a connection")).await;
    let given = answer(&late, json!("late"));
    let (responded, committed) = tokio::join!(InquiryRepository::respond(pool, inquiry.id, &given), async {
        until_blocked(pool, 1).await;
        first.commit().await
    });
    committed.expect("the first one can be committed");
    responded
}

#[tokio::test]
async fn test_respond_by_two_at_once() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let inquiry = inquiry_in(&mut connection, InquiryStatus::Pending).await;
    let given = answer(&identity(&mut connection).await, json!("first"));
    let mut first = attune_common::db::begin(database.pool()).await.unwrap();
    let kept = InquiryRepository::respond(&mut *first, inquiry.id, &given).await.unwrap();
    let late = respond_during(database.pool(), &inquiry, first).await;
    assert_conflict(stored(late), "inquiry", &inquiry.id);
    assert_eq!(InquiryRepository::get_by_id(&mut *connection, inquiry.id).await.unwrap(), kept);
}

#[tokio::test]
async fn test_respond_during_a_cancellation() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let inquiry = inquiry_in(&mut connection, InquiryStatus::Pending).await;
    let mut first = attune_common::db::begin(database.pool()).await.unwrap();
    let cancelled = InquiryRepository::cancel(&mut first, inquiry.id).await.unwrap();
    let late = respond_during(database.pool(), &inquiry, first).await;
    assert_conflict(stored(late), "inquiry", &inquiry.id);
    assert_eq!(InquiryRepository::list(&mut *connection).await.unwrap(), [cancelled]);
}

#[tokio::test]
async fn test_respond_after_a_rolled_back_answer() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let inquiry = inquiry_in(&mut connection, InquiryStatus::Pending).await;
    let (one, other) = (identity(&mut connection).await, identity(&mut connection).await);
    let mut first = attune_common::db::begin(database.pool()).await.unwrap();
    InquiryRepository::respond(&mut *first, inquiry.id, &answer(&one, json!(1))).await.unwrap();
    let given = answer(&other, json!(2));
    let (responded, rolled_back) =
        tokio::join!(InquiryRepository::respond(&mut *connection, inquiry.id, &given), async {
            until_blocked(database.pool(), 1).await;
            first.rollback().await
        });
    rolled_back.unwrap();
    assert_eq!(responded.unwrap().responded_by, Some(other.id));
}
