//! The life of executions under any interleaving of what processes and people do to them: the real statements against
//! PostgreSQL, judged after every step by what must hold whatever happens.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod helpers;

use std::collections::BTreeMap;

use attune_common::models::action::WorkerLoss;
use attune_common::models::execution::ExecutionStatus;
use attune_common::models::pause::{NewPause, PauseScope};
use attune_common::models::worker::Worker;
use attune_common::repositories::{ExecutionRepository, PauseRepository, WorkerRepository};
use attune_testkit::transaction;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::json;
use sqlx::PgConnection;

use helpers::steps::*;
use helpers::*;

const WORKERS: usize = 2;
const CASES: u32 = 250;

/// What some process or person does. Numbers choose among what there is.
#[derive(Debug, Clone)]
enum Step {
    Claim {
        worker: usize,
        limit: i64,
    },
    /// A worker reports the end of an attempt that it was given, be it its own still or not.
    Report {
        worker: usize,
        which: usize,
        status: ExecutionStatus,
    },
    Cancel {
        which: usize,
    },
    LoseWorker {
        worker: usize,
    },
    ReturnWorker {
        worker: usize,
    },
    Rescue,
    /// The time of what waits comes.
    FallDue,
    /// A running attempt is past its timeout.
    BeLate {
        which: usize,
    },
    Pause,
    Resume,
    PutAside,
    BringBack,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let worker = 0..WORKERS;
    let end = prop_oneof![
        3 => Just(ExecutionStatus::Failed),
        2 => Just(ExecutionStatus::Completed),
        1 => Just(ExecutionStatus::Timeout),
        1 => Just(ExecutionStatus::Cancelled),
    ];
    let step = prop_oneof![
        5 => (worker.clone(), 1..4_i64).prop_map(|(worker, limit)| Step::Claim { worker, limit }),
        5 => (worker.clone(), any::<usize>(), end)
            .prop_map(|(worker, which, status)| Step::Report { worker, which, status }),
        1 => any::<usize>().prop_map(|which| Step::Cancel { which }),
        2 => worker.clone().prop_map(|worker| Step::LoseWorker { worker }),
        2 => worker.prop_map(|worker| Step::ReturnWorker { worker }),
        3 => Just(Step::Rescue),
        3 => Just(Step::FallDue),
        1 => any::<usize>().prop_map(|which| Step::BeLate { which }),
        1 => Just(Step::Pause),
        1 => Just(Step::Resume),
        1 => Just(Step::PutAside),
        1 => Just(Step::BringBack),
    ];
    vec(step, 1..24)
}

#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
struct Standing {
    id: i64,
    status: ExecutionStatus,
    attempt: i32,
    worker: Option<i64>,
    waits_for_its_time: bool,
}

/// What is known of the executions from outside.
struct World {
    workers: Vec<Worker>,
    ids: Vec<i64>,
    now: BTreeMap<i64, Standing>,
    /// Every status that each execution was seen in.
    seen: BTreeMap<i64, Vec<ExecutionStatus>>,
    /// The attempts that each worker was ever given.
    given: Vec<Vec<(i64, i32)>>,
}

impl World {
    /// Executions of every kind: each worker loss, with and without retry rules, and a child.
    async fn make(connection: &mut PgConnection) -> Self {
        let mut workers = Vec::new();
        for _ in 0..WORKERS {
            workers.push(WorkerFixture::new_unique().create(&mut *connection).await.unwrap());
        }
        let tried_again = retry(2, 60.0, &["failed", "timeout", "abandoned"]);
        let kinds = [
            (WorkerLoss::Abandon, json!({})),
            (WorkerLoss::Retry, json!({})),
            (WorkerLoss::Abandon, tried_again.clone()),
            (WorkerLoss::Retry, tried_again),
        ];
        let mut ids: Vec<i64> = Vec::new();
        for (loss, retry) in kinds {
            let action = ActionFixture::new_unique().with_worker_loss(loss).with_retry(retry);
            let action = action.create(&mut *connection).await.unwrap();
            let mut fixture = ExecutionFixture::new(&action);
            // The third is a child of the first, the fourth of the second.
            fixture.new.parent = ids.len().checked_sub(2).map(|parent| ids[parent]);
            ids.push(fixture.create(&mut *connection).await.unwrap().id);
        }
        let now = standings(connection).await;
        let seen = now.iter().map(|(id, standing)| (*id, vec![standing.status])).collect();
        Self { workers, ids, now, seen, given: vec![Vec::new(); WORKERS] }
    }

