//! Rules.

use attune_client::types::{MemberChange, Page, RuleChange, RuleRequest, RuleVersionView, RuleView};
use attune_common::error::StoreError;
use attune_common::models::identity::Subject;
use attune_common::models::rule::{NewRule, Rule, RuleVersion};
use attune_common::repositories::RuleRepository;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;

use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{At, Body, Params};
use crate::paging::{Paging, whole};
use crate::precondition::{IfMatch, tag};
use crate::responses::{Changing, Guarded, OfOne, Removing, WithBody};
use crate::rule_checks;
use crate::rule_keys;
use crate::rule_settings;
use crate::state::AppState;
use crate::views::{Masks, rule_view};

/// A rule with its tag, which `If-Match` takes.
type Tagged = ([(HeaderName, String); 1], Json<RuleView>);

/// All rules, by ref.
#[utoipa::path(
    get,
    path = "/api/v1/rules",
    tag = "rules",
    operation_id = "list_rules",
    responses((status = OK, body = Page<RuleView>), Guarded)
)]
pub(crate) async fn list(
    State(state): State<AppState>,
    caller: Caller,
) -> Result<Json<Page<RuleView>>, ApiError> {
    let scope = caller.require_some("rule", "read")?;
    let mut rules = RuleRepository::list(&state.pool).await?;
    rules.retain(|rule| scope.holds(&Subject::of(&rule.r#ref)));
    Ok(Json(whole(views(&state, rules).await?)))
}

/// One rule. Its `ETag` can be given as `If-Match` to change it only while it is this version.
#[utoipa::path(
    get,
    path = "/api/v1/rules/{ref}",
    tag = "rules",
    operation_id = "show_rule",
    params(("ref" = String, Path, description = "`pack.name`")),
    responses((status = OK, body = RuleView), OfOne)
)]
pub(crate) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    At(rule_ref): At<String>,
) -> Result<Tagged, ApiError> {
    caller.require_for("rule", "read", &Subject::of(&rule_ref))?;
    let rule = RuleRepository::get_by_ref(&state.pool, &rule_ref).await?;
    tagged(&state, rule).await
}

/// Makes a rule that belongs to no pack. Everything that is wrong with it is reported at once.
#[utoipa::path(
    post,
    path = "/api/v1/rules",
    tag = "rules",
    operation_id = "create_rule",
    request_body = RuleRequest,
    responses((status = CREATED, body = RuleView), WithBody)
)]
pub(crate) async fn create(
    State(state): State<AppState>,
    caller: Caller,
    body: Result<Body<RuleRequest>, ApiError>,
) -> Result<(StatusCode, [(HeaderName, String); 2], Json<RuleView>), ApiError> {
    caller.require_some("rule", "create")?;
    let Body(request) = body?;
    caller.require_for("rule", "create", &Subject::of(&request.rule_ref))?;
    let mut transaction = attune_common::db::begin(&state.pool).await?;
    let new = rule_checks::sound(&mut transaction, request, None).await?;
    require_content(&caller, "create", &new)?;
    let rule = RuleRepository::create(&mut transaction, None, &new).await?;
    transaction.commit().await?;
    state.definitions_changed().await;
    let location = (header::LOCATION, format!("/api/v1/rules/{}", rule.r#ref));
    let headers = [location, (header::ETAG, tag(rule.id, rule.updated))];
    Ok((StatusCode::CREATED, headers, Json(view(&state, rule).await?)))
}

/// Changes what is given of a rule; everything else stays. What is changed of a rule that belongs to a pack stays when another
/// version of the pack is installed, unless that changes the same. With `If-Match` it is changed only while it is that version.
#[utoipa::path(
    patch,
    path = "/api/v1/rules/{ref}",
    tag = "rules",
    operation_id = "change_rule",
    params(("ref" = String, Path, description = "`pack.name`"), IfMatch),
    request_body = RuleChange,
    responses((status = OK, body = RuleView), Changing)
)]
pub(crate) async fn change(
    State(state): State<AppState>,
    caller: Caller,
    At(rule_ref): At<String>,
    headers: HeaderMap,
    body: Result<Body<RuleChange>, ApiError>,
) -> Result<Tagged, ApiError> {
    caller.require_for("rule", "update", &Subject::of(&rule_ref))?;
    let Body(change) = body?;
    let mut transaction = attune_common::db::begin(&state.pool).await?;
    let rule = RuleRepository::take_by_ref(&mut transaction, &rule_ref).await?;
    IfMatch::of(&headers)?.check("rule", &rule_ref, &tag(rule.id, rule.updated))?;
    let content = RuleChange { enabled: None, mode: None, ..change.clone() };
    // What was stored may not pass the checks of today, when a trigger has changed since. It can be disabled all the same, and
    // is enabled again once it passes.
    let enables = change.enabled == Some(true) && !rule.enabled;
    let unchecked =
        !enables && RuleChange { label: None, description: None, ..content } == RuleChange::default();
    let retry_stays = change.retry.is_none();
    let request = changed(&rule, change);
    let mut new = if unchecked {
        NewRule { config: rule.config, ..rule_checks::unchecked(request)? }
    } else {
        let pack = rule_settings::pack_of(&mut transaction, rule.pack).await?;
        rule_checks::sound(&mut transaction, request, pack.as_ref()).await?
    };
    if retry_stays {
        new.retry = rule.retry;
    }
    // Whoever may change a rule may stop it, whatever it does.
    if !unchecked || new.enabled {
        require_content(&caller, "update", &new)?;
    }
    let rule = RuleRepository::replace(&mut transaction, rule.id, &new, None).await?;
    transaction.commit().await?;
    state.definitions_changed().await;
    tagged(&state, rule).await
}

