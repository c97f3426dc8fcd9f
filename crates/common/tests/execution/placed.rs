//! Where executions run: selectors, tolerations, and what no worker can take.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::time::Duration;

use attune_common::models::execution::Execution;
use attune_common::models::placement::{ANYWHERE, NewPlacement, Placement};
use attune_common::models::worker::Worker;
use attune_common::repositories::{
    EnforcementRepository, ExecutionRepository, PlacementRepository, WorkerRepository,
};
use attune_testkit::transaction;
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::helpers::steps::*;
use crate::helpers::*;

async fn placed(connection: &mut PgConnection, placement: &Placement) -> Execution {
    let mut fixture = ExecutionFixture::new_unique();
    fixture.new.placement = Some(placement.id);
    fixture.create(connection).await.unwrap()
}

async fn worker(connection: &mut PgConnection, labels: Value, taints: &[&str]) -> Worker {
    WorkerFixture::new_unique().with_labels(labels).with_taints(taints).create(connection).await.unwrap()
}

async fn claim(connection: &mut PgConnection, worker: &Worker, limit: i64) -> Vec<i64> {
    let claimed = ExecutionRepository::claim(connection, worker.id, "first", limit).await.unwrap();
    claimed.into_iter().map(|execution| execution.id).collect()
}

#[tokio::test]
async fn test_a_placement_is_made_once() {
    let mut tx = transaction().await;
    let first = placement(&mut tx, &[("os", "linux"), ("zone", "a")], &["spot", "gpu", "gpu"]).await;
    assert_eq!(first.tolerations, ["gpu", "spot"]);
    assert_eq!(placement(&mut tx, &[("zone", "a"), ("os", "linux")], &["gpu", "spot"]).await, first);
    assert_ne!(placement(&mut tx, &[("zone", "a")], &["gpu", "spot"]).await.id, first.id);
    assert_eq!(PlacementRepository::put(&mut tx, &NewPlacement::default()).await.unwrap().id, ANYWHERE);
}

#[tokio::test]
async fn test_claim_only_what_the_labels_and_capabilities_of_the_worker_allow() {
    let mut tx = transaction().await;
    let linux = placement(&mut tx, &[("os", "linux")], &[]).await;
    let both = placement(&mut tx, &[("os", "linux"), ("zone", "a")], &[]).await;
    let windows = placement(&mut tx, &[("os", "windows")], &[]).await;
    let anywhere = ExecutionFixture::new_unique().create(&mut tx).await.unwrap().id;
    let on_windows = placed(&mut tx, &windows).await.id;
    let on_both = placed(&mut tx, &both).await.id;
    let on_linux = placed(&mut tx, &linux).await.id;
    let mut fixture = WorkerFixture::new_unique().with_labels(json!({"zone": "b"}));
    fixture.new.capabilities = json!({"os": "linux", "zone": "a"});
    // What the operator says wins over what the worker found out.
    let other_zone = fixture.create(&mut tx).await.unwrap();
    assert_eq!(claim(&mut tx, &other_zone, 10).await, [anywhere, on_linux]);
    let zone = worker(&mut tx, json!({"os": "linux", "zone": "a"}), &[]).await;
    assert_eq!(claim(&mut tx, &zone, 10).await, [on_both]);
    let last = worker(&mut tx, json!({"os": "windows"}), &[]).await;
    assert_eq!(claim(&mut tx, &last, 10).await, [on_windows]);
}

#[tokio::test]
async fn test_claim_by_priority_and_age_across_placements() {
    let mut tx = transaction().await;
    let linux = placement(&mut tx, &[("os", "linux")], &[]).await;
    let mut ids = Vec::new();
    for n in 0..6 {
        let mut fixture = ExecutionFixture::new_unique().with_priority([0, 0, 5, 5, 0, 9][n]);
        fixture.new.placement = Some(if n % 2 == 0 { linux.id } else { ANYWHERE });
        ids.push(fixture.create(&mut tx).await.unwrap().id);
    }
    let worker = worker(&mut tx, json!({"os": "linux"}), &[]).await;
    assert_eq!(claim(&mut tx, &worker, 4).await, [ids[5], ids[2], ids[3], ids[0]]);
    assert_eq!(claim(&mut tx, &worker, 4).await, [ids[1], ids[4]]);
}

