//! Packs.

use attune_client::types::{PackDetail, PackInstalled, PackView, Page, ProblemItem};
use attune_common::models::pack::Pack;
use attune_common::repositories::{
    ActionRepository, PackRepository, PermissionRepository, PolicyRepository, RuleRepository,
    RuntimeRepository, SensorRepository, TriggerRepository, WorkQueueRepository,
};
use attune_pack::{Finding, PackDefinition};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{At, Params};
use crate::install::{self, ArchiveError, InstallError, InstallOptions, Limits, Outcome, RemoveError};
use crate::paging::whole;
use crate::responses::{Guarded, OfOne, WithBody};
use crate::state::AppState;
use crate::views::{pack_view, webhook_address};

/// How to install a pack.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct InstallQuery {
    /// Where the pack came from, for people to read.
    source: Option<String>,
}

/// All packs, by ref.
#[utoipa::path(
    get,
    path = "/api/v1/packs",
    tag = "packs",
    operation_id = "list_packs",
    responses((status = OK, body = Page<PackView>), Guarded)
)]
pub(crate) async fn list(
    State(state): State<AppState>,
    caller: Caller,
) -> Result<Json<Page<PackView>>, ApiError> {
    caller.require("pack", "read")?;
    let packs = PackRepository::list(&state.pool).await?;
    Ok(Json(whole(packs.into_iter().map(pack_view).collect())))
}

/// One pack with the refs of all that it defines.
#[utoipa::path(
    get,
    path = "/api/v1/packs/{ref}",
    tag = "packs",
    operation_id = "show_pack",
    params(("ref" = String, Path)),
    responses((status = OK, body = PackDetail), OfOne)
)]
pub(crate) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    At(pack_ref): At<String>,
) -> Result<Json<PackDetail>, ApiError> {
    caller.require("pack", "read")?;
    let pack = PackRepository::get_by_ref(&state.pool, &pack_ref).await?;
    Ok(Json(detail(&state, pack).await?))
}

/// Installs or upgrades a pack from a gzipped tar archive of its directory. Either all of it takes effect or nothing;
/// every fault in its files is reported with file, line and column.
#[utoipa::path(
    post,
    path = "/api/v1/packs",
    tag = "packs",
    operation_id = "install_pack",
    params(InstallQuery),
    request_body(content = Vec<u8>, content_type = "application/gzip", description = "tar.gz of the pack's directory"),
    responses(
        (status = CREATED, body = PackInstalled, description = "The pack is new"),
        (status = OK, body = PackInstalled, description = "It was upgraded, or was the same already"),
        WithBody,
    )
)]
pub(crate) async fn install(
    State(state): State<AppState>,
    caller: Caller,
    query: Result<Params<InstallQuery>, ApiError>,
    headers: HeaderMap,
    request: Request,
) -> Result<(StatusCode, Json<PackInstalled>), ApiError> {
    // Before the body is read: whoever may not install does not get to fill the memory.
    caller.require("pack", "create")?;
    let Params(query) = query?;
    check_content_type(&headers)?;
    let max = state.settings.max_pack_bytes;
    let archive =
        Bytes::from_request(request, &state).await.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => ApiError::too_large(format!(
                "a pack archive may have up to {max} bytes; nothing was installed"
            )),
            _ => ApiError::bad_request(rejection.body_text()),
        })?;
    // Unpacking and reading take as long as the archive is large.
    let read = tokio::task::spawn_blocking(move || {
        let files = install::unpack(&archive, Limits::of(max)).map_err(unpack_problem)?;
        let definition = attune_pack::read(&files).map_err(|findings| findings_problem(&findings))?;
        Ok::<_, ApiError>((definition, files))
    });
    let (definition, files) = read.await.map_err(ApiError::internal)??;
    if let Some(refusal) = exceeding(&definition, &caller) {
        return Err(refusal);
    }
    let options = InstallOptions { source: query.source, is_standard: false };
    let installed = install::install(&state.pool, &state.bus, &definition, &files, options).await?;
    state.definitions_changed().await;
    let pack = installed.pack.id;
    let webhooks = if caller.principal.may("webhook", "read") {
        let triggers = TriggerRepository::list_of_pack(&state.pool, pack).await?;
        triggers.iter().filter_map(webhook_address).collect()
    } else {
        Vec::new()
    };
    let status = match installed.outcome {
        Outcome::Installed => StatusCode::CREATED,
        Outcome::Upgraded | Outcome::Unchanged => StatusCode::OK,
    };
    let pack = detail(&state, installed.pack).await?;
    Ok((status, Json(PackInstalled { pack, outcome: installed.outcome.as_str().to_owned(), webhooks })))
}

/// Removes a pack with all that it defines. Refused for the packs that ship with Attune, and while something outside of
/// the pack uses it.
#[utoipa::path(
    delete,
    path = "/api/v1/packs/{ref}",
    tag = "packs",
    operation_id = "remove_pack",
    params(("ref" = String, Path)),
    responses(
        (status = NO_CONTENT, description = "The pack is gone"),
        (status = CONFLICT, body = attune_client::types::Problem, content_type = "application/problem+json",
            description = "It ships with Attune, or is in use: `errors` says by what"),
        OfOne,
    )
)]
pub(crate) async fn remove(
    State(state): State<AppState>,
    caller: Caller,
    At(pack_ref): At<String>,
) -> Result<StatusCode, ApiError> {
    caller.require("pack", "delete")?;
    install::remove(&state.pool, &state.bus, &pack_ref).await?;
    state.definitions_changed().await;
    Ok(StatusCode::NO_CONTENT)
}

