//! What a change of one rule costs an executor that holds 100,000, from the commit to the rules in memory.
//!
//! `target/debug/with-postgres cargo bench -p attune-executor --bench reload` (`cargo build -p attune-testkit --bins` makes
//! the first).

#![expect(clippy::unwrap_used, reason = "a benchmark ends at the first surprise")]

use std::time::{Duration, Instant};

use attune_common::models::rule::RuleUpdate;
use attune_common::repositories::{RuleRepository, RuleSetRepository};
use attune_executor::RuleSnapshot;
use attune_testkit::TestDatabase;
use serde_json::json;

const RULES: i64 = 100_000;
const CHANGES: i64 = 100;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    for statement in [
        "insert into attune.trigger (ref) values ('bench.webhook')",
        "insert into attune.action (ref, runtime_ref, entrypoint) values ('bench.page', 'core.native', 'page')",
    ] {
        sqlx::query(statement).execute(&mut *connection).await.unwrap();
    }
    sqlx::query(
        "insert into attune.rule (ref, trigger, trigger_ref, action, action_ref, conditions, action_params)
         select 'bench.r' || number, trigger.id, trigger.ref, action.id, action.ref,
                jsonb_build_array(
                    jsonb_build_object('field', 'event.payload.action', 'operator', 'equals', 'value', 'opened'),
                    jsonb_build_object(
                        'field', 'event.payload.repository.full_name', 'operator', 'equals', 'value', 'octo/r' || number
                    )
                ),
                jsonb_build_object('text', '{{ event.payload.issue.title }}')
         from generate_series(1, $1) number
         cross join attune.trigger
         cross join attune.action",
    )
    .bind(RULES)
    .execute(&mut *connection)
    .await
    .unwrap();
    sqlx::query("analyze attune.rule").execute(&mut *connection).await.unwrap();
    let mut snapshot = RuleSnapshot::default();
    let started = Instant::now();
    snapshot.reload(&mut connection).await.unwrap();
    println!("{RULES} rules read, compiled and indexed in {:.2?}", started.elapsed());
    let mut times = Vec::new();
    for change in 0..CHANGES {
        let rule_ref = format!("bench.r{}", change * 997 + 1);
        let rule = RuleRepository::get_by_ref(&mut *connection, &rule_ref).await.unwrap();
        let conditions =
            json!([{"field": "event.payload.change", "operator": "equals", "value": change.to_string()}]);
        let update = RuleUpdate { conditions: Some(conditions), ..RuleUpdate::default() };
        RuleRepository::update(&mut connection, rule.id, &update).await.unwrap();
        let started = Instant::now();
        let version = RuleSetRepository::version(&mut *connection).await.unwrap();
        assert_ne!(version, snapshot.version());
        snapshot.reload(&mut connection).await.unwrap();
        times.push(started.elapsed());
        assert_eq!(version, snapshot.version());
    }
    times.sort_unstable();
    let total: Duration = times.iter().sum();
    println!(
        "one rule changed: {:.2?} on average, {:.2?} in the middle, {:.2?} at most",
        total / times.len() as u32,
        times[times.len() / 2],
        times[times.len() - 1]
    );
}
