//! What every user command needs: which server, as whom, and how to write the answer.

use attune_client::Client;
use chrono::{DateTime, Utc};
use clap::Args;
use url::Url;

use crate::failure::Fault;
use crate::output::{Format, OutputChoice, say};
use crate::profile::{ProfileFile, Target, Wishes};

/// Sets these options apart from those of the command at hand.
const HEADING: &str = "Options of all user commands";

/// Options of all user commands.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// How to write data [default: table]
    #[arg(short, long, value_enum, global = true, help_heading = HEADING, value_name = "FORMAT")]
    output: Option<OutputChoice>,
    /// Server to talk to [env: ATTUNE_URL] [default: the profile's, or http://127.0.0.1:9470]
    #[arg(long, global = true, help_heading = HEADING, value_name = "URL")]
    url: Option<String>,
    /// Profile to use [env: ATTUNE_PROFILE] [default: the one last signed in with]
    #[arg(long, global = true, help_heading = HEADING, value_name = "NAME")]
    profile: Option<String>,
}

impl Options {
    pub(crate) fn format(&self) -> Format {
        self.output.and_then(OutputChoice::format).unwrap_or_default()
    }

    /// Whether findings are wanted in the form of SARIF, which few commands have.
    pub(crate) fn wants_sarif(&self) -> bool {
        self.output == Some(OutputChoice::Sarif)
    }

    /// Whether outcomes of tests are wanted as JUnit XML.
    pub(crate) fn wants_junit(&self) -> bool {
        self.output == Some(OutputChoice::Junit)
    }

    /// What the command line and the environment ask for.
    pub(crate) fn wishes(&self) -> Wishes {
        Wishes::of_process(self.url.clone(), self.profile.clone())
    }

    /// The first of these options that was given, for commands that they mean nothing to.
    pub(crate) fn first_given(&self) -> Option<&'static str> {
        match self {
            Self { output: Some(_), .. } => Some("--output"),
            Self { url: Some(_), .. } => Some("--url"),
            Self { profile: Some(_), .. } => Some("--profile"),
            Self { output: None, url: None, profile: None } => None,
        }
    }

    /// Refuses the options that name a server, for commands that need none.
    pub(crate) fn refuse_server(&self) -> Result<(), Fault> {
        let flag = match self {
            Self { url: Some(_), .. } => "--url",
            Self { profile: Some(_), .. } => "--profile",
            Self { url: None, profile: None, .. } => return Ok(()),
        };
        Err(Fault::new(format!("{flag} has no effect on a command that needs no server")))
    }

    /// Finds out which server to talk to and as whom; nothing is sent yet.
    pub(crate) fn session(&self) -> anyhow::Result<Session> {
        let target = ProfileFile::locate()?.load()?.resolve(&self.wishes())?;
        let token = target.token.as_ref().map(|(token, _)| token.clone());
        let client = client(&target.url, token)?;
        if let (Some(server), Some(profile)) = (&target.held_back_for, &target.profile) {
            say(format_args!(
                "note: profile `{profile}` is of {server}; its token is not sent to {}",
                client.base()
            ));
        }
        Ok(Session { client, format: self.format(), target })
    }
}

/// A client of this server. An address that carries a password is refused: it would end up in messages and logs.
pub(crate) fn client(url: &str, token: Option<String>) -> anyhow::Result<Client> {
    let parsed = Url::parse(url).ok();
    if parsed.is_some_and(|url| url.password().is_some() || !url.username().is_empty()) {
        return Err(Fault::new("the address of the server carries a login or a password")
            .hint("leave it out and run `attune login`")
            .into());
    }
    Ok(Client::new(url, token)?)
}

/// One user command at work.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) format: Format,
    pub(crate) target: Target,
}

impl Session {
    /// The moment that ages are counted from: when something is shown, which may be long after it was asked for.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    /// The address of a path of the server, as others can use it.
    pub(crate) fn address(&self, path: &str) -> String {
        format!("{}{}", self.client.base(), path.trim_start_matches('/'))
    }
}
