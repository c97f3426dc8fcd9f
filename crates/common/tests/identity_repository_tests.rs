//! The identity repository: `attune.identity`.

mod helpers;

use attune_common::models::identity::{Identity, IdentityUpdate, NewIdentity};
use attune_common::repositories::{IdentityRepository, LIST_LIMIT};
use attune_testkit::transaction;
use helpers::checks::*;
use helpers::*;
use serde_json::json;

const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2g";

fn full(login: &str) -> NewIdentity {
    NewIdentity {
        login: login.to_owned(),
        display_name: Some("Anna".to_owned()),
        password_hash: Some(HASH.to_owned()),
        attributes: Some(json!({"team": "sre"})),
    }
}

fn expected(row: &Identity, new: NewIdentity) -> Identity {
    Identity {
        id: row.id,
        login: new.login,
        display_name: new.display_name,
        password_hash: new.password_hash,
        attributes: new.attributes.unwrap_or(json!({})),
        enabled: true,
        created: row.created,
        updated: row.updated,
    }
}

#[test]
fn test_table_name_has_the_schema() {
    assert_eq!(IdentityRepository::table_name(), "attune.identity");
}

#[tokio::test]
async fn test_create_minimal() {
    let mut tx = transaction().await;
    let fixture = IdentityFixture::new_unique();
    let identity = fixture.clone().create(&mut tx).await.unwrap();
    assert_eq!(identity, expected(&identity, fixture.new));
}

#[tokio::test]
async fn test_create_with_everything() {
    let mut tx = transaction().await;
    let new = full(&unique_login());
    let identity = IdentityRepository::create(&mut *tx, &new).await.unwrap();
    assert_eq!(identity, expected(&identity, new));
}

#[tokio::test]
async fn test_create_login_taken() {
    let mut tx = transaction().await;
    let identity = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    let again = IdentityFixture::new(&identity.login).create(&mut tx).await;
    assert_already_exists(again, "identity", "login", &identity.login);
}

#[tokio::test]
async fn test_create_without_login() {
    let mut tx = transaction().await;
    let created = IdentityFixture::new("").create(&mut tx).await;
    assert_invalid_value(created, "identity", "identity_login_not_empty");
}

#[tokio::test]
async fn test_create_never_stores_a_password_itself() {
    for password in ["hunter2", "", "$2b$12$abcdefghijklmnopqrstuv", "x$argon2id$"] {
        let mut tx = transaction().await;
        let created = IdentityFixture::new_unique().with_password_hash(password).create(&mut tx).await;
        assert_invalid_value(created, "identity", "identity_password_hash_form");
    }
}

#[tokio::test]
async fn test_debug_shows_no_hash() {
    let mut tx = transaction().await;
    let new = full(&unique_login());
    let identity = IdentityRepository::create(&mut *tx, &new).await.unwrap();
    let update = IdentityUpdate { password_hash: Some(HASH.to_owned()), ..IdentityUpdate::default() };
    assert!(identity.password_hash.is_some());
    for shown in [format!("{identity:?}"), format!("{new:?}"), format!("{update:?}")] {
        assert!(!shown.contains("argon2id"), "{shown}");
    }
}

#[tokio::test]
async fn test_find_by_id_exists() {
    let mut tx = transaction().await;
    let identity = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(IdentityRepository::find_by_id(&mut *tx, identity.id).await.unwrap(), Some(identity));
}

#[tokio::test]
async fn test_find_by_id_not_found() {
    let mut tx = transaction().await;
    assert_eq!(IdentityRepository::find_by_id(&mut *tx, NO_SUCH_ID).await.unwrap(), None);
}

