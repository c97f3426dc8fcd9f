//! The dispatch pass: hands the items of work queues to executions, and takes from the ends of those what becomes of the
//! items.
//!
//! An item is leased, and its execution made and noted, in one transaction. The lease is kept up as long as the execution
//! has not ended, by whatever executor looks; it runs out only where the execution is gone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use attune_common::bus::{Bus, Topic};
use attune_common::error::Result;
use attune_common::models::execution::{ExecutionStatus, NewExecution};
use attune_common::models::work_queue::{EndedItem, ItemFailure, ItemLease, TakenQueue, WorkItem};
use attune_common::pass::Found;
use attune_common::repositories::{ExecutionRepository, WorkItemRepository, WorkQueueRepository};
use attune_expr::schema::ParameterSchema;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::attention::Attention;

/// How often it looks without a signal: items that wait for their time wait at most so much longer.
pub const INTERVAL: Duration = Duration::from_millis(500);

/// How long an item is leased for at a time.
const LEASE: Duration = Duration::from_secs(120);
/// How often leases are kept up: several times before one runs out.
const UPKEEP: Duration = Duration::from_secs(20);
/// Items that are settled at once.
const BATCH: i64 = 500;
/// Executions that are made for a queue at once.
const EXECUTIONS: i64 = 50;
/// The longest time that an item waits after a failure.
const LONGEST_DELAY: Duration = Duration::from_secs(3600);

/// The dispatch pass with what it remembers, which only saves it work.
#[derive(Debug)]
pub struct Dispatcher {
    pool: PgPool,
    bus: Bus,
    attention: Arc<Attention>,
    next_upkeep: Instant,
}

impl Dispatcher {
    /// A dispatcher that has looked at nothing yet.
    pub fn new(pool: PgPool, bus: Bus, attention: Arc<Attention>) -> Self {
        Self { pool, bus, attention, next_upkeep: Instant::now() }
    }

    /// Settles what has ended, and hands out what there is room for.
    pub async fn pass(&mut self) -> Result<Found> {
        // Before anything is read: what ends from here on gives a signal.
        self.attention.expect(true);
        if !WorkItemRepository::is_needed(&self.pool).await? {
            self.attention.expect(false);
            return Ok(Found::Nothing);
        }
        let mut more = self.settle().await?;
        if Instant::now() >= self.next_upkeep {
            WorkItemRepository::extend_running(&self.pool, LEASE).await?;
            let expired = WorkItemRepository::expire_leases(&self.pool, BATCH).await?;
            for item in &expired {
                tracing::warn!(item = item.id, now = %item.status, "the execution of a work item is gone");
            }
            self.next_upkeep = Instant::now() + UPKEEP;
        }
        let mut made = 0;
        for queue in WorkQueueRepository::list_dispatchable(&self.pool).await? {
            let Dispatched { executions, is_cut } = self.dispatch(queue).await?;
            made += executions;
            more |= is_cut;
        }
        if made > 0 {
            metrics::counter!("attune_work_executions_total").increment(made as u64);
            self.bus.wake(Topic::Execution);
            self.bus.wake(Topic::Change);
        }
        Ok(if more { Found::More } else { Found::Nothing })
    }

    /// Ends the leases of items whose executions have ended; whether there may be more of them.
    async fn settle(&self) -> Result<bool> {
        let ended = WorkItemRepository::list_ended(&self.pool, BATCH).await?;
        let (done, failed): (Vec<EndedItem>, Vec<EndedItem>) =
            ended.into_iter().partition(|item| item.status == ExecutionStatus::Completed);
        let count = done.len() + failed.len();
        let done: Vec<ItemLease> = done.iter().map(|item| item.lease).collect();
        if !done.is_empty() {
            WorkItemRepository::complete(&self.pool, &done).await?;
        }
        let failures: Vec<ItemFailure> = failed.iter().map(failure).collect();
        if !failures.is_empty() {
            let ends = WorkItemRepository::fail(&self.pool, &failures).await?;
            let dead = ends.iter().filter(|end| end.status.is_terminal()).count();
            metrics::counter!("attune_work_items_dead_total").increment(dead as u64);
        }
        metrics::counter!("attune_work_items_settled_total").increment(count as u64);
        Ok(count as i64 >= BATCH)
    }

