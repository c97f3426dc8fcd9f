//! The trigger repository: `attune.trigger`.

mod helpers;

use attune_common::models::trigger::{
    NewTrigger, SignatureScheme, Trigger, TriggerUpdate, Webhook, WebhookSignature,
};
use attune_common::repositories::{EventRepository, LIST_LIMIT, RuleRepository, TriggerRepository};
use attune_testkit::{TestDatabase, transaction};
use helpers::checks::*;
use helpers::steps::{rule_set, until_blocked};
use helpers::*;
use serde_json::json;

fn signed() -> Webhook {
    Webhook {
        signature: Some(WebhookSignature {
            scheme: SignatureScheme::HmacSha256,
            secret: "ops.webhook_secret".to_owned(),
            header: Some("x-signature".to_owned()),
        }),
        delivery_id_header: Some("x-delivery".to_owned()),
    }
}

fn full(trigger_ref: &str) -> NewTrigger {
    NewTrigger {
        r#ref: trigger_ref.to_owned(),
        label: Some("Alert".to_owned()),
        description: Some("Something is wrong".to_owned()),
        enabled: false,
        param_schema: json!({"type": "object"}),
        out_schema: json!({"type": "object", "required": ["host"]}),
        webhook: Some(signed()),
    }
}

fn expected(row: &Trigger, new: NewTrigger) -> Trigger {
    Trigger {
        id: row.id,
        r#ref: new.r#ref,
        pack: None,
        pack_ref: None,
        label: new.label,
        description: new.description,
        enabled: new.enabled,
        param_schema: new.param_schema,
        out_schema: new.out_schema,
        webhook_key: row.webhook_key.clone(),
        webhook: new.webhook,
        created: row.created,
        updated: row.updated,
    }
}

#[test]
fn test_table_name_has_the_schema() {
    assert_eq!(TriggerRepository::table_name(), "attune.trigger");
}

#[tokio::test]
async fn test_create_minimal() {
    let mut tx = transaction().await;
    let fixture = TriggerFixture::new_unique();
    let trigger = fixture.clone().create(&mut tx).await.unwrap();
    assert_eq!(trigger.webhook_key, None);
    assert_eq!(trigger, expected(&trigger, fixture.new));
}

