//! Paths to fields: `event.payload.alerts[0].labels['odd key']`.
//!
//! A path starts with the name of a root of the [`Scope`] and goes on with keys (`.name`, `['any text']`), positions
//! (`[0]`, `[-1]` from the end) and `[*]`, which stands for any element of an array or any value of an object. A bare
//! key may hold letters, digits and `_ - @ $ / :`; everything else is quoted. [`FieldPath`] prints in a form that reads
//! back as the same path.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::cache::Pool;
use crate::scope::Scope;
use crate::suggest::nearest;
use crate::value::type_name;

/// Rules by the thousand name the same fields.
static SHARED: Pool<FieldPath> = Pool::new();

/// A parsed path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FieldPath {
    root: String,
    segments: Vec<Segment>,
}

/// One step of a path after its root.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Segment {
    /// A member of an object; on an array a key of digits means the position.
    Key(String),
    /// A position in an array; negative numbers count from the end.
    Index(i64),
    /// `[*]`: any element of an array, any value of an object.
    Any,
}

/// What a path found in a scope.
#[derive(Debug, Clone, PartialEq)]
pub enum Selection<'a> {
    /// The field does not exist.
    None,
    /// A path without `[*]` found its value.
    One(&'a Value),
    /// What a path with `[*]` found; empty when there was an array or object to look into but it had no elements.
    Many(Vec<&'a Value>),
}

/// Why a path cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("bad path `{path}` at character {position}: {message}")]
pub struct PathError {
    /// The text as given.
    pub path: String,
    /// Where reading stopped, counted in characters from 1.
    pub position: usize,
    /// What was expected there.
    pub message: String,
}

impl FieldPath {
    /// Reads a path.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let mut reader = Reader::new(text);
        let root = reader.root()?;
        let mut segments = Vec::new();
        while !reader.at_end() {
            segments.push(reader.segment()?);
        }
        Ok(Self { root, segments })
    }

    /// Reads a path, or takes the one that others hold of the same text.
    pub fn shared(text: &str) -> Result<Arc<Self>, PathError> {
        SHARED.share(text, || Self::parse(text))
    }

    /// The path that starts from this root and goes on with these keys.
    pub fn of_keys<'k>(root: &str, keys: impl IntoIterator<Item = &'k str>) -> Self {
        let segments = keys.into_iter().map(|key| Segment::Key(key.to_owned())).collect();
        Self { root: root.to_owned(), segments }
    }

    /// A path of its parts.
    pub fn new(root: impl Into<String>, segments: Vec<Segment>) -> Self {
        Self { root: root.into(), segments }
    }

    /// The name of the root the path starts from.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The steps after the root.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// True when the path has a `[*]` and so may find several values.
    pub fn has_any(&self) -> bool {
        self.segments.contains(&Segment::Any)
    }

    /// Follows the path in a scope. A step that does not fit the value it meets finds nothing.
    pub fn select<'a>(&self, scope: &Scope<'a>) -> Selection<'a> {
        let Some(mut value) = scope.get(&self.root) else { return Selection::None };
        for (position, segment) in self.segments.iter().enumerate() {
            if *segment == Segment::Any {
                return select_many(value, &self.segments[position..]);
            }
            match step(value, segment) {
                Some(next) => value = next,
                None => return Selection::None,
            }
        }
        Selection::One(value)
    }

    /// Says where a path stops that finds nothing: up to which field it got and, for a likely slip of the pen, which key
    /// was meant. For explanations; nothing here is fast.
    pub fn explain_missing(&self, scope: &Scope<'_>) -> String {
        let Some(root) = scope.get(&self.root) else {
            return format!("there is no `{}`{}", self.root, did_you_mean(&self.root, scope.names()));
        };
        let mut reached = Self { root: self.root.clone(), segments: Vec::new() };
        // Behind `[*]` the first element stands for all.
        let mut value = root;
        for segment in &self.segments {
            let next = match segment {
                Segment::Any => select_many(value, std::slice::from_ref(segment)).first(),
                Segment::Key(_) | Segment::Index(_) => step(value, segment),
            };
            let Some(next) = next else {
                return match (segment, value) {
                    (Segment::Key(key), Value::Object(members)) => {
                        let keys = members.keys().map(String::as_str);
                        format!("`{reached}` has no `{key}`{}", did_you_mean(key, keys))
                    }
                    (Segment::Index(index), Value::Array(elements)) => {
                        format!("`{reached}` has no element {index}, only {}", elements.len())
                    }
                    _ => format!("`{reached}` is of type {}, so it has no `{segment}`", type_name(value)),
                };
            };
            value = next;
            reached.segments.push(segment.clone());
        }
        format!("`{self}` does not exist")
    }
}

