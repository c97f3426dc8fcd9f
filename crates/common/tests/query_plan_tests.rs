//! How the hot statements reach their rows in a database with a million events and executions.
//!
//! The plans are those of the repository functions themselves, as PostgreSQL reports them while they run: it explains
//! each statement, with the rows that each step really read. Every function runs so often that its statement could have
//! been given a plan that knows no parameters; what counts is the plan of the last run. Two things must hold: no table
//! that grows with the traffic is read from one end to the other, and no more rows are read than the answer is worth.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use attune_common::db;
use attune_common::models::admission::{Admittance, AskedAction, LanePart};
use attune_common::models::enforcement::{
    ConditionMode, Decision, DecisionOutcome, EnforcementFilter, EnforcementStatus,
};
use attune_common::models::event::{EventFilter, IdRange, NewEvent, RecordedFilter, RecordedParts};
use attune_common::models::execution::{Completion, ExecutionFilter, ExecutionStatus, NewExecution};
use attune_common::models::rule::RuleMode;
use attune_common::models::window::{ContributingEvents, WindowKey, WindowState};
use attune_common::models::worker::Offer;
use attune_common::repositories::{
    AdmissionRepository, ChangeCursor, ChangeRepository, EnforcementRepository, EventRepository,
    ExecutionOutputRepository, ExecutionRepository, PlacementRepository, WindowRepository,
};
use attune_testkit::TestDatabase;
use chrono::Utc;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};
use tokio::sync::mpsc;

/// PostgreSQL may change to a plan without parameters from the sixth run of a prepared statement on.
const RUNS: usize = 8;

/// Tables that grow with the traffic.
const LARGE: &[&str] = &[
    "event",
    "event_batch",
    "enforcement",
    "enforcement_event",
    "window_state",
    "window_outcome",
    "execution",
    "execution_attempt",
    "execution_output",
    "change",
    "admission",
    "artifact",
    "artifact_version",
    "artifact_chunk",
    "execution_progress",
];

/// Fills the database. Triggers, and with them the checks of foreign keys, are off, and the indexes are built when the
/// rows are there: with both it takes several times as long.
async fn fill(connection: &mut PgConnection) {
    run(connection, "set session_replication_role = replica; set maintenance_work_mem = '512MB'").await;
    let indexes: Vec<(String, String)> = sqlx::query_as(
        "select indexrelid::regclass::text, pg_get_indexdef(indexrelid)
         from pg_index
         join pg_class on pg_class.oid = indrelid
         where relnamespace = 'attune'::regnamespace
           and not exists (select from pg_constraint where conindid = indexrelid)",
    )
    .fetch_all(&mut *connection)
    .await
    .expect("the catalogue can be read");
    for (name, _) in &indexes {
        run(connection, &format!("drop index {name}")).await;
    }
    run(connection, include_str!("query_plan/million.sql")).await;
    for (_, definition) in &indexes {
        run(connection, definition).await;
    }
    for table in ["event", "enforcement", "execution", "change"] {
        run(connection, &format!("select setval(pg_get_serial_sequence('attune.{table}', 'id'), 2000000)"))
            .await;
    }
    run(connection, "vacuum analyze").await;
    // All rows are looked at where rare values decide about the plan: a sample differs from run to run.
    run(
        connection,
        "set default_statistics_target = 4000;
         analyze attune.event_batch (matched), attune.enforcement (status), attune.execution (status, worker)",
    )
    .await;
}

async fn run(connection: &mut PgConnection, sql: &str) {
    let done = connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))).await;
    done.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// The plans that PostgreSQL reports while this is alive, on this thread.
struct Plans {
    reported: Arc<Mutex<Vec<Value>>>,
    _guard: tracing::subscriber::DefaultGuard,
}

impl Plans {
    fn keep() -> Self {
        use tracing_subscriber::layer::SubscriberExt;
        let reported = Arc::new(Mutex::new(Vec::new()));
        let layer = Layer { reported: reported.clone() };
        let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        Self { reported, _guard: guard }
    }

