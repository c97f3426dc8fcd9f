//! Where packs come from: a directory, an archive in a file or at an address, a git repository, or an index. Whatever it
//! is becomes the files of the pack, and a line that says where they came from, which the server keeps.
//!
//! A secret in an address is refused: it would be seen in the list of processes, in logs and on the server. For git,
//! credential helpers and ssh keys do without.

mod git;
mod indexes;

use std::path::{Path, PathBuf};

use anyhow::Context;
use attune_client::download;
use attune_pack::PackFiles;
use attune_pack::archive::{Limits, unpack};
use attune_pack::index::{Choice, IndexedVersion};
use clap::Args;
use semver::VersionReq;
use sha2::{Digest, Sha256};
use url::Url;

use crate::archive;
use crate::failure::Fault;
use crate::output::say;

pub(crate) use indexes::{IndexArgs, Indexes, installed};

/// The largest archive that is read; servers take no larger one unless told to.
const MOST_BYTES: usize = 64 << 20;

/// Which pack.
#[derive(Debug, Args)]
pub(crate) struct SourceArgs {
    /// Directory, archive (.tar.gz or .zip), URL of an archive or of a git repository, or REF[@RANGE] of a pack in an index
    #[arg(value_name = "SOURCE")]
    pub(crate) source: String,
    /// Branch, tag or commit of a git repository [default: its default branch]
    #[arg(long = "ref", value_name = "REF")]
    git_ref: Option<String>,
    /// Where in a git repository the pack is [default: at its top]
    #[arg(long, value_name = "PATH")]
    subdirectory: Option<String>,
    /// SHA-256 that the archive has to have, in hexadecimal digits
    #[arg(long, value_name = "DIGITS")]
    sha256: Option<String>,
    #[command(flatten)]
    pub(crate) index: IndexArgs,
}

/// A pack that was fetched.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) files: PackFiles,
    /// Where it came from, for the server to keep.
    pub(crate) source: String,
    /// The directory that its files can be opened in, for messages.
    pub(crate) directory: Option<PathBuf>,
}

/// What a source is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory(PathBuf),
    Archive(PathBuf),
    Url(Url),
    Git(String),
    Indexed(String, VersionReq),
}

impl SourceArgs {
    /// What the source is; options that would have no effect on it are refused.
    pub(crate) fn kind(&self) -> anyhow::Result<Kind> {
        let kind = self.recognised()?;
        let is_git = matches!(kind, Kind::Git(_));
        let is_archive = matches!(kind, Kind::Archive(_) | Kind::Url(_));
        for (flag, given, has_effect) in [
            ("--ref", self.git_ref.is_some(), is_git),
            ("--subdirectory", self.subdirectory.is_some(), is_git),
            ("--sha256", self.sha256.is_some(), is_archive),
        ] {
            if given && !has_effect {
                return Err(Fault::new(format!("{flag} has no effect on {}", kind.noun())).into());
            }
        }
        Ok(kind)
    }

    fn recognised(&self) -> anyhow::Result<Kind> {
        let given = self.source.as_str();
        if let Some(repository) = git::repository(given, self.git_ref.is_some())? {
            return Ok(Kind::Git(repository));
        }
        if let Ok(url) = Url::parse(given)
            && matches!(url.scheme(), "http" | "https")
        {
            refuse_secret(&url)?;
            return Ok(Kind::Url(url));
        }
        let path = Path::new(given);
        if path.is_dir() {
            return Ok(Kind::Directory(path.to_owned()));
        }
        if path.is_file() {
            return Ok(Kind::Archive(path.to_owned()));
        }
        let (name, range) = given.split_once('@').unwrap_or((given, "*"));
        let looks_like_ref = name.len() > 1
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_' | '-'));
        if !looks_like_ref {
            return Err(Fault::new(format!("{given} is no directory, no file and no address"))
                .hint("give the pack's directory, an archive, the URL of a git repository, or the ref of a pack in an index")
                .into());
        }
        let range = VersionReq::parse(range)
            .map_err(|error| Fault::new(format!("{range} is no range of versions: {error}")))?;
        Ok(Kind::Indexed(name.to_owned(), range))
    }

