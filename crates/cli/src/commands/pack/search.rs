//! `attune pack search`, and what `attune pack show --index` shows: packs in an index.

use attune_pack::index::{IndexedPack, IndexedVersion};
use clap::Args;
use serde::Serialize;

use super::needs;
use crate::exit::Exit;
use crate::failure::Fault;
use crate::output::{Columns, list, or_dash};
use crate::pack_source::IndexArgs;
use crate::session::Options;

#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    /// Words that are all in the ref, the description or the tags [default: list every pack]
    #[arg(value_name = "WORD")]
    words: Vec<String>,
    #[command(flatten)]
    index: IndexArgs,
}

#[derive(Debug, Serialize)]
struct Row<'a> {
    #[serde(rename = "ref")]
    pack_ref: &'a str,
    /// The version that an installation would take.
    version: Option<String>,
    description: Option<&'a str>,
    index: &'a str,
}

pub(crate) async fn run(args: &SearchArgs, options: &Options) -> anyhow::Result<()> {
    options.refuse_server()?;
    let indexes = args.index.required().await?;
    let mut rows = Vec::new();
    for (index, place) in indexes.read.iter().zip(&indexes.places) {
        rows.extend(index.search(&args.words).map(|(pack_ref, pack): (&str, &IndexedPack)| Row {
            pack_ref,
            version: pack.latest().map(|latest| latest.version.to_string()),
            description: pack.description.as_deref(),
            index: place,
        }));
    }
    let columns = Columns {
        noun: "packs",
        header: &["REF", "VERSION", "DESCRIPTION", "INDEX"],
        row: &|row: &Row<'_>| {
            vec![
                row.pack_ref.to_owned(),
                or_dash(row.version.as_ref()),
                or_dash(row.description.map(str::to_owned)),
                row.index.to_owned(),
            ]
        },
        name: &|row| row.pack_ref.to_owned(),
    };
    list(options.format(), &rows, &columns)
}

#[derive(Debug, Serialize)]
struct VersionRow<'a> {
    #[serde(flatten)]
    version: &'a IndexedVersion,
    index: &'a str,
}

/// The versions that indexes have of a pack, the latest first. An empty index stands for those of the environment.
pub(crate) async fn show(pack_ref: &str, index: String, options: &Options) -> anyhow::Result<()> {
    options.refuse_server()?;
    let indexes = IndexArgs::of(Some(index).filter(|index| !index.is_empty())).required().await?;
    let mut rows = Vec::new();
    for (index, place) in indexes.read.iter().zip(&indexes.places) {
        let versions = index.packs.get(pack_ref).map(|pack| pack.versions.as_slice()).unwrap_or_default();
        rows.extend(versions.iter().map(|version| VersionRow { version, index: place }));
    }
    if rows.is_empty() {
        return Err(Fault::new(format!("no index has the pack {pack_ref}")).exit(Exit::NotFound).into());
    }
    rows.sort_by(|a, b| b.version.version.cmp(&a.version.version));
    let columns = Columns {
        noun: "versions",
        header: &["VERSION", "NEEDS", "SOURCE", "CHECKSUM"],
        row: &|row: &VersionRow<'_>| {
            let version = row.version;
            let needed = (!version.dependencies.is_empty()).then(|| needs(&version.dependencies));
            vec![
                version.version.to_string(),
                or_dash(needed),
                version.source.clone(),
                or_dash(version.sha256.as_ref().or(version.commit.as_ref())),
            ]
        },
        name: &|row| format!("{pack_ref}@{}", row.version.version),
    };
    list(options.format(), &rows, &columns)
}
