//! Output in which a number was masked: what stands in its place is no number.

use attune_expr::key_marks::MASK;

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
        let is_value = !in_text && matches!(before, None | Some(':' | ',' | '[' | '{' | '-' | '\n'));
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

#[cfg(test)]
mod tests {
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
        check("a: ********\nb:\n  - ********\n", Some("a: \"********\"\nb:\n  - \"********\"\n"));
        check(r#"{"a": "x: ********", "b": "\": ********"}"#, None);
        check("a: it is ********", None);
        check(r#"{"a": 1}"#, None);
    }
}
