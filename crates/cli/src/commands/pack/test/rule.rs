//! A rule and the events of a case: the executor's judgement, at the times that the case gives.

use std::time::Duration;

use attune_expr::schema::ParameterSchema;
use attune_expr::scope::Scope;
use attune_pack::{RuleCase, RuleEntry, SampleEvent};
use attune_rules::backtest::{Backtest, ConfigMask, Options, Recorded, Subject};
use attune_rules::{CompiledRule, EventFields, Judgement, RuleFields, Settings, Verdict};
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::Packs;
use super::compare::{Extent, contains, differences};
use crate::settings;

/// The first moment of every case: 2026-01-01T00:00:00Z.
const FIRST_MOMENT: i64 = 1_767_225_600;

/// The most decisions that are looked at one by one.
const MOST_DECISIONS: usize = 10_000;

/// What is not as the case expects it, with these settings of the pack.
pub(super) fn judge(case: &RuleCase, config: &Map<String, Value>, packs: &Packs<'_>) -> Vec<String> {
    let entry = packs.tested.definition.rules.iter().find(|entry| entry.definition.rule_ref == case.rule);
    let Some(entry) = entry else { return vec![format!("the pack has no rule {}", case.rule)] };
    let events = match prepared(case, entry, packs) {
        Ok(events) => events,
        Err(failures) => return failures,
    };
    let settings = settings::of_pack(&packs.tested.definition.manifest, config);
    match decided(case, entry, &settings, packs, &events) {
        Ok(failures) => failures,
        Err(error) => vec![error],
    }
}

/// An event of the case as it would be recorded.
struct Prepared {
    created: DateTime<Utc>,
    payload: Value,
    config: Value,
    headers: Option<Value>,
}

