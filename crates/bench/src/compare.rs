//! `attune-bench compare`: what a condition costs.
//!
//! Two servers of our own, one of which is in the condition, take turns on the same machine, so that what else the machine does
//! touches both. Batches are carried as in `attune-bench load`.

use std::time::{Duration, Instant};

use anyhow::Context;
use attune_bench::fill;
use attune_common::db::{self, PoolOptions};
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::json;
use sqlx::PgPool;

use crate::machine::Machine;
use crate::report::{rate, row};
use crate::server::{SLOTS, Server};
use crate::target::{OwnTarget, Session};
use crate::{definitions, load};

/// Which condition, and how long.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: OwnTarget,
    /// The condition
    condition: Condition,
    /// Rows that it is made of [default: 10,000,000 of a history, 100,000 that wait]
    #[arg(long)]
    rows: Option<u64>,
    /// Gigabytes that a history may take
    #[arg(long, default_value_t = 15.0)]
    gigabytes: f64,
    /// Seconds of each turn
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Turns of each server
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Senders of batches at the same time
    #[arg(long, default_value_t = 4)]
    senders: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum Condition {
    /// The store holds a long history: events, enforcements and executions
    History,
    /// Executions wait for a policy, in ten lanes of which each runs one
    Waiting,
    /// A transaction keeps its snapshot open, as a dump does
    Snapshot,
}

impl Condition {
    fn rows(self) -> u64 {
        match self {
            Self::History => 10_000_000,
            Self::Waiting => 100_000,
            Self::Snapshot => 0,
        }
    }

    /// The share of the plain server's throughput that is to be left.
    fn target(self) -> f64 {
        match self {
            Self::History => 0.8,
            Self::Waiting => 0.9,
            Self::Snapshot => 0.6,
        }
    }
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Figures {
    machine: Machine,
    condition: Condition,
    rows: u64,
    /// How long it took to bring the condition about, in seconds.
    preparing: f64,
    /// What a history took on the disk.
    gigabytes: Option<f64>,
    seconds: u64,
    /// Finished executions a second, turn by turn.
    without: Vec<f64>,
    with: Vec<f64>,
    /// Of the means of the turns.
    ratio: f64,
    target: f64,
}

/// Lanes of what waits, each of which has one execution that runs: so many slots more does its worker have.
const LANES: u32 = 10;

/// Measures, and prints a table and JSON.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    anyhow::ensure!(
        arguments.rows.is_none() || arguments.condition != Condition::Snapshot,
        "--rows has no effect on an open snapshot"
    );
    let more = if arguments.condition == Condition::Waiting { LANES } else { 0 };
    let plain = arguments.target.start(SLOTS).await?;
    let conditioned = arguments.target.start(SLOTS + more).await?;
    let outcome = measure(&arguments, &plain, &conditioned).await;
    plain.1.stop().await?;
    conditioned.1.stop().await?;
    let figures = outcome?;
    print(&figures)?;
    arguments.target.keep(&figures)
}

