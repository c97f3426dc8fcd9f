//! `runtimes/*.yaml`.

use crate::definition::{RuntimeDefinition, RuntimeLanguage};
use crate::reader::{Item, MappingReader, shortened};
use crate::version::{CONSTRAINT_FORM, VersionConstraint};

use super::common::Component;

/// The only pack whose runtimes the worker itself can run.
const CORE: &str = "core";

pub(super) fn read(
    mapping: MappingReader<'_>,
    component: Component,
    pack_ref: Option<&str>,
) -> Option<RuntimeDefinition> {
    let interpreter = mapping.optional("interpreter").and_then(|item| item.texts()).unwrap_or_default();
    let native = mapping.optional("native");
    let is_native = native.as_ref().and_then(|item| item.bool()).unwrap_or(false);
    if let Some(item) = native.filter(|_| is_native) {
        if pack_ref.is_some_and(|pack| pack != CORE) {
            let finding = item.finding("only the pack `core` can have a native runtime");
            item.add(finding.expected("an `interpreter`, or neither to execute the entrypoint itself"));
        }
        mapping.without_effect("interpreter", "in a native runtime");
    }
    let environment = mapping
        .optional("environment")
        .and_then(|item| item.choice(RuntimeLanguage::ALL, RuntimeLanguage::as_str));
    let version = mapping.optional("version").and_then(|item| constraint(&item));
    if is_native {
        mapping.without_effect("environment", "in a native runtime");
    }
    if !mapping.has("environment") {
        mapping.without_effect("version", "without `environment`, which says what interpreter that is");
    } else if interpreter.is_empty() && !is_native {
        mapping.without_effect("environment", "without an `interpreter`, which would use it");
    }
    mapping.close();
    Some(RuntimeDefinition {
        r#ref: component.r#ref?,
        label: component.label,
        description: component.description,
        interpreter,
        native: is_native,
        environment,
        version,
    })
}

/// A constraint on the version of an interpreter. A number would lose what makes `3.10` differ from `3.1`.
pub(super) fn constraint(item: &Item<'_>) -> Option<VersionConstraint> {
    if let Some(Ok(number)) = item.number_or_text() {
        let finding = item.finding(format!("`{}` is the number {number}", item.name()));
        item.add(finding.expected("the version in quotes: as numbers, `3.10` and `3.1` are the same"));
        return None;
    }
    let given = item.text()?;
    match given.parse() {
        Ok(constraint) => Some(constraint),
        Err(error) => {
            let problem = format!("`{}` `{}` is not understood: {error}", item.name(), shortened(given));
            item.add(item.finding(problem).expected(CONSTRAINT_FORM));
            None
        }
    }
}
