//! Fixtures of the integration tests: builders with defaults for everything that a test does not care about, names that
//! no other test uses, and checks of the typed errors.
//!
//! Tests of one repository run in a `transaction` that is never committed: they share a database and see nothing of
//! each other. Unique names keep them from waiting for each other as well.

#![expect(dead_code, reason = "every test binary uses a part of these")]

#[path = "helpers/artifact.rs"]
pub(crate) mod artifact;
#[path = "helpers/checks.rs"]
pub(crate) mod checks;
#[path = "helpers/inquiry.rs"]
pub(crate) mod inquiry;
#[path = "helpers/key.rs"]
pub(crate) mod key;
#[path = "helpers/notification.rs"]
pub(crate) mod notification;
#[path = "helpers/policy.rs"]
pub(crate) mod policy;
#[path = "helpers/refs.rs"]
pub(crate) mod refs;
#[path = "helpers/steps.rs"]
pub(crate) mod steps;
#[path = "helpers/work_queue.rs"]
pub(crate) mod work_queue;
#[path = "helpers/workflow.rs"]
pub(crate) mod workflow;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use attune_common::error::Result;
use attune_common::models::action::{Action, NewAction, WorkerLoss};
use attune_common::models::enforcement::{ConditionMode, Enforcement, EnforcementStatus, NewEnforcement};
use attune_common::models::event::{Event, NewEvent};
use attune_common::models::execution::{Execution, ExecutionStatus, NewExecution};
use attune_common::models::identity::{
    Constraints, Grant, Identity, NewIdentity, NewPermissionSet, PermissionSet,
};
use attune_common::models::pack::{NewPack, Pack};
use attune_common::models::placement::Placement;
use attune_common::models::rule::{NewRule, Rule};
use attune_common::models::runtime::{NewRuntime, Runtime};
use attune_common::models::sensor::{NewSensor, Sensor};
use attune_common::models::trigger::{NewTrigger, Trigger, Webhook};
use attune_common::models::worker::{Worker, WorkerRegistration};
use attune_common::repositories::{
    ActionRepository, EnforcementRepository, EventRepository, ExecutionRepository, IdentityRepository,
    PackRepository, PermissionRepository, RuleRepository, RuntimeRepository, SensorRepository,
    TriggerRepository, WorkerRepository,
};
use serde_json::{Value, json};
use sqlx::PgConnection;

/// A lease that does not run out within a test.
pub(crate) const LONG_LEASE: Duration = Duration::from_secs(3600);

/// An id that no row has.
pub(crate) const NO_SUCH_ID: i64 = 9_000_000_000;

/// What an empty list of ids equals.
pub(crate) const NO_IDS: [i64; 0] = [];

/// A number that no other test of any process gets.
fn unique_suffix() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A ref for the trigger of an event.
pub(crate) fn unique_event_ref() -> String {
    format!("test.event_{}", unique_suffix())
}

/// A ref for the rule of an enforcement.
pub(crate) fn unique_enforcement_ref() -> String {
    format!("test.enforcement_{}", unique_suffix())
}

/// A ref for a pack.
pub(crate) fn unique_pack_ref() -> String {
    format!("pack_{}", unique_suffix())
}

/// A ref for an action.
pub(crate) fn unique_action_ref() -> String {
    format!("test.action_{}", unique_suffix())
}

/// A ref for a trigger.
pub(crate) fn unique_trigger_ref() -> String {
    format!("test.trigger_{}", unique_suffix())
}

/// A ref for a rule.
pub(crate) fn unique_rule_ref() -> String {
    format!("test.rule_{}", unique_suffix())
}

/// A login for an identity.
pub(crate) fn unique_login() -> String {
    format!("login_{}", unique_suffix())
}

/// A name for a worker.
pub(crate) fn unique_worker_name() -> String {
    format!("worker_{}", unique_suffix())
}

/// Builds an event.
#[derive(Debug, Clone)]
pub(crate) struct EventFixture {
    new: NewEvent,
}

impl EventFixture {
    pub(crate) fn new(trigger: Option<i64>, trigger_ref: &str) -> Self {
        Self { new: NewEvent { trigger, trigger_ref: trigger_ref.to_owned(), ..NewEvent::default() } }
    }

    /// An event of a trigger that has no row.
    pub(crate) fn new_unique() -> Self {
        Self::new(None, &unique_event_ref())
    }

    pub(crate) fn with_config(mut self, config: Value) -> Self {
        self.new.config = Some(config);
        self
    }

    pub(crate) fn with_payload(mut self, payload: Value) -> Self {
        self.new.payload = Some(payload);
        self
    }

    pub(crate) fn with_source(mut self, source: i64, source_ref: &str) -> Self {
        self.new.source = Some(source);
        self.new.source_ref = Some(source_ref.to_owned());
        self
    }

