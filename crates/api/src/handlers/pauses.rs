//! Pauses: actions, packs or everything that does not run for now. Events are accepted and matched all the same.

use attune_client::types::{Page, PauseRequest, PauseView, ProblemItem};
use attune_common::bus::Topic;
use attune_common::error::StoreError;
use attune_common::models::pause::{NewPause, PauseScope};
use attune_common::repositories::{ActionRepository, PackRepository, PauseRepository};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};

use crate::auth::Caller;
use crate::check;
use crate::error::ApiError;
use crate::extract::{At, Body};
use crate::paging::whole;
use crate::responses::{Guarded, OfOne, WithBody};
use crate::state::AppState;
use crate::views::pause_view;
use crate::webhook::check_storable;

/// What is paused, the oldest pause first.
#[utoipa::path(
    get,
    path = "/api/v1/pauses",
    tag = "pauses",
    operation_id = "list_pauses",
    responses((status = OK, body = Page<PauseView>), Guarded)
)]
pub(crate) async fn list(
    State(state): State<AppState>,
    caller: Caller,
) -> Result<Json<Page<PauseView>>, ApiError> {
    caller.require("pause", "read")?;
    let pauses = PauseRepository::list(&state.pool).await?;
    Ok(Json(whole(pauses.into_iter().map(pause_view).collect())))
}

/// Pauses an action, a pack or everything. What runs goes on; what waits and what comes waits until the pause is ended.
#[utoipa::path(
    post,
    path = "/api/v1/pauses",
    tag = "pauses",
    operation_id = "create_pause",
    request_body = PauseRequest,
    responses((status = CREATED, body = PauseView), WithBody)
)]
pub(crate) async fn create(
    State(state): State<AppState>,
    caller: Caller,
    body: Result<Body<PauseRequest>, ApiError>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<PauseView>), ApiError> {
    caller.require("pause", "create")?;
    let Body(request) = body?;
    check_storable(&serde_json::json!(request.reason))?;
    let scope = match (request.action, request.pack, request.all) {
        (Some(action), None, false) => {
            if ActionRepository::find_by_ref(&state.pool, &action).await?.is_none() {
                let known = ActionRepository::refs(&state.pool).await?;
                return Err(check::unknown_ref("action", &action, &known));
            }
            PauseScope::Action(action)
        }
        (None, Some(pack), false) => {
            if PackRepository::find_by_ref(&state.pool, &pack).await?.is_none() {
                let known = PackRepository::list(&state.pool).await?;
                let known: Vec<_> = known.into_iter().map(|pack| pack.r#ref).collect();
                return Err(check::unknown_ref("pack", &pack, &known));
            }
            PauseScope::Pack(pack)
        }
        (None, None, true) => PauseScope::Everything,
        _ => {
            let detail = "it does not say what is to be paused";
            let item = ProblemItem {
                detail: detail.to_owned(),
                expected: Some("exactly one of `action`, `pack` and `all: true`".to_owned()),
                ..ProblemItem::default()
            };
            return Err(ApiError::invalid(
                format!("{detail}; give one of `action`, `pack` and `all`"),
                vec![item],
            ));
        }
    };
    let new = NewPause {
        scope,
        reason: request.reason,
        identity: caller.principal.identity,
        login: Some(caller.principal.login.clone()),
    };
    let pause = match PauseRepository::create(&state.pool, &new).await {
        Ok(pause) => pause,
        Err(StoreError::AlreadyExists { .. }) => {
            return Err(ApiError::conflict(format!("{} is paused already", new.scope)));
        }
        Err(error) => return Err(error.into()),
    };
    tracing::info!(scope = %new.scope, by = pause.login, "paused");
    state.bus.wake(Topic::Definition);
    let location = [(header::LOCATION, format!("/api/v1/pauses/{}", pause.id))];
    Ok((StatusCode::CREATED, location, Json(pause_view(pause))))
}

/// One pause.
#[utoipa::path(
    get,
    path = "/api/v1/pauses/{id}",
    tag = "pauses",
    operation_id = "show_pause",
    params(("id" = i64, Path)),
    responses((status = OK, body = PauseView), OfOne)
)]
pub(crate) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    At(id): At<i64>,
) -> Result<Json<PauseView>, ApiError> {
    caller.require("pause", "read")?;
    Ok(Json(pause_view(PauseRepository::get_by_id(&state.pool, id).await?)))
}

/// Ends a pause: what waited for it runs, unless another pause holds it.
#[utoipa::path(
    delete,
    path = "/api/v1/pauses/{id}",
    tag = "pauses",
    operation_id = "delete_pause",
    params(("id" = i64, Path)),
    responses((status = NO_CONTENT, description = "The pause is over"), OfOne)
)]
pub(crate) async fn delete(
    State(state): State<AppState>,
    caller: Caller,
    At(id): At<i64>,
) -> Result<StatusCode, ApiError> {
    caller.require("pause", "delete")?;
    if !PauseRepository::delete(&state.pool, id).await? {
        return Err(ApiError::not_found(format!("pause {id} does not exist")));
    }
    tracing::info!(pause = id, "resumed");
    state.bus.wake(Topic::Definition);
    state.bus.wake(Topic::Execution);
    Ok(StatusCode::NO_CONTENT)
}
