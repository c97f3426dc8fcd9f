//! What is paused waits, wherever it comes from, and lies in nobody's way.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use attune_common::error::StoreError;
use attune_common::models::action::WorkerLoss;
use attune_common::models::execution::ExecutionStatus;
use attune_common::models::pause::{NewPause, Pause, PauseScope};
use attune_common::models::worker::Worker;
use attune_common::repositories::{ExecutionRepository, IdentityRepository, PauseRepository};
use attune_testkit::transaction;
use sqlx::PgConnection;

use crate::helpers::steps::*;
use crate::helpers::*;

async fn pause(connection: &mut PgConnection, scope: PauseScope) -> Pause {
    let new = NewPause { scope, reason: None, identity: None, login: None };
    PauseRepository::create(connection, &new).await.unwrap()
}

async fn waiting(connection: &mut PgConnection, action_ref: &str) -> i64 {
    let mut fixture = ExecutionFixture::new_unique();
    fixture.new.action_ref = action_ref.to_owned();
    fixture.create(connection).await.unwrap().id
}

async fn claim(connection: &mut PgConnection, worker: &Worker) -> Vec<i64> {
    let claimed = ExecutionRepository::claim(connection, worker.id, "first", 10).await.unwrap();
    claimed.into_iter().map(|execution| execution.id).collect()
}

#[tokio::test]
async fn test_a_pause_is_kept_with_who_and_why() {
    let mut tx = transaction().await;
    let identity = IdentityFixture::new_unique().create(&mut tx).await.unwrap();
    let scope = PauseScope::Action("ops.page".to_owned());
    let new = NewPause {
        scope: scope.clone(),
        reason: Some("too loud".to_owned()),
        identity: Some(identity.id),
        login: None,
    };
    let made = PauseRepository::create(&mut *tx, &new).await.unwrap();
    let expected = Pause {
        id: made.id,
        action_ref: Some("ops.page".to_owned()),
        pack_ref: None,
        reason: Some("too loud".to_owned()),
        identity: Some(identity.id),
        login: Some(identity.login.clone()),
        created: made.created,
    };
    assert_eq!(made, expected);
    assert_eq!(PauseRepository::find_by_scope(&mut *tx, &scope).await.unwrap(), Some(made.clone()));
    assert_eq!(made.scope(), scope);
    IdentityRepository::delete(&mut *tx, identity.id).await.unwrap();
    let left = PauseRepository::get_by_id(&mut *tx, made.id).await.unwrap();
    assert_eq!((left.identity, left.login), (None, Some(identity.login)));
}

#[tokio::test]
async fn test_a_scope_is_paused_once() {
    let action = || PauseScope::Action("ops.page".to_owned());
    for scope in [action(), PauseScope::Pack("ops".to_owned()), PauseScope::Everything] {
        let mut tx = transaction().await;
        let first = pause(&mut tx, scope.clone()).await;
        let again = NewPause { scope, reason: None, identity: None, login: None };
        let mut inner = sqlx::Connection::begin(&mut *tx).await.unwrap();
        match PauseRepository::create(&mut *inner, &again).await {
            Err(StoreError::AlreadyExists { constraint, .. }) => assert_eq!(constraint, "pause_scope_key"),
            other => panic!("{other:?}"),
        }
        inner.rollback().await.unwrap();
        assert!(PauseRepository::delete(&mut *tx, first.id).await.unwrap());
        assert!(!PauseRepository::delete(&mut *tx, first.id).await.unwrap());
        PauseRepository::create(&mut *tx, &again).await.unwrap();
    }
}

#[tokio::test]
async fn test_claim_passes_over_what_is_paused_from_the_first_moment() {
    let mut tx = transaction().await;
    let page = waiting(&mut tx, "ops.page").await;
    let mend = waiting(&mut tx, "ops.mend").await;
    let other = waiting(&mut tx, "opsx.page").await;
    let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    let everything = pause(&mut tx, PauseScope::Everything).await;
    assert_eq!(claim(&mut tx, &worker).await, NO_IDS);
    PauseRepository::delete(&mut *tx, everything.id).await.unwrap();
    let pack = pause(&mut tx, PauseScope::Pack("ops".to_owned())).await;
    assert_eq!(claim(&mut tx, &worker).await, [other]);
    PauseRepository::delete(&mut *tx, pack.id).await.unwrap();
    let action = pause(&mut tx, PauseScope::Action("ops.page".to_owned())).await;
    assert_eq!(claim(&mut tx, &worker).await, [mend]);
    PauseRepository::delete(&mut *tx, action.id).await.unwrap();
    assert_eq!(claim(&mut tx, &worker).await, [page]);
}

#[tokio::test]
async fn test_what_is_paused_is_put_aside_and_comes_back() {
    let mut tx = transaction().await;
    // Names of its own: who pauses the same two scopes in another order at the same time would wait for it, and it for them.
    let page = waiting(&mut tx, "aside.page").await;
    let mend = waiting(&mut tx, "aside.mend").await;
    let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(ExecutionRepository::set_aside(&mut *tx, 10).await.unwrap(), 0);
    let action = pause(&mut tx, PauseScope::Action("aside.page".to_owned())).await;
    let pack = pause(&mut tx, PauseScope::Pack("aside".to_owned())).await;
    assert_eq!(ExecutionRepository::set_aside(&mut *tx, 10).await.unwrap(), 2);
    assert_eq!(ExecutionRepository::set_aside(&mut *tx, 10).await.unwrap(), 0);
    assert_eq!(ExecutionRepository::bring_back(&mut *tx, 10).await.unwrap(), 0);
    // One of two pauses ends: what the other one is about stays.
    PauseRepository::delete(&mut *tx, pack.id).await.unwrap();
    assert_eq!(ExecutionRepository::bring_back(&mut *tx, 10).await.unwrap(), 1);
    assert_eq!(claim(&mut tx, &worker).await, [mend]);
    PauseRepository::delete(&mut *tx, action.id).await.unwrap();
    assert_eq!(ExecutionRepository::bring_back(&mut *tx, 10).await.unwrap(), 1);
    assert_eq!(claim(&mut tx, &worker).await, [page]);
    assert_eq!(told(&mut tx, page).await, ["scheduled", "running"]);
}

#[tokio::test]
async fn test_what_was_put_aside_can_be_cancelled() {
    let mut tx = transaction().await;
    let page = waiting(&mut tx, "ops.page").await;
    pause(&mut tx, PauseScope::Action("ops.page".to_owned())).await;
    assert_eq!(ExecutionRepository::set_aside(&mut *tx, 10).await.unwrap(), 1);
    let now = ExecutionRepository::cancel(&mut tx, page).await.unwrap();
    assert_eq!(now, Some(ExecutionStatus::Cancelled));
    assert_eq!(ExecutionRepository::bring_back(&mut *tx, 10).await.unwrap(), 0);
}

#[tokio::test]
async fn test_what_runs_is_not_paused_but_its_next_attempt_is() {
    let mut tx = transaction().await;
    let (execution, worker) = running(&mut tx, WorkerLoss::Retry).await;
    pause(&mut tx, PauseScope::Action(execution.action_ref.clone())).await;
    expire_lease(&mut tx, &worker).await;
    assert_eq!(ExecutionRepository::rescue(&mut *tx, 10).await.unwrap().len(), 1);
    let other = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(claim(&mut tx, &other).await, NO_IDS);
}
