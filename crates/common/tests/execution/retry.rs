//! Attempts that are tried again: by the rules of the action or the rule, after a delay that is a row and no sleeping task.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use attune_common::models::action::WorkerLoss;
use attune_common::models::execution::{Execution, ExecutionStatus};
use attune_common::models::worker::Worker;
use attune_common::repositories::{EnforcementRepository, ExecutionRepository, WorkerRepository};
use attune_testkit::transaction;
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::helpers::steps::*;
use crate::helpers::*;

/// An execution of an action that is tried again so, in its first attempt.
async fn begun(connection: &mut PgConnection, retry: Value) -> (Execution, Worker) {
    let action = ActionFixture::new_unique().with_retry(retry).create(&mut *connection).await.unwrap();
    let execution = ExecutionFixture::new(&action).create(&mut *connection).await.unwrap();
    let worker = WorkerFixture::new_unique().create(&mut *connection).await.unwrap();
    claim(&mut *connection, &worker).await;
    (ExecutionRepository::get_by_id(connection, execution.id).await.unwrap(), worker)
}

async fn claim(connection: &mut PgConnection, worker: &Worker) -> Vec<(i64, i32)> {
    let claimed = ExecutionRepository::claim(connection, worker.id, &worker.instance, 10).await.unwrap();
    claimed.into_iter().map(|execution| (execution.id, execution.attempt)).collect()
}

/// Ends the attempt and gives back what the execution is then.
async fn end(
    connection: &mut PgConnection,
    worker: &Worker,
    (id, attempt): (i64, i32),
    status: ExecutionStatus,
) -> Execution {
    let ended = [completion(id, attempt, status)];
    assert_eq!(ExecutionRepository::complete(&mut *connection, worker.id, &ended).await.unwrap(), [id]);
    ExecutionRepository::get_by_id(connection, id).await.unwrap()
}

#[tokio::test]
async fn test_a_failed_attempt_is_tried_again_after_its_delay() {
    let mut tx = transaction().await;
    let (execution, worker) = begun(&mut tx, retry(2, 60.0, &["failed"])).await;
    let waiting = end(&mut tx, &worker, (execution.id, 1), ExecutionStatus::Failed).await;
    assert_eq!((waiting.status, waiting.attempt, waiting.worker), (ExecutionStatus::Scheduled, 1, None));
    assert_eq!(waiting.finished, None);
    let delay = waiting.not_before.unwrap() - waiting.updated;
    assert!((59..=60).contains(&delay.num_seconds()), "{delay}");
    // Neither claimed nor released before its time.
    assert_eq!(claim(&mut tx, &worker).await, []);
    assert_eq!(ExecutionRepository::release_due(&mut *tx, 10).await.unwrap(), 0);
    let_time_pass(&mut tx).await;
    assert_eq!(claim(&mut tx, &worker).await, [(execution.id, 2)]);
    let ended = end(&mut tx, &worker, (execution.id, 2), ExecutionStatus::Completed).await;
    assert_eq!((ended.status, ended.attempt, ended.not_before), (ExecutionStatus::Completed, 2, None));
}

#[tokio::test]
async fn test_every_attempt_is_kept_and_the_last_one_is_the_result() {
    let mut tx = transaction().await;
    let (execution, worker) = begun(&mut tx, retry(2, 0.0, &["failed", "timeout"])).await;
    for (attempt, status, expected) in [
        (1, ExecutionStatus::Failed, ExecutionStatus::Scheduled),
        (2, ExecutionStatus::Timeout, ExecutionStatus::Scheduled),
        (3, ExecutionStatus::Failed, ExecutionStatus::Failed),
    ] {
        let now = end(&mut tx, &worker, (execution.id, attempt), status).await;
        assert_eq!((now.status, now.not_before), (expected, None), "attempt {attempt}");
        claim(&mut tx, &worker).await;
    }
    let attempts = ExecutionRepository::attempts(&mut *tx, execution.id).await.unwrap();
    let attempts: Vec<_> =
        attempts.into_iter().map(|kept| (kept.attempt, kept.status, kept.worker_name.unwrap())).collect();
    let expected = [
        (1, ExecutionStatus::Failed, worker.name.clone()),
        (2, ExecutionStatus::Timeout, worker.name.clone()),
        (3, ExecutionStatus::Failed, worker.name),
    ];
    assert_eq!(attempts, expected);
    assert_eq!(
        told(&mut tx, execution.id).await,
        ["scheduled", "running", "scheduled", "running", "scheduled", "running", "failed"]
    );
}

