//! The errors of the store as callers and people see them.

mod helpers;

use attune_common::error::StoreError;
use attune_common::models::identity::{IdentityUpdate, NewIdentity};
use attune_common::models::pack::{PackFile, PackUpdate};
use attune_common::models::worker::WorkerRegistration;
use attune_common::repositories::{
    EventRepository, IdentityRepository, PackRepository, RuleRepository, TokenRepository, WorkerRepository,
};
use attune_testkit::{TestDatabase, transaction};
use helpers::checks::*;
use helpers::steps::*;
use helpers::*;
use serde::Serialize;
use serde_json::{Value, json};

#[tokio::test]
async fn test_not_found_says_what() {
    let mut tx = transaction().await;
    let error = EventRepository::get_by_id(&mut *tx, NO_SUCH_ID).await.unwrap_err();
    assert_eq!(error.to_string(), format!("event {NO_SUCH_ID} does not exist"));
}

#[tokio::test]
async fn test_already_exists_says_which_value() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let error = PackFixture::new(&pack.r#ref).create(&mut tx).await.unwrap_err();
    assert_eq!(error.to_string(), format!("pack with this ref exists already: {}", pack.r#ref));
}

#[tokio::test]
async fn test_already_exists_of_a_value_with_brackets() {
    let mut tx = transaction().await;
    let login = format!("{} (a)=(b) already exists.", unique_login());
    IdentityFixture::new(&login).create(&mut tx).await.unwrap();
    assert_already_exists(IdentityFixture::new(&login).create(&mut tx).await, "identity", "login", &login);
}

#[tokio::test]
async fn test_already_exists_of_a_primary_key() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let file = PackFile { path: "a".to_owned(), content: Vec::new(), executable: false };
    let stored = PackRepository::replace_files(&mut tx, pack.id, &[file.clone(), file]).await;
    match stored {
        Err(StoreError::AlreadyExists { field, constraint, value, .. }) => {
            let value = value.as_deref();
            let expected = format!("{}, a", pack.id);
            assert_eq!((&*field, &*constraint, value), ("pack_path", "pack_file_pkey", Some(&*expected)));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn test_invalid_reference_says_to_what() {
    let mut tx = transaction().await;
    let error = EventFixture::new(Some(NO_SUCH_ID), "test.x").create(&mut tx).await.unwrap_err();
    let sentence = format!("event refers to a trigger that does not exist: {NO_SUCH_ID}");
    assert_eq!(error.to_string(), sentence);
}

#[tokio::test]
async fn test_a_fault_of_the_program_is_not_worth_another_try() {
    let mut tx = transaction().await;
    let fault = sqlx::query("select no_such_column").execute(&mut *tx).await.unwrap_err();
    let error = StoreError::from(fault);
    assert!(matches!(error, StoreError::Database(_)) && !error.is_unavailable(), "{error:?}");
}

#[tokio::test]
async fn test_a_terminated_connection_is_unavailable() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut *connection).await.unwrap();
    sqlx::query("select pg_terminate_backend($1, 10000)").bind(pid).execute(database.pool()).await.unwrap();
    let error = EventRepository::list(&mut *connection).await.unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
    // The pool goes on with another connection.
    drop(connection);
    assert_eq!(EventRepository::list(database.pool()).await.unwrap(), []);
}

#[tokio::test]
async fn test_a_terminated_statement_is_unavailable() {
    let database = TestDatabase::create().await;
    let mut holder = attune_common::db::begin(database.pool()).await.unwrap();
    PackFixture::new("held_pack").create(&mut holder).await.unwrap();
    let mut connection = database.pool().acquire().await.unwrap();
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut *connection).await.unwrap();
    // The statement waits for the other transaction when its server process is ended.
    let (created, ()) = tokio::join!(PackFixture::new("held_pack").create(&mut connection), async {
        until_blocked(database.pool(), 1).await;
        sqlx::query("select pg_terminate_backend($1)").bind(pid).execute(database.pool()).await.unwrap();
    });
    let error = created.unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
}

#[tokio::test]
async fn test_a_closed_pool_is_unavailable() {
    let database = TestDatabase::create().await;
    database.pool().close().await;
    let error = EventRepository::list(database.pool()).await.unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
}

/// An identity with an empty login is refused; what the error says of it when that came of `given`.
async fn about(given: &impl Serialize) -> StoreError {
    let mut tx = transaction().await;
    let refused = sqlx::query("insert into attune.identity (login) values ('')").execute(&mut *tx).await;
    StoreError::about(refused.expect_err("a login is not empty"), given)
}

#[track_caller]
fn check_value(error: &StoreError, expected: Option<&str>) {
    match error {
        StoreError::InvalidValue { entity, field, constraint, value } => {
            assert_eq!(
                (&**entity, &**field, &**constraint),
                ("identity", "login", "identity_login_not_empty")
            );
            assert_eq!(value.as_deref(), expected);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn test_invalid_value_says_which_field_and_value() {
    let mut tx = transaction().await;
    let error = PackFixture::new_unique().with_version("one").create(&mut tx).await.unwrap_err();
    assert_eq!(error.to_string(), "pack: the value of version violates pack_version_semver: one");
}

#[tokio::test]
async fn test_invalid_value_of_an_update_says_which_field_and_value() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let update = PackUpdate { version: Some("two".to_owned()), ..PackUpdate::default() };
    let updated = PackRepository::update(&mut tx, pack.id, &update).await;
    assert_refused_value(updated, "pack", "version", "two");
}

#[tokio::test]
async fn test_invalid_value_that_is_no_text_is_spelled_as_json() {
    let mut tx = transaction().await;
    let registration = WorkerRegistration { slots: -3, ..WorkerFixture::new_unique().new };
    assert_refused_value(WorkerRepository::register(&mut tx, &registration).await, "worker", "slots", "-3");
    let mut tx = transaction().await;
    let mut rule = RuleFixture::new_unique().new;
    rule.conditions = json!({"a": 1});
    let created = RuleRepository::create(&mut tx, None, &rule).await;
    assert_refused_value(created, "rule", "conditions", r#"{"a":1}"#);
}

#[tokio::test]
async fn test_invalid_value_without_its_value_says_the_field() {
    // Nothing given for the column, null given, or nothing that could be looked into.
    for given in [json!({"name": "x"}), json!({"login": null}), Value::Null, json!("login")] {
        let error = about(&given).await;
        check_value(&error, None);
        assert_eq!(error.to_string(), "identity: the value of login violates identity_login_not_empty");
    }
}

#[tokio::test]
async fn test_invalid_value_of_a_missing_one_names_the_column() {
    let mut tx = transaction().await;
    let refused = sqlx::query("insert into attune.pack (ref, label, version) values ('pack', null, '1.0.0')");
    let error = StoreError::about(refused.execute(&mut *tx).await.unwrap_err(), &json!({"label": null}));
    assert_eq!(error.to_string(), "pack: the value of label violates pack_label_not_null");
}

#[tokio::test]
async fn test_long_values_are_shortened() {
    let exactly = "x".repeat(200);
    check_value(&about(&json!({"login": &exactly})).await, Some(&exactly));
    let longer = format!("{exactly}y");
    check_value(&about(&json!({"login": longer})).await, Some(&format!("{exactly}...")));
}

#[tokio::test]
async fn test_long_values_are_shortened_between_characters() {
    // Two bytes each: a cut after so many bytes would be in the middle of one, or after half as many.
    let long = "\u{e4}".repeat(500);
    check_value(&about(&json!({"login": long})).await, Some(&format!("{}...", "\u{e4}".repeat(200))));
}

#[tokio::test]
async fn test_long_values_of_keys_are_shortened() {
    let mut tx = transaction().await;
    let login = format!("{}{}", unique_login(), "x".repeat(1000));
    IdentityFixture::new(&login).create(&mut tx).await.unwrap();
    let again = IdentityFixture::new(&login).create(&mut tx).await;
    assert_already_exists(again, "identity", "login", &format!("{}...", &login[..200]));
}

/// Whatever is made of the error for a person or a log, the secret is not in it.
#[track_caller]
fn check_silent(error: &StoreError, secrets: &[&str]) {
    let mut told = format!("{error} {error:?}");
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        told.push_str(&format!(" {inner} {inner:?}"));
        source = inner.source();
    }
    for secret in secrets {
        assert!(!told.contains(secret), "{secret} is in: {told}");
    }
}

#[tokio::test]
async fn test_a_refused_password_hash_is_not_told() {
    let mut tx = transaction().await;
    // PostgreSQL's own words contain the whole row.
    let fixture = IdentityFixture::new_unique().with_password_hash("open sesame");
    let error = fixture.create(&mut tx).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::InvalidValue { field, value: None, .. } if field == "password_hash")
    );
    check_silent(&error, &["sesame"]);
}

#[tokio::test]
async fn test_a_password_hash_beside_a_refused_value_is_not_told() {
    let mut tx = transaction().await;
    let fixture = IdentityFixture::new("").with_password_hash("$argon2id$sesame");
    check_silent(&fixture.create(&mut tx).await.unwrap_err(), &["sesame"]);
}

#[tokio::test]
async fn test_a_password_hash_of_an_update_is_not_told() {
    let mut tx = transaction().await;
    let identity = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    let update =
        IdentityUpdate { password_hash: Some("open sesame".to_owned()), ..IdentityUpdate::default() };
    let error = IdentityRepository::update(&mut tx, identity.id, &update).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::InvalidValue { field, value: None, .. } if field == "password_hash")
    );
    check_silent(&error, &["sesame"]);
}

