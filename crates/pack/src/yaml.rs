//! YAML text to a tree of nodes that know where they stand.
//!
//! YAML is read by the 1.2 rules: `yes`, `on` and `no` are text (a country code stays one), and so are numbers with
//! leading zeros or underscores, which other readers understand in four different ways. Tags are refused, because nothing
//! here would act on them. Work and depth are limited, so that no file can exhaust memory or stack.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{DefaultMessageFormatter, DuplicateKeyPolicy, Error, MessageFormatter, Options, Spanned};

use crate::finding::End;
use crate::lines::Lines;

const MAX_NODES: usize = 1_000_000;
const MAX_DEPTH: usize = 32;
const LIMITS: &str = "at most 1000000 values, aliases unfolded, in at most 32 levels";

/// A place in a text; lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) line: u32,
    pub(crate) column: u32,
    /// Where what stands there ends; nothing for mappings, lists and places of which only the beginning is known.
    pub(crate) end: Option<End>,
}

/// A value and where it stands.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) position: Position,
    pub(crate) content: Content,
}

/// What a node holds.
#[derive(Debug)]
pub(crate) enum Content {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Mapping(Vec<Entry>),
}

/// A member of a mapping.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_position: Position,
    pub(crate) node: Node,
}

/// Why a text is not YAML, or not the YAML we read.
#[derive(Debug)]
pub(crate) struct YamlFault {
    pub(crate) position: Position,
    pub(crate) message: String,
    pub(crate) expected: Option<&'static str>,
}

impl Position {
    /// Where a text begins.
    pub(crate) const START: Self = Self { line: 1, column: 1, end: None };
}

impl Node {
    /// The value as JSON.
    pub(crate) fn to_json(&self) -> Value {
        match &self.content {
            Content::Null => Value::Null,
            Content::Bool(truth) => Value::Bool(*truth),
            Content::Number(number) => Value::Number(number.clone()),
            Content::Text(text) => Value::String(text.clone()),
            Content::List(nodes) => nodes.iter().map(Self::to_json).collect(),
            Content::Mapping(entries) => Value::Object(to_map(entries)),
        }
    }
}

/// The members of a mapping as JSON.
pub(crate) fn to_map(entries: &[Entry]) -> Map<String, Value> {
    entries.iter().map(|entry| (entry.key.clone(), entry.node.to_json())).collect()
}

/// Reads a file. A key that stands twice is a fault, but the rest is read with the first of the two, so that whatever
/// else is wrong with the file can be said in the same breath.
pub(crate) fn parse(content: &[u8]) -> (Option<Node>, Option<YamlFault>) {
    let text = match std::str::from_utf8(content) {
        Ok(text) => text,
        Err(error) => return (None, Some(not_utf8(content, error.valid_up_to()))),
    };
    let lines = Lines::of(text);
    match parse_text(text, DuplicateKeyPolicy::Error) {
        Ok(parsed) => (Some(placed(parsed, &lines)), None),
        Err(error) => {
            let parsed = match error {
                Error::DuplicateMappingKey { .. } => parse_text(text, DuplicateKeyPolicy::FirstWins).ok(),
                _ => None,
            };
            (parsed.map(|parsed| placed(parsed, &lines)), Some(fault(&error, text, &lines)))
        }
    }
}

fn parse_text(text: &str, duplicate_keys: DuplicateKeyPolicy) -> Result<Spanned<Parsed>, Error> {
    serde_saphyr::from_str_with_options(text, options(duplicate_keys))
}

fn options(duplicate_keys: DuplicateKeyPolicy) -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            // A generated list of a few megabytes is fine, a file that unfolds its aliases for ever is not.
            // A level takes about 40 kB of stack in builds without optimisation; threads have 2 MB.
            max_nodes: MAX_NODES,
            max_events: 4_000_000,
            max_recorded_anchor_events: 100_000,
            max_depth: MAX_DEPTH,
        },
        duplicate_keys: duplicate_keys,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

fn not_utf8(content: &[u8], at: usize) -> YamlFault {
    let before = String::from_utf8_lossy(&content[..at]);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
    YamlFault {
        position: Position { line: to_u32(line), column: to_u32(column), end: None },
        message: "the file is not UTF-8 text".to_owned(),
        expected: Some("a YAML file in UTF-8"),
    }
}

