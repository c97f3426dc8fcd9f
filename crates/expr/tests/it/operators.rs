//! Every operator: true, false and error, and what the compiler refuses.

use attune_expr::operator::{ExpectedProblem, Matcher, Operator};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

fn now() -> DateTime<Utc> {
    DateTime::parse_from_rfc3339("2024-05-06T12:00:00Z").unwrap().to_utc()
}

fn test(operator: &str, actual: &Value, expected: &Value) -> Result<bool, String> {
    let operator = Operator::parse(operator).unwrap();
    let expected = operator.takes_value().then_some(expected);
    Matcher::compile(operator, expected).unwrap().test(actual, now()).map_err(|error| error.to_string())
}

#[track_caller]
fn check(operator: &str, actual: Value, expected: Value, outcome: bool) {
    assert_eq!(test(operator, &actual, &expected), Ok(outcome), "{operator} {actual} {expected}");
}

#[track_caller]
fn check_error(operator: &str, actual: Value, expected: Value, words: &str) {
    let error = test(operator, &actual, &expected).expect_err(operator);
    assert!(error.contains(words), "{error}");
}

fn problem(operator: &str, expected: Option<Value>) -> ExpectedProblem {
    let operator = Operator::parse(operator).unwrap();
    Matcher::compile(operator, expected.as_ref()).map(|_| ()).expect_err(operator.name())
}

#[track_caller]
fn check_refused(operator: &str, expected: Value, pointer: &str, words: &str) {
    let problem = problem(operator, Some(expected));
    assert_eq!(problem.pointer, pointer, "{problem}");
    assert!(problem.message.contains(words), "{problem}");
}

#[test]
fn test_equality_compares_by_value_and_never_converts() {
    check("equals", json!(1), json!(1.0), true);
    check("equals", json!("1"), json!(1), false);
    check("equals", json!(null), json!(null), true);
    check("equals", json!({"a": [1]}), json!({"a": [1]}), true);
    check("not_equals", json!("a"), json!("b"), true);
    check("not_equals", json!(null), json!(null), false);
    check("iequals", json!("ÄB"), json!("äb"), true);
    check("iequals", json!("Ab"), json!("aB"), true);
    check("iequals", json!("ab"), json!("abc"), false);
    check_error("iequals", json!(1), json!("a"), "`iequals` needs text, got integer");
}

#[test]
fn test_containment_looks_into_text_arrays_and_objects() {
    check("contains", json!("haystack"), json!("st"), true);
    check("contains", json!([1, "a"]), json!(1.0), true);
    check("contains", json!({"key": 1}), json!("key"), true);
    check("contains", json!({"key": 1}), json!(1), false);
    check("not_contains", json!([1]), json!(2), true);
    check("icontains", json!("HayStack"), json!("YS"), true);
    check("icontains", json!(["Disk", 1]), json!("dISK"), true);
    check("not_icontains", json!("HayStack"), json!("ys"), false);
    check_error("contains", json!(null), json!("a"), "got null");
    check_error("contains", json!("text"), json!(1), "cannot look for integer in string");
    check_error("icontains", json!(5), json!("a"), "got integer");
}

#[test]
fn test_affixes_are_text_only() {
    check("starts_with", json!("web-01"), json!("web"), true);
    check("starts_with", json!("web-01"), json!("WEB"), false);
    check("ends_with", json!("web-01"), json!("01"), true);
    check("istarts_with", json!("Web-01"), json!("wEB"), true);
    check("iends_with", json!("a.LOG"), json!(".Log"), true);
    check_error("starts_with", json!(["web"]), json!("web"), "an array of 1");
    check_refused("ends_with", json!(1), "", "expects text, got integer");
}

#[test]
fn test_order_never_converts() {
    check("less_than", json!(1), json!(1.5), true);
    check("less_than", json!("10"), json!("9"), true);
    check("less_or_equal", json!(2), json!(2), true);
    check("greater_than", json!(2), json!(2), false);
    check("greater_or_equal", json!([1, 2]), json!([1]), true);
    check("between", json!(5), json!([5, 10]), true);
    check("between", json!(10), json!([5, 10.0]), true);
    check("between", json!(11), json!([5, 10]), false);
    check("between", json!("b"), json!(["a", "c"]), true);
    check_error("greater_than", json!("95"), json!(90), "cannot order string and integer");
    check_error("between", json!(null), json!([1, 2]), "cannot order null");
    check_refused("less_than", json!({}), "", "expects a number or text, got object");
    check_refused("less_than", json!(true), "", "got boolean");
    check_refused("between", json!([1]), "", "array of two bounds");
    check_refused("between", json!([1, null]), "/1", "got null");
    check_refused("between", json!([2, 1]), "", "lower bound first");
    check_refused("between", json!([1, "a"]), "", "two bounds of one kind");
}

