//! Executions: starting, watching and cancelling runs of actions.

use std::collections::BTreeMap;
use std::time::Duration;

use attune_client::types::{
    ExecutionDetail, ExecutionRequest, ExecutionView, HistoryEntry, Page, ProblemItem,
};
use attune_common::bus::Topic;
use attune_common::models::action::Action;
use attune_common::models::execution::{
    Execution, ExecutionFilter, ExecutionStatus, NewExecution, OutputStream,
};
use attune_common::models::identity::{Scope, Subject};
use attune_common::models::inquiry::{InquiryFilter, InquiryStatus};
use attune_common::models::placement::NewPlacement;
use attune_common::repositories::{
    ActionRepository, AdmissionRepository, Change, ChangeRepository, EnforcementRepository,
    ExecutionOutputRepository, ExecutionRepository, IdentityRepository, InquiryRepository,
    PlacementRepository, ProgressRepository, ReachRepository,
};
use attune_pack::placement::{LABEL_FORM, is_label};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use serde::Deserialize;
use sqlx::PgConnection;
use tokio::time::Instant;
use utoipa::IntoParams;

use crate::auth::Caller;
use crate::cause::Cause;
use crate::check;
use crate::error::ApiError;
use crate::extract::{At, Body, Params, one_of};
use crate::handlers::progress::progress_view;
use crate::paging::{Paging, whole};
use crate::responses::{Guarded, OfOne, WithBody};
use crate::state::AppState;
use crate::views::{Masks, Waits, attempt_view, chain_view, execution_view, waiting_sentence, waiting_view};
use crate::webhook::check_storable;

/// The longest time that a request may wait for an end, in seconds.
const MAX_WAIT: u32 = 60;

/// How much of each stream the detail view shows, in bytes.
const SHOWN_OUTPUT: usize = 64 << 10;

/// A waiting request looks at least so often: a lost signal costs this much time.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// And at most so often: on a busy server something changes all the time.
pub(super) const BREATH: Duration = Duration::from_millis(20);

/// Which executions to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExecutionQuery {
    /// Only those of the action with this ref.
    action: Option<String>,
    /// `requested`, `scheduling`, `scheduled`, `running`, `completed`, `failed`, `canceling`, `cancelled`, `timeout` or
    /// `abandoned`.
    status: Option<String>,
    /// Only those of this enforcement.
    enforcement: Option<i64>,
    /// Only those that came of this event.
    event: Option<i64>,
    /// Items at most, 1 to 1000; default: 50.
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// How to show an execution.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShowQuery {
    /// Seconds to wait for the execution to end, at most 60. It is shown as it is then, ended or not.
    wait: Option<u32>,
}

/// Executions, the newest first.
#[utoipa::path(
    get,
    path = "/api/v1/executions",
    tag = "executions",
    operation_id = "list_executions",
    params(ExecutionQuery),
    responses((status = OK, body = Page<ExecutionView>), Guarded)
)]
pub(crate) async fn list(
    State(state): State<AppState>,
    caller: Caller,
    query: Result<Params<ExecutionQuery>, ApiError>,
) -> Result<Json<Page<ExecutionView>>, ApiError> {
    let scope = caller.require_some("execution", "read")?;
    let Params(query) = query?;
    let paging = Paging::new(query.limit, query.cursor.as_deref())?;
    let filter = ExecutionFilter {
        action_ref: query.action,
        status: one_of::<ExecutionStatus>("status", query.status.as_deref())?,
        enforcement: query.enforcement,
        event: query.event,
        before: paging.before,
        limit: paging.rows(),
    };
    let mut rows = match scope.reach() {
        None => ExecutionRepository::search(&state.pool, &filter).await?,
        Some(reach) => ReachRepository::executions(&state.pool, &filter, &reach).await?,
    };
    let next_cursor = paging.cut(&mut rows, |row| row.id);
    let masks = Masks::of_actions(&state.pool, rows.iter().map(|row| row.action_ref.as_str())).await?;
    let waits = Waits::of_executions(&state.pool, &rows).await?;
    let items = rows.into_iter().map(|row| execution_view(row, &masks, &waits)).collect();
    Ok(Json(Page { items, next_cursor }))
}

