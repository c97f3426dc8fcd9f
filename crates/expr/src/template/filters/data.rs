//! Filters between values and JSON or YAML text.

use std::borrow::Cow;
use std::io;

use minijinja::value::{Rest, ValueOrKwargs};
use minijinja::{Environment, Error, Value};
use serde::Serialize;
use serde_json::Value as Json;
use serde_json::ser::{Formatter, Serializer};

use super::super::engine::{to_engine, to_json};
use super::{Arguments, invalid};

/// The deepest indentation that `to_json_string` makes.
const INDENT_LIMIT: usize = 16;

pub(super) fn register(environment: &mut Environment<'static>) {
    for name in ["from_json_string", "json_parse"] {
        environment.add_filter(name, from_json_string);
    }
    for name in ["from_yaml_string", "yaml_parse"] {
        environment.add_filter(name, from_yaml_string);
    }
    for name in ["to_json_string", "json_dump"] {
        environment.add_filter(name, to_json_string);
    }
    for name in ["to_yaml_string", "yaml_dump"] {
        environment.add_filter(name, to_yaml_string);
    }
    environment.add_filter("json_escape", json_escape);
}

fn from_json_string(text: Cow<'_, str>) -> Result<Value, Error> {
    // The parser's message holds a position but nothing of the text, which may be a secret.
    let value: Json = serde_json::from_str(&text).map_err(|error| invalid(format!("not JSON: {error}")))?;
    Ok(to_engine(&value))
}

fn from_yaml_string(text: Cow<'_, str>) -> Result<Value, Error> {
    let value: Json = serde_saphyr::from_str(&text).map_err(|error| {
        let place = error
            .location()
            .map(|location| format!(" (line {}, column {})", location.line(), location.column()));
        invalid(format!("not YAML{}", place.unwrap_or_default()))
    })?;
    Ok(to_engine(&value))
}

fn json_escape(text: Cow<'_, str>) -> Result<String, Error> {
    let quoted = serde_json::to_string(&text).map_err(|error| invalid(error.to_string()))?;
    Ok(quoted[1..quoted.len() - 1].to_owned())
}

fn to_yaml_string(value: Value) -> Result<String, Error> {
    serde_saphyr::to_string(&to_json(&value)?).map_err(|_| invalid("the value cannot be written as YAML"))
}

/// Python's `json.dumps` with StackStorm's default separators; keys are always sorted.
fn to_json_string(value: Value, arguments: Rest<ValueOrKwargs>) -> Result<String, Error> {
    let arguments = Arguments::new(arguments)?;
    let indent = match arguments.get(0, "indent") {
        None => None,
        Some(indent) => match usize::try_from(indent) {
            Ok(indent) if indent <= INDENT_LIMIT => Some(indent),
            _ => {
                return Err(invalid(format!(
                    "argument `indent` must be a whole number up to {INDENT_LIMIT}"
                )));
            }
        },
    };
    // Accepted for its name's sake: objects are sorted either way.
    arguments.flag(1, "sort_keys");
    let (item, key) = match arguments.get(2, "separators") {
        None => (",".to_owned(), ": ".to_owned()),
        Some(pair) => separators(&pair).ok_or_else(|| invalid("argument `separators` must be two texts"))?,
    };
    arguments.finish(3)?;
    let mut written = Vec::new();
    let format = PythonFormat { indent, item, key, depth: 0, has_value: false };
    to_json(&value)?
        .serialize(&mut Serializer::with_formatter(&mut written, format))
        .map_err(|error| invalid(error.to_string()))?;
    String::from_utf8(written).map_err(|error| invalid(error.to_string()))
}

fn separators(pair: &Value) -> Option<(String, String)> {
    let mut parts = pair.try_iter().ok()?;
    let (item, key) = (parts.next()?, parts.next()?);
    parts.next().is_none().then_some(())?;
    Some((item.as_str()?.to_owned(), key.as_str()?.to_owned()))
}

struct PythonFormat {
    indent: Option<usize>,
    item: String,
    key: String,
    depth: usize,
    has_value: bool,
}

impl PythonFormat {
    fn open<W: ?Sized + io::Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.has_value = false;
        writer.write_all(bracket)
    }

    fn close<W: ?Sized + io::Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if self.has_value {
            self.break_line(writer)?;
        }
        self.has_value = true;
        writer.write_all(bracket)
    }

    fn element<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if !first {
            writer.write_all(self.item.as_bytes())?;
        }
        self.break_line(writer)
    }

    fn break_line<W: ?Sized + io::Write>(&self, writer: &mut W) -> io::Result<()> {
        match self.indent {
            None => Ok(()),
            Some(indent) => write!(writer, "\n{}", " ".repeat(indent * self.depth)),
        }
    }
}

impl Formatter for PythonFormat {
    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"[")
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"]")
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.element(writer, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.has_value = true;
        Ok(())
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"{")
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"}")
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.element(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(self.key.as_bytes())
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.has_value = true;
        Ok(())
    }
}