    pub(crate) async fn create(self, connection: &mut PgConnection) -> Result<Event> {
        EventRepository::create(connection, self.new).await
    }
}

/// Builds an enforcement.
#[derive(Debug, Clone)]
pub(crate) struct EnforcementFixture {
    new: NewEnforcement,
}

impl EnforcementFixture {
    pub(crate) fn new(rule: Option<i64>, rule_ref: &str, trigger_ref: &str) -> Self {
        Self {
            new: NewEnforcement {
                rule,
                rule_ref: rule_ref.to_owned(),
                trigger_ref: trigger_ref.to_owned(),
                ..NewEnforcement::default()
            },
        }
    }

    /// An enforcement of a rule and a trigger that have no rows.
    pub(crate) fn new_unique() -> Self {
        Self::new(None, &unique_enforcement_ref(), &unique_event_ref())
    }

    pub(crate) fn with_config(mut self, config: Value) -> Self {
        self.new.config = Some(config);
        self
    }

    pub(crate) fn with_event(mut self, event: i64) -> Self {
        self.new.event = Some(event);
        self
    }

    pub(crate) fn with_status(mut self, status: EnforcementStatus) -> Self {
        self.new.status = Some(status);
        self
    }

    pub(crate) fn with_payload(mut self, payload: Value) -> Self {
        self.new.payload = Some(payload);
        self
    }

    pub(crate) fn with_condition(mut self, condition: ConditionMode) -> Self {
        self.new.condition = condition;
        self
    }

    pub(crate) fn with_conditions(mut self, conditions: Value) -> Self {
        self.new.conditions = Some(conditions);
        self
    }

    pub(crate) async fn create(self, connection: &mut PgConnection) -> Result<Enforcement> {
        EnforcementRepository::create(connection, self.new).await
    }
}

/// Builds a pack.
#[derive(Debug, Clone)]
pub(crate) struct PackFixture {
    pub(crate) new: NewPack,
}

impl PackFixture {
    pub(crate) fn new(pack_ref: &str) -> Self {
        let new = NewPack {
            r#ref: pack_ref.to_owned(),
            label: "Test pack".to_owned(),
            version: "1.0.0".to_owned(),
            ..NewPack::default()
        };
        Self { new }
    }

    pub(crate) fn new_unique() -> Self {
        Self::new(&unique_pack_ref())
    }

    pub(crate) fn with_version(mut self, version: &str) -> Self {
        self.new.version = version.to_owned();
        self
    }

    pub(crate) fn with_checksum(mut self, checksum: &str) -> Self {
        self.new.checksum = Some(checksum.to_owned());
        self
    }

    pub(crate) async fn create(self, connection: &mut PgConnection) -> Result<Pack> {
        PackRepository::create(connection, &self.new).await
    }
}

/// Builds a runtime of a pack.
#[derive(Debug, Clone)]
pub(crate) struct RuntimeFixture {
    pub(crate) pack: i64,
    pub(crate) new: NewRuntime,
}

impl RuntimeFixture {
    pub(crate) fn new(pack: &Pack, name: &str) -> Self {
        Self {
            pack: pack.id,
            new: NewRuntime { r#ref: format!("{}.{name}", pack.r#ref), ..NewRuntime::default() },
        }
    }

    pub(crate) fn with_interpreter(mut self, interpreter: &[&str]) -> Self {
        self.new.interpreter = interpreter.iter().map(|&word| word.to_owned()).collect();
        self
    }

    pub(crate) fn with_native(mut self) -> Self {
        self.new.native = true;
        self
    }

    pub(crate) async fn create(self, connection: &mut PgConnection) -> Result<Runtime> {
        RuntimeRepository::put(connection, self.pack, &self.new).await
    }
}

/// Builds an action.
#[derive(Debug, Clone)]
pub(crate) struct ActionFixture {
    pub(crate) pack: Option<i64>,
    pub(crate) new: NewAction,
}

impl ActionFixture {
    pub(crate) fn new(action_ref: &str) -> Self {
        Self { pack: None, new: NewAction::of(action_ref, "test.shell", "run.sh") }
    }

    /// An action on its own, of a runtime that has no row.
    pub(crate) fn new_unique() -> Self {
        Self::new(&unique_action_ref())
    }

    /// Puts the action into a pack.
    pub(crate) fn with_pack(mut self, pack: &Pack, name: &str) -> Self {
        self.pack = Some(pack.id);
        self.new.r#ref = format!("{}.{name}", pack.r#ref);
        self
    }