    /// Makes executions for the items of a queue, as many as it may have at once.
    async fn dispatch(&self, queue: i64) -> Result<Dispatched> {
        let mut transaction = attune_common::db::begin(&self.pool).await?;
        // Another executor that is just at it does it.
        let Some(queue) = WorkQueueRepository::take(&mut transaction, queue).await? else {
            return Ok(Dispatched::default());
        };
        // A statement of its own, after the lock: it sees what the executor before committed.
        let running = WorkItemRepository::count_executions(&mut *transaction, queue.id).await?;
        let room = (i64::from(queue.concurrency) - running).min(EXECUTIONS);
        if room <= 0 {
            transaction.rollback().await?;
            return Ok(Dispatched::default());
        }
        let items = WorkItemRepository::lease_batches(&mut *transaction, queue.id, LEASE, room).await?;
        let schema = ParameterSchema::compile(&queue.param_schema);
        let (mut executions, mut leases, mut failures) = (Vec::new(), Vec::new(), Vec::new());
        let size = usize::try_from(queue.batch_size).unwrap_or(1).max(1);
        for batch in items.chunks(size) {
            let batch_leases: Vec<ItemLease> = batch.iter().map(WorkItem::lease).collect();
            let parameters = match &schema {
                Ok(schema) => schema.check(parameters(&queue, batch)).map_err(|violations| {
                    let reasons: Vec<_> = violations.iter().map(ToString::to_string).collect();
                    reasons.join("; ")
                }),
                Err(problem) => Err(format!("its schema is broken: {problem}")),
            };
            match parameters {
                Ok(parameters) => {
                    executions.push(NewExecution::of(Some(queue.action), &queue.action_ref, parameters));
                    leases.push(batch_leases);
                }
                Err(reason) => failures.extend(batch_leases.into_iter().map(|lease| ItemFailure {
                    lease,
                    error: format!("the item does not fit the parameters of {}: {reason}", queue.action_ref),
                    delay: delay(queue.retry_seconds, lease.attempt),
                })),
            }
        }
        let ids = ExecutionRepository::create_many(&mut transaction, &executions).await?;
        let assigned: Vec<(ItemLease, i64)> = ids
            .iter()
            .zip(&leases)
            .flat_map(|(id, leases)| leases.iter().map(|lease| (*lease, *id)))
            .collect();
        if !assigned.is_empty() {
            WorkItemRepository::assign_each(&mut *transaction, &assigned).await?;
        }
        if !failures.is_empty() {
            WorkItemRepository::fail(&mut *transaction, &failures).await?;
        }
        transaction.commit().await?;
        // What failed at once made room again, and more than are made at once may have room.
        let is_cut = !failures.is_empty() || (room == EXECUTIONS && ids.len() as i64 == EXECUTIONS);
        Ok(Dispatched { executions: ids.len(), is_cut })
    }
}

#[derive(Debug, Default)]
struct Dispatched {
    executions: usize,
    /// There may be more that could be handed out at once.
    is_cut: bool,
}

/// An item by itself is the parameters; several are the parameter `items`.
fn parameters(queue: &TakenQueue, batch: &[WorkItem]) -> Value {
    match batch {
        [one] if queue.batch_size == 1 => one.item.clone(),
        several => json!({ "items": several.iter().map(|item| &item.item).collect::<Vec<_>>() }),
    }
}

fn failure(item: &EndedItem) -> ItemFailure {
    let end = format!("execution {} ended as {}", item.execution, item.status);
    let error = match &item.error {
        Some(error) => format!("{end}: {error}"),
        None => end,
    };
    ItemFailure { lease: item.lease, error, delay: delay(item.retry_seconds, item.lease.attempt) }
}

/// Twice as long after each further attempt.
fn delay(first: f64, attempt: i32) -> Duration {
    let factor = 2_f64.powi((attempt - 1).clamp(0, 30));
    Duration::try_from_secs_f64(first * factor).map_or(LONGEST_DELAY, |delay| delay.min(LONGEST_DELAY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_delays_double_up_to_an_hour() {
        let delays = [1, 2, 3, 9, 10, 1000].map(|attempt| delay(10.0, attempt).as_secs());
        assert_eq!(delays, [10, 20, 40, 2560, 3600, 3600]);
        assert_eq!(delay(0.0, 7), Duration::ZERO);
    }
}
