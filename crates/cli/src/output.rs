//! What commands write. Standard output is data in the format that was asked for, standard error is talk.
//!
//! Nothing here panics when the reader goes away: a broken pipe comes back as an error, which `failure` takes as the
//! quiet end of the command. Text that others wrote is printed without its control characters, so that a payload cannot
//! drive the reader's terminal.

mod details;
mod human;

use std::fmt::Display;
use std::io::{self, Write};

use clap::ValueEnum;
use comfy_table::{Table, presets};
use serde::Serialize;

pub(crate) use details::Details;
pub(crate) use human::{age, duration, moment, or_dash, printable, run_time, yes_no};

/// How data is written: for people, as the API's JSON (a list is an array), the same as YAML, or refs and ids only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Format {
    #[default]
    Table,
    Json,
    Yaml,
    Name,
}

/// What `--output` can be: every command knows the formats, and some know more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputChoice {
    Table,
    Json,
    Yaml,
    Name,
    /// Findings as code hosts read them (`pack lint`)
    Sarif,
    /// Outcomes of tests as CI servers read them (`pack test`)
    Junit,
}

impl OutputChoice {
    /// The format, where it is one that every command knows.
    pub(crate) const fn format(self) -> Option<Format> {
        match self {
            Self::Table => Some(Format::Table),
            Self::Json => Some(Format::Json),
            Self::Yaml => Some(Format::Yaml),
            Self::Name => Some(Format::Name),
            Self::Sarif | Self::Junit => None,
        }
    }
}

/// How a thing of one kind appears in lists.
pub(crate) struct Columns<'a, T> {
    /// The plural, for "no rules".
    pub(crate) noun: &'a str,
    pub(crate) header: &'a [&'a str],
    pub(crate) row: &'a dyn Fn(&T) -> Vec<String>,
    pub(crate) name: &'a dyn Fn(&T) -> String,
}

/// Writes a list.
pub(crate) fn list<T: Serialize>(
    format: Format,
    items: &[T],
    columns: &Columns<'_, T>,
) -> anyhow::Result<()> {
    match format {
        Format::Table if items.is_empty() => {
            say(format_args!("no {}", columns.noun));
            Ok(())
        }
        Format::Table => {
            let rows = items.iter().map(|item| (columns.row)(item));
            Ok(write(&table(columns.header, rows))?)
        }
        Format::Json => Ok(write(&json_text(&items)?)?),
        Format::Yaml => Ok(write(&yaml_text(&items)?)?),
        Format::Name => {
            let names: String = items.iter().map(|item| (columns.name)(item) + "\n").collect();
            Ok(write(&names)?)
        }
    }
}

/// Writes one thing; `details` is made only for people.
pub(crate) fn show<T: Serialize>(
    format: Format,
    item: &T,
    name: &str,
    details: impl FnOnce() -> Details,
) -> anyhow::Result<()> {
    match format {
        Format::Table => Ok(write(&details().to_string())?),
        Format::Json => Ok(write(&json_text(item)?)?),
        Format::Yaml => Ok(write(&yaml_text(item)?)?),
        Format::Name => Ok(write(&format!("{name}\n"))?),
    }
}

/// Says what a command changed: a sentence on standard error for people, the thing itself in the other formats.
pub(crate) fn confirm<T: Serialize>(
    format: Format,
    item: &T,
    name: &str,
    sentence: impl Display,
) -> anyhow::Result<()> {
    match format {
        Format::Table => {
            say(sentence);
            Ok(())
        }
        Format::Json => Ok(write(&json_text(item)?)?),
        Format::Yaml => Ok(write(&yaml_text(item)?)?),
        Format::Name => Ok(write(&format!("{name}\n"))?),
    }
}

/// Writes data to standard output, at once.
pub(crate) fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Tells the user something on standard error. Where nobody can hear it, nothing is lost.
pub(crate) fn say(text: impl Display) {
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// An aligned table without borders, ending in a line feed.
pub(crate) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().copied());
    for row in rows {
        // A cell is one line, whatever someone wrote into a description.
        table.add_row(row.into_iter().map(|cell| printable(&cell).replace(['\n', '\t'], " ")));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    table.trim_fmt() + "\n"
}

/// As indented JSON, ending in a line feed.
pub(crate) fn json_text<T: Serialize>(value: &T) -> serde_json::Result<String> {
    serde_json::to_string_pretty(value).map(|text| text + "\n")
}

/// As YAML, ending in a line feed.
pub(crate) fn yaml_text<T: Serialize>(value: &T) -> anyhow::Result<String> {
    let mut text = serde_saphyr::to_string(value)?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn test_tables_are_aligned_and_one_line_a_row() {
        let rows =
            [vec!["a".to_owned(), "x\ny\u{1b}[31m".to_owned()], vec!["longer".to_owned(), "-".to_owned()]];
        assert_eq!(table(&["REF", "NOTE"], rows), "REF      NOTE\na        x y\\u{1b}[31m\nlonger   -\n");
    }

    #[test]
    fn test_yaml_reads_back_as_what_it_was() {
        let value = json!({
            "plain": "text", "yes": "yes", "number": "0777", "float": "1e3", "empty": "", "null": null, "list": [],
            "object": {}, "lines": "a\nb\n\n", "long": "word ".repeat(60), "colon": "a: b", "hash": "a #b", "t": true,
            "nested": [{"a": [1, 2.5, -3]}, "~"], "unicode": "é\u{1b}\u{7f}", "space": " x ", "big": 9_007_199_254_740_993_i64,
        });
        let text = yaml_text(&value).unwrap();
        let back: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(back, value, "{text}");
    }
}
