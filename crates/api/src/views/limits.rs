//! Views of policies and work queues.

use attune_client::types::{
    PolicyView, QueueCounts, QueueItemView, QueueView, WaitingPolicyView, WaitingView,
};
use attune_common::models::admission::{PolicyLoad, Waiting};
use attune_common::models::policy::Policy;
use attune_common::models::work_queue::{WorkItem, WorkItemCounts, WorkQueue};

use super::Mask;
use super::mask::schema_view;

pub(crate) fn policy_view(policy: Policy, load: PolicyLoad) -> PolicyView {
    PolicyView {
        policy_ref: policy.r#ref,
        pack: policy.pack_ref,
        action: policy.action_ref,
        enabled: policy.enabled,
        concurrency: policy.concurrency,
        parameters: policy.parameters,
        rate_count: policy.rate_count,
        rate_seconds: policy.rate_seconds,
        method: policy.method.as_str().to_owned(),
        running: load.running,
        waiting: load.waiting,
        created: policy.created,
        updated: policy.updated,
    }
}

pub(crate) fn waiting_view(waiting: Waiting) -> WaitingView {
    let policies = waiting
        .policies
        .into_iter()
        .map(|policy| WaitingPolicyView { policy: policy.policy_ref, has_room: policy.has_room });
    WaitingView { policies: policies.collect(), position: waiting.position }
}

/// What an execution waits for, in words: the policies without room or, for the moment in which all have some, all of them.
pub(crate) fn waiting_sentence(waiting: &WaitingView) -> String {
    let full: Vec<_> = waiting.policies.iter().filter(|policy| !policy.has_room).collect();
    let named = if full.is_empty() { waiting.policies.iter().collect() } else { full };
    let names: Vec<&str> = named.iter().map(|policy| policy.policy.as_str()).collect();
    let policies = match names.as_slice() {
        [] => "for admission".to_owned(),
        [one] => format!("for policy {one}"),
        several => format!("for policies {}", several.join(" and ")),
    };
    match waiting.position {
        Some(position) => format!("{policies}, position {position}"),
        None => policies,
    }
}

pub(crate) fn queue_view(queue: WorkQueue, counts: WorkItemCounts) -> QueueView {
    let WorkItemCounts { ready, leased, done, dead } = counts;
    QueueView {
        queue_ref: queue.r#ref,
        pack: queue.pack_ref,
        label: queue.label,
        description: queue.description,
        enabled: queue.enabled,
        action: queue.action_ref,
        item_schema: schema_view(queue.item_schema),
        batch_size: queue.batch_size,
        concurrency: queue.concurrency,
        max_attempts: queue.max_attempts,
        retry_seconds: queue.retry_seconds,
        items: QueueCounts { ready, leased, done, dead },
        created: queue.created,
        updated: queue.updated,
    }
}

/// An item of a queue. `mask` hides what the queue's schema calls secret.
pub(crate) fn queue_item_view(item: WorkItem, mask: &Mask) -> QueueItemView {
    QueueItemView {
        id: item.id,
        status: item.status.as_str().to_owned(),
        priority: item.priority,
        item: mask.parameters(item.item),
        attempts: item.attempts,
        execution: item.execution,
        error: item.error,
        not_before: item.not_before,
        created: item.created,
        updated: item.updated,
    }
}