/// Starts an action. Its parameters are checked, and defaults filled in, before anything runs.
#[utoipa::path(
    post,
    path = "/api/v1/executions",
    tag = "executions",
    operation_id = "create_execution",
    request_body = ExecutionRequest,
    responses((status = CREATED, body = ExecutionView, description = "It will run"), WithBody)
)]
pub(crate) async fn create(
    State(state): State<AppState>,
    caller: Caller,
    headers: HeaderMap,
    body: Result<Body<ExecutionRequest>, ApiError>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<ExecutionView>), ApiError> {
    caller.require_some("execution", "create")?;
    let Body(request) = body?;
    caller.require_for("execution", "create", &Subject::of(&request.action))?;
    let Some(action) = ActionRepository::find_by_ref(&state.pool, &request.action).await? else {
        let known = ActionRepository::refs(&state.pool).await?;
        return Err(check::unknown_ref("action", &request.action, &known));
    };
    if !action.enabled {
        return Err(ApiError::conflict(format!("action {} is disabled; nothing was started", action.r#ref)));
    }
    if action.runtime.is_none() {
        return Err(ApiError::conflict(format!(
            "action {} needs the runtime {}, which is not installed; nothing was started",
            action.r#ref, action.runtime_ref
        )));
    }
    let parameters =
        check::values(&action.param_schema, request.parameters, "/parameters").map_err(|items| {
            ApiError::invalid(
                format!("the parameters do not fit action {}; nothing was started", action.r#ref),
                items,
            )
        })?;
    check_storable(&parameters)?;
    let cause = Cause::of(&state, &caller, &headers).await?;
    let asked = asked_placement(request.worker_selector, request.tolerations)?;
    let mut connection = state.pool.acquire().await?;
    let placement = placement(&mut connection, &action, asked).await?;
    let new = NewExecution {
        identity: caller.principal.identity,
        // What a run starts is its child: it is cancelled with it, and is as deep.
        parent: cause.execution,
        trace_id: Some(cause.trace_id),
        placement: Some(placement),
        ..NewExecution::of(Some(action.id), &action.r#ref, parameters)
    };
    let execution = ExecutionRepository::create(&mut connection, new).await?;
    drop(connection);
    state.bus.wake(Topic::Execution);
    state.bus.wake(Topic::Change);
    let location = [(header::LOCATION, format!("/api/v1/executions/{}", execution.id))];
    Ok((StatusCode::CREATED, location, Json(view(&state, execution).await?)))
}

/// Refuses with 403 unless the execution is the caller's own, or the action on it is granted.
pub(super) async fn require_on(
    state: &AppState,
    caller: &Caller,
    id: i64,
    action: &str,
) -> Result<(), ApiError> {
    let scope = caller.require_own(id, "execution", action)?;
    require_within(state, id, action, &scope).await
}

/// Refuses with 403 what is not within the scope; the execution is read only where that depends on it.
async fn require_within(state: &AppState, id: i64, action: &str, scope: &Scope) -> Result<(), ApiError> {
    if *scope == Scope::Everything {
        return Ok(());
    }
    let execution = ExecutionRepository::get_by_id(&state.pool, id).await?;
    if scope.holds(&subject(&execution)) {
        return Ok(());
    }
    Err(ApiError::out_of_reach("execution", action, Some(&execution.action_ref)))
}

fn subject(execution: &Execution) -> Subject<'_> {
    Subject { r#ref: &execution.action_ref, identity: execution.identity, parent: execution.parent }
}

/// Where a request wants its execution to run; every label that cannot be one is reported.
fn asked_placement(
    selector: BTreeMap<String, String>,
    tolerations: Vec<String>,
) -> Result<NewPlacement, ApiError> {
    let labels = selector.iter().flat_map(|(name, value)| {
        let pointer = format!("/worker_selector{}", attune_expr::pointer::child("", name));
        [(name, pointer.clone()), (value, pointer)]
    });
    let taints = tolerations.iter().enumerate().map(|(at, taint)| (taint, format!("/tolerations/{at}")));
    let fault = |(text, pointer): (&String, String)| ProblemItem {
        detail: format!("{text:?} is no label"),
        pointer: Some(pointer),
        expected: Some(LABEL_FORM.to_owned()),
        ..ProblemItem::default()
    };
    let faults: Vec<_> = labels.chain(taints).filter(|(text, _)| !is_label(text)).map(fault).collect();
    if !faults.is_empty() {
        return Err(ApiError::invalid("the placement is not valid; nothing was started", faults));
    }
    Ok(NewPlacement { selector, tolerations })
}

/// The placement of an execution: its action's, with what is asked for besides.
async fn placement(
    connection: &mut PgConnection,
    action: &Action,
    asked: NewPlacement,
) -> Result<i64, ApiError> {
    if asked == NewPlacement::default() {
        return Ok(action.placement);
    }
    let own = PlacementRepository::get_by_id(&mut *connection, action.placement).await?;
    let mut wanted = NewPlacement { selector: own.selector, tolerations: own.tolerations };
    wanted.selector.extend(asked.selector);
    wanted.tolerations.extend(asked.tolerations);
    Ok(PlacementRepository::put(connection, &wanted).await?.id)
}

/// The statuses that an execution took, in their order: what the change feed tells of it.
#[utoipa::path(
    get,
    path = "/api/v1/executions/{id}/history",
    tag = "executions",
    operation_id = "execution_history",
    params(("id" = i64, Path)),
    responses((status = OK, body = Page<HistoryEntry>), OfOne)
)]
pub(crate) async fn history(
    State(state): State<AppState>,
    caller: Caller,
    At(id): At<i64>,
) -> Result<Json<Page<HistoryEntry>>, ApiError> {
    require_on(&state, &caller, id, "read").await?;
    if ExecutionRepository::standing(&state.pool, id).await?.is_none() {
        return Err(ApiError::not_found(format!("execution {id} does not exist")));
    }
    let changes = ChangeRepository::of_entity(&state.pool, "execution", id).await?;
    let entry = |change: Change| HistoryEntry { status: change.activity, at: change.created };
    Ok(Json(whole(changes.into_iter().map(entry).collect())))
}

/// One execution with the chain that it came from; with `wait`, as soon as it has ended.
#[utoipa::path(
    get,
    path = "/api/v1/executions/{id}",
    tag = "executions",
    operation_id = "show_execution",
    params(("id" = i64, Path), ShowQuery),
    responses((status = OK, body = ExecutionDetail), OfOne)
)]
pub(crate) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    At(id): At<i64>,
    query: Result<Params<ShowQuery>, ApiError>,
) -> Result<Json<ExecutionDetail>, ApiError> {
    require_on(&state, &caller, id, "read").await?;
    let Params(query) = query?;
    if let Some(patience) = patience(query.wait)? {
        wait_for_end(&state, id, patience).await?;
    }
    let execution = ExecutionRepository::get_by_id(&state.pool, id).await?;
    Ok(Json(detail(&state, execution).await?))
}

