//! Condition operators.
//!
//! [`Operator`] is the vocabulary: readable names, with StackStorm's spellings as aliases. [`Matcher`] is an operator
//! together with its expected value, compiled once, so that testing a value costs nanoseconds to a microsecond.
//! [`evaluate`] does both at once with StackStorm's convention for `null`.
//!
//! Every operator follows StackStorm's, which means Python's: nothing is converted, and a comparison that makes no sense
//! (`3 < "a"`) is an error, never `false`. Time is an argument, so that tests and back-tests move it.

mod matcher;
mod meaning;
mod search;
mod time;
mod version;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

pub use matcher::Matcher;

use crate::suggest::nearest;

/// Reads a span as authors write it: a number of seconds, or units as in `90s`, `15m`, `1h30m`, `2d`, `1w`; to the
/// microsecond. None for what is no span, or one beyond all use.
pub fn span(value: &Value) -> Option<TimeDelta> {
    let microseconds = (time::span(value)? * 1e6).round();
    // Beyond 2^53 a float no longer tells microseconds apart.
    (microseconds.abs() < 9e15).then(|| TimeDelta::microseconds(microseconds as i64))
}

/// An operator of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operator {
    /// The value equals the expected one; numbers by value, any kind.
    Equals,
    /// The negation of `equals`.
    NotEquals,
    /// The texts are equal in lower case.
    IEquals,
    /// A text, array or object contains the expected text, element or key.
    Contains,
    /// The negation of `contains`.
    NotContains,
    /// `contains` on lower-cased text, in a text or in an array of texts.
    IContains,
    /// The negation of `icontains`.
    NotIContains,
    /// The text starts with the expected one.
    StartsWith,
    /// The text ends with the expected one.
    EndsWith,
    /// `starts_with` on lower-cased text.
    IStartsWith,
    /// `ends_with` on lower-cased text.
    IEndsWith,
    /// The value is less than the expected one: two numbers, two texts or two arrays.
    LessThan,
    /// The value is less than or equal to the expected one.
    LessOrEqual,
    /// The value is greater than the expected one.
    GreaterThan,
    /// The value is greater than or equal to the expected one.
    GreaterOrEqual,
    /// The value lies between two bounds, both included.
    Between,
    /// The value is an element of the expected array or a part of the expected text.
    In,
    /// The negation of `in`.
    NotIn,
    /// A regular expression is found somewhere in the text.
    Regex,
    /// `regex` with letters in either case.
    IRegex,
    /// A regular expression matches from the start of the text, line breaks included (StackStorm's older operator).
    MatchRegex,
    /// A shell wildcard (`*`, `?`, `[seq]`) matches the whole text.
    Wildcard,
    /// The time lies less than the expected span before now.
    YoungerThan,
    /// The time lies more than the expected span before now.
    OlderThan,
    /// The field exists and is not null.
    Exists,
    /// The field does not exist or is null.
    NotExists,
    /// The value is null, an empty text, an empty array or an empty object.
    IsEmpty,
    /// The negation of `is_empty`.
    IsNotEmpty,
    /// The address or network lies in one of the expected networks.
    InCidr,
    /// The negation of `in_cidr`.
    NotInCidr,
    /// The semantic versions are equal.
    VersionEquals,
    /// The semantic version comes before the expected one.
    VersionLessThan,
    /// The semantic version comes before the expected one or equals it.
    VersionLessOrEqual,
    /// The semantic version comes after the expected one.
    VersionGreaterThan,
    /// The semantic version comes after the expected one or equals it.
    VersionGreaterOrEqual,
    /// The semantic version satisfies a requirement such as `>=1.2, <2`.
    VersionMatches,
    /// The elements of an array satisfy nested conditions.
    Search,
}

