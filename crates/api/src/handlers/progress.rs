//! How far runs have come, as they say themselves.

use attune_client::types::{ProblemItem, ProgressRequest, ProgressStep, ProgressView};
use attune_common::models::execution::ExecutionStatus;
use attune_common::models::progress::{NewProgress, Progress, Step};
use attune_common::repositories::ExecutionRepository;
use attune_expr::masking::Masker;
use attune_expr::suggest::nearest;
use axum::extract::State;
use axum::http::StatusCode;

use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{At, Body};
use crate::handlers::executions::require_on;
use crate::responses::{OfOne, WithBody};
use crate::run_masking::masker_of;
use crate::state::AppState;
use crate::webhook::check_storable;

const LONGEST_MESSAGE: usize = 1000;
const MOST_STEPS: usize = 100;
const LONGEST_NAME: usize = 200;

/// What a step can be.
const STATUSES: [&str; 5] = ["pending", "running", "done", "failed", "skipped"];

/// Says how far a run has come; it takes the place of what was said before. Shown with the execution and in its stream a
/// moment later. A run may say so of itself.
#[utoipa::path(
    put,
    path = "/api/v1/executions/{id}/progress",
    tag = "executions",
    operation_id = "put_execution_progress",
    params(("id" = i64, Path)),
    request_body = ProgressRequest,
    responses(
        (status = ACCEPTED, description = "It will be shown, unless more is said before"),
        WithBody,
        OfOne,
    )
)]
pub(crate) async fn put(
    State(state): State<AppState>,
    caller: Caller,
    At(id): At<i64>,
    body: Result<Body<ProgressRequest>, ApiError>,
) -> Result<StatusCode, ApiError> {
    require_on(&state, &caller, id, "update").await?;
    let Body(request) = body?;
    check(&request)?;
    let (attempt, masker) = match caller.run().filter(|run| run.execution == id) {
        // That it runs is known from its token.
        Some(run) => (run.attempt, masker_of(&state, run).await?),
        None => match ExecutionRepository::standing(&state.pool, id).await? {
            None => return Err(ApiError::not_found(format!("execution {id} does not exist"))),
            Some((ExecutionStatus::Running | ExecutionStatus::Canceling, attempt)) => {
                (attempt, Masker::nothing())
            }
            Some((status, _)) => {
                return Err(ApiError::conflict(format!(
                    "execution {id} is {status}; only what runs makes progress"
                )));
            }
        },
    };
    let step = |step: ProgressStep| Step { name: masker.text(&step.name), status: step.status };
    state.progress.put(NewProgress {
        execution: id,
        attempt,
        percent: request.percent,
        message: request.message.map(|message| masker.text(&message)),
        steps: request.steps.map(|steps| steps.into_iter().map(step).collect()),
    });
    Ok(StatusCode::ACCEPTED)
}

fn check(request: &ProgressRequest) -> Result<(), ApiError> {
    let mut faults = Vec::new();
    if request.percent.is_none() && request.message.is_none() && request.steps.is_none() {
        faults.push(fault(
            "",
            "nothing is said".to_owned(),
            "at least one of `percent`, `message` and `steps`",
        ));
    }
    if let Some(percent) = request.percent.filter(|percent| !(0.0..=100.0).contains(percent)) {
        faults.push(fault("/percent", format!("{percent} is no percentage"), "a number from 0 to 100"));
    }
    let message = request.message.iter().map(|text| ("/message".to_owned(), text, LONGEST_MESSAGE));
    let steps = request.steps.as_deref().unwrap_or_default();
    let names =
        steps.iter().enumerate().map(|(at, step)| (format!("/steps/{at}/name"), &step.name, LONGEST_NAME));
    for (pointer, text, longest) in message.chain(names) {
        let length = text.chars().count();
        if length > longest {
            let detail = format!("it has {length} characters");
            faults.push(fault(&pointer, detail, &format!("{longest} characters at most")));
        }
    }
    if steps.len() > MOST_STEPS {
        faults.push(fault(
            "/steps",
            format!("there are {} steps", steps.len()),
            &format!("{MOST_STEPS} at most"),
        ));
    }
    for (at, step) in steps.iter().enumerate() {
        if !STATUSES.contains(&step.status.as_str()) {
            let detail = format!("{:?} is no status of a step", step.status);
            let expected = format!("one of {}", STATUSES.map(|status| format!("`{status}`")).join(", "));
            let suggestion = nearest(&step.status, STATUSES).map(str::to_owned);
            let item = fault(&format!("/steps/{at}/status"), detail, &expected);
            faults.push(ProblemItem { suggestion, ..item });
        }
    }
    if !faults.is_empty() {
        return Err(ApiError::invalid("the progress is not valid; nothing was changed", faults));
    }
    let texts = request.message.iter().chain(steps.iter().map(|step| &step.name));
    for text in texts {
        check_storable(&serde_json::Value::String(text.clone()))?;
    }
    Ok(())
}

fn fault(pointer: &str, detail: String, expected: &str) -> ProblemItem {
    ProblemItem {
        detail,
        pointer: Some(pointer.to_owned()),
        expected: Some(expected.to_owned()),
        ..ProblemItem::default()
    }
}

pub(crate) fn progress_view(progress: Progress) -> ProgressView {
    let step = |step: Step| ProgressStep { name: step.name, status: step.status };
    ProgressView {
        attempt: progress.attempt,
        percent: progress.percent,
        message: progress.message,
        steps: progress.steps.unwrap_or_default().into_iter().map(step).collect(),
        updated: progress.updated,
    }
}
