//! What can be wrong with a map of parameters as its author wrote it.

use jsonschema::Draft;
use serde_json::{Map, Value, json};

use super::{SchemaProblem, build, specification_to_schema};
use crate::pointer;
use crate::suggest::nearest;
use crate::value::type_name;

const TYPES: &[&str] = &["array", "boolean", "integer", "null", "number", "object", "string"];

/// Every keyword with the types it has an effect on; none means all.
const KEYWORDS: &[(&str, &[&str])] = &[
    ("type", &[]),
    ("title", &[]),
    ("description", &[]),
    ("examples", &[]),
    ("required", &[]),
    ("secret", &[]),
    ("default", &[]),
    ("enum", &[]),
    ("const", &[]),
    ("anyOf", &[]),
    ("oneOf", &[]),
    ("allOf", &[]),
    ("not", &[]),
    ("items", &["array"]),
    ("minItems", &["array"]),
    ("maxItems", &["array"]),
    ("uniqueItems", &["array"]),
    ("minimum", &["integer", "number"]),
    ("maximum", &["integer", "number"]),
    ("exclusiveMinimum", &["integer", "number"]),
    ("exclusiveMaximum", &["integer", "number"]),
    ("multipleOf", &["integer", "number"]),
    ("minLength", &["string"]),
    ("maxLength", &["string"]),
    ("pattern", &["string"]),
    ("format", &["string"]),
    ("properties", &["object"]),
    ("patternProperties", &["object"]),
    ("additionalProperties", &["object"]),
    ("minProperties", &["object"]),
    ("maxProperties", &["object"]),
];

/// The keywords that may describe a parameter.
pub fn parameter_keywords() -> impl Iterator<Item = &'static str> {
    KEYWORDS.iter().map(|(keyword, _)| *keyword)
}

/// Checks what an author wrote under `parameters` and reports all problems at once; pointers start at that map.
pub fn check_parameters(parameters: &Map<String, Value>) -> Vec<SchemaProblem> {
    let mut problems = Vec::new();
    for (name, specification) in parameters {
        let pointer = pointer::child("", name);
        let starts_well = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        if !starts_well
            || !name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
        {
            problems.push(problem(
                &pointer,
                format!(
                    "bad parameter name `{name}`: expected a letter or `_`, then letters, digits and `_`"
                ),
            ));
        }
        check_specification(specification, &pointer, &mut problems);
    }
    problems
}

fn check_specification(specification: &Value, pointer: &str, problems: &mut Vec<SchemaProblem>) {
    let Value::Object(members) = specification else {
        let kind = type_name(specification);
        problems.push(problem(pointer, format!("expected an object such as `{{type: string}}`, got {kind}")));
        return;
    };
    let before = problems.len();
    let types = check_type(members, pointer, problems);
    for (keyword, value) in members {
        check_keyword(keyword, value, &types, pointer, problems);
    }
    check_nested(members, pointer, problems);
    // A schema that is wrong in a way said already would only be reported a second time in other words.
    if problems.len() == before {
        check_compiled(specification, members, pointer, problems);
    }
}

/// Checks `type` and gives the types that the parameter may have; empty means any.
fn check_type<'a>(
    members: &'a Map<String, Value>,
    pointer: &str,
    problems: &mut Vec<SchemaProblem>,
) -> Vec<&'a str> {
    let given = match members.get("type") {
        None => return Vec::new(),
        Some(Value::Array(given)) if !given.is_empty() => given.as_slice(),
        Some(single) => std::slice::from_ref(single),
    };
    let mut types = Vec::new();
    for kind in given {
        match kind.as_str() {
            Some(kind) if TYPES.contains(&kind) => types.push(kind),
            other => problems.push(SchemaProblem {
                pointer: format!("{pointer}/type"),
                message: format!("expected a type: {}", TYPES.join(", ")),
                suggestion: other.and_then(nearest_type).map(str::to_owned),
            }),
        }
    }
    types
}

/// The names that other languages have for the types come to mind before slips of the pen do.
fn nearest_type(given: &str) -> Option<&'static str> {
    match given.to_lowercase().as_str() {
        "str" | "text" => Some("string"),
        "int" => Some("integer"),
        "float" | "double" | "decimal" => Some("number"),
        "bool" => Some("boolean"),
        "list" => Some("array"),
        "dict" | "map" | "hash" => Some("object"),
        "none" => Some("null"),
        other => nearest(other, TYPES.iter().copied()),
    }
}

fn check_keyword(
    keyword: &str,
    value: &Value,
    types: &[&str],
    pointer: &str,
    problems: &mut Vec<SchemaProblem>,
) {
    let here = pointer::child(pointer, keyword);
    let Some((_, applies_to)) = KEYWORDS.iter().find(|(known, _)| *known == keyword) else {
        let known = KEYWORDS.iter().map(|(known, _)| *known);
        problems.push(SchemaProblem {
            suggestion: nearest(keyword, known).map(str::to_owned),
            ..problem(&here, format!("unknown key `{keyword}`"))
        });
        return;
    };
    if !applies_to.is_empty() && !types.is_empty() && !types.iter().any(|kind| applies_to.contains(kind)) {
        let (kind, wanted) = (types.join(" or "), applies_to.join(" or "));
        problems.push(problem(&here, format!("`{keyword}` has no effect on {kind}, only on {wanted}")));
    }
    match keyword {
        "required" | "secret" if !value.is_boolean() => {
            problems.push(problem(&here, format!("expected true or false, got {}", type_name(value))));
        }
        "format" => {
            let known = value
                .as_str()
                .is_some_and(|name| jsonschema::options().is_known_format(Draft::Draft202012, name));
            if !known {
                problems.push(problem(
                    &here,
                    "unknown format; expected one of JSON Schema's such as `date-time`",
                ));
            }
        }
        _ => {}
    }
}

fn check_nested(members: &Map<String, Value>, pointer: &str, problems: &mut Vec<SchemaProblem>) {
    if let Some(Value::Object(properties)) = members.get("properties") {
        for (name, specification) in properties {
            let here = pointer::child(&format!("{pointer}/properties"), name);
            check_specification(specification, &here, problems);
        }
    }
    for keyword in ["items", "additionalProperties"] {
        if let Some(nested @ Value::Object(_)) = members.get(keyword) {
            check_specification(nested, &format!("{pointer}/{keyword}"), problems);
        }
    }
}

/// What only the finished schema shows: keywords with wrong values, and a default that it would refuse.
fn check_compiled(
    specification: &Value,
    members: &Map<String, Value>,
    pointer: &str,
    problems: &mut Vec<SchemaProblem>,
) {
    let schema = specification_to_schema(specification);
    let validator = match build(&schema) {
        Ok(validator) => validator,
        Err(error) => {
            problems.push(SchemaProblem { pointer: format!("{pointer}{}", error.pointer), ..error });
            return;
        }
    };
    if let Some(default) = members.get("default") {
        for error in validator.iter_errors(default) {
            let here = format!("{pointer}/default{}", error.instance_path().as_str());
            problems.push(problem(&here, format!("the default does not fit: {}", error.masked_with("it"))));
        }
        if members.get("required") == Some(&json!(true)) {
            let message = "`required` has no effect beside `default`, which fills in what is not given";
            problems.push(problem(&format!("{pointer}/required"), message));
        }
    }
}

fn problem(pointer: &str, message: impl Into<String>) -> SchemaProblem {
    SchemaProblem { pointer: pointer.to_owned(), message: message.into(), suggestion: None }
}
