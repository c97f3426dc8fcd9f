//! Each way to enter a rule: what is proposed, and what is not although a naive evaluation would look at it.

use std::sync::Arc;

use attune_expr::scope::Scope;
use attune_rules::RuleIndex;
use chrono::DateTime;
use serde_json::{Value, json};

use super::compiled;

fn index(rules: &[Value]) -> RuleIndex {
    let mut index = RuleIndex::default();
    for (position, members) in rules.iter().enumerate() {
        let mut members = members.clone();
        members["rule_ref"] = format!("ops.r{position}").into();
        index.insert(Arc::new(compiled(members)));
    }
    index
}

/// The positions of the rules that are proposed for an event.
fn proposed(index: &RuleIndex, event: Value) -> Vec<usize> {
    proposed_with(index, event, json!({}))
}

fn proposed_with(index: &RuleIndex, event: Value, config: Value) -> Vec<usize> {
    let scope = Scope::new().with("event", &event);
    let rules = index.candidates(&scope, &config);
    rules.iter().map(|rule| rule.rule_ref().trim_start_matches("ops.r").parse().unwrap()).collect()
}

/// One rule with one condition is proposed for the first events and not for the second.
fn check(condition: Value, hits: &[Value], misses: &[Value]) {
    let index = index(&[json!({"conditions": [condition]})]);
    for event in hits {
        assert_eq!(proposed(&index, event.clone()), [0], "{event}");
    }
    for event in misses {
        assert!(proposed(&index, event.clone()).is_empty(), "{event}");
    }
}

fn test(field: &str, operator: &str, value: Value) -> Value {
    json!({"field": format!("event.{field}"), "operator": operator, "value": value})
}

#[test]
fn test_equality_is_that_of_the_operator() {
    let hits = [json!({"a": 1}), json!({"a": 1.0}), json!({"a": true})];
    check(
        test("a", "equals", json!(1)),
        &hits,
        &[json!({"a": "1"}), json!({"a": 2}), json!({}), json!({"a": [1]})],
    );
    let list = [json!({"a": [1.0, {"b": true}]})];
    check(test("a", "equals", json!([1, {"b": 1}])), &list, &[json!({"a": [1]}), json!({"a": 1})]);
    check(test("a", "iequals", json!("ÄB")), &[json!({"a": "äB"})], &[json!({"a": "a"}), json!({})]);
}

#[test]
fn test_null_is_what_is_missing_too() {
    check(test("a", "equals", json!(null)), &[json!({}), json!({"a": null})], &[json!({"a": 0})]);
    let absent = json!({"field": "event.a[*].b", "operator": "not_exists"});
    check(absent, &[json!({}), json!({"a": []}), json!({"a": [{"b": null}]})], &[json!({"a": [{"b": 1}]})]);
}

#[test]
fn test_membership_enters_by_every_member() {
    let condition = test("a", "in", json!(["x", 1, null]));
    check(
        condition,
        &[json!({"a": "x"}), json!({"a": true}), json!({"a": null})],
        &[json!({"a": "y"}), json!({})],
    );
    let not = json!({"not": test("a", "not_in", json!(["x"]))});
    check(not, &[json!({"a": "x"})], &[json!({"a": "y"}), json!({})]);
}

#[test]
fn test_text_enters_by_its_ends_and_pieces() {
    check(
        test("a", "starts_with", json!("ab")),
        &[json!({"a": "abc"})],
        &[json!({"a": "ba"}), json!({"a": "a"})],
    );
    check(test("a", "iends_with", json!("BC")), &[json!({"a": "aBc"})], &[json!({"a": "bca"})]);
    check(
        test("a", "wildcard", json!("web-*.org")),
        &[json!({"a": "web-1.org"})],
        &[json!({"a": "wob.com"})],
    );
    check(test("a", "contains", json!("needle")), &[json!({"a": "a needle"})], &[json!({"a": "a haystack"})]);
    let icontains = test("a", "icontains", json!("Needle"));
    check(icontains, &[json!({"a": "NEEDLE"}), json!({"a": ["needlE"]})], &[json!({"a": ["needles"]})]);
    let contains = test("a", "contains", json!("x"));
    check(
        contains,
        &[json!({"a": ["x"]}), json!({"a": {"x": 1}})],
        &[json!({"a": ["y"]}), json!({"a": {"y": "x"}})],
    );
}

