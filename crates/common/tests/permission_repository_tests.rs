//! The permission repository: `attune.permission_set` and `attune.permission_assignment`, and what tokens make of them:
//! `attune.token`.

mod helpers;

use attune_common::auth::{new_token, token_hash};
use attune_common::error::StoreError;
use attune_common::models::identity::{
    Grant, Identity, IdentityUpdate, NewPermissionSet, PermissionSet, Principal,
};
use attune_common::repositories::{
    IdentityRepository, PackRepository, PermissionRepository, TokenRepository,
};
use attune_testkit::transaction;
use chrono::{TimeDelta, Utc};
use helpers::checks::*;
use helpers::*;
use sqlx::PgConnection;

/// An identity with a token, and the hash of that.
async fn signed_in(connection: &mut PgConnection) -> (Identity, Vec<u8>) {
    let identity = IdentityFixture::new_unique().create(&mut *connection).await.expect("an identity");
    let hash = token_hash(&new_token());
    TokenRepository::create(connection, identity.id, "laptop", &hash, None).await.expect("a token");
    (identity, hash)
}

const NO_GRANTS: [Grant; 0] = [];

#[test]
fn test_table_names_have_the_schema() {
    assert_eq!(PermissionRepository::table_name(), "attune.permission_set");
    assert_eq!(TokenRepository::table_name(), "attune.token");
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
async fn test_principal_of_a_token() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let set =
        PermissionSetFixture::new(&pack, "a").with_grant("rule", &["read"]).create(&mut tx).await.unwrap();
    let (identity, hash) = signed_in(&mut tx).await;
    signed_in(&mut tx).await;
    PermissionRepository::assign(&mut *tx, identity.id, set.id).await.unwrap();
    let principal = TokenRepository::principal(&mut tx, &hash).await.unwrap().unwrap();
    assert!(principal.may("rule", "read") && !principal.may("rule", "delete"));
    let expected =
        Principal { identity: identity.id, login: identity.login, grants: vec![grant("rule", &["read"])] };
    assert_eq!(principal, expected);
}

#[tokio::test]
async fn test_principal_without_grants_may_nothing() {
    let mut tx = transaction().await;
    let (_, hash) = signed_in(&mut tx).await;
    let principal = TokenRepository::principal(&mut tx, &hash).await.unwrap().unwrap();
    assert_eq!(principal.grants, NO_GRANTS);
    assert!(!principal.may("pack", "read"));
}

#[tokio::test]
async fn test_principal_of_an_unknown_token() {
    let mut tx = transaction().await;
    signed_in(&mut tx).await;
    assert_eq!(TokenRepository::principal(&mut tx, &token_hash("attune_guess")).await.unwrap(), None);
    assert_eq!(TokenRepository::principal(&mut tx, b"").await.unwrap(), None);
}

#[tokio::test]
async fn test_principal_of_an_expired_token() {
    let mut tx = transaction().await;
    let identity = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    for (name, seconds, valid) in [("old", -1, false), ("new", 3600, true)] {
        let hash = token_hash(name);
        let expires = Some(Utc::now() + TimeDelta::seconds(seconds));
        TokenRepository::create(&mut *tx, identity.id, name, &hash, expires).await.unwrap();
        let principal = TokenRepository::principal(&mut tx, &hash).await.unwrap();
        assert_eq!(principal.is_some(), valid, "{name}");
    }
}

#[tokio::test]
async fn test_principal_of_a_disabled_identity() {
    let mut tx = transaction().await;
    let (identity, hash) = signed_in(&mut tx).await;
    let update = IdentityUpdate { enabled: Some(false), ..IdentityUpdate::default() };
    IdentityRepository::update(&mut tx, identity.id, &update).await.unwrap();
    assert_eq!(TokenRepository::principal(&mut tx, &hash).await.unwrap(), None);
}

#[tokio::test]
async fn test_principal_of_a_deleted_identity() {
    let mut tx = transaction().await;
    let (identity, hash) = signed_in(&mut tx).await;
    IdentityRepository::delete(&mut *tx, identity.id).await.unwrap();
    assert_eq!(TokenRepository::principal(&mut tx, &hash).await.unwrap(), None);
    assert!(!TokenRepository::delete_by_hash(&mut *tx, &hash).await.unwrap());
}

#[tokio::test]
async fn test_create_token_invalid_identity() {
    let mut tx = transaction().await;
    let created = TokenRepository::create(&mut *tx, NO_SUCH_ID, "x", &token_hash("t"), None).await;
    assert_invalid_reference(created, "token", "identity");
}

#[tokio::test]
async fn test_create_token_never_stores_the_token_itself() {
    let mut tx = transaction().await;
    let identity = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    let created = TokenRepository::create(&mut *tx, identity.id, "x", new_token().as_bytes(), None).await;
    assert_invalid_value(created, "token", "token_hash_length");
}

#[tokio::test]
async fn test_create_token_twice() {
    let mut tx = transaction().await;
    let (identity, hash) = signed_in(&mut tx).await;
    let again = TokenRepository::create(&mut *tx, identity.id, "again", &hash, None).await;
    assert!(matches!(&again, Err(StoreError::AlreadyExists { field, .. }) if field == "hash"), "{again:?}");
}

#[tokio::test]
async fn test_delete_token_by_hash() {
    let mut tx = transaction().await;
    let (_, hash) = signed_in(&mut tx).await;
    let (_, other) = signed_in(&mut tx).await;
    assert!(TokenRepository::delete_by_hash(&mut *tx, &hash).await.unwrap());
    assert_eq!(TokenRepository::principal(&mut tx, &hash).await.unwrap(), None);
    assert!(TokenRepository::principal(&mut tx, &other).await.unwrap().is_some());
    assert!(!TokenRepository::delete_by_hash(&mut *tx, &hash).await.unwrap());
}