/// How long a request wants to wait.
pub(super) fn patience(wait: Option<u32>) -> Result<Option<Duration>, ApiError> {
    match wait {
        Some(seconds) if seconds > MAX_WAIT => {
            Err(ApiError::bad_request(format!("`wait` is {seconds}; it may be up to {MAX_WAIT} seconds")))
        }
        seconds => Ok(seconds.map(|seconds| Duration::from_secs(seconds.into()))),
    }
}

/// Waits until the execution has ended, the time is up, or the server stops.
async fn wait_for_end(state: &AppState, id: i64, patience: Duration) -> Result<(), ApiError> {
    let until = Instant::now() + patience;
    // Before the first look, so that no end falls between the look and the wait.
    let mut changes = state.bus.subscribe(Topic::Change);
    loop {
        match ExecutionRepository::standing(&state.pool, id).await? {
            // That there is none is said by whoever reads it in full.
            None => return Ok(()),
            Some((status, _)) if status.is_terminal() => return Ok(()),
            Some(_) => {}
        }
        let rested = Instant::now() + BREATH;
        tokio::select! {
            () = changes.woken() => {}
            () = tokio::time::sleep(LOOK) => {}
            () = tokio::time::sleep_until(until) => return Ok(()),
            () = state.shutdown.cancelled() => return Ok(()),
        }
        tokio::time::sleep_until(rested).await;
    }
}

/// Cancels an execution with all that it began: at once what waits, through its worker what runs.
#[utoipa::path(
    post,
    path = "/api/v1/executions/{id}/cancel",
    tag = "executions",
    operation_id = "cancel_execution",
    params(("id" = i64, Path)),
    responses(
        (status = OK, body = ExecutionView, description = "It is cancelled, or will be"),
        (status = CONFLICT, body = attune_client::types::Problem, content_type = "application/problem+json",
            description = "It had ended before"),
        OfOne,
    )
)]
pub(crate) async fn cancel(
    State(state): State<AppState>,
    caller: Caller,
    At(id): At<i64>,
) -> Result<Json<ExecutionView>, ApiError> {
    let scope = caller.require_some("execution", "cancel")?;
    require_within(&state, id, "cancel", &scope).await?;
    let mut transaction = attune_common::db::begin(&state.pool).await?;
    let status = ExecutionRepository::cancel(&mut transaction, id)
        .await?
        .ok_or_else(|| ApiError::not_found(format!("execution {id} does not exist")))?;
    // Whoever waits for an answer learns that none will come.
    InquiryRepository::cancel_with(&mut *transaction, id).await?;
    transaction.commit().await?;
    if status.is_terminal() && status != ExecutionStatus::Cancelled {
        return Err(ApiError::conflict(format!("execution {id} had ended before, as {status}")));
    }
    state.bus.wake(Topic::Cancel);
    state.bus.wake(Topic::Change);
    let execution = ExecutionRepository::get_by_id(&state.pool, id).await?;
    Ok(Json(view(&state, execution).await?))
}

