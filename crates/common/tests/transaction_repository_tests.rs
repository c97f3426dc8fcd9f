//! What became of a transaction, for whoever did not hear.

use std::time::Duration;

use attune_common::repositories::{TransactionOutcome, TransactionRepository};
use attune_testkit::TestDatabase;

#[tokio::test]
async fn test_outcome_of_a_transaction_under_way_and_committed() {
    let database = TestDatabase::create().await;
    let mut transaction = attune_common::db::begin(database.pool()).await.unwrap();
    let id = TransactionRepository::id(&mut transaction).await.unwrap();
    assert_eq!(TransactionRepository::id(&mut transaction).await.unwrap(), id);
    let under_way = TransactionRepository::outcome(database.pool(), id).await.unwrap();
    assert_eq!(under_way, TransactionOutcome::InProgress);
    transaction.commit().await.unwrap();
    let committed = TransactionRepository::outcome(database.pool(), id).await.unwrap();
    assert_eq!(committed, TransactionOutcome::Committed);
}

#[tokio::test]
async fn test_outcome_of_a_transaction_that_was_rolled_back() {
    let database = TestDatabase::create().await;
    let mut transaction = attune_common::db::begin(database.pool()).await.unwrap();
    let id = TransactionRepository::id(&mut transaction).await.unwrap();
    transaction.rollback().await.unwrap();
    let outcome = TransactionRepository::outcome(database.pool(), id).await.unwrap();
    assert_eq!(outcome, TransactionOutcome::Undone);
}

#[tokio::test]
async fn test_outcome_of_a_transaction_whose_connection_was_ended() {
    let database = TestDatabase::create().await;
    let mut transaction = attune_common::db::begin(database.pool()).await.unwrap();
    let id = TransactionRepository::id(&mut transaction).await.unwrap();
    let backend: i32 =
        sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut *transaction).await.unwrap();
    sqlx::query("select pg_terminate_backend($1)").bind(backend).execute(database.pool()).await.unwrap();
    let undone = async {
        while TransactionRepository::outcome(database.pool(), id).await.unwrap() != TransactionOutcome::Undone
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), undone).await.expect("the server notices");
    assert!(transaction.commit().await.is_err());
}
