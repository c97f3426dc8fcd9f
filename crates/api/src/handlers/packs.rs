//! Packs.

use attune_client::types::{
    DeclaredKeyView, EditConflict, KeptEdit, MemberChange, PackDetail, PackInstalled, PackOutcome, PackPlan,
    PackPlans, PackView, PacksRemoved, Page, PlannedChange, PlannedFile, ProblemEnd, ProblemItem,
};
use attune_common::models::identity::Subject;
use attune_common::models::pack::{DeclaredKey, Pack};
use attune_common::repositories::{
    ActionRepository, PackRepository, PermissionRepository, PolicyRepository, RuleRepository,
    RuntimeRepository, SensorRepository, TriggerRepository, WorkQueueRepository,
};
use attune_pack::archive::{self, ArchiveError, Limits};
use attune_pack::bundle::{self, Bundled, Contents};
use attune_pack::{End, Finding, PackDefinition, PackFiles};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::IntoParams;

use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{At, Params};
use crate::install::{self, Candidate, Edits, InstallError, InstallOptions, Outcome, RemoveError, Uses};
use crate::install::{ExportEdits, ExportError, KeyState};
use crate::paging::whole;
use crate::responses::{Guarded, OfOne, WithBody};
use crate::state::AppState;
use crate::views::{pack_view, webhook_address};
use crate::webhook::check_storable;

/// How to install a pack.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct InstallQuery {
    /// Where the pack came from, for people to read. The packs of a bundle say so themselves.
    source: Option<String>,
    /// `keep` or `overwrite`: what becomes of what was changed of its rules on the server where the pack has changed the
    /// same. Without it such a pack is refused.
    edits: Option<String>,
}

/// How to plan an installation.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlanQuery {
    /// `keep` or `overwrite`, as for an installation.
    edits: Option<String>,
}

