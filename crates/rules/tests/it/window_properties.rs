//! Windows against naive models, in any order, and the size of what they remember.

use attune_rules::Window;
use attune_rules::window::{
    EVENTS_LIMIT, Firing, Input, Meets, RECENT_LIMIT, Seen, WindowKind, WindowState, step,
};
use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

/// Seconds and the conditions that are met.
type Given = (i64, Vec<usize>);

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
}

fn conditions() -> Value {
    let test = json!({"field": "event.n", "operator": "exists"});
    json!([test, test, test])
}

fn window(value: Value) -> WindowKind {
    Window::parse(&value).unwrap().kind
}

fn kind() -> impl Strategy<Value = WindowKind> {
    (
        select(vec!["throttle", "debounce", "dedup", "count", "all_of", "sequence", "absent"]),
        1..40_i64,
        2..6_i64,
    )
        .prop_map(|(name, span, number)| {
            let test = json!({"field": "event.n", "operator": "exists"});
            window(match name {
                "count" => json!({"count": {"at_least": number, "within": span}}),
                "all_of" | "sequence" => json!({name: {"conditions": conditions(), "within": span}}),
                "absent" => json!({"absent": {"after": test, "expected": test, "within": span}}),
                name => json!({name: span}),
            })
        })
}

fn given(longest: i64) -> impl Strategy<Value = Vec<Given>> {
    let meets = proptest::collection::vec(0..3_usize, 1..3);
    proptest::collection::vec((0..longest, meets), 0..40)
}

/// Gives events their ids by the order of time and takes the steps; timers are given when they are due.
fn in_order(window: &WindowKind, mut given: Vec<Given>) -> Vec<Firing> {
    given.sort();
    let mut state = WindowState::Empty;
    let mut firings = Vec::new();
    let mut take = |state: &mut WindowState, input| {
        let step = step(window, std::mem::take(state), input);
        let stored = serde_json::to_string(&step.state).unwrap();
        *state = serde_json::from_str(&stored).unwrap();
        assert_eq!(*state, step.state);
        firings.extend(step.firings);
    };
    for (event, (seconds, meets)) in (0..).zip(&given) {
        while let Some(wake) = state.wake(window).filter(|wake| *wake < at(*seconds)) {
            take(&mut state, Input::Time(wake));
        }
        take(&mut state, Input::Event(Seen::new(event, at(*seconds)), Meets::of(meets.iter().copied())));
    }
    while let Some(wake) = state.wake(window) {
        take(&mut state, Input::Time(wake));
    }
    assert!(state.is_empty());
    firings
}

/// Gives the same events with the same ids in another order, and the time only at the end.
fn out_of_order(window: &WindowKind, mut given: Vec<Given>, order: &[usize]) -> Vec<Firing> {
    given.sort();
    let mut numbered: Vec<_> = (0..).zip(given).collect();
    for (place, other) in order.iter().enumerate().take(numbered.len()) {
        let other = other % numbered.len();
        numbered.swap(place, other);
    }
    let mut state = WindowState::Empty;
    let mut firings = Vec::new();
    for (event, (seconds, meets)) in numbered {
        let step = step(window, state, Input::Event(Seen::new(event, at(seconds)), Meets::of(meets)));
        state = step.state;
        firings.extend(step.firings);
    }
    while let Some(wake) = state.wake(window) {
        let step = step(window, state, Input::Time(wake));
        state = step.state;
        firings.extend(step.firings);
    }
    firings
}

