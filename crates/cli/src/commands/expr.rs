//! `attune expr`: expressions tried out on data, without a server.
//!
//! One expression makes it a filter, none makes it a conversation on a terminal, and `--ndjson` lets other programs ask.

mod conversation;
mod evaluation;
mod ndjson;

use std::io::{self, IsTerminal};

use chrono::{DateTime, Utc};
use clap::{Args, ValueEnum};
use serde_json::Value;

use self::evaluation::{Answer, Failure, Workbench};
use crate::commands::judgement;
use crate::exit::Exit;
use crate::failure::Fault;
use crate::input;
use crate::output::{Details, Format, json_text, printable, write, yaml_text};
use crate::session::Options;

const AFTER_HELP: &str = "\
Examples:
  attune expr 'event.payload.labels | length' --data event.json
  attune event show 17 -o json | attune expr 'payload.labels.host' --text
  attune expr --lang condition '{field: event.payload.n, operator: gt, value: 3}' --data event.json
  attune expr --data event.json

The members of the data are the names that an expression sees; data that is no object is called `data`. The last example
asks for one expression after another. A condition ends with exit code 0 where it holds, 2 where it does not.

--ndjson answers each line with {\"out\": ..} or {\"err\": .., \"msg\": ..}. A line is one of
  {\"lang\": \"criteria\", \"op\": .., \"value\": .., \"pattern\": .. [, \"condition\": ..]}
  {\"lang\": \"jinja\", \"expr\": .., \"data\": .. [, \"text\": true]}
  {\"lang\": \"yaql\", \"expr\": .., \"data\": ..}
  {\"lang\": \"jinja\" or \"yaql\", \"expr\": .., \"ctx\": .., \"workflow\": true}
YAQL and workflow expressions are not available yet; they are answered so.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ExprArgs {
    /// The expression, with or without its braces; without one, a terminal asks for one after another
    expression: Option<String>,
    /// File with the JSON to evaluate it on, `-` for standard input [default: standard input that is no terminal]
    #[arg(long, short, value_name = "FILE", conflicts_with = "ndjson")]
    data: Option<String>,
    /// Language of the expression [default: jinja]
    #[arg(long, short, value_enum, conflicts_with = "ndjson")]
    lang: Option<Language>,
    /// Write the result as it would stand in a text, not as JSON
    #[arg(long, conflicts_with = "ndjson")]
    text: bool,
    /// Answer each line of standard input, a case as JSON, with a line
    #[arg(long, conflicts_with = "expression")]
    ndjson: bool,
    /// The current time to conditions on time, as 2026-11-24T12:00:00Z [default: now]
    #[arg(long, value_name = "TIME", value_parser = input::moment)]
    now: Option<DateTime<Utc>>,
}

/// What an expression is written in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Language {
    /// As in templates: `event.payload.n + 1`, or a text with `{{ .. }}` in it
    #[default]
    Jinja,
    /// Bare YAQL over `$`
    Yaql,
    /// As in rules: `{field: .., operator: .., value: ..}`, in YAML or JSON
    Condition,
}

pub(crate) fn run(args: ExprArgs, options: &Options) -> anyhow::Result<Exit> {
    options.refuse_server()?;
    if args.ndjson {
        if let Some(flag) = options.first_given() {
            return Err(Fault::new(format!("{flag} has no effect with --ndjson")).into());
        }
        return ndjson::serve(&mut io::stdin().lock(), args.now).map(|()| Exit::Ok);
    }
    let format = options.format();
    if format == Format::Name {
        return Err(Fault::new("the result of an expression has no name")
            .hint("use -o json or -o yaml")
            .into());
    }
    if args.text && matches!(format, Format::Json | Format::Yaml) {
        return Err(Fault::new("--output has no effect with --text").into());
    }
    let language = args.lang.unwrap_or_default();
    if args.text && language == Language::Condition {
        return Err(Fault::new("--text has no effect on a condition").into());
    }
    let data = data(&args)?;
    let mut workbench = Workbench { language, text: args.text, data, now: args.now };
    match args.expression {
        Some(expression) => {
            let answer = workbench.evaluate(&expression).map_err(Fault::from)?;
            write(&rendered(&answer, format)?)?;
            Ok(exit_of(&answer))
        }
        None => {
            conversation::hold(&mut workbench, format)?;
            Ok(Exit::Ok)
        }
    }
}

fn data(args: &ExprArgs) -> anyhow::Result<Value> {
    if args.expression.is_none() {
        if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
            return Err(Fault::new("there is no expression")
                .hint("give one, or a terminal to ask for them, or cases with --ndjson")
                .into());
        }
        if args.data.as_deref() == Some(input::STDIN) {
            return Err(Fault::new("standard input is where the expressions come from")
                .hint("name a file with --data")
                .into());
        }
    }
    match &args.data {
        Some(given) => input::json_file("the data", given),
        None if io::stdin().is_terminal() => Ok(Value::Null),
        // What starts this may well have given it no input at all.
        None => input::json_from_stdin("the data").map(Option::unwrap_or_default),
    }
}

/// The answer as it is written, ending in a line feed.
fn rendered(answer: &Answer, format: Format) -> anyhow::Result<String> {
    Ok(match (answer, format) {
        (Answer::Value(value), Format::Yaml) => yaml_text(value)?,
        (Answer::Value(value), Format::Table | Format::Json | Format::Name) => json_text(value)?,
        // Other programs get the text as it is; a terminal would act on what is in it.
        (Answer::Text(text), _) if io::stdout().is_terminal() => printable(text) + "\n",
        (Answer::Text(text), _) => format!("{text}\n"),
        (Answer::Judged(evaluation), Format::Json) => json_text(evaluation)?,
        (Answer::Judged(evaluation), Format::Yaml) => yaml_text(evaluation)?,
        (Answer::Judged(evaluation), Format::Table | Format::Name) => Details::new()
            .field("verdict", evaluation.verdict)
            .block("conditions", &judgement::table_of(&evaluation.tests))
            .to_string(),
    })
}

fn exit_of(answer: &Answer) -> Exit {
    match answer {
        Answer::Value(_) | Answer::Text(_) => Exit::Ok,
        Answer::Judged(evaluation) => judgement::exit_of(evaluation.verdict),
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        let fault = Self::new(failure.message);
        match failure.hint {
            Some(hint) => fault.hint(hint),
            None => fault,
        }
    }
}
