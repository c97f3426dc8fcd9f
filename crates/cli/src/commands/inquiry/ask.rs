//! `attune inquiry ask`: a question of an action that is no Python.

use std::time::Duration;

use attune_client::types::{InquiryRequest, InquiryView};
use clap::Args;

use super::details;
use crate::exit::Exit;
use crate::failure::Fault;
use crate::input;
use crate::output::{Format, json_text, say, show, write};
use crate::session::Session;
use crate::waiting;

#[derive(Debug, Args)]
pub(crate) struct AskArgs {
    /// What is asked, as people read it
    prompt: String,
    /// What an answer holds: a map as the `parameters` of an action, or a JSON schema with a `type`; JSON, `@file` or `-`
    #[arg(long, value_name = "JSON")]
    schema: Option<String>,
    /// Login of who is asked
    #[arg(long, value_name = "LOGIN")]
    assigned_to: Option<String>,
    /// Permission set whose holders are asked
    #[arg(long, value_name = "REF")]
    assigned_role: Option<String>,
    /// Take no answer of whoever started the run
    #[arg(long)]
    no_self_approval: bool,
    /// How long to wait for an answer, as 60s or 2h; then the exit code is 6 [default: without end]
    #[arg(long, value_parser = input::duration, value_name = "TIME")]
    timeout: Option<Duration>,
}

pub(super) async fn run(args: AskArgs, session: &Session) -> anyhow::Result<Exit> {
    let request = InquiryRequest {
        prompt: args.prompt,
        response_schema: args.schema.map(|schema| input::json("--schema", &schema)).transpose()?,
        assigned_to: args.assigned_to,
        assigned_role: args.assigned_role,
        allow_self_approval: !args.no_self_approval,
        timeout_seconds: args.timeout.as_ref().map(Duration::as_secs_f64),
        dedup_key: None,
    };
    let inquiry = session.client.create_inquiry(&request).await?;
    say(format_args!("inquiry {} waits for an answer", inquiry.id));
    let inquiry = waiting::wait_for_inquiry(&session.client, inquiry.id).await?;
    answered(&inquiry)?;
    match session.format {
        // The answer alone: what a script goes on with.
        Format::Table => write(&json_text(&inquiry.response)?)?,
        Format::Json | Format::Yaml | Format::Name => {
            show(session.format, &inquiry, &inquiry.id.to_string(), || details(session, &inquiry))?;
        }
    }
    Ok(Exit::Ok)
}

fn answered(inquiry: &InquiryView) -> Result<(), Fault> {
    match inquiry.status.as_str() {
        "responded" => Ok(()),
        "timeout" => {
            let fault = Fault::new(format!("inquiry {} was not answered in time", inquiry.id));
            Err(fault.exit(Exit::TimedOut))
        }
        other => Err(Fault::new(format!("inquiry {} was {other}", inquiry.id))),
    }
}
