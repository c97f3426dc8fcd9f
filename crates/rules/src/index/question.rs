//! What one condition asks of its field, in the terms of the index.
//!
//! Every answer here is about what is *necessary*: if the condition has the outcome, the field satisfies the question.

use attune_expr::operator::{Matcher, Operator};
use serde_json::Value;

use super::guard::Kinds;
use super::probe::{Probe, affix, grams, number, span};
use super::table::{Bound, Trigger};

/// A necessary property of a field.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Question {
    /// One of these holds.
    AnyOf(Vec<Trigger>),
    /// One of `always`, or one of `alternatives`, all of which a satisfying text has, so that one will do.
    Text { always: Vec<Trigger>, alternatives: Vec<Trigger> },
    /// The field is missing or null.
    Absent,
}

const TEXT: Kinds = Kinds::STRING;
const PRESENT: Kinds = Kinds::ALL.but(Kinds::NULL);
const COLLECTION: Kinds = Kinds::STRING.or(Kinds::ARRAY).or(Kinds::OBJECT);
const NUMBER: Kinds = Kinds::NUMBER.or(Kinds::BOOLEAN);

/// What must be so for the test to be true.
pub(super) fn when_true(operator: Operator, expected: Option<&Value>) -> Question {
    let expected = expected.unwrap_or(&Value::Null);
    let text = expected.as_str().unwrap_or_default();
    let kind = |kinds| Question::AnyOf(vec![Trigger::Kind(kinds)]);
    let affix = |at_end, lower: bool| {
        let lowered = if lower { text.to_lowercase() } else { text.to_owned() };
        Question::AnyOf(vec![keyed(affix(&lowered, at_end, lower))])
    };
    match operator {
        Operator::Equals if expected.is_null() => Question::Absent,
        Operator::Equals => Question::AnyOf(vec![equals(expected)]),
        Operator::IEquals => Question::AnyOf(vec![key(Probe::Lower, &text.to_lowercase())]),
        Operator::In => match expected {
            Value::Array(members) => Question::AnyOf(members.iter().map(equals).collect()),
            _ => kind(TEXT),
        },
        Operator::Contains => contains(expected),
        Operator::IContains => {
            let lower = text.to_lowercase();
            Question::Text {
                always: vec![key(Probe::LowerElement, &lower)],
                alternatives: pieces(&lower, true),
            }
        }
        Operator::StartsWith => affix(false, false),
        Operator::EndsWith => affix(true, false),
        Operator::IStartsWith => affix(false, true),
        Operator::IEndsWith => affix(true, true),
        Operator::Wildcard => wildcard(text),
        Operator::LessThan | Operator::LessOrEqual => {
            ordered(expected, |bound| vec![Trigger::AtMost(Bound(bound))])
        }
        Operator::GreaterThan | Operator::GreaterOrEqual => {
            ordered(expected, |bound| vec![Trigger::AtLeast(Bound(bound))])
        }
        Operator::Between => match (expected.get(0), expected.get(1)) {
            (Some(low), Some(high)) => ordered(low, |low| match number(high) {
                Some(high) => span(low, high).into_iter().map(keyed).collect(),
                None => vec![Trigger::Kind(NUMBER)],
            }),
            _ => kind(Kinds::ALL),
        },
        Operator::NotExists => Question::Absent,
        Operator::Exists => kind(PRESENT),
        Operator::IsEmpty => kind(COLLECTION.or(Kinds::NULL)),
        Operator::NotContains | Operator::IsNotEmpty => kind(COLLECTION),
        Operator::NotIContains => kind(TEXT.or(Kinds::ARRAY)),
        Operator::Regex
        | Operator::IRegex
        | Operator::MatchRegex
        | Operator::InCidr
        | Operator::NotInCidr
        | Operator::VersionEquals
        | Operator::VersionLessThan
        | Operator::VersionLessOrEqual
        | Operator::VersionGreaterThan
        | Operator::VersionGreaterOrEqual
        | Operator::VersionMatches => kind(TEXT),
        Operator::YoungerThan | Operator::OlderThan => kind(TEXT.or(Kinds::NUMBER)),
        Operator::Search => kind(Kinds::ARRAY.or(Kinds::OBJECT)),
        Operator::NotIn if expected.is_string() => kind(TEXT),
        Operator::NotEquals | Operator::NotIn => kind(Kinds::ALL),
    }
}

/// What must be so for the test to be false. Only for paths without `[*]`: with it, "false" speaks about all values.
pub(super) fn when_false(operator: Operator, expected: Option<&Value>) -> Question {
    let opposite = match operator {
        Operator::NotEquals => Operator::Equals,
        Operator::NotIn => Operator::In,
        Operator::NotContains => Operator::Contains,
        Operator::NotIContains => Operator::IContains,
        Operator::Exists => Operator::NotExists,
        Operator::NotExists => Operator::Exists,
        Operator::IsEmpty => Operator::IsNotEmpty,
        Operator::IsNotEmpty => Operator::IsEmpty,
        Operator::LessThan => Operator::GreaterOrEqual,
        Operator::LessOrEqual => Operator::GreaterThan,
        Operator::GreaterThan => Operator::LessOrEqual,
        Operator::GreaterOrEqual => Operator::LessThan,
        Operator::Equals
        | Operator::IEquals
        | Operator::Contains
        | Operator::IContains
        | Operator::StartsWith
        | Operator::EndsWith
        | Operator::IStartsWith
        | Operator::IEndsWith
        | Operator::Between
        | Operator::In
        | Operator::Regex
        | Operator::IRegex
        | Operator::MatchRegex
        | Operator::Wildcard
        | Operator::YoungerThan
        | Operator::OlderThan
        | Operator::InCidr
        | Operator::NotInCidr
        | Operator::VersionEquals
        | Operator::VersionLessThan
        | Operator::VersionLessOrEqual
        | Operator::VersionGreaterThan
        | Operator::VersionGreaterOrEqual
        | Operator::VersionMatches
        | Operator::Search => return Question::AnyOf(vec![Trigger::Kind(Kinds::ALL)]),
    };
    when_true(opposite, expected)
}

