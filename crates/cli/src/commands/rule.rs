//! `attune rule`.

mod backtest;
mod event_file;
mod history;
mod replay;
mod rule_file;
mod test;

use attune_client::Client;
use attune_client::types::{RuleChange, RuleView};
use clap::{Subcommand, ValueEnum};
use serde_json::json;

use crate::exit::Exit;
use crate::lookup::found;
use crate::output::{Columns, Details, confirm, list, moment, show, yes_no};
use crate::paging::{Limit, OptionalLimit, is_met, select};
use crate::session::{Options, Session};

use rule_file::RuleFile;
pub(crate) use rule_file::request_of;

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
    /// Make a rule from a file as in the directory `rules` of a pack; it belongs to no pack
    Create {
        /// File of the rule; `-` for standard input
        #[arg(short, long, value_name = "FILE")]
        file: String,
    },
    /// Make an existing rule what its file says; not for rules of packs, which change with their pack
    Update {
        /// File of the rule, whose `ref` says which; `-` for standard input
        #[arg(short, long, value_name = "FILE")]
        file: String,
    },
    /// Remove a rule; what it decided stays recorded
    #[command(visible_alias = "rm")]
    Delete {
        /// Ref of the rule
        #[arg(value_name = "REF")]
        rule_ref: String,
    },
    /// Show what a rule was before: its versions, when each was made and what it changed; also of one that is gone
    History {
        /// Ref of the rule
        #[arg(value_name = "REF")]
        rule_ref: String,
        #[command(flatten)]
        limit: Limit,
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
        RuleCommand::Create { file } => {
            let rule = rule_file::read(&file)?;
            let session = options.session()?;
            let made =
                session.client.create_rule(&rule.request()?).await.map_err(|error| rule.told(error))?;
            let sentence = format!("rule {} is made", made.rule_ref);
            confirm(session.format, &made, &made.rule_ref, sentence)?;
        }
        RuleCommand::Update { file } => {
            let rule = rule_file::read(&file)?;
            let session = options.session()?;
            update(&session, &rule).await?;
        }
        RuleCommand::Delete { rule_ref } => {
            let session = options.session()?;
            let answer = session.client.delete_rule(&rule_ref, None).await;
            found("rule", &rule_ref, answer, known(&session.client)).await?;
            let sentence = format!("rule {rule_ref} is removed");
            confirm(session.format, &json!({"ref": rule_ref}), &rule_ref, sentence)?;
        }
        RuleCommand::History { rule_ref, limit } => {
            history::run(&options.session()?, &rule_ref, limit).await?;
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

/// Replaces the rule, unless somebody else changes it at the same moment.
async fn update(session: &Session, file: &RuleFile) -> anyhow::Result<()> {
    let request = file.request()?;
    let answer = session.client.rule_with_tag(&request.rule_ref).await;
    let (before, tag) = found("rule", &request.rule_ref, answer, known(&session.client)).await?;
    let after =
        session.client.replace_rule(&request, tag.as_deref()).await.map_err(|error| file.told(error))?;
    let sentence = if after.version == before.version {
        format!("rule {} is so already", after.rule_ref)
    } else {
        format!("rule {} is changed; this is version {}", after.rule_ref, after.version)
    };
    confirm(session.format, &after, &after.rule_ref, sentence)
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
        .field("mode", mode_told(&rule.mode))
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
    let details = details.json("action_params", &rule.action_params);
    match &rule.config {
        Some(config) => details.json("config", config),
        None => details,
    }
}
