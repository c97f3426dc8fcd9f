//! The audit log. Writes `attune.audit_event`, which the schema keeps from being changed: there is no update here, and
//! nothing is removed but what retention no longer covers.

use serde_json::Value;
use sqlx::PgExecutor;

use super::by_id;
use crate::error::{Result, StoreError};
use crate::models::Timestamp;
use crate::models::audit::{AuditEvent, AuditFilter, NewAuditEvent};

/// Functions about `attune.audit_event`.
#[derive(Debug)]
pub struct AuditRepository;

by_id!(read AuditRepository, AuditEvent, "audit event", "attune.audit_event", order "id desc");

impl AuditRepository {
    /// Writes entries, all or none; gives them back in their order. Belongs into the transaction of what they tell about.
    pub async fn append(executor: impl PgExecutor<'_>, new: &[NewAuditEvent]) -> Result<Vec<AuditEvent>> {
        let rows = sqlx::query_as(
            "with appended as (
                 insert into attune.audit_event (identity, login, activity, entity_type, entity_ref, detail)
                 select identity, login, activity, entity_type, entity_ref, detail
                 from unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::jsonb[])
                     with ordinality as new (identity, login, activity, entity_type, entity_ref, detail, place)
                 order by place
                 returning *
             )
             select * from appended order by id",
        )
        .bind(new.iter().map(|e| e.identity).collect::<Vec<_>>())
        .bind(new.iter().map(|e| e.login.as_deref()).collect::<Vec<_>>())
        .bind(new.iter().map(|e| e.activity.as_str()).collect::<Vec<_>>())
        .bind(new.iter().map(|e| e.entity_type.as_str()).collect::<Vec<_>>())
        .bind(new.iter().map(|e| e.entity_ref.as_str()).collect::<Vec<_>>())
        .bind(new.iter().map(|e| e.detail.clone()).collect::<Vec<Value>>())
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// Writes one entry.
    pub async fn create(executor: impl PgExecutor<'_>, new: &NewAuditEvent) -> Result<AuditEvent> {
        let appended = Self::append(executor, std::slice::from_ref(new)).await?;
        appended.into_iter().next().ok_or(StoreError::Database(sqlx::Error::RowNotFound))
    }

    /// A page of entries, by descending id.
    pub async fn search(executor: impl PgExecutor<'_>, filter: &AuditFilter) -> Result<Vec<AuditEvent>> {
        let rows = sqlx::query_as(
            "select * from attune.audit_event
             where ($1::bigint is null or identity = $1)
               and ($2::text is null or activity = $2)
               and ($3::text is null or entity_type = $3)
               and ($4::text is null or entity_ref = $4)
               and ($5::timestamptz is null or created >= $5)
               and ($6::timestamptz is null or created < $6)
               and ($7::bigint is null or id < $7)
             order by id desc
             limit $8",
        )
        .bind(filter.identity)
        .bind(&filter.activity)
        .bind(&filter.entity_type)
        .bind(&filter.entity_ref)
        .bind(filter.from)
        .bind(filter.until)
        .bind(filter.before)
        .bind(filter.limit)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// Removes up to `limit` of the oldest entries from before this time; gives back how many.
    pub async fn expire(executor: impl PgExecutor<'_>, older_than: Timestamp, limit: i64) -> Result<u64> {
        let removed: i64 = sqlx::query_scalar("select attune.expire_audit_events($1, $2)")
            .bind(older_than)
            .bind(limit)
            .fetch_one(executor)
            .await?;
        Ok(removed.unsigned_abs())
    }
}
