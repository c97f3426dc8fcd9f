//! `key=value` arguments to the parameters of an action, typed by the action's schema.

use attune_expr::schema::holds_secret;
use attune_expr::suggest::nearest;
use serde_json::{Map, Value};

use crate::failure::Fault;

/// The types that JSON Schema knows and a parameter may have.
const TYPES: &[&str] = &["null", "boolean", "integer", "number", "array", "object", "string"];

/// What named values are called in errors.
#[derive(Debug, Clone, Copy)]
struct Words {
    one: &'static str,
    /// Whose they are.
    owner: &'static str,
}

const PARAMETER: Words = Words { one: "parameter", owner: "the action" };
const FIELD: Words = Words { one: "field", owner: "the answer" };

/// The fields of an answer out of arguments. `schema` is the JSON Schema of the answer.
pub(crate) fn fields(schema: &Value, arguments: &[String]) -> Result<Map<String, Value>, Fault> {
    put(FIELD, schema, Map::new(), arguments)
}

/// A value that was typed in for a field, or for a whole answer.
pub(crate) fn value(name: &str, text: &str, schema: &Value) -> Result<Value, Fault> {
    typed(FIELD, name, text, Some(schema))
}

/// Puts the arguments over the object given as JSON. `schema` is the JSON Schema of the action's parameters.
///
/// A string parameter takes the text as it is; every other type takes JSON. What the schema says beyond the type is
/// checked by the server, which knows it best.
pub(crate) fn assemble(schema: &Value, given: Option<Value>, arguments: &[String]) -> Result<Value, Fault> {
    let parameters = match given {
        None => Map::new(),
        Some(Value::Object(object)) => object,
        Some(_) => {
            return Err(Fault::new("--json is no object").hint(r#"parameters are given as {"name": value}"#));
        }
    };
    put(PARAMETER, schema, parameters, arguments).map(Value::Object)
}

fn put(
    words: Words,
    schema: &Value,
    mut values: Map<String, Value>,
    arguments: &[String],
) -> Result<Map<String, Value>, Fault> {
    let mut seen: Vec<&str> = Vec::new();
    for argument in arguments {
        let (name, text) = split(words, argument)?;
        if seen.contains(&name) {
            return Err(Fault::new(format!("{} `{name}` is given twice", words.one))
                .hint("a list is given as name='[1, 2]'"));
        }
        seen.push(name);
        let property = property(words, schema, name)?;
        values.insert(name.to_owned(), typed(words, name, text, property)?);
    }
    Ok(values)
}

/// The names among the arguments whose parameters are secret or hold a secret: other users of the machine can see them.
pub(crate) fn secrets_among<'a>(schema: &Value, arguments: &'a [String]) -> Vec<&'a str> {
    arguments
        .iter()
        .filter_map(|argument| argument.split_once('='))
        .map(|(name, _)| name)
        .filter(|name| schema.get("properties").and_then(|known| known.get(name)).is_some_and(holds_secret))
        .collect()
}

fn split(words: Words, argument: &str) -> Result<(&str, &str), Fault> {
    argument.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
        Fault::new(format!("{argument:?} is no {}", words.one))
            .hint(format!("{}s are given as name=value", words.one))
    })
}

/// What the schema says about a parameter; none where it does not name it but allows any.
fn property<'a>(words: Words, schema: &'a Value, name: &str) -> Result<Option<&'a Value>, Fault> {
    let properties = schema.get("properties").and_then(Value::as_object);
    if let Some(property) = properties.and_then(|properties| properties.get(name)) {
        return Ok(Some(property));
    }
    if schema.get("additionalProperties") != Some(&Value::Bool(false)) {
        return Ok(None);
    }
    let mut known: Vec<&str> = properties.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    known.sort_unstable();
    let fault = Fault::new(format!("{} has no {} `{name}`", words.owner, words.one));
    Err(match nearest(name, known.iter().copied()) {
        Some(near) => fault.hint(format!("did you mean `{near}`?")),
        None if known.is_empty() => fault.hint(format!("it takes no {}s", words.one)),
        None => fault.hint(format!("it takes {}", known.join(", "))),
    })
}

