//! `attune pack`.

mod test;

use std::path::{Path, PathBuf};

use attune_client::ClientError;
use attune_client::types::{PackDetail, PackInstalled, PackView, Problem};
use attune_pack::{Finding, PackFiles};
use clap::Subcommand;
use serde_json::{Value, json};

use crate::archive;
use crate::diagnostics::{Diagnostic, render};
use crate::exit::Exit;
use crate::failure::Fault;
use crate::lookup::found;
use crate::output::{
    Columns, Details, Format, age, confirm, list, moment, or_dash, say, show, table, write, yes_no,
};
use crate::paging::{OptionalLimit, select};
use crate::session::{Options, Session};

#[derive(Debug, Subcommand)]
pub(crate) enum PackCommand {
    /// Install or upgrade a pack from its directory
    Install {
        /// Directory of the pack
        #[arg(value_name = "DIR")]
        path: PathBuf,
    },
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
    },
    /// Remove a pack and all that it defines; what happened stays recorded
    #[command(visible_alias = "rm")]
    Remove {
        /// Ref of the pack
        #[arg(value_name = "REF")]
        pack_ref: String,
    },
    /// Check a pack's directory, without a server
    Lint {
        /// Directory of the pack
        #[arg(value_name = "DIR")]
        path: PathBuf,
    },
    /// Run the tests of a pack, in `tests/*.yaml`, in a throw-away database
    Test(test::TestArgs),
}

pub(crate) async fn run(command: PackCommand, options: &Options) -> anyhow::Result<Exit> {
    match command {
        PackCommand::Install { path } => install(&options.session()?, &path).await?,
        PackCommand::List { limit } => {
            let session = options.session()?;
            list_packs(&session, limit).await?;
        }
        PackCommand::Show { pack_ref } => {
            let session = options.session()?;
            let answer = session.client.pack(&pack_ref).await;
            let pack = found("pack", &pack_ref, answer, known(&session)).await?;
            show(session.format, &pack, &pack_ref, || details(&session, &pack))?;
        }
        PackCommand::Remove { pack_ref } => {
            let session = options.session()?;
            let answer = session.client.remove_pack(&pack_ref).await;
            found("pack", &pack_ref, answer, known(&session)).await?;
            confirm(
                session.format,
                &json!({"ref": pack_ref}),
                &pack_ref,
                format_args!("pack {pack_ref} is removed"),
            )?;
        }
        PackCommand::Lint { path } => lint(&path, options.format())?,
        PackCommand::Test(args) => return test::run(&args, options).await,
    }
    Ok(Exit::Ok)
}

async fn known(session: &Session) -> Result<Vec<String>, ClientError> {
    Ok(session.client.packs().await?.items.into_iter().map(|pack| pack.pack_ref).collect())
}

