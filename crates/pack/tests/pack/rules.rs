//! Rules, and what several files together show.

use attune_pack::{Fault, Finding, RuleMode, finding_at, read_rule};
use attune_rules::{Condition, ConditionMode};
use serde_json::json;

use crate::{accepted, check};

/// A rule on another pack's trigger and action, with more lines.
#[track_caller]
fn check_rule(lines: &str, expected: &[&str]) {
    let text = format!("ref: ops.r\ntrigger: web.hook\naction: core.noop\n{lines}");
    check(&[("rules/r.yaml", &text)], expected);
}

#[test]
fn test_a_full_rule() {
    let text = "ref: ops.r\nlabel: R\nenabled: false\ntrigger: web.hook\ntrigger_params: {path: alerts}\ncondition: any\n\
                conditions:\n  - {field: event.payload.a, operator: equals, value: 1}\n  - not:\n      any:\n        \
                - {field: event.payload.b, operator: exists}\n  - \"{{ event.payload.c > 3 }}\"\naction: core.echo\n\
                action_params: {message: \"{{ event.payload.a }}\"}\n";
    let definition = accepted(&[("rules/r.yaml", text)]);
    let rule = &definition.rules[0];
    assert!(!rule.enabled);
    assert_eq!((rule.trigger.value.as_str(), rule.trigger.line, rule.trigger.column), ("web.hook", 4, 10));
    assert_eq!((rule.action.value.as_str(), rule.action.line), ("core.echo", 13));
    let inner = &rule.definition;
    assert_eq!((inner.rule_ref.as_str(), inner.trigger_ref.as_str()), ("ops.r", "web.hook"));
    assert_eq!(inner.condition, ConditionMode::Any);
    assert_eq!(inner.trigger_params, json!({"path": "alerts"}));
    assert_eq!(inner.action_params, json!({"message": "{{ event.payload.a }}"}));
    assert_eq!(inner.conditions.len(), 3);
    assert!(
        matches!(&inner.conditions[1], Condition::Not { not } if matches!(&**not, Condition::Any { any } if any.len() == 1))
    );
    assert!(matches!(&inner.conditions[2], Condition::Expression(_)));
}

#[test]
fn test_missing_and_unknown_keys() {
    check(
        &[("rules/r.yaml", "ref: ops.r\n")],
        &["rules/r.yaml:1:1: the key `action` is missing", "rules/r.yaml:1:1: the key `trigger` is missing"],
    );
    check_rule(
        "criteria: {}\n",
        &[
            "rules/r.yaml:4:1: unknown key `criteria`; expected one of `ref`, `label`, `description`, `enabled`, `mode`, `trigger`, `trigger_params`, `condition`, `conditions`, `window`, `action`, `action_params`, `retry`",
        ],
    );
    check_rule(
        "conditons:\n  - {field: event.payload.a, operator: exists}\ncondition: any\n",
        &["rules/r.yaml:4:1: unknown key `conditons`; did you mean `conditions`?"],
    );
    check_rule(
        "condition: any\n",
        &["rules/r.yaml:4:12: `condition` has no effect without `conditions`; expected a list of conditions"],
    );
    check_rule(
        "condition: either\nconditions:\n  - {field: event.payload.a, operator: exists}\n",
        &["rules/r.yaml:4:12: `condition` is `either`; expected one of `all`, `any`"],
    );
    check_rule(
        "trigger_params: [a]\naction_params: text\nconditions: {}\n",
        &[
            "rules/r.yaml:4:17: `trigger_params` is a list; expected a mapping of `key: value`",
            "rules/r.yaml:5:16: `action_params` is text; expected a mapping of `key: value`",
            "rules/r.yaml:6:13: `conditions` is a mapping; expected a list",
        ],
    );
}

#[test]
fn test_conditions_are_shown_at_their_place() {
    check_rule(
        "conditions:\n  - field: event.payload.a\n    operator: equls\n    value: 1\n  - all:\n      - {field: event.payload.a, operatr: equals, value: 1}\n      - any:\n          - {field: event..a, operator: exists}\n  - 5\n",
        &[
            "rules/r.yaml:6:15: unknown operator `equls`; did you mean `equals`?",
            "rules/r.yaml:9:9: the condition has no `operator`; expected the name of an operator such as `equals`",
            "rules/r.yaml:9:34: unknown key `operatr` in a condition; did you mean `operator`?",
            "rules/r.yaml:12:5: `conditions[2]`: expected a condition, got integer; write {field, operator, value}, {all: [..]}, {any: [..]}, {not: {..}} or a text with one expression",
        ],
    );
    check_rule(
        "conditions:\n  - {field: event.payload.a, operator: regex, value: '('}\n  - {field: evnt.payload.a, operator: exists}\n  - {field: event.payload.a, operator: less_than}\n  - any: []\n  - \"{{ event.payload.a\"\n",
        &[
            "rules/r.yaml:5:54: invalid regular expression `(`: unclosed group",
            "rules/r.yaml:6:13: there is no `evnt`; a rule sees event, rule, trigger; did you mean `event`?",
            "rules/r.yaml:7:5: `less_than` needs a value",
            "rules/r.yaml:8:10: the list is empty; write at least one condition",
            "rules/r.yaml:9:5: a condition in text is one expression such as `{{ event.payload.n > 3 }}`, got `{{ event.payload.a`",
        ],
    );
}

