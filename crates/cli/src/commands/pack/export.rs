//! `attune pack export`: the files of an installed pack.

use std::path::PathBuf;

use anyhow::Context;
use attune_pack::archive::{Limits, pack_zip, unpack};
use clap::Args;
use serde_json::json;

use super::{create, known};
use crate::lookup::found;
use crate::output::confirm;
use crate::session::Session;

/// More than any server takes.
const MOST_BYTES: usize = 1 << 30;

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Ref of the pack
    #[arg(value_name = "REF")]
    pack_ref: String,
    /// Directory to write its files into, new or empty [default: REF]
    #[arg(value_name = "DIR", conflicts_with = "archive")]
    directory: Option<PathBuf>,
    /// Write an archive instead: a zip archive where the name ends in .zip, else a gzipped tar
    #[arg(long, value_name = "FILE")]
    archive: Option<PathBuf>,
    /// With what was changed of its rules on the server
    #[arg(long)]
    with_edits: bool,
}

pub(crate) async fn run(args: &ExportArgs, session: &Session) -> anyhow::Result<()> {
    let answer = session.client.export_pack(&args.pack_ref, args.with_edits).await;
    let archive = found("pack", &args.pack_ref, answer, known(session)).await?;
    let place = match &args.archive {
        Some(file) => {
            let is_zip = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("zip"));
            let archive =
                if is_zip { pack_zip(&unpack(&archive, Limits::of(MOST_BYTES))?)? } else { archive };
            std::fs::write(file, archive).with_context(|| format!("cannot write {}", file.display()))?;
            file.clone()
        }
        None => {
            // A server is not trusted with paths on this machine.
            let files = unpack(&archive, Limits::of(MOST_BYTES))?;
            let directory = args.directory.clone().unwrap_or_else(|| PathBuf::from(&args.pack_ref));
            create::write(&files, &directory)?;
            directory
        }
    };
    let shown = place.display().to_string();
    confirm(
        session.format,
        &json!({"ref": args.pack_ref, "path": shown}),
        &args.pack_ref,
        format_args!("pack {} is in {shown}", args.pack_ref),
    )
}
