//! `attune-bench peers`: Attune beside other job queues on PostgreSQL.
//!
//! All of them use the same cluster, in databases of their own, and take turns with Attune, so that a ratio is one of
//! neighbours. What is measured of them is the ending of no-op jobs that were added before. The same is measured of Attune:
//! executions of a native no-op that wait already; and besides all of the way from an event in a request to a finished no-op,
//! which is more. What runs a rival is a script of `bench/peers`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use attune_common::db::{self, PoolOptions};
use clap::Args;
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, PgPool};
use tokio::process::Command;
use url::Url;

use crate::machine::Machine;
use crate::report::{Latency, rate};
use crate::server::{SLOTS, Server};
use crate::target::{OwnTarget, Session};
use crate::{definitions, drain, load};

/// Which rivals, and how long.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: OwnTarget,
    /// The directory with the scripts
    #[arg(long, default_value = "bench/peers")]
    scripts: PathBuf,
    /// Rivals to measure [default: all]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Turns of each rival
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Executions that wait before each of Attune's turns
    #[arg(long, default_value_t = drain::WAITING)]
    waiting: u64,
    /// Seconds of events in each of Attune's turns
    #[arg(long, default_value_t = 6)]
    seconds: u64,
    /// Senders of batches at the same time
    #[arg(long, default_value_t = 4)]
    senders: usize,
    /// Seconds that a script may take, without what it installs
    #[arg(long, default_value_t = 180)]
    patience: u64,
}

/// A way to run a rival.
#[derive(Debug, Clone, Copy)]
struct Peer {
    /// The directory of its script.
    script: &'static str,
    mode: &'static str,
    /// How many times its throughput ours is to be; none where it is only stated.
    target: Option<f64>,
}

const PEERS: [Peer; 8] = [
    Peer { script: "graphile-worker", mode: "single", target: Some(5.0) },
    Peer { script: "graphile-worker", mode: "batched", target: None },
    Peer { script: "awa", mode: "single", target: Some(1.2) },
    Peer { script: "pg-boss", mode: "single", target: Some(20.0) },
    Peer { script: "pg-boss", mode: "batched", target: None },
    Peer { script: "procrastinate", mode: "single", target: Some(30.0) },
    Peer { script: "dbos", mode: "python", target: Some(30.0) },
    Peer { script: "dbos", mode: "typescript", target: None },
];

/// What a script says.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Measured {
    name: String,
    version: String,
    jobs: u64,
    seconds: f64,
    jobs_per_second: f64,
    /// How long it took to add the jobs, which does not count.
    adding_seconds: f64,
    /// From the adding of a lone job to its start.
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
}

/// A turn of Attune.
#[derive(Debug, Clone, Copy, Serialize)]
struct Ours {
    /// Executions that waited already, ended a second.
    drained: f64,
    /// Events in batches, carried to a finished execution a second.
    carried: f64,
}

/// A rival beside us.
#[derive(Debug, Serialize)]
struct Pair {
    measured: Measured,
    /// Just before and just after.
    ours: [Ours; 2],
    /// Of what waited already on both sides.
    ratio: f64,
    /// Of all our way from an event to their ending of what waited.
    carried_ratio: f64,
    /// What the first ratio is to be.
    target: Option<f64>,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Figures {
    machine: Machine,
    pairs: Vec<Pair>,
    /// From the sending of a lone webhook to the start of its native action.
    our_start: Latency,
}

/// Measures, and prints a table and JSON.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let unknown = arguments.only.iter().find(|name| PEERS.iter().all(|peer| peer.script != **name));
    anyhow::ensure!(unknown.is_none(), "{} is not one of the rivals", unknown.map_or("", String::as_str));
    let peers: Vec<Peer> = PEERS
        .into_iter()
        .filter(|peer| arguments.only.is_empty() || arguments.only.iter().any(|name| name == peer.script))
        .collect();
    // Installing takes processor time, and needs nothing that is measured.
    for peer in &peers {
        eprintln!("installing {}", peer.script);
        script(&arguments, *peer, "install").stdout(Stdio::null()).status().await.map_or_else(
            |error| Err(error).context(format!("cannot start the script of {}", peer.script)),
            |status| {
                anyhow::ensure!(status.success(), "{} cannot be installed: {status}", peer.script);
                Ok(())
            },
        )?;
    }
    let (session, server) = arguments.target.start(SLOTS).await?;
    let outcome = measure(&arguments, &peers, &session, &server).await;
    server.stop().await?;
    let figures = outcome?;
    print(&figures)?;
    arguments.target.keep(&figures)
}

async fn measure(
    arguments: &Arguments,
    peers: &[Peer],
    session: &Session,
    server: &Server,
) -> anyhow::Result<Figures> {
    let url = server.database_url()?;
    let machine = Machine::look(Some(&url)).await?;
    let admin = db::connect(&url, &PoolOptions { max_connections: 1, ..PoolOptions::default() }).await?;
    let hooks = definitions::install(&session.client).await?;
    let mut pairs = Vec::new();
    for _ in 0..arguments.rounds {
        let mut before = our_turn(arguments, session).await?;
        for peer in peers {
            eprintln!("{}, {}", peer.script, peer.mode);
            let measured = turn(arguments, *peer, &admin, &url).await?;
            let after = our_turn(arguments, session).await?;
            let ours = [before, after];
            pairs.push(Pair {
                ratio: ratio(ours.map(|turn| turn.drained), measured.jobs_per_second),
                carried_ratio: ratio(ours.map(|turn| turn.carried), measured.jobs_per_second),
                measured,
                ours,
                target: peer.target,
            });
            before = after;
        }
    }
    admin.close().await;
    let our_start = load::latency(&session.client, &hooks.noop, 50, Duration::from_secs(4)).await?;
    Ok(Figures { machine, pairs, our_start })
}

