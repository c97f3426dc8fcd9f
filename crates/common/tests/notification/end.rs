//! Ends of attempts: only the latest attempt decides, and only once.

use std::time::Duration;

use attune_common::models::notification::{Delivery, Notification, NotificationState};
use attune_common::repositories::NotificationRepository;
use attune_testkit::{TestDatabase, transaction};
use chrono::TimeDelta;

use crate::helpers::notification::*;
use crate::helpers::steps::*;
use crate::helpers::*;
use crate::{get, ids, take, take_and_die};

#[tokio::test]
async fn test_delivered() {
    let mut tx = transaction().await;
    let taken = notification_in(&mut tx, NotificationState::Processing).await;
    let ended = NotificationRepository::delivered(&mut *tx, &[delivery(&taken)]).await.unwrap();
    assert_eq!(ended, [taken.id]);
    let kept = get(&mut tx, taken.id).await;
    assert!(kept.delivered_at.unwrap() > taken.updated, "{kept:?}");
    let expected = Notification {
        state: NotificationState::Delivered,
        delivered_at: kept.delivered_at,
        updated: kept.updated,
        ..taken
    };
    assert_eq!(kept, expected);
}

#[tokio::test]
async fn test_delivered_nothing() {
    let mut tx = transaction().await;
    assert_eq!(NotificationRepository::delivered(&mut *tx, &[]).await.unwrap(), NO_IDS);
}

#[tokio::test]
async fn test_delivered_after_a_failure_has_no_error() {
    let mut tx = transaction().await;
    NotificationFixture::new_unique().create(&mut tx).await.unwrap();
    let first = take(&mut tx).await;
    let failures = [failure(&first[0], Some(Duration::ZERO))];
    NotificationRepository::failed(&mut *tx, &failures).await.unwrap();
    let second = take(&mut tx).await;
    assert_eq!(second[0].error.as_deref(), Some("refused"));
    NotificationRepository::delivered(&mut *tx, &[delivery(&second[0])]).await.unwrap();
    let kept = get(&mut tx, second[0].id).await;
    assert_eq!((kept.state, kept.attempts, kept.error), (NotificationState::Delivered, 2, None));
}

#[tokio::test]
async fn test_delivered_of_an_older_attempt() {
    let mut tx = transaction().await;
    NotificationFixture::new_unique().create(&mut tx).await.unwrap();
    let late = take_and_die(&mut tx).await;
    let current = take(&mut tx).await;
    assert_eq!(NotificationRepository::delivered(&mut *tx, &[delivery(&late[0])]).await.unwrap(), NO_IDS);
    assert_eq!(get(&mut tx, current[0].id).await, current[0]);
    let ended = NotificationRepository::delivered(&mut *tx, &[delivery(&current[0])]).await.unwrap();
    assert_eq!(ended, [current[0].id]);
}

#[tokio::test]
async fn test_delivered_when_only_the_lease_has_run_out() {
    let mut tx = transaction().await;
    NotificationFixture::new_unique().create(&mut tx).await.unwrap();
    let slow = take_and_die(&mut tx).await;
    let ended = NotificationRepository::delivered(&mut *tx, &[delivery(&slow[0])]).await.unwrap();
    assert_eq!(ended, [slow[0].id]);
    assert_eq!(take(&mut tx).await, []);
}

#[tokio::test]
async fn test_delivered_only_while_processed() {
    let mut tx = transaction().await;
    for &state in NotificationState::ALL {
        let made = notification_in(&mut tx, state).await;
        let ended = NotificationRepository::delivered(&mut *tx, &[delivery(&made)]).await.unwrap();
        if state.can_become(NotificationState::Delivered) {
            assert_eq!(ended, [made.id]);
        } else {
            assert_eq!(ended, NO_IDS, "{state}");
            assert_eq!(get(&mut tx, made.id).await, made);
            assert!(NotificationRepository::delete(&mut *tx, made.id).await.unwrap());
        }
    }
}

#[tokio::test]
async fn test_delivered_several_of_which_one_is_gone() {
    let mut tx = transaction().await;
    let new = vec![NotificationFixture::new_unique().new; 3];
    NotificationRepository::append(&mut *tx, &new).await.unwrap();
    let taken = take(&mut tx).await;
    let gone = Delivery { notification: NO_SUCH_ID, attempt: 1 };
    let deliveries = [delivery(&taken[2]), gone, delivery(&taken[0])];
    let ended = NotificationRepository::delivered(&mut *tx, &deliveries).await.unwrap();
    assert_eq!(ended, [taken[0].id, taken[2].id]);
    assert_eq!(get(&mut tx, taken[1].id).await, taken[1]);
}

#[tokio::test]
async fn test_failed_to_be_tried_again() {
    let mut tx = transaction().await;
    let taken = notification_in(&mut tx, NotificationState::Processing).await;
    let retry_after = Duration::from_secs(90);
    let ended = NotificationRepository::failed(&mut *tx, &[failure(&taken, Some(retry_after))]).await;
    assert_eq!(ended.unwrap(), [taken.id]);
    let kept = get(&mut tx, taken.id).await;
    let wait = kept.not_before - kept.updated;
    assert!((wait - TimeDelta::from_std(retry_after).unwrap()).abs() < TimeDelta::seconds(1), "{wait}");
    let expected = Notification {
        state: NotificationState::Queued,
        error: Some("refused".to_owned()),
        not_before: kept.not_before,
        updated: kept.updated,
        ..taken
    };
    assert_eq!(kept, expected);
    assert_eq!(take(&mut tx).await, []);
}

