//! The execution repository: `attune.execution` with its parameters, attempts and output. The steps of an execution's
//! life have a file each.

mod helpers;

mod execution {
    mod assigned;
    mod cancel;
    mod claim;
    mod complete;
    mod output;
    mod paused;
    mod placed;
    mod rescue;
    mod retry;
    mod transitions;
    mod update;
}

use attune_common::error::StoreError;
use attune_common::models::action::WorkerLoss;
use attune_common::models::execution::{Execution, ExecutionFilter, ExecutionStatus, NewExecution};
use attune_common::models::placement::ANYWHERE;
use attune_common::repositories::{ExecutionRepository, IdentityRepository, LIST_LIMIT};
use attune_testkit::transaction;
use helpers::checks::*;
use helpers::steps::placement;
use helpers::*;
use serde_json::json;

fn expected(row: &Execution, new: NewExecution) -> Execution {
    Execution {
        id: row.id,
        action: new.action,
        action_ref: new.action_ref,
        enforcement: new.enforcement,
        parent: new.parent,
        original: new.original,
        identity: new.identity,
        worker: None,
        status: new.status,
        priority: new.priority,
        placement: new.placement.unwrap_or(ANYWHERE),
        not_before: None,
        attempt: 0,
        trace_id: new.trace_id,
        config: new.config,
        result: None,
        error: None,
        exit_code: None,
        signal: None,
        stdout_bytes: None,
        stderr_bytes: None,
        worker_name: None,
        started: None,
        finished: None,
        created: row.created,
        updated: row.updated,
    }
}

#[test]
fn test_table_name_has_the_schema() {
    assert_eq!(ExecutionRepository::table_name(), "attune.execution");
}

#[tokio::test]
async fn test_create_minimal() {
    let mut tx = transaction().await;
    let fixture = ExecutionFixture::new_unique();
    let execution = fixture.clone().create(&mut tx).await.unwrap();
    assert_eq!(execution, expected(&execution, fixture.new));
}

#[tokio::test]
async fn test_create_with_everything() {
    let mut tx = transaction().await;
    let action = ActionFixture::new_unique().create(&mut tx).await.unwrap();
    let enforcement = EnforcementFixture::new_unique().create(&mut tx).await.unwrap();
    let parent = ExecutionFixture::new_unique().create(&mut tx).await.unwrap();
    let original = ExecutionFixture::new_unique().create(&mut tx).await.unwrap();
    let identity = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    let placement = placement(&mut tx, &[("zone", "a")], &[]).await;
    let new = NewExecution {
        action: Some(action.id),
        action_ref: action.r#ref,
        enforcement: Some(enforcement.id),
        parent: Some(parent.id),
        original: Some(original.id),
        identity: Some(identity.id),
        status: ExecutionStatus::Requested,
        priority: -3,
        trace_id: Some("trace-1".to_owned()),
        config: json!({"text": "disk full", "tags": [1, null]}),
        placement: Some(placement.id),
    };
    let execution = ExecutionRepository::create(&mut tx, new.clone()).await.unwrap();
    assert_eq!(execution, expected(&execution, new));
}

#[tokio::test]
async fn test_create_many_nothing() {
    let mut tx = transaction().await;
    assert_eq!(ExecutionRepository::create_many(&mut tx, &[]).await.unwrap(), NO_IDS);
    assert_eq!(ExecutionRepository::list(&mut *tx).await.unwrap(), []);
}

