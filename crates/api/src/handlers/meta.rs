//! About the server itself: health, metrics, and answers to requests that go nowhere.

use std::time::Duration;

use attune_common::db;
use axum::extract::State;
use axum::http::{Method, Uri, header};
use axum::response::IntoResponse;

use crate::error::ApiError;
use crate::state::AppState;

/// How long the database may take to answer before the server counts as not ready.
const PATIENCE: Duration = Duration::from_secs(1);

/// The process runs and answers.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "server",
    security(()),
    responses((status = OK, body = String, content_type = "text/plain"))
)]
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// The server can do its work: its database answers.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "server",
    security(()),
    responses(
        (status = OK, body = String, content_type = "text/plain"),
        (status = SERVICE_UNAVAILABLE, body = attune_client::types::Problem,
            content_type = "application/problem+json", description = "The database does not answer"),
    )
)]
pub(crate) async fn readyz(State(state): State<AppState>) -> Result<&'static str, ApiError> {
    const NOT_READY: &str = "the database does not answer";
    match tokio::time::timeout(PATIENCE, db::ping(&state.pool)).await {
        Ok(Ok(())) => Ok("ok\n"),
        Ok(Err(error)) => Err(ApiError::unavailable(NOT_READY, error)),
        Err(_) => Err(ApiError::unavailable(NOT_READY, format!("no answer within {PATIENCE:?}"))),
    }
}

/// Metrics in Prometheus' text format.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "server",
    security(()),
    responses((status = OK, body = String, content_type = "text/plain"))
)]
pub(crate) async fn metrics(State(state): State<AppState>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], state.metrics.render())
}

/// The answer where no route is.
pub(crate) async fn no_such_route(uri: Uri) -> ApiError {
    ApiError::not_found(format!(
        "there is nothing at {}; what there is stands in /api/openapi.json",
        uri.path()
    ))
}

/// The answer to a method that the route does not have.
pub(crate) async fn method_not_allowed(method: Method, uri: Uri) -> ApiError {
    ApiError::method_not_allowed(format!("{} does not take {method}; see /api/openapi.json", uri.path()))
}
