//! How windows are read and written, and what is refused.

use attune_rules::Window;
use attune_rules::window::WindowKind;
use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{compiled, problems, rule};

fn test(value: i64) -> Value {
    json!({"field": "event.payload.n", "operator": "equals", "value": value})
}

fn read(window: &Value) -> Vec<(String, String, Option<String>)> {
    let problems = Window::parse(window).unwrap_err();
    problems.into_iter().map(|problem| (problem.pointer, problem.message, problem.suggestion)).collect()
}

#[track_caller]
fn check(window: Value, pointer: &str, words: &str, suggestion: Option<&str>) {
    let found = read(&window);
    assert_eq!(found.len(), 1, "{window}: {found:?}");
    assert_eq!(found[0].0, pointer, "{found:?}");
    assert!(found[0].1.contains(words), "{found:?}");
    assert_eq!(found[0].2.as_deref(), suggestion, "{found:?}");
}

#[track_caller]
fn check_rule(members: Value, pointer: &str, words: &str, suggestion: Option<&str>) {
    let found = problems(members);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].pointer, pointer, "{}", found[0]);
    assert!(found[0].message.contains(words), "{}", found[0]);
    assert_eq!(found[0].suggestion.as_deref(), suggestion, "{}", found[0]);
}

#[test]
fn test_every_form_is_read_and_written_as_it_was() {
    for window in [
        json!({"throttle": "15m", "key": "{{ event.payload.host }}"}),
        json!({"debounce": 90}),
        json!({"dedup": "1d"}),
        json!({"count": {"at_least": 5, "within": "10m"}}),
        json!({"all_of": {"conditions": [test(1), test(2)], "within": "1h30m"}}),
        json!({"sequence": {"conditions": [test(1), "{{ event.payload.n == 2 }}"], "within": "10m"}}),
        json!({"absent": {"after": test(1), "expected": {"not": test(1)}, "within": "10m"}}),
    ] {
        let read = rule(json!({"window": window}));
        assert_eq!(serde_json::to_value(&read).unwrap()["window"], window);
        compiled(json!({"window": window}));
    }
    let WindowKind::Debounce(span) = Window::parse(&json!({"debounce": 90})).unwrap().kind else {
        unreachable!("a debounce")
    };
    assert_eq!((span.length(), span.to_string()), (TimeDelta::seconds(90), "90s".to_owned()));
    assert_eq!(serde_json::to_value(rule(json!({}))).unwrap().get("window"), None);
}

#[test]
fn test_a_rule_has_one_window_of_a_known_kind() {
    check(json!("15m"), "", "expected a window such as `{throttle: 15m}`, got string", None);
    check(
        json!({"throttle": "15m", "count": {"at_least": 2, "within": 9}}),
        "/count",
        "`throttle` already",
        None,
    );
    check(json!({"key": "{{ event.id }}"}), "", "no kind; expected one of `throttle`, `debounce`", None);
    check(json!({"throtle": "15m"}), "/throtle", "unknown key `throtle` in a window", Some("throttle"));
    check(json!({"throttle": "15m", "keys": "{{ event.id }}"}), "/keys", "unknown key `keys`", Some("key"));
    check(json!({"throttle": "15m", "within": "1h"}), "/within", "`within` belongs into `count`", None);
    check(
        json!({"sequence": {"conditions": [test(1), test(2)], "within": 9}, "conditions": []}),
        "/conditions",
        "`conditions` belongs into `sequence`",
        None,
    );
    check(json!({"throttle": "15m", "expected": test(1)}), "/expected", "belongs into `absent`", None);
}

