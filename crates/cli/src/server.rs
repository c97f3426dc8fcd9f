//! The commands that serve: `attune up` (everything in one process), `attune serve` (some roles), `attune migrate`,
//! `attune key rotate`.

mod banner;
pub(crate) mod content;
mod roles;
mod rotation;
pub(crate) mod setup;
mod start;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use attune_common::db::{self, PoolOptions};
use attune_common::environment;
use attune_common::managed_postgres::{self, ManagedPostgres};
use attune_executor::Retention;
use attune_pack::PackDefinition;
use attune_worker::native::http::Access;
use attune_worker::native::network::{NetworkPolicy, parse_networks};
use clap::{Args, ValueEnum};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

pub(crate) use rotation::{RotateArgs, rotate};

use roles::{Plan, WorkerPlan};

/// Where the API listens unless told otherwise: this machine only.
const DEFAULT_LISTEN: &str = "127.0.0.1:9470";

/// A part of the system that a process can play.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// HTTP API and webhooks.
    Api,
    /// Matches events to rules and rescues lost executions.
    Executor,
    /// Runs actions.
    Worker,
    /// Runs sensors.
    Sensor,
    /// Streams changes to subscribers.
    Notifier,
}

/// Settings that all serving commands share.
#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    /// PostgreSQL to use, as postgres://user@host/database
    #[arg(long, env = environment::DATABASE_URL, hide_env_values = true, value_name = "URL")]
    pub(crate) database_url: Option<String>,
    /// Directory of the managed PostgreSQL, the master key and the files of runs
    #[arg(long, env = environment::DATA_DIR, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

impl Common {
    fn data_dir(&self) -> anyhow::Result<PathBuf> {
        match &self.data_dir {
            // The worker starts processes in other directories.
            Some(given) => {
                std::path::absolute(given).with_context(|| format!("{}: not a usable path", given.display()))
            }
            None => managed_postgres::default_data_dir()
                .context("no home directory is known: give a directory with --data-dir"),
        }
    }
}

/// Everything in one process, with a PostgreSQL of its own unless one is given.
#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Address of the API
    #[arg(long, env = environment::LISTEN, default_value = DEFAULT_LISTEN, value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,
    /// Install the demo pack: a webhook, a rule and an action to play with
    #[arg(long)]
    pub(crate) demo: bool,
    /// How many executions run at once
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) slots: u32,
}

/// Some roles, against a database that all processes share.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Roles to play
    #[arg(long, required = true, value_delimiter = ',', value_name = "ROLE")]
    pub(crate) role: Vec<Role>,
    /// Address of the API (or of the notifier where there is no API)
    #[arg(long, env = environment::LISTEN, default_value = DEFAULT_LISTEN, value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,
    /// Name of the worker; default: the host's name
    #[arg(long, value_name = "NAME")]
    pub(crate) worker_name: Option<String>,
    /// How many executions the worker runs at once; default: 64
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) slots: Option<u32>,
    /// A label of the worker, which selectors ask for; may be given more than once
    #[arg(long = "label", value_parser = crate::input::label, value_name = "NAME=VALUE")]
    pub(crate) labels: Vec<(String, String)>,
    /// A taint of the worker: it takes only what tolerates that; may be given more than once
    #[arg(long = "taint", value_parser = crate::input::taint, value_name = "TAINT")]
    pub(crate) taints: Vec<String>,
}

/// Brings the schema of a database up to date.
#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    /// PostgreSQL to migrate, as postgres://user@host/database
    #[arg(long, env = environment::DATABASE_URL, hide_env_values = true, value_name = "URL")]
    pub(crate) database_url: String,
}

