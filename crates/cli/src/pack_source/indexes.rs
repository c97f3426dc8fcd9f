//! Indexes: where they are, and reading them.

use std::path::{Path, PathBuf};

use anyhow::Context;
use attune_client::types::PackView;
use attune_client::{Client, download};
use attune_common::environment;
use attune_pack::index::{Index, Installed, InstalledPack, MOST_BYTES};
use clap::Args;
use semver::{Version, VersionReq};
use url::Url;

use super::refuse_secret;
use crate::failure::Fault;

/// Which indexes.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct IndexArgs {
    /// File or URL of an index of packs; may be given several times [env: ATTUNE_PACK_INDEX, separated by blanks]
    #[arg(long = "index", value_name = "INDEX")]
    given: Vec<String>,
}

/// Indexes that were read.
#[derive(Debug)]
pub(crate) struct Indexes {
    pub(crate) read: Vec<Index>,
    /// Where each of them is.
    pub(crate) places: Vec<String>,
}

/// Where a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Url(Url),
    Path(PathBuf),
}

impl IndexArgs {
    /// An index that a command has an option of its own for.
    pub(crate) fn of(place: Option<String>) -> Self {
        Self { given: place.into_iter().collect() }
    }

    /// Where the indexes are; empty when none is named.
    fn places(&self) -> Vec<String> {
        if !self.given.is_empty() {
            return self.given.clone();
        }
        let named = std::env::var(environment::PACK_INDEX).unwrap_or_default();
        named.split_whitespace().map(str::to_owned).collect()
    }

    /// Reads all that are named.
    pub(crate) async fn read(&self) -> anyhow::Result<Indexes> {
        let places = self.places();
        let mut read = Vec::new();
        for place in &places {
            read.push(one(place).await.with_context(|| format!("cannot read the index {place}"))?);
        }
        Ok(Indexes { read, places })
    }

    /// Reads all that are named, and says what to do where none is.
    pub(crate) async fn required(&self) -> anyhow::Result<Indexes> {
        let indexes = self.read().await?;
        if indexes.places.is_empty() {
            return Err(Fault::new("no index of packs is named")
                .hint(format!("name one with --index or {}", environment::PACK_INDEX))
                .into());
        }
        Ok(indexes)
    }
}

async fn one(place: &str) -> anyhow::Result<Index> {
    let content = match resolved("", place)? {
        Place::Url(url) => download(&url, MOST_BYTES).await?,
        Place::Path(path) => std::fs::read(path)?,
    };
    let text = String::from_utf8(content).map_err(|_| Fault::new("it is not UTF-8 text"))?;
    Index::parse(&text).map_err(|faults| {
        let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
        Fault::new(format!("it has faults: {}", told.join("; "))).into()
    })
}

/// Where a source is that an index at `base` names; relative ones are beside the index. An index from elsewhere cannot name
/// files of this machine.
pub(super) fn resolved(base: &str, source: &str) -> anyhow::Result<Place> {
    let is_web = |url: &Url| matches!(url.scheme(), "http" | "https");
    if let Some(url) = Url::parse(source).ok().filter(is_web) {
        refuse_secret(&url)?;
        return Ok(Place::Url(url));
    }
    if let Some(base) = Url::parse(base).ok().filter(is_web) {
        let url = base.join(source).map_err(|error| Fault::new(format!("{source}: {error}")))?;
        if !is_web(&url) {
            return Err(Fault::new(format!("{source} is no address that is fetched from")).into());
        }
        return Ok(Place::Url(url));
    }
    let source = source.strip_prefix("file://").unwrap_or(source);
    Ok(Place::Path(Path::new(base).parent().unwrap_or(Path::new("")).join(source)))
}

/// What a server has, for choosing.
pub(crate) async fn installed(client: &Client) -> anyhow::Result<Installed> {
    let packs = client.packs().await?.items;
    Ok(packs.into_iter().filter_map(entry).collect())
}

fn entry(pack: PackView) -> Option<(String, InstalledPack)> {
    let needs = pack.dependencies.into_iter();
    let needs = needs.filter_map(|(name, range)| Some((name, VersionReq::parse(&range).ok()?))).collect();
    Some((pack.pack_ref, (Version::parse(&pack.version).ok()?, needs)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_sources_are_beside_their_index() {
        let path = |base: &str, source: &str| match resolved(base, source).unwrap() {
            Place::Path(path) => path.display().to_string(),
            Place::Url(url) => url.to_string(),
        };
        assert_eq!(path("packs/index.yaml", "ops.tar.gz"), "packs/ops.tar.gz");
        assert_eq!(path("index.yaml", "/srv/ops.tar.gz"), "/srv/ops.tar.gz");
        assert_eq!(path("https://example.org/p/index.yaml", "a/ops.tgz"), "https://example.org/p/a/ops.tgz");
        assert_eq!(path("index.yaml", "https://example.org/ops.tgz"), "https://example.org/ops.tgz");
        let error = resolved("https://example.org/index.yaml", "file:///etc/passwd").unwrap_err();
        assert!(error.to_string().contains("no address that is fetched from"), "{error}");
    }
}
