//! The errors of the store as callers and people see them.

mod helpers;

use attune_common::error::StoreError;
use attune_common::models::pack::PackFile;
use attune_common::repositories::{EventRepository, PackRepository};
use attune_testkit::{TestDatabase, transaction};
use helpers::checks::*;
use helpers::steps::*;
use helpers::*;

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
        Err(StoreError::AlreadyExists { constraint, value, .. }) => {
            assert_eq!((&*constraint, value), ("pack_file_pkey", Some(format!("{}, a", pack.id))));
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
    let mut holder = database.pool().begin().await.unwrap();
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
