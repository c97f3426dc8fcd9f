//! How a failed command speaks: `error: ...`, what caused it, each fault of a refused request, and a hint. One place,
//! so that every command fails in the same form and with the right exit code.

use std::io;

use attune_client::ClientError;
use attune_client::types::{Problem, ProblemItem};

use crate::diagnostics;
use crate::exit::Exit;
use crate::output::{printable, say};

/// A failure that the command line found itself.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Fault {
    message: String,
    hint: Option<String>,
    exit: Exit,
}

impl Fault {
    /// A failure with exit code 1.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, exit: Exit::Error }
    }

    /// The same with what the user can do about it.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The same with another exit code.
    pub(crate) fn exit(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }
}

/// Tells what went wrong on standard error; the exit code that follows from it.
pub(crate) fn report(error: &anyhow::Error) -> Exit {
    if is_broken_pipe(error) {
        return Exit::Ok;
    }
    say(error_lines(error));
    verdict(error)
}

/// Whether whoever read our output has had enough of it.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
        // A server that closes the connection while we send is not the reader of our output.
        && !error.chain().any(|cause| cause.is::<ClientError>())
}

fn verdict(error: &anyhow::Error) -> Exit {
    for cause in error.chain() {
        if let Some(fault) = cause.downcast_ref::<Fault>() {
            return fault.exit;
        }
        if let Some(error) = cause.downcast_ref::<ClientError>() {
            return match error {
                ClientError::Problem(problem) => match problem.status {
                    401 | 403 => Exit::NotAuthorised,
                    404 => Exit::NotFound,
                    _ => Exit::Error,
                },
                // A 404 of something that is no Attune server says nothing about what was asked for.
                ClientError::Unexpected { status, .. } => match status.as_u16() {
                    401 | 403 => Exit::NotAuthorised,
                    _ => Exit::Error,
                },
                ClientError::InvalidUrl { .. }
                | ClientError::Unreachable { .. }
                | ClientError::Ended { .. }
                | ClientError::Malformed { .. } => Exit::Error,
            };
        }
    }
    Exit::Error
}

fn error_lines(error: &anyhow::Error) -> String {
    let mut causes: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = printable(&cause.to_string());
        // Many errors repeat their source at their own end; saying it twice helps nobody.
        if !causes.last().is_some_and(|previous| previous.ends_with(&text)) {
            causes.push(text);
        }
    }
    let mut lines = String::new();
    for (index, cause) in causes.iter().enumerate() {
        let lead = if index == 0 { "error" } else { "  caused by" };
        lines.push_str(&format!("{lead}: {cause}\n"));
    }
    if let Some(problem) = problem_of(error) {
        for item in problem.errors.iter().filter(|item| !says_it_all(problem, item)) {
            lines.push_str(&diagnostics::render(&diagnostics::Diagnostic::from(item), None));
        }
    }
    if let Some(hint) = hint_for(error) {
        lines.push_str(&format!("hint: {hint}\n"));
    }
    lines.truncate(lines.trim_end().len());
    lines
}

fn problem_of(error: &anyhow::Error) -> Option<&Problem> {
    error.chain().find_map(|cause| match cause.downcast_ref::<ClientError>()? {
        ClientError::Problem(problem) => Some(&**problem),
        ClientError::InvalidUrl { .. }
        | ClientError::Unreachable { .. }
        | ClientError::Unexpected { .. }
        | ClientError::Ended { .. }
        | ClientError::Malformed { .. } => None,
    })
}

/// Whether the one fault is what the problem's detail says already.
fn says_it_all(problem: &Problem, item: &ProblemItem) -> bool {
    problem.errors.len() == 1 && item.file.is_none() && problem.detail.starts_with(&item.detail)
}

fn hint_for(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| {
        if let Some(fault) = cause.downcast_ref::<Fault>() {
            return fault.hint.clone();
        }
        match cause.downcast_ref::<ClientError>()? {
            ClientError::Unreachable { url, .. } => {
                let url = url.trim_end_matches('/');
                Some(format!("is `attune up` running at {url}? Another server is named with --url"))
            }
            // A refused sign-in is a 401 as well, and says itself what was wrong.
            ClientError::Problem(problem)
                if problem.status == 401 && problem.kind.ends_with("/unauthenticated") =>
            {
                Some("run `attune login`".to_owned())
            }
            ClientError::Problem(problem) if problem.status == 403 => {
                Some("`attune whoami` shows what you are allowed".to_owned())
            }
            ClientError::Unexpected { .. } | ClientError::Malformed { .. } => {
                Some("check that the address is that of an Attune server".to_owned())
            }
            ClientError::Ended { .. } => Some("the server may have stopped; try again".to_owned()),
            ClientError::Problem(_) | ClientError::InvalidUrl { .. } => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(status: u16, kind: &str, errors: Vec<ProblemItem>) -> anyhow::Error {
        let problem = Problem {
            kind: format!("/problems/{kind}"),
            title: "t".into(),
            status,
            detail: "the detail".into(),
            errors,
        };
        ClientError::Problem(Box::new(problem)).into()
    }

    #[test]
    fn test_exit_codes_follow_the_answer() {
        assert_eq!(verdict(&problem(401, "unauthenticated", vec![])), Exit::NotAuthorised);
        assert_eq!(verdict(&problem(403, "forbidden", vec![])), Exit::NotAuthorised);
        assert_eq!(verdict(&problem(404, "not-found", vec![]).context("while looking")), Exit::NotFound);
        assert_eq!(verdict(&problem(409, "conflict", vec![])), Exit::Error);
        assert_eq!(verdict(&Fault::new("late").exit(Exit::TimedOut).into()), Exit::TimedOut);
        assert_eq!(verdict(&anyhow::anyhow!("other")), Exit::Error);
    }

    #[test]
    fn test_faults_and_hints_are_told() {
        let item = ProblemItem {
            detail: "unknown parameter".into(),
            pointer: Some("/cout".into()),
            suggestion: Some("count".into()),
            ..ProblemItem::default()
        };
        let text = error_lines(&problem(422, "invalid", vec![item]));
        assert_eq!(
            text,
            "error: the detail\nerror: unknown parameter\n  --> /cout\n   = help: did you mean `count`?"
        );
        let item = ProblemItem { detail: "the detail".into(), ..ProblemItem::default() };
        assert_eq!(error_lines(&problem(422, "invalid", vec![item])), "error: the detail");
        let text = error_lines(&problem(401, "unauthenticated", vec![]));
        assert_eq!(text, "error: the detail\nhint: run `attune login`");
    }

    #[test]
    fn test_causes_are_told_once_each() {
        let error = anyhow::anyhow!("disk full").context("cannot write x: disk full").context("cannot save");
        assert_eq!(error_lines(&error), "error: cannot save\n  caused by: cannot write x: disk full");
    }

    #[test]
    fn test_broken_pipe_is_no_error() {
        let error = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe)).context("cannot print");
        assert_eq!(report(&error), Exit::Ok);
        let error = anyhow::Error::from(io::Error::from(io::ErrorKind::NotFound));
        assert!(!is_broken_pipe(&error));
    }
}
