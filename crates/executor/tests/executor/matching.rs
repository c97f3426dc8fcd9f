//! The matching pass where something is not as it should be.

use attune_common::bus::Bus;
use attune_common::models::enforcement::NewEnforcement;
use attune_common::models::event::NewEvent;
use attune_common::models::rule::NewRule;
use attune_common::models::trigger::NewTrigger;
use attune_common::pass::Found;
use attune_common::repositories::{
    EnforcementRepository, EventRepository, ExecutionRepository, RuleRepository, TriggerRepository,
};
use attune_executor::matching::Matcher;
use attune_testkit::TestDatabase;
use serde_json::json;
use sqlx::PgPool;
use tokio::time::Instant;

use crate::helpers::*;

/// The trigger `test.seen`, which takes any payload.
pub(crate) async fn create_trigger(pool: &PgPool) {
    let trigger = NewTrigger {
        r#ref: "test.seen".to_owned(),
        label: None,
        description: None,
        enabled: true,
        param_schema: json!({}),
        out_schema: json!({}),
        webhook: None,
    };
    TriggerRepository::create(pool, None, &trigger).await.unwrap();
}

#[tokio::test]
async fn test_a_decision_that_is_on_record_is_passed_over() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let action = action(pool, "test.a").await;
    create_trigger(pool).await;
    let mut connection = pool.acquire().await.unwrap();
    let new = NewRule::of("test.r".to_owned(), "test.seen", &action.r#ref);
    let rule = RuleRepository::create(&mut connection, None, &new).await.unwrap();
    let seen = NewEvent { trigger_ref: "test.seen".to_owned(), ..NewEvent::default() };
    let events = EventRepository::append(&mut connection, &[seen.clone(), seen]).await.unwrap();
    let known = NewEnforcement {
        rule: Some(rule.id),
        rule_ref: rule.r#ref.clone(),
        trigger_ref: "test.seen".to_owned(),
        event: Some(events[0].id),
        ..NewEnforcement::default()
    };
    let known = EnforcementRepository::create(&mut *connection, known).await.unwrap();

    let mut matcher = Matcher::new(pool.clone(), Bus::new());
    let mut passes = 0;
    while matcher.pass().await.unwrap() == Found::More {
        passes += 1;
        assert!(passes < 10, "it comes to no end");
    }
    let enforcements = EnforcementRepository::list(&mut *connection).await.unwrap();
    let mut of: Vec<_> = enforcements.iter().map(|enforcement| enforcement.event).collect();
    of.sort_unstable();
    assert_eq!(of, [Some(events[0].id), Some(events[1].id)]);
    assert!(enforcements.contains(&known), "what was decided first stands");
    let executions = ExecutionRepository::list(&mut *connection).await.unwrap();
    assert_eq!(executions.len(), 1, "one event had its decision");
}

#[tokio::test]
async fn test_a_decision_that_the_database_refuses_holds_up_no_other() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let action = action(pool, "test.a").await;
    create_trigger(pool).await;
    let mut connection = pool.acquire().await.unwrap();
    for rule in ["test.good", "test.refused"] {
        let new = NewRule::of(rule.to_owned(), "test.seen", &action.r#ref);
        RuleRepository::create(&mut connection, None, &new).await.unwrap();
    }
    // Nobody foresees why: with an execution, this one cannot be recorded.
    sqlx::raw_sql(
        "create function attune.refuse() returns trigger language plpgsql as $$
         begin raise exception 'this is too much'; end $$;
         create trigger refused before insert on attune.enforcement
             for each row when (new.rule_ref = 'test.refused' and new.error is null)
             execute function attune.refuse();
         alter table attune.enforcement enable always trigger refused;",
    )
    .execute(&mut *connection)
    .await
    .unwrap();
    let seen = NewEvent { trigger_ref: "test.seen".to_owned(), ..NewEvent::default() };
    EventRepository::append(&mut connection, &[seen.clone(), seen]).await.unwrap();

    let mut matcher = Matcher::new(pool.clone(), Bus::new());
    let mut refusals = 0;
    let until = Instant::now() + PATIENCE;
    // A pass may find nothing while the one before is still being rolled back.
    let enforcements = loop {
        refusals += u32::from(matcher.pass().await.is_err());
        let enforcements = EnforcementRepository::list(&mut *connection).await.unwrap();
        if !enforcements.is_empty() {
            break enforcements;
        }
        assert!(Instant::now() < until, "nothing is judged any more");
        tokio::task::yield_now().await;
    };
    assert!((2..10).contains(&refusals), "refused {refusals} times until the decision was given up");
    let errors = |rule: &str| -> Vec<Option<String>> {
        let of_rule = enforcements.iter().filter(|enforcement| enforcement.rule_ref == rule);
        of_rule.map(|enforcement| enforcement.error.clone()).collect()
    };
    assert_eq!(errors("test.good"), [None, None]);
    let refused = errors("test.refused");
    assert_eq!(refused.len(), 2);
    for error in refused {
        let error = error.unwrap();
        assert!(
            error.starts_with("the decision cannot be recorded: ") && error.contains("this is too much"),
            "{error}"
        );
    }
    assert_eq!(ExecutionRepository::list(&mut *connection).await.unwrap().len(), 2);
}
