//! The enforcement repository: one test per promise about `attune.enforcement`. How decisions become enforcements and
//! executions is in `record_decisions_tests.rs`.

mod helpers;

use attune_common::models::enforcement::{ConditionMode, Enforcement, EnforcementStatus, EnforcementUpdate};
use attune_common::repositories::{EnforcementRepository, RuleRepository};
use attune_testkit::transaction;
use helpers::checks::*;
use helpers::*;
use serde_json::json;

fn to_status(status: EnforcementStatus) -> EnforcementUpdate {
    EnforcementUpdate { status: Some(status), ..EnforcementUpdate::default() }
}

#[tokio::test]
async fn test_create_minimal() {
    let mut tx = transaction().await;
    let rule = RuleFixture::new_unique().create(&mut tx).await.unwrap();
    let enforcement =
        EnforcementFixture::new(Some(rule.id), &rule.r#ref, &rule.trigger_ref).create(&mut tx).await.unwrap();
    let expected = Enforcement {
        id: enforcement.id,
        rule: Some(rule.id),
        rule_ref: rule.r#ref,
        trigger_ref: rule.trigger_ref,
        config: json!({}),
        event: None,
        status: EnforcementStatus::Created,
        payload: json!({}),
        condition: ConditionMode::All,
        conditions: json!([]),
        error: None,
        created: enforcement.created,
        updated: enforcement.updated,
    };
    assert!(enforcement.id > 0);
    assert_eq!(enforcement, expected);
}

#[tokio::test]
async fn test_create_with_event() {
    let mut tx = transaction().await;
    let event = EventFixture::new_unique().create(&mut tx).await.unwrap();
    let enforcement = EnforcementFixture::new_unique().with_event(event.id).create(&mut tx).await.unwrap();
    assert_eq!(enforcement.event, Some(event.id));
}

#[tokio::test]
async fn test_create_with_conditions() {
    let mut tx = transaction().await;
    let conditions = json!([
        {"field": "event.payload.severity", "operator": "equals", "value": "critical"},
        {"not": {"field": "event.payload.status", "operator": "equals", "value": "resolved"}}
    ]);
    let enforcement = EnforcementFixture::new_unique()
        .with_conditions(conditions.clone())
        .with_config(json!({"rule_version": 3}))
        .create(&mut tx)
        .await
        .unwrap();
    assert_eq!((enforcement.conditions, enforcement.config), (conditions, json!({"rule_version": 3})));
}

#[tokio::test]
async fn test_create_with_condition_any() {
    let mut tx = transaction().await;
    let enforcement =
        EnforcementFixture::new_unique().with_condition(ConditionMode::Any).create(&mut tx).await.unwrap();
    assert_eq!(enforcement.condition, ConditionMode::Any);
}

#[tokio::test]
async fn test_create_with_condition_all() {
    let mut tx = transaction().await;
    let enforcement =
        EnforcementFixture::new_unique().with_condition(ConditionMode::All).create(&mut tx).await.unwrap();
    assert_eq!(enforcement.condition, ConditionMode::All);
}

#[tokio::test]
async fn test_create_without_rule_id() {
    let mut tx = transaction().await;
    let (rule_ref, trigger_ref) = (unique_enforcement_ref(), unique_event_ref());
    let enforcement = EnforcementFixture::new(None, &rule_ref, &trigger_ref).create(&mut tx).await.unwrap();
    assert_eq!(
        (enforcement.rule, enforcement.rule_ref, enforcement.trigger_ref),
        (None, rule_ref, trigger_ref)
    );
}

#[tokio::test]
async fn test_create_invalid_rule_id() {
    let mut tx = transaction().await;
    let fixture = EnforcementFixture::new(Some(NO_SUCH_ID), &unique_enforcement_ref(), &unique_event_ref());
    assert_invalid_reference(fixture.create(&mut tx).await, "enforcement", "rule");
}

#[tokio::test]
async fn test_create_invalid_event_id() {
    let mut tx = transaction().await;
    let created = EnforcementFixture::new_unique().with_event(NO_SUCH_ID).create(&mut tx).await;
    assert_invalid_reference(created, "enforcement", "event");
}

#[tokio::test]
async fn test_find_by_id_exists() {
    let mut tx = transaction().await;
    let enforcement = EnforcementFixture::new_unique()
        .with_payload(json!({"text": "disk full"}))
        .with_status(EnforcementStatus::Disabled)
        .create(&mut tx)
        .await
        .unwrap();
    EnforcementFixture::new_unique().create(&mut tx).await.unwrap();
    let found = EnforcementRepository::find_by_id(&mut *tx, enforcement.id).await.unwrap();
    assert_eq!(found, Some(enforcement));
}

#[tokio::test]
async fn test_find_by_id_not_found() {
    let mut tx = transaction().await;
    assert_eq!(EnforcementRepository::find_by_id(&mut *tx, NO_SUCH_ID).await.unwrap(), None);
}

#[tokio::test]
async fn test_get_by_id_not_found() {
    let mut tx = transaction().await;
    let got = EnforcementRepository::get_by_id(&mut *tx, NO_SUCH_ID).await;
    assert_not_found(got, "enforcement", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_list_empty() {
    let mut tx = transaction().await;
    assert_eq!(EnforcementRepository::list(&mut *tx).await.unwrap(), []);
}

#[tokio::test]
async fn test_list_newest_first() {
    let mut tx = transaction().await;
    let first = EnforcementFixture::new_unique().create(&mut tx).await.unwrap();
    let second = EnforcementFixture::new_unique().create(&mut tx).await.unwrap();
    let third = EnforcementFixture::new_unique().create(&mut tx).await.unwrap();
    assert!(first.created < second.created && second.created < third.created);
    assert_eq!(EnforcementRepository::list(&mut *tx).await.unwrap(), [third, second, first]);
}

#[tokio::test]
async fn test_update_status_from_created_to_processed() {
    let mut tx = transaction().await;
    let other = EnforcementFixture::new_unique().create(&mut tx).await.unwrap();
    let enforcement = EnforcementFixture::new_unique().create(&mut tx).await.unwrap();
    let updated =
        EnforcementRepository::update(&mut tx, enforcement.id, &to_status(EnforcementStatus::Processed))
            .await
            .unwrap();
    let expected =
        Enforcement { status: EnforcementStatus::Processed, updated: updated.updated, ..enforcement };
    assert_eq!(updated, expected);
    // Nothing but the one enforcement.
    assert_eq!(EnforcementRepository::list(&mut *tx).await.unwrap(), [updated, other]);
}

#[tokio::test]
async fn test_update_status_only_as_can_become_allows() {
    let mut tx = transaction().await;
    for &from in EnforcementStatus::ALL {
        for &to in EnforcementStatus::ALL {
            let enforcement =
                EnforcementFixture::new_unique().with_status(from).create(&mut tx).await.unwrap();
            let updated = EnforcementRepository::update(&mut tx, enforcement.id, &to_status(to)).await;
            if from == to || from.can_become(to) {
                assert_eq!(updated.unwrap().status, to, "{from} -> {to}");
            } else {
                assert_conflict(updated, "enforcement", &enforcement.id);
                let kept = EnforcementRepository::get_by_id(&mut *tx, enforcement.id).await.unwrap();
                assert_eq!(kept, enforcement, "{from} -> {to}");
            }
        }
    }
}

#[tokio::test]
async fn test_update_payload() {
    let mut tx = transaction().await;
    let enforcement = EnforcementFixture::new_unique().create(&mut tx).await.unwrap();
    let update = EnforcementUpdate { payload: Some(json!({"n": 1})), ..EnforcementUpdate::default() };
    let updated = EnforcementRepository::update(&mut tx, enforcement.id, &update).await.unwrap();
    assert_eq!(updated, Enforcement { payload: json!({"n": 1}), updated: updated.updated, ..enforcement });
}

#[tokio::test]
async fn test_update_status_and_payload() {
    let mut tx = transaction().await;
    let enforcement = EnforcementFixture::new_unique().create(&mut tx).await.unwrap();
    let update = EnforcementUpdate {
        status: Some(EnforcementStatus::Disabled),
        payload: Some(json!({"reason": "maintenance"})),
        unchanged_since: None,
    };
    let updated = EnforcementRepository::update(&mut tx, enforcement.id, &update).await.unwrap();
    assert_eq!(
        (updated.status, updated.payload),
        (EnforcementStatus::Disabled, json!({"reason": "maintenance"}))
    );
}

#[tokio::test]
async fn test_update_no_change() {
    let mut tx = transaction().await;
    let enforcement =
        EnforcementFixture::new_unique().with_payload(json!({"n": 1})).create(&mut tx).await.unwrap();
    let updated =
        EnforcementRepository::update(&mut tx, enforcement.id, &EnforcementUpdate::default()).await.unwrap();
    assert_eq!(updated, enforcement);
}

#[tokio::test]
async fn test_update_not_found() {
    let mut tx = transaction().await;
    let update = to_status(EnforcementStatus::Processed);
    let updated = EnforcementRepository::update(&mut tx, NO_SUCH_ID, &update).await;
    assert_not_found(updated, "enforcement", &NO_SUCH_ID);
    let nothing = EnforcementUpdate::default();
    let updated = EnforcementRepository::update(&mut tx, NO_SUCH_ID, &nothing).await;
    assert_not_found(updated, "enforcement", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_delete() {
    let mut tx = transaction().await;
    let kept = EnforcementFixture::new_unique().create(&mut tx).await.unwrap();
    let enforcement = EnforcementFixture::new_unique().create(&mut tx).await.unwrap();
    assert!(EnforcementRepository::delete(&mut *tx, enforcement.id).await.unwrap());
    assert_eq!(EnforcementRepository::list(&mut *tx).await.unwrap(), [kept]);
}

#[tokio::test]
async fn test_delete_not_found() {
    let mut tx = transaction().await;
    assert!(!EnforcementRepository::delete(&mut *tx, NO_SUCH_ID).await.unwrap());
}

#[tokio::test]
async fn test_list_by_rule() {
    let mut tx = transaction().await;
    let rule = RuleFixture::new_unique().create(&mut tx).await.unwrap();
    let of_rule = || EnforcementFixture::new(Some(rule.id), &rule.r#ref, &rule.trigger_ref);
    let first = of_rule().create(&mut tx).await.unwrap();
    EnforcementFixture::new(None, &rule.r#ref, &rule.trigger_ref).create(&mut tx).await.unwrap();
    let second = of_rule().create(&mut tx).await.unwrap();
    assert_eq!(EnforcementRepository::list_by_rule(&mut *tx, rule.id).await.unwrap(), [second, first]);
}

#[tokio::test]
async fn test_list_by_status() {
    let mut tx = transaction().await;
    let disabled = EnforcementStatus::Disabled;
    let first = EnforcementFixture::new_unique().with_status(disabled).create(&mut tx).await.unwrap();
    EnforcementFixture::new_unique().create(&mut tx).await.unwrap();
    let second = EnforcementFixture::new_unique().with_status(disabled).create(&mut tx).await.unwrap();
    assert_eq!(EnforcementRepository::list_by_status(&mut *tx, disabled).await.unwrap(), [second, first]);
    let processed = EnforcementStatus::Processed;
    assert_eq!(EnforcementRepository::list_by_status(&mut *tx, processed).await.unwrap(), []);
}

#[tokio::test]
async fn test_list_by_event() {
    let mut tx = transaction().await;
    let event = EventFixture::new_unique().create(&mut tx).await.unwrap();
    let first = EnforcementFixture::new_unique().with_event(event.id).create(&mut tx).await.unwrap();
    EnforcementFixture::new_unique().create(&mut tx).await.unwrap();
    let second = EnforcementFixture::new_unique().with_event(event.id).create(&mut tx).await.unwrap();
    assert_eq!(EnforcementRepository::list_by_event(&mut *tx, event.id).await.unwrap(), [second, first]);
}

#[tokio::test]
async fn test_delete_of_the_rule_keeps_its_enforcements() {
    let mut tx = transaction().await;
    let rule = RuleFixture::new_unique().create(&mut tx).await.unwrap();
    let enforcement =
        EnforcementFixture::new(Some(rule.id), &rule.r#ref, &rule.trigger_ref).create(&mut tx).await.unwrap();
    assert!(RuleRepository::delete(&mut tx, rule.id).await.unwrap());
    let kept = EnforcementRepository::get_by_id(&mut *tx, enforcement.id).await.unwrap();
    // Losing its rule is a change of the row like any other.
    assert_eq!(kept, Enforcement { rule: None, updated: kept.updated, ..enforcement });
}

#[tokio::test]
async fn test_timestamps_are_set_by_the_database() {
    let mut tx = transaction().await;
    let before: chrono::DateTime<chrono::Utc> =
        sqlx::query_scalar("select clock_timestamp()").fetch_one(&mut *tx).await.unwrap();
    let enforcement = EnforcementFixture::new_unique().create(&mut tx).await.unwrap();
    assert!(before < enforcement.created && enforcement.created <= enforcement.updated, "{before}");
    let update = EnforcementUpdate { payload: Some(json!({"n": 1})), ..EnforcementUpdate::default() };
    let updated = EnforcementRepository::update(&mut tx, enforcement.id, &update).await.unwrap();
    assert_eq!(updated.created, enforcement.created);
    assert!(updated.updated > enforcement.updated, "{updated:?}");
}
