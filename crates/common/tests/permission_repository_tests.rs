//! The permission repository: `attune.permission_set` and `attune.permission_assignment`.

mod helpers;

use attune_common::models::identity::{
    Grant, NewPermissionSet, PermissionAssignment, PermissionSet, PermissionSetUpdate,
};
use attune_common::repositories::{IdentityRepository, LIST_LIMIT, PackRepository, PermissionRepository};
use attune_testkit::transaction;
use helpers::checks::*;
use helpers::refs::unique_permission_set_ref;
use helpers::*;
use sqlx::PgConnection;

/// A permission set on its own, with one grant.
async fn any_set(connection: &mut PgConnection) -> PermissionSet {
    let new = NewPermissionSet {
        r#ref: unique_permission_set_ref(),
        grants: vec![grant("rule", &["read"])],
        ..NewPermissionSet::default()
    };
    PermissionRepository::create(connection, None, &new).await.expect("a permission set")
}

const NO_GRANTS: [Grant; 0] = [];

#[test]
fn test_table_name_has_the_schema() {
    assert_eq!(PermissionRepository::table_name(), "attune.permission_set");
}

#[tokio::test]
async fn test_create_minimal() {
    let mut tx = transaction().await;
    let new = NewPermissionSet { r#ref: unique_permission_set_ref(), ..NewPermissionSet::default() };
    let set = PermissionRepository::create(&mut *tx, None, &new).await.unwrap();
    let expected = PermissionSet {
        id: set.id,
        r#ref: new.r#ref,
        pack: None,
        pack_ref: None,
        label: None,
        description: None,
        grants: Vec::new(),
        created: set.created,
        updated: set.updated,
    };
    assert_eq!(set, expected);
}

#[tokio::test]
async fn test_create_with_everything() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let new = NewPermissionSet {
        r#ref: format!("{}.operator", pack.r#ref),
        label: Some("Operator".to_owned()),
        description: Some("Runs and cancels".to_owned()),
        grants: vec![grant("execution", &["read", "cancel"]), grant("*", &["read"])],
    };
    let set = PermissionRepository::create(&mut *tx, Some(pack.id), &new).await.unwrap();
    let expected = PermissionSet {
        id: set.id,
        r#ref: new.r#ref,
        pack: Some(pack.id),
        pack_ref: Some(pack.r#ref),
        label: new.label,
        description: new.description,
        grants: new.grants,
        created: set.created,
        updated: set.updated,
    };
    assert_eq!(set, expected);
}

#[tokio::test]
async fn test_create_ref_taken() {
    let mut tx = transaction().await;
    let set = any_set(&mut tx).await;
    let new = NewPermissionSet { r#ref: set.r#ref.clone(), ..NewPermissionSet::default() };
    let again = PermissionRepository::create(&mut *tx, None, &new).await;
    assert_already_exists(again, "permission_set", "ref", &set.r#ref);
}

#[tokio::test]
async fn test_create_refused_refs() {
    for set_ref in ["", "viewer", "ops.", "Ops.viewer", "ops viewer.x"] {
        let mut tx = transaction().await;
        let new = NewPermissionSet { r#ref: set_ref.to_owned(), ..NewPermissionSet::default() };
        let created = PermissionRepository::create(&mut *tx, None, &new).await;
        assert_refused_value(created, "permission_set", "ref", set_ref);
    }
}

#[tokio::test]
async fn test_create_invalid_pack() {
    let mut tx = transaction().await;
    let new = NewPermissionSet { r#ref: unique_permission_set_ref(), ..NewPermissionSet::default() };
    let created = PermissionRepository::create(&mut *tx, Some(NO_SUCH_ID), &new).await;
    assert_invalid_reference(created, "permission_set", "pack");
}

#[tokio::test]
async fn test_update_everything() {
    let mut tx = transaction().await;
    let set = any_set(&mut tx).await;
    let kept = any_set(&mut tx).await;
    let update = PermissionSetUpdate {
        label: Some("New".to_owned()),
        description: Some("Newer".to_owned()),
        grants: Some(vec![grant("key", &["read", "update"])]),
        unchanged_since: Some(set.updated),
    };
    let updated = PermissionRepository::update(&mut tx, set.id, &update).await.unwrap();
    assert!(updated.updated > set.updated);
    let expected = PermissionSet {
        label: Some("New".to_owned()),
        description: Some("Newer".to_owned()),
        grants: vec![grant("key", &["read", "update"])],
        updated: updated.updated,
        ..set
    };
    assert_eq!(updated, expected);
    assert_eq!(PermissionRepository::get_by_id(&mut *tx, kept.id).await.unwrap(), kept);
}

#[tokio::test]
async fn test_update_label_keeps_the_grants() {
    let mut tx = transaction().await;
    let set = any_set(&mut tx).await;
    let update = PermissionSetUpdate { label: Some("New".to_owned()), ..PermissionSetUpdate::default() };
    let updated = PermissionRepository::update(&mut tx, set.id, &update).await.unwrap();
    let expected = PermissionSet { label: Some("New".to_owned()), updated: updated.updated, ..set };
    assert_eq!(updated, expected);
}

#[tokio::test]
async fn test_update_grants_holds_at_once_for_all_who_have_it() {
    let mut tx = transaction().await;
    let set = any_set(&mut tx).await;
    let identity = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    PermissionRepository::assign(&mut *tx, identity.id, set.id).await.unwrap();
    let update = PermissionSetUpdate { grants: Some(Vec::new()), ..PermissionSetUpdate::default() };
    PermissionRepository::update(&mut tx, set.id, &update).await.unwrap();
    assert_eq!(PermissionRepository::grants_of(&mut *tx, identity.id).await.unwrap(), NO_GRANTS);
}

#[tokio::test]
async fn test_update_no_change() {
    let mut tx = transaction().await;
    let set = any_set(&mut tx).await;
    let same = PermissionSetUpdate { grants: Some(set.grants.clone()), ..PermissionSetUpdate::default() };
    for update in [PermissionSetUpdate::default(), same] {
        assert_eq!(PermissionRepository::update(&mut tx, set.id, &update).await.unwrap(), set);
    }
}

#[tokio::test]
async fn test_update_stale() {
    let mut tx = transaction().await;
    let seen = any_set(&mut tx).await;
    let update = |resource: &str| PermissionSetUpdate {
        grants: Some(vec![grant(resource, &["*"])]),
        unchanged_since: Some(seen.updated),
        ..PermissionSetUpdate::default()
    };
    let first = PermissionRepository::update(&mut tx, seen.id, &update("rule")).await.unwrap();
    let second = PermissionRepository::update(&mut tx, seen.id, &update("key")).await;
    assert_conflict(second, "permission set", &seen.id);
    assert_eq!(PermissionRepository::get_by_id(&mut *tx, seen.id).await.unwrap(), first);
}

#[tokio::test]
async fn test_update_not_found() {
    let mut tx = transaction().await;
    let update = PermissionSetUpdate { grants: Some(Vec::new()), ..PermissionSetUpdate::default() };
    let updated = PermissionRepository::update(&mut tx, NO_SUCH_ID, &update).await;
    assert_not_found(updated, "permission set", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_put_makes_a_set() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let new = NewPermissionSet {
        r#ref: format!("{}.operator", pack.r#ref),
        label: Some("Operator".to_owned()),
        description: Some("Runs and cancels".to_owned()),
        grants: vec![grant("execution", &["read", "cancel"]), grant("*", &["read"])],
    };
    let set = PermissionRepository::put(&mut *tx, pack.id, &new).await.unwrap();
    let expected = PermissionSet {
        id: set.id,
        r#ref: new.r#ref,
        pack: Some(pack.id),
        pack_ref: Some(pack.r#ref),
        label: new.label,
        description: new.description,
        grants: new.grants,
        created: set.created,
        updated: set.updated,
    };
    assert_eq!(set, expected);
}

#[tokio::test]
async fn test_put_keeps_the_assignments() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let identity = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    let fixture = PermissionSetFixture::new(&pack, "viewer");
    let before = fixture.clone().with_grant("pack", &["read"]).create(&mut tx).await.unwrap();
    PermissionRepository::assign(&mut *tx, identity.id, before.id).await.unwrap();
    let after = fixture.with_grant("key", &["read"]).create(&mut tx).await.unwrap();
    assert_eq!((after.id, after.created), (before.id, before.created));
    let grants = PermissionRepository::grants_of(&mut *tx, identity.id).await.unwrap();
    assert_eq!(grants, [grant("key", &["read"])]);
}

#[tokio::test]
async fn test_put_invalid_ref() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let put = PermissionSetFixture::new(&pack, "Viewer").create(&mut tx).await;
    assert_invalid_value(put, "permission_set", "permission_set_ref_format");
}

#[tokio::test]
async fn test_put_invalid_pack() {
    let mut tx = transaction().await;
    let new = NewPermissionSet { r#ref: "test.viewer".to_owned(), ..NewPermissionSet::default() };
    let put = PermissionRepository::put(&mut *tx, NO_SUCH_ID, &new).await;
    assert_invalid_reference(put, "permission_set", "pack");
}

#[tokio::test]
async fn test_get_by_id_and_ref() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let set = PermissionSetFixture::new(&pack, "viewer").create(&mut tx).await.unwrap();
    PermissionSetFixture::new(&pack, "admin").create(&mut tx).await.unwrap();
    assert_eq!(PermissionRepository::get_by_id(&mut *tx, set.id).await.unwrap(), set);
    assert_eq!(PermissionRepository::get_by_ref(&mut *tx, &set.r#ref).await.unwrap(), set);
}

#[tokio::test]
async fn test_find_not_found() {
    let mut tx = transaction().await;
    any_set(&mut tx).await;
    assert_eq!(PermissionRepository::find_by_id(&mut *tx, NO_SUCH_ID).await.unwrap(), None);
    assert_eq!(PermissionRepository::find_by_ref(&mut *tx, "test.none").await.unwrap(), None);
}

#[tokio::test]
async fn test_get_by_id_not_found() {
    let mut tx = transaction().await;
    let got = PermissionRepository::get_by_id(&mut *tx, NO_SUCH_ID).await;
    assert_not_found(got, "permission set", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_get_by_ref_not_found() {
    let mut tx = transaction().await;
    let got = PermissionRepository::get_by_ref(&mut *tx, "test.none").await;
    assert_not_found(got, "permission set", "test.none");
}

#[tokio::test]
async fn test_list_empty() {
    let mut tx = transaction().await;
    assert_eq!(PermissionRepository::list(&mut *tx).await.unwrap(), []);
}

#[tokio::test]
async fn test_list_by_ref() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let second = PermissionSetFixture::new(&pack, "b").create(&mut tx).await.unwrap();
    let first = PermissionSetFixture::new(&pack, "a").create(&mut tx).await.unwrap();
    assert_eq!(PermissionRepository::list(&mut *tx).await.unwrap(), [first, second]);
}

#[tokio::test]
async fn test_remove_others_keeps_what_the_pack_contains() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let kept = PermissionSetFixture::new(&pack, "kept").create(&mut tx).await.unwrap();
    PermissionSetFixture::new(&pack, "old").create(&mut tx).await.unwrap();
    let refs = std::slice::from_ref(&kept.r#ref);
    assert_eq!(PermissionRepository::remove_others(&mut *tx, pack.id, refs).await.unwrap(), 1);
    assert_eq!(PermissionRepository::list_of_pack(&mut *tx, pack.id).await.unwrap(), [kept]);
}

#[tokio::test]
async fn test_assign_adds_the_grants_by_ref() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let b = PermissionSetFixture::new(&pack, "b").with_grant("rule", &["*"]).create(&mut tx).await.unwrap();
    let a = PermissionSetFixture::new(&pack, "a")
        .with_grant("pack", &["read"])
        .with_grant("key", &["read"])
        .create(&mut tx)
        .await
        .unwrap();
    let identity = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    let other = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    for set in [b.id, a.id] {
        PermissionRepository::assign(&mut *tx, identity.id, set).await.unwrap();
    }
    let grants = PermissionRepository::grants_of(&mut *tx, identity.id).await.unwrap();
    assert_eq!(grants, [grant("pack", &["read"]), grant("key", &["read"]), grant("rule", &["*"])]);
    assert_eq!(PermissionRepository::grants_of(&mut *tx, other.id).await.unwrap(), NO_GRANTS);
}

#[tokio::test]
async fn test_assign_twice_is_once() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let set = PermissionSetFixture::new(&pack, "a").with_grant("rule", &["*"]).create(&mut tx).await.unwrap();
    let identity = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    PermissionRepository::assign(&mut *tx, identity.id, set.id).await.unwrap();
    PermissionRepository::assign(&mut *tx, identity.id, set.id).await.unwrap();
    let grants = PermissionRepository::grants_of(&mut *tx, identity.id).await.unwrap();
    assert_eq!(grants, [grant("rule", &["*"])]);
}

#[tokio::test]
async fn test_assign_invalid_identity() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let set = PermissionSetFixture::new(&pack, "a").create(&mut tx).await.unwrap();
    let assigned = PermissionRepository::assign(&mut *tx, NO_SUCH_ID, set.id).await;
    assert_invalid_reference(assigned, "permission_assignment", "identity");
}

#[tokio::test]
async fn test_assign_invalid_permission_set() {
    let mut tx = transaction().await;
    let identity = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    let assigned = PermissionRepository::assign(&mut *tx, identity.id, NO_SUCH_ID).await;
    assert_invalid_reference(assigned, "permission_assignment", "permission_set");
}

#[tokio::test]
async fn test_delete_of_the_set_takes_its_grants_away() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let set = PermissionSetFixture::new(&pack, "a").with_grant("rule", &["*"]).create(&mut tx).await.unwrap();
    let identity = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    PermissionRepository::assign(&mut *tx, identity.id, set.id).await.unwrap();
    assert!(PermissionRepository::delete(&mut *tx, set.id).await.unwrap());
    assert_eq!(PermissionRepository::grants_of(&mut *tx, identity.id).await.unwrap(), NO_GRANTS);
}

#[tokio::test]
async fn test_delete_of_the_pack_takes_its_grants_away() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let set = PermissionSetFixture::new(&pack, "a").with_grant("rule", &["*"]).create(&mut tx).await.unwrap();
    let identity = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    PermissionRepository::assign(&mut *tx, identity.id, set.id).await.unwrap();
    PackRepository::delete(&mut *tx, pack.id).await.unwrap();
    assert_eq!(PermissionRepository::grants_of(&mut *tx, identity.id).await.unwrap(), NO_GRANTS);
}

#[tokio::test]
async fn test_delete_not_found() {
    let mut tx = transaction().await;
    assert!(!PermissionRepository::delete(&mut *tx, NO_SUCH_ID).await.unwrap());
}

#[tokio::test]
async fn test_list_limit() {
    let mut tx = transaction().await;
    let prefix = unique_permission_set_ref();
    sqlx::query(
        "insert into attune.permission_set (ref)
         select format('%s.%s', $1::text, lpad(n::text, 4, '0')) from generate_series(0, 1000) n",
    )
    .bind(&prefix)
    .execute(&mut *tx)
    .await
    .unwrap();
    let listed = PermissionRepository::list(&mut *tx).await.unwrap();
    assert_eq!(listed.len(), usize::try_from(LIST_LIMIT).unwrap());
    assert_eq!(listed[999].r#ref, format!("{prefix}.0999"));
}

#[tokio::test]
async fn test_assign_gives_back_the_assignment() {
    let mut tx = transaction().await;
    let set = any_set(&mut tx).await;
    let identity = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    let assigned = PermissionRepository::assign(&mut *tx, identity.id, set.id).await.unwrap();
    let expected = PermissionAssignment {
        id: assigned.id,
        identity: identity.id,
        permission_set: set.id,
        created: assigned.created,
    };
    assert_eq!(assigned, expected);
    // The one that there was, and not another.
    assert_eq!(PermissionRepository::assign(&mut *tx, identity.id, set.id).await.unwrap(), expected);
}

#[tokio::test]
async fn test_assignments_of_identity() {
    let mut tx = transaction().await;
    let (first, second) = (any_set(&mut tx).await, any_set(&mut tx).await);
    let identity = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    let other = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    let a = PermissionRepository::assign(&mut *tx, identity.id, second.id).await.unwrap();
    PermissionRepository::assign(&mut *tx, other.id, first.id).await.unwrap();
    let b = PermissionRepository::assign(&mut *tx, identity.id, first.id).await.unwrap();
    assert_eq!(PermissionRepository::assignments_of_identity(&mut *tx, identity.id).await.unwrap(), [a, b]);
    assert_eq!(PermissionRepository::assignments_of_identity(&mut *tx, NO_SUCH_ID).await.unwrap(), []);
}

#[tokio::test]
async fn test_assignments_of_set() {
    let mut tx = transaction().await;
    let (set, other) = (any_set(&mut tx).await, any_set(&mut tx).await);
    let first = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    let second = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    let a = PermissionRepository::assign(&mut *tx, second.id, set.id).await.unwrap();
    PermissionRepository::assign(&mut *tx, first.id, other.id).await.unwrap();
    let b = PermissionRepository::assign(&mut *tx, first.id, set.id).await.unwrap();
    assert_eq!(PermissionRepository::assignments_of_set(&mut *tx, set.id).await.unwrap(), [a, b]);
    assert_eq!(PermissionRepository::assignments_of_set(&mut *tx, NO_SUCH_ID).await.unwrap(), []);
}

#[tokio::test]
async fn test_assignments_limit() {
    let mut tx = transaction().await;
    let set = any_set(&mut tx).await;
    sqlx::query(
        "with holder as (
             insert into attune.identity (login)
             select format('%s_%s', $2::text, n) from generate_series(0, 1000) n
             returning id
         )
         insert into attune.permission_assignment (identity, permission_set) select id, $1 from holder",
    )
    .bind(set.id)
    .bind(unique_login())
    .execute(&mut *tx)
    .await
    .unwrap();
    let listed = PermissionRepository::assignments_of_set(&mut *tx, set.id).await.unwrap();
    assert_eq!(listed.len(), usize::try_from(LIST_LIMIT).unwrap());
}

#[tokio::test]
async fn test_sets_of_an_identity_by_ref() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let b = PermissionSetFixture::new(&pack, "b").create(&mut tx).await.unwrap();
    let a = PermissionSetFixture::new(&pack, "a").create(&mut tx).await.unwrap();
    PermissionSetFixture::new(&pack, "c").create(&mut tx).await.unwrap();
    let identity = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    for set in [&b, &a] {
        PermissionRepository::assign(&mut *tx, identity.id, set.id).await.unwrap();
    }
    assert_eq!(PermissionRepository::sets_of(&mut *tx, identity.id).await.unwrap(), [a, b]);
}

#[tokio::test]
async fn test_unassign_takes_one_set_from_one_identity() {
    let mut tx = transaction().await;
    let (set, kept) = (any_set(&mut tx).await, any_set(&mut tx).await);
    let identity = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    let other = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    for (identity, set) in [(identity.id, set.id), (identity.id, kept.id), (other.id, set.id)] {
        PermissionRepository::assign(&mut *tx, identity, set).await.unwrap();
    }
    assert!(PermissionRepository::unassign(&mut *tx, identity.id, set.id).await.unwrap());
    assert_eq!(PermissionRepository::sets_of(&mut *tx, identity.id).await.unwrap(), [kept]);
    assert_eq!(PermissionRepository::sets_of(&mut *tx, other.id).await.unwrap(), std::slice::from_ref(&set));
    // Nothing is left to take.
    assert!(!PermissionRepository::unassign(&mut *tx, identity.id, set.id).await.unwrap());
}

#[tokio::test]
async fn test_delete_of_the_identity_ends_its_assignments() {
    let mut tx = transaction().await;
    let set = any_set(&mut tx).await;
    let identity = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    PermissionRepository::assign(&mut *tx, identity.id, set.id).await.unwrap();
    IdentityRepository::delete(&mut *tx, identity.id).await.unwrap();
    assert_eq!(PermissionRepository::assignments_of_set(&mut *tx, set.id).await.unwrap(), []);
    assert_eq!(PermissionRepository::get_by_id(&mut *tx, set.id).await.unwrap(), set);
}
