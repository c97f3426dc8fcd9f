//! `attune-bench retention`: how fast a server removes what is old, while it has nothing else to do and beside a full load.
//!
//! A server of our own is filled with a history that is older than what is kept, and removes it as any server does.

use std::time::{Duration, Instant};

use anyhow::Context;
use attune_bench::fill;
use attune_client::Client;
use clap::Args;
use serde::Serialize;

use crate::machine::Machine;
use crate::report::{rate, row};
use crate::server::{SLOTS, Server};
use crate::target::{OwnTarget, Session};
use crate::{definitions, load};

/// How much there is to remove, and how long it is watched.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: OwnTarget,
    /// Events that are old, and as many enforcements and executions
    #[arg(long, default_value_t = 2_000_000)]
    rows: u64,
    /// Gigabytes that they may take
    #[arg(long, default_value_t = 15.0)]
    gigabytes: f64,
    /// Seconds of each part
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Senders of batches at the same time
    #[arg(long, default_value_t = 4)]
    senders: usize,
}

/// Older than anything that is kept unless told otherwise.
const AGE: Duration = Duration::from_secs(40 * 24 * 3600);

/// What goes, in the words of the server's metric.
const KINDS: [&str; 3] = ["event", "enforcement", "execution"];

/// So many of each kind, or so many a second.
#[derive(Debug, Clone, Copy, Serialize)]
struct Removed<T> {
    events: T,
    enforcements: T,
    executions: T,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Figures {
    machine: Machine,
    rows: u64,
    /// What the history took on the disk.
    gigabytes: f64,
    seconds: u64,
    /// Removed a second, while nothing else was done.
    alone: Removed<f64>,
    /// Removed a second, while batches were carried.
    beside: Removed<f64>,
    /// Finished executions a second of these batches.
    carried: f64,
}

/// Measures, and prints a table and JSON.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let (session, server) = arguments.target.start(SLOTS).await?;
    let outcome = measure(&arguments, &session, &server).await;
    server.stop().await?;
    let figures = outcome?;
    print(&figures)?;
    arguments.target.keep(&figures)
}

async fn measure(arguments: &Arguments, session: &Session, server: &Server) -> anyhow::Result<Figures> {
    let url = server.database_url()?;
    let machine = Machine::look(Some(&url)).await?;
    definitions::install(&session.client).await?;
    // The server makes what is copied.
    load::some(session, 2_000).await?;
    eprintln!("preparing");
    let plan = fill::Plan { rows: arguments.rows, gigabytes: arguments.gigabytes, age: AGE };
    let gigabytes = fill::fill(&url, plan).await?.gigabytes;
    let duration = Duration::from_secs(arguments.seconds);

    eprintln!("waiting for the server to begin");
    until_all_are_removed(&session.client).await?;
    eprintln!("alone");
    let watch = Watch::begin(&session.client).await?;
    tokio::time::sleep(duration).await;
    let alone = watch.rates(&session.client, arguments.rows).await?;
    eprintln!("beside batches");
    let watch = Watch::begin(&session.client).await?;
    let carried = load::batches(session, arguments.senders, duration).await?.throughput.per_second;
    let beside = watch.rates(&session.client, arguments.rows).await?;
    Ok(Figures {
        machine,
        rows: arguments.rows,
        gigabytes,
        seconds: arguments.seconds,
        alone,
        beside,
        carried,
    })
}

/// Waits until something of each kind has gone: the server looks once a minute.
async fn until_all_are_removed(client: &Client) -> anyhow::Result<()> {
    let patience = Instant::now() + Duration::from_secs(180);
    loop {
        let Removed { events, enforcements, executions } = removed(client).await?;
        if events > 0 && enforcements > 0 && executions > 0 {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < patience, "the server removes nothing");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// What had been removed when it began.
#[derive(Debug)]
struct Watch {
    began: Instant,
    before: Removed<u64>,
}

impl Watch {
    async fn begin(client: &Client) -> anyhow::Result<Self> {
        let before = removed(client).await?;
        Ok(Self { began: Instant::now(), before })
    }

    /// What was removed a second since then. There must be some of each kind left.
    async fn rates(&self, client: &Client, rows: u64) -> anyhow::Result<Removed<f64>> {
        let now = removed(client).await?;
        let seconds = self.began.elapsed().as_secs_f64();
        let rate = |now: u64, before: u64| -> anyhow::Result<f64> {
            anyhow::ensure!(now < rows, "nothing is left to remove: fill the store with more --rows");
            Ok((now - before) as f64 / seconds)
        };
        Ok(Removed {
            events: rate(now.events, self.before.events)?,
            enforcements: rate(now.enforcements, self.before.enforcements)?,
            executions: rate(now.executions, self.before.executions)?,
        })
    }
}

/// What the server has removed since its start, by its metrics.
async fn removed(client: &Client) -> anyhow::Result<Removed<u64>> {
    let text = client.metrics().await?;
    let [events, enforcements, executions] = KINDS.map(|kind| counted(&text, kind));
    Ok(Removed { events: events?, enforcements: enforcements?, executions: executions? })
}

fn counted(metrics: &str, kind: &str) -> anyhow::Result<u64> {
    let name = format!("attune_expired_total{{kind=\"{kind}\"}} ");
    let value = metrics.lines().find_map(|line| line.strip_prefix(&name));
    value.map_or(Ok(0), |value| value.trim().parse().context("the count of what was removed is no number"))
}

fn print(figures: &Figures) -> anyhow::Result<()> {
    println!("{}\n", figures.machine);
    row(
        &format!("old events, enforcements and executions, {} of each", figures.rows),
        &format!("{:>10.1} GB", figures.gigabytes),
    );
    for (when, removed) in [("alone", figures.alone), ("beside batches", figures.beside)] {
        let Removed { events, enforcements, executions } = removed;
        row(&format!("removed {when}, events"), &rate(events));
        row("  enforcements", &rate(enforcements));
        row("  executions", &rate(executions));
    }
    row("batches carried meanwhile to a finished no-op", &rate(figures.carried));
    println!("\n{}", serde_json::to_string(figures)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_what_was_removed_is_read_by_kind() {
        let metrics = "# TYPE attune_expired_total counter\nattune_expired_total{kind=\"event_batch\"} 7\n\
                       attune_expired_total{kind=\"event\"} 1500\n";
        assert_eq!(counted(metrics, "event").unwrap(), 1500);
        assert_eq!(counted(metrics, "execution").unwrap(), 0);
        assert!(counted("attune_expired_total{kind=\"event\"} x", "event").is_err());
    }
}