#[test]
fn test_conditions_keep_their_place_beside_one_that_cannot_be_read() {
    check_rule(
        "conditions:\n  - 5\n  - {field: event.payload.a, operator: equls, value: 1}\n  - not: {field: event.a}\n  - {field: event..a, operator: exists}\n",
        &[
            "rules/r.yaml:5:5: `conditions[0]`: expected a condition, got integer; write {field, operator, value}, {all: [..]}, {any: [..]}, {not: {..}} or a text with one expression",
            "rules/r.yaml:6:40: unknown operator `equls`; did you mean `equals`?",
            "rules/r.yaml:7:10: the condition has no `operator`; expected the name of an operator such as `equals`",
            "rules/r.yaml:8:13: bad path `event..a` at character 7: expected a key after `.`; quote odd keys as ['odd key']",
        ],
    );
}

#[test]
fn test_templates_are_shown_at_their_place() {
    check_rule(
        "action_params:\n  deep:\n    - ok\n    - text: \"{{ event.payload.a | uper }}\"\n  other: \"{{ evnt.payload }}\"\n",
        &[
            "rules/r.yaml:7:13: template `{{ event.payload.a | uper }}`: unknown filter `uper`; did you mean `upper`?",
        ],
    );
    check_rule(
        "trigger_params:\n  path: \"{{ event.payload.a }}\"\n",
        &["rules/r.yaml:5:9: trigger parameters are compared as they stand; a template has no effect here"],
    );
}

#[test]
fn test_all_faults_of_a_rule_at_once() {
    check(
        &[(
            "rules/r.yaml",
            "ref: R\ntriger: web.hook\nconditions:\n  - {field: event.payload.a, operator: equls, value: 1}\naction_params:\n  a: \"{{ event.payload.a \"\n",
        )],
        &[
            "rules/r.yaml:1:1: the key `action` is missing",
            "rules/r.yaml:1:6: `ref` `R` is not a valid ref; did you mean `ops.r`?",
            "rules/r.yaml:2:1: unknown key `triger`; did you mean `trigger`?",
            "rules/r.yaml:4:40: unknown operator `equls`; did you mean `equals`?",
            "rules/r.yaml:6:6: template `{{ event.payload.a `: unexpected end of input, expected end of variable block",
        ],
    );
}

#[test]
fn test_a_rule_file_by_itself() {
    let text = "ref: ops.r\ntrigger: web.hook\naction: core.noop\nenabled: false\n";
    let rule = read_rule("some/r.yaml", text.as_bytes()).unwrap();
    assert_eq!((rule.definition.rule_ref.as_str(), rule.enabled), ("ops.r", false));
    assert_eq!(rule.definition, accepted(&[("rules/r.yaml", text)]).rules[0].definition);

    let check = |text: &[u8], expected: &[&str]| {
        let found: Vec<String> =
            read_rule("r.yaml", text).unwrap_err().iter().map(Finding::to_string).collect();
        assert_eq!(found, expected);
    };
    check(
        b"ref: ops.r\ntrigger: hook\nconditions:\n  - {field: event.payload.a, operator: equls, value: 1}\n",
        &[
            "r.yaml:1:1: the key `action` is missing",
            "r.yaml:2:10: `trigger` `hook` is not a valid ref; expected `pack.name` in lower-case letters, digits, `_` and `-`",
            "r.yaml:4:40: unknown operator `equls`; did you mean `equals`?",
        ],
    );
    check(b"- a\n", &["r.yaml:1:1: the file is a list; expected a mapping of `key: value`"]);
    check(b"a: [\n", &["r.yaml:1:4: invalid YAML: unclosed bracket '['; expected the closing bracket"]);
    check(b"\xff", &["r.yaml:1:1: the file is not UTF-8 text; expected a YAML file in UTF-8"]);
    check(b"", &["r.yaml:1:1: the file is empty; expected a mapping of `key: value`"]);
}

