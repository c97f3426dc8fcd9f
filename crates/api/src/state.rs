//! What handlers share.

use std::sync::Arc;

use attune_common::bus::{Bus, Topic};
use attune_common::run_token::RunTokenKey;
use attune_common::sensor_token::SensorTokenKey;
use attune_common::vault::Vault;
use metrics_exporter_prometheus::PrometheusHandle;
use sqlx::PgPool;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::Settings;
use crate::ingest::Ingest;
use crate::inquiry_watch::InquiryWatch;
use crate::progress::ProgressBoard;
use crate::webhook::WebhookDirectory;

/// The state of the API; clones share it.
#[derive(Debug, Clone)]
pub struct AppState {
    pub(crate) pool: PgPool,
    pub(crate) bus: Bus,
    pub(crate) vault: Vault,
    /// Checks the tokens of runs.
    pub(crate) run_tokens: RunTokenKey,
    /// Checks the tokens of sensors.
    pub(crate) sensor_tokens: SensorTokenKey,
    pub(crate) settings: Arc<Settings>,
    pub(crate) metrics: PrometheusHandle,
    pub(crate) ingest: Ingest,
    pub(crate) webhooks: WebhookDirectory,
    pub(crate) progress: ProgressBoard,
    /// Where requests wait for the end of inquiries.
    pub(crate) inquiries: InquiryWatch,
    /// Back-tests take turns: together they hold one connection and one thread.
    pub(crate) backtests: Arc<Semaphore>,
    /// Ends long-lived answers (followed logs, long polls) so that a stopping server is not held up by them.
    pub(crate) shutdown: CancellationToken,
}

impl AppState {
    /// Tells this process that definitions or keys were changed (other processes learn it from the database), and waits
    /// until the webhooks here are those of now.
    pub(crate) async fn definitions_changed(&self) {
        self.bus.wake(Topic::Definition);
        if let Err(error) = self.webhooks.reload().await {
            // The change itself is stored; the webhook directory's own pass tries again.
            tracing::warn!(%error, "webhooks were not read again after a change");
        }
    }
}
