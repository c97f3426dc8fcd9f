//! What is looked at before a rule is stored, besides its form: everything at once, with JSON pointers into the request.

use attune_client::types::{ProblemItem, RuleRequest};
use attune_common::error::StoreError;
use attune_common::models::enforcement::ConditionMode;
use attune_common::models::pack::Pack;
use attune_common::models::rule::{NewRule, Rule, RuleMode};
use attune_common::repositories::{ActionRepository, TriggerRepository};
use attune_pack::Retry;
use attune_rules::{CompiledRule, Condition, RuleDefinition, RuleProblem, TriggerSchemas, Window};
use serde_json::{Map, Value};
use sqlx::PgConnection;

use crate::check;
use crate::error::ApiError;
use crate::refs::is_component_ref;
use crate::rule_keys;
use crate::rule_settings;
use crate::views::MASK;
use crate::webhook::check_storable;

/// The rule of a request, which belongs to this pack; 422 with all that is wrong with it.
pub(crate) async fn sound(
    connection: &mut PgConnection,
    request: RuleRequest,
    pack: Option<&Pack>,
) -> Result<NewRule, ApiError> {
    let values = [&request.trigger_params, &request.conditions, &request.action_params];
    for value in values.into_iter().chain(&request.window) {
        check_storable(value)?;
    }
    let (rule, faults) = checked(connection, request, pack).await?;
    if faults.is_empty() {
        return Ok(rule);
    }
    Err(ApiError::invalid("the rule is not valid; nothing was stored", faults))
}

/// What is wrong with a rule of this pack that is stored, or about to be: judged by the triggers and actions that there are
/// now.
pub(crate) async fn faults(
    connection: &mut PgConnection,
    rule: &NewRule,
    pack: &Pack,
) -> Result<Vec<ProblemItem>, StoreError> {
    let rule = rule.clone();
    let request = RuleRequest {
        rule_ref: rule.r#ref,
        label: rule.label,
        description: rule.description,
        enabled: rule.enabled,
        mode: rule.mode.as_str().to_owned(),
        trigger: rule.trigger_ref,
        trigger_params: rule.trigger_params,
        condition: rule.condition.as_str().to_owned(),
        conditions: rule.conditions,
        window: rule.window,
        action: rule.action_ref,
        action_params: rule.action_params,
        // What is stored is not what is written, and was checked when it was.
        retry: None,
    };
    Ok(checked(connection, request, Some(pack)).await?.1)
}

/// The rule of a request that says of its content nothing that was not stored before; only its switches are looked at.
pub(crate) fn unchecked(request: RuleRequest) -> Result<NewRule, ApiError> {
    let mode: RuleMode = request.mode.parse().map_err(|_| {
        ApiError::invalid("the rule is not valid; nothing was stored", vec![unknown_mode(&request.mode)])
    })?;
    let condition = if request.condition == "any" { ConditionMode::Any } else { ConditionMode::All };
    Ok(NewRule {
        r#ref: request.rule_ref,
        label: request.label,
        description: request.description,
        enabled: request.enabled,
        mode,
        trigger_ref: request.trigger,
        trigger_params: request.trigger_params,
        condition,
        conditions: request.conditions,
        action_ref: request.action,
        action_params: request.action_params,
        window: request.window,
        // A rule that is not checked keeps what it has.
        retry: None,
        config: None,
    })
}

fn unknown_mode(given: &str) -> ProblemItem {
    ProblemItem {
        detail: format!("{given:?} is no mode of a rule"),
        pointer: Some("/mode".to_owned()),
        expected: Some("`active` or `shadow`".to_owned()),
        ..ProblemItem::default()
    }
}

