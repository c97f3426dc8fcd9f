//! `sensors/*.yaml`.

use crate::definition::SensorDefinition;
use crate::finding::Located;
use crate::reader::{Item, MappingReader};

use super::common::{Component, RuntimeKind, entrypoint_file};
use super::permission::permissions_of_nobody;
use super::{Kind, Place};

pub(super) fn read(
    mapping: MappingReader<'_>,
    component: Component,
    place: &Place<'_>,
) -> Option<SensorDefinition> {
    let enabled = mapping.bool_or("enabled", true);
    let runtime_item = mapping.required("runtime");
    let runtime = runtime_item.as_ref().and_then(|item| item.component_ref(place.known_runtimes()));
    let kind = runtime.as_ref().map(|runtime| RuntimeKind::of(&runtime.value, place.runtimes));
    if let Some(item) = runtime_item.filter(|_| kind == Some(RuntimeKind::Native)) {
        let finding = item.finding("a sensor is a process, but this runtime is native");
        item.add(finding.expected("a runtime that starts a process, such as `core.shell` or `core.python`"));
    }
    let entrypoint = mapping.required("entrypoint").zip(kind).and_then(|(item, kind)| match kind {
        RuntimeKind::Native => None,
        RuntimeKind::Direct | RuntimeKind::Other => entrypoint_file(&item, kind, place),
    });
    let triggers = mapping.required("triggers").and_then(|item| triggers(&item, place));
    let config = mapping.object_or_empty("config");
    let permissions = permissions_of_nobody(&mapping);
    mapping.close();
    Some(SensorDefinition {
        r#ref: component.r#ref?,
        label: component.label,
        description: component.description,
        enabled,
        runtime: runtime?,
        entrypoint: entrypoint?,
        triggers: triggers?,
        config,
        permissions,
    })
}

fn triggers(item: &Item<'_>, place: &Place<'_>) -> Option<Vec<Located<String>>> {
    let items = item.list()?;
    if items.is_empty() {
        item.add(
            item.finding("`triggers` is an empty list").expected("the triggers that the sensor reports"),
        );
    }
    let mut triggers: Vec<Located<String>> = Vec::new();
    for item in items {
        let Some(trigger) = item.component_ref(place.known(Kind::Trigger)) else { continue };
        if triggers.iter().any(|known| known.value == trigger.value) {
            item.add(
                item.finding(format!("`{}` is listed twice", trigger.value)).expected("every trigger once"),
            );
        }
        triggers.push(trigger);
    }
    Some(triggers)
}
