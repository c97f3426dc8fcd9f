//! Claiming: work goes to a living worker, each piece to one.

use std::sync::Arc;
use std::time::Duration;

use attune_common::models::action::{OutputFormat, ParameterDelivery, ParameterFormat, UsedKey};
use attune_common::models::execution::{Claimed, ClaimedAction, ExecutionStatus};
use attune_common::models::pause::{NewPause, PauseScope};
use attune_common::repositories::{
    ActionRepository, ExecutionRepository, PackRepository, PauseRepository, RuntimeRepository,
    WorkerRepository,
};
use attune_testkit::{TestDatabase, transaction};
use serde_json::json;

use crate::helpers::steps::*;
use crate::helpers::*;

fn ids(claimed: &[Claimed]) -> Vec<i64> {
    claimed.iter().map(|execution| execution.id).collect()
}

#[tokio::test]
async fn test_claim_gives_all_that_a_worker_needs() {
    let mut tx = transaction().await;
    let checksum = "0".repeat(64);
    let mut pack = PackFixture::new_unique().with_checksum(&checksum);
    pack.new.runtime_deps = vec!["python <4".to_owned()];
    let pack = pack.create(&mut tx).await.unwrap();
    let mut runtime = RuntimeFixture::new(&pack, "python").with_interpreter(&["python3", "-u"]);
    runtime.new.environment = Some("python".to_owned());
    runtime.new.version = Some(">=3.11".to_owned());
    let runtime = runtime.create(&mut tx).await.unwrap();
    let mut action = ActionFixture::new_unique().with_pack(&pack, "page").with_runtime(&runtime);
    action.new.parameter_delivery = ParameterDelivery::Env;
    action.new.parameter_format = ParameterFormat::Dotenv;
    action.new.output_format = OutputFormat::Yaml;
    action.new.timeout_seconds = 2.5;
    action.new.out_schema = json!({"type": "object"});
    let schema = json!({"properties": {"login": {"properties": {"pin": {"secret": true}}}}});
    action.new.param_schema = schema.clone();
    action.new.isolation = json!({"image": "alpine:3"});
    let keys = vec![UsedKey { key_ref: "ops.token".to_owned(), required: true }];
    action.new.keys = keys.clone();
    let action = action.create(&mut tx).await.unwrap();
    let mut execution = ExecutionFixture::new(&action).with_config(json!({"text": "disk full"}));
    execution.new.trace_id = Some("trace-1".to_owned());
    let execution = execution.create(&mut tx).await.unwrap();
    let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();

    let claimed = ExecutionRepository::claim(&mut tx, worker.id, &worker.instance, 10).await.unwrap();
    let expected = Claimed {
        id: execution.id,
        attempt: 1,
        action_ref: action.r#ref,
        trace_id: Some("trace-1".to_owned()),
        keyed: None,
        canceling: false,
        is_native: false,
        config: json!({"text": "disk full"}),
        how: Arc::new(ClaimedAction {
            entrypoint: Some("run.sh".to_owned()),
            native: Some(false),
            interpreter: Some(vec!["python3".to_owned(), "-u".to_owned()]),
            runtime_ref: Some(runtime.r#ref),
            parameter_delivery: Some(ParameterDelivery::Env),
            parameter_format: Some(ParameterFormat::Dotenv),
            output_format: Some(OutputFormat::Yaml),
            timeout_seconds: Some(2.5),
            out_schema: Some(json!({"type": "object"})),
            isolation: Some(json!({"image": "alpine:3"})),
            environment: Some("python".to_owned()),
            version: Some(">=3.11".to_owned()),
            runtime_deps: Some(vec!["python <4".to_owned()]),
            pack: Some(pack.id),
            pack_ref: Some(pack.r#ref),
            pack_checksum: Some(checksum),
            has_settings: Some(false),
            secret_schema: Some(schema),
            keys: Some(keys),
        }),
    };
    assert_eq!(claimed, [expected]);
}

#[tokio::test]
async fn test_what_has_no_secrets_is_claimed_without_schema_and_keys() {
    let mut tx = transaction().await;
    let mut action = ActionFixture::new_unique();
    action.new.param_schema =
        json!({"properties": {"secret": {"type": "string"}, "open": {"secret": false}}});
    let action = action.create(&mut tx).await.unwrap();
    ExecutionFixture::new(&action).create(&mut tx).await.unwrap();
    let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    let claimed = ExecutionRepository::claim(&mut tx, worker.id, &worker.instance, 10).await.unwrap();
    assert_eq!((&claimed[0].how.secret_schema, &claimed[0].how.keys), (&None, &None));
    let held = ExecutionRepository::list_held(&mut *tx, worker.id).await.unwrap();
    assert_eq!(held, claimed);
}

#[tokio::test]
async fn test_claim_makes_it_running() {
    let mut tx = transaction().await;
    let execution = ExecutionFixture::new_unique().create(&mut tx).await.unwrap();
    let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    ExecutionRepository::claim(&mut tx, worker.id, &worker.instance, 10).await.unwrap();
    let running = ExecutionRepository::get_by_id(&mut *tx, execution.id).await.unwrap();
    assert_eq!((running.status, running.attempt), (ExecutionStatus::Running, 1));
    assert_eq!((running.worker, running.worker_name), (Some(worker.id), Some(worker.name)));
    assert!(running.started.unwrap() > execution.created);
    assert_eq!((running.finished, running.config), (None, execution.config));
}

#[tokio::test]
async fn test_claim_nothing_waits() {
    let mut tx = transaction().await;
    ExecutionFixture::new_unique().with_status(ExecutionStatus::Requested).create(&mut tx).await.unwrap();
    let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    let claimed = ExecutionRepository::claim(&mut tx, worker.id, &worker.instance, 10).await.unwrap();
    assert_eq!(claimed, []);
}

#[tokio::test]
async fn test_claim_each_only_once() {
    let mut tx = transaction().await;
    let execution = ExecutionFixture::new_unique().create(&mut tx).await.unwrap();
    let one = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    let other = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    let claimed = ExecutionRepository::claim(&mut tx, one.id, &one.instance, 10).await.unwrap();
    assert_eq!(ids(&claimed), [execution.id]);
    assert_eq!(ExecutionRepository::claim(&mut tx, other.id, &other.instance, 10).await.unwrap(), []);
    assert_eq!(ExecutionRepository::claim(&mut tx, one.id, &one.instance, 10).await.unwrap(), []);
}

#[tokio::test]
async fn test_claim_by_priority_then_age_up_to_the_limit() {
    let mut tx = transaction().await;
    let mut create = Vec::new();
    for priority in [0, 5, 0, 5, -1] {
        let execution = ExecutionFixture::new_unique().with_priority(priority).create(&mut tx).await.unwrap();
        create.push(execution.id);
    }
    let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    let first = ExecutionRepository::claim(&mut tx, worker.id, &worker.instance, 3).await.unwrap();
    assert_eq!(ids(&first), [create[1], create[3], create[0]]);
    let second = ExecutionRepository::claim(&mut tx, worker.id, &worker.instance, 3).await.unwrap();
    assert_eq!(ids(&second), [create[2], create[4]]);
}

#[tokio::test]
async fn test_claim_by_an_unknown_worker() {
    let mut tx = transaction().await;
    ExecutionFixture::new_unique().create(&mut tx).await.unwrap();
    assert_eq!(ExecutionRepository::claim(&mut tx, NO_SUCH_ID, "first", 10).await.unwrap(), []);
}

#[tokio::test]
async fn test_claim_by_a_replaced_process() {
    let mut tx = transaction().await;
    ExecutionFixture::new_unique().create(&mut tx).await.unwrap();
    let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    WorkerFixture::new(&worker.name).with_instance("second").with_take_over().create(&mut tx).await.unwrap();
    assert_eq!(ExecutionRepository::claim(&mut tx, worker.id, "first", 10).await.unwrap(), []);
    assert_eq!(ExecutionRepository::claim(&mut tx, worker.id, "second", 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn test_claim_by_a_cordoned_worker() {
    let mut tx = transaction().await;
    ExecutionFixture::new_unique().create(&mut tx).await.unwrap();
    let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    cordon(&mut tx, worker.id).await;
    assert_eq!(ExecutionRepository::claim(&mut tx, worker.id, "first", 10).await.unwrap(), []);
}

#[tokio::test]
async fn test_claim_past_the_lease() {
    let mut tx = transaction().await;
    ExecutionFixture::new_unique().create(&mut tx).await.unwrap();
    let worker = WorkerFixture::new_unique().with_lease(Duration::ZERO).create(&mut tx).await.unwrap();
    assert_eq!(ExecutionRepository::claim(&mut tx, worker.id, "first", 10).await.unwrap(), []);
    assert!(WorkerRepository::renew(&mut *tx, worker.id, "first", LONG_LEASE).await.unwrap());
    assert_eq!(ExecutionRepository::claim(&mut tx, worker.id, "first", 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn test_claim_after_the_release() {
    let mut tx = transaction().await;
    ExecutionFixture::new_unique().create(&mut tx).await.unwrap();
    let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    WorkerRepository::release(&mut *tx, worker.id, "first").await.unwrap();
    assert_eq!(ExecutionRepository::claim(&mut tx, worker.id, "first", 10).await.unwrap(), []);
}

#[tokio::test]
async fn test_claim_whose_action_was_removed() {
    let mut tx = transaction().await;
    let action = ActionFixture::new_unique().create(&mut tx).await.unwrap();
    let execution = ExecutionFixture::new(&action).create(&mut tx).await.unwrap();
    ActionRepository::delete(&mut *tx, action.id).await.unwrap();
    let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    let claimed = ExecutionRepository::claim(&mut tx, worker.id, "first", 10).await.unwrap();
    assert_eq!((claimed.len(), claimed[0].id, &claimed[0].action_ref), (1, execution.id, &action.r#ref));
    assert_eq!((&claimed[0].how.entrypoint, &claimed[0].how.runtime_ref), (&None, &None));
}

#[tokio::test]
async fn test_claim_whose_runtime_was_removed() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let runtime = RuntimeFixture::new(&pack, "python").create(&mut tx).await.unwrap();
    let action = ActionFixture::new_unique().with_runtime(&runtime).create(&mut tx).await.unwrap();
    ExecutionFixture::new(&action).create(&mut tx).await.unwrap();
    RuntimeRepository::delete(&mut *tx, runtime.id).await.unwrap();
    let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    let claimed = ExecutionRepository::claim(&mut tx, worker.id, "first", 10).await.unwrap();
    let how = &claimed[0].how;
    assert_eq!((&how.native, &how.interpreter), (&None, &None));
    assert_eq!(how.runtime_ref, Some(runtime.r#ref));
}

#[tokio::test]
async fn test_claim_whose_pack_was_removed() {
    let mut tx = transaction().await;
    let pack = PackFixture::new_unique().create(&mut tx).await.unwrap();
    let action = ActionFixture::new_unique().with_pack(&pack, "page").create(&mut tx).await.unwrap();
    let execution = ExecutionFixture::new(&action).create(&mut tx).await.unwrap();
    PackRepository::delete(&mut *tx, pack.id).await.unwrap();
    let worker = WorkerFixture::new_unique().create(&mut tx).await.unwrap();
    let claimed = ExecutionRepository::claim(&mut tx, worker.id, "first", 10).await.unwrap();
    assert_eq!((ids(&claimed), claimed[0].how.pack), (vec![execution.id], None));
}

#[tokio::test]
async fn test_claim_passes_over_what_another_worker_is_claiming() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let first = ExecutionFixture::new_unique().create(&mut connection).await.unwrap();
    let second = ExecutionFixture::new_unique().create(&mut connection).await.unwrap();
    let one = WorkerFixture::new_unique().create(&mut connection).await.unwrap();
    let other = WorkerFixture::new_unique().create(&mut connection).await.unwrap();
    let mut open = attune_common::db::begin(database.pool()).await.unwrap();
    let claimed = ExecutionRepository::claim(&mut open, one.id, "first", 1).await.unwrap();
    assert_eq!(ids(&claimed), [first.id]);
    let claimed = at_once(ExecutionRepository::claim(&mut connection, other.id, "first", 10)).await.unwrap();
    assert_eq!(ids(&claimed), [second.id]);
}

#[tokio::test]
async fn test_claim_does_not_wait_for_a_renewal_of_the_lease() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let worker = WorkerFixture::new_unique().create(&mut connection).await.unwrap();
    ExecutionFixture::new_unique().create(&mut connection).await.unwrap();
    let mut open = attune_common::db::begin(database.pool()).await.unwrap();
    assert!(WorkerRepository::renew(&mut *open, worker.id, "first", LONG_LEASE).await.unwrap());
    let claimed = at_once(ExecutionRepository::claim(&mut connection, worker.id, "first", 10)).await.unwrap();
    assert_eq!(claimed.len(), 1);
}

#[tokio::test]
async fn test_claim_that_meets_a_take_over_gets_nothing() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let worker = WorkerFixture::new_unique().create(&mut connection).await.unwrap();
    let execution = ExecutionFixture::new_unique().create(&mut connection).await.unwrap();
    let mut open = attune_common::db::begin(database.pool()).await.unwrap();
    let successor = WorkerFixture::new(&worker.name).with_instance("second").with_take_over();
    successor.create(&mut open).await.unwrap();
    // The former process asks for work while its successor is taking over.
    let (claimed, committed) =
        tokio::join!(ExecutionRepository::claim(&mut connection, worker.id, "first", 10), async {
            until_blocked(database.pool(), 1).await;
            open.commit().await
        });
    committed.unwrap();
    assert_eq!(claimed.unwrap(), []);
    let waiting = ExecutionRepository::get_by_id(database.pool(), execution.id).await.unwrap();
    assert_eq!((waiting.status, waiting.worker), (ExecutionStatus::Scheduled, None));
}

fn pause_of_everything() -> NewPause {
    NewPause { scope: PauseScope::Everything, reason: None, identity: None, login: None }
}

#[tokio::test]
async fn test_a_pause_and_a_cordon_wait_for_a_claim_that_is_under_way() {
    for pauses in [true, false] {
        let database = TestDatabase::create().await;
        let mut connection = database.pool().acquire().await.unwrap();
        let worker = WorkerFixture::new_unique().create(&mut connection).await.unwrap();
        ExecutionFixture::new_unique().create(&mut connection).await.unwrap();
        let mut open = attune_common::db::begin(database.pool()).await.unwrap();
        let claimed = ExecutionRepository::claim(&mut open, worker.id, "first", 10).await.unwrap();
        assert_eq!(claimed.len(), 1);
        let hold = async {
            if pauses {
                PauseRepository::create(&mut *connection, &pause_of_everything()).await.map(drop)
            } else {
                WorkerRepository::cordon(&mut connection, worker.id).await.map(drop)
            }
        };
        let (held, committed) = tokio::join!(hold, async {
            until_blocked(database.pool(), 1).await;
            open.commit().await
        });
        committed.unwrap();
        held.unwrap();
    }
}

#[tokio::test]
async fn test_claim_that_meets_a_pause_or_a_cordon_gets_nothing() {
    for pauses in [true, false] {
        let database = TestDatabase::create().await;
        let mut connection = database.pool().acquire().await.unwrap();
        let worker = WorkerFixture::new_unique().create(&mut connection).await.unwrap();
        ExecutionFixture::new_unique().create(&mut connection).await.unwrap();
        let mut open = attune_common::db::begin(database.pool()).await.unwrap();
        if pauses {
            PauseRepository::create(&mut *open, &pause_of_everything()).await.unwrap();
        } else {
            WorkerRepository::cordon(&mut open, worker.id).await.unwrap();
        }
        // It began before the pause is true, and would have taken what is then paused.
        let (claimed, committed) =
            tokio::join!(ExecutionRepository::claim(&mut connection, worker.id, "first", 10), async {
                until_blocked(database.pool(), 1).await;
                open.commit().await
            });
        committed.unwrap();
        assert_eq!(claimed.unwrap(), [], "paused: {pauses}");
    }
}

#[tokio::test]
async fn test_claim_that_is_not_committed_leaves_it_waiting() {
    let database = TestDatabase::create().await;
    let mut connection = database.pool().acquire().await.unwrap();
    let worker = WorkerFixture::new_unique().create(&mut connection).await.unwrap();
    let execution = ExecutionFixture::new_unique().create(&mut connection).await.unwrap();
    let mut open = attune_common::db::begin(database.pool()).await.unwrap();
    ExecutionRepository::claim(&mut open, worker.id, "first", 10).await.unwrap();
    open.rollback().await.unwrap();
    assert_eq!(ExecutionRepository::get_by_id(database.pool(), execution.id).await.unwrap(), execution);
}
