//! Actions.

use attune_client::types::{ActionView, Page};
use attune_common::repositories::ActionRepository;
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
    caller.require("action", "read")?;
    let actions = ActionRepository::list(&state.pool).await?;
    Ok(Json(whole(actions.into_iter().map(action_view).collect())))
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
    caller.require("action", "read")?;
    Ok(Json(action_view(ActionRepository::get_by_ref(&state.pool, &action_ref).await?)))
}
