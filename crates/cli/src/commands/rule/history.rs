//! `attune rule history`: the versions of a rule and what each changed.

use attune_client::types::{MemberChange, RuleVersionView};
use serde_json::Value;

use crate::lookup::found;
use crate::output::{Columns, age, list};
use crate::paging::{Limit, collect};
use crate::session::Session;

use super::known;

/// How much of a value fits into a line; the other formats have all of it.
const SHOWN_CHARACTERS: usize = 60;

pub(super) async fn run(session: &Session, rule_ref: &str, limit: Limit) -> anyhow::Result<()> {
    // Asked for once more by itself: only what is not found needs the list of what there is.
    let answer = session.client.rule_versions(rule_ref, &[("limit", "1".to_owned())]).await;
    found("rule", rule_ref, answer, known(&session.client)).await?;
    let versions = collect(limit, session.format, Vec::new(), async |query| {
        session.client.rule_versions(rule_ref, query).await
    })
    .await?;
    let columns = Columns {
        noun: "versions",
        header: &["VERSION", "MADE", "AGE", "CHANGE"],
        row: &|version: &RuleVersionView| {
            vec![
                version.version.to_string(),
                version.created.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
                age(session.now(), version.created),
                change(version),
            ]
        },
        name: &|version| version.version.to_string(),
    };
    list(session.format, &versions, &columns)
}

/// What the version is, in a line.
fn change(version: &RuleVersionView) -> String {
    if version.removed {
        return "removed".to_owned();
    }
    if version.changes.is_empty() {
        return "made".to_owned();
    }
    version.changes.iter().map(told).collect::<Vec<_>>().join("; ")
}

fn told(change: &MemberChange) -> String {
    let MemberChange { member, before, after } = change;
    match (before, after) {
        // What has members or lines is better looked at than read in a line.
        (Value::Array(_) | Value::Object(_), _) | (_, Value::Array(_) | Value::Object(_)) => {
            format!("{member} changed")
        }
        _ => format!("{member}: {} -> {}", shortened(before), shortened(after)),
    }
}

fn shortened(value: &Value) -> String {
    let text = match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn test_changes_are_told_in_a_line() {
        let change = |member: &str, before: Value, after: Value| {
            told(&MemberChange { member: member.to_owned(), before, after })
        };
        assert_eq!(change("enabled", json!(true), json!(false)), "enabled: true -> false");
        assert_eq!(
            change("label", json!(null), json!("x".repeat(70))),
            format!("label: none -> {}...", "x".repeat(60))
        );
        assert_eq!(change("conditions", json!([]), json!(["{{ true }}"])), "conditions changed");
    }
}
