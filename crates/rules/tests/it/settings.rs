//! The settings of a pack in a rule: where they may stand, what is judged and rendered with them, and which it uses.

use attune_expr::scope::Scope;
use attune_expr::template::TemplateErrorKind;
use attune_rules::settings::used;
use attune_rules::{CompiledRule, RuleIndex, Settings, SettingsOf, Verdict, check_settings};
use chrono::DateTime;
use serde_json::{Map, Value, json};
use std::sync::Arc;

use super::{problems, rule};

fn members(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn with(rule_members: Value, settings: Value) -> CompiledRule {
    CompiledRule::compile_with(&rule(rule_members), &Settings::of(members(settings))).unwrap()
}

fn verdict(rule: &CompiledRule, event: &Value) -> Verdict {
    rule.verdict(&Scope::new().with("event", event), DateTime::UNIX_EPOCH)
}

#[test]
fn test_values_and_expressions_are_judged_with_them() {
    let members = json!({"conditions": [
        {"field": "event.n", "operator": "greater_than", "value": "{{ config.limit }}"},
        {"not": {"field": "event.host", "operator": "in", "value": ["{{ config.quiet }}", "x"]}},
        "{{ event.n < config.limit * 10 }}",
    ]});
    let event = |n: i64, host: &str| json!({"n": n, "host": host});
    for (limit, n, host, expected) in [
        (3, 4, "db", Verdict::True),
        (5, 4, "db", Verdict::False),
        (3, 4, "web", Verdict::False),
        (3, 40, "db", Verdict::False),
    ] {
        let rule = with(members.clone(), json!({"limit": limit, "quiet": "web"}));
        assert_eq!(verdict(&rule, &event(n, host)), expected, "{limit} {n} {host}");
    }
    // The same condition with other settings is another condition.
    let lower = with(members, json!({"limit": 1, "quiet": "web"}));
    assert_eq!(verdict(&lower, &event(2, "db")), Verdict::True);
}

#[test]
fn test_a_value_that_a_setting_decides_is_indexed() {
    let condition =
        json!({"conditions": [{"field": "event.kind", "operator": "equals", "value": "{{ config.kind }}"}]});
    let mut index = RuleIndex::default();
    index.insert(Arc::new(with(condition, json!({"kind": "push"}))));
    let candidates = |event: Value| index.candidates(&Scope::new().with("event", &event), &json!({})).len();
    assert_eq!((candidates(json!({"kind": "push"})), candidates(json!({"kind": "pull"}))), (1, 0));
}

#[test]
fn test_a_setting_that_is_no_good_is_told_when_it_is_asked_for() {
    let condition = json!({"conditions": [{"field": "event.name", "operator": "regex", "value": "{{ config.pattern }}"}]});
    let event = json!({"name": "db"});
    let told = |settings: Value| {
        let rule = with(condition.clone(), settings);
        let evaluation = rule.evaluate(&Scope::new().with("event", &event), DateTime::UNIX_EPOCH);
        (evaluation.verdict, evaluation.tests[0].reason.clone())
    };
    assert_eq!(told(json!({"pattern": "^d"})).0, Verdict::True);
    let (verdict, reason) = told(json!({"pattern": "("}));
    assert!(verdict == Verdict::Error && reason.contains("the rendered value does not fit"), "{reason}");
    let (verdict, reason) = told(json!({}));
    assert!(verdict == Verdict::Missing && reason.contains("config"), "{reason}");
}

#[test]
fn test_parameters_are_rendered_with_them() {
    let params = json!({"action_params": {
        "url": "{{ config.url }}/{{ event.id }}",
        "retries": "{{ config.retries }}",
        "other": "{{ config.none | default('-') }}",
    }});
    let event = json!({"id": 7});
    let scope = Scope::new().with("event", &event);
    let rule = with(params.clone(), json!({"url": "https://a", "retries": 3}));
    let expected = json!({"url": "https://a/7", "retries": 3, "other": "-"});
    assert_eq!(rule.render_parameters(&scope).unwrap(), expected);
    assert!(rule.parameter_fields().iter().all(|field| field.root() == "event"));
    let error = with(params, json!({"url": "https://a"})).render_parameters(&scope).unwrap_err();
    assert_eq!(
        (error.kind, error.pointer.as_str()),
        (TemplateErrorKind::Undefined, "/action_params/retries")
    );
}

#[test]
fn test_windows_see_them_in_conditions_and_not_as_their_key() {
    let members = json!({"window": {"absent": {
        "after": {"field": "event.kind", "operator": "equals", "value": "{{ config.begin }}"},
        "expected": {"field": "event.kind", "operator": "equals", "value": "end"},
        "within": "1h",
    }}});
    let rule = with(members, json!({"begin": "start"}));
    assert_eq!(verdict(&rule, &json!({"kind": "start"})), Verdict::True);
    assert_eq!(verdict(&rule, &json!({"kind": "begin"})), Verdict::False);
    let found = problems(json!({"window": {"debounce": "9s", "key": "{{ config.url }}"}}));
    assert_eq!(found[0].pointer, "/window/key");
    assert!(found[0].message.contains("does not depend on the event"), "{}", found[0].message);
}

#[test]
fn test_a_setting_is_no_field_of_an_event() {
    let found = problems(json!({"conditions": [{"field": "config.url", "operator": "exists"}]}));
    assert_eq!(found[0].pointer, "/conditions/0/field");
    assert!(found[0].message.starts_with("`config` is no field of an event"), "{}", found[0].message);
}

#[test]
fn test_which_settings_a_rule_uses() {
    let values = members(json!({"a": 1, "b": 2, "c": 3}));
    let check = |parts: &[&Value], expect: Option<Value>| {
        assert_eq!(used(parts, &values).map(Value::Object), expect, "{parts:?}");
    };
    let conditions = json!([{"field": "event.n", "operator": "equals", "value": "{{ config.a }}"}]);
    check(&[&json!([]), &Value::Null, &json!({"x": "{{ event.config.a }}"})], None);
    check(&[&conditions, &Value::Null, &json!({})], Some(json!({"a": 1})));
    check(
        &[&conditions, &Value::Null, &json!({"x": "{{ config.b }}{{ config.none }}"})],
        Some(json!({"a": 1, "b": 2})),
    );
    check(&[&json!({"x": "{{ config.none }}"})], Some(json!({})));
    check(&[&json!({"x": "{{ config[event.name] }}"})], Some(json!({"a": 1, "b": 2, "c": 3})));
}

#[test]
fn test_what_a_rule_cannot_read_is_told() {
    let schema = json!({"type": "object", "additionalProperties": false, "properties": {
        "url": {"type": "string"},
        "proxy": {"type": "object", "properties": {"host": {"type": "string"}}, "additionalProperties": false},
        "api_Token": {"type": "string", "secret": true},
    }});
    let told = |params: Value, pack: SettingsOf<'_>| -> Vec<String> {
        let rule = rule(json!({"action_params": params, "conditions": ["{{ config.ulr == 1 }}"]}));
        let problems = check_settings(&rule, pack);
        let meant = problems[0].suggestion.as_deref();
        assert_eq!(meant, matches!(pack, SettingsOf::Pack { .. }).then_some("config.url"));
        problems.iter().map(ToString::to_string).collect()
    };
    let pack = SettingsOf::Pack { pack_ref: "ops", schema: &schema };
    let params = json!({
        "good": "{{ config.url }}{{ config.proxy.host }}{{ config[event.payload.x] }}",
        "secret": "{{ config.api_Token }}",
        "deep": "{{ config.proxy.hots }}",
        "unknown": "{{ config.completely_other }}",
    });
    let found = told(params, pack);
    let has = |part: &str| assert!(found.iter().any(|told| told.contains(part)), "{part}: {found:#?}");
    assert_eq!(found.len(), 4, "{found:#?}");
    has("/conditions/0: the pack `ops` has no setting `ulr` in its config_schema");
    has("/action_params/secret: `api_Token` is a secret setting, which no rule reads");
    has("`{{ key('ops.config.api_token') }}`");
    has("/action_params/deep: by the config_schema of `ops`, `config.proxy` has no `hots`");
    has(
        "/action_params/unknown: the pack `ops` has no setting `completely_other` in its config_schema; it has `proxy`, `url`",
    );
    let found = told(json!({}), SettingsOf::NoPack);
    assert!(found[0].contains("the rule belongs to no pack"), "{found:?}");
}
