//! The kinds of values that stand in several files: each with its schema and, where nothing else is needed, its reader.
//!
//! What a pattern says and what a reader accepts stand next to each other here, and a test compares them.

use std::time::Duration;

use attune_expr::form::{AnyText, Described};
use attune_expr::schema::{check_parameters, check_payload_schema, parameters_schema, to_json_schema};
use attune_rules::ConditionMode;
use semver::VersionReq;
use serde_json::{Map, Value, json};

use crate::finding::Located;
use crate::form::Readable;
use crate::placement::{LABEL_FORM, is_label};
use crate::reader::{Item, shortened};
use crate::version::{CONSTRAINT_FORM, VersionConstraint};
use crate::{duration, reference};

/// Long enough for anything that is not a mistake, and safely within what the database can add to a time.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// A kind of text: the pattern of its schema, and whether a text is of that kind.
macro_rules! texts {
    ($($(#[$meta:meta])* $name:ident: $pattern:expr;)+) => {
        $(
            $(#[$meta])*
            #[derive(Debug)]
            pub(crate) struct $name;

            impl Described for $name {
                fn schema() -> Value {
                    json!({"type": "string", "pattern": $pattern})
                }
            }
        )+
    };
}

texts! {
    /// Text that says something.
    Text: r"\S";
    /// The ref of a pack: [`reference::is_pack`].
    PackRef: reference::PACK_PATTERN;
    /// The ref of a component: [`reference::split`].
    ComponentRef: reference::COMPONENT_PATTERN;
    /// The ref of a key.
    KeyRef: reference::COMPONENT_PATTERN;
    /// A label or taint: [`is_label`].
    Label: crate::placement::LABEL_PATTERN;
    /// A semantic version.
    SemanticVersion: r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$";
}

impl Readable for Text {
    type Value = String;

    fn read(item: &Item<'_>) -> Option<String> {
        item.text().map(str::to_owned)
    }
}

impl Readable for AnyText {
    type Value = String;

    fn read(item: &Item<'_>) -> Option<String> {
        item.any_text().map(str::to_owned)
    }
}

impl Readable for bool {
    type Value = Self;

    fn read(item: &Item<'_>) -> Option<Self> {
        item.bool()
    }
}

/// True or false, and which of them where nothing is said.
#[derive(Debug)]
pub(crate) struct Flag<const DEFAULT: bool>;

impl<const DEFAULT: bool> Described for Flag<DEFAULT> {
    fn schema() -> Value {
        json!({"type": "boolean", "default": DEFAULT})
    }
}

impl<const DEFAULT: bool> crate::form::Member<'_, Flag<DEFAULT>> {
    /// What it says.
    pub(crate) fn is_on(&self) -> bool {
        self.item().and_then(Item::bool).unwrap_or(DEFAULT)
    }
}

/// Any value but null, which stands for none.
#[derive(Debug)]
pub(crate) struct Anything;

impl Described for Anything {
    fn schema() -> Value {
        json!({"type": ["array", "boolean", "number", "object", "string"]})
    }
}

impl Readable for Anything {
    type Value = Value;

    fn read(item: &Item<'_>) -> Option<Value> {
        Some(item.json())
    }
}

/// A mapping whose keys are the author's own.
#[derive(Debug)]
pub(crate) struct AnyObject;

impl Described for AnyObject {
    fn schema() -> Value {
        json!({"type": "object"})
    }
}

impl Readable for AnyObject {
    type Value = Map<String, Value>;

    fn read(item: &Item<'_>) -> Option<Self::Value> {
        item.object()
    }
}

/// A whole number between two others.
#[derive(Debug)]
pub(crate) struct Whole<const LEAST: u32, const MOST: u32>;

impl<const LEAST: u32, const MOST: u32> Described for Whole<LEAST, MOST> {
    fn schema() -> Value {
        json!({"type": "integer", "minimum": LEAST, "maximum": MOST})
    }
}

impl<const LEAST: u32, const MOST: u32> Readable for Whole<LEAST, MOST> {
    type Value = u32;

    fn read(item: &Item<'_>) -> Option<u32> {
        let given = item.number_or_text().and_then(Result::ok).and_then(serde_json::Number::as_u64);
        let number = given.and_then(|number| u32::try_from(number).ok());
        let number = number.filter(|number| (LEAST..=MOST).contains(number));
        if number.is_none() {
            let given = item.json().to_string();
            let finding = item.finding(format!("`{}` is {}", item.name(), shortened(&given)));
            item.add(finding.expected(format!("a whole number from {LEAST} to {MOST}")));
        }
        number
    }
}

/// So many that no limit of the database is reached.
pub(crate) type Many = Whole<1, { i32::MAX.unsigned_abs() }>;

/// A time that something takes: whole seconds, or a number with its unit.
#[derive(Debug)]
pub(crate) struct Period;

impl Described for Period {
    fn schema() -> Value {
        json!({
            "type": ["integer", "string"],
            "minimum": 1,
            "maximum": LONGEST.as_secs(),
            "pattern": "^0*[1-9][0-9]*[smh]$",
            "examples": ["30s", "5m", "2h"],
        })
    }
}

impl Readable for Period {
    type Value = Duration;

    fn read(item: &Item<'_>) -> Option<Duration> {
        let expected = "whole seconds, or `30s`, `5m`, `2h`; more than nothing, at most a year";
        read_duration(item, Duration::from_secs(1), expected)
    }
}

/// How long after the first moment something is.
#[derive(Debug)]
pub(crate) struct Moment;

impl Described for Moment {
    fn schema() -> Value {
        json!({
            "type": ["integer", "string"],
            "minimum": 0,
            "maximum": LONGEST.as_secs(),
            "pattern": "^[0-9]+[smh]$",
            "examples": ["0s", "30s", "5m"],
        })
    }
}

impl Readable for Moment {
    type Value = Duration;

    fn read(item: &Item<'_>) -> Option<Duration> {
        read_duration(item, Duration::ZERO, "whole seconds, or `30s`, `5m`, `2h`; at most a year")
    }
}

fn read_duration(item: &Item<'_>, least: Duration, expected: &str) -> Option<Duration> {
    let duration = match item.number_or_text() {
        Some(Ok(number)) => number.as_u64().map(Duration::from_secs),
        Some(Err(text)) => duration::parse(text),
        None => None,
    };
    let valid = duration.filter(|duration| (least..=LONGEST).contains(duration));
    if valid.is_none() {
        let given = item.shown();
        let finding = item.finding(format!(
            "`{}` `{}` is not a duration that can be used",
            item.name(),
            shortened(&given)
        ));
        item.add(finding.expected(expected));
    }
    valid
}

/// A range of versions of a pack. A number would lose what makes `1.10` differ from `1.1`.
#[derive(Debug)]
pub(crate) struct Range;

impl Described for Range {
    fn schema() -> Value {
        json!({"type": "string", "pattern": r"\S", "examples": ["*", "^1.2", ">=1.2, <3"]})
    }
}

impl Readable for Range {
    type Value = Located<VersionReq>;

    fn read(item: &Item<'_>) -> Option<Self::Value> {
        const FORM: &str = "a range such as `>=1.2`, `^1.2`, `>=1.2, <3` or `*`";
        if let Some(Ok(number)) = item.number_or_text() {
            let finding = item.finding(format!("`{}` is the number {number}", item.name()));
            item.add(finding.expected(FORM).suggestion(Some(format!("\"{number}\""))));
            return None;
        }
        let given = item.text()?;
        match VersionReq::parse(given) {
            Ok(range) => Some(item.located(range)),
            Err(error) => {
                let message =
                    format!("`{}` is no range of versions, as `{}`: {error}", item.name(), shortened(given));
                item.add(item.finding(message).expected(FORM));
                None
            }
        }
    }
}

/// Packs by their refs, each with the versions that will do.
#[derive(Debug)]
pub(crate) struct Dependencies;

impl Described for Dependencies {
    fn schema() -> Value {
        json!({
            "type": "object",
            "propertyNames": PackRef::schema(),
            "additionalProperties": Range::schema(),
        })
    }
}

/// Which versions of an interpreter will do. A number would lose what makes `3.10` differ from `3.1`.
impl Described for VersionConstraint {
    fn schema() -> Value {
        json!({"type": "string", "pattern": r"\S", "examples": [">=3.11", ">=18, <23", "3.12"]})
    }
}

impl Readable for VersionConstraint {
    type Value = Self;

    fn read(item: &Item<'_>) -> Option<Self> {
        if let Some(Ok(number)) = item.number_or_text() {
            let finding = item.finding(format!("`{}` is the number {number}", item.name()));
            item.add(finding.expected("the version in quotes: as numbers, `3.10` and `3.1` are the same"));
            return None;
        }
        let given = item.text()?;
        match given.parse() {
            Ok(constraint) => Some(constraint),
            Err(error) => {
                let problem = format!("`{}` `{}` is not understood: {error}", item.name(), shortened(given));
                item.add(item.finding(problem).expected(CONSTRAINT_FORM));
                None
            }
        }
    }
}

/// A taint.
impl Readable for Label {
    type Value = String;

    fn read(item: &Item<'_>) -> Option<String> {
        label(item, "cannot name a taint")
    }
}

/// Labels with their values.
#[derive(Debug)]
pub(crate) struct Labels;

impl Described for Labels {
    fn schema() -> Value {
        json!({"type": "object", "additionalProperties": Label::schema(), "propertyNames": Label::schema()})
    }
}

impl Readable for Labels {
    type Value = std::collections::BTreeMap<String, String>;

    fn read(item: &Item<'_>) -> Option<Self::Value> {
        let entry = |(name, key, value): (&str, Item<'_>, Item<'_>)| {
            if !is_label(name) {
                let finding = key.finding(format!("`{}` cannot name a label", shortened(name)));
                key.add(finding.expected(LABEL_FORM));
                return None;
            }
            let text = label(&value, "is no value that a label can have")?;
            Some((name.to_owned(), text))
        };
        Some(item.members()?.into_iter().filter_map(entry).collect())
    }
}

fn label(item: &Item<'_>, problem: &str) -> Option<String> {
    let text = item.text()?;
    if is_label(text) {
        return Some(text.to_owned());
    }
    item.add(item.finding(format!("`{}` {problem}", shortened(text))).expected(LABEL_FORM));
    None
}

/// Parameters by name, as their author writes them; read as the JSON schema of what holds them.
#[derive(Debug)]
pub(crate) struct Parameters;

/// Where a schema that has parameters says what one of them is.
pub(crate) fn specification() -> Value {
    json!({"$ref": "#/$defs/parameter"})
}

impl Described for Parameters {
    fn schema() -> Value {
        parameters_schema(&specification())
    }
}

impl Readable for Parameters {
    type Value = Value;

    fn read(item: &Item<'_>) -> Option<Value> {
        let parameters = item.object()?;
        for problem in check_parameters(&parameters) {
            item.report(&problem.pointer, &problem.message, problem.suggestion);
        }
        Some(to_json_schema(&parameters))
    }
}

/// The JSON schema of a payload or of a result; keywords of others may stand in it.
#[derive(Debug)]
pub(crate) struct PayloadSchema;

impl Described for PayloadSchema {
    fn schema() -> Value {
        json!({"$ref": "https://json-schema.org/draft/2020-12/schema", "type": "object"})
    }
}

impl Readable for PayloadSchema {
    type Value = Value;

    fn read(item: &Item<'_>) -> Option<Value> {
        let schema = Value::Object(item.object()?);
        for problem in check_payload_schema(&schema) {
            item.report(&problem.pointer, &problem.message, problem.suggestion);
        }
        Some(schema)
    }
}

impl Readable for ConditionMode {
    type Value = Self;

    fn read(item: &Item<'_>) -> Option<Self> {
        item.choice(Self::ALL, Self::as_str)
    }
}

/// A type whose values have names in files, all of which stand in its `ALL`.
macro_rules! chosen {
    ($($name:ty),+ $(,)?) => {
        $(
            impl attune_expr::form::Described for $name {
                fn schema() -> serde_json::Value {
                    attune_expr::form::one_of(Self::ALL.iter().map(|value| value.as_str()))
                }
            }

            impl crate::form::Readable for $name {
                type Value = Self;

                fn read(item: &crate::reader::Item<'_>) -> Option<Self> {
                    item.choice(Self::ALL, Self::as_str)
                }
            }
        )+
    };
}

pub(crate) use chosen;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form::alike::{check, check_by};

    #[test]
    fn test_patterns_say_what_is_read() {
        check_by(&PackRef::schema(), "[a-c1_.A-]{0,4}", reference::is_pack);
        check_by(&ComponentRef::schema(), "[ab1_-]{0,3}[.]?[aB1._ -]{0,3}", |text| {
            reference::split(text).is_some()
        });
        check_by(&KeyRef::schema(), "[ab1]{1,3}[.]?[aB1._-]{0,3}", |text| reference::split(text).is_some());
        check_by(&Label::schema(), "[aZ0._/ ä-]{0,4}(a{58,61})?[a-]?", is_label);
        check::<Text>("[ \ta\n]{0,3}");
        check::<Period>("0{0,2}[0-9]{0,3}[smhd ]?");
        check::<Moment>("0{0,2}[0-9]{0,3}[smhd ]?");
    }
}