/// How to remove a pack.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct RemoveQuery {
    /// What becomes of what uses the pack: with `leave` it stays as it is, and does nothing until the pack is there again;
    /// with `cascade` the packs that use it, or need it, are removed with it. Without it such a pack is not removed.
    uses: Option<String>,
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
    let scope = caller.require_some("pack", "read")?;
    let mut packs = PackRepository::list(&state.pool).await?;
    packs.retain(|pack| scope.holds(&Subject::of(&pack.r#ref)));
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
    caller.require_for("pack", "read", &Subject::of(&pack_ref))?;
    let pack = PackRepository::get_by_ref(&state.pool, &pack_ref).await?;
    Ok(Json(detail(&state, pack).await?))
}

/// Installs a pack, or brings the installed one to this version, from a gzipped tar or zip archive of its directory, or several
/// packs from a bundle. Either all of it takes effect or nothing; every fault in its files is reported with file, line and
/// column.
///
/// A bundle is an archive with the packs in directories of their own and `bundle.json` beside them:
/// `{"packs": [{"directory": "linux", "source": ".."}, ..]}`, each after those that it needs. The answer is about the last.
/// With `"config": {..}` in an entry, settings of the pack are set in the same transaction, which needs `configure` on `pack`.
#[utoipa::path(
    post,
    path = "/api/v1/packs",
    tag = "packs",
    operation_id = "install_pack",
    params(InstallQuery),
    request_body(content = Vec<u8>, content_type = "application/gzip", description = "tar.gz of the pack's directory"),
    responses(
        (status = CREATED, body = PackInstalled, description = "The pack is new"),
        (status = OK, body = PackInstalled, description = "It was there in another version, or was the same already"),
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
    caller.require_some("pack", "create")?;
    let Params(query) = query?;
    let edits = edits_of(query.edits.as_deref())?;
    let Received { mut candidates, given } = received(&state, &headers, request, query.source).await?;
    for candidate in &candidates {
        caller.require_for("pack", "create", &Subject::of(&candidate.definition.manifest.r#ref))?;
    }
    for (candidate, given) in candidates.iter().zip(&given) {
        if !given.is_empty() {
            caller.require_for("pack", "configure", &Subject::of(&candidate.definition.manifest.r#ref))?;
        }
    }
    let refusals = candidates.iter().find_map(|candidate| exceeding(&candidate.definition, &caller));
    if let Some(refusal) = refusals {
        return Err(refusal);
    }
    let options = InstallOptions { is_standard: false, edits };
    let mut installed = loop {
        seal(&state, &mut candidates, &given)?;
        match install::install(&state.pool, &state.bus, &candidates, options).await {
            // The data key was replaced meanwhile; nothing was installed.
            Err(InstallError::Store(error)) if state.vault.follows(&state.pool, &error).await? => {}
            outcome => break outcome?,
        }
    };
    state.definitions_changed().await;
    let asked = installed.pop().ok_or_else(|| ApiError::internal("an installation of no pack"))?;
    let pack = asked.pack.id;
    let webhooks = if caller.principal.may("webhook", "read") {
        let triggers = TriggerRepository::list_of_pack(&state.pool, pack).await?;
        triggers.iter().filter_map(webhook_address).collect()
    } else {
        Vec::new()
    };
    let status = match asked.outcome {
        Outcome::Installed => StatusCode::CREATED,
        Outcome::Upgraded
        | Outcome::Downgraded
        | Outcome::Restored
        | Outcome::Configured
        | Outcome::Unchanged => StatusCode::OK,
    };
    let kept = installed.iter().chain([&asked]).flat_map(|installed| installed.kept.clone());
    let kept: Vec<KeptEdit> = kept.map(kept_view).collect();
    let with = installed.into_iter().map(|installed| PackOutcome {
        pack_ref: installed.pack.r#ref,
        version: installed.pack.version,
        outcome: installed.outcome.as_str().to_owned(),
    });
    let outcome = asked.outcome.as_str().to_owned();
    let pack = detail(&state, asked.pack).await?;
    Ok((status, Json(PackInstalled { pack, outcome, webhooks, kept, with: with.collect() })))
}

/// What an installation of the same archive would do. Nothing is changed.
#[utoipa::path(
    post,
    path = "/api/v1/packs/plan",
    tag = "packs",
    operation_id = "plan_pack",
    params(PlanQuery),
    request_body(content = Vec<u8>, content_type = "application/gzip", description = "tar.gz of the pack's directory"),
    responses((status = OK, body = PackPlans), WithBody)
)]
pub(crate) async fn plan(
    State(state): State<AppState>,
    caller: Caller,
    query: Result<Params<PlanQuery>, ApiError>,
    headers: HeaderMap,
    request: Request,
) -> Result<Json<PackPlans>, ApiError> {
    caller.require("pack", "plan")?;
    let Params(query) = query?;
    let edits = edits_of(query.edits.as_deref())?;
    let Received { mut candidates, given } = received(&state, &headers, request, None).await?;
    let options = InstallOptions { is_standard: false, edits };
    let plans = loop {
        seal(&state, &mut candidates, &given)?;
        match install::plan(&state.pool, &candidates, options).await {
            // The data key was replaced meanwhile.
            Err(InstallError::Store(error)) if state.vault.follows(&state.pool, &error).await? => {}
            outcome => break outcome?,
        }
    };
    Ok(Json(PackPlans { packs: plans.into_iter().map(plan_view).collect() }))
}

/// Which files of a pack.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExportQuery {
    /// `true`: the files of rules that were changed on the server say what the rules are now. Default: the files are as they
    /// were installed.
    edits: Option<bool>,
}

/// The files of a pack as a gzipped tar archive, which can be installed again. What stands in its files is not masked.
#[utoipa::path(
    get,
    path = "/api/v1/packs/{ref}/files",
    tag = "packs",
    operation_id = "export_pack",
    params(("ref" = String, Path), ExportQuery),
    responses(
        (status = OK, body = Vec<u8>, content_type = "application/gzip", description = "tar.gz of the pack's directory"),
        (status = CONFLICT, body = attune_client::types::Problem, content_type = "application/problem+json",
            description = "A rule cannot be written as a file"),
        OfOne,
    )
)]
pub(crate) async fn export(
    State(state): State<AppState>,
    caller: Caller,
    At(pack_ref): At<String>,
    query: Result<Params<ExportQuery>, ApiError>,
) -> Result<([(HeaderName, &'static str); 1], Vec<u8>), ApiError> {
    caller.require_for("pack", "export", &Subject::of(&pack_ref))?;
    let Params(query) = query?;
    let edits = if query.edits == Some(true) { ExportEdits::With } else { ExportEdits::Without };
    let files = install::export(&state.pool, &pack_ref, edits).await?;
    let packed = tokio::task::spawn_blocking(move || archive::pack(&files));
    let archive = packed.await.map_err(ApiError::internal)?.map_err(ApiError::internal)?;
    Ok(([(header::CONTENT_TYPE, "application/gzip")], archive))
}

/// Removes a pack with all that it defines. Refused for the packs that ship with Attune, and while something outside of
/// the pack uses or needs it, unless `uses` says what is to become of that.
#[utoipa::path(
    delete,
    path = "/api/v1/packs/{ref}",
    tag = "packs",
    operation_id = "remove_pack",
    params(("ref" = String, Path), RemoveQuery),
    responses(
        (status = OK, body = PacksRemoved, description = "The pack is gone, and with `cascade` those that used it"),
        (status = CONFLICT, body = attune_client::types::Problem, content_type = "application/problem+json",
            description = "It ships with Attune, or is in use: `errors` says by what"),
        OfOne,
    )
)]
pub(crate) async fn remove(
    State(state): State<AppState>,
    caller: Caller,
    At(pack_ref): At<String>,
    query: Result<Params<RemoveQuery>, ApiError>,
) -> Result<Json<PacksRemoved>, ApiError> {
    caller.require_for("pack", "delete", &Subject::of(&pack_ref))?;
    let Params(query) = query?;
    if query.uses.is_some() {
        // It is also about other packs, and what is in them.
        caller.require("pack", "delete")?;
    }
    let uses = match query.uses.as_deref() {
        None => Uses::Refuse,
        Some("leave") => Uses::Leave,
        Some("cascade") => Uses::Cascade,
        Some(other) => {
            return Err(ApiError::bad_request(format!("uses={other:?}: expected `leave` or `cascade`")));
        }
    };
    let removed = install::remove(&state.pool, &state.bus, &pack_ref, uses).await?;
    state.definitions_changed().await;
    Ok(Json(PacksRemoved { removed }))
}

fn edits_of(given: Option<&str>) -> Result<Edits, ApiError> {
    match given {
        None => Ok(Edits::Ask),
        Some("keep") => Ok(Edits::Keep),
        Some("overwrite") => Ok(Edits::Overwrite),
        Some(other) => Err(ApiError::bad_request(format!("edits={other:?}: expected `keep` or `overwrite`"))),
    }
}

/// Gives the packs the settings that were given for them, and the defaults of their keys.
fn seal(
    state: &AppState,
    candidates: &mut [Candidate],
    given: &[Map<String, Value>],
) -> Result<(), ApiError> {
    for (candidate, given) in candidates.iter_mut().zip(given) {
        candidate.seal(&state.vault, given)?;
    }
    Ok(())
}

/// What an archive brings.
struct Received {
    candidates: Vec<Candidate>,
    /// The settings that are given for each of them.
    given: Vec<Map<String, Value>>,
}

/// The packs that were sent, read and found without faults of their own.
async fn received(
    state: &AppState,
    headers: &HeaderMap,
    request: Request,
    source: Option<String>,
) -> Result<Received, ApiError> {
    check_content_type(headers)?;
    let max = state.settings.max_pack_bytes;
    let archive =
        Bytes::from_request(request, state).await.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => ApiError::too_large(format!(
                "a pack archive may have up to {max} bytes; nothing was installed"
            )),
            _ => ApiError::bad_request(rejection.body_text()),
        })?;
    // Unpacking and reading take as long as the archive is large.
    let environment = state.settings.environment.clone();
    let read = tokio::task::spawn_blocking(move || {
        let files = archive::unpack(&archive, Limits::of(max)).map_err(unpack_problem)?;
        candidates(files, source, environment.as_deref())
    });
    read.await.map_err(ApiError::internal)?
}

