//! The configuration of a pack, and its files for environments.

use serde_json::json;

use crate::{accepted, check};

const MANIFEST: &str = "ref: ops\nversion: 1.0.0\nconfig_schema:\n  url: {type: string, required: true}\n  \
                        port: {type: integer, default: 443}\n  token: {type: string, secret: true}\n";

#[test]
fn test_settings_and_their_values_for_environments() {
    let pack = accepted(&[("pack.yaml", MANIFEST), ("config/production.yaml", "url: https://example.org\n")]);
    assert_eq!(pack.manifest.config_schema["required"], json!(["url"]));
    assert_eq!(pack.environments["production"]["url"], "https://example.org");
    assert_eq!(accepted(&[]).manifest.config_schema, json!(null));
}

#[test]
fn test_values_for_environments_have_to_fit() {
    let values = "prt: 1\nport: many\ntoken: hunter2\n";
    check(
        &[("pack.yaml", MANIFEST), ("config/test.yaml", values)],
        &[
            "config/test.yaml:1:1: unknown `prt`; did you mean `port`?",
            "config/test.yaml:2:7: `port`: expected integer, got string",
            "config/test.yaml:3:1: `token` is a secret, and this file is no place for one; expected the value set on the \
             server: `attune pack config set`",
        ],
    );
    check(
        &[("config/test.yaml", "port: 1\n")],
        &[
            "config/test.yaml:1:1: the pack has no `config_schema`, so that these values mean nothing; expected a \
           `config_schema` in pack.yaml that has them",
        ],
    );
}

#[test]
fn test_a_secret_is_a_text_by_itself() {
    let manifest = |setting: &str| format!("ref: ops\nversion: 1.0.0\nconfig_schema:\n  {setting}\n");
    let checked = |setting: &str, expect: &str| check(&[("pack.yaml", &manifest(setting))], &[expect]);
    checked(
        "pin: {type: integer, secret: true}",
        "pack.yaml:4:3: `config_schema.pin` holds a secret and is no text itself; expected `type: string` and `secret: \
         true` at the setting itself",
    );
    checked(
        "token: {type: string, secret: true, default: x}",
        "pack.yaml:4:3: the secret `config_schema.token` has a default; expected no value of it in the files of a pack",
    );
    checked(
        "Token: {type: string, secret: true}",
        "pack.yaml:4:3: the secret `config_schema.Token` has capitals in its name; expected lower case, because it is kept \
         as a key of that name",
    );
}

#[test]
fn test_settings_that_a_rule_names_have_to_be_there_and_no_secrets() {
    let rule = |params: &str| {
        format!(
            "ref: ops.page\ntrigger: other.hook\nconditions:\n  - {{field: event.payload.n, operator: equals, value: '{{{{ \
             config.port }}}}'}}\naction: other.page\naction_params: {params}\n"
        )
    };
    accepted(&[("pack.yaml", MANIFEST), ("rules/page.yaml", &rule("{url: '{{ config.url }}'}"))]);
    check(
        &[
            ("pack.yaml", MANIFEST),
            ("rules/page.yaml", &rule("{a: '{{ config.ulr }}', b: 'x{{ config.token }}'}")),
        ],
        &[
            "rules/page.yaml:6:20: the pack `ops` has no setting `ulr` in its config_schema; did you mean `config.url`?",
            "rules/page.yaml:6:43: `token` is a secret setting, which no rule reads; an action of the pack finds it in \
             ATTUNE_PACK_CONFIG, and another one is given it by `{{ key('ops.config.token') }}`",
        ],
    );
    check(
        &[("rules/page.yaml", &rule("{}"))],
        &[
            "rules/page.yaml:4:55: the pack `ops` has no setting `port` in its config_schema; it has none that a rule can \
             read",
        ],
    );
}

#[test]
fn test_settings_of_test_cases_have_to_fit() {
    let rule = ("rules/page.yaml", "ref: ops.page\ntrigger: other.hook\naction: other.page\n");
    let test = |file: &str, case: &str| {
        format!(
            "{file}cases:\n  - name: a\n    rule: ops.page\n    config: {case}\n    events: [{{payload: {{}}}}]\n    expect: \
             {{fires: true}}\n"
        )
    };
    let good = test("config: {url: https://a, token: t}\n", "{port: 1}");
    let definition = accepted(&[("pack.yaml", MANIFEST), rule, ("tests/page.yaml", &good)]);
    let config = serde_json::Value::Object(definition.tests[0].cases[0].config.clone());
    assert_eq!(config, json!({"url": "https://a", "token": "t", "port": 1}));
    let wrong = test("config: {prt: 1}\n", "{port: many}");
    check(
        &[("pack.yaml", MANIFEST), rule, ("tests/page.yaml", &wrong)],
        &[
            "tests/page.yaml:1:10: unknown `prt`; did you mean `port`?",
            "tests/page.yaml:5:20: `cases[0].config.port`: expected integer, got string",
        ],
    );
}
