//! A store with a long history, as the benchmark makes it: what it holds is what a server would have written, and a server goes
//! on with it.

use std::time::Duration;

use attune_bench::fill::{Filled, Plan, fill};
use attune_client::types::EventRequest;
use serde_json::json;

use crate::support::System;

const DAY: Duration = Duration::from_secs(24 * 3600);

const PACK: [(&str, &str); 3] = [
    ("pack.yaml", "ref: past\nversion: 1.0.0\nlabel: Past\n"),
    ("triggers/seen.yaml", "ref: past.seen\n"),
    (
        "rules/act.yaml",
        "ref: past.act\ntrigger: past.seen\naction: core.echo\naction_params: {message: \"{{ event.payload.text }}\"}\n",
    ),
];

fn event(number: i64) -> EventRequest {
    let payload = json!({"text": format!("number {number}")});
    EventRequest { trigger: "past.seen".to_owned(), payload, dedup_key: None, config: None }
}

async fn carry(system: &System, events: &[EventRequest]) {
    system.client.create_events(events).await.unwrap();
    system.wait_until_idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_a_history_that_was_copied_is_one_that_a_server_goes_on_with() {
    let system = System::start().await;
    system.install(&PACK).await;
    let plan = |rows, gigabytes| Plan { rows, gigabytes, age: Duration::ZERO };
    let nothing = fill(system.database.url(), plan(100, 1.0)).await.unwrap_err();
    assert!(format!("{nothing:#}").contains("no event to copy"), "{nothing:#}");

    carry(&system, &(0..10).map(event).collect::<Vec<_>>()).await;
    let outgrown = fill(system.database.url(), plan(1_000_000_000, 0.001)).await.unwrap_err();
    assert!(format!("{outgrown:#}").contains("0.001 are allowed"), "{outgrown:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_copies_of_a_history_keep_what_the_schema_promises() {
    let system = System::start().await;
    system.install(&PACK).await;
    carry(&system, &(0..10).map(event).collect::<Vec<_>>()).await;
    let Filled { rows, gigabytes, .. } =
        fill(system.database.url(), Plan { rows: 995, gigabytes: 1.0, age: DAY }).await.unwrap();
    assert_eq!(rows, 1000);
    assert!(gigabytes > 0.0);
    let young = "select count(*) from attune.execution where created > now() - interval '1 day'";
    assert_eq!(system.count(young).await, 0);

    for table in ["event", "enforcement", "execution"] {
        let statement = format!("select count(*) from attune.{table}");
        let count: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(statement))
            .fetch_one(system.database.pool())
            .await
            .unwrap();
        assert_eq!(count, 1000, "{table}");
    }
    // Foreign keys are not checked while rows are copied: each of them is asked here.
    let references: Vec<(String, String, String, String, String)> = sqlx::query_as(
        "select c.conname::text, c.conrelid::regclass::text, a.attname::text, c.confrelid::regclass::text, f.attname::text
         from pg_constraint c
         join pg_attribute a on a.attrelid = c.conrelid and a.attnum = c.conkey[1]
         join pg_attribute f on f.attrelid = c.confrelid and f.attnum = c.confkey[1]
         where c.contype = 'f' and c.connamespace = 'attune'::regnamespace",
    )
    .fetch_all(system.database.pool())
    .await
    .unwrap();
    assert!(references.len() > 20, "{references:?}");
    for (name, table, column, target, key) in references {
        let statement = format!(
            "select count(*) from {table} r where r.{column} is not null
             and not exists (select from {target} t where t.{key} = r.{column})"
        );
        let broken: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(statement))
            .fetch_one(system.database.pool())
            .await
            .unwrap();
        assert_eq!(broken, 0, "{name}");
    }
    // Each event has its own chain.
    let chains = "select count(distinct (v.id, e.id, x.id)) from attune.event v
        join attune.enforcement e on e.event = v.id join attune.execution x on x.enforcement = e.id";
    assert_eq!(system.count(chains).await, 1000);
    let backwards = "select count(*) from (select created < lag(created) over (order by id) as earlier
        from attune.event) e where earlier";
    assert_eq!(system.count(backwards).await, 0, "the newest event has the highest id");

    // A server finds all of it, and what comes next is a new decision with ids of its own.
    let newest = system.client.events(&[("limit", "1".to_owned())]).await.unwrap().items.remove(0);
    let story = system.client.event(newest.id).await.unwrap();
    assert!(story.matched.is_some(), "{story:?}");
    assert_eq!(story.enforcements[0].executions.len(), 1, "{story:?}");
    let before = system.count("select max(id) from attune.event").await;
    carry(&system, &[event(10)]).await;
    assert!(system.count("select max(id) from attune.event").await > before);
    let last = system.client.executions(&[("limit", "1".to_owned())]).await.unwrap().items.remove(0);
    let detail = system.client.execution(last.id).await.unwrap();
    assert_eq!(detail.execution.status, "completed");
    assert_eq!(detail.execution.parameters, json!({"message": "number 10"}));
    assert_eq!(system.count("select count(*) from attune.execution").await, 1001);
}
