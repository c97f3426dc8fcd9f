//! Hides the values of keys, and what else is secret, in what the code of a pack says, before any of it is kept.
//!
//! A value is found as it is but for the blanks around it, which stay, as JSON writes it, and - one of several lines - line by
//! line.
//! What the code made of it otherwise, such as base64, is not found.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::key_marks::MASK;

/// Lines of a value that are shorter are no secrets by themselves, such as the braces of a JSON document.
const LINE: usize = 8;

/// What is hidden. Clones share it.
#[derive(Clone, Default)]
pub struct Masker {
    /// The texts to hide, by their first byte; none is empty.
    texts: Arc<[Vec<Vec<u8>>]>,
}

impl Masker {
    /// Hides these values.
    pub fn of<'v>(values: impl IntoIterator<Item = &'v str>) -> Self {
        let mut forms = BTreeSet::new();
        for value in values {
            // Not with the blanks around it: without the end of its line what follows would become part of the line.
            for form in std::iter::once(value.trim()).chain(lines(value)) {
                forms.extend([
                    form.as_bytes().to_vec(),
                    json(form, char::is_control),
                    json(form, |c| !c.is_ascii()),
                ]);
            }
        }
        if forms.is_empty() {
            return Self::nothing();
        }
        let mut texts = vec![Vec::new(); 256];
        for form in forms {
            if let Some(first) = form.first() {
                texts[usize::from(*first)].push(form);
            }
        }
        Self { texts: texts.into() }
    }

    /// Hides these values as well.
    pub fn and<'v>(&self, values: impl IntoIterator<Item = &'v str>) -> Self {
        let more = Self::of(values);
        if self.texts.is_empty() {
            return more;
        }
        let both = self.texts.iter().zip(more.texts.iter());
        // What hides nothing has no table.
        if more.texts.is_empty() {
            return self.clone();
        }
        let texts: Vec<Vec<Vec<u8>>> =
            both.map(|(one, other)| one.iter().chain(other).cloned().collect()).collect();
        Self { texts: texts.into() }
    }

    /// Hides nothing.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// The text as it may be kept.
    pub fn text(&self, text: &str) -> String {
        if self.texts.is_empty() {
            return text.to_owned();
        }
        let mut stream = self.stream();
        let mut masked = stream.push(text.as_bytes()).into_owned();
        masked.extend(stream.finish());
        String::from_utf8_lossy(&masked).into_owned()
    }

    /// The value as it may be kept: texts and names of members are masked, and so is a number that is a value of a key.
    pub fn value(&self, value: Value) -> Value {
        if self.texts.is_empty() {
            return value;
        }
        match value {
            Value::String(text) => Value::String(self.text(&text)),
            Value::Array(elements) => elements.into_iter().map(|element| self.value(element)).collect(),
            Value::Object(members) => {
                let masked = members.into_iter().map(|(name, member)| (self.text(&name), self.value(member)));
                Value::Object(masked.collect::<Map<_, _>>())
            }
            Value::Number(number) => {
                let text = number.to_string();
                let masked = self.text(&text);
                if masked == text { Value::Number(number) } else { Value::String(masked) }
            }
            Value::Null | Value::Bool(_) => value,
        }
    }

    /// A stream of bytes to be masked piece by piece.
    pub fn stream(&self) -> MaskedStream {
        MaskedStream { masker: self.clone(), held: Vec::new(), hidden: 0, has_hidden: false }
    }

    fn starting_with(&self, first: u8) -> &[Vec<u8>] {
        self.texts.get(usize::from(first)).map(Vec::as_slice).unwrap_or_default()
    }
}

impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Masker").finish_non_exhaustive()
    }
}

/// A stream of bytes that is masked.
pub struct MaskedStream {
    masker: Masker,
    /// The end of what was read, where a text to hide may have begun.
    held: Vec<u8>,
    /// How many of the bytes to come belong to what was hidden: texts may overlap.
    hidden: usize,
    has_hidden: bool,
}

