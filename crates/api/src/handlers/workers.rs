//! Workers.

use attune_client::types::{Page, WorkerView};
use attune_common::repositories::WorkerRepository;
use axum::Json;
use axum::extract::State;

use crate::auth::Caller;
use crate::error::ApiError;
use crate::paging::whole;
use crate::responses::Guarded;
use crate::state::AppState;
use crate::views::worker_view;

/// All workers, by name.
#[utoipa::path(
    get,
    path = "/api/v1/workers",
    tag = "workers",
    operation_id = "list_workers",
    responses((status = OK, body = Page<WorkerView>), Guarded)
)]
pub(crate) async fn list(
    State(state): State<AppState>,
    caller: Caller,
) -> Result<Json<Page<WorkerView>>, ApiError> {
    caller.require("worker", "read")?;
    let workers = WorkerRepository::list(&state.pool).await?;
    let alive = WorkerRepository::alive(&state.pool).await?;
    Ok(Json(whole(workers.into_iter().map(|worker| worker_view(worker, &alive)).collect())))
}
