//! An operator with its expected value, compiled once.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::net::IpAddr;

use chrono::{DateTime, Utc};
use ipnet::IpNet;
use semver::{Version, VersionReq};
use serde_json::Value;

use super::search::Search;
use super::version::parse_version;
use super::{ExpectedProblem, Operator, OperatorError, time};
use crate::pattern::{Pattern, PatternOptions};
use crate::value::{compare, equal, type_name};

/// A compiled condition on one value.
#[derive(Debug, Clone)]
pub struct Matcher {
    operator: Operator,
    test: Test,
}

/// What to do with a value. `wanted` is false in the negations, so that both share their code.
#[derive(Debug, Clone)]
enum Test {
    Equal { expected: Value, wanted: bool },
    EqualLower { expected: String },
    Contains { expected: Value, wanted: bool },
    ContainsLower { expected: String, wanted: bool },
    Affix { expected: String, at_end: bool, lower: bool },
    Order { expected: Value, accept: fn(Ordering) -> bool },
    Between { low: Value, high: Value },
    InText { expected: String, wanted: bool },
    InList { texts: HashSet<String>, others: Vec<Value>, wanted: bool },
    Pattern(Pattern),
    Age { seconds: f64, accept: fn(Ordering) -> bool },
    Exists { wanted: bool },
    Empty { wanted: bool },
    Network { networks: Vec<IpNet>, wanted: bool },
    VersionOrder { expected: Version, accept: fn(Ordering) -> bool },
    VersionRequirement(VersionReq),
    Search(Box<Search>),
}

impl Matcher {
    /// Compiles an operator with its expected value (`None` when the author gave none) and checks that they fit.
    pub fn compile(operator: Operator, expected: Option<&Value>) -> Result<Self, ExpectedProblem> {
        let expected = match (operator.takes_value(), expected) {
            (true, Some(Value::Null)) if !operator.takes_null() => {
                return Err(problem(format!(
                    "`{operator}` with null is never true; use `not_exists` or `equals` to ask for null",
                )));
            }
            (true, Some(expected)) => expected,
            (true, None) => return Err(problem(format!("`{operator}` needs a value"))),
            // A null stands for "no value" in formats whose field is always written.
            (false, None | Some(Value::Null)) => &Value::Null,
            (false, Some(_)) => return Err(problem(format!("`{operator}` takes no value; leave it out"))),
        };
        Ok(Self { operator, test: Test::compile(operator, expected)? })
    }

    /// The operator this was compiled from.
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// Whether every text gets an answer from a pattern: false where a pattern may take too many steps. True for every
    /// other operator, whose failures depend on the value alone.
    pub fn answers_every_text(&self) -> bool {
        match &self.test {
            Test::Pattern(pattern) => pattern.always_answers(),
            _ => true,
        }
    }

    /// Tests one value. `now` is only read by the operators on time.
    pub fn test(&self, actual: &Value, now: DateTime<Utc>) -> Result<bool, OperatorError> {
        match &self.test {
            Test::Equal { expected, wanted } => Ok(equal(actual, expected) == *wanted),
            Test::EqualLower { expected } => Ok(is_lower_of(self.text(actual)?, expected)),
            Test::Contains { expected, wanted } => Ok(self.contains(actual, expected)? == *wanted),
            Test::ContainsLower { expected, wanted } => Ok(self.contains_lower(actual, expected)? == *wanted),
            Test::Affix { expected, at_end, lower } => {
                let text = self.text(actual)?;
                let lowered = lower.then(|| text.to_lowercase());
                let text = lowered.as_deref().unwrap_or(text);
                Ok(if *at_end { text.ends_with(expected) } else { text.starts_with(expected) })
            }
            Test::Order { expected, accept } => self.order(actual, expected).map(accept),
            Test::Between { low, high } => {
                Ok(self.order(actual, low)?.is_ge() && self.order(actual, high)?.is_le())
            }
            Test::InText { expected, wanted } => Ok(expected.contains(self.text(actual)?) == *wanted),
            Test::InList { texts, others, wanted } => {
                let found = match actual {
                    Value::String(text) => texts.contains(text),
                    other => others.iter().any(|member| equal(other, member)),
                };
                Ok(found == *wanted)
            }
            Test::Pattern(pattern) => {
                pattern.is_match(self.text(actual)?).map_err(|error| fail(error.to_string()))
            }
            Test::Age { seconds, accept } => {
                let point = time::point(actual)
                    .ok_or_else(|| self.needs("a time such as `2024-05-06T12:00:00Z`", actual))?;
                let age = now.signed_duration_since(point).as_seconds_f64();
                Ok(accept(age.total_cmp(seconds)))
            }
            Test::Exists { wanted } => Ok(actual.is_null() != *wanted),
            Test::Empty { wanted } => Ok(self.is_empty(actual)? == *wanted),
            Test::Network { networks, wanted } => Ok(self.lies_in(actual, networks)? == *wanted),
            Test::VersionOrder { expected, accept } => {
                Ok(accept(self.version(actual)?.cmp_precedence(expected)))
            }
            Test::VersionRequirement(requirement) => Ok(requirement.matches(&self.version(actual)?)),
            Test::Search(search) => search.test(actual, now),
        }
    }

