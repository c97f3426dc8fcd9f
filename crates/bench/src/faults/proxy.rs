//! A way to the database that can be cut: one worker's connections go through it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The proxy; it ends when it is dropped.
#[derive(Debug)]
pub(super) struct Proxy {
    url: String,
    /// True while nobody comes through.
    cut: Arc<watch::Sender<bool>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a socket of its own in `directory` and passes everything on to the server of `url`.
    pub(super) async fn start(url: &str, directory: &Path) -> anyhow::Result<Self> {
        let (base, host) = url.split_once("host=").context("the URL of the database names no socket")?;
        let (host, rest) =
            host.split_once('&').map_or((host, String::new()), |(host, rest)| (host, format!("&{rest}")));
        let socket = PathBuf::from(host.replace("%2F", "/")).join(".s.PGSQL.5432");
        let own = directory.join("proxy");
        std::fs::create_dir_all(&own)?;
        let listener = UnixListener::bind(own.join(".s.PGSQL.5432"))?;
        let cut = Arc::new(watch::Sender::new(false));
        let accepting = tokio::spawn(accept(listener, socket, cut.subscribe()));
        let own = own.to_str().context("the path of the proxy is not UTF-8")?;
        Ok(Self { url: format!("{base}host={}{rest}", own.replace('/', "%2F")), cut, accepting })
    }

    /// The database's URL through the proxy.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Ends every connection, and lets none through for this long.
    pub(super) fn cut(&self, duration: Duration) {
        self.cut.send_replace(true);
        let cut = self.cut.clone();
        tokio::spawn(async move {
            tokio::time::sleep(duration).await;
            cut.send_replace(false);
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: UnixListener, server: PathBuf, cut: watch::Receiver<bool>) {
    while let Ok((mut client, _)) = listener.accept().await {
        if *cut.borrow() {
            continue;
        }
        let (server, mut cut) = (server.clone(), cut.clone());
        tokio::spawn(async move {
            let Ok(mut server) = UnixStream::connect(server).await else { return };
            tokio::select! {
                _ended = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                _cut = cut.wait_for(|cut| *cut) => {}
            }
        });
    }
}
