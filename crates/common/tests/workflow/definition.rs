//! Definitions: `attune.workflow_definition`.

use attune_common::models::workflow::{NewWorkflowDefinition, WorkflowDefinition, WorkflowDefinitionUpdate};
use attune_common::repositories::{ActionRepository, PackRepository, WorkflowDefinitionRepository};
use attune_testkit::transaction;
use serde_json::json;

use crate::helpers::checks::*;
use crate::helpers::workflow::*;
use crate::helpers::*;

const ENTITY: &str = "workflow definition";

#[test]
fn test_table_name_of_definitions_has_the_schema() {
    assert_eq!(WorkflowDefinitionRepository::table_name(), "attune.workflow_definition");
}

#[tokio::test]
async fn test_create_definition() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let action = ActionFixture::new_unique().create(&mut tx).await.unwrap();
    let new = NewWorkflowDefinition {
        r#ref: format!("{}.deploy", pack.r#ref),
        action: Some(action.id),
        version: "2".to_owned(),
        definition: json!({"tasks": {}}),
    };
    let made = WorkflowDefinitionRepository::create(&mut *tx, Some(pack.id), &new).await.unwrap();
    let expected = WorkflowDefinition {
        id: made.id,
        r#ref: new.r#ref,
        pack: Some(pack.id),
        pack_ref: Some(pack.r#ref),
        action: Some(action.id),
        version: "2".to_owned(),
        definition: json!({"tasks": {}}),
        created: made.created,
        updated: made.updated,
    };
    assert_eq!(made, expected);
}

#[tokio::test]
async fn test_create_definition_on_its_own() {
    let mut tx = transaction().await;
    let made = WorkflowDefinitionFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!((made.pack, made.pack_ref, made.action), (None, None, None));
}