    fn text<'v>(&self, actual: &'v Value) -> Result<&'v str, OperatorError> {
        actual.as_str().ok_or_else(|| self.needs("text", actual))
    }

    fn version(&self, actual: &Value) -> Result<Version, OperatorError> {
        actual
            .as_str()
            .and_then(parse_version)
            .ok_or_else(|| self.needs("a semantic version such as `1.4.2`", actual))
    }

    fn order(&self, actual: &Value, expected: &Value) -> Result<Ordering, OperatorError> {
        compare(actual, expected).ok_or_else(|| {
            fail(format!(
                "`{}` cannot order {} and {}; nothing is converted",
                self.operator,
                type_name(actual),
                type_name(expected)
            ))
        })
    }

    fn contains(&self, actual: &Value, expected: &Value) -> Result<bool, OperatorError> {
        match (actual, expected) {
            (Value::String(text), Value::String(part)) => Ok(text.contains(part.as_str())),
            (Value::Array(elements), expected) => Ok(elements.iter().any(|element| equal(element, expected))),
            (Value::Object(members), Value::String(key)) => Ok(members.contains_key(key)),
            (Value::Object(_), Value::Null | Value::Bool(_) | Value::Number(_)) => Ok(false),
            (Value::String(_) | Value::Object(_), expected) => {
                let (kind, wanted) = (type_name(actual), type_name(expected));
                Err(fail(format!("`{}` cannot look for {wanted} in {kind}", self.operator)))
            }
            _ => Err(self.needs("text, an array or an object", actual)),
        }
    }

    fn contains_lower(&self, actual: &Value, expected: &str) -> Result<bool, OperatorError> {
        match actual {
            Value::String(text) => Ok(text.to_lowercase().contains(expected)),
            Value::Array(elements) => Ok(elements
                .iter()
                .any(|element| element.as_str().is_some_and(|element| is_lower_of(element, expected)))),
            other => Err(self.needs("text or an array of texts", other)),
        }
    }

    fn is_empty(&self, actual: &Value) -> Result<bool, OperatorError> {
        match actual {
            Value::Null => Ok(true),
            Value::String(text) => Ok(text.is_empty()),
            Value::Array(elements) => Ok(elements.is_empty()),
            Value::Object(members) => Ok(members.is_empty()),
            Value::Bool(_) | Value::Number(_) => Err(self.needs("text, an array or an object", actual)),
        }
    }

    fn lies_in(&self, actual: &Value, networks: &[IpNet]) -> Result<bool, OperatorError> {
        let address = actual.as_str().and_then(parse_network);
        let address = address.ok_or_else(|| self.needs("an IP address or network", actual))?;
        Ok(networks.iter().any(|network| network.contains(&address)))
    }

    fn needs(&self, what: &str, actual: &Value) -> OperatorError {
        fail(format!("`{}` needs {what}, got {}", self.operator, described(actual)))
    }
}

