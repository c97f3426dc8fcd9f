//! What can be seen in the text of a template without compiling it.

use std::sync::Arc;

use crate::path::FieldPath;

/// Words that look like a variable but are not one.
const NOT_VARIABLES: &[&str] = &[
    "true", "false", "none", "True", "False", "None", "not", "and", "or", "if", "else", "in", "is", "loop",
    "self",
];

/// How many brackets of an expression may be open at once.
const BRACKET_LIMIT: usize = 32;

/// How many words and signs an expression may have in a row; commas begin a new row, brackets go on with the one around.
const ROW_LIMIT: usize = 500;

/// How many `elif` a template may have.
const ELIF_LIMIT: usize = 200;

/// A piece of a text whose templates are nothing but paths.
pub(super) enum Piece<'t> {
    Literal(&'t str),
    Path(Arc<FieldPath>),
}

/// A filter or test that the code of a template names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Name {
    Filter(String),
    Test(String),
}

/// The text between the first `{{` and the last `}}` when nothing but blanks stands around them. Whether it is *one*
/// expression is for the compiler to say: `{{ a }} {{ b }}` passes here.
pub(super) fn whole_expression(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner);
    Some(inner.strip_suffix(['-', '+']).unwrap_or(inner).trim())
}

/// Reads an expression that is a variable with attributes, positions and quoted keys, and means the same to the engine
/// and to [`FieldPath`].
pub(super) fn plain_path(expression: &str) -> Option<Arc<FieldPath>> {
    let expression = expression.trim();
    let root_length = identifier_length(expression)?;
    if NOT_VARIABLES.contains(&&expression[..root_length]) {
        return None;
    }
    let mut rest = &expression[root_length..];
    while !rest.is_empty() {
        rest = match rest.strip_prefix('.') {
            Some(attribute) => &attribute[identifier_length(attribute)?..],
            None => {
                let inside = rest.strip_prefix('[')?;
                let end = inside.find(']')?;
                let (subscript, after) = (&inside[..end], &inside[end + 1..]);
                if !is_plain_subscript(subscript) {
                    return None;
                }
                after
            }
        };
    }
    FieldPath::shared(expression).ok()
}

/// What a template reads of a name with attributes, such as `event.payload.n`, that the engine found in its source.
pub(super) fn read_field(source: &str, name: &str) -> FieldPath {
    let (root, attributes) = name.split_once('.').unwrap_or((name, ""));
    let mut keys: Vec<&str> = attributes.split('.').filter(|key| !key.is_empty()).collect();
    // With statements, a name may stand for different values in turn.
    if source.contains("{%") {
        keys.clear();
    }
    // A method reads what it is called on.
    if keys.last().is_some_and(|last| calls(source, last)) {
        keys.pop();
    }
    FieldPath::of_keys(root, keys)
}

/// Whether the name is followed by an opening bracket anywhere.
fn calls(source: &str, name: &str) -> bool {
    source.match_indices(name).any(|(start, _)| source[start + name.len()..].trim_start().starts_with('('))
}

/// Splits a text into literals and plain paths; `None` when it holds any other template.
pub(super) fn path_pieces(text: &str) -> Option<Vec<Piece<'_>>> {
    if text.contains("{%") || text.contains("{#") {
        return None;
    }
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("{{") {
        let inside = &rest[start + 2..];
        let end = inside.find("}}")?;
        if start > 0 {
            pieces.push(Piece::Literal(&rest[..start]));
        }
        pieces.push(Piece::Path(plain_path(&inside[..end])?));
        rest = &inside[end + 2..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(rest));
    }
    Some(pieces)
}

/// Whether the text calls a method of this name somewhere: `.name(`.
pub(super) fn is_called(text: &str, name: &str) -> bool {
    let calls = |at: usize| {
        let before = text[..at].trim_end().ends_with('.');
        before && text[at + name.len()..].trim_start().starts_with('(')
    };
    text.match_indices(name).any(|(at, _)| calls(at))
}

/// The filters and tests named in a template that compiles.
pub(super) fn names(text: &str) -> Vec<Name> {
    let mut names = Vec::new();
    for code in code_sections(text) {
        let words = words(&code.code);
        for (position, word) in words.iter().enumerate() {
            let word_after =
                |offset: usize| words.get(position + offset).copied().filter(|word| is_word(word));
            match *word {
                "|" => names.extend(word_after(1).map(|name| Name::Filter(name.to_owned()))),
                "is" if position > 0 => {
                    let name = match word_after(1) {
                        Some("not") => word_after(2),
                        name => name,
                    };
                    names.extend(name.map(|name| Name::Test(name.to_owned())));
                }
                // `{% filter name %}`
                "filter" if position == 0 => {
                    names.extend(word_after(1).map(|name| Name::Filter(name.to_owned())));
                }
                _ => {}
            }
        }
    }
    names
}