    fn take(&self) -> Vec<Value> {
        std::mem::take(&mut self.reported.lock().expect("nobody panicked with it"))
    }
}

struct Layer {
    reported: Arc<Mutex<Vec<Value>>>,
}

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Layer {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        struct Message(String);
        impl tracing::field::Visit for Message {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
            fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
                if field.name() == "message" {
                    value.clone_into(&mut self.0);
                }
            }
        }
        if event.metadata().target() == "sqlx::postgres::notice" {
            let mut message = Message(String::new());
            event.record(&mut message);
            if let Some((_, plan)) = message.0.split_once("plan:\n") {
                let plan = serde_json::from_str(plan).expect("a plan is JSON");
                self.reported.lock().expect("nobody panicked with it").push(plan);
            }
        }
    }
}

/// What a plan does with the tables: how it reaches them, and how many rows it reads there.
#[derive(Default)]
struct Access {
    indexes: BTreeSet<String>,
    whole: Vec<String>,
    rows: f64,
}

impl Access {
    fn add(&mut self, node: &Value) {
        let text = |key: &str| node[key].as_str().unwrap_or_default();
        let number = |key: &str| node[key].as_f64().unwrap_or_default();
        let (kind, index, table) = (text("Node Type"), text("Index Name"), text("Relation Name"));
        // The rows of a bitmap are counted where they are fetched from their table.
        if LARGE.contains(&table) && kind.contains("Scan") {
            if kind == "Seq Scan" {
                self.whole.push(table.to_owned());
            }
            let read = number("Actual Rows")
                + number("Rows Removed by Filter")
                + number("Rows Removed by Index Recheck");
            self.rows += read * number("Actual Loops");
        }
        if !index.is_empty() {
            self.indexes.insert(index.to_owned());
        }
        for child in node["Plans"].as_array().into_iter().flatten() {
            self.add(child);
        }
    }
}

struct Explained {
    connection: PgConnection,
    plans: Plans,
    report: String,
    faults: Vec<String>,
}

/// Runs the call several times, each time undone, and judges the plan of the last time.
macro_rules! explain {
    ($explained:ident, $name:literal, at most $rows:literal rows, |$connection:ident| $call:expr) => {
        for run in 1..=RUNS {
            let mut transaction = $explained.connection.begin().await.expect("a transaction");
            $explained.plans.take();
            {
                let $connection = &mut *transaction;
                $call.await.expect($name);
            }
            let plans = $explained.plans.take();
            transaction.rollback().await.expect("it can be undone");
            if run == RUNS {
                $explained.judge($name, f64::from($rows), &plans);
            }
        }
    };
}

#[path = "query_plan/artifacts.rs"]
mod artifacts;
#[path = "query_plan/references.rs"]
mod references;

impl Explained {
    /// A connection on which every statement is explained.
    async fn connect(database: &TestDatabase) -> Self {
        let plans = Plans::keep();
        let options = db::connect_options(database.url(), "attune-test").expect("a URL");
        let mut connection = PgConnection::connect_with(&options).await.expect("a connection");
        run(
            &mut connection,
            "load 'auto_explain';
             set auto_explain.log_min_duration = 0;
             set auto_explain.log_format = json;
             set auto_explain.log_analyze = on;
             set auto_explain.log_timing = off;
             set client_min_messages = log",
        )
        .await;
        Self { connection, plans, report: String::new(), faults: Vec::new() }
    }

    fn judge(&mut self, name: &str, most_rows: f64, plans: &[Value]) {
        let mut access = Access::default();
        for plan in plans {
            access.add(&plan["Plan"]);
        }
        assert!(!plans.is_empty(), "{name}: no plan was reported");
        self.report.push_str(&format!("{name}\n"));
        for index in &access.indexes {
            self.report.push_str(&format!("    {index}\n"));
        }
        if !access.whole.is_empty() {
            self.faults.push(format!("{name}: reads a whole table: {}", access.whole.join(", ")));
        }
        if access.rows > most_rows {
            self.faults.push(format!("{name}: reads {} rows, not {most_rows} at most", access.rows));
        }
    }
}

