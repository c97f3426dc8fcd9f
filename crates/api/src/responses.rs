//! The error answers of operations, as the OpenAPI document lists them.

use std::collections::BTreeMap;

use attune_client::types::Problem;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

/// Error answers of what needs a token but no permission.
pub(crate) struct SignedIn;

/// Error answers of what needs a permission.
pub(crate) struct Guarded;

/// Error answers of what is about one thing named in the path.
pub(crate) struct OfOne;

/// Error answers of what takes a body.
pub(crate) struct WithBody;

/// Error answers of what takes a content for one thing named in the path.
pub(crate) struct Uploading;

/// Error answers of what changes one thing, when it is still what the caller saw.
pub(crate) struct Changing;

/// Error answers of what removes one thing, when it is still what the caller saw.
pub(crate) struct Removing;

impl IntoResponses for SignedIn {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[400, 401, 500, 503])
    }
}

impl IntoResponses for Guarded {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[400, 401, 403, 500, 503])
    }
}

impl IntoResponses for OfOne {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[400, 401, 403, 404, 500, 503])
    }
}

impl IntoResponses for WithBody {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[400, 401, 403, 409, 413, 415, 422, 500, 503])
    }
}

impl IntoResponses for Uploading {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[400, 401, 403, 404, 409, 413, 415, 422, 500, 503])
    }
}

impl IntoResponses for Changing {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[400, 401, 403, 404, 409, 412, 413, 415, 422, 500, 503])
    }
}

impl IntoResponses for Removing {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[400, 401, 403, 404, 409, 412, 500, 503])
    }
}

fn problems(statuses: &[u16]) -> BTreeMap<String, RefOr<Response>> {
    statuses.iter().map(|status| (status.to_string(), RefOr::T(problem(*status)))).collect()
}

fn problem(status: u16) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(Problem::name()))).build();
    ResponseBuilder::new().description(meaning(status)).content("application/problem+json", content).build()
}

fn meaning(status: u16) -> &'static str {
    match status {
        400 => "The request cannot be read",
        401 => "No valid token",
        403 => "No permission set grants this",
        404 => "There is no such thing",
        409 => "At odds with what there is",
        412 => "It is no longer what `If-Match` names",
        413 => "The body is too large",
        415 => "Wrong content type",
        422 => "Readable, but not valid; each fault stands in `errors`",
        503 => "The database is not available; try again",
        _ => "An error that the server did not expect",
    }
}