/// The kinds of values on which the test may fail.
pub(super) fn may_fail_on(matcher: &Matcher, expected: Option<&Value>) -> Kinds {
    match matcher.operator() {
        Operator::Equals | Operator::NotEquals | Operator::Exists | Operator::NotExists => Kinds::NONE,
        Operator::In | Operator::NotIn if expected.is_some_and(Value::is_array) => Kinds::NONE,
        Operator::IEquals
        | Operator::StartsWith
        | Operator::EndsWith
        | Operator::IStartsWith
        | Operator::IEndsWith
        | Operator::In
        | Operator::NotIn
        | Operator::Wildcard => Kinds::ALL.but(TEXT),
        Operator::Regex | Operator::IRegex | Operator::MatchRegex => {
            if matcher.answers_every_text() {
                Kinds::ALL.but(TEXT)
            } else {
                Kinds::ALL
            }
        }
        Operator::LessThan | Operator::LessOrEqual | Operator::GreaterThan | Operator::GreaterOrEqual => {
            match expected {
                Some(Value::Number(_)) => Kinds::ALL.but(NUMBER),
                Some(Value::String(_)) => Kinds::ALL.but(TEXT),
                _ => Kinds::ALL,
            }
        }
        Operator::Between => match expected.and_then(|bounds| bounds.get(0)) {
            Some(Value::Number(_)) => Kinds::ALL.but(NUMBER),
            Some(Value::String(_)) => Kinds::ALL.but(TEXT),
            _ => Kinds::ALL,
        },
        Operator::Contains | Operator::NotContains if expected.is_some_and(Value::is_string) => {
            Kinds::ALL.but(COLLECTION)
        }
        Operator::Contains | Operator::NotContains => Kinds::ALL.but(Kinds::ARRAY),
        Operator::IContains | Operator::NotIContains => Kinds::ALL.but(TEXT.or(Kinds::ARRAY)),
        Operator::IsEmpty | Operator::IsNotEmpty => NUMBER,
        // They read a text or look into an array: whether that succeeds is theirs to say.
        Operator::YoungerThan
        | Operator::OlderThan
        | Operator::InCidr
        | Operator::NotInCidr
        | Operator::VersionEquals
        | Operator::VersionLessThan
        | Operator::VersionLessOrEqual
        | Operator::VersionGreaterThan
        | Operator::VersionGreaterOrEqual
        | Operator::VersionMatches
        | Operator::Search => Kinds::ALL,
    }
}

/// The look-up for values equal to one.
pub(super) fn equals(expected: &Value) -> Trigger {
    let is_container = expected.is_array() || expected.is_object();
    let probe = if is_container { Probe::Container } else { Probe::Scalar };
    Trigger::Keyed(probe, probe.of_value(expected))
}

fn key(probe: Probe, text: &str) -> Trigger {
    Trigger::Keyed(probe, probe.of_bytes(text.as_bytes()))
}

fn keyed((probe, key): (Probe, u64)) -> Trigger {
    Trigger::Keyed(probe, key)
}

fn contains(expected: &Value) -> Question {
    let element = Trigger::Keyed(Probe::Element, Probe::Element.of_value(expected));
    match expected {
        Value::String(part) => Question::Text {
            always: vec![element, key(Probe::Member, part)],
            alternatives: pieces(part, false),
        },
        _ => Question::AnyOf(vec![element]),
    }
}

/// Every text that contains `part` satisfies each of these.
fn pieces(part: &str, lower: bool) -> Vec<Trigger> {
    let grams = grams(part, lower);
    if grams.is_empty() { vec![Trigger::Kind(TEXT)] } else { grams.into_iter().map(keyed).collect() }
}

fn wildcard(pattern: &str) -> Question {
    let is_special = |character| matches!(character, '*' | '?' | '[' | ']');
    let trigger = match (pattern.find(is_special), pattern.rfind(is_special)) {
        (Some(first), Some(last)) => {
            let (head, tail) = (&pattern[..first], &pattern[last + 1..]);
            // The longer of the literal ends; a class may end in `]`, so that what follows it is literal too.
            if head.len() >= tail.len() { affix(head, false, false) } else { affix(tail, true, false) }
        }
        _ => return Question::AnyOf(vec![equals(&Value::String(pattern.to_owned()))]),
    };
    Question::AnyOf(vec![keyed(trigger)])
}

fn ordered(bound: &Value, triggers: impl FnOnce(f64) -> Vec<Trigger>) -> Question {
    match (bound, number(bound)) {
        (_, Some(bound)) => Question::AnyOf(triggers(bound)),
        (Value::String(_), None) => Question::AnyOf(vec![Trigger::Kind(TEXT)]),
        (_, None) => Question::AnyOf(vec![Trigger::Kind(Kinds::ARRAY)]),
    }
}
