//! What executors read of the rules when some of them have changed.

use attune_common::models::action::ActionUpdate;
use attune_common::models::rule::{LiveChanges, RuleUpdate};
use attune_common::models::trigger::TriggerUpdate;
use attune_common::repositories::{
    ActionRepository, PackRepository, RuleRepository, RuleSetRepository, TriggerRepository,
};
use attune_testkit::transaction;
use serde_json::json;

use crate::helpers::steps::rule_set;
use crate::helpers::*;

fn names(changes: LiveChanges) -> (Vec<String>, Vec<String>) {
    (changes.changed, changes.rules.into_iter().map(|rule| rule.r#ref).collect())
}

#[tokio::test]
async fn test_live_since_reads_the_changed_rules_only() {
    let mut tx = transaction().await;
    let trigger = TriggerFixture::new_unique().create(&mut tx).await.unwrap();
    let rule = |name: &str| RuleFixture::new(&format!("ops.{name}"), &trigger.r#ref, "ops.page");
    rule("a_same").create(&mut tx).await.unwrap();
    let changed = rule("b_changed").create(&mut tx).await.unwrap();
    let disabled = rule("c_disabled").create(&mut tx).await.unwrap();
    let removed = rule("d_removed").create(&mut tx).await.unwrap();
    let before = rule_set(&mut tx).await;
    let update = RuleUpdate { conditions: Some(json!(["{{ true }}"])), ..RuleUpdate::default() };
    RuleRepository::update(&mut tx, changed.id, &update).await.unwrap();
    let update = RuleUpdate { enabled: Some(false), ..RuleUpdate::default() };
    RuleRepository::update(&mut tx, disabled.id, &update).await.unwrap();
    RuleRepository::delete(&mut tx, removed.id).await.unwrap();
    rule("e_made").create(&mut tx).await.unwrap();
    let changes = RuleRepository::live_since(&mut tx, before).await.unwrap().unwrap();
    assert_eq!(changes.version, before + 4);
    let live = RuleRepository::live(&mut tx).await.unwrap();
    assert_eq!((live.0, &live.1[1..]), (changes.version, &changes.rules[..]));
    let (changed, rules) = names(changes);
    assert_eq!(changed, ["ops.b_changed", "ops.c_disabled", "ops.d_removed", "ops.e_made"]);
    assert_eq!(rules, ["ops.b_changed", "ops.e_made"]);
    let unchanged = RuleRepository::live_since(&mut tx, before + 4).await.unwrap().map(names);
    assert_eq!(unchanged, Some((vec![], vec![])));
}

/// What several rules have in common has no version of a rule: all rules are to be read.
#[tokio::test]
async fn test_live_since_gives_way_where_more_than_rules_has_changed() {
    let mut tx = transaction().await;
    let trigger = TriggerFixture::new_unique().create(&mut tx).await.unwrap();
    let action = ActionFixture::new_unique().create(&mut tx).await.unwrap();
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    RuleFixture::new_unique().with_trigger(&trigger).with_action(&action).create(&mut tx).await.unwrap();
    let mut version = rule_set(&mut tx).await;
    let update = TriggerUpdate { enabled: Some(false), ..TriggerUpdate::default() };
    TriggerRepository::update(&mut tx, trigger.id, &update).await.unwrap();
    assert_eq!(RuleRepository::live_since(&mut tx, version).await.unwrap(), None, "a trigger");
    version = rule_set(&mut tx).await;
    let update = ActionUpdate { enabled: Some(false), ..ActionUpdate::default() };
    ActionRepository::update(&mut tx, action.id, &update).await.unwrap();
    // A rule's own change hides the other one no more than its absence would.
    RuleFixture::new_unique().with_trigger(&trigger).create(&mut tx).await.unwrap();
    assert_eq!(RuleRepository::live_since(&mut tx, version).await.unwrap(), None, "an action");
    RuleFixture::new_unique().with_pack(&pack, "page").create(&mut tx).await.unwrap();
    version = rule_set(&mut tx).await;
    assert!(PackRepository::delete(&mut *tx, pack.id).await.unwrap());
    assert_eq!(RuleRepository::live_since(&mut tx, version).await.unwrap(), None, "a pack");
    assert_eq!(
        RuleRepository::live_since(&mut tx, version + 7).await.unwrap(),
        None,
        "a version not reached yet"
    );
    version = rule_set(&mut tx).await;
    RuleSetRepository::raise_version(&mut *tx).await.unwrap();
    assert_eq!(RuleRepository::live_since(&mut tx, version).await.unwrap(), None, "whatever it was");
}