#[test]
fn test_spans_and_numbers_are_checked() {
    check(json!({"throttle": "15 minutes"}), "/throttle", "expected a span such as `15m`", None);
    check(json!({"debounce": [1]}), "/debounce", "or a number of seconds, got array", None);
    check(json!({"dedup": 0.5}), "/dedup", "from one second to a year, got 0.5", None);
    check(json!({"dedup": "-5"}), "/dedup", "from one second to a year, got -5", None);
    check(json!({"throttle": "53w"}), "/throttle", "from one second to a year, got 53w", None);
    check(json!({"count": 5}), "/count", "expected `{at_least: 5, within: 10m}`, got integer", None);
    check(json!({"count": {"at_least": 5}}), "/count", "the key `within` is missing", None);
    check(json!({"count": {"at_last": 5, "within": 9}}), "/count/at_last", "unknown key", Some("at_least"));
    check(json!({"count": {"at_least": 1, "within": 9}}), "/count/at_least", "has no effect", None);
    check(
        json!({"count": {"at_least": 1001, "within": 9}}),
        "/count/at_least",
        "from 2 to 1000, got 1001",
        None,
    );
    check(json!({"count": {"at_least": "5", "within": 9}}), "/count/at_least", "got string", None);
    check(json!({"count": {"at_least": 2, "within": "x"}}), "/count/within", "got `x`", None);
}

#[test]
fn test_inner_conditions_are_checked_with_their_place() {
    let one = json!({"all_of": {"conditions": [test(1)], "within": 9}});
    check(one, "/all_of/conditions", "expected 2 to 16 conditions, got 1", None);
    let many: Vec<_> = (0..17).map(test).collect();
    check(json!({"sequence": {"conditions": many, "within": 9}}), "/sequence/conditions", "got 17", None);
    check(
        json!({"all_of": {"conditions": [test(1), {"feild": "event.a", "operator": "exists", "field": "event.a"}], "within": 9}}),
        "/all_of/conditions/1/feild",
        "unknown key `feild`",
        Some("field"),
    );
    check(
        json!({"absent": {"after": test(1), "within": 9}}),
        "/absent",
        "the key `expected` is missing",
        None,
    );
    check(
        json!({"absent": {"after": 7, "expected": test(1), "within": 9}}),
        "/absent/after",
        "expected a condition, got integer",
        None,
    );
    check_rule(
        json!({"window": {"absent": {"after": test(1), "expected": {"any": [{"field": "evnt.a", "operator": "exists"}]}, "within": 9}}}),
        "/window/absent/expected/any/0/field",
        "there is no `evnt`",
        Some("event"),
    );
    check_rule(
        json!({"window": {"sequence": {"conditions": [test(1), {"field": "event.a", "operator": "equal", "value": 1}], "within": 9}}}),
        "/window/sequence/conditions/1/operator",
        "unknown operator",
        Some("equals"),
    );
}

#[test]
fn test_keys_are_templates_that_depend_on_the_event() {
    check(json!({"throttle": 9, "key": 7}), "/key", "expected a template such as", None);
    let with_key = |key: &str| json!({"window": {"throttle": 9, "key": key}});
    check_rule(with_key("host"), "/window/key", "it has no effect", None);
    check_rule(with_key("{{ rule.ref }}"), "/window/key", "it has no effect", None);
    check_rule(with_key("{{ event.payload."), "/window/key", "template `{{ event.payload.`", None);
    check_rule(with_key("{{ evnt.id }}"), "/window/key", "there is no `evnt`", Some("event"));
    compiled(with_key("{{ event.payload.host }}/{{ rule.ref }}"));
    compiled(with_key("{{ trigger.config.path }}"));
}

#[test]
fn test_every_fault_of_a_window_is_reported_at_once() {
    let found = read(&json!({"count": {"at_least": 0, "within": "?"}, "dedup": 1, "x": 1, "key": 1}));
    let pointers: Vec<_> = found.iter().map(|(pointer, ..)| pointer.as_str()).collect();
    assert_eq!(pointers, ["/count", "/x", "/key", "/count/at_least", "/count/within"]);
}

#[test]
fn test_parameters_see_the_window_where_there_is_one() {
    let params = json!({"text": "{{ window.count }} events"});
    compiled(json!({"window": {"debounce": 9}, "action_params": params}));
    check_rule(json!({"action_params": params}), "/action_params/text", "a rule with a window", None);
    check_rule(
        json!({"window": {"debounce": 9, "key": "{{ window.count }}"}}),
        "/window/key",
        "there is no `window` here",
        None,
    );
    check_rule(
        json!({"window": {"debounce": 9}, "action_params": {"a": "{{ windw.count }}"}}),
        "/action_params/a",
        "a rule sees event, rule, trigger, config, window",
        Some("window"),
    );
}
