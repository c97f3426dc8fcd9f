//! The real thing for cases that run something: a PostgreSQL of their own, a database for each case, and the API, an executor
//! and a worker on it.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context;
use attune_api::Api;
use attune_api::install::{self, Candidate, InstallOptions};
use attune_client::Client;
use attune_client::types::{
    ExecutionDetail, ExecutionRequest, KeyRequest, LoginRequest, PackConfigChange, RuleChange,
};
use attune_common::bus::{Bus, Topic};
use attune_common::crypto::SecretKey;
use attune_common::db::{self, PoolOptions};
use attune_common::managed_postgres::{ManagedPostgres, Settings};
use attune_common::models::event::NewEvent;
use attune_common::repositories::{EventRepository, TriggerRepository};
use attune_common::vault::Vault;
use attune_executor::{Executor, Retention};
use attune_expr::schema::ParameterSchema;
use attune_pack::{
    ActionCase, CaseSubject, Expectation, HttpAnswer, HttpBody, RuleCase, SshAnswer, TestCase,
};
use attune_worker::native::http::Access;
use attune_worker::native::recorded::{Answers, Recorded, RecordedAnswer, RecordedRun};
use axum::Router;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Map, Value};
use sqlx::PgPool;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Packs;
use super::compare::{Extent, contains, differences};
use super::outside;
use super::rule::headers_of;
use crate::server::setup;

/// How often it is looked whether an event was judged.
const LOOK: Duration = Duration::from_millis(10);

/// A PostgreSQL with a database that has the packs, to be copied for each case.
pub(super) struct Engine {
    postgres: ManagedPostgres,
    directory: TempDir,
    master: SecretKey,
    login: String,
    password: String,
    /// The ref of the pack that is tested.
    pack: String,
    /// The keys that it declares to be no secrets.
    plain_keys: BTreeSet<String>,
    next: AtomicU32,
}

/// Attune on a database of its own.
struct Instance {
    client: Client,
    pool: PgPool,
    bus: Bus,
    recorded: Recorded,
    shutdown: CancellationToken,
}

/// What an instance consists of, while it runs.
type Roles = JoinSet<anyhow::Result<()>>;