#[tokio::test]
async fn test_failed_is_taken_again_when_its_time_has_come() {
    let mut tx = transaction().await;
    let taken = notification_in(&mut tx, NotificationState::Processing).await;
    let failures = [failure(&taken, Some(Duration::ZERO))];
    NotificationRepository::failed(&mut *tx, &failures).await.unwrap();
    let again = take(&mut tx).await;
    assert_eq!(ids(&again), [taken.id]);
    assert_eq!((again[0].attempts, again[0].state), (2, NotificationState::Processing));
}

#[tokio::test]
async fn test_failed_for_good() {
    let mut tx = transaction().await;
    let taken = notification_in(&mut tx, NotificationState::Processing).await;
    let ended = NotificationRepository::failed(&mut *tx, &[failure(&taken, None)]).await.unwrap();
    assert_eq!(ended, [taken.id]);
    let kept = get(&mut tx, taken.id).await;
    let expected = Notification {
        state: NotificationState::Error,
        error: Some("refused".to_owned()),
        updated: kept.updated,
        ..taken
    };
    assert_eq!(kept, expected);
}

#[tokio::test]
async fn test_failed_nothing() {
    let mut tx = transaction().await;
    assert_eq!(NotificationRepository::failed(&mut *tx, &[]).await.unwrap(), NO_IDS);
}

#[tokio::test]
async fn test_failed_of_an_older_attempt() {
    let mut tx = transaction().await;
    NotificationFixture::new_unique().create(&mut tx).await.unwrap();
    let late = take_and_die(&mut tx).await;
    let current = take(&mut tx).await;
    for retry_after in [None, Some(Duration::ZERO)] {
        let failures = [failure(&late[0], retry_after)];
        assert_eq!(NotificationRepository::failed(&mut *tx, &failures).await.unwrap(), NO_IDS);
        assert_eq!(get(&mut tx, current[0].id).await, current[0]);
    }
}

#[tokio::test]
async fn test_failed_only_while_processed() {
    let mut tx = transaction().await;
    for &state in NotificationState::ALL {
        for (retry_after, next) in
            [(None, NotificationState::Error), (Some(LONG_LEASE), NotificationState::Queued)]
        {
            let made = notification_in(&mut tx, state).await;
            let ended = NotificationRepository::failed(&mut *tx, &[failure(&made, retry_after)]).await;
            let expected = if state.can_become(next) { next } else { state };
            assert_eq!(ended.unwrap().len(), usize::from(state.can_become(next)), "{state} -> {next}");
            assert_eq!(get(&mut tx, made.id).await.state, expected, "{state} -> {next}");
            assert!(NotificationRepository::delete(&mut *tx, made.id).await.unwrap());
        }
    }
}

#[tokio::test]
async fn test_failed_several_each_in_its_way() {
    let mut tx = transaction().await;
    let new = vec![NotificationFixture::new_unique().new; 3];
    NotificationRepository::append(&mut *tx, &new).await.unwrap();
    let taken = take(&mut tx).await;
    let mut failures = [failure(&taken[2], None), failure(&taken[0], Some(LONG_LEASE))];
    failures[0].error = "no such address".to_owned();
    let ended = NotificationRepository::failed(&mut *tx, &failures).await.unwrap();
    assert_eq!(ended, [taken[0].id, taken[2].id]);
    let kept = NotificationRepository::list(&mut *tx).await.unwrap();
    let found: Vec<_> = kept.iter().map(|n| (n.state, n.error.as_deref())).collect();
    let expected = [
        (NotificationState::Error, Some("no such address")),
        (NotificationState::Processing, None),
        (NotificationState::Queued, Some("refused")),
    ];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn test_two_ends_of_an_attempt_at_once() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let taken = notification_in(&mut connection, NotificationState::Processing).await;
    let mut one = attune_common::db::begin(database.pool()).await.unwrap();
    NotificationRepository::delivered(&mut *one, &[delivery(&taken)]).await.unwrap();
    let failures = [failure(&taken, Some(Duration::ZERO))];
    let (failed, committed) =
        tokio::join!(NotificationRepository::failed(&mut *connection, &failures), async {
            until_blocked(database.pool(), 1).await;
            one.commit().await
        });
    committed.unwrap();
    assert_eq!(failed.unwrap(), NO_IDS);
    assert_eq!(get(&mut connection, taken.id).await.state, NotificationState::Delivered);
}

#[test]
fn test_state_is_terminal_when_it_can_become_nothing() {
    for &state in NotificationState::ALL {
        let stays = NotificationState::ALL.iter().all(|&next| !state.can_become(next));
        assert_eq!(state.is_terminal(), stays, "{state}");
    }
}
