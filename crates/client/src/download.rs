//! Fetching a file from any server: without a token, and no more of it than is wanted.

use std::time::Duration;

use futures::StreamExt;
use reqwest::{StatusCode, redirect};
use url::Url;

const REDIRECTS: usize = 10;

/// Why a file was not fetched. The address is told without what could be a secret in it.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    #[error("cannot reach {url}")]
    Unreachable { url: String, source: reqwest::Error },
    #[error("{url} answered {status}")]
    Refused { url: String, status: StatusCode },
    #[error("{url} has more than {limit} bytes")]
    TooLarge { url: String, limit: usize },
}

/// The content of a file at an `http` or `https` address, of at most `limit` bytes. A redirect may not lead from `https` to
/// `http`.
pub async fn download(url: &Url, limit: usize) -> Result<Vec<u8>, DownloadError> {
    // The first caller in a process installs the provider; later ones find it there.
    drop(rustls::crypto::ring::default_provider().install_default());
    let shown = shown(url);
    let unreachable = |source: reqwest::Error| DownloadError::Unreachable {
        url: shown.clone(),
        source: source.without_url(),
    };
    let policy = redirect::Policy::custom(|attempt| {
        let left_https =
            attempt.url().scheme() != "https" && attempt.previous().iter().any(|url| url.scheme() == "https");
        if left_https {
            attempt.error("a redirect from https to http")
        } else if attempt.previous().len() > REDIRECTS {
            attempt.error("too many redirects")
        } else {
            attempt.follow()
        }
    });
    let http = reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(Duration::from_secs(60))
        .redirect(policy)
        .user_agent(concat!("attune/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(unreachable)?;
    let response = http.get(url.clone()).send().await.map_err(unreachable)?;
    if !response.status().is_success() {
        return Err(DownloadError::Refused { url: shown.clone(), status: response.status() });
    }
    let mut content = Vec::new();
    let mut pieces = std::pin::pin!(response.bytes_stream());
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(unreachable)?;
        if content.len() + piece.len() > limit {
            return Err(DownloadError::TooLarge { url: shown.clone(), limit });
        }
        content.extend_from_slice(&piece);
    }
    Ok(content)
}

/// The address without its query, which may hold a signature.
fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    shown.set_fragment(None);
    shown.to_string()
}
