//! `attune trigger`.

use attune_client::Client;
use attune_client::types::TriggerView;
use clap::Subcommand;
use serde_json::Value;

use crate::exit::Exit;
use crate::lookup::found;
use crate::output::{Columns, Details, list, moment, or_dash, show, yes_no};
use crate::paging::{OptionalLimit, is_met, select};
use crate::session::{Options, Session};

#[derive(Debug, Subcommand)]
pub(crate) enum TriggerCommand {
    /// List the triggers
    #[command(visible_alias = "ls")]
    List {
        /// Only of this pack
        #[arg(long, value_name = "REF")]
        pack: Option<String>,
        #[command(flatten)]
        limit: OptionalLimit,
    },
    /// Show a trigger with the address of its webhook
    #[command(visible_alias = "get")]
    Show {
        /// Ref of the trigger
        #[arg(value_name = "REF")]
        trigger_ref: String,
    },
}

pub(crate) async fn run(command: TriggerCommand, options: &Options) -> anyhow::Result<Exit> {
    let session = options.session()?;
    match command {
        TriggerCommand::List { pack, limit } => {
            let triggers = select(session.client.triggers().await?, limit, |trigger| {
                is_met(pack.as_ref(), trigger.pack.as_deref().unwrap_or_default())
            });
            let columns = Columns {
                noun: "triggers",
                header: &["REF", "ENABLED", "WEBHOOK", "DESCRIPTION"],
                row: &|trigger: &TriggerView| {
                    vec![
                        trigger.trigger_ref.clone(),
                        yes_no(trigger.enabled),
                        yes_no(trigger.webhook.is_some()),
                        or_dash(trigger.description.as_ref().or(trigger.label.as_ref())),
                    ]
                },
                name: &|trigger| trigger.trigger_ref.clone(),
            };
            list(session.format, &triggers, &columns)?;
        }
        TriggerCommand::Show { trigger_ref } => {
            let trigger = find(&session.client, &trigger_ref).await?;
            let shown = with_address(&session, &trigger)?;
            show(session.format, &shown, &trigger.trigger_ref, || details(&session, &trigger))?;
        }
    }
    Ok(Exit::Ok)
}

async fn find(client: &Client, trigger_ref: &str) -> anyhow::Result<TriggerView> {
    let known = async {
        let page = client.triggers().await?;
        Ok(page.items.into_iter().map(|trigger| trigger.trigger_ref).collect())
    };
    found("trigger", trigger_ref, client.trigger(trigger_ref).await, known).await
}

/// The trigger as the API gives it, with the webhook's whole address as `webhook.url`.
fn with_address(session: &Session, trigger: &TriggerView) -> serde_json::Result<Value> {
    let mut shown = serde_json::to_value(trigger)?;
    let path = trigger.webhook.as_ref().and_then(|webhook| webhook.path.as_ref());
    if let (Some(path), Some(Value::Object(webhook))) = (path, shown.get_mut("webhook")) {
        webhook.insert("url".to_owned(), Value::String(session.address(path)));
    }
    Ok(shown)
}

fn details(session: &Session, trigger: &TriggerView) -> Details {
    let mut details = Details::new()
        .field("ref", &trigger.trigger_ref)
        .optional("pack", trigger.pack.as_ref())
        .optional("label", trigger.label.as_ref())
        .optional("description", trigger.description.as_ref())
        .field("enabled", yes_no(trigger.enabled));
    if let Some(webhook) = &trigger.webhook {
        let address = webhook.path.as_ref().map_or_else(
            || "not shown: this needs the permission to read webhooks".to_owned(),
            |path| session.address(path),
        );
        let signature = match (&webhook.signature, &webhook.secret) {
            (Some(scheme), Some(key)) => format!("{scheme}, with the key {key}"),
            (Some(scheme), None) => scheme.clone(),
            (None, _) => "not checked".to_owned(),
        };
        details = details.field("webhook", address).field("signature", signature);
    }
    details
        .field("created", moment(session.now(), trigger.created))
        .field("updated", moment(session.now(), trigger.updated))
        .json("parameters", &trigger.parameters)
        .json("out_schema", &trigger.out_schema)
}
