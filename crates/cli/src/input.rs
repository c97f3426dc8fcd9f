//! What users type: JSON in an argument, a file or on standard input; spans of time; secrets.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::time::Duration;

use anyhow::Context;
use attune_pack::placement::{LABEL_FORM, is_label};
use chrono::{DateTime, NaiveDate, Utc};
use serde_json::Value;

use crate::failure::Fault;

/// A label given as `NAME=VALUE`.
pub(crate) fn label(given: &str) -> Result<(String, String), String> {
    match given.split_once('=') {
        Some((name, value)) if is_label(name) && is_label(value) => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("expected NAME=VALUE, both of {LABEL_FORM}")),
    }
}

/// A taint.
pub(crate) fn taint(given: &str) -> Result<String, String> {
    if is_label(given) { Ok(given.to_owned()) } else { Err(format!("expected {LABEL_FORM}")) }
}

/// JSON given as itself, as `@file`, or as `-` for standard input. `flag` is what it is called in errors.
pub(crate) fn json(flag: &str, given: &str) -> anyhow::Result<Value> {
    let (text, from) = if given == "-" {
        let mut text = String::new();
        io::stdin()
            .read_to_string(&mut text)
            .with_context(|| format!("cannot read {flag} from standard input"))?;
        (text, "standard input".to_owned())
    } else if let Some(path) = given.strip_prefix('@') {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {flag} from the file {path:?}"))?;
        (text, path.to_owned())
    } else {
        (given.to_owned(), "the argument".to_owned())
    };
    serde_json::from_str(&text).map_err(|error| {
        Fault::new(format!("{flag} is not JSON: {error} of {from}"))
            .hint("give JSON, `@file` for a file, or `-` for standard input")
            .into()
    })
}

/// What stands for standard input where a file is named.
pub(crate) const STDIN: &str = "-";

/// What a file is called in messages.
pub(crate) fn name_of(given: &str) -> &str {
    if given == STDIN { "<stdin>" } else { given }
}

/// JSON from a file, or from standard input for `-`. `what` is what it is called in errors.
pub(crate) fn json_file(what: &str, given: &str) -> anyhow::Result<Value> {
    let content = if given == STDIN {
        bytes_from_stdin(what)?
    } else {
        std::fs::read(given).with_context(|| format!("cannot read {what} from {given}"))?
    };
    parsed(what, name_of(given), &content)
}

/// JSON from standard input; `None` when there is nothing in it.
pub(crate) fn json_from_stdin(what: &str) -> anyhow::Result<Option<Value>> {
    let content = bytes_from_stdin(what)?;
    if content.trim_ascii().is_empty() {
        return Ok(None);
    }
    parsed(what, name_of(STDIN), &content).map(Some)
}

/// All of standard input.
pub(crate) fn bytes_from_stdin(what: &str) -> anyhow::Result<Vec<u8>> {
    let mut content = Vec::new();
    io::stdin()
        .read_to_end(&mut content)
        .with_context(|| format!("cannot read {what} from standard input"))?;
    Ok(content)
}

/// The place comes first, as in the messages of compilers, so that editors find it.
fn parsed(what: &str, file: &str, content: &[u8]) -> anyhow::Result<Value> {
    serde_json::from_slice(content).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let said = error.to_string();
        let said = said.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&said);
        Fault::new(format!("{file}:{line}:{column}: {what} is not JSON: {said}")).into()
    })
}

/// A moment, or how long before now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    At(DateTime<Utc>),
    Ago(Duration),
}

impl Moment {
    /// The moment, seen from `now`.
    pub(crate) fn before(self, now: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Self::At(moment) => moment,
            Self::Ago(span) => now - span,
        }
    }
}

/// A moment in the past, as a span back from now (`7d`, `2h`), as RFC 3339 has it, or as the beginning of a day in UTC.
pub(crate) fn past(text: &str) -> Result<Moment, String> {
    const SPAN_LIMIT: Duration = Duration::from_secs(100 * 366 * 86_400);
    if let Ok(span) = duration(text) {
        return if span <= SPAN_LIMIT { Ok(Moment::Ago(span)) } else { Err(format!("{text:?} is too long")) };
    }
    let day = text.parse::<NaiveDate>().ok().and_then(|day| day.and_hms_opt(0, 0, 0));
    if let Some(day) = day {
        return Ok(Moment::At(day.and_utc()));
    }
    moment(text).map(Moment::At).map_err(|_| {
        format!("{text:?} is no time; expected a span back from now as 2h or 7d, a moment as 2026-11-24T12:00:00Z, or a date")
    })
}

