//! A database that goes away costs no event.

use serde_json::json;
use sqlx::{Connection, PgConnection};

use crate::helpers::{Log, Role, STAY, World};

#[tokio::test]
async fn test_what_was_reported_while_the_database_is_away_is_stored_once_it_is_back() {
    let world = World::create().await;
    let log = Log::keep();
    // Its last report is made when it is told to stop, because the role has lost the database.
    let script = format!(
        "[ -e started ] && {{ : ; {STAY} }}
         : >started
         trap '' TERM
         echo '{{\"trigger\": \"ops.seen\", \"payload\": {{\"n\": 1}}}}'
         cat >/dev/null
         echo '{{\"trigger\": \"ops.seen\", \"payload\": {{\"n\": 2}}}}'
        "
    );
    world.sensor("watch", &script).await;
    let role = Role::start(&world);
    world.wait_for_events(1).await;

    let database: String =
        sqlx::query_scalar("select current_database()").fetch_one(world.pool()).await.unwrap();
    let options = (*world.pool().connect_options()).clone().database("postgres");
    let mut admin = PgConnection::connect_with(&options).await.unwrap();
    let allow = async |admin: &mut PgConnection, allowed: bool| {
        let statement = format!("alter database \"{database}\" allow_connections {allowed}");
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(admin).await.unwrap();
    };
    allow(&mut admin, false).await;
    sqlx::query("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1")
        .bind(&database)
        .execute(&mut admin)
        .await
        .unwrap();
    log.wait_for(&["WARN", "sensor=\"ops.watch\"", "events of a sensor wait to be stored"]).await;
    allow(&mut admin, true).await;
    let payloads = world.wait_for_payloads(2).await;
    assert_eq!(payloads, [json!({"n": 1}), json!({"n": 2})]);
    role.stop().await;
    assert_eq!(world.events().await.len(), 2);
}
