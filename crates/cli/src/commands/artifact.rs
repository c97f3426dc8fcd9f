//! `attune artifact`: what runs leave.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use attune_client::ArtifactBody;
use attune_client::types::{ArtifactVersionView, ArtifactView};
use clap::{Subcommand, ValueEnum};
use futures::StreamExt;
use serde_json::json;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio_util::io::ReaderStream;

use crate::commands::execution::own_execution;
use crate::exit::Exit;
use crate::failure::Fault;
use crate::input;
use crate::output::{Columns, Details, age, confirm, list, moment, or_dash, say, show, table};
use crate::paging::{Limit, collect};
use crate::session::{Options, Session};

/// What an artifact holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Any bytes
    File,
    /// Rows with columns, as JSON
    Table,
    /// An address, as JSON
    Link,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Table => "table",
            Self::Link => "link",
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum ArtifactCommand {
    /// List artifacts, or what an execution left
    #[command(visible_alias = "ls")]
    List {
        /// Only of this action or pack
        #[arg(long, value_name = "REF")]
        owner: Option<String>,
        /// Only of this type
        #[arg(long = "type", value_name = "TYPE")]
        kind: Option<Kind>,
        /// The versions that this execution left
        #[arg(long, value_name = "ID", conflicts_with_all = ["owner", "kind", "limit"])]
        execution: Option<i64>,
        #[command(flatten)]
        limit: Limit,
    },
    /// Show an artifact and its versions
    #[command(visible_alias = "get")]
    Show {
        /// Ref of the artifact
        #[arg(value_name = "REF")]
        artifact_ref: String,
    },
    /// Get the content of a version
    Download {
        /// Ref of the artifact
        #[arg(value_name = "REF")]
        artifact_ref: String,
        /// Which version [default: the newest]
        #[arg(long = "version", value_name = "N")]
        number: Option<i32>,
        /// Where to put it; `-` for standard output [default: a file with the name of the artifact]
        #[arg(long = "to", short = 'f', value_name = "FILE")]
        to: Option<PathBuf>,
    },
    /// Leave a file under a name, as an action does; with --ref, as a version of an artifact of a pack
    Upload {
        /// The file; `-` for standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Under which name [default: that of the file]
        #[arg(long, value_name = "NAME", conflicts_with = "artifact_ref")]
        name: Option<String>,
        /// In the name of this execution [default: the one that this command runs in]
        #[arg(long, value_name = "ID", conflicts_with = "artifact_ref")]
        execution: Option<i64>,
        /// The artifact of a pack
        #[arg(long = "ref", value_name = "REF")]
        artifact_ref: Option<String>,
        /// What it holds
        #[arg(long = "type", value_name = "TYPE")]
        kind: Option<Kind>,
        /// Whose it is: of the action, or of the execution alone [default: as the action declares, or of the action]
        #[arg(long, value_name = "SCOPE", value_parser = ["action", "execution"], conflicts_with = "artifact_ref")]
        scope: Option<String>,
        /// Its content type [default: application/octet-stream]
        #[arg(long, value_name = "TYPE")]
        content_type: Option<String>,
        /// Only so many of the newest versions are kept
        #[arg(long, value_name = "N")]
        keep_versions: Option<i32>,
        /// Versions are kept for so many days
        #[arg(long, value_name = "DAYS")]
        keep_days: Option<i32>,
    },
    /// Remove an artifact with all versions, or one version
    Delete {
        /// Ref of the artifact
        #[arg(value_name = "REF")]
        artifact_ref: String,
        /// Only this version
        #[arg(long = "version", value_name = "N")]
        number: Option<i32>,
    },
}

pub(crate) async fn run(command: ArtifactCommand, options: &Options) -> anyhow::Result<Exit> {
    let session = options.session()?;
    match command {
        ArtifactCommand::List { execution: Some(id), .. } => {
            let versions = session.client.execution_artifacts(id).await?.items;
            list_versions(&session, &versions)?;
        }
        ArtifactCommand::List { owner, kind, execution: None, limit } => {
            let filters = vec![("owner", owner), ("type", kind.map(|kind| kind.name().to_owned()))];
            let artifacts =
                collect(limit, session.format, filters, async |query| session.client.artifacts(query).await)
                    .await?;
            let columns = Columns {
                noun: "artifacts",
                header: &["REF", "TYPE", "OWNER", "VERSION", "SIZE", "EXECUTION", "AGE"],
                row: &|artifact: &ArtifactView| {
                    let latest = artifact.latest.as_ref();
                    vec![
                        artifact.artifact_ref.clone(),
                        artifact.artifact_type.clone(),
                        or_dash(artifact.owner.as_ref()),
                        or_dash(latest.map(|latest| latest.version)),
                        or_dash(latest.map(|latest| latest.size)),
                        or_dash(latest.and_then(|latest| latest.execution)),
                        or_dash(latest.map(|latest| age(session.now(), latest.created))),
                    ]
                },
                name: &|artifact| artifact.artifact_ref.clone(),
            };
            list(session.format, &artifacts, &columns)?;
        }
        ArtifactCommand::Show { artifact_ref } => {
            let artifact = session.client.artifact(&artifact_ref).await?;
            show(session.format, &artifact, &artifact_ref, || {
                let versions = artifact.versions.iter().map(|version| version_row(&session, version));
                details(&session, &artifact.artifact).block("versions", &table(&VERSION_HEADER, versions))
            })?;
        }
        ArtifactCommand::Download { artifact_ref, number, to } => {
            download(&session, &artifact_ref, number, to).await?;
        }
        ArtifactCommand::Upload {
            file,
            name,
            execution,
            artifact_ref,
            kind,
            scope,
            content_type,
            keep_versions,
            keep_days,
        } => {
            let (body, label) = body_of(&file, content_type).await?;
            let query: Vec<(&str, String)> = [
                ("type", kind.map(|kind| kind.name().to_owned())),
                ("scope", scope),
                ("keep_versions", keep_versions.map(|count| count.to_string())),
                ("keep_days", keep_days.map(|count| count.to_string())),
                ("label", label.clone()),
            ]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect();
            let version = match artifact_ref {
                Some(artifact_ref) => {
                    session.client.add_artifact_version(&artifact_ref, &query, body).await?
                }
                None => {
                    let id = execution.map_or_else(own_execution, Ok)?;
                    let name = name.or_else(|| label.map(|label| label.to_lowercase()));
                    let name = name.ok_or_else(|| {
                        Fault::new("standard input has no name").hint("give one with --name NAME")
                    })?;
                    session.client.leave_artifact(id, &name, &query, body).await?
                }
            };
            let sentence = format!("{} has version {}", version.artifact_ref, version.version);
            confirm(session.format, &version, &version.artifact_ref, sentence)?;
        }
        ArtifactCommand::Delete { artifact_ref, number } => {
            session.client.delete_artifact(&artifact_ref, number).await?;
            let sentence = match number {
                Some(number) => format!("version {number} of {artifact_ref} is removed"),
                None => format!("{artifact_ref} is removed"),
            };
            confirm(session.format, &json!({ "ref": artifact_ref }), &artifact_ref, sentence)?;
        }
    }
    Ok(Exit::Ok)
}

