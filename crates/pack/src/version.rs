//! Constraints on the version of an interpreter, as `>=3.11, <3.13`.
//!
//! The forms are those that Python's `requires-python` and npm's `engines` share, with one meaning for both: a version with
//! fewer than three numbers stands for all that begin with it, so `3.11` allows 3.11.9 and `>3.11` begins at 3.12.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// What a constraint has to look like, for people.
pub const CONSTRAINT_FORM: &str =
    "comparisons such as `>=3.11`, `<4`, `3.12.*`, `^20.1` or `~=3.9`, separated by commas";

/// The version of an interpreter.
pub type InterpreterVersion = [u64; 3];

/// Which versions of an interpreter will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionConstraint {
    text: String,
    /// One of these, and of that all.
    alternatives: Vec<Vec<Comparison>>,
}

/// Why a constraint is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{part}` is no comparison with a version")]
pub struct ConstraintError {
    /// The part that is not understood.
    pub part: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Comparison {
    operator: Operator,
    /// One to three numbers; none stands for any version.
    version: Vec<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// `^`: the same first number that is not zero.
    Caret,
    /// `~`: the same second number.
    Tilde,
    /// `~=`: all but the last number the same.
    Compatible,
}

/// Longer spellings first: the first that fits is taken.
const OPERATORS: [(&str, Operator); 11] = [
    ("===", Operator::Equal),
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("~=", Operator::Compatible),
    ("=", Operator::Equal),
    ("<", Operator::Less),
    (">", Operator::Greater),
    ("^", Operator::Caret),
    ("~", Operator::Tilde),
];

impl VersionConstraint {
    /// The constraint as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the version will do.
    pub fn allows(&self, version: InterpreterVersion) -> bool {
        self.alternatives.iter().any(|all| all.iter().all(|comparison| comparison.allows(version)))
    }
}

impl FromStr for VersionConstraint {
    type Err = ConstraintError;

    fn from_str(text: &str) -> Result<Self, ConstraintError> {
        let alternatives = text.split("||").map(comparisons).collect::<Result<_, _>>()?;
        Ok(Self { text: text.trim().to_owned(), alternatives })
    }
}

impl fmt::Display for VersionConstraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn comparisons(text: &str) -> Result<Vec<Comparison>, ConstraintError> {
    let mut all = Vec::new();
    // An operator may stand apart from its version, as in `>= 3.11`.
    let mut pending = String::new();
    for word in text.split([',', ' ', '\t']).filter(|word| !word.is_empty()) {
        pending.push_str(word);
        if !OPERATORS.iter().any(|(spelling, _)| *spelling == pending) {
            all.push(Comparison::parse(&pending)?);
            pending.clear();
        }
    }
    match all.is_empty() || !pending.is_empty() {
        true => Err(ConstraintError { part: text.trim().to_owned() }),
        false => Ok(all),
    }
}

impl Comparison {
    fn parse(text: &str) -> Result<Self, ConstraintError> {
        let error = || ConstraintError { part: text.to_owned() };
        let (operator, version) = OPERATORS
            .iter()
            .find_map(|(spelling, operator)| Some((*operator, text.strip_prefix(spelling)?)))
            .unwrap_or((Operator::Equal, text));
        let parts: Vec<&str> = version.trim_start_matches('v').split('.').collect();
        let open = parts.iter().position(|part| matches!(*part, "*" | "x" | "X")).unwrap_or(parts.len());
        if parts.len() > 3 || parts[open..].iter().any(|part| !matches!(*part, "*" | "x" | "X")) {
            return Err(error());
        }
        let number = |part: &&str| match part.bytes().all(|byte| byte.is_ascii_digit()) {
            true => part.parse().ok(),
            false => None,
        };
        let version: Vec<u64> = parts[..open].iter().map(number).collect::<Option<_>>().ok_or_else(error)?;
        let needed = match operator {
            Operator::Equal => 0,
            Operator::Compatible => 2,
            _ => 1,
        };
        match version.len() < needed {
            true => Err(error()),
            false => Ok(Self { operator, version }),
        }
    }

    fn allows(&self, version: InterpreterVersion) -> bool {
        // Only as many numbers as were given take part.
        let order = version[..self.version.len()].cmp(&self.version[..]);
        let same = |count: usize| version[..count] == self.version[..count];
        match self.operator {
            Operator::Equal => order == Ordering::Equal,
            Operator::NotEqual => order != Ordering::Equal,
            Operator::Less => order == Ordering::Less,
            Operator::LessOrEqual => order != Ordering::Greater,
            Operator::Greater => order == Ordering::Greater,
            Operator::GreaterOrEqual => order != Ordering::Less,
            Operator::Caret => {
                let leading = self.version.iter().position(|number| *number != 0).unwrap_or(0) + 1;
                order != Ordering::Less && same(leading)
            }
            Operator::Tilde => order != Ordering::Less && same(self.version.len().min(2)),
            Operator::Compatible => order != Ordering::Less && same(self.version.len() - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(constraint: &str, allowed: &[&str], refused: &[&str]) {
        let parsed: VersionConstraint = constraint.parse().unwrap();
        let version = |text: &str| {
            let mut numbers = text.split('.').map(|part| part.parse().unwrap());
            [(); 3].map(|()| numbers.next().unwrap())
        };
        for text in allowed {
            assert!(parsed.allows(version(text)), "{constraint} refuses {text}");
        }
        for text in refused {
            assert!(!parsed.allows(version(text)), "{constraint} allows {text}");
        }
    }

    #[test]
    fn test_versions_are_compared_as_far_as_they_are_given() {
        check(">=3.11", &["3.11.0", "3.12.1", "4.0.0"], &["3.10.13", "2.7.18"]);
        check("3.11", &["3.11.0", "3.11.9"], &["3.12.0", "3.1.1"]);
        check("==3.11.*", &["3.11.7"], &["3.12.0"]);
        check(">3.11", &["3.12.0"], &["3.11.9"]);
        check("<=3.11", &["3.11.9"], &["3.12.0"]);
        check(">=3.8,<3.12, !=3.9.1", &["3.8.0", "3.9.0", "3.11.7"], &["3.9.1", "3.12.0", "3.7.9"]);
        check(">= 3.8 < 3.10", &["3.9.9"], &["3.10.0"]);
        check("~=3.9", &["3.9.0", "3.13.1"], &["3.8.18", "4.0.0"]);
        check("~=3.9.2", &["3.9.2", "3.9.18"], &["3.9.1", "3.10.0"]);
        check("^20.1", &["20.1.0", "20.20.2"], &["20.0.9", "21.0.0"]);
        check("^0.2.1", &["0.2.1", "0.2.9"], &["0.3.0", "1.2.1"]);
        check("~18.2", &["18.2.0", "18.2.5"], &["18.3.0"]);
        check("18.x || >=20", &["18.1.0", "20.0.0"], &["19.0.0"]);
        check("*", &["0.0.1", "9.9.9"], &[]);
    }

    #[test]
    fn test_what_is_not_understood_is_named() {
        for (text, part) in [
            ("", ""),
            (">=", ">="),
            (">=3.11, latest", "latest"),
            ("3.11.1.2", "3.11.1.2"),
            ("3.*.1", "3.*.1"),
            (">*", ">*"),
            ("~=3", "~=3"),
            ("3.11rc1", "3.11rc1"),
            (">=3 ||", ""),
        ] {
            assert_eq!(text.parse::<VersionConstraint>().unwrap_err().part, part, "{text}");
        }
    }
}
