//! What must hold in the end, read from the database and from the file that the actions wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};

use super::report::Totals;

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong.
    pub what: String,
    /// How often.
    pub number: u64,
}

/// A promise, and the query that counts where it was broken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Promise {
    pub(super) promise: &'static str,
    broken: &'static str,
    query: &'static str,
}

const SAFE_RUNS: Promise = Promise {
    promise: "what is safe to run again is run until it is done, unless somebody cancels it",
    broken: "executions that are safe to run again did not complete",
    query: "select count(*) from attune.execution where action_ref in ('core.noop', 'faults.safe') and status <> 'completed'",
};

/// Some of those that broke it, as sentences.
const UNWELL: &str = "
    select format('execution %s of %s is %s after %s attempts, by %s: %s', id, action_ref, status, attempt, worker_name, error)
    from attune.execution
    where action_ref in ('core.noop', 'faults.safe') and status <> 'completed'
    order by id
    limit 3";

/// What the database alone can tell.
pub(super) const PROMISES: &[Promise] = &[
    Promise {
        promise: "each delivery is one event, however often it was sent",
        broken: "deliveries stand in more than one event",
        query: "select count(*) from (
            select from attune.event where trigger_ref = 'faults.in' group by payload -> 'number' having count(*) > 1) wrong",
    },
    Promise {
        promise: "each event is judged",
        broken: "events were never judged",
        query: "select count(*) from attune.event where not exists (
            select from attune.event_batch where first_event = event.batch and matched is not null)",
    },
    Promise {
        promise: "each rule decides once about each event that it matches, and about no other",
        broken: "events have enforcements of other rules than those that match them",
        query: "select count(*) from (
            select event.id
            from attune.event
            left join attune.enforcement on enforcement.event = event.id
            where event.trigger_ref = 'faults.in'
            group by event.id, event.payload
            having array_agg(enforcement.rule_ref order by enforcement.rule_ref) is distinct from
                case event.payload ->> 'kind'
                    when 'none' then array['faults.native']
                    else array['faults.native', 'faults.' || (event.payload ->> 'kind')]
                end) wrong",
    },
    Promise {
        promise: "each enforcement has exactly one execution",
        broken: "enforcements have no execution, or several",
        query: "select count(*) from (
            select from attune.enforcement left join attune.execution on execution.enforcement = enforcement.id
            where enforcement.trigger_ref = 'faults.in'
            group by enforcement.id having count(execution.id) <> 1) wrong",
    },
    Promise {
        promise: "each execution ends",
        broken: "executions did not end",
        query: "select count(*) from attune.execution where finished is null",
    },
    Promise {
        promise: "what must not be run again has one attempt at most",
        broken: "executions were attempted again though their action does not say that this is safe",
        query: "select count(*) from attune.execution where action_ref = 'faults.once' and attempt > 1",
    },
    SAFE_RUNS,
    Promise {
        promise: "every attempt that began is on record with its end",
        broken: "executions have another number of attempts on record than were begun",
        query: "select count(*) from (
            select execution.id
            from attune.execution
            left join attune.execution_attempt former
                on former.execution = execution.id and former.attempt < execution.attempt
            group by execution.id
            -- The last one is in the row of the execution.
            having count(former.attempt) <> greatest(execution.attempt - 1, 0)) wrong",
    },
    Promise {
        promise: "an abandoned execution says which worker was lost",
        broken: "abandoned executions do not say why",
        query: "select count(*) from attune.execution
            where status = 'abandoned' and error not like 'worker worker-_ was lost%'",
    },
    Promise {
        promise: "the change feed has each status of each execution once, in the order in which it is read, and none after the last",
        broken: "executions have other changes on record than they went through",
        query: "select count(*) from (
            select execution.id
            from attune.execution
            left join lateral (
                select change.xid, change.id, change.activity
                from attune.change
                where change.entities[1] >> 8 = execution.id >> 8 and execution.id = any(change.entities)
                  and change.entity_type = 'execution'
            ) change on true
            group by execution.id
            having count(*) filter (where activity = 'running') <> execution.attempt
                or count(*) filter (where activity in ('completed', 'failed', 'cancelled', 'timeout', 'abandoned')) <> 1
                or (array_agg(activity order by change.xid desc, change.id desc))[1] <> execution.status::text
                -- What waited for a policy was requested before anything else became of it.
                or (
                    execution.action_ref = 'faults.safe'
                    and (array_agg(activity order by change.xid, change.id))[1] <> 'requested'
                )) wrong",
    },
];