fn candidates(
    files: PackFiles,
    source: Option<String>,
    environment: Option<&str>,
) -> Result<Received, ApiError> {
    let contents = bundle::split(files)
        .map_err(|error| ApiError::invalid(format!("{error}; nothing was installed"), Vec::new()))?;
    let packs = match contents {
        Contents::Pack(files) => vec![(String::new(), source, files, Map::new())],
        Contents::Bundle(packs) => {
            if source.is_some() {
                return Err(ApiError::bad_request("source: the packs of a bundle say so themselves"));
            }
            let part = |pack: Bundled| (format!("{}/", pack.directory), pack.source, pack.files, pack.config);
            packs.into_iter().map(part).collect()
        }
    };
    let (mut candidates, mut faults) = (Vec::<Candidate>::new(), Vec::new());
    let mut settings = Vec::new();
    for (prefix, source, files, given) in packs {
        match attune_pack::read(&files) {
            Ok(definition) => {
                let name = &definition.manifest.r#ref;
                if candidates.iter().any(|other| other.definition.manifest.r#ref == *name) {
                    let detail = format!("the pack `{name}` is there twice; nothing was installed");
                    return Err(ApiError::invalid(detail, Vec::new()));
                }
                let candidate = Candidate::for_environment(definition, files, source, environment);
                let candidate = Candidate { prefix, ..candidate };
                check_storable(&Value::Object(given.clone()))?;
                faults.extend(install::faults_of_settings(&candidate, &given));
                candidates.push(candidate);
                settings.push(given);
            }
            Err(findings) => faults.extend(
                findings
                    .into_iter()
                    .map(|finding| Finding { file: format!("{prefix}{}", finding.file), ..finding }),
            ),
        }
    }
    if faults.is_empty() {
        Ok(Received { candidates, given: settings })
    } else {
        Err(findings_problem(&faults))
    }
}

