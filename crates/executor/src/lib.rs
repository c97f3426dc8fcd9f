//! The executor role: turns events into decisions ([`matching`]), lets the windows of rules fire when their time has come
//! ([`timers`]), takes care of what vanished workers left behind ([`rescue`]) and of what waits for something else than a free
//! worker ([`waiting`]).
//!
//! Any number of executors may run: an event is taken by one of them at a time, and its decisions, their executions and
//! the mark "matched" are one transaction. A process that dies at any point of it has done nothing.

pub mod matching;
pub mod rescue;
mod seen;
mod snapshot;
pub mod timers;
pub mod waiting;
mod windows;

use std::sync::Arc;
use std::time::Duration;

use attune_common::bus::{Bus, Topic};
use attune_common::pass;
use sqlx::PgPool;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

pub use snapshot::RuleSnapshot;

/// What the executor role needs.
#[derive(Debug, Clone)]
pub struct Executor {
    pub pool: PgPool,
    pub bus: Bus,
}

/// Runs the passes of the executor until `shutdown`; a pass under way is finished first.
pub async fn run(executor: Executor, shutdown: CancellationToken) {
    let Executor { pool, bus } = executor;
    let matcher = Arc::new(Mutex::new(matching::Matcher::new(pool.clone(), bus.clone())));
    // One reading of the rules serves both; while one works, the other waits.
    let timer = matcher.clone();
    let matching = pass::run(
        "matching",
        bus.subscribe(Topic::Event),
        Duration::from_millis(500),
        shutdown.clone(),
        move || {
            let matcher = matcher.clone();
            async move { matcher.lock().await.pass().await }
        },
    );
    let timers = pass::run(
        "timers",
        bus.subscribe(Topic::Definition),
        timers::INTERVAL,
        shutdown.clone(),
        move || {
            let matcher = timer.clone();
            async move { timers::pass(&mut *matcher.lock().await).await }
        },
    );
    let rescuer = Arc::new(Mutex::new(rescue::Rescuer::new(pool.clone(), bus.clone())));
    let rescue = pass::run(
        "rescue",
        bus.subscribe(Topic::Definition),
        rescue::INTERVAL,
        shutdown.clone(),
        move || {
            let rescuer = rescuer.clone();
            async move { rescuer.lock().await.pass().await }
        },
    );
    let signal = bus.subscribe(Topic::Definition);
    let (due_pool, due_bus) = (pool.clone(), bus.clone());
    let due = pass::run("retry", signal, waiting::DUE_INTERVAL, shutdown.clone(), move || {
        waiting::due(due_pool.clone(), due_bus.clone())
    });
    let signal = bus.subscribe(Topic::Definition);
    let (pause_pool, pause_bus) = (pool.clone(), bus.clone());
    let pauses = pass::run("pause", signal, waiting::PAUSE_INTERVAL, shutdown.clone(), move || {
        waiting::pauses(pause_pool.clone(), pause_bus.clone())
    });
    let signal = bus.subscribe(Topic::Definition);
    let placements =
        pass::run("placement", signal, waiting::PLACEMENT_INTERVAL, shutdown.clone(), move || {
            waiting::placements(pool.clone(), bus.clone(), waiting::UNSERVED_FOR)
        });
    tokio::join!(matching, timers, rescue, due, pauses, placements);
}
