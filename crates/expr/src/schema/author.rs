//! What can be wrong with a map of parameters as its author wrote it.

use jsonschema::Draft;
use serde_json::{Map, Value, json};

use super::{SchemaProblem, build, specification_to_schema};
use crate::pointer;
use crate::suggest::nearest;
use crate::value::type_name;

const TYPES: &[&str] = &["array", "boolean", "integer", "null", "number", "object", "string"];

/// What stands under a keyword.
#[derive(Debug, Clone, Copy)]
enum Operand {
    /// True or false, and what that says.
    Flag(&'static str),
    /// One of [`TYPES`], or several.
    Types,
    Text,
    /// Anything.
    Value,
    /// A list of anything.
    Values,
    /// A specification such as that of the parameter itself, or true or false.
    Specification,
    /// Several by the names of members.
    Specifications,
    /// Several schemas.
    Schemas,
    /// Several schemas by patterns.
    SchemasByPattern,
    /// One schema.
    Schema,
    /// How many.
    Count,
    Number,
}

/// Every keyword with what stands under it and the types it has an effect on; none means all.
const KEYWORDS: &[(&str, Operand, &[&str])] = &[
    ("type", Operand::Types, &[]),
    ("title", Operand::Text, &[]),
    ("description", Operand::Text, &[]),
    ("examples", Operand::Values, &[]),
    ("required", Operand::Flag("Whether it must be given."), &[]),
    ("secret", Operand::Flag("Whether it is masked wherever it is shown."), &[]),
    ("default", Operand::Value, &[]),
    ("enum", Operand::Values, &[]),
    ("const", Operand::Value, &[]),
    ("anyOf", Operand::Schemas, &[]),
    ("oneOf", Operand::Schemas, &[]),
    ("allOf", Operand::Schemas, &[]),
    ("not", Operand::Schema, &[]),
    ("items", Operand::Specification, &["array"]),
    ("minItems", Operand::Count, &["array"]),
    ("maxItems", Operand::Count, &["array"]),
    ("uniqueItems", Operand::Flag("Whether no two elements may be equal."), &["array"]),
    ("minimum", Operand::Number, &["integer", "number"]),
    ("maximum", Operand::Number, &["integer", "number"]),
    ("exclusiveMinimum", Operand::Number, &["integer", "number"]),
    ("exclusiveMaximum", Operand::Number, &["integer", "number"]),
    ("multipleOf", Operand::Number, &["integer", "number"]),
    ("minLength", Operand::Count, &["string"]),
    ("maxLength", Operand::Count, &["string"]),
    ("pattern", Operand::Text, &["string"]),
    ("format", Operand::Text, &["string"]),
    ("properties", Operand::Specifications, &["object"]),
    ("patternProperties", Operand::SchemasByPattern, &["object"]),
    ("additionalProperties", Operand::Specification, &["object"]),
    ("minProperties", Operand::Count, &["object"]),
    ("maxProperties", Operand::Count, &["object"]),
];

impl Operand {
    fn schema(self, nested: &Value) -> Value {
        match self {
            Self::Flag(about) => json!({"type": "boolean", "description": about}),
            Self::Types => {
                json!({"anyOf": [{"enum": TYPES}, {"type": "array", "items": {"enum": TYPES}, "minItems": 1}]})
            }
            Self::Text => json!({"type": "string"}),
            Self::Value => json!({}),
            Self::Values => json!({"type": "array"}),
            Self::Specification => json!({"anyOf": [{"type": "boolean"}, nested]}),
            Self::Specifications => json!({"type": "object", "additionalProperties": nested}),
            Self::SchemasByPattern => {
                json!({"type": "object", "additionalProperties": {"type": ["boolean", "object"]}})
            }
            Self::Schemas => {
                json!({"type": "array", "minItems": 1, "items": {"type": ["boolean", "object"]}})
            }
            Self::Schema => json!({"type": ["boolean", "object"]}),
            Self::Count => json!({"type": "integer", "minimum": 0}),
            Self::Number => json!({"type": "number"}),
        }
    }
}

/// The JSON Schema of the specification of a parameter; `nested` is what stands for it where it occurs in itself.
pub fn specification_schema(nested: &Value) -> Value {
    let properties: Map<String, Value> = KEYWORDS
        .iter()
        .map(|(keyword, operand, _)| ((*keyword).to_owned(), operand.schema(nested)))
        .collect();
    json!({
        "description": "A parameter, described by JSON Schema keywords.",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    })
}

/// The JSON Schema of a map of parameters, each of which is as `specification` says.
pub fn parameters_schema(specification: &Value) -> Value {
    json!({
        "type": "object",
        // As `check_parameters` wants them.
        "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
        "additionalProperties": specification,
    })
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
    let Some((_, operand, applies_to)) = KEYWORDS.iter().find(|(known, ..)| *known == keyword) else {
        let known = KEYWORDS.iter().map(|(known, ..)| *known);
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
        _ if matches!(operand, Operand::Flag(_)) && !value.is_boolean() => {
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
    for (keyword, operand, _) in KEYWORDS {
        match (operand, members.get(*keyword)) {
            (Operand::Specification, Some(nested @ Value::Object(_))) => {
                check_specification(nested, &format!("{pointer}/{keyword}"), problems);
            }
            (Operand::Specifications, Some(Value::Object(properties))) => {
                for (name, specification) in properties {
                    let here = pointer::child(&format!("{pointer}/{keyword}"), name);
                    check_specification(specification, &here, problems);
                }
            }
            _ => {}
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