impl MaskedStream {
    /// Takes a piece; gives back what may be kept of it and of what was held.
    pub fn push<'p>(&mut self, piece: &'p [u8]) -> Cow<'p, [u8]> {
        if self.masker.texts.is_empty() {
            return Cow::Borrowed(piece);
        }
        self.held.extend_from_slice(piece);
        Cow::Owned(self.advance(|rest, text| text.len() > rest.len() && text.starts_with(rest)))
    }

    /// Gives back what is left when the stream has ended.
    pub fn finish(&mut self) -> Vec<u8> {
        self.advance(|_, _| false)
    }

    /// Whether something stands in the place of a text so far.
    pub fn has_hidden(&self) -> bool {
        self.has_hidden
    }

    /// Goes on to where `unfinished` says of the rest and a text that more is needed to know whether it is there.
    fn advance(&mut self, unfinished: impl Fn(&[u8], &[u8]) -> bool) -> Vec<u8> {
        let mut masked = Vec::with_capacity(self.held.len());
        let mut position = 0;
        while let Some(first) = self.held.get(position) {
            if self.hidden == 0 && self.masker.starting_with(*first).is_empty() {
                // All that begins nothing at once: most of what is written.
                let begins = |byte: &u8| !self.masker.starting_with(*byte).is_empty();
                let plain = self.held[position..].iter().position(begins);
                let next = plain.map_or(self.held.len(), |plain| position + plain);
                masked.extend_from_slice(&self.held[position..next]);
                position = next;
                continue;
            }
            let rest = &self.held[position..];
            let texts = self.masker.starting_with(*first);
            if texts.iter().any(|text| unfinished(rest, text)) {
                break;
            }
            let found = texts.iter().filter(|text| rest.starts_with(text)).map(Vec::len).max().unwrap_or(0);
            self.has_hidden |= found > 0;
            match (found, self.hidden) {
                (0, 0) => masked.push(*first),
                (1.., 0) => masked.extend_from_slice(MASK.as_bytes()),
                _ => {}
            }
            self.hidden = self.hidden.max(found).saturating_sub(1);
            position += 1;
        }
        self.held.drain(..position);
        masked
    }
}

impl fmt::Debug for MaskedStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MaskedStream").finish_non_exhaustive()
    }
}

/// The lines of a text of several lines that are long enough.
fn lines(value: &str) -> impl Iterator<Item = &str> {
    let several = value.trim().contains('\n');
    value.lines().map(str::trim).filter(move |line| several && line.len() >= LINE)
}

/// A text as it stands in a JSON string, where what `escaped` says is written `\uXXXX` if it has no shorter form.
fn json(text: &str, escaped: impl Fn(char) -> bool) -> Vec<u8> {
    let mut written = String::new();
    for character in text.chars() {
        match character {
            '"' => written.push_str("\\\""),
            '\\' => written.push_str("\\\\"),
            '\n' => written.push_str("\\n"),
            '\r' => written.push_str("\\r"),
            '\t' => written.push_str("\\t"),
            '\u{8}' => written.push_str("\\b"),
            '\u{c}' => written.push_str("\\f"),
            other if other.is_control() || escaped(other) => {
                let mut units = [0; 2];
                for unit in other.encode_utf16(&mut units) {
                    written.push_str(&format!("\\u{unit:04x}"));
                }
            }
            other => written.push(other),
        }
    }
    written.into_bytes()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Whatever the pieces, the same is kept.
    fn check(values: &[&str], said: &str, kept: &str) {
        let masker = Masker::of(values.iter().copied());
        for piece in 1..=said.len() {
            let mut stream = masker.stream();
            let mut masked: Vec<u8> =
                said.as_bytes().chunks(piece).flat_map(|chunk| stream.push(chunk).into_owned()).collect();
            masked.extend(stream.finish());
            assert_eq!(String::from_utf8_lossy(&masked), kept, "pieces of {piece}");
        }
    }

    #[test]
    fn test_values_are_hidden_across_pieces() {
        check(&["hunter2"], "a hunter2 b hunter3 hunhunter2", "a ******** b hunter3 hun********");
        check(&["hunter2"], "it ends in hunter", "it ends in hunter");
        check(&["aab"], "aaab", "a********");
    }

    #[test]
    fn test_the_longest_and_overlapping_values_are_hidden() {
        check(&["abc", "abcdef"], "abcde abcdef", "********de ********");
        check(&["hunter2", "r2d2"], "hunter2d2.", "********.");
        check(&["ab"], "abab", "****************");
    }

    #[test]
    fn test_other_ways_to_write_a_value_are_hidden() {
        check(
            &["say \"é\"\n"],
            r#"{"a": "say \"é\"\n", "b": "say \"\u00e9\""}"#,
            r#"{"a": "********\n", "b": "********"}"#,
        );
        check(&["hunter2\n", " "], "token: hunter2\nnext: 1\n", "token: ********\nnext: 1\n");
        check(&["-----BEGIN-----\nc2VjcmV0\n}\n"], "x\r\nc2VjcmV0\r\n}", "x\r\n********\r\n}");
    }

    #[test]
    fn test_results_are_hidden_and_nothing_else() {
        let masker = Masker::of(["hunter2", "4711"]);
        let said = json!({"token hunter2": ["Bearer hunter2", 4711, 12, true, null]});
        assert_eq!(
            masker.value(said.clone()),
            json!({"token ********": ["Bearer ********", MASK, 12, true, null]})
        );
        assert_eq!(Masker::nothing().value(said.clone()), said);
        assert_eq!(Masker::nothing().stream().push(b"hunter2").as_ref(), b"hunter2");
    }
}
