//! Runs roles side by side in one process until the shutdown, or until one of them cannot go on.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use attune_api::{Api, Settings as ApiSettings};
use attune_common::bus::Bus;
use attune_common::crypto::SecretKey;
use attune_common::environment;
use attune_common::vault::Vault;
use attune_executor::{Executor, Retention};
use attune_sensor::Sensors;
use attune_worker::native::http::Access;
use axum::Router;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Role;

/// Which roles, and what they need.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) roles: Vec<Role>,
    pub(super) worker: WorkerPlan,
    pub(super) data_dir: PathBuf,
    pub(super) retention: Retention,
}

/// How the worker role works.
#[derive(Debug)]
pub(super) struct WorkerPlan {
    pub(super) name: String,
    pub(super) take_over: bool,
    pub(super) slots: u32,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) taints: Vec<String>,
    /// What building the environment of a pack may take; None: as the worker has it.
    pub(super) build_limit: Option<Duration>,
    /// How many Python interpreters it keeps waiting; None: as the worker has it.
    pub(super) warm: Option<usize>,
    /// Opens the keys that parameters name.
    pub(super) master_key: Option<SecretKey>,
    /// What its native actions may reach.
    pub(super) http: Access,
    /// Where actions find the API, unless it is in this process.
    pub(super) api_url: Option<String>,
    /// The network of containers.
    pub(super) container_network: Option<String>,
}

/// The host's name, which a worker is called by unless it is given a name.
pub(super) fn host_name() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .unwrap_or_else(|| "worker".to_owned())
}

/// How processes on this machine reach what listens there.
fn local_url(address: SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

/// Upper bounds of what durations are counted by, in seconds.
const SECONDS: [f64; 16] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// The same of how many events share a statement.
const EVENTS: [f64; 9] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0];

/// Begins to record metrics. Distributions are counted in buckets: that costs nearly nothing, and what several processes
/// count can be added up. (Quantiles over the last minute would be computed by every reader anew, from all that was measured.)
fn metrics_recorder() -> anyhow::Result<PrometheusHandle> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .and_then(|builder| {
            builder.set_buckets_for_metric(Matcher::Suffix("_batch_size".to_owned()), &EVENTS)
        })
        .and_then(PrometheusBuilder::install_recorder)
        .context("metrics cannot be recorded")
}

/// Runs the roles of the plan.
pub(super) async fn run(
    pool: PgPool,
    vault: Option<Vault>,
    plan: Plan,
    listener: Option<TcpListener>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let metrics = metrics_recorder()?;
    let bus = Bus::new();
    let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();
    let connected = bus.clone().connect(pool.clone(), shutdown.clone());
    tasks.spawn(async move {
        connected.await;
        Ok(())
    });
    let plays = |role| plan.roles.contains(&role);
    let mut extra = Router::new();
    let mut listener = listener;
    let own_api =
        listener.as_ref().filter(|_| plays(Role::Api)).and_then(|listener| listener.local_addr().ok());
    if plays(Role::Notifier) {
        let (notifier, follow) = attune_notifier::start(pool.clone(), bus.clone(), shutdown.clone());
        tasks.spawn(async move {
            follow.await;
            Ok(())
        });
        if plays(Role::Api) {
            extra = notifier.router();
        } else if let Some(listener) = listener.take() {
            let shutdown = shutdown.clone();
            tasks.spawn(async move { Ok(attune_notifier::serve(notifier, listener, shutdown).await?) });
        }
    }
    if plays(Role::Api) {
        let (Some(vault), Some(listener)) = (vault, listener) else {
            anyhow::bail!("the role `api` needs a vault and an address");
        };
        let environment = std::env::var(environment::ENVIRONMENT).ok().filter(|name| !name.is_empty());
        let settings = ApiSettings { environment, ..ApiSettings::default() };
        let api = Api { pool: pool.clone(), bus: bus.clone(), vault, settings, metrics, extra };
        let shutdown = shutdown.clone();
        tasks
            .spawn(async move { attune_api::serve(api, listener, shutdown).await.context("the API failed") });
    }
    if plays(Role::Executor) {
        let executor = Executor { pool: pool.clone(), bus: bus.clone(), retention: plan.retention.clone() };
        let shutdown = shutdown.clone();
        tasks.spawn(async move {
            attune_executor::run(executor, shutdown).await;
            Ok(())
        });
    }
    if plays(Role::Sensor) {
        let mut sensors = Sensors::new(pool.clone(), bus.clone(), plan.data_dir.join("sensors"));
        sensors.master_key = plan.worker.master_key.clone();
        sensors.api_url = plan.worker.api_url.clone().or_else(|| own_api.map(local_url));
        if let Some(limit) = plan.worker.build_limit {
            sensors.build_limit = limit;
        }
        let shutdown = shutdown.clone();
        tasks.spawn(async move {
            attune_sensor::run(sensors, shutdown).await;
            Ok(())
        });
    }
    if plays(Role::Worker) {
        let mut settings =
            attune_worker::Settings::new(plan.worker.name.clone(), plan.data_dir.join("worker"));
        // There are the master key and the files of PostgreSQL.
        settings.hidden = vec![plan.data_dir.clone()];
        settings.slots = plan.worker.slots;
        if let Some(limit) = plan.worker.build_limit {
            settings.build_limit = limit;
        }
        if let Some(most) = plan.worker.warm {
            settings.warm = most;
        }
        settings.labels = plan.worker.labels;
        settings.taints = plan.worker.taints;
        settings.take_over = plan.worker.take_over;
        settings.master_key = plan.worker.master_key;
        settings.http = plan.worker.http;
        settings.api_url = plan.worker.api_url.or_else(|| own_api.map(local_url));
        settings.container_network = plan.worker.container_network;
        let (pool, bus, shutdown) = (pool.clone(), bus.clone(), shutdown.clone());
        tasks.spawn(async move { Ok(attune_worker::run(pool, bus, settings, shutdown).await?) });
    }
    let mut outcome = Ok(());
    while let Some(ended) = tasks.join_next().await {
        let ended = ended.context("a role panicked").and_then(|ended| ended);
        if let Err(error) = ended {
            tracing::error!("{error:#}");
            if outcome.is_ok() {
                outcome = Err(error);
            }
        }
        // A role ends only when it is told to, or because it failed: either way the others are to end too.
        shutdown.cancel();
    }
    pool.close().await;
    outcome
}
