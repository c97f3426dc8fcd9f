//! What the index proposes and the naive evaluation confirms is what the naive evaluation of every rule finds.
//!
//! `ATTUNE_INDEX_CASES` sets the number of cases, for runs of millions, and `PROPTEST_RNG_SEED` chooses them:
//!
//! `ATTUNE_INDEX_CASES=1000000 PROPTEST_RNG_SEED=1 cargo test --release -p attune-rules --test it -- index_agreement`

use std::collections::BTreeMap;
use std::sync::Arc;

use attune_expr::scope::Scope;
use attune_rules::{CompiledRule, RuleIndex, Verdict};
use chrono::{DateTime, Utc};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

const DEFAULT_CASES: u32 = 2_000;

/// Values that stand next to each other wherever an operator draws a line.
fn scalar() -> impl Strategy<Value = Value> {
    let texts = [
        "",
        "a",
        "ab",
        "abc",
        "ABC",
        "abcdef",
        "xyzabc",
        "abcdabcd",
        "ABCD",
        "1",
        "10",
        "1.2.3",
        "v1.2",
        "İx",
        "ΑΣ",
        "ας",
        "ß",
        "SS",
        "ﬀ",
        "日本語",
        "10.0.0.1",
        "10.0.0.0/8",
        "2026-01-01T00:00:00Z",
        "true",
        "null",
        "a*c",
        "a[b",
        "é",
    ];
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (-3_i64..12).prop_map(Value::from),
        select(vec![-0.0, 0.5, 1.0, 2.5, 9.999, 10.0, 1e30, -1e30, 9_007_199_254_740_992.0])
            .prop_map(Value::from),
        select(vec![u64::MAX, 9_007_199_254_740_993, 9_007_199_254_740_992]).prop_map(Value::from),
        select(texts.to_vec()).prop_map(Value::from),
        select(texts.to_vec()).prop_map(Value::from),
    ]
}

fn key() -> impl Strategy<Value = &'static str> {
    select(vec!["a", "b", "c", "odd key", "0", "1", "ключ", "it's", ""])
}

pub(crate) fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            object(inner, 0..4),
        ]
    })
}

fn object(inner: impl Strategy<Value = Value>, size: std::ops::Range<usize>) -> impl Strategy<Value = Value> {
    proptest::collection::vec((key(), inner), size).prop_map(|members| {
        Value::Object(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>())
    })
}

fn field() -> impl Strategy<Value = String> {
    let step = prop_oneof![
        6 => key().prop_map(|key| format!("['{}']", key.replace('\'', "\\'"))),
        2 => Just("[*]".to_owned()),
        1 => (-2..3).prop_map(|index| format!("[{index}]")),
    ];
    let root = prop_oneof![12 => Just("event"), 1 => Just("trigger"), 1 => Just("rule")];
    (root, proptest::collection::vec(step, 1..3)).prop_map(|(root, steps)| root.to_owned() + &steps.concat())
}