async fn detail(state: &AppState, pack: Pack) -> Result<PackDetail, ApiError> {
    let (pool, id) = (&state.pool, pack.id);
    let runtimes = RuntimeRepository::list_of_pack(pool, id).await?;
    let actions = ActionRepository::list_of_pack(pool, id).await?;
    let triggers = TriggerRepository::list_of_pack(pool, id).await?;
    let sensors = SensorRepository::list_of_pack(pool, id).await?;
    let rules = RuleRepository::list_of_pack(pool, id).await?;
    let permission_sets = PermissionRepository::list_of_pack(pool, id).await?;
    let policies = PolicyRepository::list_of_pack(pool, id).await?;
    let queues = WorkQueueRepository::list_of_pack(pool, id).await?;
    Ok(PackDetail {
        pack: pack_view(pack),
        runtimes: runtimes.into_iter().map(|row| row.r#ref).collect(),
        actions: actions.into_iter().map(|row| row.r#ref).collect(),
        triggers: triggers.into_iter().map(|row| row.r#ref).collect(),
        sensors: sensors.into_iter().map(|row| row.r#ref).collect(),
        rules: rules.into_iter().map(|row| row.r#ref).collect(),
        permission_sets: permission_sets.into_iter().map(|row| row.r#ref).collect(),
        policies: policies.into_iter().map(|row| row.r#ref).collect(),
        queues: queues.into_iter().map(|row| row.r#ref).collect(),
    })
}

/// The refusal of a pack whose actions may do what its installer may not: whoever could install it could do so through them.
fn exceeding(definition: &PackDefinition, caller: &Caller) -> Option<ApiError> {
    let asked = definition.actions.iter().flat_map(|action| {
        let grants = action.permissions.iter();
        grants.flat_map(move |grant| grant.actions.iter().map(move |allowed| (action, grant, allowed)))
    });
    let exceeding =
        asked.filter(|(_, grant, allowed)| !caller.principal.may(&grant.resource.value, &allowed.value));
    let items: Vec<ProblemItem> = exceeding
        .map(|(action, grant, allowed)| ProblemItem {
            detail: format!(
                "{} asks for `{}` on `{}`, which you may not do yourself",
                action.r#ref, allowed.value, grant.resource.value
            ),
            file: Some(allowed.file.clone()),
            line: usize::try_from(allowed.line).ok(),
            column: usize::try_from(allowed.column).ok(),
            ..ProblemItem::default()
        })
        .collect();
    (!items.is_empty()).then(|| {
        ApiError::exceeding(
            "the permissions of the pack's actions exceed your own; nothing was installed, and somebody who has them can",
            items,
        )
    })
}

fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match given.split(';').next().unwrap_or_default().trim() {
        "application/gzip" | "application/x-gzip" | "application/tar+gzip" => Ok(()),
        _ => Err(ApiError::unsupported_media_type(
            "send the pack as a gzipped tar archive with `content-type: application/gzip`",
        )),
    }
}

fn unpack_problem(error: ArchiveError) -> ApiError {
    let message = format!("{error}; nothing was installed");
    match error {
        ArchiveError::Unreadable(_) => ApiError::bad_request(message),
        ArchiveError::TooLarge(_) | ArchiveError::TooManyFiles(_) => ApiError::too_large(message),
        ArchiveError::Empty => ApiError::invalid(message, Vec::new()),
        ArchiveError::Entry { path, message: detail } => {
            let item = ProblemItem { detail, file: Some(path), ..ProblemItem::default() };
            ApiError::invalid("the archive cannot be a pack; nothing was installed", vec![item])
        }
    }
}

fn findings_problem(findings: &[Finding]) -> ApiError {
    let count = findings.len();
    let faults = if count == 1 { "a fault".to_owned() } else { format!("{count} faults") };
    let items = findings.iter().map(|finding| ProblemItem {
        detail: finding.message.clone(),
        pointer: Some(finding.pointer.clone()).filter(|pointer| !pointer.is_empty()),
        file: Some(finding.file.clone()),
        line: usize::try_from(finding.line).ok(),
        column: usize::try_from(finding.column).ok(),
        expected: finding.expected.clone(),
        suggestion: finding.suggestion.clone(),
    });
    ApiError::invalid(format!("the pack has {faults}; nothing was installed"), items.collect())
}

impl From<InstallError> for ApiError {
    fn from(error: InstallError) -> Self {
        match error {
            InstallError::Invalid(findings) => findings_problem(&findings),
            InstallError::Store(error) => error.into(),
        }
    }
}

impl From<RemoveError> for ApiError {
    fn from(error: RemoveError) -> Self {
        let message = error.to_string();
        match error {
            RemoveError::Standard { uses, .. } | RemoveError::InUse { uses, .. } => {
                let items = uses.into_iter().map(|detail| ProblemItem { detail, ..ProblemItem::default() });
                Self::conflict(message).with_errors(items.collect())
            }
            RemoveError::Store(error) => error.into(),
        }
    }
}