const VERSION_HEADER: [&str; 6] = ["VERSION", "SIZE", "CONTENT TYPE", "EXECUTION", "SHA-256", "AGE"];

fn version_row(session: &Session, version: &ArtifactVersionView) -> Vec<String> {
    vec![
        version.version.to_string(),
        version.size.to_string(),
        version.content_type.clone(),
        or_dash(version.execution),
        version.sha256.chars().take(12).collect(),
        age(session.now(), version.created),
    ]
}

fn list_versions(session: &Session, versions: &[ArtifactVersionView]) -> anyhow::Result<()> {
    let columns = Columns {
        noun: "artifacts",
        header: &["REF", "VERSION", "SIZE", "CONTENT TYPE", "AGE"],
        row: &|version: &ArtifactVersionView| {
            vec![
                version.artifact_ref.clone(),
                version.version.to_string(),
                version.size.to_string(),
                version.content_type.clone(),
                age(session.now(), version.created),
            ]
        },
        name: &|version| version.artifact_ref.clone(),
    };
    list(session.format, versions, &columns)
}

fn details(session: &Session, artifact: &ArtifactView) -> Details {
    let kept = match (artifact.keep_versions, artifact.keep_days) {
        (None, None) => "all versions".to_owned(),
        (Some(count), None) => format!("the newest {count} versions"),
        (None, Some(days)) => format!("versions for {days} days"),
        (Some(count), Some(days)) => format!("the newest {count} versions, for {days} days"),
    };
    Details::new()
        .field("ref", &artifact.artifact_ref)
        .optional("label", artifact.label.as_ref())
        .optional("description", artifact.description.as_ref())
        .field("type", &artifact.artifact_type)
        .optional("owner", artifact.owner.as_ref().map(|owner| format!("{} {owner}", artifact.owner_type)))
        .field("keeps", kept)
        .field("created", moment(session.now(), artifact.created))
}

/// Writes beside the target and moves it there when it is whole: what breaks off leaves nothing that looks complete.
async fn download(
    session: &Session,
    artifact_ref: &str,
    number: Option<i32>,
    to: Option<PathBuf>,
) -> anyhow::Result<()> {
    let mut pieces = std::pin::pin!(session.client.download_artifact(artifact_ref, number).await?);
    if to.as_deref() == Some(Path::new("-")) {
        let mut out = std::io::stdout();
        while let Some(piece) = pieces.next().await {
            out.write_all(&piece?).context("cannot write to standard output")?;
        }
        return out.flush().context("cannot write to standard output");
    }
    let to = to.unwrap_or_else(|| PathBuf::from(artifact_ref));
    let cannot = || format!("cannot write {}", to.display());
    let directory = to.parent().filter(|parent| *parent != Path::new("")).unwrap_or_else(|| Path::new("."));
    let (file, draft) = tempfile::NamedTempFile::new_in(directory).with_context(cannot)?.into_parts();
    let mut file = File::from_std(file);
    let mut size = 0;
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        size += piece.len();
        file.write_all(&piece).await.with_context(cannot)?;
    }
    file.flush().await.with_context(cannot)?;
    draft.persist(&to).with_context(cannot)?;
    say(format_args!("{size} bytes are in {}", to.display()));
    Ok(())
}

/// The content on its way, and the name of the file.
async fn body_of(
    file: &Path,
    content_type: Option<String>,
) -> anyhow::Result<(ArtifactBody, Option<String>)> {
    let content_type = content_type.unwrap_or_else(|| "application/octet-stream".to_owned());
    if file == Path::new("-") {
        let bytes = input::bytes_from_stdin("the content")?;
        return Ok((ArtifactBody::of(content_type, bytes), None));
    }
    let cannot = || format!("cannot read {}", file.display());
    let open = File::open(file).await.with_context(cannot)?;
    let size = open.metadata().await.with_context(cannot)?.len();
    let label = file.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok((ArtifactBody::stream(content_type, size, ReaderStream::new(open)), label))
}
