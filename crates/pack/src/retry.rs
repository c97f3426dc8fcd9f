//! How an execution is tried again: read from JSON, wherever that stands, into what is stored.

use std::ops::RangeInclusive;
use std::time::Duration;

use attune_expr::form;
use attune_expr::form::{Described, Form, JsonMapping, JsonMember, one_of};
use attune_expr::suggest::nearest;
use attune_expr::value::type_name;
use serde_json::{Map, Value, json};

use crate::definition::named_values;

/// Attempts after the first one at most.
const MOST: u64 = 100;
const LONGEST_DELAY: Duration = Duration::from_secs(365 * 24 * 3600);
const LARGEST_FACTOR: f64 = 10.0;

const DEFAULT_DELAY: Duration = Duration::from_secs(10);
const DEFAULT_FACTOR: f64 = 2.0;
const DEFAULT_MAX_DELAY: Duration = Duration::from_secs(3600);

/// The ends that can be tried again.
const ENDS: [&str; 3] = ["failed", "timeout", "abandoned"];
const DEFAULT_ENDS: [&str; 2] = ["failed", "timeout"];

form! {
    /// When and how a run is tried again.
    struct RetryForm<'v> of JsonMapping<'v> {
        /// How many further attempts there may be; 0 for none.
        required count: Attempts,
        /// Before the second attempt; 10 s unless said.
        optional delay: Delay,
        /// `fixed` unless said.
        optional backoff: Backoff,
        /// What each delay is multiplied by, with `backoff: exponential`.
        optional factor: Factor,
        /// No delay is longer, with `backoff: exponential`.
        optional max_delay: Delay,
        /// The share of a delay that chance may take off.
        optional jitter: Jitter,
        /// The ends that are tried again.
        optional on: Ends,
    }
}

/// How many attempts there may be.
#[derive(Debug)]
struct Attempts;

impl Described for Attempts {
    fn schema() -> Value {
        json!({"type": "integer", "minimum": 0, "maximum": MOST})
    }
}

/// Seconds, or a number with its unit.
#[derive(Debug)]
struct Delay;

impl Described for Delay {
    fn schema() -> Value {
        json!({
            "type": ["number", "string"],
            "minimum": 0,
            "maximum": LONGEST_DELAY.as_secs(),
            "pattern": "^[0-9]+[smh]$",
        })
    }
}

/// What a delay is multiplied by.
#[derive(Debug)]
struct Factor;

impl Factor {
    const RANGE: RangeInclusive<f64> = 1.0..=LARGEST_FACTOR;
}

impl Described for Factor {
    fn schema() -> Value {
        json!({"type": "number", "minimum": Self::RANGE.start(), "maximum": Self::RANGE.end()})
    }
}

/// The share that chance takes off.
#[derive(Debug)]
struct Jitter;

impl Jitter {
    const RANGE: RangeInclusive<f64> = 0.0..=1.0;
}

impl Described for Jitter {
    fn schema() -> Value {
        json!({"type": "number", "minimum": Self::RANGE.start(), "maximum": Self::RANGE.end()})
    }
}

/// Some of [`ENDS`].
#[derive(Debug)]
struct Ends;

impl Described for Ends {
    fn schema() -> Value {
        json!({"type": "array", "minItems": 1, "items": one_of(ENDS)})
    }
}

named_values! {
    /// How delays follow one another.
    Backoff {
        /// All are the same.
        Fixed = "fixed",
        /// Each is longer.
        Exponential = "exponential",
    }
}

/// When and how an execution is tried again.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// Attempts after the first one; 0: never.
    pub count: u32,
    /// Before the second attempt.
    pub delay: Duration,
    /// What each delay is multiplied by to give the next one; 1: all are the same.
    pub factor: f64,
    /// No delay is longer.
    pub max_delay: Duration,
    /// The share of the delay that chance may take off, from 0 to 1.
    pub jitter: f64,
    /// The ends that are tried again, by the names of statuses.
    pub on: Vec<String>,
}

/// A fault in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryProblem {
    /// JSON pointer into it.
    pub pointer: String,
    /// What is wrong and what was expected.
    pub message: String,
    /// A nearby valid spelling.
    pub suggestion: Option<String>,
}

impl Retry {
    /// Its JSON Schema, to stand under `$defs/retry` of the schema of a file.
    pub(crate) fn definition() -> Value {
        RetryForm::shape().schema()
    }

