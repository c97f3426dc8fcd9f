//! Notifications and their delivery. Writes `attune.notification`.

use std::time::Duration;

use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};

use super::{by_id, updates};
use crate::error::{Result, StoreError};
use crate::models::Timestamp;
use crate::models::notification::{
    Delivery, DeliveryFailure, NewNotification, Notification, NotificationFilter, NotificationState,
    NotificationUpdate,
};

/// Functions about `attune.notification`.
#[derive(Debug)]
pub struct NotificationRepository;

by_id!(NotificationRepository, Notification, "notification", "attune.notification", order "id desc");
updates!(NotificationRepository, Notification, "notification");

impl NotificationRepository {
    /// Makes one notification.
    pub async fn create(executor: impl PgExecutor<'_>, new: &NewNotification) -> Result<Notification> {
        let made = Self::insert(executor, std::slice::from_ref(new)).await;
        let made = made.map_err(|error| StoreError::about(error, new))?;
        made.into_iter().next().ok_or(StoreError::Database(sqlx::Error::RowNotFound))
    }

    /// Makes notifications, all or none; gives them back in the order of the input.
    pub async fn append(
        executor: impl PgExecutor<'_>,
        notifications: &[NewNotification],
    ) -> Result<Vec<Notification>> {
        if notifications.is_empty() {
            return Ok(Vec::new());
        }
        Ok(Self::insert(executor, notifications).await?)
    }

    async fn insert(
        executor: impl PgExecutor<'_>,
        notifications: &[NewNotification],
    ) -> Result<Vec<Notification>, sqlx::Error> {
        sqlx::query_as(include_str!("notification/insert.sql"))
            .bind(notifications.iter().map(|n| n.channel.as_str()).collect::<Vec<_>>())
            .bind(notifications.iter().map(|n| n.entity_type.as_str()).collect::<Vec<_>>())
            .bind(notifications.iter().map(|n| n.entity.as_str()).collect::<Vec<_>>())
            .bind(notifications.iter().map(|n| n.activity.as_str()).collect::<Vec<_>>())
            .bind(notifications.iter().map(|n| n.content.clone()).collect::<Vec<Option<Value>>>())
            .bind(notifications.iter().map(|n| n.not_before).collect::<Vec<_>>())
            .fetch_all(executor)
            .await
    }

    /// Changes a notification that waits; None leaves a column as it is. One that a deliverer has, or that was delivered
    /// or given up, is not changed any more: that is a Conflict.
    pub async fn update(
        connection: &mut PgConnection,
        id: i64,
        update: &NotificationUpdate,
    ) -> Result<Notification> {
        let changed = sqlx::query_as(
            "update attune.notification
             set content = coalesce($2, content), not_before = coalesce($3, not_before)
             where id = $1 and ($4::timestamptz is null or updated = $4)
               and (state in ('created', 'queued') or coalesce($2::text, $3::text) is null)
             returning *",
        )
        .bind(id)
        .bind(&update.content)
        .bind(update.not_before)
        .bind(update.unchanged_since)
        .fetch_optional(&mut *connection)
        .await
        .map_err(|error| StoreError::about(error, update))?;
        Self::changed_or_refused(connection, id, changed).await
    }

    /// Hands up to `limit` notifications that are due to a deliverer for as long as the lease, those that wait longest
    /// first; gives them back by id. What another deliverer still has when its lease runs out is due again.
    pub async fn take_due(
        executor: impl PgExecutor<'_>,
        limit: i64,
        lease: Duration,
    ) -> Result<Vec<Notification>> {
        let rows = sqlx::query_as(include_str!("notification/take_due.sql"))
            .bind(limit)
            .bind(lease.as_secs_f64())
            .fetch_all(executor)
            .await?;
        Ok(rows)
    }

