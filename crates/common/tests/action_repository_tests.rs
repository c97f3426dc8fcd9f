//! The action repository: `attune.action`.

mod helpers;

use attune_common::models::action::{
    Action, ActionUpdate, NewAction, OutputFormat, ParameterDelivery, ParameterFormat, UsedKey, WorkerLoss,
};
use attune_common::models::artifact::{ArtifactScope, ArtifactType, DeclaredArtifact};
use attune_common::models::placement::ANYWHERE;
use attune_common::repositories::{
    ActionRepository, ExecutionRepository, LIST_LIMIT, RuleRepository, RuntimeRepository,
};
use attune_testkit::{TestDatabase, transaction};
use helpers::checks::*;
use helpers::steps::{rule_set, until_blocked};
use helpers::*;
use serde_json::json;

fn full(action_ref: &str, runtime_ref: &str) -> NewAction {
    NewAction {
        r#ref: action_ref.to_owned(),
        label: Some("Page somebody".to_owned()),
        description: Some("Calls the one on duty".to_owned()),
        enabled: false,
        runtime_ref: runtime_ref.to_owned(),
        entrypoint: "page.py".to_owned(),
        param_schema: json!({"type": "object", "properties": {"text": {"type": "string"}}}),
        out_schema: json!({"type": "string"}),
        parameter_delivery: ParameterDelivery::File,
        parameter_format: ParameterFormat::Yaml,
        output_format: OutputFormat::Jsonl,
        timeout_seconds: 0.5,
        on_worker_loss: WorkerLoss::Retry,
        retry: json!({"count": 3, "delay": 1.5, "factor": 2.0, "max_delay": 60.0, "jitter": 0.1, "on": ["failed"]}),
        isolation: json!({"limits": {"memory": 65536}}),
        placement: ANYWHERE,
        permissions: vec![grant("event", &["create"])],
        artifacts: vec![DeclaredArtifact {
            name: "report.html".to_owned(),
            artifact_type: ArtifactType::File,
            description: Some("What was done".to_owned()),
            scope: ArtifactScope::Execution,
            keep_versions: Some(5),
            keep_days: None,
        }],
        keys: vec![UsedKey { key_ref: "ops.token".to_owned(), required: false }],
    }
}

fn expected(row: &Action, new: NewAction) -> Action {
    Action {
        id: row.id,
        r#ref: new.r#ref,
        pack: None,
        pack_ref: None,
        label: new.label,
        description: new.description,
        enabled: new.enabled,
        runtime: None,
        runtime_ref: new.runtime_ref,
        entrypoint: new.entrypoint,
        param_schema: new.param_schema,
        out_schema: new.out_schema,
        parameter_delivery: new.parameter_delivery,
        parameter_format: new.parameter_format,
        output_format: new.output_format,
        timeout_seconds: new.timeout_seconds,
        retry: new.retry,
        on_worker_loss: new.on_worker_loss,
        isolation: new.isolation,
        placement: new.placement,
        permissions: new.permissions,
        artifacts: new.artifacts,
        keys: new.keys,
        is_workflow: false,
        created: row.created,
        updated: row.updated,
    }
}

#[test]
fn test_table_name_has_the_schema() {
    assert_eq!(ActionRepository::table_name(), "attune.action");
}

#[tokio::test]
async fn test_create_minimal() {
    let mut tx = transaction().await;
    let new = NewAction::of(unique_action_ref(), "core.shell", "run.sh");
    let action = ActionRepository::create(&mut *tx, None, &new).await.unwrap();
    assert_eq!(action, expected(&action, new));
}

