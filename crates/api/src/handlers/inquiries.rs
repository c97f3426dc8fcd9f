//! Inquiries: questions that runs put to people, and the answers.

use attune_client::types::{InquiryAnswer, InquiryRequest, InquiryView, Page};
use attune_common::bus::Topic;
use attune_common::error::StoreError;
use attune_common::models::identity::{Scope, Subject};
use attune_common::models::inquiry::{
    Asked, Asker, Inquiry, InquiryFilter, InquiryNames, InquiryResponse, InquiryStatus,
};
use attune_common::repositories::{
    IdentityRepository, InquiryRepository, IsNew, PermissionRepository, RespondError,
};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use serde::Deserialize;
use tokio::time::Instant;
use utoipa::IntoParams;

use super::executions::patience;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{At, Body, Params, SecretBody, one_of};
use crate::paging::Paging;
use crate::question;
use crate::responses::{Guarded, OfOne, Uploading, WithBody};
use crate::run_masking::masker_of;
use crate::state::AppState;
use crate::views::{Reader, inquiry_view};
use crate::webhook::check_storable;

/// Which inquiries to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct InquiryQuery {
    /// `pending`, `responded`, `timeout` or `cancelled`.
    status: Option<String>,
    /// Only those of this execution.
    execution: Option<i64>,
    /// Only those that are put to whoever asks for the list, by name or by role.
    #[serde(default)]
    assigned_to_me: bool,
    /// Items at most, 1 to 1000; default: 50.
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// How to show an inquiry.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShowQuery {
    /// Seconds to wait for the inquiry to end, at most 60. It is shown as it is then, ended or not.
    wait: Option<u32>,
}

/// Inquiries, the newest first. What is put to the caller, and what a run asked itself, can be listed without a permission.
#[utoipa::path(
    get,
    path = "/api/v1/inquiries",
    tag = "inquiries",
    operation_id = "list_inquiries",
    params(InquiryQuery),
    responses((status = OK, body = Page<InquiryView>), Guarded)
)]
pub(crate) async fn list(
    State(state): State<AppState>,
    caller: Caller,
    query: Result<Params<InquiryQuery>, ApiError>,
) -> Result<Json<Page<InquiryView>>, ApiError> {
    let own = query.as_ref().ok().and_then(|Params(query)| query.execution);
    let for_me = query.as_ref().is_ok_and(|Params(query)| query.assigned_to_me);
    let scope = match (own, caller.principal.identity) {
        (_, Some(_)) if for_me => Scope::Everything,
        (Some(execution), _) => caller.require_own(execution, "inquiry", "read")?,
        (None, _) => caller.require_some("inquiry", "read")?,
    };
    let Params(query) = query?;
    let asked = match (query.assigned_to_me, caller.principal.identity) {
        (true, Some(identity)) => Some(Asked { identity, roles: roles(&state, identity).await? }),
        (true, None) => {
            return Err(ApiError::bad_request("`assigned_to_me` is for people; a run is asked nothing"));
        }
        (false, _) => None,
    };
    let paging = Paging::new(query.limit, query.cursor.as_deref())?;
    let filter = InquiryFilter {
        execution: query.execution,
        status: one_of::<InquiryStatus>("status", query.status.as_deref())?,
        asked,
        reach: scope.reach(),
        before: paging.before,
        limit: paging.rows(),
        ..InquiryFilter::default()
    };
    let mut rows = InquiryRepository::search(&state.pool, &filter).await?;
    let next_cursor = paging.cut(&mut rows, |row| row.id);
    Ok(Json(Page { items: views(&state, &caller, rows).await?, next_cursor }))
}

