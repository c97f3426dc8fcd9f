//! What executors hold in memory: the rules that can fire, at a version of the rule set.

use attune_common::models::action::ActionUpdate;
use attune_common::models::rule::{LiveRule, NewRule, RuleMode};
use attune_common::models::trigger::TriggerUpdate;
use attune_common::repositories::{ActionRepository, RuleRepository, RuleSetRepository, TriggerRepository};
use attune_testkit::{TestDatabase, transaction};
use serde_json::json;

use crate::full;
use crate::helpers::steps::rule_set;
use crate::helpers::*;

#[tokio::test]
async fn test_live_without_rules_gives_the_version() {
    let mut tx = transaction().await;
    let raised = RuleSetRepository::raise_version(&mut *tx).await.unwrap();
    assert_eq!(RuleRepository::live(&mut tx).await.unwrap(), (raised, vec![]));
}

#[tokio::test]
async fn test_live_gives_what_matching_needs() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let trigger = TriggerFixture::new_unique().create(&mut tx).await.unwrap();
    let mut action = ActionFixture::new_unique();
    action.new.param_schema = json!({"type": "object"});
    let action = action.create(&mut tx).await.unwrap();
    let new =
        NewRule { enabled: true, ..full(&format!("{}.page", pack.r#ref), &trigger.r#ref, &action.r#ref) };
    let rule = RuleRepository::create(&mut tx, Some(pack.id), &new).await.unwrap();
    let expected = LiveRule {
        id: rule.id,
        r#ref: rule.r#ref,
        label: rule.label,
        pack_ref: rule.pack_ref,
        version: 1,
        mode: RuleMode::Shadow,
        trigger_ref: trigger.r#ref,
        trigger_params: rule.trigger_params,
        condition: rule.condition,
        conditions: rule.conditions,
        action: Some(action.id),
        action_ref: action.r#ref,
        action_params: rule.action_params,
        window: Some(json!({"throttle": "15m"})),
        config: Some(json!({"url": "https://a.example"})),
        retry: rule.retry,
        action_enabled: Some(true),
        action_param_schema: Some(json!({"type": "object"})),
    };
    let version = rule_set(&mut tx).await;
    assert_eq!(RuleRepository::live(&mut tx).await.unwrap(), (version, vec![expected]));
}

#[tokio::test]
async fn test_live_only_what_can_fire() {
    let mut tx = transaction().await;
    let trigger = TriggerFixture::new_unique().create(&mut tx).await.unwrap();
    let off = TriggerFixture::new_unique().with_enabled(false).create(&mut tx).await.unwrap();
    RuleFixture::new_unique().with_trigger(&trigger).with_enabled(false).create(&mut tx).await.unwrap();
    RuleFixture::new_unique().with_trigger(&off).create(&mut tx).await.unwrap();
    RuleFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(RuleRepository::live(&mut tx).await.unwrap().1, []);
    let live = RuleFixture::new_unique().with_trigger(&trigger).create(&mut tx).await.unwrap();
    let update = TriggerUpdate { enabled: Some(true), ..TriggerUpdate::default() };
    TriggerRepository::update(&mut tx, off.id, &update).await.unwrap();
    let ids: Vec<_> = RuleRepository::live(&mut tx).await.unwrap().1.iter().map(|rule| rule.id).collect();
    assert_eq!((ids.len(), ids[1]), (2, live.id));
}

#[tokio::test]
async fn test_live_keeps_rules_whose_action_cannot_run() {
    let mut tx = transaction().await;
    let trigger = TriggerFixture::new_unique().create(&mut tx).await.unwrap();
    let action = ActionFixture::new_unique().create(&mut tx).await.unwrap();
    let update = ActionUpdate { enabled: Some(false), ..ActionUpdate::default() };
    ActionRepository::update(&mut tx, action.id, &update).await.unwrap();
    RuleFixture::new_unique().with_trigger(&trigger).with_action(&action).create(&mut tx).await.unwrap();
    RuleFixture::new_unique().with_trigger(&trigger).create(&mut tx).await.unwrap();
    // They fire, and the enforcement says why nothing is executed.
    let live = RuleRepository::live(&mut tx).await.unwrap().1;
    let actions: Vec<_> = live.iter().map(|rule| (rule.action, rule.action_enabled)).collect();
    assert_eq!(actions, [(Some(action.id), Some(false)), (None, None)]);
}

#[tokio::test]
async fn test_raise_version_counts_each_change() {
    let mut tx = transaction().await;
    let before = rule_set(&mut tx).await;
    assert_eq!(RuleSetRepository::raise_version(&mut *tx).await.unwrap(), before + 1);
    assert_eq!(RuleSetRepository::raise_version(&mut *tx).await.unwrap(), before + 2);
    assert_eq!(rule_set(&mut tx).await, before + 2);
}

#[tokio::test]
async fn test_raise_version_of_a_change_that_is_not_committed_is_not_seen() {
    let database = TestDatabase::create().await;
    let before = RuleSetRepository::version(database.pool()).await.unwrap();
    let mut change = attune_common::db::begin(database.pool()).await.unwrap();
    RuleFixture::new_unique().create(&mut change).await.unwrap();
    assert_eq!(RuleSetRepository::version(database.pool()).await.unwrap(), before);
    change.commit().await.unwrap();
    assert_eq!(RuleSetRepository::version(database.pool()).await.unwrap(), before + 1);
}

#[tokio::test]
async fn test_relink_raises_the_rule_set_but_makes_no_version() {
    let mut tx = transaction().await;
    let rule = RuleFixture::new_unique().create(&mut tx).await.unwrap();
    let set = rule_set(&mut tx).await;
    assert_eq!(RuleRepository::relink(&mut tx).await.unwrap(), 0);
    assert_eq!(rule_set(&mut tx).await, set);
    let trigger = TriggerFixture::new(&rule.trigger_ref).create(&mut tx).await.unwrap();
    assert_eq!(RuleRepository::relink(&mut tx).await.unwrap(), 1);
    let linked = RuleRepository::get_by_id(&mut *tx, rule.id).await.unwrap();
    assert_eq!((linked.trigger, linked.action, linked.version), (Some(trigger.id), None, 1));
    assert_eq!(rule_set(&mut tx).await, set + 1);
    let action = ActionFixture::new(&rule.action_ref).create(&mut tx).await.unwrap();
    assert_eq!(RuleRepository::relink(&mut tx).await.unwrap(), 1);
    let linked = RuleRepository::get_by_id(&mut *tx, rule.id).await.unwrap();
    assert_eq!((linked.trigger, linked.action), (Some(trigger.id), Some(action.id)));
}
