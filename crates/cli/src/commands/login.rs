//! `attune login`: a token for a password, kept in a profile.

use std::net::IpAddr;

use attune_client::types::LoginRequest;
use attune_common::environment;
use clap::Args;
use serde_json::json;
use url::{Host, Url};

use crate::exit::Exit;
use crate::failure::Fault;
use crate::input;
use crate::output::{confirm, say};
use crate::profile::{Profile, ProfileFile, variable};
use crate::session::{self, Options};

#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// Who to sign in as; asked for when not given
    #[arg(long, short = 'u', value_name = "NAME")]
    username: Option<String>,
    /// Read the password from standard input [env: ATTUNE_PASSWORD gives it, too]
    #[arg(long)]
    password_stdin: bool,
}

pub(crate) async fn run(args: LoginArgs, options: &Options) -> anyhow::Result<Exit> {
    let file = ProfileFile::locate()?;
    let profiles = file.load()?;
    let wishes = options.wishes();
    let (url, name) = profiles.resolve_login(&wishes);
    let client = session::client(&url, None)?;
    if sends_in_clear(client.base()) {
        say(format_args!("warning: the password goes to {} unencrypted", client.base()));
    }
    let known_login = profiles.by_name.get(&name).and_then(|profile| profile.login.clone());
    let login = username(args.username, known_login.as_deref())?;
    let password = password(args.password_stdin, &login, &url)?;
    let request = LoginRequest { login, password, token_name: None };
    let answer = client.login(&request).await?;

    // Read again: the question may have stood open while another terminal signed in.
    let mut profiles = file.load()?;
    let profile = Profile { url: url.clone(), login: Some(answer.login.clone()), token: Some(answer.token) };
    profiles.by_name.insert(name.clone(), profile);
    profiles.current = Some(name.clone());
    file.save(&profiles)?;
    if wishes.token_variable.is_some() {
        say(format_args!("note: {} is set and goes before the new token", environment::TOKEN));
    }
    let shown = json!({"login": answer.login, "url": url, "profile": name, "expires": answer.expires});
    let sentence = format!(
        "signed in to {url} as {} (profile `{name}`, until {})",
        answer.login,
        answer.expires.format("%Y-%m-%d %H:%M UTC")
    );
    confirm(options.format(), &shown, &name, sentence)?;
    Ok(Exit::Ok)
}

fn username(given: Option<String>, known: Option<&str>) -> anyhow::Result<String> {
    let name = match (given, known) {
        (Some(given), _) => given,
        (None, known) if input::is_interactive() => input::ask("username", known)?,
        (None, Some(known)) => known.to_owned(),
        (None, None) => String::new(),
    };
    if name.is_empty() {
        return Err(Fault::new("no username is given").hint("give one with --username").into());
    }
    Ok(name)
}

fn password(from_stdin: bool, login: &str, url: &str) -> anyhow::Result<String> {
    let password = if from_stdin {
        input::secret_from_stdin("password")?
    } else if let Some(password) = variable(environment::PASSWORD) {
        password
    } else if input::is_interactive() {
        input::ask_secret(&format!("password of {login} at {url}: "))?
    } else {
        return Err(Fault::new("no password is given, and there is no terminal to ask for it")
            .hint(format!("use --password-stdin, or set {}", environment::PASSWORD))
            .into());
    };
    if password.is_empty() {
        return Err(Fault::new("the password is empty").into());
    }
    Ok(password)
}

/// Whether what is sent can be read on its way.
fn sends_in_clear(url: &Url) -> bool {
    let is_local = match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    };
    url.scheme() == "http" && !is_local
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_clear_text_is_fine_on_this_machine_only() {
        let check =
            |url: &str, expect: bool| assert_eq!(sends_in_clear(&Url::parse(url).unwrap()), expect, "{url}");
        check("http://127.0.0.1:9470", false);
        check("http://[::1]:9470", false);
        check("http://localhost", false);
        check("https://attune.example", false);
        check("http://attune.example", true);
        check("http://10.0.0.1", true);
    }
}