#[tokio::test]
async fn test_a_sealed_value_is_not_told() {
    let mut tx = transaction().await;
    let sealed = b"sesame";
    let refused = sqlx::query(
        "with data_key as (
             insert into attune.data_key (wrapped, master_fingerprint) values ('wrapped', 'fingerprint') returning id
         )
         insert into attune.key (ref, name, data_key, value) select 'no ref', 'ref', id, $1 from data_key",
    )
    .bind(sealed)
    .execute(&mut *tx)
    .await
    .unwrap_err();
    let error = StoreError::about(refused, &json!({"ref": "no ref", "value": sealed}));
    assert_eq!(error.to_string(), "key: the value of ref violates key_ref_format: no ref");
    check_silent(&error, &["sesame", &hex(sealed), &format!("{sealed:?}")]);
}

#[tokio::test]
async fn test_the_hash_of_a_token_is_not_told() {
    let mut tx = transaction().await;
    let identity = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    let hash = *b"sesame-sesame-sesame-sesame-0123";
    TokenRepository::create(&mut *tx, identity.id, "first", &hash, None).await.unwrap();
    let error = TokenRepository::create(&mut *tx, identity.id, "second", &hash, None).await.unwrap_err();
    assert!(matches!(&error, StoreError::AlreadyExists { field, value: None, .. } if field == "hash"));
    check_silent(&error, &["sesame", &hex(&hash), &format!("{hash:?}")]);
}

