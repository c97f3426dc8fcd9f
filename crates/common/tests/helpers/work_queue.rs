//! Work queues and their items.

use std::time::Duration;

use attune_common::error::Result;
use attune_common::models::pack::Pack;
use attune_common::models::work_queue::{
    ItemFailure, ItemLease, NewWorkItem, NewWorkQueue, WorkItem, WorkQueue,
};
use attune_common::repositories::{WorkItemRepository, WorkQueueRepository};
use serde_json::json;
use sqlx::PgConnection;

use super::{LONG_LEASE, unique_action_ref, unique_suffix};

/// A ref for a work queue.
pub(crate) fn unique_work_queue_ref() -> String {
    format!("test.queue_{}", unique_suffix())
}

/// Builds a work queue.
#[derive(Debug, Clone)]
pub(crate) struct WorkQueueFixture {
    pub(crate) pack: Option<i64>,
    pub(crate) new: NewWorkQueue,
}

impl WorkQueueFixture {
    pub(crate) fn new(queue_ref: &str) -> Self {
        Self { pack: None, new: NewWorkQueue::of(queue_ref, unique_action_ref()) }
    }

    /// A queue on its own, whose action has no row.
    pub(crate) fn new_unique() -> Self {
        Self::new(&unique_work_queue_ref())
    }

    /// Puts the queue into a pack.
    pub(crate) fn with_pack(mut self, pack: &Pack, name: &str) -> Self {
        self.pack = Some(pack.id);
        self.new.r#ref = format!("{}.{name}", pack.r#ref);
        self
    }

    pub(crate) fn with_batch_size(mut self, batch_size: i32) -> Self {
        self.new.batch_size = batch_size;
        self
    }

    pub(crate) fn with_max_attempts(mut self, max_attempts: i32) -> Self {
        self.new.max_attempts = max_attempts;
        self
    }

    pub(crate) async fn create(self, connection: &mut PgConnection) -> Result<WorkQueue> {
        WorkQueueRepository::create(connection, self.pack, &self.new).await
    }
}

/// A queue whose batches are of ten.
pub(crate) async fn queue_of_ten(connection: &mut PgConnection) -> WorkQueue {
    WorkQueueFixture::new_unique().with_batch_size(10).create(connection).await.expect("a queue can be made")
}

/// Pushes items of ordinary priority that are numbers from 0.
pub(crate) async fn push(connection: &mut PgConnection, queue: &WorkQueue, count: i64) -> Vec<i64> {
    let new: Vec<_> = (0..count).map(|number| NewWorkItem::of(json!(number))).collect();
    WorkItemRepository::push(connection, queue.id, &new).await.expect("items can be pushed")
}

/// Leases for longer than any test takes.
pub(crate) async fn lease(connection: &mut PgConnection, queue: &WorkQueue) -> Vec<WorkItem> {
    WorkItemRepository::lease(connection, queue.id, LONG_LEASE).await.expect("items can be leased")
}

/// Leases for no time at all: by the next statement the lease has run out.
pub(crate) async fn lease_briefly(connection: &mut PgConnection, queue: &WorkQueue) -> Vec<WorkItem> {
    WorkItemRepository::lease(connection, queue.id, Duration::ZERO).await.expect("items can be leased")
}

/// What whoever holds the items speaks by.
pub(crate) fn leases_of(items: &[WorkItem]) -> Vec<ItemLease> {
    items.iter().map(WorkItem::lease).collect()
}

/// The failure of an item that may be handed out again at once.
pub(crate) fn failure(item: &WorkItem, error: &str) -> ItemFailure {
    ItemFailure { lease: item.lease(), error: error.to_owned(), delay: Duration::ZERO }
}
