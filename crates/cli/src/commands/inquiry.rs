//! `attune inquiry`: what runs ask people.

mod answer;
mod ask;

use attune_client::types::{InquiryAnswer, InquiryView};
use attune_common::models::inquiry::InquiryStatus;
use clap::Subcommand;
use clap::builder::PossibleValuesParser;

use crate::exit::Exit;
use crate::output::{Columns, Details, age, confirm, list, moment, or_dash, show, yes_no};
use crate::paging::{Limit, collect};
use crate::session::{Options, Session};

#[derive(Debug, Subcommand)]
pub(crate) enum InquiryCommand {
    /// List inquiries, the newest first
    #[command(visible_alias = "ls")]
    List {
        /// Only with this status
        #[arg(long, value_parser = statuses())]
        status: Option<String>,
        /// Only what is put to you, by name or by role
        #[arg(long)]
        mine: bool,
        /// Only what this execution asks
        #[arg(long, value_name = "ID")]
        execution: Option<i64>,
        #[command(flatten)]
        limit: Limit,
    },
    /// Show an inquiry, and its answer where it has one
    #[command(visible_alias = "get")]
    Show {
        /// Id of the inquiry
        id: i64,
    },
    /// Answer an inquiry; the first answer counts. On a terminal it is asked for what is not given
    Respond {
        /// Id of the inquiry
        id: i64,
        /// A field of the answer; a string as it is, everything else as JSON
        #[arg(long = "field", short, value_name = "NAME=VALUE", conflicts_with = "answer")]
        fields: Vec<String>,
        /// The whole answer as JSON, `@file` or `-` for standard input
        #[arg(long, value_name = "JSON")]
        answer: Option<String>,
    },
    /// Ask, as the action that this command runs in; wait for the answer, and print it
    Ask(ask::AskArgs),
    /// Cancel an inquiry: the run that asks goes on without an answer
    Cancel {
        /// Id of the inquiry
        id: i64,
    },
}

fn statuses() -> PossibleValuesParser {
    InquiryStatus::ALL.iter().map(|status| status.as_str()).collect::<Vec<_>>().into()
}

pub(crate) async fn run(command: InquiryCommand, options: &Options) -> anyhow::Result<Exit> {
    let session = options.session()?;
    match command {
        InquiryCommand::Ask(args) => return ask::run(args, &session).await,
        InquiryCommand::List { status, mine, execution, limit } => {
            let filters = vec![
                ("status", status),
                ("assigned_to_me", mine.then(|| "true".to_owned())),
                ("execution", execution.map(|id| id.to_string())),
            ];
            let inquiries =
                collect(limit, session.format, filters, async |query| session.client.inquiries(query).await)
                    .await?;
            list_inquiries(&session, &inquiries)?;
        }
        InquiryCommand::Show { id } => {
            let inquiry = session.client.inquiry(id).await?;
            show(session.format, &inquiry, &id.to_string(), || details(&session, &inquiry))?;
        }
        InquiryCommand::Respond { id, fields, answer } => {
            let inquiry = session.client.inquiry(id).await?;
            // What is over needs no typing; the server says what it is.
            let response = match inquiry.is_pending() {
                true => answer::read(&inquiry, &answer::Given { answer, fields })?,
                false => serde_json::Value::Null,
            };
            let inquiry = session.client.respond_to_inquiry(id, &InquiryAnswer { response }).await?;
            let sentence = format!("inquiry {id} is answered; execution {} goes on", inquiry.execution);
            confirm(session.format, &inquiry, &id.to_string(), sentence)?;
        }
        InquiryCommand::Cancel { id } => {
            let inquiry = session.client.cancel_inquiry(id).await?;
            let sentence = format!("inquiry {id} of execution {} is cancelled", inquiry.execution);
            confirm(session.format, &inquiry, &id.to_string(), sentence)?;
        }
    }
    Ok(Exit::Ok)
}

/// Who is asked, in words.
fn asked(inquiry: &InquiryView) -> Option<String> {
    match (&inquiry.assigned_to, &inquiry.assigned_role) {
        (Some(login), Some(role)) => Some(format!("{login}, {role}")),
        (Some(one), None) | (None, Some(one)) => Some(one.clone()),
        (None, None) => None,
    }
}

fn list_inquiries(session: &Session, inquiries: &[InquiryView]) -> anyhow::Result<()> {
    let columns = Columns {
        noun: "inquiries",
        header: &["ID", "STATUS", "EXECUTION", "ACTION", "ASKED", "AGE", "PROMPT"],
        row: &|inquiry: &InquiryView| {
            vec![
                inquiry.id.to_string(),
                inquiry.status.clone(),
                inquiry.execution.to_string(),
                inquiry.action.clone(),
                or_dash(asked(inquiry)),
                age(session.now(), inquiry.created),
                inquiry.prompt.clone(),
            ]
        },
        name: &|inquiry| inquiry.id.to_string(),
    };
    list(session.format, inquiries, &columns)
}

pub(super) fn details(session: &Session, inquiry: &InquiryView) -> Details {
    let details = Details::new()
        .field("id", inquiry.id)
        .field("status", &inquiry.status)
        .field("execution", inquiry.execution)
        .field("action", &inquiry.action)
        .optional("asked", asked(inquiry))
        .field("self approval", yes_no(inquiry.allow_self_approval))
        .optional("until", inquiry.timeout_at.map(|at| at.to_rfc3339()))
        .optional("answered by", inquiry.responded_by.as_ref())
        .optional("answered", inquiry.responded_at.map(|at| moment(session.now(), at)))
        .field("created", moment(session.now(), inquiry.created))
        .block("prompt", &inquiry.prompt)
        .json("answer takes", &inquiry.response_schema);
    match &inquiry.response {
        Some(response) => details.block("answer", &format!("{response:#}")),
        None => details,
    }
}
