//! Artifacts: what runs leave.

use attune_client::types::{ArtifactDetail, ArtifactVersionView, ArtifactView, Page, ProblemItem};
use attune_common::StoreError;
use attune_common::artifact_content::{self, Left, OfAction, Target, is_name};
use attune_common::models::artifact::{
    Artifact, ArtifactFilter, ArtifactOwner, ArtifactScope, ArtifactType, ArtifactVersion, NewArtifact,
    Retention,
};
use attune_common::models::identity::Subject;
use attune_common::models::owner::OwnerType;
use attune_common::repositories::{ArtifactRepository, ExecutionRepository, PackRepository};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::artifact::{self, Upload, artifact_view, version_view};
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{At, Params, one_of};
use crate::paging::{RefPaging, whole};
use crate::refs::is_component_ref;
use crate::responses::{Guarded, OfOne, Uploading};
use crate::run_masking::masker_of_caller;
use crate::state::AppState;

/// Which artifacts to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ArtifactQuery {
    /// Only those of the action or pack with this ref.
    owner: Option<String>,
    /// `file`, `table` or `link`.
    #[serde(rename = "type")]
    artifact_type: Option<String>,
    /// Only those whose ref contains this.
    #[serde(rename = "match")]
    text: Option<String>,
    /// Items at most, 1 to 1000; default: 50.
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// What is said of a content that is left.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ContentQuery {
    /// `file`, `table` or `link`; default: what the action declares, what the artifact is already, or `file`.
    #[serde(rename = "type")]
    artifact_type: Option<String>,
    /// `action`: the next version of what runs of the action leave under this name; `execution`: of what this one does. Default:
    /// what the action declares, or `action`. For artifacts of executions only.
    scope: Option<String>,
    /// What it is called, as the name of a file.
    label: Option<String>,
    /// Only so many of the newest versions are kept.
    keep_versions: Option<i32>,
    /// Versions are kept for so many days; default where no action declares it: 30.
    keep_days: Option<i32>,
}

/// Artifacts, by ref.
#[utoipa::path(
    get,
    path = "/api/v1/artifacts",
    tag = "artifacts",
    operation_id = "list_artifacts",
    params(ArtifactQuery),
    responses((status = OK, body = Page<ArtifactView>), Guarded)
)]
pub(crate) async fn list(
    State(state): State<AppState>,
    caller: Caller,
    query: Result<Params<ArtifactQuery>, ApiError>,
) -> Result<Json<Page<ArtifactView>>, ApiError> {
    let scope = caller.require_some("artifact", "read")?;
    let Params(query) = query?;
    let paging = RefPaging::new(query.limit, query.cursor.as_deref())?;
    let filter = ArtifactFilter {
        owner_type: None,
        owner: query.owner,
        artifact_type: one_of::<ArtifactType>("type", query.artifact_type.as_deref())?,
        text: query.text,
        reach: scope.reach(),
        after: query.cursor,
        limit: paging.rows(),
    };
    let mut rows = ArtifactRepository::search(&state.pool, &filter).await?;
    let next_cursor = paging.cut(&mut rows, |row| row.r#ref.clone());
    let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
    let mut latest = ArtifactRepository::list_latest_versions(&state.pool, &ids).await?;
    let mut latest_of = |artifact: i64| {
        let at = latest.iter().position(|version| version.artifact == artifact)?;
        Some(latest.swap_remove(at))
    };
    let items = rows.into_iter().map(|row| {
        let latest = latest_of(row.id);
        artifact_view(row, latest)
    });
    Ok(Json(Page { items: items.collect(), next_cursor }))
}

/// One artifact with its versions. A run may see those of its own action.
#[utoipa::path(
    get,
    path = "/api/v1/artifacts/{ref}",
    tag = "artifacts",
    operation_id = "show_artifact",
    params(("ref" = String, Path)),
    responses((status = OK, body = ArtifactDetail), OfOne)
)]
pub(crate) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    At(artifact_ref): At<String>,
) -> Result<Json<ArtifactDetail>, ApiError> {
    let artifact = readable(&state, &caller, &artifact_ref).await?;
    let versions = ArtifactRepository::list_versions(&state.pool, artifact.id).await?;
    let latest = versions.first().cloned();
    let versions = versions.into_iter().map(|version| version_view(&artifact_ref, version)).collect();
    Ok(Json(ArtifactDetail { artifact: artifact_view(artifact, latest), versions }))
}