/// The rule that was asked for, and all that is wrong with it.
async fn checked(
    connection: &mut PgConnection,
    request: RuleRequest,
    pack: Option<&Pack>,
) -> Result<(NewRule, Vec<ProblemItem>), StoreError> {
    let mut faults = Vec::new();
    if !is_component_ref(&request.rule_ref) {
        faults.push(ProblemItem {
            detail: format!("{:?} cannot name a rule", request.rule_ref),
            pointer: Some("/ref".to_owned()),
            expected: Some("`pack.name` in lower case".to_owned()),
            ..ProblemItem::default()
        });
    }
    let rule_mode = request.mode.parse().unwrap_or_else(|_| {
        faults.push(unknown_mode(&request.mode));
        RuleMode::Active
    });
    let definition = definition_of(&request, &mut faults);
    let (trigger_params, action_params) =
        (definition.trigger_params.clone(), definition.action_params.clone());
    faults.extend(masked("/trigger_params", &trigger_params));
    faults.extend(masked("/action_params", &action_params));
    match TriggerRepository::find_by_ref(&mut *connection, &request.trigger).await? {
        Some(trigger) => {
            let found = check::trigger_parameters(&trigger.param_schema, &trigger_params);
            faults.extend(found.into_iter().map(|fault| fault.item("/trigger_params")));
            let schemas =
                TriggerSchemas { payload: Some(&trigger.out_schema), config: Some(&trigger.param_schema) };
            faults.extend(attune_rules::check(&definition, schemas).into_iter().map(problem_item));
        }
        None => {
            faults.extend(
                attune_rules::check(&definition, TriggerSchemas::default()).into_iter().map(problem_item),
            );
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
    faults.extend(rule_keys::unknown(&mut *connection, &definition).await?);
    faults.extend(rule_settings::faults(&definition, pack));
    let retry = request.retry.as_ref().and_then(|given| {
        let read = Retry::parse(given).map_err(|problems| {
            faults.extend(problems.into_iter().map(|problem| ProblemItem {
                detail: problem.message,
                pointer: Some(format!("/retry{}", problem.pointer)),
                suggestion: problem.suggestion,
                ..ProblemItem::default()
            }));
        });
        Some(read.ok()?.stored())
    });
    let condition = match definition.condition {
        attune_rules::ConditionMode::All => ConditionMode::All,
        attune_rules::ConditionMode::Any => ConditionMode::Any,
    };
    let rule = NewRule {
        r#ref: request.rule_ref,
        label: request.label,
        description: request.description,
        enabled: request.enabled,
        mode: rule_mode,
        trigger_ref: request.trigger,
        trigger_params,
        condition,
        conditions: request.conditions,
        action_ref: request.action,
        action_params,
        window: request.window,
        retry,
        config: None,
    };
    let rule = NewRule { config: rule_settings::used(&rule, pack), ..rule };
    Ok((rule, faults))
}

/// The rule in the form that is compiled, and what is wrong with it by itself.
pub(crate) fn definition_of(request: &RuleRequest, faults: &mut Vec<ProblemItem>) -> RuleDefinition {
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
    let object = |value: &Value| if value.is_null() { Value::Object(Map::new()) } else { value.clone() };
    let conditions = Condition::parse_list(&request.conditions).unwrap_or_else(|problems| {
        faults.extend(problems.into_iter().map(|problem| problem_item(problem.under("/conditions"))));
        Vec::new()
    });
    let window = request.window.as_ref().map(|window| {
        Window::parse(window).unwrap_or_else(|problems| {
            faults.extend(problems.into_iter().map(|problem| problem_item(problem.under("/window"))));
            Window::stand_in()
        })
    });
    let definition = RuleDefinition {
        rule_ref: request.rule_ref.clone(),
        trigger_ref: request.trigger.clone(),
        trigger_params: object(&request.trigger_params),
        condition: mode,
        conditions,
        window,
        action_ref: request.action.clone(),
        action_params: object(&request.action_params),
    };
    if mode == attune_rules::ConditionMode::Any && definition.conditions.is_empty() && faults.is_empty() {
        faults.push(ProblemItem {
            detail: "`condition` has no effect without `conditions`".to_owned(),
            pointer: Some("/condition".to_owned()),
            expected: Some("a list of conditions".to_owned()),
            ..ProblemItem::default()
        });
    }
    if let Err(problems) = CompiledRule::compile(&definition) {
        faults.extend(problems.into_iter().map(problem_item));
    }
    definition
}

/// A rule that is stored, in the form that is compiled.
pub(crate) fn stored_definition(rule: &Rule) -> Result<RuleDefinition, Vec<RuleProblem>> {
    Ok(RuleDefinition {
        rule_ref: rule.r#ref.clone(),
        trigger_ref: rule.trigger_ref.clone(),
        trigger_params: rule.trigger_params.clone(),
        condition: match rule.condition {
            ConditionMode::All => attune_rules::ConditionMode::All,
            ConditionMode::Any => attune_rules::ConditionMode::Any,
        },
        conditions: Condition::parse_list(&rule.conditions)?,
        window: rule.window.as_ref().map(Window::parse).transpose()?,
        action_ref: rule.action_ref.clone(),
        action_params: rule.action_params.clone(),
    })
}

/// Parameters that came back as they were shown, with the mask in the place of a secret: stored, it would be the secret.
fn masked(at: &str, params: &Value) -> Vec<ProblemItem> {
    let members = params.as_object().into_iter().flatten();
    let shown = members.filter(|(_, value)| value.as_str() == Some(MASK)).map(|(name, _)| ProblemItem {
        detail: format!("`{name}` is the mask that hides a secret, not its value"),
        pointer: Some(attune_expr::pointer::child(at, name)),
        expected: Some("the value, or a template".to_owned()),
        ..ProblemItem::default()
    });
    shown.collect()
}

fn problem_item(problem: RuleProblem) -> ProblemItem {
    ProblemItem {
        detail: problem.message,
        pointer: Some(problem.pointer),
        suggestion: problem.suggestion,
        ..ProblemItem::default()
    }
}
