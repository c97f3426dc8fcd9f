//! How decisions become enforcements and executions: each once, both or neither.

mod helpers;

use attune_common::error::StoreError;
use attune_common::models::enforcement::{
    ConditionMode, Decision, DecisionOutcome, Enforcement, EnforcementFilter, EnforcementStatus,
};
use attune_common::models::event::Event;
use attune_common::models::execution::{Execution, ExecutionStatus};
use attune_common::models::keyed::KeyedParameters;
use attune_common::models::rule::{Rule, RuleMode};
use attune_common::repositories::{
    EnforcementRepository, EventRepository, ExecutionRepository, RuleRepository,
};
use attune_testkit::{TestDatabase, transaction};
use helpers::checks::*;
use helpers::steps::*;
use helpers::*;
use serde_json::json;
use sqlx::PgConnection;

/// An event, and a rule whose action exists.
async fn event_and_rule(connection: &mut PgConnection) -> (Event, Rule) {
    let action = ActionFixture::new_unique().create(connection).await.expect("an action");
    let rule = RuleFixture::new_unique().with_action(&action).create(connection).await.expect("a rule");
    let event = EventFixture::new_unique().create(connection).await.expect("an event");
    (event, rule)
}

fn failure(event: &Event, rule: &Rule) -> Decision {
    Decision {
        parameters: json!({}),
        outcome: DecisionOutcome::Fail { error: "event.payload.text is missing".to_owned() },
        ..decision(event, rule)
    }
}

#[test]
fn test_table_name_has_the_schema() {
    assert_eq!(EnforcementRepository::table_name(), "attune.enforcement");
}

#[tokio::test]
async fn test_a_decision_alone_is_not_planned_anew_each_time() {
    let mut tx = transaction().await;
    // The first five are, to compare.
    for _ in 0..10 {
        let (event, rule) = event_and_rule(&mut tx).await;
        EnforcementRepository::record_new(&mut tx, &[decision(&event, &rule)]).await.unwrap();
    }
    let (kept, anew): (i64, i64) = sqlx::query_as(
        "select generic_plans, custom_plans from pg_prepared_statements
         where statement like '%insert into attune.enforcement%' and statement like '%attune.worker_assigned%'",
    )
    .fetch_one(&mut *tx)
    .await
    .unwrap();
    assert_eq!((kept, anew), (5, 5));
}

#[tokio::test]
async fn test_parameters_that_name_keys_go_to_the_claim_alone() {
    let mut tx = transaction().await;
    let (event, rule) = event_and_rule(&mut tx).await;
    let keyed = KeyedParameters {
        nonce: "n0nce".to_owned(),
        pack: Some("ops".to_owned()),
        parameters: json!({"text": "<key:n0nce:ops.token>"}),
    };
    let decision = Decision {
        parameters: json!({"text": "********"}),
        keyed: Some(keyed.clone()),
        ..decision(&event, &rule)
    };
    assert!(!format!("{decision:?}").contains("n0nce"));
    EnforcementRepository::record_decisions(&mut tx, &[decision]).await.unwrap();
    let enforcements = EnforcementRepository::list(&mut *tx).await.unwrap();
    assert_eq!(enforcements[0].payload, json!({"text": "********"}));
    let executions =
        ExecutionRepository::list_by_enforcements(&mut *tx, &[enforcements[0].id]).await.unwrap();
    assert_eq!(executions[0].config, json!({"text": "********"}));
    let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    let claimed = ExecutionRepository::claim(&mut tx, worker.id, &worker.instance, 10).await.unwrap();
    assert_eq!((&claimed[0].config, &claimed[0].keyed), (&executions[0].config, &Some(keyed)));
    let held = ExecutionRepository::list_held(&mut *tx, worker.id).await.unwrap();
    assert_eq!(held, claimed);
}

