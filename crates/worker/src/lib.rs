//! The worker role: claims executions ([`claim`]), runs their actions ([`attempt`]) and reports their ends
//! ([`completion`]), under a lease ([`lease`]) that it renews for all of them at once.
//!
//! Only this crate and the sensor's start processes. A worker that dies leaves nothing behind that needs help: its lease
//! runs out and an executor rescues what it ran.

pub mod environment;
pub mod masking;
pub mod native;
pub mod output;
pub mod parameters;
pub mod process;

mod artifacts;
mod attempt;
mod cancel;
mod claim;
mod completion;
mod lease;
mod offer;
mod output_store;
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
use attune_common::repositories::WorkerRepository;
use serde_json::json;
use sqlx::PgPool;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::environment::{ChildEnvironment, PrivateVariable};
use attune_common::pack_cache::PackCache;

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
    /// How long a stopping worker waits for what it runs; then it ends it and leaves it to rescue.
    pub drain: Duration,
    /// Time between SIGTERM and SIGKILL for an action that is to end.
    pub grace: Duration,
    /// Opens the keys that the parameters of executions name; without it, such executions fail.
    pub master_key: Option<SecretKey>,
    /// Where what it runs finds the API; without it, or without the master key, actions get no token.
    pub api_url: Option<String>,
}

impl Settings {
    /// The default settings of a worker with this name.
    pub fn new(name: impl Into<String>, directory: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            slots: 64,
            native_slots: 1000,
            labels: BTreeMap::new(),
            taints: Vec::new(),
            lease: Duration::from_secs(10),
            take_over: false,
            directory: directory.into(),
            drain: Duration::from_secs(30),
            grace: Duration::from_secs(5),
            master_key: None,
            api_url: None,
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
    /// One pack is materialised at a time.
    materialise: tokio::sync::Mutex<()>,
    /// Where each run gets a directory of its own.
    runs: PathBuf,
    environment: ChildEnvironment,
    secrets: secrets::Secrets,
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
    let instance = attune_common::auth::random_secret("");
    let registered = register(&pool, &settings, &instance, &shutdown).await?;
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
        materialise: tokio::sync::Mutex::default(),
        runs,
        environment,
        secrets: secrets::Secrets::of(settings.master_key.clone()),
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
        attempts.wait().await;
    }
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

/// What selectors find without any label: the machine as this process sees it.
fn capabilities() -> BTreeMap<&'static str, String> {
    let mut found = BTreeMap::from([
        ("os", std::env::consts::OS.to_owned()),
        ("arch", std::env::consts::ARCH.to_owned()),
    ]);
    if let Some(host) = host_name() {
        found.insert("host", host);
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
    shutdown: &CancellationToken,
) -> Result<Option<(i64, lease::LeaseClock)>, WorkerError> {
    let registration = WorkerRegistration {
        name: settings.name.clone(),
        instance: instance.to_owned(),
        host: host_name(),
        slots: i32::try_from(settings.slots).unwrap_or(i32::MAX),
        labels: json!(settings.labels),
        capabilities: json!(capabilities()),
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
        let asked = tokio::time::Instant::now();
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
