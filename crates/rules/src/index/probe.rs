//! What is looked up about a value: each probe turns a value into the fingerprints of the keys that it satisfies.

use std::cell::OnceCell;
use std::hash::{Hash, Hasher};

use serde_json::Value;

use super::fingerprint::{fingerprint, write_value};

/// Bytes of a prefix or suffix that are looked at: each length in use is one look-up for each event.
const AFFIX_LIMIT: usize = 48;

/// Bytes of a gram, the piece of text by which `contains` is entered.
const GRAM: usize = 4;

/// Positions of a contained text that are considered for its gram.
const GRAMS_CONSIDERED: usize = 48;

/// Narrower intervals share their buckets.
const LOWEST_LEVEL: f64 = -64.0;
/// The level whose two buckets hold every number.
const HIGHEST_LEVEL: f64 = 1025.0;

/// A way to look at a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Probe {
    /// The value itself, unless it is an array or object.
    Scalar,
    /// The value itself, if it is an array or object; apart, so that large values are only read when it pays.
    Container,
    /// The text in lower case.
    Lower,
    /// The first or last bytes of the text.
    Affix { at_end: bool, lower: bool, length: u8 },
    /// Every piece of [`GRAM`] bytes of the text.
    Gram { lower: bool },
    /// Every element of an array.
    Element,
    /// Every text in an array, in lower case.
    LowerElement,
    /// Every key of an object.
    Member,
    /// The bucket of 2^level numbers that the number lies in.
    Span { level: i16 },
}

/// A value that is looked at, with its lower case once it is needed.
#[derive(Debug)]
pub(super) struct Subject<'v> {
    value: &'v Value,
    lower: OnceCell<String>,
}

impl<'v> Subject<'v> {
    pub(super) fn new(value: &'v Value) -> Self {
        Self { value, lower: OnceCell::new() }
    }

    pub(super) fn value(&self) -> &'v Value {
        self.value
    }

    fn text(&self, lower: bool) -> Option<&str> {
        let text = self.value.as_str()?;
        Some(if lower { self.lower.get_or_init(|| text.to_lowercase()) } else { text })
    }
}

impl Probe {
    /// Gives the fingerprints of a value that an event holds.
    pub(super) fn fingerprints(self, subject: &Subject<'_>, give: &mut impl FnMut(u64)) {
        match self {
            Self::Scalar if !subject.value.is_array() && !subject.value.is_object() => {
                give(self.of_value(subject.value));
            }
            Self::Container if subject.value.is_array() || subject.value.is_object() => {
                give(self.of_value(subject.value));
            }
            Self::Scalar | Self::Container => {}
            Self::Lower => {
                if let Some(text) = subject.text(true) {
                    give(self.of_bytes(text.as_bytes()));
                }
            }
            Self::Affix { at_end, lower, length } => {
                let text = subject.text(lower).map(str::as_bytes).unwrap_or_default();
                let length = usize::from(length);
                if length <= text.len() && subject.value.is_string() {
                    let affix = if at_end { &text[text.len() - length..] } else { &text[..length] };
                    give(self.of_bytes(affix));
                }
            }
            Self::Gram { lower } => {
                let text = subject.text(lower).map(str::as_bytes).unwrap_or_default();
                text.windows(GRAM).for_each(|gram| give(self.of_gram(gram)));
            }
            Self::Element => {
                for element in subject.value.as_array().into_iter().flatten() {
                    give(self.of_value(element));
                }
            }
            Self::LowerElement => {
                for text in subject.value.as_array().into_iter().flatten().filter_map(Value::as_str) {
                    give(self.of_bytes(text.to_lowercase().as_bytes()));
                }
            }
            Self::Member => {
                for name in subject.value.as_object().into_iter().flat_map(|members| members.keys()) {
                    give(self.of_bytes(name.as_bytes()));
                }
            }
            Self::Span { level } => {
                if let Some(number) = number(subject.value) {
                    give(self.of_bytes(&bucket(number, level).to_le_bytes()));
                }
            }
        }
    }

    pub(super) fn of_value(self, value: &Value) -> u64 {
        fingerprint(|hasher| {
            self.hash(hasher);
            write_value(value, hasher);
        })
    }

    pub(super) fn of_bytes(self, bytes: &[u8]) -> u64 {
        fingerprint(|hasher| {
            self.hash(hasher);
            hasher.write(bytes);
        })
    }

