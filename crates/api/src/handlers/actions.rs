//! Actions.

use attune_client::types::{ActionView, Page};
use attune_common::models::action::Action;
use attune_common::models::identity::Subject;
use attune_common::repositories::{ActionRepository, PlacementRepository};
use axum::Json;
use axum::extract::State;

use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::At;
use crate::paging::whole;
use crate::responses::{Guarded, OfOne};
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
    let action = ActionRepository::get_by_ref(&state.pool, &action_ref).await?;
    let mut views = views(&state, vec![action]).await?;
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
