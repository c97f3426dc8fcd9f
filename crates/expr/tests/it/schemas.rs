//! Parameter schemas: from the author's notation to checked values.

use attune_expr::schema::{ParameterSchema, check_parameters, secret_texts, to_json_schema, without_secrets};
use serde_json::{Map, Value, json};

fn parameters(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        other => panic!("{other}"),
    }
}

fn schema(author: Value) -> ParameterSchema {
    let author = parameters(author);
    assert_eq!(check_parameters(&author), []);
    ParameterSchema::compile(&to_json_schema(&author)).unwrap()
}

fn example() -> ParameterSchema {
    schema(json!({
        "host": {"type": "string", "description": "where", "required": true, "minLength": 1},
        "port": {"type": "integer", "default": 22, "minimum": 1, "maximum": 65535},
        "mode": {"enum": ["fast", "safe"], "default": "safe"},
        "token": {"type": "string", "secret": true, "pattern": "^tok_"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "note": {"type": "string", "default": null},
        "login": {"type": "object", "properties": {
            "user": {"type": "string", "required": true},
            "password": {"type": "string", "secret": true},
            "shell": {"type": "string", "default": "sh"},
        }},
        "routes": {"type": "array", "items": {"type": "object", "properties": {"weight": {"type": "integer", "default": 1}}}},
    }))
}

#[track_caller]
fn check_violations(given: Value, expected: &[(&str, &str)]) {
    let violations = example().check(given).unwrap_err();
    let shown: Vec<_> =
        violations.iter().map(|violation| (violation.pointer.as_str(), violation.message.as_str())).collect();
    assert_eq!(shown, expected);
}

#[test]
fn test_to_json_schema_moves_required_into_lists_and_keeps_annotations() {
    let author = parameters(json!({
        "b": {"type": "string", "required": true, "secret": true},
        "a": {"type": "integer", "required": false, "default": null},
        "c": {"type": "array", "items": {"type": "object", "properties": {"d": {"type": "null", "default": null, "required": true}}}},
        "e": null,
    }));
    assert_eq!(
        to_json_schema(&author),
        json!({
            "type": "object",
            "properties": {
                "a": {"type": ["integer", "null"], "default": null},
                "b": {"type": "string", "secret": true},
                "c": {"type": "array", "items": {
                    "type": "object",
                    "properties": {"d": {"type": "null", "default": null}},
                    "required": ["d"],
                }},
                "e": {},
            },
            "required": ["b"],
            "additionalProperties": false,
        })
    );
}

#[test]
fn test_check_fills_defaults_at_every_depth() {
    let given = json!({"host": "h", "login": {"user": "u"}, "routes": [{}, {"weight": 5}]});
    let expected = json!({
        "host": "h", "port": 22, "mode": "safe", "note": null,
        "login": {"user": "u", "shell": "sh"}, "routes": [{"weight": 1}, {"weight": 5}],
    });
    assert_eq!(example().check(given), Ok(expected));
    assert_eq!(schema(json!({"a": {"default": 1}})).check(Value::Null), Ok(json!({"a": 1})));
    assert_eq!(schema(json!({})).check(json!({})), Ok(json!({})));
}

#[test]
fn test_check_reports_every_violation_with_its_place() {
    check_violations(
        json!({"hots": "h", "port": "22", "mode": "slow", "tags": ["a", 1], "login": {"password": 5}, "zzz": 1}),
        &[
            ("/host", "required `host` is missing"),
            ("/hots", "unknown `hots`; did you mean `host`?"),
            ("/login/password", "expected string, got integer"),
            ("/login/user", "required `user` is missing"),
            ("/mode", "expected one of `fast`, `safe`"),
            ("/port", "expected integer, got string"),
            ("/tags/1", "expected string, got integer"),
            ("/zzz", "unknown `zzz`"),
        ],
    );
    check_violations(json!([]), &[("", "expected object, got array")]);
    check_violations(json!({"host": "h", "note": 1}), &[("/note", "expected null or string, got integer")]);
}

#[test]
fn test_check_never_repeats_a_value() {
    let violations =
        example().check(json!({"host": "", "token": "hunter2", "port": 987654, "login": "hunter2"}));
    let text = format!("{:?}", violations.unwrap_err());
    for value in ["hunter2", "987654"] {
        assert!(!text.contains(value), "{text}");
    }
    assert!(text.contains("^tok_") && text.contains("65535"), "{text}");
}

#[test]
fn test_secret_names_include_parameters_that_hold_a_secret() {
    assert_eq!(example().secret_names(), ["login", "token"]);
    let plain = schema(json!({"a": {"type": "object", "default": {"secret": true}}, "b": {"secret": false}}));
    assert!(plain.secret_names().is_empty());
}

#[test]
fn test_compile_refuses_a_broken_schema_with_its_place() {
    let problem = |schema: Value| ParameterSchema::compile(&schema).map(|_| ()).unwrap_err();
    let broken = problem(json!({"type": "object", "properties": {"a": {"type": "strin"}}}));
    assert_eq!(broken.pointer, "/properties/a/type", "{broken}");
    let remote = problem(json!({"$ref": "https://schemas.invalid/x.json"}));
    assert!(remote.message.contains("not a valid JSON schema"), "{remote}");
}

#[test]
fn test_check_parameters_reports_everything_an_author_got_wrong() {
    let check = |author: Value, pointer: &str, words: &str, suggestion: Option<&str>| {
        let problems = check_parameters(&parameters(author.clone()));
        assert_eq!(problems.len(), 1, "{author}: {problems:?}");
        assert_eq!(problems[0].pointer, pointer, "{author}");
        assert!(problems[0].message.contains(words), "{}", problems[0]);
        assert_eq!(problems[0].suggestion.as_deref(), suggestion, "{author}");
    };
    check(json!({"a-b": {}}), "/a-b", "bad parameter name", None);
    check(json!({"1a": {}}), "/1a", "bad parameter name", None);
    check(json!({"a": "string"}), "/a", "expected an object such as", None);
    check(json!({"a": {"type": "str"}}), "/a/type", "expected a type", Some("string"));
    check(json!({"a": {"type": ["string", "nul"]}}), "/a/type", "expected a type", Some("null"));
    check(json!({"a": {"typ": "string"}}), "/a/typ", "unknown key `typ`", Some("type"));
    check(json!({"a": {"required": "yes"}}), "/a/required", "expected true or false, got string", None);
    check(json!({"a": {"secret": 1}}), "/a/secret", "expected true or false", None);
    check(json!({"a": {"required": true, "default": 1}}), "/a/required", "no effect beside `default`", None);
    check(json!({"a": {"type": "string", "minimum": 1}}), "/a/minimum", "no effect on string", None);
    check(json!({"a": {"type": "string", "format": "datetime"}}), "/a/format", "unknown format", None);
    check(json!({"a": {"type": "string", "pattern": "("}}), "/a/pattern", "not a valid JSON schema", None);
    check(json!({"a": {"type": "integer", "default": "1"}}), "/a/default", "the default does not fit", None);
    check(json!({"a": {"enum": ["x"], "default": "y"}}), "/a/default", "does not fit", None);
    check(json!({"a": {"items": {"type": "int"}}}), "/a/items/type", "expected a type", Some("integer"));
    check(
        json!({"a": {"type": "object", "properties": {"b": {"type": "list"}}}}),
        "/a/properties/b/type",
        "expected a type",
        Some("array"),
    );
    let several = check_parameters(&parameters(json!({"a": {"typ": 1, "secret": 1}, "b": 1})));
    assert_eq!(several.len(), 3, "{several:?}");
}

#[test]
fn test_a_value_is_shown_without_what_is_secret() {
    let shown = |value: Value, schema: Value| without_secrets(value, &schema);
    let object = json!({"properties": {"pin": {"secret": true}, "ok": {}, "login": {"properties": {"p": {"secret": true}}}}});
    let given = json!({"pin": "1234", "ok": true, "login": {"p": "x"}});
    assert_eq!(shown(given, object), json!({"pin": "********", "ok": true, "login": "********"}));
    assert_eq!(shown(json!("1234"), json!({"type": "string", "secret": true})), json!("********"));
    assert_eq!(shown(json!(["x"]), json!({"items": {"secret": true}})), json!("********"));
    assert_eq!(
        shown(json!({"any": "x"}), json!({"additionalProperties": {"secret": true}})),
        json!("********")
    );
    assert_eq!(shown(json!({"any": 1}), json!({})), json!({"any": 1}));
    assert_eq!(shown(json!(true), json!({"type": "boolean"})), json!(true));
}

#[test]
fn test_what_a_schema_calls_secret_is_found() {
    let texts = |value: Value, schema: Value| secret_texts(&value, &schema);
    let login =
        json!({"properties": {"user": {"type": "string"}, "password": {"type": "string", "secret": true}}});
    let schema = json!({"type": "object", "properties": {
        "host": {"type": "string"},
        "token": {"type": "string", "secret": true},
        "pin": {"type": "integer", "secret": true},
        "any": {"secret": true},
        "login": login,
        "logins": {"type": "array", "items": login},
        "either": {"anyOf": [{"type": "integer"}, {"type": "string", "secret": true}]},
        "settings": {"additionalProperties": {"type": "string", "secret": true}},
    }});
    let found = |given: Value| texts(given, schema.clone());
    assert_eq!(found(json!({"host": "db-1", "token": "hunter2"})), ["hunter2"]);
    assert_eq!(found(json!({"pin": 4711, "unknown": "open"})), ["4711"]);
    assert_eq!(
        found(json!({"any": {"a": ["first", {"b": "second"}], "c": true, "d": null}})),
        ["first", "second"]
    );
    assert_eq!(found(json!({"login": {"user": "admin", "password": "hunter2"}})), ["hunter2"]);
    let logins = json!([{"user": "admin", "password": "first"}, {"password": "second"}]);
    assert_eq!(found(json!({"logins": logins})), ["first", "second"]);
    assert_eq!(found(json!({"either": "hunter2"})), ["hunter2"], "it may be the secret alternative");
    assert_eq!(found(json!({"settings": {"token": "hunter2"}})), ["hunter2"]);
    assert!(found(json!({"token": "abc", "any": [1, 12, ""], "pin": 7})).is_empty(), "they are everywhere");
    assert!(found(json!({"token": null, "login": "text"})).is_empty());
    assert!(
        texts(json!({"a": "text"}), json!({"properties": {"a": {"default": {"secret": true}}}})).is_empty()
    );
    assert_eq!(texts(json!(["first"]), json!({"items": [{"secret": true}]})), ["first"]);
}
