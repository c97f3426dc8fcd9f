//! What the address of the API answers while the process that is to serve it waits for its database.

use std::io;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::error::ApiError;
use crate::handlers::meta;

/// How long answers under way may take when the database is there.
const DRAIN: Duration = Duration::from_secs(1);

/// Answers until the process is ready: it lives (`GET /healthz`), and everything else is to be asked again.
pub async fn serve_unready(listener: TcpListener, ready: CancellationToken) -> io::Result<()> {
    let router = Router::new().route("/healthz", get(meta::healthz)).fallback(not_ready);
    let server = axum::serve(listener, router).with_graceful_shutdown(ready.clone().cancelled_owned());
    let too_long = async {
        ready.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        ended = server => ended,
        () = too_long => Ok(()),
    }
}

async fn not_ready() -> ApiError {
    ApiError::unavailable(
        "the server waits for its database; nothing was stored, try again",
        "the database was not there yet",
    )
}