#[tokio::test]
async fn test_decisions_share_only_what_is_the_same() {
    let mut tx = transaction().await;
    let (event, rule) = event_and_rule(&mut tx).await;
    let mut decisions = Vec::new();
    for n in 0..6 {
        let event = EventFixture::new_unique().create(&mut tx).await.unwrap();
        decisions.push(Decision { parameters: json!({"n": n}), ..decision(&event, &rule) });
    }
    // Two of the same values in memory, and each with another difference.
    let [first, same, config, mode, retried, fails] = decisions.as_mut_slice() else { unreachable!() };
    (same.config, same.conditions) = (first.config.clone(), first.conditions.clone());
    for other in [&mut *mode, retried, fails] {
        (other.config, other.conditions) = (first.config.clone(), first.conditions.clone());
    }
    config.config = json!({"rule_version": 2, "action": "test.other"}).into();
    mode.mode = RuleMode::Shadow;
    retried.retry = Some(retry(2, 1.0, &["failed"]).into());
    fails.outcome = failure(&event, &rule).outcome;
    let (first, config) = (first.config.clone(), config.config.clone());
    EnforcementRepository::record_new(&mut tx, &decisions).await.unwrap();
    let mut made = EnforcementRepository::list(&mut *tx).await.unwrap();
    made.sort_by_key(|one| one.event);
    let found: Vec<_> = made
        .iter()
        .map(|one| (one.payload["n"].clone(), one.config.clone(), one.status, one.error.is_some()))
        .collect();
    let (processed, disabled) = (EnforcementStatus::Processed, EnforcementStatus::Disabled);
    let expected = [
        (json!(0), (*first).clone(), processed, false),
        (json!(1), (*first).clone(), processed, false),
        (json!(2), (*config).clone(), processed, false),
        (json!(3), (*first).clone(), disabled, false),
        (json!(4), (*first).clone(), processed, false),
        (json!(5), (*first).clone(), processed, true),
    ];
    assert_eq!(found, expected);
    let retried: Vec<(i32, bool)> = sqlx::query_as(
        "select (config ->> 'n')::integer, retry is not null from attune.execution order by 1",
    )
    .fetch_all(&mut *tx)
    .await
    .unwrap();
    assert_eq!(retried, [(0, false), (1, false), (2, false), (4, true)]);
}

#[tokio::test]
async fn test_record_nothing() {
    let mut tx = transaction().await;
    assert_eq!(EnforcementRepository::record_decisions(&mut tx, &[]).await.unwrap(), 0);
    assert_eq!(EnforcementRepository::list(&mut *tx).await.unwrap(), []);
}

#[tokio::test]
async fn test_record_makes_the_enforcement() {
    let mut tx = transaction().await;
    let (event, rule) = event_and_rule(&mut tx).await;
    let decision = Decision {
        condition: ConditionMode::Any,
        conditions: json!([{"field": "event.payload.n", "operator": "equals", "value": 1}]).into(),
        ..decision(&event, &rule)
    };
    let made = EnforcementRepository::record_decisions(&mut tx, std::slice::from_ref(&decision)).await;
    assert_eq!(made.unwrap(), 1);
    let enforcements = EnforcementRepository::list(&mut *tx).await.unwrap();
    let expected = Enforcement {
        id: enforcements[0].id,
        rule: Some(rule.id),
        rule_ref: rule.r#ref,
        trigger_ref: event.trigger_ref,
        config: (*decision.config).clone(),
        event: Some(event.id),
        status: EnforcementStatus::Processed,
        payload: decision.parameters,
        condition: ConditionMode::Any,
        conditions: (*decision.conditions).clone(),
        error: None,
        created: enforcements[0].created,
        updated: enforcements[0].updated,
    };
    assert_eq!(enforcements, [expected]);
}