#[tokio::test]
async fn test_create_many_keeps_the_order_of_the_batch() {
    let mut tx = transaction().await;
    let batch: Vec<_> = (0..20)
        .map(|n| NewExecution { priority: n, ..NewExecution::of(None, "test.a", json!({"n": n})) })
        .collect();
    let ids = ExecutionRepository::create_many(&mut tx, &batch).await.unwrap();
    let mut stored = ExecutionRepository::list(&mut *tx).await.unwrap();
    stored.sort_by_key(|execution| execution.id);
    let found: Vec<_> = stored.into_iter().map(|e| (e.id, e.priority, e.config)).collect();
    let expected: Vec<_> = ids.into_iter().zip(0..20).map(|(id, n)| (id, n, json!({"n": n}))).collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn test_create_invalid_references() {
    let of = || NewExecution::of(None, "test.a", json!({}));
    for (field, new) in [
        ("action", NewExecution { action: Some(NO_SUCH_ID), ..of() }),
        ("enforcement", NewExecution { enforcement: Some(NO_SUCH_ID), ..of() }),
        ("parent", NewExecution { parent: Some(NO_SUCH_ID), ..of() }),
        ("original", NewExecution { original: Some(NO_SUCH_ID), ..of() }),
        ("identity", NewExecution { identity: Some(NO_SUCH_ID), ..of() }),
    ] {
        let mut tx = transaction().await;
        let created = ExecutionRepository::create(&mut tx, new).await;
        assert_invalid_reference(created, "execution", field);
    }
}

#[tokio::test]
async fn test_create_ended_is_refused() {
    let mut tx = transaction().await;
    let created =
        ExecutionFixture::new_unique().with_status(ExecutionStatus::Completed).create(&mut tx).await;
    assert_invalid_value(created, "execution", "execution_finished_is_terminal");
}

#[tokio::test]
async fn test_create_running_is_refused() {
    let mut tx = transaction().await;
    let created = ExecutionFixture::new_unique().with_status(ExecutionStatus::Running).create(&mut tx).await;
    assert_invalid_value(created, "execution", "execution_running_has_attempt");
}

#[tokio::test]
async fn test_create_with_unstorable_parameters() {
    let mut tx = transaction().await;
    let created = ExecutionFixture::new_unique().with_config(json!({"a": "\u{0}"})).create(&mut tx).await;
    assert!(matches!(created, Err(StoreError::Unstorable(_))), "{created:?}");
}

#[tokio::test]
async fn test_find_by_id_exists() {
    let mut tx = transaction().await;
    let execution = ExecutionFixture::new_unique().create(&mut tx).await.unwrap();
    ExecutionFixture::new_unique().create(&mut tx).await.unwrap();
    let found = ExecutionRepository::find_by_id(&mut *tx, execution.id).await.unwrap();
    assert_eq!(found, Some(execution));
}

#[tokio::test]
async fn test_find_by_id_not_found() {
    let mut tx = transaction().await;
    assert_eq!(ExecutionRepository::find_by_id(&mut *tx, NO_SUCH_ID).await.unwrap(), None);
}

#[tokio::test]
async fn test_get_by_id_not_found() {
    let mut tx = transaction().await;
    let got = ExecutionRepository::get_by_id(&mut *tx, NO_SUCH_ID).await;
    assert_not_found(got, "execution", &NO_SUCH_ID);
}

#[tokio::test]
async fn test_list_empty() {
    let mut tx = transaction().await;
    assert_eq!(ExecutionRepository::list(&mut *tx).await.unwrap(), []);
}

#[tokio::test]
async fn test_list_newest_first() {
    let mut tx = transaction().await;
    let first = ExecutionFixture::new_unique().create(&mut tx).await.unwrap();
    let second = ExecutionFixture::new_unique().create(&mut tx).await.unwrap();
    assert!(first.created < second.created);
    assert_eq!(ExecutionRepository::list(&mut *tx).await.unwrap(), [second, first]);
}

#[tokio::test]
async fn test_search_by_each_filter() {
    let mut tx = transaction().await;
    let event = EventFixture::new_unique().create(&mut tx).await.unwrap();
    let of_event = EnforcementFixture::new_unique().with_event(event.id).create(&mut tx).await.unwrap();
    let mut fixture = ExecutionFixture::new_unique();
    fixture.new.enforcement = Some(of_event.id);
    let enforced = fixture.create(&mut tx).await.unwrap();
    let requested =
        ExecutionFixture::new_unique().with_status(ExecutionStatus::Requested).create(&mut tx).await.unwrap();
    let plain = ExecutionFixture::new_unique().create(&mut tx).await.unwrap();
    let all = || ExecutionFilter { limit: 10, ..ExecutionFilter::default() };
    for (filter, expected) in [
        (ExecutionFilter { action_ref: Some(plain.action_ref.clone()), ..all() }, vec![plain.id]),
        (ExecutionFilter { status: Some(ExecutionStatus::Requested), ..all() }, vec![requested.id]),
        (ExecutionFilter { enforcement: Some(of_event.id), ..all() }, vec![enforced.id]),
        (ExecutionFilter { event: Some(event.id), ..all() }, vec![enforced.id]),
        (ExecutionFilter { event: Some(NO_SUCH_ID), ..all() }, vec![]),
        (all(), vec![plain.id, requested.id, enforced.id]),
    ] {
        let found = ExecutionRepository::search(&mut *tx, &filter).await.unwrap();
        assert_eq!(found.iter().map(|e| e.id).collect::<Vec<_>>(), expected, "{filter:?}");
    }
}

#[tokio::test]
async fn test_search_pages_by_descending_id() {
    let mut tx = transaction().await;
    let batch = vec![NewExecution::of(None, "test.a", json!({})); 3];
    let ids = ExecutionRepository::create_many(&mut tx, &batch).await.unwrap();
    let page = |before| ExecutionFilter { before, limit: 2, ..ExecutionFilter::default() };
    let first = ExecutionRepository::search(&mut *tx, &page(None)).await.unwrap();
    assert_eq!(first.iter().map(|e| e.id).collect::<Vec<_>>(), [ids[2], ids[1]]);
    let second = ExecutionRepository::search(&mut *tx, &page(Some(ids[1]))).await.unwrap();
    assert_eq!(second.iter().map(|e| e.id).collect::<Vec<_>>(), [ids[0]]);
}

#[tokio::test]
async fn test_count_unfinished_by_status() {
    let mut tx = transaction().await;
    assert_eq!(ExecutionRepository::count_unfinished(&mut *tx).await.unwrap(), []);
    for status in [ExecutionStatus::Scheduled, ExecutionStatus::Requested, ExecutionStatus::Scheduled] {
        ExecutionFixture::new_unique().with_status(status).create(&mut tx).await.unwrap();
    }
    let ended = ExecutionFixture::new_unique().create(&mut tx).await.unwrap();
    ExecutionRepository::cancel(&mut tx, ended.id).await.unwrap();
    let counts = ExecutionRepository::count_unfinished(&mut *tx).await.unwrap();
    assert_eq!(counts, [(ExecutionStatus::Requested, 1), (ExecutionStatus::Scheduled, 2)]);
}

#[tokio::test]
async fn test_delete_of_the_parent_keeps_the_child() {
    let mut tx = transaction().await;
    let parent = ExecutionFixture::new_unique().create(&mut tx).await.unwrap();
    let mut fixture = ExecutionFixture::new_unique();
    (fixture.new.parent, fixture.new.original) = (Some(parent.id), Some(parent.id));
    let child = fixture.create(&mut tx).await.unwrap();
    assert!(ExecutionRepository::delete(&mut *tx, parent.id).await.unwrap());
    let kept = ExecutionRepository::list(&mut *tx).await.unwrap();
    assert_eq!(kept, [Execution { parent: None, original: None, updated: kept[0].updated, ..child }]);
}

#[tokio::test]
async fn test_delete_of_the_identity_keeps_the_execution() {
    let mut tx = transaction().await;
    let identity = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    let mut fixture = ExecutionFixture::new_unique();
    fixture.new.identity = Some(identity.id);
    let execution = fixture.create(&mut tx).await.unwrap();
    IdentityRepository::delete(&mut *tx, identity.id).await.unwrap();
    assert_eq!(ExecutionRepository::get_by_id(&mut *tx, execution.id).await.unwrap().identity, None);
}

#[tokio::test]
async fn test_delete_not_found() {
    let mut tx = transaction().await;
    assert!(!ExecutionRepository::delete(&mut *tx, NO_SUCH_ID).await.unwrap());
}

#[tokio::test]
async fn test_list_limit() {
    let mut tx = transaction().await;
    let batch = vec![NewExecution::of(None, "test.a", json!({})); 1001];
    let ids = ExecutionRepository::create_many(&mut tx, &batch).await.unwrap();
    let listed = ExecutionRepository::list(&mut *tx).await.unwrap();
    assert_eq!(listed.len(), usize::try_from(LIST_LIMIT).unwrap());
    assert!(listed.iter().all(|execution| execution.id != ids[0]), "the oldest is left out");
}

#[tokio::test]
async fn test_list_by_parent_in_the_order_of_their_beginning() {
    let mut tx = transaction().await;
    let parent = ExecutionFixture::new_unique().create(&mut tx).await.unwrap();
    let other = ExecutionFixture::new_unique().create(&mut tx).await.unwrap();
    let mut child_of = async |parent: i64| {
        let mut fixture = ExecutionFixture::new_unique();
        fixture.new.parent = Some(parent);
        fixture.create(&mut tx).await.unwrap()
    };
    let first = child_of(parent.id).await;
    let second = child_of(parent.id).await;
    child_of(first.id).await;
    child_of(other.id).await;
    assert_eq!(ExecutionRepository::list_by_parent(&mut *tx, parent.id).await.unwrap(), [first, second]);
    assert_eq!(ExecutionRepository::list_by_parent(&mut *tx, NO_SUCH_ID).await.unwrap(), []);
}

#[tokio::test]
async fn test_list_by_original_in_the_order_of_their_beginning() {
    let mut tx = transaction().await;
    let original = ExecutionFixture::new_unique().create(&mut tx).await.unwrap();
    let mut again = async |original: i64| {
        let mut fixture = ExecutionFixture::new_unique();
        fixture.new.original = Some(original);
        fixture.create(&mut tx).await.unwrap()
    };
    let first = again(original.id).await;
    let second = again(original.id).await;
    let of_first = again(first.id).await;
    let found = ExecutionRepository::list_by_original(&mut *tx, original.id).await.unwrap();
    assert_eq!(found, [first.clone(), second]);
    assert_eq!(ExecutionRepository::list_by_original(&mut *tx, first.id).await.unwrap(), [of_first]);
}

#[tokio::test]
async fn test_list_by_identity_newest_first() {
    let mut tx = transaction().await;
    let identity = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    let mut asked_by = async |identity: Option<i64>| {
        let mut fixture = ExecutionFixture::new_unique();
        fixture.new.identity = identity;
        fixture.create(&mut tx).await.unwrap()
    };
    let first = asked_by(Some(identity.id)).await;
    asked_by(None).await;
    let second = asked_by(Some(identity.id)).await;
    let found = ExecutionRepository::list_by_identity(&mut *tx, identity.id).await.unwrap();
    assert_eq!(found, [second, first]);
}

#[tokio::test]
async fn test_standing_is_status_and_attempt() {
    let mut tx = transaction().await;
    let (execution, _) = helpers::steps::running(&mut tx, WorkerLoss::Retry).await;
    let standing = ExecutionRepository::standing(&mut *tx, execution.id).await.unwrap();
    assert_eq!(standing, Some((ExecutionStatus::Running, 1)));
    assert_eq!(ExecutionRepository::standing(&mut *tx, NO_SUCH_ID).await.unwrap(), None);
}

#[tokio::test]
async fn test_delete_takes_its_attempts() {
    let mut tx = transaction().await;
    let (execution, worker) = helpers::steps::running(&mut tx, WorkerLoss::Retry).await;
    let end = [helpers::steps::completion(execution.id, 1, ExecutionStatus::Failed)];
    ExecutionRepository::complete(&mut *tx, worker.id, &end).await.unwrap();
    assert_eq!(ExecutionRepository::attempts(&mut *tx, execution.id).await.unwrap().len(), 1);
    assert!(ExecutionRepository::delete(&mut *tx, execution.id).await.unwrap());
    assert_eq!(ExecutionRepository::attempts(&mut *tx, execution.id).await.unwrap(), []);
    assert!(!ExecutionRepository::delete(&mut *tx, execution.id).await.unwrap());
}

#[tokio::test]
async fn test_create_refused_status_is_named() {
    let mut tx = transaction().await;
    let created = ExecutionFixture::new_unique().with_status(ExecutionStatus::Running).create(&mut tx).await;
    assert_refused_value(created, "execution", "status", "running");
}
