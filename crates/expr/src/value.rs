//! Equality, order and names of JSON values as conditions see them.
//!
//! The rules are Python's, because the conditions that users bring were written for it: numbers are equal by value
//! whatever their notation (`1` and `1.0`), `true` and `false` are the numbers 1 and 0, text orders by code point, and
//! nothing is converted (`"10"` is text and is never compared with the number 10).

use std::cmp::Ordering;

use serde_json::{Number, Value};

/// Deep equality.
pub fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Null, Value::Null) => true,
        (Value::String(left), Value::String(right)) => left == right,
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| equal(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(key, value)| right.get(key).is_some_and(|other| equal(value, other)))
        }
        _ => match (Numeric::of(left), Numeric::of(right)) {
            (Some(left), Some(right)) => left.order(right) == Some(Ordering::Equal),
            _ => false,
        },
    }
}

/// Order of two numbers, two texts or two arrays; `None` when the kinds cannot be ordered.
pub fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::String(left), Value::String(right)) => Some(left.as_str().cmp(right.as_str())),
        (Value::Array(left), Value::Array(right)) => {
            // Equal elements are skipped even when their kind has no order, as in Python.
            match left.iter().zip(right).find(|(left, right)| !equal(left, right)) {
                Some((left, right)) => compare(left, right),
                None => Some(left.len().cmp(&right.len())),
            }
        }
        _ => Numeric::of(left)?.order(Numeric::of(right)?),
    }
}

/// The kind of a value in the words of JSON Schema.
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// A number without loss: JSON integers reach from the smallest `i64` to the largest `u64`.
#[derive(Clone, Copy)]
enum Numeric {
    Integer(i128),
    Float(f64),
}

impl Numeric {
    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(truth) => Some(Self::Integer(i128::from(*truth))),
            Value::Number(number) => Self::of_number(number),
            _ => None,
        }
    }

    fn of_number(number: &Number) -> Option<Self> {
        let integer = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
        integer.map(Self::Integer).or_else(|| number.as_f64().map(Self::Float))
    }

    fn order(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Integer(left), Self::Integer(right)) => Some(left.cmp(&right)),
            (Self::Float(left), Self::Float(right)) => left.partial_cmp(&right),
            (Self::Integer(left), Self::Float(right)) => Some(order_mixed(left, right)),
            (Self::Float(left), Self::Integer(right)) => Some(order_mixed(right, left).reverse()),
        }
    }
}

/// Orders an integer and a float exactly: going through `f64` would make 2^53 and 2^53 + 1 equal.
fn order_mixed(integer: i128, float: f64) -> Ordering {
    let floor = float.floor();
    // The cast saturates, which keeps the order right for floats beyond the range of integers.
    match integer.cmp(&(floor as i128)) {
        Ordering::Equal if float > floor => Ordering::Less,
        order => order,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn test_equal_numbers_compare_by_value() {
        assert!(equal(&json!(1), &json!(1.0)));
        assert!(equal(&json!(true), &json!(1)));
        assert!(!equal(&json!(true), &json!(2)));
        assert!(!equal(&json!(1), &json!("1")));
        assert!(!equal(&json!(null), &json!(0)));
        assert!(equal(&json!({"a": [1, {"b": 2.0}]}), &json!({"a": [1.0, {"b": 2}]})));
        assert!(!equal(&json!({"a": 1}), &json!({"a": 1, "b": 2})));
        assert!(!equal(&json!([1, 2]), &json!([1])));
    }

    #[test]
    fn test_compare_is_exact_where_floats_are_not() {
        let big = 9_007_199_254_740_993_u64;
        assert_eq!(compare(&json!(big), &json!(9_007_199_254_740_992.0)), Some(Ordering::Greater));
        assert_eq!(compare(&json!(u64::MAX), &json!(1e300)), Some(Ordering::Less));
        assert_eq!(compare(&json!(-1), &json!(-1.5)), Some(Ordering::Greater));
        assert_eq!(compare(&json!(-2), &json!(-1.5)), Some(Ordering::Less));
    }

    #[test]
    fn test_compare_refuses_mixed_kinds() {
        assert_eq!(compare(&json!("10"), &json!("9")), Some(Ordering::Less));
        assert_eq!(compare(&json!("10"), &json!(9)), None);
        assert_eq!(compare(&json!(null), &json!(1)), None);
        assert_eq!(compare(&json!({}), &json!({})), None);
        assert_eq!(compare(&json!([null, 1]), &json!([null, 2])), Some(Ordering::Less));
        assert_eq!(compare(&json!([1]), &json!([1, 0])), Some(Ordering::Less));
        assert_eq!(compare(&json!([1]), &json!(["a"])), None);
    }
}
