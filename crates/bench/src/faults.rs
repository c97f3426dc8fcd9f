//! Kills what can be killed while webhooks stream in, and checks from outside that nothing was lost and nothing done twice.
//!
//! Real processes: an API, two executors and three workers, each `attune serve` of its own, and a durable PostgreSQL. While
//! senders deliver numbered webhooks, faults come at random: SIGKILL of any role, immediate shutdown of PostgreSQL, a worker
//! that is frozen beyond its lease, a worker whose connections are cut. Whatever ends is started again, as an init system would.
//! Executions are cancelled at random as well. When all deliveries were acknowledged and all work has ended, [`check`] reads the
//! database and the file that the actions themselves wrote.

mod check;
mod ends;
mod processes;
mod proxy;
mod report;
mod rescues;
mod stream;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use attune_client::Client;
use attune_client::types::LoginRequest;
use attune_common::managed_postgres::{ManagedPostgres, Settings};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

pub use check::Finding;
pub use ends::Ends;
pub use report::{Counts, Report};
pub use rescues::Rescues;

use processes::{Binary, Role};
use proxy::Proxy;
use rescues::Blows;
use stream::Stream;

/// How long all work may take to end after the last delivery: several leases.
const PATIENCE: Duration = Duration::from_secs(180);

/// How long a frozen worker stands still: longer than its lease of ten seconds, and than the rescue that follows.
const FREEZE: Duration = Duration::from_secs(13);

const WORKERS: [&str; 3] = ["worker-1", "worker-2", "worker-3"];

/// What is to be done to the system.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The attune binary.
    pub binary: PathBuf,
    /// Webhooks to deliver.
    pub events: u64,
    /// Webhooks a second at most.
    pub rate: u64,
    /// Processes to kill, PostgreSQL included. Cuts and freezes come on top of them.
    pub kills: u64,
    /// Chooses the faults; the same seed chooses the same faults in the same order.
    pub seed: u64,
}

impl Plan {
    /// A run of half a minute that meets every kind of fault.
    pub fn brief(binary: PathBuf) -> Self {
        Self { binary, events: 500, rate: 60, kills: 8, seed: 745 }
    }

    /// The faults in their order, each with the pause before it.
    fn faults(&self) -> Vec<(Duration, Fault)> {
        let mut random = StdRng::seed_from_u64(self.seed);
        let (mut faults, mut kills) = (Vec::new(), 0);
        while kills < self.kills {
            let pause = Duration::from_millis(random.random_range(200..1500));
            let fault = Fault::choose(&mut random);
            kills += u64::from(fault.kills());
            faults.push((pause, fault));
        }
        faults
    }
}

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    KillApi,
    KillExecutor(usize),
    KillWorker(usize),
    KillPostgres,
    FreezeWorker(usize),
    /// Of the third worker, for this long.
    CutConnections(Duration),
}

impl Fault {
    /// Workers hold the most that can be lost, so they are hit the most.
    fn choose(random: &mut StdRng) -> Self {
        match random.random_range(0..100) {
            0..15 => Self::KillApi,
            15..40 => Self::KillExecutor(random.random_range(0..2)),
            40..75 => Self::KillWorker(random.random_range(0..3)),
            75..85 => Self::KillPostgres,
            85..92 => Self::FreezeWorker(random.random_range(0..2)),
            _ => Self::CutConnections(Duration::from_millis(random.random_range(100..14_000))),
        }
    }

    /// Whether a process ends by it.
    fn kills(self) -> bool {
        match self {
            Self::KillApi | Self::KillExecutor(_) | Self::KillWorker(_) | Self::KillPostgres => true,
            Self::FreezeWorker(_) | Self::CutConnections(_) => false,
        }
    }
}

/// Runs the plan. Violated promises are findings of the report; an error means that the harness itself could not go on.
pub async fn run(plan: &Plan) -> anyhow::Result<Report> {
    let began = Instant::now();
    let directory = tempfile::Builder::new().prefix("attune-faults-").tempdir()?;
    // PostgreSQL may have to run under another account, which must be able to come by.
    std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let postgres = Arc::new(ManagedPostgres::start(&Settings::new(directory.path().join("database"))).await?);
    let stop = CancellationToken::new();
    let watch = tokio::spawn({
        let (postgres, stop) = (postgres.clone(), stop.clone());
        async move { postgres.supervise(stop).await }
    });
    let outcome = with_database(plan, &postgres, directory.path(), began).await;
    stop.cancel();
    watch.await.context("the watch over PostgreSQL failed")?;
    postgres.stop().await?;
    if outcome.as_ref().is_ok_and(Report::is_clean) {
        return outcome;
    }
    // What the processes said is wanted now.
    let kept = directory.keep();
    outcome.with_context(|| format!("logs are in {}", kept.display()))
}