const ACTION: (&str, &str) = (
    "actions/page.yaml",
    "ref: ops.page\nruntime: core.native\nentrypoint: noop\nparameters:\n  text: {type: string, required: true}\n  \
     level: {type: string, enum: [low, high]}\n  count: {type: integer, default: 1}\n",
);
const TRIGGER: (&str, &str) = ("triggers/disk.yaml", "ref: ops.disk\nparameters:\n  host: {type: string}\n");

#[track_caller]
fn check_link(lines: &str, expected: &[&str]) {
    check(&[ACTION, TRIGGER, ("rules/r.yaml", &format!("ref: ops.r\n{lines}"))], expected);
}

#[test]
fn test_refs_to_components_that_the_pack_does_not_have() {
    check_link(
        "trigger: disk\naction: page\n",
        &[
            "rules/r.yaml:2:10: `trigger` `disk` is not a valid ref; did you mean `ops.disk`?",
            "rules/r.yaml:3:9: `action` `page` is not a valid ref; did you mean `ops.page`?",
        ],
    );
    check_link(
        "trigger: ops.dsk\naction: ops.pager\naction_params: {text: a}\n",
        &[
            "rules/r.yaml:2:10: the pack has no trigger `ops.dsk`; did you mean `ops.disk`?",
            "rules/r.yaml:3:9: the pack has no action `ops.pager`; did you mean `ops.page`?",
        ],
    );
    check(
        &[("rules/r.yaml", "ref: ops.r\ntrigger: ops.disk\naction: core.noop\n")],
        &[
            "rules/r.yaml:2:10: the pack has no trigger `ops.disk`; expected a file in `triggers/` that defines it",
        ],
    );
    check(
        &[("actions/a.yaml", "ref: ops.a\nruntime: ops.shell\nentrypoint: a.sh\n"), ("actions/a.sh", "")],
        &[
            "actions/a.yaml:2:10: the pack has no runtime `ops.shell`; expected a file in `runtimes/` that defines it",
        ],
    );
    // The faulty file may be the one that is meant.
    check(
        &[
            ACTION,
            ("triggers/disk.yaml", "label: Disk\n"),
            ("rules/r.yaml", "ref: ops.r\ntrigger: ops.disk\naction: ops.page\naction_params: {text: a}\n"),
        ],
        &["triggers/disk.yaml:1:1: the key `ref` is missing"],
    );
    check(
        &[
            ACTION,
            ("triggers/disk.yaml", "ref: ops.disk\nlabl: Disk\n"),
            ("rules/r.yaml", "ref: ops.r\ntrigger: ops.disk\naction: ops.page\naction_params: {text: a}\n"),
        ],
        &["triggers/disk.yaml:2:1: unknown key `labl`; did you mean `label`?"],
    );
}

#[test]
fn test_parameters_that_the_action_does_not_take() {
    check_link(
        "trigger: ops.disk\naction: ops.page\naction_params: {text: \"{{ event.payload.a }}\", level: high}\n",
        &[],
    );
    check_link(
        "trigger: ops.disk\naction: ops.page\naction_params:\n  txet: a\n  level: \"{{ event.payload.a }}\"\n",
        &["rules/r.yaml:5:3: the action `ops.page` has no parameter `txet`; did you mean `text`?"],
    );
    check_link(
        "trigger: ops.disk\naction: ops.page\naction_params: {level: low, levle: low}\n",
        &[
            "rules/r.yaml:4:1: the action `ops.page` needs the parameter `text`; expected `text` in `action_params`",
            "rules/r.yaml:4:29: the action `ops.page` has no parameter `levle`; expected one of `count`, `level`, `text`",
        ],
    );
    check_link(
        "trigger: ops.disk\naction: ops.page\n",
        &[
            "rules/r.yaml:3:9: the action `ops.page` needs the parameter `text`; expected `text` in `action_params`",
        ],
    );
    check_link(
        "trigger: ops.disk\naction: ops.page\naction_params:\n  text: a\n  level: middle\n  count: many\n",
        &[
            "rules/r.yaml:6:10: `action_params.level` does not fit action `ops.page`: expected one of `low`, `high`",
            "rules/r.yaml:7:10: `action_params.count` does not fit action `ops.page`: expected integer, got string",
        ],
    );
    check_link(
        "trigger: ops.disk\ntrigger_params: {hots: a}\naction: ops.page\naction_params: {text: a}\n",
        &["rules/r.yaml:3:18: the trigger `ops.disk` has no parameter `hots`; did you mean `host`?"],
    );
    check_link(
        "trigger: ops.disk\ntrigger_params: {host: 5}\naction: ops.page\naction_params: {text: a}\n",
        &[
            "rules/r.yaml:3:24: `trigger_params.host` does not fit trigger `ops.disk`: expected string, got integer",
        ],
    );
}