#[test]
fn test_numbers_enter_by_their_bounds() {
    check(test("a", "gt", json!(5)), &[json!({"a": 6})], &[json!({"a": 4}), json!({})]);
    check(test("a", "lte", json!(5)), &[json!({"a": 5})], &[json!({"a": 5.5})]);
    check(test("a", "between", json!([5, 6])), &[json!({"a": 5.5})], &[json!({"a": 50}), json!({"a": -5})]);
    check(json!({"not": test("a", "lt", json!(5))}), &[json!({"a": 5})], &[json!({"a": 4})]);
}

#[test]
fn test_elements_enter_their_rules() {
    let condition = test("a[*].b", "equals", json!("x"));
    check(
        condition,
        &[json!({"a": [{}, {"b": "x"}]}), json!({"a": {"k": {"b": "x"}}})],
        &[json!({"a": [{"b": "y"}]})],
    );
    check(test("a[-1]", "equals", json!(1)), &[json!({"a": [2, 1]})], &[json!({"a": [1, 2]})]);
    check(
        test("a['1']", "equals", json!(1)),
        &[json!({"a": [0, 1]}), json!({"a": {"1": 1}})],
        &[json!({"a": [1]})],
    );
}

#[test]
fn test_nesting_enters_by_one_of_all_and_each_of_any() {
    let any = json!({"any": [test("a", "equals", json!(1)), {"all": [{"field": "event.b", "operator": "exists"}, test("c", "equals", json!(2))]}]});
    check(any, &[json!({"a": 1}), json!({"b": 0, "c": 2})], &[json!({"a": 2}), json!({"b": 1})]);
    let none = json!({"not": {"any": [{"not": test("a", "equals", json!(1))}, test("b", "gt", json!(1))]}});
    check(none, &[json!({"a": 1, "b": 0})], &[json!({"a": 2, "b": 0})]);
}

#[test]
fn test_trigger_params_enter_and_rules_without_conditions_always_do() {
    let index = index(&[json!({"trigger_params": {"path": "x"}}), json!({})]);
    assert_eq!(proposed_with(&index, json!({}), json!({"path": "x"})), [0, 1]);
    assert_eq!(proposed_with(&index, json!({}), json!({"path": "y"})), [1]);
    assert_eq!(proposed_with(&index, json!({}), json!(null)), [1]);
}

#[test]
fn test_the_rarest_condition_is_the_entry() {
    let rule = |number: usize| json!({"conditions": [test("action", "equals", json!("opened")), test("repository", "equals", json!(number))]});
    let rules: Vec<_> = (0..1000).map(rule).collect();
    let index = index(&rules);
    let candidates = proposed(&index, json!({"action": "opened", "repository": 700}));
    assert!(candidates.contains(&700) && candidates.len() <= 4, "{candidates:?}");
}

#[test]
fn test_a_failing_condition_is_proposed_when_the_entry_is_undecided_only() {
    let index = index(&[json!({"conditions": [test("a", "equals", json!(1)), test("n", "gt", json!(1))]})]);
    assert_eq!(proposed(&index, json!({"n": "text"})), [0], "all of missing and error is an error");
    assert!(proposed(&index, json!({"n": 5})).is_empty(), "nothing can fail");
    assert!(proposed(&index, json!({"a": 2, "n": "text"})).is_empty(), "the entry is false");
}

#[test]
fn test_matching_confirms_in_the_order_of_refs() {
    let index = index(&[
        json!({"conditions": [test("a", "contains", json!("abcdefgh"))]}),
        json!({}),
        json!({"conditions": [test("a", "regex", json!("^a"))]}),
        json!({"conditions": [test("a", "regex", json!("^b"))]}),
    ]);
    let event = json!({"a": "a"});
    let scope = Scope::new().with("event", &event);
    let found = index.matching(&scope, &json!({}), DateTime::UNIX_EPOCH);
    assert_eq!(found.iter().map(|rule| rule.rule_ref()).collect::<Vec<_>>(), ["ops.r1", "ops.r2"]);
}

#[test]
fn test_insert_replaces_and_remove_forgets() {
    let mut index = index(&[json!({"conditions": [test("a", "equals", json!(1))]})]);
    let copy = index.clone();
    let replacement = json!({"rule_ref": "ops.r0", "conditions": [test("a", "equals", json!(2))]});
    assert!(index.insert(Arc::new(compiled(replacement))).is_some());
    assert_eq!((proposed(&index, json!({"a": 1})).len(), proposed(&index, json!({"a": 2})).len()), (0, 1));
    assert_eq!(proposed(&copy, json!({"a": 1})), [0], "the copy stands still");
    assert!(index.remove("ops.r0").is_some() && index.is_empty() && index.get("ops.r0").is_none());
    assert!(index.remove("ops.r0").is_none() && proposed(&index, json!({"a": 2})).is_empty());
}
