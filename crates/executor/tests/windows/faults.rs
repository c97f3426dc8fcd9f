//! Faults in what is judged or kept: they cost what has them, and hold up nothing else.

use super::*;

/// A state that no arithmetic can go on with: its time is beyond what a time can be added to.
async fn spoil(world: &World, rule: &Rule, key: &str, wake: &str) {
    let spoiled = sqlx::query(
        r#"update attune.window_state
           set state = '{"throttle": {"fired": [1, 9223372036854775807]}}', wake = $3::text::timestamptz
           where rule = $1 and key = $2"#,
    );
    let spoiled = spoiled.bind(rule.id).bind(key).bind(wake).execute(world.pool()).await.unwrap();
    assert_eq!(spoiled.rows_affected(), 1);
}

#[tokio::test]
async fn test_a_state_that_makes_attune_panic_fails_its_events_and_no_others() {
    let world = World::new().await;
    let rule = world.rule(json!({"throttle": "15m", "key": "{{ event.payload.host }}"})).await;
    world.hosts(&[0]).await;
    let mut matcher = world.matcher();
    match_all(&mut matcher).await;
    spoil(&world, &rule, "web-01", "2999-01-01T00:00:00Z").await;

    let events = world
        .events(&[
            (1000, json!({"host": "web-01"})),
            (1001, json!({"host": "web-02"})),
            (1002, json!({"host": "web-01"})),
        ])
        .await;
    match_all(&mut matcher).await;
    let made = world.enforcements().await;
    let errors: Vec<_> = made[1..].iter().map(|(row, _)| (row.event.unwrap(), row.error.clone())).collect();
    let error = |event: i64| errors.iter().find(|(of, _)| *of == event).unwrap().1.clone();
    assert_eq!((errors.len(), error(events[1])), (3, None), "{errors:?}");
    for event in [events[0], events[2]] {
        let error = error(event).unwrap();
        assert!(error.starts_with("a fault of Attune, please report it: "), "{error}");
    }
    assert_eq!(world.executions().await.len(), 2);
    assert_eq!(EventRepository::count_waiting(world.pool()).await.unwrap(), 0);
}

#[tokio::test]
async fn test_a_state_that_makes_the_timers_panic_is_forgotten_with_a_word() {
    let world = World::new().await;
    let rule = world.rule(json!({"throttle": "15m", "key": "{{ event.payload.host }}"})).await;
    world.events(&[(0, json!({"host": "web-01"})), (1, json!({"host": "web-02"}))]).await;
    match_all(&mut world.matcher()).await;
    spoil(&world, &rule, "web-01", "2000-01-01T00:00:00Z").await;
    fire_all(&mut world.matcher()).await;
    assert!(world.states(&rule).await.is_empty(), "neither holds up the timers");
    let made = world.enforcements().await;
    let words: Vec<_> = made.iter().filter_map(|(row, _)| row.error.clone()).collect();
    let [error] = words.as_slice() else { panic!("{words:?}") };
    assert!(
        error.starts_with("what the window has of the key \"web-01\" is forgotten: a fault of Attune"),
        "{error}"
    );
    // From now on it goes on as if nothing had been.
    let later = world.hosts(&[2000]).await;
    match_all(&mut world.matcher()).await;
    assert_eq!(world.fired().await.last().unwrap(), &later);
}

#[tokio::test]
async fn test_an_event_that_fails_again_and_again_is_given_up_alone() {
    let world = World::new().await;
    world.rule(json!({"throttle": "15m", "key": "{{ event.payload.host }}"})).await;
    // Nobody foresees why: the state of this key cannot be written.
    sqlx::raw_sql(
        "create function attune.refuse() returns trigger language plpgsql as $$
         begin raise exception 'this is too much'; end $$;
         create trigger refused before update on attune.window_state
             for each row when (new.key = 'odd') execute function attune.refuse();
         alter table attune.window_state enable always trigger refused;",
    )
    .execute(world.pool())
    .await
    .unwrap();
    let before = world.hosts(&[0]).await;
    let odd = world.events(&[(1, json!({"host": "web-02"})), (2, json!({"host": "odd"}))]).await;
    let after = world.events(&[(3, json!({"host": "web-03"}))]).await;

    let mut matcher = world.matcher();
    let (mut failures, mut passes) = (0, 0);
    // A pass may find nothing while the one before is still being rolled back.
    while EventRepository::count_waiting(world.pool()).await.unwrap() > 0 {
        passes += 1;
        assert!(passes < 1000, "nothing is judged any more");
        match matcher.pass().await {
            Ok(Found::More) => {}
            Ok(Found::Nothing) => tokio::task::yield_now().await,
            Err(error) => {
                failures += 1;
                assert!(!error.is_unavailable(), "{error}");
            }
        }
    }
    assert!((3..20).contains(&failures), "{failures} failures");
    let made = world.enforcements().await;
    let of = |event: i64| &made.iter().find(|(row, _)| row.event == Some(event)).unwrap().0;
    for event in [before[0], odd[0], after[0]] {
        assert_eq!(of(event).error, None, "what came with it is as if it had not");
    }
    let error = of(odd[1]).error.clone().unwrap();
    assert!(error.starts_with("the event could not be handled, and was given up: "), "{error}");
    assert!(error.contains("this is too much"), "{error}");
    assert_eq!((made.len(), world.executions().await.len()), (4, 3));
}

#[tokio::test]
async fn test_a_state_that_the_timers_fail_over_is_forgotten_at_last_and_holds_up_no_other() {
    let world = World::new().await;
    let window = json!({"debounce": "5m", "key": "{{ event.payload.host }}"});
    let good = world.rule_with("test.good", window.clone(), json!({})).await;
    let odd = world.rule_with("test.odd", window, json!({})).await;
    // Nobody foresees why: the events of its firing cannot be linked.
    sqlx::raw_sql(
        "create function attune.refuse() returns trigger language plpgsql as $$
         begin
             if (select rule_ref from attune.enforcement where id = new.enforcement) = 'test.odd' then
                 raise exception 'this is too much';
             end if;
             return new;
         end $$;
         create trigger refused before insert on attune.enforcement_event
             for each row execute function attune.refuse();
         alter table attune.enforcement_event enable always trigger refused;",
    )
    .execute(world.pool())
    .await
    .unwrap();
    let events = world.hosts(&[0, 1]).await;
    let mut matcher = world.matcher();
    match_all(&mut matcher).await;
    assert_eq!((world.states(&good).await.len(), world.states(&odd).await.len()), (1, 1));

    let (mut failures, mut passes) = (0, 0);
    while WindowRepository::is_due(world.pool()).await.unwrap() {
        passes += 1;
        assert!(passes < 1000, "no window fires any more");
        match timers::pass(&mut matcher).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => {
                failures += 1;
                assert!(!error.is_unavailable(), "{error}");
            }
        }
    }
    assert!((3..20).contains(&failures), "{failures} failures");
    assert!(world.states(&good).await.is_empty() && world.states(&odd).await.is_empty());
    let made = world.enforcements().await;
    let of = |rule: &Rule| made.iter().find(|(row, _)| row.rule == Some(rule.id)).unwrap();
    assert_eq!((of(&good).0.error.clone(), &of(&good).1), (None, &events));
    let error = of(&odd).0.error.clone().unwrap();
    assert!(error.starts_with("what the window has of the key \"web-01\" is forgotten: "), "{error}");
    assert!(error.contains("this is too much"), "{error}");
    assert_eq!((made.len(), world.executions().await.len()), (2, 1));
}
