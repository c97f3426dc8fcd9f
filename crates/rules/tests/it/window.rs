//! What each kind of window does, by example.

use attune_expr::scope::Scope;
use attune_rules::window::{
    EVENTS_LIMIT, Firing, Input, LATENESS, Meets, Replay, Seen, Window, WindowOutcome, WindowState, step,
};
use attune_rules::{CompiledRule, Verdict};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::compiled;

fn at(seconds: i64) -> DateTime<Utc> {
    // 2023-11-14T22:13:20Z, which is no boundary of any period.
    DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
}

fn meeting(positions: &[usize]) -> Meets {
    Meets::of(positions.iter().copied())
}

/// One key of a window, to be given events in any order. Ids of events are their seconds.
struct Trial {
    window: Window,
    state: WindowState,
    last: Option<WindowOutcome>,
}

impl Trial {
    fn of(window: Value) -> Self {
        Self { window: Window::parse(&window).unwrap(), state: WindowState::Empty, last: None }
    }

    fn pattern(kind: &str, conditions: usize, within: i64) -> Self {
        let conditions: Vec<_> =
            (0..conditions).map(|n| json!({"field": "event.n", "operator": "equals", "value": n})).collect();
        Self::of(json!({kind: {"conditions": conditions, "within": within}}))
    }

    fn absent(within: i64) -> Self {
        let test = json!({"field": "event.n", "operator": "exists"});
        Self::of(json!({"absent": {"after": test, "expected": test, "within": within}}))
    }

    fn step(&mut self, input: Input) -> Vec<Firing> {
        let step = step(&self.window.kind, std::mem::take(&mut self.state), input);
        // A state is stored after every step.
        self.state = serde_json::from_str(&serde_json::to_string(&step.state).unwrap()).unwrap();
        assert_eq!(self.state, step.state);
        self.last = step.outcome;
        step.firings
    }

    /// The ids of the events of each firing.
    fn event(&mut self, seconds: i64, positions: &[usize]) -> Vec<Vec<i64>> {
        let firings = self.step(Input::Event(Seen::new(seconds, at(seconds)), meeting(positions)));
        firings.into_iter().map(|firing| firing.events).collect()
    }

    fn time(&mut self, seconds: i64) -> Vec<Vec<i64>> {
        self.step(Input::Time(at(seconds))).into_iter().map(|firing| firing.events).collect()
    }

    /// In seconds.
    fn wake(&self) -> Option<i64> {
        self.state.wake(&self.window.kind).map(|wake| (wake - at(0)).num_seconds())
    }

    #[track_caller]
    fn said(&self, words: &str) {
        assert_eq!(self.last.as_ref().map(ToString::to_string).as_deref(), Some(words));
    }
}

const NONE: [Vec<i64>; 0] = [];

#[test]
fn test_throttle_fires_first_and_is_quiet_from_there() {
    let mut trial = Trial::of(json!({"throttle": 60}));
    assert_eq!(trial.event(0, &[]), [[0]]);
    trial.said("fired");
    assert_eq!(trial.event(1, &[]), NONE);
    trial.said("held: event 0 fired, and the window is quiet until 2023-11-14T22:14:20Z");
    assert_eq!(trial.event(59, &[]), NONE);
    assert_eq!(trial.event(60, &[]), [[60]]);
    assert_eq!(trial.event(119, &[]), NONE);
    // Late by an hour: held, since a later event has fired.
    assert_eq!(trial.event(-3_600, &[]), NONE);
    assert_eq!(trial.wake(), Some(60 + 60 + 60));
    assert_eq!(trial.time(179), NONE);
    assert!(!trial.state.is_empty());
    trial.time(180);
    assert!(trial.state.is_empty());
}

#[test]
fn test_dedup_fires_once_in_each_period_on_the_clock() {
    let mut trial = Trial::of(json!({"dedup": "1h"}));
    // The hour ends at 23:00, 2800 seconds later.
    assert_eq!(trial.event(0, &[]), [[0]]);
    assert_eq!(trial.event(2_799, &[]), NONE);
    trial.said("held: event 0 fired, and the window is quiet until 2023-11-14T23:00:00Z");
    assert_eq!(trial.event(2_800, &[]), [[2_800]]);
    // Late, in the period before: it has fired there already.
    assert_eq!(trial.event(2_790, &[]), NONE);
    assert_eq!(trial.event(2_801, &[]), NONE);
    assert_eq!(trial.wake(), Some(2_800 + 3_600 + 60));
    trial.time(2_800 + 3_600 + 60);
    assert!(trial.state.is_empty());
}

