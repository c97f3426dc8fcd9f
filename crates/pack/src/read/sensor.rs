//! `sensors/*.yaml`.

use attune_expr::form;

use crate::definition::{GrantDefinition, SensorDefinition};
use crate::form::{Distinct, FileForm};
use crate::reader::{Item, MappingReader};
use crate::value::{AnyObject, ComponentRef, Flag, Text};

use super::common::{ComponentForm, RuntimeKind, entrypoint_file};
use super::permission::permissions_of_nobody;
use super::{Kind, Place};

form! {
    /// A sensor: a program that watches something and reports events.
    pub(crate) struct SensorForm<'f> of MappingReader<'f> {
        with component: ComponentForm<'f>,
        /// Whether it is started.
        optional enabled: Flag<true>,
        /// What runs it: a runtime that starts a process.
        required runtime: ComponentRef,
        /// The program, relative to `sensors/`.
        required entrypoint: Text,
        /// The triggers that it may report.
        required triggers: Distinct<ComponentRef>,
        /// Its settings, which it reads from standard input.
        optional config: AnyObject,
        /// What its process may ask of the API.
        optional permissions: Vec<GrantDefinition>,
    }
}

pub(super) fn read(item: &Item<'_>, place: &Place<'_>) -> Option<SensorDefinition> {
    let form = SensorForm::of(item)?;
    let component = form.component.read(place.pack_ref);
    let enabled = form.enabled.is_on();
    let runtime = form.runtime.known(place.known_runtimes());
    let kind = runtime.as_ref().map(|runtime| RuntimeKind::of(&runtime.value, place.runtimes));
    if let Some(item) = form.runtime.item().filter(|_| kind == Some(RuntimeKind::Native)) {
        let finding = item.finding("a sensor is a process, but this runtime is native");
        item.add(finding.expected("a runtime that starts a process, such as `core.shell` or `core.python`"));
    }
    let entrypoint = form.entrypoint.item().zip(kind).and_then(|(item, kind)| match kind {
        RuntimeKind::Native => None,
        RuntimeKind::Direct | RuntimeKind::Other => entrypoint_file(item, kind, place),
    });
    let trigger = |item: &Item<'_>| item.component_ref(place.known(Kind::Trigger));
    let triggers = form.triggers.distinct("the triggers that the sensor reports", "trigger", trigger);
    let config = form.config.read().unwrap_or_default();
    let permissions = permissions_of_nobody(&form.permissions);
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
