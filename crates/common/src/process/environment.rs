//! What a child inherits of our own environment.
//!
//! Invariant: nothing of it reaches a child unless it is named here or by the operator, and what holds Attune's secrets
//! cannot be named. So a variable that somebody adds to Attune later stays private.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
};

/// What a child inherits when we have it.
const INHERITED: &[&str] = &[
    "HOME",
    "LANG",
    "LANGUAGE",
    "LOGNAME",
    "PATH",
    "SHELL",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TMPDIR",
    "TZ",
    "USER",
];

/// The search path of a child whose parent has none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Tells a child where the files of its pack are.
pub const PACK_DIR: &str = "ATTUNE_PACK_DIR";

/// A variable that must not be passed on.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the variable `{name}` must not be passed on: DATABASE_URL, PG* and ATTUNE_* are Attune's own, and a name needs a \
     character and no `=`"
)]
pub struct PrivateVariable {
    pub name: String,
}

/// What every child of this process inherits.
#[derive(Clone)]
pub struct InheritedEnvironment {
    variables: BTreeMap<OsString, OsString>,
}

impl InheritedEnvironment {
    /// From the environment of this process. `pass_on` names more variables to inherit, such as those of a proxy.
    pub fn of_this_process(pass_on: &[String]) -> Result<Self, PrivateVariable> {
        Self::of(std::env::vars_os(), pass_on)
    }

    /// From these variables instead.
    pub fn of(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        pass_on: &[String],
    ) -> Result<Self, PrivateVariable> {
        if let Some(name) = pass_on.iter().find(|name| is_private(name)) {
            return Err(PrivateVariable { name: name.clone() });
        }
        let mut variables: BTreeMap<_, _> =
            variables.into_iter().filter(|(name, _)| is_inherited(name, pass_on)).collect();
        variables.entry("PATH".into()).or_insert_with(|| DEFAULT_PATH.into());
        Ok(Self { variables })
    }

    /// The variables, for more to be added to.
    pub fn variables(&self) -> BTreeMap<OsString, OsString> {
        self.variables.clone()
    }
}

impl std::fmt::Debug for InheritedEnvironment {
    /// Names only: what an operator passes on may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}

fn is_inherited(name: &OsStr, pass_on: &[String]) -> bool {
    name.to_str().is_some_and(|name| {
        INHERITED.contains(&name) || name.starts_with("LC_") || pass_on.iter().any(|wanted| wanted == name)
    })
}

fn is_private(name: &str) -> bool {
    name == "DATABASE_URL"
        || name.starts_with("PG")
        || name.starts_with("ATTUNE_")
        || name.is_empty()
        || name.contains(['=', '\0'])
}