#[test]
fn test_membership_in_arrays_and_text() {
    check("in", json!("node"), json!(["node", "disk"]), true);
    check("in", json!(1.0), json!(["1", 1]), true);
    check("in", json!("1"), json!([1]), false);
    check("in", json!(null), json!([null]), true);
    check("in", json!("b"), json!("abc"), true);
    check("not_in", json!("x"), json!(["a"]), true);
    check("nin", json!("a"), json!("abc"), false);
    check_error("in", json!(1), json!("abc"), "needs text");
    check_refused("in", json!([]), "", "empty array");
    check_refused("in", json!({"a": 1}), "", "an array or text");
}

#[test]
fn test_patterns_search_anchor_and_ignore_case() {
    check("regex", json!("fooBAR"), json!("B.R$"), true);
    check("regex", json!("a\nb"), json!("a.b"), false);
    check("iregex", json!("fooBAR"), json!("^foob"), true);
    check("matchregex", json!("xfoo"), json!("foo"), false);
    check("matchregex", json!("foo\nbar"), json!("foo.b"), true);
    check("wildcard", json!("web-01.example"), json!("web-??.*"), true);
    check("wildcard", json!("db-01"), json!("web-*"), false);
    check_error("regex", json!(5), json!("5"), "needs text");
    check_refused("regex", json!("(a"), "", "unclosed group");
    check_refused("wildcard", json!(["*"]), "", "expects text, got array");
}

#[test]
fn test_age_depends_on_the_time_that_is_given() {
    check("younger_than", json!("2024-05-06T11:50:00Z"), json!("15m"), true);
    check("younger_than", json!("2024-05-06T11:40:00Z"), json!(900), false);
    check("older_than", json!("2024-05-05T12:00:00Z"), json!("23h"), true);
    check("older_than", json!("2024-05-05T12:00:00Z"), json!("1d"), false);
    check("timediff_lt", json!("2030-01-01"), json!(1), true);
    check_error("older_than", json!("soon"), json!(1), "got the text `soon`");
    check_refused("younger_than", json!("fortnight"), "", "expects a span");
    check_refused("younger_than", json!([1]), "", "expects a span");
}

#[test]
fn test_presence_and_emptiness_take_no_value() {
    check("exists", json!(false), json!(null), true);
    check("exists", json!(null), json!(null), false);
    check("not_exists", json!(null), json!(null), true);
    for empty in [json!(null), json!(""), json!([]), json!({})] {
        check("is_empty", empty.clone(), json!(null), true);
        check("is_not_empty", empty, json!(null), false);
    }
    check("is_empty", json!(" "), json!(null), false);
    check_error("is_empty", json!(0), json!(null), "got integer");
    assert!(problem("exists", Some(json!(true))).message.contains("takes no value"));
    let exists = Matcher::compile(Operator::Exists, Some(&Value::Null)).unwrap();
    assert_eq!(exists.test(&json!(1), now()), Ok(true));
}

#[test]
fn test_networks_contain_addresses_and_networks() {
    check("in_cidr", json!("10.1.2.3"), json!("10.0.0.0/8"), true);
    check("in_cidr", json!("11.1.2.3"), json!(["10.0.0.0/8", "192.168.0.0/16"]), false);
    check("in_cidr", json!("192.168.7.7"), json!(["10.0.0.0/8", "192.168.0.0/16"]), true);
    check("in_cidr", json!("10.1.0.0/16"), json!("10.0.0.0/8"), true);
    check("in_cidr", json!("10.0.0.0/4"), json!("10.0.0.0/8"), false);
    check("in_cidr", json!("2001:db8::1"), json!("2001:db8::/32"), true);
    check("in_cidr", json!("::ffff:10.0.0.1"), json!("10.0.0.0/8"), true);
    check("in_cidr", json!("10.0.0.1"), json!("10.0.0.1"), true);
    check("in_cidr", json!("10.0.0.1"), json!("::/0"), false);
    check("not_in_cidr", json!("8.8.8.8"), json!("10.0.0.0/8"), true);
    check_error("in_cidr", json!("web-01"), json!("10.0.0.0/8"), "got the text `web-01`");
    check_refused("in_cidr", json!(["10.0.0.0/8", "10.0.0.0/33"]), "/1", "got the text `10.0.0.0/33`");
    check_refused("in_cidr", json!([]), "", "at least one network");
}

