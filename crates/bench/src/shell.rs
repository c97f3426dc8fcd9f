//! `attune-bench shell`: actions that are processes of their own.

use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use crate::machine::Machine;
use crate::report::{Throughput, mb, rate, row};
use crate::server::{SLOTS, Server};
use crate::target::{OwnTarget, Session};
use crate::{definitions, load};

/// How long, and how many.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: OwnTarget,
    /// Seconds of starting processes
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Processes that sleep at the same time
    #[arg(long, default_value_t = 200)]
    sleepers: u32,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Figures {
    machine: Machine,
    seconds: u64,
    /// Of `/bin/true`: started and finished.
    throughput: Throughput,
    target_per_second: f64,
    sleepers: u32,
    /// Of the attune process, just before they were started.
    memory_before_kib: u64,
    /// While all of them ran.
    memory_with_kib: u64,
    target_growth_mb: f64,
}

/// Measures, and prints a table and JSON.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let (session, server) = arguments.target.start(SLOTS.max(arguments.sleepers)).await?;
    let outcome = measure(&arguments, &session, &server).await;
    server.stop().await?;
    let figures = outcome?;
    print(&figures)?;
    arguments.target.keep(&figures)
}

async fn measure(arguments: &Arguments, session: &Session, server: &Server) -> anyhow::Result<Figures> {
    let machine = Machine::look(Some(&server.database_url()?)).await?;
    definitions::install(&session.client).await?;
    let throughput = load::processes(session, 4, Duration::from_secs(arguments.seconds)).await?;
    let resident =
        || server.resident_kib().ok_or_else(|| anyhow::anyhow!("the memory of a process is not known here"));
    let memory_before_kib = resident()?;
    let events: Vec<_> =
        (0..arguments.sleepers).map(|_| load::event("bench.sleep", serde_json::json!({}))).collect();
    load::send_all(session, &events).await?;
    let patience = Instant::now() + Duration::from_secs(15);
    loop {
        let query = [("status", "running".to_owned()), ("limit", "1000".to_owned())];
        let running = session.client.executions(&query).await?.items.len();
        if running == arguments.sleepers as usize {
            break;
        }
        anyhow::ensure!(Instant::now() < patience, "only {running} of {} run", arguments.sleepers);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(Figures {
        machine,
        seconds: arguments.seconds,
        throughput,
        target_per_second: 300.0,
        sleepers: arguments.sleepers,
        memory_before_kib,
        memory_with_kib: resident()?,
        target_growth_mb: 100.0,
    })
}

fn print(figures: &Figures) -> anyhow::Result<()> {
    println!("{}\n", figures.machine);
    let wanted =
        format!("{} (wanted: {} or more)", rate(figures.throughput.per_second), figures.target_per_second);
    row("processes (/bin/true) started and finished", &wanted);
    let (before, with) = (mb(figures.memory_before_kib), mb(figures.memory_with_kib));
    row(
        &format!("memory of the attune process, {} processes asleep", figures.sleepers),
        &format!(
            "{with:>10.1} MB, {:.1} MB more than before (wanted: less than {})",
            with - before,
            figures.target_growth_mb
        ),
    );
    println!("\n{}", serde_json::to_string(figures)?);
    Ok(())
}
