//! The actions that need no process: the worker does them itself.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{select, time::sleep};
use tokio_util::sync::CancellationToken;

/// The handlers there are, as an action's `entrypoint` names them.
pub const HANDLERS: &[&str] = &["noop", "echo", "sleep", "fail"];

/// How a native action ended.
#[derive(Debug, PartialEq)]
pub enum NativeOutcome {
    Succeeded(Value),
    Failed(NativeError),
    Cancelled,
}

/// Why a native action failed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NativeError {
    #[error("there is no native handler `{handler}`, expected one of {}; is this worker older than the pack?", HANDLERS.join(", "))]
    UnknownHandler { handler: String },
    #[error("parameter `{name}` is {problem}, expected {expected}")]
    Parameter { name: &'static str, problem: &'static str, expected: &'static str },
    /// What the author of `fail` wants to be said.
    #[error("{message}")]
    Wanted { message: String },
}

/// Runs the handler. Limiting its time is the caller's affair: dropping the future ends it.
///
/// - `noop`: the result is null.
/// - `echo`: the result is the parameter `message`, whatever its type.
/// - `sleep`: waits for `seconds`, a number; the result is `{"seconds": ..}`.
/// - `fail`: fails with `message`.
pub async fn run(handler: &str, parameters: &Value, cancel: &CancellationToken) -> NativeOutcome {
    if cancel.is_cancelled() {
        return NativeOutcome::Cancelled;
    }
    if let Some(outcome) = run_at_once(handler, parameters) {
        return outcome;
    }
    match duration(parameters) {
        Ok(duration) => select! {
            () = sleep(duration) => NativeOutcome::Succeeded(json!({"seconds": parameters["seconds"]})),
            () = cancel.cancelled() => NativeOutcome::Cancelled,
        },
        Err(error) => NativeOutcome::Failed(error),
    }
}

/// Runs a handler that waits for nothing: it needs neither a task, nor a limit, nor a way to be cancelled. None for one that
/// does.
pub fn run_at_once(handler: &str, parameters: &Value) -> Option<NativeOutcome> {
    let outcome = match handler {
        "sleep" => return None,
        "noop" => NativeOutcome::Succeeded(Value::Null),
        "echo" => match parameters.get("message") {
            Some(message) => NativeOutcome::Succeeded(message.clone()),
            None => missing("message", "a value"),
        },
        "fail" => match parameters.get("message") {
            Some(Value::String(message)) => {
                NativeOutcome::Failed(NativeError::Wanted { message: message.clone() })
            }
            Some(_) => invalid("message", "not a string", "a string"),
            None => missing("message", "a string"),
        },
        _ => NativeOutcome::Failed(NativeError::UnknownHandler { handler: handler.to_owned() }),
    };
    Some(outcome)
}

fn duration(parameters: &Value) -> Result<Duration, NativeError> {
    const EXPECTED: &str = "a number of seconds, 0 or more";
    let problem = |problem| NativeError::Parameter { name: "seconds", problem, expected: EXPECTED };
    let seconds = parameters.get("seconds").ok_or_else(|| problem("missing"))?;
    let seconds = seconds.as_f64().ok_or_else(|| problem("not a number"))?;
    Duration::try_from_secs_f64(seconds).map_err(|_| problem("negative or too large"))
}

fn missing(name: &'static str, expected: &'static str) -> NativeOutcome {
    invalid(name, "missing", expected)
}

fn invalid(name: &'static str, problem: &'static str, expected: &'static str) -> NativeOutcome {
    NativeOutcome::Failed(NativeError::Parameter { name, problem, expected })
}
