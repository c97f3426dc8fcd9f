//! Fingerprints that stand for keys. Two keys with one fingerprint cost a rule that is proposed in vain, never one that
//! is missed, so that no key needs to be stored.

use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::sync::LazyLock;

use serde_json::{Number, Value};

/// Drawn anew by every process: nobody can work out in advance which keys of an event have one fingerprint.
static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::new);

pub(super) fn fingerprint(write: impl FnOnce(&mut DefaultHasher)) -> u64 {
    let mut hasher = SEED.build_hasher();
    write(&mut hasher);
    hasher.finish()
}

pub(super) fn of(key: &(impl Hash + ?Sized)) -> u64 {
    fingerprint(|hasher| key.hash(hasher))
}

/// Writes a value so that values which are [`attune_expr::value::equal`] write the same.
pub(super) fn write_value(value: &Value, hasher: &mut DefaultHasher) {
    match value {
        Value::Null => hasher.write_u8(0),
        // true and false are the numbers 1 and 0.
        Value::Bool(truth) => write_integer(i128::from(*truth), hasher),
        Value::Number(number) => write_number(number, hasher),
        Value::String(text) => {
            hasher.write_u8(3);
            text.hash(hasher);
        }
        Value::Array(elements) => {
            hasher.write_u8(4);
            hasher.write_usize(elements.len());
            elements.iter().for_each(|element| write_value(element, hasher));
        }
        Value::Object(members) => {
            hasher.write_u8(5);
            hasher.write_usize(members.len());
            // A sum, because members are equal in any order.
            let sum = members.iter().fold(0_u64, |sum, (name, member)| {
                sum.wrapping_add(fingerprint(|hasher| {
                    name.hash(hasher);
                    write_value(member, hasher);
                }))
            });
            hasher.write_u64(sum);
        }
    }
}

fn write_number(number: &Number, hasher: &mut DefaultHasher) {
    let integer = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
    match (integer, number.as_f64()) {
        (Some(integer), _) => write_integer(integer, hasher),
        // The cast is exact in the range where a float can equal a JSON integer, and saturates alike beyond it.
        (None, Some(float)) if float.fract() == 0.0 => write_integer(float as i128, hasher),
        (None, float) => {
            hasher.write_u8(2);
            hasher.write_u64(float.unwrap_or_default().to_bits());
        }
    }
}

fn write_integer(integer: i128, hasher: &mut DefaultHasher) {
    hasher.write_u8(1);
    hasher.write_i128(integer);
}

#[cfg(test)]
mod tests {
    use attune_expr::value::equal;
    use serde_json::json;

    use super::*;

    #[test]
    fn test_equal_values_have_one_fingerprint_and_others_their_own() {
        let values = [
            json!(null),
            json!(true),
            json!(1),
            json!(1.0),
            json!("1"),
            json!(0),
            json!(-0.0),
            json!(false),
            json!(1.5),
            json!(u64::MAX),
            json!(9_007_199_254_740_993_u64),
            json!(9_007_199_254_740_992_u64),
            json!(9_007_199_254_740_992.0),
            json!(1e30),
            json!([1, [2]]),
            json!([true, [2.0]]),
            json!([[1], 2]),
            json!({"a": 1, "b": [0]}),
            json!({"b": [false], "a": 1.0}),
            json!({"a": [0], "b": 1}),
            json!([]),
            json!({}),
            json!(""),
        ];
        let of = |value| fingerprint(|hasher| write_value(value, hasher));
        for left in &values {
            for right in &values {
                assert_eq!(of(left) == of(right), equal(left, right), "{left} and {right}");
            }
        }
    }
}