#[tokio::test]
async fn test_only_the_named_ends_are_tried_again() {
    let ends = [ExecutionStatus::Failed, ExecutionStatus::Timeout, ExecutionStatus::Completed];
    for (status, on) in ends.iter().flat_map(|end| [(*end, "failed"), (*end, "timeout"), (*end, "abandoned")])
    {
        let mut tx = transaction().await;
        let (execution, worker) = begun(&mut tx, retry(1, 5.0, &[on])).await;
        let now = end(&mut tx, &worker, (execution.id, 1), status).await;
        let expected = if status.as_str() == on { ExecutionStatus::Scheduled } else { status };
        assert_eq!(now.status, expected, "{status} with on: [{on}]");
    }
}

#[tokio::test]
async fn test_the_delay_grows_up_to_its_maximum() {
    let mut tx = transaction().await;
    let growing = json!({
        "count": 100, "delay": 1.0, "factor": 10.0, "max_delay": 500.0, "jitter": 0.0, "on": ["failed"]
    });
    for (attempt, seconds) in [(1, 1.0), (2, 10.0), (3, 100.0), (4, 500.0), (100, 500.0)] {
        assert_eq!(delay(&mut tx, &growing, attempt).await, Some(seconds), "attempt {attempt}");
    }
    assert_eq!(delay(&mut tx, &growing, 101).await, None);
    assert_eq!(delay(&mut tx, &json!({}), 1).await, None);
}

#[tokio::test]
async fn test_chance_shortens_the_delay_by_its_share() {
    let mut tx = transaction().await;
    let jitter = json!({
        "count": 1, "delay": 100.0, "factor": 1.0, "max_delay": 500.0, "jitter": 0.5, "on": ["failed"]
    });
    let mut delays = Vec::new();
    for _ in 0..20 {
        delays.push(delay(&mut tx, &jitter, 1).await.unwrap());
    }
    assert!(delays.iter().all(|delay| (50.0..=100.0).contains(delay)), "{delays:?}");
    assert!(delays.iter().any(|delay| (delay - delays[0]).abs() > 0.001), "{delays:?}");
}

/// The delay before the attempt after this one, in seconds.
async fn delay(connection: &mut PgConnection, retry: &Value, attempt: i32) -> Option<f64> {
    sqlx::query_scalar("select extract(epoch from attune.retry_delay($1, $2, 'failed'))::double precision")
        .bind(retry)
        .bind(attempt)
        .fetch_one(connection)
        .await
        .unwrap()
}

#[tokio::test]
async fn test_a_rule_overrides_its_action() {
    for (of_rule, expected) in [
        (None, ExecutionStatus::Scheduled),
        (Some(json!({})), ExecutionStatus::Failed),
        (Some(retry(1, 1.0, &["failed"])), ExecutionStatus::Scheduled),
    ] {
        let mut tx = transaction().await;
        let action = ActionFixture::new_unique().with_retry(retry(5, 1.0, &["failed"]));
        let action = action.create(&mut tx).await.unwrap();
        let mut rule = RuleFixture::new_unique().with_action(&action);
        rule.new.retry.clone_from(&of_rule);
        let rule = rule.create(&mut tx).await.unwrap();
        let event = EventFixture::new_unique().create(&mut tx).await.unwrap();
        EnforcementRepository::record_decisions(&mut tx, &[decision(&event, &rule)]).await.unwrap();
        let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
        let claimed = claim(&mut tx, &worker).await;
        let now = end(&mut tx, &worker, claimed[0], ExecutionStatus::Failed).await;
        assert_eq!(now.status, expected, "{of_rule:?}");
        if now.status == ExecutionStatus::Scheduled {
            // The rule's count counts: five of the action, one of the rule.
            let_time_pass(&mut tx).await;
            let claimed = claim(&mut tx, &worker).await;
            let last = end(&mut tx, &worker, claimed[0], ExecutionStatus::Failed).await;
            assert_eq!(last.status == ExecutionStatus::Failed, of_rule.is_some());
        }
    }
}