#[tokio::test]
async fn test_a_taken_webhook_key_is_not_told() {
    let mut tx = transaction().await;
    let insert = "insert into attune.trigger (ref, webhook, webhook_key) values ($1, '{}', 'sesame')";
    sqlx::query(insert).bind(unique_trigger_ref()).execute(&mut *tx).await.unwrap();
    let refused = sqlx::query(insert).bind(unique_trigger_ref()).execute(&mut *tx).await.unwrap_err();
    let error = StoreError::about(refused, &json!({"webhook_key": "sesame"}));
    assert!(matches!(&error, StoreError::AlreadyExists { field, value: None, .. } if field == "webhook_key"));
    check_silent(&error, &["sesame"]);
}

#[tokio::test]
async fn test_a_secret_that_was_serialized_by_mistake_is_not_told() {
    let mut tx = transaction().await;
    let refused = sqlx::query("insert into attune.identity (login, password_hash) values ('x', 'sesame')");
    let given = json!({"login": "x", "password_hash": "sesame"});
    let error = StoreError::about(refused.execute(&mut *tx).await.unwrap_err(), &given);
    check_silent(&error, &["sesame"]);
}

#[test]
fn test_secrets_are_not_in_what_makes_an_error() {
    let new = NewIdentity {
        login: "ada".to_owned(),
        password_hash: Some("sesame".to_owned()),
        ..NewIdentity::default()
    };
    let update = IdentityUpdate { password_hash: Some("sesame".to_owned()), ..IdentityUpdate::default() };
    for told in [
        format!("{new:?}"),
        serde_json::to_string(&new).unwrap(),
        format!("{update:?}"),
        serde_json::to_string(&update).unwrap(),
    ] {
        assert!(!told.contains("sesame"), "{told}");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
