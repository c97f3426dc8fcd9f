//! `attune pack plan`: what an installation would change, and what rules would have made of recorded events then.

mod behaviour;

use attune_client::types::PackPlans;
use chrono::Utc;
use clap::Args;
use serde::Serialize;
use serde_json::Value;

use self::behaviour::{Behaviour, Span, Tried, try_rules};
use super::install::{ConfigArgs, EditArgs, conflict_sentence, gather, kept_sentence};
use super::{exposed_key, missing_key};
use crate::exit::Exit;
use crate::input::{self, Moment};
use crate::output::{Format, json_text, printable, say, write, yaml_text};
use crate::pack_source::SourceArgs;
use crate::session::Session;

const AFTER_HELP: &str = "\
Nothing is changed on the server. The rules that would be others, and those whose actions would take other parameters, are
tried on the events of the last three days, as `attune rule backtest` does, for half a minute at most; with --since, on those
recorded since then, however long it takes.

Exit code: 0 when nothing would change, 2 when something would; 1 for every error.

Examples:
  attune pack plan ./ops
  attune pack plan ./ops --since 7d
  attune pack plan https://git.example.org/team/ops.git --ref v1.2.0 -o json";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    edits: EditArgs,
    #[command(flatten)]
    config: ConfigArgs,
    /// Try rules on the events from this time on: a span back from now as 7d, a moment, or a date
    #[arg(long, value_name = "TIME", value_parser = input::past)]
    since: Option<Moment>,
    /// Try no rules on recorded events
    #[arg(long, conflicts_with = "since")]
    no_behaviour: bool,
}

/// The plan with what the rules would have done.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    plans: &'a PackPlans,
    /// Not with `--no-behaviour`.
    #[serde(skip_serializing_if = "Option::is_none")]
    behaviour: Option<Vec<Behaviour>>,
    /// Why rules were not tried.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

pub(crate) async fn run(args: &PlanArgs, session: &Session) -> anyhow::Result<Exit> {
    let packs = gather(&args.source, &args.config, &session.client).await?;
    let (archive, _) = packs.archive()?;
    let plans = match session.client.plan_packs(archive, args.edits.wish()).await {
        Ok(plans) => plans,
        Err(error) => return Err(packs.told(error)),
    };
    let shown = if args.no_behaviour {
        Shown { plans: &plans, behaviour: None, notes: Vec::new() }
    } else {
        let now = Utc::now();
        let span = args.since.map_or_else(|| Span::last_days(now), |since| Span::Since(since.before(now)));
        let Tried { rules, notes } = try_rules(&session.client, &packs, &plans, span).await?;
        Shown { plans: &plans, behaviour: Some(rules), notes }
    };
    match session.format {
        Format::Table => write(&printable_lines(&text(&shown)))?,
        Format::Json => write(&json_text(&shown)?)?,
        Format::Yaml => write(&yaml_text(&shown)?)?,
        Format::Name => {
            let changes = plans.packs.iter().flat_map(|plan| &plan.changes);
            write(&changes.map(|change| format!("{}\n", change.component)).collect::<String>())?;
        }
    }
    let changes = plans.packs.iter().any(|plan| {
        plan.outcome != "unchanged"
            || !plan.changes.is_empty()
            || !plan.files.is_empty()
            || !plan.conflicts.is_empty()
    });
    Ok(if changes { Exit::Differs } else { Exit::Ok })
}

fn text(shown: &Shown<'_>) -> String {
    let mut text = String::new();
    for plan in &shown.plans.packs {
        let versions = match &plan.from {
            Some(from) if *from != plan.to => format!("{from} -> {}", plan.to),
            _ => plan.to.clone(),
        };
        text.push_str(&format!("pack {} {versions}: {}\n", plan.pack_ref, outcome(&plan.outcome)));
        for change in &plan.changes {
            text.push_str(&format!("  {} {} {}\n", sign(&change.change), change.kind, change.component));
            for member in &change.members {
                text.push_str(&difference(&member.member, &member.before, &member.after));
            }
        }
        for file in &plan.files {
            text.push_str(&format!("  {} file {}\n", sign(&file.change), file.path));
        }
        for kept in &plan.kept {
            text.push_str(&format!("  kept: {}\n", kept_sentence(kept)));
        }
        for key in &plan.missing_keys {
            text.push_str(&format!("  {}\n", missing_key(key)));
        }
        for key in &plan.exposed_keys {
            text.push_str(&format!("  {}\n", exposed_key(key)));
        }
        for conflict in &plan.conflicts {
            text.push_str(&format!("  conflict: {}\n", conflict_sentence(conflict)));
        }
    }
    if shown.plans.packs.iter().any(|plan| !plan.conflicts.is_empty()) {
        say("an installation needs --keep-edits or --overwrite-edits");
    }
    for behaviour in shown.behaviour.iter().flatten() {
        text.push_str(&behaviour.text());
    }
    for note in &shown.notes {
        text.push_str(&format!("note: {note}\n"));
    }
    if shown.notes.is_empty() && shown.behaviour.as_ref().is_some_and(Vec::is_empty) {
        say("no rule would behave differently");
    }
    text
}

fn outcome(outcome: &str) -> &'static str {
    match outcome {
        "installed" => "would be installed",
        "upgraded" => "would be upgraded",
        "downgraded" => "would be downgraded",
        "restored" => "would be as its files say again",
        "configured" => "would get other settings",
        _ => "would stay as it is",
    }
}

fn sign(change: &str) -> char {
    match change {
        "added" => '+',
        "removed" => '-',
        _ => '~',
    }
}

/// A member before and after: on one line where both are short, else the lines that differ.
fn difference(member: &str, before: &Value, after: &Value) -> String {
    const SHORT: usize = 60;
    let (one, other) = (before.to_string(), after.to_string());
    if one.len() + other.len() <= SHORT {
        return format!("      {member}: {one} -> {other}\n");
    }
    let lines = |value: &Value| -> Vec<String> {
        yaml_text(value).unwrap_or_else(|_| value.to_string()).lines().map(str::to_owned).collect()
    };
    let (before, after) = (lines(before), lines(after));
    let same = before.iter().zip(&after).take_while(|(a, b)| a == b).count();
    let (rest_before, rest_after) = (&before[same..], &after[same..]);
    let tail = rest_before.iter().rev().zip(rest_after.iter().rev()).take_while(|(a, b)| a == b).count();
    let mut text = format!("      {member}:\n");
    if same > 0 {
        text.push_str(&format!("          {}\n", before[same - 1]));
    }
    for line in &rest_before[..rest_before.len() - tail] {
        text.push_str(&format!("        - {line}\n"));
    }
    for line in &rest_after[..rest_after.len() - tail] {
        text.push_str(&format!("        + {line}\n"));
    }
    if tail > 0 {
        text.push_str(&format!("          {}\n", rest_before[rest_before.len() - tail]));
    }
    text
}

/// What others wrote must not move the reader's cursor.
fn printable_lines(text: &str) -> String {
    text.lines().map(|line| printable(line) + "\n").collect()
}
