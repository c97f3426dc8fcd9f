//! `attune enforcement`: what rules decided.

use attune_client::types::{EnforcementDetail, EnforcementView};
use attune_common::models::enforcement::EnforcementStatus;
use clap::Subcommand;
use clap::builder::PossibleValuesParser;

use crate::exit::Exit;
use crate::output::{Columns, Details, age, list, moment, or_dash, show, table};
use crate::paging::{Limit, collect};
use crate::session::{Options, Session};

#[derive(Debug, Subcommand)]
pub(crate) enum EnforcementCommand {
    /// List enforcements, the newest first
    #[command(visible_alias = "ls")]
    List {
        /// Only of this rule
        #[arg(long, value_name = "REF")]
        rule: Option<String>,
        /// Only of this event
        #[arg(long, value_name = "ID")]
        event: Option<i64>,
        /// Only with this status
        #[arg(long, value_parser = statuses())]
        status: Option<String>,
        #[command(flatten)]
        limit: Limit,
    },
    /// Show an enforcement with its executions
    #[command(visible_alias = "get")]
    Show {
        /// Id of the enforcement
        id: i64,
    },
}

fn statuses() -> PossibleValuesParser {
    EnforcementStatus::ALL.iter().map(|status| status.as_str()).collect::<Vec<_>>().into()
}

pub(crate) async fn run(command: EnforcementCommand, options: &Options) -> anyhow::Result<Exit> {
    let session = options.session()?;
    match command {
        EnforcementCommand::List { rule, event, status, limit } => {
            let filters = vec![("rule", rule), ("event", event.map(|id| id.to_string())), ("status", status)];
            let enforcements = collect(limit, session.format, filters, async |query| {
                session.client.enforcements(query).await
            })
            .await?;
            let columns = Columns {
                noun: "enforcements",
                header: &["ID", "RULE", "EVENT", "STATUS", "AGE", "ERROR"],
                row: &|enforcement: &EnforcementView| {
                    vec![
                        enforcement.id.to_string(),
                        enforcement.rule.clone(),
                        or_dash(enforcement.event),
                        enforcement.status.clone(),
                        age(session.now(), enforcement.created),
                        or_dash(enforcement.error.as_ref()),
                    ]
                },
                name: &|enforcement| enforcement.id.to_string(),
            };
            list(session.format, &enforcements, &columns)?;
        }
        EnforcementCommand::Show { id } => {
            let enforcement = session.client.enforcement(id).await?;
            show(session.format, &enforcement, &id.to_string(), || details(&session, &enforcement))?;
        }
    }
    Ok(Exit::Ok)
}

/// What a decision led to: a row per execution, or one that says why there is none. Columns: enforcement, rule, status,
/// execution, action, outcome.
pub(crate) fn decision_rows(detail: &EnforcementDetail) -> Vec<Vec<String>> {
    let enforcement = &detail.enforcement;
    let lead = || vec![enforcement.id.to_string(), enforcement.rule.clone(), enforcement.status.clone()];
    if detail.executions.is_empty() {
        let mut row = lead();
        let in_shadow = enforcement.status == EnforcementStatus::Disabled.as_str();
        let action = enforcement.config.get("action").and_then(|action| action.as_str());
        let outcome = match &enforcement.error {
            Some(error) => error.clone(),
            None if in_shadow => "not started: the rule is in shadow mode".to_owned(),
            None => "-".to_owned(),
        };
        row.extend(["-".to_owned(), or_dash(action.filter(|_| in_shadow)), outcome]);
        return vec![row];
    }
    let rows = detail.executions.iter().map(|execution| {
        let mut row = lead();
        row.extend([execution.id.to_string(), execution.action.clone(), execution.status.clone()]);
        row
    });
    rows.collect()
}

fn status_told(status: &str) -> &str {
    if status == EnforcementStatus::Disabled.as_str() {
        "disabled: recorded in shadow mode, nothing was started"
    } else {
        status
    }
}

/// The events that contributed, as many as fit a line; the other formats have all of them.
fn listed(events: &[i64]) -> String {
    const SHOWN: usize = 10;
    let shown: Vec<_> = events.iter().take(SHOWN).map(i64::to_string).collect();
    match events.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn details(session: &Session, detail: &EnforcementDetail) -> Details {
    let enforcement = &detail.enforcement;
    let details = Details::new()
        .field("id", enforcement.id)
        .field("rule", &enforcement.rule)
        .field("trigger", &enforcement.trigger)
        .field("event", enforcement.event.map_or_else(|| "deleted".to_owned(), |id| id.to_string()))
        .optional(
            "events",
            Some(&detail.events).filter(|events| events.len() > 1).map(|events| listed(events)),
        )
        .field("status", status_told(&enforcement.status))
        .optional("error", enforcement.error.as_ref())
        .field("created", moment(session.now(), enforcement.created))
        .field("condition", format!("{} of the conditions", enforcement.condition));
    let details = if detail.executions.is_empty() {
        details
    } else {
        let rows = detail.executions.iter().map(|execution| {
            vec![execution.id.to_string(), execution.action.clone(), execution.status.clone()]
        });
        details.block("executions", &table(&["ID", "ACTION", "STATUS"], rows))
    };
    details
        .json("conditions", &enforcement.conditions)
        .json("parameters", &enforcement.payload)
        .json("decided by", &enforcement.config)
}
