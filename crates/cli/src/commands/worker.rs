//! `attune worker`.

use clap::Subcommand;

use crate::exit::Exit;
use crate::output::{Columns, age, list, or_dash, yes_no};
use crate::paging::{OptionalLimit, select};
use crate::session::Options;

#[derive(Debug, Subcommand)]
pub(crate) enum WorkerCommand {
    /// List the workers
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        limit: OptionalLimit,
    },
}

pub(crate) async fn run(command: WorkerCommand, options: &Options) -> anyhow::Result<Exit> {
    let WorkerCommand::List { limit } = command;
    let session = options.session()?;
    let workers = select(session.client.workers().await?, limit, |_| true);
    let columns = Columns {
        noun: "workers",
        header: &["NAME", "HOST", "STATUS", "ALIVE", "SLOTS", "CORDONED", "HEARTBEAT"],
        row: &|worker: &attune_client::types::WorkerView| {
            vec![
                worker.name.clone(),
                or_dash(worker.host.as_ref()),
                worker.status.clone(),
                yes_no(worker.alive),
                worker.slots.to_string(),
                yes_no(worker.cordoned),
                or_dash(worker.heartbeat.map(|at| format!("{} ago", age(session.now(), at)))),
            ]
        },
        name: &|worker| worker.name.clone(),
    };
    list(session.format, &workers, &columns)?;
    Ok(Exit::Ok)
}