    /// Reads it and reports every fault at once.
    pub fn parse(value: &Value) -> Result<Self, Vec<RetryProblem>> {
        let Value::Object(members) = value else {
            let message =
                format!("expected a mapping such as `{{count: 3, delay: 10s}}`, got {}", type_name(value));
            return Err(vec![RetryProblem { pointer: String::new(), message, suggestion: None }]);
        };
        let mut reader = Reader { members, problems: Vec::new() };
        let (form, mapping) = JsonMapping::read(members);
        let retry = reader.read(&form, &mapping);
        if reader.problems.is_empty() { Ok(retry) } else { Err(reader.problems) }
    }

    /// As an author writes it: what [`Retry::parse`] reads.
    pub fn to_value(&self) -> Value {
        let mut members = Map::from_iter([("count".to_owned(), json!(self.count))]);
        if self.count == 0 {
            return Value::Object(members);
        }
        members.insert("delay".to_owned(), json!(self.delay.as_secs_f64()));
        if self.factor > 1.0 {
            members.insert("backoff".to_owned(), json!("exponential"));
            members.insert("factor".to_owned(), json!(self.factor));
            members.insert("max_delay".to_owned(), json!(self.max_delay.as_secs_f64()));
        }
        if self.jitter > 0.0 {
            members.insert("jitter".to_owned(), json!(self.jitter));
        }
        members.insert("on".to_owned(), json!(self.on));
        Value::Object(members)
    }

    /// Reads what [`Retry::stored`] gives; None for anything else.
    pub fn from_stored(value: &Value) -> Option<Self> {
        let members = value.as_object()?;
        if members.is_empty() {
            return Self::parse(&json!({"count": 0})).ok();
        }
        let seconds = |key: &str| Duration::try_from_secs_f64(members.get(key)?.as_f64()?).ok();
        let on = members.get("on")?.as_array()?.iter();
        Some(Self {
            count: u32::try_from(members.get("count")?.as_u64()?).ok()?,
            delay: seconds("delay")?,
            factor: members.get("factor")?.as_f64()?,
            max_delay: seconds("max_delay")?,
            jitter: members.get("jitter")?.as_f64()?,
            on: on.map(|end| end.as_str().map(str::to_owned)).collect::<Option<_>>()?,
        })
    }

    /// What is stored: seconds as numbers and nothing left out, or an empty object for never.
    pub fn stored(&self) -> Value {
        if self.count == 0 {
            return Value::Object(Map::new());
        }
        json!({
            "count": self.count,
            "delay": self.delay.as_secs_f64(),
            "factor": self.factor,
            "max_delay": self.max_delay.as_secs_f64(),
            "jitter": self.jitter,
            "on": self.on,
        })
    }
}

struct Reader<'v> {
    members: &'v Map<String, Value>,
    problems: Vec<RetryProblem>,
}

