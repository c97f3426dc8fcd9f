//! Events and how far they were matched. Writes `attune.event` and `attune.event_batch`.

mod recorded;

use serde_json::Value;
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor, Row};

use super::{by_id, updates};
use crate::error::{Result, StoreError};
use crate::models::Timestamp;
use crate::models::event::{
    Appended, Event, EventFilter, EventMatch, EventUpdate, NewEvent, WaitingBatches, WaitingEvent,
};

/// Functions about `attune.event`.
#[derive(Debug)]
pub struct EventRepository;

by_id!(EventRepository, Event, "event", "attune.event", newest);
updates!(EventRepository, Event, "event");

#[derive(sqlx::FromRow)]
struct AppendedRow {
    id: Option<i64>,
    duplicate: bool,
}

impl EventRepository {
    /// Records the events, each once: a delivery that is known already keeps its first event. Results are in the order
    /// of the input. The events wait to be matched as soon as the transaction commits.
    pub async fn append(connection: &mut PgConnection, events: &[NewEvent]) -> Result<Vec<Appended>> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let empty = Value::Object(serde_json::Map::new());
        let column = |f: fn(&NewEvent) -> Option<&Value>| -> Vec<_> {
            events.iter().map(|e| Json(f(e).unwrap_or(&empty))).collect()
        };
        let statement = match events.iter().any(|e| e.dedup_key.is_some()) {
            true => concat!(include_str!("event/given.sql"), include_str!("event/append.sql")),
            false => concat!(include_str!("event/given.sql"), include_str!("event/append_unkeyed.sql")),
        };
        let rows: Vec<AppendedRow> = sqlx::query_as(statement)
            .bind(events.iter().map(|e| e.trigger).collect::<Vec<_>>())
            .bind(events.iter().map(|e| e.trigger_ref.as_str()).collect::<Vec<_>>())
            .bind(column(|e| e.config.as_ref()))
            .bind(column(|e| e.payload.as_ref()))
            .bind(events.iter().map(|e| e.headers.as_ref().map(Json)).collect::<Vec<_>>())
            .bind(events.iter().map(|e| e.source).collect::<Vec<_>>())
            .bind(events.iter().map(|e| e.source_ref.as_deref()).collect::<Vec<_>>())
            .bind(events.iter().map(|e| e.dedup_key.as_deref()).collect::<Vec<_>>())
            .bind(events.iter().map(|e| e.replay_of).collect::<Vec<_>>())
            .bind(events.iter().map(|e| e.trace_id.as_deref()).collect::<Vec<_>>())
            .bind(events.iter().map(|e| e.depth).collect::<Vec<_>>())
            .fetch_all(&mut *connection)
            .await?;
        let mut appended = Vec::with_capacity(rows.len());
        for (row, event) in rows.iter().zip(events) {
            let id = match row.id {
                Some(id) => id,
                // The first event of this delivery came within this very batch, or from a transaction that committed
                // while this statement waited for it: a new statement sees it.
                None => Self::id_of_delivery(&mut *connection, event).await?,
            };
            appended.push(Appended { id, duplicate: row.duplicate });
        }
        Ok(appended)
    }

    async fn id_of_delivery(executor: impl PgExecutor<'_>, event: &NewEvent) -> Result<i64> {
        let id = sqlx::query_scalar("select id from attune.event where trigger_ref = $1 and dedup_key = $2")
            .bind(&event.trigger_ref)
            .bind(&event.dedup_key)
            .fetch_one(executor)
            .await?;
        Ok(id)
    }

    /// Records one event and gives back its row.
    pub async fn create(connection: &mut PgConnection, event: NewEvent) -> Result<Event> {
        let appended = Self::append(&mut *connection, std::slice::from_ref(&event)).await?;
        match appended.first() {
            Some(first) => Self::get_by_id(connection, first.id).await,
            None => Err(StoreError::Database(sqlx::Error::RowNotFound)),
        }
    }

    /// Changes an event; None leaves a column as it is, and a change of nothing changes not even `updated`.
    pub async fn update(connection: &mut PgConnection, id: i64, update: &EventUpdate) -> Result<Event> {
        let changed = sqlx::query_as(
            "update attune.event
             set config = coalesce($2, config), payload = coalesce($3, payload)
             where id = $1 and ($4::timestamptz is null or updated = $4)
             returning *",
        )
        .bind(id)
        .bind(&update.config)
        .bind(&update.payload)
        .bind(update.unchanged_since)
        .fetch_optional(&mut *connection)
        .await
        .map_err(|error| StoreError::about(error, update))?;
        Self::changed_or_refused(connection, id, changed).await
    }

    /// Events of a trigger, the newest first.
    pub async fn list_by_trigger(executor: impl PgExecutor<'_>, trigger: i64) -> Result<Vec<Event>> {
        let rows = sqlx::query_as(
            "select * from attune.event
             where trigger = $1 and trigger_ref = (select ref from attune.trigger where id = $1)
             order by id desc
             limit 1000",
        )
        .bind(trigger)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// Events of a trigger by its name, also of one that is gone; the newest first.
    pub async fn list_by_trigger_ref(executor: impl PgExecutor<'_>, trigger_ref: &str) -> Result<Vec<Event>> {
        let rows =
            sqlx::query_as("select * from attune.event where trigger_ref = $1 order by id desc limit 1000")
                .bind(trigger_ref)
                .fetch_all(executor)
                .await?;
        Ok(rows)
    }

    /// A page of events, by descending id.
    pub async fn search(executor: impl PgExecutor<'_>, filter: &EventFilter) -> Result<Vec<Event>> {
        let rows = sqlx::query_as(
            "select * from attune.event
             where ($1::text is null or trigger_ref = $1)
               and ($2::bigint is null or id < $2)
             order by id desc
             limit $3",
        )
        // Planned anew with its parameters: a plan that must serve any filter reads the table until the page is full.
        .persistent(false)
        .bind(&filter.trigger_ref)
        .bind(filter.before)
        .bind(filter.limit)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// How far an event was judged.
    pub async fn matching(executor: impl PgExecutor<'_>, id: i64) -> Result<Option<EventMatch>> {
        let row = sqlx::query_as(
            "select event.id as event, event_batch.matched, event_batch.rule_set_version
             from attune.event
             join attune.event_batch on event_batch.first_event = event.batch
             where event.id = $1",
        )
        .bind(id)
        .fetch_optional(executor)
        .await?;
        Ok(row)
    }

    /// Whether the events of this batch wait to be matched.
    pub async fn is_batch_waiting(executor: impl PgExecutor<'_>, batch: i64) -> Result<bool> {
        let waits = sqlx::query_scalar(
            "select exists (select from attune.event_batch where first_event = $1 and matched is null)",
        )
        .bind(batch)
        .fetch_one(executor)
        .await?;
        Ok(waits)
    }

    /// How many events wait to be matched.
    pub async fn count_waiting(executor: impl PgExecutor<'_>) -> Result<i64> {
        let count = sqlx::query_scalar(
            "select count(*)
             from attune.event_batch batch
             cross join lateral (
                 select from attune.event
                 where event.id between batch.first_event and batch.last_event and event.batch = batch.first_event
                 order by event.id
                 limit batch.events
             ) event
             where batch.matched is null",
        )
        .fetch_one(executor)
        .await?;
        Ok(count)
    }

    /// Takes waiting events, the oldest first, for the rest of the transaction: as many whole batches as hold up to `limit`
    /// events, and one at least. What another executor holds is passed over. They count as matched only once
    /// [`EventRepository::mark_matched`] says so of their batches.
    pub async fn take_waiting(connection: &mut PgConnection, limit: i64) -> Result<WaitingBatches> {
        let rows =
            sqlx::query(include_str!("event/take_waiting.sql")).bind(limit).fetch_all(connection).await?;
        let mut waiting =
            WaitingBatches { events: Vec::with_capacity(rows.len()), ..WaitingBatches::default() };
        for row in &rows {
            // By place: a flood comes through here, and each name would be looked up.
            waiting.ids.push(row.try_get(0)?);
            waiting.more = row.try_get(1)?;
            waiting.is_holding_more = row.try_get(2)?;
            waiting.rule_set_version = row.try_get(3)?;
            // Of a batch whose events were removed before they were judged, only the batch comes.
            if let Some(id) = row.try_get(4)? {
                waiting.events.push(WaitingEvent {
                    id,
                    trigger_ref: row.try_get(5)?,
                    config: row.try_get(6)?,
                    payload: row.try_get(7)?,
                    headers: row.try_get(8)?,
                    source_ref: row.try_get(9)?,
                    trace_id: row.try_get(10)?,
                    created: row.try_get(11)?,
                });
            }
        }
        waiting.ids.dedup();
        waiting.events.sort_unstable_by_key(|event| event.id);
        Ok(waiting)
    }

    /// These events with what rules look at, by id; those that are gone are left out.
    pub async fn list_for_rules(executor: impl PgExecutor<'_>, events: &[i64]) -> Result<Vec<WaitingEvent>> {
        let rows = sqlx::query_as(
            "select id, trigger_ref, config, payload, headers, source_ref, trace_id, created
             from attune.event
             where id = any($1)
             order by id",
        )
        .bind(events)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// Marks the events of these batches as matched by this version of the rule set. `matched` is the time that the rules
    /// were judged with, so that they can be judged with it again.
    pub async fn mark_matched(
        executor: impl PgExecutor<'_>,
        batches: &[i64],
        rule_set_version: i64,
        matched: Timestamp,
    ) -> Result<()> {
        sqlx::query(
            "update attune.event_batch
             set matched = $3, rule_set_version = $2
             where first_event = any($1) and matched is null",
        )
        .bind(batches)
        .bind(rule_set_version)
        .bind(matched)
        .execute(executor)
        .await?;
        Ok(())
    }
}
