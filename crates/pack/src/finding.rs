//! What is wrong with a pack, and where.

use std::fmt;

use serde::Serialize;

/// A fault in a file of a pack.
///
/// Shown as `actions/greet.yaml:3:1: unknown key `paramaters`; did you mean `parameters`?`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// Path of the file in the pack.
    pub file: String,
    /// Line, counted from 1.
    pub line: u32,
    /// Column in characters, counted from 1.
    pub column: u32,
    /// Where what it is about ends, if it is a key or a single value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
    /// JSON pointer of the place in the file; empty for the whole file.
    pub pointer: String,
    /// What is wrong.
    pub message: String,
    /// What would have been right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// The spelling that was probably meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

/// Where something ends: the place after its last character.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct End {
    /// Line, counted from 1.
    pub line: u32,
    /// Column in characters, counted from 1.
    pub column: u32,
}

/// A value with the place it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Path of the file in the pack.
    pub file: String,
    /// Line, counted from 1.
    pub line: u32,
    /// Column in characters, counted from 1.
    pub column: u32,
    /// Where the value ends, if it is a single one.
    pub end: Option<End>,
}

impl<T> Located<T> {
    /// A finding about this value, for those who learn only later that something is wrong with it.
    pub fn finding(&self, message: impl Into<String>) -> Finding {
        Finding {
            file: self.file.clone(),
            line: self.line,
            column: self.column,
            end: self.end,
            pointer: String::new(),
            message: message.into(),
            expected: None,
            suggestion: None,
        }
    }
}

impl Finding {
    /// Adds what would have been right.
    #[must_use]
    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    /// Adds the spelling that was probably meant, when there is one.
    #[must_use]
    pub fn suggestion(mut self, suggestion: Option<impl Into<String>>) -> Self {
        self.suggestion = suggestion.map(Into::into);
        self
    }

    /// Makes every text fit for a terminal: what a file contains must not be able to move the cursor or ring the bell.
    pub(crate) fn printable(mut self) -> Self {
        let texts = [Some(&mut self.message), self.expected.as_mut(), self.suggestion.as_mut()];
        for text in texts.into_iter().flatten() {
            if text.chars().any(char::is_control) {
                *text = text
                    .chars()
                    .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
                    .collect();
            }
        }
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        // A suggestion says it shorter; those who read the fields have both.
        match (&self.suggestion, &self.expected) {
            (Some(suggestion), _) => write!(f, "; did you mean `{suggestion}`?"),
            (None, Some(expected)) => write!(f, "; expected {expected}"),
            (None, None) => Ok(()),
        }
    }
}
