//! `attune pack plan`: what an installation would change, and what the changed rules would have made of recorded events.

use attune_client::types::{
    BacktestReport, BacktestRequest, KeptEdit, PackPlan, PackPlans, PlannedChange, RuleRequest,
};
use attune_pack::PackDefinition;
use chrono::{DateTime, Utc};
use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::install::{ConfigArgs, EditArgs, Packs, conflict_sentence, gather, kept_sentence};
use super::missing_key;
use crate::commands::rule::request_of;
use crate::exit::Exit;
use crate::input::{self, Moment};
use crate::output::{Format, json_text, printable, say, write, yaml_text};
use crate::pack_source::SourceArgs;
use crate::session::Session;

const AFTER_HELP: &str = "\
Nothing is changed on the server. With --since, the rules that would be others are tried on the events recorded since then,
as `attune rule backtest` does.

Exit code: 0 when nothing would change, 2 when something would; 1 for every error.

Examples:
  attune pack plan ./ops --since 7d
  attune pack plan https://git.example.org/team/ops.git --ref v1.2.0 -o json";

/// Members of a rule that say when it fires and what its action gets.
const BEHAVIOUR: &[&str] = &[
    "enabled",
    "mode",
    "trigger",
    "trigger_params",
    "condition",
    "conditions",
    "window",
    "action",
    "action_params",
    "config",
];
/// Those among them that no back-test judges by.
const SWITCHES: &[&str] = &["enabled", "mode", "config"];
/// How many events are named of each kind.
const EXAMPLES: usize = 5;

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    edits: EditArgs,
    #[command(flatten)]
    config: ConfigArgs,
    /// Try changed rules on the events from this time on: a span back from now as 7d, a moment, or a date
    #[arg(long, value_name = "TIME", value_parser = input::past)]
    since: Option<Moment>,
}

/// The plan with what the rules would have done.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    plans: &'a PackPlans,
    /// Only when it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    behaviour: Option<Vec<Behaviour>>,
}