/// Makes a rule what is given: what is left out is as in a new rule. Not for rules of packs. With `If-Match` it is replaced
/// only while it is that version.
#[utoipa::path(
    put,
    path = "/api/v1/rules/{ref}",
    tag = "rules",
    operation_id = "replace_rule",
    params(("ref" = String, Path, description = "`pack.name`"), IfMatch),
    request_body = RuleRequest,
    responses((status = OK, body = RuleView), Changing)
)]
pub(crate) async fn replace(
    State(state): State<AppState>,
    caller: Caller,
    At(rule_ref): At<String>,
    headers: HeaderMap,
    body: Result<Body<RuleRequest>, ApiError>,
) -> Result<Tagged, ApiError> {
    caller.require_for("rule", "update", &Subject::of(&rule_ref))?;
    let Body(request) = body?;
    let mut transaction = attune_common::db::begin(&state.pool).await?;
    let rule = RuleRepository::take_by_ref(&mut transaction, &rule_ref).await?;
    IfMatch::of(&headers)?.check("rule", &rule_ref, &tag(rule.id, rule.updated))?;
    refuse_of_pack(&rule, "change its file and install the pack again")?;
    if request.rule_ref != rule_ref {
        let detail = format!("the ref in the body, {:?}, is not that of the path", request.rule_ref);
        let item = attune_client::types::ProblemItem {
            detail: detail.clone(),
            pointer: Some("/ref".to_owned()),
            expected: Some(format!("`{rule_ref}`; a rule keeps its ref")),
            ..attune_client::types::ProblemItem::default()
        };
        return Err(ApiError::invalid(detail, vec![item]));
    }
    let new = rule_checks::sound(&mut transaction, request, None).await?;
    require_content(&caller, "update", &new)?;
    let rule = RuleRepository::replace(&mut transaction, rule.id, &new, None).await?;
    transaction.commit().await?;
    state.definitions_changed().await;
    tagged(&state, rule).await
}

