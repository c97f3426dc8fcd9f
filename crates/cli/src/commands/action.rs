//! `attune action`.

use attune_client::types::{ActionView, GrantView, Switch, UsedKeyView};
use attune_client::{Client, ClientError};
use chrono::TimeDelta;
use clap::Subcommand;
use serde_json::json;

use crate::exit::Exit;
use crate::lookup::found;
use crate::output::{Columns, Details, confirm, duration, list, moment, or_dash, show, yes_no};
use crate::paging::{OptionalLimit, is_met, select};
use crate::session::{Options, Session};

#[derive(Debug, Subcommand)]
pub(crate) enum ActionCommand {
    /// List the actions
    #[command(visible_alias = "ls")]
    List {
        /// Only of this pack
        #[arg(long, value_name = "REF")]
        pack: Option<String>,
        #[command(flatten)]
        limit: OptionalLimit,
    },
    /// Show an action with its parameters
    #[command(visible_alias = "get")]
    Show {
        /// Ref of the action
        #[arg(value_name = "REF")]
        action_ref: String,
    },
    /// Have an action run again
    Enable {
        /// Ref of the action
        #[arg(value_name = "REF")]
        action_ref: String,
    },
    /// Have an action not be started any more; what runs goes on
    Disable {
        /// Ref of the action
        #[arg(value_name = "REF")]
        action_ref: String,
    },
}

pub(crate) async fn run(command: ActionCommand, options: &Options) -> anyhow::Result<Exit> {
    let session = options.session()?;
    match command {
        ActionCommand::List { pack, limit } => {
            let actions = select(session.client.actions().await?, limit, |action| {
                is_met(pack.as_ref(), action.pack.as_deref().unwrap_or_default())
            });
            let columns = Columns {
                noun: "actions",
                header: &["REF", "ENABLED", "RUNTIME", "DESCRIPTION"],
                row: &|action: &ActionView| {
                    vec![
                        action.action_ref.clone(),
                        yes_no(action.enabled),
                        action.runtime.clone(),
                        or_dash(action.description.as_ref().or(action.label.as_ref())),
                    ]
                },
                name: &|action| action.action_ref.clone(),
            };
            list(session.format, &actions, &columns)?;
        }
        ActionCommand::Show { action_ref } => {
            let action = find(&session.client, &action_ref).await?;
            show(session.format, &action, &action.action_ref, || {
                Details::new()
                    .field("ref", &action.action_ref)
                    .optional("pack", action.pack.as_ref())
                    .optional("label", action.label.as_ref())
                    .optional("description", action.description.as_ref())
                    .field("enabled", yes_no(action.enabled))
                    .field("runtime", &action.runtime)
                    .field("entrypoint", &action.entrypoint)
                    .field(
                        "parameters by",
                        format!("{} as {}", action.parameter_delivery, action.parameter_format),
                    )
                    .field("output", &action.output_format)
                    .field("timeout", seconds(action.timeout_seconds))
                    .field("on worker loss", &action.on_worker_loss)
                    .optional("retry", (action.retry != json!({})).then_some(&action.retry))
                    .optional("runs on", runs_on(&action))
                    .optional("may", may(&action.permissions))
                    .optional("leaves", leaves(&action))
                    .optional("gets keys", keys(&action))
                    .field("created", moment(session.now(), action.created))
                    .field("updated", moment(session.now(), action.updated))
                    .json("parameters", &action.parameters)
            })?;
        }
        ActionCommand::Enable { action_ref } => switch(&session, &action_ref, true).await?,
        ActionCommand::Disable { action_ref } => switch(&session, &action_ref, false).await?,
    }
    Ok(Exit::Ok)
}

async fn switch(session: &Session, action_ref: &str, enabled: bool) -> anyhow::Result<()> {
    let answer = session.client.switch_action(action_ref, Switch { enabled }).await;
    let action = found("action", action_ref, answer, known(&session.client)).await?;
    let state = if action.enabled { "enabled" } else { "disabled" };
    confirm(
        session.format,
        &action,
        &action.action_ref,
        format_args!("action {} is {state}", action.action_ref),
    )
}

/// The action, or an error that suggests the nearest one.
pub(crate) async fn find(client: &Client, action_ref: &str) -> anyhow::Result<ActionView> {
    found("action", action_ref, client.action(action_ref).await, known(client)).await
}

async fn known(client: &Client) -> Result<Vec<String>, ClientError> {
    Ok(client.actions().await?.items.into_iter().map(|action| action.action_ref).collect())
}

fn seconds(seconds: f64) -> String {
    // The cast saturates, and what is beyond the range of time spans is no limit that anybody meets.
    TimeDelta::try_milliseconds((seconds * 1_000.0) as i64).map_or_else(|| "none".to_owned(), duration)
}

/// What runs of an action, or the process of a sensor, may ask of the API, where anything is declared.
pub(crate) fn may(permissions: &[GrantView]) -> Option<String> {
    let grants = permissions.iter();
    let all: Vec<_> = grants.map(|grant| format!("{} {}", grant.actions.join("+"), grant.resource)).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// What runs of an action leave, where it declares any.
fn leaves(action: &ActionView) -> Option<String> {
    let artifacts = action.artifacts.iter();
    let all: Vec<_> = artifacts.map(|one| format!("{} ({})", one.name, one.artifact_type)).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// The keys whose values runs of an action get, where it names any.
fn keys(action: &ActionView) -> Option<String> {
    let told = |key: &UsedKeyView| match key.required {
        true => key.key_ref.clone(),
        false => format!("{} (if it is set)", key.key_ref),
    };
    let all: Vec<_> = action.keys.iter().map(told).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// Which workers an action asks for, where it asks for any.
fn runs_on(action: &ActionView) -> Option<String> {
    let labels = action.worker_selector.iter().map(|(name, value)| format!("{name}={value}"));
    let tolerated = action.tolerations.iter().map(|taint| format!("tolerates {taint}"));
    let all: Vec<_> = labels.chain(tolerated).collect();
    (!all.is_empty()).then(|| all.join(", "))
}
