//! Paths, queries and bodies with errors that say what is wrong, as problem documents.
//!
//! Handlers take bodies and queries as `Result`, and look at them after they have looked at the caller's permissions:
//! whoever may not do something at all is not told how to do it.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// A JSON body.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        if !is_json(request.headers()) {
            return Err(not_json());
        }
        let bytes = Bytes::from_request(request, state).await;
        let bytes = bytes.map_err(|rejection| rejected(&JsonRejection::from(rejection)))?;
        // `Json` notes on its way where it is, which costs a good part of the reading; that is needed for an error alone.
        if let Ok(body) = serde_json::from_slice(&bytes) {
            return Ok(Self(body));
        }
        match Json::<T>::from_bytes(&bytes) {
            Ok(Json(body)) => Ok(Self(body)),
            Err(rejection) => Err(rejected(&rejection)),
        }
    }
}

/// Whether the content type says that the body is JSON.
fn is_json(headers: &HeaderMap) -> bool {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence
        .strip_prefix("application/")
        .is_some_and(|subtype| subtype == "json" || subtype.ends_with("+json"))
}

fn not_json() -> ApiError {
    ApiError::unsupported_media_type("send the body with `content-type: application/json`")
}

/// A JSON body with a secret in it: errors say where it is wrong, but repeat nothing of it.
#[derive(Debug)]
pub(crate) struct SecretBody<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for SecretBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        match Json::<T>::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(JsonRejection::JsonDataError(_)) => Err(ApiError::invalid(
                "the body does not have the members that this request takes, or not of the right type; \
                 it is not repeated here because it holds a secret",
                Vec::new(),
            )),
            Err(JsonRejection::JsonSyntaxError(_)) => {
                Err(ApiError::bad_request("the body is not valid JSON"))
            }
            Err(other) => Err(rejected(&other)),
        }
    }
}

fn rejected(rejection: &JsonRejection) -> ApiError {
    match rejection {
        JsonRejection::MissingJsonContentType(_) => not_json(),
        JsonRejection::JsonDataError(error) => ApiError::invalid(error.body_text(), Vec::new()),
        other if other.status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE => {
            ApiError::too_large(other.body_text())
        }
        other => ApiError::bad_request(other.body_text()),
    }
}

/// What stands in the path.
#[derive(Debug)]
pub(crate) struct At<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for At<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let path: Result<Path<T>, PathRejection> = Path::from_request_parts(parts, state).await;
        path.map(|Path(value)| Self(value)).map_err(|error| ApiError::bad_request(error.body_text()))
    }
}

/// A query string.
#[derive(Debug)]
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let query: Result<Query<T>, QueryRejection> = Query::from_request_parts(parts, state).await;
        query.map(|Query(params)| Self(params)).map_err(|error| ApiError::bad_request(error.body_text()))
    }
}

/// A query parameter that names one of a few things.
pub(crate) fn one_of<T: std::str::FromStr<Err = String>>(
    name: &str,
    given: Option<&str>,
) -> Result<Option<T>, ApiError> {
    given.map(str::parse).transpose().map_err(|error| ApiError::bad_request(format!("`{name}`: {error}")))
}
