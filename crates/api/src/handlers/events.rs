//! Events.

use attune_client::types::{EventAccepted, EventDetail, EventRequest, EventView, Page, ProblemItem};
use attune_common::models::event::{EventFilter, NewEvent};
use attune_common::models::execution::ExecutionFilter;
use attune_common::repositories::{
    EnforcementRepository, EventRepository, LIST_LIMIT, TriggerRepository, WindowRepository,
};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::IntoParams;

use crate::auth::Caller;
use crate::check;
use crate::error::ApiError;
use crate::extract::{At, Body, Params};
use crate::handlers::enforcements::with_executions;
use crate::paging::Paging;
use crate::responses::{Guarded, OfOne, WithBody};
use crate::state::AppState;
use crate::views::{Masks, event_view, window_outcome_view};
use crate::webhook::{MAX_DEDUP_KEY, check_storable, trace_id};

/// Which events to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventQuery {
    /// Only those of the trigger with this ref.
    trigger: Option<String>,
    /// Items at most, 1 to 1000; default: 50.
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Events, the newest first.
#[utoipa::path(
    get,
    path = "/api/v1/events",
    tag = "events",
    operation_id = "list_events",
    params(EventQuery),
    responses((status = OK, body = Page<EventView>), Guarded)
)]
pub(crate) async fn list(
    State(state): State<AppState>,
    caller: Caller,
    query: Result<Params<EventQuery>, ApiError>,
) -> Result<Json<Page<EventView>>, ApiError> {
    caller.require("event", "read")?;
    let Params(query) = query?;
    let paging = Paging::new(query.limit, query.cursor.as_deref())?;
    let filter = EventFilter { trigger_ref: query.trigger, before: paging.before, limit: paging.rows() };
    let mut rows = EventRepository::search(&state.pool, &filter).await?;
    let next_cursor = paging.cut(&mut rows, |row| row.id);
    let masks = Masks::of_triggers(&state.pool, rows.iter().map(|row| row.trigger_ref.as_str())).await?;
    let items = rows.into_iter().map(|row| event_view(row, &masks)).collect();
    Ok(Json(Page { items, next_cursor }))
}

/// One event with what came of it.
#[utoipa::path(
    get,
    path = "/api/v1/events/{id}",
    tag = "events",
    operation_id = "show_event",
    params(("id" = i64, Path)),
    responses((status = OK, body = EventDetail), OfOne)
)]
pub(crate) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    At(id): At<i64>,
) -> Result<Json<EventDetail>, ApiError> {
    caller.require("event", "read")?;
    let event = EventRepository::get_by_id(&state.pool, id).await?;
    // First whether it was judged, then what came of it: the other way round could show a judged event without its
    // enforcements.
    let matched = EventRepository::matching(&state.pool, id).await?.and_then(|matching| matching.matched);
    let mut enforcements = EnforcementRepository::list_by_event(&state.pool, id).await?;
    enforcements.reverse();
    let filter = ExecutionFilter { event: Some(id), limit: LIST_LIMIT, ..ExecutionFilter::default() };
    let enforcements = with_executions(&state, enforcements, &filter).await?;
    let masks = Masks::of_triggers(&state.pool, std::iter::once(event.trigger_ref.as_str())).await?;
    let windows = WindowRepository::outcomes_of_event(&state.pool, id).await?;
    let windows = windows.into_iter().map(window_outcome_view).collect();
    Ok(Json(EventDetail { event: event_view(event, &masks), matched, enforcements, windows }))
}

/// Records an event. Answers only once it is durable; a second one with the same `dedup_key` is answered with the first.
#[utoipa::path(
    post,
    path = "/api/v1/events",
    tag = "events",
    operation_id = "create_event",
    request_body = EventRequest,
    responses(
        (status = ACCEPTED, body = EventAccepted, description = "The event is durable"),
        (status = OK, body = EventAccepted, description = "It was recorded before"),
        WithBody,
    )
)]
pub(crate) async fn create(
    State(state): State<AppState>,
    caller: Caller,
    headers: HeaderMap,
    body: Result<Body<EventRequest>, ApiError>,
) -> Result<(StatusCode, Json<EventAccepted>), ApiError> {
    caller.require("event", "create")?;
    let Body(request) = body?;
    let Some(trigger) = TriggerRepository::find_by_ref(&state.pool, &request.trigger).await? else {
        let known = TriggerRepository::refs(&state.pool).await?;
        return Err(check::unknown_ref("trigger", &request.trigger, &known));
    };
    if !trigger.enabled {
        return Err(ApiError::conflict(format!("trigger {} is disabled; it takes no events", trigger.r#ref)));
    }
    if let Some(detail) = request.dedup_key.as_deref().and_then(dedup_key_fault) {
        let item = ProblemItem {
            detail: detail.to_owned(),
            pointer: Some("/dedup_key".to_owned()),
            ..ProblemItem::default()
        };
        return Err(ApiError::invalid("the event is not valid; nothing was stored", vec![item]));
    }
    let config = check::values(&trigger.param_schema, request.config.unwrap_or_default(), "/config")
        .map_err(|items| ApiError::invalid("the event is not valid; nothing was stored", items))?;
    let payload = if request.payload.is_null() { Value::Object(Map::new()) } else { request.payload };
    check_storable(&payload)?;
    check_storable(&config)?;
    let bytes = payload.to_string().len();
    let event = NewEvent {
        trigger: Some(trigger.id),
        trigger_ref: trigger.r#ref,
        config: Some(config),
        payload: Some(payload),
        dedup_key: request.dedup_key,
        trace_id: Some(trace_id(&headers)),
        ..NewEvent::default()
    };
    let appended = state.ingest.append(event, bytes).await?;
    let status = if appended.duplicate { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(EventAccepted { event: appended.id, duplicate: appended.duplicate })))
}

fn dedup_key_fault(key: &str) -> Option<&'static str> {
    if key.is_empty() {
        Some("an empty key would make all events one; leave it out for an event that is never a duplicate")
    } else if key.len() > MAX_DEDUP_KEY {
        Some("the key has more than 255 bytes; give a hash of it")
    } else if key.contains('\0') {
        Some("the key contains U+0000, which cannot be stored")
    } else {
        None
    }
}
