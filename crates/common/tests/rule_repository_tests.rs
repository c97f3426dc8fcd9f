//! The rule repository: `attune.rule`. The past versions of each rule, and the version of the whole set of rules with
//! what executors read, have a file each.

mod helpers;

mod rule {
    mod live;
    mod live_since;
    mod versions;
}

use attune_common::models::enforcement::ConditionMode;
use attune_common::models::rule::{NewRule, Rule, RuleMode, RuleUpdate};
use attune_common::repositories::{IdentityRepository, LIST_LIMIT, RuleRepository};
use attune_testkit::transaction;
use helpers::checks::*;
use helpers::steps::rule_set;
use helpers::*;
use serde_json::{Value, json};
use sqlx::PgConnection;

fn full(rule_ref: &str, trigger_ref: &str, action_ref: &str) -> NewRule {
    NewRule {
        r#ref: rule_ref.to_owned(),
        label: Some("Page for a full disk".to_owned()),
        description: Some("At night too".to_owned()),
        enabled: false,
        mode: RuleMode::Shadow,
        trigger_ref: trigger_ref.to_owned(),
        trigger_params: json!({"path": "alertmanager"}),
        condition: ConditionMode::Any,
        conditions: json!([{"field": "event.payload.n", "operator": "equals", "value": 1}]),
        action_ref: action_ref.to_owned(),
        action_params: json!({"text": "{{ event.payload.text }}"}),
        window: Some(json!({"throttle": "15m"})),
        retry: Some(
            json!({"count": 3, "delay": 1.5, "factor": 2.0, "max_delay": 60.0, "jitter": 0.1, "on": ["failed"]}),
        ),
        config: Some(json!({"url": "https://a.example"})),
    }
}

fn expected(row: &Rule, new: NewRule) -> Rule {
    Rule {
        id: row.id,
        r#ref: new.r#ref,
        pack: None,
        pack_ref: None,
        label: new.label,
        description: new.description,
        enabled: new.enabled,
        mode: new.mode,
        trigger: None,
        trigger_ref: new.trigger_ref,
        trigger_params: new.trigger_params,
        condition: new.condition,
        conditions: new.conditions,
        action: None,
        action_ref: new.action_ref,
        action_params: new.action_params,
        window: new.window,
        retry: new.retry,
        config: new.config,
        owner: None,
        version: 1,
        created: row.created,
        updated: row.updated,
    }
}

/// The kept versions of a rule as (number, definition).
async fn versions(connection: &mut PgConnection, rule_ref: &str) -> Vec<(i32, Value)> {
    let versions = RuleRepository::list_versions(connection, rule_ref).await.expect("versions can be read");
    versions.into_iter().map(|version| (version.version, version.definition)).collect()
}

#[test]
fn test_table_name_has_the_schema() {
    assert_eq!(RuleRepository::table_name(), "attune.rule");
}

#[tokio::test]
async fn test_create_minimal() {
    let mut tx = transaction().await;
    let fixture = RuleFixture::new_unique();
    let rule = fixture.clone().create(&mut tx).await.unwrap();
    assert_eq!(rule, expected(&rule, fixture.new));
}