#[tokio::test]
async fn test_record_makes_the_execution() {
    let mut tx = transaction().await;
    let (event, rule) = event_and_rule(&mut tx).await;
    EnforcementRepository::record_decisions(&mut tx, &[decision(&event, &rule)]).await.unwrap();
    let enforcement = EnforcementRepository::list(&mut *tx).await.unwrap()[0].id;
    let executions = ExecutionRepository::list(&mut *tx).await.unwrap();
    let expected = Execution {
        id: executions[0].id,
        action: rule.action,
        action_ref: rule.action_ref,
        enforcement: Some(enforcement),
        parent: None,
        original: None,
        identity: None,
        worker: None,
        status: ExecutionStatus::Scheduled,
        priority: 0,
        placement: 1,
        not_before: None,
        attempt: 0,
        trace_id: Some("trace-1".to_owned()),
        config: json!({"text": "disk full"}),
        result: None,
        error: None,
        exit_code: None,
        signal: None,
        stdout_bytes: None,
        stderr_bytes: None,
        worker_name: None,
        started: None,
        finished: None,
        created: executions[0].created,
        updated: executions[0].updated,
    };
    assert_eq!(executions, [expected]);
}

#[tokio::test]
async fn test_record_again_makes_nothing() {
    let mut tx = transaction().await;
    let (event, rule) = event_and_rule(&mut tx).await;
    let first = decision(&event, &rule);
    EnforcementRepository::record_decisions(&mut tx, std::slice::from_ref(&first)).await.unwrap();
    let enforcements = EnforcementRepository::list(&mut *tx).await.unwrap();
    let executions = ExecutionRepository::list(&mut *tx).await.unwrap();
    assert_eq!((enforcements.len(), executions.len()), (1, 1));
    // The first decision stands, also against one that came to another conclusion.
    let second = Decision { parameters: json!({"text": "other"}), ..first };
    assert_eq!(EnforcementRepository::record_decisions(&mut tx, &[second]).await.unwrap(), 0);
    assert_eq!(EnforcementRepository::list(&mut *tx).await.unwrap(), enforcements);
    assert_eq!(ExecutionRepository::list(&mut *tx).await.unwrap(), executions);
}

#[tokio::test]
async fn test_record_new_refuses_what_is_on_record() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let (event, rule) = event_and_rule(&mut connection).await;
    let (other, _) = event_and_rule(&mut connection).await;
    let first = decision(&event, &rule);
    let recorded =
        EnforcementRepository::record_new(&mut connection, std::slice::from_ref(&first)).await.unwrap();
    assert_eq!(recorded.executions, 1);
    let both = [decision(&other, &rule), first];
    let error = EnforcementRepository::record_new(&mut connection, &both).await.unwrap_err();
    let StoreError::AlreadyExists { constraint, .. } = error else { panic!("{error}") };
    assert_eq!(constraint, "enforcement_event_rule_key");
    assert_eq!(EnforcementRepository::list(&mut *connection).await.unwrap().len(), 1, "nothing was recorded");
    assert_eq!(EnforcementRepository::record(&mut connection, &both).await.unwrap().executions, 1);
}

#[tokio::test]
async fn test_record_again_within_the_batch_makes_one() {
    let mut tx = transaction().await;
    let (event, rule) = event_and_rule(&mut tx).await;
    let first = decision(&event, &rule);
    let second = Decision { parameters: json!({"text": "other"}), ..first.clone() };
    assert_eq!(EnforcementRepository::record_decisions(&mut tx, &[first, second]).await.unwrap(), 1);
    let enforcements = EnforcementRepository::list(&mut *tx).await.unwrap();
    assert_eq!(enforcements.len(), 1);
    assert_eq!(enforcements[0].payload, json!({"text": "disk full"}));
    assert_eq!(executions_of(&mut tx, enforcements[0].id).await.unwrap().len(), 1);
}

#[tokio::test]
async fn test_record_old_and_new_decisions_together() {
    let mut tx = transaction().await;
    let (event, rule) = event_and_rule(&mut tx).await;
    let later = EventFixture::new_unique().create(&mut tx).await.unwrap();
    let old = decision(&event, &rule);
    let new = decision(&later, &rule);
    EnforcementRepository::record_decisions(&mut tx, std::slice::from_ref(&old)).await.unwrap();
    assert_eq!(EnforcementRepository::record_decisions(&mut tx, &[old, new]).await.unwrap(), 1);
    let of_later = EnforcementRepository::list_by_event(&mut *tx, later.id).await.unwrap();
    assert_eq!(executions_of(&mut tx, of_later[0].id).await.unwrap().len(), 1);
    assert_eq!(ExecutionRepository::list(&mut *tx).await.unwrap().len(), 2);
}