/// The events, if its trigger takes them.
fn prepared(case: &RuleCase, entry: &RuleEntry, packs: &Packs<'_>) -> Result<Vec<Prepared>, Vec<String>> {
    let trigger = packs
        .definitions()
        .flat_map(|pack| &pack.triggers)
        .find(|trigger| trigger.r#ref == entry.definition.trigger_ref);
    let mut failures = Vec::new();
    let mut events = Vec::new();
    for (number, event) in (1..).zip(&case.events) {
        let mut config = Value::Object(event.config.clone());
        if let Some(trigger) = trigger {
            match schema(&trigger.parameters).map(|schema| schema.check(config.clone())) {
                Some(Ok(filled)) => config = filled,
                Some(Err(violations)) => failures.extend(
                    violations.iter().map(|violation| format!("config of event {number}: {violation}")),
                ),
                None => {}
            }
            if let Some(Err(violations)) =
                schema(&trigger.out_schema).map(|schema| schema.check(event.payload.clone()))
            {
                let said =
                    |violation| format!("payload of event {number} does not fit its trigger: {violation}");
                failures.extend(violations.iter().map(said));
            }
        }
        events.push(Prepared {
            created: moment(event.at),
            payload: event.payload.clone(),
            config,
            headers: headers_of(event),
        });
    }
    if failures.is_empty() { Ok(events) } else { Err(failures) }
}

/// The headers of the event, if it has some.
pub(super) fn headers_of(event: &SampleEvent) -> Option<Value> {
    (!event.headers.is_empty()).then(|| Value::Object(event.headers.clone()))
}

fn decided(
    case: &RuleCase,
    entry: &RuleEntry,
    settings: &Settings,
    packs: &Packs<'_>,
    events: &[Prepared],
) -> Result<Vec<String>, String> {
    let compile = || {
        CompiledRule::compile_with(&entry.definition, settings)
            .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    };
    let action = packs
        .definitions()
        .flat_map(|pack| &pack.actions)
        .find(|action| action.r#ref == entry.definition.action_ref);
    let until = case.until.map(moment).or_else(|| events.last().map(|event| event.created));
    let options = Options {
        rule: Subject {
            rule: compile()?,
            view: view_of(entry),
            schema: action.and_then(|action| schema(&action.parameters)),
        },
        live: None,
        since: moment(Duration::ZERO),
        until: until.unwrap_or_default(),
        examples: MOST_DECISIONS,
        shown_config: ConfigMask(Box::new(|config| config)),
    };
    let mut trial = Backtest::new(&options);
    for (id, event) in (1..).zip(events) {
        let payload = event.payload.to_string();
        let config = event.config.to_string();
        let headers = event.headers.as_ref().map(ToString::to_string);
        let recorded = Recorded {
            id,
            created: event.created,
            payload: payload.as_bytes(),
            config: Some(config.as_bytes()),
            headers: headers.as_deref().map(str::as_bytes),
            source: None,
            trace_id: None,
        };
        trial.judge(&recorded).map_err(|error| error.to_string())?;
    }
    let report = trial.finish();
    let mut failures = Vec::new();
    if report.counts.fired != case.fires {
        failures.push(format!("it fires {}, expected {}", times(report.counts.fired), times(case.fires)));
        if report.counts.fired < case.fires {
            failures.extend(reasons(&compile()?, entry, events));
        }
    }
    let reasons_of_failure: Vec<&str> = report
        .failed
        .iter()
        .filter_map(|example| example.outcome.as_ref().err().map(String::as_str))
        .collect();
    match &case.error {
        Some(part) => failures.extend(contains("error", part, &reasons_of_failure.join("; "))),
        None => failures.extend(reasons_of_failure.iter().map(|reason| format!("it fails: {reason}"))),
    }
    if let Some(expected) = &case.parameters {
        // What the action has a default for need not be named.
        let parameters = action.and_then(|action| schema(&action.parameters));
        let filled = |set: &Value| {
            parameters.as_ref().map_or_else(|| set.clone(), |schema| schema.with_defaults(set.clone()))
        };
        for (index, (expected, example)) in expected.iter().map(filled).zip(&report.fired).enumerate() {
            let name = if case.fires == 1 { "parameters".to_owned() } else { format!("parameters[{index}]") };
            if let Ok(actual) = &example.outcome {
                failures.extend(differences(&name, &expected, actual, Extent::Whole));
            }
        }
    }
    Ok(failures)
}

/// Why it did not fire: the conditions that are not true.
fn reasons(rule: &CompiledRule, entry: &RuleEntry, events: &[Prepared]) -> Vec<String> {
    let mut reasons = Vec::new();
    let view = view_of(entry);
    for (number, event) in (1..).zip(events) {
        let seen = EventFields {
            id: json!(number),
            trigger_ref: entry.definition.trigger_ref.clone(),
            config: event.config.clone(),
            payload: event.payload.clone(),
            headers: event.headers.clone().unwrap_or_default(),
            source: Value::Null,
            trace_id: Value::Null,
            created: json!(event.created.to_rfc3339()),
        }
        .seen();
        let scope =
            Scope::new().with("event", &seen.event).with("trigger", &seen.trigger).with("rule", &view);
        let subject = attune_rules::Subject {
            trigger_ref: Some(&entry.definition.trigger_ref),
            config: Some(&event.config),
            scope: &scope,
            now: event.created,
        };
        let judgement = Judgement::of(rule, &subject);
        if judgement.fires {
            continue;
        }
        let mut told = format!("event {number}: {}", judgement.reason);
        for test in judgement.trigger.iter().chain(&judgement.conditions) {
            if test.verdict != Verdict::True {
                told.push_str(&format!("\n{} {}: {}", test.field, test.operator, test.reason));
            }
        }
        reasons.push(told);
    }
    reasons
}

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

fn schema(schema: &Value) -> Option<ParameterSchema> {
    ParameterSchema::compile(schema).ok()
}

fn moment(after: Duration) -> DateTime<Utc> {
    DateTime::from_timestamp(FIRST_MOMENT, 0).unwrap_or_default() + after
}

fn times(count: u64) -> String {
    match count {
        0 => "not at all".to_owned(),
        1 => "once".to_owned(),
        count => format!("{count} times"),
    }
}