impl Engine {
    pub(super) async fn start(packs: &Packs<'_>) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("attune-pack-test-")
            .tempdir()
            .context("no temporary directory can be made")?;
        // Under root, PostgreSQL runs under another account, which has to get through.
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o711))?;
        let settings = Settings { durable: false, ..Settings::new(directory.path().join("postgres")) };
        let postgres = ManagedPostgres::start(&settings).await.context("no PostgreSQL can be started")?;
        let master = SecretKey::generate();
        let prepared = prepare(&postgres.url(), &master, packs).await;
        let administrator = match prepared {
            Ok(administrator) => administrator,
            Err(error) => {
                postgres.stop().await?;
                return Err(error);
            }
        };
        let (login, password) = (administrator.login, administrator.password);
        let tested = &packs.tested.definition;
        let pack = tested.manifest.r#ref.clone();
        let plain = tested.keys.iter().filter(|key| !key.secret);
        let plain_keys = plain.map(|key| key.r#ref.clone()).collect();
        Ok(Self { postgres, directory, master, login, password, pack, plain_keys, next: AtomicU32::new(1) })
    }

    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.postgres.stop().await.context("the PostgreSQL of the tests did not stop cleanly")
    }

    /// Runs the case; what is not as expected.
    pub(super) async fn run(&self, case: &TestCase) -> anyhow::Result<Vec<String>> {
        let (instance, mut roles) = self.instance(case).await?;
        let outcome = async {
            if !case.config.is_empty() {
                let change = PackConfigChange { set: case.config.clone(), unset: Vec::new() };
                instance.client.change_pack_config(&self.pack, &change).await?;
            }
            for (key_ref, value) in &case.keys {
                let secret = self.plain_keys.contains(key_ref).then_some(false);
                let request = KeyRequest { value: Some(value.clone()), secret };
                instance.client.put_key(key_ref, &request).await?;
            }
            match &case.subject {
                CaseSubject::Action(action) => instance.run_action(action).await,
                CaseSubject::Rule(rule) => instance.run_rule(rule).await,
            }
        };
        // A role that ends before the case does has failed.
        let outcome = tokio::select! {
            outcome = outcome => outcome,
            ended = roles.join_next() => match ended {
                Some(Ok(Err(error))) => Err(error),
                _ => Err(anyhow::anyhow!("a part of the engine ended")),
            },
        };
        instance.shutdown.cancel();
        while roles.join_next().await.is_some() {}
        instance.pool.close().await;
        outcome
    }

    async fn instance(&self, case: &TestCase) -> anyhow::Result<(Instance, Roles)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let url = db::clone_database(&self.postgres.url(), &format!("case_{number}")).await?;
        let options = PoolOptions {
            max_connections: 8,
            acquire_timeout: Duration::from_secs(30),
            application_name: "attune pack test".to_owned(),
        };
        let pool = db::connect(&url, &options).await?;
        let vault = Vault::open(&pool, &self.master).await?;
        let bus = Bus::new();
        let shutdown = CancellationToken::new();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let recorded = Recorded::of(answers_for(case));

        let mut roles = Roles::new();
        let api = Api {
            pool: pool.clone(),
            bus: bus.clone(),
            vault,
            settings: attune_api::Settings::default(),
            metrics: PrometheusBuilder::new().build_recorder().handle(),
            extra: Router::new(),
        };
        let stop = shutdown.clone();
        roles.spawn(async move { Ok(attune_api::serve(api, listener, stop).await?) });
        let executor = Executor { pool: pool.clone(), bus: bus.clone(), retention: Retention::default() };
        let stop = shutdown.clone();
        roles.spawn(async move {
            attune_executor::run(executor, stop).await;
            Ok(())
        });
        let directory = self.directory.path().join(format!("worker-{number}"));
        let mut settings = attune_worker::Settings::new("test", directory);
        settings.slots = 4;
        settings.master_key = Some(self.master.clone());
        settings.http = Access::recorded(recorded.clone());
        let (stop, worker_pool, worker_bus) = (shutdown.clone(), pool.clone(), bus.clone());
        roles.spawn(async move { Ok(attune_worker::run(worker_pool, worker_bus, settings, stop).await?) });

        let client = Client::new(&format!("http://{address}"), None)?;
        let request =
            LoginRequest { login: self.login.clone(), password: self.password.clone(), token_name: None };
        let token = client.login(&request).await?.token;
        Ok((Instance { client: client.with_token(token), pool, bus, recorded, shutdown }, roles))
    }
}

impl Instance {
    async fn run_action(&self, case: &ActionCase) -> anyhow::Result<Vec<String>> {
        let request = ExecutionRequest::of(&case.action, Value::Object(case.parameters.clone()));
        let started = self.client.create_execution(&request).await?;
        let mut failures = self.compare(started.id, &case.expect).await?;
        failures.extend(outside::not_as_expected(&self.recorded.seen(), &case.expect));
        Ok(failures)
    }

    async fn run_rule(&self, case: &RuleCase) -> anyhow::Result<Vec<String>> {
        let Some(expect) = &case.execution else { return Ok(Vec::new()) };
        let rule = self.client.rule(&case.rule).await?;
        // What a rule does is tested as well where it waits to be enabled.
        if !rule.enabled || rule.mode != "active" {
            let change =
                RuleChange { enabled: Some(true), mode: Some("active".to_owned()), ..RuleChange::default() };
            self.client.change_rule(&case.rule, &change).await?;
        }
        let trigger = TriggerRepository::get_by_ref(&self.pool, &rule.trigger).await?;
        let schema = ParameterSchema::compile(&trigger.param_schema)?;
        let events: Vec<NewEvent> = case
            .events
            .iter()
            .map(|event| NewEvent {
                trigger: Some(trigger.id),
                trigger_ref: trigger.r#ref.clone(),
                config: Some(schema.with_defaults(Value::Object(event.config.clone()))),
                payload: Some(event.payload.clone()),
                headers: headers_of(event),
                ..NewEvent::default()
            })
            .collect();
        let mut connection = self.pool.acquire().await?;
        let appended = EventRepository::append(&mut connection, &events).await?;
        drop(connection);
        self.bus.wake(Topic::Event);
        let mut failures = Vec::new();
        for event in appended {
            let judged = loop {
                let event = self.client.event(event.id).await?;
                if event.matched.is_some() {
                    break event;
                }
                tokio::time::sleep(LOOK).await;
            };
            for enforcement in judged.enforcements.iter().filter(|made| made.enforcement.rule == case.rule) {
                for execution in &enforcement.executions {
                    failures.extend(self.compare(execution.id, expect).await?);
                }
            }
        }
        // What all of them sent, now that all have ended.
        failures.extend(outside::not_as_expected(&self.recorded.seen(), expect));
        Ok(failures)
    }