impl Test {
    fn compile(operator: Operator, expected: &Value) -> Result<Self, ExpectedProblem> {
        let text = || {
            let text = expected.as_str();
            text.ok_or_else(|| problem(format!("`{operator}` expects text, got {}", type_name(expected))))
        };
        let regex = |options| {
            let pattern = Pattern::regex(text()?, options).map_err(|error| problem(error.to_string()))?;
            Ok(Self::Pattern(pattern))
        };
        let order = |accept| {
            let expected = orderable(operator, expected, "")?;
            Ok(Self::Order { expected, accept })
        };
        let age = |accept| {
            let seconds = time::span(expected).ok_or_else(|| {
                problem(format!(
                    "`{operator}` expects a span such as 300 (seconds) or `15m`, got {}",
                    described(expected)
                ))
            })?;
            Ok(Self::Age { seconds, accept })
        };
        let version_order = |accept| {
            let expected = parse_version(text()?)
                .ok_or_else(|| problem(format!("`{operator}` expects a semantic version such as `1.4.2`")))?;
            Ok(Self::VersionOrder { expected, accept })
        };
        match operator {
            Operator::Equals => Ok(Self::Equal { expected: expected.clone(), wanted: true }),
            Operator::NotEquals => Ok(Self::Equal { expected: expected.clone(), wanted: false }),
            Operator::IEquals => Ok(Self::EqualLower { expected: text()?.to_lowercase() }),
            Operator::Contains => Ok(Self::Contains { expected: expected.clone(), wanted: true }),
            Operator::NotContains => Ok(Self::Contains { expected: expected.clone(), wanted: false }),
            Operator::IContains => Ok(Self::ContainsLower { expected: text()?.to_lowercase(), wanted: true }),
            Operator::NotIContains => {
                Ok(Self::ContainsLower { expected: text()?.to_lowercase(), wanted: false })
            }
            Operator::StartsWith => {
                Ok(Self::Affix { expected: text()?.to_owned(), at_end: false, lower: false })
            }
            Operator::EndsWith => {
                Ok(Self::Affix { expected: text()?.to_owned(), at_end: true, lower: false })
            }
            Operator::IStartsWith => {
                Ok(Self::Affix { expected: text()?.to_lowercase(), at_end: false, lower: true })
            }
            Operator::IEndsWith => {
                Ok(Self::Affix { expected: text()?.to_lowercase(), at_end: true, lower: true })
            }
            Operator::LessThan => order(Ordering::is_lt),
            Operator::LessOrEqual => order(Ordering::is_le),
            Operator::GreaterThan => order(Ordering::is_gt),
            Operator::GreaterOrEqual => order(Ordering::is_ge),
            Operator::Between => Self::between(operator, expected),
            Operator::In => Self::membership(operator, expected, true),
            Operator::NotIn => Self::membership(operator, expected, false),
            Operator::Regex => regex(PatternOptions::default()),
            Operator::IRegex => regex(PatternOptions { ignore_case: true, ..PatternOptions::default() }),
            Operator::MatchRegex => {
                regex(PatternOptions { at_start: true, dot_all: true, ..PatternOptions::default() })
            }
            Operator::Wildcard => {
                Pattern::wildcard(text()?).map(Self::Pattern).map_err(|error| problem(error.to_string()))
            }
            Operator::YoungerThan => age(Ordering::is_lt),
            Operator::OlderThan => age(Ordering::is_gt),
            Operator::Exists => Ok(Self::Exists { wanted: true }),
            Operator::NotExists => Ok(Self::Exists { wanted: false }),
            Operator::IsEmpty => Ok(Self::Empty { wanted: true }),
            Operator::IsNotEmpty => Ok(Self::Empty { wanted: false }),
            Operator::InCidr => Self::networks(operator, expected, true),
            Operator::NotInCidr => Self::networks(operator, expected, false),
            Operator::VersionEquals => version_order(Ordering::is_eq),
            Operator::VersionLessThan => version_order(Ordering::is_lt),
            Operator::VersionLessOrEqual => version_order(Ordering::is_le),
            Operator::VersionGreaterThan => version_order(Ordering::is_gt),
            Operator::VersionGreaterOrEqual => version_order(Ordering::is_ge),
            Operator::VersionMatches => {
                VersionReq::parse(text()?).map(Self::VersionRequirement).map_err(|error| {
                    problem(format!("`{operator}` expects a requirement such as `>=1.2, <2`: {error}"))
                })
            }
            Operator::Search => Search::compile(expected).map(Box::new).map(Self::Search),
        }
    }

