//! What a value is compared with what was expected of it.

use serde_json::Value;

/// How much of a value a line shows, in characters.
const SHOWN: usize = 200;

/// Whether members that are not expected may be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    Whole,
    AtLeast,
}

/// Each place where the value is not as expected, `name` being what the whole is called.
pub(super) fn differences(name: &str, expected: &Value, actual: &Value, extent: Extent) -> Vec<String> {
    let mut found = Vec::new();
    compare(name, expected, actual, extent, &mut found);
    found
}

fn compare(at: &str, expected: &Value, actual: &Value, extent: Extent, found: &mut Vec<String>) {
    match (expected, actual) {
        (Value::Object(expected), Value::Object(actual)) => {
            for (key, wanted) in expected {
                match actual.get(key) {
                    Some(there) => compare(&format!("{at}.{key}"), wanted, there, extent, found),
                    None => found.push(format!("{at}.{key}: expected {}, but it is missing", shown(wanted))),
                }
            }
            if extent == Extent::Whole {
                for (key, there) in actual.iter().filter(|(key, _)| !expected.contains_key(*key)) {
                    found.push(format!("{at}.{key}: not expected, but it is {}", shown(there)));
                }
            }
        }
        (Value::Array(expected), Value::Array(actual)) if expected.len() == actual.len() => {
            for (index, (wanted, there)) in expected.iter().zip(actual).enumerate() {
                compare(&format!("{at}[{index}]"), wanted, there, extent, found);
            }
        }
        (Value::Number(wanted), Value::Number(there)) if wanted.as_f64() == there.as_f64() => {}
        (expected, actual) if expected == actual => {}
        (expected, actual) => {
            found.push(format!("{at}:\nexpected {}\nactual   {}", shown(expected), shown(actual)));
        }
    }
}

/// That a text is part of another.
pub(super) fn contains(name: &str, part: &str, actual: &str) -> Option<String> {
    (!actual.contains(part)).then(|| {
        let (part, actual) = (shown(&Value::from(part)), shown(&Value::from(actual)));
        format!("{name}:\nexpected something with {part}\nactual   {actual}")
    })
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Expected and actual.
    fn check(values: [Value; 2], extent: Extent, differences_are: &[&str]) {
        let [expected, actual] = values;
        assert_eq!(differences("result", &expected, &actual, extent), differences_are, "{expected} {actual}");
    }

    #[test]
    fn test_each_difference_is_named_with_its_place() {
        let same = [json!({"a": [1, {"b": "x"}]}), json!({"a": [1.0, {"b": "x"}]})];
        check(same, Extent::Whole, &[]);
        check(
            [json!({"a": [1, {"b": "x"}], "c": 1}), json!({"a": [1, {"b": "y"}], "d": null})],
            Extent::Whole,
            &[
                "result.a[1].b:\nexpected \"x\"\nactual   \"y\"",
                "result.c: expected 1, but it is missing",
                "result.d: not expected, but it is null",
            ],
        );
        check([json!({"a": {"b": 1}}), json!({"a": {"b": 1, "c": 2}, "d": 3})], Extent::AtLeast, &[]);
        let list = ["result:\nexpected [1]\nactual   [1,2]"];
        check([json!([1]), json!([1, 2])], Extent::AtLeast, &list);
        check([json!(1), json!("1")], Extent::AtLeast, &["result:\nexpected 1\nactual   \"1\""]);
    }

    #[test]
    fn test_a_part_of_a_text_is_looked_for() {
        assert_eq!(contains("error", "full", "the disk is full"), None);
        let failure = contains("error", "full", "all is well").unwrap();
        assert_eq!(failure, "error:\nexpected something with \"full\"\nactual   \"all is well\"");
    }
}