const ALERT: (&str, &str) = (
    "triggers/alert.yaml",
    "ref: ops.alert
parameters: {team: {type: string}}
out_schema:
  type: object
  additionalProperties: false
  properties:
    severity: {enum: [critical, warning]}
    used: {type: number}
    acknowledged: {type: boolean}
    host: {$ref: '#/$defs/host'}
  $defs:
    host: {type: object, additionalProperties: false, properties: {name: {type: string}}}
",
);

/// A rule on [`ALERT`], with more lines.
#[track_caller]
fn check_alert_rule(lines: &str, expected: &[&str]) {
    let text = format!("ref: ops.r\ntrigger: ops.alert\naction: core.noop\n{lines}");
    check(&[ALERT, ("rules/r.yaml", &text)], expected);
}

#[test]
fn test_fields_are_compared_with_the_schema_of_the_trigger() {
    check_alert_rule(
        "conditions:
  - {field: event.payload.severty, operator: equals, value: critical}
  - not: {field: event.payload.host.nam, operator: equals, value: x}
  - {field: event.payload.acknowledged, operator: greater_than, value: 1}
  - {field: event.payload.severity, operator: in, value: [critical, warnin]}
  - {field: event.payload.used, operator: equals, value: many}
  - \"{{ event.payload.usd > 3 }}\"
action_params:
  text: \"{{ event.payload.hst.name }} {{ trigger.config.taem }}\"
",
        &[
            "rules/r.yaml:5:13: by the schema of `ops.alert`, `event.payload` has no `severty`; did you mean `event.payload.severity`?",
            "rules/r.yaml:6:18: by the schema of `ops.alert`, `event.payload.host` has no `nam`; did you mean `event.payload.host.name`?",
            "rules/r.yaml:7:51: `greater_than` needs number, but by the schema of `ops.alert`, `event.payload.acknowledged` is boolean",
            "rules/r.yaml:8:69: by the schema of `ops.alert`, `event.payload.severity` is never \"warnin\"; did you mean `warning`?",
            "rules/r.yaml:9:58: by the schema of `ops.alert`, `event.payload.used` is number, never \"many\"",
            "rules/r.yaml:10:5: by the schema of `ops.alert`, `event.payload` has no `usd`; did you mean `event.payload.used`?",
            "rules/r.yaml:12:9: by the schema of `ops.alert`, `event.payload` has no `hst`; did you mean `event.payload.host.name`?",
            "rules/r.yaml:12:9: by the schema of `ops.alert`, `trigger.config` has no `taem`; did you mean `trigger.config.team`?",
        ],
    );
}

#[test]
fn test_the_frame_of_an_event_needs_no_schema() {
    check_rule(
        "conditions:\n  - {field: event.paylod.a, operator: exists}\naction_params: {text: \"{{ event.playload.a }}\"}\n",
        &[
            "rules/r.yaml:5:13: a rule sees no such field: `event` has no `paylod`; did you mean `event.payload.a`?",
            "rules/r.yaml:6:23: a rule sees no such field: `event` has no `playload`; did you mean `event.payload.a`?",
        ],
    );
    let text = b"ref: ops.r\ntrigger: ops.alert\nconditions:\n  - {field: rule.vesion, operator: exists}\naction: ops.a\n";
    let found: Vec<_> = read_rule("r.yaml", text).unwrap_err().iter().map(Finding::to_string).collect();
    assert_eq!(
        found,
        ["r.yaml:4:13: a rule sees no such field: `rule` has no `vesion`; did you mean `rule.version`?"]
    );
}

#[test]
fn test_a_schema_of_a_payload_is_checked() {
    check(
        &[("triggers/t.yaml", "ref: ops.t\nout_schema:\n  propertis: {a: {type: strng}}\n")],
        &["triggers/t.yaml:3:3: `propertis` is no keyword of JSON Schema; did you mean `properties`?"],
    );
    check(
        &[("triggers/t.yaml", "ref: ops.t\nout_schema: {properties: {a: {secret: true}}}\n")],
        &[
            "triggers/t.yaml:2:31: `secret` has no effect in the schema of a payload; only parameters are masked",
        ],
    );
    let definition = accepted(&[ALERT]);
    assert_eq!(definition.triggers[0].out_schema["properties"]["used"], json!({"type": "number"}));
}