#[test]
fn test_dedup_lets_a_late_event_of_a_period_without_any_pass() {
    let mut trial = Trial::of(json!({"dedup": 10}));
    assert_eq!(trial.event(60, &[]), [[60]]);
    assert_eq!(trial.event(25, &[]), [[25]]);
    assert_eq!(trial.event(29, &[]), NONE);
    assert_eq!(trial.event(-9, &[]), NONE);
    trial.said("too late to count: an event of 2023-11-14T22:14:20Z was taken before");
}

/// Where the two differ: an event a day, each a minute earlier than the one before.
#[test]
fn test_throttle_and_dedup_differ_in_where_the_time_begins() {
    let daily = [0, 86_340, 172_680];
    let fired = |window: Value| {
        let mut trial = Trial::of(window);
        daily.iter().map(|seconds| trial.event(*seconds, &[]).len()).collect::<Vec<_>>()
    };
    assert_eq!(fired(json!({"throttle": "1d"})), [1, 0, 1]);
    assert_eq!(fired(json!({"dedup": "1d"})), [1, 1, 1]);
}

#[test]
fn test_debounce_fires_with_the_last_event_when_it_has_been_quiet() {
    let mut trial = Trial::of(json!({"debounce": 30}));
    assert_eq!(trial.event(0, &[]), NONE);
    trial.said("waiting: fires at 2023-11-14T22:13:50Z");
    assert_eq!(trial.event(29, &[]), NONE);
    trial.said("waiting with 2 events: fires at 2023-11-14T22:14:19Z");
    assert_eq!((trial.time(58), trial.wake()), (Vec::new(), Some(59)));
    let firings = trial.step(Input::Time(at(59)));
    let expected = Firing { event: Seen::new(29, at(29)), first: at(0), count: 2, events: vec![0, 29] };
    assert_eq!(firings, [expected]);
    assert!(trial.state.is_empty());
}

#[test]
fn test_debounce_keeps_bursts_apart_until_a_late_event_joins_them() {
    let mut trial = Trial::of(json!({"debounce": 30}));
    trial.event(0, &[]);
    trial.event(40, &[]);
    assert_eq!(trial.wake(), Some(30));
    // Exactly the span after the first: it had been quiet.
    trial.event(80, &[]);
    trial.event(20, &[]);
    assert_eq!(trial.wake(), Some(70));
    assert_eq!(trial.time(110), [vec![0, 20, 40], vec![80]]);
}

#[test]
fn test_debounce_fires_by_later_events_where_no_timer_comes() {
    let mut trial = Trial::of(json!({"debounce": 30}));
    trial.event(0, &[]);
    assert_eq!(trial.event(89, &[]), NONE);
    assert_eq!(trial.event(90, &[]), [[0]]);
}

#[test]
fn test_debounce_links_the_first_and_the_latest_of_a_long_burst() {
    let mut trial = Trial::of(json!({"debounce": 30}));
    let count = EVENTS_LIMIT as i64 + 500;
    for seconds in 0..count {
        trial.event(seconds, &[]);
    }
    let firing = trial.step(Input::Time(at(count + 60))).remove(0);
    assert_eq!((firing.count, firing.events.len()), (count as u64, EVENTS_LIMIT));
    assert_eq!((firing.events[0], firing.events[1], firing.event.event), (0, 501, count - 1));
    assert_eq!(firing.first, at(0));
}

#[test]
fn test_count_fires_when_enough_lie_within_and_begins_anew() {
    let mut trial = Trial::of(json!({"count": {"at_least": 3, "within": 60}}));
    assert_eq!(trial.event(0, &[]), NONE);
    trial.said("counted: 1 of 3");
    assert_eq!(trial.event(30, &[]), NONE);
    trial.said("counted: 2 of 3");
    // The first is 61 seconds old by now.
    assert_eq!(trial.event(61, &[]), NONE);
    trial.said("counted: 2 of 3");
    assert_eq!(trial.event(90, &[]), [[30, 61, 90]]);
    trial.said("fired, with the events 30, 61, 90");
    assert!(trial.state.is_empty());
    assert_eq!(trial.event(91, &[]), NONE);
    assert_eq!(trial.event(92, &[]), NONE);
    assert_eq!(trial.event(151, &[]), [[91, 92, 151]]);
}

