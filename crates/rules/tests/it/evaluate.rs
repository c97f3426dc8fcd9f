//! Verdicts, explanations, parameters and the choice of events.

use attune_expr::scope::Scope;
use attune_expr::template::TemplateErrorKind;
use attune_rules::{Evaluation, Verdict};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::compiled;

fn now() -> DateTime<Utc> {
    DateTime::parse_from_rfc3339("2024-05-06T12:00:00Z").unwrap().to_utc()
}

fn event() -> Value {
    json!({
        "payload": {
            "severity": "critical",
            "n": 5,
            "limit": 3,
            "pattern": "^cri",
            "nothing": null,
            "at": "2024-05-06T11:59:00Z",
            "tags": [],
            "alerts": [
                {"status": "firing", "labels": {"host": "web-01"}, "value": 1},
                {"status": "resolved", "labels": {"host": "db-01"}, "value": "high"},
                {"status": "firing"}
            ]
        },
        "config": {"path": "alertmanager", "retries": 3}
    })
}

fn evaluate(members: Value) -> Evaluation {
    let event = event();
    let rule = compiled(members);
    let scope = Scope::new().with("event", &event);
    let evaluation = rule.evaluate(&scope, now());
    assert_eq!(rule.verdict(&scope, now()), evaluation.verdict);
    evaluation
}

/// The outcome of one condition and the reason given for it.
#[track_caller]
fn check(condition: Value, verdict: Verdict, reason: &str) {
    let evaluation = evaluate(json!({"conditions": [condition]}));
    assert_eq!(evaluation.verdict, verdict, "{:?}", evaluation.tests);
    assert_eq!(evaluation.tests[0].reason, reason);
}

fn test(field: &str, operator: &str, value: Value) -> Value {
    json!({"field": format!("event.payload.{field}"), "operator": operator, "value": value})
}

fn bare(field: &str, operator: &str) -> Value {
    json!({"field": format!("event.payload.{field}"), "operator": operator})
}

#[test]
fn test_outcomes_keep_false_missing_and_error_apart() {
    check(test("severity", "equals", json!("critical")), Verdict::True, "holds");
    check(test("severity", "equals", json!("low")), Verdict::False, "does not hold");
    check(
        test("severty", "equals", json!("critical")),
        Verdict::Missing,
        "`event.payload` has no `severty`; did you mean `severity`?",
    );
    check(
        test("severity", "greater_than", json!(1)),
        Verdict::Error,
        "`greater_than` cannot order string and integer; nothing is converted",
    );
    check(test("at", "younger_than", json!("2m")), Verdict::True, "holds");
}

#[test]
fn test_missing_fields_answer_questions_about_existence_and_null() {
    check(bare("nope", "exists"), Verdict::False, "`event.payload` has no `nope`");
    check(bare("nope", "not_exists"), Verdict::True, "holds, as the field does not exist");
    check(test("nope", "equals", json!(null)), Verdict::True, "holds, as the field does not exist");
    check(test("nope", "not_equals", json!(null)), Verdict::False, "`event.payload` has no `nope`");
    check(test("nope", "not_equals", json!(1)), Verdict::Missing, "`event.payload` has no `nope`");
    check(bare("nope", "is_empty"), Verdict::Missing, "`event.payload` has no `nope`");
    check(bare("nothing", "exists"), Verdict::False, "does not hold");
    check(test("nothing", "equals", json!(null)), Verdict::True, "holds");
    check(bare("nothing", "is_empty"), Verdict::True, "holds");
}

