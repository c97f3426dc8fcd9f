//! Replays: recorded events once more, a batch per request.
//!
//! A replayed event has a dedup key of the name of the replay and the event that it repeats, so that a batch can be asked
//! for again, by whoever does not know whether it was recorded, without recording anything twice.

use std::collections::{BTreeMap, HashMap};

use attune_client::types::{ProblemItem, ReplayItem, ReplayRequest, ReplayView, ReplayedView};
use attune_common::bus::Topic;
use attune_common::models::event::{Event, IdRange, NewEvent, RecordedFilter};
use attune_common::repositories::{EventRepository, TriggerRepository};
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use chrono::Utc;
use serde_json::Value;

use crate::auth::Caller;
use crate::cause::Cause;
use crate::check;
use crate::error::ApiError;
use crate::extract::Body;
use crate::responses::WithBody;
use crate::state::AppState;
use crate::views::{Masks, event_view};
use crate::webhook::check_storable;

/// Events of one batch.
const DEFAULT_LIMIT: i64 = 500;
const MAX_LIMIT: i64 = 1000;

/// Records events again as new events, which the rules judge as any others. Headers, config and source stay what they
/// were; the trigger must still exist and be enabled.
#[utoipa::path(
    post,
    path = "/api/v1/events/replay",
    tag = "events",
    operation_id = "replay_events",
    request_body = ReplayRequest,
    responses(
        (status = OK, body = ReplayView, description = "The events are durable"),
        (status = NOT_FOUND, body = attune_client::types::Problem, content_type = "application/problem+json",
            description = "There is no such event"),
        WithBody,
    )
)]
pub(crate) async fn replay(
    State(state): State<AppState>,
    caller: Caller,
    headers: HeaderMap,
    body: Result<Body<ReplayRequest>, ApiError>,
) -> Result<Json<ReplayView>, ApiError> {
    caller.require("event", "create")?;
    caller.require("event", "read")?;
    let Body(mut request) = body?;
    check_run(&request.run)?;
    let chosen = match request.events.take() {
        Some(items) => of_items(&state, &request, items).await?,
        None => of_span(&state, &request).await?,
    };
    let Chosen { events, count, next_cursor } = chosen;
    let mut view =
        ReplayView { run: request.run, replayed: Vec::new(), would_replay: None, count, next_cursor };
    if request.dry_run {
        let refs = events.iter().map(|(event, _)| event.trigger_ref.as_str());
        let masks = Masks::of_triggers(&state.pool, refs).await?;
        let shown = events.into_iter().map(|(event, payload)| {
            event_view(Event { payload: payload.unwrap_or_else(|| event.payload.clone()), ..event }, &masks)
        });
        view.would_replay = Some(shown.collect());
        return Ok(Json(view));
    }
    let triggers = triggers_of(&state, &events).await?;
    let cause = Cause::of(&state, &caller, &headers).await?;
    let repeated = events.into_iter().map(|(event, payload)| NewEvent {
        trigger: triggers.get(&event.trigger_ref).copied(),
        dedup_key: Some(format!("replay:{}:{}", view.run, event.id)),
        trigger_ref: event.trigger_ref,
        config: Some(event.config),
        payload: Some(payload.unwrap_or(event.payload)),
        headers: event.headers,
        source: event.source,
        source_ref: event.source_ref,
        replay_of: Some(event.id),
        trace_id: Some(cause.trace_id.clone()),
        // A replay leads no deeper than what it repeats, and what a run replays is one step further.
        depth: event.depth.max(cause.depth),
    });
    let repeated: Vec<NewEvent> = repeated.collect();
    let mut connection = state.pool.acquire().await?;
    // One statement: of a batch all is recorded, or nothing.
    let appended = EventRepository::append(&mut connection, &repeated).await?;
    state.bus.wake(Topic::Event);
    view.replayed = repeated
        .iter()
        .zip(appended)
        .filter_map(|(event, appended)| {
            let replay_of = event.replay_of?;
            Some(ReplayedView { replay_of, event: appended.id, duplicate: appended.duplicate })
        })
        .collect();
    let fresh = view.replayed.iter().filter(|replayed| !replayed.duplicate).count();
    metrics::counter!("attune_events_replayed_total").increment(fresh as u64);
    Ok(Json(view))
}

/// The events of one batch, each with what stands in place of its payload.
struct Chosen {
    events: Vec<(Event, Option<Value>)>,
    count: Option<i64>,
    next_cursor: Option<String>,
}

