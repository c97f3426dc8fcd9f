//! The HTTP API: thin handlers that parse, authorise, call one function and map to a view.
//!
//! Nothing below this crate knows an HTTP status; here they come from one place ([`error`]). An event is answered with
//! 2xx only after it is durable ([`ingest`]).

mod artifact;
mod auth;
mod backtest;
mod cause;
mod check;
mod error;
mod explain;
mod extract;
mod handlers;
mod ingest;
mod inquiry_watch;
pub mod install;
mod observe;
mod openapi;
mod paging;
mod precondition;
mod progress;
mod question;
mod refs;
mod responses;
mod rule_checks;
mod rule_keys;
mod rule_settings;
mod run_masking;
mod state;
mod taker;
mod unready;
mod views;
mod webhook;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use attune_common::bus::{Bus, Topic};
use attune_common::vault::Vault;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use metrics_exporter_prometheus::PrometheusHandle;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

pub use error::ApiError;
use inquiry_watch::InquiryWatch;
pub use openapi::document as openapi_document;
use progress::ProgressBoard;
pub use state::AppState;
pub use unready::serve_unready;
use webhook::WebhookDirectory;

/// The largest file that is taken as an artifact, by workers too.
const MAX_ARTIFACT: u64 = attune_common::artifact_content::MAX_FILE;

/// How the API serves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The largest webhook body, in bytes; a larger one is answered with 413.
    pub max_webhook_bytes: usize,
    /// The largest pack archive, in bytes, and what it may unpack to.
    pub max_pack_bytes: usize,
    /// The largest body of a request with several events.
    pub max_batch_bytes: usize,
    /// What this server is for, as `production`: which of their files for environments packs take settings from.
    pub environment: Option<String>,
    /// The largest file that is taken as an artifact.
    pub max_artifact_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        // GitHub sends up to 25 MB but hardly ever more than a few hundred kB; what is matched in memory stays small.
        Self {
            max_webhook_bytes: 8 << 20,
            max_pack_bytes: 64 << 20,
            max_batch_bytes: 16 << 20,
            environment: None,
            max_artifact_bytes: MAX_ARTIFACT,
        }
    }
}

/// Everything that the API role needs.
#[derive(Debug)]
pub struct Api {
    pub pool: PgPool,
    pub bus: Bus,
    pub vault: Vault,
    pub settings: Settings,
    /// Renders `/metrics`.
    pub metrics: PrometheusHandle,
    /// Routes of other roles that are served at the same address.
    pub extra: Router,
}

/// Serves until `shutdown`, then finishes the requests under way.
pub async fn serve(api: Api, listener: TcpListener, shutdown: CancellationToken) -> std::io::Result<()> {
    let (app, background) = application(api, &shutdown);
    let server = axum::serve(listener, app).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let (served, ()) = tokio::join!(std::future::IntoFuture::into_future(server), background);
    served
}

/// The router, and the background work that it depends on, which ends after `shutdown`.
pub fn application(api: Api, shutdown: &CancellationToken) -> (Router, impl Future<Output = ()> + use<>) {
    let Api { pool, bus, vault, settings, metrics, extra } = api;
    // A request that was let in may still append; the appender ends when the last holder of the state is gone.
    let (ingest, appender) = ingest::start(&pool, bus.clone());
    let webhooks = WebhookDirectory::new(pool.clone(), vault.clone());
    let progress = ProgressBoard::default();
    let write_progress = progress.clone().write(pool.clone(), bus.clone(), shutdown.clone());
    let inquiries = InquiryWatch::default();
    let watch_inquiries = inquiries.clone().run(pool.clone(), bus.clone(), shutdown.clone());
    let state = AppState {
        pool,
        bus: bus.clone(),
        run_tokens: vault.run_token_key(),
        sensor_tokens: vault.sensor_token_key(),
        vault,
        settings: Arc::new(settings),
        metrics,
        ingest,
        webhooks: webhooks.clone(),
        progress,
        inquiries,
        backtests: Arc::new(Semaphore::new(1)),
        shutdown: shutdown.clone(),
    };
    let refresh = attune_common::pass::run(
        "webhook directory",
        bus.subscribe(Topic::Definition),
        Duration::from_secs(5),
        shutdown.clone(),
        move || {
            let webhooks = webhooks.clone();
            async move { webhooks.reload().await.map(|()| attune_common::pass::Found::Nothing) }
        },
    );
    let upkeep = upkeep(state.metrics.clone(), shutdown.clone());
    let router = openapi::router(&state)
        .merge(extra)
        .fallback(handlers::meta::no_such_route)
        .method_not_allowed_fallback(handlers::meta::method_not_allowed)
        .layer(DefaultBodyLimit::max(2 << 20))
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(axum::middleware::from_fn(observe::measure));
    let background = async move {
        tokio::join!(refresh, upkeep, appender, write_progress, watch_inquiries);
    };
    (router, background)
}

/// Sums up what was measured, until `shutdown`: where nobody reads `/metrics`, the single values would pile up.
async fn upkeep(metrics: PrometheusHandle, shutdown: CancellationToken) {
    let mut ticks = tokio::time::interval(Duration::from_secs(5));
    loop {
        tokio::select! {
            _ = ticks.tick() => metrics.run_upkeep(),
            () = shutdown.cancelled() => return,
        }
    }
}
