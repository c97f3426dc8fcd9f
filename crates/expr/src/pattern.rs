//! Regular expressions and wildcards as Python's `re` and `fnmatch` read them.
//!
//! Users bring patterns written for Python. They run on a linear-time engine; only a pattern with look-around or
//! back-references, which that engine refuses, runs on a backtracking one whose work is limited. The translation covers
//! what differs in meaning: `$` before a final line break, `\Z`, braces and brackets that Python takes literally, and
//! `\<`, which is a word boundary elsewhere.

mod wildcard;

use fancy_regex::RegexBuilder as BacktrackingBuilder;
use regex::RegexBuilder as LinearBuilder;

use self::wildcard::Wildcard;
use crate::cache::Cache;

/// How many steps back a pattern with look-around may take before it is given up.
const BACKTRACK_LIMIT: usize = 100_000;

/// Regular expressions that are kept compiled at least, while they are in use. One takes some tens of kilobytes.
const KEPT: usize = 1_024;

static COMPILED: Cache<Compiled> = Cache::new(KEPT);

/// A pattern, checked, that answers whether a text matches.
#[derive(Debug, Clone)]
pub struct Pattern {
    form: Form,
}

#[derive(Debug, Clone)]
enum Form {
    Wildcard(Wildcard),
    /// Its compiled form is in [`COMPILED`] while it is in use.
    Regex(Box<Regex>),
}

#[derive(Debug, Clone)]
struct Regex {
    /// What [`COMPILED`] knows it by: the options as they are written in a pattern, and the translated pattern.
    source: String,
    is_linear: bool,
}

enum Compiled {
    Linear(regex::Regex),
    Backtracking(fancy_regex::Regex),
}

/// Options of a regular expression.
#[derive(Debug, Clone, Copy, Default)]
pub struct PatternOptions {
    /// Letters match in either case.
    pub ignore_case: bool,
    /// The match must begin at the start of the text.
    pub at_start: bool,
    /// `.` matches line breaks too.
    pub dot_all: bool,
}

/// Why a pattern cannot be compiled or run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The text is not a regular expression.
    #[error("invalid regular expression `{pattern}`: {message}")]
    Invalid {
        /// The pattern as given.
        pattern: String,
        /// What the engine says.
        message: String,
    },
    /// The text is not a wildcard.
    #[error("invalid wildcard `{pattern}`: {message}")]
    InvalidWildcard {
        /// The pattern as given.
        pattern: String,
        /// What is wrong with it.
        message: String,
    },
    /// The text made a pattern with look-around work too long.
    #[error(
        "the regular expression took too many steps on this text; avoid look-around and nested repetition"
    )]
    TooManySteps,
}

impl Pattern {
    /// Compiles a Python regular expression for searching.
    pub fn regex(pattern: &str, options: PatternOptions) -> Result<Self, PatternError> {
        let translated = translate(pattern, Purpose::Test);
        let translated = if options.at_start { format!(r"\A(?:{translated})") } else { translated };
        let flags = match (options.ignore_case, options.dot_all) {
            (false, false) => "",
            (true, false) => "(?i)",
            (false, true) => "(?s)",
            (true, true) => "(?is)",
        };
        let source = format!("{flags}{translated}");
        let compiled = COMPILED.get(&source, || Compiled::new(&source)).map_err(|message| {
            let pattern = pattern.to_owned();
            PatternError::Invalid { pattern, message }
        })?;
        let is_linear = matches!(&*compiled, Compiled::Linear(_));
        Ok(Self { form: Form::Regex(Box::new(Regex { source, is_linear })) })
    }

    /// Compiles a shell wildcard (`*`, `?`, `[seq]`, `[!seq]`), which must match the whole text in its letters' case.
    pub fn wildcard(pattern: &str) -> Result<Self, PatternError> {
        match Wildcard::compile(pattern) {
            Ok(wildcard) => Ok(Self { form: Form::Wildcard(wildcard) }),
            Err(message) => Err(PatternError::InvalidWildcard { pattern: pattern.to_owned(), message }),
        }
    }

    /// Whether [`Pattern::is_match`] cannot fail, because it takes linear time.
    pub fn always_answers(&self) -> bool {
        match &self.form {
            Form::Wildcard(_) => true,
            Form::Regex(regex) => regex.is_linear,
        }
    }

    /// Whether the text matches.
    pub fn is_match(&self, text: &str) -> Result<bool, PatternError> {
        let regex = match &self.form {
            Form::Wildcard(wildcard) => return Ok(wildcard.is_match(text)),
            Form::Regex(regex) => regex,
        };
        let compiled = COMPILED
            .get(&regex.source, || Compiled::new(&regex.source))
            .map_err(|message| PatternError::Invalid { pattern: regex.source.clone(), message })?;
        match &*compiled {
            Compiled::Linear(regex) => Ok(regex.is_match(text)),
            Compiled::Backtracking(regex) => regex.is_match(text).map_err(|_| PatternError::TooManySteps),
        }
    }
}

