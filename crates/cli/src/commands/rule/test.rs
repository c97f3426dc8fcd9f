//! `attune rule test`: what a rule would make of events, without a server.
//!
//! Judged is what the executor judges, by the same code: first whether the rule listens to the event, then its
//! conditions, then whether its parameters can be rendered. What only an installation knows - whether the action exists
//! and takes such parameters - is left out. A rule with a window is given the events one after another, and its timers run
//! by the times of the events.

use std::path::PathBuf;

use attune_expr::scope::Scope;
use attune_pack::RuleEntry;
use attune_rules::{
    CompiledRule, CompiledWindow, Judgement, RuleFields, RuleProblem, Settings, Subject, Verdict,
};
use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::event_file::{self, Assumptions, RecordedEvent};
use super::replay::{WindowTrial, replay};
use super::rule_file::{self, RuleFile};
use crate::commands::judgement;
use crate::exit::Exit;
use crate::failure::Fault;
use crate::input;
use crate::output::{Details, Format, json_text, say, write, yaml_text};
use crate::session::Options;
use crate::settings;

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
    /// File with settings of the rule's pack, in YAML or JSON [default: the defaults of the pack around the file]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
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
    #[serde(flatten)]
    judgement: Judgement,
    /// What the window made of an event that reached it; absent for a rule without a window.
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<WindowTrial>,
}

pub(crate) fn run(args: &TestArgs, options: &Options) -> anyhow::Result<Exit> {
    options.refuse_server()?;
    let format = options.format();
    let from_stdin = std::iter::once(&args.file).chain(&args.events).filter(|given| *given == input::STDIN);
    if from_stdin.count() > 1 {
        return Err(Fault::new("only one of the files can be standard input").into());
    }
    let file = rule_file::read(&args.file)?;
    let settings = settings_of(args, &file)?;
    let entry = file.entry;
    let rule = CompiledRule::compile_with(&entry.definition, &settings)
        .map_err(|problems| broken(&args.file, &problems))?;
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

/// What the rule sees as `config`.
fn settings_of(args: &TestArgs, file: &RuleFile) -> anyhow::Result<Settings> {
    let given = args.config.as_deref().map(settings::read).transpose()?;
    if let (Some(_), Some(path)) = (&given, &args.config)
        && !settings::are_used_by(&file.entry.definition)
    {
        return Err(settings::without_effect(path).into());
    }
    Ok(match (&file.manifest, given) {
        (Some(manifest), given) => {
            if let (Some(values), Some(path)) = (&given, &args.config) {
                settings::check(manifest, values, path)?;
            }
            settings::of_pack(manifest, &given.unwrap_or_default())
        }
        // Without the pack around the rule nobody knows which settings there are.
        (None, given) => Settings::of(given.unwrap_or_default()),
    })
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
            .with("event", &recorded.seen.event)
            .with("trigger", &recorded.seen.trigger)
            .with("rule", &view);
        let subject = Subject {
            trigger_ref: recorded.trigger_ref.as_deref(),
            config: recorded.config.as_ref(),
            scope: &scope,
            now,
        };
        Self {
            event: name.to_owned(),
            rule: rule.rule_ref().to_owned(),
            action: rule.action_ref().to_owned(),
            judgement: Judgement::of(rule, &subject),
            window: None,
        }
    }

    fn details(&self) -> Details {
        let judgement = &self.judgement;
        let details = Details::new()
            .field("event", &self.event)
            .field("rule", &self.rule)
            .field("action", &self.action)
            .field("verdict", format_args!("{} - {}", judgement.verdict, judgement.reason));
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
        let details = match judgement.conditions.as_slice() {
            [] => details.field("conditions", "none: the rule fires on every event that it listens to"),
            conditions => details.block("conditions", &judgement::table_of(conditions)),
        };
        let details = match judgement.trigger.as_slice() {
            [] => details,
            trigger => details.block("trigger", &judgement::table_of(trigger)),
        };
        match (&judgement.action_params, &judgement.action_params_error) {
            (_, Some(error)) => details.block("action_params cannot be rendered", &error.to_string()),
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
    let reaching =
        trials.iter().zip(events).map(|(trial, (_, event))| trial.judgement.fires.then_some(event));
    let names: Vec<String> = trials.iter().map(|trial| trial.event.clone()).collect();
    let replayed = replay(window, &view, &names, reaching, now);
    for ((trial, of_window), (_, event)) in trials.iter_mut().zip(replayed).zip(events) {
        let judgement = &mut trial.judgement;
        judgement.fires = false;
        let Some(of_window) = of_window else { continue };
        if let Some(error) = &of_window.error {
            judgement.verdict = Verdict::Error;
            judgement.reason.clone_from(error);
        } else if let Some(fired_with) = &of_window.view {
            let scope = Scope::new()
                .with("event", &event.seen.event)
                .with("trigger", &event.seen.trigger)
                .with("rule", &view)
                .with("window", fired_with);
            match rule.render_parameters(&scope) {
                Ok(params) => {
                    judgement.fires = true;
                    judgement.reason = "the window fires".to_owned();
                    judgement.action_params = Some(params);
                }
                Err(error) => {
                    judgement.verdict = Verdict::Error;
                    judgement.reason = "the action parameters cannot be rendered".to_owned();
                    judgement.action_params_error = Some(error.into());
                }
            }
        } else {
            judgement.reason = "the window does not fire for it".to_owned();
        }
        trial.window = Some(of_window);
    }
}

/// `rule` to conditions and templates. Only an installation knows its id and version.
fn view_of(entry: &RuleEntry) -> Value {
    let rule_ref = &entry.definition.rule_ref;
    RuleFields {
        rule_ref: rule_ref.clone(),
        label: entry.label.clone().into(),
        pack: rule_ref.split_once('.').map(|(pack, _)| pack).into(),
        ..RuleFields::default()
    }
    .seen()
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
        (Format::Name, _) => trials
            .iter()
            .filter(|trial| trial.judgement.fires)
            .map(|trial| format!("{}\n", trial.event))
            .collect(),
    })
}

/// What could not be judged counts more than what would not fire.
fn exit_of(trials: &[Trial]) -> Exit {
    let exit_of = |trial: &Trial| match judgement::exit_of(trial.judgement.verdict) {
        Exit::Ok if !trial.judgement.fires => Exit::Differs,
        exit => exit,
    };
    let exits: Vec<Exit> = trials.iter().map(exit_of).collect();
    [Exit::Error, Exit::Differs].into_iter().find(|exit| exits.contains(exit)).unwrap_or(Exit::Ok)
}
