//! `attune pause` and `attune resume`: what does not run for now.

use attune_client::types::{PauseRequest, PauseView};
use clap::Args;
use serde_json::json;

use crate::exit::Exit;
use crate::failure::Fault;
use crate::output::{Columns, age, confirm, list, or_dash};
use crate::session::{Options, Session};

/// What is paused or resumed.
#[derive(Debug, Args)]
#[group(id = "scope", multiple = false)]
pub(crate) struct Scope {
    /// One action
    #[arg(long, value_name = "REF")]
    action: Option<String>,
    /// Every action of a pack
    #[arg(long, value_name = "REF")]
    pack: Option<String>,
    /// Everything
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    #[command(flatten)]
    scope: Scope,
    /// Why, for those who wait
    #[arg(long, value_name = "TEXT", requires = "scope")]
    reason: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    scope: Scope,
}

impl Scope {
    fn is_given(&self) -> bool {
        self.action.is_some() || self.pack.is_some() || self.all
    }

    fn is_of(&self, pause: &PauseView) -> bool {
        pause.action == self.action && pause.pack == self.pack
    }

    fn name(&self) -> String {
        name_of(self.action.as_deref(), self.pack.as_deref())
    }
}

fn name_of(action: Option<&str>, pack: Option<&str>) -> String {
    match (action, pack) {
        (Some(action), _) => action.to_owned(),
        (None, Some(pack)) => format!("pack {pack}"),
        (None, None) => "everything".to_owned(),
    }
}

/// Pauses something, or without a scope lists what is paused.
pub(crate) async fn pause(args: PauseArgs, options: &Options) -> anyhow::Result<Exit> {
    let session = options.session()?;
    if !args.scope.is_given() {
        list_pauses(&session).await?;
        return Ok(Exit::Ok);
    }
    let name = args.scope.name();
    let Scope { action, pack, all } = args.scope;
    let request = PauseRequest { action, pack, all, reason: args.reason };
    let pause = session.client.create_pause(&request).await?;
    confirm(session.format, &pause, &name, format_args!("{name} is paused; what runs goes on"))?;
    Ok(Exit::Ok)
}

/// Ends the pause of exactly this scope.
pub(crate) async fn resume(args: ResumeArgs, options: &Options) -> anyhow::Result<Exit> {
    if !args.scope.is_given() {
        return Err(Fault::new("it is not said what to resume")
            .hint("give --action, --pack or --all; `attune pause` lists what is paused")
            .into());
    }
    let session = options.session()?;
    let name = args.scope.name();
    let pauses = session.client.pauses().await?.items;
    let Some(pause) = pauses.iter().find(|pause| args.scope.is_of(pause)) else {
        return Err(Fault::new(format!("{name} is not paused"))
            .hint("`attune pause` lists what is paused")
            .exit(Exit::NotFound)
            .into());
    };
    session.client.delete_pause(pause.id).await?;
    confirm(session.format, &json!({"resumed": name}), &name, format_args!("{name} is resumed"))?;
    Ok(Exit::Ok)
}

async fn list_pauses(session: &Session) -> anyhow::Result<()> {
    let pauses = session.client.pauses().await?.items;
    let name = |pause: &PauseView| name_of(pause.action.as_deref(), pause.pack.as_deref());
    let columns = Columns {
        noun: "pauses",
        header: &["PAUSED", "BY", "AGE", "REASON"],
        row: &|pause: &PauseView| {
            vec![
                name(pause),
                or_dash(pause.by.as_ref()),
                age(session.now(), pause.created),
                or_dash(pause.reason.as_ref()),
            ]
        },
        name: &name,
    };
    list(session.format, &pauses, &columns)
}