impl Compiled {
    fn new(source: &str) -> Result<Self, String> {
        let refused = match LinearBuilder::new(source).build() {
            Ok(regex) => return Ok(Self::Linear(regex)),
            Err(error @ regex::Error::Syntax(_)) => last_line(&error),
            // Too large for this engine is too large for the other one as well.
            Err(error) => return Err(last_line(&error)),
        };
        match BacktrackingBuilder::new(source).backtrack_limit(BACKTRACK_LIMIT).build() {
            Ok(regex) => Ok(Self::Backtracking(regex)),
            Err(error) => {
                // A fault that both engines see is worded better by the first.
                let supported_by_second =
                    refused.contains("look-around") || refused.contains("backreferences");
                Err(if supported_by_second { last_line(&error) } else { refused })
            }
        }
    }
}

/// Compiles a Python regular expression whose groups are needed, for replacing and extracting.
pub(crate) fn capturing(pattern: &str, ignore_case: bool) -> Result<fancy_regex::Regex, PatternError> {
    BacktrackingBuilder::new(&translate(pattern, Purpose::Capture))
        .case_insensitive(ignore_case)
        .backtrack_limit(BACKTRACK_LIMIT)
        .build()
        .map_err(|error| PatternError::Invalid { pattern: pattern.to_owned(), message: last_line(&error) })
}

