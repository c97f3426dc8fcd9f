//! StackStorm's filters, and those of Jinja2's that the engine lacks.
//!
//! Names, arguments and results follow StackStorm; where it would raise an exception the template fails. Two differ
//! because values keep their type here: `use_none` gives its input (StackStorm marks `None` in text with a magic word),
//! and `to_complex` is the value itself when it is the whole result and JSON text inside other text.

#![expect(clippy::needless_pass_by_value, reason = "the engine hands a filter its arguments by value")]

mod data;
mod jinja;
mod versions;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use minijinja::value::{Kwargs, Object, ObjectRepr, Rest, ValueOrKwargs, from_args};
use minijinja::{Environment, Error, ErrorKind, Value};
use serde_json::Value as Json;

use super::engine::to_json;
use super::jsonpath;
use crate::pattern::{Pattern, PatternError, PatternOptions, capturing};

/// The filters that this module registers.
pub(super) const NAMES: &[&str] = &[
    "basename",
    "center",
    "dirname",
    "from_json_string",
    "from_yaml_string",
    "json_dump",
    "json_escape",
    "json_parse",
    "jsonpath_query",
    "regex_match",
    "regex_replace",
    "regex_search",
    "regex_substring",
    "to_complex",
    "to_human_time_from_seconds",
    "to_json_string",
    "to_yaml_string",
    "use_none",
    "version_bump_major",
    "version_bump_minor",
    "version_bump_patch",
    "version_compare",
    "version_equal",
    "version_less_than",
    "version_match",
    "version_more_than",
    "version_strip_patch",
    "yaml_dump",
    "yaml_parse",
];

pub(super) fn register(environment: &mut Environment<'static>) {
    environment.add_filter("basename", basename);
    environment.add_filter("dirname", dirname);
    environment.add_filter("jsonpath_query", jsonpath_query);
    environment.add_filter("regex_match", regex_match);
    environment.add_filter("regex_replace", regex_replace);
    environment.add_filter("regex_search", regex_search);
    environment.add_filter("regex_substring", regex_substring);
    environment.add_filter("to_complex", to_complex);
    environment.add_filter("to_human_time_from_seconds", to_human_time_from_seconds);
    environment.add_filter("use_none", use_none);
    data::register(environment);
    jinja::register(environment);
    versions::register(environment);
}

/// A value that is JSON when it is printed into text and itself when it is the whole result.
#[derive(Debug)]
pub(super) struct Complex(Json);

impl Complex {
    pub(super) fn value(&self) -> &Json {
        &self.0
    }
}

impl Object for Complex {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Arguments by position or name, as Python takes them.
pub(super) struct Arguments {
    positional: Vec<Value>,
    named: Kwargs,
}

impl Arguments {
    pub(super) fn new(arguments: Rest<ValueOrKwargs>) -> Result<Self, Error> {
        let arguments = arguments.into_values();
        let (positional, named): (&[Value], Kwargs) = from_args(&arguments)?;
        Ok(Self { positional: positional.to_vec(), named })
    }

    pub(super) fn get(&self, position: usize, name: &str) -> Option<Value> {
        let value = self.positional.get(position).cloned().or_else(|| self.named.get(name).ok());
        value.filter(|value| !value.is_none() && !value.is_undefined())
    }

    pub(super) fn text(&self, position: usize, name: &str) -> Result<Option<String>, Error> {
        match self.get(position, name) {
            None => Ok(None),
            Some(value) => match value.as_str() {
                Some(text) => Ok(Some(text.to_owned())),
                None => Err(invalid(format!("argument `{name}` must be text, got {}", value.kind()))),
            },
        }
    }

    pub(super) fn flag(&self, position: usize, name: &str) -> bool {
        self.get(position, name).is_some_and(|value| value.is_true())
    }

