//! `attune run`: starts an action by hand.

use std::time::Duration;

use attune_client::types::ExecutionRequest;
use clap::Args;
use tokio::time::Instant;

use crate::commands::action;
use crate::commands::execution::{PiecePrinter, show_ended};
use crate::exit::Exit;
use crate::failure::Fault;
use crate::input;
use crate::output::{Format, confirm, say};
use crate::parameters;
use crate::session::Options;
use crate::waiting::{self, Followed};

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Ref of the action
    #[arg(value_name = "ACTION")]
    action_ref: String,
    /// Parameters; a string as it is, everything else as JSON
    #[arg(value_name = "NAME=VALUE")]
    parameters: Vec<String>,
    /// Parameters as a JSON object, `@file` or `-` for standard input; single ones go before it
    #[arg(long, value_name = "JSON")]
    json: Option<String>,
    /// A label that the worker has to have, besides those that the action asks for
    #[arg(long = "selector", value_parser = input::label, value_name = "NAME=VALUE")]
    selectors: Vec<(String, String)>,
    /// A taint of the worker that does no harm
    #[arg(long = "tolerate", value_parser = input::taint, value_name = "TAINT")]
    tolerations: Vec<String>,
    /// Wait until it ends, and show it; the exit code tells how it ended
    #[arg(long)]
    wait: bool,
    /// Print what it writes until it ends; the exit code tells how it ended
    #[arg(long, conflicts_with = "wait")]
    follow: bool,
    /// How long to wait at most, as 60s or 5m; the execution itself goes on [default: without end]
    #[arg(long, value_parser = input::duration, value_name = "TIME")]
    timeout: Option<Duration>,
}

pub(crate) async fn run(args: RunArgs, options: &Options) -> anyhow::Result<Exit> {
    if args.timeout.is_some() && !args.wait && !args.follow {
        return Err(Fault::new("--timeout has no effect without --wait or --follow").into());
    }
    if args.follow && options.format() != Format::Table {
        return Err(Fault::new("--follow prints what the action writes, as it is")
            .hint("use --wait to get the execution in another format")
            .into());
    }
    let given = args.json.as_deref().map(|given| input::json("--json", given)).transpose()?;
    let session = options.session()?;
    let action = action::find(&session.client, &args.action_ref).await?;
    let parameters = parameters::assemble(&action.parameters, given, &args.parameters)?;
    for name in parameters::secrets_among(&action.parameters, &args.parameters) {
        say(format_args!(
            "warning: others on this machine can see `{name}` on the command line; use --json @file"
        ));
    }
    let deadline = args.timeout.map(|timeout| Instant::now() + timeout);
    let request = ExecutionRequest {
        worker_selector: args.selectors.into_iter().collect(),
        tolerations: args.tolerations,
        ..ExecutionRequest::of(action.action_ref, parameters)
    };
    let execution = session.client.create_execution(&request).await?;
    let id = execution.id;
    if args.follow {
        say(format_args!("execution {id} of {} is {}", execution.action, execution.status));
        let mut printer = PiecePrinter::default();
        let detail = waiting::follow(&session.client, Followed { id, attempt: None, deadline }, |piece| {
            printer.print(piece)
        })
        .await?;
        say(waiting::outcome(&detail.execution));
        return Ok(Exit::of_execution(&detail.execution.status));
    }
    if args.wait {
        say(format_args!("execution {id} of {} is {}", execution.action, execution.status));
        let detail = waiting::wait(&session.client, id, deadline).await?;
        show_ended(&session, &detail)?;
        if Exit::of_execution(&detail.execution.status) != Exit::Ok {
            say(waiting::outcome(&detail.execution));
        }
        return Ok(Exit::of_execution(&detail.execution.status));
    }
    let sentence = format!(
        "execution {id} of {} is {}; `attune execution logs --follow {id}` shows what it writes",
        execution.action, execution.status
    );
    confirm(session.format, &execution, &id.to_string(), sentence)?;
    Ok(Exit::Ok)
}
