//! What a rule on the shared webhook says in its `trigger_params`: the path that it listens on, and how senders prove
//! themselves. Pure.
//!
//! An event of this trigger has the same members as its configuration, so a rule is found by them as by any other
//! `trigger_params`. That is why what has several spellings has to be written in one of them.

use attune_expr::value::type_name;
use serde_json::{Map, Value, json};

use crate::definition::RuleProblem;

/// The trigger of the core pack whose rules say themselves where they listen.
pub const TRIGGER: &str = "core.webhook";

/// The longest path, in bytes: it stands in dedup keys.
const LONGEST_PATH: usize = 100;
const DEFAULT_HEADER: &str = "x-signature";

/// Where a rule listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Listener {
    /// As in `/api/v1/hooks/{path}`.
    pub path: String,
    /// None: what comes is to bring a token.
    pub signature: Option<Signature>,
}

/// How requests are signed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Signature {
    /// The ref of the key with the shared secret.
    pub secret: String,
    pub scheme: Scheme,
    /// The header with the signature, in lower case.
    pub header: String,
}

/// A way of signing a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    Github,
    HmacSha256,
}

impl Scheme {
    /// The name in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Github => "github",
            Self::HmacSha256 => "hmac_sha256",
        }
    }
}

impl Listener {
    /// Reads the parameters of a rule; all faults at once.
    pub fn read(trigger_params: &Value) -> Result<Self, Vec<RuleProblem>> {
        let mut problems = Vec::new();
        let nothing = Map::new();
        let params = trigger_params.as_object().unwrap_or(&nothing);
        let path = path(params, &mut problems);
        let signature = signature(params, &mut problems);
        match path {
            Some(path) if problems.is_empty() => Ok(Self { path, signature }),
            _ => Err(problems),
        }
    }

    /// The configuration of the events that this listens to.
    pub fn config(&self) -> Value {
        match &self.signature {
            None => json!({"path": self.path}),
            Some(Signature { secret, scheme, header }) => {
                json!({"path": self.path, "secret": secret, "scheme": scheme.as_str(), "header": header})
            }
        }
    }
}

fn problem(name: &str, message: impl Into<String>) -> RuleProblem {
    RuleProblem::new(format!("/trigger_params/{name}"), message)
}

fn path(params: &Map<String, Value>, problems: &mut Vec<RuleProblem>) -> Option<String> {
    let text = match params.get("path") {
        Some(Value::String(text)) => text,
        Some(other) => {
            problems.push(problem("path", format!("expected a text, got {}", type_name(other))));
            return None;
        }
        None => {
            let message = format!(
                "a rule on {TRIGGER} has to say where it listens: give `path`, as `trigger_params: {{path: alertmanager}}` for \
                 /api/v1/hooks/alertmanager"
            );
            problems.push(problem("path", message));
            return None;
        }
    };
    let is_segment = |segment: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~');
        !segment.is_empty() && !matches!(segment, "." | "..") && segment.chars().all(allowed)
    };
    if text.len() > LONGEST_PATH || !text.split('/').all(is_segment) {
        let message = format!(
            "the path has to consist of letters, digits, `-`, `_`, `.` and `~`, in parts between single `/`, and of \
             {LONGEST_PATH} bytes at most, as `alertmanager` or `team/deploys`"
        );
        problems.push(problem("path", message));
        return None;
    }
    Some(text.clone())
}

fn signature(params: &Map<String, Value>, problems: &mut Vec<RuleProblem>) -> Option<Signature> {
    let text = |name: &str| params.get(name).and_then(Value::as_str);
    let Some(secret) = text("secret") else {
        for name in ["scheme", "header"].into_iter().filter(|name| params.contains_key(*name)) {
            let message = format!(
                "`{name}` has no effect without `secret`: give the ref of the key with the shared secret, or remove it"
            );
            problems.push(problem(name, message));
        }
        return None;
    };
    let is_ref = secret.split_once('.').is_some_and(|(pack, name)| !pack.is_empty() && !name.is_empty());
    if !is_ref || !secret.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c)) {
        let message = "the ref of a key is expected here, as `ops.hook_secret`, and not the secret itself";
        problems.push(problem("secret", message));
    }
    let scheme = match text("scheme") {
        Some("github") => Scheme::Github,
        Some("hmac_sha256") | None => Scheme::HmacSha256,
        Some(_) => {
            problems.push(problem("scheme", "expected `github` or `hmac_sha256`"));
            return None;
        }
    };
    let header = match (scheme, text("header")) {
        (Scheme::Github, Some(_)) => {
            problems.push(problem("header", "has no effect with the scheme `github`, which fixes it"));
            return None;
        }
        (Scheme::Github, None) => "x-hub-signature-256",
        (Scheme::HmacSha256, header) => header.unwrap_or(DEFAULT_HEADER),
    };
    if !header.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
        || header.is_empty()
    {
        let message = "expected the name of a header in lower case, as `x-signature`";
        problems.push(problem("header", message));
        return None;
    }
    Some(Signature { secret: secret.to_owned(), scheme, header: header.to_owned() })
}