    async fn take(&mut self, connection: &mut PgConnection, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Claim { worker, limit } => {
                let holder = &self.workers[*worker];
                let claimed = ExecutionRepository::claim(connection, holder.id, &holder.instance, *limit)
                    .await
                    .unwrap();
                for execution in claimed {
                    let before = &self.now[&execution.id];
                    prop_assert_eq!(before.status, ExecutionStatus::Scheduled);
                    prop_assert!(!before.waits_for_its_time, "it was claimed before its time");
                    prop_assert_eq!(execution.attempt, before.attempt + 1);
                    self.given[*worker].push((execution.id, execution.attempt));
                }
            }
            Step::Report { worker, which, status } => {
                let given = &self.given[*worker];
                let Some(&(id, attempt)) = given.get(which % given.len().max(1)) else { return Ok(()) };
                let holder = self.workers[*worker].id;
                let end = [completion(id, attempt, *status)];
                let recorded = ExecutionRepository::complete(connection, holder, &end).await.unwrap();
                let before = &self.now[&id];
                let is_live = before.worker == Some(holder)
                    && before.attempt == attempt
                    && matches!(before.status, ExecutionStatus::Running | ExecutionStatus::Canceling);
                prop_assert_eq!(recorded, if is_live { vec![id] } else { Vec::new() });
            }
            Step::Cancel { which } => {
                let id = self.ids[which % self.ids.len()];
                ExecutionRepository::cancel(connection, id).await.unwrap();
            }
            Step::LoseWorker { worker } => expire_lease(connection, &self.workers[*worker]).await,
            Step::ReturnWorker { worker } => {
                let worker = &self.workers[*worker];
                let renewed = WorkerRepository::renew(connection, worker.id, &worker.instance, LONG_LEASE);
                prop_assert!(renewed.await.unwrap());
            }
            Step::Rescue => drop(ExecutionRepository::rescue(connection, 10).await.unwrap()),
            Step::FallDue => let_time_pass(connection).await,
            Step::BeLate { which } => {
                let late = "update attune.execution set started = started - interval '1 hour' where id = $1";
                let id = self.ids[which % self.ids.len()];
                sqlx::query(late).bind(id).execute(connection).await.unwrap();
            }
            Step::Pause => {
                let scope = PauseScope::Pack("test".to_owned());
                if PauseRepository::find_by_scope(&mut *connection, &scope).await.unwrap().is_none() {
                    let new = NewPause { scope, reason: None, identity: None, login: None };
                    PauseRepository::create(connection, &new).await.unwrap();
                }
            }
            Step::Resume => {
                for pause in PauseRepository::list(&mut *connection).await.unwrap() {
                    PauseRepository::delete(&mut *connection, pause.id).await.unwrap();
                }
            }
            Step::PutAside => drop(ExecutionRepository::set_aside(connection, 10).await.unwrap()),
            Step::BringBack => drop(ExecutionRepository::bring_back(connection, 10).await.unwrap()),
        }
        Ok(())
    }

    /// What holds between what was and what is, whatever the step.
    async fn judge(&mut self, connection: &mut PgConnection) -> Result<(), TestCaseError> {
        let now = standings(connection).await;
        for (id, after) in &now {
            let before = &self.now[id];
            let terminal = before.status.is_terminal();
            prop_assert!(!terminal || after == before, "what had ended changed: {:?} {:?}", before, after);
            prop_assert!(after.attempt >= before.attempt, "attempts shrink: {:?} {:?}", before, after);
            if after.attempt > before.attempt {
                prop_assert_eq!(after.attempt, before.attempt + 1);
                prop_assert_eq!(after.status, ExecutionStatus::Running);
            }
            if after.status != before.status {
                prop_assert!(before.status.can_become(after.status), "{:?} {:?}", before, after);
                self.seen.entry(*id).or_default().push(after.status);
            }
        }
        self.now = now;
        Ok(())
    }

    /// What holds of the records in the end.
    async fn judge_records(&self, connection: &mut PgConnection) -> Result<(), TestCaseError> {
        for id in &self.ids {
            let seen: Vec<String> = self.seen[id].iter().map(ToString::to_string).collect();
            prop_assert_eq!(told(&mut *connection, *id).await, seen, "the change feed, and what was seen");
            let standing = &self.now[id];
            let is_live = matches!(standing.status, ExecutionStatus::Running | ExecutionStatus::Canceling);
            prop_assert_eq!(is_live, standing.worker.is_some() && !standing.status.is_terminal());
            // Every attempt but the live one has its end, once.
            let kept = ExecutionRepository::attempts(&mut *connection, *id).await.unwrap();
            let kept: Vec<i32> = kept.into_iter().map(|attempt| attempt.attempt).collect();
            let ended = if is_live { standing.attempt - 1 } else { standing.attempt };
            prop_assert_eq!(kept, (1..=ended).collect::<Vec<_>>());
        }
        Ok(())
    }
}

async fn standings(connection: &mut PgConnection) -> BTreeMap<i64, Standing> {
    let rows: Vec<Standing> = sqlx::query_as(
        "select id, status, attempt, worker, coalesce(not_before > clock_timestamp(), false) as waits_for_its_time
         from attune.execution",
    )
    .fetch_all(connection)
    .await
    .unwrap();
    rows.into_iter().map(|standing| (standing.id, standing)).collect()
}

async fn live(connection: &mut PgConnection, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut world = World::make(&mut *connection).await;
    for step in steps {
        world.take(&mut *connection, step).await?;
        world.judge(&mut *connection).await?;
    }
    world.judge_records(connection).await
}

#[test]
fn test_any_interleaving_keeps_the_invariants() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config)
        .run(&steps(), |steps| runtime.block_on(async { live(&mut *transaction().await, &steps).await }));
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