    fn between(operator: Operator, expected: &Value) -> Result<Self, ExpectedProblem> {
        let Some([low, high]) = expected.as_array().map(Vec::as_slice) else {
            let kind = described(expected);
            return Err(problem(format!(
                "`{operator}` expects an array of two bounds, the lower first; got {kind}"
            )));
        };
        let (low, high) = (orderable(operator, low, "/0")?, orderable(operator, high, "/1")?);
        match compare(&low, &high) {
            Some(Ordering::Less | Ordering::Equal) => Ok(Self::Between { low, high }),
            Some(Ordering::Greater) => Err(problem(format!(
                "`{operator}` expects the lower bound first; no value lies between these"
            ))),
            None => Err(problem(format!(
                "`{operator}` expects two bounds of one kind, got {} and {}",
                type_name(&low),
                type_name(&high)
            ))),
        }
    }

    fn membership(operator: Operator, expected: &Value, wanted: bool) -> Result<Self, ExpectedProblem> {
        match expected {
            Value::String(text) => Ok(Self::InText { expected: text.clone(), wanted }),
            Value::Array(members) if members.is_empty() => {
                Err(problem(format!("`{operator}` with an empty array has the same outcome for every event")))
            }
            Value::Array(members) => {
                let texts = members.iter().filter_map(Value::as_str).map(str::to_owned).collect();
                let others = members.iter().filter(|member| !member.is_string()).cloned().collect();
                Ok(Self::InList { texts, others, wanted })
            }
            other => Err(problem(format!("`{operator}` expects an array or text, got {}", type_name(other)))),
        }
    }

    fn networks(operator: Operator, expected: &Value, wanted: bool) -> Result<Self, ExpectedProblem> {
        let members = match expected {
            Value::Array(members) if members.is_empty() => {
                return Err(problem(format!("`{operator}` expects at least one network")));
            }
            Value::Array(members) => members.as_slice(),
            single => std::slice::from_ref(single),
        };
        let is_list = expected.is_array();
        let mut networks = Vec::with_capacity(members.len());
        for (position, member) in members.iter().enumerate() {
            let network = member.as_str().and_then(parse_network).ok_or_else(|| ExpectedProblem {
                pointer: if is_list { format!("/{position}") } else { String::new() },
                message: format!(
                    "`{operator}` expects a network such as `10.0.0.0/8` or an array of them, got {}",
                    described(member)
                ),
                suggestion: None,
            })?;
            networks.push(network);
        }
        Ok(Self::Network { networks, wanted })
    }
}

/// Reads a network, or an address as the network of this one address; an IPv4 address in IPv6 notation is IPv4.
fn parse_network(text: &str) -> Option<IpNet> {
    let text = text.trim();
    match text.parse::<IpAddr>() {
        Ok(address) => Some(IpNet::from(address.to_canonical())),
        Err(_) => text.parse().ok(),
    }
}

fn orderable(operator: Operator, expected: &Value, pointer: &str) -> Result<Value, ExpectedProblem> {
    match expected {
        Value::Number(_) | Value::String(_) | Value::Array(_) => Ok(expected.clone()),
        other => Err(ExpectedProblem {
            pointer: pointer.to_owned(),
            message: format!("`{operator}` expects a number or text, got {}", type_name(other)),
            suggestion: None,
        }),
    }
}

/// Whether `expected`, which is lower case already, equals the lower-cased text.
fn is_lower_of(text: &str, expected: &str) -> bool {
    if text.is_ascii() { text.eq_ignore_ascii_case(expected) } else { text.to_lowercase() == expected }
}

/// The kind of a value, with the value itself where a short text helps to see what is wrong with it.
fn described(value: &Value) -> String {
    match value {
        Value::String(text) if text.chars().count() <= 40 => format!("the text `{text}`"),
        Value::Array(elements) => format!("an array of {}", elements.len()),
        other => type_name(other).to_owned(),
    }
}

fn problem(message: String) -> ExpectedProblem {
    ExpectedProblem { pointer: String::new(), message, suggestion: None }
}

fn fail(message: String) -> OperatorError {
    OperatorError { message }
}