async fn our_turn(arguments: &Arguments, session: &Session) -> anyhow::Result<Ours> {
    eprintln!("Attune");
    let duration = Duration::from_secs(arguments.seconds);
    let carried = load::batches(session, arguments.senders, duration).await?.throughput.per_second;
    let drained = drain::drain(session, arguments.waiting).await?.per_second;
    Ok(Ours { drained, carried })
}

fn ratio(ours: [f64; 2], theirs: f64) -> f64 {
    (ours[0] + ours[1]) / 2.0 / theirs
}

/// Runs the script against a database that is made for it and goes with it.
async fn turn(arguments: &Arguments, peer: Peer, admin: &PgPool, url: &str) -> anyhow::Result<Measured> {
    let database = format!("peer_{}", peer.script.replace('-', "_"));
    sqlx::query(AssertSqlSafe(format!("create database {database}"))).execute(admin).await?;
    let outcome = async {
        let limit = Duration::from_secs(arguments.patience);
        let output = script(arguments, peer, &url_for(url, &database)?).stdout(Stdio::piped()).output();
        let output = tokio::time::timeout(limit, output)
            .await
            .with_context(|| format!("{} did not end within {limit:?}", peer.script))??;
        anyhow::ensure!(output.status.success(), "{} failed: {}", peer.script, output.status);
        read(&String::from_utf8_lossy(&output.stdout))
            .with_context(|| format!("{} said nothing", peer.script))
    };
    let outcome = outcome.await;
    sqlx::query(AssertSqlSafe(format!("drop database {database} with (force)"))).execute(admin).await?;
    outcome
}

/// The figures are the last line; libraries may have printed others.
fn read(output: &str) -> anyhow::Result<Measured> {
    let line = output.lines().last().context("there is no output")?;
    serde_json::from_str(line).with_context(|| format!("these are no figures: {line}"))
}

fn script(arguments: &Arguments, peer: Peer, what: &str) -> Command {
    let path: &Path = &arguments.scripts.join(peer.script).join("run");
    let mut command = Command::new(path);
    command.arg(what).arg(peer.mode).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// The same server with another database, in the form that every driver reads.
fn url_for(url: &str, database: &str) -> anyhow::Result<String> {
    let url = Url::parse(url).context("the address of the database cannot be read")?;
    let parameter = |name: &str| {
        let found = url.query_pairs().find(|(key, _)| key == name);
        found
            .map(|(_, value)| value.into_owned())
            .with_context(|| format!("no {name} in the database's address"))
    };
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("host", &parameter("host")?).append_pair("port", &parameter("port")?);
    Ok(format!("postgresql://{}@localhost/{database}?{}", parameter("user")?, query.finish()))
}

fn print(figures: &Figures) -> anyhow::Result<()> {
    println!("{}\n", figures.machine);
    println!(
        "{:<26} {:<8} {:>12} {:>16} {:>22} {:>7} {:>7} {:>22} {:>7}",
        "",
        "version",
        "finished",
        "added to started",
        "Attune, what waited",
        "ratio",
        "wanted",
        "Attune, from events",
        "ratio"
    );
    for pair in &figures.pairs {
        let them = &pair.measured;
        let start = match (them.p50_ms, them.p99_ms) {
            (Some(p50), Some(p99)) => format!("{p50:.1} / {p99:.1} ms"),
            _ => String::new(),
        };
        let both = |[before, after]: [f64; 2]| format!("{before:.0}, {after:.0} /s");
        println!(
            "{:<26} {:<8} {:>12} {start:>16} {:>22} {:>7.2} {:>7} {:>22} {:>7.2}",
            them.name,
            them.version,
            rate(them.jobs_per_second).trim(),
            both(pair.ours.map(|turn| turn.drained)),
            pair.ratio,
            pair.target.map_or_else(String::new, |target| format!("{target}")),
            both(pair.ours.map(|turn| turn.carried)),
            pair.carried_ratio,
        );
    }
    let ours = &figures.our_start;
    println!("Attune, webhook sent to native action started: {:.1} / {:.1} ms", ours.p50_ms, ours.p99_ms);
    println!("\n{}", serde_json::to_string(figures)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_a_ratio_is_one_of_neighbours() {
        assert_eq!(ratio([900.0, 1100.0], 250.0), 4.0);
    }

    #[test]
    fn test_figures_are_the_last_line() {
        let line = r#"{"name": "x", "version": "1", "jobs": 2, "seconds": 0.5, "jobs_per_second": 4, "adding_seconds": 0.1}"#;
        let measured = read(&format!("listening\n{line}\n")).unwrap();
        assert_eq!((measured.jobs, measured.jobs_per_second, measured.p50_ms), (2, 4.0, None));
        assert!(read("").is_err());
        assert!(format!("{:#}", read("done").unwrap_err()).contains("done"));
    }

    #[test]
    fn test_addresses_are_those_of_another_database() {
        let url = "postgres:///attune?host=%2Ftmp%2Fa%20b%2Fsocket&port=5432&user=attune&sslmode=disable";
        assert_eq!(
            url_for(url, "peer_awa").unwrap(),
            "postgresql://attune@localhost/peer_awa?host=%2Ftmp%2Fa+b%2Fsocket&port=5432"
        );
        assert!(url_for("postgres://localhost/attune", "peer_awa").is_err());
    }
}
