//! A window as its author wrote it.

use std::fmt;

use attune_expr::form;
use attune_expr::form::{AnyText, Described, Form, JsonMapping, JsonMember};
use attune_expr::operator::span;
use attune_expr::pointer;
use attune_expr::suggest::nearest;
use attune_expr::value::type_name;
use chrono::TimeDelta;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value, json};

use crate::definition::{Condition, RuleProblem};

/// More than this, and a state would no longer be small.
const AT_LEAST_LIMIT: u64 = 1_000;
const CONDITIONS_LIMIT: usize = 16;
/// In seconds: a leap year.
const LONGEST_SPAN: i64 = 366 * 24 * 3600;

form! {
    /// What a rule makes of several events: one of these, perhaps with a key.
    struct WindowForm<'v> of JsonMapping<'v> {
        with kinds: KindsForm<'v>,
        /// A template: events with different keys have nothing to do with each other.
        optional key: AnyText,
    }
}

form! {
    /// What a window does.
    struct KindsForm<'v> of JsonMapping<'v> {
        /// The first event fires; then no other does for this long.
        optional throttle: Span,
        /// Fires with the last event, once it has been quiet for this long.
        optional debounce: Span,
        /// Fires once in each period of this length.
        optional dedup: Span,
        /// Fires when so many events lie within the span.
        optional count: CountForm<'static>,
        /// Fires when every condition was met within the span, in any order.
        optional all_of: PatternForm<'static>,
        /// Fires when every condition was met within the span, one after another.
        optional sequence: PatternForm<'static>,
        /// Fires when an event was not followed by the expected one within the span.
        optional absent: AbsentForm<'static>,
    }
}

form! {
    /// A number of events.
    struct CountForm<'v> of JsonMapping<'v> {
        /// How many.
        required at_least: AtLeast,
        /// How long it may take.
        required within: Span,
    }
}

form! {
    /// Conditions and a span.
    struct PatternForm<'v> of JsonMapping<'v> {
        /// What has to be met.
        required conditions: Several,
        /// How long it may take.
        required within: Span,
    }
}

form! {
    /// What is expected after what.
    struct AbsentForm<'v> of JsonMapping<'v> {
        /// What an event meets after which another is expected.
        required after: Condition,
        /// What the expected event meets.
        required expected: Condition,
        /// How long it may take.
        required within: Span,
    }
}

impl Described for CountForm<'_> {
    fn schema() -> Value {
        Self::shape().schema()
    }
}

impl Described for PatternForm<'_> {
    fn schema() -> Value {
        Self::shape().schema()
    }
}

impl Described for AbsentForm<'_> {
    fn schema() -> Value {
        Self::shape().schema()
    }
}

impl Described for Span {
    fn schema() -> Value {
        json!({
            "type": ["number", "string"],
            "minimum": 1,
            "maximum": LONGEST_SPAN,
            "examples": ["90s", "15m", "1h30m", "2d"],
        })
    }
}

/// How many events a window counts to.
#[derive(Debug)]
struct AtLeast;

impl Described for AtLeast {
    fn schema() -> Value {
        json!({"type": "integer", "minimum": 2, "maximum": AT_LEAST_LIMIT})
    }
}

/// The conditions of a pattern.
#[derive(Debug)]
struct Several;

impl Described for Several {
    fn schema() -> Value {
        json!({"type": "array", "items": Condition::schema(), "minItems": 2, "maxItems": CONDITIONS_LIMIT})
    }
}

/// A reference to [`Window::definition`].
impl Described for Window {
    fn schema() -> Value {
        json!({"$ref": "#/$defs/window"})
    }
}

/// What a rule makes of several events. In JSON and YAML one of
///
/// - `{throttle: 15m}`, `{debounce: 2m}`, `{dedup: 1d}`,
/// - `{count: {at_least: 5, within: 10m}}`,
/// - `{all_of: {conditions: [..], within: 10m}}`, `{sequence: {conditions: [..], within: 10m}}`,
/// - `{absent: {after: .., expected: .., within: 10m}}`,
///
/// each with an optional `key`, a template: events with different keys have nothing to do with each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// What the window does.
    pub kind: WindowKind,
    /// The template of the key.
    pub key: Option<String>,
}