fn decision(event: i64) -> Decision {
    Decision {
        event,
        rule: 1,
        rule_ref: "load.rule_1".to_owned(),
        trigger_ref: "load.trigger_1".to_owned(),
        config: json!({}).into(),
        parameters: json!({}),
        keyed: None,
        condition: ConditionMode::All,
        conditions: json!([]).into(),
        mode: RuleMode::Active,
        retry: None,
        outcome: DecisionOutcome::Execute { action: 1, action_ref: "load.action_1".to_owned() },
        trace_id: None,
    }
}

fn completion(execution: i64) -> Completion {
    Completion {
        execution,
        attempt: 1,
        status: ExecutionStatus::Completed,
        exit_code: Some(0),
        signal: None,
        result: None,
        error: None,
        stdout_bytes: 0,
        stderr_bytes: 0,
    }
}

#[tokio::test]
async fn test_hot_statements_read_what_they_need() {
    let database = TestDatabase::create().await;
    fill(&mut database.pool().acquire().await.unwrap()).await;
    let mut explained = Explained::connect(&database).await;

    explained.events().await;
    explained.enforcements().await;
    explained.executions().await;
    explained.changes().await;
    explained.windows().await;
    explained.retention().await;
    explained.references().await;
    // A new server under load has none of what has just been filled.
    explained.report.push_str("-- before there are statistics\n");
    run(
        &mut explained.connection,
        "delete from pg_statistic
         where starelid in (select oid from pg_class where relnamespace = 'attune'::regnamespace);
         discard plans",
    )
    .await;
    explained.references().await;
    assert!(explained.faults.is_empty(), "\n{}\n", explained.faults.join("\n"));
    insta::assert_snapshot!(explained.report);
}

/// A hundred thousand executions wait behind a policy in a hundred lanes, and one of each lane runs.
async fn fill_with_waiting(connection: &mut PgConnection) {
    run(
        connection,
        "set session_replication_role = replica;
         insert into attune.action (id, ref, runtime_ref, entrypoint)
         overriding system value values (1, 'load.limited', 'load.shell', 'run.sh');
         insert into attune.policy (id, ref, action_ref, concurrency, parameters)
         overriding system value values (1, 'load.policy', 'load.limited', 1, '{host}');
         insert into attune.admission_lane (id, action_ref, shape, fingerprint, parts, priority)
         overriding system value
         select n, 'load.limited', '1:{host}', n, jsonb_build_array(jsonb_build_object('policy', 1, 'key', n::text)), 0
         from generate_series(1, 100) n;
         insert into attune.enforcement (rule_ref, trigger_ref, condition)
         select 'load.rule', 'load.trigger', 'all' from generate_series(1, 5000);
         insert into attune.execution (id, action, action_ref, status, attempt, started, config)
         overriding system value
         select n, 1, 'load.limited', case when n <= 100 then 'running' else 'requested' end::attune.execution_status,
                case when n <= 100 then 1 else 0 end, case when n <= 100 then clock_timestamp() end,
                jsonb_build_object('host', n % 100)
         from generate_series(1, 100100) n;
         insert into attune.admission (execution, lane, admitted)
         select n, 1 + (n - 1) % 100, case when n <= 100 then clock_timestamp() end from generate_series(1, 100100) n;
         select setval(pg_get_serial_sequence('attune.execution', 'id'), 2000000)",
    )
    .await;
}

