//! One expression after another on a terminal: a line in, its result out.

use std::io::{self, BufRead, Write};

use anyhow::Context;
use attune_expr::suggest::nearest;
use clap::ValueEnum;

use super::evaluation::{Workbench, did_you_mean};
use super::{Language, rendered};
use crate::output::{Format, printable, say, write};

const HELP: &str = "\
An expression in a line is evaluated; beside that there are
  :lang jinja|yaql|condition   go on in another language
  :names                       the names that the data has
  :help                        this text
  :quit                        end, as does the end of the input (Ctrl-D)";

const COMMANDS: &[&str] = &[":lang", ":names", ":help", ":quit"];

/// Asks until the input ends or the user has had enough. Faults are told, and the conversation goes on.
pub(super) fn hold(workbench: &mut Workbench, format: Format) -> anyhow::Result<()> {
    say("expressions, one a line; :help says more, :quit ends");
    let mut input = io::stdin().lock();
    let mut line = String::new();
    loop {
        prompt(workbench.language);
        line.clear();
        if input.read_line(&mut line).context("cannot read the expression")? == 0 {
            say("");
            return Ok(());
        }
        match line.trim() {
            "" => {}
            ":quit" | ":q" => return Ok(()),
            command if command.starts_with(':') => obey(command, workbench)?,
            expression => match workbench.evaluate(expression) {
                Ok(answer) => write(&rendered(&answer, format)?)?,
                Err(failure) => {
                    say(format_args!("error: {}", printable(&failure.message)));
                    if let Some(hint) = failure.hint {
                        say(format_args!("hint: {}", printable(&hint)));
                    }
                }
            },
        }
    }
}

/// The language stands in the prompt, which is talk: the results alone can be redirected.
fn prompt(language: Language) {
    let mut err = io::stderr().lock();
    // Where nobody sees the prompt, nothing is lost.
    drop(write!(err, "{}> ", name_of(language)).and_then(|()| err.flush()));
}

fn obey(command: &str, workbench: &mut Workbench) -> io::Result<()> {
    let (verb, argument) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
    match (verb, argument.trim()) {
        (":help", "") => say(HELP),
        (":names", "") => {
            for name in workbench.names() {
                write(&(printable(&name).replace('\n', " ") + "\n"))?;
            }
        }
        (":lang", given) => match Language::from_str(given, true) {
            Ok(language) => workbench.language = language,
            Err(_) => say("error: expected `:lang jinja`, `:lang yaql` or `:lang condition`"),
        },
        (verb, _) => {
            let near = nearest(verb, COMMANDS.iter().copied());
            let hint = near.map_or_else(|| ":help lists the commands".to_owned(), did_you_mean);
            say(format_args!("error: there is no `{}`\nhint: {hint}", printable(command)));
        }
    }
    Ok(())
}

fn name_of(language: Language) -> &'static str {
    match language {
        Language::Jinja => "jinja",
        Language::Yaql => "yaql",
        Language::Condition => "condition",
    }
}