/// Any operator with a value that it mostly accepts; what it refuses is left out with its rule.
fn test() -> impl Strategy<Value = Value> {
    let operators: Vec<&str> =
        attune_expr::operator::Operator::all().map(|operator| operator.name()).collect();
    let list = proptest::collection::vec(scalar(), 1..4).prop_map(Value::from);
    let fitting = (select(operators), scalar(), list).prop_flat_map(|(operator, scalar, list)| {
        let pick = |values: Vec<Value>| select(values).boxed();
        let value = match operator {
            "exists" | "not_exists" | "is_empty" | "is_not_empty" => {
                return Just(json!({"operator": operator})).boxed();
            }
            "in" | "not_in" => pick(vec![list, json!("abcdef"), json!("10")]),
            "between" => pick(vec![
                json!([0, 1.5]),
                json!([1, 10]),
                json!([-1e30, 1e30]),
                json!(["a", "b"]),
                json!([5, 5]),
                json!([[1], [2]]),
                json!([9_007_199_254_740_992_u64, 9_007_199_254_740_993_u64]),
            ]),
            "wildcard" => pick(
                ["a*", "*c", "a*c", "*", "abc", "a[b", "[ab]*c", "*[ab", "?", "*b*", "[!a]bc"]
                    .map(Value::from)
                    .to_vec(),
            ),
            "regex" | "iregex" | "matchregex" => {
                pick(["^a", "b", "c$", "(?!a)b", "(a)\\1", "x|a"].map(Value::from).to_vec())
            }
            "younger_than" | "older_than" => pick(vec![json!("1d"), json!(300)]),
            "in_cidr" | "not_in_cidr" => pick(vec![json!("10.0.0.0/8"), json!(["::/0", "10.0.0.1"])]),
            "version_matches" => pick(vec![json!(">=1.2, <2")]),
            operator if operator.starts_with("version") => pick(vec![json!("1.2.3"), json!("v1.2")]),
            "search" => pick(vec![
                json!({"condition": "any", "pattern": {"item.a": {"type": "eq", "pattern": 1}}}),
                json!({"condition": "all", "pattern": {"item.a": {"type": "gt", "pattern": 1}}}),
            ]),
            operator if operator.ends_with("equals") => pick(vec![scalar.clone(), scalar, list]),
            _ => pick(vec![scalar, list, json!("abcd"), json!("b")]),
        };
        let templated =
            select(vec!["{{ event.a }}", "{{ event['odd key'] }}", "{{ rule.a }}"]).prop_map(Value::from);
        prop_oneof![12 => value, 1 => templated]
            .prop_map(move |value| json!({"operator": operator, "value": value}))
            .boxed()
    });
    (field(), fitting).prop_map(|(field, mut test)| {
        test["field"] = field.into();
        test
    })
}

fn condition() -> impl Strategy<Value = Value> {
    let expression = select(vec![
        "{{ event.a == 1 }}",
        "{{ event.b }}",
        "{{ rule.a == 1 }}",
        "{{ event.a > 3 }}",
        "{{ event.c.a.b }}",
    ]);
    let leaf = prop_oneof![20 => test(), 1 => expression.prop_map(Value::from)];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let list = proptest::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            list.clone().prop_map(|all| json!({"all": all})),
            list.prop_map(|any| json!({"any": any})),
            inner.prop_map(|not| json!({"not": not})),
        ]
    })
}

/// Members of a rule; the refs are few, so that rules are replaced.
pub(crate) fn rule() -> impl Strategy<Value = Value> {
    let params = prop_oneof![3 => Just(json!({})), 1 => object(value(), 1..3)];
    let conditions = proptest::collection::vec(condition(), 0..4);
    (conditions, select(vec!["all", "all", "any"]), params, window(), 0..30).prop_map(
        |(conditions, mode, params, window, number)| {
            let mut rule = json!({
                "rule_ref": format!("ops.rule_{number}"),
                "trigger_params": params,
                "condition": mode,
                "conditions": conditions,
            });
            if let Some(window) = window {
                rule["window"] = window;
            }
            rule
        },
    )
}

/// A window with conditions of its own, on which alone a rule may hang.
fn window() -> impl Strategy<Value = Option<Value>> {
    let several = (select(vec!["all_of", "sequence"]), proptest::collection::vec(condition(), 2..4))
        .prop_map(|(kind, conditions)| Some(json!({kind: {"conditions": conditions, "within": 60}})));
    let absent = (condition(), condition()).prop_map(|(after, expected)| {
        Some(json!({"absent": {"after": after, "expected": expected, "within": 60}}))
    });
    prop_oneof![6 => Just(None), 1 => Just(Some(json!({"throttle": 60}))), 2 => several, 1 => absent]
}

pub(crate) fn compile(members: Value) -> Option<Arc<CompiledRule>> {
    CompiledRule::compile(&super::rule(members)).ok().map(Arc::new)
}

