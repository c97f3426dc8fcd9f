//! What windows of rules remember. Writes `attune.window_state` and `attune.window_outcome`.
//!
//! Whoever changes a state holds the lock of its row, and before that a shared lock of its rule, so that a rule is not
//! removed meanwhile. Locks that are waited for are taken in the order of (rule, key); those of rules are not waited for.
//! So no two transactions wait for each other.

use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};

use crate::error::Result;
use crate::models::Timestamp;
use crate::models::window::{WindowKey, WindowOutcome, WindowOutcomeOfRule, WindowState};

/// Functions about `attune.window_state` and `attune.window_outcome`.
#[derive(Debug)]
pub struct WindowRepository;

impl WindowRepository {
    /// Takes the states of these different keys for the rest of the transaction, in the order of (rule, key). A key
    /// without a state gets an empty one, which is to be given to [`WindowRepository::store`] or
    /// [`WindowRepository::remove`]. None when one cannot be had, since its rule is being removed or it was forgotten at
    /// this moment: to be tried anew, with nothing kept of this transaction.
    pub async fn lock(connection: &mut PgConnection, keys: &[WindowKey]) -> Result<Option<Vec<WindowState>>> {
        let (rules, texts) = columns(keys);
        let mut wanted = rules.clone();
        wanted.sort_unstable();
        wanted.dedup();
        if Self::hold_rules(&mut *connection, &wanted).await?.len() < wanted.len() {
            return Ok(None);
        }
        // Waits where another transaction has just made the state of the same key.
        sqlx::query(
            r#"insert into attune.window_state (rule, key, definition, state, wake)
               select rule, key, '', '"empty"', 'epoch'
               from unnest($1::bigint[], $2::text[]) as input (rule, key)
               order by rule, key collate "C"
               on conflict on constraint window_state_pkey do nothing"#,
        )
        .bind(&rules)
        .bind(&texts)
        .execute(&mut *connection)
        .await?;
        let states: Vec<WindowState> = sqlx::query_as(
            r#"select window_state.*
               from unnest($1::bigint[], $2::text[]) as input (rule, key)
               join attune.window_state on window_state.rule = input.rule and window_state.key = input.key
               order by window_state.rule, window_state.key collate "C"
               for update of window_state"#,
        )
        .bind(&rules)
        .bind(&texts)
        .fetch_all(connection)
        .await?;
        Ok((states.len() == keys.len()).then_some(states))
    }

