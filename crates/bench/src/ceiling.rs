//! What PostgreSQL on this machine can carry at all: the rows of a finished event, written by plain SQL in the same cluster,
//! without anything of Attune. Its figures stand beside ours in each run, because machines differ and change.
//!
//! Three shapes, each in batches of 500 with one transaction for events, enforcements and executions: work that is claimed
//! by a scan and ended by an update; work that has its worker from birth, ended by an update; and the same with its end
//! appended as a row. The fastest of them is the ceiling. A fourth writes Attune's own tables, by statements that do nothing
//! else: what their indexes and foreign keys leave of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use attune_common::db::{self, PoolOptions};
use serde::Serialize;
use sqlx::PgPool;

use crate::report::Throughput;

const BATCH: i32 = 500;

/// Clients that insert, and as many that claim and complete; where nothing is claimed, all of them do both.
const CLIENTS: usize = 2;

/// How an execution comes to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Shape {
    ClaimedAndUpdated,
    BornLeasedAndUpdated,
    BornLeasedAndAppended,
    OwnTables,
}

impl Shape {
    const ALL: [Self; 4] =
        [Self::ClaimedAndUpdated, Self::BornLeasedAndUpdated, Self::BornLeasedAndAppended, Self::OwnTables];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ClaimedAndUpdated => "claimed by a scan, ended by an update",
            Self::BornLeasedAndUpdated => "born with its worker, ended by an update",
            Self::BornLeasedAndAppended => "born with its worker, its end appended",
            Self::OwnTables => "the second, in Attune's tables",
        }
    }
}

/// What each shape carried.
#[derive(Debug, Serialize)]
pub(crate) struct Ceiling {
    pub(crate) shapes: Vec<(Shape, Throughput)>,
}

const SCHEMA: &[&str] = &[
    "create table event (id bigint primary key, payload jsonb not null, created timestamptz not null default now())",
    "create table enforcement (id bigint generated always as identity primary key, rule bigint not null,
        event bigint not null, payload jsonb not null, unique (rule, event))",
    "create table execution (id bigint generated always as identity primary key, enforcement bigint not null,
        status smallint not null, config jsonb not null, worker bigint, started timestamptz, finished timestamptz)",
    "create index on execution (id) where status = 0",
    "create table ending (execution bigint primary key, status smallint not null, finished timestamptz not null)",
    "create sequence event_id",
];

const INSERT: &str = "
    with events as materialized (
        insert into event (id, payload)
        select nextval('event_id'), payload from unnest($1::jsonb[]) as input (payload)
        returning id
    ),
    enforcements as (
        insert into enforcement (rule, event, payload) select 1, id, '{\"text\": \"disk\"}' from events returning id
    )
    insert into execution (enforcement, status, config) select id, 0, '{\"text\": \"disk\"}' from enforcements";

const INSERT_LEASED: &str = "
    with events as materialized (
        insert into event (id, payload)
        select nextval('event_id'), payload from unnest($1::jsonb[]) as input (payload)
        returning id
    ),
    enforcements as (
        insert into enforcement (rule, event, payload) select 1, id, '{\"text\": \"disk\"}' from events returning id
    )
    insert into execution (enforcement, status, config, worker, started)
    select id, 1, '{\"text\": \"disk\"}', 1, clock_timestamp() from enforcements
    returning id";

/// What rows of Attune's tables refer to, all with the id 1.
const OWN_SCHEMA: &[&str] = &[
    "insert into attune.trigger (id, ref) overriding system value values (1, 'ceiling.disk')",
    "insert into attune.action (id, ref, runtime_ref, entrypoint)
     overriding system value values (1, 'ceiling.noop', 'core.native', 'noop')",
    "insert into attune.rule (id, ref, trigger, trigger_ref, action, action_ref)
     overriding system value values (1, 'ceiling.rule', 1, 'ceiling.disk', 1, 'ceiling.noop')",
];

const OWN_INSERT: &str = "
    with events as materialized (
        insert into attune.event (batch, trigger, trigger_ref, payload)
        select 1, 1, 'ceiling.disk', payload from unnest($1::jsonb[]) as input (payload)
        returning id
    ),
    enforcements as (
        insert into attune.enforcement (rule, rule_ref, trigger_ref, event, status, payload)
        select 1, 'ceiling.rule', 'ceiling.disk', id, 'processed', '{\"text\": \"disk\"}' from events
        returning id
    )
    insert into attune.execution (
        action, action_ref, enforcement, status, native, worker, worker_name, attempt, started, config
    )
    select 1, 'ceiling.noop', id, 'running', true, 1, 'ceiling', 1, clock_timestamp(), '{\"text\": \"disk\"}' from enforcements
    returning id";

const OWN_COMPLETE: &str = "
    update attune.execution set status = 'completed', finished = clock_timestamp(), updated = clock_timestamp()
    where id = any($1) and status::text = 'running'";

const APPEND: &str =
    "insert into ending (execution, status, finished) select unnest($1), 2, clock_timestamp()";

