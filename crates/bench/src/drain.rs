//! Executions that wait already, claimed and ended by one worker: what other job queues measure of themselves.

use std::time::Duration;

use anyhow::Context;
use attune_client::Client;
use clap::Args;
use serde::Serialize;

use crate::machine::Machine;
use crate::progress::{Count, Progress};
use crate::report::{Throughput, mb, rate, row};
use crate::server::{SLOTS, Server};
use crate::target::{OwnTarget, Session};
use crate::{definitions, load};

/// Executions that wait in each turn: some five seconds of work.
pub(crate) const WAITING: u64 = 200_000;

/// How many turns, and of how much.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: OwnTarget,
    /// Executions that wait in each turn
    #[arg(long, default_value_t = WAITING)]
    waiting: u64,
    /// Turns
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Figures {
    machine: Machine,
    turns: Vec<Throughput>,
    /// Processor time of the attune process for an execution, in microseconds, of each turn.
    processor_us: Vec<f64>,
    highest_memory_kib: Option<u64>,
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
    let machine = Machine::look(Some(&server.database_url()?)).await?;
    definitions::install(&session.client).await?;
    let (mut turns, mut processor_us) = (Vec::new(), Vec::new());
    for turn in 1..=arguments.rounds {
        eprintln!("turn {turn} of {}", arguments.rounds);
        let queue = Queue::fill(session, arguments.waiting).await?;
        let before = server.processor_seconds();
        let throughput = queue.drain().await?;
        processor_us.push((server.processor_seconds() - before) * 1e6 / throughput.count as f64);
        turns.push(throughput);
    }
    Ok(Figures { machine, turns, processor_us, highest_memory_kib: server.highest_resident_kib() })
}

/// How many executions a second are claimed and ended that wait already: of a native no-op, by the server's one worker.
pub(crate) async fn drain(session: &Session, executions: u64) -> anyhow::Result<Throughput> {
    Queue::fill(session, executions).await?.drain().await
}

/// Executions that wait for the worker, which is given nothing.
#[derive(Debug)]
struct Queue<'a> {
    client: &'a Client,
    worker: String,
    executions: u64,
}

impl<'a> Queue<'a> {
    /// Lets executions gather.
    async fn fill(session: &'a Session, executions: u64) -> anyhow::Result<Self> {
        let client = &session.client;
        let workers = client.workers().await?.items;
        let mut alive = workers.into_iter().filter(|worker| worker.alive && !worker.cordoned);
        let worker = alive.next().context("the server has no worker")?.name;
        anyhow::ensure!(alive.next().is_none(), "the server has several workers, and one is measured");
        client.cordon(&worker).await?;
        match load::decide(session, executions).await {
            Ok(executions) => Ok(Self { client, worker, executions }),
            Err(error) => {
                client.uncordon(&worker).await?;
                Err(error)
            }
        }
    }

    /// Gives the worker work again, and waits until all of it has ended.
    async fn drain(self) -> anyhow::Result<Throughput> {
        let progress = Progress::begin(self.client, Count::Finished).await;
        self.client.uncordon(&self.worker).await?;
        let progress = progress?;
        progress.add_sent(self.executions);
        let elapsed = progress.drained(Duration::from_secs(30 + self.executions / 1000)).await?;
        Ok(Throughput::new(self.executions, elapsed, None))
    }
}

fn print(figures: &Figures) -> anyhow::Result<()> {
    println!("{}\n", figures.machine);
    for (turn, used) in figures.turns.iter().zip(&figures.processor_us) {
        let figure = format!("{} ({used:.1} us of attune for each)", rate(turn.per_second));
        row(&format!("{} no-ops that waited already, ended", turn.count), &figure);
    }
    if let Some(highest) = figures.highest_memory_kib {
        row("memory of the attune process at most", &format!("{:>10.1} MB", mb(highest)));
    }
    println!("\n{}", serde_json::to_string(figures)?);
    Ok(())
}
