//! The server that is measured: one that runs already, or one that is started and removed again.

use std::path::{Path, PathBuf};

use anyhow::Context;
use attune_client::Client;
use attune_client::types::LoginRequest;
use clap::Args;

use crate::http::Endpoint;
use crate::server::{Options, Server};

/// A signed-in user of a server.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) endpoint: Endpoint,
}

/// Which server, and where the figures go.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// Server to measure; without it, one is started and removed again
    #[arg(long, requires = "password_file")]
    url: Option<String>,
    /// Login at the server given by --url
    #[arg(long, default_value = "admin", requires = "url")]
    username: String,
    /// File with the password at the server given by --url
    #[arg(long, requires = "url")]
    password_file: Option<PathBuf>,
    /// The attune binary to start; default: the one beside this program
    #[arg(long, conflicts_with = "url")]
    binary: Option<PathBuf>,
    /// Write the figures as JSON to this file too
    #[arg(long)]
    json: Option<PathBuf>,
}

impl Target {
    /// A session, and the server where it is our own.
    pub(crate) async fn connect(&self) -> anyhow::Result<(Session, Option<Server>)> {
        match (&self.url, &self.password_file) {
            (Some(url), Some(file)) => {
                let password =
                    std::fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
                Ok((sign_in(url, &self.username, password.trim()).await?, None))
            }
            _ => {
                let server = Server::start(&Options::of(self.binary.as_deref())).await?;
                let session = own(&server).await?;
                Ok((session, Some(server)))
            }
        }
    }

    /// Writes the figures where they are wanted as JSON.
    pub(crate) fn keep(&self, figures: &impl serde::Serialize) -> anyhow::Result<()> {
        keep(self.json.as_deref(), figures)
    }
}

/// What is measured needs the database of the server as well, so the server is always our own.
#[derive(Debug, Args)]
pub(crate) struct OwnTarget {
    /// The attune binary to start; default: the one beside this program
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Write the figures as JSON to this file too
    #[arg(long)]
    json: Option<PathBuf>,
}

impl OwnTarget {
    /// A new server whose worker runs so many executions at once, and a session.
    pub(crate) async fn start(&self, slots: u32) -> anyhow::Result<(Session, Server)> {
        let options = Options { slots, ..Options::of(self.binary.as_deref()) };
        let server = Server::start(&options).await?;
        Ok((own(&server).await?, server))
    }

    /// Writes the figures where they are wanted as JSON.
    pub(crate) fn keep(&self, figures: &impl serde::Serialize) -> anyhow::Result<()> {
        keep(self.json.as_deref(), figures)
    }
}

fn keep(path: Option<&Path>, figures: &impl serde::Serialize) -> anyhow::Result<()> {
    match path {
        Some(path) => std::fs::write(path, serde_json::to_vec_pretty(figures)?)
            .with_context(|| format!("{}", path.display())),
        None => Ok(()),
    }
}

async fn own(server: &Server) -> anyhow::Result<Session> {
    sign_in(&server.url, "admin", &server.password).await
}

async fn sign_in(url: &str, login: &str, password: &str) -> anyhow::Result<Session> {
    let client = Client::new(url, None)?;
    let request = LoginRequest {
        login: login.to_owned(),
        password: password.to_owned(),
        token_name: Some("bench".to_owned()),
    };
    let answer = client.login(&request).await.context("cannot sign in")?;
    let endpoint = Endpoint::of(url, Some(answer.token.clone()))?;
    Ok(Session { client: client.with_token(answer.token), endpoint })
}
