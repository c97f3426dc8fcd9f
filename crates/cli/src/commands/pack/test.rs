//! `attune pack test`: the tests that a pack brings, in `tests/*.yaml`.
//!
//! What a rule makes of events is judged by the code of the executor, with the times that the test gives, and needs no database.
//! What runs something gets a database of its own in a PostgreSQL of its own, with API, executor and worker as they are; nothing
//! of an installation is read or changed, and `core.http`, `core.ssh` and `core.mail` reach what is recorded only.

mod compare;
mod engine;
mod junit;
mod outside;
mod rule;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use attune_pack::{CaseSubject, PackDefinition, PackFiles, TestCase};
use clap::Args;
use futures::StreamExt;
use serde::Serialize;

use crate::exit::Exit;
use crate::failure::Fault;
use crate::output::{Columns, Format, list, printable, say, write};
use crate::pack_source::from_path;
use crate::session::Options;

use engine::Engine;

const AFTER_HELP: &str = "\
Exit code: 0 when all cases passed, 1 when one failed or could not be run.

Examples:
  attune pack test ./ops
  attune pack test ./ops --only 'disk' --with ../common
  attune pack test ./ops --junit report.xml";

/// Longer than the engine needs for anything but what an action does itself.
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct TestArgs {
    /// Directory of the pack
    #[arg(value_name = "DIR")]
    path: PathBuf,
    /// Directory of another pack whose actions or triggers this one uses; may be given more than once
    #[arg(long = "with", value_name = "DIR")]
    with: Vec<PathBuf>,
    /// Only the cases with this in their name or in the path of their file
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// How many cases run at once [default: one for each core, at most 4]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,
    /// Write the outcome as JUnit XML too, for CI
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// A pack that takes part.
pub(super) struct Participant {
    files: PackFiles,
    definition: PackDefinition,
}

/// How a case went.
#[derive(Debug, Serialize)]
struct Outcome {
    file: String,
    line: u32,
    case: String,
    /// The ref of what is tested.
    subject: String,
    passed: bool,
    seconds: f64,
    /// What is not as expected.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failures: Vec<String>,
}

pub(crate) async fn run(args: &TestArgs, options: &Options) -> anyhow::Result<Exit> {
    options.refuse_server()?;
    let format = options.format();
    let tested = participant(&args.path, options)?;
    let others =
        args.with.iter().map(|path| participant(path, options)).collect::<anyhow::Result<Vec<_>>>()?;
    let cases = chosen(&tested.definition, args)?;
    let packs = Packs { tested: &tested, others: &others, core: crate::server::core_pack()? };
    let jobs = args.jobs.map_or_else(default_jobs, usize::from);
    let engine = match cases.iter().any(|(_, case)| runs_something(case)) {
        true => {
            say("starting a PostgreSQL for the tests");
            Some(Engine::start(&packs).await?)
        }
        false => None,
    };
    let work = run_all(&cases, &packs, engine.as_ref(), jobs);
    let outcomes = tokio::select! {
        outcomes = work => Ok(outcomes),
        _ = tokio::signal::ctrl_c() => Err(Fault::new("interrupted")),
    };
    if let Some(engine) = engine {
        engine.stop().await?;
    }
    let outcomes = outcomes?;
    let report = || junit::report(&tested.definition.manifest.r#ref, &outcomes);
    if let Some(path) = &args.junit {
        let report = report();
        std::fs::write(path, report).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    if options.wants_junit() {
        write(&report())?;
        return verdict(&outcomes);
    }
    tell(&outcomes, &args.path, format)
}

/// The packs that are there, the tested one first.
pub(super) struct Packs<'p> {
    tested: &'p Participant,
    others: &'p [Participant],
    core: PackDefinition,
}

impl Packs<'_> {
    fn definitions(&self) -> impl Iterator<Item = &PackDefinition> {
        let given = std::iter::once(self.tested).chain(self.others).map(|pack| &pack.definition);
        given.chain(std::iter::once(&self.core))
    }
}

/// Reads a pack; what is wrong with it is told as `attune pack lint` does.
fn participant(path: &Path, options: &Options) -> anyhow::Result<Participant> {
    let files = from_path(path)?.files;
    match attune_pack::read(&files) {
        Ok(definition) => Ok(Participant { files, definition }),
        Err(_) => {
            super::lint::check(path, &[], options)?;
            Err(Fault::new(format!("{} changed while it was read", path.display())).into())
        }
    }
}

/// The cases to run, each with the path of its file.
fn chosen<'p>(pack: &'p PackDefinition, args: &TestArgs) -> anyhow::Result<Vec<(&'p str, &'p TestCase)>> {
    let all: Vec<_> =
        pack.tests.iter().flat_map(|file| file.cases.iter().map(|case| (file.path.as_str(), case))).collect();
    if all.is_empty() {
        let fault = Fault::new(format!("the pack in {} has no tests", args.path.display()));
        return Err(fault.hint("write some into tests/*.yaml, see docs/pack-tests.md").into());
    }
    let count = all.len();
    let is_meant = |(file, case): &(&str, &TestCase)| {
        args.only.as_deref().is_none_or(|only| case.name.value.contains(only) || file.contains(only))
    };
    let cases: Vec<_> = all.into_iter().filter(is_meant).collect();
    if cases.is_empty() {
        return Err(Fault::new(format!("none of the {count} cases is what --only asks for")).into());
    }
    Ok(cases)
}

