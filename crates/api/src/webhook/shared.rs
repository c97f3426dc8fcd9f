//! The shared webhook: a request to a path that rules name in their `trigger_params`.

use attune_client::types::EventAccepted;
use attune_common::models::event::NewEvent;
use attune_rules::webhook::TRIGGER;
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::listeners::HookPath;
use super::{body_of, dedup_key, delivery_id, parse, record, signature, stored_headers, trace_id};
use crate::auth::Caller;
use crate::cause::Cause;
use crate::error::ApiError;
use crate::state::AppState;

/// Headers by which senders name a delivery, the first one that is there counts.
const DELIVERY_HEADERS: [&str; 3] = ["x-github-delivery", "webhook-id", "idempotency-key"];

/// How a request was let in.
#[derive(Debug)]
struct Admitted {
    /// The configuration of its event.
    config: Value,
    /// The header that its signature came in.
    signature_header: Option<String>,
    /// What stands behind it, where a token says so.
    cause: Option<Cause>,
}

/// Takes a webhook for the rules on `core.webhook` with this path: the body exactly as the sender sends it. It is to be signed as
/// a rule on the path says, or to bring a token that may `send` to `webhook`, where a rule listens that names no secret. Answers
/// 2xx only once the event is durable; a delivery id that is known on this path is answered with the event that it made.
#[utoipa::path(
    post,
    path = "/api/v1/hooks/{*path}",
    tag = "webhooks",
    operation_id = "receive_hook",
    security((), ("bearer" = [])),
    params(("path" = String, Path, description = "The path that rules name, which may have several parts")),
    request_body(content = Value, description = "Any JSON", content_type = "application/json"),
    responses(
        (status = ACCEPTED, body = EventAccepted, description = "The event is durable"),
        (status = OK, body = EventAccepted, description = "This delivery was recorded before"),
        (status = BAD_REQUEST, body = attune_client::types::Problem,
            content_type = "application/problem+json", description = "Not JSON"),
        (status = UNAUTHORIZED, body = attune_client::types::Problem,
            content_type = "application/problem+json", description = "Neither a right signature nor a token"),
        (status = FORBIDDEN, body = attune_client::types::Problem,
            content_type = "application/problem+json", description = "The token may not send here"),
        (status = NOT_FOUND, body = attune_client::types::Problem,
            content_type = "application/problem+json", description = "No enabled rule listens on the path"),
        (status = CONFLICT, body = attune_client::types::Problem,
            content_type = "application/problem+json", description = "Runs cause one another in a circle"),
        (status = PAYLOAD_TOO_LARGE, body = attune_client::types::Problem,
            content_type = "application/problem+json", description = "The body is too large"),
        (status = SERVICE_UNAVAILABLE, body = attune_client::types::Problem,
            content_type = "application/problem+json",
            description = "The database is not available, or the secret is not set"),
    )
)]
pub(crate) async fn receive_hook(
    State(state): State<AppState>,
    Path(path): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<EventAccepted>), ApiError> {
    let body = body_of(&state, body)?;
    let found = state.webhooks.hook(&path).map_err(|_| {
        let cause = "a webhook came before the rules on the shared webhook were read from the database";
        ApiError::unavailable("the server is starting; nothing was stored, try again", cause)
    })?;
    let hook = found.ok_or_else(|| ApiError::not_found("there is no webhook at this address"))?;
    let Admitted { config, signature_header, cause } = admit(&state, &hook, &path, &headers, &body).await?;
    let delivery = DELIVERY_HEADERS.iter().find_map(|header| delivery_id(&headers, Some(header)));
    let event = NewEvent {
        trigger: Some(hook.trigger),
        trigger_ref: TRIGGER.to_owned(),
        payload: Some(parse(&body)?),
        headers: Some(stored_headers(&headers, signature_header.as_deref())),
        config: Some(config),
        // The senders of one path know nothing of those of another; no path has a colon.
        dedup_key: delivery.map(|delivery| dedup_key(&format!("{path}:{delivery}"))),
        trace_id: Some(trace_id(&headers)),
        ..NewEvent::default()
    };
    let event = match cause {
        Some(cause) => cause.mark(event),
        None => event,
    };
    record(&state, event, body.len()).await
}

/// Lets a request in by its signature, else by its token. One way is enough; what is wrong with the one that was tried is told.
async fn admit(
    state: &AppState,
    hook: &HookPath,
    path: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Admitted, ApiError> {
    let mut refusal = None;
    for signed in &hook.signed {
        let header = signed.entry.signature_header().unwrap_or_default();
        if !headers.contains_key(header) {
            continue;
        }
        match signature::verify(&signed.entry, headers, body) {
            Ok(()) => {
                let signature_header = Some(header.to_owned());
                return Ok(Admitted { config: signed.config.clone(), signature_header, cause: None });
            }
            Err(error) => refusal = refusal.or(Some(error)),
        }
    }
    if hook.takes_token && (headers.contains_key(AUTHORIZATION) || refusal.is_none()) {
        let caller = Caller::of(state, headers).await?;
        caller.require("webhook", "send")?;
        let cause = Some(Cause::of(state, &caller, headers).await?);
        return Ok(Admitted { config: json!({"path": path}), signature_header: None, cause });
    }
    Err(refusal.unwrap_or_else(|| {
        let headers: Vec<String> = hook
            .signed
            .iter()
            .map(|signed| format!("`{}`", signed.entry.signature_header().unwrap_or_default()))
            .collect();
        ApiError::bad_signature(format!(
            "a signature in {} is expected here; nothing was stored",
            headers.join(" or ")
        ))
    }))
}
