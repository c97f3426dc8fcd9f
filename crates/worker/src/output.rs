//! Turns what a process wrote to standard output into the result of its execution.
//!
//! Invariants: the result can be stored as JSONB, which cannot hold U+0000; an error tells what was expected and where
//! it was missed, but shows nothing of the output, which may hold secrets.

mod masked;

use attune_common::models::action::OutputFormat;
use attune_expr::key_marks::MASK;
use attune_expr::schema::ParameterSchema;
use serde_json::{Map, Value};

use self::masked::StandIn;
use crate::process::Captured;

/// Why output is not what the action declared.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutputError {
    #[error(
        "standard output has {total_bytes} bytes, of which {kept_bytes} were kept, and cannot be read as {format}: print \
         less, or declare the output as text"
    )]
    TooLong { format: OutputFormat, total_bytes: u64, kept_bytes: u64 },
    #[error("standard output is not UTF-8 at byte {position}, expected {format}")]
    NotUtf8 { format: OutputFormat, position: usize },
    #[error("standard output is empty, expected a JSON document")]
    Empty,
    /// Line and column count from 1.
    #[error("standard output is not {format} at line {line}, column {column}: {problem}")]
    Syntax { format: OutputFormat, line: u64, column: u64, problem: String },
}

/// Why a result is not what its action declared.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResultError {
    #[error("the result does not fit the action's `out_schema`: {}; correct what the action prints, or its schema", .0.join("; "))]
    Unfit(Vec<String>),
    #[error("the action's `out_schema` is no JSON schema: {0}; correct it and install the pack again")]
    Schema(String),
}

/// Violations that an error names.
const NAMED: usize = 5;

/// Compares a result with the `out_schema` of its action. Values are not shown: they may hold secrets.
pub fn check(schema: &Value, result: &Value) -> Result<(), ResultError> {
    if schema.as_object().is_none_or(Map::is_empty) {
        return Ok(());
    }
    let schema =
        ParameterSchema::compile(schema).map_err(|problem| ResultError::Schema(problem.to_string()))?;
    schema.validate(result).map_err(|violations| {
        let more = violations.len().saturating_sub(NAMED);
        let named = violations.into_iter().take(NAMED).map(|violation| match violation.pointer.is_empty() {
            true => violation.message,
            false => format!("{}: {}", violation.pointer, violation.message),
        });
        let rest = (more > 0).then(|| format!("and {more} more"));
        ResultError::Unfit(named.chain(rest).collect())
    })
}

/// Reads standard output as the action declared it.
///
/// - `text`: the text without its last newline; an omission is named where it is.
/// - `json`, `yaml`: one document. Without any output, YAML is null and JSON an error.
/// - `jsonl`: an array with the document of each line that is not blank.
///
/// A mask is a text, also in the place of a number.
pub fn parse(format: OutputFormat, stdout: &Captured) -> Result<Value, OutputError> {
    let structured = |read: fn(&str) -> Result<Value, OutputError>| {
        let document = document(format, stdout)?;
        read(&document).map_err(|error| error.in_masked(&document))
    };
    let mut value = match format {
        OutputFormat::Text => Value::String(text(stdout)),
        OutputFormat::Json => structured(|document| with_masked_numbers(document, json))?,
        OutputFormat::Jsonl => structured(|document| with_masked_numbers(document, json_lines))?,
        OutputFormat::Yaml => structured(masked_yaml)?,
    };
    make_storable(&mut value);
    Ok(value)
}

fn with_masked_numbers(
    document: &str,
    parse: impl Fn(&str) -> Result<Value, OutputError>,
) -> Result<Value, OutputError> {
    parse(document).or_else(|error| {
        let quoted = masked::with_quoted_numbers(document);
        // Where that does not help either, the fault is in what was printed.
        quoted.and_then(|quoted| parse(&quoted).ok()).ok_or(error)
    })
}

fn masked_yaml(document: &str) -> Result<Value, OutputError> {
    match StandIn::of(document) {
        Some(stand_in) => yaml(&stand_in.put_into(document)).map(|value| stand_in.masked(value)),
        None => yaml(document),
    }
}