impl Reader<'_> {
    fn read(&mut self, form: &RetryForm<'_>, mapping: &JsonMapping<'_>) -> Retry {
        let known = mapping.known();
        for unknown in mapping.unknown() {
            let pointer = attune_expr::pointer::child("", unknown.name);
            let suggestion = unknown.suggestion.map(str::to_owned);
            let message = format!("unknown key `{}`; expected one of {}", unknown.name, quoted(&known));
            self.problems.push(RetryProblem { pointer, message, suggestion });
        }
        for name in mapping.missing() {
            let message = format!("the key `{name}` is missing: how many further attempts there may be");
            self.problems.push(RetryProblem { pointer: String::new(), message, suggestion: None });
        }
        let count = self.count(&form.count);
        let grows = self.backoff(&form.backoff);
        let delay = self.duration(&form.delay).unwrap_or(DEFAULT_DELAY);
        let factor = self.number(&form.factor, Factor::RANGE);
        let longest = self.duration(&form.max_delay);
        let jitter = self.number(&form.jitter, Jitter::RANGE).unwrap_or_default();
        let on = self.ends(&form.on);
        if count == Some(0) {
            for key in known.into_iter().filter(|key| *key != form.count.name) {
                self.without_effect(key, "with `count: 0`");
            }
        } else {
            if !grows {
                self.without_effect(form.factor.name, "without `backoff: exponential`");
                self.without_effect(form.max_delay.name, "without `backoff: exponential`");
            }
            if delay.is_zero() {
                self.without_effect(form.backoff.name, "with `delay: 0`");
                self.without_effect(form.jitter.name, "with `delay: 0`");
            }
        }
        if let Some(longest) = longest
            && grows
            && longest < delay
        {
            self.problem("max_delay", "expected at least the first `delay`".to_owned());
        }
        Retry {
            count: count.unwrap_or_default(),
            delay,
            factor: if grows { factor.unwrap_or(DEFAULT_FACTOR) } else { 1.0 },
            // What does not grow is not bounded either.
            max_delay: if grows { longest.unwrap_or(DEFAULT_MAX_DELAY.max(delay)) } else { delay },
            jitter,
            on,
        }
    }

    fn count(&mut self, member: &JsonMember<'_, Attempts>) -> Option<u32> {
        let count = member.value?.as_u64().filter(|count| *count <= MOST);
        if count.is_none() {
            self.problem(member.name, format!("expected a whole number from 0 to {MOST}"));
        }
        count.and_then(|count| u32::try_from(count).ok())
    }

    /// Whether delays grow.
    fn backoff(&mut self, member: &JsonMember<'_, Backoff>) -> bool {
        let Some(given) = member.value else { return false };
        let known = || Backoff::ALL.iter().map(|backoff| backoff.as_str());
        let found = Backoff::ALL.iter().find(|backoff| given.as_str() == Some(backoff.as_str()));
        if found.is_none() {
            let suggestion = given.as_str().and_then(|given| nearest(given, known()));
            self.problems.push(RetryProblem {
                pointer: format!("/{}", member.name),
                message: "expected `fixed` or `exponential`".to_owned(),
                suggestion: suggestion.map(str::to_owned),
            });
        }
        // Whatever was meant: what goes with it is not to be called useless.
        found != Some(&Backoff::Fixed)
    }

    fn duration(&mut self, member: &JsonMember<'_, Delay>) -> Option<Duration> {
        let duration = match member.value? {
            Value::Number(seconds) => {
                seconds.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            }
            Value::String(text) => crate::duration::parse(text),
            _ => None,
        };
        let duration = duration.filter(|duration| *duration <= LONGEST_DELAY);
        if duration.is_none() {
            self.problem(member.name, "expected seconds, or `30s`, `5m`, `2h`; at most a year".to_owned());
        }
        duration
    }

    fn number<K>(&mut self, member: &JsonMember<'_, K>, range: RangeInclusive<f64>) -> Option<f64> {
        let number = member.value?.as_f64().filter(|number| range.contains(number));
        if number.is_none() {
            let (least, most) = (range.start(), range.end());
            self.problem(member.name, format!("expected a number from {least} to {most}"));
        }
        number
    }

    fn ends(&mut self, member: &JsonMember<'_, Ends>) -> Vec<String> {
        let default = || DEFAULT_ENDS.map(str::to_owned).to_vec();
        let Some(given) = member.value else { return default() };
        let expected = format!("expected a list of some of {}", quoted(&ENDS));
        let Some(items) = given.as_array().filter(|items| !items.is_empty()) else {
            self.problem(member.name, expected);
            return default();
        };
        let mut ends: Vec<String> = Vec::new();
        for (index, item) in items.iter().enumerate() {
            match item.as_str().filter(|end| ENDS.contains(end)) {
                Some(end) if ends.iter().any(|known| known == end) => {}
                Some(end) => ends.push(end.to_owned()),
                None => {
                    let suggestion = item.as_str().and_then(|given| nearest(given, ENDS));
                    self.problems.push(RetryProblem {
                        pointer: format!("/{}/{index}", member.name),
                        message: format!("expected one of {}", quoted(&ENDS)),
                        suggestion: suggestion.map(str::to_owned),
                    });
                }
            }
        }
        ends
    }

    fn without_effect(&mut self, key: &str, why: &str) {
        if self.members.contains_key(key) {
            self.problem(key, format!("`{key}` has no effect {why}"));
        }
    }

    fn problem(&mut self, key: &str, message: String) {
        self.problems.push(RetryProblem { pointer: format!("/{key}"), message, suggestion: None });
    }
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &Value, expected: &[&str]) {
        let problems = Retry::parse(value).err().unwrap_or_default();
        let problems: Vec<_> =
            problems.into_iter().map(|problem| format!("{}: {}", problem.pointer, problem.message)).collect();
        assert_eq!(problems, expected, "{value}");
    }

    #[test]
    fn test_the_shortest_form_has_defaults() {
        let retry = Retry::parse(&json!({"count": 3})).unwrap();
        let stored = json!({
            "count": 3, "delay": 10.0, "factor": 1.0, "max_delay": 10.0, "jitter": 0.0, "on": ["failed", "timeout"]
        });
        assert_eq!(retry.stored(), stored);
    }

    #[test]
    fn test_what_is_written_is_read_as_the_same() {
        for value in [
            json!({"count": 0}),
            json!({"count": 3}),
            json!({"count": 1, "delay": 0, "on": ["abandoned"]}),
            json!({"count": 5, "delay": "90s", "backoff": "exponential", "factor": 3, "max_delay": "5m", "jitter": 0.5}),
        ] {
            let retry = Retry::parse(&value).unwrap();
            assert_eq!(Retry::parse(&retry.to_value()).as_ref(), Ok(&retry), "{value}");
            assert_eq!(Retry::from_stored(&retry.stored()).as_ref(), Some(&retry), "{value}");
        }
    }

    #[test]
    fn test_everything_is_stored() {
        let value = json!({
            "count": 5, "delay": "30s", "backoff": "exponential", "factor": 3, "max_delay": "5m", "jitter": 0.25,
            "on": ["abandoned", "failed", "failed"]
        });
        let stored = json!({
            "count": 5, "delay": 30.0, "factor": 3.0, "max_delay": 300.0, "jitter": 0.25, "on": ["abandoned", "failed"]
        });
        assert_eq!(Retry::parse(&value).unwrap().stored(), stored);
        let growing = Retry::parse(&json!({"count": 1, "delay": 0.5, "backoff": "exponential"})).unwrap();
        assert_eq!((growing.factor, growing.max_delay), (2.0, Duration::from_secs(3600)));
    }

    #[test]
    fn test_never_is_stored_as_nothing() {
        assert_eq!(Retry::parse(&json!({"count": 0})).unwrap().stored(), json!({}));
    }

    #[test]
    fn test_every_fault_is_told_at_once() {
        check(&json!(3), &[": expected a mapping such as `{count: 3, delay: 10s}`, got integer"]);
        check(&json!({}), &[": the key `count` is missing: how many further attempts there may be"]);
        check(
            &json!({"count": 101, "delay": "5d", "backoff": "linear", "factor": 11, "max_delay": -1, "jitter": 2,
                    "on": ["failed", "completed"]}),
            &[
                "/count: expected a whole number from 0 to 100",
                "/backoff: expected `fixed` or `exponential`",
                "/delay: expected seconds, or `30s`, `5m`, `2h`; at most a year",
                "/factor: expected a number from 1 to 10",
                "/max_delay: expected seconds, or `30s`, `5m`, `2h`; at most a year",
                "/jitter: expected a number from 0 to 1",
                "/on/1: expected one of `failed`, `timeout`, `abandoned`",
            ],
        );
        check(
            &json!({"count": 1, "on": []}),
            &["/on: expected a list of some of `failed`, `timeout`, `abandoned`"],
        );
    }

    #[test]
    fn test_a_misspelt_key_is_told_once() {
        let problems = Retry::parse(&json!({"cuont": 3})).unwrap_err();
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].suggestion.as_deref(), Some("count"));
    }

    #[test]
    fn test_what_would_have_no_effect_is_a_fault() {
        check(&json!({"count": 0, "delay": "5s"}), &["/delay: `delay` has no effect with `count: 0`"]);
        check(
            &json!({"count": 1, "factor": 3, "max_delay": "5m"}),
            &[
                "/factor: `factor` has no effect without `backoff: exponential`",
                "/max_delay: `max_delay` has no effect without `backoff: exponential`",
            ],
        );
        check(
            &json!({"count": 1, "delay": 0, "jitter": 0.5}),
            &["/jitter: `jitter` has no effect with `delay: 0`"],
        );
        check(
            &json!({"count": 1, "delay": "5m", "backoff": "exponential", "max_delay": "1m"}),
            &["/max_delay: expected at least the first `delay`"],
        );
    }
}