fn fault(error: &Error, text: &str, lines: &Lines) -> YamlFault {
    let location = error.location();
    let error = match error {
        // What happened while an alias was unfolded; the location above is that of the alias.
        Error::AliasError { error, .. } => error,
        other => other,
    };
    let position = location.map_or(Position::START, |location| lines.position(location));
    let (message, expected) = match error {
        Error::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().unwrap_or_default();
            (format!("the key `{key}` stands here for the second time"), Some("every key once"))
        }
        Error::MultipleDocuments { .. } => {
            ("a second YAML document begins here".to_owned(), Some("one document in a file"))
        }
        _ if follows_braces(text, position) => (
            "a template without quotes".to_owned(),
            Some("quotes around the whole text, as in \"{{ event.payload.name }}\""),
        ),
        Error::Unexpected { .. } | Error::NullIntoString { .. } => {
            ("the key of a mapping is not text".to_owned(), Some("a name before the colon"))
        }
        Error::Budget { .. } => ("the file is too large or nested too deeply".to_owned(), Some(LIMITS)),
        _ => {
            let said = DefaultMessageFormatter.format_message(error).into_owned();
            let expected = advice(&said);
            (format!("invalid YAML: {said}"), expected)
        }
    };
    YamlFault { position, message, expected }
}

/// Whether the template braces that a newcomer forgets to quote stand at a position or end there.
fn follows_braces(text: &str, position: Position) -> bool {
    let line = text.lines().nth(position.line as usize - 1).unwrap_or_default();
    let before = position.column.saturating_sub(2) as usize;
    let there: String = line.chars().skip(before).take(2).collect();
    there == "{{" || there == "{%"
}

/// What the parser would have liked, for the faults that people make most.
fn advice(message: &str) -> Option<&'static str> {
    let known = [
        (
            "mapping values are not allowed",
            "keys of the same mapping in the same column, and quotes around text that contains `: `",
        ),
        ("unexpected character", "quotes around text that begins with a special character"),
        ("did not find expected key", "keys of the same mapping in the same column"),
        ("did not find expected '-'", "either a list or a mapping, not both"),
        ("illegal placement of ':'", "the closing bracket of a `[` or `{` that stands before"),
        ("unclosed quote", "the closing quote"),
        ("block sequence entries are not allowed", "the list on lines of its own, below its key"),
        ("trailing content after", "a quote inside of quoted text to be doubled"),
        ("unknown anchor", "an `&anchor` of that name before the `*alias`"),
        ("unsupported tag", "a plain value without a tag"),
        ("non-finite float", "a finite number, or quotes around it"),
        ("unclosed bracket", "the closing bracket"),
    ];
    known.iter().find(|(part, _)| message.contains(part)).map(|(_, advice)| *advice)
}

fn to_u32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// A value as the parser gives it; where it ends is only known with the lines of the text.
#[derive(Debug)]
enum Parsed {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Spanned<Parsed>>),
    Mapping(Vec<(Spanned<String>, Spanned<Parsed>)>),
}

fn placed(parsed: Spanned<Parsed>, lines: &Lines) -> Node {
    let content = match parsed.value {
        Parsed::Null => Content::Null,
        Parsed::Bool(truth) => Content::Bool(truth),
        Parsed::Number(number) => Content::Number(number),
        Parsed::Text(text) => Content::Text(text),
        Parsed::List(elements) => {
            Content::List(elements.into_iter().map(|element| placed(element, lines)).collect())
        }
        Parsed::Mapping(members) => {
            let entry = |(key, value): (Spanned<String>, Spanned<Parsed>)| Entry {
                key_position: lines.position(key.defined),
                key: key.value,
                node: placed(value, lines),
            };
            Content::Mapping(members.into_iter().map(entry).collect())
        }
    };
    // Where the text stands, not where an alias repeats it: that is the place to mend.
    let mut position = lines.position(parsed.defined);
    if matches!(content, Content::List(_) | Content::Mapping(_)) {
        // What the parser has of them is their bracket.
        position.end = None;
    }
    Node { position, content }
}

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ParsedVisitor)
    }
}

struct ParsedVisitor;

impl<'de> Visitor<'de> for ParsedVisitor {
    type Value = Parsed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Parsed, E> {
        Ok(Parsed::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Parsed, E> {
        Ok(Parsed::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Parsed, E> {
        Ok(Parsed::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Parsed, E> {
        Ok(Parsed::Number(number.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Parsed, E> {
        Number::from_f64(number).map(Parsed::Number).ok_or_else(|| E::custom("non-finite float"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Parsed, E> {
        Ok(Parsed::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Parsed, E> {
        Ok(Parsed::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Parsed, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element()? {
            list.push(element);
        }
        Ok(Parsed::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Parsed, A::Error> {
        let mut list = Vec::new();
        while let Some(member) = members.next_entry()? {
            list.push(member);
        }
        Ok(Parsed::Mapping(list))
    }
}
