//! What actions and rules say about their executions: where they run and how they are tried again.

use std::collections::BTreeMap;

use crate::placement::{LABEL_FORM, is_label};
use crate::reader::{Item, MappingReader, shortened};
use crate::retry::Retry;

use super::common::foreign_problem;

/// `retry`.
pub(super) fn retry(mapping: &MappingReader<'_>) -> Option<Retry> {
    let item = mapping.optional("retry")?;
    match Retry::parse(&item.json()) {
        Ok(retry) => Some(retry),
        Err(problems) => {
            for problem in problems {
                foreign_problem(&item, &problem.pointer, &problem.message, problem.suggestion);
            }
            None
        }
    }
}

/// `worker_selector`.
pub(super) fn selector(mapping: &MappingReader<'_>) -> BTreeMap<String, String> {
    let Some(item) = mapping.optional("worker_selector") else { return BTreeMap::new() };
    let names: Vec<String> = item.object().unwrap_or_default().into_iter().map(|(name, _)| name).collect();
    let entry = |name: String| {
        let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
        if !is_label(&name) {
            let key = item.descend(&pointer, true);
            let finding = key.finding(format!("`{}` cannot name a label", shortened(&name)));
            key.add(finding.expected(LABEL_FORM));
            return None;
        }
        let value = item.descend(&pointer, false);
        let text = label(&value, "is no value that a label can have")?;
        Some((name, text))
    };
    names.into_iter().filter_map(entry).collect()
}

/// `tolerations`.
pub(super) fn tolerations(mapping: &MappingReader<'_>) -> Vec<String> {
    let items = mapping.optional("tolerations").and_then(|item| item.list()).unwrap_or_default();
    items.iter().filter_map(|item| label(item, "cannot name a taint")).collect()
}

fn label(item: &Item<'_>, problem: &str) -> Option<String> {
    let text = item.text()?;
    if is_label(text) {
        return Some(text.to_owned());
    }
    item.add(item.finding(format!("`{}` {problem}", shortened(text))).expected(LABEL_FORM));
    None
}