/// What each window fires, from its description and with all events at hand: the ids of the events of each firing.
fn naive(window: &WindowKind, given: &[Given]) -> Vec<Vec<i64>> {
    let mut given = given.to_vec();
    given.sort();
    let events: Vec<(i64, i64, &Vec<usize>)> =
        (0..).zip(&given).map(|(event, (seconds, meets))| (event, *seconds, meets)).collect();
    let seconds_of = |span: TimeDelta| span.num_seconds();
    match window {
        WindowKind::Throttle(span) => {
            let mut fired: Vec<(i64, i64)> = Vec::new();
            for (event, time, _) in &events {
                if fired.last().is_none_or(|(_, last)| time - last >= seconds_of(span.length())) {
                    fired.push((*event, *time));
                }
            }
            fired.into_iter().map(|(event, _)| vec![event]).collect()
        }
        WindowKind::Dedup(period) => {
            let period_of = |time: i64| (1_700_000_000 + time) / seconds_of(period.length());
            let is_first = |place: usize| {
                events[..place].iter().all(|(_, time, _)| period_of(*time) != period_of(events[place].1))
            };
            (0..events.len()).filter(|place| is_first(*place)).map(|place| vec![events[place].0]).collect()
        }
        WindowKind::Debounce(span) => {
            let mut bursts: Vec<Vec<i64>> = Vec::new();
            let mut last = i64::MIN / 2;
            for (event, time, _) in &events {
                match bursts.last_mut().filter(|_| time - last < seconds_of(span.length())) {
                    Some(burst) => burst.push(*event),
                    None => bursts.push(vec![*event]),
                }
                last = *time;
            }
            bursts
        }
        WindowKind::Count { at_least, within } => {
            let (mut fired, mut counted) = (Vec::new(), Vec::new());
            for (event, time, _) in &events {
                counted.push((*event, *time));
                let near: Vec<_> = counted
                    .iter()
                    .filter(|(_, other)| time - other <= seconds_of(within.length()))
                    .map(|(event, _)| *event)
                    .collect();
                if near.len() >= *at_least {
                    fired.push(near);
                    counted.clear();
                }
            }
            fired
        }
        WindowKind::AllOf { within, .. } => {
            let (mut fired, mut begin) = (Vec::new(), 0);
            for place in 0..events.len() {
                let latest = |condition: usize| {
                    events[begin..=place].iter().rev().find(|(.., meets)| meets.contains(&condition))
                };
                let Some(mut found) = (0..3).map(latest).collect::<Option<Vec<_>>>() else { continue };
                found.sort();
                if events[place].1 - found[0].1 <= seconds_of(within.length()) {
                    let mut ids: Vec<_> = found.iter().map(|(event, ..)| *event).collect();
                    ids.dedup();
                    fired.push(ids);
                    begin = place + 1;
                }
            }
            fired
        }
        WindowKind::Sequence { within, .. } => {
            let (mut fired, mut begin) = (Vec::new(), 0);
            for third in 0..events.len() {
                let meets = |place: usize, step: usize| events[place].2.contains(&step);
                let chain = (begin..third)
                    .flat_map(|first| (first + 1..third).map(move |second| (first, second)))
                    .filter(|(first, second)| meets(*first, 0) && meets(*second, 1) && meets(third, 2))
                    .filter(|(first, _)| events[third].1 - events[*first].1 <= seconds_of(within.length()))
                    .max();
                if let Some((first, _)) = chain {
                    // Any event of the second step in between is as good.
                    fired.push(vec![events[first].0, events[third].0]);
                    begin = third + 1;
                }
            }
            fired
        }
        WindowKind::Absent { within, .. } => {
            let mut fired = Vec::new();
            let mut wait: Option<(i64, Vec<i64>)> = None;
            for (event, time, meets) in &events {
                if let Some((_, ids)) = wait.take_if(|(due, _)| *due < *time) {
                    fired.push(ids);
                }
                if meets.contains(&1) {
                    wait = None;
                }
                if meets.contains(&0) {
                    let due = time + seconds_of(within.length());
                    wait.get_or_insert_with(|| (due, Vec::new())).1.push(*event);
                }
            }
            fired.extend(wait.map(|(_, ids)| ids));
            fired
        }
    }
}