#[test]
fn test_any_element_asks_whether_one_value_passes() {
    check(test("alerts[*].status", "equals", json!("resolved")), Verdict::True, "holds among 3 values");
    check(test("alerts[*].status", "equals", json!("silent")), Verdict::False, "holds for none of 3 values");
    check(test("alerts[*].labels.host", "wildcard", json!("db-*")), Verdict::True, "holds among 2 values");
    check(test("alerts[*].value", "greater_than", json!(0)), Verdict::True, "holds among 2 values");
    check(
        test("alerts[*].value", "greater_than", json!(1)),
        Verdict::Error,
        "`greater_than` cannot order string and integer; nothing is converted",
    );
    check(test("tags[*]", "equals", json!("x")), Verdict::False, "holds for none of 0 values");
    check(bare("tags[*]", "exists"), Verdict::False, "holds for none of 0 values");
    check(bare("tags[*]", "not_exists"), Verdict::True, "holds among 0 values");
    check(bare("alerts[*].labels", "not_exists"), Verdict::False, "holds for none of 2 values");
    check(
        test("alerts[*].owner", "equals", json!("x")),
        Verdict::Missing,
        "`event.payload.alerts[*]` has no `owner`",
    );
}

#[test]
fn test_expected_values_may_be_templates() {
    check(test("n", "greater_than", json!("{{ event.payload.limit }}")), Verdict::True, "holds");
    check(test("severity", "regex", json!("{{ event.payload.pattern }}")), Verdict::True, "holds");
    check(test("severity", "in", json!(["x", "{{ event.payload.severity }}"])), Verdict::True, "holds");
    check(
        test("n", "greater_than", json!("{{ event.payload.nope }}")),
        Verdict::Missing,
        "the expected value: template `{{ event.payload.nope }}`: `event.payload.nope` is undefined",
    );
    check(
        test("n", "greater_than", json!("{{ event.payload.nothing }}")),
        Verdict::Error,
        "the rendered value does not fit: `greater_than` with null is never true; use `not_exists` or `equals` to ask for null",
    );
    check(
        test("n", "between", json!("{{ event.payload.severity }}")),
        Verdict::Error,
        "the rendered value does not fit: `between` expects an array of two bounds, the lower first; got the text `critical`",
    );
}

#[test]
fn test_expressions_must_give_true_or_false() {
    check(json!("{{ event.payload.n > event.payload.limit }}"), Verdict::True, "holds");
    check(json!("{{ 'x' in event.payload.tags }}"), Verdict::False, "does not hold");
    check(
        json!("{{ event.payload.severity }}"),
        Verdict::Error,
        "the expression gave string, expected true or false",
    );
    check(json!("{{ event.payload.nope > 1 }}"), Verdict::Missing, "`event.payload.nope` is undefined");
}

#[test]
fn test_modes_and_groups_combine_outcomes() {
    let (yes, no) = (test("n", "equals", json!(5)), test("n", "equals", json!(6)));
    let (missing, error) = (test("nope", "equals", json!(1)), test("n", "regex", json!("5")));
    let verdict = |mode: &str, conditions: &[&Value]| {
        evaluate(json!({"condition": mode, "conditions": conditions})).verdict
    };
    assert_eq!(verdict("all", &[&yes, &yes]), Verdict::True);
    assert_eq!(verdict("all", &[&error, &missing, &no]), Verdict::False);
    assert_eq!(verdict("all", &[&yes, &missing, &error]), Verdict::Error);
    assert_eq!(verdict("any", &[&error, &missing, &yes]), Verdict::True);
    assert_eq!(verdict("any", &[&no, &missing]), Verdict::Missing);
    assert_eq!(verdict("any", &[]), Verdict::True);
    assert_eq!(verdict("all", &[]), Verdict::True);
    assert_eq!(verdict("all", &[&json!({"not": missing}), &json!({"not": no})]), Verdict::Missing);
    assert_eq!(verdict("all", &[&json!({"any": [no, {"all": [yes, {"not": no}]}]})]), Verdict::True);
}

