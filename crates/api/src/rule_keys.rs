//! The keys that the parameters of a rule name, looked at before the rule is stored.
//!
//! A pack is installed without this: its keys may be set afterwards, and until then its executions say what is missing.

use attune_client::types::ProblemItem;
use attune_common::error::StoreError;
use attune_common::models::rule::NewRule;
use attune_common::repositories::KeyRepository;
use attune_expr::suggest::nearest;
use attune_rules::webhook::{self, Listener};
use attune_rules::{CompiledRule, ConditionMode, RuleDefinition, Window};
use sqlx::PgConnection;

/// The refs of the keys that a rule names: in its parameters, and for the signatures of a webhook. None of a rule that does not
/// compile.
pub(crate) fn named(rule: &NewRule) -> Option<Vec<String>> {
    // Its conditions name none. The parameters may ask for its window.
    let window = rule.window.as_ref().map(Window::parse).transpose().ok()?;
    let definition = RuleDefinition {
        rule_ref: rule.r#ref.clone(),
        trigger_ref: rule.trigger_ref.clone(),
        trigger_params: rule.trigger_params.clone(),
        condition: ConditionMode::All,
        conditions: Vec::new(),
        window,
        action_ref: rule.action_ref.clone(),
        action_params: rule.action_params.clone(),
    };
    let compiled = CompiledRule::compile(&definition).ok()?;
    let mut named: Vec<String> = compiled.keys().iter().map(|used| used.key_ref.clone()).collect();
    if rule.trigger_ref == webhook::TRIGGER
        && let Ok(Listener { signature: Some(signature), .. }) = Listener::read(&rule.trigger_params)
    {
        named.push(signature.secret);
    }
    Some(named)
}

/// The keys that do not exist, with the place where each is named. What cannot be compiled is told elsewhere.
pub(crate) async fn unknown(
    connection: &mut PgConnection,
    definition: &RuleDefinition,
) -> Result<Vec<ProblemItem>, StoreError> {
    let Ok(compiled) = CompiledRule::compile(definition) else { return Ok(Vec::new()) };
    let mut missing = Vec::new();
    for used in compiled.keys() {
        if KeyRepository::find_by_ref(&mut *connection, &used.key_ref).await?.is_none() {
            missing.push(used);
        }
    }
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let known = KeyRepository::list(&mut *connection).await?;
    let fault = |key_ref: &str, pointer: &str| ProblemItem {
        detail: format!("there is no key `{key_ref}`; `attune key set {key_ref}` makes it"),
        pointer: Some(format!("/action_params{pointer}")),
        suggestion: nearest(key_ref, known.iter().map(|key| key.key_ref.as_str())).map(str::to_owned),
        ..ProblemItem::default()
    };
    Ok(missing.into_iter().map(|used| fault(&used.key_ref, &used.pointer)).collect())
}