#[tokio::test]
async fn test_record_after_a_concurrent_decision_makes_nothing() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let (event, rule) = event_and_rule(&mut connection).await;
    let decisions = [decision(&event, &rule)];
    let mut one = attune_common::db::begin(database.pool()).await.unwrap();
    assert_eq!(EnforcementRepository::record_decisions(&mut one, &decisions).await.unwrap(), 1);
    let mut other = attune_common::db::begin(database.pool()).await.unwrap();
    let (made, committed) =
        tokio::join!(EnforcementRepository::record_decisions(&mut other, &decisions), async {
            until_blocked(database.pool(), 1).await;
            one.commit().await
        });
    committed.unwrap();
    assert_eq!(made.unwrap(), 0);
    other.commit().await.unwrap();
    assert_eq!(EnforcementRepository::list(&mut *connection).await.unwrap().len(), 1);
    assert_eq!(ExecutionRepository::list(&mut *connection).await.unwrap().len(), 1);
}

#[tokio::test]
async fn test_record_after_a_concurrent_decision_was_rolled_back() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let (event, rule) = event_and_rule(&mut connection).await;
    let decisions = [decision(&event, &rule)];
    let mut one = attune_common::db::begin(database.pool()).await.unwrap();
    EnforcementRepository::record_decisions(&mut one, &decisions).await.unwrap();
    let (made, rolled_back) =
        tokio::join!(EnforcementRepository::record_decisions(&mut connection, &decisions), async {
            until_blocked(database.pool(), 1).await;
            one.rollback().await
        });
    rolled_back.unwrap();
    assert_eq!(made.unwrap(), 1);
}

#[tokio::test]
async fn test_record_failure_makes_no_execution() {
    let mut tx = transaction().await;
    let (event, rule) = event_and_rule(&mut tx).await;
    let made = EnforcementRepository::record_decisions(&mut tx, &[failure(&event, &rule)]).await;
    assert_eq!(made.unwrap(), 0);
    let enforcements = EnforcementRepository::list(&mut *tx).await.unwrap();
    assert_eq!(enforcements.len(), 1);
    assert_eq!(enforcements[0].status, EnforcementStatus::Processed);
    assert_eq!(enforcements[0].error.as_deref(), Some("event.payload.text is missing"));
    assert_eq!(ExecutionRepository::list(&mut *tx).await.unwrap(), []);
}

#[tokio::test]
async fn test_record_failure_is_final() {
    let mut tx = transaction().await;
    let (event, rule) = event_and_rule(&mut tx).await;
    EnforcementRepository::record_decisions(&mut tx, &[failure(&event, &rule)]).await.unwrap();
    let again = EnforcementRepository::record_decisions(&mut tx, &[decision(&event, &rule)]).await;
    assert_eq!(again.unwrap(), 0);
    assert_eq!(ExecutionRepository::list(&mut *tx).await.unwrap(), []);
}

