//! Triggers. Writes `attune.trigger`.
//!
//! Executors hold the rules of enabled triggers, and whoever takes webhooks holds their keys: a change raises the
//! version of the rule set in its own statement. A new trigger has no rules yet (what links rules to it raises the
//! version); one with a webhook is signalled.

use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor};

use super::{by_id, by_ref, owned_by_pack, updates};
use crate::auth::new_webhook_key;
use crate::error::{Result, StoreError};
use crate::models::trigger::{NewTrigger, Trigger, TriggerUpdate};

/// Functions about `attune.trigger`.
#[derive(Debug)]
pub struct TriggerRepository;

by_id!(judged TriggerRepository, Trigger, "trigger", "attune.trigger", order "ref");
updates!(TriggerRepository, Trigger, "trigger");
by_ref!(TriggerRepository, Trigger, "trigger", "attune.trigger");
owned_by_pack!(judged TriggerRepository, Trigger, "attune.trigger");

impl TriggerRepository {
    /// Makes a trigger, of a pack or on its own; one with a webhook gets a webhook key.
    pub async fn create(
        executor: impl PgExecutor<'_>,
        pack: Option<i64>,
        new: &NewTrigger,
    ) -> Result<Trigger> {
        let row = sqlx::query_as(
            "with created as (
                 insert into attune.trigger (
                     ref, pack, pack_ref, label, description, enabled, param_schema, out_schema, webhook, webhook_key
                 )
                 values ($1, $2, (select ref from attune.pack where id = $2), $3, $4, $5, $6, $7, $8, $9)
                 returning *
             )
             select *
             from created
             where case when webhook is null then true else pg_notify('attune_definition', '') is not null end",
        )
        .bind(&new.r#ref)
        .bind(pack)
        .bind(&new.label)
        .bind(&new.description)
        .bind(new.enabled)
        .bind(&new.param_schema)
        .bind(&new.out_schema)
        .bind(new.webhook.as_ref().map(Json))
        .bind(new.webhook.as_ref().map(|_| new_webhook_key()))
        .bind(&new.out_schema)
        .fetch_one(executor)
        .await
        .map_err(|error| StoreError::about(error, new))?;
        Ok(row)
    }

    /// Makes a trigger of a pack or brings it to this definition; its id and its webhook key stay. Whoever puts a
    /// pack's triggers raises the version of the rule set, once for all of them.
    pub async fn put(executor: impl PgExecutor<'_>, pack: i64, new: &NewTrigger) -> Result<Trigger> {
        let row = sqlx::query_as(
            "insert into attune.trigger (
                 ref, pack, pack_ref, label, description, enabled, param_schema, out_schema, webhook, webhook_key
             )
             values ($1, $2, (select ref from attune.pack where id = $2), $3, $4, $5, $6, $7, $8, $9)
             on conflict on constraint trigger_ref_key do update
             set pack = excluded.pack, pack_ref = excluded.pack_ref, label = excluded.label,
                 description = excluded.description, enabled = excluded.enabled, param_schema = excluded.param_schema,
                 out_schema = excluded.out_schema, webhook = excluded.webhook,
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
        .bind(&new.out_schema)
        .bind(new.webhook.as_ref().map(Json))
        .bind(new.webhook.as_ref().map(|_| new_webhook_key()))
        .bind(&new.out_schema)
        .fetch_one(executor)
        .await
        .map_err(|error| StoreError::about(error, new))?;
        Ok(row)
    }

    /// Changes a trigger; None leaves a column as it is.
    pub async fn update(connection: &mut PgConnection, id: i64, update: &TriggerUpdate) -> Result<Trigger> {
        let changed = sqlx::query_as(include_str!("trigger/update.sql"))
            .bind(id)
            .bind(&update.label)
            .bind(&update.description)
            .bind(update.enabled)
            .bind(&update.param_schema)
            .bind(&update.out_schema)
            .bind(update.webhook.as_ref().map(Json))
            .bind(update.webhook.as_ref().map(|_| new_webhook_key()))
            .bind(update.unchanged_since)
            .fetch_optional(&mut *connection)
            .await
            .map_err(|error| StoreError::about(error, update))?;
        Self::changed_or_refused(connection, id, changed).await
    }

    /// Gives the webhook of a trigger another key, so that the former address is nobody's; NotFound without a trigger, or
    /// one without a webhook.
    pub async fn renew_webhook_key(executor: impl PgExecutor<'_>, id: i64) -> Result<Trigger> {
        let row: Option<Trigger> = sqlx::query_as(
            "with changed as (
                 update attune.trigger set webhook_key = $2 where id = $1 and webhook is not null returning *
             ),
             raised as (
                 update attune.rule_set
                 set version = version + 1
                 where exists (select from changed)
                 returning pg_notify('attune_definition', '')
             )
             select * from changed",
        )
        .bind(id)
        .bind(new_webhook_key())
        .fetch_optional(executor)
        .await?;
        row.ok_or_else(|| StoreError::not_found("webhook of trigger", id))
    }

    /// Takes the webhook from a trigger; false when there was none.
    pub async fn remove_webhook(executor: impl PgExecutor<'_>, id: i64) -> Result<bool> {
        let changed: Option<i64> = sqlx::query_scalar(
            "with changed as (
                 update attune.trigger
                 set webhook = null, webhook_key = null
                 where id = $1 and webhook is not null
                 returning id
             ),
             raised as (
                 update attune.rule_set
                 set version = version + 1
                 where exists (select from changed)
                 returning pg_notify('attune_definition', '')
             )
             select id from changed",
        )
        .bind(id)
        .fetch_optional(executor)
        .await?;
        Ok(changed.is_some())
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
