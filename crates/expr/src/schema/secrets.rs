//! The values that a schema calls secret, out of what was given for it.

use serde_json::Value;

use super::holds_secret;

/// Texts and numbers with fewer characters are no secrets by themselves: they would be found everywhere.
const SHORTEST: usize = 4;

/// The texts and numbers of a value that the schema calls secret, as texts, to be hidden wherever they turn up. A member is taken
/// by itself where the schema describes it by itself, else with all that is around it. Those of fewer than four characters are
/// left out.
pub fn secret_texts(value: &Value, schema: &Value) -> Vec<String> {
    let mut texts = Vec::new();
    find(value, schema, &mut texts);
    texts
}

fn find(value: &Value, schema: &Value, texts: &mut Vec<String>) {
    let Value::Object(schema) = schema else { return };
    // Alternatives and conditions may or may not be what the value fits.
    let is_secret = schema.iter().any(|(keyword, nested)| match keyword.as_str() {
        "secret" => *nested == Value::Bool(true),
        "items" if !nested.is_array() => false,
        "properties" | "additionalProperties" | "default" | "enum" | "const" | "examples" => false,
        _ => holds_secret(nested),
    });
    if is_secret {
        return take(value, texts);
    }
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let own = schema.get("properties").and_then(|properties| properties.get(name));
                if let Some(described) = own.or_else(|| schema.get("additionalProperties")) {
                    find(member, described, texts);
                }
            }
        }
        Value::Array(elements) => {
            if let Some(items) = schema.get("items") {
                elements.iter().for_each(|element| find(element, items, texts));
            }
        }
        _ => {}
    }
}

fn take(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) => texts.extend(long_enough(text.clone())),
        Value::Number(number) => texts.extend(long_enough(number.to_string())),
        Value::Array(elements) => elements.iter().for_each(|element| take(element, texts)),
        Value::Object(members) => members.values().for_each(|member| take(member, texts)),
        Value::Null | Value::Bool(_) => {}
    }
}

fn long_enough(text: String) -> Option<String> {
    text.trim().chars().nth(SHORTEST - 1).is_some().then_some(text)
}
