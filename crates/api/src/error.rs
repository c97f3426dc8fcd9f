//! Errors as the API answers them: RFC 9457 problem documents. The only place where errors become HTTP.

use std::any::Any;

use attune_client::types::{Problem, ProblemItem};
use attune_common::StoreError;
use attune_common::vault::VaultError;
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// An error with what the caller is told, and what only the log is told.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    /// The last part of the problem's type, as `not-found`.
    kind: &'static str,
    title: &'static str,
    detail: String,
    errors: Vec<ProblemItem>,
    /// Seconds after which the same request may succeed.
    retry_after: Option<u32>,
    /// Not for the caller.
    internal: Option<String>,
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            title,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
            internal: None,
        }
    }

    /// 400: the request cannot be read.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", "The request cannot be read", detail)
    }

    /// 401: nobody, or not who they say they are.
    pub fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "Not signed in", detail)
    }

    /// 401: a sign-in that failed; a token would not help.
    pub fn bad_credentials(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "bad-credentials", "Sign-in failed", detail)
    }

    /// 401: the webhook's sender did not prove itself.
    pub fn bad_signature(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "bad-signature", "The signature does not match", detail)
    }

    /// 403: signed in, but not allowed to.
    pub fn forbidden(resource: &str, action: &str) -> Self {
        let detail = format!("this needs a permission set that grants `{action}` on `{resource}`");
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Not allowed", detail)
    }

    /// 403: granted, but not on this; None: on what cannot be limited to some.
    pub fn out_of_reach(resource: &str, action: &str, r#ref: Option<&str>) -> Self {
        let what = r#ref.map_or_else(|| "all of it, which this needs".to_owned(), str::to_owned);
        let detail =
            format!("`{action}` on `{resource}` is granted with `constraints` that do not reach {what}");
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Not allowed", detail)
    }

    /// 403: a run of the action, which does not declare that it needs this.
    pub fn not_declared(who: &str, resource: &str, action: &str) -> Self {
        let detail = format!(
            "{who} may not do this: it would have to declare `{action}` on `{resource}` in its `permissions`"
        );
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Not allowed", detail)
    }

    /// 403: signed in, but with less than what would come of it.
    pub fn exceeding(detail: impl Into<String>, errors: Vec<ProblemItem>) -> Self {
        Self { errors, ..Self::new(StatusCode::FORBIDDEN, "forbidden", "Not allowed", detail) }
    }

    /// 404.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
    }

    /// 405.
    pub fn method_not_allowed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed", detail)
    }

    /// 409: at odds with what there is.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "At odds with what there is", detail)
    }

    /// 412: not what the caller saw.
    pub fn changed_since(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, "changed-since", "Changed in the meantime", detail)
    }

    /// 413.
    pub fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large", detail)
    }

    /// 415.
    pub fn unsupported_media_type(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Wrong content type", detail)
    }

    /// 416: there is nothing at that place.
    pub fn range_not_satisfiable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "range-not-satisfiable", "Nothing at that place", detail)
    }

    /// 422: readable, but wrong; with each fault.
    pub fn invalid(detail: impl Into<String>, errors: Vec<ProblemItem>) -> Self {
        let error =
            Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "The content is not valid", detail);
        Self { errors, ..error }
    }

    /// 500: our fault; the caller is told nothing of the inside.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        let detail = "the server met an error that it did not expect; its log says more";
        let error = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", detail);
        Self { internal: Some(cause.to_string()), ..error }
    }

    /// 503: try again.
    pub fn unavailable(detail: impl Into<String>, cause: impl std::fmt::Display) -> Self {
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not available now", detail);
        Self { retry_after: Some(1), internal: Some(cause.to_string()), ..error }
    }

    /// The same error with each single fault.
    #[must_use]
    pub fn with_errors(self, errors: Vec<ProblemItem>) -> Self {
        Self { errors, ..self }
    }

    /// What is said of it.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// The document, for where the status was sent before the error was met; it is logged as in a response.
    pub(crate) fn into_problem(self) -> Problem {
        self.log();
        self.problem()
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl ApiError {
    fn log(&self) {
        if self.status.is_server_error() {
            let cause = self.internal.as_deref().unwrap_or_default();
            match self.status {
                StatusCode::SERVICE_UNAVAILABLE => tracing::warn!(cause, "a request could not be served now"),
                status => tracing::error!(status = status.as_u16(), cause, "request failed"),
            }
        }
    }

    fn problem(self) -> Problem {
        Problem {
            kind: format!("/problems/{}", self.kind),
            title: self.title.to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
            errors: self.errors,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.log();
        let (status, kind, retry_after) = (self.status, self.kind, self.retry_after);
        let mut response = (status, Json(self.problem())).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED && kind == "unauthenticated" {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::NotFound { .. } => Self::not_found(error.to_string()),
            StoreError::AlreadyExists { .. } | StoreError::Conflict { .. } => {
                Self::conflict(error.to_string())
            }
            StoreError::InvalidReference { .. } | StoreError::InvalidValue { .. } => {
                Self::invalid(error.to_string(), Vec::new())
            }
            StoreError::Unstorable(_) => Self::bad_request(error.to_string()),
            StoreError::Unavailable(source) => {
                Self::unavailable("the database is not available; nothing was stored, try again", source)
            }
            StoreError::Database(source) => Self::internal(source),
        }
    }
}

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        StoreError::from(error).into()
    }
}

impl From<VaultError> for ApiError {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Store(error) => error.into(),
            other => Self::internal(other),
        }
    }
}

/// The answer to a request whose handler panicked; the process goes on.
#[expect(clippy::needless_pass_by_value, reason = "the form that the layer that catches panics calls")]
pub(crate) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a message");
    ApiError::internal(message).into_response()
}