async fn with_database(
    plan: &Plan,
    postgres: &ManagedPostgres,
    directory: &std::path::Path,
    began: Instant,
) -> anyhow::Result<Report> {
    let url = postgres.url();
    let binary = Binary::new(plan.binary.clone(), directory)?;
    let password = binary.migrate(&url).await?;
    let proxy = Proxy::start(&url, directory).await?;
    let api = binary.keep("api", &["--role", "api,notifier,sensor"], &url)?;
    let executors = [
        binary.keep("executor-1", &["--role", "executor"], &url)?,
        binary.keep("executor-2", &["--role", "executor"], &url)?,
    ];
    let worker = |name: &str, url: &str| {
        binary.keep(name, &["--role", "worker", "--slots", "16", "--worker-name", name], url)
    };
    let [first, second, third] = WORKERS;
    let workers = [worker(first, &url)?, worker(second, &url)?, worker(third, proxy.url())?];
    let client = sign_in(&binary.address(), &password).await?;
    let effects = directory.join("effects");
    let hook = stream::install(&client, &effects).await?;

    let stream = Stream::start(plan, &client, &hook);
    let limit = tokio::spawn(check::watch_limit(url.clone()));
    let (mut counts, mut blows) = (Counts::default(), Blows::default());
    for (pause, fault) in plan.faults() {
        // Spread over the whole stream.
        stream.reached(plan.events * counts.kills() / plan.kills).await?;
        tokio::time::sleep(pause).await;
        match fault {
            Fault::KillApi => {
                strike(|| api.kill()).await?;
                counts.api += 1;
            }
            Fault::KillExecutor(which) => {
                strike(|| executors[which].kill()).await?;
                counts.executor += 1;
            }
            Fault::KillWorker(which) => {
                strike(|| workers[which].kill()).await?;
                blows.worker(WORKERS[which]);
                counts.worker += 1;
            }
            Fault::KillPostgres => {
                strike(|| kill_postgres(postgres)).await?;
                blows.outage();
                counts.postgres += 1;
            }
            Fault::FreezeWorker(which) => {
                if workers[which].freeze(FREEZE)? {
                    blows.worker(WORKERS[which]);
                    counts.frozen += 1;
                }
            }
            Fault::CutConnections(duration) => {
                proxy.cut(duration);
                blows.outage();
                counts.cut += 1;
            }
        }
    }
    let delivered = stream.finish().await?;
    let pool = attune_common::db::connect(&url, &attune_common::db::PoolOptions::default()).await?;
    let idle = wait_until_idle(&pool).await?;
    let roles: Vec<&Role> = std::iter::once(&api).chain(&executors).chain(&workers).collect();
    for role in roles {
        counts.ended_by_themselves.add(role.ended_by_itself());
    }
    let mut findings = check::all(&pool, &delivered, &effects).await?;
    for (reason, number) in counts.ended_by_themselves.unexpected() {
        findings.push(Finding { what: format!("processes ended by themselves: {reason}"), number });
    }
    limit.abort();
    if let Ok(exceeded) = limit.await {
        // It ends by itself only when it has seen what must not be.
        findings.push(Finding { what: exceeded, number: 1 });
    }
    let rescues = blows.judge(&rescues::losses(&pool).await?);
    if rescues.late > 0 {
        let what =
            format!("attempts were taken from their worker more than {} s after its end", rescues::PROMISED);
        findings.push(Finding { what, number: rescues.late });
    }
    if !idle {
        findings.push(Finding { what: "work did not end in time".to_owned(), number: 1 });
    }
    let totals = check::totals(&pool).await?;
    pool.close().await;
    for role in [api].into_iter().chain(executors).chain(workers) {
        role.stop().await;
    }
    Ok(Report { plan: plan.clone(), counts, totals, rescues, findings, elapsed: began.elapsed() })
}

/// Kills what there is to kill, as soon as there is something: what was killed before is just being started again.
async fn strike(kill: impl Fn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    while !kill()? {
        anyhow::ensure!(Instant::now() < until, "what was killed did not come back");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Immediate shutdown: no checkpoint, recovery at the next start. False while it is away.
fn kill_postgres(postgres: &ManagedPostgres) -> anyhow::Result<bool> {
    let pid = postgres.pid().context("PostgreSQL was stopped")?;
    match kill(Pid::from_raw(pid), Signal::SIGQUIT) {
        Ok(()) => Ok(true),
        Err(Errno::ESRCH) => Ok(false),
        Err(error) => Err(error).context("PostgreSQL cannot be killed"),
    }
}

async fn sign_in(url: &str, password: &str) -> anyhow::Result<Client> {
    let client = Client::new(url, None)?;
    let request = LoginRequest { login: "admin".to_owned(), password: password.to_owned(), token_name: None };
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        match client.login(&request).await {
            Ok(answer) => return Ok(client.with_token(answer.token)),
            Err(error) if Instant::now() > until => return Err(error).context("cannot sign in"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Whether all work ended in time.
async fn wait_until_idle(pool: &PgPool) -> anyhow::Result<bool> {
    let until = Instant::now() + PATIENCE;
    while check::open(pool).await? > 0 {
        if Instant::now() > until {
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_the_brief_plan_meets_every_kind_of_fault() {
        let faults: Vec<Fault> =
            Plan::brief(PathBuf::new()).faults().into_iter().map(|(_, fault)| fault).collect();
        let kinds: [fn(&Fault) -> bool; 6] = [
            |fault| matches!(fault, Fault::KillApi),
            |fault| matches!(fault, Fault::KillExecutor(_)),
            |fault| matches!(fault, Fault::KillWorker(_)),
            |fault| matches!(fault, Fault::KillPostgres),
            |fault| matches!(fault, Fault::FreezeWorker(_)),
            |fault| matches!(fault, Fault::CutConnections(_)),
        ];
        for (number, kind) in kinds.iter().enumerate() {
            assert!(faults.iter().any(kind), "kind {number} is not among {faults:?}");
        }
    }

    #[test]
    fn test_a_seed_chooses_the_same_faults_again() {
        let plan = |seed| Plan { seed, ..Plan::brief(PathBuf::new()) };
        assert_eq!(plan(5).faults(), plan(5).faults());
        assert_ne!(plan(5).faults(), plan(6).faults());
    }
}
