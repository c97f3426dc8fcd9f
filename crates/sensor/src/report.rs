//! What one line of a sensor says. Pure.

use attune_common::models::event::NewEvent;
use serde_json::{Map, Value};

/// The longest line in bytes.
pub(crate) const LONGEST_LINE: usize = 1024 * 1024;
/// The longest dedup key in bytes: an entry of its index must fit onto a page.
const LONGEST_DEDUP_KEY: usize = 1024;
/// How much of a name that is not ours an error repeats.
const LONGEST_NAME: usize = 64;

/// A line that makes no event, and why. Nothing of a payload is repeated here: it may be secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadLine {
    #[error("it is longer than {LONGEST_LINE} bytes")]
    TooLong,
    #[error("it is not JSON: {reason}")]
    NotJson { reason: String },
    #[error("it is not a JSON object")]
    NotAnObject,
    #[error("it has the key `{key}`, expected only `trigger`, `payload`, `dedup_key` and `config`")]
    UnknownKey { key: String },
    #[error("`{key}` is missing")]
    Missing { key: &'static str },
    #[error("`{key}` is not {expected}")]
    WrongType { key: &'static str, expected: &'static str },
    #[error("`dedup_key` is not 1 to {LONGEST_DEDUP_KEY} bytes long")]
    DedupKeyLength,
    #[error(
        "`dedup_key` holds a secret of the pack's settings, which is not stored: take something else that tells events apart"
    )]
    SecretDedupKey,
    #[error("the text at {pointer} contains U+0000, which cannot be stored")]
    Nul { pointer: String },
    #[error("the sensor does not declare the trigger `{trigger}`: add it to `triggers` in the sensor's file")]
    Undeclared { trigger: String },
    #[error("the trigger `{trigger}` does not exist")]
    NoSuchTrigger { trigger: String },
    #[error("the trigger `{trigger}` is disabled")]
    Disabled { trigger: String },
    #[error("it cannot be stored: {reason}")]
    Unstorable { reason: String },
}

/// Reads a line into an event of a trigger that still has to be found. None for a blank line.
pub(crate) fn parse(line: &[u8], declared: &[String]) -> Result<Option<NewEvent>, BadLine> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let value: Value =
        serde_json::from_slice(line).map_err(|error| BadLine::NotJson { reason: error.to_string() })?;
    if let Some(pointer) = find_nul(&value) {
        return Err(BadLine::Nul { pointer });
    }
    let Value::Object(mut report) = value else { return Err(BadLine::NotAnObject) };
    let trigger_ref = match report.remove("trigger") {
        Some(Value::String(trigger)) => trigger,
        Some(_) => return Err(BadLine::WrongType { key: "trigger", expected: "text" }),
        None => return Err(BadLine::Missing { key: "trigger" }),
    };
    let payload = object(&mut report, "payload")?.ok_or(BadLine::Missing { key: "payload" })?;
    let config = object(&mut report, "config")?;
    let dedup_key = match report.remove("dedup_key") {
        Some(Value::String(key)) if (1..=LONGEST_DEDUP_KEY).contains(&key.len()) => Some(key),
        Some(Value::String(_)) => return Err(BadLine::DedupKeyLength),
        Some(Value::Null) | None => None,
        Some(_) => return Err(BadLine::WrongType { key: "dedup_key", expected: "text" }),
    };
    if let Some(key) = report.keys().next() {
        return Err(BadLine::UnknownKey { key: shortened(key) });
    }
    if !declared.contains(&trigger_ref) {
        return Err(BadLine::Undeclared { trigger: shortened(&trigger_ref) });
    }
    Ok(Some(NewEvent { trigger_ref, payload: Some(payload), config, dedup_key, ..NewEvent::default() }))
}

/// Takes a value that must be an object, or may be left out.
fn object(report: &mut Map<String, Value>, key: &'static str) -> Result<Option<Value>, BadLine> {
    match report.remove(key) {
        Some(object @ Value::Object(_)) => Ok(Some(object)),
        Some(Value::Null) | None => Ok(None),
        Some(_) => Err(BadLine::WrongType { key, expected: "an object" }),
    }
}

fn shortened(name: &str) -> String {
    match name.char_indices().nth(LONGEST_NAME) {
        Some((end, _)) => format!("{}...", &name[..end]),
        None => name.to_owned(),
    }
}

