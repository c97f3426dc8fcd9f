//! `attune pack`.

mod config;
mod create;
mod export;
mod install;
mod lint;
mod plan;
mod schema;
mod search;
mod test;

use std::collections::BTreeMap;

use attune_client::ClientError;
use attune_client::types::{DeclaredKeyView, PackDetail, PackView};
use attune_pack::PackFiles;
use clap::Subcommand;
use serde_json::json;

use crate::exit::Exit;
use crate::failure::Fault;
use crate::lookup::found;
use crate::output::{Columns, Details, age, confirm, list, moment, or_dash, say, show, yes_no};
use crate::paging::{OptionalLimit, select};
use crate::session::{Options, Session};

#[derive(Debug, Subcommand)]
pub(crate) enum PackCommand {
    /// Install a pack, or bring the installed one to another version
    Install(install::InstallArgs),
    /// Show what installing a pack would change, and what its rules would have done
    Plan(plan::PlanArgs),
    /// List the installed packs
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        limit: OptionalLimit,
    },
    /// Show a pack and what it defines
    #[command(visible_alias = "get")]
    Show {
        /// Ref of the pack
        #[arg(value_name = "REF")]
        pack_ref: String,
        /// Show the versions that an index has instead [default: the indexes of ATTUNE_PACK_INDEX]
        #[arg(long, value_name = "INDEX", num_args = 0..=1, require_equals = true, default_missing_value = "")]
        index: Option<String>,
    },
    /// Find packs in an index
    Search(search::SearchArgs),
    /// Remove a pack and all that it defines; what happened stays recorded
    #[command(visible_alias = "rm")]
    Remove {
        /// Ref of the pack
        #[arg(value_name = "REF")]
        pack_ref: String,
        /// Remove the packs that use it, or need it, as well
        #[arg(long, conflicts_with = "force")]
        cascade: bool,
        /// Remove it although others use it; what uses it does nothing until the pack is there again
        #[arg(long)]
        force: bool,
    },
    /// Check a pack's directory or archive, without a server
    Lint(lint::LintArgs),
    /// Run the tests of a pack, in `tests/*.yaml`, in a throw-away database
    Test(test::TestArgs),
    /// Show and change the settings of a pack
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Make a pack to start from
    Create(create::CreateArgs),
    /// Write the files of an installed pack
    Export(export::ExportArgs),
    /// Print the JSON Schema of a kind of file, for editors
    Schema(schema::SchemaArgs),
}

pub(crate) async fn run(command: PackCommand, options: &Options) -> anyhow::Result<Exit> {
    match command {
        PackCommand::Install(args) => install::run(&args, &options.session()?).await?,
        PackCommand::Plan(args) => return plan::run(&args, &options.session()?).await,
        PackCommand::Search(args) => search::run(&args, options).await?,
        PackCommand::Show { pack_ref, index: Some(index) } => search::show(&pack_ref, index, options).await?,
        PackCommand::List { limit } => {
            let session = options.session()?;
            list_packs(&session, limit).await?;
        }
        PackCommand::Show { pack_ref, index: None } => {
            let session = options.session()?;
            let answer = session.client.pack(&pack_ref).await;
            let pack = found("pack", &pack_ref, answer, known(&session)).await?;
            show(session.format, &pack, &pack_ref, || details(&session, &pack))?;
        }
        PackCommand::Remove { pack_ref, cascade, force } => {
            let uses = cascade.then_some("cascade").or(force.then_some("leave"));
            remove(&options.session()?, &pack_ref, uses).await?;
        }
        PackCommand::Lint(args) => lint::run(&args, options)?,
        PackCommand::Config(command) => config::run(command, options).await?,
        PackCommand::Create(args) => create::run(&args, options)?,
        PackCommand::Export(args) => export::run(&args, &options.session()?).await?,
        PackCommand::Schema(args) => schema::run(&args, options)?,
        PackCommand::Test(args) => return test::run(&args, options).await,
    }
    Ok(Exit::Ok)
}

async fn known(session: &Session) -> Result<Vec<String>, ClientError> {
    Ok(session.client.packs().await?.items.into_iter().map(|pack| pack.pack_ref).collect())
}

