//! Back-tests: what is read of an event is enough for every verdict, and what is counted is what the rule decides.

use attune_expr::projection::Projection;
use attune_expr::schema::ParameterSchema;
use attune_expr::scope::Scope;
use attune_rules::backtest::{
    Backtest, Bar, ConfigMask, Counts, Example, Options, Recorded, Report, Subject,
};
use attune_rules::{CompiledRule, Verdict};
use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::index_agreement::{self as generate, now};

fn subject(members: Value) -> Subject {
    Subject {
        rule: super::compiled(members),
        view: json!({"ref": "ops.page_disk", "version": 2}),
        schema: None,
    }
}

fn start() -> DateTime<Utc> {
    "2026-11-24T12:00:00Z".parse().unwrap()
}

fn options(rule: Subject, live: Option<Subject>) -> Options {
    let until = start() + TimeDelta::hours(1);
    let shown_config = ConfigMask(Box::new(|_| json!({"team": "********"})));
    Options { rule, live, since: start(), until, examples: 2, shown_config }
}

/// Judges events of these payloads, one a minute, with ids from 1.
fn tried(options: Options, payloads: &[Value]) -> Report {
    let mut backtest = Backtest::new(&options);
    for (id, payload) in (1..).zip(payloads) {
        let payload = payload.to_string();
        let event = Recorded {
            id,
            created: start() + TimeDelta::minutes(id - 1),
            payload: payload.as_bytes(),
            config: Some(br#"{"team": "ops"}"#),
            headers: Some(br#"{"x-kind": "a"}"#),
            source: Some("ops.sensor"),
            trace_id: None,
        };
        backtest.judge(&event).unwrap();
    }
    backtest.finish()
}

fn ids(examples: &[Example]) -> Vec<i64> {
    examples.iter().map(|example| example.event).collect()
}

#[test]
fn test_counts_bars_and_examples() {
    let conditions = json!([
        {"field": "event.payload.n", "operator": "gt", "value": 1},
        {"not": {"field": "event.payload.kind", "operator": "equals", "value": "test"}},
    ]);
    let params = json!({"n": "{{ event.payload.n }}", "text": "{{ event.payload.text }} of {{ trigger.config.team }}"});
    let rule = subject(json!({"conditions": conditions, "action_params": params}));
    let payloads = [
        json!({"n": 2, "kind": "real", "text": "a"}),
        json!({"n": 1, "kind": "real"}),
        json!({"n": 3, "text": "no kind"}),
        json!({"n": "x", "kind": "real"}),
        json!({"n": 4, "kind": "real"}),
        json!({"n": 5, "kind": "real", "text": "b"}),
        json!({"n": 6, "kind": "real", "text": "c"}),
    ];
    let report = tried(options(rule, None), &payloads);
    assert_eq!(report.events, 7);
    assert_eq!(report.counts, Counts { fired: 3, r#false: 1, missing: 1, failed: 2, ..Counts::default() });
    let conditions: Vec<_> = report
        .conditions
        .iter()
        .map(|counted| {
            let place = counted.place.pointer.as_str();
            (place, [counted.r#true, counted.r#false, counted.missing, counted.error])
        })
        .collect();
    assert_eq!(conditions, [("/conditions/0", [5, 1, 0, 1]), ("/conditions/1/not", [0, 6, 1, 0])]);
    assert_eq!(ids(&report.fired), [1, 6]);
    // The secret of the config is used, and not shown.
    assert_eq!(report.fired[0].outcome, Ok(json!({"n": 2, "text": "a of ********"})));
    let reasons: Vec<_> = report.failed.iter().map(|example| example.outcome.clone().unwrap_err()).collect();
    assert!(reasons[0].starts_with("a condition cannot be judged: /conditions/0"), "{reasons:?}");
    assert!(reasons[1].starts_with("the parameters cannot be rendered: "), "{reasons:?}");
    assert_eq!(report.bar_seconds, 120);
    let bars: Vec<_> = report.bars.values().copied().collect();
    let bar = |fired, failed| Bar { fired, failed, live: 0 };
    assert_eq!(bars, [bar(1, 0), bar(0, 1), bar(1, 1), bar(1, 0)]);
    assert_eq!(report.bars.keys().next(), Some(&start().timestamp()));
    assert_eq!(report.comparison, None);
}

#[test]
fn test_the_parameters_must_fit_the_action() {
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}, "m": {"default": 7}}});
    let rule = subject(json!({"action_params": {"n": "{{ event.payload.n }}"}}));
    let rule = Subject { schema: Some(ParameterSchema::compile(&schema).unwrap()), ..rule };
    let report = tried(options(rule, None), &[json!({"n": 1}), json!({"n": "x"})]);
    assert_eq!(report.fired[0].outcome, Ok(json!({"n": 1, "m": 7})));
    let reason = report.failed[0].outcome.clone().unwrap_err();
    assert!(reason.starts_with("the parameters do not fit ops.page: "), "{reason}");
}

#[test]
fn test_events_that_the_rule_does_not_listen_to_count_for_no_condition() {
    let condition = json!([{"field": "event.payload.n", "operator": "gt", "value": 1}]);
    let rule = subject(json!({"trigger_params": {"team": "dev"}, "conditions": condition}));
    let report = tried(options(rule, None), &[json!({"n": 2}), json!({"n": 0})]);
    assert_eq!(report.counts, Counts { unheard: 2, ..Counts::default() });
    assert_eq!(report.conditions[0].r#true + report.conditions[0].r#false, 0);
}

#[test]
fn test_the_time_of_an_event_is_the_current_time() {
    let condition = json!([{"field": "event.created", "operator": "younger_than", "value": "1s"}]);
    let report = tried(options(subject(json!({"conditions": condition})), None), &[json!({}), json!({})]);
    assert_eq!(report.counts.fired, 2);
}

#[test]
fn test_everything_of_an_event_can_be_asked_for() {
    let params = json!({
        "all": "{{ event.id }} {{ event.trigger }} {{ event.source }} {{ event.headers['x-kind'] }}",
        "time": "{{ event.created }}",
        "rule": "{{ rule.ref }} {{ rule.version }}",
        "trace": "{{ event.trace_id }}",
    });
    let report = tried(options(subject(json!({"action_params": params})), None), &[json!(null)]);
    let expected = json!({
        "all": "1 core.webhook ops.sensor a",
        "time": "2026-11-24T12:00:00+00:00",
        "rule": "ops.page_disk 2",
        "trace": null,
    });
    assert_eq!(report.fired[0].outcome, Ok(expected));
}

#[test]
fn test_versions_are_compared_event_by_event() {
    let rule = |bound: i64, text: &str| {
        let condition = json!([{"field": "event.payload.n", "operator": "lt", "value": bound}]);
        subject(json!({"conditions": condition, "action_params": {"text": text}}))
    };
    let payloads: Vec<_> = (0..10).map(|n| json!({ "n": n })).collect();
    let report =
        tried(options(rule(7, "{{ event.payload.n }}"), Some(rule(3, "{{ event.payload.n }}"))), &payloads);
    let comparison = report.comparison.unwrap();
    assert_eq!(comparison.live, Counts { fired: 3, r#false: 7, ..Counts::default() });
    assert_eq!((comparison.both.count, comparison.both.events), (3, vec![1, 2]));
    assert_eq!((comparison.only_draft.count, comparison.only_draft.events), (4, vec![4, 5]));
    assert_eq!((comparison.only_live.count, comparison.changed.count), (0, 0));
    let report = tried(options(rule(3, "{{ event.payload.n }}"), Some(rule(4, "x"))), &payloads);
    let comparison = report.comparison.unwrap();
    assert_eq!((comparison.both.count, comparison.changed.count), (3, 3));
    assert_eq!((comparison.only_live.count, comparison.only_live.events), (1, vec![4]));
}

#[test]
fn test_a_payload_that_is_no_json_is_named() {
    let options = options(subject(json!({})), None);
    let mut backtest = Backtest::new(&options);
    let event = Recorded {
        id: 17,
        created: start(),
        payload: b"{",
        config: None,
        headers: None,
        source: None,
        trace_id: None,
    };
    assert_eq!(backtest.judge(&event).unwrap_err().to_string(), "event 17: the payload is not JSON");
}

/// What the rule makes of an event, with every condition.
fn judged(rule: &CompiledRule, event: &Value, config: &Value) -> (Verdict, Vec<Verdict>) {
    let view = json!({"ref": rule.rule_ref(), "a": 1});
    let scope = Scope::new().with("event", event).with("trigger", config).with("rule", &view);
    let mut verdicts = Vec::new();
    let verdict = rule.tally(&scope, now(), |number, verdict| {
        assert_eq!(number, verdicts.len());
        verdicts.push(verdict);
    });
    (verdict, verdicts)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn prop_what_is_read_gives_the_same_verdicts(
        members in generate::rule(),
        event in generate::value(),
        config in generate::value(),
    ) {
        let Some(rule) = generate::compile(members) else { return Ok(()) };
        let projection = Projection::of(&rule.condition_fields());
        let document = json!({"event": event, "trigger": config});
        let read = projection.read(document.to_string().as_bytes()).unwrap();
        let none = Value::Null;
        let seen = |name: &str| read.get(name).unwrap_or(&none);
        let expected = judged(&rule, &event, &config);
        prop_assert_eq!(&judged(&rule, seen("event"), seen("trigger")), &expected);
        // And both are what the matching pass finds.
        let view = json!({"ref": rule.rule_ref(), "a": 1});
        let scope = Scope::new().with("event", &event).with("trigger", &config).with("rule", &view);
        let evaluation = rule.evaluate(&scope, now());
        prop_assert_eq!(rule.verdict(&scope, now()), expected.0);
        let explained: Vec<_> = evaluation.tests.iter().map(|test| test.verdict).collect();
        prop_assert_eq!((evaluation.verdict, explained), expected);
        prop_assert_eq!(rule.conditions().len(), evaluation.tests.len());
    }

    #[test]
    fn prop_what_is_read_gives_the_same_parameters(
        templates in proptest::collection::vec(proptest::sample::select(TEMPLATES.to_vec()), 1..4),
        event in generate::value(),
    ) {
        let params: Vec<_> = templates.into_iter().map(Value::from).collect();
        let rule = super::compiled(json!({"action_params": {"list": params}}));
        let projection = Projection::of(&rule.parameter_fields());
        let read = projection.read(json!({"event": event}).to_string().as_bytes()).unwrap();
        let render = |event: &Value| {
            let scope = Scope::new().with("event", event);
            rule.render_parameters(&scope).map_err(|error| (error.kind, error.pointer))
        };
        prop_assert_eq!(render(read.get("event").unwrap_or(&Value::Null)), render(&event));
    }
}

/// Every way of a template to look at a value.
const TEMPLATES: &[&str] = &[
    "{{ event.a }}",
    "{{ event.a.b }} and {{ event.b['odd key'] }}",
    "{{ event.a.b.c | default('none') }}",
    "{{ event.a.b is defined }} {{ event.b.0 is defined }}",
    "{{ event.a | length }}",
    "{{ event.a.b[:2] }}",
    "{{ (event.a | list)[1:event.b] }} {{ event.c }}",
    "{{ event.a.items() | list }}",
    "{{ event.a.get('b', 7) }}",
    "{{ event['a'].b | default(1) }}",
    "{{ event.a[0].b | default(2) }}",
    "{{ event.a[event.b] | default(3) }}",
    "{{ event.a.b.upper() }}",
    "{% for x in event.a %}{{ x }}{% endfor %}",
    "{% for x in event.a %}{{ x.b }}{{ event.c.a }}{% endfor %}",
    "{% set p = event.a %}{{ p.b }}",
    "{% if event.a.b %}{{ event.c }}{% else %}{{ event.b.c }}{% endif %}",
    "{{ event.a | map(attribute='b') | list }}",
    "{{ event | tojson }}",
    "{{ (event.a or event.b).c }}",
    "{{ event.a.b ~ event.a.c }}",
    "{{ event.a == event.b }}",
    "{{ event.keys() | list }}",
];
