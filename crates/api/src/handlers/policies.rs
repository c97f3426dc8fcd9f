//! Policies.

use std::collections::HashMap;

use attune_client::types::{Page, PolicyView};
use attune_common::models::admission::PolicyLoad;
use attune_common::models::identity::Subject;
use attune_common::repositories::{AdmissionRepository, PolicyRepository};
use axum::Json;
use axum::extract::State;

use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::At;
use crate::paging::whole;
use crate::responses::{Guarded, OfOne};
use crate::state::AppState;
use crate::views::policy_view;

/// All policies, by ref, with how much each is used.
#[utoipa::path(
    get,
    path = "/api/v1/policies",
    tag = "policies",
    operation_id = "list_policies",
    responses((status = OK, body = Page<PolicyView>), Guarded)
)]
pub(crate) async fn list(
    State(state): State<AppState>,
    caller: Caller,
) -> Result<Json<Page<PolicyView>>, ApiError> {
    let scope = caller.require_some("policy", "read")?;
    let mut policies = PolicyRepository::list(&state.pool).await?;
    policies.retain(|policy| scope.holds(&Subject::of(&policy.r#ref)));
    let loads = loads(&state).await?;
    let views = policies.into_iter().map(|policy| {
        let load = loads.get(&policy.id).copied().unwrap_or_default();
        policy_view(policy, load)
    });
    Ok(Json(whole(views.collect())))
}

/// One policy, with how much it is used.
#[utoipa::path(
    get,
    path = "/api/v1/policies/{ref}",
    tag = "policies",
    operation_id = "show_policy",
    params(("ref" = String, Path, description = "`pack.name`")),
    responses((status = OK, body = PolicyView), OfOne)
)]
pub(crate) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    At(policy_ref): At<String>,
) -> Result<Json<PolicyView>, ApiError> {
    caller.require_for("policy", "read", &Subject::of(&policy_ref))?;
    let policy = PolicyRepository::get_by_ref(&state.pool, &policy_ref).await?;
    let load = loads(&state).await?.get(&policy.id).copied().unwrap_or_default();
    Ok(Json(policy_view(policy, load)))
}

async fn loads(state: &AppState) -> Result<HashMap<i64, PolicyLoad>, ApiError> {
    let loads = AdmissionRepository::loads(&state.pool).await?;
    Ok(loads.into_iter().map(|load| (load.policy, load)).collect())
}