/// Promises that need more than the database.
pub(super) const OUTSIDE: &[&str] = &[
    "each event that was acknowledged exists",
    "an attempt has its effect once at most",
    "a completed execution had its effect in the attempt that completed it",
    "no attempt begins after it was taken from its worker, or after its execution has ended",
    "no policy admits more than its limit",
    "no row refers to one that does not exist",
    "what a killed or frozen worker ran is taken from it within two leases",
    "no process ends by itself, also none that is started while the database is away",
];

/// For each foreign key of the schema its name, and a query that counts the rows that break it: events and decisions are written by
/// connections on which PostgreSQL does not check them.
const DANGLING: &str = "
    select conname::text,
           format(
               'select count(*) from %s child where (%s) is not null and not exists (select from %s parent where %s)',
               conrelid::regclass, string_agg(format('child.%I', child.attname), ', '), confrelid::regclass,
               string_agg(format('parent.%I = child.%I', parent.attname, child.attname), ' and ')
           )
    from pg_constraint
    cross join lateral unnest(conkey, confkey) as pair (child, parent)
    join pg_attribute child on child.attrelid = conrelid and child.attnum = pair.child
    join pg_attribute parent on parent.attrelid = confrelid and parent.attnum = pair.parent
    where connamespace = 'attune'::regnamespace and contype = 'f'
    group by conname, conrelid, confrelid
    order by conname";

/// How many executions of `faults.safe` a policy lets be under way at once: fewer than come while a worker is gone.
pub(super) const LIMIT: i64 = 6;

/// From the start of a process to the first line that it writes, on a machine that has much to do; in seconds.
const FIRST_LINE: f64 = 1.0;

/// Looks again and again how many are under way under the policy; ends when they are too many, and says so.
pub(super) async fn watch_limit(url: String) -> String {
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    loop {
        tick.tick().await;
        // While the database is away there is nothing to be seen.
        let Ok(mut connection) = PgConnection::connect(&url).await else { continue };
        loop {
            tick.tick().await;
            let under_way = sqlx::query_scalar(
                "select count(*) from attune.execution
                 where action_ref = 'faults.safe' and status in ('scheduled', 'running', 'canceling')",
            );
            match under_way.fetch_one(&mut connection).await {
                Ok(under_way) if under_way > LIMIT => {
                    return format!(
                        "time {under_way} executions were under way where a policy admits {LIMIT}"
                    );
                }
                Ok::<i64, _>(_) => {}
                Err(_) => break,
            }
        }
    }
}