/// A history of which everything has ended.
async fn fill_with_history(connection: &mut PgConnection) {
    run(
        connection,
        "set session_replication_role = replica;
         insert into attune.event (batch, trigger_ref, payload, created)
         select 1 + (n - 1) / 500 * 500, 'load.trigger', '{\"n\": 1}', timestamptz '2024-01-01T00:00:00Z' + n * interval '1 ms'
         from generate_series(1, 200000) n;
         insert into attune.event_batch (first_event, last_event, events, matched, rule_set_version)
         select n, n + 499, 500, timestamptz '2024-01-01T00:00:00Z', 1 from generate_series(1, 199501, 500) n;
         insert into attune.enforcement (rule_ref, trigger_ref, event, status, condition, created)
         select 'load.rule', 'load.trigger', n, 'processed', 'all', timestamptz '2024-01-01T00:00:00Z' + n * interval '1 ms'
         from generate_series(1, 200000) n;
         insert into attune.execution (action_ref, enforcement, status, native, worker_name, attempt, started, finished, created)
         select 'load.noop', n, 'completed', true, 'load', 1, timestamptz '2024-01-01T00:00:00Z', timestamptz '2024-01-01T01:00:00Z',
                timestamptz '2024-01-01T00:00:00Z' + n * interval '1 ms'
         from generate_series(1, 200000) n;",
    )
    .await;
}

#[tokio::test]
async fn test_what_is_removed_is_found_without_reading_what_stays() {
    let database = TestDatabase::create().await;
    fill_with_history(&mut database.pool().acquire().await.unwrap()).await;
    run(&mut database.pool().acquire().await.unwrap(), "vacuum analyze").await;
    let mut explained = Explained::connect(&database).await;
    explained.retention().await;
    assert!(explained.faults.is_empty(), "\n{}\n", explained.faults.join("\n"));
}

/// A hundred thousand executions wait, each in a lane of its own, for a policy that lets ten run at once.
async fn fill_with_lanes(connection: &mut PgConnection) {
    run(
        connection,
        "set session_replication_role = replica;
         insert into attune.action (id, ref, runtime_ref, entrypoint)
         overriding system value values (1, 'load.limited', 'load.shell', 'run.sh');
         insert into attune.policy (id, ref, action_ref, concurrency, parameters)
         overriding system value values (1, 'load.policy', 'load.limited', 1, '{host}'), (2, 'load.all', 'load.limited', 10, '{}');
         insert into attune.admission_lane (id, action_ref, shape, fingerprint, parts, priority)
         overriding system value
         select n, 'load.limited', '1:{host} 2:{}', n,
                jsonb_build_array(jsonb_build_object('policy', 1, 'key', n::text), jsonb_build_object('policy', 2, 'key', '')), 0
         from generate_series(1, 100000) n;
         insert into attune.execution (id, action, action_ref, status, config)
         overriding system value
         select n, 1, 'load.limited', 'requested', jsonb_build_object('host', n) from generate_series(1, 100000) n;
         insert into attune.admission (execution, lane) select n, n from generate_series(1, 100000) n;",
    )
    .await;
}

#[tokio::test]
async fn test_of_many_lanes_only_the_first_are_read() {
    let database = TestDatabase::create().await;
    fill_with_lanes(&mut database.pool().acquire().await.unwrap()).await;
    run(&mut database.pool().acquire().await.unwrap(), "vacuum analyze").await;
    let mut explained = Explained::connect(&database).await;
    explain!(explained, "admission actions", at most 20 rows, |c| AdmissionRepository::actions(c));
    let asked = [AskedAction { action_ref: "load.limited".to_owned(), refuses: false }];
    let taken: Vec<LanePart> = (1..=10).map(|n| LanePart { policy: 1, key: n.to_string() }).collect();
    // Each with the parts of what it is under.
    explain!(explained, "admission lanes", at most 2000 rows, |c| {
        AdmissionRepository::lanes(c, &asked, &taken, 501)
    });
    let lanes: Vec<i64> = (11..=510).collect();
    let one = vec![1; 500];
    explain!(explained, "admission heads", at most 1000 rows, |c| AdmissionRepository::heads(c, &lanes, &one));
    assert!(explained.faults.is_empty(), "\n{}\n", explained.faults.join("\n"));
    insta::assert_snapshot!(explained.report);
}

