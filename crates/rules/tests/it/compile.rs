//! What compiling a rule refuses, and where it says the fault is.

use serde_json::{Value, json};

use super::{compiled, problems};

#[track_caller]
fn check(members: Value, pointer: &str, words: &str, suggestion: Option<&str>) {
    let found = problems(members.clone());
    assert_eq!(found.len(), 1, "{members}: {found:?}");
    assert_eq!(found[0].pointer, pointer, "{}", found[0]);
    assert!(found[0].message.contains(words), "{}", found[0]);
    assert_eq!(found[0].suggestion.as_deref(), suggestion, "{}", found[0]);
}

#[track_caller]
fn check_condition(condition: Value, pointer: &str, words: &str, suggestion: Option<&str>) {
    check(json!({"conditions": [condition]}), &format!("/conditions/0{pointer}"), words, suggestion);
}

fn test(operator: &str, value: Value) -> Value {
    json!({"field": "event.payload.x", "operator": operator, "value": value})
}

#[test]
fn test_operators_are_checked_with_their_values() {
    check_condition(test("equal", json!(1)), "/operator", "unknown operator `equal`", Some("equals"));
    check_condition(test("between", json!([2, 1])), "/value", "lower bound first", None);
    check_condition(test("between", json!([1, {}])), "/value/1", "a number or text", None);
    check_condition(test("starts_with", json!(1)), "/value", "expects text, got integer", None);
    check_condition(
        test("regex", json!("(a")),
        "/value",
        "invalid regular expression `(a`: unclosed group",
        None,
    );
    check_condition(test("in_cidr", json!(["10.0.0.0/8", "x"])), "/value/1", "a network such as", None);
    check_condition(test("greater_than", json!(null)), "/value", "null is never true", None);
    check_condition(test("exists", json!(true)), "/value", "takes no value", None);
    check_condition(json!({"field": "event.a", "operator": "gt"}), "/value", "needs a value", None);
    let search = json!({"condition": "any", "pattern": {"item.a": {"type": "equal", "pattern": 1}}});
    check_condition(test("search", search), "/value/pattern/item.a/type", "unknown operator", Some("equals"));
}

#[test]
fn test_paths_are_checked_down_to_their_root() {
    let with_field = |field: &str| json!({"field": field, "operator": "exists"});
    check_condition(with_field("event.payload.a b"), "/field", "quote odd keys", None);
    check_condition(
        with_field("evnt.payload"),
        "/field",
        "there is no `evnt`; a rule sees event",
        Some("event"),
    );
    check_condition(with_field("payload.x"), "/field", "there is no `payload`", None);
}

#[test]
fn test_templates_are_checked_wherever_they_stand() {
    check_condition(test("equals", json!("{{ event.a")), "/value", "template `{{ event.a`", None);
    check_condition(
        test("in", json!(["a", "{{ evnt.a }}"])),
        "/value/1",
        "there is no `evnt`",
        Some("event"),
    );
    check(
        json!({"action_params": {"to": [{"text": "{{ event.a | uper }}"}]}}),
        "/action_params/to/0/text",
        "unknown filter `uper`",
        Some("upper"),
    );
    check(
        json!({"action_params": {"a": "{{ rul.ref }}"}}),
        "/action_params/a",
        "there is no `rul`",
        Some("rule"),
    );
    check(
        json!({"action_params": {"{{ x }}": 1}}),
        "/action_params/{{ x }}",
        "only values are rendered",
        None,
    );
    check(json!({"action_params": [1]}), "/action_params", "expected an object, got array", None);
    check(
        json!({"trigger_params": {"a": [{"b/c": "{{ event.x }}"}]}}),
        "/trigger_params/a/0/b~1c",
        "no effect here",
        None,
    );
    check(json!({"trigger_params": "x"}), "/trigger_params", "expected an object, got string", None);
}

#[test]
fn test_expressions_are_one_whole_expression() {
    check_condition(json!("event.payload.n > 3"), "", "one expression such as", None);
    check_condition(json!("{{ event.payload.n > }}"), "", "template", None);
    check_condition(json!("{{ evnt.payload.n > 3 }}"), "", "there is no `evnt`", Some("event"));
}

#[test]
fn test_groups_must_not_be_empty_or_bottomless() {
    check_condition(json!({"any": []}), "/any", "the list is empty", None);
    check_condition(json!({"not": {"all": []}}), "/not/all", "the list is empty", None);
    let nested = |levels: usize| {
        (0..levels).fold(json!({"field": "event.a", "operator": "exists"}), |inner, _| json!({"not": inner}))
    };
    compiled(json!({"conditions": [nested(31)]}));
    check_condition(nested(32), &"/not".repeat(32), "deeper than 32", None);
}

#[test]
fn test_every_problem_is_reported_at_once_and_in_order() {
    let found = problems(json!({
        "trigger_params": {"a": "{{ x }}"},
        "conditions": [
            {"any": [test("equals", json!(1)), {"field": "evnt", "operator": "equal", "value": 1}]},
            test("regex", json!("[")),
        ],
        "action_params": {"a": "{{ nope }}", "b": "{{ event"},
    }));
    let pointers: Vec<_> = found.iter().map(|problem| problem.pointer.as_str()).collect();
    assert_eq!(
        pointers,
        [
            "/trigger_params/a",
            "/conditions/0/any/1/field",
            "/conditions/0/any/1/operator",
            "/conditions/1/value",
            "/action_params/b",
        ]
    );
}

#[test]
fn test_compiled_rules_can_be_shared_between_threads() {
    fn shareable<T: Send + Sync + 'static>(_: &T) {}
    let rule =
        compiled(json!({"action_params": {"a": "x {{ event.a | upper }}", "b": "{{ event.b | upper }}"}}));
    shareable(&rule);
    assert_eq!(
        (rule.rule_ref(), rule.trigger_ref(), rule.action_ref()),
        ("ops.page_disk", "core.webhook", "ops.page")
    );
}
