//! A store that already holds a long history: what a server has recorded and finished is copied in the database, as often as
//! wanted, older and older.
//!
//! The copies are real rows: their columns are those of the rows that the server made, with ids, references between them and
//! times moved. Which columns those are is read from the catalogue and from the names, which say what a reference is to; so
//! this needs no change when the schema gets one. Foreign keys and triggers are not run for each copy, which holds whatever
//! its original held; all other constraints and all indexes are kept up as always.

use std::time::{Duration, Instant};

use anyhow::Context;
use attune_common::db::{self, PoolOptions};
use sqlx::{AssertSqlSafe, PgConnection, PgPool};

/// What a store was filled with.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Filled {
    /// Events, and as many enforcements and executions.
    pub rows: u64,
    pub seconds: f64,
    /// By how much the database grew on the disk, its indexes included.
    pub gigabytes: f64,
}

/// How much is to be copied.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Events at least, and as many enforcements and executions.
    pub rows: u64,
    /// Filling ends with an error before the database takes more than this.
    pub gigabytes: f64,
    /// How much older the newest copy is than what the server has made.
    pub age: Duration,
}

/// The entities whose ids are moved, by the name of their table: whatever refers to one has a column of a name given here.
const ENTITIES: [(&str, &[&str]); 3] = [
    ("event", &["event", "replay_of", "batch", "first_event", "last_event"]),
    ("enforcement", &["enforcement"]),
    ("execution", &["execution", "parent", "original"]),
];

/// Not copied: what only tells readers of changes, and what is kept only while something runs.
const LEFT_OUT: [&str; 6] =
    ["change", "admission", "work_item", "inquiry", "workflow_execution", "workflow_task"];

/// Rows of each table that one statement makes, about.
const ROWS_IN_A_STATEMENT: u64 = 100_000;

/// Between the times of two events.
const STEP: Duration = Duration::from_millis(1);

/// Copies what the database of `url` holds until there is as much as planned, and brings its statistics up to date. Nothing
/// may be under way in it.
pub async fn fill(url: &str, plan: Plan) -> anyhow::Result<Filled> {
    let pool = db::connect(url, &PoolOptions { max_connections: 2, ..PoolOptions::default() }).await?;
    let filled = run(&pool, plan).await;
    pool.close().await;
    filled
}

async fn run(pool: &PgPool, plan: Plan) -> anyhow::Result<Filled> {
    let began = Instant::now();
    let mut connection = pool.acquire().await?;
    let tables = tables(&mut connection).await?;
    let (originals, strides) = originals(&mut connection).await?;
    let copies = plan.rows.div_ceil(originals).saturating_sub(1);
    let at_once = (ROWS_IN_A_STATEMENT / originals).max(1);
    let before = size(&mut connection).await?;
    // Of this connection only.
    sqlx::query("set session_replication_role = 'replica'")
        .execute(&mut *connection)
        .await
        .context("only a superuser of the database can fill it")?;
    for first in (1..=copies).step_by(at_once as usize) {
        let last = (first + at_once - 1).min(copies);
        for table in &tables {
            let statement = table.copy(&strides, copies, (first, last), plan.age);
            sqlx::query(AssertSqlSafe(statement))
                .execute(&mut *connection)
                .await
                .with_context(|| format!("cannot copy the rows of {}", table.name))?;
        }
        if first == 1 {
            let grown = (size(&mut connection).await? - before) as f64 * copies as f64 / last as f64 / 1e9;
            anyhow::ensure!(
                grown <= plan.gigabytes,
                "{} rows would take about {grown:.0} GB, and {} are allowed",
                plan.rows,
                plan.gigabytes
            );
        }
    }
    for (entity, _) in ENTITIES {
        let statement = format!(
            "select setval(pg_get_serial_sequence('attune.{entity}', 'id'), (select max(id) from attune.{entity}))"
        );
        sqlx::query(AssertSqlSafe(statement)).execute(&mut *connection).await?;
    }
    // The originals become the oldest, as they have the lowest ids.
    for table in &tables {
        if let Some(statement) = table.age(&strides, copies, plan.age) {
            sqlx::query(AssertSqlSafe(statement)).execute(&mut *connection).await?;
        }
    }
    sqlx::query("set session_replication_role = 'origin'").execute(&mut *connection).await?;
    for table in &tables {
        let statement = format!("vacuum (analyze) attune.{}", table.name);
        sqlx::query(AssertSqlSafe(statement)).execute(&mut *connection).await?;
    }
    sqlx::query("checkpoint").execute(&mut *connection).await?;
    let grown = size(&mut connection).await? - before;
    Ok(Filled {
        rows: originals * (copies + 1),
        seconds: began.elapsed().as_secs_f64(),
        gigabytes: grown as f64 / 1e9,
    })
}

/// A table whose rows are copied.
#[derive(Debug)]
struct Table {
    name: String,
    /// Names and kinds, in the order of the table.
    columns: Vec<(String, Kind)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The id of the entity with this index, or a reference to one.
    Id(usize),
    Time,
    /// Copied as it is.
    Same,
}

