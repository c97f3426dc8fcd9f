//! The notifier role: follows the change feed once per process ([`follower`]) and gives it to any number of subscribers
//! ([`stream`]) as server-sent events.
//!
//! Invariants: a subscriber gets every change after its cursor once and in order, or is disconnected, never a feed with
//! a hole; what it has not taken yet holds no memory of its own; whoever follows must be allowed to read executions, and
//! is disconnected when that ends.

mod access;
mod follower;
mod problem;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use attune_common::bus::{Bus, Topic};
use axum::Router;
use axum::routing::get;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::follower::Feed;

/// How long connections may take to end at a shutdown; one whose reader stands still would never end.
const DRAIN: Duration = Duration::from_secs(5);

/// Serves the change feed of one process; clones share it.
#[derive(Debug, Clone)]
pub struct Notifier {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    pool: PgPool,
    feed: Feed,
    shutdown: CancellationToken,
}

/// The notifier, and the work that follows the change feed for it until `shutdown`: somebody has to run it.
#[expect(
    clippy::needless_pass_by_value,
    reason = "a role is given its own handle of the bus, as of the pool"
)]
pub fn start(
    pool: PgPool,
    bus: Bus,
    shutdown: CancellationToken,
) -> (Notifier, impl Future<Output = ()> + Send + 'static) {
    let feed = Feed::new();
    let follow = follower::follow(pool.clone(), bus.subscribe(Topic::Change), feed.clone(), shutdown.clone());
    (Notifier { shared: Arc::new(Shared { pool, feed, shutdown }) }, follow)
}

impl Notifier {
    /// `GET /api/v1/stream`, to be served alone or beside the API.
    pub fn router(&self) -> Router {
        Router::new().route("/api/v1/stream", get(stream::serve)).with_state(self.shared.clone())
    }
}

/// Serves the notifier alone, with `GET /healthz`, until `shutdown`.
pub async fn serve(
    notifier: Notifier,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let router = notifier.router().route("/healthz", get(async || "ok")).fallback(problem::not_found);
    let server = axum::serve(listener, router).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let too_long = async {
        shutdown.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        ended = server => ended,
        () = too_long => {
            tracing::warn!("left connections open that did not end with the shutdown");
            Ok(())
        }
    }
}