#[tokio::test]
async fn test_what_waits_for_a_policy_is_not_read() {
    let database = TestDatabase::create().await;
    fill_with_waiting(&mut database.pool().acquire().await.unwrap()).await;
    let mut explained = Explained::connect(&database).await;
    // As on a server that has just got all of them: its planner knows nothing of what is in the tables.
    explain!(explained, "admission has_news, nothing analyzed", at most 200 rows, |c| {
        AdmissionRepository::has_news(c)
    });
    explain!(explained, "admission release, nothing analyzed", at most 400 rows, |c| {
        AdmissionRepository::release(c)
    });
    run(&mut database.pool().acquire().await.unwrap(), "vacuum analyze").await;
    explain!(explained, "admission has_news", at most 200 rows, |c| AdmissionRepository::has_news(c));
    explain!(explained, "admission release", at most 300 rows, |c| AdmissionRepository::release(c));
    explain!(explained, "admission sort", at most 10 rows, |c| AdmissionRepository::sort(c, 1000));
    explain!(explained, "admission is_incomplete", at most 10 rows, |c| AdmissionRepository::is_incomplete(c));
    explain!(explained, "admission actions", at most 300 rows, |c| AdmissionRepository::actions(c));
    let asked = [AskedAction { action_ref: "load.limited".to_owned(), refuses: false }];
    let taken: Vec<LanePart> = (1..=100).map(|n| LanePart { policy: 1, key: n.to_string() }).collect();
    explain!(explained, "admission lanes, none has room", at most 600 rows, |c| {
        AdmissionRepository::lanes(c, &asked, &taken, 501)
    });
    explain!(explained, "admission uses", at most 100 rows, |c| AdmissionRepository::uses(c));
    let lanes: Vec<i64> = (1..=100).collect();
    let one = vec![1; 100];
    explain!(explained, "admission heads", at most 200 rows, |c| AdmissionRepository::heads(c, &lanes, &one));
    let admitted: Vec<Admittance> =
        (101..=200).map(|n| Admittance { execution: n, lane: n - 100, counted_for: None }).collect();
    explain!(explained, "admission admit", at most 400 rows, |c| AdmissionRepository::admit(c, &admitted));
    let fresh = vec![NewExecution::of(Some(1), "load.limited", json!({"host": 1})); 100];
    explain!(explained, "execution create_many, limited", at most 500 rows, |c| {
        ExecutionRepository::create_many(c, &fresh)
    });
    explain!(explained, "execution claim, while others wait", at most 10 rows, |c| {
        ExecutionRepository::claim(c, 1, "first", 16)
    });
    assert!(explained.faults.is_empty(), "\n{}\n", explained.faults.join("\n"));
    insta::assert_snapshot!(explained.report);
}

const PAGE: i64 = 50;
/// A trigger (and a rule and an action) that one event in two thousand belongs to.
const RARE: i64 = 77;
/// A few hours after the first event.
const LONG_AGO: &str = "2024-01-01T06:00:00Z";
/// In the middle of the table.
const MIDDLE: Option<i64> = Some(500_000);

