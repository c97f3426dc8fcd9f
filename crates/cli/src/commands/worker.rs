//! `attune worker`.

use std::time::Duration;

use attune_client::types::WorkerView;
use attune_client::{Client, ClientError};
use clap::Subcommand;
use tokio::time::Instant;

use crate::exit::Exit;
use crate::input;
use crate::lookup::found;
use crate::output::{Columns, age, confirm, list, or_dash, say, yes_no};
use crate::paging::{OptionalLimit, select};
use crate::session::{Options, Session};
use crate::waiting;

#[derive(Debug, Subcommand)]
pub(crate) enum WorkerCommand {
    /// List the workers
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        limit: OptionalLimit,
    },
    /// Give a worker no more work; what it runs goes on
    Cordon {
        /// Name of the worker
        name: String,
    },
    /// Give a worker no more work, and wait until it runs nothing
    Drain {
        /// Name of the worker
        name: String,
        /// Wait until what it runs has ended
        #[arg(long)]
        wait: bool,
        /// How long to wait at most, as 60s or 5m; the worker stays cordoned [default: without end]
        #[arg(long, requires = "wait", value_parser = input::duration, value_name = "TIME")]
        timeout: Option<Duration>,
    },
    /// Give a worker work again
    Uncordon {
        /// Name of the worker
        name: String,
    },
}

pub(crate) async fn run(command: WorkerCommand, options: &Options) -> anyhow::Result<Exit> {
    let session = options.session()?;
    let client = &session.client;
    match command {
        WorkerCommand::List { limit } => list_workers(&session, limit).await?,
        WorkerCommand::Cordon { name } => {
            let worker = found("worker", &name, client.cordon(&name).await, names(client)).await?;
            let sentence = format!("worker {name} is cordoned: it gets no more work, what it runs goes on");
            confirm(session.format, &worker, &name, sentence)?;
        }
        WorkerCommand::Drain { name, wait, timeout } => {
            let deadline = timeout.map(|timeout| Instant::now() + timeout);
            let mut worker = found("worker", &name, client.cordon(&name).await, names(client)).await?;
            if wait && worker.running > 0 {
                say(format_args!("worker {name} is cordoned; it runs {}", executions(worker.running)));
                worker = waiting::wait_for_worker(client, &name, deadline).await?;
            }
            let sentence = match worker.running {
                0 => format!("worker {name} is drained: it runs nothing, and gets no more work"),
                running => format!(
                    "worker {name} is cordoned: it gets no more work, and runs {} yet",
                    executions(running)
                ),
            };
            confirm(session.format, &worker, &name, sentence)?;
        }
        WorkerCommand::Uncordon { name } => {
            let worker = found("worker", &name, client.uncordon(&name).await, names(client)).await?;
            confirm(session.format, &worker, &name, format_args!("worker {name} gets work again"))?;
        }
    }
    Ok(Exit::Ok)
}

fn executions(number: i64) -> String {
    if number == 1 { "1 execution".to_owned() } else { format!("{number} executions") }
}

async fn names(client: &Client) -> Result<Vec<String>, ClientError> {
    Ok(client.workers().await?.items.into_iter().map(|worker| worker.name).collect())
}

async fn list_workers(session: &Session, limit: OptionalLimit) -> anyhow::Result<()> {
    let workers = select(session.client.workers().await?, limit, |_| true);
    let columns = Columns {
        noun: "workers",
        header: &["NAME", "HOST", "STATUS", "ALIVE", "SLOTS", "RUNNING", "CORDONED", "LABELS", "HEARTBEAT"],
        row: &|worker: &WorkerView| {
            vec![
                worker.name.clone(),
                or_dash(worker.host.as_ref()),
                worker.status.clone(),
                yes_no(worker.alive),
                worker.slots.to_string(),
                worker.running.to_string(),
                yes_no(worker.cordoned),
                described(worker),
                or_dash(worker.heartbeat.map(|at| format!("{} ago", age(session.now(), at)))),
            ]
        },
        name: &|worker| worker.name.clone(),
    };
    list(session.format, &workers, &columns)
}

/// Labels and taints of a worker, as they are given to it.
fn described(worker: &WorkerView) -> String {
    let labels = worker.labels.as_object().into_iter().flatten();
    let labels = labels.map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()));
    let taints = worker.taints.iter().map(|taint| format!("taint {taint}"));
    let all: Vec<_> = labels.chain(taints).collect();
    if all.is_empty() { or_dash(None::<String>) } else { all.join(", ") }
}