impl OutputError {
    /// The error about a document that may have been another before it was masked.
    fn in_masked(self, document: &str) -> Self {
        match self {
            Self::Syntax { format, line, column, problem } if document.contains(MASK) => {
                let problem = format!("{problem} (what is secret was masked before it was read)");
                Self::Syntax { format, line, column, problem }
            }
            other => other,
        }
    }
}

/// Replaces U+0000, which JSONB cannot hold, in all strings and keys by U+FFFD.
pub fn make_storable(value: &mut Value) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
        Value::String(text) => replace_nul(text),
        Value::Array(items) => items.iter_mut().for_each(make_storable),
        Value::Object(members) => {
            members.values_mut().for_each(make_storable);
            if members.keys().any(|key| key.contains('\0')) {
                *members = std::mem::take(members)
                    .into_iter()
                    .map(|(mut key, value)| {
                        replace_nul(&mut key);
                        (key, value)
                    })
                    .collect::<Map<_, _>>();
            }
        }
    }
}

fn replace_nul(text: &mut String) {
    if text.contains('\0') {
        *text = text.replace('\0', "\u{fffd}");
    }
}

fn text(stdout: &Captured) -> String {
    let mut text = stdout.to_text();
    if text.ends_with('\n') {
        text.pop();
    }
    text
}

fn document(format: OutputFormat, stdout: &Captured) -> Result<String, OutputError> {
    let bytes = stdout.complete().ok_or_else(|| OutputError::TooLong {
        format,
        total_bytes: stdout.total_bytes,
        kept_bytes: stdout.total_bytes - stdout.omitted_bytes(),
    })?;
    String::from_utf8(bytes)
        .map_err(|error| OutputError::NotUtf8 { format, position: error.utf8_error().valid_up_to() })
}

fn json(document: &str) -> Result<Value, OutputError> {
    if document.trim_ascii().is_empty() {
        return Err(OutputError::Empty);
    }
    serde_json::from_str(document).map_err(|error| json_error(OutputFormat::Json, 0, &error))
}

fn json_lines(document: &str) -> Result<Value, OutputError> {
    let lines = document.lines().enumerate().filter(|(_, line)| !line.trim_ascii().is_empty());
    lines
        .map(|(index, line)| {
            serde_json::from_str(line).map_err(|error| json_error(OutputFormat::Jsonl, index as u64, &error))
        })
        .collect::<Result<Vec<_>, _>>()
        .map(Value::Array)
}

fn json_error(format: OutputFormat, lines_before: u64, error: &serde_json::Error) -> OutputError {
    let (line, column) = (lines_before + error.line() as u64, error.column() as u64);
    let message = error.to_string();
    // serde_json ends its message in the position, which within a document of lines is not ours.
    let problem =
        message.rsplit_once(" at line ").map_or(message.as_str(), |(problem, _)| problem).to_owned();
    OutputError::Syntax { format, line, column, problem }
}

fn yaml(document: &str) -> Result<Value, OutputError> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        // The default budget suits configuration files. What was kept of the output is bounded already; what aliases
        // make of it must be.
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 100_000 },
        budget: serde_saphyr::budget! {
            max_nodes: document.len() + 1,
            max_events: 2 * document.len() + 16,
        },
    };
    serde_saphyr::from_str_with_options(document, options).map_err(|error| {
        let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
        OutputError::Syntax { format: OutputFormat::Yaml, line, column, problem: yaml_problem(&error) }
    })
}

/// The library's own messages would quote keys and values.
fn yaml_problem(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error;

    let problem = match error {
        // The scanner speaks of the syntax only.
        Error::ExternalMessage { msg, .. } => msg,
        Error::AliasError { error, .. } => return yaml_problem(error),
        Error::Eof { .. } => "unexpected end",
        Error::MultipleDocuments { .. } => "expected one document, but another follows",
        Error::DuplicateMappingKey { .. } => "a key occurs twice in one mapping",
        Error::NonFiniteFloat { .. } => "a result cannot hold infinity, NaN or a number beyond its range",
        Error::UnknownAnchor { .. } => "an alias without an anchor",
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => "nested too deeply, or aliases stand for too much",
        _ => "a value that a result cannot hold",
    };
    problem.to_owned()
}
