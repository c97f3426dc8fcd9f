//! `attune-bench load`: drives the public API of a server with real requests.
//!
//! Without `--url` it starts a server of its own (`attune up` with durable commits, in a temporary directory) and removes
//! it afterwards. Compare figures of one run with each other; machines differ.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use attune_client::Client;
use attune_client::types::LoginRequest;
use clap::Args;

use crate::{load, report, server};

/// What is measured, and of which server.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Server to measure; without it, one is started and removed again
    #[arg(long, requires = "password_file")]
    url: Option<String>,
    /// Login at the server given by --url
    #[arg(long, default_value = "admin")]
    username: String,
    /// File with the password at the server given by --url
    #[arg(long)]
    password_file: Option<PathBuf>,
    /// The attune binary to start; default: the one beside this program
    #[arg(long, conflicts_with = "url")]
    binary: Option<PathBuf>,
    /// Seconds of each load phase
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Connections that send webhooks at the same time
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Webhooks a second while latency is measured
    #[arg(long, default_value_t = 100)]
    rate: u64,
    /// Write the figures as JSON to this file too
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Measures, and prints a table and JSON.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let (client, server) = match (&arguments.url, &arguments.password_file) {
        (Some(url), Some(file)) => {
            let password = std::fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
            (sign_in(url, &arguments.username, password.trim()).await?, None)
        }
        _ => {
            let server = server::Server::start(arguments.binary.as_deref()).await?;
            (sign_in(&server.url, "admin", &server.password).await?, Some(server))
        }
    };
    let duration = Duration::from_secs(arguments.seconds);
    let outcome = measure(&client, &arguments, duration, server.as_ref()).await;
    if let Some(server) = server {
        server.stop().await?;
    }
    let figures = outcome?;
    report::print(&figures)?;
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_vec_pretty(&figures)?)
            .with_context(|| format!("{}", path.display()))?;
    }
    Ok(())
}

async fn sign_in(url: &str, login: &str, password: &str) -> anyhow::Result<Client> {
    let client = Client::new(url, None)?;
    let request = LoginRequest {
        login: login.to_owned(),
        password: password.to_owned(),
        token_name: Some("bench".to_owned()),
    };
    let answer = client.login(&request).await.context("cannot sign in")?;
    Ok(client.with_token(answer.token))
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
        native_start: native,
        shell_start: shell,
    })
}
