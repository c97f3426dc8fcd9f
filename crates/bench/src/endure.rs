//! `attune-bench endure`: whether throughput stays what it was.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::machine::Machine;
use crate::report::{Throughput, mb, rate, row};
use crate::server::{SLOTS, Server};
use crate::target::{OwnTarget, Session};
use crate::{definitions, load};

/// How long.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: OwnTarget,
    /// Seconds of sending
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Senders of batches at the same time
    #[arg(long, default_value_t = 4)]
    senders: usize,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Figures {
    machine: Machine,
    seconds: u64,
    throughput: Throughput,
    /// Finished executions a second in each fifth.
    fifths: Vec<f64>,
    /// The last fifth, as a share of the first.
    ratio: f64,
    target: f64,
    highest_memory_kib: Option<u64>,
    /// Processor time of the attune process for an event, in microseconds.
    processor_us: f64,
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
    let before = server.processor_seconds();
    let duration = Duration::from_secs(arguments.seconds);
    let load::Batches { throughput, fifths } = load::batches(session, arguments.senders, duration).await?;
    let used = server.processor_seconds() - before;
    Ok(Figures {
        machine,
        seconds: arguments.seconds,
        processor_us: used * 1e6 / throughput.count as f64,
        throughput,
        ratio: fifths[4] / fifths[0],
        target: 0.8,
        fifths,
        highest_memory_kib: server.highest_resident_kib(),
    })
}

fn print(figures: &Figures) -> anyhow::Result<()> {
    println!("{}\n", figures.machine);
    row("batches carried to a finished no-op, 1,000 rules", &rate(figures.throughput.per_second));
    for (number, fifth) in ["first", "second", "third", "fourth", "last"].iter().zip(&figures.fifths) {
        row(&format!("  in the {number} fifth of {} s", figures.seconds), &rate(*fifth));
    }
    row("  last to first", &format!("{:>10.2} (wanted: {} or more)", figures.ratio, figures.target));
    row("processor time of attune for an event", &format!("{:>10.1} us", figures.processor_us));
    if let Some(highest) = figures.highest_memory_kib {
        row("memory of the attune process at most", &format!("{:>10.1} MB", mb(highest)));
    }
    println!("\n{}", serde_json::to_string(figures)?);
    Ok(())
}