/// Puts a question, in the name of the run whose token the request has; it ends with the attempt that asks.
#[utoipa::path(
    post,
    path = "/api/v1/inquiries",
    tag = "inquiries",
    operation_id = "create_inquiry",
    request_body = InquiryRequest,
    responses(
        (status = CREATED, body = InquiryView, description = "It waits for its answer"),
        (status = OK, body = InquiryView, description = "It was asked before, under the same `dedup_key`"),
        WithBody,
    )
)]
pub(crate) async fn create(
    State(state): State<AppState>,
    caller: Caller,
    body: Result<Body<InquiryRequest>, ApiError>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<InquiryView>), ApiError> {
    caller.require("inquiry", "create")?;
    let Body(request) = body?;
    let Some(run) = caller.run() else {
        return Err(ApiError::conflict(
            "only a run asks: send the token of a run, `ATTUNE_API_TOKEN` in the environment of its process",
        ));
    };
    let asker = Asker { attempt: run.attempt, dedup_key: request.dedup_key.clone() };
    let masker = masker_of(&state, run).await?;
    let new = question::read(&state.pool, run.execution, request, &masker).await?;
    let asked = InquiryRepository::ask(&state.pool, &asker, &new).await?;
    let Some((inquiry, IsNew(is_new))) = asked else {
        return Err(ApiError::conflict(format!(
            "attempt {} of execution {} is being cancelled or has ended; nothing was asked",
            run.attempt, run.execution
        )));
    };
    state.bus.wake(Topic::Change);
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    let location = [(header::LOCATION, format!("/api/v1/inquiries/{}", inquiry.id))];
    Ok((status, location, Json(view(&state, &caller, inquiry).await?)))
}

/// One inquiry; with `wait`, as soon as it has ended. Whoever may answer it, and the run that asks, may see it without
/// `read`.
#[utoipa::path(
    get,
    path = "/api/v1/inquiries/{id}",
    tag = "inquiries",
    operation_id = "show_inquiry",
    params(("id" = i64, Path), ShowQuery),
    responses((status = OK, body = InquiryView), OfOne)
)]
pub(crate) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    At(id): At<i64>,
    query: Result<Params<ShowQuery>, ApiError>,
) -> Result<Json<InquiryView>, ApiError> {
    let inquiry = InquiryRepository::find_by_id(&state.pool, id).await?;
    if !is_put_to(&state, &caller, inquiry.as_ref()).await?
        && !may_answer(&state, &caller, inquiry.as_ref()).await?
    {
        require_on(&state, &caller, inquiry.as_ref(), "read").await?;
    }
    let Params(query) = query?;
    let mut inquiry = inquiry.ok_or_else(|| not_found(id))?;
    if let Some(patience) = patience(query.wait)?
        && !inquiry.status.is_terminal()
    {
        state.inquiries.wait(id, Instant::now() + patience, &state.shutdown).await;
        inquiry = InquiryRepository::get_by_id(&state.pool, id).await?;
    }
    Ok(Json(view(&state, &caller, inquiry).await?))
}

/// Answers an inquiry: the first answer counts. Whoever it is put to needs no permission for that.
#[utoipa::path(
    post,
    path = "/api/v1/inquiries/{id}/respond",
    tag = "inquiries",
    operation_id = "respond_to_inquiry",
    params(("id" = i64, Path)),
    request_body = InquiryAnswer,
    responses((status = OK, body = InquiryView, description = "It is answered"), Uploading)
)]
pub(crate) async fn respond(
    State(state): State<AppState>,
    caller: Caller,
    At(id): At<i64>,
    body: Result<SecretBody<InquiryAnswer>, ApiError>,
) -> Result<Json<InquiryView>, ApiError> {
    let inquiry = InquiryRepository::find_by_id(&state.pool, id).await?;
    if !is_put_to(&state, &caller, inquiry.as_ref()).await? {
        let scope = caller.require_some("inquiry", "respond")?;
        require_within(&state, inquiry.as_ref(), "respond", &scope).await?;
    }
    let inquiry = inquiry.ok_or_else(|| not_found(id))?;
    let Some(responded_by) = caller.principal.identity else {
        return Err(ApiError::exceeding("people answer; a run cannot", Vec::new()));
    };
    if inquiry.status.is_terminal() {
        return Err(has_ended(&state, inquiry).await);
    }
    let SecretBody(InquiryAnswer { response }) = body?;
    let response = question::answer(&inquiry, response)?;
    check_storable(&response)?;
    let answer = InquiryResponse { response, responded_by };
    let inquiry = match InquiryRepository::respond(&state.pool, id, &answer).await {
        Ok(inquiry) => inquiry,
        Err(RespondError::SelfApproval { .. }) => {
            return Err(ApiError::exceeding(
                format!("inquiry {id} must be answered by somebody else than whoever started the run"),
                Vec::new(),
            ));
        }
        Err(RespondError::TimedOut { .. }) => return Err(timed_out(id)),
        // Somebody was faster, or nobody asks any more.
        Err(RespondError::Store(StoreError::Conflict { .. })) => {
            let inquiry = InquiryRepository::get_by_id(&state.pool, id).await?;
            return Err(has_ended(&state, inquiry).await);
        }
        Err(RespondError::Store(error)) => return Err(error.into()),
    };
    tracing::info!(inquiry = id, by = caller.principal.login, "answered");
    state.bus.wake(Topic::Change);
    Ok(Json(view(&state, &caller, inquiry).await?))
}