/// Every operator with its name and its aliases.
const NAMES: &[(Operator, &str, &[&str])] = &[
    (Operator::Equals, "equals", &["eq", "=="]),
    (Operator::NotEquals, "not_equals", &["nequals", "neq", "ne", "!="]),
    (Operator::IEquals, "iequals", &["ieq"]),
    (Operator::Contains, "contains", &[]),
    (Operator::NotContains, "not_contains", &["ncontains"]),
    (Operator::IContains, "icontains", &[]),
    (Operator::NotIContains, "not_icontains", &["incontains"]),
    (Operator::StartsWith, "starts_with", &["startswith"]),
    (Operator::EndsWith, "ends_with", &["endswith"]),
    (Operator::IStartsWith, "istarts_with", &["istartswith"]),
    (Operator::IEndsWith, "iends_with", &["iendswith"]),
    (Operator::LessThan, "less_than", &["lessthan", "lt", "<"]),
    (Operator::LessOrEqual, "less_or_equal", &["lte", "le", "<="]),
    (Operator::GreaterThan, "greater_than", &["greaterthan", "gt", ">"]),
    (Operator::GreaterOrEqual, "greater_or_equal", &["gte", "ge", ">="]),
    (Operator::Between, "between", &[]),
    (Operator::In, "in", &["inside"]),
    (Operator::NotIn, "not_in", &["ninside", "nin"]),
    (Operator::Regex, "regex", &["matches"]),
    (Operator::IRegex, "iregex", &["imatches"]),
    (Operator::MatchRegex, "matchregex", &[]),
    (Operator::Wildcard, "wildcard", &["matchwildcard"]),
    (Operator::YoungerThan, "younger_than", &["timediff_lt", "td_lt"]),
    (Operator::OlderThan, "older_than", &["timediff_gt", "td_gt"]),
    (Operator::Exists, "exists", &[]),
    (Operator::NotExists, "not_exists", &["nexists"]),
    (Operator::IsEmpty, "is_empty", &["empty"]),
    (Operator::IsNotEmpty, "is_not_empty", &["not_empty"]),
    (Operator::InCidr, "in_cidr", &["cidr"]),
    (Operator::NotInCidr, "not_in_cidr", &[]),
    (Operator::VersionEquals, "version_equals", &["version_equal"]),
    (Operator::VersionLessThan, "version_less_than", &["version_lt"]),
    (Operator::VersionLessOrEqual, "version_less_or_equal", &["version_lte"]),
    (Operator::VersionGreaterThan, "version_greater_than", &["version_more_than", "version_gt"]),
    (Operator::VersionGreaterOrEqual, "version_greater_or_equal", &["version_gte"]),
    (Operator::VersionMatches, "version_matches", &["version_match"]),
    (Operator::Search, "search", &[]),
];

/// No operator has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown operator `{name}`")]
pub struct UnknownOperator {
    /// The name as given.
    pub name: String,
    /// The nearest operator, by its readable name.
    pub suggestion: Option<&'static str>,
}

/// Why an expected value does not fit its operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExpectedProblem {
    /// JSON pointer into the expected value; empty for the value as a whole.
    pub pointer: String,
    /// What was expected and what stands there.
    pub message: String,
    /// A nearby valid spelling.
    pub suggestion: Option<String>,
}

/// Why a value could not be tested: neither true nor false.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct OperatorError {
    /// What the operator needs and what it met.
    pub message: String,
}

impl Operator {
    /// Finds an operator by its name or an alias, in either case.
    pub fn parse(name: &str) -> Result<Self, UnknownOperator> {
        let wanted = name.to_lowercase();
        let known = NAMES.iter().find(|(_, readable, aliases)| {
            *readable == wanted || aliases.iter().any(|alias| *alias == wanted)
        });
        known.map(|(operator, ..)| *operator).ok_or_else(|| {
            let spellings = NAMES
                .iter()
                .flat_map(|(_, readable, aliases)| std::iter::once(readable).chain(*aliases))
                .filter(|spelling| spelling.len() > 2);
            let suggestion = nearest(&wanted, spellings.copied());
            let suggestion = suggestion.and_then(|near| Self::parse(near).ok()).map(Self::name);
            UnknownOperator { name: name.to_owned(), suggestion }
        })
    }