/// The JSON pointer (RFC 6901) of a text, or of the value of a key, with U+0000 in it. PostgreSQL stores no such text.
fn find_nul(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => text.contains('\0').then(String::new),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(index, item)| find_nul(item).map(|rest| format!("/{index}{rest}"))),
        Value::Object(members) => members.iter().find_map(|(name, member)| {
            let rest = if name.contains('\0') { Some(String::new()) } else { find_nul(member) };
            let escape = || shortened(name).replace('\0', "\\u0000").replace('~', "~0").replace('/', "~1");
            rest.map(|rest| format!("/{}{rest}", escape()))
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(line: &str) -> Result<Option<NewEvent>, BadLine> {
        parse(line.as_bytes(), &["ops.disk_full".to_owned(), "ops.gone".to_owned()])
    }

    fn refused(line: &str, expected: &str) {
        let error = read(line).expect_err(line).to_string();
        assert!(error.contains(expected), "{error:?} does not contain {expected:?}");
    }

    #[test]
    fn test_a_report_becomes_an_event() {
        let event = read(
            r#" {"trigger": "ops.disk_full", "payload": {"host": "a"}, "dedup_key": "k", "config": {"b": 1}} "#,
        );
        let expected = NewEvent {
            trigger_ref: "ops.disk_full".into(),
            payload: Some(json!({"host": "a"})),
            config: Some(json!({"b": 1})),
            dedup_key: Some("k".into()),
            ..NewEvent::default()
        };
        assert_eq!(event, Ok(Some(expected.clone())));
        let event = read(r#"{"trigger": "ops.disk_full", "payload": {"host": "a"}, "dedup_key": null}"#);
        assert_eq!(event, Ok(Some(NewEvent { config: None, dedup_key: None, ..expected })));
    }

    #[test]
    fn test_blank_lines_say_nothing() {
        assert_eq!(read(""), Ok(None));
        assert_eq!(read(" \t\r"), Ok(None));
    }

    #[test]
    fn test_a_bad_line_says_what_is_wrong_with_it() {
        refused("disk full!", "it is not JSON: expected value at line 1 column 1");
        refused(r#"{"trigger": "ops.disk_full"} {}"#, "it is not JSON: trailing characters");
        refused(r#"["ops.disk_full"]"#, "it is not a JSON object");
        refused(r#"{"payload": {}}"#, "`trigger` is missing");
        refused(r#"{"trigger": 1, "payload": {}}"#, "`trigger` is not text");
        refused(r#"{"trigger": "ops.disk_full"}"#, "`payload` is missing");
        refused(r#"{"trigger": "ops.disk_full", "payload": [1]}"#, "`payload` is not an object");
        refused(r#"{"trigger": "ops.disk_full", "payload": {}, "config": 1}"#, "`config` is not an object");
        refused(r#"{"trigger": "ops.disk_full", "payload": {}, "dedup_key": 1}"#, "`dedup_key` is not text");
        refused(
            r#"{"trigger": "ops.disk_full", "payload": {}, "dedupkey": "k"}"#,
            "it has the key `dedupkey`",
        );
        refused(r#"{"trigger": "ops.other", "payload": {}}"#, "does not declare the trigger `ops.other`");
        refused(r#"{"trigger": "ops.disk_full", "payload": {}, "dedup_key": ""}"#, "1 to 1024 bytes");
        let long = format!(
            r#"{{"trigger": "ops.disk_full", "payload": {{}}, "dedup_key": "{}"}}"#,
            "k".repeat(1025)
        );
        refused(&long, "1 to 1024 bytes");
        let long = format!(r#"{{"trigger": "{}", "payload": {{}}}}"#, "ä".repeat(100));
        refused(&long, &format!("`{}...`", "ä".repeat(64)));
    }

    #[test]
    fn test_nul_is_found_wherever_it_is() {
        refused(
            r#"{"trigger": "ops.disk_full", "payload": {"a": [1, {"b/c": "x\u0000"}]}}"#,
            "/payload/a/1/b~1c contains",
        );
        refused(r#"{"trigger": "ops.disk_full", "payload": {"a\u0000": 1}}"#, r"/payload/a\u0000 contains");
        refused(
            r#"{"trigger": "ops.disk_full", "payload": {}, "dedup_key": "\u0000"}"#,
            "/dedup_key contains",
        );
    }

    #[test]
    fn test_an_error_repeats_nothing_of_the_payload() {
        for line in
            [r#"{"trigger": "ops.disk_full", "payload": "hunter2"}"#, r#"{"payload": {"a": "hunter2"}} x"#]
        {
            let error = format!("{:?}", read(line).expect_err(line));
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