async fn remove(session: &Session, pack_ref: &str, uses: Option<&str>) -> anyhow::Result<()> {
    let answer = session.client.remove_packs(pack_ref, uses).await;
    let answer = match answer {
        Err(ClientError::Problem(problem)) if problem.status == 409 && uses.is_none() => {
            let told: Vec<&str> = problem.errors.iter().map(|item| item.detail.as_str()).collect();
            say(told.join("\n"));
            let fault = Fault::new(problem.detail);
            // What ships with attune stays, whatever is said.
            return Err(if told.is_empty() {
                fault.into()
            } else {
                fault
                    .hint("--cascade removes the packs that use it as well, --force removes it all the same")
                    .into()
            });
        }
        other => other,
    };
    let removed = found("pack", pack_ref, answer, known(session)).await?.removed;
    let sentence = match removed.as_slice() {
        [one] => format!("pack {one} is removed"),
        several => format!("packs {} are removed", several.join(", ")),
    };
    confirm(session.format, &json!({"ref": pack_ref, "removed": removed}), pack_ref, sentence)
}

fn text_of<'a>(files: &'a PackFiles, file: &str) -> Option<&'a str> {
    std::str::from_utf8(&files.get(file)?.content).ok()
}

async fn list_packs(session: &Session, limit: OptionalLimit) -> anyhow::Result<()> {
    let packs = select(session.client.packs().await?, limit, |_| true);
    let columns = Columns {
        noun: "packs",
        header: &["REF", "VERSION", "STANDARD", "AGE", "LABEL"],
        row: &|pack: &PackView| {
            vec![
                pack.pack_ref.clone(),
                pack.version.clone(),
                yes_no(pack.is_standard),
                age(session.now(), pack.created),
                pack.label.clone(),
            ]
        },
        name: &|pack| pack.pack_ref.clone(),
    };
    list(session.format, &packs, &columns)
}

fn details(session: &Session, detail: &PackDetail) -> Details {
    let pack = &detail.pack;
    Details::new()
        .field("ref", &pack.pack_ref)
        .field("version", &pack.version)
        .field("label", &pack.label)
        .optional("description", pack.description.as_ref())
        .optional("author", pack.author.as_ref())
        .optional("tags", (!pack.tags.is_empty()).then(|| pack.tags.join(", ")))
        .field("standard", yes_no(pack.is_standard))
        .optional("dependencies", (!pack.dependencies.is_empty()).then(|| needs(&pack.dependencies)))
        .optional("source", pack.source.as_ref())
        .field("checksum", or_dash(pack.checksum.as_ref()))
        .field("created", moment(session.now(), pack.created))
        .field("updated", moment(session.now(), pack.updated))
        .lines("runtimes", &detail.runtimes)
        .lines("actions", &detail.actions)
        .lines("triggers", &detail.triggers)
        .lines("sensors", sensors(detail))
        .lines("rules", &detail.rules)
        .lines("permission sets", &detail.permission_sets)
        .lines("policies", &detail.policies)
        .lines("queues", &detail.queues)
        .lines("keys", detail.keys.iter().map(declared_key).collect::<Vec<_>>())
}

/// A key that the pack needs, with whether it has a value.
fn declared_key(key: &DeclaredKeyView) -> String {
    let state = match (key.set, key.required) {
        (true, _) if key.exposed => "set, and no secret",
        (true, _) => "set",
        (false, true) => "not set",
        (false, false) => "not set, optional",
    };
    format!("{} ({state})", key.key_ref)
}

/// What is to be done about a key that has no value.
fn missing_key(key: &DeclaredKeyView) -> String {
    let about = key.description.as_ref().or(key.label.as_ref());
    let about = about.map(|about| format!(" - {}", about.trim_end())).unwrap_or_default();
    let optional = if key.required { "" } else { ", which is optional" };
    let plain = if key.secret { "" } else { " --plain" };
    format!(
        "key {} has no value{optional}{about}; set it: attune key set {}{plain}",
        key.key_ref, key.key_ref
    )
}

/// What is to be done about a secret whose value is stored as none.
fn exposed_key(key: &DeclaredKeyView) -> String {
    format!(
        "key {} is a secret of the pack, and its value is stored as none: whoever may read the key sees it; make it a secret: \
         attune key hide {}",
        key.key_ref, key.key_ref
    )
}

/// The sensors, each with what keeps it from running.
fn sensors(detail: &PackDetail) -> Vec<String> {
    let line = |sensor: &String| match detail.sensor_obstacles.get(sensor) {
        Some(obstacle) => format!("{sensor}: {obstacle}"),
        None => sensor.clone(),
    };
    detail.sensors.iter().map(line).collect()
}

/// Packs with ranges of versions, as `core >=0.1, linux ^1.2`.
fn needs(dependencies: &BTreeMap<String, impl std::fmt::Display>) -> String {
    let needs: Vec<String> = dependencies.iter().map(|(name, range)| format!("{name} {range}")).collect();
    needs.join(", ")
}
