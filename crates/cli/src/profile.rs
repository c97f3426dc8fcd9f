//! Profiles: which servers the user has signed in to, and with which token. One TOML file, readable by its owner only.
//!
//! What a command talks to is decided value by value: flag, then environment, then profile, then default. A profile's
//! token is sent to that profile's server and to no other, whatever the flags and the environment say.

mod file;

use std::collections::BTreeMap;

use attune_common::environment;
use attune_expr::suggest::nearest;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::failure::Fault;

pub(crate) use file::ProfileFile;

/// The server that `attune up` serves on the same machine.
pub(crate) const DEFAULT_URL: &str = "http://127.0.0.1:9470";

/// The content of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profiles {
    /// The profile last signed in with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    #[serde(default, rename = "profile", skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) by_name: BTreeMap<String, Profile>,
}

/// One server.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    pub(crate) url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) login: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
}

impl std::fmt::Debug for Profile {
    // The token stays out of whatever prints this.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Profile").field("url", &self.url).field("login", &self.login).finish_non_exhaustive()
    }
}

/// What the command line and the environment say. An empty variable says nothing.
#[derive(Clone, Default)]
pub(crate) struct Wishes {
    pub(crate) url_flag: Option<String>,
    pub(crate) profile_flag: Option<String>,
    pub(crate) url_variable: Option<String>,
    pub(crate) profile_variable: Option<String>,
    pub(crate) token_variable: Option<String>,
}

impl Wishes {
    /// These flags, and the environment of this process.
    pub(crate) fn of_process(url_flag: Option<String>, profile_flag: Option<String>) -> Self {
        Self {
            url_flag,
            profile_flag,
            url_variable: variable(environment::URL).or_else(|| variable(environment::API_URL)),
            profile_variable: variable(environment::PROFILE),
            token_variable: variable(environment::TOKEN).or_else(|| variable(environment::API_TOKEN)),
        }
    }

    /// The profile asked for by name.
    pub(crate) fn profile(&self) -> Option<&str> {
        self.profile_flag.as_deref().or(self.profile_variable.as_deref())
    }

    fn url(&self) -> Option<&str> {
        self.url_flag.as_deref().or(self.url_variable.as_deref())
    }
}

/// The value of an environment variable; none when it is empty or no text.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Where a token comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenSource {
    Environment,
    Profile,
}

/// What a command talks to.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) url: String,
    /// The profile in use, if there is one of that name.
    pub(crate) profile: Option<String>,
    pub(crate) token: Option<(String, TokenSource)>,
    /// The server of the profile in use, when its token was held back because another server is addressed.
    pub(crate) held_back_for: Option<String>,
}

impl Profiles {
    /// Decides what to talk to. A profile that was asked for by name has to exist.
    pub(crate) fn resolve(&self, wishes: &Wishes) -> Result<Target, Fault> {
        let name = match wishes.profile() {
            Some(name) if self.by_name.contains_key(name) => Some(name),
            Some(name) => return Err(self.unknown(name)),
            None => self.current.as_deref(),
        };
        let selected = name.and_then(|name| Some((name, self.by_name.get(name)?)));
        let url = wishes
            .url()
            .or_else(|| selected.map(|(_, profile)| profile.url.as_str()))
            .unwrap_or(DEFAULT_URL)
            .to_owned();
        let mut held_back_for = None;
        let token =
            wishes.token_variable.clone().map(|token| (token, TokenSource::Environment)).or_else(|| {
                let profile = selected.map(|(_, profile)| profile)?;
                let token = profile.token.clone()?;
                if same_server(&profile.url, &url) {
                    return Some((token, TokenSource::Profile));
                }
                held_back_for = Some(profile.url.clone());
                None
            });
        Ok(Target { url, profile: selected.map(|(name, _)| name.to_owned()), token, held_back_for })
    }

    /// The server and the profile that a sign-in is for. Without a name it is the profile of that server, or a new one:
    /// another server's token is never overwritten.
    pub(crate) fn resolve_login(&self, wishes: &Wishes) -> (String, String) {
        let named = wishes.profile();
        let selected = named.or(self.current.as_deref()).and_then(|name| self.by_name.get(name));
        let url = wishes
            .url()
            .or_else(|| selected.map(|profile| profile.url.as_str()))
            .unwrap_or(DEFAULT_URL)
            .to_owned();
        let name = named.map(str::to_owned).unwrap_or_else(|| self.name_for(&url));
        (url, name)
    }

    fn name_for(&self, url: &str) -> String {
        let is_of_server = |profile: &Profile| same_server(&profile.url, url);
        if let Some(current) = self.current.as_ref()
            && self.by_name.get(current).is_some_and(is_of_server)
        {
            return current.clone();
        }
        if let Some((name, _)) = self.by_name.iter().find(|(_, profile)| is_of_server(profile)) {
            return name.clone();
        }
        if self.by_name.is_empty() {
            return "default".to_owned();
        }
        server_key(url).map_or_else(
            || url.to_owned(),
            |key| key.trim_start_matches("https://").trim_start_matches("http://").to_owned(),
        )
    }

