//! Events.

use attune_client::types::{EventAccepted, EventDetail, EventRequest, EventView, Page};
use attune_common::models::event::EventFilter;
use attune_common::models::execution::ExecutionFilter;
use attune_common::models::identity::Subject;
use attune_common::repositories::{
    EnforcementRepository, EventRepository, LIST_LIMIT, ReachRepository, WindowRepository,
};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::auth::Caller;
use crate::cause::Cause;
use crate::error::ApiError;
use crate::extract::{At, Body, Params};
use crate::handlers::enforcements::with_executions;
use crate::paging::Paging;
use crate::responses::{Guarded, OfOne, WithBody};
use crate::run_masking::masker_of_caller;
use crate::state::AppState;
use crate::taker::{Refusal, Takers};
use crate::views::{Masks, event_view, window_outcome_view};

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
    let scope = caller.require_some("event", "read")?;
    let Params(query) = query?;
    let paging = Paging::new(query.limit, query.cursor.as_deref())?;
    let filter = EventFilter { trigger_ref: query.trigger, before: paging.before, limit: paging.rows() };
    let mut rows = match scope.reach() {
        None => EventRepository::search(&state.pool, &filter).await?,
        Some(reach) => ReachRepository::events(&state.pool, &filter, &reach).await?,
    };
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
    caller.require_some("event", "read")?;
    let event = EventRepository::get_by_id(&state.pool, id).await?;
    caller.require_for("event", "read", &Subject::of(&event.trigger_ref))?;
    // First whether it was judged, then what came of it: the other way round could show a judged event without its
    // enforcements.
    let matched = EventRepository::matching(&state.pool, id).await?.and_then(|matching| matching.matched);
    let mut enforcements = EnforcementRepository::list_by_event(&state.pool, id).await?;
    enforcements.reverse();
    if !caller.principal.may("event", "read") {
        // Rules of others may listen to what the caller may read.
        enforcements.retain(|enforcement| {
            caller.principal.may_with("enforcement", "read", &Subject::of(&enforcement.rule_ref))
        });
    }
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
    caller.require_some("event", "create")?;
    let Body(request) = body?;
    caller.require_for("event", "create", &Subject::of(&request.trigger))?;
    let cause = Cause::of(&state, &caller, &headers).await?;
    let masker = masker_of_caller(&state, &caller).await?;
    let mut takers = Takers::default();
    let taker = takers.of(&state.pool, &request.trigger).await?;
    let event = taker.and_then(|taker| taker.event(request, &cause, &masker)).map_err(Refusal::into_error)?;
    let bytes = event.payload.as_ref().map_or(0, |payload| payload.to_string().len());
    let appended = state.ingest.append(event, bytes).await?;
    let status = if appended.duplicate { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(EventAccepted { event: appended.id, duplicate: appended.duplicate })))
}

/// The most events that one request may bring.
const MAX_BATCH: usize = 1000;

/// Records several events: all of them, or none when one of them is not valid. They are durable by the time of the answer,
/// which has a result for each in their order; one whose `dedup_key` is known is answered with the event that it made.
#[utoipa::path(
    post,
    path = "/api/v1/events/batch",
    tag = "events",
    operation_id = "create_events",
    request_body = Vec<EventRequest>,
    responses((status = ACCEPTED, body = Vec<EventAccepted>, description = "The events are durable"), WithBody)
)]
pub(crate) async fn create_batch(
    State(state): State<AppState>,
    caller: Caller,
    headers: HeaderMap,
    body: Result<Body<Vec<EventRequest>>, ApiError>,
) -> Result<(StatusCode, Json<Vec<EventAccepted>>), ApiError> {
    caller.require_some("event", "create")?;
    let Body(requests) = body?;
    for request in &requests {
        caller.require_for("event", "create", &Subject::of(&request.trigger))?;
    }
    if requests.len() > MAX_BATCH {
        let detail =
            format!("{} events are too many for one request; send {MAX_BATCH} at most", requests.len());
        return Err(ApiError::invalid(detail, Vec::new()));
    }
    let cause = Cause::of(&state, &caller, &headers).await?;
    let masker = masker_of_caller(&state, &caller).await?;
    let mut takers = Takers::default();
    let (mut events, mut faults) = (Vec::with_capacity(requests.len()), Vec::new());
    for (place, request) in requests.into_iter().enumerate() {
        let taker = takers.of(&state.pool, &request.trigger).await?;
        match taker.and_then(|taker| taker.event(request, &cause, &masker)) {
            Ok(event) => events.push(event),
            Err(refusal) => faults.extend(refusal.items(&format!("/{place}"))),
        }
    }
    if !faults.is_empty() {
        return Err(ApiError::invalid("the events are not valid; none was stored", faults));
    }
    let appended = state.ingest.append_together(&events).await?;
    let answer = appended.into_iter().map(|one| EventAccepted { event: one.id, duplicate: one.duplicate });
    Ok((StatusCode::ACCEPTED, Json(answer.collect())))
}