/// Cancels an inquiry: nobody needs its answer any more. A run may do so with what it asked itself.
#[utoipa::path(
    post,
    path = "/api/v1/inquiries/{id}/cancel",
    tag = "inquiries",
    operation_id = "cancel_inquiry",
    params(("id" = i64, Path)),
    responses(
        (status = OK, body = InquiryView, description = "It is cancelled"),
        (status = CONFLICT, body = attune_client::types::Problem, content_type = "application/problem+json",
            description = "It had ended otherwise before"),
        OfOne,
    )
)]
pub(crate) async fn cancel(
    State(state): State<AppState>,
    caller: Caller,
    At(id): At<i64>,
) -> Result<Json<InquiryView>, ApiError> {
    let inquiry = InquiryRepository::find_by_id(&state.pool, id).await?;
    require_on(&state, &caller, inquiry.as_ref(), "cancel").await?;
    let mut connection = state.pool.acquire().await?;
    let cancelled = InquiryRepository::cancel(&mut connection, id).await;
    drop(connection);
    match cancelled {
        Ok(inquiry) => {
            tracing::info!(inquiry = id, by = caller.principal.login, "cancelled");
            state.bus.wake(Topic::Change);
            Ok(Json(view(&state, &caller, inquiry).await?))
        }
        Err(StoreError::Conflict { .. }) => {
            let inquiry = InquiryRepository::get_by_id(&state.pool, id).await?;
            Err(has_ended(&state, inquiry).await)
        }
        Err(error) => Err(error.into()),
    }
}

/// Refuses with 403 unless the inquiry is one that the caller asked, or the action on it is granted.
async fn require_on(
    state: &AppState,
    caller: &Caller,
    inquiry: Option<&Inquiry>,
    action: &str,
) -> Result<(), ApiError> {
    let scope = match inquiry {
        Some(inquiry) => caller.require_own(inquiry.execution, "inquiry", action)?,
        None => caller.require_some("inquiry", action)?,
    };
    require_within(state, inquiry, action, &scope).await
}

/// Refuses with 403 what is not within the scope.
async fn require_within(
    state: &AppState,
    inquiry: Option<&Inquiry>,
    action: &str,
    scope: &Scope,
) -> Result<(), ApiError> {
    let reached = is_within(state, inquiry, scope).await?;
    reached.map_err(|action_ref| ApiError::out_of_reach("inquiry", action, Some(&action_ref)))
}

/// Whether the inquiry is within the scope; if not, the action of the execution that asks.
async fn is_within(
    state: &AppState,
    inquiry: Option<&Inquiry>,
    scope: &Scope,
) -> Result<Result<(), String>, ApiError> {
    let Some(inquiry) = inquiry.filter(|_| *scope != Scope::Everything) else { return Ok(Ok(())) };
    let names = InquiryRepository::names(&state.pool, &[inquiry.id]).await?;
    let action_ref = names.into_iter().next().map(|names| names.action_ref).unwrap_or_default();
    Ok(if scope.holds(&Subject::of(&action_ref)) { Ok(()) } else { Err(action_ref) })
}