async fn view(state: &AppState, execution: Execution) -> Result<ExecutionView, ApiError> {
    let masks = Masks::of_actions(&state.pool, std::iter::once(execution.action_ref.as_str())).await?;
    let waits = Waits::of_executions(&state.pool, std::slice::from_ref(&execution)).await?;
    Ok(execution_view(execution, &masks, &waits))
}

async fn detail(state: &AppState, execution: Execution) -> Result<ExecutionDetail, ApiError> {
    let (id, attempt) = (execution.id, execution.attempt);
    let chain = match execution.enforcement {
        Some(enforcement) => {
            EnforcementRepository::find_by_id(&state.pool, enforcement).await?.map(chain_view)
        }
        None => None,
    };
    let started_by = match execution.identity {
        Some(identity) => {
            IdentityRepository::find_by_id(&state.pool, identity).await?.map(|found| found.login)
        }
        None => match execution.parent {
            Some(parent) => parent_name(state, parent).await?,
            None => None,
        },
    };
    let attempts = ExecutionRepository::attempts(&state.pool, id).await?;
    let admission = match execution.status {
        ExecutionStatus::Requested => {
            AdmissionRepository::waiting(&mut *state.pool.acquire().await?, id).await?.map(waiting_view)
        }
        _ => None,
    };
    let asked = match execution.status {
        ExecutionStatus::Running => pending_inquiry(state, id).await?,
        _ => None,
    };
    let progress = ProgressRepository::find(&state.pool, id, attempt).await?.map(progress_view);
    let mut view = view(state, execution).await?;
    // A pause comes first: it can be ended.
    view.waiting = view
        .waiting
        .or_else(|| admission.as_ref().map(waiting_sentence))
        .or_else(|| asked.map(|inquiry| format!("for an answer to inquiry {inquiry}")));
    Ok(ExecutionDetail {
        execution: view,
        chain,
        started_by,
        attempts: attempts.into_iter().map(attempt_view).collect(),
        admission,
        progress,
        stdout: head(state, id, attempt, OutputStream::Stdout).await?,
        stderr: head(state, id, attempt, OutputStream::Stderr).await?,
    })
}

/// The latest question that an execution waits for an answer to.
async fn pending_inquiry(state: &AppState, execution: i64) -> Result<Option<i64>, ApiError> {
    let filter = InquiryFilter {
        execution: Some(execution),
        status: Some(InquiryStatus::Pending),
        limit: 1,
        ..InquiryFilter::default()
    };
    let asked = InquiryRepository::search(&state.pool, &filter).await?;
    Ok(asked.first().map(|inquiry| inquiry.id))
}

/// What an execution that another one started says of it.
async fn parent_name(state: &AppState, parent: i64) -> Result<Option<String>, ApiError> {
    let parent = ExecutionRepository::find_by_id(&state.pool, parent).await?;
    Ok(parent.map(|parent| format!("execution {} of {}", parent.id, parent.action_ref)))
}

/// The beginning of what an attempt wrote to one stream, as text.
async fn head(state: &AppState, id: i64, attempt: i32, stream: OutputStream) -> Result<String, ApiError> {
    let chunks =
        ExecutionOutputRepository::head(&state.pool, id, attempt, stream, SHOWN_OUTPUT as i64).await?;
    let mut bytes: Vec<u8> = chunks.into_iter().flat_map(|chunk| chunk.content).collect();
    bytes.truncate(SHOWN_OUTPUT);
    let whole = whole_characters(&bytes);
    Ok(String::from_utf8_lossy(&bytes[..whole]).into_owned())
}

/// How many of the bytes are left when a character that was cut off at the end is taken away. Bytes that cannot become a
/// character stay.
pub(super) fn whole_characters(bytes: &[u8]) -> usize {
    // A character has up to four bytes, so only the last three can be the beginning of one.
    let from = bytes.len().saturating_sub(3);
    match bytes[from..].iter().rposition(|byte| byte & 0b1100_0000 == 0b1100_0000) {
        Some(at) => match std::str::from_utf8(&bytes[from + at..]) {
            Err(error) if error.error_len().is_none() => from + at,
            _ => bytes.len(),
        },
        None => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_a_cut_character_is_taken_away_and_nothing_else() {
        let text = "a€😀";
        for cut in 0..=text.len() {
            let bytes = &text.as_bytes()[..cut];
            let whole = whole_characters(bytes);
            assert!(std::str::from_utf8(&bytes[..whole]).is_ok() && cut - whole < 4, "{cut}");
        }
        assert_eq!(whole_characters(text.as_bytes()), text.len());
        assert_eq!(whole_characters(b"a\xff"), 2);
        assert_eq!(whole_characters(b"\x80\x80\x80"), 3);
        assert_eq!(whole_characters(b""), 0);
    }
}