#[tokio::test]
async fn test_create_definition_ref_taken() {
    let mut tx = transaction().await;
    let made = WorkflowDefinitionFixture::new_unique().create(&mut tx).await.unwrap();
    let again = WorkflowDefinitionFixture::new(&made.r#ref).create(&mut tx).await;
    assert_already_exists(again, "workflow_definition", "ref", &made.r#ref);
}

#[tokio::test]
async fn test_create_definition_invalid_ref() {
    for workflow_ref in ["", "deploy", "ops.", "Ops.deploy"] {
        let mut tx = transaction().await;
        let created = WorkflowDefinitionFixture::new(workflow_ref).create(&mut tx).await;
        assert_refused_value(created, "workflow_definition", "ref", workflow_ref);
    }
}

#[tokio::test]
async fn test_create_definition_invalid_references() {
    let mut tx = transaction().await;
    let new = WorkflowDefinitionFixture::new_unique().new;
    let created = WorkflowDefinitionRepository::create(&mut *tx, Some(NO_SUCH_ID), &new).await;
    assert_invalid_reference(created, "workflow_definition", "pack");
    let mut tx = transaction().await;
    let new = NewWorkflowDefinition { action: Some(NO_SUCH_ID), ..new };
    let created = WorkflowDefinitionRepository::create(&mut *tx, None, &new).await;
    assert_invalid_reference(created, "workflow_definition", "action");
}

#[tokio::test]
async fn test_create_second_definition_of_an_action() {
    let mut tx = transaction().await;
    let action = ActionFixture::new_unique().create(&mut tx).await.unwrap();
    WorkflowDefinitionFixture::new_unique().with_action(&action).create(&mut tx).await.unwrap();
    let second = WorkflowDefinitionFixture::new_unique().with_action(&action).create(&mut tx).await;
    assert_already_exists(second, "workflow_definition", "action", &action.id.to_string());
}

#[tokio::test]
async fn test_put_makes_a_definition() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let fixture = WorkflowDefinitionFixture::new_unique().with_pack(&pack, "deploy");
    let made = WorkflowDefinitionRepository::put(&mut *tx, pack.id, &fixture.new).await.unwrap();
    assert_eq!((made.pack, made.pack_ref.as_deref()), (Some(pack.id), Some(&*pack.r#ref)));
    assert_eq!((made.version, made.definition), (fixture.new.version, fixture.new.definition));
}

#[tokio::test]
async fn test_put_brings_a_definition_to_this_one() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let action = ActionFixture::new_unique().create(&mut tx).await.unwrap();
    let fixture = WorkflowDefinitionFixture::new_unique().with_pack(&pack, "deploy").with_action(&action);
    let before = WorkflowDefinitionRepository::put(&mut *tx, pack.id, &fixture.new).await.unwrap();
    assert_eq!(WorkflowDefinitionRepository::put(&mut *tx, pack.id, &fixture.new).await.unwrap(), before);
    let new = NewWorkflowDefinition {
        action: None,
        version: "2".to_owned(),
        definition: json!({"tasks": {"wait": {}}}),
        ..fixture.new
    };
    let after = WorkflowDefinitionRepository::put(&mut *tx, pack.id, &new).await.unwrap();
    let expected = WorkflowDefinition {
        action: None,
        version: new.version,
        definition: new.definition,
        updated: after.updated,
        ..before
    };
    assert_eq!(after, expected);
}

#[tokio::test]
async fn test_put_takes_the_action_of_the_former_name() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let action = ActionFixture::new_unique().create(&mut tx).await.unwrap();
    let fixture = |name| WorkflowDefinitionFixture::new_unique().with_pack(&pack, name).with_action(&action);
    let former = fixture("old").create(&mut tx).await.unwrap();
    let new = WorkflowDefinitionRepository::put(&mut *tx, pack.id, &fixture("new").new).await.unwrap();
    let found = WorkflowDefinitionRepository::find_by_action(&mut *tx, action.id).await.unwrap();
    assert_eq!(found.as_ref(), Some(&new));
    let former = WorkflowDefinitionRepository::get_by_id(&mut *tx, former.id).await.unwrap();
    assert_eq!(former.action, None);
}

#[tokio::test]
async fn test_put_does_not_take_the_action_of_another_pack() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let action = ActionFixture::new_unique().create(&mut tx).await.unwrap();
    WorkflowDefinitionFixture::new_unique().with_action(&action).create(&mut tx).await.unwrap();
    let fixture = WorkflowDefinitionFixture::new_unique().with_pack(&pack, "new").with_action(&action);
    let put = WorkflowDefinitionRepository::put(&mut *tx, pack.id, &fixture.new).await;
    assert_already_exists(put, "workflow_definition", "action", &action.id.to_string());
}

#[tokio::test]
async fn test_find_definition() {
    let mut tx = transaction().await;
    let made = WorkflowDefinitionFixture::new_unique().create(&mut tx).await.unwrap();
    WorkflowDefinitionFixture::new_unique().create(&mut tx).await.unwrap();
    let found = WorkflowDefinitionRepository::find_by_id(&mut *tx, made.id).await.unwrap();
    assert_eq!(found.as_ref(), Some(&made));
    let found = WorkflowDefinitionRepository::find_by_ref(&mut *tx, &made.r#ref).await.unwrap();
    assert_eq!(found, Some(made));
}

#[tokio::test]
async fn test_find_definition_not_found() {
    let mut tx = transaction().await;
    assert_eq!(WorkflowDefinitionRepository::find_by_id(&mut *tx, NO_SUCH_ID).await.unwrap(), None);
    let got = WorkflowDefinitionRepository::get_by_id(&mut *tx, NO_SUCH_ID).await;
    assert_not_found(got, ENTITY, &NO_SUCH_ID);
    let got = WorkflowDefinitionRepository::get_by_ref(&mut *tx, "test.none").await;
    assert_not_found(got, ENTITY, "test.none");
}

#[tokio::test]
async fn test_find_definition_by_action() {
    let mut tx = transaction().await;
    let action = ActionFixture::new_unique().create(&mut tx).await.unwrap();
    let other = ActionFixture::new_unique().create(&mut tx).await.unwrap();
    let made = WorkflowDefinitionFixture::new_unique().with_action(&action).create(&mut tx).await.unwrap();
    WorkflowDefinitionFixture::new_unique().create(&mut tx).await.unwrap();
    let found = WorkflowDefinitionRepository::find_by_action(&mut *tx, action.id).await.unwrap();
    assert_eq!(found, Some(made));
    assert_eq!(WorkflowDefinitionRepository::find_by_action(&mut *tx, other.id).await.unwrap(), None);
}

#[tokio::test]
async fn test_list_definitions_empty() {
    let mut tx = transaction().await;
    assert_eq!(WorkflowDefinitionRepository::list(&mut *tx).await.unwrap(), []);
}

#[tokio::test]
async fn test_list_definitions_by_ref_and_of_pack() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let fixture = WorkflowDefinitionFixture::new_unique;
    let second = fixture().with_pack(&pack, "b").create(&mut tx).await.unwrap();
    let first = fixture().with_pack(&pack, "a").create(&mut tx).await.unwrap();
    let alone = fixture().create(&mut tx).await.unwrap();
    let of_pack = WorkflowDefinitionRepository::list_of_pack(&mut *tx, pack.id).await.unwrap();
    assert_eq!(of_pack, [first.clone(), second.clone()]);
    let mut all = [alone, first, second];
    all.sort_by(|a, b| a.r#ref.cmp(&b.r#ref));
    assert_eq!(WorkflowDefinitionRepository::list(&mut *tx).await.unwrap(), all);
}

#[tokio::test]
async fn test_remove_other_definitions_of_a_pack() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let fixture = WorkflowDefinitionFixture::new_unique;
    let kept = fixture().with_pack(&pack, "kept").create(&mut tx).await.unwrap();
    fixture().with_pack(&pack, "old").create(&mut tx).await.unwrap();
    let kept_refs = std::slice::from_ref(&kept.r#ref);
    assert_eq!(WorkflowDefinitionRepository::remove_others(&mut *tx, pack.id, kept_refs).await.unwrap(), 1);
    assert_eq!(WorkflowDefinitionRepository::list(&mut *tx).await.unwrap(), [kept]);
}

#[tokio::test]
async fn test_update_definition() {
    let mut tx = transaction().await;
    let action = ActionFixture::new_unique().create(&mut tx).await.unwrap();
    let made = WorkflowDefinitionFixture::new_unique().create(&mut tx).await.unwrap();
    let update = WorkflowDefinitionUpdate {
        action: Some(action.id),
        version: Some("2".to_owned()),
        ..WorkflowDefinitionUpdate::default()
    };
    let updated = WorkflowDefinitionRepository::update(&mut tx, made.id, &update).await.unwrap();
    let expected = WorkflowDefinition {
        action: Some(action.id),
        version: "2".to_owned(),
        updated: updated.updated,
        ..made.clone()
    };
    assert_eq!(updated, expected);
    let update = WorkflowDefinitionUpdate {
        definition: Some(json!({"tasks": {}})),
        ..WorkflowDefinitionUpdate::default()
    };
    let updated = WorkflowDefinitionRepository::update(&mut tx, made.id, &update).await.unwrap();
    let expected =
        WorkflowDefinition { definition: json!({"tasks": {}}), updated: updated.updated, ..expected };
    assert_eq!(updated, expected);
}

#[tokio::test]
async fn test_update_definition_no_change() {
    let mut tx = transaction().await;
    let made = WorkflowDefinitionFixture::new_unique().create(&mut tx).await.unwrap();
    let update = WorkflowDefinitionUpdate::default();
    assert_eq!(WorkflowDefinitionRepository::update(&mut tx, made.id, &update).await.unwrap(), made);
}

#[tokio::test]
async fn test_update_definition_of_another_version() {
    let mut tx = transaction().await;
    let made = WorkflowDefinitionFixture::new_unique().create(&mut tx).await.unwrap();
    let update = WorkflowDefinitionUpdate {
        version: Some("2".to_owned()),
        unchanged_since: Some(made.updated),
        ..WorkflowDefinitionUpdate::default()
    };
    WorkflowDefinitionRepository::update(&mut tx, made.id, &update).await.unwrap();
    let again = WorkflowDefinitionRepository::update(&mut tx, made.id, &update).await;
    assert_conflict(again, ENTITY, &made.id);
}

#[tokio::test]
async fn test_update_definition_not_found() {
    let mut tx = transaction().await;
    let update = WorkflowDefinitionUpdate::default();
    let updated = WorkflowDefinitionRepository::update(&mut tx, NO_SUCH_ID, &update).await;
    assert_not_found(updated, ENTITY, &NO_SUCH_ID);
}

#[tokio::test]
async fn test_delete_definition() {
    let mut tx = transaction().await;
    let kept = WorkflowDefinitionFixture::new_unique().create(&mut tx).await.unwrap();
    let made = WorkflowDefinitionFixture::new_unique().create(&mut tx).await.unwrap();
    assert!(WorkflowDefinitionRepository::delete(&mut *tx, made.id).await.unwrap());
    assert!(!WorkflowDefinitionRepository::delete(&mut *tx, made.id).await.unwrap());
    assert_eq!(WorkflowDefinitionRepository::list(&mut *tx).await.unwrap(), [kept]);
}

#[tokio::test]
async fn test_delete_of_pack_or_action_removes_the_definition() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let action = ActionFixture::new_unique().create(&mut tx).await.unwrap();
    let fixture = WorkflowDefinitionFixture::new_unique;
    fixture().with_pack(&pack, "deploy").create(&mut tx).await.unwrap();
    fixture().with_action(&action).create(&mut tx).await.unwrap();
    let kept = fixture().create(&mut tx).await.unwrap();
    assert!(PackRepository::delete(&mut *tx, pack.id).await.unwrap());
    assert!(ActionRepository::delete(&mut *tx, action.id).await.unwrap());
    assert_eq!(WorkflowDefinitionRepository::list(&mut *tx).await.unwrap(), [kept]);
}
