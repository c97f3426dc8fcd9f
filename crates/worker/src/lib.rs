//! The worker role: claims executions ([`claim`]), runs their actions ([`attempt`]) and reports their ends
//! ([`completion`]), under a lease ([`lease`]) that it renews for all of them at once.
//!
//! Only this crate and the sensor's start processes. A worker that dies leaves nothing behind that needs help: its lease
//! runs out and an executor rescues what it ran.

pub mod container;
pub mod environment;
pub mod native;
pub mod orphans;
pub mod output;
pub mod parameters;
pub mod process;
pub mod reasons;
pub mod sandbox;
pub mod warm;

mod artifacts;
mod attempt;
mod cancel;
mod claim;
mod command;
mod completion;
mod lease;
mod offer;
mod output_log;
mod output_store;
mod patience;
mod run_tokens;
mod secrets;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use attune_common::bus::{Bus, Topic};
use attune_common::crypto::SecretKey;
use attune_common::error::StoreError;
use attune_common::models::worker::WorkerRegistration;
use attune_common::moment::Moment;
use attune_common::repositories::WorkerRepository;
use attune_runtime::environments::{
    BuildEnvironment, DEFAULT_BUILD_LIMIT, EnvironmentSettings, Environments,
};
use serde_json::json;
use sqlx::PgPool;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::environment::{ChildEnvironment, PrivateVariable};
use attune_common::pack_cache::PackCache;
use attune_common::pack_store::PackStore;

/// What the worker role needs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The worker's name, unique among the workers of the database.
    pub name: String,
    /// How many executions it runs at once that need a process.
    pub slots: u32,
    /// How many native ones it claims and runs at once, besides those that are assigned to it.
    pub native_slots: u32,
    /// What its operator says of it, for selectors.
    pub labels: BTreeMap<String, String>,
    /// What keeps work away that does not tolerate it.
    pub taints: Vec<String>,
    /// For how long it is believed to be alive without a renewal; it renews three times as often.
    pub lease: Duration,
    /// The caller holds a lock that a former process of this name would hold: what that one ran is rescued at once.
    pub take_over: bool,
    /// Where pack files and the working directories of runs live.
    pub directory: PathBuf,
    /// What runs with a private file system see nothing of, wherever it lies, besides that directory.
    pub hidden: Vec<PathBuf>,
    /// How long a stopping worker waits for what it runs; then it ends it and leaves it to rescue.
    pub drain: Duration,
    /// Time between SIGTERM and SIGKILL for an action that is to end.
    pub grace: Duration,
    /// What building the environment of a pack may take.
    pub build_limit: Duration,
    /// How many Python interpreters it keeps waiting at most; none, and each run of Python starts its own.
    pub warm: usize,
    /// Opens the keys that the parameters of executions name; without it, such executions fail.
    pub master_key: Option<SecretKey>,
    /// How native actions reach other servers.
    pub http: native::http::Access,
    /// Where what it runs finds the API; without it, or without the master key, actions get no token.
    pub api_url: Option<String>,
    /// The network that containers are put in; None: where their engine puts them.
    pub container_network: Option<String>,
}

impl Settings {
    /// The default settings of a worker with this name.
    pub fn new(name: impl Into<String>, directory: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            slots: 64,
            native_slots: 2000,
            labels: BTreeMap::new(),
            taints: Vec::new(),
            lease: Duration::from_secs(10),
            take_over: false,
            directory: directory.into(),
            hidden: Vec::new(),
            drain: Duration::from_secs(30),
            grace: Duration::from_secs(5),
            build_limit: DEFAULT_BUILD_LIMIT,
            warm: warm::DEFAULT_MOST,
            master_key: None,
            http: native::http::Access::default(),
            api_url: None,
            container_network: None,
        }
    }
}