    /// Waits for the end of the execution and compares it.
    async fn compare(&self, execution: i64, expect: &Expectation) -> anyhow::Result<Vec<String>> {
        let detail = loop {
            let detail = self.client.wait_for_execution(execution, 30).await?;
            if detail.execution.is_finished() {
                break detail;
            }
        };
        Ok(not_as_expected(&detail, expect))
    }
}

fn not_as_expected(detail: &ExecutionDetail, expect: &Expectation) -> Vec<String> {
    let execution = &detail.execution;
    let mut failures = Vec::new();
    if execution.status != expect.status {
        let mut told = format!("status: expected {}, but it is {}", expect.status, execution.status);
        for (name, text) in
            [("error", execution.error.as_deref().unwrap_or_default()), ("stderr", &detail.stderr)]
        {
            if !text.is_empty() {
                told.push_str(&format!("\n{name}: {}", text.trim_end()));
            }
        }
        failures.push(told);
    }
    let result = execution.result.as_ref().unwrap_or(&Value::Null);
    if let Some(expected) = &expect.result {
        failures.extend(differences("result", expected, result, Extent::Whole));
    }
    if let Some(expected) = &expect.result_has {
        failures.extend(differences("result", expected, result, Extent::AtLeast));
    }
    let texts = [
        ("error", &expect.error, execution.error.as_deref().unwrap_or_default()),
        ("stdout", &expect.stdout, detail.stdout.as_str()),
        ("stderr", &expect.stderr, detail.stderr.as_str()),
    ];
    for (name, part, actual) in texts {
        failures.extend(part.as_ref().and_then(|part| contains(name, part, actual)));
    }
    failures
}

/// Brings the schema up and installs the packs; gives back who may sign in.
async fn prepare(url: &str, master: &SecretKey, packs: &Packs<'_>) -> anyhow::Result<setup::Administrator> {
    let pool = db::connect(url, &PoolOptions::default()).await?;
    db::migrate(&pool).await?;
    let vault = Vault::open(&pool, master).await?;
    setup::install_content(&pool, false).await?;
    let administrator = setup::first_administrator(&pool).await?.context("the database is not new")?;
    for pack in packs.others.iter().chain(std::iter::once(packs.tested)) {
        let manifest = &pack.definition.manifest;
        // The core pack is there already.
        if manifest.r#ref == packs.core.manifest.r#ref {
            continue;
        }
        let source = Some("test".to_owned());
        let mut candidate =
            Candidate::for_environment(pack.definition.clone(), pack.files.clone(), source, None);
        candidate.seal(&vault, &Map::new())?;
        let installed = install::install(&pool, &Bus::new(), &[candidate], InstallOptions::default()).await;
        installed.with_context(|| format!("the pack {} cannot be installed", manifest.r#ref))?;
    }
    pool.close().await;
    Ok(administrator)
}

/// What the case has for actions that would leave this machine.
fn answers_for(case: &TestCase) -> Answers {
    let expect = match &case.subject {
        CaseSubject::Action(action) => Some(&action.expect),
        CaseSubject::Rule(rule) => rule.execution.as_ref(),
    };
    Answers {
        http: case.http.iter().map(recorded).collect(),
        ssh: case.ssh.iter().map(recorded_run).collect(),
        takes_mail: expect.is_some_and(|expect| expect.mail.is_some()),
    }
}

fn recorded_run(answer: &SshAnswer) -> RecordedRun {
    let SshAnswer { host, command, exit_code, stdout, stderr, times } = answer.clone();
    RecordedRun { host, command, exit_code, stdout, stderr, times }
}

fn recorded(answer: &HttpAnswer) -> RecordedAnswer {
    RecordedAnswer {
        method: answer.method.clone(),
        // As requests are compared: with the path that an address without one has.
        url: url::Url::parse(&answer.url).map_or_else(|_| answer.url.clone(), String::from),
        status: answer.status,
        headers: answer.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        body: match &answer.body {
            HttpBody::Empty => Vec::new(),
            HttpBody::Json(value) => value.to_string().into_bytes(),
            HttpBody::Text(text) => text.clone().into_bytes(),
        },
        times: answer.times,
    }
}