async fn measure(
    arguments: &Arguments,
    plain: &(Session, Server),
    conditioned: &(Session, Server),
) -> anyhow::Result<Figures> {
    let url = conditioned.1.database_url()?;
    let machine = Machine::look(Some(&url)).await?;
    for (session, _) in [plain, conditioned] {
        definitions::install(&session.client).await?;
    }
    let rows = arguments.rows.unwrap_or_else(|| arguments.condition.rows());
    eprintln!("preparing");
    let began = Instant::now();
    let mut gigabytes = None;
    let mut snapshot = None;
    match arguments.condition {
        Condition::History => {
            // The server makes what is copied.
            load::some(&conditioned.0, 2_000).await?;
            let plan = fill::Plan { rows, gigabytes: arguments.gigabytes, age: Duration::ZERO };
            gigabytes = Some(fill::fill(&url, plan).await?.gigabytes);
        }
        Condition::Waiting => wait_for_policy(&conditioned.0, &url, rows).await?,
        Condition::Snapshot => {
            let pool = connect(&url).await?;
            let mut transaction = db::begin(&pool).await?;
            sqlx::query("set transaction isolation level repeatable read").execute(&mut *transaction).await?;
            sqlx::query("select count(*) from attune.event").execute(&mut *transaction).await?;
            snapshot = Some(transaction);
        }
    }
    let preparing = began.elapsed().as_secs_f64();
    let duration = Duration::from_secs(arguments.seconds);
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for round in 1..=arguments.rounds {
        eprintln!("round {round} of {}", arguments.rounds);
        without.push(load::batches(&plain.0, arguments.senders, duration).await?.throughput.per_second);
        with.push(load::batches(&conditioned.0, arguments.senders, duration).await?.throughput.per_second);
    }
    match arguments.condition {
        Condition::History => {}
        Condition::Waiting => {
            let waiting = waiting(&connect(&url).await?).await?;
            anyhow::ensure!(waiting >= i64::try_from(rows)? - i64::from(LANES), "only {waiting} still wait");
        }
        Condition::Snapshot => {
            let transaction = snapshot.context("the snapshot was not opened")?;
            transaction.rollback().await.context("the snapshot was lost")?;
        }
    }
    let ratio = with.iter().sum::<f64>() / without.iter().sum::<f64>();
    Ok(Figures {
        machine,
        condition: arguments.condition,
        rows,
        preparing,
        gigabytes,
        seconds: arguments.seconds,
        without,
        with,
        ratio,
        target: arguments.condition.target(),
    })
}

/// Makes so many executions of which a policy lets one of each lane run, and waits until the policy has seen all.
async fn wait_for_policy(session: &Session, url: &str, rows: u64) -> anyhow::Result<()> {
    let events: Vec<_> = (0..rows)
        .map(|number| load::event("bench.limited", json!({"seconds": 80_000 + number % u64::from(LANES)})))
        .collect();
    load::send_all(session, &events).await?;
    let pool = connect(url).await?;
    let wanted = i64::try_from(rows)? - i64::from(LANES);
    let patience = Instant::now() + Duration::from_secs(600);
    loop {
        let waiting = waiting(&pool).await?;
        if waiting >= wanted {
            break;
        }
        anyhow::ensure!(Instant::now() < patience, "{waiting} of {wanted} wait for the policy");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    pool.close().await;
    Ok(())
}

/// What was sorted into lanes and not let in.
async fn waiting(pool: &PgPool) -> anyhow::Result<i64> {
    let statement = "select count(*) from attune.admission where admitted is null and lane is not null";
    Ok(sqlx::query_scalar(statement).fetch_one(pool).await?)
}

async fn connect(url: &str) -> anyhow::Result<PgPool> {
    Ok(db::connect(url, &PoolOptions { max_connections: 1, ..PoolOptions::default() }).await?)
}

fn print(figures: &Figures) -> anyhow::Result<()> {
    println!("{}\n", figures.machine);
    let condition = match figures.condition {
        Condition::History => format!("{} events, enforcements and executions are there", figures.rows),
        Condition::Waiting => format!("{} executions wait for a policy", figures.rows),
        Condition::Snapshot => "a snapshot is held open".to_owned(),
    };
    row("preparing", &format!("{:>10.0} s", figures.preparing));
    if let Some(gigabytes) = figures.gigabytes {
        row("  on the disk", &format!("{gigabytes:>10.1} GB"));
    }
    for (name, turns) in [("batches, a server beside it", &figures.without), (&condition, &figures.with)] {
        let mean = turns.iter().sum::<f64>() / turns.len() as f64;
        let each: Vec<String> = turns.iter().map(|turn| format!("{turn:.0}")).collect();
        row(name, &format!("{} (turns: {})", rate(mean), each.join(", ")));
    }
    row("  ratio", &format!("{:>10.2} (wanted: {} or more)", figures.ratio, figures.target));
    println!("\n{}", serde_json::to_string(figures)?);
    Ok(())
}