fn default_jobs() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(4)
}

fn runs_something(case: &TestCase) -> bool {
    match &case.subject {
        CaseSubject::Rule(rule) => rule.execution.is_some(),
        CaseSubject::Action(_) => true,
    }
}

async fn run_all(
    cases: &[(&str, &TestCase)],
    packs: &Packs<'_>,
    engine: Option<&Engine>,
    jobs: usize,
) -> Vec<Outcome> {
    let runs = cases.iter().map(|(file, case)| run_case(file, case, packs, engine));
    futures::stream::iter(runs).buffered(jobs).collect().await
}

async fn run_case(file: &str, case: &TestCase, packs: &Packs<'_>, engine: Option<&Engine>) -> Outcome {
    let began = Instant::now();
    let mut failures = match &case.subject {
        CaseSubject::Rule(rule) => rule::judge(rule, &case.config, packs),
        CaseSubject::Action(_) => Vec::new(),
    };
    // What does not fire as expected has nothing to run.
    if let (true, true, Some(engine)) = (failures.is_empty(), runs_something(case), engine) {
        let ran = tokio::time::timeout(PATIENCE, engine.run(case)).await;
        failures = match ran {
            Ok(Ok(failures)) => failures,
            Ok(Err(error)) => vec![format!("the case cannot be run: {error:#}")],
            Err(_elapsed) => vec![format!("the case did not end within {} s", PATIENCE.as_secs())],
        };
    }
    Outcome {
        file: file.to_owned(),
        line: case.name.line,
        case: case.name.value.clone(),
        subject: match &case.subject {
            CaseSubject::Rule(rule) => rule.rule.clone(),
            CaseSubject::Action(action) => action.action.clone(),
        },
        passed: failures.is_empty(),
        seconds: began.elapsed().as_secs_f64(),
        failures,
    }
}

fn tell(outcomes: &[Outcome], path: &Path, format: Format) -> anyhow::Result<Exit> {
    let place = |outcome: &Outcome| format!("{}:{}", path.join(&outcome.file).display(), outcome.line);
    match format {
        Format::Table => {
            let mut text = String::new();
            for outcome in outcomes {
                let verdict = if outcome.passed { "ok  " } else { "FAIL" };
                let time = format!("{:.2} s", outcome.seconds);
                let line = format!("{verdict} {} - {} ({time})", outcome.subject, outcome.case);
                text.push_str(&printable(&line));
                text.push('\n');
                for failure in &outcome.failures {
                    let mut lines = failure.lines();
                    let first = lines.next().unwrap_or_default();
                    text.push_str(&format!("     {}\n", printable(first)));
                    for line in lines {
                        text.push_str(&format!("       {}\n", printable(line)));
                    }
                }
                if !outcome.passed {
                    text.push_str(&format!("     at {}\n", printable(&place(outcome))));
                }
            }
            write(&text)?;
        }
        Format::Json | Format::Yaml | Format::Name => {
            let columns = Columns { noun: "cases", header: &[], row: &|_| Vec::new(), name: &place };
            list(format, outcomes, &columns)?;
        }
    }
    verdict(outcomes)
}

fn verdict(outcomes: &[Outcome]) -> anyhow::Result<Exit> {
    let failed = outcomes.iter().filter(|outcome| !outcome.passed).count();
    if failed == 0 {
        let count = outcomes.len();
        say(format_args!("{count} {} passed", if count == 1 { "case" } else { "cases" }));
        return Ok(Exit::Ok);
    }
    Err(Fault::new(format!("{failed} of {} cases failed", outcomes.len())).into())
}
