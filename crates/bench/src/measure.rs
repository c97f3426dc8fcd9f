//! `attune-bench load`: drives the public API of a server with real requests.
//!
//! Without `--url` it starts a server of its own (`attune up` with durable commits, in a temporary directory) and removes
//! it afterwards. Compare figures of one run with each other; machines differ.

use std::time::Duration;

use attune_client::Client;
use clap::Args;

use crate::target::Target;
use crate::{ceiling, load, report, server};

/// What is measured, and of which server.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: Target,
    /// Seconds of each load phase
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Connections that send webhooks at the same time
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Senders of batches at the same time
    #[arg(long, default_value_t = 4)]
    senders: usize,
    /// Webhooks a second while latency is measured
    #[arg(long, default_value_t = 100)]
    rate: u64,
}

/// Measures, and prints a table and JSON.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let (client, server) = arguments.target.connect().await?;
    let duration = Duration::from_secs(arguments.seconds);
    let outcome = measure(&client, &arguments, duration, server.as_ref()).await;
    if let Some(server) = server {
        server.stop().await?;
    }
    let figures = outcome?;
    report::print(&figures)?;
    arguments.target.keep(&figures)
}

async fn measure(
    client: &Client,
    arguments: &Arguments,
    duration: Duration,
    server: Option<&server::Server>,
) -> anyhow::Result<report::Figures> {
    let idle_memory = server.and_then(server::Server::resident_kib);
    let hooks = load::install(client).await?;
    eprintln!("accepting: {} connections for {} s", arguments.connections, arguments.seconds);
    let accepted = load::accept(client, &hooks.unmatched, arguments.connections, duration).await?;
    eprintln!("carrying through: {} connections for {} s", arguments.connections, arguments.seconds);
    let carried = load::carry(client, &hooks.noop, arguments.connections, duration).await?;
    eprintln!("batches: {} senders for {} s", arguments.senders, arguments.seconds);
    let batches = load::batches(client, arguments.senders, duration).await?;
    let ceiling = match server {
        Some(server) => {
            eprintln!("ceiling: plain SQL in the same cluster for {} s", arguments.seconds);
            Some(ceiling::measure(&server.database_url()?, load::BODY, duration).await?)
        }
        None => None,
    };
    eprintln!("latency: {} webhooks/s for {} s", arguments.rate, arguments.seconds);
    let native = load::latency(client, &hooks.noop, arguments.rate, duration).await?;
    let shell = load::latency(client, &hooks.shell, arguments.rate.min(50), duration).await?;
    Ok(report::Figures {
        ready_ms: server.map(|s| s.ready.as_secs_f64() * 1000.0),
        idle_memory_kib: idle_memory,
        loaded_memory_kib: server.and_then(server::Server::resident_kib),
        connections: arguments.connections,
        seconds: arguments.seconds,
        accepted,
        carried,
        batches,
        ceiling,
        native_start: native,
        shell_start: shell,
    })
}