/// Whether the code of a template calls a function of this name, which is no method.
pub(super) fn calls_function(text: &str, function: &str) -> bool {
    code_sections(text).iter().any(|section| {
        let words = words(&section.code);
        let called = |at: usize| at == 0 || words[at - 1] != ".";
        words.windows(2).enumerate().any(|(at, pair)| pair == [function, "("] && called(at))
    })
}

/// The text that each call of a function is given, when the function stands in the code of a template only as
/// `name('text')`; `None` when it stands there in any other way.
pub(super) fn calls_with_text(text: &str, function: &str) -> Option<Vec<String>> {
    let mut given = Vec::new();
    for section in code_sections(text) {
        let words = words(&section.code);
        for (position, word) in words.iter().enumerate() {
            let after = |offset: usize| words.get(position + offset).copied();
            let is_member = position > 0 && words[position - 1] == ".";
            let names_argument = after(1) == Some("=") && after(2) != Some("=");
            if *word != function || is_member || names_argument {
                continue;
            }
            let call = [after(1), after(2), after(3), after(4)];
            if call != [Some("("), Some("'"), Some("'"), Some(")")] {
                return None;
            }
            // Literals are blanked to two quotes each, and nothing else has quotes.
            let literals_before = words[..position].iter().filter(|word| **word == "'").count() / 2;
            given.push(section.literals.get(literals_before)?.clone());
        }
    }
    Some(given)
}

/// What makes a template too complex to be compiled, when it is.
///
/// The engine's compiler recurses with the nesting of an expression and with the length of chains such as `a.b.c` or
/// `1 + 1 + 1`, and the stack that it would exhaust is that of the whole process. The limits are far above what people
/// write and, measured without optimisation, half of what a stack of 2 MB takes.
pub(super) fn excess(text: &str) -> Option<String> {
    let mut elifs = 0;
    for code in code_sections(text) {
        // The length of the row at each level of brackets; what is open adds up.
        let mut rows = vec![0_usize];
        let mut total = 0;
        for (position, word) in words(&code.code).into_iter().enumerate() {
            elifs += usize::from(position == 0 && word == "elif");
            match word {
                "(" | "[" | "{" => rows.push(0),
                ")" | "]" | "}" if rows.len() > 1 => {
                    total -= rows.pop().unwrap_or_default();
                }
                "," => total -= rows.last_mut().map(std::mem::take).unwrap_or_default(),
                _ => {}
            }
            if let Some(row) = rows.last_mut() {
                *row += 1;
                total += 1;
            }
            if rows.len() > BRACKET_LIMIT + 1 {
                return Some(format!(
                    "an expression may have at most {BRACKET_LIMIT} brackets in one another"
                ));
            }
            if total > ROW_LIMIT {
                return Some(format!("an expression may have at most {ROW_LIMIT} words and signs in a row"));
            }
        }
    }
    (elifs > ELIF_LIMIT).then(|| format!("a template may have at most {ELIF_LIMIT} `elif`"))
}