/// Whether the inquiry is put to the caller, by name or by role.
async fn is_put_to(state: &AppState, caller: &Caller, inquiry: Option<&Inquiry>) -> Result<bool, ApiError> {
    let (Some(inquiry), Some(identity)) = (inquiry, caller.principal.identity) else { return Ok(false) };
    if inquiry.assigned_to == Some(identity) {
        return Ok(true);
    }
    match &inquiry.assigned_role {
        Some(role) => Ok(roles(state, identity).await?.contains(role)),
        None => Ok(false),
    }
}

/// Whether the caller is granted to answer the inquiry.
async fn may_answer(state: &AppState, caller: &Caller, inquiry: Option<&Inquiry>) -> Result<bool, ApiError> {
    let principal = &caller.principal;
    let (Some(_), Some(_), Some(scope)) =
        (inquiry, principal.identity, principal.scope("inquiry", "respond"))
    else {
        return Ok(false);
    };
    is_within(state, inquiry, &scope).await.map(|found| found.is_ok())
}

/// The permission sets that an identity holds, which are its roles.
async fn roles(state: &AppState, identity: i64) -> Result<Vec<String>, ApiError> {
    let sets = PermissionRepository::sets_of(&state.pool, identity).await?;
    Ok(sets.into_iter().map(|set| set.r#ref).collect())
}

fn not_found(id: i64) -> ApiError {
    ApiError::not_found(format!("inquiry {id} does not exist"))
}

fn timed_out(id: i64) -> ApiError {
    ApiError::conflict(format!("the time to answer inquiry {id} is over"))
}

/// Why nothing can be done with an inquiry that has ended.
async fn has_ended(state: &AppState, inquiry: Inquiry) -> ApiError {
    let id = inquiry.id;
    match inquiry.status {
        InquiryStatus::Timeout => timed_out(id),
        InquiryStatus::Cancelled => {
            ApiError::conflict(format!("inquiry {id} was cancelled: nobody needs the answer any more"))
        }
        InquiryStatus::Pending | InquiryStatus::Responded => {
            let responder = match inquiry.responded_by {
                // Without the name it is as true.
                Some(by) => IdentityRepository::find_by_id(&state.pool, by).await.ok().flatten(),
                None => None,
            };
            let by = responder.map(|responder| format!(" by {}", responder.login)).unwrap_or_default();
            ApiError::conflict(format!("inquiry {id} was answered before{by}; the first answer counts"))
        }
    }
}

async fn view(state: &AppState, caller: &Caller, inquiry: Inquiry) -> Result<InquiryView, ApiError> {
    let id = inquiry.id;
    let views = views(state, caller, vec![inquiry]).await?;
    views.into_iter().next().ok_or_else(|| not_found(id))
}

async fn views(
    state: &AppState,
    caller: &Caller,
    inquiries: Vec<Inquiry>,
) -> Result<Vec<InquiryView>, ApiError> {
    let ids: Vec<i64> = inquiries.iter().map(|inquiry| inquiry.id).collect();
    let mut names = InquiryRepository::names(&state.pool, &ids).await?;
    let mut names_of = |id: i64| -> Option<InquiryNames> {
        let at = names.iter().position(|names| names.id == id)?;
        Some(names.swap_remove(at))
    };
    let own = caller.run().map(|run| run.execution);
    // What was removed in between is not shown.
    let views = inquiries.into_iter().filter_map(|inquiry| {
        let names = names_of(inquiry.id)?;
        let reader = if own == Some(inquiry.execution) { Reader::Asker } else { Reader::Other };
        Some(inquiry_view(inquiry, names, reader))
    });
    Ok(views.collect())
}
