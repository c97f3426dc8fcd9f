//! `attune event`.

mod explain;
mod replay;

use attune_client::types::{EventDetail, EventRequest, EventView};
use attune_common::models::enforcement::EnforcementStatus;
use clap::Subcommand;
use serde_json::json;

use crate::commands::enforcement::decision_rows;
use crate::exit::Exit;
use crate::input;
use crate::output::{Columns, Details, age, confirm, list, moment, or_dash, show, table};
use crate::paging::{Limit, collect};
use crate::session::{Options, Session};

#[derive(Debug, Subcommand)]
pub(crate) enum EventCommand {
    /// List events, the newest first
    #[command(visible_alias = "ls")]
    List {
        /// Only of this trigger
        #[arg(long, value_name = "REF")]
        trigger: Option<String>,
        #[command(flatten)]
        limit: Limit,
    },
    /// Show an event, what rules decided about it, and what ran
    #[command(visible_alias = "get")]
    Show {
        /// Id of the event
        id: i64,
    },
    /// Record events again, as new events that rules judge
    Replay(replay::ReplayArgs),
    /// Say why each rule of its trigger fired on an event, or did not: every condition with what it expected and found
    #[command(after_help = explain::AFTER_HELP)]
    Explain(explain::ExplainArgs),
    /// Record an event of a trigger
    Create {
        /// Ref of the trigger
        #[arg(long, value_name = "REF")]
        trigger: String,
        /// What happened, as JSON, `@file` or `-` for standard input [default: {}]
        #[arg(long, value_name = "JSON")]
        payload: Option<String>,
        /// What rules' trigger_params are compared with, as JSON or `@file`
        #[arg(long, value_name = "JSON")]
        config: Option<String>,
        /// A second event of the trigger with the same key is the same event
        #[arg(long, value_name = "KEY")]
        dedup_key: Option<String>,
    },
}

pub(crate) async fn run(command: EventCommand, options: &Options) -> anyhow::Result<Exit> {
    match command {
        EventCommand::List { trigger, limit } => {
            let session = options.session()?;
            let events = collect(limit, session.format, vec![("trigger", trigger)], async |query| {
                session.client.events(query).await
            })
            .await?;
            let columns = Columns {
                noun: "events",
                header: &["ID", "TRIGGER", "SOURCE", "DEDUP KEY", "AGE"],
                row: &|event: &EventView| {
                    vec![
                        event.id.to_string(),
                        event.trigger.clone(),
                        or_dash(event.source.as_ref()),
                        or_dash(event.dedup_key.as_ref()),
                        age(session.now(), event.created),
                    ]
                },
                name: &|event| event.id.to_string(),
            };
            list(session.format, &events, &columns)?;
        }
        EventCommand::Show { id } => {
            let session = options.session()?;
            let event = session.client.event(id).await?;
            show(session.format, &event, &id.to_string(), || details(&session, &event))?;
        }
        EventCommand::Replay(args) => return replay::run(args, options).await,
        EventCommand::Explain(args) => explain::run(&args, &options.session()?).await?,
        EventCommand::Create { trigger, payload, config, dedup_key } => {
            let payload = match &payload {
                Some(given) => input::json("--payload", given)?,
                None => json!({}),
            };
            let config = config.map(|given| input::json("--config", &given)).transpose()?;
            let session = options.session()?;
            let request = EventRequest { trigger, payload, dedup_key, config };
            let accepted = session.client.create_event(&request).await?;
            let id = accepted.event;
            let sentence = if accepted.duplicate {
                format!("event {id} was recorded before; `attune event show {id}` shows what came of it")
            } else {
                format!("event {id} is recorded; `attune event show {id}` shows what comes of it")
            };
            confirm(session.format, &accepted, &id.to_string(), sentence)?;
        }
    }
    Ok(Exit::Ok)
}

fn details(session: &Session, detail: &EventDetail) -> Details {
    let event = &detail.event;
    let matched = match detail.matched {
        None => "not yet".to_owned(),
        Some(at) => moment(session.now(), at),
    };
    let came_of_it = match (detail.matched, detail.enforcements.len()) {
        (None, _) => None,
        (Some(_), 0) => Some(format!("no rule fired; `attune event explain {}` says why", event.id)),
        (Some(_), count) => {
            let fired = if count == 1 { "1 rule fired".to_owned() } else { format!("{count} rules fired") };
            let disabled = EnforcementStatus::Disabled.as_str();
            let shadow = detail.enforcements.iter().filter(|one| one.enforcement.status == disabled).count();
            Some(if shadow == 0 { fired } else { format!("{fired}, {shadow} in shadow") })
        }
    };
    let details = Details::new()
        .field("id", event.id)
        .field("trigger", &event.trigger)
        .optional("source", event.source.as_ref())
        .optional("dedup key", event.dedup_key.as_ref())
        .optional("replay of", event.replay_of.map(|id| format!("event {id}")))
        .optional("caused by", event.caused_by.map(|execution| format!("execution {execution}")))
        .optional("trace id", event.trace_id.as_ref())
        .field("created", moment(session.now(), event.created))
        .field("matched", matched)
        .optional("outcome", came_of_it);
    let details = if detail.enforcements.is_empty() {
        details
    } else {
        let rows = detail.enforcements.iter().flat_map(decision_rows);
        let header = ["ENFORCEMENT", "RULE", "STATUS", "EXECUTION", "ACTION", "OUTCOME"];
        details.block("enforcements", &table(&header, rows))
    };
    let details = if detail.windows.is_empty() {
        details
    } else {
        let rows = detail.windows.iter().map(|window| {
            let key = or_dash(Some(&window.key).filter(|key| !key.is_empty()));
            vec![window.rule.clone(), key, window.text.clone()]
        });
        details.block("windows", &table(&["RULE", "KEY", "WHAT CAME OF IT"], rows))
    };
    let details = details.json("config", &event.config).json("payload", &event.payload);
    match &event.headers {
        Some(headers) => details.json("headers", headers),
        None => details,
    }
}