impl Explained {
    async fn events(&mut self) {
        let new = |dedup_key: Option<&str>| NewEvent {
            trigger: Some(1),
            trigger_ref: "load.trigger_1".to_owned(),
            dedup_key: dedup_key.map(str::to_owned),
            ..NewEvent::default()
        };
        let fresh = vec![new(None); 100];
        let known = vec![new(Some("delivery-400000")); 100];
        explain!(self, "event append", at most 300 rows, |c| EventRepository::append(c, &fresh));
        explain!(self, "event append, known delivery", at most 500 rows, |c| EventRepository::append(c, &known));
        explain!(self, "event take_waiting", at most 400 rows, |c| EventRepository::take_waiting(c, 100));
        let waiting: Vec<i64> = (999_801..=999_900).collect();
        explain!(self, "event mark_matched", at most 200 rows, |c| EventRepository::mark_matched(c, &waiting, 2, Utc::now()));
        explain!(self, "event count_waiting", at most 400 rows, |c| EventRepository::count_waiting(c));
        explain!(self, "event find_by_id", at most 1 rows, |c| EventRepository::find_by_id(c, 500_000));
        explain!(self, "event list", at most 1000 rows, |c| EventRepository::list(c));
        explain!(self, "event list_by_trigger", at most 2000 rows, |c| EventRepository::list_by_trigger(c, 1));
        explain!(self, "event list_by_trigger_ref", at most 2000 rows, |c| {
            EventRepository::list_by_trigger_ref(c, "load.trigger_1")
        });
        let all = EventFilter { before: MIDDLE, limit: PAGE, ..EventFilter::default() };
        explain!(self, "event search", at most 50 rows, |c| EventRepository::search(c, &all));
        let rare = EventFilter { trigger_ref: Some(format!("load.trigger_{RARE}")), ..all };
        explain!(self, "event search, by trigger", at most 50 rows, |c| EventRepository::search(c, &rare));
        self.recorded_events().await;
    }

    async fn recorded_events(&mut self) {
        let time = |second: i64| chrono::DateTime::from_timestamp(1_704_067_200 + second, 0).expect("a time");
        let (since, until) = (time(400_000), time(500_000));
        explain!(self, "event ids_between", at most 200 rows, |c| {
            EventRepository::ids_between(c, since, time(400_100))
        });
        let rare = RecordedFilter {
            trigger_ref: format!("load.trigger_{RARE}"),
            since,
            until,
            ids: IdRange { first: 400_000, last: 499_999 },
        };
        let (batches, _received) = mpsc::channel(RUNS + 1);
        explain!(self, "event read_recorded", at most 200 rows, |c| {
            EventRepository::read_recorded(c, &rare, RecordedParts::default(), &batches)
        });
        explain!(self, "event replayable", at most 50 rows, |c| EventRepository::replayable(c, &rare, PAGE));
        explain!(self, "event count_replayable", at most 200 rows, |c| {
            EventRepository::count_replayable(c, &rare)
        });
        let ids: Vec<i64> = (400_000..400_100).collect();
        explain!(self, "event list_by_ids", at most 100 rows, |c| EventRepository::list_by_ids(c, &ids));
    }

    async fn enforcements(&mut self) {
        let fresh: Vec<Decision> = (999_801..=999_900).map(decision).collect();
        let known: Vec<Decision> = (1..=100).map(|n| decision(2 * n)).collect();
        explain!(self, "enforcement record_decisions", at most 300 rows, |c| {
            EnforcementRepository::record_decisions(c, &fresh)
        });
        explain!(self, "enforcement record_new", at most 300 rows, |c| {
            EnforcementRepository::record_new(c, &fresh)
        });
        explain!(self, "enforcement record_decisions, known", at most 300 rows, |c| {
            EnforcementRepository::record_decisions(c, &known)
        });
        explain!(self, "enforcement list_by_rule", at most 2000 rows, |c| EnforcementRepository::list_by_rule(c, 1));
        explain!(self, "enforcement list_by_status", at most 1000 rows, |c| {
            EnforcementRepository::list_by_status(c, EnforcementStatus::Disabled)
        });
        explain!(self, "enforcement list_by_event", at most 3 rows, |c| {
            EnforcementRepository::list_by_event(c, 500_000)
        });
        let filter =
            |rule: Option<i64>, event: Option<i64>, status: Option<EnforcementStatus>| EnforcementFilter {
                rule_ref: rule.map(|rule| format!("load.rule_{rule}")),
                event,
                status,
                before: MIDDLE,
                limit: PAGE,
            };
        let search = filter(None, None, None);
        explain!(self, "enforcement search", at most 50 rows, |c| EnforcementRepository::search(c, &search));
        let search = filter(Some(RARE), None, None);
        explain!(self, "enforcement search, by rule", at most 50 rows, |c| {
            EnforcementRepository::search(c, &search)
        });
        let search = filter(None, Some(400_000), None);
        explain!(self, "enforcement search, by event", at most 3 rows, |c| {
            EnforcementRepository::search(c, &search)
        });
        let search = filter(None, None, Some(EnforcementStatus::Disabled));
        explain!(self, "enforcement search, by status", at most 50 rows, |c| {
            EnforcementRepository::search(c, &search)
        });
    }