const CLAIM: &str = "
    with next as materialized (
        select id from execution where status = 0 order by id limit $1 for update skip locked
    )
    update execution set status = 1, worker = 1, started = clock_timestamp()
    from next where execution.id = next.id
    returning execution.id";

const COMPLETE: &str = "
    update execution set status = 2, finished = clock_timestamp()
    where id = any($1) and status = 1";

/// Finished events a second by each shape, in databases of their own beside the one of `url`. The events have this payload.
pub(crate) async fn measure(url: &str, payload: &str, duration: Duration) -> anyhow::Result<Ceiling> {
    let admin = db::connect(url, &PoolOptions { max_connections: 1, ..PoolOptions::default() }).await?;
    let mut shapes = Vec::new();
    for shape in Shape::ALL {
        sqlx::query("create database ceiling")
            .execute(&admin)
            .await
            .context("no database for the ceiling")?;
        // Plans are made while the tables are empty, and kept.
        let options = db::connect_options(url, "attune-bench ceiling")?
            .database("ceiling")
            .options([("enable_seqscan", "off")]);
        let pool = sqlx::postgres::PgPoolOptions::new()
            .max_connections(2 * CLIENTS as u32)
            .test_before_acquire(false)
            .connect_with(options)
            .await?;
        let outcome = run(&pool, shape, payload, duration).await;
        pool.close().await;
        sqlx::query("drop database ceiling").execute(&admin).await?;
        shapes.push((shape, outcome?));
    }
    admin.close().await;
    Ok(Ceiling { shapes })
}

async fn run(pool: &PgPool, shape: Shape, payload: &str, duration: Duration) -> anyhow::Result<Throughput> {
    let schema = match shape {
        Shape::OwnTables => {
            db::migrate(pool).await?;
            OWN_SCHEMA
        }
        _ => SCHEMA,
    };
    for statement in schema {
        sqlx::query(*statement).execute(pool).await?;
    }
    let payloads: Arc<Vec<serde_json::Value>> =
        Arc::new(vec![serde_json::from_str(payload)?; BATCH as usize]);
    let began = Instant::now();
    let until = began + duration;
    let finished = Arc::new(AtomicU64::new(0));
    let inserted = Arc::new(AtomicU64::new(0));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        match shape {
            Shape::ClaimedAndUpdated => {
                let counters = [inserted.clone(), finished.clone()];
                clients.spawn(insert(pool.clone(), payloads.clone(), counters, until));
                clients.spawn(finish(pool.clone(), finished.clone(), until));
            }
            Shape::BornLeasedAndUpdated | Shape::BornLeasedAndAppended | Shape::OwnTables => {
                let statements = match shape {
                    Shape::OwnTables => [OWN_INSERT, OWN_COMPLETE],
                    Shape::BornLeasedAndAppended => [INSERT_LEASED, APPEND],
                    _ => [INSERT_LEASED, COMPLETE],
                };
                for _ in 0..2 {
                    clients.spawn(cycle(
                        pool.clone(),
                        payloads.clone(),
                        finished.clone(),
                        (statements, until),
                    ));
                }
            }
        }
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    Ok(Throughput::new(finished.load(Ordering::Relaxed), began.elapsed(), None))
}

/// Inserts batches that have their worker by the first statement, and ends each by the second, until the end.
async fn cycle(
    pool: PgPool,
    payloads: Arc<Vec<serde_json::Value>>,
    finished: Arc<AtomicU64>,
    ([beginning, ending], until): ([&'static str; 2], Instant),
) -> anyhow::Result<()> {
    while Instant::now() < until {
        let leased: Vec<i64> =
            sqlx::query_scalar(beginning).bind(payloads.as_slice()).fetch_all(&pool).await?;
        let ended = sqlx::query(ending).bind(&leased).execute(&pool).await?.rows_affected();
        finished.fetch_add(ended, Ordering::Relaxed);
    }
    Ok(())
}

/// Inserts batches until the end. `counters` are what all clients have inserted and finished.
async fn insert(
    pool: PgPool,
    payloads: Arc<Vec<serde_json::Value>>,
    counters: [Arc<AtomicU64>; 2],
    until: Instant,
) -> anyhow::Result<()> {
    let [inserted, finished] = counters;
    while Instant::now() < until {
        sqlx::query(INSERT).bind(payloads.as_slice()).execute(&pool).await?;
        let ahead = inserted.fetch_add(BATCH as u64, Ordering::Relaxed) + BATCH as u64;
        // A backlog would be work that is measured on one side only.
        while ahead > finished.load(Ordering::Relaxed) + 20 * BATCH as u64 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    Ok(())
}

/// Claims and completes until the end.
async fn finish(pool: PgPool, finished: Arc<AtomicU64>, until: Instant) -> anyhow::Result<()> {
    while Instant::now() < until {
        let claimed: Vec<i64> = sqlx::query_scalar(CLAIM).bind(BATCH).fetch_all(&pool).await?;
        if claimed.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        }
        let ended = sqlx::query(COMPLETE).bind(&claimed).execute(&pool).await?.rows_affected();
        finished.fetch_add(ended, Ordering::Relaxed);
    }
    Ok(())
}
