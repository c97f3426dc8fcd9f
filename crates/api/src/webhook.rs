//! Webhooks: which there are ([`directory`]), whether a request is genuine ([`signature`]), and what event it makes. Beside those of
//! triggers there is one that rules share ([`shared`], [`listeners`]).

mod directory;
mod listeners;
mod shared;
mod signature;

use std::collections::BTreeMap;

use attune_client::types::EventAccepted;
use attune_common::models::event::NewEvent;
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde_json::Value;
use sha2::{Digest, Sha256};

pub(crate) use directory::WebhookDirectory;
pub(crate) use shared::{__path_receive_hook, receive_hook};

use crate::error::ApiError;
use crate::state::AppState;

/// The longest dedup key, in bytes: it stands in an index.
pub(crate) const MAX_DEDUP_KEY: usize = 255;

/// Headers that say who the sender is to us and not what happened; they are never stored.
const PRIVATE_HEADERS: [&str; 6] =
    ["authorization", "proxy-authorization", "cookie", "x-api-key", "x-hub-signature", "x-hub-signature-256"];

/// Takes a webhook: the body exactly as the sender sends it. Answers 2xx only once the event is durable; a delivery that
/// is known already is answered with the event that it made.
#[utoipa::path(
    post,
    path = "/api/v1/webhooks/{key}",
    tag = "webhooks",
    security(()),
    params(("key" = String, Path, description = "The webhook key of the trigger")),
    request_body(content = Value, description = "Any JSON", content_type = "application/json"),
    responses(
        (status = ACCEPTED, body = EventAccepted, description = "The event is durable"),
        (status = OK, body = EventAccepted, description = "This delivery was recorded before"),
        (status = BAD_REQUEST, body = attune_client::types::Problem,
            content_type = "application/problem+json", description = "Not JSON"),
        (status = UNAUTHORIZED, body = attune_client::types::Problem,
            content_type = "application/problem+json", description = "Wrong signature"),
        (status = NOT_FOUND, body = attune_client::types::Problem,
            content_type = "application/problem+json", description = "Unknown key"),
        (status = PAYLOAD_TOO_LARGE, body = attune_client::types::Problem,
            content_type = "application/problem+json", description = "The body is too large"),
        (status = SERVICE_UNAVAILABLE, body = attune_client::types::Problem,
            content_type = "application/problem+json",
            description = "The database is not available, or the webhook's secret is not set"),
    )
)]
pub(crate) async fn receive(
    State(state): State<AppState>,
    Path(key): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<EventAccepted>), ApiError> {
    let body = body_of(&state, body)?;
    let found = state.webhooks.find(&key).map_err(|_| {
        let cause = "a webhook came before the webhooks were read from the database";
        ApiError::unavailable("the server is starting; nothing was stored, try again", cause)
    })?;
    let Some(webhook) = found else {
        // As much work as for a known key, so that the time of the answer tells nothing.
        signature::pretend(&body);
        return Err(ApiError::not_found("there is no webhook at this address"));
    };
    signature::verify(&webhook, &headers, &body)?;
    let payload = parse(&body)?;
    let event = NewEvent {
        trigger: Some(webhook.trigger),
        trigger_ref: webhook.trigger_ref.clone(),
        payload: Some(payload),
        headers: Some(stored_headers(&headers, webhook.signature_header())),
        dedup_key: delivery_id(&headers, webhook.delivery_id_header()),
        trace_id: Some(trace_id(&headers)),
        ..NewEvent::default()
    };
    record(&state, event, body.len()).await
}

fn body_of(state: &AppState, body: Result<Bytes, BytesRejection>) -> Result<Bytes, ApiError> {
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::too_large(format!(
            "a webhook body may have up to {} bytes; nothing was stored",
            state.settings.max_webhook_bytes
        )),
        _ => ApiError::bad_request(rejection.body_text()),
    })
}

/// Stores the event; the answer says whether it was known.
async fn record(
    state: &AppState,
    event: NewEvent,
    bytes: usize,
) -> Result<(StatusCode, Json<EventAccepted>), ApiError> {
    let appended = state.ingest.append(event, bytes).await?;
    let status = if appended.duplicate { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(EventAccepted { event: appended.id, duplicate: appended.duplicate })))
}

/// The body as JSON that can be stored.
fn parse(body: &[u8]) -> Result<Value, ApiError> {
    if body.is_empty() {
        return Err(ApiError::bad_request("the body is empty; a webhook expects JSON"));
    }
    let value: Value = serde_json::from_slice(body).map_err(|error| {
        ApiError::bad_request(format!("the body is not valid JSON: {error}; nothing was stored"))
    })?;
    check_storable(&value)?;
    Ok(value)
}

/// Refuses U+0000, which PostgreSQL's JSON cannot hold, and says where it stands.
pub(crate) fn check_storable(value: &Value) -> Result<(), ApiError> {
    match nul_fault(value) {
        None => Ok(()),
        Some((pointer, _)) => Err(ApiError::bad_request(format!(
            "the string at {:?} contains U+0000, which cannot be stored; nothing was stored",
            if pointer.is_empty() { "/" } else { &pointer }
        ))),
    }
}

