//! Faults in files and requests, told as compilers tell them: what is wrong, where, the line itself, what was expected.

use attune_client::types::ProblemItem;

use crate::output::printable;

/// One fault. Without `file` the pointer says where it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Diagnostic<'a> {
    pub(crate) message: &'a str,
    /// As the user can open it.
    pub(crate) file: Option<String>,
    /// Line and column count from 1.
    pub(crate) line: Option<usize>,
    pub(crate) column: Option<usize>,
    pub(crate) pointer: Option<&'a str>,
    pub(crate) expected: Option<&'a str>,
    pub(crate) suggestion: Option<&'a str>,
}

impl<'a> From<&'a ProblemItem> for Diagnostic<'a> {
    fn from(item: &'a ProblemItem) -> Self {
        Self {
            message: &item.detail,
            file: item.file.clone(),
            line: item.line,
            column: item.column,
            pointer: item.pointer.as_deref(),
            expected: item.expected.as_deref(),
            suggestion: item.suggestion.as_deref(),
        }
    }
}

/// The fault as text, ending in a line feed; `source` is the content of its file, where that is at hand.
pub(crate) fn render(diagnostic: &Diagnostic<'_>, source: Option<&str>) -> String {
    let mut text = format!("error: {}\n", printable(diagnostic.message));
    let line = diagnostic.line.filter(|line| *line > 0);
    let place = match (&diagnostic.file, line) {
        (Some(file), Some(line)) => Some(format!("{file}:{line}:{}", diagnostic.column.unwrap_or(1))),
        (Some(file), None) => Some(file.clone()),
        (None, _) => diagnostic.pointer.filter(|pointer| !pointer.is_empty()).map(str::to_owned),
    };
    let margin = line.map_or(2, |line| line.to_string().len()).max(2);
    if let Some(place) = place {
        text.push_str(&format!("{:margin$}--> {}\n", "", printable(&place)));
    }
    if let Some((number, content)) = line.and_then(|number| Some((number, source?.lines().nth(number - 1)?)))
    {
        let content = printable(&content.replace('\t', " "));
        let before = diagnostic.column.unwrap_or(1).saturating_sub(1).min(content.chars().count());
        text.push_str(&format!("{:margin$} |\n", ""));
        text.push_str(&format!("{number:>margin$} | {}\n", content.trim_end()));
        text.push_str(&format!("{:margin$} | {:before$}^\n", "", ""));
    }
    if let Some(expected) = diagnostic.expected {
        text.push_str(&format!("{:margin$} = expected: {}\n", "", printable(expected)));
    }
    if let Some(suggestion) = diagnostic.suggestion {
        let suggestion = printable(suggestion);
        // A bare name is something to write instead; anything longer is advice already.
        let help = if suggestion.contains(char::is_whitespace) {
            suggestion
        } else {
            format!("did you mean `{suggestion}`?")
        };
        text.push_str(&format!("{:margin$} = help: {help}\n", ""));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_a_fault_is_shown_with_its_line() {
        let diagnostic = Diagnostic {
            message: "unknown key `entrypont`",
            file: Some("ops/actions/x.yaml".into()),
            line: Some(2),
            column: Some(3),
            expected: Some("one of ref, entrypoint"),
            suggestion: Some("entrypoint"),
            ..Diagnostic::default()
        };
        assert_eq!(
            render(&diagnostic, Some("ref: ops.x\n\tentrypont: x.sh\n")),
            "error: unknown key `entrypont`\n  --> ops/actions/x.yaml:2:3\n   |\n 2 |  entrypont: x.sh\n   |   ^\n   \
             = expected: one of ref, entrypoint\n   = help: did you mean `entrypoint`?\n"
        );
    }

    #[test]
    fn test_positions_outside_the_file_are_survived() {
        let diagnostic = Diagnostic {
            message: "m",
            file: Some("f".into()),
            line: Some(9),
            column: None,
            ..Diagnostic::default()
        };
        assert_eq!(render(&diagnostic, Some("one line")), "error: m\n  --> f:9:1\n");
        let diagnostic = Diagnostic { line: Some(1), column: Some(90), ..diagnostic };
        assert!(render(&diagnostic, Some("ab")).ends_with(" 1 | ab\n   |   ^\n"));
        let diagnostic = Diagnostic { line: Some(0), column: Some(0), ..diagnostic };
        assert_eq!(render(&diagnostic, Some("ab")), "error: m\n  --> f\n");
    }

    #[test]
    fn test_advice_is_kept_as_it_is() {
        let diagnostic =
            Diagnostic { message: "m", suggestion: Some("add a version"), ..Diagnostic::default() };
        assert_eq!(render(&diagnostic, None), "error: m\n   = help: add a version\n");
    }
}
