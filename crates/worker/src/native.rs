//! The actions that need no process: the worker does them itself.
//!
//! A handler gets a [`Context`] and gives back the result, or a [`Failure`]. Limiting its time and ending it are the caller's
//! affair: dropping the future ends it, so a handler holds nothing that would outlive it.

mod basic;
mod emit;
mod files;
pub mod http;
mod keys;
mod mail;
pub mod network;
mod origin;
pub mod recorded;
mod ssh;

use std::fmt;
use std::time::Duration;

use attune_common::bus::Bus;
use attune_common::error::StoreError;
use attune_common::models::execution::Claimed;
use attune_common::pack_cache::PackCacheError;
use attune_common::pack_store::{PackStore, PackStoreError};
use serde::de::DeserializeOwned;
use serde_json::Value;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::secrets::Secrets;
use attune_expr::masking::Masker;

/// The handlers there are, as an action's `entrypoint` names them.
pub const HANDLERS: &[&str] =
    &["noop", "echo", "sleep", "fail", "http", "emit", "key_get", "key_set", "mail", "ssh"];

/// What a handler works with.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    parameters: &'a Value,
    /// The way to other servers.
    http: &'a http::Access,
    platform: Option<Platform<'a>>,
}

/// What the worker around an action gives it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Platform<'a> {
    pub(crate) pool: &'a PgPool,
    pub(crate) packs: &'a PackStore,
    pub(crate) bus: &'a Bus,
    pub(crate) secrets: &'a Secrets,
    pub(crate) execution: &'a Claimed,
    /// Hides the keys that the parameters name, and what the schema of the action calls secret.
    pub(crate) masker: &'a Masker,
    /// Hides the keys that the parameters name, and nothing else.
    pub(crate) of_keys: &'a Masker,
}

/// How a native action ended.
#[derive(Debug)]
pub enum NativeOutcome {
    Succeeded(Value),
    Failed(Box<Failure>),
    Cancelled,
}

/// A failed action, and what it can tell all the same.
#[derive(Debug)]
pub struct Failure {
    pub error: Box<NativeError>,
    pub result: Option<Value>,
}

/// Why a native action failed.
#[derive(Debug, thiserror::Error)]
pub enum NativeError {
    #[error("there is no native handler `{handler}`, expected one of {}; is this worker older than the pack?", HANDLERS.join(", "))]
    UnknownHandler { handler: String },
    #[error("parameter `{name}` is {problem}, expected {expected}")]
    Parameter { name: &'static str, problem: &'static str, expected: &'static str },
    /// The schema of the action lets through what its handler does not understand.
    #[error("the parameters are not understood: {0}; is this worker older than the pack?")]
    Parameters(serde_json::Error),
    /// What the author of `fail` wants to be said.
    #[error("{message}")]
    Wanted { message: String },
    #[error("it needs a worker around it, and there is none")]
    NoPlatform,
    #[error("the pack {pack} is not installed or has no file {path}")]
    NoFile { pack: String, path: String },
    #[error(transparent)]
    Pack(#[from] Box<PackStoreError>),
    #[error(transparent)]
    PackFile(#[from] Box<PackCacheError>),
    #[error("the database cannot be asked")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Http(#[from] http::HttpError),
    #[error(transparent)]
    Emit(#[from] emit::EmitError),
    #[error(transparent)]
    Key(#[from] keys::KeyError),
    #[error(transparent)]
    Mail(#[from] mail::MailError),
    #[error(transparent)]
    Ssh(#[from] ssh::SshError),
}

impl<E: Into<NativeError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { error: Box::new(error.into()), result: None }
    }
}

impl<'a> Context<'a> {
    /// A context without a worker around it.
    pub fn new(parameters: &'a Value, http: &'a http::Access) -> Self {
        Self { parameters, http, platform: None }
    }

    pub(crate) fn within(self, platform: Platform<'a>) -> Self {
        Self { platform: Some(platform), ..self }
    }

    fn platform(&self) -> Result<Platform<'a>, NativeError> {
        self.platform.ok_or(NativeError::NoPlatform)
    }

    /// The parameters as the handler understands them. They were checked against the schema of the action before.
    fn read<T: DeserializeOwned>(&self) -> Result<T, NativeError> {
        T::deserialize(self.parameters).map_err(NativeError::Parameters)
    }
}

/// Runs the handler until it ends or is cancelled.
///
/// - `noop`: the result is null.
/// - `echo`: the result is the parameter `message`, whatever its type.
/// - `sleep`: waits for `seconds`, a number; the result is `{"seconds": ..}`.
/// - `fail`: fails with `message`.
/// - [`http`]: sends a request.
/// - `emit`: records an event.
/// - `key_get`, `key_set`: what there is to know of a key, and a new value for it.
/// - `mail`: sends a message by SMTP.
/// - `ssh`: runs a command on other hosts.
pub async fn run(handler: &str, context: Context<'_>, cancel: &CancellationToken) -> NativeOutcome {
    if cancel.is_cancelled() {
        return NativeOutcome::Cancelled;
    }
    if let Some(outcome) = run_at_once(handler, context.parameters) {
        return outcome;
    }
    let handled = async {
        match handler {
            "sleep" => basic::sleep(&context).await,
            "http" => http::run(&context).await,
            "emit" => emit::run(&context).await,
            "key_get" => keys::get(&context).await,
            "key_set" => keys::set(&context).await,
            "mail" => mail::run(&context).await,
            "ssh" => ssh::run(&context).await,
            _ => Err(NativeError::UnknownHandler { handler: handler.to_owned() }.into()),
        }
    };
    tokio::select! {
        outcome = handled => outcome.into(),
        () = cancel.cancelled() => NativeOutcome::Cancelled,
    }
}

/// Runs a handler that waits for nothing: it needs neither a task, nor a limit, nor a way to be cancelled. None for one that
/// does.
pub fn run_at_once(handler: &str, parameters: &Value) -> Option<NativeOutcome> {
    let outcome = match handler {
        "noop" => Ok(Value::Null),
        "echo" => basic::echo(parameters),
        "fail" => basic::fail(parameters),
        _ => return None,
    };
    Some(outcome.into())
}

impl From<Result<Value, Failure>> for NativeOutcome {
    fn from(outcome: Result<Value, Failure>) -> Self {
        match outcome {
            Ok(result) => Self::Succeeded(result),
            Err(failure) => Self::Failed(Box::new(failure)),
        }
    }
}

/// A number of seconds as a duration, at most a day.
fn seconds(given: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(given).ok().filter(|duration| *duration <= Duration::from_secs(24 * 3600))
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::attempt::with_causes(self.error.as_ref()))
    }
}
