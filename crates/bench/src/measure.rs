//! `attune-bench load`: drives the public API of a server with real requests.
//!
//! Without `--url` it starts a server of its own (`attune up` with durable commits, in a temporary directory) and removes
//! it afterwards. Compare figures of one run with each other; machines differ.

use std::time::{Duration, Instant};

use clap::Args;

use crate::machine::Machine;
use crate::target::{Session, Target};
use crate::{ceiling, definitions, drain, load, machine, report, server};

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
    let (session, server) = arguments.target.connect().await?;
    let duration = Duration::from_secs(arguments.seconds);
    let outcome = measure(&session, &arguments, duration, server.as_ref()).await;
    if let Some(server) = server {
        server.stop().await?;
    }
    let figures = outcome?;
    report::print(&figures)?;
    arguments.target.keep(&figures)
}

async fn measure(
    session: &Session,
    arguments: &Arguments,
    duration: Duration,
    server: Option<&server::Server>,
) -> anyhow::Result<report::Figures> {
    let url = server.map(server::Server::database_url).transpose()?;
    let machine = Machine::look(url.as_deref()).await?;
    let idle_memory = server.and_then(server::Server::resident_kib);
    let hooks = definitions::install(&session.client).await?;
    let began = (Instant::now(), machine::processor_seconds(std::process::id()));
    eprintln!("accepting: {} connections for {} s", arguments.connections, arguments.seconds);
    let accepted = load::accept(session, &hooks.unmatched, arguments.connections, duration).await?;
    eprintln!("carrying through: {} connections for {} s", arguments.connections, arguments.seconds);
    let carried = load::carry(session, &hooks.noop, arguments.connections, duration).await?;
    eprintln!("batches: {} senders for {} s", arguments.senders, arguments.seconds);
    let batches = load::batches(session, arguments.senders, duration).await?.throughput;
    let used = machine::processor_seconds(std::process::id()) - began.1;
    let client_share = used / (began.0.elapsed().as_secs_f64() * machine.cores as f64);
    let ceiling = match &url {
        Some(url) => {
            eprintln!(
                "ceiling: plain SQL in the same cluster, three shapes for {} s each",
                arguments.seconds
            );
            Some(ceiling::measure(url, load::BODY, duration).await?)
        }
        None => None,
    };
    eprintln!("latency: {} webhooks/s for {} s", arguments.rate, arguments.seconds);
    let native = load::latency(&session.client, &hooks.noop, arguments.rate, duration).await?;
    let shell = load::latency(&session.client, &hooks.shell, arguments.rate.min(50), duration).await?;
    // The last, since it leaves much to clean up; and only where the one worker is our own to be cordoned.
    let drained = match server {
        Some(_) => {
            eprintln!("draining: {} executions that wait", drain::WAITING);
            Some(drain::drain(session, drain::WAITING).await?)
        }
        None => None,
    };
    Ok(report::Figures {
        machine,
        ready_ms: server.map(|s| s.ready.as_secs_f64() * 1000.0),
        idle_memory_kib: idle_memory,
        loaded_memory_kib: server.and_then(server::Server::resident_kib),
        highest_memory_kib: server.and_then(server::Server::highest_resident_kib),
        connections: arguments.connections,
        seconds: arguments.seconds,
        accepted,
        carried,
        batches,
        drained,
        client_share,
        ceiling,
        native_start: native,
        shell_start: shell,
    })
}
