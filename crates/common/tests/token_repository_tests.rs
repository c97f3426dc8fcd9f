//! The token repository: `attune.token`, and what tokens make of identities and their permissions.

mod helpers;

use attune_common::auth::{new_token, token_hash};
use attune_common::error::StoreError;
use attune_common::models::identity::{Grant, Identity, IdentityUpdate, Principal, Token};
use attune_common::repositories::{IdentityRepository, LIST_LIMIT, PermissionRepository, TokenRepository};
use attune_testkit::transaction;
use chrono::{SubsecRound, TimeDelta, Utc};
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

/// A token of the identity that runs out in so many seconds; for ever without.
async fn token_of(connection: &mut PgConnection, identity: &Identity, seconds: Option<i64>) -> Token {
    let expires = seconds.map(|seconds| Utc::now() + TimeDelta::seconds(seconds));
    let hash = token_hash(&new_token());
    TokenRepository::create(connection, identity.id, "laptop", &hash, expires).await.expect("a token")
}

#[test]
fn test_table_name_has_the_schema() {
    assert_eq!(TokenRepository::table_name(), "attune.token");
}

#[tokio::test]
async fn test_create_gives_back_all_but_the_hash() {
    let mut tx = transaction().await;
    let identity = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    // What the database can represent.
    let expires = Utc::now().trunc_subsecs(6) + TimeDelta::days(30);
    let hash = token_hash(&new_token());
    let token = TokenRepository::create(&mut *tx, identity.id, "ci", &hash, Some(expires)).await.unwrap();
    let expected = Token {
        id: token.id,
        identity: identity.id,
        name: "ci".to_owned(),
        expires: Some(expires),
        created: token.created,
    };
    assert_eq!(token, expected);
}

#[tokio::test]
async fn test_create_without_an_end() {
    let mut tx = transaction().await;
    let identity = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    let token = token_of(&mut tx, &identity, None).await;
    assert_eq!(token.expires, None);
    assert_eq!(TokenRepository::get_by_id(&mut *tx, token.id).await.unwrap(), token);
}

#[tokio::test]
async fn test_find_by_id() {
    let mut tx = transaction().await;
    let identity = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    let token = token_of(&mut tx, &identity, Some(60)).await;
    token_of(&mut tx, &identity, None).await;
    assert_eq!(TokenRepository::find_by_id(&mut *tx, token.id).await.unwrap(), Some(token));
    assert_eq!(TokenRepository::find_by_id(&mut *tx, NO_SUCH_ID).await.unwrap(), None);
}

#[tokio::test]
async fn test_get_by_id_not_found() {
    let mut tx = transaction().await;
    assert_not_found(TokenRepository::get_by_id(&mut *tx, NO_SUCH_ID).await, "token", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_list_of_identity_newest_first() {
    let mut tx = transaction().await;
    let identity = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    let other = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(TokenRepository::list_of_identity(&mut *tx, identity.id).await.unwrap(), []);
    let expired = token_of(&mut tx, &identity, Some(-1)).await;
    token_of(&mut tx, &other, None).await;
    let valid = token_of(&mut tx, &identity, None).await;
    assert_eq!(TokenRepository::list_of_identity(&mut *tx, identity.id).await.unwrap(), [valid, expired]);
}

#[tokio::test]
async fn test_list_of_identity_limit() {
    let mut tx = transaction().await;
    let identity = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    sqlx::query(
        "insert into attune.token (identity, name, hash)
         select $1, n::text, sha256(format('%s %s', $1::bigint, n)::bytea) from generate_series(0, 1000) n",
    )
    .bind(identity.id)
    .execute(&mut *tx)
    .await
    .unwrap();
    let listed = TokenRepository::list_of_identity(&mut *tx, identity.id).await.unwrap();
    assert_eq!(listed.len(), usize::try_from(LIST_LIMIT).unwrap());
    assert_eq!(listed[999].name, "1");
}

#[tokio::test]
async fn test_revoke_ends_one_token() {
    let mut tx = transaction().await;
    let identity = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    let (hash, kept) = (token_hash(&new_token()), token_hash(&new_token()));
    let token = TokenRepository::create(&mut *tx, identity.id, "a", &hash, None).await.unwrap();
    let other = TokenRepository::create(&mut *tx, identity.id, "b", &kept, None).await.unwrap();
    assert!(TokenRepository::revoke(&mut *tx, identity.id, token.id).await.unwrap());
    assert_eq!(TokenRepository::principal(&mut tx, &hash).await.unwrap(), None);
    assert!(TokenRepository::principal(&mut tx, &kept).await.unwrap().is_some());
    assert_eq!(TokenRepository::list_of_identity(&mut *tx, identity.id).await.unwrap(), [other]);
    assert!(!TokenRepository::revoke(&mut *tx, identity.id, token.id).await.unwrap());
}

#[tokio::test]
async fn test_revoke_of_what_another_identity_has() {
    let mut tx = transaction().await;
    let identity = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    let other = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    let token = token_of(&mut tx, &other, None).await;
    assert!(!TokenRepository::revoke(&mut *tx, identity.id, token.id).await.unwrap());
    assert_eq!(TokenRepository::get_by_id(&mut *tx, token.id).await.unwrap(), token);
}

#[tokio::test]
async fn test_revoke_all_of_one_identity() {
    let mut tx = transaction().await;
    let identity = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    let other = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    token_of(&mut tx, &identity, None).await;
    token_of(&mut tx, &identity, Some(-1)).await;
    let kept = token_of(&mut tx, &other, None).await;
    assert_eq!(TokenRepository::revoke_all(&mut *tx, identity.id).await.unwrap(), 2);
    assert_eq!(TokenRepository::revoke_all(&mut *tx, identity.id).await.unwrap(), 0);
    assert_eq!(TokenRepository::list_of_identity(&mut *tx, identity.id).await.unwrap(), []);
    assert_eq!(TokenRepository::list_of_identity(&mut *tx, other.id).await.unwrap(), [kept]);
}

#[tokio::test]
async fn test_delete_expired_of_one_identity() {
    let mut tx = transaction().await;
    let identity = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    let other = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    token_of(&mut tx, &identity, Some(-1)).await;
    let valid = token_of(&mut tx, &identity, Some(3600)).await;
    let endless = token_of(&mut tx, &identity, None).await;
    let others = token_of(&mut tx, &other, Some(-1)).await;
    assert_eq!(TokenRepository::delete_expired(&mut *tx, identity.id).await.unwrap(), 1);
    assert_eq!(TokenRepository::list_of_identity(&mut *tx, identity.id).await.unwrap(), [endless, valid]);
    assert_eq!(TokenRepository::list_of_identity(&mut *tx, other.id).await.unwrap(), [others]);
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
    let expected = Principal {
        execution: None,
        identity: Some(identity.id),
        login: identity.login,
        grants: vec![grant("rule", &["read"])],
    };
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
