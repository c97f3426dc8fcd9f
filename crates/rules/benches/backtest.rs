//! What a back-test spends on an event: reading what the rule touches, and judging ten conditions.

#![expect(clippy::unwrap_used, reason = "a benchmark ends at the first surprise")]

use attune_rules::backtest::{Backtest, ConfigMask, Options, Recorded, Subject};
use attune_rules::{CompiledRule, RuleDefinition};
use chrono::{DateTime, TimeDelta, Utc};
use divan::counter::ItemsCount;
use serde_json::{Value, json};

const EVENTS: u64 = 10_000;

fn main() {
    divan::main();
}

fn payload(number: u64) -> String {
    let pick = |choices: &[&str], step: u64| choices[(number / step) as usize % choices.len()].to_owned();
    json!({
        "status": pick(&["firing", "firing", "resolved"], 1),
        "receiver": "attune",
        "labels": {
            "alertname": pick(&["DiskFull", "HighLoad", "TargetDown"], 2),
            "severity": pick(&["critical", "warning", "info"], 3),
            "env": pick(&["production", "staging"], 5),
            "region": pick(&["eu-west-1", "us-east-1", "ap-south-1"], 7),
            "job": "node",
            "instance": format!("10.1.{}.{}:9100", number / 250 % 250, number % 250),
        },
        "annotations": {
            "summary": format!("Disk almost full on host {number}"),
            "description": "The file system will be full within four hours at the present rate.",
            "runbook": "https://runbooks.example/disk",
        },
        "value": (number % 1_000) as f64 / 1_000.0,
        "limit": 0.5,
        "tags": ["storage", pick(&["database", "cache", "web"], 11)],
    })
    .to_string()
}

fn subject() -> Subject {
    let definition: RuleDefinition = serde_json::from_value(json!({
        "rule_ref": "bench.draft",
        "trigger_ref": "bench.recorded",
        "action_ref": "core.echo",
        "conditions": [
            {"field": "event.payload.status", "operator": "equals", "value": "firing"},
            {"field": "event.payload.labels.severity", "operator": "equals", "value": "critical"},
            {"field": "event.payload.labels.env", "operator": "equals", "value": "production"},
            {"field": "event.payload.labels.region", "operator": "in", "value": ["eu-west-1", "us-east-1"]},
            {"field": "event.payload.labels.alertname", "operator": "regex", "value": "^(Disk|High)"},
            {"field": "event.payload.annotations.summary", "operator": "icontains", "value": "disk"},
            {"field": "event.payload.value", "operator": "greater_than", "value": 0.8},
            {"field": "event.payload.tags[*]", "operator": "equals", "value": "database"},
            {"not": {"field": "event.payload.labels.silenced", "operator": "exists"}},
            {"field": "event.payload.labels.instance", "operator": "starts_with", "value": "10.1."},
        ],
        "action_params": {"message": "{{ event.payload.annotations.summary }}"},
    }))
    .unwrap();
    Subject { rule: CompiledRule::compile(&definition).unwrap(), view: json!({}), schema: None }
}

fn run(bencher: divan::Bencher<'_, '_>, live: Option<fn() -> Subject>) {
    let start: DateTime<Utc> = "2026-11-24T12:00:00Z".parse().unwrap();
    let payloads: Vec<String> = (0..EVENTS).map(payload).collect();
    let options = Options {
        rule: subject(),
        live: live.map(|live| live()),
        since: start,
        until: start + TimeDelta::days(1),
        examples: 5,
        shown_config: ConfigMask(Box::new(|config: Value| config)),
    };
    bencher.counter(ItemsCount::new(EVENTS)).bench_local(|| {
        let mut backtest = Backtest::new(&options);
        for (id, payload) in (1..).zip(&payloads) {
            let event = Recorded {
                id,
                created: start + TimeDelta::seconds(id),
                payload: payload.as_bytes(),
                config: None,
                headers: None,
                source: None,
                trace_id: None,
            };
            backtest.judge(&event).unwrap();
        }
        backtest.finish()
    });
}

#[divan::bench]
fn ten_conditions(bencher: divan::Bencher<'_, '_>) {
    run(bencher, None);
}

#[divan::bench]
fn ten_conditions_compared(bencher: divan::Bencher<'_, '_>) {
    run(bencher, Some(subject));
}