impl<'a> Selection<'a> {
    /// The first value found.
    pub fn first(&self) -> Option<&'a Value> {
        match self {
            Self::None => None,
            Self::One(value) => Some(value),
            Self::Many(values) => values.first().copied(),
        }
    }
}

fn did_you_mean<'n>(given: &str, names: impl Iterator<Item = &'n str>) -> String {
    nearest(given, names).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.root)?;
        self.segments.iter().try_for_each(|segment| segment.fmt(f))
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) if !key.is_empty() && key.chars().all(is_bare) => write!(f, ".{key}"),
            Self::Key(key) => {
                f.write_str("['")?;
                for character in key.chars() {
                    if matches!(character, '\'' | '\\') {
                        f.write_str("\\")?;
                    }
                    write!(f, "{character}")?;
                }
                f.write_str("']")
            }
            Self::Index(index) => write!(f, "[{index}]"),
            Self::Any => f.write_str("[*]"),
        }
    }
}

/// Follows one step other than `[*]`, which stands for several and finds nothing here.
pub fn step<'a>(value: &'a Value, segment: &Segment) -> Option<&'a Value> {
    match (segment, value) {
        (Segment::Key(key), Value::Object(members)) => members.get(key),
        (Segment::Key(key), Value::Array(elements)) => elements.get(key.parse::<usize>().ok()?),
        (Segment::Index(index), Value::Array(elements)) => {
            let position = if *index < 0 {
                elements.len().checked_sub(usize::try_from(index.unsigned_abs()).ok()?)?
            } else {
                usize::try_from(*index).ok()?
            };
            elements.get(position)
        }
        _ => None,
    }
}

fn select_many<'a>(start: &'a Value, segments: &[Segment]) -> Selection<'a> {
    let mut found = vec![start];
    let mut met_empty = false;
    for segment in segments {
        found = match segment {
            Segment::Any => {
                let mut elements = Vec::new();
                for value in found {
                    match value {
                        Value::Array(items) => {
                            met_empty |= items.is_empty();
                            elements.extend(items);
                        }
                        Value::Object(members) => {
                            met_empty |= members.is_empty();
                            elements.extend(members.values());
                        }
                        _ => {}
                    }
                }
                elements
            }
            Segment::Key(_) | Segment::Index(_) => {
                found.into_iter().filter_map(|value| step(value, segment)).collect()
            }
        };
    }
    if found.is_empty() && !met_empty { Selection::None } else { Selection::Many(found) }
}

fn is_bare(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '-' | '@' | '$' | '/' | ':')
}

/// Reads a path from left to right; positions are characters, because that is what people count.
struct Reader<'t> {
    text: &'t str,
    characters: Vec<char>,
    position: usize,
}

impl<'t> Reader<'t> {
    fn new(text: &'t str) -> Self {
        Self { text, characters: text.chars().collect(), position: 0 }
    }

    fn at_end(&self) -> bool {
        self.position == self.characters.len()
    }

    fn peek(&self) -> Option<char> {
        self.characters.get(self.position).copied()
    }

