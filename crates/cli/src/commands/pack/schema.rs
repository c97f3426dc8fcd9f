//! `attune pack schema`: the JSON Schemas of pack files, for editors.

use std::path::{Path, PathBuf};

use anyhow::Context;
use attune_pack::config::Configuration;
use attune_pack::{FileKind, read_manifest};
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::Value;

use crate::failure::Fault;
use crate::output::{Format, json_text, say, write, yaml_text};
use crate::pack_source::from_path;
use crate::session::Options;

#[derive(Debug, Args)]
pub(crate) struct SchemaArgs {
    /// Kind of file
    #[arg(value_name = "KIND", value_parser = kinds(), required_unless_present = "all")]
    kind: Option<String>,
    /// For `config`: the pack whose settings they are [default: files of any pack]
    #[arg(long, value_name = "DIR", requires = "kind")]
    pack: Option<PathBuf>,
    /// Write the schemas of all kinds into a directory, as KIND.json
    #[arg(long, requires = "directory", conflicts_with = "kind")]
    all: bool,
    /// The directory for `--all`; it is made where it is missing
    #[arg(long, value_name = "DIR", requires = "all")]
    directory: Option<PathBuf>,
}

fn kinds() -> PossibleValuesParser {
    PossibleValuesParser::new(FileKind::ALL.iter().map(|kind| kind.as_str()))
}

pub(crate) fn run(args: &SchemaArgs, options: &Options) -> anyhow::Result<()> {
    options.refuse_server()?;
    let kind = FileKind::ALL.iter().find(|kind| args.kind.as_deref() == Some(kind.as_str()));
    match (kind, &args.directory) {
        (Some(FileKind::Config), _) => {
            let schema = match &args.pack {
                Some(pack) => schema_of_settings(pack)?,
                None => FileKind::Config.schema(),
            };
            one(FileKind::Config, &schema, options.format())
        }
        (Some(kind), _) if args.pack.is_some() => {
            Err(Fault::new(format!("--pack has no effect on `{}`: it is for `config`", kind.as_str())).into())
        }
        (Some(kind), _) => one(*kind, &kind.schema(), options.format()),
        (None, Some(directory)) => all(directory),
        // Clap has seen to it that there is one of the two.
        (None, None) => Err(Fault::new("give the kind of a file, or --all").into()),
    }
}

/// The schema of a pack's files for environments.
fn schema_of_settings(pack: &Path) -> anyhow::Result<Value> {
    let files = from_path(pack)?.files;
    let place = pack.display();
    let manifest = read_manifest(&files).ok_or_else(|| {
        Fault::new(format!("pack.yaml of {place} has findings"))
            .hint(format!("attune pack lint {place} shows them"))
    })?;
    let configuration = Configuration::of(&manifest.config_schema)
        .map_err(|problem| Fault::new(format!("`config_schema` of {place}: {problem}")))?;
    let configuration =
        configuration.ok_or_else(|| Fault::new(format!("{place} has no settings: no `config_schema`")))?;
    Ok(configuration.schema_of_files())
}

fn one(kind: FileKind, schema: &Value, format: Format) -> anyhow::Result<()> {
    let text = match format {
        Format::Yaml => yaml_text(&schema)?,
        Format::Name => format!("{}\n", kind.as_str()),
        Format::Table | Format::Json => json_text(&schema)?,
    };
    Ok(write(&text)?)
}

fn all(directory: &Path) -> anyhow::Result<()> {
    let context = || format!("cannot write the schemas into {}", directory.display());
    std::fs::create_dir_all(directory).with_context(context)?;
    for kind in FileKind::ALL {
        let path = directory.join(format!("{}.json", kind.as_str()));
        std::fs::write(&path, json_text(&kind.schema())?).with_context(context)?;
    }
    say(format_args!("{} schemas are in {}", FileKind::ALL.len(), directory.display()));
    Ok(())
}
