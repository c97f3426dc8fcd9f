//! `attune pack install`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use attune_client::types::{EditConflict, KeptEdit, PackInstalled, Problem};
use attune_client::{Client, ClientError, InstallWishes};
use attune_pack::bundle::{self, Bundled};
use attune_pack::index::choose;
use attune_pack::{PackDefinition, PackFiles};
use clap::Args;
use semver::{Version, VersionReq};
use serde_json::{Map, Value};

use super::{exposed_key, missing_key, text_of};
use crate::archive;
use crate::diagnostics::{Diagnostic, render};
use crate::failure::Fault;
use crate::output::{Format, confirm, say, table, write};
use crate::pack_source::{Fetched, IndexArgs, Indexes, Kind, SourceArgs, fetch_indexed, installed};
use crate::session::Session;
use crate::settings;

const AFTER_HELP: &str = "\
Packs that it needs and that are not installed are installed with it, in one transaction, where an index has them.

What was changed of the pack's rules on the server stays, where the pack has not changed the same; where it has, nothing is
installed until --keep-edits or --overwrite-edits says which counts.

Examples:
  attune pack install ./ops
  attune pack install ops-1.2.0.tar.gz
  attune pack install https://git.example.org/team/ops.git --ref v1.2.0
  attune pack install linux@^1.2 --index https://packs.example.org/index.yaml";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct InstallArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    edits: EditArgs,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Settings that are given with a pack.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// File with settings of the pack, secrets too, in YAML or JSON; they are set in the same transaction
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What becomes of changes made on the server.
#[derive(Debug, Args)]
pub(crate) struct EditArgs {
    /// Where the pack and somebody on the server changed the same of a rule, the server's counts
    #[arg(long, conflicts_with = "overwrite_edits")]
    keep_edits: bool,
    /// All that was changed of the pack's rules on the server becomes what the pack says
    #[arg(long)]
    overwrite_edits: bool,
}

impl EditArgs {
    /// The name that the server knows it by.
    pub(crate) fn wish(&self) -> Option<&'static str> {
        self.keep_edits.then_some("keep").or(self.overwrite_edits.then_some("overwrite"))
    }
}

pub(crate) async fn run(args: &InstallArgs, session: &Session) -> anyhow::Result<()> {
    let packs = gather(&args.source, &args.config, &session.client).await?;
    let (archive, source) = packs.archive()?;
    let wishes = InstallWishes { source: source.as_deref(), edits: args.edits.wish() };
    let installed = match session.client.install_packs(archive, wishes).await {
        Ok(installed) => installed,
        Err(error) => return Err(packs.told(error)),
    };
    tell(session, &installed)
}

/// Packs that go to the server together; the last is the one that was asked for.
pub(crate) struct Packs {
    fetched: Vec<Fetched>,
    /// Settings for that one.
    config: Map<String, Value>,
}

/// Fetches a pack, and what it needs and the server has not, where an index has it.
pub(crate) async fn gather(
    source: &SourceArgs,
    config: &ConfigArgs,
    client: &Client,
) -> anyhow::Result<Packs> {
    // A file that is no good is told before anything is fetched.
    let given = config.config.as_deref().map(settings::read).transpose()?;
    let fetched = fetch(source, client).await?;
    if let (Some(values), Some(path), Some(asked)) = (&given, &config.config, fetched.last())
        && let Some(manifest) = attune_pack::read_manifest(&asked.files)
    {
        settings::check(&manifest, values, path)?;
    }
    Ok(Packs { fetched, config: given.unwrap_or_default() })
}

