//! The answer to an inquiry: as it is given, or asked for on the terminal, field by field.

use attune_client::types::InquiryView;
use serde_json::{Map, Value};

use crate::failure::Fault;
use crate::input;
use crate::output::{printable, say};
use crate::parameters;

/// What was given on the command line.
#[derive(Debug)]
pub(super) struct Given {
    /// The whole answer.
    pub(super) answer: Option<String>,
    /// Single fields of it.
    pub(super) fields: Vec<String>,
}

/// The answer; what it may be is checked by the server.
pub(super) fn read(inquiry: &InquiryView, given: &Given) -> anyhow::Result<Value> {
    let schema = &inquiry.response_schema;
    if let Some(answer) = &given.answer {
        return input::json("--answer", answer);
    }
    if !given.fields.is_empty() {
        for name in parameters::secrets_among(schema, &given.fields) {
            say(format_args!(
                "warning: others on this machine can see `{name}` on the command line; use --answer @file"
            ));
        }
        return Ok(Value::Object(parameters::fields(schema, &given.fields)?));
    }
    if !input::is_interactive() {
        return Err(Fault::new("no answer is given")
            .hint("give --field NAME=VALUE, or --answer with JSON")
            .into());
    }
    say(printable(&inquiry.prompt));
    let properties = schema.get("properties").and_then(Value::as_object);
    match properties {
        Some(properties) if !properties.is_empty() => Ok(Value::Object(ask_fields(schema, properties)?)),
        _ => ask("answer", schema, true)?
            .ok_or_else(|| Fault::new("no answer is given").hint("nothing was answered").into()),
    }
}

fn ask_fields(schema: &Value, properties: &Map<String, Value>) -> anyhow::Result<Map<String, Value>> {
    let required = schema.get("required").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut answer = Map::new();
    for (name, property) in properties {
        let is_required = required.iter().any(|required| required == name);
        if let Some(value) = ask(name, property, is_required)? {
            answer.insert(name.clone(), value);
        }
    }
    Ok(answer)
}

/// Asks until what is typed is of the right type. Nothing leaves the default, or the field out; what is secret is not shown.
fn ask(name: &str, schema: &Value, is_required: bool) -> anyhow::Result<Option<Value>> {
    let question = question(name, schema);
    let is_secret = schema.get("secret") == Some(&Value::Bool(true));
    let has_default = schema.get("default").is_some();
    loop {
        let typed = if is_secret {
            input::ask_secret(&format!("{question}: "))?
        } else {
            input::ask(&question, None)?
        };
        if typed.is_empty() {
            if is_required && !has_default {
                say(format_args!("`{name}` is needed; Ctrl-C leaves the question open"));
                continue;
            }
            return Ok(None);
        }
        match parameters::value(name, &typed, schema) {
            Ok(value) => return Ok(Some(value)),
            Err(fault) => say(fault),
        }
    }
}

/// The name of a field with what may be typed.
fn question(name: &str, schema: &Value) -> String {
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let choices = match schema.get("enum").and_then(Value::as_array) {
        Some(choices) => choices.iter().map(word).collect::<Vec<_>>().join("|"),
        None => match schema.get("type") {
            Some(Value::String(kind)) if kind == "boolean" => "true|false".to_owned(),
            Some(Value::String(kind)) => kind.clone(),
            Some(Value::Array(kinds)) => kinds.iter().map(word).collect::<Vec<_>>().join("|"),
            _ => String::new(),
        },
    };
    let mut text = name.to_owned();
    if let Some(description) = schema.get("description").and_then(Value::as_str) {
        text.push_str(&format!(" - {description}"));
    }
    if !choices.is_empty() {
        text.push_str(&format!(" ({choices})"));
    }
    if let Some(default) = schema.get("default") {
        text.push_str(&format!(" [{}]", word(default)));
    }
    printable(&text).replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn test_a_field_is_asked_for_with_what_may_be_typed() {
        let check = |schema: Value, expected: &str| assert_eq!(question("go", &schema), expected);
        check(json!({"type": "boolean", "description": "Shall it?"}), "go - Shall it? (true|false)");
        check(json!({"enum": ["a", 1], "default": "a"}), "go (a|1) [a]");
        check(json!({"type": ["string", "null"]}), "go (string|null)");
        check(json!({}), "go");
    }
}