/// Runs `attune up` until it is told to stop.
pub(crate) async fn up(args: UpArgs) -> anyhow::Result<()> {
    let data_dir = args.common.data_dir()?;
    let retention = retention()?;
    let shutdown = on_signal();
    // Before anything is started: the most common mistake is a second `attune up`.
    let listener = listen(args.listen).await?;
    let managed = match &args.common.database_url {
        Some(_) => None,
        None => Some(
            ManagedPostgres::start(&managed_postgres::Settings::new(&data_dir))
                .await
                .context("the managed PostgreSQL cannot be started")?,
        ),
    };
    let url = match (&managed, &args.common.database_url) {
        (Some(managed), _) => managed.url(),
        (None, Some(url)) => url.clone(),
        (None, None) => anyhow::bail!("there is no database"),
    };
    let plan = Plan {
        roles: Role::value_variants().to_vec(),
        worker: WorkerPlan {
            // Behind the lock of the data directory there can be no other process of this name.
            name: if managed.is_some() { "local".to_owned() } else { roles::host_name() },
            take_over: managed.is_some(),
            slots: args.slots,
            labels: BTreeMap::new(),
            taints: Vec::new(),
            build_limit: build_limit()?,
            warm: warm_interpreters()?,
            // Known when the vault has been opened.
            master_key: None,
            http: http_access()?,
            api_url: api_url()?,
            container_network: container_network()?,
        },
        data_dir: data_dir.clone(),
        retention,
    };
    let stop_watching = CancellationToken::new();
    let work = serve_up(&args, &url, plan, listener, shutdown);
    let outcome = match &managed {
        Some(managed) => tokio::select! {
            outcome = work => outcome,
            () = managed.supervise(stop_watching.clone()) => Ok(()),
        },
        None => work.await,
    };
    stop_watching.cancel();
    if let Some(managed) = managed {
        managed.stop().await.context("the managed PostgreSQL did not stop cleanly")?;
    }
    outcome
}

async fn serve_up(
    args: &UpArgs,
    url: &str,
    mut plan: Plan,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let connected = start::when_there(Some(&listener), &shutdown, async || start::connect(url).await);
    let Some(pool) = connected.await? else { return Ok(()) };
    db::migrate(&pool).await?;
    let vault = setup::vault(&pool, &plan.data_dir).await?;
    plan.worker.master_key = setup::master_key_if_any(&plan.data_dir)?;
    let installed = setup::install_content(&pool, args.demo).await?;
    let administrator = setup::first_administrator(&pool).await?;
    let banner = banner::Banner {
        address: listener.local_addr()?,
        administrator: administrator.as_ref(),
        demo_webhook: installed.demo_webhook.as_deref(),
    };
    banner::announce(&banner);
    roles::run(pool, Some(vault), plan, Some(listener), shutdown).await
}

/// Runs `attune serve` until it is told to stop.
pub(crate) async fn serve(args: ServeArgs) -> anyhow::Result<()> {
    let url = args.common.database_url.clone().context(
        "no database is given: set DATABASE_URL or give --database-url (`attune up` brings its own PostgreSQL)",
    )?;
    let plays = |role| args.role.contains(&role);
    let of_the_worker = args.worker_name.is_some()
        || args.slots.is_some()
        || !args.labels.is_empty()
        || !args.taints.is_empty();
    if !plays(Role::Worker) && of_the_worker {
        anyhow::bail!("--worker-name, --slots, --label and --taint have no effect without the role `worker`");
    }
    let retention = retention()?;
    let http = http_access()?;
    let shutdown = on_signal();
    let listener = match plays(Role::Api) || plays(Role::Notifier) {
        true => Some(listen(args.listen).await?),
        false => None,
    };
    let data_dir = args.common.data_dir()?;
    let opened = start::when_there(listener.as_ref(), &shutdown, async || {
        let pool = start::connect(&url).await?;
        setup::check_schema(&pool).await?;
        let vault = match plays(Role::Api) {
            true => Some(setup::vault(&pool, &data_dir).await?),
            false => None,
        };
        Ok((pool, vault))
    });
    let Some((pool, vault)) = opened.await? else { return Ok(()) };
    let worker = WorkerPlan {
        name: args.worker_name.clone().unwrap_or_else(roles::host_name),
        take_over: false,
        slots: args.slots.unwrap_or(64),
        labels: args.labels.into_iter().collect(),
        taints: args.taints,
        build_limit: build_limit()?,
        warm: warm_interpreters()?,
        master_key: match plays(Role::Worker) || plays(Role::Sensor) {
            true => setup::master_key_if_any(&data_dir)?,
            false => None,
        },
        http,
        api_url: api_url()?,
        container_network: container_network()?,
    };
    if let Some(listener) = &listener {
        banner::announce(&format_args!("Attune listens at http://{}\n", listener.local_addr()?));
    }
    roles::run(pool, vault, Plan { roles: args.role, worker, data_dir, retention }, listener, shutdown).await
}