    async fn executions(&mut self) {
        let fresh = vec![NewExecution::of(Some(1), "load.action_1", json!({})); 100];
        explain!(self, "execution create_many", at most 500 rows, |c| ExecutionRepository::create_many(c, &fresh));
        explain!(self, "execution claim", at most 100 rows, |c| ExecutionRepository::claim(c, 1, "first", 16));
        explain!(self, "execution list_held", at most 200 rows, |c| ExecutionRepository::list_held(c, 1));
        explain!(self, "execution list_canceling", at most 20 rows, |c| ExecutionRepository::list_canceling(c, 1, 0));
        let ended: Vec<Completion> = (999_301..=999_500).step_by(20).map(|n| completion(n + 8)).collect();
        explain!(self, "execution complete", at most 200 rows, |c| ExecutionRepository::complete(c, 10, &ended));
        let well: Vec<Completion> = ended
            .iter()
            .map(|end| Completion { status: ExecutionStatus::Completed, error: None, ..end.clone() })
            .collect();
        let offer = Offer { instance: "first".to_owned(), offered: 1 };
        explain!(self, "execution complete_well", at most 200 rows, |c| {
            ExecutionRepository::complete_well(c, 10, &well, &offer)
        });
        explain!(self, "execution list_assigned", at most 200 rows, |c| {
            ExecutionRepository::list_assigned(c, 10, "first", 999_400)
        });
        explain!(self, "execution rescue", at most 2000 rows, |c| ExecutionRepository::rescue(c, 100));
        explain!(self, "execution release_due", at most 50 rows, |c| ExecutionRepository::release_due(c, 100));
        explain!(self, "execution set_aside", at most 1000 rows, |c| ExecutionRepository::set_aside(c, 100));
        explain!(self, "execution bring_back", at most 200 rows, |c| ExecutionRepository::bring_back(c, 100));
        explain!(self, "placement observe", at most 10 rows, |c| PlacementRepository::observe(c));
        explain!(self, "execution mark_unschedulable", at most 500 rows, |c| {
            ExecutionRepository::mark_unschedulable(c, Duration::ZERO, 100)
        });
        explain!(self, "execution cancel", at most 20 rows, |c| ExecutionRepository::cancel(c, 999_700));
        explain!(self, "execution find_by_id", at most 24 rows, |c| ExecutionRepository::find_by_id(c, 500_000));
        explain!(self, "execution list", at most 5000 rows, |c| ExecutionRepository::list(c));
        explain!(self, "execution count_unfinished", at most 800 rows, |c| ExecutionRepository::count_unfinished(c));
        let all = ExecutionFilter { before: MIDDLE, limit: PAGE, ..ExecutionFilter::default() };
        explain!(self, "execution search", at most 250 rows, |c| ExecutionRepository::search(c, &all));
        let search = ExecutionFilter { action_ref: Some(format!("load.action_{RARE}")), ..all.clone() };
        explain!(self, "execution search, by action", at most 250 rows, |c| {
            ExecutionRepository::search(c, &search)
        });
        let failed = ExecutionFilter { status: Some(ExecutionStatus::Failed), ..all.clone() };
        explain!(self, "execution search, failed", at most 250 rows, |c| ExecutionRepository::search(c, &failed));
        let none = ExecutionFilter { status: Some(ExecutionStatus::Abandoned), ..all.clone() };
        explain!(self, "execution search, none", at most 250 rows, |c| ExecutionRepository::search(c, &none));
        let completed = ExecutionFilter { status: Some(ExecutionStatus::Completed), ..all };
        explain!(self, "execution search, completed", at most 250 rows, |c| {
            ExecutionRepository::search(c, &completed)
        });
        explain!(self, "execution attempts", at most 1 rows, |c| ExecutionRepository::attempts(c, 500_000));
        explain!(self, "execution_output list", at most 3 rows, |c| {
            ExecutionOutputRepository::list(c, 500_000, 1, 0, 100)
        });
    }