async fn install(session: &Session, path: &Path) -> anyhow::Result<()> {
    let files = read(path)?;
    let source = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let archive = archive::pack(&files)?;
    let installed = match session.client.install_pack(archive, &source.to_string_lossy()).await {
        Ok(installed) => installed,
        Err(ClientError::Problem(problem)) if problem.errors.iter().any(|item| item.file.is_some()) => {
            return Err(refused(&problem, path, &files).into());
        }
        Err(error) => return Err(error.into()),
    };
    let pack = &installed.pack.pack;
    let sentence =
        format!("pack {} {} is {}{}", pack.pack_ref, pack.version, installed.outcome, brings(&installed));
    confirm(session.format, &with_addresses(session, &installed)?, &pack.pack_ref, sentence)?;
    if session.format == Format::Table && !installed.webhooks.is_empty() {
        let rows = installed
            .webhooks
            .iter()
            .map(|webhook| vec![webhook.trigger.clone(), session.address(&webhook.path)]);
        write(&table(&["TRIGGER", "WEBHOOK"], rows))?;
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<PackFiles> {
    let found = archive::read(path)?;
    if !found.left_out.is_empty() {
        say(format_args!("left out: {}", found.left_out.join(", ")));
    }
    Ok(found.files)
}

/// Tells every finding of the server with the line that it is about.
fn refused(problem: &Problem, directory: &Path, files: &PackFiles) -> Fault {
    for item in &problem.errors {
        let mut diagnostic = Diagnostic::from(item);
        diagnostic.file = item.file.as_ref().map(|file| directory.join(file).display().to_string());
        let source = item.file.as_ref().and_then(|file| text_of(files, file));
        say(render(&diagnostic, source));
    }
    Fault::new(problem.detail.clone())
}

/// The pack as the API gives it, with the webhooks' whole addresses as `url`.
fn with_addresses(session: &Session, installed: &PackInstalled) -> serde_json::Result<Value> {
    let mut shown = serde_json::to_value(installed)?;
    let webhooks = shown.get_mut("webhooks").and_then(Value::as_array_mut);
    for (shown, webhook) in webhooks.into_iter().flatten().zip(&installed.webhooks) {
        shown["url"] = Value::String(session.address(&webhook.path));
    }
    Ok(shown)
}

/// What the pack defines, as `: 2 actions, 1 rule`.
fn brings(installed: &PackInstalled) -> String {
    let pack = &installed.pack;
    let counts = [
        (pack.runtimes.len(), "runtime", "runtimes"),
        (pack.actions.len(), "action", "actions"),
        (pack.triggers.len(), "trigger", "triggers"),
        (pack.sensors.len(), "sensor", "sensors"),
        (pack.rules.len(), "rule", "rules"),
        (pack.permission_sets.len(), "permission set", "permission sets"),
        (pack.policies.len(), "policy", "policies"),
        (pack.queues.len(), "queue", "queues"),
    ];
    let parts: Vec<_> = counts
        .into_iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, one, several)| format!("{count} {}", if count == 1 { one } else { several }))
        .collect();
    if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) }
}

fn lint(path: &Path, format: Format) -> anyhow::Result<()> {
    let files = read(path)?;
    let (findings, pack) = match attune_pack::read(&files) {
        Ok(pack) => (Vec::new(), format!("{} {}", pack.manifest.r#ref, pack.manifest.version)),
        Err(findings) => (findings, String::new()),
    };
    let place = |finding: &Finding| {
        format!("{}:{}:{}", path.join(&finding.file).display(), finding.line, finding.column)
    };
    match format {
        Format::Table => {
            for finding in &findings {
                let diagnostic = Diagnostic {
                    message: &finding.message,
                    file: Some(path.join(&finding.file).display().to_string()),
                    line: usize::try_from(finding.line).ok(),
                    column: usize::try_from(finding.column).ok(),
                    pointer: Some(&finding.pointer),
                    expected: finding.expected.as_deref(),
                    suggestion: finding.suggestion.as_deref(),
                };
                write(&(render(&diagnostic, text_of(&files, &finding.file)) + "\n"))?;
            }
        }
        Format::Json | Format::Yaml | Format::Name => {
            let columns = Columns { noun: "findings", header: &[], row: &|_| Vec::new(), name: &place };
            list(format, &findings, &columns)?;
        }
    }
    match findings.len() {
        0 => {
            say(format_args!("pack {pack} has no findings"));
            Ok(())
        }
        1 => Err(Fault::new(format!("1 finding in {}", path.display())).into()),
        count => Err(Fault::new(format!("{count} findings in {}", path.display())).into()),
    }
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
        .optional("source", pack.source.as_ref())
        .field("checksum", or_dash(pack.checksum.as_ref()))
        .field("created", moment(session.now(), pack.created))
        .field("updated", moment(session.now(), pack.updated))
        .lines("runtimes", &detail.runtimes)
        .lines("actions", &detail.actions)
        .lines("triggers", &detail.triggers)
        .lines("sensors", &detail.sensors)
        .lines("rules", &detail.rules)
        .lines("permission sets", &detail.permission_sets)
        .lines("policies", &detail.policies)
        .lines("queues", &detail.queues)
}