    /// A text has as many grams as bytes, so that theirs is a cheaper fingerprint.
    fn of_gram(self, gram: &[u8]) -> u64 {
        let seed = u64::from(self == Self::Gram { lower: true }) + 1;
        let number = gram.iter().fold(seed, |number, byte| number << 8 | u64::from(*byte));
        let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ (mixed >> 32)
    }
}

/// The look-up that every text starting (or ending) with `affix` satisfies.
pub(super) fn affix(affix: &str, at_end: bool, lower: bool) -> (Probe, u64) {
    let bytes = affix.as_bytes();
    let length = bytes.len().min(AFFIX_LIMIT);
    let bytes = if at_end { &bytes[bytes.len() - length..] } else { &bytes[..length] };
    // The limit is far below what the type holds.
    let probe = Probe::Affix { at_end, lower, length: u8::try_from(length).unwrap_or(u8::MAX) };
    (probe, probe.of_bytes(bytes))
}

/// The look-ups each of which every text that contains `part` satisfies; none when the part is too short.
pub(super) fn grams(part: &str, lower: bool) -> Vec<(Probe, u64)> {
    let probe = Probe::Gram { lower };
    part.as_bytes().windows(GRAM).take(GRAMS_CONSIDERED).map(|gram| (probe, probe.of_gram(gram))).collect()
}

/// The look-ups one of which every number between two bounds satisfies.
pub(super) fn span(low: f64, high: f64) -> Vec<(Probe, u64)> {
    // Twice the width, so that what rounding takes from it cannot make room for a third bucket.
    let level = (2.0 * (high - low)).log2().ceil().clamp(LOWEST_LEVEL, HIGHEST_LEVEL) as i16;
    let probe = Probe::Span { level };
    let mut buckets = vec![bucket(low, level), bucket(high, level)];
    buckets.dedup();
    buckets.into_iter().map(|bucket| (probe, probe.of_bytes(&bucket.to_le_bytes()))).collect()
}

fn bucket(number: f64, level: i16) -> f64 {
    // Adding zero makes -0 and 0 one.
    (number * 2_f64.powi(-i32::from(level))).floor() + 0.0
}

/// A number in the coarser order of floats, in which nothing changes places: what is less stays less or becomes equal.
pub(super) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Bool(truth) => Some(f64::from(u8::from(*truth))),
        Value::Number(number) => number.as_f64().map(|number| number + 0.0),
        Value::Null | Value::String(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn finds(keys: &[(Probe, u64)], value: &Value) -> bool {
        let subject = Subject::new(value);
        keys.iter().any(|(probe, key)| {
            let mut found = false;
            probe.fingerprints(&subject, &mut |fingerprint| found |= fingerprint == *key);
            found
        })
    }

    #[test]
    fn test_span_narrows_down() {
        let keys = span(10.0, 20.0);
        assert!(finds(&keys, &json!(10)) && finds(&keys, &json!(20)) && finds(&keys, &json!(15.5)));
        assert!(!finds(&keys, &json!(100)) && !finds(&keys, &json!(-100)) && !finds(&keys, &json!("15")));
    }

    #[test]
    fn test_affixes_and_grams_look_at_text_only() {
        assert!(finds(&[affix("äb", false, false)], &json!("äbc")));
        assert!(finds(&[affix("ÄB", true, false)], &json!("xÄB")));
        assert!(!finds(&[affix("ab", false, false)], &json!("a")));
        assert!(!finds(&[affix("", false, false)], &json!(1)));
        assert!(finds(&grams("beef", false)[..1], &json!("corned beef")));
        assert!(grams("abc", false).is_empty());
    }

    fn any_number() -> impl Strategy<Value = f64> {
        prop_oneof![any::<f64>().prop_filter("finite", |number| number.is_finite()), -9.0..9.0, -1e18..1e18]
    }

    proptest! {
        #[test]
        fn prop_span_finds_every_number_between(mut numbers in proptest::array::uniform3(any_number())) {
            numbers.sort_by(f64::total_cmp);
            let [low, between, high] = numbers;
            prop_assert!(finds(&span(low, high), &json!(between)));
            prop_assert!(finds(&span(low, high), &json!(low)));
            prop_assert!(finds(&span(low, low), &json!(low)));
            let near = low + (low.abs() * f64::EPSILON).max(f64::MIN_POSITIVE);
            prop_assert!(finds(&span(low, near), &json!(near)));
        }
    }
}