fn kept_view(kept: install::KeptEdit) -> KeptEdit {
    KeptEdit {
        kind: kept.kind.to_owned(),
        component: kept.component,
        member: kept.member,
        here: kept.here,
        pack: kept.pack,
    }
}

fn conflict_view(conflict: install::EditConflict) -> EditConflict {
    EditConflict {
        rule: conflict.rule,
        file: conflict.file,
        member: conflict.member,
        before: conflict.before,
        here: conflict.here,
        pack: conflict.pack,
    }
}

fn plan_view(plan: install::Plan) -> PackPlan {
    let member = |difference: install::MemberDifference| MemberChange {
        member: difference.member,
        before: difference.before,
        after: difference.after,
    };
    let change = |change: install::Change| PlannedChange {
        kind: change.kind.to_owned(),
        component: change.component,
        change: change.change.as_str().to_owned(),
        members: change.members.into_iter().map(member).collect(),
        config: change.config,
    };
    let file =
        |file: install::FileChange| PlannedFile { path: file.path, change: file.change.as_str().to_owned() };
    let keys =
        |keys: Vec<DeclaredKey>, state| keys.into_iter().map(|key| declared_key_view(key, state)).collect();
    PackPlan {
        pack_ref: plan.pack_ref,
        from: plan.from,
        to: plan.to,
        outcome: plan.outcome.as_str().to_owned(),
        changes: plan.changes.into_iter().map(change).collect(),
        files: plan.files.into_iter().map(file).collect(),
        conflicts: plan.conflicts.into_iter().map(conflict_view).collect(),
        kept: plan.kept.into_iter().map(kept_view).collect(),
        missing_keys: keys(plan.missing_keys, KeyState::Missing),
        exposed_keys: keys(plan.exposed_keys, KeyState::Exposed),
    }
}

