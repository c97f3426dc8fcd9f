//! Actions.

use attune_client::types::{ActionView, Page, Switch};
use attune_common::models::action::{Action, ActionUpdate};
use attune_common::models::identity::Subject;
use attune_common::repositories::{ActionRepository, PlacementRepository};
use axum::Json;
use axum::extract::State;

use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{At, Body};
use crate::paging::whole;
use crate::responses::{Guarded, OfOne, Uploading};
use crate::state::AppState;
use crate::views::action_view;

/// All actions, by ref.
#[utoipa::path(
    get,
    path = "/api/v1/actions",
    tag = "actions",
    operation_id = "list_actions",
    responses((status = OK, body = Page<ActionView>), Guarded)
)]
pub(crate) async fn list(
    State(state): State<AppState>,
    caller: Caller,
) -> Result<Json<Page<ActionView>>, ApiError> {
    let scope = caller.require_some("action", "read")?;
    let mut actions = ActionRepository::list(&state.pool).await?;
    actions.retain(|action| scope.holds(&Subject::of(&action.r#ref)));
    Ok(Json(whole(views(&state, actions).await?)))
}

/// One action.
#[utoipa::path(
    get,
    path = "/api/v1/actions/{ref}",
    tag = "actions",
    operation_id = "show_action",
    params(("ref" = String, Path, description = "`pack.name`")),
    responses((status = OK, body = ActionView), OfOne)
)]
pub(crate) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    At(action_ref): At<String>,
) -> Result<Json<ActionView>, ApiError> {
    caller.require_for("action", "read", &Subject::of(&action_ref))?;
    one(&state, ActionRepository::get_by_ref(&state.pool, &action_ref).await?).await
}

/// Enables an action, or disables it: it is not started any more, neither by rules nor by anybody. What was begun goes on. It
/// stays so when another version of its pack is installed.
#[utoipa::path(
    patch,
    path = "/api/v1/actions/{ref}",
    tag = "actions",
    operation_id = "switch_action",
    params(("ref" = String, Path, description = "`pack.name`")),
    request_body = Switch,
    responses((status = OK, body = ActionView), Uploading)
)]
pub(crate) async fn switch(
    State(state): State<AppState>,
    caller: Caller,
    At(action_ref): At<String>,
    body: Result<Body<Switch>, ApiError>,
) -> Result<Json<ActionView>, ApiError> {
    caller.require_for("action", "update", &Subject::of(&action_ref))?;
    let Body(Switch { enabled }) = body?;
    let mut connection = state.pool.acquire().await?;
    let action = ActionRepository::get_by_ref(&mut *connection, &action_ref).await?;
    let update = ActionUpdate { enabled: Some(enabled), ..ActionUpdate::default() };
    let action = ActionRepository::update(&mut connection, action.id, &update).await?;
    drop(connection);
    state.definitions_changed().await;
    one(&state, action).await
}

async fn one(state: &AppState, action: Action) -> Result<Json<ActionView>, ApiError> {
    let mut views = views(state, vec![action]).await?;
    views.pop().map(Json).ok_or_else(|| ApiError::internal("an action was lost between two steps"))
}

async fn views(state: &AppState, actions: Vec<Action>) -> Result<Vec<ActionView>, ApiError> {
    let ids: Vec<i64> = actions.iter().map(|action| action.placement).collect();
    let placements = PlacementRepository::list_by_ids(&state.pool, &ids).await?;
    let view = |action: Action| {
        let placement = placements.iter().find(|placement| placement.id == action.placement);
        action_view(action, placement)
    };
    Ok(actions.into_iter().map(view).collect())
}
