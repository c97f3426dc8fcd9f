//! Why a container was not run, as far as the end of the engine's client tells.

use std::path::Path;

use super::{Engine, PACK};
use crate::process::{Ending, Exit, Finished};

/// The exit codes of a client whose engine did not run the container, could not execute its command, or did not find it. An
/// action may end with each of them as well.
const ENGINE_FAILED: i32 = 125;
const NOT_EXECUTABLE: i32 = 126;
const NOT_FOUND: i32 = 127;

/// How many lines may follow the one that says what is wrong.
const AFTER: usize = 6;

impl Engine {
    /// What the end of the client says of the engine rather than of the action, whose command begins with this program.
    pub fn failure(&self, image: &str, program: &Path, finished: &Finished) -> Option<String> {
        if let Some(problem) = exec_problem(finished) {
            return Some(match problem.contains("format") {
                true => format!(
                    "the image {image} cannot run {}: it is for another kind of machine, or a script without `#!` in its \
                     first line",
                    shown(program)
                ),
                false => nothing_to_run_with(image, program),
            });
        }
        let (code, said) = told(finished)?;
        let missing = code == NOT_FOUND || said.contains("no such file or directory");
        if code != ENGINE_FAILED && missing && said.contains("exec") {
            return Some(nothing_to_run_with(image, program));
        }
        Some(format!("{} did not run the container: {said}", self.name()))
    }
}

fn nothing_to_run_with(image: &str, program: &Path) -> String {
    match program.starts_with(PACK) {
        false => format!(
            "the image {image} has no {} to run the action with: take an image that has it",
            program.display()
        ),
        true => format!(
            "the image {image} has nothing to run {} with: take an image that has the interpreter in its first line, or for \
             which the program was built",
            shown(program)
        ),
    }
}

/// A file of the pack by its name there.
fn shown(program: &Path) -> impl std::fmt::Display {
    program.strip_prefix(PACK).unwrap_or(program).display()
}

/// Why the command of a container could not be executed, which is all that its process says then.
fn exec_problem(finished: &Finished) -> Option<String> {
    const PROBLEMS: [&str; 2] = ["no such file or directory", "exec format error"];
    if finished.ending != Ending::Exited || finished.exit == Exit::Code(0) {
        return None;
    }
    let stderr = finished.stderr.to_text();
    let line = stderr.trim();
    let is_all = line.starts_with("exec /") && !line.contains('\n');
    (is_all && PROBLEMS.iter().any(|problem| line.ends_with(problem))).then(|| line.to_owned())
}

/// Whether the engine says that it failed.
pub(super) fn is_told(finished: &Finished) -> bool {
    told(finished).is_some()
}

/// The exit code and the words of a client whose engine failed.
fn told(finished: &Finished) -> Option<(i32, String)> {
    let Exit::Code(code @ (ENGINE_FAILED | NOT_EXECUTABLE | NOT_FOUND)) = finished.exit else { return None };
    if finished.ending != Ending::Exited {
        return None;
    }
    let stderr = finished.stderr.to_text();
    let said = |line: &str| {
        let said = line.strip_prefix("Error: ").or_else(|| line.strip_prefix("docker: "))?;
        // With the two codes for its command the engine names the runtime that tried; an action would not.
        (code == ENGINE_FAILED || said.contains("OCI ")).then(|| said.to_owned())
    };
    stderr.lines().rev().take(AFTER).find_map(said).map(|said| (code, said))
}
