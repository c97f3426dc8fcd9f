//! What the content of requests and packs is checked for beyond its form: refs that lead nowhere, and parameters that do
//! not fit their schema.

use attune_client::types::ProblemItem;
use attune_expr::pointer;
use attune_expr::schema::ParameterSchema;
use attune_expr::suggest::nearest;
use attune_expr::template::ValueTemplate;
use serde_json::{Map, Value};

use crate::error::ApiError;

/// A fault in the parameters that a rule gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ParameterFault {
    /// JSON pointer into the parameters.
    pub(crate) pointer: String,
    pub(crate) message: String,
    pub(crate) suggestion: Option<String>,
}

impl ParameterFault {
    /// The fault as an item of a problem; `at` is where the parameters stand.
    pub(crate) fn item(self, at: &str) -> ProblemItem {
        ProblemItem {
            detail: self.message,
            pointer: Some(format!("{at}{}", self.pointer)),
            suggestion: self.suggestion,
            ..ProblemItem::default()
        }
    }
}

/// The item of a request that names something that does not exist. `kind` is also the member that names it.
pub(crate) fn unknown_ref_item(kind: &str, given: &str, known: &[String]) -> ProblemItem {
    ProblemItem {
        detail: format!("there is no {kind} {given:?}"),
        pointer: Some(format!("/{kind}")),
        suggestion: nearest(given, known.iter().map(String::as_str)).map(str::to_owned),
        ..ProblemItem::default()
    }
}

/// The answer to a request that names something that does not exist.
pub(crate) fn unknown_ref(kind: &str, given: &str, known: &[String]) -> ApiError {
    unknown(unknown_ref_item(kind, given, known))
}

/// The answer to a request that names something that does not exist, which the item says.
pub(crate) fn unknown(item: ProblemItem) -> ApiError {
    let detail = match &item.suggestion {
        Some(suggestion) => format!("{}; did you mean {suggestion:?}?", item.detail),
        None => item.detail.clone(),
    };
    ApiError::invalid(detail, vec![item])
}

/// Checks values against a parameter schema and fills in the defaults. `at` is where the values stand in the request.
pub(crate) fn values(schema: &Value, given: Value, at: &str) -> Result<Value, Vec<ProblemItem>> {
    let schema = ParameterSchema::compile(schema).map_err(|problem| {
        let detail = format!("the schema of these parameters is broken, so nothing fits it: {problem}");
        vec![ProblemItem { detail, pointer: Some(at.to_owned()), ..ProblemItem::default() }]
    })?;
    schema.check(given).map_err(|violations| {
        let items = violations.into_iter().map(|violation| ProblemItem {
            detail: violation.message,
            pointer: Some(format!("{at}{}", violation.pointer)),
            ..ProblemItem::default()
        });
        items.collect()
    })
}

/// Checks the parameters that a rule gives to its action: every name must be known and every required one given. A value
/// with a template in it is known only when the rule fires, so only the others are checked by type.
pub(crate) fn action_parameters(schema: &Value, given: &Value) -> Vec<ParameterFault> {
    let mut faults = trigger_parameters(schema, given);
    let properties = schema.get("properties");
    let required = schema.get("required").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for name in required.iter().filter_map(Value::as_str) {
        let has_default = properties.and_then(|all| all.get(name)?.get("default")).is_some();
        if given.get(name).is_none() && !has_default {
            faults.push(fault(pointer::child("", name), format!("required parameter `{name}` is missing")));
        }
    }
    faults
}

/// Checks the parameters that a rule asks of its trigger: every name must be known. A rule need not ask for all of them.
pub(crate) fn trigger_parameters(schema: &Value, given: &Value) -> Vec<ParameterFault> {
    // Anything but an object is told by compiling the rule.
    let Value::Object(given) = given else { return Vec::new() };
    let compiled = match ParameterSchema::compile(schema) {
        Ok(compiled) => compiled,
        Err(problem) => {
            return vec![fault(
                String::new(),
                format!("the schema of these parameters is broken itself: {problem}"),
            )];
        }
    };
    let known = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    let closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
    let mut faults = Vec::new();
    if closed {
        for name in given.keys().filter(|name| !known.contains_key(*name)) {
            faults.push(ParameterFault {
                pointer: pointer::child("", name),
                message: format!("unknown parameter `{name}`"),
                suggestion: nearest(name, known.keys().map(String::as_str)).map(str::to_owned),
            });
        }
    }
    let fixed: Map<String, Value> = given
        .iter()
        .filter(|(name, value)| known.contains_key(*name) && is_static(value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let places: Vec<String> = fixed.keys().map(|name| pointer::child("", name)).collect();
    let within = |pointer: &str| {
        let below = |place: &String| {
            pointer.strip_prefix(place.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        places.iter().any(below)
    };
    if let Err(violations) = compiled.check(Value::Object(fixed)) {
        let of_fixed = violations.into_iter().filter(|violation| within(&violation.pointer));
        faults.extend(of_fixed.map(|violation| fault(violation.pointer, violation.message)));
    }
    faults
}

fn is_static(value: &Value) -> bool {
    ValueTemplate::compile(value).is_ok_and(|template| template.is_static())
}

fn fault(pointer: String, message: String) -> ParameterFault {
    ParameterFault { pointer, message, suggestion: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use attune_expr::schema::to_json_schema;
    use serde_json::json;

    fn faults(given: &Value) -> Vec<(String, Option<String>)> {
        let author = json!({
            "url": {"type": "string", "required": true},
            "retries": {"type": "integer", "default": 3},
            "headers": {"type": "object", "additionalProperties": {"type": "string"}},
        });
        let schema = to_json_schema(author.as_object().unwrap());
        action_parameters(&schema, given).into_iter().map(|fault| (fault.pointer, fault.suggestion)).collect()
    }

    #[test]
    fn test_templates_are_not_checked_by_type() {
        assert_eq!(
            faults(&json!({"url": "{{ event.payload.url }}", "retries": "{{ event.payload.n }}"})),
            []
        );
        assert_eq!(faults(&json!({"url": "x", "headers": {"a": "{{ event.payload.a }}"}})), []);
    }

    #[test]
    fn test_names_are_checked_even_with_templates() {
        let found = faults(&json!({"urll": "{{ event.payload.url }}"}));
        assert_eq!(found, [("/urll".to_owned(), Some("url".to_owned())), ("/url".to_owned(), None)]);
    }

    #[test]
    fn test_fixed_values_are_checked_by_type() {
        assert_eq!(faults(&json!({"url": "x", "retries": "many"})), [("/retries".to_owned(), None)]);
        assert_eq!(faults(&json!({"url": "x", "headers": {"a": 1}})), [("/headers/a".to_owned(), None)]);
    }
}