/// What a rule would have made of recorded events, compared with the one in force.
#[derive(Debug, Serialize)]
struct Behaviour {
    rule: String,
    since: DateTime<Utc>,
    /// Events of its trigger.
    events: u64,
    /// How often the rule in force fires.
    before: u64,
    /// How often the new one fires.
    after: u64,
    only_before: Difference,
    only_after: Difference,
    /// Both fire, with other parameters.
    other_parameters: Difference,
    /// Why it was not, or not wholly, tried.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

#[derive(Debug, Default, Serialize)]
struct Difference {
    count: u64,
    /// The first of them.
    events: Vec<i64>,
}

pub(crate) async fn run(args: &PlanArgs, session: &Session) -> anyhow::Result<Exit> {
    let packs = gather(&args.source, &args.config, &session.client).await?;
    let (archive, _) = packs.archive()?;
    let plans = match session.client.plan_packs(archive, args.edits.wish()).await {
        Ok(plans) => plans,
        Err(error) => return Err(packs.told(error)),
    };
    let behaviour = match &args.since {
        Some(since) => Some(behaviours(session, &packs, &plans, since.before(Utc::now())).await?),
        None => None,
    };
    let shown = Shown { plans: &plans, behaviour };
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

async fn behaviours(
    session: &Session,
    packs: &Packs,
    plans: &PackPlans,
    since: DateTime<Utc>,
) -> anyhow::Result<Vec<Behaviour>> {
    let mut found = Vec::new();
    let definitions: Vec<PackDefinition> =
        plans.packs.iter().filter_map(|plan| packs.definition(&plan.pack_ref)).collect();
    for plan in &plans.packs {
        for change in plan.changes.iter().filter(|change| change.kind == "rule" && is_behaviour(change)) {
            if let Some(behaviour) = behaviour(session, plan, change, &definitions, since).await? {
                found.push(behaviour);
            }
        }
    }
    Ok(found)
}

fn is_behaviour(change: &PlannedChange) -> bool {
    change.change != "changed"
        || change.members.iter().any(|member| BEHAVIOUR.contains(&member.member.as_str()))
}

/// Which versions of a rule are in force before and after; a disabled one is not.
async fn behaviour(
    session: &Session,
    plan: &PackPlan,
    change: &PlannedChange,
    definitions: &[PackDefinition],
    since: DateTime<Utc>,
) -> anyhow::Result<Option<Behaviour>> {
    let own = definitions.iter().find(|definition| definition.manifest.r#ref == plan.pack_ref);
    let draft = match own {
        Some(definition) if change.change != "removed" => draft(plan, definition, &change.component)?,
        _ => None,
    };
    let draft = draft.filter(|draft| draft.enabled);
    let stored = match change.change.as_str() {
        "added" => None,
        _ => Some(session.client.rule(&change.component).await?).filter(|rule| rule.enabled),
    };
    let request = match (&draft, &stored) {
        (None, None) => return Ok(None),
        (Some(draft), _) => BacktestRequest {
            rule: Some(draft.clone()),
            config: change.config.as_ref().and_then(Value::as_object).cloned(),
            // What is installed with the rule judges it, not what is there now.
            action_schema: definitions
                .iter()
                .flat_map(|definition| &definition.actions)
                .find(|action| action.r#ref == draft.action)
                .map(|action| action.parameters.clone()),
            kept: kept_of(plan, &change.component).map(|kept| kept.member.clone()).collect(),
            ..request(since)
        },
        (None, Some(stored)) => BacktestRequest { rule_ref: Some(stored.rule_ref.clone()), ..request(since) },
    };
    let empty = |note: String| Behaviour {
        rule: change.component.clone(),
        since,
        events: 0,
        before: 0,
        after: 0,
        only_before: Difference::default(),
        only_after: Difference::default(),
        other_parameters: Difference::default(),
        notes: vec![note],
    };
    let report = match session.client.backtest(&request, |_| {}).await {
        Ok(report) => report,
        // A trigger or an action that comes with the pack has no events yet, or cannot be judged by yet.
        Err(attune_client::ClientError::Problem(problem)) if problem.status == 422 => {
            return Ok(Some(empty(format!("not tried: {}", problem.detail))));
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Some(compared(&change.component, &report, draft.is_some(), stored.is_some())))
}

fn request(since: DateTime<Utc>) -> BacktestRequest {
    BacktestRequest { examples: Some(EXAMPLES), ..BacktestRequest::since(since) }
}

/// What was changed of a rule on the server and stays, of that which says when it fires and what its action gets.
fn kept_of<'p>(plan: &'p PackPlan, rule_ref: &'p str) -> impl Iterator<Item = &'p KeptEdit> {
    let judged = |member: &str| BEHAVIOUR.contains(&member) && !SWITCHES.contains(&member);
    let of_rule = move |kept: &&KeptEdit| kept.kind == "rule" && kept.component == rule_ref;
    plan.kept.iter().filter(of_rule).filter(move |kept| judged(&kept.member))
}

/// What the report says of the two. Where one of them is not in force, everything that the other fires on differs.
fn compared(rule: &str, report: &BacktestReport, has_draft: bool, has_stored: bool) -> Behaviour {
    let fired = || Difference {
        count: report.counts.fired,
        events: report.fired_examples.iter().map(|example| example.event).collect(),
    };
    let mut behaviour = Behaviour {
        rule: rule.to_owned(),
        since: report.since,
        events: report.events,
        before: 0,
        after: 0,
        only_before: Difference::default(),
        only_after: Difference::default(),
        other_parameters: Difference::default(),
        notes: report.notes.clone(),
    };
    match (&report.comparison, has_draft, has_stored) {
        (Some(comparison), true, true) => {
            let difference = |difference: &attune_client::types::BacktestDifference| Difference {
                count: difference.count,
                events: difference.events.clone(),
            };
            behaviour.before = comparison.live.fired;
            behaviour.after = report.counts.fired;
            behaviour.only_before = difference(&comparison.only_live);
            behaviour.only_after = difference(&comparison.only_draft);
            behaviour.other_parameters = difference(&comparison.changed);
        }
        (_, true, _) => {
            behaviour.after = report.counts.fired;
            behaviour.only_after = fired();
        }
        (_, false, _) => {
            behaviour.before = report.counts.fired;
            behaviour.only_before = fired();
        }
    }
    behaviour
}

/// A rule as it would be stored: as its file says, with what was changed on the server and stays. What is secret in that is
/// masked here; the server puts in what it has (`kept_of`).
fn draft(
    plan: &PackPlan,
    definition: &PackDefinition,
    rule_ref: &str,
) -> anyhow::Result<Option<RuleRequest>> {
    let Some(entry) = definition.rules.iter().find(|rule| rule.definition.rule_ref == rule_ref) else {
        return Ok(None);
    };
    let request = request_of(entry)?;
    let mut members = serde_json::to_value(&request)?;
    let of_rule = plan.kept.iter().filter(|kept| kept.kind == "rule" && kept.component == rule_ref);
    for kept in of_rule.filter(|kept| kept.member != "retry") {
        members[kept.member.as_str()] = kept.here.clone();
    }
    Ok(Some(serde_json::from_value(members)?))
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
        for conflict in &plan.conflicts {
            text.push_str(&format!("  conflict: {}\n", conflict_sentence(conflict)));
        }
    }
    if shown.plans.packs.iter().any(|plan| !plan.conflicts.is_empty()) {
        say("an installation needs --keep-edits or --overwrite-edits");
    }
    for behaviour in shown.behaviour.iter().flatten() {
        text.push_str(&behaviour_text(behaviour));
    }
    if shown.behaviour.as_ref().is_some_and(Vec::is_empty) {
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

fn behaviour_text(behaviour: &Behaviour) -> String {
    let events = |difference: &Difference| {
        let ids: Vec<String> = difference.events.iter().map(i64::to_string).collect();
        let more = if difference.count > difference.events.len() as u64 { ", ..." } else { "" };
        if ids.is_empty() { String::new() } else { format!(" (events {}{more})", ids.join(", ")) }
    };
    let Behaviour { rule, before, after, .. } = behaviour;
    let mut text = match behaviour.events {
        0 => format!("rule {rule}: no events\n"),
        1 => format!("rule {rule}: fires on {after} of 1 event, before on {before}\n"),
        count => format!("rule {rule}: fires on {after} of {count} events, before on {before}\n"),
    };
    for (what, difference) in [
        ("would fire and does not now", &behaviour.only_after),
        ("would no longer fire", &behaviour.only_before),
        ("would fire with other parameters", &behaviour.other_parameters),
    ] {
        if difference.count > 0 {
            text.push_str(&format!("  {what}: {}{}\n", difference.count, events(difference)));
        }
    }
    for note in &behaviour.notes {
        text.push_str(&format!("  note: {note}\n"));
    }
    text
}

/// What others wrote must not move the reader's cursor.
fn printable_lines(text: &str) -> String {
    text.lines().map(|line| printable(line) + "\n").collect()
}
