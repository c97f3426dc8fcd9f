//! `attune execution`.

use std::borrow::Cow;
use std::io::{self, Write};
use std::time::Duration;

use anyhow::Context;
use attune_client::types::{
    AttemptView, ExecutionDetail, ExecutionView, HistoryEntry, OutputPiece, ProgressRequest,
};
use attune_common::models::execution::ExecutionStatus;
use chrono::SecondsFormat;
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
use crate::profile::variable;
use crate::session::{Options, Session};
use crate::waiting::{self, Followed};

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
        /// Go on until it ends; the exit code tells how it ended
        #[arg(long, short)]
        follow: bool,
        /// Only what this attempt wrote [default: all attempts]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
        attempt: Option<i32>,
        /// Put before each line when it was written
        #[arg(long)]
        timestamps: bool,
    },
    /// Say how far a run has come, as its action does
    Progress {
        /// Id of the execution [default: the one that this command runs in]
        #[arg(long, value_name = "ID")]
        execution: Option<i64>,
        /// 0 to 100
        percent: Option<f64>,
        /// What it does now
        #[arg(long, short, value_name = "TEXT")]
        message: Option<String>,
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
        ExecutionCommand::Logs { id, follow, attempt, timestamps } => {
            if timestamps && session.format != Format::Table {
                return Err(
                    Fault::new("--timestamps has no effect with --output: every piece has its time").into()
                );
            }
            let printer = PiecePrinter { timestamps, ..PiecePrinter::default() };
            if follow {
                return follow_logs(&session, Followed { id, attempt, deadline: None }, printer).await;
            }
            print_logs(&session, id, attempt, printer).await?;
            Ok(Exit::Ok)
        }
        ExecutionCommand::Progress { execution, percent, message } => {
            let id = execution.map_or_else(own_execution, Ok)?;
            let progress = ProgressRequest { percent, message, steps: None };
            session.client.put_progress(id, &progress).await?;
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

/// The execution whose action runs this command.
pub(crate) fn own_execution() -> anyhow::Result<i64> {
    let id = variable("ATTUNE_EXECUTION_ID").and_then(|id| id.parse().ok());
    Ok(id.ok_or_else(|| {
        Fault::new("no execution is named").hint("outside of an action, name it with --execution ID")
    })?)
}

async fn print_logs(
    session: &Session,
    id: i64,
    attempt: Option<i32>,
    mut printer: PiecePrinter,
) -> anyhow::Result<()> {
    let pieces = match attempt {
        Some(attempt) => session.client.output_of_attempt(id, attempt).await?,
        None => session.client.output(id).await?,
    };
    let name = |piece: &OutputPiece| format!("{}/{}", piece.attempt, piece.seq);
    match session.format {
        Format::Table => {
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

async fn follow_logs(
    session: &Session,
    followed: Followed,
    mut printer: PiecePrinter,
) -> anyhow::Result<Exit> {
    let format = session.format;
    let print = move |piece: &OutputPiece| match format {
        // A line each, so that a reader can take them as they come.
        Format::Json => write(&(serde_json::to_string(piece)? + "\n")),
        Format::Table | Format::Yaml | Format::Name => printer.print(piece),
    };
    if matches!(format, Format::Yaml | Format::Name) {
        return Err(Fault::new("output can be followed as it is, or with -o json as one piece a line").into());
    }
    let detail = waiting::follow(&session.client, followed, print).await?;
    let Some(attempt) = followed.attempt.filter(|attempt| *attempt < detail.execution.attempt) else {
        say(waiting::outcome(&detail.execution));
        return Ok(Exit::of_execution(&detail.execution.status));
    };
    let status = detail.attempts.iter().find(|one| one.attempt == attempt).map(|one| one.status.as_str());
    say(format_args!("attempt {attempt} {}", status.unwrap_or("was lost with its worker")));
    Ok(status.map_or(Exit::RunFailed, Exit::of_execution))
}

/// Prints output where it belongs: standard output and standard error, as the action wrote it.
#[derive(Debug, Default)]
pub(crate) struct PiecePrinter {
    attempt: Option<i32>,
    /// Each line begins with its time.
    timestamps: bool,
    /// Whether the last piece of standard output, and of standard error, ended within a line.
    within: [bool; 2],
}

impl PiecePrinter {
    pub(crate) fn print(&mut self, piece: &OutputPiece) -> io::Result<()> {
        if self.attempt.is_some_and(|attempt| attempt != piece.attempt) {
            say(format_args!("attempt {}:", piece.attempt));
        }
        self.attempt = Some(piece.attempt);
        let text = match self.timestamps {
            true => Cow::Owned(self.timed(piece)),
            false => Cow::Borrowed(piece.text.as_str()),
        };
        if piece.stream == "stderr" {
            let mut err = io::stderr().lock();
            return err.write_all(text.as_bytes()).and_then(|()| err.flush());
        }
        write(&text)
    }

    /// The piece with its time at the beginning of each line that begins in it.
    fn timed(&mut self, piece: &OutputPiece) -> String {
        let at =
            piece.at.map_or_else(|| "-".to_owned(), |at| at.to_rfc3339_opts(SecondsFormat::Millis, true));
        let within = &mut self.within[usize::from(piece.stream == "stderr")];
        let mut text = String::new();
        for line in piece.text.split_inclusive('\n') {
            if !*within {
                text.push_str(&format!("{at} "));
            }
            text.push_str(line);
            *within = !line.ends_with('\n');
        }
        text
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
        .optional("progress", detail.progress.as_ref().map(waiting::progress_text))
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
    let steps = detail.progress.as_ref().map(|progress| progress.steps.as_slice()).unwrap_or_default();
    let details = if steps.is_empty() {
        details
    } else {
        let rows = steps.iter().map(|step| vec![step.name.clone(), step.status.clone()]);
        details.block("steps", &table(&["STEP", "STATUS"], rows))
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