/// Runs `attune migrate`: the schema, and the core pack that every installation has.
pub(crate) async fn migrate(args: MigrateArgs) -> anyhow::Result<()> {
    let pool = db::connect(&args.database_url, &PoolOptions::default())
        .await
        .context("cannot connect to the database")?;
    db::migrate(&pool).await?;
    setup::install_content(&pool, false).await?;
    if let Some(administrator) = setup::first_administrator(&pool).await? {
        banner::announce(&banner::FirstAdministrator(&administrator));
    }
    banner::remark("the schema is up to date");
    Ok(())
}

/// What building the environment of a pack may take, as the environment says.
fn build_limit() -> anyhow::Result<Option<std::time::Duration>> {
    let Ok(text) = std::env::var(environment::BUILD_LIMIT) else { return Ok(None) };
    let limit = attune_pack::parse_duration(&text).filter(|limit| !limit.is_zero());
    limit.map(Some).with_context(|| {
        format!("{} is {text:?}: expected a time such as `90s`, `30m` or `2h`", environment::BUILD_LIMIT)
    })
}

/// How many Python interpreters wait, as the environment says.
fn warm_interpreters() -> anyhow::Result<Option<usize>> {
    let Ok(text) = std::env::var(environment::WARM_INTERPRETERS) else { return Ok(None) };
    let most = text.trim().parse().ok().filter(|most| *most <= 1000);
    most.map(Some).with_context(|| {
        format!("{} is {text:?}: expected a whole number from 0 to 1000", environment::WARM_INTERPRETERS)
    })
}

/// Where actions find the API, as the environment says.
fn api_url() -> anyhow::Result<Option<String>> {
    let Some(given) = crate::profile::variable(environment::API_URL) else { return Ok(None) };
    let parsed = url::Url::parse(&given).ok();
    let usable = parsed.is_some_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none()
    });
    anyhow::ensure!(
        usable,
        "{} is not the address of an API: expected one such as https://attune.example.com, without a login",
        environment::API_URL
    );
    Ok(Some(given))
}

/// The network of containers, as the environment says.
fn container_network() -> anyhow::Result<Option<String>> {
    let Some(given) = crate::profile::variable(environment::CONTAINER_NETWORK) else { return Ok(None) };
    // What begins with a dash would be an option of the container engine; with a colon its options follow.
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let is_name = given.starts_with(|c: char| c.is_ascii_alphanumeric()) && given.chars().all(plain);
    anyhow::ensure!(
        is_name,
        "{} is {given:?}: expected `host` or the name of a network of the container engine",
        environment::CONTAINER_NETWORK
    );
    Ok(Some(given))
}

/// How long history is kept, as the environment says.
fn retention() -> anyhow::Result<Retention> {
    Retention::from_environment(|name| std::env::var(name).ok()).map_err(anyhow::Error::msg)
}

/// The core pack, as it is part of the binary.
pub(crate) fn core_pack() -> anyhow::Result<PackDefinition> {
    attune_pack::read(&content::core()).map_err(|findings| {
        anyhow::anyhow!(findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })
}

/// What native actions may reach, as the environment says.
fn http_access() -> anyhow::Result<Access> {
    let networks = |name| {
        let list = std::env::var(name).unwrap_or_default();
        parse_networks(&list).with_context(|| format!("{name} cannot be used"))
    };
    Ok(Access::network(NetworkPolicy {
        allow: networks(environment::HTTP_ALLOW)?,
        deny: networks(environment::HTTP_DENY)?,
    }))
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; is Attune running there already? Choose another address with --listen")
    })
}

/// Cancelled by Ctrl-C or SIGTERM; a second one ends the process at once.
fn on_signal() -> CancellationToken {
    let token = CancellationToken::new();
    // Now, lest one that comes at once find nobody who listens.
    let Ok(mut signals) = Signals::listen() else {
        tracing::error!("signals cannot be handled");
        return token;
    };
    let shutdown = token.clone();
    tokio::spawn(async move {
        signals.come().await;
        banner::remark("stopping: finishing what runs (once more to stop at once)");
        shutdown.cancel();
        signals.come().await;
        std::process::exit(130);
    });
    token
}

/// The signals that ask a process to end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next one.
    async fn come(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