/// What a window does.
#[derive(Debug, Clone, PartialEq)]
pub enum WindowKind {
    /// The first event fires; then no other does for this span.
    Throttle(Span),
    /// Fires with the last event, once it has been quiet for this span.
    Debounce(Span),
    /// Fires once in each period of this length.
    Dedup(Span),
    /// Fires when so many events lie within the span.
    Count {
        /// How many.
        at_least: usize,
        /// How long it may be from the first to the last.
        within: Span,
    },
    /// Fires when every condition was met within the span, in any order.
    AllOf {
        /// The conditions.
        conditions: Vec<Condition>,
        /// How long it may be from the first to the last.
        within: Span,
    },
    /// Fires when every condition was met within the span, one after another and each by an event of its own.
    Sequence {
        /// The conditions.
        conditions: Vec<Condition>,
        /// How long it may be from the first to the last.
        within: Span,
    },
    /// Fires when an event was not followed by the expected one within the span.
    Absent {
        /// What an event meets after which another is expected.
        after: Condition,
        /// What the expected event meets.
        expected: Condition,
        /// For how long it is waited for.
        within: Span,
    },
}

/// A span of time, from a second to a year, as it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    written: Value,
    length: TimeDelta,
}

impl Window {
    /// The JSON Schema of a window, to stand under `$defs/window` of a schema that has [`Condition::definition`] too.
    pub fn definition() -> Value {
        let mut schema = WindowForm::shape().object();
        let one: Vec<Value> =
            KindsForm::shape().keys.iter().map(|kind| json!({"required": [kind.name]})).collect();
        schema.insert("oneOf".to_owned(), Value::Array(one));
        Value::Object(schema)
    }

    /// Reads a window and reports every fault at once; pointers start at the window (`/count/at_least`).
    pub fn parse(value: &Value) -> Result<Self, Vec<RuleProblem>> {
        let mut reader = Reader { problems: Vec::new() };
        match reader.window(value) {
            Some(window) if reader.problems.is_empty() => Ok(window),
            _ => Err(reader.problems),
        }
    }

    /// A window in place of one that cannot be read, so that the rest of its rule is checked with its faults.
    pub fn stand_in() -> Self {
        let span = Span { written: json!("1s"), length: TimeDelta::seconds(1) };
        Self { kind: WindowKind::Throttle(span), key: None }
    }

    /// The window as it is written.
    pub fn to_value(&self) -> Value {
        let mut members = Map::new();
        members.insert(self.kind.name().to_owned(), self.kind.to_value());
        if let Some(key) = &self.key {
            members.insert("key".to_owned(), key.as_str().into());
        }
        Value::Object(members)
    }
}

impl WindowKind {
    /// Its name in a rule: `throttle`, `count` and so on.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Throttle(_) => "throttle",
            Self::Debounce(_) => "debounce",
            Self::Dedup(_) => "dedup",
            Self::Count { .. } => "count",
            Self::AllOf { .. } => "all_of",
            Self::Sequence { .. } => "sequence",
            Self::Absent { .. } => "absent",
        }
    }

    /// The conditions that the window has itself, each with its place in the window, in the order of
    /// [`Meets`](super::Meets).
    pub fn conditions(&self) -> Vec<(String, &Condition)> {
        match self {
            Self::Throttle(_) | Self::Debounce(_) | Self::Dedup(_) | Self::Count { .. } => Vec::new(),
            Self::AllOf { conditions, .. } | Self::Sequence { conditions, .. } => {
                let place = |position| format!("/{}/conditions/{position}", self.name());
                conditions
                    .iter()
                    .enumerate()
                    .map(|(position, condition)| (place(position), condition))
                    .collect()
            }
            Self::Absent { after, expected, .. } => {
                vec![("/absent/after".to_owned(), after), ("/absent/expected".to_owned(), expected)]
            }
        }
    }

    fn to_value(&self) -> Value {
        match self {
            Self::Throttle(span) | Self::Debounce(span) | Self::Dedup(span) => span.written.clone(),
            Self::Count { at_least, within } => json!({"at_least": at_least, "within": within.written}),
            Self::AllOf { conditions, within } | Self::Sequence { conditions, within } => {
                json!({"conditions": conditions, "within": within.written})
            }
            Self::Absent { after, expected, within } => {
                json!({"after": after, "expected": expected, "within": within.written})
            }
        }
    }
}

impl Span {
    /// How long it is.
    pub fn length(&self) -> TimeDelta {
        self.length
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.written {
            Value::String(text) if text.parse::<f64>().is_err() => f.write_str(text),
            _ => write!(f, "{}s", self.length.num_milliseconds() as f64 / 1e3),
        }
    }
}

