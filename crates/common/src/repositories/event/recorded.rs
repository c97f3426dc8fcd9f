//! Reading recorded events in their order: in bulk as text for back-tests, in batches for replays.

use futures::TryStreamExt;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, PgExecutor, Row, ValueRef};
use tokio::sync::mpsc;

use super::EventRepository;
use crate::error::{Result, StoreError};
use crate::models::Timestamp;
use crate::models::event::{Event, IdRange, RecordedBatch, RecordedFilter, RecordedParts};
use crate::repositories::first_id_since;

/// Rows that one statement reads: its snapshot is held for a fraction of a second, however many events there are.
const STATEMENT_ROWS: i64 = 50_000;

/// A batch is handed on when it holds so much.
const BATCH_ROWS: usize = 4_096;
const BATCH_BYTES: usize = 1 << 20;

/// What is read at once for a replay, in bytes of payload.
const REPLAY_BYTES: usize = 16 << 20;

impl EventRepository {
    /// The ids of the events of this span of time, of whatever trigger; `None` when there are none.
    pub async fn ids_between(
        connection: &mut PgConnection,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Option<IdRange>> {
        let (first, last): (Option<i64>, Option<i64>) = sqlx::query_as(
            // Statements that run at the same time draw ids and take the time in turns: what is sought begins and ends a little
            // outside.
            concat!(
                "with recursive ",
                first_id_since!("since", "attune.event", "$1::timestamptz - interval '10 seconds'"),
                ", ",
                first_id_since!("until", "attune.event", "$2::timestamptz + interval '10 seconds'"),
                "select (
                     select id
                     from attune.event
                     where id >= (select max(low) from since) and id < (select max(low) from until)
                       and created >= $1 and created < $2
                     order by id
                     limit 1
                 ),
                 (
                     select id
                     from attune.event
                     where id >= (select max(low) from since) and id < (select max(low) from until)
                       and created >= $1 and created < $2
                     order by id desc
                     limit 1
                 )"
            ),
        )
        .bind(since)
        .bind(until)
        .fetch_one(connection)
        .await?;
        Ok(first.zip(last).map(|(first, last)| IdRange { first, last }))
    }

    /// Reads the events of a trigger in the order of their ids and hands them on in batches, until nobody
    /// receives any more. Memory holds one batch, and each statement is short: the snapshot that it reads by holds up no
    /// clean-up.
    pub async fn read_recorded(
        connection: &mut PgConnection,
        filter: &RecordedFilter,
        parts: RecordedParts,
        batches: &mpsc::Sender<RecordedBatch>,
    ) -> Result<()> {
        let mut next = filter.ids.first;
        loop {
            let mut rows = sqlx::query(
                "select id, created, payload::text, case when $6 then config::text end,
                        case when $7 then headers::text end, case when $8 then source_ref end,
                        case when $8 then trace_id end
                 from attune.event
                 where trigger_ref = $1 and id >= $2 and id <= $3 and created >= $4 and created < $5
                 order by id
                 limit $9",
            )
            // Planned anew with its values: how many events a trigger has decides by which index they are found.
            .persistent(false)
            .bind(&filter.trigger_ref)
            .bind(next)
            .bind(filter.ids.last)
            .bind(filter.since)
            .bind(filter.until)
            .bind(parts.config)
            .bind(parts.headers)
            .bind(parts.origin)
            .bind(STATEMENT_ROWS)
            .fetch(&mut *connection);
            let mut batch = RecordedBatch::default();
            let mut read = 0;
            while let Some(row) = rows.try_next().await? {
                read += 1;
                next = push(&mut batch, &row)? + 1;
                if batch.len() >= BATCH_ROWS || batch.bytes() >= BATCH_BYTES {
                    let full = std::mem::take(&mut batch);
                    if batches.send(full).await.is_err() {
                        return Ok(());
                    }
                }
            }
            if (!batch.is_empty() && batches.send(batch).await.is_err()) || read < STATEMENT_ROWS {
                return Ok(());
            }
        }
    }

    /// Events of a trigger that can be replayed, in the order of their ids; those that are replays themselves are left
    /// out. Fewer than `limit` come where they are large; the second value is the id to go on after, if there may be more.
    pub async fn replayable(
        connection: &mut PgConnection,
        filter: &RecordedFilter,
        limit: i64,
    ) -> Result<(Vec<Event>, Option<i64>)> {
        let mut rows = sqlx::query(
            "select * from attune.event
             where trigger_ref = $1 and id >= $2 and id <= $3 and created >= $4 and created < $5
               and replay_of is null
             order by id
             limit $6",
        )
        .persistent(false)
        .bind(&filter.trigger_ref)
        .bind(filter.ids.first)
        .bind(filter.ids.last)
        .bind(filter.since)
        .bind(filter.until)
        .bind(limit)
        .fetch(&mut *connection);
        let mut events: Vec<Event> = Vec::new();
        let mut bytes = 0;
        let mut is_cut = false;
        while let Some(row) = rows.try_next().await? {
            let event = Event::from_row(&row)?;
            bytes += event.payload.to_string().len();
            events.push(event);
            is_cut = bytes >= REPLAY_BYTES;
            if is_cut {
                break;
            }
        }
        let more = is_cut || i64::try_from(events.len()).is_ok_and(|count| count == limit);
        let last = events.last().map(|event| event.id).filter(|_| more);
        Ok((events, last))
    }

    /// How many events [`EventRepository::replayable`] would give.
    pub async fn count_replayable(executor: impl PgExecutor<'_>, filter: &RecordedFilter) -> Result<i64> {
        let count = sqlx::query_scalar(
            "select count(*) from attune.event
             where trigger_ref = $1 and id >= $2 and id <= $3 and created >= $4 and created < $5
               and replay_of is null",
        )
        .persistent(false)
        .bind(&filter.trigger_ref)
        .bind(filter.ids.first)
        .bind(filter.ids.last)
        .bind(filter.since)
        .bind(filter.until)
        .fetch_one(executor)
        .await?;
        Ok(count)
    }

    /// These events, in the order of their ids; what does not exist is left out.
    pub async fn list_by_ids(executor: impl PgExecutor<'_>, ids: &[i64]) -> Result<Vec<Event>> {
        let rows = sqlx::query_as("select * from attune.event where id = any($1) order by id")
            .bind(ids)
            .fetch_all(executor)
            .await?;
        Ok(rows)
    }
}

/// Adds a row to the batch without reading its JSON; gives back its id.
fn push(batch: &mut RecordedBatch, row: &PgRow) -> Result<i64> {
    let text = |column: usize| -> Result<Option<&[u8]>> {
        let value = row.try_get_raw(column)?;
        if value.is_null() {
            return Ok(None);
        }
        value.as_bytes().map(Some).map_err(|error| StoreError::Database(sqlx::Error::Decode(error)))
    };
    let id: i64 = row.try_get(0)?;
    batch.push(id, row.try_get(1)?, text(2)?.unwrap_or_default(), [text(3)?, text(4)?, text(5)?, text(6)?]);
    Ok(id)
}
