//! Parameter schemas of actions, triggers and everything else that takes named values.
//!
//! Authors write a map from name to specification: JSON Schema's keywords plus `required: true` on the parameter itself
//! and `secret: true`. [`to_json_schema`] turns that into plain JSON Schema 2020-12, which is what gets stored;
//! [`check_parameters`] tells an author everything that is wrong with it, settings without effect included;
//! [`ParameterSchema`] fills defaults in and validates values. A trigger says by a JSON schema what its events bring:
//! [`check_payload_schema`] checks that, and [`reach`] tells whether a field can be there and what it can be.
//! No message repeats a value, because it may be a secret.

mod author;
mod payload;
mod reach;
mod secrets;

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{Draft, ValidationError, Validator};
use serde_json::{Map, Value, json};

use crate::key_marks::MASK;
use crate::pointer;
use crate::suggest::nearest;
use crate::value::type_name;

pub use author::{check_parameters, parameters_schema, specification_schema};
pub use payload::check_payload_schema;
pub use reach::{Cause, Possible, Types, Unreachable, reach};
pub use secrets::secret_texts;

/// A compiled schema of named parameters.
#[derive(Debug, Clone)]
pub struct ParameterSchema {
    schema: Value,
    validator: Validator,
    secrets: Vec<String>,
}

/// A value that does not fit its schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {message}")]
pub struct SchemaViolation {
    /// JSON pointer into the checked value; it names a missing or unknown member too.
    pub pointer: String,
    /// What was expected and, by kind, what stands there.
    pub message: String,
}

/// A fault in a schema or in what its author wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {message}")]
pub struct SchemaProblem {
    /// JSON pointer into the schema, or into the author's map of parameters.
    pub pointer: String,
    /// What is wrong and what was expected.
    pub message: String,
    /// A nearby valid spelling.
    pub suggestion: Option<String>,
}

/// Turns what an author wrote under `parameters` into a JSON schema of the object that holds them. `required: true` moves
/// into the list of the surrounding object, at every depth; a default of null makes null a valid value; everything else,
/// `secret` included, stays as it is.
pub fn to_json_schema(parameters: &Map<String, Value>) -> Value {
    let (properties, required) = properties_to_schema(parameters);
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

impl ParameterSchema {
    /// Compiles a JSON schema made by [`to_json_schema`], or any other: of a result, say.
    pub fn compile(schema: &Value) -> Result<Self, SchemaProblem> {
        let validator = build(schema)?;
        let secrets = schema
            .get("properties")
            .and_then(Value::as_object)
            .map(|properties| {
                let secret = properties.iter().filter(|(_, property)| holds_secret(property));
                secret.map(|(name, _)| name.clone()).collect()
            })
            .unwrap_or_default();
        Ok(Self { schema: schema.clone(), validator, secrets })
    }

    /// Fills in the defaults of what is not given and validates the whole; all violations at once. Null counts as an
    /// empty object.
    pub fn check(&self, given: Value) -> Result<Value, Vec<SchemaViolation>> {
        let value = self.with_defaults(given);
        self.validate(&value).map(|()| value)
    }

    /// Validates a value as it is; all violations at once.
    pub fn validate(&self, value: &Value) -> Result<(), Vec<SchemaViolation>> {
        let mut violations: Vec<_> =
            self.validator.iter_errors(value).flat_map(|error| self.violations(&error)).collect();
        if violations.is_empty() {
            return Ok(());
        }
        violations
            .sort_by(|left, right| (&left.pointer, &left.message).cmp(&(&right.pointer, &right.message)));
        Err(violations)
    }

    /// Fills in the defaults of what is not given, without validating anything.
    pub fn with_defaults(&self, given: Value) -> Value {
        let mut value = if given.is_null() { Value::Object(Map::new()) } else { given };
        fill_defaults(&mut value, &self.schema);
        value
    }

    /// Names of the parameters that are secret or hold something secret, in alphabetical order.
    pub fn secret_names(&self) -> &[String] {
        &self.secrets
    }

    fn violations(&self, error: &ValidationError<'_>) -> Vec<SchemaViolation> {
        let here = error.instance_path().as_str();
        let below = |name: &str| pointer::child(here, name);
        let single = |pointer: String, message: String| vec![SchemaViolation { pointer, message }];
        match error.kind() {
            ValidationErrorKind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                single(below(name), format!("required `{name}` is missing"))
            }
            ValidationErrorKind::AdditionalProperties { unexpected } => unexpected
                .iter()
                .map(|name| SchemaViolation { pointer: below(name), message: self.unknown(here, name) })
                .collect(),
            ValidationErrorKind::Type { kind } => {
                let expected = match kind {
                    TypeKind::Single(kind) => kind.to_string(),
                    TypeKind::Multiple(kinds) => {
                        kinds.iter().map(|kind| kind.to_string()).collect::<Vec<_>>().join(" or ")
                    }
                };
                single(here.to_owned(), format!("expected {expected}, got {}", type_name(error.instance())))
            }
            ValidationErrorKind::Enum { options } => {
                single(here.to_owned(), format!("expected one of {}", listed(options)))
            }
            _ => single(here.to_owned(), error.masked().to_string()),
        }
    }

    fn unknown(&self, here: &str, name: &str) -> String {
        let known =
            if here.is_empty() { self.schema.get("properties").and_then(Value::as_object) } else { None };
        let names = known.map(|known| known.keys().map(String::as_str)).into_iter().flatten();
        match nearest(name, names) {
            Some(near) => format!("unknown `{name}`; did you mean `{near}`?"),
            None => format!("unknown `{name}`"),
        }
    }
}