impl Table {
    /// Makes the copies with these numbers. The one with the highest number is the newest.
    fn copy(&self, strides: &[u64; 3], copies: u64, (first, last): (u64, u64), age: Duration) -> String {
        let names: Vec<String> = self.columns.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let values: Vec<String> = self
            .columns
            .iter()
            .map(|(name, kind)| match kind {
                Kind::Id(entity) => format!("original.\"{name}\" + copy * {}", strides[*entity]),
                Kind::Time => format!(
                    "original.\"{name}\" - ({copies} - copy) * interval '{} milliseconds' - interval '{} milliseconds'",
                    u128::from(strides[0]) * STEP.as_millis(),
                    age.as_millis()
                ),
                Kind::Same => format!("original.\"{name}\""),
            })
            .collect();
        let (anchor, highest) = self.anchor(strides);
        format!(
            "insert into attune.{} ({})\noverriding system value\nselect {}\nfrom attune.{} original, generate_series({first}, {last}) copy\nwhere original.\"{anchor}\" <= {}\norder by copy, original.\"{anchor}\"",
            self.name,
            names.join(", "),
            values.join(", "),
            self.name,
            highest,
        )
    }

    /// The column that tells originals from copies, and its highest value in an original.
    fn anchor(&self, strides: &[u64; 3]) -> (&str, u64) {
        let found = self.columns.iter().find_map(|(name, kind)| match kind {
            Kind::Id(entity) => Some((name.as_str(), strides[*entity])),
            Kind::Time | Kind::Same => None,
        });
        found.unwrap_or_else(|| unreachable!("only tables with such a column are copied"))
    }

    /// Moves the times of the originals behind those of all copies.
    fn age(&self, strides: &[u64; 3], copies: u64, age: Duration) -> Option<String> {
        let moved: Vec<String> = self
            .columns
            .iter()
            .filter(|(_, kind)| *kind == Kind::Time)
            .map(|(name, _)| {
                let by = u128::from(copies * strides[0]) * STEP.as_millis() + age.as_millis();
                format!("\"{name}\" = \"{name}\" - interval '{by} milliseconds'")
            })
            .collect();
        let (anchor, highest) = self.anchor(strides);
        (!moved.is_empty()).then(|| {
            format!("update attune.{} set {} where \"{anchor}\" <= {highest}", self.name, moved.join(", "))
        })
    }
}

/// The tables with a row for an event, an enforcement or an execution; what others refer to comes first.
async fn tables(connection: &mut PgConnection) -> anyhow::Result<Vec<Table>> {
    let columns: Vec<(String, String, String)> = sqlx::query_as(
        "select c.relname::text, a.attname::text, format_type(a.atttypid, null)
         from pg_class c
         join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
         where c.relnamespace = 'attune'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
           and c.relname <> all ($1)
         order by c.relname, a.attnum",
    )
    .bind(LEFT_OUT.as_slice())
    .fetch_all(&mut *connection)
    .await?;
    let mut tables: Vec<Table> = Vec::new();
    for (table, column, sort) in columns {
        let kind = kind(&table, &column, &sort);
        match tables.last_mut().filter(|last| last.name == table) {
            Some(last) => last.columns.push((column, kind)),
            None => tables.push(Table { name: table, columns: vec![(column, kind)] }),
        }
    }
    tables.retain(|table| table.columns.iter().any(|(_, kind)| matches!(kind, Kind::Id(_))));
    tables.sort_by_key(|table| {
        let place = ENTITIES.iter().position(|(entity, _)| *entity == table.name);
        (place.unwrap_or(ENTITIES.len()), table.name.clone())
    });
    Ok(tables)
}

fn kind(table: &str, column: &str, sort: &str) -> Kind {
    let entity = ENTITIES.iter().position(|(entity, references)| {
        (table == *entity && column == "id") || references.contains(&column)
    });
    match (sort, entity) {
        ("bigint", Some(entity)) => Kind::Id(entity),
        ("timestamp with time zone", _) => Kind::Time,
        _ => Kind::Same,
    }
}

/// How many events there are, and by how much the ids of each entity are moved from copy to copy: gaps between ids are
/// copied too. There must be an enforcement and an execution for each event, and all must have ended.
async fn originals(connection: &mut PgConnection) -> anyhow::Result<(u64, [u64; 3])> {
    let mut strides = [0; 3];
    let mut counts = [0; 3];
    for (index, (entity, _)) in ENTITIES.iter().enumerate() {
        let statement =
            format!("select count(*), coalesce(min(id), 0), coalesce(max(id), 0) from attune.{entity}");
        let (count, lowest, highest): (i64, i64, i64) =
            sqlx::query_as(AssertSqlSafe(statement)).fetch_one(&mut *connection).await?;
        anyhow::ensure!(
            count > 0 && lowest > 0,
            "there is no {entity} to copy: let the server carry some events first"
        );
        strides[index] = u64::try_from(highest)?;
        counts[index] = u64::try_from(count)?;
    }
    anyhow::ensure!(
        counts.iter().all(|count| *count == counts[0]),
        "there are {} events, {} enforcements and {} executions: only as many of each can be copied",
        counts[0],
        counts[1],
        counts[2]
    );
    let waiting: i64 = sqlx::query_scalar("select count(*) from attune.execution where finished is null")
        .fetch_one(&mut *connection)
        .await?;
    anyhow::ensure!(waiting == 0, "{waiting} executions have not ended: copies of them would run");
    Ok((counts[0], strides))
}

async fn size(connection: &mut PgConnection) -> anyhow::Result<i64> {
    Ok(sqlx::query_scalar("select pg_database_size(current_database())").fetch_one(connection).await?)
}
