//! Rules.

use attune_client::types::{Page, ProblemItem, RuleChange, RuleRequest, RuleView};
use attune_common::models::enforcement::ConditionMode;
use attune_common::models::rule::{NewRule, Rule, RuleUpdate};
use attune_common::repositories::{ActionRepository, RuleRepository, TriggerRepository};
use attune_pack::Retry;
use attune_rules::{CompiledRule, Condition, RuleDefinition, RuleProblem};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use serde_json::{Map, Value};
use sqlx::PgConnection;

use crate::auth::Caller;
use crate::check;
use crate::error::ApiError;
use crate::extract::{At, Body};
use crate::paging::whole;
use crate::refs::is_component_ref;
use crate::responses::{Guarded, OfOne, WithBody};
use crate::state::AppState;
use crate::views::{Masks, rule_view};
use crate::webhook::check_storable;

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
    caller.require("rule", "read")?;
    let rules = RuleRepository::list(&state.pool).await?;
    Ok(Json(whole(views(&state, rules).await?)))
}

/// One rule.
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
) -> Result<Json<RuleView>, ApiError> {
    caller.require("rule", "read")?;
    let rule = RuleRepository::get_by_ref(&state.pool, &rule_ref).await?;
    Ok(Json(view(&state, rule).await?))
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
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<RuleView>), ApiError> {
    caller.require("rule", "create")?;
    let Body(request) = body?;
    for value in [&request.trigger_params, &request.conditions, &request.action_params] {
        check_storable(value)?;
    }
    let mut transaction = attune_common::db::begin(&state.pool).await?;
    let (rule, faults) = checked(&mut transaction, request).await?;
    if !faults.is_empty() {
        return Err(ApiError::invalid("the rule is not valid; nothing was stored", faults));
    }
    let rule = RuleRepository::create(&mut transaction, None, &rule).await?;
    transaction.commit().await?;
    state.definitions_changed().await;
    let location = [(header::LOCATION, format!("/api/v1/rules/{}", rule.r#ref))];
    Ok((StatusCode::CREATED, location, Json(view(&state, rule).await?)))
}

/// Enables or disables a rule.
#[utoipa::path(
    patch,
    path = "/api/v1/rules/{ref}",
    tag = "rules",
    operation_id = "change_rule",
    params(("ref" = String, Path, description = "`pack.name`")),
    request_body = RuleChange,
    responses(
        (status = OK, body = RuleView),
        (status = NOT_FOUND, body = attune_client::types::Problem, content_type = "application/problem+json",
            description = "There is no such thing"),
        WithBody,
    )
)]
pub(crate) async fn change(
    State(state): State<AppState>,
    caller: Caller,
    At(rule_ref): At<String>,
    body: Result<Body<RuleChange>, ApiError>,
) -> Result<Json<RuleView>, ApiError> {
    caller.require("rule", "update")?;
    let Body(change) = body?;
    let mut transaction = attune_common::db::begin(&state.pool).await?;
    let rule = RuleRepository::get_by_ref(&mut *transaction, &rule_ref).await?;
    // What is so already makes no new version.
    let enabled = change.enabled.filter(|enabled| *enabled != rule.enabled);
    let update = RuleUpdate { enabled, ..RuleUpdate::default() };
    let rule = RuleRepository::update(&mut transaction, rule.id, &update).await?;
    transaction.commit().await?;
    state.definitions_changed().await;
    Ok(Json(view(&state, rule).await?))
}

/// The rule that was asked for, and all that is wrong with it.
async fn checked(
    connection: &mut PgConnection,
    request: RuleRequest,
) -> Result<(NewRule, Vec<ProblemItem>), ApiError> {
    let mut faults = Vec::new();
    if !is_component_ref(&request.rule_ref) {
        faults.push(ProblemItem {
            detail: format!("{:?} cannot name a rule", request.rule_ref),
            pointer: Some("/ref".to_owned()),
            expected: Some("`pack.name` in lower case".to_owned()),
            ..ProblemItem::default()
        });
    }
    let mode = match request.condition.as_str() {
        "all" => attune_rules::ConditionMode::All,
        "any" => attune_rules::ConditionMode::Any,
        other => {
            faults.push(ProblemItem {
                detail: format!("{other:?} is no way to combine conditions"),
                pointer: Some("/condition".to_owned()),
                expected: Some("`all` or `any`".to_owned()),
                ..ProblemItem::default()
            });
            attune_rules::ConditionMode::All
        }
    };
    let object = |value: Value| if value.is_null() { Value::Object(Map::new()) } else { value };
    let (trigger_params, action_params) = (object(request.trigger_params), object(request.action_params));
    let conditions = Condition::parse_list(&request.conditions).unwrap_or_else(|problems| {
        faults.extend(problems.into_iter().map(|problem| problem_item(problem.under("/conditions"))));
        Vec::new()
    });
    let definition = RuleDefinition {
        rule_ref: request.rule_ref.clone(),
        trigger_ref: request.trigger.clone(),
        trigger_params: trigger_params.clone(),
        condition: mode,
        conditions,
        action_ref: request.action.clone(),
        action_params: action_params.clone(),
    };
    if let Err(problems) = CompiledRule::compile(&definition) {
        faults.extend(problems.into_iter().map(problem_item));
    }
    let retry = request.retry.as_ref().and_then(|given| match Retry::parse(given) {
        Ok(retry) => Some(retry.stored()),
        Err(problems) => {
            faults.extend(problems.into_iter().map(|problem| ProblemItem {
                detail: problem.message,
                pointer: Some(format!("/retry{}", problem.pointer)),
                suggestion: problem.suggestion,
                ..ProblemItem::default()
            }));
            None
        }
    });
    match TriggerRepository::find_by_ref(&mut *connection, &request.trigger).await? {
        Some(trigger) => {
            let found = check::trigger_parameters(&trigger.param_schema, &trigger_params);
            faults.extend(found.into_iter().map(|fault| fault.item("/trigger_params")));
        }
        None => {
            let known = TriggerRepository::refs(&mut *connection).await?;
            faults.push(check::unknown_ref_item("trigger", &request.trigger, &known));
        }
    }
    match ActionRepository::find_by_ref(&mut *connection, &request.action).await? {
        Some(action) => {
            let found = check::action_parameters(&action.param_schema, &action_params);
            faults.extend(found.into_iter().map(|fault| fault.item("/action_params")));
        }
        None => {
            let known = ActionRepository::refs(&mut *connection).await?;
            faults.push(check::unknown_ref_item("action", &request.action, &known));
        }
    }
    let condition = match mode {
        attune_rules::ConditionMode::All => ConditionMode::All,
        attune_rules::ConditionMode::Any => ConditionMode::Any,
    };
    let rule = NewRule {
        r#ref: request.rule_ref,
        label: request.label,
        description: request.description,
        enabled: request.enabled,
        trigger_ref: request.trigger,
        trigger_params,
        condition,
        conditions: request.conditions,
        action_ref: request.action,
        action_params,
        retry,
    };
    Ok((rule, faults))
}

fn problem_item(problem: RuleProblem) -> ProblemItem {
    ProblemItem {
        detail: problem.message,
        pointer: Some(problem.pointer),
        suggestion: problem.suggestion,
        ..ProblemItem::default()
    }
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
