//! Runtimes, actions, triggers, sensors and permission sets.

use std::time::Duration;

use attune_pack::limits::{LIMITED, RESOURCES};
use attune_pack::{
    ArtifactScope, ArtifactType, ConstraintsDefinition, OnWorkerLoss, OutputFormat, ParameterDelivery,
    ParameterFormat, SignatureScheme,
};
use serde_json::json;

use crate::{accepted, check};

/// An action that runs `a.sh`, with more lines.
#[track_caller]
fn check_action(lines: &str, expected: &[&str]) {
    let text = format!("ref: ops.a\nruntime: core.shell\nentrypoint: a.sh\n{lines}");
    check(&[("actions/a.yaml", &text), ("actions/a.sh", "#!/bin/sh\n")], expected);
}

#[test]
fn test_the_misspelt_key_of_the_newcomer() {
    check_action(
        "paramaters:\n  name: {type: string}\n",
        &["actions/a.yaml:4:1: unknown key `paramaters`; did you mean `parameters`?"],
    );
}

#[test]
fn test_action_defaults_and_settings() {
    let script = ("actions/run/a.sh", "#!/bin/sh\n");
    let text = "ref: ops.a\nruntime: core.shell\nentrypoint: run/a.sh\n";
    let action = &accepted(&[("actions/a.yaml", text), script]).actions[0];
    assert_eq!((action.r#ref.as_str(), action.enabled), ("ops.a", true));
    assert_eq!(
        (action.runtime.value.as_str(), action.runtime.line, action.runtime.column),
        ("core.shell", 2, 10)
    );
    assert_eq!(action.runtime.file, "actions/a.yaml");
    assert_eq!(action.entrypoint, "run/a.sh");
    assert_eq!(action.parameter_delivery, ParameterDelivery::Stdin);
    assert_eq!(action.parameter_format, ParameterFormat::Json);
    assert_eq!(action.output_format, OutputFormat::Text);
    assert_eq!(action.timeout, Duration::from_secs(60));
    assert_eq!(action.on_worker_loss, OnWorkerLoss::Abandon);
    let nothing = json!({"type": "object", "properties": {}, "required": [], "additionalProperties": false});
    assert_eq!(action.parameters, nothing);

    let text = "ref: ops.a\nruntime: core.shell\nentrypoint: run/a.sh\nenabled: false\nlabel: A\n\
                parameters:\n  host: {type: string, required: true}\n  port: {type: integer, default: 22}\n\
                parameter_delivery: file\nparameter_format: dotenv\noutput_format: jsonl\ntimeout: 2h\n\
                on_worker_loss: retry\n";
    let action = &accepted(&[("actions/a.yaml", text), script]).actions[0];
    assert!(!action.enabled);
    assert_eq!(action.parameters["required"], json!(["host"]));
    assert_eq!(action.parameters["properties"]["port"], json!({"type": "integer", "default": 22}));
    assert_eq!(action.parameter_delivery, ParameterDelivery::File);
    assert_eq!(action.parameter_format, ParameterFormat::Dotenv);
    assert_eq!(action.output_format, OutputFormat::Jsonl);
    assert_eq!(action.timeout, Duration::from_secs(7200));
    assert_eq!(action.on_worker_loss, OnWorkerLoss::Retry);
}

#[test]
fn test_where_an_action_runs_and_how_it_is_tried_again() {
    let script = ("actions/a.sh", "#!/bin/sh\n");
    let text = "ref: ops.a\nruntime: core.shell\nentrypoint: a.sh\nretry: {count: 3, delay: 1m}\n\
                worker_selector: {os: linux, zone: eu-1}\ntolerations: [gpu]\n";
    let action = &accepted(&[("actions/a.yaml", text), script]).actions[0];
    let retry = action.retry.as_ref().unwrap();
    assert_eq!((retry.count, retry.delay), (3, Duration::from_secs(60)));
    let selector: Vec<_> =
        action.worker_selector.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(selector, [("os", "linux"), ("zone", "eu-1")]);
    assert_eq!(action.tolerations, ["gpu"]);
}

#[test]
fn test_what_the_runs_of_an_action_may_ask_and_leave() {
    let script = ("actions/a.sh", "#!/bin/sh\n");
    let text = "ref: ops.a\nruntime: core.shell\nentrypoint: a.sh\n\
                permissions:\n  - {resource: event, actions: [create, read]}\n\
                artifacts:\n  - {name: report.html, keep_versions: 5, keep_days: 30, description: The report}\n  - {name: rows, type: table, scope: execution}\n";
    let action = &accepted(&[("actions/a.yaml", text), script]).actions[0];
    let [grant] = action.permissions.as_slice() else { panic!("{:?}", action.permissions) };
    let actions: Vec<_> = grant.actions.iter().map(|action| action.value.as_str()).collect();
    assert_eq!((grant.resource.value.as_str(), actions.as_slice()), ("event", &["create", "read"][..]));
    let [report, rows] = action.artifacts.as_slice() else { panic!("{:?}", action.artifacts) };
    assert_eq!((report.name.as_str(), report.artifact_type), ("report.html", ArtifactType::File));
    assert_eq!((report.keep_versions, report.keep_days), (Some(5), Some(30)));
    assert_eq!(report.description.as_deref(), Some("The report"));
    assert_eq!((rows.name.as_str(), rows.artifact_type), ("rows", ArtifactType::Table));
    assert_eq!((rows.keep_versions, rows.keep_days), (None, None));
    assert_eq!((report.scope, rows.scope), (ArtifactScope::Action, ArtifactScope::Execution));
}

#[test]
fn test_grants_can_be_limited() {
    let script = ("actions/a.sh", "#!/bin/sh\n");
    let text = "ref: ops.a\nruntime: core.shell\nentrypoint: a.sh\npermissions:\n  \
                - {resource: event, actions: [create], constraints: {refs: [ops.seen, 'net.*_up']}}\n  \
                - {resource: execution, actions: [read, cancel], constraints: {packs: [ops, net], owner: self}}\n";
    let action = &accepted(&[("actions/a.yaml", text), script]).actions[0];
    let limits: Vec<_> = action.permissions.iter().map(|grant| grant.constraints.clone()).collect();
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
    let expected = [
        ConstraintsDefinition { refs: texts(&["ops.seen", "net.*_up"]), ..ConstraintsDefinition::default() },
        ConstraintsDefinition {
            packs: texts(&["ops", "net"]),
            own: true,
            ..ConstraintsDefinition::default()
        },
    ];
    assert_eq!(limits, expected);
}

#[test]
fn test_limits_without_effect_are_shown_at_their_place() {
    let grant = |grant: &str, expected: &[&str]| {
        check_action(&format!("permissions:\n  - {{{grant}}}\n"), expected);
    };
    let resources =
        LIMITED.iter().map(|limited| format!("`{}`", limited.resource)).collect::<Vec<_>>().join(", ");
    grant(
        "resource: worker, actions: [read], constraints: {packs: [ops]}",
        &[&format!(
            "actions/a.yaml:5:54: `constraints` has no effect on `worker`; expected one of the resources {resources}"
        )],
    );
    grant(
        "resource: event, actions: [read, '*'], constraints: {packs: [ops], owner: self}",
        &[
            "actions/a.yaml:5:58: `constraints` has no effect on `*` of `event`; expected only the actions `create`, `read`; grant others without `constraints`",
            "actions/a.yaml:5:80: `owner` has no effect on `read` of `event`; expected `refs` or `packs`",
        ],
    );
    grant(
        "resource: execution, actions: [create], constraints: {owner: selv}",
        &[
            "actions/a.yaml:5:67: `owner` has no effect on `create` of `execution`; expected only the actions `cancel`, `read`, `update`",
            "actions/a.yaml:5:67: `permissions[0].constraints.owner` is `selv`; did you mean `self`?",
        ],
    );
    grant(
        "resource: key, actions: [read], constraints: {}",
        &["actions/a.yaml:5:51: `constraints` limits nothing; expected `refs`, `packs` or `owner`"],
    );
    grant(
        "resource: key, actions: [read], constraints: {refs: [Ops.x], packs: [ops]}",
        &[
            "actions/a.yaml:5:59: `Ops.x` is none; expected a ref such as `ops.deploy`, or a pattern such as `ops.*`",
            "actions/a.yaml:5:67: `permissions[0].constraints.packs` has no effect beside `refs`; expected the key left out",
        ],
    );
}

#[test]
fn test_faults_of_permissions_and_artifacts_are_shown_at_their_place() {
    check_action(
        "permissions:\n  - {resource: Event, action: [create]}\n",
        &[
            "actions/a.yaml:5:16: `permissions[0].resource` is `Event`; did you mean `event`?",
            "actions/a.yaml:5:23: unknown key `action`; did you mean `actions`?",
        ],
    );
    let resources =
        RESOURCES.iter().chain(&["*"]).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    check_action(
        "permissions:\n  - {resource: exection, actions: [Read]}\n  - {resource: everything, actions: ['*']}\n  \
         - {resource: '*', actions: [read]}\n",
        &[
            "actions/a.yaml:5:16: `permissions[0].resource` is `exection`; did you mean `execution`?",
            "actions/a.yaml:5:36: `permissions[0].actions[0]` `Read` is not a name; did you mean `read`?",
            &format!(
                "actions/a.yaml:6:16: `permissions[1].resource` is `everything`; expected one of {resources}"
            ),
        ],
    );
    check_action(
        "artifacts:\n  - {name: My Report, type: tabel, keep_days: 0}\n  - {name: a}\n  - {name: a}\n",
        &[
            "actions/a.yaml:5:12: `My Report` cannot name an artifact; expected up to 100 lower-case letters, digits, `_`, `.` and `-`, such as `report.html`",
            "actions/a.yaml:5:29: `artifacts[0].type` is `tabel`; did you mean `table`?",
            "actions/a.yaml:5:47: `artifacts[0].keep_days` is 0; expected a whole number from 1 to 100000",
            "actions/a.yaml:7:12: the artifact `a` is declared twice",
        ],
    );
}

#[test]
fn test_faults_of_retry_and_placement_are_shown_at_their_place() {
    check_action(
        "retry: {count: 3, dealy: 1m, on: [faild]}\n",
        &[
            "actions/a.yaml:4:19: unknown key `dealy`; expected one of `count`, `delay`, `backoff`, `factor`, `max_delay`, `jitter`, `on`; did you mean `delay`?",
            "actions/a.yaml:4:35: `retry.on[0]`: expected one of `failed`, `timeout`, `abandoned`; did you mean `failed`?",
        ],
    );
    check_action(
        "retry: {count: 3, factor: 2}\n",
        &["actions/a.yaml:4:19: `factor` has no effect without `backoff: exponential`"],
    );
    check_action(
        "on_worker_loss: retry\nretry: {count: 3, on: [abandoned]}\n",
        &[
            "actions/a.yaml:5:23: `abandoned` has no effect with `on_worker_loss: retry`, which begins another attempt at once; expected one of the two left out",
        ],
    );
    check_action(
        "worker_selector: {os: [linux], -x: y, gpu: true}\ntolerations: [a b]\n",
        &[
            "actions/a.yaml:4:23: `worker_selector.os` is a list; expected text",
            "actions/a.yaml:4:32: `-x` cannot name a label; expected up to 63 letters, digits, `-`, `_`, `.` and `/`, the first and the last a letter or digit",
            "actions/a.yaml:4:44: `worker_selector.gpu` is true; did you mean `\"true\"`?",
            "actions/a.yaml:5:15: `a b` cannot name a taint; expected up to 63 letters, digits, `-`, `_`, `.` and `/`, the first and the last a letter or digit",
        ],
    );
}

#[test]
fn test_names_of_settings() {
    check_action(
        "parameter_delivery: stdn\nparameter_format: toml\noutput_format: JSON\non_worker_loss: abort\n",
        &[
            "actions/a.yaml:4:21: `parameter_delivery` is `stdn`; did you mean `stdin`?",
            "actions/a.yaml:5:19: `parameter_format` is `toml`; expected one of `json`, `yaml`, `dotenv`",
            "actions/a.yaml:6:16: `output_format` is `JSON`; did you mean `json`?",
            "actions/a.yaml:7:17: `on_worker_loss` is `abort`; expected one of `abandon`, `retry`",
        ],
    );
    check_action(
        "enabled: yes\n",
        &["actions/a.yaml:4:10: `enabled` is the text \"yes\"; did you mean `true`?"],
    );
    check_action(
        "enabled: perhaps\n",
        &["actions/a.yaml:4:10: `enabled` is the text \"perhaps\"; expected true or false"],
    );
    check_action("enabled: 1\n", &["actions/a.yaml:4:10: `enabled` is the number 1; expected true or false"]);
}

#[test]
fn test_timeouts() {
    let timeout = |value: &str| {
        let text = format!("ref: ops.a\nruntime: core.native\nentrypoint: noop\ntimeout: {value}\n");
        accepted(&[("actions/a.yaml", &text)]).actions[0].timeout.as_secs()
    };
    assert_eq!(["90", "30s", "5m", "2h", "8760h"].map(timeout), [90, 30, 300, 7200, 31_536_000]);
    for value in
        ["0", "-5", "1.5", "0s", "5 m", "5min", "h", "+5s", "1d", "8761h", "99999999999999999999h", "[1]"]
    {
        let expected = format!(
            "actions/a.yaml:4:10: `timeout` `{value}` is not a duration that can be used; \
             expected whole seconds, or `30s`, `5m`, `2h`; more than nothing, at most a year"
        );
        check_action(&format!("timeout: {value}\n"), &[&expected]);
    }
}

#[test]
fn test_settings_without_effect() {
    check_action(
        "parameter_delivery: env\nparameter_format: json\n",
        &[
            "actions/a.yaml:5:1: `parameter_format` has no effect with `parameter_delivery: env`, where every parameter has its own variable; expected the key left out",
        ],
    );
    check(
        &[(
            "actions/a.yaml",
            "ref: ops.a\nruntime: core.native\nentrypoint: noop\nparameter_delivery: env\noutput_format: json\n",
        )],
        &[
            "actions/a.yaml:4:1: `parameter_delivery` has no effect with a native runtime, which starts no process; expected the key left out",
            "actions/a.yaml:5:1: `output_format` has no effect with a native runtime, which starts no process; expected the key left out",
        ],
    );
}

#[test]
fn test_parameter_schemas() {
    check_action(
        "parameters:\n  host: string\n",
        &["actions/a.yaml:5:9: `parameters.host`: expected an object such as `{type: string}`, got string"],
    );
    check_action(
        "parameters:\n  host: {type: sting}\n",
        &[
            "actions/a.yaml:5:16: `parameters.host.type`: expected a type: array, boolean, integer, null, number, object, string; did you mean `string`?",
        ],
    );
    check_action(
        "parameters:\n  port:\n    type: integer\n    default: ssh\n",
        &["actions/a.yaml:7:14: the default does not fit: it is not of type \"integer\""],
    );
    check_action(
        "parameters:\n  port:\n    typ: integer\n    requird: true\n",
        &[
            "actions/a.yaml:6:5: unknown key `typ`; did you mean `type`?",
            "actions/a.yaml:7:5: unknown key `requird`; did you mean `required`?",
        ],
    );
    check_action(
        "parameters:\n  port: {type: integer, required: yes}\n",
        &["actions/a.yaml:5:35: `parameters.port.required`: expected true or false, got string"],
    );
    check_action(
        "parameters:\n  the-host: {type: string}\n",
        &[
            "actions/a.yaml:5:3: bad parameter name `the-host`: expected a letter or `_`, then letters, digits and `_`",
        ],
    );
    check_action(
        "parameters:\n  level: {type: string, enum: [low, high], default: middle}\n",
        &["actions/a.yaml:5:53: the default does not fit: it is not one of \"low\" or \"high\""],
    );
    check_action(
        "parameters:\n  name: {type: string, minimum: 3}\n",
        &["actions/a.yaml:5:24: `minimum` has no effect on string, only on integer or number"],
    );
    check_action(
        "parameters:\n  hosts:\n    type: array\n    items:\n      typo: string\n",
        &["actions/a.yaml:8:7: unknown key `typo`; did you mean `type`?"],
    );
    check_action(
        "parameters: [host]\n",
        &["actions/a.yaml:4:13: `parameters` is a list; expected a mapping of `key: value`"],
    );
}

fn native(text: &str) -> String {
    format!("ref: {text}\nruntime: core.native\nentrypoint: noop\n")
}

#[track_caller]
fn check_ref(text: &str, expected: &[&str]) {
    check(&[("actions/a.yaml", &native(text))], expected);
}

#[test]
fn test_refs() {
    check_ref(
        "other.a",
        &["actions/a.yaml:1:6: `ref` `other.a` is not in this pack, which is `ops`; did you mean `ops.a`?"],
    );
    check_ref(
        "deploy",
        &["actions/a.yaml:1:6: `ref` `deploy` is not a valid ref; did you mean `ops.deploy`?"],
    );
    check_ref(
        "ops.Deploy Now",
        &["actions/a.yaml:1:6: `ref` `ops.Deploy Now` is not a valid ref; did you mean `ops.deploy_now`?"],
    );
    check_ref(
        "ops.",
        &[
            "actions/a.yaml:1:6: `ref` `ops.` is not a valid ref; expected `pack.name` in lower-case letters, digits, `_` and `-`",
        ],
    );
    check_ref("[ops, a]", &["actions/a.yaml:1:6: `ref` is a list; expected text"]);
    check(
        &[
            ("actions/a.yaml", &native("ops.a")),
            ("actions/b.yaml", &native("ops.a")),
            ("actions/c.yaml", &native("ops.c")),
        ],
        &[
            "actions/b.yaml:1:6: the action `ops.a` is defined already in actions/a.yaml:1; expected a ref that no other file has",
        ],
    );
    check(
        &[("actions/a.yaml", "ref: ops.a\nruntime: shell\nentrypoint: a.sh\n")],
        &["actions/a.yaml:2:10: `runtime` `shell` is not a valid ref; did you mean `core.shell`?"],
    );
}

#[track_caller]
fn check_entrypoint(entrypoint: &str, expected: &[&str]) {
    let action = format!("ref: ops.a\nruntime: core.shell\nentrypoint: {entrypoint}\n");
    check(&[("actions/a.yaml", &action), ("actions/deploy.sh", "#!/bin/sh\n"), ("x.sh", "")], expected);
}

#[test]
fn test_entrypoints() {
    check_entrypoint("deploy.sh", &[]);
    check_entrypoint(
        "deply.sh",
        &["actions/a.yaml:3:13: the pack has no file `actions/deply.sh`; did you mean `deploy.sh`?"],
    );
    check_entrypoint(
        "nothing_like_it",
        &[
            "actions/a.yaml:3:13: the pack has no file `actions/nothing_like_it`; expected the path of a file below `actions/`",
        ],
    );
    check_entrypoint(
        "../x.sh",
        &[
            "actions/a.yaml:3:13: `entrypoint` `../x.sh` is not a plain relative path; expected the path of a file below `actions/`, such as `run.sh`",
        ],
    );
    check_entrypoint(
        "/bin/true",
        &[
            "actions/a.yaml:3:13: `entrypoint` `/bin/true` is not a plain relative path; expected the path of a file below `actions/`, such as `run.sh`",
        ],
    );
    check_entrypoint(
        "./deploy.sh",
        &[
            "actions/a.yaml:3:13: `entrypoint` `./deploy.sh` is not a plain relative path; expected the path of a file below `actions/`, such as `run.sh`",
        ],
    );
    check_entrypoint(
        "a//deploy.sh",
        &[
            "actions/a.yaml:3:13: `entrypoint` `a//deploy.sh` is not a plain relative path; expected the path of a file below `actions/`, such as `run.sh`",
        ],
    );
    check_entrypoint(
        "'a\\deploy.sh'",
        &[
            "actions/a.yaml:3:13: `entrypoint` `a\\deploy.sh` is not a plain relative path; expected the path of a file below `actions/`, such as `run.sh`",
        ],
    );
}

#[test]
fn test_entrypoints_that_are_executed_must_be_executable() {
    let script = ("actions/a.py", "print(1)\n");
    check(
        &[("actions/a.yaml", "ref: ops.a\nruntime: core.executable\nentrypoint: a.py\n"), script],
        &[
            "actions/a.yaml:3:13: `actions/a.py` is not executable, but its runtime has no interpreter; expected its mode changed (`chmod +x actions/a.py`), or a runtime with an interpreter",
        ],
    );
    let own = ("runtimes/own.yaml", "ref: ops.own\n");
    check(
        &[own, ("actions/a.yaml", "ref: ops.a\nruntime: ops.own\nentrypoint: a.py\n"), script],
        &[
            "actions/a.yaml:3:13: `actions/a.py` is not executable, but its runtime has no interpreter; expected its mode changed (`chmod +x actions/a.py`), or a runtime with an interpreter",
        ],
    );
    let own = ("runtimes/own.yaml", "ref: ops.own\ninterpreter: [python3, -u]\n");
    let definition =
        accepted(&[own, ("actions/a.yaml", "ref: ops.a\nruntime: ops.own\nentrypoint: a.py\n"), script]);
    assert_eq!(definition.runtimes[0].interpreter, ["python3", "-u"]);
}

#[test]
fn test_native_runtimes() {
    let core = ("pack.yaml", "ref: core\nversion: 1.0.0\n");
    let native = ("runtimes/n.yaml", "ref: core.own\nnative: true\n");
    let definition = accepted(&[
        core,
        native,
        ("actions/a.yaml", "ref: core.a\nruntime: core.own\nentrypoint: some_handler\n"),
    ]);
    assert!(definition.runtimes[0].native);
    assert_eq!(definition.actions[0].entrypoint, "some_handler");
    check(
        &[core, native, ("actions/a.yaml", "ref: core.a\nruntime: core.own\nentrypoint: a.sh\n")],
        &[
            "actions/a.yaml:3:13: `entrypoint` `a.sh` is not the name of a handler; expected a name such as `echo`, because the runtime is native",
        ],
    );
    check(
        &[("runtimes/n.yaml", "ref: ops.n\nnative: true\ninterpreter: [sh]\n")],
        &[
            "runtimes/n.yaml:2:9: only the pack `core` can have a native runtime; expected an `interpreter`, or neither to execute the entrypoint itself",
            "runtimes/n.yaml:3:1: `interpreter` has no effect in a native runtime; expected the key left out",
        ],
    );
    check(
        &[("runtimes/n.yaml", "ref: ops.n\ninterpreter: python3\n")],
        &["runtimes/n.yaml:2:14: `interpreter` is the text \"python3\"; did you mean `[\"python3\"]`?"],
    );
}

#[test]
fn test_triggers() {
    let text = "ref: ops.t\nparameters:\n  path: {type: string}\nwebhook:\n  signature: {scheme: hmac_sha256, \
                secret: ops.secret, header: X-Signature}\n  delivery_id_header: X-Delivery\n";
    let trigger = &accepted(&[("triggers/t.yaml", text)]).triggers[0];
    let webhook = trigger.webhook.as_ref().unwrap();
    let signature = webhook.signature.as_ref().unwrap();
    assert_eq!(signature.scheme, SignatureScheme::HmacSha256);
    assert_eq!((signature.secret.value.as_str(), signature.secret.line), ("ops.secret", 5));
    assert_eq!(signature.header.as_deref(), Some("x-signature"));
    assert_eq!(webhook.delivery_id_header.as_deref(), Some("x-delivery"));
    assert_eq!(trigger.parameters["properties"]["path"]["type"], "string");

    let plain =
        accepted(&[("triggers/t.yaml", "ref: ops.t\nwebhook: {}\n"), ("triggers/u.yaml", "ref: ops.u\n")]);
    assert!(plain.triggers[0].webhook.as_ref().unwrap().signature.is_none());
    assert!(plain.triggers[1].webhook.is_none());
}

#[track_caller]
fn check_webhook(lines: &str, expected: &[&str]) {
    check(&[("triggers/t.yaml", &format!("ref: ops.t\nwebhook:\n{lines}"))], expected);
}

#[test]
fn test_trigger_faults() {
    check_webhook(
        "",
        &["triggers/t.yaml:2:1: `webhook` has no value; expected a value, or the key left out"],
    );
    check(
        &[("triggers/t.yaml", "ref: ops.t\nwebhook: true\n")],
        &["triggers/t.yaml:2:10: `webhook` is true; expected a mapping of `key: value`"],
    );
    check_webhook(
        "  signature: {scheme: githb, secret: ops.secret}\n",
        &["triggers/t.yaml:3:23: `webhook.signature.scheme` is `githb`; did you mean `github`?"],
    );
    check_webhook(
        "  signature: {scheme: github}\n",
        &["triggers/t.yaml:3:14: the key `secret` is missing in `webhook.signature`"],
    );
    check_webhook(
        "  signature: {scheme: github, secret: hunter2}\n",
        &[
            "triggers/t.yaml:3:39: `webhook.signature.secret` is not the ref of a key; expected `pack.name` of the key that holds the secret, never the secret itself",
        ],
    );
    check_webhook(
        "  signature: {scheme: github, secret: ops.s, header: X-A}\n  delivery_id_header: X-B\n",
        &[
            "triggers/t.yaml:3:46: `webhook.signature.header` has no effect with the scheme `github`, which names `X-Hub-Signature-256`; expected the key left out",
            "triggers/t.yaml:4:3: `webhook.delivery_id_header` has no effect with the scheme `github`, which names `X-GitHub-Delivery`; expected the key left out",
        ],
    );
    check_webhook(
        "  signature: {scheme: hmac_sha256, secret: ops.s}\n",
        &["triggers/t.yaml:3:14: the key `header` is missing in `webhook.signature`"],
    );
    check_webhook(
        "  signature: {scheme: hmac_sha256, secret: ops.s, header: 'X Sig'}\n",
        &[
            "triggers/t.yaml:3:59: `webhook.signature.header` `X Sig` is not the name of a header; expected a name such as `X-Signature`",
        ],
    );
    check_webhook(
        "  signatur: {scheme: github, secret: ops.s}\n",
        &["triggers/t.yaml:3:3: unknown key `signatur`; did you mean `signature`?"],
    );
}

#[test]
fn test_sensors() {
    let script = ("sensors/watch.py", "print(1)\n");
    let trigger = ("triggers/t.yaml", "ref: ops.t\n");
    let text = "ref: ops.s\nruntime: core.python\nentrypoint: watch.py\ntriggers: [ops.t, other.t]\nconfig: {every: 5}\n";
    let definition = accepted(&[("sensors/s.yaml", text), script, trigger]);
    let sensor = &definition.sensors[0];
    assert_eq!(sensor.triggers.iter().map(|t| t.value.as_str()).collect::<Vec<_>>(), ["ops.t", "other.t"]);
    assert_eq!((sensor.triggers[1].line, sensor.triggers[1].column), (4, 19));
    assert_eq!(sensor.config["every"], 5);

    check(
        &[("sensors/s.yaml", "ref: ops.s\nruntime: core.python\n"), script],
        &[
            "sensors/s.yaml:1:1: the key `entrypoint` is missing",
            "sensors/s.yaml:1:1: the key `triggers` is missing",
        ],
    );
    check(
        &[
            (
                "sensors/s.yaml",
                "ref: ops.s\nruntime: core.native\nentrypoint: w.py\ntriggers: []\nparameters: {}\n",
            ),
            script,
        ],
        &[
            "sensors/s.yaml:2:10: a sensor is a process, but this runtime is native; expected a runtime that starts a process, such as `core.shell` or `core.python`",
            "sensors/s.yaml:4:11: `triggers` is an empty list; expected the triggers that the sensor reports",
            "sensors/s.yaml:5:1: unknown key `parameters`; expected one of `ref`, `label`, `description`, `enabled`, `runtime`, `entrypoint`, `triggers`, `config`, `permissions`",
        ],
    );
    check(
        &[
            (
                "sensors/s.yaml",
                "ref: ops.s\nruntime: core.python\nentrypoint: wach.py\ntriggers: [ops.t, ops.t, t]\n",
            ),
            script,
            trigger,
        ],
        &[
            "sensors/s.yaml:3:13: the pack has no file `sensors/wach.py`; did you mean `watch.py`?",
            "sensors/s.yaml:4:19: `ops.t` is listed twice; expected every trigger once",
            "sensors/s.yaml:4:26: `triggers[2]` `t` is not a valid ref; did you mean `ops.t`?",
        ],
    );
}

#[test]
fn test_permission_sets() {
    let text = "ref: ops.p\ngrants:\n  - {resource: execution, actions: [read, '*']}\n  - {resource: '*', actions: [read]}\n";
    let definition = accepted(&[("permissions/p.yaml", text)]);
    let grants = &definition.permission_sets[0].grants;
    assert_eq!(grants[0].resource.value, "execution");
    assert_eq!(grants[0].actions[1].value, "*");
    assert_eq!((grants[1].resource.line, grants[1].resource.column), (4, 16));

    check(
        &[("permissions/p.yaml", "ref: ops.p\n")],
        &["permissions/p.yaml:1:1: the key `grants` is missing"],
    );
    check(
        &[(
            "permissions/p.yaml",
            "ref: ops.p\ngrants:\n  - {resource: Work Item, actions: read}\n  - {resource: key}\n  - read\n  - {resource: '*', actions: []}\n",
        )],
        &[
            "permissions/p.yaml:3:16: `grants[0].resource` is `Work Item`; did you mean `work_item`?",
            "permissions/p.yaml:3:36: `grants[0].actions` is the text \"read\"; did you mean `[\"read\"]`?",
            "permissions/p.yaml:4:5: the key `actions` is missing in `grants[1]`",
            "permissions/p.yaml:5:5: `grants[2]` is text; expected a mapping of `key: value`",
            "permissions/p.yaml:6:30: `grants[3].actions` is an empty list; expected what is allowed, or `*`",
        ],
    );
}

#[test]
fn test_what_a_sensor_may_ask() {
    let script = ("sensors/watch.py", "print(1)\n");
    let trigger = ("triggers/t.yaml", "ref: ops.t\n");
    let sensor = |grant: &str| {
        format!(
            "ref: ops.s\nruntime: core.python\nentrypoint: watch.py\ntriggers: [ops.t]\npermissions:\n  - {{{grant}}}\n"
        )
    };
    let text = sensor("resource: work_item, actions: [create], constraints: {refs: [ops.hosts]}");
    let sensors = accepted(&[("sensors/s.yaml", &text), script, trigger]).sensors;
    let [grant] = sensors[0].permissions.as_slice() else { panic!("{:?}", sensors[0].permissions) };
    assert_eq!(
        (grant.resource.value.as_str(), grant.constraints.refs[0].as_str()),
        ("work_item", "ops.hosts")
    );
    let text = sensor("resource: execution, actions: [read], constraints: {owner: self}");
    check(
        &[("sensors/s.yaml", &text), script, trigger],
        &[
            "sensors/s.yaml:6:65: `owner` has no effect in a sensor: what it begins belongs to nobody; expected `refs` or `packs`",
        ],
    );
}