/// Compiles a schema without any access to files or the network.
fn build(schema: &Value) -> Result<Validator, SchemaProblem> {
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .should_validate_formats(true)
        .offline()
        .build(schema)
        .map_err(|error| SchemaProblem {
            pointer: error.instance_path().as_str().to_owned(),
            message: format!("not a valid JSON schema: {error}"),
            suggestion: None,
        })
}

fn properties_to_schema(properties: &Map<String, Value>) -> (Map<String, Value>, Vec<Value>) {
    let mut required = Vec::new();
    let mut converted = Map::new();
    for (name, specification) in properties {
        if specification.get("required") == Some(&Value::Bool(true)) {
            required.push(Value::String(name.clone()));
        }
        converted.insert(name.clone(), specification_to_schema(specification));
    }
    (converted, required)
}

fn specification_to_schema(specification: &Value) -> Value {
    let Value::Object(members) = specification else {
        // `true` and `false` are schemas; nothing at all accepts everything.
        return if specification.is_boolean() { specification.clone() } else { json!({}) };
    };
    let mut schema = members.clone();
    if schema.get("required").is_some_and(Value::is_boolean) {
        schema.remove("required");
    }
    if let Some(Value::Object(properties)) = members.get("properties") {
        let (properties, required) = properties_to_schema(properties);
        schema.insert("properties".to_owned(), Value::Object(properties));
        if !required.is_empty() {
            schema.insert("required".to_owned(), Value::Array(required));
        }
    }
    for keyword in ["items", "additionalProperties"] {
        if let Some(nested @ Value::Object(_)) = members.get(keyword) {
            schema.insert(keyword.to_owned(), specification_to_schema(nested));
        }
    }
    if let (Some(Value::Null), Some(Value::String(kind))) = (members.get("default"), members.get("type"))
        && kind != "null"
    {
        schema.insert("type".to_owned(), json!([kind, "null"]));
    }
    Value::Object(schema)
}

/// Whether a schema calls something secret: the value, or something within it.
pub fn holds_secret(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => {
            members.get("secret") == Some(&Value::Bool(true))
                || members.iter().any(|(keyword, nested)| match keyword.as_str() {
                    // Only where schemas stand: a default that happens to have a member `secret` is a plain value.
                    "default" | "enum" | "const" | "examples" => false,
                    _ => holds_secret(nested),
                })
        }
        Value::Array(elements) => elements.iter().any(holds_secret),
        _ => false,
    }
}

/// A value that fits the schema, as everybody may see it: with a mark in the place of each member that is secret or holds
/// something secret, or in the place of the whole where the schema calls something secret that is no member of it.
pub fn without_secrets(value: Value, schema: &Value) -> Value {
    let mask = || Value::from(MASK);
    let mut rest = schema.clone();
    let properties = rest.as_object_mut().and_then(|members| members.remove("properties"));
    if holds_secret(&rest) {
        return mask();
    }
    match (value, properties) {
        (Value::Object(mut members), Some(Value::Object(properties))) => {
            for (name, _) in properties.iter().filter(|(_, property)| holds_secret(property)) {
                if let Some(member) = members.get_mut(name) {
                    *member = mask();
                }
            }
            Value::Object(members)
        }
        (value, _) => value,
    }
}

fn fill_defaults(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(members) => {
            let Some(Value::Object(properties)) = schema.get("properties") else { return };
            for (name, property) in properties {
                if let (None, Some(default)) = (members.get(name), property.get("default")) {
                    members.insert(name.clone(), default.clone());
                }
                if let Some(member) = members.get_mut(name) {
                    fill_defaults(member, property);
                }
            }
        }
        Value::Array(elements) => {
            let Some(items @ Value::Object(_)) = schema.get("items") else { return };
            elements.iter_mut().for_each(|element| fill_defaults(element, items));
        }
        _ => {}
    }
}

fn listed(options: &Value) -> String {
    let options = options.as_array().map(Vec::as_slice).unwrap_or_default();
    options
        .iter()
        .map(|option| format!("`{}`", option.as_str().map_or_else(|| option.to_string(), str::to_owned)))
        .collect::<Vec<_>>()
        .join(", ")
}