/// The content of a version; `latest` stands for the newest. Takes `Range`, `If-Range` and `If-None-Match`; the `ETag` is the
/// SHA-256 of the content. A run may read those of its own action.
#[utoipa::path(
    get,
    path = "/api/v1/artifacts/{ref}/versions/{version}",
    tag = "artifacts",
    operation_id = "download_artifact",
    params(
        ("ref" = String, Path),
        ("version" = String, Path, description = "A number, or `latest`"),
        ("Range" = Option<String>, Header, description = "One range of bytes"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of the content that the caller has"),
    ),
    responses(
        (status = OK, content((Vec<u8> = "application/octet-stream"))),
        (status = PARTIAL_CONTENT, content((Vec<u8> = "application/octet-stream"))),
        (status = NOT_MODIFIED, description = "It is what the caller has"),
        (status = RANGE_NOT_SATISFIABLE, body = attune_client::types::Problem,
            content_type = "application/problem+json", description = "There is nothing at that place"),
        OfOne,
    )
)]
pub(crate) async fn download(
    State(state): State<AppState>,
    caller: Caller,
    At((artifact_ref, version)): At<(String, String)>,
    headers: HeaderMap,
) -> Result<Response<Body>, ApiError> {
    let artifact = readable(&state, &caller, &artifact_ref).await?;
    let found = match version.as_str() {
        "latest" => ArtifactRepository::find_latest_version(&state.pool, artifact.id).await?,
        number => ArtifactRepository::find_version(&state.pool, artifact.id, version_number(number)?).await?,
    };
    let found = found.ok_or_else(|| no_version(&artifact_ref, &version))?;
    artifact::send(state.pool, &artifact, &found, &headers)
}