    fn fail(&self, message: impl Into<String>) -> PathError {
        PathError { path: self.text.to_owned(), position: self.position + 1, message: message.into() }
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> String {
        let start = self.position;
        while self.peek().is_some_and(&accept) {
            self.position += 1;
        }
        self.characters[start..self.position].iter().collect()
    }

    fn root(&mut self) -> Result<String, PathError> {
        if !self.peek().is_some_and(|first| first.is_alphabetic() || first == '_') {
            return Err(self.fail("expected the name of a root such as `event`"));
        }
        Ok(self.take_while(|character| character.is_alphanumeric() || character == '_'))
    }

    fn segment(&mut self) -> Result<Segment, PathError> {
        match self.peek() {
            Some('.') => {
                self.position += 1;
                if self.peek() == Some('*') {
                    self.position += 1;
                    return Ok(Segment::Any);
                }
                let key = self.take_while(is_bare);
                if key.is_empty() {
                    return Err(self.fail("expected a key after `.`; quote odd keys as ['odd key']"));
                }
                Ok(Segment::Key(key))
            }
            Some('[') => {
                self.position += 1;
                let segment = self.bracket()?;
                if self.peek() != Some(']') {
                    return Err(self.fail("expected `]`"));
                }
                self.position += 1;
                Ok(segment)
            }
            _ => Err(self.fail("expected `.` or `[`; quote odd keys as ['odd key']")),
        }
    }

    fn bracket(&mut self) -> Result<Segment, PathError> {
        match self.peek() {
            Some('*') => {
                self.position += 1;
                Ok(Segment::Any)
            }
            Some(quote @ ('\'' | '"')) => self.quoted(quote).map(Segment::Key),
            Some('-' | '0'..='9') => {
                let digits = self.take_while(|character| character == '-' || character.is_ascii_digit());
                digits.parse().map(Segment::Index).map_err(|_| self.fail("expected a whole number"))
            }
            _ => Err(self.fail("expected a position, `*` or a quoted key between `[` and `]`")),
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, PathError> {
        self.position += 1;
        let mut key = String::new();
        loop {
            match self.peek() {
                None => return Err(self.fail(format!("expected the closing {quote}"))),
                Some('\\') => {
                    self.position += 1;
                    let escaped = self.peek().ok_or_else(|| self.fail("expected a character after `\\`"))?;
                    key.push(escaped);
                }
                Some(character) if character == quote => {
                    self.position += 1;
                    return Ok(key);
                }
                Some(character) => key.push(character),
            }
            self.position += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn select(path: &str) -> serde_json::Value {
        let event = json!({
            "payload": {
                "alerts": [
                    {"labels": {"odd key": 1, "it's": 2, "host": "a"}},
                    {"labels": {"host": "b"}},
                    {"other": true}
                ],
                "empty": [],
                "0": "zero",
                "nothing": null
            }
        });
        let scope = Scope::new().with("event", &event);
        match FieldPath::parse(path).unwrap().select(&scope) {
            Selection::None => json!("none"),
            Selection::One(value) => json!({"one": value}),
            Selection::Many(values) => json!({"many": values}),
        }
    }

    #[test]
    fn test_select_follows_keys_and_positions() {
        assert_eq!(select("event.payload.alerts[0].labels['odd key']"), json!({"one": 1}));
        assert_eq!(select(r#"event.payload.alerts[0].labels["it's"]"#), json!({"one": 2}));
        assert_eq!(select(r"event.payload.alerts[0].labels['it\'s']"), json!({"one": 2}));
        assert_eq!(select("event.payload.alerts[-2].labels.host"), json!({"one": "b"}));
        assert_eq!(select("event.payload.alerts.1.labels.host"), json!({"one": "b"}));
        assert_eq!(select("event.payload.0"), json!({"one": "zero"}));
        assert_eq!(select("event.payload.nothing"), json!({"one": null}));
    }

    #[test]
    fn test_select_finds_nothing_where_the_shape_differs() {
        for path in [
            "evnt.payload",
            "event.payload.nope",
            "event.payload.nothing.deeper",
            "event.payload.alerts[3]",
            "event.payload.alerts[-4]",
            "event.payload['0'][0]",
            "event.payload[0]",
            "event.payload.alerts.host",
            "event.payload.nope[*]",
            "event.payload.alerts[*].nope",
            "event.payload['0'][*]",
        ] {
            assert_eq!(select(path), json!("none"), "{path}");
        }
    }

    #[test]
    fn test_select_any_collects_what_exists() {
        assert_eq!(select("event.payload.alerts[*].labels.host"), json!({"many": ["a", "b"]}));
        assert_eq!(select("event.payload.alerts.*.labels.host"), json!({"many": ["a", "b"]}));
        assert_eq!(select("event.payload.alerts[1].labels[*]"), json!({"many": ["b"]}));
        assert_eq!(select("event.payload.alerts[*].labels[*]"), json!({"many": ["a", 2, 1, "b"]}));
        assert_eq!(select("event.payload.empty[*].labels"), json!({"many": []}));
    }

    #[test]
    fn test_explain_missing_says_how_far_it_got() {
        let event = json!({"payload": {"severity": "high", "alerts": [{"labels": {"host": "a"}}], "none": [], "text": "x"}});
        let scope = Scope::new().with("event", &event);
        let explain = |path: &str| FieldPath::parse(path).unwrap().explain_missing(&scope);
        assert_eq!(explain("evnt.payload"), "there is no `evnt`; did you mean `event`?");
        assert_eq!(
            explain("event.payload.severty"),
            "`event.payload` has no `severty`; did you mean `severity`?"
        );
        assert_eq!(explain("event.payload.zzz.x"), "`event.payload` has no `zzz`");
        assert_eq!(explain("event.payload.alerts[2].x"), "`event.payload.alerts` has no element 2, only 1");
        assert_eq!(
            explain("event.payload.text.x"),
            "`event.payload.text` is of type string, so it has no `.x`"
        );
        assert_eq!(
            explain("event.payload.alerts[*].labels.hots"),
            "`event.payload.alerts[*].labels` has no `hots`; did you mean `host`?"
        );
    }

    #[test]
    fn test_parse_says_where_and_what() {
        let check = |path: &str, position: usize, message: &str| {
            let error = FieldPath::parse(path).unwrap_err();
            assert_eq!(error.position, position, "{error}");
            assert!(error.message.contains(message), "{error}");
        };
        check("", 1, "name of a root");
        check("0event", 1, "name of a root");
        check("event.", 7, "a key after `.`");
        check("event..a", 7, "a key after `.`");
        check("event.odd key", 10, "quote odd keys");
        check("event[", 7, "between `[` and `]`");
        check("event[a]", 7, "between `[` and `]`");
        check("event['a", 9, "closing '");
        check("event['a'", 10, "expected `]`");
        check("event[1-2]", 10, "whole number");
        check("event[99999999999999999999]", 27, "whole number");
        check("event.é ü", 8, "quote odd keys");
        check("{{ event }}", 1, "name of a root");
    }

    #[test]
    fn test_display_quotes_only_what_needs_it() {
        let shown = |path: &str| FieldPath::parse(path).unwrap().to_string();
        assert_eq!(shown("event['a']['b c'][\"d'e\"].*[-1]"), r"event.a['b c']['d\'e'][*][-1]");
        assert_eq!(shown("event['']"), "event['']");
    }

    fn any_segment() -> impl Strategy<Value = Segment> {
        prop_oneof![
            ".*".prop_map(Segment::Key),
            "[a-z_$/:@-]{1,8}".prop_map(Segment::Key),
            any::<i64>().prop_map(Segment::Index),
            Just(Segment::Any),
        ]
    }

    proptest! {
        #[test]
        fn prop_display_reads_back(
            root in "[a-z_][a-z0-9_]{0,8}",
            segments in proptest::collection::vec(any_segment(), 0..6),
        ) {
            let path = FieldPath { root, segments };
            prop_assert_eq!(FieldPath::parse(&path.to_string()), Ok(path));
        }

        #[test]
        fn prop_parse_never_panics_and_stays_put(text in ".{0,40}") {
            if let Ok(path) = FieldPath::parse(&text) {
                prop_assert_eq!(FieldPath::parse(&path.to_string()), Ok(path));
            }
        }
    }
}
