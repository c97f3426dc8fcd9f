//! The keys that the parameters of a rule name, looked at before the rule is stored.
//!
//! A pack is installed without this: its keys may be set afterwards, and until then its executions say what is missing.

use attune_client::types::ProblemItem;
use attune_common::error::StoreError;
use attune_common::repositories::KeyRepository;
use attune_expr::suggest::nearest;
use attune_rules::{CompiledRule, RuleDefinition};
use sqlx::PgConnection;

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
