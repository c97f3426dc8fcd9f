//! The files of an installed pack, as they were installed or with its rules as they are now.

use attune_common::error::StoreError;
use attune_common::models::rule::{NewRule, RuleMode};
use attune_common::repositories::{PackRepository, RuleRepository};
use attune_pack::{PackFile, PackFiles, Retry};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgPool;

use super::{convert, edits};

/// What is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExportEdits {
    /// The files as they were installed.
    #[default]
    Without,
    /// Files of rules that were changed on the server say what the rules are now.
    With,
}

/// Why a pack is not exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// What a changed rule says cannot be written so that it is read as the same.
    #[error("the rule {rule} cannot be written as a file: {why}")]
    Unwritable { rule: String, why: String },
    /// The installed files cannot be read any more.
    #[error(
        "the installed files of {pack_ref} are not read by this version of attune; install the pack anew first"
    )]
    Unreadable { pack_ref: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for ExportError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// The files of a pack. Installing them gives the same pack again.
pub async fn export(pool: &PgPool, pack_ref: &str, edits: ExportEdits) -> Result<PackFiles, ExportError> {
    // Files and rules of the same moment: an installation between the two would be half of each.
    let mut transaction = attune_common::db::begin(pool).await?;
    PackRepository::take_turn(&mut transaction).await?;
    let pack = PackRepository::get_by_ref(&mut *transaction, pack_ref).await?;
    let mut files = edits::installed_files(&mut transaction, pack.id).await?;
    if edits == ExportEdits::Without {
        return Ok(files);
    }
    let stored: Vec<NewRule> = RuleRepository::list_of_pack(&mut *transaction, pack.id)
        .await?
        .into_iter()
        .map(edits::as_new)
        .collect();
    transaction.rollback().await?;
    let unreadable = || ExportError::Unreadable { pack_ref: pack_ref.to_owned() };
    let definition = attune_pack::read(&files).map_err(|_| unreadable())?;
    for entry in &definition.rules {
        let installed = convert::rule(entry)?;
        let Some(now) = stored.iter().find(|rule| rule.r#ref == installed.r#ref) else { continue };
        let now_members = edits::members(now)?;
        if edits::differing(&edits::members(&installed)?, &now_members).is_empty() {
            continue;
        }
        let content = text(now)?.into_bytes();
        files.insert(entry.trigger.file.clone(), PackFile { content, executable: false });
    }
    check(&files, &stored)?;
    Ok(files)
}

/// What was written has to be read as what is stored: nobody finds out otherwise before the day the export is needed.
fn check(files: &PackFiles, stored: &[NewRule]) -> Result<(), ExportError> {
    let definition = attune_pack::read(files).map_err(|findings| {
        let rule = findings.first().map_or_else(String::new, |finding| finding.file.clone());
        let why = findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        ExportError::Unwritable { rule, why }
    })?;
    for entry in &definition.rules {
        let written = convert::rule(entry)?;
        let Some(now) = stored.iter().find(|rule| rule.r#ref == written.r#ref) else { continue };
        let members = edits::members(&written)?;
        if let Some(member) = edits::differing(&edits::members(now)?, &members).first() {
            let why = format!("`{}` would be read as another value", edits::shown_name(member));
            return Err(ExportError::Unwritable { rule: written.r#ref, why });
        }
    }
    Ok(())
}

/// A rule in the order of the documentation, without what says nothing.
#[derive(Serialize)]
struct RuleText<'a> {
    r#ref: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<&'a str>,
    trigger: &'a str,
    #[serde(skip_serializing_if = "says_nothing")]
    trigger_params: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<&'a str>,
    #[serde(skip_serializing_if = "says_nothing")]
    conditions: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<&'a Value>,
    action: &'a str,
    #[serde(skip_serializing_if = "says_nothing")]
    action_params: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<Value>,
}

fn says_nothing(value: &&Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn text(rule: &NewRule) -> Result<String, ExportError> {
    let unwritable = |why: String| ExportError::Unwritable { rule: rule.r#ref.clone(), why };
    let retry = match &rule.retry {
        None => None,
        Some(stored) => {
            let retry = Retry::from_stored(stored)
                .ok_or_else(|| unwritable("its `retry` is not in the form of this version".to_owned()))?;
            Some(retry.to_value())
        }
    };
    let condition = rule.condition.as_str();
    let text = RuleText {
        r#ref: &rule.r#ref,
        label: rule.label.as_deref(),
        description: rule.description.as_deref(),
        enabled: (!rule.enabled).then_some(false),
        mode: (rule.mode != RuleMode::Active).then(|| rule.mode.as_str()),
        trigger: &rule.trigger_ref,
        trigger_params: &rule.trigger_params,
        condition: (condition != "all").then_some(condition),
        conditions: &rule.conditions,
        window: rule.window.as_ref(),
        action: &rule.action_ref,
        action_params: &rule.action_params,
        retry,
    };
    let mut text = serde_saphyr::to_string(&text).map_err(|error| unwritable(error.to_string()))?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    /// The rule that is read from what a rule was written as.
    fn written_and_read(rule: &NewRule) -> NewRule {
        let text = text(rule).unwrap();
        let entry = attune_pack::read_rule("rules/a.yaml", text.as_bytes())
            .unwrap_or_else(|findings| panic!("{text}\n{findings:?}"));
        convert::rule(&entry).unwrap()
    }

    #[test]
    fn test_a_written_rule_is_read_as_the_same() {
        let plain = NewRule::of("ops.rule", "ops.alert", "ops.page");
        assert_eq!(text(&plain).unwrap(), "ref: ops.rule\ntrigger: ops.alert\naction: ops.page\n");
        assert_eq!(written_and_read(&plain), plain);
        let field = |field: &str, value: Value| json!({"field": field, "operator": "equals", "value": value});
        let whole = NewRule {
            label: Some("yes".to_owned()),
            description: Some("several\nlines: of\n  text # here\n".to_owned()),
            enabled: false,
            mode: RuleMode::Shadow,
            trigger_params: json!({"team": "0777", "ratio": 1.5}),
            condition: attune_common::models::enforcement::ConditionMode::Any,
            conditions: json!([
                field("event.payload.a", json!("no")),
                {"not": field("event.payload.b", json!(null))},
                {"any": [field("event.payload.c", json!([1, "1", true])), "{{ event.payload.d == 'x: y' }}"]},
            ]),
            window: Some(json!({"throttle": "15m", "key": "{{ event.payload.host }}"})),
            action_params: json!({"text": "{{ event.payload.summary }}", "lines": "a\nb", "empty": ""}),
            retry: Some(json!({
                "count": 5, "delay": 90.0, "factor": 3.0, "max_delay": 300.0, "jitter": 0.5, "on": ["failed"]
            })),
            ..plain.clone()
        };
        assert_eq!(written_and_read(&whole), whole);
        let never = NewRule { retry: Some(Value::Object(Map::new())), ..plain };
        assert_eq!(written_and_read(&never), never);
    }
}