#[tokio::test]
async fn test_get_by_id_not_found() {
    let mut tx = transaction().await;
    assert_not_found(IdentityRepository::get_by_id(&mut *tx, NO_SUCH_ID).await, "identity", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_find_by_login() {
    let mut tx = transaction().await;
    let identity = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    let upper_case = identity.login.to_uppercase();
    assert_eq!(IdentityRepository::find_by_login(&mut *tx, &upper_case).await.unwrap(), None);
    let found = IdentityRepository::find_by_login(&mut *tx, &identity.login).await.unwrap();
    assert_eq!(found, Some(identity));
}

#[tokio::test]
async fn test_any_exists() {
    let mut tx = transaction().await;
    assert!(!IdentityRepository::any_exists(&mut *tx).await.unwrap());
    IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    assert!(IdentityRepository::any_exists(&mut *tx).await.unwrap());
}

#[tokio::test]
async fn test_list_empty() {
    let mut tx = transaction().await;
    assert_eq!(IdentityRepository::list(&mut *tx).await.unwrap(), []);
}

#[tokio::test]
async fn test_list_by_login() {
    let mut tx = transaction().await;
    let prefix = unique_login();
    let second = IdentityFixture::new(&format!("{prefix}_b")).create(&mut tx).await.unwrap();
    let first = IdentityFixture::new(&format!("{prefix}_a")).create(&mut tx).await.unwrap();
    assert_eq!(IdentityRepository::list(&mut *tx).await.unwrap(), [first, second]);
}

#[tokio::test]
async fn test_update_everything() {
    let mut tx = transaction().await;
    let identity = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    let update = IdentityUpdate {
        display_name: Some("Bob".to_owned()),
        password_hash: Some(HASH.to_owned()),
        attributes: Some(json!({"a": 1})),
        enabled: Some(false),
        unchanged_since: Some(identity.updated),
    };
    let updated = IdentityRepository::update(&mut tx, identity.id, &update).await.unwrap();
    assert!(updated.updated > identity.updated);
    let expected = Identity {
        display_name: Some("Bob".to_owned()),
        password_hash: Some(HASH.to_owned()),
        attributes: json!({"a": 1}),
        enabled: false,
        updated: updated.updated,
        ..identity
    };
    assert_eq!(updated, expected);
}

#[tokio::test]
async fn test_update_one_column_keeps_the_others() {
    let mut tx = transaction().await;
    let identity = IdentityRepository::create(&mut *tx, &full(&unique_login())).await.unwrap();
    let update = IdentityUpdate { enabled: Some(false), ..IdentityUpdate::default() };
    let updated = IdentityRepository::update(&mut tx, identity.id, &update).await.unwrap();
    assert_eq!(updated, Identity { enabled: false, updated: updated.updated, ..identity });
}

#[tokio::test]
async fn test_update_no_change() {
    let mut tx = transaction().await;
    let identity = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    let updated = IdentityRepository::update(&mut tx, identity.id, &IdentityUpdate::default()).await.unwrap();
    assert_eq!(updated, identity);
}

#[tokio::test]
async fn test_update_not_found() {
    let mut tx = transaction().await;
    let update = IdentityUpdate { enabled: Some(false), ..IdentityUpdate::default() };
    let updated = IdentityRepository::update(&mut tx, NO_SUCH_ID, &update).await;
    assert_not_found(updated, "identity", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_delete() {
    let mut tx = transaction().await;
    let kept = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    let identity = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    assert!(IdentityRepository::delete(&mut *tx, identity.id).await.unwrap());
    assert_eq!(IdentityRepository::list(&mut *tx).await.unwrap(), [kept]);
}

#[tokio::test]
async fn test_delete_not_found() {
    let mut tx = transaction().await;
    assert!(!IdentityRepository::delete(&mut *tx, NO_SUCH_ID).await.unwrap());
}

#[tokio::test]
async fn test_list_limit() {
    let mut tx = transaction().await;
    let prefix = unique_login();
    sqlx::query(
        "insert into attune.identity (login)
         select format('%s_%s', $1::text, lpad(n::text, 4, '0')) from generate_series(0, 1000) n",
    )
    .bind(&prefix)
    .execute(&mut *tx)
    .await
    .unwrap();
    let listed = IdentityRepository::list(&mut *tx).await.unwrap();
    assert_eq!(listed.len(), usize::try_from(LIST_LIMIT).unwrap());
    assert_eq!(listed[999].login, format!("{prefix}_0999"));
}

#[tokio::test]
async fn test_create_refused_values_are_named_but_for_secrets() {
    let mut tx = transaction().await;
    assert_refused_value(IdentityFixture::new("").create(&mut tx).await, "identity", "login", "");
    let mut tx = transaction().await;
    let created = IdentityFixture::new_unique().with_password_hash("hunter2").create(&mut tx).await;
    let shown = format!("{created:?} {}", created.as_ref().unwrap_err());
    assert!(shown.contains("password_hash") && !shown.contains("hunter2"), "{shown}");
}

#[tokio::test]
async fn test_update_never_stores_a_password_itself() {
    let mut tx = transaction().await;
    let identity = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    let update = IdentityUpdate { password_hash: Some("hunter2".to_owned()), ..IdentityUpdate::default() };
    let updated = IdentityRepository::update(&mut tx, identity.id, &update).await;
    let shown = format!("{updated:?} {}", updated.as_ref().unwrap_err());
    assert!(shown.contains("password_hash") && !shown.contains("hunter2"), "{shown}");
    assert_invalid_value(updated, "identity", "identity_password_hash_form");
}

#[tokio::test]
async fn test_update_stale() {
    let mut tx = transaction().await;
    let seen = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    let update = |name: &str| IdentityUpdate {
        display_name: Some(name.to_owned()),
        unchanged_since: Some(seen.updated),
        ..IdentityUpdate::default()
    };
    let first = IdentityRepository::update(&mut tx, seen.id, &update("first")).await.unwrap();
    let second = IdentityRepository::update(&mut tx, seen.id, &update("second")).await;
    assert_conflict(second, "identity", &seen.id);
    assert_eq!(IdentityRepository::get_by_id(&mut *tx, seen.id).await.unwrap(), first);
}

#[tokio::test]
async fn test_get_by_login_not_found() {
    let mut tx = transaction().await;
    let identity = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(IdentityRepository::get_by_login(&mut *tx, &identity.login).await.unwrap(), identity);
    assert_not_found(IdentityRepository::get_by_login(&mut *tx, "nobody").await, "identity", "nobody");
}