fn typed(words: Words, name: &str, text: &str, property: Option<&Value>) -> Result<Value, Fault> {
    let types = types_of(property);
    let as_json = serde_json::from_str::<Value>(text).ok();
    if let Some(value) =
        as_json.filter(|value| types.iter().any(|kind| *kind != "string" && is_of(value, kind)))
    {
        return Ok(value);
    }
    if types.contains(&"string") {
        return Ok(Value::String(text.to_owned()));
    }
    let expected = types.iter().map(|kind| describe(kind)).collect::<Vec<_>>().join(" or ");
    // The text itself stays unsaid: it may be a secret.
    let fault = Fault::new(format!("{} `{name}` takes {expected}, and what is given is none", words.one));
    Err(match types.as_slice() {
        ["boolean"] => fault.hint(format!("{name}=true or {name}=false")),
        ["array"] => fault.hint(format!(r#"JSON, as {name}='["a", "b"]'"#)),
        ["object"] => fault.hint(format!(r#"JSON, as {name}='{{"key": "value"}}'"#)),
        _ => fault,
    })
}

/// The types that a parameter may have. Without a word about it, any.
fn types_of(property: Option<&Value>) -> Vec<&'static str> {
    let known = |given: &Value| TYPES.iter().copied().find(|kind| given == *kind);
    let types: Vec<_> = match property.and_then(|property| property.get("type")) {
        Some(Value::Array(types)) => types.iter().filter_map(known).collect(),
        Some(kind) => known(kind).into_iter().collect(),
        None => Vec::new(),
    };
    if types.is_empty() { TYPES.to_vec() } else { types }
}

fn is_of(value: &Value, kind: &str) -> bool {
    match value {
        Value::Null => kind == "null",
        Value::Bool(_) => kind == "boolean",
        // JSON Schema counts 2.0 as an integer.
        Value::Number(number) => {
            kind == "number"
                || (kind == "integer"
                    && (number.is_i64()
                        || number.is_u64()
                        || number.as_f64().is_some_and(|n| n.fract() == 0.0)))
        }
        Value::String(_) => kind == "string",
        Value::Array(_) => kind == "array",
        Value::Object(_) => kind == "object",
    }
}

fn describe(kind: &str) -> &'static str {
    match kind {
        "null" => "null",
        "boolean" => "a boolean",
        "integer" => "an integer",
        "number" => "a number",
        "array" => "an array",
        "object" => "an object",
        _ => "a string",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {
                "count": {"type": "integer"},
                "ratio": {"type": "number"},
                "force": {"type": "boolean"},
                "hosts": {"type": "array"},
                "labels": {"type": "object"},
                "text": {"type": "string"},
                "port": {"type": ["integer", "string"]},
                "limit": {"type": ["integer", "null"]},
                "any": {"description": "no type"},
                "password": {"type": "string", "secret": true},
            },
            "additionalProperties": false,
        })
    }

    fn arguments(list: &[&str]) -> Vec<String> {
        list.iter().map(|argument| (*argument).to_owned()).collect()
    }

    fn check(argument: &str, expect: &Value) {
        let assembled = assemble(&schema(), None, &arguments(&[argument])).unwrap();
        assert_eq!(&assembled, expect, "{argument}");
    }

    fn refused(argument: &str, message: &str, hint: &str) {
        let fault = assemble(&schema(), None, &arguments(&[argument])).unwrap_err();
        assert_eq!(fault.to_string(), message);
        assert!(format!("{fault:?}").contains(hint), "{fault:?}");
    }

    #[test]
    fn test_values_take_the_types_of_the_schema() {
        check("count=3", &json!({"count": 3}));
        check("count=-3", &json!({"count": -3}));
        check("ratio=0.5", &json!({"ratio": 0.5}));
        check("ratio=2", &json!({"ratio": 2}));
        check("force=true", &json!({"force": true}));
        check("hosts=[\"a\", 1]", &json!({"hosts": ["a", 1]}));
        check("labels={\"a\": {\"b\": null}}", &json!({"labels": {"a": {"b": null}}}));
        check("text=3", &json!({"text": "3"}));
        check("text=true", &json!({"text": "true"}));
        check("text=a=b", &json!({"text": "a=b"}));
        check("text=", &json!({"text": ""}));
        check("text=@file", &json!({"text": "@file"}));
        check("port=80", &json!({"port": 80}));
        check("port=http", &json!({"port": "http"}));
        check("limit=null", &json!({"limit": null}));
        check("any=[1]", &json!({"any": [1]}));
        check("any=plain", &json!({"any": "plain"}));
        // A text in quotes stays what was typed, whether or not it is JSON.
        check("text=\"x\"", &json!({"text": "\"x\""}));
        check("any=\"x\"", &json!({"any": "\"x\""}));
    }

    #[test]
    fn test_wrong_types_are_refused_without_repeating_the_value() {
        refused("count=many", "parameter `count` takes an integer, and what is given is none", "None");
        refused("count=1.5", "parameter `count` takes an integer, and what is given is none", "None");
        refused("force=yes", "parameter `force` takes a boolean, and what is given is none", "force=true");
        refused("hosts=a,b", "parameter `hosts` takes an array, and what is given is none", "hosts='[");
        refused("labels=x", "parameter `labels` takes an object, and what is given is none", "labels='{");
        refused("limit=x", "parameter `limit` takes an integer or null, and what is given is none", "None");
    }

    #[test]
    fn test_unknown_parameters_are_refused_with_a_suggestion() {
        refused("cout=1", "the action has no parameter `cout`", "did you mean `count`?");
        refused("zzz=1", "the action has no parameter `zzz`", "it takes any, count");
        refused("count", "\"count\" is no parameter", "name=value");
        refused("=1", "\"=1\" is no parameter", "name=value");
        let fault =
            assemble(&json!({"properties": {}, "additionalProperties": false}), None, &arguments(&["a=1"]));
        assert!(format!("{:?}", fault.unwrap_err()).contains("it takes no parameters"));
        assert_eq!(assemble(&json!({}), None, &arguments(&["a=1"])).unwrap(), json!({"a": 1}));
    }

    #[test]
    fn test_fields_of_an_answer_are_called_so() {
        let given = fields(&schema(), &arguments(&["count=2", "text=x"])).unwrap();
        assert_eq!(Value::Object(given), json!({"count": 2, "text": "x"}));
        let fault = fields(&schema(), &arguments(&["zzz=1"])).unwrap_err();
        assert_eq!(fault.to_string(), "the answer has no field `zzz`");
        let fault = value("count", "many", &json!({"type": "integer"})).unwrap_err();
        assert_eq!(fault.to_string(), "field `count` takes an integer, and what is given is none");
    }

    #[test]
    fn test_arguments_go_over_the_json() {
        let given = Some(json!({"count": 1, "text": "x"}));
        let assembled = assemble(&schema(), given, &arguments(&["count=2"])).unwrap();
        assert_eq!(assembled, json!({"count": 2, "text": "x"}));
        assert!(assemble(&schema(), Some(json!([1])), &[]).is_err());
        let twice = assemble(&schema(), None, &arguments(&["count=1", "count=2"])).unwrap_err();
        assert_eq!(twice.to_string(), "parameter `count` is given twice");
    }

    #[test]
    fn test_secrets_among_the_arguments_are_found() {
        assert_eq!(secrets_among(&schema(), &arguments(&["count=1", "password=x"])), ["password"]);
        let holds = json!({"properties": {"auth": {"properties": {"bearer": {"secret": true}}}, "url": {}}});
        assert_eq!(secrets_among(&holds, &arguments(&["url=x", "auth={}"])), ["auth"]);
    }
}