/// Every promise that was broken.
pub(super) async fn all(
    pool: &PgPool,
    delivered: &BTreeMap<u64, i64>,
    effects: &Path,
) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut find = |number: usize, what: &str| {
        if number > 0 {
            findings.push(Finding { what: what.to_owned(), number: number as u64 });
        }
    };
    for promise in PROMISES {
        let broken: i64 = sqlx::query_scalar(promise.query).fetch_one(pool).await?;
        find(usize::try_from(broken)?, promise.broken);
        if broken > 0 && promise.promise == SAFE_RUNS.promise {
            for example in sqlx::query_scalar::<_, String>(UNWELL).fetch_all(pool).await? {
                find(1, &example);
            }
        }
    }
    for (key, query) in sqlx::query_as::<_, (String, String)>(DANGLING).fetch_all(pool).await? {
        let dangling: i64 = sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(pool).await?;
        find(usize::try_from(dangling)?, &format!("rows refer to what does not exist, against {key}"));
    }
    let stored: Vec<i64> = sqlx::query_scalar("select id from attune.event").fetch_all(pool).await?;
    let stored: BTreeSet<i64> = stored.into_iter().collect();
    let lost = delivered.values().filter(|event| !stored.contains(event)).count();
    find(lost, "events were acknowledged and do not exist");
    let several = delivered.len() - delivered.values().collect::<BTreeSet<_>>().len();
    find(several, "deliveries were answered with the event of another");

    let began = effects_of(effects)?;
    let former: Vec<(i64, i32, f64)> = sqlx::query_as(
        "select execution, attempt, extract(epoch from finished)::double precision from attune.execution_attempt",
    )
    .fetch_all(pool)
    .await?;
    let taken: BTreeMap<(i64, i32), f64> =
        former.into_iter().map(|(execution, attempt, at)| ((execution, attempt), at + FIRST_LINE)).collect();
    let executions: Vec<(i64, String, i32, Option<f64>)> = sqlx::query_as(
        "select id, status::text, attempt, extract(epoch from finished)::double precision
         from attune.execution where action_ref in ('faults.safe', 'faults.once', 'faults.slow')",
    )
    .fetch_all(pool)
    .await?;
    let (mut doubled, mut missing, mut unknown, mut late) = (0, 0, 0, 0);
    for (id, status, attempt, finished) in &executions {
        let attempts: BTreeMap<i32, &Vec<f64>> =
            began.range((*id, 0)..=(*id, i32::MAX)).map(|((_, attempt), times)| (*attempt, times)).collect();
        doubled += attempts.values().filter(|times| times.len() > 1).count();
        unknown += attempts.keys().filter(|number| *number > attempt).count();
        missing += usize::from(status == "completed" && !attempts.contains_key(attempt));
        let finished = finished.unwrap_or(f64::INFINITY);
        let end = |number: &i32| taken.get(&(*id, *number)).map_or(finished, |taken| taken.min(finished));
        late +=
            attempts.iter().filter(|(number, times)| times.iter().any(|time| *time > end(number))).count();
    }
    find(doubled, "attempts had their effect twice");
    find(missing, "completed executions had no effect in the attempt that completed them");
    find(unknown, "effects belong to attempts that the database does not know");
    find(late, "attempts began after they were taken from their worker, or after their execution had ended");
    Ok(findings)
}

/// When each attempt of each execution began, as the actions themselves wrote it down; seconds since 1970.
fn effects_of(file: &Path) -> anyhow::Result<BTreeMap<(i64, i32), Vec<f64>>> {
    let text = std::fs::read_to_string(file).context("no action left an effect")?;
    let mut began = BTreeMap::<_, Vec<f64>>::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let (Some(execution), Some(attempt), Some(time), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            anyhow::bail!("an effect was written in pieces: {line:?}");
        };
        began.entry((execution.parse()?, attempt.parse()?)).or_default().push(time.parse()?);
    }
    Ok(began)
}

/// Work that has not ended.
pub(super) async fn open(pool: &PgPool) -> anyhow::Result<i64> {
    let query = "select (select count(*) from attune.event_batch where matched is null)
                      + (select count(*) from attune.execution where finished is null)";
    Ok(sqlx::query_scalar(query).fetch_one(pool).await?)
}

/// How much there was.
pub(super) async fn totals(pool: &PgPool) -> anyhow::Result<Totals> {
    let count = async |query: &'static str| -> anyhow::Result<u64> {
        let number: i64 = sqlx::query_scalar(query).fetch_one(pool).await?;
        Ok(number.try_into()?)
    };
    let statuses: Vec<(String, i64)> =
        sqlx::query_as("select status::text, count(*) from attune.execution group by status order by status")
            .fetch_all(pool)
            .await?;
    let lost: Vec<(String, i64)> = sqlx::query_as(
        "select coalesce(worker_name, 'unknown'), count(*)
         from (
             select worker_name from attune.execution_attempt where status = 'abandoned'
             union all
             select worker_name from attune.execution where status = 'abandoned'
         ) lost
         group by 1
         order by 1",
    )
    .fetch_all(pool)
    .await?;
    Ok(Totals {
        events: count("select count(*) from attune.event").await?,
        enforcements: count("select count(*) from attune.enforcement").await?,
        executions: statuses.iter().map(|(_, number)| number.unsigned_abs()).sum(),
        statuses: statuses.into_iter().map(|(status, number)| (status, number.unsigned_abs())).collect(),
        lost: lost.into_iter().map(|(worker, number)| (worker, number.unsigned_abs())).collect(),
        attempts_again: count("select count(*) from attune.execution where attempt > 1").await?,
    })
}
