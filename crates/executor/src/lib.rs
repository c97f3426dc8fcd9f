//! The executor role: turns events into decisions ([`matching`]), lets the windows of rules fire when their time has come
//! ([`timers`]), schedules what policies admit ([`admission`]), takes care of what vanished workers left behind ([`rescue`])
//! and of what waits for something else than a free worker ([`waiting`]), ends questions that are over ([`inquiries`]), hands out the items of work queues ([`dispatch`]),
//! tells rules of what the platform itself did ([`internal`]), and removes what is old ([`retention`]).
//!
//! Any number of executors may run: an event is taken by one of them at a time, and its decisions, their executions and
//! the mark "matched" are one transaction. A process that dies at any point of it has done nothing.

pub mod admission;
mod apart;
pub mod attention;
mod backpressure;
pub mod dispatch;
mod faults;
pub mod inquiries;
pub mod internal;
mod keys;
pub mod matching;
pub mod rescue;
pub mod retention;
mod rules;
mod seen;
mod snapshot;
pub mod timers;
mod turns;
pub mod waiting;
mod windows;

use std::sync::Arc;
use std::time::Duration;

use attune_common::bus::{Bus, Subscription, Topic};
use attune_common::error::StoreError;
use attune_common::pass;
use sqlx::PgPool;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

pub use attention::Attention;
pub use retention::Retention;
pub use snapshot::RuleSnapshot;

/// What the executor role needs.
#[derive(Debug, Clone)]
pub struct Executor {
    pub pool: PgPool,
    pub bus: Bus,
    pub retention: Retention,
}

/// Runs a pass until `shutdown`; one that panics is one that fails.
async fn run_pass<F, Fut>(
    name: &'static str,
    signal: Subscription,
    interval: Duration,
    shutdown: CancellationToken,
    mut pass: F,
) where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<pass::Found, StoreError>>,
{
    pass::run(name, signal, interval, shutdown, move || faults::guarded(pass())).await;
}

/// Matches events whenever the signal is given, until `shutdown`.
async fn match_events(matcher: matching::Matcher, signal: Subscription, shutdown: CancellationToken) {
    let matcher = Arc::new(Mutex::new(matcher));
    run_pass("matching", signal, Duration::from_millis(500), shutdown, || {
        let matcher = matcher.clone();
        async move { matcher.lock().await.pass().await }
    })
    .await;
}

/// Runs the passes of the executor until `shutdown`; a pass under way is finished first.
pub async fn run(executor: Executor, shutdown: CancellationToken) {
    let Executor { pool, bus, retention } = executor;
    // One reading of the rules serves all.
    let matcher = matching::Matcher::new(pool.clone(), bus.clone());
    let timer = Arc::new(Mutex::new(matcher.beside()));
    // Two, so that one judges while the other records; the second one is woken when more waits than the first one takes.
    let helper = Bus::new();
    let matching = match_events(matcher.beside(), helper.subscribe(Topic::Event), shutdown.clone());
    let matcher = matcher.helped_by(helper);
    let more_matching = match_events(matcher, bus.subscribe(Topic::Event), shutdown.clone());
    let timers =
        run_pass("timers", bus.subscribe(Topic::Definition), timers::INTERVAL, shutdown.clone(), move || {
            let matcher = timer.clone();
            async move { timers::pass(&mut *matcher.lock().await).await }
        });
    let attention = Arc::new(Attention::default());
    let forward_to_admission =
        attention::forward(bus.clone(), Topic::Admission, attention.clone(), shutdown.clone());
    let admitter = Arc::new(Mutex::new(admission::Admitter::new(pool.clone(), bus.clone(), attention)));
    let admission = run_pass(
        "admission",
        bus.subscribe(Topic::Admission),
        admission::INTERVAL,
        shutdown.clone(),
        move || {
            let admitter = admitter.clone();
            async move { admitter.lock().await.pass().await }
        },
    );
    let attention = Arc::new(Attention::default());
    let forward_to_dispatch =
        attention::forward(bus.clone(), Topic::Work, attention.clone(), shutdown.clone());
    let dispatcher = Arc::new(Mutex::new(dispatch::Dispatcher::new(pool.clone(), bus.clone(), attention)));
    let dispatch =
        run_pass("dispatch", bus.subscribe(Topic::Work), dispatch::INTERVAL, shutdown.clone(), move || {
            let dispatcher = dispatcher.clone();
            async move { dispatcher.lock().await.pass().await }
        });
    let emitter = Arc::new(Mutex::new(internal::Emitter::new(pool.clone(), bus.clone())));
    let internal = run_pass(
        "internal_event",
        bus.subscribe(Topic::Change),
        internal::INTERVAL,
        shutdown.clone(),
        move || {
            let emitter = emitter.clone();
            async move { emitter.lock().await.pass().await }
        },
    );
    let pool_of_retention = pool.clone();
    let retention = run_pass(
        "retention",
        bus.subscribe(Topic::Definition),
        retention::INTERVAL,
        shutdown.clone(),
        move || retention::pass(pool_of_retention.clone(), retention.clone()),
    );
    let rescuer = Arc::new(Mutex::new(rescue::Rescuer::new(pool.clone(), bus.clone())));
    let rescue =
        run_pass("rescue", bus.subscribe(Topic::Definition), rescue::INTERVAL, shutdown.clone(), move || {
            let rescuer = rescuer.clone();
            async move { rescuer.lock().await.pass().await }
        });
    let signal = bus.subscribe(Topic::Definition);
    let (inquiry_pool, inquiry_bus) = (pool.clone(), bus.clone());
    let inquiries = run_pass("inquiry", signal, inquiries::INTERVAL, shutdown.clone(), move || {
        inquiries::pass(inquiry_pool.clone(), inquiry_bus.clone())
    });
    let signal = bus.subscribe(Topic::Definition);
    let (due_pool, due_bus) = (pool.clone(), bus.clone());
    let due = run_pass("retry", signal, waiting::DUE_INTERVAL, shutdown.clone(), move || {
        waiting::due(due_pool.clone(), due_bus.clone())
    });
    let signal = bus.subscribe(Topic::Definition);
    let (pause_pool, pause_bus) = (pool.clone(), bus.clone());
    let pauses = run_pass("pause", signal, waiting::PAUSE_INTERVAL, shutdown.clone(), move || {
        waiting::pauses(pause_pool.clone(), pause_bus.clone())
    });
    let signal = bus.subscribe(Topic::Definition);
    let placements =
        run_pass("placement", signal, waiting::PLACEMENT_INTERVAL, shutdown.clone(), move || {
            waiting::placements(pool.clone(), bus.clone(), waiting::UNSERVED_FOR)
        });
    tokio::join!(
        matching,
        more_matching,
        timers,
        admission,
        forward_to_admission,
        dispatch,
        forward_to_dispatch,
        internal,
        retention,
        rescue,
        inquiries,
        due,
        pauses,
        placements
    );
}
