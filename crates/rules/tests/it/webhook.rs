//! Rules on the shared webhook.

use std::sync::Arc;

use attune_expr::scope::Scope;
use attune_rules::webhook::{Listener, Scheme, TRIGGER};
use attune_rules::{CompiledRule, RuleDefinition, RuleIndex, TriggerSchemas, Verdict};
use serde_json::{Value, json};

fn faults(params: &Value) -> Vec<String> {
    let problems = Listener::read(params).err().unwrap_or_default();
    problems.iter().map(ToString::to_string).collect()
}

fn check(params: &Value, expected: &[&str]) {
    let found = faults(params);
    assert_eq!(found.len(), expected.len(), "{params}: {found:?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.contains(expected), "{params}: {found} has no {expected}");
    }
}

#[test]
fn test_a_rule_says_where_it_listens() {
    for path in ["alertmanager", "team/deploys", "a.b-c_d~e/F0"] {
        let listener = Listener::read(&json!({"path": path})).unwrap();
        assert_eq!((listener.path.as_str(), listener.config()), (path, json!({"path": path})));
    }
    let missing = "/trigger_params/path: a rule on core.webhook has to say where it listens";
    check(&json!({}), &[missing]);
    check(&Value::Null, &[missing]);
    check(&json!({"path": 5}), &["/trigger_params/path: expected a text, got integer"]);
    for path in ["", "/a", "a/", "a//b", "a/../b", "a b", "a:b", "\u{e9}", &"x".repeat(101)] {
        check(&json!({"path": path}), &["/trigger_params/path: the path has to consist of"]);
    }
}

#[test]
fn test_a_signature_has_one_spelling_in_the_events() {
    let listener = Listener::read(&json!({"path": "a", "secret": "ops.s"})).unwrap();
    let signature = listener.signature.clone().unwrap();
    assert_eq!((signature.scheme, signature.header.as_str()), (Scheme::HmacSha256, "x-signature"));
    let spelt_out = json!({"path": "a", "secret": "ops.s", "scheme": "hmac_sha256", "header": "x-signature"});
    assert_eq!(listener.config(), spelt_out);
    assert_eq!(Listener::read(&spelt_out).unwrap(), listener);
    let github = Listener::read(&json!({"path": "a", "secret": "ops.s", "scheme": "github"})).unwrap();
    assert_eq!(github.config()["header"], "x-hub-signature-256");
}

#[test]
fn test_what_has_no_effect_is_an_error() {
    check(
        &json!({"path": "a", "scheme": "github", "header": "x"}),
        &["`scheme` has no effect without `secret`", "`header` has no effect without `secret`"],
    );
    check(
        &json!({"path": "a", "secret": "ops.s", "scheme": "github", "header": "x"}),
        &["has no effect with"],
    );
    check(&json!({"path": "a", "secret": "ops.s", "scheme": "md5"}), &["expected `github` or `hmac_sha256`"]);
    check(&json!({"path": "a", "secret": "ops.s", "header": "X-Sign"}), &["in lower case"]);
    check(&json!({"secret": "It's a Secret"}), &["has to say where it listens", "and not the secret itself"]);
}

fn rule(name: &str, trigger: &str, params: &Value) -> RuleDefinition {
    serde_json::from_value(json!({
        "rule_ref": name, "trigger_ref": trigger, "trigger_params": params, "action_ref": "core.noop",
    }))
    .unwrap()
}

#[test]
fn test_only_rules_on_the_shared_webhook_are_asked_for_a_path() {
    let problems =
        |trigger: &str| attune_rules::check(&rule("ops.r", trigger, &json!({})), TriggerSchemas::default());
    assert_eq!(problems(TRIGGER)[0].pointer, "/trigger_params/path");
    assert_eq!(problems("ops.alert"), []);
}

#[test]
fn test_of_many_rules_only_those_of_the_path_are_looked_at() {
    let mut index = RuleIndex::default();
    for number in 0..2_000 {
        let mut definition =
            rule(&format!("ops.r{number}"), TRIGGER, &json!({"path": format!("p{}", number % 1_000)}));
        let condition =
            json!([{"field": "event.payload.severity", "operator": "equals", "value": "critical"}]);
        definition.conditions = serde_json::from_value(condition).unwrap();
        index.insert(Arc::new(CompiledRule::compile(&definition).unwrap()));
    }
    let event = json!({"payload": {"severity": "critical"}});
    let scope = Scope::new().with("event", &event);
    let config = Listener::read(&json!({"path": "p17"})).unwrap().config();
    let found: Vec<&str> =
        index.candidates(&scope, &config).into_iter().map(|rule| rule.rule_ref()).collect();
    assert_eq!(found, ["ops.r1017", "ops.r17"]);
}

#[test]
fn test_another_path_is_told_as_such() {
    let rule = CompiledRule::compile(&rule("ops.r", TRIGGER, &json!({"path": "alertmanager"}))).unwrap();
    let told = rule.explain_trigger_params(&json!({"path": "grafana"}));
    assert_eq!((told[0].verdict, told[0].reason.as_str()), (Verdict::False, "`path` differs"));
}