/// The ids of the events of each firing, as the naive model tells them.
fn ids(window: &WindowKind, firings: &[Firing]) -> Vec<Vec<i64>> {
    let of = |firing: &Firing| match window {
        WindowKind::Sequence { .. } => vec![firing.events[0], firing.events[2]],
        _ => firing.events.clone(),
    };
    firings.iter().map(of).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn prop_in_order_windows_do_what_the_naive_model_does(window in kind(), given in given(400)) {
        let expected = naive(&window, &given);
        let firings = in_order(&window, given);
        prop_assert_eq!(ids(&window, &firings), expected);
        for firing in &firings {
            prop_assert_eq!(firing.events.last(), Some(&firing.event.event));
            prop_assert_eq!(firing.count, firing.events.len() as u64);
        }
        let mut completing: Vec<_> = firings.iter().map(|firing| firing.event.event).collect();
        completing.dedup();
        prop_assert_eq!(completing.len(), firings.len(), "an event is the subject of one decision");
    }

    /// What is promised of events that come within the lateness of each other.
    #[test]
    fn prop_the_order_changes_no_more_than_is_promised(
        window in kind(),
        given in given(60),
        order in proptest::collection::vec(0..1_000_usize, 40),
    ) {
        let ordered = in_order(&window, given.clone());
        let shuffled = out_of_order(&window, given.clone(), &order);
        match &window {
            WindowKind::Throttle(span) => {
                let times: Vec<_> = shuffled.iter().map(|firing| firing.event.at).collect();
                prop_assert_eq!(times.is_empty(), given.is_empty());
                prop_assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= span.length()), "{:?}", times);
            }
            WindowKind::Dedup(period) => {
                let periods = |firings: &[Firing]| {
                    let period_of = |firing: &Firing| firing.event.at.timestamp() / period.length().num_seconds();
                    let mut periods: Vec<_> = firings.iter().map(period_of).collect();
                    periods.sort_unstable();
                    periods
                };
                prop_assert_eq!(periods(&shuffled), periods(&ordered));
            }
            WindowKind::Debounce(_) | WindowKind::Absent { .. } => {
                let mut shuffled = shuffled.clone();
                shuffled.sort_by_key(|firing| firing.event);
                prop_assert_eq!(shuffled, ordered);
            }
            WindowKind::Count { .. } => {}
            WindowKind::AllOf { .. } | WindowKind::Sequence { .. } => {
                prop_assert_eq!(shuffled.is_empty(), ordered.is_empty());
            }
        }
        let mut contributed: Vec<_> = shuffled.iter().flat_map(|firing| &firing.events).collect();
        let all = contributed.len();
        contributed.sort_unstable();
        contributed.dedup();
        prop_assert_eq!(contributed.len(), all, "an event contributes once");
    }

    #[test]
    fn prop_a_count_within_the_span_is_exact_in_any_order(
        number in 2..7_i64,
        given in given(30),
        order in proptest::collection::vec(0..1_000_usize, 40),
    ) {
        let window = window(json!({"count": {"at_least": number, "within": 30}}));
        let expected = given.len() / usize::try_from(number).unwrap();
        prop_assert_eq!(out_of_order(&window, given, &order).len(), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Whatever is thrown at it, a state stays small, and without events it is forgotten.
    #[test]
    fn prop_states_are_bounded_and_end(
        window in kind(),
        steps in proptest::collection::vec((-70_i64..90, proptest::collection::vec(0..3_usize, 1..2)), 1..40),
        repeated in 1..60_usize,
    ) {
        let mut state = WindowState::Empty;
        let (mut time, mut event) = (0, 0);
        for _ in 0..repeated {
            for (pause, meets) in &steps {
                time += pause;
                event += 1;
                let meets = Meets::of(meets.iter().map(|meets| meets % 3));
                state = step(&window, state, Input::Event(Seen::new(event, at(time)), meets)).state;
                let size = serde_json::to_string(&state).unwrap().matches('[').count();
                prop_assert!(size <= 8 * EVENTS_LIMIT.max(RECENT_LIMIT), "{} entries", size);
            }
        }
        let mut wakes = 0;
        while let Some(wake) = state.wake(&window) {
            let after = step(&window, state, Input::Time(wake)).state;
            prop_assert!(after.wake(&window).is_none_or(|next| next > wake), "it asks for the same time again");
            state = after;
            wakes += 1;
            prop_assert!(wakes < 2_000);
        }
        prop_assert!(state.is_empty());
    }
}

#[test]
fn test_a_flood_leaves_small_states() {
    for (window, limit) in [
        (json!({"throttle": 60}), 1),
        (json!({"dedup": 1}), 130),
        (json!({"debounce": 60}), EVENTS_LIMIT + 2),
        (json!({"count": {"at_least": 10, "within": 1}}), 42),
        (json!({"all_of": {"conditions": conditions(), "within": 60}}), 2 * RECENT_LIMIT + 10),
        (json!({"sequence": {"conditions": conditions(), "within": 60}}), 2 * RECENT_LIMIT + 10),
    ] {
        let window = self::window(window);
        let mut state = WindowState::Empty;
        for event in 0..5_000 {
            let seen = Seen::new(event, at(0) + TimeDelta::milliseconds(event * 200));
            state = step(&window, state, Input::Event(seen, Meets::of([0]))).state;
            let entries = serde_json::to_string(&state).unwrap().matches('[').count();
            assert!(entries <= limit, "{}: {entries}", window.name());
        }
    }
}
