//! Enforcements.

use std::collections::HashMap;

use attune_client::types::{EnforcementDetail, EnforcementView, ExecutionLink, Page};
use attune_common::models::enforcement::{Enforcement, EnforcementFilter, EnforcementStatus};
use attune_common::models::execution::{Execution, ExecutionFilter};
use attune_common::models::identity::Subject;
use attune_common::repositories::{EnforcementRepository, ExecutionRepository, LIST_LIMIT, ReachRepository};
use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{At, Params, one_of};
use crate::paging::Paging;
use crate::responses::{Guarded, OfOne};
use crate::state::AppState;
use crate::views::{Masks, action_of, enforcement_view};

/// Which enforcements to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnforcementQuery {
    /// Only those of the rule with this ref.
    rule: Option<String>,
    /// Only those of this event.
    event: Option<i64>,
    /// `created`, `processed` or `disabled`.
    status: Option<String>,
    /// Items at most, 1 to 1000; default: 50.
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Enforcements, the newest first.
#[utoipa::path(
    get,
    path = "/api/v1/enforcements",
    tag = "enforcements",
    operation_id = "list_enforcements",
    params(EnforcementQuery),
    responses((status = OK, body = Page<EnforcementView>), Guarded)
)]
pub(crate) async fn list(
    State(state): State<AppState>,
    caller: Caller,
    query: Result<Params<EnforcementQuery>, ApiError>,
) -> Result<Json<Page<EnforcementView>>, ApiError> {
    let scope = caller.require_some("enforcement", "read")?;
    let Params(query) = query?;
    let paging = Paging::new(query.limit, query.cursor.as_deref())?;
    let filter = EnforcementFilter {
        rule_ref: query.rule,
        event: query.event,
        status: one_of::<EnforcementStatus>("status", query.status.as_deref())?,
        before: paging.before,
        limit: paging.rows(),
    };
    let mut rows = match scope.reach() {
        None => EnforcementRepository::search(&state.pool, &filter).await?,
        Some(reach) => ReachRepository::enforcements(&state.pool, &filter, &reach).await?,
    };
    let next_cursor = paging.cut(&mut rows, |row| row.id);
    let masks = Masks::of_actions(&state.pool, rows.iter().map(action_of)).await?;
    let items = rows.into_iter().map(|row| enforcement_view(row, &masks)).collect();
    Ok(Json(Page { items, next_cursor }))
}

/// One enforcement with its executions.
#[utoipa::path(
    get,
    path = "/api/v1/enforcements/{id}",
    tag = "enforcements",
    operation_id = "show_enforcement",
    params(("id" = i64, Path)),
    responses((status = OK, body = EnforcementDetail), OfOne)
)]
pub(crate) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    At(id): At<i64>,
) -> Result<Json<EnforcementDetail>, ApiError> {
    caller.require_some("enforcement", "read")?;
    let enforcement = EnforcementRepository::get_by_id(&state.pool, id).await?;
    caller.require_for("enforcement", "read", &Subject::of(&enforcement.rule_ref))?;
    let filter = ExecutionFilter { enforcement: Some(id), limit: LIST_LIMIT, ..ExecutionFilter::default() };
    let mut details = with_executions(&state, vec![enforcement], &filter).await?;
    let detail =
        details.pop().ok_or_else(|| ApiError::internal("an enforcement was lost between two steps"))?;
    Ok(Json(detail))
}

/// The enforcements, each with those of the executions that are its own.
pub(super) async fn with_executions(
    state: &AppState,
    enforcements: Vec<Enforcement>,
    filter: &ExecutionFilter,
) -> Result<Vec<EnforcementDetail>, ApiError> {
    let masks = Masks::of_actions(&state.pool, enforcements.iter().map(action_of)).await?;
    let ids: Vec<i64> = enforcements.iter().map(|enforcement| enforcement.id).collect();
    let mut events: HashMap<i64, Vec<i64>> = HashMap::new();
    for (enforcement, event) in EnforcementRepository::contributing_events(&state.pool, &ids).await? {
        events.entry(enforcement).or_default().push(event);
    }
    let mut links: HashMap<i64, Vec<ExecutionLink>> = HashMap::new();
    let mut executions = ExecutionRepository::search(&state.pool, filter).await?;
    executions.reverse();
    for execution in executions {
        if let Some(enforcement) = execution.enforcement {
            links.entry(enforcement).or_default().push(link(execution));
        }
    }
    let details = enforcements.into_iter().map(|enforcement| EnforcementDetail {
        events: events.remove(&enforcement.id).unwrap_or_default(),
        executions: links.remove(&enforcement.id).unwrap_or_default(),
        enforcement: enforcement_view(enforcement, &masks),
    });
    Ok(details.collect())
}

pub(super) fn link(execution: Execution) -> ExecutionLink {
    ExecutionLink {
        id: execution.id,
        action: execution.action_ref,
        status: execution.status.as_str().to_owned(),
    }
}
