//! Work queues and their items.

use attune_client::types::{
    Page, QueueItemView, QueuePush, QueuePushed, QueueRetried, QueueRetriedItem, QueueRetry, QueueView,
};
use attune_common::bus::Topic;
use attune_common::models::identity::Subject;
use attune_common::models::work_queue::{NewWorkItem, WorkItemFilter, WorkItemStatus, WorkQueue};
use attune_common::repositories::{WorkItemRepository, WorkQueueRepository};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use utoipa::IntoParams;

use crate::auth::Caller;
use crate::check;
use crate::error::ApiError;
use crate::extract::{At, Body, Params, one_of};
use crate::paging::{Paging, whole};
use crate::responses::{Guarded, OfOne, WithBody};
use crate::state::AppState;
use crate::views::{Mask, queue_item_view, queue_view};
use crate::webhook::check_storable;

/// Items that one request may bring, or bring back.
const MOST_ITEMS: usize = 1000;

/// Which items to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ItemQuery {
    /// `ready`, `leased`, `done` or `dead`.
    status: Option<String>,
    /// Items at most, 1 to 1000; default: 50.
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// All work queues, by ref, with how many items stand where.
#[utoipa::path(
    get,
    path = "/api/v1/queues",
    tag = "queues",
    operation_id = "list_queues",
    responses((status = OK, body = Page<QueueView>), Guarded)
)]
pub(crate) async fn list(
    State(state): State<AppState>,
    caller: Caller,
) -> Result<Json<Page<QueueView>>, ApiError> {
    let scope = caller.require_some("queue", "read")?;
    let mut views = Vec::new();
    for queue in WorkQueueRepository::list(&state.pool).await? {
        if !scope.holds(&Subject::of(&queue.r#ref)) {
            continue;
        }
        views.push(view(&state, queue).await?);
    }
    Ok(Json(whole(views)))
}

/// One work queue, with how many items stand where.
#[utoipa::path(
    get,
    path = "/api/v1/queues/{ref}",
    tag = "queues",
    operation_id = "show_queue",
    params(("ref" = String, Path, description = "`pack.name`")),
    responses((status = OK, body = QueueView), OfOne)
)]
pub(crate) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    At(queue_ref): At<String>,
) -> Result<Json<QueueView>, ApiError> {
    caller.require_for("queue", "read", &Subject::of(&queue_ref))?;
    let queue = WorkQueueRepository::get_by_ref(&state.pool, &queue_ref).await?;
    Ok(Json(view(&state, queue).await?))
}

/// The items of a queue, the newest first.
#[utoipa::path(
    get,
    path = "/api/v1/queues/{ref}/items",
    tag = "queues",
    operation_id = "list_queue_items",
    params(("ref" = String, Path, description = "`pack.name`"), ItemQuery),
    responses((status = OK, body = Page<QueueItemView>), OfOne)
)]
pub(crate) async fn items(
    State(state): State<AppState>,
    caller: Caller,
    At(queue_ref): At<String>,
    query: Result<Params<ItemQuery>, ApiError>,
) -> Result<Json<Page<QueueItemView>>, ApiError> {
    caller.require_for("work_item", "read", &Subject::of(&queue_ref))?;
    let Params(query) = query?;
    let paging = Paging::new(query.limit, query.cursor.as_deref())?;
    let status = one_of::<WorkItemStatus>("status", query.status.as_deref())?;
    let queue = WorkQueueRepository::get_by_ref(&state.pool, &queue_ref).await?;
    let filter =
        WorkItemFilter { queue: Some(queue.id), status, before: paging.before, limit: paging.rows() };
    let mut rows = WorkItemRepository::search(&state.pool, &filter).await?;
    let next_cursor = paging.cut(&mut rows, |row| row.id);
    let mask = Mask::of(&queue.item_schema);
    Ok(Json(Page { items: rows.into_iter().map(|row| queue_item_view(row, &mask)).collect(), next_cursor }))
}

