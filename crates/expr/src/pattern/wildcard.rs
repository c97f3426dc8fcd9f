//! Shell wildcards as Python's `fnmatch` reads them: `*`, `?`, `[seq]`, `[!seq]`. They match the whole text.
//!
//! Rules hold many of them and ask each rarely, so that they are some bytes in size and not a regular expression's
//! kilobytes.

/// A compiled wildcard.
#[derive(Debug, Clone)]
pub(super) struct Wildcard {
    tokens: Box<[Token]>,
}

#[derive(Debug, Clone)]
enum Token {
    Literal(Box<str>),
    /// `?`
    Any,
    /// `*`
    Many,
    Class {
        negated: bool,
        /// Both ends included.
        ranges: Box<[(char, char)]>,
    },
}

impl Wildcard {
    /// Reads a pattern; the fault, if there is one, is a range that runs backwards.
    pub(super) fn compile(pattern: &str) -> Result<Self, String> {
        let mut tokens = Vec::new();
        let mut literal = String::new();
        let mut rest = pattern.chars();
        while let Some(character) = rest.next() {
            let token = match character {
                '*' => Token::Many,
                '?' => Token::Any,
                '[' => match class_end(rest.as_str()) {
                    Some(end) => {
                        let inside = &rest.as_str()[..end];
                        rest = rest.as_str()[end + 1..].chars();
                        class(inside)?
                    }
                    // Without a closing bracket it is literal.
                    None => {
                        literal.push(character);
                        continue;
                    }
                },
                other => {
                    literal.push(other);
                    continue;
                }
            };
            if !literal.is_empty() {
                tokens.push(Token::Literal(std::mem::take(&mut literal).into()));
            }
            // Several in a row are one.
            if !(matches!(token, Token::Many) && matches!(tokens.last(), Some(Token::Many))) {
                tokens.push(token);
            }
        }
        if !literal.is_empty() {
            tokens.push(Token::Literal(literal.into()));
        }
        Ok(Self { tokens: tokens.into() })
    }

    /// Whether the whole text matches. Only the last `*` is ever tried again, as what came before it can stay where it
    /// first fits: the work is bounded by the length of the text times that of the pattern.
    pub(super) fn is_match(&self, text: &str) -> bool {
        let mut rest = text;
        let mut position = 0;
        let mut retry: Option<(usize, &str)> = None;
        loop {
            match self.tokens.get(position) {
                Some(Token::Many) if position + 1 == self.tokens.len() => return true,
                Some(Token::Many) => {
                    position += 1;
                    retry = Some((position, rest));
                    continue;
                }
                Some(token) => {
                    if let Some(after) = token.eat(rest) {
                        rest = after;
                        position += 1;
                        continue;
                    }
                }
                None if rest.is_empty() => return true,
                None => {}
            }
            // The last `*` takes one character more.
            let Some((after_many, from)) = &mut retry else { return false };
            let mut characters = from.chars();
            if characters.next().is_none() {
                return false;
            }
            *from = characters.as_str();
            rest = *from;
            position = *after_many;
        }
    }
}

impl Token {
    /// What is left of a text after this.
    fn eat<'t>(&self, text: &'t str) -> Option<&'t str> {
        let mut characters = text.chars();
        let fits = match self {
            Self::Literal(literal) => return text.strip_prefix(&**literal),
            Self::Many => return Some(text),
            Self::Any => characters.next().is_some(),
            Self::Class { negated, ranges } => characters.next().is_some_and(|character| {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&character)) != *negated
            }),
        };
        fits.then_some(characters.as_str())
    }
}

/// Where the class that `text` begins with ends. A `]` directly after `[` or `[!` is a member.
fn class_end(text: &str) -> Option<usize> {
    let start = usize::from(text.starts_with('!'));
    let first = text[start..].chars().next()?;
    let behind = start + first.len_utf8();
    text[behind..].find(']').map(|end| behind + end)
}

fn class(inside: &str) -> Result<Token, String> {
    let negated = inside.starts_with('!');
    let members: Vec<char> = inside.chars().skip(usize::from(negated)).collect();
    let mut ranges = Vec::new();
    let mut rest = members.as_slice();
    while let [low, after @ ..] = rest {
        let high = match after {
            ['-', high, after @ ..] => {
                rest = after;
                *high
            }
            _ => {
                rest = after;
                *low
            }
        };
        if high < *low {
            return Err(format!("the range `{low}-{high}` runs backwards"));
        }
        ranges.push((*low, high));
    }
    Ok(Token::Class { negated, ranges: ranges.into() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same as a regular expression, which is how `fnmatch` does it.
    fn translated(pattern: &str) -> Option<regex::Regex> {
        let wildcard = Wildcard::compile(pattern).ok()?;
        let mut expression = String::from(r"(?s)\A");
        for token in &wildcard.tokens {
            match token {
                Token::Literal(literal) => expression.push_str(&regex::escape(literal)),
                Token::Any => expression.push('.'),
                Token::Many => expression.push_str(".*"),
                Token::Class { negated, ranges } => {
                    expression.push_str(if *negated { "[^" } else { "[" });
                    for (low, high) in ranges {
                        let code = |character: &char| format!(r"\u{{{:x}}}", *character as u32);
                        expression.push_str(&format!("{}-{}", code(low), code(high)));
                    }
                    expression.push(']');
                }
            }
        }
        Some(regex::Regex::new(&(expression + r"\z")).unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

        #[test]
        fn prop_it_matches_what_the_regular_expression_matches(
            pattern in r"([ab*?é]|\[!?[]a-c-]{1,3}\]){0,8}",
            texts in proptest::collection::vec("[abcé\\]\n-]{0,10}", 1..10),
        ) {
            let Some(expression) = translated(&pattern) else { return Ok(()) };
            let wildcard = Wildcard::compile(&pattern).unwrap();
            for text in texts {
                prop_assert_eq!(wildcard.is_match(&text), expression.is_match(&text), "{} on {:?}", pattern, text);
            }
        }
    }

    #[test]
    fn test_classes_are_read_as_pythons() {
        let matches = |pattern: &str, text: &str| Wildcard::compile(pattern).unwrap().is_match(text);
        assert!(matches("[a-]", "-") && matches("[-a]", "-") && matches("[a-c-e]", "e"));
        assert!(!matches("[a-c-e]", "d"));
        assert!(matches("[--0]", ".") && matches("[!]]", "a") && !matches("[!]]", "]"));
        assert!(matches("[", "[") && matches("[!", "[!") && matches("[]", "[]") && matches("a[é]b", "aéb"));
        assert_eq!(Wildcard::compile("x[c-a]").unwrap_err(), "the range `c-a` runs backwards");
    }

    #[test]
    fn test_work_does_not_explode() {
        let wildcard = Wildcard::compile(&"*a".repeat(20)).unwrap();
        assert!(wildcard.is_match(&"a".repeat(10_000)));
        assert!(!wildcard.is_match(&format!("{}b", "a".repeat(10_000))));
    }
}
