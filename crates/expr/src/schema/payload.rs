//! What can be wrong with the JSON schema of a payload as its author wrote it.

use serde_json::{Map, Value};

use super::{SchemaProblem, build};
use crate::pointer;
use crate::suggest::nearest;

/// Keywords under which one schema stands.
const ONE: &[&str] = &[
    "additionalProperties",
    "contains",
    "contentSchema",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
];
/// Keywords with a list of schemas.
const LISTS: &[&str] = &["allOf", "anyOf", "oneOf", "prefixItems"];
/// Keywords with schemas by name.
const NAMED: &[&str] = &["$defs", "definitions", "dependentSchemas", "patternProperties", "properties"];
/// The other keywords of JSON Schema 2020-12.
const PLAIN: &[&str] = &[
    "$anchor",
    "$comment",
    "$dynamicAnchor",
    "$dynamicRef",
    "$id",
    "$ref",
    "$schema",
    "$vocabulary",
    "const",
    "contentEncoding",
    "contentMediaType",
    "default",
    "dependentRequired",
    "deprecated",
    "description",
    "enum",
    "examples",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "maxContains",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minContains",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "pattern",
    "readOnly",
    "required",
    "title",
    "type",
    "uniqueItems",
    "writeOnly",
];

/// Checks the JSON schema of a payload and reports all problems at once; pointers start at the schema. Keywords of others
/// are allowed, as in JSON Schema, but not those that are likely a slip of the pen.
pub fn check_payload_schema(schema: &Value) -> Vec<SchemaProblem> {
    let mut problems = Vec::new();
    check(schema, "", &mut problems);
    if problems.is_empty() {
        problems.extend(build(schema).err());
    }
    problems
}

fn check(schema: &Value, here: &str, problems: &mut Vec<SchemaProblem>) {
    let Value::Object(members) = schema else { return };
    for (keyword, value) in members {
        let at = pointer::child(here, keyword);
        match value {
            nested if ONE.contains(&keyword.as_str()) => check(nested, &at, problems),
            Value::Array(nested) if LISTS.contains(&keyword.as_str()) => {
                for (position, nested) in nested.iter().enumerate() {
                    check(nested, &format!("{at}/{position}"), problems);
                }
            }
            Value::Object(nested) if NAMED.contains(&keyword.as_str()) => {
                for (name, nested) in nested {
                    check(nested, &pointer::child(&at, name), problems);
                }
            }
            _ => problems.extend(unknown(keyword, members, at)),
        }
    }
}

fn unknown(keyword: &str, members: &Map<String, Value>, at: String) -> Option<SchemaProblem> {
    let known = || [ONE, LISTS, NAMED, PLAIN].into_iter().flatten().copied();
    if keyword == "secret" {
        let message =
            "`secret` has no effect in the schema of a payload; only parameters are masked".to_owned();
        return Some(SchemaProblem { pointer: at, message, suggestion: None });
    }
    if known().any(|name| name == keyword) {
        return None;
    }
    // Keywords of others often are longer forms of known ones, such as `tsType`; a slip rarely is in the first letter.
    let like = |name: &&str| name.chars().next() == keyword.chars().next() && !members.contains_key(*name);
    let meant = nearest(keyword, known().filter(like))?;
    let message = format!("`{keyword}` is no keyword of JSON Schema");
    Some(SchemaProblem { pointer: at, message, suggestion: Some(meant.to_owned()) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(schema: &Value) -> Vec<(String, Option<String>)> {
        check_payload_schema(schema)
            .into_iter()
            .map(|problem| (problem.pointer, problem.suggestion))
            .collect()
    }

    #[test]
    fn test_slips_are_found_wherever_schemas_stand() {
        let schema = json!({
            "type": "object",
            "properties": {"properties": {"typ": "string"}, "x-y": {"items": {"anyOf": [{"enmu": [1]}]}}},
        });
        assert_eq!(
            found(&schema),
            [
                ("/properties/properties/typ".to_owned(), Some("type".to_owned())),
                ("/properties/x-y/items/anyOf/0/enmu".to_owned(), Some("enum".to_owned())),
            ]
        );
        let schema = json!({"propertis": {"a": {}}});
        assert_eq!(found(&schema), [("/propertis".to_owned(), Some("properties".to_owned()))]);
    }

    #[test]
    fn test_keywords_of_others_and_values_are_let_be() {
        let schema = json!({
            "tsAdditionalProperties": false, "x-kind": 1, "nullable": true,
            "properties": {"a": {"enum": [{"typ": 1}], "default": {"itmes": 1}}},
        });
        assert_eq!(found(&schema), []);
    }

    #[test]
    fn test_what_is_no_schema_or_has_no_effect_is_told() {
        assert_eq!(found(&json!({"type": "objekt"})), [("/type".to_owned(), None)]);
        assert_eq!(
            found(&json!({"properties": {"a": {"secret": true}}})),
            [("/properties/a/secret".to_owned(), None)]
        );
        assert_eq!(found(&json!({"$ref": "#/$defs/none"})).len(), 1);
        assert_eq!(found(&json!({"$ref": "https://example.test/schema.json"})).len(), 1);
    }
}