/// The versions that an execution left, in their order.
#[utoipa::path(
    get,
    path = "/api/v1/executions/{id}/artifacts",
    tag = "artifacts",
    operation_id = "list_execution_artifacts",
    params(("id" = i64, Path)),
    responses((status = OK, body = Page<ArtifactVersionView>), OfOne)
)]
pub(crate) async fn list_of_execution(
    State(state): State<AppState>,
    caller: Caller,
    At(id): At<i64>,
) -> Result<Json<Page<ArtifactVersionView>>, ApiError> {
    let scope = caller.require_own(id, "artifact", "read")?;
    if ExecutionRepository::standing(&state.pool, id).await?.is_none() {
        return Err(ApiError::not_found(format!("execution {id} does not exist")));
    }
    let versions = ArtifactRepository::list_versions_by_execution(&state.pool, id).await?;
    let ids: Vec<i64> = versions.iter().map(|version| version.artifact).collect();
    let mut artifacts = ArtifactRepository::list_by_ids(&state.pool, &ids).await?;
    artifacts.retain(|artifact| scope.holds(&Subject::of(&artifact.r#ref)));
    let name =
        |id: i64| artifacts.iter().find(|artifact| artifact.id == id).map(|artifact| artifact.r#ref.clone());
    let views =
        versions.into_iter().filter_map(|version| Some(version_view(&name(version.artifact)?, version)));
    Ok(Json(whole(views.collect())))
}

/// Leaves content under a name in the name of an execution: the next version of the artifact `ACTION.NAME`, or of
/// `ACTION.execution-ID.NAME` where the `scope` is the execution, which is made if it is not there. The same content again, by the same execution, makes no other version. A run may do so for itself.
#[utoipa::path(
    post,
    path = "/api/v1/executions/{id}/artifacts/{name}",
    tag = "artifacts",
    operation_id = "leave_artifact",
    params(("id" = i64, Path), ("name" = String, Path), ContentQuery),
    request_body(content = Vec<u8>, content_type = "*/*", description = "The content, with its type; JSON for a table or link"),
    responses(
        (status = CREATED, body = ArtifactVersionView, description = "A new version"),
        (status = OK, body = ArtifactVersionView, description = "It was left before"),
        Uploading,
    )
)]
pub(crate) async fn leave(
    State(state): State<AppState>,
    caller: Caller,
    At((id, name)): At<(i64, String)>,
    query: Result<Params<ContentQuery>, ApiError>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<ArtifactVersionView>), ApiError> {
    let reach = caller.require_own(id, "artifact", "create")?;
    let Params(query) = query?;
    check_retention(&query)?;
    let execution = ExecutionRepository::get_by_id(&state.pool, id).await?;
    check_name(&name)?;
    let scope = one_of::<ArtifactScope>("scope", query.scope.as_deref())?;
    let left = Left { action_ref: &execution.action_ref, execution: id, name: &name, scope };
    let of = artifact_content::of_action(&state.pool, left).await?;
    if of.is_declared && scope.is_some_and(|scope| scope != of.scope) {
        return Err(ApiError::conflict(format!(
            "the action declares that {name} has the scope `{}`; nothing was stored",
            of.scope.as_str()
        )));
    }
    let of = with_query(of, &query)?;
    if !reach.holds(&Subject::of(&of.r#ref)) {
        return Err(ApiError::out_of_reach("artifact", "create", Some(&of.r#ref)));
    }
    let upload = Upload { headers, body, masker: masker_of_caller(&state, &caller).await? };
    store(&state, of, Some(id), upload).await
}

/// Adds a version to an artifact of a pack, which is made if it is not there. The ref begins with that of the pack.
#[utoipa::path(
    post,
    path = "/api/v1/artifacts/{ref}/versions",
    tag = "artifacts",
    operation_id = "add_artifact_version",
    params(("ref" = String, Path), ContentQuery),
    request_body(content = Vec<u8>, content_type = "*/*", description = "The content, with its type; JSON for a table or link"),
    responses(
        (status = CREATED, body = ArtifactVersionView, description = "A new version"),
        (status = OK, body = ArtifactVersionView, description = "The same run added it before"),
        Uploading,
    )
)]
pub(crate) async fn add_version(
    State(state): State<AppState>,
    caller: Caller,
    At(artifact_ref): At<String>,
    query: Result<Params<ContentQuery>, ApiError>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<ArtifactVersionView>), ApiError> {
    caller.require_for("artifact", "create", &Subject::of(&artifact_ref))?;
    let Params(query) = query?;
    check_retention(&query)?;
    if query.scope.is_some() {
        return Err(ApiError::bad_request(
            "`scope` has no effect on the artifact of a pack; nothing was stored",
        ));
    }
    let pack = artifact_ref.split('.').next().unwrap_or_default();
    if !is_component_ref(&artifact_ref) || PackRepository::find_by_ref(&state.pool, pack).await?.is_none() {
        return Err(ApiError::not_found(format!(
            "{artifact_ref:?} cannot be an artifact: its ref begins with that of an installed pack, as `ops.inventory`"
        )));
    }
    let owner = ArtifactOwner::of(OwnerType::Pack, pack);
    let artifact = NewArtifact { owner, ..NewArtifact::of(&artifact_ref) };
    let artifact = artifact_content::undeclared(&state.pool, artifact).await?;
    let of = with_query(OfAction { artifact, is_declared: false, scope: ArtifactScope::Action }, &query)?;
    let upload = Upload { headers, body, masker: masker_of_caller(&state, &caller).await? };
    store(&state, of, caller.run().map(|run| run.execution), upload).await
}

/// Removes an artifact with all of its versions.
#[utoipa::path(
    delete,
    path = "/api/v1/artifacts/{ref}",
    tag = "artifacts",
    operation_id = "delete_artifact",
    params(("ref" = String, Path)),
    responses((status = NO_CONTENT, description = "It is gone"), OfOne)
)]
pub(crate) async fn delete(
    State(state): State<AppState>,
    caller: Caller,
    At(artifact_ref): At<String>,
) -> Result<StatusCode, ApiError> {
    caller.require_for("artifact", "delete", &Subject::of(&artifact_ref))?;
    let artifact = ArtifactRepository::get_by_ref(&state.pool, &artifact_ref).await?;
    ArtifactRepository::delete(&state.pool, artifact.id).await?;
    tracing::info!(artifact = artifact_ref, by = caller.principal.login, "artifact removed");
    Ok(StatusCode::NO_CONTENT)
}

/// Removes one version. Its number is not given again.
#[utoipa::path(
    delete,
    path = "/api/v1/artifacts/{ref}/versions/{version}",
    tag = "artifacts",
    operation_id = "delete_artifact_version",
    params(("ref" = String, Path), ("version" = String, Path, description = "A number")),
    responses((status = NO_CONTENT, description = "It is gone"), OfOne)
)]
pub(crate) async fn delete_version(
    State(state): State<AppState>,
    caller: Caller,
    At((artifact_ref, version)): At<(String, String)>,
) -> Result<StatusCode, ApiError> {
    caller.require_for("artifact", "delete", &Subject::of(&artifact_ref))?;
    let artifact = ArtifactRepository::get_by_ref(&state.pool, &artifact_ref).await?;
    let number = version_number(&version)?;
    if !ArtifactRepository::delete_version(&state.pool, artifact.id, number).await? {
        return Err(no_version(&artifact_ref, &version));
    }
    tracing::info!(artifact = artifact_ref, version, by = caller.principal.login, "artifact version removed");
    Ok(StatusCode::NO_CONTENT)
}

