//! How many requests came, how they were answered, and how long the answers took to begin.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;

/// Measures one request. The route is the pattern and not the path, so that there are only so many series.
pub(crate) async fn measure(request: Request, next: Next) -> Response {
    let began = Instant::now();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let method = match request.method().as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") => known.to_owned(),
        // A sender may invent methods.
        _ => "other".to_owned(),
    };
    let response = next.run(request).await;
    let labels = [("method", method), ("route", route), ("status", response.status().as_u16().to_string())];
    metrics::counter!("attune_http_requests_total", &labels).increment(1);
    metrics::histogram!("attune_http_request_duration_seconds", &labels)
        .record(began.elapsed().as_secs_f64());
    response
}