    /// Refuses arguments that no filter asked for; `count` is how many it takes by position.
    pub(super) fn finish(&self, count: usize) -> Result<(), Error> {
        if self.positional.len() > count {
            return Err(Error::from(ErrorKind::TooManyArguments));
        }
        self.named.assert_all_used()
    }
}

pub(super) fn invalid(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

fn pattern_error(error: &PatternError) -> Error {
    invalid(error.to_string())
}

fn basename(path: Cow<'_, str>) -> String {
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

fn dirname(path: Cow<'_, str>) -> String {
    let head = path.rfind('/').map_or("", |slash| &path[..=slash]);
    let trimmed = head.trim_end_matches('/');
    if trimmed.is_empty() { head.to_owned() } else { trimmed.to_owned() }
}

fn jsonpath_query(value: Value, query: &str) -> Result<Value, Error> {
    let found = jsonpath::query(&to_json(&value)?, query).map_err(invalid)?;
    if found.is_empty() { Ok(Value::from(())) } else { Ok(super::engine::to_engine(&Json::Array(found))) }
}

fn regex_match(text: Cow<'_, str>, arguments: Rest<ValueOrKwargs>) -> Result<bool, Error> {
    is_match(&text, arguments, true)
}

fn regex_search(text: Cow<'_, str>, arguments: Rest<ValueOrKwargs>) -> Result<bool, Error> {
    is_match(&text, arguments, false)
}

fn is_match(text: &str, arguments: Rest<ValueOrKwargs>, at_start: bool) -> Result<bool, Error> {
    let arguments = Arguments::new(arguments)?;
    let pattern = arguments.text(0, "pattern")?.unwrap_or_default();
    let options = PatternOptions { ignore_case: arguments.flag(1, "ignorecase"), at_start, dot_all: false };
    arguments.finish(2)?;
    Pattern::regex(&pattern, options)
        .and_then(|pattern| pattern.is_match(text))
        .map_err(|error| pattern_error(&error))
}

fn regex_replace(text: Cow<'_, str>, arguments: Rest<ValueOrKwargs>) -> Result<String, Error> {
    let arguments = Arguments::new(arguments)?;
    let pattern = arguments.text(0, "pattern")?.unwrap_or_default();
    let replacement = arguments.text(1, "replacement")?.unwrap_or_default();
    let pattern =
        capturing(&pattern, arguments.flag(2, "ignorecase")).map_err(|error| pattern_error(&error))?;
    arguments.finish(3)?;
    let pieces = replacement_pieces(&replacement)?;
    let mut replaced = String::with_capacity(text.len());
    let mut end = 0;
    for found in pattern.captures_iter(text.as_ref()) {
        let found = found.map_err(|_| pattern_error(&PatternError::TooManySteps))?;
        let Some(whole) = found.get(0) else { continue };
        replaced.push_str(&text[end..whole.start()]);
        for piece in &pieces {
            match piece {
                Replacement::Text(literal) => replaced.push_str(literal),
                Replacement::Group(group) => {
                    let group = match group.parse::<usize>() {
                        Ok(number) if number < found.len() => found.get(number),
                        Err(_) if pattern.capture_names().flatten().any(|name| name == group) => {
                            found.name(group)
                        }
                        _ => return Err(invalid(format!("the pattern has no group `{group}`"))),
                    };
                    replaced.push_str(group.map_or("", |group| group.as_str()));
                }
            }
        }
        end = whole.end();
    }
    replaced.push_str(&text[end..]);
    Ok(replaced)
}

enum Replacement {
    Text(String),
    Group(String),
}

/// Reads Python's replacement text: `\1`, `\g<1>`, `\g<name>`, `\n`, `\t`, `\\`.
fn replacement_pieces(text: &str) -> Result<Vec<Replacement>, Error> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('\\') {
        literal.push_str(&rest[..start]);
        rest = &rest[start + 1..];
        let escaped =
            rest.chars().next().ok_or_else(|| invalid("the replacement ends with a lone backslash"))?;
        if let Some(group) = rest.strip_prefix("g<") {
            let end =
                group.find('>').ok_or_else(|| invalid("expected `>` after `\\g<` in the replacement"))?;
            pieces.push(Replacement::Text(std::mem::take(&mut literal)));
            pieces.push(Replacement::Group(group[..end].to_owned()));
            rest = &group[end + 1..];
        } else if escaped.is_ascii_digit() {
            let length = rest.bytes().take(2).take_while(u8::is_ascii_digit).count();
            pieces.push(Replacement::Text(std::mem::take(&mut literal)));
            pieces.push(Replacement::Group(rest[..length].to_owned()));
            rest = &rest[length..];
        } else {
            match escaped {
                'n' => literal.push('\n'),
                't' => literal.push('\t'),
                'r' => literal.push('\r'),
                '\\' => literal.push('\\'),
                other if other.is_ascii_alphabetic() => {
                    return Err(invalid(format!("unknown escape `\\{other}` in the replacement")));
                }
                other => literal.extend(['\\', other]),
            }
            rest = &rest[escaped.len_utf8()..];
        }
    }
    literal.push_str(rest);
    pieces.push(Replacement::Text(literal));
    Ok(pieces)
}

/// The match at a position among all matches: its group when the pattern has one, its groups when it has several.
fn regex_substring(text: Cow<'_, str>, arguments: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let arguments = Arguments::new(arguments)?;
    let pattern = arguments.text(0, "pattern")?.unwrap_or_default();
    let index = match arguments.get(1, "result_index") {
        None => 0,
        Some(index) => {
            i64::try_from(index).map_err(|_| invalid("argument `result_index` must be a whole number"))?
        }
    };
    let pattern =
        capturing(&pattern, arguments.flag(2, "ignorecase")).map_err(|error| pattern_error(&error))?;
    arguments.finish(3)?;
    let mut matches = Vec::new();
    for found in pattern.captures_iter(text.as_ref()) {
        let found = found.map_err(|_| pattern_error(&PatternError::TooManySteps))?;
        let group = |number: usize| found.get(number).map_or("", |group| group.as_str());
        matches.push(match found.len() {
            0 | 1 => Value::from(group(0)),
            2 => Value::from(group(1)),
            groups => (1..groups).map(|number| Value::from(group(number))).collect(),
        });
    }
    let count = matches.len();
    let position = if index < 0 { index.checked_add_unsigned(count as u64) } else { Some(index) };
    let position = position.and_then(|position| usize::try_from(position).ok());
    position
        .and_then(|position| matches.into_iter().nth(position))
        .ok_or_else(|| invalid(format!("no match at position {index}: the pattern matches {count} times")))
}

fn to_complex(value: Value) -> Result<Value, Error> {
    to_json(&value).map(|value| Value::from_object(Complex(value)))
}

fn to_human_time_from_seconds(seconds: f64) -> Result<String, Error> {
    const UNITS: &[(u64, &str)] = &[(31_536_000, "y"), (86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    if !seconds.is_finite() || seconds.abs() >= 1e15 {
        return Err(invalid("expected a number of seconds"));
    }
    let mut rest = seconds.abs() as u64;
    if rest == 0 {
        return Ok("0s".to_owned());
    }
    let mut text = String::from(if seconds < 0.0 { "-" } else { "" });
    for (length, unit) in UNITS {
        if rest >= *length {
            text.push_str(&format!("{}{unit}", rest / length));
            rest %= length;
        }
    }
    Ok(text)
}

fn use_none(value: Value) -> Value {
    value
}