/// Removes a rule; what it decided, and what it was, stays recorded. Not for rules of packs. With `If-Match` it is removed
/// only while it is that version.
#[utoipa::path(
    delete,
    path = "/api/v1/rules/{ref}",
    tag = "rules",
    operation_id = "delete_rule",
    params(("ref" = String, Path, description = "`pack.name`"), IfMatch),
    responses((status = NO_CONTENT, description = "The rule is gone"), Removing)
)]
pub(crate) async fn delete(
    State(state): State<AppState>,
    caller: Caller,
    At(rule_ref): At<String>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    caller.require_for("rule", "delete", &Subject::of(&rule_ref))?;
    let mut transaction = attune_common::db::begin(&state.pool).await?;
    let rule = RuleRepository::take_by_ref(&mut transaction, &rule_ref).await?;
    IfMatch::of(&headers)?.check("rule", &rule_ref, &tag(rule.id, rule.updated))?;
    refuse_of_pack(&rule, "remove its file and install the pack again, or disable the rule")?;
    RuleRepository::delete(&mut transaction, rule.id).await?;
    transaction.commit().await?;
    state.definitions_changed().await;
    Ok(StatusCode::NO_CONTENT)
}

/// Refuses with 403 what a rule would do for a caller who may write only some rules, unless they may do it themselves: read
/// the events of its trigger, start its action and know of the keys that it names. Whoever may write any rule could anyway.
fn require_content(caller: &Caller, action: &str, rule: &NewRule) -> Result<(), ApiError> {
    if caller.principal.may("rule", action) {
        return Ok(());
    }
    caller.require_for("event", "read", &Subject::of(&rule.trigger_ref))?;
    caller.require_for("execution", "create", &Subject::of(&rule.action_ref))?;
    let named =
        rule_keys::named(rule).ok_or_else(|| ApiError::internal("a checked rule does not compile"))?;
    for key_ref in named {
        caller.require_for("key", "read", &Subject::of(&key_ref))?;
    }
    Ok(())
}

/// Which versions to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct VersionQuery {
    /// Items at most, 1 to 1000; default: 50.
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// The versions of a rule, the latest first, each with what differs from the one before; also of a rule that is gone.
#[utoipa::path(
    get,
    path = "/api/v1/rules/{ref}/versions",
    tag = "rules",
    operation_id = "list_rule_versions",
    params(("ref" = String, Path, description = "`pack.name`"), VersionQuery),
    responses((status = OK, body = Page<RuleVersionView>), OfOne)
)]
pub(crate) async fn versions(
    State(state): State<AppState>,
    caller: Caller,
    At(rule_ref): At<String>,
    query: Result<Params<VersionQuery>, ApiError>,
) -> Result<Json<Page<RuleVersionView>>, ApiError> {
    caller.require_for("rule", "read", &Subject::of(&rule_ref))?;
    let Params(query) = query?;
    let paging = Paging::new(query.limit, query.cursor.as_deref())?;
    let mut rows =
        RuleRepository::search_versions(&state.pool, &rule_ref, paging.before, paging.rows()).await?;
    if rows.is_empty() && paging.before.is_none() {
        return Err(StoreError::not_found("rule", &rule_ref).into());
    }
    // The row after the last of the page is what that one is compared with.
    let before: Vec<Option<Rule>> = rows
        .iter()
        .skip(1)
        .map(|version| if version.removed { None } else { version.rule().ok() })
        .chain(std::iter::once(None))
        .collect();
    let next_cursor = paging.cut(&mut rows, |row| row.id);
    let rules: Vec<Rule> =
        rows.iter().map(RuleVersion::rule).collect::<Result<_, _>>().map_err(ApiError::internal)?;
    let named = || rules.iter().chain(before.iter().flatten());
    let actions = Masks::of_actions(&state.pool, named().map(|rule| rule.action_ref.as_str())).await?;
    let triggers = Masks::of_triggers(&state.pool, named().map(|rule| rule.trigger_ref.as_str())).await?;
    let items = rows.into_iter().zip(rules).zip(before).map(|((row, rule), before)| RuleVersionView {
        version: row.version,
        removed: row.removed,
        rule_set_version: row.rule_set_version,
        created: row.created,
        changes: match before {
            Some(before) if !row.removed => changes(&before, &rule, &actions, &triggers),
            _ => Vec::new(),
        },
        rule: rule_view(rule, &actions, &triggers),
    });
    Ok(Json(Page { items: items.collect(), next_cursor }))
}

