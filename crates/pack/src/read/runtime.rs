//! `runtimes/*.yaml`.

use crate::definition::RuntimeDefinition;
use crate::reader::MappingReader;

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
    mapping.close();
    Some(RuntimeDefinition {
        r#ref: component.r#ref?,
        label: component.label,
        description: component.description,
        interpreter,
        native: is_native,
    })
}
