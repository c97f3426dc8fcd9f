//! `attune-bench python`: how long a trivial Python action takes, from its claim to its end, forked by an interpreter that
//! waits and started the ordinary way; and beside both, what starting `python3` costs on the same machine in the same moments.

use std::process::Stdio;
use std::time::Instant;

use anyhow::Context;
use attune_bench::archive::archive;
use attune_client::Client;
use attune_client::types::{ExecutionDetail, ExecutionRequest};
use clap::Args;
use serde::Serialize;
use serde_json::json;
use tokio::process::Command;

use crate::report::Latency;
use crate::target::Target;

/// How often, and of which server.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: Target,
    /// Runs of each kind, one after the other
    #[arg(long, default_value_t = 200)]
    runs: usize,
}

const SCRIPT: &str = "pass\n";
const ACTION: &str = "from attune import action\n\n@action\ndef greet(name: str) -> dict:\n    return {\"greeting\": \"Hello \" + name}\n\nif __name__ == \"__main__\":\n    greet.run()\n";
const GREETING: &str = "output_format: json\nparameters:\n  name: {type: string, required: true}\n";

#[derive(Debug, Serialize)]
struct Figures {
    /// The process alone: `python3 -c pass`.
    bare: Latency,
    /// From claim to end.
    warm_script: Latency,
    warm_action: Latency,
    cold_script: Latency,
    cold_action: Latency,
}

/// Measures, and prints a table and JSON.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let (session, server) = arguments.target.connect().await?;
    let outcome = measure(&session.client, arguments.runs).await;
    if let Some(server) = server {
        server.stop().await?;
    }
    let figures = outcome?;
    println!("{:<44} {:>8} {:>8} {:>8}", "milliseconds", "median", "p99", "max");
    for (name, latency) in [
        ("`python3 -c pass`, the process alone", &figures.bare),
        ("warm, a script, claim to end", &figures.warm_script),
        ("warm, a function with a result, claim to end", &figures.warm_action),
        ("cold, a script, claim to end", &figures.cold_script),
        ("cold, a function with a result, claim to end", &figures.cold_action),
    ] {
        println!("{name:<44} {:>8.1} {:>8.1} {:>8.1}", latency.p50_ms, latency.p99_ms, latency.max_ms);
    }
    arguments.target.keep(&figures)
}

async fn measure(client: &Client, runs: usize) -> anyhow::Result<Figures> {
    install(client).await?;
    // The first run has its interpreter started for the next ones.
    for action in ["warm_script", "warm_action", "cold_script", "cold_action"] {
        for _ in 0..20 {
            perform(client, action).await?;
        }
    }
    let mut times: [Vec<f64>; 5] = Default::default();
    let [bare, warm_script, warm_action, cold_script, cold_action] = &mut times;
    // In turns, so that whatever else the machine does concerns all of them.
    for _ in 0..runs {
        bare.push(start_python().await?);
        warm_script.push(perform(client, "warm_script").await?);
        warm_action.push(perform(client, "warm_action").await?);
        cold_script.push(perform(client, "cold_script").await?);
        cold_action.push(perform(client, "cold_action").await?);
    }
    let [bare, warm_script, warm_action, cold_script, cold_action] = times.map(Latency::of);
    Ok(Figures { bare, warm_script, warm_action, cold_script, cold_action })
}

async fn install(client: &Client) -> anyhow::Result<()> {
    let action = |name: &str, entrypoint: &str, more: &str| {
        let text =
            format!("ref: bench_python.{name}\nruntime: core.python\nentrypoint: {entrypoint}\n{more}");
        (format!("actions/{name}.yaml"), text)
    };
    let actions = [
        action("warm_script", "script.py", ""),
        action("warm_action", "action.py", GREETING),
        action("cold_script", "script.py", "warm: false\n"),
        action("cold_action", "action.py", &format!("warm: false\n{GREETING}")),
    ];
    let files = [
        ("pack.yaml", "ref: bench_python\nversion: 1.0.0\nlabel: Benchmark of Python\n"),
        ("actions/script.py", SCRIPT),
        ("actions/action.py", ACTION),
    ];
    let actions = actions.iter().map(|(path, text)| (path.as_str(), text.as_str()));
    let archive = archive(&files.into_iter().chain(actions).collect::<Vec<_>>())?;
    client.install_pack(archive, "attune-bench").await.context("the pack cannot be installed")?;
    Ok(())
}

/// From claim to end, in milliseconds, by the clock of the database.
async fn perform(client: &Client, action: &str) -> anyhow::Result<f64> {
    let parameters = if action.ends_with("action") { json!({"name": "Ada"}) } else { json!({}) };
    let request = ExecutionRequest::of(format!("bench_python.{action}"), parameters);
    let id = client.create_execution(&request).await?.id;
    let ExecutionDetail { execution, stderr, .. } = client.wait_for_execution(id, 60).await?;
    anyhow::ensure!(execution.status == "completed", "{action} ended as {}: {stderr}", execution.status);
    let (started, finished) = execution.started.zip(execution.finished).context("it has no times")?;
    Ok((finished - started).num_microseconds().unwrap_or(i64::MAX) as f64 / 1000.0)
}

/// `python3 -c pass`, in milliseconds.
async fn start_python() -> anyhow::Result<f64> {
    let began = Instant::now();
    let status = Command::new("python3").args(["-c", "pass"]).stdin(Stdio::null()).status().await?;
    let took = began.elapsed();
    anyhow::ensure!(status.success(), "python3 ended with {status}");
    Ok(took.as_secs_f64() * 1000.0)
}