impl Serialize for Window {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_value().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::parse(&value).map_err(|problems| {
            let shown: Vec<_> = problems.iter().map(RuleProblem::to_string).collect();
            de::Error::custom(format!("invalid window: {}", shown.join("; ")))
        })
    }
}

struct Reader {
    problems: Vec<RuleProblem>,
}

impl Reader {
    fn window(&mut self, value: &Value) -> Option<Window> {
        let Value::Object(members) = value else {
            let message = format!("expected a window such as `{{throttle: 15m}}`, got {}", type_name(value));
            self.add("", message);
            return None;
        };
        let (form, mapping) = JsonMapping::read::<WindowForm<'_>>(members);
        let kinds: Vec<&str> = KindsForm::shape().keys.iter().map(|kind| kind.name).collect();
        let given: Vec<&str> = kinds.iter().copied().filter(|kind| members.contains_key(*kind)).collect();
        let kind = given.first().copied();
        for other in given.iter().skip(1) {
            let first = given[0];
            self.add(format!("/{other}"), format!("a rule has one window, and this has `{first}` already"));
        }
        let known = mapping.known();
        for unknown in mapping.unknown() {
            self.unknown(unknown.name, kind, &known);
        }
        if kind.is_none() && !members.keys().any(|name| nearest(name, kinds.iter().copied()).is_some()) {
            self.add("", format!("the window has no kind; expected one of {}", listed(&kinds)));
        }
        let key = match form.key.value {
            None => None,
            Some(Value::String(key)) => Some(key.clone()),
            Some(other) => {
                let example = "{{ event.payload.host }}";
                let message = format!("expected a template such as `{example}`, got {}", type_name(other));
                self.add("/key", message);
                None
            }
        };
        let kind = self.kinds(&form.kinds).into_iter().next().flatten();
        Some(Window { kind: kind?, key })
    }

    fn unknown(&mut self, name: &str, kind: Option<&str>, known: &[&str]) {
        let inner = match name {
            "at_least" => Some("count"),
            "conditions" => kind.filter(|kind| ["all_of", "sequence"].contains(kind)).or(Some("all_of")),
            "within" => {
                kind.filter(|kind| !["throttle", "debounce", "dedup"].contains(kind)).or(Some("count"))
            }
            "after" | "expected" => Some("absent"),
            _ => None,
        };
        let message = match inner {
            Some(inner) => format!("`{name}` belongs into `{inner}`"),
            None => format!("unknown key `{name}` in a window"),
        };
        let suggestion = if inner.is_some() { None } else { nearest(name, known.iter().copied()) };
        self.problems.push(RuleProblem::new(pointer::child("", name), message).suggest(suggestion));
    }