    pub(crate) fn with_runtime(mut self, runtime: &Runtime) -> Self {
        self.new.runtime_ref.clone_from(&runtime.r#ref);
        self
    }

    pub(crate) fn with_worker_loss(mut self, worker_loss: WorkerLoss) -> Self {
        self.new.on_worker_loss = worker_loss;
        self
    }

    pub(crate) fn with_retry(mut self, retry: Value) -> Self {
        self.new.retry = retry;
        self
    }

    pub(crate) fn with_timeout(mut self, seconds: f64) -> Self {
        self.new.timeout_seconds = seconds;
        self
    }

    pub(crate) fn with_placement(mut self, placement: &Placement) -> Self {
        self.new.placement = placement.id;
        self
    }

    pub(crate) async fn create(self, connection: &mut PgConnection) -> Result<Action> {
        ActionRepository::create(connection, self.pack, &self.new).await
    }
}

/// Builds a trigger.
#[derive(Debug, Clone)]
pub(crate) struct TriggerFixture {
    pub(crate) pack: Option<i64>,
    pub(crate) new: NewTrigger,
}

impl TriggerFixture {
    pub(crate) fn new(trigger_ref: &str) -> Self {
        Self {
            pack: None,
            new: NewTrigger {
                r#ref: trigger_ref.to_owned(),
                label: None,
                description: None,
                enabled: true,
                param_schema: json!({}),
                out_schema: json!({}),
                webhook: None,
            },
        }
    }

    /// A trigger on its own.
    pub(crate) fn new_unique() -> Self {
        Self::new(&unique_trigger_ref())
    }

    /// Puts the trigger into a pack.
    pub(crate) fn with_pack(mut self, pack: &Pack, name: &str) -> Self {
        self.pack = Some(pack.id);
        self.new.r#ref = format!("{}.{name}", pack.r#ref);
        self
    }

    pub(crate) fn with_webhook(mut self, webhook: Webhook) -> Self {
        self.new.webhook = Some(webhook);
        self
    }

    pub(crate) fn with_enabled(mut self, enabled: bool) -> Self {
        self.new.enabled = enabled;
        self
    }

    pub(crate) async fn create(self, connection: &mut PgConnection) -> Result<Trigger> {
        TriggerRepository::create(connection, self.pack, &self.new).await
    }
}

/// Builds a rule.
#[derive(Debug, Clone)]
pub(crate) struct RuleFixture {
    pub(crate) pack: Option<i64>,
    pub(crate) new: NewRule,
}

impl RuleFixture {
    pub(crate) fn new(rule_ref: &str, trigger_ref: &str, action_ref: &str) -> Self {
        Self { pack: None, new: NewRule::of(rule_ref, trigger_ref, action_ref) }
    }

    /// A rule on its own, whose trigger and action have no rows.
    pub(crate) fn new_unique() -> Self {
        Self::new(&unique_rule_ref(), &unique_trigger_ref(), &unique_action_ref())
    }

    /// Puts the rule into a pack.
    pub(crate) fn with_pack(mut self, pack: &Pack, name: &str) -> Self {
        self.pack = Some(pack.id);
        self.new.r#ref = format!("{}.{name}", pack.r#ref);
        self
    }