#[test]
fn test_the_mode_of_a_rule() {
    let rule = |lines: &str| format!("ref: ops.r\ntrigger: web.hook\naction: core.noop\n{lines}");
    let mode = |lines: &str| accepted(&[("rules/r.yaml", &rule(lines))]).rules[0].mode;
    assert_eq!(mode(""), RuleMode::Active);
    assert_eq!(mode("mode: active\n"), RuleMode::Active);
    assert_eq!(mode("mode: shadow\n"), RuleMode::Shadow);
    check_rule("mode: shadw\n", &["rules/r.yaml:4:7: `mode` is `shadw`; did you mean `shadow`?"]);
}

#[test]
fn test_finding_at_knows_where_a_pointer_leads() {
    let text = b"ref: ops.r\naction_params: {text: 1, a: [x, y]}\n";
    let place = |pointer: &str, message: &str| {
        let fault = Fault { pointer: pointer.to_owned(), message: message.to_owned(), suggestion: None };
        finding_at("r.yaml", text, fault).to_string()
    };
    assert_eq!(place("/action_params/text", "wrong"), "r.yaml:2:23: wrong");
    assert_eq!(place("/action_params/text", "unknown `text`"), "r.yaml:2:17: unknown `text`");
    assert_eq!(place("/action_params/a/1", "wrong"), "r.yaml:2:33: wrong");
    assert_eq!(place("/action_params/missing", "missing"), "r.yaml:2:16: missing");
    assert_eq!(place("", "all of it"), "r.yaml:1:1: all of it");
    let fault = Fault { message: "broken".to_owned(), ..Fault::default() };
    assert_eq!(finding_at("r.yaml", b"a: [", fault).to_string(), "r.yaml:1:1: broken");
}

#[test]
fn test_windows_are_read_with_the_rule() {
    let text = "ref: ops.r\ntrigger: web.hook\nwindow: {count: {at_least: 5, within: 10m}, key: \"{{ event.payload.host }}\"}\n\
                action: core.noop\naction_params: {text: \"{{ window.count }} events\"}\n";
    let definition = accepted(&[("rules/r.yaml", text)]);
    let window = definition.rules[0].definition.window.as_ref().unwrap();
    let expected = json!({"count": {"at_least": 5, "within": "10m"}, "key": "{{ event.payload.host }}"});
    assert_eq!(window.to_value(), expected);
}

#[test]
fn test_faults_of_windows_have_their_place() {
    check_rule(
        "window:\n  throtle: 15m\n",
        &["rules/r.yaml:5:3: unknown key `throtle` in a window; did you mean `throttle`?"],
    );
    check_rule(
        "window:\n  throttle: 15 minutes\n",
        &[
            "rules/r.yaml:5:13: `window.throttle`: expected a span such as `15m`, `1h30m`, `2d` or a number of seconds, got `15 minutes`",
        ],
    );
    check_rule(
        "window: {throttle: 15m, dedup: 1d}\n",
        &["rules/r.yaml:4:32: a rule has one window, and this has `throttle` already"],
    );
    check_rule(
        "window:\n  throttle: 15m\n  key: \"{{ evnt.payload.host }}\"\n",
        &[
            "rules/r.yaml:6:8: there is no `evnt`; a rule sees event, rule, trigger, config; did you mean `event`?",
        ],
    );
    check_rule(
        "window:\n  sequence:\n    within: 10m\n    conditions:\n      - {field: event.payload.a, operator: exists}\n      \
         - {field: event.payload.a, operator: equls, value: 1}\n",
        &["rules/r.yaml:9:44: unknown operator `equls`; did you mean `equals`?"],
    );
    // What the parameters take from a window that cannot be read is not a fault of theirs.
    check_rule(
        "window: {throttle: never}\naction_params: {text: \"{{ window.count }}\"}\n",
        &[
            "rules/r.yaml:4:20: `window.throttle`: expected a span such as `15m`, `1h30m`, `2d` or a number of seconds, got `never`",
        ],
    );
}

#[test]
fn test_a_rule_says_how_its_executions_are_tried_again() {
    let text = "ref: ops.r\ntrigger: web.hook\naction: core.noop\nretry: {count: 0}\n";
    let rule = &accepted(&[("rules/r.yaml", text)]).rules[0];
    assert_eq!(rule.retry.as_ref().map(|retry| retry.count), Some(0));
    check_rule(
        "retry: {count: 0, delay: 5s}\n",
        &["rules/r.yaml:4:19: `delay` has no effect with `count: 0`"],
    );
}