/// The engines draw the pattern above their message; only the message belongs into ours.
fn last_line(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    let line = text.lines().last().unwrap_or_default().trim();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

#[derive(Clone, Copy, PartialEq)]
enum Purpose {
    /// Only whether it matches is asked, so that `$` may swallow the final line break.
    Test,
    Capture,
}

fn translate(pattern: &str, purpose: Purpose) -> String {
    let characters: Vec<char> = pattern.chars().collect();
    let multi_line = has_multi_line_flag(pattern);
    let mut translated = String::with_capacity(pattern.len() + 8);
    let mut position = 0;
    let mut in_class = false;
    // Where the content of the current class begins: a `]` there is a member of the class.
    let mut class_start = 0;
    while let Some(&character) = characters.get(position) {
        match character {
            '\\' => {
                let escaped = characters.get(position + 1).copied();
                position += 1;
                match escaped {
                    Some('Z') if !in_class => translated.push_str(r"\z"),
                    Some(literal @ ('<' | '>')) => translated.push(literal),
                    Some(other) => translated.extend(['\\', other]),
                    None => translated.push('\\'),
                }
            }
            '[' if in_class => translated.push_str(r"\["),
            '&' | '~' if in_class => translated.extend(['\\', character]),
            '[' => {
                in_class = true;
                translated.push('[');
                if characters.get(position + 1) == Some(&'^') {
                    translated.push('^');
                    position += 1;
                }
                class_start = position + 1;
            }
            ']' if in_class && position == class_start => translated.push_str(r"\]"),
            ']' if in_class => {
                in_class = false;
                translated.push(']');
            }
            '$' if !in_class && !multi_line && purpose == Purpose::Test => translated.push_str(r"(?:\n?\z)"),
            '{' if !in_class && !after_property_escape(&characters, position) => {
                match repetition(&characters[position..]) {
                    Some((text, length)) => {
                        translated.push_str(&text);
                        position += length - 1;
                    }
                    None => translated.push_str(r"\{"),
                }
            }
            other => translated.push(other),
        }
        position += 1;
    }
    translated
}

/// `\p{..}`, `\x{..}` and their like keep their braces.
fn after_property_escape(characters: &[char], brace: usize) -> bool {
    brace >= 2
        && characters[brace - 2] == '\\'
        && matches!(characters[brace - 1], 'p' | 'P' | 'x' | 'u' | 'U')
        && !(brace >= 3 && characters[brace - 3] == '\\')
}

/// Reads `{n}`, `{n,}`, `{,m}` or `{n,m}` at the start; Python takes every other brace literally.
fn repetition(characters: &[char]) -> Option<(String, usize)> {
    let length = characters.iter().position(|character| *character == '}')? + 1;
    let inside: String = characters[1..length - 1].iter().collect();
    let digits = |text: &str| text.chars().all(|character| character.is_ascii_digit());
    match inside.split_once(',') {
        None if !inside.is_empty() && digits(&inside) => Some((format!("{{{inside}}}"), length)),
        Some((low, high)) if digits(low) && digits(high) && inside.len() > 1 => {
            let low = if low.is_empty() { "0" } else { low };
            Some((format!("{{{low},{high}}}"), length))
        }
        _ => None,
    }
}

/// Whether an inline group such as `(?m)` or `(?im:..)` gives `$` the meaning of a line's end.
fn has_multi_line_flag(pattern: &str) -> bool {
    pattern.split("(?").skip(1).any(|group| {
        group.chars().take_while(|character| character.is_ascii_alphabetic()).any(|flag| flag == 'm')
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn prop_translation_never_panics_and_wildcards_always_compile(text in r"[\[\]{}()*+?$^|\\.,!&~<>Zpxa-c0-9é-]{0,12}") {
            let _ = Pattern::regex(&text, PatternOptions::default());
            let _ = capturing(&text, true);
            // A range that runs backwards is the one thing wrong that a wildcard can hold.
            if let Err(error) = Pattern::wildcard(&text) {
                prop_assert!(error.to_string().contains("range"), "{}", error);
            }
        }

        #[test]
        fn prop_escaped_text_matches_itself(text in ".{0,12}") {
            let pattern = format!("^{}$", regex::escape(&text));
            prop_assert!(searches(&pattern, &text), "{}", pattern);
        }
    }

    fn searches(pattern: &str, text: &str) -> bool {
        Pattern::regex(pattern, PatternOptions::default()).unwrap().is_match(text).unwrap()
    }

    fn globs(pattern: &str, text: &str) -> bool {
        Pattern::wildcard(pattern).unwrap().is_match(text).unwrap()
    }

    #[test]
    fn test_regex_reads_python_syntax() {
        assert!(searches("foo$", "foo\n"));
        assert!(!searches("foo$", "foo\nbar"));
        assert!(searches("(?m)^foo$", "foo\nbar"));
        assert!(!searches(r"foo\Z", "foo\n"));
        assert!(searches(r"^[0-9]{,3}$", "12"));
        assert!(searches(r"^[0-9]{2,}$", "123"));
        assert!(searches(r#"{"a": {1,2}"#, r#"{"a":  "#));
        assert!(searches("x{", "x{"));
        assert!(searches("[[a]b", "[b"));
        assert!(searches("[]a]+$", "]a]"));
        assert!(searches("[^]]", "a"));
        assert!(searches("[a&&b]", "&"));
        assert!(searches(r"\<b\>", "<b>"));
        assert!(searches(r"\x41\u0042", "AB"));
        assert!(searches(r"\\{2}$", r"\\"));
        assert!(searches("[$]", "$"));
    }

    #[test]
    fn test_regex_falls_back_for_look_around_and_references() {
        assert!(searches(r"^(?!prod-)\w+", "dev-1"));
        assert!(!searches(r"^(?!prod-)", "prod-1"));
        assert!(searches(r"(\w)\1", "hello"));
        assert!(searches(r"(?P<c>\w)(?P=c)", "hello"));
    }

    #[test]
    fn test_regex_gives_up_on_endless_backtracking() {
        let pattern = Pattern::regex(r"^(a|a)*(?=b)$", PatternOptions::default()).unwrap();
        assert_eq!(pattern.is_match(&"a".repeat(64)), Err(PatternError::TooManySteps));
    }

    #[test]
    fn test_regex_options_change_meaning() {
        let compiled = |options| Pattern::regex("b.c", options).unwrap();
        assert!(
            compiled(PatternOptions { ignore_case: true, ..Default::default() }).is_match("aBxC").unwrap()
        );
        assert!(!compiled(PatternOptions { at_start: true, ..Default::default() }).is_match("ab.c").unwrap());
        assert!(compiled(PatternOptions { dot_all: true, ..Default::default() }).is_match("b\nc").unwrap());
        let alternatives = PatternOptions { at_start: true, ..Default::default() };
        assert!(!Pattern::regex("x|b", alternatives).unwrap().is_match("ab").unwrap());
    }

    #[test]
    fn test_regex_errors_name_the_pattern_and_the_fault() {
        let message = |pattern: &str| {
            Pattern::regex(pattern, PatternOptions::default()).map(|_| ()).unwrap_err().to_string()
        };
        assert_eq!(message("(abc"), "invalid regular expression `(abc`: unclosed group");
        assert!(message("(?<!a+b)(").contains("invalid regular expression"), "{}", message("(?<!a+b)("));
        assert!(message("a{2000}{2000}{2000}").contains("size limit"), "{}", message("a{2000}{2000}{2000}"));
    }

    #[test]
    fn test_wildcard_matches_whole_text() {
        assert!(globs("web-*", "web-01"));
        assert!(!globs("web-*", "my-web-01"));
        assert!(globs("*", ""));
        assert!(globs("a?c*", "abc\ndef"));
        assert!(globs("[!a-c]x", "dx"));
        assert!(!globs("[!a-c]x", "bx"));
        assert!(globs("[]x]", "]"));
        assert!(globs("[^a]", "^"));
        assert!(globs("a[b", "a[b"));
        assert!(globs("a.b+c", "a.b+c"));
        assert!(!globs("a.b", "axb"));
        assert!(!globs("WEB", "web"));
        assert!(globs(r"[\d]", r"\"));
    }
}