#[tokio::test]
async fn test_a_taint_keeps_away_what_does_not_tolerate_it() {
    let mut tx = transaction().await;
    let tolerant = placement(&mut tx, &[], &["gpu", "spot"]).await;
    let half = placement(&mut tx, &[], &["gpu"]).await;
    let anywhere = ExecutionFixture::new_unique().create(&mut tx).await.unwrap().id;
    let half = placed(&mut tx, &half).await.id;
    let tolerant = placed(&mut tx, &tolerant).await.id;
    let tainted = worker(&mut tx, json!({}), &["spot", "gpu"]).await;
    assert_eq!(claim(&mut tx, &tainted, 10).await, [tolerant]);
    // A toleration is no wish.
    let plain = worker(&mut tx, json!({}), &[]).await;
    assert_eq!(claim(&mut tx, &plain, 10).await, [anywhere, half]);
}

#[tokio::test]
async fn test_executions_of_an_action_have_its_placement() {
    let mut tx = transaction().await;
    let linux = placement(&mut tx, &[("os", "linux")], &[]).await;
    let action = ActionFixture::new_unique().with_placement(&linux).create(&mut tx).await.unwrap();
    let by_hand = ExecutionFixture::new(&action).create(&mut tx).await.unwrap();
    assert_eq!(by_hand.placement, linux.id);
    let rule = RuleFixture::new_unique().with_action(&action).create(&mut tx).await.unwrap();
    let event = EventFixture::new_unique().create(&mut tx).await.unwrap();
    EnforcementRepository::record_decisions(&mut tx, &[decision(&event, &rule)]).await.unwrap();
    let executions = ExecutionRepository::list(&mut *tx).await.unwrap();
    assert!(executions.iter().all(|execution| execution.placement == linux.id));
    assert_eq!(executions.len(), 2);
}

#[tokio::test]
async fn test_service_tells_why_nobody_takes_it() {
    let mut tx = transaction().await;
    let linux = placement(&mut tx, &[("os", "linux"), ("zone", "a")], &["gpu"]).await;
    let obstacle = async |tx: &mut PgConnection| {
        let services = PlacementRepository::services(tx, &[linux.id]).await.unwrap();
        assert_eq!(services.len(), 1);
        services[0].obstacle()
    };
    let check = |found: Option<String>, expected: &str| assert_eq!(found.as_deref(), Some(expected));
    check(obstacle(&mut tx).await, "no worker is alive");
    worker(&mut tx, json!({"os": "windows"}), &[]).await;
    check(obstacle(&mut tx).await, "no live worker has labels os=linux, zone=a");
    worker(&mut tx, json!({"os": "linux", "zone": "a"}), &["spot"]).await;
    check(
        obstacle(&mut tx).await,
        "the live workers that have its labels have taints that it does not tolerate",
    );
    let able = worker(&mut tx, json!({"os": "linux", "zone": "a"}), &["gpu"]).await;
    assert_eq!(obstacle(&mut tx).await, None);
    cordon(&mut tx, able.id).await;
    check(obstacle(&mut tx).await, "the live workers that could take it are cordoned");
}

#[tokio::test]
async fn test_what_no_live_worker_can_take_is_marked_once() {
    let mut tx = transaction().await;
    let windows = placement(&mut tx, &[("os", "windows")], &["spot"]).await;
    let stuck = placed(&mut tx, &windows).await;
    ExecutionFixture::new_unique().create(&mut tx).await.unwrap();
    let plain = worker(&mut tx, json!({"os": "linux"}), &[]).await;
    let mark = async |tx: &mut PgConnection, seconds: u64| {
        PlacementRepository::observe(&mut *tx).await.unwrap();
        ExecutionRepository::mark_unschedulable(tx, Duration::from_secs(seconds), 10).await.unwrap()
    };
    // It may be that a worker is only just starting.
    assert_eq!(mark(&mut tx, 3600).await, []);
    let marked = mark(&mut tx, 0).await;
    assert_eq!((marked.len(), marked[0].id), (1, stuck.id));
    assert_eq!(marked[0].selector, windows.selector);
    assert_eq!(marked[0].tolerations, ["spot"]);
    assert_eq!(mark(&mut tx, 0).await, []);
    // A worker comes, takes it, and loses it: that it once waited in vain was told.
    let able = worker(&mut tx, json!({"os": "windows"}), &[]).await;
    PlacementRepository::observe(&mut *tx).await.unwrap();
    let found = PlacementRepository::get_by_id(&mut *tx, windows.id).await.unwrap();
    assert_eq!(found.unserved_since, None);
    // Of the other one there is nothing to tell while its worker lives, and then there is.
    WorkerRepository::release(&mut *tx, able.id, "first").await.unwrap();
    assert_eq!(mark(&mut tx, 0).await, []);
    cordon(&mut tx, plain.id).await;
    assert_eq!(mark(&mut tx, 0).await.len(), 1);
}
