//! `attune rule test`: what a rule would make of events, without a server.
//!
//! Judged is what the executor judges, by the same code: first whether the rule listens to the event, then its
//! conditions, then whether its parameters can be rendered. What only an installation knows - whether the action exists
//! and takes such parameters - is left out. A rule with a window is given the events one after another, and its timers run
//! by the times of the events.

use std::path::Path;

use anyhow::Context;
use attune_expr::scope::Scope;
use attune_expr::template::TemplateError;
use attune_pack::{Finding, RuleEntry, read_rule};
use attune_rules::{CompiledRule, CompiledWindow, RuleProblem, TestResult, Verdict};
use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use super::event_file::{self, Assumptions, RecordedEvent};
use super::replay::{WindowTrial, replay};
use crate::commands::judgement;
use crate::diagnostics::{Diagnostic, render};
use crate::exit::Exit;
use crate::failure::Fault;
use crate::input;
use crate::output::{Details, Format, json_text, say, write, yaml_text};
use crate::session::Options;

const AFTER_HELP: &str = "\
Exit code: 0 when the rule would fire on every event, 2 when it would not fire on one, 1 when one could not be judged or
the parameters could not be rendered, and for every other error.

Examples:
  attune rule test -f rules/page_disk.yaml --event event.json
  attune rule test -f rules/page_disk.yaml --event payloads/*.json --payload
  attune event show 17 -o json | attune rule test -f rules/page_disk.yaml --event - -o json";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct TestArgs {
    /// File of the rule, as in the directory `rules` of a pack; `-` for standard input
    #[arg(short, long, value_name = "FILE")]
    file: String,
    /// Files with one event each, as `attune event show -o json` writes it, in the order of time for a rule with a window;
    /// `-` for standard input
    #[arg(short, long = "event", value_name = "FILE", required = true, num_args = 1..)]
    events: Vec<String>,
    /// The files are payloads alone, of events that the rule listens to
    #[arg(long)]
    payload: bool,
    /// The current time to the rule, as 2026-11-24T12:00:00Z [default: now]
    #[arg(long, value_name = "TIME", value_parser = input::moment)]
    now: Option<DateTime<Utc>>,
}

/// What the rule would make of one event.
#[derive(Debug, Serialize)]
struct Trial {
    /// The file, as given.
    event: String,
    rule: String,
    action: String,
    fires: bool,
    verdict: Verdict,
    reason: String,
    /// What the window made of an event that reached it; absent for a rule without a window.
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<WindowTrial>,
    /// Whether the rule listens to the event; empty where the file says nothing about it.
    trigger: Vec<TestResult>,
    conditions: Vec<TestResult>,
    /// What the action would get.
    action_params: Option<Value>,
    action_params_error: Option<RenderingError>,
}

/// Why the parameters cannot be rendered.
#[derive(Debug, Serialize)]
struct RenderingError {
    pointer: String,
    template: String,
    message: String,
    suggestion: Option<String>,
}

pub(crate) fn run(args: &TestArgs, options: &Options) -> anyhow::Result<Exit> {
    options.refuse_server()?;
    let format = options.format();
    let from_stdin = std::iter::once(&args.file).chain(&args.events).filter(|given| *given == input::STDIN);
    if from_stdin.count() > 1 {
        return Err(Fault::new("only one of the files can be standard input").into());
    }
    let entry = rule_of(&args.file)?;
    let rule = CompiledRule::compile(&entry.definition).map_err(|problems| broken(&args.file, &problems))?;
    if !entry.enabled {
        say("note: the rule is disabled; it is judged as if it were enabled");
    }
    let now = args.now.unwrap_or_else(Utc::now);
    let assumptions = Assumptions { rule: &entry.definition, now };
    // All files are read before anything is said about one: a verdict is not to hide a fault that comes after it.
    let events = args
        .events
        .iter()
        .map(|given| Ok((given.as_str(), event_file::read(given, args.payload, assumptions)?)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut trials: Vec<Trial> = events
        .iter()
        .map(|(given, event)| Trial::of(input::name_of(given), event, &entry, &rule, now))
        .collect();
    if let Some(window) = rule.window() {
        apply_window(&mut trials, &events, &entry, &rule, window, now);
    }
    write(&written(&trials, format)?)?;
    Ok(exit_of(&trials))
}

fn rule_of(given: &str) -> anyhow::Result<RuleEntry> {
    let name = input::name_of(given);
    let content = if given == input::STDIN {
        input::bytes_from_stdin("the rule")?
    } else {
        std::fs::read(Path::new(given)).with_context(|| format!("cannot read the rule from {given}"))?
    };
    read_rule(name, &content).map_err(|findings| faulty(name, &findings, &content).into())
}

/// Tells every finding with its line.
fn faulty(name: &str, findings: &[Finding], content: &[u8]) -> Fault {
    let source = std::str::from_utf8(content).ok();
    for finding in findings {
        let diagnostic = Diagnostic {
            message: &finding.message,
            file: Some(finding.file.clone()),
            line: usize::try_from(finding.line).ok(),
            column: usize::try_from(finding.column).ok(),
            pointer: Some(&finding.pointer),
            expected: finding.expected.as_deref(),
            suggestion: finding.suggestion.as_deref(),
        };
        say(render(&diagnostic, source));
    }
    match findings.len() {
        1 => Fault::new(format!("1 finding in {name}")),
        count => Fault::new(format!("{count} findings in {name}")),
    }
}

/// The reader compiles a rule before it gives it, so this is not met.
fn broken(given: &str, problems: &[RuleProblem]) -> Fault {
    let told: Vec<_> = problems.iter().map(RuleProblem::to_string).collect();
    Fault::new(format!("{}: {}", input::name_of(given), told.join("; ")))
}

impl Trial {
    fn of(
        name: &str,
        recorded: &RecordedEvent,
        entry: &RuleEntry,
        rule: &CompiledRule,
        now: DateTime<Utc>,
    ) -> Self {
        let view = view_of(entry);
        let scope = Scope::new()
            .with("event", &recorded.event)
            .with("trigger", &recorded.trigger)
            .with("rule", &view);
        let trigger = listening(recorded, rule);
        let evaluation = rule.evaluate(&scope, now);
        // What a window fires with is known when it fires.
        let rendered = rule.window().is_none().then(|| rule.render_parameters(&scope)).transpose();
        let listens = trigger.iter().all(|test| test.verdict == Verdict::True);
        let (verdict, reason) = match (listens, evaluation.verdict, &rendered) {
            (false, _, _) => (Verdict::False, "the rule does not listen to such an event"),
            (true, Verdict::True, Ok(Some(_))) => (Verdict::True, "it would fire"),
            (true, Verdict::True, Ok(None)) => (Verdict::True, "it reaches the window"),
            (true, Verdict::True, Err(_)) => (Verdict::Error, "the action parameters cannot be rendered"),
            (true, Verdict::False, _) => (Verdict::False, "the conditions do not hold"),
            (true, Verdict::Missing, _) => (Verdict::Missing, "a field that decides does not exist"),
            (true, Verdict::Error, _) => (Verdict::Error, "a condition that decides cannot be judged"),
        };
        let (action_params, action_params_error) = match rendered {
            Ok(params) => (params, None),
            Err(error) => (None, Some(RenderingError::from(error))),
        };
        Self {
            event: name.to_owned(),
            rule: rule.rule_ref().to_owned(),
            action: rule.action_ref().to_owned(),
            fires: verdict == Verdict::True,
            verdict,
            reason: reason.to_owned(),
            window: None,
            trigger,
            conditions: evaluation.tests,
            action_params,
            action_params_error,
        }
    }

    fn details(&self) -> Details {
        let details = Details::new()
            .field("event", &self.event)
            .field("rule", &self.rule)
            .field("action", &self.action)
            .field("verdict", format_args!("{} - {}", self.verdict, self.reason));
        let details = match &self.window {
            Some(window) => details
                .optional("key", window.key.as_ref())
                .field("window", window.told())
                .optional(
                    "fires at",
                    window.fires_at.map(|at| at.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
                )
                .optional("with", window.with.as_ref().map(|events| events.join(", "))),
            None => details,
        };
        let details = match self.conditions.as_slice() {
            [] => details.field("conditions", "none: the rule fires on every event that it listens to"),
            conditions => details.block("conditions", &judgement::table_of(conditions)),
        };
        let details = match self.trigger.as_slice() {
            [] => details,
            trigger => details.block("trigger", &judgement::table_of(trigger)),
        };
        match (&self.action_params, &self.action_params_error) {
            (_, Some(error)) => details.block("action_params cannot be rendered", &error.told()),
            (Some(params), None) => details.json("action_params", params),
            (None, None) => details,
        }
    }
}

/// Gives the events that reach the window to it. An event then fires when the window does with it as its subject.
fn apply_window(
    trials: &mut [Trial],
    events: &[(&str, RecordedEvent)],
    entry: &RuleEntry,
    rule: &CompiledRule,
    window: &CompiledWindow,
    now: DateTime<Utc>,
) {
    let view = view_of(entry);
    let reaching = trials.iter().zip(events).map(|(trial, (_, event))| trial.fires.then_some(event));
    let names: Vec<String> = trials.iter().map(|trial| trial.event.clone()).collect();
    let replayed = replay(window, &view, &names, reaching, now);
    for ((trial, of_window), (_, event)) in trials.iter_mut().zip(replayed).zip(events) {
        trial.fires = false;
        let Some(of_window) = of_window else { continue };
        if let Some(error) = &of_window.error {
            trial.verdict = Verdict::Error;
            trial.reason.clone_from(error);
        } else if let Some(fired_with) = &of_window.view {
            let scope = Scope::new()
                .with("event", &event.event)
                .with("trigger", &event.trigger)
                .with("rule", &view)
                .with("window", fired_with);
            match rule.render_parameters(&scope) {
                Ok(params) => {
                    trial.fires = true;
                    trial.reason = "the window fires".to_owned();
                    trial.action_params = Some(params);
                }
                Err(error) => {
                    trial.verdict = Verdict::Error;
                    trial.reason = "the action parameters cannot be rendered".to_owned();
                    trial.action_params_error = Some(RenderingError::from(error));
                }
            }
        } else {
            trial.reason = "the window does not fire for it".to_owned();
        }
        trial.window = Some(of_window);
    }
}

/// Whether the event is one that the rule listens to, test by test.
fn listening(recorded: &RecordedEvent, rule: &CompiledRule) -> Vec<TestResult> {
    let mut tests = Vec::new();
    if let Some(given) = &recorded.trigger_ref {
        let is_same = given == rule.trigger_ref();
        tests.push(TestResult {
            pointer: "/trigger".to_owned(),
            field: "trigger.ref".to_owned(),
            operator: "equals".to_owned(),
            expected: Some(rule.trigger_ref().into()),
            actual: Some(given.as_str().into()),
            verdict: is_same.into(),
            reason: if is_same { "holds" } else { "the event is of another trigger" }.to_owned(),
        });
    }
    if let Some(config) = &recorded.config {
        tests.extend(rule.explain_trigger_params(config));
    }
    tests
}

/// `rule` to conditions and templates. Only an installation knows its id and version.
fn view_of(entry: &RuleEntry) -> Value {
    let rule_ref = &entry.definition.rule_ref;
    json!({
        "id": null,
        "ref": rule_ref,
        "label": entry.label,
        "pack": rule_ref.split_once('.').map(|(pack, _)| pack),
        "version": null,
    })
}

fn written(trials: &[Trial], format: Format) -> anyhow::Result<String> {
    Ok(match (format, trials) {
        (Format::Table, _) => {
            trials.iter().map(|trial| trial.details().to_string()).collect::<Vec<_>>().join("\n")
        }
        (Format::Json, [trial]) => json_text(trial)?,
        (Format::Json, _) => json_text(&trials)?,
        (Format::Yaml, [trial]) => yaml_text(trial)?,
        (Format::Yaml, _) => yaml_text(&trials)?,
        // The files with events on which the rule would fire.
        (Format::Name, _) => {
            trials.iter().filter(|trial| trial.fires).map(|trial| format!("{}\n", trial.event)).collect()
        }
    })
}

/// What could not be judged counts more than what would not fire.
fn exit_of(trials: &[Trial]) -> Exit {
    let exit_of = |trial: &Trial| match judgement::exit_of(trial.verdict) {
        Exit::Ok if !trial.fires => Exit::Differs,
        exit => exit,
    };
    let exits: Vec<Exit> = trials.iter().map(exit_of).collect();
    [Exit::Error, Exit::Differs].into_iter().find(|exit| exits.contains(exit)).unwrap_or(Exit::Ok)
}

impl From<TemplateError> for RenderingError {
    fn from(error: TemplateError) -> Self {
        let TemplateError { kind: _, pointer, expression, message, suggestion } = error;
        Self { pointer, template: expression, message, suggestion }
    }
}

impl RenderingError {
    fn told(&self) -> String {
        let meant =
            self.suggestion.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        format!("{}: {}: {}{meant}", self.pointer, self.template, self.message)
    }
}
