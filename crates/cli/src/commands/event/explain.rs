//! `attune event explain`: why rules fired on an event, or did not.

use attune_client::types::{ConditionResult, EventExplanation, RuleExplanation};
use attune_rules::{TestResult, Verdict};
use clap::Args;

use crate::commands::judgement;
use crate::output::{Details, Format, json_text, moment, printable, say, write, yaml_text};
use crate::session::Session;

pub(super) const AFTER_HELP: &str = "\
Each rule is judged as it was when the event was matched, with the time of the matching. Without --rule these are the rules
that its trigger had then, also those that were disabled and those that are gone now.

Examples:
  attune event explain 17
  attune event explain 17 --rule ops.page_disk
  attune event explain 17 -o json | jq '.rules[] | select(.outcome == \"failed\") | .reason'";

/// What the server is asked for at a time.
const PAGE_SIZE: u32 = 100;

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Id of the event
    id: i64,
    /// Only this rule, whatever trigger it listens to, and also when it was made later or is gone
    #[arg(long, value_name = "REF", conflicts_with = "limit")]
    rule: Option<String>,
    /// How many rules at most, by ref
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    limit: u32,
}

pub(super) async fn run(args: &ExplainArgs, session: &Session) -> anyhow::Result<()> {
    let explanation = explanation(args, session).await?;
    match session.format {
        Format::Table => {
            write(&told(&explanation, session))?;
            if explanation.next_cursor.is_some() {
                say(format_args!("the first {} rules; --limit shows more", explanation.rules.len()));
            }
        }
        Format::Json => write(&json_text(&explanation)?)?,
        Format::Yaml => write(&yaml_text(&explanation)?)?,
        // The rules that fired.
        Format::Name => {
            let fired = explanation.rules.iter().filter(|rule| rule.outcome == "fired");
            write(&fired.map(|rule| format!("{}\n", rule.rule)).collect::<String>())?;
        }
    }
    Ok(())
}

/// All pages as one.
async fn explanation(args: &ExplainArgs, session: &Session) -> anyhow::Result<EventExplanation> {
    let query = |limit: u32, cursor: Option<&String>| {
        let mut query = vec![("limit", limit.min(PAGE_SIZE).to_string())];
        query.extend(args.rule.as_ref().map(|rule| ("rule", rule.clone())));
        query.extend(cursor.map(|cursor| ("cursor", cursor.clone())));
        query
    };
    let mut whole = session.client.explain_event(args.id, &query(args.limit, None)).await?;
    let is_paged = whole.next_cursor.is_some();
    loop {
        let count = u32::try_from(whole.rules.len()).unwrap_or(u32::MAX);
        let Some(cursor) = whole.next_cursor.take_if(|_| count < args.limit) else { break };
        let page = session.client.explain_event(args.id, &query(args.limit - count, Some(&cursor))).await?;
        whole.rules.extend(page.rules);
        whole.next_cursor = page.next_cursor;
    }
    if is_paged {
        whole.reason = summary(&whole);
    }
    Ok(whole)
}

/// The sentence of a page counts its own rules only.
fn summary(explanation: &EventExplanation) -> String {
    let fired = explanation.rules.iter().filter(|rule| rule.outcome == "fired").count();
    let first = if explanation.next_cursor.is_some() { "the first " } else { "" };
    format!("{fired} of {first}{} rules fired", explanation.rules.len())
}

fn told(explanation: &EventExplanation, session: &Session) -> String {
    let matched = explanation.matched.map_or_else(|| "not yet".to_owned(), |at| moment(session.now(), at));
    let head = Details::new()
        .field("event", explanation.event)
        .field("trigger", &explanation.trigger)
        .optional("caused by", explanation.caused_by.map(|execution| format!("execution {execution}")))
        .field("matched", matched)
        .field("outcome", &explanation.reason);
    let mut text = head.to_string();
    for rule in &explanation.rules {
        text.push('\n');
        text.push_str(&of_rule(rule));
    }
    text
}

/// A line that says what became of the rule, what there is to know besides, and the table of its conditions.
fn of_rule(rule: &RuleExplanation) -> String {
    let outcome = rule.outcome.replace('_', " ");
    let mut text = match outcome.as_str() {
        // The reason would only say it again.
        "fired" => format!("{}: fired\n", rule.rule),
        outcome => format!("{}: {outcome} - {}\n", rule.rule, rule.reason),
    };
    let mut line = |line: &str| text.push_str(&format!("  {line}\n"));
    if let (Some(version), Some(action)) = (rule.version, &rule.action) {
        let shadow = if rule.mode.as_deref() == Some("shadow") { ", in shadow mode" } else { "" };
        line(&format!("version {version}{shadow}, runs {action}"));
    }
    if let Some(enforcement) = &rule.enforcement {
        let executions = enforcement.executions.iter();
        let executions: Vec<_> = executions
            .map(|execution| format!("execution {} is {}", execution.id, execution.status))
            .collect();
        let what = if executions.is_empty() { "no execution".to_owned() } else { executions.join(", ") };
        line(&format!("enforcement {}: {what}", enforcement.id));
    }
    if let Some(window) = &rule.window {
        line(&format!("window: {}", window.reason));
    }
    if let Some(error) = &rule.action_params_error {
        let meant =
            error.suggestion.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        line(&format!("{}: {}: {}{meant}", error.pointer, error.template, error.message));
    }
    // Whether it listens is worth a row only where it does not.
    let listens = rule.trigger.iter().all(|test| test.verdict == "true");
    let tests: Vec<TestResult> =
        rule.trigger.iter().filter(|_| !listens).chain(&rule.conditions).map(test_of).collect();
    let mut text = printable(&text);
    if !tests.is_empty() {
        for row in judgement::table_of(&tests).lines() {
            text.push_str(&format!("  {row}\n"));
        }
    } else if rule.verdict.is_some() {
        text.push_str("  no conditions: the rule fires on every event that it listens to\n");
    }
    text
}

fn test_of(result: &ConditionResult) -> TestResult {
    TestResult {
        pointer: result.pointer.clone(),
        field: result.field.clone(),
        operator: result.operator.clone(),
        expected: result.expected.clone(),
        actual: result.actual.clone(),
        verdict: match result.verdict.as_str() {
            "true" => Verdict::True,
            "false" => Verdict::False,
            "missing" => Verdict::Missing,
            // Only a newer server knows others.
            _ => Verdict::Error,
        },
        reason: result.reason.clone(),
    }
}
