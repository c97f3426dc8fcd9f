//! `attune logout`: withdraws the token at the server and forgets it here.

use attune_client::ClientError;
use attune_common::environment;
use clap::Args;
use serde_json::json;

use crate::exit::Exit;
use crate::failure::Fault;
use crate::output::{confirm, say};
use crate::profile::{ProfileFile, TokenSource};
use crate::session::Options;

#[derive(Debug, Args)]
pub(crate) struct LogoutArgs {
    /// Only forget the token here; at the server it stays valid until it expires
    #[arg(long)]
    local: bool,
}

pub(crate) async fn run(args: &LogoutArgs, options: &Options) -> anyhow::Result<Exit> {
    let session = options.session()?;
    let url = session.client.base().to_string();
    let Some((_, source)) = &session.target.token else {
        return Err(Fault::new(format!("not signed in to {url}")).exit(Exit::NotAuthorised).into());
    };
    if args.local {
        if *source == TokenSource::Environment {
            return Err(Fault::new(format!(
                "the token comes from {}, not from a profile",
                environment::TOKEN
            ))
            .hint("unset it")
            .into());
        }
    } else {
        match session.client.logout().await {
            Ok(()) => {}
            Err(ClientError::Problem(problem)) if problem.status == 401 => {
                say("note: the token was not valid any more");
            }
            Err(error @ ClientError::Unreachable { .. }) => {
                return Err(anyhow::Error::from(error).context(
                    "the token cannot be withdrawn; `attune logout --local` only forgets it on this machine",
                ));
            }
            Err(error) => return Err(error.into()),
        }
    }
    let name = session.target.profile.as_deref().unwrap_or_default();
    match source {
        TokenSource::Environment => say(format_args!("note: {} is still set", environment::TOKEN)),
        TokenSource::Profile => {
            let file = ProfileFile::locate()?;
            let mut profiles = file.load()?;
            if let Some(profile) = profiles.by_name.get_mut(name) {
                profile.token = None;
            }
            file.save(&profiles)?;
        }
    }
    confirm(
        session.format,
        &json!({"url": url, "profile": name}),
        name,
        format_args!("signed out of {url}"),
    )?;
    Ok(Exit::Ok)
}