/// Why a worker could not begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error("a worker called {name} is alive already: give this one another name with --worker-name")]
    NameTaken { name: String },
    #[error("the worker cannot be registered")]
    Store(#[from] StoreError),
    #[error("the worker's directory {path} cannot be used", path = path.display())]
    Directory { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Environment(#[from] PrivateVariable),
}

/// What the parts of a worker share.
#[derive(Debug)]
struct Shared {
    pool: PgPool,
    bus: Bus,
    settings: Settings,
    lease: lease::LeaseClock,
    /// The worker's row.
    id: i64,
    /// Drawn at this start.
    instance: String,
    cache: PackCache,
    /// The same for native actions, which name packs that are not their own.
    packs: PackStore,
    /// One pack is materialised at a time.
    materialise: tokio::sync::Mutex<()>,
    /// Where each run gets a directory of its own, below that of this instance.
    own: orphans::Instance,
    /// The directory that Python finds the SDK in.
    python_sdk: Option<PathBuf>,
    warm: Option<warm::WarmRunners>,
    environment: ChildEnvironment,
    /// The variables of what is started on behalf of packs.
    builds: BuildEnvironment,
    environments: Environments,
    images: container::Images,
    abilities: sandbox::Abilities,
    /// Room for executions that wait for what is built, and have given their slots back.
    waiting: Semaphore,
    secrets: secrets::Secrets,
    http: native::http::Access,
    run_tokens: run_tokens::RunTokens,
    running: cancel::Running,
    output: output_store::OutputStore,
    completions: completion::Completions,
    offers: Arc<offer::Offers>,
    /// For processes.
    slots: Arc<Semaphore>,
    /// For native actions that are claimed: what is assigned has room of its own.
    native_slots: Arc<Semaphore>,
}

/// Registers and works until `shutdown`; then waits for what it runs, up to the drain time.
pub async fn run(
    pool: PgPool,
    bus: Bus,
    settings: Settings,
    shutdown: CancellationToken,
) -> Result<(), WorkerError> {
    let runs = settings.directory.join("runs");
    tokio::fs::create_dir_all(&runs)
        .await
        .map_err(|source| WorkerError::Directory { path: runs.clone(), source })?;
    let environment = ChildEnvironment::of_this_process(&[])?;
    let builds = environment.for_builds();
    let instance = attune_common::auth::random_secret("");
    // Before its executions can be given to anybody again.
    let dead = tokio::task::spawn_blocking({
        let runs = runs.clone();
        move || orphans::dead(&runs)
    });
    let dead = dead.await.unwrap_or_default();
    let own = orphans::Instance::begin(&runs)
        .map_err(|source| WorkerError::Directory { path: runs.clone(), source })?;
    // No execution has this number.
    let (python_sdk, warm) = python(&settings, orphans::mark(own.name(), 0)).await?;
    let engine = container::Engine::find(builds.variables());
    for instance in dead {
        let is_ended = match &engine {
            _ if !instance.had_containers => true,
            Some(engine) => engine.remove_all_of(instance.name()).await,
            None => {
                tracing::warn!(
                    instance = instance.name(),
                    "a worker that died ran containers, and there is no container engine any more to end them with"
                );
                false
            }
        };
        let tidied = tokio::task::spawn_blocking(move || {
            instance.end_processes();
            if is_ended {
                instance.forget();
            }
        });
        let _tidied = tidied.await;
    }
    let hidden = settings.hidden.iter().chain([&settings.directory]).map(PathBuf::as_path);
    let abilities = sandbox::Abilities::probe().await.hiding(hidden);
    let capabilities = capabilities(&abilities, engine.as_ref()).await;
    let registered = register(&pool, &settings, &instance, &capabilities, &shutdown).await?;
    let Some((id, lease)) = registered else { return Ok(()) };
    bus.wake(Topic::Execution);
    tracing::info!(worker = settings.name, slots = settings.slots, "worker registered");

    let (output, write_output) = output_store::start(pool.clone(), bus.clone());
    let running = cancel::Running::default();
    let offers = Arc::new(offer::Offers::new(pool.clone(), id, &instance));
    let (completions, write_completions) =
        completion::start(pool.clone(), bus.clone(), id, running.clone(), offers.clone());
    let shared = Arc::new(Shared {
        lease,
        cache: PackCache::new(settings.directory.join("packs")),
        packs: PackStore::new(pool.clone(), settings.directory.join("packs")),
        materialise: tokio::sync::Mutex::default(),
        own,
        python_sdk,
        warm,
        environments: Environments::new(EnvironmentSettings {
            directory: settings.directory.join("environments"),
            limit: settings.build_limit,
            variables: builds.variables().clone(),
        }),
        builds,
        images: container::Images::default(),
        abilities,
        waiting: Semaphore::new(settings.slots as usize * WAITING),
        environment,
        secrets: secrets::Secrets::of(settings.master_key.clone()),
        http: settings.http.clone(),
        run_tokens: run_tokens::RunTokens::of(&settings),
        running,
        output,
        completions,
        offers,
        slots: Arc::new(Semaphore::new(settings.slots as usize)),
        native_slots: Arc::new(Semaphore::new(settings.native_slots as usize)),
        pool,
        bus,
        settings,
        id,
        instance,
    });
    let attempts = TaskTracker::new();
    let stop_background = CancellationToken::new();
    let background = TaskTracker::new();
    background.spawn(lease::renew(shared.clone(), stop_background.clone()));
    background.spawn(cancel::watch(shared.clone(), stop_background.clone()));
    background.spawn(tell_preparing(shared.clone(), stop_background.clone()));
    tokio::task::spawn_blocking({
        let environments = shared.environments.clone();
        move || environments.remove_unused()
    });
    let writers = TaskTracker::new();
    writers.spawn(write_output);
    writers.spawn(write_completions);

    claim::run(&shared, &attempts, &shutdown).await;
    claim::finish(&shared, &attempts).await;
    attempts.close();
    if tokio::time::timeout(shared.settings.drain, attempts.wait()).await.is_err() {
        tracing::warn!(
            running = attempts.len(),
            "still running after the drain time; ending what runs, its executions will be rescued"
        );
        shared.running.give_up();
        shared.environments.stop();
        attempts.wait().await;
    }
    shared.environments.stop();
    // The writers end when the last sender is gone, with everything written (or the database given up).
    let (pool, id, instance) = (shared.pool.clone(), shared.id, shared.instance.clone());
    stop_background.cancel();
    background.close();
    background.wait().await;
    drop(shared);
    writers.close();
    if tokio::time::timeout(Duration::from_secs(10), writers.wait()).await.is_err() {
        tracing::error!("the ends of some executions could not be stored; they will be rescued");
    }
    WorkerRepository::release(&pool, id, &instance).await?;
    Ok(())
}

/// Puts the SDK where Python finds it, and makes ready to keep interpreters warm, whose processes carry the mark.
async fn python(
    Settings { directory, warm: most, .. }: &Settings,
    mark: String,
) -> Result<(Option<PathBuf>, Option<warm::WarmRunners>), WorkerError> {
    let target = directory.join("python");
    let written = tokio::task::spawn_blocking({
        let target = target.clone();
        move || Ok((attune_common::python_sdk::install(&target)?, warm::write_runner(&target)?))
    });
    let written = written.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    let (sdk, runner) = written.map_err(|source| WorkerError::Directory { path: target, source })?;
    let settings = warm::WarmSettings { mark: Some(mark), most: *most, ..warm::WarmSettings::new(runner) };
    Ok((Some(sdk), (*most > 0).then(|| warm::WarmRunners::new(settings))))
}

/// For each slot, how many executions may wait for what is built, without holding up others.
const WAITING: usize = 8;

/// Tells whoever looks at executions what they wait for.
async fn tell_preparing(shared: Arc<Shared>, stop: CancellationToken) {
    let mut changes = shared.environments.preparing().changes();
    loop {
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
        let preparing = shared.environments.preparing().stored();
        let told =
            WorkerRepository::report_preparing(&shared.pool, shared.id, &shared.instance, &preparing).await;
        if let Err(error) = told {
            tracing::debug!(%error, "cannot tell what is being built");
        }
        // Its output may come fast.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// What selectors find without any label: the machine as this process sees it.
async fn capabilities(
    abilities: &sandbox::Abilities,
    engine: Option<&container::Engine>,
) -> BTreeMap<&'static str, String> {
    let mut found = BTreeMap::from([
        ("os", std::env::consts::OS.to_owned()),
        ("arch", std::env::consts::ARCH.to_owned()),
    ]);
    if let Some(host) = host_name() {
        found.insert("host", host);
    }
    found.extend(abilities.capabilities());
    if let Some(engine) = engine
        && engine.works().await
    {
        found.insert("container", engine.name().to_owned());
    }
    found
}

fn host_name() -> Option<String> {
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok())
}

/// Announces the worker; waits for the database if it is away. None when the shutdown came first.
async fn register(
    pool: &PgPool,
    settings: &Settings,
    instance: &str,
    capabilities: &BTreeMap<&'static str, String>,
    shutdown: &CancellationToken,
) -> Result<Option<(i64, lease::LeaseClock)>, WorkerError> {
    let registration = WorkerRegistration {
        name: settings.name.clone(),
        instance: instance.to_owned(),
        host: host_name(),
        slots: i32::try_from(settings.slots).unwrap_or(i32::MAX),
        labels: json!(settings.labels),
        capabilities: json!(capabilities),
        taints: settings.taints.clone(),
        lease: settings.lease,
        take_over: settings.take_over,
    };
    // A former process of this name that was killed is believed to be alive until its lease runs out.
    let patience = tokio::time::Instant::now() + settings.lease * 2;
    loop {
        let attempt = async {
            let mut transaction = attune_common::db::begin(pool).await?;
            let worker = WorkerRepository::register(&mut transaction, &registration).await?;
            transaction.commit().await?;
            Ok::<_, StoreError>(worker.id)
        };
        let asked = Moment::now();
        match attempt.await {
            Ok(id) => return Ok(Some((id, lease::LeaseClock::new(asked, settings.lease)))),
            Err(StoreError::Conflict { key, .. }) if tokio::time::Instant::now() >= patience => {
                return Err(WorkerError::NameTaken { name: key });
            }
            Err(error @ StoreError::Conflict { .. }) => {
                tracing::info!(%error, "waits for the lease of the former worker of this name to run out");
            }
            Err(error) if error.is_unavailable() => {
                tracing::warn!(%error, "the worker waits for the database");
            }
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            () = shutdown.cancelled() => return Ok(None),
        }
    }
}