    /// Fetches a pack that is not one of an index.
    pub(crate) async fn fetch(&self, kind: &Kind) -> anyhow::Result<Fetched> {
        match kind {
            Kind::Directory(path) => from_directory(path),
            Kind::Archive(path) => {
                let content = read_archive(path)?;
                let shown = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
                from_archive(&content, self.sha256.as_deref(), shown.to_string_lossy().into_owned())
            }
            Kind::Url(url) => {
                let content = download(url, MOST_BYTES).await?;
                from_archive(&content, self.sha256.as_deref(), without_query(url))
            }
            Kind::Git(repository) => git::fetch(&git::Wanted {
                repository,
                git_ref: self.git_ref.as_deref(),
                subdirectory: self.subdirectory.as_deref(),
                commit: None,
            }),
            Kind::Indexed(name, _) => {
                Err(Fault::new(format!("{name} is to be had from an index only")).into())
            }
        }
    }
}

impl Kind {
    fn noun(&self) -> &'static str {
        match self {
            Self::Directory(_) => "a directory",
            Self::Archive(_) | Self::Url(_) => "an archive",
            Self::Git(_) => "a git repository",
            Self::Indexed(..) => "a pack in an index",
        }
    }
}

/// Fetches what was chosen from an index; `base` is where the index is.
pub(crate) async fn fetch_indexed(choice: &Choice, base: &str) -> anyhow::Result<Fetched> {
    let version = &choice.version;
    let fetched = fetch_version(version, base)
        .await
        .with_context(|| format!("cannot fetch {} {} as the index says", choice.name, version.version))?;
    let manifest = attune_pack::read(&fetched.files).map(|pack| pack.manifest);
    // A pack with faults is told with all of them when it is sent.
    if let Ok(manifest) = manifest
        && (manifest.r#ref != choice.name || manifest.version != version.version)
    {
        return Err(Fault::new(format!(
            "the index promises {} {}, and what it points to is {} {}",
            choice.name, version.version, manifest.r#ref, manifest.version
        ))
        .into());
    }
    Ok(fetched)
}

async fn fetch_version(version: &IndexedVersion, base: &str) -> anyhow::Result<Fetched> {
    if let Some(repository) = version.source.strip_prefix("git+") {
        return git::fetch(&git::Wanted {
            repository,
            git_ref: version.commit.as_deref(),
            subdirectory: version.subdirectory.as_deref(),
            commit: version.commit.as_deref(),
        });
    }
    match indexes::resolved(base, &version.source)? {
        indexes::Place::Url(url) => {
            let content = download(&url, MOST_BYTES).await?;
            from_archive(&content, version.sha256.as_deref(), without_query(&url))
        }
        indexes::Place::Path(path) => {
            let shown = path.display().to_string();
            from_archive(&read_archive(&path)?, version.sha256.as_deref(), shown)
        }
    }
}

/// Reads a pack of this machine, for commands that need no server and no network.
pub(crate) fn from_path(path: &Path) -> anyhow::Result<Fetched> {
    if path.is_file() {
        return from_archive(&read_archive(path)?, None, path.display().to_string());
    }
    from_directory(path)
}

/// Reads a directory and tells what of it is no part of the pack.
fn from_directory(path: &Path) -> anyhow::Result<Fetched> {
    let found = archive::read(path)?;
    if !found.left_out.is_empty() {
        say(format_args!("left out: {}", found.left_out.join(", ")));
    }
    let source = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    Ok(Fetched {
        files: found.files,
        source: source.to_string_lossy().into_owned(),
        directory: Some(path.to_owned()),
    })
}

fn read_archive(path: &Path) -> anyhow::Result<Vec<u8>> {
    let context = || format!("cannot read {}", path.display());
    let length = std::fs::metadata(path).with_context(context)?.len();
    if length > MOST_BYTES as u64 {
        return Err(Fault::new(format!("{} has more than {MOST_BYTES} bytes", path.display())).into());
    }
    std::fs::read(path).with_context(context)
}

/// Unpacks an archive, once it is the one that was expected.
fn from_archive(content: &[u8], sha256: Option<&str>, source: String) -> anyhow::Result<Fetched> {
    if let Some(expected) = sha256 {
        let found: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
        if !found.eq_ignore_ascii_case(expected) {
            return Err(Fault::new(format!(
                "{source} is not what was expected: its SHA-256 is {found}, not {expected}"
            ))
            .into());
        }
    }
    let files = unpack(content, Limits::of(MOST_BYTES))
        .map_err(|error| Fault::new(format!("{source} cannot be unpacked: {error}")))?;
    if !files.contains_key("pack.yaml") {
        return Err(Fault::new(format!("{source} is no pack: it has no pack.yaml"))
            .hint("the archive has to hold the pack's files, at its top or in one directory")
            .into());
    }
    Ok(Fetched { files, source, directory: None })
}

/// The address as the server keeps it: in a query there may be a signature that lets in whoever has it.
fn without_query(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    shown.set_fragment(None);
    shown.to_string()
}

/// Refuses an address with a login or a password in it.
fn refuse_secret(url: &Url) -> Result<(), Fault> {
    // With ssh the name says which account, and is no secret.
    let names_somebody = !url.username().is_empty() && url.scheme() != "ssh";
    if url.password().is_some() || names_somebody {
        return Err(Fault::new("the address carries a login or a password")
            .hint("leave it out: for git, use a credential helper or an ssh key"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(source: &str, git_ref: Option<&str>) -> Result<Kind, String> {
        let args = SourceArgs {
            source: source.to_owned(),
            git_ref: git_ref.map(str::to_owned),
            subdirectory: None,
            sha256: None,
            index: IndexArgs::default(),
        };
        args.kind().map_err(|error| error.to_string())
    }

    #[test]
    fn test_sources_are_told_apart() {
        let git = |url: &str| Ok(Kind::Git(url.to_owned()));
        assert_eq!(kind("https://example.org/ops.git", None), git("https://example.org/ops.git"));
        assert_eq!(kind("https://example.org/ops", Some("v1")), git("https://example.org/ops"));
        assert_eq!(kind("git+https://example.org/ops", None), git("https://example.org/ops"));
        assert_eq!(kind("ssh://git@example.org/ops", None), git("ssh://git@example.org/ops"));
        assert_eq!(kind("git@example.org:team/ops", None), git("git@example.org:team/ops"));
        assert!(matches!(kind("https://example.org/ops.tar.gz", None), Ok(Kind::Url(_))));
        assert!(matches!(kind("/", None), Ok(Kind::Directory(_))));
        let indexed = |range: &str| Ok(Kind::Indexed("linux".to_owned(), VersionReq::parse(range).unwrap()));
        assert_eq!(kind("linux", None), indexed("*"));
        assert_eq!(kind("linux@^1.2", None), indexed("^1.2"));
    }

    #[test]
    fn test_what_makes_no_sense_is_refused() {
        let check = |source: &str, git_ref: Option<&str>, expect: &str| {
            let error = kind(source, git_ref).unwrap_err();
            assert!(error.contains(expect), "{source}: {error}");
        };
        check("https://me:secret@example.org/ops.tar.gz", None, "carries a login");
        check("https://token@example.org/ops.git", None, "carries a login");
        check("./nowhere", None, "no directory, no file and no address");
        check("linux@newest", None, "no range of versions");
        check("/", Some("v1"), "--ref has no effect on a directory");
        check("ext::sh -c true", None, "no directory, no file and no address");
    }

    #[test]
    fn test_an_archive_has_to_be_the_expected_one() {
        let error = from_archive(b"x", Some(&"0".repeat(64)), "a.tar.gz".to_owned()).unwrap_err();
        assert!(error.to_string().contains("is not what was expected: its SHA-256 is 2d711642"), "{error}");
    }
}
