//! What is due is handed to one deliverer at a time.

use attune_common::models::notification::{Notification, NotificationState};
use attune_common::repositories::NotificationRepository;
use attune_testkit::{TestDatabase, transaction};
use chrono::TimeDelta;
use serde_json::json;
use sqlx::PgConnection;

use crate::helpers::notification::*;
use crate::helpers::steps::*;
use crate::helpers::*;
use crate::{ago, get, ids, in_an_hour, take, take_and_die};

#[tokio::test]
async fn test_take_due_begins_an_attempt() {
    let mut tx = transaction().await;
    let made = NotificationFixture::new_unique().with_content(json!(1)).create(&mut tx).await.unwrap();
    let taken = take(&mut tx).await;
    let expected = Notification {
        state: NotificationState::Processing,
        attempts: 1,
        not_before: taken[0].not_before,
        updated: taken[0].updated,
        ..made.clone()
    };
    assert_eq!(taken, [expected]);
    assert_eq!(get(&mut tx, made.id).await, taken[0]);
    // The lease begins when it is taken.
    let lease = taken[0].not_before - taken[0].updated;
    assert!((lease - TimeDelta::from_std(LONG_LEASE).unwrap()).abs() < TimeDelta::seconds(1), "{lease}");
}

#[tokio::test]
async fn test_take_due_nothing() {
    let mut tx = transaction().await;
    assert_eq!(take(&mut tx).await, []);
}

#[tokio::test]
async fn test_take_due_not_before_its_time() {
    let mut tx = transaction().await;
    let now = NotificationFixture::new_unique().create(&mut tx).await.unwrap();
    NotificationFixture::new_unique().with_not_before(in_an_hour()).create(&mut tx).await.unwrap();
    assert_eq!(ids(&take(&mut tx).await), [now.id]);
}

#[tokio::test]
async fn test_take_due_not_twice() {
    let mut tx = transaction().await;
    NotificationFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(take(&mut tx).await.len(), 1);
    assert_eq!(take(&mut tx).await, []);
}

#[tokio::test]
async fn test_take_due_again_when_the_lease_has_run_out() {
    let mut tx = transaction().await;
    let made = NotificationFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(take_and_die(&mut tx).await[0].attempts, 1);
    let taken = take(&mut tx).await;
    assert_eq!(ids(&taken), [made.id]);
    assert_eq!((taken[0].attempts, taken[0].state), (2, NotificationState::Processing));
    assert_eq!(take(&mut tx).await, []);
}

#[tokio::test]
async fn test_take_due_longest_waiting_first() {
    let mut tx = transaction().await;
    let mut made = Vec::new();
    for minutes in [1, 3, 2] {
        let fixture = NotificationFixture::new_unique().with_not_before(ago(minutes));
        made.push(fixture.create(&mut tx).await.unwrap().id);
    }
    let take_one = async |tx: &mut PgConnection| {
        ids(&NotificationRepository::take_due(tx, 1, LONG_LEASE).await.unwrap())
    };
    assert_eq!(take_one(&mut tx).await, [made[1]]);
    assert_eq!(take_one(&mut tx).await, [made[2]]);
    assert_eq!(take_one(&mut tx).await, [made[0]]);
}

#[tokio::test]
async fn test_take_due_up_to_the_limit() {
    let mut tx = transaction().await;
    let new = vec![NotificationFixture::new_unique().new; 3];
    let made = ids(&NotificationRepository::append(&mut *tx, &new).await.unwrap());
    let taken = NotificationRepository::take_due(&mut *tx, 2, LONG_LEASE).await.unwrap();
    assert_eq!(ids(&taken), made[..2]);
    let taken = NotificationRepository::take_due(&mut *tx, 2, LONG_LEASE).await.unwrap();
    assert_eq!(ids(&taken), made[2..]);
}

#[tokio::test]
async fn test_take_due_not_what_has_ended() {
    let mut tx = transaction().await;
    for state in [NotificationState::Delivered, NotificationState::Error] {
        let made = notification_in(&mut tx, state).await;
        let overdue = "update attune.notification set not_before = created where id = $1";
        sqlx::query(overdue).bind(made.id).execute(&mut *tx).await.unwrap();
        assert_eq!(take(&mut tx).await, [], "{state}");
    }
}

#[tokio::test]
async fn test_take_due_by_two_at_once() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let new = vec![NotificationFixture::new_unique().new; 3];
    let made = ids(&NotificationRepository::append(&mut *connection, &new).await.unwrap());
    let mut one = attune_common::db::begin(database.pool()).await.unwrap();
    let first = NotificationRepository::take_due(&mut *one, 2, LONG_LEASE).await.unwrap();
    assert_eq!(ids(&first), made[..2]);
    assert_eq!(ids(&at_once(take(&mut connection)).await), made[2..]);
    // The first deliverer dies before it has them.
    one.rollback().await.unwrap();
    assert_eq!(ids(&take(&mut connection).await), made[..2]);
}

#[tokio::test]
async fn test_due_notifications_are_found_by_an_index() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    sqlx::query(
        "insert into attune.notification (channel, entity_type, entity, activity, state, attempts, delivered_at)
         select 'mail', 'execution', n::text, 'failed', 'delivered', 1, clock_timestamp()
         from generate_series(1, 2000) n",
    )
    .execute(&mut *connection)
    .await
    .unwrap();
    NotificationFixture::new_unique().create(&mut connection).await.unwrap();
    sqlx::query("analyze attune.notification").execute(&mut *connection).await.unwrap();
    let take_due = concat!("explain ", include_str!("../../src/repositories/notification/take_due.sql"));
    let plan: Vec<String> =
        sqlx::query_scalar(take_due).bind(10_i64).bind(1.0_f64).fetch_all(&mut *connection).await.unwrap();
    let plan = plan.join("\n");
    assert!(plan.contains("using notification_due_idx"), "{plan}");
    assert!(plan.contains("Index Cond: (not_before <= statement_timestamp())"), "{plan}");
}