#[test]
fn test_count_takes_late_events_where_they_belong() {
    let mut trial = Trial::of(json!({"count": {"at_least": 3, "within": 60}}));
    trial.event(0, &[]);
    trial.event(100, &[]);
    assert_eq!(trial.event(30, &[]), NONE);
    assert_eq!(trial.event(60, &[]), [[0, 30, 60]]);
    trial.event(500, &[]);
    assert_eq!(trial.event(379, &[]), NONE);
    trial.said("too late to count: an event of 2023-11-14T22:21:40Z was taken before");
    assert_eq!(trial.wake(), Some(500 + 60 + 60));
    trial.time(620);
    assert!(trial.state.is_empty());
}

#[test]
fn test_all_of_fires_in_any_order_and_begins_anew() {
    let mut trial = Trial::pattern("all_of", 3, 60);
    assert_eq!(trial.event(0, &[2]), NONE);
    trial.said("met: 1 of 3 conditions");
    assert_eq!(trial.event(10, &[0]), NONE);
    assert_eq!(trial.event(20, &[0]), NONE);
    trial.said("met: 2 of 3 conditions");
    assert_eq!(trial.event(60, &[1]), [[0, 20, 60]]);
    assert_eq!(trial.event(61, &[1, 0]), NONE);
    assert_eq!(trial.event(122, &[2]), NONE);
    trial.said("met: 1 of 3 conditions");
    // One event may meet several conditions.
    assert_eq!(trial.event(130, &[0, 1]), [[122, 130]]);
    assert_eq!(trial.event(200, &[0, 1, 2]), [[200]]);
}

#[test]
fn test_sequence_fires_in_order_only_with_an_event_for_each_step() {
    let mut trial = Trial::pattern("sequence", 3, 60);
    trial.event(0, &[1]);
    trial.said("met: 0 of 3 conditions");
    trial.event(1, &[0]);
    assert_eq!(trial.event(2, &[2]), NONE);
    trial.said("met: 1 of 3 conditions");
    trial.event(3, &[1]);
    trial.event(4, &[0]);
    assert_eq!(trial.event(61, &[2]), [[1, 3, 61]]);
    assert_eq!(trial.event(62, &[2]), NONE);
    // An event that meets two steps takes one of them.
    trial.event(70, &[0, 1]);
    trial.event(71, &[0, 1]);
    assert_eq!(trial.event(72, &[2]), [[70, 71, 72]]);
}

#[test]
fn test_sequence_prefers_the_latest_beginning_and_forgets_the_old() {
    let mut trial = Trial::pattern("sequence", 2, 60);
    trial.event(0, &[0]);
    trial.event(30, &[0]);
    assert_eq!(trial.event(91, &[1]), NONE);
    trial.event(100, &[0]);
    assert_eq!(trial.event(101, &[1]), [[100, 101]]);
}

/// What completes a pattern by coming late need not be its last event.
#[test]
fn test_sequence_is_completed_by_a_late_first_step() {
    let mut trial = Trial::pattern("sequence", 2, 60);
    trial.event(10, &[1]);
    let firings = trial.step(Input::Event(Seen::new(5, at(5)), meeting(&[0])));
    assert_eq!((firings[0].event.event, firings[0].events.clone()), (10, vec![5, 10]));
    assert!(trial.last.as_ref().unwrap().is_fired());
}

/// A flood of one condition does not push out what another has.
#[test]
fn test_patterns_survive_a_flood() {
    for kind in ["all_of", "sequence"] {
        let mut trial = Trial::pattern(kind, 3, 3_600);
        trial.event(0, &[0]);
        trial.event(1, &[1]);
        for seconds in 2..2_000 {
            trial.event(seconds, &[usize::from(seconds % 2 == 0)]);
        }
        let fired = trial.event(2_000, &[2]);
        assert_eq!(fired.len(), 1, "{kind}");
    }
}

