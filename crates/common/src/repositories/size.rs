//! The space that the tables take, and how old what they hold is. It writes nothing.

use sqlx::PgExecutor;

use crate::error::Result;
use crate::models::Timestamp;

/// Functions about the space of the database.
#[derive(Debug)]
pub struct SizeRepository;

/// The space of a table.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct TableSpace {
    pub name: String,
    /// PostgreSQL's estimate.
    pub rows: i64,
    /// With its indexes, and with values that are stored apart.
    pub total_bytes: i64,
    pub index_bytes: i64,
}

/// How old the oldest row of a kind is.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct OldestRow {
    pub kind: String,
    pub oldest: Option<Timestamp>,
}

impl SizeRepository {
    /// The bytes of the whole database.
    pub async fn total(executor: impl PgExecutor<'_>) -> Result<i64> {
        let bytes =
            sqlx::query_scalar("select pg_database_size(current_database())").fetch_one(executor).await?;
        Ok(bytes)
    }

    /// Every table, the largest first.
    pub async fn tables(executor: impl PgExecutor<'_>) -> Result<Vec<TableSpace>> {
        let rows = sqlx::query_as(
            "select relname::text as name,
                    coalesce(nullif(pg_stat_get_live_tuples(oid), 0), greatest(reltuples, 0)::bigint) as rows,
                    pg_total_relation_size(oid) as total_bytes, pg_indexes_size(oid) as index_bytes
             from pg_class
             where relnamespace = 'attune'::regnamespace and relkind in ('r', 'p')
             order by total_bytes desc, name",
        )
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// The oldest row of each kind that retention removes; each is one step down an index.
    pub async fn oldest(executor: impl PgExecutor<'_>) -> Result<Vec<OldestRow>> {
        let rows = sqlx::query_as(
            "select 'event' as kind, (select created from attune.event order by id limit 1) as oldest
             union all
             select 'enforcement', (select created from attune.enforcement order by id limit 1)
             union all
             select 'execution', (select created from attune.execution order by id limit 1)
             union all
             select 'change', (select created from attune.change order by xid, id limit 1)
             union all
             select 'audit', (select created from attune.audit_event order by created, id limit 1)
             union all
             select 'work_item', (select created from attune.work_item order by id limit 1)
             union all
             select 'notification', (select created from attune.notification order by id limit 1)",
        )
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }
}