#[test]
fn test_versions_compare_semantically() {
    check("version_less_than", json!("1.9.0"), json!("1.10.0"), true);
    check("version_less_than", json!("1.0.0-rc.1"), json!("1.0.0"), true);
    check("version_less_or_equal", json!("1.0"), json!("v1.0.0"), true);
    check("version_greater_than", json!("v2"), json!("1.99"), true);
    check("version_greater_or_equal", json!("1.0.0"), json!("1.0.1"), false);
    check("version_equals", json!("1.0.0+build1"), json!("1.0.0+build2"), true);
    check("version_matches", json!("1.4.2"), json!(">=1.2, <2"), true);
    check("version_matches", json!("2.0.0"), json!("^1.2"), false);
    check_error("version_equals", json!(1.2), json!("1.2"), "needs a semantic version");
    check_error("version_equals", json!("1.2.3.4"), json!("1.2"), "`1.2.3.4`");
    check_refused("version_equals", json!("one"), "", "semantic version");
    check_refused("version_matches", json!(">=x.y"), "", "requirement");
}

#[test]
fn test_search_combines_elements_and_conditions() {
    let items = json!([{"field": "status", "to": 1}, {"field": "owner", "to": 2}]);
    let expected = |condition: &str| {
        json!({"condition": condition, "pattern": {
            "item.field": {"type": "equals", "pattern": "status"},
            "item.to#low": {"type": "gte", "pattern": 1},
            "item.to#high": {"type": "lt", "pattern": 3},
        }})
    };
    check("search", items.clone(), expected("any"), true);
    check("search", items.clone(), expected("all"), false);
    check("search", items.clone(), expected("any2any"), true);
    check("search", items, expected("all2any"), true);
    for (condition, outcome) in [("any", false), ("all", true), ("any2any", false), ("all2any", true)] {
        check("search", json!([]), expected(condition), outcome);
    }
    let on_item = json!({"condition": "any", "pattern": {"item": {"type": "equals", "pattern": 2}}});
    check("search", json!([1, 2]), on_item.clone(), true);
    check_error("search", json!("text"), on_item, "needs an array or object");
}

#[test]
fn test_search_errors_decide_only_where_nothing_else_does() {
    let expected = |condition: &str| json!({"condition": condition, "pattern": {"item.n": {"type": "gt", "pattern": 5}}});
    let mixed = json!([{"n": "text"}, {"n": 9}]);
    check("search", mixed.clone(), expected("any"), true);
    check_error("search", mixed, expected("all"), "cannot order string and integer");
    check("search", json!([{"n": "text"}, {"n": 1}]), expected("all"), false);
    check_error("search", json!([{}]), expected("any"), "cannot order null and integer");
    let absent = json!({"condition": "all", "pattern": {"item.n": {"type": "nexists", "pattern": null}}});
    check("search", json!([{}]), absent, true);
}

#[test]
fn test_search_refuses_what_it_does_not_understand() {
    let with = |key: &str, criterion: Value| json!({"condition": "any", "pattern": {key: criterion}});
    check_refused("search", json!([]), "", "expects an object");
    check_refused("search", json!({"condition": "some", "pattern": {}}), "/condition", "all2any");
    check_refused("search", json!({"condition": "any"}), "/pattern", "expected an object");
    check_refused("search", json!({"condition": "any", "pattern": {}}), "/pattern", "at least one");
    check_refused("search", with("item.", json!({"type": "eq", "pattern": 1})), "/pattern/item.", "bad path");
    check_refused("search", with("a/b", json!({"type": "eq", "pattern": 1})), "/pattern/a~1b", "bad path");
    check_refused("search", with("event", json!({})), "/pattern/event", "starts with `item`");
    check_refused("search", with("item", json!({"pattern": 1})), "/pattern/item/type", "name of an operator");
    check_refused(
        "search",
        with("item", json!({"type": "regex", "pattern": "("})),
        "/pattern/item/pattern",
        "unclosed",
    );
    let unknown = problem("search", Some(with("item", json!({"type": "equal", "pattern": 1}))));
    assert_eq!(
        (unknown.pointer.as_str(), unknown.suggestion.as_deref()),
        ("/pattern/item/type", Some("equals"))
    );
    let key = problem("search", Some(json!({"condition": "any", "patern": {}})));
    assert_eq!((key.pointer.as_str(), key.suggestion.as_deref()), ("/patern", Some("pattern")));
}

#[test]
fn test_operators_without_their_value_are_refused() {
    for operator in Operator::all().filter(|operator| operator.takes_value()) {
        let missing = Matcher::compile(operator, None).map(|_| ()).unwrap_err();
        assert!(missing.message.contains("needs a value"), "{missing}");
        let null = Matcher::compile(operator, Some(&Value::Null)).map(|_| ());
        assert_eq!(null.is_ok(), operator.takes_null(), "{operator}");
    }
}
