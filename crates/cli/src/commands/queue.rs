//! `attune queue`.

use attune_client::Client;
use attune_client::types::{QueueItemView, QueuePush, QueueRetry, QueueView};
use attune_common::models::work_queue::WorkItemStatus;
use chrono::{DateTime, Utc};
use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use serde_json::Value;

use crate::exit::Exit;
use crate::failure::Fault;
use crate::input;
use crate::lookup::found;
use crate::output::{Columns, Details, age, confirm, list, moment, or_dash, show, yes_no};
use crate::paging::{Limit, OptionalLimit, collect, is_met, select};
use crate::session::{Options, Session};

#[derive(Debug, Subcommand)]
pub(crate) enum QueueCommand {
    /// List the work queues, with how many items stand where
    #[command(visible_alias = "ls")]
    List {
        /// Only of this pack
        #[arg(long, value_name = "REF")]
        pack: Option<String>,
        #[command(flatten)]
        limit: OptionalLimit,
    },
    /// Show a work queue
    #[command(visible_alias = "get")]
    Show {
        /// Ref of the queue
        #[arg(value_name = "REF")]
        queue_ref: String,
    },
    /// Put items into a queue: all of them, or none
    Push {
        /// Ref of the queue
        #[arg(value_name = "REF")]
        queue_ref: String,
        /// An item, or a list of items, as JSON, `@file`, or `-` for standard input
        #[arg(value_name = "JSON")]
        items: String,
        /// Higher goes first
        #[arg(long, default_value_t = 0, allow_negative_numbers = true, value_name = "N")]
        priority: i16,
        /// Not to be handed out before, as 2026-11-24T12:00:00Z
        #[arg(long, value_parser = input::moment, value_name = "TIME")]
        not_before: Option<DateTime<Utc>>,
    },
    /// List the items of a queue, the newest first
    Items {
        /// Ref of the queue
        #[arg(value_name = "REF")]
        queue_ref: String,
        /// Only with this status
        #[arg(long, value_parser = statuses())]
        status: Option<String>,
        #[command(flatten)]
        limit: Limit,
    },
    /// Bring dead items back as new ones
    Retry {
        /// Ref of the queue
        #[arg(value_name = "REF")]
        queue_ref: String,
        /// Ids of dead items
        #[arg(value_name = "ID", required_unless_present = "all")]
        items: Vec<i64>,
        /// All dead items, up to 1000 of the oldest
        #[arg(long, conflicts_with = "items")]
        all: bool,
    },
}

fn statuses() -> PossibleValuesParser {
    WorkItemStatus::ALL.iter().map(|status| status.as_str()).collect::<Vec<_>>().into()
}

pub(crate) async fn run(command: QueueCommand, options: &Options) -> anyhow::Result<Exit> {
    match command {
        QueueCommand::List { pack, limit } => {
            let session = options.session()?;
            let queues = select(session.client.queues().await?, limit, |queue| {
                is_met(pack.as_ref(), queue.pack.as_deref().unwrap_or_default())
            });
            list_queues(&session, &queues)?;
        }
        QueueCommand::Show { queue_ref } => {
            let session = options.session()?;
            let queue = find(&session.client, &queue_ref).await?;
            show(session.format, &queue, &queue.queue_ref, || details(&session, &queue))?;
        }
        QueueCommand::Push { queue_ref, items, priority, not_before } => {
            let items = match input::json("the items", &items)? {
                Value::Array(items) if items.is_empty() => {
                    return Err(Fault::new("there is no item in the list").into());
                }
                Value::Array(items) => items,
                item => vec![item],
            };
            let session = options.session()?;
            let push = QueuePush { items, priority, not_before };
            let pushed = session.client.push_items(&queue_ref, &push).await?;
            let names: Vec<String> = pushed.ids.iter().map(ToString::to_string).collect();
            let count = names.len();
            let sentence = format!("{count} item{} in {queue_ref}", if count == 1 { "" } else { "s" });
            confirm(session.format, &pushed, &names.join("\n"), sentence)?;
        }
        QueueCommand::Items { queue_ref, status, limit } => {
            let session = options.session()?;
            let filters = vec![("status", status)];
            let items = collect(limit, session.format, filters, async |query| {
                session.client.queue_items(&queue_ref, query).await
            })
            .await?;
            list_items(&session, &items)?;
        }
        QueueCommand::Retry { queue_ref, items, all } => {
            let session = options.session()?;
            let retry = QueueRetry { items: (!all).then_some(items) };
            let retried = session.client.retry_items(&queue_ref, &retry).await?;
            let names: Vec<String> = retried.items.iter().map(|item| item.id.to_string()).collect();
            let count = names.len();
            let sentence =
                format!("{count} dead item{} of {queue_ref} came back", if count == 1 { "" } else { "s" });
            confirm(session.format, &retried, &names.join("\n"), sentence)?;
        }
    }
    Ok(Exit::Ok)
}

async fn find(client: &Client, queue_ref: &str) -> anyhow::Result<QueueView> {
    let known = async {
        let page = client.queues().await?;
        Ok(page.items.into_iter().map(|queue| queue.queue_ref).collect())
    };
    found("queue", queue_ref, client.queue(queue_ref).await, known).await
}

fn list_queues(session: &Session, queues: &[QueueView]) -> anyhow::Result<()> {
    let columns = Columns {
        noun: "queues",
        header: &["REF", "ENABLED", "ACTION", "BATCH", "READY", "LEASED", "DONE", "DEAD"],
        row: &|queue: &QueueView| {
            vec![
                queue.queue_ref.clone(),
                yes_no(queue.enabled),
                queue.action.clone(),
                queue.batch_size.to_string(),
                queue.items.ready.to_string(),
                queue.items.leased.to_string(),
                queue.items.done.to_string(),
                queue.items.dead.to_string(),
            ]
        },
        name: &|queue| queue.queue_ref.clone(),
    };
    list(session.format, queues, &columns)
}

fn list_items(session: &Session, items: &[QueueItemView]) -> anyhow::Result<()> {
    let columns = Columns {
        noun: "items",
        header: &["ID", "STATUS", "PRIORITY", "ATTEMPTS", "EXECUTION", "AGE", "ERROR", "ITEM"],
        row: &|item: &QueueItemView| {
            vec![
                item.id.to_string(),
                item.status.clone(),
                item.priority.to_string(),
                item.attempts.to_string(),
                or_dash(item.execution),
                age(session.now(), item.created),
                or_dash(item.error.as_ref()),
                item.item.to_string(),
            ]
        },
        name: &|item| item.id.to_string(),
    };
    list(session.format, items, &columns)
}

fn details(session: &Session, queue: &QueueView) -> Details {
    Details::new()
        .field("ref", &queue.queue_ref)
        .optional("pack", queue.pack.as_ref())
        .optional("label", queue.label.as_ref())
        .optional("description", queue.description.as_ref())
        .field("enabled", yes_no(queue.enabled))
        .field("action", &queue.action)
        .field("batch size", queue.batch_size)
        .field("concurrency", queue.concurrency)
        .field("max attempts", queue.max_attempts)
        .field("retry delay", format!("{} s", queue.retry_seconds))
        .field("ready", queue.items.ready)
        .field("leased", queue.items.leased)
        .field("done", queue.items.done)
        .field("dead", queue.items.dead)
        .field("created", moment(session.now(), queue.created))
        .field("updated", moment(session.now(), queue.updated))
        .json("item", &queue.item_schema)
}