pub(crate) fn now() -> DateTime<Utc> {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

/// Everything that a rule can make of an event that is not "nothing".
fn outcome(rule: &CompiledRule, event: &Value, config: &Value) -> Option<(String, Verdict)> {
    let view = json!({"ref": rule.rule_ref(), "a": 1});
    let scope = Scope::new().with("event", event).with("trigger", config).with("rule", &view);
    let verdict = if rule.listens_to(config) { rule.verdict(&scope, now()) } else { Verdict::False };
    matches!(verdict, Verdict::True | Verdict::Error).then(|| (rule.rule_ref().to_owned(), verdict))
}

fn agree(
    index: &RuleIndex,
    rules: &BTreeMap<String, Arc<CompiledRule>>,
    event: &Value,
    config: &Value,
) -> Result<(), TestCaseError> {
    let naive: Vec<_> = rules.values().filter_map(|rule| outcome(rule, event, config)).collect();
    let scope = Scope::new().with("event", event).with("trigger", config);
    let candidates = index.candidates(&scope, config);
    let indexed: Vec<_> = candidates.into_iter().filter_map(|rule| outcome(rule, event, config)).collect();
    prop_assert_eq!(indexed, naive, "event {} config {}", event, config);
    // The hot path, which looks up a field once for all rules, on a scope that is the same for all.
    let fires =
        |rule: &&Arc<CompiledRule>| rule.listens_to(config) && rule.verdict(&scope, now()) == Verdict::True;
    let naive: Vec<_> = rules.values().filter(fires).map(|rule| rule.rule_ref()).collect();
    let matching = index.matching(&scope, config, now());
    let matching: Vec<_> = matching.into_iter().map(|rule| rule.rule_ref()).collect();
    prop_assert_eq!(matching, naive, "event {} config {}", event, config);
    prop_assert_eq!(index.len(), rules.len());
    Ok(())
}

fn cases() -> u32 {
    std::env::var("ATTUNE_INDEX_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(DEFAULT_CASES)
}

/// A rule's own values, put where its conditions look, make events on which it is nearly or just true.
fn events() -> impl Strategy<Value = Vec<(Value, Value)>> {
    let config = prop_oneof![1 => Just(json!({})), 3 => object(value(), 0..4)];
    proptest::collection::vec((object(value(), 1..7), config), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn prop_index_and_confirmation_agree_with_naive_evaluation(
        written in proptest::collection::vec(rule(), 1..10),
        events in events(),
    ) {
        let mut index = RuleIndex::default();
        let mut rules = BTreeMap::new();
        for rule in written.into_iter().filter_map(compile) {
            rules.insert(rule.rule_ref().to_owned(), rule.clone());
            index.insert(rule);
        }
        for (event, config) in &events {
            agree(&index, &rules, event, config)?;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases() / 4, ..ProptestConfig::default() })]

    #[test]
    fn prop_index_agrees_after_every_change_and_copies_stand_still(
        changes in proptest::collection::vec(prop_oneof![2 => rule().prop_map(Ok), 1 => (0..30).prop_map(Err)], 1..40),
        events in events(),
    ) {
        let mut index = RuleIndex::default();
        let mut rules: BTreeMap<String, Arc<CompiledRule>> = BTreeMap::new();
        let mut copies = Vec::new();
        for (position, change) in changes.into_iter().enumerate() {
            match change {
                Ok(members) => {
                    let Some(rule) = compile(members) else { continue };
                    let before = rules.insert(rule.rule_ref().to_owned(), rule.clone());
                    let replaced = index.insert(rule);
                    prop_assert_eq!(before.is_some(), replaced.is_some());
                }
                Err(number) => {
                    let rule_ref = format!("ops.rule_{number}");
                    prop_assert_eq!(index.remove(&rule_ref).is_some(), rules.remove(&rule_ref).is_some());
                }
            }
            if position % 8 == 0 {
                copies.push((index.clone(), rules.clone()));
            }
        }
        copies.push((index.clone(), rules.clone()));
        for (index, rules) in &copies {
            for (event, config) in &events {
                agree(index, rules, event, config)?;
            }
        }
        for rule_ref in rules.keys() {
            index.remove(rule_ref);
        }
        let empty = format!("{:?}", RuleIndex::default());
        let left = format!("{index:?}");
        let without_numbers = |text: &str| text.split("free:").next().map(str::to_owned);
        prop_assert_eq!(without_numbers(&left), without_numbers(&empty));
    }
}
