//! Reading rules and conditions from JSON, and writing them back.

use attune_rules::{Condition, ConditionMode, RuleDefinition};
use serde_json::{Value, json};

#[test]
fn test_definition_reads_and_writes_every_form() {
    let text = json!({
        "rule_ref": "ops.page_disk",
        "trigger_ref": "core.webhook",
        "trigger_params": {"path": "alertmanager"},
        "condition": "any",
        "conditions": [
            {"field": "event.payload.severity", "operator": "equals", "value": "critical"},
            {"field": "event.payload.note", "operator": "exists"},
            {"field": "event.payload.parent", "operator": "equals", "value": null},
            {"any": [{"all": [{"not": {"field": "event.id", "operator": "gt", "value": 1}}]}]},
            "{{ event.payload.n > 3 }}",
        ],
        "action_ref": "ops.page",
        "action_params": {"text": "{{ event.payload.summary }}"},
    });
    let rule: RuleDefinition = serde_json::from_value(text.clone()).unwrap();
    assert_eq!(rule.condition, ConditionMode::Any);
    assert!(matches!(&rule.conditions[1], Condition::Test { value: None, .. }));
    assert!(matches!(&rule.conditions[2], Condition::Test { value: Some(Value::Null), .. }));
    assert_eq!(serde_json::to_value(&rule).unwrap(), text);
}

#[test]
fn test_definition_refuses_unknown_members() {
    let rule = json!({"rule_ref": "a.b", "trigger_ref": "a.c", "action_ref": "a.d", "criteria": {}});
    let error = serde_json::from_value::<RuleDefinition>(rule).unwrap_err().to_string();
    assert!(error.contains("unknown field `criteria`"), "{error}");
}

#[test]
fn test_parse_list_reports_every_fault_with_pointer_and_suggestion() {
    let list = json!([
        {"feild": "event.a", "operator": "equals", "value": 1},
        {"any": [{"field": "event.a", "operator": "exists"}, {"field": 1, "operator": "exists"}], "all": []},
        {"not": [{"field": "event.a", "operator": "exists"}]},
        7,
        {"all": {"field": "event.a"}},
        {"field": "event.a"},
        {},
    ]);
    let found = Condition::parse_list(&list).unwrap_err();
    let shown: Vec<_> = found
        .iter()
        .map(|problem| (problem.pointer.as_str(), problem.message.as_str(), problem.suggestion.as_deref()))
        .collect();
    let expected_condition =
        "write {field, operator, value}, {all: [..]}, {any: [..]}, {not: {..}} or a text with one expression";
    let expected_field = "the condition has no `field`; expected a path such as `event.payload.severity`";
    let expected_operator =
        "the condition has no `operator`; expected the name of an operator such as `equals`";
    assert_eq!(
        shown,
        [
            ("/0/feild", "unknown key `feild` in a condition", Some("field")),
            ("/0", expected_field, None),
            ("/1/any", "`all` stands alone in its condition; move `any` into a condition of its own", None),
            ("/2/not", format!("expected a condition, got array; {expected_condition}").as_str(), None),
            ("/3", format!("expected a condition, got integer; {expected_condition}").as_str(), None),
            ("/4/all", "expected an array of conditions, got object", None),
            ("/5", expected_operator, None),
            ("/6", expected_field, None),
            ("/6", expected_operator, None),
        ]
    );
    assert_eq!(found[0].clone().under("/conditions").pointer, "/conditions/0/feild");
    let none = Condition::parse_list(&json!({})).unwrap_err();
    assert_eq!(none[0].to_string(), ": expected an array of conditions, got object");
}

#[test]
fn test_deserialize_names_the_fault() {
    let error =
        serde_json::from_value::<Condition>(json!({"any": [{"field": "a", "operator": 1}]})).unwrap_err();
    assert_eq!(
        error.to_string(),
        "invalid condition: /any/0/operator: expected the name of an operator such as `equals`, got integer"
    );
}