async fn detail(state: &AppState, pack: Pack) -> Result<PackDetail, ApiError> {
    let (pool, id) = (&state.pool, pack.id);
    let keys = declared_keys(state, &pack).await?;
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
        sensor_obstacles: sensors
            .iter()
            .filter_map(|row| Some((row.r#ref.clone(), row.obstacle.clone().filter(|_| row.enabled)?)))
            .collect(),
        sensors: sensors.into_iter().map(|row| row.r#ref).collect(),
        rules: rules.into_iter().map(|row| row.r#ref).collect(),
        permission_sets: permission_sets.into_iter().map(|row| row.r#ref).collect(),
        policies: policies.into_iter().map(|row| row.r#ref).collect(),
        queues: queues.into_iter().map(|row| row.r#ref).collect(),
        keys,
    })
}

async fn declared_keys(state: &AppState, pack: &Pack) -> Result<Vec<DeclaredKeyView>, ApiError> {
    let keys = install::states_of_keys(&state.pool, &pack.declared_keys).await?;
    Ok(keys.into_iter().map(|(key, state)| declared_key_view(key, state)).collect())
}

fn declared_key_view(key: DeclaredKey, state: KeyState) -> DeclaredKeyView {
    let DeclaredKey { r#ref: key_ref, label, description, required, secret, default, only_named: _ } = key;
    let (set, exposed) = (state != KeyState::Missing, state == KeyState::Exposed);
    DeclaredKeyView { key_ref, label, description, required, secret, default, set, exposed }
}

/// The refusal of a pack whose actions or permission sets allow what its installer may not do: whoever could install it could
/// do so through them, as somebody who has been given such a set may.
fn exceeding(definition: &PackDefinition, caller: &Caller) -> Option<ApiError> {
    let of_actions = definition.actions.iter().map(|action| (&action.r#ref, &action.permissions));
    let of_sensors = definition.sensors.iter().map(|sensor| (&sensor.r#ref, &sensor.permissions));
    let of_sets = definition.permission_sets.iter().map(|set| (&set.r#ref, &set.grants));
    let asked = of_actions.chain(of_sensors).chain(of_sets).flat_map(|(asking, grants)| {
        grants.iter().flat_map(move |grant| grant.actions.iter().map(move |allowed| (asking, grant, allowed)))
    });
    let exceeding = asked.filter(|(_, grant, allowed)| {
        let constraints = install::constraints_of(&grant.constraints);
        !caller.principal.may_within(&grant.resource.value, &allowed.value, &constraints)
    });
    let items: Vec<ProblemItem> = exceeding
        .map(|(asking, grant, allowed)| ProblemItem {
            detail: format!(
                "{asking} asks for `{}` on `{}`, which you may not do yourself",
                allowed.value, grant.resource.value
            ),
            file: Some(allowed.file.clone()),
            line: usize::try_from(allowed.line).ok(),
            column: usize::try_from(allowed.column).ok(),
            end: allowed.end.map(problem_end),
            ..ProblemItem::default()
        })
        .collect();
    (!items.is_empty()).then(|| {
        ApiError::exceeding(
            "the permissions in this pack exceed your own; nothing was installed, and somebody who has them can",
            items,
        )
    })
}

fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match given.split(';').next().unwrap_or_default().trim() {
        "application/gzip" | "application/x-gzip" | "application/tar+gzip" | "application/zip" => Ok(()),
        _ => Err(ApiError::unsupported_media_type(
            "send the pack as a gzipped tar archive with `content-type: application/gzip`, or as a zip archive with \
             `application/zip`",
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
        end: finding.end.map(problem_end),
        expected: finding.expected.clone(),
        suggestion: finding.suggestion.clone(),
    });
    ApiError::invalid(format!("the pack has {faults}; nothing was installed"), items.collect())
}

fn problem_end(end: End) -> ProblemEnd {
    let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    ProblemEnd { line: number(end.line), column: number(end.column) }
}

/// What was changed on both sides, each with the three values.
fn edited_problem(conflicts: Vec<install::EditConflict>) -> ApiError {
    let detail = format!(
        "the pack changes what was changed of its rules on the server, in {}; nothing was installed",
        if conflicts.len() == 1 { "a place".to_owned() } else { format!("{} places", conflicts.len()) }
    );
    let item = |conflict: install::EditConflict| {
        let before = conflict.before.map_or_else(|| "not known".to_owned(), |value| value.to_string());
        let detail = match &conflict.member {
            Some(member) => format!(
                "`{member}` of the rule `{}` was {before}, is {} on the server and {} in the pack",
                conflict.rule, conflict.here, conflict.pack
            ),
            None => format!(
                "the rule `{}` was changed on the server, from {before} to {}, and the pack no longer has it",
                conflict.rule, conflict.here
            ),
        };
        ProblemItem {
            detail,
            file: Some(conflict.file),
            pointer: conflict.member.map(|member| format!("/{member}")),
            expected: Some("`edits=keep` or `edits=overwrite`".to_owned()),
            ..ProblemItem::default()
        }
    };
    ApiError::conflict(detail).with_errors(conflicts.into_iter().map(item).collect())
}

impl From<InstallError> for ApiError {
    fn from(error: InstallError) -> Self {
        match error {
            InstallError::Invalid(findings) => findings_problem(&findings),
            InstallError::Edited(conflicts) => edited_problem(conflicts),
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

impl From<ExportError> for ApiError {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Unwritable { .. } | ExportError::Unreadable { .. } => {
                Self::conflict(error.to_string())
            }
            ExportError::Store(error) => error.into(),
        }
    }
}
