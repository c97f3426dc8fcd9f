//! `attune execution`.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::Context;
use attune_client::types::{AttemptView, ExecutionDetail, ExecutionView, HistoryEntry, OutputPiece};
use attune_common::models::execution::ExecutionStatus;
use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use tokio::time::Instant;

use crate::exit::Exit;
use crate::failure::Fault;
use crate::input;
use crate::output::{
    Columns, Details, Format, age, confirm, list, moment, or_dash, run_time, say, show, table, write,
};
use crate::paging::{Limit, collect};
use crate::session::{Options, Session};
use crate::waiting;

#[derive(Debug, Subcommand)]
pub(crate) enum ExecutionCommand {
    /// List executions, the newest first
    #[command(visible_alias = "ls")]
    List {
        /// Only of this action
        #[arg(long, value_name = "REF")]
        action: Option<String>,
        /// Only with this status
        #[arg(long, value_parser = statuses())]
        status: Option<String>,
        /// Only of this enforcement
        #[arg(long, value_name = "ID")]
        enforcement: Option<i64>,
        /// Only what came of this event
        #[arg(long, value_name = "ID")]
        event: Option<i64>,
        #[command(flatten)]
        limit: Limit,
    },
    /// Show an execution, where it came from, and what it wrote
    #[command(visible_alias = "get")]
    Show {
        /// Id of the execution
        id: i64,
        /// Let the exit code tell how it ended: 0 completed, 3 otherwise, 8 not yet
        #[arg(long)]
        exit_status: bool,
    },
    /// Print what an execution wrote: its standard output here, its standard error on standard error
    Logs {
        /// Id of the execution
        id: i64,
        /// Go on until it ends
        #[arg(long, short)]
        follow: bool,
    },
    /// Wait until an execution ends; the exit code tells how
    Wait {
        /// Id of the execution
        id: i64,
        /// How long to wait at most, as 60s or 5m [default: without end]
        #[arg(long, value_parser = input::duration, value_name = "TIME")]
        timeout: Option<Duration>,
    },
    /// List the statuses that an execution took
    History {
        /// Id of the execution
        id: i64,
    },
    /// End an execution with all that it began, be it running or waiting for another attempt
    Cancel {
        /// Id of the execution
        id: i64,
    },
}

fn statuses() -> PossibleValuesParser {
    ExecutionStatus::ALL.iter().map(|status| status.as_str()).collect::<Vec<_>>().into()
}

pub(crate) async fn run(command: ExecutionCommand, options: &Options) -> anyhow::Result<Exit> {
    let session = options.session()?;
    match command {
        ExecutionCommand::List { action, status, enforcement, event, limit } => {
            let filters = vec![
                ("action", action),
                ("status", status),
                ("enforcement", enforcement.map(|id| id.to_string())),
                ("event", event.map(|id| id.to_string())),
            ];
            let executions =
                collect(limit, session.format, filters, async |query| session.client.executions(query).await)
                    .await?;
            list_executions(&session, &executions)?;
            Ok(Exit::Ok)
        }
        ExecutionCommand::Show { id, exit_status } => {
            let detail = session.client.execution(id).await?;
            show(session.format, &detail, &id.to_string(), || details(&session, &detail))?;
            Ok(if exit_status { Exit::of_execution(&detail.execution.status) } else { Exit::Ok })
        }
        ExecutionCommand::Logs { id, follow } => {
            if follow {
                follow_logs(&session, id).await?;
            } else {
                print_logs(&session, id).await?;
            }
            Ok(Exit::Ok)
        }
        ExecutionCommand::Wait { id, timeout } => {
            let deadline = timeout.map(|timeout| Instant::now() + timeout);
            let detail = waiting::wait(&session.client, id, deadline).await?;
            confirm(session.format, &detail, &id.to_string(), waiting::outcome(&detail.execution))?;
            Ok(Exit::of_execution(&detail.execution.status))
        }
        ExecutionCommand::History { id } => {
            let history = session.client.execution_history(id).await?.items;
            let columns = Columns {
                noun: "statuses",
                header: &["STATUS", "AT"],
                row: &|entry: &HistoryEntry| vec![entry.status.clone(), moment(session.now(), entry.at)],
                name: &|entry| entry.status.clone(),
            };
            list(session.format, &history, &columns)?;
            Ok(Exit::Ok)
        }
        ExecutionCommand::Cancel { id } => {
            let execution = session.client.cancel_execution(id).await?;
            let sentence = match execution.status.as_str() {
                "canceling" => {
                    format!("execution {id} is being cancelled; `attune execution wait {id}` waits for it")
                }
                status => format!("execution {id} is {status}"),
            };
            confirm(session.format, &execution, &id.to_string(), sentence)?;
            Ok(Exit::Ok)
        }
    }
}

fn list_executions(session: &Session, executions: &[ExecutionView]) -> anyhow::Result<()> {
    let columns = Columns {
        noun: "executions",
        header: &["ID", "ACTION", "STATUS", "EXIT", "TIME", "ENFORCEMENT", "WORKER", "AGE", "WAITING"],
        row: &|execution: &ExecutionView| {
            vec![
                execution.id.to_string(),
                execution.action.clone(),
                execution.status.clone(),
                exit_of(execution.exit_code, execution.signal),
                run_time(session.now(), execution.started, execution.finished),
                or_dash(execution.enforcement),
                or_dash(execution.worker.as_ref()),
                age(session.now(), execution.created),
                or_dash(execution.waiting.as_ref()),
            ]
        },
        name: &|execution| execution.id.to_string(),
    };
    list(session.format, executions, &columns)
}

