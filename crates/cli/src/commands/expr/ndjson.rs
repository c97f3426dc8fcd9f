//! Cases and answers as lines of JSON, for programs that drive the command.
//!
//! Each line is answered with one line, at once, whatever is wrong with it. Members that a case does not need are
//! passed over, so that a recorded case can be sent together with its outcome.

use std::io::BufRead;

use anyhow::Context;
use attune_expr::operator::{Operator, evaluate};
use attune_expr::suggest::nearest;
use attune_expr::value::type_name;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::evaluation::{Failure, FailureKind, did_you_mean, jinja, jinja_text};
use crate::output::write;

const LANGUAGES: &[&str] = &["criteria", "jinja", "yaql"];

/// Answers until the input ends. `now` is the current time of every case; without it the clock's.
pub(super) fn serve(input: &mut dyn BufRead, now: Option<DateTime<Utc>>) -> anyhow::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line).context("cannot read standard input")? == 0 {
            return Ok(());
        }
        let answer = answer(line.trim_ascii_end(), now.unwrap_or_else(Utc::now));
        write(&format!("{answer}\n"))?;
    }
}

fn answer(line: &[u8], now: DateTime<Utc>) -> Value {
    match outcome(line, now) {
        Ok(out) => json!({ "out": out }),
        Err(Failure { kind, message, hint }) => {
            let told = hint.map_or(message.clone(), |hint| format!("{message}; {hint}"));
            json!({ "err": kind.as_str(), "msg": told })
        }
    }
}

fn outcome(line: &[u8], now: DateTime<Utc>) -> Result<Value, Failure> {
    let case = match serde_json::from_slice(line) {
        Ok(Value::Object(members)) => Case { members },
        Ok(other) => {
            return Err(Failure::malformed(format!("expected an object, got {}", type_name(&other))));
        }
        Err(error) => return Err(Failure::malformed(format!("not JSON: {error}"))),
    };
    match case.text("lang")? {
        "criteria" => case.criteria(now),
        "jinja" => case.jinja(),
        "yaql" => {
            case.text("expr")?;
            let what = if case.flag("workflow")? { "YAQL in a workflow" } else { "YAQL" };
            Err(Failure::not_available(what))
        }
        other => {
            let failure = Failure::malformed(format!("unknown lang `{other}`"));
            let near = nearest(other, LANGUAGES.iter().copied());
            let hint = near.map_or_else(|| format!("expected {}", LANGUAGES.join(", ")), did_you_mean);
            Err(Failure { hint: Some(hint), ..failure })
        }
    }
}

struct Case {
    members: Map<String, Value>,
}

impl Case {
    fn criteria(&self, now: DateTime<Utc>) -> Result<Value, Failure> {
        let operator = Operator::parse(self.text("op")?).map_err(|unknown| Failure {
            kind: FailureKind::Syntax,
            message: unknown.to_string(),
            hint: unknown.suggestion.map(did_you_mean),
        })?;
        let condition = self.value("condition");
        let expected = match operator {
            Operator::Search => json!({ "condition": condition, "pattern": self.value("pattern") }),
            _ if !condition.is_null() => {
                return Err(Failure::malformed(format!("`condition` has no effect on `{operator}`")));
            }
            _ => self.value("pattern").clone(),
        };
        let holds = evaluate(operator, self.value("value"), &expected, now).map_err(|error| Failure {
            kind: FailureKind::Failed,
            message: error.message,
            hint: None,
        })?;
        Ok(Value::Bool(holds))
    }

    fn jinja(&self) -> Result<Value, Failure> {
        let expression = self.text("expr")?;
        let as_text = self.flag("text")?;
        if self.flag("workflow")? {
            return Err(Failure::not_available("Jinja in a workflow"));
        }
        let data = self.value("data");
        if as_text { jinja_text(expression, data).map(Value::String) } else { jinja(expression, data) }
    }

    /// The value of a member; one that is not there is null.
    fn value(&self, name: &str) -> &Value {
        self.members.get(name).unwrap_or(&Value::Null)
    }

    fn text(&self, name: &str) -> Result<&str, Failure> {
        match self.members.get(name) {
            Some(Value::String(text)) => Ok(text),
            Some(other) => {
                Err(Failure::malformed(format!("`{name}` must be text, got {}", type_name(other))))
            }
            None => Err(Failure::malformed(format!("the case has no `{name}`"))),
        }
    }

    fn flag(&self, name: &str) -> Result<bool, Failure> {
        match self.value(name) {
            Value::Null => Ok(false),
            Value::Bool(flag) => Ok(*flag),
            other => {
                Err(Failure::malformed(format!("`{name}` must be true or false, got {}", type_name(other))))
            }
        }
    }
}
