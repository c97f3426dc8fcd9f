//! What a schema says about a field is never more than it says: whatever stands in a value that the schema accepts is
//! possible by [`reach`], with its type and its value.

use attune_expr::path::{FieldPath, Segment};
use attune_expr::schema::{ParameterSchema, Types, reach};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Few names and values, so that schemas and values meet.
const NAMES: [&str; 3] = ["a", "b", "0"];

fn any_leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(null)),
        Just(json!(true)),
        Just(json!(1)),
        Just(json!(1.0)),
        Just(json!(2.5)),
        Just(json!("x")),
        Just(json!("y")),
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    any_leaf().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            proptest::collection::vec((proptest::sample::select(&NAMES[..]), inner), 0..3).prop_map(
                |members| { members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect() }
            ),
        ]
    })
}

fn any_schema() -> impl Strategy<Value = Value> {
    let kinds = ["null", "boolean", "integer", "number", "string", "array", "object"];
    let plain = prop_oneof![
        Just(json!({})),
        Just(json!(true)),
        Just(json!({"$ref": "#/$defs/other"})),
        proptest::sample::subsequence(kinds.to_vec(), 1..4).prop_map(|kinds| json!({"type": kinds})),
        proptest::collection::vec(any_leaf(), 1..4).prop_map(|values| {
            let mut distinct: Vec<Value> = Vec::new();
            for value in values {
                if !distinct.contains(&value) {
                    distinct.push(value);
                }
            }
            json!({"enum": distinct})
        }),
    ];
    plain.prop_recursive(3, 16, 3, |inner| {
        let list = proptest::collection::vec(inner.clone(), 1..3);
        let named = proptest::collection::vec((proptest::sample::select(&NAMES[..]), inner.clone()), 0..3)
            .prop_map(|members| -> Value {
                members.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
            });
        prop_oneof![
            (named.clone(), any::<bool>())
                .prop_map(|(named, open)| json!({"properties": named, "additionalProperties": open})),
            (named, inner.clone())
                .prop_map(|(named, others)| json!({"properties": named, "additionalProperties": others})),
            inner.clone().prop_map(|schema| json!({"patternProperties": {"^[a0]": schema}})),
            inner.clone().prop_map(|items| json!({"items": items})),
            (list.clone(), inner).prop_map(|(first, items)| json!({"prefixItems": first, "items": items})),
            list.clone().prop_map(|list| json!({"allOf": list})),
            list.clone().prop_map(|list| json!({"anyOf": list})),
            list.prop_map(|list| json!({"oneOf": list})),
        ]
    })
}

/// Every field of a value, with the value that stands there.
fn fields<'v>(value: &'v Value, here: &mut Vec<Segment>, found: &mut Vec<(Vec<Segment>, &'v Value)>) {
    found.push((here.clone(), value));
    let mut inside = |step: Segment, value: &'v Value| {
        here.push(step);
        fields(value, here, found);
        here.pop();
    };
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                inside(Segment::Key(name.clone()), member);
                inside(Segment::Any, member);
            }
        }
        Value::Array(elements) => {
            for (position, element) in elements.iter().enumerate() {
                let position = i64::try_from(position).unwrap_or_default();
                let length = i64::try_from(elements.len()).unwrap_or_default();
                inside(Segment::Index(position), element);
                inside(Segment::Index(position - length), element);
                inside(Segment::Key(position.to_string()), element);
                inside(Segment::Any, element);
            }
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_global_rejects: 200_000, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn prop_what_is_there_is_possible(
        schema in any_schema(),
        other in any_schema(),
        value in any_value(),
    ) {
        let schema = match schema {
            Value::Object(mut members) => {
                members.insert("$defs".to_owned(), json!({"other": other}));
                Value::Object(members)
            }
            other => other,
        };
        let compiled = ParameterSchema::compile(&schema);
        prop_assume!(compiled.is_ok());
        // Null would count as an object without members.
        prop_assume!(!value.is_null());
        prop_assume!(compiled.is_ok_and(|compiled| compiled.check(value.clone()).is_ok()));
        let mut found = Vec::new();
        fields(&value, &mut Vec::new(), &mut found);
        for (path, value) in found {
            let shown = FieldPath::new("x", path.clone());
            match reach(&schema, &path) {
                Ok(possible) => {
                    prop_assert!(possible.types.meets(Types::of(value)), "{shown} of {schema}: {value} is not {}", possible.types);
                    prop_assert!(possible.can_equal(value), "{shown} of {schema}: never {value}");
                }
                Err(unreachable) => prop_assert!(false, "{shown} of {schema}: {unreachable:?}"),
            }
        }
    }
}