async fn print_logs(session: &Session, id: i64) -> anyhow::Result<()> {
    let pieces = session.client.output(id).await?;
    let name = |piece: &OutputPiece| format!("{}/{}", piece.attempt, piece.seq);
    match session.format {
        Format::Table => {
            let mut printer = PiecePrinter::default();
            for piece in &pieces {
                printer.print(piece)?;
            }
            Ok(())
        }
        Format::Json | Format::Yaml | Format::Name => {
            let columns = Columns { noun: "output", header: &[], row: &|_| Vec::new(), name: &name };
            list(session.format, &pieces, &columns)
        }
    }
}

async fn follow_logs(session: &Session, id: i64) -> anyhow::Result<()> {
    let mut printer = PiecePrinter::default();
    let format = session.format;
    let print = move |piece: &OutputPiece| match format {
        // A line each, so that a reader can take them as they come.
        Format::Json => write(&(serde_json::to_string(piece)? + "\n")),
        Format::Table | Format::Yaml | Format::Name => printer.print(piece),
    };
    if matches!(format, Format::Yaml | Format::Name) {
        return Err(Fault::new("output can be followed as it is, or with -o json as one piece a line").into());
    }
    let detail = waiting::follow(&session.client, id, None, print).await?;
    say(waiting::outcome(&detail.execution));
    Ok(())
}

/// Prints output where it belongs: standard output and standard error, as the action wrote it.
#[derive(Debug, Default)]
pub(crate) struct PiecePrinter {
    attempt: Option<i32>,
}

impl PiecePrinter {
    pub(crate) fn print(&mut self, piece: &OutputPiece) -> io::Result<()> {
        if self.attempt.is_some_and(|attempt| attempt != piece.attempt) {
            say(format_args!("attempt {}:", piece.attempt));
        }
        self.attempt = Some(piece.attempt);
        if piece.stream == "stderr" {
            let mut err = io::stderr().lock();
            return err.write_all(piece.text.as_bytes()).and_then(|()| err.flush());
        }
        write(&piece.text)
    }
}

/// Shows an execution that was waited for.
pub(crate) fn show_ended(session: &Session, detail: &ExecutionDetail) -> anyhow::Result<()> {
    show(session.format, detail, &detail.execution.id.to_string(), || details(session, detail))
        .context("cannot print the execution")
}

fn details(session: &Session, detail: &ExecutionDetail) -> Details {
    let execution = &detail.execution;
    let details = Details::new()
        .field("id", execution.id)
        .field("action", &execution.action)
        .field("status", &execution.status)
        .optional("waiting", execution.waiting.as_ref())
        .optional("exit code", execution.exit_code)
        .optional("signal", execution.signal)
        .optional("error", execution.error.as_ref())
        .field("came from", origin(detail))
        .field("attempt", execution.attempt)
        .optional("worker", execution.worker.as_ref())
        .field("created", moment(session.now(), execution.created))
        .optional("started", execution.started.map(|at| moment(session.now(), at)))
        .optional("finished", execution.finished.map(|at| moment(session.now(), at)))
        .field("time", run_time(session.now(), execution.started, execution.finished))
        .optional("trace id", execution.trace_id.as_ref())
        .json("parameters", &execution.parameters);
    let details = match &execution.result {
        Some(result) => details.json("result", result),
        None => details,
    };
    let details = if detail.attempts.is_empty() {
        details
    } else {
        let header = ["ATTEMPT", "STATUS", "EXIT", "WORKER", "TIME", "ERROR"];
        details.block(
            "attempts",
            &table(&header, detail.attempts.iter().map(|attempt| attempt_row(session, attempt))),
        )
    };
    let shown = |name: &str, text: &str, bytes: Option<i64>| match bytes {
        Some(bytes) if usize::try_from(bytes).is_ok_and(|bytes| bytes > text.len()) => {
            format!("{name} (its beginning; all {bytes} bytes: `attune execution logs {}`)", execution.id)
        }
        Some(_) | None => name.to_owned(),
    };
    details
        .block(&shown("stdout", &detail.stdout, execution.stdout_bytes), &detail.stdout)
        .block(&shown("stderr", &detail.stderr, execution.stderr_bytes), &detail.stderr)
}

/// The chain from the event to here.
fn origin(detail: &ExecutionDetail) -> String {
    let id = detail.execution.id;
    match (&detail.chain, &detail.started_by) {
        (Some(chain), _) => {
            let event =
                chain.event.map_or_else(|| "a deleted event".to_owned(), |event| format!("event {event}"));
            format!(
                "{event} ({}) -> rule {} -> enforcement {} -> execution {id}",
                chain.trigger, chain.rule, chain.enforcement
            )
        }
        (None, Some(login)) => format!("started by {login}"),
        (None, None) => "started by hand".to_owned(),
    }
}

fn attempt_row(session: &Session, attempt: &AttemptView) -> Vec<String> {
    vec![
        attempt.attempt.to_string(),
        attempt.status.clone(),
        exit_of(attempt.exit_code, attempt.signal),
        or_dash(attempt.worker.as_ref()),
        run_time(session.now(), attempt.started, Some(attempt.finished)),
        or_dash(attempt.error.as_ref()),
    ]
}

fn exit_of(code: Option<i32>, signal: Option<i32>) -> String {
    match (code, signal) {
        (_, Some(signal)) => format!("signal {signal}"),
        (code, None) => or_dash(code),
    }
}
