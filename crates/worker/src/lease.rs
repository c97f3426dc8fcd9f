//! The worker's promise to be alive, renewed for all that it runs in one statement.

use std::sync::Arc;

use attune_common::repositories::WorkerRepository;
use tokio_util::sync::CancellationToken;

use crate::Shared;

/// Renews the lease until `stop`.
pub(crate) async fn renew(shared: Arc<Shared>, stop: CancellationToken) {
    let lease = shared.settings.lease;
    loop {
        tokio::select! {
            () = tokio::time::sleep(lease / 3) => {}
            () = stop.cancelled() => return,
        }
        match WorkerRepository::renew(&shared.pool, shared.id, &shared.instance, lease).await {
            Ok(true) => {}
            Ok(false) => {
                // Whoever took the name over also rescued what runs here: going on would do it twice.
                tracing::error!(
                    worker = shared.settings.name,
                    "another process took this worker's name over; ending what runs here"
                );
                shared.running.give_up();
            }
            Err(error) => tracing::warn!(%error, "the lease cannot be renewed; trying again"),
        }
    }
}
