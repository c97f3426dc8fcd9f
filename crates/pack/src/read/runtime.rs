//! `runtimes/*.yaml`.

use attune_expr::form;

use crate::definition::{RuntimeDefinition, RuntimeLanguage};
use crate::form::FileForm;
use crate::reader::{Item, MappingReader};
use crate::value::{Flag, Text};
use crate::version::VersionConstraint;

use super::Place;
use super::common::ComponentForm;

/// The only pack whose runtimes the worker itself can run.
const CORE: &str = "core";

form! {
    /// A runtime: how entrypoints are started.
    pub(crate) struct RuntimeForm<'f> of MappingReader<'f> {
        with component: ComponentForm<'f>,
        /// Program and arguments before the entrypoint; without it the entrypoint itself is executed.
        optional interpreter: Vec<Text>,
        /// The worker runs it itself; only in the pack `core`.
        optional native: Flag<false>,
        /// The language of the interpreter: it is that of the pack's environment, with what the pack requires.
        optional environment: RuntimeLanguage,
        /// The versions of that interpreter that will do.
        optional version: VersionConstraint,
    }
}

pub(super) fn read(item: &Item<'_>, place: &Place<'_>) -> Option<RuntimeDefinition> {
    let form = RuntimeForm::of(item)?;
    let component = form.component.read(place.pack_ref);
    let interpreter = form.interpreter.read().unwrap_or_default();
    let is_native = form.native.is_on();
    if let Some(item) = form.native.item().filter(|_| is_native) {
        if place.pack_ref.is_some_and(|pack| pack != CORE) {
            let finding = item.finding("only the pack `core` can have a native runtime");
            item.add(finding.expected("an `interpreter`, or neither to execute the entrypoint itself"));
        }
        form.interpreter.without_effect("in a native runtime");
    }
    let environment = form.environment.read();
    let version = form.version.read();
    if is_native {
        form.environment.without_effect("in a native runtime");
    }
    if !form.environment.is_given() {
        form.version.without_effect("without `environment`, which says what interpreter that is");
    } else if interpreter.is_empty() && !is_native {
        form.environment.without_effect("without an `interpreter`, which would use it");
    }
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