/// The artifact, if the caller may read it: what a run's own action left is its own.
async fn readable(state: &AppState, caller: &Caller, artifact_ref: &str) -> Result<Artifact, ApiError> {
    let own_action = caller.run().map(|run| run.action_ref.as_str());
    let begins = |action: &str| artifact_ref.strip_prefix(action).is_some_and(|name| name.starts_with('.'));
    if !own_action.is_some_and(begins) {
        caller.require_for("artifact", "read", &Subject::of(artifact_ref))?;
    }
    let found = ArtifactRepository::find_by_ref(&state.pool, artifact_ref).await?;
    let is_own = found.as_ref().is_some_and(|artifact| {
        artifact.owner.owner_type == OwnerType::Action && artifact.owner.owner.as_deref() == own_action
    });
    // The ref of another action may begin with that of this one.
    if found.is_some() && !is_own {
        caller.require_for("artifact", "read", &Subject::of(artifact_ref))?;
    }
    found.ok_or_else(|| ApiError::not_found(format!("artifact {artifact_ref} does not exist")))
}

/// What a request says besides.
fn with_query(of: OfAction, query: &ContentQuery) -> Result<NewArtifact, ApiError> {
    let OfAction { artifact: of, is_declared, scope: _ } = of;
    let asked = one_of::<ArtifactType>("type", query.artifact_type.as_deref())?;
    if is_declared && asked.is_some_and(|asked| asked != of.artifact_type) {
        return Err(ApiError::conflict(format!(
            "the action declares that {} holds a {}; nothing was stored",
            of.r#ref, of.artifact_type
        )));
    }
    if is_declared && (query.keep_versions.is_some() || query.keep_days.is_some()) {
        return Err(ApiError::conflict(format!(
            "the action declares how long {} is kept: `keep_versions` and `keep_days` have no effect; nothing was stored",
            of.r#ref
        )));
    }
    Ok(NewArtifact {
        label: query.label.clone(),
        artifact_type: asked.unwrap_or(of.artifact_type),
        retention: Retention {
            versions: query.keep_versions.or(of.retention.versions),
            days: query.keep_days.or(of.retention.days),
        },
        ..of
    })
}