    pub(crate) fn with_trigger(mut self, trigger: &Trigger) -> Self {
        self.new.trigger_ref.clone_from(&trigger.r#ref);
        self
    }

    pub(crate) fn with_action(mut self, action: &Action) -> Self {
        self.new.action_ref.clone_from(&action.r#ref);
        self
    }

    pub(crate) fn with_enabled(mut self, enabled: bool) -> Self {
        self.new.enabled = enabled;
        self
    }

    pub(crate) fn with_retry(mut self, retry: Value) -> Self {
        self.new.retry = Some(retry);
        self
    }

    pub(crate) async fn create(self, connection: &mut PgConnection) -> Result<Rule> {
        RuleRepository::create(connection, self.pack, &self.new).await
    }
}

/// Builds an execution.
#[derive(Debug, Clone)]
pub(crate) struct ExecutionFixture {
    pub(crate) new: NewExecution,
}

impl ExecutionFixture {
    pub(crate) fn new(action: &Action) -> Self {
        Self { new: NewExecution::of(Some(action.id), &action.r#ref, json!({})) }
    }

    /// An execution of an action that has no row, to be claimed at once.
    pub(crate) fn new_unique() -> Self {
        Self { new: NewExecution::of(None, unique_action_ref(), json!({})) }
    }

    pub(crate) fn with_config(mut self, config: Value) -> Self {
        self.new.config = config;
        self
    }

    pub(crate) fn with_status(mut self, status: ExecutionStatus) -> Self {
        self.new.status = status;
        self
    }

    pub(crate) fn with_priority(mut self, priority: i16) -> Self {
        self.new.priority = priority;
        self
    }

    pub(crate) fn with_parent(mut self, parent: i64) -> Self {
        self.new.parent = Some(parent);
        self
    }

    pub(crate) async fn create(self, connection: &mut PgConnection) -> Result<Execution> {
        ExecutionRepository::create(connection, self.new).await
    }
}

/// Builds an identity.
#[derive(Debug, Clone)]
pub(crate) struct IdentityFixture {
    pub(crate) new: NewIdentity,
}

impl IdentityFixture {
    pub(crate) fn new(login: &str) -> Self {
        Self { new: NewIdentity { login: login.to_owned(), ..NewIdentity::default() } }
    }

    pub(crate) fn new_unique() -> Self {
        Self::new(&unique_login())
    }

    pub(crate) fn with_password_hash(mut self, hash: &str) -> Self {
        self.new.password_hash = Some(hash.to_owned());
        self
    }

    pub(crate) async fn create(self, connection: &mut PgConnection) -> Result<Identity> {
        IdentityRepository::create(connection, &self.new).await
    }
}

/// Builds a worker with a lease.
#[derive(Debug, Clone)]
pub(crate) struct WorkerFixture {
    pub(crate) new: WorkerRegistration,
}

impl WorkerFixture {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            new: WorkerRegistration {
                name: name.to_owned(),
                instance: "first".to_owned(),
                host: None,
                slots: 4,
                labels: json!({}),
                capabilities: json!({}),
                taints: Vec::new(),
                lease: LONG_LEASE,
                take_over: false,
            },
        }
    }

    pub(crate) fn new_unique() -> Self {
        Self::new(&unique_worker_name())
    }

    pub(crate) fn with_instance(mut self, instance: &str) -> Self {
        self.new.instance = instance.to_owned();
        self
    }

    /// A lease of zero has run out by the next statement.
    pub(crate) fn with_lease(mut self, lease: Duration) -> Self {
        self.new.lease = lease;
        self
    }

    pub(crate) fn with_labels(mut self, labels: Value) -> Self {
        self.new.labels = labels;
        self
    }

    pub(crate) fn with_taints(mut self, taints: &[&str]) -> Self {
        self.new.taints = taints.iter().map(|&taint| taint.to_owned()).collect();
        self
    }

    pub(crate) fn with_take_over(mut self) -> Self {
        self.new.take_over = true;
        self
    }

    pub(crate) async fn create(self, connection: &mut PgConnection) -> Result<Worker> {
        WorkerRepository::register(connection, &self.new).await
    }
}

/// Builds a sensor of a pack.
#[derive(Debug, Clone)]
pub(crate) struct SensorFixture {
    pub(crate) pack: i64,
    pub(crate) new: NewSensor,
}

impl SensorFixture {
    pub(crate) fn new(pack: &Pack, name: &str) -> Self {
        Self {
            pack: pack.id,
            new: NewSensor {
                r#ref: format!("{}.{name}", pack.r#ref),
                label: None,
                description: None,
                enabled: true,
                runtime_ref: "test.shell".to_owned(),
                entrypoint: "watch.sh".to_owned(),
                trigger_refs: Vec::new(),
                config: json!({}),
                permissions: Vec::new(),
            },
        }
    }

    pub(crate) fn with_runtime(mut self, runtime: &Runtime) -> Self {
        self.new.runtime_ref.clone_from(&runtime.r#ref);
        self
    }

    pub(crate) fn with_enabled(mut self, enabled: bool) -> Self {
        self.new.enabled = enabled;
        self
    }

    pub(crate) async fn create(self, connection: &mut PgConnection) -> Result<Sensor> {
        SensorRepository::put(connection, self.pack, &self.new).await
    }
}

/// Builds a permission set of a pack.
#[derive(Debug, Clone)]
pub(crate) struct PermissionSetFixture {
    pub(crate) pack: i64,
    pub(crate) new: NewPermissionSet,
}

impl PermissionSetFixture {
    pub(crate) fn new(pack: &Pack, name: &str) -> Self {
        Self {
            pack: pack.id,
            new: NewPermissionSet { r#ref: format!("{}.{name}", pack.r#ref), ..NewPermissionSet::default() },
        }
    }

    pub(crate) fn with_grant(mut self, resource: &str, actions: &[&str]) -> Self {
        self.new.grants.push(grant(resource, actions));
        self
    }

    pub(crate) async fn create(self, connection: &mut PgConnection) -> Result<PermissionSet> {
        PermissionRepository::put(connection, self.pack, &self.new).await
    }
}

/// A grant of these actions on the resource.
pub(crate) fn grant(resource: &str, actions: &[&str]) -> Grant {
    Grant {
        resource: resource.to_owned(),
        actions: actions.iter().map(|&action| action.to_owned()).collect(),
        constraints: Constraints::default(),
    }
}
