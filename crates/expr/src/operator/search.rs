//! `search`: nested conditions on the elements of an array.
//!
//! The expected value is `{condition: any|all|any2any|all2any, pattern: {"item.<path>[#tag]": {type, pattern}}}`; the tag
//! only tells two conditions on the same path apart. `any`: some element satisfies every condition; `all`: every element
//! satisfies every condition; `any2any`: some element satisfies some condition; `all2any`: every element satisfies some
//! condition. An error decides only where no other outcome does.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::{ExpectedProblem, Matcher, Operator, OperatorError};
use crate::path::{FieldPath, Selection};
use crate::pointer;
use crate::scope::Scope;
use crate::suggest::nearest;

/// The compiled expected value of `search`.
#[derive(Debug, Clone)]
pub(super) struct Search {
    elements: Quantifier,
    conditions: Quantifier,
    criteria: Vec<Criterion>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Quantifier {
    Any,
    All,
}

#[derive(Debug, Clone)]
struct Criterion {
    path: FieldPath,
    matcher: Matcher,
}

const MODES: &[(&str, Quantifier, Quantifier)] = &[
    ("any", Quantifier::Any, Quantifier::All),
    ("all", Quantifier::All, Quantifier::All),
    ("any2any", Quantifier::Any, Quantifier::Any),
    ("all2any", Quantifier::All, Quantifier::Any),
];

impl Search {
    pub(super) fn compile(expected: &Value) -> Result<Self, ExpectedProblem> {
        let Value::Object(members) = expected else {
            return Err(problem("", "`search` expects an object with `condition` and `pattern`"));
        };
        refuse_unknown(members, "", &["condition", "pattern"])?;
        let mode = members.get("condition").and_then(Value::as_str);
        let mode = mode.and_then(|mode| MODES.iter().find(|(name, ..)| *name == mode));
        let Some((_, elements, conditions)) = mode else {
            return Err(problem("/condition", "expected `any`, `all`, `any2any` or `all2any`"));
        };
        let Some(Value::Object(pattern)) = members.get("pattern") else {
            return Err(problem(
                "/pattern",
                "expected an object of conditions such as `item.name: {type, pattern}`",
            ));
        };
        if pattern.is_empty() {
            return Err(problem("/pattern", "expected at least one condition"));
        }
        let criteria =
            pattern.iter().map(|(key, value)| Criterion::compile(key, value)).collect::<Result<_, _>>()?;
        Ok(Self { elements: *elements, conditions: *conditions, criteria })
    }

    pub(super) fn test(&self, actual: &Value, now: DateTime<Utc>) -> Result<bool, OperatorError> {
        let elements = match actual {
            Value::Array(elements) => elements.as_slice(),
            // One object is searched as a list of one.
            Value::Object(_) => std::slice::from_ref(actual),
            other => {
                let kind = crate::value::type_name(other);
                return Err(OperatorError {
                    message: format!("`search` needs an array or object, got {kind}"),
                });
            }
        };
        self.elements.over(elements, |element| {
            let scope = Scope::new().with("item", element);
            self.conditions.over(&self.criteria, |criterion| criterion.test(&scope, now))
        })
    }
}

impl Criterion {
    fn compile(key: &str, value: &Value) -> Result<Self, ExpectedProblem> {
        let here = pointer::child("/pattern", key);
        let (path, _tag) = key.split_once('#').unwrap_or((key, ""));
        let path = FieldPath::parse(path.trim()).map_err(|error| problem(&here, error.to_string()))?;
        if path.root() != "item" {
            return Err(problem(
                &here,
                format!("expected a path that starts with `item`, got `{}`", path.root()),
            ));
        }
        let Value::Object(members) = value else {
            return Err(problem(&here, "expected an object with `type` and `pattern`"));
        };
        refuse_unknown(members, &here, &["type", "pattern"])?;
        let Some(Value::String(name)) = members.get("type") else {
            return Err(problem(&format!("{here}/type"), "expected the name of an operator"));
        };
        let operator = Operator::parse(name).map_err(|unknown| ExpectedProblem {
            pointer: format!("{here}/type"),
            message: unknown.to_string(),
            suggestion: unknown.suggestion.map(str::to_owned),
        })?;
        let matcher = Matcher::compile(operator, members.get("pattern")).map_err(|inner| {
            ExpectedProblem { pointer: format!("{here}/pattern{}", inner.pointer), ..inner }
        })?;
        Ok(Self { path, matcher })
    }

    fn test(&self, scope: &Scope<'_>, now: DateTime<Utc>) -> Result<bool, OperatorError> {
        // As in StackStorm: the first match counts, and what is not there is null.
        let actual = match self.path.select(scope) {
            Selection::One(value) => value,
            Selection::Many(values) => values.first().copied().unwrap_or(&Value::Null),
            Selection::None => &Value::Null,
        };
        self.matcher.test(actual, now)
    }
}

impl Quantifier {
    /// Combines the tests of several things: the deciding outcome wins over an error, an error over the rest.
    fn over<T>(
        self,
        things: &[T],
        test: impl Fn(&T) -> Result<bool, OperatorError>,
    ) -> Result<bool, OperatorError> {
        let deciding = self == Self::Any;
        let mut failure = None;
        for thing in things {
            match test(thing) {
                Ok(outcome) if outcome == deciding => return Ok(deciding),
                Ok(_) => {}
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(!deciding), Err)
    }
}

fn refuse_unknown(members: &Map<String, Value>, here: &str, known: &[&str]) -> Result<(), ExpectedProblem> {
    match members.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(ExpectedProblem {
            pointer: pointer::child(here, key),
            message: format!("unknown key `{key}`; expected {}", known.join(", ")),
            suggestion: nearest(key, known.iter().copied()).map(str::to_owned),
        }),
    }
}

fn problem(pointer: &str, message: impl Into<String>) -> ExpectedProblem {
    ExpectedProblem { pointer: pointer.to_owned(), message: message.into(), suggestion: None }
}