#[test]
fn test_explanations_name_every_condition_in_order() {
    let evaluation = evaluate(json!({"conditions": [
        {"any": [test("n", "eq", json!(6)), {"not": test("alerts[*].status", "startswith", json!("res"))}]},
        bare("nope", "exists"),
        test("n", "less_than", json!("{{ event.payload.limit * 2 }}")),
        "{{ event.payload.n == 5 }}",
    ]}));
    assert_eq!(evaluation.verdict, Verdict::False);
    assert_eq!(
        serde_json::to_value(&evaluation.tests).unwrap(),
        json!([
            {"pointer": "/conditions/0/any/0", "field": "event.payload.n", "operator": "equals", "expected": 6,
             "actual": 5, "verdict": "false", "reason": "does not hold"},
            {"pointer": "/conditions/0/any/1/not", "field": "event.payload.alerts[*].status", "operator": "starts_with",
             "expected": "res", "actual": ["firing", "resolved", "firing"], "verdict": "true",
             "reason": "holds among 3 values"},
            {"pointer": "/conditions/1", "field": "event.payload.nope", "operator": "exists", "expected": null,
             "actual": null, "verdict": "false", "reason": "`event.payload` has no `nope`"},
            {"pointer": "/conditions/2", "field": "event.payload.n", "operator": "less_than", "expected": 6, "actual": 5,
             "verdict": "true", "reason": "holds"},
            {"pointer": "/conditions/3", "field": "{{ event.payload.n == 5 }}", "operator": "expression",
             "expected": null, "actual": true, "verdict": "true", "reason": "holds"},
        ])
    );
    let text = serde_json::to_string(&evaluation).unwrap();
    assert_eq!(serde_json::from_str::<Evaluation>(&text).unwrap(), evaluation);
}

#[test]
fn test_listens_to_compares_every_trigger_parameter() {
    let listens =
        |params: Value, config: Value| compiled(json!({"trigger_params": params})).listens_to(&config);
    let config = || event()["config"].clone();
    assert!(listens(json!({"path": "alertmanager", "retries": 3.0}), config()));
    assert!(!listens(json!({"path": "alertmanager", "retries": 4}), config()));
    assert!(!listens(json!({"path": "alertmanager", "other": null}), config()));
    assert!(listens(json!({}), config()));
    assert!(listens(json!(null), json!(null)));
    assert!(!listens(json!({"path": "x"}), json!(null)));
}

#[test]
fn test_trigger_parameters_are_explained() {
    let explain = |params: Value, config: Value| {
        let rule = compiled(json!({"trigger_params": params}));
        let tests = rule.explain_trigger_params(&config);
        assert_eq!(rule.listens_to(&config), tests.iter().all(|test| test.verdict == Verdict::True));
        serde_json::to_value(tests).unwrap()
    };
    assert_eq!(
        explain(json!({"path": "x", "retries": 3.0, "odd key": 1}), event()["config"].clone()),
        json!([
            {"pointer": "/trigger_params/odd key", "field": "trigger.config['odd key']", "operator": "equals",
             "expected": 1, "actual": null, "verdict": "missing", "reason": "the event's config has no `odd key`"},
            {"pointer": "/trigger_params/path", "field": "trigger.config.path", "operator": "equals", "expected": "x",
             "actual": "alertmanager", "verdict": "false", "reason": "`path` differs"},
            {"pointer": "/trigger_params/retries", "field": "trigger.config.retries", "operator": "equals",
             "expected": 3.0, "actual": 3, "verdict": "true", "reason": "holds"},
        ])
    );
    assert_eq!(explain(json!({}), json!(null)), json!([]));
}

#[test]
fn test_parameters_keep_types_and_name_their_faults() {
    let event = event();
    let scope = Scope::new().with("event", &event);
    let render = |params: Value| compiled(json!({"action_params": params})).render_parameters(&scope);
    assert_eq!(render(json!(null)), Ok(json!({})));
    assert_eq!(
        render(json!({"n": "{{ event.payload.n }}", "text": "n={{ event.payload.n }}", "fixed": [1]})),
        Ok(json!({"n": 5, "text": "n=5", "fixed": [1]}))
    );
    let error = render(json!({"to": ["{{ event.payload.nope }}"]})).unwrap_err();
    assert_eq!((error.kind, error.pointer.as_str()), (TemplateErrorKind::Undefined, "/action_params/to/0"));
}