    /// Ends attempts that succeeded. Gives back the ids of those whose notification was still in this attempt, in order;
    /// of the others another deliverer decides, or has decided.
    pub async fn delivered(executor: impl PgExecutor<'_>, deliveries: &[Delivery]) -> Result<Vec<i64>> {
        if deliveries.is_empty() {
            return Ok(Vec::new());
        }
        let ids = sqlx::query_scalar(include_str!("notification/delivered.sql"))
            .bind(deliveries.iter().map(|d| d.notification).collect::<Vec<_>>())
            .bind(deliveries.iter().map(|d| d.attempt).collect::<Vec<_>>())
            .fetch_all(executor)
            .await?;
        Ok(ids)
    }

    /// Ends attempts that failed: the notification is queued for another one, or given up. Gives back the ids of those
    /// that were still in this attempt, in order, as [`NotificationRepository::delivered`] does.
    pub async fn failed(executor: impl PgExecutor<'_>, failures: &[DeliveryFailure]) -> Result<Vec<i64>> {
        if failures.is_empty() {
            return Ok(Vec::new());
        }
        let seconds = |failure: &DeliveryFailure| failure.retry_after.as_ref().map(Duration::as_secs_f64);
        let ids = sqlx::query_scalar(include_str!("notification/failed.sql"))
            .bind(failures.iter().map(|f| f.delivery.notification).collect::<Vec<_>>())
            .bind(failures.iter().map(|f| f.delivery.attempt).collect::<Vec<_>>())
            .bind(failures.iter().map(|f| f.error.as_str()).collect::<Vec<_>>())
            .bind(failures.iter().map(seconds).collect::<Vec<_>>())
            .fetch_all(executor)
            .await?;
        Ok(ids)
    }

    /// Removes up to `limit` notifications that were delivered before the bound, the oldest first; gives back how many.
    pub async fn remove_delivered(
        executor: impl PgExecutor<'_>,
        before: Timestamp,
        limit: i64,
    ) -> Result<u64> {
        let done = sqlx::query(
            "with old as materialized (
                 select id from attune.notification
                 where state = 'delivered' and delivered_at < $1
                 order by delivered_at, id
                 limit $2
                 for update skip locked
             )
             delete from attune.notification using old where notification.id = old.id",
        )
        .bind(before)
        .bind(limit)
        .execute(executor)
        .await?;
        Ok(done.rows_affected())
    }

    /// Notifications in a state, the newest first.
    pub async fn list_by_state(
        executor: impl PgExecutor<'_>,
        state: NotificationState,
    ) -> Result<Vec<Notification>> {
        let rows =
            sqlx::query_as("select * from attune.notification where state = $1 order by id desc limit 1000")
                .bind(state)
                .fetch_all(executor)
                .await?;
        Ok(rows)
    }

    /// Notifications of a channel, the newest first.
    pub async fn list_by_channel(executor: impl PgExecutor<'_>, channel: &str) -> Result<Vec<Notification>> {
        let rows = sqlx::query_as(
            "select * from attune.notification where channel = $1 order by id desc limit 1000",
        )
        .bind(channel)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// Notifications about one thing, the newest first.
    pub async fn list_by_entity(
        executor: impl PgExecutor<'_>,
        entity_type: &str,
        entity: &str,
    ) -> Result<Vec<Notification>> {
        let rows = sqlx::query_as(
            "select * from attune.notification
             where entity_type = $1 and entity = $2
             order by id desc
             limit 1000",
        )
        .bind(entity_type)
        .bind(entity)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// A page of notifications, by descending id.
    pub async fn search(
        executor: impl PgExecutor<'_>,
        filter: &NotificationFilter,
    ) -> Result<Vec<Notification>> {
        let rows = sqlx::query_as(
            "select * from attune.notification
             where ($1::text is null or channel = $1)
               and ($2::text is null or entity_type = $2)
               and ($3::text is null or entity = $3)
               and ($4::attune.notification_state is null or state = $4)
               and ($5::bigint is null or id < $5)
             order by id desc
             limit $6",
        )
        .bind(&filter.channel)
        .bind(&filter.entity_type)
        .bind(&filter.entity)
        .bind(filter.state)
        .bind(filter.before)
        .bind(filter.limit)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }
}
