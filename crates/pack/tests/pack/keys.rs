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
            "keys/token.yaml:1:1: a file is no place for the value of a key that is a secret; expected the value set on the \
             server (`attune key set ops.token`); what is no secret has `secret: false` and a `default`, or is a setting of \
             the pack `ops`, in the `config_schema` of pack.yaml",
            "keys/token.yaml:2:1: unknown key `value`; expected one of `ref`, `label`, `description`, `required`, `secret`, `default`",
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
fn test_a_key_that_is_no_secret_may_have_a_default() {
    let definition = accepted(&[
        TOKEN,
        ("keys/host.yaml", "ref: ops.host\nsecret: false\nrequired: false\n"),
        ("keys/level.yaml", "ref: ops.level\nsecret: false\ndefault: \"80\"\n"),
    ]);
    let told: Vec<_> = definition
        .keys
        .iter()
        .map(|key| (key.r#ref.as_str(), key.secret, key.default.as_deref(), key.required))
        .collect();
    let expected = [
        ("ops.host", false, None, false),
        ("ops.level", false, Some("80"), true),
        ("ops.token", true, None, true),
    ];
    assert_eq!(told, expected);
    let level = |more: &str| format!("ref: ops.level\nsecret: false\n{more}\n");
    for (more, expected) in [
        ("default: 80", "keys/level.yaml:3:10: `default` is the number 80; did you mean `\"80\"`?"),
        ("default: ''", "keys/level.yaml:3:10: `default` is empty; expected text"),
        ("default: \"a\\0b\"", "keys/level.yaml:3:10: `default` contains U+0000; expected text without it"),
        (
            "required: false\ndefault: x",
            "keys/level.yaml:3:1: `required` has no effect with a `default`, which is the value where none is set; expected \
             the key left out",
        ),
        (
            "value: x",
            "keys/level.yaml:3:1: unknown key `value`; expected one of `ref`, `label`, `description`, `required`, `secret`, \
             `default`",
        ),
    ] {
        check(&[("keys/level.yaml", &level(more))], &[expected]);
    }
    let long = level(&format!("default: {}", "x".repeat(65_537)));
    check(
        &[("keys/level.yaml", &long)],
        &["keys/level.yaml:3:10: `default` has 65537 bytes; expected up to 65536"],
    );
    // A secret has none, wherever it stands.
    check(
        &[("keys/level.yaml", "ref: ops.level\ndefault: hunter2\n")],
        &[
            "keys/level.yaml:1:1: a file is no place for the value of a key that is a secret; expected the value set on the \
             server (`attune key set ops.level`); what is no secret has `secret: false` and a `default`, or is a setting of \
             the pack `ops`, in the `config_schema` of pack.yaml",
        ],
    );
}

#[test]
fn test_a_webhook_is_not_signed_with_what_is_no_secret() {
    let plain = ("keys/hook.yaml", "ref: ops.hook\nsecret: false\n");
    let trigger = "ref: ops.push\nwebhook: {signature: {scheme: github, secret: ops.hook}}\n";
    let rule = "ref: ops.push\ntrigger: core.webhook\ntrigger_params: {path: push, secret: ops.hook, scheme: github}\naction: other.page\n";
    accepted(&[
        ("keys/hook.yaml", "ref: ops.hook\n"),
        ("triggers/push.yaml", trigger),
        ("rules/push.yaml", rule),
    ]);
    check(
        &[plain, ("triggers/push.yaml", trigger), ("rules/push.yaml", rule)],
        &[
            "rules/push.yaml:3:38: `ops.hook` is declared to be no secret, so that others can sign with it; expected a key \
             that is a secret",
            "triggers/push.yaml:2:47: `ops.hook` is declared to be no secret, so that others can sign with it; expected a key \
             that is a secret",
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
    for directory in ["workflows", "workflow", "Workflows"] {
        let (deploy, rollback) = (format!("{directory}/deploy.yaml"), format!("{directory}/rollback.yaml"));
        // Once, whatever the number of files.
        check(
            &[(&*deploy, "ref: ops.deploy\n"), (&*rollback, "ref: ops.rollback\n")],
            &[&*format!(
                "{deploy}:1:1: workflows come with a later version; nothing is read from `{directory}/`; expected no such \
                 directory: move its files elsewhere, or remove it"
            )],
        );
    }
    check(&[("workers/deploy.yaml", "ref: ops.deploy\n")], &[]);
}

/// An action with these `keys`, and its script.
fn action(keys: &str) -> [(&'static str, String); 2] {
    let text = format!("ref: ops.page\nruntime: core.shell\nentrypoint: page.sh\nkeys:\n{keys}");
    [("actions/page.yaml", text), ("actions/page.sh", "#!/bin/sh\n".to_owned())]
}

#[track_caller]
fn check_keys_of_action(keys: &str, more: &[(&str, &str)], expected: &[&str]) {
    let own = action(keys);
    let files: Vec<_> =
        own.iter().map(|(path, text)| (*path, text.as_str())).chain(more.iter().copied()).collect();
    check(&files, expected);
}

#[test]
fn test_an_action_names_the_keys_whose_values_its_runs_get() {
    let own = action("  - ops.token\n  - ref: net.api\n    required: false\n  - {ref: ops.user}\n");
    let files: Vec<_> = own.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let definition = accepted(&files);
    let told: Vec<_> = definition.actions[0]
        .keys
        .iter()
        .map(|key| (key.r#ref.value.as_str(), key.r#ref.line, key.r#ref.column, key.required))
        .collect();
    assert_eq!(told, [("ops.token", 5, 5, true), ("net.api", 6, 10, false), ("ops.user", 8, 11, true)]);
    assert!(accepted(&[TOKEN]).actions.is_empty());
}

#[test]
fn test_faults_of_the_keys_of_an_action_are_shown_at_their_place() {
    let form = "`pack.name` of the key that holds the secret, never the secret itself";
    // What stands there may be the secret, which no finding repeats.
    check_keys_of_action(
        "  - Hunter 2\n  - {ref: token, required: maybe}\n  - 4711\n",
        &[],
        &[
            &format!("actions/page.yaml:5:5: `keys[0]` is not the ref of a key; expected {form}"),
            &format!("actions/page.yaml:6:11: `keys[1].ref` is not the ref of a key; expected {form}"),
            "actions/page.yaml:6:28: `keys[1].required` is the text \"maybe\"; expected true or false",
            "actions/page.yaml:7:5: `keys[2]` is not the ref of a key; expected `pack.name`, or `{ref: pack.name, required: \
             false}`",
        ],
    );
    check_keys_of_action(
        "  - token\n  - ops.tokn\n",
        &[TOKEN],
        &["actions/page.yaml:5:5: `keys[0]` is not the ref of a key; did you mean `ops.token`?"],
    );
    check_keys_of_action(
        "  - ops.token\n  - {ref: ops.tokn}\n  - {ref: ops.token, required: false}\n",
        &[TOKEN],
        &[
            "actions/page.yaml:6:11: the pack declares keys, and `ops.tokn` is not among them; did you mean `ops.token`?",
            "actions/page.yaml:7:11: the key `ops.token` is named twice; expected every key once",
        ],
    );
    check_keys_of_action(
        "  - {requird: false}\n  - {ref: ops.token, value: hunter2}\n",
        &[],
        &[
            "actions/page.yaml:5:5: the key `ref` is missing in `keys[0]`",
            "actions/page.yaml:5:6: unknown key `requird`; did you mean `required`?",
            "actions/page.yaml:6:5: a file is no place for the value of a key, which is a secret; expected the value set on \
             the server, with `attune key set`",
            "actions/page.yaml:6:22: unknown key `value`; expected one of `ref`, `required`",
        ],
    );
    check(
        &[("actions/a.yaml", "ref: ops.a\nruntime: core.native\nentrypoint: echo\nkeys: [ops.token]\n")],
        &[
            "actions/a.yaml:4:1: `keys` has no effect with a native runtime, which starts no process that could use it; \
             expected the key left out",
        ],
    );
}