    fn unknown(&self, name: &str) -> Fault {
        let fault = Fault::new(format!("there is no profile {name:?}"));
        let known: Vec<_> = self.by_name.keys().map(String::as_str).collect();
        match nearest(name, known.iter().copied()) {
            Some(near) => fault.hint(format!("did you mean `{near}`?")),
            None if known.is_empty() => fault.hint(format!("`attune login --profile {name}` makes it")),
            None => fault.hint(format!(
                "there are {}; `attune login --profile {name}` makes a new one",
                known.join(", ")
            )),
        }
    }
}

/// Whether both addresses are of one server.
fn same_server(one: &str, other: &str) -> bool {
    server_key(one).is_some_and(|key| server_key(other) == Some(key))
}

/// Scheme, host, port and path, each in its one spelling.
fn server_key(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    url.has_host()
        .then(|| format!("{}{}", url.origin().ascii_serialization(), url.path().trim_end_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profiles() -> Profiles {
        let profile = |url: &str, token: &str| Profile {
            url: url.to_owned(),
            login: Some("ada".to_owned()),
            token: Some(token.to_owned()),
        };
        Profiles {
            current: Some("prod".to_owned()),
            by_name: BTreeMap::from([
                ("prod".to_owned(), profile("https://attune.example", "prod-token")),
                ("lab".to_owned(), profile("http://lab:9470/", "lab-token")),
            ]),
        }
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    fn check(wishes: &Wishes, url: &str, token: Option<&str>) -> Target {
        let target = profiles().resolve(wishes).unwrap();
        assert_eq!(target.url, url);
        assert_eq!(target.token.as_ref().map(|(token, _)| token.as_str()), token);
        target
    }

    #[test]
    fn test_flag_goes_before_environment_before_profile_before_default() {
        let both = Wishes {
            url_flag: some("http://flag"),
            url_variable: some("http://variable"),
            ..Wishes::default()
        };
        check(&both, "http://flag", None);
        check(&Wishes { url_flag: None, ..both }, "http://variable", None);
        check(&Wishes::default(), "https://attune.example", Some("prod-token"));
        check(
            &Wishes { profile_variable: some("lab"), ..Wishes::default() },
            "http://lab:9470/",
            Some("lab-token"),
        );
        check(
            &Wishes { profile_flag: some("prod"), profile_variable: some("lab"), ..Wishes::default() },
            "https://attune.example",
            Some("prod-token"),
        );
        let target = Profiles::default().resolve(&Wishes::default()).unwrap();
        assert_eq!((target.url.as_str(), target.token, target.profile), (DEFAULT_URL, None, None));
    }

    #[test]
    fn test_a_token_goes_to_its_own_server_only() {
        let elsewhere = Wishes { url_flag: some("https://other.example"), ..Wishes::default() };
        let target = check(&elsewhere, "https://other.example", None);
        assert_eq!(target.held_back_for.as_deref(), Some("https://attune.example"));
        let downgraded = Wishes { url_flag: some("http://attune.example"), ..Wishes::default() };
        check(&downgraded, "http://attune.example", None);
        let respelled = Wishes { url_flag: some("HTTPS://attune.example:443/"), ..Wishes::default() };
        check(&respelled, "HTTPS://attune.example:443/", Some("prod-token"));
        let own_token = Wishes { token_variable: some("mine"), ..elsewhere };
        assert_eq!(check(&own_token, "https://other.example", Some("mine")).held_back_for, None);
    }

    #[test]
    fn test_unknown_profile_is_refused_with_a_suggestion() {
        let fault =
            profiles().resolve(&Wishes { profile_flag: some("prdo"), ..Wishes::default() }).err().unwrap();
        assert_eq!(fault.to_string(), "there is no profile \"prdo\"");
        assert!(format!("{fault:?}").contains("did you mean `prod`?"));
    }

    #[test]
    fn test_sign_in_never_takes_another_servers_profile() {
        let check = |url: Option<&str>, profile: Option<&str>, expect: (&str, &str)| {
            let wishes = Wishes {
                url_flag: url.map(str::to_owned),
                profile_flag: profile.map(str::to_owned),
                ..Wishes::default()
            };
            let (url, name) = profiles().resolve_login(&wishes);
            assert_eq!((url.as_str(), name.as_str()), expect);
        };
        check(None, None, ("https://attune.example", "prod"));
        check(Some("http://lab:9470"), None, ("http://lab:9470", "lab"));
        check(Some("http://new:9470"), None, ("http://new:9470", "new:9470"));
        check(None, Some("lab"), ("http://lab:9470/", "lab"));
        check(None, Some("fresh"), (DEFAULT_URL, "fresh"));
        check(Some("http://new"), Some("fresh"), ("http://new", "fresh"));
        let first = Profiles::default().resolve_login(&Wishes::default());
        assert_eq!(first, (DEFAULT_URL.to_owned(), "default".to_owned()));
    }

    #[test]
    fn test_debug_shows_no_token() {
        assert!(!format!("{:?}", profiles()).contains("token\""));
        assert!(!format!("{:?}", profiles()).contains("prod-token"));
    }
}
