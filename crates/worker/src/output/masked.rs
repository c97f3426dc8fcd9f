//! Documents in which something was masked: `********` is no number in JSON, and where a value or a key of YAML begins with
//! it, it is an alias.
//!
//! What was printed is masked before any of it is kept, so that it is the document with masks that is read: of a secret that is
//! a document itself nothing could be found once it has been read.

use std::collections::BTreeSet;

use attune_expr::key_marks::MASK;
use serde_json::{Map, Value};

/// The document with quotes around the numbers that hold a mask; None where there are none. Texts stay as they are.
pub(super) fn with_quoted_numbers(document: &str) -> Option<String> {
    if !document.contains(MASK) {
        return None;
    }
    let is_of_number = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E' | '*');
    let mut quoted = String::with_capacity(document.len() + 2);
    // The last character before that is no blank, outside texts.
    let (mut before, mut in_text, mut found) = (None, false, false);
    let mut rest = document;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\\' if in_text => first.len_utf8() + rest.chars().nth(1).map_or(0, char::len_utf8),
            _ if in_text || !is_of_number(first) => first.len_utf8(),
            _ => rest.find(|c| !is_of_number(c)).unwrap_or(rest.len()),
        };
        let (token, after) = rest.split_at(length);
        let is_value = !in_text && matches!(before, None | Some(':' | ',' | '[' | '\n'));
        if is_value && token.contains(MASK) {
            quoted.extend(["\"", token, "\""]);
            found = true;
        } else {
            quoted.push_str(token);
        }
        in_text ^= token == "\"";
        if !matches!(token, " " | "\t" | "\r") {
            before = token.chars().last();
        }
        rest = after;
    }
    found.then_some(quoted)
}

/// A word that stands for the masks of a document while it is read: a text wherever a text or a number may be.
#[derive(Debug)]
pub(super) struct StandIn {
    word: String,
}

impl StandIn {
    /// How each word begins. It occurs once in a word, so that two words never overlap.
    const START: &str = "mask";
    /// How many hexadecimal digits follow: a word is as long as a mask, so that places in the document stay what they are.
    const DIGITS: usize = MASK.len() - Self::START.len();
    const WORDS: u32 = 1 << (4 * Self::DIGITS);

    /// A word that the document does not hold; None where nothing is masked in it, or all words are in it.
    pub(super) fn of(document: &str) -> Option<Self> {
        if !document.contains(MASK) {
            return None;
        }
        let number = |(at, start): (usize, &str)| {
            let digits = document.get(at + start.len()..)?.get(..Self::DIGITS)?;
            u32::from_str_radix(digits, 16).ok()
        };
        let taken: BTreeSet<u32> = document.match_indices(Self::START).filter_map(number).collect();
        let free = (0..Self::WORDS).find(|number| !taken.contains(number))?;
        Some(Self { word: format!("{}{free:0width$x}", Self::START, width = Self::DIGITS) })
    }

    /// The document with the word in the place of the masks.
    pub(super) fn put_into(&self, document: &str) -> String {
        document.replace(MASK, &self.word)
    }

    /// What was read from it, with the masks again.
    pub(super) fn masked(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.masked_text(text)),
            Value::Array(items) => items.into_iter().map(|item| self.masked(item)).collect(),
            Value::Object(members) => {
                let masked =
                    members.into_iter().map(|(name, member)| (self.masked_text(name), self.masked(member)));
                Value::Object(masked.collect::<Map<_, _>>())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value,
        }
    }

    fn masked_text(&self, text: String) -> String {
        if text.contains(&self.word) { text.replace(&self.word, MASK) } else { text }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(document: &str, expected: Option<&str>) {
        assert_eq!(with_quoted_numbers(document).as_deref(), expected, "{document}");
    }

    #[test]
    fn test_masked_numbers_are_texts_and_texts_stay() {
        check(
            r#"{"a": ********, "b": [-********.5,1]}"#,
            Some(r#"{"a": "********", "b": ["-********.5",1]}"#),
        );
        check("********\n1\n********", Some("\"********\"\n1\n\"********\""));
        check(r#"{"a": "x: ********", "b": "\": ********"}"#, None);
        check(r#"{"a": 1}"#, None);
    }

    #[test]
    fn test_a_stand_in_is_a_word_that_is_not_there() {
        assert!(StandIn::of("a: mask0000").is_none());
        let document = "a: ********\nb: mask0000 maskmask0001 mask00g\u{e9}";
        let stand_in = StandIn::of(document).unwrap();
        let read = stand_in.put_into(document);
        assert_eq!(read, document.replace("********", "mask0002"));
        assert_eq!(read.len(), document.len());
        assert_eq!(
            stand_in.masked(json!({"mask0002": ["a mask0002", "mask0000", 1]})),
            json!({"********": ["a ********", "mask0000", 1]})
        );
        let all: String = (0..65_536).map(|number| format!("mask{number:04x}")).collect();
        assert!(StandIn::of(&format!("{all}{MASK}")).is_none());
    }
}
