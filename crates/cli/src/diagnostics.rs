//! Faults in files and requests, told as compilers tell them: what is wrong, where, the line itself, what was expected.

use attune_client::types::{ProblemEnd, ProblemItem};
use attune_pack::Finding;

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
    /// The place after the last character of what it is about.
    pub(crate) end: Option<ProblemEnd>,
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
            end: item.end,
            pointer: item.pointer.as_deref(),
            expected: item.expected.as_deref(),
            suggestion: item.suggestion.as_deref(),
        }
    }
}

impl<'a> Diagnostic<'a> {
    /// Of a finding in a file that the user knows by this name.
    pub(crate) fn of(finding: &'a Finding, file: String) -> Self {
        let number = |number: u32| usize::try_from(number).ok();
        let end = finding
            .end
            .and_then(|end| Some(ProblemEnd { line: number(end.line)?, column: number(end.column)? }));
        Self {
            message: &finding.message,
            file: Some(file),
            line: number(finding.line),
            column: number(finding.column),
            end,
            pointer: Some(&finding.pointer),
            expected: finding.expected.as_deref(),
            suggestion: finding.suggestion.as_deref(),
        }
    }

    /// How many characters of its line, beginning at its place, it is about.
    fn width(&self, content: &str) -> usize {
        let before = self.column.unwrap_or(1).saturating_sub(1);
        let width = content.trim_end().chars().count();
        let to = match self.end {
            Some(end) if Some(end.line) == self.line => end.column.saturating_sub(1).min(width),
            // The rest of the line, where it goes on below.
            Some(_) => width,
            None => before,
        };
        to.saturating_sub(before).max(1)
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
        let marks = "^".repeat(diagnostic.width(&content));
        let before = diagnostic.column.unwrap_or(1).saturating_sub(1).min(content.chars().count());
        text.push_str(&format!("{:margin$} |\n", ""));
        text.push_str(&format!("{number:>margin$} | {}\n", content.trim_end()));
        text.push_str(&format!("{:margin$} | {:before$}{marks}\n", "", ""));
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
    fn test_all_that_it_is_about_is_marked() {
        let end = |line, column| Some(ProblemEnd { line, column });
        let marked = |column: usize, end: Option<ProblemEnd>| {
            let diagnostic = Diagnostic {
                message: "m",
                file: Some("f".into()),
                line: Some(1),
                column: Some(column),
                end,
                ..Diagnostic::default()
            };
            let text = render(&diagnostic, Some("wörd: |  \n  text\n"));
            text.lines().last().unwrap().strip_prefix("   | ").unwrap().to_owned()
        };
        assert_eq!(marked(1, end(1, 5)), "^^^^");
        assert_eq!(marked(1, None), "^");
        // What goes on below is marked to the end of its first line.
        assert_eq!(marked(7, end(2, 7)), "      ^");
        assert_eq!(marked(1, end(2, 7)), "^^^^^^^");
        // An end that is not in the text, or before the beginning.
        assert_eq!(marked(7, end(1, 900)), "      ^");
        assert_eq!(marked(3, end(1, 1)), "  ^");
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
