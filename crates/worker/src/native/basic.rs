//! The actions that touch nothing outside: `echo`, `sleep` and `fail`.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Context, Failure, NativeError};

pub(super) fn echo(context: &Context<'_>) -> Result<Value, Failure> {
    let message = context.parameters.get("message").cloned();
    Ok(message.ok_or(NativeError::Parameter { name: "message", problem: "missing", expected: "a value" })?)
}

pub(super) async fn sleep(context: &Context<'_>) -> Result<Value, Failure> {
    let duration = duration(context.parameters)?;
    tokio::time::sleep(duration).await;
    Ok(json!({"seconds": context.parameters["seconds"]}))
}

pub(super) fn fail(context: &Context<'_>) -> Result<Value, Failure> {
    let invalid = |problem| NativeError::Parameter { name: "message", problem, expected: "a string" };
    Err(match context.parameters.get("message") {
        Some(Value::String(message)) => NativeError::Wanted { message: message.clone() },
        Some(_) => invalid("not a string"),
        None => invalid("missing"),
    }
    .into())
}

fn duration(parameters: &Value) -> Result<Duration, NativeError> {
    const EXPECTED: &str = "a number of seconds, 0 or more";
    let problem = |problem| NativeError::Parameter { name: "seconds", problem, expected: EXPECTED };
    let seconds = parameters.get("seconds").ok_or_else(|| problem("missing"))?;
    let seconds = seconds.as_f64().ok_or_else(|| problem("not a number"))?;
    Duration::try_from_secs_f64(seconds).map_err(|_| problem("negative or too large"))
}