    /// The readable name.
    pub fn name(self) -> &'static str {
        self.entry().1
    }

    /// Other spellings that [`Operator::parse`] accepts.
    pub fn aliases(self) -> &'static [&'static str] {
        self.entry().2
    }

    /// What holds when it is true, in half a sentence for the documentation.
    pub fn meaning(self) -> &'static str {
        meaning::of(self)
    }

    /// Every operator, in the order of the documentation.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.iter().map(|(operator, ..)| *operator)
    }

    /// Whether the operator compares with an expected value; the others look at the field alone.
    pub fn takes_value(self) -> bool {
        !matches!(self, Self::Exists | Self::NotExists | Self::IsEmpty | Self::IsNotEmpty)
    }

    /// Whether `null` is a sensible expected value.
    pub fn takes_null(self) -> bool {
        matches!(self, Self::Equals | Self::NotEquals)
    }

    fn entry(self) -> &'static (Self, &'static str, &'static [&'static str]) {
        // The table is in the order of the enum, which a test holds.
        &NAMES[self as usize]
    }
}

impl std::fmt::Display for Operator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Tests one value as StackStorm's operator functions do, where `null` stands for "nothing there".
///
/// An expected `null` makes every operator but `equals`, `not_equals` and those without a value false. (`equals` with
/// two nulls is true here and false in StackStorm, which contradicts its own `nequals`.)
pub fn evaluate(
    operator: Operator,
    actual: &Value,
    expected: &Value,
    now: DateTime<Utc>,
) -> Result<bool, OperatorError> {
    if !operator.takes_value() {
        return Matcher::compile(operator, None).map_err(as_error)?.test(actual, now);
    }
    if expected.is_null() && !operator.takes_null() {
        return Ok(false);
    }
    Matcher::compile(operator, Some(expected)).map_err(as_error)?.test(actual, now)
}

fn as_error(problem: ExpectedProblem) -> OperatorError {
    OperatorError { message: problem.message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_names_table_is_in_the_order_of_the_enum_and_unambiguous() {
        let mut spellings = std::collections::BTreeSet::new();
        for (position, (operator, name, aliases)) in NAMES.iter().enumerate() {
            assert_eq!(*operator as usize, position, "{name}");
            assert_eq!(Operator::parse(name), Ok(*operator));
            assert!(spellings.insert(*name), "{name} twice");
            for alias in *aliases {
                assert_eq!(Operator::parse(alias), Ok(*operator));
                assert!(spellings.insert(*alias), "{alias} twice");
            }
        }
        assert_eq!(Operator::Search as usize + 1, NAMES.len());
    }

    #[test]
    fn test_parse_accepts_every_stackstorm_spelling_in_either_case() {
        for name in [
            "equals",
            "eq",
            "nequals",
            "neq",
            "iequals",
            "ieq",
            "contains",
            "icontains",
            "ncontains",
            "incontains",
            "startswith",
            "istartswith",
            "endswith",
            "iendswith",
            "lessthan",
            "lt",
            "greaterthan",
            "gt",
            "matchwildcard",
            "matchregex",
            "regex",
            "iregex",
            "timediff_lt",
            "td_lt",
            "timediff_gt",
            "td_gt",
            "exists",
            "nexists",
            "inside",
            "in",
            "ninside",
            "nin",
            "search",
        ] {
            assert!(Operator::parse(name).is_ok(), "{name}");
            assert_eq!(Operator::parse(&name.to_uppercase()), Operator::parse(name));
        }
    }

    #[test]
    fn test_parse_suggests_the_readable_name() {
        let suggestion = |name: &str| Operator::parse(name).unwrap_err().suggestion;
        assert_eq!(suggestion("equal"), Some("equals"));
        assert_eq!(suggestion("start_with"), Some("starts_with"));
        assert_eq!(suggestion("matchwildcar"), Some("wildcard"));
        assert_eq!(suggestion("greater_then"), Some("greater_than"));
        assert_eq!(suggestion("frobnicate"), None);
    }
}
