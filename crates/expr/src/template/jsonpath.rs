//! The paths of `jsonpath_query`.
//!
//! This is the part of JSONPath that StackStorm's library and RFC 9535 share: an optional `$`, keys (`.name`,
//! `['name']`), positions and slices of arrays, `*`, and `..` for any depth. Matches come in document order.

use serde_json::Value;

/// How many values a query may visit.
const VISIT_LIMIT: usize = 100_000;

enum Step {
    Key(String),
    Index(i64),
    Slice(Option<i64>, Option<i64>),
    Any,
    /// Every value below, the value itself included.
    Descend,
}

/// The values that match, in document order; the error says what was expected where.
pub(super) fn query(value: &Value, path: &str) -> Result<Vec<Value>, String> {
    let steps = parse(path)?;
    let mut found = vec![value];
    for step in &steps {
        let mut next = Vec::new();
        for value in found {
            apply(value, step, &mut next);
            if next.len() > VISIT_LIMIT {
                return Err(format!("JSONPath `{path}` matches too many values"));
            }
        }
        found = next;
    }
    Ok(found.into_iter().cloned().collect())
}

fn apply<'v>(value: &'v Value, step: &Step, found: &mut Vec<&'v Value>) {
    match (step, value) {
        (Step::Key(key), Value::Object(members)) => found.extend(members.get(key)),
        (Step::Index(index), Value::Array(elements)) => {
            found.extend(position(*index, elements.len()).and_then(|index| elements.get(index)));
        }
        (Step::Slice(start, end), Value::Array(elements)) => {
            let bound = |given: &Option<i64>, default: usize| {
                given.map_or(default, |index| match position(index, elements.len()) {
                    Some(index) => index.min(elements.len()),
                    None => 0,
                })
            };
            let (start, end) = (bound(start, 0), bound(end, elements.len()));
            found.extend(elements.get(start..end).unwrap_or_default());
        }
        (Step::Any, Value::Array(elements)) => found.extend(elements),
        (Step::Any, Value::Object(members)) => found.extend(members.values()),
        (Step::Descend, value) => {
            if found.len() > VISIT_LIMIT {
                return;
            }
            found.push(value);
            match value {
                Value::Array(elements) => elements.iter().for_each(|element| apply(element, step, found)),
                Value::Object(members) => members.values().for_each(|member| apply(member, step, found)),
                _ => {}
            }
        }
        _ => {}
    }
}

/// A position counted from the end when negative; `None` when it lies before the start.
fn position(index: i64, length: usize) -> Option<usize> {
    if index < 0 {
        length.checked_sub(usize::try_from(index.unsigned_abs()).ok()?)
    } else {
        usize::try_from(index).ok()
    }
}

fn parse(path: &str) -> Result<Vec<Step>, String> {
    let fail = |expected: &str, rest: &str| {
        let at = path.chars().count() - rest.chars().count() + 1;
        Err(format!("bad JSONPath `{path}` at character {at}: expected {expected}"))
    };
    let mut steps = Vec::new();
    let mut rest = path.trim_start();
    let rooted = rest.strip_prefix('$');
    // Without `$` the first key has no dot before it.
    let mut expect_key = rooted.is_none() && !rest.starts_with('[');
    rest = rooted.unwrap_or(rest);
    while !rest.is_empty() || expect_key {
        if let Some(after) = rest.strip_prefix("..") {
            steps.push(Step::Descend);
            rest = after;
            expect_key = !rest.starts_with('[');
        } else if let Some(after) = rest.strip_prefix('.').filter(|_| !expect_key) {
            rest = after;
            expect_key = true;
        }
        if std::mem::take(&mut expect_key) {
            if let Some(after) = rest.strip_prefix('*') {
                steps.push(Step::Any);
                rest = after;
                continue;
            }
            let length = rest.find(['.', '[', ']', '\'', '"', ' ', '*', '(']);
            let length = length.unwrap_or(rest.len());
            if length == 0 {
                return fail("a key", rest);
            }
            steps.push(Step::Key(rest[..length].to_owned()));
            rest = &rest[length..];
            continue;
        }
        let Some(inside) = rest.strip_prefix('[') else { return fail("`.` or `[`", rest) };
        let Some((step, after)) = subscript(inside) else {
            return fail("a position, a slice, `*` or a quoted key in brackets", inside);
        };
        steps.push(step);
        rest = after;
    }
    Ok(steps)
}

/// Reads what stands between brackets, and the closing one.
fn subscript(inside: &str) -> Option<(Step, &str)> {
    for quote in ['\'', '"'] {
        if let Some(quoted) = inside.strip_prefix(quote) {
            let (key, after) = quoted.split_once(quote)?;
            return Some((Step::Key(key.to_owned()), after.strip_prefix(']')?));
        }
    }
    let (content, after) = inside.split_once(']')?;
    let content = content.trim();
    let bound = |text: &str| match text.trim() {
        "" => Some(None),
        text => text.parse().ok().map(Some),
    };
    let step = match content.split_once(':') {
        Some((start, end)) => Step::Slice(bound(start)?, bound(end)?),
        None if content == "*" => Step::Any,
        None => Step::Index(content.parse().ok()?),
    };
    Some((step, after))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn test_query_follows_keys_slices_and_depth() {
        let value = json!({
            "people": [{"first": "James"}, {"first": "Jacob", "first-born": true}, {"missing": 1}],
            "a b": {"c": {"first": "deep"}}
        });
        let check = |path: &str, expected: Value| {
            assert_eq!(query(&value, path), Ok(expected.as_array().unwrap().clone()), "{path}");
        };
        check("people[*].first", json!(["James", "Jacob"]));
        check("$.people[0].first", json!(["James"]));
        check("$['people'][-1].missing", json!([1]));
        check("people[1].first-born", json!([true]));
        check("people[:2].first", json!(["James", "Jacob"]));
        check("people[-2:].missing", json!([1]));
        check("people[5:9]", json!([]));
        check("people[2:1]", json!([]));
        check("$..first", json!(["deep", "James", "Jacob"]));
        check("$..['missing']", json!([1]));
        check("['a b'].*", json!([{"first": "deep"}]));
        check("nope", json!([]));
        check("$", json!([value.clone()]));
    }

    #[test]
    fn test_query_says_what_it_expected() {
        let fault = |path: &str| query(&json!({}), path).unwrap_err();
        assert_eq!(fault(""), "bad JSONPath `` at character 1: expected a key");
        assert_eq!(fault("a..."), "bad JSONPath `a...` at character 4: expected a key");
        assert_eq!(fault("a b"), "bad JSONPath `a b` at character 2: expected `.` or `[`");
        for path in ["a[", "a[x]", "a['b", "a[?(@.b)]", "$a", "a.", "a[1"] {
            assert!(query(&json!({}), path).is_err(), "{path}");
        }
    }
}