#[tokio::test]
async fn test_record_several_rules_about_several_events() {
    let mut tx = transaction().await;
    let (event, rule) = event_and_rule(&mut tx).await;
    let (other_event, other_rule) = event_and_rule(&mut tx).await;
    let decisions = [
        decision(&event, &rule),
        decision(&event, &other_rule),
        failure(&other_event, &rule),
        decision(&other_event, &other_rule),
    ];
    assert_eq!(EnforcementRepository::record_decisions(&mut tx, &decisions).await.unwrap(), 3);
    // Each execution belongs to the decision that it follows from.
    let mut found = Vec::new();
    for enforcement in EnforcementRepository::list(&mut *tx).await.unwrap() {
        let executions = executions_of(&mut tx, enforcement.id).await.unwrap();
        let actions: Vec<_> = executions.into_iter().map(|execution| execution.action_ref).collect();
        found.push((enforcement.event.unwrap(), enforcement.rule_ref, actions));
    }
    found.sort();
    let expected = [
        (event.id, rule.r#ref.clone(), vec![rule.action_ref]),
        (event.id, other_rule.r#ref.clone(), vec![other_rule.action_ref.clone()]),
        (other_event.id, rule.r#ref, vec![]),
        (other_event.id, other_rule.r#ref, vec![other_rule.action_ref]),
    ];
    let mut expected = expected.to_vec();
    expected.sort();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn test_record_of_a_deleted_rule() {
    let mut tx = transaction().await;
    let (event, rule) = event_and_rule(&mut tx).await;
    let decisions = [Decision { rule: NO_SUCH_ID, ..decision(&event, &rule) }];
    let made = EnforcementRepository::record_decisions(&mut tx, &decisions).await;
    assert_invalid_reference(made, "enforcement", "rule");
}

#[tokio::test]
async fn test_record_of_a_deleted_action() {
    let mut tx = transaction().await;
    let (event, rule) = event_and_rule(&mut tx).await;
    let outcome = DecisionOutcome::Execute { action: NO_SUCH_ID, action_ref: "test.gone".to_owned() };
    let made =
        EnforcementRepository::record_decisions(&mut tx, &[Decision { outcome, ..decision(&event, &rule) }])
            .await;
    assert_invalid_reference(made, "execution", "action");
}

#[tokio::test]
async fn test_record_with_unstorable_parameters() {
    let mut tx = transaction().await;
    let (event, rule) = event_and_rule(&mut tx).await;
    let decisions = [Decision { parameters: json!({"text": "\u{0}"}), ..decision(&event, &rule) }];
    let made = EnforcementRepository::record_decisions(&mut tx, &decisions).await;
    assert!(matches!(made, Err(StoreError::Unstorable(_))), "{made:?}");
}

#[tokio::test]
async fn test_create_twice_for_a_rule_and_an_event() {
    let mut tx = transaction().await;
    let (event, rule) = event_and_rule(&mut tx).await;
    let fixture = EnforcementFixture::new(Some(rule.id), &rule.r#ref, &rule.trigger_ref).with_event(event.id);
    fixture.clone().create(&mut tx).await.unwrap();
    let value = format!("{}, {}", event.id, rule.id);
    assert_already_exists(fixture.create(&mut tx).await, "enforcement", "event_rule", &value);
}

#[tokio::test]
async fn test_delete_of_the_rule_keeps_the_chain() {
    let mut tx = transaction().await;
    let (event, rule) = event_and_rule(&mut tx).await;
    EnforcementRepository::record_decisions(&mut tx, &[decision(&event, &rule)]).await.unwrap();
    RuleRepository::delete(&mut tx, rule.id).await.unwrap();
    let enforcements = EnforcementRepository::list_by_event(&mut *tx, event.id).await.unwrap();
    assert_eq!((enforcements[0].rule, &enforcements[0].rule_ref), (None, &rule.r#ref));
    assert_eq!(executions_of(&mut tx, enforcements[0].id).await.unwrap().len(), 1);
}

#[tokio::test]
async fn test_delete_of_the_enforcement_keeps_the_execution() {
    let mut tx = transaction().await;
    let (event, rule) = event_and_rule(&mut tx).await;
    EnforcementRepository::record_decisions(&mut tx, &[decision(&event, &rule)]).await.unwrap();
    let enforcement = EnforcementRepository::list(&mut *tx).await.unwrap()[0].id;
    EnforcementRepository::delete(&mut *tx, enforcement).await.unwrap();
    let executions = ExecutionRepository::list(&mut *tx).await.unwrap();
    assert_eq!(executions.iter().map(|e| e.enforcement).collect::<Vec<_>>(), [None]);
}

#[tokio::test]
async fn test_delete_of_all_keeps_nothing_that_decides_again() {
    let mut tx = transaction().await;
    let (event, rule) = event_and_rule(&mut tx).await;
    EnforcementRepository::record_decisions(&mut tx, &[decision(&event, &rule)]).await.unwrap();
    EventRepository::delete(&mut *tx, event.id).await.unwrap();
    // A late repetition about an event that is gone is refused, not recorded.
    let again = EnforcementRepository::record_decisions(&mut tx, &[decision(&event, &rule)]).await;
    assert!(
        matches!(&again, Err(StoreError::InvalidReference { field, .. }) if field == "event"),
        "{again:?}"
    );
}

#[tokio::test]
async fn test_search_pages_by_descending_id() {
    let mut tx = transaction().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.insert(0, EnforcementFixture::new_unique().create(&mut tx).await.unwrap().id);
    }
    let page = |before| EnforcementFilter { before, limit: 2, ..EnforcementFilter::default() };
    let first = EnforcementRepository::search(&mut *tx, &page(None)).await.unwrap();
    assert_eq!(first.iter().map(|e| e.id).collect::<Vec<_>>(), ids[..2]);
    let second = EnforcementRepository::search(&mut *tx, &page(Some(ids[1]))).await.unwrap();
    assert_eq!(second.iter().map(|e| e.id).collect::<Vec<_>>(), ids[2..]);
}

#[tokio::test]
async fn test_search_by_each_filter() {
    let mut tx = transaction().await;
    let event = EventFixture::new_unique().create(&mut tx).await.unwrap();
    let plain = EnforcementFixture::new_unique().create(&mut tx).await.unwrap();
    let of_event = EnforcementFixture::new_unique().with_event(event.id).create(&mut tx).await.unwrap();
    let disabled = EnforcementFixture::new_unique()
        .with_status(EnforcementStatus::Disabled)
        .create(&mut tx)
        .await
        .unwrap();
    let all = || EnforcementFilter { limit: 10, ..EnforcementFilter::default() };
    for (filter, expected) in [
        (EnforcementFilter { rule_ref: Some(plain.rule_ref.clone()), ..all() }, plain),
        (EnforcementFilter { event: Some(event.id), ..all() }, of_event),
        (EnforcementFilter { status: Some(EnforcementStatus::Disabled), ..all() }, disabled),
    ] {
        assert_eq!(EnforcementRepository::search(&mut *tx, &filter).await.unwrap(), [expected], "{filter:?}");
    }
}

#[tokio::test]
async fn test_record_in_shadow_mode_makes_no_execution() {
    let mut tx = transaction().await;
    let (event, rule) = event_and_rule(&mut tx).await;
    let (_, other) = event_and_rule(&mut tx).await;
    let would_run = Decision { mode: RuleMode::Shadow, ..decision(&event, &rule) };
    let would_fail = Decision { mode: RuleMode::Shadow, ..failure(&event, &other) };
    let made = EnforcementRepository::record_decisions(&mut tx, &[would_run.clone(), would_fail]).await;
    assert_eq!(made.unwrap(), 0);
    assert_eq!(ExecutionRepository::list(&mut *tx).await.unwrap(), []);
    let mut enforcements = EnforcementRepository::list(&mut *tx).await.unwrap();
    enforcements.reverse();
    let kept: Vec<_> = enforcements.iter().map(|kept| (kept.status, &kept.payload, &kept.config)).collect();
    assert_eq!(kept[0], (EnforcementStatus::Disabled, &would_run.parameters, &*would_run.config));
    assert_eq!(kept[1].0, EnforcementStatus::Disabled);
    let errors: Vec<_> = enforcements.iter().map(|kept| kept.error.as_deref()).collect();
    assert_eq!(errors, [None, Some("event.payload.text is missing")]);
    // The decision stands: acting on it later takes a new event.
    let active = Decision { mode: RuleMode::Active, ..would_run };
    assert_eq!(EnforcementRepository::record_decisions(&mut tx, &[active]).await.unwrap(), 0);
}