async fn of_items(
    state: &AppState,
    request: &ReplayRequest,
    items: Vec<ReplayItem>,
) -> Result<Chosen, ApiError> {
    let ReplayRequest { run: _, events: _, trigger, since, until, cursor, limit, dry_run: _ } = request;
    let others = [
        ("trigger", trigger.is_some()),
        ("since", since.is_some()),
        ("until", until.is_some()),
        ("cursor", cursor.is_some()),
        ("limit", limit.is_some()),
    ];
    if let Some((name, _)) = others.iter().find(|(_, given)| *given) {
        return Err(fault(&format!("/{name}"), "it has no effect together with `events`"));
    }
    if items.is_empty() || items.len() > usize::try_from(MAX_LIMIT).unwrap_or_default() {
        return Err(fault(
            "/events",
            &format!("{} events were given; it may be 1 to {MAX_LIMIT}", items.len()),
        ));
    }
    let mut payloads = BTreeMap::new();
    for (place, item) in items.into_iter().enumerate() {
        if let Some(payload) = &item.payload {
            check_storable(payload)?;
            let bytes = payload.to_string().len();
            if bytes > state.settings.max_webhook_bytes {
                let most = state.settings.max_webhook_bytes;
                let detail = format!("the payload has {bytes} bytes; an event may have {most}");
                return Err(fault(&format!("/events/{place}/payload"), &detail));
            }
        }
        if payloads.insert(item.event, item.payload).is_some() {
            return Err(fault(&format!("/events/{place}"), &format!("event {} is given twice", item.event)));
        }
    }
    let ids: Vec<i64> = payloads.keys().copied().collect();
    let events = EventRepository::list_by_ids(&state.pool, &ids).await?;
    let events: Vec<_> = events
        .into_iter()
        .map(|event| {
            let payload = payloads.remove(&event.id).flatten();
            (event, payload)
        })
        .collect();
    if let Some(absent) = payloads.keys().next() {
        return Err(ApiError::not_found(format!("event {absent} does not exist; nothing was replayed")));
    }
    let count = request.dry_run.then(|| i64::try_from(events.len()).unwrap_or(i64::MAX));
    Ok(Chosen { events, count, next_cursor: None })
}

async fn of_span(state: &AppState, request: &ReplayRequest) -> Result<Chosen, ApiError> {
    let need = |name: &str| fault(&format!("/{name}"), "give `trigger` and `since`, or `events`");
    let trigger_ref = request.trigger.clone().ok_or_else(|| need("trigger"))?;
    let since = request.since.ok_or_else(|| need("since"))?;
    let until = request.until.unwrap_or_else(Utc::now);
    if since >= until {
        return Err(fault("/since", &format!("{since} is not before {until}, where the span ends")));
    }
    let limit = request.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(fault("/limit", &format!("it is {limit}; it may be 1 to {MAX_LIMIT}")));
    }
    // A trigger that does not exist is told before the events of that name are sought.
    find_trigger(state, &trigger_ref).await?;
    let mut connection = state.pool.acquire().await?;
    let ids = match &request.cursor {
        Some(cursor) => Some(read_cursor(cursor)?),
        None => EventRepository::ids_between(&mut connection, since, until).await?,
    };
    let none = Chosen { events: Vec::new(), count: request.dry_run.then_some(0), next_cursor: None };
    let Some(ids) = ids else { return Ok(none) };
    let filter = RecordedFilter { trigger_ref, since, until, ids };
    let (events, last) = EventRepository::replayable(&mut connection, &filter, limit).await?;
    let count = if request.dry_run && request.cursor.is_none() {
        Some(EventRepository::count_replayable(&mut *connection, &filter).await?)
    } else {
        None
    };
    let next_cursor = last.map(|last| format!("{}-{}", last + 1, ids.last));
    Ok(Chosen { events: events.into_iter().map(|event| (event, None)).collect(), count, next_cursor })
}

fn read_cursor(cursor: &str) -> Result<IdRange, ApiError> {
    let read = || {
        let (first, last) = cursor.split_once('-')?;
        Some(IdRange { first: first.parse().ok()?, last: last.parse().ok()? })
    };
    read().ok_or_else(|| {
        fault("/cursor", &format!("{cursor:?} is no cursor; give the `next_cursor` of the batch before"))
    })
}

/// The ids of the triggers of the events; all must exist and take events.
async fn triggers_of(
    state: &AppState,
    events: &[(Event, Option<Value>)],
) -> Result<HashMap<String, i64>, ApiError> {
    let mut triggers = HashMap::new();
    for (event, _) in events {
        if !triggers.contains_key(&event.trigger_ref) {
            let id = find_trigger(state, &event.trigger_ref).await?;
            triggers.insert(event.trigger_ref.clone(), id);
        }
    }
    Ok(triggers)
}

async fn find_trigger(state: &AppState, trigger_ref: &str) -> Result<i64, ApiError> {
    match TriggerRepository::find_by_ref(&state.pool, trigger_ref).await? {
        Some(trigger) if trigger.enabled => Ok(trigger.id),
        Some(_) => Err(ApiError::conflict(format!("trigger {trigger_ref} is disabled; it takes no events"))),
        None => {
            let known = TriggerRepository::refs(&state.pool).await?;
            Err(check::unknown_ref("trigger", trigger_ref, &known))
        }
    }
}

fn check_run(run: &str) -> Result<(), ApiError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if (1..=64).contains(&run.len()) && run.chars().all(fits) {
        return Ok(());
    }
    Err(fault("/run", &format!("{run:?} cannot name a replay; give 1 to 64 letters, digits, `-` and `_`")))
}

fn fault(pointer: &str, detail: &str) -> ApiError {
    let item = ProblemItem {
        detail: detail.to_owned(),
        pointer: Some(pointer.to_owned()),
        ..ProblemItem::default()
    };
    ApiError::invalid("the request is not valid; nothing was replayed", vec![item])
}