    /// All are read, so that the faults of each are told.
    fn kinds(&mut self, form: &KindsForm<'_>) -> Vec<Option<WindowKind>> {
        let mut found = Vec::new();
        let mut quiet = |member: &JsonMember<'_, Span>, kind: fn(Span) -> WindowKind| {
            let place = format!("/{}", member.name);
            found.extend(member.value.map(|value| self.span(value, &place).map(kind)));
        };
        quiet(&form.throttle, WindowKind::Throttle);
        quiet(&form.debounce, WindowKind::Debounce);
        quiet(&form.dedup, WindowKind::Dedup);
        found.extend(form.count.value.map(|value| self.count(value, form.count.name)));
        found.extend(form.all_of.value.map(|value| {
            let (conditions, within) = self.pattern(value, form.all_of.name)?;
            Some(WindowKind::AllOf { conditions, within })
        }));
        found.extend(form.sequence.value.map(|value| {
            let (conditions, within) = self.pattern(value, form.sequence.name)?;
            Some(WindowKind::Sequence { conditions, within })
        }));
        found.extend(form.absent.value.map(|value| self.absent(value, form.absent.name)));
        found
    }

    fn count(&mut self, value: &Value, kind: &str) -> Option<WindowKind> {
        let (form, place) = self.form::<CountForm<'_>>(value, kind, "{at_least: 5, within: 10m}")?;
        let at_least = self.at_least(form.at_least.value, &place);
        let within = self.within(form.within.value, &place);
        Some(WindowKind::Count { at_least: at_least?, within: within? })
    }

    fn pattern(&mut self, value: &Value, kind: &str) -> Option<(Vec<Condition>, Span)> {
        let (form, place) = self.form::<PatternForm<'_>>(value, kind, "{conditions: [..], within: 10m}")?;
        let conditions = self.conditions(form.conditions.value, &place);
        let within = self.within(form.within.value, &place);
        Some((conditions?, within?))
    }

    fn absent(&mut self, value: &Value, kind: &str) -> Option<WindowKind> {
        let example = "{after: .., expected: .., within: 10m}";
        let (form, place) = self.form::<AbsentForm<'_>>(value, kind, example)?;
        let after = self.condition(form.after.value, form.after.name, &place);
        let expected = self.condition(form.expected.value, form.expected.name, &place);
        let within = self.within(form.within.value, &place);
        Some(WindowKind::Absent { after: after?, expected: expected?, within: within? })
    }

    /// What stands under a kind, and its place.
    fn form<'v, F: Form<JsonMapping<'v>>>(
        &mut self,
        value: &'v Value,
        kind: &str,
        example: &str,
    ) -> Option<(F, String)> {
        let place = format!("/{kind}");
        let Value::Object(members) = value else {
            self.add(place, format!("expected `{example}`, got {}", type_name(value)));
            return None;
        };
        let (form, mapping) = JsonMapping::read::<F>(members);
        for unknown in mapping.unknown() {
            let message = format!("unknown key `{}`; expected {}", unknown.name, listed(&mapping.known()));
            let problem = RuleProblem::new(pointer::child(&place, unknown.name), message);
            self.problems.push(problem.suggest(unknown.suggestion));
        }
        for name in mapping.missing() {
            self.add(place.clone(), format!("the key `{name}` is missing"));
        }
        Some((form, place))
    }

    fn within(&mut self, value: Option<&Value>, place: &str) -> Option<Span> {
        self.span(value?, &format!("{place}/within"))
    }

    fn at_least(&mut self, value: Option<&Value>, place: &str) -> Option<usize> {
        let value = value?;
        let place = format!("{place}/at_least");
        match value.as_u64() {
            Some(1) => {
                self.add(
                    place,
                    "one event is always there, so that the count has no effect; expected 2 or more",
                );
                None
            }
            Some(number) if (2..=AT_LEAST_LIMIT).contains(&number) => usize::try_from(number).ok(),
            _ => {
                let got = if value.is_number() { value.to_string() } else { type_name(value).to_owned() };
                self.add(place, format!("expected a whole number from 2 to {AT_LEAST_LIMIT}, got {got}"));
                None
            }
        }
    }

    fn conditions(&mut self, value: Option<&Value>, place: &str) -> Option<Vec<Condition>> {
        let value = value?;
        let place = format!("{place}/conditions");
        let conditions = match Condition::parse_list(value) {
            Ok(conditions) => conditions,
            Err(problems) => {
                self.problems.extend(problems.into_iter().map(|problem| problem.under(&place)));
                return None;
            }
        };
        if !(2..=CONDITIONS_LIMIT).contains(&conditions.len()) {
            let message = format!(
                "expected 2 to {CONDITIONS_LIMIT} conditions, got {}; a single one belongs into the rule's `conditions`",
                conditions.len()
            );
            self.add(place, message);
            return None;
        }
        Some(conditions)
    }

    fn condition(&mut self, value: Option<&Value>, name: &str, place: &str) -> Option<Condition> {
        let value = value?;
        let place = format!("{place}/{name}");
        match Condition::parse(value) {
            Ok(condition) => Some(condition),
            Err(problems) => {
                self.problems.extend(problems.into_iter().map(|problem| problem.under(&place)));
                None
            }
        }
    }

    fn span(&mut self, value: &Value, place: &str) -> Option<Span> {
        let Some(length) = span(value) else {
            let got = match value {
                Value::String(text) => format!("`{text}`"),
                other => type_name(other).to_owned(),
            };
            self.add(
                place,
                format!("expected a span such as `15m`, `1h30m`, `2d` or a number of seconds, got {got}"),
            );
            return None;
        };
        if length < TimeDelta::seconds(1) || length > TimeDelta::seconds(LONGEST_SPAN) {
            let got = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            self.add(place, format!("expected a span from one second to a year, got {got}"));
            return None;
        }
        Some(Span { written: value.clone(), length })
    }

    fn add(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        self.problems.push(RuleProblem::new(pointer, message));
    }
}

fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