#[test]
fn test_absent_fires_when_the_expected_does_not_follow() {
    let mut trial = Trial::absent(60);
    trial.event(0, &[0]);
    trial.said("waiting: fires at 2023-11-14T22:14:20Z");
    // More of the same join the wait and do not make it longer.
    trial.event(30, &[0]);
    trial.said("waiting with 2 events: fires at 2023-11-14T22:14:20Z");
    assert_eq!((trial.time(59), trial.wake()), (Vec::new(), Some(60)));
    assert_eq!(trial.time(60), [[0, 30]]);
    assert!(trial.state.is_empty());
}

#[test]
fn test_absent_ends_with_the_expected_event() {
    let mut trial = Trial::absent(60);
    trial.event(0, &[0]);
    // Exactly at the end of the span is in time.
    assert_eq!(trial.event(60, &[1]), NONE);
    trial.said("in time: what was expected after event 0");
    assert_eq!(trial.time(60), NONE);
    assert_eq!(trial.event(61, &[1]), NONE);
    trial.said("nothing waits for it");
    trial.event(70, &[0]);
    trial.event(100, &[0, 1]);
    trial.said("waiting: fires at 2023-11-14T22:16:00Z");
    assert_eq!(trial.time(159), NONE);
    assert_eq!(trial.time(160), [[100]]);
}

#[test]
fn test_absent_knows_the_expected_event_that_was_given_first() {
    let mut trial = Trial::absent(60);
    trial.event(5, &[1]);
    assert_eq!(trial.wake(), Some(65));
    trial.event(0, &[0]);
    trial.said("waiting: fires at 2023-11-14T22:14:20Z");
    assert_eq!(trial.time(60), NONE);
    assert_eq!(trial.time(120), NONE);
    assert!(trial.state.is_empty());
}

#[test]
fn test_absent_fires_by_later_events_where_no_timer_comes() {
    let mut trial = Trial::absent(60);
    trial.event(0, &[0]);
    assert_eq!(trial.event(120, &[1]), NONE);
    assert_eq!(trial.event(121, &[0]), [[0]]);
    trial.said("waiting: fires at 2023-11-14T22:16:21Z");
}

#[test]
fn test_a_state_of_another_window_counts_as_none() {
    let mut trial = Trial::of(json!({"throttle": 60}));
    trial.event(0, &[]);
    trial.window = Window::parse(&json!({"debounce": 60})).unwrap();
    assert_eq!(trial.wake(), None);
    assert_eq!(trial.event(1, &[]), NONE);
    assert_eq!(trial.time(61), [[1]]);
    let mut trial = Trial::pattern("all_of", 3, 60);
    trial.event(0, &[0]);
    trial.window = Trial::pattern("all_of", 2, 60).window;
    assert_eq!(trial.event(1, &[1]), NONE);
    assert_eq!(trial.event(2, &[0]), [[1, 2]]);
}

#[test]
fn test_replay_keeps_keys_apart_and_fires_timers_in_their_order() {
    let window = Window::parse(&json!({"debounce": 60})).unwrap();
    let mut replay = Replay::new(&window.kind);
    for (key, seconds) in [("b", 0), ("a", 10), ("b", 20)] {
        let (fired, outcome) = replay.event(key, Seen::new(seconds, at(seconds)), Meets::default());
        assert!(fired.is_empty());
        assert!(matches!(outcome, Some(WindowOutcome::Waiting { .. })));
    }
    assert_eq!((replay.keys(), replay.next_wake()), (2, Some(at(70))));
    let (fired, _) = replay.event("c", Seen::new(81, at(81)), Meets::default());
    let shown: Vec<_> =
        fired.iter().map(|one| (one.key.as_str(), one.at, one.firing.events.as_slice())).collect();
    assert_eq!(shown, [("a", at(70), [10].as_slice()), ("b", at(80), [0, 20].as_slice())]);
    assert_eq!(replay.advance(at(1_000)).len(), 1);
    assert_eq!((replay.keys(), replay.next_wake()), (0, None));
    assert_eq!(LATENESS, TimeDelta::minutes(1));
}

