//! `attune-bench faults`: the fault harness at length, with a report for people.

use std::path::{Path, PathBuf};

use anyhow::Context;
use attune_bench::faults::{self, Plan, Report};
use chrono::Utc;
use clap::Args;

use crate::server::beside_this_program;

/// How much is to be endured.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Webhooks to deliver
    #[arg(long, default_value_t = 20_000)]
    events: u64,
    /// Webhooks a second at most
    #[arg(long, default_value_t = 40)]
    rate: u64,
    /// Processes to kill, PostgreSQL included
    #[arg(long, default_value_t = 200)]
    kills: u64,
    /// Chooses the faults [default: another one each time]
    #[arg(long)]
    seed: Option<u64>,
    /// The attune binary to start; default: the one beside this program
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Write the report as a page of Markdown to this file too
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// Runs the harness; fails when a promise was broken.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let plan = Plan {
        binary: arguments.binary.map_or_else(beside_this_program, Ok)?,
        events: arguments.events,
        rate: arguments.rate,
        kills: arguments.kills,
        seed: arguments.seed.unwrap_or_else(rand::random),
    };
    eprintln!("{} webhooks and {} kills, seed {}", plan.events, plan.kills, plan.seed);
    let report = faults::run(&plan).await?;
    println!("{report}");
    if let Some(path) = &arguments.report {
        write_page(path, &report).with_context(|| format!("{}", path.display()))?;
    }
    anyhow::ensure!(report.is_clean(), "promises were broken, see above");
    Ok(())
}

fn write_page(path: &Path, report: &Report) -> std::io::Result<()> {
    let page = format!(
        "# Reliability\n\n\
         What became of a stream of webhooks while the system was taken apart: an API, two executors and three workers, each a\n\
         process of its own, against one PostgreSQL with durable commits, all on one machine. Written on {} by\n\n\
         ```sh\n\
         cargo build --release --bin attune --bin attune-bench\n\
         target/release/attune-bench faults --events {} --kills {} --rate {} --report docs/reliability.md\n\
         ```\n\n\
         Whatever was killed was started again at once. Actions wrote down each time they began, in a file of their own; some\n\
         executions were cancelled while they ran. A short run of the same is part of `./scripts/test`. What is promised is in\n\
         [guarantees.md](guarantees.md).\n\n{report}",
        Utc::now().format("%Y-%m-%d"),
        report.plan.events,
        report.plan.kills,
        report.plan.rate,
    );
    std::fs::write(path, page)
}