#[tokio::test]
async fn test_create_with_everything() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let new = full(&format!("{}.alert", pack.r#ref));
    let trigger = TriggerRepository::create(&mut *tx, Some(pack.id), &new).await.unwrap();
    let expected = Trigger { pack: Some(pack.id), pack_ref: Some(pack.r#ref), ..expected(&trigger, new) };
    assert_eq!(trigger, expected);
}

#[tokio::test]
async fn test_create_with_webhook_draws_a_key() {
    let mut tx = transaction().await;
    let create = || TriggerFixture::new_unique().with_webhook(Webhook::default());
    let one = create().create(&mut tx).await.unwrap().webhook_key.unwrap();
    let other = create().create(&mut tx).await.unwrap().webhook_key.unwrap();
    assert_eq!((one.len(), other.len()), (40, 40));
    assert_ne!(one, other);
}

#[tokio::test]
async fn test_create_ref_taken() {
    let mut tx = transaction().await;
    let trigger = TriggerFixture::new_unique().create(&mut tx).await.unwrap();
    let again = TriggerFixture::new(&trigger.r#ref).create(&mut tx).await;
    assert_already_exists(again, "trigger", "ref", &trigger.r#ref);
}

#[tokio::test]
async fn test_create_invalid_refs() {
    for trigger_ref in ["", "alert", "ops.", ".alert", "Ops.alert", "ops.Alert"] {
        let mut tx = transaction().await;
        let created = TriggerFixture::new(trigger_ref).create(&mut tx).await;
        assert_invalid_value(created, "trigger", "trigger_ref_format");
    }
}

#[tokio::test]
async fn test_create_invalid_pack() {
    let mut tx = transaction().await;
    let new = TriggerFixture::new_unique().new;
    let created = TriggerRepository::create(&mut *tx, Some(NO_SUCH_ID), &new).await;
    assert_invalid_reference(created, "trigger", "pack");
}

#[tokio::test]
async fn test_put_makes_a_trigger() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let new = full(&format!("{}.alert", pack.r#ref));
    let trigger = TriggerRepository::put(&mut *tx, pack.id, &new).await.unwrap();
    assert_eq!(trigger.webhook_key.as_ref().map(String::len), Some(40));
    let expected = Trigger { pack: Some(pack.id), pack_ref: Some(pack.r#ref), ..expected(&trigger, new) };
    assert_eq!(trigger, expected);
}

#[tokio::test]
async fn test_put_keeps_id_and_webhook_key() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let trigger_ref = format!("{}.alert", pack.r#ref);
    let before = TriggerRepository::put(&mut *tx, pack.id, &full(&trigger_ref)).await.unwrap();
    let new = TriggerFixture::new(&trigger_ref).with_webhook(Webhook::default()).new;
    let after = TriggerRepository::put(&mut *tx, pack.id, &new).await.unwrap();
    assert_eq!((after.id, after.created), (before.id, before.created));
    assert!(before.webhook_key.is_some());
    assert_eq!(after.webhook_key, before.webhook_key);
    let expected = Trigger { pack: Some(pack.id), pack_ref: Some(pack.r#ref), ..expected(&after, new) };
    assert_eq!(after, expected);
}

#[tokio::test]
async fn test_put_without_webhook_withdraws_the_key() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let trigger_ref = format!("{}.alert", pack.r#ref);
    let before = TriggerRepository::put(&mut *tx, pack.id, &full(&trigger_ref)).await.unwrap();
    let new = TriggerFixture::new(&trigger_ref).new;
    let without = TriggerRepository::put(&mut *tx, pack.id, &new).await.unwrap();
    assert_eq!((without.webhook_key, without.webhook), (None, None));
    // The old address does not come back with the webhook.
    let again = TriggerRepository::put(&mut *tx, pack.id, &full(&trigger_ref)).await.unwrap();
    assert!(again.webhook_key.is_some() && again.webhook_key != before.webhook_key);
}

#[tokio::test]
async fn test_find_by_id_exists() {
    let mut tx = transaction().await;
    let trigger = TriggerFixture::new_unique().with_webhook(signed()).create(&mut tx).await.unwrap();
    TriggerFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(TriggerRepository::find_by_id(&mut *tx, trigger.id).await.unwrap(), Some(trigger));
}

#[tokio::test]
async fn test_find_by_id_not_found() {
    let mut tx = transaction().await;
    assert_eq!(TriggerRepository::find_by_id(&mut *tx, NO_SUCH_ID).await.unwrap(), None);
}

#[tokio::test]
async fn test_get_by_id_not_found() {
    let mut tx = transaction().await;
    assert_not_found(TriggerRepository::get_by_id(&mut *tx, NO_SUCH_ID).await, "trigger", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_find_by_ref_exists() {
    let mut tx = transaction().await;
    let trigger = TriggerFixture::new_unique().create(&mut tx).await.unwrap();
    TriggerFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(TriggerRepository::find_by_ref(&mut *tx, &trigger.r#ref).await.unwrap(), Some(trigger));
}

#[tokio::test]
async fn test_find_by_ref_not_found() {
    let mut tx = transaction().await;
    assert_eq!(TriggerRepository::find_by_ref(&mut *tx, "test.none").await.unwrap(), None);
}

#[tokio::test]
async fn test_get_by_ref_not_found() {
    let mut tx = transaction().await;
    assert_not_found(TriggerRepository::get_by_ref(&mut *tx, "test.none").await, "trigger", "test.none");
}

#[tokio::test]
async fn test_list_empty() {
    let mut tx = transaction().await;
    assert_eq!(TriggerRepository::list(&mut *tx).await.unwrap(), []);
}

#[tokio::test]
async fn test_list_by_ref() {
    let mut tx = transaction().await;
    let prefix = unique_trigger_ref();
    let second = TriggerFixture::new(&format!("{prefix}.b")).create(&mut tx).await.unwrap();
    let first = TriggerFixture::new(&format!("{prefix}.a")).create(&mut tx).await.unwrap();
    assert_eq!(TriggerRepository::list(&mut *tx).await.unwrap(), [first, second]);
}

#[tokio::test]
async fn test_list_of_pack() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let second = TriggerFixture::new_unique().with_pack(&pack, "b").create(&mut tx).await.unwrap();
    let first = TriggerFixture::new_unique().with_pack(&pack, "a").create(&mut tx).await.unwrap();
    TriggerFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(TriggerRepository::list_of_pack(&mut *tx, pack.id).await.unwrap(), [first, second]);
}

#[tokio::test]
async fn test_remove_others_keeps_what_the_pack_contains() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let kept = TriggerFixture::new_unique().with_pack(&pack, "kept").create(&mut tx).await.unwrap();
    TriggerFixture::new_unique().with_pack(&pack, "old").create(&mut tx).await.unwrap();
    let own = TriggerFixture::new_unique().create(&mut tx).await.unwrap();
    let removed =
        TriggerRepository::remove_others(&mut *tx, pack.id, std::slice::from_ref(&kept.r#ref)).await.unwrap();
    assert_eq!(removed, 1);
    assert_eq!(TriggerRepository::list(&mut *tx).await.unwrap(), [kept, own]);
}

#[tokio::test]
async fn test_list_webhooks_only_of_enabled_triggers() {
    let mut tx = transaction().await;
    let first = TriggerFixture::new_unique().with_webhook(signed()).create(&mut tx).await.unwrap();
    TriggerFixture::new_unique().create(&mut tx).await.unwrap();
    let disabled = TriggerFixture::new_unique().with_webhook(signed()).with_enabled(false);
    disabled.create(&mut tx).await.unwrap();
    let second = TriggerFixture::new_unique().with_webhook(Webhook::default()).create(&mut tx).await.unwrap();
    assert_eq!(TriggerRepository::list_webhooks(&mut *tx).await.unwrap(), [first, second]);
}

#[tokio::test]
async fn test_update_everything() {
    let mut tx = transaction().await;
    let trigger = TriggerFixture::new_unique().with_webhook(signed()).create(&mut tx).await.unwrap();
    let update = TriggerUpdate {
        label: Some("New".to_owned()),
        description: Some("Newer".to_owned()),
        enabled: Some(false),
        param_schema: Some(json!({"type": "object"})),
        out_schema: Some(json!({"type": "array"})),
        webhook: Some(Webhook::default()),
        unchanged_since: Some(trigger.updated),
    };
    let updated = TriggerRepository::update(&mut tx, trigger.id, &update).await.unwrap();
    assert!(updated.updated > trigger.updated);
    let expected = Trigger {
        label: Some("New".to_owned()),
        description: Some("Newer".to_owned()),
        enabled: false,
        param_schema: json!({"type": "object"}),
        out_schema: json!({"type": "array"}),
        // The key stays: the senders know it.
        webhook: Some(Webhook::default()),
        updated: updated.updated,
        ..trigger
    };
    assert_eq!(updated, expected);
}

#[tokio::test]
async fn test_update_one_column_keeps_the_others() {
    let mut tx = transaction().await;
    let trigger = TriggerRepository::create(&mut *tx, None, &full(&unique_trigger_ref())).await.unwrap();
    let update = TriggerUpdate { enabled: Some(true), ..TriggerUpdate::default() };
    let updated = TriggerRepository::update(&mut tx, trigger.id, &update).await.unwrap();
    assert_eq!(updated, Trigger { enabled: true, updated: updated.updated, ..trigger });
}

#[tokio::test]
async fn test_update_no_change() {
    let mut tx = transaction().await;
    let trigger = TriggerFixture::new_unique().create(&mut tx).await.unwrap();
    let updated = TriggerRepository::update(&mut tx, trigger.id, &TriggerUpdate::default()).await.unwrap();
    assert_eq!(updated, trigger);
}

#[tokio::test]
async fn test_update_not_found() {
    let mut tx = transaction().await;
    let update = TriggerUpdate { enabled: Some(true), ..TriggerUpdate::default() };
    assert_not_found(TriggerRepository::update(&mut tx, NO_SUCH_ID, &update).await, "trigger", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_delete_keeps_its_rules() {
    let mut tx = transaction().await;
    let trigger = TriggerFixture::new_unique().create(&mut tx).await.unwrap();
    let rule = RuleFixture::new_unique().with_trigger(&trigger).create(&mut tx).await.unwrap();
    assert_eq!(rule.trigger, Some(trigger.id));
    assert!(TriggerRepository::delete(&mut *tx, trigger.id).await.unwrap());
    let rule = RuleRepository::get_by_id(&mut *tx, rule.id).await.unwrap();
    assert_eq!((rule.trigger, rule.trigger_ref), (None, trigger.r#ref));
}

#[tokio::test]
async fn test_delete_not_found() {
    let mut tx = transaction().await;
    assert!(!TriggerRepository::delete(&mut *tx, NO_SUCH_ID).await.unwrap());
}

#[tokio::test]
async fn test_list_limit() {
    let mut tx = transaction().await;
    let prefix = unique_trigger_ref();
    sqlx::query(
        "insert into attune.trigger (ref)
         select format('%s.%s', $1::text, lpad(n::text, 4, '0')) from generate_series(0, 1000) n",
    )
    .bind(&prefix)
    .execute(&mut *tx)
    .await
    .unwrap();
    let listed = TriggerRepository::list(&mut *tx).await.unwrap();
    assert_eq!(listed.len(), usize::try_from(LIST_LIMIT).unwrap());
    assert_eq!(listed[999].r#ref, format!("{prefix}.0999"));
}

#[tokio::test]
async fn test_create_refused_ref_is_named() {
    let mut tx = transaction().await;
    let created = TriggerFixture::new("Ops.alert").create(&mut tx).await;
    assert_refused_value(created, "trigger", "ref", "Ops.alert");
}

#[tokio::test]
async fn test_create_leaves_the_rule_set() {
    let mut tx = transaction().await;
    let rule = RuleFixture::new_unique().create(&mut tx).await.unwrap();
    let before = rule_set(&mut tx).await;
    // Even a rule that waits for it is not changed by it before it is linked.
    TriggerFixture::new(&rule.trigger_ref).create(&mut tx).await.unwrap();
    assert_eq!(RuleRepository::live(&mut tx).await.unwrap(), (before, vec![]));
    assert_eq!(RuleRepository::relink(&mut tx).await.unwrap(), 1);
    let (after, live) = RuleRepository::live(&mut tx).await.unwrap();
    assert_eq!((after, live.len()), (before + 1, 1));
}

#[tokio::test]
async fn test_update_raises_the_rule_set_by_a_change() {
    let mut tx = transaction().await;
    let trigger = TriggerFixture::new_unique().create(&mut tx).await.unwrap();
    let before = rule_set(&mut tx).await;
    let off = TriggerUpdate { enabled: Some(false), ..TriggerUpdate::default() };
    TriggerRepository::update(&mut tx, trigger.id, &off).await.unwrap();
    assert_eq!(rule_set(&mut tx).await, before + 1);
    // It is off already.
    TriggerRepository::update(&mut tx, trigger.id, &off).await.unwrap();
    assert_eq!(rule_set(&mut tx).await, before + 1);
    TriggerRepository::update(&mut tx, NO_SUCH_ID, &off).await.unwrap_err();
    assert_eq!(rule_set(&mut tx).await, before + 1);
}

#[tokio::test]
async fn test_update_stale() {
    let mut tx = transaction().await;
    let seen = TriggerFixture::new_unique().create(&mut tx).await.unwrap();
    let update = |label: &str| TriggerUpdate {
        label: Some(label.to_owned()),
        unchanged_since: Some(seen.updated),
        ..TriggerUpdate::default()
    };
    let first = TriggerRepository::update(&mut tx, seen.id, &update("first")).await.unwrap();
    let before = rule_set(&mut tx).await;
    let second = TriggerRepository::update(&mut tx, seen.id, &update("second")).await;
    assert_conflict(second, "trigger", &seen.id);
    assert_eq!(TriggerRepository::get_by_id(&mut *tx, seen.id).await.unwrap(), first);
    assert_eq!(rule_set(&mut tx).await, before);
}

#[tokio::test]
async fn test_update_with_a_first_webhook_draws_a_key() {
    let mut tx = transaction().await;
    let trigger = TriggerFixture::new_unique().create(&mut tx).await.unwrap();
    let other = TriggerFixture::new_unique().create(&mut tx).await.unwrap();
    let update = TriggerUpdate { webhook: Some(signed()), ..TriggerUpdate::default() };
    let updated = TriggerRepository::update(&mut tx, trigger.id, &update).await.unwrap();
    assert_eq!(updated.webhook, Some(signed()));
    let second = TriggerRepository::update(&mut tx, other.id, &update).await.unwrap();
    assert!(updated.webhook_key.is_some());
    assert_ne!(updated.webhook_key, second.webhook_key);
}

#[tokio::test]
async fn test_renew_webhook_key() {
    let mut tx = transaction().await;
    let trigger = TriggerFixture::new_unique().with_webhook(signed()).create(&mut tx).await.unwrap();
    let other = TriggerFixture::new_unique().with_webhook(signed()).create(&mut tx).await.unwrap();
    let before = rule_set(&mut tx).await;
    let renewed = TriggerRepository::renew_webhook_key(&mut *tx, trigger.id).await.unwrap();
    assert_ne!(renewed.webhook_key, trigger.webhook_key);
    let expected = Trigger { webhook_key: renewed.webhook_key.clone(), updated: renewed.updated, ..trigger };
    assert_eq!(renewed, expected);
    assert_eq!(TriggerRepository::get_by_id(&mut *tx, other.id).await.unwrap(), other);
    assert_eq!(rule_set(&mut tx).await, before + 1);
}

#[tokio::test]
async fn test_renew_webhook_key_without_a_webhook() {
    let mut tx = transaction().await;
    let trigger = TriggerFixture::new_unique().create(&mut tx).await.unwrap();
    let before = rule_set(&mut tx).await;
    for id in [trigger.id, NO_SUCH_ID] {
        let renewed = TriggerRepository::renew_webhook_key(&mut *tx, id).await;
        assert_not_found(renewed, "webhook of trigger", &id);
    }
    assert_eq!(TriggerRepository::get_by_id(&mut *tx, trigger.id).await.unwrap(), trigger);
    assert_eq!(rule_set(&mut tx).await, before);
}

#[tokio::test]
async fn test_remove_webhook_closes_the_address() {
    let mut tx = transaction().await;
    let trigger = TriggerFixture::new_unique().with_webhook(signed()).create(&mut tx).await.unwrap();
    let before = rule_set(&mut tx).await;
    assert!(TriggerRepository::remove_webhook(&mut *tx, trigger.id).await.unwrap());
    assert_eq!(TriggerRepository::list_webhooks(&mut *tx).await.unwrap(), []);
    let without = TriggerRepository::get_by_id(&mut *tx, trigger.id).await.unwrap();
    let expected = Trigger { webhook: None, webhook_key: None, updated: without.updated, ..trigger };
    assert_eq!(without, expected);
    assert!(!TriggerRepository::remove_webhook(&mut *tx, without.id).await.unwrap());
    assert_eq!(rule_set(&mut tx).await, before + 1);
}

#[tokio::test]
async fn test_delete_raises_the_rule_set() {
    let mut tx = transaction().await;
    let trigger = TriggerFixture::new_unique().create(&mut tx).await.unwrap();
    RuleFixture::new_unique().with_trigger(&trigger).create(&mut tx).await.unwrap();
    let (before, live) = RuleRepository::live(&mut tx).await.unwrap();
    assert_eq!(live.len(), 1);
    assert!(TriggerRepository::delete(&mut *tx, trigger.id).await.unwrap());
    assert_eq!(RuleRepository::live(&mut tx).await.unwrap(), (before + 1, vec![]));
    assert!(!TriggerRepository::delete(&mut *tx, trigger.id).await.unwrap());
    assert_eq!(rule_set(&mut tx).await, before + 1);
}

#[tokio::test]
async fn test_delete_keeps_its_events() {
    let mut tx = transaction().await;
    let trigger = TriggerFixture::new_unique().create(&mut tx).await.unwrap();
    let event = EventFixture::new(Some(trigger.id), &trigger.r#ref).create(&mut tx).await.unwrap();
    assert!(TriggerRepository::delete(&mut *tx, trigger.id).await.unwrap());
    let event = EventRepository::get_by_id(&mut *tx, event.id).await.unwrap();
    assert_eq!((event.trigger, event.trigger_ref), (None, trigger.r#ref));
}

#[tokio::test]
async fn test_remove_others_raises_the_rule_set_once() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    TriggerFixture::new_unique().with_pack(&pack, "a").create(&mut tx).await.unwrap();
    TriggerFixture::new_unique().with_pack(&pack, "b").create(&mut tx).await.unwrap();
    let before = rule_set(&mut tx).await;
    assert_eq!(TriggerRepository::remove_others(&mut *tx, pack.id, &[]).await.unwrap(), 2);
    assert_eq!(rule_set(&mut tx).await, before + 1);
    assert_eq!(TriggerRepository::remove_others(&mut *tx, pack.id, &[]).await.unwrap(), 0);
    assert_eq!(rule_set(&mut tx).await, before + 1);
}

#[tokio::test]
async fn test_update_by_two_at_once_keeps_both() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let trigger = TriggerFixture::new_unique().create(&mut connection).await.unwrap();
    let before = rule_set(&mut connection).await;
    let off = TriggerUpdate { enabled: Some(false), ..TriggerUpdate::default() };
    let label = TriggerUpdate { label: Some("New".to_owned()), ..TriggerUpdate::default() };
    let mut open = attune_common::db::begin(database.pool()).await.unwrap();
    TriggerRepository::update(&mut open, trigger.id, &off).await.unwrap();
    let (second, committed) =
        tokio::join!(TriggerRepository::update(&mut connection, trigger.id, &label), async {
            until_blocked(database.pool(), 1).await;
            open.commit().await
        });
    committed.unwrap();
    let second = second.unwrap();
    assert_eq!((second.enabled, second.label.as_deref()), (false, Some("New")));
    assert_eq!(TriggerRepository::get_by_id(&mut *connection, trigger.id).await.unwrap(), second);
    // Each is a change of its own to whoever holds the rules.
    assert_eq!(rule_set(&mut connection).await, before + 2);
}

#[tokio::test]
async fn test_update_by_two_who_saw_the_same() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let seen = TriggerFixture::new_unique().create(&mut connection).await.unwrap();
    let before = rule_set(&mut connection).await;
    let off = TriggerUpdate {
        enabled: Some(false),
        unchanged_since: Some(seen.updated),
        ..TriggerUpdate::default()
    };
    let mut open = attune_common::db::begin(database.pool()).await.unwrap();
    TriggerRepository::update(&mut open, seen.id, &off).await.unwrap();
    let (second, committed) =
        tokio::join!(TriggerRepository::update(&mut connection, seen.id, &off), async {
            until_blocked(database.pool(), 1).await;
            open.commit().await
        });
    committed.unwrap();
    assert_conflict(second, "trigger", &seen.id);
    assert_eq!(rule_set(&mut connection).await, before + 1);
}