async fn fetch(source: &SourceArgs, client: &Client) -> anyhow::Result<Vec<Fetched>> {
    let kind = source.kind()?;
    if let Kind::Indexed(name, range) = &kind {
        let indexes = source.index.required().await.map_err(|error| hinted(error, name))?;
        let wanted = BTreeMap::from([(name.clone(), range.clone())]);
        let chosen = chosen(&indexes, &wanted, None, client).await?;
        let main = chosen.iter().position(|fetched| fetched.0 == *name);
        let mut packs: Vec<Fetched> = Vec::new();
        let mut asked = None;
        for (at, (_, fetched)) in chosen.into_iter().enumerate() {
            if Some(at) == main { asked = Some(fetched) } else { packs.push(fetched) }
        }
        packs.extend(asked);
        return Ok(packs);
    }
    let fetched = source.fetch(&kind).await?;
    let mut packs = needed(&fetched, &source.index, client).await?;
    packs.push(fetched);
    Ok(packs)
}

fn hinted(error: anyhow::Error, name: &str) -> anyhow::Error {
    error.context(format!(
        "there is no directory or file {name}, and no index to look for a pack of that name"
    ))
}

/// What a pack needs and an index has; without an index the server says what is missing.
async fn needed(fetched: &Fetched, index: &IndexArgs, client: &Client) -> anyhow::Result<Vec<Fetched>> {
    // A pack with faults is told with all of them when it is sent.
    let Ok(definition) = attune_pack::read(&fetched.files) else { return Ok(Vec::new()) };
    let manifest = definition.manifest;
    let wanted: BTreeMap<String, VersionReq> =
        manifest.dependencies.into_iter().map(|(name, range)| (name, range.value)).collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let indexes = index.read().await?;
    if indexes.places.is_empty() {
        return Ok(Vec::new());
    }
    let needed_by = (manifest.r#ref.as_str(), &manifest.version);
    let chosen = chosen(&indexes, &wanted, Some(needed_by), client).await?;
    Ok(chosen.into_iter().filter(|(name, _)| *name != manifest.r#ref).map(|(_, fetched)| fetched).collect())
}

/// What an index has of what is wanted, each after what it needs.
async fn chosen(
    indexes: &Indexes,
    wanted: &BTreeMap<String, VersionReq>,
    needed_by: Option<(&str, &Version)>,
    client: &Client,
) -> anyhow::Result<Vec<(String, Fetched)>> {
    let installed = installed(client).await?;
    let choices = choose(&indexes.read, wanted, needed_by, &installed)
        .map_err(|error| Fault::new(error.to_string()))?;
    let mut packs = Vec::new();
    for choice in choices {
        let fetched = fetch_indexed(&choice, &indexes.places[choice.index]).await?;
        packs.push((choice.name, fetched));
    }
    Ok(packs)
}

impl Packs {
    /// The archive of them all, and where the pack came from when it is one alone.
    pub(crate) fn archive(&self) -> anyhow::Result<(Vec<u8>, Option<String>)> {
        if let [fetched] = self.fetched.as_slice()
            && self.config.is_empty()
        {
            return Ok((archive::pack(&fetched.files)?, Some(fetched.source.clone())));
        }
        let bundled = self.named().map(|(directory, fetched)| Bundled {
            directory,
            source: Some(fetched.source.clone()),
            config: Map::new(),
            files: fetched.files.clone(),
        });
        let mut bundled: Vec<Bundled> = bundled.collect();
        if let Some(asked) = bundled.last_mut() {
            asked.config.clone_from(&self.config);
        }
        Ok((archive::pack(&bundle::join(bundled))?, None))
    }

    /// The packs with the directories that they stand in; nothing in a bundle of one.
    fn named(&self) -> impl Iterator<Item = (String, &Fetched)> {
        self.fetched.iter().enumerate().map(|(at, fetched)| {
            let name = attune_pack::read(&fetched.files).map(|pack| pack.manifest.r#ref);
            (name.unwrap_or_else(|_| format!("pack-{}", at + 1)), fetched)
        })
    }

    /// What the pack of this ref defines.
    pub(crate) fn definition(&self, pack_ref: &str) -> Option<PackDefinition> {
        let definitions = self.fetched.iter().filter_map(|fetched| attune_pack::read(&fetched.files).ok());
        definitions.into_iter().find(|definition| definition.manifest.r#ref == pack_ref)
    }

    /// What the server says against them, told with the lines that it is about.
    pub(crate) fn told(&self, error: ClientError) -> anyhow::Error {
        match error {
            ClientError::Problem(problem) if problem.errors.iter().any(|item| item.file.is_some()) => {
                self.refused(&problem).into()
            }
            other => other.into(),
        }
    }

    fn refused(&self, problem: &Problem) -> Fault {
        for item in &problem.errors {
            let mut diagnostic = Diagnostic::from(item);
            let found = item.file.as_ref().map(|file| self.place(file));
            diagnostic.file = found.as_ref().map(|(path, ..)| path.display().to_string());
            let source = found.and_then(|(_, files, file)| text_of(files, file));
            if problem.status == 409 {
                diagnostic.expected = None;
            }
            say(render(&diagnostic, source));
        }
        let fault = Fault::new(problem.detail.clone());
        match problem.status {
            409 => fault
                .hint("--keep-edits keeps what is on the server, --overwrite-edits takes what the pack says"),
            _ => fault,
        }
    }

    /// A file that the server names: where it can be opened, in which pack, and by which name there.
    fn place<'a>(&'a self, file: &'a str) -> (PathBuf, &'a PackFiles, &'a str) {
        static NONE: PackFiles = PackFiles::new();
        let single = |fetched: &'a Fetched| (String::new(), fetched);
        let packs: Vec<(String, &Fetched)> = match self.fetched.as_slice() {
            [fetched] if self.config.is_empty() => vec![single(fetched)],
            _ => self.named().map(|(name, fetched)| (format!("{name}/"), fetched)).collect(),
        };
        for (prefix, fetched) in packs {
            if let Some(name) = file.strip_prefix(&prefix) {
                let path = match &fetched.directory {
                    Some(directory) => directory.join(name),
                    None => PathBuf::from(file),
                };
                return (path, &fetched.files, name);
            }
        }
        (PathBuf::from(file), &NONE, file)
    }
}

fn tell(session: &Session, installed: &PackInstalled) -> anyhow::Result<()> {
    let pack = &installed.pack.pack;
    if session.format == Format::Table {
        for with in &installed.with {
            say(format_args!("pack {} {} is {}", with.pack_ref, with.version, with.outcome));
        }
        for kept in &installed.kept {
            say(format_args!("kept: {}", kept_sentence(kept)));
        }
    }
    let sentence =
        format!("pack {} {} is {}{}", pack.pack_ref, pack.version, installed.outcome, brings(installed));
    confirm(session.format, &with_addresses(session, installed)?, &pack.pack_ref, sentence)?;
    if session.format == Format::Table {
        for key in installed.pack.keys.iter().filter(|key| !key.set) {
            say(missing_key(key));
        }
        for key in installed.pack.keys.iter().filter(|key| key.exposed) {
            say(exposed_key(key));
        }
    }
    if session.format == Format::Table && !installed.webhooks.is_empty() {
        let rows = installed
            .webhooks
            .iter()
            .map(|webhook| vec![webhook.trigger.clone(), session.address(&webhook.path)]);
        write(&table(&["TRIGGER", "WEBHOOK"], rows))?;
    }
    Ok(())
}

pub(super) fn kept_sentence(kept: &KeptEdit) -> String {
    format!(
        "`{}` of {} {} is {} on the server and {} in the pack",
        kept.member, kept.kind, kept.component, kept.here, kept.pack
    )
}

pub(super) fn conflict_sentence(conflict: &EditConflict) -> String {
    let before = conflict.before.as_ref().map_or_else(|| "not known".to_owned(), Value::to_string);
    match &conflict.member {
        Some(member) => format!(
            "`{member}` of rule {} was {before}, is {} on the server and {} in the pack",
            conflict.rule, conflict.here, conflict.pack
        ),
        None => format!(
            "rule {} was changed on the server, from {before} to {}, and the pack no longer has it",
            conflict.rule, conflict.here
        ),
    }
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
        (pack.keys.len(), "key", "keys"),
    ];
    let parts: Vec<_> = counts
        .into_iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, one, several)| format!("{count} {}", if count == 1 { one } else { several }))
        .collect();
    if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) }
}