#[tokio::test]
async fn test_a_cancellation_wins_over_another_attempt() {
    let mut tx = transaction().await;
    let (execution, worker) = begun(&mut tx, retry(5, 0.0, &["failed"])).await;
    ExecutionRepository::cancel(&mut tx, execution.id).await.unwrap();
    let ended = end(&mut tx, &worker, (execution.id, 1), ExecutionStatus::Failed).await;
    assert_eq!(ended.status, ExecutionStatus::Failed);
    assert_eq!(claim(&mut tx, &worker).await, []);
}

#[tokio::test]
async fn test_what_waits_to_be_tried_again_can_be_cancelled() {
    let mut tx = transaction().await;
    let (execution, worker) = begun(&mut tx, retry(5, 60.0, &["failed"])).await;
    end(&mut tx, &worker, (execution.id, 1), ExecutionStatus::Failed).await;
    let now = ExecutionRepository::cancel(&mut tx, execution.id).await.unwrap();
    assert_eq!(now, Some(ExecutionStatus::Cancelled));
    let_time_pass(&mut tx).await;
    assert_eq!(claim(&mut tx, &worker).await, []);
    let found = ExecutionRepository::get_by_id(&mut *tx, execution.id).await.unwrap();
    assert_eq!((found.status, found.attempt, found.not_before), (ExecutionStatus::Cancelled, 1, None));
}

#[tokio::test]
async fn test_a_lost_attempt_is_tried_again_by_the_retry_rules() {
    let mut tx = transaction().await;
    let (execution, worker) = begun(&mut tx, retry(1, 60.0, &["abandoned"])).await;
    expire_lease(&mut tx, &worker).await;
    let rescued = ExecutionRepository::rescue(&mut *tx, 10).await.unwrap();
    assert_eq!(rescued[0].status, ExecutionStatus::Scheduled);
    let waiting = ExecutionRepository::get_by_id(&mut *tx, execution.id).await.unwrap();
    assert!(waiting.not_before.is_some());
    let attempts = ExecutionRepository::attempts(&mut *tx, execution.id).await.unwrap();
    assert_eq!(attempts[0].status, ExecutionStatus::Abandoned);
}

#[tokio::test]
async fn test_lost_past_its_timeout_is_a_timeout() {
    for (retry_rules, expected) in [
        (json!({}), ExecutionStatus::Timeout),
        (retry(1, 60.0, &["abandoned"]), ExecutionStatus::Timeout),
        (retry(1, 60.0, &["timeout"]), ExecutionStatus::Scheduled),
    ] {
        let mut tx = transaction().await;
        let (execution, worker) = begun(&mut tx, retry_rules).await;
        let_it_be_late(&mut tx, execution.id).await;
        expire_lease(&mut tx, &worker).await;
        ExecutionRepository::rescue(&mut *tx, 10).await.unwrap();
        let now = ExecutionRepository::get_by_id(&mut *tx, execution.id).await.unwrap();
        assert_eq!(now.status, expected);
        let error = now.error.unwrap();
        assert!(error.contains("was lost") && error.ends_with("; its timeout of 60 s is over"), "{error}");
        let attempts = ExecutionRepository::attempts(&mut *tx, execution.id).await.unwrap();
        assert_eq!(attempts[0].status, ExecutionStatus::Timeout);
    }
}