/// Puts items into a queue: all of them, or none. Each is checked against the queue's schema, and defaults are filled in.
#[utoipa::path(
    post,
    path = "/api/v1/queues/{ref}/items",
    tag = "queues",
    operation_id = "push_queue_items",
    params(("ref" = String, Path, description = "`pack.name`")),
    request_body = QueuePush,
    responses((status = CREATED, body = QueuePushed, description = "They wait in the queue"), WithBody)
)]
pub(crate) async fn push(
    State(state): State<AppState>,
    caller: Caller,
    At(queue_ref): At<String>,
    body: Result<Body<QueuePush>, ApiError>,
) -> Result<(StatusCode, Json<QueuePushed>), ApiError> {
    caller.require_for("work_item", "create", &Subject::of(&queue_ref))?;
    let Body(request) = body?;
    check_count(request.items.len())?;
    let queue = WorkQueueRepository::get_by_ref(&state.pool, &queue_ref).await?;
    let (mut items, mut faults) = (Vec::with_capacity(request.items.len()), Vec::new());
    for (at, item) in request.items.into_iter().enumerate() {
        match check_item(&queue, item, &format!("/items/{at}")) {
            Ok(item) => {
                items.push(NewWorkItem { item, priority: request.priority, not_before: request.not_before });
            }
            Err(found) => faults.extend(found),
        }
    }
    if !faults.is_empty() {
        let detail = format!("items do not fit the queue {}; none was stored", queue.r#ref);
        return Err(ApiError::invalid(detail, faults));
    }
    for item in &items {
        check_storable(&item.item)?;
    }
    let ids = WorkItemRepository::push(&state.pool, queue.id, &items).await?;
    state.bus.wake(Topic::Work);
    Ok((StatusCode::CREATED, Json(QueuePushed { ids })))
}

/// Brings dead items back: each is replaced by a new item that is tried as often as any other.
#[utoipa::path(
    post,
    path = "/api/v1/queues/{ref}/retry",
    tag = "queues",
    operation_id = "retry_queue_items",
    params(("ref" = String, Path, description = "`pack.name`")),
    request_body = QueueRetry,
    responses((status = OK, body = QueueRetried), WithBody)
)]
pub(crate) async fn retry(
    State(state): State<AppState>,
    caller: Caller,
    At(queue_ref): At<String>,
    body: Result<Body<QueueRetry>, ApiError>,
) -> Result<Json<QueueRetried>, ApiError> {
    caller.require_for("work_item", "update", &Subject::of(&queue_ref))?;
    let Body(request) = body?;
    if let Some(items) = &request.items {
        check_count(items.len())?;
    }
    let queue = WorkQueueRepository::get_by_ref(&state.pool, &queue_ref).await?;
    let revived =
        WorkItemRepository::revive(&state.pool, queue.id, request.items.as_deref(), MOST_ITEMS as i64)
            .await?;
    if let Some(items) = &request.items
        && let Some(missing) = items.iter().find(|id| revived.iter().all(|(dead, _)| dead != *id))
        && revived.is_empty()
    {
        return Err(ApiError::conflict(format!(
            "item {missing} is not a dead item of the queue {}; nothing was changed",
            queue.r#ref
        )));
    }
    state.bus.wake(Topic::Work);
    let items = revived.into_iter().map(|(dead, id)| QueueRetriedItem { dead, id }).collect();
    Ok(Json(QueueRetried { items }))
}

fn check_count(count: usize) -> Result<(), ApiError> {
    if (1..=MOST_ITEMS).contains(&count) {
        return Ok(());
    }
    Err(ApiError::bad_request(format!("`items` has {count} items; it may have 1 to {MOST_ITEMS}")))
}

/// The item with defaults filled in, or what is wrong with it; `at` is where it stands.
fn check_item(
    queue: &WorkQueue,
    item: Value,
    at: &str,
) -> Result<Value, Vec<attune_client::types::ProblemItem>> {
    let is_open = queue.item_schema.as_object().is_none_or(serde_json::Map::is_empty);
    if !is_open {
        return check::values(&queue.item_schema, item, at);
    }
    // It becomes the parameters of an execution, which are named.
    if queue.batch_size == 1 && !item.is_object() {
        return Err(vec![attune_client::types::ProblemItem {
            detail: "expected an object, because an item becomes the parameters of an execution".to_owned(),
            pointer: Some(at.to_owned()),
            ..attune_client::types::ProblemItem::default()
        }]);
    }
    Ok(item)
}

async fn view(state: &AppState, queue: WorkQueue) -> Result<QueueView, ApiError> {
    let counts = WorkItemRepository::count_by_status(&state.pool, queue.id).await?;
    Ok(queue_view(queue, counts))
}