#[tokio::test]
async fn test_create_with_everything() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let runtime = RuntimeFixture::new(&pack, "python").create(&mut tx).await.unwrap();
    let new = full(&format!("{}.page", pack.r#ref), &runtime.r#ref);
    let action = ActionRepository::create(&mut *tx, Some(pack.id), &new).await.unwrap();
    let expected = Action {
        pack: Some(pack.id),
        pack_ref: Some(pack.r#ref),
        runtime: Some(runtime.id),
        ..expected(&action, new)
    };
    assert_eq!(action, expected);
}

#[tokio::test]
async fn test_create_with_every_setting() {
    let mut tx = transaction().await;
    for &delivery in ParameterDelivery::ALL {
        let mut fixture = ActionFixture::new_unique();
        fixture.new.parameter_delivery = delivery;
        assert_eq!(fixture.create(&mut tx).await.unwrap().parameter_delivery, delivery);
    }
    for &format in ParameterFormat::ALL {
        let mut fixture = ActionFixture::new_unique();
        fixture.new.parameter_format = format;
        assert_eq!(fixture.create(&mut tx).await.unwrap().parameter_format, format);
    }
    for &format in OutputFormat::ALL {
        let mut fixture = ActionFixture::new_unique();
        fixture.new.output_format = format;
        assert_eq!(fixture.create(&mut tx).await.unwrap().output_format, format);
    }
    for &loss in WorkerLoss::ALL {
        let action = ActionFixture::new_unique().with_worker_loss(loss).create(&mut tx).await.unwrap();
        assert_eq!(action.on_worker_loss, loss);
    }
}

#[tokio::test]
async fn test_create_ref_taken() {
    let mut tx = transaction().await;
    let action = ActionFixture::new_unique().create(&mut tx).await.unwrap();
    let again = ActionFixture::new(&action.r#ref).create(&mut tx).await;
    assert_already_exists(again, "action", "ref", &action.r#ref);
}

#[tokio::test]
async fn test_create_invalid_refs() {
    for action_ref in ["", "page", "ops.", ".page", "Ops.page", "ops.Page", "ops page.x"] {
        let mut tx = transaction().await;
        let created = ActionFixture::new(action_ref).create(&mut tx).await;
        assert_invalid_value(created, "action", "action_ref_format");
    }
}

#[tokio::test]
async fn test_create_invalid_pack() {
    let mut tx = transaction().await;
    let new = ActionFixture::new_unique().new;
    let created = ActionRepository::create(&mut *tx, Some(NO_SUCH_ID), &new).await;
    assert_invalid_reference(created, "action", "pack");
}

#[tokio::test]
async fn test_create_without_entrypoint() {
    let mut tx = transaction().await;
    let mut fixture = ActionFixture::new_unique();
    fixture.new.entrypoint = String::new();
    assert_invalid_value(fixture.create(&mut tx).await, "action", "action_entrypoint_not_empty");
}

#[tokio::test]
async fn test_create_without_time() {
    for seconds in [0.0, -1.0] {
        let mut tx = transaction().await;
        let mut fixture = ActionFixture::new_unique();
        fixture.new.timeout_seconds = seconds;
        assert_invalid_value(fixture.create(&mut tx).await, "action", "action_timeout_positive");
    }
}

#[tokio::test]
async fn test_put_makes_an_action() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let new = full(&format!("{}.page", pack.r#ref), "core.python");
    let action = ActionRepository::put(&mut *tx, pack.id, &new).await.unwrap();
    let expected = Action { pack: Some(pack.id), pack_ref: Some(pack.r#ref), ..expected(&action, new) };
    assert_eq!(action, expected);
}

#[tokio::test]
async fn test_put_brings_an_action_to_the_definition() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let runtime = RuntimeFixture::new(&pack, "python").create(&mut tx).await.unwrap();
    let action_ref = format!("{}.page", pack.r#ref);
    let before = ActionRepository::put(&mut *tx, pack.id, &full(&action_ref, &runtime.r#ref)).await.unwrap();
    let new = NewAction::of(&action_ref, "core.shell", "run.sh");
    let after = ActionRepository::put(&mut *tx, pack.id, &new).await.unwrap();
    assert_eq!((after.id, after.created), (before.id, before.created));
    let expected = Action { pack: Some(pack.id), pack_ref: Some(pack.r#ref), ..expected(&after, new) };
    assert_eq!(after, expected);
}

#[tokio::test]
async fn test_find_by_id_exists() {
    let mut tx = transaction().await;
    let action = ActionFixture::new_unique().create(&mut tx).await.unwrap();
    ActionFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(ActionRepository::find_by_id(&mut *tx, action.id).await.unwrap(), Some(action));
}

#[tokio::test]
async fn test_find_by_id_not_found() {
    let mut tx = transaction().await;
    assert_eq!(ActionRepository::find_by_id(&mut *tx, NO_SUCH_ID).await.unwrap(), None);
}

#[tokio::test]
async fn test_get_by_id_not_found() {
    let mut tx = transaction().await;
    assert_not_found(ActionRepository::get_by_id(&mut *tx, NO_SUCH_ID).await, "action", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_find_by_ref_exists() {
    let mut tx = transaction().await;
    let action = ActionFixture::new_unique().create(&mut tx).await.unwrap();
    ActionFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(ActionRepository::find_by_ref(&mut *tx, &action.r#ref).await.unwrap(), Some(action));
}

#[tokio::test]
async fn test_find_by_ref_not_found() {
    let mut tx = transaction().await;
    assert_eq!(ActionRepository::find_by_ref(&mut *tx, "test.none").await.unwrap(), None);
}

#[tokio::test]
async fn test_get_by_ref_not_found() {
    let mut tx = transaction().await;
    assert_not_found(ActionRepository::get_by_ref(&mut *tx, "test.none").await, "action", "test.none");
}

#[tokio::test]
async fn test_list_empty() {
    let mut tx = transaction().await;
    assert_eq!(ActionRepository::list(&mut *tx).await.unwrap(), []);
}

#[tokio::test]
async fn test_list_by_ref() {
    let mut tx = transaction().await;
    let prefix = unique_action_ref();
    let second = ActionFixture::new(&format!("{prefix}.b")).create(&mut tx).await.unwrap();
    let first = ActionFixture::new(&format!("{prefix}.a")).create(&mut tx).await.unwrap();
    assert_eq!(ActionRepository::list(&mut *tx).await.unwrap(), [first, second]);
}

#[tokio::test]
async fn test_list_of_pack() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let second = ActionFixture::new_unique().with_pack(&pack, "b").create(&mut tx).await.unwrap();
    let first = ActionFixture::new_unique().with_pack(&pack, "a").create(&mut tx).await.unwrap();
    ActionFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(ActionRepository::list_of_pack(&mut *tx, pack.id).await.unwrap(), [first, second]);
}

#[tokio::test]
async fn test_remove_others_keeps_what_the_pack_contains() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let other = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let kept = ActionFixture::new_unique().with_pack(&pack, "kept").create(&mut tx).await.unwrap();
    ActionFixture::new_unique().with_pack(&pack, "old").create(&mut tx).await.unwrap();
    ActionFixture::new_unique().with_pack(&pack, "older").create(&mut tx).await.unwrap();
    let foreign = ActionFixture::new_unique().with_pack(&other, "old").create(&mut tx).await.unwrap();
    let removed =
        ActionRepository::remove_others(&mut *tx, pack.id, std::slice::from_ref(&kept.r#ref)).await.unwrap();
    assert_eq!(removed, 2);
    let mut expected = [kept, foreign];
    expected.sort_by(|a, b| a.r#ref.cmp(&b.r#ref));
    assert_eq!(ActionRepository::list(&mut *tx).await.unwrap(), expected);
}

#[tokio::test]
async fn test_update_everything() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let runtime = RuntimeFixture::new(&pack, "python").create(&mut tx).await.unwrap();
    let action = ActionFixture::new_unique().create(&mut tx).await.unwrap();
    let update = ActionUpdate {
        label: Some("New".to_owned()),
        description: Some("Newer".to_owned()),
        enabled: Some(false),
        runtime_ref: Some(runtime.r#ref.clone()),
        entrypoint: Some("new.py".to_owned()),
        param_schema: Some(json!({"type": "object"})),
        out_schema: Some(json!({"type": "array"})),
        timeout_seconds: Some(5.5),
        retry: Some(
            json!({"count": 3, "delay": 1.5, "factor": 2.0, "max_delay": 60.0, "jitter": 0.1, "on": ["failed"]}),
        ),
        on_worker_loss: Some(WorkerLoss::Retry),
        unchanged_since: Some(action.updated),
    };
    let updated = ActionRepository::update(&mut tx, action.id, &update).await.unwrap();
    assert!(updated.updated > action.updated);
    let expected = Action {
        label: Some("New".to_owned()),
        description: Some("Newer".to_owned()),
        enabled: false,
        runtime: Some(runtime.id),
        runtime_ref: runtime.r#ref,
        entrypoint: "new.py".to_owned(),
        param_schema: json!({"type": "object"}),
        out_schema: json!({"type": "array"}),
        timeout_seconds: 5.5,
        retry: json!({"count": 3, "delay": 1.5, "factor": 2.0, "max_delay": 60.0, "jitter": 0.1, "on": ["failed"]}),
        on_worker_loss: WorkerLoss::Retry,
        updated: updated.updated,
        ..action
    };
    assert_eq!(updated, expected);
}

#[tokio::test]
async fn test_update_one_column_keeps_the_others() {
    let mut tx = transaction().await;
    let new = full(&unique_action_ref(), "core.python");
    let action = ActionRepository::create(&mut *tx, None, &new).await.unwrap();
    let update = ActionUpdate { enabled: Some(true), ..ActionUpdate::default() };
    let updated = ActionRepository::update(&mut tx, action.id, &update).await.unwrap();
    assert_eq!(updated, Action { enabled: true, updated: updated.updated, ..action });
}

#[tokio::test]
async fn test_update_no_change() {
    let mut tx = transaction().await;
    let action = ActionFixture::new_unique().create(&mut tx).await.unwrap();
    let updated = ActionRepository::update(&mut tx, action.id, &ActionUpdate::default()).await.unwrap();
    assert_eq!(updated, action);
}

#[tokio::test]
async fn test_update_not_found() {
    let mut tx = transaction().await;
    let update = ActionUpdate { enabled: Some(true), ..ActionUpdate::default() };
    assert_not_found(ActionRepository::update(&mut tx, NO_SUCH_ID, &update).await, "action", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_update_without_time() {
    let mut tx = transaction().await;
    let action = ActionFixture::new_unique().create(&mut tx).await.unwrap();
    let update = ActionUpdate { timeout_seconds: Some(0.0), ..ActionUpdate::default() };
    let updated = ActionRepository::update(&mut tx, action.id, &update).await;
    assert_invalid_value(updated, "action", "action_timeout_positive");
}

#[tokio::test]
async fn test_delete_keeps_history_and_rules() {
    let mut tx = transaction().await;
    let action = ActionFixture::new_unique().create(&mut tx).await.unwrap();
    let execution = ExecutionFixture::new(&action).create(&mut tx).await.unwrap();
    let rule = RuleFixture::new_unique().with_action(&action).create(&mut tx).await.unwrap();
    assert_eq!((execution.action, rule.action), (Some(action.id), Some(action.id)));
    assert!(ActionRepository::delete(&mut *tx, action.id).await.unwrap());
    let execution = ExecutionRepository::get_by_id(&mut *tx, execution.id).await.unwrap();
    assert_eq!((execution.action, &execution.action_ref), (None, &action.r#ref));
    let rule = RuleRepository::get_by_id(&mut *tx, rule.id).await.unwrap();
    assert_eq!((rule.action, &rule.action_ref), (None, &action.r#ref));
}

#[tokio::test]
async fn test_delete_not_found() {
    let mut tx = transaction().await;
    assert!(!ActionRepository::delete(&mut *tx, NO_SUCH_ID).await.unwrap());
}

#[tokio::test]
async fn test_delete_of_the_runtime_keeps_its_name() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let runtime = RuntimeFixture::new(&pack, "python").create(&mut tx).await.unwrap();
    let action = ActionFixture::new_unique().with_runtime(&runtime).create(&mut tx).await.unwrap();
    assert_eq!(action.runtime, Some(runtime.id));
    RuntimeRepository::delete(&mut *tx, runtime.id).await.unwrap();
    let action = ActionRepository::get_by_id(&mut *tx, action.id).await.unwrap();
    assert_eq!((action.runtime, action.runtime_ref), (None, runtime.r#ref));
}

#[tokio::test]
async fn test_list_limit() {
    let mut tx = transaction().await;
    let prefix = unique_action_ref();
    sqlx::query(
        "insert into attune.action (ref, runtime_ref, entrypoint)
         select format('%s.%s', $1::text, lpad(n::text, 4, '0')), 'test.shell', 'x'
         from generate_series(0, 1000) n",
    )
    .bind(&prefix)
    .execute(&mut *tx)
    .await
    .unwrap();
    let listed = ActionRepository::list(&mut *tx).await.unwrap();
    assert_eq!(listed.len(), usize::try_from(LIST_LIMIT).unwrap());
    assert_eq!(listed[999].r#ref, format!("{prefix}.0999"));
}

#[tokio::test]
async fn test_list_by_runtime() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let runtime = RuntimeFixture::new(&pack, "python").create(&mut tx).await.unwrap();
    let b = ActionFixture::new_unique().with_pack(&pack, "b").with_runtime(&runtime);
    let b = b.create(&mut tx).await.unwrap();
    let a = ActionFixture::new_unique().with_pack(&pack, "a").with_runtime(&runtime);
    let a = a.create(&mut tx).await.unwrap();
    ActionFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(ActionRepository::list_by_runtime(&mut *tx, runtime.id).await.unwrap(), [a, b]);
}

#[tokio::test]
async fn test_create_refused_values_are_named() {
    let mut tx = transaction().await;
    let mut fixture = ActionFixture::new_unique();
    fixture.new.timeout_seconds = -1.5;
    assert_refused_value(fixture.create(&mut tx).await, "action", "timeout_seconds", "-1.5");
}

#[tokio::test]
async fn test_update_refused_entrypoint() {
    let mut tx = transaction().await;
    let action = ActionFixture::new_unique().create(&mut tx).await.unwrap();
    let update = ActionUpdate { entrypoint: Some(String::new()), ..ActionUpdate::default() };
    let updated = ActionRepository::update(&mut tx, action.id, &update).await;
    assert_refused_value(updated, "action", "entrypoint", "");
}

#[tokio::test]
async fn test_update_to_a_runtime_that_does_not_exist_yet() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let runtime = RuntimeFixture::new(&pack, "python").create(&mut tx).await.unwrap();
    let action = ActionFixture::new_unique().with_runtime(&runtime).create(&mut tx).await.unwrap();
    let later = RuntimeFixture::new(&pack, "later");
    let update = ActionUpdate { runtime_ref: Some(later.new.r#ref.clone()), ..ActionUpdate::default() };
    let updated = ActionRepository::update(&mut tx, action.id, &update).await.unwrap();
    assert_eq!((updated.runtime, &updated.runtime_ref), (None, &later.new.r#ref));
    let later = later.create(&mut tx).await.unwrap();
    assert_eq!(ActionRepository::relink(&mut *tx).await.unwrap(), 1);
    assert_eq!(ActionRepository::get_by_id(&mut *tx, action.id).await.unwrap().runtime, Some(later.id));
    assert_eq!(ActionRepository::relink(&mut *tx).await.unwrap(), 0);
}

#[tokio::test]
async fn test_update_stale() {
    let mut tx = transaction().await;
    let seen = ActionFixture::new_unique().create(&mut tx).await.unwrap();
    let update = |seconds: f64| ActionUpdate {
        timeout_seconds: Some(seconds),
        unchanged_since: Some(seen.updated),
        ..ActionUpdate::default()
    };
    let first = ActionRepository::update(&mut tx, seen.id, &update(1.0)).await.unwrap();
    let before = rule_set(&mut tx).await;
    assert_conflict(ActionRepository::update(&mut tx, seen.id, &update(2.0)).await, "action", &seen.id);
    assert_eq!(ActionRepository::get_by_id(&mut *tx, seen.id).await.unwrap(), first);
    assert_eq!(rule_set(&mut tx).await, before);
}

#[tokio::test]
async fn test_update_raises_the_rule_set_by_a_change() {
    let mut tx = transaction().await;
    let trigger = TriggerFixture::new_unique().create(&mut tx).await.unwrap();
    let action = ActionFixture::new_unique().create(&mut tx).await.unwrap();
    RuleFixture::new_unique().with_trigger(&trigger).with_action(&action).create(&mut tx).await.unwrap();
    let before = rule_set(&mut tx).await;
    let schema = json!({"type": "object", "required": ["text"]});
    let update = ActionUpdate { param_schema: Some(schema.clone()), ..ActionUpdate::default() };
    ActionRepository::update(&mut tx, action.id, &update).await.unwrap();
    let (after, live) = RuleRepository::live(&mut tx).await.unwrap();
    assert_eq!((after, &live[0].action_param_schema), (before + 1, &Some(schema)));
    // It has this schema already.
    ActionRepository::update(&mut tx, action.id, &update).await.unwrap();
    ActionRepository::update(&mut tx, action.id, &ActionUpdate::default()).await.unwrap();
    assert_eq!(rule_set(&mut tx).await, before + 1);
}

#[tokio::test]
async fn test_delete_raises_the_rule_set() {
    let mut tx = transaction().await;
    let action = ActionFixture::new_unique().create(&mut tx).await.unwrap();
    let before = rule_set(&mut tx).await;
    assert!(ActionRepository::delete(&mut *tx, action.id).await.unwrap());
    assert_eq!(rule_set(&mut tx).await, before + 1);
    assert!(!ActionRepository::delete(&mut *tx, action.id).await.unwrap());
    assert_eq!(rule_set(&mut tx).await, before + 1);
}

#[tokio::test]
async fn test_remove_others_raises_the_rule_set_once() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    ActionFixture::new_unique().with_pack(&pack, "a").create(&mut tx).await.unwrap();
    ActionFixture::new_unique().with_pack(&pack, "b").create(&mut tx).await.unwrap();
    let before = rule_set(&mut tx).await;
    assert_eq!(ActionRepository::remove_others(&mut *tx, pack.id, &[]).await.unwrap(), 2);
    assert_eq!(rule_set(&mut tx).await, before + 1);
    assert_eq!(ActionRepository::remove_others(&mut *tx, pack.id, &[]).await.unwrap(), 0);
    assert_eq!(rule_set(&mut tx).await, before + 1);
}

#[tokio::test]
async fn test_update_by_two_at_once_keeps_both() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let action = ActionFixture::new_unique().create(&mut connection).await.unwrap();
    let before = rule_set(&mut connection).await;
    let off = ActionUpdate { enabled: Some(false), ..ActionUpdate::default() };
    let label = ActionUpdate { label: Some("New".to_owned()), ..ActionUpdate::default() };
    let mut open = attune_common::db::begin(database.pool()).await.unwrap();
    ActionRepository::update(&mut open, action.id, &off).await.unwrap();
    let (second, committed) =
        tokio::join!(ActionRepository::update(&mut connection, action.id, &label), async {
            until_blocked(database.pool(), 1).await;
            open.commit().await
        });
    committed.unwrap();
    let second = second.unwrap();
    assert_eq!((second.enabled, second.label.as_deref()), (false, Some("New")));
    assert_eq!(ActionRepository::get_by_id(&mut *connection, action.id).await.unwrap(), second);
    // Each is a change of its own to whoever holds the rules.
    assert_eq!(rule_set(&mut connection).await, before + 2);
}

#[tokio::test]
async fn test_update_by_two_who_saw_the_same() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let seen = ActionFixture::new_unique().create(&mut connection).await.unwrap();
    let before = rule_set(&mut connection).await;
    let off =
        ActionUpdate { enabled: Some(false), unchanged_since: Some(seen.updated), ..ActionUpdate::default() };
    let mut open = attune_common::db::begin(database.pool()).await.unwrap();
    ActionRepository::update(&mut open, seen.id, &off).await.unwrap();
    let (second, committed) = tokio::join!(ActionRepository::update(&mut connection, seen.id, &off), async {
        until_blocked(database.pool(), 1).await;
        open.commit().await
    });
    committed.unwrap();
    assert_conflict(second, "action", &seen.id);
    assert_eq!(rule_set(&mut connection).await, before + 1);
}
