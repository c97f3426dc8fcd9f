//! Builds notifications, and brings them where a test begins.

use std::time::Duration;

use attune_common::error::Result;
use attune_common::models::Timestamp;
use attune_common::models::notification::{
    Delivery, DeliveryFailure, NewNotification, Notification, NotificationState,
};
use attune_common::repositories::NotificationRepository;
use serde_json::Value;
use sqlx::PgConnection;

use super::{LONG_LEASE, unique_suffix};

/// A name for a channel.
pub(crate) fn unique_channel() -> String {
    format!("channel_{}", unique_suffix())
}

/// Builds a notification.
#[derive(Debug, Clone)]
pub(crate) struct NotificationFixture {
    pub(crate) new: NewNotification,
}

impl NotificationFixture {
    pub(crate) fn new(channel: &str) -> Self {
        Self {
            new: NewNotification {
                channel: channel.to_owned(),
                entity_type: "execution".to_owned(),
                entity: "1".to_owned(),
                activity: "failed".to_owned(),
                ..NewNotification::default()
            },
        }
    }

    pub(crate) fn new_unique() -> Self {
        Self::new(&unique_channel())
    }

    pub(crate) fn with_entity(mut self, entity_type: &str, entity: &str) -> Self {
        self.new.entity_type = entity_type.to_owned();
        self.new.entity = entity.to_owned();
        self
    }

    pub(crate) fn with_content(mut self, content: Value) -> Self {
        self.new.content = Some(content);
        self
    }

    pub(crate) fn with_not_before(mut self, not_before: Timestamp) -> Self {
        self.new.not_before = Some(not_before);
        self
    }

    pub(crate) async fn create(self, connection: &mut PgConnection) -> Result<Notification> {
        NotificationRepository::create(connection, &self.new).await
    }
}

/// The attempt that a deliverer was given.
pub(crate) fn delivery(notification: &Notification) -> Delivery {
    Delivery { notification: notification.id, attempt: notification.attempts }
}

/// The end of that attempt by an error.
pub(crate) fn failure(notification: &Notification, retry_after: Option<Duration>) -> DeliveryFailure {
    DeliveryFailure { delivery: delivery(notification), error: "refused".to_owned(), retry_after }
}

/// A new notification in this state, by the steps that lead there; nothing else may be due.
pub(crate) async fn notification_in(connection: &mut PgConnection, state: NotificationState) -> Notification {
    let made = NotificationFixture::new_unique().create(&mut *connection).await.expect("a notification");
    if state == NotificationState::Created {
        return made;
    }
    let taken = NotificationRepository::take_due(&mut *connection, 10, LONG_LEASE).await;
    let taken = taken.expect("it can be taken");
    assert_eq!(taken.iter().map(|n| n.id).collect::<Vec<_>>(), [made.id]);
    let ended = match state {
        NotificationState::Created | NotificationState::Processing => Ok(vec![made.id]),
        NotificationState::Queued => {
            NotificationRepository::failed(&mut *connection, &[failure(&taken[0], Some(LONG_LEASE))]).await
        }
        NotificationState::Delivered => {
            NotificationRepository::delivered(&mut *connection, &[delivery(&taken[0])]).await
        }
        NotificationState::Error => {
            NotificationRepository::failed(&mut *connection, &[failure(&taken[0], None)]).await
        }
    };
    assert_eq!(ended.expect("it can end"), [made.id]);
    NotificationRepository::get_by_id(connection, made.id).await.expect("it is there")
}