fn with_event<T>(event: &Value, judge: impl FnOnce(&Scope<'_>) -> T) -> T {
    let (trigger, rule) = (json!({"ref": "core.webhook", "config": {}}), json!({"ref": "ops.page_disk"}));
    judge(&Scope::new().with("event", event).with("trigger", &trigger).with("rule", &rule))
}

#[test]
fn test_keys_are_rendered_or_say_why_not() {
    let rule = compiled(json!({"window": {"throttle": 9, "key": "{{ event.payload.host }}"}}));
    let key = |host: Value| {
        let event =
            if host.is_null() { json!({"payload": {}}) } else { json!({"payload": {"host": host[0]}}) };
        with_event(&event, |scope| rule.window().unwrap().key(scope))
    };
    assert_eq!(key(json!(["web-01"])).as_deref(), Ok("web-01"));
    assert_eq!(key(json!([7])).as_deref(), Ok("7"));
    assert_eq!(key(json!([["a", 1]])).as_deref(), Ok(r#"["a",1]"#));
    assert_eq!(key(json!([""])).as_deref(), Ok(""));
    let missing = key(json!(null)).unwrap_err();
    assert!(missing.contains("`/window/key`") && missing.contains("event.payload.host"), "{missing}");
    assert!(key(json!([null])).unwrap_err().contains("is null"));
    let keyless = compiled(json!({"window": {"throttle": 9}}));
    assert_eq!(with_event(&json!({}), |scope| keyless.window().unwrap().key(scope)).as_deref(), Ok(""));
}

#[test]
fn test_only_events_that_concern_the_window_reach_it() {
    let test = |value: i64| json!({"field": "event.payload.n", "operator": "equals", "value": value});
    let rule: CompiledRule = compiled(json!({
        "conditions": [{"field": "event.payload.env", "operator": "equals", "value": "prod"}],
        "window": {"all_of": {"conditions": [test(1), {"field": "event.payload.n", "operator": "gt", "value": 0}], "within": 9}},
    }));
    let judged = |payload: Value| {
        with_event(&json!({"payload": payload}), |scope| {
            let verdict = rule.verdict(scope, at(0));
            assert_eq!(rule.evaluate(scope, at(0)).verdict, verdict);
            (verdict, rule.window().unwrap().meets(scope, at(0)).map_err(|tests| tests[0].pointer.clone()))
        })
    };
    assert_eq!(judged(json!({"env": "prod", "n": 1})), (Verdict::True, Ok(meeting(&[0, 1]))));
    assert_eq!(judged(json!({"env": "prod", "n": 2})), (Verdict::True, Ok(meeting(&[1]))));
    assert_eq!(judged(json!({"env": "prod", "n": 0})).0, Verdict::False);
    assert_eq!(judged(json!({"env": "prod"})).0, Verdict::Missing);
    assert_eq!(judged(json!({"env": "test", "n": 1})).0, Verdict::False);
    let failing = judged(json!({"env": "prod", "n": "x"}));
    assert_eq!(failing, (Verdict::Error, Err("/window/all_of/conditions/1".to_owned())));
}

#[test]
fn test_parameters_are_rendered_with_what_the_window_saw() {
    let rule = compiled(json!({
        "window": {"count": {"at_least": 2, "within": 60}, "key": "{{ event.payload.host }}"},
        "action_params": {"text": "{{ window.count }} on {{ window.key }}", "events": "{{ window.events }}"},
    }));
    let firing = Firing { event: Seen::new(9, at(9)), first: at(0), count: 2, events: vec![4, 9] };
    let view = rule.window().unwrap().view("web-01", &firing);
    assert_eq!(
        view,
        json!({
            "kind": "count", "key": "web-01", "count": 2, "events": [4, 9],
            "first": "2023-11-14T22:13:20+00:00", "last": "2023-11-14T22:13:29+00:00",
        })
    );
    let rendered =
        with_event(&json!({}), |scope| rule.render_parameters(&scope.clone().with("window", &view)));
    assert_eq!(rendered.unwrap(), json!({"text": "2 on web-01", "events": [4, 9]}));
}

#[test]
fn test_outcomes_are_data() {
    let outcome = WindowOutcome::Held { by: 7, until: at(0) };
    let written = json!({"outcome": "held", "by": 7, "until": "2023-11-14T22:13:20Z"});
    assert_eq!(serde_json::to_value(&outcome).unwrap(), written);
    assert_eq!(serde_json::from_value::<WindowOutcome>(written).unwrap(), outcome);
    assert_eq!(serde_json::to_value(WindowOutcome::NotAwaited).unwrap(), json!({"outcome": "not_awaited"}));
}
