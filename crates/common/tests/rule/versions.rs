//! The past versions of a rule: what makes one, and which one was in force.

use attune_common::models::enforcement::ConditionMode;
use attune_common::models::rule::{NewRule, RuleMode, RuleUpdate, RuleVersion};
use attune_common::repositories::{PackRepository, RuleRepository};
use attune_testkit::{TestDatabase, transaction};
use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::helpers::checks::*;
use crate::helpers::steps::*;
use crate::helpers::*;
use crate::{full, versions};

#[tokio::test]
async fn test_create_keeps_the_first_version() {
    let mut tx = transaction().await;
    let rule = RuleFixture::new_unique().create(&mut tx).await.unwrap();
    let kept = versions(&mut tx, &rule.r#ref).await;
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].0, 1);
    assert_eq!(kept[0].1["ref"], json!(rule.r#ref));
    assert_eq!(kept[0].1["conditions"], json!([]));
}

#[tokio::test]
async fn test_put_every_difference_is_a_change() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let base = full(&format!("{}.page", pack.r#ref), "test.alert", "test.page");
    RuleRepository::put(&mut tx, pack.id, &base).await.unwrap();
    let mut version = 1;
    for other in [
        NewRule { label: None, ..base.clone() },
        NewRule { description: None, ..base.clone() },
        NewRule { enabled: true, ..base.clone() },
        NewRule { mode: RuleMode::Active, ..base.clone() },
        NewRule { trigger_ref: "test.other".to_owned(), ..base.clone() },
        NewRule { trigger_params: json!({}), ..base.clone() },
        NewRule { condition: ConditionMode::All, ..base.clone() },
        NewRule { conditions: json!([]), ..base.clone() },
        NewRule { action_ref: "test.other".to_owned(), ..base.clone() },
        NewRule { action_params: json!({}), ..base.clone() },
        NewRule { window: None, ..base.clone() },
        NewRule { window: Some(json!({"throttle": "16m"})), ..base.clone() },
        NewRule { retry: None, ..base.clone() },
        NewRule { config: None, ..base.clone() },
        NewRule { config: Some(json!({"url": "https://b.example"})), ..base.clone() },
    ] {
        for new in [other, base.clone()] {
            version += 1;
            let rule = RuleRepository::put(&mut tx, pack.id, &new).await.unwrap();
            assert_eq!(rule.version, version, "{new:?}");
        }
    }
}

#[tokio::test]
async fn test_update_to_the_same_makes_no_version() {
    let mut tx = transaction().await;
    let new = full(&unique_rule_ref(), "test.alert", "test.page");
    let rule = RuleRepository::create(&mut tx, None, &new).await.unwrap();
    let set = rule_set(&mut tx).await;
    let update = RuleUpdate {
        label: new.label,
        description: new.description,
        enabled: Some(new.enabled),
        mode: Some(new.mode),
        trigger_params: Some(new.trigger_params),
        condition: Some(new.condition),
        conditions: Some(new.conditions),
        action_params: Some(new.action_params),
        window: new.window,
        unchanged_since: Some(rule.updated),
    };
    assert_eq!(RuleRepository::update(&mut tx, rule.id, &update).await.unwrap(), rule);
    assert_eq!(versions(&mut tx, &rule.r#ref).await.len(), 1);
    assert_eq!(rule_set(&mut tx).await, set);
}

#[tokio::test]
async fn test_update_of_each_column_makes_a_version() {
    let mut tx = transaction().await;
    let new = full(&unique_rule_ref(), "test.alert", "test.page");
    let rule = RuleRepository::create(&mut tx, None, &new).await.unwrap();
    let set = rule_set(&mut tx).await;
    let nothing = RuleUpdate::default;
    let updates = [
        RuleUpdate { label: Some("New".to_owned()), ..nothing() },
        RuleUpdate { description: Some("Newer".to_owned()), ..nothing() },
        RuleUpdate { enabled: Some(true), ..nothing() },
        RuleUpdate { mode: Some(RuleMode::Active), ..nothing() },
        RuleUpdate { trigger_params: Some(json!({})), ..nothing() },
        RuleUpdate { condition: Some(ConditionMode::All), ..nothing() },
        RuleUpdate { conditions: Some(json!([])), ..nothing() },
        RuleUpdate { action_params: Some(json!({})), ..nothing() },
        RuleUpdate { window: Some(json!({"throttle": "16m"})), ..nothing() },
        RuleUpdate { window: Some(Value::Null), ..nothing() },
    ];
    for (update, number) in updates.iter().zip(2..) {
        let updated = RuleRepository::update(&mut tx, rule.id, update).await.unwrap();
        assert_eq!(updated.version, number, "{update:?}");
    }
    assert_eq!(versions(&mut tx, &rule.r#ref).await.len(), 11);
    assert_eq!(rule_set(&mut tx).await, set + 10);
}

#[tokio::test]
async fn test_list_versions_is_the_whole_history() {
    let mut tx = transaction().await;
    RuleFixture::new_unique().create(&mut tx).await.unwrap();
    let set = rule_set(&mut tx).await;
    let rule = RuleFixture::new_unique().create(&mut tx).await.unwrap();
    let update = RuleUpdate { action_params: Some(json!({"a": 1})), ..RuleUpdate::default() };
    let updated = RuleRepository::update(&mut tx, rule.id, &update).await.unwrap();
    let kept = RuleRepository::list_versions(&mut *tx, &rule.r#ref).await.unwrap();
    let expected = [(&kept[0], 1), (&kept[1], 2)].map(|(row, version)| RuleVersion {
        id: row.id,
        rule: Some(rule.id),
        rule_ref: rule.r#ref.clone(),
        trigger_ref: rule.trigger_ref.clone(),
        version,
        rule_set_version: set + i64::from(version),
        removed: false,
        definition: row.definition.clone(),
        created: row.created,
    });
    assert_eq!(kept, expected);
    assert_eq!(kept[0].definition["action_params"], json!({}));
    assert_eq!(kept[1].definition["action_params"], json!({"a": 1}));
    // A version is the row itself, in every column.
    let row: Value = sqlx::query_scalar("select to_jsonb(rule) from attune.rule where id = $1")
        .bind(updated.id)
        .fetch_one(&mut *tx)
        .await
        .unwrap();
    assert_eq!(kept[1].definition, row);
}

#[tokio::test]
async fn test_list_versions_of_nothing() {
    let mut tx = transaction().await;
    RuleFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(RuleRepository::list_versions(&mut *tx, "test.none").await.unwrap(), []);
}

#[tokio::test]
async fn test_get_version_of_a_removed_rule() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let rule = RuleFixture::new_unique().with_pack(&pack, "page").create(&mut tx).await.unwrap();
    PackRepository::delete(&mut *tx, pack.id).await.unwrap();
    let kept = RuleRepository::get_version(&mut *tx, &rule.r#ref, 1).await.unwrap();
    assert_eq!((kept.rule, kept.definition["id"].as_i64()), (None, Some(rule.id)));
}

#[tokio::test]
async fn test_get_version_not_found() {
    let mut tx = transaction().await;
    let rule = RuleFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(RuleRepository::find_version(&mut *tx, &rule.r#ref, 2).await.unwrap(), None);
    let got = RuleRepository::get_version(&mut *tx, &rule.r#ref, 2).await;
    assert_not_found(got, "rule version", &format!("{} 2", rule.r#ref));
}

#[tokio::test]
async fn test_find_version_of_a_rule_that_was_made_again() {
    let mut tx = transaction().await;
    let first = RuleFixture::new_unique().create(&mut tx).await.unwrap();
    RuleRepository::delete(&mut tx, first.id).await.unwrap();
    let mut again = RuleFixture::new(&first.r#ref, "test.x", "test.a");
    again.new.label = Some("Again".to_owned());
    let again = again.create(&mut tx).await.unwrap();
    let found = RuleRepository::get_version(&mut *tx, &first.r#ref, 1).await.unwrap();
    assert_eq!((found.rule, &found.definition["label"]), (Some(again.id), &json!("Again")));
    let all = RuleRepository::list_versions(&mut *tx, &first.r#ref).await.unwrap();
    assert_eq!(
        all.iter().map(|v| (v.rule, v.version, v.removed)).collect::<Vec<_>>(),
        [(None, 1, false), (None, 2, true), (Some(again.id), 1, false)]
    );
}

#[tokio::test]
async fn test_version_at_is_the_rule_as_it_was_then() {
    let mut tx = transaction().await;
    let rule = RuleFixture::new_unique().create(&mut tx).await.unwrap();
    let event = EventFixture::new_unique().create(&mut tx).await.unwrap();
    let update = RuleUpdate { enabled: Some(false), ..RuleUpdate::default() };
    RuleRepository::update(&mut tx, rule.id, &update).await.unwrap();
    let later = EventFixture::new_unique().create(&mut tx).await.unwrap();
    let before_all = rule.created - TimeDelta::seconds(1);
    for (time, expected) in [(before_all, None), (event.created, Some(1)), (later.created, Some(2))] {
        let found = RuleRepository::version_at(&mut *tx, &rule.r#ref, time).await.unwrap();
        assert_eq!(found.map(|version| version.version), expected, "{time}");
    }
    assert_eq!(RuleRepository::version_at(&mut *tx, "test.none", later.created).await.unwrap(), None);
}

#[tokio::test]
async fn test_update_by_two_at_once_keeps_both_versions() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let rule = RuleFixture::new_unique().create(&mut connection).await.unwrap();
    let set = rule_set(&mut connection).await;
    let off = RuleUpdate { enabled: Some(false), ..RuleUpdate::default() };
    let label = RuleUpdate { label: Some("New".to_owned()), ..RuleUpdate::default() };
    let mut open = attune_common::db::begin(database.pool()).await.unwrap();
    RuleRepository::update(&mut open, rule.id, &off).await.unwrap();
    let (second, committed) = tokio::join!(RuleRepository::update(&mut connection, rule.id, &label), async {
        until_blocked(database.pool(), 1).await;
        open.commit().await
    });
    committed.unwrap();
    let second = second.unwrap();
    assert_eq!((second.version, second.enabled, second.label.as_deref()), (3, false, Some("New")));
    let kept = versions(&mut connection, &rule.r#ref).await;
    assert_eq!(kept.iter().map(|version| version.0).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!((&kept[1].1["label"], &kept[2].1["enabled"]), (&json!(null), &json!(false)));
    assert_eq!(rule_set(&mut connection).await, set + 2);
}

#[tokio::test]
async fn test_put_by_two_at_once_is_one_rule() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let pack = PackFixture::new_unique().create(&mut connection).await.unwrap();
    let set = rule_set(&mut connection).await;
    let new = full(&format!("{}.page", pack.r#ref), "test.alert", "test.page");
    let mut open = attune_common::db::begin(database.pool()).await.unwrap();
    let first = RuleRepository::put(&mut open, pack.id, &new).await.unwrap();
    let (second, committed) = tokio::join!(RuleRepository::put(&mut connection, pack.id, &new), async {
        until_blocked(database.pool(), 1).await;
        open.commit().await
    });
    committed.unwrap();
    assert_eq!(second.unwrap(), first);
    assert_eq!(versions(&mut connection, &first.r#ref).await.len(), 1);
    assert_eq!(rule_set(&mut connection).await, set + 1);
}

/// Which version of which rule was in force for the trigger, by the rule set.
async fn in_force(tx: &mut sqlx::PgConnection, trigger_ref: &str, set: i64) -> Vec<(String, i32)> {
    let found = RuleRepository::list_in_force(&mut *tx, trigger_ref, set, None, 10).await;
    let found = found.expect("the rules in force");
    found.into_iter().map(|version| (version.rule_ref, version.version)).collect()
}

#[tokio::test]
async fn test_the_rules_in_force_are_told_by_the_version_of_the_rule_set() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let name = |name: &str| format!("{}.{name}", pack.r#ref);
    let trigger = name("happened");
    let new = |rule: &str, trigger: &str| full(&name(rule), trigger, "test.page");
    let before = rule_set(&mut tx).await;
    let first = RuleRepository::put(&mut tx, pack.id, &new("a", &trigger)).await.unwrap();
    let one = rule_set(&mut tx).await;
    let second = RuleRepository::put(&mut tx, pack.id, &new("b", &trigger)).await.unwrap();
    let two = rule_set(&mut tx).await;
    let on = RuleUpdate { enabled: Some(true), ..RuleUpdate::default() };
    RuleRepository::update(&mut tx, first.id, &on).await.unwrap();
    let changed = rule_set(&mut tx).await;
    // The second one listens elsewhere from now on.
    RuleRepository::put(&mut tx, pack.id, &new("b", "test.other")).await.unwrap();
    let moved = rule_set(&mut tx).await;
    assert!(RuleRepository::delete(&mut tx, first.id).await.unwrap());
    let removed = rule_set(&mut tx).await;
    let again = RuleRepository::create(&mut tx, None, &new("a", &trigger)).await.unwrap();
    let made_again = rule_set(&mut tx).await;
    let (a, b) = (name("a"), name("b"));
    let of = |rules: &[(&String, i32)]| rules.iter().map(|(r, v)| ((*r).clone(), *v)).collect::<Vec<_>>();
    for (set, expected) in [
        (before, of(&[])),
        (one, of(&[(&a, 1)])),
        (two, of(&[(&a, 1), (&b, 1)])),
        (changed, of(&[(&a, 2), (&b, 1)])),
        (moved, of(&[(&a, 2)])),
        (removed, of(&[])),
        (made_again, of(&[(&a, 1)])),
        (i64::MAX, of(&[(&a, 1)])),
    ] {
        assert_eq!(in_force(&mut tx, &trigger, set).await, expected, "{set}");
    }
    assert_eq!(in_force(&mut tx, "test.other", moved).await, of(&[(&b, 2)]));
    assert_eq!(again.version, 1);
    assert_eq!(second.version, 1);
}

#[tokio::test]
async fn test_list_in_force_gives_pages() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let trigger = format!("{}.happened", pack.r#ref);
    for name in ["c", "a", "b"] {
        let new = full(&format!("{}.{name}", pack.r#ref), &trigger, "test.page");
        RuleRepository::put(&mut tx, pack.id, &new).await.unwrap();
    }
    let set = rule_set(&mut tx).await;
    let mut after = None;
    let mut met = Vec::new();
    loop {
        let page = RuleRepository::list_in_force(&mut *tx, &trigger, set, after.as_deref(), 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.rule_ref.clone());
        met.push(page.into_iter().map(|version| version.rule_ref).collect::<Vec<_>>());
    }
    let names = |names: &[&str]| names.iter().map(|n| format!("{}.{n}", pack.r#ref)).collect::<Vec<_>>();
    assert_eq!(met, [names(&["a", "b"]), names(&["c"])]);
}

#[tokio::test]
async fn test_every_way_of_removal_is_a_version() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let mut rules = Vec::new();
    for name in ["alone", "dropped", "gone"] {
        let fixture = RuleFixture::new_unique().with_pack(&pack, name);
        rules.push(fixture.create(&mut tx).await.unwrap());
    }
    let before = rule_set(&mut tx).await;
    RuleRepository::delete(&mut tx, rules[0].id).await.unwrap();
    let kept = [rules[2].r#ref.clone()];
    assert_eq!(RuleRepository::remove_others(&mut tx, pack.id, &kept).await.unwrap(), 1);
    assert!(PackRepository::delete(&mut *tx, pack.id).await.unwrap());
    assert_eq!(rule_set(&mut tx).await, before + 3);
    for (rule, set) in rules.iter().zip(1..) {
        let last = RuleRepository::version_in_force(&mut *tx, &rule.r#ref, i64::MAX).await.unwrap().unwrap();
        assert!(last.removed, "{}", rule.r#ref);
        assert_eq!((last.rule, last.version, last.rule_set_version), (None, 2, before + set));
        assert_eq!(last.definition["id"], json!(rule.id));
        let until = RuleRepository::version_in_force(&mut *tx, &rule.r#ref, before).await.unwrap().unwrap();
        assert_eq!((until.version, until.removed), (1, false));
        assert_eq!(RuleRepository::version_at(&mut *tx, &rule.r#ref, last.created).await.unwrap(), None);
    }
    assert_eq!(RuleRepository::version_in_force(&mut *tx, "test.none", before).await.unwrap(), None);
}

#[tokio::test]
async fn test_search_versions_goes_back_from_the_latest() {
    let mut tx = transaction().await;
    let rule = RuleFixture::new_unique().create(&mut tx).await.unwrap();
    let off = RuleUpdate { enabled: Some(false), ..RuleUpdate::default() };
    RuleRepository::update(&mut tx, rule.id, &off).await.unwrap();
    RuleRepository::delete(&mut tx, rule.id).await.unwrap();
    let page = RuleRepository::search_versions(&mut *tx, &rule.r#ref, None, 2).await.unwrap();
    assert_eq!(page.iter().map(|v| (v.version, v.removed)).collect::<Vec<_>>(), [(3, true), (2, false)]);
    let page = RuleRepository::search_versions(&mut *tx, &rule.r#ref, Some(page[1].id), 2).await.unwrap();
    assert_eq!(page.iter().map(|v| (v.version, v.removed)).collect::<Vec<_>>(), [(1, false)]);
}

#[tokio::test]
async fn test_replace_sets_every_member_and_the_same_makes_no_version() {
    let mut tx = transaction().await;
    let old =
        RuleRepository::create(&mut tx, None, &full(&unique_rule_ref(), "test.a", "test.b")).await.unwrap();
    let new = NewRule::of(&old.r#ref, "test.other", "test.page");
    let set = rule_set(&mut tx).await;
    let replaced = RuleRepository::replace(&mut tx, old.id, &new, Some(old.updated)).await.unwrap();
    assert_eq!((replaced.version, replaced.label.as_deref(), replaced.mode), (2, None, RuleMode::Active));
    assert_eq!((&*replaced.trigger_ref, &*replaced.action_ref), ("test.other", "test.page"));
    assert_eq!(replaced.conditions, json!([]));
    let same = RuleRepository::replace(&mut tx, old.id, &new, None).await.unwrap();
    assert_eq!(same, replaced);
    assert_eq!((rule_set(&mut tx).await, versions(&mut tx, &old.r#ref).await.len()), (set + 1, 2));
    let stale = RuleRepository::replace(&mut tx, old.id, &new, Some(old.updated)).await;
    assert_conflict(stale, "rule", &old.id);
    let none = RuleRepository::replace(&mut tx, NO_SUCH_ID, &new, None).await;
    assert_not_found(none, "rule", &NO_SUCH_ID.to_string());
}

#[tokio::test]
async fn test_replace_links_what_its_refs_name() {
    let mut tx = transaction().await;
    let trigger = TriggerFixture::new_unique().create(&mut tx).await.unwrap();
    let action = ActionFixture::new_unique().create(&mut tx).await.unwrap();
    let old = RuleFixture::new_unique().create(&mut tx).await.unwrap();
    let new = NewRule::of(&old.r#ref, &trigger.r#ref, &action.r#ref);
    let replaced = RuleRepository::replace(&mut tx, old.id, &new, None).await.unwrap();
    assert_eq!((replaced.trigger, replaced.action), (Some(trigger.id), Some(action.id)));
}

#[tokio::test]
async fn test_set_config_makes_a_version_only_of_what_differs() {
    let mut tx = transaction().await;
    let first = RuleFixture::new_unique().create(&mut tx).await.unwrap();
    let second = RuleFixture::new_unique().create(&mut tx).await.unwrap();
    let set = rule_set(&mut tx).await;
    let one = Some(json!({"limit": 1}));
    let all = [(first.id, one.clone()), (second.id, None)];
    assert_eq!(RuleRepository::set_config(&mut tx, &all).await.unwrap(), 1);
    assert_eq!(RuleRepository::set_config(&mut tx, &all).await.unwrap(), 0);
    assert_eq!(rule_set(&mut tx).await, set + 1);
    let changed = RuleRepository::get_by_id(&mut *tx, first.id).await.unwrap();
    assert_eq!((changed.version, &changed.config), (2, &one));
    let kept: Vec<Value> =
        versions(&mut tx, &first.r#ref).await.iter().map(|(_, rule)| rule["config"].clone()).collect();
    assert_eq!(kept, [Value::Null, json!({"limit": 1})]);
    assert_eq!(RuleRepository::get_by_id(&mut *tx, second.id).await.unwrap(), second);
    assert_eq!(RuleRepository::set_config(&mut tx, &[(first.id, None)]).await.unwrap(), 1);
    assert_eq!(RuleRepository::get_by_id(&mut *tx, first.id).await.unwrap().config, None);
    assert_eq!(RuleRepository::set_config(&mut tx, &[]).await.unwrap(), 0);
}