fn identifier_length(text: &str) -> Option<usize> {
    let length = text.find(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    let length = length.unwrap_or(text.len());
    (length > 0 && !text.starts_with(|first: char| first.is_ascii_digit())).then_some(length)
}

fn is_plain_subscript(subscript: &str) -> bool {
    let quoted = |quote: char| {
        let key = subscript.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
        // A key of digits means a position in an array to a path but not to the engine.
        key.is_some_and(|key| {
            !key.contains([quote, '\\']) && !key.starts_with(|first: char| first.is_ascii_digit())
        })
    };
    let is_number = !subscript.is_empty() && subscript.bytes().all(|byte| byte.is_ascii_digit());
    is_number || quoted('\'') || quoted('"')
}

/// What stands within one `{{ }}` or `{% %}`.
#[derive(Debug, Default)]
struct Section {
    /// With `''` in the place of every string literal.
    code: String,
    /// The string literals in their order, as they are written.
    literals: Vec<String>,
}

/// The contents of `{{ }}` and `{% %}`; comments and raw blocks are left out.
fn code_sections(text: &str) -> Vec<Section> {
    let mut sections = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find('{') {
        rest = &rest[start + 1..];
        if let Some(comment) = rest.strip_prefix('#') {
            rest = comment.find("#}").map_or("", |end| &comment[end + 2..]);
            continue;
        }
        let close = match rest.chars().next() {
            Some('{') => '}',
            Some('%') => '%',
            _ => continue,
        };
        let (section, after) = read_code(&rest[1..], close);
        rest = after;
        let is_raw = close == '%' && section.code.trim_matches(['-', '+', ' ', '\n', '\t']) == "raw";
        if is_raw {
            rest = rest.find("endraw").map_or("", |end| &rest[end..]);
        } else {
            sections.push(section);
        }
    }
    sections
}

/// Reads code up to its closing tag, which does not count inside braces or string literals.
fn read_code(text: &str, close: char) -> (Section, &str) {
    let mut section = Section::default();
    let code = &mut section.code;
    let mut depth = 0_usize;
    let mut characters = text.char_indices().peekable();
    while let Some((position, character)) = characters.next() {
        let next = characters.peek().map(|(_, next)| *next);
        match character {
            '\'' | '"' => {
                section.literals.push(read_literal(&mut characters, character));
                code.push_str("''");
            }
            '%' if close == '%' && next == Some('}') => return (section, &text[position + 2..]),
            '}' if close == '}' && depth == 0 && next == Some('}') => {
                return (section, &text[position + 2..]);
            }
            '{' => {
                depth += 1;
                code.push(character);
            }
            '}' => {
                depth = depth.saturating_sub(1);
                code.push(character);
            }
            other => code.push(other),
        }
    }
    (section, "")
}

/// Reads a string literal after its opening quote; escapes stay as they are written.
fn read_literal(characters: &mut impl Iterator<Item = (usize, char)>, quote: char) -> String {
    let mut literal = String::new();
    while let Some((_, character)) = characters.next() {
        if character == quote {
            break;
        }
        literal.push(character);
        if character == '\\' {
            literal.extend(characters.next().map(|(_, escaped)| escaped));
        }
    }
    literal
}

fn is_word(text: &str) -> bool {
    identifier_length(text) == Some(text.len())
}

/// Splits code into words and single other characters, without blanks and the whitespace marks of tags.
fn words(code: &str) -> Vec<&str> {
    let mut words = Vec::new();
    // One mark belongs to the tag; another one is a sign.
    let mut rest = code.strip_prefix(['-', '+']).unwrap_or(code).trim_start();
    while let Some(first) = rest.chars().next() {
        let length = identifier_length(rest).unwrap_or(first.len_utf8());
        words.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_plain_path_accepts_only_what_both_sides_read_alike() {
        for expression in ["event", " event.payload.x ", "event.a[0]['odd key']", "event[\"a.b\"]", "_x._y"] {
            assert!(plain_path(expression).is_some(), "{expression}");
        }
        for expression in [
            "",
            "true",
            "none",
            "event.a-b",
            "event.a | upper",
            "event.get('x')",
            "event[x]",
            "event[-1]",
            "event[*]",
            "event['0']",
            "event.0",
            "event.",
            "1",
            "'x'",
            "event['a\\'b']",
            "event . x",
            "event[0:1]",
            "a b",
        ] {
            assert!(plain_path(expression).is_none(), "{expression}");
        }
    }

    #[test]
    fn test_whole_expression_strips_tags_and_blanks() {
        assert_eq!(whole_expression("{{ x }}"), Some("x"));
        assert_eq!(whole_expression(" {{- -x -}}\n"), Some("-x"));
        assert_eq!(whole_expression("a {{ x }}"), None);
        assert_eq!(whole_expression("{% if x %}{% endif %}"), None);
    }

    #[test]
    fn test_path_pieces_refuse_other_templates() {
        let shape = |text: &str| {
            path_pieces(text).map(|pieces| {
                let shown = pieces.iter().map(|piece| match piece {
                    Piece::Literal(literal) => format!("'{literal}'"),
                    Piece::Path(path) => path.to_string(),
                });
                shown.collect::<Vec<_>>().join(" ")
            })
        };
        assert_eq!(
            shape("disk {{ e.host }}: {{e.used}}%").as_deref(),
            Some("'disk ' e.host ': ' e.used '%'")
        );
        assert_eq!(shape("{{ a }}{{ b }}").as_deref(), Some("a b"));
        assert_eq!(shape("{{ a | upper }}"), None);
        assert_eq!(shape("{{ a }} {# c #}"), None);
        assert_eq!(shape("{{ a }} {% if b %}{% endif %}"), None);
        assert_eq!(shape("{{ a "), None);
        assert_eq!(shape("{{- a }}"), None);
    }

    #[test]
    fn test_names_sees_code_and_nothing_else() {
        let filters = |text: &str| {
            let found = names(text).into_iter().map(|name| match name {
                Name::Filter(name) => name,
                Name::Test(name) => format!("is {name}"),
            });
            found.collect::<Vec<_>>().join(",")
        };
        assert_eq!(filters("{{ a|upper | replace('|x', \"}}|y\") }} |z"), "upper,replace");
        assert_eq!(filters("{{ {'a': {'b': c|one}}|two }}"), "one,two");
        assert_eq!(
            filters("{% if a is defined and b is not none %}{{ c is in [1] }}{% endif %}"),
            "is defined,is none,is in"
        );
        assert_eq!(filters("{# a|b #}{% raw %}{{ a|b }}{% endraw %}{{ c|d }}"), "d");
        assert_eq!(filters("{%- filter upper|trim -%}x is y{%- endfilter -%}"), "upper,trim");
        assert_eq!(filters("{{ a.is }} {{ is }}"), "");
    }
}
