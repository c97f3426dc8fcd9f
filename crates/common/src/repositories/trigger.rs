//! Triggers. Writes `attune.trigger`.

use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor};

use super::{by_id, by_ref, owned_by_pack, updates};
use crate::auth::new_webhook_key;
use crate::error::{Result, StoreError};
use crate::models::trigger::{NewTrigger, Trigger, TriggerUpdate};

/// Functions about `attune.trigger`.
#[derive(Debug)]
pub struct TriggerRepository;

by_id!(TriggerRepository, Trigger, "trigger", "attune.trigger", order "ref");
updates!(TriggerRepository, Trigger, "trigger");
by_ref!(TriggerRepository, Trigger, "trigger", "attune.trigger");
owned_by_pack!(TriggerRepository, Trigger, "attune.trigger");

impl TriggerRepository {
    /// Makes a trigger, of a pack or on its own; one with a webhook gets a webhook key.
    pub async fn create(
        executor: impl PgExecutor<'_>,
        pack: Option<i64>,
        new: &NewTrigger,
    ) -> Result<Trigger> {
        let row = sqlx::query_as(
            "insert into attune.trigger (
                 ref, pack, pack_ref, label, description, enabled, param_schema, webhook, webhook_key
             )
             values ($1, $2, (select ref from attune.pack where id = $2), $3, $4, $5, $6, $7, $8)
             returning *",
        )
        .bind(&new.r#ref)
        .bind(pack)
        .bind(&new.label)
        .bind(&new.description)
        .bind(new.enabled)
        .bind(&new.param_schema)
        .bind(new.webhook.as_ref().map(Json))
        .bind(new.webhook.as_ref().map(|_| new_webhook_key()))
        .fetch_one(executor)
        .await
        .map_err(|error| StoreError::about(error, new))?;
        Ok(row)
    }

    /// Makes a trigger of a pack or brings it to this definition; its id and its webhook key stay.
    pub async fn put(executor: impl PgExecutor<'_>, pack: i64, new: &NewTrigger) -> Result<Trigger> {
        let row = sqlx::query_as(
            "insert into attune.trigger (
                 ref, pack, pack_ref, label, description, enabled, param_schema, webhook, webhook_key
             )
             values ($1, $2, (select ref from attune.pack where id = $2), $3, $4, $5, $6, $7, $8)
             on conflict on constraint trigger_ref_key do update
             set pack = excluded.pack, pack_ref = excluded.pack_ref, label = excluded.label,
                 description = excluded.description, enabled = excluded.enabled, param_schema = excluded.param_schema,
                 webhook = excluded.webhook,
                 webhook_key = case
                     when excluded.webhook is not null then coalesce(trigger.webhook_key, excluded.webhook_key)
                 end
             returning *",
        )
        .bind(&new.r#ref)
        .bind(pack)
        .bind(&new.label)
        .bind(&new.description)
        .bind(new.enabled)
        .bind(&new.param_schema)
        .bind(new.webhook.as_ref().map(Json))
        .bind(new.webhook.as_ref().map(|_| new_webhook_key()))
        .fetch_one(executor)
        .await
        .map_err(|error| StoreError::about(error, new))?;
        Ok(row)
    }

    /// Changes a trigger; None leaves a column as it is.
    pub async fn update(connection: &mut PgConnection, id: i64, update: &TriggerUpdate) -> Result<Trigger> {
        let changed = sqlx::query_as(
            "update attune.trigger
             set label = coalesce($2, label), description = coalesce($3, description),
                 enabled = coalesce($4, enabled)
             where id = $1 and ($5::timestamptz is null or updated = $5)
             returning *",
        )
        .bind(id)
        .bind(&update.label)
        .bind(&update.description)
        .bind(update.enabled)
        .bind(update.unchanged_since)
        .fetch_optional(&mut *connection)
        .await
        .map_err(|error| StoreError::about(error, update))?;
        Self::changed_or_refused(connection, id, changed).await
    }

    /// Every enabled trigger with a webhook.
    pub async fn list_webhooks(executor: impl PgExecutor<'_>) -> Result<Vec<Trigger>> {
        let rows = sqlx::query_as(
            "select * from attune.trigger where enabled and webhook_key is not null order by id",
        )
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }
}