/// U+0000 in a value: the JSON pointer of the first string that has it, and what is wrong with it.
pub(crate) fn nul_fault(value: &Value) -> Option<(String, &'static str)> {
    let pointer = has_nul(value).then(|| find_nul(value).unwrap_or_default())?;
    Some((pointer, "the string contains U+0000, which cannot be stored"))
}

/// Whether a string in it has U+0000. Asked of every event, so that nothing is made on the way.
fn has_nul(value: &Value) -> bool {
    let in_text = |text: &str| text.as_bytes().contains(&0);
    match value {
        Value::String(text) => in_text(text),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(entries) => entries.iter().any(|(name, item)| in_text(name) || has_nul(item)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// JSON pointer of the first string with U+0000.
fn find_nul(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => text.contains('\0').then(String::new),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(index, item)| find_nul(item).map(|rest| format!("/{index}{rest}"))),
        Value::Object(entries) => entries.iter().find_map(|(name, item)| {
            let here = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
            if name.contains('\0') {
                return Some(here.replace('\0', "\u{fffd}"));
            }
            find_nul(item).map(|rest| format!("{here}{rest}"))
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// The headers as a rule sees them: names in lower case, several values of one name joined by a comma.
fn stored_headers(headers: &HeaderMap, signature_header: Option<&str>) -> Value {
    let mut stored: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in headers {
        let name = name.as_str();
        if PRIVATE_HEADERS.contains(&name) || signature_header.is_some_and(|s| s.eq_ignore_ascii_case(name)) {
            continue;
        }
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        stored
            .entry(name.to_owned())
            .and_modify(|known| {
                known.push_str(", ");
                known.push_str(&text);
            })
            .or_insert(text);
    }
    Value::Object(stored.into_iter().map(|(name, text)| (name, Value::String(text))).collect())
}

fn delivery_id(headers: &HeaderMap, header: Option<&str>) -> Option<String> {
    let text = headers.get(header?)?.to_str().ok()?.trim();
    (!text.is_empty()).then(|| dedup_key(text))
}

/// A text as it may stand in an index, which takes no long values; the hash of one is as good a name.
fn dedup_key(text: &str) -> String {
    match text.len() {
        ..=MAX_DEDUP_KEY => text.to_owned(),
        _ => format!("sha256:{}", hex::encode(Sha256::digest(text.as_bytes()))),
    }
}

/// The trace id out of a W3C `traceparent` header, or a new one.
pub(crate) fn trace_id(headers: &HeaderMap) -> String {
    given_trace_id(headers).unwrap_or_else(new_trace_id)
}

/// A trace id of its own.
pub(crate) fn new_trace_id() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}

/// The trace id of a request's `traceparent`, if it has a valid one.
pub(crate) fn given_trace_id(headers: &HeaderMap) -> Option<String> {
    headers.get("traceparent").and_then(|value| value.to_str().ok()).and_then(|text| {
        let mut parts = text.split('-');
        let (_version, trace) = (parts.next()?, parts.next()?);
        let valid = trace.len() == 32
            && trace.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            && trace.bytes().any(|b| b != b'0');
        valid.then(|| trace.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn test_nul_is_found_with_its_pointer() {
        let at = |value: Value| nul_fault(&value).map(|(pointer, _)| pointer);
        assert_eq!(at(json!({"a": [1, {"b/c": "x\u{0}"}]})).as_deref(), Some("/a/1/b~1c"));
        assert_eq!(at(json!({"a": "x", "b": [true, null, 1]})), None);
        assert_eq!(at(json!({"k\u{0}": 1})).as_deref(), Some("/k\u{fffd}"));
        assert_eq!(at(json!("\u{0}")).as_deref(), Some(""));
    }

    #[test]
    fn test_private_headers_are_not_stored() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("authorization", "Bearer x"), ("x-sign", "abc"), ("x-github-event", "push")] {
            headers.insert(name, value.parse().unwrap());
        }
        assert_eq!(stored_headers(&headers, Some("X-Sign")), json!({"x-github-event": "push"}));
    }

    #[test]
    fn test_a_long_delivery_id_is_hashed() {
        let id = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-delivery", text.parse().unwrap());
            delivery_id(&headers, Some("X-Delivery"))
        };
        assert_eq!(id(" abc ").as_deref(), Some("abc"));
        assert_eq!(id(" "), None);
        let long = "x".repeat(5000);
        assert_eq!(id(&long).map(|hash| hash.len()), Some("sha256:".len() + 64));
        assert_ne!(id(&long), id(&"y".repeat(5000)));
    }

    #[test]
    fn test_trace_id_is_taken_from_a_valid_traceparent_only() {
        let with = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("traceparent", text.parse().unwrap());
            trace_id(&headers)
        };
        let valid = "0af7651916cd43dd8448eb211c80319c";
        assert_eq!(with(&format!("00-{valid}-b7ad6b7169203331-01")), valid);
        assert_ne!(with("00-00000000000000000000000000000000-b7ad6b7169203331-01"), "0".repeat(32));
        assert_eq!(with("nonsense").len(), 32);
    }
}