async fn store(
    state: &AppState,
    of: NewArtifact,
    execution: Option<i64>,
    upload: Upload,
) -> Result<(StatusCode, Json<ArtifactVersionView>), ApiError> {
    let limit = state.settings.max_artifact_bytes;
    let of = NewArtifact { label: of.label.map(|label| upload.masker.text(&label)), ..of };
    let (content, content_type) = artifact::receive(upload, of.artifact_type, limit).await?;
    let artifact = match ArtifactRepository::put(&state.pool, &of).await {
        Err(StoreError::Conflict { .. }) => return Err(taken(state, &of).await?),
        put => put?,
    };
    if let Some(known) = left_before(state, &artifact, execution, &content.sha256).await? {
        return Ok((StatusCode::OK, Json(version_view(&of.r#ref, known))));
    }
    let target = Target { artifact: artifact.id, execution, content_type: &content_type };
    let version = content.store(&state.pool, target).await?;
    Ok((StatusCode::CREATED, Json(version_view(&of.r#ref, version))))
}

/// The newest version, if this execution left the same content with it: a request whose answer was lost is sent again.
async fn left_before(
    state: &AppState,
    artifact: &Artifact,
    execution: Option<i64>,
    sha256: &[u8],
) -> Result<Option<ArtifactVersion>, ApiError> {
    if execution.is_none() {
        return Ok(None);
    }
    let latest = ArtifactRepository::find_latest_version(&state.pool, artifact.id).await?;
    Ok(latest.filter(|latest| latest.execution == execution && latest.sha256 == sha256))
}

/// Why an artifact that is there cannot take this.
async fn taken(state: &AppState, of: &NewArtifact) -> Result<ApiError, ApiError> {
    let known = ArtifactRepository::get_by_ref(&state.pool, &of.r#ref).await?;
    Ok(ApiError::conflict(if known.artifact_type == of.artifact_type {
        let owner = known.owner.owner.as_deref().unwrap_or("the system");
        format!("{} belongs to {owner}; nothing was stored", of.r#ref)
    } else {
        format!(
            "{} holds a {}, not a {}; nothing was stored",
            of.r#ref, known.artifact_type, of.artifact_type
        )
    }))
}

fn check_name(name: &str) -> Result<(), ApiError> {
    if is_name(name) {
        return Ok(());
    }
    let item = ProblemItem {
        detail: format!("{name:?} cannot name an artifact"),
        expected: Some(
            "up to 100 lower-case letters, digits, `_`, `.` and `-`, such as `report.html`, and not `execution-17.` at the beginning"
                .to_owned(),
        ),
        ..ProblemItem::default()
    };
    Err(ApiError::invalid("the name is not valid; nothing was stored", vec![item]))
}

fn check_retention(query: &ContentQuery) -> Result<(), ApiError> {
    for (name, value) in [("keep_versions", query.keep_versions), ("keep_days", query.keep_days)] {
        if let Some(value) = value.filter(|value| !(1..=100_000).contains(value)) {
            return Err(ApiError::bad_request(format!("`{name}` is {value}; it may be 1 to 100000")));
        }
    }
    Ok(())
}

fn version_number(text: &str) -> Result<i32, ApiError> {
    text.parse().map_err(|_| ApiError::bad_request(format!("{text:?} is not the number of a version")))
}

fn no_version(artifact_ref: &str, version: &str) -> ApiError {
    ApiError::not_found(format!("artifact {artifact_ref} has no version {version}"))
}