    /// Writes states that are locked by this transaction.
    pub async fn store(executor: impl PgExecutor<'_>, states: &[WindowState]) -> Result<()> {
        if states.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "update attune.window_state
             set definition = input.definition, state = input.state, wake = input.wake
             from unnest($1::bigint[], $2::text[], $3::text[], $4::jsonb[], $5::timestamptz[])
                  as input (rule, key, definition, state, wake)
             where window_state.rule = input.rule and window_state.key = input.key",
        )
        .bind(states.iter().map(|state| state.rule).collect::<Vec<_>>())
        .bind(states.iter().map(|state| state.key.as_str()).collect::<Vec<_>>())
        .bind(states.iter().map(|state| state.definition.as_str()).collect::<Vec<_>>())
        .bind(states.iter().map(|state| state.state.clone()).collect::<Vec<Value>>())
        .bind(states.iter().map(|state| state.wake).collect::<Vec<_>>())
        .execute(executor)
        .await?;
        Ok(())
    }

    /// Forgets states that are locked by this transaction.
    pub async fn remove(executor: impl PgExecutor<'_>, keys: &[WindowKey]) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        let (rules, texts) = columns(keys);
        sqlx::query(
            "delete from attune.window_state
             using unnest($1::bigint[], $2::text[]) as input (rule, key)
             where window_state.rule = input.rule and window_state.key = input.key",
        )
        .bind(rules)
        .bind(texts)
        .execute(executor)
        .await?;
        Ok(())
    }

    /// Whether the time of any state has come.
    pub async fn is_due(executor: impl PgExecutor<'_>) -> Result<bool> {
        let due = sqlx::query_scalar(
            // By its order, which an index has: PostgreSQL would look for any such row by reading the table.
            "select coalesce((select wake <= clock_timestamp() from attune.window_state order by wake limit 1), false)",
        )
        .fetch_one(executor)
        .await?;
        Ok(due)
    }

    /// The time up to which every event has been matched: now, or just before the oldest event that waits. Events that are
    /// just being recorded are given a moment to be seen.
    pub async fn horizon(executor: impl PgExecutor<'_>) -> Result<Timestamp> {
        let horizon = sqlx::query_scalar(
            "select least(
                 clock_timestamp() - interval '250 milliseconds',
                 (select event.created - interval '1 microsecond'
                  from (
                      select first_event, last_event
                      from attune.event_batch
                      where matched is null
                      order by first_event
                  ) batch
                  cross join lateral (
                      select created
                      from attune.event
                      where event.id between batch.first_event and batch.last_event
                        and event.batch = batch.first_event
                      order by event.id
                      limit 1
                  ) event
                  limit 1)
             )",
        )
        .fetch_one(executor)
        .await?;
        Ok(horizon)
    }

    /// Takes up to `limit` states whose time has come, the most overdue first, for the rest of the transaction; what
    /// another holds is passed over. They come in the order of (rule, key).
    pub async fn take_due(
        connection: &mut PgConnection,
        horizon: Timestamp,
        limit: i64,
    ) -> Result<Vec<WindowState>> {
        let due: Vec<WindowKey> = sqlx::query_as(
            "select rule, key
             from attune.window_state
             where wake <= $1
             order by wake
             limit $2
             for update skip locked",
        )
        .bind(horizon)
        .bind(limit)
        .fetch_all(&mut *connection)
        .await?;
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let mut rules: Vec<i64> = due.iter().map(|key| key.rule).collect();
        rules.sort_unstable();
        rules.dedup();
        // Whoever removes one waits for the states that are held here, and is not waited for.
        let held = Self::hold_rules(&mut *connection, &rules).await?;
        let due: Vec<WindowKey> = due.into_iter().filter(|key| held.contains(&key.rule)).collect();
        let (rules, texts) = columns(&due);
        let states = sqlx::query_as(
            r#"select window_state.*
               from unnest($1::bigint[], $2::text[]) as input (rule, key)
               join attune.window_state on window_state.rule = input.rule and window_state.key = input.key
               order by window_state.rule, window_state.key collate "C""#,
        )
        .bind(rules)
        .bind(texts)
        .fetch_all(connection)
        .await?;
        Ok(states)
    }

    /// Records what windows made of events that did not fire at once.
    pub async fn record_outcomes(executor: impl PgExecutor<'_>, outcomes: &[WindowOutcome]) -> Result<()> {
        if outcomes.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "insert into attune.window_outcome (event, rule, key, outcome)
             select input.*
             from unnest($1::bigint[], $2::bigint[], $3::text[], $4::jsonb[]) as input (event, rule, key, outcome)
             -- One that is no longer there needs none. The other stays, as its rule does, which is held: `db::bulk`.
             join attune.event on event.id = input.event
             for key share of event
             on conflict on constraint window_outcome_pkey do nothing",
        )
        .bind(outcomes.iter().map(|outcome| outcome.event).collect::<Vec<_>>())
        .bind(outcomes.iter().map(|outcome| outcome.rule).collect::<Vec<_>>())
        .bind(outcomes.iter().map(|outcome| outcome.key.as_str()).collect::<Vec<_>>())
        .bind(outcomes.iter().map(|outcome| outcome.outcome.clone()).collect::<Vec<Value>>())
        .execute(executor)
        .await?;
        Ok(())
    }

    /// What windows made of an event, by rule.
    pub async fn outcomes_of_event(
        executor: impl PgExecutor<'_>,
        event: i64,
    ) -> Result<Vec<WindowOutcomeOfRule>> {
        let rows = sqlx::query_as(
            "select rule.ref as rule_ref, window_outcome.*
             from attune.window_outcome
             join attune.rule on rule.id = window_outcome.rule
             where window_outcome.event = $1
             order by window_outcome.rule
             limit 1000",
        )
        .bind(event)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// What is remembered of a rule, by key.
    pub async fn list_by_rule(executor: impl PgExecutor<'_>, rule: i64) -> Result<Vec<WindowState>> {
        let rows = sqlx::query_as(
            r#"select * from attune.window_state where rule = $1 order by key collate "C" limit 1000"#,
        )
        .bind(rule)
        .fetch_all(executor)
        .await?;
        Ok(rows)
    }

    /// Keeps rules from being removed for the rest of the transaction; gives back those that are there and that nobody
    /// is just removing.
    async fn hold_rules(executor: impl PgExecutor<'_>, rules: &[i64]) -> Result<Vec<i64>> {
        let held = sqlx::query_scalar(
            "select id from attune.rule where id = any($1) order by id for key share skip locked",
        )
        .bind(rules)
        .fetch_all(executor)
        .await?;
        Ok(held)
    }
}

fn columns(keys: &[WindowKey]) -> (Vec<i64>, Vec<&str>) {
    keys.iter().map(|key| (key.rule, key.key.as_str())).unzip()
}