#[tokio::test]
async fn test_what_may_be_run_again_is_late_only_if_its_worker_was_heard_of_after_its_timeout() {
    for (heard_of, expected) in [(false, ExecutionStatus::Scheduled), (true, ExecutionStatus::Timeout)] {
        let mut tx = transaction().await;
        let (execution, worker) = running(&mut tx, WorkerLoss::Retry).await;
        let_it_be_late(&mut tx, execution.id).await;
        expire_lease(&mut tx, &worker).await;
        if !heard_of {
            sqlx::query("update attune.worker set heartbeat = heartbeat - interval '2 hours'")
                .execute(&mut *tx)
                .await
                .unwrap();
        }
        let rescued = ExecutionRepository::rescue(&mut *tx, 10).await.unwrap();
        assert_eq!(rescued[0].status, expected, "heard of: {heard_of}");
    }
}

/// Makes an attempt look as if it had begun an hour ago.
async fn let_it_be_late(connection: &mut PgConnection, execution: i64) {
    sqlx::query("update attune.execution set started = started - interval '1 hour' where id = $1")
        .bind(execution)
        .execute(connection)
        .await
        .unwrap();
}

#[tokio::test]
async fn test_a_late_report_of_an_attempt_that_was_tried_again_is_ignored() {
    let mut tx = transaction().await;
    let (execution, worker) = begun(&mut tx, retry(1, 0.0, &["abandoned"])).await;
    expire_lease(&mut tx, &worker).await;
    ExecutionRepository::rescue(&mut *tx, 10).await.unwrap();
    // It was only slow: back under its own name, it even takes the next attempt itself.
    assert!(WorkerRepository::renew(&mut *tx, worker.id, "first", LONG_LEASE).await.unwrap());
    assert_eq!(claim(&mut tx, &worker).await, [(execution.id, 2)]);
    let late = [completion(execution.id, 1, ExecutionStatus::Completed)];
    assert_eq!(ExecutionRepository::complete(&mut *tx, worker.id, &late).await.unwrap(), NO_IDS);
    let found = ExecutionRepository::get_by_id(&mut *tx, execution.id).await.unwrap();
    assert_eq!((found.status, found.attempt), (ExecutionStatus::Running, 2));
}

#[tokio::test]
async fn test_what_waited_for_its_environment_is_not_late() {
    for (waiting_for, expected) in [(0, ExecutionStatus::Timeout), (1, ExecutionStatus::Scheduled)] {
        let mut tx = transaction().await;
        let (execution, worker) = running(&mut tx, WorkerLoss::Retry).await;
        let_it_be_late(&mut tx, execution.id).await;
        let preparing = json!([
            {"pack": "other", "what": "python", "executions": [execution.id + 1]},
            {"pack": "test", "what": "python", "executions": [execution.id + 2, execution.id + 1 - waiting_for]},
        ]);
        WorkerRepository::report_preparing(&mut *tx, worker.id, "first", &preparing).await.unwrap();
        expire_lease(&mut tx, &worker).await;
        let rescued = ExecutionRepository::rescue(&mut *tx, 10).await.unwrap();
        assert_eq!(rescued[0].status, expected);
    }
}

#[tokio::test]
async fn test_the_timeout_counts_from_when_the_attempt_began() {
    let mut tx = transaction().await;
    let (execution, worker) = running(&mut tx, WorkerLoss::Retry).await;
    let_it_be_late(&mut tx, execution.id).await;
    let started = ExecutionRepository::get_by_id(&mut *tx, execution.id).await.unwrap().started;
    // Another attempt, and another worker, say nothing of this one.
    ExecutionRepository::note_start(&mut *tx, worker.id, (execution.id, 2)).await.unwrap();
    ExecutionRepository::note_start(&mut *tx, worker.id + 1, (execution.id, 1)).await.unwrap();
    let now = ExecutionRepository::get_by_id(&mut *tx, execution.id).await.unwrap();
    assert_eq!(now.started, started);
    ExecutionRepository::note_start(&mut *tx, worker.id, (execution.id, 1)).await.unwrap();
    expire_lease(&mut tx, &worker).await;
    let rescued = ExecutionRepository::rescue(&mut *tx, 10).await.unwrap();
    assert_eq!(rescued[0].status, ExecutionStatus::Scheduled);
}
