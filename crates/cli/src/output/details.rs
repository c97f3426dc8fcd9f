//! One thing for people: a line per field, longer values as indented blocks below.

use std::fmt;

use serde_json::Value;

use super::printable;

/// Fields in the order they were added.
#[derive(Debug, Default)]
pub(crate) struct Details {
    fields: Vec<(String, String)>,
    blocks: Vec<(String, String)>,
}

impl Details {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A field on one line.
    pub(crate) fn field(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.fields.push((name.to_owned(), printable(&format!("{value}")).replace(['\n', '\t'], " ")));
        self
    }

    /// A field that is left out where there is nothing to say.
    pub(crate) fn optional<T: fmt::Display>(self, name: &str, value: Option<T>) -> Self {
        match value {
            Some(value) => self.field(name, value),
            None => self,
        }
    }

    /// A text of several lines; left out when empty.
    pub(crate) fn block(mut self, name: &str, text: &str) -> Self {
        if !text.trim().is_empty() {
            self.blocks.push((name.to_owned(), printable(text.trim_end())));
        }
        self
    }

    /// JSON, left out when there is nothing in it.
    pub(crate) fn json(self, name: &str, value: &Value) -> Self {
        let empty = match value {
            Value::Null => true,
            Value::Array(items) => items.is_empty(),
            Value::Object(entries) => entries.is_empty(),
            Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        };
        if empty { self } else { self.block(name, &format!("{value:#}")) }
    }

    /// A line per item; left out when there is none.
    pub(crate) fn lines<T: ToString>(self, name: &str, items: impl IntoIterator<Item = T>) -> Self {
        let lines: Vec<_> = items.into_iter().map(|item| item.to_string().replace('\n', " ")).collect();
        self.block(name, &lines.join("\n"))
    }
}

impl fmt::Display for Details {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.fields.iter().map(|(name, _)| name.chars().count() + 1).max().unwrap_or(0);
        for (name, value) in &self.fields {
            writeln!(f, "{:width$}  {value}", format!("{name}:"))?;
        }
        for (name, text) in &self.blocks {
            writeln!(f, "{name}:")?;
            for line in text.lines() {
                writeln!(f, "{}", format!("  {line}").trim_end())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn test_fields_are_aligned_and_blocks_indented() {
        let details = Details::new()
            .field("id", 7)
            .optional("description", Some("two\nlines"))
            .optional::<&str>("label", None)
            .json("parameters", &json!({"a": 1}))
            .json("config", &json!({}))
            .block("stdout", "x\n\ny\n")
            .lines("actions", Vec::<String>::new());
        assert_eq!(
            details.to_string(),
            "id:           7\ndescription:  two lines\nparameters:\n  {\n    \"a\": 1\n  }\nstdout:\n  x\n\n  y\n"
        );
    }
}
