//! `keys/*.yaml`, and the keys that the rest of a pack names.

use crate::{accepted, check};

const TOKEN: (&str, &str) = ("keys/token.yaml", "ref: ops.token\ndescription: Of the pager\n");
const ALERT: (&str, &str) = ("triggers/alert.yaml", "ref: ops.alert\n");

fn rule(key_ref: &str) -> String {
    format!(
        "ref: ops.page\ntrigger: ops.alert\naction: other.page\naction_params: {{token: \"{{{{ key('{key_ref}') }}}}\"}}\n"
    )
}

#[test]
fn test_a_key_is_declared_without_a_value() {
    let optional = "ref: ops.other\nlabel: Other\nrequired: false\n";
    let definition = accepted(&[TOKEN, ("keys/other.yaml", optional)]);
    let told: Vec<_> = definition
        .keys
        .iter()
        .map(|key| (key.r#ref.as_str(), key.label.as_deref(), key.description.as_deref(), key.required))
        .collect();
    assert_eq!(
        told,
        [("ops.other", Some("Other"), None, false), ("ops.token", None, Some("Of the pager"), true)]
    );
    check(
        &[("keys/token.yaml", "ref: ops.token\nvalue: hunter2\n")],
        &[
            "keys/token.yaml:1:1: a file is no place for the value of a key, which is a secret; expected the value set on \
             the server (`attune key set ops.token`); what is no secret is a setting of the pack `ops`, in the \
             `config_schema` of pack.yaml",
            "keys/token.yaml:2:1: unknown key `value`; expected one of `ref`, `label`, `description`, `required`",
        ],
    );
    check(
        &[("keys/token.yaml", "ref: ops.config.token\n")],
        &[
            "keys/token.yaml:1:6: `ops.config.token` is the name of a secret setting; expected another name, or `token` with \
             `secret: true` in the `config_schema` of pack.yaml",
        ],
    );
}

#[test]
fn test_keys_that_are_named_have_to_be_declared_where_any_is() {
    accepted(&[ALERT, ("rules/page.yaml", &rule("ops.anything"))]);
    accepted(&[ALERT, TOKEN, ("rules/page.yaml", &rule("ops.token"))]);
    accepted(&[ALERT, TOKEN, ("rules/page.yaml", &rule("ops.config.secret"))]);
    accepted(&[ALERT, TOKEN, ("rules/page.yaml", &rule("other.token"))]);
    check(
        &[ALERT, TOKEN, ("rules/page.yaml", &rule("ops.tokn"))],
        &[
            "rules/page.yaml:4:24: the pack declares keys, and `ops.tokn` is not among them; did you mean `ops.token`?",
        ],
    );
    let signed = "ref: ops.push\nwebhook: {signature: {scheme: github, secret: ops.push_secret}}\n";
    check(
        &[TOKEN, ("triggers/push.yaml", signed)],
        &[
            "triggers/push.yaml:2:47: the pack declares keys, and `ops.push_secret` is not among them; expected a file in \
             `keys/` that declares it",
        ],
    );
    let test = "keys: {ops.tokn: a}\ncases:\n  - {name: a, rule: ops.page, events: [{payload: {}}], expect: {fires: true}}\n";
    check(
        &[ALERT, TOKEN, ("rules/page.yaml", &rule("ops.token")), ("tests/page.yaml", test)],
        &[
            "tests/page.yaml:1:8: the pack declares keys, and `ops.tokn` is not among them; did you mean `ops.token`?",
        ],
    );
}

#[test]
fn test_a_workflow_is_said_to_do_nothing() {
    check(
        &[("workflows/deploy.yaml", "ref: ops.deploy\n")],
        &[
            "workflows/deploy.yaml:1:1: this version of Attune runs no workflows; expected the file elsewhere: it would have \
             no effect here",
        ],
    );
}