/// What differs between two versions. A secret that was changed is named, and masked on both sides.
fn changes(before: &Rule, after: &Rule, actions: &Masks, triggers: &Masks) -> Vec<MemberChange> {
    let shown = |rule: &Rule| rule_view(rule.clone(), actions, triggers);
    let (shown_before, shown_after) = (shown(before), shown(after));
    let members = |rule: &Rule, view: &RuleView| -> Vec<(&'static str, Value, Value)> {
        vec![
            ("pack", json!(rule.pack_ref), json!(view.pack)),
            ("label", json!(rule.label), json!(view.label)),
            ("description", json!(rule.description), json!(view.description)),
            ("enabled", json!(rule.enabled), json!(view.enabled)),
            ("mode", json!(rule.mode), json!(view.mode)),
            ("trigger", json!(rule.trigger_ref), json!(view.trigger)),
            ("trigger_params", rule.trigger_params.clone(), view.trigger_params.clone()),
            ("condition", json!(rule.condition), json!(view.condition)),
            ("conditions", rule.conditions.clone(), view.conditions.clone()),
            ("window", json!(rule.window), json!(view.window)),
            ("action", json!(rule.action_ref), json!(view.action)),
            ("action_params", rule.action_params.clone(), view.action_params.clone()),
            ("retry", json!(rule.retry), json!(view.retry)),
            ("config", json!(rule.config), json!(view.config)),
        ]
    };
    let both = members(before, &shown_before).into_iter().zip(members(after, &shown_after));
    both.filter(|((_, before, _), (_, after, _))| before != after)
        .map(|((member, _, before), (_, _, after))| MemberChange { member: member.to_owned(), before, after })
        .collect()
}

/// The rule with the changes, as a request for all of it.
fn changed(rule: &Rule, change: RuleChange) -> RuleRequest {
    let rule = rule.clone();
    RuleRequest {
        rule_ref: rule.r#ref,
        label: change.label.unwrap_or(rule.label),
        description: change.description.unwrap_or(rule.description),
        enabled: change.enabled.unwrap_or(rule.enabled),
        mode: change.mode.unwrap_or_else(|| rule.mode.as_str().to_owned()),
        trigger: change.trigger.unwrap_or(rule.trigger_ref),
        trigger_params: change.trigger_params.unwrap_or(rule.trigger_params),
        condition: change.condition.unwrap_or_else(|| rule.condition.as_str().to_owned()),
        conditions: change.conditions.unwrap_or(rule.conditions),
        window: change.window.unwrap_or(rule.window),
        action: change.action.unwrap_or(rule.action_ref),
        action_params: change.action_params.unwrap_or(rule.action_params),
        // What is stored is not what is written; a retry that stays is taken over as it is.
        retry: change.retry.flatten(),
    }
}

fn refuse_of_pack(rule: &Rule, what_to_do: &str) -> Result<(), ApiError> {
    match &rule.pack_ref {
        Some(pack) => {
            Err(ApiError::conflict(format!("rule {} belongs to the pack {pack}: {what_to_do}", rule.r#ref)))
        }
        None => Ok(()),
    }
}

async fn tagged(state: &AppState, rule: Rule) -> Result<Tagged, ApiError> {
    let tag = tag(rule.id, rule.updated);
    Ok(([(header::ETAG, tag)], Json(view(state, rule).await?)))
}

async fn view(state: &AppState, rule: Rule) -> Result<RuleView, ApiError> {
    let mut views = views(state, vec![rule]).await?;
    views.pop().ok_or_else(|| ApiError::internal("a rule was lost between two steps"))
}

async fn views(state: &AppState, rules: Vec<Rule>) -> Result<Vec<RuleView>, ApiError> {
    let actions = Masks::of_actions(&state.pool, rules.iter().map(|rule| rule.action_ref.as_str())).await?;
    let triggers =
        Masks::of_triggers(&state.pool, rules.iter().map(|rule| rule.trigger_ref.as_str())).await?;
    Ok(rules.into_iter().map(|rule| rule_view(rule, &actions, &triggers)).collect())
}
