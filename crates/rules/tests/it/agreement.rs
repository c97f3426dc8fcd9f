//! The short way to a verdict and the explained one agree, and both agree with a naive evaluation of the tree.

use attune_expr::scope::Scope;
use attune_rules::{CompiledRule, Condition, ConditionMode, RuleDefinition, Verdict};
use chrono::DateTime;
use proptest::prelude::*;
use serde_json::{Value, json};

/// Conditions whose outcome on the event of the test is known: one for each verdict and way to get there.
fn leaf() -> impl Strategy<Value = (Condition, Verdict)> {
    let test = |field: &str, operator: &str, value: Option<Value>| Condition::Test {
        field: format!("event.{field}"),
        operator: operator.to_owned(),
        value,
    };
    prop_oneof![
        Just((test("n", "equals", Some(json!(1))), Verdict::True)),
        Just((test("n", "equals", Some(json!("{{ event.n }}"))), Verdict::True)),
        Just((test("list[*]", "gt", Some(json!(2))), Verdict::True)),
        Just((test("n", "gt", Some(json!(1))), Verdict::False)),
        Just((test("nope", "exists", None), Verdict::False)),
        Just((test("nope", "gt", Some(json!(1))), Verdict::Missing)),
        Just((Condition::Expression("{{ event.nope }}".to_owned()), Verdict::Missing)),
        Just((test("text", "gt", Some(json!(1))), Verdict::Error)),
        Just((Condition::Expression("{{ event.text }}".to_owned()), Verdict::Error)),
    ]
}

fn tree() -> impl Strategy<Value = (Condition, Verdict)> {
    leaf().prop_recursive(4, 40, 5, |inner| {
        let list = proptest::collection::vec(inner.clone(), 1..5).prop_map(|list| list.into_iter().unzip());
        prop_oneof![
            list.clone().prop_map(|(all, verdicts): (Vec<_>, Vec<_>)| (
                Condition::All { all },
                naive(&verdicts, Verdict::False)
            )),
            list.prop_map(|(any, verdicts): (Vec<_>, Vec<_>)| (
                Condition::Any { any },
                naive(&verdicts, Verdict::True)
            )),
            inner.prop_map(|(not, verdict)| {
                let verdict = match verdict {
                    Verdict::True => Verdict::False,
                    Verdict::False => Verdict::True,
                    unknown => unknown,
                };
                (Condition::Not { not: Box::new(not) }, verdict)
            }),
        ]
    })
}

/// The table of the documentation, spelled without any early stop.
fn naive(verdicts: &[Verdict], winner: Verdict) -> Verdict {
    let otherwise = if winner == Verdict::True { Verdict::False } else { Verdict::True };
    *[winner, Verdict::Error, Verdict::Missing]
        .iter()
        .find(|wanted| verdicts.contains(wanted))
        .unwrap_or(&otherwise)
}

proptest! {
    #[test]
    fn prop_verdict_evaluation_and_naive_evaluation_agree(
        trees in proptest::collection::vec(tree(), 1..4),
        any in any::<bool>(),
    ) {
        let (conditions, verdicts): (Vec<_>, Vec<_>) = trees.into_iter().unzip();
        let definition = RuleDefinition {
            rule_ref: "a.rule".to_owned(),
            trigger_ref: "a.trigger".to_owned(),
            trigger_params: Value::Null,
            condition: if any { ConditionMode::Any } else { ConditionMode::All },
            conditions,
            window: None,
            action_ref: "a.action".to_owned(),
            action_params: Value::Null,
        };
        let rule = CompiledRule::compile(&definition).unwrap();
        let event = json!({"n": 1, "text": "x", "list": [1, 2, 3]});
        let scope = Scope::new().with("event", &event);
        let expected = naive(&verdicts, if any { Verdict::True } else { Verdict::False });
        prop_assert_eq!(rule.verdict(&scope, DateTime::UNIX_EPOCH), expected);
        prop_assert_eq!(rule.evaluate(&scope, DateTime::UNIX_EPOCH).verdict, expected);
    }

    #[test]
    fn prop_conditions_read_back_as_written(trees in proptest::collection::vec(tree(), 0..4)) {
        let conditions: Vec<_> = trees.into_iter().map(|(condition, _)| condition).collect();
        let written = serde_json::to_value(&conditions).unwrap();
        prop_assert_eq!(Condition::parse_list(&written), Ok(conditions));
    }
}
