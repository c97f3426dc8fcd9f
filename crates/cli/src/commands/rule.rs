//! `attune rule`.

mod backtest;
mod event_file;
mod test;

use attune_client::Client;
use attune_client::types::{RuleChange, RuleView};
use clap::{Subcommand, ValueEnum};

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
    /// Let a rule run its action where it fires, or only record what it would have done
    Mode {
        /// Ref of the rule
        #[arg(value_name = "REF")]
        rule_ref: String,
        /// active: it acts; shadow: it leaves enforcements that are `disabled`, and starts nothing
        #[arg(value_enum)]
        mode: Mode,
    },
    /// Judge recorded events by a draft or a stored rule: how often and when it would have fired
    Backtest(backtest::BacktestArgs),
    /// Judge events by a rule's file, without a server: every condition, the verdict, the parameters
    Test(test::TestArgs),
}

/// What a rule does where it fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    Active,
    Shadow,
}

impl Mode {
    fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Shadow => "shadow",
        }
    }
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
                header: &["REF", "ENABLED", "MODE", "TRIGGER", "ACTION", "VERSION"],
                row: &|rule: &RuleView| {
                    vec![
                        rule.rule_ref.clone(),
                        yes_no(rule.enabled),
                        rule.mode.clone(),
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
        RuleCommand::Mode { rule_ref, mode } => set_mode(&options.session()?, &rule_ref, mode).await?,
        RuleCommand::Backtest(args) => return backtest::run(args, options).await,
        RuleCommand::Test(args) => return test::run(&args, options),
    }
    Ok(Exit::Ok)
}

async fn set_enabled(session: &Session, rule_ref: &str, enabled: bool) -> anyhow::Result<()> {
    let change = RuleChange { enabled: Some(enabled), ..RuleChange::default() };
    let answer = session.client.change_rule(rule_ref, &change).await;
    let rule = found("rule", rule_ref, answer, known(&session.client)).await?;
    let state = if rule.enabled { "enabled" } else { "disabled" };
    confirm(session.format, &rule, &rule.rule_ref, format_args!("rule {} is {state}", rule.rule_ref))
}

async fn set_mode(session: &Session, rule_ref: &str, mode: Mode) -> anyhow::Result<()> {
    let change = RuleChange { mode: Some(mode.as_str().to_owned()), ..RuleChange::default() };
    let answer = session.client.change_rule(rule_ref, &change).await;
    let rule = found("rule", rule_ref, answer, known(&session.client)).await?;
    let told = match mode {
        Mode::Active => "acts on events from now on",
        Mode::Shadow => "only records what it would do from now on",
    };
    let idle = if rule.enabled { "" } else { "; it is disabled" };
    confirm(session.format, &rule, &rule.rule_ref, format_args!("rule {} {told}{idle}", rule.rule_ref))
}

fn mode_told(mode: &str) -> &str {
    if mode == Mode::Shadow.as_str() {
        "shadow: it records what it would do and starts nothing"
    } else {
        mode
    }
}

async fn known(client: &Client) -> Result<Vec<String>, attune_client::ClientError> {
    Ok(client.rules().await?.items.into_iter().map(|rule| rule.rule_ref).collect())
}

fn details(session: &Session, rule: &RuleView) -> Details {
    Details::new()
        .field("ref", &rule.rule_ref)
        .optional("pack", rule.pack.as_ref())
        .optional("label", rule.label.as_ref())
        .optional("description", rule.description.as_ref())
        .field("enabled", yes_no(rule.enabled))
        .field("mode", mode_told(&rule.mode))
        .field("version", rule.version)
        .field("trigger", &rule.trigger)
        .field("condition", format!("{} of the conditions", rule.condition))
        .field("action", &rule.action)
        .field("created", moment(session.now(), rule.created))
        .field("updated", moment(session.now(), rule.updated))
        .json("trigger_params", &rule.trigger_params)
        .json("conditions", &rule.conditions)
        .json("action_params", &rule.action_params)
}
