//! `attune rule`.

mod event_file;
mod replay;
mod test;

use attune_client::Client;
use attune_client::types::{RuleChange, RuleView};
use clap::Subcommand;

use crate::exit::Exit;
use crate::lookup::found;
use crate::output::{Columns, Details, confirm, list, moment, show, yes_no};
use crate::paging::{OptionalLimit, is_met, select};
use crate::session::{Options, Session};

#[derive(Debug, Subcommand)]
pub(crate) enum RuleCommand {
    /// List the rules
    #[command(visible_alias = "ls")]
    List {
        /// Only of this pack
        #[arg(long, value_name = "REF")]
        pack: Option<String>,
        /// Only of this trigger
        #[arg(long, value_name = "REF")]
        trigger: Option<String>,
        /// Only those that start this action
        #[arg(long, value_name = "REF")]
        action: Option<String>,
        #[command(flatten)]
        limit: OptionalLimit,
    },
    /// Show a rule with its conditions
    #[command(visible_alias = "get")]
    Show {
        /// Ref of the rule
        #[arg(value_name = "REF")]
        rule_ref: String,
    },
    /// Let a rule act on events from now on
    Enable {
        /// Ref of the rule
        #[arg(value_name = "REF")]
        rule_ref: String,
    },
    /// Keep a rule from acting on events
    Disable {
        /// Ref of the rule
        #[arg(value_name = "REF")]
        rule_ref: String,
    },
    /// Judge events by a rule's file, without a server: every condition, the verdict, the parameters
    Test(test::TestArgs),
}

pub(crate) async fn run(command: RuleCommand, options: &Options) -> anyhow::Result<Exit> {
    match command {
        RuleCommand::List { pack, trigger, action, limit } => {
            let session = options.session()?;
            let rules = select(session.client.rules().await?, limit, |rule| {
                is_met(pack.as_ref(), rule.pack.as_deref().unwrap_or_default())
                    && is_met(trigger.as_ref(), &rule.trigger)
                    && is_met(action.as_ref(), &rule.action)
            });
            let columns = Columns {
                noun: "rules",
                header: &["REF", "ENABLED", "TRIGGER", "ACTION", "VERSION"],
                row: &|rule: &RuleView| {
                    vec![
                        rule.rule_ref.clone(),
                        yes_no(rule.enabled),
                        rule.trigger.clone(),
                        rule.action.clone(),
                        rule.version.to_string(),
                    ]
                },
                name: &|rule| rule.rule_ref.clone(),
            };
            list(session.format, &rules, &columns)?;
        }
        RuleCommand::Show { rule_ref } => {
            let session = options.session()?;
            let answer = session.client.rule(&rule_ref).await;
            let rule = found("rule", &rule_ref, answer, known(&session.client)).await?;
            show(session.format, &rule, &rule.rule_ref, || details(&session, &rule))?;
        }
        RuleCommand::Enable { rule_ref } => set_enabled(&options.session()?, &rule_ref, true).await?,
        RuleCommand::Disable { rule_ref } => set_enabled(&options.session()?, &rule_ref, false).await?,
        RuleCommand::Test(args) => return test::run(&args, options),
    }
    Ok(Exit::Ok)
}

async fn set_enabled(session: &Session, rule_ref: &str, enabled: bool) -> anyhow::Result<()> {
    let change = RuleChange { enabled: Some(enabled) };
    let answer = session.client.change_rule(rule_ref, &change).await;
    let rule = found("rule", rule_ref, answer, known(&session.client)).await?;
    let state = if rule.enabled { "enabled" } else { "disabled" };
    confirm(session.format, &rule, &rule.rule_ref, format_args!("rule {} is {state}", rule.rule_ref))
}

async fn known(client: &Client) -> Result<Vec<String>, attune_client::ClientError> {
    Ok(client.rules().await?.items.into_iter().map(|rule| rule.rule_ref).collect())
}

fn details(session: &Session, rule: &RuleView) -> Details {
    let details = Details::new()
        .field("ref", &rule.rule_ref)
        .optional("pack", rule.pack.as_ref())
        .optional("label", rule.label.as_ref())
        .optional("description", rule.description.as_ref())
        .field("enabled", yes_no(rule.enabled))
        .field("version", rule.version)
        .field("trigger", &rule.trigger)
        .field("condition", format!("{} of the conditions", rule.condition))
        .field("action", &rule.action)
        .field("created", moment(session.now(), rule.created))
        .field("updated", moment(session.now(), rule.updated))
        .json("trigger_params", &rule.trigger_params)
        .json("conditions", &rule.conditions);
    let details = match &rule.window {
        Some(window) => details.json("window", window),
        None => details,
    };
    details.json("action_params", &rule.action_params)
}
