//! The sensor role: runs the processes of enabled sensors and records what they report.
//!
//! A reconcile pass ([`supervisor`]) compares the sensors that should run with those that do. Each sensor has one task
//! ([`keeper`]) that keeps one process alive after the other ([`life`]); a process reports events as lines of JSON
//! ([`report`]), which are stored before more is read ([`recorder`]). What keeps it from running is told ([`failures`]).
//!
//! Invariants:
//! - Over all sensor roles on one database a sensor runs at most once: whoever runs it holds its advisory lock
//!   ([`session`]), and stops it when the lock is lost.
//! - What was read from a sensor is stored, however long the database is away, as long as this process lives; and it is
//!   stored once, even when the connection breaks in the commit.
//! - The secrets among the settings of its pack are hidden in whatever it says, before any of it is kept.
//! - A sensor can neither fill the memory nor make another one lose events: it is read only as fast as is stored.
//!
//! # Protocol
//! A sensor finds its configuration as one line of JSON on standard input, which then stays open; its end means: stop.
//! It writes one JSON object per line to standard output:
//! `{"trigger": "pack.name", "payload": {..}, "dedup_key": "..", "config": {..}}`, the last two if it likes. What it
//! writes to standard error goes to the log. It runs in a directory of its own, finds the files of its pack in
//! `ATTUNE_PACK_DIR`, the settings of its pack in `ATTUNE_PACK_CONFIG` and its own name in `ATTUNE_SENSOR_REF`; where it declares
//! what it may ask of the API, also that in `ATTUNE_API_URL` and a token for it in `ATTUNE_API_TOKEN` ([`tokens`]). To stop it, its standard input is closed and its process
//! group gets SIGTERM, and what is left after five seconds SIGKILL.

mod backoff;
mod failures;
mod keeper;
mod life;
mod lines;
mod recorder;
mod report;
mod session;
mod supervisor;
mod tokens;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use attune_common::bus::{Bus, Topic};
use attune_common::crypto::SecretKey;
use attune_common::pack_store::PackStore;
use attune_common::pass;
use attune_common::process::InheritedEnvironment;
use attune_runtime::environments::{
    BuildEnvironment, DEFAULT_BUILD_LIMIT, EnvironmentSettings, Environments,
};
use attune_runtime::keys::KeyReader;
use sqlx::PgPool;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::supervisor::Supervisor;
use crate::tokens::SensorTokens;

/// How often what should run is compared with what runs, when nothing gives a signal.
const INTERVAL: Duration = Duration::from_secs(10);
/// How long a stopping role waits for what its sensors have still to say to be stored.
const DRAIN: Duration = Duration::from_secs(15);

/// What the sensor role needs.
#[derive(Debug)]
pub struct Sensors {
    pub pool: PgPool,
    pub bus: Bus,
    /// A directory of this role's for the files of packs and the working directories of sensors. Several processes of
    /// one machine may share it.
    pub cache: PathBuf,
    /// Opens the secrets in the settings of packs.
    pub master_key: Option<SecretKey>,
    /// What building the environment of a pack may take.
    pub build_limit: Duration,
    /// Where sensors find the API; None: they get no token for it.
    pub api_url: Option<String>,
}

impl Sensors {
    pub fn new(pool: PgPool, bus: Bus, cache: PathBuf) -> Self {
        Self { pool, bus, cache, master_key: None, build_limit: DEFAULT_BUILD_LIMIT, api_url: None }
    }
}

/// What the parts of the role share.
#[derive(Debug)]
struct Shared {
    pool: PgPool,
    bus: Bus,
    packs: PackStore,
    environments: Environments,
    keys: KeyReader,
    tokens: SensorTokens,
    environment: InheritedEnvironment,
    /// The directory that Python finds the SDK in; None where it cannot be written.
    python_sdk: Option<PathBuf>,
    /// Where each sensor has its working directory.
    directories: PathBuf,
    /// The drain time is over: what is not stored by now is lost.
    give_up: CancellationToken,
}

/// Runs sensors until `shutdown`, then stops them and stores what they said.
pub async fn run(sensors: Sensors, shutdown: CancellationToken) {
    let environment = match InheritedEnvironment::of_this_process(&[]) {
        Ok(environment) => environment,
        Err(error) => unreachable!("nothing is passed on that could be refused: {error}"),
    };
    let python_sdk = python_sdk(sensors.cache.join("python")).await;
    let signal = sensors.bus.subscribe(Topic::Definition);
    let shared = Arc::new(Shared {
        packs: PackStore::new(sensors.pool.clone(), sensors.cache.join("packs")),
        environments: Environments::new(EnvironmentSettings {
            directory: sensors.cache.join("environments"),
            limit: sensors.build_limit,
            variables: BuildEnvironment::of(&environment).variables().clone(),
        }),
        tokens: SensorTokens::of(sensors.api_url, sensors.master_key.as_ref()),
        keys: KeyReader::of(sensors.master_key),
        environment,
        python_sdk,
        directories: sensors.cache.join("directories"),
        give_up: CancellationToken::new(),
        pool: sensors.pool,
        bus: sensors.bus,
    });
    tokio::task::spawn_blocking({
        let environments = shared.environments.clone();
        move || environments.remove_unused()
    });
    let supervisor = Arc::new(Mutex::new(Supervisor::new(shared.clone(), shutdown.clone())));
    pass::run("sensor", signal, INTERVAL, shutdown, || {
        let supervisor = supervisor.clone();
        async move { supervisor.lock().await.pass().await }
    })
    .await;
    shared.environments.stop();
    let mut supervisor = supervisor.lock().await;
    if tokio::time::timeout(DRAIN, supervisor.ended()).await.is_err() {
        shared.give_up.cancel();
        supervisor.ended().await;
    }
    supervisor.release_all().await;
}

/// Puts the SDK where Python finds it. A sensor that needs it says so itself, if that fails.
async fn python_sdk(directory: PathBuf) -> Option<PathBuf> {
    let install = move || attune_common::python_sdk::install(&directory);
    match tokio::task::spawn_blocking(install).await {
        Ok(Ok(path)) => Some(path),
        Ok(Err(error)) => {
            tracing::error!(%error, "the Python SDK cannot be written");
            None
        }
        Err(error) => {
            tracing::error!(%error, "the Python SDK cannot be written");
            None
        }
    }
}
