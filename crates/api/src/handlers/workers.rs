//! Workers.

use attune_client::types::{Page, WorkerView};
use attune_common::bus::Topic;
use attune_common::repositories::{ExecutionRepository, WorkerRepository};
use axum::Json;
use axum::extract::State;

use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::At;
use crate::paging::whole;
use crate::responses::{Guarded, OfOne};
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
    let ids: Vec<i64> = workers.iter().map(|worker| worker.id).collect();
    let running = ExecutionRepository::count_held(&state.pool, &ids).await?;
    let views = workers.into_iter().map(|worker| {
        let running = running.get(&worker.id).copied().unwrap_or_default();
        worker_view(worker, &alive, running)
    });
    Ok(Json(whole(views.collect())))
}

/// Gives a worker no more work. What it runs goes on.
#[utoipa::path(
    post,
    path = "/api/v1/workers/{name}/cordon",
    tag = "workers",
    operation_id = "cordon_worker",
    params(("name" = String, Path)),
    responses((status = OK, body = WorkerView), OfOne)
)]
pub(crate) async fn cordon(
    State(state): State<AppState>,
    caller: Caller,
    At(name): At<String>,
) -> Result<Json<WorkerView>, ApiError> {
    set_cordoned(&state, &caller, &name, Cordon::On).await
}

/// Gives a worker work again.
#[utoipa::path(
    post,
    path = "/api/v1/workers/{name}/uncordon",
    tag = "workers",
    operation_id = "uncordon_worker",
    params(("name" = String, Path)),
    responses((status = OK, body = WorkerView), OfOne)
)]
pub(crate) async fn uncordon(
    State(state): State<AppState>,
    caller: Caller,
    At(name): At<String>,
) -> Result<Json<WorkerView>, ApiError> {
    set_cordoned(&state, &caller, &name, Cordon::Off).await
}

#[derive(Debug, Clone, Copy)]
enum Cordon {
    On,
    Off,
}

async fn set_cordoned(
    state: &AppState,
    caller: &Caller,
    name: &str,
    cordon: Cordon,
) -> Result<Json<WorkerView>, ApiError> {
    caller.require("worker", "update")?;
    let worker = WorkerRepository::get_by_name(&state.pool, name).await?;
    let mut connection = state.pool.acquire().await?;
    let worker = match cordon {
        Cordon::On => WorkerRepository::cordon(&mut connection, worker.id).await?,
        Cordon::Off => WorkerRepository::uncordon(&mut connection, worker.id).await?,
    };
    let alive = WorkerRepository::alive(&mut *connection).await?;
    let running = ExecutionRepository::count_held(&mut *connection, &[worker.id]).await?;
    // It may have work to take now.
    state.bus.wake(Topic::Execution);
    Ok(Json(worker_view(worker, &alive, running.values().sum())))
}
