//! The change feed: every status change once, in order. Read here; written by the statements that make the changes.

use sqlx::PgExecutor;

use crate::error::Result;
use crate::models::Timestamp;

/// Functions about `attune.change`.
#[derive(Debug)]
pub struct ChangeRepository;

/// A place in the feed. Ordered by transaction first: a transaction that commits late is not passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct ChangeCursor {
    pub xid: i64,
    /// The number of a change.
    pub id: i64,
}

impl std::fmt::Display for ChangeCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.xid, self.id)
    }
}

impl std::str::FromStr for ChangeCursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || format!("{text:?} is not a cursor of the change feed, which looks like 1024-77");
        let (xid, id) = text.split_once('-').ok_or_else(malformed)?;
        Ok(Self { xid: xid.parse().map_err(|_| malformed())?, id: id.parse().map_err(|_| malformed())? })
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Change {
    pub xid: i64,
    /// Its number: 256 times the id of the row that holds it, and its place there.
    pub id: i64,
    pub entity_type: String,
    pub entity: i64,
    pub r#ref: String,
    pub activity: String,
    pub created: Timestamp,
}

impl Change {
    /// Where a reader goes on after this change.
    pub fn cursor(&self) -> ChangeCursor {
        ChangeCursor { xid: self.xid, id: self.id }
    }
}

impl ChangeRepository {
    /// The table, with its schema.
    pub const fn table_name() -> &'static str {
        "attune.change"
    }

    /// Up to `limit` changes after the cursor. Changes of a transaction are given only when no older transaction can
    /// still commit, so nothing ever appears behind a cursor.
    pub async fn after(
        executor: impl PgExecutor<'_>,
        cursor: ChangeCursor,
        limit: i64,
    ) -> Result<Vec<Change>> {
        let rows = sqlx::query_as(
            "select xid::text::bigint as xid, id * 256 + place - 1 as id, entity_type, entity, ref, activity, created
             from attune.change
             cross join lateral unnest(entities) with ordinality as each (entity, place)
             -- From the row on that the reader has come to, of which it may not have read all.
             where (change.xid, change.id) >= ($1::text::xid8, $2 >> 8)
               and (change.xid, id * 256 + place - 1) > ($1::text::xid8, $2)
               and change.xid < pg_snapshot_xmin(pg_current_snapshot())
             order by change.xid, change.id, place
             limit $3",
        )
        .bind(cursor.xid.to_string())
        .bind(cursor.id)
        .bind(limit)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// The history of one entity, the first change first; at most [`LIST_LIMIT`](super::LIST_LIMIT) of the latest ones.
    /// Changes of one entity wait for each other, so their ids are in the order of their commits.
    pub async fn of_entity(
        executor: impl PgExecutor<'_>,
        entity_type: &str,
        entity: i64,
    ) -> Result<Vec<Change>> {
        let rows = sqlx::query_as(
            "select xid, id * 256 + array_position(entities, $2) - 1 as id, entity_type, $2 as entity, ref, activity, created
             from (
                 select xid::text::bigint as xid, id, entity_type, entities, ref, activity, created
                 from attune.change
                 where entities[1] >> 8 = $2 >> 8 and $2 = any(entities) and entity_type = $1
                 order by id desc
                 limit 1000
             ) latest
             order by latest.id",
        )
        .bind(entity_type)
        .bind(entity)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// Whether there are changes after the cursor that [`ChangeRepository::after`] keeps back, because an older
    /// transaction can still commit.
    pub async fn is_withholding(executor: impl PgExecutor<'_>, cursor: ChangeCursor) -> Result<bool> {
        let withheld = sqlx::query_scalar(
            "select exists (
                 select
                 from attune.change
                 where (change.xid, change.id) > ($1::text::xid8, $2 >> 8)
                   and change.xid >= pg_snapshot_xmin(pg_current_snapshot())
                 -- Else the planner expects to meet one of many at once, and reads the whole table where there is none.
                 order by change.xid, change.id
                 limit 1
             )",
        )
        .bind(cursor.xid.to_string())
        .bind(cursor.id)
        .fetch_one(executor)
        .await?;
        Ok(withheld)
    }

    /// The end of the feed as it is now: where a reader starts who wants only what comes.
    pub async fn end(executor: impl PgExecutor<'_>) -> Result<ChangeCursor> {
        let xid: i64 =
            sqlx::query_scalar("select (pg_snapshot_xmin(pg_current_snapshot())::text::bigint) - 1")
                .fetch_one(executor)
                .await?;
        Ok(ChangeCursor { xid, id: i64::MAX })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_cursor_round_trip() {
        let cursor = ChangeCursor { xid: 1024, id: 77 };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        assert!("77".parse::<ChangeCursor>().is_err());
        assert!("a-b".parse::<ChangeCursor>().is_err());
    }
}
