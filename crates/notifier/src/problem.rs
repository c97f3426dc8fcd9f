//! Refusals as problem documents (RFC 9457), of the same kinds that the API answers with.

use attune_client::types::Problem;
use attune_common::error::StoreError;
use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

/// Why a request is not served.
#[derive(Debug)]
pub(crate) enum Refusal {
    BadRequest(String),
    Unauthenticated(&'static str),
    Forbidden,
    NotFound,
    Store(StoreError),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// 404 for every path that is not served.
pub(crate) async fn not_found() -> Refusal {
    Refusal::NotFound
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, kind, title, detail) = match self {
            Self::BadRequest(detail) => {
                (StatusCode::BAD_REQUEST, "bad-request", "The request cannot be read", detail)
            }
            Self::Unauthenticated(detail) => {
                (StatusCode::UNAUTHORIZED, "unauthenticated", "Not signed in", detail.to_owned())
            }
            Self::Forbidden => {
                let detail = "this needs a permission set that grants `read` on `execution`";
                (StatusCode::FORBIDDEN, "forbidden", "Not allowed", detail.to_owned())
            }
            Self::NotFound => {
                let detail = "only /api/v1/stream and /healthz are served here";
                (StatusCode::NOT_FOUND, "not-found", "Not found", detail.to_owned())
            }
            Self::Store(error) => {
                let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                tracing::error!(%error, source, "a subscription failed");
                if error.is_unavailable() {
                    let detail = "the database is not available; try again";
                    (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available now", detail.to_owned())
                } else {
                    let detail = "the server met an error that it did not expect; its log says more";
                    (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", detail.to_owned())
                }
            }
        };
        let problem = Problem {
            kind: format!("/problems/{kind}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail,
            errors: Vec::new(),
        };
        let mut response = (status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}
