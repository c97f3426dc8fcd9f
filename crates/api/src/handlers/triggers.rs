//! Triggers.

use attune_client::types::{Page, TriggerView};
use attune_common::models::identity::Subject;
use attune_common::repositories::TriggerRepository;
use axum::Json;
use axum::extract::State;

use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::At;
use crate::paging::whole;
use crate::responses::{Guarded, OfOne};
use crate::state::AppState;
use crate::views::{trigger_detail, trigger_view};

/// All triggers, by ref; without the addresses of their webhooks.
#[utoipa::path(
    get,
    path = "/api/v1/triggers",
    tag = "triggers",
    operation_id = "list_triggers",
    responses((status = OK, body = Page<TriggerView>), Guarded)
)]
pub(crate) async fn list(
    State(state): State<AppState>,
    caller: Caller,
) -> Result<Json<Page<TriggerView>>, ApiError> {
    let scope = caller.require_some("trigger", "read")?;
    let mut triggers = TriggerRepository::list(&state.pool).await?;
    triggers.retain(|trigger| scope.holds(&Subject::of(&trigger.r#ref)));
    Ok(Json(whole(triggers.into_iter().map(trigger_view).collect())))
}

/// One trigger; with the address of its webhook for those who may read webhooks.
#[utoipa::path(
    get,
    path = "/api/v1/triggers/{ref}",
    tag = "triggers",
    operation_id = "show_trigger",
    params(("ref" = String, Path, description = "`pack.name`")),
    responses((status = OK, body = TriggerView), OfOne)
)]
pub(crate) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    At(trigger_ref): At<String>,
) -> Result<Json<TriggerView>, ApiError> {
    caller.require_for("trigger", "read", &Subject::of(&trigger_ref))?;
    let trigger = TriggerRepository::get_by_ref(&state.pool, &trigger_ref).await?;
    let view =
        if caller.principal.may("webhook", "read") { trigger_detail(trigger) } else { trigger_view(trigger) };
    Ok(Json(view))
}
