//! What several files have in common: refs, texts, durations, and the larger things that stand under `$defs`.

use attune_expr::operator::Operator;
use attune_expr::schema::parameter_keywords;
use attune_rules::window::KINDS;
use serde_json::{Map, Value, json};

use super::{Key, Shape, key, required};
use crate::retry;

/// The definitions that a schema refers to, and those that these refer to.
pub(super) fn definitions(schema: &Value) -> Map<String, Value> {
    let mut found = Map::new();
    let mut open = vec![schema.to_string()];
    while let Some(text) = open.pop() {
        for (name, make) in DEFINITIONS {
            if !found.contains_key(*name) && text.contains(&format!("#/$defs/{name}\"")) {
                let definition = make();
                open.push(definition.to_string());
                found.insert((*name).to_owned(), definition);
            }
        }
    }
    found
}

type Definition = (&'static str, fn() -> Value);

/// What is too large, or too recursive, to be written where it is used.
const DEFINITIONS: &[Definition] =
    &[("condition", condition), ("parameter", parameter), ("retry", retry_settings), ("window", window)];

pub(super) fn reference(definition: &str) -> Value {
    json!({"$ref": format!("#/$defs/{definition}")})
}

pub(super) fn pack_ref() -> Value {
    json!({"type": "string", "pattern": "^[a-z][a-z0-9_-]+$"})
}

pub(super) fn semantic_version() -> Value {
    json!({"type": "string", "pattern":
        r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$"})
}

pub(super) fn component_ref() -> Value {
    json!({"type": "string", "pattern": r"^[a-z][a-z0-9_-]+\.[a-z0-9_.-]+$"})
}

/// Text that says something.
pub(super) fn text() -> Value {
    json!({"type": "string", "pattern": r"\S"})
}

pub(super) fn texts() -> Value {
    json!({"type": "array", "items": text()})
}

pub(super) fn any_object() -> Value {
    json!({"type": "object"})
}

pub(super) fn one_of(names: impl IntoIterator<Item = &'static str>) -> Value {
    json!({"enum": names.into_iter().collect::<Vec<_>>()})
}

pub(super) fn whole_number(least: u32, most: u32) -> Value {
    json!({"type": "integer", "minimum": least, "maximum": most})
}

/// Whole seconds, or a number with its unit.
pub(super) fn duration() -> Value {
    json!({"type": ["integer", "string"], "minimum": 1, "pattern": "^0*[1-9][0-9]*[smh]$", "examples": ["30s", "5m", "2h"]})
}

pub(super) fn labels() -> Value {
    json!({"type": "object", "additionalProperties": label(), "propertyNames": label()})
}

fn label() -> Value {
    json!({"type": "string", "pattern": "^[0-9A-Za-z]([0-9A-Za-z_./-]{0,61}[0-9A-Za-z])?$"})
}

/// The name of a resource or of something that can be done with it.
fn name_or_any() -> Value {
    json!({"type": "string", "pattern": r"^(\*|[a-z_]+)$"})
}

/// What is allowed, as in a permission set.
pub(super) fn grants() -> Value {
    let grant = Shape {
        about: "These actions on this resource.",
        keys: vec![
            required("resource", "The resource; `*` for any.", name_or_any()),
            required(
                "actions",
                "What may be done with it; `*` for anything.",
                json!({"type": "array", "items": name_or_any(), "minItems": 1}),
            ),
            key("constraints", "What it is limited to; `refs` or `packs`, and `owner`.", constraints()),
        ],
    };
    json!({"type": "array", "items": grant.into_schema()})
}

fn constraints() -> Value {
    let refs =
        json!({"type": "array", "items": {"type": "string", "pattern": r"^[a-z0-9_.*-]+$"}, "minItems": 1});
    let packs = json!({"type": "array", "items": pack_ref(), "minItems": 1});
    let constraints = Shape {
        about: "What a grant is limited to.",
        keys: vec![
            key("refs", "Refs, in which `*` stands for any characters.", refs),
            key("packs", "Packs whose things it is about.", packs),
            key("owner", "`self`: only what whoever holds the grant has begun.", json!({"const": "self"})),
        ],
    };
    constraints.into_schema()
}

/// A number of bytes.
pub(super) fn size() -> Value {
    let units = ["64KiB", "512MiB", "4GiB"];
    json!({"type": ["integer", "string"], "minimum": 1, "pattern": "^0*[1-9][0-9]* ?([KMG]iB|[kKMG]B)?$", "examples": units})
}

/// Which versions of an interpreter will do. The number 3.10 would be 3.1.
pub(super) fn version() -> Value {
    json!({"type": "string", "pattern": r"\S", "examples": [">=3.11", ">=18, <23", "3.12"]})
}

/// Parameters by name, as their author writes them.
pub(super) fn parameters() -> Value {
    json!({
        "type": "object",
        "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
        "additionalProperties": reference("parameter"),
    })
}

/// Any JSON schema; keywords of others may stand in it.
pub(super) fn payload_schema() -> Value {
    json!({"$ref": "https://json-schema.org/draft/2020-12/schema", "type": "object"})
}

/// One parameter: JSON Schema keywords, with `required` and `secret` as true or false.
fn parameter() -> Value {
    let nested = || reference("parameter");
    let schema = |keyword: &str| match keyword {
        "required" => described(json!({"type": "boolean"}), "Whether it must be given."),
        "secret" => described(json!({"type": "boolean"}), "Whether it is masked wherever it is shown."),
        "type" => {
            let types = ["array", "boolean", "integer", "null", "number", "object", "string"];
            json!({"anyOf": [{"enum": types}, {"type": "array", "items": {"enum": types}, "minItems": 1}]})
        }
        "title" | "description" | "pattern" | "format" => json!({"type": "string"}),
        "default" => described(json!({}), "What is taken when it is not given."),
        "enum" | "examples" => json!({"type": "array"}),
        "items" => nested(),
        "additionalProperties" => json!({"anyOf": [{"type": "boolean"}, nested()]}),
        "properties" | "patternProperties" => json!({"type": "object", "additionalProperties": nested()}),
        "anyOf" | "oneOf" | "allOf" => json!({"type": "array", "minItems": 1}),
        "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties" | "maxProperties" => {
            json!({"type": "integer", "minimum": 0})
        }
        "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" => {
            json!({"type": "number"})
        }
        "uniqueItems" => json!({"type": "boolean"}),
        _ => json!({}),
    };
    let properties: Map<String, Value> =
        parameter_keywords().map(|keyword| (keyword.to_owned(), schema(keyword))).collect();
    json!({
        "description": "A parameter, described by JSON Schema keywords.",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    })
}

fn described(schema: Value, about: &str) -> Value {
    super::described(schema, about)
}

/// `retry`.
fn retry_settings() -> Value {
    let seconds = || json!({"type": ["number", "string"], "minimum": 0, "pattern": "^[0-9]+[smh]$"});
    let schema = |name: &'static str| -> Key {
        match name {
            "count" => required(
                name,
                "How many further attempts there may be; 0 for none.",
                json!({"type": "integer", "minimum": 0, "maximum": retry::MOST}),
            ),
            "delay" => key(name, "Before the second attempt; 10 s unless said.", seconds()),
            "backoff" => key(name, "`fixed` unless said.", one_of(["fixed", "exponential"])),
            "factor" => key(
                name,
                "What each delay is multiplied by, with `backoff: exponential`.",
                json!({"type": "number", "minimum": 1, "maximum": retry::LARGEST_FACTOR}),
            ),
            "max_delay" => key(name, "No delay is longer, with `backoff: exponential`.", seconds()),
            "jitter" => key(
                name,
                "The share of a delay that chance may take off.",
                json!({"type": "number", "minimum": 0, "maximum": 1}),
            ),
            _ => key(
                name,
                "The ends that are tried again.",
                json!({"type": "array", "minItems": 1, "items": {"enum": retry::ENDS}}),
            ),
        }
    };
    let shape = Shape {
        about: "When and how a run is tried again.",
        keys: retry::KEYS.into_iter().map(schema).collect(),
    };
    shape.into_schema()
}

/// A condition: a test of one field, a group of conditions, or an expression.
fn condition() -> Value {
    let operators = Operator::all()
        .flat_map(|operator| std::iter::once(operator.name()).chain(operator.aliases().iter().copied()));
    let alone = |name: &'static str, about: &str, schema: Value| {
        let shape = Shape { about: "A group of conditions.", keys: vec![required(name, about, schema)] };
        shape.into_schema()
    };
    let list = || json!({"type": "array", "items": reference("condition")});
    let test = Shape {
        about: "A test of one field.",
        keys: vec![
            required("field", "The path of the field, as `event.payload.severity`.", text()),
            required(
                "operator",
                "How the field is compared.",
                json!({"enum": operators.collect::<Vec<_>>()}),
            ),
            key("value", "What it is compared with; texts may be templates.", json!({})),
        ],
    };
    json!({
        "description": "A condition.",
        "anyOf": [
            test.into_schema(),
            alone("all", "Every one must hold.", list()),
            alone("any", "At least one must hold.", list()),
            alone("not", "Must not hold.", reference("condition")),
            {"type": "string", "description": "One Jinja expression that gives true or false."},
        ],
    })
}

/// `window`.
fn window() -> Value {
    let span = || json!({"type": ["number", "string"], "examples": ["90s", "15m", "1h30m", "2d"]});
    let within = || required("within", "How long it may take.", span());
    let conditions = || {
        let list = json!({"type": "array", "items": reference("condition"), "minItems": 2, "maxItems": 16});
        required("conditions", "What has to be met.", list)
    };
    let inner = |about: &'static str, keys: Vec<Key>| Shape { about, keys }.into_schema();
    let kind = |name: &'static str| match name {
        "throttle" => key(name, "The first event fires; then no other does for this long.", span()),
        "debounce" => key(name, "Fires with the last event, once it has been quiet for this long.", span()),
        "dedup" => key(name, "Fires once in each period of this length.", span()),
        "count" => {
            let at_least = json!({"type": "integer", "minimum": 2, "maximum": 1000});
            let keys = vec![required("at_least", "How many.", at_least), within()];
            key(name, "Fires when so many events lie within the span.", inner("A number of events.", keys))
        }
        "all_of" => {
            let about = "Fires when every condition was met within the span, in any order.";
            key(name, about, inner("Conditions and a span.", vec![conditions(), within()]))
        }
        "sequence" => {
            let about = "Fires when every condition was met within the span, one after another.";
            key(name, about, inner("Conditions and a span.", vec![conditions(), within()]))
        }
        _ => {
            let keys = vec![
                required(
                    "after",
                    "What an event meets after which another is expected.",
                    reference("condition"),
                ),
                required("expected", "What the expected event meets.", reference("condition")),
                within(),
            ];
            let about = "Fires when an event was not followed by the expected one within the span.";
            key(name, about, inner("What is expected after what.", keys))
        }
    };
    let template =
        key("key", "A template: events with different keys have nothing to do with each other.", text());
    let keys = KINDS.iter().map(|name| kind(name)).chain([template]).collect();
    let mut schema = Shape { about: "What a rule makes of several events.", keys }.object();
    let one: Vec<Value> = KINDS.iter().map(|name| json!({"required": [name]})).collect();
    schema.insert("oneOf".to_owned(), Value::Array(one));
    Value::Object(schema)
}
