//! Back-tests of rules with windows: timers fire at their time, and the versions are compared by the events decided about.

use attune_rules::backtest::{Backtest, ConfigMask, Counts, Options, Recorded, Report, Subject};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

fn start() -> DateTime<Utc> {
    "2026-11-24T12:00:00Z".parse().unwrap()
}

fn subject(window: Option<Value>) -> Subject {
    let mut members = json!({
        "conditions": [{"field": "event.payload.n", "operator": "gt", "value": 0}],
        "action_params": {"n": "{{ event.payload.n }}"},
    });
    if let Some(window) = window {
        members["window"] = window;
        members["action_params"]["count"] = json!("{{ window.count }}");
    }
    Subject { rule: super::compiled(members), view: json!({"ref": "ops.page_disk"}), schema: None }
}

/// Judges events given as second, host and number; ids count from 1.
fn tried(rule: Subject, live: Option<Subject>, events: &[(i64, &str, i64)]) -> Report {
    let until = start() + TimeDelta::hours(1);
    let shown_config = ConfigMask(Box::new(|config| config));
    let options = Options { rule, live, since: start(), until, examples: 10, shown_config };
    let mut backtest = Backtest::new(&options);
    for (id, (second, host, n)) in (1..).zip(events) {
        let payload = json!({"host": host, "n": n, "more": "x"}).to_string();
        let event = Recorded {
            id,
            created: start() + TimeDelta::seconds(*second),
            payload: payload.as_bytes(),
            config: None,
            headers: None,
            source: None,
            trace_id: None,
        };
        backtest.judge(&event).unwrap();
    }
    backtest.finish()
}

/// What fires: the event, the second and the parameters.
fn fired(report: &Report) -> Vec<(i64, i64, Value)> {
    let told = |example: &attune_rules::backtest::Example| {
        (example.event, (example.at - start()).num_seconds(), example.outcome.clone().unwrap())
    };
    report.fired.iter().map(told).collect()
}

#[test]
fn test_debounce_fires_about_the_last_event_when_its_time_has_come() {
    let window = json!({"debounce": "5m", "key": "{{ event.payload.host }}"});
    let events = [(0, "a", 1), (60, "a", 2), (90, "b", 3), (100, "a", 0), (1_000, "a", 4), (3_500, "b", 5)];
    let report = tried(subject(Some(window)), None, &events);
    // The last one is quiet for five minutes only after the end.
    let expected = [
        (2, 360, json!({"n": 2, "count": 2})),
        (3, 390, json!({"n": 3, "count": 1})),
        (4 + 1, 1_300, json!({"n": 4, "count": 1})),
    ];
    assert_eq!(fired(&report), expected);
    assert_eq!(report.counts, Counts { fired: 3, held: 5, r#false: 1, ..Counts::default() });
    assert_eq!(report.bars.keys().next(), Some(&(start().timestamp() + 360)));
}

#[test]
fn test_count_fires_with_the_event_that_completes_it() {
    let window = json!({"count": {"at_least": 3, "within": "10m"}});
    let events = [(0, "a", 1), (300, "a", 2), (500, "a", 3), (550, "a", 4), (2_000, "a", 5)];
    let report = tried(subject(Some(window)), None, &events);
    assert_eq!(fired(&report), [(3, 500, json!({"n": 3, "count": 3}))]);
    assert_eq!(report.counts, Counts { fired: 1, held: 4, ..Counts::default() });
}

#[test]
fn test_absence_fires_about_what_was_not_followed() {
    let condition = |host: &str| json!({"field": "event.payload.host", "operator": "equals", "value": host});
    let window = json!({"absent": {"after": condition("up"), "expected": condition("ok"), "within": "2m"}});
    let events = [(0, "up", 1), (60, "ok", 2), (600, "up", 3), (900, "ok", 4), (950, "other", 5)];
    let report = tried(subject(Some(window)), None, &events);
    assert_eq!(fired(&report), [(3, 720, json!({"n": 3, "count": 1}))]);
    let places: Vec<_> = report.conditions.iter().map(|counted| counted.place.pointer.as_str()).collect();
    assert_eq!(places, ["/conditions/0", "/window/absent/after", "/window/absent/expected"]);
    assert_eq!(report.conditions[1].r#true, 2);
    assert_eq!(report.counts.r#false, 1, "an event that meets no condition of the window");
}

#[test]
fn test_events_of_one_moment_are_put_in_order() {
    let window = json!({"sequence": {"conditions": [
        {"field": "event.payload.host", "operator": "equals", "value": "a"},
        {"field": "event.payload.host", "operator": "equals", "value": "b"},
    ], "within": "1m"}});
    // Recorded a second later than its successor: another connection was faster.
    let report = tried(subject(Some(window)), None, &[(11, "b", 1), (10, "a", 2)]);
    assert_eq!(fired(&report), [(1, 11, json!({"n": 1, "count": 2}))]);
}

#[test]
fn test_a_key_that_cannot_be_rendered_is_a_failure() {
    let window = json!({"throttle": "5m", "key": "{{ event.payload.nope }}"});
    let report = tried(subject(Some(window)), None, &[(0, "a", 1)]);
    assert_eq!(report.counts, Counts { failed: 1, ..Counts::default() });
    let reason = report.failed[0].outcome.clone().unwrap_err();
    assert!(reason.starts_with("the key of the window cannot be rendered"), "{reason}");
}

#[test]
fn test_a_window_is_compared_with_what_fires_at_once() {
    let debounce = json!({"debounce": "5m"});
    let events = [(0, "a", 1), (60, "a", 2), (1_000, "a", 3), (1_001, "a", 0)];
    let report = tried(subject(Some(debounce)), Some(subject(None)), &events);
    let comparison = report.comparison.unwrap();
    assert_eq!(comparison.live, Counts { fired: 3, r#false: 1, ..Counts::default() });
    // Both decide about events 2 and 3, one of them minutes later; the window gives a parameter more.
    assert_eq!((comparison.both.events, comparison.changed.events), (vec![2, 3], vec![2, 3]));
    assert_eq!((comparison.only_draft.count, comparison.only_live.events), (0, vec![1]));
}