#[tokio::test]
async fn test_create_with_everything() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let trigger = TriggerFixture::new_unique().create(&mut tx).await.unwrap();
    let action = ActionFixture::new_unique().create(&mut tx).await.unwrap();
    let new = full(&format!("{}.page", pack.r#ref), &trigger.r#ref, &action.r#ref);
    let rule = RuleRepository::create(&mut tx, Some(pack.id), &new).await.unwrap();
    let expected = Rule {
        pack: Some(pack.id),
        pack_ref: Some(pack.r#ref),
        trigger: Some(trigger.id),
        action: Some(action.id),
        ..expected(&rule, new)
    };
    assert_eq!(rule, expected);
}

#[tokio::test]
async fn test_create_ref_taken() {
    let mut tx = transaction().await;
    let rule = RuleFixture::new_unique().create(&mut tx).await.unwrap();
    let again = RuleFixture::new(&rule.r#ref, "test.a", "test.b").create(&mut tx).await;
    assert_already_exists(again, "rule", "ref", &rule.r#ref);
}

#[tokio::test]
async fn test_create_invalid_refs() {
    for rule_ref in ["", "page", "ops.", ".page", "Ops.page"] {
        let mut tx = transaction().await;
        let created = RuleFixture::new(rule_ref, "test.a", "test.b").create(&mut tx).await;
        assert_invalid_value(created, "rule", "rule_ref_format");
    }
}

#[tokio::test]
async fn test_create_invalid_pack() {
    let mut tx = transaction().await;
    let new = RuleFixture::new_unique().new;
    let created = RuleRepository::create(&mut tx, Some(NO_SUCH_ID), &new).await;
    assert_invalid_reference(created, "rule", "pack");
}

#[tokio::test]
async fn test_create_conditions_that_are_no_list() {
    let mut tx = transaction().await;
    let mut fixture = RuleFixture::new_unique();
    fixture.new.conditions = json!({"field": "event.payload.n"});
    assert_invalid_value(fixture.create(&mut tx).await, "rule", "rule_conditions_list");
}

#[tokio::test]
async fn test_create_raises_the_rule_set() {
    let mut tx = transaction().await;
    let before = rule_set(&mut tx).await;
    RuleFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(rule_set(&mut tx).await, before + 1);
}

#[tokio::test]
async fn test_put_makes_a_rule() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let new = full(&format!("{}.page", pack.r#ref), "test.alert", "test.page");
    let rule = RuleRepository::put(&mut tx, pack.id, &new).await.unwrap();
    let expected = Rule { pack: Some(pack.id), pack_ref: Some(pack.r#ref), ..expected(&rule, new) };
    assert_eq!(rule, expected);
    assert_eq!(versions(&mut tx, &rule.r#ref).await.len(), 1);
}

#[tokio::test]
async fn test_put_brings_a_rule_to_the_definition() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let trigger = TriggerFixture::new_unique().create(&mut tx).await.unwrap();
    let rule_ref = format!("{}.page", pack.r#ref);
    let before =
        RuleRepository::put(&mut tx, pack.id, &full(&rule_ref, &trigger.r#ref, "test.page")).await.unwrap();
    let set = rule_set(&mut tx).await;
    let new = NewRule::of(&rule_ref, "test.other", "test.other");
    let after = RuleRepository::put(&mut tx, pack.id, &new).await.unwrap();
    assert_eq!((after.id, after.created), (before.id, before.created));
    let expected =
        Rule { pack: Some(pack.id), pack_ref: Some(pack.r#ref), version: 2, ..expected(&after, new) };
    assert_eq!(after, expected);
    // The version before is kept as it was.
    let kept = versions(&mut tx, &rule_ref).await;
    assert_eq!(kept.iter().map(|version| version.0).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(kept[0].1["trigger_params"], json!({"path": "alertmanager"}));
    assert_eq!(kept[1].1["trigger_params"], json!({}));
    assert_eq!(rule_set(&mut tx).await, set + 1);
}

#[tokio::test]
async fn test_put_same_definition_changes_nothing() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let trigger = TriggerFixture::new_unique().create(&mut tx).await.unwrap();
    let new = full(&format!("{}.page", pack.r#ref), &trigger.r#ref, "test.page");
    let before = RuleRepository::put(&mut tx, pack.id, &new).await.unwrap();
    let set = rule_set(&mut tx).await;
    assert_eq!(RuleRepository::put(&mut tx, pack.id, &new).await.unwrap(), before);
    assert_eq!(versions(&mut tx, &before.r#ref).await.len(), 1);
    assert_eq!(rule_set(&mut tx).await, set);
}

#[tokio::test]
async fn test_put_finds_a_trigger_that_came_later() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let trigger_ref = unique_trigger_ref();
    let new = full(&format!("{}.page", pack.r#ref), &trigger_ref, "test.page");
    assert_eq!(RuleRepository::put(&mut tx, pack.id, &new).await.unwrap().trigger, None);
    let trigger = TriggerFixture::new(&trigger_ref).create(&mut tx).await.unwrap();
    let rule = RuleRepository::put(&mut tx, pack.id, &new).await.unwrap();
    assert_eq!((rule.trigger, rule.version), (Some(trigger.id), 2));
}

#[tokio::test]
async fn test_find_by_id_exists() {
    let mut tx = transaction().await;
    let rule = RuleFixture::new_unique().create(&mut tx).await.unwrap();
    RuleFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(RuleRepository::find_by_id(&mut *tx, rule.id).await.unwrap(), Some(rule));
}

#[tokio::test]
async fn test_find_by_id_not_found() {
    let mut tx = transaction().await;
    assert_eq!(RuleRepository::find_by_id(&mut *tx, NO_SUCH_ID).await.unwrap(), None);
}

#[tokio::test]
async fn test_get_by_id_not_found() {
    let mut tx = transaction().await;
    assert_not_found(RuleRepository::get_by_id(&mut *tx, NO_SUCH_ID).await, "rule", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_get_by_ref() {
    let mut tx = transaction().await;
    let rule = RuleFixture::new_unique().create(&mut tx).await.unwrap();
    assert_not_found(RuleRepository::get_by_ref(&mut *tx, "test.none").await, "rule", "test.none");
    assert_eq!(RuleRepository::get_by_ref(&mut *tx, &rule.r#ref).await.unwrap(), rule);
}

#[tokio::test]
async fn test_list_empty() {
    let mut tx = transaction().await;
    assert_eq!(RuleRepository::list(&mut *tx).await.unwrap(), []);
}

#[tokio::test]
async fn test_list_by_ref() {
    let mut tx = transaction().await;
    let prefix = unique_rule_ref();
    let second = RuleFixture::new(&format!("{prefix}.b"), "test.a", "test.a").create(&mut tx).await.unwrap();
    let first = RuleFixture::new(&format!("{prefix}.a"), "test.a", "test.a").create(&mut tx).await.unwrap();
    assert_eq!(RuleRepository::list(&mut *tx).await.unwrap(), [first, second]);
}

#[tokio::test]
async fn test_list_by_trigger_ref() {
    let mut tx = transaction().await;
    let prefix = unique_rule_ref();
    let second = RuleFixture::new(&format!("{prefix}.b"), "test.x", "test.a").create(&mut tx).await.unwrap();
    let first = RuleFixture::new(&format!("{prefix}.a"), "test.x", "test.a").create(&mut tx).await.unwrap();
    RuleFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(RuleRepository::list_by_trigger_ref(&mut *tx, "test.x").await.unwrap(), [first, second]);
}

#[tokio::test]
async fn test_list_of_pack() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let second = RuleFixture::new_unique().with_pack(&pack, "b").create(&mut tx).await.unwrap();
    let first = RuleFixture::new_unique().with_pack(&pack, "a").create(&mut tx).await.unwrap();
    RuleFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(RuleRepository::list_of_pack(&mut *tx, pack.id).await.unwrap(), [first, second]);
}

#[tokio::test]
async fn test_remove_others_keeps_what_the_pack_contains() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let kept = RuleFixture::new_unique().with_pack(&pack, "kept").create(&mut tx).await.unwrap();
    RuleFixture::new_unique().with_pack(&pack, "old").create(&mut tx).await.unwrap();
    let own = RuleFixture::new_unique().create(&mut tx).await.unwrap();
    let set = rule_set(&mut tx).await;
    let kept_refs = [kept.r#ref.clone()];
    assert_eq!(RuleRepository::remove_others(&mut tx, pack.id, &kept_refs).await.unwrap(), 1);
    assert_eq!(rule_set(&mut tx).await, set + 1);
    // Nothing left to remove, nothing changed.
    assert_eq!(RuleRepository::remove_others(&mut tx, pack.id, &kept_refs).await.unwrap(), 0);
    assert_eq!(rule_set(&mut tx).await, set + 1);
    assert_eq!(RuleRepository::list(&mut *tx).await.unwrap(), [kept, own]);
}

#[tokio::test]
async fn test_update_everything() {
    let mut tx = transaction().await;
    let rule = RuleFixture::new_unique().create(&mut tx).await.unwrap();
    let set = rule_set(&mut tx).await;
    let update = RuleUpdate {
        label: Some("New".to_owned()),
        description: Some("Newer".to_owned()),
        enabled: Some(false),
        mode: Some(RuleMode::Shadow),
        trigger_params: Some(json!({"a": 1})),
        condition: Some(ConditionMode::Any),
        conditions: Some(json!([{"field": "event.payload.n", "operator": "exists"}])),
        action_params: Some(json!({"b": 2})),
        window: Some(json!({"debounce": 60})),
        unchanged_since: Some(rule.updated),
    };
    let updated = RuleRepository::update(&mut tx, rule.id, &update).await.unwrap();
    assert!(updated.updated > rule.updated);
    let expected = Rule {
        label: Some("New".to_owned()),
        description: Some("Newer".to_owned()),
        enabled: false,
        mode: RuleMode::Shadow,
        trigger_params: json!({"a": 1}),
        condition: ConditionMode::Any,
        conditions: json!([{"field": "event.payload.n", "operator": "exists"}]),
        action_params: json!({"b": 2}),
        window: Some(json!({"debounce": 60})),
        version: 2,
        updated: updated.updated,
        ..rule
    };
    assert_eq!(updated, expected);
    let kept = versions(&mut tx, &updated.r#ref).await;
    assert_eq!((kept.len(), &kept[1].1["action_params"]), (2, &json!({"b": 2})));
    assert_eq!(rule_set(&mut tx).await, set + 1);
}

#[tokio::test]
async fn test_update_one_column_keeps_the_others() {
    let mut tx = transaction().await;
    let new = full(&unique_rule_ref(), "test.alert", "test.page");
    let rule = RuleRepository::create(&mut tx, None, &new).await.unwrap();
    let update = RuleUpdate { enabled: Some(true), ..RuleUpdate::default() };
    let updated = RuleRepository::update(&mut tx, rule.id, &update).await.unwrap();
    assert_eq!(updated, Rule { enabled: true, version: 2, updated: updated.updated, ..rule });
}

#[tokio::test]
async fn test_update_no_change() {
    let mut tx = transaction().await;
    let rule = RuleFixture::new_unique().create(&mut tx).await.unwrap();
    let set = rule_set(&mut tx).await;
    let updated = RuleRepository::update(&mut tx, rule.id, &RuleUpdate::default()).await.unwrap();
    assert_eq!(updated, rule);
    assert_eq!(versions(&mut tx, &rule.r#ref).await.len(), 1);
    assert_eq!(rule_set(&mut tx).await, set);
}

#[tokio::test]
async fn test_update_not_found() {
    let mut tx = transaction().await;
    let update = RuleUpdate { enabled: Some(true), ..RuleUpdate::default() };
    assert_not_found(RuleRepository::update(&mut tx, NO_SUCH_ID, &update).await, "rule", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_delete_keeps_the_versions_and_raises_the_rule_set() {
    let mut tx = transaction().await;
    let kept = RuleFixture::new_unique().create(&mut tx).await.unwrap();
    let rule = RuleFixture::new_unique().create(&mut tx).await.unwrap();
    let set = rule_set(&mut tx).await;
    assert!(RuleRepository::delete(&mut tx, rule.id).await.unwrap());
    assert_eq!(RuleRepository::list(&mut *tx).await.unwrap(), [kept]);
    let versions = versions(&mut tx, &rule.r#ref).await;
    assert_eq!(versions.iter().map(|version| version.0).collect::<Vec<_>>(), [1, 2], "and the removal");
    assert_eq!(rule_set(&mut tx).await, set + 1);
}

#[tokio::test]
async fn test_delete_not_found() {
    let mut tx = transaction().await;
    let set = rule_set(&mut tx).await;
    assert!(!RuleRepository::delete(&mut tx, NO_SUCH_ID).await.unwrap());
    assert_eq!(rule_set(&mut tx).await, set);
}

#[tokio::test]
async fn test_delete_of_the_owner_keeps_the_rule() {
    let mut tx = transaction().await;
    let owner = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    let rule = RuleFixture::new_unique().create(&mut tx).await.unwrap();
    sqlx::query("update attune.rule set owner = $2 where id = $1")
        .bind(rule.id)
        .bind(owner.id)
        .execute(&mut *tx)
        .await
        .unwrap();
    IdentityRepository::delete(&mut *tx, owner.id).await.unwrap();
    assert_eq!(RuleRepository::get_by_id(&mut *tx, rule.id).await.unwrap().owner, None);
}

#[tokio::test]
async fn test_list_limit() {
    let mut tx = transaction().await;
    let prefix = unique_rule_ref();
    sqlx::query(
        "insert into attune.rule (ref, trigger_ref, action_ref)
         select format('%s.%s', $1::text, lpad(n::text, 4, '0')), 'test.x', 'test.a'
         from generate_series(0, 1000) n",
    )
    .bind(&prefix)
    .execute(&mut *tx)
    .await
    .unwrap();
    for listed in [
        RuleRepository::list(&mut *tx).await.unwrap(),
        RuleRepository::list_by_trigger_ref(&mut *tx, "test.x").await.unwrap(),
        RuleRepository::list_by_action_ref(&mut *tx, "test.a").await.unwrap(),
    ] {
        assert_eq!(listed.len(), usize::try_from(LIST_LIMIT).unwrap());
        assert_eq!(listed[999].r#ref, format!("{prefix}.0999"));
    }
}

#[tokio::test]
async fn test_list_by_action_ref() {
    let mut tx = transaction().await;
    let prefix = unique_rule_ref();
    let second = RuleFixture::new(&format!("{prefix}.b"), "test.x", "test.a").create(&mut tx).await.unwrap();
    let first = RuleFixture::new(&format!("{prefix}.a"), "test.y", "test.a").create(&mut tx).await.unwrap();
    RuleFixture::new(&format!("{prefix}.c"), "test.a", "test.b").create(&mut tx).await.unwrap();
    assert_eq!(RuleRepository::list_by_action_ref(&mut *tx, "test.a").await.unwrap(), [first, second]);
}

#[tokio::test]
async fn test_create_refused_values_are_named() {
    let mut tx = transaction().await;
    let mut fixture = RuleFixture::new_unique();
    fixture.new.conditions = json!({"all": []});
    assert_refused_value(fixture.create(&mut tx).await, "rule", "conditions", r#"{"all":[]}"#);
}

#[tokio::test]
async fn test_put_refused_value_of_an_existing_rule_is_named() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let new = full(&format!("{}.page", pack.r#ref), "test.alert", "test.page");
    RuleRepository::put(&mut tx, pack.id, &new).await.unwrap();
    let refused = RuleRepository::put(&mut tx, pack.id, &NewRule { conditions: json!(1), ..new }).await;
    assert_refused_value(refused, "rule", "conditions", "1");
}

#[tokio::test]
async fn test_update_refused_values_are_named() {
    let mut tx = transaction().await;
    let rule = RuleFixture::new_unique().create(&mut tx).await.unwrap();
    let update = RuleUpdate { conditions: Some(json!("none")), ..RuleUpdate::default() };
    assert_refused_value(
        RuleRepository::update(&mut tx, rule.id, &update).await,
        "rule",
        "conditions",
        "none",
    );
}

#[tokio::test]
async fn test_update_stale() {
    let mut tx = transaction().await;
    let seen = RuleFixture::new_unique().create(&mut tx).await.unwrap();
    let update = |label: &str| RuleUpdate {
        label: Some(label.to_owned()),
        unchanged_since: Some(seen.updated),
        ..RuleUpdate::default()
    };
    let first = RuleRepository::update(&mut tx, seen.id, &update("first")).await.unwrap();
    let set = rule_set(&mut tx).await;
    assert_conflict(RuleRepository::update(&mut tx, seen.id, &update("second")).await, "rule", &seen.id);
    // Not even for nothing is the row given to one who saw another.
    let nothing = RuleUpdate { unchanged_since: Some(seen.updated), ..RuleUpdate::default() };
    assert_conflict(RuleRepository::update(&mut tx, seen.id, &nothing).await, "rule", &seen.id);
    assert_eq!(RuleRepository::get_by_id(&mut *tx, seen.id).await.unwrap(), first);
    assert_eq!(versions(&mut tx, &seen.r#ref).await.len(), 2);
    assert_eq!(rule_set(&mut tx).await, set);
}

#[tokio::test]
async fn test_rules_are_found_by_what_they_use() {
    let mut tx = transaction().await;
    let (trigger, action) = (unique_trigger_ref(), unique_action_ref());
    let new = |trigger_ref: &str, action_ref: &str, enabled| NewRule {
        enabled,
        ..full(&unique_rule_ref(), trigger_ref, action_ref)
    };
    let mut expected = Vec::new();
    for rule in [
        new(&trigger, &unique_action_ref(), true),
        new(&unique_trigger_ref(), &action, true),
        new(&trigger, &action, true),
    ] {
        expected.push(RuleRepository::create(&mut tx, None, &rule).await.unwrap());
    }
    // Disabled ones and others are not.
    for rule in [new(&trigger, &action, false), new(&unique_trigger_ref(), &unique_action_ref(), true)] {
        RuleRepository::create(&mut tx, None, &rule).await.unwrap();
    }
    expected.sort_by(|a, b| a.r#ref.cmp(&b.r#ref));
    let (triggers, actions) = ([trigger], [action]);
    assert_eq!(RuleRepository::list_using(&mut *tx, &triggers, &actions).await.unwrap(), expected);
    assert_eq!(RuleRepository::list_using(&mut *tx, &[], &[]).await.unwrap(), []);
}