    async fn windows(&mut self) {
        let keys: Vec<WindowKey> =
            (1..=100).map(|n| WindowKey { rule: 1 + n % 10, key: format!("web-{}", n / 10) }).collect();
        explain!(self, "window lock", at most 300 rows, |c| WindowRepository::lock(c, &keys));
        let new: Vec<WindowKey> =
            (1..=100).map(|n| WindowKey { rule: RARE, key: format!("new-{n}") }).collect();
        explain!(self, "window lock, new", at most 400 rows, |c| WindowRepository::lock(c, &new));
        let states: Vec<WindowState> = keys
            .iter()
            .map(|key| WindowState {
                rule: key.rule,
                key: key.key.clone(),
                definition: String::new(),
                state: json!({}),
                wake: chrono::DateTime::UNIX_EPOCH,
            })
            .collect();
        explain!(self, "window store", at most 200 rows, |c| WindowRepository::store(c, &states));
        explain!(self, "window remove", at most 200 rows, |c| WindowRepository::remove(c, &keys));
        explain!(self, "window is_due", at most 1 rows, |c| WindowRepository::is_due(c));
        explain!(self, "window horizon", at most 2 rows, |c| WindowRepository::horizon(c));
        let now = chrono::Utc::now();
        explain!(self, "window take_due", at most 500 rows, |c| WindowRepository::take_due(c, now, 100));
        explain!(self, "window list_by_rule", at most 400 rows, |c| WindowRepository::list_by_rule(c, 1));
        explain!(self, "window outcomes_of_event", at most 2 rows, |c| {
            WindowRepository::outcomes_of_event(c, 500_000)
        });
        let enforcements = [500_000, 500_001];
        explain!(self, "enforcement contributing_events", at most 10 rows, |c| {
            EnforcementRepository::contributing_events(c, &enforcements)
        });
        let link = [ContributingEvents { rule: 1, event: 500_000, contributing: vec![1, 2, 3] }];
        explain!(self, "enforcement link_events", at most 12 rows, |c| {
            EnforcementRepository::link_events(c, &link)
        });
    }

    async fn retention(&mut self) {
        let old = LONG_AGO.parse().expect("a time");
        explain!(self, "execution expire", at most 1300 rows, |c| ExecutionRepository::expire(c, old, 100));
        explain!(self, "enforcement expire", at most 1000 rows, |c| EnforcementRepository::expire(c, old, 100));
        explain!(self, "event expire", at most 1000 rows, |c| EventRepository::expire(c, old, 100));
        explain!(self, "event expire_batches", at most 1000 rows, |c| {
            EventRepository::expire_batches(c, old, 100)
        });
    }

    async fn changes(&mut self) {
        let old = LONG_AGO.parse().expect("a time");
        let middle = ChangeCursor { xid: 150, id: 0 };
        explain!(self, "change after", at most 201 rows, |c| ChangeRepository::after(c, middle, 200));
        explain!(self, "change of_entity", at most 1000 rows, |c| ChangeRepository::of_entity(c, "execution", 500_000));
        let end = ChangeCursor { xid: 303, id: 0 };
        explain!(self, "change expire, unread", at most 10 rows, |c| ChangeRepository::expire(c, old, 100));
        explain!(self, "change is_withholding", at most 5000 rows, |c| ChangeRepository::is_withholding(c, end));
    }
}
