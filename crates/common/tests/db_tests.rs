//! The connections: nothing that is dropped while it waits leaves anything behind in one of them.

#[path = "helpers/interruption.rs"]
mod interruption;

use attune_common::db;
use attune_testkit::TestDatabase;
use interruption::until;
use sqlx::postgres::PgPoolOptions;

#[tokio::test]
async fn test_a_transaction_that_is_dropped_while_it_begins_takes_no_writes_with_it() {
    let database = TestDatabase::create().await;
    let options = db::connect_options(database.url(), "attune-test").unwrap();
    let one = PgPoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
    sqlx::raw_sql("create table written (n bigint)").execute(&one).await.unwrap();
    let mut waits = 0;
    loop {
        let begun = until(waits, async { drop(db::begin(&one).await.unwrap()) }).await;
        let n = i64::try_from(waits).unwrap();
        sqlx::query("insert into written values ($1)").bind(n).execute(&one).await.unwrap();
        let seen: i64 = sqlx::query_scalar("select count(*) from written where n = $1")
            .bind(n)
            .fetch_one(database.pool())
            .await
            .unwrap();
        assert_eq!(seen, 1, "what was written after {waits} waits is not committed");
        if begun.is_some() {
            break;
        }
        waits += 1;
    }
    assert!(waits > 0, "it never waited");
}