/// A moment as RFC 3339 has it.
pub(crate) fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    DateTime::parse_from_rfc3339(text)
        .map(|moment| moment.to_utc())
        .map_err(|error| format!("{error}; expected a moment such as 2026-11-24T12:00:00Z"))
}

/// A span of time as `90`, `60s`, `5m`, `2h`, `7d`, `500ms`; a bare number counts seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
    let (number, unit) = text.split_at(digits);
    let scale = match unit.trim() {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return Err(format!("{text:?} is no span of time; expected something like 60s, 5m or 2h")),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| format!("{text:?} is no span of time; expected something like 60s, 5m or 2h"))?;
    Duration::try_from_secs_f64(number * scale).map_err(|_| format!("{text:?} is too long"))
}

/// Everything on standard input, without the line feed that ends it.
pub(crate) fn secret_from_stdin(what: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    io::stdin()
        .read_to_string(&mut text)
        .with_context(|| format!("cannot read the {what} from standard input"))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

/// Asks on the terminal, without echo.
pub(crate) fn ask_secret(prompt: &str) -> anyhow::Result<String> {
    rpassword::prompt_password(prompt).context("cannot ask on the terminal")
}

/// Asks on the terminal; an empty answer takes the default.
pub(crate) fn ask(prompt: &str, default: Option<&str>) -> anyhow::Result<String> {
    let mut err = io::stderr().lock();
    match default {
        Some(default) => write!(err, "{prompt} [{default}]: "),
        None => write!(err, "{prompt}: "),
    }
    .and_then(|()| err.flush())
    .context("cannot ask on the terminal")?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).context("cannot read the answer")?;
    let answer = line.trim();
    Ok(if answer.is_empty() { default.unwrap_or_default() } else { answer }.to_owned())
}

/// Whether there is somebody to ask.
pub(crate) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    use serde_json::json as value;

    use super::*;

    #[test]
    fn test_json_comes_from_the_argument_or_a_file() {
        assert_eq!(json("--payload", r#"{"a": 1}"#).unwrap(), value!({"a": 1}));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[1, 2]").unwrap();
        assert_eq!(json("--payload", &format!("@{}", file.path().display())).unwrap(), value!([1, 2]));
    }

    #[test]
    fn test_bad_json_is_named_with_its_place() {
        let error = json("--payload", "{a: 1}").unwrap_err().to_string();
        assert_eq!(error, "--payload is not JSON: key must be a string at line 1 column 2 of the argument");
        let error = format!("{:#}", json("--json", "@/does/not/exist").unwrap_err());
        assert!(
            error.starts_with("cannot read --json from the file \"/does/not/exist\": No such file"),
            "{error}"
        );
    }

    #[test]
    fn test_spans_of_time() {
        let check =
            |text: &str, millis: u64| assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        check("90", 90_000);
        check("60s", 60_000);
        check("1.5m", 90_000);
        check("2h", 7_200_000);
        check("500ms", 500);
        check("7d", 604_800_000);
        check("0", 0);
        for bad in ["", "s", "5 days", "-1s", "1e3", "1.2.3s", "infs"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        let at = |text: &str| Ok(Moment::At(text.parse().unwrap()));
        assert_eq!(past("2026-11-24"), at("2026-11-24T00:00:00Z"));
        assert_eq!(past("2026-11-24T12:00:00+01:00"), at("2026-11-24T11:00:00Z"));
        assert_eq!(past("2h"), Ok(Moment::Ago(Duration::from_secs(7_200))));
        assert!(past("yesterday").unwrap_err().contains("expected a span back from now"));
        assert!(past("99999d").unwrap_err().contains("too long"));
        assert!(duration("99999999999999999999999999h").unwrap_err().contains("too long"));
    }
}
