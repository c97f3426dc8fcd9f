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
