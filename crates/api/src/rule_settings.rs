//! The settings of a pack in its rules: what a rule keeps of them, and what is wrong with those that it names.
//!
//! A rule is stored with the values of the settings that it uses. Other values are another version of the rule, so that
//! executors learn of them as of any change of a rule, and an old event is explained with the values of its time.

use attune_client::types::ProblemItem;
use attune_common::error::StoreError;
use attune_common::models::pack::Pack;
use attune_common::models::rule::{NewRule, Rule};
use attune_common::repositories::{PackRepository, RuleRepository};
use attune_pack::config::{Configuration, Layers};
use attune_rules::{RuleDefinition, Settings, SettingsOf, check_settings, settings};
use serde_json::{Map, Value};
use sqlx::PgConnection;

/// The pack of a rule, if it has one.
pub(crate) async fn pack_of(
    connection: &mut PgConnection,
    pack: Option<i64>,
) -> Result<Option<Pack>, StoreError> {
    match pack {
        Some(pack) => PackRepository::find_by_id(&mut *connection, pack).await,
        None => Ok(None),
    }
}

/// What the rule would keep in this pack.
pub(crate) fn used(rule: &NewRule, pack: Option<&Pack>) -> Option<Value> {
    let window = rule.window.as_ref().unwrap_or(&Value::Null);
    of_parts(&[&rule.conditions, window, &rule.action_params], &pack.map(values).unwrap_or_default())
}

/// The values with which a rule that is not stored is judged: those of its pack, and over them the given ones.
pub(crate) fn current(pack: Option<&Pack>, given: Map<String, Value>) -> Settings {
    let mut current = pack.map(values).unwrap_or_default();
    current.extend(given);
    Settings::of(current)
}

/// Settings that the rule names and cannot read.
pub(crate) fn faults(definition: &RuleDefinition, pack: Option<&Pack>) -> Vec<ProblemItem> {
    let of = match pack {
        Some(pack) => SettingsOf::Pack { pack_ref: &pack.r#ref, schema: &pack.conf_schema },
        None => SettingsOf::NoPack,
    };
    let item = |problem: attune_rules::RuleProblem| ProblemItem {
        detail: problem.message,
        pointer: Some(problem.pointer),
        suggestion: problem.suggestion,
        ..ProblemItem::default()
    };
    check_settings(definition, of).into_iter().map(item).collect()
}

/// Gives the rules of a pack the settings that it has now; those that use one which is another become another version.
pub(crate) async fn refresh(connection: &mut PgConnection, pack: &Pack) -> Result<u64, StoreError> {
    // Locked: a rule that is changed meanwhile is seen as it has become, or sees what this transaction has written.
    let rules = RuleRepository::take_of_pack(&mut *connection, pack.id).await?;
    let values = values(pack);
    let kept: Vec<(i64, Option<Value>)> =
        rules.iter().map(|rule| (rule.id, of_stored(rule, &values))).collect();
    RuleRepository::set_config(connection, &kept).await
}

fn of_stored(rule: &Rule, values: &Map<String, Value>) -> Option<Value> {
    let window = rule.window.as_ref().unwrap_or(&Value::Null);
    of_parts(&[&rule.conditions, window, &rule.action_params], values)
}

fn of_parts(parts: &[&Value], values: &Map<String, Value>) -> Option<Value> {
    settings::used(parts, values).map(Value::Object)
}

fn values(pack: &Pack) -> Map<String, Value> {
    // A schema that cannot be read has no settings; what is stored was read when the pack was installed.
    let configuration = Configuration::of(&pack.conf_schema).ok().flatten();
    let layers = Layers { environment: &pack.environment_config, set: &pack.config };
    configuration.map(|configuration| configuration.plain(layers)).unwrap_or_default()
}
